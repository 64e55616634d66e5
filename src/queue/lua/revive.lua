-- Puts a dead letter back into the queue.
-- KEYS 1 dead  2 ready  3 jobs  4 recent
-- ARGV 1 the letter as it stands  2 envelope without the time  3 job id (may be empty)  4 length of the recent list  5 channel to wake workers on
--      6 whose job it is (may be empty)
-- Returns 1, or 0 when the letter is gone.
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
local time = redis.call('TIME')
local stamp = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('RPUSH', KEYS[2], '0:0:' .. stamp .. ARGV[2])
if ARGV[3] ~= '' and redis.call('HSETNX', KEYS[3], ARGV[3], 'Q:' .. stamp .. '::0:') == 1 then
  if ARGV[6] ~= '' then redis.call('HSET', KEYS[3], ARGV[3] .. ' owner', ARGV[6])
  else redis.call('HDEL', KEYS[3], ARGV[3] .. ' owner') end
  redis.call('LPUSH', KEYS[4], stamp .. ' ' .. ARGV[3])
  redis.call('LTRIM', KEYS[4], 0, ARGV[4] - 1)
end
redis.call('PUBLISH', ARGV[5], 'wake')
return 1
