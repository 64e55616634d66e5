//! What stands before every tool of an agent: someone's approval where it is needed, what a run that has read data of
//! strangers may do, and that a call with lasting effect is made once.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Effect, Permission, Tool, ToolBounds, ToolContext, ToolEnd};
use crate::{
    job::{ErrorCode, Event, EventKind, JobError, Meter, RawJson},
    llm::ToolSpec,
    settings::TaintedEffects,
    store::Journal,
};

/// Tells a call that waits from a patch that waits.
const KIND: &str = "tool_call";

/// What a model is told of a call that was rejected.
const REJECTED: &str =
    "the person asked for approval rejected this call: do not try it again, say what could not be done";

/// A call that waits for someone's decision, as it is shown and kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PendingCall {
    /// Always `tool_call`.
    pub kind: String,
    /// The tool, as it was offered.
    pub tool: String,
    /// What it would be called with.
    pub arguments: RawJson,
    /// What the tool itself prepared, where it did: of a patch the operations and their effects.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prepared: Option<RawJson>,
    /// Why it waits, where that is what the run has read: `tainted by <source>`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Where the call stands in the job: the decision is for this place alone.
    pub step: String,
    /// When it was asked for, in milliseconds since the epoch.
    #[serde(default)]
    pub asked_ms: Option<u64>,
}

/// What was decided about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether it may be made.
    pub approved: bool,
}

/// Whether what waited was a call of an agent.
#[must_use]
pub fn is_call(pending: &RawJson) -> bool {
    pending.read::<PendingCall>().is_ok_and(|pending| pending.kind == KIND)
}

/// Why a call of an agent waits, where that is what its run has read.
#[must_use]
pub fn why_it_waits(pending: &RawJson) -> Option<String> {
    pending.read::<PendingCall>().ok().and_then(|pending| pending.reason)
}

/// Before the name of a step: how long it waited for a decision, in milliseconds.
const WAITED: &str = "waited:";

/// How long the calls of a job have waited for decisions so far. That is nobody's working time.
///
/// # Errors
/// `internal` when the journal cannot be read.
pub async fn waited(journal: &Journal, meter: &Meter) -> Result<Duration, JobError> {
    let waits: Vec<u64> = journal.values(WAITED, meter).await?;
    Ok(Duration::from_millis(waits.into_iter().fold(0, u64::saturating_add)))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// What is told of a decision about `tool`.
#[must_use]
pub fn decision(tool: &str, approved: bool) -> Event {
    let word = if approved { "approved" } else { "rejected" };
    Event::new(EventKind::Approval).with("decision", word).with("tool", tool)
}

/// Puts a decision on record, before the run comes by the place where the call waits. Gives what is to be told of it,
/// where it was not on record before.
///
/// # Errors
/// `internal` when the journal cannot be written.
pub async fn decide(
    pending: &RawJson,
    approved: bool,
    journal: &Journal,
    meter: &Meter,
) -> Result<Option<Event>, JobError> {
    let pending: PendingCall = pending.read().map_err(|error| {
        JobError::new(ErrorCode::Internal, format!("what was decided about cannot be read: {error}"))
            .with_retryable(false)
    })?;
    if let Some(asked) = pending.asked_ms {
        journal.give(&format!("{WAITED}{}", pending.step), meter, &now_ms().saturating_sub(asked)).await?;
    }
    let known = journal.has(&[&pending.step], meter).await?;
    journal.give(&pending.step, meter, &Decision { approved }).await?;
    let event = decision(&pending.tool, approved);
    Ok((!known).then(|| if approved { event } else { event.with("error", REJECTED) }))
}

/// The step that says that the call whose steps begin with `step` was made, or about to be: of calls that are made once.
#[must_use]
pub fn sent(step: &str) -> String {
    format!("{step}sent")
}

/// A tool behind its gate.
pub struct Gate {
    inner: Arc<dyn Tool>,
    asks: bool,
    tainted: TaintedEffects,
}

impl Gate {
    /// Puts `inner` behind a gate; with `asks` every call waits for approval first. `tainted` is for calls with
    /// consequences of a run that has read outside data.
    #[must_use]
    pub fn before(inner: Arc<dyn Tool>, asks: bool, tainted: TaintedEffects) -> Arc<dyn Tool> {
        let asks = asks || inner.permission() == Permission::Approval;
        Arc::new(Self { inner, asks, tainted })
    }

    /// Why the call needs an approval for what its run has read; nothing where it needs none for that.
    async fn judged(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<Option<String>, JobError> {
        let Some(watch) = context.watch.filter(|_| self.tainted != TaintedEffects::Allow) else { return Ok(None) };
        let before = watch.before();
        if before.seen().is_empty() {
            return Ok(None);
        }
        if !self.asks && !self.inner.has_consequences(arguments, context).await? {
            watch.let_read();
            return Ok(None);
        }
        let reason = format!("tainted by {}", before.seen().join(", "));
        if self.tainted == TaintedEffects::Approve {
            return Ok(Some(reason));
        }
        let message = format!(
            "refused: {reason}. What was read there may have been written to bring this call about, and \
             security.tainted_effects is deny: do without it, say what could not be done"
        );
        Err(self.told(&message).with_detail("reason", "tainted").with_detail("sources", before.seen()))
    }

    /// The decision about this call, or the parking that waits for one.
    async fn allowed(
        &self,
        what: &str,
        arguments: &RawJson,
        prepared: Option<RawJson>,
        reason: Option<String>,
        context: &ToolContext<'_>,
    ) -> Result<(), JobError> {
        let step = format!("{}{what}", context.step);
        let tool = self.inner.spec().name.clone();
        let ask = async {
            let (kind, arguments, step) = (KIND.into(), arguments.clone(), step.clone());
            let asked_ms = Some(now_ms());
            let pending = PendingCall { kind, tool, arguments, prepared, reason, step, asked_ms };
            Err(JobError::parked(RawJson::of(&pending)))
        };
        let decision: Decision = context.journal.step(&step, context.meter, ask).await?;
        if decision.approved { Ok(()) } else { Err(self.rejected()) }
    }

    fn rejected(&self) -> JobError {
        self.told(REJECTED).with_detail("reason", "rejected")
    }

    /// An error for the model.
    fn told(&self, message: &str) -> JobError {
        JobError::new(ErrorCode::HandoffFailed, message)
            .with_retryable(false)
            .with_tool(self.inner.spec().name.as_str())
    }

    /// Notes that a call with lasting effect is about to be made.
    async fn once(&self, context: &ToolContext<'_>) -> Result<(), JobError> {
        if !context.journal.mark(&sent(context.step), context.meter).await? {
            return Ok(());
        }
        let message = "this call was under way when its worker stopped: whether it took effect is not known, and it is \
                       not made again";
        Err(self.told(message).with_detail("reason", "outcome_unknown"))
    }

    async fn made(
        &self,
        arguments: &RawJson,
        context: &ToolContext<'_>,
        begins: &(dyn Fn() + Send + Sync),
    ) -> Result<ToolEnd, JobError> {
        let made = self.inner.call(arguments, context).await;
        if let Ok(ToolEnd::Park(prepared)) = &made {
            self.allowed("prepared", arguments, Some(prepared.clone()), None, context).await?;
            begins();
            return self.inner.resume(prepared, context).await.map(ToolEnd::Done);
        }
        // It had nothing to wait for.
        if !made.as_ref().is_err_and(|error| error.deferred) {
            begins();
        }
        made
    }
}

#[async_trait]
impl Tool for Gate {
    fn spec(&self) -> &ToolSpec {
        self.inner.spec()
    }

    fn bounds(&self) -> ToolBounds {
        self.inner.bounds()
    }

    fn only_reads(&self, arguments: &RawJson) -> bool {
        !self.asks && self.inner.only_reads(arguments)
    }

    fn outside(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Option<String> {
        self.inner.outside(arguments, context)
    }

    async fn has_consequences(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<bool, JobError> {
        self.inner.has_consequences(arguments, context).await
    }

    fn effect(&self, arguments: &RawJson) -> Effect {
        self.inner.effect(arguments)
    }

    fn prepares(&self, context: &ToolContext<'_>) -> bool {
        self.inner.prepares(context)
    }

    async fn call(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        self.perform(arguments, context, &|| {}).await
    }

    async fn perform(
        &self,
        arguments: &RawJson,
        context: &ToolContext<'_>,
        begins: &(dyn Fn() + Send + Sync),
    ) -> Result<ToolEnd, JobError> {
        let reason = self.judged(arguments, context).await?;
        if self.asks || reason.is_some() {
            self.allowed("decision", arguments, None, reason, context).await?;
        }
        if !self.inner.prepares(context) {
            begins();
        }
        let once = self.inner.effect(arguments) == Effect::Once;
        if once {
            self.once(context).await?;
        }
        let made = self.made(arguments, context, begins).await;
        // An error tells of what was read as well.
        if let (Some(watch), Some(source)) = (context.watch, self.inner.outside(arguments, context)) {
            watch.read(&source);
        }
        match made {
            // Another attempt would not be allowed to make it.
            Err(error) if once && error.retryable && !error.deferred => Err(error.with_retryable(false)),
            made => made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{job::JobId, store::MemoryStore};

    #[tokio::test]
    async fn the_time_of_a_decision_is_on_record_once() {
        let job_id = JobId::try_from("a".to_owned()).unwrap();
        let journal = Journal::new(MemoryStore::new(1 << 20), &job_id, Duration::from_secs(60), 0);
        let meter = Meter::default();
        let hour = Duration::from_secs(3600);
        let asked = |step: &str, asked_ms| {
            let (tool, arguments) = ("t".into(), RawJson::from_trusted("{}"));
            RawJson::of(&PendingCall {
                kind: KIND.into(),
                tool,
                arguments,
                prepared: None,
                reason: None,
                step: step.into(),
                asked_ms,
            })
        };
        let before = Some(now_ms() - 3_600_000);
        for pending in [asked("1:decision", before), asked("1:decision", before), asked("2:decision", before)] {
            decide(&pending, true, &journal, &meter).await.unwrap();
        }
        // One of an earlier version does not say when.
        decide(&asked("3:decision", None), true, &journal, &meter).await.unwrap();
        let waited = waited(&journal, &meter).await.unwrap();
        assert!(waited >= 2 * hour && waited < 2 * hour + Duration::from_secs(600), "{waited:?}");
    }
}
