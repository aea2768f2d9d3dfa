//! What a call may end with. The service's problem documents (RFC 9457) come through whole.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

/// A problem document of the service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable name of the kind, for programs: `over_quota`, `rate_limited`, ….
    pub code: String,
    /// The kind in words.
    pub title: String,
    /// What happened here, and what to do.
    pub detail: String,
    /// Id of the request, to find it in the service's logs.
    pub request_id: Option<String>,
    /// The rest of the document.
    #[serde(flatten)]
    pub more: Map<String, Value>,
    /// When to come back, where the service said so.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// Why a call failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address or the key cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The service answered with a problem.
    #[error("{} ({}): {}", .0.title, .0.code, .0.detail)]
    Problem(Box<Problem>),
    /// The service could not be reached, or broke off.
    #[error("the service cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time. Whether the request took effect is not known.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer is not what was expected.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// The request cannot be written as JSON.
    #[error("the request cannot be written: {0}")]
    Request(String),
}

impl ClientError {
    /// The problem document, where the service sent one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// When the service wants to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.problem()?.retry_after
    }

    /// Whether this says something about the content of the request, so that the same request
    /// would fail again.
    #[must_use]
    pub fn is_about_content(&self) -> bool {
        match self {
            Self::Problem(problem) => matches!(problem.status, 400 | 409 | 413 | 415 | 422),
            Self::Request(_) => true,
            _ => false,
        }
    }
}
