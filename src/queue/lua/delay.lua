-- Puts a claimed message off: a retry, or a first run that is not due yet.
-- KEYS 1 leases  2 bodies  3 jobs  4 delayed
-- ARGV 1 claim  2 job id (may be empty)  3 due: ms from now, or "@" and ms since the epoch
--      4 what to add to the attempts  5 flags of the envelope
-- Returns 1, or 0 when the claim no longer held and nothing was done.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
  return redis.call('ZSCORE', KEYS[4], ARGV[1]) and 1 or 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = ARGV[3]:sub(1, 1) == '@' and tonumber(ARGV[3]:sub(2)) or now + ARGV[3]
local body = redis.call('HGET', KEYS[2], ARGV[1])
local attempts, crashes, since, at = body:match('^(%d+):(%d+):(%d+):%d+:()')
attempts = string.format('%d', attempts + ARGV[4])
redis.call('HSET', KEYS[2], ARGV[1], attempts .. ':' .. crashes .. ':' .. since .. ':' .. ARGV[5] .. ':' .. body:sub(at))
redis.call('ZADD', KEYS[4], string.format('%.0f', due), ARGV[1])
local record = redis.call('HGET', KEYS[3], ARGV[2])
if record and record:sub(-#ARGV[1] - 1) == ':' .. ARGV[1] then
  redis.call('HSET', KEYS[3], ARGV[2], (record:gsub('^%a:(%d*):%d*:%d*:', 'S:%1::' .. attempts .. ':')))
end
return 1
