//! `quickstart`: from nothing to explained invoices, on the shipped sample of October 2026. The
//! clock stands at 2 November 2026, so the month is over whenever this is run. Running it again
//! changes nothing. The last part plays a month that runs by itself, see [`month`].

mod month;

use counterfoil_catalog::PriceBook;
use counterfoil_engine::{
    Engine, EngineError,
    ingest::IngestOptions,
    run::{Month, RunOptions},
};
use counterfoil_invoicing::{RunState, explain};
use counterfoil_store::InvoiceFilter;
use counterfoil_types::{CustomerId, Period};

use super::{Verdict, customer, ingest, invoice, run as run_command, usage};
use crate::{
    assets, commands::ingest::Decoder, config::Config, context, error::CliError, output::Out,
    source::Source,
};

const NOW: &str = "2026-11-02T09:00:00Z";
const MONTH: &str = "2026-10";
/// Shown in full: it has included units, two tiers and a tax.
const SHOWN: &str = "acme-maps";

pub(super) async fn run(config: &mut Config, out: &mut Out) -> Result<Verdict, CliError> {
    config.now = Some(NOW.parse()?);
    let (engine, store) = context::engine(config).await?;
    out.line(format_args!("Store: {}\n", store.place()))?;
    let verdict = async {
        engine.may_bill().await?;
        let verdict = play(&engine, config, out).await?;
        engine.take_anchor(false).await?;
        Ok(verdict)
    }
    .await;
    store.close().await;
    verdict
}

async fn play(engine: &Engine, config: &Config, out: &mut Out) -> Result<Verdict, CliError> {
    out.line("1. Price books")?;
    for (name, text) in assets::BOOKS {
        let book = PriceBook::parse(name, text)?;
        engine.publish(&book).await?;
        out.line(format_args!("   {} sha256 {}…", book.reference, book.digest.short()))?;
    }

    let (customers, subscriptions) =
        customer::import(engine, "sample/customers.toml", assets::SAMPLE_CUSTOMERS).await?;
    out.line(format_args!(
        "\n2. Customers\n   {customers} customers, {subscriptions} subscriptions"
    ))?;

    out.line("\n3. Usage of October 2026")?;
    let source = Source::memory("sample/usage-2026-10.jsonl.gz", assets::SAMPLE_USAGE)?;
    let rejects = config.database.with_file_name("sample.rejects.jsonl");
    ingest::make_room(&rejects)?;
    let report = ingest::file(
        engine,
        source,
        Decoder::new(None, None),
        ingest::Rejects::at(rejects, false)?,
        IngestOptions { backfill: false },
        5_000,
    )
    .await?;
    engine.project_all().await?;
    ingest::print(out, &report)?;
    out.line("   (the sample holds repeats, two conflicting ids, late events and corrections on purpose)")?;

    let month: Month = MONTH.parse()?;
    let zone = counterfoil_types::Zone::utc();
    let (from, to) = month.bounds(&zone)?;
    let unbilled = engine.unbilled(Period::new(from, to)).await?;
    out.line("\n4. Accepted, but not billed")?;
    for group in &unbilled {
        out.line(format_args!(
            "   {} × {} of {}: {}",
            group.events, group.event_type, group.customer, group.reason
        ))?;
    }

    out.line("\n5. The invoice run")?;
    let options = RunOptions { series: config.series.clone(), ..RunOptions::default() };
    let runs = engine.store().runs(&engine.tenant().id).await?;
    let finished =
        runs.into_iter().find(|run| run.period == MONTH && run.state == RunState::Finalized);
    let manifest = match finished {
        Some(run) => engine.manifest(run).await?,
        None => {
            let opened = engine.open_run(&month, &options).await?;
            let by = "quickstart".to_owned();
            run_command::work(engine, opened, &options, Some(&by), out).await?
        }
    };
    if !out.is_json() {
        run_command::print(&manifest, false, out)?;
    }

    out.line("\n6. Invoices")?;
    if !out.is_json() {
        invoice::list(engine, &InvoiceFilter::default(), out).await?;
    }
    let customer = CustomerId::new(SHOWN).map_err(|error| CliError::asked(error.to_string()))?;
    let filter = InvoiceFilter { customer: Some(customer.clone()), ..InvoiceFilter::default() };
    let of_customer = engine.store().invoices(&engine.tenant().id, &filter, None, 10).await?;
    let number = of_customer.iter().rev().find_map(|invoice| invoice.number.clone());
    let number = number.ok_or_else(|| {
        EngineError::not_found("finalized invoice of", SHOWN, "; the run parked it, see above")
    })?;
    let shown = engine
        .store()
        .invoice_numbered(&engine.tenant().id, &number)
        .await?
        .ok_or_else(|| EngineError::not_found("invoice", &number, ""))?;
    out.line("\n7. One of them in full\n")?;
    invoice::show(&shown, out)?;
    out.line("\n8. How it came to be\n")?;
    for line in explain(&shown) {
        out.line(line)?;
    }

    out.line("\n9. What that customer has used in November so far\n")?;
    for current in engine.current_usage(&customer, engine.now(), None).await? {
        usage::subscription(&current, &engine.customer(&customer).await?.zone, out)?;
    }
    let mails = month::play(config, engine.shared_store(), out).await?;
    next(config, &number, out)?;
    out.value(&serde_json::json!({
        "ingest": report, "unbilled": unbilled, "run": manifest, "invoice": shown, "mails": mails,
    }))?;
    Ok(Verdict::Done)
}

fn next(config: &Config, number: &str, out: &mut Out) -> Result<(), CliError> {
    let data = config.database.parent().map(|path| path.display().to_string()).unwrap_or_default();
    let with = match &config.postgres {
        Some(_) => "the same DATABASE_URL".to_owned(),
        None => format!("--data-dir {data}"),
    };
    out.line(format_args!(
        "Try next (with {with}):\n  \
         counterfoil invoice explain {number}\n  \
         counterfoil usage {SHOWN} --from 2026-10-01T00:00:00Z --to 2026-11-01T00:00:00Z\n  \
         counterfoil calendar {SHOWN}-payg\n  \
         counterfoil price --book metering-engine --plan payg --usage api_calls=250000\n  \
         counterfoil invoice export --format csv --out october.csv\n  \
         counterfoil verify"
    ))
}
