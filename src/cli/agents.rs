//! `agent-runner agents`, and the routing half of `agent-runner eval`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use super::{Failure, agent_tools, agents_push, assemble, output};
use crate::{
    agents::{self, Decision, Registry, RouteRequest, eval},
    job::Meter,
    llm::CallContext,
    settings::{Settings, environment},
};

/// Longest time for one prompt.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the agents
    #[command(after_help = "Example:\n  agent-runner agents list --agents examples/agents.yaml")]
    List {
        /// The agents file [default: agents.file of the configuration]
        #[arg(long, value_name = "FILE")]
        agents: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether the agents file is good, every fault when it is not, and which agents are hard to tell apart
    #[command(after_help = "Example:\n  agent-runner agents check --agents examples/agents.yaml")]
    Check {
        /// The agents file [default: agents.file of the configuration]
        #[arg(long, value_name = "FILE")]
        agents: Option<PathBuf>,
    },
    /// Show what agents would be offered: their tools, and for each MCP server the hash to pin. The servers are started.
    /// Exit code 1 when a server cannot be used
    #[command(after_help = "Example:\n  agent-runner agents tools mail-agent --agents agents.yaml")]
    Tools {
        /// Only this agent
        agent: Option<String>,
        /// The agents file [default: agents.file of the configuration]
        #[arg(long, value_name = "FILE")]
        agents: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put the agents of the file into the collection of routing.qdrant, each in the place of an earlier one with its id
    #[command(after_help = "Example:\n  agent-runner agents push --agents agents.yaml --prune")]
    Push {
        /// The agents file [default: agents.file of the configuration]
        #[arg(long, value_name = "FILE")]
        agents: Option<PathBuf>,
        /// Take out all agents that are not in the file
        #[arg(long)]
        prune: bool,
    },
    /// Find the agent for a prompt; nobody answers it. Exit code 1 when nobody fits
    #[command(
        after_help = "Example:\n  agent-runner agents route 'review my pull request' --agents examples/agents.yaml --top 3"
    )]
    Route {
        /// The prompt
        prompt: String,
        /// The agents file [default: agents.file of the configuration]
        #[arg(long, value_name = "FILE")]
        agents: Option<PathBuf>,
        /// Least score, -1 to 1
        #[arg(long, allow_negative_numbers = true)]
        threshold: Option<f64>,
        /// How many scored agents are shown
        #[arg(long, value_name = "N")]
        top: Option<usize>,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
        /// Print the whole record of the decision as JSON: tags, every candidate, thresholds, ties, why not the next
        #[arg(long, conflicts_with = "json")]
        record: bool,
    },
}

/// Measure routing over a labelled file: lines {"query", "expected": id or null, "acceptable"?: [ids]}
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  agent-runner eval routing tests/data/routing.jsonl --agents examples/agents.yaml --out routing.html"
)]
pub(super) struct EvalArgs {
    /// The labelled file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The agents file [default: agents.file of the configuration]
    #[arg(long, value_name = "FILE")]
    agents: Option<PathBuf>,
    /// Leave out the agents' examples: what do descriptions alone give?
    #[arg(long)]
    descriptions_only: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with the plots
    #[arg(long, value_name = "HTML")]
    out: Option<PathBuf>,
}

/// Runs a command.
pub(super) async fn run(settings: &Settings, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { agents, json } => list(&load(settings, agents.as_deref())?, json),
        Command::Check { agents } => check(&load(settings, agents.as_deref())?),
        Command::Tools { agent, agents, json } => {
            agent_tools::show(settings, &load(settings, agents.as_deref())?, agent.as_deref(), json).await
        }
        Command::Push { agents, prune } => {
            let path = agents.unwrap_or_else(|| PathBuf::from(&settings.agents.file));
            agents_push::push(settings, &path, prune).await
        }
        Command::Route { prompt, agents, threshold, top, json, record } => {
            let registry = Arc::new(load(settings, agents.as_deref())?);
            let request = RouteRequest { threshold, show_top_n: top };
            let (meter, cancel) = (Meter::default(), CancellationToken::new());
            let router = assemble::local_router(settings)?;
            let deadline = Instant::now() + ROUTE_TIMEOUT;
            let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
            let routed = router.route(&registry, &prompt, &request, &context, None).await;
            let decision = routed.map_err(|error| match error.code {
                crate::job::ErrorCode::InvalidJob => Failure::Usage(error.message),
                _ => Failure::Failed(error.to_string()),
            })?;
            if let Some(warning) = &decision.record.embedder_fallback {
                eprintln!("warning: {warning}");
            }
            if record {
                output::json(&decision.record);
                return if decision.winner().is_some() { Ok(()) } else { Err(Failure::Told) };
            }
            show(&decision, json)
        }
    }
}

/// Runs `eval routing`.
pub(super) async fn eval(settings: &Settings, args: EvalArgs) -> Result<(), Failure> {
    let mut registry = load(settings, args.agents.as_deref())?;
    if args.descriptions_only {
        registry.agents.iter_mut().for_each(|agent| agent.examples.clear());
    }
    let shown = args.file.display();
    let text = std::fs::read_to_string(&args.file).map_err(|e| Failure::Usage(format!("{shown}: {e}")))?;
    let cases = eval::cases(&text, &registry).map_err(|faults| {
        Failure::Usage(faults.iter().map(|fault| format!("{shown}: {fault}")).collect::<Vec<_>>().join("\n"))
    })?;
    let router = assemble::local_router(settings)?;
    let bar = output::progress(cases.len(), "queries routed");
    let report = eval::evaluate(&router, &Arc::new(registry), &cases, &|| bar.inc(1)).await;
    bar.finish_and_clear();
    let report = report.map_err(|error| Failure::Failed(error.to_string()))?;
    if let Some(path) = &args.out {
        std::fs::write(path, eval::page(&report)).map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?;
        eprintln!("{} written", path.display());
    }
    if args.json {
        output::json(&report);
        return Ok(());
    }
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let rows = [
        ["embedder", &report.embedder],
        ["queries with an agent", &report.in_scope.to_string()],
        ["queries for nobody", &report.out_of_scope.to_string()],
        ["right agent first", &percent(report.accuracy)],
        ["right agent among five", &percent(report.accuracy_at_5)],
        ["decided rightly", &percent(report.decided_right)],
        ["refused rightly, wrongly", &format!("{}, {}", report.refused_right, report.refused_wrong)],
        ["threshold", &report.threshold.map_or_else(|| "-".into(), |t| format!("{t:.3}"))],
        ["calibrated threshold", &format!("{:.3}", report.calibrated_threshold)],
        ["nobody's refused where 95 % are accepted", &report.refused_at_95.map_or_else(|| "-".into(), percent)],
        ["median, µs", &format!("{:.0}", report.median_us)],
    ];
    output::table(["", "routing"], rows.map(|row| row.map(str::to_owned)).into_iter());
    Ok(())
}

fn load(settings: &Settings, path: Option<&Path>) -> Result<Registry, Failure> {
    let path = path.unwrap_or_else(|| Path::new(&settings.agents.file));
    Registry::load(path, &environment()).map_err(|error| Failure::Usage(error.to_string()))
}

#[expect(clippy::unnecessary_wraps, reason = "an arm beside others that fail")]
fn list(registry: &Registry, json: bool) -> Result<(), Failure> {
    let listing = agents::listing(registry);
    if json {
        output::json(&listing);
        return Ok(());
    }
    let rows = listing.agents.iter().map(|agent| {
        [
            agent.id.clone(),
            agent.name.clone(),
            agent.tags.join(", "),
            agent.tools.join(", "),
            agent.handoffs.join(", "),
            agent.examples.to_string(),
        ]
    });
    output::table(["id", "name", "tags", "tools", "handoffs", "examples"], rows);
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "an arm beside others that fail")]
fn check(registry: &Registry) -> Result<(), Failure> {
    let overlaps = agents::overlaps(registry);
    for overlap in &overlaps {
        eprintln!("warning: {}", overlap.message);
    }
    if overlaps.len() >= agents::MAX_OVERLAPS {
        eprintln!("warning: that is where the search ended; there may be more");
    }
    for (name, server) in &registry.mcp_servers {
        let how = server.url.clone().unwrap_or_else(|| server.command.join(" "));
        let pinned = if server.pin.is_some() { "pinned" } else { "not pinned: see `agents tools`" };
        eprintln!("MCP server {name}: {how} ({pinned})");
    }
    eprintln!("the agents file is good: {} agents", registry.agents.len());
    Ok(())
}

fn show(decision: &Decision, json: bool) -> Result<(), Failure> {
    let result = decision.result(None);
    if json {
        output::json(&result);
    } else {
        let chosen = result.selected_agent.as_ref().map(|agent| agent.id.as_str());
        let rows = result.all_scores.iter().map(|scored| {
            let mark = if Some(scored.agent_id.as_str()) == chosen { "→" } else { "" };
            [mark.to_owned(), scored.agent_id.clone(), scored.name.clone(), format!("{:.3}", scored.score)]
        });
        output::table(["", "agent", "name", "score"], rows);
        if !result.extracted_tags.is_empty() {
            eprintln!("tags: {} ({} agents)", result.extracted_tags.join(", "), result.filtered_count);
        }
        let choice = &decision.record.choice;
        if let Some(winner) = &choice.winner {
            eprintln!("{winner}: {}", choice.reason);
        }
        if let Some(next) = &choice.runner_up {
            eprintln!("next: {}: {}", next.agent_id, next.why_not);
        }
    }
    if result.handoff_successful {
        return Ok(());
    }
    if json { Err(Failure::Told) } else { Err(Failure::Failed(decision.refusal().message)) }
}
