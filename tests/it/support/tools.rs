//! A run's tools without a run: what agents are offered, called one by one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner::{
    agents::{self, Registry, Toolbox},
    job::{Job, JobError, JobLimits, Meter, RawJson},
    net::{Credentials, Egress},
    settings::{self, TaintedEffects},
    store::{Journal, MemoryStore, SharedStore},
    tools::{SearchSource, Tool, ToolContext, ToolEnd, Watch, mcp::Servers},
};
use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Everything around calls. Its journal is that of one job; [`Workbench::redelivered`] is the same job again.
pub struct Workbench {
    job: Job,
    store: SharedStore,
    journal: Journal,
    meter: Meter,
    cancel: CancellationToken,
    pub toolbox: Arc<Toolbox>,
    pub built_ins: Vec<Arc<dyn Tool>>,
}

impl Workbench {
    /// A bench where requests may go to `allow`.
    pub fn new(allow: &[String]) -> Self {
        let egress = settings::Egress { allow: allow.to_vec(), ..settings::Egress::default() };
        Self::with(&egress)
    }

    pub fn with(settings: &settings::Egress) -> Self {
        let egress = Arc::new(Egress::new(settings, &[]).unwrap());
        let servers = Servers::new(egress, Credentials::new(settings));
        let toolbox = Toolbox { servers, sources: Vec::new(), tainted: TaintedEffects::Approve };
        Self::on(MemoryStore::new(1 << 24), Arc::new(toolbox), None)
    }

    fn on(store: SharedStore, toolbox: Arc<Toolbox>, owner: Option<&str>) -> Self {
        let limits = JobLimits { max_job_bytes: 1 << 20, max_prompt_bytes: 1 << 20 };
        let document = serde_json::json!({"job_id": "a", "prompt": "x", "workflow_owner": owner});
        let job = Job::parse(&Bytes::from(document.to_string()), &limits).unwrap();
        let journal = Journal::new(store.clone(), &job.job_id, Duration::from_secs(60), 1 << 20);
        let (meter, cancel) = (Meter::default(), CancellationToken::new());
        Self { job, store, journal, meter, cancel, toolbox, built_ins: Vec::new() }
    }

    /// The job, delivered again.
    pub fn redelivered(self) -> Self {
        let owner = self.job.workflow_owner.as_deref();
        Self { built_ins: self.built_ins, ..Self::on(self.store, self.toolbox, owner) }
    }

    /// Another job, of `owner`, with a journal of its own.
    pub fn job_of(&self, owner: Option<&str>) -> Self {
        let built_ins = self.built_ins.clone();
        Self { built_ins, ..Self::on(MemoryStore::new(1 << 24), self.toolbox.clone(), owner) }
    }

    /// Adds a source to what a search looks through.
    pub fn source(&mut self, source: impl SearchSource + 'static) {
        let Toolbox { servers, sources, tainted } = &*self.toolbox;
        let sources = sources.iter().cloned().chain([Arc::new(source) as Arc<dyn SearchSource>]).collect();
        self.toolbox = Arc::new(Toolbox { servers: servers.clone(), sources, tainted: *tainted });
    }

    fn context<'a>(&'a self, step: &'a str) -> ToolContext<'a> {
        ToolContext {
            job: &self.job,
            data: None,
            journal: &self.journal,
            step,
            meter: &self.meter,
            deadline: Instant::now() + Duration::from_secs(60),
            cancel: &self.cancel,
            emit: &|_| {},
            watch: None,
        }
    }

    /// Decides about a call that waits.
    pub async fn decide(&self, pending: &RawJson, approved: bool) {
        agent_runner::tools::decide(pending, approved, &self.journal, &self.meter).await.unwrap();
    }

    /// The tools of the agent `a`.
    pub async fn kit(&self, registry: &Registry) -> Kit {
        let agent = registry.agent("a").unwrap();
        let references: Vec<String> = agent.tools.iter().map(agents::ToolRef::text).collect();
        let kit = self.toolbox.kit(&Arc::new(registry.clone()), &self.built_ins);
        let warnings = kit.seat("a", &references, &self.context("")).await.unwrap();
        Kit { tools: kit.offered(&references), warnings }
    }

    /// Calls a tool as the `n`th of the run.
    pub async fn call(&self, kit: &Kit, name: &str, arguments: &str, n: u32) -> Result<String, JobError> {
        self.call_under(kit, name, arguments, n, None).await
    }

    /// The same in a run that has read what `watch` says.
    pub async fn call_under(
        &self,
        kit: &Kit,
        name: &str,
        arguments: &str,
        n: u32,
        watch: Option<&Watch>,
    ) -> Result<String, JobError> {
        let tool = kit.tools.iter().find(|tool| tool.spec().name == name);
        let tool = tool.unwrap_or_else(|| panic!("no {name}: {:?}", kit.warnings));
        let step = format!("tool:{n}:");
        let arguments = RawJson::parse(Bytes::copy_from_slice(arguments.as_bytes())).unwrap();
        match tool.call(&arguments, &ToolContext { watch, ..self.context(&step) }).await? {
            ToolEnd::Done(output) => Ok(output.summary),
            ToolEnd::Told(text) => Ok(text),
            ToolEnd::Park(pending) => panic!("nothing behind a gate parks: {pending:?}"),
        }
    }
}

/// What the agent `a` is offered.
pub struct Kit {
    pub tools: Vec<Arc<dyn Tool>>,
    pub warnings: Vec<String>,
}

/// Nothing but the built-in tools.
pub fn no_toolbox() -> Arc<Toolbox> {
    let settings = settings::Egress::default();
    let egress = Egress::new(&settings, &[]).unwrap();
    let servers = Servers::new(Arc::new(egress), Credentials::new(&settings));
    Arc::new(Toolbox { servers, sources: Vec::new(), tainted: TaintedEffects::Approve })
}

/// A registry of one agent `a` with these tools and servers.
pub fn registry(tools: Value, servers: Value) -> Registry {
    let file = serde_json::json!({"agents": [{"id": "a", "tools": tools}], "mcp_servers": servers});
    Registry::parse(&file.to_string(), &Vec::new()).unwrap()
}

/// Names of what `a` is offered.
pub fn offered(_: &Registry, kit: &Kit) -> Vec<String> {
    kit.tools.iter().map(|tool| tool.spec().name.clone()).collect()
}
