//! Cells of a table and the arithmetic on them.

pub(super) mod canonical;
mod cell;
mod decimal;
mod number;

pub(super) use cell::{Cell, Kind};
pub(super) use decimal::{Exact, Sum, TooLarge, float_text, middle};
pub(super) use number::{Number, json_number};
