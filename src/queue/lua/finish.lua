-- Ends jobs with their results. Where one server has every key, nothing lies between the steps.
-- KEYS 1 leases  2 bodies  3 jobs  4 cancelled  5 list of signals, then per job: closing record, result, events,
--      marker of its signal; and for a stream: stream  known entries
-- ARGV 1 ttl seconds  2 "list" or "string"  3 most entries of a stream of events  4 group (empty for a list)
--      5 how many jobs, then per job: claim, job id, head of the record, result, tail of the record,
--      signal (may be empty), how many events, and per event: name, data
-- Returns per job: '' when this call ended it, else the first line of the record that stands.
local call, ttl = redis.call, ARGV[1]
local jobs, at = tonumber(ARGV[5]), 6
local out, claims, ids = {}, {}, {}
for i = 1, jobs do
  local record, key, events, sent = KEYS[i * 4 + 2], KEYS[i * 4 + 3], KEYS[i * 4 + 4], KEYS[i * 4 + 5]
  local result, signal, count = ARGV[at + 3], ARGV[at + 5], tonumber(ARGV[at + 6])
  if call('SET', record, ARGV[at + 2] .. result .. ARGV[at + 4], 'NX', 'EX', ttl) then
    if ARGV[2] == 'string' then
      call('SET', key, result, 'EX', ttl)
    else
      if type(redis.pcall('RPUSH', key, result)) == 'table' then
        -- Something else sat at the key: the result is owed to its reader.
        call('DEL', key)
        call('RPUSH', key, result)
      end
      call('EXPIRE', key, ttl)
    end
    call('PUBLISH', key, result)
    if signal ~= '' and call('SET', sent, 1, 'NX', 'EX', ttl) then call('RPUSH', KEYS[5], signal) end
    for n = at + 7, at + 5 + count * 2, 2 do
      call('XADD', events, 'MAXLEN', '~', ARGV[3], '*', 'event', ARGV[n], 'data', ARGV[n + 1])
    end
    call('EXPIRE', events, ttl)
    out[i] = ''
    claims[#claims + 1] = ARGV[at]
    ids[#ids + 1] = ARGV[at + 1]
  else
    out[i] = call('GETRANGE', record, 0, 1023):match('^[^\n]*')
  end
  at = at + 7 + count * 2
end
if #claims == 0 then return out end

-- From here on as in ack.lua.
call('ZREM', KEYS[1], unpack(claims))
local stream, known = KEYS[jobs * 4 + 6], KEYS[jobs * 4 + 7]
if stream then
  local entries = {}
  for _, body in ipairs(call('HMGET', KEYS[2], unpack(claims))) do
    local entry = body and body:match('^%d+:%d+:%d+:%d+:([^:]+):')
    if entry then entries[#entries + 1] = entry end
  end
  if #entries > 0 then
    call('XACK', stream, ARGV[4], unpack(entries))
    call('HDEL', known, unpack(entries))
  end
end
call('HDEL', KEYS[2], unpack(claims))
local records, ended = call('HMGET', KEYS[3], unpack(ids)), {}
for i, claim in ipairs(claims) do
  -- The record may already belong to another delivery of the same id.
  if records[i] and records[i]:sub(-#claim - 1) == ':' .. claim then ended[#ended + 1] = ids[i] end
end
if #ended > 0 then
  call('HDEL', KEYS[3], unpack(ended))
  if call('EXISTS', KEYS[4]) == 1 then call('HDEL', KEYS[4], unpack(ended)) end
end
return out
