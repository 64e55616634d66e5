//! What a job may spend, and what it has spent.

use std::task::{Poll, Waker};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{ErrorCode, Job, JobError, ToolCallRecord};

/// Upper bounds a producer sets for one job. Absent means no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Tokens over all model calls, prompt and completion together.
    pub max_tokens: Option<u64>,
    /// US dollars over all model calls.
    pub max_cost_usd: Option<f64>,
}

/// Tokens as providers count them. `cached` is the part of `prompt` that the provider had kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the type's doc says it all")]
pub struct Tokens {
    pub prompt: u64,
    pub completion: u64,
    pub cached: u64,
}

impl Tokens {
    /// Prompt and completion together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.prompt + self.completion
    }
}

/// What a job has spent so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spend {
    /// Requests sent to a model, retries included.
    pub llm_calls: u32,
    /// Tokens over all of them.
    pub tokens: Tokens,
    /// Dollars over all of them, by the price table; 0 for models without a price.
    pub cost_usd: f64,
    /// The model that answered last.
    pub model: Option<String>,
    /// Whether a response cache of ours answered.
    pub response_cache_hit: bool,
    /// Requests whose tokens nobody counted, so that they were estimated.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub estimated: u32,
    /// A model without a price that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpriced: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Spend {
    /// What must be known to read the sums right, in a sentence.
    #[must_use]
    pub fn caveat(&self) -> Option<String> {
        let estimated = (self.estimated > 0).then(|| {
            format!(
                "the tokens of {} of {} model requests are an estimate, since the server counted none",
                self.estimated, self.llm_calls
            )
        });
        let unpriced = self.unpriced.as_ref().map(|model| {
            format!("the cost of {model} is not known and counts as 0: set llm.prices for it (0 where it is free)")
        });
        let both: Vec<String> = estimated.into_iter().chain(unpriced).collect();
        (!both.is_empty()).then(|| both.join("; "))
    }

    fn add(&mut self, bill: &Bill<'_>) {
        self.tokens.prompt += bill.tokens.prompt;
        self.tokens.completion += bill.tokens.completion;
        self.tokens.cached += bill.tokens.cached;
        self.cost_usd += bill.cost_usd.unwrap_or_default();
        self.estimated += u32::from(bill.estimated);
        if bill.cost_usd.is_none() && bill.tokens.total() > 0 {
            self.unpriced = Some(bill.model.to_owned());
        }
        self.model = Some(bill.model.to_owned());
    }
}

/// What one request has cost.
#[derive(Debug, Clone, Copy)]
pub struct Bill<'a> {
    /// Who answered.
    pub model: &'a str,
    /// Prompt and answer.
    pub tokens: Tokens,
    /// Nobody counted the tokens: they are a guess.
    pub estimated: bool,
    /// Dollars; none where the model has no price.
    pub cost_usd: Option<f64>,
}

/// What one request wants to cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// Tokens of the prompt, by estimate.
    pub prompt: u64,
    /// The longest answer that is wanted, in tokens.
    pub answer: u64,
    /// Dollars per token of a prompt and of an answer; zero where nothing is known.
    pub rates: [f64; 2],
}

/// Counts a job's spending as it happens, and holds it within the job's budget: a request reserves what it may cost
/// before it is sent.
#[derive(Debug, Default)]
pub struct Meter {
    budget: Budget,
    owner: Option<Box<str>>,
    job: Option<Box<str>>,
    account: Mutex<Account>,
    /// Tool calls that were paid for and could not be read.
    unreadable: Mutex<Vec<ToolCallRecord>>,
}

#[derive(Debug, Default)]
struct Account {
    spend: Spend,
    /// What requests under way have reserved: tokens and dollars.
    held: Reservation,
    /// Whoever waits for one of them to end.
    waiting: Vec<Waker>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Reservation {
    tokens: u64,
    dollars: f64,
}

impl Meter {
    /// A meter at zero.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// A meter at zero for `job`, in its owner's name.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let owner = job.workflow_owner.as_deref().filter(|owner| !owner.is_empty());
        let id = Box::from(job.job_id.as_str());
        Self { owner: owner.map(Box::from), job: Some(id), ..Self::new(job.budget) }
    }

    /// Who pays.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Which job it counts for, where it is one that can be put back.
    #[must_use]
    pub fn job(&self) -> Option<&str> {
        self.job.as_deref()
    }

    /// Whether dollars are bounded, so that a model without a price cannot be asked.
    #[must_use]
    pub fn bounds_cost(&self) -> bool {
        self.budget.max_cost_usd.is_some()
    }

    /// Reserves what a request may cost at most: its prompt, and as much of an answer as is left. Pending while other
    /// requests of the job hold what it would need; `waker` is told when one of them has ended.
    ///
    /// # Errors
    /// `budget_exceeded` where the prompt alone does not fit.
    pub fn poll_reserve(&self, ask: &Ask, waker: &Waker) -> Poll<Result<Grant<'_>, JobError>> {
        let mut account = self.account.lock();
        let alone = match self.room(&account.spend, Reservation::default(), ask) {
            Ok(answer) => answer,
            Err(over) => return Poll::Ready(Err(over)),
        };
        // Where it would get more if it were alone it waits: an answer that is cut off is paid for nothing.
        if self.room(&account.spend, account.held, ask).ok() != Some(alone) {
            account.waiting.push(waker.clone());
            return Poll::Pending;
        }
        let [prompt, answer] = [ask.prompt, alone];
        let held = Reservation {
            tokens: prompt + answer,
            dollars: prompt as f64 * ask.rates[0] + answer as f64 * ask.rates[1],
        };
        account.held.tokens += held.tokens;
        account.held.dollars += held.dollars;
        Poll::Ready(Ok(Grant { meter: self, ask: *ask, answer, held, sent: None }))
    }

    /// Counts a request without an answer of its own, such as one for embeddings. Refuses it when the budget is
    /// already used up.
    pub fn begin_request(&self) -> Result<(), JobError> {
        let mut account = self.account.lock();
        self.room(
            &account.spend,
            Reservation::default(),
            &Ask { prompt: 0, answer: 1, rates: [0.0, f64::MIN_POSITIVE] },
        )?;
        account.spend.llm_calls += 1;
        Ok(())
    }

    /// Adds what a request has cost.
    pub fn add(&self, model: &str, tokens: Tokens, cost_usd: f64) {
        let bill = Bill { model, tokens, estimated: false, cost_usd: Some(cost_usd) };
        self.account.lock().spend.add(&bill);
    }

    /// Notes that our own response cache answered.
    pub fn note_cache_hit(&self) {
        self.account.lock().spend.response_cache_hit = true;
    }

    /// Notes a tool call of a model that could not be read, so that nobody made it.
    pub fn note_unreadable(&self, call: ToolCallRecord) {
        self.unreadable.lock().push(call);
    }

    /// The tool calls that could not be read since this was last asked.
    #[must_use]
    pub fn take_unreadable(&self) -> Vec<ToolCallRecord> {
        std::mem::take(&mut *self.unreadable.lock())
    }

    /// Sets the sums to what a journal says had been spent.
    pub fn restore(&self, spend: Spend) {
        self.account.lock().spend = spend;
    }

    /// The sums so far.
    #[must_use]
    pub fn spend(&self) -> Spend {
        self.account.lock().spend.clone()
    }

    /// The longest answer that fits beside what is spent and held.
    fn room(&self, spend: &Spend, held: Reservation, ask: &Ask) -> Result<u64, JobError> {
        let mut answer = ask.answer;
        if let Some(max) = self.budget.max_tokens {
            let used = spend.tokens.total() + held.tokens;
            let left = max.saturating_sub(used);
            let what = || format!("{used} of {max} tokens are used");
            answer = answer.min(left.checked_sub(ask.prompt + 1).ok_or_else(|| over(ask, left == 0, what()))? + 1);
        }
        if let Some(max) = self.budget.max_cost_usd {
            let used = spend.cost_usd + held.dollars;
            let left = max - used - ask.prompt as f64 * ask.rates[0];
            let fits = if ask.rates[1] > 0.0 { whole(left / ask.rates[1]) } else { u64::MAX };
            let free = ask.rates == [0.0; 2];
            // Fractions of a dollar add up to a little more or less than they should.
            if (used >= max && !free) || left < -1e-12 || fits == 0 {
                return Err(over(ask, used >= max, format!("${used:.6} of ${max} is spent")));
            }
            answer = answer.min(fits);
        }
        Ok(answer)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
fn whole(tokens: f64) -> u64 {
    // One token in a million is forgiven to rounding.
    (tokens + 1e-6).floor() as u64
}

fn over(ask: &Ask, used_up: bool, what: String) -> JobError {
    let next = if used_up { String::new() } else { format!(", and the next prompt takes about {} tokens", ask.prompt) };
    JobError::new(ErrorCode::BudgetExceeded, format!("{what}{next}: raise the job's budget or ask for less"))
}

/// What one request may cost at most. Ended by [`Grant::settle`]; dropped, it gives back what it held, and where the
/// request was sent already its prompt counts as spent.
#[derive(Debug)]
pub struct Grant<'a> {
    meter: &'a Meter,
    ask: Ask,
    answer: u64,
    held: Reservation,
    /// The model that the request was sent to.
    sent: Option<Box<str>>,
}

impl Grant<'_> {
    /// The longest answer that may be asked for, in tokens.
    #[must_use]
    pub fn answer(&self) -> u64 {
        self.answer
    }

    /// Whether the budget allows less of an answer than was wanted.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.answer < self.ask.answer
    }

    /// Counts the request: it goes out now.
    pub fn send(&mut self, model: &str) {
        self.meter.account.lock().spend.llm_calls += 1;
        self.sent = Some(model.into());
    }

    /// Puts what the request has cost in place of what it held.
    pub fn settle(mut self, bill: &Bill<'_>) {
        self.sent = None;
        self.meter.account.lock().spend.add(bill);
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        let mut account = self.meter.account.lock();
        account.held.tokens = account.held.tokens.saturating_sub(self.held.tokens);
        account.held.dollars = (account.held.dollars - self.held.dollars).max(0.0);
        if let Some(model) = &self.sent {
            let tokens = Tokens { prompt: self.ask.prompt, ..Tokens::default() };
            let cost_usd = Some(self.ask.prompt as f64 * self.ask.rates[0]);
            account.spend.add(&Bill { model, tokens, estimated: true, cost_usd });
        }
        account.waiting.drain(..).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(max_tokens: Option<u64>, max_cost_usd: Option<f64>) -> Meter {
        Meter::new(Budget { max_tokens, max_cost_usd })
    }

    fn ask(meter: &Meter, prompt: u64, answer: u64) -> Poll<Result<Grant<'_>, JobError>> {
        meter.poll_reserve(&Ask { prompt, answer, rates: [0.01, 0.1] }, Waker::noop())
    }

    fn granted<'a>(meter: &'a Meter, prompt: u64, answer: u64) -> Grant<'a> {
        match ask(meter, prompt, answer) {
            Poll::Ready(Ok(grant)) => grant,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refused(meter: &Meter, prompt: u64) -> String {
        match ask(meter, prompt, 10) {
            Poll::Ready(Err(error)) => {
                assert_eq!((error.code, error.retryable), (ErrorCode::BudgetExceeded, false));
                error.message
            }
            other => panic!("{other:?}"),
        }
    }

    fn bill(prompt: u64, completion: u64) -> Bill<'static> {
        let tokens = Tokens { prompt, completion, cached: 0 };
        Bill { model: "m", tokens, estimated: false, cost_usd: Some(prompt as f64 * 0.01 + completion as f64 * 0.1) }
    }

    #[test]
    fn a_used_up_budget_refuses_the_next_request_and_not_the_first() {
        let meter = meter(Some(100), None);
        meter.begin_request().unwrap();
        meter.add("m", Tokens { prompt: 90, completion: 10, cached: 0 }, 0.0);
        assert_eq!(meter.begin_request().unwrap_err().code, ErrorCode::BudgetExceeded);
        assert_eq!(refused(&meter, 0), "100 of 100 tokens are used: raise the job's budget or ask for less");
        assert_eq!(meter.spend().llm_calls, 1);
    }

    #[test]
    fn an_answer_is_no_longer_than_what_is_left() {
        for (tokens, dollars, prompt, answer) in [
            (None, None, 1000, Some(4096)),
            (Some(5000), None, 1000, Some(4000)),
            (Some(1001), None, 1000, Some(1)),
            (Some(1000), None, 1000, None),
            (None, Some(11.0), 1000, Some(10)),
            (None, Some(10.1), 1000, Some(1)),
            (None, Some(10.05), 1000, None),
            (None, Some(9.0), 1000, None),
            (Some(1005), Some(11.0), 1000, Some(5)),
            (Some(9000), Some(11.0), 1000, Some(10)),
            (None, Some(0.0), 0, None),
        ] {
            let meter = meter(tokens, dollars);
            match (ask(&meter, prompt, 4096), answer) {
                (Poll::Ready(Ok(grant)), Some(answer)) => {
                    assert_eq!((grant.answer(), grant.is_cut()), (answer, answer < 4096), "{tokens:?} {dollars:?}");
                }
                (Poll::Ready(Err(_)), None) => {}
                (got, want) => panic!("{tokens:?} {dollars:?}: {got:?}, not {want:?}"),
            }
        }
        let free = Ask { prompt: 1000, answer: 4096, rates: [0.0; 2] };
        let nothing = meter(None, Some(0.0));
        assert!(matches!(nothing.poll_reserve(&free, Waker::noop()), Poll::Ready(Ok(_))), "a free model costs nothing");
        assert!(nothing.begin_request().is_err());
        let message = refused(&meter(Some(1000), None), 1000);
        assert!(
            message.contains("0 of 1000 tokens are used, and the next prompt takes about 1000 tokens"),
            "{message}"
        );
    }

    #[test]
    fn calls_side_by_side_reserve_and_wait_for_each_other() {
        let meter = meter(Some(300), None);
        let first = granted(&meter, 50, 100);
        let mut second = granted(&meter, 50, 100);
        assert!(ask(&meter, 50, 100).is_pending(), "the first two hold it all");
        second.send("m");
        second.settle(&bill(50, 20));
        assert!(ask(&meter, 50, 100).is_pending(), "80 are left: too few for the whole of it");
        drop(first);
        assert_eq!(granted(&meter, 50, 100).answer(), 100);
        assert_eq!((meter.spend().llm_calls, meter.spend().tokens.total()), (1, 70));
        assert!(refused(&meter, 230).contains("70 of 300"), "what does not fit does not wait either");
    }

    #[test]
    fn a_request_that_was_sent_and_dropped_has_cost_its_prompt() {
        let meter = meter(Some(100), Some(9.0));
        drop(granted(&meter, 60, 10));
        assert_eq!(meter.spend(), Spend::default());
        let mut sent = granted(&meter, 60, 10);
        sent.send("m");
        drop(sent);
        let spend = meter.spend();
        assert_eq!((spend.tokens.prompt, spend.cost_usd, spend.estimated), (60, 0.6, 1));
        assert_eq!(granted(&meter, 30, 40).answer(), 10);
    }

    #[test]
    fn what_was_guessed_is_said_once_with_what_to_do() {
        let meter = Meter::default();
        for (estimated, cost_usd) in [(false, Some(0.1)), (true, None), (true, Some(0.1))] {
            let mut grant = granted(&meter, 1, 1);
            grant.send("m");
            grant.settle(&Bill { estimated, cost_usd, ..bill(1, 1) });
            if !estimated {
                assert_eq!(meter.spend().caveat(), None);
            }
        }
        let caveat = meter.spend().caveat().unwrap();
        assert!(caveat.contains("2 of 3 model requests") && caveat.contains("set llm.prices"), "{caveat}");
    }
}
