//! One request at a time, typed.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use counterfoil_types::Quantity;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    answers::{
        CallAnswer, Consumed, CustomerUsage, Entitlements, InvoiceSummary, Page, QuotaVerdict,
        Receipts,
    },
    error::{ClientError, Problem},
    event::Event,
};

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<legacy::connect::HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = legacy::connect::HttpConnector;

/// An answer larger than this is none of the service's.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// How long to wait for a whole answer.
    pub timeout: Duration,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// Idle connections that are kept.
    pub idle_connections: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            idle_connections: 16,
        }
    }
}

struct Inner {
    http: legacy::Client<Connector, Full<Bytes>>,
    base: String,
    authorization: HeaderValue,
    timeout: Duration,
}

/// A client of one service with one key. Clones share their connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

impl fmt::Debug for Client {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.0.base).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the service at `base` (`https://billing.example.com`), with an API key.
    ///
    /// # Errors
    /// [`ClientError::Setting`] if either cannot be used.
    pub fn new(base: &str, key: &str) -> Result<Self, ClientError> {
        Self::with_options(base, key, &ClientOptions::default())
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// [`ClientError::Setting`].
    pub fn with_options(
        base: &str,
        key: &str,
        options: &ClientOptions,
    ) -> Result<Self, ClientError> {
        let base = base.trim_end_matches('/').to_owned();
        let uri: Uri = base
            .parse()
            .map_err(|error| ClientError::Setting(format!("the address {base:?}: {error}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") if cfg!(feature = "tls") => {}
            _ => {
                let wanted = "is no http:// or https:// address";
                return Err(ClientError::Setting(format!("{base:?} {wanted}")));
            }
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| ClientError::Setting("the API key has characters no key has".into()))?;
        authorization.set_sensitive(true);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(options.idle_connections)
            .build(connector(options)?);
        Ok(Self(Arc::new(Inner { http, base, authorization, timeout: options.timeout })))
    }

    /// Whether the service is on this machine, as far as the address tells.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let uri: Option<Uri> = self.0.base.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Sends events; each gets a receipt. At most 5,000 at once, by the service's default.
    ///
    /// # Errors
    /// [`ClientError`]; a bad event among good ones is no error but a receipt.
    pub async fn send(&self, events: &[Event]) -> Result<Receipts, ClientError> {
        let body =
            serde_json::to_vec(events).map_err(|error| ClientError::Request(error.to_string()))?;
        self.send_json(body.into()).await
    }

    /// Sends the text of a JSON array of events.
    ///
    /// # Errors
    /// [`ClientError`]; a bad event among good ones is no error but a receipt.
    pub async fn send_json(&self, body: Bytes) -> Result<Receipts, ClientError> {
        self.exchange(Method::POST, "/v1/events", Some(body)).await
    }

    /// Usage and cost of a customer in the current billing periods.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn usage(&self, customer: &str) -> Result<CustomerUsage, ClientError> {
        self.get(&format!("/v1/customers/{}/usage", escaped(customer))).await
    }

    /// Whether a use would be within the quota. Changes nothing.
    ///
    /// # Errors
    /// [`ClientError`]; a denial is no error.
    pub async fn check_quota(
        &self,
        customer: &str,
        meter: &str,
        quantity: Quantity,
    ) -> Result<QuotaVerdict, ClientError> {
        let body = json!({"customer": customer, "meter": meter, "quantity": quantity});
        self.post("/v1/quotas/check", &body).await
    }

    /// Uses something if the quota allows it, in one step. The same id uses it once, however often
    /// it is sent.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `over_quota` if there is no room; others.
    pub async fn consume(
        &self,
        id: &str,
        customer: &str,
        meter: &str,
        quantity: Quantity,
    ) -> Result<Consumed, ClientError> {
        let body = json!({"id": id, "customer": customer, "meter": meter, "quantity": quantity});
        self.post("/v1/quotas/consume", &body).await
    }

    /// Counts a call against a customer's rate limits.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `rate_limited` if it comes too soon; others.
    pub async fn check_limits(
        &self,
        customer: &str,
        endpoint: Option<&str>,
    ) -> Result<CallAnswer, ClientError> {
        let body = json!({"customer": customer, "endpoint": endpoint});
        self.post("/v1/limits/check", &body).await
    }

    /// What a customer's plans give.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn entitlements(&self, customer: &str) -> Result<Entitlements, ClientError> {
        self.get(&format!("/v1/customers/{}/entitlements", escaped(customer))).await
    }

    /// A page of a customer's invoices.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn invoices(
        &self,
        customer: &str,
        cursor: Option<&str>,
    ) -> Result<Page<InvoiceSummary>, ClientError> {
        let path = format!("/v1/customers/{}/invoices", escaped(customer));
        match cursor {
            Some(cursor) => self.get(&format!("{path}?cursor={}", escaped(cursor))).await,
            None => self.get(&path).await,
        }
    }

    /// Any other operation that answers with JSON: `path` from `/v1` on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.exchange(Method::GET, path, None).await
    }

    /// Any other operation that takes and gives JSON.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body =
            serde_json::to_vec(body).map_err(|error| ClientError::Request(error.to_string()))?;
        self.exchange(Method::POST, path, Some(body.into())).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<T, ClientError> {
        let limit = self.0.timeout;
        let work = self.answered(method, path, body);
        let (status, headers, body) =
            tokio::time::timeout(limit, work).await.map_err(|_| ClientError::Timeout(limit))??;
        let is_problem = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("application/problem+json"));
        if status.is_success() || (status == StatusCode::CONFLICT && !is_problem) {
            return serde_json::from_slice(&body)
                .map_err(|error| ClientError::Answer(error.to_string()));
        }
        Err(ClientError::Problem(Box::new(problem(status, &headers, &body))))
    }

    async fn answered(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.0.base))
            .header(header::AUTHORIZATION, self.0.authorization.clone())
            .header(header::ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| ClientError::Request(error.to_string()))?;
        let response = self.0.http.request(request).await.map_err(|error| {
            let inner = std::error::Error::source(&error).map(ToString::to_string);
            ClientError::Unreachable(inner.unwrap_or_else(|| error.to_string()))
        })?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| ClientError::Unreachable(error.to_string()))?;
        Ok((parts.status, parts.headers, body.to_bytes()))
    }
}

/// The problem in an answer; one made up where a proxy in between sent something else.
fn problem(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Problem {
    let mut problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    problem.status = status.as_u16();
    if problem.code.is_empty() {
        problem.code = format!("http_{}", status.as_u16());
        problem.title = status.canonical_reason().unwrap_or("no success").to_owned();
        problem.detail = String::from_utf8_lossy(body).chars().take(200).collect();
    }
    let wait = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    problem.retry_after = wait.and_then(|value| value.parse().ok()).map(Duration::from_secs);
    problem
}

/// A text as one segment of a path or value of a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn connector(options: &ClientOptions) -> Result<Connector, ClientError> {
    let mut http = legacy::connect::HttpConnector::new();
    http.set_nodelay(true);
    http.set_connect_timeout(Some(options.connect_timeout));
    #[cfg(feature = "tls")]
    {
        http.enforce_http(false);
        let builder = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| ClientError::Setting(format!("the system's certificates: {error}")))?;
        Ok(builder.https_or_http().enable_http1().wrap_connector(http))
    }
    #[cfg(not(feature = "tls"))]
    Ok(http)
}
