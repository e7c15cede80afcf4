/* Metadata lies apart from data: whatever runs over an end of what an arena hands out faults at once, and reaches no
 * bookkeeping, its own or that of an arena that happens to lie right behind. */
#include "test.h"

#include <string.h>

#include "fallow.h"
#include "probe.h"

#define MIB ((size_t)1 << 20)

enum {
    ARENAS = 8
};

static fallow_system facts;

/* All that an arena can hand out, written to: from its first byte to its last. */
static fallow_run fill(fallow_arena *arena)
{
    fallow_arena_stats stats;
    fallow_run run;
    fallow_arena_read_stats(arena, &stats);
    assert_int_equal(fallow_arena_alloc_run(arena, stats.usable_bytes, NULL, &run), FALLOW_OK);
    memset(run.base, 0x5a, run.size_bytes);
    return run;
}

/* The bytes outside the two ends fault: a whole page of the system at each. */
static void check_ends(fallow_run run)
{
    char *first = run.base;
    char *end = first + run.size_bytes;
    assert_true(probe_can_write(first));
    assert_true(probe_can_write(end - 1));
    assert_false(probe_can_read(first - 1));
    assert_false(probe_can_write(first - facts.page_bytes));
    assert_false(probe_can_read(end));
    assert_false(probe_can_write(end + facts.page_bytes - 1));
}

/* Arenas that the system may lay side by side: without a guard, the head of one is where the pages of another end. */
static void check_neighbours(size_t page_bytes, size_t reserve_bytes)
{
    fallow_arena *arenas[ARENAS];
    fallow_arena_options options = {.reserve_bytes = reserve_bytes,
                                    .page_bytes = page_bytes,
                                    .flags = FALLOW_ARENA_FIXED,
                                    .thread_cache_bytes = FALLOW_CACHE_NONE};
    for (size_t i = 0; i < ARENAS; i++) {
        assert_int_equal(fallow_arena_create(&options, &arenas[i]), FALLOW_OK);
    }
    for (size_t i = 0; i < ARENAS; i++) {
        check_ends(fill(arenas[i]));
    }
    for (size_t i = 0; i < ARENAS; i++) {
        assert_int_equal(fallow_arena_check(arenas[i]), FALLOW_OK);
        fallow_arena_destroy(arenas[i]);
    }
}

static void small_pages_fault_at_both_ends(void **state)
{
    (void)state;
    check_neighbours(facts.page_bytes, 64 * facts.page_bytes);
}

static void the_usual_pages_fault_at_both_ends(void **state)
{
    (void)state;
    check_neighbours(0, 4 * MIB);
}

static void the_largest_pages_fault_at_both_ends(void **state)
{
    (void)state;
    check_neighbours(2 * MIB, 4 * MIB);
}

/* Further reservations of the same arena, each with bookkeeping of its own. */
static void further_reservations_fault_at_both_ends(void **state)
{
    (void)state;
    fallow_arena *arena;
    fallow_arena_options options = {
        .reserve_bytes = MIB, .page_bytes = facts.page_bytes, .thread_cache_bytes = FALLOW_CACHE_NONE};
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    check_ends(fill(arena));
    for (size_t more = 1; more < 4; more++) {
        fallow_arena_stats before;
        fallow_arena_stats after;
        fallow_run one;
        fallow_arena_read_stats(arena, &before);
        assert_int_equal(fallow_arena_alloc_run(arena, facts.page_bytes, NULL, &one), FALLOW_OK);
        fallow_arena_read_stats(arena, &after);
        assert_int_equal(after.region_count, more + 1);
        fallow_arena_free(arena, one.base, one.size_bytes);
        fallow_run all;
        assert_int_equal(fallow_arena_alloc_run(arena, after.usable_bytes - before.usable_bytes, NULL, &all),
                         FALLOW_OK);
        check_ends(all);
    }
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_destroy(arena);
}

int main(void)
{
    test_begin();
    fallow_system_info(&facts);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_pages_fault_at_both_ends),
        cmocka_unit_test(the_usual_pages_fault_at_both_ends),
        cmocka_unit_test(the_largest_pages_fault_at_both_ends),
        cmocka_unit_test(further_reservations_fault_at_both_ends),
    };
    return cmocka_run_group_tests_name("unit_guards", tests, NULL, NULL);
}
