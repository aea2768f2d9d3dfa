//! The client: form-encoded requests with a key of our own, one bounded answer, nothing followed and
//! nothing repeated. Whoever calls decides what to do again.
//!
//! | what came back | failure |
//! |---|---|
//! | no connection; 401, 403, 429 | refused: nothing happened, later it may go better |
//! | none after the request was sent; 409, 5xx | unknown: it may have happened |
//! | another 4xx | never: the same request is always refused |
//!
//! `Stripe-Should-Retry` and `Retry-After` count for more than the table.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use counterfoil_delivery::{
    Guard, Sent, Verdict,
    connect::{GuardedConnector, SystemResolver},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, Uri, body::Incoming, header};
use hyper_util::{
    client::legacy::Client as Http,
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::Value;
use thiserror::Error;
use tokio_rustls::rustls::RootCertStore;

/// Where Stripe is.
pub const BASE: &str = "https://api.stripe.com/";
/// The version of the API that meters, customers and invoices are spoken in.
pub const VERSION: &str = "2025-09-30.clover";
/// The last version that has usage records.
pub const LEGACY_VERSION: &str = "2025-02-24.acacia";
/// Longest a request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most that is read of an answer.
const MOST: usize = 8 * 1024 * 1024;
/// How long an answer that Stripe keeps under our key is left alone.
const STUCK: Duration = Duration::from_secs(6 * 3_600);

/// What is wrong with how the client is set up.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The URL.
    #[error("{0:?} is no base URL of Stripe; write https://HOST/ (http only for this machine)")]
    Base(String),
    /// The key.
    #[error("the secret key of Stripe is empty or has characters that no header may have")]
    Key,
    /// TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] io::Error),
}

/// How the client is set up.
#[derive(Clone)]
pub struct ClientOptions {
    /// Base URL.
    pub base: String,
    /// Secret key.
    pub key: String,
    /// Version of the API.
    pub version: String,
    /// Version for usage records.
    pub legacy_version: String,
    /// Longest a request may take.
    pub timeout: Duration,
}

impl ClientOptions {
    /// The usual ones.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            base: BASE.to_owned(),
            key: key.into(),
            version: VERSION.to_owned(),
            legacy_version: LEGACY_VERSION.to_owned(),
            timeout: TIMEOUT,
        }
    }
}

/// An answer of success.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// What it says.
    pub body: Value,
}

impl Answer {
    /// A field of the body that must be text.
    ///
    /// # Errors
    /// [`Failure`], when it is missing.
    pub fn text(&self, field: &str) -> Result<&str, Failure> {
        self.body.get(field).and_then(Value::as_str).ok_or_else(|| {
            Failure::new(Why::Unknown, format!("the answer has no {field}"), Some(self.code))
        })
    }
}

/// In which way a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing happened; it may go better later.
    Refused,
    /// It may have happened.
    Unknown,
    /// Nothing happened, and never will.
    Never,
}

/// A request that failed.
#[derive(Clone, Debug, Error)]
#[error("{says}")]
pub struct Failure {
    /// In which way.
    pub why: Why,
    /// In words.
    pub says: String,
    /// HTTP status.
    pub code: Option<u16>,
    /// How long to wait.
    pub after: Option<Duration>,
}

impl Failure {
    /// A failure.
    pub fn new(why: Why, says: impl Into<String>, code: Option<u16>) -> Self {
        Self { why, says: says.into(), code, after: None }
    }

    /// Something that will never go.
    pub fn never(says: impl Into<String>) -> Self {
        Self::new(Why::Never, says, None)
    }

    /// Something that may go later.
    pub fn later(says: impl Into<String>) -> Self {
        Self::new(Why::Refused, says, None)
    }
}

impl From<Failure> for Sent {
    fn from(failure: Failure) -> Self {
        let verdict = match failure.why {
            Why::Refused => Verdict::Refused(failure.says),
            Why::Unknown => Verdict::Unknown(failure.says),
            Why::Never => Verdict::Never(failure.says),
        };
        Self { verdict, code: failure.code, after: failure.after }
    }
}

impl From<counterfoil_store::StoreError> for Failure {
    fn from(error: counterfoil_store::StoreError) -> Self {
        Self::later(error.to_string())
    }
}

/// Fields of a form.
#[derive(Clone, Debug, Default)]
pub struct Form(String);

impl Form {
    /// An empty form.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With another field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        encode(&mut self.0, name);
        self.0.push('=');
        encode(&mut self.0, value.as_ref());
        self
    }
}

/// `application/x-www-form-urlencoded`, with every byte escaped that might mean something.
fn encode(to: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                to.push(char::from(byte));
            }
            _ => {
                to.push('%');
                to.push_str(&hex::encode_upper([byte]));
            }
        }
    }
}

/// Talks to one account at Stripe.
pub struct Client {
    http: Http<GuardedConnector, Full<Bytes>>,
    options: ClientOptions,
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(mut options: ClientOptions) -> Result<Self, ClientError> {
        let wrong = || ClientError::Base(options.base.clone());
        let uri: Uri = options.base.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
        let here = matches!(host.as_str(), "127.0.0.1" | "localhost" | "::1");
        let fine = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => here,
            _ => false,
        };
        // A secret key does not travel in the clear.
        if !fine {
            return Err(wrong());
        }
        if !options.base.ends_with('/') {
            options.base.push('/');
        }
        options.key = options.key.trim().to_owned();
        if options.key.is_empty() || !options.key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ClientError::Key);
        }
        // The operator names the host, not a tenant: it may be anywhere.
        let guard = Guard { allow_hosts: vec![host], allow_http: here, ..Guard::default() };
        let (resolver, roots) = (Arc::new(SystemResolver), RootCertStore::empty());
        let connector = GuardedConnector::new(Arc::new(guard), resolver, roots)?;
        let http = Http::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .retry_canceled_requests(false)
            .build(connector);
        Ok(Self { http, options })
    }

    /// Asks.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get(&self, path: &str, query: &Form) -> Result<Answer, Failure> {
        let path = if query.0.is_empty() { path.to_owned() } else { format!("{path}?{}", query.0) };
        self.call(Method::GET, &path, None, &self.options.version).await
    }

    /// Asks in the version that has usage records.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get_legacy(&self, path: &str) -> Result<Answer, Failure> {
        self.call(Method::GET, path, None, &self.options.legacy_version).await
    }

    /// Changes something, under a key that makes it happen once.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn post(&self, path: &str, form: &Form, key: &str) -> Result<Answer, Failure> {
        self.call(Method::POST, path, Some((form, key)), &self.options.version).await
    }

    /// Changes something in the version that has usage records.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn post_legacy(&self, path: &str, form: &Form, key: &str) -> Result<Answer, Failure> {
        self.call(Method::POST, path, Some((form, key)), &self.options.legacy_version).await
    }

    /// Removes something; doing it twice is doing it once.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.call(Method::DELETE, path, None, &self.options.version).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        form: Option<(&Form, &str)>,
        version: &str,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.options.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.options.key))
            .header(header::USER_AGENT, concat!("counterfoil/", env!("CARGO_PKG_VERSION")))
            .header("stripe-version", version);
        let mut body = Bytes::new();
        if let Some((form, key)) = form {
            request = request
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header("idempotency-key", key);
            body = Bytes::from(form.0.clone());
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Failure::never(format!("no request: {error}")))?;
        let limit = self.options.timeout;
        tokio::time::timeout(limit, self.answer(request)).await.unwrap_or_else(|_| {
            let says = format!("no answer within {} ms", limit.as_millis());
            Err(Failure::new(Why::Unknown, says, None))
        })
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let response = match self.http.request(request).await {
            Ok(response) => response,
            Err(error) => {
                let why = if error.is_connect() { Why::Refused } else { Why::Unknown };
                return Err(Failure::new(why, whole(&error), None));
            }
        };
        let (status, hints) = (response.status(), Hints::of(&response));
        let code = status.as_u16();
        let body = Limited::new(response.into_body(), MOST).collect().await;
        // An error's text may be missing; a success without its text is none that can be used.
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(_) if !status.is_success() => Bytes::new(),
            Err(error) => {
                let says = format!("the answer broke off: {error}");
                return Err(Failure::new(Why::Unknown, says, Some(code)));
            }
        };
        let parsed: Option<Value> = serde_json::from_slice(&body).ok();
        if status.is_success() {
            return match parsed {
                Some(body) => Ok(Answer { code, body }),
                None => {
                    let says = "the answer is no JSON; is the base URL right?";
                    Err(Failure::new(Why::Unknown, says, Some(code)))
                }
            };
        }
        let error = parsed.as_ref().and_then(|body| body.get("error"));
        let text = |name| error.and_then(|error| error.get(name)).and_then(Value::as_str);
        let kind = text("code").or_else(|| text("type")).unwrap_or("error");
        let message: String = text("message").unwrap_or_default().chars().take(300).collect();
        Err(hints.failure(status, format!("answered {code} {kind}: {message}")))
    }
}

/// What Stripe says about trying again.
struct Hints {
    retry: Option<bool>,
    after: Option<Duration>,
}

impl Hints {
    fn of(response: &Response<Incoming>) -> Self {
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let retry = match text("stripe-should-retry") {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        };
        let after = text("retry-after").and_then(|text| text.trim().parse().ok());
        Self { retry, after: after.map(Duration::from_secs) }
    }

    fn failure(self, status: StatusCode, says: String) -> Failure {
        let code = status.as_u16();
        let mut after = self.after;
        let why = match (code, self.retry) {
            // It will answer the same under this key; later it is looked up first.
            (500.., Some(false)) => {
                after = after.max(Some(STUCK));
                Why::Unknown
            }
            (409 | 500.., _) => Why::Unknown,
            (401 | 403 | 429, _) => Why::Refused,
            (_, Some(true)) => Why::Refused,
            // A redirect is not followed: the base URL is wrong.
            (300..=399, _) => Why::Refused,
            _ => Why::Never,
        };
        Failure { why, says, code: Some(code), after }
    }
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_escape_whatever_might_mean_something() {
        let form = Form::new().with("payload[value]", "1&2=3").with("name", "Zoë + 1 %\n");
        assert_eq!(form.0, "payload%5Bvalue%5D=1%262%3D3&name=Zo%C3%AB%20%2B%201%20%25%0A");
    }

    #[test]
    fn a_secret_key_does_not_travel_in_the_clear() {
        for (base, fine) in [
            ("https://api.stripe.com", true),
            ("http://127.0.0.1:4242/worlds/a", true),
            ("http://api.stripe.com/", false),
            ("http://127.0.0.1.example.org/", false),
            ("ftp://127.0.0.1/", false),
            ("stripe", false),
        ] {
            let options =
                ClientOptions { base: base.to_owned(), ..ClientOptions::new("sk_test_1") };
            assert_eq!(Client::new(options).is_ok(), fine, "{base}");
        }
        assert!(matches!(Client::new(ClientOptions::new(" \n")), Err(ClientError::Key)));
        assert!(matches!(Client::new(ClientOptions::new("a b")), Err(ClientError::Key)));
    }

    #[test]
    fn what_stripe_says_about_trying_again_is_believed() {
        let why = |code: u16, retry: Option<bool>| {
            let hints = Hints { retry, after: None };
            let failure = hints.failure(StatusCode::from_u16(code).unwrap(), String::new());
            (failure.why, failure.after)
        };
        assert_eq!(why(400, None), (Why::Never, None));
        assert_eq!(why(400, Some(true)), (Why::Refused, None));
        assert_eq!(why(401, None), (Why::Refused, None));
        assert_eq!(why(409, None), (Why::Unknown, None));
        assert_eq!(why(429, Some(false)), (Why::Refused, None));
        assert_eq!(why(500, None), (Why::Unknown, None));
        assert_eq!(why(500, Some(false)), (Why::Unknown, Some(STUCK)));
        assert_eq!(why(503, Some(true)), (Why::Unknown, None));
    }
}
