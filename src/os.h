/* Everything fallow asks of an operating system.
 *
 * Three implementations: src/posix, src/win32, and tests/sim_os.c, a simulated system. The build picks one. No other
 * file of the library includes a system header or tests which system it is on.
 *
 * Memory states. A page of a reservation is in one of these, and each call below is one transition:
 *
 *              reserve            commit
 *      none ------------> reserved ------> committed ---+ purge: committed, contents zero or lazily freed
 *       ^                   |  ^              |         | protect, guard: committed, accessible otherwise
 *       +-- release --------+  +-- decommit --+ <-------+
 *
 *   none       not ours                      touching: undefined
 *   reserved   addresses only, no charge     touching: faults
 *   committed  charged; zero when new        touching: works
 *
 * What every call may assume: the region is a live reservation made by fallow__os_reserve; the range lies wholly inside
 * it, starts and ends on multiples of its page_bytes, and is not empty. Callers check this before they call (region.c,
 * the arena), so the implementations do not check again.
 *
 * What every call promises: FALLOW_OK, or a status that names the cause, with the detail in *error_out; and unless its
 * comment says otherwise, on failure nothing has changed. errno and GetLastError are not part of the promise.
 *
 * Ranges of one region that do not overlap may be worked on by several threads at once. */
#ifndef FALLOW_OS_H
#define FALLOW_OS_H

#include "fallow.h"

/* Why a call failed, as far as it could be found out. */
typedef struct fallow__os_error {
    int64_t code;           /* errno or GetLastError(); 0 if the system was not asked */
    const char *limit_name; /* the limit that was hit; NULL if none was found */
    uint64_t limit_value;
} fallow__os_error;

typedef struct fallow__os_range {
    void *base;
    size_t size_bytes;
} fallow__os_range;

/* --- facts ------------------------------------------------------------------------------------------------- */

/* The OS page in bytes: a power of two, the same for the life of the process. Cheap: may be called anywhere. */
size_t fallow__os_page_bytes(void);

/* Fill in what kind of system this is: page_bytes, granularity_bytes, address_space_bytes, is_emulated and is_wine; the
 * rest is 0. For the first arena of a process, which should not wait for files to be read. */
void fallow__os_kind(fallow_system *system_out);

/* Fill in all that the OS tells of a fallow_system: everything but what config.c decides (purge, reserve_bytes, their
 * sources, environment_error). Probes run once per process. */
void fallow__os_system(fallow_system *system_out);

/* The figures of this process. */
fallow_status fallow__os_process(fallow_process *process_out, fallow__os_error *error_out);

/* How many more bytes of address space this process may reserve: RLIMIT_AS less what is in use; UINT64_MAX if there is
 * no such limit. */
uint64_t fallow__os_address_space_left(void);

/* The memory that this process may have: that of the machine, or less where a group of processes that it is in has less
 * (a cgroup). 0 if it is not known. */
uint64_t fallow__os_memory_limit(void);

/* Copy an environment variable. Returns its length, or -1 when it is not set, does not fit with its terminating zero,
 * or the program runs with more rights than its caller (set-id). */
int fallow__os_environment(const char *name, char *buffer_out, size_t buffer_bytes);

/* --- memory ------------------------------------------------------------------------------------------------ */

/* Reserve. size_bytes is a multiple of the OS page, align_bytes a power of two (0 = any), hint a multiple of the OS
 * page. One try at this one size: halving is the caller's. Name and advice are applied; a kind of advice that the
 * system refuses is taken out of region_out->flags and is no failure. On success region_out is complete. */
fallow_status fallow__os_reserve(size_t size_bytes, const fallow_region_options *options, fallow_region *region_out,
                                 fallow__os_error *error_out);

/* Reserve in large pages and commit, all of it and for good: such a region is only used and released. size_bytes is a
 * multiple of the OS page; region_out->size_bytes is that of the large pages. align_bytes, name and flags (advice) of
 * the options count. FALLOW_ERR_UNSUPPORTED: there are no large pages here, or none that are so aligned. */
fallow_status fallow__os_reserve_large(size_t size_bytes, const fallow_region_options *options,
                                       fallow_region *region_out, fallow__os_error *error_out);

/* The whole of it. Where the system cannot take the addresses back yet (Linux, out of the middle of a mapping, at
 * vm.max_map_count), its memory is given back, its addresses wait, and later calls of reserve and release try again:
 * that is FALLOW_OK, unless too many wait. Failed, the region is as it was. */
fallow_status fallow__os_release(const fallow_region *region, fallow__os_error *error_out);

/* Committed pages in the range keep their contents and become readable and writable. All or nothing, but for this:
 * Linux works mapping by mapping and does not undo (mm/mprotect.c, do_mprotect_pkey), so where the range is more than
 * one mapping, a failure may leave some reserved pages of it committed. A range is one mapping if all of it was
 * reserved, and no decommit in it has ended as CHARGED. Decommitting what is to be reserved puts it right; a region has
 * no books of what was what. */
fallow_status fallow__os_commit(const fallow_region *region, void *base, size_t size_bytes,
                                fallow__os_error *error_out);

/* What a decommit that failed has left. Ordered: more is left to the right. */
typedef enum fallow__os_left {
    FALLOW__OS_LEFT_NOTHING,    /* not failed: faults, uncharged */
    FALLOW__OS_LEFT_CHARGED,    /* faults, memory given back, still counted against commit or mapping limits */
    FALLOW__OS_LEFT_ACCESSIBLE, /* memory given back, reads zero, still accessible */
    FALLOW__OS_LEFT_ALL         /* nothing changed */
} fallow__os_left;

/* *left_out is always written, and is NOTHING exactly on success. */
fallow_status fallow__os_decommit(const fallow_region *region, void *base, size_t size_bytes, fallow__os_left *left_out,
                                  fallow__os_error *error_out);

/* Give memory of committed pages back. purge is DONTNEED or FREE. *is_zero_out tells whether the pages are now known to
 * read zero, which FREE may find too where the system has no lazy way. On failure *is_committed_out tells whether the
 * pages are still accessible: false where DONTNEED had to decommit them and could not commit again, which is the usual
 * way on Windows and the last one on Linux. */
fallow_status fallow__os_purge(const fallow_region *region, void *base, size_t size_bytes, fallow_purge purge,
                               bool *is_zero_out, bool *is_committed_out, fallow__os_error *error_out);

/* The same for several ranges at once, each as if by itself, where the system has a call that is cheaper so. Returns
 * how many, from the first on, are given back: they read zero after DONTNEED. The next one may be given back in part,
 * those behind it have not changed, and none has failed: the others are asked for one by one. 0 where there is no such
 * call. */
size_t fallow__os_purge_many(const fallow_region *region, const fallow__os_range *ranges, size_t count,
                             fallow_purge purge);

fallow_status fallow__os_protect(const fallow_region *region, void *base, size_t size_bytes,
                                 fallow_protection protection, fallow__os_error *error_out);
fallow_status fallow__os_prefault(const fallow_region *region, void *base, size_t size_bytes,
                                  fallow__os_error *error_out);
fallow_status fallow__os_guard(const fallow_region *region, void *base, size_t size_bytes, fallow__os_error *error_out);
fallow_status fallow__os_unguard(const fallow_region *region, void *base, size_t size_bytes,
                                 fallow__os_error *error_out);
fallow_status fallow__os_resident(const fallow_region *region, void *base, size_t size_bytes,
                                  size_t *resident_bytes_out, fallow__os_error *error_out);

/* --- lock -------------------------------------------------------------------------------------------------- */

/* Room for the system's plain mutex; each implementation asserts that it fits. All zero is not a valid lock. */
typedef struct fallow__os_lock {
    uint64_t room[8];
} fallow__os_lock;

void fallow__os_lock_init(fallow__os_lock *lock);
void fallow__os_lock_destroy(fallow__os_lock *lock);
void fallow__os_lock_acquire(fallow__os_lock *lock);
void fallow__os_lock_release(fallow__os_lock *lock);

/* Run initialise() once per process, however many threads ask; returns when it has run. *once starts as {0}. */
typedef struct fallow__os_once {
    uint64_t room[2];
} fallow__os_once;
void fallow__os_run_once(fallow__os_once *once, void (*initialise)(void));

/* --- time and threads -------------------------------------------------------------------------------------- */

/* Nanoseconds since some moment; never goes back. */
uint64_t fallow__os_clock_ns(void);

/* A thread that the library runs itself. It stays where it is until it is joined. */
typedef struct fallow__os_thread {
    uint64_t room[4];
} fallow__os_thread;

/* Start run(context) in a new thread, which takes no signals but those that are about what it does itself, and has a
 * stack of some 256 KiB. Each one started is joined. */
fallow_status fallow__os_thread_start(void (*run)(void *context), void *context, fallow__os_thread *thread_out,
                                      fallow__os_error *error_out);
void fallow__os_thread_join(fallow__os_thread *thread);

/* Where threads sleep until something has happened. All zero is not a valid event. Those that sleep at one event hold
 * one and the same lock. In the child of a fork nobody sleeps any more, but the event and that lock do not know: both
 * are made again there with init. */
typedef struct fallow__os_event {
    uint64_t room[8];
} fallow__os_event;

void fallow__os_event_init(fallow__os_event *event);
void fallow__os_event_destroy(fallow__os_event *event);

/* Sleep until the event is woken or timeout_ns have passed (UINT64_MAX = no end). The lock is held by the caller, let
 * go while it sleeps, and held again afterwards. May return early: what is waited for is looked at in a loop. */
void fallow__os_event_wait(fallow__os_event *event, fallow__os_lock *lock, uint64_t timeout_ns);

/* Wake all who sleep there. */
void fallow__os_event_wake(fallow__os_event *event);

/* Let other threads run. */
void fallow__os_yield(void);

/* Have leave() called in this thread when it ends, once, however often this is asked for; the same function each time
 * and in every thread. false if the system cannot. The main thread of a program that ends by exit() is not told. What
 * else is called at the end of a thread, before it or behind it, is not known: asked for in there, once leave() has
 * run, it may run again or not. Thread-local variables are still there. */
bool fallow__os_at_thread_exit(void (*leave)(void));

/* A full memory barrier in every thread of this process: what each wrote before is seen by this one, and what this one
 * wrote before is seen by each. false if the system cannot. Costs microseconds. */
bool fallow__os_barrier_all_threads(void);

/* Have the three called around each fork from now on: before it, and after it in the parent and in the child. Asked
 * once per process. Those asked for by others earlier are called later before a fork, and earlier after it. true also
 * where there is no fork; false if the system cannot. */
bool fallow__os_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void));

/* --- word of little memory ---------------------------------------------------------------------------------- */

/* What the system is asked to tell when memory runs short. */
typedef struct fallow__os_pressure {
    uint64_t room[4];
} fallow__os_pressure;

/* FALLOW_ERR_UNSUPPORTED: this system does not tell, or not this program. The child of a fork has a copy, of no use but
 * to be closed. */
fallow_status fallow__os_pressure_open(fallow__os_pressure *pressure, fallow__os_error *error_out);

/* Sleep until memory is short: true, at most once a second. false: there is an end of it (fallow__os_pressure_end),
 * from now on. One thread. */
bool fallow__os_pressure_wait(fallow__os_pressure *pressure);

/* Nobody waits any more: any thread may say so. */
void fallow__os_pressure_end(fallow__os_pressure *pressure);

/* When nobody waits. */
void fallow__os_pressure_close(fallow__os_pressure *pressure);

/* --- seeing a process --------------------------------------------------------------------------------------- */

uint64_t fallow__os_process_id(void);

/* What a mapping is, as far as the system tells, or its place and its neighbours do. */
typedef enum fallow__os_kind_of {
    FALLOW__OS_RESERVED, /* addresses only: no access, no memory */
    FALLOW__OS_PRIVATE,  /* private memory, whoever allocated it */
    FALLOW__OS_HEAP,     /* the one that the C library's malloc grows first */
    FALLOW__OS_STACK,
    FALLOW__OS_FILE,   /* programs, libraries and data: backed by a file */
    FALLOW__OS_SHARED, /* memory that other processes may have too */
    FALLOW__OS_SYSTEM, /* put there by the system itself */
    FALLOW__OS_KINDS
} fallow__os_kind_of;

typedef struct fallow__os_mapping {
    uint64_t first; /* address */
    uint64_t end;   /* address after the last byte; more than first */
    fallow__os_kind_of kind;
    bool is_readable;
    bool is_writable;
    bool is_executable;
    bool is_private;
    bool has_resident;        /* the last three figures are told; else they are 0 */
    uint64_t committed_bytes; /* private and writable: what the system has promised; 0 or all of it */
    uint64_t resident_bytes;  /* no figure is more than the mapping */
    uint64_t lazy_bytes;      /* resident, and the system may take it at any time */
    uint64_t swapped_bytes;
    const char *guess; /* what it probably is, by its place or its neighbours; NULL = no idea */
    char name[128];    /* of the file, or what the program called it; "" = none; cut where it is longer. Bytes of any
                          kind: others chose them */
} fallow__os_mapping;

/* false ends the walk. */
typedef bool (*fallow__os_visitor)(void *context, const fallow__os_mapping *mapping);

/* Tell all mappings of a process, lowest first; a process that has none (a thread of the kernel) is fine. Those that
 * change meanwhile may be told as they were or as they are.
 *
 * FALLOW_ERR_INVALID: there is no such process. FALLOW_ERR_PERMISSION: this program may not see it. FALLOW_ERR_OS */
fallow_status fallow__os_mappings(uint64_t process_id, fallow__os_visitor visit, void *context,
                                  fallow__os_error *error_out);

/* What the system counts for a process as a whole; 0 where it does not tell. Other users' processes have these too. */
typedef struct fallow__os_figures {
    char program[64]; /* its name; bytes of any kind */
    uint64_t virtual_bytes;
    uint64_t peak_virtual_bytes;
    uint64_t resident_bytes;
    uint64_t peak_resident_bytes;
    uint64_t data_bytes; /* private and writable, what RLIMIT_DATA counts */
    uint64_t stack_bytes;
    uint64_t code_bytes; /* programs and libraries: what is executable of them */
    uint64_t swapped_bytes;
    uint64_t page_table_bytes;
    uint64_t lazy_bytes;
    uint64_t thread_count;
    uint64_t user_id;
    bool is_other_user; /* it runs as another user than this program */
    bool has_user;      /* user_id and is_other_user are told */
} fallow__os_figures;

/* Same failures. */
fallow_status fallow__os_figures_of(uint64_t process_id, fallow__os_figures *figures_out, fallow__os_error *error_out);

/* What may stop a process from getting more. */
typedef struct fallow__os_limit {
    const char *name; /* "RLIMIT_AS" */
    const char *what; /* what is counted, in words: "addresses (ulimit -v)" */
    uint64_t limit;   /* UINT64_MAX = none */
    uint64_t used;    /* UINT64_MAX = not known */
    bool is_mappings; /* counts mappings, not bytes */
    bool is_of_all;   /* of several processes together */
    char place[128];  /* the group's path; "" = none. Bytes of any kind */
} fallow__os_limit;

enum {
    FALLOW__OS_LIMITS_MAX = 8
};

/* Fill in the limits that this system has; returns how many. map_count UINT64_MAX = not known. */
size_t fallow__os_limits(uint64_t process_id, const fallow__os_figures *figures, uint64_t map_count,
                         fallow__os_limit limits_out[FALLOW__OS_LIMITS_MAX]);

/* Copy memory of a process, all or nothing; false if this program may not read it, or it is not there. What faults in
 * that process may be read all the same: Linux looks behind protections. */
bool fallow__os_peek(uint64_t process_id, uint64_t address, void *bytes_out, size_t size_bytes);

/* --- text for people --------------------------------------------------------------------------------------- */

/* A file that is written from its beginning on. */
typedef struct fallow__os_file {
    intptr_t handle;
} fallow__os_file;

/* Create it; a program that is started meanwhile does not inherit it. false: the system refuses; *is_taken_out tells
 * whether because there is one of that name. */
bool fallow__os_file_create(const char *path, fallow__os_file *file_out, bool *is_taken_out);

/* All of it, or false: then nobody knows how much. */
bool fallow__os_file_write(const fallow__os_file *file, const char *bytes, size_t count);
void fallow__os_file_close(const fallow__os_file *file);

/* Write text to stderr; what it does not take is lost. */
void fallow__os_print(const char *text);

/* Have leave() called when the program ends by exit(), or by returning from main. Asked once for each function. */
void fallow__os_at_exit(void (*leave)(void));

/* --- last words -------------------------------------------------------------------------------------------- */

/* Write message and a newline to stderr and end the program abnormally (abort). message has no newline. */
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void fallow__os_stop(const char *message);

#endif
