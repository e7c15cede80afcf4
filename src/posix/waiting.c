/* Releases that wait.
 *
 * Linux makes one mapping out of neighbours that are alike, so a reservation may lie in the middle of one. To take it
 * out from there makes two out of one, and at vm.max_map_count munmap refuses that (ENOMEM). Whoever releases could do
 * nothing about it but try again, at some time; so that is done here:
 *
 *   release ---- munmap ----> gone
 *      |                       ^
 *      | ENOMEM                | munmap, tried again with later reservations and releases
 *      v                       |
 *   its memory is given back, which needs no mapping; its addresses wait in the table
 *
 * The table has a fixed size, because memory is what cannot be had at that moment. Where it is full, the release fails.
 *
 * Invariants, while the mutex is free
 *   - entries[0, count) are mapped, and nobody's: only who has the mutex unmaps one, and takes it out
 *   - waiting_count is count, for those who only want to know whether there are any
 *
 * In the child of a fork the entries are the same, but for those that a child does not have: what lies at their
 * addresses is another's. The mutex is held around a fork. It is the innermost one: nothing else is taken while it is
 * held, and nobody who holds it waits. So it has to be taken after all others before a fork, which is to say that its
 * handlers are the first ones the library asks for; fallow__os_at_fork sees to that.
 *
 * Source: Linux mm/vma.c, vms_gather_munmap_vmas */
#define _GNU_SOURCE 1 /* MAP_ANONYMOUS */

#include <errno.h>
#include <sys/mman.h>

#include "posix.h"

enum {
    WAITING_MOST = 512,
    REFUSALS_MOST = 4 /* of one attempt to release some: where that many are refused, the rest would be too */
};

typedef struct entry {
    void *base;
    size_t size_bytes;
    bool is_in_child;
} entry;

static struct {
    pthread_mutex_t mutex;
    size_t count;
    size_t next; /* whose turn it is to be tried */
    entry entries[WAITING_MOST];
} waiting = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static atomic_size_t waiting_count;

static void remove_entry(size_t index)
{
    waiting.entries[index] = waiting.entries[--waiting.count];
    atomic_store_explicit(&waiting_count, waiting.count, memory_order_relaxed);
}

/* --- around a fork ----------------------------------------------------------------------------------------- */

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static bool is_fork_safe;

static void before_fork(void)
{
    pthread_mutex_lock(&waiting.mutex);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&waiting.mutex);
}

static void in_child(void)
{
    for (size_t index = waiting.count; index-- > 0;) {
        if (!waiting.entries[index].is_in_child) {
            remove_entry(index);
        }
    }
    pthread_mutex_unlock(&waiting.mutex);
}

static void ask_for_forks(void)
{
    is_fork_safe = pthread_atfork(before_fork, in_parent, in_child) == 0;
}

bool fallow__posix_waiting_begin(void)
{
    return pthread_once(&fork_once, ask_for_forks) == 0 && is_fork_safe;
}

/* --- releasing --------------------------------------------------------------------------------------------- */

bool fallow__posix_release_later(const fallow_region *region)
{
    if (!fallow__posix_waiting_begin()) {
        return false;
    }
    pthread_mutex_lock(&waiting.mutex);
    bool has_room = waiting.count < WAITING_MOST;
    if (has_room) {
        fallow__posix_drop_pages(region->base, region->size_bytes); /* while nobody else can unmap it */
        waiting.entries[waiting.count++] =
            (entry){region->base, region->size_bytes, (region->flags & FALLOW_REGION_NO_FORK) == 0};
        atomic_store_explicit(&waiting_count, waiting.count, memory_order_relaxed);
    }
    pthread_mutex_unlock(&waiting.mutex);
    return has_room;
}

void fallow__posix_release_waiting(void)
{
    if (atomic_load_explicit(&waiting_count, memory_order_relaxed) == 0) {
        return;
    }
    pthread_mutex_lock(&waiting.mutex);
    for (int refusals = 0; waiting.count != 0 && refusals < REFUSALS_MOST;) {
        waiting.next = waiting.next < waiting.count ? waiting.next : 0;
        if (munmap(waiting.entries[waiting.next].base, waiting.entries[waiting.next].size_bytes) == 0) {
            remove_entry(waiting.next);
        } else {
            waiting.next++;
            refusals++;
        }
    }
    pthread_mutex_unlock(&waiting.mutex);
}

uint64_t fallow__posix_waiting_bytes(void)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&waiting.mutex);
    for (size_t index = 0; index < waiting.count; index++) {
        bytes += waiting.entries[index].size_bytes;
    }
    pthread_mutex_unlock(&waiting.mutex);
    return bytes;
}
