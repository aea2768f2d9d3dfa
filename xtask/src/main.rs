//! Maintenance tasks of the repository, run as `cargo run -p xtask -- TASK`.
//!
//! | task | does |
//! |---|---|
//! | `sample` | writes the shipped sample of usage under `sample/`; the same bytes every time |
//! | `bench NAME` | measures; names: `alerts`, `http-ingest`, `outbox`, `pdf`, `quota`, `ingest-naive`, `ingest-postgres`, `ingest-sqlite`, `rate`, `rebuild`, `report`, `run-sqlite`, `usage-read`, `all` |
//! | `sample --check` | writes nothing, fails when `sample/` differs from what would be written |

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool talks to the terminal"
)]

mod bench;
mod random;
mod sample;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What a task may end with: any error, told to the developer in words.
type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: cargo xtask sample [--check] | cargo xtask bench (alerts|http-ingest|outbox|pdf|quota|ingest-naive|ingest-postgres|ingest-sqlite|rate|rebuild|report|run-sqlite|usage-read|all)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Outcome<String> {
    match args {
        ["sample"] => sample::write(&repository().join("sample")),
        ["sample", "--check"] => sample::check(&repository().join("sample")),
        ["bench", name, rest @ ..] => bench::run(name, rest),
        _ => Err(USAGE.into()),
    }
}

/// Root of the checkout, whatever directory the task is started from.
fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
