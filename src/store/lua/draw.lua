-- Takes from buckets that fill continuously: from all of them, or from none.
-- KEYS 1 the buckets of one limit (hash: at, and the level of each bucket)
-- ARGV 1 "1": take in any case, below zero too  then per bucket: what it holds and gains per minute (0: no
--      bucket), amount (negative: give back)
-- Returns ms after which to ask again, or 0 when it was taken.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local n = (#ARGV - 1) / 2
local fields = {'at'}
for i = 1, n do fields[i + 1] = 'b' .. i end
local kept = redis.call('HMGET', KEYS[1], unpack(fields))
local minutes = math.max(0, now - (tonumber(kept[1] or now))) / 60000
local write, wait, full = {'at', string.format('%.0f', now)}, 0, 0
for i = 1, n do
  local holds, amount = tonumber(ARGV[i * 2]), tonumber(ARGV[i * 2 + 1])
  if holds > 0 then
    local level = math.min(holds, tonumber(kept[i + 1] or holds) + minutes * holds)
    -- More than a whole minute has counts as a whole minute; what was used is counted whole.
    if ARGV[1] ~= '1' then amount = math.min(amount, holds) end
    if level + 1e-6 < amount then wait = math.max(wait, math.ceil((amount - level) / holds * 60000)) end
    level = math.min(holds, level - amount)
    full = math.max(full, math.ceil((holds - level) / holds * 60000))
    write[#write + 1] = 'b' .. i
    write[#write + 1] = string.format('%.17g', level)
  end
end
if ARGV[1] ~= '1' and wait > 0 then return wait end
if #write == 2 then return 0 end
redis.call('HSET', KEYS[1], unpack(write))
redis.call('PEXPIRE', KEYS[1], full + 60000)
return 0
