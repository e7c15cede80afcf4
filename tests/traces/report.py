import json, random, zlib
random.seed(2026)
rows = [{"id": i, "tag": "t%d" % (i * 7919 % 997), "text": "x" * (i % 700), "xs": list(range(i % 90))} for i in range(20000)]
text = json.dumps(rows)
packed = zlib.compress(text.encode(), 6)
back = json.loads(zlib.decompress(packed))
groups = {}
for row in back:
    groups.setdefault(row["tag"], []).append(row)
for step in range(300):
    buffer = bytearray()
    for _ in range(60):
        buffer += b"y" * random.randrange(100, 60000)
    groups["t%d" % random.randrange(997)] = [bytes(buffer[: random.randrange(1, len(buffer))])]
table = [[0.0] * random.randrange(300, 5000) for _ in range(1500)]
for _ in range(6000):
    table[random.randrange(1500)] = [1.0] * random.randrange(300, 20000)
lookup = {}
for i in range(400000):
    lookup[i * 2654435761 % 2**32] = i
    if i % 3 == 0:
        lookup.pop(next(iter(lookup)))
print(len(text), len(packed), len(groups), sum(map(len, table)), len(lookup))
