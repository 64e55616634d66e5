-- Puts a parked job back at the head of the queue with the decision.
-- KEYS 1 jobs  2 bodies  3 parked  4 ready
-- ARGV 1 job id  2 "true" or "false"  3 channel to wake workers on
-- Returns 1 done, 0 the job does not wait, -1 there is no such job.
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then return -1 end
local claim = record:match('([^:]*)$')
local pending = claim ~= '' and redis.call('HGET', KEYS[3], claim)
if record:sub(1, 1) ~= 'A' or not pending then return 0 end
local body = redis.call('HGET', KEYS[2], claim)
redis.call('HDEL', KEYS[2], claim)
redis.call('HDEL', KEYS[3], claim)
local attempts, crashes, since, flags, entry, extra, at = body:match('^(%d+):(%d+):(%d+):(%d+):([^:]*):(%d+):()')
local decision = '{"approved":' .. ARGV[2] .. ',"pending":' .. pending .. '}'
local time = redis.call('TIME')
since = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('LPUSH', KEYS[4],
  table.concat({attempts, crashes, since, flags, entry, #decision, decision}, ':') .. body:sub(at + extra))
redis.call('HSET', KEYS[1], ARGV[1], (record:gsub('^%a:(%d*):%d*:(%d*):.*$', 'Q:%1::%2:')))
redis.call('PUBLISH', ARGV[3], 'wake')
return 1
