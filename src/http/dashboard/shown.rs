//! JSON as people read it: rows as a table, anything else as indented text.

use serde_json::Value;

/// Most rows and columns of a table, and most characters of a cell.
const ROWS: usize = 100;
const COLUMNS: usize = 30;
const CELL: usize = 200;

/// Longest text, in bytes.
const TEXT: usize = 64 * 1024;

/// A value ready for a page.
pub(super) enum Shown {
    /// Rows with the same kind of members.
    Table {
        /// Names of the columns, in the order they first appear.
        columns: Vec<String>,
        /// Cells and whether each is a number.
        rows: Vec<Vec<(String, bool)>>,
        /// How many rows were left out.
        more: usize,
    },
    /// Indented JSON, or the text itself.
    Text(String),
}

/// A value as a table where it is a list of objects.
pub(super) fn shown(value: &Value) -> Shown {
    match value {
        Value::Array(rows) if !rows.is_empty() && rows.iter().all(Value::is_object) => table(rows),
        Value::String(text) => Shown::Text(cut(text.clone())),
        other => Shown::Text(pretty(other)),
    }
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
    Shown::Table { rows: rows.iter().take(ROWS).map(cells).collect(), more: rows.len().saturating_sub(ROWS), columns }
}

fn cell(value: Option<&Value>) -> (String, bool) {
    let text = match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let short = if text.chars().count() > CELL { text.chars().take(CELL).chain(['…']).collect() } else { text };
    (short, value.is_some_and(Value::is_number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_become_a_table_with_every_column_and_digit() {
        let rows: Value = serde_json::from_str(r#"[{"a":1.10},{"b":"x","a":9007199254740993}]"#).unwrap();
        let Shown::Table { columns, rows, more } = shown(&rows) else { panic!("no table") };
        assert_eq!((columns, more), (vec!["a".to_owned(), "b".to_owned()], 0));
        assert_eq!(rows[0], [("1.10".to_owned(), true), (String::new(), false)]);
        assert_eq!(rows[1][0].0, "9007199254740993");
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        let Shown::Text(text) = shown(&json!("é".repeat(TEXT))) else { panic!("no text") };
        assert!(text.len() < TEXT + 100);
        assert!(matches!(shown(&json!([1, {"a": 1}])), Shown::Text(_)));
    }
}
