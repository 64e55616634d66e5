//! What one run of a jq program may use, as its native filters see it.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jaq_core::{DataT, Error, Lut, data::HasLut};
use jaq_json::{Rc, Val};

use super::jq_natives::length;
use crate::table::Limits;

/// Steps that a program may take for each row that a table may have.
const TICKS_PER_ROW: u64 = 10;

/// The data types that programs work on.
pub(super) struct Jq;

impl DataT for Jq {
    type V<'a> = Val;
    type Data<'a> = Data<'a>;
}

/// What native filters can see.
#[derive(Clone)]
pub(super) struct Data<'a> {
    pub(super) lut: &'a Lut<Jq>,
    pub(super) budget: &'a Budget,
}

impl<'a> HasLut<'a, Jq> for Data<'a> {
    fn lut(&self) -> &'a Lut<Jq> {
        self.lut
    }
}

/// What one run may still do.
pub(super) struct Budget {
    ticks: Cell<u64>,
    max_ticks: u64,
    /// Largest text that an operator may make, in bytes.
    max_text: usize,
    /// Longest list that an operator may make.
    max_list: usize,
    copied: Cell<usize>,
    /// Bytes that additions may copy: what a program keeps of them cannot be more.
    max_copied: usize,
    stop: Arc<AtomicBool>,
    /// Set at the first refusal: a program may catch it, but not succeed with it.
    pub(super) refused: RefCell<Option<String>>,
}

impl Budget {
    pub(super) fn new(limits: &Limits, stop: Arc<AtomicBool>) -> Self {
        Self {
            ticks: Cell::new(0),
            max_ticks: (limits.max_rows as u64).saturating_mul(TICKS_PER_ROW),
            max_text: limits.max_table_bytes / 8,
            max_list: limits.max_rows.saturating_mul(2),
            copied: Cell::new(0),
            max_copied: limits.max_table_bytes.saturating_mul(4),
            stop,
            refused: RefCell::new(None),
        }
    }

    pub(super) fn tick(&self) -> Result<(), Error<Val>> {
        let ticks = self.ticks.get() + 1;
        self.ticks.set(ticks);
        if ticks > self.max_ticks {
            return Err(self.refuse(format!("the jq program takes more than {} steps", self.max_ticks)));
        }
        if ticks.is_multiple_of(1024) && self.stop.load(Ordering::Relaxed) {
            return Err(self.refuse("stopped".into()));
        }
        Ok(())
    }

    pub(super) fn refuse(&self, why: String) -> Error<Val> {
        // From now on every tick refuses.
        self.ticks.set(self.max_ticks);
        let error = Error::str(&why);
        self.refused.borrow_mut().get_or_insert(why);
        error
    }

    /// Refuses a value of this kind that would be too large.
    pub(super) fn size(&self, like: &Val, size: usize) -> Result<(), Error<Val>> {
        let text = matches!(like, Val::TStr(_) | Val::BStr(_));
        let max = if text { self.max_text } else { self.max_list };
        if size > max {
            let what = if text { "text of more than {} bytes" } else { "list of more than {} elements" };
            return Err(self.refuse(format!("the jq program makes a {}", what.replace("{}", &max.to_string()))));
        }
        Ok(())
    }
}

impl Budget {
    /// Charges what adding two values copies: the right one, and the left unless it can grow in place.
    pub(super) fn copies(&self, left: &Val, right: &Val) -> Result<(), Error<Val>> {
        let (in_place, unit) = match left {
            Val::Arr(list) => (Rc::strong_count(list) == 1, 16),
            Val::Obj(members) => (Rc::strong_count(members) == 1, 48),
            Val::TStr(text) | Val::BStr(text) => (text.is_unique(), 1),
            _ => return Ok(()),
        };
        self.size(left, length(left).saturating_add(length(right)))?;
        let copied = if in_place { length(right) } else { length(left) + length(right) };
        self.copied.set(self.copied.get().saturating_add(copied.saturating_mul(unit)));
        if self.copied.get() > self.max_copied {
            return Err(self.refuse(format!("the jq program copies more than {} bytes", self.max_copied)));
        }
        Ok(())
    }
}
