//! Versions of things that can be edited: a strong `ETag` over what they say, and `If-Match`.

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use counterfoil_types::Digest;
use serde::Serialize;

use crate::{extract::Json, problem::Problem};

fn tag<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let digest = Digest::of(&text).to_string();
    format!("\"{}\"", digest.get(..32).unwrap_or_default())
}

/// The thing with its `ETag`.
pub(crate) fn tagged<T: Serialize>(value: T) -> Response {
    let tag = tag(&value);
    let mut response = Json(value).into_response();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Refuses a change that was decided on another version than the stored one.
pub(crate) fn check_match<T: Serialize>(
    headers: &HeaderMap,
    stored: Option<&T>,
) -> Result<(), Problem> {
    let Some(wanted) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let wanted = wanted.to_str().unwrap_or_default();
    let is = stored.map(tag);
    let fits = match &is {
        Some(is) => wanted.split(',').any(|one| one.trim() == is || one.trim() == "*"),
        None => false,
    };
    if fits {
        return Ok(());
    }
    let problem =
        Problem::new("precondition_failed", "it was changed since you read it; read it again");
    Err(match is {
        Some(is) => problem.header(header::ETAG, &is),
        None => problem,
    })
}
