/* What the arena makes of a system that stops halfway: each thing that a decommit or a purge can leave behind, with the
 * arena's figures compared to what the simulated system really holds. */
#include "test.h"

#include <string.h>

#include "sim_os.h"

#define MIB ((size_t)1 << 20)
#define LARGE_BYTES ((size_t)((uint64_t)3 << 30)) /* blocks are of 1 GiB */

static void begin(sim_options options)
{
    assert_true(sim_begin(&options));
}

/* The arena counts exactly what it can access: not more, not less. `kept_bytes`: charged, though not accessible. */
static fallow_arena_stats check(fallow_arena *arena, size_t kept_bytes)
{
    fallow_arena_stats stats;
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_read_stats(arena, &stats);
    assert_int_equal(stats.committed_bytes + kept_bytes, sim_charge());
    return stats;
}

static fallow_arena *make(fallow_purge purge)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {
        .reserve_bytes = 64 * MIB, .grow_bytes = 1, .purge = purge, .thread_cache_bytes = FALLOW_CACHE_NONE};
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    return arena;
}

static void *take(fallow_arena *arena, size_t size_bytes)
{
    void *base = NULL;
    assert_int_equal(fallow_arena_alloc(arena, size_bytes, &base), FALLOW_OK);
    memset(base, 0x5a, size_bytes);
    return base;
}

/* With bookkeeping in several blocks, of which only the first is used. */
static fallow_arena *make_large(char **low_out)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {.reserve_bytes = LARGE_BYTES,
                                    .page_bytes = fallow__os_page_bytes(),
                                    .grow_bytes = 1,
                                    .thread_cache_bytes = FALLOW_CACHE_NONE};
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    *low_out = take(arena, 1);
    return arena;
}

/* Four pages of which the first two are free and accessible, the others free and not: where a run of addresses is
 * wanted, the first two must be decommitted. */
static void addresses_over_a_mixed_place(void **state)
{
    static const fallow__os_left lefts[] = {FALLOW__OS_LEFT_CHARGED, FALLOW__OS_LEFT_ACCESSIBLE, FALLOW__OS_LEFT_ALL};
    (void)state;
    for (size_t i = 0; i < sizeof lefts / sizeof lefts[0]; i++) {
        begin((sim_options){0});
        fallow_arena *arena = make(FALLOW_PURGE_DONTNEED);
        fallow_arena_stats stats = check(arena, 0);
        size_t page = stats.page_bytes;
        fallow_arena_free(arena, take(arena, 2 * page), 2 * page);
        sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_DECOMMIT), .left = lefts[i]});
        fallow_run run;
        fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED};
        fallow_status status = fallow_arena_alloc_run(arena, 4 * page, &addresses, &run);
        sim_refuse(NULL);
        /* addresses have to fault; that the system still charges them is no reason to refuse them */
        bool is_faulting = lefts[i] == FALLOW__OS_LEFT_CHARGED;
        assert_int_equal(status, is_faulting ? FALLOW_OK : FALLOW_ERR_MAP_COUNT);
        (void)check(arena, is_faulting ? 2 * page : 0);
        if (is_faulting) {
            fallow_arena_free(arena, run.base, run.size_bytes);
        }
        /* whatever the arena believes of the four pages, they can be used */
        char *base = take(arena, 4 * page);
        (void)check(arena, 0);
        fallow_arena_free(arena, base, 4 * page);
        fallow_arena_destroy(arena);
        assert_true(sim_end());
    }
}

/* The same where a run of addresses is made longer. */
static void extending_addresses_over_a_mixed_place(void **state)
{
    (void)state;
    begin((sim_options){0});
    fallow_arena *arena = make(FALLOW_PURGE_DONTNEED);
    size_t page = check(arena, 0).page_bytes;
    fallow_arena_free(arena, take(arena, 3 * page), 3 * page);
    fallow_run run;
    fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED};
    assert_int_equal(fallow_arena_alloc_run(arena, page, &addresses, &run), FALLOW_OK);
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_DECOMMIT), .left = FALLOW__OS_LEFT_ACCESSIBLE});
    assert_int_equal(fallow_arena_extend(arena, run.base, page, 6 * page), FALLOW_ERR_MAP_COUNT);
    sim_refuse(NULL);
    (void)check(arena, 0);
    char *base = take(arena, 5 * page);
    assert_ptr_equal(base, (char *)run.base + page);
    (void)check(arena, 0);
    fallow_arena_destroy(arena);
    assert_true(sim_end());
}

/* Every purge mode, every way to stop. */
static void trim_that_stops(void **state)
{
    static const fallow_purge purges[] = {FALLOW_PURGE_DONTNEED, FALLOW_PURGE_FREE, FALLOW_PURGE_DECOMMIT};
    (void)state;
    for (int way = 0; way < 12; way++) {
        begin((sim_options){.rules = way % 2 == 0 ? SIM_LINUX : SIM_WINDOWS, .seed = (uint64_t)way});
        fallow_arena *arena = make(purges[way % 3]);
        size_t page = check(arena, 0).page_bytes;
        char *run = take(arena, 16 * page);
        fallow_arena_split(arena, run, 16 * page, 4 * page);
        fallow_arena_split(arena, run + 4 * page, 12 * page, 4 * page);
        fallow_arena_free(arena, run, 4 * page);
        fallow_arena_free(arena, run + 8 * page, 8 * page);
        fallow__os_left left = (fallow__os_left)(FALLOW__OS_LEFT_CHARGED + way / 4);
        sim_refuse(&(sim_refusal){.times = 1, .left = left, .is_halfway = way >= 6});
        size_t released_bytes = 0;
        fallow_status status = fallow_arena_trim(arena, 0, &released_bytes);
        sim_refuse(NULL);
        size_t kept_bytes = purges[way % 3] == FALLOW_PURGE_DECOMMIT && left == FALLOW__OS_LEFT_CHARGED ? 8 * page : 0;
        (void)check(arena, kept_bytes);
        assert_true(status != FALLOW_OK || released_bytes == 12 * page);
        char *again = take(arena, 4 * page);
        assert_ptr_equal(again, run);
        (void)take(arena, 8 * page);
        (void)check(arena, 0);
        fallow_arena_destroy(arena);
        assert_true(sim_end());
    }
}

/* Bookkeeping that was committed for a call which then failed is taken back. If it faults afterwards, it has to be
 * committed again for the next call, whatever it is still charged for. */
static void bookkeeping_that_is_taken_back(void **state)
{
    static const fallow__os_left lefts[] = {FALLOW__OS_LEFT_NOTHING, FALLOW__OS_LEFT_CHARGED,
                                            FALLOW__OS_LEFT_ACCESSIBLE, FALLOW__OS_LEFT_ALL};
    (void)state;
    if (sizeof(size_t) < 8) {
        skip(); /* no room for two blocks */
    }
    for (size_t i = 0; i < sizeof lefts / sizeof lefts[0]; i++) {
        begin((sim_options){0});
        char *low;
        fallow_arena *arena = make_large(&low);
        fallow_arena_stats before = check(arena, 0);
        bool is_decommit_refused = lefts[i] != FALLOW__OS_LEFT_NOTHING;
        /* the bookkeeping is committed, the pages are not */
        sim_refuse(&(sim_refusal){
            .calls = SIM_CALL(SIM_COMMIT) | (is_decommit_refused ? SIM_CALL(SIM_DECOMMIT) : 0),
            .skip = 1,
            .times = UINT64_MAX,
            .left = lefts[i],
        });
        fallow_run run;
        fallow_run_options middle = {.at = low + before.usable_bytes / 2};
        assert_int_equal(fallow_arena_alloc_run(arena, before.page_bytes, &middle, &run), FALLOW_ERR_COMMIT);
        sim_refuse(NULL);
        (void)check(arena, lefts[i] == FALLOW__OS_LEFT_CHARGED ? sim_charge() - before.committed_bytes : 0);
        assert_int_equal(fallow_arena_alloc_run(arena, before.page_bytes, &middle, &run), FALLOW_OK);
        memset(run.base, 1, run.size_bytes);
        (void)check(arena, 0);
        fallow_arena_destroy(arena);
        assert_true(sim_end());
    }
}

/* A run of addresses, committed here and there, and then as a whole: Linux is refused after it has committed the first
 * pieces. Nothing of that may be left. */
static void commit_that_stops_partway(void **state)
{
    (void)state;
    for (int is_planned = 0; is_planned < 2; is_planned++) {
        begin((sim_options){0});
        fallow_arena *arena = make(FALLOW_PURGE_DONTNEED);
        size_t page = check(arena, 0).page_bytes;
        fallow_run run;
        fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED};
        assert_int_equal(fallow_arena_alloc_run(arena, 8 * page, &addresses, &run), FALLOW_OK);
        char *base = run.base;
        assert_int_equal(fallow_arena_commit(arena, base + 2 * page, page), FALLOW_OK);
        assert_int_equal(fallow_arena_commit(arena, base + 5 * page, page), FALLOW_OK);
        memset(base + 2 * page, 1, page);
        fallow_arena_stats before = check(arena, 0);
        if (is_planned) {
            sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_COMMIT), .is_halfway = true});
        } else {
            sim_set_limit(SIM_LIMIT_COMMIT, before.committed_bytes + 5 * page);
        }
        assert_int_equal(fallow_arena_commit(arena, base, 8 * page), FALLOW_ERR_COMMIT);
        sim_refuse(NULL);
        sim_set_limit(SIM_LIMIT_COMMIT, SIM_NO_LIMIT);
        assert_int_equal(check(arena, 0).committed_bytes, before.committed_bytes);
        assert_true(sim_is_all(base, 2 * page, SIM_RESERVED));
        assert_true(sim_is_all(base + 3 * page, 2 * page, SIM_RESERVED));
        assert_int_equal(base[3 * page - 1], 1);
        assert_int_equal(fallow_arena_commit(arena, base, 8 * page), FALLOW_OK);
        assert_int_equal(base[3 * page - 1], 1);
        memset(base, 2, 8 * page);
        (void)check(arena, 0);
        fallow_arena_destroy(arena);
        assert_true(sim_end());
    }
}

/* Create an arena, fill it, have it reserve more: with call number `skip` refused. Returns whether it came through. */
static bool work_with_refusal(uint64_t skip)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {.reserve_bytes = MIB, .grow_bytes = 1};
    void *base;
    begin((sim_options){.limits = {[SIM_LIMIT_COMMIT] = 4 * MIB}});
    sim_refuse(&(sim_refusal){.skip = skip});
    if (fallow_arena_create(&options, &arena) != FALLOW_OK) {
        assert_true(sim_check_no_leak());
        sim_refuse(NULL);
        assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    }
    uint64_t reservations = sim_live_reservations();
    size_t charge = check(arena, 0).committed_bytes;
    if (fallow_arena_alloc(arena, 2 * MIB, &base) != FALLOW_OK) {
        assert_int_equal(sim_live_reservations(), reservations);
        assert_int_equal(check(arena, 0).committed_bytes, charge);
        assert_int_equal(sim_counts().held_locks, 0);
        assert_int_equal(fallow_arena_alloc(arena, 2 * MIB, &base), FALLOW_OK);
    }
    memset(base, 1, 2 * MIB);
    bool is_through = sim_refused() == 0;
    sim_refuse(NULL);
    fallow_arena_destroy(arena);
    assert_true(sim_end());
    return is_through;
}

static void a_refusal_leaks_nothing(void **state)
{
    (void)state;
    uint64_t skip = 0;
    while (!work_with_refusal(skip)) {
        skip++;
    }
    assert_true(skip >= 5);
}

/* Where addresses are short, a further reservation is halved as long as the run fits, wherever the first page is. */
static void a_further_reservation_is_halved_while_the_run_fits(void **state)
{
    (void)state;
    static const struct {
        size_t count, align, needed; /* pages */
    } wanted[] = {{1, 1, 1}, {64, 1, 64}, {49, 16, 64}, {63, 2, 64}, {50, 16, 128}};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        begin((sim_options){0});
        fallow_arena *arena = make(FALLOW_PURGE_DONTNEED);
        fallow_arena_stats before = check(arena, 0);
        size_t page = before.page_bytes;
        char *all = take(arena, before.usable_bytes);
        fallow_run_options options = {.align_bytes = wanted[i].align * page};
        fallow_run run = {.size_bytes = 0};
        fallow_status status = FALLOW_ERR_ADDRESS_SPACE;
        for (uint64_t more = sim_reserved(); status == FALLOW_ERR_ADDRESS_SPACE; more += page) {
            sim_set_limit(SIM_LIMIT_ADDRESSES, more);
            status = fallow_arena_alloc_run(arena, wanted[i].count * page, &options, &run);
        }
        assert_int_equal(status, FALLOW_OK);
        assert_int_equal(check(arena, 0).usable_bytes - before.usable_bytes, wanted[i].needed * page);
        fallow_arena_free(arena, run.base, run.size_bytes);
        fallow_arena_free(arena, all, before.usable_bytes);
        fallow_arena_destroy(arena);
        assert_true(sim_end());
    }
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_over_a_mixed_place),
        cmocka_unit_test(extending_addresses_over_a_mixed_place),
        cmocka_unit_test(trim_that_stops),
        cmocka_unit_test(bookkeeping_that_is_taken_back),
        cmocka_unit_test(commit_that_stops_partway),
        cmocka_unit_test(a_refusal_leaks_nothing),
        cmocka_unit_test(a_further_reservation_is_halved_while_the_run_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
