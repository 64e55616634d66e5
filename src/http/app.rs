//! What the handlers share.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::rate::Rate;
use crate::{
    agents::{LiveRegistry, Router, TrailStore},
    job::{Job, JobResult},
    queue::SharedQueue,
    settings::Settings,
    store::{Records, Series, SharedStore},
    telemetry::Metrics,
};

/// Runs a job in this process, to its result.
pub type RunFn = Arc<dyn Fn(Job) -> BoxFuture<'static, JobResult> + Send + Sync>;

/// Reads what `artifact://<id>` or `cas://sha256:<hex>` stands for; nothing when it is unknown or its time is over.
/// The error says why the store could not answer.
pub type FetchFn = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Option<Bytes>, String>> + Send + Sync>;

/// Asks a part how it is. Called on every health request: it looks at state and does no I/O.
pub type CheckFn = Arc<dyn Fn() -> Check + Send + Sync>;

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// It works, as far as is known.
    Ok,
    /// The offline planner stands in for a model.
    Rules,
    /// It is not set up, and nothing needs it.
    NotConfigured,
    /// Its circuit breaker is open: calls fail at once until it cools down.
    CircuitOpen,
    /// It does not answer.
    Unreachable,
}

impl Check {
    /// Whether the process does less than it was set up for.
    #[must_use]
    pub fn degrades(self) -> bool {
        matches!(self, Self::CircuitOpen | Self::Unreachable)
    }
}

/// Checks beside Redis, which the server asks itself.
#[derive(Clone)]
pub struct Checks {
    /// The model endpoint.
    pub llm: CheckFn,
    /// The orchestrator.
    pub orchestrator: CheckFn,
    /// The database of records, where there is one: the server asks it.
    pub records: Option<Arc<dyn Records>>,
}

/// What `/v1/agents` and `/v1/handoffs` need.
#[derive(Clone)]
pub struct AgentsApi {
    /// The agents in force.
    pub registry: Arc<LiveRegistry>,
    /// Chooses among them.
    pub router: Arc<Router>,
    /// What was decided, and why.
    pub trails: TrailStore,
}

/// What outlives jobs, as far as the HTTP side reads it.
#[derive(Clone)]
pub struct Kept {
    /// Where `artifact://` and `cas://` lead.
    pub artifacts: FetchFn,
    /// Journals and the sums behind the charts.
    pub store: SharedStore,
}

/// Everything the HTTP side needs from the rest of the process. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// The queue.
    pub queue: SharedQueue,
    /// Artifacts, journals, sums.
    pub kept: Kept,
    /// Sums by minute, for charts.
    pub series: Series,
    /// Runs a job in process.
    pub run: RunFn,
    /// The agents, the choice among them and its trail.
    pub agents: AgentsApi,
    /// The metrics of this process.
    pub metrics: Metrics,
    /// Health of the other parts.
    pub checks: Checks,
    /// Fires when the process takes no more jobs: `/health/ready` turns 503 while the rest still answers.
    pub draining: CancellationToken,
    /// Fires when the server stops: event streams and waiting requests end.
    pub closing: CancellationToken,
    /// Permits for requests that stay open (event streams, `?wait=`, `/test/chat`), so that they cannot take
    /// every connection from health checks and short requests.
    pub(super) long: Arc<Semaphore>,
    /// What each client may still ask.
    pub(super) rate: Arc<Rate>,
}

impl App {
    /// Puts the parts together.
    pub fn new(
        settings: Arc<Settings>,
        queue: SharedQueue,
        kept: Kept,
        run: RunFn,
        agents: AgentsApi,
        metrics: Metrics,
        checks: Checks,
    ) -> Self {
        let long = (settings.http.max_connections * 3 / 4).max(1);
        let rate = Arc::new(Rate::new(settings.http.requests_per_minute));
        Self {
            settings,
            queue,
            series: Series::new(kept.store.clone()),
            kept,
            run,
            agents,
            metrics,
            checks,
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            long: Arc::new(Semaphore::new(long)),
            rate,
        }
    }
}
