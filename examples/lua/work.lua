-- Work of every kind that asks for memory: strings, tables that grow and shrink, sorting, closures, coroutines. It
-- prints what it worked out, which does not depend on where memory comes from.
local seed = 42
local function random(n) -- the same numbers everywhere
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed // 65536 % n
end

local text = {}
for i = 1, 40000 do
  local word = {}
  for j = 1, 1 + random(9) do word[j] = string.char(97 + random(26)) end
  text[i] = table.concat(word)
end
text = table.concat(text, " ")

local counts, words = {}, {}
for word in text:gmatch("%a+") do
  if not counts[word] then counts[word] = 0; words[#words + 1] = word end
  counts[word] = counts[word] + 1
end
table.sort(words, function(a, b)
  if counts[a] ~= counts[b] then return counts[a] > counts[b] end
  return a < b
end)
print(#text, #words, words[1], counts[words[1]], words[#words])

local function primes(n)
  return coroutine.wrap(function()
    local composite = {}
    for i = 2, n do
      if not composite[i] then
        coroutine.yield(i)
        for j = i * i, n, i do composite[j] = true end
      end
    end
  end)
end
local sum = 0
for prime in primes(200000) do sum = sum + prime end
print(sum)

local tree
local function insert(node, key)
  if not node then return { key = key } end
  if key < node.key then node.left = insert(node.left, key)
  elseif key > node.key then node.right = insert(node.right, key) end
  return node
end
for _ = 1, 20000 do tree = insert(tree, random(30000)) end
local function walk(node, depth)
  if not node then return 0, depth end
  local left, deepest = walk(node.left, depth + 1)
  local right, other = walk(node.right, depth + 1)
  return left + right + 1, math.max(deepest, other)
end
print(walk(tree, 0))

local long = "fallow"
for _ = 1, 16 do long = long .. long:reverse() end
print(#long, long:sub(1000, 1012), select(2, long:gsub("fallow", "")))
