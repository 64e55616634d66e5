-- Ends the loan of a holder.
-- KEYS 1 when each loan ends (zset: holder -> ms)  2 what each holder has (hash)  3 loans of each name (hash)
-- ARGV 1 holder
-- Returns 1, or 0 where it had none.
local name = redis.call('HGET', KEYS[2], ARGV[1])
if not name then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('HINCRBY', KEYS[3], name, -1) <= 0 then redis.call('HDEL', KEYS[3], name) end
return 1
