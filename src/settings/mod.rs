//! Configuration: read once at the start, proved before anything binds, then never changed.

mod check;
pub mod limits;
mod raw;
mod routing;
mod secret;
mod sections;
mod store;
mod tenants;
#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

use serde::Deserialize;
use serde_json::Value;

use crate::job::in_plain_words;
pub use raw::{Env, environment, expand_variables};
pub use routing::{Aggregation, Embeddings, EmbeddingsProvider, Qdrant, Routing};
pub use secret::Secret;
pub use sections::{
    AuthProfile, Breaker, Egress, Http, Intake, Intent, ListIntake, Llm, LlmModel, LogFormat, Network, Orchestrator,
    Patch, Pipeline, PopSide, Price, Provider, Queue, Redis, ResultKind, Results, Retry, RunPatchMode, Service,
    Settings, TaintedEffects, Telemetry, Tiers, Worker, WorkflowPatchMode,
};
pub use store::{ArtifactPlace, S3, Store, StoreBackend};
pub use tenants::{HttpToken, Quota, Quotas, Role};

/// Everything that is wrong with the configuration, one line each, naming the key.
#[derive(Debug, PartialEq, Eq)]
pub struct SettingsError(pub Vec<String>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// Reads `explicit` (or the file found by convention) and the variables, and checks every key.
    pub fn load(explicit: Option<&Path>, env: &Env) -> Result<Self, SettingsError> {
        let path = raw::file(explicit, env);
        let tree = raw::tree(path.as_deref(), env)?;
        let (settings, mut faults) = interpret(tree)?;
        // Checks that a key failed to be read for would only repeat it: its default stands in.
        faults.extend(check::faults(&settings));
        if faults.is_empty() { Ok(settings) } else { Err(SettingsError(faults)) }
    }

    /// The provider after `auto` is resolved.
    #[must_use]
    pub fn provider(&self) -> Provider {
        match self.llm.provider {
            Provider::Auto
                if self.llm.api_key.is_some() || self.llm.base_url.is_some() || !self.llm.models.is_empty() =>
            {
                Provider::Openai
            }
            Provider::Auto => Provider::Rules,
            provider => provider,
        }
    }

    /// The embedder after `auto` is resolved. The servers of `llm.models` are asked for nothing but answers, so with
    /// them alone nobody is named whom texts might be sent to.
    #[must_use]
    pub fn embeddings_provider(&self) -> EmbeddingsProvider {
        let own = self.embeddings.api_key.is_some() || self.embeddings.base_url.is_some();
        let shared = self.llm.api_key.is_some() || self.llm.base_url.is_some();
        match self.embeddings.provider {
            EmbeddingsProvider::Auto if own || (shared && self.provider() == Provider::Openai) => {
                EmbeddingsProvider::Openai
            }
            EmbeddingsProvider::Auto => EmbeddingsProvider::Lexical,
            provider => provider,
        }
    }

    /// Everything that is in force as JSON (which is YAML too), secrets masked.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut tree = serde_json::to_value(self).unwrap_or_default();
        hide_in_addresses(&mut tree);
        serde_json::to_string_pretty(&tree).unwrap_or_default()
    }

    /// Bounds on a message.
    #[must_use]
    pub fn job_limits(&self) -> crate::job::JobLimits {
        crate::job::JobLimits {
            max_job_bytes: self.worker.max_job_bytes,
            max_prompt_bytes: self.worker.max_prompt_bytes,
        }
    }
}

/// Hides what may be a credential in an address: its user and its query.
fn hide_in_addresses(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("://") => {
            if let Ok(mut url) = url::Url::parse(text) {
                let query = url.query().map(|_| "?***").unwrap_or_default();
                let user = if url.username().is_empty() && url.password().is_none() { "" } else { "***@" };
                if query.is_empty() && user.is_empty() {
                    return;
                }
                let _ = (url.set_username(""), url.set_password(None));
                url.set_query(None);
                url.set_fragment(None);
                *text = format!("{}{query}", url.as_str().replacen("://", &format!("://{user}"), 1));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide_in_addresses),
        Value::Object(members) => members.values_mut().for_each(hide_in_addresses),
        _ => {}
    }
}

/// Turns the tree into settings. A value that does not fit is noted and taken out, and the rest is tried
/// again, so that one start shows every fault. Text from a variable is read as what the key needs.
fn interpret(mut tree: Value) -> Result<(Settings, Vec<String>), SettingsError> {
    let mut faults = Vec::new();
    let mut reread = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, Settings>(&tree) {
            Ok(settings) => return Ok((settings, faults)),
            Err(error) => error,
        };
        let path = error.path().to_string();
        let message = error.inner().to_string();
        if let Some(key) = unknown_key(&message) {
            let full = [path.trim_matches('.'), key].into_iter().filter(|part| !part.is_empty() && *part != "?");
            let mut full: Vec<&str> = full.collect();
            if path.ends_with(key) {
                full.truncate(1);
            }
            let full = full.join(".");
            faults.push(unknown_key_fault(&full, key, &message));
            if !remove(&mut tree, &full) {
                return Err(SettingsError(faults));
            }
            continue;
        }
        match find(&mut tree, &path) {
            Some(slot) if slot.is_string() && !reread.contains(&path) => {
                *slot = read_text(slot.as_str().unwrap_or_default(), &message);
                reread.push(path);
            }
            Some(slot) => {
                let plain = in_plain_words(&message);
                let told = reread.contains(&path) || plain.contains(", found ");
                let shown = if told { String::new() } else { format!(", found {slot}") };
                faults.push(fault(&path, &format!("{plain}{shown}")));
                if !remove(&mut tree, &path) {
                    return Err(SettingsError(faults));
                }
            }
            None => {
                faults.push(fault(&path, &in_plain_words(&message)));
                return Err(SettingsError(faults));
            }
        }
    }
}

/// The line about a value that does not fit. A credential that was typed the wrong way is still one: it is not shown.
fn fault(path: &str, what: &str) -> String {
    const SECRET: [&str; 6] =
        ["http.token", "egress.auth_profiles", "orchestrator.headers", "redis.", "store.url", "llm.models"];
    if SECRET.iter().any(|start| path.starts_with(start)) && !path.ends_with("role") && !path.ends_with("_secs")
        || path.ends_with("api_key")
    {
        let what = what.split(", found").next().unwrap_or_default();
        return format!("{path}: {what} (what was found is not shown: it may be a secret; put text in quotes)");
    }
    format!("{path}: {what}")
}

/// The key in serde's "unknown field `x`, expected …".
fn unknown_key(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split_once('`').map(|(key, _)| key)
}

fn unknown_key_fault(full: &str, key: &str, message: &str) -> String {
    let known = message.split('`').skip(3).step_by(2);
    let near = known
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, candidate)) => format!("{full}: unknown key; did you mean `{candidate}`?"),
        None => format!("{full}: unknown key; config.yaml in the repository lists all of them"),
    }
}

/// Text that stands where something else is needed: JSON, or a list separated by commas.
fn read_text(text: &str, message: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if !value.is_string() => value,
        _ if message.contains("expected a sequence") => {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
        }
        _ => text.into(),
    }
}

/// Walks `a.b[0].c`.
fn find<'a>(tree: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    tree.pointer_mut(&pointer(path))
}

fn remove(tree: &mut Value, path: &str) -> bool {
    let pointer = pointer(path);
    let Some((parent, key)) = pointer.rsplit_once('/') else { return false };
    match tree.pointer_mut(parent) {
        Some(Value::Object(members)) => members.shift_remove(key).is_some(),
        Some(Value::Array(items)) => {
            key.parse().ok().filter(|i| *i < items.len()).map(|i: usize| items.remove(i)).is_some()
        }
        _ => false,
    }
}

fn pointer(path: &str) -> String {
    path.split(['.', '['])
        .map(|part| format!("/{}", part.trim_end_matches(']').replace('~', "~0").replace('/', "~1")))
        .collect()
}

/// Reads a section alone, for tests and tools.
pub fn section<T: for<'de> Deserialize<'de>>(value: Value) -> Result<T, serde_json::Error> {
    serde_json::from_value(value)
}
