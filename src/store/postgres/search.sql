SELECT
    job_id, run_id, node_id, owner, status, lane, model, error_code, tokens_used, cost_usd, attempts,
    to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at,
    to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS started_at,
    to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS finished_at,
    document::text AS document
FROM agent_results
WHERE ($1::text IS NULL OR status = $1)
  AND ($2::text IS NULL OR lane = $2)
  AND ($3::text IS NULL OR owner = $3)
  AND ($4::text IS NULL OR error_code = $4)
  AND ($5::text IS NULL OR job_id ILIKE $5 OR run_id ILIKE $5 OR prompt ILIKE $5)
  AND ($6::text IS NULL OR finished_at >= $6::timestamptz)
