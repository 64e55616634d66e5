//! JSON as people read it: rows as a table, anything else with members as a tree.

use serde_json::Value;

/// Most rows and columns of a table, and most characters of a cell.
const ROWS: usize = 100;
const COLUMNS: usize = 30;
const CELL: usize = 200;

/// Most lines of a tree, most characters of one, and levels that are open at first.
const TWIGS: usize = 1000;
const LEAF: usize = 2000;
const OPEN: usize = 2;

/// Longest text, in bytes.
const TEXT: usize = 64 * 1024;

/// A value ready for a page.
pub(super) enum Shown {
    /// Rows with the same kind of members.
    Table {
        /// Names of the columns, in the order they first appear, and whether the first row has a number there.
        columns: Vec<(String, bool)>,
        /// Cells and whether each is a number.
        rows: Vec<Vec<(String, bool)>>,
        /// How many rows were left out.
        more: usize,
    },
    /// Members in members.
    Tree(Vec<Twig>),
    /// Indented JSON, or the text itself.
    Text(String),
}

/// One line of a tree, in the order they are written.
pub(super) enum Twig {
    /// A list or an object begins.
    Open {
        /// Its name or place in what it is part of.
        name: String,
        /// How many it holds, in words.
        size: String,
        open: bool,
    },
    /// A value without members.
    Leaf {
        name: String,
        text: String,
        /// `text`, `number` or `word`.
        kind: &'static str,
    },
    /// It ends.
    Close,
}

/// A value as a table where it is a list of objects, and as a tree where it has members of another kind.
pub(super) fn shown(value: &Value) -> Shown {
    match value {
        Value::Array(rows) if !rows.is_empty() && rows.iter().all(Value::is_object) => table(rows),
        Value::String(text) => Shown::Text(cut(text.clone())),
        other if is_leaf(other) => Shown::Text(pretty(other)),
        other => {
            let mut twigs = Vec::new();
            for (name, value) in members(other) {
                grow(name, value, 0, &mut twigs);
            }
            Shown::Tree(twigs)
        }
    }
}

/// Whether a value has no members.
fn is_leaf(value: &Value) -> bool {
    members(value).next().is_none()
}

/// The members of a value by name or place.
fn members(value: &Value) -> Box<dyn Iterator<Item = (String, &Value)> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter().enumerate().map(|(at, item)| (at.to_string(), item))),
        Value::Object(members) => Box::new(members.iter().map(|(name, member)| (name.clone(), member))),
        _ => Box::new(std::iter::empty()),
    }
}

/// Adds a value to a tree: its depth is bounded by what the JSON parser takes.
fn grow(name: String, value: &Value, depth: usize, twigs: &mut Vec<Twig>) {
    if twigs.len() >= TWIGS {
        if twigs.len() == TWIGS {
            let text = "cut here; the API has it whole".to_owned();
            twigs.push(Twig::Leaf { name: "…".to_owned(), text, kind: "word" });
        }
        return;
    }
    if is_leaf(value) {
        let (text, kind) = match value {
            Value::String(text) => (text.clone(), "text"),
            Value::Number(number) => (number.to_string(), "number"),
            other => (other.to_string(), "word"),
        };
        twigs.push(Twig::Leaf { name, text: short(text, LEAF), kind });
        return;
    }
    let count = members(value).count();
    let what = if value.is_array() { "item" } else { "member" };
    let size = format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    twigs.push(Twig::Open { name, size, open: depth < OPEN });
    for (name, value) in members(value) {
        grow(name, value, depth + 1, twigs);
    }
    twigs.push(Twig::Close);
}

/// At most so many characters.
fn short(text: String, most: usize) -> String {
    if text.chars().count() > most { text.chars().take(most).chain(['…']).collect() } else { text }
}

/// Indented JSON, cut where it is long.
pub(super) fn pretty(value: &Value) -> String {
    cut(serde_json::to_string_pretty(value).unwrap_or_default())
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT {
        text.truncate(text.floor_char_boundary(TEXT));
        text.push_str("\n… cut here; the API has it whole");
    }
    text
}

fn table(rows: &[Value]) -> Shown {
    let mut columns: Vec<String> = Vec::new();
    for key in rows.iter().take(ROWS).filter_map(Value::as_object).flat_map(|row| row.keys()) {
        if columns.len() < COLUMNS && !columns.contains(key) {
            columns.push(key.clone());
        }
    }
    let cells = |row: &Value| columns.iter().map(|column| cell(row.get(column))).collect();
    let more = rows.len().saturating_sub(ROWS);
    let cells: Vec<Vec<(String, bool)>> = rows.iter().take(ROWS).map(cells).collect();
    let number = |at: usize| cells.first().is_some_and(|row| row[at].1);
    let columns = columns.into_iter().enumerate().map(|(at, name)| (short(name, CELL), number(at))).collect();
    Shown::Table { columns, rows: cells, more }
}

fn cell(value: Option<&Value>) -> (String, bool) {
    let text = match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    (short(text, CELL), value.is_some_and(Value::is_number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_become_a_table_with_every_column_and_digit() {
        let rows: Value = serde_json::from_str(r#"[{"a":1.10},{"b":"x","a":9007199254740993}]"#).unwrap();
        let Shown::Table { columns, rows, more } = shown(&rows) else { panic!("no table") };
        assert_eq!((columns, more), (vec![("a".to_owned(), true), ("b".to_owned(), false)], 0));
        assert_eq!(rows[0], [("1.10".to_owned(), true), (String::new(), false)]);
        assert_eq!(rows[1][0].0, "9007199254740993");
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        let Shown::Text(text) = shown(&json!("é".repeat(TEXT))) else { panic!("no text") };
        assert!(text.len() < TEXT + 100);
    }

    #[test]
    fn members_become_a_tree_that_is_whole_and_bounded() {
        let words = |value: &Value| {
            let Shown::Tree(twigs) = shown(value) else { panic!("no tree") };
            let word = |twig: &Twig| match twig {
                Twig::Open { name, size, .. } => format!("{name}: {size} ("),
                Twig::Leaf { name, text, kind } => format!("{name}={text} {kind}"),
                Twig::Close => ")".to_owned(),
            };
            twigs.iter().map(word).collect::<Vec<_>>()
        };
        let value: Value = serde_json::from_str(r#"[1.10,{"a":[],"b":{"c":null}}]"#).unwrap();
        let all = ["0=1.10 number", "1: 2 members (", "a=[] word", "b: 1 member (", "c=null word", ")", ")"];
        assert_eq!(words(&value), all);
        let many = words(&json!({ "a": vec![1; 5000] }));
        assert!(many.len() < TWIGS + 3 && many[many.len() - 2].contains("cut here"), "{}", many.len());
        assert_eq!(many.last().unwrap(), ")");
        assert!(matches!(shown(&json!({})), Shown::Text(_)));
    }
}
