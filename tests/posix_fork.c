/* Forks while threads work: the child finds every arena at rest, can use it at once, and has the background thread again
 * when it needs one; the parent goes on as if nothing had happened. And who stands on arenas may use them in handlers of
 * forks, and lock them out, if he has registered those after fallow's. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fallow.h"
#include "test.h"
#include "threads.h"

#define MIB ((size_t)1 << 20)

enum {
    ARENAS = 3,
    THREADS = 4, /* one of them forks */
    FORKS = 60,
    CHILD_SECONDS = 60 /* a child that takes longer waits for something that does not come */
};

static struct {
    fallow_arena *arena[ARENAS];
    fallow_arena *unforked;
    atomic_bool is_over;
    atomic_uint bad; /* line of what was wrong */
} world;

#define NOTE(condition)                         \
    do {                                        \
        if (!(condition)) {                     \
            atomic_store(&world.bad, __LINE__); \
        }                                       \
    } while (0)

static bool grant(void *context, void *base, size_t size_bytes)
{
    (void)context;
    (void)base;
    (void)size_bytes;
    sched_yield(); /* in the middle of a commit, for long enough to be forked in */
    return true;
}

static void use(fallow_arena *arena, test_random *random)
{
    size_t size_bytes = (1 + test_below(random, 64)) * 16 * 1024;
    void *base;
    if (fallow_arena_alloc(arena, size_bytes, &base) == FALLOW_OK) {
        memset(base, 0x5a, size_bytes);
        fallow_arena_free(arena, base, size_bytes);
    }
    switch (test_below(random, 16)) {
    case 0: NOTE(fallow_arena_trim(arena, test_below(random, 2) * MIB, NULL) == FALLOW_OK); break;
    case 1: NOTE(fallow_arena_scavenge(arena, 1000, NULL) == FALLOW_OK); break;
    case 2: NOTE(fallow_arena_check(arena) == FALLOW_OK); break;
    default: break;
    }
}

/* With 8 MiB of free memory the thread has something to do. */
static bool is_given_back(fallow_arena *arena)
{
    fallow_arena_stats s;
    void *base;
    if (fallow_arena_alloc(arena, 8 * MIB, &base) != FALLOW_OK) {
        return false;
    }
    memset(base, 1, 8 * MIB);
    fallow_arena_free(arena, base, 8 * MIB);
    do {
        sched_yield();
        fallow_arena_read_stats(arena, &s);
    } while (s.retained_bytes > MIB); /* or the alarm */
    return true;
}

static int child(uint64_t seed)
{
    test_random random = {seed};
    alarm(CHILD_SECONDS);
    for (int i = 0; i < 200; i++) {
        use(world.arena[i % ARENAS], &random);
    }
    for (int i = 0; i < ARENAS; i++) {
        NOTE(fallow_arena_check(world.arena[i]) == FALLOW_OK);
    }
    NOTE(is_given_back(world.arena[0]));
    fallow_arena *own = NULL;
    fallow_arena_options options = {.reserve_bytes = 64 * MIB, .scavenge = FALLOW_SCAVENGE_THREAD, .purge_delay_ms = 1};
    NOTE(fallow_arena_create(&options, &own) == FALLOW_OK && is_given_back(own));
    fallow_arena_destroy(own);
    for (int i = 0; i < ARENAS; i++) {
        fallow_arena_destroy(world.arena[i]);
    }
    return atomic_load(&world.bad) == 0 ? 0 : (int)(1 + atomic_load(&world.bad) % 250);
}

static void fork_or_work(void *context, unsigned index)
{
    test_random random = {*(const uint64_t *)context + index};
    if (index != 0) {
        while (!atomic_load(&world.is_over)) {
            use(world.arena[test_below(&random, ARENAS)], &random);
            use(world.unforked, &random);
        }
        return;
    }
    for (int i = 0; i < FORKS; i++) {
        int status = -1;
        pid_t id = fork();
        if (id == 0) {
            _exit(child(random.state));
        }
        NOTE(id > 0 && waitpid(id, &status, 0) == id);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            printf("the child: status %#x\n", status);
            NOTE(false);
        }
        use(world.arena[(unsigned)i % ARENAS], &random);
    }
    atomic_store(&world.is_over, true);
}

static void fork_among_threads(size_t thread_cache_bytes)
{
    uint64_t seed = test_seed("posix_fork").state;
    static const fallow_arena_options options[ARENAS] = {
        {.scavenge = FALLOW_SCAVENGE_THREAD, .purge_delay_ms = 1},
        {.scavenge = FALLOW_SCAVENGE_ASSIST,
         .purge_delay_ms = 1,
         .purge = FALLOW_PURGE_DECOMMIT,
         .before_commit = grant},
        {.scavenge = FALLOW_SCAVENGE_THREAD, .purge_delay_ms = 1, .purge = FALLOW_PURGE_FREE, .limit_bytes = 4 << 20},
    };
    for (int i = 0; i < ARENAS; i++) {
        fallow_arena_options o = options[i];
        o.reserve_bytes = 64 * MIB;
        o.thread_cache_bytes = thread_cache_bytes;
        assert_int_equal(fallow_arena_create(&o, &world.arena[i]), FALLOW_OK);
    }
    fallow_arena_options o = {.reserve_bytes = 64 * MIB,
                              .thread_cache_bytes = thread_cache_bytes,
                              .scavenge = FALLOW_SCAVENGE_THREAD,
                              .purge_delay_ms = 1,
                              .flags = FALLOW_ARENA_NO_FORK};
    assert_int_equal(fallow_arena_create(&o, &world.unforked), FALLOW_OK);
    threads_run(THREADS, fork_or_work, &seed);
    assert_int_equal(atomic_load(&world.bad), 0);
    for (int i = 0; i < ARENAS; i++) {
        assert_int_equal(fallow_arena_check(world.arena[i]), FALLOW_OK);
        fallow_arena_destroy(world.arena[i]);
    }
    fallow_arena_destroy(world.unforked);
    atomic_store(&world.is_over, false);
}

static void children_find_arenas_at_rest(void **state)
{
    (void)state;
    fork_among_threads(FALLOW_CACHE_NONE);
}

/* What other threads keep at that moment is the child's to use; what this one keeps of an arena that the child has not
 * is forgotten. */
static void children_find_what_threads_kept(void **state)
{
    (void)state;
    fork_among_threads(512 << 10);
}

/* --- an allocator that stands on an arena ------------------------------------------------------------------- */

/* As allocators do: its lock is held while it asks the arena, and its handlers take it around a fork; they ask for
 * memory, too. Had fallow's handlers been registered later, a fork would find fallow's locks held first, and wait for
 * ever; so would the handlers themselves. */
static struct {
    pthread_mutex_t lock;
    fallow_arena *arena; /* NULL: not in use, and the handlers do nothing */
    unsigned before_count, after_count;
} heap = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void heap_use_locked(void)
{
    void *base;
    NOTE(fallow_arena_alloc(heap.arena, 3 * MIB, &base) == FALLOW_OK); /* more than what is committed at a time */
    memset(base, 1, 4096);
    fallow_arena_free(heap.arena, base, 3 * MIB);
    NOTE(fallow_arena_trim(heap.arena, 0, NULL) == FALLOW_OK);
}

static void heap_before_fork(void)
{
    if (heap.arena != NULL) {
        pthread_mutex_lock(&heap.lock);
        heap.before_count++;
        heap_use_locked();
    }
}

static void heap_after_fork(void)
{
    if (heap.arena != NULL) {
        heap.after_count++;
        heap_use_locked();
        pthread_mutex_unlock(&heap.lock);
    }
}

static void heap_use(void)
{
    pthread_mutex_lock(&heap.lock);
    heap_use_locked();
    pthread_mutex_unlock(&heap.lock);
}

static void fork_or_use_heap(void *context, unsigned index)
{
    (void)context;
    while (index != 0 && !atomic_load(&world.is_over)) {
        heap_use();
    }
    for (int i = 0; index == 0 && i < FORKS; i++) {
        int status = -1;
        pid_t id = fork();
        if (id == 0) {
            alarm(CHILD_SECONDS);
            heap_use();
            NOTE(fallow_arena_check(heap.arena) == FALLOW_OK);
            _exit(atomic_load(&world.bad) == 0 ? 0 : (int)(1 + atomic_load(&world.bad) % 250));
        }
        NOTE(id > 0 && waitpid(id, &status, 0) == id && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    if (index == 0) {
        atomic_store(&world.is_over, true);
    }
}

static void handlers_registered_later_may_use_arenas(void **state)
{
    (void)state;
    fallow_arena_options options = {.reserve_bytes = 64 * MIB, .scavenge = FALLOW_SCAVENGE_THREAD, .purge_delay_ms = 1};
    assert_int_equal(fallow_arena_create(&options, &heap.arena), FALLOW_OK);
    threads_run(THREADS, fork_or_use_heap, NULL);
    assert_int_equal(atomic_load(&world.bad), 0);
    assert_int_equal(heap.before_count, FORKS);
    assert_int_equal(heap.after_count, FORKS);
    assert_int_equal(fallow_arena_check(heap.arena), FALLOW_OK);
    fallow_arena_destroy(heap.arena);
    heap.arena = NULL;
    atomic_store(&world.is_over, false);
}

int main(void)
{
    test_begin();
    /* Once and for all, before any arena. */
    if (fallow_fork_register() != FALLOW_OK || fallow_fork_register() != FALLOW_OK ||
        pthread_atfork(heap_before_fork, heap_after_fork, heap_after_fork) != 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(children_find_arenas_at_rest),
        cmocka_unit_test(children_find_what_threads_kept),
        cmocka_unit_test(handlers_registered_later_may_use_arenas),
    };
    return cmocka_run_group_tests_name("posix_fork", tests, NULL, NULL);
}
