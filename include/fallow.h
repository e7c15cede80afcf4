/* fallow: much address space, little memory.
 *
 * A program that wants room to grow reserves a huge range of addresses, which costs nothing, and backs it with memory
 * page by page as it is used. fallow does this with one meaning on Linux and on Windows, in two layers that can be
 * used apart:
 *
 *   regions   the operating system, made the same: reserve, commit, decommit, purge, protect, guard, release
 *   arenas    runs of pages in a region: handed out lowest address first, taken back, and their memory returned to
 *             the system on the terms the program chose
 *
 *     #include <fallow.h>
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         fallow_arena *arena;
 *         fallow_arena_stats stats;
 *         void *run;
 *         if (fallow_arena_create(NULL, &arena) != FALLOW_OK) return 1;
 *         if (fallow_arena_alloc(arena, 1 << 20, &run) != FALLOW_OK) return 1;
 *         ((char *)run)[0] = 'f';
 *         fallow_arena_read_stats(arena, &stats);
 *         printf("%zu MiB usable, %zu KiB in use\n", stats.usable_bytes >> 20, stats.in_use_bytes >> 10);
 *         fallow_arena_free(arena, run, 1 << 20);
 *         fallow_arena_destroy(arena);
 *     }
 *
 * Words. A *page* here is an arena's unit of allocation, a power of two of at least the OS page. A *run* is a sequence
 * of whole pages handed out by one call. *Reserved* addresses belong to the program and fault when touched; *committed*
 * ones can be read and written; *backed* is what may hold memory. *Decommit* makes pages fault again, *purge* gives
 * their memory back and leaves them accessible.
 *
 * Errors. What the world can refuse returns a fallow_status; 0 is success. Results go through the `_out` parameters,
 * which are written only on success. A failed call leaves everything as it was, except where its comment says more.
 * fallow_last_failure() tells the cause. What only a bug of the caller can do (freeing twice, a foreign pointer, a
 * wrong size) stops the program with one line on stderr, in release builds too.
 *
 * Parameters. `arena` is always a live arena, and anything else stops the program or worse:
 *
 *   arena   a live arena
 *
 * Structs. Every options struct works as {0}, and each field says what 0 means. A pointer may be NULL only where its
 * line says "optional".
 *
 * Threads. Every arena function may be called from any thread at any time, except fallow_arena_destroy; from a signal
 * handler none may. Region functions may run at the same time on ranges that do not overlap. */
#ifndef FALLOW_H
#define FALLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version of this header. fallow_version() tells the version of the library that was loaded. */
#define FALLOW_VERSION_MAJOR 0
#define FALLOW_VERSION_MINOR 1
#define FALLOW_VERSION_PATCH 0
#define FALLOW_VERSION "0.1.0"

/* FALLOW_API marks what the library exports; it is built with hidden visibility. A build that needs another spelling
 * (a DLL) defines it beforehand. */
#ifndef FALLOW_API
#if defined(__ELF__)
#define FALLOW_API __attribute__((visibility("default")))
#else
#define FALLOW_API
#endif
#endif

/* The compiler warns where the result of such a call is dropped. */
#if defined(__cplusplus) && __cplusplus >= 201703L
#define FALLOW_NODISCARD [[nodiscard]]
#elif defined(__GNUC__) || defined(__clang__)
#define FALLOW_NODISCARD __attribute__((warn_unused_result))
#else
#define FALLOW_NODISCARD
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Where text goes that the library makes: a piece at a time, without a terminating zero.
 *
 *   context   as it was handed in
 *   text      the piece; gone after the call
 *   bytes     its length, at least 1
 *
 * Returns  false to stop: the call that writes then ends with FALLOW_ERR_LIMIT, and "writer" as the limit's name */
typedef bool (*fallow_writer)(void *context, const char *text, size_t bytes);

/* The library's version as text, for example "0.1.0".
 *
 * Returns  the text; never NULL, never freed
 * Since    0.1 */
FALLOW_API const char *fallow_version(void);

/* ---------------------------------------------------------------------------------------------------------------
 * Status: what the world refused, and why
 * ------------------------------------------------------------------------------------------------------------- */

/* What a call came to. */
typedef enum fallow_status {
    FALLOW_OK = 0,
    FALLOW_ERR_INVALID = -1,       /* an argument or option is out of its range; nothing was tried */
    FALLOW_ERR_ADDRESS_SPACE = -2, /* no room to reserve: RLIMIT_AS, the width of addresses, the place is taken */
    FALLOW_ERR_COMMIT = -3,        /* the system will not back it: overcommit, page file, RLIMIT_DATA */
    FALLOW_ERR_MAP_COUNT = -4,     /* the process has too many mappings: vm.max_map_count */
    FALLOW_ERR_LIMIT = -5,         /* the arena's own limit, or its commit callback, refused */
    FALLOW_ERR_EXHAUSTED = -6,     /* no free run that long, or the place asked for is not free */
    FALLOW_ERR_LOCKED = -7,        /* locked memory is in the way: mlock, mlockall, RLIMIT_MEMLOCK */
    FALLOW_ERR_PERMISSION = -8,    /* the system forbids it to this program */
    FALLOW_ERR_UNSUPPORTED = -9,   /* this system cannot do it */
    FALLOW_ERR_OS = -10            /* something else; fallow_last_failure() has the system's own code */
} fallow_status;

/* The constant's spelling, for example "FALLOW_ERR_COMMIT"; "unknown fallow_status" for a value that is none.
 *
 *   status   any value
 *
 * Returns  the text; never NULL, never freed
 * Threads  any thread
 * Since    0.1 */
FALLOW_API const char *fallow_status_name(fallow_status status);

/* One sentence that says what happened and what usually helps.
 *
 *   status   any value
 *
 * Returns  the text; never NULL, never freed
 * Since    0.1 */
FALLOW_API const char *fallow_status_message(fallow_status status);

/* What fallow_last_failure() tells. */
typedef struct fallow_failure {
    fallow_status status;   /* what the call returned */
    const char *operation;  /* the public function that failed, for example "fallow_region_commit" */
    int64_t os_code;        /* errno or GetLastError(); 0 where the system was not asked */
    const void *base;       /* the address concerned; NULL where there is none */
    size_t size_bytes;      /* the size concerned; 0 where there is none */
    const char *limit_name; /* the limit that was hit, for example "RLIMIT_AS"; NULL where none was found */
    uint64_t limit_value;   /* its value: bytes, or mappings for "vm.max_map_count"; for "before_commit" what it was
                               asked for */
} fallow_failure;

/* Tell about this thread's latest failed call. One ENOMEM has many causes: which one it was is looked up when the call
 * fails (resource limits, Committed_AS and CommitLimit, the number of mappings), and kept until the next failure.
 * Success does not clear it.
 *
 *   failure_out   filled in when the result is true
 *
 * Returns  false when no call of this thread has failed yet
 * Threads  each thread has its own
 * Since    0.1 */
FALLOW_API bool fallow_last_failure(fallow_failure *failure_out);

/* ---------------------------------------------------------------------------------------------------------------
 * Regions: the operating system, made the same
 *
 *   call             afterwards
 *   reserve          touching the range faults; it costs no memory and adds nothing to a core dump
 *   commit           readable and writable; new pages are zero, committed ones unchanged; all or nothing
 *   decommit         faults again; the memory and the commit charge are given back; committed again it reads zero
 *   purge DONTNEED   still committed, reads zero; the memory is given back now
 *   purge FREE       still committed; reads the old bytes or zero until written; the system takes the memory when it
 *                    needs it
 *
 * Offsets and sizes are bytes, multiples of the region's page_bytes, and are checked against the region before the
 * system is asked: a range that is not wholly inside it is FALLOW_ERR_INVALID. Size 0 is FALLOW_OK and never reaches
 * the system. docs/platforms.md tells, call by call, what each system really does.
 * ------------------------------------------------------------------------------------------------------------- */

/* A name's room in bytes, with its terminating zero. Linux shows at most 80 bytes, of which "fallow: " takes 8. */
#define FALLOW_NAME_BYTES 64

/* Flags of fallow_region_options. Where a system has no such idea the flag is accepted and has no effect. */
enum {
    FALLOW_REGION_EXACT = 1 << 0,        /* at `hint` or not at all; never over another mapping */
    FALLOW_REGION_LOW_4G = 1 << 1,       /* wholly below 4 GiB */
    FALLOW_REGION_NO_FORK = 1 << 2,      /* a forked child does not have it (MADV_DONTFORK) */
    FALLOW_REGION_WIPE_ON_FORK = 1 << 3, /* a forked child sees zeros (MADV_WIPEONFORK) */
    FALLOW_REGION_NO_DUMP = 1 << 4,      /* not in core dumps, committed pages neither (MADV_DONTDUMP) */
    FALLOW_REGION_HUGE_PAGES = 1 << 5,   /* huge pages are welcome (MADV_HUGEPAGE) */
    FALLOW_REGION_LARGE_PAGES = 1 << 6 /* explicit large pages (MAP_HUGETLB); falls back to ordinary ones: see flags */
};

/* A reservation. Its fields may be read, and are changed by fallow_region_reserve and fallow_region_release only. */
typedef struct fallow_region {
    void *base;                   /* lowest address; NULL when there is no reservation */
    size_t size_bytes;            /* reserved bytes from base on */
    size_t page_bytes;            /* what offsets and sizes are multiples of: the OS page, or the large page */
    uint32_t flags;               /* FALLOW_REGION_* in force; what the system refused has been taken out */
    char name[FALLOW_NAME_BYTES]; /* as given; "" when none */
} fallow_region;

/* What fallow_region_reserve may be asked for. */
typedef struct fallow_region_options {
    size_t align_bytes; /* base is a multiple of it; a power of two; 0 = the system's own alignment */
    void *hint;         /* where to try first; a multiple of the OS page; NULL = anywhere. The result may lie elsewhere
                           unless FALLOW_REGION_EXACT is set */
    size_t min_bytes;   /* 0 = all of size_bytes or nothing; else a refused size is halved as long as it is at least
                           this */
    const char *name;   /* optional; at most FALLOW_NAME_BYTES - 1 bytes; shown by the system where it can */
    uint32_t flags;     /* FALLOW_REGION_* */
} fallow_region_options;

/* What memory that is given back with fallow_region_purge or fallow_arena_trim reads as, and what it still costs. */
typedef enum fallow_purge {
    FALLOW_PURGE_DEFAULT = 0,  /* as FALLOW_MADVISE says, else DONTNEED */
    FALLOW_PURGE_DONTNEED = 1, /* given back now; still accessible, reads zero */
    FALLOW_PURGE_FREE = 2,     /* given back when the system wants it; still accessible, reads old bytes or zero */
    FALLOW_PURGE_DECOMMIT = 3 /* arenas only: given back now, with the commit charge; not accessible until used again */
} fallow_purge;

/* What may be done with committed pages. */
typedef enum fallow_protection {
    FALLOW_PROTECTION_NONE = 0,
    FALLOW_PROTECTION_READ = 1,
    FALLOW_PROTECTION_READ_WRITE = 2,
    FALLOW_PROTECTION_READ_EXECUTE = 3
} fallow_protection;

/* Reserve a range of addresses.
 *
 *   size_bytes   bytes, not 0; rounded up to a whole number of pages
 *   options      optional; NULL is the same as {0}
 *   region_out   the reservation; its size_bytes is what was obtained
 *
 * Errors   FALLOW_ERR_INVALID        size 0 or too large to round, alignment no power of two, unaligned hint, EXACT
 *                                    without a hint, name too long, min_bytes above size_bytes, unknown flag
 *          FALLOW_ERR_ADDRESS_SPACE  RLIMIT_AS, no gap so large, the exact place is taken
 *          FALLOW_ERR_LOCKED         mlockall(MCL_FUTURE) and RLIMIT_MEMLOCK
 *          FALLOW_ERR_MAP_COUNT      vm.max_map_count
 *          FALLOW_ERR_COMMIT         Windows: not even the page tables of the reservation can be backed
 *          FALLOW_ERR_PERMISSION, FALLOW_ERR_OS
 * Cost     one system call, one more for each attribute (name, fork, dump, huge pages); an aligned reservation takes
 *          three, up to five with a hint. Nothing per byte, except under Wine and qemu.
 * Source   mmap(2), PROT_NONE and MAP_NORESERVE; Microsoft Learn, VirtualAlloc, MEM_RESERVE, and VirtualAlloc2
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_region_reserve(size_t size_bytes, const fallow_region_options *options,
                                                                fallow_region *region_out);

/* Give the whole reservation back; its addresses may be anyone's afterwards. The struct becomes {0}; releasing such a
 * struct does nothing.
 *
 *   region   a live reservation, or {0}
 *
 * At vm.max_map_count Linux does not take addresses back out of the middle of a mapping, into which it may have made
 * neighbouring reservations. Their memory is given back then, they are nobody's, and the release is tried again with
 * later reservations and releases, of arenas too: fallow_process.unreleased_bytes.
 *
 * Errors   FALLOW_ERR_MAP_COUNT  as above, with 512 reservations that wait already: the region is as it was
 *          FALLOW_ERR_ADDRESS_SPACE, FALLOW_ERR_PERMISSION, FALLOW_ERR_OS   the system refused; likewise
 * Cost     one system call, and the time to give its memory back; up to four more where reservations wait
 * Source   munmap(2); Microsoft Learn, VirtualFree, MEM_RELEASE
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_region_release(fallow_region *region);

/* Make pages of a region readable and writable.
 *
 *   region        a live reservation
 *   offset_bytes  where the range starts in the region; a multiple of its page_bytes
 *   size_bytes    bytes, a multiple of its page_bytes; 0 does nothing
 *
 * After success newly committed pages read as zero; already committed pages keep their contents, so committing
 * twice is fine. After failure no page has changed; except that where the range was partly committed (or an earlier
 * decommit in it was refused) Linux may have committed more of it. Committing or decommitting it again is safe.
 *
 * Success is a promise on Windows and in Linux' overcommit mode 2. In modes 0 and 1, and in a container, memory may
 * still be short when the pages are touched; the system ends a program then.
 *
 * Errors   FALLOW_ERR_INVALID    the range is not wholly inside the region, or not of whole pages
 *          FALLOW_ERR_COMMIT     the system will not back it: page file, overcommit, RLIMIT_DATA
 *          FALLOW_ERR_MAP_COUNT  vm.max_map_count; docs/platforms.md explains
 *          FALLOW_ERR_LOCKED, FALLOW_ERR_PERMISSION, FALLOW_ERR_OS
 * Threads  any thread, on ranges that do not overlap
 * Cost     one system call; the first touch of each page faults once
 * Source   mprotect(2) and (3p), ENOMEM; Microsoft Learn, VirtualAlloc, MEM_COMMIT
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_region_commit(const fallow_region *region, size_t offset_bytes,
                                                               size_t size_bytes);

/* Make pages of a region fault again, and give back their memory and their commit charge. Parameters as for
 * fallow_region_commit; pages that were not committed are fine.
 *
 * After success the pages fault until committed again, and then read zero. After failure the contents of the range may
 * be gone and its memory given back, while some of it is still accessible or still charged: it may be called again,
 * and whatever is committed again reads zero or has its old contents.
 *
 * Errors   FALLOW_ERR_INVALID       as for fallow_region_commit
 *          FALLOW_ERR_MAP_COUNT     a hole here would need one more mapping than vm.max_map_count allows
 *          FALLOW_ERR_ADDRESS_SPACE RLIMIT_AS was lowered below what is in use
 *          FALLOW_ERR_LOCKED        mlockall(MCL_FUTURE) and RLIMIT_MEMLOCK
 *          FALLOW_ERR_PERMISSION, FALLOW_ERR_OS
 * Cost     one system call, one more for each attribute of the region; the time to give the memory back
 * Source   mmap(2), MAP_FIXED over the range; Microsoft Learn, VirtualFree, MEM_DECOMMIT
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_region_decommit(const fallow_region *region, size_t offset_bytes,
                                                                 size_t size_bytes);

/* Give the memory of committed pages back and leave them accessible. Parameters as for fallow_region_commit; the whole
 * range must be committed.
 *
 *   purge   DONTNEED: the pages read zero. FREE: they read their old bytes or zero, each page for itself, until it is
 *           written; the memory goes when the system needs it. DEFAULT: one of these two; what FALLOW_MADVISE says.
 *
 * Errors   FALLOW_ERR_INVALID  as for fallow_region_commit; DECOMMIT, which is fallow_region_decommit
 *          FALLOW_ERR_COMMIT   the pages had to be decommitted for DONTNEED, could not be committed again, and are
 *                              reserved now: Windows; Linux where it refuses every other way
 *          FALLOW_ERR_LOCKED, FALLOW_ERR_OS
 * Cost     one system call and the time to give the memory back
 * Source   madvise(2), MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_FREE; Microsoft Learn, VirtualAlloc, MEM_RESET
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_region_purge(const fallow_region *region, size_t offset_bytes,
                                                              size_t size_bytes, fallow_purge purge);

/* Change what may be done with committed pages; their contents stay. Parameters as for fallow_region_commit; the whole
 * range must be committed. Committing such pages again makes them readable and writable again.
 *
 *   protection   FALLOW_PROTECTION_*
 *
 * Errors   FALLOW_ERR_INVALID     as for fallow_region_commit; a protection that is none; Windows: not committed
 *          FALLOW_ERR_MAP_COUNT   vm.max_map_count
 *          FALLOW_ERR_PERMISSION  executable memory is forbidden here, or the range is sealed
 *          FALLOW_ERR_COMMIT, FALLOW_ERR_OS
 * Cost     one system call
 * Source   mprotect(2); Microsoft Learn, VirtualProtect
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_region_protect(const fallow_region *region, size_t offset_bytes,
                                                                size_t size_bytes, fallow_protection protection);

/* Make the memory of committed pages resident now, so that touching them later does not fault. Contents stay.
 * Parameters as for fallow_region_commit; the whole range must be committed and writable.
 *
 * Errors   FALLOW_ERR_INVALID  as for fallow_region_commit; some of it is not writable, or guarded
 *          FALLOW_ERR_COMMIT, FALLOW_ERR_OS
 * Cost     about a microsecond for each 4 KiB; in a container with a memory limit it may end the program, as touching
 *          the pages would
 * Source   madvise(2), MADV_POPULATE_WRITE; where it is absent, and on Windows, each page is touched
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_region_prefault(const fallow_region *region, size_t offset_bytes,
                                                                 size_t size_bytes);

/* Make committed pages fault as guards; their contents are dropped. Parameters as for fallow_region_commit; the whole
 * range must be committed. Until fallow_region_unguard, only that, decommit and release may be called on the range.
 *
 * Errors   FALLOW_ERR_INVALID    as for fallow_region_commit
 *          FALLOW_ERR_MAP_COUNT  where guards cost mappings: vm.max_map_count
 *          FALLOW_ERR_ADDRESS_SPACE, FALLOW_ERR_LOCKED, FALLOW_ERR_PERMISSION, FALLOW_ERR_OS
 * Cost     one system call. Linux 6.13 and later: no mapping, however many guards there are; elsewhere as decommit
 * Source   madvise(2), MADV_GUARD_INSTALL, used where a probe has shown that it guards; else as decommit
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_region_guard(const fallow_region *region, size_t offset_bytes,
                                                              size_t size_bytes);

/* Make guarded pages readable and writable again; they read zero. Parameters and errors as for fallow_region_guard, and
 * FALLOW_ERR_COMMIT where the system will not back them.
 *
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_region_unguard(const fallow_region *region, size_t offset_bytes,
                                                                size_t size_bytes);

/* Tell how much of a range is in memory now. Parameters as for fallow_region_commit; pages may be committed or not.
 *
 *   resident_bytes_out   bytes; a lower or higher figure a moment later is normal. Linux counts pages that were only
 *                        read, and pages purged with FREE that the system has not taken yet
 *
 * Errors   FALLOW_ERR_INVALID, FALLOW_ERR_OS
 * Cost     one system call for each 16 MiB (Linux) or 4 MiB (Windows)
 * Source   mincore(2); Microsoft Learn, QueryWorkingSetEx
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_region_resident(const fallow_region *region, size_t offset_bytes,
                                                                 size_t size_bytes, size_t *resident_bytes_out);

/* ---------------------------------------------------------------------------------------------------------------
 * Arenas: runs of pages
 *
 * An arena reserves addresses once and hands out runs of whole pages from them, the lowest address at which the run
 * fits. Pages are committed as they are first used, in steps of grow_bytes. Freed pages keep their memory until it is
 * given back with fallow_arena_trim, in the arena's purge mode. When the reservation is full, or the address space was
 * too small for it, the arena adds further reservations; runs come from the oldest one in which they fit.
 *
 * Each thread that uses an arena keeps some of the runs it has freed, and takes them again without a lock: the arena's
 * thread caches. A kept run is not free for others, so with caches a run lies at the lowest address that no thread
 * keeps; FALLOW_CACHE_NONE makes it the lowest of all. What threads keep is taken back before the arena refuses for
 * lack of room or because of its limit, when it has grown by an eighth of what other threads keep (8 MiB or more), by
 * fallow_arena_trim and fallow_arena_flush_thread, when a thread ends, and when it is more than thread_cache_bytes.
 * (Taking it from other threads needs membarrier(2) or FlushProcessWriteBuffers; where there is none they keep it until
 * they flush, end or reach that bound.)
 *
 * All bookkeeping lives in the arena's own reservation, apart from the pages: at most 0.01 % of it, committed as it is
 * used, and a few KiB; a thread's cache in a reservation of its own of up to 320 KiB. Nothing is stored in free pages.
 * The cost of alloc, free and extend grows with the logarithm of the arena's size, not with the length of the run,
 * apart from what the system does for the memory itself. More is looked at where alignment passes over holes that are
 * long enough, and for NO_GROW, limit_bytes and before_commit, which ask what the pages of a place are.
 * ------------------------------------------------------------------------------------------------------------- */

/* An arena: made by fallow_arena_create, gone with fallow_arena_destroy. It lies in its own reservation. */
typedef struct fallow_arena fallow_arena;

/* A run of pages, as fallow_arena_alloc_run and fallow_arena_run_of tell it. */
typedef struct fallow_run {
    void *base;        /* its lowest address; a multiple of the arena's page */
    size_t size_bytes; /* a whole number of the arena's pages: what was asked for, rounded up */
    bool is_zero;      /* every byte of it is known to be zero; exact: true means zero. run_of always says false */
} fallow_run;

/* Flags of fallow_run_options. */
enum {
    FALLOW_RUN_ZEROED = 1 << 0,      /* is_zero will be true */
    FALLOW_RUN_UNCOMMITTED = 1 << 1, /* addresses only: the run faults until fallow_arena_commit. Its bookkeeping is
                                        committed, 0.005 % of it, so that splitting and shrinking it cannot fail */
    FALLOW_RUN_TOP_DOWN = 1 << 2,    /* the highest address at which it fits, in the oldest reservation where it does */
    FALLOW_RUN_NO_CACHE = 1 << 3,    /* not out of a thread's cache: the lowest free address */
    FALLOW_RUN_NO_GROW = 1 << 4      /* only from memory that is committed already; else FALLOW_ERR_EXHAUSTED */
};

/* What fallow_arena_alloc_run may be asked for. */
typedef struct fallow_run_options {
    size_t align_bytes; /* base is a multiple of it; a power of two; 0 = the arena's page */
    uint32_t flags;     /* FALLOW_RUN_* */
    void *at;           /* exactly here, or FALLOW_ERR_EXHAUSTED; a multiple of the arena's page; NULL = anywhere */
} fallow_run_options;

/* Values of fallow_arena_options.thread_cache_bytes. */
#define FALLOW_CACHE_NONE SIZE_MAX /* no thread caches: strict lowest-address placement */

/* When the memory of free pages goes back without being asked for. Never more than 1 % of the time of one CPU. */
typedef enum fallow_scavenge {
    FALLOW_SCAVENGE_DEFAULT = 0,
    FALLOW_SCAVENGE_OFF = 1, /* never: in fallow_arena_trim and fallow_arena_scavenge only */
    FALLOW_SCAVENGE_ASSIST =
        2,                     /* now and then a call that frees or grows gives 2 MiB back; an idle program keeps all */
    FALLOW_SCAVENGE_THREAD = 3 /* a thread of the library does, for all arenas that want it: started when there is first
                                   something to give back, asleep while there is nothing, gone with the last such arena.
                                   after_decommit is called from it. Where it cannot be started, as ASSIST */
} fallow_scavenge;

/* Flags of fallow_arena_options. */
enum {
    FALLOW_ARENA_FIXED = 1 << 0,       /* never a second reservation */
    FALLOW_ARENA_HUGE_PAGES = 1 << 1,  /* as FALLOW_REGION_HUGE_PAGES, on all of the arena; it grows in whole huge pages
                                          of 2 MiB, places runs of that size and more on their boundaries where there
                                          is room, and gives back whole ones, unless asked for more. One touch may take
                                          a huge page of memory: limit_bytes counts pages of the arena */
    FALLOW_ARENA_LARGE_PAGES = 1 << 2, /* the first reservation in explicit large pages, all committed at once and
                                          for good: see fallow_arena_create */
    FALLOW_ARENA_NO_FORK = 1 << 3,     /* as FALLOW_REGION_NO_FORK: a child must not touch the arena */
    FALLOW_ARENA_NO_DUMP = 1 << 4      /* as FALLOW_REGION_NO_DUMP */
};

/* What fallow_arena_create may be asked for. {0} is a good arena. */
typedef struct fallow_arena_options {
    size_t reserve_bytes;      /* what runs can use; bookkeeping is reserved beside it. 0 = FALLOW_RESERVE, else 64 GiB,
                                  256 MiB on 32-bit systems, less where reserving costs (Wine, qemu) or RLIMIT_AS is
                                  near. Rounded up to whole pages */
    size_t min_reserve_bytes;  /* the least to start with when the system refuses reserve_bytes, which is halved down to
                                  it. 0 = whatever can be had, from 64 KiB up; reserve_bytes itself when that is given
                                  and FIXED set */
    size_t page_bytes;         /* a power of two from the OS page to 2 MiB; 0 = 8 KiB or the OS page if larger */
    size_t grow_bytes;         /* commit at least this much at a time where it is free; 0 = 2 MiB */
    size_t limit_bytes;        /* most bytes that may be backed (see fallow_arena_stats); 0 = FALLOW_LIMIT, else none */
    size_t thread_cache_bytes; /* what each thread may keep of the runs it frees; 0 = 64 MiB, at most a 64th of what
                                  runs can use and of limit_bytes; less than 256 KiB, and FALLOW_CACHE_NONE, = nothing.
                                  What several threads drop is kept for all of them, up to a quarter of this. 0 is
                                  nothing in a library compiled with AddressSanitizer: what is kept is not watched */
    unsigned retain_percent; /* free memory that is kept, in percent of the peak of what is in use; 1 to 1000, 0 = 10 */
    unsigned purge_delay_ms; /* the peak is that of the last one to two of these times: memory freed for good goes
                                  back after them; 0 = 500 */
    fallow_purge purge;      /* how free memory is given back; DEFAULT = FALLOW_MADVISE, else DONTNEED */
    fallow_scavenge scavenge; /* when; DEFAULT = FALLOW_SCAVENGE, else ASSIST */
    const char *name;         /* optional; at most FALLOW_NAME_BYTES - 1 bytes */
    uint32_t flags;           /* FALLOW_ARENA_* */

    /* Called before the arena commits memory, its bookkeeping included; false refuses, and the call that needed the
     * memory fails with FALLOW_ERR_LIMIT. Optional. No lock is held, and other threads go on meanwhile; but whoever
     * needs memory or gives it back waits until it returns. So it may call what only looks (owns, run_of, read_stats,
     * check), and nothing else of this arena. */
    bool (*before_commit)(void *callback_context, void *base, size_t size_bytes);
    /* Called after memory is no longer committed: after a decommit, after a commit that was granted but failed, and for
     * the rest at destroy, so that what was granted and what was taken back add up. Optional; same rule, and at destroy
     * nothing at all of this arena. */
    void (*after_decommit)(void *callback_context, void *base, size_t size_bytes);
    void *callback_context; /* handed to both */
} fallow_arena_options;

/* Create an arena.
 *
 *   options     optional; NULL is the same as {0}
 *   arena_out   the arena; destroyed with fallow_arena_destroy
 *
 * FALLOW_ARENA_LARGE_PAGES: all of reserve_bytes is taken from the system's large pages, at once and until the arena is
 * destroyed; so it should be what will be used, and not more than limit_bytes. Nothing of it is given back: trim passes
 * over it, decommit and runs of addresses only are FALLOW_ERR_UNSUPPORTED. Linux: the pool of vm.nr_hugepages; a child
 * of a fork that writes needs as much again (NO_FORK helps). Windows: the program must have enabled
 * SeLockMemoryPrivilege.
 * Where they cannot be had, ordinary pages are used, and large_pages_status of the stats tells why:
 * FALLOW_ERR_UNSUPPORTED there are none, _COMMIT not so many, _PERMISSION the privilege, _LIMIT the limit or
 * before_commit. Further reservations are of ordinary pages.
 *
 * Errors   FALLOW_ERR_INVALID        an option out of its range
 *          FALLOW_ERR_LIMIT          limit_bytes is less than the bookkeeping needs, or before_commit refused
 *          FALLOW_ERR_ADDRESS_SPACE, FALLOW_ERR_COMMIT, FALLOW_ERR_MAP_COUNT, FALLOW_ERR_LOCKED, FALLOW_ERR_PERMISSION,
 *          FALLOW_ERR_OS
 * Threads  any thread
 * Cost     a few system calls; microseconds and a few KiB of memory, whatever its size
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_arena_create(const fallow_arena_options *options,
                                                              fallow_arena **arena_out);

/* Destroy an arena with all its runs. NULL does nothing. No other call on the arena may be under way or come later.
 *
 * Since    0.1 */
FALLOW_API void fallow_arena_destroy(fallow_arena *arena);

/* Take a run of pages: the lowest address at which it fits.
 *
 *   size_bytes   bytes, not 0; rounded up to whole pages of the arena
 *   base_out     the run; readable and writable. Its contents are unspecified: fallow_arena_alloc_run tells or clears
 *
 * Where the system refuses to back that place, smaller steps are tried, then a place that is backed already. Near
 * limit_bytes the memory of free pages is given back first, whether or not that is enough.
 *
 * Errors   FALLOW_ERR_INVALID        size 0, or too large to round
 *          FALLOW_ERR_LIMIT          limit_bytes, or before_commit
 *          FALLOW_ERR_EXHAUSTED      no free run that long, and the arena may not reserve more (FIXED)
 *          FALLOW_ERR_ADDRESS_SPACE  it would have to reserve more, and the system refused
 *          FALLOW_ERR_COMMIT, FALLOW_ERR_MAP_COUNT, FALLOW_ERR_LOCKED, FALLOW_ERR_OS
 * Threads  any thread
 * Cost     tens of nanoseconds when the pages are committed; else one system call for each grow_bytes
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_arena_alloc(fallow_arena *arena, size_t size_bytes, void **base_out);

/* Take a run of pages with options: alignment, zeroed, addresses only, at the top, at an exact place.
 *
 *   size_bytes   as for fallow_arena_alloc
 *   options      optional; NULL is the same as {0}
 *   run_out      the run; is_zero tells whether every byte is known to be zero
 *
 * Errors   as fallow_arena_alloc; FALLOW_ERR_INVALID also for an alignment that is no power of two, an unaligned `at`,
 *          an unknown flag, UNCOMMITTED together with ZEROED or NO_GROW. An `at` outside the arena is
 *          FALLOW_ERR_EXHAUSTED
 * Threads  any thread
 * Cost     as fallow_arena_alloc; ZEROED writes the pages that are not known to be zero
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_arena_alloc_run(fallow_arena *arena, size_t size_bytes,
                                                                 const fallow_run_options *options,
                                                                 fallow_run *run_out);

/* Give a run back.
 *
 *   base         the run's base; NULL does nothing
 *   size_bytes   its size: what was asked for, or the same rounded up to whole pages
 *
 * A base that is not that of a live run of this arena, or a size that is not its size, stops the program. One thing is
 * not noticed where threads keep runs: that a run is freed again which a thread keeps, unless this thread freed it as
 * the last one of its size. FALLOW_DEBUG=check notices that, too.
 *
 * Threads  any thread, whichever took the run
 * Cost     tens of nanoseconds; no system call
 * Since    0.1 */
FALLOW_API void fallow_arena_free(fallow_arena *arena, void *base, size_t size_bytes);

/* Give many runs back at once, past the thread's cache: the arena is locked once.
 *
 *   runs    each as for fallow_arena_free; one with base NULL is passed over
 *   count   how many
 *
 * Threads  any thread
 * Cost     as fallow_arena_free for each, without its lock
 * Since    0.1 */
FALLOW_API void fallow_arena_free_many(fallow_arena *arena, const fallow_run *runs, size_t count);

/* Make a run longer where it is.
 *
 *   base        the run's base; anything but a live run's base stops the program
 *   old_bytes   its size; a wrong one stops the program
 *   new_bytes   the size to have; not less than old_bytes
 *
 * The new pages are committed if the run's last page is; their contents are unspecified.
 *
 * Errors   FALLOW_ERR_INVALID    new_bytes is less than old_bytes, or too large to round
 *          FALLOW_ERR_EXHAUSTED  the pages behind it are not free
 *          FALLOW_ERR_LIMIT, FALLOW_ERR_COMMIT, FALLOW_ERR_MAP_COUNT, FALLOW_ERR_LOCKED, FALLOW_ERR_OS
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_arena_extend(fallow_arena *arena, void *base, size_t old_bytes,
                                                              size_t new_bytes);

/* Give back the end of a run. The first new_bytes, rounded up to whole pages, stay.
 *
 *   base, old_bytes   as for fallow_arena_extend
 *   new_bytes         not 0, not more than old_bytes; anything else stops the program
 *
 * Since    0.1 */
FALLOW_API void fallow_arena_shrink(fallow_arena *arena, void *base, size_t old_bytes, size_t new_bytes);

/* Make one run into two, which are freed each for itself. No page moves or changes.
 *
 *   base          the run's base; anything but a live run's base stops the program
 *   size_bytes    the run's size; a wrong one stops the program
 *   first_bytes   where the second run starts: a multiple of the arena's page, not 0, less than size_bytes; anything
 *                 else stops the program
 *
 * Since    0.1 */
FALLOW_API void fallow_arena_split(fallow_arena *arena, void *base, size_t size_bytes, size_t first_bytes);

/* Commit pages of a live run that was taken with FALLOW_RUN_UNCOMMITTED: they become readable and writable. Pages that
 * are committed already keep their contents; new ones read zero.
 *
 *   base         a multiple of the arena's page, inside a live run; else the program is stopped
 *   size_bytes   bytes; rounded up to whole pages; the range must end inside the same run, else the program is stopped;
 *                0 does nothing
 *
 * Errors   FALLOW_ERR_LIMIT, FALLOW_ERR_COMMIT, FALLOW_ERR_MAP_COUNT, FALLOW_ERR_LOCKED, FALLOW_ERR_OS: nothing changed
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_arena_commit(fallow_arena *arena, void *base, size_t size_bytes);

/* Make pages of a live run fault again and give back their memory and commit charge. Parameters as for
 * fallow_arena_commit.
 *
 * Errors   those of fallow_region_decommit: the contents may be gone; pages still accessible count as committed
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_arena_decommit(fallow_arena *arena, void *base, size_t size_bytes);

/* Tell whether an address lies where the arena's runs lie, in a live run or not.
 *
 *   address   any address
 *
 * Returns  true if it does
 * Since    0.1 */
FALLOW_API bool fallow_arena_owns(const fallow_arena *arena, const void *address);

/* Find the live run that holds an address; interior addresses too. A run that a thread keeps after it was freed is
 * found as well.
 *
 *   address   any address
 *   run_out   its base and size; is_zero is false
 *
 * Errors   FALLOW_ERR_INVALID  the address is not in a live run of this arena
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_arena_run_of(fallow_arena *arena, const void *address,
                                                              fallow_run *run_out);

/* Give memory of free pages back to the system, highest addresses first, in the arena's purge mode.
 *
 *   keep_bytes           stop when free pages hold no more than this; 0 = give back all
 *   released_bytes_out   optional; the bytes given back by this call. Pages already purged with FREE are not counted
 *
 * Errors   what the system refused; what was given back before stays given back, and is told in released_bytes_out
 * Cost     a system call for each free piece of up to 16 MiB, or for 16 small ones where the system has a call for
 *          several; and the time to give the memory back. Other threads go on meanwhile; one that needs new memory
 *          waits for the end of a piece
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_arena_trim(fallow_arena *arena, size_t keep_bytes,
                                                            size_t *released_bytes_out);

/* Give what this thread keeps of an arena's runs back to the arena: for a thread that will not use it for a while.
 *
 * Since    0.1 */
FALLOW_API void fallow_arena_flush_thread(fallow_arena *arena);

/* Give memory of free pages back for a while, in the arena's purge mode: what is held above retain_percent of what is
 * in use now, whole 2 MiB from the highest address down first, then smaller pieces. For a program with a loop of its
 * own, which calls this when it has time.
 *
 *   budget_ns            stop after the piece with which this is used up; a piece has up to 2 MiB, 0 = one
 *   released_bytes_out   optional; the bytes given back by this call
 *
 * Neither purge_delay_ms nor the pace of the scavenger is heeded: the program knows better. The next call goes on where
 * this one has stopped.
 *
 * Errors   what the system refused; what was given back before stays given back, and is told in released_bytes_out
 * Cost     budget_ns and up to 0.1 ms. Other threads go on meanwhile
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_arena_scavenge(fallow_arena *arena, uint64_t budget_ns,
                                                                size_t *released_bytes_out);

/* Have an arena trimmed whenever the system says that memory is short. It gives back all that fallow_arena_trim would,
 * in its purge mode, at most once a second; stats count it (pressure_trims). Asking twice is fine. It ends with the
 * arena; in the child of a fork it has to be asked for again.
 *
 * A thread of the library waits for the word of the system: one for all arenas, gone with the last that watches.
 * after_decommit is called from it.
 *
 *   Linux     pressure stall information of the machine and of the process' own control group (version 2): work has
 *             stood still for want of memory for 150 ms within 2 s; and memory.events of that group, when it has met
 *             its limit
 *   Windows   the low-memory notification
 *
 * Errors   FALLOW_ERR_UNSUPPORTED  the system does not tell, or not this program: no PSI (CONFIG_PSI, psi=0), or a
 *                                  container that hides it
 *          FALLOW_ERR_ADDRESS_SPACE, FALLOW_ERR_COMMIT, FALLOW_ERR_OS   the thread cannot be started, or there are too
 *                                  many open files
 * Threads  any thread
 * Cost     some system calls for the first arena; nothing while memory is not short
 * Source   Linux Documentation/accounting/psi.rst, "Monitoring for pressure thresholds"; Microsoft Learn,
 *          CreateMemoryResourceNotification
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_pressure_watch(fallow_arena *arena);

/* Why an arena keeps the memory of free pages at this moment: the first of these that holds. */
typedef enum fallow_retained {
    FALLOW_RETAINED_NOTHING = 0, /* it keeps none */
    FALLOW_RETAINED_GOAL = 1,    /* not more than retain_percent of what is in use */
    FALLOW_RETAINED_OFF = 2,     /* FALLOW_SCAVENGE_OFF: it waits for fallow_arena_trim or fallow_arena_scavenge */
    FALLOW_RETAINED_DELAY = 3,   /* it was in use a moment ago: purge_delay_ms */
    FALLOW_RETAINED_PACE = 4,    /* giving it back has cost its share of time for now */
    FALLOW_RETAINED_DENSE = 5,   /* it lies among pages in use, and is spared for once; with HUGE_PAGES, as long as its
                                    huge page is in use */
    FALLOW_RETAINED_DUE = 6,     /* it will go with the next step */
    FALLOW_RETAINED_LARGE_PAGES = 7 /* it lies in large pages, which are never given back */
} fallow_retained;

/* What was given back in one way, since the arena was created. */
typedef struct fallow_given_back {
    uint64_t calls; /* of the system */
    uint64_t bytes; /* that those calls gave back */
} fallow_given_back;

/* Where an arena's bytes are. All counted by page state; at every moment
 *
 *   backed    = in_use + cached + retained + released_lazy + metadata    what may hold memory; what limit_bytes bounds
 *   committed = backed + released_zero                                     what can be accessed
 *   reserved  = committed + the rest, which faults when touched */
typedef struct fallow_arena_stats {
    size_t reserved_bytes;      /* all reservations of the arena, bookkeeping included */
    size_t committed_bytes;     /* readable and writable */
    size_t backed_bytes;        /* may hold memory */
    size_t in_use_bytes;        /* committed pages of live runs */
    size_t cached_bytes;        /* runs kept in thread caches: freed, and still backed */
    size_t retained_bytes;      /* free pages that still hold memory */
    size_t released_lazy_bytes; /* free pages purged with FREE: memory the system may take at any time */
    size_t released_zero_bytes; /* free pages without memory that are still accessible: purged, or committed ahead */
    size_t metadata_bytes;      /* bookkeeping, committed */
    size_t uncommitted_bytes;   /* pages of live runs that are addresses only */
    size_t usable_bytes;        /* what runs could use in all: reserve_bytes, or what could be had of it */
    size_t peak_in_use_bytes;   /* the highest in_use_bytes + cached_bytes so far */
    size_t extent_bytes;        /* from the lowest to the end of the highest page in use, summed over reservations */
    size_t page_bytes;          /* the arena's page */
    size_t run_count;           /* live runs */
    size_t region_count;        /* reservations */
    uint64_t commit_calls;      /* how often the system was asked to commit */
    uint64_t purge_calls;       /* how often it was asked to purge or decommit */
    fallow_purge purge;         /* the mode in force: never DEFAULT */
    fallow_scavenge scavenge;   /* likewise */
    size_t limit_bytes;         /* in force; 0 = none */
    size_t map_count;           /* mappings that the arena is made of, about */
    uint64_t avoided_decommits; /* done as DONTNEED, so that map_count stays far from what a process may have */
    uint64_t pressure_trims;    /* how often it was trimmed because memory was short: fallow_pressure_watch */
    uint64_t os_ns;             /* time spent in commit and purge calls */

    fallow_given_back by_dontneed;    /* what purge_calls have given back, by how it was done: */
    fallow_given_back by_free;        /* lazily; in force when the system takes it */
    fallow_given_back by_decommit;    /* with the commit charge */
    size_t large_bytes;               /* of reserved_bytes, what is in large pages */
    fallow_status large_pages_status; /* why LARGE_PAGES was not followed; FALLOW_OK: it was, or it was not given */
    fallow_retained why_retained;     /* what retained_bytes wait for */
} fallow_arena_stats;

/* Read the figures of one moment.
 *
 *   stats_out   the figures
 *
 * Cost     one pass over the reservations; extent_bytes looks for the highest page in use
 * Since    0.1 */
FALLOW_API void fallow_arena_read_stats(fallow_arena *arena, fallow_arena_stats *stats_out);

/* Formats of fallow_stats_write. */
typedef enum fallow_stats_format {
    FALLOW_STATS_TEXT = 0, /* for a person: each figure with what it means */
    FALLOW_STATS_JSON = 1, /* an object; for all arenas an array of them; the keys are fallow_arena_stats' fields */
    FALLOW_STATS_PROMETHEUS = 2 /* Prometheus' text format, version 0.0.4, with the labels arena (its name) and id */
} fallow_stats_format;

/* Write down the figures of an arena, or of all arenas of this process.
 *
 *   arena    optional; NULL = every arena, oldest first, of the first 256 that live at the same time
 *   format   FALLOW_STATS_*
 *   write    gets the text; no lock is held when it is called
 *   context  handed to it
 *
 * The figures of one arena are those of one moment; with NULL and PROMETHEUS, which groups by figure, each figure is
 * read by itself. An arena's id is 1 for the first one that the program created, and is never used again.
 *
 * Errors   FALLOW_ERR_INVALID  a format that is none
 *          FALLOW_ERR_LIMIT    write returned false
 * Threads  any thread
 * Cost     as fallow_arena_read_stats, for each arena, and with PROMETHEUS for each figure; nothing is allocated
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_stats_write(fallow_arena *arena, fallow_stats_format format,
                                                             fallow_writer write, void *context);

/* Formats of fallow_arena_write_map. */
typedef enum fallow_map_format {
    FALLOW_MAP_ANSI = 0, /* letters with colours, for a terminal of 100 columns */
    FALLOW_MAP_SVG = 1,  /* a drawing: one element svg, with its width and height in pixels, and no XML declaration */
    FALLOW_MAP_HTML = 2  /* a page with that drawing, which shows the run that the mouse points at; it loads nothing */
} fallow_map_format;

/* Flags of fallow_map_options. */
enum {
    FALLOW_MAP_PLAIN = 1 << 0 /* ANSI: letters only */
};

/* How large a picture may be, and how it looks. */
typedef struct fallow_map_options {
    unsigned columns; /* cells in a row, 16 to 128; 0 = 64 */
    unsigned rows;    /* the most rows that are drawn, 4 to 1024; 0 = 24, or 64 in SVG and HTML */
    uint32_t flags;   /* FALLOW_MAP_* */
} fallow_map_options;

/* Draw an arena: which of its pages are in use, cached, retained, lazily freed, released, or only reserved, and what
 * its bookkeeping takes.
 *
 *   format   FALLOW_MAP_*
 *   options  optional; NULL is the same as {0}
 *   write    gets the text; no lock is held when it is called
 *   context  handed to it
 *
 * A cell is one page where that fits, else a power of two of pages. Rows that are one and the same from end to end are
 * folded into a band that tells how much it stands for: those that are addresses only; the others too where a cell
 * would otherwise be more than 2 MiB. So the output is bounded: less than 1 KiB for each cell, however large the arena
 * is.
 *
 * Of an arena that nobody works on meanwhile the picture is exact, and its figures are those of
 * fallow_arena_read_stats. Otherwise up to 128 ranges at a time are of one moment; each page is drawn once, as
 * something that it was during the call. What other threads keep is drawn as in use where they cannot be stopped (no
 * membarrier).
 *
 * Errors   FALLOW_ERR_INVALID  a format that is none, an option out of its range, an unknown flag
 *          FALLOW_ERR_LIMIT    write returned false
 * Threads  any thread
 * Cost     two passes over the ranges of pages in one state, and over what threads keep for every 128 of them; the
 *          arena is locked for no more than that at a time. 40 KiB of stack; nothing is allocated
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_arena_write_map(fallow_arena *arena, fallow_map_format format,
                                                                 const fallow_map_options *options, fallow_writer write,
                                                                 void *context);

/* Have arenas looked after around forks from now on. The first fallow_arena_create does the same; this is for programs
 * and allocators that have handlers of their own (pthread_atfork).
 *
 * Before a fork fallow waits until no call in an arena is half done, and holds its locks; the parent and the child let
 * go of them. Handlers that were registered later are called earlier before a fork, and later after it. So those that
 * are registered after this call may use arenas, and take locks under which arenas are used; those that were registered
 * before it may not: they would wait for ever.
 *
 * Errors   FALLOW_ERR_OS  the system has no memory for the handlers: children must leave this program's arenas alone
 * Threads  any thread; once is enough
 * Cost     some memory from malloc, where the C library needs it for handlers
 * Source   pthread_atfork(3). Windows has no fork: nothing is done, and the result is FALLOW_OK
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_fork_register(void);

/* Walk all bookkeeping and compare it with itself: summaries with bitmaps, counters with states.
 *
 * Returns  FALLOW_OK, or FALLOW_ERR_INVALID when something has overwritten it
 * Cost     what has been used of the arena; the arena is locked meanwhile
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_arena_check(fallow_arena *arena);

/* ---------------------------------------------------------------------------------------------------------------
 * System: what this machine allows, and what is in force
 *
 * Environment, read once when first needed, ignored in set-id programs; a bad value is told in environment_error and
 * has no effect:
 *   FALLOW_MADVISE=dontneed|free|decommit   what FALLOW_PURGE_DEFAULT means
 *   FALLOW_RESERVE=64G                      what reserve_bytes 0 means; K, M, G, T are powers of 1024
 *   FALLOW_DEBUG=check                      every run is looked for in all thread caches when it is freed or changed:
 *                                           each one freed twice stops the program; slow
 *   FALLOW_DEBUG=stats                      the statistics of each arena are logged when it is destroyed, or when the
 *                                           program ends
 *   FALLOW_DEBUG=trace=FILE                 what is asked of arenas is written to FILE, for `fallow replay`; %p in it
 *                                           is the process id. An existing file is never touched: the id is put behind
 *                                           the name then. A forked child traces nothing. What was asked last is lost
 *                                           where a program does not end by exit(). Without thread caches; slow
 *                                           (several words of FALLOW_DEBUG are separated by commas)
 *   FALLOW_LIMIT=512M, FALLOW_LIMIT=50%     what limit_bytes 0 means, for each arena; percent are of the memory that
 *                                           the process may have, in its cgroup or job too
 *   FALLOW_SCAVENGE=off|assist|thread       what FALLOW_SCAVENGE_DEFAULT means
 * ------------------------------------------------------------------------------------------------------------- */

/* Where log lines go. The library logs what FALLOW_DEBUG has asked for, and nothing else: statistics, and why there is
 * no trace, or no more of it. It prints nothing otherwise, but the last words of a program that a bug has stopped.
 *
 *   context   as it was handed in
 *   line      one line, without its end; gone after the call */
typedef void (*fallow_log)(void *context, const char *line);

/* Have log lines handed to a callback.
 *
 *   log       optional; NULL = to stderr, as at the start, with "fallow: " before each
 *   context   handed to it
 *
 * No lock is held when it is called: it may do as it likes, but with an arena that is being destroyed. A call that is
 * under way in another thread may still use the callback before it.
 *
 * Threads  any thread; called from any thread that creates, uses or destroys an arena, and at the end of the program
 * Since    0.1 */
FALLOW_API void fallow_set_log(fallow_log log, void *context);

/* What this system allows, and what is in force. Limits are UINT64_MAX where there is none, figures 0 where the system
 * does not tell. */
typedef struct fallow_system {
    char os_name[64];                 /* for example "Linux 6.18.44" or "Windows 6.1.7601 (Wine 8.0)" */
    size_t page_bytes;                /* the OS page */
    size_t granularity_bytes;         /* what bases of reservations are multiples of */
    size_t large_page_bytes;          /* explicit large pages; 0 = none */
    uint64_t address_space_bytes;     /* the user part of the address space */
    uint64_t address_space_limit;     /* bytes, RLIMIT_AS */
    uint64_t data_limit;              /* bytes, RLIMIT_DATA */
    uint64_t locked_limit;            /* bytes, RLIMIT_MEMLOCK */
    uint64_t memory_bytes;            /* physical memory */
    uint64_t commit_limit;            /* bytes the system can promise: CommitLimit, or memory and page file */
    uint64_t committed_bytes;         /* bytes it has promised: Committed_AS */
    uint64_t map_count_limit;         /* mappings of a process, vm.max_map_count */
    int overcommit_mode;              /* vm.overcommit_memory: 0, 1 or 2; -1 where there is no such thing */
    bool has_lazy_purge;              /* FREE is lazy here, not the same as DONTNEED */
    bool has_guard_install;           /* guards cost no mapping */
    bool has_populate;                /* prefault is one system call */
    bool has_mapping_names;           /* the system shows names */
    bool is_emulated;                 /* qemu-user: advice succeeds and does nothing */
    bool is_wine;                     /* the Windows build under Wine */
    fallow_purge purge;               /* what FALLOW_PURGE_DEFAULT means now: DONTNEED, FREE or DECOMMIT */
    bool is_purge_from_environment;   /* FALLOW_MADVISE said so */
    size_t reserve_bytes;             /* what reserve_bytes 0 means now */
    bool is_reserve_from_environment; /* FALLOW_RESERVE said so */
    fallow_scavenge scavenge;         /* what FALLOW_SCAVENGE_DEFAULT means now: FALLOW_SCAVENGE, else ASSIST */
    size_t limit_bytes;               /* what limit_bytes 0 means now: FALLOW_LIMIT, else 0, no limit */
    char environment_error[160];      /* "" or what is wrong with which variable */
} fallow_system;

/* Tell what this system allows and what is in force.
 *
 *   system_out   filled in, whatever the system tells
 *
 * Cost     some system calls; figures are read anew each time, probes run once
 * Since    0.1 */
FALLOW_API void fallow_system_info(fallow_system *system_out);

/* The memory of this process as the system counts it, all of it, fallow's or not. */
typedef struct fallow_process {
    uint64_t virtual_bytes;       /* VSZ: all mappings, whatever they cost */
    uint64_t resident_bytes;      /* RSS, working set */
    uint64_t peak_resident_bytes; /* its highest value so far; 0 where the system does not tell */
    uint64_t committed_bytes;     /* private memory that can be written */
    uint64_t lazy_free_bytes;     /* part of resident_bytes that the system may take at any time; Linux */
    uint64_t map_count;           /* mappings */
    uint64_t unreleased_bytes;    /* addresses that were released, and that the system could not take back yet: see
                                     fallow_region_release; part of virtual_bytes */
} fallow_process;

/* Read the memory of this process as the system counts it.
 *
 *   process_out   the figures
 *
 * Errors   FALLOW_ERR_OS, FALLOW_ERR_PERMISSION   the system does not tell (no /proc)
 * Cost     some system calls; grows with the number of mappings
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_process_info(fallow_process *process_out);

/* Flags of fallow_process_explain. */
enum {
    FALLOW_EXPLAIN_JSON = 1 << 0,   /* as one JSON object */
    FALLOW_EXPLAIN_SUMMARY = 1 << 1 /* without the single mappings, the limits that are far, and the arenas */
};

/* Explain the memory of this process, fallow's or not, in words and tables: what is only reserved and costs nothing;
 * what is committed, in memory, freed lazily, of files, stacks, heap; which mappings are those of arenas; which limit
 * is the nearest, and by how much; what each arena holds, and why. `fallow explain PID` tells the same of any process,
 * but for the arenas' own figures.
 *
 *   write     gets the text; no lock is held when it is called
 *   context   handed to it
 *   flags     FALLOW_EXPLAIN_*
 *
 * The layout of the text may change; the keys of the JSON stay.
 *
 * Errors   FALLOW_ERR_INVALID  an unknown flag
 *          FALLOW_ERR_LIMIT    write returned false
 *          FALLOW_ERR_OS, FALLOW_ERR_PERMISSION   the system does not tell (no /proc)
 * Threads  any thread; what other threads map meanwhile may be told or not
 * Cost     milliseconds; grows with the number of mappings, on Windows also with the committed bytes. 32 KiB of stack
 * Since    0.1 */
FALLOW_API FALLOW_NODISCARD fallow_status fallow_process_explain(fallow_writer write, void *context, uint32_t flags);

#ifdef __cplusplus
}
#endif

#endif
