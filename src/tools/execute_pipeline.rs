//! `execute_pipeline`: checks a table plan, fetches what it needs, and runs it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::{Effect, Sources, Tool, ToolContext, ToolEnd, ToolOutput, fetch::Fetcher};
use crate::{
    job::{ErrorCode, Event, EventKind, Job, JobError, Lane, Preview, RawJson},
    llm::ToolSpec,
    net::Egress,
    settings,
    table::{self, Body, Control, Inputs, Limits, Need, NeedKind, Output, Plan, StepStat},
    telemetry::names,
};

/// The name it is offered under.
pub(super) const NAME: &str = "execute_pipeline";

/// Data below this is worked on where the job runs: moving it to another thread costs more than the work.
const INLINE_BYTES: usize = 64 << 10;

/// Steps whose work is bounded by the data they get. The others can make much of little, and would keep
/// everything else on the thread waiting.
const BOUNDED_STEPS: &[&str] = &[
    "http_request",
    "literal",
    "table_filter",
    "table_sort",
    "table_select",
    "top_k",
    "group_by",
    "aggregate",
    "distinct",
    "slice",
    "rename",
    "drop",
    "count",
];

/// Rows and bytes of data shown to a model after a call.
const SUMMARY_BYTES: usize = 2000;

/// The tool.
pub struct ExecutePipeline {
    spec: ToolSpec,
    limits: Limits,
    timeout: Duration,
    fetcher: Fetcher,
    sources: Arc<Sources>,
}

impl ExecutePipeline {
    /// The tool for these settings.
    #[must_use]
    pub fn new(settings: &settings::Pipeline, egress: Arc<Egress>, sources: Arc<Sources>) -> Self {
        let spec = ToolSpec {
            name: NAME.to_owned(),
            description:
                "runs a one-time table pipeline over JSON rows: fetch, filter, sort, select, group, join and more. \
                          Data flows from step to step; it changes nothing that is stored."
                    .to_owned(),
            parameters: table::parameters_schema(),
            strict: false,
        };
        let limits = Limits::from(settings);
        Self {
            spec,
            limits,
            timeout: Duration::from_secs(settings.timeout_secs),
            fetcher: Fetcher::new(egress, limits),
            sources,
        }
    }

    /// First data of the plan: what the call names, else what the job has.
    async fn input(&self, named: Option<&str>, context: &ToolContext<'_>) -> Result<Option<RawJson>, JobError> {
        match named {
            Some(reference) => self.sources.rows(reference, context.job).await.map(Some),
            None => Ok(context.data.cloned()),
        }
    }

    /// Gathers what the plan needs: what is stored first, so that a reference to nothing costs no request.
    async fn fetch(&self, plan: &Plan, deadline: Instant, context: &ToolContext<'_>) -> Result<Fetched, JobError> {
        let mut fetched = Fetched::default();
        let placed = |error: JobError, need: &Need| {
            let message = format!("step {} {}: {}", need.step_number, need.step, error.message);
            let error = JobError { message, ..error };
            error.with_step(need.step).with_detail("step_number", need.step_number).with_detail("step", need.step)
        };
        for need in plan.needs() {
            if let NeedKind::InputRef(reference) = &need.kind {
                let started = Instant::now();
                let rows = self.sources.rows(reference, context.job).await.map_err(|error| placed(error, need))?;
                fetched.inputs.add(need.id, rows.into());
                fetched.inputs.took(need.step_number, started.elapsed());
            }
        }
        for need in plan.needs() {
            if let NeedKind::Http(request) = &need.kind {
                let started = Instant::now();
                let pages = self.fetcher.recorded(request, deadline, context).await;
                let pages = pages.map_err(|error| placed(error, need))?;
                fetched.inputs.took(need.step_number, started.elapsed());
                pages.bodies.into_iter().for_each(|body| fetched.inputs.add(need.id, body));
                let warning =
                    pages.warning.map(|warning| format!("step {} {}: {warning}", need.step_number, need.step));
                fetched.warnings.extend(warning);
            }
        }
        Ok(fetched)
    }

    /// Runs a plan whose first data took `loading` to come by.
    async fn run(
        &self,
        plan: Plan,
        input: Option<RawJson>,
        loading: Duration,
        context: &ToolContext<'_>,
    ) -> Result<Output, JobError> {
        let own_end = Instant::now() + self.timeout;
        let deadline = own_end.min(context.deadline);
        let in_time = tokio::time::timeout_at(deadline.into(), self.fetch(&plan, deadline, context));
        let Fetched { mut inputs, mut warnings } = in_time.await.map_err(|_| self.out_of_time(own_end, context))??;
        inputs.took(1, loading);
        let input = input.map(Body::from);
        let size = input.as_ref().map_or(0, |body| body.bytes.len()) + inputs.bytes() + plan.steps_json().len();
        let bounded = plan.step_names().all(|name| BOUNDED_STEPS.contains(&name));
        let done = Arc::<Mutex<Vec<StepStat>>>::default();
        let work = Work { plan, input, inputs, limits: self.limits, deadline, done: done.clone() };
        let ran = if bounded && size <= INLINE_BYTES {
            work.run(&|| context.cancel.is_cancelled(), 1)
        } else {
            work.run_aside().await?
        };
        let mut output = ran.map_err(|error| {
            tell(&done.lock(), context);
            match error.code {
                ErrorCode::Timeout => self.out_of_time(own_end, context),
                _ => JobError::from(error),
            }
        })?;
        warnings.append(&mut output.warnings);
        output.warnings = warnings;
        Ok(output)
    }

    /// Whose time is over: the pipeline's own, or the whole job's.
    fn out_of_time(&self, own_end: Instant, context: &ToolContext<'_>) -> JobError {
        if context.deadline < own_end {
            let message = "the job's time ran out in its pipeline: raise timeout_sec or ask for less";
            return JobError::new(ErrorCode::Timeout, message);
        }
        let message = format!(
            "the pipeline took longer than its {} s (pipeline.timeout_secs): ask for less data, or raise the limit",
            self.timeout.as_secs()
        );
        JobError::new(ErrorCode::LimitExceeded, message)
    }
}

/// What a plan needed, and what is to be said about it.
#[derive(Default)]
struct Fetched {
    inputs: Inputs,
    warnings: Vec<String>,
}

/// Everything a run needs, so that it can move to another thread.
struct Work {
    plan: Plan,
    input: Option<Body>,
    inputs: Inputs,
    limits: Limits,
    deadline: Instant,
    /// The steps before the one that failed.
    done: Arc<Mutex<Vec<StepStat>>>,
}

impl Work {
    fn run(&self, cancelled: &(dyn Fn() -> bool + Sync), threads: usize) -> Result<Output, table::TableError> {
        let on_failure = |steps| *self.done.lock() = steps;
        let control = Control { cancelled, deadline: Some(self.deadline), on_failure: Some(&on_failure), threads };
        table::run(&self.plan, self.input.as_ref(), &self.inputs, &self.limits, &control)
    }

    /// Runs on a thread for blocking work; the run stops soon after this future is dropped.
    async fn run_aside(self) -> Result<Result<Output, table::TableError>, JobError> {
        let gone = Arc::new(AtomicBool::new(false));
        let guard = SetOnDrop(gone.clone());
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let ran = tokio::task::spawn_blocking(move || self.run(&|| gone.load(Ordering::Relaxed), threads)).await;
        drop(guard);
        ran.map_err(|_| {
            JobError::new(ErrorCode::Internal, "the pipeline hit a defect of the runner: report its steps")
                .with_retryable(false)
        })
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Tool for ExecutePipeline {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn only_reads(&self, arguments: &RawJson) -> bool {
        let plan = Arguments::read(arguments).ok().and_then(|read| Plan::parse(&read.pipeline, &self.limits).ok());
        plan.is_none_or(|plan| plan.only_reads())
    }

    /// What it fetches is on record, with its content.
    fn effect(&self, arguments: &RawJson) -> Effect {
        if self.only_reads(arguments) { Effect::Reads } else { Effect::Repeatable }
    }

    /// What it fetches, and what is stored, unless the job itself names it: that is the producer's.
    fn outside(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Option<String> {
        let arguments = Arguments::read(arguments).ok()?;
        let plan = Plan::parse(&arguments.pipeline, &self.limits).ok()?;
        let fetched = plan.needs().iter().find_map(|need| match &need.kind {
            NeedKind::Http(request) => {
                let url = Url::parse(&request.url).ok();
                Some(url.as_ref().and_then(Url::host_str).unwrap_or("http_request").to_owned())
            }
            NeedKind::InputRef(reference) => (!is_of(context.job, reference)).then(|| reference.clone()),
        });
        let stored = arguments.input_ref.filter(|reference| !is_of(context.job, reference));
        let session = context.data.is_some() && !brings_data(context.job);
        let source = fetched.or(stored).or_else(|| session.then(|| "the session".to_owned()))?;
        Some(format!("{NAME} {source}"))
    }

    async fn call(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        let arguments = Arguments::read(arguments)?;
        let plan = Plan::parse(&arguments.pipeline, &self.limits)?;
        let started = Instant::now();
        let input = self.input(arguments.input_ref.as_deref(), context).await?;
        let loading = started.elapsed();
        if plan.needs_input() && input.is_none() {
            let first = plan.step_names().next().unwrap_or_default();
            let error = table::TableError::invalid(
                "there is no data to work on: give `data` or `input_ref`, or begin with http_request or literal",
            );
            return Err(error.at_step(1, first).into());
        }
        let mut warnings = plan.check(input.as_ref())?;
        if context.job.dry_run {
            return Ok(ToolEnd::Done(planned(&plan, warnings)));
        }
        let output = self.run(plan, input, loading, context).await?;
        tell(&output.steps, context);
        for warning in &output.warnings {
            if !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
        Ok(ToolEnd::Done(ToolOutput {
            result: output.result(),
            lane: Lane::Execute,
            preview: output.preview(),
            summary: summary(&output),
            warnings,
        }))
    }
}

/// Whether the job itself names what is stored there.
fn is_of(job: &Job, reference: &str) -> bool {
    let previous = job.context.previous_results.iter().filter_map(|result| result.result_ref.as_deref());
    job.input_ref.as_deref().into_iter().chain(previous).any(|named| named == reference)
}

/// Whether the first data is the job's; else an earlier job of its session left it.
fn brings_data(job: &Job) -> bool {
    job.data.is_some() || job.input_ref.is_some() || !job.context.previous_results.is_empty()
}

/// Counts the steps that were done, the first ones of a plan, and tells of each.
fn tell(steps: &[StepStat], context: &ToolContext<'_>) {
    for (i, stat) in steps.iter().enumerate() {
        let seconds = stat.duration_ms / 1000.0;
        metrics::histogram!(names::PIPELINE_STEP_DURATION_SECONDS, "step" => stat.step).record(seconds);
        let rows = stat.rows_out.unwrap_or_default() as u64;
        metrics::counter!(names::PIPELINE_ROWS_TOTAL, "step" => stat.step).increment(rows);
        let event = Event::new(EventKind::StepFinished).with("step", stat.step).with("step_number", i + 1);
        let counts = [("rows_in", stat.rows_in), ("rows_out", stat.rows_out)];
        let known = counts.into_iter().filter_map(|(name, count)| Some((name, count?)));
        let event = known.fold(event, |event, (name, count)| event.with(name, count));
        (context.emit)(event.with("duration_ms", stat.duration_ms));
    }
}

fn planned(plan: &Plan, warnings: Vec<String>) -> ToolOutput {
    let mut result = b"{\"status\":\"planned\",\"pipeline\":".to_vec();
    result.extend_from_slice(plan.steps_json().bytes());
    result.push(b'}');
    ToolOutput {
        result: RawJson::from_trusted(result),
        lane: Lane::Execute,
        preview: Preview::Object { keys: vec!["status".into(), "pipeline".into()] },
        summary: "the plan is good; nothing was run (dry run)".into(),
        warnings,
    }
}

/// What a model hears of a result: how much there is, and its beginning.
fn summary(output: &Output) -> String {
    let text = output.data.as_str();
    let end = text.floor_char_boundary(SUMMARY_BYTES);
    let more = if end < text.len() { "…" } else { "" };
    format!("{} rows: {}{more}", output.row_count, &text[..end])
}

/// The arguments of a call.
struct Arguments {
    pipeline: RawJson,
    input_ref: Option<String>,
}

#[derive(Deserialize)]
struct RawArguments<'a> {
    #[serde(borrow, alias = "steps")]
    pipeline: Option<&'a RawValue>,
    #[serde(borrow)]
    input_ref: Option<&'a RawValue>,
}

impl Arguments {
    /// `{pipeline, input_ref?, session_id?}`, or the bare list of steps.
    fn read(raw: &RawJson) -> Result<Self, JobError> {
        let bad = |message: &str| JobError::from(table::TableError::invalid(message).with_field("pipeline"));
        if raw.as_str().trim_start().starts_with('[') {
            return Ok(Self { pipeline: raw.clone(), input_ref: None });
        }
        let members: RawArguments<'_> =
            serde_json::from_str(raw.as_str()).map_err(|_| bad("the arguments must be {\"pipeline\": [step, …]}"))?;
        let pipeline = members.pipeline.ok_or_else(|| bad("`pipeline` is missing: give a list of steps"))?;
        let input_ref = match members.input_ref.map(|raw| serde_json::from_str::<Option<String>>(raw.get())) {
            None => None,
            Some(Ok(reference)) => reference.filter(|text| !text.is_empty()),
            Some(Err(_)) => return Err(bad("`input_ref` must be text")),
        };
        Ok(Self { pipeline: share(raw.bytes(), pipeline), input_ref })
    }
}

fn share(whole: &Bytes, part: &RawValue) -> RawJson {
    RawJson::slice_of(whole, part)
}
