/* Freeing: into this thread's cache, else past it.
 *
 * Without the lock a run is put into the cache if it is known to be one: it went out of this cache a moment ago, or the
 * bitmaps say so in a way that others cannot change meanwhile. What is not known is looked at with the lock, and stops
 * the program if it is no live run of this size. */
#include "arena.h"
#include "status.h"
#include "tracer.h"

enum {
    CACHE_SEARCH = 16, /* long runs that are looked through for one that comes back */
};

/* The lock is held. */
static void run_free(fallow_arena *arena, place run)
{
    fallow__pages_free(&run.part->pages, run.first, run.count);
    if (arena->is_watched) {
        fallow__watch_freed(arena, run.part, run.first, run.count);
    }
}

/* Free a run that is not a simple one, or stop the program. The lock is held; it is released. */
static FALLOW_NOINLINE void arena_free_long(fallow_arena *arena, void *base, size_t size_bytes)
{
    place where = fallow__run_require(arena, base, size_bytes, "fallow_arena_free");
    run_free(arena, where);
    fallow__caches_changed(&arena->caches);
    arena_unlock_and_look(arena, where.count);
}

/* Free a run past the caches. */
static FALLOW_NOINLINE void arena_free_past(fallow_arena *arena, void *base, size_t size_bytes)
{
    if (arena->is_traced) {
        fallow__tracer_free(base);
    }
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
    if (arena->is_watched) {
        fallow__watch_freed(arena, p, first, count);
    }
    fallow__caches_changed(&arena->caches);
    arena_unlock_and_look(arena, count);
}

/* Free a run into this thread's cache, with the lock. */
static FALLOW_NOINLINE void arena_free_locked(fallow_arena *arena, void *base, size_t size_bytes, size_t index)
{
    static const char operation[] = "fallow_arena_free";
    fallow__cache *cache = fallow__arena_lock_with_cache(arena, true);
    place where = fallow__run_require(arena, base, size_bytes, operation);
    unsigned states = fallow__pages_states(&where.part->pages, where.first, where.count);
    if (cache != NULL && (states & ~FALLOW__STATES_IN_USE) == 0) {
        if (fallow__cache_make_room(cache, index, fallow__arena_stash, arena) &&
            fallow__cache_put(cache, index, base)) {
            arena_unlock_and_look(arena, 0);
            return;
        }
    }
    run_free(arena, where);
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

/* Other threads miss runs of a size that this one keeps. */
static FALLOW_NOINLINE void arena_give(fallow_arena *arena, size_t index)
{
    fallow__os_lock_acquire(&arena->lock);
    fallow__cache *cache = fallow__cache_mine(&arena->caches);
    if (cache != NULL) {
        fallow__cache_give(cache, index, fallow__arena_stash, arena);
    }
    arena_unlock_and_look(arena, 0);
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
    bool is_put = cache != NULL && (search != 0 || fallow__cache_is_expected(cache, index, base)) &&
                  fallow__cache_put_trusted(cache, index, base, search);
    is_put = is_put || (cache != NULL && arena_is_run(arena, base, count) && fallow__cache_put(cache, index, base));
    bool is_wanted = is_put && fallow__depot_wants(&arena->caches, index) && fallow__cache_has_plenty(cache, index);
    fallow__cache_leave();
    if (is_wanted) {
        arena_give(arena, index);
    }
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
    for (size_t i = 0; arena->is_traced && i < count; i++) {
        if (runs[i].base != NULL) {
            fallow__tracer_free(runs[i].base);
        }
    }
    fallow__os_lock_acquire(&arena->lock);
    for (size_t i = 0; i < count; i++) {
        if (runs[i].base != NULL) {
            place where = fallow__run_require(arena, runs[i].base, runs[i].size_bytes, operation);
            run_free(arena, where);
            pages += where.count;
        }
    }
    fallow__caches_changed(&arena->caches);
    arena_unlock_and_look(arena, pages);
}
