/* Committing: a place becomes usable, or the arena stays as it was.
 *
 * In this order, each step undone when a later one is refused:
 *
 *   1. the limit: what will be backed fits, or free memory is given back first
 *   2. bookkeeping of the place: its blocks are committed, and marked fresh until the call is through
 *   3. before_commit, once for each range that is not accessible
 *   4. one system call over all of it, and over some pages behind it: growth goes in steps of grow_bytes
 *
 * All of this with the turn; the lock is let go in between. */
#include "arena.h"

fallow_status fallow__refused(fallow__os_error *error, const char *limit_name, size_t limit_bytes)
{
    *error = (fallow__os_error){.limit_name = limit_name, .limit_value = limit_bytes};
    return FALLOW_ERR_LIMIT;
}

/* Commit bookkeeping: granted, committed and counted, or nothing. It was promised before. */
static fallow_status metadata_commit(fallow_arena *arena, part *p, void *base, size_t size_bytes,
                                     fallow__os_error *error)
{
    if (!fallow__granted(arena, base, size_bytes)) {
        return fallow__refused(error, "before_commit", size_bytes);
    }
    fallow_status status = fallow__system_commit(arena, p, base, size_bytes, error);
    if (status != FALLOW_OK) {
        fallow__taken_back(arena, base, size_bytes);
        return status;
    }
    p->metadata_bytes += size_bytes;
    arena->promised_bytes -= size_bytes;
    return FALLOW_OK;
}

/* Make the bookkeeping of a range of pages accessible: each series of missing blocks with one system call. Blocks that
 * became ready are marked fresh until the call is through or has failed (blocks_settle). */
static fallow_status blocks_prepare(fallow_arena *arena, part *p, uint64_t first, uint64_t count,
                                    fallow__os_error *error)
{
    uint64_t end = (first + count - 1) / FALLOW__BLOCK_PAGES + 1;
    for (uint64_t block = fallow__block_next(p, first / FALLOW__BLOCK_PAGES, end, false); block < end;
         block = fallow__block_next(p, block, end, false)) {
        uint64_t missing_end = fallow__block_next(p, block, end, true);
        fallow_status status = metadata_commit(arena, p, p->blocks + (size_t)block * p->plan.block_bytes,
                                               fallow__blocks_bytes(p, block, missing_end), error);
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
        size_t size_bytes = fallow__blocks_bytes(p, block, block + 1);
        fallow__os_left left;
        fallow__os_error ignored;
        if (!is_drop) {
            continue;
        }
        (void)fallow__system_decommit(arena, p, base, size_bytes, &left, &ignored);
        if (!is_accessible(left)) {
            p->ready[block / 64] &= ~bit;
            p->metadata_bytes -= size_bytes;
            fallow__taken_back(arena, base, size_bytes);
        }
    }
}

/* A commit that was refused may have stopped partway (os.h): what the books call inaccessible becomes so. */
static void range_undo_commit(fallow_arena *arena, part *p, uint64_t first, uint64_t limit)
{
    uint64_t range_first;
    uint64_t range_pages;
    for (uint64_t page = first; fallow__next_range(&p->pages, &page, limit, STATES_NONE, &range_first, &range_pages);) {
        fallow__os_left left;
        fallow__os_error ignored;
        (void)fallow__system_decommit(arena, p, page_address(arena, p, range_first), pages_bytes(arena, range_pages),
                                      &left, &ignored);
    }
}

fallow_status fallow__range_commit(fallow_arena *arena, part *p, uint64_t first, uint64_t limit,
                                   fallow__os_error *error)
{
    if (!fallow__ranges_granted(arena, p, first, limit)) {
        return fallow__refused(error, "before_commit", pages_bytes(arena, limit - first));
    }
    fallow_status status =
        fallow__system_commit(arena, p, page_address(arena, p, first), pages_bytes(arena, limit - first), error);
    if (status != FALLOW_OK) {
        range_undo_commit(arena, p, first, limit);
        fallow__ranges_taken_back(arena, p, first, limit, STATES_NONE);
        return status;
    }
    return FALLOW_OK;
}

/* The free pages of [first, limit) that are NONE have been committed; the others stay as they are. */
static void range_set_committed(fallow_arena *arena, part *p, uint64_t first, uint64_t limit)
{
    uint64_t range_first;
    uint64_t range_pages;
    const unsigned none = FALLOW__STATES(FALLOW__FREE_NONE);
    for (uint64_t page = first; fallow__next_range(&p->pages, &page, limit, none, &range_first, &range_pages);) {
        fallow__pages_set_free(&p->pages, range_first, range_pages, FALLOW__FREE_ZERO);
        if (arena->is_watched) {
            fallow__watch_free(arena, p, range_first, range_pages);
        }
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

/* How far down a commit of pages from `first` on may begin: with its huge page, as long as pages are free and not
 * committed. */
static uint64_t growth_first(const fallow_arena *arena, part *p, uint64_t first)
{
    uint64_t range_first;
    uint64_t range_pages;
    if (arena->huge_pages == 0 || first % arena->huge_pages == 0 ||
        !fallow__pages_last_range(&p->pages, first, FALLOW__STATES(FALLOW__FREE_NONE), &range_first, &range_pages) ||
        range_first + range_pages != first) {
        return first;
    }
    uint64_t goal = fallow__align_down(first, arena->huge_pages);
    return range_first > goal ? range_first : goal;
}

/* Make all pages of a free range accessible, and some around it; smaller steps when the system refuses. */
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
    uint64_t needed_first = first;
    first = growth_first(arena, p, first);
    for (;;) {
        fallow_status status = fallow__range_commit(arena, p, first, limit, error);
        if (status == FALLOW_OK) {
            fallow__edges_count(arena, p, first, limit, true);
            arena->scavenger.countdown -= (int64_t)(limit - first);
            arena->grown_bytes += pages_bytes(arena, limit - first);
            range_set_committed(arena, p, first, limit);
            return FALLOW_OK;
        }
        if (limit == needed && first == needed_first) {
            return status;
        }
        limit = needed + (limit - needed) / 2;
        first = needed_first;
    }
}

/* The bytes that will be backed when a place is used, and are not now. */
static size_t place_new_bytes(const fallow_arena *arena, place where, bool is_committed)
{
    const part *p = where.part;
    size_t bytes = 0;
    if (arena->limit_bytes != 0) {
        unsigned unbacked = is_committed ? STATES_NONE | FALLOW__STATES(FALLOW__FREE_ZERO) : 0;
        bytes = (size_t)fallow__blocks_missing(p, where.first, where.count) * p->plan.block_bytes +
                pages_bytes(arena, fallow__range_count(&where.part->pages, where.first, where.count, unbacked));
    }
    return bytes;
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
        fallow_status status = fallow__piece_decommit(arena, what, &state, error);
        if (state != FALLOW__FREE_NONE) {
            return status;
        }
    }
    return FALLOW_OK;
}

bool fallow__place_is_takeable(const fallow_arena *arena, place where)
{
    return fallow__place_is_usable(where, true) && fits_limit(arena, place_new_bytes(arena, where, true));
}

fallow_status fallow__place_prepare(fallow_arena *arena, place where, bool is_committed, bool *is_ready_out,
                                    fallow__os_error *error)
{
    part *p = where.part;
    *is_ready_out = false;
    if (part_is_large(p) && !is_committed) {
        *error = (fallow__os_error){0};
        return FALLOW_ERR_UNSUPPORTED; /* it cannot fault */
    }
    if (!fits_limit(arena, place_new_bytes(arena, where, is_committed))) {
        return fallow__make_room(arena, where.count, is_committed, error);
    }
    if (fallow__place_is_usable(where, is_committed)) {
        *is_ready_out = true;
        return FALLOW_OK;
    }
    arena->promised_bytes = (size_t)fallow__blocks_missing(p, where.first, where.count) * p->plan.block_bytes;
    fallow_status status = blocks_prepare(arena, p, where.first, where.count, error);
    if (status == FALLOW_OK) {
        status = is_committed ? place_commit(arena, where, error) : place_make_inaccessible(arena, where, error);
    }
    blocks_settle(arena, p, where.first, where.count, status != FALLOW_OK);
    arena->promised_bytes = 0;
    return status;
}
