-- Adds what a router counted for the savings report, once per flush: to the hour's hash and to the day's.
-- KEYS: the writer's last flush, then an hour's and its day's key for each hour.
-- ARGV: number of the flush, seconds to keep it, an hour and a day; most tenants with a name of their own,
--       then for every cell: which hour (from 1), when its first request came, tenant ('' for the others),
--       1 if an operator's file names the tenant, its group and task, its row of numbers.
-- Reply: 1 if it was added, 0 if it had been before.

local function sum(before, row)
  local known = {}
  for word in string.gmatch(before or '', '%S+') do known[#known + 1] = tonumber(word) or 0 end
  local numbers, count = {}, 0
  for word in string.gmatch(row, '%S+') do
    count = count + 1
    numbers[count] = string.format('%.17g', (known[count] or 0) + tonumber(word))
  end
  -- A row of another length was not written by this version: it cannot be added to.
  if #known > 0 and #known ~= count then return row end
  return table.concat(numbers, ' ')
end

-- The tenant's own name, where it has a place in this hash: the same for all its requests there.
local function place(key, tenant, named, most)
  if tenant == '' or redis.call('HEXISTS', key, 't:' .. tenant) == 1 then return tenant end
  if named ~= '1' then
    if (tonumber(redis.call('HGET', key, 'tenants') or '0') or 0) >= most then return '' end
    redis.call('HSET', key, 'tenants', (tonumber(redis.call('HGET', key, 'tenants') or '0') or 0) + 1)
  end
  redis.call('HSET', key, 't:' .. tenant, '')
  return tenant
end

local number, kept, most = ARGV[1], ARGV[2], tonumber(ARGV[5])
if tonumber(number) <= (tonumber(redis.call('GET', KEYS[1]) or '0') or 0) then return { 0 } end
redis.call('SET', KEYS[1], number, 'EX', kept)

for i = 6, #ARGV, 6 do
  local hour, began, tenant, named, cell, row = unpack(ARGV, i, i + 5)
  for span = 0, 1 do
    local key = KEYS[2 * tonumber(hour) + span]
    if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
    local field = cell .. ':' .. place(key, tenant, named, most)
    redis.call('HSET', key, field, sum(redis.call('HGET', key, field), row))
    local first = tonumber(redis.call('HGET', key, 'began') or '')
    if first == nil or tonumber(began) < first then redis.call('HSET', key, 'began', began) end
    redis.call('EXPIRE', key, ARGV[3 + span])
  end
end
return { 1 }
