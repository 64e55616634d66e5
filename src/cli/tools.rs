//! `agent-runner tools`.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Failure, jobs::said, output, stores};
use crate::{
    planner::{Catalogue, Promoted},
    settings::Settings,
    store::{Runs, StoreError},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List promoted tools: pipelines that worked twice
    #[command(after_help = "Example:\n  agent-runner tools list --owner ann")]
    List {
        /// Only those of this workflow_owner
        #[arg(long)]
        owner: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a tool: its parameters, its steps, and the sentences that run it without a model
    #[command(after_help = "Example:\n  agent-runner tools show filter_price_below_1f2e3d4c")]
    Show(Named),
    /// Switch a tool off: neither a sentence nor a model runs it any more
    #[command(after_help = "Example:\n  agent-runner tools disable filter_price_below_1f2e3d4c --owner ann")]
    Disable(Named),
    /// Switch a tool on again
    #[command(after_help = "Example:\n  agent-runner tools enable filter_price_below_1f2e3d4c --owner ann")]
    Enable(Named),
}

/// One tool.
#[derive(Debug, clap::Args)]
pub(super) struct Named {
    /// The tool's name
    name: String,
    /// Its workflow_owner, where several have a tool of that name
    #[arg(long)]
    owner: Option<String>,
    /// Print JSON (`show` always does)
    #[arg(long)]
    json: bool,
}

/// A tool with whose it is and how often it was used.
struct Owned {
    owner: String,
    uses: i64,
    tool: Promoted,
}

impl Owned {
    fn shown(&self) -> Value {
        let mut shown = json!({"owner": self.owner, "uses": self.uses});
        if let (Some(all), Ok(Value::Object(tool))) = (shown.as_object_mut(), serde_json::to_value(&self.tool)) {
            all.extend(tool);
        }
        shown
    }
}

pub(super) async fn run(settings: Settings, command: Command) -> Result<(), Failure> {
    let store = stores::store(&settings)?;
    let runs = Runs::new(store, Duration::from_secs(settings.llm.promote_ttl_secs));
    if !settings.llm.promote {
        eprintln!("llm.promote is off: no tool is made or used");
    }
    match command {
        Command::List { owner, json } => list(&all(&runs, owner.as_deref()).await.map_err(failed)?, json),
        Command::Show(named) => {
            output::json(&one(&runs, &named).await?.shown());
            Ok(())
        }
        Command::Disable(named) => switch(&runs, &named, true).await,
        Command::Enable(named) => switch(&runs, &named, false).await,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an arm beside others that fail")]
fn list(tools: &[Owned], json: bool) -> Result<(), Failure> {
    if json {
        output::json(&tools.iter().map(Owned::shown).collect::<Vec<_>>());
        return Ok(());
    }
    let rows = tools.iter().map(|owned| {
        let tool = &owned.tool;
        let names: Vec<&str> = tool.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        [
            owned.owner.clone(),
            tool.name.clone(),
            names.join(", "),
            tool.runs.to_string(),
            owned.uses.to_string(),
            if tool.enabled { "yes" } else { "no" }.to_owned(),
            tool.wordings.join(" · "),
        ]
    });
    output::table(["owner", "tool", "parameters", "runs", "uses", "enabled", "sentences"], rows);
    Ok(())
}

/// The tools of one owner, or of everybody.
async fn all(runs: &Runs, owner: Option<&str>) -> Result<Vec<Owned>, StoreError> {
    let owners = match owner {
        Some(owner) => vec![owner.to_owned()],
        None => runs.owners().await?.into_iter().collect(),
    };
    let mut tools = Vec::new();
    for owner in owners {
        let catalogue = Catalogue::of(&runs.of(&owner).await?, &runs.disabled(&owner).await?);
        for tool in catalogue.tools() {
            let uses = runs.used(&owner, &tool.name, 0).await?;
            tools.push(Owned { owner: owner.clone(), uses, tool: tool.clone() });
        }
    }
    Ok(tools)
}

async fn one(runs: &Runs, named: &Named) -> Result<Owned, Failure> {
    let mut tools = all(runs, named.owner.as_deref()).await.map_err(failed)?;
    tools.retain(|owned| owned.tool.name == named.name);
    match (tools.pop(), tools.len()) {
        (Some(tool), 0) => Ok(tool),
        (Some(last), _) => {
            let owners: Vec<&str> = tools.iter().chain([&last]).map(|owned| owned.owner.as_str()).collect();
            Err(Failure::Usage(format!(
                "several owners have {}: add --owner with one of {}",
                named.name,
                owners.join(", ")
            )))
        }
        (None, _) => Err(Failure::Failed(format!("there is no tool {}: see agent-runner tools list", named.name))),
    }
}

async fn switch(runs: &Runs, named: &Named, off: bool) -> Result<(), Failure> {
    let owned = one(runs, named).await?;
    runs.switch(&owned.owner, &owned.tool.name, off).await.map_err(failed)?;
    if named.json {
        output::json(&json!({"owner": owned.owner, "name": owned.tool.name, "enabled": !off}));
        return Ok(());
    }
    said(format!("{} of {} is {}", owned.tool.name, owned.owner, if off { "off" } else { "on" }))
}

fn failed(error: StoreError) -> Failure {
    Failure::Failed(error.to_string())
}
