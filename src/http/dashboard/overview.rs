//! The first page: the queue now, the last hour or day as charts, and what needs somebody.

use std::time::Duration;

use askama::Template;
use axum::{body::Body, extract::State, http::HeaderMap, response::Response};

use super::{
    super::{App, access::Access, body, extract::Query, problem::Problem},
    chart::{self, Chart},
    jobs::{Line, lines},
    page::{Fault, Page, back_to, count, duration},
};
use crate::queue::{JobFilter, JobState, QueueStats};

/// How long a page waits for a part of it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Jobs in a short list.
const FEW: usize = 5;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    nav: &'static str,
    /// Whether the one who looks may see the work of everybody; else only jobs of their own are shown.
    fleet: bool,
    tiles: Vec<Tile>,
    paused: bool,
    day: bool,
    charts: Vec<Chart>,
    waiting: Vec<Line>,
    failed: Vec<Line>,
    dead: u64,
}

/// One number of the queue.
struct Tile {
    name: &'static str,
    number: String,
    /// What it counts.
    meaning: &'static str,
    /// Where those are that it counts.
    path: &'static str,
}

/// `GET /`.
pub(super) async fn show(State(app): State<App>, access: Access, query: Query) -> Result<Page<impl Template>, Fault> {
    let stats = in_time(app.queue.stats()).await?;
    let fleet = access.sees_all();
    let day = query.get("range") == Some("day");
    let few = |state| JobFilter { state: Some(state), limit: FEW, owner: access.owner(), ..JobFilter::default() };
    let waiting = match stats.awaiting_approval {
        0 => Vec::new(),
        _ => in_time(app.queue.jobs(&few(JobState::AwaitingApproval))).await?.items,
    };
    let failed = in_time(app.queue.jobs(&few(JobState::Failed))).await?.items;
    let charts = match fleet {
        true => chart::all(&app.series, day).await.map_err(|e| Problem::store_unavailable(&e.to_string()))?,
        false => Vec::new(),
    };
    Ok(Page(Overview {
        nav: "overview",
        fleet,
        tiles: if fleet { tiles(&stats) } else { Vec::new() },
        paused: stats.paused,
        day,
        charts,
        waiting: lines(&waiting),
        failed: lines(&failed),
        dead: if fleet { stats.dead } else { 0 },
    }))
}

fn tiles(stats: &QueueStats) -> Vec<Tile> {
    let tile = |name, number, meaning, path| Tile { name, number, meaning, path };
    let waiting = count(stats.pending + stats.ready);
    vec![
        tile("Waiting", waiting, "jobs that can be taken now", "/ui/jobs?status=queued"),
        tile("Oldest waits", duration(stats.oldest_age_ms), "age of the job that has waited longest", ""),
        tile("Running", count(stats.in_flight), "jobs in the hands of workers", "/ui/jobs?status=running"),
        tile("Scheduled", count(stats.scheduled), "jobs for later, retries too", "/ui/jobs?status=scheduled"),
        tile(
            "Approval",
            count(stats.awaiting_approval),
            "jobs that wait for somebody's yes",
            "/ui/jobs?status=awaiting_approval",
        ),
        tile("Dead letters", count(stats.dead), "messages that nobody could finish", "/ui/dead"),
    ]
}

/// The queue's answer, unless it takes too long.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, crate::queue::QueueError>>) -> Result<T, Fault> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Problem::from(crate::queue::QueueError("no answer in time".to_owned())).into()),
    }
}

/// `POST /ui/queue`: pauses or resumes the whole fleet.
pub(super) async fn switch(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Response, Fault> {
    let form = Query::parse(&body::read(&headers, body, &app.settings.http).await?);
    let paused = match form.get("action") {
        Some("pause") => true,
        Some("resume") => false,
        _ => return Err(Problem::bad_request("`action` must be pause or resume").into()),
    };
    app.queue.set_paused(paused).await?;
    tracing::info!(paused, "the queue's switch was moved on the dashboard");
    Ok(back_to("/"))
}
