#!lua flags=allow-oom
-- KEYS: stream, leases. ARGV: group. Makes the group if it is not there, before the
-- first entry; answers whether it had to. Deliveries of which no lease is known
-- (their key was evicted or removed) get one that has ended.
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if group[2] == ARGV[1] then
      local held = redis.call('XPENDING', KEYS[1], ARGV[1])[4]
      for _, holder in ipairs(held or {}) do
        if holder[1] ~= 'free' then
          redis.call('ZADD', KEYS[2], 'NX', 0, holder[1])
        end
      end
      return 0
    end
  end
end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
redis.call('DEL', KEYS[2])
return 1
