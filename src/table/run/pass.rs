//! One pass over a table: rows are scanned, waiting filters applied, and what is left goes into a sink.
//!
//! Large tables are cut into parts, one a thread. A text is cut at a guess where a row may begin. The guess
//! proves itself: a part that does not end exactly behind a row's comma is malformed, and then the whole
//! pass is done again in one part.

use std::{ops::Range, thread};

use bytes::Bytes;

use super::{Control, Cx, Data, Limits, RowRef, Table};
use crate::table::{
    TableError,
    error::absent,
    limits::Ticker,
    ops::{BoundFilter, Skipped},
    read::{Document, Layout, Malformed, Scanner, Shape, Slots, Template, malformed},
    value::Kind,
};

/// A row on its way through a pass.
pub(crate) struct Row<'a, 's> {
    pub(crate) at: RowRef,
    pub(crate) text: &'a str,
    pub(crate) slots: &'s Slots<'a>,
}

/// Where the rows of a pass end up. One sink a part; they are put together in order.
pub(crate) trait Sink<'a>: Send + Sized {
    /// Takes the next row.
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError>;

    /// Takes what the sink of the next part took.
    fn absorb(&mut self, later: Self) -> Result<(), TableError>;
}

/// What a pass counted.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) rows_in: usize,
    /// Rows that each filter let through.
    pub(super) passed: Vec<usize>,
    pub(super) skipped: Vec<Skipped>,
    /// Whether any row had each key of the layout.
    seen: Vec<bool>,
}

/// Bytes of a part below which a second thread costs more than it brings. Tests cut small tables too.
const MIN_PART_BYTES: usize = if cfg!(test) { 16 } else { 1 << 20 };

/// Longest distance searched for the beginning of a row when a text is cut.
const CUT_SEARCH_BYTES: usize = 1 << 20;

#[derive(Clone)]
enum Part<'a> {
    /// A range of a document: whether the document's rows begin and end in it.
    Text { document: &'a Document, buffer: u32, range: Range<usize>, first: bool, last: bool },
    /// Some of the rows that were read before.
    Refs { buffers: &'a [Bytes], refs: &'a [RowRef] },
}

enum Stop {
    Malformed(Malformed),
    NotAnObject(Kind, usize),
    Error(TableError),
}

impl From<Malformed> for Stop {
    fn from(fault: Malformed) -> Self {
        Self::Malformed(fault)
    }
}

impl From<TableError> for Stop {
    fn from(error: TableError) -> Self {
        Self::Error(error)
    }
}

/// The fixed side of a pass, shared by its parts.
struct Plan<'a, 'b> {
    layout: &'b Layout,
    filters: &'b [BoundFilter<'b>],
    limits: &'b Limits,
    control: &'b Control<'b>,
    rows: std::marker::PhantomData<&'a ()>,
}

impl Cx<'_> {
    /// Runs a pass. `layout` knows the fields that the sinks need; `make` makes a sink.
    pub(crate) fn pass<'a, S: Sink<'a>>(
        &mut self,
        table: &'a Table,
        mut layout: Layout,
        make: impl Fn() -> S + Sync,
    ) -> Result<S, TableError> {
        let (sink, counts) = self.counted_pass(table, &mut layout, make)?;
        self.note_pass(table, &counts);
        if counts.rows_in > 0 {
            for name in layout.absent(&counts.seen) {
                self.warn(absent(name, &table.first_keys()));
            }
        }
        Ok(sink)
    }

    /// Runs a pass that is not what the step is about: no figures are kept of it.
    pub(crate) fn side_pass<'a, S: Sink<'a>>(
        &self,
        table: &'a Table,
        mut layout: Layout,
        make: impl Fn() -> S + Sync,
    ) -> Result<S, TableError> {
        Ok(self.counted_pass(table, &mut layout, make)?.0)
    }

    fn counted_pass<'a, S: Sink<'a>>(
        &self,
        table: &'a Table,
        layout: &mut Layout,
        make: impl Fn() -> S + Sync,
    ) -> Result<(S, Counts), TableError> {
        let filters: Vec<BoundFilter<'_>> = table.filters.iter().map(|pending| pending.filter.bind(layout)).collect();
        let plan = Plan {
            layout,
            filters: &filters,
            limits: self.limits,
            control: self.control,
            rows: std::marker::PhantomData,
        };
        let (sink, counts) = plan.run(table, self.control.threads, &make)?;
        self.check_rows(counts.rows_in)?;
        Ok((sink, counts))
    }
}

impl<'a> Plan<'a, '_> {
    fn run<S: Sink<'a>>(
        &self,
        table: &'a Table,
        threads: usize,
        make: &(impl Fn() -> S + Sync),
    ) -> Result<(S, Counts), TableError> {
        let parts = parts(table, threads);
        let results = self.run_parts(&parts, make);
        let guessed_wrong = parts.len() > 1
            && results.iter().any(|result| matches!(result, Err(Stop::Malformed(_) | Stop::NotAnObject(..))));
        if guessed_wrong {
            let whole = whole_parts(table);
            let results = whole.iter().map(|part| self.run_part(part, make())).collect();
            return self.put_together(&whole, results);
        }
        self.put_together(&parts, results)
    }

    fn run_parts<S: Sink<'a>>(
        &self,
        parts: &[Part<'a>],
        make: &(impl Fn() -> S + Sync),
    ) -> Vec<Result<Worker<'a, '_, S>, Stop>> {
        let Some((first, others)) = parts.split_first() else { return Vec::new() };
        thread::scope(|scope| {
            let others: Vec<_> = others.iter().map(|part| scope.spawn(move || self.run_part(part, make()))).collect();
            let first = self.run_part(first, make());
            let joined = others.into_iter().map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            std::iter::once(first).chain(joined).collect()
        })
    }

    fn run_part<S: Sink<'a>>(&self, part: &Part<'a>, sink: S) -> Result<Worker<'a, '_, S>, Stop> {
        let mut worker = Worker {
            plan: self,
            sink,
            slots: vec![None; self.layout.len()],
            template: Template::default(),
            ticker: Ticker::new(self.control),
            counts: Counts {
                rows_in: 0,
                passed: vec![0; self.filters.len()],
                skipped: self.filters.iter().map(|filter| filter.skipped()).collect(),
                seen: vec![false; self.layout.len()],
            },
        };
        match part {
            Part::Text { document, buffer, range, first, last } => {
                let text = crate::table::read::utf8(&document.bytes[range.clone()])
                    .map_err(|fault| Malformed { at: fault.at + range.start, ..fault })?;
                let shape = document.shape;
                let rows = TextRows { text, base: range.start, buffer: *buffer, shape, first: *first, last: *last };
                worker.text(&rows).map_err(|stop| match stop {
                    Stop::Malformed(fault) => Stop::Malformed(Malformed { at: fault.at + range.start, ..fault }),
                    stop => stop,
                })?;
            }
            Part::Refs { buffers, refs } => worker.refs(buffers, refs)?,
        }
        Ok(worker)
    }

    fn put_together<S: Sink<'a>>(
        &self,
        parts: &[Part<'a>],
        results: Vec<Result<Worker<'a, '_, S>, Stop>>,
    ) -> Result<(S, Counts), TableError> {
        let mut all: Option<(S, Counts)> = None;
        for (part, result) in parts.iter().zip(results) {
            let before = all.as_ref().map_or(0, |(_, counts)| counts.rows_in);
            let worker = result.map_err(|stop| stop.into_error(part, before))?;
            match &mut all {
                None => all = Some((worker.sink, worker.counts)),
                Some((sink, counts)) => {
                    sink.absorb(worker.sink)?;
                    counts.absorb(worker.counts);
                }
            }
        }
        all.ok_or_else(|| TableError::failed("there is no data to read"))
    }
}

impl Counts {
    fn absorb(&mut self, later: Self) {
        self.rows_in += later.rows_in;
        self.passed.iter_mut().zip(later.passed).for_each(|(sum, more)| *sum += more);
        self.seen.iter_mut().zip(later.seen).for_each(|(seen, more)| *seen |= more);
        self.skipped.iter_mut().zip(&later.skipped).for_each(|(sum, more)| sum.absorb(more));
    }
}

impl Stop {
    fn into_error(self, part: &Part<'_>, rows_before: usize) -> TableError {
        match (self, part) {
            (Self::Error(error), _) => error,
            (Self::NotAnObject(kind, row), _) => {
                let name = kind.name();
                TableError::failed(format!(
                    "row {} is {} {name}; table steps need rows that are objects",
                    rows_before + row,
                    if matches!(kind, Kind::Array | Kind::Object) { "an" } else { "a" },
                ))
                .with_found(name)
            }
            (Self::Malformed(fault), Part::Text { document, .. }) => {
                malformed(&document.source, &document.bytes, fault)
            }
            (Self::Malformed(fault), Part::Refs { .. }) => {
                TableError::failed(format!("a row is not valid JSON: expected {}", fault.expected))
            }
        }
    }
}

/// The rows within a range of a document.
struct TextRows<'a> {
    text: &'a str,
    base: usize,
    buffer: u32,
    shape: Shape,
    first: bool,
    last: bool,
}

/// One part on its way through the pass.
struct Worker<'a, 'b, S> {
    plan: &'b Plan<'a, 'b>,
    sink: S,
    slots: Vec<Option<&'a str>>,
    template: Template,
    ticker: Ticker<'b>,
    counts: Counts,
}

impl<'a, S: Sink<'a>> Worker<'a, '_, S> {
    fn text(&mut self, rows: &TextRows<'a>) -> Result<(), Stop> {
        let mut scanner = Scanner::new(rows.text);
        scanner.space();
        if rows.shape != Shape::Array {
            while scanner.peek().is_some() {
                self.scan_row(&mut scanner, rows)?;
                scanner.space();
            }
            return Ok(());
        }
        if rows.first {
            scanner.expect(b'[', "an array")?;
            scanner.space();
            if scanner.take(b']') {
                return Ok(scanner.end()?);
            }
        }
        loop {
            self.scan_row(&mut scanner, rows)?;
            scanner.space();
            if scanner.take(b',') {
                scanner.space();
                if !rows.last && scanner.at() == rows.text.len() {
                    return Ok(());
                }
            } else if rows.last {
                scanner.expect(b']', "',' or ']'")?;
                return Ok(scanner.end()?);
            } else {
                return Err(Malformed { at: scanner.at(), expected: "','" }.into());
            }
        }
    }

    #[inline]
    fn scan_row(&mut self, scanner: &mut Scanner<'a>, rows: &TextRows<'a>) -> Result<(), Stop> {
        let start = scanner.at();
        if scanner.peek() != Some(b'{') {
            let value = scanner.value()?;
            return Err(Stop::NotAnObject(Kind::of(value), self.counts.rows_in + 1));
        }
        self.slots.fill(None);
        let text = if self.slots.is_empty() {
            scanner.value()?
        } else {
            let (layout, slots) = (self.plan.layout, &mut self.slots);
            self.template.row(scanner, layout, slots)?
        };
        let Ok(length) = u32::try_from(text.len()) else {
            return Err(TableError::limit("one row is larger than 4 GiB").into());
        };
        self.offer(RowRef { start: rows.base + start, length, buffer: rows.buffer }, text)
    }

    fn refs(&mut self, buffers: &'a [Bytes], refs: &'a [RowRef]) -> Result<(), Stop> {
        for at in refs {
            let bytes = &buffers[at.buffer as usize][at.start..at.start + at.length as usize];
            let text = crate::table::read::utf8(bytes)?;
            if !text.starts_with('{') {
                return Err(Stop::NotAnObject(Kind::of(text), self.counts.rows_in + 1));
            }
            if !self.slots.is_empty() {
                self.slots.fill(None);
                let (layout, slots) = (self.plan.layout, &mut self.slots);
                self.template.row(&mut Scanner::new(text), layout, slots)?;
            }
            self.offer(*at, text)?;
        }
        Ok(())
    }

    /// A whole row: through the filters into the sink.
    #[inline]
    fn offer(&mut self, at: RowRef, text: &'a str) -> Result<(), Stop> {
        self.ticker.tick()?;
        self.counts.rows_in += 1;
        if self.counts.rows_in > self.plan.limits.max_rows {
            return Err(super::too_many_rows(self.plan.limits).into());
        }
        self.counts.seen.iter_mut().zip(&self.slots).for_each(|(seen, slot)| *seen |= slot.is_some());
        for (i, filter) in self.plan.filters.iter().enumerate() {
            if !filter.keeps(&self.slots, &mut self.counts.skipped[i]) {
                return Ok(());
            }
            self.counts.passed[i] += 1;
        }
        Ok(self.sink.row(&Row { at, text, slots: &self.slots })?)
    }
}

/// The table in parts for as many threads as are worth it.
fn parts(table: &Table, threads: usize) -> Vec<Part<'_>> {
    match &table.data {
        Data::Documents(documents) => {
            let total: usize = documents.iter().map(|document| document.bytes.len()).sum();
            let wanted = threads.min(total / MIN_PART_BYTES).max(1);
            if wanted == 1 {
                return whole_parts(table);
            }
            let share = total / wanted;
            documents
                .iter()
                .enumerate()
                .flat_map(|(i, document)| text_parts(document, i, (document.bytes.len() / share.max(1)).max(1)))
                .collect()
        }
        Data::Rows(rows) => {
            let bytes: usize = rows.refs.iter().map(|at| at.length as usize).sum();
            let wanted = threads.min(bytes / MIN_PART_BYTES).max(1);
            let share = rows.refs.len().div_ceil(wanted).max(1);
            let chunks = rows.refs.chunks(share).map(|refs| Part::Refs { buffers: &rows.buffers, refs });
            let parts: Vec<_> = chunks.collect();
            if parts.is_empty() { whole_parts(table) } else { parts }
        }
    }
}

/// The table with nothing cut.
fn whole_parts(table: &Table) -> Vec<Part<'_>> {
    match &table.data {
        Data::Documents(documents) => {
            documents.iter().enumerate().flat_map(|(i, document)| text_parts(document, i, 1)).collect()
        }
        Data::Rows(rows) => vec![Part::Refs { buffers: &rows.buffers, refs: &rows.refs }],
    }
}

fn text_parts(document: &Document, index: usize, count: usize) -> Vec<Part<'_>> {
    let buffer = u32::try_from(index).unwrap_or(u32::MAX);
    let length = document.bytes.len();
    let mut cuts = vec![0];
    for i in 1..count {
        let guess = (length / count * i).max(cuts[cuts.len() - 1] + 1);
        cuts.extend(cut(document, guess).filter(|cut| *cut < length));
    }
    cuts.dedup();
    let ends = cuts.iter().skip(1).copied().chain([length]);
    let ranges: Vec<_> = cuts.iter().copied().zip(ends).collect();
    let last = ranges.len() - 1;
    let part = |(i, (start, end))| Part::Text { document, buffer, range: start..end, first: i == 0, last: i == last };
    ranges.into_iter().enumerate().map(part).collect()
}

/// Where a row probably begins, at or after `from`: behind a comma, with the same first key as the first row.
fn cut(document: &Document, from: usize) -> Option<usize> {
    let bytes = &document.bytes;
    let window = bytes.get(from..bytes.len().min(from + CUT_SEARCH_BYTES))?;
    match document.shape {
        Shape::Single => None,
        Shape::Sequence => memchr::memchr(b'\n', window).map(|at| from + at + 1),
        Shape::Array => {
            let opening = opening(bytes)?;
            let begins = memchr::memmem::find_iter(window, opening).map(|at| from + at);
            let after_comma =
                |at: &usize| bytes[..*at].iter().rev().find(|byte| !byte.is_ascii_whitespace()) == Some(&b',');
            begins.into_iter().find(after_comma)
        }
    }
}

/// The first row up to its first colon: `{"id":`.
fn opening(bytes: &[u8]) -> Option<&[u8]> {
    /// A first key longer than this is not worth the search.
    const LONGEST: usize = 256;
    let start = bytes.iter().take(LONGEST).position(|byte| *byte == b'{')?;
    let rest = &bytes[start..bytes.len().min(start + LONGEST)];
    Some(&rest[..=memchr::memchr(b':', rest)?])
}
