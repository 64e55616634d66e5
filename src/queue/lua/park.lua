-- Sets a claimed message aside until someone decides.
-- KEYS 1 leases  2 bodies  3 jobs  4 parked
-- ARGV 1 claim  2 job id  3 what waits (JSON)
-- Returns 1, or 0 when the claim no longer held and nothing was done.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
  return redis.call('HEXISTS', KEYS[4], ARGV[1])
end
redis.call('HSET', KEYS[4], ARGV[1], ARGV[3])
local record = redis.call('HGET', KEYS[3], ARGV[2])
if record then
  redis.call('HSET', KEYS[3], ARGV[2], (record:gsub('^%a:(%d*):(%d*):(%d*):.*$', 'A:%1:%2:%3:') .. ARGV[1]))
end
return 1
