//! The files that pages load: a style, a script and an icon, all in the program.

use std::sync::LazyLock;

use axum::{extract::Path, http::HeaderMap, response::Response};

use super::super::{problem::Problem, tagged::Tagged};

/// Name, media type and text.
static FILES: LazyLock<[(&str, &str, Tagged); 3]> = LazyLock::new(|| {
    [
        ("app.css", "text/css; charset=utf-8", Tagged::of(include_str!("../../../assets/dashboard/app.css"))),
        ("app.js", "text/javascript; charset=utf-8", Tagged::of(include_str!("../../../assets/dashboard/app.js"))),
        ("icon.svg", "image/svg+xml", Tagged::of(include_str!("../../../assets/dashboard/icon.svg"))),
    ]
});

/// `GET /assets/{name}`. Pages ask with their version in the query, so what was fetched may be kept; it is asked
/// for again all the same once an hour, since a development version keeps its number.
pub(super) async fn get(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let file = FILES.iter().find(|(known, ..)| *known == name);
    let Some((_, kind, text)) = file else { return Err(Problem::not_found("there is no such file")) };
    Ok(text.answer(&headers, kind, "max-age=3600"))
}
