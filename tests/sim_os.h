/* A simulated operating system: the third implementation of os.h, deterministic, and strict.
 *
 * A program that is linked with the library `fallow_sim` instead of the real one runs on it:
 *
 *     sim_begin(&(sim_options){.rules = SIM_LINUX, .page_bytes = 16 << 10, .seed = seed});
 *     sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_COMMIT), .skip = 3});
 *     ... fallow_arena_create and so on ...
 *     assert_true(sim_end());
 *
 * It keeps a state for each page, and it lies on real memory: what is reserved or guarded really faults, what is
 * decommitted is really gone, what is committed is zero. Pages that were freed lazily turn zero one by one, at moments
 * that the seed decides, unless they are written first.
 *
 * What no caller of os.h may do stops the program, with a line that says which call broke which rule: a range that is
 * empty, unaligned or not inside a live reservation; commit, protect, purge or prefault of guarded pages; protect, purge,
 * prefault or guard of pages that are not committed; anything but a release, of large pages; a release of what is not a whole reservation; a lock that is taken
 * twice by one thread, released by another, or used before it was made.
 *
 * Two sets of rules, those of src/posix and of src/win32:
 *
 *                      SIM_LINUX                                   SIM_WINDOWS
 *   place              highest first; neighbours can merge         lowest first, on the granularity; walls in between
 *   mappings           SIM_LIMIT_MAPPINGS; a decommit that would   counted, not limited
 *                      split one at the limit keeps the pages
 *   decommit           a remap: attributes are lost and applied    MEM_DECOMMIT
 *                      again; else dropped and protected
 *   purge DONTNEED     in place                                    decommit and commit: the charge may be gone
 *   guard              in the page table, or decommitted           decommitted
 *   fork, dump, huge   attributes of mappings                      taken out of the flags
 *
 * Threads run as the host lets them, or, with SIM_INTERLEAVED, one at a time: every call of os.h is a point where the
 * simulation may have another go on, drawn from the seed. The thread that called sim_begin and those started with
 * sim_start or by the library are all there are then. A deadlock stops the program, with a line that tells who waits for
 * what.
 *
 * Time is the simulation's own: it passes with calls of os.h, by sim_pass_time, and where everybody sleeps.
 *
 * Calls of os.h may come from any thread; those below from one, while no other is in the library, unless threads are
 * interleaved. */
#ifndef FALLOW_SIM_OS_H
#define FALLOW_SIM_OS_H

#include "os.h"

typedef enum sim_rules {
    SIM_LINUX,
    SIM_WINDOWS
} sim_rules;

/* Calls of os.h. */
typedef enum sim_call {
    SIM_RESERVE,
    SIM_RELEASE,
    SIM_COMMIT,
    SIM_DECOMMIT,
    SIM_PURGE,
    SIM_PROTECT,
    SIM_PREFAULT,
    SIM_GUARD,
    SIM_UNGUARD,
    SIM_RESIDENT,
    SIM_PROCESS,
    SIM_THREAD,   /* fallow__os_thread_start */
    SIM_PRESSURE, /* fallow__os_pressure_open */
    SIM_ADVISE,   /* none of os.h: applying attributes again after a decommit; refused, the range goes without */
    SIM_LOCK,     /* fallow__os_lock_acquire; never refused */
    SIM_UNLOCK,
    SIM_AT_THREAD_EXIT, /* these two answer false when they are refused */
    SIM_BARRIER,
    SIM_CALLS
} sim_call;

/* Sets of calls. */
#define SIM_CALL(call) (UINT32_C(1) << (call))
#define SIM_EVERY_CALL (SIM_CALL(SIM_ADVISE) - 1) /* every call that returns a status */

/* A limit is bytes of the simulated reservations, or mappings; the program's own count nothing. */
typedef enum sim_limit {
    SIM_LIMIT_ADDRESSES, /* RLIMIT_AS */
    SIM_LIMIT_COMMIT,    /* CommitLimit, memory and page file */
    SIM_LIMIT_DATA,      /* RLIMIT_DATA: what is writable; Linux only */
    SIM_LIMIT_MAPPINGS,  /* vm.max_map_count; Linux only */
    SIM_LIMIT_LOCKED,    /* RLIMIT_MEMLOCK; for SIM_IS_LOCKED */
    SIM_LIMITS
} sim_limit;
#define SIM_NO_LIMIT UINT64_MAX

/* Releases that can wait for room at the limit of mappings, as in src/posix/waiting.c. */
enum {
    SIM_WAITING_MOST = 512
};

/* Flags of sim_options. */
enum {
    SIM_NO_LAZY_PURGE = 1 << 0,    /* FREE is DONTNEED here */
    SIM_NO_GUARD_INSTALL = 1 << 1, /* a guard is a decommitted page here, as it is on Windows anyhow */
    SIM_NO_ADVICE = 1 << 2,        /* every FALLOW_REGION_* attribute is refused */
    SIM_IS_LOCKED = 1 << 3,        /* Linux: as after mlockall(MCL_FUTURE), by a program without privileges */
    SIM_NO_BARRIER = 1 << 4,       /* in all threads: there is none */
    SIM_INTERLEAVED = 1 << 6,      /* one thread runs at a time */
    SIM_LIGHT = 1 << 7,            /* for more speed, with SIM_KEEP_MEMORY: sim_open() */
    SIM_NO_PRESSURE = 1 << 8,      /* the system does not tell when memory is short */
    SIM_NO_PURGE_MANY = 1 << 9,    /* nor purge several ranges at once, as on Windows anyhow */
    SIM_KEEP_MEMORY = 1 << 5       /* for speed: the host's memory is cleared and used again, by the next simulation
                                      too; fallow__os_resident then counts too much */
};

/* Called before each call that os.h gets, with no lock of the simulation held; it may call the library, where the
 * library's own locks allow that, and the functions below. What it does is not told to it. */
typedef void (*sim_hook)(void *context, sim_call call, const void *base, size_t size_bytes);

/* {0} is Linux with pages of 4 KiB. */
typedef struct sim_options {
    sim_rules rules;
    size_t page_bytes;           /* a power of two, not less than the host's page; 0 = 4 KiB, or the host's if larger */
    size_t granularity_bytes;    /* what reservations begin on; 0 = the page; 64 KiB on Windows */
    size_t large_page_bytes;     /* Linux: explicit large pages; 0 = none */
    uint64_t large_page_count;   /* so many of them in the pool */
    uint64_t space_bytes;        /* addresses there are; 0 = 512 GiB; 4 GiB under Wine, 512 MiB on 32 bits */
    uint64_t limits[SIM_LIMITS]; /* 0 = no limit */
    uint32_t flags;
    uint64_t seed;
    uint32_t switch_rarity; /* interleaved: once in so many calls another thread is drawn; 0 = with each */
    sim_hook hook;          /* optional */
    void *hook_context;
    void (*stop)(const char *complaint); /* optional: called instead of abort(); must not return */
} sim_options;

/* Start a system in which nothing is reserved yet. The options are copied. false: the host has not got so much address
 * space. One at a time. A program that never begins one has what the environment variable FALLOW_SIM says (linux-4K,
 * linux-16K, linux-64K, linux-bare without lazy purge, guards and attributes, linux-turns interleaved,
 * linux-large with large pages, windows), and fails at its end if anything is left over. */
bool sim_begin(const sim_options *options);

/* End it. false, with a line on stderr for each, if something is left: a reservation, a charge, a mapping, a lock that
 * is held, a lock (but for those made by fallow__os_run_once) or an event that was never destroyed, a thread that was never joined. What is left is taken away. */
bool sim_end(void);

/* The same look without an end: nothing is reserved, charged, mapped, locked or running. */
bool sim_check_no_leak(void);

/* --- time and threads -------------------------------------------------------------------------------------- */

/* Let time pass. It stands still otherwise, but for a moment with each call of os.h. */
void sim_pass_time(uint64_t ns);

/* A thread of the program. false: the host refuses. Its end is that of a thread: fallow__os_at_thread_exit. */
typedef struct sim_thread {
    void *host; /* free threads */
    int number; /* interleaved ones */
} sim_thread;
bool sim_start(void (*run)(void *context), void *context, sim_thread *thread_out);
void sim_join(sim_thread *thread);

/* Interleaved: which thread this is, 0 for the one that began; and a point where another may go on. */
unsigned sim_self(void);
void sim_offer(void);

/* A fork, in two halves: what the library asked for is called before it, and after it in the parent or in the child. In
 * between the host may fork, and each process goes on as one of the two. Without that, it is this program that becomes the
 * parent or the child: in the child reservations with FALLOW_REGION_NO_FORK are gone and those with WIPE_ON_FORK are zero,
 * and there are no other threads. Interleaved threads, and threads of the library, are gone for good only where the host
 * has forked. Their locks, the ones of the library, are to be made again. */
bool sim_can_fork(void);
void sim_fork_before(void);
void sim_fork_parent(void);
void sim_fork_child(void);

/* Interleaved: have the thread that began call tell(), wherever it is. Does not return. For what is found wrong in a
 * thread, when only the one that began can jump out. */
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void sim_give_up(void (*tell)(void));

/* --- faults ------------------------------------------------------------------------------------------------ */

typedef struct sim_refusal {
    uint32_t calls; /* SIM_CALL(...) | SIM_CALL(...); 0 = SIM_EVERY_CALL */
    uint64_t skip;  /* so many of these calls are let through first */
    uint64_t times; /* then so many are refused; 0 = one */
    uint64_t every; /* only each so-manieth of them, from the first on; 0 = each */

    /* Decommit: what is left, FALLOW__OS_LEFT_CHARGED or _ACCESSIBLE; 0 = _ALL, nothing was done. */
    fallow__os_left left;
    /* Purge: the pages are left uncommitted. Guard: the contents are dropped, the pages are accessible. Commit, on Linux,
     * of a range of which a part was committed: all but the last piece of the rest is committed too. */
    bool is_halfway;

    fallow_status status; /* FALLOW_OK = what this system would say first */
} sim_refusal;

/* From now on refuse so; NULL: refuse nothing. An illegal call stops first; limits refuse what this lets through. */
void sim_refuse(const sim_refusal *refusal);

/* How many calls were refused since sim_begin, for whatever reason. */
uint64_t sim_refusals(void);

/* How many calls were refused by the latest sim_refuse(). 0 after a run means that it came through whole. */
uint64_t sim_refused(void);

/* Change a limit now; what is above it stays. */
void sim_set_limit(sim_limit limit, uint64_t value);

/* Memory is short: tell who has asked for that word, now or when he next waits. */
void sim_press(void);

/* Pages that were freed lazily and not written since are zero now: all of them. */
void sim_take_lazy(void);

/* Files are the host's. So many more bytes go into them, all together; UINT64_MAX, as at the start: all. */
void sim_set_file_room(uint64_t room_bytes);

/* --- looking ----------------------------------------------------------------------------------------------- */

typedef struct sim_figures {
    uint64_t calls[SIM_CALLS];   /* since sim_begin; refused ones too */
    uint64_t refused[SIM_CALLS]; /* by a fault, a rule or a limit */
    uint64_t live_locks;         /* made and not destroyed */
    uint64_t held_locks;
    uint64_t live_events;
    uint64_t live_threads; /* started by the library, and not joined */
    uint64_t lazy_pages;   /* freed lazily, not written, not taken yet */
    uint64_t lazy_taken;   /* pages that turned zero behind the program's back, in all */
} sim_figures;

sim_figures sim_counts(void);

/* Memory calls so far, locks not counted: for "the same call balance". */
uint64_t sim_call_count(void);

uint64_t sim_charge(void);    /* bytes charged */
uint64_t sim_reserved(void);  /* bytes of live reservations */
uint64_t sim_map_count(void); /* mappings of them */
uint64_t sim_live_reservations(void);

typedef enum sim_state {
    SIM_NONE, /* in no reservation */
    SIM_RESERVED,
    SIM_COMMITTED,
    SIM_GUARDED
} sim_state;

typedef struct sim_page {
    sim_state state;
    fallow_protection protection; /* of committed pages */
    bool is_charged;
    bool is_lazy;        /* may turn zero at any moment until it is written */
    uint32_t attributes; /* FALLOW_REGION_NO_FORK and so on, as they are in force on this page */
    bool has_name;
    bool is_large;
    const void *region_base; /* of the reservation it is in */
    size_t region_bytes;
} sim_page;

sim_page sim_peek(const void *address);

/* Whether every page of a range is in one state. */
bool sim_is_all(const void *base, size_t size_bytes, sim_state state);

/* A system call of the test itself is about to write here, which the simulation would not see. */
void sim_before_write(void *address);

/* In a light simulation memory of reservations is accessible to the host, whatever the books say. That saves the host's
 * system calls, but then nothing faults, and writes to what was freed lazily are not seen. So the program tells which
 * pages of a reservation it uses itself: they are all zero yet, one range in each reservation. From then on the rest of
 * the reservation, the library's own, faults as ever; and before it writes to open pages the program says so, other bytes
 * than zero to the first SIM_OPEN_HEAD and the last SIM_OPEN_TAIL of a page only (no others are cleared). Whether an
 * access would have faulted sim_open_write() and sim_is_all() tell. What is not seen: an access of the library's own to
 * open pages that are not committed, and what it writes there other than zero. */
enum {
    SIM_OPEN_HEAD = 1024,
    SIM_OPEN_TAIL = 8
};
void sim_open(void *base, size_t size_bytes);

/* Pages of one reservation are about to be written. false: a write would not fault, as they are open, but it should. */
bool sim_open_write(void *base, size_t size_bytes);

#endif
