#!lua flags=no-writes,allow-oom
-- KEYS: stream, leases, failed. ARGV: group.
-- Answers how many entries there are, how many of them are held, how many are
-- buried, the oldest entry, and the bytes of both streams.
local stream, leases, failed = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local total = redis.call('XLEN', stream)
local held = 0
local pending = redis.pcall('XPENDING', stream, ARGV[1])
if not pending.err then
  for _, holder in ipairs(pending[4] or {}) do
    local ends = redis.call('ZSCORE', leases, holder[1])
    if ends and tonumber(ends) > now then
      held = held + holder[2]
    end
  end
end
local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local bytes = (redis.call('MEMORY', 'USAGE', stream) or 0) + (redis.call('MEMORY', 'USAGE', failed) or 0)
return { total, held, redis.call('XLEN', failed), oldest and oldest[1] or '', bytes }
