//! The commands, one file each.

mod after;
mod backtest;
mod calendar;
mod credit_note;
mod customer;
mod doctor;
mod grant;
mod ingest;
mod invoice;
mod key;
mod load;
mod migrate;
mod payment;
mod price;
mod pricing;
mod quickstart;
mod rebuild;
mod report;
mod run;
mod serve;
mod subscription;
mod usage;

use counterfoil_engine::Engine;

use crate::{
    args::{Args, Command},
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
    let (engine, store) = context::engine(&config).await?;
    let verdict = with_store(args.command, &engine, &config, out).await;
    // Leaves one tidy file behind, whatever the command did.
    store.close().await;
    verdict
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
        Command::Customer(command) => customer::run(engine, command, out).await,
        Command::Subscription(command) => subscription::run(engine, command, out).await,
        Command::Payment(command) => payment::run(engine, command, out).await,
        Command::CreditNote(command) => credit_note::run(engine, command, out).await,
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
        Command::Rebuild { check } => rebuild::run(engine, check, out).await,
        Command::Verify => rebuild::verify(engine, out).await,
        Command::Doctor => doctor::run(engine, config, out).await,
        Command::Key(command) => key::run(engine, command, out).await,
        Command::Quickstart
        | Command::Migrate
        | Command::Price(_)
        | Command::Load(_)
        | Command::Serve(_)
        | Command::Openapi => Ok(Verdict::Done),
    }
}
