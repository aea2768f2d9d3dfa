//! The command line, as clap reads it.

mod alert;
mod archive;
mod contract;
mod delivery;
mod document;
mod export;
mod jobs;
mod money;
mod report;
mod service;
mod stripe;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use counterfoil_engine::report::AsOf;
use counterfoil_types::{Currency, CustomerId, PlanKey, SubscriptionId, TenantId, Timestamp};

pub(crate) use alert::Alert;
pub(crate) use archive::{Archive, ArchiveFormat, Days, Recover};
pub(crate) use contract::{Clock, CustomerAdd, Late, Subscription, When};
pub(crate) use delivery::{Deliver, Mail, Outbox, Webhook};
pub(crate) use document::{Branding, Written};
pub(crate) use export::{Export, ExportKind, FileFormat};
pub(crate) use jobs::{Jobs, Worker};
pub(crate) use money::{CreditNote, Dunning, Grant, Payment};
pub(crate) use report::Report;
pub(crate) use service::{Key, Load, Serve};
pub(crate) use stripe::{Stripe, StripeMap, StripeMode};

/// Usage billing you can prove: an immutable event ledger, exact pricing, explained invoices.
#[derive(Debug, Parser)]
#[command(name = "counterfoil", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Print JSON for programs instead of tables for people.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Settings of every command. Precedence: command line, environment, file, default.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Settings")]
pub(crate) struct Global {
    /// Configuration file [default: counterfoil.toml in this directory, if there is one].
    #[arg(long, global = true, env = "COUNTERFOIL_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of the embedded store [default: ./counterfoil-data].
    #[arg(long, global = true, env = "COUNTERFOIL_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the store is instead: sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE.
    #[arg(long, global = true, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// The tenant to act on [default: default].
    #[arg(long, global = true, env = "COUNTERFOIL_TENANT")]
    pub(crate) tenant: Option<TenantId>,
    /// Lanes of a tenant made on first use, 1 to 64, fixed from then on [default: 8].
    #[arg(long, global = true, env = "COUNTERFOIL_LANES")]
    pub(crate) lanes: Option<u16>,
    /// Allow the clock to be set.
    #[arg(long, global = true, env = "COUNTERFOIL_TEST_MODE")]
    pub(crate) test_mode: bool,
    /// Let the clock stand at this instant (test mode only).
    #[arg(long, global = true, env = "COUNTERFOIL_NOW", value_name = "TIME")]
    pub(crate) now: Option<Timestamp>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// From nothing to explained invoices, on a shipped sample month.
    #[command(after_help = "Example:\n  counterfoil quickstart --data-dir demo")]
    Quickstart,
    /// Append usage events from files: JSON Lines, CloudEvents, CSV (plain or gzip), and exports.
    #[command(
        after_help = "Examples:\n  counterfoil ingest usage.jsonl.gz\n  cat events.jsonl | counterfoil ingest -\n  counterfoil ingest trace.csv --map trace-mapping.toml --backfill"
    )]
    Ingest(Ingest),
    /// Usage and cost of a customer.
    #[command(
        after_help = "Examples:\n  counterfoil usage acme\n  counterfoil usage acme --at 2026-10-15T00:00:00Z\n  counterfoil usage acme --from 2026-10-01T00:00:00Z --to 2026-10-02T00:00:00Z\n  counterfoil usage --unbilled --from 2026-10-01T00:00:00Z --to 2026-11-01T00:00:00Z"
    )]
    Usage(Usage),
    /// The monthly invoice run: plan, compute, review, approve, finalize.
    #[command(
        after_help = "Examples:\n  counterfoil run --period 2026-10 --dry-run\n  counterfoil run --period 2026-10\n  counterfoil run --period 2026-10 --approve --by finance@example.com\n  counterfoil run --list"
    )]
    Run(Run),
    /// Look at invoices.
    #[command(subcommand)]
    Invoice(Invoice),
    /// Customers.
    #[command(subcommand)]
    Customer(Customer),
    /// Subscriptions: start, change, pause, end.
    #[command(subcommand)]
    Subscription(Subscription),
    /// Payments and what customers have in credit.
    #[command(subcommand)]
    Payment(Payment),
    /// Credit notes.
    #[command(subcommand)]
    CreditNote(CreditNote),
    /// Prepaid credits and granted units.
    #[command(subcommand)]
    Grant(Grant),
    /// What is owed beyond its terms, and the steps of dunning.
    #[command(subcommand)]
    Dunning(Dunning),
    /// Bill inside a period: what has passed its plan's threshold, or one subscription on demand.
    #[command(
        after_help = "Examples:\n  counterfoil bill --thresholds\n  counterfoil bill acme-payg"
    )]
    Bill {
        /// Bill this subscription now, whatever the threshold.
        #[arg(required_unless_present = "thresholds")]
        subscription: Option<SubscriptionId>,
        /// Bill all subscriptions whose unbilled spending has passed the `bill_at` of their plan.
        #[arg(long, conflicts_with = "subscription")]
        thresholds: bool,
    },
    /// One document for a parent and its children.
    #[command(
        after_help = "Examples:\n  counterfoil consolidate --period 2026-10\n  counterfoil consolidate --list"
    )]
    Consolidate {
        /// The month.
        #[arg(long, required_unless_present = "list")]
        period: Option<String>,
        /// List consolidated invoices.
        #[arg(long)]
        list: bool,
    },
    /// Test clocks (test mode only): freeze and advance time for the tenant or one customer.
    #[command(subcommand)]
    Clock(Clock),
    /// Price books.
    #[command(subcommand)]
    Pricing(Pricing),
    /// The next billing periods of a subscription, in its zone.
    #[command(after_help = "Example:\n  counterfoil calendar acme-payg")]
    Calendar {
        /// The subscription.
        subscription: SubscriptionId,
        /// How many periods.
        #[arg(long, default_value_t = 24)]
        count: u32,
    },
    /// What-if: usage in, explained lines out. No database.
    #[command(
        after_help = "Examples:\n  counterfoil price --book metering-engine --plan payg --usage api_calls=150000\n  counterfoil price --book pricing/saas-plans.toml --plan pro --usage requests=600000 --usage active_users=42"
    )]
    Price(Price),
    /// What another price book would have billed over real history. Nothing is written.
    #[command(
        after_help = "Example:\n  counterfoil backtest --book pricing/new.toml --from 2026-07 --to 2026-10"
    )]
    Backtest(Backtest),
    /// Reports of finance, as table, CSV or JSON.
    #[command(
        after_help = "Examples:\n  counterfoil report revenue --by customer --from 2026-10 --to 2026-12\n  counterfoil report ageing --csv\n  counterfoil report reconciliation --from 2026-10 --to 2026-10"
    )]
    Report(Report),
    /// Write events, invoice lines, invoices, usage or a month to files.
    #[command(
        after_help = "Examples:\n  counterfoil export events --from 2026-10-01 --to 2026-11-01 > events.csv\n  counterfoil export events --format parquet --output exports/\n  counterfoil export usage --from 2026-10-01 --to 2026-11-01 --format xlsx\n  counterfoil export month --month 2026-10 --format xlsx\n  counterfoil export events --layout usage-records --format json --customer acme"
    )]
    Export(Export),
    /// Project what was ingested into aggregates. Several may run at once and share the lanes.
    #[command(after_help = "Example:\n  counterfoil project --holder worker-1")]
    Project {
        /// Name of this projector; no two at once may have the same [default: machine and process].
        #[arg(long)]
        holder: Option<String>,
        /// Seconds after which a projector that gives no sign of life loses its lanes.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_600))]
        lease: u32,
    },
    /// Rebuild aggregates from the ledger, or prove that they equal it.
    Rebuild {
        /// Change nothing: fold the whole ledger and compare.
        #[arg(long)]
        check: bool,
    },
    /// Check ledger, aggregates, invoices and numbers against each other.
    Verify,
    /// Old events in files: move them there, list, check, put back.
    #[command(subcommand)]
    Archive(Archive),
    /// Copy the store into a file, while it is in use (SQLite).
    #[command(after_help = "Example:\n  counterfoil backup /mnt/backup/monday.db")]
    Backup {
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// After an older backup was restored.
    #[command(subcommand)]
    Recover(Recover),
    /// Bring the schema of the store up to this program's. Every command does; this one does
    /// nothing else.
    Migrate,
    /// Shard the ledger by lane over a Citus cluster; needs the citus extension in the database.
    Distribute,
    /// Check this installation.
    Doctor,
    /// The HTTP service: events in, usage, quotas, invoices out.
    #[command(
        after_help = "Examples:\n  counterfoil serve\n  counterfoil serve --listen 0.0.0.0:8080 --pricing pricing"
    )]
    Serve(Serve),
    /// API keys.
    #[command(subcommand)]
    Key(Key),
    /// Send made-up events to a service and tell how fast it takes them. They stay in its ledger.
    #[command(
        after_help = "Example:\n  counterfoil load --key cf_… --rate 5000 --customers 1000 --seconds 30"
    )]
    Load(Load),
    /// Send what is due: web hooks and mails. Several may run at once.
    #[command(after_help = "Examples:\n  counterfoil deliver\n  counterfoil deliver --once")]
    Deliver(Deliver),
    /// What was to be told outside, and what became of it.
    #[command(subcommand)]
    Outbox(Outbox),
    /// Work on jobs and deliver the outbox until told to stop.
    #[command(
        after_help = "Any number of workers may run on one PostgreSQL database. SIGTERM: what is under way is\nbrought to its end, or cut off after 20 seconds and left to another worker."
    )]
    Worker(Worker),
    /// What runs by itself: list, run, pause, look at what is parked.
    #[command(subcommand)]
    Jobs(Jobs),
    /// Endpoints of web hooks.
    #[command(subcommand)]
    Webhook(Webhook),
    /// Who issues documents, how they look, and where they go.
    #[command(subcommand)]
    Branding(Branding),
    /// Mails.
    #[command(subcommand)]
    Mail(Mail),
    /// Alerts about usage.
    #[command(subcommand)]
    Alert(Alert),
    /// Stripe: what goes there, what is called what, whether both agree.
    #[command(subcommand)]
    Stripe(Stripe),
    /// Print the OpenAPI document of the service.
    Openapi,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Ingest {
    /// Files to read; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Format of the files [default: by name and content].
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Mapping of a foreign CSV (TOML): which column is what.
    #[arg(long, value_name = "FILE")]
    pub(crate) map: Option<PathBuf>,
    /// Producer of events that do not name one.
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// The events may be older than the tenant's window (35 days).
    #[arg(long)]
    pub(crate) backfill: bool,
    /// Where rejected events go, with reason and line [default: FILE.rejects.jsonl beside the store].
    #[arg(long, value_name = "FILE")]
    pub(crate) rejects: Option<PathBuf>,
    /// Events in one transaction.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One JSON event or CloudEvent a line.
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
    /// An exported JSON document.
    Json,
    /// An exported Parquet file.
    Parquet,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Usage {
    /// The customer.
    #[arg(required_unless_present = "unbilled")]
    pub(crate) customer: Option<CustomerId>,
    /// Show the billing period that holds this instant [default: now].
    #[arg(long, conflicts_with = "from")]
    pub(crate) at: Option<Timestamp>,
    /// Show all meters from here …
    #[arg(long, requires = "to")]
    pub(crate) from: Option<Timestamp>,
    /// … to here instead.
    #[arg(long, requires = "from")]
    pub(crate) to: Option<Timestamp>,
    /// As the ledger stood at this position of the customer's lane, or at this recorded time.
    #[arg(long, conflicts_with = "from", value_name = "POSITION|TIME")]
    pub(crate) as_of: Option<AsOf>,
    /// List events that are accepted but not billed, with reasons.
    #[arg(long, requires = "from")]
    pub(crate) unbilled: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// The month to bill, for example 2026-10.
    #[arg(long, required_unless_present_any = ["list", "resume"])]
    pub(crate) period: Option<String>,
    /// Show what would be billed; write nothing.
    #[arg(long, conflicts_with_all = ["approve", "resume", "list"])]
    pub(crate) dry_run: bool,
    /// Sign the run off after computing it, and finalize its invoices.
    #[arg(long)]
    pub(crate) approve: bool,
    /// Who signs off.
    #[arg(long, env = "USER", default_value = "unknown")]
    pub(crate) by: String,
    /// Continue this run instead.
    #[arg(long, value_name = "ID", conflicts_with = "period")]
    pub(crate) resume: Option<counterfoil_types::RunId>,
    /// Bill this subscription although its invoice is outside the bounds.
    #[arg(long, value_name = "SUBSCRIPTION")]
    pub(crate) accept: Vec<SubscriptionId>,
    /// List all runs.
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Invoice {
    /// List invoices.
    List {
        /// Of this customer only.
        #[arg(long)]
        customer: Option<CustomerId>,
        /// In this state only.
        #[arg(long)]
        state: Option<String>,
    },
    /// Show one invoice.
    Show {
        /// Its number or id.
        invoice: String,
    },
    /// Say how each amount came to be.
    Explain {
        /// Its number or id.
        invoice: String,
    },
    /// Withdraw a pending or overdue invoice.
    Void {
        /// Its number or id.
        invoice: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Issue a voided invoice again, as it comes to now.
    Reissue {
        /// Number or id of the voided one.
        invoice: String,
    },
    /// Give an overdue invoice up.
    WriteOff {
        /// Its number or id.
        invoice: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Write an invoice to a file: page, paper or EN 16931 XML.
    #[command(
        after_help = "Examples:\n  counterfoil invoice document INV-2026-000001\n  counterfoil invoice document INV-2026-000001 --format xml-ubl --out invoice.xml"
    )]
    Document {
        /// Its number or id.
        invoice: String,
        #[command(flatten)]
        written: Written,
        /// Add usage by day, as known now.
        #[arg(long)]
        annex: bool,
        /// Add usage by the values of this property, too.
        #[arg(long, value_name = "PROPERTY")]
        by: Option<String>,
    },
    /// Write invoices to a file.
    #[command(after_help = "Example:\n  counterfoil invoice export --format csv --out october.csv")]
    Export {
        /// CSV of lines, or JSON of whole invoices.
        #[arg(long, value_enum, default_value = "csv")]
        format: ExportFormat,
        /// The file; standard output when absent.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Of this customer only.
        #[arg(long)]
        customer: Option<CustomerId>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// One row per line of each invoice.
    Csv,
    /// One JSON document per line.
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Customer {
    /// Add or change a customer.
    #[command(
        after_help = "Example:\n  counterfoil customer add acme --name 'Acme Ltd' --currency USD --zone America/New_York --tax 'Sales tax=8.875'"
    )]
    Add(Box<CustomerAdd>),
    /// Write a statement of account to a file: what was owed before, and all that moved since.
    Statement {
        /// The customer.
        customer: CustomerId,
        /// From this day on (on the customer's clock).
        #[arg(long)]
        from: jiff::civil::Date,
        /// Up to and with this day.
        #[arg(long)]
        to: jiff::civil::Date,
        #[command(flatten)]
        written: Written,
    },
    /// Move a customer to another time zone, from the end of its open periods on.
    Zone {
        /// The customer.
        id: CustomerId,
        /// IANA time zone.
        zone: String,
        /// Local day; the periods open then are the last in the old zone [default: today].
        #[arg(long)]
        on: Option<jiff::civil::Date>,
    },
    /// Add customers and their subscriptions from a TOML file.
    Import {
        /// The file; see sample/customers.toml.
        file: PathBuf,
    },
    /// List customers.
    List,
    /// Show one customer and its subscriptions.
    Show {
        /// The customer.
        id: CustomerId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pricing {
    /// Check price books and run their worked examples. No database.
    Check {
        /// The files; the shipped books when none is given.
        files: Vec<PathBuf>,
    },
    /// List published price books.
    List,
    /// Compare a file with what is published under its name.
    Diff {
        /// The file.
        file: PathBuf,
    },
    /// Publish price books.
    Publish {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of price books.
    Schema,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Backtest {
    /// The price book to try. Subscriptions to a book of the same name are rated with it.
    #[arg(long, value_name = "FILE")]
    pub(crate) book: PathBuf,
    /// First month, for example 2026-07.
    #[arg(long)]
    pub(crate) from: String,
    /// Last month.
    #[arg(long)]
    pub(crate) to: String,
    /// Print CSV instead of a table.
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Price {
    /// A price book file, or the name of a shipped book.
    #[arg(long)]
    pub(crate) book: String,
    /// The plan.
    #[arg(long)]
    pub(crate) plan: PlanKey,
    /// Usage of a meter in one full period, METER=UNITS; for prices by time of day
    /// METER:WINDOW=UNITS. May be given several times.
    #[arg(long, value_name = "METER=UNITS")]
    pub(crate) usage: Vec<String>,
    /// Quantity of a licensed charge, CHARGE=UNITS; may be given several times.
    #[arg(long, value_name = "CHARGE=UNITS")]
    pub(crate) quantity: Vec<String>,
    /// Currency of the customer; the price book's own when absent.
    #[arg(long)]
    pub(crate) currency: Option<Currency>,
    /// Phase of the plan; the plain plan when absent.
    #[arg(long)]
    pub(crate) phase: Option<String>,
}
