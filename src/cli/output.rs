//! What commands print.

use std::{
    fmt::Display,
    io::{ErrorKind, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use super::listing;

/// Rows of a result shown on a terminal; the rest is named as a number.
pub(super) const MAX_ROWS: usize = 50;
/// Characters of a cell shown on a terminal.
const MAX_CELL: usize = 60;

/// Set once stdout takes nothing any more.
static GONE: AtomicBool = AtomicBool::new(false);

/// Prints a line on stdout. A reader that has gone away (`| head`) is no error; a full disk is said once.
pub(super) fn line(text: impl Display) {
    print(|out| writeln!(out, "{text}"));
}

/// Prints text that ends its own lines.
pub(super) fn bytes(text: &[u8]) {
    print(|out| out.write_all(text).and_then(|()| out.flush()));
}

/// A bar on stderr over `all` things to do; nothing is drawn where stderr is no terminal.
pub(super) fn progress(all: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(all as u64).with_message(what);
    match ProgressStyle::with_template("{wide_bar} {pos} of {len} {msg}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn print(write: impl FnOnce(&mut std::io::StdoutLock<'static>) -> std::io::Result<()>) {
    if GONE.load(Ordering::Relaxed) {
        return;
    }
    if let Err(error) = write(&mut std::io::stdout().lock()) {
        GONE.store(true, Ordering::Relaxed);
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("error: stdout: {error}");
        }
    }
}

/// Prints JSON on stdout, indented.
pub(super) fn json<T: Serialize>(value: &T) {
    line(serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Prints a table on stdout.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    print_table(header.iter().map(|text| (*text).to_owned()).collect(), rows.map(Vec::from));
}

/// Prints a table whose width is known at run time.
pub(super) fn print_table(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = listing::usable(table.width()) {
        table.set_width(width);
    }
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)).collect::<Vec<_>>());
    }
    line(table);
}

/// A cell as a terminal may see it: bounded, and without control characters, which could drive the terminal.
fn printable(text: &str) -> String {
    cut(&clean_line(text), MAX_CELL)
}

/// Text without control characters.
pub(super) fn clean_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// At most so many characters of a text.
pub(super) fn cut(text: &str, most: usize) -> String {
    let mut cell: String = text.chars().take(most).collect();
    if cell.len() < text.len() {
        cell.push('…');
    }
    cell
}

/// Prints the result of a job for a person: rows as a table, words as words, the rest as JSON.
pub(super) fn result(value: &Value) {
    if value["type"] == "text_response" {
        line(clean(value["message"].as_str().unwrap_or_default()));
        return;
    }
    if let Some(words) = spoken(value) {
        line(clean(&words));
        return;
    }
    match (&value["data"], &value["operations"]) {
        (Value::Array(rows), _) if rows.iter().all(Value::is_object) && !rows.is_empty() => data(rows),
        (Value::Object(row), _) => data(&[Value::Object(row.clone())]),
        (Value::Null, Value::Array(operations)) => patch(value, operations),
        (Value::Null, _) => json(value),
        (data, _) => json(data),
    }
}

/// What an agent said, of a handoff that has an answer.
fn spoken(value: &Value) -> Option<String> {
    match value["mode"].as_str()? {
        "tiers" => match &value["result"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        },
        _ => value["answer"].as_str().map(str::to_owned),
    }
}

fn data(rows: &[Value]) {
    let mut columns: Vec<String> = Vec::new();
    for row in rows.iter().take(MAX_ROWS).filter_map(Value::as_object) {
        for name in row.keys() {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
    }
    let cells = |row: &Value| columns.iter().map(|name| cell(&row[name.as_str()])).collect::<Vec<_>>();
    print_table(columns.clone(), rows.iter().take(MAX_ROWS).map(cells));
    if rows.len() > MAX_ROWS {
        line(format_args!("… and {} more rows (--json prints them all)", rows.len() - MAX_ROWS));
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn patch(value: &Value, operations: &[Value]) {
    let rows = operations.iter().map(|op| [cell(&op["op"]), cell(&op["path"]), cell(&op["value"])]);
    table(["operation", "path", "value"], rows);
    if let Some(mermaid) = value["mermaid"].as_str() {
        line(clean(mermaid));
    }
}

/// Text as a terminal may see it: line breaks stay, other control characters do not.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
