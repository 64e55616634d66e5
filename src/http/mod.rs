//! The side server: health, metrics, the API and the dashboard.
//!
//! Handlers translate between HTTP and the queue, and decide nothing about jobs. Every error is a problem
//! document; every request passes `guard` first. [`router::api`](router) lists what there is.

mod access;
mod agents;
mod app;
mod artifacts;
mod body;
mod dashboard;
mod events;
mod extract;
mod guard;
mod health;
mod jobs;
mod openapi;
mod operate;
mod problem;
mod quota;
mod rate;
mod router;
mod serve;
mod stall;
mod submit;
mod tagged;

pub use app::{AgentsApi, App, Check, CheckFn, Checks, FetchFn, Kept, RunFn};
pub use problem::Problem;
pub use router::{paths, router};
pub use serve::{Peer, serve};
