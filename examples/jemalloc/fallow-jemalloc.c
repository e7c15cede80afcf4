/* jemalloc on fallow: jemalloc keeps its size classes, caches and statistics, and takes its memory from an arena.
 *
 *   LD_PRELOAD=libfallow-jemalloc.so:libjemalloc.so.2 PROGRAM...
 *
 * jemalloc asks for memory through extent hooks. An *extent* of jemalloc's is one run of the arena or several that lie
 * side by side: split is fallow_arena_split, and merge does nothing, because what has grown together is taken apart again
 * when it is freed, run by run. So an extent is always made of whole runs, and that is all the state there is:
 *
 *   jemalloc   |  extent  |     extent      | extent |
 *   the arena  |   run    |  run  |   run   |  run   |
 *
 * Threads. Hooks are called from any thread, with locks of jemalloc's held or not. The arena has its own lock, never
 * calls malloc, and so never comes back here.
 *
 * Neighbours. All arenas of jemalloc's take from this one, so extents of two of them may lie side by side, and jemalloc
 * must not merge these. With retain:false it compares their arenas. With retain:true it does not: it takes for granted
 * that nothing is ever given back, so that what follows a piece of an extent is of the same arena; and it has changed the
 * books of the wrong one before the hook could refuse. So retain:true is refused at the start.
 *
 * The start. jemalloc serves the loader and the constructors of other libraries before this library's constructor runs.
 * That memory is not the arena's; hooks hand such addresses on to those that were there before, for ever.
 *
 * fork. jemalloc takes its locks before a fork, and in a thread that is new to it even memory: so it has to come first,
 * and fallow, which it stands on, after it. What is registered later is called earlier; jemalloc registers its handlers
 * as soon as anyone asks it for memory, long before the constructor below. So this library looks out for that
 * (__register_atfork, which pthread_atfork calls) and has fallow's registered first: fallow_fork_register. */
#define _GNU_SOURCE
#include <fallow.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <jemalloc/jemalloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TRIM_BYTES ((size_t)16 << 20)

/* jemalloc reads this when it starts. Its arena for the largest requests takes no hooks before it is used, so there is to
 * be none. It is the arena here that keeps addresses, so jemalloc need not (see "Neighbours" above). */
__attribute__((visibility("default"))) const char *malloc_conf = "oversize_threshold:0,retain:false";

static fallow_arena *arena;
static extent_hooks_t *system_hooks; /* jemalloc's own */

/* The arena has one reservation (FIXED), so whatever lies between two of its runs is its own. */
static _Atomic uintptr_t lowest = UINTPTR_MAX;
static _Atomic uintptr_t end;

static bool is_ours(const void *address)
{
    return (uintptr_t)address >= lowest && (uintptr_t)address < end;
}

static void widen(const fallow_run *run)
{
    uintptr_t seen = lowest;
    while ((uintptr_t)run->base < seen && !atomic_compare_exchange_weak(&lowest, &seen, (uintptr_t)run->base)) {
    }
    seen = end;
    const uintptr_t run_end = (uintptr_t)run->base + run->size_bytes;
    while (run_end > seen && !atomic_compare_exchange_weak(&end, &seen, run_end)) {
    }
}

static _Noreturn void stop(const char *what)
{
    dprintf(STDERR_FILENO, "fallow-jemalloc: %s\n", what);
    abort();
}

/* Call `function` for the part of each run that lies in the range; false as soon as it returns false. */
static bool for_each_run(char *base, size_t size_bytes, bool (*function)(char *base, size_t size_bytes))
{
    for (char *const range_end = base + size_bytes; base < range_end;) {
        fallow_run run;
        if (fallow_arena_run_of(arena, base, &run) != FALLOW_OK) {
            stop("an extent that is not made of runs");
        }
        char *const run_end = (char *)run.base + run.size_bytes;
        const size_t part_bytes = (size_t)((run_end < range_end ? run_end : range_end) - base);
        if (!function(base, part_bytes)) {
            return false;
        }
        base += part_bytes;
    }
    return true;
}

/* --- the hooks: true is refusal, except for alloc, which says NULL --------------------------------------------------- */

static void *hook_alloc(extent_hooks_t *hooks, void *new_address, size_t size, size_t alignment, bool *zero,
                        bool *commit, unsigned arena_index)
{
    (void)hooks;
    (void)arena_index;
    /* What has to be zero is committed, because only then it can be cleared. */
    const uint32_t flags = *zero ? FALLOW_RUN_ZEROED : *commit ? 0 : FALLOW_RUN_UNCOMMITTED;
    const fallow_run_options options = {.align_bytes = alignment, .flags = flags, .at = new_address};
    fallow_run run;
    if (fallow_arena_alloc_run(arena, size, &options, &run) != FALLOW_OK) {
        return NULL;
    }
    widen(&run);
    *zero = run.is_zero;
    *commit = flags != FALLOW_RUN_UNCOMMITTED;
    return run.base;
}

static bool free_run(char *base, size_t size_bytes)
{
    fallow_arena_free(arena, base, size_bytes);
    return true;
}

/* jemalloc has waited before it gave memory back (dirty_decay_ms), so the arena need not wait again: it keeps a little
 * for the next extent and gives the rest to the system. */
static void trim_now_and_then(size_t freed_bytes)
{
    static _Atomic size_t freed_since;
    if (atomic_fetch_add(&freed_since, freed_bytes) + freed_bytes >= TRIM_BYTES) {
        atomic_store(&freed_since, 0);
        if (fallow_arena_trim(arena, TRIM_BYTES, NULL) != FALLOW_OK) {
            return; /* what the system refused to take stays for the next extent */
        }
    }
}

static bool hook_dalloc(extent_hooks_t *hooks, void *address, size_t size, bool committed, unsigned arena_index)
{
    (void)hooks;
    if (!is_ours(address)) {
        return system_hooks->dalloc(system_hooks, address, size, committed, arena_index);
    }
    for_each_run(address, size, free_run);
    trim_now_and_then(size);
    return false;
}

static void hook_destroy(extent_hooks_t *hooks, void *address, size_t size, bool committed, unsigned arena_index)
{
    (void)hook_dalloc(hooks, address, size, committed, arena_index);
}

static bool commit_part(char *base, size_t size_bytes)
{
    return fallow_arena_commit(arena, base, size_bytes) == FALLOW_OK;
}

static bool decommit_part(char *base, size_t size_bytes)
{
    return fallow_arena_decommit(arena, base, size_bytes) == FALLOW_OK;
}

static bool hook_commit(extent_hooks_t *hooks, void *address, size_t size, size_t offset, size_t length,
                        unsigned arena_index)
{
    (void)hooks;
    if (!is_ours(address)) {
        return system_hooks->commit(system_hooks, address, size, offset, length, arena_index);
    }
    return !for_each_run((char *)address + offset, length, commit_part);
}

static bool hook_decommit(extent_hooks_t *hooks, void *address, size_t size, size_t offset, size_t length,
                          unsigned arena_index)
{
    (void)hooks;
    if (!is_ours(address)) {
        return system_hooks->decommit(system_hooks, address, size, offset, length, arena_index);
    }
    if (for_each_run((char *)address + offset, length, decommit_part)) {
        return false;
    }
    /* Refused halfway: all of it has to be accessible again before jemalloc may be told that nothing has happened. */
    if (!for_each_run((char *)address + offset, length, commit_part)) {
        stop("memory could neither be decommitted nor committed again");
    }
    return true;
}

/* An arena purges free pages; these belong to runs, so their owner asks the system itself. They stay committed and in
 * use by the arena's books. */
static bool hook_purge_lazy(extent_hooks_t *hooks, void *address, size_t size, size_t offset, size_t length,
                            unsigned arena_index)
{
    (void)hooks;
    if (!is_ours(address)) {
        return system_hooks->purge_lazy(system_hooks, address, size, offset, length, arena_index);
    }
    return madvise((char *)address + offset, length, MADV_FREE) != 0;
}

static bool hook_purge_forced(extent_hooks_t *hooks, void *address, size_t size, size_t offset, size_t length,
                              unsigned arena_index)
{
    (void)hooks;
    if (!is_ours(address)) {
        return system_hooks->purge_forced(system_hooks, address, size, offset, length, arena_index);
    }
    return madvise((char *)address + offset, length, MADV_DONTNEED) != 0;
}

static bool hook_split(extent_hooks_t *hooks, void *address, size_t size, size_t first_size, size_t second_size,
                       bool committed, unsigned arena_index)
{
    (void)hooks;
    if (!is_ours(address)) {
        return system_hooks->split(system_hooks, address, size, first_size, second_size, committed, arena_index);
    }
    char *const second = (char *)address + first_size;
    fallow_run run;
    if (fallow_arena_run_of(arena, second, &run) != FALLOW_OK) {
        stop("an extent that is not made of runs");
    }
    if (run.base != second) { /* else two runs meet there already */
        fallow_arena_split(arena, run.base, run.size_bytes, (size_t)(second - (char *)run.base));
    }
    return false;
}

static bool hook_merge(extent_hooks_t *hooks, void *first, size_t first_size, void *second, size_t second_size,
                       bool committed, unsigned arena_index)
{
    (void)hooks;
    if (is_ours(first) != is_ours(second)) {
        return true;
    }
    if (!is_ours(first)) {
        return system_hooks->merge(system_hooks, first, first_size, second, second_size, committed, arena_index);
    }
    return false;
}

static extent_hooks_t fallow_hooks = {
    .alloc = hook_alloc,
    .dalloc = hook_dalloc,
    .destroy = hook_destroy,
    .commit = hook_commit,
    .decommit = hook_decommit,
    .purge_lazy = hook_purge_lazy,
    .purge_forced = hook_purge_forced,
    .split = hook_split,
    .merge = hook_merge,
};

/* --- start, fork, end ------------------------------------------------------------------------------------------------ */

/* What pthread_atfork calls, in every library of the process. The first to come is jemalloc; fallow goes before it. */
__attribute__((visibility("default"))) int __register_atfork(void (*before)(void), void (*in_parent)(void),
                                                             void (*in_child)(void), void *library);

int __register_atfork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void), void *library)
{
    static int (*of_libc)(void (*)(void), void (*)(void), void (*)(void), void *);
    if (of_libc == NULL) {
        void *const symbol = dlsym(RTLD_NEXT, "__register_atfork");
        memcpy(&of_libc, &symbol, sizeof symbol);  /* POSIX has the conversion, C has not */
        if (fallow_fork_register() != FALLOW_OK) { /* which comes by here, too */
            stop("no memory for handlers of forks");
        }
    }
    return of_libc(before, in_parent, in_child, library);
}

/* All arenas that jemalloc has for threads, also those it has not opened yet. */
static void install_hooks(void)
{
    unsigned count = 0;
    size_t size = sizeof count;
    if (mallctl("arenas.narenas", &count, &size, NULL, 0) != 0) {
        stop("jemalloc does not tell how many arenas it has");
    }
    for (unsigned i = 0; i < count; i++) {
        extent_hooks_t *old_hooks;
        extent_hooks_t *new_hooks = &fallow_hooks;
        char name[48];
        size = sizeof old_hooks;
        snprintf(name, sizeof name, "arena.%u.extent_hooks", i);
        if (i == 0 && mallctl(name, &old_hooks, &size, NULL, 0) == 0) {
            system_hooks = old_hooks; /* before the others are in force */
        }
        if (mallctl(name, NULL, NULL, &new_hooks, sizeof new_hooks) != 0) {
            stop("jemalloc refuses the hooks");
        }
    }
}

__attribute__((constructor)) static void start(void)
{
    size_t page_bytes = 0;
    size_t size = sizeof page_bytes;
    const char *limit = getenv("FALLOW_JEMALLOC_LIMIT");
    if (mallctl("arenas.page", &page_bytes, &size, NULL, 0) != 0) {
        stop("jemalloc does not tell its page size");
    }
    bool retains;
    size = sizeof retains;
    if (mallctl("opt.retain", &retains, &size, NULL, 0) != 0 || retains) {
        stop("jemalloc has to be told retain:false, else it merges what is not its own");
    }
    const fallow_arena_options options = {
        .page_bytes = page_bytes,
        .limit_bytes = limit != NULL ? strtoull(limit, NULL, 10) << 20 : 0,
        .scavenge = FALLOW_SCAVENGE_ASSIST, /* programs that are not asked get no thread */
        .flags = FALLOW_ARENA_FIXED,
        .name = "jemalloc",
    };
    const fallow_status status = fallow_arena_create(&options, &arena);
    if (status != FALLOW_OK) {
        stop(fallow_status_message(status));
    }
    install_hooks();
}

/* FALLOW_JEMALLOC_STATS=FILE: a line for each process, at its end. Not on stderr, which may be what is looked at. */
__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("FALLOW_JEMALLOC_STATS");
    if (path == NULL) {
        return;
    }
    fallow_arena_stats stats;
    fallow_arena_read_stats(arena, &stats);
    const bool is_sound = fallow_arena_check(arena) == FALLOW_OK;
    const int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file >= 0) {
        dprintf(file,
                "%s: %zu KiB in use in %zu runs, %zu at most; %zu backed, %zu committed, %zu reserved; "
                "%llu commits, %llu purges; %s\n",
                program_invocation_short_name, stats.in_use_bytes >> 10, stats.run_count, stats.peak_in_use_bytes >> 10,
                stats.backed_bytes >> 10, stats.committed_bytes >> 10, stats.reserved_bytes >> 10,
                (unsigned long long)stats.commit_calls, (unsigned long long)stats.purge_calls,
                is_sound ? "sound" : "DAMAGED");
        close(file);
    }
}
