//! A small MCP server over standard input and output, for `examples/agents-tools.yaml`: it converts units and keeps notes.
//!
//! ```console
//! $ cargo build --example mcp_server
//! $ agent-runner agents tools --agents examples/agents-tools.yaml
//! ```

use std::io::{BufRead, Write};

use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let mut notes: Vec<String> = Vec::new();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
        let Some(id) = message.get("id") else { continue };
        let reply = match answer(&message, &mut notes) {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(why) => json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": why}}),
        };
        writeln!(out, "{reply}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(message: &Value, notes: &mut Vec<String>) -> Result<Value, String> {
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => Ok(json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "example", "version": "1"},
        })),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({"tools": tools()})),
        "tools/call" => Ok(call(&message["params"], notes)),
        other => Err(format!("there is no method {other:?}")),
    }
}

fn tools() -> Value {
    json!([
        {
            "name": "celsius",
            "description": "Converts degrees Fahrenheit to degrees Celsius",
            "inputSchema": {"type": "object", "properties": {"fahrenheit": {"type": "number"}}, "required": ["fahrenheit"]},
            "annotations": {"readOnlyHint": true},
        },
        {
            "name": "note",
            "description": "Writes down a note, and says how many there are",
            "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        },
    ])
}

fn call(params: &Value, notes: &mut Vec<String>) -> Value {
    let arguments = &params["arguments"];
    let (text, is_error) = match (params["name"].as_str(), arguments["fahrenheit"].as_f64(), arguments["text"].as_str())
    {
        (Some("celsius"), Some(degrees), _) => (format!("{:.1}", (degrees - 32.0) / 1.8), false),
        (Some("note"), _, Some(text)) => {
            notes.push(text.to_owned());
            (format!("{} notes", notes.len()), false)
        }
        _ => ("there is no such tool, or an argument is missing".to_owned(), true),
    };
    json!({"content": [{"type": "text", "text": text}], "isError": is_error})
}
