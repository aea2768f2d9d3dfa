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
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, error::CliError, output::Out};

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = Out::new(args.json);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(CliError::from).and_then(|runtime| {
        let telemetry = telemetry::start(runtime.handle());
        let outcome = runtime.block_on(commands::dispatch(args, &mut out));
        telemetry.stop();
        outcome
    });
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
