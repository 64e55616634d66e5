-- Appends events to the streams of jobs.
-- KEYS the streams
-- ARGV 1 ttl seconds, from the event that ends the job (or the one that queued it) on  2 most entries of a stream
--      3 "1" when an earlier call may have done this already,
--      then per stream: how many events, and per event: name, data, "1" for one that ends the job, else "0"
-- Returns how many were written.
local at, written = 4, 0
for _, key in ipairs(KEYS) do
  local count = tonumber(ARGV[at])
  at = at + 1
  local expires = false
  for i = 1, count do
    local name, data, last = ARGV[at], ARGV[at + 1], ARGV[at + 2] == '1'
    at = at + 3
    local known = false
    if name == 'queued' then
      -- A duplicate is no new beginning.
      known = redis.call('EXISTS', key) == 1
    elseif last or ARGV[3] == '1' then
      -- Events of another worker may stand behind the last one: of one that ran on without knowing that its claim is gone.
      local tail = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 64)
      for _, entry in ipairs(tail) do
        local event, text = entry[2][2], entry[2][4]
        if last then
          known = known or event == 'completed' or event == 'failed' or event == 'cancelled'
        elseif event == name and text == data then
          known = true
        end
      end
    end
    expires = expires or last or (name == 'queued' and not known)
    if not known then
      if i == count then
        redis.call('XADD', key, 'MAXLEN', '~', ARGV[2], '*', 'event', name, 'data', data)
      else
        redis.call('XADD', key, '*', 'event', name, 'data', data)
      end
      written = written + 1
    end
  end
  if expires then redis.call('EXPIRE', key, ARGV[1]) end
end
return written
