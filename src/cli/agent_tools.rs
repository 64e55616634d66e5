//! `agent-runner agents tools`: what agents would be offered, and the hashes to pin.

use futures::future::join_all;
use serde::Serialize;

use super::{Failure, assemble, output};
use crate::{
    agents::{Agent, Registry, ToolRef, server_spec},
    settings::Settings,
    tools::mcp::Listed,
};

/// One tool of one agent.
#[derive(Serialize)]
struct Line {
    agent: String,
    tool: String,
    from: String,
    /// `reads`, `repeatable`, `once`, or by the call.
    effect: &'static str,
    approval: bool,
}

/// One server.
#[derive(Serialize)]
struct Server {
    name: String,
    tools: usize,
    /// What `pin` must be for the present list.
    hash: Option<String>,
    left_out: Vec<String>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    tools: Vec<Line>,
    servers: Vec<Server>,
}

/// Starts the servers that the agents name, lists, and ends them again.
pub(super) async fn show(
    settings: &Settings,
    registry: &Registry,
    only: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let agents: Vec<&Agent> = match only {
        None => registry.agents.iter().collect(),
        Some(id) => vec![registry.agent(id).ok_or_else(|| {
            let ids: Vec<&str> = registry.agents.iter().map(|agent| agent.id.as_str()).collect();
            Failure::Usage(format!("there is no agent {id:?}: there are {}", ids.join(", ")))
        })?],
    };
    let needed = |name: &str| agents.iter().any(|agent| agent.tools.iter().any(|tool| is_of(tool, name)));
    let names: Vec<&String> = registry.mcp_servers.keys().filter(|name| needed(name)).collect();
    let servers = assemble::mcp_servers(settings)?;
    let listed = join_all(names.iter().map(|name| async {
        let lease = servers.lease(&server_spec(name, &registry.mcp_servers[*name]));
        lease.list().await
    }))
    .await;
    servers.close().await;
    let listed: Vec<(&String, Result<Listed, String>)> = names.into_iter().zip(listed).collect();
    let shown = Shown {
        tools: agents.iter().flat_map(|agent| lines(registry, agent, &listed)).collect(),
        servers: listed.iter().map(|(name, listed)| server(name, listed)).collect(),
    };
    print(&shown, json);
    let failed: Vec<&str> = shown.servers.iter().filter_map(|server| server.error.as_deref()).collect();
    match (failed.is_empty(), json) {
        (true, _) => Ok(()),
        (false, true) => Err(Failure::Told),
        (false, false) => Err(Failure::Failed(failed.join("\n"))),
    }
}

fn is_of(tool: &ToolRef, name: &str) -> bool {
    matches!(tool, ToolRef::Mcp { server, .. } if server == name)
}

fn lines(registry: &Registry, agent: &Agent, listed: &[(&String, Result<Listed, String>)]) -> Vec<Line> {
    let line = |tool: &str, from: String, effect: &'static str, approval: bool| Line {
        agent: agent.id.clone(),
        tool: tool.to_owned(),
        from,
        effect,
        approval,
    };
    let mut lines = Vec::new();
    for reference in &agent.tools {
        match reference {
            ToolRef::BuiltIn(name) => {
                let effect = match name.as_str() {
                    "search_tools" => "reads",
                    "patch_workflow" | "delegate_to_agent" => "repeatable",
                    _ => "by the call",
                };
                lines.push(line(name, "built in".into(), effect, registry.asks(reference)));
            }
            ToolRef::Mcp { server, tool } => {
                let Some((_, Ok(found))) = listed.iter().find(|(name, _)| *name == server) else { continue };
                for one in found.tools.iter().filter(|one| tool.as_ref().is_none_or(|tool| *tool == one.name)) {
                    let effect = match (one.reads, one.repeats) {
                        (true, _) => "reads",
                        (false, true) => "repeatable",
                        (false, false) => "once",
                    };
                    let whole = ToolRef::Mcp { server: server.clone(), tool: Some(one.name.clone()) };
                    lines.push(line(&one.function, whole.text(), effect, registry.asks(&whole)));
                }
            }
        }
    }
    lines
}

fn server(name: &str, listed: &Result<Listed, String>) -> Server {
    let found = listed.as_ref().ok();
    Server {
        name: name.to_owned(),
        tools: found.map_or(0, |listed| listed.tools.len()),
        hash: found.map(|listed| listed.hash.clone()),
        left_out: found.map(|listed| listed.left_out.clone()).unwrap_or_default(),
        error: listed.as_ref().err().cloned(),
    }
}

fn print(shown: &Shown, json: bool) {
    if json {
        output::json(shown);
        return;
    }
    let rows = shown.tools.iter().map(|line| {
        let approval = if line.approval { "required" } else { "" };
        [line.agent.clone(), line.tool.clone(), line.from.clone(), line.effect.to_owned(), approval.to_owned()]
    });
    output::table(["agent", "tool", "from", "effect", "approval"], rows);
    // No table: a hash must not be cut.
    for Server { name, tools, hash, .. } in &shown.servers {
        if let Some(hash) = hash {
            println!("{name}: {tools} tools, pin: \"{hash}\"");
        }
    }
    for why in shown.servers.iter().flat_map(|server| &server.left_out) {
        eprintln!("warning: {why}");
    }
}
