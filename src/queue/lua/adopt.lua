-- Takes over entries that another consumer of the group left pending, and keeps our own young.
-- KEYS 1 stream  2 known entries  3 ready
-- ARGV 1 group  2 consumer  3 least idle ms  4 cursor  5 most to look at  6 channel to wake workers on
-- Returns {next cursor, how many were taken over}.
local page = redis.pcall('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
if page.err then
  -- No stream or no group yet: the first claim makes them.
  return page.err:find('NOGROUP') and {'0-0', 0} or page
end
local time = redis.call('TIME')
local head = '0:0:' .. string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local adopted = 0
for _, id in ipairs(page[2]) do
  if redis.call('HSETNX', KEYS[2], id, 1) == 1 then
    local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
    if entry then
      local fields, token = entry[2], nil
      for i = 1, #fields, 2 do
        if fields[i] == 'token' then token = fields[i + 1] end
      end
      redis.call('RPUSH', KEYS[3],
        head .. (token and ':0:' or ':2:') .. id .. ':0:' .. (token or table.concat(fields, ' ')))
      adopted = adopted + 1
    else
      -- Trimmed away by its producer: there is nothing left to run.
      redis.call('XACK', KEYS[1], ARGV[1], id)
      redis.call('HDEL', KEYS[2], id)
    end
  end
end
if adopted > 0 then redis.call('PUBLISH', ARGV[6], 'wake') end
return {page[1], adopted}
