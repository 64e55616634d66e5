-- Takes back leases that ran out.
-- KEYS 1 leases  2 bodies  3 ready
-- ARGV 1 most to take  2 crashes that end a job  3 lease ms  4 claim prefix  5 channel to wake workers on
-- Returns {how many were taken back, now ms, claim, envelope, ...}: the pairs are jobs that crashed too often,
-- held under new claims by the caller, who ends them.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', stamp, 'LIMIT', 0, ARGV[1])
local out, back = {#gone, stamp}, 0
for i, claim in ipairs(gone) do
  local body = redis.call('HGET', KEYS[2], claim)
  redis.call('ZREM', KEYS[1], claim)
  redis.call('HDEL', KEYS[2], claim)
  if body then
    local attempts, crashes, at = body:match('^(%d+):(%d+):()')
    crashes = crashes + 1
    body = attempts .. ':' .. string.format('%d', crashes) .. ':' .. body:sub(at)
    if crashes < tonumber(ARGV[2]) then
      redis.call('LPUSH', KEYS[3], body)
      back = back + 1
    else
      local mine = ARGV[4] .. i
      redis.call('HSET', KEYS[2], mine, body)
      redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[3]), mine)
      out[#out + 1] = mine
      out[#out + 1] = body
    end
  end
end
if back > 0 then redis.call('PUBLISH', ARGV[5], 'wake') end
return out
