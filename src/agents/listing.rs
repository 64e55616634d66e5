//! The agents as `GET /v1/agents` and `agents list` show them.

use serde::Serialize;

use super::registry::{Registry, Strategy};

/// One agent, without its instructions.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the names are the file's")]
pub struct AgentSummary {
    pub id: String,
    pub name: String,
    pub description: String,
    pub tags: Vec<String>,
    pub examples: usize,
    pub threshold: Option<f64>,
    pub model: Option<String>,
    pub tools: Vec<String>,
    pub handoffs: Vec<String>,
    pub capabilities: Vec<String>,
}

/// One pool.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the names are the file's")]
pub struct PoolSummary {
    pub name: String,
    pub strategy: Strategy,
    pub agents: Vec<String>,
}

/// The whole registry.
#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    /// In the order of the file.
    pub agents: Vec<AgentSummary>,
    /// In the order of the file.
    pub pools: Vec<PoolSummary>,
    /// Names of the tier sets.
    pub tiers: Vec<String>,
    /// Names of the MCP servers.
    pub mcp_servers: Vec<String>,
    /// SHA-256 of the file's text, in hex.
    pub registry_hash: String,
}

/// Everything that may be shown of a registry: no instructions, no commands, no headers.
#[must_use]
pub fn listing(registry: &Registry) -> Listing {
    let agents = registry.agents.iter().map(|agent| AgentSummary {
        id: agent.id.clone(),
        name: agent.name.clone(),
        description: agent.description.clone(),
        tags: agent.tags.clone(),
        examples: agent.examples.len(),
        threshold: agent.threshold,
        model: agent.model.clone(),
        tools: agent.tools.iter().map(super::ToolRef::text).collect(),
        handoffs: agent.handoffs.iter().map(|target| target.to.clone()).collect(),
        capabilities: agent.capabilities.clone(),
    });
    let pools = registry.pools.iter().map(|(name, pool)| PoolSummary {
        name: name.clone(),
        strategy: pool.strategy,
        agents: pool.agents.clone(),
    });
    Listing {
        agents: agents.collect(),
        pools: pools.collect(),
        tiers: registry.tiers.keys().cloned().collect(),
        mcp_servers: registry.mcp_servers.keys().cloned().collect(),
        registry_hash: registry.hash.clone(),
    }
}
