//! Bodies that are read whole: one event, an array, CloudEvents in structured, batch and binary
//! mode, plain or compressed.

use std::io;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, header},
};
use counterfoil_ledger::{
    Event, Reject,
    decode::{Defaults, decode_json},
};
use futures_util::{Stream, TryStreamExt};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio_util::io::StreamReader;

use crate::{guard::read_body, problem::Problem, service::Shared};

/// How many times its size a compressed body may hold, beyond the first mebibyte.
const MOST_RATIO: u64 = 100;
/// Deepest nesting of a body.
const MOST_DEPTH: usize = 32;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain,
    Gzip,
    Zstd,
}

pub(super) fn coding(headers: &HeaderMap) -> Result<Coding, Problem> {
    let given = headers.get(header::CONTENT_ENCODING).map(|coding| coding.to_str().unwrap_or("?"));
    match given.map(str::trim) {
        None | Some("" | "identity") => Ok(Coding::Plain),
        Some("gzip") => Ok(Coding::Gzip),
        Some("zstd") => Ok(Coding::Zstd),
        Some(_) => {
            Err(Problem::new("unsupported_media_type", "send the body plain, as gzip or as zstd"))
        }
    }
}

/// A body unpacked as it comes.
pub(super) fn unpacked(body: Body, coding: Coding) -> Box<dyn AsyncRead + Send + Unpin> {
    let frames: std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> =
        Box::pin(body.into_data_stream().map_err(io::Error::other));
    let packed = BufReader::with_capacity(64 * 1024, StreamReader::new(frames));
    match coding {
        Coding::Plain => Box::new(packed),
        Coding::Gzip => Box::new(GzipDecoder::new(packed)),
        Coding::Zstd => Box::new(ZstdDecoder::new(packed)),
    }
}

/// A whole body, unpacked, within the limits.
async fn whole(shared: &Shared, body: Body, coding: Coding) -> Result<Bytes, Problem> {
    let limit = shared.options.max_batch_body;
    let body = read_body(shared, body, limit).await?;
    if coding == Coding::Plain {
        return Ok(body);
    }
    let packed = body.len() as u64;
    let most = (packed.saturating_mul(MOST_RATIO) + 1024 * 1024).min(limit as u64);
    let mut unpacked = Vec::new();
    let mut reader = unpacked_bytes(body, coding).take(most + 1);
    reader
        .read_to_end(&mut unpacked)
        .await
        .map_err(|_| Problem::new("malformed", "the compressed body is damaged"))?;
    if unpacked.len() as u64 > most {
        return Err(Problem::new("too_large", "the body is too large once it is unpacked")
            .with("limit", most));
    }
    Ok(unpacked.into())
}

fn unpacked_bytes(body: Bytes, coding: Coding) -> Box<dyn AsyncRead + Send + Unpin> {
    unpacked(Body::from(body), coding)
}

fn essence(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase()
}

/// Decodes a request. The flag says whether it was one event by itself.
pub(crate) async fn batch(
    shared: &Shared,
    request: Request,
    defaults: &Defaults,
) -> Result<(bool, Vec<Result<Event, Reject>>), Problem> {
    let (parts, body) = request.into_parts();
    let coding = coding(&parts.headers)?;
    let kind = essence(&parts.headers);
    let binary = parts.headers.contains_key("ce-specversion");
    let known =
        ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json"];
    if !binary && !known.contains(&kind.as_str()) {
        return Err(Problem::new(
            "unsupported_media_type",
            "send events as application/json, application/x-ndjson, application/cloudevents+json or application/cloudevents-batch+json",
        ));
    }
    let body = whole(shared, body, coding).await?;
    if binary {
        let text = from_binary(&parts.headers, &kind, &body)?;
        return Ok((true, vec![decode_json(text.as_bytes(), defaults)]));
    }
    check_depth(&body)?;
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_slice(&body).map_err(|error| {
                Problem::new("malformed", format!("the body is not JSON: {error}"))
            })?;
            if items.len() > shared.options.max_batch {
                return Err(Problem::new(
                    "too_large",
                    format!(
                        "a batch has at most {} events; send several, or a stream of lines",
                        shared.options.max_batch
                    ),
                ));
            }
            let decode = |item: &&RawValue| decode_json(item.get().as_bytes(), defaults);
            Ok((false, items.iter().map(decode).collect()))
        }
        Some(b'{') => {
            // What is not JSON at all is the request's fault, not the event's.
            let item: &RawValue = serde_json::from_slice(&body).map_err(|error| {
                Problem::new("malformed", format!("the body is not JSON: {error}"))
            })?;
            Ok((true, vec![decode_json(item.get().as_bytes(), defaults)]))
        }
        _ => Err(Problem::new("malformed", "the body is one event, {…}, or an array of them, […]")),
    }
}

/// Refuses what is nested too deeply, before anything parses it.
pub(crate) fn check_depth(body: &[u8]) -> Result<(), Problem> {
    let (mut depth, mut text, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'{' | b'[' if !text => {
                depth += 1;
                if depth > MOST_DEPTH {
                    return Err(Problem::new(
                        "malformed",
                        format!("the body is nested more than {MOST_DEPTH} deep"),
                    ));
                }
            }
            b'}' | b']' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// A CloudEvent in binary mode as the JSON text of the structured one.
fn from_binary(headers: &HeaderMap, kind: &str, body: &[u8]) -> Result<String, Problem> {
    let mut event = serde_json::Map::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let value = value
            .to_str()
            .map_err(|_| Problem::parameter(&format!("ce-{name}"), "is not readable"))?;
        event.insert(name.to_owned(), percent_decoded(value).into());
    }
    let mut text = serde_json::to_string(&event)
        .map_err(|error| Problem::new("malformed", error.to_string()))?;
    if body.is_empty() {
        return Ok(text);
    }
    if kind != "application/json" && !kind.ends_with("+json") {
        return Err(Problem::new(
            "unsupported_media_type",
            "the data of a CloudEvent must be application/json",
        ));
    }
    check_depth(body)?;
    let data: &RawValue = serde_json::from_slice(body)
        .map_err(|error| Problem::new("malformed", format!("the data is not JSON: {error}")))?;
    text.pop();
    text.push_str(",\"data\":");
    text.push_str(data.get());
    text.push('}');
    Ok(text)
}

/// Header values of CloudEvents are percent-encoded (HTTP binding 1.0.2, section 3.1.3.2).
fn percent_decoded(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                out.push(code);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
