-- Makes room for a new result of an ended job; the old record stays beside it until it expires.
-- KEYS 1 closing record  2 former record  3 result
-- ARGV none
-- Returns 1, or 0 when there was no record.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('DEL', KEYS[3])
return 1
