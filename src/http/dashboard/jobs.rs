//! The list of jobs.

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    super::{App, access::Access, extract::Query},
    overview::in_time,
    page::{Fault, Page, Turns, back_to, between, job_path},
};
use crate::{
    job::JobId,
    queue::{JobFilter, JobView},
};

/// Lengths of the list that can be asked for.
const LENGTHS: [usize; 3] = [50, 200, 1000];

/// Ways a job can go.
const LANES: [&str; 4] = ["execute", "patch", "handoff", "answer"];

/// One job in a list.
pub(super) struct Line {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) state: &'static str,
    pub(super) lane: String,
    pub(super) attempts: u32,
    pub(super) created: String,
    /// When it may be taken, where it is queued for later.
    pub(super) due: String,
    pub(super) took: String,
    /// Code and message, where it failed.
    pub(super) error: String,
}

/// Jobs as lists show them.
pub(super) fn lines(jobs: &[JobView]) -> Vec<Line> {
    let member = |job: &JobView, name| {
        let error = job.error.as_ref().and_then(|error| error.get(name));
        error.and_then(serde_json::Value::as_str).map(str::to_owned)
    };
    let line = |job: &JobView| Line {
        id: job.job_id.to_string(),
        path: job_path(job.job_id.as_str()),
        state: job.state.as_str(),
        lane: job.lane.clone().unwrap_or_default(),
        attempts: job.attempts,
        created: job.created_at.clone().unwrap_or_default(),
        due: job.due_at.clone().unwrap_or_default(),
        took: between(job.started_at.as_deref(), job.completed_at.as_deref()).unwrap_or_default(),
        error: member(job, "message").or_else(|| member(job, "type")).unwrap_or_default(),
    };
    jobs.iter().map(line).collect()
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct Jobs {
    nav: &'static str,
    /// Word and whether it is chosen.
    states: Vec<(&'static str, bool)>,
    lanes: Vec<(&'static str, bool)>,
    lengths: Vec<(usize, bool)>,
    search: String,
    jobs: Vec<Line>,
    turns: Turns,
}

/// `GET /ui/jobs?status=&lane=&limit=&q=&cursor=`. A whole id leads to its page; a part of one narrows the list.
pub(super) async fn list(State(app): State<App>, access: Access, query: Query) -> Result<Response, Fault> {
    let search = query.get("q").unwrap_or_default().trim().to_owned();
    if let Ok(id) = JobId::parse(&search)
        && in_time(app.queue.job(&id)).await?.is_some_and(|job| access.sees(job.owner.as_ref()))
    {
        return Ok(back_to(&job_path(&search)));
    }
    let status = query.get("status").unwrap_or_default();
    let wanted = query.get("limit").and_then(|text| text.parse().ok());
    let limit = wanted.filter(|wanted| LENGTHS.contains(wanted)).unwrap_or(LENGTHS[0]);
    let lane = LANES.into_iter().find(|lane| query.get("lane") == Some(lane));
    let (text, owner, from) = (search.clone(), access.owner(), query.cursor()?);
    let all = JobFilter { lane: lane.map(str::to_owned), text, limit, owner, from, ..JobFilter::default() };
    let filter = all.clone().of_status(status).unwrap_or(all);
    let found = in_time(app.queue.jobs(&filter)).await?;
    let turns = Turns::of("/ui/jobs", &query, &found);
    if turns.newer.is_none() && filter.from.as_ref().is_some_and(|from| from.newer) {
        // Nothing is newer: this is the first page, which may have room for more.
        return Ok(back_to(&turns.first));
    }
    let page = Jobs {
        nav: "jobs",
        states: JobFilter::STATUSES.iter().map(|known| (*known, status == *known)).collect(),
        lanes: LANES.iter().map(|known| (*known, lane == Some(*known))).collect(),
        lengths: LENGTHS.iter().map(|length| (*length, *length == limit)).collect(),
        search,
        jobs: lines(&found.items),
        turns,
    };
    Ok(Page(page).into_response())
}
