//! What one request has reserved, put right by what it has used, however it ends.

use std::sync::Arc;

use super::{
    RateGate,
    allowance::{Allowance, Reserved},
    meters, price,
    route::Leg,
    usage::{Heard, Used},
};
use crate::{
    job::{Ask, Bill, Grant, JobError},
    settings::Price,
};

/// A request that its rate limit let in. Ended by [`Tab::settle`]. Dropped, it is settled all the same, at the side: its
/// job was cancelled or ran out of time. One that was not sent gives everything back.
pub(super) struct Tab<'a> {
    gate: Arc<dyn RateGate>,
    leg: Leg<'a>,
    price: Option<&'a Price>,
    ask: Ask,
    /// What the gate counts for it until it is settled.
    admitted: u64,
    day: Option<(Arc<Allowance>, Arc<Reserved>)>,
    sent: Option<Grant<'a>>,
    open: bool,
    /// What was heard of its answer so far.
    pub(super) heard: Heard,
}

impl<'a> Tab<'a> {
    /// A request for which `gate` has counted `admitted` tokens.
    pub(super) fn open(
        gate: &Arc<dyn RateGate>,
        leg: Leg<'a>,
        price: Option<&'a Price>,
        ask: Ask,
        admitted: u64,
    ) -> Self {
        let gate = gate.clone();
        Self { gate, leg, price, ask, admitted, day: None, sent: None, open: true, heard: Heard::default() }
    }

    /// Reserves its part of the day of `owner`, and says how long an answer that allows.
    ///
    /// # Errors
    /// As [`Allowance::reserve`].
    pub(super) async fn afford(&mut self, allowance: &Arc<Allowance>, owner: &str, ask: &Ask) -> Result<u64, JobError> {
        let reserved = Arc::new(Reserved::of(owner));
        // First: a job that ends while the store is asked must give back what was held.
        self.day = Some((allowance.clone(), reserved.clone()));
        let answer = allowance.reserve(&reserved, ask).await;
        if answer.is_err() {
            self.day = None;
        }
        answer
    }

    /// It goes out now.
    pub(super) fn send(&mut self, mut grant: Grant<'a>) {
        grant.send(self.leg.model);
        self.sent = Some(grant);
    }

    /// Puts what it has used in place of what it had reserved.
    pub(super) async fn settle(mut self) -> Used {
        let used = self.heard.used(self.ask.prompt);
        if let Some(shared) = self.close() {
            // A task of its own: it goes to its end even where nobody waits for it any more.
            let _ = tokio::spawn(shared).await;
        }
        used
    }

    /// Settles the job's budget, and says what is left to do for what jobs share.
    fn close(&mut self) -> Option<impl Future<Output = ()> + Send + use<>> {
        if !std::mem::take(&mut self.open) {
            return None;
        }
        let used = if self.sent.is_some() { self.heard.used(self.ask.prompt) } else { Heard::default().used(0) };
        let cost = self.price.map(|price| price::cost(price, used.tokens));
        let sent = self.sent.take().map(|grant| {
            let Leg { model, .. } = self.leg;
            grant.settle(&Bill { model, tokens: used.tokens, estimated: used.estimated, cost_usd: cost });
            meters::cost(self.leg, used.tokens, cost.unwrap_or_default());
        });
        let (limits, day) = (self.leg.route.limits, self.day.take());
        if limits.is_none() && day.is_none() {
            return None;
        }
        let (gate, key, admitted) = (self.gate.clone(), self.leg.rate_key(), self.admitted);
        Some(async move {
            match sent {
                Some(()) => gate.settle(&key, limits, admitted, used.tokens.total()).await,
                None => gate.give_back(&key, limits, admitted).await,
            }
            if let Some((allowance, reserved)) = day {
                allowance.settle(&reserved, used.tokens, cost.unwrap_or_default()).await;
            }
        })
    }
}

impl Drop for Tab<'_> {
    fn drop(&mut self) {
        // Without a runtime the process is about to end, and what it had reserved comes back by itself.
        if let (Some(shared), Ok(runtime)) = (self.close(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(shared);
        }
    }
}
