//! CSV in and out. A column is numbers only where every cell is one that JSON writes the same way.

use bytes::Bytes;
use csv::{ReaderBuilder, StringRecord, WriterBuilder};

use super::{Scanner, push_string};
use crate::table::value::Cell;

/// What CSV was read as.
pub(crate) struct Read {
    /// Rows as one JSON array.
    pub(crate) rows: Bytes,
    /// How many of them are shorter than the header.
    pub(crate) short: usize,
}

/// Says that rows were short, where some were.
pub(crate) fn about_short(rows: usize) -> Option<String> {
    let (are, them) = if rows == 1 { ("row is", "its") } else { ("rows are", "their") };
    (rows > 0).then(|| format!("csv: {rows} {are} shorter than the header: {them} missing cells are null"))
}

/// Rows of objects from CSV with a header line. The separator is a comma, or the semicolon or tab that the
/// header has instead. Empty cells are null; a row may be short, not long.
///
/// # Errors
/// Says which line cannot be read, and why.
pub(crate) fn from_csv(bytes: &[u8]) -> Result<Read, String> {
    let delimiter = delimiter(bytes);
    if let Some(line) = unclosed_quote(bytes, delimiter) {
        return Err(format!(
            "the quote that opens on line {line} is never closed: close it, or double it within a cell"
        ));
    }
    let mut reader = ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
    let names = column_names(reader.headers().map_err(|error| error.to_string())?);
    let (mut records, mut short) = (Vec::new(), 0);
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        if record.len() > names.len() {
            let line = record.position().map_or(0, csv::Position::line);
            return Err(format!("line {line} has {} cells, the header has {}", record.len(), names.len()));
        }
        short += usize::from(record.len() < names.len());
        records.push(record);
    }
    Ok(Read { rows: write_rows(&names, &records, bytes.len()), short })
}

/// The line of a quote that opens a cell and is never closed. A reader takes all that is left for one cell then.
fn unclosed_quote(bytes: &[u8], delimiter: u8) -> Option<usize> {
    enum Place {
        CellStart,
        Cell,
        Quoted,
        QuoteWithin,
    }
    memchr::memchr(b'"', bytes)?;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let (mut place, mut line, mut opened) = (Place::CellStart, 1, 1);
    for byte in bytes {
        place = match (place, *byte) {
            (Place::Quoted, b'"') => Place::QuoteWithin,
            (Place::Quoted, _) | (Place::QuoteWithin, b'"') => Place::Quoted,
            (Place::CellStart, b'"') => {
                opened = line;
                Place::Quoted
            }
            (_, b'\n' | b'\r') => Place::CellStart,
            (_, byte) if byte == delimiter => Place::CellStart,
            _ => Place::Cell,
        };
        line += usize::from(*byte == b'\n');
    }
    matches!(place, Place::Quoted).then_some(opened)
}

fn write_rows(names: &[String], records: &[StringRecord], size: usize) -> Bytes {
    let numeric: Vec<bool> = (0..names.len()).map(|column| is_numeric(records, column)).collect();
    let keys: Vec<Vec<u8>> = names
        .iter()
        .map(|name| {
            let mut key = Vec::new();
            push_string(&mut key, name);
            key.push(b':');
            key
        })
        .collect();
    let mut out = Vec::with_capacity(size * 2);
    out.push(b'[');
    for (i, record) in records.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"{" } else { b",{" });
        for (column, key) in keys.iter().enumerate() {
            if column > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key);
            match record.get(column) {
                None | Some("") => out.extend_from_slice(b"null"),
                Some(cell) if numeric[column] => out.extend_from_slice(cell.as_bytes()),
                Some(cell) => push_string(&mut out, cell),
            }
        }
        out.push(b'}');
    }
    out.push(b']');
    out.into()
}

/// Whether every cell that is not empty is a plain number without leading zeros, and one is there.
fn is_numeric(records: &[StringRecord], column: usize) -> bool {
    let mut cells = records.iter().filter_map(|record| record.get(column)).filter(|cell| !cell.is_empty()).peekable();
    cells.peek().is_some() && cells.all(is_plain_number)
}

fn is_plain_number(cell: &str) -> bool {
    let unsigned = cell.strip_prefix('-').unwrap_or(cell);
    let (whole, fraction) = unsigned.split_once('.').map_or((unsigned, None), |(whole, part)| (whole, Some(part)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && fraction.is_none_or(digits)
}

/// Names for all columns: `column_2` for one without, `name_2` for the second of equal ones.
fn column_names(header: &StringRecord) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    for (i, cell) in header.iter().enumerate() {
        let cell = if i == 0 { cell.trim_start_matches('\u{feff}') } else { cell };
        let base = if cell.is_empty() { format!("column_{}", i + 1) } else { cell.to_owned() };
        let taken = |name: &String, names: &[String]| names.contains(name);
        let mut name = base.clone();
        let mut copy = 2;
        while taken(&name, &names) {
            name = format!("{base}_{copy}");
            copy += 1;
        }
        names.push(name);
    }
    names
}

/// The separator of the header line.
fn delimiter(bytes: &[u8]) -> u8 {
    let header = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |separator: u8| header.iter().filter(|byte| **byte == separator).count();
    match (count(b','), count(b';'), count(b'\t')) {
        (0, 0, tabs) if tabs > 0 => b'\t',
        (0, semicolons, tabs) if semicolons > 0 && semicolons >= tabs => b';',
        (0, _, tabs) if tabs > 0 => b'\t',
        _ => b',',
    }
}

/// Whether text of unknown format is rather CSV than JSON: its first character starts no JSON value, or its
/// first line is a list of quoted names.
pub(crate) fn looks_like_csv(text: &[u8]) -> bool {
    if !text.first().is_some_and(|first| *first == b'"' || !b"{[-<0123456789".contains(first)) {
        return false;
    }
    // JSON may stand in one line of any length: only so much is looked at.
    const LONGEST_HEADER: usize = 64 << 10;
    let beginning = &text[..text.len().min(LONGEST_HEADER)];
    let header = beginning.split(|byte| *byte == b'\n').next().unwrap_or_default();
    header.len() < text.len() && header.iter().any(|byte| b",;\t".contains(byte))
}

/// CSV with a header from well-formed JSON rows, columns in order of first appearance. Null is an empty
/// cell; numbers stand as written; arrays and objects stand as their JSON.
///
/// # Errors
/// Says what is not a row.
pub(crate) fn to_csv(rows: &str) -> Result<Vec<u8>, String> {
    let values = elements(rows)?;
    let mut columns: indexmap::IndexMap<String, usize> = indexmap::IndexMap::new();
    for (i, row) in values.iter().enumerate() {
        let note = |key: super::Text<'_>, _: &str| {
            let next = columns.len();
            columns.entry(key.decode().into_owned()).or_insert(next);
        };
        Scanner::new(row).object(note).map_err(|_| format!("row {} is no object", i + 1))?;
    }
    write_csv(&columns, &values).map_err(|error| error.to_string())
}

/// The elements of an array, or the one value that there is.
fn elements(text: &str) -> Result<Vec<&str>, String> {
    let mut values = Vec::new();
    let mut scanner = Scanner::new(text);
    scanner.space();
    let read = match scanner.peek() {
        Some(b'[') => scanner.array(|row| values.push(row)),
        _ => scanner.value().map(|row| values.push(row)),
    };
    read.map_err(|error| format!("expected {} at byte {}", error.expected, error.at))?;
    Ok(values)
}

/// One element a line. Line breaks between a row's members become spaces; within strings there are none.
///
/// # Errors
/// Says where the text is not JSON.
pub(crate) fn to_ndjson(rows: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(rows.len());
    for row in elements(rows)? {
        out.extend(row.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }));
        out.push(b'\n');
    }
    Ok(out)
}

fn write_csv(columns: &indexmap::IndexMap<String, usize>, rows: &[&str]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    if !columns.is_empty() {
        writer.write_record(columns.keys())?;
    }
    for row in rows {
        let mut cells = vec![String::new(); columns.len()];
        let fill = |key: super::Text<'_>, value: &str| {
            if let Some(column) = columns.get(key.decode().as_ref()) {
                cells[*column] = cell_text(value);
            }
        };
        if Scanner::new(row).object(fill).is_ok() && !columns.is_empty() {
            writer.write_record(&cells)?;
        }
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn cell_text(value: &str) -> String {
    match Cell::read(Some(value)) {
        Cell::Null => String::new(),
        Cell::Text(text) => text.into_owned(),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_becomes_rows_that_keep_what_was_written() {
        for (csv, rows) in [
            ("zip,price\n00501,1.10\n10001,2\n", r#"[{"zip":"00501","price":1.10},{"zip":"10001","price":2}]"#),
            ("a,b\n1,\n,x\n", r#"[{"a":1,"b":null},{"a":null,"b":"x"}]"#),
            ("a\n1e5\n", r#"[{"a":"1e5"}]"#),
            ("a\n9007199254740993\n-0.5\n", r#"[{"a":9007199254740993},{"a":-0.5}]"#),
            ("a,a,\n1,2,3\n", r#"[{"a":1,"a_2":2,"column_3":3}]"#),
            ("a;b\n1;\"x;y\"\n", r#"[{"a":1,"b":"x;y"}]"#),
            ("a\tb\r\n1\t2\r\n", r#"[{"a":1,"b":2}]"#),
            ("a,b\n\"line\nbreak\",\"say \"\"hi\"\"\"\n", r#"[{"a":"line\nbreak","b":"say \"hi\""}]"#),
            ("a,b\n1\n", r#"[{"a":1,"b":null}]"#),
            ("a,b\n", "[]"),
            ("a\nx\n1\n", r#"[{"a":"x"},{"a":"1"}]"#),
        ] {
            assert_eq!(from_csv(csv.as_bytes()).unwrap().rows, rows, "{csv:?}");
        }
        assert_eq!(from_csv(b"a,b\n1,2,3\n").err().unwrap(), "line 2 has 3 cells, the header has 2");
    }

    #[test]
    fn a_quote_that_is_never_closed_swallows_nothing() {
        for (csv, line) in [
            ("a,b\n1,\"x\n2,y\n", Some(2)),
            ("a,b\n\"1\n\n\",\"x\n2,y", Some(4)),
            ("a;b\n1;\"x\"\"\n2;y\n", Some(2)),
            ("\"a,b\n1,2\n", Some(1)),
            ("\u{feff}\"a\",b\n1,\"2\n", Some(2)),
            ("a,b\n5\" pipe,\"x\"\n", None),
            ("a,b\n\"5\" pipe,x\n", None),
            ("a,b\n\"say \"\"hi\"\"\",\"x\"", None),
        ] {
            let read = from_csv(csv.as_bytes()).map(|read| read.short);
            let expected = match line {
                Some(line) => Err(format!(
                    "the quote that opens on line {line} is never closed: close it, or double it within a cell"
                )),
                None => Ok(0),
            };
            assert_eq!(read, expected, "{csv:?}");
        }
    }

    #[test]
    fn short_rows_are_counted() {
        assert_eq!(from_csv(b"a,b,c\n1\n1,2,3\n1,2\n").unwrap().short, 2);
        assert_eq!(about_short(0), None);
        assert_eq!(about_short(1).unwrap(), "csv: 1 row is shorter than the header: its missing cells are null");
    }

    #[test]
    fn rows_become_csv() {
        let rows = r#"[{"a":1.10,"b":"x,y"},{"b":null,"c":[1,2]}]"#;
        assert_eq!(String::from_utf8(to_csv(rows).unwrap()).unwrap(), "a,b,c\n1.10,\"x,y\",\n,,\"[1,2]\"\n");
        assert_eq!(to_csv("[]").unwrap(), b"");
        assert!(to_csv("[1]").is_err());
    }
}
