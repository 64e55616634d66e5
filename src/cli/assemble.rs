//! Puts the parts of the process together, once, from the settings.

use std::{path::Path, sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::{Failure, stores};
use crate::{
    agents::{self, Conversations, LiveRegistry, Pools, RouteOptions, RunBounds, Scope, Toolbox, TrailStore},
    embed, http,
    job::Event,
    lanes::{HandoffOptions, Handoffs},
    llm::{Cached, ChatModel, Circuit, OpenAi, ReplyStore, StoreReplies},
    net::{self, Credentials, Egress},
    planner::{ModelPlanner, Planner, Reference, RulesPlanner},
    queue::{MemoryQueue, QueueError, RedisQueue, SharedQueue},
    settings::{Provider, Settings, StoreBackend, environment, limits},
    store::{Artifacts, MemoryStore, Recorder, Runs, Scribe, SharedStore},
    table,
    telemetry::Metrics,
    tools::{
        ExecutePipeline, OpenApiAction, PatchWorkflow, SavedPipelines, SearchSource, Sources,
        mcp::{Servers, guard_program},
    },
    worker::{Runner, Tally},
    workflow,
};

/// The parts of a serving process.
pub(super) struct Parts {
    pub(super) settings: Arc<Settings>,
    pub(super) queue: SharedQueue,
    pub(super) runner: Arc<Runner>,
    pub(super) artifacts: Artifacts,
    /// Has to run where records are kept.
    pub(super) scribe: Option<Scribe>,
    model: Option<Arc<OpenAi>>,
    agents: http::AgentsApi,
}

/// Queue and store in this process.
pub(super) fn in_memory(settings: &Arc<Settings>, registry: Arc<LiveRegistry>) -> Result<Parts, Failure> {
    let store = MemoryStore::new(settings.store.memory_max_bytes);
    assemble(settings, MemoryQueue::new(settings), store, registry, None)
}

/// Queue on Redis, store where `store.backend` says.
pub(super) async fn on_redis(settings: &Arc<Settings>, registry: Arc<LiveRegistry>) -> Result<Parts, Failure> {
    let store = stores::store(settings)?;
    let queue = redis_queue(settings).await?;
    let recorder = stores::recorder(settings, &queue).await?;
    let parts = assemble(settings, queue, store, registry, recorder)?;
    stores::there("store.artifacts", parts.artifacts.probe().await)?;
    Ok(parts)
}

/// A runner beside a queue that asks `chat`, or the offline planner.
pub(super) fn replayer(
    settings: &Arc<Settings>,
    queue: SharedQueue,
    store: SharedStore,
    chat: Option<Arc<dyn ChatModel>>,
) -> Result<(Runner, Artifacts), Failure> {
    let artifacts = stores::artifacts(settings, store.clone())?;
    let registry = registry(settings)?;
    Ok((runner(settings.clone(), store, artifacts.clone(), Some(queue), chat, registry)?, artifacts))
}

/// Only the queue, for commands that look at it or put something in.
pub(super) async fn redis_queue(settings: &Settings) -> Result<SharedQueue, Failure> {
    let queue: SharedQueue = RedisQueue::connect(settings).await.map_err(queue_failed)?;
    Ok(queue)
}

/// A runner without a queue. `chat` stands in for the configured model.
pub(super) fn local_runner(settings: Arc<Settings>, chat: Option<Arc<dyn ChatModel>>) -> Result<Runner, Failure> {
    let store: SharedStore = MemoryStore::new(settings.store.memory_max_bytes);
    let artifacts = stores::artifacts(&settings, store.clone())?;
    let model = match chat {
        Some(chat) => Some(chat),
        None => model(&settings, &store)?.map(|model| Cached::wrap(model, &settings, None)),
    };
    let registry = registry(&settings)?;
    runner(settings, store, artifacts, None, model, registry)
}

/// The agents of `agents.file`; every fault of the file where there is one.
pub(super) fn registry(settings: &Settings) -> Result<Arc<LiveRegistry>, Failure> {
    LiveRegistry::start(Path::new(&settings.agents.file), &environment()).map_err(|e| Failure::Usage(e.to_string()))
}

/// Chooses agents as `embeddings` and `routing` say. Vectors are kept in `store`, where there is one.
pub(super) fn router(
    settings: &Settings,
    model: Option<Arc<dyn ChatModel>>,
    store: Option<SharedStore>,
) -> Result<Arc<agents::Router>, Failure> {
    let client =
        net::operator_client(Duration::from_secs(settings.llm.connect_timeout_secs)).map_err(Failure::Failed)?;
    let embedder = embed::from_settings(settings, &client, store).map_err(Failure::Usage)?;
    let collection = embed::Collection::from_settings(settings, &client).map(Arc::new);
    Ok(Arc::new(agents::Router::new(embedder, model, RouteOptions::from(settings)).with_collection(collection)))
}

/// The embedder and the collection for one command that fills it.
pub(super) fn collection(settings: &Settings) -> Result<(Arc<dyn embed::Embedder>, embed::Collection), Failure> {
    let client =
        net::operator_client(Duration::from_secs(settings.llm.connect_timeout_secs)).map_err(Failure::Failed)?;
    let embedder = embed::from_settings(settings, &client, None).map_err(Failure::Usage)?;
    let collection = embed::Collection::from_settings(settings, &client);
    let missing = || Failure::Usage("routing.qdrant.url: must name the server that has the collection".into());
    Ok((embedder, collection.ok_or_else(missing)?))
}

/// A router for one command: nothing outlives it.
pub(super) fn local_router(settings: &Settings) -> Result<Arc<agents::Router>, Failure> {
    let store: SharedStore = MemoryStore::new(settings.store.memory_max_bytes);
    router(settings, model(settings, &store)?.map(|model| Cached::wrap(model, settings, None)), None)
}

/// MCP servers for one command.
pub(super) fn mcp_servers(settings: &Settings) -> Result<Arc<Servers>, Failure> {
    let egress = Egress::new(&settings.egress, &own_addresses(settings)).map_err(Failure::Usage)?;
    Ok(Servers::guarded(Arc::new(egress), Credentials::new(&settings.egress), guard_program()))
}

/// Where the trails of handoffs are: kept as long as results are.
pub(super) fn trails(settings: &Settings, store: SharedStore) -> TrailStore {
    TrailStore::new(store, Duration::from_secs(settings.results.ttl_secs))
}

fn assemble(
    settings: &Arc<Settings>,
    queue: SharedQueue,
    store: SharedStore,
    registry: Arc<LiveRegistry>,
    recorder: Option<(Recorder, Scribe)>,
) -> Result<Parts, Failure> {
    let artifacts = stores::artifacts(settings, store.clone())?;
    let (recorder, scribe) = recorder.unzip();
    let model = model(settings, &store)?;
    let chat = model.clone().map(|model| {
        // One fleet, one cache; a process by itself bounds its own.
        let shared = settings.store.backend != StoreBackend::Memory;
        Cached::wrap(model, settings, shared.then(|| Arc::new(StoreReplies::new(store.clone())) as Arc<dyn ReplyStore>))
    });
    let mut runner = runner(settings.clone(), store, artifacts.clone(), Some(queue.clone()), chat, registry)?;
    runner.recorder = recorder;
    let handoffs = &runner.handoffs;
    let agents = http::AgentsApi {
        registry: handoffs.registry.clone(),
        router: handoffs.router.clone(),
        trails: handoffs.trail.clone(),
    };
    Ok(Parts { settings: settings.clone(), queue, runner: Arc::new(runner), artifacts, scribe, model, agents })
}

/// The model's client, unless the offline planner stands in for it. Its limits are held in the store.
fn model(settings: &Settings, store: &SharedStore) -> Result<Option<Arc<OpenAi>>, Failure> {
    match settings.provider() {
        Provider::Openai => {
            let model = OpenAi::new(settings).map_err(|e| Failure::Usage(e.to_string()))?;
            Ok(Some(Arc::new(model.with_store(store.clone(), &settings.llm))))
        }
        Provider::Rules | Provider::Auto => Ok(None),
    }
}

fn runner(
    settings: Arc<Settings>,
    store: SharedStore,
    artifacts: Artifacts,
    queue: Option<SharedQueue>,
    model: Option<Arc<dyn ChatModel>>,
    registry: Arc<LiveRegistry>,
) -> Result<Runner, Failure> {
    let egress = Arc::new(Egress::new(&settings.egress, &own_addresses(&settings)).map_err(Failure::Usage)?);
    let sources = Sources::new(artifacts.clone(), queue.clone());
    let sources = Arc::new(sources.keep_apart(settings.http.has_tenants()));
    let pipeline_tool = Arc::new(ExecutePipeline::new(&settings.pipeline, egress.clone(), sources.clone()));
    let patch_tool = PatchWorkflow::new(&settings).map_err(Failure::Usage)?;
    // A job run from the command line without an orchestrator shows its patch; a worker must send it.
    let preview_only = queue.is_none() && settings.orchestrator.api_url.is_none();
    let patch_tool = Arc::new(if preview_only { patch_tool.preview_only() } else { patch_tool });
    let planner: Arc<dyn Planner> = match &model {
        Some(chat) => {
            let reference =
                Reference { pipeline_docs: table::step_docs(), workflow_docs: workflow::prompt_text(&settings.patch) };
            Arc::new(ModelPlanner::new(chat.clone(), reference))
        }
        None => Arc::new(RulesPlanner),
    };
    let openapi_tool = OpenApiAction::new(egress.clone(), Credentials::new(&settings.egress));
    let toolbox = Arc::new(Toolbox {
        servers: Servers::guarded(egress, Credentials::new(&settings.egress), guard_program()),
        sources: search_sources(&settings, &openapi_tool, &store),
        tainted: settings.security.tainted_effects,
    });
    let handoffs = Arc::new(Handoffs {
        registry,
        router: router(&settings, model.clone(), Some(store.clone()))?,
        trail: trails(&settings, store.clone()),
        model: model.clone(),
        tools: vec![pipeline_tool.clone(), patch_tool.clone(), Arc::new(openapi_tool)],
        toolbox,
        pools: Arc::new(Pools::new(store.clone(), Duration::from_secs(settings.queue.lease_secs))),
        conversations: Conversations::new(store.clone(), Duration::from_secs(settings.results.session_ttl_secs)),
        options: handoff_options(&settings),
    });
    Ok(Runner {
        settings,
        planner,
        model,
        pipeline_tool,
        patch_tool,
        sources,
        handoffs,
        store,
        artifacts,
        recorder: None,
        tally: Tally::default(),
    })
}

/// Where agents find tools beside their own.
fn search_sources(settings: &Settings, openapi: &OpenApiAction, store: &SharedStore) -> Vec<Arc<dyn SearchSource>> {
    let mut sources: Vec<Arc<dyn SearchSource>> = vec![Arc::new(openapi.known())];
    if settings.llm.promote {
        let ttl = Duration::from_secs(settings.llm.promote_ttl_secs);
        sources.push(Arc::new(SavedPipelines::new(Runs::new(store.clone(), ttl))));
    }
    sources
}

fn handoff_options(settings: &Settings) -> HandoffOptions {
    let network = &settings.network;
    HandoffOptions {
        agent: RunBounds::of_agent(settings.llm.max_turns, network.max_turns, limits::MAX_REPEATS),
        network: RunBounds {
            scope: Scope::Network,
            max_turns: network.max_turns,
            max_in_all: network.max_turns,
            max_handoffs: network.max_handoffs,
            max_repeats: limits::MAX_REPEATS,
        },
        network_timeout_secs: network.timeout_secs,
        sticky: network.sticky,
        num_tiers: settings.tiers.num_tiers,
        skip_to_required: settings.tiers.skip_to_required,
    }
}

/// Addresses of our own parts: no plan may reach them, whatever `egress.allow` says.
fn own_addresses(settings: &Settings) -> Vec<String> {
    let address = |url: &str, port: u16| {
        let url = url::Url::parse(url).ok()?;
        Some(format!("{}:{}", url.host_str()?, url.port_or_known_default().unwrap_or(port)))
    };
    let redis = address(settings.redis.url.expose_secret(), 6379);
    let port = if settings.store.backend == StoreBackend::Postgres { 5432 } else { 6379 };
    let place = settings.store.url.as_ref().filter(|_| settings.store.backend != StoreBackend::S3);
    let store = place.and_then(|url| address(url.expose_secret(), port));
    let objects = settings.store.s3.endpoint.as_ref().and_then(|url| address(url, 443));
    redis.into_iter().chain(store).chain(objects).chain([settings.http.bind.clone()]).collect()
}

impl Parts {
    /// What chooses the agents of this process.
    pub(super) fn router(&self) -> Arc<agents::Router> {
        self.agents.router.clone()
    }

    /// What the side server needs.
    pub(super) fn http_app(&self, metrics: Metrics) -> http::App {
        let artifacts = self.artifacts.clone();
        let fetch: http::FetchFn = Arc::new(move |reference| {
            let artifacts = artifacts.clone();
            Box::pin(async move { artifacts.get(&reference).await.map_err(|e| e.to_string()) })
        });
        let (runner, queue) = (self.runner.clone(), self.queue.clone());
        let run: http::RunFn = Arc::new(move |job| {
            let (runner, queue) = (runner.clone(), queue.clone());
            Box::pin(async move {
                let emit = |event: Event| queue.emit(&job.job_id, event);
                runner.run_alone(&job, CancellationToken::new(), &emit).await
            })
        });
        let model = self.model.clone();
        let checks = http::Checks {
            llm: Arc::new(move || match &model {
                None => http::Check::Rules,
                Some(model) if model.circuit() == Circuit::Open => http::Check::CircuitOpen,
                Some(_) => http::Check::Ok,
            }),
            orchestrator: {
                let configured = self.settings.orchestrator.api_url.is_some();
                Arc::new(move || if configured { http::Check::Ok } else { http::Check::NotConfigured })
            },
            records: self.scribe.as_ref().map(Scribe::records),
        };
        let agents = self.agents.clone();
        let kept = http::Kept { artifacts: fetch, store: self.runner.store.clone() };
        http::App::new(self.settings.clone(), self.queue.clone(), kept, run, agents, metrics, checks)
    }
}

pub(super) fn queue_failed(error: QueueError) -> Failure {
    Failure::Failed(error.to_string())
}
