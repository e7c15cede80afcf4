/* When memory is given back.
 *
 * Goal. Time goes in intervals of an arena's purge_delay_ms. What was in use at the peak of this interval or the one
 * before, and retain_percent of it, may stay backed; free memory above that is given back. So what is freed and taken
 * again within the delay costs nothing, and memory freed for good goes after one to two intervals.
 *
 * Pace. Giving back may cost one percent of one CPU. What is not spent is saved, up to 200 ms of it: after a quiet time
 * a gigabyte goes at once.
 *
 *      credit  200 ms |----.                .-----
 *                     |     \            .-'            rises by 1 ms in 100 ms
 *                   0 |......\.........-'..........     falls by what it costs; below 0 nothing is done
 *
 * Looks. Nobody looks at the clock when a run is taken or freed. The arena counts pages down that were freed or
 * committed, and looks once in FALLOW__LOOK_PAGES of them. Then, as its mode says, the thread that has come by gives a
 * piece back itself (ASSIST), or wakes the thread.
 *
 * The threads. One that works, for all arenas that want it. It goes round: asks each one to work, and sleeps until the
 * first of them has something to do again, or all of them have nothing: then until it is woken. It is started when it
 * is first woken, and ended and joined when the last arena that wants it goes. Another one sleeps until the system says
 * that memory is short, and then asks each arena that watches for it to give back all it can; it is there as long as
 * one watches.
 *
 * Forks. All arenas are in one of two lists: those that a child of a fork has too, and those that it has not
 * (FALLOW_ARENA_NO_FORK; their memory is gone there, these links included). Before a fork each arena of the first list
 * is brought to rest and held; so the child finds books that are true, and has no thread until it wakes one. Who uses
 * arenas with locks of its own held has to take those first: its handlers are registered after ours, which
 * fallow_fork_register sees to.
 *
 * Locks. One over all arenas, for the lists and the thread; taken before an arena's, never with one held. It is let go
 * while an arena works or is waited for, since its callbacks may want it; the arena is pinned meanwhile. */
#include "scavenge.h"

#include "arenas.h"
#include "cache.h"
#include "status.h"

enum {
    DELAY_MS_DEFAULT = 500,
    RETAIN_PERCENT_DEFAULT = 10, /* as the Go runtime, which looks back on a decade of it */
    CPU_PERCENT = 1
};

#define NS_PER_MS ((uint64_t)1000000)
#define CREDIT_NS_MAX ((int64_t)(200 * NS_PER_MS))

/* --- goal and pace ------------------------------------------------------------------------------------------ */

void fallow__scavenger_init(fallow__scavenger *scavenger, const fallow__scavenger_calls *calls, fallow_scavenge mode,
                            unsigned retain_percent, unsigned delay_ms, bool is_forked)
{
    *scavenger = (fallow__scavenger){
        .calls = calls,
        .mode = mode,
        .is_forked = is_forked,
        .retain_percent = retain_percent != 0 ? retain_percent : RETAIN_PERCENT_DEFAULT,
        .interval_ns = (delay_ms != 0 ? delay_ms : DELAY_MS_DEFAULT) * NS_PER_MS,
        .countdown = mode == FALLOW_SCAVENGE_OFF ? INT64_MAX : FALLOW__LOOK_PAGES,
        .credit_ns = CREDIT_NS_MAX,
        .is_idle = true,
    };
}

bool fallow__scavenger_tick(fallow__scavenger *scavenger, uint64_t now_ns, uint64_t in_use_pages)
{
    if (now_ns < scavenger->interval_end_ns) {
        return false;
    }
    scavenger->last_peak_pages = scavenger->peak_pages;
    scavenger->peak_pages = in_use_pages;
    scavenger->interval_end_ns = now_ns + scavenger->interval_ns;
    return true;
}

uint64_t fallow__scavenger_goal(const fallow__scavenger *scavenger, uint64_t in_use_pages, bool is_patient)
{
    uint64_t peak = in_use_pages;
    if (is_patient) {
        peak = peak > scavenger->peak_pages ? peak : scavenger->peak_pages;
        peak = peak > scavenger->last_peak_pages ? peak : scavenger->last_peak_pages;
    }
    return peak + peak * scavenger->retain_percent / 100;
}

void fallow__scavenger_pay(fallow__scavenger *scavenger, uint64_t cost_ns)
{
    scavenger->credit_ns -= (int64_t)cost_ns;
}

bool fallow__scavenger_may_pay(fallow__scavenger *scavenger, uint64_t now_ns)
{
    uint64_t earned = (now_ns - scavenger->credit_at_ns) / 100 * CPU_PERCENT;
    bool is_full = earned >= (uint64_t)(CREDIT_NS_MAX - scavenger->credit_ns);
    scavenger->credit_ns = is_full ? CREDIT_NS_MAX : scavenger->credit_ns + (int64_t)earned;
    scavenger->credit_at_ns = now_ns;
    return scavenger->credit_ns > 0;
}

uint64_t fallow__scavenger_pause_ns(const fallow__scavenger *scavenger)
{
    uint64_t debt_ns = scavenger->credit_ns < 0 ? (uint64_t)-scavenger->credit_ns : 0;
    return (debt_ns + NS_PER_MS) * 100 / CPU_PERCENT; /* and a millisecond's worth, so that waking pays */
}

/* --- all arenas --------------------------------------------------------------------------------------------- */

/* A thread, and for how many arenas. */
typedef struct helper {
    unsigned wanted;
    bool is_running;
    bool is_ending; /* it is being joined */
    uint64_t round;
    fallow__os_thread thread;
} helper;

/* Lists: 0 of arenas that a child of a fork has, 1 of the others. */
static struct {
    fallow__os_lock lock;
    fallow__os_event event; /* something here has changed */
    fallow__scavenger *first[2];
    helper helpers[FALLOW__HELPERS];
    bool is_woken;                /* the one that works */
    fallow__os_pressure pressure; /* while the one that relieves runs */
    bool is_told_of_forks;
} all;

static fallow__os_once all_once;

/* --- forks --- */

static void fork_each(fallow__fork_step step, const fallow__scavenger *end)
{
    for (fallow__scavenger *s = all.first[0]; s != end; s = s->next) {
        (void)s->calls->fork(s, step);
    }
}

/* Let go of the lock, and be sure that the arena is still there. */
static void pin(fallow__scavenger *scavenger)
{
    scavenger->pins++;
    fallow__os_lock_release(&all.lock);
}

static void unpin(fallow__scavenger *scavenger)
{
    fallow__os_lock_acquire(&all.lock);
    scavenger->pins--;
    fallow__os_event_wake(&all.event);
}

/* Take all of them, waiting for one only while nothing is held: whoever works in it may need another. */
static void fork_before(void)
{
    fallow__os_lock_acquire(&all.lock);
    fallow__scavenger *s = all.first[0];
    while (s != NULL) {
        if (s->calls->fork(s, FALLOW__FORK_TAKE)) {
            s = s->next;
            continue;
        }
        fork_each(FALLOW__FORK_LET_GO, s);
        pin(s);
        (void)s->calls->fork(s, FALLOW__FORK_WAIT);
        unpin(s);
        s = all.first[0];
    }
    fallow__threads_hold();
    fork_each(FALLOW__FORK_HOLD, NULL);
}

static void fork_parent(void)
{
    fork_each(FALLOW__FORK_PARENT, NULL);
    fallow__threads_let_go();
    fallow__os_lock_release(&all.lock);
}

static void fork_child(void)
{
    fallow__os_lock_init(&all.lock);
    fallow__os_event_init(&all.event);
    fallow__threads_in_child();
    if (all.helpers[FALLOW__HELPER_RELIEVES].is_running) {
        fallow__os_pressure_close(&all.pressure);
    }
    all.first[1] = NULL;
    for (fallow__helper which = 0; which < FALLOW__HELPERS; which++) {
        all.helpers[which] = (helper){.round = all.helpers[which].round};
    }
    for (fallow__scavenger *s = all.first[0]; s != NULL; s = s->next) {
        s->pins = 0;
        s->is_wanted[FALLOW__HELPER_RELIEVES] = false;
        all.helpers[FALLOW__HELPER_WORKS].wanted += s->is_wanted[FALLOW__HELPER_WORKS];
    }
    fork_each(FALLOW__FORK_CHILD, NULL);
}

static void begin(void)
{
    fallow__os_lock_init(&all.lock);
    fallow__os_event_init(&all.event);
    /* where that cannot be had, a child has to leave its parent's arenas alone */
    all.is_told_of_forks = fallow__os_at_fork(fork_before, fork_parent, fork_child);
}

/* The list of arenas first, as fallow_arena_create does: its lock is asked for with others held. */
fallow_status fallow_fork_register(void)
{
    bool is_told = fallow__arenas_follow_forks();
    fallow__os_run_once(&all_once, begin);
    is_told = is_told && all.is_told_of_forks;
    return is_told ? FALLOW_OK : fallow__fail(FALLOW_ERR_OS, "fallow_fork_register", NULL, 0, NULL);
}

/* --- the threads --- */

/* An arena that this round has not come to; NULL if there is none. */
static fallow__scavenger *next_of_round(fallow__helper which)
{
    for (int list = 0; list < 2; list++) {
        for (fallow__scavenger *s = all.first[list]; s != NULL; s = s->next) {
            if (s->is_wanted[which] && s->round[which] != all.helpers[which].round) {
                return s;
            }
        }
    }
    return NULL;
}

/* Ask each arena to work. Returns for how long none has anything to do. The lock is held, and let go in between. */
static uint64_t go_round(fallow__helper which)
{
    uint64_t pause_ns = UINT64_MAX;
    uint64_t round = ++all.helpers[which].round;
    for (fallow__scavenger *s = next_of_round(which); s != NULL; s = next_of_round(which)) {
        s->round[which] = round;
        pin(s);
        if (which == FALLOW__HELPER_WORKS) {
            uint64_t rest_ns = s->calls->work(s);
            pause_ns = rest_ns < pause_ns ? rest_ns : pause_ns;
        } else {
            s->calls->relieve(s);
        }
        unpin(s);
    }
    return pause_ns;
}

static void work(void *context)
{
    (void)context;
    fallow__os_lock_acquire(&all.lock);
    while (!all.helpers[FALLOW__HELPER_WORKS].is_ending) {
        all.is_woken = false;
        uint64_t pause_ns = go_round(FALLOW__HELPER_WORKS);
        if (!all.is_woken && !all.helpers[FALLOW__HELPER_WORKS].is_ending) {
            fallow__os_event_wait(&all.event, &all.lock, pause_ns);
        }
    }
    fallow__os_lock_release(&all.lock);
}

static void relieve(void *context)
{
    (void)context;
    while (fallow__os_pressure_wait(&all.pressure)) {
        fallow__os_lock_acquire(&all.lock);
        (void)go_round(FALLOW__HELPER_RELIEVES);
        fallow__os_lock_release(&all.lock);
    }
}

/* See that a helper is there, if an arena wants it. The lock is held, and let go while it is being joined. */
static fallow_status helper_start(fallow__helper which, fallow__os_error *error)
{
    helper *ours = &all.helpers[which];
    while (ours->is_ending) {
        fallow__os_event_wait(&all.event, &all.lock, UINT64_MAX);
    }
    if (ours->is_running || ours->wanted == 0) {
        return FALLOW_OK;
    }
    fallow_status status = FALLOW_OK;
    if (which == FALLOW__HELPER_RELIEVES) {
        status = fallow__os_pressure_open(&all.pressure, error);
    }
    if (status == FALLOW_OK) {
        status = fallow__os_thread_start(which == FALLOW__HELPER_WORKS ? work : relieve, NULL, &ours->thread, error);
        if (status != FALLOW_OK && which == FALLOW__HELPER_RELIEVES) {
            fallow__os_pressure_close(&all.pressure);
        }
    }
    ours->is_running = status == FALLOW_OK;
    return status;
}

/* An arena wants it no more; with the last one it ends. The lock is held, and let go. */
static void helper_leave(fallow__helper which)
{
    helper *ours = &all.helpers[which];
    ours->wanted--;
    if (ours->wanted != 0 || !ours->is_running || ours->is_ending) {
        return;
    }
    ours->is_ending = true;
    fallow__os_event_wake(&all.event);
    if (which == FALLOW__HELPER_RELIEVES) {
        fallow__os_pressure_end(&all.pressure);
    }
    fallow__os_lock_release(&all.lock);
    fallow__os_thread_join(&ours->thread);
    fallow__os_lock_acquire(&all.lock);
    if (which == FALLOW__HELPER_RELIEVES) {
        fallow__os_pressure_close(&all.pressure);
    }
    ours->is_running = false;
    ours->is_ending = false;
    fallow__os_event_wake(&all.event);
}

bool fallow__scavengers_wake(void)
{
    fallow__os_error ignored;
    fallow__os_lock_acquire(&all.lock);
    (void)helper_start(FALLOW__HELPER_WORKS, &ignored);
    bool is_running = all.helpers[FALLOW__HELPER_WORKS].is_running;
    all.is_woken = true;
    fallow__os_event_wake(&all.event);
    fallow__os_lock_release(&all.lock);
    return is_running;
}

fallow_status fallow__scavenger_watch(fallow__scavenger *scavenger, fallow__os_error *error_out)
{
    bool *is_wanted = &scavenger->is_wanted[FALLOW__HELPER_RELIEVES];
    helper *ours = &all.helpers[FALLOW__HELPER_RELIEVES];
    fallow__os_lock_acquire(&all.lock);
    ours->wanted += !*is_wanted;
    *is_wanted = true;
    fallow_status status = helper_start(FALLOW__HELPER_RELIEVES, error_out);
    if (status != FALLOW_OK) {
        ours->wanted--;
        *is_wanted = false;
    }
    fallow__os_lock_release(&all.lock);
    return status;
}

/* --- coming and going --- */

void fallow__scavenger_join(fallow__scavenger *scavenger)
{
    fallow__os_run_once(&all_once, begin);
    fallow__scavenger **first = &all.first[scavenger->is_forked ? 0 : 1];
    fallow__os_lock_acquire(&all.lock);
    scavenger->next = *first;
    if (*first != NULL) {
        (*first)->previous = scavenger;
    }
    *first = scavenger;
    scavenger->is_wanted[FALLOW__HELPER_WORKS] = scavenger->mode == FALLOW_SCAVENGE_THREAD;
    all.helpers[FALLOW__HELPER_WORKS].wanted += scavenger->is_wanted[FALLOW__HELPER_WORKS];
    fallow__os_lock_release(&all.lock);
}

void fallow__scavenger_leave(fallow__scavenger *scavenger)
{
    fallow__os_lock_acquire(&all.lock);
    while (scavenger->pins != 0) {
        fallow__os_event_wait(&all.event, &all.lock, UINT64_MAX);
    }
    if (scavenger->previous != NULL) {
        scavenger->previous->next = scavenger->next;
    } else {
        all.first[scavenger->is_forked ? 0 : 1] = scavenger->next;
    }
    if (scavenger->next != NULL) {
        scavenger->next->previous = scavenger->previous;
    }
    for (fallow__helper which = 0; which < FALLOW__HELPERS; which++) {
        if (scavenger->is_wanted[which]) {
            helper_leave(which);
        }
    }
    fallow__os_lock_release(&all.lock);
}
