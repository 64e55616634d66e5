//! `table_sort` and `top_k`: a stable order, whole or only its first rows.

use std::{cmp::Ordering, collections::BinaryHeap};

use schemars::JsonSchema;
use serde::Deserialize;

use super::Operation;
use crate::table::{
    TableError,
    limits::Ticker,
    plan::{Cast, Checker, Columns, Compiler, Direction, Nulls, Spec, one_or_many, whole},
    read::{Field, FieldSlot, Layout, Slots},
    run::{Cx, Row, RowRef, Rows, Sink, Table},
    value::Cell,
};

/// Sorts rows; equal rows keep their order, null and missing come last.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SortSpec {
    /// The field to sort by; instead of `by`.
    field: Option<String>,
    /// `asc` (default) or `desc`.
    order: Option<Direction>,
    nulls: Option<Nulls>,
    /// `number` reads numeric text as a number.
    cast: Option<Cast>,
    /// Several keys, the first decides first.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "Option<Vec<SortKeySpec>>")]
    by: Option<Vec<SortKeySpec>>,
}

/// One sort key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SortKeySpec {
    field: String,
    order: Option<Direction>,
    /// Where null and missing go: `last` (default) or `first`.
    nulls: Option<Nulls>,
    cast: Option<Cast>,
}

impl From<String> for SortKeySpec {
    fn from(field: String) -> Self {
        Self { field, order: None, nulls: None, cast: None }
    }
}

/// The first k rows; with `by`, the k rows with the largest values there (smallest with `order: asc`).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopKSpec {
    /// How many rows.
    #[serde(deserialize_with = "whole")]
    #[schemars(with = "u64", range(min = 1))]
    k: u64,
    /// The field whose largest values are wanted.
    by: Option<String>,
    /// `desc` (default) or `asc`.
    order: Option<Direction>,
    /// `number` reads numeric text as a number.
    cast: Option<Cast>,
}

impl Spec for SortSpec {
    const NAME: &'static str = "table_sort";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let specs = match (self.field, self.by) {
            (Some(field), None) => {
                vec![SortKeySpec { field, order: self.order, nulls: self.nulls, cast: self.cast }]
            }
            (None, Some(by)) if !by.is_empty() => by
                .into_iter()
                .map(|key| SortKeySpec {
                    order: key.order.or(self.order),
                    nulls: key.nulls.or(self.nulls),
                    cast: key.cast.or(self.cast),
                    ..key
                })
                .collect(),
            (Some(_), Some(_)) => {
                return Err(TableError::invalid("give either field or by, not both").with_field("by"));
            }
            _ => return Err(TableError::invalid("needs a field to sort by, or by with several").with_field("field")),
        };
        let keys = specs
            .into_iter()
            .map(|key| SortKey {
                field: Field::new(&key.field),
                descending: key.order == Some(Direction::Desc),
                nulls_first: key.nulls == Some(Nulls::First),
                cast: key.cast.is_some(),
            })
            .collect();
        Ok(Box::new(Sort { keys, first: None }))
    }
}

impl Spec for TopKSpec {
    const NAME: &'static str = "top_k";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let k = usize::try_from(self.k).unwrap_or(usize::MAX);
        if k == 0 {
            return Err(TableError::invalid("k must be a whole number from 1").with_field("k").with_found("0"));
        }
        if self.by.is_none() && self.order.is_some() {
            return Err(TableError::invalid("order needs by: without it the first k rows are taken").with_field("by"));
        }
        Ok(match self.by {
            None => Box::new(First { k }),
            Some(field) => {
                let key = SortKey {
                    field: Field::new(&field),
                    descending: self.order != Some(Direction::Asc),
                    nulls_first: false,
                    cast: self.cast.is_some(),
                };
                Box::new(TopK { keys: vec![key], k })
            }
        })
    }
}

#[derive(Debug)]
struct SortKey {
    field: Field,
    descending: bool,
    nulls_first: bool,
    cast: bool,
}

struct Sort {
    keys: Vec<SortKey>,
    /// Set when only the first rows matter afterwards.
    first: Option<usize>,
}

struct TopK {
    keys: Vec<SortKey>,
    k: usize,
}

struct First {
    k: usize,
}

impl Operation for Sort {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        self.keys.iter().try_for_each(|key| checker.require(&before, &key.field))?;
        Ok(before)
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let Some(k) = self.first else { return sort_all(&self.keys, &table, cx) };
        let (rows, seen) = select(&self.keys, k, &table, cx)?;
        // The sort as such drops nothing; what comes after it does.
        cx.gave(seen);
        Ok(rows.into())
    }

    fn only_first(&mut self, rows: usize) {
        self.first = Some(rows);
    }
}

impl Operation for TopK {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        self.keys.iter().try_for_each(|key| checker.require(&before, &key.field))?;
        Ok(before)
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        Ok(select(&self.keys, self.k, &table, cx)?.0.into())
    }
}

impl Operation for First {
    fn columns(&self, before: Columns, _checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        Ok(before)
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let mut rows = table.into_rows(cx)?;
        rows.refs.truncate(self.k);
        Ok(rows.into())
    }

    fn wants_first(&self) -> Option<usize> {
        Some(self.k)
    }
}

/// Sort keys that know where a pass puts their fields.
struct Order<'k> {
    keys: &'k [SortKey],
    slots: Vec<FieldSlot>,
}

impl<'k> Order<'k> {
    fn bind(keys: &'k [SortKey], layout: &mut Layout) -> Self {
        Self { keys, slots: keys.iter().map(|key| layout.field(&key.field)).collect() }
    }

    #[inline]
    fn cells<'a>(&self, slots: &Slots<'a>, out: &mut Vec<Cell<'a>>) {
        for (key, slot) in self.keys.iter().zip(&self.slots) {
            let raw = slot.of(slots);
            out.push(if key.cast { Cell::read_cast(raw) } else { Cell::read(raw) });
        }
    }

    /// Says of each key that is to be read as numbers how many values are none.
    fn warn(&self, unread: &Unread, cx: &Cx<'_>) {
        for (key, count) in self.keys.iter().zip(&unread.0).filter(|(_, count)| **count > 0) {
            let values = if *count == 1 { "value" } else { "values" };
            cx.warn(format!("{count} {values} of '{}' sorted by type: not a number", key.field.name()));
        }
    }

    #[inline]
    fn compare(&self, a: &[Cell<'_>], b: &[Cell<'_>]) -> Ordering {
        for ((key, a), b) in self.keys.iter().zip(a).zip(b) {
            let order = match (matches!(a, Cell::Null), matches!(b, Cell::Null)) {
                (true, true) => Ordering::Equal,
                (false, false) if key.descending => b.compare(a),
                (false, false) => a.compare(b),
                (a_is_null, _) if a_is_null == key.nulls_first => Ordering::Less,
                _ => Ordering::Greater,
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

/// How many values of each key were to be read as numbers and are none; empty where no key asks for that.
struct Unread(Vec<u64>);

impl Unread {
    fn of(keys: &[SortKey]) -> Self {
        Self(if keys.iter().any(|key| key.cast) { vec![0; keys.len()] } else { Vec::new() })
    }

    #[inline]
    fn note(&mut self, keys: &[SortKey], cells: &[Cell<'_>]) {
        for ((count, key), cell) in self.0.iter_mut().zip(keys).zip(cells) {
            *count += u64::from(key.cast && !matches!(cell, Cell::Number(_) | Cell::Null));
        }
    }

    fn absorb(&mut self, later: &Self) {
        self.0.iter_mut().zip(&later.0).for_each(|(count, more)| *count += more);
    }
}

/// The first k rows in order, and how many rows there were.
fn select(keys: &[SortKey], k: usize, table: &Table, cx: &mut Cx<'_>) -> Result<(Rows, usize), TableError> {
    let mut layout = Layout::default();
    let order = Order::bind(keys, &mut layout);
    let unread = || Unread::of(keys);
    let make = || Selection { order: &order, k, seen: 0, unread: unread(), heap: BinaryHeap::new(), cells: Vec::new() };
    let sink = cx.pass(table, layout, make)?;
    order.warn(&sink.unread, cx);
    let seen = usize::try_from(sink.seen).unwrap_or(usize::MAX);
    let refs = sink.heap.into_sorted_vec().into_iter().map(|entry| entry.at).collect();
    Ok((Rows { buffers: table.buffers(), refs }, seen))
}

/// The k first rows of those seen so far; the last of them on top of the heap.
struct Selection<'a, 'o> {
    order: &'o Order<'o>,
    k: usize,
    seen: u64,
    unread: Unread,
    heap: BinaryHeap<Entry<'a, 'o>>,
    cells: Vec<Cell<'a>>,
}

struct Entry<'a, 'o> {
    order: &'o Order<'o>,
    cells: Box<[Cell<'a>]>,
    ordinal: u64,
    at: RowRef,
}

impl Ord for Entry<'_, '_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare(&self.cells, &other.cells).then(self.ordinal.cmp(&other.ordinal))
    }
}

impl PartialOrd for Entry<'_, '_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry<'_, '_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry<'_, '_> {}

impl<'a> Sink<'a> for Selection<'a, '_> {
    #[inline]
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        let order = self.order;
        let ordinal = self.seen;
        self.seen += 1;
        self.cells.clear();
        order.cells(row.slots, &mut self.cells);
        self.unread.note(order.keys, &self.cells);
        if self.heap.len() == self.k
            && self.heap.peek().is_some_and(|worst| order.compare(&self.cells, &worst.cells).is_ge())
        {
            return Ok(());
        }
        let cells = self.cells.drain(..).collect();
        self.heap.push(Entry { order, cells, ordinal, at: row.at });
        if self.heap.len() > self.k {
            self.heap.pop();
        }
        Ok(())
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        for entry in later.heap {
            self.heap.push(Entry { ordinal: entry.ordinal + self.seen, ..entry });
            if self.heap.len() > self.k {
                self.heap.pop();
            }
        }
        self.seen += later.seen;
        self.unread.absorb(&later.unread);
        Ok(())
    }
}

/// All sort keys, one row after another.
struct Keys<'a, 'o> {
    order: &'o Order<'o>,
    cells: Vec<Cell<'a>>,
    refs: Vec<RowRef>,
    unread: Unread,
}

impl<'a> Sink<'a> for Keys<'a, '_> {
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        let before = self.cells.len();
        self.order.cells(row.slots, &mut self.cells);
        self.unread.note(self.order.keys, &self.cells[before..]);
        self.refs.push(row.at);
        Ok(())
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        self.cells.extend(later.cells);
        self.refs.extend(later.refs);
        self.unread.absorb(&later.unread);
        Ok(())
    }
}

fn sort_all(keys: &[SortKey], table: &Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
    let mut layout = Layout::default();
    let order = Order::bind(keys, &mut layout);
    let make = || Keys { order: &order, cells: Vec::new(), refs: Vec::new(), unread: Unread::of(keys) };
    let sink = cx.pass(table, layout, make)?;
    order.warn(&sink.unread, cx);
    let stride = keys.len();
    let cells = |row: u32| &sink.cells[row as usize * stride..(row as usize + 1) * stride];
    let compare = |a: u32, b: u32| order.compare(cells(a), cells(b));
    let rows: Vec<u32> = (0..u32::try_from(sink.refs.len()).unwrap_or(u32::MAX)).collect();
    let sorted = merge_sort(rows, &compare, &mut cx.ticker())?;
    let refs = sorted.into_iter().map(|row| sink.refs[row as usize]).collect();
    Ok(Rows { buffers: table.buffers(), refs }.into())
}

/// A stable sort that can be stopped: runs are sorted one by one, then merged pairwise.
fn merge_sort(
    mut rows: Vec<u32>,
    compare: &impl Fn(u32, u32) -> Ordering,
    ticker: &mut Ticker<'_>,
) -> Result<Vec<u32>, TableError> {
    /// Rows sorted between two looks at the clock.
    const RUN: usize = 1 << 14;
    for run in rows.chunks_mut(RUN) {
        ticker.check()?;
        run.sort_by(|a, b| compare(*a, *b));
    }
    let mut width = RUN;
    while width < rows.len() {
        let mut merged = Vec::with_capacity(rows.len());
        for pair in rows.chunks(2 * width) {
            let (left, right) = pair.split_at(width.min(pair.len()));
            merge(left, right, compare, &mut merged, ticker)?;
        }
        rows = merged;
        width *= 2;
    }
    Ok(rows)
}

fn merge(
    mut left: &[u32],
    mut right: &[u32],
    compare: &impl Fn(u32, u32) -> Ordering,
    out: &mut Vec<u32>,
    ticker: &mut Ticker<'_>,
) -> Result<(), TableError> {
    while let (Some((a, after_a)), Some((b, after_b))) = (left.split_first(), right.split_first()) {
        ticker.tick()?;
        if compare(*b, *a).is_lt() {
            out.push(*b);
            right = after_b;
        } else {
            out.push(*a);
            left = after_a;
        }
    }
    out.extend_from_slice(left);
    out.extend_from_slice(right);
    Ok(())
}
