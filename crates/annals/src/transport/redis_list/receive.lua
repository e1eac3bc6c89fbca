-- ARGV: events, bytes, the lease's length in milliseconds, the lease.
-- Answers the number of the first event from the list, those, and for each other
-- one its number, how often it was received, and it.
local wanted, room, lease = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[4]
local now = milliseconds()
local until_ = text(now + tonumber(ARGV[3]))

-- Batches of workers that are gone.
for _, ended in ipairs(redis.call('ZRANGEBYSCORE', own .. 'batches', '-inf', text(now), 'LIMIT', 0, 8)) do
    local held = batch(ended)
    if held then
        for place, body in ipairs(redis.call('LRANGE', held.list, 0, -1)) do
            if body ~= GONE then
                local number = text(held.first + place - 1)
                keep(number, body, 1)
                redis.call('ZADD', own .. 'ready', number, number)
            end
        end
    end
    forget(ended)
end
for _, number in ipairs(redis.call('ZRANGEBYSCORE', own .. 'due', '-inf', text(now), 'LIMIT', 0, 1000)) do
    redis.call('ZREM', own .. 'due', number)
    redis.call('HDEL', own .. 'holder', number)
    redis.call('ZADD', own .. 'ready', number, number)
end

local again = {}
for _, number in ipairs(redis.call('ZRANGE', own .. 'ready', 0, wanted - 1)) do
    if room <= 0 then
        break
    end
    local body = redis.call('HGET', own .. 'kept', number)
    redis.call('ZREM', own .. 'ready', number)
    redis.call('ZADD', own .. 'due', until_, number)
    redis.call('HSET', own .. 'holder', number, lease)
    again[#again + 1] = { number, redis.call('HINCRBY', own .. 'tries', number, 1), body }
    room = room - #body
end

-- A hundred at a time, so that few large ones are not read for nothing.
local fresh, left = {}, wanted - #again
while left > 0 and room > 0 do
    local part = redis.call('LRANGE', list, #fresh, #fresh + math.min(left, 100) - 1)
    for _, body in ipairs(part) do
        if room <= 0 then
            break
        end
        fresh[#fresh + 1] = body
        room = room - #body
        left = left - 1
    end
    if #part < 100 then
        break
    end
end
local first = 0
if #fresh > 0 then
    first = redis.call('INCRBY', own .. 'seq', #fresh) - #fresh + 1
    for from = 1, #fresh, 1000 do
        redis.call('RPUSH', own .. 'batch:' .. lease, unpack(fresh, from, math.min(from + 999, #fresh)))
    end
    redis.call('LTRIM', list, #fresh, -1)
    redis.call('ZADD', own .. 'batches', until_, lease)
    redis.call('HSET', own .. 'info', lease, text(first) .. ' ' .. #fresh)
end
return { text(first), fresh, again }
