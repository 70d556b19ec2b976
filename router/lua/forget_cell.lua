-- Cuts the weight of a cell's evidence, if its epoch is still the expected one.
-- KEYS: changed index, sequence, the cell. ARGV: ttl, expected epoch, factor, incarnation for an empty store.
-- Reply: 1 or 0, and the cell (an empty string when there is none).

local cells, refusal = read_all(3)
if refusal then return refusal end

local key, cell, ttl = KEYS[3], cells[3], tonumber(ARGV[1])
if cell.v == nil then return {0, ''} end
if (number(cell.e or '0') or 0) ~= tonumber(ARGV[2]) then return {0, text(cell)} end
scale(key, cell, tonumber(ARGV[3]))
cell.e = tonumber(ARGV[2]) + 1
local written = write(key, cell, ttl)
announce(KEYS[1], KEYS[2], ARGV[4], {key}, ttl)
return {1, written}
