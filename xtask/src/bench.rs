//! Benchmarks: `cargo xtask bench NAME`. Each prints a table and, as its last line, one JSON
//! object `{"bench", "value", "unit", "baseline", "ratio", "goal"}`. Ratios are of figures taken
//! in the same run; nothing here gates a test.

mod alerts;
mod export;
mod figure;
mod http;
mod http_ingest;
mod ingest_naive;
mod ingest_postgres;
mod ingest_sqlite;
mod month;
mod outbox;
mod pdf;
mod quota;
mod rate;
mod rebuild;
mod report;
mod run_month;
mod scheduled_month;
mod usage_read;

use crate::Outcome;
use month::Kind;

/// Runs a benchmark by name; `rest` may hold a size.
pub(crate) fn run(name: &str, rest: &[&str]) -> Outcome<String> {
    let size = rest.first().map(|size| size.parse::<u64>()).transpose()?;
    match name {
        "http-ingest" => http_ingest::run(size.unwrap_or(1_000_000)),
        "alerts" => alerts::run(size.unwrap_or(100_000)),
        "export" => export::run(size.unwrap_or(1_000_000)),
        "outbox" => outbox::run(size.unwrap_or(20_000)),
        "pdf" => pdf::run(size.unwrap_or(1_000)),
        "quota" => quota::run(size.unwrap_or(25_000)),
        "ingest-postgres" => ingest_postgres::run(size.unwrap_or(1_000_000)),
        "ingest-naive" => ingest_naive::run(size.unwrap_or(100_000)),
        "ingest-sqlite" => ingest_sqlite::run(size.unwrap_or(300_000)),
        "rate" => rate::run(size.unwrap_or(2_000_000)),
        "rebuild" => rebuild::run(size.unwrap_or(500_000), Kind::Sqlite),
        "rebuild-postgres" => rebuild::run(size.unwrap_or(500_000), Kind::Postgres),
        "report" => report::run(size.unwrap_or(10_000_000)),
        "run-sqlite" => run_month::run(size.unwrap_or(10_000), Kind::Sqlite),
        "run-postgres" => run_month::run(size.unwrap_or(10_000), Kind::Postgres),
        "month" => scheduled_month::run(size.unwrap_or(10_000_000), Kind::Postgres),
        "month-sqlite" => scheduled_month::run(size.unwrap_or(10_000_000), Kind::Sqlite),
        "usage-read" => usage_read::run(size.unwrap_or(2_000_000)),
        "all" => {
            let all = [
                "rate",
                "ingest-sqlite",
                "ingest-postgres",
                "rebuild",
                "rebuild-postgres",
                "run-sqlite",
                "run-postgres",
                "http-ingest",
                "quota",
                "alerts",
                "outbox",
                "export",
            ];
            let reports: Result<Vec<String>, _> = all.iter().map(|name| run(name, rest)).collect();
            Ok(reports?.join("\n\n"))
        }
        _ => Err(format!("there is no benchmark {name:?}").into()),
    }
}
