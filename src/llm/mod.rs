//! Messages in, messages out: any server that speaks Chat Completions, behind one trait.
//!
//! This room knows no tool's body. It owns every retry of a model request.

mod allowance;
mod body;
mod breaker;
mod cache;
mod classify;
mod endpoint;
mod exchange;
mod fault;
mod hints;
mod message;
mod meters;
mod openai;
mod price;
mod quirks;
mod rate;
mod retry;
mod route;
mod stream;
pub mod structured;
mod tab;
#[cfg(test)]
mod tests;
mod trace;
mod turn;
mod usage;

use std::time::Instant;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use breaker::{Breaker, Circuit, Permit};
pub use cache::{Cached, ProcessReplies, ReplyStore, StoreReplies};
pub use message::{ChatReply, ChatRequest, Message, ResponseFormat, ToolCall, ToolChoice, ToolSpec};
pub use openai::OpenAi;
pub use rate::{Line, RateGate, RateLimits, StoreGate};
pub use stream::decode;

use crate::job::{JobError, Meter};

/// What surrounds one model call.
#[derive(Clone, Copy)]
pub struct CallContext<'a> {
    /// Counts requests, tokens and cost, and refuses a call over budget.
    pub meter: &'a Meter,
    /// When the job's time is over.
    pub deadline: Instant,
    /// Fires when the job is cancelled: the connection to the server is closed at once.
    pub cancel: &'a CancellationToken,
    /// Told every piece of text as it arrives. An answer that broke off is asked for again, and told again.
    pub on_text: Option<&'a (dyn Fn(&str) + Send + Sync)>,
}

/// A chat model.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Sends one request and waits for the whole reply, retrying where that makes sense.
    ///
    /// # Errors
    /// `llm_*`, `budget_exceeded`, `timeout` or `cancelled`, after the last retry.
    async fn chat(&self, request: &ChatRequest, context: &CallContext<'_>) -> Result<ChatReply, JobError>;
}
