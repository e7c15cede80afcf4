/* Arenas at the limits of a real Linux: little address space, little data, too many mappings; and what a large one
 * costs. Each test runs in a child, so that its limits die with it. */
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arenas.h"
#include "fallow.h"
#include "test.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define TIB ((uint64_t)1 << 40)

/* In a child: check, and say what was wrong. */
#define EXPECT(condition)                                                   \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1);                                                       \
        }                                                                   \
    } while (0)

static void in_child(void (*body)(void))
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static fallow_process figures(void)
{
    fallow_process process;
    EXPECT(fallow_process_info(&process) == FALLOW_OK);
    return process;
}

static void limit(int resource, uint64_t bytes)
{
    struct rlimit value = {.rlim_cur = (rlim_t)bytes, .rlim_max = (rlim_t)bytes};
    EXPECT(setrlimit(resource, &value) == 0);
}

static bool is_place_for(uint64_t bytes)
{
    fallow_region region;
    bool is_there = bytes <= SIZE_MAX && fallow_region_reserve((size_t)bytes, NULL, &region) == FALLOW_OK;
    if (is_there) {
        EXPECT(fallow_region_release(&region) == FALLOW_OK);
    }
    return is_there;
}

/* What is resident, without pages of files: of the program's code the kernel takes some away and brings some back, as
 * many at a time as it likes. */
static uint64_t resident_anonymous_bytes(void)
{
    unsigned long long size_pages;
    unsigned long long resident_pages;
    unsigned long long file_pages;
    FILE *statm = fopen("/proc/self/statm", "r");
    EXPECT(statm != NULL && fscanf(statm, "%llu %llu %llu", &size_pages, &resident_pages, &file_pages) == 3);
    fclose(statm);
    return (resident_pages - file_pages) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* 64 TiB of addresses cost less than 64 KiB of memory, the first run included. */
static void large_body(void)
{
    fallow_arena *arena;
    void *run;
    fallow_arena_options options = {.reserve_bytes = (size_t)(64 * TIB), .flags = FALLOW_ARENA_FIXED};
    /* once before, small: what is written once only is no part of the arena */
    EXPECT(fallow_arena_create(&(fallow_arena_options){.reserve_bytes = MIB}, &arena) == FALLOW_OK);
    EXPECT(fallow_arena_alloc(arena, 8 * KIB, &run) == FALLOW_OK);
    fallow_arena_destroy(arena);
    (void)resident_anonymous_bytes();
    uint64_t before = resident_anonymous_bytes();
    EXPECT(fallow_arena_create(&options, &arena) == FALLOW_OK);
    EXPECT(fallow_arena_alloc(arena, 8 * KIB, &run) == FALLOW_OK);
    uint64_t after = resident_anonymous_bytes();
    printf("64 TiB arena with one untouched run: %llu bytes resident\n", (unsigned long long)(after - before));
    EXPECT(after - before < 64 * KIB);
    EXPECT(fallow_arena_check(arena) == FALLOW_OK);
}

static void test_large(void **state)
{
    (void)state;
    fallow_system system;
    fallow_system_info(&system);
    if (system.is_emulated || sizeof(size_t) < 8 || !is_place_for(64 * TIB + TIB)) {
        print_message("skip: this system has no room for 64 TiB\n");
        skip();
    }
    in_child(large_body);
}

/* An arena takes what it can get of a small address space, and grows into the rest by further reservations. */
static void small_space_body(void)
{
    limit(RLIMIT_AS, figures().virtual_bytes + 16 * MIB);
    fallow_arena *arena;
    fallow_arena_stats stats;
    EXPECT(fallow_arena_create(NULL, &arena) == FALLOW_OK);
    fallow_arena_read_stats(arena, &stats);
    EXPECT(stats.usable_bytes >= 4 * MIB && stats.usable_bytes < 16 * MIB);
    size_t runs = 0;
    void *run;
    while (fallow_arena_alloc(arena, 256 * KIB, &run) == FALLOW_OK) {
        memset(run, 1, 256 * KIB);
        runs++;
    }
    fallow_failure failure;
    EXPECT(fallow_last_failure(&failure));
    EXPECT(failure.status == FALLOW_ERR_ADDRESS_SPACE);
    EXPECT(strcmp(failure.limit_name, "RLIMIT_AS") == 0);
    EXPECT(runs * 256 * KIB >= 12 * MIB);
    fallow_arena_read_stats(arena, &stats);
    EXPECT(stats.region_count > 1);
    EXPECT(fallow_arena_check(arena) == FALLOW_OK);
}

static void test_small_space(void **state)
{
    (void)state;
    in_child(small_space_body);
}

/* What must be had at least counts for more than what would be asked for by default. */
static void least_body(void)
{
    fallow_arena *arena;
    fallow_arena_stats stats;
    fallow_arena_options options = {.min_reserve_bytes = (size_t)(TIB / 4)};
    EXPECT(fallow_arena_create(&options, &arena) == FALLOW_OK);
    fallow_arena_read_stats(arena, &stats);
    EXPECT(stats.usable_bytes >= TIB / 4);
    fallow_arena_destroy(arena);
    limit(RLIMIT_AS, TIB / 4);
    EXPECT(fallow_arena_create(&options, &arena) == FALLOW_ERR_ADDRESS_SPACE);
}

static void test_least(void **state)
{
    (void)state;
    if (sizeof(size_t) < 8 || !is_place_for(TIB / 2)) {
        print_message("skip: this system has no room for 256 GiB\n");
        skip();
    }
    in_child(least_body);
}

/* Where the system refuses a whole growth step, less is committed, down to the run itself. */
static void small_data_body(void)
{
    fallow_arena *arena;
    void *run;
    EXPECT(fallow_arena_create(NULL, &arena) == FALLOW_OK);
    limit(RLIMIT_DATA, figures().committed_bytes + 300 * KIB);
    size_t runs = 0;
    while (fallow_arena_alloc(arena, 16 * KIB, &run) == FALLOW_OK) {
        memset(run, 1, 16 * KIB);
        runs++;
    }
    fallow_failure failure;
    EXPECT(fallow_last_failure(&failure));
    EXPECT(failure.status == FALLOW_ERR_COMMIT);
    EXPECT(strcmp(failure.limit_name, "RLIMIT_DATA") == 0);
    EXPECT(runs >= 4);
    EXPECT(fallow_arena_check(arena) == FALLOW_OK);
}

static void test_small_data(void **state)
{
    (void)state;
    in_child(small_data_body);
}

/* A run over free pages of both kinds, whose commit the system refuses partway: nothing of it stays accessible. */
static void refused_partway_body(void)
{
    fallow_arena *arena;
    void *runs[4];
    fallow_run rest;
    fallow_arena_options options = {
        .reserve_bytes = 64 * MIB, .grow_bytes = 8 * KIB, .purge = FALLOW_PURGE_DECOMMIT, .flags = FALLOW_ARENA_FIXED};
    EXPECT(fallow_arena_create(&options, &arena) == FALLOW_OK);
    for (int i = 0; i < 4; i++) {
        EXPECT(fallow_arena_alloc(arena, 4 * MIB, &runs[i]) == FALLOW_OK);
    }
    /* free and decommit the first and the third; then free the second, which stays committed between them */
    fallow_arena_free(arena, runs[0], 4 * MIB);
    fallow_arena_free(arena, runs[2], 4 * MIB);
    EXPECT(fallow_arena_trim(arena, 0, NULL) == FALLOW_OK);
    fallow_arena_free(arena, runs[1], 4 * MIB);
    uint64_t committed = figures().committed_bytes;
    limit(RLIMIT_DATA, committed + 5 * MIB); /* room for the first, not for the third */
    fallow_arena_stats before;
    fallow_arena_stats after;
    fallow_arena_read_stats(arena, &before);
    EXPECT(fallow_arena_alloc(arena, 12 * MIB, &rest.base) == FALLOW_ERR_COMMIT);
    fallow_arena_read_stats(arena, &after);
    EXPECT(after.committed_bytes == before.committed_bytes);
    EXPECT(figures().committed_bytes == committed);
    EXPECT(fallow_arena_check(arena) == FALLOW_OK);
}

static void test_refused_partway(void **state)
{
    (void)state;
    in_child(refused_partway_body);
}

/* The same where all of the range is reserved, in mappings that do not merge: what refused decommits have left. */
static void refused_between_mappings_body(void)
{
    fallow_arena *arena;
    fallow_run run;
    fallow_run_options options = {.flags = FALLOW_RUN_UNCOMMITTED};
    EXPECT(fallow_arena_create(NULL, &arena) == FALLOW_OK);
    EXPECT(fallow_arena_alloc_run(arena, 64 * MIB, &options, &run) == FALLOW_OK);
    unsigned char *base = run.base;
    const size_t pieces[] = {0, 16 * MIB};
    for (int i = 0; i < 2; i++) {
        EXPECT(fallow_arena_commit(arena, base + pieces[i], 8 * MIB) == FALLOW_OK);
        base[pieces[i]] = 1;
    }
    struct rlimit addresses;
    EXPECT(getrlimit(RLIMIT_AS, &addresses) == 0);
    struct rlimit few = {.rlim_cur = MIB, .rlim_max = addresses.rlim_max};
    EXPECT(setrlimit(RLIMIT_AS, &few) == 0);
    for (int i = 0; i < 2; i++) {
        EXPECT(fallow_arena_decommit(arena, base + pieces[i], 8 * MIB) == FALLOW_ERR_ADDRESS_SPACE);
    }
    EXPECT(setrlimit(RLIMIT_AS, &addresses) == 0);
    uint64_t committed = figures().committed_bytes;
    limit(RLIMIT_DATA, committed + 20 * MIB);
    EXPECT(fallow_arena_commit(arena, base, 32 * MIB) == FALLOW_ERR_COMMIT);
    EXPECT(figures().committed_bytes == committed);
    EXPECT(fallow_arena_check(arena) == FALLOW_OK);
}

static void test_refused_between_mappings(void **state)
{
    (void)state;
    in_child(refused_between_mappings_body);
}

/* Trim an arena with more holes than the process may have mappings; returns what it took. */
static clock_t trim_many_holes(fallow_purge purge)
{
    enum {
        PAGES = 140000
    };
    fallow_arena *arena;
    fallow_arena_stats stats;
    size_t released;
    unsigned char *base;
    fallow_arena_options options = {.purge = purge};
    EXPECT(fallow_arena_create(&options, &arena) == FALLOW_OK);
    fallow_arena_read_stats(arena, &stats);
    size_t page = stats.page_bytes;
    EXPECT(fallow_arena_alloc(arena, PAGES * page, (void **)&base) == FALLOW_OK);
    for (size_t i = 0; i + 1 < PAGES; i++) {
        fallow_arena_split(arena, base + i * page, (PAGES - i) * page, page);
    }
    for (size_t i = 0; i < PAGES; i++) {
        base[i * page] = 7;
        if (i % 2 == 0) {
            fallow_arena_free(arena, base + i * page, page);
        }
    }
    clock_t start = clock();
    EXPECT(fallow_arena_trim(arena, 0, &released) == FALLOW_OK);
    clock_t taken = clock() - start;
    EXPECT(released == PAGES / 2 * page);
    fallow_arena_read_stats(arena, &stats);
    EXPECT(stats.retained_bytes == 0);
    EXPECT(stats.in_use_bytes == PAGES / 2 * page);
    EXPECT(stats.released_zero_bytes > 0); /* what could not be decommitted is told */
    for (size_t i = 1; i < PAGES; i += 2) {
        EXPECT(base[i * page] == 7);
    }
    EXPECT(fallow_arena_check(arena) == FALLOW_OK);
    fallow_arena_destroy(arena);
    return taken;
}

/* The memory is given back all the same, and not at another price: looking into each refusal took hundreds of times as
 * long as a trim that meets none. */
static void many_holes_body(void)
{
    clock_t plain = trim_many_holes(FALLOW_PURGE_DONTNEED);
    clock_t refused = trim_many_holes(FALLOW_PURGE_DECOMMIT);
    printf("trim with refusals took %.1f times as long as without\n", (double)refused / (double)(plain + 1));
    EXPECT(refused / 40 <= plain);
}

static void test_many_holes(void **state)
{
    (void)state;
    fallow_system system;
    fallow_system_info(&system);
    if (system.map_count_limit > 100000 || system.memory_bytes < ((uint64_t)4 << 30) || sizeof(size_t) < 8) {
        print_message("skip: vm.max_map_count is out of reach, or memory or addresses are short\n");
        skip();
    }
    in_child(many_holes_body);
}

/* What the list of arenas is in a child of fork: what the child has of them, and nothing that it has not. */
static uint64_t count_listed(const char *name)
{
    fallow__arena_view view = {.id = 0};
    uint64_t count = 0;
    while (fallow__arenas_view(view.id, NULL, &view)) {
        count += strcmp(view.name, name) == 0; /* readable, or the child dies here */
        fallow__arenas_unview(&view);
    }
    return count;
}

static fallow_arena *create_named(const char *name, uint32_t flags)
{
    fallow_arena *arena;
    const fallow_arena_options options = {.reserve_bytes = 16 * MIB, .name = name, .flags = flags};
    EXPECT(fallow_arena_create(&options, &arena) == FALLOW_OK);
    return arena;
}

static bool discard(void *context, const char *text, size_t bytes)
{
    (void)context;
    (void)text;
    return bytes != 0;
}

static void body_list_after_fork(void)
{
    fallow_arena *inherited = create_named("inherited", 0);
    fallow_arena *left_behind = create_named("left behind", FALLOW_ARENA_NO_FORK);
    EXPECT(count_listed("inherited") == 1 && count_listed("left behind") == 1);
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        EXPECT(count_listed("inherited") == 1 && count_listed("left behind") == 0);
        fallow_arena *own = create_named("own", 0);
        EXPECT(count_listed("own") == 1);
        EXPECT(fallow_stats_write(NULL, FALLOW_STATS_PROMETHEUS, discard, NULL) == FALLOW_OK);
        EXPECT(fallow_process_explain(discard, NULL, 0) == FALLOW_OK);
        fallow_arena_destroy(own);
        fallow_arena_destroy(inherited);
        EXPECT(count_listed("inherited") == 0);
        _exit(0);
    }
    int status;
    EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT(count_listed("inherited") == 1 && count_listed("left behind") == 1);
    fallow_arena_destroy(left_behind);
    fallow_arena_destroy(inherited);
}

static void test_list_after_fork(void **state)
{
    (void)state;
    in_child(body_list_after_fork);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large),           cmocka_unit_test(test_small_space),
        cmocka_unit_test(test_least),           cmocka_unit_test(test_small_data),
        cmocka_unit_test(test_refused_partway), cmocka_unit_test(test_refused_between_mappings),
        cmocka_unit_test(test_many_holes),      cmocka_unit_test(test_list_after_fork),
    };
    test_begin();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skip: a sanitizer's own memory makes these limits meaningless\n");
    return 77;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    print_message("skip: a sanitizer's own memory makes these limits meaningless\n");
    return 77;
#endif
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
