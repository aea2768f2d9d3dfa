//! Arguments of delivering: `deliver`, `outbox`, `webhook`, `mail`.

use clap::{Args as ClapArgs, Subcommand};
use counterfoil_types::{CustomerId, Timestamp};

/// `deliver`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Deliver {
    /// Deliver what is due now, and end.
    #[arg(long)]
    pub(crate) once: bool,
    /// Name of this relay; no two at once may have the same [default: machine and process].
    #[arg(long)]
    pub(crate) holder: Option<String>,
    /// Milliseconds between two looks at the outbox.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub(crate) pause: u64,
}

/// `outbox`.
#[derive(Debug, Subcommand)]
pub(crate) enum Outbox {
    /// List deliveries.
    List {
        /// In this state only: due, done, parked.
        #[arg(long)]
        state: Option<String>,
        /// To this target only: mail, or webhook/ID.
        #[arg(long)]
        target: Option<String>,
        /// Of this kind only.
        #[arg(long)]
        kind: Option<String>,
    },
    /// List deliveries that were given up, with the reason.
    Parked,
    /// Let parked deliveries go: they are sent again.
    #[command(
        after_help = "Examples:\n  counterfoil outbox retry invoice.issued/5f0c…\n  counterfoil outbox retry --all --target mail"
    )]
    Retry {
        /// Key of the effect.
        #[arg(required_unless_present = "all")]
        key: Option<String>,
        /// To this target only.
        #[arg(long)]
        target: Option<String>,
        /// All that are parked.
        #[arg(long, conflicts_with = "key")]
        all: bool,
    },
    /// Every attempt to tell of an effect.
    Attempts {
        /// Key of the effect.
        key: String,
    },
}

/// `webhook`.
#[derive(Debug, Subcommand)]
pub(crate) enum Webhook {
    /// Add an endpoint. Its secret is shown this once.
    #[command(
        after_help = "Example:\n  counterfoil webhook add https://crm.example/hooks --id crm --kind 'invoice.*'"
    )]
    Add {
        /// Where to: https://HOST/PATH.
        url: String,
        /// Its id [default: derived from the URL].
        #[arg(long)]
        id: Option<String>,
        /// What it hears of; `invoice.*` means all of that front [default: everything].
        #[arg(long = "kind")]
        kinds: Vec<String>,
        /// Its secret, where the receiver has one already [default: a new one].
        #[arg(long, env = "COUNTERFOIL_WEBHOOK_SECRET", hide_env_values = true)]
        secret: Option<String>,
    },
    /// List endpoints, without their secrets.
    List,
    /// Give an endpoint a new secret; the old one goes on signing beside it for a day.
    Rotate {
        /// The endpoint.
        id: String,
    },
    /// Remove an endpoint; what was on its way to it is parked.
    Remove {
        /// The endpoint.
        id: String,
    },
    /// Switch an endpoint on again that was switched off after days of failure.
    Enable {
        /// The endpoint.
        id: String,
    },
    /// Send an endpoint a `webhook.test` and show what it says.
    Test {
        /// The endpoint.
        id: String,
    },
    /// Send an endpoint again what it hears of, from a time on; ids stay as they were.
    Replay {
        /// The endpoint.
        id: String,
        /// Effects caused from here on [default: all].
        #[arg(long)]
        since: Option<Timestamp>,
        /// Of this kind only.
        #[arg(long)]
        kind: Option<String>,
    },
}

/// `mail`.
#[derive(Debug, Subcommand)]
pub(crate) enum Mail {
    /// Print the mail that an effect of a kind becomes. Nothing is sent.
    Preview {
        /// The kind, for example `quota.exceeded`.
        kind: String,
        /// Key of an effect in the outbox [default: the latest of that kind].
        #[arg(long)]
        key: Option<String>,
        /// Print the HTML instead of the text.
        #[arg(long)]
        html: bool,
        /// Made-up facts, in this language: en, de.
        #[arg(long, conflicts_with = "key")]
        language: Option<String>,
    },
    /// List addresses that mail came back from.
    Bounces,
    /// Record that mail to a customer came back, as a mailbox of bounces shows.
    Bounce {
        /// The customer.
        customer: CustomerId,
        /// What the mail system said.
        #[arg(long)]
        reason: String,
        /// The address [default: the customer's].
        #[arg(long)]
        address: Option<String>,
    },
    /// Send mail to a customer's address again.
    Reset {
        /// The customer.
        customer: CustomerId,
    },
}
