//! Reads files of rows.

use std::collections::BTreeMap;

use agent_runner::{
    job::{ErrorCode, JobError, RawJson, Tokens},
    llm::{ChatReply, ToolCall},
};
use serde_json::Value;

/// One job of a row with the replies it gets.
#[derive(Debug, Clone)]
pub struct Part {
    pub job: Value,
    pub replies: Vec<String>,
}

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    /// The agents file.
    pub agents: String,
    pub settings: BTreeMap<String, String>,
    pub parts: Vec<Part>,
    /// Everything that must come of it.
    pub want: String,
}

/// Puts the words in where they are only named: `%% NAME words` at the top of a file, `<NAME>` or `<NAME 2>` in what
/// must come, where `$1` stands for the 2.
fn spelled_out(want: &str, words: &[(&str, &str)]) -> String {
    let mut text = want.to_owned();
    for (name, words) in words {
        while let Some(at) = text.find(&format!("<{name}")) {
            let end = at + text[at..].find('>').unwrap();
            let argument = text[at + 1 + name.len()..end].trim().to_owned();
            text.replace_range(at..=end, &words.replace("$1", &argument));
        }
    }
    text
}

/// The rows of a file.
pub fn rows(text: &str) -> Vec<Row> {
    let words: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("%% ")).filter_map(|line| line.split_once(' ')).collect();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut rows: Vec<Row> = Vec::new();
    let mut blocks = Vec::new();
    for line in text.lines() {
        if line.starts_with("@@ ") || line.starts_with("== ") {
            blocks.push(vec![line]);
        } else if let Some(block) = blocks.last_mut() {
            block.push(line);
        }
    }
    for block in blocks {
        match block[0].strip_prefix("@@ ") {
            Some(name) => {
                files.insert(name.to_owned(), block[1..].join("\n"));
            }
            None => {
                let mut row = row(&block, &files);
                row.want = spelled_out(&row.want, &words);
                rows.push(row);
            }
        }
    }
    rows
}

fn row(block: &[&str], files: &BTreeMap<String, String>) -> Row {
    let name = block[0].trim_start_matches("== ").to_owned();
    let split = block.iter().position(|line| *line == "--").unwrap_or(block.len());
    let mut row = Row {
        agents: files.values().next().cloned().unwrap_or_default(),
        settings: BTreeMap::new(),
        parts: Vec::new(),
        want: block.get(split + 1..).unwrap_or_default().join("\n").trim().to_owned(),
        name,
    };
    for line in &block[1..split] {
        if let Some(file) = line.strip_prefix("agents ") {
            row.agents.clone_from(&files[file]);
        } else if let Some(pairs) = line.strip_prefix("set ") {
            let pairs = pairs.split(' ').filter_map(|pair| pair.split_once('='));
            row.settings.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
        } else if let Some(job) = line.strip_prefix("job ") {
            let job = serde_json::from_str(job).unwrap_or_else(|e| panic!("{}: {e}: {job}", row.name));
            row.parts.push(Part { job, replies: Vec::new() });
        } else if let Some(reply) = line.strip_prefix("< ") {
            row.parts.last_mut().unwrap().replies.push(reply.to_owned());
        } else {
            assert!(line.trim().is_empty(), "{}: what is {line:?}?", row.name);
        }
    }
    row
}

/// The reply that a line stands for.
pub fn reply(line: &str) -> Result<ChatReply, JobError> {
    if let Some(code) = line.strip_prefix('!') {
        let code: ErrorCode = serde_json::from_value(Value::from(code)).unwrap();
        return Err(JobError::new(code, "scripted"));
    }
    let (mut text, mut calls) = (Vec::new(), Vec::new());
    for part in line.split(" && ") {
        let Some(call) = part.strip_prefix("call ") else {
            text.push(part.replace("(nothing)", "").replace("\\n", "\n"));
            continue;
        };
        let (name, arguments) =
            call.split_once(" {").map_or((call, "{}".to_owned()), |(name, rest)| (name, format!("{{{rest}")));
        let (name, arguments) = match name.split_once(" raw:") {
            Some((name, raw)) => (name, raw.to_owned()),
            None => (name, arguments),
        };
        let id = format!("c{}", calls.len() + 1);
        calls.push(ToolCall { id, name: name.to_owned(), arguments: RawJson::from_trusted(arguments) });
    }
    let tokens = Tokens { prompt: 10, completion: 1, cached: 0 };
    Ok(ChatReply { text: text.join(" "), calls, tokens, model: "m".into() })
}
