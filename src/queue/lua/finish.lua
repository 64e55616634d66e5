-- Ends jobs with their results. Where one server has every key, nothing lies between the steps.
-- KEYS 1 leases  2 bodies  3 jobs  4 cancelled  5 list of signals  6 scratch, then per job: closing record, result,
--      events, marker of its signal; and for a stream: stream  known entries
-- ARGV 1 ttl seconds  2 "list" or "string"  3 most entries of a stream of events  4 group (empty for a list)
--      5 how many jobs, then per job: claim, job id, closing record, where in it the result begins, where it ends,
--      signal (may be empty), its events as a dump (may be empty), how many further events, and per event: name, data
-- Returns per job: '' when this call ended it, '-' when it did but the dump could not be used, else the first line of
-- the record that stands.
-- Lua looks at every byte of every text it is given, so large ones are given once.
local call, ttl = redis.call, ARGV[1]
local jobs, at = tonumber(ARGV[5]), 6
local out, claims, ids = {}, {}, {}

-- A stream that has entries already gets those of the dump one by one.
local function append(events, dump)
  local made = redis.pcall('RESTORE', events, string.format("%d000", ttl), dump)
  if not made.err then return true end
  if not made.err:find('BUSYKEY') then return false end
  call('RESTORE', KEYS[6], 0, dump, 'REPLACE')
  for _, entry in ipairs(call('XRANGE', KEYS[6], '-', '+')) do
    call('XADD', events, 'MAXLEN', '~', ARGV[3], '*', unpack(entry[2]))
  end
  call('DEL', KEYS[6])
  call('EXPIRE', events, ttl)
  return true
end

for i = 1, jobs do
  local record, key, events, sent = KEYS[i * 4 + 3], KEYS[i * 4 + 4], KEYS[i * 4 + 5], KEYS[i * 4 + 6]
  local text, signal, dump, count = ARGV[at + 2], ARGV[at + 5], ARGV[at + 6], tonumber(ARGV[at + 7])
  if call('SET', record, text, 'NX', 'EX', ttl) then
    local result = text:sub(ARGV[at + 3], ARGV[at + 4])
    out[i] = ''
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
    if dump ~= '' and not append(events, dump) then out[i] = '-' end
    for n = at + 8, at + 6 + count * 2, 2 do
      call('XADD', events, 'MAXLEN', '~', ARGV[3], '*', 'event', ARGV[n], 'data', ARGV[n + 1])
    end
    if count > 0 then call('EXPIRE', events, ttl) end
    if out[i] == '' then
      claims[#claims + 1] = ARGV[at]
      ids[#ids + 1] = ARGV[at + 1]
    end
  else
    out[i] = call('GETRANGE', record, 0, 1023):match('^[^\n]*')
  end
  at = at + 8 + count * 2
end
if #claims == 0 then return out end

-- From here on as in ack.lua.
call('ZREM', KEYS[1], unpack(claims))
local stream, known = KEYS[jobs * 4 + 7], KEYS[jobs * 4 + 8]
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
local records, ended, owners = call('HMGET', KEYS[3], unpack(ids)), {}, {}
for i, claim in ipairs(claims) do
  -- The record may already belong to another delivery of the same id.
  if records[i] and records[i]:sub(-#claim - 1) == ':' .. claim then
    ended[#ended + 1] = ids[i]
    owners[#owners + 1] = ids[i] .. ' owner'
  end
end
if #ended > 0 then
  call('HDEL', KEYS[3], unpack(ended))
  call('HDEL', KEYS[3], unpack(owners))
  if call('EXISTS', KEYS[4]) == 1 then call('HDEL', KEYS[4], unpack(ended)) end
end
return out
