INSERT INTO agent_results AS known (
    job_id, run_id, node_id, owner, status, lane, model, error_code, error_message, tool_calls,
    tokens_prompt, tokens_completion, tokens_cached, tokens_used, cost_usd, llm_calls, cache_hit, attempts, execution_ms,
    created_at, started_at, finished_at, result_ref, document, prompt, mark
)
SELECT
    job_id, run_id, node_id, owner, status, lane, model, error_code, error_message, tool_calls::json,
    tokens_prompt, tokens_completion, tokens_cached, tokens_used, cost_usd, llm_calls, cache_hit, attempts, execution_ms,
    created_at::timestamptz, started_at::timestamptz, finished_at::timestamptz, result_ref, document::json, prompt, mark
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
    $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::float8[], $16::int[], $17::bool[], $18::int[], $19::bigint[],
    $20::text[], $21::text[], $22::text[], $23::text[], $24::text[], $25::text[], $26::bigint[]
) AS fresh (
    job_id, run_id, node_id, owner, status, lane, model, error_code, error_message, tool_calls,
    tokens_prompt, tokens_completion, tokens_cached, tokens_used, cost_usd, llm_calls, cache_hit, attempts, execution_ms,
    created_at, started_at, finished_at, result_ref, document, prompt, mark
)
ON CONFLICT (job_id) DO UPDATE SET
    run_id = excluded.run_id, node_id = excluded.node_id, owner = excluded.owner, status = excluded.status,
    lane = excluded.lane, model = excluded.model, error_code = excluded.error_code,
    error_message = excluded.error_message, tool_calls = excluded.tool_calls, tokens_prompt = excluded.tokens_prompt,
    tokens_completion = excluded.tokens_completion, tokens_cached = excluded.tokens_cached,
    tokens_used = excluded.tokens_used, cost_usd = excluded.cost_usd, llm_calls = excluded.llm_calls,
    cache_hit = excluded.cache_hit, attempts = excluded.attempts, execution_ms = excluded.execution_ms,
    created_at = excluded.created_at, started_at = excluded.started_at, finished_at = excluded.finished_at,
    result_ref = excluded.result_ref, document = excluded.document, prompt = excluded.prompt, mark = excluded.mark,
    recorded_at = now()
WHERE known.mark < excluded.mark
