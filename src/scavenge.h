/* When memory is given back: how much an arena may keep, what the giving back may cost, and the thread that goes round.
 *
 * scavenge.c explains. Knows numbers of pages, times and arenas as links of a list; what a piece of memory is and how
 * it is given back is the arena's affair (sweep.c). Sees: os.h. */
#ifndef FALLOW_SCAVENGE_H
#define FALLOW_SCAVENGE_H

#include "os.h"

/* A look at the clock and at the goal is due after so many pages were freed or committed: 4 MiB of 8 KiB. */
#define FALLOW__LOOK_PAGES 512

struct fallow__scavenger;

/* What is done with an arena around a fork, in this order. */
typedef enum fallow__fork_step {
    FALLOW__FORK_TAKE,   /* before it: see that no call is half done, and that none begins; false: one is */
    FALLOW__FORK_WAIT,   /*     then: wait until it is done. No other arena is taken */
    FALLOW__FORK_LET_GO, /*     and those taken before are let go for so long */
    FALLOW__FORK_HOLD,   /* all are taken: hold the lock */
    FALLOW__FORK_PARENT, /* after it, let go; or begin anew where no other thread is */
    FALLOW__FORK_CHILD
} fallow__fork_step;

/* Threads that go round arenas, each for those that want it. */
typedef enum fallow__helper {
    FALLOW__HELPER_WORKS,    /* for those with FALLOW_SCAVENGE_THREAD: what is kept above their goal */
    FALLOW__HELPER_RELIEVES, /* for those that watch for pressure: everything, when the system says so */
    FALLOW__HELPERS
} fallow__helper;

/* What an arena does when it is asked. None of its locks is held, but between FORK_HOLD and what follows. */
typedef struct fallow__scavenger_calls {
    /* Give back what is due now. Returns after how many ns to ask again; UINT64_MAX = not before the next wake. */
    uint64_t (*work)(struct fallow__scavenger *scavenger);
    /* Give back all that can be: memory is short. */
    void (*relieve)(struct fallow__scavenger *scavenger);
    bool (*fork)(struct fallow__scavenger *scavenger, fallow__fork_step step);
} fallow__scavenger_calls;

/* One for each arena, inside it. */
typedef struct fallow__scavenger {
    const fallow__scavenger_calls *calls;
    fallow_scavenge mode; /* never DEFAULT */
    bool is_forked;       /* a child has the arena, too */
    unsigned retain_percent;
    uint64_t interval_ns;

    /* under the arena's lock */
    int64_t countdown;        /* pages until the next look */
    uint64_t peak_pages;      /* most in use, in the interval under way */
    uint64_t last_peak_pages; /* and in the one before */
    uint64_t interval_end_ns; /* 0 = none has begun */
    int64_t credit_ns;        /* what giving back may still cost now */
    uint64_t credit_at_ns;
    bool is_idle; /* the thread need not come before it is woken */

    /* under the lock over all arenas */
    struct fallow__scavenger *next;
    struct fallow__scavenger *previous;
    bool is_wanted[FALLOW__HELPERS];
    uint64_t round[FALLOW__HELPERS]; /* of the thread: been here already */
    unsigned pins;                   /* who is in it, or waits for it, without that lock: it must not go */
} fallow__scavenger;

/* --- one arena's; its lock is held -------------------------------------------------------------------------- */

void fallow__scavenger_init(fallow__scavenger *scavenger, const fallow__scavenger_calls *calls, fallow_scavenge mode,
                            unsigned retain_percent, unsigned delay_ms, bool is_forked);

/* It is now. true: an interval has ended. */
bool fallow__scavenger_tick(fallow__scavenger *scavenger, uint64_t now_ns, uint64_t in_use_pages);

/* How many pages may be backed, in use or not. is_patient: as many as were in use lately count, not only those that are
 * now. */
uint64_t fallow__scavenger_goal(const fallow__scavenger *scavenger, uint64_t in_use_pages, bool is_patient);

/* Whether giving back may go on, after it has cost so much; or when it may. */
void fallow__scavenger_pay(fallow__scavenger *scavenger, uint64_t cost_ns);
bool fallow__scavenger_may_pay(fallow__scavenger *scavenger, uint64_t now_ns);
uint64_t fallow__scavenger_pause_ns(const fallow__scavenger *scavenger);

/* --- all arenas; no arena's lock is held -------------------------------------------------------------------- */

/* An arena comes and goes. After leave nothing is asked of it any more. */
void fallow__scavenger_join(fallow__scavenger *scavenger);
void fallow__scavenger_leave(fallow__scavenger *scavenger);

/* Have the thread that works go round; it is started if there is none. false: there can be none. */
bool fallow__scavengers_wake(void);

/* From now on this arena is relieved when memory is short. In the child of a fork none is, until it asks again. */
fallow_status fallow__scavenger_watch(fallow__scavenger *scavenger, fallow__os_error *error_out);

#endif
