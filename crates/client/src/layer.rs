//! A tower layer: asks whether a customer has quota left before a request, says so in headers, and
//! writes a usage event after it.
//!
//! | situation | answer |
//! |---|---|
//! | no customer named for the request | passed on, not metered |
//! | quota left, or no quota asked for | passed on, metered; `X-Quota-Limit/-Remaining/-Reset` |
//! | quota used up | 402 (or as set) with a problem document and the headers; not metered |
//! | the service does not answer in time | passed on and metered, or 503 where `fail_open` is off |

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use counterfoil_types::{Clock, Quantity, Timestamp};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use tower::{Layer, Service};

use crate::{Client, Event, QuotaVerdict, SystemClock, Writer};

type OfRequest<T> = Arc<dyn Fn(&http::request::Parts) -> T + Send + Sync>;

/// Which quota is asked before a request.
#[derive(Clone)]
pub struct QuotaCheck {
    /// The client that asks.
    pub client: Client,
    /// The meter.
    pub meter: String,
    /// Longest it may take.
    pub within: Duration,
    /// Whether requests go on when the service does not answer.
    pub fail_open: bool,
    /// The status of a denial: 402 or 403.
    pub denied: StatusCode,
}

impl QuotaCheck {
    /// Asks for a meter's quota, for 250 ms at most, and lets requests pass while the service is
    /// away.
    pub fn new(client: Client, meter: impl Into<String>) -> Self {
        let within = Duration::from_millis(250);
        let denied = StatusCode::PAYMENT_REQUIRED;
        Self { client, meter: meter.into(), within, fail_open: true, denied }
    }
}

/// Settings of the layer.
#[derive(Clone)]
pub struct MeterOptions {
    /// Whose request it is; nobody's: it is passed on as it is.
    pub customer: OfRequest<Option<String>>,
    /// What is called, as a template: `/items/{id}`, not `/items/17`.
    pub endpoint: OfRequest<String>,
    /// The type of the usage events.
    pub event_type: String,
    /// Their producer.
    pub source: String,
    /// The quota that is asked first.
    pub quota: Option<QuotaCheck>,
    /// For times and latencies.
    pub clock: Arc<dyn Clock>,
}

impl MeterOptions {
    /// Events of the type `api.request` for the customer that `customer` finds.
    pub fn new(
        customer: impl Fn(&http::request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            customer: Arc::new(customer),
            endpoint: Arc::new(endpoint),
            event_type: "api.request".to_owned(),
            source: "api".to_owned(),
            quota: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// With a quota that is asked first.
    #[must_use]
    pub fn quota(mut self, quota: QuotaCheck) -> Self {
        self.quota = Some(quota);
        self
    }
}

impl fmt::Debug for MeterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeterOptions")
            .field("event_type", &self.event_type)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "axum")]
fn endpoint(parts: &http::request::Parts) -> String {
    let matched = parts.extensions.get::<axum::extract::MatchedPath>();
    matched.map_or(parts.uri.path(), |matched| matched.as_str()).to_owned()
}

#[cfg(not(feature = "axum"))]
fn endpoint(parts: &http::request::Parts) -> String {
    parts.uri.path().to_owned()
}

/// Meters requests; see the module header. With axum, add it by `Router::route_layer`, so that
/// the template of the path is known.
#[derive(Clone, Debug)]
pub struct MeterLayer {
    writer: Writer,
    options: Arc<MeterOptions>,
}

impl MeterLayer {
    /// A layer that writes its events to `writer`.
    #[must_use]
    pub fn new(writer: Writer, options: MeterOptions) -> Self {
        Self { writer, options: Arc::new(options) }
    }
}

impl<S> Layer<S> for MeterLayer {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        Metered { inner, layer: self.clone() }
    }
}

/// A service whose requests are metered.
#[derive(Clone, Debug)]
pub struct Metered<S> {
    inner: S,
    layer: MeterLayer,
}

impl<S, B, R> Service<Request<B>> for Metered<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<String> + Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was polled ready is used, its clone waits for the next.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let MeterLayer { writer, options } = self.layer.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let Some(customer) = (options.customer)(&parts) else {
                return inner.call(Request::from_parts(parts, body)).await;
            };
            let verdict = match &options.quota {
                Some(quota) => ask(quota, &customer, &*options.clock).await,
                None => Asked::Nothing,
            };
            let now = options.clock.now();
            let headers = match verdict {
                Asked::Denied(response) => return Ok(response.map(R::from)),
                Asked::Verdict(verdict) => quota_headers(&verdict, now),
                Asked::Nothing => Vec::new(),
            };
            let (endpoint, method) = ((options.endpoint)(&parts), parts.method.to_string());
            let mut response = inner.call(Request::from_parts(parts, body)).await?;
            let latency = (options.clock.now().micros() - now.micros()).max(0) / 1000;
            let event = Event::new("", customer, &options.event_type)
                .source(&options.source)
                .at(now)
                .property("endpoint", endpoint)
                .property("method", method)
                .property("status", response.status().as_u16())
                .property("latency_ms", latency);
            if let Err(error) = writer.try_send(event) {
                tracing::error!(%error, "a request was answered and not metered");
            }
            response.headers_mut().extend(headers);
            Ok(response)
        })
    }
}

enum Asked {
    Nothing,
    Verdict(Box<QuotaVerdict>),
    Denied(Response<String>),
}

async fn ask(quota: &QuotaCheck, customer: &str, clock: &dyn Clock) -> Asked {
    let asked = quota.client.check_quota(customer, &quota.meter, Quantity::ONE);
    let why = match tokio::time::timeout(quota.within, asked).await {
        Ok(Ok(verdict)) if verdict.allowed => return Asked::Verdict(Box::new(verdict)),
        Ok(Ok(verdict)) => return Asked::Denied(denial(quota, &verdict, clock.now())),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {:?}", quota.within),
    };
    tracing::warn!(%why, fail_open = quota.fail_open, "the quota could not be checked");
    if quota.fail_open {
        return Asked::Nothing;
    }
    let detail = "the quota cannot be checked at the moment; try again";
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail, None);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    Asked::Denied(response)
}

fn denial(quota: &QuotaCheck, verdict: &QuotaVerdict, now: Timestamp) -> Response<String> {
    let detail = format!("the quota of {} is used up", quota.meter);
    let upgrade = verdict.upgrade.as_deref();
    let mut response = problem(quota.denied, "over_quota", &detail, upgrade);
    response.headers_mut().extend(quota_headers(verdict, now));
    response
}

fn problem(
    status: StatusCode,
    code: &str,
    detail: &str,
    upgrade: Option<&str>,
) -> Response<String> {
    let mut body = serde_json::json!({
        "type": format!("urn:counterfoil:problem:{code}"),
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(), "code": code, "detail": detail,
    });
    if let (Some(upgrade), Some(body)) = (upgrade, body.as_object_mut()) {
        body.insert("upgrade".to_owned(), upgrade.into());
    }
    let mut response = Response::new(body.to_string());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn quota_headers(verdict: &QuotaVerdict, now: Timestamp) -> Vec<(HeaderName, HeaderValue)> {
    let quota = &verdict.quota;
    let reset = quota.resets_at.map(|at| {
        let micros = (at.micros() - now.micros()).max(0);
        micros.div_euclid(1_000_000) + i64::from(micros % 1_000_000 > 0)
    });
    let values = [
        ("x-quota-limit", quota.hard.as_ref().map(ToString::to_string)),
        ("x-quota-remaining", quota.remaining.as_ref().map(ToString::to_string)),
        ("x-quota-reset", reset.map(|seconds| seconds.to_string())),
    ];
    let header = |(name, value): (&'static str, Option<String>)| {
        Some((HeaderName::from_static(name), HeaderValue::from_str(&value?).ok()?))
    };
    values.into_iter().filter_map(header).collect()
}
