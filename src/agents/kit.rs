//! What the agents of one run may use: built-in tools, tools of MCP servers as they are now, each behind its gate.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};

use super::registry::{McpServer, Registry, TRANSFER_PREFIX, ToolRef};
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

/// What all runs of the process share.
pub struct Toolbox {
    /// The MCP servers.
    pub servers: Arc<Servers>,
    /// What `search_tools` looks through beside the tools on offer.
    pub sources: Vec<Arc<dyn SearchSource>>,
    /// What becomes of calls with consequences, once a run has read outside data.
    pub tainted: TaintedEffects,
}

/// The tools of one run. A server is asked for its tools when the first agent that names it takes its seat; from then on
/// its list stays for the run.
#[derive(Clone, Default)]
pub struct Kit {
    run: Arc<Run>,
    /// Beside what everybody in the run may name.
    more: Vec<Arc<dyn Tool>>,
}

/// What everybody in the run shares.
#[derive(Default)]
struct Run {
    toolbox: Option<Arc<Toolbox>>,
    registry: Arc<Registry>,
    had: Mutex<Had>,
}

impl Run {
    /// What becomes of calls with consequences once the run has read outside data.
    fn tainted(&self) -> TaintedEffects {
        self.toolbox.as_ref().map_or(TaintedEffects::Approve, |toolbox| toolbox.tainted)
    }
}

/// What was brought in so far.
#[derive(Default)]
struct Had {
    tools: Vec<Arc<dyn Tool>>,
    names: Names,
    servers: FxHashSet<String>,
    /// The search of those who were seated, by what they may use.
    searches: FxHashMap<Vec<String>, Arc<dyn Tool>>,
    /// Whose warnings were told.
    told: FxHashSet<String>,
}

impl Toolbox {
    /// The tools of a run, `built_ins` among them. No server is asked yet.
    #[must_use]
    pub fn kit(self: &Arc<Self>, registry: &Arc<Registry>, built_ins: &[Arc<dyn Tool>]) -> Kit {
        let mut had = Had::default();
        for tool in built_ins {
            let name = tool.spec().name.clone();
            let _ = had.names.take(&name, &name);
            had.tools.push(Gate::before(tool.clone(), registry.asks(&ToolRef::BuiltIn(name)), self.tainted));
        }
        let (toolbox, registry) = (Some(self.clone()), registry.clone());
        Kit { run: Arc::new(Run { toolbox, registry, had: Mutex::new(had) }), more: Vec::new() }
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
        // One list for the run, whoever is seated first.
        let step = format!("mcp:{name}");
        let listed: Result<Listed, String> = context.journal.step(&step, context.meter, list).await?;
        let tools = listed.iter().flat_map(|listed| &listed.tools);
        let tools = tools.map(|tool| McpTool::new(tool.clone(), lease.clone())).collect();
        Ok((listed, tools))
    }
}

impl Kit {
    /// These tools as they are, and no servers.
    #[must_use]
    pub fn of(tools: Vec<Arc<dyn Tool>>) -> Self {
        Self { run: Arc::default(), more: tools }
    }

    /// The same run with one more tool, behind its gate.
    #[must_use]
    pub fn with(&self, tool: Arc<dyn Tool>) -> Self {
        let name = &tool.spec().name;
        let mut more: Vec<Arc<dyn Tool>> = self.more.iter().filter(|one| one.spec().name != *name).cloned().collect();
        let asks = self.run.registry.asks(&ToolRef::BuiltIn(name.clone()));
        more.push(Gate::before(tool, asks, self.run.tainted()));
        Self { run: self.run.clone(), more }
    }

    /// Brings in what an agent names ([`ToolRef::text`]) and the run does not have yet, and gives what is to be said
    /// about it, once. Which tools a server has goes on record: a redelivered job offers the same. A server that cannot
    /// be had costs its tools, not the run.
    ///
    /// # Errors
    /// `internal` when the journal fails.
    pub async fn seat(
        &self,
        agent: &str,
        references: &[String],
        context: &ToolContext<'_>,
    ) -> Result<Vec<String>, JobError> {
        let Some(toolbox) = &self.run.toolbox else { return Ok(Vec::new()) };
        let mut warnings = Vec::new();
        let missing: Vec<(&String, &McpServer)> = {
            let had = self.run.had.lock();
            let servers = self.run.registry.mcp_servers.iter();
            servers.filter(|(name, _)| !had.servers.contains(*name) && uses(references, name)).collect()
        };
        let opened = join_all(missing.iter().map(|(name, server)| toolbox.server(name, server, context))).await;
        for ((name, _), opened) in missing.into_iter().zip(opened) {
            let (listed, tools) = opened?;
            match listed {
                Ok(listed) => warnings.extend(listed.left_out),
                Err(why) => warnings.push(why),
            }
            self.add(name, tools, &mut warnings);
        }
        if self.run.had.lock().told.insert(agent.to_owned()) {
            self.judge(agent, references, &mut warnings);
        }
        self.search(references, &toolbox.sources);
        Ok(warnings)
    }

    fn add(&self, server: &str, tools: Vec<McpTool>, warnings: &mut Vec<String>) {
        let mut had = self.run.had.lock();
        if !had.servers.insert(server.to_owned()) {
            return;
        }
        for tool in tools {
            let (function, own) = (tool.spec().name.clone(), tool.name().to_owned());
            if let Err(first) = had.names.take(&function, &format!("{server}/{own}")) {
                let what = format!("{server}: the tool {own:?} is left out: its name {function} is that of {first}");
                warnings.push(what);
                continue;
            }
            let reference = ToolRef::Mcp { server: server.to_owned(), tool: Some(own) };
            had.tools.push(Gate::before(Arc::new(tool), self.run.registry.asks(&reference), self.run.tainted()));
        }
    }

    /// Says which tools the agent names and the servers do not have, and that it names too many.
    fn judge(&self, agent: &str, references: &[String], warnings: &mut Vec<String>) {
        let tools = self.tools();
        for reference in references {
            let Some((server, tool)) = reference.strip_prefix("mcp:").and_then(|of| of.split_once('/')) else {
                continue;
            };
            let function = function_name(server, tool);
            if !tools.iter().any(|tool| tool.spec().name == function) {
                warnings.push(format!("the agent {agent} goes without {server}/{tool}: it is not there"));
            }
        }
        let named = all_named(references, &tools).len();
        if named > MAX_OFFERED {
            warnings.push(format!("the agent {agent} names {named} tools: it is offered {MAX_OFFERED}"));
        }
    }

    /// Makes the search over what may be used by whoever names these tools.
    fn search(&self, references: &[String], sources: &[Arc<dyn SearchSource>]) {
        let may = |name: &str| references.iter().any(|reference| reference == name);
        if !may(SEARCH) || self.run.had.lock().searches.contains_key(references) {
            return;
        }
        let own = self.offered(references);
        let mut all: Vec<Arc<dyn SearchSource>> = vec![Arc::new(Offered::new(own.iter().map(|tool| tool.spec())))];
        all.extend(sources.iter().filter(|source| source.called_with().is_none_or(may)).cloned());
        let asks = self.run.registry.asks(&ToolRef::BuiltIn(SEARCH.into()));
        let search = Gate::before(Arc::new(FindTools::new(all)), asks, self.run.tainted());
        self.run.had.lock().searches.insert(references.to_vec(), search);
    }

    /// Everything that was brought in so far.
    fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let had = self.run.had.lock();
        had.tools.iter().chain(&self.more).cloned().collect()
    }

    /// The tools that `references` name ([`ToolRef::text`]), in their order, as far as they are at hand.
    #[must_use]
    pub fn offered(&self, references: &[String]) -> Vec<Arc<dyn Tool>> {
        let mut tools = self.tools();
        tools.extend(self.run.had.lock().searches.get(references).cloned());
        let mut found = all_named(references, &tools);
        found.truncate(MAX_OFFERED);
        debug_assert!(found.iter().all(|tool| !tool.spec().name.starts_with(TRANSFER_PREFIX)));
        found
    }
}

fn uses(references: &[String], server: &str) -> bool {
    let of = |reference: &String| {
        let of_server = reference.strip_prefix("mcp:")?;
        Some(of_server.split_once('/').map_or(of_server, |(server, _)| server) == server)
    };
    references.iter().any(|reference| of(reference).unwrap_or(false))
}

fn all_named(references: &[String], tools: &[Arc<dyn Tool>]) -> Vec<Arc<dyn Tool>> {
    let mut found: Vec<Arc<dyn Tool>> = Vec::new();
    for reference in references {
        for tool in tools.iter().filter(|tool| names_tool(reference, &tool.spec().name)) {
            if !found.iter().any(|known| Arc::ptr_eq(known, tool)) {
                found.push(tool.clone());
            }
        }
    }
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
