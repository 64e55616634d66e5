//! What was typed: the YAML file, the environment and `.env`, merged into one tree of values.
//!
//! Later sources win: built-in defaults, the file, the well-known plain variables (`REDIS_URL`, …),
//! `AGENT_RUNNER__SECTION__KEY`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::SettingsError;

/// The prefix of variables that override a key.
const PREFIX: &str = "AGENT_RUNNER__";

/// Plain variables that people already have, and the key each one sets.
const PLAIN: &[(&str, &str)] = &[
    ("REDIS_URL", "redis.url"),
    ("OPENAI_API_KEY", "llm.api_key"),
    ("OPENAI_BASE_URL", "llm.base_url"),
    ("OPENAI_MODEL", "llm.model"),
    ("ORCHESTRATOR_URL", "orchestrator.api_url"),
    ("RUST_LOG", "telemetry.log"),
    ("AGENT_RUNNER_TOKEN", "http.token"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ("OTEL_SERVICE_NAME", "service.name"),
];

/// Variables as the process found them, so that tests need not touch the real environment.
pub type Env = Vec<(String, String)>;

/// The environment with `.env` of the working directory beneath it.
#[must_use]
pub fn environment() -> Env {
    // Reading `.env` without exporting it: what is in it configures us and not our child processes.
    let mut env: Env = dotenvy::dotenv_iter().map(|lines| lines.filter_map(Result::ok).collect()).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    env.extend(
        std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))),
    );
    env
}

/// The file to read: `explicit`, else `AGENT_RUNNER_CONFIG`, else `config.yaml` where there is one.
pub(super) fn file(explicit: Option<&Path>, env: &Env) -> Option<PathBuf> {
    explicit
        .map(Path::to_owned)
        .or_else(|| lookup(env, "AGENT_RUNNER_CONFIG").map(PathBuf::from))
        .or_else(|| Some(PathBuf::from("config.yaml")).filter(|path| path.exists()))
}

/// The last value of `name`, unless it is empty.
fn lookup<'a>(env: &'a Env, name: &str) -> Option<&'a str> {
    env.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// Reads and merges all sources.
pub(super) fn tree(path: Option<&Path>, env: &Env) -> Result<Value, SettingsError> {
    let mut tree = match path {
        Some(path) => read_yaml(path)?,
        None => json!({}),
    };
    let mut errors = Vec::new();
    expand(&mut tree, env, &mut String::new(), &mut errors);
    for (name, key) in PLAIN {
        if let Some(value) = lookup(env, name) {
            set(&mut tree, key.split('.'), value);
        }
    }
    if let Some(port) = lookup(env, "PORT") {
        let bind = tree.pointer("/http/bind").and_then(Value::as_str).unwrap_or("127.0.0.1:8082");
        let host = bind.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
        let bind = format!("{host}:{port}");
        set(&mut tree, ["http", "bind"].into_iter(), &bind);
    }
    for (name, value) in env {
        if let Some(key) = name.strip_prefix(PREFIX) {
            let key = key.to_ascii_lowercase();
            set(&mut tree, key.split("__"), value);
        }
    }
    if errors.is_empty() { Ok(tree) } else { Err(SettingsError(errors)) }
}

fn read_yaml(path: &Path) -> Result<Value, SettingsError> {
    let fail = |what: String| SettingsError(vec![format!("{}: {what}", path.display())]);
    let text = std::fs::read_to_string(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(json!({}));
    }
    config::Config::builder()
        .add_source(config::File::from_str(&text, config::FileFormat::Yaml))
        .build()
        .and_then(config::Config::try_deserialize::<Value>)
        .map_err(|e| fail(format!("is not valid YAML with one mapping at the top: {e}")))
}

/// Puts text at a path of keys, making sections on the way.
fn set<'a>(tree: &mut Value, mut keys: impl Iterator<Item = &'a str>, value: &str) {
    let Some(key) = keys.next() else {
        *tree = value.into();
        return;
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    set(&mut tree[key], keys, value);
}

/// Replaces `${VAR}` and `${VAR:-default}` in every text of `tree`; gives one line for each that is not set.
pub fn expand_variables(tree: &mut Value, env: &Env) -> Vec<String> {
    let mut errors = Vec::new();
    expand(tree, env, &mut String::new(), &mut errors);
    errors
}

/// Replaces `${VAR}` and `${VAR:-default}` in every text.
fn expand(value: &mut Value, env: &Env, path: &mut String, errors: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains("${") => match expand_text(text, env) {
            Ok(expanded) => *text = expanded,
            Err(why) => errors.push(format!("{path}: {why}")),
        },
        Value::Array(items) => {
            for item in items {
                expand(item, env, path, errors);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                let length = path.len();
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                expand(member, env, path, errors);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn expand_text(text: &str, env: &Env) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, tail) = after.split_once('}').ok_or_else(|| format!("`${{` without `}}` in {text:?}"))?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        out.push_str(before);
        out.push_str(
            lookup(env, name)
                .or(default)
                .ok_or_else(|| format!("the variable {name} is not set: set it, or write ${{{name}:-default}}"))?,
        );
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}
