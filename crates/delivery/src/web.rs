//! The sender of web hooks: a signed POST, one answer, nothing followed.
//!
//! | answer | verdict |
//! |---|---|
//! | 2xx | delivered |
//! | 410 | gone: the endpoint is switched off |
//! | 3xx, 4xx, 500, 501, 503 | refused, tried again |
//! | 502, 504, other 5xx; none after the request was sent | unknown, tried again |
//! | no connection | refused, tried again |

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use counterfoil_store::Store;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::json;
use tokio_rustls::rustls::RootCertStore;

use crate::{
    connect::{GuardedConnector, Resolve, SystemResolver},
    endpoint::{self, Endpoint},
    guard::Guard,
    sender::{Parcel, Sender, Sent, Verdict},
    signature,
};

/// Longest an attempt may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest a body is read that follows a good answer.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// Most that is read of an answer.
const MOST: usize = 16 * 1024;
/// Most of it that is kept with the attempt.
const KEPT: usize = 300;

/// Sends web hooks.
pub struct WebSender {
    store: Arc<dyn Store>,
    guard: Arc<Guard>,
    client: Client<GuardedConnector, Full<Bytes>>,
    timeout: Duration,
}

impl WebSender {
    /// A sender behind `guard` that trusts the certificates of this machine.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(store: Arc<dyn Store>, guard: Guard) -> io::Result<Self> {
        Self::with(store, guard, Arc::new(SystemResolver), RootCertStore::empty(), TIMEOUT)
    }

    /// A sender with another resolver, more certificates or another limit on time.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn with(
        store: Arc<dyn Store>,
        guard: Guard,
        resolver: Arc<dyn Resolve>,
        roots: RootCertStore,
        timeout: Duration,
    ) -> io::Result<Self> {
        let guard = Arc::new(guard);
        let connector = GuardedConnector::new(guard.clone(), resolver, roots)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(8)
            // A request that may have arrived is not sent again behind our back.
            .retry_canceled_requests(false)
            .build(connector);
        Ok(Self { store, guard, client, timeout })
    }

    fn request(parcel: &Parcel, endpoint: &Endpoint) -> Result<Request<Full<Bytes>>, String> {
        let body = payload(parcel);
        let seconds = parcel.now.micros().div_euclid(1_000_000);
        let id = parcel.id();
        let secrets = endpoint.secrets_at(parcel.now);
        let signature = signature::sign(secrets, &id, seconds, body.as_bytes())
            .map_err(|error| error.to_string())?;
        Request::post(&endpoint.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("counterfoil/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", signature)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())
    }

    async fn post(&self, request: Request<Full<Bytes>>) -> Sent {
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) if error.is_connect() => {
                return Sent::of(Verdict::Refused(whole(&error)));
            }
            Err(error) => return Sent::of(Verdict::Unknown(whole(&error))),
        };
        let status = response.status();
        let code = status.as_u16();
        if status.is_success() {
            // What counts has been said. Reading on only keeps the connection of use.
            let _ = tokio::time::timeout(AFTERWARDS, beginning(response)).await;
            return Sent::with(Verdict::Delivered, code);
        }
        let says = if status.is_redirection() {
            "redirects are not followed; give the endpoint its final URL".to_owned()
        } else {
            let read = tokio::time::timeout(AFTERWARDS, beginning(response)).await;
            let text = read.unwrap_or_default();
            format!("answered {code}: {}", text.chars().take(KEPT).collect::<String>())
        };
        let verdict = match code {
            410 => Verdict::Gone(says),
            500 | 501 | 503 => Verdict::Refused(says),
            500.. => Verdict::Unknown(says),
            _ => Verdict::Refused(says),
        };
        Sent::with(verdict, code)
    }
}

/// What is sent. The same bytes at every attempt.
fn payload(parcel: &Parcel) -> String {
    json!({
        "id": parcel.id(),
        "type": parcel.effect.kind,
        "timestamp": parcel.effect.at,
        "tenant": parcel.tenant,
        "data": parcel.effect.body,
    })
    .to_string()
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

/// The beginning of a body, as text; the rest is not read.
async fn beginning(response: Response<Incoming>) -> String {
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            let room = MOST.saturating_sub(read.len());
            read.extend(data.iter().take(room));
            if read.len() >= MOST {
                break;
            }
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[async_trait]
impl Sender for WebSender {
    async fn send(&self, parcel: &Parcel) -> Sent {
        let found = endpoint::find(self.store.as_ref(), &parcel.tenant, &parcel.target).await;
        let endpoint = match found {
            Ok(Some(endpoint)) => endpoint,
            Ok(None) => return Sent::of(Verdict::Never("the endpoint was removed".to_owned())),
            Err(error) => return Sent::of(Verdict::Refused(error.to_string())),
        };
        if let Err(error) = self.guard.check(&endpoint.url) {
            return Sent::of(Verdict::Refused(error.to_string()));
        }
        let request = match Self::request(parcel, &endpoint) {
            Ok(request) => request,
            Err(why) => return Sent::of(Verdict::Refused(why)),
        };
        match tokio::time::timeout(self.timeout, self.post(request)).await {
            Ok(sent) => sent,
            Err(_) => Sent::of(Verdict::Unknown(format!(
                "no answer within {} seconds",
                self.timeout.as_secs()
            ))),
        }
    }
}
