//! What the agents of one run may use: built-in tools, tools of MCP servers as they are now, each behind its gate.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;

use super::registry::{Agent, McpServer, Registry, TRANSFER_PREFIX, ToolRef};
use crate::{
    job::JobError,
    settings::TaintedEffects,
    tools::{
        FindTools, Gate, Names, Offered, SearchSource, Tool, ToolContext, function_name,
        mcp::{Listed, McpTool, Program, Reach, ServerSpec, Servers},
    },
};

/// Tools that one agent is offered: model servers take no more.
const MAX_OFFERED: usize = 128;
const SEARCH: &str = "search_tools";
const DELEGATE: &str = "delegate_to_agent";

/// What all runs of the process share.
pub struct Toolbox {
    /// The MCP servers.
    pub servers: Arc<Servers>,
    /// What `search_tools` looks through beside the tools on offer.
    pub sources: Vec<Arc<dyn SearchSource>>,
    /// What becomes of calls with consequences, once a run has read outside data.
    pub tainted: TaintedEffects,
}

/// The tools of one run.
#[derive(Default)]
pub struct Kit {
    /// Everything its agents may call, by [`named`].
    pub tools: Vec<Arc<dyn Tool>>,
    /// Which tools are not there, and why.
    pub warnings: Vec<String>,
}

impl Toolbox {
    /// The tools for a run in which `agents` may speak. Which tools the servers have goes on record: a redelivered job
    /// offers the same. A server that cannot be had costs its tools, not the run.
    ///
    /// # Errors
    /// `internal` when the journal fails.
    pub async fn kit(
        &self,
        registry: &Registry,
        agents: &[&Agent],
        built_ins: &[Arc<dyn Tool>],
        context: &ToolContext<'_>,
    ) -> Result<Kit, JobError> {
        // Whoever may delegate brings in everybody.
        let delegates = agents.iter().any(|agent| agent.tools.contains(&ToolRef::BuiltIn(DELEGATE.into())));
        let agents: Vec<&Agent> = if delegates { registry.agents.iter().collect() } else { agents.to_vec() };
        let mut kit = Kit::default();
        let mut names = Names::default();
        for tool in built_ins {
            let name = tool.spec().name.clone();
            let _ = names.take(&name, &name);
            kit.tools.push(Gate::before(tool.clone(), registry.asks(&ToolRef::BuiltIn(name)), self.tainted));
        }
        let needed: Vec<(&String, &McpServer)> =
            registry.mcp_servers.iter().filter(|(name, _)| agents.iter().any(|agent| uses(agent, name))).collect();
        let opened = join_all(needed.iter().map(|(name, server)| self.server(name, server, context))).await;
        for ((name, _), opened) in needed.into_iter().zip(opened) {
            let (listed, tools) = opened?;
            match listed {
                Ok(listed) => kit.warnings.extend(listed.left_out),
                Err(why) => kit.warnings.push(why),
            }
            for tool in tools {
                kit.add((registry, self.tainted), name, tool, &mut names);
            }
        }
        kit.missing(&agents);
        kit.bound(&agents);
        kit.searchable(&agents, self, registry);
        Ok(kit)
    }

    /// The tools of one server, by the record or as it lists them now.
    async fn server(
        &self,
        name: &str,
        server: &McpServer,
        context: &ToolContext<'_>,
    ) -> Result<(Result<Listed, String>, Vec<McpTool>), JobError> {
        let lease = self.servers.lease(&server_spec(name, server));
        let list = async { Ok(Box::pin(lease.list()).await) };
        let step = format!("{}mcp:{name}", context.step);
        let listed: Result<Listed, String> = context.journal.step(&step, context.meter, list).await?;
        let tools = listed.iter().flat_map(|listed| &listed.tools);
        let tools = tools.map(|tool| McpTool::new(tool.clone(), lease.clone())).collect();
        Ok((listed, tools))
    }
}

impl Kit {
    fn add(&mut self, (registry, tainted): (&Registry, TaintedEffects), name: &str, tool: McpTool, names: &mut Names) {
        let (function, own) = (tool.spec().name.clone(), tool.name().to_owned());
        if let Err(first) = names.take(&function, &format!("{name}/{own}")) {
            self.warnings.push(format!("{name}: the tool {own:?} is left out: its name {function} is that of {first}"));
            return;
        }
        let reference = ToolRef::Mcp { server: name.to_owned(), tool: Some(own) };
        self.tools.push(Gate::before(Arc::new(tool), registry.asks(&reference), tainted));
    }

    /// Says which tools the agents name and the servers do not have.
    fn missing(&mut self, agents: &[&Agent]) {
        for agent in agents {
            for reference in &agent.tools {
                let ToolRef::Mcp { server, tool: Some(tool) } = reference else { continue };
                let function = function_name(server, tool);
                if !self.tools.iter().any(|tool| tool.spec().name == function) {
                    let warning = format!("the agent {} goes without {server}/{tool}: it is not there", agent.id);
                    self.warnings.push(warning);
                }
            }
        }
    }

    fn bound(&mut self, agents: &[&Agent]) {
        for agent in agents {
            let offered = named(&agent.tools, &self.tools).len();
            if offered > MAX_OFFERED {
                let warning = format!("the agent {} names {offered} tools: it is offered {MAX_OFFERED}", agent.id);
                self.warnings.push(warning);
            }
        }
    }

    /// Adds the search, over what the agents of the run may use.
    fn searchable(&mut self, agents: &[&Agent], toolbox: &Toolbox, registry: &Registry) {
        let reference = ToolRef::BuiltIn(SEARCH.into());
        if !agents.iter().any(|agent| agent.tools.contains(&reference)) {
            return;
        }
        let mut specs = Vec::new();
        for tool in agents.iter().flat_map(|agent| named(&agent.tools, &self.tools)) {
            if !specs.iter().any(|known: &&crate::llm::ToolSpec| known.name == tool.spec().name) {
                specs.push(tool.spec());
            }
        }
        let mut all: Vec<Arc<dyn SearchSource>> = vec![Arc::new(Offered::new(specs.into_iter()))];
        let calls_apis = agents.iter().any(|agent| agent.tools.contains(&ToolRef::BuiltIn("openapi_action".into())));
        all.extend(toolbox.sources.iter().filter(|source| source.kind() != "openapi" || calls_apis).cloned());
        let search = Arc::new(FindTools::new(all));
        self.tools.push(Gate::before(search, registry.asks(&reference), toolbox.tainted));
    }
}

fn uses(agent: &Agent, server: &str) -> bool {
    agent.tools.iter().any(|tool| matches!(tool, ToolRef::Mcp { server: named, .. } if named == server))
}

/// The tools that `references` name, in their order, as far as they are at hand.
#[must_use]
pub fn named<'a>(references: &[ToolRef], tools: &'a [Arc<dyn Tool>]) -> Vec<&'a Arc<dyn Tool>> {
    at_hand(&references.iter().map(ToolRef::text).collect::<Vec<_>>(), tools)
}

/// The same for references as the file writes them ([`ToolRef::text`]).
#[must_use]
pub(super) fn at_hand<'a>(references: &[String], tools: &'a [Arc<dyn Tool>]) -> Vec<&'a Arc<dyn Tool>> {
    let mut found: Vec<&Arc<dyn Tool>> = Vec::new();
    for reference in references {
        for tool in tools.iter().filter(|tool| names_tool(reference, &tool.spec().name)) {
            if !found.iter().any(|known| Arc::ptr_eq(known, tool)) {
                found.push(tool);
            }
        }
    }
    found.truncate(MAX_OFFERED);
    debug_assert!(found.iter().all(|tool| !tool.spec().name.starts_with(TRANSFER_PREFIX)));
    found
}

/// Whether what the file calls `reference` ([`ToolRef::text`]) is the tool that models call `name`, or one of several.
#[must_use]
pub fn names_tool(reference: &str, name: &str) -> bool {
    let Some(of_server) = reference.strip_prefix("mcp:") else { return reference == name };
    match of_server.split_once('/') {
        Some((server, tool)) => name == function_name(server, tool),
        None => name.strip_prefix(of_server).is_some_and(|rest| rest.starts_with("__")),
    }
}

/// Everybody who may come to speak where one of `from` (agents or pools) begins: through handoffs and pools, each once.
#[must_use]
pub fn reachable<'a>(registry: &'a Registry, from: &[&str]) -> Vec<&'a Agent> {
    let mut waiting: Vec<&str> = from.iter().rev().copied().collect();
    let mut found: Vec<&Agent> = Vec::new();
    while let Some(id) = waiting.pop() {
        if let Some(pool) = registry.pools.get(id) {
            let members = pool.agents.iter().chain(&pool.default).map(String::as_str);
            waiting.extend(members.filter(|member| found.iter().all(|agent| agent.id != **member)));
            continue;
        }
        let Some(agent) = registry.agent(id).filter(|agent| found.iter().all(|known| known.id != agent.id)) else {
            continue;
        };
        found.push(agent);
        waiting.extend(agent.handoffs.iter().rev().map(|target| target.to.as_str()));
    }
    found
}

/// How a server of the file is reached.
#[must_use]
pub fn server_spec(name: &str, server: &McpServer) -> ServerSpec {
    let reach = match &server.url {
        Some(url) => {
            Reach::Http { url: url.clone(), headers: server.headers.clone(), auth_profile: server.auth_profile.clone() }
        }
        None => Reach::Program(Program {
            command: server.command.clone(),
            env: server.env.clone(),
            cwd: server.cwd.clone(),
            memory_mb: server.memory_mb.map(u64::from),
        }),
    };
    ServerSpec {
        name: name.to_owned(),
        reach,
        timeout: Duration::from_secs(server.timeout_secs),
        idle: Duration::from_secs(server.idle_secs.into()),
        pin: server.pin.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_come_to_speak_is_found_once() {
        let file = "agents: [{id: a, handoffs: [b, p]}, {id: b, handoffs: [a]}, {id: c}, {id: d, handoffs: [e]}, {id: e}, {id: f}]\n\
                    pools: {p: {strategy: fallback, agents: [c, d], default: a}}";
        let registry = Registry::parse(file, &Vec::new()).unwrap();
        let rows: [(&[&str], &[&str]); 4] = [
            (&["a"], &["a", "b", "d", "e", "c"]),
            (&["f", "c"], &["f", "c"]),
            (&["p"], &["a", "b", "d", "e", "c"]),
            (&["z"], &[]),
        ];
        for (from, expected) in rows {
            let mut ids: Vec<&str> = reachable(&registry, from).iter().map(|agent| agent.id.as_str()).collect();
            let mut expected = expected.to_vec();
            ids.sort_unstable();
            expected.sort_unstable();
            assert_eq!(ids, expected, "{from:?}");
        }
    }

    #[test]
    fn a_reference_names_its_tools_and_no_others() {
        let rows = [
            ("search_tools", "search_tools", true),
            ("search_tools", "s__search_tools", false),
            ("mcp:s", "s__x", true),
            ("mcp:s", "s", false),
            ("mcp:s", "s-2__x", false),
            ("mcp:s/x", "s__x", true),
            ("mcp:s/x", "s__xy", false),
            ("mcp:s/a.b", "s__a_b", false),
        ];
        for (reference, name, expected) in rows {
            assert_eq!(names_tool(reference, name), expected, "{reference} {name}");
        }
        assert!(names_tool("mcp:s/a.b", &function_name("s", "a.b")));
    }
}
