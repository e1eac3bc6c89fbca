-- ARGV: what to do (ack, retry, release), when a retry is due in milliseconds, and for
-- each lease: the lease, how many, the numbers, in order and each once.
-- Answers how many there were.
local what, due = ARGV[1], ARGV[2]
local count, at = 0, 3
while at <= #ARGV do
    local lease, many = ARGV[at], tonumber(ARGV[at + 1])
    local first, last = ARGV[at + 2], ARGV[at + 1 + many]
    local held = batch(lease)
    local whole = held and held.left == many and tonumber(first) == held.first
        and tonumber(last) == held.first + many - 1
        and redis.call('LLEN', held.list) == many
    if what == 'ack' and whole then
        forget(lease)
        count = count + many
    else
        for place = at + 2, at + 1 + many do
            local number = ARGV[place]
            local body, tries = claim(number, lease)
            if body then
                count = count + 1
                if what == 'retry' then
                    keep(number, body, tries)
                    redis.call('ZADD', own .. 'due', due, number)
                elseif what == 'release' then
                    keep(number, body, tries - 1)
                    redis.call('ZADD', own .. 'ready', number, number)
                end
            end
        end
    end
    at = at + 2 + many
end
settle()
return count
