-- Puts a job in, at once or for later.
-- KEYS 1 jobs  2 recent  3 where it goes (a list)  4 delayed  5 bodies
-- ARGV 1 job id  2 the message, or its envelope  3 RPUSH or LPUSH, or DELAY  4 due ms (with DELAY: "@" absolute or relative)
--      5 id in the delayed set  6 length of the recent list  7 channel to wake workers on
--      8 "afresh" where a record that stands is that of the ended job, whose claim is about to be acknowledged
--      9 whose job it is (may be empty)
-- Returns 1.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)
local text = ARGV[2]
if text:sub(1, 8) == '0:0:NOW:' then text = '0:0:' .. stamp .. text:sub(8) end
local new = ARGV[8] == 'afresh' or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0
if ARGV[3] == 'DELAY' then
  local due = ARGV[4]:sub(1, 1) == '@' and tonumber(ARGV[4]:sub(2)) or now + ARGV[4]
  redis.call('HSET', KEYS[5], ARGV[5], text)
  redis.call('ZADD', KEYS[4], string.format('%.0f', due), ARGV[5])
  if new then redis.call('HSET', KEYS[1], ARGV[1], 'S:' .. stamp .. '::0:' .. ARGV[5]) end
else
  redis.call(ARGV[3], KEYS[3], text)
  if new then redis.call('HSET', KEYS[1], ARGV[1], 'Q:' .. stamp .. '::0:') end
  redis.call('PUBLISH', ARGV[7], 'wake')
end
if new then
  if ARGV[9] ~= '' then redis.call('HSET', KEYS[1], ARGV[1] .. ' owner', ARGV[9])
  else redis.call('HDEL', KEYS[1], ARGV[1] .. ' owner') end
  redis.call('LPUSH', KEYS[2], stamp .. ' ' .. ARGV[1])
  redis.call('LTRIM', KEYS[2], 0, ARGV[6] - 1)
end
return 1
