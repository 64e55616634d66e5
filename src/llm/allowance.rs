//! What one owner may spend in a day, over all jobs and processes.

use std::time::Duration;

use crate::{
    job::{ErrorCode, JobError, Tokens},
    settings::Llm,
    store::{SharedStore, key_part},
};

/// Kept beyond the day, so that a clock behind ours does not begin it again.
const KEPT: Duration = Duration::from_secs(2 * 86_400);

/// Daily limits per owner, held in a store: reserved before a request, settled after it. The day is UTC's.
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

    /// Counts a prompt of about `tokens` tokens and `dollars` for `owner`. Only the prompt: the answer is not
    /// known, and a guess at it would turn away jobs that fit.
    ///
    /// # Errors
    /// `budget_exceeded` when the day's allowance is used up; nothing is counted then.
    pub(super) async fn reserve(&self, owner: &str, tokens: u64, dollars: f64) -> Result<Reserved, JobError> {
        let reserved = Reserved { tokens: signed(tokens), micros: micros(dollars) };
        let Some([used, spent]) = self.add(owner, reserved.tokens, reserved.micros).await else {
            return Ok(Reserved::default());
        };
        let (used, spent) = (used - reserved.tokens, spent - reserved.micros);
        let over = if self.max_tokens > 0 && used >= signed(self.max_tokens) {
            format!("{used} of {} tokens of this day are used (llm.owner_daily_tokens)", self.max_tokens)
        } else if self.max_cost > 0.0 && spent >= micros(self.max_cost) {
            format!("${} of ${} of this day are spent (llm.owner_daily_cost_usd)", dollars_of(spent), self.max_cost)
        } else {
            return Ok(reserved);
        };
        self.add(owner, -reserved.tokens, -reserved.micros).await;
        let message = format!("the allowance of this workflow_owner is used up: {over}; ask again tomorrow (UTC)");
        Err(JobError::new(ErrorCode::BudgetExceeded, message).with_detail("limit", "owner_daily"))
    }

    /// Corrects what was reserved to what was used.
    pub(super) async fn settle(&self, owner: &str, reserved: Reserved, used: Tokens, dollars: f64) {
        self.add(owner, signed(used.total()) - reserved.tokens, micros(dollars) - reserved.micros).await;
    }

    /// Adds to the day's sums. Nothing when the store is out of reach: the job goes on, as with rate limits.
    async fn add(&self, owner: &str, tokens: i64, micros: i64) -> Option<[i64; 2]> {
        let day = jiff::Timestamp::now().strftime("%Y-%m-%d");
        let key = format!("spend:{day}:{}", key_part(owner));
        match self.store.count(&key, &[("tokens", tokens), ("micro_usd", micros)], KEPT).await {
            Ok(sums) => sums.try_into().ok(),
            Err(error) => {
                tracing::warn!(%error, "an owner's allowance cannot be counted now; the request passes");
                None
            }
        }
    }
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
        let refused = one.reserve("ann", 1, 0.0).await.unwrap_err();
        assert_eq!((refused.code, refused.retryable), (ErrorCode::BudgetExceeded, false));
        assert!(refused.message.contains("150 of 100 tokens"), "{}", refused.message);
        other.settle("ann", last, used(10), 0.0).await;
        assert!(one.reserve("ann", 1, 0.0).await.is_ok(), "a refusal counts nothing");
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
