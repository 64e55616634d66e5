//! What flows from step to step: documents not yet read, or rows that are slices of buffers, with filters
//! that wait for the next pass over them.

use std::sync::Arc;

use bytes::Bytes;

use super::{Collect, Cx};
use crate::{
    job::RawJson,
    table::{
        TableError,
        columns::keys_of,
        ops::Filter,
        read::{Document, Layout, Scanner, Shape, malformed},
    },
};

/// One row: a slice of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowRef {
    pub(crate) start: usize,
    pub(crate) length: u32,
    pub(crate) buffer: u32,
}

/// Rows in order, and the buffers they are slices of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) buffers: Vec<Bytes>,
    pub(crate) refs: Vec<RowRef>,
}

impl Rows {
    /// The bytes of a row.
    #[inline]
    pub(crate) fn bytes(&self, at: RowRef) -> &[u8] {
        &self.buffers[at.buffer as usize][at.start..at.start + at.length as usize]
    }

    /// The text of a row; every row was checked when it came in.
    pub(crate) fn text(&self, at: RowRef) -> &str {
        simdutf8::basic::from_utf8(self.bytes(at)).unwrap_or("null")
    }

    /// Appends rows of another table.
    pub(crate) fn append(&mut self, other: Self) {
        let shift = u32::try_from(self.buffers.len()).unwrap_or(u32::MAX);
        self.buffers.extend(other.buffers);
        self.refs.extend(other.refs.into_iter().map(|at| RowRef { buffer: at.buffer + shift, ..at }));
    }

    /// All rows as one JSON array.
    pub(crate) fn to_json(&self) -> RawJson {
        let mut out = Vec::with_capacity(self.json_size());
        self.write_json(&mut out);
        RawJson::from_trusted(out)
    }

    /// Room enough for all rows as one JSON array.
    pub(crate) fn json_size(&self) -> usize {
        self.refs.iter().map(|at| at.length as usize + 1).sum::<usize>() + 2
    }

    /// Appends all rows as one JSON array.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (i, at) in self.refs.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(self.bytes(*at));
        }
        out.push(b']');
    }
}

/// What a pipeline leaves.
pub(crate) enum Left {
    Rows(Rows),
    /// A document that no step touched, and the number of its values.
    Document(Bytes, usize),
}

impl Left {
    /// How many rows; 1 for one value.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.refs.len(),
            Self::Document(_, count) => *count,
        }
    }

    /// As one JSON text.
    pub(crate) fn into_json(self) -> RawJson {
        match self {
            Self::Rows(rows) => rows.to_json(),
            Self::Document(bytes, _) => RawJson::from_trusted(bytes),
        }
    }
}

/// A filter that has not been applied yet, with the step it belongs to.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) step: usize,
    pub(crate) filter: Arc<Filter>,
}

#[derive(Clone)]
pub(crate) enum Data {
    /// Bodies as they came; several are pages of one table.
    Documents(Vec<Document>),
    /// Rows that were read.
    Rows(Rows),
}

/// The data between two steps.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) data: Data,
    pub(crate) filters: Vec<Pending>,
}

impl From<Rows> for Table {
    fn from(rows: Rows) -> Self {
        Self { data: Data::Rows(rows), filters: Vec::new() }
    }
}

impl From<Vec<Document>> for Table {
    fn from(documents: Vec<Document>) -> Self {
        Self { data: Data::Documents(documents), filters: Vec::new() }
    }
}

impl Table {
    /// The buffers that this table's rows are slices of.
    pub(crate) fn buffers(&self) -> Vec<Bytes> {
        match &self.data {
            Data::Documents(documents) => documents.iter().map(|document| document.bytes.clone()).collect(),
            Data::Rows(rows) => rows.buffers.clone(),
        }
    }

    /// The keys of the first row, to say what may be meant.
    pub(crate) fn first_keys(&self) -> Vec<String> {
        let first = match &self.data {
            Data::Rows(rows) => rows.refs.first().map(|at| rows.text(*at)),
            Data::Documents(documents) => documents.first().and_then(|document| document.text().ok()),
        };
        let first = first.unwrap_or_default().trim_ascii_start();
        keys_of(first.strip_prefix('[').unwrap_or(first))
    }

    /// How many rows there are, where that is known without a pass.
    pub(crate) fn known_count(&self) -> Option<usize> {
        match &self.data {
            Data::Rows(rows) if self.filters.is_empty() => Some(rows.refs.len()),
            _ => None,
        }
    }

    /// The one document that this table still is as it came.
    pub(crate) fn single_document(&self) -> Option<&Document> {
        match &self.data {
            Data::Documents(documents) if self.filters.is_empty() && documents.len() == 1 => documents.first(),
            _ => None,
        }
    }

    /// Reads all rows and applies what was waiting.
    pub(crate) fn into_rows(self, cx: &mut Cx<'_>) -> Result<Rows, TableError> {
        match self.data {
            Data::Rows(rows) if self.filters.is_empty() => Ok(rows),
            _ => {
                let refs = cx.pass(&self, Layout::default(), Collect::default)?.refs;
                Ok(Rows { buffers: self.buffers(), refs })
            }
        }
    }

    /// The end of a pipeline. A document that no step touched stays as it came.
    pub(crate) fn into_left(self, cx: &mut Cx<'_>) -> Result<Left, TableError> {
        if let Some(document) = self.single_document().filter(|document| document.shape != Shape::Sequence) {
            let count = count_values(document, cx)?;
            return Ok(Left::Document(document.bytes.clone(), count));
        }
        if let Data::Documents(documents) = &self.data
            && self.filters.is_empty()
        {
            let mut rows = Rows::default();
            for document in documents {
                rows.append(any_rows(document, cx)?);
            }
            return Ok(Left::Rows(rows));
        }
        self.into_rows(cx).map(Left::Rows)
    }
}

/// Checks a whole document and counts the elements of its array; a single value counts as one.
fn count_values(document: &Document, cx: &Cx<'_>) -> Result<usize, TableError> {
    if document.shape == Shape::Single {
        document.text()?;
        return Ok(1);
    }
    Ok(any_rows(document, cx)?.refs.len())
}

/// The elements of a document, whatever they are.
pub(crate) fn any_rows(document: &Document, cx: &Cx<'_>) -> Result<Rows, TableError> {
    let text = document.text()?;
    let fault = |at| malformed(&document.source, &document.bytes, at);
    let mut rows = Rows { buffers: vec![document.bytes.clone()], refs: Vec::new() };
    let mut scanner = Scanner::new(text);
    scanner.space();
    let mut ticker = cx.ticker();
    let mut late = Ok(());
    let mut take = |value: &str| {
        let start = value.as_ptr() as usize - text.as_ptr() as usize;
        rows.refs.push(RowRef { start, length: u32::try_from(value.len()).unwrap_or(u32::MAX), buffer: 0 });
        if late.is_ok() {
            late = ticker.tick();
        }
    };
    match document.shape {
        Shape::Array => scanner.array(take).and_then(|()| scanner.end()).map_err(fault)?,
        Shape::Single | Shape::Sequence => {
            while scanner.peek().is_some() {
                take(scanner.value().map_err(fault)?);
                scanner.space();
            }
        }
    }
    late?;
    cx.check_rows(rows.refs.len())?;
    Ok(rows)
}
