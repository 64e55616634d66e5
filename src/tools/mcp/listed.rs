//! The tools a server lists: within limits, under names that models can call, and with a hash to pin them by.

use rmcp::model::Tool as Offered;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::tools::function_name;

/// Tools of one server.
pub(super) const MAX_TOOLS: usize = 256;
/// Bytes of one tool's description and schema.
const MAX_TOOL_BYTES: usize = 64 << 10;
/// Levels of a schema.
const MAX_DEPTH: usize = 24;
/// Characters of a name.
const MAX_NAME_CHARS: usize = 128;
/// Characters of a description that a model sees.
const SHOWN_CHARS: usize = 2000;

/// One tool of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedTool {
    /// As the server calls it.
    pub name: String,
    /// As a model calls it.
    pub function: String,
    /// What it does, by the server's words.
    pub description: String,
    /// Of its arguments.
    pub schema: Value,
    /// The server says that it changes nothing.
    pub reads: bool,
    /// The server says that a second call with the same arguments changes nothing.
    pub repeats: bool,
    /// The server says that a call changes something.
    #[serde(default)]
    pub changes: bool,
}

/// What a server lists.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// In the server's order.
    pub tools: Vec<ListedTool>,
    /// Why some of its tools are not among them.
    pub left_out: Vec<String>,
    /// `sha256:<hex>` of the whole list, whatever was left out.
    pub hash: String,
}

impl Listed {
    /// Reads a server's list.
    pub(super) fn read(server: &str, offered: &[Offered]) -> Self {
        let mut listed = Self { hash: hash(offered), ..Self::default() };
        let mut seen = FxHashSet::default();
        for tool in offered {
            match read(server, tool) {
                Ok(tool) if seen.insert(tool.name.clone()) => listed.tools.push(tool),
                Ok(tool) => listed.left_out.push(format!("{server}: the tool {:?} is there twice", tool.name)),
                Err(why) => listed.left_out.push(format!("{server}: a tool is left out: {why}")),
            }
        }
        listed
    }

    /// Whether the list is the one that was pinned.
    pub(super) fn fits(&self, server: &str, pin: Option<&str>) -> Result<(), String> {
        match pin {
            Some(pin) if !pin.eq_ignore_ascii_case(&self.hash) => Err(format!(
                "the tools of the MCP server {server} are not the pinned ones: look at them with `agent-runner agents \
                 tools`, and where they are good set mcp_servers.{server}.pin to {}",
                self.hash
            )),
            _ => Ok(()),
        }
    }
}

fn read(server: &str, tool: &Offered) -> Result<ListedTool, String> {
    let name = tool.name.as_ref();
    let shown: String = name.chars().take(60).collect();
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(format!("its name {shown:?} is empty, longer than {MAX_NAME_CHARS} characters, or not printable"));
    }
    let schema = Value::Object(tool.input_schema.as_ref().clone());
    let description = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
    let bytes = schema.to_string().len() + description.len();
    if bytes > MAX_TOOL_BYTES {
        return Err(format!(
            "{shown:?} has {bytes} bytes of description and schema, at most {MAX_TOOL_BYTES} are taken"
        ));
    }
    if is_deeper(&schema, MAX_DEPTH) {
        return Err(format!("the schema of {shown:?} is nested more than {MAX_DEPTH} deep"));
    }
    let hints = tool.annotations.as_ref();
    Ok(ListedTool {
        name: name.to_owned(),
        function: function_name(server, name),
        description: description.chars().take(SHOWN_CHARS).collect(),
        schema: with_type(schema),
        reads: hints.and_then(|hints| hints.read_only_hint).unwrap_or(false),
        repeats: hints.and_then(|hints| hints.idempotent_hint).unwrap_or(false),
        changes: hints.is_some_and(|hints| hints.read_only_hint == Some(false) || hints.destructive_hint == Some(true)),
    })
}

/// Model servers refuse parameters that do not say they are an object.
fn with_type(mut schema: Value) -> Value {
    if let Value::Object(members) = &mut schema {
        if members.get("type").and_then(Value::as_str) != Some("object") {
            members.insert("type".into(), "object".into());
        }
        members.entry("properties").or_insert_with(|| json!({}));
    }
    schema
}

fn is_deeper(value: &Value, most: usize) -> bool {
    let Some(left) = most.checked_sub(1) else { return true };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, left)),
        Value::Object(members) => members.values().any(|member| is_deeper(member, left)),
        _ => false,
    }
}

/// Of everything that could mislead a model, in an order that does not depend on the server's.
fn hash(offered: &[Offered]) -> String {
    let mut tools: Vec<String> = offered
        .iter()
        .map(|tool| {
            let whole = serde_json::to_value(tool).unwrap_or_default();
            let members = ["name", "title", "description", "inputSchema", "outputSchema", "annotations"];
            let kept = members.iter().filter_map(|key| Some(((*key).to_owned(), whole.get(*key)?.clone())));
            canonical(&Value::Object(kept.collect::<Map<_, _>>()))
        })
        .collect();
    tools.sort_unstable();
    let digest = Sha256::digest(format!("[{}]", tools.join(",")));
    format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// JSON with its members in order and without spaces.
fn canonical(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            let members =
                members.iter().map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(text: &str) -> Vec<Offered> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_list_keeps_what_is_within_limits() {
        let deep = (0..30).fold("{}".to_owned(), |inner, _| format!("{{\"properties\":{{\"a\":{inner}}}}}"));
        let long = "x".repeat(70_000);
        let rows = [
            (r#"[{"name":"q","inputSchema":{"type":"object"}}]"#.to_owned(), vec!["db__q"], 0),
            (r#"[{"name":"q","inputSchema":{}}, {"name":"q","inputSchema":{}}]"#.into(), vec!["db__q"], 1),
            (r#"[{"name":"","inputSchema":{}}, {"name":"a b","inputSchema":{}}]"#.into(), vec!["db__a_b_"], 1),
            (format!(r#"[{{"name":"q","inputSchema":{deep}}}]"#), vec![], 1),
            (format!(r#"[{{"name":"q","description":"{long}","inputSchema":{{}}}}]"#), vec![], 1),
            (format!(r#"[{{"name":"{}","inputSchema":{{}}}}]"#, "n".repeat(129)), vec![], 1),
        ];
        for (text, expected, left_out) in rows {
            let listed = Listed::read("db", &tools(&text));
            let names: Vec<&str> = listed.tools.iter().map(|tool| tool.function.as_str()).collect();
            assert_eq!(names.len(), expected.len(), "{names:?}");
            assert!(names.iter().zip(&expected).all(|(name, begin)| name.starts_with(begin)), "{names:?}");
            assert_eq!(listed.left_out.len(), left_out, "{:?}", listed.left_out);
        }
    }

    #[test]
    fn the_hash_knows_every_change_and_no_order() {
        let plain = r#"[{"name":"a","description":"x","inputSchema":{"type":"object","required":["k"]}},{"name":"b","inputSchema":{}}]"#;
        let same = r#"[{"name":"b","inputSchema":{}},{"inputSchema":{"required":["k"],"type":"object"},"name":"a","description":"x"}]"#;
        let of = |text: &str| Listed::read("db", &tools(text)).hash;
        assert_eq!(of(plain), of(same));
        for changed in
            [plain.replace("\"x\"", "\"y\""), plain.replace("[\"k\"]", "[]"), plain.replace("\"b\"", "\"c\"")]
        {
            assert_ne!(of(plain), of(&changed), "{changed}");
        }
        let listed = Listed::read("db", &tools(plain));
        assert_eq!(listed.fits("db", None), Ok(()));
        assert_eq!(listed.fits("db", Some(&listed.hash.to_uppercase().replace("SHA", "sha"))), Ok(()));
        assert!(listed.fits("db", Some("sha256:00")).unwrap_err().contains(&listed.hash));
    }
}
