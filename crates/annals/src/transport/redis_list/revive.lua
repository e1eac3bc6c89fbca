-- ARGV: whether they go back to the list (1 or 0), and the numbers among the failed.
-- Answers how many there were.
local count = 0
for at = 2, #ARGV do
    local id = ARGV[at] .. '-0'
    local found = redis.call('XRANGE', own .. 'failed', id, id)
    if found[1] then
        if ARGV[1] == '1' then
            redis.call('RPUSH', list, found[1][2][2])
        end
        redis.call('XDEL', own .. 'failed', id)
        count = count + 1
    end
end
return count
