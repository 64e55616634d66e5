-- Returns claimed messages to the head of the queue as if they had not been taken.
-- KEYS 1 leases  2 bodies  3 jobs  4 ready
-- ARGV 1 channel to wake workers on, then per claim: claim, job id (may be empty)
-- Returns per claim: 1, or 0 when it no longer held and nothing was done.
local out, any = {}, false
for i = 1, (#ARGV - 1) / 2 do
  local claim, id = ARGV[i * 2], ARGV[i * 2 + 1]
  out[i] = redis.call('ZREM', KEYS[1], claim)
  if out[i] == 1 then
    any = true
    redis.call('LPUSH', KEYS[4], redis.call('HGET', KEYS[2], claim))
    redis.call('HDEL', KEYS[2], claim)
    local record = redis.call('HGET', KEYS[3], id)
    if record and record:sub(-#claim - 1) == ':' .. claim then
      redis.call('HSET', KEYS[3], id, (record:gsub('^%a:(%d*):%d*:(%d*):.*$', 'Q:%1::%2:')))
    end
  end
end
if any then redis.call('PUBLISH', ARGV[1], 'wake') end
return out
