//! The agents of one `agents.yaml`, read and proved as a whole.

mod check;
mod fields;
mod live;
mod read;
#[cfg(test)]
mod tests;
mod using;

use std::{collections::BTreeMap, fmt, path::Path};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use live::LiveRegistry;
pub(in crate::agents) use using::MAX_PATTERN_BYTES;

use crate::settings::{Env, Secret};

/// Longest id of an agent, in characters: `transfer_to_<id>` must fit the 64 that tool names may have.
pub const MAX_ID_CHARS: usize = 48;
/// Begins the name of every transfer tool.
pub const TRANSFER_PREFIX: &str = "transfer_to_";
/// The tools that need no server.
pub const BUILT_IN_TOOLS: [&str; 5] =
    ["execute_pipeline", "patch_workflow", "search_tools", "openapi_action", "delegate_to_agent"];

/// Everything that is wrong with an agents file, one line each, naming the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct RegistryError(pub Vec<String>);

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// How much of the conversation goes along with a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// All of it.
    #[default]
    Full,
    /// Without tool calls and their results.
    NoTools,
    /// The user's last message and the message of the transfer.
    LastMessage,
    /// A summary by the model, bounded.
    Summary,
}

/// An agent or pool that an agent may pass control to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HandoffTarget {
    /// Id of an agent, or name of a pool.
    pub to: String,
    /// When to pass control there, in words for the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What goes along.
    pub history: History,
    /// A CEL expression over the job; the transfer is offered where it is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled_when: Option<String>,
}

/// A tool an agent may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolRef {
    /// One of [`BUILT_IN_TOOLS`].
    BuiltIn(String),
    /// All tools of an MCP server, or one of them.
    Mcp {
        /// Name under `mcp_servers`.
        server: String,
        /// One tool; all where absent.
        tool: Option<String>,
    },
}

impl ToolRef {
    /// As it is written in the file.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::BuiltIn(name) => name.clone(),
            Self::Mcp { server, tool: None } => format!("mcp:{server}"),
            Self::Mcp { server, tool: Some(tool) } => format!("mcp:{server}/{tool}"),
        }
    }
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agent {
    /// `[a-z0-9_-]+`, at most [`MAX_ID_CHARS`], unique.
    pub id: String,
    /// For people; the id where none is given.
    pub name: String,
    /// What routing reads; may be empty.
    pub description: String,
    /// In lower case, each once.
    pub tags: Vec<String>,
    /// Sentences that belong to this agent.
    pub examples: Vec<String>,
    /// Least score for being chosen, -1 to 1.
    pub threshold: Option<f64>,
    /// Its system message.
    pub instructions: String,
    /// The configured default where absent.
    pub model: Option<String>,
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// Longest answer, in tokens.
    pub max_tokens: Option<u32>,
    /// What it may use.
    pub tools: Vec<ToolRef>,
    /// Those of them whose every call waits for approval.
    pub approvals: Vec<ToolRef>,
    /// What is checked before and after it speaks.
    pub guardrails: Guardrails,
    /// Whom it may pass control to.
    pub handoffs: Vec<HandoffTarget>,
    /// For pools that choose by capability.
    pub capabilities: Vec<String>,
}

/// What is checked before an agent speaks, and what it said.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Guardrails {
    /// Over what it is asked.
    pub input: Vec<Guardrail>,
    /// Over what it answers.
    pub output: Vec<Guardrail>,
}

/// One check. A text that fails it ends the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guardrail {
    /// Of people's choice, else its kind and place.
    pub name: String,
    /// What is checked.
    pub rule: Rule,
}

/// What a guardrail checks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A regular expression that must not match anywhere.
    Pattern(String),
    /// A JSON Schema that the text, read as JSON, must fit.
    Schema(serde_json::Value),
    /// A rule in words, which a model applies.
    Check {
        /// The rule.
        rule: String,
        /// Who applies it; the configured default where absent.
        model: Option<String>,
    },
}

/// How to reach an MCP server: either `command` or `url` is set.
#[derive(Debug, Clone, Serialize)]
pub struct McpServer {
    /// Program and arguments of a server that speaks over standard input and output.
    pub command: Vec<String>,
    /// Variables of that program; nothing else of our environment reaches it.
    pub env: BTreeMap<String, Secret>,
    /// Address of a server that speaks streamable HTTP.
    pub url: Option<String>,
    /// Headers of each request to it.
    pub headers: BTreeMap<String, Secret>,
    /// Longest call, in seconds.
    pub timeout_secs: u64,
    /// `sha256:<hex>` of the tool list; another list is refused.
    pub pin: Option<String>,
    /// Tools that wait for approval before each call.
    pub approval: Vec<String>,
    /// Where the program runs; where this process runs, if absent.
    pub cwd: Option<String>,
    /// Address space of the program in MiB, at most.
    pub memory_mb: Option<u32>,
    /// One of `egress.auth_profiles`, for a server with `url`.
    pub auth_profile: Option<String>,
    /// How long it stays when no run needs it, in seconds.
    pub idle_secs: u32,
}

/// One level of escalation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tier {
    /// From 1; gaps are allowed.
    pub level: u32,
    /// The agent that does the work of this level; none: the model alone.
    pub agent: Option<String>,
    /// The configured default where absent.
    pub model: Option<String>,
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// Longest answer, in tokens.
    pub max_tokens: Option<u32>,
    /// Its system message.
    pub instructions: Option<String>,
}

impl Tier {
    /// A tier without any settings of its own.
    #[must_use]
    pub fn plain(level: u32) -> Self {
        Self { level, agent: None, model: None, temperature: None, max_tokens: None, instructions: None }
    }
}

/// How a pool chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One after the other, over the whole fleet.
    RoundRobin,
    /// The one with the fewest calls in flight.
    LeastLoaded,
    /// The one that has the capability asked for.
    Capability,
    /// The first, and when it fails the next.
    Fallback,
}

/// A group of agents of which one does the work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pool {
    /// How it chooses.
    pub strategy: Strategy,
    /// Ids, in order of preference; at least one.
    pub agents: Vec<String>,
    /// Who takes what fits nobody.
    pub default: Option<String>,
    /// By capability: the model is asked where the prompt's words name none.
    pub classify: bool,
}

impl Strategy {
    /// The word in the file and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastLoaded => "least_loaded",
            Self::Capability => "capability",
            Self::Fallback => "fallback",
        }
    }
}

/// A whole agents file.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Registry {
    /// In the order of the file, which decides ties.
    pub agents: Vec<Agent>,
    /// By name.
    pub mcp_servers: IndexMap<String, McpServer>,
    /// Sets of tiers by name, each by ascending level.
    pub tiers: IndexMap<String, Vec<Tier>>,
    /// By name.
    pub pools: IndexMap<String, Pool>,
    /// SHA-256 of the file's text, in hex: tells one state of the registry from another.
    pub hash: String,
}

impl Registry {
    /// Reads and proves `text`. `${VAR}` is replaced from `env` under `mcp_servers` only: instructions may
    /// well hold such text.
    ///
    /// # Errors
    /// Every fault of the file at once, unless it is no YAML at all.
    pub fn parse(text: &str, env: &Env) -> Result<Self, RegistryError> {
        let mut faults = Vec::new();
        let mut registry = read::read(text, env, &mut faults);
        check::check(&registry, &mut faults);
        registry.hash = hex(&Sha256::digest(text.as_bytes()));
        if faults.is_empty() { Ok(registry) } else { Err(RegistryError(faults)) }
    }

    /// Reads and proves the file at `path`.
    ///
    /// # Errors
    /// As [`Registry::parse`], or that the file cannot be read.
    pub fn load(path: &Path, env: &Env) -> Result<Self, RegistryError> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|e| RegistryError(vec![format!("{shown}: the agents file cannot be read: {e}")]))?;
        Self::parse(&text, env)
            .map_err(|error| RegistryError(error.0.into_iter().map(|fault| format!("{shown}: {fault}")).collect()))
    }

    /// Reads one agent that is in no file, such as the entry of a collection, and proves it against this registry: its
    /// tools' servers are these. Whom it would pass control to counts for nothing, since it comes to speak by itself.
    ///
    /// # Errors
    /// Every fault of the entry.
    pub fn prove(&self, entry: &serde_json::Value) -> Result<Agent, RegistryError> {
        let mut faults = Vec::new();
        let agent = read::agent(0, entry.clone(), &mut faults).map(|agent| Agent { handoffs: Vec::new(), ..agent });
        if let Some(agent) = &agent {
            check::tools(self, agent, &mut faults);
        }
        agent.filter(|_| faults.is_empty()).ok_or(RegistryError(faults))
    }

    /// This registry with one agent more.
    #[must_use]
    pub fn with(&self, agent: Agent) -> Self {
        let mut more = self.clone();
        more.agents.push(agent);
        more
    }

    /// The entries of the agents in `text`, as they stand there and in their order.
    ///
    /// # Errors
    /// When it is no YAML.
    pub fn entries(text: &str) -> Result<Vec<serde_json::Value>, RegistryError> {
        let document: serde_json::Value = serde_saphyr::from_str(text)
            .map_err(|error| RegistryError(vec![format!("is not valid YAML: {}", error.without_snippet())]))?;
        Ok(document.get("agents").and_then(|agents| agents.as_array()).cloned().unwrap_or_default())
    }

    /// The agent called `id`.
    #[must_use]
    pub fn agent(&self, id: &str) -> Option<&Agent> {
        self.agents.iter().find(|agent| agent.id == id)
    }

    /// Whether calls of a tool wait for approval: where any agent of the file says so, or its server, since what a call
    /// does is the same whoever makes it.
    #[must_use]
    pub fn asks(&self, tool: &ToolRef) -> bool {
        let by_server = match tool {
            ToolRef::Mcp { server, tool: Some(tool) } => {
                self.mcp_servers.get(server).is_some_and(|server| server.approval.contains(tool))
            }
            _ => false,
        };
        let named = |named: &ToolRef| match (named, tool) {
            (ToolRef::Mcp { server, tool: None }, ToolRef::Mcp { server: of, .. }) => server == of,
            (named, tool) => named == tool,
        };
        by_server || self.agents.iter().flat_map(|agent| &agent.approvals).any(named)
    }

    /// Every tag that some agent has, each once, in the order of the file.
    #[must_use]
    pub fn tags(&self) -> Vec<&str> {
        let mut seen = rustc_hash::FxHashSet::default();
        self.agents.iter().flat_map(|agent| &agent.tags).map(String::as_str).filter(|tag| seen.insert(*tag)).collect()
    }
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
