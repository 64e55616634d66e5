//! What the columns of some data are, for planners and checks.

use std::collections::HashSet;

use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};

use super::{
    Body, TableError,
    read::{Document, Scanner, Shape, Source, Text, malformed, quoted, utf8},
    value::{Cell, Kind},
};
use crate::job::RawJson;

/// A column of the data at hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// `number`, `text`, `boolean`, `object`, `array`, `null` or `mixed`, over the rows looked at.
    pub kind: String,
    /// A few distinct values as JSON, shortened.
    pub examples: Vec<RawJson>,
}

/// Distinct values shown of a column.
const EXAMPLES: usize = 3;

/// Longest example in characters.
const EXAMPLE_CHARS: usize = 60;

/// The columns over the first `max_rows` rows, in order of first appearance, and the number of all rows.
/// Rows that are no objects have no columns; data that is not JSON has none, and no rows.
#[must_use]
pub fn columns(data: &RawJson, max_rows: usize) -> (Vec<Column>, usize) {
    columns_of(&Body::from(data.clone()), max_rows).unwrap_or_default()
}

/// The same for data that may be CSV or NDJSON.
///
/// # Errors
/// `pipeline_failed` when it cannot be read.
pub fn columns_of(body: &Body, max_rows: usize) -> Result<(Vec<Column>, usize), TableError> {
    let document = Document::open(body, Source::given("the data"))?;
    let mut seen: IndexMap<String, Seen> = IndexMap::new();
    let mut count = 0;
    each_row(&document, &mut |row| {
        if count < max_rows && row.starts_with('{') {
            // The row was checked as it was found.
            let mut next = 0;
            let _ = Scanner::new(row).object(|key, value| {
                next = place(&mut seen, next, key) + 1;
                seen[next - 1].note(value);
            });
        }
        count += 1;
        true
    })?;
    Ok((seen.into_iter().map(|(name, seen)| seen.into_column(name)).collect(), count))
}

/// Where a key's column is: mostly behind the one before.
fn place(seen: &mut IndexMap<String, Seen>, next: usize, key: Text<'_>) -> usize {
    match seen.get_index(next) {
        Some((name, _)) if key.is(name) => next,
        _ => {
            let entry = seen.entry(key.decode().into_owned());
            let place = entry.index();
            entry.or_default();
            place
        }
    }
}

#[derive(Default)]
struct Seen {
    kinds: HashSet<Kind>,
    examples: Vec<String>,
}

impl Seen {
    fn note(&mut self, value: &str) {
        let kind = Kind::of(value);
        self.kinds.insert(kind);
        if kind == Kind::Null || self.examples.len() == EXAMPLES {
            return;
        }
        if let Some(example) = shortened(value).filter(|example| !self.examples.contains(example)) {
            self.examples.push(example);
        }
    }

    fn into_column(mut self, name: String) -> Column {
        if self.kinds.len() > 1 {
            self.kinds.remove(&Kind::Null);
        }
        let kind = match self.kinds.iter().next() {
            Some(kind) if self.kinds.len() == 1 => kind.name(),
            _ => "mixed",
        };
        let examples = self.examples.into_iter().map(RawJson::from_trusted).collect();
        Column { name, kind: kind.to_owned(), examples }
    }
}

/// A value small enough to show; long text is cut, other long values are not shown.
fn shortened(value: &str) -> Option<String> {
    if value.chars().nth(EXAMPLE_CHARS).is_none() {
        return Some(value.to_owned());
    }
    match Cell::read(Some(value)) {
        Cell::Text(text) => {
            let cut: String = text.chars().take(EXAMPLE_CHARS).collect();
            Some(quoted(&format!("{cut}…")))
        }
        _ => None,
    }
}

/// Shows every row of a document until told to stop, and checks what was read.
fn each_row(document: &Document, show: &mut dyn FnMut(&str) -> bool) -> Result<(), TableError> {
    let text = document.text()?;
    let fault = |at| malformed(&document.source, &document.bytes, at);
    let mut scanner = Scanner::new(text);
    scanner.space();
    if document.shape != Shape::Array {
        while scanner.peek().is_some() {
            if !show(scanner.value().map_err(fault)?) {
                return Ok(());
            }
            scanner.space();
        }
        return Ok(());
    }
    scanner.expect(b'[', "an array").map_err(fault)?;
    scanner.space();
    if scanner.take(b']') {
        return scanner.end().map_err(fault);
    }
    loop {
        if !show(scanner.value().map_err(fault)?) {
            return Ok(());
        }
        scanner.space();
        if scanner.take(b']') {
            return scanner.end().map_err(fault);
        }
        scanner.expect(b',', "',' or ']'").map_err(fault)?;
        scanner.space();
    }
}

/// The first row that is no object, from 1, and what it is.
pub(super) fn first_without_columns(document: &Document) -> Result<Option<(usize, Kind)>, TableError> {
    let (mut count, mut found) = (0, None);
    each_row(document, &mut |row| {
        count += 1;
        found = (!row.starts_with('{')).then(|| (count, Kind::of(row)));
        found.is_none()
    })?;
    Ok(found)
}

/// Collects the names over all rows; gives how many there are, none where one is no object.
pub(super) fn keys_of_rows(document: &Document, names: &mut IndexSet<String>) -> Result<Option<usize>, TableError> {
    keys_of_first(document, usize::MAX, names)
}

/// The same over the first rows of a document, reading no more of it than these and no more than 1 KiB a row:
/// few rows are larger. What is wrong with it is left for the run to find.
pub(super) fn keys_of_sample(document: &Document, max_rows: usize, names: &mut IndexSet<String>) -> Option<usize> {
    let bytes = document.bytes.slice(..document.bytes.len().min(max_rows << 10));
    // The cut may fall within a character.
    let whole = (0..4).find_map(|cut| bytes.len().checked_sub(cut).filter(|end| utf8(&bytes[..*end]).is_ok()))?;
    let beginning = Document { bytes: bytes.slice(..whole), ..document.clone() };
    match keys_of_first(&beginning, max_rows, names) {
        Ok(rows) => rows,
        // The last row is cut off; those before it were read.
        Err(_) => (!names.is_empty()).then_some(1),
    }
}

fn keys_of_first(
    document: &Document,
    max_rows: usize,
    names: &mut IndexSet<String>,
) -> Result<Option<usize>, TableError> {
    let mut rows = Some(0);
    each_row(document, &mut |row| {
        if !row.starts_with('{') {
            rows = None;
        }
        let note = |key: Text<'_>, _: &str| {
            if key.escaped || !names.contains(key.raw) {
                names.insert(key.decode().into_owned());
            }
        };
        let _ = Scanner::new(row).object(note);
        rows = rows.map(|count| count + 1);
        rows.is_some_and(|count| count < max_rows)
    })?;
    Ok(rows)
}

/// The keys of an object, for messages; empty for anything else.
pub(super) fn keys_of(text: &str) -> Vec<String> {
    const SHOWN: usize = 12;
    let mut keys = Vec::new();
    let mut scanner = Scanner::new(text);
    scanner.space();
    if scanner.peek() == Some(b'{') {
        let _ = scanner.object(|key, _| {
            if keys.len() < SHOWN {
                keys.push(key.decode().into_owned());
            }
        });
    }
    keys
}
