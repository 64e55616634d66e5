//! Checks that need more than one entry.

use rustc_hash::FxHashMap;

use super::{Agent, Registry, Strategy, TRANSFER_PREFIX, ToolRef};

/// Longest name of an MCP server: there must be room for the names of its tools.
const MAX_SERVER_CHARS: usize = 32;

/// Notes everything that does not fit together.
pub(super) fn check(registry: &Registry, faults: &mut Vec<String>) {
    duplicates(registry, faults);
    for agent in &registry.agents {
        handoffs(registry, agent, faults);
        tools(registry, agent, faults);
    }
    for (name, tiers) in &registry.tiers {
        for tier in tiers {
            if let Some(id) = tier.agent.as_deref().filter(|id| registry.agent(id).is_none()) {
                faults.push(format!(
                    "tiers.{name}: level {}: there is no agent {id:?}{}",
                    tier.level,
                    near(registry, id)
                ));
            }
        }
    }
    pools(registry, faults);
    servers(registry, faults);
}

/// The names of servers begin the names of their tools, which must tell whose they are.
fn servers(registry: &Registry, faults: &mut Vec<String>) {
    let mut seen: FxHashMap<String, &str> = FxHashMap::default();
    for name in registry.mcp_servers.keys() {
        if let Some(first) = seen.insert(blurred(name), name) {
            faults
                .push(format!("mcp_servers.{name}: tool-name collision: differs from {first:?} only in case, - and _"));
        }
        let long = name.len() > MAX_SERVER_CHARS;
        if long || name.contains("__") || name.ends_with('_') || blurred(name).starts_with(TRANSFER_PREFIX) {
            faults.push(format!(
                "mcp_servers.{name}: tool-name collision: a name of at most {MAX_SERVER_CHARS} characters that holds no \
                 `__`, does not end in `_` and does not begin with {TRANSFER_PREFIX} is needed, since it begins the names \
                 of the server's tools"
            ));
        }
    }
}

/// Names as a model may blur them: the transfer to `a-b` and the one to `a_b` must not be mistaken for each other.
fn blurred(name: &str) -> String {
    name.to_lowercase().replace(['-', ' '], "_")
}

fn duplicates(registry: &Registry, faults: &mut Vec<String>) {
    let mut seen: FxHashMap<String, &str> = FxHashMap::default();
    for agent in &registry.agents {
        match seen.insert(blurred(&agent.id), &agent.id) {
            Some(first) if first == agent.id => faults.push(format!("agents: the id {first:?} is there twice")),
            Some(first) => faults.push(format!(
                "agents: tool-name collision: {first:?} and {:?} differ only in - and _, and so would their transfer tools",
                agent.id
            )),
            None => {}
        }
    }
    let mut pools: FxHashMap<String, &str> = FxHashMap::default();
    for name in registry.pools.keys() {
        if let Some(id) = seen.get(&blurred(name)) {
            faults.push(format!("pools.{name}: tool-name collision: the agent {id:?} has that name already"));
        }
        if let Some(first) = pools.insert(blurred(name), name) {
            faults.push(format!("pools.{name}: tool-name collision: differs from {first:?} only in - and _"));
        }
    }
}

fn handoffs(registry: &Registry, agent: &Agent, faults: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for target in &agent.handoffs {
        let to = target.to.as_str();
        let fault = if to == agent.id {
            "self handoff: an agent cannot pass control to itself".to_owned()
        } else if registry.agent(to).is_none() && !registry.pools.contains_key(to) {
            format!("unknown target: there is no agent or pool {to:?}{}", near(registry, to))
        } else if registry.pools.get(to).is_some_and(|pool| pool.agents.iter().all(|id| *id == agent.id)) {
            format!("self handoff: the pool {to:?} has no other agent than this one")
        } else if seen.contains(&to) {
            format!("{to:?} is there twice")
        } else {
            seen.push(to);
            continue;
        };
        faults.push(format!("agents[{}].handoffs: {fault}", agent.id));
    }
}

pub(super) fn tools(registry: &Registry, agent: &Agent, faults: &mut Vec<String>) {
    let transfers: Vec<String> = agent.handoffs.iter().map(|target| blurred(&target.to)).collect();
    for tool in &agent.tools {
        let ToolRef::Mcp { server, tool } = tool else { continue };
        if !registry.mcp_servers.contains_key(server) {
            faults.push(format!(
                "agents[{}].tools: missing MCP server: mcp_servers has no {server:?}; add it there",
                agent.id
            ));
        }
        let transfer = tool.as_deref().map(blurred);
        let transfer = transfer.as_deref().and_then(|name| name.strip_prefix(TRANSFER_PREFIX));
        if transfer.is_some_and(|to| transfers.iter().any(|target| target == to)) {
            let name = tool.as_deref().unwrap_or_default();
            faults.push(format!("agents[{}].tools: tool-name collision: {name:?} is the name of a transfer", agent.id));
        }
    }
}

fn pools(registry: &Registry, faults: &mut Vec<String>) {
    for (name, pool) in &registry.pools {
        for (i, id) in pool.agents.iter().enumerate() {
            if registry.agent(id).is_none() {
                faults.push(format!("pools.{name}.agents: there is no agent {id:?}{}", near(registry, id)));
            } else if pool.agents[..i].contains(id) {
                faults.push(format!("pools.{name}.agents: {id:?} is there twice"));
            }
        }
        if pool.strategy == Strategy::Capability && pool.default.is_none() {
            let able = |id: &String| registry.agent(id).is_none_or(|agent| !agent.capabilities.is_empty());
            if !pool.agents.iter().any(able) {
                faults.push(format!(
                    "pools.{name}: chooses by capability, and none of its agents has any: give them capabilities or \
                     the pool a default"
                ));
            }
        }
        if let Some(id) = pool.default.as_deref().filter(|id| registry.agent(id).is_none()) {
            faults.push(format!("pools.{name}.default: there is no agent {id:?}{}", near(registry, id)));
        }
    }
}

/// `; did you mean …?` where an id is close to `wrong`.
fn near(registry: &Registry, wrong: &str) -> String {
    let ids = registry.agents.iter().map(|agent| (strsim::jaro_winkler(wrong, &agent.id), &agent.id));
    match ids.filter(|(likeness, _)| *likeness > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((_, id)) => format!("; did you mean {id:?}?"),
        None => String::new(),
    }
}
