-- Takes from buckets that fill continuously: from all of them, or from none. Who finds too little may stand in line.
-- KEYS 1 the buckets of one limit (hash: at, shut, and of each bucket its level b, less what stands in line, and all
--        that ever stood in line, l)
--      2 who stands in line (hash: holder -> amount and place in each bucket)
--      3 until when each holder keeps the place (zset: holder -> ms)
-- ARGV 1 "now", "line", "settle" (in any case, below zero too) or "shut"  2 ms: for "shut", how long; for "line", who
--      would be told as much is not in line  3 holder  4 ms: most that is told, or 0  5 ms: how long a place is kept
--      beyond that  then per bucket: what it holds and gains per minute (0: no bucket), amount (negative: give back)
-- Returns ms after which to come back, or 0 when it was taken.
local how, holder = ARGV[1], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local n = (#ARGV - 5) / 2
local fields = {'at', 'shut'}
for i = 1, n do
  fields[#fields + 1] = 'b' .. i
  fields[#fields + 1] = 'l' .. i
end
local kept = redis.call('HMGET', KEYS[1], unpack(fields))
local minutes = math.max(0, now - (tonumber(kept[1] or now))) / 60000
local shut = tonumber(kept[2] or 0)
local holds, wanted, level, lined = {}, {}, {}, {}
for i = 1, n do
  holds[i], wanted[i] = tonumber(ARGV[4 + i * 2]), tonumber(ARGV[5 + i * 2])
  -- More than a whole minute has counts as a whole minute; what was used is counted whole.
  if how ~= 'settle' then wanted[i] = math.min(wanted[i], holds[i]) end
  if holds[i] == 0 then wanted[i] = 0 end
  level[i] = math.min(holds[i], tonumber(kept[1 + i * 2] or holds[i]) + minutes * holds[i])
  lined[i] = tonumber(kept[2 + i * 2] or 0)
end
local function take(amounts, sign)
  for i = 1, n do level[i] = math.min(holds[i], level[i] - sign * (amounts[i] or 0)) end
end
local function leave(who)
  local text = redis.call('HGET', KEYS[2], who)
  redis.call('HDEL', KEYS[2], who)
  redis.call('ZREM', KEYS[3], who)
  if not text then return nil end
  local amounts, places = {}, {}
  for amount, place in text:gmatch('(%S+) (%S+)') do
    amounts[#amounts + 1] = tonumber(amount)
    places[#places + 1] = tonumber(place)
  end
  take(amounts, -1)
  return places
end
for _, who in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 1000)) do leave(who) end

local wait = how == 'settle' and 0 or math.max(0, shut - now)
if how == 'shut' then
  shut = math.max(shut, now + ARGV[2])
  wait = 0
elseif how == 'settle' then
  take(wanted, 1)
else
  local places = how == 'line' and leave(holder)
  if how == 'line' and not places then
    places = {}
    for i = 1, n do places[i] = lined[i] + wanted[i] end
  end
  local function line_up()
    for i = 1, n do lined[i] = math.max(lined[i], places and places[i] or 0) end
  end
  for i = 1, n do
    -- What stands behind has left the bucket, and is no hindrance.
    local behind = places and math.max(0, lined[i] - (places[i] or lined[i])) or 0
    local lacks = wanted[i] - level[i] - behind
    if holds[i] > 0 and lacks > 1e-6 then wait = math.max(wait, math.ceil(lacks / holds[i] * 60000)) end
  end
  if wait == 0 then
    line_up()
    take(wanted, 1)
  elseif how == 'line' then
    if tonumber(ARGV[4]) > 0 then wait = math.min(wait, tonumber(ARGV[4])) end
    if wait < tonumber(ARGV[2]) then
      line_up()
      take(wanted, 1)
      local text = {}
      for i = 1, n do text[i] = string.format('%.17g %.17g', wanted[i], places[i] or lined[i]) end
      redis.call('HSET', KEYS[2], holder, table.concat(text, ' '))
      redis.call('ZADD', KEYS[3], string.format('%.0f', now + wait + ARGV[5]), holder)
    end
  end
end

-- What is full again, and shut or waited for by nobody, may be forgotten.
local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
local ends = math.max(shut, tonumber(last or 0)) - now
local write = {'at', string.format('%.0f', now), 'shut', string.format('%.0f', shut)}
for i = 1, n do
  if holds[i] > 0 then ends = math.max(ends, (holds[i] - level[i]) / holds[i] * 60000) end
  for name, value in pairs({b = level[i], l = lined[i]}) do
    write[#write + 1] = name .. i
    write[#write + 1] = string.format('%.17g', value)
  end
end
redis.call('HSET', KEYS[1], unpack(write))
for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], math.ceil(math.max(0, ends)) + 60000) end
return wait
