/* Giving back: free memory goes to the system piece by piece, the highest first.
 *
 * A piece is free pages of one state inside aligned RELEASE_BYTES. It is taken out under the lock, given back without
 * it, and put back in the state that came of it (arena.h, rule 4): others allocate meanwhile, but not from it. Small
 * pieces go several at a time: beside running threads most of what one costs is the system's word to their
 * processors. */
#include "arena.h"
#include "status.h"

enum {
    MAP_SHARE = 4,            /* an arena makes no more than one in so many of the mappings a process may have */
    EDGES_UNCHECKED = 1024,   /* so few are no reason to ask how many there may be */
    RELEASE_BYTES = 16 << 20, /* given back at a time: half a millisecond for which others may wait */
};

/* Take a piece of free memory out, so that it can be given back without the lock. */
static void piece_take_out(fallow_arena *arena, piece what)
{
    FALLOW_ASSERT(arena->out_count < OUT_MOST);
    fallow__pages_take(&what.part->pages, what.first, what.count, false);
    arena->out[arena->out_count++] = what;
}

/* Put the latest back among the free pages, in another state or in the same. */
static void piece_put_back(fallow_arena *arena, fallow__page_state state)
{
    piece what = arena->out[arena->out_count - 1];
    if (state == FALLOW__FREE_NONE) {
        what.part->edges +=
            2 * (uint64_t)fallow__accessible_neighbours(arena, what.part, what.first, what.first + what.count) - 2;
    }
    arena->out_count--;
    fallow__pages_free(&what.part->pages, what.first, what.count);
    if (state != FALLOW__FREE_NONE) {
        fallow__pages_set_free(&what.part->pages, what.first, what.count, state);
    }
}

void fallow__note_given_back(fallow_arena *arena, fallow_purge way, size_t size_bytes)
{
    arena->given_back[way].calls++;
    arena->given_back[way].bytes += size_bytes;
}

fallow_status fallow__piece_decommit(fallow_arena *arena, piece what, fallow__page_state *state_out,
                                     fallow__os_error *error)
{
    fallow__os_left left;
    void *base = page_address(arena, what.part, what.first);
    size_t size_bytes = pages_bytes(arena, what.count);
    *state_out = what.state;
    piece_take_out(arena, what);
    fallow_status status = fallow__system_decommit(arena, what.part, base, size_bytes, &left, error);
    if (!is_accessible(left)) {
        fallow__taken_back(arena, base, size_bytes);
        *state_out = FALLOW__FREE_NONE;
    } else if (memory_is_gone(left)) {
        *state_out = FALLOW__FREE_ZERO;
    }
    fallow__note_given_back(arena, FALLOW_PURGE_DECOMMIT, *state_out != what.state ? size_bytes : 0);
    piece_put_back(arena, *state_out);
    return status;
}

static fallow_status piece_purge(fallow_arena *arena, piece what, fallow_purge purge, fallow__page_state *state_out,
                                 fallow__os_error *error)
{
    bool is_zero;
    bool is_committed = true;
    void *base = page_address(arena, what.part, what.first);
    size_t size_bytes = pages_bytes(arena, what.count);
    *state_out = what.state;
    piece_take_out(arena, what);
    fallow_status status =
        fallow__system_purge(arena, what.part, base, size_bytes, purge, &is_zero, &is_committed, error);
    if (status == FALLOW_OK) {
        *state_out = is_zero ? FALLOW__FREE_ZERO : FALLOW__FREE_LAZY;
    } else if (!is_committed) {
        fallow__taken_back(arena, base, size_bytes);
        *state_out = FALLOW__FREE_NONE;
    }
    fallow__note_given_back(arena, purge, *state_out != what.state ? size_bytes : 0);
    piece_put_back(arena, *state_out);
    return status;
}

/* The huge page that a page lies in joins a piece, if all of it is free, accessible and not lazy: what is ZERO there
 * counts as DIRTY from now on, which must not pass the limit. */
static bool piece_take_in(fallow_arena *arena, piece *what, uint64_t page)
{
    fallow__pages *pages = &what->part->pages;
    uint64_t first = fallow__align_down(page, arena->huge_pages);
    uint64_t count = arena->huge_pages;
    const unsigned allowed = FALLOW__STATES(FALLOW__FREE_ZERO) | FALLOW__STATES(FALLOW__FREE_DIRTY);
    if (count > what->part->plan.page_count - first || (fallow__pages_states(pages, first, count) & ~allowed) != 0 ||
        !fits_limit(arena,
                    pages_bytes(arena, fallow__range_count(pages, first, count, FALLOW__STATES(FALLOW__FREE_ZERO))))) {
        return false;
    }
    uint64_t end = what->first + what->count;
    end = end > first + count ? end : first + count;
    fallow__pages_set_free(pages, first, count, FALLOW__FREE_DIRTY);
    what->first = what->first < first ? what->first : first;
    what->count = end - what->first;
    return true;
}

bool fallow__piece_widen(fallow_arena *arena, piece *what)
{
    if (arena->huge_pages == 0 || what->state != FALLOW__FREE_DIRTY) {
        return false;
    }
    bool is_first_whole = what->first % arena->huge_pages == 0 || piece_take_in(arena, what, what->first);
    uint64_t end = what->first + what->count;
    return (end % arena->huge_pages == 0 || piece_take_in(arena, what, end - 1)) && is_first_whole;
}

bool fallow__may_decommit(fallow_arena *arena, const part *where, uint64_t first, uint64_t limit)
{
    uint64_t edges = 0;
    for (const part *p = arena->oldest; p != NULL; p = p->next) {
        edges += p->edges;
    }
    if (edges < EDGES_UNCHECKED || fallow__accessible_neighbours(arena, where, first, limit) < 2) {
        return true;
    }
    if (arena->edge_budget == 0) {
        fallow_system system;
        fallow__os_lock_release(&arena->lock);
        fallow__os_system(&system);
        fallow__os_lock_acquire(&arena->lock);
        arena->edge_budget = system.map_count_limit / MAP_SHARE;
        arena->edge_budget += arena->edge_budget == 0; /* not known, or very few */
    }
    return edges < arena->edge_budget;
}

fallow_status fallow__piece_release(fallow_arena *arena, piece what, fallow_purge *purge_inout,
                                    fallow__page_state *state_out, fallow__os_error *error)
{
    if (*purge_inout != FALLOW_PURGE_DECOMMIT) {
        return piece_purge(arena, what, *purge_inout, state_out, error);
    }
    if (!fallow__may_decommit(arena, what.part, what.first, what.first + what.count)) {
        *state_out = what.state;
        if (what.state == FALLOW__FREE_ZERO) {
            return FALLOW_OK; /* it has no memory to give */
        }
        arena->avoided_decommits++;
        return piece_purge(arena, what, FALLOW_PURGE_DONTNEED, state_out, error);
    }
    fallow_status status = fallow__piece_decommit(arena, what, state_out, error);
    if (status != FALLOW_OK && (FALLOW__STATES(what.state) & FALLOW__STATES_OLD) != 0 && *state_out != what.state) {
        *purge_inout = FALLOW_PURGE_DONTNEED;
        return FALLOW_OK;
    }
    return status;
}

unsigned fallow__pieces_purge(fallow_arena *arena, const piece *pieces, unsigned count, fallow_purge purge)
{
    fallow__os_range ranges[OUT_MOST] = {{0}};
    for (unsigned i = 0; i < count; i++) {
        ranges[i] = (fallow__os_range){page_address(arena, pieces[i].part, pieces[i].first),
                                       pages_bytes(arena, pieces[i].count)};
        piece_take_out(arena, pieces[i]);
    }
    unsigned done = (unsigned)fallow__system_purge_many(arena, pieces[0].part, ranges, count, purge);
    size_t done_bytes = 0;
    for (unsigned i = count; i-- != 0;) {
        fallow__page_state state = purge == FALLOW_PURGE_FREE ? FALLOW__FREE_LAZY : FALLOW__FREE_ZERO;
        piece_put_back(arena, i < done ? state : pieces[i].state);
        done_bytes += i < done ? ranges[i].size_bytes : 0;
    }
    if (done != 0) {
        fallow__note_given_back(arena, purge, done_bytes);
    }
    return done;
}

/* How many pages are given back with one system call. */
static uint64_t release_pages(const fallow_arena *arena)
{
    uint64_t pages = RELEASE_BYTES >> arena->page_shift;
    return pages != 0 ? pages : 1;
}

/* The highest piece below a page whose state is in a set: of one state, and inside aligned RELEASE_BYTES. */
static bool piece_find(fallow_arena *arena, part *p, uint64_t below, unsigned states, piece *what_out)
{
    uint64_t first;
    uint64_t count;
    uint64_t end;
    if (!fallow__pages_last_range(&p->pages, below, states, &first, &count)) {
        return false;
    }
    uint64_t last = first + count - 1;
    fallow__page_state state = fallow__pages_piece(&p->pages, last, last + 1, &end);
    (void)fallow__pages_last_range(&p->pages, last + 1, FALLOW__STATES(state), &first, &count);
    uint64_t cut = fallow__align_down(last, release_pages(arena));
    first = first > cut ? first : cut;
    *what_out = (piece){.part = p, .first = first, .count = last + 1 - first, .state = state};
    return true;
}

/* What to give back. */
typedef struct release {
    unsigned states;     /* free pages in these */
    uint64_t keep_pages; /* until no more than this of them are left */
    bool gives_way;      /* others who wait for the turn get it between two pieces */
    bool is_one_by_one;  /* the system has no call for several */
    fallow_purge purge;  /* may become DONTNEED (piece_release) */
    uint64_t pages;      /* given back so far */
} release;

/* The next pieces of a part below a page, highest first; 0: there is no more to do in it. */
static unsigned release_gather(fallow_arena *arena, const release *what, part *p, uint64_t below,
                               piece pieces_out[OUT_MOST])
{
    bool is_single = what->is_one_by_one || what->purge == FALLOW_PURGE_DECOMMIT;
    uint64_t held = fallow__arena_state_pages(arena, what->states);
    uint64_t room = release_pages(arena);
    unsigned count = 0;
    while (count < (is_single ? 1 : OUT_MOST) && held > what->keep_pages) {
        piece next;
        if (!piece_find(arena, p, below, what->states, &next)) {
            break;
        }
        if (next.count > held - what->keep_pages) {
            next.first += next.count - (held - what->keep_pages);
            next.count = held - what->keep_pages;
        } else {
            (void)fallow__piece_widen(arena, &next);
        }
        if (count != 0 && (next.count > room || next.first + next.count == below)) {
            break;
        }
        pieces_out[count++] = next;
        room -= next.count < room ? next.count : room;
        held -= next.count < held ? next.count : held;
        below = next.first;
    }
    return count;
}

/* Give back free pages, newest part and highest address first. The turn is ours; the lock is let go. */
static fallow_status arena_release(fallow_arena *arena, release *what, fallow__os_error *error)
{
    for (part *p = arena->newest; p != NULL; p = p->previous) {
        piece pieces[OUT_MOST];
        unsigned count;
        uint64_t below = p->plan.page_count;
        while (!part_is_large(p) && (count = release_gather(arena, what, p, below, pieces)) != 0) {
            if (count > 1) {
                unsigned done = fallow__pieces_purge(arena, pieces, count, what->purge);
                what->is_one_by_one = done < count;
                for (unsigned i = 0; i < done; i++) {
                    what->pages += pieces[i].count;
                    below = pieces[i].first;
                }
            } else {
                fallow__page_state state;
                fallow_status status = fallow__piece_release(arena, pieces[0], &what->purge, &state, error);
                what->pages += (FALLOW__STATES(state) & what->states) == 0 ? pieces[0].count : 0;
                below = pieces[0].first;
                if (status != FALLOW_OK) {
                    return status;
                }
            }
            if (what->gives_way) {
                fallow__turn_give_way(arena);
            }
        }
    }
    return FALLOW_OK;
}

fallow_status fallow__make_room(fallow_arena *arena, uint64_t count, bool is_committed, fallow__os_error *error)
{
    release what = {
        .states = FALLOW__STATES_OLD,
        .purge = arena->purge == FALLOW_PURGE_DECOMMIT ? FALLOW_PURGE_DECOMMIT : FALLOW_PURGE_DONTNEED,
    };
    if (is_within_limit(arena, count, is_committed)) {
        fallow__os_error ignored;
        fallow__arena_drain_caches(arena, false);
        (void)arena_release(arena, &what, &ignored);
    }
    return what.pages != 0 ? FALLOW_OK : fallow__refused(error, "limit_bytes", arena->limit_bytes);
}

/* Give back all but keep_bytes. The lock is not held. */
static fallow_status arena_trim(fallow_arena *arena, size_t keep_bytes, size_t *released_bytes_out,
                                fallow__os_error *error)
{
    fallow__os_lock_acquire(&arena->lock);
    fallow__turn_take(arena);
    fallow__arena_drain_caches(arena, false);
    release what = {
        .states = FALLOW__STATES(FALLOW__FREE_DIRTY),
        .keep_pages = keep_bytes >> arena->page_shift,
        .gives_way = true,
        .purge = arena->purge,
    };
    fallow_status status = arena_release(arena, &what, error);
    if (status == FALLOW_OK && what.purge == FALLOW_PURGE_DECOMMIT && keep_bytes == 0) {
        /* What was committed ahead or purged holds no memory, but is charged. If the system keeps it (max_map_count),
         * the stats tell: nothing that was asked for has failed. */
        release rest = {.states = STATES_FREE_ACCESSIBLE, .gives_way = true, .purge = FALLOW_PURGE_DECOMMIT};
        fallow__os_error ignored;
        (void)arena_release(arena, &rest, &ignored);
    }
    fallow__turn_pass(arena);
    fallow__os_lock_release(&arena->lock);
    *released_bytes_out = pages_bytes(arena, what.pages);
    return status;
}

fallow_status fallow_arena_trim(fallow_arena *arena, size_t keep_bytes, size_t *released_bytes_out)
{
    static const char operation[] = "fallow_arena_trim";
    FALLOW_REQUIRE(arena != NULL, operation, NULL, "the arena is NULL");
    fallow__os_error error = {0};
    size_t released_bytes;
    fallow_status status = arena_trim(arena, keep_bytes, &released_bytes, &error);
    if (released_bytes_out != NULL) {
        *released_bytes_out = released_bytes;
    }
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, NULL, 0, &error);
}

void fallow__arena_relieve(fallow__scavenger *scavenger)
{
    fallow_arena *arena = fallow__arena_of_scavenger(scavenger);
    fallow__os_error ignored;
    size_t released_bytes;
    (void)arena_trim(arena, 0, &released_bytes, &ignored);
    fallow__os_lock_acquire(&arena->lock);
    arena->pressure_trims++;
    fallow__os_lock_release(&arena->lock);
}

fallow_status fallow_pressure_watch(fallow_arena *arena)
{
    static const char operation[] = "fallow_pressure_watch";
    FALLOW_REQUIRE(arena != NULL, operation, NULL, "the arena is NULL");
    fallow__os_error error = {0};
    fallow_status status = fallow__scavenger_watch(&arena->scavenger, &error);
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, NULL, 0, &error);
}
