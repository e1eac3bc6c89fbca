#!lua flags=allow-oom
-- KEYS: stream, leases, count.
-- ARGV: group, lease, events at most, bytes at most, microseconds of the lease.
-- Answers the group's place in the stream, how many leases there have been before
-- this one and with it, in how many microseconds the next lease ends (-1 for none),
-- whether more leases have ended than one call looks at, and the deliveries: each an
-- entry, its attempts, and the fields of the event.
local stream, leases, group, lease = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local events, bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Whether the group is there is found out first: its absence is an error.
redis.call('XPENDING', stream, group, '-', '+', 1)

-- What leases that have ended held is free, to be delivered in the stream's order.
local ended = redis.call('ZRANGEBYSCORE', leases, '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
local moved = 0
for _, holder in ipairs(ended) do
  local held
  repeat
    held = redis.call('XPENDING', stream, group, '-', '+', 500, holder)
    if #held > 0 then
      local claim = { 'XCLAIM', stream, group, 'free', 0 }
      for _, one in ipairs(held) do
        claim[#claim + 1] = one[1]
      end
      claim[#claim + 1] = 'JUSTID'
      redis.call(unpack(claim))
      moved = moved + #held
    end
  until #held < 500
  redis.call('XGROUP', 'DELCONSUMER', stream, group, holder)
  redis.call('ZREM', leases, holder, 'split:' .. holder)
  if moved > 10000 then
    break
  end
end
local more = (moved > 10000 or #ended == 100) and 1 or 0

local deliveries, size = {}, 0
local function take(entry, attempts)
  deliveries[#deliveries + 1] = { entry[1], attempts, entry[2] }
  local fields = entry[2]
  for i = 2, #fields, 2 do
    if fields[i - 1] == 'b' then
      size = size + #fields[i]
    end
  end
end

if more == 0 then
  -- What is free stands before everything that was never delivered.
  for _, one in ipairs(redis.call('XPENDING', stream, group, '-', '+', events, 'free')) do
    if #deliveries >= 1 and size >= bytes then
      break
    end
    local claimed = redis.call('XCLAIM', stream, group, lease, 0, one[1])
    if claimed[1] then
      take(claimed[1], one[4] + 1)
    end
  end
  while #deliveries < events and (#deliveries == 0 or size < bytes) do
    local count = math.min(events - #deliveries, 128)
    local read = redis.call('XREADGROUP', 'GROUP', group, lease, 'COUNT', count, 'STREAMS', stream, '>')
    if not read then
      break
    end
    local entries = read[1][2]
    local back = { 'XCLAIM', stream, group, 'free', 0 }
    for _, entry in ipairs(entries) do
      if #deliveries >= 1 and size >= bytes then
        back[#back + 1] = entry[1]
      else
        take(entry, 1)
      end
    end
    if #back > 5 then
      for _, word in ipairs({ 'RETRYCOUNT', 0, 'JUSTID' }) do
        back[#back + 1] = word
      end
      redis.call(unpack(back))
    end
    if #entries < count then
      break
    end
  end
end

local before = tonumber(redis.call('GET', KEYS[3]) or 0)
local after = before
if #deliveries > 0 then
  after = redis.call('INCR', KEYS[3])
  redis.call('ZADD', leases, string.format('%.0f', now + ARGV[5]), lease)
else
  redis.call('XGROUP', 'DELCONSUMER', stream, group, lease)
end
local soonest = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
local due = -1
if soonest[2] and soonest[2] ~= 'inf' then
  due = math.max(soonest[2] - now, 0)
end
local place = ''
for _, one in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  if one[2] == group then
    for i = 1, #one, 2 do
      if one[i] == 'last-delivered-id' then
        place = one[i + 1]
      end
    end
  end
end
return { place, before, after, due, more, deliveries }
