//! What agents use, and what holds them: tools, MCP servers, approvals, guardrails.

use regex::RegexBuilder;
use serde_json::Value;

use super::{BUILT_IN_TOOLS, Guardrail, Guardrails, McpServer, Rule, ToolRef, fields::Fields};

/// Longest call of an MCP tool where the file says nothing, in seconds.
const MCP_TIMEOUT_SECS: u32 = 60;
/// How long an MCP server stays unused where the file says nothing, in seconds.
const MCP_IDLE_SECS: u32 = 60;
/// Characters of a banned pattern.
const MAX_PATTERN_CHARS: usize = 2000;
/// Bytes of a compiled pattern.
pub(in crate::agents) const MAX_PATTERN_BYTES: usize = 1 << 20;
/// Guardrails of one side.
const MAX_GUARDRAILS: usize = 20;

/// The tools an agent may use, and those of them that wait for approval.
pub(super) fn tools(fields: &mut Fields<'_>) -> (Vec<ToolRef>, Vec<ToolRef>) {
    let (mut tools, mut approvals): (Vec<ToolRef>, Vec<ToolRef>) = (Vec::new(), Vec::new());
    let path = fields.path_of("tools");
    for (i, item) in fields.list("tools").into_iter().enumerate() {
        let entry = match item {
            Value::Object(_) => with_approval(format!("{path}[{i}]"), item, fields.faults()),
            Value::String(name) if name.trim().is_empty() => {
                fields.fault(&format!("tools[{i}]"), "is empty: give it words or leave it out");
                None
            }
            Value::String(name) => Some((name.trim().to_owned(), false)),
            other => {
                let found = super::fields::short(&other);
                fields.fault(&format!("tools[{i}]"), format_args!("must be text, found {found}; put it in quotes"));
                None
            }
        };
        let Some((name, asks)) = entry else { continue };
        match tool(&name) {
            Err(why) => fields.fault("tools", why),
            Ok(tool) => {
                if asks && !approvals.contains(&tool) {
                    approvals.push(tool.clone());
                }
                if !tools.contains(&tool) {
                    tools.push(tool);
                }
            }
        }
    }
    (tools, approvals)
}

/// `{tool: …, approval: required}`.
fn with_approval(path: String, item: Value, faults: &mut Vec<String>) -> Option<(String, bool)> {
    let mut fields = Fields::of(path, item, faults);
    let name = fields.text("tool");
    if name.is_none() {
        fields.fault("tool", "is missing: name the tool");
    }
    let asks = match fields.text("approval").as_deref() {
        None | Some("none") => false,
        Some("required") => true,
        Some(other) => {
            fields.fault("approval", format_args!("must be required or none, found {other:?}"));
            true
        }
    };
    fields.finish();
    Some((name?, asks))
}

fn tool(name: &str) -> Result<ToolRef, String> {
    if let Some(rest) = name.strip_prefix("mcp:") {
        let (server, tool) = rest.split_once('/').map_or((rest, None), |(server, tool)| (server, Some(tool)));
        if server.is_empty() || tool.is_some_and(str::is_empty) {
            return Err(format!("{name:?} must read mcp:<server> or mcp:<server>/<tool>"));
        }
        return Ok(ToolRef::Mcp { server: server.into(), tool: tool.map(str::to_owned) });
    }
    if BUILT_IN_TOOLS.contains(&name) {
        return Ok(ToolRef::BuiltIn(name.to_owned()));
    }
    let known = BUILT_IN_TOOLS.join(", ");
    Err(format!("unknown tool {name:?}; known are {known}, and mcp:<server>/<tool>"))
}

pub(super) fn mcp_server(path: String, value: Value, faults: &mut Vec<String>) -> McpServer {
    let mut fields = Fields::of(path, value, faults);
    let server = McpServer {
        command: fields.texts("command"),
        env: fields.secrets("env"),
        url: fields.text("url"),
        headers: fields.secrets("headers"),
        timeout_secs: fields.count("timeout_secs").unwrap_or(MCP_TIMEOUT_SECS).into(),
        pin: fields.text("pin"),
        approval: fields.texts("approval"),
        cwd: fields.text("cwd"),
        memory_mb: fields.count("memory_mb"),
        auth_profile: fields.text("auth_profile"),
        idle_secs: fields.count_or_zero("idle_secs").unwrap_or(MCP_IDLE_SECS),
    };
    let by_command = !server.command.is_empty();
    match (&server.url, by_command) {
        (None, false) => fields.fault("", "needs `command` (a list: program and arguments) or `url`"),
        (Some(_), true) => fields.fault("", "has both `command` and `url`: keep one"),
        (Some(url), false) if !is_http(url) => {
            fields.fault("url", format_args!("must be an http:// or https:// address, found {url:?}"));
        }
        (Some(_), false) if !server.env.is_empty() => fields.fault("env", "belongs to servers with `command`"),
        (None, true) if !server.headers.is_empty() => fields.fault("headers", "belongs to servers with `url`"),
        _ => {}
    }
    if by_command && server.auth_profile.is_some() {
        fields.fault("auth_profile", "belongs to servers with `url`");
    }
    if !by_command && (server.cwd.is_some() || server.memory_mb.is_some()) {
        fields.fault("", "`cwd` and `memory_mb` belong to servers with `command`");
    }
    if server.pin.as_deref().is_some_and(|pin| !is_pin(pin)) {
        fields.fault("pin", "must read sha256:<64 hex digits>");
    }
    fields.finish();
    server
}

fn is_http(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn is_pin(pin: &str) -> bool {
    pin.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `guardrails: {input: […], output: […]}`.
pub(super) fn guardrails(fields: &mut Fields<'_>) -> Guardrails {
    let path = fields.path_of("guardrails");
    let Some(value) = fields.take("guardrails") else { return Guardrails::default() };
    let mut inner = Fields::of(path, value, fields.faults());
    let guardrails = Guardrails { input: side(&mut inner, "input"), output: side(&mut inner, "output") };
    inner.finish();
    guardrails
}

fn side(fields: &mut Fields<'_>, key: &'static str) -> Vec<Guardrail> {
    let path = fields.path_of(key);
    let items = fields.list(key);
    if items.len() > MAX_GUARDRAILS {
        fields.fault(key, format_args!("has {} guardrails: at most {MAX_GUARDRAILS}", items.len()));
    }
    let read = |(i, item)| guardrail(i, format!("{path}[{i}]"), item, fields.faults());
    items.into_iter().enumerate().filter_map(read).collect()
}

fn guardrail(index: usize, path: String, item: Value, faults: &mut Vec<String>) -> Option<Guardrail> {
    let mut fields = Fields::of(path, item, faults);
    let (pattern, schema) = (fields.text("pattern"), fields.take("schema"));
    let (check, model, name) = (fields.text("check"), fields.text("model"), fields.text("name"));
    let (kind, rule) = match (pattern, schema, check) {
        (Some(pattern), None, None) => {
            if let Some(why) = pattern_fault(&pattern) {
                fields.fault("pattern", why);
            }
            ("pattern", Some(Rule::Pattern(pattern)))
        }
        (None, Some(schema), None) => {
            if let Err(error) = jsonschema::options().build(&schema) {
                fields.fault("schema", format_args!("is no JSON Schema: {error}"));
            }
            ("schema", Some(Rule::Schema(schema)))
        }
        (None, None, Some(rule)) => ("check", Some(Rule::Check { rule, model })),
        _ => {
            fields.fault("", "needs exactly one of `pattern`, `schema` and `check`");
            ("", None)
        }
    };
    fields.finish();
    Some(Guardrail { name: name.unwrap_or_else(|| format!("{kind}-{}", index + 1)), rule: rule? })
}

fn pattern_fault(pattern: &str) -> Option<String> {
    if pattern.is_empty() || pattern.chars().count() > MAX_PATTERN_CHARS {
        return Some(format!("must have 1 to {MAX_PATTERN_CHARS} characters"));
    }
    let compiled = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build();
    compiled.err().map(|error| format!("is no regular expression: {error}"))
}
