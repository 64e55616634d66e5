//! Conditions on rows as they pass: each test knows its field's place and its values.

use super::filter::{Condition, Filter, Op, Test};
use crate::table::{
    read::{FieldSlot, Layout, Scanner, Slots},
    run::Cx,
    value::{Cell, Kind},
};

impl Condition {
    fn bind<'f>(&'f self, layout: &mut Layout) -> Bound<'f> {
        match self {
            Self::All(list) => Bound::All(list.iter().map(|one| one.bind(layout)).collect()),
            Self::Any(list) => Bound::Any(list.iter().map(|one| one.bind(layout)).collect()),
            Self::Not(inner) => Bound::Not(Box::new(inner.bind(layout))),
            Self::Test(test) => {
                let read = |value: &'f String| match test.cast {
                    true => Cell::read_cast(Some(value)),
                    false => Cell::read(Some(value)),
                };
                let values = test.values.iter().map(read).map(|cell| test.folded(cell)).collect();
                Bound::Test(BoundTest { test, slot: layout.field(&test.field), values })
            }
        }
    }
}

/// A filter that knows where a pass puts its fields.
pub(crate) struct BoundFilter<'f> {
    bound: Bound<'f>,
    tests: usize,
}

enum Bound<'f> {
    All(Vec<Bound<'f>>),
    Any(Vec<Bound<'f>>),
    Not(Box<Bound<'f>>),
    Test(BoundTest<'f>),
}

struct BoundTest<'f> {
    test: &'f Test,
    slot: FieldSlot,
    values: Vec<Cell<'f>>,
}

/// How many values each test of a filter could not compare for their type.
#[derive(Debug, Default, Clone)]
pub(crate) struct Skipped(Vec<u64>);

impl Skipped {
    pub(crate) fn absorb(&mut self, later: &Self) {
        self.0.iter_mut().zip(&later.0).for_each(|(sum, more)| *sum += more);
    }
}

impl Filter {
    pub(crate) fn bind(&self, layout: &mut Layout) -> BoundFilter<'_> {
        BoundFilter { bound: self.condition.bind(layout), tests: self.fields.len() }
    }

    /// Says what was skipped.
    pub(crate) fn warn(&self, skipped: &Skipped, cx: &Cx<'_>) {
        for ((field, needed), count) in self.fields.iter().zip(&skipped.0) {
            cx.warn_skipped(field, *count, needed);
        }
    }
}

impl BoundFilter<'_> {
    /// A count for each test, at zero.
    pub(crate) fn skipped(&self) -> Skipped {
        Skipped(vec![0; self.tests])
    }

    /// Whether the row stays.
    #[inline]
    pub(crate) fn keeps(&self, slots: &Slots<'_>, skipped: &mut Skipped) -> bool {
        self.bound.holds(slots, skipped)
    }
}

impl Bound<'_> {
    fn holds(&self, slots: &Slots<'_>, skipped: &mut Skipped) -> bool {
        match self {
            Self::All(list) => list.iter().all(|one| one.holds(slots, skipped)),
            Self::Any(list) => list.iter().any(|one| one.holds(slots, skipped)),
            Self::Not(inner) => !inner.holds(slots, skipped),
            Self::Test(bound) => bound.holds(slots).unwrap_or_else(|OtherType| {
                skipped.0[bound.test.number] += 1;
                false
            }),
        }
    }
}

/// A value whose type the operator does not compare with the one given.
struct OtherType;

impl Test {
    /// Whether it asks for null itself, which a missing column answers too.
    pub(super) fn asks_for_null(&self) -> bool {
        matches!(self.op, Op::IsNull | Op::NotNull)
            || matches!(self.op, Op::Eq | Op::Ne) && self.values.first().is_some_and(|value| value == "null")
    }

    /// In lower case, where case is ignored.
    fn folded<'x>(&self, cell: Cell<'x>) -> Cell<'x> {
        match cell {
            Cell::Text(text) if self.ignore_case && self.op != Op::Matches => Cell::Text(text.to_lowercase().into()),
            cell => cell,
        }
    }
}

impl BoundTest<'_> {
    fn holds(&self, slots: &Slots<'_>) -> Result<bool, OtherType> {
        let raw = self.slot.of(slots);
        let cell = if self.test.cast { Cell::read_cast(raw) } else { Cell::read(raw) };
        let null = matches!(cell, Cell::Null);
        match self.test.op {
            Op::IsNull => return Ok(null),
            Op::NotNull => return Ok(!null),
            Op::Eq if matches!(self.values[0], Cell::Null) => return Ok(null),
            Op::Ne if matches!(self.values[0], Cell::Null) => return Ok(!null),
            Op::In if null => return Ok(self.values.iter().any(|value| matches!(value, Cell::Null))),
            _ if null => return Ok(false),
            _ => {}
        }
        let cell = self.test.folded(cell);
        match self.test.op {
            Op::In => self.is_listed(&cell),
            Op::NotIn => match self.is_listed(&cell) {
                Ok(listed) => Ok(!listed),
                // A list without anything comparable excludes nothing, unless it holds other types only.
                Err(OtherType) if self.values.iter().all(|value| matches!(value, Cell::Null)) => Ok(true),
                Err(OtherType) => Err(OtherType),
            },
            Op::Between => Ok(self.order(&cell, 0)?.is_ge() && self.order(&cell, 1)?.is_le()),
            Op::Contains => self.contains(&cell),
            Op::StartsWith => Ok(self.texts(&cell)?.0.starts_with(self.texts(&cell)?.1)),
            Op::EndsWith => Ok(self.texts(&cell)?.0.ends_with(self.texts(&cell)?.1)),
            Op::Matches => {
                let (text, _) = self.texts(&cell)?;
                Ok(self.test.pattern.as_ref().is_some_and(|pattern| pattern.is_match(text)))
            }
            Op::Eq => self.equals(&cell),
            Op::Ne => self.equals(&cell).map(|equal| !equal),
            Op::Lt => self.order(&cell, 0).map(std::cmp::Ordering::is_lt),
            Op::Le => self.order(&cell, 0).map(std::cmp::Ordering::is_le),
            Op::Gt => self.order(&cell, 0).map(std::cmp::Ordering::is_gt),
            Op::Ge => self.order(&cell, 0).map(std::cmp::Ordering::is_ge),
            Op::IsNull | Op::NotNull => Ok(false),
        }
    }

    fn equals(&self, cell: &Cell<'_>) -> Result<bool, OtherType> {
        if cell.kind() == self.values[0].kind() { Ok(cell.same(&self.values[0])) } else { Err(OtherType) }
    }

    fn order(&self, cell: &Cell<'_>, value: usize) -> Result<std::cmp::Ordering, OtherType> {
        let value = &self.values[value];
        let ordered = matches!(cell.kind(), Kind::Bool | Kind::Number | Kind::Text);
        if ordered && cell.kind() == value.kind() { Ok(cell.compare(value)) } else { Err(OtherType) }
    }

    fn is_listed(&self, cell: &Cell<'_>) -> Result<bool, OtherType> {
        let mut comparable = self.values.iter().filter(|value| value.kind() == cell.kind()).peekable();
        if comparable.peek().is_none() {
            return if self.values.is_empty() { Ok(false) } else { Err(OtherType) };
        }
        Ok(comparable.any(|value| cell.same(value)))
    }

    fn contains(&self, cell: &Cell<'_>) -> Result<bool, OtherType> {
        match (cell, &self.values[0]) {
            (Cell::Text(text), Cell::Text(part)) => Ok(text.contains(part.as_ref())),
            (Cell::Array(list), value) => {
                let mut found = false;
                let look = |element| {
                    let element = self.test.folded(Cell::read(Some(element)));
                    found = found || element.kind() == value.kind() && element.same(value);
                };
                let _ = Scanner::new(list).array(look);
                Ok(found)
            }
            _ => Err(OtherType),
        }
    }

    fn texts<'x>(&'x self, cell: &'x Cell<'_>) -> Result<(&'x str, &'x str), OtherType> {
        match (cell, &self.values[0]) {
            (Cell::Text(text), Cell::Text(value)) => Ok((text, value)),
            _ => Err(OtherType),
        }
    }
}
