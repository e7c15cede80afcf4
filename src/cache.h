/* Runs that threads keep: stacks of free runs, a set for each thread and arena, so that most calls need no lock.
 *
 * cache.c explains the structure; the operations that have to be fast are here, inline. Knows bases, sizes and threads,
 * but not what a page is: the arena (kept.c, alloc.c, free.c) fills the stacks, and takes back what they drop. Sees:
 * os.h. */
#ifndef FALLOW_CACHE_H
#define FALLOW_CACHE_H

#include <stdatomic.h>

#include "arenas.h"
#include "os.h"

/* Bins stand for sizes in units of 4 KiB, the least page there is: with larger pages only every second, fourth ... bin
 * is used, and finding one takes a shift by a constant. */
#define FALLOW__CACHE_UNIT_SHIFT 12

/* The longest run that is kept. */
#define FALLOW__CACHE_RUN_BYTES_MAX ((size_t)16 << 20)

#define FALLOW__CACHE_BINS_MOST (FALLOW__CACHE_RUN_BYTES_MAX >> FALLOW__CACHE_UNIT_SHIFT)

/* Arenas that a thread goes to and fro between without a lock. */
#define FALLOW__CACHE_ENTRIES 8

/* The most runs fetched at once. */
#define FALLOW__CACHE_BATCH_MOST 64

/* What is kept of a run: its base; with the lowest bit set if the run is known to be zero. */
typedef uintptr_t fallow__item;

/* No run: also odd, so that one test tells a base that can be handed out as it is from everything else. */
#define FALLOW__ITEM_NONE ((fallow__item)1)

static inline bool fallow__item_is_plain(fallow__item item)
{
    return (item & 1) == 0;
}

static inline void *fallow__item_base(fallow__item item)
{
    return (void *)(item & ~(fallow__item)1);
}

/* The stack of the runs of one size. */
typedef struct fallow__cache_bin {
    _Atomic(uint32_t) top; /* where the next one goes, in bytes from `stacks`; 0 = there is no stack yet */
    uint32_t epoch;        /* while this is the arena's epoch, what lies above the top is trusted: see cache.c */
} fallow__cache_bin;

struct fallow__caches;
struct fallow__thread;

/* The cache of one thread for one arena; a reservation of its own. */
typedef struct fallow__cache {
    struct fallow__caches *caches;
    struct fallow__thread *owner;    /* NULL = idle: its thread has ended, another one may have it */
    struct fallow__cache *next;      /* of the same arena */
    struct fallow__cache *next_here; /* of the same thread */
    size_t limit_units;              /* what is kept at most, in units of 4 KiB */
    size_t room_units;               /* and what more may be */
    uint32_t stacks_end;             /* where the next stack goes, and where the room for them ends; as `top` */
    uint32_t stacks_limit;
    uint32_t hand;                                  /* the bin at which dropping goes on */
    uint32_t *bottoms;                              /* of each bin: where its stack begins, as `top`; 0 = it has none */
    uint64_t is_used[FALLOW__CACHE_BINS_MOST / 64]; /* a bit: the bin has a stack */
    fallow_region region;
    fallow__mark mark;      /* for those who look at mappings */
    fallow__item none;      /* NONE: what a bin without a stack finds below its top */
    fallow__item stacks[1]; /* no base: what it finds at its top; behind it the bins, the bottoms and the stacks */
} fallow__cache;

/* All caches of one arena. Changed under the arena's lock; the constants never. */
typedef struct fallow__caches {
    /* A bit for each bin: the depot ran out of such runs. First, and large: what every call reads is then not at the
     * beginning of a page, where the lines of a program that writes to the first bytes of pages meet in a processor's
     * cache. */
    _Atomic(uint32_t) wanted[FALLOW__CACHE_BINS_MOST / 32];
    uint32_t unit_mask;      /* constant: units of 4 KiB in a page, less 1 */
    uint32_t bin_count;      /* constant: 0 = there are no caches */
    uint32_t entry;          /* constant: the thread's entry in which this arena's cache is remembered */
    bool is_checked;         /* constant: nothing goes without the lock, everything is searched for */
    _Atomic(uint32_t) epoch; /* never 0; rises when a run that may have come out of a cache is changed or freed */
    size_t limit_units;      /* constant: what one cache keeps at most, in units of 4 KiB */
    uint32_t patience;       /* a cache was refused: so many calls that miss one go by before the next try */
    unsigned owners;         /* threads that have a cache */
    unsigned stops;          /* how many have stopped the threads from using them without the lock */
    uint64_t taken;          /* how often entries were taken away from threads */
    uint64_t settled;        /* so many of these times, a barrier and a wait for the threads have followed */
    fallow__cache *first;    /* all of them, idle ones and the depot, too */
    fallow__cache *depot;  /* nobody's: what threads drop is kept here for those that miss it; NULL if there is none */
    size_t metadata_bytes; /* committed for caches, and reserved */
    size_t reserved_bytes;
    void (*drain)(struct fallow__caches *caches, fallow__cache *cache); /* for a thread that ends; takes the lock */
} fallow__caches;

/* Where a thread remembers its cache of an arena. Another thread may take an entry away, by NOBODY. */
typedef struct fallow__cache_entry {
    _Atomic(const fallow__caches *) caches;
    fallow__cache *cache;
} fallow__cache_entry;

#define FALLOW__CACHES_NOBODY ((const fallow__caches *)8) /* not NULL, which a caller might pass by mistake */

/* What a thread knows of its caches. */
typedef struct fallow__thread {
    _Atomic(uint32_t) is_busy;  /* it is using a cache without the lock */
    uint32_t missed;            /* runs taken without a cache; the first few are no reason to make one */
    fallow__cache_entry latest; /* the arena it used last */
    fallow__cache_entry entries[FALLOW__CACHE_ENTRIES];
    fallow__cache *first; /* all its caches; changed under the lock over all threads */
    bool has_left;        /* it is ending, and gets no more caches */
} fallow__thread;

/* In a shared library, too, its place is known when the program starts. */
#if defined(__ELF__)
#define FALLOW__THREAD_LOCAL __attribute__((tls_model("initial-exec"))) _Thread_local
#else
#define FALLOW__THREAD_LOCAL _Thread_local
#endif
extern FALLOW__THREAD_LOCAL fallow__thread fallow__here;

#if defined(__GNUC__)
#define FALLOW__LIKELY(condition) __builtin_expect(!!(condition), 1)
#else
#define FALLOW__LIKELY(condition) (condition)
#endif

/* --- without the lock -------------------------------------------------------------------------------------- */

static inline fallow__item *fallow__cache_item(fallow__cache *cache, uint32_t offset)
{
    return (fallow__item *)(void *)((unsigned char *)cache->stacks + offset);
}

static inline fallow__cache_bin *fallow__cache_bin_of(fallow__cache *cache, size_t index)
{
    return (fallow__cache_bin *)(void *)(cache->stacks + 1) + index;
}

static inline const fallow__cache_bin *fallow__cache_bin_at(const fallow__cache *cache, size_t index)
{
    return fallow__cache_bin_of((fallow__cache *)(uintptr_t)cache, index);
}

/* In front of a stack's NONE. */
typedef struct fallow__stack_head {
    uint32_t end;     /* of its slots, but for the one that a barrier may need; as `top` */
    uint32_t barrier; /* where it is: the runs in the slots from the top up to it are trusted; as `top` */
    uint32_t hint; /* where the next run is likely to be, if they come back in the order they were taken in; as `top` */
    uint32_t batch; /* how many runs were wanted when it was empty last */
} fallow__stack_head;

static inline fallow__stack_head *fallow__cache_head(fallow__cache *cache, uint32_t bottom)
{
    return (fallow__stack_head *)(void *)(fallow__cache_item(cache, bottom) - 1) - 1;
}

/* What stands above the trusted runs: a value that no run has for a base, and no program hands in by chance. */
static inline fallow__item fallow__cache_barrier(const fallow__cache *cache)
{
    return (fallow__item)cache + 3;
}

/* The bin for a size; not below bin_count if the size is 0 or larger than what is kept. */
static inline size_t fallow__cache_index(const fallow__caches *caches, size_t size_bytes)
{
    return (size_bytes - 1) >> FALLOW__CACHE_UNIT_SHIFT | caches->unit_mask;
}

/* The thread begins to use a cache. Until fallow__cache_leave, another thread that takes its entries away waits: in
 * between there must be nothing that can wait itself. */
static inline void fallow__cache_enter(void)
{
    atomic_store_explicit(&fallow__here.is_busy, 1, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
}

static inline void fallow__cache_leave(void)
{
    atomic_store_explicit(&fallow__here.is_busy, 0, memory_order_release);
}

static inline bool fallow__cache_is_latest(const void *caches)
{
    return FALLOW__LIKELY(atomic_load_explicit(&fallow__here.latest.caches, memory_order_relaxed) == caches);
}

/* Take the latest run of a bin, if it can be handed out as it is; else something odd. Call between enter and leave. */
static inline fallow__item fallow__cache_take_plain(fallow__cache *cache, size_t index)
{
    fallow__cache_bin *bin = fallow__cache_bin_of(cache, index);
    uint32_t top = atomic_load_explicit(&bin->top, memory_order_relaxed);
    fallow__item item = *(fallow__cache_item(cache, top) - 1);
    if (FALLOW__LIKELY(fallow__item_is_plain(item))) {
        atomic_store_explicit(&bin->top, top - (uint32_t)sizeof item, memory_order_relaxed);
        cache->room_units += index + 1;
    }
    return item;
}

/* Put a run back where it was taken last, if that is so. Call between enter and leave. */
static inline bool fallow__cache_put_back(fallow__cache *cache, const fallow__caches *caches, size_t index,
                                          const void *base)
{
    fallow__cache_bin *bin = fallow__cache_bin_of(cache, index);
    uint32_t top = atomic_load_explicit(&bin->top, memory_order_relaxed);
    if (FALLOW__LIKELY(*fallow__cache_item(cache, top) == (fallow__item)base && cache->room_units > index &&
                       bin->epoch == atomic_load_explicit(&caches->epoch, memory_order_relaxed))) {
        atomic_store_explicit(&bin->top, top + (uint32_t)sizeof(fallow__item), memory_order_relaxed);
        cache->room_units -= index + 1;
        return true;
    }
    return false;
}

/* The cache this thread remembers for an arena, which becomes its latest; NULL: none, or it has been taken away. Call
 * between enter and leave. */
fallow__cache *fallow__cache_recall(const fallow__caches *caches);

/* Is a run where one that comes back is to be expected, so that fallow__cache_put_trusted is worth a call? A question
 * that is mostly answered the same way each time. Call between enter and leave. */
static inline bool fallow__cache_is_expected(fallow__cache *cache, size_t index, const void *base)
{
    uint32_t bottom = cache->bottoms[index];
    if (bottom == 0) {
        return false;
    }
    const fallow__stack_head *head = fallow__cache_head(cache, bottom);
    return *fallow__cache_item(cache, head->hint) == (fallow__item)base ||
           *(fallow__cache_item(cache, head->barrier) - 1) == (fallow__item)base;
}

/* Put a run back that was taken from this bin not long ago, if that can be told without looking at the run. Up to
 * `search` runs are looked through. */
bool fallow__cache_put_trusted(fallow__cache *cache, size_t index, const void *base, uint32_t search);

/* Nothing above the top of a bin's stack, which is here, is trusted from now on. */
static inline void fallow__cache_bar(fallow__cache *cache, size_t index, fallow__stack_head *head, uint32_t top)
{
    head->barrier = top;
    head->hint = top - (uint32_t)sizeof(fallow__item);
    *fallow__cache_item(cache, top) = fallow__cache_barrier(cache);
    fallow__cache_bin_of(cache, index)->epoch = atomic_load_explicit(&cache->caches->epoch, memory_order_relaxed);
}

static inline bool fallow__cache_has_room(const fallow__cache *cache, size_t index)
{
    return cache->room_units > index;
}

/* Is the run the one put last? */
static inline bool fallow__cache_has_latest(const fallow__cache *cache, size_t index, const void *base)
{
    uint32_t top = atomic_load_explicit(&fallow__cache_bin_at(cache, index)->top, memory_order_relaxed);
    fallow__cache *stacks = (fallow__cache *)(uintptr_t)cache;
    return fallow__item_base(*(fallow__cache_item(stacks, top) - 1)) == base; /* which NONE has not */
}

/* Put a run that is known to be one, of the bin's size. false: there is no room, or it is there already. Call between
 * enter and leave, or with the lock. */
static inline bool fallow__cache_put(fallow__cache *cache, size_t index, void *base)
{
    uint32_t bottom = cache->bottoms[index];
    fallow__cache_bin *bin = fallow__cache_bin_of(cache, index);
    uint32_t top = atomic_load_explicit(&bin->top, memory_order_relaxed);
    if (bottom == 0 || fallow__cache_has_latest(cache, index, base) || !fallow__cache_has_room(cache, index)) {
        return false;
    }
    fallow__stack_head *head = fallow__cache_head(cache, bottom);
    if (top == head->end) {
        return false;
    }
    *fallow__cache_item(cache, top) = (fallow__item)base;
    top += (uint32_t)sizeof(fallow__item);
    atomic_store_explicit(&bin->top, top, memory_order_relaxed);
    fallow__cache_bar(cache, index, head, top);
    cache->room_units -= index + 1;
    return true;
}

/* Take the latest run of a bin, whatever it is; NONE if there is none. As above. */
fallow__item fallow__cache_take(fallow__cache *cache, size_t index);

/* --- with the arena's lock --------------------------------------------------------------------------------- */

/* What is done with runs of one size that a cache drops. */
typedef void fallow__cache_drop(void *context, const fallow__item *items, uint32_t count, size_t size_bytes);

/* limit_bytes is for each cache; too little for one becomes 0, which is: no caches. */
void fallow__caches_init(fallow__caches *caches, size_t page_bytes, size_t limit_bytes, bool is_checked,
                         void (*drain)(fallow__caches *caches, fallow__cache *cache));

/* Before the arena goes: its caches are forgotten by all threads. To be released by the caller, each with its region.
 * The lock is not held. */
void fallow__caches_close(const fallow__caches *caches);

/* This thread's cache, which it may use without the lock from now on; NULL if it has none. */
fallow__cache *fallow__cache_mine(const fallow__caches *caches);

/* Is it time to make one? Counts the calls that had none. */
bool fallow__cache_is_missed(fallow__caches *caches, bool is_free);

/* The system or the program refused one: it is not asked again soon. */
void fallow__cache_refused(fallow__caches *caches);

/* Around a fork: the lock over all threads is held, so that it is free in the child. */
void fallow__threads_hold(void);
void fallow__threads_let_go(void);
void fallow__threads_in_child(void);

/* Then, for each arena that the child has: what other threads kept is dropped. */
void fallow__caches_in_child(fallow__caches *caches, fallow__cache_drop *drop, void *context);

/* Its thread, which is ending, has no use for it any more. */
void fallow__cache_disown(fallow__cache *cache);

/* What a new cache needs. */
size_t fallow__cache_bytes(const fallow__caches *caches);

/* Give this thread a cache. First prepare, with no lock held: this thread's end will be told; false: it gets none. Then
 * with the lock over all threads, which begin and finish take and let go, and with the arena's inside: adopt gives an
 * idle cache, if there is one; open makes one of a committed region. Both locks are short: nothing that may call the
 * system or the program is done in between. */
bool fallow__cache_prepare(void);
void fallow__cache_begin(void);
bool fallow__cache_adopt(fallow__caches *caches);
void fallow__cache_open(fallow__caches *caches, const fallow_region *region);

/* Is there more than one thread, so that a depot is of use? */
static inline bool fallow__depot_is_useful(const fallow__caches *caches)
{
    return caches->owners > 1;
}

/* Is it time to make it? Opened like a cache, under both locks. */
bool fallow__depot_is_missed(const fallow__caches *caches);
void fallow__depot_open(fallow__caches *caches, const fallow_region *region);

/* Has a thread missed runs of a bin's size that the depot ran out of? Asked without the lock, changed with it. */
static inline bool fallow__depot_wants(const fallow__caches *caches, size_t index)
{
    return (atomic_load_explicit(&caches->wanted[index / 32], memory_order_relaxed) >> (index % 32) & 1) != 0;
}

/* Give what the depot wants out of a thread's cache, if it has plenty: most of what the bin holds, by `drop`. */
void fallow__cache_give(fallow__cache *cache, size_t index, fallow__cache_drop *drop, void *context);

/* Does a bin hold enough to be worth the way? Call between enter and leave, or with the lock. */
bool fallow__cache_has_plenty(fallow__cache *cache, size_t index);

/* Keep runs of one size in the depot, as many of the first ones as there is room for: how many, is told. */
uint32_t fallow__depot_put(fallow__caches *caches, const fallow__item *items, uint32_t count, size_t size_bytes);

/* Take up to `most` runs of a bin out of it. */
uint32_t fallow__depot_take(fallow__caches *caches, size_t index, fallow__item *items_out, uint32_t most);
void fallow__cache_finish(void);

/* How many runs to fetch for a bin that is empty, the one that is wanted included: at first 1, then more each time;
 * what is not in the depot is fetched from the arena in smaller numbers. */
unsigned fallow__cache_batch(fallow__cache *cache, size_t index);
unsigned fallow__cache_batch_of_arena(const fallow__cache *cache, size_t index, unsigned batch);

/* Put runs for later, the first one on top, as many of the first ones as there is room for: how many, is told. */
uint32_t fallow__cache_refill(fallow__cache *cache, size_t index, const fallow__item *items, uint32_t count);

/* Make room for a run: by a longer stack, or by dropping what was kept longest. false: there can be none. */
bool fallow__cache_make_room(fallow__cache *cache, size_t index, fallow__cache_drop *drop, void *context);

/* Drop everything. */
void fallow__cache_empty(fallow__cache *cache, fallow__cache_drop *drop, void *context);

/* Take one run out; false if it is not in this cache. */
bool fallow__cache_remove(fallow__cache *cache, size_t index, const void *base);

/* Is a run in any cache of the arena? Exact only while no other thread uses one. */
bool fallow__caches_hold(const fallow__caches *caches, size_t index, const void *base);

/* Stop all threads from using their caches without the lock, until fallow__caches_go_on. The lock is let go meanwhile.
 * false: the system cannot, and other threads go on. */
bool fallow__caches_stop(fallow__caches *caches, fallow__os_lock *lock);
void fallow__caches_go_on(fallow__caches *caches);

/* What is kept, in all or by others than this thread. Others may be changing it: a figure of about now. */
typedef struct fallow__cached {
    size_t run_count;
    size_t bytes;
} fallow__cached;

fallow__cached fallow__caches_count(const fallow__caches *caches, bool is_others_only);

/* Visit every kept run, for a check. */
void fallow__cache_visit(const fallow__cache *cache, void (*visit)(void *context, fallow__item item, size_t size_bytes),
                         void *context);

/* A run that may have come out of a cache was changed or freed by other ways. */
static inline void fallow__caches_changed(fallow__caches *caches)
{
    uint32_t epoch = atomic_load_explicit(&caches->epoch, memory_order_relaxed);
    atomic_store_explicit(&caches->epoch, epoch + 1 != 0 ? epoch + 1 : 1, memory_order_relaxed);
}

#endif
