-- Reads cells named by the changed index, and takes expired ones out of it.
-- KEYS: changed index, then the cells.
-- Reply: a string for every cell, empty when it is gone; what the client cannot read it passes over.

local reply = {}
for i = 2, #KEYS do
  local cell, problem, gone = read(KEYS[i])
  if problem then
    reply[#reply + 1] = 'v\n' .. problem
  elseif gone then
    redis.call('ZREM', KEYS[1], KEYS[i])
    reply[#reply + 1] = ''
  else
    reply[#reply + 1] = text(cell)
  end
end
return reply
