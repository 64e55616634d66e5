-- Ends claims whose effects are recorded.
-- KEYS 1 leases  2 bodies  3 jobs  4 cancelled, and for a stream: 5 stream  6 known entries
-- ARGV 1 group (empty for a list), then per claim: claim, job id (may be empty)
-- Returns how many were still held.
local n = (#ARGV - 1) / 2
local claims, ids, ended, owners = {}, {}, {}, {}
for i = 1, n do
  claims[i] = ARGV[i * 2]
  ids[i] = ARGV[i * 2 + 1]
end
local held = redis.call('ZREM', KEYS[1], unpack(claims))
if KEYS[5] then
  local entries = {}
  for _, body in ipairs(redis.call('HMGET', KEYS[2], unpack(claims))) do
    local entry = body and body:match('^%d+:%d+:%d+:%d+:([^:]+):')
    if entry then entries[#entries + 1] = entry end
  end
  if #entries > 0 then
    redis.call('XACK', KEYS[5], ARGV[1], unpack(entries))
    redis.call('HDEL', KEYS[6], unpack(entries))
  end
end
redis.call('HDEL', KEYS[2], unpack(claims))
local records = redis.call('HMGET', KEYS[3], unpack(ids))
for i = 1, n do
  -- The record may already belong to another delivery of the same id.
  if records[i] and records[i]:sub(-#claims[i] - 1) == ':' .. claims[i] then
    ended[#ended + 1] = ids[i]
    owners[#owners + 1] = ids[i] .. ' owner'
  end
end
if #ended > 0 then
  redis.call('HDEL', KEYS[3], unpack(ended))
  redis.call('HDEL', KEYS[3], unpack(owners))
  if redis.call('EXISTS', KEYS[4]) == 1 then redis.call('HDEL', KEYS[4], unpack(ended)) end
end
return held
