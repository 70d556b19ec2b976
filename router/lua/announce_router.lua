-- A router tells that it lives, and hears what the current policy version is.
-- KEYS: policy, routers. ARGV: layout version, router id, number of its file, its report, seconds until a silent
--       router counts as gone, seconds until it is forgotten.
-- Reply: {'', line, number, id, routers beside this one, those of them whose file is the last one}; line is ''
--        when no version is stored. {layout} when the policy is of another layout.

local flat = redis.pcall('HMGET', KEYS[1], 'v', 'line', 'n', 'id', 'file_number')
if flat.err then return {'not a hash'} end
if flat[1] and flat[1] ~= ARGV[1] then return {flat[1]} end
if not flat[1] and redis.call('EXISTS', KEYS[1]) == 1 then return {'missing'} end

local now, others, backers = tonumber(redis.call('TIME')[1]), 0, 0
redis.call('HSET', KEYS[2], ARGV[2], now .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
redis.call('EXPIRE', KEYS[2], tonumber(ARGV[6]))
local reports = redis.call('HGETALL', KEYS[2])
for i = 1, #reports, 2 do
  local at, file = string.match(reports[i + 1], '^(%d+) (%d+) ')
  local age = at and math.abs(now - tonumber(at))
  if age == nil or age > tonumber(ARGV[6]) then
    redis.call('HDEL', KEYS[2], reports[i])
  elseif reports[i] ~= ARGV[2] and age <= tonumber(ARGV[5]) then
    others = others + 1
    if file == flat[5] then backers = backers + 1 end
  end
end
return {'', flat[2] or '', flat[3] or '0', flat[4] or '', others, backers}
