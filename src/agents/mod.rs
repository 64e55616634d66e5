//! Who does what: the registry of agents, the choice among them, and one agent's run.

mod answer;
mod delegate;
pub mod eval;
mod guardrails;
mod kit;
mod listing;
mod overlap;
mod registry;
mod route;
mod run;
mod trail;

pub use answer::{Answer, Answering, answer};
pub use delegate::DelegateToAgent;
pub use guardrails::{Guarding, Side, guard};
pub use kit::{Kit, Toolbox, named, names_tool, reachable, server_spec};
pub use listing::{AgentSummary, Listing, PoolSummary, listing};
pub use overlap::{Overlap, overlaps};
pub use registry::{
    Agent, BUILT_IN_TOOLS, Guardrail, Guardrails, HandoffTarget, History, LiveRegistry, MAX_ID_CHARS, McpServer, Pool,
    Registry, RegistryError, Rule, Strategy, TRANSFER_PREFIX, Tier, ToolRef,
};
pub use route::{
    Candidate, Choice, Decision, Pick, RouteOptions, RouteRecord, RouteRequest, RouteResult, Router, RunnerUp,
    ScoredAgent, SelectedAgent, TagSource, TagStep, ThresholdFrom, decide,
};
pub use run::{Action, AgentRun, Event, RunBounds};
pub use trail::{TrailEntry, TrailKind, TrailStore};
