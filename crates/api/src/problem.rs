//! Errors as RFC 9457 problem documents. Every one has a stable `code`, which is also the last part
//! of its `type`.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use counterfoil_engine::EngineError;
use counterfoil_store::StoreError;
use schemars::JsonSchema;
use serde::Serialize;

/// What went wrong.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<Told>);

/// That of what it holds. Derived, it would be a definition that refers to itself.
impl JsonSchema for Problem {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Told::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        Told::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Told::json_schema(generator)
    }
}

impl std::ops::Deref for Problem {
    type Target = Told;
    fn deref(&self) -> &Told {
        &self.0
    }
}

/// A problem in the form it is sent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Told {
    /// A URN that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened here, and what to do.
    pub detail: String,
    /// Stable name of the kind, for programs.
    pub code: String,
    /// Id of the request, to find it in the service's logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// More about this problem, for programs.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
    #[serde(skip)]
    #[schemars(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Kinds of problems: code, status, title.
pub const KINDS: &[(&str, u16, &str)] = &[
    ("malformed", 400, "The request cannot be read"),
    ("bad_parameter", 400, "A parameter is wrong"),
    ("unauthenticated", 401, "No valid API key"),
    ("over_quota", 402, "The quota is used up"),
    ("forbidden", 403, "The API key may not do this"),
    ("not_found", 404, "There is no such thing"),
    ("method_not_allowed", 405, "The resource has no such method"),
    ("timeout", 408, "The request came too slowly"),
    ("conflict", 409, "It contradicts what is there"),
    ("key_reused", 409, "The idempotency key was used for another request"),
    ("precondition_failed", 412, "It was changed meanwhile"),
    ("too_large", 413, "The request is too large"),
    ("unsupported_media_type", 415, "The content type is not understood"),
    ("invalid", 422, "The request makes no sense"),
    ("refused", 422, "It cannot be done"),
    ("precondition_required", 428, "Say which version you saw"),
    ("rate_limited", 429, "Too many requests"),
    ("internal", 500, "The service failed"),
    ("overloaded", 503, "The service is busy"),
    ("unavailable", 503, "The store is not available"),
    ("full", 507, "No space is left"),
];

impl Problem {
    /// A problem of a kind in [`KINDS`].
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        let known = KINDS.iter().find(|(known, ..)| *known == code);
        let (status, title) =
            known.map_or((500, "The service failed"), |(_, status, title)| (*status, *title));
        Self(Box::new(Told {
            kind: format!("urn:counterfoil:problem:{code}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            code: code.to_owned(),
            request_id: None,
            more: serde_json::Map::new(),
            headers: Vec::new(),
        }))
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.push((name, value));
        }
        self
    }

    /// To be tried again after so many seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, &seconds.max(1).to_string())
    }

    /// With another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = status;
        self
    }

    /// With something more for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.0.more.insert(name.to_owned(), value);
        }
        self
    }

    /// A parameter that is wrong.
    pub fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::new("bad_parameter", format!("`{name}`: {why}")).with("parameter", name)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Conflict { .. } => Self::new("conflict", text),
            StoreError::Unavailable(_) | StoreError::Locked(_) => {
                // What a driver says may name hosts and roles; it is for the log.
                tracing::warn!(error = %text, "the store is not available");
                let detail = "the store does not answer; nothing is half-done, try again";
                Self::new("unavailable", detail).retry_after(1)
            }
            StoreError::ReadOnly(_) => {
                tracing::error!(error = %text, "the store cannot be written");
                Self::new("unavailable", "the store cannot be written at the moment").retry_after(5)
            }
            StoreError::Full(_) => {
                tracing::error!(error = %text, "the store is full");
                Self::new("full", "the store is full; nothing was half-done").retry_after(30)
            }
            StoreError::Archived { .. } | StoreError::RolledBack(_) => Self::new("refused", text),
            StoreError::NoTenant(_) => Self::new("not_found", "the tenant does not exist"),
            _ => {
                tracing::error!(error = %text, "the store failed");
                Self::new("internal", "the store failed; the log of the service says why")
            }
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => error.into(),
            EngineError::NotFound { what, name, .. } => {
                Self::new("not_found", format!("there is no {what} {name:?}"))
            }
            EngineError::Json(error) => {
                tracing::error!(%error, "cannot write JSON");
                Self::new("internal", "the answer could not be written")
            }
            // Its text names files of this machine.
            EngineError::File(error) => {
                tracing::error!(%error, "a file beside the store cannot be used");
                Self::new("internal", "a file beside the store cannot be used; the log says which")
            }
            other => Self::new("refused", other.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = std::mem::take(&mut self.0.headers);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let content_type = (header::CONTENT_TYPE, "application/problem+json");
        let mut response = (status, [content_type], body).into_response();
        response.headers_mut().extend(headers);
        response.extensions_mut().insert(Carried(self));
        response
    }
}

/// The problem a response tells of.
#[derive(Clone, Debug)]
pub(crate) struct Carried(pub(crate) Problem);

/// A response with the id of its request, in the body of a problem too.
pub(crate) fn with_request_id(mut response: Response, id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(crate::guard::REQUEST_ID, value);
    }
    let Some(Carried(mut problem)) = response.extensions_mut().remove::<Carried>() else {
        return response;
    };
    problem.0.request_id = Some(id.to_owned());
    let (mut parts, _) = response.into_parts();
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.extensions.insert(Carried(problem));
    Response::from_parts(parts, body.into())
}
