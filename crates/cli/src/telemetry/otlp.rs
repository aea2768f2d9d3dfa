//! Traces as OTLP over HTTP. Spans are gathered and sent by a thread of the SDK's; the requests
//! themselves run on our runtime, over the same HTTP stack as everything else here.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry::{propagation::TextMapPropagator, trace::TracerProvider};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::LevelFilter};

use super::AnyLayer;

/// Where spans are made and sent.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends what still waits.
    pub(crate) fn stop(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Sends requests on our runtime; whoever waits for them may be any thread.
struct OnRuntime {
    runtime: Handle,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl fmt::Debug for OnRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRuntime")
    }
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let response = client.request(request.map(Full::new)).await?;
            let (parts, body) = response.into_parts();
            Ok::<_, HttpError>(Response::from_parts(parts, body.collect().await?.to_bytes()))
        });
        sent.await?
    }
}

/// Begins to trace to the collector at `endpoint`.
pub(super) fn start(
    endpoint: &str,
    runtime: &Handle,
) -> Result<(AnyLayer, Traces), ExporterBuildError> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(OnRuntime { runtime: runtime.clone(), client })
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()?;
    let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "counterfoil".to_owned());
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(name).build())
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("counterfoil"))
        .with_location(false)
        .with_threads(false)
        .with_filter(LevelFilter::INFO)
        .boxed();
    Ok((layer, Traces(provider)))
}

/// Makes a request part of the trace it names, if it names one.
pub(super) fn join(span: &tracing::Span, headers: &http::HeaderMap) {
    let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    // A span that is not recorded has no place to put it.
    let _ = span.set_parent(context);
}
