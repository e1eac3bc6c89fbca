-- Answers how many are ready, leased, failed, and some of the oldest.
local now = milliseconds()
local ready = redis.call('LLEN', list) + redis.call('ZCARD', own .. 'ready')
    + redis.call('ZCOUNT', own .. 'due', '-inf', text(now))
local leased = redis.call('ZCOUNT', own .. 'due', '(' .. text(now), '+inf')
local oldest = {}
for _, lease in ipairs(redis.call('ZRANGE', own .. 'batches', 0, 999)) do
    local held = batch(lease)
    local ends = tonumber(redis.call('ZSCORE', own .. 'batches', lease))
    if held and ends <= now then
        ready = ready + held.left
    elseif held then
        leased = leased + held.left
    end
    if held and #oldest < 16 then
        oldest[#oldest + 1] = redis.call('LINDEX', held.list, 0)
    end
end
local waiting = redis.call('ZRANGE', own .. 'ready', 0, 0)[1]
if waiting then
    oldest[#oldest + 1] = redis.call('HGET', own .. 'kept', waiting)
end
local first = redis.call('LINDEX', list, 0)
if first then
    oldest[#oldest + 1] = first
end
return { ready, leased, redis.call('XLEN', own .. 'failed'), oldest }
