-- Holds a part of an allowance for one request, unless too much is used or held by others.
-- KEYS 1 what is used (hash: tokens, micro_usd)  2 what is held (hash: holder -> until tokens micro_usd)
-- ARGV 1 holder  2 ms after which it counts no more  3 tokens  4 micro_usd  5 most tokens  6 most micro_usd (0: no limit)
-- Returns {0 held | 1 others hold the rest | 2 used up, tokens used, micro_usd used}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local used = redis.call('HMGET', KEYS[1], 'tokens', 'micro_usd')
local tokens, micros = tonumber(used[1] or 0), tonumber(used[2] or 0)
local function over(a, b)
  local most, least = tonumber(ARGV[5]), tonumber(ARGV[6])
  return (most > 0 and a >= most) or (least > 0 and b >= least)
end
if over(tokens, micros) then return {2, tokens, micros} end
local others, a, b = 0, 0, 0
local held = redis.call('HGETALL', KEYS[2])
for i = 1, #held, 2 do
  local till, x, y = held[i + 1]:match('(%d+) (%d+) (%d+)')
  if tonumber(till) <= now then
    redis.call('HDEL', KEYS[2], held[i])
  elseif held[i] ~= ARGV[1] then
    others, a, b = others + 1, a + x, b + y
  end
end
-- The first request always goes: an allowance smaller than one prompt would never be used.
if others > 0 and over(tokens + a, micros + b) then return {1, tokens, micros} end
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f ', now + ARGV[2]) .. ARGV[3] .. ' ' .. ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[2] + 60000)
return {0, tokens, micros}
