-- Notes that a job is about to end, so that a record of it will be made whoever dies.
-- KEYS times (sorted set), notes (hash)
-- ARGV 1 job id  2 owner  3 milliseconds until somebody looks whether it has ended
-- Returns the note's mark: a number that grows from one note of a job to the next.
local now = redis.call('TIME')
local micros = now[1] * 1000000 + now[2]
local text = redis.call('HGET', KEYS[2], ARGV[1])
local before = text and tonumber(text:match('^%d+')) or 0
local mark = string.format('%.0f', math.max(micros, before + 1))
redis.call('HSET', KEYS[2], ARGV[1], mark .. ' ' .. ARGV[2])
-- Rounded as in due.lua, or a note without delay would not be due at once.
redis.call('ZADD', KEYS[1], string.format('%.0f', math.floor(micros / 1000) + ARGV[3]), ARGV[1])
return mark
