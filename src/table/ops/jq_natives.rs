//! The native filters that a jq program may use: jaq's own without those that reach outside, and ours that
//! look before they work.

use jaq_core::{
    Bind, Cv, Error, Exn, Native, ValX, ValXs,
    box_iter::box_once,
    load::parse::Def,
    native::{Fun, bome, v},
};
use jaq_json::{Num, Val};

use super::jq_budget::{Budget, Jq};

/// Bits of the largest whole number.
const MAX_BITS: u64 = 1 << 16;

/// Pairs that `contains` and `-` may compare.
const MAX_PAIRS: usize = 100_000_000;

/// Library names that reach outside: the environment, the terminal, the process.
pub(super) const OUTSIDE: [&str; 9] =
    ["env", "halt", "halt_error", "debug", "debug_empty", "stderr", "stderr_empty", "input", "inputs"];

/// Library filters whose natives compare every pair, or make text longer: looked at before or after they run.
const BOUNDED: &str = "def contains($x): bounded_pairs($x) | unbounded_contains($x);
def indices($x): bounded_pairs($x) | unbounded_indices($x);
def tojson: unbounded_tojson | bounded_size;
def escape_html: unbounded_escape_html | bounded_size;
def escape_sh: unbounded_escape_sh | bounded_size;
def encode_uri: unbounded_encode_uri | bounded_size;
def encode_base64: unbounded_encode_base64 | bounded_size;";

pub(super) fn definitions() -> Vec<Def<&'static str>> {
    jaq_core::load::parse(BOUNDED, |parser| parser.defs()).unwrap_or_default()
}

/// All native filters: the library's, without those that reach outside, and ours.
pub(super) fn natives() -> impl Iterator<Item = Fun<Jq>> {
    let library = jaq_core::funs::<Jq>().chain(jaq_std::funs()).chain(jaq_json::funs());
    let library = library.filter(|(name, ..)| !OUTSIDE.contains(name) && *name != "range");
    let library = library.map(|(name, args, native)| match name {
        "contains" => ("unbounded_contains", args, native),
        "indices" => ("unbounded_indices", args, native),
        "tojson" => ("unbounded_tojson", args, native),
        "escape_html" => ("unbounded_escape_html", args, native),
        "escape_sh" => ("unbounded_escape_sh", args, native),
        "encode_uri" => ("unbounded_encode_uri", args, native),
        "encode_base64" => ("unbounded_encode_base64", args, native),
        _ => (name, args, native),
    });
    let tick = Native::<Jq>::new(tick).with_paths(|cv| {
        let ticked = cv.0.data().budget.tick();
        box_once(ticked.map(|()| cv.1).map_err(Exn::from))
    });
    let tick = tick.with_update(|cv, update| match cv.0.data().budget.tick() {
        Ok(()) => update(cv.1),
        Err(error) => box_once(Err(Exn::from(error))),
    });
    library.chain([
        ("bounded_tick", v(0), tick),
        ("range", v(3), Native::<Jq>::new(range)),
        ("bounded_pairs", v(1), Native::<Jq>::new(pairs)),
        (
            "bounded_size",
            v(0),
            Native::<Jq>::new(|cv| {
                let sized = cv.0.data().budget.size(&cv.1, length(&cv.1));
                bome(sized.map(|()| cv.1))
            }),
        ),
        ("bounded_add", [Bind::Fun(()), Bind::Fun(())].into(), Native::<Jq>::new(add)),
        ("bounded_sub", v(2), Native::<Jq>::new(|cv| operator(cv, subtracted, |a, b| a - b))),
        ("bounded_mul", v(2), Native::<Jq>::new(|cv| operator(cv, multiplied, |a, b| a * b))),
    ])
}

fn tick(cv: Cv<'_, Jq>) -> ValXs<'_, Val> {
    let ticked = cv.0.data().budget.tick();
    bome(ticked.map(|()| cv.1))
}

/// `range($from; $to; $by)` that ends when the budget does.
fn range(mut cv: Cv<'_, Jq>) -> ValXs<'_, Val> {
    let by = cv.0.pop_var();
    let to = cv.0.pop_var();
    let mut next = Some(cv.0.pop_var());
    let zero = Val::from(0_isize);
    let budget = cv.0.data().budget;
    Box::new(std::iter::from_fn(move || {
        let from = next.take()?;
        let more = match by.cmp(&zero) {
            std::cmp::Ordering::Greater => from < to,
            std::cmp::Ordering::Less => from > to,
            std::cmp::Ordering::Equal => from != to,
        };
        if !more {
            return None;
        }
        if let Err(error) = budget.tick() {
            return Some(Err(Exn::from(error)));
        }
        match from.clone() + by.clone() {
            Ok(after) => next = Some(after),
            Err(error) => return Some(Err(Exn::from(error))),
        }
        Some(Ok(from))
    }))
}

/// Refuses to compare too many pairs.
fn pairs(mut cv: Cv<'_, Jq>) -> ValXs<'_, Val> {
    let other = cv.0.pop_var();
    let budget = cv.0.data().budget;
    if length(&cv.1).saturating_mul(length(&other)) > MAX_PAIRS {
        return bome(Err(budget.refuse(format!("the jq program compares more than {MAX_PAIRS} pairs"))));
    }
    bome(Ok(cv.1))
}

type Look = fn(&Val, &Val, &Budget) -> Result<(), Error<Val>>;

fn operator<'a>(mut cv: Cv<'a, Jq>, look: Look, apply: fn(Val, Val) -> Result<Val, Error<Val>>) -> ValXs<'a, Val> {
    let right = cv.0.pop_var();
    let left = cv.0.pop_var();
    let looked = look(&left, &right, cv.0.data().budget);
    bome(looked.and_then(|()| apply(left, right)))
}

pub(super) fn length(value: &Val) -> usize {
    match value {
        Val::Arr(list) => list.len(),
        Val::Obj(members) => members.len(),
        Val::TStr(text) | Val::BStr(text) => text.len(),
        _ => 1,
    }
}

/// `left + right`. The left value is handed on, not cloned, so that a list or text that nobody else holds
/// grows in place, as jq programs that gather in a `reduce` rely on.
fn add(mut cv: Cv<'_, Jq>) -> ValXs<'_, Val> {
    let (right, right_context) = cv.0.pop_fun();
    let (left, left_context) = cv.0.pop_fun();
    let budget = cv.0.data().budget;
    let mut rights = right.run((right_context.clone(), cv.1.clone()));
    let Some(first) = rights.next() else { return Box::new(std::iter::empty()) };
    let Some(second) = rights.next() else {
        drop(rights);
        return sums(first, left.run((left_context, cv.1)), budget);
    };
    let all: Vec<_> = [first, second].into_iter().chain(rights).collect();
    let input = cv.1;
    Box::new(
        all.into_iter().flat_map(move |right| sums(right, left.run((left_context.clone(), input.clone())), budget)),
    )
}

/// Each left value plus the right one.
fn sums<'a>(right: ValX<'a, Val>, lefts: ValXs<'a, Val>, budget: &'a Budget) -> ValXs<'a, Val> {
    match right {
        Err(error) => box_once(Err(error)),
        Ok(right) => Box::new(lefts.map(move |left| {
            let left = left?;
            budget.copies(&left, &right)?;
            Ok((left + right.clone())?)
        })),
    }
}

fn subtracted(a: &Val, b: &Val, budget: &Budget) -> Result<(), Error<Val>> {
    match (a, b) {
        (Val::Arr(a), Val::Arr(b)) if a.len().saturating_mul(b.len()) > MAX_PAIRS => {
            Err(budget.refuse(format!("the jq program compares more than {MAX_PAIRS} pairs")))
        }
        _ => Ok(()),
    }
}

fn multiplied(a: &Val, b: &Val, budget: &Budget) -> Result<(), Error<Val>> {
    match (a, b) {
        (Val::TStr(text) | Val::BStr(text), Val::Num(times)) | (Val::Num(times), Val::TStr(text) | Val::BStr(text)) => {
            let times = times.to_string().parse::<f64>().unwrap_or(f64::MAX).max(0.0);
            #[expect(clippy::cast_precision_loss, reason = "an estimate is enough for a bound")]
            let size = text.len() as f64 * times;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
            budget.size(&Val::TStr(text.clone()), size as usize)
        }
        (Val::Obj(_), Val::Obj(_)) => budget.copies(a, b),
        (Val::Num(a), Val::Num(b)) if bits(a) + bits(b) > MAX_BITS => {
            Err(budget.refuse(format!("the jq program makes a number of more than {MAX_BITS} bits")))
        }
        _ => Ok(()),
    }
}

fn bits(number: &Num) -> u64 {
    match number {
        Num::BigInt(number) => number.bits(),
        _ => 64,
    }
}
