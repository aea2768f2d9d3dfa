//! Arguments of the scheduler: `worker`, `jobs`.

use clap::{Args as ClapArgs, Subcommand};
use counterfoil_types::Timestamp;

/// `worker`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Worker {
    /// Do what is due now, and end.
    #[arg(long)]
    pub(crate) once: bool,
    /// Name of this worker; no two at once may have the same [default: machine and process].
    #[arg(long)]
    pub(crate) holder: Option<String>,
}

/// `jobs`.
#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// List all jobs: when they run, how they stand.
    List,
    /// Run a job now, here, whether it rests or not.
    Run {
        /// The job.
        job: String,
    },
    /// Let a job rest.
    #[command(
        after_help = "Example:\n  counterfoil jobs pause invoice-run --reason 'prices are being checked'"
    )]
    Pause {
        /// The job.
        job: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// Who says so.
        #[arg(long, env = "USER", default_value = "unknown")]
        by: String,
    },
    /// Let a job go on; what it missed is caught up.
    Resume {
        /// The job.
        job: String,
    },
    /// List runs of jobs, the latest first.
    History {
        /// Of this job only.
        job: Option<String>,
        /// In this state only: due, running, done, parked.
        #[arg(long)]
        state: Option<String>,
        /// From before this time on.
        #[arg(long)]
        before: Option<Timestamp>,
        /// How many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// List what is parked: runs, and parts of a job's work.
    Parked,
    /// Let what is parked go: it is tried again.
    #[command(
        after_help = "Examples:\n  counterfoil jobs unpark invoice-run\n  counterfoil jobs unpark grants --item grant/prepaid-7"
    )]
    Unpark {
        /// The job.
        job: String,
        /// This item only.
        #[arg(long)]
        item: Option<String>,
    },
}
