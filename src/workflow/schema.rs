//! What is known about workflows, in one place.
//!
//! The data in `node_types.json` and in `patch.node_types` feeds the check, the prompt, the tool's schema and the
//! documentation, so that none of them can say something else than the others.

use std::{collections::BTreeMap, fmt::Write as _};

use indexmap::IndexMap;
use jsonschema::Validator;
use parking_lot::Mutex;
use rustc_hash::{FxBuildHasher, FxHashMap};
use serde_json::{Map, Value, json};

use super::condition;
use crate::settings::limits;

const BUILT_IN: &str = include_str!("node_types.json");

/// Faults of one config that are reported.
const MAX_CONFIG_FAULTS: usize = 3;

/// One type of nodes.
#[derive(Debug, Clone)]
pub struct NodeType {
    /// What it does, in a few words.
    pub description: String,
    /// JSON Schema of its config.
    pub config: Value,
    /// Members of the config without which it does little; a warning when they are missing.
    pub expected: Vec<String>,
    /// Members of the config that name other nodes.
    pub(super) references: Vec<String>,
    validator: Validator,
}

/// Everything that is known about nodes and edges.
#[derive(Debug)]
pub struct Schema {
    types: IndexMap<String, NodeType, FxBuildHasher>,
    common: Validator,
    common_config: Value,
    edge: Value,
    prompt: String,
    parameters: Value,
    /// Verdicts on conditions: the same ones come with every patch of a workflow, and reading CEL is slow.
    conditions: Mutex<FxHashMap<String, Option<String>>>,
}

/// Most verdicts that are remembered, and the longest condition.
const MAX_REMEMBERED: usize = 4096;
const MAX_REMEMBERED_BYTES: usize = 256;

impl Schema {
    /// The built-in types and those of `patch.node_types`: name to JSON Schema of the config (`null` or `true` for
    /// any; its `description` describes the type). A name that is built in is redefined.
    ///
    /// # Errors
    /// A schema that is none; the message names the key.
    pub fn new(custom: &BTreeMap<String, Value>) -> Result<Self, String> {
        let data: Value = serde_json::from_str(BUILT_IN).map_err(|error| format!("built-in node types: {error}"))?;
        let mut types = IndexMap::default();
        for entry in data["types"].as_array().into_iter().flatten() {
            let name = text(&entry["name"]);
            let expected = entry["expected"].as_array().into_iter().flatten().map(text).collect();
            types.insert(name.clone(), node_type(&name, text(&entry["description"]), &entry["config"], expected)?);
        }
        for (name, schema) in custom {
            if !is_id(name) {
                return Err(format!("patch.node_types.{name}: a type has a name of letters, digits, _ and -"));
            }
            let schema = if schema.is_null() { &Value::Bool(true) } else { schema };
            let described = schema.get("description").map(text).unwrap_or_default();
            types.insert(name.clone(), node_type(name, described, schema, Vec::new())?);
        }
        let common_config = data["common"].clone();
        let mut schema = Self {
            types,
            common: validator(&common_config).map_err(|error| format!("built-in node types: {error}"))?,
            common_config,
            edge: data["edge"].clone(),
            prompt: String::new(),
            parameters: Value::Null,
            conditions: Mutex::default(),
        };
        schema.prompt = schema.write_prompt();
        schema.parameters = schema.write_parameters();
        Ok(schema)
    }

    /// The type of that name.
    #[must_use]
    pub fn node_type(&self, name: &str) -> Option<&NodeType> {
        self.types.get(name)
    }

    /// Names of all types, built-in ones first.
    pub fn type_names(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }

    /// The workflow format for a model's instructions. The same bytes for the same settings, so that the
    /// provider's prompt cache is hit.
    #[must_use]
    pub fn prompt_text(&self) -> &str {
        &self.prompt
    }

    /// JSON Schema of the arguments of `patch_workflow`. Not strict: `value` may be any JSON, which strict
    /// schemas cannot say; `value_json` holds the same as text for servers that insist.
    #[must_use]
    pub fn tool_parameters(&self) -> &Value {
        &self.parameters
    }

    /// The node types as a table, for the documentation.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut table = String::from("| type | what it does | config |\n|---|---|---|\n");
        for (name, node_type) in &self.types {
            let members = members(&node_type.config, "`");
            let _ = writeln!(table, "| `{name}` | {} | {} |", node_type.description, members.join(", "));
        }
        table
    }

    /// What is wrong with a config: (path within the config, message).
    pub(super) fn config_faults(&self, node_type: &NodeType, config: &Value) -> Vec<(Vec<String>, String)> {
        if node_type.validator.is_valid(config) && self.common.is_valid(config) {
            return Vec::new();
        }
        let all = node_type.validator.iter_errors(config).chain(self.common.iter_errors(config));
        let mut faults = Vec::new();
        for fault in all.take(MAX_CONFIG_FAULTS).map(|error| placed(&error)) {
            // A type may say the same of a member as all types do.
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        faults
    }

    /// What is wrong with the condition of an edge.
    pub(super) fn condition_fault(&self, text: &str) -> Option<String> {
        if text.trim().is_empty() {
            return Some("the condition is empty: write one, or leave it out where the edge always holds".to_owned());
        }
        if let Some(known) = self.conditions.lock().get(text) {
            return known.clone();
        }
        let fault = compiled(text).map_or_else(Some, |program| {
            condition::fault(&program).map(|fault| format!("{:?} is no condition: {fault}", shown(text, 80)))
        });
        if text.len() <= MAX_REMEMBERED_BYTES {
            let mut known = self.conditions.lock();
            if known.len() >= MAX_REMEMBERED {
                known.clear();
            }
            known.insert(text.to_owned(), fault.clone());
        }
        fault
    }

    /// What is wrong with the members that every node may have beside its config.
    pub(super) fn node_faults(&self, node: &Value) -> Vec<(Vec<String>, String)> {
        if self.common.is_valid(node) {
            return Vec::new();
        }
        self.common.iter_errors(node).take(MAX_CONFIG_FAULTS).map(|error| placed(&error)).collect()
    }

    fn write_prompt(&self) -> String {
        let mut text = String::from(
            "A workflow is {\"nodes\":[..],\"edges\":[..],\"metadata\":{..}}.\n\
             A node is {\"id\":\"letters, digits, _ or -\",\"type\":\"..\",\"config\":{..}}; ids are unique; config may be absent.\n\
             An edge is {\"from\":\"node id\",\"to\":\"node id\",\"condition\":\"..\"}.\n",
        );
        for member in members(&self.edge, "") {
            let _ = writeln!(text, "- edge {member}");
        }
        text.push_str("Node types and their config:\n");
        for (name, node_type) in &self.types {
            let _ = writeln!(text, "- {name}: {}", node_type.description);
            for member in members(&node_type.config, "") {
                let _ = writeln!(text, "  - {member}");
            }
        }
        text.push_str("Every config may also have:\n");
        for member in members(&self.common_config, "") {
            let _ = writeln!(text, "  - {member}");
        }
        text.push_str(
            "A patch is a list of RFC 6902 operations (add, remove, replace, move, copy, test) on /nodes, /edges and /metadata.\n\
             Name elements by id, never by number: /nodes/id:<node id>/config/.. and /edges/id:<from>-><to>. Append with /nodes/- and /edges/-.\n\
             Change only what was asked. A new node needs an edge from an existing node. When a node is removed, remove its edges first and connect its neighbours where the flow shall go on. A cycle needs a loop node.\n",
        );
        text
    }

    fn write_parameters(&self) -> Value {
        let types: Vec<&str> = self.type_names().collect();
        let value = format!(
            "for add, replace and test: any JSON. A node is {{\"id\",\"type\",\"config\"}} with type one of {}; an edge is {{\"from\",\"to\",\"condition\"}}",
            types.join(", ")
        );
        let operation = json!({
            "type": "object",
            "properties": {
                "op": { "type": "string", "enum": ["add", "remove", "replace", "move", "copy", "test"] },
                "path": { "type": "string", "description": "JSON pointer; id:<node id> or id:<from>-><to> stands for a place in a list, - for its end" },
                "value": { "description": value },
                "value_json": { "type": "string", "description": "the value as JSON text, instead of value" },
                "from": { "type": "string", "description": "for move and copy: where from" }
            },
            "required": ["op", "path"]
        });
        json!({
            "type": "object",
            "properties": {
                "patch_spec": {
                    "type": "object",
                    "properties": {
                        "operations": { "type": "array", "items": operation },
                        "description": { "type": "string", "description": "what the change is for, in one sentence" }
                    },
                    "required": ["operations", "description"]
                },
                "workflow_tag": { "type": "string", "description": "the workflow to change; leave out for the job's own" }
            },
            "required": ["patch_spec"]
        })
    }
}

/// Whether `text` may be the id of a node or the name of a type.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// What is wrong with a CEL expression, or nothing.
fn cel_fault(expression: &str) -> Option<String> {
    compiled(expression).err()
}

fn compiled(expression: &str) -> Result<cel::Program, String> {
    if let Some(fault) = limits::expression_fault(expression) {
        return Err(fault);
    }
    cel::Program::compile(expression).map_err(|error| {
        let error = error.to_string();
        let first = error.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it cannot be read");
        format!("{:?} is no CEL expression: {}", shown(expression, 80), shown(first, 160))
    })
}

fn shown(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

/// The text of a condition: itself, or the `expression` of an object around it.
pub(super) fn condition_text(condition: &Value) -> Option<&str> {
    condition.as_str().or_else(|| condition.get("expression").and_then(Value::as_str))
}

fn node_type(name: &str, description: String, config: &Value, expected: Vec<String>) -> Result<NodeType, String> {
    let validator = validator(config).map_err(|error| format!("patch.node_types.{name}: {error}"))?;
    let properties = config.get("properties").and_then(Value::as_object).into_iter().flatten();
    let naming = properties.filter(|(_, schema)| schema.get("node") == Some(&Value::Bool(true)));
    let references = naming.map(|(name, _)| name.clone()).collect();
    Ok(NodeType { description, config: config.clone(), expected, references, validator })
}

fn validator(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_format("cel", |text: &str| cel_fault(text).is_none())
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| format!("no JSON Schema: {error}"))
}

fn placed(error: &jsonschema::ValidationError<'_>) -> (Vec<String>, String) {
    let path = error.instance_path().to_string();
    let within = path.split('/').skip(1).map(str::to_owned).collect();
    let mut message: String = error.to_string();
    if message.len() > 300 {
        message = message.chars().take(300).chain(['…']).collect();
    }
    (within, message)
}

/// `name (type): description` of each property.
fn members(schema: &Value, quote: &str) -> Vec<String> {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required = schema.get("required").and_then(Value::as_array);
    let describe = |(name, property): (&String, &Value)| {
        let kind = match &property["type"] {
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
            _ if property["format"] == "cel" => "CEL".to_owned(),
            _ => "any".to_owned(),
        };
        let needed = required.is_some_and(|names| names.iter().any(|needed| needed == name));
        let needed = if needed { ", required" } else { "" };
        let description = property.get("description").map(text).map_or(String::new(), |text| format!(": {text}"));
        format!("{quote}{name}{quote} ({kind}{needed}){description}")
    };
    properties.iter().map(describe).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
