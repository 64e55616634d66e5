-- Extends leases and tells what became of each.
-- KEYS 1 leases  2 cancelled
-- ARGV 1 lease ms, then per lease: claim, job id (may be empty)
-- Returns per lease: 1 held, 0 gone, 2 held but cancelled.
local time = redis.call('TIME')
local expiry = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
local n = (#ARGV - 1) / 2
local claims, out, scores = {}, {}, {}
for i = 1, n do claims[i] = ARGV[i * 2] end
local held = redis.call('ZMSCORE', KEYS[1], unpack(claims))
local any = redis.call('EXISTS', KEYS[2]) == 1
for i = 1, n do
  if held[i] then
    scores[#scores + 1] = expiry
    scores[#scores + 1] = claims[i]
    local id = ARGV[i * 2 + 1]
    out[i] = (any and id ~= '' and redis.call('HEXISTS', KEYS[2], id) == 1) and 2 or 1
  else
    out[i] = 0
  end
end
if #scores > 0 then redis.call('ZADD', KEYS[1], 'XX', unpack(scores)) end
return out
