/* Live runs: looked up, checked, made longer or shorter, split, and their memory given back or asked for again.
 *
 * Every one of these names a run by its base and size. A base that is none, a size that is not the run's, a run that
 * has been freed: a bug of the caller, which stops the program with a message (fallow__run_require). */
#include "arena.h"
#include "status.h"
#include "tracer.h"

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

place fallow__run_require(const fallow_arena *arena, const void *base, size_t size_bytes, const char *operation)
{
    place where = page_require(arena, base, operation);
    unsigned state = FALLOW__STATES(fallow__state_of_page(arena, where.part, where.first));
    FALLOW_REQUIRE((state & FALLOW__STATES_FREE) == 0, operation, base, "already free");
    FALLOW_REQUIRE((state & FALLOW__STATES_START) != 0, operation, base, "inside a run, not its base");
    bool is_size = pages_for(arena, size_bytes, &where.count);
    FALLOW_REQUIRE(is_size && fallow__pages_run_end(&where.part->pages, where.first) == where.first + where.count,
                   operation, base, "the size is not the run's size");
    FALLOW_REQUIRE(!run_is_cached(arena, where), operation, base, "already free");
    return where;
}

/* Does a traced run begin with a page that is addresses only? The lock is held. */
static bool run_is_addresses(const fallow_arena *arena, place run)
{
    return arena->is_traced && (FALLOW__STATES(fallow__state_of_page(arena, run.part, run.first)) & STATES_NONE) != 0;
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
    place run = fallow__run_require(arena, wanted->base, wanted->old_bytes, wanted->operation);
    place behind = {run.part, run.first + run.count, wanted->new_count - run.count};
    unsigned last_state = fallow__state_of_page(arena, run.part, behind.first - 1);
    *is_committed_out = (FALLOW__STATES(last_state) & FALLOW__STATES_IN_USE) != 0;
    *behind_out = behind;
    bool is_free = wanted->new_count <= run.part->plan.page_count - run.first && fallow__place_is_free(behind);
    return is_free ? FALLOW_OK : FALLOW_ERR_EXHAUSTED;
}

/* Take the runs behind a run out of this thread's cache and the depot, as far as they are there and in the way. */
static void extension_clear(fallow_arena *arena, place behind)
{
    fallow__pages *pages = &behind.part->pages;
    fallow__cache *cache = fallow__cache_mine(&arena->caches);
    uint64_t end = behind.first + behind.count;
    fallow__cache *depot = arena->caches.depot;
    if ((cache == NULL && depot == NULL) || end > behind.part->plan.page_count) {
        return;
    }
    for (uint64_t page = behind.first; (page = fallow__pages_next(pages, page, end, FALLOW__STATES_USED)) < end;) {
        void *base = page_address(arena, behind.part, page);
        size_t size_bytes = pages_bytes(arena, fallow__pages_run_end(pages, page) - page);
        size_t index = fallow__cache_index(&arena->caches, size_bytes);
        bool is_kept =
            index < arena->caches.bin_count && ((cache != NULL && fallow__cache_remove(cache, index, base)) ||
                                                (depot != NULL && fallow__cache_remove(depot, index, base)));
        if (!is_kept) {
            return;
        }
        const fallow__item item = (fallow__item)base;
        fallow__arena_drop(arena, &item, 1, size_bytes);
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
    bool has_turn =
        turn_is_free(arena) || status != FALLOW_OK || !is_committed || !fallow__place_is_takeable(arena, behind);
    if (has_turn) {
        bool is_ready = false;
        fallow__turn_take(arena);
        do {
            status = extension_find(arena, wanted, &behind, &is_committed);
            if (status == FALLOW_OK) {
                status = fallow__place_prepare(arena, behind, is_committed, &is_ready, error);
            }
        } while (status == FALLOW_OK && !is_ready);
    }
    if (status == FALLOW_OK) {
        fallow__pages_append(&behind.part->pages, behind.first, behind.count, is_committed);
        fallow__caches_changed(&arena->caches);
        arena_note_peak(arena);
        if (arena->is_watched) {
            uint64_t first = page_of(arena, behind.part, wanted->base);
            fallow__watch_resized(arena, behind.part, first, behind.first - first, wanted->new_count);
        }
    }
    if (has_turn) {
        fallow__turn_pass(arena);
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
    place run = fallow__run_require(arena, base, old_bytes, operation);
    fallow_status status = FALLOW_ERR_INVALID;
    if (new_bytes >= old_bytes && pages_for(arena, new_bytes, &wanted.new_count)) {
        status = wanted.new_count == run.count ? FALLOW_OK : run_extend(arena, &wanted, &error);
    }
    bool is_addresses = run_is_addresses(arena, run);
    fallow__os_lock_release(&arena->lock);
    if (arena->is_traced && status == FALLOW_OK) {
        fallow__tracer_change(base, new_bytes, 0, is_addresses);
    }
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, base, new_bytes, &error);
}

void fallow_arena_shrink(fallow_arena *arena, void *base, size_t old_bytes, size_t new_bytes)
{
    static const char operation[] = "fallow_arena_shrink";
    FALLOW_REQUIRE(arena != NULL, operation, base, "the arena is NULL");
    uint64_t new_count;
    fallow__os_lock_acquire(&arena->lock);
    place run = fallow__run_require(arena, base, old_bytes, operation);
    FALLOW_REQUIRE(new_bytes <= old_bytes && pages_for(arena, new_bytes, &new_count), operation, base,
                   "the new size is 0 or larger than the run");
    if (new_count < run.count) {
        fallow__pages_free(&run.part->pages, run.first + new_count, run.count - new_count);
        if (arena->is_watched) {
            fallow__watch_resized(arena, run.part, run.first, run.count, new_count);
        }
        fallow__caches_changed(&arena->caches);
    }
    bool is_addresses = run_is_addresses(arena, run);
    fallow__os_lock_release(&arena->lock);
    if (arena->is_traced) {
        fallow__tracer_change(base, new_bytes, 0, is_addresses);
    }
}

void fallow_arena_split(fallow_arena *arena, void *base, size_t size_bytes, size_t first_bytes)
{
    static const char operation[] = "fallow_arena_split";
    FALLOW_REQUIRE(arena != NULL, operation, base, "the arena is NULL");
    fallow__os_lock_acquire(&arena->lock);
    place run = fallow__run_require(arena, base, size_bytes, operation);
    uint64_t first_count = first_bytes >> arena->page_shift;
    FALLOW_REQUIRE((first_bytes & (arena->page_bytes - 1)) == 0 && first_count != 0 && first_count < run.count,
                   operation, base, "the place to split is not a page boundary inside the run");
    fallow__pages_split(&run.part->pages, run.first + first_count);
    if (arena->is_watched) {
        fallow__watch_split(arena, run.part, run.first, run.first + first_count, run.first + run.count);
    }
    fallow__caches_changed(&arena->caches);
    bool is_addresses = run_is_addresses(arena, run);
    fallow__os_lock_release(&arena->lock);
    if (arena->is_traced) {
        fallow__tracer_change(base, first_bytes, size_bytes - first_bytes, is_addresses);
    }
}

/* Check that a range lies in one live run; anything else stops the program. The lock is held. */
static place range_require(const fallow_arena *arena, const void *base, size_t size_bytes, const char *operation)
{
    place where = page_require(arena, base, operation);
    FALLOW_REQUIRE((FALLOW__STATES(fallow__state_of_page(arena, where.part, where.first)) & FALLOW__STATES_USED) != 0,
                   operation, base, "not in a live run");
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
        size_t new_bytes = pages_bytes(arena, fallow__range_count(&p->pages, where.first, where.count, STATES_NONE));
        fallow_status status = FALLOW_OK;
        if (first == end) {
            return FALLOW_OK;
        }
        if (!fits_limit(arena, new_bytes)) {
            status = fallow__make_room(arena, where.count, true, error);
        } else {
            arena->promised_bytes = new_bytes;
            status = fallow__range_commit(arena, p, first, end, error);
            arena->promised_bytes = 0;
            if (status == FALLOW_OK) {
                (void)range_require(arena, base, size_bytes, operation); /* not freed meanwhile */
                fallow__edges_count(arena, p, where.first, end, true);
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
        fallow__turn_take(arena);
        status = used_range_commit(arena, base, size_bytes, operation, &error);
        fallow__turn_pass(arena);
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
    for (uint64_t page = where.first; fallow__next_range(&p->pages, &page, end, STATES_ACCESSIBLE, &first, &count);) {
        bool is_zero;
        bool is_committed = true;
        unsigned char *range = page_address(arena, p, first);
        fallow_status status = fallow__system_purge(arena, p, range, pages_bytes(arena, count), FALLOW_PURGE_DONTNEED,
                                                    &is_zero, &is_committed, error);
        fallow__note_given_back(arena, FALLOW_PURGE_DONTNEED, status == FALLOW_OK ? pages_bytes(arena, count) : 0);
        (void)range_require(arena, base, size_bytes, operation);
        if (status != FALLOW_OK && !is_committed) {
            fallow__taken_back(arena, range, pages_bytes(arena, count));
            fallow__edges_count(arena, p, first, first + count, false);
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
    if (part_is_large(p)) {
        return FALLOW_ERR_UNSUPPORTED;
    }
    if (!fallow__may_decommit(arena, p, where.first, end)) {
        arena->avoided_decommits++;
        return used_range_purge(arena, base, size_bytes, operation, error);
    }
    size_t accessible_bytes =
        pages_bytes(arena, fallow__range_count(&p->pages, where.first, where.count, STATES_ACCESSIBLE));
    fallow_status status = fallow__system_decommit(arena, p, base, pages_bytes(arena, where.count), &left, error);
    fallow__note_given_back(arena, FALLOW_PURGE_DECOMMIT, memory_is_gone(left) ? accessible_bytes : 0);
    if (!is_accessible(left)) {
        fallow__ranges_taken_back(arena, p, where.first, end, STATES_ACCESSIBLE);
        (void)range_require(arena, base, size_bytes, operation);
        fallow__edges_count(arena, p, where.first, end, false);
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
        fallow__turn_take(arena);
        status = used_range_decommit(arena, base, size_bytes, operation, &error);
        fallow__turn_pass(arena);
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
        is_found = (FALLOW__STATES(fallow__state_of_page(arena, where.part, where.first)) & FALLOW__STATES_USED) != 0;
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
