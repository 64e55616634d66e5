//! Every setting with its default. `config.yaml` at the top of the repository is the manual for them.

#![expect(missing_docs, reason = "config.yaml documents every key")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    routing::{Embeddings, Routing},
    secret::Secret,
    store::Store,
    tenants::{HttpToken, Quotas},
};

/// Declares a section: a struct whose every field has a default, refuses unknown keys.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty = $default:expr,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

pub(super) use section;

section! {
    /// Everything that can be configured.
    Settings {
        service: Service = Service::default(),
        http: Http = Http::default(),
        redis: Redis = Redis::default(),
        queue: Queue = Queue::default(),
        worker: Worker = Worker::default(),
        retry: Retry = Retry::default(),
        results: Results = Results::default(),
        intent: Intent = Intent::default(),
        llm: Llm = Llm::default(),
        breaker: Breaker = Breaker::default(),
        embeddings: Embeddings = Embeddings::default(),
        routing: Routing = Routing::default(),
        agents: Agents = Agents::default(),
        tiers: Tiers = Tiers::default(),
        network: Network = Network::default(),
        pipeline: Pipeline = Pipeline::default(),
        patch: Patch = Patch::default(),
        orchestrator: Orchestrator = Orchestrator::default(),
        egress: Egress = Egress::default(),
        security: Security = Security::default(),
        store: Store = Store::default(),
        telemetry: Telemetry = Telemetry::default(),
    }
}

section! {
    /// Who this process is.
    Service {
        name: String = "agent-runner".into(),
    }
}

section! {
    /// The side server.
    Http {
        bind: String = "127.0.0.1:8082".into(),
        token: Option<Secret> = None,
        /// More tokens, each with a role and, but for admins, an owner.
        tokens: Vec<HttpToken> = Vec::new(),
        allow_anonymous: bool = false,
        max_body_bytes: usize = 16 << 20,
        header_timeout_secs: u64 = 5,
        body_timeout_secs: u64 = 30,
        max_connections: usize = 512,
        /// From one client address; 0: no limit.
        requests_per_minute: u32 = 0,
        /// Names, beside `localhost` and addresses, that a client may use for this server when it has no token.
        allowed_hosts: Vec<String> = Vec::new(),
    }
}

section! {
    /// Where Redis is.
    Redis {
        url: Secret = "redis://127.0.0.1:6379".into(),
        connect_timeout_secs: u64 = 5,
        response_timeout_secs: u64 = 5,
        /// PEM file with the authorities to trust instead of the public ones.
        tls_ca_file: Option<String> = None,
        /// PEM files with which this client proves who it is; both or none.
        tls_cert_file: Option<String> = None,
        tls_key_file: Option<String> = None,
        sentinel_username: Option<String> = None,
        sentinel_password: Option<Secret> = None,
    }
}

section! {
    /// One list that jobs are taken from.
    ListIntake {
        name: String = String::new(),
        weight: u32 = 1,
    }
}

/// Where jobs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intake {
    /// The Redis list(s).
    List,
    /// The Redis stream.
    Stream,
}

/// The end of the list that jobs are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PopSide {
    /// FIFO for producers that `RPUSH`.
    Left,
    /// FIFO for producers that `LPUSH`.
    Right,
}

section! {
    /// The queue protocol.
    Queue {
        prefix: String = "agent".into(),
        lists: Vec<ListIntake> = Vec::new(),
        pop_side: PopSide = PopSide::Left,
        intake: Vec<Intake> = vec![Intake::List],
        stream: String = "wf.tasks.agent".into(),
        stream_group: String = "agent_workers".into(),
        signal_list: String = "completion_signals".into(),
        signal_completion: bool = false,
        lease_secs: u64 = 15,
        renew_secs: u64 = 5,
        sweep_secs: u64 = 2,
        block_secs: u64 = 2,
        claim_batch: usize = 64,
        claim_max_bytes: usize = 64 << 20,
        max_crashes: u32 = 3,
        max_dead: usize = 100_000,
        durable: bool = false,
        wait_replicas: usize = 1,
        wait_timeout_ms: u64 = 1000,
    }
}

section! {
    /// The pool of workers.
    Worker {
        concurrency: usize = 64,
        grace_secs: u64 = 25,
        default_timeout_secs: u64 = 300,
        max_job_bytes: usize = 64 << 20,
        max_prompt_bytes: usize = 128 << 10,
    }
}

section! {
    /// When a failed attempt is tried again.
    Retry {
        max_attempts: u32 = 3,
        base_ms: u64 = 1000,
        max_ms: u64 = 60_000,
    }
}

/// What a result is in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultKind {
    /// A list with one entry, for `BLPOP`.
    List,
    /// A plain string, for `GET`.
    String,
}

section! {
    /// How results and events are kept.
    Results {
        ttl_secs: u64 = 86_400,
        kind: ResultKind = ResultKind::List,
        inline_max_bytes: usize = 262_144,
        keep_job_max_bytes: usize = 1 << 20,
        publish_pending: bool = false,
        events_max_len: usize = 1000,
        artifact_ttl_secs: u64 = 86_400,
        session_ttl_secs: u64 = 86_400,
    }
}

section! {
    /// How a prompt's lane is decided.
    Intent {
        rules_threshold: f64 = 0.7,
        constrain_threshold: f64 = 0.7,
        model: Option<String> = None,
    }
}

/// Who plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// `openai` when a key or base URL is set, else `rules`.
    Auto,
    /// Any server that speaks Chat Completions.
    Openai,
    /// The offline grammar.
    Rules,
}

section! {
    /// Dollars per million tokens.
    Price {
        prompt: f64 = 0.0,
        completion: f64 = 0.0,
        cached: Option<f64> = None,
    }
}

section! {
    /// One model server among several. What is left out is taken from `llm.*`.
    LlmModel {
        /// The model's name at that server.
        model: String = String::new(),
        /// Taken from `llm.base_url` when left out.
        base_url: Option<String> = None,
        /// Taken from `llm.api_key` only where `base_url` is `llm.base_url`: a key never goes to another server.
        api_key: Option<Secret> = None,
        max_tokens: Option<u32> = None,
        requests_per_minute: Option<u32> = None,
        tokens_per_minute: Option<u32> = None,
        prices: Option<Price> = None,
    }
}

section! {
    /// The model.
    Llm {
        provider: Provider = Provider::Auto,
        model: String = "gpt-4o-mini".into(),
        base_url: Option<String> = None,
        api_key: Option<Secret> = None,
        /// Model servers in the order they are asked; empty means the one that `llm.*` describes.
        models: Vec<LlmModel> = Vec::new(),
        temperature: f64 = 0.0,
        max_tokens: u32 = 4096,
        max_turns: u32 = 6,
        /// Of earlier requests of a session that are shown to the model.
        session_max_tokens: usize = 2000,
        max_retries: u32 = 3,
        /// The first wait between two requests is drawn from 0 to this; it doubles from one to the next.
        retry_base_ms: u64 = 500,
        stream: bool = true,
        connect_timeout_secs: u64 = 10,
        first_token_timeout_secs: u64 = 60,
        idle_timeout_secs: u64 = 60,
        timeout_secs: u64 = 300,
        max_response_bytes: usize = 16 << 20,
        cache: bool = false,
        cache_ttl_secs: u64 = 3600,
        cache_max_bytes: usize = 64 << 20,
        /// A pipeline that worked twice for an owner becomes a tool: the third time needs no model.
        promote: bool = true,
        promote_ttl_secs: u64 = 30 * 86_400,
        requests_per_minute: u32 = 0,
        tokens_per_minute: u32 = 0,
        /// What one `workflow_owner` may use in a day (UTC), over all jobs and processes; 0: no limit.
        owner_daily_tokens: u64 = 0,
        owner_daily_cost_usd: f64 = 0.0,
        prices: BTreeMap<String, Price> = BTreeMap::new(),
    }
}

section! {
    /// When a failing endpoint is left alone.
    Breaker {
        failures: u32 = 5,
        cooldown_secs: u64 = 30,
    }
}

section! {
    /// Where the agents are described.
    Agents {
        file: String = "agents.yaml".into(),
    }
}

section! {
    /// Escalation.
    Tiers {
        num_tiers: u32 = 3,
        skip_to_required: bool = false,
    }
}

section! {
    /// Bounds of a network of agents.
    Network {
        max_turns: u32 = 20,
        max_handoffs: u32 = 10,
        timeout_secs: u64 = 300,
        sticky: bool = true,
    }
}

section! {
    /// Bounds of a table pipeline.
    Pipeline {
        max_steps: usize = 50,
        max_rows: usize = 5_000_000,
        max_response_bytes: usize = 256 << 20,
        timeout_secs: u64 = 60,
    }
}

section! {
    /// Bounds and vocabulary of a workflow patch.
    Patch {
        max_operations: usize = 100,
        max_agent_nodes: usize = 5,
        max_result_bytes: usize = 1 << 20,
        node_types: BTreeMap<String, Value> = BTreeMap::new(),
        executable_types: Vec<String> = Vec::new(),
    }
}

/// Which patch operations a run accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunPatchMode {
    /// All of them.
    Full,
    /// Only `add` at `/nodes/-` and `/edges/-`.
    AppendOnly,
}

/// Which patch operations a workflow accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowPatchMode {
    /// All of them.
    Full,
    /// Whole nodes and edges only.
    Shallow,
}

section! {
    /// The orchestrator's API.
    Orchestrator {
        api_url: Option<String> = None,
        timeout_secs: u64 = 30,
        max_retries: u32 = 3,
        max_response_bytes: usize = 8 << 20,
        run_patch_mode: RunPatchMode = RunPatchMode::Full,
        workflow_patch_mode: WorkflowPatchMode = WorkflowPatchMode::Full,
        headers: BTreeMap<String, Secret> = BTreeMap::new(),
    }
}

section! {
    /// Where requests may go that a prompt, plan or model can steer.
    Egress {
        allow: Vec<String> = Vec::new(),
        ports: Vec<u16> = vec![80, 443],
        max_redirects: u32 = 5,
        connect_timeout_secs: u64 = 10,
        /// Who we are at which hosts, by name.
        auth_profiles: BTreeMap<String, AuthProfile> = BTreeMap::new(),
    }
}

section! {
    /// A credential and the hosts it is for. Exactly one of `bearer`, `header` with `value`, `username` with `password`.
    AuthProfile {
        /// `api.example.com`, `api.example.com:8443`, or with `http://` where it may travel unencrypted.
        hosts: Vec<String> = Vec::new(),
        bearer: Option<Secret> = None,
        header: Option<String> = None,
        value: Option<Secret> = None,
        username: Option<String> = None,
        password: Option<Secret> = None,
    }
}

/// What becomes of an agent's call with consequences, once its run has read outside data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaintedEffects {
    /// It is made.
    Allow,
    /// It waits for someone's approval.
    Approve,
    /// It is refused, and the agent is told.
    Deny,
}

section! {
    /// Rules beyond egress.
    Security {
        tainted_effects: TaintedEffects = TaintedEffects::Approve,
        /// What each `workflow_owner` may start over HTTP.
        quotas: Quotas = Quotas::default(),
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

section! {
    /// Logs and traces.
    Telemetry {
        log: String = "info".into(),
        format: LogFormat = LogFormat::Text,
        capture_content: bool = false,
        otlp_endpoint: Option<String> = None,
        otlp_headers: BTreeMap<String, Secret> = BTreeMap::new(),
        otlp_interval_secs: u64 = 30,
        otlp_sample_ratio: f64 = 1.0,
    }
}
