//! `serve`: the HTTP service. Stops on SIGTERM or SIGINT, drains, and closes the store; publishes
//! new price books on SIGHUP.

use std::{path::Path, sync::Arc, time::Duration};

use counterfoil_api::{
    Listen, Options, Shared,
    limits::{By, InMemory, InRedis, Limiter, Limits, RateRule},
};
use counterfoil_catalog::PriceBook;
use counterfoil_engine::{Engine, books::Published};
use counterfoil_rating::quota::RateWindow;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::Verdict;
use crate::{
    args::Serve, config::Config, context, error::CliError, output::Out, random::SystemRandom,
};

/// How often the outbox is looked at.
const RELAY_PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(
    config: &Config,
    serve: &Serve,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let (engine, store) = context::engine(config).await?;
    let table = Arc::new(config.timetable()?);
    let shared = Shared::new(
        store.shared(),
        context::clock(config),
        Arc::new(SystemRandom),
        Options { jobs: Arc::clone(&table), ..options(config).await? },
    );
    // The engine of the configured tenant is open from the start, so that it is projected.
    shared
        .engine(&config.tenant)
        .await
        .map_err(|problem| CliError::asked(problem.detail.clone()))?;
    let pricing = serve.pricing.clone().or_else(|| config.serve.pricing.clone());
    if let Some(directory) = &pricing {
        publish(&engine, directory).await?;
    }
    let address = serve.listen.or(config.serve.listen);
    let address = address.unwrap_or_else(|| ([127, 0, 0, 1], 8080).into());
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| CliError::asked(format!("cannot listen on {address}: {error}")))?;
    let address = listener.local_addr()?;
    let scheme = if config.serve.tls.is_some() { "https" } else { "http" };
    out.line(format_args!("Listening on {scheme}://{address}, store {}", store.place()))?;
    out.line(format_args!("API reference: {scheme}://{address}/docs"))?;
    out.flush()?;
    if let Some(file) = &serve.address_file {
        std::fs::write(file, address.to_string())
            .map_err(|error| CliError::file(file.display(), error))?;
    }
    let background = [
        tokio::spawn(counterfoil_api::forget(shared.clone())),
        tokio::spawn(counterfoil_api::anchor(shared.clone(), Duration::from_secs(60))),
        tokio::spawn(counterfoil_api::project(shared.clone())),
        tokio::spawn(counterfoil_api::watch(shared.clone(), Duration::from_secs(10))),
        tokio::spawn(reload(engine.clone(), pricing)),
    ];
    let relay = super::deliver::relay(config, &engine, None)?;
    let (stop_relay, told) = tokio::sync::oneshot::channel::<()>();
    let relaying = tokio::spawn(counterfoil_delivery::run(relay, RELAY_PAUSE, async {
        // Dropped or sent: it is time to stop.
        let _ = told.await;
    }));
    let (stop_jobs, told) = tokio::sync::oneshot::channel::<()>();
    let working = config.jobs.enabled.unwrap_or(true).then(|| {
        let (engine, config, table) = (engine.clone(), config.clone(), Arc::clone(&table));
        tokio::spawn(async move {
            let stop = async {
                let _ = told.await;
            };
            super::worker::work(engine, table, &config, super::worker::name(), stop).await
        })
    });
    let stop = stopped()?;
    // Jobs and connections are brought to an end at the same time.
    let stop = async move {
        stop.await;
        drop(stop_jobs);
    };
    let cut_off = counterfoil_api::serve(&shared, listener, listen(config)?, stop).await;
    // What is on its way is brought to its end, or is sent again under the same id by the next one.
    drop(stop_relay);
    if tokio::time::timeout(Listen::default().drain, relaying).await.is_err() {
        tracing::warn!("deliveries were cut off; they are sent again");
    }
    if let Some(working) = working {
        match working.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "jobs were not worked on"),
            Err(error) => tracing::error!(%error, "the worker stopped"),
        }
    }
    for task in background {
        task.abort();
        // Whatever it was doing is a transaction or nothing.
        let _ = task.await;
    }
    store.close().await;
    if cut_off > 0 {
        out.line(format_args!("{cut_off} connections were cut off"))?;
    }
    out.line("stopped")?;
    Ok(Verdict::Done)
}

/// Done when the process is told to stop.
pub(super) fn stopped() -> Result<impl Future<Output = ()>, CliError> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

fn listen(config: &Config) -> Result<Listen, CliError> {
    let (serve, default) = (&config.serve, Listen::default());
    let seconds = |given: Option<u64>, default| given.map_or(default, Duration::from_secs);
    let tls = serve.tls.as_ref().map(|tls| {
        counterfoil_api::tls(&tls.certificates, &tls.key)
            .map_err(|error| CliError::asked(error.to_string()))
    });
    Ok(Listen {
        connections: serve.connections.unwrap_or(default.connections),
        header_timeout: seconds(serve.header_timeout, default.header_timeout),
        drain: seconds(serve.drain, default.drain),
        tls: tls.transpose()?,
    })
}

async fn options(config: &Config) -> Result<Options, CliError> {
    let serve = &config.serve;
    let limiter: Arc<dyn Limiter> = match &serve.redis {
        Some(url) => {
            let connected = InRedis::connect(url).await;
            Arc::new(connected.map_err(|error| CliError::asked(format!("redis: {error}")))?)
        }
        None => Arc::new(InMemory::default()),
    };
    let over_quota_status = serve.over_quota_status.unwrap_or(402);
    if !matches!(over_quota_status, 402 | 403) {
        return Err(CliError::asked("over_quota_status is 402 or 403"));
    }
    let known = counterfoil_api::operations();
    for rule in &serve.rate_limits {
        let named = rule.operation.as_deref();
        if let Some(name) = named.filter(|name| !known.iter().any(|known| known.id == *name)) {
            return Err(CliError::asked(format!(
                "rate_limit: there is no operation {name:?}; /docs lists them"
            )));
        }
    }
    let rules = if serve.rate_limits.is_empty() {
        // A ceiling that no honest client meets, so that headers always say something.
        let per = RateWindow::Minute;
        vec![RateRule { operation: None, by: By::Key, limit: 1_200_000, per, burst: None }]
    } else {
        serve.rate_limits.clone()
    };
    Ok(Options {
        lanes: config.lanes,
        test_mode: config.test_mode,
        home: config.tenant.clone(),
        max_body: serve.max_body.unwrap_or(1024 * 1024),
        max_batch_body: serve.max_batch_body.unwrap_or(5 * 1024 * 1024),
        max_batch: serve.max_batch.unwrap_or(5_000),
        body_timeout: Duration::from_secs(serve.body_timeout.unwrap_or(30)),
        in_flight: serve.in_flight.unwrap_or(1_024),
        tenant_in_flight: serve.tenant_in_flight.unwrap_or(768),
        over_quota_status,
        guard: super::deliver::guard(config),
        unsubscribe: super::deliver::mail_options(config)?.unsubscribe,
        stripe_secrets: config.stripe.signing_secrets()?,
        upgrade_url: serve.upgrade_url.clone(),
        enforce_quotas_at_ingest: serve.enforce_quotas_at_ingest.unwrap_or(false),
        documents: Arc::new(super::document::renderer(config)?),
        run: config.run_options(),
        on_request: crate::telemetry::on_request(),
        jobs: Arc::new(config.timetable()?),
        furnish: {
            let config = config.clone();
            Arc::new(move |engine| context::beside(&config, engine))
        },
        limits: Limits { limiter, rules, fail_open: serve.fail_open.unwrap_or(true) },
    })
}

/// Publishes the price books of a directory that are not published yet.
async fn publish(engine: &Engine, directory: &Path) -> Result<usize, CliError> {
    let failed = |error: std::io::Error| CliError::file(directory.display(), error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let mut new = 0;
    for path in files {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| CliError::file(path.display(), error))?;
        let book = PriceBook::parse(&path.display().to_string(), &text)
            .map_err(|error| CliError::asked(error.to_string()))?;
        new += usize::from(engine.publish(&book).await? == Published::Now);
    }
    Ok(new)
}

/// Publishes again whenever SIGHUP says so. What is wrong is logged and changes nothing.
async fn reload(engine: Engine, pricing: Option<std::path::PathBuf>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        let Some(directory) = &pricing else {
            tracing::warn!("SIGHUP: no directory of price books is configured");
            continue;
        };
        match publish(&engine, directory).await {
            Ok(new) => tracing::info!(new, "price books were read again"),
            Err(error) => tracing::error!(%error, "price books were not taken over"),
        }
    }
}
