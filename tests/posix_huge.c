/* Huge and large pages as Linux gives them: what is in memory is looked up in /proc/self/smaps. Large pages need a pool,
 * which is filled for a moment where this is root; what cannot be had is skipped, and says why. */
#define _GNU_SOURCE 1 /* MAP_ANONYMOUS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fallow.h"
#include "posix/setting.h"
#include "test.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* A figure of smaps, in bytes, summed over the mappings in a range. */
static size_t figure(const void *base, size_t size_bytes, const char *name)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[512];
    bool is_inside = false;
    size_t sum_kib = 0;
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long first;
        unsigned long end;
        size_t kib;
        if (sscanf(line, "%lx-%lx ", &first, &end) == 2) {
            is_inside = end > (uintptr_t)base && first < (uintptr_t)base + size_bytes;
        } else if (is_inside && strncmp(line, name, strlen(name)) == 0 &&
                   sscanf(line + strlen(name), ": %zu kB", &kib) == 1) {
            sum_kib += kib;
        }
    }
    fclose(file);
    return sum_kib * KIB;
}

/* Whether advice on huge pages is followed here, by one of our own. */
static bool has_huge_pages(void)
{
    char *base = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return false;
    }
    char *huge = (char *)(((uintptr_t)base + 2 * MIB - 1) & ~(uintptr_t)(2 * MIB - 1));
    bool is_huge = madvise(huge, 2 * MIB, MADV_HUGEPAGE) == 0;
    *(volatile char *)huge = 1;
    is_huge = is_huge && figure(huge, 1, "AnonHugePages") >= 2 * MIB;
    munmap(base, 4 * MIB);
    return is_huge;
}

static void growth_becomes_huge_pages(void **state)
{
    enum {
        RUNS = 1024
    };
    (void)state;
    if (!has_huge_pages()) {
        printf("skipped: advice on huge pages is not followed here (/sys/kernel/mm/transparent_hugepage/enabled)\n");
        skip();
    }
    fallow_arena *arena = NULL;
    fallow_arena_options options = {.reserve_bytes = 256 * MIB,
                                    .thread_cache_bytes = FALLOW_CACHE_NONE,
                                    .scavenge = FALLOW_SCAVENGE_OFF,
                                    .purge = FALLOW_PURGE_DECOMMIT,
                                    .flags = FALLOW_ARENA_HUGE_PAGES};
    static char *runs[RUNS];
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    for (int round = 0; round < 2; round++) { /* the second time after decommits: the advice is still there */
        for (int i = 0; i < RUNS; i++) {
            void *base;
            assert_int_equal(fallow_arena_alloc(arena, 64 * KIB, &base), FALLOW_OK);
            memset(base, 1, 64 * KIB);
            runs[i] = base;
        }
        size_t huge_bytes = figure(runs[0], 64 * MIB, "AnonHugePages");
        printf("64 MiB in runs of 64 KiB: %zu MiB in huge pages\n", huge_bytes / MIB);
        assert_true(huge_bytes >= 48 * MIB); /* the machine may be short of some */
        for (int i = 0; i < RUNS; i++) {
            fallow_arena_free(arena, runs[i], 64 * KIB);
        }
        size_t released_bytes;
        assert_int_equal(fallow_arena_trim(arena, 0, &released_bytes), FALLOW_OK);
        assert_true(released_bytes >= 64 * MIB);
        assert_int_equal(figure(runs[0], 64 * MIB, "Rss"), 0);
        fallow_process process;
        fallow_arena_stats s;
        assert_int_equal(fallow_process_info(&process), FALLOW_OK);
        fallow_arena_read_stats(arena, &s);
        assert_true(s.map_count <= 4); /* a mapping without the advice would not merge */
    }
    /* a run that was touched a little, and its neighbour that is in use: what is free goes, huge page or not */
    void *live;
    void *gone;
    assert_int_equal(fallow_arena_alloc(arena, 2 * MIB, &live), FALLOW_OK);
    assert_int_equal(fallow_arena_alloc(arena, 2 * MIB, &gone), FALLOW_OK);
    assert_int_equal((uintptr_t)live % (2 * MIB), 0);
    memset(live, 1, 2 * MIB);
    memset(gone, 1, 2 * MIB);
    fallow_arena_shrink(arena, live, 2 * MIB, MIB);
    fallow_arena_free(arena, gone, 2 * MIB);
    assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    assert_int_equal(figure(gone, 1, "Rss"), 0);
    for (size_t byte = 0; byte < MIB; byte += 4096) {
        assert_int_equal(((char *)live)[byte], 1);
    }
    fallow_arena_free(arena, live, MIB);
    fallow_arena_destroy(arena);
}

static void work_in_large_pages(void)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {
        .reserve_bytes = 12 * MIB, .scavenge = FALLOW_SCAVENGE_OFF, .flags = FALLOW_ARENA_LARGE_PAGES};
    fallow_arena_stats s;
    fallow_run run;
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    fallow_arena_read_stats(arena, &s);
    assert_int_equal(s.large_pages_status, FALLOW_OK);
    assert_int_equal(s.large_bytes, s.reserved_bytes);
    assert_int_equal(fallow_arena_alloc_run(arena, 8 * MIB, NULL, &run), FALLOW_OK);
    assert_true(run.is_zero);
    for (size_t byte = 0; byte < run.size_bytes; byte += 4096) {
        assert_int_equal(((char *)run.base)[byte], 0);
    }
    memset(run.base, 1, run.size_bytes);
    assert_int_equal(figure(run.base, 1, "KernelPageSize"), 2 * MIB);
    assert_true(figure(run.base, 1, "Private_Hugetlb") >= 8 * MIB);
    assert_int_equal(fallow_arena_decommit(arena, run.base, 8 * KIB), FALLOW_ERR_UNSUPPORTED);
    fallow_arena_free(arena, run.base, 8 * MIB);
    assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_destroy(arena);

    options.reserve_bytes = 1024 * MIB; /* more than the pool has */
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    fallow_arena_read_stats(arena, &s);
    assert_int_equal(s.large_pages_status, FALLOW_ERR_COMMIT);
    assert_int_equal(s.large_bytes, 0);
    fallow_arena_destroy(arena);
}

/* Whole large pages, whatever was asked for. */
static void region_of_large_pages(void)
{
    fallow_region region;
    fallow_region_options options = {.flags = FALLOW_REGION_LARGE_PAGES};
    assert_int_equal(fallow_region_reserve(3 * MIB, &options, &region), FALLOW_OK);
    assert_true((region.flags & FALLOW_REGION_LARGE_PAGES) != 0);
    assert_int_equal(region.page_bytes, 2 * MIB);
    assert_int_equal(region.size_bytes, 4 * MIB);
    assert_int_equal((uintptr_t)region.base % (2 * MIB), 0);
    assert_int_equal(fallow_region_commit(&region, 0, 4 * MIB), FALLOW_OK);
    memset(region.base, 1, 4 * MIB);
    assert_int_equal(figure(region.base, 1, "KernelPageSize"), 2 * MIB);
    assert_int_equal(fallow_region_release(&region), FALLOW_OK);
}

static void large_pages_from_the_pool(void **state)
{
    (void)state;
    static const char path[] = "/proc/sys/vm/nr_hugepages";
    char old[32];
    char now[32];
    char more[32];
    setting pool;
    if (!setting_read(path, old, sizeof old) ||
        !setting_read("/proc/sys/vm/nr_overcommit_hugepages", now, sizeof now)) {
        printf("skipped: this system has no large pages\n");
        skip();
    }
    if (strtoull(old, NULL, 10) == 0 && strtoull(now, NULL, 10) == 0) {
        fallow_arena *arena = NULL;
        fallow_arena_stats s;
        assert_int_equal(fallow_arena_create(&(fallow_arena_options){.flags = FALLOW_ARENA_LARGE_PAGES}, &arena),
                         FALLOW_OK);
        fallow_arena_read_stats(arena, &s);
        assert_int_equal(s.large_pages_status, FALLOW_ERR_UNSUPPORTED);
        fallow_arena_destroy(arena);
    }
    snprintf(more, sizeof more, "%llu", strtoull(old, NULL, 10) + 10);
    if (!setting_change(&pool, path, more)) {
        printf("skipped: vm.nr_hugepages cannot be set (not root)\n");
        skip();
    }
    bool is_filled = setting_read(path, now, sizeof now) && strtoull(now, NULL, 10) == strtoull(more, NULL, 10);
    if (is_filled) {
        region_of_large_pages();
        work_in_large_pages(); /* if it does not return, the setting is put back all the same */
    }
    assert_true(setting_restore(&pool));
    if (!is_filled) {
        printf("skipped: the kernel did not find ten large pages\n");
        skip();
    }
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growth_becomes_huge_pages),
        cmocka_unit_test(large_pages_from_the_pool),
    };
    return cmocka_run_group_tests_name("posix_huge", tests, NULL, NULL);
}
