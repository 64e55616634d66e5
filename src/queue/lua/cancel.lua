-- Asks that a job be cancelled; one that waits is made due at once.
-- KEYS 1 jobs  2 cancelled  3 delayed  4 bodies  5 parked  6 ready
-- ARGV 1 job id  2 control channel
-- Returns 1, or 0 when there is no such job here.
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], 1)
local state, claim = record:match('^(%a).*:([^:]*)$')
if state == 'A' and redis.call('HDEL', KEYS[5], claim) == 1 then
  redis.call('LPUSH', KEYS[6], redis.call('HGET', KEYS[4], claim))
  redis.call('HDEL', KEYS[4], claim)
  redis.call('HSET', KEYS[1], ARGV[1], (record:gsub('^%a:(%d*):%d*:(%d*):.*$', 'Q:%1::%2:')))
elseif state == 'S' and redis.call('ZREM', KEYS[3], claim) == 1 then
  redis.call('LPUSH', KEYS[6], redis.call('HGET', KEYS[4], claim))
  redis.call('HDEL', KEYS[4], claim)
  redis.call('HSET', KEYS[1], ARGV[1], (record:gsub('^%a:(%d*):%d*:(%d*):.*$', 'Q:%1::%2:')))
end
redis.call('PUBLISH', ARGV[2], 'wake')
redis.call('PUBLISH', ARGV[2], 'cancel ' .. ARGV[1])
return 1
