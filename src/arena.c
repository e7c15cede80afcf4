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
 * Locking. One lock for all of the above. It is never held during a system call or a callback: so what can be seen
 * between two moments of a call has to be true, and these rules make it so:
 *
 *   1. The turn. Whoever changes what the system backs has it: one thread at a time, in the order they asked. Only then
 *      does a page become NONE or stop being so, is bookkeeping committed, is a part added, is memory given back.
 *   2. A NONE page that is looked at by whoever has the turn stays as it is when the lock is let go. Without the turn
 *      one may become addresses of a run, while nobody has the turn.
 *   3. An accessible free page may be taken by anyone at any moment, so a place is looked at again after the lock was
 *      let go, and another one found if it is gone: then some other thread has got on.
 *   4. Free memory that is being given back is *out*: out of the free pages, so that nobody takes it, one piece at a
 *      time, for one system call. Whatever looks at the books sees it as the free memory that it was.
 *   5. Who is refused has had the turn: nothing was out and nothing half done when it looked.
 *
 * Functions below let the lock go where their comments say so; those that say "the turn is ours" need it.
 *
 * The only file that sees both pages.h and os.h. */
#include <assert.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "arenas.h"
#include "bits.h"
#include "cache.h"
#include "config.h"
#include "os.h"
#include "pages.h"
#include "scavenge.h"
#include "status.h"

enum {
    PAGE_BYTES_DEFAULT = 8 << 10, /* twice the usual OS page: half the bookkeeping, and nothing asks for less */
    PAGE_BYTES_MAX = 2 << 20,
    GROW_BYTES_DEFAULT = 2 << 20, /* one huge page: the system call is a few ns a page, and huge pages can form */
    RETAIN_PERCENT_MAX = 1000,
    DATA_ALIGN_LARGE = 2 << 20, /* page 0 of an arena of 64 MiB and more lies on a huge page boundary */
    DATA_ALIGN_FROM = 64 << 20,
    RESERVE_BYTES_LEAST = 64 << 10, /* less is not worth an arena */
    CACHE_BYTES_DEFAULT = 64 << 20, /* for each thread: 16 runs of 4 MiB come and go without the lock */
    CACHE_SEARCH = 16,              /* long runs that are looked through for one that comes back */
    CACHE_SHARE = 64,               /* and no more than one part in so many of what the arena can have */
    FOUND_BYTES_LEAST = 2 << 20,    /* so much in other threads' caches is worth taking back before the arena grows */
    SCAVENGE_BYTES = 2 << 20,       /* at a time by the scavenger: a huge page */
    DENSE_PAGES = FALLOW__CHUNK_PAGES / 32 * 31, /* a chunk of which more is in use is dense */
    SWEEP_LOOKS = 64,                            /* free ranges looked at with the lock held */
    MAP_SHARE = 4,            /* an arena makes no more than one in so many of the mappings a process may have */
    EDGES_UNCHECKED = 1024,   /* so few are no reason to ask how many there may be */
    RELEASE_BYTES = 16 << 20, /* given back at a time: half a millisecond for which others may wait */
    ZERO_PIECES = 16          /* pieces that ZEROED clears one by one; the rest in one go */
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
    uint64_t edges;        /* where accessible pages and others meet: about as many mappings lie behind each other */
    fallow__pages pages;
    fallow__mark mark; /* for those who look at mappings */
} part;

/* A range of free pages in one state. */
typedef struct piece {
    part *part;
    uint64_t first;
    uint64_t count;
    fallow__page_state state;
} piece;

/* Where the scavenger is on its way down through the free memory. */
typedef struct sweep {
    part *part;     /* NULL: at the end of a pass */
    uint64_t below; /* page */
    bool is_begun;
    bool is_in_parts; /* the second pass: whole pieces are done */
    bool spares_dense;
    bool has_spared;
} sweep;

struct fallow_arena {
    fallow__caches caches; /* first: an arena's address is that of its caches. Read without the lock */
    fallow__os_lock lock;
    fallow__os_event turn_passed;
    uint64_t tickets;      /* who asks for the turn gets the next number */
    uint64_t turn;         /* the number whose turn it is; nobody's if it is `tickets` */
    piece out;             /* count is 0 if nothing is out */
    size_t promised_bytes; /* will be backed by what is being committed now */
    part *oldest;
    part *newest;
    unsigned page_shift;
    size_t page_bytes;
    size_t reserve_bytes; /* what a further part asks for first */
    uint64_t grow_pages;
    size_t limit_bytes;
    size_t peak_in_use_pages; /* before this interval of the scavenger */
    uint64_t commit_calls;
    fallow_given_back given_back[FALLOW_PURGE_DECOMMIT + 1]; /* by fallow_purge */
    uint64_t avoided_decommits;
    uint64_t os_ns;       /* spent in calls of the system */
    uint64_t edge_budget; /* 0 = not looked up yet */
    sweep sweep;
    fallow__cached idle_cached; /* what threads kept when the scavenger's thread last looked, */
    uint64_t idle_end_ns;       /* and when it will look again */
    fallow__scavenger scavenger;
    fallow_purge purge;    /* never DEFAULT */
    uint32_t flags;        /* FALLOW_ARENA_* */
    uint32_t region_flags; /* of every part */
    bool (*before_commit)(void *callback_context, void *base, size_t size_bytes);
    void (*after_decommit)(void *callback_context, void *base, size_t size_bytes);
    void *callback_context;
    char name[FALLOW_NAME_BYTES];
};

static_assert(offsetof(fallow_arena, caches) == 0, "a thread that has no arena's caches has no NULL arena's either");

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

static inline bool block_is_ready(const part *p, uint64_t block)
{
    return (p->ready[block / 64] >> (block % 64)) & 1;
}

static inline bool page_is_ready(const part *p, uint64_t page)
{
    return block_is_ready(p, page / FALLOW__BLOCK_PAGES);
}

/* Is a page being given back? The books of the part call it used then. */
static inline bool is_out(const fallow_arena *arena, const part *p, uint64_t page)
{
    return arena->out.part == p && page - arena->out.first < arena->out.count;
}

/* The state of a page; one whose bookkeeping is not there has never been in a run. */
static unsigned page_state(const fallow_arena *arena, const part *p, uint64_t page)
{
    uint64_t end;
    if (!page_is_ready(p, page)) {
        return FALLOW__FREE_NONE;
    }
    if (is_out(arena, p, page)) {
        return arena->out.state;
    }
    return fallow__pages_piece((fallow__pages *)(uintptr_t)&p->pages, page, page + 1, &end);
}

/* How many pages of a part are in states of a set. */
static inline uint64_t part_state_pages(const fallow_arena *arena, const part *p, unsigned states)
{
    uint64_t count = 0;
    for (unsigned state = 0; state < 8; state++) {
        count += (states & FALLOW__STATES(state)) != 0 ? p->pages.state_pages[state] : 0;
    }
    if (arena->out.count != 0 && arena->out.part == p) {
        count += (states & FALLOW__STATES(arena->out.state)) != 0 ? arena->out.count : 0;
        count -= (states & FALLOW__STATES(FALLOW__START_NONE)) != 0 ? 1 : 0;
        count -= (states & FALLOW__STATES(FALLOW__REST_NONE)) != 0 ? arena->out.count - 1 : 0;
    }
    return count;
}

static uint64_t arena_state_pages(const fallow_arena *arena, unsigned states)
{
    uint64_t count = 0;
    for (const part *p = arena->oldest; p != NULL; p = p->next) {
        count += part_state_pages(arena, p, states);
    }
    return count;
}

/* What limit_bytes bounds: everything that may hold memory. */
static size_t arena_backed_bytes(const fallow_arena *arena)
{
    size_t metadata_bytes = arena->caches.metadata_bytes;
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
    if (in_use > arena->scavenger.peak_pages) {
        arena->scavenger.peak_pages = in_use;
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

/* --- edges -------------------------------------------------------------------------------------------------- */

static bool is_accessible_page(const fallow_arena *arena, const part *p, uint64_t page)
{
    return page < p->plan.page_count && (FALLOW__STATES(page_state(arena, p, page)) & STATES_ACCESSIBLE) != 0;
}

/* How many of the two neighbours of [first, limit) are accessible. */
static unsigned accessible_neighbours(const fallow_arena *arena, const part *p, uint64_t first, uint64_t limit)
{
    return (first != 0 && is_accessible_page(arena, p, first - 1)) + is_accessible_page(arena, p, limit);
}

/* All of [first, limit) becomes accessible, or NONE: each maximal range that changes makes an edge where its neighbour
 * stays what it was, and ends one where the neighbour is alike now. Before the pages are told. */
static void edges_count(fallow_arena *arena, part *p, uint64_t first, uint64_t limit, bool is_committed)
{
    uint64_t range_first;
    uint64_t range_pages;
    unsigned changing = is_committed ? STATES_NONE : STATES_ACCESSIBLE;
    for (uint64_t page = first; next_range(&p->pages, &page, limit, changing, &range_first, &range_pages);) {
        unsigned neighbours = accessible_neighbours(arena, p, range_first, range_first + range_pages);
        p->edges += is_committed ? 2 - 2 * (uint64_t)neighbours : 2 * (uint64_t)neighbours - 2;
    }
}

/* --- the turn, and what is done without the lock ----------------------------------------------------------- */

static inline bool turn_is_free(const fallow_arena *arena)
{
    return arena->turn == arena->tickets;
}

/* Wait for the turn. The lock is let go, if another has it. */
static void turn_take(fallow_arena *arena)
{
    uint64_t ticket = arena->tickets++;
    while (arena->turn != ticket) {
        fallow__os_event_wait(&arena->turn_passed, &arena->lock, UINT64_MAX);
    }
}

static void turn_pass(fallow_arena *arena)
{
    arena->turn++;
    if (!turn_is_free(arena)) {
        fallow__os_event_wake(&arena->turn_passed);
    }
}

/* Let those who wait go first. The turn is ours before and after. */
static void turn_give_way(fallow_arena *arena)
{
    if (arena->turn + 1 != arena->tickets) {
        turn_pass(arena);
        turn_take(arena);
    }
}

/* The callbacks. The lock is not held. */
static bool ask(const fallow_arena *arena, void *base, size_t size_bytes)
{
    return arena->before_commit == NULL || arena->before_commit(arena->callback_context, base, size_bytes);
}

static void tell(const fallow_arena *arena, void *base, size_t size_bytes)
{
    if (arena->after_decommit != NULL) {
        arena->after_decommit(arena->callback_context, base, size_bytes);
    }
}

/* Calls of the system and of the program: the lock is held, and let go for the call; the turn is ours. */

static bool granted(fallow_arena *arena, void *base, size_t size_bytes)
{
    if (arena->before_commit == NULL) {
        return true;
    }
    fallow__os_lock_release(&arena->lock);
    bool is_granted = ask(arena, base, size_bytes);
    fallow__os_lock_acquire(&arena->lock);
    return is_granted;
}

static void taken_back(fallow_arena *arena, void *base, size_t size_bytes)
{
    if (arena->after_decommit == NULL) {
        return;
    }
    fallow__os_lock_release(&arena->lock);
    tell(arena, base, size_bytes);
    fallow__os_lock_acquire(&arena->lock);
}

static fallow_status system_commit(fallow_arena *arena, const part *p, void *base, size_t size_bytes,
                                   fallow__os_error *error)
{
    fallow__os_lock_release(&arena->lock);
    uint64_t start_ns = fallow__os_clock_ns();
    fallow_status status = fallow__os_commit(&p->region, base, size_bytes, error);
    uint64_t end_ns = fallow__os_clock_ns();
    fallow__os_lock_acquire(&arena->lock);
    arena->commit_calls++;
    arena->os_ns += end_ns - start_ns;
    return status;
}

static fallow_status system_decommit(fallow_arena *arena, const part *p, void *base, size_t size_bytes,
                                     fallow__os_left *left_out, fallow__os_error *error)
{
    fallow__os_lock_release(&arena->lock);
    uint64_t start_ns = fallow__os_clock_ns();
    fallow_status status = fallow__os_decommit(&p->region, base, size_bytes, left_out, error);
    uint64_t end_ns = fallow__os_clock_ns();
    fallow__os_lock_acquire(&arena->lock);
    arena->os_ns += end_ns - start_ns;
    return status;
}

static fallow_status system_purge(fallow_arena *arena, const part *p, void *base, size_t size_bytes, fallow_purge purge,
                                  bool *is_zero_out, bool *is_committed_out, fallow__os_error *error)
{
    fallow__os_lock_release(&arena->lock);
    uint64_t start_ns = fallow__os_clock_ns();
    fallow_status status = fallow__os_purge(&p->region, base, size_bytes, purge, is_zero_out, is_committed_out, error);
    uint64_t end_ns = fallow__os_clock_ns();
    fallow__os_lock_acquire(&arena->lock);
    arena->os_ns += end_ns - start_ns;
    return status;
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

/* A limit of our own refuses. */
static fallow_status refused(fallow__os_error *error, const char *limit_name, size_t limit_bytes)
{
    *error = (fallow__os_error){.limit_name = limit_name, .limit_value = limit_bytes};
    return FALLOW_ERR_LIMIT;
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

/* All of this with the turn; the lock is let go in between. */

/* Commit bookkeeping: granted, committed and counted, or nothing. It was promised before. */
static fallow_status metadata_commit(fallow_arena *arena, part *p, void *base, size_t size_bytes,
                                     fallow__os_error *error)
{
    if (!granted(arena, base, size_bytes)) {
        return refused(error, "before_commit", size_bytes);
    }
    fallow_status status = system_commit(arena, p, base, size_bytes, error);
    if (status != FALLOW_OK) {
        taken_back(arena, base, size_bytes);
        return status;
    }
    p->metadata_bytes += size_bytes;
    arena->promised_bytes -= size_bytes;
    return FALLOW_OK;
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
 * became ready are marked fresh until the call is through or has failed (blocks_settle). */
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
        (void)system_decommit(arena, p, base, size_bytes, &left, &ignored);
        if (!is_accessible(left)) {
            p->ready[block / 64] &= ~bit;
            p->metadata_bytes -= size_bytes;
            taken_back(arena, base, size_bytes);
        }
    }
}

/* A commit that was refused may have stopped partway (os.h): what the books call inaccessible becomes so. */
static void range_undo_commit(fallow_arena *arena, part *p, uint64_t first, uint64_t limit)
{
    uint64_t range_first;
    uint64_t range_pages;
    for (uint64_t page = first; next_range(&p->pages, &page, limit, STATES_NONE, &range_first, &range_pages);) {
        fallow__os_left left;
        fallow__os_error ignored;
        (void)system_decommit(arena, p, page_address(arena, p, range_first), pages_bytes(arena, range_pages), &left,
                              &ignored);
    }
}

/* Commit the inaccessible pages in [first, limit), with one system call over all of it: pages that are committed
 * already do not mind. */
static fallow_status range_commit(fallow_arena *arena, part *p, uint64_t first, uint64_t limit, fallow__os_error *error)
{
    if (!ranges_granted(arena, p, first, limit)) {
        return refused(error, "before_commit", pages_bytes(arena, limit - first));
    }
    fallow_status status =
        system_commit(arena, p, page_address(arena, p, first), pages_bytes(arena, limit - first), error);
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
            edges_count(arena, p, first, limit, true);
            arena->scavenger.countdown -= (int64_t)(limit - first);
            range_set_free(p, first, limit, FALLOW__STATES(FALLOW__FREE_NONE), FALLOW__FREE_ZERO);
            return FALLOW_OK;
        }
        if (limit == needed) {
            return status;
        }
        limit = needed + (limit - needed) / 2;
    }
}

/* --- what threads keep ---------------------------------------------------------------------------------------- */

/* Free single pages: those that lie in the same 64 of the same part at once. */
static void pages_drop(fallow_arena *arena, const fallow__item *items, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        part *p = part_of(arena, fallow__item_base(items[i]));
        uint64_t page = page_of(arena, p, fallow__item_base(items[i]));
        uint64_t first = page - page % 64;
        uint64_t room = p->plan.page_count - first; /* behind its last page another part may lie */
        uint64_t runs = 0;
        room = room < 64 ? room : 64;
        do {
            runs |= (uint64_t)1 << (page % 64);
            i++;
            page = i < count ? page_of(arena, p, fallow__item_base(items[i])) : first + 64;
        } while (page - first < room);
        fallow__pages_free_each(&p->pages, first, runs);
    }
}

/* Runs leave a cache: now they are free. */
static void arena_drop(void *context, const fallow__item *items, uint32_t count, size_t size_bytes)
{
    fallow_arena *arena = context;
    uint64_t page_count = pages_up(arena, size_bytes);
    if (page_count == 1) {
        pages_drop(arena, items, count);
    }
    for (uint32_t i = 0; i < count && page_count > 1; i++) {
        part *p = part_of(arena, fallow__item_base(items[i]));
        uint64_t first = page_of(arena, p, fallow__item_base(items[i]));
        if (!fallow__pages_free_short(&p->pages, first, page_count)) {
            fallow__pages_free(&p->pages, first, page_count);
        }
    }
    arena->scavenger.countdown -= (int64_t)(count * page_count);
    fallow__caches_changed(&arena->caches);
}

/* Take back what threads keep: all of it, or what others do. Where the system has no barrier for all threads, those
 * that run keep theirs. The lock is let go. */
static void arena_drain_caches(fallow_arena *arena, bool is_others_only)
{
    bool is_stopped = fallow__caches_stop(&arena->caches, &arena->lock);
    for (fallow__cache *cache = arena->caches.first; cache != NULL; cache = cache->next) {
        bool is_own = cache->owner == &fallow__here;
        if (is_own ? !is_others_only : is_stopped || cache->owner == NULL) {
            fallow__cache_empty(cache, arena_drop, arena);
        }
    }
    fallow__caches_go_on(&arena->caches);
}

/* --- giving back ------------------------------------------------------------------------------------------- */

/* Take a piece of free memory out, so that it can be given back without the lock. */
static void piece_take_out(fallow_arena *arena, piece what)
{
    FALLOW_ASSERT(arena->out.count == 0);
    fallow__pages_take(&what.part->pages, what.first, what.count, false);
    arena->out = what;
}

/* Put it back among the free pages, in another state or in the same. */
static void piece_put_back(fallow_arena *arena, fallow__page_state state)
{
    piece what = arena->out;
    if (state == FALLOW__FREE_NONE) {
        what.part->edges +=
            2 * (uint64_t)accessible_neighbours(arena, what.part, what.first, what.first + what.count) - 2;
    }
    arena->out.count = 0;
    fallow__pages_free(&what.part->pages, what.first, what.count);
    if (state != FALLOW__FREE_NONE) {
        fallow__pages_set_free(&what.part->pages, what.first, what.count, state);
    }
}

static void note_given_back(fallow_arena *arena, fallow_purge way, size_t size_bytes)
{
    arena->given_back[way].calls++;
    arena->given_back[way].bytes += size_bytes;
}

/* Decommit a piece, and write down what came of it. */
static fallow_status piece_decommit(fallow_arena *arena, piece what, fallow__page_state *state_out,
                                    fallow__os_error *error)
{
    fallow__os_left left;
    void *base = page_address(arena, what.part, what.first);
    size_t size_bytes = pages_bytes(arena, what.count);
    *state_out = what.state;
    piece_take_out(arena, what);
    fallow_status status = system_decommit(arena, what.part, base, size_bytes, &left, error);
    if (!is_accessible(left)) {
        taken_back(arena, base, size_bytes);
        *state_out = FALLOW__FREE_NONE;
    } else if (memory_is_gone(left)) {
        *state_out = FALLOW__FREE_ZERO;
    }
    note_given_back(arena, FALLOW_PURGE_DECOMMIT, *state_out != what.state ? size_bytes : 0);
    piece_put_back(arena, *state_out);
    return status;
}

static fallow_status piece_purge(fallow_arena *arena, piece what, fallow_purge purge, fallow__page_state *state_out,
                                 fallow__os_error *error)
{
    bool is_zero;
    bool is_committed = true;
    void *base = page_address(arena, what.part, what.first);
    size_t size_bytes = pages_bytes(arena, what.count);
    *state_out = what.state;
    piece_take_out(arena, what);
    fallow_status status = system_purge(arena, what.part, base, size_bytes, purge, &is_zero, &is_committed, error);
    if (status == FALLOW_OK) {
        *state_out = is_zero ? FALLOW__FREE_ZERO : FALLOW__FREE_LAZY;
    } else if (!is_committed) {
        taken_back(arena, base, size_bytes);
        *state_out = FALLOW__FREE_NONE;
    }
    note_given_back(arena, purge, *state_out != what.state ? size_bytes : 0);
    piece_put_back(arena, *state_out);
    return status;
}

/* May a range of accessible pages be decommitted? Not where it would split a mapping, and the arena has made as many as
 * it may: the process needs some to go on, and a malloc that gets none returns NULL. The turn is ours; the lock is let
 * go when this is first a question. */
static bool may_decommit(fallow_arena *arena, const part *where, uint64_t first, uint64_t limit)
{
    uint64_t edges = 0;
    for (const part *p = arena->oldest; p != NULL; p = p->next) {
        edges += p->edges;
    }
    if (edges < EDGES_UNCHECKED || accessible_neighbours(arena, where, first, limit) < 2) {
        return true;
    }
    if (arena->edge_budget == 0) {
        fallow_system system;
        fallow__os_lock_release(&arena->lock);
        fallow__os_system(&system);
        fallow__os_lock_acquire(&arena->lock);
        arena->edge_budget = system.map_count_limit / MAP_SHARE;
        arena->edge_budget += arena->edge_budget == 0; /* not known, or very few */
    }
    return edges < arena->edge_budget;
}

/* Purge or decommit a piece. A decommit that could only give the memory back counts as done: that is what was asked
 * for, and the stats tell that the pages are still accessible. It has met a limit then (max_map_count), as the next one
 * would, and to find that out costs more than the memory is worth: *purge_inout becomes DONTNEED. */
static fallow_status piece_release(fallow_arena *arena, piece what, fallow_purge *purge_inout,
                                   fallow__page_state *state_out, fallow__os_error *error)
{
    if (*purge_inout != FALLOW_PURGE_DECOMMIT) {
        return piece_purge(arena, what, *purge_inout, state_out, error);
    }
    if (!may_decommit(arena, what.part, what.first, what.first + what.count)) {
        *state_out = what.state;
        if (what.state == FALLOW__FREE_ZERO) {
            return FALLOW_OK; /* it has no memory to give */
        }
        arena->avoided_decommits++;
        return piece_purge(arena, what, FALLOW_PURGE_DONTNEED, state_out, error);
    }
    fallow_status status = piece_decommit(arena, what, state_out, error);
    if (status != FALLOW_OK && (FALLOW__STATES(what.state) & FALLOW__STATES_OLD) != 0 && *state_out != what.state) {
        *purge_inout = FALLOW_PURGE_DONTNEED;
        return FALLOW_OK;
    }
    return status;
}

/* How many pages are given back with one system call. */
static uint64_t release_pages(const fallow_arena *arena)
{
    uint64_t pages = RELEASE_BYTES >> arena->page_shift;
    return pages != 0 ? pages : 1;
}

/* The highest piece below a page whose state is in a set: of one state, and inside aligned RELEASE_BYTES. */
static bool piece_find(fallow_arena *arena, part *p, uint64_t below, unsigned states, piece *what_out)
{
    uint64_t first;
    uint64_t count;
    uint64_t end;
    if (!fallow__pages_last_range(&p->pages, below, states, &first, &count)) {
        return false;
    }
    uint64_t last = first + count - 1;
    fallow__page_state state = fallow__pages_piece(&p->pages, last, last + 1, &end);
    (void)fallow__pages_last_range(&p->pages, last + 1, FALLOW__STATES(state), &first, &count);
    uint64_t cut = fallow__align_down(last, release_pages(arena));
    first = first > cut ? first : cut;
    *what_out = (piece){.part = p, .first = first, .count = last + 1 - first, .state = state};
    return true;
}

/* What to give back. */
typedef struct release {
    unsigned states;     /* free pages in these */
    uint64_t keep_pages; /* until no more than this of them are left */
    bool gives_way;      /* others who wait for the turn get it between two pieces */
    fallow_purge purge;  /* may become DONTNEED (piece_release) */
    uint64_t pages;      /* given back so far */
} release;

/* Give back free pages, newest part and highest address first. The turn is ours; the lock is let go. */
static fallow_status arena_release(fallow_arena *arena, release *what, fallow__os_error *error)
{
    for (part *p = arena->newest; p != NULL; p = p->previous) {
        piece next = {.first = p->plan.page_count};
        for (;;) {
            uint64_t held = arena_state_pages(arena, what->states);
            if (held <= what->keep_pages || !piece_find(arena, p, next.first, what->states, &next)) {
                break;
            }
            if (next.count > held - what->keep_pages) {
                next.first += next.count - (held - what->keep_pages);
                next.count = held - what->keep_pages;
            }
            fallow__page_state state;
            fallow_status status = piece_release(arena, next, &what->purge, &state, error);
            what->pages += (FALLOW__STATES(state) & what->states) == 0 ? next.count : 0;
            if (status != FALLOW_OK) {
                return status;
            }
            if (what->gives_way) {
                turn_give_way(arena);
            }
        }
    }
    return FALLOW_OK;
}

/* --- the scavenger's way ------------------------------------------------------------------------------------ */

/* From the top, newest part first, in two passes: whole pieces of SCAVENGE_BYTES, which may be huge pages, then what is
 * left. A chunk that is nearly full is spared in one sweep and not in the next: what is free in it is likely to be
 * taken soon, and giving it back would break a huge page for little. Sweeps end at the bottom; the next one begins with
 * the next interval. */

static bool sweep_is_over(const sweep *s)
{
    return s->is_begun && s->part == NULL && s->is_in_parts;
}

static void sweep_begin(fallow_arena *arena, bool spares_dense)
{
    arena->sweep = (sweep){
        .part = arena->newest,
        .below = arena->newest->plan.page_count,
        .is_begun = true,
        .spares_dense = spares_dense,
    };
}

static void sweep_end(sweep *s)
{
    s->part = NULL;
    s->is_in_parts = true;
}

/* No more in this part. */
static void sweep_next_part(fallow_arena *arena, sweep *s)
{
    s->part = s->part->previous;
    if (s->part == NULL && !s->is_in_parts) {
        s->is_in_parts = true;
        s->part = arena->newest;
    }
    s->below = s->part != NULL ? s->part->plan.page_count : 0;
}

static bool chunk_is_dense(part *p, uint64_t page)
{
    uint64_t first = fallow__align_down(page, FALLOW__CHUNK_PAGES);
    uint64_t count = p->plan.page_count - first;
    count = count < FALLOW__CHUNK_PAGES ? count : FALLOW__CHUNK_PAGES;
    return range_count(&p->pages, first, count, FALLOW__STATES_USED) > DENSE_PAGES;
}

/* The next piece on the way down; false: the sweep is over, or enough was looked at for once. The turn is ours. */
static bool sweep_next(fallow_arena *arena, piece *what_out)
{
    sweep *s = &arena->sweep;
    uint64_t step = SCAVENGE_BYTES >> arena->page_shift;
    for (unsigned looks = 0; looks < SWEEP_LOOKS && s->part != NULL; looks++) {
        uint64_t first;
        uint64_t count;
        if (!fallow__pages_last_range(&s->part->pages, s->below, FALLOW__STATES(FALLOW__FREE_DIRTY), &first, &count)) {
            sweep_next_part(arena, s);
            continue;
        }
        uint64_t end = first + count;
        uint64_t whole_end = fallow__align_down(end, step);
        bool is_whole = whole_end >= first + step;
        if (!s->is_in_parts && !is_whole) {
            s->below = first;
            continue;
        }
        uint64_t cut = s->is_in_parts ? fallow__align_down(end - 1, step) : whole_end - step;
        end = s->is_in_parts ? end : whole_end;
        first = first > cut ? first : cut;
        s->below = first;
        if (s->is_in_parts && s->spares_dense && chunk_is_dense(s->part, end - 1)) {
            s->has_spared = true;
            continue;
        }
        *what_out = (piece){.part = s->part, .first = first, .count = end - first, .state = FALLOW__FREE_DIRTY};
        return true;
    }
    return false;
}

static uint64_t arena_in_use_pages(const fallow_arena *arena)
{
    return arena_state_pages(arena, FALLOW__STATES_IN_USE);
}

static uint64_t arena_retained_pages(const fallow_arena *arena)
{
    return arena_state_pages(arena, FALLOW__STATES(FALLOW__FREE_DIRTY));
}

/* Is more free memory kept than there should be? */
static bool arena_has_excess(const fallow_arena *arena, bool is_patient)
{
    uint64_t in_use = arena_in_use_pages(arena);
    uint64_t retained = arena_retained_pages(arena);
    return retained != 0 && in_use + retained > fallow__scavenger_goal(&arena->scavenger, in_use, is_patient);
}

static void arena_tick(fallow_arena *arena, uint64_t now_ns)
{
    uint64_t peak = arena->scavenger.peak_pages;
    bool is_interval = fallow__scavenger_tick(&arena->scavenger, now_ns, arena_in_use_pages(arena));
    arena->peak_in_use_pages = peak > arena->peak_in_use_pages ? (size_t)peak : arena->peak_in_use_pages;
    if (!arena->sweep.is_begun || (is_interval && sweep_is_over(&arena->sweep))) {
        sweep_begin(arena, !arena->sweep.has_spared);
    }
}

/* A stretch of scavenging. */
typedef struct stretch {
    bool is_patient; /* heeds delay and pace; else the program has asked for it, here and now */
    bool gives_way;  /* others who wait for the turn get it between two pieces */
    unsigned most;   /* pieces, or looks without one */
    uint64_t budget_ns;
    uint64_t pages; /* given back so far */
} stretch;

/* Give back what is above the goal. The turn is ours; the lock is let go. */
static fallow_status arena_scavenge(fallow_arena *arena, stretch *how, fallow__os_error *error)
{
    uint64_t start_ns = fallow__os_clock_ns();
    bool is_anew = false;
    for (unsigned done = 0; done < how->most; done++) {
        uint64_t now_ns = fallow__os_clock_ns();
        arena_tick(arena, now_ns);
        bool may_go_on = how->is_patient ? fallow__scavenger_may_pay(&arena->scavenger, now_ns)
                                         : done == 0 || now_ns - start_ns < how->budget_ns;
        if (!may_go_on || !arena_has_excess(arena, how->is_patient)) {
            break;
        }
        arena->sweep.spares_dense &= how->is_patient;
        if (sweep_is_over(&arena->sweep)) {
            if (how->is_patient || is_anew) {
                break;
            }
            sweep_begin(arena, false);
            is_anew = true;
        }
        piece what;
        if (sweep_next(arena, &what)) {
            fallow_purge purge = arena->purge;
            fallow__page_state state;
            uint64_t os_ns = arena->os_ns;
            fallow_status status = piece_release(arena, what, &purge, &state, error);
            how->pages += state != what.state ? what.count : 0;
            fallow__scavenger_pay(&arena->scavenger, how->is_patient ? arena->os_ns - os_ns : 0);
            if (status != FALLOW_OK) {
                sweep_end(&arena->sweep); /* as soon again as if all had been given back */
                return status;
            }
        } else {
            fallow__os_lock_release(&arena->lock); /* many small ranges: let others in */
            fallow__os_lock_acquire(&arena->lock);
        }
        if (how->gives_way) {
            turn_give_way(arena);
        }
    }
    return FALLOW_OK;
}

/* So many pages were freed or committed: is it time for a look? The lock is held; the look is for when it is not. */
static inline bool look_is_due(fallow_arena *arena, uint64_t pages)
{
    arena->scavenger.countdown -= (int64_t)pages;
    return arena->scavenger.countdown < 0;
}

/* Look whether free memory should go back, and see that it does. The lock is not held. */
static FALLOW_NOINLINE void arena_look(fallow_arena *arena)
{
    fallow__scavenger *scavenger = &arena->scavenger;
    fallow__os_lock_acquire(&arena->lock);
    scavenger->countdown = scavenger->mode == FALLOW_SCAVENGE_OFF ? INT64_MAX : FALLOW__LOOK_PAGES;
    bool is_waking = scavenger->mode == FALLOW_SCAVENGE_THREAD && scavenger->is_idle;
    bool is_assisting = scavenger->mode == FALLOW_SCAVENGE_ASSIST;
    if (is_waking) {
        scavenger->is_idle = false;
        fallow__os_lock_release(&arena->lock);
        is_assisting = !fallow__scavengers_wake();
        fallow__os_lock_acquire(&arena->lock);
        scavenger->is_idle |= is_assisting; /* there is none: try again next time */
    }
    if (is_assisting && turn_is_free(arena)) {
        stretch how = {.is_patient = true, .most = 1};
        fallow__os_error ignored;
        turn_take(arena);
        (void)arena_scavenge(arena, &how, &ignored);
        turn_pass(arena);
    }
    fallow__os_lock_release(&arena->lock);
}

/* So many pages have been freed: release the lock, and look if it is time. */
static inline void arena_unlock_and_look(fallow_arena *arena, uint64_t pages)
{
    bool is_due = look_is_due(arena, pages);
    fallow__os_lock_release(&arena->lock);
    if (is_due) {
        arena_look(arena);
    }
}

static fallow_arena *arena_of_scavenger(fallow__scavenger *scavenger)
{
    return (fallow_arena *)(void *)((unsigned char *)scavenger - offsetof(fallow_arena, scavenger));
}

/* Take back what threads keep, if they have not come by since the interval before: they sleep, with all they keep. */
static void arena_drain_idle(fallow_arena *arena)
{
    uint64_t now_ns = fallow__os_clock_ns();
    if (now_ns < arena->idle_end_ns) {
        return;
    }
    fallow__cached kept = fallow__caches_count(&arena->caches, false);
    bool is_idle =
        kept.bytes != 0 && kept.bytes == arena->idle_cached.bytes && kept.run_count == arena->idle_cached.run_count;
    if (is_idle) {
        arena_drain_caches(arena, false);
        kept = fallow__caches_count(&arena->caches, false);
    }
    arena->idle_cached = kept;
    arena->idle_end_ns = now_ns + arena->scavenger.interval_ns;
}

/* What the thread does with an arena: scavenger_calls.work. */
static uint64_t arena_work(fallow__scavenger *scavenger)
{
    fallow_arena *arena = arena_of_scavenger(scavenger);
    stretch how = {.is_patient = true, .gives_way = true, .most = UINT_MAX};
    fallow__os_error ignored;
    uint64_t pause_ns = UINT64_MAX;
    fallow__os_lock_acquire(&arena->lock);
    arena_drain_idle(arena);
    turn_take(arena);
    fallow_status status = arena_scavenge(arena, &how, &ignored);
    turn_pass(arena);
    uint64_t now_ns = fallow__os_clock_ns();
    scavenger->is_idle = !arena_has_excess(arena, false) && arena->idle_cached.bytes == 0;
    if (!scavenger->is_idle) {
        bool is_due = status == FALLOW_OK && arena_has_excess(arena, true) && !sweep_is_over(&arena->sweep);
        uint64_t rest_ns = scavenger->interval_end_ns > now_ns ? scavenger->interval_end_ns - now_ns : 1;
        pause_ns = is_due ? fallow__scavenger_pause_ns(scavenger) : rest_ns;
    }
    fallow__os_lock_release(&arena->lock);
    return pause_ns;
}

/* What is done around a fork: scavenger_calls.fork. */
static bool arena_fork(fallow__scavenger *scavenger, fallow__fork_step step)
{
    fallow_arena *arena = arena_of_scavenger(scavenger);
    bool is_taken = true;
    switch (step) {
    case FALLOW__FORK_CHILD: /* nobody waits for what was held */
        fallow__os_lock_init(&arena->lock);
        fallow__os_event_init(&arena->turn_passed);
        arena->turn = arena->tickets;
        scavenger->is_idle = true;
        fallow__caches_in_child(&arena->caches, arena_drop, arena);
        return true;
    case FALLOW__FORK_PARENT:
        turn_pass(arena);
        fallow__os_lock_release(&arena->lock);
        return true;
    case FALLOW__FORK_TAKE:
        fallow__os_lock_acquire(&arena->lock);
        is_taken = turn_is_free(arena);
        if (is_taken) {
            turn_take(arena);
        }
        break;
    case FALLOW__FORK_WAIT:
        fallow__os_lock_acquire(&arena->lock);
        turn_take(arena);
        turn_pass(arena);
        break;
    case FALLOW__FORK_LET_GO:
        fallow__os_lock_acquire(&arena->lock);
        turn_pass(arena);
        break;
    case FALLOW__FORK_HOLD: fallow__os_lock_acquire(&arena->lock); return true;
    }
    fallow__os_lock_release(&arena->lock);
    return is_taken;
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
    size_t backed = arena_backed_bytes(arena) + arena->promised_bytes;
    return backed <= arena->limit_bytes && new_bytes <= arena->limit_bytes - backed;
}

/* Whether a run may be backed at all. */
static bool is_within_limit(const fallow_arena *arena, uint64_t count, bool is_committed)
{
    return arena->limit_bytes == 0 || !is_committed || count <= arena->limit_bytes >> arena->page_shift;
}

/* What is wanted does not fit the limit: give back what the arena holds for nothing, and only then refuse. FALLOW_OK:
 * look again, the lock was let go. The turn is ours. */
static fallow_status make_room(fallow_arena *arena, uint64_t count, bool is_committed, fallow__os_error *error)
{
    release what = {
        .states = FALLOW__STATES_OLD,
        .purge = arena->purge == FALLOW_PURGE_DECOMMIT ? FALLOW_PURGE_DECOMMIT : FALLOW_PURGE_DONTNEED,
    };
    if (is_within_limit(arena, count, is_committed)) {
        fallow__os_error ignored;
        arena_drain_caches(arena, false);
        (void)arena_release(arena, &what, &ignored);
    }
    return what.pages != 0 ? FALLOW_OK : refused(error, "limit_bytes", arena->limit_bytes);
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

static bool order_find(fallow_arena *arena, const order *wanted, place *where_out)
{
    return wanted->at != NULL ? arena_find_at(arena, wanted, where_out) : arena_find(arena, wanted, where_out);
}

static bool place_is_free(place where)
{
    return (fallow__pages_states(&where.part->pages, where.first, where.count) & FALLOW__STATES_USED) == 0;
}

/* Could a place be taken as it is? */
static bool place_is_usable(place where, bool is_committed)
{
    unsigned states = fallow__pages_states(&where.part->pages, where.first, where.count);
    return is_committed
               ? (states & STATES_NONE) == 0
               : (states & STATES_ACCESSIBLE) == 0 && blocks_missing(where.part, where.first, where.count) == 0;
}

/* Addresses only have to fault, and no more: that they are still charged is the system's affair. */
static fallow_status place_make_inaccessible(fallow_arena *arena, place where, fallow__os_error *error)
{
    fallow__pages *pages = &where.part->pages;
    uint64_t end = where.first + where.count;
    uint64_t first;
    while ((first = fallow__pages_next(pages, where.first, end, STATES_FREE_ACCESSIBLE)) != end) {
        uint64_t ignored;
        fallow__page_state state = fallow__pages_piece(pages, first, end, &ignored);
        uint64_t limit = fallow__pages_next(pages, first, end, ~FALLOW__STATES(state) & 0xff);
        piece what = {.part = where.part, .first = first, .count = limit - first, .state = state};
        fallow_status status = piece_decommit(arena, what, &state, error);
        if (state != FALLOW__FREE_NONE) {
            return status;
        }
    }
    return FALLOW_OK;
}

/* Can a place be taken as committed pages at once, without the turn? */
static bool place_is_takeable(const fallow_arena *arena, place where)
{
    return place_is_usable(where, true) && fits_limit(arena, place_new_bytes(arena, where, true));
}

/* One step to make a free place usable, as committed pages or as addresses only. *is_ready_out: it is, and the lock has
 * not been let go. Else the place has to be looked at again. On failure the arena is as it was, but that memory of free
 * pages may have been given back. The turn is ours. */
static fallow_status place_prepare(fallow_arena *arena, place where, bool is_committed, bool *is_ready_out,
                                   fallow__os_error *error)
{
    part *p = where.part;
    *is_ready_out = false;
    if (!fits_limit(arena, place_new_bytes(arena, where, is_committed))) {
        return make_room(arena, where.count, is_committed, error);
    }
    if (place_is_usable(where, is_committed)) {
        *is_ready_out = true;
        return FALLOW_OK;
    }
    arena->promised_bytes = (size_t)blocks_missing(p, where.first, where.count) * p->plan.block_bytes;
    fallow_status status = blocks_prepare(arena, p, where.first, where.count, error);
    if (status == FALLOW_OK) {
        status = is_committed ? place_commit(arena, where, error) : place_make_inaccessible(arena, where, error);
    }
    blocks_settle(arena, p, where.first, where.count, status != FALLOW_OK);
    arena->promised_bytes = 0;
    return status;
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
}

/* The part that fallow__pages_init writes to besides head and upper storage: the last block, if it is not full. */
static size_t first_block_bytes(const part_layout *layout, size_t *offset_out)
{
    const fallow__pages_plan *plan = &layout->plan;
    *offset_out = layout->block_offset + (size_t)(plan->block_count - 1) * plan->block_bytes;
    return plan->page_count % FALLOW__BLOCK_PAGES != 0 ? plan->last_block_bytes : 0;
}

static size_t head_bytes(const part_layout *layout)
{
    size_t block_offset;
    return layout->block_offset + first_block_bytes(layout, &block_offset);
}

/* Commit a part of the head: granted and committed, or nothing. */
static fallow_status head_commit(const fallow_arena *arena, const fallow_region *region, void *base, size_t size_bytes,
                                 uint64_t *calls_inout, fallow__os_error *error)
{
    if (!ask(arena, base, size_bytes)) {
        return refused(error, "before_commit", size_bytes);
    }
    ++*calls_inout;
    fallow_status status = fallow__os_commit(region, base, size_bytes, error);
    if (status != FALLOW_OK) {
        tell(arena, base, size_bytes);
    }
    return status;
}

/* Commit what part_init writes to. On failure nothing is committed that was granted. The lock is not held. */
static fallow_status part_commit_head(const fallow_arena *arena, const fallow_region *region, const part_layout *layout,
                                      uint64_t *calls_inout, fallow__os_error *error)
{
    unsigned char *start = region->base;
    size_t block_offset;
    size_t block_bytes = first_block_bytes(layout, &block_offset);
    size_t first_bytes = layout->block_offset;
    if (block_offset == first_bytes) { /* one block: next to the head, and committed with it */
        first_bytes += block_bytes;
        block_bytes = 0;
    }
    fallow_status status = head_commit(arena, region, start, first_bytes, calls_inout, error);
    if (status == FALLOW_OK && block_bytes != 0) {
        status = head_commit(arena, region, start + block_offset, block_bytes, calls_inout, error);
        if (status != FALLOW_OK) {
            tell(arena, start, first_bytes);
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
    fallow__mark_set(&p->mark, &p->region, arena);
    p->previous = arena->newest;
    if (arena->newest != NULL) {
        arena->newest->next = p;
    } else {
        arena->oldest = p;
    }
    arena->newest = p;
}

/* Take the newest part out of the list. Returns what the program will be told of. */
static size_t part_unlink(fallow_arena *arena, part *p)
{
    FALLOW_ASSERT(p == arena->newest);
    arena->newest = p->previous;
    if (p->previous != NULL) {
        p->previous->next = NULL;
    }
    return p->metadata_bytes + pages_bytes(arena, part_state_pages(arena, p, STATES_ACCESSIBLE));
}

/* Release it, and with the oldest part the arena itself. A refusal leaves nothing that could be done. The lock is not
 * held. */
static void part_release(const fallow_arena *arena, const part *p, size_t committed_bytes)
{
    fallow_region region = p->region;
    void (*after_decommit)(void *, void *, size_t) = arena->after_decommit;
    void *callback_context = arena->callback_context;
    fallow__os_error ignored;
    (void)fallow__os_release(&region, &ignored);
    if (after_decommit != NULL) {
        after_decommit(callback_context, region.base, committed_bytes);
    }
}

static size_t part_struct_bytes(void)
{
    return (size_t)fallow__align_up(sizeof(part), 64);
}

/* Add a further reservation in which an order surely fits: as large as the first was to be, or as all that there are,
 * so that they stay few. The turn is ours; the lock is let go. */
static fallow_status arena_add_part(fallow_arena *arena, const order *wanted, fallow__os_error *error)
{
    bool is_committed = (wanted->flags & FALLOW_RUN_UNCOMMITTED) == 0;
    uint64_t min_pages = wanted->count + wanted->align - 1;
    uint64_t page_count = arena->reserve_bytes >> arena->page_shift;
    uint64_t present = arena_state_pages(arena, FALLOW__STATES_FREE | FALLOW__STATES_USED);
    page_count = page_count > present ? page_count : present;
    page_count = page_count > min_pages ? page_count : min_pages;
    part_layout layout;
    fallow_region region;
    uint64_t calls = 0;
    if (!is_within_limit(arena, wanted->count, is_committed)) {
        return refused(error, "limit_bytes", arena->limit_bytes);
    }
    fallow__os_lock_release(&arena->lock);
    fallow_status status = part_reserve(arena, page_count, min_pages, part_struct_bytes(), &layout, &region, error);
    fallow__os_lock_acquire(&arena->lock);
    if (status != FALLOW_OK) {
        return status;
    }
    while (status == FALLOW_OK && !fits_limit(arena, head_bytes(&layout))) {
        status = make_room(arena, wanted->count, is_committed, error);
    }
    arena->promised_bytes = head_bytes(&layout);
    fallow__os_lock_release(&arena->lock);
    if (status == FALLOW_OK) {
        status = part_commit_head(arena, &region, &layout, &calls, error);
    }
    if (status == FALLOW_OK) {
        part_init(region.base, &region, &layout, part_struct_bytes());
    } else {
        fallow__os_error ignored;
        (void)fallow__os_release(&region, &ignored);
    }
    fallow__os_lock_acquire(&arena->lock);
    arena->commit_calls += calls;
    arena->promised_bytes = 0;
    if (status == FALLOW_OK) {
        part_link(arena, region.base);
    }
    return status;
}

/* --- allocating -------------------------------------------------------------------------------------------- */

/* Find a place. What threads keep is found again before the arena grows, or says that there is no room. The turn is
 * ours; the lock may be let go. */
static bool order_find_or_drain(fallow_arena *arena, const order *wanted, place *where_out)
{
    bool is_found = order_find(arena, wanted, where_out);
    if (arena->caches.first == NULL) {
        return is_found;
    }
    if (is_found) {
        bool is_grown = (wanted->flags & FALLOW_RUN_UNCOMMITTED) == 0 && !place_is_usable(*where_out, true);
        if (!is_grown || fallow__caches_count(&arena->caches, true).bytes < FOUND_BYTES_LEAST) {
            return true;
        }
    } else if (fallow__caches_count(&arena->caches, false).bytes == 0) {
        return false;
    }
    arena_drain_caches(arena, is_found);
    return order_find(arena, wanted, where_out);
}

/* Find a place and prepare it. FALLOW_ERR_EXHAUSTED: there is none. The turn is ours; the lock may have been let go,
 * but not since the place was last looked at. */
static fallow_status order_prepare(fallow_arena *arena, const order *wanted, place *where_out, fallow__os_error *error)
{
    bool is_committed = (wanted->flags & FALLOW_RUN_UNCOMMITTED) == 0;
    bool is_ready = false;
    fallow_status status = FALLOW_OK;
    for (bool is_found = false; status == FALLOW_OK && !is_ready; is_found = place_is_free(*where_out)) {
        if (!is_found && !order_find_or_drain(arena, wanted, where_out)) {
            return FALLOW_ERR_EXHAUSTED;
        }
        status = place_prepare(arena, *where_out, is_committed, &is_ready, error);
    }
    return status;
}

/* When the lowest place could not be prepared: a place that needs no commit may still do. */
static fallow_status arena_fall_back(fallow_arena *arena, const order *wanted, fallow_status first_refusal,
                                     place *where_out)
{
    order committed = *wanted;
    committed.flags |= FALLOW_RUN_NO_GROW;
    fallow__os_error ignored;
    if (wanted->at != NULL || (wanted->flags & (FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_NO_GROW)) != 0 ||
        order_prepare(arena, &committed, where_out, &ignored) != FALLOW_OK) {
        return first_refusal;
    }
    return FALLOW_OK;
}

/* Find and prepare a place, in a further reservation if there is none. The turn is ours. */
static fallow_status arena_get_place(fallow_arena *arena, const order *wanted, place *where_out,
                                     fallow__os_error *error)
{
    fallow_status status = order_prepare(arena, wanted, where_out, error);
    if (status == FALLOW_OK) {
        return FALLOW_OK;
    }
    if (status != FALLOW_ERR_EXHAUSTED) {
        return arena_fall_back(arena, wanted, status, where_out);
    }
    if (wanted->at != NULL || (arena->flags & FALLOW_ARENA_FIXED) != 0 || (wanted->flags & FALLOW_RUN_NO_GROW) != 0) {
        return status;
    }
    status = arena_add_part(arena, wanted, error);
    if (status != FALLOW_OK) {
        return status;
    }
    part *added = arena->newest;
    status = order_prepare(arena, wanted, where_out, error);
    if (status != FALLOW_OK && part_state_pages(arena, added, FALLOW__STATES_USED) == 0) {
        size_t committed_bytes = part_unlink(arena, added);
        fallow__os_lock_release(&arena->lock);
        part_release(arena, added, committed_bytes);
        fallow__os_lock_acquire(&arena->lock);
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

/* Take a run the long way. The lock is held, and may be let go. On success `pieces_out` are what ZEROED still has to
 * clear. */
static fallow_status arena_take(fallow_arena *arena, const order *wanted, fallow_run *run_out, old_pieces *pieces_out,
                                fallow__os_error *error)
{
    place where;
    fallow_status status = FALLOW_OK;
    bool has_turn = turn_is_free(arena) || (wanted->flags & FALLOW_RUN_UNCOMMITTED) != 0 ||
                    !order_find(arena, wanted, &where) || !place_is_takeable(arena, where);
    pieces_out->count = 0;
    if (has_turn) {
        turn_take(arena);
        status = arena_get_place(arena, wanted, &where, error);
    }
    if (status == FALLOW_OK) {
        if ((wanted->flags & FALLOW_RUN_ZEROED) != 0) {
            old_pieces_find(arena, where, pieces_out);
        }
        place_take(arena, where, wanted->flags, run_out);
    }
    if (has_turn) {
        turn_pass(arena);
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
    arena_unlock_and_look(arena, 0);
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

/* --- thread caches ------------------------------------------------------------------------------------------ */

/* The thread that owns a cache ends. */
static void arena_cache_leaves(fallow__caches *caches, fallow__cache *cache)
{
    fallow_arena *arena = (fallow_arena *)(void *)caches;
    fallow__os_lock_acquire(&arena->lock);
    fallow__cache_empty(cache, arena_drop, arena);
    fallow__cache_disown(cache);
    fallow__os_lock_release(&arena->lock);
}

/* Back a new cache with memory, which is bookkeeping; false if that is refused. The lock is not held. */
static bool arena_commit_cache(fallow_arena *arena, const fallow_region *region, size_t size_bytes)
{
    fallow__os_error ignored;
    fallow__os_lock_acquire(&arena->lock);
    bool is_allowed = fits_limit(arena, size_bytes);
    if (is_allowed) {
        arena->caches.metadata_bytes += size_bytes;
        arena->caches.reserved_bytes += region->size_bytes;
        arena->commit_calls++;
    }
    fallow__os_lock_release(&arena->lock);
    if (!is_allowed) {
        return false;
    }
    bool is_granted = ask(arena, region->base, size_bytes);
    if (is_granted && fallow__os_commit(region, region->base, size_bytes, &ignored) == FALLOW_OK) {
        return true;
    }
    if (is_granted) {
        tell(arena, region->base, size_bytes);
    }
    fallow__os_lock_acquire(&arena->lock);
    arena->caches.metadata_bytes -= size_bytes;
    arena->caches.reserved_bytes -= region->size_bytes;
    fallow__os_lock_release(&arena->lock);
    return false;
}

static bool arena_new_cache(fallow_arena *arena)
{
    size_t size_bytes = fallow__cache_bytes(&arena->caches);
    const fallow_region_options options = {
        .name = arena->name[0] != '\0' ? arena->name : NULL,
        .flags = arena->region_flags & ~(uint32_t)FALLOW_REGION_HUGE_PAGES,
    };
    fallow_region region;
    fallow__os_error ignored;
    if (fallow__os_reserve(size_bytes, &options, &region, &ignored) != FALLOW_OK) {
        return false;
    }
    if (!arena_commit_cache(arena, &region, size_bytes)) {
        (void)fallow__os_release(&region, &ignored);
        return false;
    }
    fallow__cache_begin();
    fallow__os_lock_acquire(&arena->lock);
    fallow__cache_open(&arena->caches, &region);
    fallow__os_lock_release(&arena->lock);
    fallow__cache_finish();
    return true;
}

/* Give this thread a cache; without one everything works all the same. The lock is not held. */
static bool arena_make_cache(fallow_arena *arena)
{
    if (!fallow__cache_prepare()) {
        return false;
    }
    fallow__cache_begin();
    fallow__os_lock_acquire(&arena->lock);
    bool is_made = fallow__cache_adopt(&arena->caches);
    fallow__os_lock_release(&arena->lock);
    fallow__cache_finish();
    return is_made || arena_new_cache(arena);
}

/* Acquire the lock, and find this thread's cache; make one if it is time. NULL: go without. */
static fallow__cache *arena_lock_with_cache(fallow_arena *arena, bool is_free)
{
    fallow__os_lock_acquire(&arena->lock);
    fallow__cache *cache = fallow__cache_mine(&arena->caches);
    if (cache == NULL && fallow__cache_is_missed(&arena->caches, is_free)) {
        fallow__os_lock_release(&arena->lock);
        bool is_made = arena_make_cache(arena);
        fallow__os_lock_acquire(&arena->lock);
        if (is_made) {
            cache = fallow__cache_mine(&arena->caches);
        } else {
            fallow__cache_refused(&arena->caches);
        }
    }
    return cache;
}

/* A page was taken: take up to so many of the next ones, too. */
static unsigned arena_take_next(fallow_arena *arena, const void *base, unsigned most, fallow__item *items_out)
{
    part *p = part_of(arena, base);
    uint64_t page = page_of(arena, p, base);
    uint64_t zero;
    uint64_t taken = fallow__pages_take_next(&p->pages, page, most, &zero);
    unsigned count = 0;
    for (; taken != 0; taken &= taken - 1) {
        unsigned bit = fallow__lowest_bit(taken);
        items_out[count++] = (fallow__item)page_address(arena, p, page - page % 64 + bit) | ((zero >> bit) & 1);
    }
    arena_note_peak(arena);
    return count;
}

/* Fetch runs for an empty bin, the lowest for now; NONE if committed memory nearby has none. The lock is held. */
static fallow__item arena_refill(fallow_arena *arena, fallow__cache *cache, size_t index, uint64_t count)
{
    fallow__item items[FALLOW__CACHE_BATCH_MOST];
    unsigned wanted = fallow__cache_batch(cache, index, FALLOW__CACHE_BATCH_MOST);
    unsigned fetched = 0;
    while (fetched < wanted) {
        bool is_zero;
        void *base = arena_take_short(arena, count, &is_zero);
        if (base == NULL) {
            break;
        }
        items[fetched++] = (fallow__item)base | is_zero;
        if (count == 1 && arena->limit_bytes == 0) {
            fetched += arena_take_next(arena, base, wanted - fetched, items + fetched);
        }
    }
    if (fetched == 0) {
        return FALLOW__ITEM_NONE;
    }
    uint32_t kept = fallow__cache_refill(cache, index, items, fetched);
    if (kept < fetched) {
        unsigned first = kept != 0 ? kept : 1; /* the lowest one is what was asked for */
        arena_drop(arena, items + first, fetched - first, pages_bytes(arena, count));
    }
    return kept != 0 ? fallow__cache_take(cache, index) : items[0];
}

/* Take a run through this thread's cache; NONE: it has to be done otherwise. */
static fallow__item arena_take_cached(fallow_arena *arena, size_t size_bytes)
{
    size_t index = fallow__cache_index(&arena->caches, size_bytes);
    if (index >= arena->caches.bin_count) {
        return FALLOW__ITEM_NONE;
    }
    fallow__cache_enter();
    fallow__cache *cache = fallow__cache_recall(&arena->caches);
    fallow__item item = cache != NULL ? fallow__cache_take(cache, index) : FALLOW__ITEM_NONE;
    fallow__cache_leave();
    if (item == FALLOW__ITEM_NONE) {
        cache = arena_lock_with_cache(arena, false);
        if (cache != NULL) {
            item = fallow__cache_take(cache, index);
            if (item == FALLOW__ITEM_NONE) {
                item = arena_refill(arena, cache, index, pages_up(arena, size_bytes));
            }
        }
        fallow__os_lock_release(&arena->lock);
    }
    return item;
}

/* --- allocating, as it is called ----------------------------------------------------------------------------- */

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
    bool is_anywhere = wanted.align == 1 && wanted.at == NULL;
    if (is_anywhere && (wanted.flags & ~(uint32_t)FALLOW_RUN_ZEROED) == 0) {
        fallow__item item = arena_take_cached(arena, size_bytes);
        if (item != FALLOW__ITEM_NONE) {
            *run_out = (fallow_run){
                .base = fallow__item_base(item),
                .size_bytes = pages_bytes(arena, wanted.count),
                .is_zero = !fallow__item_is_plain(item),
            };
            if ((wanted.flags & FALLOW_RUN_ZEROED) != 0 && !run_out->is_zero) {
                memset(run_out->base, 0, run_out->size_bytes);
                run_out->is_zero = true;
            }
            return FALLOW_OK;
        }
    }
    bool is_plain = is_anywhere && (wanted.flags & ~(uint32_t)FALLOW_RUN_NO_CACHE) == 0;
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

/* A plain request that its thread's cache could not serve at once. */
static FALLOW_NOINLINE fallow_status arena_alloc_plain(fallow_arena *arena, size_t size_bytes, void **base_out)
{
    FALLOW_REQUIRE(arena != NULL, "fallow_arena_alloc", NULL, "the arena is NULL");
    fallow__item item = arena_take_cached(arena, size_bytes);
    if (item != FALLOW__ITEM_NONE) {
        *base_out = fallow__item_base(item);
        return FALLOW_OK;
    }
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

fallow_status fallow_arena_alloc(fallow_arena *arena, size_t size_bytes, void **base_out)
{
    FALLOW_REQUIRE(base_out != NULL, "fallow_arena_alloc", NULL, "base_out is NULL");
    fallow__cache_enter();
    if (fallow__cache_is_latest(arena)) {
        size_t index = fallow__cache_index(&arena->caches, size_bytes);
        if (FALLOW__LIKELY(index < arena->caches.bin_count)) {
            fallow__item item = fallow__cache_take_plain(fallow__here.latest.cache, index);
            if (FALLOW__LIKELY(fallow__item_is_plain(item))) {
                fallow__cache_leave();
                *base_out = (void *)item;
                return FALLOW_OK;
            }
        }
    }
    fallow__cache_leave();
    return arena_alloc_plain(arena, size_bytes, base_out);
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

/* Is what the bitmaps call a run in a cache: has it been freed? The run that this thread freed last of all its size is
 * always found; every one, if everything is to be looked at. */
static bool run_is_cached(const fallow_arena *arena, place run)
{
    const void *base = page_address(arena, run.part, run.first);
    size_t index = fallow__cache_index(&arena->caches, pages_bytes(arena, run.count));
    if (index >= arena->caches.bin_count) {
        return false;
    }
    if (arena->caches.is_checked) {
        return fallow__caches_hold(&arena->caches, index, base);
    }
    const fallow__cache *cache = fallow__cache_mine(&arena->caches);
    return cache != NULL && fallow__cache_has_latest(cache, index, base);
}

/* Check that base and size are those of a live run; anything else stops the program. The lock is held. */
static place run_require(const fallow_arena *arena, const void *base, size_t size_bytes, const char *operation)
{
    place where = page_require(arena, base, operation);
    unsigned state = FALLOW__STATES(page_state(arena, where.part, where.first));
    FALLOW_REQUIRE((state & FALLOW__STATES_FREE) == 0, operation, base, "already free");
    FALLOW_REQUIRE((state & FALLOW__STATES_START) != 0, operation, base, "inside a run, not its base");
    bool is_size = pages_for(arena, size_bytes, &where.count);
    FALLOW_REQUIRE(is_size && fallow__pages_run_end(&where.part->pages, where.first) == where.first + where.count,
                   operation, base, "the size is not the run's size");
    FALLOW_REQUIRE(!run_is_cached(arena, where), operation, base, "already free");
    return where;
}

/* Free a run that is not a simple one, or stop the program. The lock is held; it is released. */
static FALLOW_NOINLINE void arena_free_long(fallow_arena *arena, void *base, size_t size_bytes)
{
    place where = run_require(arena, base, size_bytes, "fallow_arena_free");
    fallow__pages_free(&where.part->pages, where.first, where.count);
    fallow__caches_changed(&arena->caches);
    arena_unlock_and_look(arena, where.count);
}

/* Free a run past the caches. */
static void arena_free_past(fallow_arena *arena, void *base, size_t size_bytes)
{
    fallow__os_lock_acquire(&arena->lock);
    part *p = part_of(arena, base);
    uint64_t first = p != NULL ? page_of(arena, p, base) : 0;
    uint64_t count = pages_up(arena, size_bytes);
    /* the long way for a foreign or misaligned base, a page that never was in a run, and size 0, as above; and where
     * everything is looked at */
    if (p == NULL || page_address(arena, p, first) != base || !page_is_ready(p, first) || arena->caches.is_checked ||
        !fallow__pages_free_short(&p->pages, first, count)) {
        arena_free_long(arena, base, size_bytes);
        return;
    }
    (void)look_is_due(arena, pages_up(arena, size_bytes));
    fallow__caches_changed(&arena->caches);
    arena_unlock_and_look(arena, count);
}

/* Free a run into this thread's cache, with the lock. */
static FALLOW_NOINLINE void arena_free_locked(fallow_arena *arena, void *base, size_t size_bytes, size_t index)
{
    static const char operation[] = "fallow_arena_free";
    fallow__cache *cache = arena_lock_with_cache(arena, true);
    place where = run_require(arena, base, size_bytes, operation);
    unsigned states = fallow__pages_states(&where.part->pages, where.first, where.count);
    if (cache != NULL && (states & ~FALLOW__STATES_IN_USE) == 0) {
        if (fallow__cache_make_room(cache, index, arena_drop, arena) && fallow__cache_put(cache, index, base)) {
            arena_unlock_and_look(arena, 0);
            return;
        }
    }
    fallow__pages_free(&where.part->pages, where.first, where.count);
    (void)look_is_due(arena, where.count);
    fallow__caches_changed(&arena->caches);
    arena_unlock_and_look(arena, where.count);
}

/* Is this a live run, as far as can be seen without the lock? Yes is exact; no means: look again with it. Others may
 * write in the same words meanwhile, but not the bits of a live run: those are its owner's. */
FALLOW_UNSYNCHRONISED
static bool arena_is_run(const fallow_arena *arena, const void *base, uint64_t count)
{
    const part *p = arena->oldest; /* of which base and size never change */
    size_t offset = (size_t)((uintptr_t)base - (uintptr_t)p->base);
    uint64_t first = (uint64_t)offset >> arena->page_shift;
    if ((offset & (arena->page_bytes - 1)) != 0 || first >= p->plan.page_count) {
        return false;
    }
    uint64_t block = first / FALLOW__BLOCK_PAGES;
    const volatile uint64_t *ready = p->ready;
    return (ready[block / 64] >> (block % 64) & 1) != 0 && fallow__pages_is_short_run(&p->pages, first, count);
}

/* A run that does not go back to where it was taken from. */
static FALLOW_NOINLINE void arena_free_checked(fallow_arena *arena, void *base, size_t size_bytes)
{
    FALLOW_REQUIRE(arena != NULL, "fallow_arena_free", base, "the arena is NULL");
    if (base == NULL) {
        return;
    }
    size_t index = fallow__cache_index(&arena->caches, size_bytes);
    if (index >= arena->caches.bin_count) {
        arena_free_past(arena, base, size_bytes);
        return;
    }
    /* the bitmaps cannot tell of a run as long as a chunk without the lock */
    uint64_t count = pages_up(arena, size_bytes);
    uint32_t search = count < FALLOW__CHUNK_PAGES ? 0 : CACHE_SEARCH;
    fallow__cache_enter();
    fallow__cache *cache =
        fallow__cache_is_latest(arena) ? fallow__here.latest.cache : fallow__cache_recall(&arena->caches);
    bool is_put = cache != NULL && (fallow__cache_put_trusted(cache, index, base, search) ||
                                    (arena_is_run(arena, base, count) && fallow__cache_put(cache, index, base)));
    fallow__cache_leave();
    if (!is_put) {
        arena_free_locked(arena, base, size_bytes, index);
    }
}

void fallow_arena_free(fallow_arena *arena, void *base, size_t size_bytes)
{
    fallow__cache_enter();
    if (fallow__cache_is_latest(arena)) {
        size_t index = fallow__cache_index(&arena->caches, size_bytes);
        if (FALLOW__LIKELY(index < arena->caches.bin_count) &&
            FALLOW__LIKELY(fallow__cache_put_back(fallow__here.latest.cache, &arena->caches, index, base))) {
            fallow__cache_leave();
            return;
        }
    }
    fallow__cache_leave();
    arena_free_checked(arena, base, size_bytes);
}

void fallow_arena_free_many(fallow_arena *arena, const fallow_run *runs, size_t count)
{
    static const char operation[] = "fallow_arena_free_many";
    FALLOW_REQUIRE(arena != NULL, operation, NULL, "the arena is NULL");
    FALLOW_REQUIRE(runs != NULL || count == 0, operation, NULL, "runs is NULL");
    uint64_t pages = 0;
    fallow__os_lock_acquire(&arena->lock);
    for (size_t i = 0; i < count; i++) {
        if (runs[i].base != NULL) {
            place where = run_require(arena, runs[i].base, runs[i].size_bytes, operation);
            fallow__pages_free(&where.part->pages, where.first, where.count);
            pages += where.count;
        }
    }
    fallow__caches_changed(&arena->caches);
    arena_unlock_and_look(arena, pages);
}

/* A longer size for a run. */
typedef struct extension {
    void *base;
    size_t old_bytes;
    uint64_t new_count;
    const char *operation;
} extension;

/* Find the run and the pages that it is to have. EXHAUSTED: they are not free. */
static fallow_status extension_find(fallow_arena *arena, const extension *wanted, place *behind_out,
                                    bool *is_committed_out)
{
    place run = run_require(arena, wanted->base, wanted->old_bytes, wanted->operation);
    place behind = {run.part, run.first + run.count, wanted->new_count - run.count};
    unsigned last_state = page_state(arena, run.part, behind.first - 1);
    *is_committed_out = (FALLOW__STATES(last_state) & FALLOW__STATES_IN_USE) != 0;
    *behind_out = behind;
    bool is_free = wanted->new_count <= run.part->plan.page_count - run.first && place_is_free(behind);
    return is_free ? FALLOW_OK : FALLOW_ERR_EXHAUSTED;
}

/* Take the runs behind a run out of this thread's cache, as far as they are there and in the way. */
static void extension_clear(fallow_arena *arena, place behind)
{
    fallow__pages *pages = &behind.part->pages;
    fallow__cache *cache = fallow__cache_mine(&arena->caches);
    uint64_t end = behind.first + behind.count;
    if (cache == NULL || end > behind.part->plan.page_count) {
        return;
    }
    for (uint64_t page = behind.first; (page = fallow__pages_next(pages, page, end, FALLOW__STATES_USED)) < end;) {
        void *base = page_address(arena, behind.part, page);
        size_t size_bytes = pages_bytes(arena, fallow__pages_run_end(pages, page) - page);
        size_t index = fallow__cache_index(&arena->caches, size_bytes);
        if (index >= arena->caches.bin_count || !fallow__cache_remove(cache, index, base)) {
            return;
        }
        const fallow__item item = (fallow__item)base;
        arena_drop(arena, &item, 1, size_bytes);
    }
}

/* Make a run longer. The lock is held, and may be let go. */
static fallow_status run_extend(fallow_arena *arena, const extension *wanted, fallow__os_error *error)
{
    place behind;
    bool is_committed;
    fallow_status status = extension_find(arena, wanted, &behind, &is_committed);
    if (status != FALLOW_OK) {
        extension_clear(arena, behind);
        status = extension_find(arena, wanted, &behind, &is_committed);
    }
    bool has_turn = turn_is_free(arena) || status != FALLOW_OK || !is_committed || !place_is_takeable(arena, behind);
    if (has_turn) {
        bool is_ready = false;
        turn_take(arena);
        do {
            status = extension_find(arena, wanted, &behind, &is_committed);
            if (status == FALLOW_OK) {
                status = place_prepare(arena, behind, is_committed, &is_ready, error);
            }
        } while (status == FALLOW_OK && !is_ready);
    }
    if (status == FALLOW_OK) {
        fallow__pages_append(&behind.part->pages, behind.first, behind.count, is_committed);
        fallow__caches_changed(&arena->caches);
        arena_note_peak(arena);
    }
    if (has_turn) {
        turn_pass(arena);
    }
    return status;
}

fallow_status fallow_arena_extend(fallow_arena *arena, void *base, size_t old_bytes, size_t new_bytes)
{
    static const char operation[] = "fallow_arena_extend";
    FALLOW_REQUIRE(arena != NULL, operation, base, "the arena is NULL");
    extension wanted = {.base = base, .old_bytes = old_bytes, .operation = operation};
    fallow__os_error error = {0};
    fallow__os_lock_acquire(&arena->lock);
    place run = run_require(arena, base, old_bytes, operation);
    fallow_status status = FALLOW_ERR_INVALID;
    if (new_bytes >= old_bytes && pages_for(arena, new_bytes, &wanted.new_count)) {
        status = wanted.new_count == run.count ? FALLOW_OK : run_extend(arena, &wanted, &error);
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
        fallow__caches_changed(&arena->caches);
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
    fallow__caches_changed(&arena->caches);
    fallow__os_lock_release(&arena->lock);
}

/* Check that a range lies in one live run; anything else stops the program. The lock is held. */
static place range_require(const fallow_arena *arena, const void *base, size_t size_bytes, const char *operation)
{
    place where = page_require(arena, base, operation);
    FALLOW_REQUIRE((FALLOW__STATES(page_state(arena, where.part, where.first)) & FALLOW__STATES_USED) != 0, operation,
                   base, "not in a live run");
    bool is_size = pages_for(arena, size_bytes, &where.count);
    FALLOW_REQUIRE(is_size && where.count <= fallow__pages_run_end(&where.part->pages, where.first) - where.first,
                   operation, base, "the range leaves its run");
    if (arena->caches.bin_count != 0) {
        place run = {.part = where.part, .first = fallow__pages_run_start(&where.part->pages, where.first)};
        run.count = fallow__pages_run_end(&run.part->pages, run.first) - run.first;
        FALLOW_REQUIRE(!run_is_cached(arena, run), operation, base, "not in a live run");
    }
    return where;
}

/* Has a range of a live run pages in states of a set? The lock is held. */
static bool range_has(fallow_arena *arena, void *base, size_t size_bytes, const char *operation, unsigned states)
{
    place where = range_require(arena, base, size_bytes, operation);
    return (fallow__pages_states(&where.part->pages, where.first, where.count) & states) != 0;
}

/* Commit what is not accessible in a range of a live run. The turn is ours; the lock is let go. */
static fallow_status used_range_commit(fallow_arena *arena, void *base, size_t size_bytes, const char *operation,
                                       fallow__os_error *error)
{
    for (;;) {
        place where = range_require(arena, base, size_bytes, operation);
        part *p = where.part;
        uint64_t end = where.first + where.count;
        uint64_t first = fallow__pages_next(&p->pages, where.first, end, STATES_NONE);
        size_t new_bytes = pages_bytes(arena, range_count(&p->pages, where.first, where.count, STATES_NONE));
        fallow_status status = FALLOW_OK;
        if (first == end) {
            return FALLOW_OK;
        }
        if (!fits_limit(arena, new_bytes)) {
            status = make_room(arena, where.count, true, error);
        } else {
            arena->promised_bytes = new_bytes;
            status = range_commit(arena, p, first, end, error);
            arena->promised_bytes = 0;
            if (status == FALLOW_OK) {
                (void)range_require(arena, base, size_bytes, operation); /* not freed meanwhile */
                edges_count(arena, p, where.first, end, true);
                fallow__pages_set_committed(&p->pages, where.first, where.count, true);
                arena_note_peak(arena);
            }
        }
        if (status != FALLOW_OK) {
            return status;
        }
    }
}

fallow_status fallow_arena_commit(fallow_arena *arena, void *base, size_t size_bytes)
{
    static const char operation[] = "fallow_arena_commit";
    FALLOW_REQUIRE(arena != NULL, operation, base, "the arena is NULL");
    if (size_bytes == 0) {
        return FALLOW_OK;
    }
    fallow__os_error error = {0};
    fallow_status status = FALLOW_OK;
    fallow__os_lock_acquire(&arena->lock);
    if (range_has(arena, base, size_bytes, operation, STATES_NONE)) {
        turn_take(arena);
        status = used_range_commit(arena, base, size_bytes, operation, &error);
        turn_pass(arena);
    }
    fallow__os_lock_release(&arena->lock);
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, base, size_bytes, &error);
}

/* Give the memory of a range of a live run back, and leave it accessible. The turn is ours; the lock is let go. */
static fallow_status used_range_purge(fallow_arena *arena, void *base, size_t size_bytes, const char *operation,
                                      fallow__os_error *error)
{
    place where = range_require(arena, base, size_bytes, operation);
    part *p = where.part;
    uint64_t end = where.first + where.count;
    uint64_t first;
    uint64_t count;
    for (uint64_t page = where.first; next_range(&p->pages, &page, end, STATES_ACCESSIBLE, &first, &count);) {
        bool is_zero;
        bool is_committed = true;
        unsigned char *range = page_address(arena, p, first);
        fallow_status status = system_purge(arena, p, range, pages_bytes(arena, count), FALLOW_PURGE_DONTNEED, &is_zero,
                                            &is_committed, error);
        note_given_back(arena, FALLOW_PURGE_DONTNEED, status == FALLOW_OK ? pages_bytes(arena, count) : 0);
        (void)range_require(arena, base, size_bytes, operation);
        if (status != FALLOW_OK && !is_committed) {
            taken_back(arena, range, pages_bytes(arena, count));
            edges_count(arena, p, first, first + count, false);
            fallow__pages_set_committed(&p->pages, first, count, false);
        }
        if (status != FALLOW_OK) {
            return status;
        }
    }
    return FALLOW_OK;
}

/* Decommit a range of a live run. The turn is ours; the lock is let go. */
static fallow_status used_range_decommit(fallow_arena *arena, void *base, size_t size_bytes, const char *operation,
                                         fallow__os_error *error)
{
    place where = range_require(arena, base, size_bytes, operation);
    part *p = where.part;
    uint64_t end = where.first + where.count;
    fallow__os_left left;
    if ((fallow__pages_states(&p->pages, where.first, where.count) & STATES_ACCESSIBLE) == 0) {
        return FALLOW_OK;
    }
    if (!may_decommit(arena, p, where.first, end)) {
        arena->avoided_decommits++;
        return used_range_purge(arena, base, size_bytes, operation, error);
    }
    size_t accessible_bytes = pages_bytes(arena, range_count(&p->pages, where.first, where.count, STATES_ACCESSIBLE));
    fallow_status status = system_decommit(arena, p, base, pages_bytes(arena, where.count), &left, error);
    note_given_back(arena, FALLOW_PURGE_DECOMMIT, memory_is_gone(left) ? accessible_bytes : 0);
    if (!is_accessible(left)) {
        ranges_taken_back(arena, p, where.first, end, STATES_ACCESSIBLE);
        (void)range_require(arena, base, size_bytes, operation);
        edges_count(arena, p, where.first, end, false);
        fallow__pages_set_committed(&p->pages, where.first, where.count, false);
        fallow__caches_changed(&arena->caches);
    }
    return status;
}

fallow_status fallow_arena_decommit(fallow_arena *arena, void *base, size_t size_bytes)
{
    static const char operation[] = "fallow_arena_decommit";
    FALLOW_REQUIRE(arena != NULL, operation, base, "the arena is NULL");
    if (size_bytes == 0) {
        return FALLOW_OK;
    }
    fallow__os_error error = {0};
    fallow_status status = FALLOW_OK;
    fallow__os_lock_acquire(&arena->lock);
    if (range_has(arena, base, size_bytes, operation, STATES_ACCESSIBLE)) {
        turn_take(arena);
        status = used_range_decommit(arena, base, size_bytes, operation, &error);
        turn_pass(arena);
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
        is_found = (FALLOW__STATES(page_state(arena, where.part, where.first)) & FALLOW__STATES_USED) != 0;
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
    fallow__os_error error = {0};
    fallow__os_lock_acquire(&arena->lock);
    turn_take(arena);
    arena_drain_caches(arena, false);
    release what = {
        .states = FALLOW__STATES(FALLOW__FREE_DIRTY),
        .keep_pages = keep_bytes >> arena->page_shift,
        .gives_way = true,
        .purge = arena->purge,
    };
    fallow_status status = arena_release(arena, &what, &error);
    if (status == FALLOW_OK && what.purge == FALLOW_PURGE_DECOMMIT && keep_bytes == 0) {
        /* What was committed ahead or purged holds no memory, but is charged. If the system keeps it (max_map_count),
         * the stats tell: nothing that was asked for has failed. */
        release rest = {.states = STATES_FREE_ACCESSIBLE, .gives_way = true, .purge = FALLOW_PURGE_DECOMMIT};
        fallow__os_error ignored;
        (void)arena_release(arena, &rest, &ignored);
    }
    turn_pass(arena);
    fallow__os_lock_release(&arena->lock);
    if (released_bytes_out != NULL) {
        *released_bytes_out = pages_bytes(arena, what.pages);
    }
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, NULL, 0, &error);
}

void fallow_arena_flush_thread(fallow_arena *arena)
{
    FALLOW_REQUIRE(arena != NULL, "fallow_arena_flush_thread", NULL, "the arena is NULL");
    fallow__os_lock_acquire(&arena->lock);
    fallow__cache *cache = fallow__cache_mine(&arena->caches);
    if (cache != NULL) {
        fallow__cache_empty(cache, arena_drop, arena);
    }
    arena_unlock_and_look(arena, 0);
}

fallow_status fallow_arena_scavenge(fallow_arena *arena, uint64_t budget_ns, size_t *released_bytes_out)
{
    static const char operation[] = "fallow_arena_scavenge";
    FALLOW_REQUIRE(arena != NULL, operation, NULL, "the arena is NULL");
    stretch how = {.gives_way = true, .most = UINT_MAX, .budget_ns = budget_ns};
    fallow__os_error error = {0};
    fallow__os_lock_acquire(&arena->lock);
    arena_drain_caches(arena, false);
    turn_take(arena);
    fallow_status status = arena_scavenge(arena, &how, &error);
    turn_pass(arena);
    fallow__os_lock_release(&arena->lock);
    if (released_bytes_out != NULL) {
        *released_bytes_out = pages_bytes(arena, how.pages);
    }
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, NULL, 0, &error);
}

/* Why free memory is kept at this moment. */
static fallow_retained arena_why_retained(const fallow_arena *arena)
{
    if (arena_retained_pages(arena) == 0) {
        return FALLOW_RETAINED_NOTHING;
    }
    if (!arena_has_excess(arena, false)) {
        return FALLOW_RETAINED_GOAL;
    }
    if (arena->scavenger.mode == FALLOW_SCAVENGE_OFF) {
        return FALLOW_RETAINED_OFF;
    }
    if (!arena_has_excess(arena, true)) {
        return FALLOW_RETAINED_DELAY;
    }
    if (arena->scavenger.credit_ns <= 0) {
        return FALLOW_RETAINED_PACE;
    }
    return sweep_is_over(&arena->sweep) && arena->sweep.has_spared ? FALLOW_RETAINED_DENSE : FALLOW_RETAINED_DUE;
}

/* From the lowest to the end of the highest page in use. What is out counts as used in the part's books: it is passed
 * over. */
static size_t part_extent_bytes(const fallow_arena *arena, part *p)
{
    uint64_t first;
    uint64_t count;
    uint64_t below = p->plan.page_count;
    bool is_used = fallow__pages_last_range(&p->pages, below, FALLOW__STATES_USED, &first, &count);
    if (is_used && is_out(arena, p, first + count - 1)) {
        is_used = fallow__pages_last_range(&p->pages, arena->out.first, FALLOW__STATES_USED, &first, &count);
    }
    if (!is_used) {
        return 0;
    }
    uint64_t end = first + count;
    uint64_t start = fallow__pages_next(&p->pages, 0, end, FALLOW__STATES_USED);
    if (is_out(arena, p, start)) {
        start = fallow__pages_next(&p->pages, start + arena->out.count, end, FALLOW__STATES_USED);
    }
    return pages_bytes(arena, end - start);
}

void fallow_arena_read_stats(fallow_arena *arena, fallow_arena_stats *stats_out)
{
    FALLOW_REQUIRE(arena != NULL, "fallow_arena_read_stats", NULL, "the arena is NULL");
    FALLOW_REQUIRE(stats_out != NULL, "fallow_arena_read_stats", NULL, "stats_out is NULL");
    fallow_arena_stats stats = {
        .page_bytes = arena->page_bytes,
        .limit_bytes = arena->limit_bytes,
        .purge = arena->purge,
        .scavenge = arena->scavenger.mode,
    };
    fallow__os_lock_acquire(&arena->lock);
    stats.reserved_bytes = arena->caches.reserved_bytes;
    stats.metadata_bytes = arena->caches.metadata_bytes;
    for (part *p = arena->oldest; p != NULL; p = p->next) {
        stats.reserved_bytes += p->region.size_bytes;
        stats.usable_bytes += pages_bytes(arena, p->plan.page_count);
        stats.metadata_bytes += p->metadata_bytes;
        stats.extent_bytes += part_extent_bytes(arena, p);
        stats.region_count++;
        stats.run_count += (size_t)part_state_pages(arena, p, FALLOW__STATES_START);
        stats.map_count += (size_t)p->edges + 2; /* bookkeeping, what is between it and page 0 */
    }
    stats.in_use_bytes = pages_bytes(arena, arena_state_pages(arena, FALLOW__STATES_IN_USE));
    /* a run that went from one cache to another while they were counted was counted twice */
    fallow__cached kept = fallow__caches_count(&arena->caches, false);
    kept.run_count = kept.run_count < stats.run_count ? kept.run_count : stats.run_count;
    kept.bytes = kept.bytes < stats.in_use_bytes ? kept.bytes : stats.in_use_bytes;
    stats.run_count -= kept.run_count;
    stats.in_use_bytes -= kept.bytes;
    stats.cached_bytes = kept.bytes;
    stats.retained_bytes = pages_bytes(arena, arena_state_pages(arena, FALLOW__STATES(FALLOW__FREE_DIRTY)));
    stats.released_lazy_bytes = pages_bytes(arena, arena_state_pages(arena, FALLOW__STATES(FALLOW__FREE_LAZY)));
    stats.released_zero_bytes = pages_bytes(arena, arena_state_pages(arena, FALLOW__STATES(FALLOW__FREE_ZERO)));
    stats.uncommitted_bytes = pages_bytes(
        arena, arena_state_pages(arena, FALLOW__STATES(FALLOW__START_NONE) | FALLOW__STATES(FALLOW__REST_NONE)));
    stats.backed_bytes = arena_backed_bytes(arena);
    stats.committed_bytes = stats.backed_bytes + stats.released_zero_bytes;
    uint64_t peak = arena->scavenger.peak_pages;
    stats.peak_in_use_bytes = pages_bytes(arena, peak > arena->peak_in_use_pages ? peak : arena->peak_in_use_pages);
    stats.commit_calls = arena->commit_calls;
    stats.by_dontneed = arena->given_back[FALLOW_PURGE_DONTNEED];
    stats.by_free = arena->given_back[FALLOW_PURGE_FREE];
    stats.by_decommit = arena->given_back[FALLOW_PURGE_DECOMMIT];
    stats.purge_calls = stats.by_dontneed.calls + stats.by_free.calls + stats.by_decommit.calls;
    stats.avoided_decommits = arena->avoided_decommits;
    stats.os_ns = arena->os_ns;
    stats.why_retained = arena_why_retained(arena);
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

/* A look at the runs in the caches. */
typedef struct cache_check {
    const fallow_arena *arena;
    bool is_wrong;
} cache_check;

static void cached_run_check(void *context, fallow__item item, size_t size_bytes)
{
    cache_check *check = context;
    const fallow_arena *arena = check->arena;
    void *base = fallow__item_base(item);
    part *p = part_of(arena, base);
    place where = {.part = p, .first = p != NULL ? page_of(arena, p, base) : 0, .count = pages_up(arena, size_bytes)};
    check->is_wrong = check->is_wrong || p == NULL || page_address(arena, p, where.first) != base ||
                      page_state(arena, p, where.first) != FALLOW__START ||
                      fallow__pages_run_end(&p->pages, where.first) != where.first + where.count ||
                      (fallow__pages_states(&p->pages, where.first, where.count) & ~FALLOW__STATES_IN_USE) != 0;
}

/* Compare what the caches hold with the bitmaps; those that another thread may be using are left out. */
static bool arena_check_caches(fallow_arena *arena)
{
    cache_check check = {.arena = arena};
    bool is_stopped = fallow__caches_stop(&arena->caches, &arena->lock);
    for (const fallow__cache *cache = arena->caches.first; cache != NULL; cache = cache->next) {
        if (is_stopped || cache->owner == NULL || cache->owner == &fallow__here) {
            fallow__cache_visit(cache, cached_run_check, &check);
        }
    }
    fallow__caches_go_on(&arena->caches);
    return !check.is_wrong;
}

/* The edges of a part, counted anew: two for each range of accessible pages, wherever they are. */
static uint64_t part_edges(const fallow_arena *arena, part *p)
{
    uint64_t edges = 0;
    uint64_t first;
    uint64_t count;
    uint64_t page = 0;
    while (next_range(&p->pages, &page, p->plan.page_count, STATES_ACCESSIBLE, &first, &count)) {
        edges += 2;
    }
    if (arena->out.count != 0 && arena->out.part == p) { /* accessible, which the bitmaps do not say */
        uint64_t limit = arena->out.first + arena->out.count;
        edges += 2 - 2 * (uint64_t)accessible_neighbours(arena, p, arena->out.first, limit);
    }
    return edges;
}

fallow_status fallow_arena_check(fallow_arena *arena)
{
    static const char operation[] = "fallow_arena_check";
    FALLOW_REQUIRE(arena != NULL, operation, NULL, "the arena is NULL");
    const part *wrong = NULL;
    fallow__os_lock_acquire(&arena->lock);
    if (!arena_check_caches(arena)) {
        wrong = arena->oldest;
    }
    for (part *p = arena->oldest; p != NULL && wrong == NULL; p = p->next) {
        bool is_last = p->next == NULL ? p == arena->newest : p->next->previous == p;
        bool is_settled = !turn_is_free(arena) || p->fresh_count == 0;
        if (!is_last || !is_settled || p->edges != part_edges(arena, p) ||
            p->metadata_bytes != part_metadata_bytes(p) || !fallow__pages_verify(&p->pages)) {
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
        .limit_bytes = options->limit_bytes != 0 ? options->limit_bytes : fallow__config_get()->limit_bytes,
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

/* What each thread may keep. */
static size_t cache_limit_bytes(const fallow_arena_options *options, size_t usable_bytes)
{
    if (options->thread_cache_bytes != 0) {
        return options->thread_cache_bytes != FALLOW_CACHE_NONE ? options->thread_cache_bytes : 0;
    }
    size_t bytes = CACHE_BYTES_DEFAULT;
    bytes = usable_bytes / CACHE_SHARE < bytes ? usable_bytes / CACHE_SHARE : bytes;
    bool is_limited = options->limit_bytes != 0 && options->limit_bytes / CACHE_SHARE < bytes;
    return is_limited ? options->limit_bytes / CACHE_SHARE : bytes;
}

static size_t arena_struct_bytes(void)
{
    return (size_t)fallow__align_up(fallow__align_up(sizeof(fallow_arena), 64) + sizeof(part), 64);
}

static const fallow__scavenger_calls scavenger_calls = {.work = arena_work, .fork = arena_fork};

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
    status = fits_limit(&settings, head_bytes(&layout))
                 ? part_commit_head(&settings, &region, &layout, &settings.commit_calls, &error)
                 : refused(&error, "limit_bytes", settings.limit_bytes);
    if (status != FALLOW_OK) {
        fallow__os_error ignored;
        (void)fallow__os_release(&region, &ignored);
        return fallow__fail(status, operation, NULL, settings.reserve_bytes, &error);
    }
    fallow_arena *arena = region.base;
    part *p = (part *)(void *)((unsigned char *)region.base + fallow__align_up(sizeof(fallow_arena), 64));
    *arena = settings;
    fallow__os_lock_init(&arena->lock);
    fallow__os_event_init(&arena->turn_passed);
    fallow__scavenger_init(
        &arena->scavenger, &scavenger_calls,
        options->scavenge != FALLOW_SCAVENGE_DEFAULT ? options->scavenge : fallow__config_get()->scavenge,
        options->retain_percent, options->purge_delay_ms, (arena->region_flags & FALLOW_REGION_NO_FORK) == 0);
    part_init(p, &region, &layout, arena_struct_bytes());
    part_link(arena, p);
    fallow__caches_init(&arena->caches, arena->page_bytes,
                        cache_limit_bytes(options, pages_bytes(arena, p->plan.page_count)),
                        fallow__config_get()->is_checking, arena_cache_leaves);
    fallow__arenas_enter(arena, arena->name, (options->flags & FALLOW_ARENA_NO_FORK) == 0);
    fallow__scavenger_join(&arena->scavenger);
    *arena_out = arena;
    return FALLOW_OK;
}

void fallow_arena_destroy(fallow_arena *arena)
{
    if (arena == NULL) {
        return;
    }
    fallow__scavenger_leave(&arena->scavenger);
    fallow__arenas_leave(arena);
    fallow__caches_close(&arena->caches);
    for (const fallow__cache *cache = arena->caches.first; cache != NULL;) {
        fallow_region region = cache->region;
        fallow__os_error ignored;
        cache = cache->next;
        (void)fallow__os_release(&region, &ignored);
        tell(arena, region.base, fallow__cache_bytes(&arena->caches));
    }
    fallow__os_event_destroy(&arena->turn_passed);
    fallow__os_lock_destroy(&arena->lock);
    for (part *p = arena->newest; p != NULL;) {
        part *previous = p->previous;
        part_release(arena, p, part_unlink(arena, p));
        p = previous;
    }
}
