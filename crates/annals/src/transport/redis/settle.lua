#!lua flags=allow-oom
-- KEYS: stream, leases, failed.
-- ARGV: group, what to do, its argument, lease, number of receipts, the first and the
-- last of the entries in the stream, the entries (with a reason each, for 'bury').
-- Does it to those entries that the lease still holds; answers how many.
local stream, leases, failed = KEYS[1], KEYS[2], KEYS[3]
local group, what, argument, lease, count = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if not redis.call('ZSCORE', leases, lease) or redis.pcall('XPENDING', stream, group).err then
  return 0
end
local step = what == 'bury' and 2 or 1
local first, last = ARGV[6], ARGV[7]

-- The lease goes with the last of its entries.
local function finish()
  if #redis.call('XPENDING', stream, group, '-', '+', 1, lease) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, lease)
    redis.call('ZREM', leases, lease, 'split:' .. lease)
  end
end

-- As long as a lease is whole, what was delivered under it is its own or is gone.
if what == 'ack' and not redis.call('ZSCORE', leases, 'split:' .. lease) then
  local done = 0
  for i = 8, 7 + count, 500 do
    local j = math.min(i + 499, 7 + count)
    done = done + redis.call('XACK', stream, group, unpack(ARGV, i, j))
    redis.call('XDEL', stream, unpack(ARGV, i, j))
  end
  finish()
  return done
end

-- Who holds an entry, and how often it was delivered.
local attempts = {}
local from = first
repeat
  local page = redis.call('XPENDING', stream, group, from, last, 1000, lease)
  for _, one in ipairs(page) do
    attempts[one[1]] = one[4]
  end
  from = #page == 1000 and '(' .. page[1000][1] or nil
until not from

local held = {}
for i = 8, 7 + count * step, step do
  local entry = ARGV[i]
  if attempts[entry] then
    held[#held + 1] = { entry, attempts[entry], ARGV[i + 1] }
    attempts[entry] = nil
  end
end

-- Runs a command with entries, some hundreds at a time.
local function each(before, entries, after)
  for start = 1, #entries, 500 do
    local command = { unpack(before) }
    for i = start, math.min(start + 499, #entries) do
      command[#command + 1] = entries[i]
    end
    for _, word in ipairs(after) do
      command[#command + 1] = word
    end
    redis.call(unpack(command))
  end
end

local entries = {}
for i, one in ipairs(held) do
  entries[i] = one[1]
end
if what == 'bury' then
  local time = redis.call('TIME')
  local now = string.format('%.0f', time[1] * 1000000 + time[2])
  -- The failed are numbered, for as long as their key is there.
  local number = 0
  local known = redis.call('EXISTS', failed) == 1 and redis.call('XINFO', 'STREAM', failed) or {}
  for i = 1, #known, 2 do
    if known[i] == 'last-generated-id' then
      number = tonumber(string.match(known[i + 1], '^%d+'))
    end
  end
  for _, one in ipairs(held) do
    local entry = redis.call('XRANGE', stream, one[1], one[1])[1]
    if entry then
      number = number + 1
      local add = { 'XADD', failed, string.format('%.0f-0', number), 'r', one[3], 'a', one[2], 't', now }
      for _, field in ipairs(entry[2]) do
        add[#add + 1] = field
      end
      redis.call(unpack(add))
    end
  end
end
if (what == 'retry' or what == 'release') and #entries > 0 then
  redis.call('ZADD', leases, '+inf', 'split:' .. lease)
end
if what == 'ack' or what == 'bury' then
  each({ 'XACK', stream, group }, entries, {})
  each({ 'XDEL', stream }, entries, {})
elseif what == 'retry' then
  -- Held by the moment at which they are ready again.
  local holder = 'at:' .. argument
  each({ 'XCLAIM', stream, group, holder, 0 }, entries, { 'JUSTID' })
  if #entries > 0 then
    redis.call('ZADD', leases, argument, holder)
  end
elseif what == 'release' then
  local counts = {}
  for _, one in ipairs(held) do
    local same = counts[one[2]] or {}
    same[#same + 1] = one[1]
    counts[one[2]] = same
  end
  for delivered, same in pairs(counts) do
    each({ 'XCLAIM', stream, group, 'free', 0 }, same, { 'RETRYCOUNT', delivered - 1, 'JUSTID' })
  end
end

finish()
return #held
