-- Moves what is due to the ready list.
-- KEYS 1 delayed  2 bodies  3 ready
-- ARGV 1 most to move  2 channel to wake workers on
-- Returns {how many were moved, ms until the next is due or -1}.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local body = redis.call('HGET', KEYS[2], id)
  if body then
    local attempts, crashes, at = body:match('^(%d+):(%d+):%d+:()')
    redis.call('RPUSH', KEYS[3], attempts .. ':' .. crashes .. ':' .. now .. ':' .. body:sub(at))
    redis.call('HDEL', KEYS[2], id)
  end
  redis.call('ZREM', KEYS[1], id)
end
if #due > 0 then redis.call('PUBLISH', ARGV[2], 'wake') end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {#due, next[2] and math.max(0, math.floor(next[2] - now)) or -1}
