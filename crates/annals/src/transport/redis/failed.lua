#!lua flags=allow-oom
-- KEYS: stream, failed. ARGV: what to do, the entry to look after, entries at most,
-- the ids of events (none for all).
-- Revives or removes those among so many entries; answers how many, and the entry
-- to go on after, or '' at the end.
local stream, failed = KEYS[1], KEYS[2]
local wanted
if #ARGV > 3 then
  wanted = {}
  for i = 4, #ARGV do
    wanted[ARGV[i]] = true
  end
end
local most = tonumber(ARGV[3])
local page = redis.call('XRANGE', failed, ARGV[2], '+', 'COUNT', most)
local done = 0
for _, entry in ipairs(page) do
  -- Reason, attempts and time stand before what the event came with.
  local add, id = { 'XADD', stream, '*' }, ''
  for i = 7, #entry[2], 2 do
    add[#add + 1] = entry[2][i]
    add[#add + 1] = entry[2][i + 1]
    if entry[2][i] == 'i' then
      id = entry[2][i + 1]
    end
  end
  if not wanted or wanted[id] then
    if ARGV[1] == 'revive' then
      redis.call(unpack(add))
    end
    redis.call('XDEL', failed, entry[1])
    done = done + 1
  end
end
return { done, #page == most and '(' .. page[#page][1] or '' }
