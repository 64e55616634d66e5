//! Real parts that tests start and stop by themselves.
#![allow(dead_code, reason = "each story uses some of them")]
pub mod api;
pub mod broken_queue;
pub mod described;
pub mod embeddings;
pub(crate) mod fleet;
pub mod llm;
pub mod mcp;
pub mod model;
pub mod orchestrator;
pub mod patches;
#[cfg(feature = "postgres")]
pub mod postgres;
pub(crate) mod proxy;
pub mod qdrant;
pub(crate) mod redis;
pub mod rig;
#[cfg(feature = "object-store")]
pub mod s3;
pub mod service;
pub mod site;
pub(crate) mod stage;
pub mod tools;
pub mod troupe;
