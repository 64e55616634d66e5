  AND finished_at <= $8::timestamptz
  AND (finished_at < $8::timestamptz OR job_id > $9)
