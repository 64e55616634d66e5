//! An answer that is read as it comes.

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use reqwest::header::HeaderMap;

/// Why a body ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BodyBroke(pub String);

/// An answer of any status that is no redirect; its body comes piece by piece and ends at the request's `max_bytes`.
pub struct Streamed {
    /// The status code.
    pub status: u16,
    headers: HeaderMap,
    /// The body, decompressed.
    pub body: BoxStream<'static, Result<Bytes, BodyBroke>>,
}

impl Streamed {
    pub(super) fn new(answer: reqwest::Response, max_bytes: usize) -> Self {
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let mut left = max_bytes;
        let body = answer.bytes_stream().map(move |piece| {
            // The address may hold a key.
            let piece = piece.map_err(|error| BodyBroke(super::chain(&error.without_url())))?;
            left = left
                .checked_sub(piece.len())
                .ok_or_else(|| BodyBroke(format!("the answer has more than {max_bytes} bytes")))?;
            Ok(piece)
        });
        // After an error there is nothing more.
        let body = body.scan(false, |broke, piece| {
            let ended = std::mem::replace(broke, piece.is_err());
            std::future::ready((!ended).then_some(piece))
        });
        Self { status, headers, body: body.boxed() }
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The whole body.
    ///
    /// # Errors
    /// Where it broke off, or was too long.
    pub async fn whole(mut self) -> Result<Vec<u8>, BodyBroke> {
        let mut whole = Vec::new();
        while let Some(piece) = self.body.next().await {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole)
    }
}
