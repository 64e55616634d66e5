//! Answers that a client may hold already: a strong tag over their bytes, and 304 where it is named.

use std::fmt::Write as _;

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Bytes and their `ETag`.
pub(super) struct Tagged {
    bytes: Bytes,
    tag: String,
}

impl Tagged {
    /// `bytes` with the tag that no other bytes have.
    pub(super) fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let mut tag = String::from('"');
        for byte in Sha256::digest(&bytes) {
            let _infallible = write!(tag, "{byte:02x}");
        }
        tag.push('"');
        Self { bytes, tag }
    }

    /// The answer to a request with the headers `asked`: the bytes as the media type `kind`, to be kept as `keep`
    /// (`Cache-Control`) says, or 304 where the client has them.
    pub(super) fn answer(&self, asked: &HeaderMap, kind: &'static str, keep: &'static str) -> Response {
        let headers = [(header::ETAG, self.tag.as_str()), (header::CACHE_CONTROL, keep)];
        if self.is_held(asked) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, [(header::CONTENT_TYPE, kind)], self.bytes.clone()).into_response()
    }

    /// Whether `If-None-Match` names the tag, alone or in a list. `W/` before it is the mark of a proxy that
    /// compressed the answer on its way.
    fn is_held(&self, asked: &HeaderMap) -> bool {
        let lines = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
        let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_holds_is_not_sent_again() {
        let tagged = Tagged::of("x");
        let tag = tagged.tag.clone();
        let other = Tagged::of("y").tag;
        for (line, held) in [
            (tag.clone(), true),
            (format!("W/{tag}"), true),
            (format!("{other}, {tag}"), true),
            ("*".to_owned(), true),
            (other, false),
            (tag.trim_matches('"').to_owned(), false),
            (String::new(), false),
        ] {
            let asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, line.parse().unwrap())]);
            let answer = tagged.answer(&asked, "text/plain", "no-cache");
            assert_eq!(answer.status() == StatusCode::NOT_MODIFIED, held, "{line}");
            assert_eq!(answer.headers()[header::ETAG], *tag);
        }
        assert_eq!(tagged.answer(&HeaderMap::new(), "text/plain", "no-cache").status(), StatusCode::OK);
    }
}
