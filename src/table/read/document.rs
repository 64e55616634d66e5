//! One body of data and where its rows are, before any row is looked at.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    Malformed, Path, Scanner,
    csv::{from_csv, looks_like_csv},
};
use crate::{
    job::ErrorCode,
    table::{Body, Format, TableError},
};

/// How rows stand in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Elements of one array.
    Array,
    /// Values one after another, a line each or not.
    Sequence,
    /// One value: an object is one row.
    Single,
}

/// Where a document came from: whom to blame when it is malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// `http_failed` for what a server sent, else `pipeline_failed`.
    pub(crate) code: ErrorCode,
    /// How a message calls it: `the answer of https://…`.
    pub(crate) name: String,
    /// The step that brought it.
    pub(crate) step: Option<(usize, String)>,
    /// Whether it is what the run was given.
    pub(crate) is_input: bool,
}

impl Source {
    /// The data a run starts from, or that another job left.
    pub(crate) fn given(name: impl Into<String>) -> Self {
        Self { code: ErrorCode::PipelineFailed, name: name.into(), step: None, is_input: false }
    }

    /// The data that the run was given.
    pub(crate) fn input() -> Self {
        Self { is_input: true, ..Self::given("the input") }
    }

    /// An error about this document.
    pub(crate) fn error(&self, message: &str) -> TableError {
        let error = TableError::new(self.code, format!("{} {message}", self.name));
        match &self.step {
            Some((number, step)) => error.at_step(*number, step),
            None => error,
        }
    }
}

/// A document whose first value has been looked at; its rows are checked as they are read.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) bytes: Bytes,
    pub(crate) shape: Shape,
    pub(crate) source: Source,
    /// Rows of CSV that were shorter than its header.
    pub(crate) short_rows: usize,
}

impl Document {
    /// Takes a body. CSV becomes JSON rows here; JSON is not yet checked beyond its first character, unless
    /// it is a single value.
    pub(crate) fn open(body: &Body, source: Source) -> Result<Self, TableError> {
        let bytes = without_mark(&body.bytes);
        let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
        let Some(start) = start else {
            return match body.format {
                Format::Csv | Format::Ndjson => Ok(Self::of_rows(Bytes::from_static(b"[]"), source)),
                _ => Err(source.error("is empty: nothing there is JSON").with_found("an empty body")),
            };
        };
        let csv = body.format == Format::Csv || body.format == Format::Auto && looks_like_csv(&bytes[start..]);
        if csv {
            let read = from_csv(&bytes).map_err(|error| source.error(&format!("is not readable CSV: {error}")))?;
            return Ok(Self { short_rows: read.short, ..Self::of_rows(read.rows, source) });
        }
        if bytes[start] == b'[' && body.format != Format::Ndjson {
            return Ok(Self { bytes: bytes.slice(start..), shape: Shape::Array, source, short_rows: 0 });
        }
        let shape = match body.format {
            Format::Ndjson => Shape::Sequence,
            format => shape_of_values(&bytes, format).map_err(|at| malformed(&source, &bytes, at))?,
        };
        Ok(Self { bytes, shape, source, short_rows: 0 })
    }

    /// An array of rows that we wrote ourselves.
    pub(crate) fn of_rows(bytes: Bytes, source: Source) -> Self {
        Self { bytes, shape: Shape::Array, source, short_rows: 0 }
    }

    /// The part of the document at `path`; nothing at all when no value is there.
    pub(crate) fn part(&self, path: &str) -> Result<Option<Self>, TableError> {
        let text = self.text()?;
        let mut scanner = Scanner::new(text);
        scanner.space();
        let whole = scanner.value().and_then(|value| scanner.end().map(|()| value));
        let whole = whole.map_err(|at| malformed(&self.source, &self.bytes, at))?;
        Ok(found_at(whole, path).map(|part| {
            let shape = if part.starts_with('[') { Shape::Array } else { Shape::Single };
            Self { bytes: self.bytes.slice_ref(part.as_bytes()), shape, ..self.clone() }
        }))
    }

    /// The whole text.
    pub(crate) fn text(&self) -> Result<&str, TableError> {
        utf8(&self.bytes).map_err(|at| malformed(&self.source, &self.bytes, at))
    }
}

/// The well-formed value at a path that may be written `a.b`, `$.a.b` or, as one key, as it is.
pub(crate) fn found_at<'a>(value: &'a str, path: &str) -> Option<&'a str> {
    let path = path.strip_prefix("$.").or_else(|| path.strip_prefix('$')).unwrap_or(path);
    if path.is_empty() {
        return Some(value);
    }
    let mut literal = None;
    if value.starts_with('{') {
        Scanner::new(value)
            .object(|key, value| {
                if key.is(path) {
                    literal = Some(value);
                }
            })
            .ok()?;
    }
    literal.or_else(|| Path::parse(path)?.find(value))
}

/// UTF-8, or where it stops being that.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    simdutf8::basic::from_utf8(bytes).or_else(|_| {
        std::str::from_utf8(bytes).map_err(|error| Malformed { at: error.valid_up_to(), expected: "UTF-8" })
    })
}

/// One value, or several in a row where the format leaves that open.
fn shape_of_values(bytes: &[u8], format: Format) -> Result<Shape, Malformed> {
    let mut scanner = Scanner::new(utf8(bytes)?);
    scanner.space();
    scanner.value()?;
    match scanner.end() {
        Ok(()) => Ok(Shape::Single),
        Err(_) if format == Format::Auto && scanner.peek().is_some_and(|byte| b"{[\"".contains(&byte)) => {
            Ok(Shape::Sequence)
        }
        Err(error) => Err(error),
    }
}

/// Without the byte order mark that some exports start with.
fn without_mark(bytes: &Bytes) -> Bytes {
    if bytes.starts_with(b"\xEF\xBB\xBF") { bytes.slice(3..) } else { bytes.clone() }
}

/// Says what is wrong where in a document.
pub(crate) fn malformed(source: &Source, bytes: &[u8], fault: Malformed) -> TableError {
    /// Characters shown of what was found.
    const SHOWN: usize = 20;
    let at = fault.at.min(bytes.len());
    let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = at - bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1) + 1;
    let rest = &bytes[at..bytes.len().min(at + 4 * SHOWN)];
    let found: Cow<'_, str> = if rest.is_empty() {
        "the end of the text".into()
    } else {
        let shown: String = String::from_utf8_lossy(rest).chars().take(SHOWN).collect();
        format!("{shown:?}").into()
    };
    let expected = fault.expected;
    let message = format!("is not valid JSON at line {line}, column {column}: expected {expected}, found {found}");
    let error = source.error(&message).with_found(found);
    TableError { of_input: source.is_input, ..error }
}
