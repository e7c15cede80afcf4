/* Arenas: runs of pages in one reservation, or in several.
 *
 * An arena is a list of *parts*, oldest first. A part is one reservation with its own bookkeeping in front:
 *
 *      region.base                                                  base
 *      | head | upper | block 0 | block 1 | ...    | guard | (gap) | page 0 | page 1 | ...                  |
 *      '--- committed --'-- committed as used ------'-- never ------'-- committed as used, in steps --------'
 *
 *   head    the part; in the first part's head the arena itself; and two bits for each block: `ready`, its bookkeeping
 *           is committed, and `fresh`, it became so in the call under way
 *   upper   the page allocator's upper storage; blocks: its bitmaps (pages.h)
 *   guard   an OS page that is never committed, so that a run below or a wild write does not reach the bookkeeping
 *
 * Every request goes through three steps, the refusable ones first:
 *
 *   find      where the run fits: pages.c, changes nothing
 *   prepare   make the place usable: commit the blocks that will be written, commit pages that are not accessible, ask
 *             the limit and the callback. May fail; then what it did is undone and the arena is as it was
 *   take      write it down: cannot fail
 *
 * What a page's state means for its memory (pages.h has the states):
 *
 *   NONE   faults; counted nowhere             ZERO    accessible, no memory: committed ahead, or purged
 *   DIRTY  accessible, may hold memory         LAZY    as DIRTY, but the system may take it
 *   used   START, REST: in use; START_NONE, REST_NONE: addresses only
 *
 * Locking. One lock for everything; system calls are made with it held.
 *
 * The only file that sees both pages.h and os.h. */
#include <string.h>

#include "arenas.h"
#include "bits.h"
#include "config.h"
#include "os.h"
#include "pages.h"
#include "status.h"

enum {
    PAGE_BYTES_DEFAULT = 8 << 10, /* twice the usual OS page: half the bookkeeping, and nothing asks for less */
    PAGE_BYTES_MAX = 2 << 20,
    GROW_BYTES_DEFAULT = 2 << 20, /* one huge page: the system call is a few ns a page, and huge pages can form */
    RETAIN_PERCENT_MAX = 1000,
    DATA_ALIGN_LARGE = 2 << 20, /* page 0 of an arena of 64 MiB and more lies on a huge page boundary */
    DATA_ALIGN_FROM = 64 << 20,
    RESERVE_BYTES_LEAST = 64 << 10, /* less is not worth an arena */
    ZERO_PIECES = 16                /* pieces that ZEROED clears one by one; the rest in one go */
};

#define ALL_ARENA_FLAGS                                                                               \
    (FALLOW_ARENA_FIXED | FALLOW_ARENA_HUGE_PAGES | FALLOW_ARENA_LARGE_PAGES | FALLOW_ARENA_NO_FORK | \
     FALLOW_ARENA_NO_DUMP)
#define ALL_RUN_FLAGS \
    (FALLOW_RUN_ZEROED | FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_TOP_DOWN | FALLOW_RUN_NO_CACHE | FALLOW_RUN_NO_GROW)

#define STATES_NONE \
    (FALLOW__STATES(FALLOW__FREE_NONE) | FALLOW__STATES(FALLOW__REST_NONE) | FALLOW__STATES(FALLOW__START_NONE))
#define STATES_ACCESSIBLE (~STATES_NONE & 0xffu)
#define STATES_FREE_ACCESSIBLE (STATES_ACCESSIBLE & FALLOW__STATES_FREE)

typedef struct part {
    struct part *next;     /* newer */
    struct part *previous; /* older */
    fallow_region region;
    fallow__pages_plan plan;
    unsigned char *base;   /* page 0 */
    unsigned char *blocks; /* block 0 */
    uint64_t *ready;       /* a bit for each block */
    uint64_t *fresh;
    uint64_t fresh_count;  /* bits set in fresh */
    size_t metadata_bytes; /* bookkeeping that is committed */
    fallow__pages pages;
    fallow__mark mark; /* for those who look at mappings */
} part;

struct fallow_arena {
    fallow__os_lock lock;
    part *oldest;
    part *newest;
    unsigned page_shift;
    size_t page_bytes;
    size_t reserve_bytes; /* what a further part asks for first */
    uint64_t grow_pages;
    size_t limit_bytes;
    size_t peak_in_use_pages;
    uint64_t commit_calls;
    uint64_t purge_calls;
    fallow_purge purge;    /* never DEFAULT */
    uint32_t flags;        /* FALLOW_ARENA_* */
    uint32_t region_flags; /* of every part */
    bool (*before_commit)(void *callback_context, void *base, size_t size_bytes);
    void (*after_decommit)(void *callback_context, void *base, size_t size_bytes);
    void *callback_context;
    char name[FALLOW_NAME_BYTES];
};

/* A request, checked and in pages. */
typedef struct order {
    uint64_t count;
    uint64_t align; /* pages, at least 1 */
    uint32_t flags; /* FALLOW_RUN_* */
    unsigned char *at;
} order;

/* A place for it. */
typedef struct place {
    part *part;
    uint64_t first;
    uint64_t count;
} place;

/* --- small things ------------------------------------------------------------------------------------------ */

static inline unsigned char *page_address(const fallow_arena *arena, const part *p, uint64_t page)
{
    return p->base + ((size_t)page << arena->page_shift);
}

static inline size_t pages_bytes(const fallow_arena *arena, uint64_t count)
{
    return (size_t)count << arena->page_shift;
}

static inline uint64_t page_of(const fallow_arena *arena, const part *p, const void *address)
{
    return (uint64_t)((uintptr_t)address - (uintptr_t)p->base) >> arena->page_shift;
}

/* Whole pages for a size that is not 0. */
static inline uint64_t pages_up(const fallow_arena *arena, size_t size_bytes)
{
    return ((uint64_t)(size_bytes - 1) >> arena->page_shift) + 1;
}

/* The same for any size; false when it is 0, or cannot be rounded up. */
static inline bool pages_for(const fallow_arena *arena, size_t size_bytes, uint64_t *count_out)
{
    *count_out = pages_up(arena, size_bytes);
    return size_bytes != 0 && *count_out <= SIZE_MAX >> arena->page_shift;
}

static inline bool part_holds(const fallow_arena *arena, const part *p, const void *address)
{
    return (uintptr_t)address - (uintptr_t)p->base < pages_bytes(arena, p->plan.page_count);
}

static inline part *part_of(const fallow_arena *arena, const void *address)
{
    part *p = arena->oldest;
    while (p != NULL && !part_holds(arena, p, address)) {
        p = p->next;
    }
    return p;
}

static inline uint64_t part_state_pages(const part *p, unsigned states)
{
    uint64_t count = 0;
    for (unsigned state = 0; state < 8; state++) {
        count += (states & FALLOW__STATES(state)) != 0 ? p->pages.state_pages[state] : 0;
    }
    return count;
}

static uint64_t arena_state_pages(const fallow_arena *arena, unsigned states)
{
    uint64_t count = 0;
    for (const part *p = arena->oldest; p != NULL; p = p->next) {
        count += part_state_pages(p, states);
    }
    return count;
}

/* What limit_bytes bounds: everything that may hold memory. */
static size_t arena_backed_bytes(const fallow_arena *arena)
{
    size_t metadata_bytes = 0;
    for (const part *p = arena->oldest; p != NULL; p = p->next) {
        metadata_bytes += p->metadata_bytes;
    }
    return metadata_bytes + pages_bytes(arena, arena_state_pages(arena, FALLOW__STATES_IN_USE | FALLOW__STATES_OLD));
}

static inline void arena_note_peak(fallow_arena *arena)
{
    uint64_t in_use = 0;
    for (const part *p = arena->oldest; p != NULL; p = p->next) {
        in_use += p->pages.state_pages[FALLOW__START] + p->pages.state_pages[FALLOW__REST];
    }
    if (in_use > arena->peak_in_use_pages) {
        arena->peak_in_use_pages = (size_t)in_use;
    }
}

/* The next longest range at or behind *page_inout, below limit, whose pages are in states of a set. */
static bool next_range(fallow__pages *pages, uint64_t *page_inout, uint64_t limit, unsigned states, uint64_t *first_out,
                       uint64_t *count_out)
{
    uint64_t first = fallow__pages_next(pages, *page_inout, limit, states);
    if (first == limit) {
        return false;
    }
    uint64_t end = fallow__pages_next(pages, first, limit, ~states & 0xff);
    *first_out = first;
    *count_out = end - first;
    *page_inout = end;
    return true;
}

/* How many pages of a range are in states of a set. */
static uint64_t range_count(fallow__pages *pages, uint64_t first, uint64_t count, unsigned states)
{
    uint64_t total = 0;
    uint64_t page = first;
    uint64_t range_first;
    uint64_t range_pages;
    while (next_range(pages, &page, first + count, states, &range_first, &range_pages)) {
        total += range_pages;
    }
    return total;
}

/* --- what the callbacks hear ------------------------------------------------------------------------------- */

static bool granted(const fallow_arena *arena, void *base, size_t size_bytes)
{
    return arena->before_commit == NULL || arena->before_commit(arena->callback_context, base, size_bytes);
}

/* A limit of our own refuses. */
static fallow_status refused(fallow__os_error *error, const char *limit_name, size_t limit_bytes)
{
    *error = (fallow__os_error){.limit_name = limit_name, .limit_value = limit_bytes};
    return FALLOW_ERR_LIMIT;
}

static void taken_back(fallow_arena *arena, void *base, size_t size_bytes)
{
    if (arena->after_decommit != NULL) {
        arena->after_decommit(arena->callback_context, base, size_bytes);
    }
}

static void ranges_taken_back(fallow_arena *arena, part *p, uint64_t first, uint64_t limit, unsigned states)
{
    uint64_t range_first;
    uint64_t range_pages;
    if (arena->after_decommit == NULL) {
        return;
    }
    for (uint64_t page = first; next_range(&p->pages, &page, limit, states, &range_first, &range_pages);) {
        taken_back(arena, page_address(arena, p, range_first), pages_bytes(arena, range_pages));
    }
}

/* Ask for every range that is to be committed in [first, limit); all or nothing. */
static bool ranges_granted(fallow_arena *arena, part *p, uint64_t first, uint64_t limit)
{
    uint64_t range_first;
    uint64_t range_pages;
    if (arena->before_commit == NULL) {
        return true;
    }
    for (uint64_t page = first; next_range(&p->pages, &page, limit, STATES_NONE, &range_first, &range_pages);) {
        if (!granted(arena, page_address(arena, p, range_first), pages_bytes(arena, range_pages))) {
            ranges_taken_back(arena, p, first, range_first, STATES_NONE);
            return false;
        }
    }
    return true;
}

/* What the system still does for a range after it was asked to decommit it. */
static bool memory_is_gone(fallow__os_left left)
{
    return left != FALLOW__OS_LEFT_ALL;
}

static bool is_accessible(fallow__os_left left)
{
    return left == FALLOW__OS_LEFT_ACCESSIBLE || left == FALLOW__OS_LEFT_ALL;
}

/* --- committing -------------------------------------------------------------------------------------------- */

/* Commit bookkeeping: granted, committed and counted, or nothing. */
static fallow_status metadata_commit(fallow_arena *arena, part *p, void *base, size_t size_bytes,
                                     fallow__os_error *error)
{
    if (!granted(arena, base, size_bytes)) {
        return refused(error, "before_commit", size_bytes);
    }
    arena->commit_calls++;
    fallow_status status = fallow__os_commit(&p->region, base, size_bytes, error);
    if (status != FALLOW_OK) {
        taken_back(arena, base, size_bytes);
        return status;
    }
    p->metadata_bytes += size_bytes;
    return FALLOW_OK;
}

static inline bool block_is_ready(const part *p, uint64_t block)
{
    return (p->ready[block / 64] >> (block % 64)) & 1;
}

static inline bool page_is_ready(const part *p, uint64_t page)
{
    return block_is_ready(p, page / FALLOW__BLOCK_PAGES);
}

/* The bookkeeping of blocks [first, end): the last block of a part may be shorter than the others. */
static inline size_t blocks_bytes(const part *p, uint64_t first, uint64_t end)
{
    size_t cut = end == p->plan.block_count ? p->plan.block_bytes - p->plan.last_block_bytes : 0;
    return (size_t)(end - first) * p->plan.block_bytes - cut;
}

/* The next block of [block, end) that is ready, or the next that is not; end if there is none. Whole words at once: a
 * large run has thousands of blocks. */
static uint64_t block_next(const part *p, uint64_t block, uint64_t end, bool is_ready)
{
    while (block < end) {
        uint64_t word = (is_ready ? p->ready[block / 64] : ~p->ready[block / 64]) >> (block % 64);
        if (word != 0) {
            block += fallow__lowest_bit(word);
            return block < end ? block : end;
        }
        block += 64 - block % 64;
    }
    return end;
}

/* How many blocks of a range of pages are not ready. */
static uint64_t blocks_missing(const part *p, uint64_t first, uint64_t count)
{
    uint64_t missing = 0;
    uint64_t end = (first + count - 1) / FALLOW__BLOCK_PAGES + 1;
    for (uint64_t block = block_next(p, first / FALLOW__BLOCK_PAGES, end, false); block < end;) {
        uint64_t missing_end = block_next(p, block, end, true);
        missing += missing_end - block;
        block = block_next(p, missing_end, end, false);
    }
    return missing;
}

/* Make the bookkeeping of a range of pages accessible: each series of missing blocks with one system call. Blocks that
 * became ready are marked fresh until the call is through (blocks_keep) or has failed (blocks_drop). */
static fallow_status blocks_prepare(fallow_arena *arena, part *p, uint64_t first, uint64_t count,
                                    fallow__os_error *error)
{
    uint64_t end = (first + count - 1) / FALLOW__BLOCK_PAGES + 1;
    for (uint64_t block = block_next(p, first / FALLOW__BLOCK_PAGES, end, false); block < end;
         block = block_next(p, block, end, false)) {
        uint64_t missing_end = block_next(p, block, end, true);
        fallow_status status = metadata_commit(arena, p, p->blocks + (size_t)block * p->plan.block_bytes,
                                               blocks_bytes(p, block, missing_end), error);
        if (status != FALLOW_OK) {
            return status;
        }
        for (; block < missing_end; block++) {
            p->ready[block / 64] |= (uint64_t)1 << (block % 64);
            p->fresh[block / 64] |= (uint64_t)1 << (block % 64);
            p->fresh_count++;
        }
    }
    return FALLOW_OK;
}

/* Forget which blocks are fresh; `is_drop`: and take them back, which nothing has written to. A block that the system
 * leaves accessible stays ready: it is zero, and that is all that ready means. */
static void blocks_settle(fallow_arena *arena, part *p, uint64_t first, uint64_t count, bool is_drop)
{
    if (p->fresh_count == 0) {
        return;
    }
    uint64_t last = (first + count - 1) / FALLOW__BLOCK_PAGES;
    for (uint64_t block = first / FALLOW__BLOCK_PAGES; block <= last && p->fresh_count != 0; block++) {
        uint64_t bit = (uint64_t)1 << (block % 64);
        if ((p->fresh[block / 64] & bit) == 0) {
            continue;
        }
        p->fresh[block / 64] &= ~bit;
        p->fresh_count--;
        void *base = p->blocks + (size_t)block * p->plan.block_bytes;
        size_t size_bytes = blocks_bytes(p, block, block + 1);
        fallow__os_left left;
        fallow__os_error ignored;
        if (!is_drop) {
            continue;
        }
        (void)fallow__os_decommit(&p->region, base, size_bytes, &left, &ignored);
        if (!is_accessible(left)) {
            p->ready[block / 64] &= ~bit;
            p->metadata_bytes -= size_bytes;
            taken_back(arena, base, size_bytes);
        }
    }
}

static void blocks_keep(fallow_arena *arena, place where)
{
    blocks_settle(arena, where.part, where.first, where.count, false);
}

static void blocks_drop(fallow_arena *arena, place where)
{
    blocks_settle(arena, where.part, where.first, where.count, true);
}

/* A commit that was refused may have stopped partway (os.h): what the books call inaccessible becomes so. */
static void range_undo_commit(fallow_arena *arena, part *p, uint64_t first, uint64_t limit)
{
    uint64_t range_first;
    uint64_t range_pages;
    for (uint64_t page = first; next_range(&p->pages, &page, limit, STATES_NONE, &range_first, &range_pages);) {
        fallow__os_left left;
        fallow__os_error ignored;
        (void)fallow__os_decommit(&p->region, page_address(arena, p, range_first), pages_bytes(arena, range_pages),
                                  &left, &ignored);
    }
}

/* Commit the inaccessible pages in [first, limit), with one system call over all of it: pages that are committed
 * already do not mind. */
static fallow_status range_commit(fallow_arena *arena, part *p, uint64_t first, uint64_t limit, fallow__os_error *error)
{
    if (!ranges_granted(arena, p, first, limit)) {
        return refused(error, "before_commit", pages_bytes(arena, limit - first));
    }
    arena->commit_calls++;
    fallow_status status =
        fallow__os_commit(&p->region, page_address(arena, p, first), pages_bytes(arena, limit - first), error);
    if (status != FALLOW_OK) {
        range_undo_commit(arena, p, first, limit);
        ranges_taken_back(arena, p, first, limit, STATES_NONE);
        return status;
    }
    return FALLOW_OK;
}

/* Give the free pages of [first, limit) that are in states of a set another state; the others stay as they are. */
static void range_set_free(part *p, uint64_t first, uint64_t limit, unsigned states, fallow__page_state new_state)
{
    uint64_t range_first;
    uint64_t range_pages;
    for (uint64_t page = first; next_range(&p->pages, &page, limit, states, &range_first, &range_pages);) {
        fallow__pages_set_free(&p->pages, range_first, range_pages, new_state);
    }
}

/* How far a commit of pages up to `limit` may go on, for the pages that will be asked for next: to a multiple of the
 * growth step, as long as pages are free and not committed. */
static uint64_t growth_limit(const fallow_arena *arena, part *p, uint64_t limit)
{
    uint64_t goal = (limit + arena->grow_pages - 1) / arena->grow_pages * arena->grow_pages;
    uint64_t room = p->plan.page_count;
    uint64_t block_end = (limit + FALLOW__BLOCK_PAGES - 1) / FALLOW__BLOCK_PAGES * FALLOW__BLOCK_PAGES;
    /* not into a block whose bookkeeping may not be there */
    room = room < block_end ? room : block_end;
    goal = goal < room ? goal : room;
    if (goal <= limit) {
        return limit;
    }
    return fallow__pages_next(&p->pages, limit, goal, ~FALLOW__STATES(FALLOW__FREE_NONE) & 0xff);
}

/* Make all pages of a free range accessible, and some behind it; smaller steps when the system refuses. */
static fallow_status place_commit(fallow_arena *arena, place where, fallow__os_error *error)
{
    part *p = where.part;
    uint64_t end = where.first + where.count;
    uint64_t first = fallow__pages_next(&p->pages, where.first, end, STATES_NONE);
    if (first == end) {
        return FALLOW_OK;
    }
    uint64_t last_first;
    uint64_t last_count;
    uint64_t needed = end;
    if (fallow__pages_last_range(&p->pages, end, STATES_NONE, &last_first, &last_count)) {
        needed = last_first + last_count;
    }
    uint64_t limit = needed == end ? growth_limit(arena, p, end) : needed;
    for (;;) {
        fallow_status status = range_commit(arena, p, first, limit, error);
        if (status == FALLOW_OK) {
            range_set_free(p, first, limit, FALLOW__STATES(FALLOW__FREE_NONE), FALLOW__FREE_ZERO);
            return FALLOW_OK;
        }
        if (limit == needed) {
            return status;
        }
        limit = needed + (limit - needed) / 2;
    }
}

/* --- giving back ------------------------------------------------------------------------------------------- */

/* Pages of a free range that were accessible are no longer. */
static void free_range_lost(fallow_arena *arena, part *p, uint64_t first, uint64_t count)
{
    ranges_taken_back(arena, p, first, first + count, STATES_FREE_ACCESSIBLE);
    range_set_free(p, first, first + count, STATES_FREE_ACCESSIBLE, FALLOW__FREE_NONE);
}

/* Decommit a free range, and write down what came of it. */
static fallow_status free_range_decommit(fallow_arena *arena, part *p, uint64_t first, uint64_t count,
                                         fallow__os_error *error)
{
    fallow__os_left left;
    arena->purge_calls++;
    fallow_status status =
        fallow__os_decommit(&p->region, page_address(arena, p, first), pages_bytes(arena, count), &left, error);
    if (!is_accessible(left)) {
        free_range_lost(arena, p, first, count);
    } else if (memory_is_gone(left)) {
        /* the range may hold pages that were not accessible: they still are not */
        range_set_free(p, first, first + count, FALLOW__STATES_OLD, FALLOW__FREE_ZERO);
    }
    return status;
}

/* Purge or decommit a free, accessible range. A decommit that could only give the memory back counts as done: that is
 * what was asked for, and the stats tell that the pages are still accessible. It has met a limit then (max_map_count),
 * as the next one would, and to find that out costs more than the memory is worth: *purge_inout becomes DONTNEED. */
static fallow_status free_range_release(fallow_arena *arena, part *p, uint64_t first, uint64_t count,
                                        fallow_purge *purge_inout, fallow__os_error *error)
{
    if (*purge_inout == FALLOW_PURGE_DECOMMIT) {
        uint64_t old_pages = part_state_pages(p, FALLOW__STATES_OLD);
        fallow_status status = free_range_decommit(arena, p, first, count, error);
        if (status != FALLOW_OK && part_state_pages(p, FALLOW__STATES_OLD) < old_pages) {
            *purge_inout = FALLOW_PURGE_DONTNEED;
            return FALLOW_OK;
        }
        return status;
    }
    bool is_zero;
    bool is_committed = true;
    arena->purge_calls++;
    fallow_status status = fallow__os_purge(&p->region, page_address(arena, p, first), pages_bytes(arena, count),
                                            *purge_inout, &is_zero, &is_committed, error);
    if (status == FALLOW_OK) {
        fallow__pages_set_free(&p->pages, first, count, is_zero ? FALLOW__FREE_ZERO : FALLOW__FREE_LAZY);
    } else if (!is_committed) {
        free_range_lost(arena, p, first, count);
    }
    return status;
}

/* Release free pages that are in states of `states`, newest part and highest address first, until no more than
 * keep_pages of them are left. */
static fallow_status arena_release(fallow_arena *arena, uint64_t keep_pages, unsigned states, fallow_purge *purge_inout,
                                   fallow__os_error *error)
{
    uint64_t held = arena_state_pages(arena, states);
    for (part *p = arena->newest; p != NULL; p = p->previous) {
        uint64_t below = p->plan.page_count;
        uint64_t first;
        uint64_t count;
        while (held > keep_pages && fallow__pages_last_range(&p->pages, below, states, &first, &count)) {
            below = first;
            if (count > held - keep_pages) {
                first += count - (held - keep_pages);
                count = held - keep_pages;
            }
            fallow_status status = free_range_release(arena, p, first, count, purge_inout, error);
            if (status != FALLOW_OK) {
                return status;
            }
            held -= count;
        }
    }
    return FALLOW_OK;
}

/* --- the limit --------------------------------------------------------------------------------------------- */

/* The bytes that will be backed when a place is used, and are not now. */
static size_t place_new_bytes(const fallow_arena *arena, place where, bool is_committed)
{
    const part *p = where.part;
    size_t bytes = 0;
    if (arena->limit_bytes != 0) {
        unsigned unbacked = is_committed ? STATES_NONE | FALLOW__STATES(FALLOW__FREE_ZERO) : 0;
        bytes = (size_t)blocks_missing(p, where.first, where.count) * p->plan.block_bytes +
                pages_bytes(arena, range_count(&where.part->pages, where.first, where.count, unbacked));
    }
    return bytes;
}

static bool fits_limit(const fallow_arena *arena, size_t new_bytes)
{
    if (arena->limit_bytes == 0) {
        return true;
    }
    size_t backed = arena_backed_bytes(arena);
    return backed <= arena->limit_bytes && new_bytes <= arena->limit_bytes - backed;
}

/* Give back what the arena holds for nothing. */
static void arena_release_old(fallow_arena *arena)
{
    fallow_purge purge = arena->purge == FALLOW_PURGE_DECOMMIT ? FALLOW_PURGE_DECOMMIT : FALLOW_PURGE_DONTNEED;
    fallow__os_error ignored;
    (void)arena_release(arena, 0, FALLOW__STATES_OLD, &purge, &ignored);
}

/* Whether a run may be backed at all. */
static bool is_within_limit(const fallow_arena *arena, uint64_t count, bool is_committed)
{
    return arena->limit_bytes == 0 || !is_committed || count <= arena->limit_bytes >> arena->page_shift;
}

/* Near the limit the arena gives back what it holds for nothing, and only then refuses. */
static fallow_status place_check_limit(fallow_arena *arena, place where, bool is_committed, fallow__os_error *error)
{
    if (fits_limit(arena, place_new_bytes(arena, where, is_committed))) {
        return FALLOW_OK;
    }
    if (is_within_limit(arena, where.count, is_committed)) {
        arena_release_old(arena);
    }
    return fits_limit(arena, place_new_bytes(arena, where, is_committed))
               ? FALLOW_OK
               : refused(error, "limit_bytes", arena->limit_bytes);
}

/* --- finding, preparing, taking ---------------------------------------------------------------------------- */

/* The part's alignment to addresses: what to add to a page number. */
static inline uint64_t part_phase(const fallow_arena *arena, const part *p)
{
    return (uint64_t)(uintptr_t)p->base >> arena->page_shift;
}

/* Does an order fit into a free range, and where at the highest? */
static bool order_fits_range(const fallow_arena *arena, const part *p, const order *wanted, uint64_t first,
                             uint64_t count, uint64_t *first_out)
{
    uint64_t phase = part_phase(arena, p);
    if (count < wanted->count) {
        return false;
    }
    uint64_t highest = fallow__align_down(first + count - wanted->count + phase, wanted->align);
    if (highest < first + phase) {
        return false;
    }
    *first_out = highest - phase;
    return true;
}

/* Find a place among free pages that are committed already, from the top: range by range. */
static bool part_find_committed_down(fallow_arena *arena, part *p, const order *wanted, uint64_t *first_out)
{
    uint64_t first;
    uint64_t count;
    uint64_t below = p->plan.page_count;
    while (fallow__pages_last_range(&p->pages, below, STATES_FREE_ACCESSIBLE, &first, &count)) {
        if (order_fits_range(arena, p, wanted, first, count, first_out)) {
            return true;
        }
        below = first;
    }
    return false;
}

/* The same from the bottom: whatever fits is looked at, and where a part of it is not committed, the search goes on
 * behind that. */
static bool part_find_committed(fallow_arena *arena, part *p, const order *wanted, uint64_t *first_out)
{
    fallow__pages_request request = {
        .count = wanted->count,
        .align = wanted->align,
        .phase = part_phase(arena, p) & (wanted->align - 1),
    };
    uint64_t none_first;
    uint64_t none_count;
    while (request.from < p->plan.page_count && fallow__pages_find(&p->pages, &request, first_out)) {
        const unsigned none = FALLOW__STATES(FALLOW__FREE_NONE);
        /* asked of the place first: the last such page may lie far below it */
        if ((fallow__pages_states(&p->pages, *first_out, wanted->count) & none) == 0 ||
            !fallow__pages_last_range(&p->pages, *first_out + wanted->count, none, &none_first, &none_count)) {
            return true;
        }
        request.from = fallow__pages_next(&p->pages, none_first + none_count - 1, p->plan.page_count,
                                          ~FALLOW__STATES(FALLOW__FREE_NONE) & 0xff);
    }
    return false;
}

static bool part_find(fallow_arena *arena, part *p, const order *wanted, uint64_t *first_out)
{
    bool is_top_down = (wanted->flags & FALLOW_RUN_TOP_DOWN) != 0;
    if ((wanted->flags & FALLOW_RUN_NO_GROW) != 0) {
        return is_top_down ? part_find_committed_down(arena, p, wanted, first_out)
                           : part_find_committed(arena, p, wanted, first_out);
    }
    fallow__pages_request request = {
        .count = wanted->count,
        .align = wanted->align,
        .phase = part_phase(arena, p) & (wanted->align - 1),
        .is_top_down = is_top_down,
    };
    return fallow__pages_find(&p->pages, &request, first_out);
}

static bool arena_find(fallow_arena *arena, const order *wanted, place *where_out)
{
    for (part *p = arena->oldest; p != NULL; p = p->next) {
        uint64_t first;
        if (part_find(arena, p, wanted, &first)) {
            *where_out = (place){p, first, wanted->count};
            return true;
        }
    }
    return false;
}

/* The place that an order names, if it is free. */
static bool arena_find_at(fallow_arena *arena, const order *wanted, place *where_out)
{
    part *p = part_of(arena, wanted->at);
    if (p == NULL) {
        return false;
    }
    uint64_t first = page_of(arena, p, wanted->at);
    if (wanted->count > p->plan.page_count - first) {
        return false;
    }
    unsigned states = fallow__pages_states(&p->pages, first, wanted->count);
    unsigned allowed = (wanted->flags & FALLOW_RUN_NO_GROW) != 0 ? STATES_FREE_ACCESSIBLE : FALLOW__STATES_FREE;
    *where_out = (place){p, first, wanted->count};
    return (states & ~allowed) == 0;
}

/* Addresses only have to fault, and no more: that they are still charged is the system's affair. */
static fallow_status place_make_inaccessible(fallow_arena *arena, place where, fallow__os_error *error)
{
    fallow__pages *pages = &where.part->pages;
    if ((fallow__pages_states(pages, where.first, where.count) & STATES_ACCESSIBLE) == 0) {
        return FALLOW_OK;
    }
    fallow_status status = free_range_decommit(arena, where.part, where.first, where.count, error);
    bool is_done = (fallow__pages_states(pages, where.first, where.count) & STATES_ACCESSIBLE) == 0;
    return is_done ? FALLOW_OK : status;
}

/* Make a free place usable, as committed pages or as addresses only. On failure the arena is as it was, but that memory
 * of free pages may have been given back. */
static fallow_status place_prepare(fallow_arena *arena, place where, bool is_committed, fallow__os_error *error)
{
    part *p = where.part;
    fallow_status status = place_check_limit(arena, where, is_committed, error);
    if (status != FALLOW_OK) {
        return status;
    }
    status = blocks_prepare(arena, p, where.first, where.count, error);
    if (status == FALLOW_OK) {
        if (is_committed) {
            status = place_commit(arena, where, error);
        } else {
            status = place_make_inaccessible(arena, where, error);
        }
    }
    if (status != FALLOW_OK) {
        blocks_drop(arena, where);
        return status;
    }
    blocks_keep(arena, where);
    return FALLOW_OK;
}

/* Pieces of a run that are not known to be zero. */
typedef struct old_pieces {
    unsigned count;
    void *base[ZERO_PIECES];
    size_t size_bytes[ZERO_PIECES];
} old_pieces;

static void old_pieces_find(fallow_arena *arena, place where, old_pieces *pieces_out)
{
    uint64_t first;
    uint64_t count;
    uint64_t end = where.first + where.count;
    pieces_out->count = 0;
    for (uint64_t page = where.first; next_range(&where.part->pages, &page, end, FALLOW__STATES_OLD, &first, &count);) {
        if (pieces_out->count == ZERO_PIECES) {
            unsigned char *last = pieces_out->base[ZERO_PIECES - 1];
            pieces_out->size_bytes[ZERO_PIECES - 1] = (size_t)(page_address(arena, where.part, first + count) - last);
            continue;
        }
        pieces_out->base[pieces_out->count] = page_address(arena, where.part, first);
        pieces_out->size_bytes[pieces_out->count] = pages_bytes(arena, count);
        pieces_out->count++;
    }
}

/* Write a prepared place down as a run. */
static void place_take(fallow_arena *arena, place where, uint32_t flags, fallow_run *run_out)
{
    bool is_committed = (flags & FALLOW_RUN_UNCOMMITTED) == 0;
    unsigned states = fallow__pages_states(&where.part->pages, where.first, where.count);
    fallow__pages_take(&where.part->pages, where.first, where.count, is_committed);
    arena_note_peak(arena);
    *run_out = (fallow_run){
        .base = page_address(arena, where.part, where.first),
        .size_bytes = pages_bytes(arena, where.count),
        .is_zero = (states & FALLOW__STATES_OLD) == 0,
    };
}

/* --- parts ------------------------------------------------------------------------------------------------- */

/* Where everything lies in a reservation for page_count pages. */
typedef struct part_layout {
    fallow__pages_plan plan;
    size_t head_bytes; /* the part or the arena, and the bits of the blocks */
    size_t upper_offset;
    size_t block_offset;
    size_t data_offset;
    size_t align_bytes; /* of the reservation and of page 0 */
    size_t total_bytes;
} part_layout;

static bool part_plan(size_t page_bytes, uint64_t page_count, size_t struct_bytes, part_layout *layout_out)
{
    size_t os_page = fallow__os_page_bytes();
    part_layout layout = {.align_bytes = page_bytes};
    if (page_count == 0 || page_count > FALLOW__PAGES_MAX || page_count > SIZE_MAX / 2 / page_bytes) {
        return false;
    }
    size_t data_bytes = (size_t)page_count * page_bytes;
    if (data_bytes >= DATA_ALIGN_FROM && layout.align_bytes < DATA_ALIGN_LARGE) {
        layout.align_bytes = DATA_ALIGN_LARGE;
    }
    fallow__pages_plan_for(page_count, os_page, &layout.plan);
    size_t words = (size_t)(layout.plan.block_count + 63) / 64;
    layout.head_bytes = struct_bytes + 2 * words * sizeof(uint64_t);
    layout.upper_offset = (size_t)fallow__align_up(layout.head_bytes, 64);
    layout.block_offset = (size_t)fallow__align_up(layout.upper_offset + layout.plan.upper_bytes, os_page);
    size_t last_block = layout.block_offset + (size_t)(layout.plan.block_count - 1) * layout.plan.block_bytes;
    size_t metadata_end = last_block + layout.plan.last_block_bytes + os_page; /* and the guard */
    layout.data_offset = (size_t)fallow__align_up(metadata_end, layout.align_bytes);
    if (layout.data_offset > SIZE_MAX - data_bytes) {
        return false;
    }
    layout.total_bytes = layout.data_offset + data_bytes;
    *layout_out = layout;
    return true;
}

/* Fill in a part at the start of its reservation, whose head is committed. Not linked into the arena yet. */
static void part_init(part *p, const fallow_region *region, const part_layout *layout, size_t struct_bytes)
{
    unsigned char *start = region->base;
    size_t words = (size_t)(layout->plan.block_count + 63) / 64;
    *p = (part){
        .region = *region,
        .plan = layout->plan,
        .base = start + layout->data_offset,
        .blocks = start + layout->block_offset,
        .ready = (uint64_t *)(void *)(start + struct_bytes),
        .metadata_bytes = layout->block_offset,
    };
    p->fresh = p->ready + words;
    fallow__pages_plan plan = layout->plan;
    uint64_t last_block = plan.block_count - 1;
    if (plan.page_count % FALLOW__BLOCK_PAGES != 0) {
        p->ready[last_block / 64] |= (uint64_t)1 << (last_block % 64);
        p->metadata_bytes += plan.last_block_bytes;
    }
    fallow__pages_init(&p->pages, &plan, start + layout->upper_offset, p->blocks);
    fallow__mark_set(&p->mark, &p->region);
}

/* The part that fallow__pages_init writes to besides head and upper storage: the last block, if it is not full. */
static size_t first_block_bytes(const part_layout *layout, size_t *offset_out)
{
    const fallow__pages_plan *plan = &layout->plan;
    *offset_out = layout->block_offset + (size_t)(plan->block_count - 1) * plan->block_bytes;
    return plan->page_count % FALLOW__BLOCK_PAGES != 0 ? plan->last_block_bytes : 0;
}

/* Commit what part_init writes to. On failure nothing is committed that was granted. */
static fallow_status part_commit_head(fallow_arena *arena, const fallow_region *region, const part_layout *layout,
                                      fallow__os_error *error)
{
    part scratch = {.region = *region};
    unsigned char *start = region->base;
    size_t block_offset;
    size_t block_bytes = first_block_bytes(layout, &block_offset);
    size_t head_bytes = layout->block_offset;
    if (block_offset == head_bytes) { /* one block: next to the head, and committed with it */
        head_bytes += block_bytes;
        block_bytes = 0;
    }
    if (!fits_limit(arena, head_bytes + block_bytes)) {
        arena_release_old(arena);
        if (!fits_limit(arena, head_bytes + block_bytes)) {
            return refused(error, "limit_bytes", arena->limit_bytes);
        }
    }
    fallow_status status = metadata_commit(arena, &scratch, start, head_bytes, error);
    if (status == FALLOW_OK && block_bytes != 0) {
        status = metadata_commit(arena, &scratch, start + block_offset, block_bytes, error);
        if (status != FALLOW_OK) {
            taken_back(arena, start, head_bytes);
        }
    }
    return status;
}

/* Reserve for page_count pages; fewer, down to min_pages, when the system refuses. */
static fallow_status part_reserve(const fallow_arena *arena, uint64_t page_count, uint64_t min_pages,
                                  size_t struct_bytes, part_layout *layout_out, fallow_region *region_out,
                                  fallow__os_error *error)
{
    for (;;) {
        /* more than fits the addresses of this machine is refused like more than the system has */
        fallow_status status = FALLOW_ERR_ADDRESS_SPACE;
        if (part_plan(arena->page_bytes, page_count, struct_bytes, layout_out)) {
            fallow_region_options options = {
                .align_bytes = layout_out->align_bytes,
                .name = arena->name[0] != '\0' ? arena->name : NULL,
                .flags = arena->region_flags,
            };
            status = fallow__os_reserve(layout_out->total_bytes, &options, region_out, error);
        }
        if (status == FALLOW_OK || page_count / 2 < min_pages) {
            return status;
        }
        page_count /= 2;
    }
}

static void part_link(fallow_arena *arena, part *p)
{
    p->previous = arena->newest;
    if (arena->newest != NULL) {
        arena->newest->next = p;
    } else {
        arena->oldest = p;
    }
    arena->newest = p;
}

/* Release the newest part. */
static void part_release(fallow_arena *arena, part *p)
{
    FALLOW_ASSERT(p == arena->newest);
    bool is_oldest = p->previous == NULL;
    size_t committed = p->metadata_bytes + pages_bytes(arena, part_state_pages(p, STATES_ACCESSIBLE));
    fallow_region region = p->region;
    void (*after_decommit)(void *, void *, size_t) = arena->after_decommit;
    void *callback_context = arena->callback_context;
    fallow__os_error ignored;
    arena->newest = p->previous;
    if (!is_oldest) {
        p->previous->next = NULL;
    }
    /* the arena lies in its oldest part, and is gone from here on; a refusal leaves nothing that could be done */
    (void)fallow__os_release(&region, &ignored);
    if (after_decommit != NULL) {
        after_decommit(callback_context, region.base, committed);
    }
}

static size_t part_struct_bytes(void)
{
    return (size_t)fallow__align_up(sizeof(part), 64);
}

/* Add a further reservation in which an order surely fits: as large as the first was to be, or as all that there are,
 * so that they stay few. */
static fallow_status arena_add_part(fallow_arena *arena, const order *wanted, fallow__os_error *error)
{
    uint64_t min_pages = wanted->count + wanted->align - 1;
    uint64_t page_count = arena->reserve_bytes >> arena->page_shift;
    uint64_t present = arena_state_pages(arena, FALLOW__STATES_FREE | FALLOW__STATES_USED);
    page_count = page_count > present ? page_count : present;
    page_count = page_count > min_pages ? page_count : min_pages;
    part_layout layout;
    fallow_region region;
    if (!is_within_limit(arena, wanted->count, (wanted->flags & FALLOW_RUN_UNCOMMITTED) == 0)) {
        return refused(error, "limit_bytes", arena->limit_bytes);
    }
    fallow_status status = part_reserve(arena, page_count, min_pages, part_struct_bytes(), &layout, &region, error);
    if (status != FALLOW_OK) {
        return status;
    }
    status = part_commit_head(arena, &region, &layout, error);
    if (status != FALLOW_OK) {
        fallow__os_error ignored;
        (void)fallow__os_release(&region, &ignored);
        return status;
    }
    part *p = region.base;
    part_init(p, &region, &layout, part_struct_bytes());
    part_link(arena, p);
    return FALLOW_OK;
}

/* --- allocating -------------------------------------------------------------------------------------------- */

/* When the lowest place could not be prepared: a place that needs no commit may still do. */
static fallow_status arena_fall_back(fallow_arena *arena, const order *wanted, fallow_status first_refusal,
                                     place *where_out, fallow__os_error *error)
{
    order committed = *wanted;
    committed.flags |= FALLOW_RUN_NO_GROW;
    fallow__os_error other_error = {0};
    if (wanted->at != NULL || (wanted->flags & (FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_NO_GROW)) != 0 ||
        !arena_find(arena, &committed, where_out) ||
        place_prepare(arena, *where_out, true, &other_error) != FALLOW_OK) {
        return first_refusal;
    }
    *error = other_error;
    return FALLOW_OK;
}

/* Find and prepare a place, in a further reservation if there is none. */
static fallow_status arena_get_place(fallow_arena *arena, const order *wanted, place *where_out,
                                     fallow__os_error *error)
{
    bool is_committed = (wanted->flags & FALLOW_RUN_UNCOMMITTED) == 0;
    bool is_found = wanted->at != NULL ? arena_find_at(arena, wanted, where_out) : arena_find(arena, wanted, where_out);
    if (is_found) {
        fallow_status status = place_prepare(arena, *where_out, is_committed, error);
        return status == FALLOW_OK ? FALLOW_OK : arena_fall_back(arena, wanted, status, where_out, error);
    }
    if (wanted->at != NULL || (arena->flags & FALLOW_ARENA_FIXED) != 0 || (wanted->flags & FALLOW_RUN_NO_GROW) != 0) {
        return FALLOW_ERR_EXHAUSTED;
    }
    fallow_status status = arena_add_part(arena, wanted, error);
    if (status != FALLOW_OK) {
        return status;
    }
    *where_out = (place){.part = arena->newest, .count = wanted->count};
    bool is_found_now = part_find(arena, arena->newest, wanted, &where_out->first);
    FALLOW_ASSERT(is_found_now);
    (void)is_found_now;
    status = place_prepare(arena, *where_out, is_committed, error);
    if (status != FALLOW_OK) {
        part_release(arena, arena->newest);
    }
    return status;
}

/* Check a request and put it into pages. */
static bool order_for(const fallow_arena *arena, size_t size_bytes, const fallow_run_options *options,
                      order *wanted_out)
{
    static const fallow_run_options none = {0};
    options = options != NULL ? options : &none;
    size_t align_bytes = options->align_bytes > arena->page_bytes ? options->align_bytes : arena->page_bytes;
    *wanted_out = (order){
        .align = align_bytes >> arena->page_shift,
        .flags = options->flags,
        .at = options->at,
    };
    bool is_uncommitted = (options->flags & FALLOW_RUN_UNCOMMITTED) != 0;
    return pages_for(arena, size_bytes, &wanted_out->count) && (options->flags & ~(uint32_t)ALL_RUN_FLAGS) == 0 &&
           (options->align_bytes == 0 || fallow__is_power_of_two(options->align_bytes)) &&
           ((uintptr_t)options->at & (align_bytes - 1)) == 0 &&
           !(is_uncommitted && (options->flags & (FALLOW_RUN_ZEROED | FALLOW_RUN_NO_GROW)) != 0);
}

/* Take a short run from a part. NULL: that part has none that can be taken the short way. */
static inline void *part_take_short(fallow_arena *arena, part *p, uint64_t count, bool *is_zero_out)
{
    uint64_t first;
    if (!fallow__pages_take_short(&p->pages, count, &first, is_zero_out)) {
        return NULL;
    }
    arena_note_peak(arena);
    return page_address(arena, p, first);
}

/* The short way under a limit, and in newer parts: those are asked only where the older ones are known to have no such
 * run. */
static FALLOW_NOINLINE void *arena_take_short_with_care(fallow_arena *arena, uint64_t count, bool *is_zero_out)
{
    if (arena->limit_bytes != 0 && (count > 64 || !fits_limit(arena, pages_bytes(arena, count)))) {
        return NULL;
    }
    for (part *p = arena->oldest; p != NULL; p = p->next) {
        void *base = part_take_short(arena, p, count, is_zero_out);
        if (base != NULL || !fallow__pages_has_none(&p->pages, count)) {
            return base;
        }
    }
    return NULL;
}

/* Take a short run from committed memory: what most calls are. NULL: it has to be done the long way. The lock is
 * held. */
static inline void *arena_take_short(fallow_arena *arena, uint64_t count, bool *is_zero_out)
{
    void *base = arena->limit_bytes == 0 ? part_take_short(arena, arena->oldest, count, is_zero_out) : NULL;
    return base != NULL ? base : arena_take_short_with_care(arena, count, is_zero_out);
}

/* Take a run the long way. The lock is held. On success `pieces_out` are what ZEROED still has to clear. */
static fallow_status arena_take(fallow_arena *arena, const order *wanted, fallow_run *run_out, old_pieces *pieces_out,
                                fallow__os_error *error)
{
    place where;
    fallow_status status = arena_get_place(arena, wanted, &where, error);
    pieces_out->count = 0;
    if (status == FALLOW_OK) {
        if ((wanted->flags & FALLOW_RUN_ZEROED) != 0) {
            old_pieces_find(arena, where, pieces_out);
        }
        place_take(arena, where, wanted->flags, run_out);
    }
    return status;
}

/* Take a run the long way, with the lock held; it is released. Clearing happens without it. */
static FALLOW_NOINLINE fallow_status arena_alloc_long(fallow_arena *arena, size_t size_bytes, const order *wanted,
                                                      fallow_run *run_out, const char *operation)
{
    fallow_run run;
    old_pieces pieces;
    fallow__os_error error = {0};
    fallow_status status = arena_take(arena, wanted, &run, &pieces, &error);
    fallow__os_lock_release(&arena->lock);
    if (status != FALLOW_OK) {
        return fallow__fail(status, operation, wanted->at, size_bytes, &error);
    }
    for (unsigned i = 0; i < pieces.count; i++) {
        memset(pieces.base[i], 0, pieces.size_bytes[i]);
    }
    run.is_zero = run.is_zero || (wanted->flags & FALLOW_RUN_ZEROED) != 0;
    *run_out = run;
    return FALLOW_OK;
}

fallow_status fallow_arena_alloc_run(fallow_arena *arena, size_t size_bytes, const fallow_run_options *options,
                                     fallow_run *run_out)
{
    static const char operation[] = "fallow_arena_alloc_run";
    FALLOW_REQUIRE(arena != NULL, operation, NULL, "the arena is NULL");
    FALLOW_REQUIRE(run_out != NULL, operation, NULL, "run_out is NULL");
    order wanted;
    bool is_zero;
    if (!order_for(arena, size_bytes, options, &wanted)) {
        return fallow__fail(FALLOW_ERR_INVALID, operation, options != NULL ? options->at : NULL, size_bytes, NULL);
    }
    bool is_plain = wanted.align == 1 && wanted.at == NULL && (wanted.flags & ~(uint32_t)FALLOW_RUN_NO_CACHE) == 0;
    fallow__os_lock_acquire(&arena->lock);
    void *base = is_plain ? arena_take_short(arena, wanted.count, &is_zero) : NULL;
    if (base == NULL) {
        return arena_alloc_long(arena, size_bytes, &wanted, run_out, operation);
    }
    fallow__os_lock_release(&arena->lock);
    *run_out = (fallow_run){.base = base, .size_bytes = pages_bytes(arena, wanted.count), .is_zero = is_zero};
    return FALLOW_OK;
}

/* The way of a plain request that is not simple: a bad one, or a run that needs more than committed memory nearby. */
static FALLOW_NOINLINE fallow_status arena_alloc_plain_long(fallow_arena *arena, size_t size_bytes, void **base_out)
{
    static const char operation[] = "fallow_arena_alloc";
    fallow_run run;
    order wanted = {.align = 1};
    if (!pages_for(arena, size_bytes, &wanted.count)) {
        return fallow__fail(FALLOW_ERR_INVALID, operation, NULL, size_bytes, NULL);
    }
    fallow__os_lock_acquire(&arena->lock);
    fallow_status status = arena_alloc_long(arena, size_bytes, &wanted, &run, operation);
    if (status == FALLOW_OK) {
        *base_out = run.base;
    }
    return status;
}

fallow_status fallow_arena_alloc(fallow_arena *arena, size_t size_bytes, void **base_out)
{
    FALLOW_REQUIRE(arena != NULL, "fallow_arena_alloc", NULL, "the arena is NULL");
    FALLOW_REQUIRE(base_out != NULL, "fallow_arena_alloc", NULL, "base_out is NULL");
    bool is_zero;
    fallow__os_lock_acquire(&arena->lock);
    /* size 0 becomes more pages than any run taken the short way has */
    void *base = arena_take_short(arena, pages_up(arena, size_bytes), &is_zero);
    fallow__os_lock_release(&arena->lock);
    if (base == NULL) {
        return arena_alloc_plain_long(arena, size_bytes, base_out);
    }
    *base_out = base;
    return FALLOW_OK;
}

/* --- live runs --------------------------------------------------------------------------------------------- */

/* Find the page that begins at an address; one that is no page of the arena stops the program. The lock is held. */
static place page_require(const fallow_arena *arena, const void *address, const char *operation)
{
    part *p = part_of(arena, address);
    FALLOW_REQUIRE(p != NULL, operation, address, "not an address of this arena");
    FALLOW_REQUIRE((((uintptr_t)address - (uintptr_t)p->base) & (arena->page_bytes - 1)) == 0, operation, address,
                   "not aligned to the arena's page");
    return (place){.part = p, .first = page_of(arena, p, address)};
}

/* The state of a page; one whose bookkeeping is not there has never been in a run. */
static unsigned page_state(place where)
{
    uint64_t end;
    if (!page_is_ready(where.part, where.first)) {
        return FALLOW__FREE_NONE;
    }
    return fallow__pages_piece(&where.part->pages, where.first, where.first + 1, &end);
}

/* Check that base and size are those of a live run; anything else stops the program. The lock is held. */
static place run_require(const fallow_arena *arena, const void *base, size_t size_bytes, const char *operation)
{
    place where = page_require(arena, base, operation);
    unsigned state = FALLOW__STATES(page_state(where));
    FALLOW_REQUIRE((state & FALLOW__STATES_FREE) == 0, operation, base, "already free");
    FALLOW_REQUIRE((state & FALLOW__STATES_START) != 0, operation, base, "inside a run, not its base");
    bool is_size = pages_for(arena, size_bytes, &where.count);
    FALLOW_REQUIRE(is_size && fallow__pages_run_end(&where.part->pages, where.first) == where.first + where.count,
                   operation, base, "the size is not the run's size");
    return where;
}

/* Free a run that is not a simple one, or stop the program. The lock is held; it is released. */
static FALLOW_NOINLINE void arena_free_long(fallow_arena *arena, void *base, size_t size_bytes)
{
    place where = run_require(arena, base, size_bytes, "fallow_arena_free");
    fallow__pages_free(&where.part->pages, where.first, where.count);
    fallow__os_lock_release(&arena->lock);
}

void fallow_arena_free(fallow_arena *arena, void *base, size_t size_bytes)
{
    FALLOW_REQUIRE(arena != NULL, "fallow_arena_free", base, "the arena is NULL");
    if (base == NULL) {
        return;
    }
    fallow__os_lock_acquire(&arena->lock);
    part *p = part_of(arena, base);
    uint64_t first = p != NULL ? page_of(arena, p, base) : 0;
    /* the long way for a foreign or misaligned base, a page that never was in a run, and size 0, as above */
    if (p == NULL || page_address(arena, p, first) != base || !page_is_ready(p, first) ||
        !fallow__pages_free_short(&p->pages, first, pages_up(arena, size_bytes))) {
        arena_free_long(arena, base, size_bytes);
        return;
    }
    fallow__os_lock_release(&arena->lock);
}

/* The pages behind a run that an extension takes; false if they are not free. */
static bool extension_find(place run, uint64_t new_count, place *where_out)
{
    part *p = run.part;
    *where_out = (place){p, run.first + run.count, new_count - run.count};
    if (new_count > p->plan.page_count - run.first) {
        return false;
    }
    unsigned states = fallow__pages_states(&p->pages, where_out->first, where_out->count);
    return (states & FALLOW__STATES_USED) == 0;
}

static fallow_status run_extend(fallow_arena *arena, place run, uint64_t new_count, fallow__os_error *error)
{
    place behind;
    if (new_count == run.count) {
        return FALLOW_OK;
    }
    if (!extension_find(run, new_count, &behind)) {
        return FALLOW_ERR_EXHAUSTED;
    }
    place last = {.part = run.part, .first = run.first + run.count - 1};
    bool is_committed = (FALLOW__STATES(page_state(last)) & FALLOW__STATES_IN_USE) != 0;
    fallow_status status = place_prepare(arena, behind, is_committed, error);
    if (status == FALLOW_OK) {
        fallow__pages_append(&behind.part->pages, behind.first, behind.count, is_committed);
        arena_note_peak(arena);
    }
    return status;
}

fallow_status fallow_arena_extend(fallow_arena *arena, void *base, size_t old_bytes, size_t new_bytes)
{
    static const char operation[] = "fallow_arena_extend";
    FALLOW_REQUIRE(arena != NULL, operation, base, "the arena is NULL");
    uint64_t new_count;
    fallow__os_error error = {0};
    fallow__os_lock_acquire(&arena->lock);
    place run = run_require(arena, base, old_bytes, operation);
    fallow_status status = FALLOW_ERR_INVALID;
    if (new_bytes >= old_bytes && pages_for(arena, new_bytes, &new_count)) {
        status = run_extend(arena, run, new_count, &error);
    }
    fallow__os_lock_release(&arena->lock);
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, base, new_bytes, &error);
}

void fallow_arena_shrink(fallow_arena *arena, void *base, size_t old_bytes, size_t new_bytes)
{
    static const char operation[] = "fallow_arena_shrink";
    FALLOW_REQUIRE(arena != NULL, operation, base, "the arena is NULL");
    uint64_t new_count;
    fallow__os_lock_acquire(&arena->lock);
    place run = run_require(arena, base, old_bytes, operation);
    FALLOW_REQUIRE(new_bytes <= old_bytes && pages_for(arena, new_bytes, &new_count), operation, base,
                   "the new size is 0 or larger than the run");
    if (new_count < run.count) {
        fallow__pages_free(&run.part->pages, run.first + new_count, run.count - new_count);
    }
    fallow__os_lock_release(&arena->lock);
}

void fallow_arena_split(fallow_arena *arena, void *base, size_t size_bytes, size_t first_bytes)
{
    static const char operation[] = "fallow_arena_split";
    FALLOW_REQUIRE(arena != NULL, operation, base, "the arena is NULL");
    fallow__os_lock_acquire(&arena->lock);
    place run = run_require(arena, base, size_bytes, operation);
    uint64_t first_count = first_bytes >> arena->page_shift;
    FALLOW_REQUIRE((first_bytes & (arena->page_bytes - 1)) == 0 && first_count != 0 && first_count < run.count,
                   operation, base, "the place to split is not a page boundary inside the run");
    fallow__pages_split(&run.part->pages, run.first + first_count);
    fallow__os_lock_release(&arena->lock);
}

/* Check that a range lies in one live run; anything else stops the program. The lock is held. */
static place range_require(const fallow_arena *arena, const void *base, size_t size_bytes, const char *operation)
{
    place where = page_require(arena, base, operation);
    FALLOW_REQUIRE((FALLOW__STATES(page_state(where)) & FALLOW__STATES_USED) != 0, operation, base,
                   "not in a live run");
    bool is_size = pages_for(arena, size_bytes, &where.count);
    FALLOW_REQUIRE(is_size && where.count <= fallow__pages_run_end(&where.part->pages, where.first) - where.first,
                   operation, base, "the range leaves its run");
    return where;
}

static fallow_status used_range_commit(fallow_arena *arena, place where, fallow__os_error *error)
{
    part *p = where.part;
    uint64_t end = where.first + where.count;
    uint64_t first = fallow__pages_next(&p->pages, where.first, end, STATES_NONE);
    if (first == end) {
        return FALLOW_OK;
    }
    fallow_status status = place_check_limit(arena, where, true, error);
    if (status == FALLOW_OK) {
        status = range_commit(arena, p, first, end, error);
    }
    if (status == FALLOW_OK) {
        fallow__pages_set_committed(&p->pages, where.first, where.count, true);
        arena_note_peak(arena);
    }
    return status;
}

fallow_status fallow_arena_commit(fallow_arena *arena, void *base, size_t size_bytes)
{
    static const char operation[] = "fallow_arena_commit";
    FALLOW_REQUIRE(arena != NULL, operation, base, "the arena is NULL");
    if (size_bytes == 0) {
        return FALLOW_OK;
    }
    fallow__os_error error = {0};
    fallow__os_lock_acquire(&arena->lock);
    place where = range_require(arena, base, size_bytes, operation);
    fallow_status status = used_range_commit(arena, where, &error);
    fallow__os_lock_release(&arena->lock);
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, base, size_bytes, &error);
}

fallow_status fallow_arena_decommit(fallow_arena *arena, void *base, size_t size_bytes)
{
    static const char operation[] = "fallow_arena_decommit";
    FALLOW_REQUIRE(arena != NULL, operation, base, "the arena is NULL");
    if (size_bytes == 0) {
        return FALLOW_OK;
    }
    fallow__os_error error = {0};
    fallow__os_left left = FALLOW__OS_LEFT_NOTHING;
    fallow_status status = FALLOW_OK;
    fallow__os_lock_acquire(&arena->lock);
    place where = range_require(arena, base, size_bytes, operation);
    part *p = where.part;
    if ((fallow__pages_states(&p->pages, where.first, where.count) & STATES_ACCESSIBLE) != 0) {
        arena->purge_calls++;
        status = fallow__os_decommit(&p->region, base, pages_bytes(arena, where.count), &left, &error);
    }
    if (!is_accessible(left)) {
        ranges_taken_back(arena, p, where.first, where.first + where.count, STATES_ACCESSIBLE);
        fallow__pages_set_committed(&p->pages, where.first, where.count, false);
    }
    fallow__os_lock_release(&arena->lock);
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, base, size_bytes, &error);
}

bool fallow_arena_owns(const fallow_arena *arena, const void *address)
{
    FALLOW_REQUIRE(arena != NULL, "fallow_arena_owns", address, "the arena is NULL");
    fallow_arena *lockable = (fallow_arena *)(uintptr_t)arena;
    fallow__os_lock_acquire(&lockable->lock);
    bool is_ours = part_of(arena, address) != NULL;
    fallow__os_lock_release(&lockable->lock);
    return is_ours;
}

fallow_status fallow_arena_run_of(fallow_arena *arena, const void *address, fallow_run *run_out)
{
    static const char operation[] = "fallow_arena_run_of";
    FALLOW_REQUIRE(arena != NULL, operation, address, "the arena is NULL");
    FALLOW_REQUIRE(run_out != NULL, operation, address, "run_out is NULL");
    bool is_found = false;
    fallow__os_lock_acquire(&arena->lock);
    part *p = part_of(arena, address);
    if (p != NULL) {
        place where = {.part = p, .first = page_of(arena, p, address)};
        is_found = (FALLOW__STATES(page_state(where)) & FALLOW__STATES_USED) != 0;
        if (is_found) {
            uint64_t first = fallow__pages_run_start(&p->pages, where.first);
            *run_out = (fallow_run){
                .base = page_address(arena, p, first),
                .size_bytes = pages_bytes(arena, fallow__pages_run_end(&p->pages, first) - first),
            };
        }
    }
    fallow__os_lock_release(&arena->lock);
    return is_found ? FALLOW_OK : fallow__fail(FALLOW_ERR_INVALID, operation, address, 0, NULL);
}

/* --- the whole arena --------------------------------------------------------------------------------------- */

fallow_status fallow_arena_trim(fallow_arena *arena, size_t keep_bytes, size_t *released_bytes_out)
{
    static const char operation[] = "fallow_arena_trim";
    FALLOW_REQUIRE(arena != NULL, operation, NULL, "the arena is NULL");
    const unsigned dirty = FALLOW__STATES(FALLOW__FREE_DIRTY);
    fallow__os_error error = {0};
    fallow__os_lock_acquire(&arena->lock);
    uint64_t before = arena_state_pages(arena, dirty);
    fallow_purge purge = arena->purge;
    fallow_status status = arena_release(arena, keep_bytes >> arena->page_shift, dirty, &purge, &error);
    if (status == FALLOW_OK && purge == FALLOW_PURGE_DECOMMIT && keep_bytes == 0) {
        /* What was committed ahead or purged holds no memory, but is charged. If the system keeps it (max_map_count),
         * the stats tell: nothing that was asked for has failed. */
        fallow__os_error ignored;
        (void)arena_release(arena, 0, STATES_FREE_ACCESSIBLE, &purge, &ignored);
    }
    uint64_t released = before - arena_state_pages(arena, dirty);
    fallow__os_lock_release(&arena->lock);
    if (released_bytes_out != NULL) {
        *released_bytes_out = pages_bytes(arena, released);
    }
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, NULL, 0, &error);
}

static size_t part_extent_bytes(const fallow_arena *arena, part *p)
{
    uint64_t first;
    uint64_t count;
    if (!fallow__pages_last_range(&p->pages, p->plan.page_count, FALLOW__STATES_USED, &first, &count)) {
        return 0;
    }
    return pages_bytes(arena,
                       first + count - fallow__pages_next(&p->pages, 0, p->plan.page_count, FALLOW__STATES_USED));
}

void fallow_arena_read_stats(fallow_arena *arena, fallow_arena_stats *stats_out)
{
    FALLOW_REQUIRE(arena != NULL, "fallow_arena_read_stats", NULL, "the arena is NULL");
    FALLOW_REQUIRE(stats_out != NULL, "fallow_arena_read_stats", NULL, "stats_out is NULL");
    fallow_arena_stats stats = {.page_bytes = arena->page_bytes, .purge = arena->purge};
    fallow__os_lock_acquire(&arena->lock);
    for (part *p = arena->oldest; p != NULL; p = p->next) {
        stats.reserved_bytes += p->region.size_bytes;
        stats.usable_bytes += pages_bytes(arena, p->plan.page_count);
        stats.metadata_bytes += p->metadata_bytes;
        stats.extent_bytes += part_extent_bytes(arena, p);
        stats.region_count++;
        stats.run_count += (size_t)part_state_pages(p, FALLOW__STATES_START);
    }
    stats.in_use_bytes = pages_bytes(arena, arena_state_pages(arena, FALLOW__STATES_IN_USE));
    stats.retained_bytes = pages_bytes(arena, arena_state_pages(arena, FALLOW__STATES(FALLOW__FREE_DIRTY)));
    stats.released_lazy_bytes = pages_bytes(arena, arena_state_pages(arena, FALLOW__STATES(FALLOW__FREE_LAZY)));
    stats.released_zero_bytes = pages_bytes(arena, arena_state_pages(arena, FALLOW__STATES(FALLOW__FREE_ZERO)));
    stats.uncommitted_bytes = pages_bytes(
        arena, arena_state_pages(arena, FALLOW__STATES(FALLOW__START_NONE) | FALLOW__STATES(FALLOW__REST_NONE)));
    stats.backed_bytes = arena_backed_bytes(arena);
    stats.committed_bytes = stats.backed_bytes + stats.released_zero_bytes;
    stats.peak_in_use_bytes = pages_bytes(arena, arena->peak_in_use_pages);
    stats.commit_calls = arena->commit_calls;
    stats.purge_calls = arena->purge_calls;
    fallow__os_lock_release(&arena->lock);
    *stats_out = stats;
}

/* What must be committed of a part's bookkeeping, by the bits of its blocks. */
static size_t part_metadata_bytes(const part *p)
{
    size_t bytes = (size_t)(p->blocks - (unsigned char *)p->region.base);
    uint64_t end = p->plan.block_count;
    for (uint64_t block = block_next(p, 0, end, true); block < end;) {
        uint64_t ready_end = block_next(p, block, end, false);
        bytes += blocks_bytes(p, block, ready_end);
        block = block_next(p, ready_end, end, true);
    }
    return bytes;
}

fallow_status fallow_arena_check(fallow_arena *arena)
{
    static const char operation[] = "fallow_arena_check";
    FALLOW_REQUIRE(arena != NULL, operation, NULL, "the arena is NULL");
    const part *wrong = NULL;
    fallow__os_lock_acquire(&arena->lock);
    for (part *p = arena->oldest; p != NULL && wrong == NULL; p = p->next) {
        bool is_last = p->next == NULL ? p == arena->newest : p->next->previous == p;
        if (!is_last || p->fresh_count != 0 || p->metadata_bytes != part_metadata_bytes(p) ||
            !fallow__pages_verify(&p->pages)) {
            wrong = p;
        }
    }
    fallow__os_lock_release(&arena->lock);
    return wrong == NULL ? FALLOW_OK : fallow__fail(FALLOW_ERR_INVALID, operation, wrong->base, 0, NULL);
}

/* --- creating ---------------------------------------------------------------------------------------------- */

static size_t length_up_to(const char *text, size_t limit)
{
    size_t length = 0;
    while (length < limit && text[length] != '\0') {
        length++;
    }
    return length;
}

/* Fill in an arena's settings from checked options; false if one is out of its range. */
static bool arena_configure(const fallow_arena_options *options, fallow_arena *settings_out)
{
    size_t os_page = fallow__os_page_bytes();
    size_t page_bytes = options->page_bytes;
    size_t grow_bytes = options->grow_bytes != 0 ? options->grow_bytes : GROW_BYTES_DEFAULT;
    if (page_bytes == 0) {
        page_bytes = os_page > PAGE_BYTES_DEFAULT ? os_page : PAGE_BYTES_DEFAULT;
    }
    bool is_valid =
        fallow__is_power_of_two(page_bytes) && page_bytes >= os_page && page_bytes <= PAGE_BYTES_MAX &&
        (options->flags & ~(uint32_t)ALL_ARENA_FLAGS) == 0 && options->retain_percent <= RETAIN_PERCENT_MAX &&
        (unsigned)options->purge <= FALLOW_PURGE_DECOMMIT && (unsigned)options->scavenge <= FALLOW_SCAVENGE_THREAD &&
        (options->reserve_bytes == 0 || options->min_reserve_bytes <= options->reserve_bytes) &&
        (options->name == NULL || length_up_to(options->name, FALLOW_NAME_BYTES) < FALLOW_NAME_BYTES);
    if (!is_valid) {
        return false;
    }
    *settings_out = (fallow_arena){
        .page_shift = fallow__highest_bit(page_bytes),
        .page_bytes = page_bytes,
        .reserve_bytes = options->reserve_bytes != 0 ? options->reserve_bytes : fallow__config_reserve_bytes(),
        .grow_pages = (uint64_t)grow_bytes / page_bytes + (grow_bytes % page_bytes != 0),
        .limit_bytes = options->limit_bytes,
        .purge = options->purge != FALLOW_PURGE_DEFAULT ? options->purge : fallow__config_get()->purge,
        .flags = options->flags,
        .before_commit = options->before_commit,
        .after_decommit = options->after_decommit,
        .callback_context = options->callback_context,
    };
    if ((options->flags & FALLOW_ARENA_HUGE_PAGES) != 0) {
        settings_out->region_flags |= FALLOW_REGION_HUGE_PAGES;
    }
    if ((options->flags & FALLOW_ARENA_NO_FORK) != 0) {
        settings_out->region_flags |= FALLOW_REGION_NO_FORK;
    }
    if ((options->flags & FALLOW_ARENA_NO_DUMP) != 0) {
        settings_out->region_flags |= FALLOW_REGION_NO_DUMP;
    }
    if (options->name != NULL) {
        memcpy(settings_out->name, options->name, length_up_to(options->name, FALLOW_NAME_BYTES));
    }
    return true;
}

/* The least the first reservation may be, in bytes, if the system refuses what is asked for. */
static size_t least_reserve_bytes(const fallow_arena_options *options)
{
    if (options->min_reserve_bytes != 0) {
        return options->min_reserve_bytes;
    }
    bool is_all = options->reserve_bytes != 0 && (options->flags & FALLOW_ARENA_FIXED) != 0;
    return is_all ? options->reserve_bytes : RESERVE_BYTES_LEAST;
}

_Static_assert(sizeof(fallow_arena) + 64 + sizeof(part) <= FALLOW__MARK_WITHIN_BYTES, "the first mark is found");

static size_t arena_struct_bytes(void)
{
    return (size_t)fallow__align_up(fallow__align_up(sizeof(fallow_arena), 64) + sizeof(part), 64);
}

fallow_status fallow_arena_create(const fallow_arena_options *options, fallow_arena **arena_out)
{
    static const char operation[] = "fallow_arena_create";
    static const fallow_arena_options none = {0};
    FALLOW_REQUIRE(arena_out != NULL, operation, NULL, "arena_out is NULL");
    fallow_arena settings;
    part_layout layout;
    fallow_region region;
    fallow__os_error error = {0};
    options = options != NULL ? options : &none;
    if (!arena_configure(options, &settings)) {
        return fallow__fail(FALLOW_ERR_INVALID, operation, NULL, options->reserve_bytes, NULL);
    }
    if ((options->flags & FALLOW_ARENA_LARGE_PAGES) != 0) {
        return fallow__fail(FALLOW_ERR_UNSUPPORTED, operation, NULL, options->reserve_bytes, NULL);
    }
    uint64_t page_count;
    uint64_t min_pages;
    fallow_status status = FALLOW_ERR_INVALID;
    if (pages_for(&settings, settings.reserve_bytes, &page_count) &&
        pages_for(&settings, least_reserve_bytes(options), &min_pages)) {
        if (options->min_reserve_bytes != 0 && page_count < min_pages) {
            page_count = min_pages; /* a default may be less than what must be had */
        }
        status = part_reserve(&settings, page_count, min_pages, arena_struct_bytes(), &layout, &region, &error);
    }
    if (status != FALLOW_OK) {
        return fallow__fail(status, operation, NULL, settings.reserve_bytes, &error);
    }
    status = part_commit_head(&settings, &region, &layout, &error);
    if (status != FALLOW_OK) {
        fallow__os_error ignored;
        (void)fallow__os_release(&region, &ignored);
        return fallow__fail(status, operation, NULL, settings.reserve_bytes, &error);
    }
    fallow_arena *arena = region.base;
    part *p = (part *)(void *)((unsigned char *)region.base + fallow__align_up(sizeof(fallow_arena), 64));
    *arena = settings;
    fallow__os_lock_init(&arena->lock);
    part_init(p, &region, &layout, arena_struct_bytes());
    part_link(arena, p);
    fallow__arenas_enter(arena, arena->name, (options->flags & FALLOW_ARENA_NO_FORK) == 0);
    *arena_out = arena;
    return FALLOW_OK;
}

void fallow_arena_destroy(fallow_arena *arena)
{
    if (arena == NULL) {
        return;
    }
    fallow__arenas_leave(arena);
    fallow__os_lock_destroy(&arena->lock);
    for (part *p = arena->newest; p != NULL;) {
        part *previous = p->previous;
        part_release(arena, p);
        p = previous;
    }
}
