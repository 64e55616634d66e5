DELETE FROM agent_results WHERE job_id IN (
    SELECT job_id FROM agent_results
    WHERE finished_at < now() - make_interval(days => $1)
    ORDER BY finished_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
