//! From YAML to a registry. What does not fit is noted and left out.

use serde_json::{Map, Value};

use super::{
    Agent, HandoffTarget, History, MAX_ID_CHARS, Pool, Registry, Strategy, Tier,
    fields::{Fields, short},
    using::{guardrails, mcp_server, tools},
};
use crate::settings::{Env, expand_variables};

pub(super) fn read(text: &str, env: &Env, faults: &mut Vec<String>) -> Registry {
    let document: Value = match serde_saphyr::from_str(text) {
        Ok(document) => document,
        Err(error) => {
            faults.push(format!("is not valid YAML: {}", error.without_snippet()));
            return Registry::default();
        }
    };
    let mut fields = Fields::of(String::new(), document, faults);
    if !fields.has("agents") {
        fields.fault("agents", "is missing: give a list of agents, or `agents: []`");
    }
    let agents = fields.list("agents").into_iter().enumerate();
    let agents = agents.filter_map(|(i, value)| agent(i, value, fields.faults())).collect();
    let servers = named(fields.mapping("mcp_servers"), "mcp_servers", &mut fields, |path, mut value, faults| {
        let unset = expand_variables(&mut value, env);
        faults.extend(unset.into_iter().map(|why| format!("{path}: {why}")));
        mcp_server(path, value, faults)
    });
    let tiers = named(fields.mapping("tiers"), "tiers", &mut fields, tier_set);
    let pools = named(fields.mapping("pools"), "pools", &mut fields, pool);
    fields.finish();
    Registry { agents, mcp_servers: servers, tiers, pools, hash: String::new() }
}

fn named<T>(
    members: Map<String, Value>,
    key: &str,
    fields: &mut Fields<'_>,
    mut read: impl FnMut(String, Value, &mut Vec<String>) -> T,
) -> indexmap::IndexMap<String, T> {
    let entries = members.into_iter().map(|(name, value)| {
        let path = format!("{key}.{name}");
        if let Some(why) = id_fault(&name) {
            fields.faults().push(format!("{path}: the name {why}"));
        }
        (name, read(path, value, fields.faults()))
    });
    entries.collect()
}

pub(super) fn agent(index: usize, value: Value, faults: &mut Vec<String>) -> Option<Agent> {
    let path = match value.get("id") {
        Some(Value::String(id)) if !id.trim().is_empty() => format!("agents[{}]", id.trim()),
        _ => format!("agents[{index}]"),
    };
    let mut fields = Fields::of(path, value, faults);
    let missing = !fields.has("id");
    let id = fields.text("id").filter(|id| match id_fault(id) {
        None => true,
        Some(why) => {
            fields.fault("id", why);
            false
        }
    });
    if missing {
        fields.fault("id", "is missing: every agent needs one");
    }
    let (tools, approvals) = tools(&mut fields);
    let agent = Agent {
        name: fields.text("name").filter(|name| !name.is_empty()).or_else(|| id.clone()).unwrap_or_default(),
        id: id.clone().unwrap_or_default(),
        description: fields.text("description").unwrap_or_default(),
        tags: tags(&mut fields),
        examples: fields.texts("examples"),
        threshold: fields.number("threshold", -1.0, 1.0),
        instructions: fields.text("instructions").unwrap_or_default(),
        model: fields.text("model").filter(|model| !model.is_empty()),
        temperature: fields.number("temperature", 0.0, 2.0),
        max_tokens: fields.count("max_tokens"),
        tools,
        approvals,
        guardrails: guardrails(&mut fields),
        handoffs: handoffs(&mut fields),
        capabilities: fields.texts("capabilities"),
    };
    fields.finish();
    id.map(|_| agent)
}

/// What breaks the rule for ids and names, if anything.
fn id_fault(id: &str) -> Option<String> {
    if id.is_empty() || !id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')) {
        return Some(format!("must be lower-case letters, digits, _ and - only, found {id:?}"));
    }
    let length = id.chars().count();
    (length > MAX_ID_CHARS).then(|| format!("has {length} characters: at most {MAX_ID_CHARS} are allowed"))
}

fn tags(fields: &mut Fields<'_>) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for tag in fields.texts("tags") {
        let tag = tag.to_lowercase();
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

fn handoffs(fields: &mut Fields<'_>) -> Vec<HandoffTarget> {
    let items = fields.list("handoffs").into_iter().enumerate();
    let path = fields.path_of("handoffs");
    items.filter_map(|(i, item)| handoff(format!("{path}[{i}]"), item, fields.faults())).collect()
}

fn handoff(path: String, value: Value, faults: &mut Vec<String>) -> Option<HandoffTarget> {
    if let Value::String(to) = value {
        let to = to.trim().to_owned();
        return Some(HandoffTarget { to, description: None, history: History::Full, enabled_when: None });
    }
    let mut fields = Fields::of(path, value, faults);
    let to = fields.text("to");
    let history = match fields.text("history").as_deref() {
        None | Some("full") => History::Full,
        Some("no_tools") => History::NoTools,
        Some("last_message") => History::LastMessage,
        Some("summary") => History::Summary,
        Some(other) => {
            let text = format!("must be full, no_tools, last_message or summary, found {other:?}");
            fields.fault("history", text);
            History::Full
        }
    };
    let enabled_when = fields.text("enabled_when");
    if let Some(fault) = enabled_when.as_deref().and_then(crate::settings::limits::expression_fault) {
        fields.fault("enabled_when", fault);
    } else if let Some(Err(error)) = enabled_when.as_deref().map(cel::Program::compile) {
        fields.fault("enabled_when", format_args!("is no CEL expression: {error}"));
    }
    let target = to.map(|to| HandoffTarget { to, description: fields.text("description"), history, enabled_when });
    if target.is_none() {
        fields.fault("to", "is missing: name the agent that takes over");
    }
    fields.finish();
    target
}

fn tier_set(path: String, value: Value, faults: &mut Vec<String>) -> Vec<Tier> {
    let Value::Array(items) = value else {
        faults.push(format!("{path}: must be a list of tiers, found {}", short(&value)));
        return Vec::new();
    };
    if items.is_empty() {
        faults.push(format!("{path}: is empty: give at least one tier"));
    }
    let items = items.into_iter().enumerate();
    let mut tiers: Vec<Tier> = items.filter_map(|(i, item)| tier(format!("{path}[{i}]"), item, faults)).collect();
    tiers.sort_by_key(|tier| tier.level);
    for pair in tiers.windows(2) {
        if pair[0].level == pair[1].level {
            faults.push(format!("{path}: level {} is there twice", pair[0].level));
        }
    }
    tiers
}

fn tier(path: String, value: Value, faults: &mut Vec<String>) -> Option<Tier> {
    let mut fields = Fields::of(path, value, faults);
    if !fields.has("level") {
        fields.fault("level", "is missing: a whole number from 1");
    }
    let level = fields.count("level");
    let tier = Tier {
        level: level.unwrap_or_default(),
        agent: fields.text("agent"),
        model: fields.text("model"),
        temperature: fields.number("temperature", 0.0, 2.0),
        max_tokens: fields.count("max_tokens"),
        instructions: fields.text("instructions"),
    };
    fields.finish();
    level.map(|_| tier)
}

fn pool(path: String, value: Value, faults: &mut Vec<String>) -> Pool {
    let mut fields = Fields::of(path, value, faults);
    let strategy = match fields.text("strategy").as_deref() {
        Some("round_robin") => Strategy::RoundRobin,
        Some("least_loaded") => Strategy::LeastLoaded,
        Some("capability") => Strategy::Capability,
        Some("fallback") => Strategy::Fallback,
        found => {
            let found = found.map_or_else(|| "nothing".into(), |word| format!("{word:?}"));
            let text = format!("must be round_robin, least_loaded, capability or fallback, found {found}");
            fields.fault("strategy", text);
            Strategy::RoundRobin
        }
    };
    let pool = Pool {
        strategy,
        agents: fields.texts("agents"),
        default: fields.text("default"),
        classify: fields.flag("classify"),
    };
    if pool.agents.is_empty() {
        fields.fault("agents", "is empty: name at least one agent");
    }
    if pool.classify && strategy != Strategy::Capability {
        fields.fault("classify", "belongs to pools that choose by capability");
    }
    fields.finish();
    pool
}
