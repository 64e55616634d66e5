-- Holds a part of an allowance for one request, unless too much is used or held by others.
-- KEYS 1 what is used (hash: tokens, micro_usd)  2 what is held (hash: holder -> until tokens micro_usd)
-- ARGV 1 holder  2 ms after which it counts no more  3 tokens  4 micro_usd  5 most tokens  6 most micro_usd (0: no limit)
--      7 least tokens  8 least micro_usd: less is of no use
-- Returns {0 held, tokens held, micro_usd held} or {1 others hold the rest | 2 used up, tokens used, micro_usd used}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local used = redis.call('HMGET', KEYS[1], 'tokens', 'micro_usd')
local tokens, micros = tonumber(used[1] or 0), tonumber(used[2] or 0)
-- What is got of one amount where `sum` is taken; nothing where that would be of no use.
local function part(i, sum)
  local wanted, limit, least = tonumber(ARGV[2 + i]), tonumber(ARGV[4 + i]), tonumber(ARGV[6 + i])
  if limit == 0 then return wanted end
  local left = math.max(limit - sum, 0)
  return left >= least and math.min(wanted, left) or nil
end
local x, y = part(1, tokens), part(2, micros)
if not x or not y then return {2, tokens, micros} end
local a, b = tokens, micros
local held = redis.call('HGETALL', KEYS[2])
for i = 1, #held, 2 do
  local till, c, d = held[i + 1]:match('(%d+) (%d+) (%d+)')
  if tonumber(till) <= now then
    redis.call('HDEL', KEYS[2], held[i])
  elseif held[i] ~= ARGV[1] then
    a, b = a + c, b + d
  end
end
-- An answer that is cut off is paid for nothing.
if part(1, a) ~= x or part(2, b) ~= y then return {1, tokens, micros} end
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f %.0f %.0f', now + ARGV[2], x, y))
redis.call('PEXPIRE', KEYS[2], ARGV[2] + 60000)
return {0, x, y}
