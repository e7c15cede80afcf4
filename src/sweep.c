/* The scavenger's way through an arena.
 *
 * From the top, newest part first, in two passes: whole pieces of SCAVENGE_BYTES, which may be huge pages, then what is
 * left. A chunk that is nearly full is spared in one sweep and not in the next: what is free in it is likely to be
 * taken soon, and giving it back would break a huge page for little. In an arena of huge pages only whole ones go,
 * unless the program asks for more. Sweeps end at the bottom; the next one begins with the next interval. scavenge.h
 * says how much may stay and what giving back may cost. */
#include <limits.h>
#include <stddef.h>

#include "arena.h"
#include "status.h"

enum {
    SCAVENGE_BYTES = 2 << 20,                    /* at a time by the scavenger: a huge page */
    DENSE_PAGES = FALLOW__CHUNK_PAGES / 32 * 31, /* a chunk of which more is in use is dense */
    SWEEP_LOOKS = 64,                            /* free ranges looked at with the lock held */
};

static bool sweep_is_over(const sweep *s)
{
    return s->is_begun && s->part == NULL && s->is_in_parts;
}

static void sweep_begin(fallow_arena *arena, bool spares_dense)
{
    arena->sweep = (sweep){
        .part = arena->newest,
        .below = arena->newest->plan.page_count,
        .is_begun = true,
        .spares_dense = spares_dense,
    };
}

static void sweep_end(sweep *s)
{
    s->part = NULL;
    s->is_in_parts = true;
}

/* No more in this part. */
static void sweep_next_part(fallow_arena *arena, sweep *s)
{
    s->part = s->part->previous;
    if (s->part == NULL && !s->is_in_parts) {
        s->is_in_parts = true;
        s->part = arena->newest;
    }
    s->below = s->part != NULL ? s->part->plan.page_count : 0;
}

/* The next piece on the way down; false: the sweep is over, or enough was looked at for once. The turn is ours. */
static bool sweep_next(fallow_arena *arena, piece *what_out)
{
    sweep *s = &arena->sweep;
    uint64_t step = SCAVENGE_BYTES >> arena->page_shift;
    for (unsigned looks = 0; looks < SWEEP_LOOKS && s->part != NULL; looks++) {
        uint64_t first;
        uint64_t count;
        if (part_is_large(s->part) ||
            !fallow__pages_last_range(&s->part->pages, s->below, FALLOW__STATES(FALLOW__FREE_DIRTY), &first, &count)) {
            sweep_next_part(arena, s);
            continue;
        }
        uint64_t end = first + count;
        uint64_t whole_end = fallow__align_down(end, step);
        bool is_whole = whole_end >= first + step;
        if (!s->is_in_parts && !is_whole) {
            s->below = first;
            continue;
        }
        uint64_t cut = s->is_in_parts ? fallow__align_down(end - 1, step) : whole_end - step;
        end = s->is_in_parts ? end : whole_end;
        first = first > cut ? first : cut;
        s->below = first;
        piece what = {.part = s->part, .first = first, .count = end - first, .state = FALLOW__FREE_DIRTY};
        bool is_whole_huge = s->is_in_parts && fallow__piece_widen(arena, &what);
        bool is_breaking = arena->huge_pages != 0 && s->is_in_parts && !is_whole_huge;
        bool is_dense = s->is_in_parts && fallow__pages_used_around(&s->part->pages, end - 1) > DENSE_PAGES;
        if ((is_breaking && s->is_patient) || (is_dense && s->spares_dense)) {
            s->has_spared = true;
            continue;
        }
        s->below = what.first;
        *what_out = what;
        return true;
    }
    return false;
}

static uint64_t arena_in_use_pages(const fallow_arena *arena)
{
    return fallow__arena_state_pages(arena, FALLOW__STATES_IN_USE);
}

/* What is kept and could be given back. */
static uint64_t arena_retained_pages(const fallow_arena *arena)
{
    uint64_t count = 0;
    for (const part *p = arena->oldest; p != NULL; p = p->next) {
        count += part_is_large(p) ? 0 : part_state_pages(arena, p, FALLOW__STATES(FALLOW__FREE_DIRTY));
    }
    return count;
}

/* Is more free memory kept than there should be? */
static bool arena_has_excess(const fallow_arena *arena, bool is_patient)
{
    uint64_t in_use = arena_in_use_pages(arena);
    uint64_t retained = arena_retained_pages(arena);
    return retained != 0 && in_use + retained > fallow__scavenger_goal(&arena->scavenger, in_use, is_patient);
}

static void arena_tick(fallow_arena *arena, uint64_t now_ns)
{
    uint64_t peak = arena->scavenger.peak_pages;
    bool is_interval = fallow__scavenger_tick(&arena->scavenger, now_ns, arena_in_use_pages(arena));
    arena->peak_in_use_pages = peak > arena->peak_in_use_pages ? (size_t)peak : arena->peak_in_use_pages;
    if (!arena->sweep.is_begun || (is_interval && sweep_is_over(&arena->sweep))) {
        sweep_begin(arena, !arena->sweep.has_spared);
    }
}

/* A stretch of scavenging. */
typedef struct stretch {
    bool is_patient; /* heeds delay and pace; else the program has asked for it, here and now */
    bool gives_way;  /* others who wait for the turn get it between two pieces */
    unsigned most;   /* pieces, or looks without one */
    uint64_t budget_ns;
    uint64_t pages; /* given back so far */
} stretch;

/* Small pieces that lie near the one that was found are given back with it. */
static unsigned sweep_gather(fallow_arena *arena, piece pieces_inout[OUT_MOST])
{
    unsigned count = 1;
    uint64_t cut = fallow__align_down(pieces_inout[0].first, SCAVENGE_BYTES >> arena->page_shift);
    bool is_single = arena->sweep.is_one_by_one || arena->purge == FALLOW_PURGE_DECOMMIT;
    while (!is_single && count < OUT_MOST && arena->sweep.is_in_parts) {
        sweep before = arena->sweep;
        piece next;
        if (!sweep_next(arena, &next)) {
            break;
        }
        if (next.part != pieces_inout[0].part || next.first < cut) {
            arena->sweep = before;
            break;
        }
        pieces_inout[count++] = next;
    }
    return count;
}

/* Give back what sweep_next has found, and what is near it. The turn is ours; the lock is let go. */
static fallow_status sweep_release(fallow_arena *arena, piece found, uint64_t *pages_inout, fallow__os_error *error)
{
    piece pieces[OUT_MOST] = {found};
    unsigned count = sweep_gather(arena, pieces);
    unsigned done = count > 1 ? fallow__pieces_purge(arena, pieces, count, arena->purge) : 0;
    for (unsigned i = 0; i < done; i++) {
        *pages_inout += pieces[i].count;
    }
    if (done == count) {
        return FALLOW_OK;
    }
    if (count > 1) { /* the others come again, one by one; the next of them now */
        arena->sweep.part = found.part;
        arena->sweep.below = pieces[done].first;
        arena->sweep.is_in_parts = true;
        arena->sweep.is_one_by_one = true;
    }
    fallow_purge purge = arena->purge;
    fallow__page_state state;
    fallow_status status = fallow__piece_release(arena, pieces[done], &purge, &state, error);
    *pages_inout += state != pieces[done].state ? pieces[done].count : 0;
    return status;
}

/* Give back what is above the goal. The turn is ours; the lock is let go. */
static fallow_status arena_scavenge(fallow_arena *arena, stretch *how, fallow__os_error *error)
{
    uint64_t start_ns = fallow__os_clock_ns();
    bool is_anew = false;
    for (unsigned done = 0; done < how->most; done++) {
        uint64_t now_ns = fallow__os_clock_ns();
        arena_tick(arena, now_ns);
        bool may_go_on = how->is_patient ? fallow__scavenger_may_pay(&arena->scavenger, now_ns)
                                         : done == 0 || now_ns - start_ns < how->budget_ns;
        if (!may_go_on || !arena_has_excess(arena, how->is_patient)) {
            break;
        }
        arena->sweep.is_patient = how->is_patient;
        arena->sweep.spares_dense &= how->is_patient;
        if (sweep_is_over(&arena->sweep)) {
            if (how->is_patient || is_anew) {
                break;
            }
            sweep_begin(arena, false);
            is_anew = true;
        }
        piece what;
        if (sweep_next(arena, &what)) {
            uint64_t os_ns = arena->os_ns;
            fallow_status status = sweep_release(arena, what, &how->pages, error);
            fallow__scavenger_pay(&arena->scavenger, how->is_patient ? arena->os_ns - os_ns : 0);
            if (status != FALLOW_OK) {
                sweep_end(&arena->sweep); /* as soon again as if all had been given back */
                return status;
            }
        } else {
            fallow__os_lock_release(&arena->lock); /* many small ranges: let others in */
            fallow__os_lock_acquire(&arena->lock);
        }
        if (how->gives_way) {
            fallow__turn_give_way(arena);
        }
    }
    return FALLOW_OK;
}

void fallow__arena_look(fallow_arena *arena)
{
    fallow__scavenger *scavenger = &arena->scavenger;
    fallow__os_lock_acquire(&arena->lock);
    scavenger->countdown = scavenger->mode == FALLOW_SCAVENGE_OFF ? INT64_MAX : FALLOW__LOOK_PAGES;
    bool is_waking = scavenger->mode == FALLOW_SCAVENGE_THREAD && scavenger->is_idle;
    bool is_assisting = scavenger->mode == FALLOW_SCAVENGE_ASSIST;
    if (is_waking) {
        scavenger->is_idle = false;
        fallow__os_lock_release(&arena->lock);
        is_assisting = !fallow__scavengers_wake();
        fallow__os_lock_acquire(&arena->lock);
        scavenger->is_idle |= is_assisting; /* there is none: try again next time */
    }
    if (is_assisting && turn_is_free(arena)) {
        stretch how = {.is_patient = true, .most = 1};
        fallow__os_error ignored;
        fallow__turn_take(arena);
        (void)arena_scavenge(arena, &how, &ignored);
        fallow__turn_pass(arena);
    }
    fallow__os_lock_release(&arena->lock);
}

fallow_arena *fallow__arena_of_scavenger(fallow__scavenger *scavenger)
{
    return (fallow_arena *)(void *)((unsigned char *)scavenger - offsetof(fallow_arena, scavenger));
}

/* Take back what threads keep, if they have not come by since the interval before: they sleep, with all they keep. */
static void arena_drain_idle(fallow_arena *arena)
{
    uint64_t now_ns = fallow__os_clock_ns();
    if (now_ns < arena->idle_end_ns) {
        return;
    }
    fallow__cached kept = fallow__caches_count(&arena->caches, false);
    bool is_idle =
        kept.bytes != 0 && kept.bytes == arena->idle_cached.bytes && kept.run_count == arena->idle_cached.run_count;
    if (is_idle) {
        fallow__arena_drain_caches(arena, false);
        kept = fallow__caches_count(&arena->caches, false);
    }
    arena->idle_cached = kept;
    arena->idle_end_ns = now_ns + arena->scavenger.interval_ns;
}

uint64_t fallow__arena_work(fallow__scavenger *scavenger)
{
    fallow_arena *arena = fallow__arena_of_scavenger(scavenger);
    stretch how = {.is_patient = true, .gives_way = true, .most = UINT_MAX};
    fallow__os_error ignored;
    uint64_t pause_ns = UINT64_MAX;
    fallow__os_lock_acquire(&arena->lock);
    arena_drain_idle(arena);
    fallow__turn_take(arena);
    fallow_status status = arena_scavenge(arena, &how, &ignored);
    fallow__turn_pass(arena);
    uint64_t now_ns = fallow__os_clock_ns();
    scavenger->is_idle = !arena_has_excess(arena, false) && arena->idle_cached.bytes == 0;
    if (!scavenger->is_idle) {
        bool is_due = status == FALLOW_OK && arena_has_excess(arena, true) && !sweep_is_over(&arena->sweep);
        uint64_t rest_ns = scavenger->interval_end_ns > now_ns ? scavenger->interval_end_ns - now_ns : 1;
        pause_ns = is_due ? fallow__scavenger_pause_ns(scavenger) : rest_ns;
    }
    fallow__os_lock_release(&arena->lock);
    return pause_ns;
}

fallow_status fallow_arena_scavenge(fallow_arena *arena, uint64_t budget_ns, size_t *released_bytes_out)
{
    static const char operation[] = "fallow_arena_scavenge";
    FALLOW_REQUIRE(arena != NULL, operation, NULL, "the arena is NULL");
    stretch how = {.gives_way = true, .most = UINT_MAX, .budget_ns = budget_ns};
    fallow__os_error error = {0};
    fallow__os_lock_acquire(&arena->lock);
    fallow__arena_drain_caches(arena, false);
    fallow__turn_take(arena);
    fallow_status status = arena_scavenge(arena, &how, &error);
    fallow__turn_pass(arena);
    fallow__os_lock_release(&arena->lock);
    if (released_bytes_out != NULL) {
        *released_bytes_out = pages_bytes(arena, how.pages);
    }
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, NULL, 0, &error);
}

fallow_retained fallow__arena_why_retained(const fallow_arena *arena)
{
    if (arena_retained_pages(arena) == 0) {
        bool is_kept = fallow__arena_state_pages(arena, FALLOW__STATES(FALLOW__FREE_DIRTY)) != 0;
        return is_kept ? FALLOW_RETAINED_LARGE_PAGES : FALLOW_RETAINED_NOTHING;
    }
    if (!arena_has_excess(arena, false)) {
        return FALLOW_RETAINED_GOAL;
    }
    if (arena->scavenger.mode == FALLOW_SCAVENGE_OFF) {
        return FALLOW_RETAINED_OFF;
    }
    if (!arena_has_excess(arena, true)) {
        return FALLOW_RETAINED_DELAY;
    }
    if (arena->scavenger.credit_ns <= 0) {
        return FALLOW_RETAINED_PACE;
    }
    return sweep_is_over(&arena->sweep) && arena->sweep.has_spared ? FALLOW_RETAINED_DENSE : FALLOW_RETAINED_DUE;
}
