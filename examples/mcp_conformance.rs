//! The client of the MCP conformance suite: `make mcp-conformance` starts it with the address of a test server.
//! It lists the server's tools and calls each of them.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc, time::Duration};

use agent_runner::{
    net::{Credentials, Egress},
    settings,
    tools::mcp::{Reach, ServerSpec, Servers},
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
    for tool in lease.list().await?.tools {
        match lease.call(&tool.name, arguments(&tool.schema)).await {
            Ok(said) => println!("{}: {said}", tool.name),
            Err(why) => failed.push(format!("{}: {why}", tool.name)),
        }
    }
    servers.close().await;
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// A number for each number that is asked for.
fn arguments(schema: &Value) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let numbers = properties.filter(|(_, property)| matches!(property["type"].as_str(), Some("number" | "integer")));
    numbers.zip(2..).map(|((name, _), value)| (name.clone(), Value::from(value))).collect()
}
