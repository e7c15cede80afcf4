/* The turn, and what an arena asks of the system and of the program while it has it (arena.h, "Locking").
 *
 * A call of the system or a callback is made without the lock: it is let go before and acquired again behind, and only
 * the turn is held on to. What was read before such a call has to be looked at again; what the turn protects has not.
 *
 * Beside them the edges: an arena knows about how many mappings its parts make, without asking the system. */
#include "arena.h"

static bool is_accessible_page(const fallow_arena *arena, const part *p, uint64_t page)
{
    return page < p->plan.page_count &&
           (FALLOW__STATES(fallow__state_of_page(arena, p, page)) & STATES_ACCESSIBLE) != 0;
}

unsigned fallow__accessible_neighbours(const fallow_arena *arena, const part *p, uint64_t first, uint64_t limit)
{
    return (first != 0 && is_accessible_page(arena, p, first - 1)) + is_accessible_page(arena, p, limit);
}

void fallow__edges_count(fallow_arena *arena, part *p, uint64_t first, uint64_t limit, bool is_committed)
{
    uint64_t range_first;
    uint64_t range_pages;
    unsigned changing = is_committed ? STATES_NONE : STATES_ACCESSIBLE;
    for (uint64_t page = first; fallow__next_range(&p->pages, &page, limit, changing, &range_first, &range_pages);) {
        unsigned neighbours = fallow__accessible_neighbours(arena, p, range_first, range_first + range_pages);
        p->edges += is_committed ? 2 - 2 * (uint64_t)neighbours : 2 * (uint64_t)neighbours - 2;
    }
}

void fallow__turn_take(fallow_arena *arena)
{
    uint64_t ticket = arena->tickets++;
    while (arena->turn != ticket) {
        fallow__os_event_wait(&arena->turn_passed, &arena->lock, UINT64_MAX);
    }
}

void fallow__turn_pass(fallow_arena *arena)
{
    arena->turn++;
    if (!turn_is_free(arena)) {
        fallow__os_event_wake(&arena->turn_passed);
    }
}

void fallow__turn_give_way(fallow_arena *arena)
{
    if (arena->turn + 1 != arena->tickets) {
        fallow__turn_pass(arena);
        fallow__turn_take(arena);
    }
}

bool fallow__ask(const fallow_arena *arena, void *base, size_t size_bytes)
{
    return arena->before_commit == NULL || arena->before_commit(arena->callback_context, base, size_bytes);
}

void fallow__tell(const fallow_arena *arena, void *base, size_t size_bytes)
{
    if (arena->after_decommit != NULL) {
        arena->after_decommit(arena->callback_context, base, size_bytes);
    }
}

bool fallow__granted(fallow_arena *arena, void *base, size_t size_bytes)
{
    if (arena->before_commit == NULL) {
        return true;
    }
    fallow__os_lock_release(&arena->lock);
    bool is_granted = fallow__ask(arena, base, size_bytes);
    fallow__os_lock_acquire(&arena->lock);
    return is_granted;
}

void fallow__taken_back(fallow_arena *arena, void *base, size_t size_bytes)
{
    if (arena->after_decommit == NULL) {
        return;
    }
    fallow__os_lock_release(&arena->lock);
    fallow__tell(arena, base, size_bytes);
    fallow__os_lock_acquire(&arena->lock);
}

fallow_status fallow__system_commit(fallow_arena *arena, const part *p, void *base, size_t size_bytes,
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

fallow_status fallow__system_decommit(fallow_arena *arena, const part *p, void *base, size_t size_bytes,
                                      fallow__os_left *left_out, fallow__os_error *error)
{
    fallow__os_lock_release(&arena->lock);
    uint64_t start_ns = fallow__os_clock_ns();
    fallow_status status = fallow__os_decommit(&p->region, base, size_bytes, left_out, error);
    uint64_t end_ns = fallow__os_clock_ns();
    fallow__os_lock_acquire(&arena->lock);
    arena->os_ns += end_ns - start_ns;
    if (arena->is_watched && !is_accessible(*left_out)) {
        fallow__watch_decommitted(base, size_bytes);
    }
    return status;
}

fallow_status fallow__system_purge(fallow_arena *arena, const part *p, void *base, size_t size_bytes,
                                   fallow_purge purge, bool *is_zero_out, bool *is_committed_out,
                                   fallow__os_error *error)
{
    fallow__os_lock_release(&arena->lock);
    uint64_t start_ns = fallow__os_clock_ns();
    fallow_status status = fallow__os_purge(&p->region, base, size_bytes, purge, is_zero_out, is_committed_out, error);
    uint64_t end_ns = fallow__os_clock_ns();
    fallow__os_lock_acquire(&arena->lock);
    arena->os_ns += end_ns - start_ns;
    return status;
}

size_t fallow__system_purge_many(fallow_arena *arena, const part *p, const fallow__os_range *ranges, size_t count,
                                 fallow_purge purge)
{
    fallow__os_lock_release(&arena->lock);
    uint64_t start_ns = fallow__os_clock_ns();
    size_t done = fallow__os_purge_many(&p->region, ranges, count, purge);
    uint64_t end_ns = fallow__os_clock_ns();
    fallow__os_lock_acquire(&arena->lock);
    arena->os_ns += end_ns - start_ns;
    return done;
}

void fallow__ranges_taken_back(fallow_arena *arena, part *p, uint64_t first, uint64_t limit, unsigned states)
{
    uint64_t range_first;
    uint64_t range_pages;
    if (arena->after_decommit == NULL) {
        return;
    }
    for (uint64_t page = first; fallow__next_range(&p->pages, &page, limit, states, &range_first, &range_pages);) {
        fallow__taken_back(arena, page_address(arena, p, range_first), pages_bytes(arena, range_pages));
    }
}

bool fallow__ranges_granted(fallow_arena *arena, part *p, uint64_t first, uint64_t limit)
{
    uint64_t range_first;
    uint64_t range_pages;
    if (arena->before_commit == NULL) {
        return true;
    }
    for (uint64_t page = first; fallow__next_range(&p->pages, &page, limit, STATES_NONE, &range_first, &range_pages);) {
        if (!fallow__granted(arena, page_address(arena, p, range_first), pages_bytes(arena, range_pages))) {
            fallow__ranges_taken_back(arena, p, first, range_first, STATES_NONE);
            return false;
        }
    }
    return true;
}

uint64_t fallow__part_edges(const fallow_arena *arena, part *p)
{
    uint64_t edges = 0;
    uint64_t first;
    uint64_t count;
    uint64_t page = 0;
    while (fallow__next_range(&p->pages, &page, p->plan.page_count, STATES_ACCESSIBLE, &first, &count)) {
        edges += 2;
    }
    for (unsigned i = 0; i < arena->out_count && arena->out[i].part == p; i++) {
        const piece *out = &arena->out[i]; /* accessible, which the bitmaps do not say */
        edges += 2 - 2 * (uint64_t)fallow__accessible_neighbours(arena, p, out->first, out->first + out->count);
    }
    return edges;
}
