-- Adds a router's counts to a canary's trial, once per flush, and tells what all routers counted.
-- KEYS: the trial, the stopped candidates. ARGV: seconds to keep the trial, writer, number of its flush,
-- candidate, then names and values. Reply: why the candidate was stopped (empty if it was not), then names and
-- values of the trial.

local writer = 'writer:' .. ARGV[2]
local number = tonumber(ARGV[3])
if number > tonumber(redis.call('HGET', KEYS[1], writer) or '0') and #ARGV > 4 then
  redis.call('HSET', KEYS[1], writer, ARGV[3])
  for i = 5, #ARGV, 2 do
    -- What is no number is damaged, and must not keep the rest from being counted.
    if type(redis.pcall('HINCRBYFLOAT', KEYS[1], ARGV[i], ARGV[i + 1])) == 'table' then
      redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
  end
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, redis.call('HGET', KEYS[2], ARGV[4]) or '')
return reply
