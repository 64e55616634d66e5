//! Request bodies: bounded in size and time before anything looks into them.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::problem::Problem;
use crate::{job::JobId, settings::Http};

/// Bytes that are copied together.
const BLOCK: usize = 64 << 10;
/// After so many pieces they must have this many bytes on average.
const MAX_CRUMBS: usize = 16_384;
const CRUMB: usize = 16;

/// What a client says its body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`, anything ending in `+json`, or nothing said.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

impl Media {
    /// Reads `Content-Type`; anything else is 415, and so is a compressed body: unpacked it could be any size.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return Err(unsupported(&format!("compressed ({})", encoding.to_str().unwrap_or("?"))));
        }
        let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Self::Json) };
        let text = value.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Self::Json),
            other if other.starts_with("application/") && other.ends_with("+json") => Ok(Self::Json),
            "application/x-www-form-urlencoded" => Ok(Self::Form),
            _ => Err(unsupported(&essence)),
        }
    }

    /// Like [`Media::of`], where only JSON is taken.
    pub(super) fn json(headers: &HeaderMap) -> Result<(), Problem> {
        match Self::of(headers)? {
            Self::Json => Ok(()),
            Self::Form => Err(unsupported("application/x-www-form-urlencoded")),
        }
    }
}

fn unsupported(found: &str) -> Problem {
    let found: String = found.chars().take(80).collect();
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        format!("the body is {found:?}: send JSON with `Content-Type: application/json`"),
    )
}

/// Reads the whole body. One whose announced length is too large is refused unread, one that grows too large
/// is dropped there, and one that comes too slowly is given up. One that announces no length may only be half as
/// large: all of it has to be held before it can be refused.
pub(super) async fn read(headers: &HeaderMap, body: Body, settings: &Http) -> Result<Bytes, Problem> {
    read_at_most(settings.max_body_bytes, headers, body, settings).await
}

/// The same with a bound of its own.
pub(super) async fn read_at_most(
    limit: usize,
    headers: &HeaderMap,
    body: Body,
    settings: &Http,
) -> Result<Bytes, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let limit = if announced.is_some() { limit } else { limit / 2 };
    let collected = collect(Limited::new(body, limit));
    match tokio::time::timeout(Duration::from_secs(settings.body_timeout_secs), collected).await {
        Ok(Ok(collected)) => Ok(collected),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(error)) if error.is::<Crumbs>() => Err(Problem::bad_request(error.to_string())),
        Ok(Err(_)) => Err(Problem::bad_request("the body could not be read to its end")),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            format!("the body did not arrive within {} s (http.body_timeout_secs)", settings.body_timeout_secs),
        )),
    }
}

/// A body in pieces so small that reading it is nothing but work.
#[derive(Debug, thiserror::Error)]
#[error("the body comes in chunks of a few bytes: send larger ones, or a Content-Length")]
struct Crumbs;

/// All of a body, copied together: a piece that is kept by itself costs far more than its bytes.
async fn collect(mut body: Limited<Body>) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let mut blocks: Vec<BytesMut> = Vec::new();
    let (mut pieces, mut bytes) = (0_usize, 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        (pieces, bytes) = (pieces + 1, bytes + data.len());
        if pieces > MAX_CRUMBS && bytes / pieces < CRUMB {
            return Err(Crumbs.into());
        }
        match blocks.last_mut() {
            Some(block) if block.capacity() - block.len() >= data.len() => block.extend_from_slice(&data),
            _ => {
                let mut block = BytesMut::with_capacity(data.len().max(BLOCK));
                block.extend_from_slice(&data);
                blocks.push(block);
            }
        }
    }
    Ok(match blocks.len() {
        1 => blocks.remove(0).freeze(),
        _ => blocks.concat().into(),
    })
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!(
            "the body has more than {limit} bytes (http.max_body_bytes, and half of it without a Content-Length): \
             pass large data as input_ref"
        ),
    )
}

/// A job document with an id: the one in it, or a fresh one added at its end, without touching another byte.
/// Text that is no object is returned as it is, for the job's own reader to refuse.
pub(super) fn with_job_id(message: Bytes) -> Bytes {
    #[derive(Deserialize)]
    struct Peek<'a> {
        #[serde(borrow, default)]
        job_id: Option<&'a RawValue>,
    }

    let starts_object = message.trim_ascii_start().starts_with(b"{");
    let Ok(peek) = serde_json::from_slice::<Peek<'_>>(&message) else { return message };
    if !starts_object || peek.job_id.is_some_and(|id| id.get() != "null") {
        return message;
    }
    with_member(&message, "job_id", JobId::random().as_str())
}

/// The object in `message` with one more member at its end, without touching another byte. Readers of jobs take
/// the last of two equal members.
pub(super) fn with_member(message: &Bytes, name: &str, value: &str) -> Bytes {
    let inner = message.trim_ascii_end();
    let inner = inner[..inner.len() - 1].trim_ascii_end();
    let comma = if inner.ends_with(b"{") { "" } else { "," };
    let tail = format!("{comma}\"{name}\":{}}}", serde_json::Value::from(value));
    [inner, tail.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_id_is_added_only_where_there_is_none() {
        for (message, added) in [
            (r#"{"prompt":"x"}"#, true),
            (" { } \n", true),
            (r#"{"job_id":null,"n":1.10}"#, true),
            (r#"{"n":1.10, "job_id" : "a"}"#, false),
            (r#"{"job_id":7}"#, false),
            ("[null]", false),
            ("[]", false),
            ("{", false),
            ("", false),
            ("7", false),
            (r#"{"job_id":null,"job_id":null}"#, false),
        ] {
            let out = with_job_id(Bytes::from(message));
            assert_eq!(out != message, added, "{message}");
            if added {
                let value: Value = serde_json::from_slice(&out).unwrap();
                assert_eq!(value["job_id"].as_str().unwrap().len(), 36, "{message}");
                let kept = message.trim().trim_end_matches('}').trim_end();
                assert!(std::str::from_utf8(&out).unwrap().trim().starts_with(kept), "{message}");
            }
        }
    }

    #[tokio::test]
    async fn a_body_of_crumbs_is_refused_and_one_of_pieces_is_put_together() {
        let pieces = async |count: usize, bytes: usize| {
            let all = futures::stream::iter((0..count).map(move |_| Ok::<_, std::io::Error>(vec![b'a'; bytes])));
            read(&HeaderMap::new(), Body::from_stream(all), &Http::default()).await
        };
        for (count, bytes) in [(0, 1), (1, 1), (16_000, 1), (40_000, 20), (3, 100_000)] {
            assert_eq!(pieces(count, bytes).await.unwrap().len(), count * bytes);
        }
        assert_eq!(pieces(20_000, 1).await.unwrap_err().status(), StatusCode::BAD_REQUEST);
        assert_eq!(pieces(200, 100_000).await.unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn media_types_are_read_as_clients_write_them() {
        for (text, expected) in [
            (Some("application/json"), Some(Media::Json)),
            (Some("Application/JSON; charset=utf-8"), Some(Media::Json)),
            (Some("application/cloudevents+json"), Some(Media::Json)),
            (None, Some(Media::Json)),
            (Some("application/x-www-form-urlencoded"), Some(Media::Form)),
            (Some("text/plain"), None),
            (Some("multipart/form-data; boundary=x"), None),
            (Some(""), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = text {
                headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            }
            assert_eq!(Media::of(&headers).ok(), expected, "{text:?}");
        }
    }
}
