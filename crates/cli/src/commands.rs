//! The commands, one file each.

mod after;
mod alert;
mod archive;
mod backtest;
mod calendar;
mod credit_note;
mod customer;
pub(crate) mod deliver;
mod distribute;
mod doctor;
mod document;
mod export;
mod grant;
mod ingest;
mod invoice;
mod jobs;
mod key;
mod load;
mod mail;
mod migrate;
mod outbox;
mod payment;
mod price;
mod pricing;
mod project;
mod quickstart;
mod rebuild;
mod recover;
mod report;
mod run;
mod serve;
pub(crate) mod stripe;
mod subscription;
mod usage;
mod webhook;
pub(crate) mod worker;

use counterfoil_engine::Engine;

use crate::{
    args::{Archive, Args, Command, CreditNote, Dunning, Grant, Invoice, Payment},
    config::{self, Config},
    context,
    error::CliError,
    output::Out,
};

/// How a command that did not fail went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is done.
    Done,
    /// Done, but something wants a decision.
    WantsDecision,
}

impl Verdict {
    /// `WantsDecision` if something does.
    pub(crate) fn unless(wants_decision: bool) -> Self {
        if wants_decision { Self::WantsDecision } else { Self::Done }
    }
}

/// Runs the command.
pub(crate) async fn dispatch(args: Args, out: &mut Out) -> Result<Verdict, CliError> {
    // Commands without a database come first: they must work where none can be opened.
    match args.command {
        Command::Price(price) => return price::run(&price, out),
        Command::Pricing(crate::args::Pricing::Check { files }) => {
            return pricing::check(&files, out);
        }
        Command::Pricing(crate::args::Pricing::Schema) => return pricing::schema(out),
        Command::Openapi => {
            let text = serde_json::to_string_pretty(&counterfoil_api::openapi_document())?;
            out.raw(&format!("{text}\n"))?;
            return Ok(Verdict::Done);
        }
        Command::Load(load) => return load::run(&load, out).await,
        _ => {}
    }
    let mut config = config::load(&args.global)?;
    if matches!(args.command, Command::Quickstart) {
        return quickstart::run(&mut config, out).await;
    }
    if matches!(args.command, Command::Migrate) {
        return migrate::run(&config, out).await;
    }
    if let Command::Serve(serve) = &args.command {
        return serve::run(&config, serve, out).await;
    }
    if matches!(args.command, Command::Distribute) {
        return distribute::run(&config, out).await;
    }
    let (engine, store) = context::engine(&config).await?;
    let verdict = match &args.command {
        Command::Backup { file } => recover::backup(&store, file, out).await,
        _ => anchored(args.command, &engine, &config, out).await,
    };
    // Leaves one tidy file behind, whatever the command did.
    store.close().await;
    verdict
}

/// What a command has to do with the anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchoring {
    /// Nothing.
    None,
    /// It writes: the anchor is moved on afterwards.
    Writes,
    /// It gives out numbers or moves money: a store that was rolled back refuses it.
    Bills,
}

fn anchoring(command: &Command) -> Anchoring {
    let bills = match command {
        Command::Ingest(_) | Command::Archive(Archive::Run { .. } | Archive::Restore { .. }) => {
            return Anchoring::Writes;
        }
        Command::Run(run) => !run.dry_run && !run.list,
        Command::Bill { .. } | Command::Dunning(Dunning::Run) => true,
        Command::Consolidate { list, .. } => !list,
        Command::Invoice(command) => matches!(
            command,
            Invoice::Void { .. } | Invoice::Reissue { .. } | Invoice::WriteOff { .. }
        ),
        Command::Payment(command) => {
            matches!(command, Payment::Record { .. } | Payment::Refund { .. })
        }
        Command::CreditNote(command) => {
            matches!(command, CreditNote::Issue { .. } | CreditNote::Late { .. })
        }
        Command::Grant(command) => matches!(command, Grant::Add(_) | Grant::Renew { .. }),
        _ => false,
    };
    if bills { Anchoring::Bills } else { Anchoring::None }
}

/// Runs a command between a look at the anchor and moving it on.
async fn anchored(
    command: Command,
    engine: &Engine,
    config: &Config,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let anchoring = anchoring(&command);
    if anchoring == Anchoring::Bills {
        engine.may_bill().await?;
    }
    let verdict = with_store(command, engine, config, out).await?;
    if anchoring != Anchoring::None {
        engine.take_anchor(false).await?;
    }
    Ok(verdict)
}

async fn with_store(
    command: Command,
    engine: &Engine,
    config: &Config,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        Command::Ingest(ingest) => ingest::run(engine, config, &ingest, out).await,
        Command::Usage(usage) => usage::run(engine, &usage, out).await,
        Command::Run(run) => run::run(engine, config, &run, out).await,
        Command::Invoice(command) => invoice::run(engine, config, command, out).await,
        Command::Customer(command) => customer::run(engine, config, command, out).await,
        Command::Subscription(command) => subscription::run(engine, command, out).await,
        Command::Payment(command) => payment::run(engine, config, command, out).await,
        Command::CreditNote(command) => credit_note::run(engine, config, command, out).await,
        Command::Grant(command) => grant::run(engine, command, out).await,
        Command::Dunning(command) => after::dunning(engine, command, out).await,
        Command::Bill { subscription, thresholds: _ } => {
            after::bill(engine, config, subscription, out).await
        }
        Command::Consolidate { period, list: _ } => after::consolidate(engine, period, out).await,
        Command::Clock(command) => after::clock(engine, config, command, out).await,
        Command::Pricing(command) => pricing::run(engine, command, out).await,
        Command::Calendar { subscription, count } => {
            calendar::run(engine, &subscription, count, out).await
        }
        Command::Backtest(backtest) => backtest::run(engine, &backtest, out).await,
        Command::Report(report) => report::run(engine, &report, out).await,
        Command::Export(export) => export::run(engine, &export, out).await,
        Command::Project { holder, lease } => project::run(engine, holder, lease, out).await,
        Command::Rebuild { check } => rebuild::run(engine, check, out).await,
        Command::Verify => rebuild::verify(engine, out).await,
        Command::Archive(command) => archive::run(engine, config, command, out).await,
        Command::Recover(command) => recover::run(engine, command, out).await,
        Command::Doctor => doctor::run(engine, config, out).await,
        Command::Key(command) => key::run(engine, command, out).await,
        Command::Deliver(deliver) => deliver::run(engine, config, &deliver, out).await,
        Command::Outbox(command) => outbox::run(engine, command, out).await,
        Command::Worker(worker) => worker::run(engine, config, &worker, out).await,
        Command::Jobs(command) => jobs::run(engine, config, command, out).await,
        Command::Webhook(command) => webhook::run(engine, config, command, out).await,
        Command::Alert(command) => alert::run(engine, command, out).await,
        Command::Branding(command) => document::branding(engine, command, out).await,
        Command::Mail(command) => mail::run(engine, config, command, out).await,
        Command::Stripe(command) => stripe::run(engine, config, command, out).await,
        Command::Quickstart
        | Command::Migrate
        | Command::Distribute
        | Command::Backup { .. }
        | Command::Price(_)
        | Command::Load(_)
        | Command::Serve(_)
        | Command::Openapi => Ok(Verdict::Done),
    }
}
