//! The integration tests: one binary, one file per story.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod bad_input;
#[path = "../chaos/rows/mod.rs"]
mod chaos_rows;
mod chaos_short;
mod command_line;
mod deploy;
mod egress;
mod embeddings;
mod handoff;
mod handoff_rows;
mod http_agents;
mod http_chat;
mod http_guard;
mod http_health;
mod http_jobs;
mod http_redis;
mod http_serve;
mod intent;
mod lanes;
mod lease_model;
mod llm_errors;
mod llm_fleet;
mod llm_quirks;
mod llm_request;
mod llm_routes;
mod llm_stream;
mod llm_time;
#[cfg(feature = "local-embeddings")]
mod local_encoder;
mod offline_planner;
mod patch_orchestrator;
mod patch_reading;
mod patch_rfc6902;
mod patch_rules;
mod queue_conformance;
mod queue_redis;
mod queue_servers;
mod queue_service;
mod queue_stream;
mod redelivery;
mod replay;
mod routing;
mod sessions;
mod store_conformance;
mod support;
mod tidy;
