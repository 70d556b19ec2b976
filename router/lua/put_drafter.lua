-- Notes which drafter a profile's evidence is of, and tells the one that was noted before.
-- KEYS: the profile's. ARGV: the drafter, ttl. Reply: the one before, an empty string when there was none.

local before = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return {before or ''}
