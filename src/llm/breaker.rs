//! A circuit breaker: an endpoint that keeps failing is left alone for a while, then tried with one request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::meters;

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Requests pass.
    Closed,
    /// One request is under way to see whether the endpoint is back.
    HalfOpen,
    /// Requests are refused until the cool-down is over.
    Open,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

/// One endpoint's breaker.
#[derive(Debug)]
pub struct Breaker {
    target: String,
    max_failures: u32,
    cooldown: Duration,
    state: Mutex<State>,
}

impl Breaker {
    /// A closed breaker that opens after `max_failures` failures in a row. `target` labels its gauge
    /// `circuit_state`: 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub fn new(target: String, max_failures: u32, cooldown: Duration) -> Arc<Self> {
        let breaker = Self {
            target,
            max_failures: max_failures.max(1),
            cooldown,
            state: Mutex::new(State::Closed { failures: 0 }),
        };
        breaker.show(Circuit::Closed);
        Arc::new(breaker)
    }

    /// Asks to send a request. Refused with the time until the next one is let through.
    pub fn admit(self: &Arc<Self>, now: Instant) -> Result<Permit, Duration> {
        let mut state = self.state.lock();
        match *state {
            State::Closed { .. } => Ok(Permit { breaker: self.clone(), ended: false }),
            State::Open { until } if until <= now => {
                *state = State::HalfOpen;
                self.show(Circuit::HalfOpen);
                Ok(Permit { breaker: self.clone(), ended: false })
            }
            State::Open { until } => Err(until - now),
            // The probe ends by itself; until then nobody knows more.
            State::HalfOpen => Err(Duration::from_secs(1).min(self.cooldown)),
        }
    }

    /// How it stands.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        match *self.state.lock() {
            State::Closed { .. } => Circuit::Closed,
            State::HalfOpen => Circuit::HalfOpen,
            State::Open { .. } => Circuit::Open,
        }
    }

    fn record(&self, failed: bool, now: Instant) {
        let mut state = self.state.lock();
        let (next, circuit) = match (&*state, failed) {
            (State::Closed { failures }, true) if failures + 1 < self.max_failures => {
                *state = State::Closed { failures: failures + 1 };
                return;
            }
            (_, true) => (State::Open { until: now + self.cooldown }, Circuit::Open),
            (State::Closed { failures: 0 }, false) => return,
            // A request from before the circuit opened says nothing about now.
            (State::Open { .. }, false) => return,
            (_, false) => (State::Closed { failures: 0 }, Circuit::Closed),
        };
        *state = next;
        self.show(circuit);
        if circuit == Circuit::Open {
            tracing::warn!(target = %self.target, cooldown_secs = self.cooldown.as_secs(), "circuit opened");
        }
    }

    /// A probe that was given up: the next request may be one.
    fn release(&self, now: Instant) {
        let mut state = self.state.lock();
        if matches!(*state, State::HalfOpen) {
            *state = State::Open { until: now };
            self.show(Circuit::Open);
        }
    }

    fn show(&self, circuit: Circuit) {
        meters::circuit(&self.target, circuit);
    }
}

/// Leave to send one request. Tell it how the request ended; dropping it says that nobody knows.
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Breaker>,
    ended: bool,
}

impl Permit {
    /// Records how the request ended.
    pub fn end(mut self, failed: bool, now: Instant) {
        self.ended = true;
        self.breaker.record(failed, now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.ended {
            self.breaker.release(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(30);

    fn fail(breaker: &Arc<Breaker>, times: usize, now: Instant) {
        for _ in 0..times {
            breaker.admit(now).unwrap().end(true, now);
        }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let breaker = Breaker::new("t".into(), 3, COOLDOWN);
        fail(&breaker, 2, now);
        breaker.admit(now).unwrap().end(false, now);
        fail(&breaker, 2, now);
        assert_eq!(breaker.circuit(), Circuit::Closed);
        fail(&breaker, 1, now);
        assert_eq!(breaker.circuit(), Circuit::Open);
        assert_eq!(breaker.admit(now + Duration::from_secs(10)).unwrap_err(), Duration::from_secs(20));
    }

    #[test]
    fn one_probe_decides() {
        let now = Instant::now();
        let breaker = Breaker::new("t".into(), 1, COOLDOWN);
        fail(&breaker, 1, now);
        let later = now + COOLDOWN;
        let probe = breaker.admit(later).unwrap();
        assert_eq!(breaker.circuit(), Circuit::HalfOpen);
        assert!(breaker.admit(later).is_err(), "one probe at a time");
        probe.end(true, later);
        assert_eq!(breaker.admit(later).unwrap_err(), COOLDOWN);
        breaker.admit(later + COOLDOWN).unwrap().end(false, later + COOLDOWN);
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }

    #[test]
    fn a_probe_that_was_given_up_leaves_room_for_another() {
        let now = Instant::now();
        let breaker = Breaker::new("t".into(), 1, Duration::ZERO);
        fail(&breaker, 1, now);
        drop(breaker.admit(now).unwrap());
        assert_eq!(breaker.circuit(), Circuit::Open);
        assert!(breaker.admit(Instant::now()).is_ok());
    }

    #[test]
    fn an_old_success_does_not_close_an_open_circuit() {
        let now = Instant::now();
        let breaker = Breaker::new("t".into(), 1, COOLDOWN);
        let old = breaker.admit(now).unwrap();
        fail(&breaker, 1, now);
        old.end(false, now);
        assert_eq!(breaker.circuit(), Circuit::Open);
    }
}
