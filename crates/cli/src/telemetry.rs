//! Logs, and traces for whoever collects them.
//!
//! Logs go to standard error: `COUNTERFOIL_LOG` says which (`warn` when absent),
//! `COUNTERFOIL_LOG_FORMAT=json` makes them one JSON object a line. Traces are sent as OTLP over HTTP
//! to `OTEL_EXPORTER_OTLP_ENDPOINT`, if that is set and the program was built with the feature `otlp`;
//! a request that names a trace (`traceparent`) becomes part of it.

#[cfg(feature = "otlp")]
mod otlp;

use tokio::runtime::Handle;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Where traces go; the standard's own variable.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What is to be ended with the program.
pub(crate) struct Telemetry {
    #[cfg(feature = "otlp")]
    traces: Option<otlp::Traces>,
}

impl Telemetry {
    /// Sends what still waits.
    pub(crate) fn stop(self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = self.traces {
            traces.stop();
        }
    }
}

fn logs() -> AnyLayer {
    let filter =
        EnvFilter::try_from_env("COUNTERFOIL_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // One JSON object a line, for machines that gather logs.
    if std::env::var("COUNTERFOIL_LOG_FORMAT").is_ok_and(|format| format == "json") {
        log.json().with_filter(filter).boxed()
    } else {
        log.with_filter(filter).boxed()
    }
}

/// Begins to log, and to trace where that is asked for.
#[cfg(feature = "otlp")]
pub(crate) fn start(runtime: &Handle) -> Telemetry {
    let endpoint = std::env::var(ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty());
    let started = endpoint.map(|endpoint| otlp::start(&endpoint, runtime));
    let mut layers = vec![logs()];
    let (traces, failed) = match started {
        Some(Ok((layer, traces))) => {
            layers.push(layer);
            (Some(traces), None)
        }
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    tracing_subscriber::registry().with(layers).init();
    if let Some(error) = failed {
        tracing::warn!(%error, "no traces are sent; look at {ENDPOINT}");
    }
    Telemetry { traces }
}

/// Begins to log.
#[cfg(not(feature = "otlp"))]
pub(crate) fn start(_runtime: &Handle) -> Telemetry {
    tracing_subscriber::registry().with(vec![logs()]).init();
    if std::env::var(ENDPOINT).is_ok_and(|endpoint| !endpoint.is_empty()) {
        tracing::warn!("{ENDPOINT} is set, but this program was built without the feature `otlp`");
    }
    Telemetry {}
}

/// Makes requests part of the traces they name.
pub(crate) fn on_request() -> counterfoil_api::OnRequest {
    #[cfg(feature = "otlp")]
    return std::sync::Arc::new(otlp::join);
    #[cfg(not(feature = "otlp"))]
    std::sync::Arc::new(|_, _| ())
}
