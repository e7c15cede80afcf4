/* What AddressSanitizer and LeakSanitizer see of an arena, where the library is compiled with them: memory that is in no
 * run is not to be touched, and memory in a run may hold the only pointer to a block of malloc's. */
#define _DEFAULT_SOURCE 1
#include <signal.h>
#include <string.h>

#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>

#include "child.h"
#include "fallow.h"
#include "test.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static fallow_arena *arena;
static volatile char *run;
static size_t page;

/* An arena with one run of 8 pages, and committed memory behind it. */
static void prepare(fallow_purge purge)
{
    const fallow_arena_options options = {.purge = purge, .scavenge = FALLOW_SCAVENGE_OFF};
    fallow_arena_stats stats;
    void *base;
    if (fallow_arena_create(&options, &arena) != FALLOW_OK) {
        exit(0);
    }
    fallow_arena_read_stats(arena, &stats);
    page = stats.page_bytes;
    if (fallow_arena_alloc(arena, 8 * page, &base) != FALLOW_OK) {
        exit(0); /* which is not how any of these cases may end */
    }
    run = base;
    memset(base, 1, 8 * page);
}

static void use_after_free(void)
{
    prepare(FALLOW_PURGE_DONTNEED);
    fallow_arena_free(arena, (void *)(uintptr_t)run, 8 * page);
    run[3 * page] = 1;
}

static void use_after_free_many(void)
{
    prepare(FALLOW_PURGE_DONTNEED);
    const fallow_run many[] = {{.base = (void *)(uintptr_t)run, .size_bytes = 8 * page}};
    fallow_arena_free_many(arena, many, 1);
    run[0] = 1;
}

static void behind_a_run(void)
{
    prepare(FALLOW_PURGE_DONTNEED);
    run[8 * page] = 1;
}

static void behind_a_shrunk_run(void)
{
    prepare(FALLOW_PURGE_DONTNEED);
    fallow_arena_shrink(arena, (void *)(uintptr_t)run, 8 * page, 5 * page);
    run[5 * page - 1] = 1;
    run[5 * page] = 1;
}

static void use_after_purge(void)
{
    prepare(FALLOW_PURGE_DONTNEED);
    fallow_arena_free(arena, (void *)(uintptr_t)run, 8 * page);
    (void)!fallow_arena_trim(arena, 0, NULL);
    run[0] = 1;
}

static void beside_a_run_that_was_taken_again(void)
{
    void *base;
    prepare(FALLOW_PURGE_DECOMMIT);
    fallow_arena_free(arena, (void *)(uintptr_t)run, 8 * page);
    (void)!fallow_arena_trim(arena, 0, NULL);
    if (fallow_arena_alloc(arena, page, &base) == FALLOW_OK && base == run) {
        memset(base, 1, page);
        run[page] = 1;
    }
}

#define CASE(name)  \
    {               \
#name, name \
    }
static const test_child_case cases[] = {CASE(use_after_free),  CASE(use_after_free_many),
                                        CASE(behind_a_run),    CASE(behind_a_shrunk_run),
                                        CASE(use_after_purge), CASE(beside_a_run_that_was_taken_again)};

static void each_bad_access_is_reported(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static char output[64 << 10];
        bool is_stopped = test_child_run(&cases[i], output, sizeof output);
        bool is_reported = strstr(output, "ERROR: AddressSanitizer: use-after-poison") != NULL &&
                           strstr(output, cases[i].name) != NULL;
        if (!is_stopped || !is_reported) {
            print_error("%s: no report:\n%s\n", cases[i].name, output);
        }
        assert_true(is_stopped && is_reported);
    }
}

static bool is_hidden(const volatile char *base, size_t size_bytes)
{
    return __asan_region_is_poisoned((void *)(uintptr_t)base, size_bytes) != NULL;
}

/* Whatever way memory comes into a run, it can be used. */
static void runs_are_shown(void **state)
{
    (void)state;
    const fallow_run_options zeroed = {.flags = FALLOW_RUN_ZEROED};
    const fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED};
    fallow_run other;
    prepare(FALLOW_PURGE_DECOMMIT);
    char *base = (char *)(uintptr_t)run;
    assert_false(is_hidden(run, 8 * page));
    assert_int_equal(fallow_arena_extend(arena, base, 8 * page, 16 * page), FALLOW_OK);
    assert_false(is_hidden(run, 16 * page));
    assert_true(is_hidden(run + 16 * page, page));
    fallow_arena_split(arena, base, 16 * page, 4 * page);
    assert_false(is_hidden(run, 16 * page));
    fallow_arena_free(arena, base, 4 * page);
    assert_true(__asan_region_is_poisoned(base, 4 * page) == base);
    assert_int_equal(fallow_arena_alloc_run(arena, 2 * page, &zeroed, &other), FALLOW_OK);
    assert_ptr_equal(other.base, base);
    assert_false(is_hidden(base, 2 * page));
    assert_true(is_hidden(base + 2 * page, page));
    assert_int_equal(fallow_arena_alloc_run(arena, 4 * MIB, &addresses, &other), FALLOW_OK);
    assert_int_equal(fallow_arena_commit(arena, other.base, MIB), FALLOW_OK);
    assert_false(is_hidden(other.base, MIB));
    assert_int_equal(fallow_arena_decommit(arena, other.base, MIB), FALLOW_OK);
    fallow_arena_free(arena, other.base, other.size_bytes);
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);

    /* And nothing is left of it for who gets the addresses next. */
    char *start = base - 64 * KIB;
    fallow_arena_destroy(arena);
    assert_false(is_hidden(start, 16 * MIB));
}

/* --- leaks ---------------------------------------------------------------------------------------------------- */

enum {
    BLOCKS = 100
};

/* Blocks of malloc's whose only pointers are in the run. */
static __attribute__((noinline)) void fill_with_pointers(void)
{
    char **pointers = (char **)(uintptr_t)run;
    for (unsigned i = 0; i < BLOCKS; i++) {
        pointers[i] = malloc(1000);
        pointers[i][0] = 1;
    }
}

static void nothing_is_leaked_that_a_run_points_to(void)
{
    prepare(FALLOW_PURGE_DONTNEED);
    fill_with_pointers();
    if (__lsan_do_recoverable_leak_check() != 0) {
        abort();
    }
    _exit(0);
}

static void what_a_free_run_points_to_is_leaked(void)
{
    prepare(FALLOW_PURGE_DONTNEED);
    fill_with_pointers();
    fallow_arena_free(arena, (void *)(uintptr_t)run, 8 * page);
    __lsan_do_recoverable_leak_check();
    _exit(0);
}

static void pointers_in_runs_are_seen(void **state)
{
    (void)state;
    static const test_child_case keeps = CASE(nothing_is_leaked_that_a_run_points_to);
    static const test_child_case leaks = CASE(what_a_free_run_points_to_is_leaked);
    static char output[64 << 10];
    const char *options = getenv("ASAN_OPTIONS");
    if (options != NULL && strstr(options, "detect_leaks=0") != NULL) {
        printf("skipped: ASAN_OPTIONS turns the look for leaks off\n");
        skip();
    }
    (void)test_child_run(&leaks, output, sizeof output);
    if (strstr(output, "LeakSanitizer has encountered a fatal error") != NULL) {
        printf("skipped: LeakSanitizer may not look at a process here\n");
        skip();
    }
    assert_non_null(strstr(output, "ERROR: LeakSanitizer: detected memory leaks"));
    assert_non_null(strstr(output, "fill_with_pointers"));
    assert_false(test_child_run(&keeps, output, sizeof output));
    assert_null(strstr(output, "LeakSanitizer"));
}

int main(int argc, char **argv)
{
    test_begin();
    test_child_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bad_access_is_reported),
        cmocka_unit_test(runs_are_shown),
        cmocka_unit_test(pointers_in_runs_are_seen),
    };
    return cmocka_run_group_tests_name("asan_arena", tests, NULL, NULL);
}
