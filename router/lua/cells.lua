-- Shared by every script: how a cell's hash is read, written and announced.
-- Fields: v (version), t (unix seconds the counters stand at), e (drift epoch),
-- c:<name> (counters that decay), l:<name> (lifetime totals that do not).

local VERSION = '1'

local function number(text)
  local value = tonumber(text)
  if value == nil or value ~= value or value == math.huge or value == -math.huge then return nil end
  return value
end

local function read(key)
  local flat = redis.pcall('HGETALL', key)
  if flat.err then return nil, 'it is not a hash' end
  local cell = {}
  for i = 1, #flat, 2 do cell[flat[i]] = flat[i + 1] end
  if #flat > 0 and cell.v ~= VERSION then
    return nil, 'record version ' .. (cell.v or 'missing') .. ', known is ' .. VERSION
  end
  return cell, nil, #flat == 0
end

-- All cells or an error that names those which cannot be read (positions in KEYS), before anything is written.
local function read_all(first)
  local cells, refused, why = {}, {}, nil
  for i = first, #KEYS do
    local cell, problem = read(KEYS[i])
    if problem then
      refused[#refused + 1] = tostring(i - first)
      why = problem
    end
    cells[i] = cell
  end
  if #refused > 0 then
    return nil, redis.error_reply('SPECROUTEVERSION ' .. table.concat(refused, ',') .. ' ' .. why)
  end
  return cells
end

-- One string a cell: the client's parser would be slow over tens of thousands of small replies.
local function text(cell)
  local words = {}
  for field, value in pairs(cell) do
    words[#words + 1] = field
    words[#words + 1] = value
  end
  return table.concat(words, '\n')
end

-- Counters times factor, in place; fields that are no numbers leave.
local function scale(key, cell, factor)
  for field, value in pairs(cell) do
    local kind = string.sub(field, 1, 2)
    if kind == 'c:' or kind == 'l:' then
      local parsed = number(value)
      if parsed == nil then
        cell[field] = nil
        redis.call('HDEL', key, field)
      elseif kind == 'c:' and factor ~= 1 then
        cell[field] = string.format('%.17g', parsed * factor)
      end
    end
  end
end

local function write(key, cell, ttl)
  local flat = {}
  for field, value in pairs(cell) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
    if #flat >= 1000 then -- unpack has a limit
      redis.call('HSET', key, unpack(flat))
      flat = {}
    end
  end
  if #flat > 0 then redis.call('HSET', key, unpack(flat)) end
  redis.call('EXPIRE', key, ttl)
end

-- Every change gets its own sequence number, so a reader may stop between any two.
local function announce(changed, sequence, incarnation, keys, ttl)
  redis.call('HSETNX', sequence, 'incarnation', incarnation)
  local last = redis.call('HINCRBY', sequence, 'n', #keys)
  local flat = {}
  for i, key in ipairs(keys) do
    flat[#flat + 1] = string.format('%.0f', last - #keys + i)
    flat[#flat + 1] = key
    if #flat >= 1000 then
      redis.call('ZADD', changed, unpack(flat))
      flat = {}
    end
  end
  if #flat > 0 then redis.call('ZADD', changed, unpack(flat)) end
  redis.call('EXPIRE', changed, ttl)
  redis.call('EXPIRE', sequence, ttl)
end
