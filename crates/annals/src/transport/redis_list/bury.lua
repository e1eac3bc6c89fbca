-- ARGV: now in microseconds, and for each event: its number, its lease, why.
-- Answers how many there were.
local count = 0
for at = 2, #ARGV, 3 do
    local body, tries = claim(ARGV[at], ARGV[at + 1])
    if body then
        local number = redis.call('INCR', own .. 'failures')
        redis.call('XADD', own .. 'failed', text(number) .. '-0',
            'body', body, 'reason', ARGV[at + 2], 'attempts', text(tries), 'at', ARGV[1])
        count = count + 1
    end
end
settle()
return count
