/* An arena's pages as ranges, for those who draw it (map.h).
 *
 * Each call looks at one bite of up to FALLOW__MAP_BITE ranges, all of one moment: with the lock, and with the threads
 * stopped from using their caches without it, since the bitmaps call a run used that a thread keeps. What is being
 * given back is told as the free memory that it was. */
#include "arena.h"
#include "map.h"

/* The range that begins at a page. The lock is held. */
static fallow__map_range range_at(const fallow_arena *arena, part *p, uint64_t page, uint64_t limit)
{
    static const fallow__map_kind kinds[] = {
        [FALLOW__FREE_NONE] = FALLOW__MAP_RESERVED,   [FALLOW__FREE_ZERO] = FALLOW__MAP_RELEASED,
        [FALLOW__FREE_LAZY] = FALLOW__MAP_LAZY,       [FALLOW__FREE_DIRTY] = FALLOW__MAP_RETAINED,
        [FALLOW__REST_NONE] = FALLOW__MAP_ADDRESSES,  [FALLOW__REST] = FALLOW__MAP_IN_USE,
        [FALLOW__START_NONE] = FALLOW__MAP_ADDRESSES, [FALLOW__START] = FALLOW__MAP_IN_USE,
    };
    unsigned state = fallow__state_of_page(arena, p, page);
    fallow__map_range range = {.first = page, .kind = kinds[state]};
    const piece *out = out_with(arena, p, page);
    uint64_t end;
    if (out != NULL) {
        end = out->first + out->count;
    } else if ((FALLOW__STATES(state) & FALLOW__STATES_FREE) != 0) {
        end = fallow__pages_next(&p->pages, page, limit, ~FALLOW__STATES(state) & 0xff);
    } else {
        bool is_start = (FALLOW__STATES(state) & FALLOW__STATES_START) != 0;
        unsigned others = range.kind == FALLOW__MAP_IN_USE ? STATES_NONE : FALLOW__STATES_IN_USE;
        uint64_t run_end = fallow__pages_run_end(&p->pages, page);
        range.run_first = is_start ? page : fallow__pages_run_start(&p->pages, page);
        range.run_pages = run_end - range.run_first;
        end = fallow__pages_next(&p->pages, page, run_end, others);
    }
    range.count = (end < limit ? end : limit) - page;
    return range;
}

typedef struct bite {
    const fallow_arena *arena;
    const part *part;
    fallow__map_range *ranges;
    size_t count;
} bite;

/* A run that a thread keeps: if its range is in the bite, it is cached. */
static void mark_cached(void *context, fallow__item item, size_t size_bytes)
{
    const bite *here = context;
    const void *base = fallow__item_base(item);
    (void)size_bytes;
    if (!part_holds(here->arena, here->part, base)) {
        return;
    }
    uint64_t page = page_of(here->arena, here->part, base);
    size_t low = 0;
    for (size_t high = here->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (here->ranges[middle].first < page) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < here->count && here->ranges[low].first == page && here->ranges[low].kind == FALLOW__MAP_IN_USE) {
        here->ranges[low].kind = FALLOW__MAP_CACHED;
    }
}

static part *part_number(const fallow_arena *arena, size_t index)
{
    part *p = arena->oldest;
    for (; p != NULL && index != 0; index--) {
        p = p->next;
    }
    return p;
}

static bool tell_part(void *context, size_t index, fallow__map_part *part_out)
{
    fallow_arena *arena = context;
    fallow__os_lock_acquire(&arena->lock);
    const part *p = part_number(arena, index);
    if (p != NULL) {
        *part_out = (fallow__map_part){
            .base = (uintptr_t)p->base,
            .page_count = p->plan.page_count,
            .region_bytes = p->region.size_bytes,
            .bookkeeping_bytes = p->metadata_bytes,
            .guard_bytes = fallow__os_page_bytes(), /* before the pages; the one behind them counts as reserved */
        };
    }
    fallow__os_lock_release(&arena->lock);
    return p != NULL;
}

static size_t tell_ranges(void *context, size_t index, uint64_t page, uint64_t limit,
                          fallow__map_range ranges_out[FALLOW__MAP_BITE])
{
    fallow_arena *arena = context;
    fallow__os_lock_acquire(&arena->lock);
    bool has_caches = arena->caches.first != NULL;
    bool is_stopped = has_caches && fallow__caches_stop(&arena->caches, &arena->lock); /* first: it lets the lock go */
    part *p = part_number(arena, index);
    bite here = {.arena = arena, .part = p, .ranges = ranges_out};
    if (p == NULL) { /* it was added and taken back while this was under way */
        ranges_out[here.count++] = (fallow__map_range){page, limit - page, 0, 0, FALLOW__MAP_RESERVED};
    }
    while (p != NULL && page < limit && here.count < FALLOW__MAP_BITE) {
        ranges_out[here.count] = range_at(arena, p, page, limit);
        page += ranges_out[here.count++].count;
    }
    for (const fallow__cache *cache = arena->caches.first; p != NULL && cache != NULL; cache = cache->next) {
        if (is_stopped || cache->owner == NULL || cache->owner == &fallow__here) {
            fallow__cache_visit(cache, mark_cached, &here);
        }
    }
    if (has_caches) {
        fallow__caches_go_on(&arena->caches);
    }
    fallow__os_lock_release(&arena->lock);
    return here.count;
}

void fallow__arena_map_source(fallow_arena *arena, fallow__map_source *source_out)
{
    fallow__os_lock_acquire(&arena->lock);
    *source_out = (fallow__map_source){
        .context = arena,
        .name = arena->name,
        .page_bytes = arena->page_bytes,
        .cache_reserved_bytes = arena->caches.reserved_bytes,
        .cache_bookkeeping_bytes = arena->caches.metadata_bytes,
        .part = tell_part,
        .ranges = tell_ranges,
    };
    fallow__os_lock_release(&arena->lock);
}
