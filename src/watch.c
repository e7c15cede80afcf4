/* What the tools of others are told of an arena's memory, so that they see runs as they see malloc's blocks (tools.h).
 *
 * Invariant, at any moment at which the arena's lock is not held:
 *
 *   free, accessible         hidden. Pages that the caches of threads keep are not: in an arena that is watched there
 *                            are caches only where the program asks for them by their size
 *   free, NONE               shown: it faults by itself. So memory is hidden page by page as it is committed, and
 *                            nothing depends on how much is reserved
 *   in a run                 shown, and valgrind knows the run as a block
 *   bookkeeping              shown; ASan does not keep it apart from what the library may not touch
 *
 * A tool's own books outlive a mapping: before a part goes, everything in it is shown. */
#include "arena.h"
#include "tools.h"

/* Hide what is accessible in a range, or show it. */
static void range_tell(const fallow_arena *arena, part *p, uint64_t first, uint64_t limit, unsigned states,
                       bool is_hidden)
{
    uint64_t range_first;
    uint64_t count;
    for (uint64_t page = first; fallow__next_range(&p->pages, &page, limit, states, &range_first, &count);) {
        if (is_hidden) {
            fallow__tools_hide(page_address(arena, p, range_first), pages_bytes(arena, count));
        } else {
            fallow__tools_show(page_address(arena, p, range_first), pages_bytes(arena, count));
        }
    }
}

void fallow__watch_taken(const fallow_arena *arena, part *p, uint64_t first, uint64_t count, bool is_zero)
{
    void *base = page_address(arena, p, first);
    range_tell(arena, p, first, first + count, FALLOW__STATES_IN_USE, false);
    fallow__tools_block(base, pages_bytes(arena, count), is_zero);
}

void fallow__watch_freed(const fallow_arena *arena, part *p, uint64_t first, uint64_t count)
{
    fallow__tools_unblock(page_address(arena, p, first));
    fallow__watch_free(arena, p, first, count);
}

void fallow__watch_free(const fallow_arena *arena, part *p, uint64_t first, uint64_t count)
{
    range_tell(arena, p, first, first + count, STATES_FREE_ACCESSIBLE, true);
}

void fallow__watch_resized(const fallow_arena *arena, part *p, uint64_t first, uint64_t old_count, uint64_t new_count)
{
    void *base = page_address(arena, p, first);
    if (new_count > old_count) {
        range_tell(arena, p, first + old_count, first + new_count, FALLOW__STATES_IN_USE, false);
    }
    fallow__tools_resize_block(base, pages_bytes(arena, old_count), pages_bytes(arena, new_count));
    if (new_count < old_count) {
        fallow__watch_free(arena, p, first + new_count, old_count - new_count);
    }
}

void fallow__watch_split(const fallow_arena *arena, const part *p, uint64_t first, uint64_t second, uint64_t end)
{
    void *base = page_address(arena, p, first);
    fallow__tools_resize_block(base, pages_bytes(arena, end - first), pages_bytes(arena, second - first));
    fallow__tools_block(page_address(arena, p, second), pages_bytes(arena, end - second), true);
}

void fallow__watch_decommitted(const void *base, size_t size_bytes)
{
    fallow__tools_show(base, size_bytes);
}

void fallow__watch_part(const fallow_arena *arena, part *p, bool is_there)
{
    fallow__tools_root(p->region.base, p->region.size_bytes, is_there);
    if (is_there) {
        return;
    }
    const unsigned starts = FALLOW__STATES(FALLOW__START) | FALLOW__STATES(FALLOW__START_NONE);
    uint64_t end = p->plan.page_count;
    for (uint64_t page = 0; (page = fallow__pages_next(&p->pages, page, end, starts)) < end; page++) {
        fallow__tools_unblock(page_address(arena, p, page));
    }
    range_tell(arena, p, 0, end, STATES_FREE_ACCESSIBLE, false);
}
