//! A scripted MCP server: this test program, started again, speaks over standard input and output.

use std::{
    fs::OpenOptions,
    io::{BufRead, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Where the script comes from.
const SCRIPT: &str = "MCP_SCRIPT";

/// A script with its folder: what the server was told stands in a file there.
pub struct ScriptedServer {
    dir: TempDir,
    script: Value,
}

impl ScriptedServer {
    /// A server that follows `script`: `tools` (or `pages` of them), `calls` by tool name, `speaks`, `at`.
    pub fn new(mut script: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        script["log"] = json!(dir.path().join("received"));
        Self { dir, script }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its entry in an agents file; `more` goes over it.
    pub fn entry(&self, more: Value) -> Value {
        let program = std::env::current_exe().unwrap();
        let mut entry = json!({
            "command": [program, "--exact", "support::mcp::stdio_server", "--nocapture"],
            "env": {SCRIPT: self.script.to_string()},
            "timeout_secs": 20,
            "idle_secs": 0,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            entry[key] = value.clone();
        }
        entry
    }

    /// What it was told, line by line.
    pub fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("received")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The methods it was asked for, with name and arguments of calls; without what has no certain place.
    pub fn heard(&self) -> Vec<String> {
        self.lines().iter().filter_map(|line| heard(&serde_json::from_str(line).unwrap())).collect()
    }
}

/// A message in short.
pub fn heard(message: &Value) -> Option<String> {
    let method = message["method"].as_str()?;
    match method {
        "tools/call" => {
            Some(format!("{method} {} {}", message["params"]["name"].as_str()?, message["params"]["arguments"]))
        }
        "notifications/cancelled" => None,
        method => Some(method.to_owned()),
    }
}

/// The handshake with a server that knows nothing of `server/discover`.
pub const OLD_HANDSHAKE: [&str; 4] = ["server/discover", "initialize", "notifications/initialized", "tools/list"];

/// A tool as a server lists it.
pub fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("does {name}"), "inputSchema": {"type": "object", "properties": {"k": {}}}})
}

/// The answer to `message`, as any server of the tests gives it; nothing where none is due.
pub fn answer(script: &Value, message: &Value) -> Option<Value> {
    let id = message.get("id")?;
    let result = match message["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": script["speaks"].as_str().unwrap_or("2025-06-18"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted", "version": "1"},
        }),
        "server/discover" if script["speaks"] == "2026-07-28" => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            "ttlMs": 0, "cacheScope": "private",
        }),
        "tools/list" => page(script, message["params"]["cursor"].as_str()),
        "tools/call" => match &script["calls"][message["params"]["name"].as_str()?] {
            Value::Null => json!({"content": [{"type": "text", "text": "done"}]}),
            call if call.get("error").is_some() => {
                return Some(json!({"jsonrpc": "2.0", "id": id, "error": call["error"]}));
            }
            call => call.clone(),
        },
        "ping" => json!({}),
        _ => {
            let error = json!({"code": -32601, "message": "no such method"});
            return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}));
        }
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

fn page(script: &Value, cursor: Option<&str>) -> Value {
    let modern = json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private"});
    let mut page = if script["speaks"] == "2026-07-28" { modern } else { json!({}) };
    page["tools"] = script["tools"].clone();
    if script["pages"] == "endless" {
        page["tools"] = json!([]);
        page["nextCursor"] = json!("more");
    } else if let Some(pages) = script["pages"].as_array() {
        let at: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        page["tools"] = pages[at].clone();
        if at + 1 < pages.len() {
            page["nextCursor"] = json!((at + 1).to_string());
        }
    }
    page
}

/// Runs the script where there is one: then this is the server, and no test.
#[test]
fn stdio_server() {
    #[expect(clippy::disallowed_methods, reason = "how a parent tells a child what to be")]
    let Ok(script) = std::env::var(SCRIPT) else { return };
    let mut script: Value = serde_json::from_str(&script).unwrap();
    if script["at"] == "start" {
        std::process::exit(3);
    }
    let log = PathBuf::from(script["log"].as_str().unwrap());
    let mut log = OpenOptions::new().create(true).append(true).open(log).unwrap();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        log.write_all(format!("{line}\n").as_bytes()).unwrap();
        let message: Value = serde_json::from_str(&line).unwrap();
        if script["at"] == message["method"] {
            std::thread::park();
        }
        let Some(reply) = answer(&script, &message) else { continue };
        let deed = (message["method"] == "tools/call").then(|| reply["result"]["do"].as_str()).flatten();
        match deed {
            // From now on it has other tools, and says so.
            Some("relist") => {
                script["tools"] = script["then"].take();
                say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
                say(&said(&message, "well"));
            }
            Some(deed) => misbehave(deed, &script, &message),
            None => say(&reply),
        }
    }
    std::process::exit(0);
}

fn say(message: &Value) {
    write(&message.to_string());
}

fn write(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
    out.write_all(b"\n").unwrap();
    out.flush().unwrap();
}

fn said(message: &Value, text: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": text}]}})
}

/// What servers of this world do.
fn misbehave(deed: &str, script: &Value, message: &Value) {
    let well = said(message, "well");
    match deed {
        "exit" => std::process::exit(1),
        "hang" => {}
        "long" => say(&said(message, &"é".repeat(100_000))),
        "long-error" => {
            let mut long = said(message, &"é".repeat(100_000));
            long["result"]["isError"] = json!(true);
            say(&long);
        }
        "huge" => write(&said(message, &"x".repeat(5 << 20)).to_string()),
        "garbage" => {
            write("Starting up…\n\n{\"jsonrpc\": \"2.0\"\n[]\n42");
            say(&well);
        }
        "noise" => (0..200).for_each(|i| write(&format!("line {i}"))),
        "deep" => {
            write(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
            say(&well);
        }
        "twice" => {
            say(&well);
            say(&said(message, "well, again"));
        }
        "wrong-id" => {
            say(&json!({"jsonrpc": "2.0", "id": 999_999, "result": {"content": []}}));
            say(&well);
        }
        "text-id" => say(&json!({"jsonrpc": "2.0", "id": message["id"].to_string(), "result": well["result"]})),
        "asks" => {
            let wish = json!({"messages": [], "maxTokens": 5});
            say(&json!({"jsonrpc": "2.0", "id": "q1", "method": "sampling/createMessage", "params": wish}));
            say(&json!({"jsonrpc": "2.0", "id": "q2", "method": "roots/list"}));
            say(&well);
        }
        "flood" => {
            let progress = json!({"progressToken": 1, "progress": 1});
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress});
            let log = json!({"level": "info", "data": "x"});
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": log});
            let unknown = json!({"jsonrpc": "2.0", "method": "notifications/of-nobody"});
            let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
            [progress, log, unknown, changed].iter().cycle().take(10_000).for_each(say);
            say(&well);
        }
        "env" => {
            #[expect(clippy::disallowed_methods, reason = "what the child was given")]
            let names: Vec<String> = std::env::vars().map(|(name, _)| name).filter(|name| name != SCRIPT).collect();
            say(&said(message, &format!("{names:?} in {}", std::env::current_dir().unwrap().display())));
        }
        "limits" => say(&said(message, &std::fs::read_to_string("/proc/self/limits").unwrap())),
        other => leave_behind(other, script, message),
    }
}

/// What servers of this world start.
fn leave_behind(deed: &str, script: &Value, message: &Value) {
    match deed {
        // The same as a child, and this one does not end with its input either.
        "stubborn" => {
            let pipe = || OpenOptions::new().write(true).open(script["pipe"].as_str().unwrap()).unwrap();
            let mut child = Command::new("/bin/sleep").arg("1000").stdin(Stdio::null()).stdout(pipe()).spawn().unwrap();
            let _own = pipe();
            say(&said(message, "well"));
            child.wait().unwrap();
        }
        // A process of its own that holds a pipe open for as long as it lives.
        "child" => {
            let pipe = OpenOptions::new().write(true).open(script["pipe"].as_str().unwrap()).unwrap();
            let mut child = Command::new("/bin/sleep").arg("1000").stdout(pipe).spawn().unwrap();
            say(&said(message, &child.id().to_string()));
            std::thread::spawn(move || child.wait());
        }
        // Its end leaves one behind that holds its output open: in its group, or in one of its own, where it waits for
        // whoever opens the pipe.
        "orphan" => {
            Command::new("/bin/sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
            std::process::exit(1);
        }
        "detached" => {
            let pipe = script["pipe"].as_str().unwrap();
            Command::new("/bin/cat").arg(pipe).stdin(Stdio::null()).process_group(0).spawn().unwrap();
            std::process::exit(1);
        }
        other => panic!("nothing is known of {other}"),
    }
}
