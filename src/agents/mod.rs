//! Who does what: the registry of agents, the choice among them, and how they run: one by itself, up the tiers,
//! passing control to each other, or out of a pool.

mod ahead;
mod analytics;
mod cast;
mod delegate;
mod errand;
pub mod eval;
mod guardrails;
mod kit;
mod listing;
mod network;
mod overlap;
mod pools;
mod predicate;
mod registry;
mod route;
mod run;
mod session;
mod solo;
mod stage;
mod tiers;
mod trail;

pub use ahead::learn_ahead;
pub use analytics::{Analytics, Execution, TierAnalytics, TierFigures, analytics};
pub use cast::{Cast, unknown};
pub use delegate::DelegateToAgent;
pub use errand::Errands;
pub use guardrails::{Guarding, Side, guard};
pub use kit::{Kit, Toolbox, names_tool, server_spec};
pub use listing::{AgentSummary, Listing, PoolSummary, listing};
pub use network::{NetworkResult, entry, entry_seat, network};
pub use overlap::{MAX_OVERLAPS, Overlap, overlaps};
pub use pools::{Choice as PoolChoice, Loans, Need, Pools};
pub use registry::{
    Agent, BUILT_IN_TOOLS, Guardrail, Guardrails, HandoffTarget, History, LiveRegistry, MAX_ID_CHARS, McpServer, Pool,
    Registry, RegistryError, Rule, Strategy, TRANSFER_PREFIX, Tier, ToolRef,
};
pub use route::{
    Candidate, Choice, Decision, Pick, RouteOptions, RouteRecord, RouteRequest, RouteResult, Router, RunnerUp,
    ScoredAgent, SelectedAgent, TagSource, TagStep, ThresholdFrom, decide, profiles,
};
pub use run::{Action, AgentRun, Ask, Door, Event, Handoff, Note, RunBounds, Scope, Seat, Target, TransferWords};
pub use session::{Conversation, Conversations};
pub use solo::{PoolResult, choose, pool, solo};
pub use stage::{Made, Stage, WallClock};
pub use tiers::{TierPlay, TierReport, TiersResult, ladder};
pub use trail::{MAX_EXECUTIONS, Trail, TrailEntry, TrailKind, TrailStore, now, stop_reason};
