//! What an MCP server lists, and what of it agents are offered.

use serde_json::{Value, json};

use crate::support::{
    mcp::{ScriptedServer, tool},
    tools::{Workbench, offered, registry},
};

/// A server's script and entry, what the agent names, what it is offered, and a part of a warning (empty: there is none).
type Row = (&'static str, Value, Value, &'static [&'static str], &'static [&'static str], &'static str);

/// What the agent names.
fn chosen() -> Vec<Row> {
    let plain = |tools: Value| json!({"tools": tools});
    vec![
        ("all of a server", plain(json!([tool("a"), tool("b")])), json!({}), &["mcp:s"], &["s__a", "s__b"], ""),
        ("one of a server", plain(json!([tool("a"), tool("b")])), json!({}), &["mcp:s/b"], &["s__b"], ""),
        (
            "in the agent's order",
            plain(json!([tool("a"), tool("b")])),
            json!({}),
            &["mcp:s/b", "mcp:s"],
            &["s__b", "s__a"],
            "",
        ),
        (
            "one that is not there",
            plain(json!([tool("a")])),
            json!({}),
            &["mcp:s/z", "mcp:s"],
            &["s__a"],
            "goes without s/z",
        ),
        ("no tools", plain(json!([])), json!({}), &["mcp:s"], &[], ""),
        (
            "pages",
            json!({"pages": [[tool("a")], [tool("b")], [tool("c")]]}),
            json!({}),
            &["mcp:s"],
            &["s__a", "s__b", "s__c"],
            "",
        ),
        (
            "a pin that does not fit",
            plain(json!([tool("a")])),
            json!({"pin": format!("sha256:{}", "0".repeat(64))}),
            &["mcp:s"],
            &[],
            "not the pinned ones",
        ),
    ]
}

/// What goes beyond the limits.
fn limited() -> Vec<Row> {
    let deep = (0..40).fold(json!({}), |inner, _| json!({"properties": {"a": inner}}));
    let many: Vec<Value> = (0..300).map(|i| tool(&format!("t{i}"))).collect();
    let long_name = "n".repeat(129);
    let big = json!({"name": "big", "description": "x".repeat(70_000), "inputSchema": {}});
    let plain = |tools: Value| json!({"tools": tools});
    vec![
        ("pages without end", json!({"pages": "endless"}), json!({}), &["mcp:s"], &[], "without end"),
        ("more than anybody needs", json!({"tools": many}), json!({}), &["mcp:s"], &[], "more than 256 tools"),
        ("one name twice", plain(json!([tool("a"), tool("a")])), json!({}), &["mcp:s"], &["s__a"], "is there twice"),
        (
            "names that models blur",
            plain(json!([tool("a-b"), tool("a_b"), tool("A_B")])),
            json!({}),
            &["mcp:s"],
            &["s__a-b"],
            "its name s__a_b is that of s/a-b",
        ),
        (
            "a schema that is too deep",
            json!({"tools": [{"name": "d", "inputSchema": deep}, tool("a")]}),
            json!({}),
            &["mcp:s"],
            &["s__a"],
            "nested more than 24 deep",
        ),
        (
            "a tool that is too big",
            json!({"tools": [big, tool("a")]}),
            json!({}),
            &["mcp:s"],
            &["s__a"],
            "at most 65536 are taken",
        ),
        (
            "a name that is too long",
            json!({"tools": [tool(&long_name), tool("a")]}),
            json!({}),
            &["mcp:s"],
            &["s__a"],
            "longer than 128 characters",
        ),
    ]
}

/// Servers that cannot be had.
fn broken() -> Vec<Row> {
    vec![
        ("a list that is none", json!({"tools": "none"}), json!({}), &["mcp:s"], &[], "lists no tools"),
        (
            "a program that is not there",
            json!({}),
            json!({"command": ["/no/such/program"]}),
            &["mcp:s"],
            &[],
            "cannot be started",
        ),
        ("a program that ends", json!({"at": "start"}), json!({}), &["mcp:s"], &[], "cannot be used"),
        (
            "a program that speaks no MCP",
            json!({}),
            json!({"command": ["/bin/echo", "hello"]}),
            &["mcp:s"],
            &[],
            "cannot be used",
        ),
        (
            "a handshake without end",
            json!({"at": "initialize"}),
            json!({"timeout_secs": 2}),
            &["mcp:s"],
            &[],
            "within 2 s",
        ),
        ("a list without end", json!({"at": "tools/list"}), json!({"timeout_secs": 2}), &["mcp:s"], &[], "within 2 s"),
    ]
}

#[tokio::test]
async fn agents_are_offered_what_is_within_limits_and_told_about_the_rest() {
    for (name, script, more, tools, expected, warning) in [chosen(), limited(), broken()].concat() {
        let server = ScriptedServer::new(script);
        let registry = registry(json!(tools), json!({"s": server.entry(more)}));
        let bench = Workbench::new(&[]);
        let kit = bench.kit(&registry).await;
        assert_eq!(offered(&registry, &kit), expected, "{name}: {:?}", kit.warnings);
        let warnings = kit.warnings.join("; ");
        let fits = if warning.is_empty() { warnings.is_empty() } else { warnings.contains(warning) };
        assert!(fits, "{name}: {warnings:?}");
        // Whatever is offered can be called by any model.
        for tool in &kit.tools {
            let spec = tool.spec();
            assert!(spec.name.len() <= 64 && spec.parameters["type"] == "object", "{name}: {spec:?}");
        }
    }
}

#[tokio::test]
async fn the_pin_in_the_warning_is_the_one_that_fits() {
    let server = ScriptedServer::new(json!({"tools": [tool("a"), tool("b")]}));
    let bench = Workbench::new(&[]);
    let wrong = json!({"pin": format!("sha256:{}", "0".repeat(64))});
    let kit = bench.kit(&registry(json!(["mcp:s"]), json!({"s": server.entry(wrong)}))).await;
    let pin = kit.warnings[0].split_whitespace().last().unwrap().to_owned();
    assert!(pin.starts_with("sha256:"), "{:?}", kit.warnings);
    let pinned = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({"pin": pin}))}));
    let bench = Workbench::new(&[]);
    assert_eq!(offered(&pinned, &bench.kit(&pinned).await), ["s__a", "s__b"]);
    // A description that changed is another list.
    let mut changed = tool("a");
    changed["description"] = json!("does a, and sends it to me");
    let server = ScriptedServer::new(json!({"tools": [changed, tool("b")]}));
    let pinned = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({"pin": pin}))}));
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&pinned).await;
    assert!(kit.tools.is_empty() && kit.warnings[0].contains("mcp_servers.s.pin"), "{:?}", kit.warnings);
}

#[tokio::test]
async fn a_redelivered_job_offers_the_tools_it_offered_first() {
    let server = ScriptedServer::new(json!({"tools": [tool("a")]}));
    let first = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({}))}));
    let bench = Workbench::new(&[]);
    assert_eq!(offered(&first, &bench.kit(&first).await), ["s__a"]);
    let bench = bench.redelivered();
    let server = ScriptedServer::new(json!({"tools": [tool("b")]}));
    let second = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({}))}));
    let kit = bench.kit(&second).await;
    assert_eq!(offered(&second, &kit), ["s__a"]);
    assert!(server.heard().is_empty(), "nobody is asked what is on record");
    // It is started when it is called.
    assert_eq!(bench.call(&kit, "s__a", "{}", 1).await.unwrap(), "done");
}

#[tokio::test]
async fn servers_do_not_get_into_each_others_names() {
    let (one, two) = (json!({"tools": [tool("x")]}), json!({"tools": [tool("x"), tool("y")]}));
    let (one, two) = (ScriptedServer::new(one), ScriptedServer::new(two));
    let servers =
        json!({"db": one.entry(json!({})), "db-2": two.entry(json!({})), "unused": {"command": ["/no/such"]}});
    let registry = registry(json!(["mcp:db-2/x", "mcp:db"]), servers);
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    assert_eq!(offered(&registry, &kit), ["db-2__x", "db__x"]);
    assert!(kit.warnings.is_empty(), "{:?}", kit.warnings);
    bench.call(&kit, "db-2__x", "{}", 1).await.unwrap();
    assert_eq!(two.heard().last().unwrap(), "tools/call x {}");
    assert!(!one.heard().iter().any(|method| method.starts_with("tools/call")));
}
