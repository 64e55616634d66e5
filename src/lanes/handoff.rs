//! The handoff lane: finds the agent whose work a prompt is, and lets it answer.

use std::sync::Arc;

use super::{LaneEnd, Record};
use crate::{
    agents::{
        Agent, Answering, Decision, DelegateToAgent, LiveRegistry, Registry, RouteRequest, Router, RunBounds,
        TrailStore, answer,
    },
    job::{ErrorCode, Event, EventKind, Job, JobError, Lane, Preview, RawJson},
    llm::{CallContext, ChatModel},
    telemetry::names,
    tools::{Tool, ToolContext},
};

/// The agents of this process and how one of them is found.
pub struct Handoffs {
    /// The agents file as it is now.
    pub registry: Arc<LiveRegistry>,
    /// Finds the agent.
    pub router: Arc<Router>,
    /// Keeps every decision.
    pub trail: TrailStore,
    /// Who speaks for the agents; without one they are only chosen.
    pub model: Option<Arc<dyn ChatModel>>,
    /// The built-in tools that agents may name.
    pub tools: Vec<Arc<dyn Tool>>,
    /// Bounds of one agent's run.
    pub bounds: RunBounds,
}

/// What surrounds one job in this lane.
pub struct Surroundings<'a> {
    /// The job, its journal, its time.
    pub tool_context: ToolContext<'a>,
    /// For requests whose words nobody listens to.
    pub quiet: CallContext<'a>,
    /// For the answer.
    pub call_context: CallContext<'a>,
}

impl Handoffs {
    /// Routes the job's prompt and lets the chosen agent answer, unless the job asks for the choice alone.
    ///
    /// # Errors
    /// `invalid_job` for a mode that is not `route`, `no_agent` where nobody fits, `handoff_failed` where nobody can
    /// speak for the agent, or whatever the model failed with.
    pub async fn run(&self, job: &Job, around: Surroundings<'_>, record: &mut Record) -> Result<LaneEnd, JobError> {
        let options = job.handoff.clone().unwrap_or_default();
        if let Some(mode) = options.mode.as_deref().filter(|mode| *mode != "route") {
            let message = format!("handoff.mode {mode:?} is not known to this version: use \"route\"");
            return Err(JobError::new(ErrorCode::InvalidJob, message));
        }
        let registry = self.registry.current();
        let request = RouteRequest { threshold: options.threshold, show_top_n: options.show_top_n };
        let context = &around.tool_context;
        let routed = self.router.route(&registry, job.prompt_text(), &request, &around.quiet);
        // On record, since a model may have been asked for tags or a pick.
        let decision: Decision = context.journal.step("route", context.meter, routed).await?;
        self.keep_trail(&decision).await;
        record.warnings.extend(decision.record.embedder_fallback.clone());
        let Some(agent) = decision.winner().and_then(|id| registry.agent(id)) else {
            count("refused");
            return Err(decision.refusal());
        };
        (context.emit)(
            Event::new(EventKind::Handoff)
                .with("to", agent.id.as_str())
                .with("reason", decision.record.choice.reason.as_str()),
        );
        let said = if options.dry_run || job.dry_run {
            None
        } else {
            Some(self.answer(&registry, agent, job, around, record).await.inspect_err(|_| count("failed"))?)
        };
        count("ok");
        Ok(LaneEnd::Done {
            lane: Lane::Handoff,
            preview: Preview::Handoff {
                mode: "route".into(),
                agent: Some(agent.id.clone()),
                text: said.as_deref().unwrap_or_default().chars().take(Preview::TEXT_CHARS).collect(),
            },
            result: RawJson::of(&decision.result(said)),
        })
    }

    async fn answer(
        &self,
        registry: &Arc<Registry>,
        agent: &Agent,
        job: &Job,
        around: Surroundings<'_>,
        record: &mut Record,
    ) -> Result<String, JobError> {
        let Some(model) = &self.model else {
            let message = format!(
                "the agent {} was chosen, and there is no model to answer for it: set llm.api_key or llm.base_url, or ask with handoff.dry_run",
                agent.id
            );
            return Err(JobError::new(ErrorCode::HandoffFailed, message).with_detail("agent_id", agent.id.as_str()));
        };
        let delegate = DelegateToAgent::new(registry.clone(), model.clone(), self.tools.clone(), self.bounds);
        let mut tools = self.tools.clone();
        tools.push(Arc::new(delegate));
        let answering = Answering {
            model: &**model,
            tools: &tools,
            tool_context: around.tool_context,
            call_context: around.call_context,
            bounds: self.bounds,
            step: "agent",
        };
        let answered = answer(agent, job.prompt_text(), &answering).await?;
        record.tool_calls.extend(answered.tool_calls);
        record.warnings.extend(answered.warnings);
        Ok(answered.text)
    }

    /// A trail that cannot be kept is no reason to fail the job.
    async fn keep_trail(&self, decision: &Decision) {
        for entry in decision.trail() {
            if let Err(error) = self.trail.append(&entry).await {
                tracing::warn!(%error, "the trail of a handoff could not be kept");
                return;
            }
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!(names::HANDOFFS_TOTAL, "mode" => "route", "outcome" => outcome).increment(1);
}
