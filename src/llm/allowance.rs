//! What one owner may spend in a day, over all jobs and processes.

use std::time::Duration;

use crate::{
    job::{ErrorCode, JobError, Tokens},
    settings::Llm,
    store::{Held, Hold, SharedStore, key_part},
};

/// Kept beyond the day, so that a clock behind ours does not begin it again.
const KEPT: Duration = Duration::from_secs(2 * 86_400);

/// How long a reservation outlasts the longest request: what settles it may have to wait for the store.
const GRACE: Duration = Duration::from_secs(60);

/// After which a job asks again where only open reservations stand in its way: about one answer of a model.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Daily limits per owner, held in a store: reserved before a request, settled after it. What is reserved is counted
/// apart from what was used: it may turn out to be far less, and where a process dies it comes back by itself. The day
/// is UTC's.
pub(super) struct Allowance {
    store: SharedStore,
    max_cost: f64,
    /// Tokens and millionths of a dollar; 0: no limit.
    limits: [u64; 2],
    held_for: Duration,
}

/// What is held for a request until its answer is known.
#[derive(Debug)]
pub(super) struct Reserved {
    owner: String,
    day: String,
    holder: String,
}

impl Reserved {
    fn hold(&self, tokens: u64, dollars: f64) -> Hold<'_> {
        let amounts = [tokens.min(MOST), micros(dollars)];
        Hold { owner: &self.owner, period: &self.day, holder: &self.holder, amounts }
    }
}

/// Far beyond what anybody spends, and far below where sums would overflow.
const MOST: u64 = 1 << 50;

impl Allowance {
    /// The limits of `llm.owner_daily_*` held in `store`; nothing where there are none.
    pub(super) fn new(llm: &Llm, store: SharedStore) -> Option<Self> {
        let (max_tokens, max_cost) = (llm.owner_daily_tokens, llm.owner_daily_cost_usd);
        let limits = [max_tokens, if max_cost > 0.0 { micros(max_cost).max(1) } else { 0 }];
        let held_for = Duration::from_secs(llm.timeout_secs) + GRACE;
        (limits != [0, 0]).then_some(Self { store, max_cost, limits, held_for })
    }

    /// Whether dollars are bounded, so that a model without a price cannot be asked.
    pub(super) fn bounds_cost(&self) -> bool {
        self.max_cost > 0.0
    }

    /// Reserves what a request of `owner` costs at most: `tokens` tokens and `dollars`. A store out of reach lets it
    /// pass, as with rate limits.
    ///
    /// # Errors
    /// `budget_exceeded` when the day's allowance is used up, deferred where other requests of the owner are still under
    /// way and may leave room; nothing is reserved then.
    pub(super) async fn reserve(&self, owner: &str, tokens: u64, dollars: f64) -> Result<Reserved, JobError> {
        let reserved = Reserved {
            owner: key_part(owner),
            day: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            holder: format!("{:032x}", rand::random::<u128>()),
        };
        let held = self.store.hold(&reserved.hold(tokens, dollars), self.limits, self.held_for).await;
        match held {
            Ok(Held::Yes) => Ok(reserved),
            Ok(Held::UsedUp(used)) => Err(refusal(format!(
                "the allowance of this workflow_owner is used up: {}; ask again tomorrow (UTC)",
                self.over(used)
            ))),
            Ok(Held::Later) => {
                let message = "requests of this workflow_owner that are under way have reserved the rest of its day";
                let wait = ASK_AGAIN.mul_f64(1.0 + 0.5 * rand::random::<f64>());
                let error = refusal(message.into()).with_retryable(true).with_retry_after(Some(wait));
                Err(JobError { deferred: true, ..error })
            }
            Err(error) => {
                tracing::warn!(%error, "an owner's allowance cannot be held now; the request passes");
                Ok(reserved)
            }
        }
    }

    /// Puts what was used in place of what was reserved.
    pub(super) async fn settle(&self, reserved: &Reserved, used: Tokens, dollars: f64) {
        if let Err(error) = self.store.settle(&reserved.hold(used.total(), dollars), KEPT).await {
            tracing::warn!(%error, "what an owner used cannot be counted now");
        }
    }

    /// Which limit the sums have reached.
    fn over(&self, [tokens, spent]: [u64; 2]) -> String {
        let [max_tokens, _] = self.limits;
        if max_tokens > 0 && tokens >= max_tokens {
            return format!("{tokens} of {max_tokens} tokens of this day are used (llm.owner_daily_tokens)");
        }
        format!("${} of ${} of this day are spent (llm.owner_daily_cost_usd)", spent as f64 / 1e6, self.max_cost)
    }
}

fn refusal(message: String) -> JobError {
    JobError::new(ErrorCode::BudgetExceeded, message).with_detail("limit", "owner_daily")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped; a cast of a float saturates")]
fn micros(dollars: f64) -> u64 {
    (dollars.clamp(0.0, 1e9) * 1e6).round() as u64
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
        one.settle(&reserved, used(60), 0.0).await;
        let last = other.reserve("ann", 90, 0.0).await.unwrap();
        let waits = one.reserve("ann", 1, 0.0).await.unwrap_err();
        assert!(waits.deferred && waits.retry_after.is_some(), "what is only reserved may come back: {waits}");
        other.settle(&last, used(10), 0.0).await;
        let again = one.reserve("ann", 1, 0.0).await.unwrap();
        one.settle(&again, used(40), 0.0).await;
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
            allowance.settle(&reserved, Tokens::default(), 0.000_001).await;
        }
        assert!(allowance.reserve("ann", 0, 0.0).await.unwrap_err().message.contains("$0.000002 of $0.000002"));
    }
}
