-- One row for each ended job.
CREATE TABLE agent_results (
    job_id text PRIMARY KEY,
    run_id text,
    node_id text,
    owner text,
    status text NOT NULL,
    lane text,
    model text,
    error_code text,
    error_message text,
    tool_calls json NOT NULL,
    tokens_prompt bigint NOT NULL,
    tokens_completion bigint NOT NULL,
    tokens_cached bigint NOT NULL,
    tokens_used bigint NOT NULL,
    cost_usd double precision NOT NULL,
    llm_calls integer NOT NULL,
    cache_hit boolean NOT NULL,
    attempts integer NOT NULL,
    execution_ms bigint NOT NULL,
    created_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    result_ref text,
    -- json, not jsonb: numbers keep their digits and the document its bytes.
    document json NOT NULL,
    prompt text,
    mark bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX agent_results_finished ON agent_results (finished_at DESC);
CREATE INDEX agent_results_status ON agent_results (status, finished_at DESC);
CREATE INDEX agent_results_lane ON agent_results (lane, finished_at DESC);
CREATE INDEX agent_results_owner ON agent_results (owner, finished_at DESC) WHERE owner IS NOT NULL;
CREATE INDEX agent_results_error ON agent_results (error_code, finished_at DESC) WHERE error_code IS NOT NULL;
CREATE INDEX agent_results_run ON agent_results (run_id) WHERE run_id IS NOT NULL;
