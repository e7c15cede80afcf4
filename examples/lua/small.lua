-- A little of everything, for the test that raises the limit a page at a time.
local list = {}
for i = 1, 2000 do list[i] = ("%05d"):format(i * 7919 % 10007) end
table.sort(list)
local joined = table.concat(list)
assert(#joined == 10000 and list[1] < list[2])
local step = coroutine.wrap(function() for i = 1, 100 do coroutine.yield({ i, tostring(i):rep(50) }) end end)
for i = 1, 100 do assert(#step()[2] == 50 * #tostring(i)) end
