//! What one owner may spend in a day, over all jobs and processes.

use std::time::Duration;

use crate::{
    job::{ErrorCode, JobError, Tokens},
    settings::Llm,
    store::{SharedStore, key_part},
};

/// Kept beyond the day, so that a clock behind ours does not begin it again.
const KEPT: Duration = Duration::from_secs(2 * 86_400);

/// Reservations whose process died are forgotten after so long without another request of their owner.
const HELD: Duration = Duration::from_secs(900);

/// After which a job asks again where only open reservations stand in its way: about one answer of a model.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Daily limits per owner, held in a store: reserved before a request, settled after it. What is reserved is counted
/// apart from what was used: it may turn out to be far less. The day is UTC's.
pub(super) struct Allowance {
    store: SharedStore,
    /// 0: no limit.
    max_tokens: u64,
    /// Dollars; 0: no limit.
    max_cost: f64,
}

/// What a request was counted as before its answer was known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reserved {
    tokens: i64,
    micros: i64,
}

impl Allowance {
    /// The limits of `llm.owner_daily_*` held in `store`; nothing where there are none.
    pub(super) fn new(llm: &Llm, store: SharedStore) -> Option<Self> {
        let (max_tokens, max_cost) = (llm.owner_daily_tokens, llm.owner_daily_cost_usd);
        (max_tokens > 0 || max_cost > 0.0).then_some(Self { store, max_tokens, max_cost })
    }

    /// Reserves a prompt of about `tokens` tokens and `dollars` for `owner`. Only the prompt: the answer is not
    /// known, and a guess at it would turn away jobs that fit.
    ///
    /// # Errors
    /// `budget_exceeded` when the day's allowance is used up, deferred where other requests of the owner are still under
    /// way and may leave room; nothing is reserved then.
    pub(super) async fn reserve(&self, owner: &str, tokens: u64, dollars: f64) -> Result<Reserved, JobError> {
        let reserved = Reserved { tokens: signed(tokens), micros: micros(dollars) };
        let Some(used) = self.add(Kind::Used, owner, 0, 0).await else { return Ok(Reserved::default()) };
        if let Some(over) = self.over(used) {
            return Err(refusal(format!(
                "the allowance of this workflow_owner is used up: {over}; ask again tomorrow (UTC)"
            )));
        }
        let Some([held, owed]) = self.add(Kind::Held, owner, reserved.tokens, reserved.micros).await else {
            return Ok(Reserved::default());
        };
        // The first request always goes: an allowance smaller than one prompt would never be used.
        let others = [held - reserved.tokens, owed - reserved.micros];
        if others == [0, 0] || self.over([used[0] + others[0], used[1] + others[1]]).is_none() {
            return Ok(reserved);
        }
        self.add(Kind::Held, owner, -reserved.tokens, -reserved.micros).await;
        let error =
            refusal("requests of this workflow_owner that are under way have reserved the rest of its day".into());
        Err(JobError { deferred: true, ..error.with_retryable(true).with_retry_after(Some(ASK_AGAIN)) })
    }

    /// Corrects what was reserved to what was used.
    pub(super) async fn settle(&self, owner: &str, reserved: Reserved, used: Tokens, dollars: f64) {
        self.add(Kind::Used, owner, signed(used.total()), micros(dollars)).await;
        self.add(Kind::Held, owner, -reserved.tokens, -reserved.micros).await;
    }

    /// Which limit the sums have reached.
    fn over(&self, [tokens, spent]: [i64; 2]) -> Option<String> {
        if self.max_tokens > 0 && tokens >= signed(self.max_tokens) {
            return Some(format!(
                "{tokens} of {} tokens of this day are used (llm.owner_daily_tokens)",
                self.max_tokens
            ));
        }
        let dollars =
            || format!("${} of ${} of this day are spent (llm.owner_daily_cost_usd)", dollars_of(spent), self.max_cost);
        (self.max_cost > 0.0 && spent >= micros(self.max_cost)).then(dollars)
    }

    /// Adds to the day's sums. Nothing when the store is out of reach: the job goes on, as with rate limits.
    async fn add(&self, kind: Kind, owner: &str, tokens: i64, micros: i64) -> Option<[i64; 2]> {
        let owner = key_part(owner);
        let (key, kept) = match kind {
            Kind::Used => (format!("spend:{}:{owner}", jiff::Timestamp::now().strftime("%Y-%m-%d")), KEPT),
            // Not by the day: what is reserved before midnight is given back after it.
            Kind::Held => (format!("spend:held:{owner}"), HELD),
        };
        match self.store.count(&key, &[("tokens", tokens), ("micro_usd", micros)], kept).await {
            Ok(sums) => sums.try_into().ok(),
            Err(error) => {
                tracing::warn!(%error, "an owner's allowance cannot be counted now; the request passes");
                None
            }
        }
    }
}

/// What a sum is about.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Answered requests.
    Used,
    /// Requests under way.
    Held,
}

fn refusal(message: String) -> JobError {
    JobError::new(ErrorCode::BudgetExceeded, message).with_detail("limit", "owner_daily")
}

fn signed(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX / 4)
}

#[expect(clippy::cast_possible_truncation, reason = "clamped; a cast of a float saturates")]
fn micros(dollars: f64) -> i64 {
    (dollars.clamp(0.0, 1e12) * 1e6).round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn dollars_of(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn a_day_is_shared_by_all_jobs_of_an_owner_and_by_nobody_else() {
        let store = MemoryStore::new(0);
        let llm = Llm { owner_daily_tokens: 100, ..Llm::default() };
        let one = Allowance::new(&llm, store.clone()).unwrap();
        let other = Allowance::new(&llm, store).unwrap();
        let used = |total| Tokens { prompt: total, ..Tokens::default() };
        let reserved = one.reserve("ann", 30, 0.0).await.unwrap();
        one.settle("ann", reserved, used(60), 0.0).await;
        let last = other.reserve("ann", 90, 0.0).await.unwrap();
        let waits = one.reserve("ann", 1, 0.0).await.unwrap_err();
        assert!(waits.deferred && waits.retry_after.is_some(), "what is only reserved may come back: {waits}");
        other.settle("ann", last, used(10), 0.0).await;
        let again = one.reserve("ann", 1, 0.0).await.unwrap();
        one.settle("ann", again, used(40), 0.0).await;
        let refused = other.reserve("ann", 1, 0.0).await.unwrap_err();
        assert_eq!((refused.code, refused.retryable, refused.deferred), (ErrorCode::BudgetExceeded, false, false));
        assert!(refused.message.contains("110 of 100 tokens"), "{}", refused.message);
        assert!(one.reserve("bob", 1, 0.0).await.is_ok());
        assert!(Allowance::new(&Llm::default(), MemoryStore::new(0)).is_none());
    }

    #[tokio::test]
    async fn money_is_counted_in_millionths() {
        let llm = Llm { owner_daily_cost_usd: 0.000_002, ..Llm::default() };
        let allowance = Allowance::new(&llm, MemoryStore::new(0)).unwrap();
        for _ in 0..2 {
            let reserved = allowance.reserve("ann", 0, 0.0).await.unwrap();
            allowance.settle("ann", reserved, Tokens::default(), 0.000_001).await;
        }
        assert!(allowance.reserve("ann", 0, 0.0).await.unwrap_err().message.contains("$0.000002 of $0.000002"));
    }
}
