-- Pushes completion signals, each once whoever tries.
-- KEYS 1 the signal list, then per signal: its marker
-- ARGV 1 ttl seconds of a marker, then per signal: the text
-- Returns how many were pushed.
local pushed = 0
for i = 2, #KEYS do
  if redis.call('SET', KEYS[i], 1, 'NX', 'EX', ARGV[1]) then
    redis.call('RPUSH', KEYS[1], ARGV[i])
    pushed = pushed + 1
  end
end
return pushed
