/* Misuse of an arena whose threads keep runs stops the program with its own message: a run freed twice, with another
 * size, after it was changed, in the wrong place; also where it would go back to the slot it was taken from, which is
 * not looked at in the bitmaps. With FALLOW_DEBUG=check every run freed twice is found, wherever it is kept; the test is
 * registered once without and once with it.
 *
 * Each case runs in a child, as in abort_misuse.c. */
#if !defined(_WIN32)
#define _XOPEN_SOURCE 700
#include <signal.h>
#endif

#include "child.h"

#include <stdatomic.h>

#include "fallow.h"
#include "os.h"
#include "threads.h"

#define ALREADY_FREE "already free"
#define NOT_ADDRESS "not an address of this arena"
#define NOT_ALIGNED "not aligned to the arena's page"
#define INSIDE_RUN "inside a run, not its base"
#define WRONG_SIZE "the size is not the run's size"
#define NO_LIVE_RUN "not in a live run"

enum {
    PAGES = 4, /* of the runs below */
    COUNT = 12
};

static fallow_arena *arena;
static size_t page;
static size_t size; /* of PAGES */
static char *runs[COUNT];

static fallow_arena *make_arena(void)
{
    fallow_arena *made;
    fallow_arena_options options = {.reserve_bytes = 64 << 20, .thread_cache_bytes = 4 << 20};
    if (fallow_arena_create(&options, &made) != FALLOW_OK) {
        fputs("no arena\n", stderr);
        exit(0);
    }
    return made;
}

static void *take(size_t size_bytes)
{
    void *base;
    if (fallow_arena_alloc(arena, size_bytes, &base) != FALLOW_OK) {
        fputs("no run\n", stderr);
        exit(0);
    }
    return base;
}

static void give(void *base, size_t size_bytes)
{
    fallow_arena_free(arena, base, size_bytes);
}

static void prepare(void)
{
    fallow_arena_stats stats;
    setvbuf(stderr, NULL, _IONBF, 0);
    arena = make_arena();
    fallow_arena_read_stats(arena, &stats);
    page = stats.page_bytes;
    size = PAGES * page;
}

/* Runs that this thread has taken out of its cache, in this order: each would go back to its slot unseen. */
static void prepare_trusted(void)
{
    prepare();
    for (int i = 0; i < COUNT; i++) {
        runs[i] = take(size);
    }
    for (int i = 0; i < COUNT; i++) {
        give(runs[i], size);
    }
    for (int i = 0; i < COUNT; i++) {
        runs[i] = take(size);
    }
}

static void expect(const char *operation, const void *address, const char *reason)
{
    if (address == NULL) {
        fprintf(stderr, "fallow: %s: %s\n", operation, reason);
    } else {
        fprintf(stderr, "fallow: %s(0x%llx): %s\n", operation, (unsigned long long)(uintptr_t)address, reason);
    }
}

static void free_wrongly(void *base, size_t size_bytes, const char *reason)
{
    expect("fallow_arena_free", base, reason);
    fallow_arena_free(arena, base, size_bytes);
    fputs("went on\n", stderr);
}

/* --- freed twice, at once ---------------------------------------------------------------------------------- */

static void twice(void)
{
    prepare();
    void *base = take(size);
    give(base, size);
    free_wrongly(base, size, ALREADY_FREE);
}

static void twice_after_a_hit(void)
{
    prepare();
    for (int i = 0; i < 100; i++) {
        give(take(size), size);
    }
    void *base = take(size);
    give(base, size);
    free_wrongly(base, size, ALREADY_FREE);
}

static void twice_spelled_otherwise(void)
{
    prepare_trusted();
    give(runs[COUNT - 1], size);
    free_wrongly(runs[COUNT - 1], size - page + 1, ALREADY_FREE);
}

static void twice_last_in_first_out(void)
{
    prepare_trusted();
    for (int i = COUNT - 1; i >= 3; i--) {
        give(runs[i], size);
    }
    free_wrongly(runs[3], size, ALREADY_FREE);
}

static void twice_first_in_first_out(void)
{
    prepare_trusted();
    for (int i = 0; i <= 7; i++) {
        give(runs[i], size);
    }
    free_wrongly(runs[7], size, ALREADY_FREE);
}

static void twice_in_no_order(void)
{
    prepare_trusted();
    for (int i = 0; i < 8; i++) {
        give(runs[i * 5 % COUNT], size);
    }
    free_wrongly(runs[7 * 5 % COUNT], size, ALREADY_FREE);
}

/* It was taken from the slot above the one that it is put into: there it must not be found again. */
static void twice_next_to_the_top(void)
{
    prepare_trusted();
    give(runs[COUNT - 2], size);
    free_wrongly(runs[COUNT - 2], size, ALREADY_FREE);
}

static void twice_the_longest_that_is_kept(void)
{
    prepare();
    void *base = take(1 << 20);
    give(base, 1 << 20);
    free_wrongly(base, 1 << 20, ALREADY_FREE);
}

static void twice_what_is_too_long_to_keep(void)
{
    prepare();
    void *base = take((1 << 20) + page);
    give(base, (1 << 20) + page);
    free_wrongly(base, (1 << 20) + page, ALREADY_FREE);
}

static void twice_with_a_flush_between(void)
{
    prepare_trusted();
    give(runs[COUNT - 1], size);
    fallow_arena_flush_thread(arena);
    free_wrongly(runs[COUNT - 1], size, ALREADY_FREE);
}

static void twice_with_a_trim_between(void)
{
    prepare_trusted();
    give(runs[2], size);
    if (fallow_arena_trim(arena, 0, NULL) == FALLOW_OK) {
        free_wrongly(runs[2], size, ALREADY_FREE);
    }
}

static void many_then_once(void)
{
    prepare_trusted();
    fallow_run run = {.base = runs[1], .size_bytes = size};
    fallow_arena_free_many(arena, &run, 1);
    free_wrongly(runs[1], size, ALREADY_FREE);
}

static void many_then_once_with_others_between(void)
{
    prepare_trusted();
    fallow_run run = {.base = runs[1], .size_bytes = size};
    fallow_arena_free_many(arena, &run, 1);
    give(runs[5], size); /* the bin is up to date again */
    give(runs[3], size);
    free_wrongly(runs[1], size, ALREADY_FREE);
}

static void once_then_many(void)
{
    prepare_trusted();
    fallow_run run = {.base = runs[1], .size_bytes = size};
    give(runs[1], size);
    expect("fallow_arena_free_many", runs[1], ALREADY_FREE);
    fallow_arena_free_many(arena, &run, 1);
}

static void twice_in_many(void)
{
    prepare_trusted();
    fallow_run twins[2] = {{runs[1], size, false}, {runs[1], size, false}};
    expect("fallow_arena_free_many", runs[1], ALREADY_FREE);
    fallow_arena_free_many(arena, twins, 2);
}

/* --- what is kept is changed ------------------------------------------------------------------------------- */

/* Each call with a run that is kept. */
static void change_kept(const char *operation, int which, const char *reason)
{
    char *base = runs[which];
    expect(operation, base, reason);
    fallow_status status = FALLOW_OK;
    if (strstr(operation, "extend") != NULL) {
        status = fallow_arena_extend(arena, base, size, size + page);
    } else if (strstr(operation, "shrink") != NULL) {
        fallow_arena_shrink(arena, base, size, page);
    } else if (strstr(operation, "split") != NULL) {
        fallow_arena_split(arena, base, size, page);
    } else if (strstr(operation, "decommit") != NULL) {
        status = fallow_arena_decommit(arena, base, page);
    } else if (strstr(operation, "commit") != NULL) {
        status = fallow_arena_commit(arena, base, page);
    } else if (strstr(operation, "many") != NULL) {
        fallow_run run = {.base = base, .size_bytes = size};
        fallow_arena_free_many(arena, &run, 1);
    } else {
        fallow_arena_free(arena, base, size);
    }
    fprintf(stderr, "went on with %s\n", fallow_status_name(status));
}

/* `latest`: the run freed last; `deep`: one freed long before. */
#define CHANGE_KEPT(name, operation, reason)                       \
    static void latest_##name(void)                                \
    {                                                              \
        prepare_trusted();                                         \
        for (int i = 0; i < COUNT; i++) {                          \
            give(runs[i], size);                                   \
        }                                                          \
        change_kept("fallow_arena_" operation, COUNT - 1, reason); \
    }                                                              \
    static void deep_##name(void)                                  \
    {                                                              \
        prepare_trusted();                                         \
        for (int i = 0; i < COUNT; i++) {                          \
            give(runs[i], size);                                   \
        }                                                          \
        change_kept("fallow_arena_" operation, 4, reason);         \
    }

/* clang-format off */
CHANGE_KEPT(free, "free", ALREADY_FREE)
CHANGE_KEPT(free_many, "free_many", ALREADY_FREE)
CHANGE_KEPT(extend, "extend", ALREADY_FREE)
CHANGE_KEPT(shrink, "shrink", ALREADY_FREE)
CHANGE_KEPT(split, "split", ALREADY_FREE)
CHANGE_KEPT(commit, "commit", NO_LIVE_RUN)
CHANGE_KEPT(decommit, "decommit", NO_LIVE_RUN)
/* clang-format on */

/* --- another size, another place --------------------------------------------------------------------------- */

static void size_too_long(void)
{
    prepare_trusted();
    free_wrongly(runs[COUNT - 1], size + 1, WRONG_SIZE);
}

static void size_too_short(void)
{
    prepare_trusted();
    free_wrongly(runs[COUNT - 1], size - page, WRONG_SIZE);
}

static void size_0(void)
{
    prepare_trusted();
    free_wrongly(runs[COUNT - 1], 0, WRONG_SIZE);
}

static void size_max(void)
{
    prepare_trusted();
    free_wrongly(runs[COUNT - 1], SIZE_MAX, WRONG_SIZE);
}

/* A stack of the wrong size is there, and not empty. */
static void size_of_another_stack(void)
{
    prepare_trusted();
    for (int i = 0; i < 5; i++) {
        give(take(size / 2), size / 2);
    }
    free_wrongly(runs[0], size / 2, WRONG_SIZE);
}

static void interior(void)
{
    prepare_trusted();
    free_wrongly(runs[0] + page, size - page, INSIDE_RUN);
}

static void interior_with_the_whole_size(void)
{
    prepare_trusted();
    free_wrongly(runs[0] + page, size, INSIDE_RUN);
}

static void odd(void)
{
    prepare_trusted();
    free_wrongly(runs[COUNT - 1] + 1, size, NOT_ALIGNED);
}

static void half_a_page(void)
{
    prepare_trusted();
    free_wrongly(runs[COUNT - 1] + page / 2, size, NOT_ALIGNED);
}

static void odd_null(void)
{
    prepare_trusted();
    free_wrongly((void *)(uintptr_t)1, size, NOT_ADDRESS);
}

/* Where no run of this size was ever kept. */
static void odd_null_and_no_stack(void)
{
    prepare_trusted();
    free_wrongly((void *)(uintptr_t)1, 3 * size, NOT_ADDRESS);
}

static void of_the_stack(void)
{
    char local = 0;
    prepare_trusted();
    free_wrongly(&local, size, NOT_ADDRESS);
}

static void of_the_bookkeeping(void)
{
    prepare_trusted();
    free_wrongly((char *)arena + 64, size, NOT_ADDRESS);
}

static void of_another_arena(void)
{
    prepare_trusted();
    fallow_arena *ours = arena;
    arena = make_arena();
    char *base = take(size);
    give(base, size);
    base = take(size); /* to be trusted there */
    arena = ours;
    free_wrongly(base, size, NOT_ADDRESS);
}

static void of_another_arena_just_used(void)
{
    prepare_trusted();
    arena = make_arena();
    give(take(size), size);
    free_wrongly(runs[COUNT - 1], size, NOT_ADDRESS);
}

static void never_taken(void)
{
    prepare_trusted();
    free_wrongly(runs[0] + 8 * (1 << 20), size, ALREADY_FREE);
}

/* --- changed, then freed as what it was -------------------------------------------------------------------- */

static void shrink_it(void)
{
    fallow_arena_shrink(arena, runs[0], size, size - page);
}

static void split_it(void)
{
    fallow_arena_split(arena, runs[0], size, page);
}

/* There is room behind it: it is the highest of them. */
static void extend_it(void)
{
    if (fallow_arena_extend(arena, runs[0], size, size + page) != FALLOW_OK) {
        fputs("not extended\n", stderr);
    }
}

static void free_it_past_the_cache(void)
{
    fallow_run run = {.base = runs[0], .size_bytes = size};
    fallow_arena_free_many(arena, &run, 1);
}

static void free_it_and_flush(void)
{
    give(runs[0], size);
    fallow_arena_flush_thread(arena);
}

static void in_another_thread(void *context, unsigned index)
{
    void (**change)(void) = context;
    (void)index;
    (*change)();
}

/* Then free it with the size that it had, at once or after others of that size. It was taken first: where runs come back
 * in the order they were taken in, it is the next one. */
static void changed(void (*change)(void), bool is_elsewhere, bool is_later, const char *reason)
{
    prepare_trusted();
    if (is_elsewhere) {
        threads_run(1, in_another_thread, (void *)&change);
    } else {
        change();
    }
    if (is_later) {
        give(runs[COUNT - 1], size);
        give(runs[COUNT - 2], size);
    }
    free_wrongly(runs[0], size, reason);
}

#define CHANGED(name, change, reason)            \
    static void name##_here(void)                \
    {                                            \
        changed(change, false, false, reason);   \
    }                                            \
    static void name##_here_and_later(void)      \
    {                                            \
        changed(change, false, true, reason);    \
    }                                            \
    static void name##_elsewhere(void)           \
    {                                            \
        changed(change, true, false, reason);    \
    }                                            \
    static void name##_elsewhere_and_later(void) \
    {                                            \
        changed(change, true, true, reason);     \
    }

/* clang-format off */
CHANGED(shrunk, shrink_it, WRONG_SIZE)
CHANGED(split, split_it, WRONG_SIZE)
CHANGED(extended, extend_it, WRONG_SIZE)
CHANGED(freed_past, free_it_past_the_cache, ALREADY_FREE)
CHANGED(freed_and_flushed, free_it_and_flush, ALREADY_FREE)
/* clang-format on */

static void give_it(void)
{
    give(runs[0], size);
}

/* The other thread has ended, and what it kept is free. */
static void freed_by_a_thread_that_has_ended(void)
{
    changed(give_it, true, false, ALREADY_FREE);
}

/* The other thread keeps it and goes on. */
static atomic_int step;

static void one_keeps_it(void *context, unsigned index)
{
    (void)context;
    if (index == 0) {
        give(runs[4], size);
        atomic_store(&step, 1);
        while (atomic_load(&step) == 1) {
            fallow__os_yield();
        }
    } else {
        while (atomic_load(&step) == 0) {
            fallow__os_yield();
        }
        free_wrongly(runs[4], size, ALREADY_FREE);
        atomic_store(&step, 2);
    }
}

static void kept_by_another_thread(void)
{
    prepare_trusted();
    threads_run(2, one_keeps_it, NULL);
}

static void decommitted_then_freed_twice(void)
{
    prepare_trusted();
    if (fallow_arena_decommit(arena, runs[4], page) == FALLOW_OK) {
        give(runs[4], size); /* which keeps nothing: not all of it is accessible */
        free_wrongly(runs[4], size, ALREADY_FREE);
    }
}

/* --- running them ------------------------------------------------------------------------------------------ */

/* clang-format off */
#define CASE(name) {#name, name}
#define CASES_CHANGED(name) CASE(name##_here), CASE(name##_here_and_later), CASE(name##_elsewhere), \
    CASE(name##_elsewhere_and_later)

static const test_child_case cases[] = {
    CASE(twice), CASE(twice_after_a_hit), CASE(twice_spelled_otherwise), CASE(twice_last_in_first_out),
    CASE(twice_first_in_first_out), CASE(twice_in_no_order), CASE(twice_next_to_the_top), CASE(twice_the_longest_that_is_kept),
    CASE(twice_what_is_too_long_to_keep), CASE(twice_with_a_flush_between), CASE(twice_with_a_trim_between),
    CASE(many_then_once), CASE(many_then_once_with_others_between), CASE(once_then_many), CASE(twice_in_many),
    CASE(latest_free), CASE(latest_free_many), CASE(latest_extend), CASE(latest_shrink), CASE(latest_split),
    CASE(latest_commit), CASE(latest_decommit),
    CASE(size_too_long), CASE(size_too_short), CASE(size_0), CASE(size_max), CASE(size_of_another_stack),
    CASE(interior), CASE(interior_with_the_whole_size), CASE(odd), CASE(half_a_page), CASE(odd_null),
    CASE(odd_null_and_no_stack), CASE(of_the_stack), CASE(of_the_bookkeeping), CASE(of_another_arena),
    CASE(of_another_arena_just_used), CASE(never_taken),
    CASES_CHANGED(shrunk), CASES_CHANGED(split), CASES_CHANGED(extended), CASES_CHANGED(freed_past),
    CASES_CHANGED(freed_and_flushed), CASE(freed_by_a_thread_that_has_ended), CASE(decommitted_then_freed_twice),
    /* from here on only with FALLOW_DEBUG=check */
    CASE(deep_free), CASE(deep_free_many), CASE(deep_extend), CASE(deep_shrink), CASE(deep_split), CASE(deep_commit),
    CASE(deep_decommit), CASE(kept_by_another_thread),
};
/* clang-format on */

enum {
    CHECKED_CASES = 8,
    CASE_COUNT = sizeof cases / sizeof cases[0]
};

static bool is_checking(void)
{
    const char *debug = getenv("FALLOW_DEBUG");
    return debug != NULL && strcmp(debug, "check") == 0;
}

static void each_misuse_stops_with_its_message(void **state)
{
    (void)state;
    int failures = 0;
    for (size_t i = 0; i < (is_checking() ? CASE_COUNT : CASE_COUNT - CHECKED_CASES); i++) {
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

/* What is right is let through: in every order, across threads, and after every change. */
static void give_some(void *context, unsigned index)
{
    (void)context;
    for (int i = (int)index; i < COUNT; i += 3) {
        give(runs[i], size);
    }
}

static void nothing_stops_without_reason(void **state)
{
    (void)state;
    prepare_trusted();
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < COUNT; i++) {
            give(runs[i * (round % 2 == 0 ? 5 : 7) % COUNT], size);
        }
        for (int i = 0; i < COUNT; i++) {
            runs[i] = take(size - (size_t)round);
        }
        switch (round % 5) {
        case 0:
            fallow_arena_split(arena, runs[4], size, page);
            give(runs[4] + page, size - page);
            give(runs[4], 1);
            runs[4] = take(size);
            break;
        case 1:
            fallow_arena_shrink(arena, runs[4], size, page);
            give(runs[4], page);
            runs[4] = take(size);
            break;
        case 2:
            assert_int_equal(fallow_arena_decommit(arena, runs[4], page), FALLOW_OK);
            give(runs[4], size);
            runs[4] = take(size);
            memset(runs[4], 1, size);
            break;
        case 3: fallow_arena_flush_thread(arena); break;
        default:
            threads_run(3, give_some, NULL);
            for (int i = 0; i < COUNT; i++) {
                runs[i] = take(size);
            }
            break;
        }
    }
    fallow_arena_free(arena, NULL, size);
    fallow_arena_free_many(arena, NULL, 0);
    fallow_arena_destroy(arena);
}

int main(int argc, char **argv)
{
    test_begin();
    test_child_main(argc, argv, cases, CASE_COUNT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_misuse_stops_with_its_message),
        cmocka_unit_test(nothing_stops_without_reason),
    };
    return cmocka_run_group_tests_name(is_checking() ? "abort_cache, FALLOW_DEBUG=check" : "abort_cache", tests, NULL,
                                       NULL);
}
