-- Never has enough. Errors inside can be caught like any other; then it asks for too much and does not catch it.
local ok, message = pcall(string.rep, "x", 1 << 29)
print(ok, message)
local kept = {}
ok, message = pcall(function()
  while true do kept[#kept + 1] = { #kept } end
end)
local held = #kept
kept = nil
print(ok, message, held > 100000)
local hoard = {}
while true do hoard[#hoard + 1] = ("x"):rep(1000) .. #hoard end
