-- Takes up to ARGV[1] messages into leases.
-- KEYS 1 paused  2 high  3 ready  4 inbox  5 list or stream (foreign)  6 low  7 leases  8 bodies
--      9 known entries of the stream
-- ARGV 1 max  2 lease ms  3 claim prefix  4 LPOP, RPOP or XREADGROUP, for the foreign key  5 byte limit of the batch
--      6 prefix of an earlier call that got no answer, or empty: what it took is given out again
--      7 group  8 consumer, for a stream
-- Returns {now ms, 0 | 1 paused | 2 under the earlier prefix, envelope...}; the claim of the i-th envelope is
-- prefix .. i. Every call has its own prefix: should the earlier call come late, what it takes then is under
-- claims that nobody acknowledges, so it runs out and comes back.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', now)
local out = {stamp, 0}
local max, limit, prefix = tonumber(ARGV[1]), tonumber(ARGV[5]), ARGV[3]

if ARGV[6] ~= '' then
  for i = 1, max do
    local body = redis.call('HGET', KEYS[8], ARGV[6] .. i)
    if not body then break end
    out[#out + 1] = body
  end
  if #out > 2 then
    out[2] = 2
    for i = 1, #out - 2 do
      redis.call('ZADD', KEYS[7], 'XX', string.format('%.0f', now + ARGV[2]), ARGV[6] .. i)
    end
    return out
  end
end

if redis.call('EXISTS', KEYS[1]) == 1 then
  out[2] = 1
  return out
end

local bodies, scores, bytes = {}, {}, 0
local expiry = string.format('%.0f', now + ARGV[2])
local function hold(body)
  bytes = bytes + #body
  out[#out + 1] = body
  local claim = prefix .. (#out - 2)
  bodies[#bodies + 1] = claim
  bodies[#bodies + 1] = body
  scores[#scores + 1] = expiry
  scores[#scores + 1] = claim
end
local function take(key, pop, head)
  while #out - 2 < max and bytes < limit do
    local got = redis.call(pop, key, math.min(16, max - (#out - 2)))
    if not got or #got == 0 then return end
    for _, text in ipairs(got) do hold(head .. text) end
    if #got < 16 then return end
  end
end

-- A stream's entry keeps its id in the envelope, for the XACK at its end.
local function read()
  local group, consumer = ARGV[7], ARGV[8]
  while #out - 2 < max and bytes < limit do
    local ask = {'XREADGROUP', 'GROUP', group, consumer, 'COUNT', math.min(16, max - (#out - 2)), 'STREAMS', KEYS[5], '>'}
    local got = redis.pcall(unpack(ask))
    if got and got.err then
      if not got.err:find('NOGROUP') then return got end
      redis.call('XGROUP', 'CREATE', KEYS[5], group, '0', 'MKSTREAM')
      got = redis.call(unpack(ask))
    end
    if not got or #got == 0 then return end
    local entries = got[1][2]
    for _, entry in ipairs(entries) do
      local id, fields, token = entry[1], entry[2] or {}, nil
      for i = 1, #fields, 2 do
        if fields[i] == 'token' then token = fields[i + 1] end
      end
      -- Flag 2: there is no token; the fields as they came are what people get to see.
      hold('0:0:' .. stamp .. (token and ':0:' or ':2:') .. id .. ':0:' .. (token or table.concat(fields, ' ')))
      redis.call('HSET', KEYS[9], id, 1)
    end
    if #entries < 16 then return end
  end
end

local fresh = '0:0:' .. stamp .. ':0::0:'
take(KEYS[2], 'LPOP', '')
take(KEYS[3], 'LPOP', '')
take(KEYS[4], 'LPOP', fresh)
local failed
if ARGV[4] == 'XREADGROUP' then failed = read() else take(KEYS[5], ARGV[4], fresh) end
take(KEYS[6], 'LPOP', '')
if #bodies > 0 then
  redis.call('HSET', KEYS[8], unpack(bodies))
  redis.call('ZADD', KEYS[7], unpack(scores))
end
if failed and #out == 2 then return failed end
return out
