//! One attempt at a job: intent, then its lane, within its time and until it is told to stop.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Runner, approval,
    clock::Clock,
    promote::{self, Known},
};
use crate::{
    intent::{self, Facts, IntentModel},
    job::{
        ErrorCode, Event, EventKind, Intent, IntentKind, IntentSource, Job, JobError, Lane, LaneChoice, Meter, RawJson,
    },
    lanes::{self, Bounds, Drive, LaneEnd, Observed, ReadyPlan, Record, handoff},
    llm::CallContext,
    net,
    planner::{Brief, Column, Planner, PromotedPlanner},
    queue::Approval,
    settings::limits,
    store::{Journal, Session},
    table,
    telemetry::{names, spans},
    tools::{Tool, ToolContext},
    workflow::Workflow,
};

/// Rows looked at to learn the columns.
const COLUMN_SAMPLE_ROWS: usize = 1000;
/// How often a patch may be refused before the job fails: a model that has seen the reasons twice will not do better.
const MAX_PATCH_TRIES: u32 = 3;

/// What surrounds an attempt.
pub(super) struct Surroundings<'a> {
    /// Fires when the job must stop.
    pub stop: CancellationToken,
    /// Records an event of the job.
    pub emit: &'a (dyn Fn(Event) + Send + Sync),
    /// Set when the job waited for approval and got it.
    pub approval: Option<&'a Approval>,
    /// What is on record of the job.
    pub journal: &'a Journal,
    /// The job's time.
    pub(super) clock: Clock,
}

/// What is known of an attempt, however it ended.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The decision which lane it takes.
    pub intent: Option<Intent>,
    /// Tool calls and warnings.
    pub record: Record,
    /// The columns at hand, where a promoted tool may be made of the job's plan.
    pub columns: Option<String>,
}

/// Makes one attempt. Never panics and never outlasts the job's time limit.
pub(super) async fn attempt(
    runner: &Runner,
    job: &Job,
    meter: &Meter,
    around: &Surroundings<'_>,
    notes: &mut Notes,
) -> Result<LaneEnd, JobError> {
    let deadline = around.clock.deadline();
    let traceparent = job.traceparent.as_deref();
    let span = spans::job(job.job_id.as_str(), traceparent);
    // What wraps a future moves it, some more than once, and this one is large.
    let lane = Box::pin(lane(runner, job, meter, around, notes, deadline));
    let lane = net::traced(traceparent, lane).instrument(span.clone());
    let work = AssertUnwindSafe(lane).catch_unwind();
    let ended = tokio::select! {
        biased;
        () = around.stop.cancelled() => Err(stopped()),
        ended = work => ended.unwrap_or_else(|_| {
            metrics::counter!(names::JOB_PANICS_TOTAL).increment(1);
            tracing::error!(job_id = %job.job_id, "the job panicked");
            Err(JobError::new(ErrorCode::Internal, "the job hit a defect of the runner: report it with the job's id"))
        }),
        () = tokio::time::sleep_until(deadline.into()) => Err(JobError::new(
            ErrorCode::Timeout,
            format!("the job took longer than its {}: raise timeout_sec or ask for less", around.clock.told()),
        )),
    };
    if let Err(error) = &ended {
        spans::failed(&span, error.code.as_str());
    }
    ended
}

fn stopped() -> JobError {
    JobError::new(ErrorCode::Cancelled, "the job was cancelled")
}

async fn lane(
    runner: &Runner,
    job: &Job,
    meter: &Meter,
    around: &Surroundings<'_>,
    notes: &mut Notes,
    deadline: Instant,
) -> Result<LaneEnd, JobError> {
    let journal = around.journal;
    let session = runner.session(job, journal, meter).await?;
    let data = runner.first_data(job, session.as_ref()).await?;
    let tool_context = ToolContext {
        job,
        data: data.as_ref(),
        journal,
        step: "",
        meter,
        deadline,
        cancel: &around.stop,
        emit: around.emit,
        watch: None,
    };
    let ready = lanes::ready_plan(job);
    let columns = match (&ready, &data) {
        (None, Some(data)) => Some(table::columns(data, COLUMN_SAMPLE_ROWS)),
        _ => None,
    };
    let quiet = CallContext { meter, deadline, cancel: &around.stop, on_text: None };
    let at_hand = columns.as_ref().map(|(columns, _)| columns.as_slice());
    let mut known = runner.known(job, at_hand, session.as_ref(), journal, meter).await?;
    notes.columns = known.columns.take();
    let goes_on = job.data.is_none() && session.as_ref().is_some_and(|session| session.last_rows().is_some());
    let decided = decide(runner, job, at_hand, goes_on, &mut known, journal, &quiet).await?;
    tell(&decided, around);
    let intent = &*notes.intent.insert(decided);
    if let Some(pending) = approval::decided(around.approval, journal, meter, around.emit).await? {
        return Box::pin(approved(runner, &pending, &tool_context, &mut notes.record)).await;
    }
    let on_text = |text: &str| (around.emit)(Event::new(EventKind::Token).with("text", text));
    if intent.intent == IntentKind::Handoff {
        let around = handoff::Surroundings { tool_context, quiet };
        return approval::parked(runner.handoffs.run(job, around, &mut notes.record).await);
    }
    let stage = Stage { runner, intent, ready, known, columns, session, tool_context };
    let end = stage.run(CallContext { on_text: Some(&on_text), ..quiet }, &mut notes.record).await;
    if job.require_approval && matches!(&end, Ok(LaneEnd::Done { lane: Lane::Execute | Lane::Answer, .. })) {
        notes.record.warnings.push("require_approval is about workflow changes: this job made none".into());
    }
    end
}

/// Everything a plan is made from and carried out with.
struct Stage<'a> {
    runner: &'a Runner,
    intent: &'a Intent,
    ready: Option<ReadyPlan>,
    known: Known,
    columns: Option<(Vec<Column>, usize)>,
    session: Option<Session>,
    tool_context: ToolContext<'a>,
}

impl Stage<'_> {
    /// Plans, or takes the ready plan, and carries it out.
    async fn run(self, call_context: CallContext<'_>, record: &mut Record) -> Result<LaneEnd, JobError> {
        let Self { runner, intent, ready, known, columns, session, tool_context } = self;
        let job = tool_context.job;
        let goes_on = session.as_ref().is_some_and(|session| session.last_rows().is_some());
        let mut tools = offered(runner, job, intent, ready.is_some(), goes_on)?;
        if tools.iter().any(|tool| tool.spec().name == runner.pipeline_tool.spec().name) {
            tools.extend(known.tools(runner, tool_context.journal.replays()));
        }
        // Who brings a plan need not be told what there is.
        let described = if ready.is_some() { &[][..] } else { &tools[..] };
        let specs: Vec<_> = described.iter().map(|tool| tool.spec().clone()).collect();
        let patches = tools.iter().any(|tool| tool.spec().name == runner.patch_tool.spec().name);
        let workflow = match ready {
            None if patches => runner.patch_tool.current_workflow(&tool_context).await?,
            _ => None,
        };
        let modelled = asks_model(runner, job);
        let promoted = known.found.as_ref().map(|found| PromotedPlanner { found, then: &*runner.planner });
        let planner: &dyn Planner = match (&ready, &promoted) {
            (Some(plan), _) => plan,
            (None, Some(promoted)) => promoted,
            (None, None) => &*runner.planner,
        };
        let origin = promote::origin(ready.is_some(), known.found.as_ref(), modelled);
        record.plan = Some(origin.clone());
        let drive = Drive {
            planner,
            on_record: modelled || (ready.is_none() && intent.intent == IntentKind::Patch),
            tools: &tools,
            brief: Brief {
                job,
                intent,
                tools: &specs,
                columns: columns.as_ref().map(|(columns, _)| columns.as_slice()),
                row_count: columns.as_ref().map(|(_, rows)| *rows),
                workflow: workflow.as_ref(),
                session: session.as_ref(),
            },
            tool_context,
            call_context,
            bounds: Bounds {
                max_turns: runner.settings.llm.max_turns,
                max_patch_tries: MAX_PATCH_TRIES,
                max_repeats: limits::MAX_REPEATS,
                mends: modelled,
            },
            capture_content: runner.settings.telemetry.capture_content,
        };
        let end = drive.run(record).await;
        record.plan = Some(promote::settled(origin, record, tool_context.meter));
        end
    }
}

/// Goes on with the change that was approved.
async fn approved(
    runner: &Runner,
    pending: &RawJson,
    context: &ToolContext<'_>,
    record: &mut Record,
) -> Result<LaneEnd, JobError> {
    let tool = &runner.patch_tool;
    let name = tool.spec().name.as_str();
    let capture = runner.settings.telemetry.capture_content;
    let emit = context.emit;
    let observed =
        Observed { tool: name, label: name, call_id: None, arguments: pending, prepares: false, emit, capture };
    let (output, made) = observed.run(tool.resume(pending, context)).await;
    record.tool_calls.push(made);
    let output = output?;
    record.warnings.extend(output.warnings.iter().cloned());
    Ok(output.into())
}

/// The tools of the lane that the intent is sure of, or all of them. In a session that goes on from rows, even
/// a few words may be clear.
fn offered(
    runner: &Runner,
    job: &Job,
    intent: &Intent,
    ready: bool,
    goes_on: bool,
) -> Result<Vec<Arc<dyn Tool>>, JobError> {
    let explicit = ready || job.lane != LaneChoice::Auto;
    let sure = explicit || intent.confidence >= runner.settings.intent.constrain_threshold;
    let pipeline = || runner.pipeline_tool.clone() as Arc<dyn Tool>;
    let patch = || runner.patch_tool.clone() as Arc<dyn Tool>;
    match intent.intent {
        IntentKind::Execute if sure => Ok(vec![pipeline()]),
        IntentKind::Patch if sure => Ok(vec![patch()]),
        IntentKind::Unclear if runner.model.is_none() && !goes_on => Err(JobError::new(
            ErrorCode::IntentUnclear,
            format!(
                "it is not clear what the prompt asks for ({}) Say for example \"top 10 rows by price\", \"average price by airline\" or \"add an email step after fetch\"",
                intent.reasoning.trim_start_matches("unclear: ")
            ),
        )),
        _ => Ok(vec![pipeline(), patch()]),
    }
}

/// Ids of the nodes of the workflow that came with the job; a workflow that cannot be read is told later.
fn node_ids(job: &Job) -> Vec<String> {
    let workflow = job.current_workflow.as_ref().and_then(|raw| Workflow::parse(raw).ok());
    let nodes = workflow.iter().flat_map(Workflow::nodes);
    nodes.filter_map(|node| node["id"].as_str().map(str::to_owned)).collect()
}

/// Whether a model plans the job, so that each of its turns is paid for.
pub(super) fn asks_model(runner: &Runner, job: &Job) -> bool {
    runner.model.is_some() && lanes::ready_plan(job).is_none()
}

fn tell(decided: &Intent, around: &Surroundings<'_>) {
    (around.emit)(
        Event::new(EventKind::Intent)
            .with("intent", decided.intent.as_str())
            .with("confidence", decided.confidence)
            .with("reason", decided.reasoning.as_str()),
    );
}

/// The lane, by the rules or, where they are unsure, by the model, whose answer goes on record. Words that mean a
/// promoted tool need no model; where the rules are sure of something else, `known` loses its plan. The only errors are
/// a rate limit for which the job is put back, and a journal that cannot be written.
async fn decide(
    runner: &Runner,
    job: &Job,
    columns: Option<&[Column]>,
    goes_on: bool,
    known: &mut Known,
    journal: &Journal,
    context: &CallContext<'_>,
) -> Result<Intent, JobError> {
    let names: Vec<String> = columns.into_iter().flatten().map(|column| column.name.clone()).collect();
    let nodes = node_ids(job);
    let facts = Facts {
        has_workflow: job.current_workflow.is_some() || job.workflow_tag.is_some(),
        has_data: columns.is_some(),
        columns: &names,
        nodes: &nodes,
        goes_on: goes_on && columns.is_some(),
    };
    let settings = &runner.settings.intent;
    let offline = intent::decide(job, &facts, settings.rules_threshold, None).await;
    match (known.intent(&offline, facts.has_workflow, runner), &known.found) {
        (Some(intent), Some(found)) => {
            runner.take(found, journal, context.meter).await?;
            return Ok(intent);
        }
        _ => known.found = None,
    }
    let unsure = offline.source == IntentSource::Rules && offline.confidence < settings.rules_threshold;
    let Some(chat) = runner.model.as_deref().filter(|_| unsure) else { return Ok(offline) };
    let model = IntentModel { chat, model: settings.model.clone(), context };
    match journal.paid("intent", context.meter, model.answer(job.prompt_text(), &facts)).await {
        Err(error) if error.deferred => Err(error),
        answer => Ok(answer.unwrap_or_else(|error| intent::unanswered(&error))),
    }
}
