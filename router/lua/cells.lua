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

-- The cell's numbers as numbers, counters times factor; fields that are no numbers leave.
local function scale(key, cell, factor)
  for field, value in pairs(cell) do
    local kind = string.sub(field, 1, 2)
    if kind == 'c:' or kind == 'l:' then
      local parsed = number(value)
      if parsed == nil then
        redis.call('HDEL', key, field)
      elseif kind == 'c:' then
        parsed = parsed * factor
      end
      cell[field] = parsed
    end
  end
end

-- field, value, field, value … ; 17 digits read back exactly, and integers up to 2^53 are written plainly.
local function flat(cell)
  local words, n = {}, 0
  for field, value in pairs(cell) do
    if type(value) == 'number' then value = string.format('%.17g', value) end
    words[n + 1], words[n + 2] = field, value
    n = n + 2
  end
  return words
end

-- One string a cell: the client's parser would be slow over tens of thousands of small replies.
local function text(cell)
  return table.concat(flat(cell), '\n')
end

-- Calls command(key, words …) in pieces, because unpack has a limit.
local function call_with(command, key, words)
  for first = 1, #words, 1000 do
    redis.call(command, key, unpack(words, first, math.min(first + 999, #words)))
  end
end

-- Stores the cell; its text.
local function write(key, cell, ttl)
  local words = flat(cell)
  call_with('HSET', key, words)
  redis.call('EXPIRE', key, ttl)
  return table.concat(words, '\n')
end

-- Every change gets its own sequence number, so a reader may stop between any two.
local function announce(changed, sequence, incarnation, keys, ttl)
  redis.call('HSETNX', sequence, 'incarnation', incarnation)
  local last = redis.call('HINCRBY', sequence, 'n', #keys)
  local words = {}
  for i, key in ipairs(keys) do
    words[#words + 1] = string.format('%.0f', last - #keys + i)
    words[#words + 1] = key
  end
  call_with('ZADD', changed, words)
  redis.call('EXPIRE', changed, ttl)
  redis.call('EXPIRE', sequence, ttl)
end
