/* What threads keep: the arena's side of cache.h. Caches are made, looked into, emptied and taken back here; taking
 * from one and putting into one, which needs no lock, is in alloc.c and free.c.
 *
 * A run in a cache is in use as far as the books know. Its memory is free again when it is dropped. */
#include "arena.h"
#include "status.h"

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

void fallow__arena_drop(void *context, const fallow__item *items, uint32_t count, size_t size_bytes)
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
    for (uint32_t i = 0; i < count && arena->is_watched; i++) {
        part *p = part_of(arena, fallow__item_base(items[i]));
        fallow__watch_freed(arena, p, page_of(arena, p, fallow__item_base(items[i])), page_count);
    }
    arena->scavenger.countdown -= (int64_t)(count * page_count);
    fallow__caches_changed(&arena->caches);
}

void fallow__arena_drain_caches(fallow_arena *arena, bool is_others_only)
{
    bool is_stopped = fallow__caches_stop(&arena->caches, &arena->lock);
    for (fallow__cache *cache = arena->caches.first; cache != NULL; cache = cache->next) {
        bool is_own = cache->owner == &fallow__here;
        if (is_own ? !is_others_only : is_stopped || cache->owner == NULL) {
            fallow__cache_empty(cache, fallow__arena_drop, arena);
        }
    }
    fallow__caches_go_on(&arena->caches);
    arena->grown_bytes = 0;
}

void fallow__arena_stash(void *context, const fallow__item *items, uint32_t count, size_t size_bytes)
{
    fallow_arena *arena = context;
    uint32_t kept = fallow__depot_put(&arena->caches, items, count, size_bytes);
    if (kept < count) {
        fallow__arena_drop(arena, items + kept, count - kept, size_bytes);
    }
}

void fallow__arena_cache_leaves(fallow__caches *caches, fallow__cache *cache)
{
    fallow_arena *arena = (fallow_arena *)(void *)caches;
    fallow__os_lock_acquire(&arena->lock);
    fallow__cache_empty(cache, fallow__arena_drop, arena);
    fallow__cache_disown(cache);
    if (arena->caches.depot != NULL && !fallow__depot_is_useful(&arena->caches)) {
        fallow__cache_empty(arena->caches.depot, fallow__arena_drop, arena);
    }
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
    bool is_granted = fallow__ask(arena, region->base, size_bytes);
    if (is_granted && fallow__os_commit(region, region->base, size_bytes, &ignored) == FALLOW_OK) {
        return true;
    }
    if (is_granted) {
        fallow__tell(arena, region->base, size_bytes);
    }
    fallow__os_lock_acquire(&arena->lock);
    arena->caches.metadata_bytes -= size_bytes;
    arena->caches.reserved_bytes -= region->size_bytes;
    fallow__os_lock_release(&arena->lock);
    return false;
}

/* Make a cache for this thread, or the depot. */
static bool arena_new_cache(fallow_arena *arena, bool is_depot)
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
    bool is_late = is_depot && arena->caches.depot != NULL; /* another thread was quicker */
    if (is_late) {
        arena->caches.metadata_bytes -= size_bytes;
        arena->caches.reserved_bytes -= region.size_bytes;
    } else if (is_depot) {
        fallow__depot_open(&arena->caches, &region);
    } else {
        fallow__cache_open(&arena->caches, &region);
    }
    fallow__os_lock_release(&arena->lock);
    fallow__cache_finish();
    if (is_late) {
        (void)fallow__os_release(&region, &ignored);
        fallow__tell(arena, region.base, size_bytes);
    }
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
    is_made = is_made || arena_new_cache(arena, false);
    fallow__os_lock_acquire(&arena->lock);
    bool is_missed = is_made && fallow__depot_is_missed(&arena->caches);
    fallow__os_lock_release(&arena->lock);
    if (is_missed) {
        (void)arena_new_cache(arena, true);
    }
    return is_made;
}

fallow__cache *fallow__arena_lock_with_cache(fallow_arena *arena, bool is_free)
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

void fallow_arena_flush_thread(fallow_arena *arena)
{
    FALLOW_REQUIRE(arena != NULL, "fallow_arena_flush_thread", NULL, "the arena is NULL");
    fallow__os_lock_acquire(&arena->lock);
    fallow__cache *cache = fallow__cache_mine(&arena->caches);
    if (cache != NULL) {
        fallow__cache_empty(cache, fallow__arena_drop, arena);
    }
    arena_unlock_and_look(arena, 0);
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
                      fallow__state_of_page(arena, p, where.first) != FALLOW__START ||
                      fallow__pages_run_end(&p->pages, where.first) != where.first + where.count ||
                      (fallow__pages_states(&p->pages, where.first, where.count) & ~FALLOW__STATES_IN_USE) != 0;
}

bool fallow__arena_check_caches(fallow_arena *arena)
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
