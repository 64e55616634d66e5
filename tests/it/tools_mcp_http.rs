//! MCP servers over streamable HTTP: what they are sent, and what becomes of what they answer.

use agent_runner::settings::{self, AuthProfile};
use serde_json::{Value, json};

use crate::support::{
    mcp::{answer, heard, tool},
    site::{Reply, Site, Visit, endless, reply, silent},
    tools::{Workbench, offered, registry},
};

const JSON: (&str, &str) = ("content-type", "application/json");
const EVENTS: (&str, &str) = ("content-type", "text/event-stream");

/// What servers of the earlier versions are told, and those of the newest.
const OLD: &[&str] =
    &["server/discover", "initialize", "notifications/initialized", "tools/list", "tools/call t {\"k\":1.10}"];
const NEW: &[&str] = &["server/discover", "tools/list", "tools/call t {\"k\":1.10}"];

/// A server that answers as `script` says, in the manner of `how`; `odd` answers a call instead.
async fn site(script: Value, how: &'static str, odd: Option<fn(&Value) -> Reply>) -> Site {
    Site::start(move |visit| {
        if visit.method != "POST" {
            return reply(if visit.method == "DELETE" { 204 } else { 405 }, &[], "");
        }
        let message: Value = serde_json::from_slice(&visit.body).unwrap();
        if let Some(odd) = odd.filter(|_| message["method"] == "tools/call") {
            return odd(&message);
        }
        let Some(answer) = answer(&script, &message) else { return reply(202, &[], "") };
        match how {
            "events" => reply(200, &[EVENTS], format!(": hello\n\nid: 1\ndata: {answer}\n\n")),
            "session" => reply(200, &[JSON, ("mcp-session-id", "s-1")], answer.to_string()),
            _ if answer.get("error").is_some() && message["method"] == "server/discover" => reply(400, &[], "what?"),
            _ => reply(200, &[JSON], answer.to_string()),
        }
    })
    .await
}

fn told(visits: &[Visit]) -> Vec<String> {
    let posts = visits.iter().filter(|visit| visit.method == "POST");
    posts.filter_map(|visit| heard(&serde_json::from_slice(&visit.body).unwrap())).collect()
}

fn entry(site: &Site) -> Value {
    json!({"url": site.url("/mcp"), "timeout_secs": 20, "idle_secs": 0})
}

fn bench(site: &Site) -> Workbench {
    Workbench::new(&[site.address().to_string()])
}

#[tokio::test]
async fn a_server_is_spoken_to_as_the_protocol_wants_it() {
    // (what it speaks, how it answers, what it was told, its version in the header of the call, its session there)
    type Row = (&'static str, &'static str, &'static [&'static str], &'static str, Option<&'static str>);
    let rows: [Row; 5] = [
        ("2025-06-18", "json", OLD, "2025-06-18", None),
        ("2025-11-25", "events", OLD, "2025-11-25", None),
        ("2025-06-18", "session", OLD, "2025-06-18", Some("s-1")),
        ("2026-07-28", "json", NEW, "2026-07-28", None),
        ("2026-07-28", "events", NEW, "2026-07-28", None),
    ];
    for (speaks, how, expected, version, session) in rows {
        let site = site(json!({"speaks": speaks, "tools": [tool("t")]}), how, None).await;
        let mut entry = entry(&site);
        entry["headers"] = json!({"X-Key": "k"});
        let registry = registry(json!(["mcp:s"]), json!({"s": entry}));
        let bench = bench(&site);
        let kit = bench.kit(&registry).await;
        assert_eq!(offered(&registry, &kit), ["s__t"], "{speaks} {how}: {:?}", kit.warnings);
        assert_eq!(bench.call(&kit, "s__t", "{\"k\":1.10}", 1).await.as_deref(), Ok("done"), "{speaks} {how}");
        let visits = site.visits();
        assert_eq!(told(&visits), expected, "{speaks} {how}");
        let call = visits.iter().rfind(|visit| visit.method == "POST").unwrap();
        assert_eq!(call.header("mcp-protocol-version"), Some(version), "{speaks} {how}");
        assert_eq!(call.header("mcp-session-id"), session, "{speaks} {how}");
        assert_eq!(call.header("accept"), Some("application/json, text/event-stream"));
        assert_eq!((call.header("x-key"), call.header("content-type")), (Some("k"), Some("application/json")));
    }
}

#[tokio::test]
async fn a_block_of_content_that_nobody_knows_costs_no_other() {
    let content = json!([{"type": "text", "text": "a"}, {"type": "video", "frames": 1.5}]);
    let called = json!({"t": {"resultType": "complete", "content": content}});
    for (speaks, how) in
        [("2025-06-18", "json"), ("2025-11-25", "events"), ("2026-07-28", "json"), ("2026-07-28", "events")]
    {
        let site = site(json!({"speaks": speaks, "tools": [tool("t")], "calls": called}), how, None).await;
        let registry = registry(json!(["mcp:s"]), json!({"s": entry(&site)}));
        let bench = bench(&site);
        let kit = bench.kit(&registry).await;
        let told = bench.call(&kit, "s__t", "{}", 1).await;
        let want = "a\n[content of the kind \"video\", which is not known: not shown]";
        assert_eq!(told.as_deref(), Ok(want), "{speaks} {how}");
    }
}

#[tokio::test]
async fn what_a_server_answers_wrongly_is_told_to_the_model() {
    type Row = (&'static str, fn(&Value) -> Reply, &'static str);
    let rows: [Row; 9] = [
        ("500", |_| reply(500, &[], "boom"), "answered 500"),
        (
            "500 with words",
            |m| {
                reply(
                    500,
                    &[JSON],
                    json!({"jsonrpc": "2.0", "id": m["id"], "error": {"code": -1, "message": "db down"}}).to_string(),
                )
            },
            "answered 500: db down",
        ),
        ("401", |_| reply(401, &[("www-authenticate", "Bearer")], ""), "uth"),
        ("html", |_| reply(200, &[("content-type", "text/html")], "<html>"), "ontent type"),
        ("no JSON", |_| reply(200, &[JSON], "{"), "tool t"),
        ("empty events", |_| reply(200, &[EVENTS], ""), "tool t"),
        ("a redirect inside", |_| reply(307, &[("location", "http://169.254.169.254/x")], ""), "http_blocked"),
        ("without end", |_| endless(), "tool t"),
        ("without beginning", |_| silent(), "tool t"),
    ];
    for (name, odd, part) in rows {
        let site = site(json!({"tools": [tool("t")]}), "json", Some(odd)).await;
        let mut entry = entry(&site);
        entry["timeout_secs"] = json!(10);
        let registry = registry(json!(["mcp:s"]), json!({"s": entry}));
        let bench = bench(&site);
        let kit = bench.kit(&registry).await;
        let error = bench.call(&kit, "s__t", "{}", 1).await.expect_err(name);
        assert!(error.message.contains(part) && !error.retryable, "{name}: {error}");
        assert!(!error.message.contains("127.0.0.1"), "{name}: the address shows in {error}");
    }
}

#[tokio::test]
async fn the_egress_policy_holds_for_servers_too() {
    let site = site(json!({"tools": [tool("t")]}), "json", None).await;
    let registry = registry(json!(["mcp:s"]), json!({"s": entry(&site)}));
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    assert!(kit.tools.is_empty() && kit.warnings[0].contains("egress.allow"), "{:?}", kit.warnings);
    assert_eq!(site.connections(), 0);
}

#[tokio::test]
async fn a_credential_is_sent_to_its_host_and_to_no_other() {
    let site = site(json!({"tools": [tool("t")]}), "json", None).await;
    let profile =
        |host: String| AuthProfile { hosts: vec![host], bearer: Some("s3cret".into()), ..AuthProfile::default() };
    let mut entry = entry(&site);
    entry["auth_profile"] = json!("p");
    let registry = registry(json!(["mcp:s"]), json!({"s": entry}));
    for (host, fits) in [(format!("http://{}", site.address()), true), ("api.example.com".to_owned(), false)] {
        let egress = settings::Egress {
            allow: vec![site.address().to_string()],
            auth_profiles: [("p".to_owned(), profile(host))].into(),
            ..settings::Egress::default()
        };
        let bench = Workbench::with(&egress);
        let before = site.visits().len();
        let kit = bench.kit(&registry).await;
        assert_eq!(offered(&registry, &kit).len(), usize::from(fits), "{:?}", kit.warnings);
        let visits = site.visits();
        assert!(visits[before..].iter().all(|visit| visit.header("authorization") == Some("Bearer s3cret")));
        assert_eq!(visits.len() > before, fits);
        assert!(!format!("{:?}", kit.warnings).contains("s3cret"));
    }
}
