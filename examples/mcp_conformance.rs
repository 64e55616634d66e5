//! The client of the MCP conformance suite: `make mcp-conformance` starts it with the address of a test server.
//! It lists the server's tools and makes the calls that the suite asks for, else one of each tool.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc, time::Duration};

use agent_runner::{
    net::{Credentials, Egress},
    settings,
    tools::mcp::{ListedTool, Reach, ServerSpec, Servers},
};
use serde_json::{Map, Value};

fn main() -> ExitCode {
    let Some(url) = std::env::args().next_back().filter(|last| last.starts_with("http")) else {
        eprintln!("usage: mcp_conformance URL");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(run(url))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(url: String) -> Result<(), String> {
    let host = url.split('/').nth(2).unwrap_or_default().to_owned();
    let egress = settings::Egress { allow: vec![host], ..settings::Egress::default() };
    let servers = Servers::new(Arc::new(Egress::new(&egress, &[])?), Credentials::new(&egress));
    let spec = ServerSpec {
        name: "suite".into(),
        reach: Reach::Http { url, headers: BTreeMap::new(), auth_profile: None },
        timeout: Duration::from_secs(20),
        idle: Duration::ZERO,
        pin: None,
    };
    let lease = servers.lease(&spec);
    let mut failed = Vec::new();
    for (name, arguments) in calls(&lease.list().await?.tools) {
        match lease.call(&name, arguments).await {
            Ok(said) => println!("{name}: {said}"),
            Err(why) => failed.push(format!("{name}: {why}")),
        }
    }
    servers.close().await;
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// What the suite says about a scenario.
fn told(what: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "how the suite tells its client what to do")]
    std::env::var(format!("MCP_CONFORMANCE_{what}")).unwrap_or_default()
}

/// Which calls to make. The tool with a reference to the network is there to be listed only.
fn calls(tools: &[ListedTool]) -> Vec<(String, Map<String, Value>)> {
    if told("SCENARIO") == "json-schema-ref-no-deref" {
        return Vec::new();
    }
    let context: Value = serde_json::from_str(&told("CONTEXT")).unwrap_or_default();
    if let Some(asked) = context["toolCalls"].as_array() {
        let call = |call: &Value| {
            Some((call["name"].as_str()?.to_owned(), call["arguments"].as_object().cloned().unwrap_or_default()))
        };
        return asked.iter().filter_map(call).collect();
    }
    tools.iter().map(|tool| (tool.name.clone(), arguments(tool, tools))).collect()
}

/// A number for each number that is asked for. Where a schema is, that of the tool beside this one: the suite looks whether
/// it comes back as it was listed.
fn arguments(tool: &ListedTool, tools: &[ListedTool]) -> Map<String, Value> {
    let properties = tool.schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    if properties.clone().any(|(name, _)| name == "schema") {
        let other = tools.iter().find(|other| other.name != tool.name).unwrap_or(tool);
        return Map::from_iter([("schema".to_owned(), other.schema.clone())]);
    }
    let numbers = properties.filter(|(_, property)| matches!(property["type"].as_str(), Some("number" | "integer")));
    numbers.zip(2..).map(|((name, _), value)| (name.clone(), Value::from(value))).collect()
}
