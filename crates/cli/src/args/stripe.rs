//! Arguments of `stripe`.

use clap::{Subcommand, ValueEnum};
use counterfoil_types::{CustomerId, MeterKey};

/// What goes to Stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StripeMode {
    /// Nothing.
    Off,
    /// Usage, as meter events.
    MeterEvents,
    /// Usage, as usage records of subscription items (old versions of the API).
    UsageRecords,
    /// Finalized invoices.
    Invoices,
}

/// `stripe`.
#[derive(Debug, Subcommand)]
pub(crate) enum Stripe {
    /// The mode, what is mapped, the last reconciliation.
    Status,
    /// Say what goes to Stripe. What is not named stays as it is.
    #[command(
        after_help = "Examples:\n  counterfoil stripe mode meter-events --stragglers 12 --hold true\n  counterfoil stripe mode invoices --days-until-due 14"
    )]
    Mode {
        /// What.
        mode: StripeMode,
        /// Hours after its end in which late usage of a period is still pushed [default: 1].
        #[arg(long)]
        stragglers: Option<u32>,
        /// Usage records: whether totals replace each other instead of being added up.
        #[arg(long)]
        set: Option<bool>,
        /// Whether a difference keeps a run from being finalized.
        #[arg(long)]
        hold: Option<bool>,
        /// Invoices: sent by e-mail with so many days to pay, instead of charged at once.
        #[arg(long)]
        days_until_due: Option<u32>,
    },
    /// Say what something is called at Stripe.
    #[command(subcommand)]
    Map(StripeMap),
    /// Make at Stripe what is missing there, and write down what it is called: customers, and the
    /// meters that are named.
    #[command(
        after_help = "Example:\n  counterfoil stripe setup --meter api_calls --meter storage"
    )]
    Setup {
        /// A meter; several may be given.
        #[arg(long = "meter")]
        meters: Vec<MeterKey>,
        /// Decimals of the totals of these meters.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=12))]
        decimals: u8,
        /// This customer only; all of them when absent.
        #[arg(long)]
        customer: Option<CustomerId>,
    },
    /// Queue usage now; a worker or `deliver` sends it.
    Push,
    /// Compare what Stripe counts with what we count, per customer, meter and period.
    Reconcile {
        /// Days back to periods that are over.
        #[arg(long, default_value_t = 35, value_parser = clap::value_parser!(u32).range(0..=400))]
        days: u32,
    },
}

/// `stripe map`.
#[derive(Debug, Subcommand)]
pub(crate) enum StripeMap {
    /// A customer.
    Customer {
        /// Ours.
        customer: CustomerId,
        /// Its id there, `cus_…`.
        id: String,
    },
    /// A meter.
    Meter {
        /// Ours.
        meter: MeterKey,
        /// The name its events carry there.
        event_name: String,
        /// Its id there, `mtr_…`, by which totals are asked for.
        #[arg(long)]
        id: Option<String>,
        /// Decimals of its totals.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=12))]
        decimals: u8,
    },
    /// The subscription item that usage records go to: it says customer and price.
    Item {
        /// Ours.
        customer: CustomerId,
        /// Our meter.
        meter: MeterKey,
        /// Its id there, `si_…`.
        id: String,
    },
}
