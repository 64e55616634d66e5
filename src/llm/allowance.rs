//! What one owner may spend in a day, over all jobs and processes.

use std::time::Duration;

use crate::{
    job::{Ask, ErrorCode, JobError, Tokens},
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

/// A request for which something is held until its answer is known.
#[derive(Debug)]
pub(super) struct Reserved {
    owner: String,
    day: String,
    holder: String,
}

impl Reserved {
    /// A request of `owner`, for which nothing is held yet.
    pub(super) fn of(owner: &str) -> Self {
        Self {
            owner: key_part(owner),
            day: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            holder: format!("{:032x}", rand::random::<u128>()),
        }
    }

    fn hold(&self, amounts: [u64; 2], least: [u64; 2]) -> Hold<'_> {
        Hold { owner: &self.owner, period: &self.day, holder: &self.holder, amounts, least }
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

    /// Reserves what a request costs at most: its prompt, and as much of an answer as is left, which is returned. A store
    /// out of reach lets it pass, as with rate limits.
    ///
    /// # Errors
    /// `budget_exceeded` when the day's allowance is used up or too small for the prompt, deferred where other requests
    /// of the owner are still under way and may leave room; nothing is reserved then.
    pub(super) async fn reserve(&self, reserved: &Reserved, ask: &Ask) -> Result<u64, JobError> {
        let dollars = |answer: u64| ask.prompt as f64 * ask.rates[0] + answer as f64 * ask.rates[1];
        let tokens = |answer: u64| ask.prompt.saturating_add(answer).min(MOST);
        let hold = reserved.hold([tokens(ask.answer), at_most(dollars(ask.answer))], [tokens(1), at_most(dollars(1))]);
        match self.store.hold(&hold, self.limits, self.held_for).await {
            Ok(Held::Yes(held)) => Ok(answer(ask, held)),
            Ok(Held::UsedUp(used)) => Err(refusal(format!(
                "the allowance of this workflow_owner is used up: {}; ask again tomorrow (UTC)",
                self.over(used, &hold)
            ))),
            Ok(Held::Later) => {
                let message = "requests of this workflow_owner that are under way have reserved the rest of its day";
                let wait = ASK_AGAIN.mul_f64(1.0 + 0.5 * rand::random::<f64>());
                let error = refusal(message.into()).with_retryable(true).with_retry_after(Some(wait));
                Err(JobError { deferred: true, ..error })
            }
            Err(error) => {
                tracing::warn!(%error, "an owner's allowance cannot be held now; the request passes");
                Ok(ask.answer)
            }
        }
    }

    /// Puts what was used in place of what was reserved.
    pub(super) async fn settle(&self, reserved: &Reserved, used: Tokens, dollars: f64) {
        let amounts = [used.total().min(MOST), micros(dollars)];
        if let Err(error) = self.store.settle(&reserved.hold(amounts, [0; 2]), KEPT).await {
            tracing::warn!(%error, "what an owner used cannot be counted now");
        }
    }

    /// Which limit leaves too little.
    fn over(&self, [tokens, spent]: [u64; 2], hold: &Hold<'_>) -> String {
        let ([max_tokens, max_spent], [prompt, micros]) = (self.limits, hold.least);
        let next = |full: bool, prompt: String| {
            if full { String::new() } else { format!(", and the next prompt takes about {prompt}") }
        };
        if max_tokens > 0 && tokens.saturating_add(prompt) > max_tokens {
            let next = next(tokens >= max_tokens, format!("{prompt} tokens"));
            return format!("{tokens} of {max_tokens} tokens of this day are used (llm.owner_daily_tokens){next}");
        }
        let next = next(spent >= max_spent, format!("${}", micros as f64 / 1e6));
        let spent = spent as f64 / 1e6;
        format!("${spent} of ${} of this day are spent (llm.owner_daily_cost_usd){next}", self.max_cost)
    }
}

/// The longest answer that fits into what is held.
fn answer(ask: &Ask, [tokens, micros]: [u64; 2]) -> u64 {
    let by_tokens = tokens.saturating_sub(ask.prompt);
    let left = micros as f64 / 1e6 - ask.prompt as f64 * ask.rates[0];
    let by_dollars = if ask.rates[1] > 0.0 { whole(left / ask.rates[1]) } else { u64::MAX };
    ask.answer.min(by_tokens).min(by_dollars).max(1)
}

fn refusal(message: String) -> JobError {
    JobError::new(ErrorCode::BudgetExceeded, message).with_detail("limit", "owner_daily")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped; a cast of a float saturates")]
fn micros(dollars: f64) -> u64 {
    (dollars.clamp(0.0, 1e9) * 1e6).round() as u64
}

/// Rounded up: what costs anything is not free.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped; a cast of a float saturates")]
fn at_most(dollars: f64) -> u64 {
    (dollars.clamp(0.0, 1e9) * 1e6 - 1e-6).ceil() as u64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
fn whole(tokens: f64) -> u64 {
    (tokens + 1e-6).floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn ask(prompt: u64, answer: u64) -> Ask {
        Ask { prompt, answer, rates: [0.000_001, 0.000_01] }
    }

    #[tokio::test]
    async fn a_day_is_shared_by_all_jobs_of_an_owner_and_by_nobody_else() {
        let store = MemoryStore::new(0);
        let llm = Llm { owner_daily_tokens: 100, ..Llm::default() };
        let one = Allowance::new(&llm, store.clone()).unwrap();
        let other = Allowance::new(&llm, store).unwrap();
        let used = |total| Tokens { prompt: total, ..Tokens::default() };
        let request = || Reserved::of("ann");
        let (first, last, next) = (request(), request(), request());
        assert_eq!(one.reserve(&first, &ask(10, 20)).await.unwrap(), 20);
        one.settle(&first, used(60), 0.0).await;
        assert_eq!(other.reserve(&last, &ask(20, 70)).await.unwrap(), 20, "no more of an answer than is left");
        let waits = one.reserve(&next, &ask(1, 10)).await.unwrap_err();
        assert!(waits.deferred && waits.retry_after.is_some(), "what is only reserved may come back: {waits}");
        other.settle(&last, used(10), 0.0).await;
        let small = one.reserve(&next, &ask(30, 10)).await.unwrap_err();
        assert!(!small.deferred && small.message.contains("the next prompt takes about 31 tokens"), "{small}");
        one.reserve(&next, &ask(1, 1)).await.unwrap();
        one.settle(&next, used(40), 0.0).await;
        let refused = other.reserve(&request(), &ask(1, 1)).await.unwrap_err();
        assert_eq!((refused.code, refused.retryable, refused.deferred), (ErrorCode::BudgetExceeded, false, false));
        assert!(refused.message.contains("110 of 100 tokens"), "{}", refused.message);
        assert!(one.reserve(&Reserved::of("bob"), &ask(1, 1)).await.is_ok());
        assert!(Allowance::new(&Llm::default(), MemoryStore::new(0)).is_none());
    }

    #[tokio::test]
    async fn money_is_counted_in_millionths_and_bounds_the_answer() {
        let llm = Llm { owner_daily_cost_usd: 0.001, ..Llm::default() };
        let allowance = Allowance::new(&llm, MemoryStore::new(0)).unwrap();
        let request = Reserved::of("ann");
        assert_eq!(allowance.reserve(&request, &ask(100, 4096)).await.unwrap(), 90);
        allowance.settle(&request, Tokens::default(), 0.001).await;
        let refused = allowance.reserve(&request, &ask(1, 1)).await.unwrap_err();
        assert!(refused.message.contains("$0.001 of $0.001"), "{refused}");
        let free = Ask { rates: [0.0; 2], ..ask(1, 4096) };
        assert_eq!(allowance.reserve(&request, &free).await.unwrap(), 4096, "what costs nothing goes on");
    }
}
