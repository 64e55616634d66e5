//! agent-runner: Redis job workers that run table pipelines, workflow patches and agent handoffs.
//!
//! This file is the map. Arrows go down only: a room may use the rooms above it.
//!
//! | room | what it does |
//! |---|---|
//! | [`job`] | wire types and stable error codes; pure |
//! | [`settings`] | configuration, read once and proved |
//! | [`net`] | the one place that builds an HTTP client; address policy |
//! | [`telemetry`] | logs, metric names |
//! | [`queue`] | delivery: claim, renew, end exactly once |
//! | [`store`] | artifacts and what outlives a job |
//! | [`llm`] | chat models |
//! | [`embed`] | how near a text is to each agent |
//! | [`workflow`] | workflow document, patch, check, undo; the orchestrator |
//! | [`table`] | the table pipeline over raw JSON |
//! | [`intent`] | which lane a prompt asks for |
//! | [`planner`] | from words to tool calls |
//! | [`tools`] | what a plan may do |
//! | [`agents`] | the registry of agents, the choice among them, one agent's run |
//! | [`lanes`] | what each lane offers and how its plan is carried out |
//! | [`worker`] | the pool, and one job's life |
//! | [`http`] | health, metrics, API |
//! | [`cli`] | the commands |

pub mod agents;
pub mod cli;
pub mod embed;
pub mod http;
pub mod intent;
pub mod job;
pub mod lanes;
pub mod llm;
pub mod net;
pub mod planner;
pub mod queue;
pub mod settings;
pub mod store;
pub mod table;
pub mod telemetry;
pub mod tools;
pub mod worker;
pub mod workflow;
