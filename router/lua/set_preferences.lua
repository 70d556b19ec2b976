-- Sets one tenant's preferences, if they are still what the writer has seen and there is room.
-- KEYS: the preferences, their version. ARGV: tenant, expected text, new text (empty texts are no preferences),
-- new version, most tenants. Reply: one word, done, changed or full.

local kept = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if kept ~= ARGV[2] then return {'changed'} end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  if kept == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then return {'full'} end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
redis.call('SET', KEYS[2], ARGV[4])
return {'done'}
