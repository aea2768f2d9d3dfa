//! The shipped sample: seven customers and their usage of October 2026.
//!
//! Nothing here reads a clock or draws outside randomness. Every stream of events has its own
//! small generator, seeded by the stream's name, so changing one stream leaves the others as
//! they are, and running the task twice gives the same bytes.

mod customers;
mod event;
mod oddities;
use crate::random;
mod rhythm;
mod streams;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::Path,
};

use flate2::{Compression, GzBuilder, read::GzDecoder};

use crate::Outcome;

const CUSTOMERS_FILE: &str = "customers.toml";
const USAGE_FILE: &str = "usage-2026-10.jsonl.gz";

/// "Unknown" in the header of a gzip file: the bytes must not tell where they were written.
const GZIP_ANY_SYSTEM: u8 = 255;

/// Everything the task writes, before it is written.
struct Sample {
    customers: String,
    usage: String,
    by_type: BTreeMap<&'static str, usize>,
    oddities: oddities::Counts,
}

fn make() -> Outcome<Sample> {
    let streams = streams::all()?;
    let (lines, oddities) = oddities::weave(streams)?;
    let mut by_type: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut usage = String::new();
    for line in &lines {
        *by_type.entry(line.event_type).or_default() += 1;
        usage.push_str(&serde_json::to_string(line)?);
        usage.push('\n');
    }
    Ok(Sample { customers: customers::to_toml(), usage, by_type, oddities })
}

/// Writes the sample into `dir` and reports what is in it.
pub(crate) fn write(dir: &Path) -> Outcome<String> {
    let sample = make()?;
    let packed = pack(&sample.usage)?;
    fs::create_dir_all(dir)?;
    fs::write(dir.join(CUSTOMERS_FILE), &sample.customers)?;
    fs::write(dir.join(USAGE_FILE), &packed)?;
    Ok(format!("{}\n{} bytes packed", report(&sample), packed.len()))
}

/// Compares the sample in `dir` with what [`write()`] would write. The usage is compared unpacked:
/// another version of the compressor is no difference.
pub(crate) fn check(dir: &Path) -> Outcome<String> {
    let sample = make()?;
    if fs::read_to_string(dir.join(CUSTOMERS_FILE))? != sample.customers {
        return Err(stale(CUSTOMERS_FILE).into());
    }
    if unpack(&fs::read(dir.join(USAGE_FILE))?)? != sample.usage {
        return Err(stale(USAGE_FILE).into());
    }
    Ok(report(&sample))
}

fn stale(file: &str) -> String {
    format!("sample/{file} is not what the generator writes; run `cargo run -p xtask -- sample`")
}

fn pack(text: &str) -> Outcome<Vec<u8>> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .operating_system(GZIP_ANY_SYSTEM)
        .write(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?)
}

fn unpack(packed: &[u8]) -> Outcome<String> {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text)?;
    Ok(text)
}

fn report(sample: &Sample) -> String {
    let mut lines = vec![format!("{} lines", sample.by_type.values().sum::<usize>())];
    lines.extend(sample.by_type.iter().map(|(kind, count)| format!("{count:>7} {kind}")));
    lines.push(sample.oddities.to_string());
    lines.join("\n")
}
