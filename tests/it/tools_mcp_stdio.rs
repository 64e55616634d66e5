//! MCP servers that are child processes, well-behaved and not.

use serde_json::{Value, json};

use crate::support::{
    mcp::{OLD_HANDSHAKE, ScriptedServer, tool},
    tools::{Workbench, offered, registry},
};

/// One call, what the model is told of it, and what the server heard after the handshake.
struct Row {
    name: &'static str,
    /// The result, or the deed.
    call: Value,
    arguments: &'static str,
    /// What the model is told; an error where it begins with `!`, of which this is a part.
    told: &'static str,
    heard: &'static [&'static str],
}

const CALL: &[&str] = &["tools/call t {}"];

fn row(name: &'static str, call: Value, told: &'static str) -> Row {
    Row { name, call, arguments: "{}", told, heard: CALL }
}

fn results() -> Vec<Row> {
    let text = |text: &str| json!({"type": "text", "text": text});
    vec![
        row("text", json!({"content": [text("a"), text("b")]}), "a\nb"),
        row("nothing", json!({"content": []}), "(the tool gave nothing)"),
        row("structured", json!({"content": [], "structuredContent": {"n": 1}}), "{\"n\":1}"),
        row(
            "structured and the same as text",
            json!({"content": [text("{\"n\": 1}")], "structuredContent": {"n": 1}}),
            "{\"n\": 1}",
        ),
        row(
            "image",
            json!({"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]}),
            "[image, image/png, 3 bytes: not shown]",
        ),
        row(
            "resource",
            json!({"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "hi"}}]}),
            "[resource file:///a]\nhi",
        ),
        row(
            "link",
            json!({"content": [{"type": "resource_link", "uri": "file:///a", "name": "n"}]}),
            "[resource n: file:///a]",
        ),
        row(
            "a kind that nobody knows",
            json!({"resultType": "complete", "content": [text("a"), {"type": "video", "url": "x"}, text("b")]}),
            "a\n[content of the kind \"video\", which is not known: not shown]\nb",
        ),
        row(
            "blocks with a fault",
            json!({"content": [{"type": "image"}, {"type": 7}, {"type": "text", "text": "a", "annotations": 7}, "b"]}),
            "[content of the kind \"image\" that cannot be read: not shown]\n[content without a kind: not shown]\na\n\
             [content without a kind: not shown]",
        ),
        row(
            "what is said about a block",
            json!({"content": [
                {"type": "text", "text": "a", "annotations": {"audience": ["user"], "priority": 0.5}},
                {"type": "resource_link", "uri": "file:///a", "name": "n", "size": 12},
            ]}),
            "a\n[resource n: file:///a]",
        ),
        row(
            "a kind that nobody knows beside numbers",
            json!({"content": [{"type": "chart", "at": 1.5}], "structuredContent": {"n": 9_007_199_254_740_993_u64}}),
            "[content of the kind \"chart\", which is not known: not shown]\n{\"n\":9007199254740993}",
        ),
        row("the tool's own error", json!({"content": [text("no such row")], "isError": true}), "!tool t: no such row"),
        row("an error without words", json!({"content": [], "isError": true}), "!tool t: (the tool gave nothing)"),
        row(
            "the protocol's error",
            json!({"error": {"code": -32602, "message": "bad k"}}),
            "!tool t: bad k (code -32602)",
        ),
        Row { arguments: "[1]", heard: &[], ..row("arguments that are no object", json!({}), "!must be an object") },
        Row { arguments: "null", ..row("no arguments", json!({"content": [text("a")]}), "a") },
        Row {
            arguments: r#"{"k":1.10,"big":9007199254740993}"#,
            heard: &[r#"tools/call t {"k":1.10,"big":9007199254740993}"#],
            ..row("numbers keep their digits", json!({"content": [text("a")]}), "a")
        },
    ]
}

fn deeds() -> Vec<Row> {
    let does = |deed: &'static str, told| row(deed, json!({"do": deed}), told);
    vec![
        does("exit", "!it has ended, or broke the protocol"),
        does("huge", "!it has ended, or broke the protocol"),
        does("noise", "!it has ended, or broke the protocol"),
        does("garbage", "well"),
        does("deep", "well"),
        does("twice", "well"),
        does("wrong-id", "well"),
        does("text-id", "well"),
        does("asks", "well"),
        does("flood", "well"),
    ]
}

async fn check(row: Row) {
    let server = ScriptedServer::new(json!({"tools": [tool("t")], "calls": {"t": row.call}}));
    let registry = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({}))}));
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    assert_eq!(offered(&registry, &kit), ["s__t"], "{}: {:?}", row.name, kit.warnings);
    let told = bench.call(&kit, "s__t", row.arguments, 1).await;
    match row.told.strip_prefix('!') {
        None => assert_eq!(told.as_deref(), Ok(row.told), "{}", row.name),
        Some(part) => {
            let error = told.expect_err(row.name);
            assert!(error.message.contains(part) && !error.retryable, "{}: {error}", row.name);
            assert_eq!(error.details["server"], "s", "{}", row.name);
        }
    }
    let expected: Vec<&str> = OLD_HANDSHAKE.iter().chain(row.heard).copied().collect();
    assert_eq!(server.heard(), expected, "{}", row.name);
}

#[tokio::test]
async fn every_result_is_told_as_it_is() {
    for row in results() {
        check(row).await;
    }
}

#[tokio::test]
async fn a_server_that_misbehaves_costs_a_call_and_no_more() {
    for row in deeds() {
        check(row).await;
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_no_longer_than_it_may() {
    let server = ScriptedServer::new(json!({"tools": [tool("t"), tool("u")], "calls": {"t": {"do": "hang"}}}));
    let registry = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({"timeout_secs": 10}))}));
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    let error = bench.call(&kit, "s__t", "{}", 1).await.unwrap_err();
    assert!(error.message.contains("no answer within 10 s (timeout_secs)"), "{error}");
    // The other tool of the same server answers.
    assert_eq!(bench.call(&kit, "s__u", "{}", 2).await.unwrap(), "done");
}

#[tokio::test]
async fn a_server_that_dies_is_noticed_whoever_holds_its_output_open_and_is_started_again() {
    for deed in ["exit", "orphan", "detached"] {
        let folder = ScriptedServer::new(json!({}));
        let path = pipe(&folder);
        let calls = json!({"t": {"do": deed}});
        let server = ScriptedServer::new(json!({"tools": [tool("t"), tool("u")], "calls": calls, "pipe": path}));
        // Longer than any test is waited for: only the end of the process can end the call.
        let registry = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({"timeout_secs": 3600}))}));
        let bench = Workbench::new(&[]);
        let kit = bench.kit(&registry).await;
        for n in 1..=2 {
            let error = bench.call(&kit, "s__t", "{}", n * 2).await.unwrap_err();
            assert!(error.message.contains("it has ended") && !error.retryable, "{deed}: {error}");
            if deed == "detached" {
                drop(std::fs::OpenOptions::new().write(true).open(&path).unwrap());
            }
            assert_eq!(bench.call(&kit, "s__u", "{}", n * 2 + 1).await.unwrap(), "done", "{deed}");
        }
        let starts = server.heard().iter().filter(|method| *method == "initialize").count();
        assert_eq!(starts, 3, "{deed}: once, and once after each death");
    }
}

#[tokio::test]
async fn a_list_that_changes_in_the_middle_of_a_run_stays_as_it_was_for_that_run() {
    let script = json!({"tools": [tool("t"), tool("u")], "then": [tool("v")], "calls": {"t": {"do": "relist"}}});
    let server = ScriptedServer::new(script);
    let registry = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({"idle_secs": 3600}))}));
    let mut bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    assert_eq!(bench.call(&kit, "s__t", "{}", 1).await.unwrap(), "well");
    assert_eq!(bench.call(&kit, "s__u", "{}", 2).await.unwrap(), "done");
    // The job delivered again goes on with its list; the next job has the new one.
    bench = bench.redelivered();
    assert_eq!(offered(&registry, &bench.kit(&registry).await), ["s__t", "s__u"]);
    let next = bench.job_of(None);
    assert_eq!(offered(&registry, &next.kit(&registry).await), ["s__v"]);
}

#[tokio::test]
async fn an_error_that_does_not_end_is_cut_and_says_so() {
    let calls = json!({"t": {"do": "long-error"}});
    let server = ScriptedServer::new(json!({"tools": [tool("t")], "calls": calls}));
    let registry = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({}))}));
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    let error = bench.call(&kit, "s__t", "{}", 1).await.unwrap_err();
    let told = error.message;
    assert!(told.len() < 9_000 && told.ends_with("é… (cut off: 200000 bytes in all)"), "{}", told.len());
}

#[tokio::test]
async fn a_long_answer_is_cut_and_says_so() {
    let calls = json!({"t": {"do": "long"}});
    let server = ScriptedServer::new(json!({"tools": [tool("t")], "calls": calls}));
    let registry = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({}))}));
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    let told = bench.call(&kit, "s__t", "{}", 1).await.unwrap();
    assert!(told.len() < 70_000 && told.ends_with("é… (cut off: 200000 bytes in all)"), "{}", told.len());
}

#[tokio::test]
async fn a_server_that_died_is_started_again_for_the_next_call() {
    let server = ScriptedServer::new(json!({"tools": [tool("t"), tool("u")], "calls": {"t": {"do": "exit"}}}));
    let registry = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({}))}));
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    bench.call(&kit, "s__t", "{}", 1).await.unwrap_err();
    assert_eq!(bench.call(&kit, "s__u", "{}", 2).await.unwrap(), "done");
    let heard = server.heard();
    assert_eq!(heard.iter().filter(|method| *method == "initialize").count(), 2, "{heard:?}");
    assert_eq!(heard.iter().filter(|method| *method == "tools/list").count(), 1, "the list is pinned: {heard:?}");
}

#[tokio::test]
async fn the_newest_version_needs_no_handshake() {
    let server = ScriptedServer::new(json!({"speaks": "2026-07-28", "tools": [tool("t")]}));
    let registry = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({}))}));
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    assert_eq!(bench.call(&kit, "s__t", "{\"k\":1}", 1).await.unwrap(), "done", "{:?}", kit.warnings);
    assert_eq!(server.heard(), ["server/discover", "tools/list", "tools/call t {\"k\":1}"]);
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let server = ScriptedServer::new(json!({"speaks": version, "tools": [tool("t")]}));
        let entry = server.entry(json!({}));
        let registry = crate::support::tools::registry(json!(["mcp:s"]), json!({"s": entry}));
        let bench = Workbench::new(&[]);
        let kit = bench.kit(&registry).await;
        assert_eq!(bench.call(&kit, "s__t", "{}", 1).await.unwrap(), "done", "{version}: {:?}", kit.warnings);
    }
}

#[tokio::test]
async fn a_child_sees_what_the_file_gives_it_and_is_limited() {
    let calls = json!({"env": {"do": "env"}, "limits": {"do": "limits"}});
    let server = ScriptedServer::new(json!({"tools": [tool("env"), tool("limits")], "calls": calls}));
    let mut entry = server.entry(json!({"cwd": server.path(), "memory_mb": 65_536}));
    entry["env"]["GIVEN"] = json!("x");
    let registry = registry(json!(["mcp:s"]), json!({"s": entry}));
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    let told = bench.call(&kit, "s__env", "{}", 1).await.unwrap();
    let folder = std::fs::canonicalize(server.path()).unwrap();
    assert_eq!(told, format!("[\"GIVEN\"] in {}", folder.display()));
    let told = bench.call(&kit, "s__limits", "{}", 2).await.unwrap();
    let limit = |name: &str| {
        told.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().nth(3).unwrap().to_owned()
    };
    assert_eq!((limit("Max open files"), limit("Max address space")), ("1024".into(), "68719476736".into()));
}

/// A pipe that ends when the last process that holds it has ended.
fn pipe(server: &ScriptedServer) -> std::path::PathBuf {
    let path = server.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[tokio::test]
async fn a_server_and_all_it_started_are_gone_when_the_run_is_over() {
    let folder = ScriptedServer::new(json!({}));
    let path = pipe(&folder);
    let script = json!({"tools": [tool("t")], "calls": {"t": {"do": "child"}}, "pipe": path});
    let server = ScriptedServer::new(script);
    let registry = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({}))}));
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    let read = tokio::task::spawn_blocking(move || std::fs::read(path));
    let child: u32 = bench.call(&kit, "s__t", "{}", 1).await.unwrap().parse().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{child}")).exists());
    assert_eq!(bench.toolbox.servers.count(), 1);
    drop(kit);
    assert_eq!(bench.toolbox.servers.count(), 0);
    // The pipe has an end: nobody is left who holds it.
    assert!(read.await.unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn a_run_that_is_stopped_in_a_call_leaves_nobody_behind() {
    let folder = ScriptedServer::new(json!({}));
    let path = pipe(&folder);
    let calls = json!({"t": {"do": "child"}, "u": {"do": "hang"}});
    let server = ScriptedServer::new(json!({"tools": [tool("t"), tool("u")], "calls": calls, "pipe": path}));
    let registry = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({}))}));
    let bench = Workbench::new(&[]);
    let read = tokio::task::spawn_blocking(move || std::fs::read(path));
    let run = async {
        let kit = bench.kit(&registry).await;
        bench.call(&kit, "s__t", "{}", 1).await.unwrap();
        bench.call(&kit, "s__u", "{}", 2).await
    };
    let heard = async {
        while !server.heard().iter().any(|method| method.starts_with("tools/call u")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = run => panic!("the call hangs"),
        () = heard => {}
    }
    assert!(read.await.unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn jobs_share_a_server_that_has_not_been_idle_for_long() {
    let server = ScriptedServer::new(json!({"tools": [tool("t")]}));
    let registry = registry(json!(["mcp:s"]), json!({"s": server.entry(json!({"idle_secs": 3600}))}));
    let mut bench = Workbench::new(&[]);
    for n in 1..=3 {
        let kit = bench.kit(&registry).await;
        assert_eq!(bench.call(&kit, "s__t", "{}", n).await.unwrap(), "done");
        drop(kit);
        bench = bench.redelivered();
    }
    let heard = server.heard();
    assert_eq!(heard.iter().filter(|method| *method == "initialize").count(), 1, "{heard:?}");
    assert_eq!(heard.iter().filter(|method| method.starts_with("tools/call")).count(), 3);
    bench.toolbox.servers.close().await;
    assert_eq!(bench.toolbox.servers.count(), 0);
}
