//! Finds the agent for a prompt: tags narrow the choice, meaning decides, a threshold may refuse everybody.

mod decide;
mod memory;
mod pick;
mod record;
mod tags;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

pub(super) use decide::ranking;
pub use decide::{Candidate, Choice, Pick, RunnerUp, ThresholdFrom, decide};
pub use record::{Decision, RouteRecord, RouteResult, ScoredAgent, SelectedAgent};
pub use tags::{TagSource, TagStep};

use super::registry::{Agent, Registry, ToolRef};
use crate::{
    embed::{Embedder, Fitted, Profile},
    job::{ErrorCode, JobError},
    llm::{CallContext, ChatModel, ChatRequest},
    settings::Settings,
};
use record::Times;
use tags::TagIndex;

/// What a request may set.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RouteRequest {
    /// Least score, -1 to 1; before the agents' and the configuration's.
    pub threshold: Option<f64>,
    /// How many scored agents are shown.
    pub show_top_n: Option<usize>,
}

/// What the configuration sets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteOptions {
    /// `routing.threshold`.
    pub threshold: Option<f64>,
    /// `routing.show_top_n`.
    pub show_top_n: usize,
    /// `routing.llm_pick`: the model chooses among the five best. The tags then come from the prompt's words,
    /// so that it stays one model call.
    pub llm_pick: bool,
    /// The model for tags and picks; none: the default model.
    pub model: Option<String>,
}

impl From<&Settings> for RouteOptions {
    fn from(settings: &Settings) -> Self {
        Self {
            threshold: settings.routing.threshold,
            show_top_n: settings.routing.show_top_n,
            llm_pick: settings.routing.llm_pick,
            model: None,
        }
    }
}

/// A registry with what the embedder learned of it.
struct Prepared {
    registry: Arc<Registry>,
    /// Id and name of each agent, shared by every decision.
    names: Vec<(Arc<str>, Arc<str>)>,
    tags: tags::TagIndex,
    fitted: Arc<dyn Fitted>,
}

/// Chooses agents. Shared by all jobs of the process.
pub struct Router {
    embedder: Arc<dyn Embedder>,
    model: Option<Arc<dyn ChatModel>>,
    options: RouteOptions,
    prepared: ArcSwapOption<Prepared>,
    /// Held while the embedder learns, so that it learns each state once.
    learning: Mutex<()>,
    memory: memory::Memory,
}

impl Router {
    /// A router; without a model, tags come from the prompt's words and nothing is sent anywhere but by the embedder.
    #[must_use]
    pub fn new(embedder: Arc<dyn Embedder>, model: Option<Arc<dyn ChatModel>>, options: RouteOptions) -> Self {
        Self {
            embedder,
            model,
            options,
            prepared: ArcSwapOption::empty(),
            learning: Mutex::default(),
            memory: memory::Memory::default(),
        }
    }

    /// The embedder's name.
    #[must_use]
    pub fn embedder(&self) -> &str {
        self.embedder.name()
    }

    /// Learns `registry` ahead of the first request.
    ///
    /// # Errors
    /// Those of the embedder.
    pub async fn prepare(&self, registry: &Arc<Registry>) -> Result<(), JobError> {
        self.learned(registry).await.map(drop)
    }

    /// Finds the agent for `prompt`. Nobody is a decision too, and no error.
    ///
    /// # Errors
    /// `invalid_job` for a threshold out of range; `llm_*`, `budget_exceeded`, `timeout` or `cancelled` from the
    /// embedder. A model that fails to name tags or to pick does not fail the request: the record says so.
    pub async fn route(
        &self,
        registry: &Arc<Registry>,
        prompt: &str,
        request: &RouteRequest,
        context: &CallContext<'_>,
    ) -> Result<Decision, JobError> {
        if let Some(threshold) = request.threshold.filter(|t| !(-1.0..=1.0).contains(t)) {
            let message = format!("the threshold must lie between -1 and 1, found {threshold}");
            return Err(JobError::new(ErrorCode::InvalidJob, message));
        }
        let key = key(prompt, request);
        if let Some(mut known) = self.memory.get(&registry.hash, &key) {
            known.record.execution_id = execution_id();
            known.cached = true;
            known.times = Times::default();
            return Ok(known);
        }
        let prepared = self.learned(registry).await?;
        let decision = self.decide(&prepared, prompt, request, context).await?;
        if decision.record.tags.fallback.is_none() && decision.record.pick_fallback.is_none() {
            self.memory.put(&registry.hash, key, decision.clone());
        }
        Ok(decision)
    }

    async fn decide(
        &self,
        prepared: &Prepared,
        prompt: &str,
        request: &RouteRequest,
        context: &CallContext<'_>,
    ) -> Result<Decision, JobError> {
        let registry = &*prepared.registry;
        let ((tags, tags_took), (scores, scores_took)) = tokio::join!(
            timed(self.tags(&prepared.tags, prompt, context)),
            timed(self.scores(prepared, prompt, context)),
        );
        let (tags, scores) = (tags?, scores?);
        let default = prepared.fitted.default_threshold();
        let candidates: Vec<Candidate> = owners(registry, &tags.found)
            .map(|(i, agent)| {
                let (threshold, threshold_from) = self.threshold(agent, request, default);
                Candidate {
                    agent_id: prepared.names[i].0.clone(),
                    name: prepared.names[i].1.clone(),
                    score: scores[i],
                    threshold,
                    threshold_from,
                }
            })
            .collect();
        let (picked, pick_took) = timed(self.pick(registry, prompt, &candidates, context)).await;
        let (pick, pick_fallback) = match picked? {
            Some(Ok(pick)) => (Some(pick), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        let record = RouteRecord {
            execution_id: execution_id(),
            registry_hash: registry.hash.clone(),
            embedder: self.embedder.name().to_owned(),
            embedder_fallback: self.embedder.warning(),
            tags,
            choice: decide(&candidates, pick.as_ref()),
            candidates,
            pick,
            pick_fallback,
        };
        let show_top_n = request.show_top_n.unwrap_or(self.options.show_top_n);
        let times = Times { tags: tags_took, scores: scores_took, pick: pick_took };
        Ok(Decision { record, show_top_n, cached: false, times })
    }

    /// The request's threshold, else the agent's, else the configured one, else the embedder's.
    fn threshold(&self, agent: &Agent, request: &RouteRequest, default: f64) -> (f64, ThresholdFrom) {
        [
            (request.threshold, ThresholdFrom::Request),
            (agent.threshold, ThresholdFrom::Agent),
            (self.options.threshold, ThresholdFrom::Routing),
        ]
        .into_iter()
        .find_map(|(threshold, from)| threshold.map(|threshold| (threshold, from)))
        .unwrap_or((default, ThresholdFrom::Embedder))
    }

    async fn scores(&self, prepared: &Prepared, prompt: &str, context: &CallContext<'_>) -> Result<Vec<f64>, JobError> {
        if prepared.registry.agents.is_empty() {
            return Ok(Vec::new());
        }
        prepared.fitted.scores(prompt, context).await
    }

    async fn tags(&self, tags: &TagIndex, prompt: &str, context: &CallContext<'_>) -> Result<TagStep, JobError> {
        let offered = tags.names().len();
        let by_words =
            |fallback| TagStep { source: TagSource::Lexical, offered, found: tags.in_words_of(prompt), fallback };
        let Some(model) = self.model.as_ref().filter(|_| !self.options.llm_pick && offered > 0) else {
            return Ok(by_words(None));
        };
        match ask(&**model, &tags.request(prompt, self.options.model.as_deref()), context).await? {
            Ok(text) => Ok(TagStep { source: TagSource::Model, offered, found: tags.read(&text), fallback: None }),
            Err(why) => Ok(by_words(Some(why))),
        }
    }

    /// The model's pick, where it is to pick and there is a choice; the inner error says why it could not.
    async fn pick(
        &self,
        registry: &Registry,
        prompt: &str,
        candidates: &[Candidate],
        context: &CallContext<'_>,
    ) -> Result<Option<Result<Pick, String>>, JobError> {
        let Some(model) = self.model.as_ref().filter(|_| self.options.llm_pick && !candidates.is_empty()) else {
            return Ok(None);
        };
        let shortlist = pick::shortlist(candidates);
        let request = pick::request(prompt, &shortlist, registry, self.options.model.as_deref());
        let answer = ask(&**model, &request, context).await?;
        Ok(Some(answer.and_then(|text| pick::read(&text, shortlist))))
    }

    async fn learned(&self, registry: &Arc<Registry>) -> Result<Arc<Prepared>, JobError> {
        let current = || self.prepared.load_full().filter(|prepared| prepared.registry.hash == registry.hash);
        if let Some(prepared) = current() {
            return Ok(prepared);
        }
        let _learning = self.learning.lock().await;
        if let Some(prepared) = current() {
            return Ok(prepared);
        }
        let fitted = self.embedder.fit(&profiles(registry)).await?;
        let tags = TagIndex::new(&registry.tags());
        let names =
            registry.agents.iter().map(|agent| (agent.id.as_str().into(), agent.name.as_str().into())).collect();
        let prepared = Arc::new(Prepared { registry: registry.clone(), names, tags, fitted });
        self.prepared.store(Some(prepared.clone()));
        Ok(prepared)
    }
}

/// The agents that own any of `tags`, with their place in the registry; all, where nobody does.
fn owners<'a>(registry: &'a Registry, tags: &[String]) -> impl Iterator<Item = (usize, &'a Agent)> {
    let owns = |agent: &Agent| agent.tags.iter().any(|tag| tags.contains(tag));
    let narrowed = registry.agents.iter().any(owns);
    let tags = tags.to_vec();
    registry
        .agents
        .iter()
        .enumerate()
        .filter(move |(_, agent)| !narrowed || agent.tags.iter().any(|tag| tags.contains(tag)))
}

/// What the embedder learns of each agent.
pub(super) fn profiles(registry: &Registry) -> Vec<Profile> {
    let profile = |agent: &Agent| Profile {
        name: if agent.name == agent.id { agent.id.replace(['-', '_'], " ") } else { agent.name.clone() },
        description: agent.description.clone(),
        examples: agent.examples.clone(),
        tools: agent.tools.iter().map(tool_text).collect(),
    };
    registry.agents.iter().map(profile).collect()
}

/// A tool in words. What an MCP server offers is known only once it runs; its name has to do.
fn tool_text(tool: &ToolRef) -> String {
    let text = match tool {
        ToolRef::BuiltIn(name) => match name.as_str() {
            "execute_pipeline" => "filter, sort, group, join and sum up rows of data",
            "patch_workflow" => "change a workflow: add, remove or reconnect its steps",
            "search_tools" => "search for tools",
            "openapi_action" => "call an operation of an API that has an OpenAPI document",
            "delegate_to_agent" => "hand a task to another agent",
            other => other,
        },
        ToolRef::Mcp { server, tool } => return tool.as_deref().unwrap_or(server).replace(['-', '_', '.'], " "),
    };
    text.to_owned()
}

/// Asks the model. A failure that ends the job is an error; any other is the inner error.
async fn ask(
    model: &dyn ChatModel,
    request: &ChatRequest,
    context: &CallContext<'_>,
) -> Result<Result<String, String>, JobError> {
    // What is asked here is no part of the answer: nobody listens to it.
    let quiet = CallContext { on_text: None, ..*context };
    match model.chat(request, &quiet).await {
        Ok(reply) => Ok(Ok(reply.text)),
        Err(error) => match error.code {
            ErrorCode::Cancelled | ErrorCode::Timeout | ErrorCode::BudgetExceeded => Err(error),
            _ => Ok(Err(error.to_string())),
        },
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    (work.await, started.elapsed())
}

fn execution_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// What a remembered decision stands for; the registry and the router's own options stand beside it.
fn key(prompt: &str, request: &RouteRequest) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(format!("{request:?}\0"));
    hash.update(prompt.as_bytes());
    hash.finalize().into()
}
