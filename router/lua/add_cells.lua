-- Adds deltas to many cells, once per flush.
-- KEYS: changed index, sequence, the writer's last flush, then the cells.
-- ARGV: now, ttl, flush number, incarnation for an empty store, seconds a clock may run ahead, then for every
--       cell: half-life, number of words, field, value, field, value …
-- Reply: a string for every cell.

local cells, refusal = read_all(4)
if refusal then return refusal end

local now, ttl, flush = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local reply = {}

if flush <= (number(redis.call('GET', KEYS[3]) or '0') or 0) then
  for i = 4, #KEYS do reply[#reply + 1] = text(cells[i]) end
  return reply
end
redis.call('SET', KEYS[3], ARGV[3], 'EX', ttl)

-- One router whose clock runs hours ahead would otherwise age the evidence of all of them.
local latest = tonumber(redis.call('TIME')[1]) + tonumber(ARGV[5])
if now > latest then now = latest end

local position, changed = 6, {}
for i = 4, #KEYS do
  local key, cell = KEYS[i], cells[i]
  local half_life, words = tonumber(ARGV[position]), tonumber(ARGV[position + 1])
  position = position + 2
  local stood = number(cell.t or '')
  local old = 1
  if stood == nil then
    old = 0 -- a new cell, or counters of unknown age
    stood = now
  elseif stood > latest then
    stood = latest
  end
  local at = math.max(stood, now)
  if old == 1 then old = 2 ^ (-(at - stood) / half_life) end
  local new = 2 ^ (-(at - now) / half_life)
  scale(key, cell, old)
  for w = position, position + words - 2, 2 do
    local field = ARGV[w]
    if string.sub(field, 1, 2) == 'c:' then
      cell[field] = string.format('%.17g', (number(cell[field] or '0') or 0) + tonumber(ARGV[w + 1]) * new)
    else
      cell[field] = string.format('%.0f', (number(cell[field] or '0') or 0) + tonumber(ARGV[w + 1]))
    end
  end
  position = position + words
  cell.v = VERSION
  cell.t = string.format('%.17g', at)
  cell.e = string.format('%.0f', number(cell.e or '0') or 0)
  write(key, cell, ttl)
  changed[#changed + 1] = key
  reply[#reply + 1] = text(cell)
end
announce(KEYS[1], KEYS[2], ARGV[4], changed, ttl)
return reply
