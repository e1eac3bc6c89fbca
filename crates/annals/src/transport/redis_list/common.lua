#!lua flags=allow-oom
-- A full Redis must be emptied all the same: what these scripts add, they take away
-- elsewhere.
--
-- KEYS: the application's list, and the beginning of our own keys' names:
--   seq      the number of the last event that was taken from the list
--   batch:L  list: what lease L took from it, in order; a settled one is GONE
--   batches  sorted set: leases with a batch, by the time when they end
--   info     hash: lease -> number of its first event, how many are left
--   kept     hash: number -> an event that is in no batch any more
--   tries    hash: number -> how often that one was received
--   holder   hash: number -> the lease that it is under, if it is
--   due      sorted set: numbers by the time when a lease ends or a retry is due
--   ready    sorted set: numbers that can be received now
--   failed   stream: what was buried
-- Numbers are texts here: Lua writes large ones otherwise.
local list, own = KEYS[1], KEYS[2]
local GONE = '\0annals'

local function text(number)
    return string.format('%.0f', number)
end

local function milliseconds()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What is known of a lease's batch, looked up once.
local known = {}
local function batch(lease)
    if known[lease] == nil then
        local info = redis.call('HGET', own .. 'info', lease)
        local first, left = string.match(info or '', '^(%d+) (%d+)$')
        known[lease] = first
            and { first = tonumber(first), left = tonumber(left), list = own .. 'batch:' .. lease }
    end
    return known[lease]
end

-- Takes an event from its lease; answers it and how often it was received, or nothing.
local function claim(number, lease)
    local held = batch(lease)
    if held and tonumber(number) >= held.first then
        local place = text(tonumber(number) - held.first)
        local body = redis.call('LINDEX', held.list, place)
        if body and body ~= GONE then
            redis.call('LSET', held.list, place, GONE)
            held.left = held.left - 1
            return body, 1
        end
    end
    if redis.call('HGET', own .. 'holder', number) ~= lease then
        return nil
    end
    local body = redis.call('HGET', own .. 'kept', number)
    local tries = tonumber(redis.call('HGET', own .. 'tries', number))
    redis.call('HDEL', own .. 'holder', number)
    redis.call('HDEL', own .. 'kept', number)
    redis.call('HDEL', own .. 'tries', number)
    redis.call('ZREM', own .. 'due', number)
    return body, tries
end

local function forget(lease)
    redis.call('UNLINK', own .. 'batch:' .. lease)
    redis.call('ZREM', own .. 'batches', lease)
    redis.call('HDEL', own .. 'info', lease)
    known[lease] = false
end

-- Writes down what is left of the batches that events were claimed from.
local function settle()
    for lease, held in pairs(known) do
        if held and held.left <= 0 then
            forget(lease)
        elseif held then
            redis.call('HSET', own .. 'info', lease, text(held.first) .. ' ' .. text(held.left))
        end
    end
end

local function keep(number, body, tries)
    redis.call('HSET', own .. 'kept', number, body)
    redis.call('HSET', own .. 'tries', number, text(tries))
end
