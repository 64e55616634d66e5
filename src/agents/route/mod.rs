//! Finds the agent for a prompt: tags narrow the choice, meaning decides, a threshold may refuse everybody.

mod decide;
mod elsewhere;
mod memory;
mod pick;
mod record;
mod tags;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

pub(super) use decide::ranking;
pub use decide::{Candidate, Choice, Pick, RunnerUp, ThresholdFrom, decide};
pub use record::{Decision, RouteRecord, RouteResult, ScoredAgent, SelectedAgent};
pub use tags::{TagSource, TagStep};

use super::registry::{Agent, Registry, ToolRef};
use crate::{
    embed::{Collection, Embedder, Fitted, Profile, Question},
    job::{ErrorCode, Handoff, JobError},
    llm::{CallContext, ChatModel, ChatRequest},
    settings::Settings,
    store::Journal,
};
use elsewhere::{Elsewhere, Found};
use record::Times;
use tags::TagIndex;

/// Candidates that a record holds at most: the best.
const MAX_CANDIDATES: usize = 1000;

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
    tags: Arc<TagIndex>,
    fitted: Arc<dyn Fitted>,
}

/// Who may be chosen for one prompt.
struct Field {
    /// Places in the registry, with scores.
    scores: Vec<(usize, f64)>,
    /// Agents of the collection.
    found: Vec<Found>,
    /// How many they are, those left out of `scores` included.
    considered: usize,
}

/// Chooses agents. Shared by all jobs of the process.
pub struct Router {
    embedder: Arc<dyn Embedder>,
    model: Option<Arc<dyn ChatModel>>,
    options: RouteOptions,
    elsewhere: Option<Elsewhere>,
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
            elsewhere: None,
            prepared: ArcSwapOption::empty(),
            learning: Mutex::default(),
            memory: memory::Memory::default(),
        }
    }

    /// Chooses among the agents of `collection` too, where there is one.
    #[must_use]
    pub fn with_collection(mut self, collection: Option<Arc<Collection>>) -> Self {
        self.elsewhere = collection.map(Elsewhere::new);
        self
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

    /// Finds the agent for `prompt`. Nobody is a decision too, and no error. What a model answers goes on `record` at
    /// once: a route that fails later, or is cut off, is not paid for twice.
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
        record: Option<&Journal>,
    ) -> Result<Decision, JobError> {
        let threshold = request.threshold.map_or(Ok(()), Handoff::check_threshold);
        threshold.map_err(|message| JobError::new(ErrorCode::InvalidJob, message))?;
        let key = key(prompt, request);
        if let Some(mut known) = self.memory.get(&registry.hash, &key) {
            known.record.execution_id = execution_id();
            known.cached = true;
            known.times = Times::default();
            return Ok(known);
        }
        let prepared = self.learned_in_time(registry, context).await?;
        let decision = self.decide(&prepared, prompt, request, context, record).await?;
        // What is in a collection may be another thing at any time.
        let whole = decision.record.tags.fallback.is_none() && decision.record.pick_fallback.is_none();
        if whole && self.elsewhere.is_none() {
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
        record: Option<&Journal>,
    ) -> Result<Decision, JobError> {
        let registry = &*prepared.registry;
        let ((tags, tags_took), (question, asking_took)) = tokio::join!(
            timed(self.tags(prepared, prompt, context, record)),
            timed(self.question(prepared, prompt, context)),
        );
        let (tags, question) = (tags?, question?);
        let (field, comparing_took) = timed(self.field(prepared, &tags.found, question.as_ref(), context)).await;
        let Field { scores, found, considered } = field?;
        let default = prepared.fitted.default_threshold();
        let here = best(scores).into_iter().map(|(i, score)| (&registry.agents[i], prepared.names[i].clone(), score));
        let there =
            found.iter().map(|f| (&f.agent, (f.agent.id.as_str().into(), f.agent.name.as_str().into()), f.score));
        let candidates: Vec<Candidate> = here
            .chain(there)
            .map(|(agent, (agent_id, name), score)| {
                let (threshold, threshold_from) = self.threshold(agent, request, default);
                Candidate { agent_id, name, score, threshold, threshold_from }
            })
            .collect();
        let scores_took = asking_took + comparing_took;
        let agent = |id: &str| registry.agent(id).or_else(|| found.iter().map(|f| &f.agent).find(|a| a.id == id));
        let (picked, pick_took) = timed(self.pick(agent, prompt, &candidates, context, record)).await;
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
            considered,
            candidates,
            pick,
            pick_fallback,
        };
        let winner = record.choice.winner.as_deref();
        let entry = found.iter().find(|f| Some(f.agent.id.as_str()) == winner).map(|f| f.entry.clone());
        let show_top_n = request.show_top_n.unwrap_or(self.options.show_top_n);
        let times = Times { tags: tags_took, scores: scores_took, pick: pick_took };
        Ok(Decision { record, show_top_n, cached: false, entry, times })
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

    /// Who may be chosen, with scores. Tags narrow where anybody, here or elsewhere, owns them.
    async fn field(
        &self,
        prepared: &Prepared,
        tags: &[String],
        question: Option<&Question>,
        context: &CallContext<'_>,
    ) -> Result<Field, JobError> {
        let registry = &*prepared.registry;
        let mut owners = owners(registry, tags);
        let mut found = Vec::new();
        if let (Some(elsewhere), Some(unit)) = (&self.elsewhere, question.and_then(|question| question.unit.as_ref())) {
            let embedder = self.embedder.name();
            found = elsewhere.nearest(registry, embedder, unit, tags, context).await?;
            if found.is_empty() && owners.is_none() && !tags.is_empty() {
                found = elsewhere.nearest(registry, embedder, unit, &[], context).await?;
            } else if !found.is_empty() && !tags.is_empty() {
                owners = owners.or(Some(Vec::new()));
            }
        }
        let here = owners.as_ref().map_or(registry.agents.len(), Vec::len);
        let scores = question.map(|question| prepared.fitted.scores(question, owners.as_deref())).unwrap_or_default();
        Ok(Field { scores, considered: here + found.len(), found })
    }

    /// What the prompt asks; nothing where there is nobody to ask.
    async fn question(
        &self,
        prepared: &Prepared,
        prompt: &str,
        context: &CallContext<'_>,
    ) -> Result<Option<Question>, JobError> {
        if prepared.registry.agents.is_empty() && self.elsewhere.is_none() {
            return Ok(None);
        }
        prepared.fitted.question(prompt, context).await.map(Some)
    }

    async fn tags(
        &self,
        prepared: &Prepared,
        prompt: &str,
        context: &CallContext<'_>,
        record: Option<&Journal>,
    ) -> Result<TagStep, JobError> {
        let tags = match &self.elsewhere {
            Some(elsewhere) => elsewhere.tags(&prepared.registry, context).await,
            None => prepared.tags.clone(),
        };
        let offered = tags.names().len();
        let by_words =
            |fallback| TagStep { source: TagSource::Lexical, offered, found: tags.in_words_of(prompt), fallback };
        let Some(model) = self.model.as_ref().filter(|_| !self.options.llm_pick && offered > 0) else {
            return Ok(by_words(None));
        };
        let request = tags.request(prompt, self.options.model.as_deref());
        match on_record(record, "route:tags", context, ask(&**model, &request, context)).await? {
            Ok(text) => Ok(TagStep { source: TagSource::Model, offered, found: tags.read(&text), fallback: None }),
            Err(why) => Ok(by_words(Some(why))),
        }
    }

    /// The model's pick, where it is to pick and there is a choice; the inner error says why it could not.
    async fn pick<'a>(
        &self,
        agent: impl Fn(&str) -> Option<&'a Agent>,
        prompt: &str,
        candidates: &[Candidate],
        context: &CallContext<'_>,
        record: Option<&Journal>,
    ) -> Result<Option<Result<Pick, String>>, JobError> {
        let Some(model) = self.model.as_ref().filter(|_| self.options.llm_pick && !candidates.is_empty()) else {
            return Ok(None);
        };
        let shortlist = pick::shortlist(candidates);
        let request = pick::request(prompt, &shortlist, agent, self.options.model.as_deref());
        let answer = on_record(record, "route:pick", context, ask(&**model, &request, context)).await?;
        Ok(Some(answer.and_then(|text| pick::read(&text, shortlist))))
    }

    /// Somebody else may be learning it, which takes as long as it takes: a prompt waits within its own time.
    async fn learned_in_time(
        &self,
        registry: &Arc<Registry>,
        context: &CallContext<'_>,
    ) -> Result<Arc<Prepared>, JobError> {
        let left = context.deadline.saturating_duration_since(Instant::now());
        tokio::select! {
            () = context.cancel.cancelled() => Err(JobError::new(ErrorCode::Cancelled, "the job was cancelled")),
            learned = tokio::time::timeout(left, self.learned(registry)) => learned.unwrap_or_else(|_| {
                Err(JobError::new(ErrorCode::Timeout, "the time was over before the agents were learned"))
            }),
        }
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
        let tags = Arc::new(TagIndex::new(&registry.tags()));
        let names =
            registry.agents.iter().map(|agent| (agent.id.as_str().into(), agent.name.as_str().into())).collect();
        let prepared = Arc::new(Prepared { registry: registry.clone(), names, tags, fitted });
        self.prepared.store(Some(prepared.clone()));
        Ok(prepared)
    }
}

/// Places of the agents that own any of `tags`; nothing where nobody does, and all may be chosen.
fn owners(registry: &Registry, tags: &[String]) -> Option<Vec<usize>> {
    if tags.is_empty() {
        return None;
    }
    let owns = |agent: &Agent| agent.tags.iter().any(|tag| tags.contains(tag));
    let places: Vec<usize> = (0..).zip(&registry.agents).filter_map(|(i, agent)| owns(agent).then_some(i)).collect();
    (!places.is_empty()).then_some(places)
}

/// The best of very many scores, in their order: a record holds no more.
fn best(mut scores: Vec<(usize, f64)>) -> Vec<(usize, f64)> {
    if scores.len() > MAX_CANDIDATES {
        scores.select_nth_unstable_by(MAX_CANDIDATES - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        scores.truncate(MAX_CANDIDATES);
        scores.sort_unstable_by_key(|(place, _)| *place);
    }
    scores
}

/// What the embedder learns of each agent.
#[must_use]
pub fn profiles(registry: &Registry) -> Vec<Profile> {
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

async fn on_record<T: Serialize + DeserializeOwned>(
    record: Option<&Journal>,
    step: &str,
    context: &CallContext<'_>,
    work: impl Future<Output = Result<T, JobError>>,
) -> Result<T, JobError> {
    match record {
        Some(journal) => journal.paid(step, context.meter, work).await,
        None => work.await,
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
