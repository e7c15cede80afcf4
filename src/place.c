/* Places: where in an arena a request fits. Looks at pages.h's books and changes nothing.
 *
 * Parts are asked from the oldest on, so that what is handed out is the lowest that there is. A request may want pages
 * that need no commit (NO_GROW), the highest (TOP_DOWN), or one place and no other (at). */
#include "arena.h"

unsigned fallow__state_of_page(const fallow_arena *arena, const part *p, uint64_t page)
{
    uint64_t end;
    if (!page_is_ready(p, page)) {
        return FALLOW__FREE_NONE;
    }
    const piece *out = out_with(arena, p, page);
    if (out != NULL) {
        return out->state;
    }
    return fallow__pages_piece((fallow__pages *)(uintptr_t)&p->pages, page, page + 1, &end);
}

bool fallow__next_range(fallow__pages *pages, uint64_t *page_inout, uint64_t limit, unsigned states,
                        uint64_t *first_out, uint64_t *count_out)
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

uint64_t fallow__range_count(fallow__pages *pages, uint64_t first, uint64_t count, unsigned states)
{
    uint64_t total = 0;
    uint64_t page = first;
    uint64_t range_first;
    uint64_t range_pages;
    while (fallow__next_range(pages, &page, first + count, states, &range_first, &range_pages)) {
        total += range_pages;
    }
    return total;
}

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
    if (wanted->align < arena->huge_pages && wanted->count >= arena->huge_pages) {
        order aligned = *wanted;
        aligned.align = arena->huge_pages; /* whole huge pages, as many as there can be; else where it fits */
        if (arena_find(arena, &aligned, where_out)) {
            return true;
        }
    }
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

bool fallow__order_find(fallow_arena *arena, const order *wanted, place *where_out)
{
    return wanted->at != NULL ? arena_find_at(arena, wanted, where_out) : arena_find(arena, wanted, where_out);
}

bool fallow__place_is_free(place where)
{
    return (fallow__pages_states(&where.part->pages, where.first, where.count) & FALLOW__STATES_USED) == 0;
}

bool fallow__place_is_usable(place where, bool is_committed)
{
    unsigned states = fallow__pages_states(&where.part->pages, where.first, where.count);
    return is_committed
               ? (states & STATES_NONE) == 0
               : (states & STATES_ACCESSIBLE) == 0 && fallow__blocks_missing(where.part, where.first, where.count) == 0;
}
