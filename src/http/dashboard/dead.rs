//! Dead letters: why each died, and back into the queue or away with them, one or many.

use askama::Template;
use axum::{
    body::Body,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};

use super::{
    super::{App, access::Access, body, extract::Query, jobs::letters, problem::Problem, quota},
    overview::in_time,
    page::{Fault, Page, Turns, back_to, job_path},
};
use crate::queue::{DeadLetter, LetterFilter, LetterRetry};

/// Letters on one page.
const PAGE: usize = 100;

/// Longest excerpt of a message, in characters.
const EXCERPT: usize = 400;

struct Letter {
    id: String,
    /// The id of its job, where that could be read.
    job: String,
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
    /// Where this page begins, so that its form leads back here.
    cursor: String,
    turns: Turns,
}

fn letter(letter: DeadLetter) -> Letter {
    let job = letter.job_id.unwrap_or_default();
    let raw = letter.raw.or(letter.raw_base64).unwrap_or_default();
    let mut excerpt: String = raw.chars().take(EXCERPT).collect();
    if excerpt.len() < raw.len() {
        excerpt.push('…');
    }
    Letter {
        id: letter.letter_id,
        path: job_path(&job),
        job,
        source: letter.source.unwrap_or_default(),
        code: letter.error.code.as_str(),
        message: letter.error.message,
        attempts: letter.attempts,
        crashes: letter.crashes,
        failed: letter.failed_at,
        raw: excerpt,
    }
}

/// `GET /ui/dead?cursor=`.
pub(super) async fn list(State(app): State<App>, access: Access, query: Query) -> Result<Response, Fault> {
    let filter = LetterFilter { owner: access.owner(), from: query.cursor()?, skip: 0, limit: PAGE };
    let found = in_time(letters(&app, &filter)).await?;
    let turns = Turns::of("/ui/dead", &query, &found);
    if turns.newer.is_none() && filter.from.is_some_and(|from| from.newer) {
        return Ok(back_to(&turns.first));
    }
    let total = if access.sees_all() { Some(in_time(app.queue.stats()).await?.dead) } else { None };
    let done = done(query.number("retried", 0, u64::MAX)?, query.number("discarded", 0, u64::MAX)?);
    let cursor = query.get("cursor").unwrap_or_default().to_owned();
    let letters = found.items.into_iter().map(letter).collect();
    Ok(Page(Dead { nav: "dead", letters, total, acts: access.acts(), done, cursor, turns }).into_response())
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

/// `POST /ui/dead`: `action` is `retry` or `discard`, `id` as often as there are letters to do it to, `cursor` of the
/// page where they were chosen.
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
    let ids: Vec<String> = form.all("id").map(str::to_owned).collect();
    for id in &ids {
        access.check_dead(&app, id).await?;
    }
    let mut letters = 0;
    if discard {
        letters = app.queue.discard_dead(Some(&ids)).await?;
    } else {
        for id in &ids {
            quota::charge(&app, access.owner_name()).await?;
            letters += u64::from(app.queue.retry_dead(id).await? != LetterRetry::Unknown);
        }
    }
    tracing::info!(letters, discard, "dead letters were dealt with on the dashboard");
    let (what, letters) = (if discard { "discarded" } else { "retried" }, letters.to_string());
    Ok(back_to(&format!("/ui/dead?{}", form.with(&["action", "id"], Some((what, &letters))))))
}
