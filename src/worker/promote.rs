//! Plans from promoted tools: what is known before a model is asked, and what is learned from a job that went well.

use std::{sync::Arc, time::Duration};

use super::{Runner, attempt::asks_model};
use crate::{
    job::{
        Intent, IntentKind, IntentSource, Job, JobError, JobResult, Lane, LaneChoice, Meter, PlanOrigin, PlanSource,
        RawJson, Status, ToolStatus,
    },
    planner::{Catalogue, Column, Found, Match, lesson, signature},
    store::{Journal, Runs, Session, StoreError},
    table::Limits,
    telemetry::names,
    tools::{CallTool, SearchTools, Tool},
};

/// The journal's name for the plan that was taken from a tool.
const PROMOTED: &str = "promoted";
/// What the planner's tool is called.
const PIPELINE: &str = "execute_pipeline";

/// What an owner's promoted tools mean for one job.
#[derive(Default)]
pub(super) struct Known {
    /// Nothing where promotion has no part in the job.
    catalogue: Option<Arc<Catalogue>>,
    /// The plan that the prompt means.
    pub(super) found: Option<Found>,
    /// The columns at hand, where something may be learned from the job.
    pub(super) columns: Option<String>,
}

impl Known {
    /// The tools with which a model finds and runs promoted pipelines.
    pub(super) fn tools(&self, runner: &Runner, replays: bool) -> Vec<Arc<dyn Tool>> {
        let Some(catalogue) = self.catalogue.as_ref().filter(|all| replays || all.enabled().next().is_some()) else {
            return Vec::new();
        };
        let call = CallTool::new(catalogue.clone(), runner.pipeline_tool.clone());
        vec![Arc::new(SearchTools::new(catalogue.clone())), Arc::new(call)]
    }

    /// The intent of a job whose plan is known, unless the rules are sure that it wants something else. Where they are
    /// unsure and there is a workflow, the same words may be about that one.
    pub(super) fn intent(&self, offline: &Intent, has_workflow: bool, runner: &Runner) -> Option<Intent> {
        let found = self.found.as_ref()?;
        let settings = &runner.settings.intent;
        match offline.intent {
            IntentKind::Execute if offline.confidence >= settings.constrain_threshold => Some(offline.clone()),
            IntentKind::Patch | IntentKind::Handoff if offline.confidence >= settings.rules_threshold => None,
            _ if has_workflow => None,
            _ => Some(Intent {
                intent: IntentKind::Execute,
                confidence: 1.0,
                reasoning: format!("asked in these words before, for the promoted tool {}", found.tool),
                source: IntentSource::Rules,
            }),
        }
    }
}

impl Runner {
    pub(crate) fn runs(&self) -> Runs {
        Runs::new(self.store.clone(), Duration::from_secs(self.settings.llm.promote_ttl_secs))
    }

    /// What is known of a job that a model would plan. A store that fails costs a model call and nothing else.
    pub(super) async fn known(
        &self,
        job: &Job,
        columns: Option<&[Column]>,
        session: Option<&Session>,
        journal: &Journal,
        meter: &Meter,
    ) -> Result<Known, JobError> {
        let lane = matches!(job.lane, LaneChoice::Auto | LaneChoice::Execute) && job.handoff.is_none();
        // What a job did then does not depend on what is configured now.
        let on = self.settings.llm.promote || journal.replays();
        let Some(owner) = owner(job).filter(|_| lane && on && asks_model(self, job)) else {
            return Ok(Known::default());
        };
        let catalogue = Arc::new(self.catalogue(owner).await);
        if journal.replays() {
            let found = journal.peek(PROMOTED, meter).await?.and_then(|found| found.read().ok());
            return Ok(Known { catalogue: Some(catalogue), found, columns: None });
        }
        // What is asked in a conversation means something else each time.
        let fresh = session.is_none_or(|session| session.turns.is_empty() && session.dropped == 0);
        if !fresh {
            return Ok(Known { catalogue: Some(catalogue), ..Known::default() });
        }
        let columns = signature(columns);
        let found = if journal.has(&[PROMOTED], meter).await? {
            journal.peek(PROMOTED, meter).await?.and_then(|found| found.read().ok())
        } else if journal.has(&["turn:", "intent"], meter).await? {
            // A model has begun to plan this job, and was paid for it.
            None
        } else {
            match catalogue.find(job.prompt_text(), &columns) {
                Match::One(found) => Some(found),
                Match::Nothing => None,
                Match::Several => {
                    count("ambiguous");
                    None
                }
            }
        };
        Ok(Known { catalogue: Some(catalogue), found, columns: (!job.dry_run).then_some(columns) })
    }

    /// Puts it on record that a plan is taken from a tool.
    pub(super) async fn take(&self, found: &Found, journal: &Journal, meter: &Meter) -> Result<(), JobError> {
        if journal.replays() || journal.has(&[PROMOTED], meter).await? {
            return Ok(());
        }
        journal.step(PROMOTED, meter, async { Ok(found.clone()) }).await.map(drop)
    }

    /// The tools of an owner.
    async fn catalogue(&self, owner: &str) -> Catalogue {
        let runs = self.runs();
        match tokio::try_join!(runs.of(owner), runs.disabled(owner)) {
            Ok((all, disabled)) => Catalogue::of(&all, &disabled),
            Err(error) => {
                tracing::warn!(%error, "promoted tools cannot be read now; the model plans");
                Catalogue::default()
            }
        }
    }

    /// Learns from a job that has ended: its pipeline, where a model planned it; a use, where a tool did.
    pub(super) async fn learn(&self, job: &Job, document: &JobResult, columns: Option<String>) {
        let Some(owner) = owner(job) else { return };
        let learned = match &document.metadata.plan {
            _ if document.status != Status::Completed || document.lane != Some(Lane::Execute) => Ok(()),
            Some(PlanOrigin { tool: Some(tool), .. }) => self.runs().used(owner, tool, 1).await.map(drop),
            Some(PlanOrigin { source: PlanSource::Model | PlanSource::Cache, tool: None, .. }) => {
                let limits = Limits::from(&self.settings.pipeline);
                let run = columns.and_then(|columns| {
                    lesson(job.job_id.as_str(), job.prompt_text(), &columns, only_pipeline(document)?, &limits)
                });
                match run {
                    Some(run) => self.remember_run(owner, &run).await,
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        };
        if let Err(error) = learned {
            tracing::warn!(job_id = %job.job_id, %error, "nothing could be learned from the job");
        }
    }

    async fn remember_run(&self, owner: &str, run: &crate::store::Run) -> Result<(), StoreError> {
        let runs = self.runs();
        let mut all = runs.of(owner).await?;
        let same = |known: &&crate::store::Run| {
            known.prompt == run.prompt && known.steps == run.steps && known.columns == run.columns
        };
        // A third time says nothing new.
        if all.iter().filter(same).count() > 1 {
            return Ok(());
        }
        let before = Catalogue::of(&all, &Default::default()).tools().len();
        runs.add(owner, run).await?;
        all.retain(|known| known.job_id != run.job_id);
        all.push(run.clone());
        if Catalogue::of(&all, &Default::default()).tools().len() > before {
            count("promoted");
        }
        Ok(())
    }
}

/// Who the job's tools belong to: nobody shares what nobody owns.
fn owner(job: &Job) -> Option<&str> {
    job.workflow_owner.as_deref().filter(|owner| !owner.is_empty())
}

/// The arguments of the one pipeline that made the result.
fn only_pipeline(document: &JobResult) -> Option<&RawJson> {
    let calls = &document.metadata.tool_calls;
    let mut good = calls.iter().filter(|call| call.status == ToolStatus::Ok && call.tool != "search_tools");
    match (good.next(), good.next()) {
        (Some(call), None) if call.tool == PIPELINE => Some(&call.args),
        _ => None,
    }
}

/// Where a plan came from, as far as it is known before it is carried out.
pub(super) fn origin(ready: bool, found: Option<&Found>, modelled: bool) -> PlanOrigin {
    let source = match found {
        _ if ready => PlanSource::Ready,
        Some(_) => PlanSource::Promoted,
        None if modelled => PlanSource::Model,
        None => PlanSource::Rules,
    };
    let found = found.filter(|_| source == PlanSource::Promoted);
    PlanOrigin {
        source,
        tool: found.map(|found| found.tool.clone()),
        arguments: found.map(|found| RawJson::of(&found.arguments)),
    }
}

/// Corrects it by what happened: a refused plan was made anew by the model, which may have run a tool by name.
pub(super) fn settled(origin: PlanOrigin, record: &crate::lanes::Record, meter: &Meter) -> PlanOrigin {
    let asked = meter.spend().llm_calls > 0;
    match origin.source {
        PlanSource::Promoted if asked => {
            count("mended");
            settled(PlanOrigin { source: PlanSource::Model, tool: None, arguments: None }, record, meter)
        }
        PlanSource::Promoted => {
            count("used");
            origin
        }
        PlanSource::Model => {
            let last = record.tool_calls.iter().rev().find(|call| call.status == ToolStatus::Ok);
            let args = last.filter(|call| call.tool == "call_tool").and_then(|call| call.args.to_value().ok());
            let text = |args: &serde_json::Value| args["name"].as_str().map(str::to_owned);
            let kept = !asked && meter.spend().response_cache_hit;
            let source = if kept { PlanSource::Cache } else { PlanSource::Model };
            PlanOrigin { source, tool: args.as_ref().and_then(text), ..origin }
        }
        _ => origin,
    }
}

fn count(outcome: &'static str) {
    metrics::counter!(names::PROMOTIONS_TOTAL, "outcome" => outcome).increment(1);
}
