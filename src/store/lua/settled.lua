-- Forgets notes, but for those that were made anew meanwhile.
-- KEYS times (sorted set), notes (hash)
-- ARGV per note: job id, mark
-- Returns how many were forgotten.
local gone = 0
for i = 1, #ARGV, 2 do
  local text = redis.call('HGET', KEYS[2], ARGV[i])
  if text and text:match('^%d+') == ARGV[i + 1] then
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('ZREM', KEYS[1], ARGV[i])
    gone = gone + 1
  end
end
return gone
