//! Arguments about money after the invoice: payments, credit notes, grants, dunning, reports.

use super::document::Written;
use clap::{Args as ClapArgs, Subcommand};
use counterfoil_types::{CustomerId, Quantity, SubscriptionId, Timestamp};

#[derive(Debug, Subcommand)]
pub(crate) enum Payment {
    /// Record a payment. It goes to the invoices named, or to the longest due ones; what is left
    /// is kept for the customer.
    #[command(
        after_help = "Example:\n  counterfoil payment record bank-4711 --customer acme --amount 1150.00 --invoice INV-2026-000001"
    )]
    Record {
        /// Its id, for example that of the bank's entry: recording it twice records it once.
        id: String,
        /// Who paid.
        #[arg(long)]
        customer: CustomerId,
        /// How much, in the customer's currency.
        #[arg(long)]
        amount: Quantity,
        /// Number of an invoice, or of a consolidated one; may be given several times.
        #[arg(long)]
        invoice: Vec<String>,
        /// How it came.
        #[arg(long)]
        method: Option<String>,
        /// When [default: now].
        #[arg(long)]
        at: Option<Timestamp>,
    },
    /// Write the receipt of a payment to a file.
    Receipt {
        /// Id of the payment.
        id: String,
        #[command(flatten)]
        written: Written,
    },
    /// List payments.
    List {
        /// Of this customer only.
        #[arg(long)]
        customer: Option<CustomerId>,
    },
    /// What customers have in credit, and what is open on invoices.
    Balances {
        /// Of this customer only.
        #[arg(long)]
        customer: Option<CustomerId>,
    },
    /// Pay out what a customer has in credit.
    Refund {
        /// Its id: paying out twice pays once.
        id: String,
        /// The customer.
        #[arg(long)]
        customer: CustomerId,
        /// How much.
        #[arg(long)]
        amount: Quantity,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CreditNote {
    /// Issue a credit note.
    #[command(
        after_help = "Examples:\n  counterfoil credit-note issue cn-1 --invoice INV-2026-000001 --full --reason 'wrong customer'\n  counterfoil credit-note issue cn-2 --invoice INV-2026-000002 --line 1=5.00 --reason goodwill\n  counterfoil credit-note issue cn-3 --invoice INV-2026-000002 --amount 10 --reason goodwill --refund"
    )]
    Issue {
        /// Its id: issuing it twice issues it once.
        id: String,
        /// Number or id of the invoice.
        #[arg(long)]
        invoice: String,
        /// All that is left.
        #[arg(long, conflicts_with_all = ["line", "amount"])]
        full: bool,
        /// A line (from 1), or LINE=AMOUNT for part of it, tax included; may be given several
        /// times.
        #[arg(long, conflicts_with = "amount", required_unless_present_any = ["full", "amount"])]
        line: Vec<String>,
        /// An amount, tax included, spread over the lines.
        #[arg(long)]
        amount: Option<Quantity>,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Pay out what was paid instead of keeping it for the customer.
        #[arg(long)]
        refund: bool,
    },
    /// Issue what late events call for on a subscription whose policy is `credit_note`.
    Late {
        /// The subscription.
        subscription: SubscriptionId,
    },
    /// Write a credit note to a file: page, paper or EN 16931 XML.
    Document {
        /// Its id.
        id: String,
        #[command(flatten)]
        written: Written,
    },
    /// List credit notes.
    List {
        /// Of this customer only.
        #[arg(long)]
        customer: Option<CustomerId>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Grant {
    /// Grant money or units of a meter.
    #[command(
        after_help = "Examples:\n  counterfoil grant add welcome --customer acme --amount 50 --currency USD --promotional --expires 2027-01-01T00:00:00Z\n  counterfoil grant add pack --customer acme --amount 100000 --meter api_calls --every month --rollover 20000"
    )]
    Add(Box<GrantAdd>),
    /// List grants with what is left, in order of use.
    List {
        /// Of this customer only.
        #[arg(long)]
        customer: Option<CustomerId>,
    },
    /// What moved a grant; for units, event by event with --events.
    Show {
        /// The grant.
        id: String,
        /// Burn-down event by event, up to now.
        #[arg(long)]
        events: bool,
    },
    /// Expire what has expired, and grant the next windows of what comes again.
    Renew {
        /// Days an expired grant is kept for the invoices that may still use it.
        #[arg(long, default_value_t = 35, value_name = "DAYS")]
        wait: u32,
    },
}

/// A grant.
#[derive(Debug, ClapArgs)]
pub(crate) struct GrantAdd {
    /// Its name: granting it twice grants it once.
    pub(crate) id: String,
    /// Whose.
    #[arg(long)]
    pub(crate) customer: CustomerId,
    /// How much.
    #[arg(long)]
    pub(crate) amount: Quantity,
    /// Money in this currency.
    #[arg(long, required_unless_present = "meter")]
    pub(crate) currency: Option<String>,
    /// Units of this meter.
    #[arg(long, conflicts_with = "currency")]
    pub(crate) meter: Option<counterfoil_types::MeterKey>,
    /// Given away, not paid for.
    #[arg(long)]
    pub(crate) promotional: bool,
    /// Shown on invoices [default: the id].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Lower is used first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i64,
    /// From when it can be used [default: now].
    #[arg(long)]
    pub(crate) from: Option<Timestamp>,
    /// From when it cannot be used any more.
    #[arg(long)]
    pub(crate) expires: Option<Timestamp>,
    /// It comes again with each window: day, week, month, quarter or year.
    #[arg(long, value_name = "UNIT")]
    pub(crate) every: Option<String>,
    /// Most that is carried into the next window.
    #[arg(long, requires = "every")]
    pub(crate) rollover: Option<Quantity>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dunning {
    /// Move what is past its due date to overdue, and record the steps it has come to.
    Run,
    /// Show the steps.
    Steps,
    /// Replace the steps: DAYS=NAME for each.
    #[command(after_help = "Example:\n  counterfoil dunning set 3=reminder 14='last reminder'")]
    Set {
        /// DAYS=NAME.
        #[arg(required = true)]
        steps: Vec<String>,
    },
}
