//! The four modes, each from its options to its result.

use std::sync::Arc;

use serde_json::Value;

use super::{Book, Frame, Handoffs, Outcome};
use crate::{
    agents::{
        Conversation, Decision, NetworkResult, PoolResult, RouteRequest, SelectedAgent, TierPlay, Trail, TrailKind,
        choose, entry, entry_seat, ladder, network, pool, solo,
    },
    job::{ErrorCode, Event, EventKind, JobError, RawJson},
    llm::{CallContext, ChatModel, ChatReply, ChatRequest},
};

impl Handoffs {
    /// Finds the agent whose work the prompt is, and lets it answer.
    pub(super) async fn route(&self, frame: &Frame<'_>, book: &mut Book) -> Result<Outcome, JobError> {
        let Frame { job, registry, around, .. } = frame;
        let request = RouteRequest { threshold: frame.asked.threshold, show_top_n: frame.asked.show_top_n };
        let context = &around.tool_context;
        let routed = self.router.route(registry, job.prompt_text(), &request, &around.quiet, Some(context.journal));
        // On record: it stands, whatever the registry says when the job comes again.
        let decision: Decision = context.journal.step("route", context.meter, routed).await?;
        book.execution.execution_id.clone_from(&decision.record.execution_id);
        book.trail = Trail::new(&decision.record.execution_id, &frame.began.at);
        book.trail.extend(decision.trail());
        book.made.warnings.extend(decision.record.embedder_fallback.clone());
        let seated = seated(frame, &decision)?;
        let frame = seated.as_ref().unwrap_or(frame);
        let chosen = decision.winner().and_then(|id| frame.registry.agent(id));
        let Some(agent) = chosen else { return Err(decision.refusal()) };
        (context.emit)(
            Event::new(EventKind::Handoff)
                .with("to", agent.id.as_str())
                .with("reason", decision.record.choice.reason.as_str()),
        );
        let said = if frame.is_dry() {
            None
        } else {
            let model = self
                .speaker(&format!("the agent {} was chosen (handoff.dry_run asks for no more)", agent.id))
                .map_err(|error| error.with_detail("agent_id", agent.id.as_str()))?;
            let tools = self.kit(frame, &book.made);
            let stage = self.stage(frame, &**model, &tools, "agent");
            let (bounds, Book { trail, made, .. }) = (self.options.agent, book);
            let answered = solo(&stage, bounds, agent, job.prompt_text(), trail, made).await;
            Some(answered.inspect_err(|error| trail.stop(Some(&agent.id), error))?)
        };
        let result = RawJson::of(&decision.result(said.clone()));
        Ok(Outcome { result, agent: Some(agent.id.clone()), text: said })
    }

    /// Lets the lowest tier that can do it do it.
    pub(super) async fn tiers(&self, frame: &Frame<'_>, book: &mut Book) -> Result<Outcome, JobError> {
        let tiers = ladder(&frame.registry, &frame.asked, self.options.num_tiers)?;
        let model = self.speaker("tiers judge the task with a model")?;
        let tools = self.kit(frame, &book.made);
        let stage = self.stage(frame, &**model, &tools, "tiers");
        let play = TierPlay {
            stage: &stage,
            tiers: &tiers,
            skip_to_required: self.options.skip_to_required,
            prompt: frame.job.prompt_text(),
            context: frame.asked.context.as_deref(),
            bounds: self.options.agent,
            dry_run: frame.is_dry(),
        };
        let Book { trail, made, execution, .. } = book;
        let played = play.run(trail, made, &mut execution.tiers).await;
        let escalated = execution.tiers.iter().filter(|tier| tier.escalated).count();
        execution.escalations = u32::try_from(escalated).unwrap_or(u32::MAX);
        let result = played?;
        execution.final_tier = Some(result.final_tier);
        let tier = tiers.iter().find(|tier| tier.level == result.final_tier);
        let text = result.result.as_ref().map(|result| match result {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        Ok(Outcome { result: RawJson::of(&result), agent: tier.and_then(|tier| tier.agent.clone()), text })
    }

    /// Lets agents pass control to each other until one answers.
    pub(super) async fn network(&self, frame: &Frame<'_>, book: &mut Book) -> Result<Outcome, JobError> {
        let held = self.held(frame).await?;
        let tools = self.kit(frame, &book.made);
        let mut stage = self.stage(frame, self.model.as_deref().unwrap_or(&Silent), &tools, "network");
        stage.wall_clock = self.wall_clock(frame).await?;
        let sticky = held.as_ref().filter(|_| self.options.sticky).map(|held| held.agent.as_str());
        let begin = entry(&stage, frame.asked.agent.as_deref(), sticky)?;
        if !frame.is_dry() {
            self.speaker(&format!("a network begins at {begin}"))?;
        }
        let Book { trail, made, execution, .. } = book;
        let seat = entry_seat(&stage, &begin, trail).await.inspect_err(|error| trail.stop(None, error))?;
        if frame.is_dry() {
            let agent = Some(seat.agent.clone());
            trail.add(TrailKind::Select).agent_id.clone_from(&agent);
            return Ok(Outcome { result: RawJson::of(&NetworkResult::dry(trail.id(), &seat)), agent, text: None });
        }
        let (bounds, prompt) = (self.options.network, frame.job.prompt_text());
        let (result, conversation) = network(&stage, bounds, seat, held, prompt, trail, made).await?;
        execution.handoffs = u32::try_from(result.handoffs.len()).unwrap_or(u32::MAX);
        self.hold(frame, &conversation).await?;
        Ok(Outcome { result: RawJson::of(&result), agent: Some(result.final_agent), text: result.answer })
    }

    /// Lets one agent of a pool answer.
    pub(super) async fn pool(&self, frame: &Frame<'_>, book: &mut Book) -> Result<Outcome, JobError> {
        let registry = &frame.registry;
        let name = pool_of(frame)?;
        if !frame.is_dry() {
            self.speaker(&format!("the pool {name} chooses an agent"))?;
        }
        let tools = self.kit(frame, &book.made);
        let stage = self.stage(frame, self.model.as_deref().unwrap_or(&Silent), &tools, "pool");
        let Book { trail, made, execution, .. } = book;
        execution.pool = Some(name.to_owned());
        let choice = choose(&stage, name, trail).await.inspect_err(|error| trail.stop(None, error))?;
        let (id, answer) = if frame.is_dry() {
            (choice.agents.first().cloned().unwrap_or_default(), None)
        } else {
            let prompt = frame.job.prompt_text();
            let (id, answer) = pool(&stage, self.options.agent, &choice, prompt, trail, made).await?;
            (id, Some(answer))
        };
        let shown = registry.agent(&id).map_or_else(|| id.clone(), |agent| agent.name.clone());
        let result = PoolResult {
            mode: "pool".into(),
            execution_id: trail.id().to_owned(),
            pool: name.to_owned(),
            strategy: choice.strategy,
            selected_agent: SelectedAgent { id: id.clone(), name: shown },
            answer: answer.clone(),
        };
        Ok(Outcome { result: RawJson::of(&result), agent: Some(id), text: answer })
    }

    /// The conversation that the job goes on from, as it stood when the job was first taken.
    async fn held(&self, frame: &Frame<'_>) -> Result<Option<Conversation>, JobError> {
        let job = frame.job;
        let Some(id) = job.context.session_id.as_deref().filter(|_| !frame.asked.reset) else { return Ok(None) };
        let context = &frame.around.tool_context;
        let read = self.conversations.get(job.workflow_owner.as_deref(), id);
        context.journal.step("conversation", context.meter, read).await
    }

    /// Keeps the conversation for the next job of its session.
    async fn hold(&self, frame: &Frame<'_>, conversation: &Conversation) -> Result<(), JobError> {
        match frame.job.context.session_id.as_deref() {
            Some(id) if !frame.around.tool_context.journal.replays() => {
                self.conversations.put(frame.job.workflow_owner.as_deref(), id, conversation).await
            }
            _ => Ok(()),
        }
    }
}

/// The frame with the chosen agent among its agents, where it came from a collection.
fn seated<'a>(frame: &Frame<'a>, decision: &Decision) -> Result<Option<Frame<'a>>, JobError> {
    let Some(entry) = &decision.entry else { return Ok(None) };
    let agent = frame.registry.prove(entry).map_err(|error| {
        let message = format!("the agent that was chosen from the collection cannot serve: {error}");
        JobError::new(ErrorCode::HandoffFailed, message)
    })?;
    let Frame { job, asked, registry, around, began } = frame;
    let registry = Arc::new(registry.with(agent));
    Ok(Some(Frame { job, asked: asked.clone(), registry, around: *around, began: began.clone() }))
}

/// The pool that the job names.
fn pool_of<'a>(frame: &'a Frame<'_>) -> Result<&'a str, JobError> {
    let pools = &frame.registry.pools;
    let known = || pools.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    match frame.asked.pool.as_deref().unwrap_or_default() {
        name if pools.contains_key(name) => Ok(name),
        name => {
            let message = format!("there is no pool {name:?}: there are [{}]", known());
            Err(JobError::new(ErrorCode::InvalidJob, message))
        }
    }
}

/// Stands where no model is configured: dry runs ask none.
struct Silent;

#[async_trait::async_trait]
impl ChatModel for Silent {
    async fn chat(&self, _: &ChatRequest, _: &CallContext<'_>) -> Result<ChatReply, JobError> {
        Err(JobError::new(ErrorCode::HandoffFailed, "there is no model to ask: set llm.api_key or llm.base_url"))
    }
}
