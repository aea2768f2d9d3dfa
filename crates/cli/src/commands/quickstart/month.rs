//! The last part of `quickstart`: a month that runs by itself. A tenant of its own, a clock that is
//! moved on by six hours at a time, and at each step what `serve` would do: usage comes in and is
//! projected, alerts are judged, jobs that are due run, the outbox is delivered. Mails land as
//! files. Nobody calls the invoice run; finance only signs it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use counterfoil_catalog::PriceBook;
use counterfoil_delivery::{
    Relay, RelayOptions, WebSender,
    mail::{MailSender, Transport},
};
use counterfoil_engine::{
    Engine,
    ingest::IngestOptions,
    jobs::{JobSettings, Scheduler, Timetable},
    payments::Payment,
    run::RunOptions,
};
use counterfoil_invoicing::{Customer, RunState, Subscription};
use counterfoil_ledger::Event;
use counterfoil_store::{InvoiceFilter, Store};
use counterfoil_types::{
    Currency, CustomerId, FixedClock, Quantity, TenantId, Timestamp, Zone, timestamp::HOUR_MICROS,
};
use serde::Serialize;
use tokio::sync::watch;

use super::super::deliver;
use crate::{assets, config::Config, context, error::CliError, output::Out, random::SystemRandom};

/// The tenant it is played in.
const TENANT: &str = "quickstart-month";
const FROM: &str = "2026-10-01T00:00:00Z";
/// Finance signs on the first working day, and a payment comes a day later.
const SIGNED: &str = "2026-11-02T09:00:00Z";
const PAID: &str = "2026-11-03T12:00:00Z";
const TO: &str = "2026-11-04T00:00:00Z";
const STEP: i64 = 6 * HOUR_MICROS;

/// Who uses how much in six hours: one that stays within its 10,000 included calls, one that
/// passes them on the 23rd, one that has passed them after a week and whose use grows.
const CUSTOMERS: [(&str, &str, &str, u32, u32); 3] = [
    ("harbour", "Harbour Books", "UTC", 60, 0),
    ("mangrove", "Mangrove Maps", "America/Chicago", 112, 0),
    ("quill", "Quill Press", "Europe/London", 260, 8),
];

/// A mail that was sent.
#[derive(Debug, Serialize)]
pub(super) struct Mailed {
    /// When it was sent.
    at: Timestamp,
    /// To whom.
    to: String,
    subject: String,
    file: PathBuf,
}

/// Plays the month, unless it was played before; tells what was sent to whom and when.
pub(super) async fn play(
    config: &Config,
    store: Arc<dyn Store>,
    out: &mut Out,
) -> Result<Vec<Mailed>, CliError> {
    let folder = config.database.with_file_name("quickstart-mail");
    let clock = Arc::new(FixedClock::new(FROM.parse()?));
    let tenant = TenantId::new(TENANT).map_err(asked)?;
    let engine = Engine::open(store.clone(), clock.clone(), &tenant, config.lanes).await?;
    let engine = context::beside(config, engine);
    let relay = relay(config, store, clock.clone(), tenant, &folder)?;
    if engine.store().runs(&engine.tenant().id).await?.is_empty() {
        set_up(&engine).await?;
    }
    let options = RunOptions { series: config.series.clone(), ..RunOptions::default() };
    let settings = JobSettings { run: options, ..JobSettings::default() };
    let table = Arc::new(Timetable::standard(settings, Zone::utc())?);
    let (_switch, cut) = watch::channel(false);
    let scheduler = Scheduler::new(engine.clone(), table, "quickstart".to_owned(), cut);
    let (signed, paid, to) = (SIGNED.parse()?, PAID.parse()?, TO.parse()?);
    let mut files = BTreeSet::new();
    let (mut mails, mut jobs) = (Vec::new(), 0);
    let from: Timestamp = FROM.parse()?;
    let finished = engine.store().runs(&engine.tenant().id).await?;
    let finished = finished.iter().any(|run| run.state == RunState::Finalized);
    // Played before: only what was sent is shown again.
    let mut at = if finished { to } else { from };
    loop {
        clock.set(at);
        if !finished {
            use_some(&engine, from, at).await?;
        }
        engine.project_all().await?;
        engine.alerts_after_projection().await?;
        jobs += scheduler.run_due(at).await?.done.len();
        if at >= signed {
            sign(&engine).await?;
        }
        if at >= paid {
            pay(&engine).await?;
        }
        relay.deliver_due().await.map_err(asked)?;
        mails.extend(arrived(&folder, &mut files)?);
        if at >= to {
            break;
        }
        at = at.plus_micros(STEP).min(to);
    }
    tell(&mails, jobs, &folder, out)?;
    Ok(mails)
}

fn asked(error: impl std::fmt::Display) -> CliError {
    CliError::asked(error.to_string())
}

async fn set_up(engine: &Engine) -> Result<(), CliError> {
    let (name, text) = assets::BOOKS
        .into_iter()
        .find(|(name, _)| name.contains("metering-engine"))
        .ok_or_else(|| CliError::asked("the price book of the quickstart is missing"))?;
    engine.publish(&PriceBook::parse(name, text)?).await?;
    for (id, name, zone, ..) in CUSTOMERS {
        let id = CustomerId::new(id).map_err(asked)?;
        let zone = zone.parse::<Zone>()?;
        let mut customer = Customer::new(id.clone(), name, Currency::USD, zone);
        customer.email = Some(format!("billing@{id}.example"));
        engine.put_customer(&customer).await?;
        let subscription = Subscription::new(
            format!("{id}-payg").parse().map_err(asked)?,
            id,
            "metering-engine",
            "payg".parse().map_err(asked)?,
            "2026-10-01".parse().map_err(asked)?,
        );
        engine.start_subscription(&subscription).await?;
    }
    // Alerts are judged from here on.
    engine.evaluate_alerts(counterfoil_engine::alerts::Sweep::All).await?;
    Ok(())
}

/// What is used in the six hours before `at`. The ids are made of the time, so nothing counts twice.
async fn use_some(engine: &Engine, from: Timestamp, at: Timestamp) -> Result<(), CliError> {
    let step = (at.micros() - from.micros()) / STEP;
    let mut events = Vec::new();
    for (customer, _, _, calls, growth) in CUSTOMERS {
        let grown = i64::from(calls) + i64::from(growth) * step / 4;
        events.push(Event {
            id: format!("{customer}-{step}"),
            source: "quickstart".to_owned(),
            customer: CustomerId::new(customer).map_err(asked)?,
            event_type: "api.call".to_owned(),
            time: Some(at),
            quantity: Quantity::try_from(&counterfoil_types::Exact::from(grown)).map_err(asked)?,
            unit: None,
            properties: std::collections::BTreeMap::new(),
            subject: None,
            resource: None,
            user: None,
            correction: None,
        });
    }
    engine.ingest(events, IngestOptions::default()).await?;
    Ok(())
}

/// Finance signs what waits.
async fn sign(engine: &Engine) -> Result<(), CliError> {
    for run in engine.store().runs(&engine.tenant().id).await? {
        if run.state == RunState::Review {
            engine.approve_run(run, "finance@counterfoil.example").await?;
        }
    }
    Ok(())
}

/// One customer pays what it owes.
async fn pay(engine: &Engine) -> Result<(), CliError> {
    let customer = CustomerId::new("mangrove").map_err(asked)?;
    let filter = InvoiceFilter { customer: Some(customer.clone()), ..InvoiceFilter::default() };
    for invoice in engine.store().invoices(&engine.tenant().id, &filter, None, 10).await? {
        if invoice.number.is_some() && !invoice.total.is_zero() {
            engine
                .record_payment(&Payment {
                    id: format!("bank-{}", invoice.id),
                    customer: customer.clone(),
                    amount: invoice.total,
                    invoices: vec![invoice.id],
                    method: Some("bank transfer".to_owned()),
                    received_at: PAID.parse()?,
                })
                .await?;
        }
    }
    Ok(())
}

fn relay(
    config: &Config,
    store: Arc<dyn Store>,
    clock: Arc<FixedClock>,
    tenant: TenantId,
    folder: &Path,
) -> Result<Relay, CliError> {
    let mut options = deliver::mail_options(config)?;
    if options.operators.is_empty() {
        let address = "finance@counterfoil.example";
        options.operators.push(
            counterfoil_delivery::mail::message::mailbox("operator", address).map_err(asked)?,
        );
    }
    let mail = MailSender::new(store.clone(), options, Transport::File(folder.to_owned()));
    let web = WebSender::new(store.clone(), deliver::guard(config))?;
    let options = RelayOptions::of("quickstart".to_owned());
    let senders = (Arc::new(web) as _, Some(Arc::new(mail) as _));
    Ok(Relay::new(store, tenant, clock, Arc::new(SystemRandom), options, senders))
}

/// Mails in the folder that were not there before, in the order they were caused.
fn arrived(folder: &Path, known: &mut BTreeSet<PathBuf>) -> Result<Vec<Mailed>, CliError> {
    let failed = |error: std::io::Error| CliError::file(folder.display(), error);
    let mut found = BTreeSet::new();
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(failed)?.path();
                if path.extension().is_some_and(|end| end == "eml") && !known.contains(&path) {
                    found.insert(path);
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut mails = Vec::new();
    for path in found {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| CliError::file(path.display(), error))?;
        let head = text.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ");
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        let date = header("Date:");
        let at = jiff::fmt::rfc2822::parse(&date)
            .map_err(|error| CliError::file(path.display(), error))?
            .timestamp();
        mails.push(Mailed {
            at: Timestamp::from_jiff(at),
            to: header("To:"),
            subject: header("Subject:"),
            file: path.clone(),
        });
        known.insert(path);
    }
    Ok(mails)
}

fn tell(mails: &[Mailed], jobs: usize, folder: &Path, out: &mut Out) -> Result<(), CliError> {
    out.line(format_args!(
        "\n10. A month that ran by itself\n   \
         Three customers, October 2026, the clock moved on by six hours at a time: {jobs} runs of\n   \
         jobs; finance signed on {}. What was sent, to whom and when:\n",
        SIGNED.get(..10).unwrap_or_default()
    ))?;
    let rows = mails
        .iter()
        .map(|mail| {
            let at = mail.at.to_string();
            vec![
                at.get(..16).unwrap_or(&at).replace('T', " "),
                mail.to.clone(),
                mail.subject.clone(),
            ]
        })
        .collect();
    out.table(&["sent (UTC)", "to", "subject"], rows, &[])?;
    out.line(format_args!("   They lie as files in {}\n", folder.display()))
}
