//! `agent-runner run`: one job in this process.

use std::{io::IsTerminal, path::PathBuf, sync::Arc};

use bytes::Bytes;
use serde_json::{Map, Value, value::RawValue};
use tokio_util::sync::CancellationToken;

use super::{Failure, assemble, output, replies::Replies, watch::Watch};
use crate::{
    job::{Event, Job, JobId, JobResult, RawJson, Status, in_plain_words},
    llm::ChatModel,
    settings::Settings,
    table,
};

/// Run one job in this process: no Redis, no key needed
///
/// Prints the result as JSON, its rows as NDJSON or CSV, or a table on a terminal. Exit code 0: completed, 1: failed, 2: bad usage.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  agent-runner run examples/top-flights.json
  agent-runner run --prompt 'average price by airline' --data examples/flights.json
  cat flights.csv | agent-runner run --prompt 'top 5 by price' --data - --output csv > top.csv
  agent-runner run --prompt 'ask an expert: why is my deploy failing?' --agents examples/agents.yaml
  agent-runner run examples/handoffs/triage.json --agents examples/handoffs/triage.yaml \\
    --replies examples/handoffs/triage.jsonl --watch
  agent-runner run --prompt 'add an email step after fetch' --workflow examples/workflow.json")]
pub(super) struct Args {
    /// A job document; - reads it from stdin
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The prompt, instead of the document's
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// First data: .json, .csv or .ndjson; - reads stdin (any of the three)
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The current workflow, as JSON
    #[arg(long, value_name = "FILE")]
    workflow: Option<PathBuf>,
    /// The agents file
    #[arg(long, value_name = "FILE")]
    agents: Option<PathBuf>,
    /// Take the model's replies from a file instead of a model: one JSON object a line
    #[arg(long, value_name = "FILE")]
    replies: Option<PathBuf>,
    /// Show on stderr what happens while it happens
    #[arg(long)]
    watch: bool,
    /// Plan and check only
    #[arg(long)]
    dry_run: bool,
    /// How to print: the whole result as json, its rows as ndjson or csv, or a table to look at
    #[arg(long, value_name = "FORMAT")]
    output: Option<Shape>,
    /// Print a table, also into a pipe: --output table
    #[arg(long, conflicts_with_all = ["json", "output"])]
    table: bool,
    /// Print JSON, also on a terminal: --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    Json,
    Ndjson,
    Csv,
    Table,
}

impl Args {
    fn shape(&self) -> Shape {
        match self.output {
            Some(shape) => shape,
            None if self.table => Shape::Table,
            None if std::io::stdout().is_terminal() && !self.json => Shape::Table,
            None => Shape::Json,
        }
    }
}

pub(super) async fn run(mut settings: Settings, args: Args) -> Result<(), Failure> {
    if args.file.is_none() && args.prompt.is_none() {
        return Err(Failure::Usage(
            "nothing to run: give a job document, or --prompt with --data or --workflow".into(),
        ));
    }
    // What the person at the terminal hands over is theirs: only the machine bounds it.
    settings.worker.max_job_bytes = usize::MAX;
    let mut job = Job::parse(&document(&args)?, &settings.job_limits())
        .map_err(|rejected| Failure::Usage(rejected.error.to_string()))?;
    if let Some(path) = &args.workflow {
        job.current_workflow = Some(parse(path)?);
    }
    if let Some(path) = &args.data {
        job.data = Some(data(path)?);
    }
    if let Some(path) = &args.agents {
        std::fs::metadata(path).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?;
        settings.agents.file = path.display().to_string();
    }
    let replies = args.replies.as_deref().map(Replies::load).transpose()?.map(Arc::new);
    let model = replies.clone().map(|replies| replies as Arc<dyn ChatModel>);
    let runner = assemble::local_runner(Arc::new(settings), model)?;
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    let watch = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    let shown = args.watch.then(Watch::default);
    let emit = |event: Event| {
        if let Some(shown) = &shown {
            shown.show(&event);
        }
    };
    let result = runner.run_alone(&job, stop, &emit).await;
    watch.abort();
    if let Some(left) = replies.map(|replies| replies.left()).filter(|left| *left > 0) {
        eprintln!("warning: {left} replies of the file were not asked for");
    }
    print(&result, args.shape())?;
    if result.status == Status::Completed { Ok(()) } else { Err(Failure::Told) }
}

/// The job document: the file's members, with what was given as options in their place. Data and workflow are
/// handed over as they are: they may be large.
fn document(args: &Args) -> Result<Bytes, Failure> {
    let mut members: Map<String, Value> = Map::new();
    let text = match &args.file {
        Some(path) => String::from_utf8(read(path)?).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?,
        None => "{}".to_owned(),
    };
    // Large members stay text: only the small ones given here become values.
    let mut document: indexmap::IndexMap<String, Box<RawValue>> = serde_json::from_str(&text).map_err(|e| {
        Failure::Usage(format!("the job document is not a JSON object: {}", in_plain_words(&e.to_string())))
    })?;
    if !document.contains_key("job_id") {
        members.insert("job_id".into(), JobId::random().as_str().into());
    }
    if let Some(prompt) = &args.prompt {
        document.shift_remove("task");
        members.insert("prompt".into(), prompt.as_str().into());
    }
    if args.dry_run {
        members.insert("dry_run".into(), true.into());
    }
    for (key, value) in members {
        document.insert(key, raw(RawJson::of(&value))?);
    }
    serde_json::to_vec(&document).map(Bytes::from).map_err(|e| Failure::Usage(e.to_string()))
}

fn raw(json: RawJson) -> Result<Box<RawValue>, Failure> {
    RawValue::from_string(json.as_str().to_owned()).map_err(|e| Failure::Usage(e.to_string()))
}

fn parse(path: &PathBuf) -> Result<RawJson, Failure> {
    RawJson::parse(read(path)?.into()).map_err(|e| Failure::Usage(format!("{}: not JSON: {e}", path.display())))
}

/// Rows from a file: by its ending, or else by a look at it. JSON is checked where it is read.
fn data(path: &PathBuf) -> Result<RawJson, Failure> {
    let bytes = Bytes::from(read(path)?);
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let rows = match ending {
        "json" => Ok(RawJson::from_trusted(bytes)),
        "csv" => from_csv(&bytes),
        "ndjson" | "jsonl" => table::from_ndjson(&bytes).map_err(|e| e.to_string()),
        _ => guessed(bytes),
    };
    rows.map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
}

/// What begins like JSON is JSON, one value or several; anything else is CSV.
fn guessed(bytes: Bytes) -> Result<RawJson, String> {
    if !bytes.trim_ascii_start().starts_with(b"[") && !bytes.trim_ascii_start().starts_with(b"{") {
        return from_csv(&bytes);
    }
    RawJson::parse(bytes.clone()).or_else(|_| table::from_ndjson(&bytes).map_err(|e| e.to_string()))
}

fn from_csv(bytes: &[u8]) -> Result<RawJson, String> {
    let (rows, warning) = table::from_csv(bytes).map_err(|e| e.to_string())?;
    if let Some(warning) = warning {
        eprintln!("warning: {warning}");
    }
    Ok(rows)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    let read = || {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)?;
            return Ok(bytes);
        }
        std::fs::read(path)
    };
    read().map_err(|e: std::io::Error| Failure::Usage(format!("{}: {e}", path.display())))
}

fn print(result: &JobResult, shape: Shape) -> Result<(), Failure> {
    if shape == Shape::Json {
        output::line(RawJson::of(result).as_str());
        return Ok(());
    }
    for warning in &result.metadata.warnings {
        eprintln!("warning: {warning}");
    }
    if let Some(error) = &result.error {
        eprintln!("{}: {}", error.code.as_str(), error.message);
        return Ok(());
    }
    match shape {
        Shape::Csv => table::to_csv(&rows(result)?),
        Shape::Ndjson => table::to_ndjson(&rows(result)?),
        Shape::Json | Shape::Table => {
            for_a_person(result);
            return Ok(());
        }
    }
    .map(|text| output::bytes(&text))
    .map_err(|e| Failure::Failed(format!("the result cannot be printed as rows: {e} (--output json prints all of it)")))
}

/// The rows of a result that has any.
fn rows(result: &JobResult) -> Result<RawJson, Failure> {
    #[derive(serde::Deserialize)]
    struct Success<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let whole = result.result.as_ref();
    let data = whole.and_then(|whole| Some((whole, serde_json::from_str::<Success<'_>>(whole.as_str()).ok()?.data?)));
    match data.filter(|(_, data)| data.get().starts_with(['[', '{'])) {
        Some((whole, data)) => Ok(RawJson::slice_of(whole.bytes(), data)),
        None => Err(Failure::Failed("the result has no rows: --output json prints it whole".into())),
    }
}

fn for_a_person(result: &JobResult) {
    let Some(value) = result.result.as_ref().and_then(|json| json.to_value().ok()) else { return };
    output::result(&value);
    if let Some(intent) = &result.metadata.intent {
        eprintln!(
            "{} lane ({:.2}, {}) in {} ms, {} model calls",
            result.lane.map_or("no", |lane| lane.as_str()),
            intent.confidence,
            intent.reasoning,
            result.metadata.execution_time_ms,
            result.metadata.llm_calls
        );
    }
}
