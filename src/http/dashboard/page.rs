//! What every page shares: how it is sent, how it fails, and how times and ids are written.

use std::fmt::Display;

use askama::Template;
use axum::{
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::{extract::Query, problem::Problem};
use crate::queue::{self, Cursor, QueueError};

/// Scripts, styles and requests of our own only; no frames, no inline code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the templates know of the program.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A rendered page.
pub(super) struct Page<T>(pub(super) T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(text) => html(StatusCode::OK, text),
            Err(error) => Fault::from(internal(&error)).into_response(),
        }
    }
}

fn internal(error: &askama::Error) -> Problem {
    tracing::error!(%error, "a page could not be rendered");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the page could not be rendered")
}

/// HTML with the headers of every page.
pub(super) fn html(status: StatusCode, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // With `no-referrer`, as on answers for programs, a browser sends its forms with `Origin: null`, which is
        // foreign to us.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    (status, headers, text).into_response()
}

/// A problem, shown as a page.
#[derive(Debug)]
pub(super) struct Fault(Problem);

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage<'a> {
    nav: &'static str,
    status: u16,
    title: &'a str,
    detail: &'a str,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let title = status.canonical_reason().unwrap_or("Error");
        let page = FaultPage { nav: "", status: status.as_u16(), title, detail: self.0.detail() };
        html(status, page.render().unwrap_or_else(|_| self.0.detail().to_owned()))
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<QueueError> for Fault {
    fn from(error: QueueError) -> Self {
        Self(Problem::from(error))
    }
}

/// A refusal: as a page where one was asked for, else as a problem document.
pub(in crate::http) fn told(request: &Request, problem: Problem) -> Response {
    if is_page(request.uri().path()) { Fault(problem).into_response() } else { problem.into_response() }
}

/// Whether a path is that of a page.
pub(super) fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/ui/")
}

/// The ways from a page of a list to its neighbours, with everything else that was asked for.
pub(super) struct Turns {
    /// To the latest.
    pub(super) first: String,
    pub(super) newer: Option<String>,
    pub(super) older: Option<String>,
}

impl Turns {
    /// From `page` of the list at `path`, which was asked for with `query`.
    pub(super) fn of<T, P: Display>(path: &str, query: &Query, page: &queue::Page<T, P>) -> Self {
        let without = ["cursor", "retried", "discarded"];
        let to = |cursor: Option<&str>| {
            let asked = query.with(&without, cursor.map(|cursor| ("cursor", cursor)));
            if asked.is_empty() { path.to_owned() } else { format!("{path}?{asked}") }
        };
        let beside = |cursor: &Option<Cursor<P>>| cursor.as_ref().map(|cursor| to(Some(&cursor.to_string())));
        Self { first: to(None), newer: beside(&page.newer), older: beside(&page.older) }
    }
}

/// Leads back after a form was carried out.
pub(super) fn back_to(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// The path of a job's page.
pub(super) fn job_path(job_id: &str) -> String {
    format!("/ui/jobs/{}", encoded(job_id))
}

/// Text as one part of a path.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Milliseconds for people: `8 ms`, `1.2 s`, `3 min`.
#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1e3),
        60_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// A count for people: `12`, `3.4 k`, `2.1 M`.
#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(super) fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{:.1} k", number as f64 / 1e3),
        _ => format!("{:.1} M", number as f64 / 1e6),
    }
}

/// The time between two RFC 3339 stamps, where both can be read.
pub(super) fn between(from: Option<&str>, to: Option<&str>) -> Option<String> {
    let read = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let ms = read(to?)?.as_millisecond() - read(from?)?.as_millisecond();
    u64::try_from(ms).ok().map(duration)
}
