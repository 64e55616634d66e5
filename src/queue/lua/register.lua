-- Notes which jobs the claims of one batch are, and says which of them may run.
-- KEYS 1 jobs  2 cancelled  3 leases  4 bodies  5 recent
-- ARGV 1 now ms  2 length of the recent list, then per job: id, claim, attempt, whose it is (may be empty)
-- Returns per job {verdict, created ms}; 0 may run, 1 the same id is under way elsewhere, 2 was cancelled.
local n = (#ARGV - 2) / 4
local ids = {}
for i = 1, n do ids[i] = ARGV[i * 4 - 1] end
local records = redis.call('HMGET', KEYS[1], unpack(ids))
local cancelled = redis.call('EXISTS', KEYS[2]) == 1 and redis.call('HMGET', KEYS[2], unpack(ids)) or nil

-- A record is state:created:started:attempts:claim, see records in the Rust source.
local function under_way(record, claim)
  local state, holder = record:match('^(%a):%d*:%d*:%d*:(.*)$')
  if not state or holder == '' or holder == claim then return false end
  if state == 'R' then return redis.call('ZSCORE', KEYS[3], holder) end
  return redis.call('HEXISTS', KEYS[4], holder) == 1
end

local out, fields, new, seen, nobodys = {}, {}, {}, {}, {}
for i = 1, n do
  local id, claim, attempt, owner = ids[i], ARGV[i * 4], ARGV[i * 4 + 1], ARGV[i * 4 + 2]
  local record = records[i]
  local verdict, created = 0, ARGV[1]
  if seen[id] or (record and under_way(record, claim)) then
    verdict = 1
  else
    seen[id] = true
    if record then created = record:match('^%a:(%d+):') or created else new[#new + 1] = ARGV[1] .. ' ' .. id end
    fields[#fields + 1] = id
    fields[#fields + 1] = 'R:' .. created .. ':' .. ARGV[1] .. ':' .. attempt .. ':' .. claim
    -- The message that runs says whose the job is, whatever was said when it was submitted.
    if owner ~= '' then
      fields[#fields + 1] = id .. ' owner'
      fields[#fields + 1] = owner
    elseif record then
      nobodys[#nobodys + 1] = id .. ' owner'
    end
    if cancelled and cancelled[i] then verdict = 2 end
  end
  out[i] = {verdict, created}
end
if #fields > 0 then redis.call('HSET', KEYS[1], unpack(fields)) end
if #nobodys > 0 then redis.call('HDEL', KEYS[1], unpack(nobodys)) end
if #new > 0 then
  redis.call('LPUSH', KEYS[5], unpack(new))
  redis.call('LTRIM', KEYS[5], 0, ARGV[2] - 1)
end
return out
