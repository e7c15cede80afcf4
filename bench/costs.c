/* What the calls of an arena cost, one thread, no caches: the medians of several rounds, in nanoseconds.
 *
 * Absolute times say little on a machine that does other things too; the row `lock pair` and the row `system call` show
 * what this one is worth at the moment. Memory is not touched by the measured loops except where a row says so.
 *
 *     cmake --preset release && cmake --build --preset release --target fallow_costs && build/release/fallow_costs */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fallow.h"
#include "os.h"

enum {
    ROUNDS = 9,
    RUNS_MAX = 1 << 16
};

static void *runs[RUNS_MAX];

static double now_ns(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void require(bool condition, const char *what)
{
    if (!condition) {
        fallow_failure failure = {0};
        bool is_known = fallow_last_failure(&failure);
        fprintf(stderr, "fallow_costs: %s: %s\n", what, is_known ? fallow_status_name(failure.status) : "unexpected");
        exit(1);
    }
}

static int by_value(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static void print_row(const char *name, double times[ROUNDS])
{
    qsort(times, ROUNDS, sizeof times[0], by_value);
    printf("  %-58s %9.1f   (least %.1f)\n", name, times[ROUNDS / 2], times[0]);
}

static fallow_arena *arena_of(size_t reserve_bytes)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {
        .reserve_bytes = reserve_bytes,
        .thread_cache_bytes = FALLOW_CACHE_NONE,
        .flags = FALLOW_ARENA_FIXED,
    };
    require(fallow_arena_create(&options, &arena) == FALLOW_OK, "create");
    return arena;
}

static void measure_machine(void)
{
    static fallow__os_lock lock;
    double pairs[ROUNDS];
    double calls[ROUNDS];
    fallow_region region;
    fallow__os_lock_init(&lock);
    require(fallow_region_reserve(1 << 20, NULL, &region) == FALLOW_OK, "reserve");
    require(fallow_region_commit(&region, 0, region.size_bytes) == FALLOW_OK, "commit");
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < 100000; i++) {
            fallow__os_lock_acquire(&lock);
            fallow__os_lock_release(&lock);
        }
        pairs[round] = (now_ns() - start) / 100000;
        start = now_ns();
        for (int i = 0; i < 10000; i++) {
            require(fallow_region_purge(&region, 0, region.page_bytes, FALLOW_PURGE_DONTNEED) == FALLOW_OK, "purge");
        }
        calls[round] = (now_ns() - start) / 10000;
    }
    print_row("lock pair", pairs);
    print_row("system call (purge of an untouched page)", calls);
    require(fallow_region_release(&region) == FALLOW_OK, "release");
}

static void measure_create(size_t reserve_bytes, const char *name)
{
    double times[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        fallow_arena *arena = arena_of(reserve_bytes);
        times[round] = now_ns() - start;
        fallow_arena_destroy(arena);
    }
    print_row(name, times);
}

/* Allocate `count` runs one after another, free them in the same order. */
static void measure_consecutive(fallow_arena *arena, size_t size_bytes, int count, const char *name)
{
    double allocs[ROUNDS];
    double frees[ROUNDS];
    double pairs[ROUNDS];
    char title[80];
    for (int round = -1; round < ROUNDS; round++) { /* the round before the first commits the memory */
        double start = now_ns();
        for (int i = 0; i < count; i++) {
            require(fallow_arena_alloc(arena, size_bytes, &runs[i]) == FALLOW_OK, name);
        }
        double middle = now_ns();
        for (int i = 0; i < count; i++) {
            fallow_arena_free(arena, runs[i], size_bytes);
        }
        double end = now_ns();
        if (round >= 0) {
            allocs[round] = (middle - start) / count;
            frees[round] = (end - middle) / count;
            pairs[round] = (end - start) / count;
        }
    }
    snprintf(title, sizeof title, "%s: alloc", name);
    print_row(title, allocs);
    snprintf(title, sizeof title, "%s: free", name);
    print_row(title, frees);
    snprintf(title, sizeof title, "%s: both", name);
    print_row(title, pairs);
}

static void measure_hot_pair(fallow_arena *arena, size_t size_bytes, const char *name)
{
    double times[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < 100000; i++) {
            void *run;
            require(fallow_arena_alloc(arena, size_bytes, &run) == FALLOW_OK, name);
            fallow_arena_free(arena, run, size_bytes);
        }
        times[round] = (now_ns() - start) / 100000;
    }
    print_row(name, times);
}

static void measure_huge(fallow_arena *arena, size_t size_bytes, const char *name)
{
    double times[ROUNDS];
    fallow_run_options options = {.flags = FALLOW_RUN_UNCOMMITTED};
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < 1000; i++) {
            fallow_run run;
            require(fallow_arena_alloc_run(arena, size_bytes, &options, &run) == FALLOW_OK, name);
            fallow_arena_free(arena, run.base, run.size_bytes);
        }
        times[round] = (now_ns() - start) / 1000;
    }
    print_row(name, times);
}

/* Fill an arena with one-page runs, whose memory is committed and not touched, then free one anywhere and allocate one:
 * it is the one that was freed. */
static void measure_full(size_t reserve_bytes, const char *name)
{
    fallow_arena *arena = arena_of(reserve_bytes);
    fallow_arena_stats stats;
    fallow_arena_read_stats(arena, &stats);
    uint64_t random = 88172645463325252u;
    double times[ROUNDS];
    double refusals[ROUNDS];
    char title[80];
    unsigned char *base = NULL;
    size_t count = stats.usable_bytes / stats.page_bytes;
    for (size_t i = 0; i < count; i++) {
        void *run;
        require(fallow_arena_alloc(arena, stats.page_bytes, &run) == FALLOW_OK, name);
        base = i == 0 ? run : base;
    }
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < 100000; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            unsigned char *page = base + (size_t)((random >> 20) % count) * stats.page_bytes;
            void *run;
            fallow_arena_free(arena, page, stats.page_bytes);
            require(fallow_arena_alloc(arena, stats.page_bytes, &run) == FALLOW_OK, name);
            require(run == page, name);
        }
        times[round] = (now_ns() - start) / 100000;
        start = now_ns();
        for (int i = 0; i < 100000; i++) {
            void *run;
            require(fallow_arena_alloc(arena, stats.page_bytes, &run) == FALLOW_ERR_EXHAUSTED, name);
        }
        refusals[round] = (now_ns() - start) / 100000;
    }
    snprintf(title, sizeof title, "%s, full: free one page anywhere, alloc one", name);
    print_row(title, times);
    snprintf(title, sizeof title, "%s, full: one page refused", name);
    print_row(title, refusals);
    for (size_t i = 0; i < count; i += 2) {
        fallow_arena_free(arena, base + i * stats.page_bytes, stats.page_bytes);
    }
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < 10000; i++) {
            void *run;
            require(fallow_arena_alloc(arena, 2 * stats.page_bytes, &run) == FALLOW_ERR_EXHAUSTED, name);
        }
        refusals[round] = (now_ns() - start) / 10000;
    }
    snprintf(title, sizeof title, "%s, every other page free: two pages refused", name);
    print_row(title, refusals);
    fallow_arena_destroy(arena);
}

int main(void)
{
    fallow_system system;
    fallow_system_info(&system);
    bool is_small = system.is_wine || system.is_emulated || sizeof(size_t) < 8;
    const uint64_t gib = (uint64_t)1 << 30;
    size_t middle_bytes = (size_t)(is_small ? gib / 8 : 1024 * gib);
    printf("fallow %s on %s; ns, medians of %d rounds\n", fallow_version(), system.os_name, ROUNDS);
    measure_machine();
    measure_create((size_t)(gib / 8), "create an arena of 128 MiB");
    if (!is_small) {
        measure_create((size_t)gib, "create an arena of 1 GiB");
        measure_create((size_t)(1024 * gib), "create an arena of 1 TiB");
        measure_create((size_t)(64 * 1024 * gib), "create an arena of 64 TiB");
    }
    fallow_arena *arena = arena_of(middle_bytes);
    measure_consecutive(arena, 8 << 10, is_small ? 8192 : 1 << 16, "consecutive single pages");
    measure_consecutive(arena, 128 << 10, is_small ? 512 : 1 << 13, "consecutive 16 pages");
    measure_hot_pair(arena, 8 << 10, "the same page again and again: both");
    measure_hot_pair(arena, 128 << 10, "the same 16 pages again and again: both");
    fallow_arena_destroy(arena);
    arena = arena_of(middle_bytes);
    measure_huge(arena, middle_bytes, "all of the arena as one run, UNCOMMITTED: both");
    fallow_arena_destroy(arena);
    measure_full((size_t)(gib / 8), "128 MiB");
    if (!is_small) {
        measure_full((size_t)(1024 * gib), "1 TiB");
    }
    return 0;
}
