/* Every misuse of an arena stops the program with its own message.
 *
 * Each case runs in a child. Just before the misuse it writes the line it expects to stderr; the parent wants to see
 * that line twice, and nothing else. */
#if !defined(_WIN32)
#define _XOPEN_SOURCE 700
#include <signal.h>
#endif

#include "child.h"

#include "fallow.h"

/* --- what the cases work on -------------------------------------------------------------------------------- */

static fallow_arena *arena;
static size_t page; /* bytes of the arena's page */
static char *run;   /* 8 pages */

static fallow_arena *make_arena(void)
{
    fallow_arena *result;
    fallow_arena_options options = {.reserve_bytes = 64 << 20};
    if (fallow_arena_create(&options, &result) != FALLOW_OK) {
        fputs("no arena\n", stderr);
        exit(0);
    }
    return result;
}

static void *make_run(fallow_arena *owner, size_t size_bytes)
{
    void *base;
    if (fallow_arena_alloc(owner, size_bytes, &base) != FALLOW_OK) {
        fputs("no run\n", stderr);
        exit(0);
    }
    return base;
}

/* An arena with a run of 8 pages between two others. */
static void prepare(void)
{
    fallow_arena_stats stats;
    setvbuf(stderr, NULL, _IONBF, 0);
    arena = make_arena();
    fallow_arena_read_stats(arena, &stats);
    page = stats.page_bytes;
    (void)make_run(arena, 4 * page);
    run = make_run(arena, 8 * page);
    (void)make_run(arena, 4 * page);
}

static void expect(const char *operation, const void *address, const char *reason)
{
    if (address == NULL) {
        fprintf(stderr, "fallow: %s: %s\n", operation, reason);
    } else {
        fprintf(stderr, "fallow: %s(0x%llx): %s\n", operation, (unsigned long long)(uintptr_t)address, reason);
    }
}

/* --- the same mistakes with each call that takes a run ----------------------------------------------------- */

/* Each call with arguments that are otherwise right. */
static void call_free(fallow_arena *owner, void *base, size_t size_bytes)
{
    fallow_arena_free(owner, base, size_bytes);
}

static void call_extend(fallow_arena *owner, void *base, size_t size_bytes)
{
    fallow_status status = fallow_arena_extend(owner, base, size_bytes, size_bytes);
    fprintf(stderr, "went on with %s\n", fallow_status_name(status));
}

static void call_shrink(fallow_arena *owner, void *base, size_t size_bytes)
{
    fallow_arena_shrink(owner, base, size_bytes, page);
}

static void call_split(fallow_arena *owner, void *base, size_t size_bytes)
{
    fallow_arena_split(owner, base, size_bytes, page);
}

static void call_commit(fallow_arena *owner, void *base, size_t size_bytes)
{
    fallow_status status = fallow_arena_commit(owner, base, size_bytes);
    fprintf(stderr, "went on with %s\n", fallow_status_name(status));
}

static void call_decommit(fallow_arena *owner, void *base, size_t size_bytes)
{
    fallow_status status = fallow_arena_decommit(owner, base, size_bytes);
    fprintf(stderr, "went on with %s\n", fallow_status_name(status));
}

typedef void call_function(fallow_arena *owner, void *base, size_t size_bytes);

#define ARENA_IS_NULL "the arena is NULL"
#define NOT_ADDRESS "not an address of this arena"
#define NOT_ALIGNED "not aligned to the arena's page"
#define ALREADY_FREE "already free"
#define INSIDE_RUN "inside a run, not its base"
#define WRONG_SIZE "the size is not the run's size"
#define NO_LIVE_RUN "not in a live run"
#define LEAVES_RUN "the range leaves its run"
#define BAD_NEW_SIZE "the new size is 0 or larger than the run"
#define BAD_SPLIT "the place to split is not a page boundary inside the run"

static void null_arena(const char *name, call_function *call)
{
    prepare();
    expect(name, run, ARENA_IS_NULL);
    call(NULL, run, 8 * page);
}

static void foreign(const char *name, call_function *call)
{
    prepare();
    char *other = make_run(make_arena(), 8 * page);
    expect(name, other, NOT_ADDRESS);
    call(arena, other, 8 * page);
}

static void of_the_stack(const char *name, call_function *call)
{
    prepare();
    char local[16] = {0};
    expect(name, local + 1, NOT_ADDRESS);
    call(arena, local + 1, 8 * page);
}

static void unaligned(const char *name, call_function *call)
{
    prepare();
    expect(name, run + 16, NOT_ALIGNED);
    call(arena, run + 16, 8 * page);
}

static void freed(const char *name, call_function *call, const char *reason)
{
    prepare();
    fallow_arena_free(arena, run, 8 * page);
    expect(name, run, reason);
    call(arena, run, 8 * page);
}

static void freed_and_merged(const char *name, call_function *call, const char *reason)
{
    prepare();
    fallow_arena_free(arena, run, 8 * page);
    fallow_arena_free(arena, run - 4 * page, 4 * page);
    fallow_arena_free(arena, run + 8 * page, 4 * page);
    expect(name, run, reason);
    call(arena, run, 8 * page);
}

static void never_taken(const char *name, call_function *call, const char *reason)
{
    prepare();
    expect(name, run + (32 << 20), reason);
    call(arena, run + (32 << 20), 8 * page);
}

static void interior(const char *name, call_function *call)
{
    prepare();
    expect(name, run + page, INSIDE_RUN);
    call(arena, run + page, 7 * page);
}

static void size_differs(const char *name, call_function *call, size_t pages, size_t bytes, const char *reason)
{
    prepare();
    expect(name, run, reason);
    call(arena, run, pages * page + bytes);
}

/* Names of cases are functions: case_FUNCTION_MISTAKE. */
#define CASES_OF_RUN(verb)                                \
    static void verb##_null_arena(void)                   \
    {                                                     \
        null_arena("fallow_arena_" #verb, call_##verb);   \
    }                                                     \
    static void verb##_foreign(void)                      \
    {                                                     \
        foreign("fallow_arena_" #verb, call_##verb);      \
    }                                                     \
    static void verb##_of_the_stack(void)                 \
    {                                                     \
        of_the_stack("fallow_arena_" #verb, call_##verb); \
    }                                                     \
    static void verb##_unaligned(void)                    \
    {                                                     \
        unaligned("fallow_arena_" #verb, call_##verb);    \
    }

#define CASES_OF_BASE(verb)                                                        \
    CASES_OF_RUN(verb)                                                             \
    static void verb##_freed(void)                                                 \
    {                                                                              \
        freed("fallow_arena_" #verb, call_##verb, ALREADY_FREE);                   \
    }                                                                              \
    static void verb##_merged(void)                                                \
    {                                                                              \
        freed_and_merged("fallow_arena_" #verb, call_##verb, ALREADY_FREE);        \
    }                                                                              \
    static void verb##_never_taken(void)                                           \
    {                                                                              \
        never_taken("fallow_arena_" #verb, call_##verb, ALREADY_FREE);             \
    }                                                                              \
    static void verb##_interior(void)                                              \
    {                                                                              \
        interior("fallow_arena_" #verb, call_##verb);                              \
    }                                                                              \
    static void verb##_too_long(void)                                              \
    {                                                                              \
        size_differs("fallow_arena_" #verb, call_##verb, 9, 0, WRONG_SIZE);        \
    }                                                                              \
    static void verb##_too_short(void)                                             \
    {                                                                              \
        size_differs("fallow_arena_" #verb, call_##verb, 7, 0, WRONG_SIZE);        \
    }                                                                              \
    static void verb##_size_0(void)                                                \
    {                                                                              \
        size_differs("fallow_arena_" #verb, call_##verb, 0, 0, WRONG_SIZE);        \
    }                                                                              \
    static void verb##_size_max(void)                                              \
    {                                                                              \
        size_differs("fallow_arena_" #verb, call_##verb, 0, SIZE_MAX, WRONG_SIZE); \
    }

#define CASES_OF_RANGE(verb)                                                       \
    CASES_OF_RUN(verb)                                                             \
    static void verb##_freed(void)                                                 \
    {                                                                              \
        freed("fallow_arena_" #verb, call_##verb, NO_LIVE_RUN);                    \
    }                                                                              \
    static void verb##_merged(void)                                                \
    {                                                                              \
        freed_and_merged("fallow_arena_" #verb, call_##verb, NO_LIVE_RUN);         \
    }                                                                              \
    static void verb##_never_taken(void)                                           \
    {                                                                              \
        never_taken("fallow_arena_" #verb, call_##verb, NO_LIVE_RUN);              \
    }                                                                              \
    static void verb##_too_long(void)                                              \
    {                                                                              \
        size_differs("fallow_arena_" #verb, call_##verb, 8, 1, LEAVES_RUN);        \
    }                                                                              \
    static void verb##_size_max(void)                                              \
    {                                                                              \
        size_differs("fallow_arena_" #verb, call_##verb, 0, SIZE_MAX, LEAVES_RUN); \
    }

/* clang-format off */
CASES_OF_BASE(free)
CASES_OF_BASE(extend)
CASES_OF_BASE(shrink)
CASES_OF_BASE(split)
CASES_OF_RANGE(commit)
CASES_OF_RANGE(decommit)
/* clang-format on */

/* --- mistakes of one call ---------------------------------------------------------------------------------- */

static void free_sizes_swapped(void)
{
    prepare();
    char *next = run + 8 * page;
    expect("fallow_arena_free", next, WRONG_SIZE);
    fallow_arena_free(arena, next, 8 * page);
}

static void free_after_shrink(void)
{
    prepare();
    fallow_arena_shrink(arena, run, 8 * page, 3 * page);
    expect("fallow_arena_free", run, WRONG_SIZE);
    fallow_arena_free(arena, run, 8 * page);
}

static void free_tail_after_shrink(void)
{
    prepare();
    fallow_arena_shrink(arena, run, 8 * page, 3 * page);
    expect("fallow_arena_free", run + 3 * page, ALREADY_FREE);
    fallow_arena_free(arena, run + 3 * page, 5 * page);
}

static void free_after_split(void)
{
    prepare();
    fallow_arena_split(arena, run, 8 * page, 3 * page);
    expect("fallow_arena_free", run, WRONG_SIZE);
    fallow_arena_free(arena, run, 8 * page);
}

static void free_of_uncommitted_twice(void)
{
    prepare();
    fallow_run addresses;
    fallow_run_options options = {.flags = FALLOW_RUN_UNCOMMITTED};
    if (fallow_arena_alloc_run(arena, 100 * page, &options, &addresses) == FALLOW_OK) {
        fallow_arena_free(arena, addresses.base, 100 * page);
        expect("fallow_arena_free", addresses.base, ALREADY_FREE);
        fallow_arena_free(arena, addresses.base, 100 * page);
    }
}

static void free_after_trim(void)
{
    prepare();
    fallow_arena_free(arena, run, 8 * page);
    if (fallow_arena_trim(arena, 0, NULL) == FALLOW_OK) {
        expect("fallow_arena_free", run, ALREADY_FREE);
        fallow_arena_free(arena, run, 8 * page);
    }
}

static void extend_null(void)
{
    prepare();
    expect("fallow_arena_extend", NULL, NOT_ADDRESS);
    call_extend(arena, NULL, 8 * page);
}

static void shrink_to_0(void)
{
    prepare();
    expect("fallow_arena_shrink", run, BAD_NEW_SIZE);
    fallow_arena_shrink(arena, run, 8 * page, 0);
}

static void shrink_to_more(void)
{
    prepare();
    expect("fallow_arena_shrink", run, BAD_NEW_SIZE);
    fallow_arena_shrink(arena, run, 8 * page, 8 * page + 1);
}

static void shrink_to_max(void)
{
    prepare();
    expect("fallow_arena_shrink", run, BAD_NEW_SIZE);
    fallow_arena_shrink(arena, run, 8 * page, SIZE_MAX);
}

static void split_at(size_t first_bytes)
{
    prepare();
    expect("fallow_arena_split", run, BAD_SPLIT);
    fallow_arena_split(arena, run, 8 * page, first_bytes);
}

static void split_at_0(void)
{
    split_at(0);
}

static void split_at_end(void)
{
    prepare();
    expect("fallow_arena_split", run, BAD_SPLIT);
    fallow_arena_split(arena, run, 8 * page, 8 * page);
}

static void split_behind_end(void)
{
    prepare();
    expect("fallow_arena_split", run, BAD_SPLIT);
    fallow_arena_split(arena, run, 8 * page, 9 * page);
}

static void split_in_a_page(void)
{
    split_at(64);
}

static void split_at_max(void)
{
    split_at(SIZE_MAX);
}

/* Two runs side by side are committed each for itself. */
static void commit_over_two_runs(void)
{
    prepare();
    expect("fallow_arena_commit", run + 7 * page, LEAVES_RUN);
    call_commit(arena, run + 7 * page, 2 * page);
}

static void decommit_over_two_runs(void)
{
    prepare();
    expect("fallow_arena_decommit", run + 7 * page, LEAVES_RUN);
    call_decommit(arena, run + 7 * page, 2 * page);
}

/* --- results for nobody ----------------------------------------------------------------------------------------- */

static void went_on(fallow_status status)
{
    fprintf(stderr, "went on with %s\n", fallow_status_name(status));
}

static void alloc_nowhere(void)
{
    prepare();
    expect("fallow_arena_alloc", NULL, "base_out is NULL");
    went_on(fallow_arena_alloc(arena, page, NULL));
}

static void alloc_run_nowhere(void)
{
    prepare();
    expect("fallow_arena_alloc_run", NULL, "run_out is NULL");
    went_on(fallow_arena_alloc_run(arena, page, NULL, NULL));
}

static void create_nowhere(void)
{
    prepare();
    expect("fallow_arena_create", NULL, "arena_out is NULL");
    went_on(fallow_arena_create(NULL, NULL));
}

static void read_stats_nowhere(void)
{
    prepare();
    expect("fallow_arena_read_stats", NULL, "stats_out is NULL");
    fallow_arena_read_stats(arena, NULL);
}

static void read_stats_of_null(void)
{
    fallow_arena_stats stats;
    prepare();
    expect("fallow_arena_read_stats", NULL, "the arena is NULL");
    fallow_arena_read_stats(NULL, &stats);
}

static void run_of_nowhere(void)
{
    prepare();
    expect("fallow_arena_run_of", run, "run_out is NULL");
    went_on(fallow_arena_run_of(arena, run, NULL));
}

static void free_many_of_null(void)
{
    prepare();
    expect("fallow_arena_free_many", NULL, "runs is NULL");
    fallow_arena_free_many(arena, NULL, 1);
}

static void write_map_to_null(void)
{
    prepare();
    expect("fallow_arena_write_map", arena, "write is NULL");
    went_on(fallow_arena_write_map(arena, FALLOW_MAP_SVG, NULL, NULL, NULL));
}

static void write_stats_to_null(void)
{
    prepare();
    expect("fallow_stats_write", arena, "write is NULL");
    went_on(fallow_stats_write(arena, FALLOW_STATS_TEXT, NULL, NULL));
}

static void explain_to_null(void)
{
    prepare();
    expect("fallow_process_explain", NULL, "write is NULL");
    went_on(fallow_process_explain(NULL, NULL, 0));
}

static void system_info_nowhere(void)
{
    prepare();
    expect("fallow_system_info", NULL, "system_out is NULL");
    fallow_system_info(NULL);
}

static void process_info_nowhere(void)
{
    prepare();
    expect("fallow_process_info", NULL, "process_out is NULL");
    went_on(fallow_process_info(NULL));
}

static void reserve_nowhere(void)
{
    prepare();
    expect("fallow_region_reserve", NULL, "region_out is NULL");
    went_on(fallow_region_reserve(1, NULL, NULL));
}

static void release_of_null(void)
{
    prepare();
    expect("fallow_region_release", NULL, "the region is NULL");
    went_on(fallow_region_release(NULL));
}

static void region_commit_of_null(void)
{
    prepare();
    expect("fallow_region_commit", NULL, "the region is NULL");
    went_on(fallow_region_commit(NULL, 0, 0));
}

static void resident_nowhere(void)
{
    fallow_region region = {0};
    prepare();
    expect("fallow_region_resident", NULL, "resident_bytes_out is NULL");
    went_on(fallow_region_resident(&region, 0, 0, NULL));
}

/* --- running them ------------------------------------------------------------------------------------------ */

/* clang-format off */
#define CASE(name) {#name, name}
#define LIST_OF_RUN(verb) CASE(verb##_null_arena), CASE(verb##_foreign), CASE(verb##_of_the_stack), \
    CASE(verb##_unaligned), CASE(verb##_freed), CASE(verb##_merged), CASE(verb##_never_taken), \
    CASE(verb##_too_long), CASE(verb##_size_max)
#define LIST_OF_BASE(verb) LIST_OF_RUN(verb), CASE(verb##_interior), CASE(verb##_too_short), CASE(verb##_size_0)

static const test_child_case cases[] = {
    LIST_OF_BASE(free), LIST_OF_BASE(extend), LIST_OF_BASE(shrink), LIST_OF_BASE(split),
    LIST_OF_RUN(commit), LIST_OF_RUN(decommit),
    CASE(free_sizes_swapped), CASE(free_after_shrink), CASE(free_tail_after_shrink), CASE(free_after_split),
    CASE(free_of_uncommitted_twice), CASE(free_after_trim), CASE(extend_null), CASE(shrink_to_0), CASE(shrink_to_more),
    CASE(shrink_to_max), CASE(split_at_0), CASE(split_at_end), CASE(split_behind_end), CASE(split_in_a_page),
    CASE(split_at_max), CASE(commit_over_two_runs), CASE(decommit_over_two_runs),
    CASE(alloc_nowhere), CASE(alloc_run_nowhere), CASE(create_nowhere), CASE(read_stats_nowhere),
    CASE(read_stats_of_null), CASE(run_of_nowhere), CASE(free_many_of_null), CASE(write_map_to_null),
    CASE(write_stats_to_null), CASE(explain_to_null), CASE(system_info_nowhere), CASE(process_info_nowhere),
    CASE(reserve_nowhere), CASE(release_of_null), CASE(region_commit_of_null), CASE(resident_nowhere),
};
/* clang-format on */

enum {
    CASE_COUNT = sizeof cases / sizeof cases[0]
};

static void each_misuse_stops_with_its_message(void **state)
{
    (void)state;
    int failures = 0;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        char output[2048];
        bool is_stopped = test_child_run(&cases[i], output, sizeof output);
        char *second = strchr(output, '\n');
        size_t length = second != NULL ? (size_t)(second + 1 - output) : 0;
        bool is_same = length > 8 && strlen(output) == 2 * length && memcmp(output, output + length, length) == 0 &&
                       strncmp(output, "fallow: ", 8) == 0;
        if (!is_stopped || !is_same) {
            print_error("%s: expected a line and the same again%s:\n%s\n", cases[i].name,
                        is_stopped ? "" : ", and an abnormal end", output);
            failures++;
        }
    }
    assert_int_equal(failures, 0);
}

/* What is no misuse does not stop, though it looks a little like one. */
static void nothing_stops_without_reason(void **state)
{
    (void)state;
    prepare();
    fallow_arena_free(arena, NULL, 0);
    fallow_arena_free(arena, NULL, 8 * page);
    fallow_arena_shrink(arena, run, 8 * page, 8 * page);
    assert_int_equal(fallow_arena_extend(arena, run, 8 * page, 8 * page), FALLOW_OK);
    assert_int_equal(fallow_arena_extend(arena, run, 8 * page - 5, 8 * page), FALLOW_OK);
    assert_int_equal(fallow_arena_commit(arena, run + 7 * page, 1), FALLOW_OK);
    fallow_arena_split(arena, run, 8 * page, 7 * page);
    fallow_arena_free(arena, run + 7 * page, 1);
    fallow_arena_free(arena, run, 6 * page + 1);
    fallow_arena_destroy(arena);
    fallow_arena_destroy(NULL);
}

int main(int argc, char **argv)
{
    test_begin();
    test_child_main(argc, argv, cases, CASE_COUNT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_stops_without_reason),
        cmocka_unit_test(each_misuse_stops_with_its_message),
    };
    return cmocka_run_group_tests_name("abort_misuse", tests, NULL, NULL);
}
