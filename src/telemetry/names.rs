//! Every metric by name: its kind, its unit, and what it says. `docs/metrics.md` explains them to operators.
//!
//! Labels are bounded: lanes, codes, outcomes, model names from the configuration; never a job id, prompt or URL.

/// Jobs that ended. Labels `lane`, `status`.
pub const JOBS_TOTAL: &str = "agent_runner_jobs_total";
/// From claim to result. Label `lane`.
pub const JOB_DURATION_SECONDS: &str = "agent_runner_job_duration_seconds";
/// From when a job could be taken until it was.
pub const QUEUE_WAIT_SECONDS: &str = "agent_runner_queue_wait_seconds";
/// How long an ended job had been put back for limits of a model; jobs that were not are left out.
pub const LIMIT_WAIT_SECONDS: &str = "agent_runner_limit_wait_seconds";
/// Jobs by state over the whole fleet. Label `state`.
pub const QUEUE_DEPTH: &str = "agent_runner_queue_depth";
/// Age of the job that has waited longest.
pub const QUEUE_OLDEST_AGE_SECONDS: &str = "agent_runner_queue_oldest_age_seconds";
/// Jobs that this process is working on.
pub const JOBS_IN_FLIGHT: &str = "agent_runner_jobs_in_flight";
/// Slots of this process. Label `state`: `busy`, `free`.
pub const WORKER_SLOTS: &str = "agent_runner_worker_slots";
/// Jobs whose code panicked; each became an `internal` error.
pub const JOB_PANICS_TOTAL: &str = "agent_runner_job_panics_total";
/// Attempts that will be repeated. Label `error`: the code.
pub const RETRIES_TOTAL: &str = "agent_runner_retries_total";
/// Leases that ended under a running job. Label `reason`.
pub const LEASES_LOST_TOTAL: &str = "agent_runner_leases_lost_total";
/// One exchange with Redis.
pub const REDIS_ROUNDTRIP_SECONDS: &str = "agent_runner_redis_roundtrip_seconds";
/// Dead letters written.
pub const DEAD_LETTERS_TOTAL: &str = "agent_runner_dead_letters_total";
/// Jobs taken back from workers that died.
pub const RECLAIMED_TOTAL: &str = "agent_runner_reclaimed_total";
/// Records of ended jobs for the database of `store.backend: postgres`. Label `outcome`: `written`, `refused`, `expired`, `delayed`.
pub const RECORDS_TOTAL: &str = "agent_runner_records_total";
/// Ended or running jobs that have no record yet, over the fleet.
pub const RECORDS_OWED: &str = "agent_runner_records_owed";
/// Deliveries whose result stood already.
pub const DUPLICATES_TOTAL: &str = "agent_runner_duplicates_total";
/// Requests sent to a model. Labels `model`, `outcome`: `ok` or an error code.
pub const LLM_REQUESTS_TOTAL: &str = "agent_runner_llm_requests_total";
/// One request to a model, from first byte out to last byte in. Label `model`.
pub const LLM_DURATION_SECONDS: &str = "agent_runner_llm_duration_seconds";
/// Tokens. Labels `model`, `kind`: `prompt`, `completion`, `cached`.
pub const LLM_TOKENS_TOTAL: &str = "agent_runner_llm_tokens_total";
/// Dollars by the price table. Label `model`.
pub const LLM_COST_USD_TOTAL: &str = "agent_runner_llm_cost_usd_total";
/// One request to a model, under the name of OpenTelemetry's conventions for generative AI.
pub const GEN_AI_OPERATION_DURATION: &str = "gen_ai_client_operation_duration_seconds";
/// Tokens of one request, under the name of the same conventions. Label `gen_ai_token_type`: `input`, `output`.
pub const GEN_AI_TOKEN_USAGE: &str = "gen_ai_client_token_usage";
/// Plans taken from promoted tools. Label `outcome`: `used`, `mended`, `ambiguous`; and `promoted` for a new tool.
pub const PROMOTIONS_TOTAL: &str = "agent_runner_promotions_total";
/// 0 closed, 1 half open, 2 open. Label `target`.
pub const CIRCUIT_STATE: &str = "agent_runner_circuit_state";
/// One step of a table pipeline. Label `step`.
pub const PIPELINE_STEP_DURATION_SECONDS: &str = "agent_runner_pipeline_step_duration_seconds";
/// Rows that left a step. Label `step`.
pub const PIPELINE_ROWS_TOTAL: &str = "agent_runner_pipeline_rows_total";
/// Handoff executions. Labels `mode`, `outcome`: `ok` or an error code.
pub const HANDOFFS_TOTAL: &str = "agent_runner_handoffs_total";
/// Escalations by the tier that was left. Label `tier`.
pub const ESCALATIONS_TOTAL: &str = "agent_runner_escalations_total";
/// Executions that a tier resolved. Label `tier`.
pub const TIERS_RESOLVED_TOTAL: &str = "agent_runner_tiers_resolved_total";
/// How complex a tier judged its tasks, 0 to 1. Label `tier`.
pub const TIER_COMPLEXITY: &str = "agent_runner_tier_complexity_ratio";
/// Dollars that a tier cost. Label `tier`.
pub const TIER_COST_USD_TOTAL: &str = "agent_runner_tier_cost_usd_total";
/// Tool calls. Labels `tool`, `outcome`: `ok`, `error`, `refused`, `skipped`.
pub const TOOL_CALLS_TOTAL: &str = "agent_runner_tool_calls_total";
/// Requests answered. Labels `route` (the pattern, or `unmatched`), `status`.
pub const HTTP_REQUESTS_TOTAL: &str = "agent_runner_http_requests_total";
/// Always 1. Label `version`.
pub const BUILD_INFO: &str = "agent_runner_build_info";

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Only grows, by parts of a dollar. Counters of the `metrics` macros count whole numbers, so it is written as a
    /// gauge, and shown as the counter that it is.
    Dollars,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets with these upper bounds.
    Histogram(Buckets),
}

/// A choice of upper bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    /// From 100 µs to 10 s: a step, an exchange with Redis.
    Short,
    /// From 1 ms to an hour: a job, a wait, a model.
    Long,
    /// The conventions' bounds for the time of a model call.
    GenAiSeconds,
    /// The conventions' bounds for tokens: powers of four.
    GenAiTokens,
    /// From 0 to 1.
    Share,
}

impl Buckets {
    /// The upper bounds.
    #[must_use]
    pub fn bounds(self) -> &'static [f64] {
        match self {
            Self::Short => &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0],
            Self::Share => &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
            Self::Long => &[
                0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0,
            ],
            Self::GenAiSeconds => {
                &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
            }
            Self::GenAiTokens => &[
                1.0,
                4.0,
                16.0,
                64.0,
                256.0,
                1024.0,
                4096.0,
                16384.0,
                65536.0,
                262_144.0,
                1_048_576.0,
                4_194_304.0,
                16_777_216.0,
                67_108_864.0,
            ],
        }
    }
}

/// One row of [`ALL`].
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The `# HELP` line.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: Kind, help: &'static str) -> Metric {
    Metric { name, kind, help }
}

/// Every metric of the program.
pub const ALL: &[Metric] = &[
    metric(JOBS_TOTAL, Kind::Counter, "jobs that ended"),
    metric(JOB_DURATION_SECONDS, Kind::Histogram(Buckets::Long), "from claim to result"),
    metric(QUEUE_WAIT_SECONDS, Kind::Histogram(Buckets::Long), "from when a job could be taken until it was"),
    metric(LIMIT_WAIT_SECONDS, Kind::Histogram(Buckets::Long), "put back for limits of a model"),
    metric(QUEUE_DEPTH, Kind::Gauge, "jobs by state over the whole fleet"),
    metric(QUEUE_OLDEST_AGE_SECONDS, Kind::Gauge, "age of the job that has waited longest"),
    metric(JOBS_IN_FLIGHT, Kind::Gauge, "jobs this process is working on"),
    metric(WORKER_SLOTS, Kind::Gauge, "slots of this process"),
    metric(JOB_PANICS_TOTAL, Kind::Counter, "jobs whose code panicked"),
    metric(RETRIES_TOTAL, Kind::Counter, "attempts that will be repeated, by error"),
    metric(LEASES_LOST_TOTAL, Kind::Counter, "leases that ended under a running job"),
    metric(REDIS_ROUNDTRIP_SECONDS, Kind::Histogram(Buckets::Short), "one exchange with Redis"),
    metric(DEAD_LETTERS_TOTAL, Kind::Counter, "dead letters written"),
    metric(RECLAIMED_TOTAL, Kind::Counter, "jobs taken back from workers that died"),
    metric(DUPLICATES_TOTAL, Kind::Counter, "deliveries whose result stood already"),
    metric(LLM_REQUESTS_TOTAL, Kind::Counter, "requests sent to a model"),
    metric(LLM_DURATION_SECONDS, Kind::Histogram(Buckets::Long), "one request to a model"),
    metric(LLM_TOKENS_TOTAL, Kind::Counter, "tokens of model calls by kind"),
    metric(LLM_COST_USD_TOTAL, Kind::Dollars, "dollars spent on model calls"),
    metric(GEN_AI_OPERATION_DURATION, Kind::Histogram(Buckets::GenAiSeconds), "one request to a model"),
    metric(GEN_AI_TOKEN_USAGE, Kind::Histogram(Buckets::GenAiTokens), "tokens of one request"),
    metric(PROMOTIONS_TOTAL, Kind::Counter, "plans taken from promoted tools, and new tools"),
    metric(CIRCUIT_STATE, Kind::Gauge, "0 closed, 1 half open, 2 open"),
    metric(PIPELINE_STEP_DURATION_SECONDS, Kind::Histogram(Buckets::Short), "one step of a table pipeline"),
    metric(PIPELINE_ROWS_TOTAL, Kind::Counter, "rows that left a pipeline step"),
    metric(HANDOFFS_TOTAL, Kind::Counter, "handoff executions"),
    metric(ESCALATIONS_TOTAL, Kind::Counter, "escalations by the tier that was left"),
    metric(TIERS_RESOLVED_TOTAL, Kind::Counter, "executions by the tier that resolved them"),
    metric(TIER_COMPLEXITY, Kind::Histogram(Buckets::Share), "how complex a tier judged its tasks, 0 to 1"),
    metric(TIER_COST_USD_TOTAL, Kind::Dollars, "dollars spent by tier"),
    metric(TOOL_CALLS_TOTAL, Kind::Counter, "tool calls"),
    metric(HTTP_REQUESTS_TOTAL, Kind::Counter, "HTTP requests answered"),
    metric(RECORDS_TOTAL, Kind::Counter, "records of ended jobs for PostgreSQL, by outcome"),
    metric(RECORDS_OWED, Kind::Gauge, "jobs without a record in PostgreSQL yet"),
    metric(BUILD_INFO, Kind::Gauge, "always 1; the version is the label"),
];
