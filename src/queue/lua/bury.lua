-- Ends one claim and keeps its message as a dead letter.
-- KEYS 1 leases  2 bodies  3 jobs  4 cancelled  5 dead, and for a stream: 6 stream
--      7 known entries
-- ARGV 1 claim  2 job id (may be empty)  3 dead letter  4 most dead letters kept  5 group (empty for a list)
-- Returns 1, or 0 when the claim no longer held and nothing was done.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
if KEYS[6] then
  local body = redis.call('HGET', KEYS[2], ARGV[1])
  local entry = body and body:match('^%d+:%d+:%d+:%d+:([^:]+):')
  if entry then
    redis.call('XACK', KEYS[6], ARGV[5], entry)
    redis.call('HDEL', KEYS[7], entry)
  end
end
redis.call('HDEL', KEYS[2], ARGV[1])
local record = redis.call('HGET', KEYS[3], ARGV[2])
if record and record:sub(-#ARGV[1] - 1) == ':' .. ARGV[1] then
  redis.call('HDEL', KEYS[3], ARGV[2], ARGV[2] .. ' owner')
  redis.call('HDEL', KEYS[4], ARGV[2])
end
redis.call('LPUSH', KEYS[5], ARGV[3])
redis.call('LTRIM', KEYS[5], 0, ARGV[4] - 1)
return 1
