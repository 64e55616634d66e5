//! The files that pages load: a style, a script and an icon, all in the program.

use axum::{
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{super::problem::Problem, page::VERSION};

const FILES: [(&str, &str, &str); 3] = [
    ("app.css", "text/css; charset=utf-8", include_str!("../../../assets/dashboard/app.css")),
    ("app.js", "text/javascript; charset=utf-8", include_str!("../../../assets/dashboard/app.js")),
    ("icon.svg", "image/svg+xml", include_str!("../../../assets/dashboard/icon.svg")),
];

/// `GET /assets/{name}`. Pages ask with their version in the query, so what was fetched may be kept; it is asked
/// for again all the same once an hour, since a development version keeps its number.
pub(super) async fn get(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let file = FILES.iter().find(|(known, ..)| *known == name);
    let Some((_, kind, text)) = file else { return Err(Problem::not_found("there is no such file")) };
    let tag = format!("\"{VERSION}-{:x}\"", text.len());
    let cache = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, "max-age=3600")];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, cache).into_response());
    }
    Ok((cache, [(header::CONTENT_TYPE, *kind)], *text).into_response())
}
