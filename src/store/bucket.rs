//! Buckets that fill continuously, and the line before them: the arithmetic of rate limits, for one process.
//! `lua/draw.lua` is the same for a fleet, on the clock of Redis.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

/// What is taken from one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// What the bucket holds, and gains in a minute; 0: there is no such bucket.
    pub per_minute: u32,
    /// How much is taken; negative gives back.
    pub amount: i64,
}

/// One visit at the buckets of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit<'a> {
    /// Takes from all buckets or from none.
    Now,
    /// Takes where it is the turn of this place in line.
    Line(Place<'a>),
    /// Takes in any case, so that a level may be owed; negative amounts give back.
    Settle,
    /// Nobody but who settles takes anything for so long.
    Shut(Duration),
}

/// A place in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Whose it is. Who stands in line already keeps the place.
    pub holder: &'a str,
    /// Who would be told to come back as late as this does not stand in line, or leaves it.
    pub at_most: Duration,
    /// The longest that anybody is told, though the turn may be later; zero: no such bound.
    pub look_again: Duration,
    /// How long a place is kept for who does not come back when told to.
    pub keep: Duration,
}

/// The buckets of one limit.
#[derive(Debug, Clone)]
pub(super) struct Levels {
    /// What is in each, less what stands in line.
    levels: Vec<f64>,
    at: Instant,
    shut: Option<Instant>,
    line: FxHashMap<String, Standing>,
    /// All that ever stood in line, for each bucket.
    lined: Vec<f64>,
}

/// One holder in line.
#[derive(Debug, Clone)]
struct Standing {
    amounts: Vec<f64>,
    /// What `lined` was with it.
    places: Vec<f64>,
    until: Instant,
}

impl Levels {
    /// Full buckets.
    pub(super) fn full(draws: &[Draw], now: Instant) -> Self {
        let levels = draws.iter().map(|draw| f64::from(draw.per_minute)).collect();
        Self { levels, at: now, shut: None, line: FxHashMap::default(), lined: vec![0.0; draws.len()] }
    }

    /// Takes, as `visit` wants it. Zero when it was taken, else the time after which to come back. Unless it settles,
    /// more than a whole minute has counts as a whole minute.
    pub(super) fn visit(&mut self, draws: &[Draw], visit: Visit<'_>, now: Instant) -> Duration {
        self.refill(draws, now);
        let amounts: Vec<f64> = draws.iter().map(|draw| amount(*draw, visit)).collect();
        match visit {
            Visit::Settle => {
                self.take(draws, &amounts);
                Duration::ZERO
            }
            Visit::Shut(time) => {
                self.shut = self.shut.max(Some(now + time));
                Duration::ZERO
            }
            Visit::Now => {
                let wait = self.wait(draws, &amounts, &self.levels).max(self.shut_for(now));
                if wait.is_zero() {
                    self.take(draws, &amounts);
                }
                wait
            }
            Visit::Line(place) => self.stand(draws, &amounts, place, now),
        }
    }

    fn stand(&mut self, draws: &[Draw], amounts: &[f64], place: Place<'_>, now: Instant) -> Duration {
        // Taken again with what is wanted now: the place stays, the amount may be another.
        let places = match self.line.remove(place.holder) {
            Some(old) => {
                self.take(draws, &old.amounts.iter().map(|amount| -amount).collect::<Vec<_>>());
                old.places
            }
            None => self.lined.iter().zip(amounts).map(|(lined, amount)| lined + amount).collect(),
        };
        // What stands behind has left the bucket, and is no hindrance.
        let behind = self.lined.iter().zip(&places).map(|(lined, place)| (lined - place).max(0.0));
        let mine: Vec<f64> = self.levels.iter().zip(behind).map(|(level, behind)| level + behind).collect();
        let wait = self.wait(draws, amounts, &mine).max(self.shut_for(now));
        if wait.is_zero() {
            self.line_up(&places);
            self.take(draws, amounts);
            return wait;
        }
        let told = if place.look_again.is_zero() { wait } else { wait.min(place.look_again) };
        if told < place.at_most {
            self.line_up(&places);
            self.take(draws, amounts);
            let standing = Standing { amounts: amounts.to_vec(), places, until: now + told + place.keep };
            self.line.insert(place.holder.to_owned(), standing);
        }
        told
    }

    fn line_up(&mut self, places: &[f64]) {
        self.lined.iter_mut().zip(places).for_each(|(lined, place)| *lined = lined.max(*place));
    }

    /// Time flows in, and who did not come back leaves the line.
    fn refill(&mut self, draws: &[Draw], now: Instant) {
        let minutes = now.saturating_duration_since(self.at).as_secs_f64() / 60.0;
        self.at = self.at.max(now);
        self.levels.resize(draws.len(), 0.0);
        self.lined.resize(draws.len(), 0.0);
        for (level, draw) in self.levels.iter_mut().zip(draws) {
            *level = (*level + minutes * f64::from(draw.per_minute)).min(f64::from(draw.per_minute));
        }
        let gone: Vec<Standing> =
            self.line.extract_if(|_, standing| standing.until <= now).map(|(_, gone)| gone).collect();
        for standing in gone {
            self.take(draws, &standing.amounts.iter().map(|amount| -amount).collect::<Vec<_>>());
        }
    }

    fn take(&mut self, draws: &[Draw], amounts: &[f64]) {
        for ((level, draw), amount) in self.levels.iter_mut().zip(draws).zip(amounts) {
            *level = (*level - amount).min(f64::from(draw.per_minute));
        }
    }

    /// Until when `levels` have room for `amounts`.
    fn wait(&self, draws: &[Draw], amounts: &[f64], levels: &[f64]) -> Duration {
        let one = |((draw, amount), level): ((&Draw, &f64), &f64)| {
            let lacks = amount - level;
            let waits = draw.per_minute > 0 && lacks > 1e-6;
            if waits { Duration::from_secs_f64(lacks / f64::from(draw.per_minute) * 60.0) } else { Duration::ZERO }
        };
        draws.iter().zip(amounts).zip(levels).map(one).max().unwrap_or_default()
    }

    fn shut_for(&self, now: Instant) -> Duration {
        self.shut.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Whether all buckets are full again, so that nothing is lost by forgetting them.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) > Duration::from_secs(60)
            && self.levels.iter().all(|level| *level >= 0.0)
            && self.line.is_empty()
            && self.shut_for(now).is_zero()
    }
}

#[expect(clippy::cast_precision_loss, reason = "tokens of a minute lie far below 2^53")]
fn amount(draw: Draw, visit: Visit<'_>) -> f64 {
    let amount = draw.amount as f64;
    match visit {
        _ if draw.per_minute == 0 => 0.0,
        Visit::Settle => amount,
        _ => amount.min(f64::from(draw.per_minute)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(requests: i64, tokens: i64) -> [Draw; 2] {
        [Draw { per_minute: 2, amount: requests }, Draw { per_minute: 1000, amount: tokens }]
    }

    fn place(holder: &str) -> Visit<'_> {
        let [at_most, keep] = [1000, 30].map(Duration::from_secs);
        Visit::Line(Place { holder, at_most, look_again: Duration::ZERO, keep })
    }

    #[test]
    fn a_minute_holds_what_it_holds_and_fills_up_again() {
        let now = Instant::now();
        let mut levels = Levels::full(&draws(0, 0), now);
        let mut ask = |tokens, at| levels.visit(&draws(1, tokens), Visit::Now, at).as_secs();
        assert_eq!((ask(100, now), ask(800, now)), (0, 0));
        assert_eq!(ask(1, now), 30, "no request is left");
        let later = now + Duration::from_secs(30);
        assert_eq!(ask(900, later), 18, "100 + 500 tokens are there");
        assert_eq!(ask(600, later), 0);
        assert_eq!(ask(5000, now + Duration::from_secs(120)), 0, "more than a minute has is a whole minute");
    }

    #[test]
    fn what_was_not_used_comes_back_and_what_was_used_too_much_is_owed() {
        let now = Instant::now();
        let mut levels = Levels::full(&draws(0, 0), now);
        assert!(levels.visit(&draws(0, 1000), Visit::Now, now).is_zero());
        assert!(!levels.visit(&draws(0, 500), Visit::Now, now).is_zero());
        levels.visit(&draws(0, -900), Visit::Settle, now);
        assert!(levels.visit(&draws(0, 500), Visit::Now, now).is_zero());
        levels.visit(&draws(0, 1000), Visit::Settle, now);
        assert_eq!(levels.visit(&draws(0, 100), Visit::Now, now).as_secs(), 42, "600 owed, 100 wanted");
        assert!(!levels.is_full(now + Duration::from_secs(61)), "what is owed is not forgotten");
    }

    #[test]
    fn who_stands_in_line_comes_back_in_order_and_asks_once() {
        let now = Instant::now();
        let mut levels = Levels::full(&draws(0, 0), now);
        let mut ask = |who, at: u64| levels.visit(&draws(1, 10), place(who), now + Duration::from_secs(at)).as_secs();
        assert_eq!((ask("a", 0), ask("b", 0)), (0, 0));
        assert_eq!((ask("c", 0), ask("d", 0), ask("e", 0)), (30, 60, 90));
        assert_eq!(ask("d", 30), 30, "it is the turn of another");
        assert_eq!((ask("f", 30), ask("c", 30)), (90, 0));
        assert_eq!((ask("d", 60), ask("e", 90), ask("f", 120)), (0, 0, 0));
        assert_eq!(ask("g", 120), 30);
    }

    #[test]
    fn what_comes_back_moves_the_line_forward() {
        let now = Instant::now();
        let mut levels = Levels::full(&draws(0, 0), now);
        let mut ask = |who, tokens| levels.visit(&draws(0, tokens), place(who), now).as_secs();
        assert_eq!((ask("a", 1000), ask("b", 1000), ask("c", 1000)), (0, 60, 120));
        levels.visit(&draws(0, -900), Visit::Settle, now);
        let mut ask = |who, tokens| levels.visit(&draws(0, tokens), place(who), now).as_secs();
        assert_eq!((ask("b", 1000), ask("c", 1000), ask("d", 10)), (6, 66, 66), "rounded down");
        assert_eq!((ask("b", 100), ask("c", 1000)), (0, 12), "less is wanted than was");
    }

    #[test]
    fn a_place_that_nobody_comes_back_for_is_given_up() {
        let now = Instant::now();
        let mut levels = Levels::full(&draws(0, 0), now);
        let mut ask = |who, at: u64| levels.visit(&draws(1, 0), place(who), now + Duration::from_secs(at)).as_secs();
        assert_eq!((ask("a", 0), ask("b", 0), ask("gone", 0), ask("c", 0)), (0, 0, 30, 60));
        assert_eq!(ask("d", 61), 0, "the place is over, and what it held is back");
        let soon =
            Place { holder: "e", at_most: Duration::from_secs(5), look_again: Duration::ZERO, keep: Duration::ZERO };
        let mut visit = |place| levels.visit(&draws(1, 0), Visit::Line(place), now + Duration::from_secs(61));
        assert!(visit(soon) >= soon.at_most);
        let told = visit(Place { at_most: Duration::from_secs(900), look_again: Duration::from_secs(7), ..soon });
        assert_eq!(told.as_secs(), 7, "it looks again, and was not in line before");
    }

    #[test]
    fn nobody_takes_from_what_is_shut() {
        let now = Instant::now();
        let mut levels = Levels::full(&draws(0, 0), now);
        levels.visit(&draws(0, 0), Visit::Shut(Duration::from_secs(40)), now);
        levels.visit(&draws(0, 0), Visit::Shut(Duration::from_secs(10)), now);
        assert_eq!(levels.visit(&draws(1, 1), Visit::Now, now).as_secs(), 40);
        assert_eq!(levels.visit(&draws(1, 1), place("a"), now).as_secs(), 40);
        assert!(!levels.is_full(now + Duration::from_secs(39)));
        assert!(levels.visit(&draws(1, 1), place("a"), now + Duration::from_secs(40)).is_zero());
    }
}
