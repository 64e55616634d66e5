//! Dead letters: why each died, and back into the queue or away with them, one or many.

use askama::Template;
use axum::{body::Body, extract::State, http::HeaderMap, response::Response};

use super::{
    super::{App, access::Access, body, extract::Query, jobs::letters, problem::Problem, quota},
    overview::in_time,
    page::{Fault, Page, back_to, job_path},
};
use crate::{job::JobId, queue::DeadLetter};

/// Letters on one page.
const PAGE: usize = 100;

/// Longest excerpt of a message, in characters.
const EXCERPT: usize = 400;

struct Letter {
    id: String,
    path: String,
    source: String,
    code: &'static str,
    message: String,
    attempts: u32,
    crashes: u32,
    failed: String,
    raw: String,
}

#[derive(Template)]
#[template(path = "dead.html")]
struct Dead {
    nav: &'static str,
    letters: Vec<Letter>,
    /// How many there are, for those who may see them all.
    total: Option<u64>,
    /// Whether the one who looks may change anything.
    acts: bool,
    /// What was done just now.
    done: Option<String>,
    /// Where the page before and the next begin, where there are such.
    newer: Option<usize>,
    older: Option<usize>,
}

fn letter(letter: DeadLetter) -> Letter {
    let id = letter.job_id.unwrap_or_default();
    let raw = letter.raw.or(letter.raw_base64).unwrap_or_default();
    let mut excerpt: String = raw.chars().take(EXCERPT).collect();
    if excerpt.len() < raw.len() {
        excerpt.push('…');
    }
    Letter {
        path: job_path(&id),
        id,
        source: letter.source.unwrap_or_default(),
        code: letter.error.code.as_str(),
        message: letter.error.message,
        attempts: letter.attempts,
        crashes: letter.crashes,
        failed: letter.failed_at,
        raw: excerpt,
    }
}

/// `GET /ui/dead?offset=`.
pub(super) async fn list(State(app): State<App>, access: Access, query: Query) -> Result<Page<impl Template>, Fault> {
    let offset = query.number("offset", 0, 1_000_000)?.unwrap_or(0);
    let offset = usize::try_from(offset).unwrap_or(0);
    let found = in_time(letters(&app, &access, offset, PAGE)).await?;
    let total = if access.sees_all() { Some(in_time(app.queue.stats()).await?.dead) } else { None };
    let older = (found.len() == PAGE).then_some(offset + PAGE);
    let newer = (offset > 0).then(|| offset.saturating_sub(PAGE));
    let done = done(query.number("retried", 0, u64::MAX)?, query.number("discarded", 0, u64::MAX)?);
    let letters = found.into_iter().map(letter).collect();
    Ok(Page(Dead { nav: "dead", letters, total, acts: access.acts(), done, newer, older }))
}

/// What the form before this page did, in a sentence.
fn done(retried: Option<u64>, discarded: Option<u64>) -> Option<String> {
    let (letters, what) = retried
        .map(|letters| (letters, "back in the queue"))
        .or_else(|| discarded.map(|letters| (letters, "gone for good")))?;
    Some(match letters {
        0 => "Nothing was chosen, or it was dealt with already.".to_owned(),
        1 => format!("One letter is {what}."),
        _ => format!("{letters} letters are {what}."),
    })
}

/// `POST /ui/dead`: `action` is `retry` or `discard`, `id` as often as there are letters to do it to.
pub(super) async fn act(
    State(app): State<App>,
    access: Access,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let form = Query::parse(&body::read(&headers, body, &app.settings.http).await?);
    let discard = match form.get("action") {
        Some("retry") => false,
        Some("discard") => true,
        _ => return Err(Problem::bad_request("`action` must be retry or discard").into()),
    };
    let ids: Vec<JobId> = form.all("id").filter_map(|id| JobId::parse(id).ok()).collect();
    for id in &ids {
        access.check_dead(&app, id).await?;
    }
    let mut letters = 0;
    if discard {
        letters = app.queue.discard_dead(Some(&ids)).await?;
    } else {
        for id in &ids {
            quota::charge(&app, access.owner_name()).await?;
            letters += u64::from(app.queue.retry_dead(id).await?);
        }
    }
    tracing::info!(letters, discard, "dead letters were dealt with on the dashboard");
    Ok(back_to(&format!("/ui/dead?{}={letters}", if discard { "discarded" } else { "retried" })))
}
