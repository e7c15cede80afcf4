/* Allocating: from this thread's cache, else the short way, else the long way.
 *
 *   cached   a run of this size that the thread freed or fetched before: no lock (cache.h)
 *   short    committed pages nearby, up to a chunk: one lock, no question that the system or the program could refuse.
 *            A cache that is empty is refilled this way
 *   long     everything else: find, prepare, take. With the turn if anything has to be asked for (arena.h) */
#include <string.h>

#include "arena.h"
#include "status.h"
#include "tracer.h"

enum {
    FOUND_BYTES_LEAST = 8 << 20, /* so much in other threads' caches is worth taking back before the arena grows */
    FOUND_SHARE = 8,             /* and it has grown by such a part of it since that was done last */
    ZERO_PIECES = 16,            /* pieces that ZEROED clears one by one; the rest in one go */
};

#define ALL_RUN_FLAGS \
    (FALLOW_RUN_ZEROED | FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_TOP_DOWN | FALLOW_RUN_NO_CACHE | FALLOW_RUN_NO_GROW)

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
    for (uint64_t page = where.first;
         fallow__next_range(&where.part->pages, &page, end, FALLOW__STATES_OLD, &first, &count);) {
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
    if (arena->is_watched) {
        fallow__watch_taken(arena, where.part, where.first, where.count, (states & FALLOW__STATES_OLD) == 0);
    }
    *run_out = (fallow_run){
        .base = page_address(arena, where.part, where.first),
        .size_bytes = pages_bytes(arena, where.count),
        .is_zero = (states & FALLOW__STATES_OLD) == 0,
    };
}

/* Find a place. What threads keep is found again before the arena grows by more than a part of it, or says that there
 * is no room: to take it back empties their caches. The turn is ours; the lock may be let go. */
static bool order_find_or_drain(fallow_arena *arena, const order *wanted, place *where_out)
{
    bool is_found = fallow__order_find(arena, wanted, where_out);
    if (arena->caches.first == NULL) {
        return is_found;
    }
    if (is_found) {
        if ((wanted->flags & FALLOW_RUN_UNCOMMITTED) != 0 || fallow__place_is_usable(*where_out, true)) {
            return true;
        }
        size_t kept_bytes = fallow__caches_count(&arena->caches, true).bytes;
        if (kept_bytes < FOUND_BYTES_LEAST || arena->grown_bytes < kept_bytes / FOUND_SHARE) {
            return true;
        }
    } else if (fallow__caches_count(&arena->caches, false).bytes == 0) {
        return false;
    }
    fallow__arena_drain_caches(arena, is_found);
    return fallow__order_find(arena, wanted, where_out);
}

/* Find a place and prepare it. FALLOW_ERR_EXHAUSTED: there is none. The turn is ours; the lock may have been let go,
 * but not since the place was last looked at. */
static fallow_status order_prepare(fallow_arena *arena, const order *wanted, place *where_out, fallow__os_error *error)
{
    bool is_committed = (wanted->flags & FALLOW_RUN_UNCOMMITTED) == 0;
    bool is_ready = false;
    fallow_status status = FALLOW_OK;
    for (bool is_found = false; status == FALLOW_OK && !is_ready; is_found = fallow__place_is_free(*where_out)) {
        if (!is_found && !order_find_or_drain(arena, wanted, where_out)) {
            return FALLOW_ERR_EXHAUSTED;
        }
        status = fallow__place_prepare(arena, *where_out, is_committed, &is_ready, error);
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
    status = fallow__arena_add_part(arena, wanted, error);
    if (status != FALLOW_OK) {
        return status;
    }
    part *added = arena->newest;
    status = order_prepare(arena, wanted, where_out, error);
    if (status != FALLOW_OK && part_state_pages(arena, added, FALLOW__STATES_USED) == 0) {
        size_t committed_bytes = fallow__part_unlink(arena, added);
        fallow__os_lock_release(&arena->lock);
        fallow__part_release(arena, added, committed_bytes);
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
    if (arena->is_watched) {
        fallow__watch_taken(arena, p, first, count, *is_zero_out);
    }
    return page_address(arena, p, first);
}

/* The short way under a limit, with huge pages, and in newer parts: those are asked only where the older ones are known
 * to have no such run. */
static FALLOW_NOINLINE void *arena_take_short_with_care(fallow_arena *arena, uint64_t count, bool *is_zero_out)
{
    if (arena->limit_bytes != 0 && (count > 64 || !fits_limit(arena, pages_bytes(arena, count)))) {
        return NULL;
    }
    if (arena->huge_pages != 0 && count >= arena->huge_pages) {
        return NULL; /* it would like to lie on a huge page boundary */
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
    void *base = !arena->is_particular ? part_take_short(arena, arena->oldest, count, is_zero_out) : NULL;
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
                    !fallow__order_find(arena, wanted, &where) || !fallow__place_is_takeable(arena, where);
    pieces_out->count = 0;
    if (has_turn) {
        fallow__turn_take(arena);
        status = arena_get_place(arena, wanted, &where, error);
    }
    if (status == FALLOW_OK) {
        if ((wanted->flags & FALLOW_RUN_ZEROED) != 0) {
            old_pieces_find(arena, where, pieces_out);
        }
        place_take(arena, where, wanted->flags, run_out);
    }
    if (has_turn) {
        fallow__turn_pass(arena);
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
    if (arena->is_traced) {
        size_t align_bytes = wanted->align > 1 ? pages_bytes(arena, wanted->align) : 0;
        fallow__tracer_run(run.base, size_bytes, align_bytes, (wanted->flags & FALLOW_RUN_UNCOMMITTED) != 0);
    }
    run.is_zero = run.is_zero || (wanted->flags & FALLOW_RUN_ZEROED) != 0;
    *run_out = run;
    return FALLOW_OK;
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
        if (arena->is_watched) {
            fallow__watch_taken(arena, p, page - page % 64 + bit, 1, (zero >> bit) & 1);
        }
    }
    arena_note_peak(arena);
    return count;
}

/* Fetch runs for an empty bin, the lowest for now; NONE if committed memory nearby has none. The lock is held. */
static fallow__item arena_refill(fallow_arena *arena, fallow__cache *cache, size_t index, uint64_t count)
{
    fallow__item items[FALLOW__CACHE_BATCH_MOST];
    unsigned batch = fallow__cache_batch(cache, index);
    unsigned fetched = fallow__depot_take(&arena->caches, index, items, batch);
    unsigned wanted = fetched == 0 ? fallow__cache_batch_of_arena(cache, index, batch) : 0;
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
        fallow__arena_drop(arena, items + first, fetched - first, pages_bytes(arena, count));
    }
    return kept != 0 ? fallow__cache_take(cache, index) : items[0];
}

/* Take a run through this thread's cache; NONE: it has to be done otherwise. */
static FALLOW_NOINLINE fallow__item arena_take_cached_at(fallow_arena *arena, size_t index, size_t size_bytes)
{
    fallow__cache_enter();
    fallow__cache *cache = fallow__cache_recall(&arena->caches);
    fallow__item item = cache != NULL ? fallow__cache_take(cache, index) : FALLOW__ITEM_NONE;
    fallow__cache_leave();
    if (item == FALLOW__ITEM_NONE) {
        cache = fallow__arena_lock_with_cache(arena, false);
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

static inline fallow__item arena_take_cached(fallow_arena *arena, size_t size_bytes)
{
    size_t index = fallow__cache_index(&arena->caches, size_bytes);
    return index < arena->caches.bin_count ? arena_take_cached_at(arena, index, size_bytes) : FALLOW__ITEM_NONE;
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
    if (arena->is_traced) {
        fallow__tracer_run(base, size_bytes, 0, false);
    }
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
    if (arena->is_traced) {
        fallow__tracer_run(base, size_bytes, 0, false);
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
