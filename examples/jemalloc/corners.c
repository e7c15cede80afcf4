/* What jemalloc may ask of its hooks and rarely does, asked on purpose. Run with libfallow-jemalloc.so preloaded.
 *
 * Each hook is called as jemalloc would, and what it did is looked at from outside: a page that can be read or written
 * is found by having the system read it, which does not fault. */
#define _GNU_SOURCE
#include <errno.h>
#include <jemalloc/jemalloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQUIRE(condition)                                                          \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                \
        }                                                                           \
    } while (0)

#define PAGE ((size_t)4096)
#define MIB ((size_t)1 << 20)

static extent_hooks_t *hooks;
static int pipe_ends[2];

static bool can_read(const char *address)
{
    char byte;
    if (write(pipe_ends[1], address, 1) != 1) {
        REQUIRE(errno == EFAULT);
        return false;
    }
    REQUIRE(read(pipe_ends[0], &byte, 1) == 1);
    return true;
}

static bool is_zero(const char *base, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (base[i] != 0) {
            return false;
        }
    }
    return true;
}

static char *take(size_t size, size_t alignment, bool *zero, bool *commit)
{
    char *base = hooks->alloc(hooks, NULL, size, alignment, zero, commit, 0);
    REQUIRE(base != NULL && (uintptr_t)base % alignment == 0);
    return base;
}

/* Alignment from a page to 1 GiB; zeroed where asked for, also in memory that was written to and freed. */
static void alloc_aligned_and_zeroed(void)
{
    for (size_t alignment = PAGE; alignment <= 1024 * MIB; alignment *= 2) {
        for (int round = 0; round < 2; round++) {
            bool zero = true;
            bool commit = true;
            char *base = take(3 * PAGE, alignment, &zero, &commit);
            REQUIRE(zero && commit && is_zero(base, 3 * PAGE));
            memset(base, 0x5a, 3 * PAGE);
            REQUIRE(!hooks->dalloc(hooks, base, 3 * PAGE, true, 0));
        }
    }
    bool zero = false;
    bool commit = true;
    REQUIRE(hooks->alloc(hooks, NULL, (size_t)1 << 60, PAGE, &zero, &commit, 0) == NULL);
}

/* At a given address or not at all. */
static void alloc_in_place(void)
{
    bool zero = false;
    bool commit = true;
    char *base = take(8 * PAGE, PAGE, &zero, &commit);
    REQUIRE(hooks->alloc(hooks, base, PAGE, PAGE, &zero, &commit, 0) == NULL);
    REQUIRE(!hooks->split(hooks, base, 8 * PAGE, 4 * PAGE, 4 * PAGE, true, 0));
    REQUIRE(!hooks->dalloc(hooks, base + 4 * PAGE, 4 * PAGE, true, 0));
    REQUIRE(hooks->alloc(hooks, base + 4 * PAGE, 4 * PAGE, PAGE, &zero, &commit, 0) == base + 4 * PAGE);
    REQUIRE(!hooks->merge(hooks, base, 4 * PAGE, base + 4 * PAGE, 4 * PAGE, true, 0));
    REQUIRE(!hooks->dalloc(hooks, base, 8 * PAGE, true, 0));
}

/* Addresses only, then committed, decommitted and purged in parts, across places where it was split and merged. */
static void commit_and_back(void)
{
    bool zero = false;
    bool commit = false;
    char *base = take(16 * PAGE, PAGE, &zero, &commit);
    REQUIRE(!commit && !can_read(base) && !can_read(base + 15 * PAGE));
    REQUIRE(!hooks->split(hooks, base, 16 * PAGE, 5 * PAGE, 11 * PAGE, false, 0));
    REQUIRE(!hooks->split(hooks, base + 5 * PAGE, 11 * PAGE, PAGE, 10 * PAGE, false, 0));
    REQUIRE(!hooks->merge(hooks, base, 5 * PAGE, base + 5 * PAGE, PAGE, false, 0));
    REQUIRE(!hooks->merge(hooks, base, 6 * PAGE, base + 6 * PAGE, 10 * PAGE, false, 0));

    REQUIRE(!hooks->commit(hooks, base, 16 * PAGE, 4 * PAGE, 4 * PAGE, 0));
    REQUIRE(!can_read(base + 3 * PAGE) && can_read(base + 4 * PAGE) && can_read(base + 7 * PAGE));
    REQUIRE(!can_read(base + 8 * PAGE) && is_zero(base + 4 * PAGE, 4 * PAGE));
    memset(base + 4 * PAGE, 0x5a, 4 * PAGE);

    REQUIRE(!hooks->purge_lazy(hooks, base, 16 * PAGE, 4 * PAGE, 2 * PAGE, 0));
    REQUIRE(can_read(base + 4 * PAGE) && (base[4 * PAGE] == 0x5a || base[4 * PAGE] == 0));
    REQUIRE(!hooks->purge_forced(hooks, base, 16 * PAGE, 4 * PAGE, 3 * PAGE, 0));
    REQUIRE(is_zero(base + 4 * PAGE, 3 * PAGE) && base[7 * PAGE] == 0x5a);

    REQUIRE(!hooks->decommit(hooks, base, 16 * PAGE, 5 * PAGE, 3 * PAGE, 0));
    REQUIRE(can_read(base + 4 * PAGE) && !can_read(base + 5 * PAGE) && !can_read(base + 7 * PAGE));
    REQUIRE(!hooks->commit(hooks, base, 16 * PAGE, 5 * PAGE, 3 * PAGE, 0));
    REQUIRE(is_zero(base + 5 * PAGE, 3 * PAGE));

    /* Freed in two pieces that have nothing to do with how it was put together. */
    REQUIRE(!hooks->split(hooks, base, 16 * PAGE, 9 * PAGE, 7 * PAGE, false, 0));
    REQUIRE(!hooks->dalloc(hooks, base + 9 * PAGE, 7 * PAGE, false, 0));
    hooks->destroy(hooks, base, 9 * PAGE, true, 0);
    REQUIRE(!can_read(base + 3 * PAGE));
}

/* Memory from before the hooks: handed on, and never merged with the arena's. */
static void foreign_memory(void)
{
    bool zero = false;
    bool commit = true;
    char *ours = take(PAGE, PAGE, &zero, &commit);
    char *foreign = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(foreign != MAP_FAILED);
    memset(foreign, 0x5a, 4 * PAGE);
    REQUIRE(hooks->merge(hooks, foreign, 4 * PAGE, ours, PAGE, true, 0));
    REQUIRE(hooks->merge(hooks, ours, PAGE, foreign, 4 * PAGE, true, 0));
    REQUIRE(!hooks->purge_forced(hooks, foreign, 4 * PAGE, 0, 4 * PAGE, 0) && is_zero(foreign, 4 * PAGE));
    REQUIRE(munmap(foreign, 4 * PAGE) == 0);
    REQUIRE(!hooks->dalloc(hooks, ours, PAGE, true, 0));
}

/* Threads with arenas of their own, sizes from bytes to megabytes, memory passed on and freed elsewhere. */
#define THREADS 6
#define SLOTS 64

static _Atomic(char *) passed_on[SLOTS];

static void *churn(void *argument)
{
    uint32_t random = (uint32_t)(uintptr_t)argument * 2654435761U + 1;
    for (int round = 0; round < 20000; round++) {
        random = random * 1664525U + 1013904223U;
        const size_t size = round % 200 == 0 ? (random >> 10) % (4 * MIB) : (random >> 10) % 20000;
        char *fresh = malloc(size + 1);
        REQUIRE(fresh != NULL);
        fresh[0] = 'f';
        fresh[size] = 'f';
        char *old = __atomic_exchange_n((char **)&passed_on[random >> 26], fresh, __ATOMIC_ACQ_REL);
        REQUIRE(old == NULL || old[0] == 'f');
        free(old);
        if (round % 5000 == 0) {
            (void)mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
            (void)mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* 4096 means every arena */
        }
    }
    return NULL;
}

static void work(void)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
}

/* In a child there is memory to be had and to be freed, whatever other threads did when it was made. */
static void in_a_child(void)
{
    fflush(NULL);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 1000; i++) {
            free(realloc(malloc((size_t)i * 1000), (size_t)i * 2000));
        }
        (void)mallctl("arena.4096.purge", NULL, NULL, NULL, 0);
        exit(0);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void *fork_while_others_work(void *unused)
{
    (void)unused;
    for (int i = 0; i < 10; i++) {
        in_a_child();
    }
    return NULL;
}

int main(void)
{
    size_t size = sizeof hooks;
    REQUIRE(pipe(pipe_ends) == 0);
    REQUIRE(mallctl("arena.0.extent_hooks", &hooks, &size, NULL, 0) == 0);
    alloc_aligned_and_zeroed();
    alloc_in_place();
    commit_and_back();
    foreign_memory();
    in_a_child(); /* of a single thread */
    /* jemalloc 5.3 has one lock that it does not take before a fork: that of the tree by which it finds extents, held when
     * the first extent comes to a GiB of addresses. So that no child finds it held, this and the next GiB are in the tree
     * before there are threads. */
    void *volatile large = malloc((size_t)1 << 30); /* volatile: else the compiler leaves both calls out */
    REQUIRE(large != NULL);
    free(large);
    pthread_t forking;
    REQUIRE(pthread_create(&forking, NULL, fork_while_others_work, NULL) == 0);
    work();
    REQUIRE(pthread_join(forking, NULL) == 0);
    printf("every hook in its corners, %d threads, and their children\n", THREADS);
    return 0;
}
