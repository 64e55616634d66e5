-- Gives notes that are to be looked at now, and puts them off for whoever looks next.
-- KEYS times (sorted set), notes (hash)
-- ARGV 1 at most so many  2 milliseconds until the next look
-- Returns per note: job id, mark and owner.
local now = redis.call('TIME')
local millis = math.floor(now[1] * 1000 + now[2] / 1000)
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', millis), 'LIMIT', 0, ARGV[1])
local out = {}
for _, id in ipairs(ids) do
  local text = redis.call('HGET', KEYS[2], id)
  if text then
    redis.call('ZADD', KEYS[1], string.format('%.0f', millis + ARGV[2]), id)
    out[#out + 1] = id
    out[#out + 1] = text
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return out
