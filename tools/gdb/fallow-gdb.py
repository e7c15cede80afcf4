"""Arenas in gdb: of a live process or a core, without calling anything in it.

    (gdb) source fallow-gdb.py
    (gdb) fallow arenas          every arena of the process
    (gdb) fallow arena ADDRESS   one arena: what its pages are, range by range
    (gdb) fallow run ADDRESS     the run that an address lies in, or what is there instead

ADDRESS is any expression. Needs the library's debug information (-g). What is read, and what it means: src/arena.h for
arenas and parts, src/pages.c for the tree over the pages, src/chunk.h for the bits of 512 pages.
"""

import struct

import gdb

# src/pages.h, the order of fallow__page_state; and that of a node whose pages differ, exact or not.
STATES = ("not committed", "free, zero", "free, lazy", "free", "addresses", "in use", "addresses", "in use")
REST = (4, 5)
START = (6, 7)
FREE = (0, 1, 2, 3)
MIXED = 8
# src/pages.c
CHUNK_PAGES = 512
BLOCK_CHUNKS = 512
BLOCK_LEVEL = 3
CHILDREN_SHIFT = 3
PACKED_BITS = 20
LEAF_BITS = 9
RANGES_SHOWN = 200


def read(address, size_bytes):
    return bytes(gdb.selected_inferior().read_memory(address, size_bytes))


def size_text(size_bytes):
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size_bytes >= 1 << shift:
            return "%.4g %s" % (size_bytes / (1 << shift), unit)
    return "%d bytes" % size_bytes


class Part:
    """One reservation of an arena."""

    def __init__(self, arena, value):
        pages = value["pages"]
        self.shift = int(arena["page_shift"])
        self.base = int(value["base"])
        self.page_count = int(pages["page_count"])
        self.levels = int(pages["levels"])
        self.upper = int(pages["upper"])
        self.blocks = int(pages["blocks"])
        self.planes = int(pages["planes"])
        self.block_bytes = int(pages["block_bytes"])
        self.offsets = [int(pages["level_offset"][level]) for level in range(self.levels)]
        self.reserved = (int(value["region"]["base"]), int(value["region"]["size_bytes"]))
        out = arena["out"]
        is_out = int(out["count"]) != 0 and int(out["part"]) == int(value.address)
        first = int(out["first"])
        self.out = (first, first + int(out["count"])) if is_out else (0, 0)

    def address(self, page):
        return self.base + (page << self.shift)

    def holds(self, address):
        return self.base <= address < self.address(self.page_count)

    def node_state(self, level, index):
        if level > BLOCK_LEVEL:
            at = self.upper + self.offsets[level] + 32 * index
            return struct.unpack("=4Q", read(at, 32))[3]
        if level == BLOCK_LEVEL:
            at = self.upper + self.offsets[level] + 8 * index
        else:
            shift = CHILDREN_SHIFT * (BLOCK_LEVEL - level)
            block = self.blocks + (index >> shift) * self.block_bytes
            at = block + self.offsets[level] + (8 if level > 0 else 4) * (index & ((1 << shift) - 1))
            if level == 0:
                return struct.unpack("=I", read(at, 4))[0] >> (3 * LEAF_BITS + 1)
        return struct.unpack("=Q", read(at, 8))[0] >> (3 * PACKED_BITS)

    def chunk_pieces(self, index):
        at = self.planes + index // BLOCK_CHUNKS * self.block_bytes + index % BLOCK_CHUNKS * 3 * (CHUNK_PAGES // 8)
        words = struct.unpack("=24Q", read(at, 3 * (CHUNK_PAGES // 8)))
        for page in range(CHUNK_PAGES):
            word, bit = page // 64, page % 64
            used, mark, have = (words[plane * 8 + word] >> bit & 1 for plane in range(3))
            yield index * CHUNK_PAGES + page, 1, used << 2 | mark << 1 | have

    def pieces_below(self, level, index):
        """(first page, count, state), in order; what a node says of all its pages is not looked into."""
        pages = CHUNK_PAGES << (CHILDREN_SHIFT * level)
        first = index * pages
        if first >= self.page_count:
            return
        state = self.node_state(level, index)
        if state < MIXED:
            yield first, pages, state
        elif level == 0:
            yield from self.chunk_pieces(index)
        else:
            for child in range(1 << CHILDREN_SHIFT):
                yield from self.pieces_below(level - 1, (index << CHILDREN_SHIFT) + child)

    def ranges(self):
        """(first page, end, state): runs, and free pages of one state."""
        latest = None
        for first, count, state in self.pieces_below(self.levels - 1, 0):
            end = min(first + count, self.page_count)
            if first >= end:
                continue
            if state in START:  # of single pages each, if a node says so of many
                for page in range(first, end - 1):
                    if latest:
                        yield latest
                    latest = (page, page + 1, state)
                if latest:
                    yield latest
                latest = (end - 1, end, state)
            elif latest and (state == latest[2] or (state in REST and latest[2] not in FREE)):
                latest = (latest[0], end, latest[2])
            else:
                if latest:
                    yield latest
                latest = (first, end, state)
        if latest:
            yield latest

    def text(self, found):
        first, end, state = found
        is_out = self.out[0] <= first < self.out[1]
        what = "being given back" if is_out else STATES[state]
        if state in START and not is_out:
            what = "run, " + what
        return "%#x  %10s  %s" % (self.address(first), size_text((end - first) << self.shift), what)


def pointer_type():
    return gdb.lookup_type("struct fallow_arena").pointer()


def arenas():
    """Every listed arena: its address."""
    count = int(gdb.parse_and_eval("'arenas.c'::entry_count"))
    entries = gdb.parse_and_eval("'arenas.c'::entries")
    return [entries[index]["arena"] for index in range(count)]


def parts(arena):
    at = arena["oldest"]
    while int(at) != 0:
        yield Part(arena, at.dereference())
        at = at["next"]


def name_of(arena):
    name = arena["name"].string()
    return '"%s"' % name if name else "(no name)"


def kept_by_threads(arena):
    return "" if int(arena["caches"]["first"]) == 0 else "; some of the runs may be kept by threads, and free"


class Fallow(gdb.Command):
    """Look at arenas of the fallow library: fallow arenas, fallow arena ADDRESS, fallow run ADDRESS."""

    def __init__(self):
        super().__init__("fallow", gdb.COMMAND_DATA, prefix=True)


class Arenas(gdb.Command):
    """List every arena: fallow arenas."""

    def __init__(self):
        super().__init__("fallow arenas", gdb.COMMAND_DATA)

    def invoke(self, text, from_tty):
        for pointer in arenas():
            arena = pointer.dereference()
            states = [0] * 8
            reserved = 0
            at = arena["oldest"]
            while int(at) != 0:
                reserved += int(at["region"]["size_bytes"])
                states = [sum(pair) for pair in zip(states, (int(at["pages"]["state_pages"][s]) for s in range(8)))]
                at = at["next"]
            shift = int(arena["page_shift"])
            print("%#x  %s: %s reserved, %s in %d runs%s" % (
                int(pointer), name_of(arena), size_text(reserved), size_text(states[5] + states[7] << shift),
                states[6] + states[7], kept_by_threads(arena)))


class Arena(gdb.Command):
    """Show the pages of an arena, range by range: fallow arena ADDRESS."""

    def __init__(self):
        super().__init__("fallow arena", gdb.COMMAND_DATA)

    def invoke(self, text, from_tty):
        arena = gdb.parse_and_eval(text).cast(pointer_type()).dereference()
        print("%s, pages of %s%s" % (name_of(arena), size_text(int(arena["page_bytes"])), kept_by_threads(arena)))
        for part in parts(arena):
            print("reserved: %#x, %s; pages from %#x" % (part.reserved[0], size_text(part.reserved[1]), part.base))
            for shown, found in enumerate(part.ranges()):
                if shown == RANGES_SHOWN:
                    print("  and more")
                    break
                print("  " + part.text(found))


class Run(gdb.Command):
    """Find the run that an address lies in: fallow run ADDRESS."""

    def __init__(self):
        super().__init__("fallow run", gdb.COMMAND_DATA)

    def invoke(self, text, from_tty):
        address = int(gdb.parse_and_eval(text).cast(gdb.lookup_type("unsigned long")))
        for pointer in arenas():
            arena = pointer.dereference()
            for part in parts(arena):
                start, size_bytes = part.reserved
                if not start <= address < start + size_bytes:
                    continue
                where = "in arena %#x %s" % (int(pointer), name_of(arena))
                if not part.holds(address):
                    print("%#x: bookkeeping %s" % (address, where))
                    return
                page = (address - part.base) >> part.shift
                for found in part.ranges():
                    if found[0] <= page < found[1]:
                        print("%s; %#x is %d bytes into it, %s%s" % (
                            part.text(found), address, address - part.address(found[0]), where,
                            kept_by_threads(arena)))
                        return
        print("%#x: in no arena" % address)


Fallow()
Arenas()
Arena()
Run()
