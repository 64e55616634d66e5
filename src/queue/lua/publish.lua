-- Writes results, each once whoever tries.
-- KEYS per job: closing record, result
-- ARGV 1 ttl seconds  2 "list" or "string", then per job: head of the record, result, tail of the record
-- Returns per job: '' when this call wrote it, else the first line of the record that stands.
local out = {}
for i = 1, #KEYS / 2 do
  local record, key = KEYS[i * 2 - 1], KEYS[i * 2]
  local head, result, tail = ARGV[i * 3], ARGV[i * 3 + 1], ARGV[i * 3 + 2]
  if redis.call('SET', record, head .. result .. tail, 'NX', 'EX', ARGV[1]) then
    if ARGV[2] == 'string' then
      redis.call('SET', key, result, 'EX', ARGV[1])
    else
      if type(redis.pcall('RPUSH', key, result)) == 'table' then
        -- Something else sat at the key: the result is owed to its reader.
        redis.call('DEL', key)
        redis.call('RPUSH', key, result)
      end
      redis.call('EXPIRE', key, ARGV[1])
    end
    redis.call('PUBLISH', key, result)
    out[i] = ''
  else
    out[i] = redis.call('GETRANGE', record, 0, 1023):match('^[^\n]*')
  end
end
return out
