//! Sinks that many operations share.

use super::{Row, RowRef, Rows, Sink};
use crate::table::{
    Limits, TableError,
    read::{Scanner, Text},
};

/// Keeps rows as they are.
#[derive(Default)]
pub(crate) struct Collect {
    pub(crate) refs: Vec<RowRef>,
}

impl<'a> Sink<'a> for Collect {
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        self.refs.push(row.at);
        Ok(())
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        self.refs.extend(later.refs);
        Ok(())
    }
}

/// New rows, written one after another into buffers of its own.
pub(crate) struct Writer {
    rows: Rows,
    /// The buffer that is being filled: the next one of `rows`.
    buffer: Vec<u8>,
    started: usize,
    written: usize,
    max_bytes: usize,
    max_rows: usize,
}

impl Writer {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            rows: Rows::default(),
            buffer: Vec::new(),
            started: 0,
            written: 0,
            max_bytes: limits.max_table_bytes,
            max_rows: limits.max_rows,
        }
    }

    /// Where the row that is being written goes.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Appends `"key":value`, with the comma before it where the row has a member already.
    pub(crate) fn member(&mut self, key: &str, value: &str) {
        self.separate();
        crate::table::read::push_string(&mut self.buffer, key);
        self.buffer.push(b':');
        self.buffer.extend_from_slice(value.as_bytes());
    }

    /// Appends a member whose key stands as it is written, escapes and all.
    pub(crate) fn raw_member(&mut self, key: &str, value: &str) {
        self.separate();
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(key.as_bytes());
        self.buffer.extend_from_slice(b"\":");
        self.buffer.extend_from_slice(value.as_bytes());
    }

    /// Writes a row anew with one member set: in its place where the row has it, else at the end.
    pub(crate) fn set_member(&mut self, row: &str, present: bool, key: &str, value: &str) -> Result<(), TableError> {
        if !present {
            self.copy_open(row);
            self.member(key, value);
            return self.end_object();
        }
        for (name, old) in members(row) {
            self.raw_member(name.raw, if name.is(key) { value } else { old });
        }
        self.end_object()
    }

    /// Begins a row with all members of another one, left open for more.
    pub(crate) fn copy_open(&mut self, row: &str) {
        let inner = row.get(1..row.len() - 1).unwrap_or_default().trim_ascii_end();
        if !inner.is_empty() {
            self.buffer.push(b'{');
            self.buffer.extend_from_slice(inner.as_bytes());
        }
    }

    /// Appends members that are already written, with commas between them.
    pub(crate) fn raw_members(&mut self, members: &[u8]) {
        if !members.is_empty() {
            self.separate();
            self.buffer.extend_from_slice(members);
        }
    }

    fn separate(&mut self) {
        let first = self.buffer.len() == self.started;
        self.buffer.push(if first { b'{' } else { b',' });
    }

    /// Ends a row that was written member by member.
    pub(crate) fn end_object(&mut self) -> Result<(), TableError> {
        if self.buffer.len() == self.started {
            self.buffer.push(b'{');
        }
        self.buffer.push(b'}');
        self.end_row()
    }

    /// Ends a row that was written as a whole.
    pub(crate) fn end_row(&mut self) -> Result<(), TableError> {
        let length = self.buffer.len() - self.started;
        let (Ok(length), Ok(buffer)) = (u32::try_from(length), u32::try_from(self.rows.buffers.len())) else {
            return Err(TableError::limit("one row is larger than 4 GiB"));
        };
        self.written += length as usize;
        if self.written > self.max_bytes {
            return Err(TableError::limit(format!(
                "the step writes more than {} bytes: filter or select earlier, or raise pipeline.max_response_bytes",
                self.max_bytes
            )));
        }
        if self.rows.refs.len() == self.max_rows {
            return Err(TableError::limit(format!(
                "the step gives more than {} rows: filter earlier, or raise pipeline.max_rows",
                self.max_rows
            )));
        }
        self.rows.refs.push(RowRef { start: self.started, length, buffer });
        self.started = self.buffer.len();
        Ok(())
    }

    /// Appends the rows that another writer wrote.
    pub(crate) fn absorb(&mut self, later: Self) {
        self.seal();
        self.written += later.written;
        self.rows.append(later.finish());
    }

    /// Ends the buffer.
    fn seal(&mut self) {
        self.rows.buffers.push(std::mem::take(&mut self.buffer).into());
        self.started = 0;
    }

    /// The rows written.
    pub(crate) fn finish(mut self) -> Rows {
        self.seal();
        self.rows
    }
}

/// The members of a row, in order.
pub(crate) fn members(row: &str) -> Vec<(Text<'_>, &str)> {
    let mut members = Vec::new();
    // Rows in a pass are well formed.
    let _ = Scanner::new(row).object(|key, value| members.push((key, value)));
    members
}
