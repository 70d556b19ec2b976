-- Adds deltas to many cells, once per flush.
-- KEYS: changed index, sequence, the writer's last flush, then the cells.
-- ARGV: now, ttl, flush number, incarnation for an empty store, seconds a clock may run ahead, then a text for
--       every cell: half-life, field, value, field, value …, one a line.
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

local changed = {}
for i = 4, #KEYS do
  local key, cell = KEYS[i], cells[i]
  local head, fields = string.match(ARGV[i + 2], '^([^\n]+)(.*)$')
  local half_life = tonumber(head)
  local stood, kept = number(cell.t or ''), 1
  if stood == nil then -- a new cell, or counters of unknown age
    stood, kept = now, 0
  elseif stood > latest then
    stood = latest
  end
  local at = math.max(stood, now)
  scale(key, cell, kept * 2 ^ (-(at - stood) / half_life))
  local late = 2 ^ (-(at - now) / half_life)
  for kind, name, value in string.gmatch(fields, '\n(.:)([^\n]+)\n([^\n]+)') do
    local field, addend = kind .. name, tonumber(value)
    if kind == 'c:' then addend = addend * late end
    cell[field] = (cell[field] or 0) + addend
  end
  cell.v, cell.t, cell.e = VERSION, at, number(cell.e or '0') or 0
  reply[#reply + 1] = write(key, cell, ttl)
  changed[#changed + 1] = key
end
announce(KEYS[1], KEYS[2], ARGV[4], changed, ttl)
return reply
