//! The handoff lane: picks the mode, lets the agents do it, and writes down what was decided.

mod book;
mod modes;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

pub use book::{Book, cut_off};
use book::{conclude, traced};

use super::{LaneEnd, Record};
use crate::{
    agents::{
        self, Cast, Conversations, DelegateToAgent, Execution, Kit, LiveRegistry, Loans, Made, Pools, Registry, Router,
        RunBounds, Stage, Toolbox, Trail, TrailStore, WallClock,
    },
    job::{ErrorCode, Handoff, HandoffMode, Job, JobError, Lane, Preview, RawJson},
    llm::{CallContext, ChatModel},
    tools::{self, Tool, ToolContext},
};

/// The agents of this process and how they are found and run.
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
    /// What else they may name.
    pub toolbox: Arc<Toolbox>,
    /// Chooses among several.
    pub pools: Arc<Pools>,
    /// Conversations that go on.
    pub conversations: Conversations,
    /// What the configuration says.
    pub options: HandoffOptions,
}

/// What the configuration says about runs.
#[derive(Debug, Clone, Copy)]
pub struct HandoffOptions {
    /// Bounds of one agent by itself.
    pub agent: RunBounds,
    /// Bounds of a network.
    pub network: RunBounds,
    /// `network.timeout_secs`.
    pub network_timeout_secs: u64,
    /// `network.sticky`.
    pub sticky: bool,
    /// `tiers.num_tiers`.
    pub num_tiers: u32,
    /// `tiers.skip_to_required`.
    pub skip_to_required: bool,
}

/// What surrounds one job in this lane.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The job, its journal, its time.
    pub tool_context: ToolContext<'a>,
    /// For requests whose words nobody listens to.
    pub quiet: CallContext<'a>,
}

/// Which of the fields that a job gives mean nothing in this mode. Like fields that nobody knows they do no harm; but
/// whoever wrote one meant something by it.
fn meaningless(mode: HandoffMode, asked: &Handoff) -> Vec<String> {
    use HandoffMode::{Network, Pool, Route, Tiers};
    let given: [(&str, bool, &[HandoffMode]); 10] = [
        ("threshold", asked.threshold.is_some(), &[Route]),
        ("show_top_n", asked.show_top_n.is_some(), &[Route]),
        ("agent", asked.agent.is_some(), &[Network]),
        ("reset", asked.reset, &[Network]),
        ("tiers", asked.tiers.is_some(), &[Tiers]),
        ("context", asked.context.is_some(), &[Tiers]),
        ("max_tier", asked.max_tier.is_some(), &[Tiers]),
        ("num_tiers", asked.num_tiers.is_some(), &[Tiers]),
        ("pool", asked.pool.is_some(), &[Pool]),
        ("capability", asked.capability.is_some(), &[Pool, Network]),
    ];
    let given = given.into_iter().filter(|(_, given, modes)| *given && !modes.contains(&mode));
    let mode = mode.as_str();
    given.map(|(field, ..)| format!("handoff.{field} means nothing in mode {mode}: it was not looked at")).collect()
}

/// The beginning of an execution, as it goes on record: a resumed one is the same, and its time goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Began {
    execution_id: String,
    at: String,
    unix_ms: u64,
}

impl Began {
    fn now() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            execution_id: uuid::Uuid::now_v7().to_string(),
            at: agents::now(),
            unix_ms: u64::try_from(now.as_millis()).unwrap_or_default(),
        }
    }

    /// How long ago it was, by this machine's clock.
    fn age(&self) -> Duration {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_millis(self.unix_ms))
    }
}

/// What one execution is about.
struct Frame<'a> {
    job: &'a Job,
    asked: Handoff,
    registry: Arc<Registry>,
    around: Surroundings<'a>,
    began: Began,
}

impl Frame<'_> {
    fn is_dry(&self) -> bool {
        self.asked.dry_run || self.job.dry_run
    }
}

/// What a mode came to.
struct Outcome {
    result: RawJson,
    /// Who answered.
    agent: Option<String>,
    text: Option<String>,
}

impl Handoffs {
    /// Carries out the job's handoff.
    ///
    /// # Errors
    /// `invalid_job` for options that do not fit, `no_agent` where nobody fits, `handoff_failed` where nobody can
    /// speak or everybody failed, `loop_detected` past a bound, or whatever the model failed with.
    pub async fn run(&self, job: &Job, around: Surroundings<'_>, record: &mut Record) -> Result<LaneEnd, JobError> {
        let asked = job.handoff.clone().unwrap_or_default();
        let mode = asked.mode();
        let context = &around.tool_context;
        let began = match mode {
            // Its decision is on record, with an id of its own.
            HandoffMode::Route => Began::now(),
            _ => context.journal.step("handoff", context.meter, async { Ok(Began::now()) }).await?,
        };
        let book = record.handoff.insert(Box::new(Book {
            trail: Trail::new(&began.execution_id, &began.at),
            made: Made::default(),
            execution: Execution {
                execution_id: began.execution_id.clone(),
                mode: mode.as_str().into(),
                job_id: job.job_id.to_string(),
                workflow_owner: job.workflow_owner.clone(),
                started_at: began.at.clone(),
                ..Execution::default()
            },
            store: (!context.journal.replays()).then(|| self.trail.clone()),
        }));
        book.made.warnings.extend(meaningless(mode, &asked));
        let frame = Frame { job, asked, registry: self.registry.current(), around, began };
        // On the heap: they are many times the size of the other lanes, whose jobs would carry them about.
        let ended = match mode {
            HandoffMode::Route => Box::pin(self.route(&frame, book)).await,
            HandoffMode::Tiers => Box::pin(self.tiers(&frame, book)).await,
            HandoffMode::Network => Box::pin(self.network(&frame, book)).await,
            HandoffMode::Pool => Box::pin(self.pool(&frame, book)).await,
        };
        conclude(book, &ended).await;
        let id = book.execution.execution_id.clone();
        if let Some(mut book) = record.handoff.take() {
            record.take_in(&mut book.made);
        }
        let Outcome { result, agent, text } = ended.map_err(|error| traced(error, &id))?;
        let text = text.unwrap_or_default().chars().take(Preview::TEXT_CHARS).collect();
        let preview = Preview::Handoff { mode: mode.as_str().into(), agent, text };
        Ok(LaneEnd::Done { lane: Lane::Handoff, result, preview })
    }

    /// The model, or why there must be one.
    fn speaker(&self, who: &str) -> Result<&Arc<dyn ChatModel>, JobError> {
        self.model.as_ref().ok_or_else(|| {
            let message = format!("{who}, and there is no model to speak: set llm.api_key or llm.base_url");
            JobError::new(ErrorCode::HandoffFailed, message)
        })
    }

    /// The tools of a run; none for a dry run, where nobody speaks.
    fn kit(&self, frame: &Frame<'_>, made: &Made) -> Kit {
        let Some(model) = self.model.as_ref().filter(|_| !frame.is_dry()) else { return Kit::default() };
        let kit = self.toolbox.kit(&frame.registry, &self.tools);
        let (registry, pools, bounds) = (frame.registry.clone(), self.pools.clone(), self.options.agent);
        let delegate = DelegateToAgent::new(registry, model.clone(), kit.clone(), pools, bounds, made.errands());
        kit.with(Arc::new(delegate))
    }

    fn stage<'a>(
        &'a self,
        frame: &'a Frame<'a>,
        model: &'a dyn ChatModel,
        tools: &'a Kit,
        scope: &'a str,
    ) -> Stage<'a> {
        let Frame { job, registry, around, .. } = frame;
        let asks = self.model.as_deref();
        Stage {
            cast: Cast { registry, pools: &self.pools, job, model: asks, quiet: around.quiet },
            model,
            tools,
            context: around.tool_context,
            scope,
            wall_clock: None,
            loans: Loans::default(),
            is_backed: false,
        }
    }

    /// The network's own end, counted from its first beginning. While a person decides, its time does not run.
    async fn wall_clock(&self, frame: &Frame<'_>) -> Result<Option<WallClock>, JobError> {
        let (secs, context) = (self.options.network_timeout_secs, &frame.around.tool_context);
        // What was in time once stays so when it is walked again.
        if secs == 0 || context.journal.replays() {
            return Ok(None);
        }
        let worked = frame.began.age().saturating_sub(tools::waited(context.journal, context.meter).await?);
        let left = Duration::from_secs(secs).saturating_sub(worked);
        Ok(Some(WallClock { until: Instant::now() + left, secs }))
    }
}
