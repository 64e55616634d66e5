//! The API's own description.

use std::sync::LazyLock;

use axum::{http::header, response::IntoResponse};
use bytes::Bytes;

/// Written by hand; tests hold it against the router and against answers.
const SOURCE: &str = include_str!("openapi.json");

/// The document with this program's version in it.
static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| SOURCE.replace("\"0.0.0\"", concat!("\"", env!("CARGO_PKG_VERSION"), "\"")).into());

/// `GET /openapi.json`.
pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], DOCUMENT.clone())
}
