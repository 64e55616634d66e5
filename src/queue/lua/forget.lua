-- Forgets records whose job is nowhere any more.
-- KEYS 1 jobs  2 leases  3 bodies
-- ARGV 1 cursor  2 oldest creation (ms) that is kept whatever its state
-- Returns the next cursor.
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 200)
for i = 1, #page[2], 2 do
  local id, record = page[2][i], page[2][i + 1]
  local created, claim = record:match('^%a:(%d+):%d*:%d*:(.*)$')
  local whose = id:match('^(.*) owner$')
  if whose then
    created = nil
    if redis.call('HEXISTS', KEYS[1], whose) == 0 then redis.call('HDEL', KEYS[1], id) end
  end
  if created and tonumber(created) < tonumber(ARGV[2]) then
    local live = claim ~= '' and
      (redis.call('ZSCORE', KEYS[2], claim) or redis.call('HEXISTS', KEYS[3], claim) == 1)
    if not live then redis.call('HDEL', KEYS[1], id, id .. ' owner') end
  end
end
return page[1]
