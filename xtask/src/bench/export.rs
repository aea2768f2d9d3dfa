//! `export`: events of a store to CSV, NDJSON, XLSX and Parquet files, against bare writers: the
//! crate `csv` and arrow's writer, each given the same columns of the same rows out of memory. The
//! rows out of memory through our sinks are measured as well: that is what the sinks alone take.

use std::{
    fs::File,
    io::BufWriter,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_array::{
    ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use counterfoil_engine::exports::{Chunk, Wanted, What, write_out};
use counterfoil_exports::{Format, Options, file::Whole, sink};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use super::{
    figure::{Figure, per_second},
    month::{Kind, Month, events, runtime},
};
use crate::Outcome;

/// Rows of the comparison out of memory.
const KEPT: u64 = 200_000;
/// Rows a sheet holds besides its header and totals.
const SHEET: u64 = 1_048_574;

/// Resident memory at its highest, in MB, since it was last reset.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}

fn reset_peak() {
    // Where it is not allowed, the figure is that of the whole run.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

async fn file(month: &Month, format: Format, path: &Path) -> Outcome<(u64, Duration, u64)> {
    let start = Instant::now();
    let export = month.engine.export(Wanted::all(What::Events), None).await?;
    let whole = Whole::create(path, true, false)?;
    let options = Options::new(export.made_at());
    let sink = sink(format, Box::new(whole.target()), &options)?;
    let (rows, _) = write_out(export, sink, true, 0, |_, _, _| Ok(())).await?;
    let bytes = whole.finish()?;
    Ok((rows, start.elapsed(), bytes))
}

/// Rows out of memory through one of our sinks.
fn ours(
    chunks: &[Chunk],
    columns: &[counterfoil_exports::Column],
    format: Format,
    path: &Path,
) -> Outcome<u64> {
    let start = Instant::now();
    let options = Options::new(counterfoil_types::Timestamp::from_micros(0));
    let mut sink = sink(format, Box::new(BufWriter::new(File::create(path)?)), &options)?;
    sink.table("events", columns)?;
    let mut rows = 0;
    for chunk in chunks {
        rows += chunk.write(sink.as_mut())?;
    }
    sink.finish(&[])?;
    Ok(per_second(rows, start.elapsed()))
}

/// The crate `csv` with the same cells, as text made beforehand.
fn bare_csv(texts: &[Vec<String>], path: &Path) -> Outcome<u64> {
    let start = Instant::now();
    let mut writer = csv::WriterBuilder::new().from_path(path)?;
    for row in texts {
        writer.write_record(row)?;
    }
    writer.flush()?;
    Ok(per_second(texts.len() as u64, start.elapsed()))
}

/// Arrow's writer with the same columns, made from the texts while the clock runs.
fn bare_parquet(texts: &[Vec<String>], path: &Path) -> Outcome<u64> {
    let start = Instant::now();
    let integer = [0usize, 1];
    let time = [2usize, 8];
    let names = texts.first().map_or(0, Vec::len);
    let data = |at: usize| match at {
        _ if integer.contains(&at) => DataType::Int64,
        _ if time.contains(&at) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        9 => DataType::Decimal128(38, 12),
        _ => DataType::Utf8,
    };
    let fields: Vec<Field> =
        (0..names).map(|at| Field::new(format!("c{at}"), data(at), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(131_072))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, schema.clone(), Some(properties))?;
    for part in texts.chunks(8_192) {
        let column = |at: usize| -> Outcome<ArrayRef> {
            let cells = part.iter().filter_map(|row| row.get(at));
            Ok(if integer.contains(&at) {
                Arc::new(Int64Array::from_iter_values(cells.map(|cell| cell.parse().unwrap_or(0))))
            } else if time.contains(&at) {
                let numbers = (0i64..).zip(cells).map(|(number, _)| number);
                Arc::new(TimestampMicrosecondArray::from_iter_values(numbers).with_timezone("UTC"))
            } else if at == 9 {
                let numbers = (0i128..).zip(cells).map(|(number, _)| number);
                let array = Decimal128Array::from_iter_values(numbers);
                Arc::new(array.with_precision_and_scale(38, 12)?)
            } else {
                Arc::new(StringArray::from_iter_values(cells))
            })
        };
        let columns: Outcome<Vec<ArrayRef>> = (0..names).map(column).collect();
        writer.write(&RecordBatch::try_new(schema.clone(), columns?)?)?;
    }
    writer.close()?;
    Ok(per_second(texts.len() as u64, start.elapsed()))
}

pub(super) fn run(count: u64) -> Outcome<String> {
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    runtime()?.block_on(async {
        let month = Month::on(Kind::Sqlite).await?;
        month.ingest(events(count, 100)?).await?;
        let mut details = Vec::new();
        let mut figures = Vec::new();
        for format in [Format::Csv, Format::Ndjson, Format::Parquet, Format::Xlsx] {
            if format == Format::Xlsx && count > SHEET {
                continue;
            }
            reset_peak();
            let name = format.extension();
            let (rows, took, bytes) = file(&month, format, &at(name)).await?;
            if rows != count {
                return Err(format!("{rows} of {count} events were exported").into());
            }
            let rate = per_second(rows, took);
            figures.push(rate);
            details.push((
                format!("store to {name}"),
                format!("{rate} rows/s, {} MB, peak memory {} MB", bytes / 1_000_000, peak()),
            ));
        }
        // Reading alone.
        let start = Instant::now();
        let mut export = month.engine.export(Wanted::all(What::Events), None).await?;
        let columns = export.columns();
        let (mut kept, mut rows) = (Vec::new(), 0);
        while let Some(chunk) = export.next().await? {
            if let Chunk::Events(part) = &chunk {
                rows += part.len() as u64;
                if rows <= KEPT {
                    kept.push(chunk);
                }
            }
        }
        details.push((
            "reading alone".into(),
            format!("{} rows/s", per_second(rows, start.elapsed())),
        ));
        month.store.close().await;
        let csv_ours = ours(&kept, &columns, Format::Csv, &at("ours.csv"))?;
        let parquet_ours = ours(&kept, &columns, Format::Parquet, &at("ours.parquet"))?;
        let mut reader = csv::Reader::from_path(at("ours.csv"))?;
        let texts: Result<Vec<Vec<String>>, csv::Error> =
            reader.records().map(|row| Ok(row?.iter().map(str::to_owned).collect())).collect();
        let texts = texts?;
        let csv_bare = bare_csv(&texts, &at("bare.csv"))?;
        let parquet_bare = bare_parquet(&texts, &at("bare.parquet"))?;
        details.push(("memory to csv, our sink".into(), format!("{csv_ours} rows/s")));
        details.push((
            "memory to csv, crate csv, cells as text before".into(),
            format!("{csv_bare} rows/s"),
        ));
        details.push(("memory to parquet, our sink".into(), format!("{parquet_ours} rows/s")));
        details
            .push(("memory to parquet, arrow's writer".into(), format!("{parquet_bare} rows/s")));
        details.push((
            "events".into(),
            format!("{count}, 100 customers, 3 meters, SQLite, 17 columns"),
        ));
        Figure {
            bench: "export",
            value: figures.first().copied().unwrap_or(0),
            unit: "rows/s",
            baseline: Some(("crate csv out of memory, the same cells", csv_bare)),
            goal: ">= 300,000 rows/s CSV, >= 1,000,000 rows/s Parquet",
            details,
        }
        .report()
    })
}
