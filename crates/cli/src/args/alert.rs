//! Arguments of `alert`.

use clap::Subcommand;
use counterfoil_types::{CustomerId, Timestamp};

/// `alert`.
#[derive(Debug, Subcommand)]
pub(crate) enum Alert {
    /// List the rules, or make and remove them.
    #[command(
        after_help = "Examples:\n  counterfoil alert rules\n  counterfoil alert rules --set '{\"id\":\"spike\",\"watch\":{\"kind\":\"anomaly\",\"by\":{\"deviations\":\"3\"}}}'\n  counterfoil alert rules --remove spike"
    )]
    Rules {
        /// Make this rule (JSON), or replace the one of its id.
        #[arg(long)]
        set: Option<String>,
        /// Remove the rule of this id.
        #[arg(long, conflicts_with = "set")]
        remove: Option<String>,
    },
    /// List alerts that fired, the newest first.
    List {
        /// Of this customer only.
        #[arg(long)]
        customer: Option<CustomerId>,
        /// In this state only: open, acknowledged, snoozed, resolved.
        #[arg(long)]
        state: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Say that somebody looks at an alert.
    Ack {
        /// The alert.
        id: String,
    },
    /// Say nothing of an alert, and of what follows it, for a while.
    Snooze {
        /// The alert.
        id: String,
        /// Until when.
        #[arg(long)]
        until: Timestamp,
    },
    /// Evaluate the rules now.
    Evaluate {
        /// For everybody, not only customers with new events.
        #[arg(long)]
        all: bool,
    },
}
