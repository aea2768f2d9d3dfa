//! `counterfoil`: the composition root. Reads the command line and configuration, opens the
//! store, hands the engine a clock, runs one command and turns its outcome into an exit code.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed; the message says what to do |
//! | 2 | wrong usage |
//! | 3 | done, but something wants a decision: rejected events, parked accounts, differences |

mod args;
mod assets;
mod clock;
mod commands;
mod config;
mod context;
mod error;
mod human;
mod output;
mod random;
mod source;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, error::CliError, output::Out};

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("COUNTERFOIL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // One JSON object a line, for machines that gather logs.
    if std::env::var("COUNTERFOIL_LOG_FORMAT").is_ok_and(|format| format == "json") {
        log.json().init();
    } else {
        log.init();
    }
    let mut out = Out::new(args.json);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(CliError::from)
        .and_then(|runtime| runtime.block_on(commands::dispatch(args, &mut out)));
    match outcome.and_then(|verdict| out.flush().map(|()| verdict)) {
        Ok(commands::Verdict::Done) => ExitCode::SUCCESS,
        Ok(commands::Verdict::WantsDecision) => ExitCode::from(3),
        // Whoever reads us has seen enough, for example `| head`.
        Err(CliError::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::complain(&error);
            ExitCode::from(1)
        }
    }
}
