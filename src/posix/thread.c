/* The clock, threads, events, the end of a thread, the barrier in all of them, fork.
 *
 * An event is a condition variable beside the mutex of the lock it is used with. A lock may be held by its flag alone,
 * by the only thread of the process (lock.c); one that sleeps would keep the flag up for ever, so it first becomes a
 * holder of the mutex.
 *
 * The end of a thread is told by a key of thread-specific data, whose value is set to something in each thread that
 * asks, and whose destructor then runs in it. Where that would not be called, there is none: the caller does without.
 * Keys run out: there are 1024 (PTHREAD_KEYS_MAX). glibc takes memory from malloc for the values of a key above the
 * 32nd. A library that holds such a key must not be unloaded: the shared library is linked with -z nodelete. */
#define _GNU_SOURCE 1 /* syscall, dl_iterate_phdr */

#include <assert.h>
#include <errno.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "posix.h"

#define NS_PER_SECOND UINT64_C(1000000000)

/* Longer than this is for ever. The clock began when the machine did, and with 32 bits for seconds it goes to 68 years:
 * so the end of a sleep can always be told. */
#define TIMEOUT_MAX_NS ((UINT64_C(1) << 30) * NS_PER_SECOND)

enum {
    STACK_BYTES = 256 << 10, /* for us; a sanitizer's share is in it */
    /* Linux numbers that older headers lack. Source: linux/membarrier.h, since Linux 4.14 */
    MEMBARRIER_PRIVATE_EXPEDITED = 1 << 3,
    MEMBARRIER_REGISTER_PRIVATE_EXPEDITED = 1 << 4
};

static_assert(sizeof(pthread_cond_t) <= sizeof(fallow__os_event), "an event fits its room");
static_assert(_Alignof(pthread_cond_t) <= _Alignof(fallow__os_event), "and so does its alignment");

/* --- clock ------------------------------------------------------------------------------------------------- */

uint64_t fallow__os_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* fails for a clock that is not there, and this one always is */
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* --- threads ----------------------------------------------------------------------------------------------- */

typedef struct thread {
    pthread_t id;
    void (*run)(void *context);
    void *context;
} thread;

static_assert(sizeof(thread) <= sizeof(fallow__os_thread), "a thread fits its room");
static_assert(_Alignof(thread) <= _Alignof(fallow__os_thread), "and so does its alignment");

static thread *thread_of(fallow__os_thread *given)
{
    return (thread *)(void *)given->room;
}

static void *run_thread(void *argument)
{
    const thread *ours = argument;
    ours->run(ours->context);
    return NULL;
}

/* A small stack, and where the program's thread-local variables alone are larger than that, the usual one.
 * Source: glibc nptl/allocatestack.c: EINVAL if the static TLS does not fit */
static int create(thread *ours)
{
    pthread_attr_t attributes;
    int code = pthread_attr_init(&attributes);
    if (code != 0) {
        return code;
    }
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES); /* too small a wish leaves the usual size */
    code = pthread_create(&ours->id, &attributes, run_thread, ours);
    (void)pthread_attr_destroy(&attributes);
    return code == EINVAL ? pthread_create(&ours->id, NULL, run_thread, ours) : code;
}

/* What a thread of ours does not take: everything that is sent from outside. The signals for what it does itself stay
 * open: blocked ones would end the program where it has a handler. */
static void fill_unwanted(sigset_t *signals_out)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigfillset(signals_out);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        sigdelset(signals_out, own[i]);
    }
}

fallow_status fallow__os_thread_start(void (*run)(void *context), void *context, fallow__os_thread *thread_out,
                                      fallow__os_error *error_out)
{
    thread *ours = thread_of(thread_out);
    sigset_t unwanted;
    sigset_t before;
    *ours = (thread){.run = run, .context = context};
    fill_unwanted(&unwanted);
    pthread_sigmask(SIG_BLOCK, &unwanted, &before); /* the new thread has our mask */
    int code = create(ours);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code == 0 ? FALLOW_OK : fallow__posix_cause(code, FALLOW__POSIX_THREAD, STACK_BYTES, error_out);
}

void fallow__os_thread_join(fallow__os_thread *given)
{
    if (pthread_join(thread_of(given)->id, NULL) != 0) {
        fallow__os_stop("fallow: a thread cannot be joined");
    }
}

/* --- events ------------------------------------------------------------------------------------------------ */

static pthread_cond_t *condition_of(fallow__os_event *event)
{
    return (pthread_cond_t *)(void *)event->room;
}

/* Its clock is ours: one that is set would sleep too long, or not at all. */
void fallow__os_event_init(fallow__os_event *event)
{
    pthread_condattr_t attributes;
    bool is_made =
        pthread_condattr_init(&attributes) == 0 && pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
        pthread_cond_init(condition_of(event), &attributes) == 0 && pthread_condattr_destroy(&attributes) == 0;
    if (!is_made) {
        fallow__os_stop("fallow: an event cannot be created");
    }
}

void fallow__os_event_destroy(fallow__os_event *event)
{
    if (pthread_cond_destroy(condition_of(event)) != 0) {
        fallow__os_stop("fallow: an event is destroyed while a thread sleeps there");
    }
}

void fallow__os_event_wait(fallow__os_event *event, fallow__os_lock *lock, uint64_t timeout_ns)
{
    fallow__posix_lock *held = fallow__posix_lock_of(lock);
    if (atomic_load_explicit(&held->is_flagged, memory_order_relaxed)) {
        /* Whoever waits for the flag has the mutex: let go first. What happens in between may be what the caller waits
         * for, so this is an early return. */
        atomic_store_explicit(&held->is_flagged, false, memory_order_release);
        pthread_mutex_lock(&held->mutex);
        return;
    }
    if (timeout_ns > TIMEOUT_MAX_NS) {
        pthread_cond_wait(condition_of(event), &held->mutex);
        return;
    }
    uint64_t end_ns = fallow__os_clock_ns() + timeout_ns;
    const struct timespec end = {.tv_sec = (time_t)(end_ns / NS_PER_SECOND), .tv_nsec = (long)(end_ns % NS_PER_SECOND)};
    (void)pthread_cond_timedwait(condition_of(event), &held->mutex, &end); /* ETIMEDOUT is as good a reason as any */
}

void fallow__os_event_wake(fallow__os_event *event)
{
    (void)pthread_cond_broadcast(condition_of(event)); /* has no error */
}

/* --- the end of a thread ----------------------------------------------------------------------------------- */

static struct {
    pthread_key_t key;
    bool is_made;
    _Atomic(void (*)(void)) leave;
} exits;

static void thread_ends(void *value)
{
    (void)value;
    atomic_load_explicit(&exits.leave, memory_order_relaxed)();
}

/* Is this the program itself? Its headers are where the kernel says, and glibc has no name for it. */
static int is_program(struct dl_phdr_info *info, size_t size_bytes, void *context)
{
    (void)size_bytes;
    (void)context;
    return info->dlpi_name[0] == '\0' || (uintptr_t)info->dlpi_phdr == getauxval(AT_PHDR);
}

/* A library in a namespace of its own (dlmopen) has a C library of its own, which is not told of the end of threads
 * that the program's has started; and keys of both are the same slots of a thread. What is listed there is that
 * namespace, in which the program is not. */
static void make_key(void)
{
    exits.is_made = dl_iterate_phdr(is_program, NULL) != 0 && pthread_key_create(&exits.key, thread_ends) == 0;
}

bool fallow__os_at_thread_exit(void (*leave)(void))
{
    static fallow__os_once once;
    fallow__os_run_once(&once, make_key);
    atomic_store_explicit(&exits.leave, leave, memory_order_relaxed);
    return exits.is_made && pthread_setspecific(exits.key, &exits) == 0; /* any value but NULL */
}

void fallow__os_yield(void)
{
    sched_yield();
}

/* --- the barrier, fork ------------------------------------------------------------------------------------- */

static bool membarrier(int command)
{
#if defined(__NR_membarrier)
    int saved = errno;
    bool is_done = syscall(__NR_membarrier, command, 0, 0) == 0;
    errno = saved;
    return is_done;
#else
    (void)command;
    return false;
#endif
}

static bool can_barrier;

static void register_barrier(void)
{
    can_barrier = membarrier(MEMBARRIER_REGISTER_PRIVATE_EXPEDITED);
}

/* Only the expedited one: MEMBARRIER_CMD_GLOBAL waits for every processor of the machine, for milliseconds. A child of
 * fork has its parent's registration. Source: membarrier(2) */
bool fallow__os_barrier_all_threads(void)
{
    static fallow__os_once once;
    fallow__os_run_once(&once, register_barrier);
    return can_barrier && membarrier(MEMBARRIER_PRIVATE_EXPEDITED);
}

bool fallow__os_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    (void)fallow__posix_waiting_begin(); /* first; where it is refused, no release waits */
    return pthread_atfork(before, in_parent, in_child) == 0;
}
