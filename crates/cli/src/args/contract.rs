//! Arguments about contracts: customers, subscriptions, test clocks.

use clap::{Args as ClapArgs, Subcommand};
use counterfoil_types::{CustomerId, PlanKey, SubscriptionId, Timestamp};
use jiff::civil::Date;

/// A customer.
#[derive(Debug, ClapArgs)]
pub(crate) struct CustomerAdd {
    /// The name events carry.
    pub(crate) id: CustomerId,
    /// Shown on invoices.
    #[arg(long)]
    pub(crate) name: String,
    /// Currency of its invoices (ISO 4217).
    #[arg(long)]
    pub(crate) currency: String,
    /// IANA time zone of its billing periods.
    #[arg(long, default_value = "UTC")]
    pub(crate) zone: String,
    /// Where invoices go.
    #[arg(long)]
    pub(crate) email: Option<String>,
    /// A tax rate, NAME=PERCENT; may be given several times.
    #[arg(long)]
    pub(crate) tax: Vec<String>,
    /// Prices contain the tax.
    #[arg(long)]
    pub(crate) tax_inclusive: bool,
    /// Why no tax is charged.
    #[arg(long, value_name = "REASON")]
    pub(crate) tax_exempt: Option<String>,
    /// Tax number of a customer that owes the tax itself.
    #[arg(long, value_name = "TAX NUMBER")]
    pub(crate) reverse_charge: Option<String>,
    /// The customer that pays its invoices.
    #[arg(long)]
    pub(crate) parent: Option<CustomerId>,
    /// Days it has to pay [default: 30].
    #[arg(long, value_name = "DAYS")]
    pub(crate) terms: Option<u32>,
    /// What happens to its late events [default: the plan's policy].
    #[arg(long, value_enum)]
    pub(crate) late_events: Option<Late>,
}

/// What happens to late events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Late {
    /// A line on the next invoice.
    NextInvoice,
    /// A credit note for what got cheaper.
    CreditNote,
    /// Reported, never billed.
    ReportOnly,
}

/// When a change takes effect.
#[derive(Clone, Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct When {
    /// From the start of the customer's current day.
    #[arg(long)]
    pub(crate) today: bool,
    /// From this local day.
    #[arg(long, value_name = "DATE")]
    pub(crate) on: Option<Date>,
    /// When the open billing period ends.
    #[arg(long)]
    pub(crate) at_period_end: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Subscription {
    /// Put a customer on a plan.
    #[command(
        after_help = "Examples:\n  counterfoil subscription start acme-payg --customer acme --book metering-engine --plan payg --start 2026-10-01\n  counterfoil subscription start acme-team --customer acme --book b --plan team --start 2026-10-01 --quantity seats=5 --trial-days 14 --override 'calls.unit_price=\"0.008\"'"
    )]
    Start {
        /// Name of the subscription.
        id: SubscriptionId,
        /// The customer.
        #[arg(long)]
        customer: CustomerId,
        /// Name of the price book.
        #[arg(long)]
        book: String,
        /// The plan.
        #[arg(long)]
        plan: PlanKey,
        /// First local day.
        #[arg(long)]
        start: Date,
        /// First local day it no longer covers.
        #[arg(long)]
        end: Option<Date>,
        /// Stay on this version of the book, whatever is published later.
        #[arg(long, value_name = "VERSION")]
        pin: Option<String>,
        /// Days from the start that cost nothing.
        #[arg(long, value_name = "DAYS")]
        trial_days: Option<u32>,
        /// Units of a licensed charge, CHARGE=UNITS; may be given several times.
        #[arg(long, value_name = "CHARGE=UNITS")]
        quantity: Vec<String>,
        /// What differs for this customer, CHARGE.KEY=JSON; `plan` as charge for plan-level keys.
        #[arg(long = "override", value_name = "CHARGE.KEY=JSON")]
        overrides: Vec<String>,
    },
    /// Change the plan.
    #[command(
        after_help = "Example:\n  counterfoil subscription plan acme-payg pro --on 2026-10-16"
    )]
    Plan {
        /// The subscription.
        id: SubscriptionId,
        /// The new plan.
        plan: PlanKey,
        /// Its price book, where it is another one.
        #[arg(long)]
        book: Option<String>,
        /// Stay on this version of the book.
        #[arg(long, value_name = "VERSION")]
        pin: Option<String>,
        #[command(flatten)]
        when: When,
    },
    /// Change the units of a licensed charge.
    Quantity {
        /// The subscription.
        id: SubscriptionId,
        /// CHARGE=UNITS.
        quantity: String,
        #[command(flatten)]
        when: When,
    },
    /// Change the prices of this customer; an empty patch removes them.
    Override {
        /// The subscription.
        id: SubscriptionId,
        /// The charge, or `plan` for plan-level keys.
        charge: String,
        /// What differs, as JSON: '{"unit_price":"0.008"}'.
        patch: String,
        #[command(flatten)]
        when: When,
    },
    /// Put a plan on top.
    AddOn {
        /// The subscription.
        id: SubscriptionId,
        /// The plan.
        plan: PlanKey,
        #[command(flatten)]
        when: When,
    },
    /// Remove an add-on.
    DropAddOn {
        /// The subscription.
        id: SubscriptionId,
        /// The plan.
        plan: PlanKey,
        #[command(flatten)]
        when: When,
    },
    /// Stop billing for a while.
    Pause {
        /// The subscription.
        id: SubscriptionId,
        #[command(flatten)]
        when: When,
    },
    /// Go on billing.
    Resume {
        /// The subscription.
        id: SubscriptionId,
        #[command(flatten)]
        when: When,
    },
    /// End a subscription. `--today`: it is its last day; `--on`: the first day it no longer
    /// covers.
    End {
        /// The subscription.
        id: SubscriptionId,
        #[command(flatten)]
        when: When,
    },
    /// Show a subscription with its changes.
    Show {
        /// The subscription.
        id: SubscriptionId,
    },
    /// List subscriptions.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Clock {
    /// Freeze time at an instant, or move a frozen clock on to it.
    #[command(
        after_help = "Example:\n  counterfoil --test-mode clock set 2026-11-01T12:00:00Z --customer acme"
    )]
    Set {
        /// The instant.
        to: Timestamp,
        /// Of this customer only.
        #[arg(long)]
        customer: Option<CustomerId>,
    },
    /// Move a frozen clock on by days.
    Advance {
        /// How many days.
        days: u32,
        /// Of this customer only.
        #[arg(long)]
        customer: Option<CustomerId>,
    },
    /// Let time run again.
    Release {
        /// Of this customer only.
        #[arg(long)]
        customer: Option<CustomerId>,
    },
    /// List frozen clocks.
    List,
}
