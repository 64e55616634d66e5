//! What a job may spend, and what it has spent.

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
}

/// Counts a job's spending as it happens, and says when it is over its budget.
#[derive(Debug, Default)]
pub struct Meter {
    budget: Budget,
    owner: Option<Box<str>>,
    spend: Mutex<Spend>,
    /// Tool calls that were paid for and could not be read.
    unreadable: Mutex<Vec<ToolCallRecord>>,
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
        Self { owner: owner.map(Box::from), ..Self::new(job.budget) }
    }

    /// Who pays.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Counts a request that is about to be sent. Refuses it when the budget is already used up.
    pub fn begin_request(&self) -> Result<(), JobError> {
        let mut spend = self.spend.lock();
        self.check(&spend)?;
        spend.llm_calls += 1;
        Ok(())
    }

    /// Adds what an answer cost.
    pub fn add(&self, model: &str, tokens: Tokens, cost_usd: f64) {
        let mut spend = self.spend.lock();
        spend.tokens.prompt += tokens.prompt;
        spend.tokens.completion += tokens.completion;
        spend.tokens.cached += tokens.cached;
        spend.cost_usd += cost_usd;
        spend.model = Some(model.to_owned());
    }

    /// Notes that our own response cache answered.
    pub fn note_cache_hit(&self) {
        self.spend.lock().response_cache_hit = true;
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
        *self.spend.lock() = spend;
    }

    /// The sums so far.
    #[must_use]
    pub fn spend(&self) -> Spend {
        self.spend.lock().clone()
    }

    fn check(&self, spend: &Spend) -> Result<(), JobError> {
        let over = |what: String| {
            Err(JobError::new(ErrorCode::BudgetExceeded, format!("{what}: raise the job's budget or ask for less")))
        };
        match self.budget {
            Budget { max_tokens: Some(max), .. } if spend.tokens.total() >= max => {
                over(format!("{} of {max} tokens are used", spend.tokens.total()))
            }
            Budget { max_cost_usd: Some(max), .. } if spend.cost_usd >= max => {
                over(format!("${:.6} of ${max} is spent", spend.cost_usd))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_up_budget_refuses_the_next_request_and_not_the_first() {
        let meter = Meter::new(Budget { max_tokens: Some(100), max_cost_usd: None });
        meter.begin_request().unwrap();
        meter.add("m", Tokens { prompt: 90, completion: 10, cached: 0 }, 0.0);
        assert_eq!(meter.begin_request().unwrap_err().code, ErrorCode::BudgetExceeded);
        assert_eq!(meter.spend().llm_calls, 1);
    }
}
