/* Thread caches: each thread keeps runs that it has freed, sorted by size, and takes them again without a lock.
 *
 * A cache belongs to one thread and one arena, and is a reservation of its own:
 *
 *      | fallow__cache | bins | bottoms | stack | stack | stack |  ...  room  |
 *
 *      bin      for each size: where the top of its stack is
 *      stack    | head ...        | NONE | run | run | run |  .  |  .  |  .  | . |
 *                                        ^ bottom          ^ top             ^ one more than the capacity
 *
 * Stacks are made when a size is used first, and made anew, larger, when one is full. A run in a cache is in use as far
 * as the page allocator knows; so nobody else takes it, and nothing has to be told when it comes and goes.
 *
 * What is above the top. Taking a run leaves its base in its slot. A run that comes back to the slot that it was taken
 * from is what it was, and needs no look into the bitmaps: its base and its size are right, and it has not been freed
 * in between. This holds for all slots between the top and the *barrier*, a value that is no base; a run found in
 * another one of them changes places with the one at the top. Where the barrier is:
 *
 *   - a run that is put elsewhere than it was taken from could be in one of the slots above: the barrier goes on top
 *   - so it does whenever a stack is changed otherwise
 *   - a run that was changed or freed by others than its thread: the arena's epoch rises then, and a bin whose epoch is
 *     an older one trusts nothing; the next run put there, looked at in the bitmaps, brings both up to date
 *
 * Who may use a cache. Its owner, under the arena's lock; and without it while one of the owner's entries (`latest`,
 * `entries`) names it. Any thread that holds the arena's lock may take these entries away and, after a memory barrier
 * in all threads, wait until the owner is not busy: then the owner either finds its entry gone, or is done. With the
 * lock held it cannot get its entry back, so the cache is the other thread's. This costs the owner two plain stores.
 * Both must have followed whenever entries were taken, whoever took them: that is counted (`taken`, `settled`), since a
 * barrier may have been refused, and two threads may do this at once.
 *
 * Entries may name an arena that is gone, if the thread itself wrote them since; so they are compared before the cache
 * is touched, and a destroyed arena is forgotten by every thread that has a cache of it before its memory goes.
 *
 * The depot. Runs that one thread frees and another takes would go through the bitmaps one by one. While more than one
 * thread has a cache, one more stands between them, nobody's: used under the arena's lock, and never without. What a
 * cache drops goes there first, a bin that is empty is filled from there first, and whoever takes back what threads
 * keep empties it with the others. Where it runs out of a size, threads that have plenty of it and free more bring what
 * they have: otherwise a thread that only frees would keep all until it is full, and one that only takes would have to
 * search for other pages.
 *
 * Locks. One over all threads, for the lists of caches that threads have; taken before an arena's. */
#include "cache.h"

#include <assert.h>

#include "bits.h"
#include "check.h"
#include "os.h"

/* One over all threads: who has which caches. */
static fallow__os_lock threads_lock;
static fallow__os_once threads_once;

static atomic_uint entries_given; /* arenas take entries in turn */

FALLOW__THREAD_LOCAL fallow__thread fallow__here = {
    .latest = {.caches = FALLOW__CACHES_NOBODY},
};

enum {
    STACK_LEAST = 16,              /* runs, when it is made */
    STACK_GROWTH = 4,              /* times as many, when it is made anew */
    STACK_MOST = 8192,             /* 64 MiB of 8 KiB */
    LIMIT_LEAST = 256 << 10,       /* less is not worth a cache */
    MISSES_BEFORE_CACHE = 8,       /* a thread that takes less is served from the arena */
    MISSES_AFTER_REFUSAL = 1024,   /* to be refused costs two system calls, and the arena's own way some 50 ns */
    STACKS_BYTES_MOST = 256 << 10, /* room for the stacks of a cache */
    STACKS_BYTES_LEAST = 8 << 10,
    SHARE_OF_ARENA = 256, /* what is fetched at once, as a part of what a cache keeps: from the arena */
    SHARE_OF_DEPOT = 16,  /* and from the depot, where it lies ready */
    PLENTY = 16,          /* runs of which a thread gives to those who miss them, if it has not missed any itself */
    PLENTY_OWN = 64,      /* and if it has */
    COLOUR_STEP = 256,
    COLOUR_MOST = 2048, /* so far behind its reservation's start a cache may begin */
    COLOUR_BINS = 64,   /* so many of the first bins are kept clear */
    DEPOT_SHARE = 4     /* what one thread may keep is four times what the depot may */
};

typedef fallow__stack_head stack_head;

#define ITEM_BYTES ((uint32_t)sizeof(fallow__item))

/* --- small things ------------------------------------------------------------------------------------------ */

static inline size_t index_bytes(size_t index)
{
    return (index + 1) << FALLOW__CACHE_UNIT_SHIFT;
}

static inline uint32_t top_of(const fallow__cache *cache, size_t index)
{
    return atomic_load_explicit(&fallow__cache_bin_at(cache, index)->top, memory_order_relaxed);
}

static inline void set_top(fallow__cache *cache, size_t index, uint32_t top)
{
    atomic_store_explicit(&fallow__cache_bin_of(cache, index)->top, top, memory_order_relaxed);
}

static inline uint32_t count_of(const fallow__cache *cache, size_t index)
{
    return (top_of(cache, index) - cache->bottoms[index]) / ITEM_BYTES;
}

static inline const fallow__item *stack_of(const fallow__cache *cache, size_t index)
{
    return fallow__cache_item((fallow__cache *)(uintptr_t)cache, cache->bottoms[index]);
}

static inline void set_barrier(fallow__cache *cache, size_t index)
{
    fallow__cache_bar(cache, index, fallow__cache_head(cache, cache->bottoms[index]), top_of(cache, index));
}

/* The next bin from `index` on that has a stack; bin_count if there is none. */
static uint32_t next_used(const fallow__cache *cache, uint32_t index)
{
    while (index < cache->caches->bin_count) {
        uint64_t word = cache->is_used[index / 64] >> (index % 64);
        if (word != 0) {
            return index + fallow__lowest_bit(word);
        }
        index += 64 - index % 64;
    }
    return cache->caches->bin_count;
}

static fallow__cached cache_count(const fallow__cache *cache)
{
    fallow__cached kept = {0};
    for (uint32_t index = next_used(cache, 0); index < cache->caches->bin_count; index = next_used(cache, index + 1)) {
        uint32_t count = count_of(cache, index);
        kept.run_count += count;
        kept.bytes += count * index_bytes(index);
    }
    return kept;
}

/* --- putting and taking ------------------------------------------------------------------------------------ */

fallow__cache *fallow__cache_recall(const fallow__caches *caches)
{
    fallow__thread *here = &fallow__here;
    fallow__cache_entry *entry = &here->entries[caches->entry];
    if (atomic_load_explicit(&entry->caches, memory_order_relaxed) != caches) {
        return NULL;
    }
    here->latest.cache = entry->cache;
    atomic_store_explicit(&here->latest.caches, caches, memory_order_relaxed);
    return entry->cache;
}

fallow__item fallow__cache_take(fallow__cache *cache, size_t index)
{
    uint32_t top = top_of(cache, index);
    fallow__item *slot = fallow__cache_item(cache, top) - 1;
    fallow__item item = *slot;
    if (item != FALLOW__ITEM_NONE) {
        *slot = item & ~(fallow__item)1; /* so that it is known when it comes back; it is not zero then */
        set_top(cache, index, top - ITEM_BYTES);
        cache->room_units += index + 1;
    }
    return item;
}

/* The slot among the trusted ones that a run was taken from; the barrier's if it is not looked for further. Runs that
 * come back in the order they were taken in lie one below the other, the first of them at the barrier. */
static inline uint32_t trusted_find(fallow__cache *cache, const stack_head *head, uint32_t top, fallow__item base,
                                    uint32_t search)
{
    uint32_t barrier = head->barrier;
    uint32_t last = barrier - ITEM_BYTES;
    if (head->hint - top < barrier - top && *fallow__cache_item(cache, head->hint) == base) {
        return head->hint;
    }
    if (barrier != top && *fallow__cache_item(cache, last) == base) {
        return last;
    }
    uint32_t end = (barrier - top) / ITEM_BYTES < search ? barrier : top + search * ITEM_BYTES;
    for (uint32_t slot = top; slot != end; slot += ITEM_BYTES) {
        if (*fallow__cache_item(cache, slot) == base) {
            return slot;
        }
    }
    return barrier;
}

bool fallow__cache_put_trusted(fallow__cache *cache, size_t index, const void *base, uint32_t search)
{
    const fallow__cache_bin *bin = fallow__cache_bin_of(cache, index);
    uint32_t bottom = cache->bottoms[index];
    if (bottom == 0 || !fallow__cache_has_room(cache, index) ||
        bin->epoch != atomic_load_explicit(&cache->caches->epoch, memory_order_relaxed)) {
        return false;
    }
    stack_head *head = fallow__cache_head(cache, bottom);
    uint32_t top = top_of(cache, index);
    uint32_t slot = trusted_find(cache, head, top, (fallow__item)base, search);
    if (slot == head->barrier) {
        return false;
    }
    /* the one in the slot at the top is handed out as well, and as well known */
    *fallow__cache_item(cache, slot) = *fallow__cache_item(cache, top);
    *fallow__cache_item(cache, top) = (fallow__item)base;
    head->hint = slot - ITEM_BYTES;
    set_top(cache, index, top + ITEM_BYTES);
    cache->room_units -= index + 1;
    return true;
}

/* --- stacks ------------------------------------------------------------------------------------------------ */

/* The most runs of a size that are kept. */
static uint32_t capacity_most(const fallow__caches *caches, size_t index)
{
    size_t runs = caches->limit_units / (index + 1);
    return runs < STACK_MOST ? (uint32_t)runs : STACK_MOST;
}

/* Give a bin a stack of so many runs, with what the old one holds. false: there is no room. */
static bool stack_make(fallow__cache *cache, size_t index, uint32_t capacity)
{
    uint32_t old_bottom = cache->bottoms[index];
    uint32_t count = old_bottom != 0 ? count_of(cache, index) : 0;
    uint32_t overhead = (uint32_t)(sizeof(stack_head) + sizeof(fallow__item));
    uint32_t room = cache->stacks_limit - cache->stacks_end;
    if (room < overhead || (room - overhead) / sizeof(fallow__item) < (size_t)capacity + 1) {
        return false;
    }
    uint32_t bottom = cache->stacks_end + overhead;
    uint32_t bytes = (capacity + 1) * ITEM_BYTES;
    cache->stacks_end = (uint32_t)fallow__align_up(bottom + bytes, 8);
    *fallow__cache_head(cache, bottom) = (stack_head){
        .end = bottom + capacity * ITEM_BYTES,
        .batch = old_bottom != 0 ? fallow__cache_head(cache, old_bottom)->batch : 0,
    };
    fallow__item *items = fallow__cache_item(cache, bottom);
    items[-1] = FALLOW__ITEM_NONE;
    for (uint32_t i = 0; i < count; i++) {
        items[i] = stack_of(cache, index)[i];
    }
    cache->bottoms[index] = bottom;
    cache->is_used[index / 64] |= (uint64_t)1 << (index % 64);
    set_top(cache, index, bottom + count * ITEM_BYTES);
    set_barrier(cache, index);
    return true;
}

/* A stack with room for more runs than the one there is, if there can be one. */
static bool stack_make_larger(fallow__cache *cache, size_t index)
{
    uint32_t most = capacity_most(cache->caches, index);
    uint32_t bottom = cache->bottoms[index];
    uint32_t capacity = (fallow__cache_head(cache, bottom)->end - bottom) / ITEM_BYTES;
    return capacity < most && stack_make(cache, index, most / STACK_GROWTH < capacity ? most : capacity * STACK_GROWTH);
}

/* A stack with room for one more run, if there can be one. */
static bool stack_grow(fallow__cache *cache, size_t index)
{
    uint32_t bottom = cache->bottoms[index];
    if (bottom == 0) {
        uint32_t most = capacity_most(cache->caches, index);
        uint32_t capacity = most < STACK_LEAST ? most : STACK_LEAST;
        return capacity != 0 && stack_make(cache, index, capacity);
    }
    return top_of(cache, index) != fallow__cache_head(cache, bottom)->end || stack_make_larger(cache, index);
}

/* Drop the runs that a bin has kept longest. */
static void stack_drop(fallow__cache *cache, size_t index, uint32_t drop_count, fallow__cache_drop *drop, void *context)
{
    uint32_t count = count_of(cache, index);
    fallow__item *items = fallow__cache_item(cache, cache->bottoms[index]);
    drop(context, items, drop_count, index_bytes(index));
    for (uint32_t i = drop_count; i < count; i++) {
        items[i - drop_count] = items[i];
    }
    set_top(cache, index, top_of(cache, index) - drop_count * ITEM_BYTES);
    set_barrier(cache, index);
    cache->room_units += drop_count * (index + 1);
}

/* Drop half of what each bin holds, bin by bin, until there is so much room; the last run of a bin only where that is
 * not enough. */
static void cache_shrink(fallow__cache *cache, size_t room_units, fallow__cache_drop *drop, void *context)
{
    unsigned rounds = 0;
    while (cache->room_units < room_units) {
        uint32_t index = next_used(cache, cache->hand);
        if (index < cache->caches->bin_count) {
            uint32_t drop_count = (count_of(cache, index) + (rounds > 0)) / 2;
            if (drop_count != 0) {
                stack_drop(cache, index, drop_count, drop, context);
            }
            cache->hand = index + 1;
        } else {
            cache->hand = 0;
            rounds++;
        }
    }
}

bool fallow__cache_make_room(fallow__cache *cache, size_t index, fallow__cache_drop *drop, void *context)
{
    if (!stack_grow(cache, index)) {
        if (cache->bottoms[index] == 0) {
            return false;
        }
        stack_drop(cache, index, (count_of(cache, index) + 1) / 2, drop, context);
    }
    if (!fallow__cache_has_room(cache, index)) {
        size_t room_units = cache->caches->limit_units / 8; /* so much, that it does not come to this again soon */
        cache_shrink(cache, room_units > index ? room_units : index + 1, drop, context);
    }
    return true;
}

void fallow__cache_empty(fallow__cache *cache, fallow__cache_drop *drop, void *context)
{
    for (uint32_t index = next_used(cache, 0); index < cache->caches->bin_count; index = next_used(cache, index + 1)) {
        stack_drop(cache, index, count_of(cache, index), drop, context);
        fallow__cache_head(cache, cache->bottoms[index])->batch = 0;
    }
    cache->room_units = cache->limit_units; /* as it is, but where a fork came between a stack and this */
}

bool fallow__cache_remove(fallow__cache *cache, size_t index, const void *base)
{
    uint32_t count = cache->bottoms[index] != 0 ? count_of(cache, index) : 0;
    fallow__item *items = count != 0 ? fallow__cache_item(cache, cache->bottoms[index]) : NULL;
    for (uint32_t i = count; i-- > 0;) {
        if (fallow__item_base(items[i]) == base) {
            items[i] = items[count - 1];
            set_top(cache, index, top_of(cache, index) - ITEM_BYTES);
            set_barrier(cache, index);
            cache->room_units += index + 1;
            return true;
        }
    }
    return false;
}

static unsigned share_of(const fallow__cache *cache, size_t index, unsigned share)
{
    size_t runs = cache->caches->limit_units / share / (index + 1);
    return runs > FALLOW__CACHE_BATCH_MOST ? FALLOW__CACHE_BATCH_MOST : runs != 0 ? (unsigned)runs : 1;
}

unsigned fallow__cache_batch(fallow__cache *cache, size_t index)
{
    if (!stack_grow(cache, index)) {
        return 1;
    }
    stack_head *head = fallow__cache_head(cache, cache->bottoms[index]);
    uint32_t batch = head->batch != 0 ? head->batch * 2 : 1;
    unsigned most = share_of(cache, index, SHARE_OF_DEPOT);
    batch = batch < most ? batch : most;
    uint32_t capacity = (head->end - cache->bottoms[index]) / ITEM_BYTES;
    if (batch > capacity && stack_make_larger(cache, index)) {
        head = fallow__cache_head(cache, cache->bottoms[index]);
        capacity = (head->end - cache->bottoms[index]) / ITEM_BYTES;
    }
    head->batch = batch < capacity ? batch : capacity;
    return head->batch;
}

unsigned fallow__cache_batch_of_arena(const fallow__cache *cache, size_t index, unsigned batch)
{
    unsigned most = share_of(cache, index, SHARE_OF_ARENA);
    return batch < most ? batch : most;
}

uint32_t fallow__cache_refill(fallow__cache *cache, size_t index, const fallow__item *items, uint32_t count)
{
    if (!stack_grow(cache, index)) {
        return 0;
    }
    uint32_t top = top_of(cache, index);
    uint32_t room = (fallow__cache_head(cache, cache->bottoms[index])->end - top) / ITEM_BYTES;
    size_t fits = cache->room_units / (index + 1);
    count = count < room ? count : room;
    count = count <= fits ? count : (uint32_t)fits;
    for (uint32_t i = count; i-- > 0;) {
        *fallow__cache_item(cache, top) = items[i];
        top += ITEM_BYTES;
    }
    set_top(cache, index, top);
    set_barrier(cache, index);
    cache->room_units -= count * (index + 1);
    return count;
}

/* --- caches and threads ------------------------------------------------------------------------------------ */

static void threads_begin(void)
{
    fallow__os_lock_init(&threads_lock);
}

static void threads_lock_acquire(void)
{
    fallow__os_run_once(&threads_once, threads_begin);
    fallow__os_lock_acquire(&threads_lock);
}

void fallow__threads_hold(void)
{
    threads_lock_acquire();
}

void fallow__threads_let_go(void)
{
    fallow__os_lock_release(&threads_lock);
}

/* This thread may have used arenas that are not here any more. */
void fallow__threads_in_child(void)
{
    fallow__thread *here = &fallow__here;
    fallow__os_lock_init(&threads_lock);
    atomic_store_explicit(&here->latest.caches, FALLOW__CACHES_NOBODY, memory_order_relaxed);
    for (unsigned i = 0; i < FALLOW__CACHE_ENTRIES; i++) {
        atomic_store_explicit(&here->entries[i].caches, FALLOW__CACHES_NOBODY, memory_order_relaxed);
    }
    here->first = NULL;
}

void fallow__caches_in_child(fallow__caches *caches, fallow__cache_drop *drop, void *context)
{
    fallow__thread *here = &fallow__here;
    caches->stops = 0;
    for (fallow__cache *cache = caches->first; cache != NULL; cache = cache->next) {
        if (cache->owner == here) {
            cache->next_here = here->first;
            here->first = cache;
        } else if (cache->owner != NULL) {
            fallow__cache_empty(cache, drop, context);
            cache->owner = NULL;
            caches->owners--;
        }
    }
    if (caches->depot != NULL) {
        fallow__cache_empty(caches->depot, drop, context);
    }
}

static size_t stacks_bytes(const fallow__caches *caches)
{
    size_t bytes = (caches->limit_units << FALLOW__CACHE_UNIT_SHIFT) / 256;
    bytes = bytes < STACKS_BYTES_MOST ? bytes : STACKS_BYTES_MOST;
    return bytes > STACKS_BYTES_LEAST ? bytes : STACKS_BYTES_LEAST;
}

/* Where bottoms and stacks begin, from the cache's base. */
static size_t bottoms_offset(const fallow__caches *caches)
{
    return offsetof(fallow__cache, stacks) + sizeof(fallow__item) + caches->bin_count * sizeof(fallow__cache_bin);
}

static size_t stacks_offset(const fallow__caches *caches)
{
    return (size_t)fallow__align_up(bottoms_offset(caches) + caches->bin_count * sizeof(uint32_t), 64);
}

void fallow__caches_init(fallow__caches *caches, size_t page_bytes, size_t limit_bytes, bool is_checked,
                         void (*drain)(fallow__caches *caches, fallow__cache *cache))
{
    size_t run_bytes = limit_bytes / 4 < FALLOW__CACHE_RUN_BYTES_MAX ? limit_bytes / 4 : FALLOW__CACHE_RUN_BYTES_MAX;
    run_bytes -= run_bytes % page_bytes;
    *caches = (fallow__caches){
        .unit_mask = (uint32_t)(page_bytes >> FALLOW__CACHE_UNIT_SHIFT) - 1,
        .entry = atomic_fetch_add_explicit(&entries_given, 1, memory_order_relaxed) % FALLOW__CACHE_ENTRIES,
        .is_checked = is_checked,
        .drain = drain,
    };
    atomic_init(&caches->epoch, 1);
    if (limit_bytes >= LIMIT_LEAST && run_bytes != 0) {
        caches->limit_units = limit_bytes >> FALLOW__CACHE_UNIT_SHIFT;
        caches->bin_count = (uint32_t)(run_bytes >> FALLOW__CACHE_UNIT_SHIFT);
    }
}

size_t fallow__cache_bytes(const fallow__caches *caches)
{
    return (size_t)fallow__align_up(COLOUR_MOST + stacks_offset(caches) + stacks_bytes(caches),
                                    fallow__os_page_bytes());
}

/* Remember a cache in this thread. The arena's lock is held. */
static void cache_remember(fallow__cache *cache)
{
    fallow__thread *here = &fallow__here;
    const fallow__caches *caches = cache->caches;
    fallow__cache_entry *entry = &here->entries[caches->entry];
    if (!caches->is_checked && caches->stops == 0) {
        /* the caches last: a thread that takes it away looks at them only. The entry may have named another arena: who
         * finds that it does not any more, and so has nothing to wait for, is to see what was done there */
        entry->cache = cache;
        atomic_store_explicit(&entry->caches, caches, memory_order_release);
        here->latest.cache = cache;
        atomic_store_explicit(&here->latest.caches, caches, memory_order_relaxed);
    }
}

fallow__cache *fallow__cache_mine(const fallow__caches *caches)
{
    fallow__cache *cache = caches->first;
    while (cache != NULL && cache->owner != &fallow__here) {
        cache = cache->next;
    }
    if (cache != NULL) {
        cache_remember(cache);
    }
    return cache;
}

bool fallow__cache_is_missed(fallow__caches *caches, bool is_free)
{
    fallow__thread *here = &fallow__here;
    if (caches->bin_count == 0 || here->has_left) {
        return false;
    }
    if (caches->patience != 0) {
        caches->patience--;
        return false;
    }
    here->missed++;
    return is_free || here->missed >= MISSES_BEFORE_CACHE;
}

void fallow__cache_refused(fallow__caches *caches)
{
    caches->patience = MISSES_AFTER_REFUSAL;
}

/* The thread ends: its caches are emptied, and may become another thread's. */
static void thread_leaves(void)
{
    fallow__thread *here = &fallow__here;
    threads_lock_acquire();
    here->has_left = true;
    for (fallow__cache *cache = here->first; cache != NULL;) {
        fallow__cache *next = cache->next_here;
        cache->caches->drain(cache->caches, cache);
        cache = next;
    }
    here->first = NULL;
    fallow__os_lock_release(&threads_lock);
}

bool fallow__cache_prepare(void)
{
    if (!fallow__os_at_thread_exit(thread_leaves)) {
        fallow__here.has_left = true; /* nobody would empty it */
        return false;
    }
    fallow__here.missed = 0;
    return true;
}

void fallow__cache_begin(void)
{
    threads_lock_acquire();
}

void fallow__cache_finish(void)
{
    fallow__os_lock_release(&threads_lock);
}

static void cache_own(fallow__cache *cache)
{
    fallow__thread *here = &fallow__here;
    cache->owner = here;
    cache->caches->owners++;
    cache->next_here = here->first;
    here->first = cache;
    cache_remember(cache);
}

bool fallow__cache_adopt(fallow__caches *caches)
{
    fallow__cache *cache = caches->first;
    while (cache != NULL && (cache->owner != NULL || cache == caches->depot)) {
        cache = cache->next;
    }
    if (cache != NULL) {
        cache_own(cache);
    }
    return cache != NULL;
}

/* Is `address` one of [base, base + size_bytes), but for a multiple of 4 KiB? */
static inline bool is_alias(uintptr_t address, uintptr_t base, size_t size_bytes)
{
    return (address - base) % 4096 < size_bytes;
}

/* How far behind its reservation's start a cache is best put. A call that hits loads from the thread, the arena and the
 * bin right after the last one has stored to the thread, the bin and the room. Where two of them differ by a multiple
 * of 4 KiB, processors take the one for the other at first, and the call is slower by half and more (x86: "4K
 * aliasing"). Where the thread's variables lie, the program's linker says; so the bins for the least sizes get out of
 * the way. */
static size_t colour_for(const fallow__caches *caches, const fallow_region *region)
{
    const uintptr_t others[] = {(uintptr_t)&fallow__here, (uintptr_t)&fallow__here.latest,
                                (uintptr_t)&fallow__here.latest.cache, (uintptr_t)&caches->unit_mask,
                                (uintptr_t)&caches->epoch};
    size_t colour = COLOUR_STEP; /* not at the beginning of a page: see fallow__caches */
    for (size_t i = 0; i < sizeof others / sizeof others[0] && colour < COLOUR_MOST;) {
        uintptr_t cache = (uintptr_t)region->base + colour;
        bool is_clear = !is_alias(others[i], cache, 64) && !is_alias(others[i], cache + offsetof(fallow__cache, stacks),
                                                                     (1 + COLOUR_BINS) * sizeof(fallow__cache_bin));
        colour += is_clear ? 0 : COLOUR_STEP;
        i = is_clear ? i + 1 : 0;
    }
    return colour;
}

static void cache_init(fallow__caches *caches, const fallow_region *region)
{
    fallow__cache *cache = (fallow__cache *)(void *)((unsigned char *)region->base + colour_for(caches, region));
    uint32_t stacks_at = (uint32_t)(stacks_offset(caches) - offsetof(fallow__cache, stacks));
    *cache = (fallow__cache){
        .caches = caches,
        .next = caches->first,
        .stacks_end = (uint32_t)fallow__align_up(stacks_at, 8),
        .stacks_limit = stacks_at + (uint32_t)stacks_bytes(caches),
        .bottoms = (uint32_t *)(void *)((unsigned char *)cache + bottoms_offset(caches)),
        .limit_units = caches->limit_units,
        .room_units = caches->limit_units,
        .region = *region,
        .none = FALLOW__ITEM_NONE,
    };
    fallow__mark_set(&cache->mark, region, caches);
    cache->stacks[0] = fallow__cache_barrier(cache);
    caches->first = cache;
}

void fallow__cache_open(fallow__caches *caches, const fallow_region *region)
{
    cache_init(caches, region);
    cache_own(caches->first);
}

bool fallow__depot_is_missed(const fallow__caches *caches)
{
    return fallow__depot_is_useful(caches) && caches->depot == NULL;
}

void fallow__depot_open(fallow__caches *caches, const fallow_region *region)
{
    cache_init(caches, region);
    caches->depot = caches->first;
    caches->depot->limit_units = caches->limit_units / DEPOT_SHARE;
    caches->depot->room_units = caches->depot->limit_units;
}

uint32_t fallow__depot_put(fallow__caches *caches, const fallow__item *items, uint32_t count, size_t size_bytes)
{
    uint32_t done = 0;
    uint32_t kept = 1;
    size_t index = fallow__cache_index(caches, size_bytes);
    bool is_open = caches->depot != NULL && fallow__depot_is_useful(caches);
    while (is_open && done < count && kept != 0) { /* its stack grows step by step */
        kept = fallow__cache_refill(caches->depot, index, items + done, count - done);
        done += kept;
    }
    return done;
}

static void depot_want(fallow__caches *caches, size_t index, bool is_wanted)
{
    uint32_t bit = (uint32_t)1 << (index % 32);
    uint32_t wanted = atomic_load_explicit(&caches->wanted[index / 32], memory_order_relaxed);
    wanted = is_wanted ? wanted | bit : wanted & ~bit;
    atomic_store_explicit(&caches->wanted[index / 32], wanted, memory_order_relaxed);
}

uint32_t fallow__depot_take(fallow__caches *caches, size_t index, fallow__item *items_out, uint32_t most)
{
    uint32_t taken = 0;
    fallow__cache *depot = caches->depot;
    while (depot != NULL && taken < most &&
           (items_out[taken] = fallow__cache_take(depot, index)) != FALLOW__ITEM_NONE) {
        taken++;
    }
    if (taken != 0) {
        set_barrier(depot, index);
    }
    if (depot != NULL && fallow__depot_is_useful(caches) &&
        (depot->bottoms[index] == 0 || count_of(depot, index) <= taken)) {
        depot_want(caches, index,
                   true); /* not enough for another time: who has some may bring it before it is missed */
    }
    return taken;
}

bool fallow__cache_has_plenty(fallow__cache *cache, size_t index)
{
    uint32_t bottom = cache->bottoms[index];
    return bottom != 0 &&
           count_of(cache, index) >= (fallow__cache_head(cache, bottom)->batch == 0 ? PLENTY : PLENTY_OWN);
}

void fallow__cache_give(fallow__cache *cache, size_t index, fallow__cache_drop *drop, void *context)
{
    fallow__caches *caches = cache->caches;
    if (!fallow__depot_wants(caches, index)) {
        return; /* another thread was quicker */
    }
    depot_want(caches, index, false);
    /* the thread that missed it may have ended, and have been the only other one */
    if (fallow__depot_is_useful(caches) && fallow__cache_has_plenty(cache, index)) {
        stack_drop(cache, index, count_of(cache, index) / 4 * 3, drop, context);
    }
}

_Static_assert(COLOUR_MOST + offsetof(fallow__cache, none) <= FALLOW__MARK_WITHIN_BYTES, "the mark is found");

/* Take an arena out of an entry; whether it was there. What its thread did before another one took this one's place is
 * seen by the caller, and by whoever looks here next: cache_remember. */
static bool entry_forget(fallow__cache_entry *entry, const fallow__caches *caches)
{
    const fallow__caches *expected = caches;
    return atomic_compare_exchange_strong_explicit(&entry->caches, &expected, FALLOW__CACHES_NOBODY,
                                                   memory_order_acq_rel, memory_order_acquire);
}

/* A thread is to ask with the lock before it uses its cache again; whether it might not have. */
static bool thread_forget(fallow__thread *thread, const fallow__caches *caches)
{
    bool is_there = entry_forget(&thread->entries[caches->entry], caches);
    return entry_forget(&thread->latest, caches) || is_there;
}

void fallow__cache_disown(fallow__cache *cache)
{
    (void)thread_forget(cache->owner, cache->caches);
    cache->owner = NULL;
    cache->caches->owners--;
}

void fallow__caches_close(const fallow__caches *caches)
{
    if (caches->first == NULL) {
        return;
    }
    threads_lock_acquire();
    for (fallow__cache *cache = caches->first; cache != NULL; cache = cache->next) {
        if (cache->owner != NULL) {
            (void)thread_forget(cache->owner, caches);
            fallow__cache **link = &cache->owner->first;
            while (*link != cache) {
                link = &(*link)->next_here;
            }
            *link = cache->next_here;
        }
    }
    fallow__os_lock_release(&threads_lock);
}

/* Wait until a thread is not in the middle of something. */
static void thread_wait(const fallow__thread *thread)
{
    for (unsigned i = 0; atomic_load_explicit(&thread->is_busy, memory_order_acquire) != 0; i++) {
        if (i > 100) {
            fallow__os_yield();
        }
    }
}

/* Another thread than this one has it, and may be using it. */
static inline bool is_others(const fallow__cache *cache)
{
    return cache->owner != NULL && cache->owner != &fallow__here;
}

/* Take the entries of all other threads away; whether there was any. */
static bool threads_forget(const fallow__caches *caches)
{
    bool is_any = false;
    for (const fallow__cache *cache = caches->first; cache != NULL; cache = cache->next) {
        if (is_others(cache)) {
            is_any = thread_forget(cache->owner, caches) || is_any;
        }
    }
    return is_any;
}

bool fallow__caches_stop(fallow__caches *caches, fallow__os_lock *lock)
{
    caches->stops++;
    for (;;) {
        /* again after each wait: an owner in the middle of something may write `latest` anew, but not its entry */
        caches->taken += threads_forget(caches) ? 1 : 0;
        uint64_t taken = caches->taken;
        if (caches->settled == taken) {
            return true;
        }
        fallow__os_lock_release(lock);
        bool is_passed = fallow__os_barrier_all_threads();
        fallow__os_lock_acquire(lock);
        if (!is_passed) {
            return false;
        }
        for (const fallow__cache *cache = caches->first; cache != NULL; cache = cache->next) {
            if (is_others(cache)) {
                thread_wait(cache->owner);
            }
        }
        caches->settled = taken > caches->settled ? taken : caches->settled;
    }
}

void fallow__caches_go_on(fallow__caches *caches)
{
    caches->stops--;
}

/* --- looking ----------------------------------------------------------------------------------------------- */

bool fallow__caches_hold(const fallow__caches *caches, size_t index, const void *base)
{
    for (const fallow__cache *cache = caches->first; cache != NULL; cache = cache->next) {
        uint32_t count = cache->bottoms[index] != 0 ? count_of(cache, index) : 0;
        for (uint32_t i = 0; i < count; i++) {
            if (fallow__item_base(stack_of(cache, index)[i]) == base) {
                return true;
            }
        }
    }
    return false;
}

fallow__cached fallow__caches_count(const fallow__caches *caches, bool is_others_only)
{
    fallow__cached kept = {0};
    for (const fallow__cache *cache = caches->first; cache != NULL; cache = cache->next) {
        if (!is_others_only || cache->owner != &fallow__here) {
            fallow__cached more = cache_count(cache);
            kept.run_count += more.run_count;
            kept.bytes += more.bytes;
        }
    }
    return kept;
}

void fallow__cache_visit(const fallow__cache *cache, void (*visit)(void *context, fallow__item item, size_t size_bytes),
                         void *context)
{
    for (uint32_t index = next_used(cache, 0); index < cache->caches->bin_count; index = next_used(cache, index + 1)) {
        uint32_t count = count_of(cache, index);
        for (uint32_t i = 0; i < count; i++) {
            visit(context, stack_of(cache, index)[i], index_bytes(index));
        }
    }
}
