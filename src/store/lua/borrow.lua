-- Lends one of several names to a holder, for a time: the one with the fewest loans, the first of equals.
-- A loan whose time is over has ended, whoever held it: counts recover by themselves after a crash.
-- KEYS 1 when each loan ends (zset: holder -> ms)  2 what each holder has (hash)  3 loans of each name (hash)
-- ARGV 1 holder  2 ms  then the names
-- Returns the place of the name that was lent, from 0.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function forget(holder)
  local name = redis.call('HGET', KEYS[2], holder)
  redis.call('ZREM', KEYS[1], holder)
  redis.call('HDEL', KEYS[2], holder)
  if name and redis.call('HINCRBY', KEYS[3], name, -1) <= 0 then redis.call('HDEL', KEYS[3], name) end
end
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do forget(holder) end
local held, best, least = redis.call('HGET', KEYS[2], ARGV[1]), nil, nil
for i = 3, #ARGV do
  if ARGV[i] == held then best = i end
end
if not best then
  if held then forget(ARGV[1]) end
  for i = 3, #ARGV do
    local loans = tonumber(redis.call('HGET', KEYS[3], ARGV[i]) or 0)
    if not least or loans < least then best, least = i, loans end
  end
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[best])
  redis.call('HINCRBY', KEYS[3], ARGV[best], 1)
end
local ms = tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ms), ARGV[1])
-- When nobody borrows any more, everything ends; the last loan first.
for i = 1, 3 do
  if redis.call('PTTL', KEYS[i]) < ms * 2 then redis.call('PEXPIRE', KEYS[i], ms * 2) end
end
return best - 3
