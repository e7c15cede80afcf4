/* Mutex, once, environment, last words: the small things that every POSIX system has.
 *
 * The public types are plain room, so that os.h needs no system header; the assertions below tie room to need. */
#define _GNU_SOURCE 1 /* secure_getenv */

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../bits.h"
#include "posix.h"

#if defined(__has_include)
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define IS_SINGLE_THREADED __libc_single_threaded
#endif
#endif
#ifndef IS_SINGLE_THREADED
#define IS_SINGLE_THREADED false
#endif

static_assert(sizeof(fallow__posix_lock) <= sizeof(fallow__os_lock), "a lock fits its room");
static_assert(_Alignof(fallow__posix_lock) <= _Alignof(fallow__os_lock), "and so does its alignment");
static_assert(sizeof(pthread_once_t) <= sizeof(fallow__os_once), "a once fits its room");
static_assert(PTHREAD_ONCE_INIT == 0, "a once that is all zero has not run");

void fallow__os_lock_init(fallow__os_lock *lock)
{
    if (pthread_mutex_init(&fallow__posix_lock_of(lock)->mutex, NULL) != 0) {
        fallow__os_stop("fallow: a lock cannot be created");
    }
    atomic_init(&fallow__posix_lock_of(lock)->is_flagged, false);
}

void fallow__os_lock_destroy(fallow__os_lock *lock)
{
    /* EBUSY means that a thread is inside an arena that is being destroyed */
    if (pthread_mutex_destroy(&fallow__posix_lock_of(lock)->mutex) != 0) {
        fallow__os_stop("fallow: a lock is destroyed while it is held");
    }
}

enum {
    PAUSES_MOST = 16, /* between two tries */
    PAUSES_ALL = 4096 /* some fifty microseconds: a sleep and the wake cost as much */
};

/* Let a processor that runs two threads give its time to the other. */
static inline void pause_a_little(void)
{
#if defined(__i386__) || defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

static FALLOW_NOINLINE void acquire_mutex(fallow__posix_lock *ours)
{
    /* What the lock is held for is over in less time than it takes to sleep and be woken. Each try takes the line from
     * the holder, so they become rarer. */
    unsigned pauses = 1;
    unsigned all = 0;
    while (pthread_mutex_trylock(&ours->mutex) != 0) {
        if (all >= PAUSES_ALL) {
            pthread_mutex_lock(&ours->mutex);
            break;
        }
        for (unsigned i = 0; i < pauses; i++) {
            pause_a_little();
        }
        all += pauses;
        pauses = pauses < PAUSES_MOST ? 2 * pauses : PAUSES_MOST;
    }
    while (atomic_load_explicit(&ours->is_flagged, memory_order_acquire)) {
        sched_yield();
    }
}

/* While the process has one thread, no mutex is needed, and glibc tells so: a flag stands for the lock then, which is a
 * quarter of the cost of an uncontended mutex. The holder may start a second thread before it releases (a callback
 * does): so whoever takes the mutex waits until the flag is down, and a release puts down what its acquire has put up.
 * Source: the GNU C Library manual, "Single-Threaded". A plain mutex has no error that a program could meet here. */
void fallow__os_lock_acquire(fallow__os_lock *lock)
{
    fallow__posix_lock *ours = fallow__posix_lock_of(lock);
    if (IS_SINGLE_THREADED) {
        atomic_store_explicit(&ours->is_flagged, true, memory_order_relaxed);
        return;
    }
    acquire_mutex(ours);
}

void fallow__os_lock_release(fallow__os_lock *lock)
{
    fallow__posix_lock *ours = fallow__posix_lock_of(lock);
    if (atomic_load_explicit(&ours->is_flagged, memory_order_relaxed)) {
        atomic_store_explicit(&ours->is_flagged, false, memory_order_release);
        return;
    }
    pthread_mutex_unlock(&ours->mutex);
}

void fallow__os_run_once(fallow__os_once *once, void (*initialise)(void))
{
    if (pthread_once((pthread_once_t *)(void *)once->room, initialise) != 0) {
        fallow__os_stop("fallow: pthread_once failed");
    }
}

int fallow__os_environment(const char *name, char *buffer_out, size_t buffer_bytes)
{
    const char *value = secure_getenv(name);
    if (value == NULL) {
        return -1;
    }
    size_t length = strlen(value);
    if (length >= buffer_bytes) {
        return -1;
    }
    memcpy(buffer_out, value, length + 1);
    return (int)length;
}

void fallow__os_stop(const char *message)
{
    fallow__os_print(message);
    fallow__os_print("\n");
    abort();
}
