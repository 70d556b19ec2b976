-- Makes a policy version the current one, if the current one is the expected one.
-- KEYS: policy, history, texts. ARGV: layout version, expected line ('' for no version), expected number, expected
--       id, how many versions are kept, the new version's revision, its text, its entry in the history, then field,
--       value … of it.
-- Reply: {'', 1 or 0}; {layout} when the stored one is of another layout. Nothing here expires.

local flat = redis.pcall('HMGET', KEYS[1], 'v', 'line', 'n', 'id')
if flat.err then return {'not a hash'} end
if flat[1] and flat[1] ~= ARGV[1] then return {flat[1]} end
if not flat[1] and redis.call('EXISTS', KEYS[1]) == 1 then return {'missing'} end
if (flat[2] or '') ~= ARGV[2] or (flat[3] or '0') ~= ARGV[3] or (flat[4] or '') ~= ARGV[4] then
  return {'', 0}
end

redis.call('HSET', KEYS[1], 'v', ARGV[1], 'revision', ARGV[6], 'text', ARGV[7], unpack(ARGV, 9))
redis.call('HSET', KEYS[3], ARGV[6], ARGV[7])
-- An entry begins with its revision, so that a text leaves with the last version that has it.
redis.call('LPUSH', KEYS[2], ARGV[6] .. ' ' .. ARGV[8])
while redis.call('LLEN', KEYS[2]) > tonumber(ARGV[5]) do
  local revision = string.match(redis.call('RPOP', KEYS[2]), '^%S*')
  local kept = false
  for _, entry in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
    if string.match(entry, '^%S*') == revision then kept = true end
  end
  if not kept then redis.call('HDEL', KEYS[3], revision) end
end
return {'', 1}
