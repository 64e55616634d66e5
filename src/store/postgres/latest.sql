ORDER BY finished_at DESC NULLS LAST, job_id
LIMIT $7
