//! The dashboard: pages for people, made here from what the API serves to programs.
//!
//! Every page works without a script: forms post and lead back. `app.js` only refreshes live parts and follows
//! events. Pages load nothing from elsewhere, and their Content-Security-Policy says so.

mod agents;
mod assets;
mod chart;
mod dead;
mod graph;
mod handoff;
mod job;
mod jobs;
mod login;
mod outcome;
mod overview;
mod page;
mod playground;
mod shown;

use axum::routing::{MethodRouter, get, post};

use super::App;

pub(super) use login::{is_open, sign_in_first, signed_in};
pub(super) use page::{answer, told};

/// Path patterns of the pages and what answers them.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/", get(overview::show)),
        ("/assets/{name}", get(assets::get)),
        ("/ui/login", get(login::form).post(login::sign_in)),
        ("/ui/logout", post(login::sign_out)),
        ("/ui/queue", post(overview::switch)),
        ("/ui/jobs", get(jobs::list)),
        ("/ui/jobs/{job_id}", get(job::show).post(job::act)),
        ("/ui/dead", get(dead::list).post(dead::act)),
        ("/ui/agents", get(agents::show).post(agents::route)),
        ("/ui/handoffs/{execution_id}", get(handoff::show)),
        ("/ui/playground", get(playground::form).post(playground::run)),
    ]
}
