/* The page allocator: bitmaps under a lazily updated tree of summaries.
 *
 * Bitmaps. Every page has a state of three bits (pages.h). 512 pages make a *chunk*: three planes of 512 bits, each one
 * cache line (chunk.h).
 *
 * Tree. Above the chunks stands a tree with eight children to a node. A node says of its pages: how many are free at
 * its start, the longest free run in it, how many are free at its end. A search for a run goes from the root to the one
 * place where it fits, and looks at no more than eight nodes on each level: a run lies wholly inside a child, or it
 * straddles children and shows in their ends and starts.
 *
 *      level 9                       root: one node, as high as the arena needs
 *      ...        +-------+-------+--
 *      level 3    | block | block |     one node for each block of 512 chunks          } upper storage
 *      ------------------------------------------------------------------------------
 *      level 2      8 nodes in a block, 64 chunks each                                 } block storage:
 *      level 1     64 nodes in a block,  8 chunks each                                 } accessible only
 *      level 0    512 nodes in a block, one for each chunk                             } where runs have
 *      chunks     512 chunks in a block: planes used, mark, have                       } been
 *
 * Lazy in space: uniform nodes. A node with a `state` other than MIXED says that all its pages are in that state, and
 * what lies below it is old: never read, perhaps never written. Before a part of it changes it is *opened*: its state
 * is written into its eight children (or its chunk's planes), and it becomes MIXED. So a change of any length writes
 * the nodes along two paths, from the root to its two ends, and an empty arena is a single node.
 *
 * Lazy in time: stale chunks. A run that is freed raises what the nodes above it say, at once, as far as they say less:
 * mostly not even the lowest does. A run that is taken changes its chunk's planes only, and the chunk becomes *stale*:
 * its node may promise more than there is. So a node never promises too little. A search goes by the promises and looks
 * at the planes in the end; where they do not keep what was promised, it *settles* the chunk, which is summarised and
 * passed upward as far as something changes, and searches again. What a taking has left undone is made up for once
 * at most, and often it is freed again before anybody asks.
 *
 * Fits. Most runs are short, and for those up to 64 pages there is something quicker than the tree: a byte for each
 * word of 64 pages, and lines of bytes over one another (fits.h). Bytes of words, too, promise: a taking leaves them as
 * they are, a freeing raises them, and a search that finds less in the planes settles that one word. What stands above
 * the words is exact. What is open is marked there, for both.
 *
 * Bounds. For each size class one fact: no free run of so many pages starts in a word (64 pages) below the bound.
 * Raised when a search has shown it, lowered when a free makes a longer run. A request starts at its bound. One that
 * nothing can satisfy is refused by its bound.
 *
 * Invariants, checked by fallow__pages_verify:
 *   1. A node that is MIXED has valid children; a chunk whose node is MIXED or STALE has valid planes.
 *   2. A MIXED node's summary is that of its children or planes; a STALE one's (chunks only) is nowhere less.
 *   3. Pages behind page_count are START_NONE: used, and the end of whatever run is before them. They are not counted.
 *   4. A REST page follows a used page.
 *   5. state_pages counts the pages of each state; bounds are lower bounds.
 *   6. A chunk in `busy` has valid planes, and is stale.
 *   7. A word's byte lacks nowhere more than the word; a byte above lacks what the best one below it does. OPEN is set
 *      for words whose chunk, groups of 64 words whose node (level 1) and blocks whose node is MIXED, and no node above
 *      them is uniform. What is not open lacks nothing if it is free, and everything if it is used. */
#include "pages.h"

#include <assert.h>
#include <string.h>

#include "bits.h"
#include "check.h"
#include "chunk.h"
#include "fits.h"

enum {
    CHILDREN = 8,
    CHILDREN_SHIFT = 3,
    CHUNK_SHIFT = 9, /* log2 of FALLOW__CHUNK_PAGES */
    BLOCK_LEVEL = 3, /* the level at which a node stands for a block */
    BLOCK_CHUNKS = 512,
    STALE = MIXED + 1 /* a chunk's node: MIXED, but may promise more than there is */
};

static_assert(FALLOW__CHUNK_PAGES == 1 << CHUNK_SHIFT, "a chunk is 512 pages");
static_assert(FALLOW__BLOCK_PAGES == (uint64_t)BLOCK_CHUNKS << CHUNK_SHIFT, "a block is 512 chunks");
static_assert(BLOCK_CHUNKS == 1 << (BLOCK_LEVEL * CHILDREN_SHIFT), "a block is one node at BLOCK_LEVEL");
static_assert(FALLOW__PAGES_MAX == (uint64_t)FALLOW__CHUNK_PAGES << (CHILDREN_SHIFT * (FALLOW__PAGES_LEVELS_MAX - 1)),
              "the tree can be as high as the largest arena needs");
static_assert(FALLOW__SIZE_CLASSES == 8 + 2 * 33, "classes end at 2^36 pages");
static_assert((int)CHILDREN * WORDS == (int)FITS_BYTES, "a group, which is a node at level 1, is a line of words");
static_assert((int)BLOCK_CHUNKS * WORDS == (int)FITS_BYTES * FITS_BYTES, "a block is a line of groups");
static_assert(FALLOW__PAGES_MAX / 64 == (uint64_t)1 << (FALLOW__FITS_LEVELS_MAX * FITS_SHIFT),
              "the largest arena's fits");

/* A node is stored in as little as it needs, so that siblings lie close together.
 *
 * Level 0, in 32 bits: 9 each for start, max and end, 1 that says that all three are 512, which none of them is alone,
 * 4 for the state; without one that is MIXED the others say nothing. Levels 1 to 3, in 64: 20 bits each for start, max
 * and end (a level 3 node has 2^18 pages), 4 for the state. Above: */
typedef struct wide_node {
    uint64_t start;
    uint64_t max;
    uint64_t end;
    uint64_t state;
} wide_node;

enum {
    PACKED_BITS = 20,
    LEAF_BITS = 9,
    LEAF_IS_ALL = 1 << (3 * LEAF_BITS)
};
#define PACKED_MASK (((uint64_t)1 << PACKED_BITS) - 1)
#define LEAF_MASK (((uint32_t)1 << LEAF_BITS) - 1)

/* --- sizes and places -------------------------------------------------------------------------------------- */

static inline uint64_t level_pages(unsigned level)
{
    return (uint64_t)FALLOW__CHUNK_PAGES << (CHILDREN_SHIFT * level);
}

static inline uint64_t pages_capacity(const fallow__pages *pages)
{
    return level_pages(pages->levels - 1);
}

static inline chunk *chunk_place(const fallow__pages *pages, uint64_t chunk_index)
{
    unsigned char *planes = pages->planes + chunk_index / BLOCK_CHUNKS * pages->block_bytes;
    return (chunk *)(void *)planes + chunk_index % BLOCK_CHUNKS;
}

static inline uint64_t *packed_place(const fallow__pages *pages, unsigned level, uint64_t index)
{
    if (level == BLOCK_LEVEL) {
        return (uint64_t *)(void *)(pages->upper + pages->level_offset[level]) + index;
    }
    unsigned shift = CHILDREN_SHIFT * (BLOCK_LEVEL - level);
    unsigned char *block = pages->blocks + (index >> shift) * pages->block_bytes;
    return (uint64_t *)(void *)(block + pages->level_offset[level]) + (index & (((uint64_t)1 << shift) - 1));
}

static inline uint32_t *leaf_place(const fallow__pages *pages, uint64_t chunk_index)
{
    unsigned char *block = pages->blocks + chunk_index / BLOCK_CHUNKS * pages->block_bytes;
    return (uint32_t *)(void *)(block + pages->level_offset[0]) + chunk_index % BLOCK_CHUNKS;
}

static inline wide_node *wide_place(const fallow__pages *pages, unsigned level, uint64_t index)
{
    return (wide_node *)(void *)(pages->upper + pages->level_offset[level]) + index;
}

/* Levels of the fits: a byte for each word, for each group of 64, for each block of 64 groups, and so on. */
enum {
    FITS_WORDS = 0,
    FITS_GROUPS = 1,
    FITS_BLOCKS = 2,
    GROUP_CHUNKS = FITS_BYTES / WORDS
};

/* The lines of a block: that of its groups, and those of its words. */
static inline fits_line *fits_groups(const fallow__pages *pages, uint64_t block)
{
    return (fits_line *)(void *)(pages->blocks + block * pages->block_bytes + pages->fits_offset[FITS_WORDS]);
}

static inline fits_line *fits_words(const fallow__pages *pages, uint64_t group)
{
    return fits_groups(pages, group / FITS_BYTES) + 1 + group % FITS_BYTES;
}

static inline fits_line *fits_place(const fallow__pages *pages, unsigned level, uint64_t line_index)
{
    if (level == FITS_WORDS) {
        return fits_words(pages, line_index);
    }
    if (level == FITS_GROUPS) {
        return fits_groups(pages, line_index);
    }
    return (fits_line *)(void *)(pages->upper + pages->fits_offset[level]) + line_index;
}

static inline unsigned char *fits_byte(const fallow__pages *pages, unsigned level, uint64_t index)
{
    return &fits_place(pages, level, index / FITS_BYTES)->byte[index % FITS_BYTES];
}

/* The bytes of a chunk's words. */
static inline unsigned char *chunk_fits_bytes(const fallow__pages *pages, uint64_t chunk_index)
{
    return &fits_words(pages, chunk_index / GROUP_CHUNKS)->byte[chunk_index % GROUP_CHUNKS * WORDS];
}

static inline node node_unpack(uint64_t word)
{
    return (node){
        .start = word & PACKED_MASK,
        .max = (word >> PACKED_BITS) & PACKED_MASK,
        .end = (word >> (2 * PACKED_BITS)) & PACKED_MASK,
        .state = (unsigned)(word >> (3 * PACKED_BITS)),
    };
}

static inline node node_unpack_leaf(uint32_t leaf)
{
    unsigned state = leaf >> (3 * LEAF_BITS + 1);
    uint64_t all = 0;
    if (state < MIXED) {
        all = (FALLOW__STATES(state) & FALLOW__STATES_FREE) != 0 ? FALLOW__CHUNK_PAGES : 0;
    } else if ((leaf & LEAF_IS_ALL) != 0) {
        all = FALLOW__CHUNK_PAGES;
    } else {
        return (node){leaf & LEAF_MASK, leaf >> LEAF_BITS & LEAF_MASK, leaf >> (2 * LEAF_BITS) & LEAF_MASK, state};
    }
    return (node){all, all, all, state};
}

static inline uint32_t node_pack_leaf(node value)
{
    uint32_t fields = (uint32_t)(value.start | value.max << LEAF_BITS | value.end << (2 * LEAF_BITS));
    FALLOW_ASSERT((value.start == FALLOW__CHUNK_PAGES) == (value.max == FALLOW__CHUNK_PAGES) &&
                  (value.start == FALLOW__CHUNK_PAGES) == (value.end == FALLOW__CHUNK_PAGES));
    return (uint32_t)value.state << (3 * LEAF_BITS + 1) |
           (value.start == FALLOW__CHUNK_PAGES ? (uint32_t)LEAF_IS_ALL : fields);
}

static inline node node_unpack_wide(const wide_node *wide)
{
    return (node){.start = wide->start, .max = wide->max, .end = wide->end, .state = (unsigned)wide->state};
}

FALLOW_UNSYNCHRONISED /* for fallow__pages_is_short_run */
    static inline node
    node_load(const fallow__pages *pages, unsigned level, uint64_t index)
{
    if (level == 0) {
        return node_unpack_leaf(*leaf_place(pages, index));
    }
    if (level <= BLOCK_LEVEL) {
        return node_unpack(*packed_place(pages, level, index));
    }
    return node_unpack_wide(wide_place(pages, level, index));
}

static inline void node_store(fallow__pages *pages, unsigned level, uint64_t index, node value)
{
    if (level == 0) {
        *leaf_place(pages, index) = node_pack_leaf(value);
        return;
    }
    if (level <= BLOCK_LEVEL) {
        *packed_place(pages, level, index) = value.start | value.max << PACKED_BITS | value.end << (2 * PACKED_BITS) |
                                             (uint64_t)value.state << (3 * PACKED_BITS);
        return;
    }
    *wide_place(pages, level, index) =
        (wide_node){.start = value.start, .max = value.max, .end = value.end, .state = value.state};
}

static inline bool node_equal(node left, node right)
{
    return left.start == right.start && left.max == right.max && left.end == right.end && left.state == right.state;
}

static inline node node_uniform(unsigned level, unsigned state)
{
    uint64_t free_pages = (FALLOW__STATES(state) & FALLOW__STATES_FREE) != 0 ? level_pages(level) : 0;
    return (node){.start = free_pages, .max = free_pages, .end = free_pages, .state = state};
}

/* --- summaries --------------------------------------------------------------------------------------------- */

/* A node from its eight children, which are stored in one of three ways. */
static inline node children_combine(const uint32_t *leaves, const uint64_t *packed, const wide_node *wide,
                                    uint64_t child_pages)
{
    uint64_t start = 0;
    uint64_t max = 0;
    uint64_t run = 0; /* the free run that ends where the next child begins */
    bool is_free = true;
    unsigned state = 0;
    bool is_uniform = true;
    for (unsigned i = 0; i < CHILDREN; i++) {
        node child = leaves != NULL   ? node_unpack_leaf(leaves[i])
                     : packed != NULL ? node_unpack(packed[i])
                                      : node_unpack_wide(&wide[i]);
        state = i == 0 ? child.state : state;
        is_uniform = is_uniform && child.state == state;
        run += child.start;
        start = is_free ? run : start;
        max = run > max ? run : max;
        max = child.max > max ? child.max : max;
        if (child.start != child_pages) {
            is_free = false;
            run = child.end;
        }
    }
    return (node){
        .start = start,
        .max = run > max ? run : max,
        .end = run,
        .state = is_uniform && state < MIXED ? state : MIXED,
    };
}

static node node_combine(const fallow__pages *pages, unsigned level, uint64_t index)
{
    uint64_t child_pages = level_pages(level - 1);
    index *= CHILDREN;
    if (level == 1) {
        return children_combine(leaf_place(pages, index), NULL, NULL, child_pages);
    }
    return level <= BLOCK_LEVEL + 1 ? children_combine(NULL, packed_place(pages, level - 1, index), NULL, child_pages)
                                    : children_combine(NULL, NULL, wide_place(pages, level - 1, index), child_pages);
}

/* --- what fits --------------------------------------------------------------------------------------------- */

/* Bytes of a line have changed: say so above it, as far as it changes something there. */
static void fits_pass_up(fallow__pages *pages, unsigned level, uint64_t line_index)
{
    for (; level < pages->fits_top; level++) {
        unsigned least = fits_least(fits_place(pages, level, line_index));
        unsigned char *above = fits_byte(pages, level + 1, line_index);
        if ((*above & FITS_LACK) == least) {
            return;
        }
        *above = (unsigned char)((*above & FITS_OPEN) | least);
        line_index /= FITS_BYTES;
    }
}

/* All pages under a node are in one state now. */
static void fits_close(fallow__pages *pages, unsigned level, uint64_t index, unsigned state)
{
    int lack = (FALLOW__STATES(state) & FALLOW__STATES_FREE) != 0 ? 0 : FITS_NONE;
    if (level == 0) {
        memset(chunk_fits_bytes(pages, index), lack, WORDS);
        fits_pass_up(pages, FITS_WORDS, index / GROUP_CHUNKS);
        return;
    }
    uint64_t first = index;
    uint64_t count = 1;
    unsigned bytes = FITS_BLOCKS;
    if (level < BLOCK_LEVEL) {
        first <<= CHILDREN_SHIFT * (level - 1);
        count <<= CHILDREN_SHIFT * (level - 1);
        bytes = FITS_GROUPS;
    } else {
        first <<= CHILDREN_SHIFT * (level - BLOCK_LEVEL);
        count <<= CHILDREN_SHIFT * (level - BLOCK_LEVEL);
        count = first + count <= pages->block_count ? count
                : first < pages->block_count        ? pages->block_count - first
                                                    : 0;
    }
    /* Where they fill lines, a line is what its bytes are: also the last one, whose blocks are not all there. */
    for (; count > FITS_BYTES; bytes++) {
        memset(fits_byte(pages, bytes, first), lack, (size_t)count);
        first /= FITS_BYTES;
        count = (count + FITS_BYTES - 1) / FITS_BYTES;
    }
    if (count != 0) {
        memset(fits_byte(pages, bytes, first), lack, (size_t)count);
        fits_pass_up(pages, bytes, first / FITS_BYTES);
    }
}

/* A uniform node has been written one level down: what stands below its bytes is valid now. */
static void fits_open(fallow__pages *pages, unsigned level, uint64_t index, unsigned state)
{
    int lack = (FALLOW__STATES(state) & FALLOW__STATES_FREE) != 0 ? 0 : FITS_NONE;
    if (level == 0) {
        memset(chunk_fits_bytes(pages, index), FITS_OPEN | lack, WORDS);
    } else if (level == 1) {
        memset(fits_words(pages, index), lack, sizeof(fits_line));
        *fits_byte(pages, FITS_GROUPS, index) = (unsigned char)(FITS_OPEN | lack);
    } else if (level == BLOCK_LEVEL) {
        memset(fits_groups(pages, index), lack, sizeof(fits_line));
        *fits_byte(pages, FITS_BLOCKS, index) = (unsigned char)(FITS_OPEN | lack);
    }
}

/* Is a chunk open, so that its planes are valid? Asked from the top on: below a block that is not open, storage may not
 * be accessible. */
FALLOW_UNSYNCHRONISED
static inline bool chunk_is_open(const fallow__pages *pages, uint64_t chunk_index)
{
    return (*fits_byte(pages, FITS_BLOCKS, chunk_index / BLOCK_CHUNKS) & FITS_OPEN) != 0 &&
           (*fits_byte(pages, FITS_GROUPS, chunk_index / GROUP_CHUNKS) & FITS_OPEN) != 0 &&
           (*chunk_fits_bytes(pages, chunk_index) & FITS_OPEN) != 0;
}

/* The free pages of a word, as bits; none behind the last one. */
static FALLOW_NOINLINE uint64_t word_free(const fallow__pages *pages, uint64_t word)
{
    if (word >= pages->chunk_count * WORDS) {
        return 0;
    }
    unsigned byte = *fits_byte(pages, FITS_BLOCKS, word >> (FITS_BLOCKS * FITS_SHIFT));
    if ((byte & FITS_OPEN) != 0) {
        byte = *fits_byte(pages, FITS_GROUPS, word >> FITS_SHIFT);
    }
    if ((byte & FITS_OPEN) != 0) {
        byte = *fits_byte(pages, FITS_WORDS, word);
    }
    if ((byte & FITS_OPEN) != 0) {
        return ~chunk_place(pages, word / WORDS)->used[word % WORDS];
    }
    return byte == 0 ? ~(uint64_t)0 : 0;
}

/* The free pages behind those at the end of a word of an open chunk. */
static inline uint64_t word_free_behind(const fallow__pages *pages, const chunk *c, uint64_t word)
{
    if (c->used[word % WORDS] >> 63 != 0) {
        return 0; /* there are none at its end */
    }
    return (word + 1) % WORDS != 0 ? ~c->used[(word + 1) % WORDS] : word_free(pages, word + 1);
}

/* Bytes of an open chunk's words lack no more than this. */
static inline void fits_raise_above(fallow__pages *pages, uint64_t chunk_index, unsigned lack)
{
    uint64_t index = chunk_index / GROUP_CHUNKS;
    for (unsigned level = FITS_GROUPS; level <= pages->fits_top; level++) {
        unsigned char *byte = fits_byte(pages, level, index);
        if ((*byte & FITS_LACK) <= lack) {
            return;
        }
        *byte = (unsigned char)((*byte & FITS_OPEN) | lack);
        index /= FITS_BYTES;
    }
}

/* The first page of a chunk has become free: a free run at the end of the chunk before goes on there. */
static void fits_raise_before(fallow__pages *pages, uint64_t chunk_index)
{
    if (chunk_index > 0 && chunk_is_open(pages, chunk_index - 1) &&
        chunk_place(pages, chunk_index - 1)->used[WORDS - 1] >> 63 == 0) {
        chunk_fits_bytes(pages, chunk_index - 1)[WORDS - 1] = FITS_OPEN;
        fits_raise_above(pages, chunk_index - 1, 0);
    }
}

/* Pages [bit, end) of an open chunk have been freed, and are part of its free run [start, free_end) now. */
static void fits_freed(fallow__pages *pages, uint64_t chunk_index, unsigned bit, unsigned end, unsigned start,
                       unsigned free_end)
{
    unsigned char *bytes = chunk_fits_bytes(pages, chunk_index);
    unsigned first = bit / 64 > start / 64 ? bit / 64 - 1 : start / 64; /* those before have a run of 64 in any case */
    unsigned least = FITS_NONE;
    for (unsigned word = first; word <= (end - 1) / 64; word++) {
        unsigned from = start > word * 64 ? start : word * 64;
        unsigned lack = free_end - from < 64 ? FITS_NONE - (free_end - from) : 0;
        /* What reaches the next chunk may go on there. After the second time in a row for one chunk more will come. In
         * both cases it promises everything. */
        lack = free_end == FALLOW__CHUNK_PAGES || pages->freed == chunk_index + 1 ? 0 : lack;
        if ((bytes[word] & FITS_LACK) > lack) {
            bytes[word] = (unsigned char)(FITS_OPEN | lack);
            least = lack < least ? lack : least;
        }
    }
    pages->freed = chunk_index + 1;
    if (least < FITS_NONE) {
        fits_raise_above(pages, chunk_index, least);
    }
    if (start == 0 && bit < 64) {
        fits_raise_before(pages, chunk_index);
    }
}

/* The same for one that has just been settled, and may not be open any more. */
static void fits_freed_settled(fallow__pages *pages, uint64_t chunk_index, unsigned bit, unsigned end)
{
    if (chunk_is_open(pages, chunk_index)) {
        const chunk *c = chunk_place(pages, chunk_index);
        fits_freed(pages, chunk_index, bit, end, chunk_free_start(c, bit), chunk_free_end(c, bit));
    } else {
        fits_raise_before(pages, chunk_index);
    }
}

/* --- opening and settling ---------------------------------------------------------------------------------- */

/* Nodes have been changed as a whole: chunks that were busy may not be open. */
static inline void forget_busy(fallow__pages *pages)
{
    memset(pages->busy, 0, sizeof pages->busy);
    pages->calm = 0;
}

/* Write a uniform node's state one level down, so that a part of it can change. */
static void node_open(fallow__pages *pages, unsigned level, uint64_t index)
{
    node opened = node_load(pages, level, index);
    if (opened.state >= MIXED) {
        return;
    }
    if (level == 0) {
        chunk *c = chunk_place(pages, index);
        for (unsigned word = 0; word < WORDS; word++) {
            word_assign(c, word, ~(uint64_t)0, opened.state);
        }
    } else {
        node child = node_uniform(level - 1, opened.state);
        for (unsigned i = 0; i < CHILDREN; i++) {
            node_store(pages, level - 1, index * CHILDREN + i, child);
        }
    }
    fits_open(pages, level, index, opened.state);
    opened.state = MIXED;
    node_store(pages, level, index, opened);
}

/* What a node says is something else now. */
static inline void node_tell(fallow__pages *pages, unsigned level, uint64_t index, node value)
{
    node_store(pages, level, index, value);
    if (value.state < MIXED) {
        fits_close(pages, level, index, value.state);
    }
}

/* Pass what a chunk's node says now upward, as far as something changes. Mostly it is only the longest run, and then
 * the other children need no look unless theirs may be the longest now. */
static void node_pass_up(fallow__pages *pages, uint64_t chunk_index, node settled)
{
    uint64_t index = chunk_index;
    for (unsigned level = 0;;) {
        node before = node_load(pages, level, index);
        if (node_equal(settled, before)) {
            return;
        }
        node_tell(pages, level, index, settled);
        if (++level == pages->levels) {
            return;
        }
        index /= CHILDREN;
        if (settled.start == before.start && settled.end == before.end && settled.state == before.state) {
            node above = node_load(pages, level, index);
            if (settled.max > above.max) {
                above.max = settled.max;
                settled = above;
                continue;
            }
            if (before.max < above.max) {
                return;
            }
        }
        settled = node_combine(pages, level, index);
    }
}

/* Say of a chunk what its planes show. */
static void chunk_settle(fallow__pages *pages, uint64_t chunk_index)
{
    node settled = chunk_summarise(chunk_place(pages, chunk_index));
    uint32_t *busy = &pages->busy[chunk_index % FALLOW__BUSY_SLOTS];
    *busy = *busy == chunk_index + 1 ? 0 : *busy;
    pages->calm = 0;
    node_pass_up(pages, chunk_index, settled);
}

/* In a large arena all of this is far away, and no line's address depends on another line: ask for all at once. */
static inline void chunk_prefetch(const fallow__pages *pages, uint64_t chunk_index)
{
    const chunk *c = chunk_place(pages, chunk_index);
    fallow__prefetch(c->used);
    fallow__prefetch(c->mark);
    fallow__prefetch(c->have);
    fallow__prefetch(chunk_fits_bytes(pages, chunk_index));
    fallow__prefetch(leaf_place(pages, chunk_index));
}

/* Make a chunk's planes valid: it may be changed now. */
static inline chunk *chunk_open(fallow__pages *pages, uint64_t chunk_index)
{
    if (!chunk_is_open(pages, chunk_index)) {
        chunk_prefetch(pages, chunk_index);
        for (unsigned level = pages->levels; level-- > 0;) {
            node_open(pages, level, chunk_index >> (CHILDREN_SHIFT * level));
        }
    }
    return chunk_place(pages, chunk_index);
}

static inline bool chunk_is_stale(const fallow__pages *pages, uint64_t chunk_index)
{
    return *leaf_place(pages, chunk_index) >> (3 * LEAF_BITS + 1) == STALE;
}

/* A chunk that is open may promise too much from now on. */
static inline void chunk_make_stale(fallow__pages *pages, uint64_t chunk_index)
{
    uint32_t *leaf = leaf_place(pages, chunk_index);
    *leaf = (*leaf & (((uint32_t)LEAF_IS_ALL << 1) - 1)) | (uint32_t)STALE << (3 * LEAF_BITS + 1);
}

/* Pages of an open chunk have been taken. */
static inline void chunk_taken(fallow__pages *pages, uint64_t chunk_index)
{
    if (!chunk_is_stale(pages, chunk_index)) {
        chunk_make_stale(pages, chunk_index);
    }
    pages->busy[chunk_index % FALLOW__BUSY_SLOTS] = (uint32_t)chunk_index + 1;
}

/* Is a chunk known to be open and stale, so that pages of it may be taken without more ado? */
static inline bool chunk_is_busy(const fallow__pages *pages, uint64_t chunk_index)
{
    return pages->busy[chunk_index % FALLOW__BUSY_SLOTS] == chunk_index + 1;
}

/* A chunk promises the free run [start, end), which it did not before. The second time in a row for one chunk more will
 * come: it promises everything, and becomes stale. */
static FALLOW_NOINLINE void chunk_raise(fallow__pages *pages, uint64_t chunk_index, unsigned start, unsigned end)
{
    if (pages->raised == chunk_index + 1 && end - start < FALLOW__CHUNK_PAGES) {
        if (!chunk_is_stale(pages, chunk_index)) {
            chunk_make_stale(pages, chunk_index);
        }
        node_pass_up(pages, chunk_index, (node){FALLOW__CHUNK_PAGES, FALLOW__CHUNK_PAGES, FALLOW__CHUNK_PAGES, STALE});
        return;
    }
    pages->raised = chunk_index + 1;
    node here = node_load(pages, 0, chunk_index);
    here.max = end - start > here.max ? end - start : here.max;
    if (start == 0 && end > here.start) {
        here.start = end;
    }
    if (end == FALLOW__CHUNK_PAGES && end - start > here.end) {
        here.end = end - start;
    }
    node_pass_up(pages, chunk_index, here);
    /* A chunk that is wholly free is closed when the next one is: mostly it is used again before that. */
    if (end - start == FALLOW__CHUNK_PAGES && pages->hollow != chunk_index + 1) {
        uint64_t hollow = pages->hollow;
        pages->hollow = chunk_index + 1;
        if (hollow != 0 && chunk_is_open(pages, hollow - 1) &&
            node_load(pages, 0, hollow - 1).start == FALLOW__CHUNK_PAGES) {
            chunk_settle(pages, hollow - 1);
        }
    }
}

/* Does a chunk promise everything? */
static inline bool chunk_promises_all(const fallow__pages *pages, uint64_t chunk_index)
{
    return (*leaf_place(pages, chunk_index) & LEAF_IS_ALL) != 0;
}

/* Pages of an open chunk have been freed, and are part of its free run [start, end) now. */
static inline void chunk_freed(fallow__pages *pages, uint64_t chunk_index, unsigned start, unsigned end)
{
    if (chunk_promises_all(pages, chunk_index)) {
        return;
    }
    node here = node_load(pages, 0, chunk_index);
    if (end - start > here.max || (start == 0 && end > here.start) ||
        (end == FALLOW__CHUNK_PAGES && end - start > here.end)) {
        chunk_raise(pages, chunk_index, start, end);
    }
}

/* --- changes ----------------------------------------------------------------------------------------------- */

/* Take the pages under a node out of the counters. */
static void node_uncount(fallow__pages *pages, unsigned level, uint64_t index)
{
    node old = node_load(pages, level, index);
    if (old.state < MIXED) {
        pages->state_pages[old.state] -= level_pages(level);
        return;
    }
    if (level > 0) {
        for (unsigned i = 0; i < CHILDREN; i++) {
            node_uncount(pages, level - 1, index * CHILDREN + i);
        }
        return;
    }
    uint64_t counts[STATES] = {0};
    chunk_count(chunk_place(pages, index), counts);
    for (unsigned state = 0; state < STATES; state++) {
        pages->state_pages[state] -= counts[state];
    }
}

/* Is every state's successor the same? */
static inline bool transition_is_constant(transition change)
{
    return change == TRANSITION_TO(change & 7);
}

/* Apply a change to all pages of [first, end) that lie under a node. The node meets the range. A node
 * wholly inside is not looked into if it is uniform, or if all its pages end up alike. */
static void node_change(fallow__pages *pages, unsigned level, uint64_t index, uint64_t first, uint64_t end,
                        transition change)
{
    uint64_t size = level_pages(level);
    uint64_t base = index * size;
    bool is_inside = first <= base && base + size <= end;
    unsigned old_state = node_load(pages, level, index).state;
    if (is_inside && (old_state < MIXED || transition_is_constant(change))) {
        unsigned new_state = transition_of(change, old_state & 7);
        node_uncount(pages, level, index);
        pages->state_pages[new_state] += size;
        node_tell(pages, level, index, node_uniform(level, new_state));
        forget_busy(pages);
        return;
    }
    node_open(pages, level, index);
    first = first > base ? first : base;
    end = end < base + size ? end : base + size;
    if (level == 0) {
        chunk *c = chunk_place(pages, index);
        chunk_change(c, (unsigned)(first - base), (unsigned)(end - base), change, pages->state_pages);
        node_tell(pages, level, index, chunk_summarise(c));
        if (change == TRANSITION_FREE) {
            fits_freed_settled(pages, index, (unsigned)(first - base), (unsigned)(end - base));
        }
        forget_busy(pages);
        return;
    }
    uint64_t child_pages = level_pages(level - 1);
    for (uint64_t child = first / child_pages; child <= (end - 1) / child_pages; child++) {
        node_change(pages, level - 1, child, first, end, change);
    }
    node_tell(pages, level, index, node_combine(pages, level, index));
}

/* The piece at a page, as fallow__pages_piece, found from the root down. */
static unsigned piece_at(const fallow__pages *pages, uint64_t page, uint64_t *end_out)
{
    for (unsigned level = pages->levels; level-- > 0;) {
        uint64_t size = level_pages(level);
        unsigned state = node_load(pages, level, page / size).state;
        if (state < MIXED) {
            *end_out = (page / size + 1) * size;
            return state;
        }
    }
    const chunk *c = chunk_place(pages, page / FALLOW__CHUNK_PAGES);
    unsigned bit = page % FALLOW__CHUNK_PAGES;
    *end_out = page - bit + chunk_piece_end(c, bit);
    return word_state(c, bit / 64, bit % 64);
}

static inline bool is_in_one_chunk(uint64_t first, uint64_t count)
{
    return first % FALLOW__CHUNK_PAGES + count <= FALLOW__CHUNK_PAGES;
}

static void range_change(fallow__pages *pages, uint64_t first, uint64_t count, transition change)
{
    FALLOW_ASSERT(count >= 1 && count <= pages->page_count && first <= pages->page_count - count);
    if (is_in_one_chunk(first, count)) {
        unsigned bit = first % FALLOW__CHUNK_PAGES;
        chunk *c = chunk_open(pages, first / FALLOW__CHUNK_PAGES);
        chunk_change(c, bit, bit + (unsigned)count, change, pages->state_pages);
        chunk_settle(pages, first / FALLOW__CHUNK_PAGES);
        if (change == TRANSITION_FREE) {
            fits_freed_settled(pages, first / FALLOW__CHUNK_PAGES, bit, bit + (unsigned)count);
        }
        return;
    }
    node_change(pages, pages->levels - 1, 0, first, first + count, change);
}

/* --- bounds ------------------------------------------------------------------------------------------------ */

/* The size class of a request: 1 to 8 pages are a class each, then each doubling has two: 9-12, 13-16, 17-24 ... */
static inline unsigned class_of(uint64_t count)
{
    if (count <= 8) {
        return (unsigned)count - 1;
    }
    unsigned top = fallow__highest_bit(count - 1);
    return 8 + 2 * (top - 3) + (unsigned)(((count - 1) >> (top - 1)) & 1);
}

/* The largest request of a class. */
static inline uint64_t class_pages_max(unsigned size_class)
{
    return size_class < 8 ? size_class + 1 : (uint64_t)(3 + (size_class & 1)) << ((size_class - 8) / 2 + 2);
}

/* Bounds count in words of 64 pages: near enough for a search, and 2^30 of them fit 32 bits. */
static inline uint64_t bound_end(const fallow__pages *pages)
{
    return pages->chunk_count * WORDS;
}

/* No run of `count` pages starts in a word below this. What holds for a shorter run holds for it too. */
static inline uint32_t bound_for(const fallow__pages *pages, unsigned size_class, uint64_t count)
{
    uint32_t bound = count >= pages->bound_pages[size_class] ? pages->bound[size_class] : 0;
    while (size_class-- > 0) {
        bound = pages->bound[size_class] > bound ? pages->bound[size_class] : bound;
    }
    return bound;
}

/* A search has shown that no run of `count` pages starts in a word below this one. A class remembers one such fact: the
 * new one where it reaches further, or holds for more. */
static inline void bound_raise(fallow__pages *pages, unsigned size_class, uint64_t count, uint64_t word)
{
    if (pages->bound[size_class] < word || count < pages->bound_pages[size_class]) {
        pages->bound[size_class] = (uint32_t)word;
        pages->bound_pages[size_class] = count;
        if (pages->bound_top < word) {
            pages->bound_top = (uint32_t)word;
        }
        if (pages->low_classes > size_class && pages->low_word < word) {
            pages->low_classes = size_class;
        }
    }
}

/* Pages have become free, as part of a free run of at most `count` pages that does not start in a word below this. */
static inline void bound_lower(fallow__pages *pages, uint64_t word, uint64_t count)
{
    unsigned last_class = class_of(count);
    if (word >= pages->bound_top || (word >= pages->low_word && last_class < pages->low_classes)) {
        return;
    }
    for (unsigned size_class = 0; size_class <= last_class; size_class++) {
        if (pages->bound[size_class] > word) {
            pages->bound[size_class] = (uint32_t)word;
        }
    }
    pages->low_word = (uint32_t)word;
    pages->low_classes = last_class + 1;
    if (last_class == FALLOW__SIZE_CLASSES - 1) {
        pages->bound_top = (uint32_t)word;
    }
}

/* Is no bound above a word? */
static inline bool bounds_are_low(const fallow__pages *pages, uint64_t word)
{
    return word >= pages->bound_top || (word >= pages->low_word && pages->low_classes == FALLOW__SIZE_CLASSES);
}

/* Lower the bounds after a free that begins at `first` and ends in the same chunk. A merged run that touches an edge of
 * the chunk may go on beyond it: how far is not looked up, but it cannot start below the lowest free page, which has a
 * bound of its own. */
static inline void bounds_after_short_free(fallow__pages *pages, uint64_t chunk_first, unsigned start, unsigned end)
{
    uint64_t lowest = (chunk_first + start) / 64;
    if (start == 0 && pages->bound[0] < lowest) {
        lowest = pages->bound[0];
    }
    if (lowest < pages->bound_top) {
        bool is_longer = start == 0 || end == FALLOW__CHUNK_PAGES;
        bound_lower(pages, lowest, is_longer ? FALLOW__PAGES_MAX : end - start);
    }
}

static void bounds_after_long_free(fallow__pages *pages, uint64_t first)
{
    uint64_t word = first / FALLOW__CHUNK_PAGES * WORDS;
    bound_lower(pages, pages->bound[0] < word ? pages->bound[0] : word, FALLOW__PAGES_MAX);
}

/* --- searching in the tree --------------------------------------------------------------------------------- */

static unsigned node_states(const fallow__pages *pages, unsigned level, uint64_t index, uint64_t first, uint64_t end);

/* A search under way. Going up, `run` is where the free run that reaches the present place began; going down, where it
 * ended. */
typedef struct search {
    fallow__pages *pages;
    const fallow__pages_request *request;
    uint64_t align; /* at least 1 */
    uint64_t from;
    uint64_t run;
    uint64_t found;
} search;

/* Does the request fit at the beginning of the run that ends at `end`? */
static bool search_fits_up(search *s, uint64_t end)
{
    uint64_t lowest = s->run > s->from ? s->run : s->from;
    uint64_t first = fallow__align_up(lowest + s->request->phase, s->align) - s->request->phase;
    if (end < s->request->count || first > end - s->request->count) {
        return false;
    }
    s->found = first;
    return true;
}

/* Does it fit at the end of the run that begins at `start`? */
static bool search_fits_down(search *s, uint64_t start)
{
    if (s->run < s->request->count) {
        return false;
    }
    uint64_t highest = s->run - s->request->count + s->request->phase;
    uint64_t aligned = fallow__align_down(highest, s->align);
    if (aligned < s->request->phase || aligned - s->request->phase < start) {
        return false;
    }
    s->found = aligned - s->request->phase;
    return true;
}

/* Look for the request in a chunk's planes. */
static bool search_planes(search *s, uint64_t chunk_index)
{
    uint64_t base = chunk_index * FALLOW__CHUNK_PAGES;
    uint64_t fits[WORDS];
    if (s->request->count > FALLOW__CHUNK_PAGES) {
        return false;
    }
    chunk_fits(chunk_place(s->pages, chunk_index), (unsigned)s->request->count, fits);
    if (s->align > 1) {
        chunk_keep_aligned(fits, base, s->align, s->request->phase);
    }
    for (unsigned i = 0; i < WORDS; i++) {
        unsigned word = s->request->is_top_down ? WORDS - 1 - i : i;
        if (s->from > base + word * 64) {
            uint64_t skip = s->from - base - word * 64;
            fits[word] &= skip < 64 ? ~(uint64_t)0 << skip : 0;
        }
        if (fits[word] != 0) {
            unsigned bit = s->request->is_top_down ? fallow__highest_bit(fits[word]) : fallow__lowest_bit(fits[word]);
            s->found = base + word * 64 + bit;
            return true;
        }
    }
    return false;
}

/* The same; a chunk that has promised too much is settled. */
static bool search_chunk(search *s, uint64_t chunk_index)
{
    if (search_planes(s, chunk_index)) {
        return true;
    }
    if (chunk_is_stale(s->pages, chunk_index)) {
        chunk_settle(s->pages, chunk_index);
    }
    return false;
}

static bool search_children_up(search *s, unsigned level, uint64_t index);

/* Look at a node for the lowest fit, where `run` began before it or begins at it; leave in `run` where the free run at
 * its end began. */
static inline bool search_up(search *s, unsigned level, uint64_t index)
{
    uint64_t size = level_pages(level);
    uint64_t base = index * size;
    if (base + size <= s->from) {
        s->run = base + size;
        return false;
    }
    node here = node_load(s->pages, level, index);
    if (here.start == size) {
        return search_fits_up(s, base + size);
    }
    if (s->run < base + here.start && search_fits_up(s, base + here.start)) {
        return true;
    }
    if (here.max >= s->request->count) {
        if (level == 0 ? search_chunk(s, index) : search_children_up(s, level, index)) {
            return true;
        }
        here = node_load(s->pages, level, index); /* something below may have been settled */
    }
    s->run = base + size - here.end;
    return false;
}

static bool search_children_up(search *s, unsigned level, uint64_t index)
{
    for (unsigned i = 0; i < CHILDREN; i++) {
        if (search_up(s, level - 1, index * CHILDREN + i)) {
            return true;
        }
    }
    return false;
}

/* The same from the top. */
static bool search_children_down(search *s, unsigned level, uint64_t index);

static inline bool search_down(search *s, unsigned level, uint64_t index)
{
    uint64_t size = level_pages(level);
    uint64_t base = index * size;
    node here = node_load(s->pages, level, index);
    if (here.start == size) {
        return search_fits_down(s, base);
    }
    if (s->run > base + size - here.end && search_fits_down(s, base + size - here.end)) {
        return true;
    }
    if (here.max >= s->request->count) {
        if (level == 0 ? search_chunk(s, index) : search_children_down(s, level, index)) {
            return true;
        }
        here = node_load(s->pages, level, index);
    }
    s->run = base + here.start;
    return false;
}

static bool search_children_down(search *s, unsigned level, uint64_t index)
{
    for (unsigned i = CHILDREN; i-- > 0;) {
        if (search_down(s, level - 1, index * CHILDREN + i)) {
            return true;
        }
    }
    return false;
}

/* Settle the stale chunks under a node that meet [first, end); whether there was one. */
static bool node_settle(fallow__pages *pages, unsigned level, uint64_t index, uint64_t first, uint64_t end)
{
    uint64_t size = level_pages(level);
    uint64_t base = index * size;
    unsigned state = node_load(pages, level, index).state;
    if (state < MIXED) {
        return false;
    }
    if (level == 0) {
        if (state == STALE) {
            chunk_settle(pages, index);
        }
        return state == STALE;
    }
    bool is_settled = false;
    uint64_t child_pages = level_pages(level - 1);
    first = first > base ? first : base;
    end = end < base + size ? end : base + size;
    for (uint64_t child = first / child_pages; child <= (end - 1) / child_pages; child++) {
        is_settled = node_settle(pages, level - 1, child, first, end) || is_settled;
    }
    return is_settled;
}

/* Is a place that nodes have promised there? If not, those that have promised too much are settled. */
static bool promise_is_kept(fallow__pages *pages, uint64_t first, uint64_t count)
{
    unsigned states = node_states(pages, pages->levels - 1, 0, first, first + count);
    if ((states & FALLOW__STATES_USED) == 0) {
        return true;
    }
    /* also in release builds: to search on in books that are wrong would not end */
    FALLOW_REQUIRE(node_settle(pages, pages->levels - 1, 0, first, first + count), "fallow__pages_find", NULL,
                   "the library's books are wrong: nobody has promised this");
    return false;
}

static bool search_tree(fallow__pages *pages, const fallow__pages_request *request, uint64_t from, uint64_t *first_out)
{
    for (;;) {
        search s = {
            .pages = pages,
            .request = request,
            .align = request->align > 1 ? request->align : 1,
            .from = from,
            .run = request->is_top_down ? pages_capacity(pages) : 0,
        };
        unsigned root = pages->levels - 1;
        if (!(request->is_top_down ? search_down(&s, root, 0) : search_up(&s, root, 0))) {
            return false;
        }
        if (promise_is_kept(pages, s.found, request->count)) {
            *first_out = s.found;
            return true;
        }
    }
}

/* --- searching for a short run ------------------------------------------------------------------------------- */

/* What a search for a short run looks for, and what it has found: its first page, and whether the chunk of that is
 * open. A chunk that is not open is free from there on. */
typedef struct short_search {
    fallow__pages *pages;
    unsigned count;
    uint64_t found;
    bool is_open;
} short_search;

static inline bool short_found(short_search *s, uint64_t page, bool is_open)
{
    s->found = page;
    s->is_open = is_open;
    return true;
}

/* Look into the words of an open group, from one of them on, that promise enough. Those that have promised too much are
 * settled. */
static bool short_search_group(short_search *s, uint64_t group, unsigned from)
{
    fits_line *words = fits_words(s->pages, group);
    const chunk *chunks = chunk_place(s->pages, group * GROUP_CHUNKS);
    uint64_t enough = fallow__bytes_at_most(words->byte, FITS_NONE - s->count) & ~(uint64_t)0 << from;
    bool is_found = false;
    bool is_settled = false;
    for (; enough != 0 && !is_found; enough &= enough - 1) {
        unsigned i = fallow__lowest_bit(enough);
        uint64_t word = group * FITS_BYTES + i;
        if (words->byte[i] == 0) {
            is_found = short_found(s, word * 64, false);
            break;
        }
        uint64_t low = ~chunks[i / WORDS].used[i % WORDS];
        uint64_t high = word_free_behind(s->pages, &chunks[i / WORDS], word);
        unsigned bit = fits_find(low, high, s->count);
        if (bit < 64) {
            is_found = short_found(s, word * 64 + bit, true);
        } else {
            words->byte[i] = (unsigned char)(FITS_OPEN | (low != 0 ? fits_lack(low, high) : FITS_NONE));
            is_settled = true;
        }
    }
    if (is_settled) {
        fits_pass_up(s->pages, FITS_WORDS, group);
        s->pages->calm = 0;
    }
    return is_found;
}

/* The lowest fit of up to 64 pages from a word on. */
static bool short_search_from(short_search *s, uint64_t word)
{
    const fallow__pages *pages = s->pages;
    unsigned most = FITS_NONE - s->count;
    unsigned level = FITS_GROUPS;
    uint64_t index = word >> FITS_SHIFT;
    unsigned byte = *fits_byte(pages, FITS_BLOCKS, index / FITS_BYTES);
    if ((byte & FITS_OPEN) == 0) {
        level = FITS_BLOCKS;
        index /= FITS_BYTES;
    } else {
        byte = *fits_byte(pages, FITS_GROUPS, index);
    }
    if ((byte & FITS_OPEN) == 0 ? byte == 0 && short_found(s, word * 64, false)
                                : short_search_group(s, index, word % FITS_BYTES)) {
        return true;
    }
    for (;;) {
        /* from what is behind this one in its line, or above, down to a group */
        unsigned next = index % FITS_BYTES + 1;
        const fits_line *line = fits_place(pages, level, index / FITS_BYTES);
        unsigned found = next < FITS_BYTES ? fits_next(line, next, most) : FITS_BYTES;
        if (found == FITS_BYTES) {
            if (level == pages->fits_top) {
                return false;
            }
            level++;
            index /= FITS_BYTES;
            continue;
        }
        index = fallow__align_down(index, FITS_BYTES) + found;
        byte = line->byte[found];
        while (level > FITS_BLOCKS || (level == FITS_BLOCKS && (byte & FITS_OPEN) != 0)) {
            line = fits_place(pages, --level, index);
            found = fits_next(line, 0, most);
            FALLOW_ASSERT(found < FITS_BYTES);
            index = index * FITS_BYTES + found;
            byte = line->byte[found];
        }
        if ((byte & FITS_OPEN) == 0) {
            return short_found(s, index << (level * FITS_SHIFT) << FITS_SHIFT, false);
        }
        if (short_search_group(s, index, 0)) {
            return true;
        }
    }
}

static uint64_t free_pages(const fallow__pages *pages)
{
    return pages->state_pages[FALLOW__FREE_NONE] + pages->state_pages[FALLOW__FREE_ZERO] +
           pages->state_pages[FALLOW__FREE_LAZY] + pages->state_pages[FALLOW__FREE_DIRTY];
}

bool fallow__pages_find(fallow__pages *pages, const fallow__pages_request *request, uint64_t *first_out)
{
    FALLOW_ASSERT(request->count >= 1);
    FALLOW_ASSERT(!request->is_top_down || request->from == 0);
    if (request->count > FALLOW__PAGES_MAX) {
        return false;
    }
    unsigned size_class = class_of(request->count);
    if (request->count > free_pages(pages)) {
        bound_raise(pages, size_class, request->count, bound_end(pages));
        return false;
    }
    uint64_t bound = bound_for(pages, size_class, request->count);
    if (bound >= bound_end(pages)) {
        return false;
    }
    if (request->is_top_down || request->align > 1 || request->from > 0) {
        uint64_t bound_page = request->is_top_down ? 0 : bound * 64;
        return search_tree(pages, request, request->from > bound_page ? request->from : bound_page, first_out);
    }
    short_search s = {.pages = pages, .count = request->count <= 64 ? (unsigned)request->count : 0};
    bool is_found = s.count != 0 ? short_search_from(&s, bound) : search_tree(pages, request, bound * 64, &s.found);
    if (!is_found) {
        bound_raise(pages, size_class, request->count, bound_end(pages));
        return false;
    }
    bound_raise(pages, size_class, request->count, s.found / 64);
    *first_out = s.found;
    return true;
}

/* --- questions --------------------------------------------------------------------------------------------- */

fallow__page_state fallow__pages_piece(fallow__pages *pages, uint64_t page, uint64_t limit, uint64_t *end_out)
{
    FALLOW_ASSERT(page < limit && limit <= pages->page_count);
    uint64_t end;
    unsigned state = piece_at(pages, page, &end);
    *end_out = end < limit ? end : limit;
    return (fallow__page_state)state;
}

/* The set of states in the part of [first, end) that lies under a node. The node meets the range. */
static unsigned node_states(const fallow__pages *pages, unsigned level, uint64_t index, uint64_t first, uint64_t end)
{
    uint64_t size = level_pages(level);
    uint64_t base = index * size;
    unsigned state = node_load(pages, level, index).state;
    if (state < MIXED) {
        return FALLOW__STATES(state);
    }
    first = first > base ? first : base;
    end = end < base + size ? end : base + size;
    if (level == 0) {
        return chunk_states(chunk_place(pages, index), (unsigned)(first - base), (unsigned)(end - base));
    }
    unsigned states = 0;
    uint64_t child_pages = level_pages(level - 1);
    for (uint64_t child = first / child_pages; child <= (end - 1) / child_pages; child++) {
        states |= node_states(pages, level - 1, child, first, end);
    }
    return states;
}

unsigned fallow__pages_states(fallow__pages *pages, uint64_t first, uint64_t count)
{
    FALLOW_ASSERT(count >= 1 && count <= pages->page_count && first <= pages->page_count - count);
    if (is_in_one_chunk(first, count) && chunk_is_open(pages, first / FALLOW__CHUNK_PAGES)) {
        unsigned bit = first % FALLOW__CHUNK_PAGES;
        return chunk_states(chunk_place(pages, first / FALLOW__CHUNK_PAGES), bit, bit + (unsigned)count);
    }
    return node_states(pages, pages->levels - 1, 0, first, first + count);
}

/* The lowest page of [from, limit) under a node that is in a state of a set; limit if there is none. The node meets the
 * range. */
static uint64_t node_next(const fallow__pages *pages, unsigned level, uint64_t index, uint64_t from, uint64_t limit,
                          unsigned states)
{
    uint64_t size = level_pages(level);
    uint64_t base = index * size;
    uint64_t lowest = from > base ? from : base;
    uint64_t end = limit < base + size ? limit : base + size;
    unsigned state = node_load(pages, level, index).state;
    if (state < MIXED) {
        return (states & FALLOW__STATES(state)) != 0 ? lowest : limit;
    }
    if (level > 0) {
        uint64_t child_pages = level_pages(level - 1);
        for (uint64_t child = lowest / child_pages; child <= (end - 1) / child_pages; child++) {
            uint64_t found = node_next(pages, level - 1, child, lowest, limit, states);
            if (found != limit) {
                return found;
            }
        }
        return limit;
    }
    unsigned bit = chunk_next(chunk_place(pages, index), (unsigned)(lowest - base), (unsigned)(end - base), states);
    return bit < FALLOW__CHUNK_PAGES ? base + bit : limit;
}

/* The highest page of a set of states under a node, below `below`; UINT64_MAX if there is none. */
static uint64_t node_last(const fallow__pages *pages, unsigned level, uint64_t index, uint64_t below, unsigned states)
{
    uint64_t size = level_pages(level);
    uint64_t base = index * size;
    uint64_t highest = (below < base + size ? below : base + size) - 1;
    unsigned state = node_load(pages, level, index).state;
    if (state < MIXED) {
        return (states & FALLOW__STATES(state)) != 0 ? highest : UINT64_MAX;
    }
    if (level > 0) {
        uint64_t child_pages = level_pages(level - 1);
        for (uint64_t child = highest / child_pages + 1; child-- > index * CHILDREN;) {
            uint64_t found = node_last(pages, level - 1, child, highest + 1, states);
            if (found != UINT64_MAX) {
                return found;
            }
        }
        return UINT64_MAX;
    }
    unsigned bit = chunk_last(chunk_place(pages, index), (unsigned)(highest - base) + 1, states);
    return bit < FALLOW__CHUNK_PAGES ? base + bit : UINT64_MAX;
}

uint64_t fallow__pages_next(fallow__pages *pages, uint64_t from, uint64_t limit, unsigned states)
{
    FALLOW_ASSERT(limit <= pages->page_count);
    return from < limit ? node_next(pages, pages->levels - 1, 0, from, limit, states) : limit;
}

bool fallow__pages_last_range(fallow__pages *pages, uint64_t below, unsigned states, uint64_t *first_out,
                              uint64_t *count_out)
{
    FALLOW_ASSERT(below <= pages->page_count);
    uint64_t last = below == 0 ? UINT64_MAX : node_last(pages, pages->levels - 1, 0, below, states);
    if (last == UINT64_MAX) {
        return false;
    }
    uint64_t other = last == 0 ? UINT64_MAX : node_last(pages, pages->levels - 1, 0, last, ~states & 0xff);
    *first_out = other == UINT64_MAX ? 0 : other + 1;
    *count_out = last + 1 - *first_out;
    return true;
}

uint64_t fallow__pages_run_end(fallow__pages *pages, uint64_t first)
{
    uint64_t chunk_index = first / FALLOW__CHUNK_PAGES;
    if (chunk_is_open(pages, chunk_index)) {
        const chunk *c = chunk_place(pages, chunk_index);
        unsigned bit = first % FALLOW__CHUNK_PAGES + 1;
        for (unsigned word = bit / 64; word < WORDS; word++) {
            uint64_t others = ~(c->used[word] & ~c->mark[word]);
            others &= word == bit / 64 ? ~(uint64_t)0 << (bit % 64) : ~(uint64_t)0;
            if (others != 0) {
                return chunk_index * FALLOW__CHUNK_PAGES + word * 64 + fallow__lowest_bit(others);
            }
        }
    }
    return fallow__pages_next(pages, first + 1, pages->page_count, ~FALLOW__STATES_REST & 0xff);
}

uint64_t fallow__pages_run_start(fallow__pages *pages, uint64_t page)
{
    uint64_t start = node_last(pages, pages->levels - 1, 0, page + 1, FALLOW__STATES_START);
    FALLOW_ASSERT(start != UINT64_MAX);
    return start;
}

/* --- transitions ------------------------------------------------------------------------------------------- */

void fallow__pages_take(fallow__pages *pages, uint64_t first, uint64_t count, bool is_committed)
{
    unsigned start = is_committed ? FALLOW__START : FALLOW__START_NONE;
    if (count > 1) {
        range_change(pages, first, count, TRANSITION_TO(is_committed ? FALLOW__REST : FALLOW__REST_NONE));
    }
    range_change(pages, first, 1, TRANSITION_TO(start));
}

void fallow__pages_append(fallow__pages *pages, uint64_t first, uint64_t count, bool is_committed)
{
    range_change(pages, first, count, TRANSITION_TO(is_committed ? FALLOW__REST : FALLOW__REST_NONE));
}

void fallow__pages_free(fallow__pages *pages, uint64_t first, uint64_t count)
{
    range_change(pages, first, count, TRANSITION_FREE);
    if (is_in_one_chunk(first, count)) {
        const chunk *c = chunk_place(pages, first / FALLOW__CHUNK_PAGES);
        unsigned bit = first % FALLOW__CHUNK_PAGES;
        bounds_after_short_free(pages, first - bit, chunk_free_start(c, bit), chunk_free_end(c, bit));
    } else {
        bounds_after_long_free(pages, first);
    }
}

void fallow__pages_split(fallow__pages *pages, uint64_t page)
{
    range_change(pages, page, 1, TRANSITION_SPLIT);
}

void fallow__pages_set_free(fallow__pages *pages, uint64_t first, uint64_t count, fallow__page_state state)
{
    FALLOW_ASSERT((FALLOW__STATES(state) & FALLOW__STATES_FREE) != 0);
    range_change(pages, first, count, TRANSITION_TO(state));
}

unsigned fallow__pages_used_around(const fallow__pages *pages, uint64_t page)
{
    uint64_t chunk_index = page / FALLOW__CHUNK_PAGES;
    uint64_t end;
    if (!chunk_is_open(pages, chunk_index)) {
        return (FALLOW__STATES(piece_at(pages, page, &end)) & FALLOW__STATES_USED) != 0 ? FALLOW__CHUNK_PAGES : 0;
    }
    unsigned count = 0;
    for (unsigned word = 0; word < WORDS; word++) {
        count += fallow__count_bits(chunk_place(pages, chunk_index)->used[word]);
    }
    return count;
}

void fallow__pages_set_committed(fallow__pages *pages, uint64_t first, uint64_t count, bool is_committed)
{
    range_change(pages, first, count, is_committed ? TRANSITION_COMMIT : TRANSITION_DECOMMIT);
}

/* --- the short way ----------------------------------------------------------------------------------------- */

/* Short runs in committed memory come and go far more often than all else, and need little of the general machinery
 * above: where the run lies in one chunk, a few operations on one or two words of each plane do. Where that is not so,
 * nothing is changed, and the caller goes the long way. */

/* The lowest fit of up to 64 pages, where both its ends are open or accessible: only then it is known that their blocks
 * are there. */
static inline bool short_find(fallow__pages *pages, unsigned size_class, uint64_t count, uint64_t *first_out)
{
    /* the bound of its own class will do: where that of a shorter run is higher, a search raises this one too */
    uint64_t bound = count >= pages->bound_pages[size_class] ? pages->bound[size_class] : 0;
    if (chunk_is_busy(pages, bound / WORDS) && (bound + 1) % WORDS != 0) {
        /* where runs are taken one after another, in the next word */
        const chunk *c = chunk_place(pages, bound / WORDS);
        uint64_t fits =
            c->used[bound % WORDS] == ~(uint64_t)0 ? word_runs(~c->used[(bound + 1) % WORDS], (unsigned)count) : 0;
        if (fits != 0) {
            *first_out = (bound + 1) * 64 + fallow__lowest_bit(fits);
            return true;
        }
    }
    short_search s = {.pages = pages, .count = (unsigned)count};
    if (bound >= bound_end(pages) || !short_search_from(&s, bound)) {
        bound_raise(pages, size_class, count, bound_end(pages));
        return false;
    }
    *first_out = s.found;
    bool is_one = is_in_one_chunk(s.found, count);
    if (s.is_open && is_one) {
        return true;
    }
    uint64_t end;
    uint64_t last = s.found + count - 1;
    if ((!s.is_open && (piece_at(pages, s.found, &end) & 1) == 0) ||
        (!is_one && !chunk_is_open(pages, last / FALLOW__CHUNK_PAGES) && (piece_at(pages, last, &end) & 1) == 0)) {
        return false;
    }
    (void)chunk_open(pages, s.found / FALLOW__CHUNK_PAGES);
    (void)chunk_open(pages, last / FALLOW__CHUNK_PAGES);
    return true;
}

bool fallow__pages_has_none(const fallow__pages *pages, uint64_t count)
{
    if (count > FALLOW__PAGES_MAX) {
        return true;
    }
    unsigned size_class = class_of(count);
    return count >= pages->bound_pages[size_class] && pages->bound[size_class] >= bound_end(pages);
}

/* The part of a short run that lies in one word, which follows the first one or is it. */
typedef struct word_part {
    chunk *chunk;
    unsigned word;
    uint64_t pages;
} word_part;

/* The parts of a run of up to 64 pages: `second.pages` is 0 if it lies in one word. */
static inline void short_parts(const fallow__pages *pages, uint64_t first, uint64_t count, word_part *first_out,
                               word_part *second_out)
{
    uint64_t start = (uint64_t)1 << (first % 64);
    uint64_t second = first / 64 + 1;
    bool is_one = first % 64 + count <= 64;
    *first_out = (word_part){chunk_place(pages, first / FALLOW__CHUNK_PAGES), first / 64 % WORDS,
                             (start << (count - 1) << 1) - start};
    *second_out = (word_part){first_out->chunk, 0, 0};
    if (!is_one) {
        *second_out = (word_part){chunk_place(pages, second / WORDS), second % WORDS,
                                  fallow__mask(0, (unsigned)(first % 64 + count - 64))};
    }
}

/* Any short run. */
static FALLOW_NOINLINE bool short_take(fallow__pages *pages, unsigned size_class, uint64_t count, uint64_t *first_out,
                                       bool *is_zero_out)
{
    uint64_t first;
    if (!short_find(pages, size_class, count, &first)) {
        return false;
    }
    word_part low;
    word_part high;
    short_parts(pages, first, count, &low, &high);
    uint64_t old = low.chunk->mark[low.word] & low.pages;
    uint64_t old_high = high.chunk->mark[high.word] & high.pages;
    uint64_t none = (low.pages & ~low.chunk->have[low.word]) | (high.pages & ~high.chunk->have[high.word]);
    bool is_old = (old | old_high) != 0;
    if (none != 0 || (is_old && (old != low.pages || old_high != high.pages))) {
        return false;
    }
    low.chunk->used[low.word] |= low.pages;
    low.chunk->mark[low.word] ^= old ^ (low.pages & (0 - low.pages)); /* the first page only */
    high.chunk->used[high.word] |= high.pages;
    high.chunk->mark[high.word] &= ~high.pages;
    chunk_taken(pages, first / FALLOW__CHUNK_PAGES);
    if (low.chunk != high.chunk) {
        chunk_taken(pages, first / FALLOW__CHUNK_PAGES + 1);
    }
    pages->state_pages[is_old ? FALLOW__FREE_DIRTY : FALLOW__FREE_ZERO] -= count;
    pages->state_pages[FALLOW__START]++;
    pages->state_pages[FALLOW__REST] += count - 1;
    if (first / 64 != pages->bound[size_class]) {
        bound_raise(pages, size_class, count, first / 64);
    }
    *first_out = first;
    *is_zero_out = !is_old;
    return true;
}

bool fallow__pages_take_short(fallow__pages *pages, uint64_t count, uint64_t *first_out, bool *is_zero_out)
{
    if (count > 64) {
        return false;
    }
    unsigned size_class = class_of(count);
    uint64_t word = pages->bound[size_class];
    if (!chunk_is_busy(pages, word / WORDS) || count < pages->bound_pages[size_class]) {
        return short_take(pages, size_class, count, first_out, is_zero_out);
    }
    /* in the very word of the bound, most likely: then neither the bound changes nor what the chunk promises */
    chunk *c = chunk_place(pages, word / WORDS);
    uint64_t fits = word_runs(~c->used[word % WORDS], (unsigned)count);
    uint64_t start = fits & (0 - fits);
    uint64_t run = (start << (count - 1) << 1) - start;
    uint64_t old = c->mark[word % WORDS] & run;
    if (fits == 0 || (run & ~c->have[word % WORDS]) != 0 || (old != 0 && old != run)) {
        return short_take(pages, size_class, count, first_out, is_zero_out);
    }
    c->used[word % WORDS] |= run;
    c->mark[word % WORDS] ^= old ^ start;
    pages->state_pages[old != 0 ? FALLOW__FREE_DIRTY : FALLOW__FREE_ZERO] -= count;
    pages->state_pages[FALLOW__START]++;
    pages->state_pages[FALLOW__REST] += count - 1;
    *first_out = word * 64 + fallow__lowest_bit(fits);
    *is_zero_out = old == 0;
    return true;
}

uint64_t fallow__pages_take_next(fallow__pages *pages, uint64_t page, unsigned most, uint64_t *zero_out)
{
    chunk *c = chunk_place(pages, page / FALLOW__CHUNK_PAGES); /* open, and stale */
    unsigned word = page / 64 % WORDS;
    uint64_t free_pages = ~c->used[word] & (~(uint64_t)0 << (page % 64));
    uint64_t none = free_pages & ~c->have[word];
    uint64_t left = none != 0 ? free_pages & ((none & (0 - none)) - 1) : free_pages;
    uint64_t taken = 0;
    unsigned count = 0;
    for (; left != 0 && count < most; count++) {
        taken |= left & (0 - left);
        left &= left - 1;
    }
    *zero_out = taken & ~c->mark[word];
    unsigned zero_count = fallow__count_bits(*zero_out);
    c->used[word] |= taken;
    c->mark[word] |= taken;
    pages->state_pages[FALLOW__FREE_ZERO] -= zero_count;
    pages->state_pages[FALLOW__FREE_DIRTY] -= count - zero_count;
    pages->state_pages[FALLOW__START] += count;
    return taken;
}

/* 64 pages from a position in one word on, out of that word and the next. */
static inline uint64_t window(uint64_t low, uint64_t high, unsigned bit)
{
    return low >> bit | high << 1 << (63 - bit);
}

/* The same question as below for what most runs are: shorter than 64 pages, and together with the page behind them in
 * one chunk. */
FALLOW_UNSYNCHRONISED
static inline bool window_has_run(const volatile chunk *c, unsigned bit, unsigned count)
{
    unsigned word = bit / 64;
    unsigned next = (word + 1) % WORDS; /* where there is none it is not looked at */
    uint64_t behind = (uint64_t)1 << count;
    uint64_t used = c->used[word];
    uint64_t mark = c->mark[word];
    uint64_t have = window(c->have[word], c->have[next], bit % 64);
    uint64_t rest = window(used & ~mark, c->used[next] & ~c->mark[next], bit % 64);
    /* its first page a start, the others not, the one behind it none of its; and all committed */
    return ((used & mark) >> (bit % 64) & 1) != 0 && (rest & ((behind << 1) - 1)) == behind - 2 &&
           (~have & (behind - 1)) == 0;
}

/* The same again for a run in one word, with the page behind it. */
FALLOW_UNSYNCHRONISED
static inline bool word_has_run(const volatile chunk *c, unsigned bit, unsigned count)
{
    uint64_t used = c->used[bit / 64] >> bit % 64;
    uint64_t mark = c->mark[bit / 64] >> bit % 64;
    uint64_t have = c->have[bit / 64] >> bit % 64;
    uint64_t behind = (uint64_t)1 << count;
    return (~(used & have) & (behind - 1)) == 0 && (mark & (behind - 1)) == 1 && (used & ~mark & behind) == 0;
}

/* Is [bit, end) what a chunk has of a committed run: from its first page on, or from a later one, and not going on
 * behind it, as far as the chunk goes? */
FALLOW_UNSYNCHRONISED
static inline bool chunk_has_run(const volatile chunk *c, unsigned bit, unsigned end, bool is_from_start)
{
    uint64_t start = is_from_start ? (uint64_t)1 << (bit % 64) : 0;
    unsigned last = end < FALLOW__CHUNK_PAGES ? end : FALLOW__CHUNK_PAGES - 1;
    for (unsigned word = bit / 64; word <= last / 64; word++) {
        uint64_t used = c->used[word];
        uint64_t mark = c->mark[word];
        uint64_t run = word * 64 != end ? word_range(word, bit, end) : 0;
        /* used and committed, one start, and it is the first page */
        if ((run & ~(used & c->have[word])) != 0 || (mark & run) != start) {
            return false;
        }
        if (word == end / 64 && ((used & ~mark) >> (end % 64) & 1) != 0) {
            return false; /* it goes on */
        }
        start = 0;
    }
    return true;
}

void fallow__pages_free_each(fallow__pages *pages, uint64_t first, uint64_t runs)
{
    uint64_t chunk_index = first / FALLOW__CHUNK_PAGES;
    chunk *c = chunk_place(pages, chunk_index);
    unsigned word = first / 64 % WORDS;
    unsigned count = fallow__count_bits(runs);
    FALLOW_ASSERT((runs & ~(c->used[word] & c->mark[word] & c->have[word])) == 0);
    c->used[word] &= ~runs;
    pages->state_pages[FALLOW__START] -= count;
    pages->state_pages[FALLOW__FREE_DIRTY] += count;
    while (runs != 0) {
        unsigned start = chunk_free_start(c, word * 64 + fallow__lowest_bit(runs));
        unsigned end = chunk_free_end(c, word * 64 + fallow__lowest_bit(runs));
        unsigned bit = word * 64 + fallow__lowest_bit(runs);
        fits_freed(pages, chunk_index, bit, end < word * 64 + 64 ? end : word * 64 + 64, start, end);
        chunk_freed(pages, chunk_index, start, end);
        bounds_after_short_free(pages, chunk_index * FALLOW__CHUNK_PAGES, start, end);
        runs &= end < word * 64 + 64 ? ~(uint64_t)0 << (end % 64) : 0;
    }
}

/* Any short run. */
FALLOW_UNSYNCHRONISED
static FALLOW_NOINLINE bool is_run_anywhere(const fallow__pages *pages, uint64_t first, uint64_t count)
{
    unsigned bit = first % FALLOW__CHUNK_PAGES;
    uint64_t chunk_index = first / FALLOW__CHUNK_PAGES;
    if (count < FALLOW__CHUNK_PAGES - bit) {
        return chunk_has_run(chunk_place(pages, chunk_index), bit, bit + (unsigned)count, true);
    }
    /* it ends in the next chunk, or where that begins: which has to be open then, in the same block */
    if (count >= FALLOW__CHUNK_PAGES || ++chunk_index % BLOCK_CHUNKS == 0 || !chunk_is_open(pages, chunk_index)) {
        return false;
    }
    const volatile chunk *next = chunk_place(pages, chunk_index);
    unsigned end = (unsigned)(bit + count - FALLOW__CHUNK_PAGES);
    return chunk_has_run(chunk_place(pages, chunk_index - 1), bit, FALLOW__CHUNK_PAGES, true) &&
           (end != 0 ? chunk_has_run(next, 0, end, false) : (next->used[0] & ~next->mark[0] & 1) == 0);
}

/* The planes of a chunk in which a run shorter than the chunk lives are valid; and those of a chunk with no such run do
 * not look as if there was one: where a whole chunk has been changed at once and its planes are old, what they show was
 * free, or part of a run that was longer. */
FALLOW_UNSYNCHRONISED
bool fallow__pages_is_short_run(const fallow__pages *pages, uint64_t first, uint64_t count)
{
    unsigned bit = first % FALLOW__CHUNK_PAGES;
    if (count < 64 && bit + count < FALLOW__CHUNK_PAGES) {
        return window_has_run(chunk_place(pages, first / FALLOW__CHUNK_PAGES), bit, (unsigned)count);
    }
    return is_run_anywhere(pages, first, count);
}

/* Free [bit, end) of a chunk, which is a run or its part. */
static inline void chunk_free_part(fallow__pages *pages, uint64_t chunk_index, unsigned bit, unsigned end)
{
    chunk *c = chunk_place(pages, chunk_index);
    for (unsigned word = bit / 64; word <= (end - 1) / 64; word++) {
        uint64_t run = word_range(word, bit, end);
        c->used[word] &= ~run;
        c->mark[word] |= run;
    }
    unsigned free_start = chunk_free_start(c, bit);
    unsigned free_end = chunk_free_end(c, bit);
    fits_freed(pages, chunk_index, bit, end, free_start, free_end);
    chunk_freed(pages, chunk_index, free_start, free_end);
    bounds_after_short_free(pages, chunk_index * FALLOW__CHUNK_PAGES, free_start, free_end);
}

/* Any short run. */
static FALLOW_NOINLINE bool short_free(fallow__pages *pages, uint64_t first, uint64_t count)
{
    uint64_t chunk_index = first / FALLOW__CHUNK_PAGES;
    unsigned bit = first % FALLOW__CHUNK_PAGES;
    if (!fallow__pages_is_short_run(pages, first, count)) { /* where one is, its chunks are open */
        return false;
    }
    pages->state_pages[FALLOW__START]--;
    pages->state_pages[FALLOW__REST] -= count - 1;
    pages->state_pages[FALLOW__FREE_DIRTY] += count;
    if (FALLOW__CHUNK_PAGES - bit < count) {
        chunk_free_part(pages, chunk_index + 1, 0, (unsigned)count - (FALLOW__CHUNK_PAGES - bit));
        count = FALLOW__CHUNK_PAGES - bit;
    }
    chunk_free_part(pages, chunk_index, bit, bit + (unsigned)count);
    return true;
}

/* A run in one word has become free. The next one in the same word, if there is one soon, finds it calm, so that little
 * need be told: the word promises everything, and so does its chunk. */
static inline void word_freed(fallow__pages *pages, const chunk *c, uint64_t first, unsigned count)
{
    uint64_t chunk_index = first / FALLOW__CHUNK_PAGES;
    unsigned bit = first % FALLOW__CHUNK_PAGES;
    unsigned start = chunk_free_start(c, bit);
    unsigned end = chunk_free_end(c, bit + count);
    const unsigned char *byte = chunk_fits_bytes(pages, chunk_index) + bit / 64;
    /* where holes come and go, a word mostly promises as much already */
    if (start / 64 != bit / 64 || start == 0 || end == FALLOW__CHUNK_PAGES ||
        (*byte & FITS_LACK) + (end - start) > FITS_NONE) {
        fits_freed(pages, chunk_index, bit, bit + count, start, end);
    }
    chunk_freed(pages, chunk_index, start, end);
    bounds_after_short_free(pages, first - bit, start, end);
    if (*byte == FITS_OPEN && chunk_promises_all(pages, chunk_index)) {
        pages->calm = first / 64 + 1;
        /* of a free run from the start of the chunk on the chunk before has been told */
        pages->is_calm_before = bit < 64 ? start == 0 : byte[-1] == FITS_OPEN;
    }
}

bool fallow__pages_free_short(fallow__pages *pages, uint64_t first, uint64_t count)
{
    uint64_t chunk_index = first / FALLOW__CHUNK_PAGES;
    unsigned bit = first % FALLOW__CHUNK_PAGES;
    chunk *c = chunk_place(pages, chunk_index);
    if (!chunk_is_busy(pages, chunk_index)) {
        chunk_prefetch(pages, chunk_index);
    }
    bool is_in_word = bit % 64 + count < 64 ? word_has_run(c, bit, (unsigned)count)
                                            : bit % 64 + count == 64 && bit + count < FALLOW__CHUNK_PAGES &&
                                                  count < 64 && window_has_run(c, bit, (unsigned)count);
    if (!is_in_word) {
        return short_free(pages, first, count);
    }
    uint64_t run = fallow__mask(bit % 64, (unsigned)count);
    c->used[bit / 64] &= ~run;
    c->mark[bit / 64] |= run;
    pages->state_pages[FALLOW__START]--;
    pages->state_pages[FALLOW__REST] -= count - 1;
    pages->state_pages[FALLOW__FREE_DIRTY] += count;
    uint64_t word = first / 64;
    if (pages->calm == word + 1) {
        uint64_t before = c->used[bit / 64] & (((uint64_t)1 << (bit % 64)) - 1);
        if (before != 0) { /* the free run begins in this word */
            if (!bounds_are_low(pages, word)) {
                unsigned start = bit - bit % 64 + fallow__highest_bit(before) + 1;
                unsigned end = chunk_free_end(c, bit + (unsigned)count);
                bound_lower(pages, word, end == FALLOW__CHUNK_PAGES ? FALLOW__PAGES_MAX : end - start);
            }
            return true;
        }
        /* It begins in this chunk; or it goes on before it, and then that was told when the word became calm. */
        if (pages->is_calm_before && bounds_are_low(pages, word - bit / 64)) {
            return true;
        }
    }
    word_freed(pages, c, first, (unsigned)count);
    return true;
}

/* --- storage ----------------------------------------------------------------------------------------------- */

/* Where each level lies, and how high the tree is. */
typedef struct layout {
    size_t level_offset[FALLOW__PAGES_LEVELS_MAX];
    size_t planes_offset; /* in a block, behind its nodes and its fits */
    size_t upper_bytes;
    unsigned levels;
    size_t fits_offset[FALLOW__FITS_LEVELS_MAX];
    unsigned fits_top;
} layout;

static uint64_t chunks_for(uint64_t page_count)
{
    return (page_count + FALLOW__CHUNK_PAGES - 1) / FALLOW__CHUNK_PAGES;
}

/* Siblings stay together, so each level has room for a multiple of eight nodes, a cache line or four. */
static void layout_for(uint64_t page_count, layout *layout_out)
{
    uint64_t chunk_count = chunks_for(page_count);
    uint64_t block_count = (chunk_count + BLOCK_CHUNKS - 1) / BLOCK_CHUNKS;
    uint64_t nodes = block_count > 1 ? BLOCK_CHUNKS : fallow__align_up(chunk_count, CHILDREN);
    size_t words = (size_t)nodes * WORDS;
    *layout_out = (layout){.levels = BLOCK_LEVEL};
    for (unsigned level = 0; level < BLOCK_LEVEL; level++) {
        layout_out->level_offset[level] = layout_out->planes_offset;
        size_t node_bytes = level == 0 ? sizeof(uint32_t) : sizeof(uint64_t);
        layout_out->planes_offset += (size_t)fallow__align_up((size_t)nodes * node_bytes, 64);
        nodes = fallow__align_up(nodes / CHILDREN, CHILDREN);
    }
    layout_out->fits_offset[FITS_WORDS] = layout_out->planes_offset;
    layout_out->planes_offset += sizeof(fits_line) + words;
    layout_out->fits_top = FITS_GROUPS;
    for (uint64_t lines = block_count; lines > 1 || layout_out->fits_top < FITS_BLOCKS;) {
        lines = (lines + FITS_BYTES - 1) / FITS_BYTES;
        layout_out->fits_offset[++layout_out->fits_top] = layout_out->upper_bytes;
        layout_out->upper_bytes += (size_t)lines * sizeof(fits_line);
    }
    for (nodes = block_count;; nodes = (nodes + CHILDREN - 1) / CHILDREN) {
        size_t node_bytes = layout_out->levels == BLOCK_LEVEL ? sizeof(uint64_t) : sizeof(wide_node);
        layout_out->level_offset[layout_out->levels] = layout_out->upper_bytes;
        layout_out->upper_bytes += (size_t)fallow__align_up(nodes, CHILDREN) * node_bytes;
        layout_out->levels++;
        if (nodes == 1) {
            return;
        }
    }
}

void fallow__pages_plan_for(uint64_t page_count, size_t os_page_bytes, fallow__pages_plan *plan_out)
{
    FALLOW_ASSERT(page_count >= 1 && page_count <= FALLOW__PAGES_MAX);
    layout sizes;
    layout_for(page_count, &sizes);
    uint64_t chunk_count = chunks_for(page_count);
    uint64_t block_count = (chunk_count + BLOCK_CHUNKS - 1) / BLOCK_CHUNKS;
    uint64_t last_chunks = chunk_count - (block_count - 1) * BLOCK_CHUNKS;
    size_t last_bytes = sizes.planes_offset + (size_t)last_chunks * sizeof(chunk);
    size_t full_bytes = block_count > 1 ? sizes.planes_offset + BLOCK_CHUNKS * sizeof(chunk) : last_bytes;
    *plan_out = (fallow__pages_plan){
        .page_count = page_count,
        .block_count = block_count,
        .block_bytes = (size_t)fallow__align_up(full_bytes, os_page_bytes),
        .last_block_bytes = (size_t)fallow__align_up(last_bytes, os_page_bytes),
        .upper_bytes = sizes.upper_bytes,
    };
}

void fallow__pages_init(fallow__pages *pages, const fallow__pages_plan *plan, void *upper, void *blocks)
{
    layout sizes;
    layout_for(plan->page_count, &sizes);
    memset(pages, 0, sizeof *pages);
    pages->page_count = plan->page_count;
    pages->chunk_count = chunks_for(plan->page_count);
    pages->levels = sizes.levels;
    pages->upper = upper;
    pages->blocks = blocks;
    pages->planes = pages->blocks + sizes.planes_offset;
    pages->block_bytes = plan->block_bytes;
    memcpy(pages->level_offset, sizes.level_offset, sizeof sizes.level_offset);
    memcpy(pages->fits_offset, sizes.fits_offset, sizeof sizes.fits_offset);
    pages->fits_top = sizes.fits_top;
    pages->block_count = plan->block_count;
    uint64_t bytes = plan->block_count;
    for (unsigned level = FITS_BLOCKS; level <= pages->fits_top; level++) {
        for (uint64_t i = bytes; i % FITS_BYTES != 0; i++) { /* blocks that are not there have no free pages */
            *fits_byte(pages, level, i) = FITS_NONE;
        }
        bytes = (bytes + FITS_BYTES - 1) / FITS_BYTES;
    }
    for (unsigned size_class = 0; size_class < FALLOW__SIZE_CLASSES; size_class++) {
        pages->bound_pages[size_class] = class_pages_max(size_class);
    }

    uint64_t capacity = pages_capacity(pages);
    node_store(pages, pages->levels - 1, 0, node_uniform(pages->levels - 1, FALLOW__FREE_NONE));
    pages->state_pages[FALLOW__FREE_NONE] = capacity;
    if (pages->page_count < capacity) {
        node_change(pages, pages->levels - 1, 0, pages->page_count, capacity, TRANSITION_TO(FALLOW__START_NONE));
        pages->state_pages[FALLOW__START_NONE] -= capacity - pages->page_count;
    }
}

/* --- verification ------------------------------------------------------------------------------------------ */

typedef struct verification {
    const fallow__pages *pages;
    uint64_t state_pages[STATES];
    bool is_previous_used; /* the page before the present one */
} verification;

/* Do a chunk's words promise everything that is there? */
static bool verify_words(const fallow__pages *pages, uint64_t chunk_index)
{
    for (uint64_t word = chunk_index * WORDS; word < (chunk_index + 1) * WORDS; word++) {
        unsigned byte = *fits_byte(pages, FITS_WORDS, word);
        unsigned lack = fits_lack(word_free(pages, word), word_free(pages, word + 1));
        if ((byte & FITS_OPEN) == 0 || (byte & FITS_LACK) > lack) {
            return false;
        }
    }
    return true;
}

/* Do the bytes under a uniform node say that it is one? */
static bool verify_closed(const fallow__pages *pages, unsigned level, uint64_t index, unsigned state)
{
    unsigned lack = (FALLOW__STATES(state) & FALLOW__STATES_FREE) != 0 ? 0 : FITS_NONE;
    if (level == 0) {
        const unsigned char *bytes = chunk_fits_bytes(pages, index);
        for (unsigned word = 0; word < WORDS; word++) {
            if (bytes[word] != lack) {
                return false;
            }
        }
        return true;
    }
    unsigned bytes = level < BLOCK_LEVEL ? FITS_GROUPS : FITS_BLOCKS;
    unsigned shift = CHILDREN_SHIFT * (level - (level < BLOCK_LEVEL ? 1 : BLOCK_LEVEL));
    for (uint64_t i = index << shift; i < (index + 1) << shift; i++) {
        if ((bytes == FITS_GROUPS || i < pages->block_count) && *fits_byte(pages, bytes, i) != lack) {
            return false;
        }
    }
    return true;
}

/* Does each byte above the blocks say what the best one below it does; and each one that has nothing below it that
 * there is no free page? */
static bool verify_upper_fits(const fallow__pages *pages)
{
    uint64_t bytes = pages->block_count;
    for (unsigned level = FITS_BLOCKS; level <= pages->fits_top; level++) {
        for (uint64_t i = 0; level > FITS_BLOCKS && i < bytes; i++) {
            if (*fits_byte(pages, level, i) != fits_least(fits_place(pages, level - 1, i))) {
                return false;
            }
        }
        for (uint64_t i = bytes; i % FITS_BYTES != 0; i++) {
            if (*fits_byte(pages, level, i) != FITS_NONE) {
                return false;
            }
        }
        bytes = (bytes + FITS_BYTES - 1) / FITS_BYTES;
    }
    return true;
}

static bool verify_chunk(verification *v, uint64_t index)
{
    const chunk *c = chunk_place(v->pages, index);
    node here = node_load(v->pages, 0, index);
    node exact = chunk_summarise(c);
    bool is_promised = exact.start <= here.start && exact.max <= here.max && exact.end <= here.end;
    /* a chunk that is wholly free stays open for a while */
    bool is_same = exact.start == here.start && exact.max == here.max && exact.end == here.end;
    if (here.state == STALE ? !is_promised : !is_same) {
        return false;
    }
    for (unsigned word = 0; word < WORDS; word++) {
        uint64_t rest = c->used[word] & ~c->mark[word];
        uint64_t after_used = c->used[word] << 1 | (v->is_previous_used ? 1 : 0);
        if ((rest & ~after_used) != 0) {
            return false;
        }
        v->is_previous_used = c->used[word] >> 63;
    }
    chunk_count(c, v->state_pages);
    return verify_words(v->pages, index);
}

static bool verify_node(verification *v, unsigned level, uint64_t index)
{
    node here = node_load(v->pages, level, index);
    if (here.state < MIXED) {
        unsigned set = FALLOW__STATES(here.state);
        v->state_pages[here.state] += level_pages(level);
        if ((set & FALLOW__STATES_REST) != 0 && !v->is_previous_used) {
            return false;
        }
        v->is_previous_used = (set & FALLOW__STATES_USED) != 0;
        return node_equal(here, node_uniform(level, here.state)) && verify_closed(v->pages, level, index, here.state);
    }
    if (here.state > (level == 0 ? STALE : MIXED)) {
        return false;
    }
    if (level == 0) {
        return verify_chunk(v, index);
    }
    for (unsigned i = 0; i < CHILDREN; i++) {
        if (!verify_node(v, level - 1, index * CHILDREN + i)) {
            return false;
        }
    }
    unsigned above = level == 1 ? FITS_GROUPS : FITS_BLOCKS;
    if ((level == 1 || level == BLOCK_LEVEL) &&
        *fits_byte(v->pages, above, index) != (FITS_OPEN | fits_least(fits_place(v->pages, above - 1, index)))) {
        return false;
    }
    return node_equal(here, node_combine(v->pages, level, index));
}

static bool verify_bounds(fallow__pages *pages)
{
    for (unsigned size_class = 0; size_class < FALLOW__SIZE_CLASSES; size_class++) {
        fallow__pages_request request = {.count = pages->bound_pages[size_class]};
        uint64_t first;
        if (pages->bound[size_class] == 0) {
            continue;
        }
        if (class_of(request.count) != size_class) {
            return false;
        }
        if (pages->bound[size_class] > pages->bound_top) {
            return false;
        }
        if (search_tree(pages, &request, 0, &first) && first / 64 < pages->bound[size_class]) {
            return false;
        }
    }
    return true;
}

bool fallow__pages_verify(fallow__pages *pages)
{
    verification v = {.pages = pages};
    uint64_t capacity = pages_capacity(pages);
    if (pages->page_count < capacity &&
        node_states(pages, pages->levels - 1, 0, pages->page_count, capacity) != FALLOW__STATES(FALLOW__START_NONE)) {
        return false;
    }
    if (!verify_node(&v, pages->levels - 1, 0)) {
        return false;
    }
    v.state_pages[FALLOW__START_NONE] -= capacity - pages->page_count;
    for (unsigned state = 0; state < STATES; state++) {
        if (v.state_pages[state] != pages->state_pages[state]) {
            return false;
        }
    }
    return verify_upper_fits(pages) && verify_bounds(pages);
}
