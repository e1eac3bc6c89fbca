#!lua
-- KEYS: stream. ARGV: event id, body, and so on.
-- Refused as a whole when memory is full, before anything is added.
-- An entry is named by its millisecond; the microseconds go into the number behind
-- it, where nothing newer is there already.
local time = redis.call('TIME')
local millis = math.floor((time[1] * 1000000 + time[2]) / 1000)
local number = time[2] % 1000 * 1000000
local first = redis.pcall('XADD', KEYS[1], string.format('%.0f-%.0f', millis, number), 'i', ARGV[1], 'b', ARGV[2])
if type(first) == 'table' then
  redis.call('XADD', KEYS[1], '*', 'i', ARGV[1], 'b', ARGV[2])
end
for i = 3, #ARGV, 2 do
  redis.call('XADD', KEYS[1], '*', 'i', ARGV[i], 'b', ARGV[i + 1])
end
