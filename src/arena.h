/* Arenas: runs of pages in one reservation, or in several.
 *
 * An arena is a list of *parts*, oldest first. A part is one reservation with its own bookkeeping in front:
 *
 *      region.base                                                  base
 *      | head | upper | block 0 | block 1 | ...    | guard | (gap) | page 0 | page 1 | ...          | guard |
 *      '--- committed --'-- committed as used ------'-- never ------'- committed as used, in steps -'-------'
 *
 *   head    the part; in the first part's head the arena itself; and two bits for each block: `ready`, its bookkeeping
 *           is committed, and `fresh`, it became so in the call under way
 *   upper   the page allocator's upper storage; blocks: its bitmaps (pages.h)
 *   guard   an OS page that is never committed: what writes before the first run, or behind the last one, faults before
 *           it reaches bookkeeping, this part's or that of a reservation right behind. A part in large pages has none
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
 *      time, or a few small ones, for one system call. Whatever looks at the books sees it as the free memory that it
 *      was.
 *   5. Who is refused has had the turn: nothing was out and nothing half done when it looked.
 *
 * Functions below let the lock go where their comments say so; those that say "the turn is ours" need it.
 *
 * The only header that includes both pages.h and os.h, and for the files of the arena only; read them in this order:
 *
 *   alloc.c free.c run.c     what programs call
 *   place.c commit.c part.c  find, prepare, and a further reservation
 *   kept.c                   what threads keep
 *   release.c sweep.c        what is given back
 *   turn.c                   the turn, and what is asked of the system
 *   watch.c                  what valgrind and sanitizers are told
 *   arena.c                  create, destroy, statistics */
#ifndef FALLOW_ARENA_H
#define FALLOW_ARENA_H

#include <assert.h>
#include <stddef.h>

#include "arenas.h"
#include "bits.h"
#include "cache.h"
#include "os.h"
#include "pages.h"
#include "scavenge.h"

/* The usual huge page of the systems there are. */
#define HUGE_BYTES ((size_t)2 << 20)

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

enum {
    OUT_MOST = 16 /* pieces that are given back with one call of the system: the lock is held for so many searches */
};

/* Where the scavenger is on its way down through the free memory. */
typedef struct sweep {
    part *part;     /* NULL: at the end of a pass */
    uint64_t below; /* page */
    bool is_begun;
    bool is_in_parts; /* the second pass: whole pieces are done */
    bool is_patient;  /* it is the scavenger's own; else the program has asked for it */
    bool spares_dense;
    bool has_spared;
    bool is_one_by_one; /* the system has no call for several pieces, or has stopped at one */
} sweep;

struct fallow_arena {
    fallow__caches caches; /* first: an arena's address is that of its caches. Read without the lock */
    fallow__os_lock lock;
    fallow__os_event turn_passed;
    uint64_t tickets;    /* who asks for the turn gets the next number */
    uint64_t turn;       /* the number whose turn it is; nobody's if it is `tickets` */
    piece out[OUT_MOST]; /* being given back; of one part, and no two of them side by side */
    unsigned out_count;
    size_t grown_bytes;    /* by so much since it was looked what other threads keep */
    size_t promised_bytes; /* will be backed by what is being committed now */
    part *oldest;
    part *newest;
    unsigned page_shift;
    bool is_watched; /* constant: a tool is told what becomes of pages (watch.c) */
    size_t page_bytes;
    size_t reserve_bytes; /* what a further part asks for first */
    uint64_t grow_pages;
    uint64_t huge_pages; /* pages of a huge page, where HUGE_PAGES asks to think in those; else 0 */
    size_t limit_bytes;
    bool is_particular;       /* a limit or huge pages: a run is not taken without a closer look */
    size_t peak_in_use_pages; /* before this interval of the scavenger */
    uint64_t commit_calls;
    fallow_given_back given_back[FALLOW_PURGE_DECOMMIT + 1]; /* by fallow_purge */
    uint64_t avoided_decommits;
    uint64_t pressure_trims;
    uint64_t os_ns;       /* spent in calls of the system */
    uint64_t edge_budget; /* 0 = not looked up yet */
    sweep sweep;
    fallow__cached idle_cached; /* what threads kept when the scavenger's thread last looked, */
    uint64_t idle_end_ns;       /* and when it will look again */
    fallow__scavenger scavenger;
    fallow_purge purge;               /* never DEFAULT */
    fallow_status large_pages_status; /* why it has none, if it was to have some */
    bool is_traced;                   /* constant: FALLOW_DEBUG=trace; then there are no thread caches */
    uint32_t flags;                   /* FALLOW_ARENA_* */
    uint32_t region_flags;            /* of every part */
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

/* Where everything lies in a reservation for page_count pages. */
typedef struct part_layout {
    fallow__pages_plan plan;
    size_t head_bytes; /* the part or the arena, and the bits of the blocks */
    size_t upper_offset;
    size_t block_offset;
    size_t data_offset;
    size_t align_bytes; /* of the reservation and of page 0 */
    size_t total_bytes; /* without the guard at the end */
} part_layout;

/* --- Looking (place.c) */

/* The state of a page; one whose bookkeeping is not there has never been in a run. */
unsigned fallow__state_of_page(const fallow_arena *arena, const part *p, uint64_t page);

/* The next longest range at or behind *page_inout, below limit, whose pages are in states of a set. */
bool fallow__next_range(fallow__pages *pages, uint64_t *page_inout, uint64_t limit, unsigned states,
                        uint64_t *first_out, uint64_t *count_out);

/* How many pages of a range are in states of a set. */
uint64_t fallow__range_count(fallow__pages *pages, uint64_t first, uint64_t count, unsigned states);

bool fallow__order_find(fallow_arena *arena, const order *wanted, place *where_out);

bool fallow__place_is_free(place where);

/* Could a place be taken as it is? */
bool fallow__place_is_usable(place where, bool is_committed);

/* --- The turn, and what is asked of system and program (turn.c) */

/* How many of the two neighbours of [first, limit) are accessible. */
unsigned fallow__accessible_neighbours(const fallow_arena *arena, const part *p, uint64_t first, uint64_t limit);

/* All of [first, limit) becomes accessible, or NONE: each maximal range that changes makes an edge where its neighbour
 * stays what it was, and ends one where the neighbour is alike now. Before the pages are told. */
void fallow__edges_count(fallow_arena *arena, part *p, uint64_t first, uint64_t limit, bool is_committed);

/* Wait for the turn. The lock is let go, if another has it. */
void fallow__turn_take(fallow_arena *arena);

void fallow__turn_pass(fallow_arena *arena);

/* Let those who wait go first. The turn is ours before and after. */
void fallow__turn_give_way(fallow_arena *arena);

/* The program's callbacks: whether it grants a commit, and what it is told of. The lock is not held. */
bool fallow__ask(const fallow_arena *arena, void *base, size_t size_bytes);

void fallow__tell(const fallow_arena *arena, void *base, size_t size_bytes);

/* The same with the lock held: it is let go for the call, if there is one. The turn is ours. */
bool fallow__granted(fallow_arena *arena, void *base, size_t size_bytes);

void fallow__taken_back(fallow_arena *arena, void *base, size_t size_bytes);

/* Calls of the system. The lock is held, and let go for the call; the turn is ours. */
fallow_status fallow__system_commit(fallow_arena *arena, const part *p, void *base, size_t size_bytes,
                                    fallow__os_error *error);

fallow_status fallow__system_decommit(fallow_arena *arena, const part *p, void *base, size_t size_bytes,
                                      fallow__os_left *left_out, fallow__os_error *error);

fallow_status fallow__system_purge(fallow_arena *arena, const part *p, void *base, size_t size_bytes,
                                   fallow_purge purge, bool *is_zero_out, bool *is_committed_out,
                                   fallow__os_error *error);

size_t fallow__system_purge_many(fallow_arena *arena, const part *p, const fallow__os_range *ranges, size_t count,
                                 fallow_purge purge);

void fallow__ranges_taken_back(fallow_arena *arena, part *p, uint64_t first, uint64_t limit, unsigned states);

/* Ask for every range that is to be committed in [first, limit); all or nothing. */
bool fallow__ranges_granted(fallow_arena *arena, part *p, uint64_t first, uint64_t limit);

/* The edges of a part, counted anew: two for each range of accessible pages, wherever they are. */
uint64_t fallow__part_edges(const fallow_arena *arena, part *p);

/* --- Committing (commit.c) */

/* A limit of our own refuses. */
fallow_status fallow__refused(fallow__os_error *error, const char *limit_name, size_t limit_bytes);

/* Commit the inaccessible pages in [first, limit), with one system call over all of it: pages that are committed
 * already do not mind. */
fallow_status fallow__range_commit(fallow_arena *arena, part *p, uint64_t first, uint64_t limit,
                                   fallow__os_error *error);

/* Can a place be taken as committed pages at once, without the turn? */
bool fallow__place_is_takeable(const fallow_arena *arena, place where);

/* One step to make a free place usable, as committed pages or as addresses only. *is_ready_out: it is, and the lock has
 * not been let go. Else the place has to be looked at again. On failure the arena is as it was, but that memory of free
 * pages may have been given back. The turn is ours. */
fallow_status fallow__place_prepare(fallow_arena *arena, place where, bool is_committed, bool *is_ready_out,
                                    fallow__os_error *error);

/* --- Parts (part.c) */

/* The bookkeeping of blocks [first, end): the last block of a part may be shorter than the others. */
size_t fallow__blocks_bytes(const part *p, uint64_t first, uint64_t end);

/* The next block of [block, end) that is ready, or the next that is not; end if there is none. Whole words at once: a
 * large run has thousands of blocks. */
uint64_t fallow__block_next(const part *p, uint64_t block, uint64_t end, bool is_ready);

/* How many blocks of a range of pages are not ready. */
uint64_t fallow__blocks_missing(const part *p, uint64_t first, uint64_t count);

/* Fill in a part at the start of its reservation, whose head is committed. Not linked into the arena yet. */
void fallow__part_init(part *p, const fallow_region *region, const part_layout *layout, size_t struct_bytes);

size_t fallow__head_bytes(const part_layout *layout);

/* Commit what part_init writes to. On failure nothing is committed that was granted. The lock is not held. */
fallow_status fallow__part_commit_head(const fallow_arena *arena, const fallow_region *region,
                                       const part_layout *layout, uint64_t *calls_inout, fallow__os_error *error);

/* Reserve for page_count pages in large pages, which are committed then. What it needs must fit the limit: they are
 * never given back. */
fallow_status fallow__part_reserve_large(const fallow_arena *arena, uint64_t page_count, size_t struct_bytes,
                                         part_layout *layout_out, fallow_region *region_out, fallow__os_error *error);

/* Write down what that means. */
void fallow__part_init_large(fallow_arena *arena, part *p);

/* Reserve for page_count pages; fewer, down to min_pages, when the system refuses. */
fallow_status fallow__part_reserve(const fallow_arena *arena, uint64_t page_count, uint64_t min_pages,
                                   size_t struct_bytes, part_layout *layout_out, fallow_region *region_out,
                                   fallow__os_error *error);

void fallow__part_link(fallow_arena *arena, part *p);

/* Take the newest part out of the list. Returns what the program will be told of. */
size_t fallow__part_unlink(fallow_arena *arena, part *p);

/* Release it, and with the oldest part the arena itself. A refusal leaves nothing that could be done. The lock is not
 * held. */
void fallow__part_release(const fallow_arena *arena, const part *p, size_t committed_bytes);

/* Add a further reservation in which an order surely fits: as large as the first was to be, or as all that there are,
 * so that they stay few. The turn is ours; the lock is let go. */
fallow_status fallow__arena_add_part(fallow_arena *arena, const order *wanted, fallow__os_error *error);

/* What must be committed of a part's bookkeeping, by the bits of its blocks. */
size_t fallow__part_metadata_bytes(const part *p);

/* --- Giving back (release.c) */

void fallow__note_given_back(fallow_arena *arena, fallow_purge way, size_t size_bytes);

/* Decommit a piece, and write down what came of it. */
fallow_status fallow__piece_decommit(fallow_arena *arena, piece what, fallow__page_state *state_out,
                                     fallow__os_error *error);

/* In an arena of huge pages: a huge page at an end of a piece that is free as a whole joins it, so that it need not be
 * broken; it has its memory as a whole, whatever was written to. Returns whether the piece is of whole huge pages. */
bool fallow__piece_widen(fallow_arena *arena, piece *what);

/* May a range of accessible pages be decommitted? Not where it would split a mapping, and the arena has made as many as
 * it may: the process needs some to go on, and a malloc that gets none returns NULL. The turn is ours; the lock is let
 * go when this is first a question. */
bool fallow__may_decommit(fallow_arena *arena, const part *where, uint64_t first, uint64_t limit);

/* Purge or decommit a piece. A decommit that could only give the memory back counts as done: that is what was asked
 * for, and the stats tell that the pages are still accessible. It has met a limit then (max_map_count), as the next one
 * would, and to find that out costs more than the memory is worth: *purge_inout becomes DONTNEED. */
fallow_status fallow__piece_release(fallow_arena *arena, piece what, fallow_purge *purge_inout,
                                    fallow__page_state *state_out, fallow__os_error *error);

/* Memory is short: scavenger_calls.relieve. */
void fallow__arena_relieve(fallow__scavenger *scavenger);

/* Purge several pieces of one part, no two of them side by side, with one call of the system. Returns how many of them,
 * from the first on, are given back: fewer where it has no such call or has stopped, and then the others are as they
 * were. */
unsigned fallow__pieces_purge(fallow_arena *arena, const piece *pieces, unsigned count, fallow_purge purge);

/* What is wanted does not fit the limit: give back what the arena holds for nothing, and only then refuse. FALLOW_OK:
 * look again, the lock was let go. The turn is ours. */
fallow_status fallow__make_room(fallow_arena *arena, uint64_t count, bool is_committed, fallow__os_error *error);

/* --- The scavenger's way (sweep.c) */

/* Look whether free memory should go back, and see that it does. The lock is not held. */
void fallow__arena_look(fallow_arena *arena);

fallow_arena *fallow__arena_of_scavenger(fallow__scavenger *scavenger);

/* What the thread does with an arena: scavenger_calls.work. */
uint64_t fallow__arena_work(fallow__scavenger *scavenger);

/* Why free memory is kept at this moment. */
fallow_retained fallow__arena_why_retained(const fallow_arena *arena);

/* --- What threads keep (kept.c) */

/* Runs leave a cache: now they are free. */
void fallow__arena_drop(void *context, const fallow__item *items, uint32_t count, size_t size_bytes);

/* Runs leave a thread's cache, and may stay in the depot. */
void fallow__arena_stash(void *context, const fallow__item *items, uint32_t count, size_t size_bytes);

/* Take back what threads keep: all of it, or what others do. Where the system has no barrier for all threads, those
 * that run keep theirs. The lock is let go. */
void fallow__arena_drain_caches(fallow_arena *arena, bool is_others_only);

/* The thread that owns a cache ends. */
void fallow__arena_cache_leaves(fallow__caches *caches, fallow__cache *cache);

/* Acquire the lock, and find this thread's cache; make one if it is time. NULL: go without. */
fallow__cache *fallow__arena_lock_with_cache(fallow_arena *arena, bool is_free);

/* Compare what the caches hold with the bitmaps; those that another thread may be using are left out. */
bool fallow__arena_check_caches(fallow_arena *arena);

/* --- Live runs (run.c) */

/* Check that base and size are those of a live run; anything else stops the program. The lock is held. */
place fallow__run_require(const fallow_arena *arena, const void *base, size_t size_bytes, const char *operation);

/* --- What valgrind and sanitizers are told (watch.c). Only of an arena that is watched; the lock is held. */

/* Pages have become a run: before anyone touches them. */
void fallow__watch_taken(const fallow_arena *arena, part *p, uint64_t first, uint64_t count, bool is_zero);

/* A run has become free pages. */
void fallow__watch_freed(const fallow_arena *arena, part *p, uint64_t first, uint64_t count);

/* Pages that were no run have become free and accessible. */
void fallow__watch_free(const fallow_arena *arena, part *p, uint64_t first, uint64_t count);

/* A run has another length. */
void fallow__watch_resized(const fallow_arena *arena, part *p, uint64_t first, uint64_t old_count, uint64_t new_count);

/* A run [first, end) has become two. */
void fallow__watch_split(const fallow_arena *arena, const part *p, uint64_t first, uint64_t second, uint64_t end);

/* Memory is accessible no more. */
void fallow__watch_decommitted(const void *base, size_t size_bytes);

/* A part has come, or is about to go. */
void fallow__watch_part(const fallow_arena *arena, part *p, bool is_there);

/* --- The whole arena (arena.c) */

uint64_t fallow__arena_state_pages(const fallow_arena *arena, unsigned states);

/* What limit_bytes bounds: everything that may hold memory. */
size_t fallow__arena_backed_bytes(const fallow_arena *arena);

/* --- Small things */

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

/* The piece that a page is being given back with; NULL: it is not. The books of the part call it used then. */
static inline const piece *out_with(const fallow_arena *arena, const part *p, uint64_t page)
{
    for (unsigned i = 0; i < arena->out_count; i++) {
        if (arena->out[i].part == p && page - arena->out[i].first < arena->out[i].count) {
            return &arena->out[i];
        }
    }
    return NULL;
}

/* How many pages of a part are in states of a set. */
static inline uint64_t part_state_pages(const fallow_arena *arena, const part *p, unsigned states)
{
    uint64_t count = 0;
    for (unsigned state = 0; state < 8; state++) {
        count += (states & FALLOW__STATES(state)) != 0 ? p->pages.state_pages[state] : 0;
    }
    for (unsigned i = 0; i < arena->out_count && arena->out[i].part == p; i++) {
        count += (states & FALLOW__STATES(arena->out[i].state)) != 0 ? arena->out[i].count : 0;
        count -= (states & FALLOW__STATES(FALLOW__START_NONE)) != 0 ? 1 : 0;
        count -= (states & FALLOW__STATES(FALLOW__REST_NONE)) != 0 ? arena->out[i].count - 1 : 0;
    }
    return count;
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

/* In large pages: all of it committed when it was reserved, and for good. */
static inline bool part_is_large(const part *p)
{
    return (p->region.flags & FALLOW_REGION_LARGE_PAGES) != 0;
}

static inline bool turn_is_free(const fallow_arena *arena)
{
    return arena->turn == arena->tickets;
}

/* What the system still does for a range after it was asked to decommit it. */
static inline bool memory_is_gone(fallow__os_left left)
{
    return left != FALLOW__OS_LEFT_ALL;
}

static inline bool is_accessible(fallow__os_left left)
{
    return left == FALLOW__OS_LEFT_ACCESSIBLE || left == FALLOW__OS_LEFT_ALL;
}

/* So many pages have been freed: release the lock, and look if it is time. */
static inline void arena_unlock_and_look(fallow_arena *arena, uint64_t pages)
{
    arena->scavenger.countdown -= (int64_t)pages;
    bool is_due = arena->scavenger.countdown < 0;
    fallow__os_lock_release(&arena->lock);
    if (is_due) {
        fallow__arena_look(arena);
    }
}

static inline bool fits_limit(const fallow_arena *arena, size_t new_bytes)
{
    if (arena->limit_bytes == 0) {
        return true;
    }
    size_t backed = fallow__arena_backed_bytes(arena) + arena->promised_bytes;
    return backed <= arena->limit_bytes && new_bytes <= arena->limit_bytes - backed;
}

/* Whether a run may be backed at all. */
static inline bool is_within_limit(const fallow_arena *arena, uint64_t count, bool is_committed)
{
    return arena->limit_bytes == 0 || !is_committed || count <= arena->limit_bytes >> arena->page_shift;
}

#endif
