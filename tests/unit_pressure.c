/* What happens when memory is short: arenas that watch are trimmed, others are not; on the simulated system, which says
 * so when it is told to. */
#include "test.h"

#include <string.h>

#include "sim_host.h"
#include "sim_os.h"

#define MIB ((size_t)1 << 20)

static fallow_arena *create(fallow_purge purge)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {.reserve_bytes = 64 * MIB, .purge = purge, .scavenge = FALLOW_SCAVENGE_OFF};
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    return arena;
}

static void begin(const sim_options *options)
{
    assert_true(sim_begin(options));
}

static void end(void)
{
    assert_true(sim_end());
}

static void fill(fallow_arena *arena)
{
    void *base;
    assert_int_equal(fallow_arena_alloc(arena, 8 * MIB, &base), FALLOW_OK);
    memset(base, 1, 8 * MIB);
    fallow_arena_free(arena, base, 8 * MIB);
}

static fallow_arena_stats look(fallow_arena *arena)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(arena, &s);
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    return s;
}

static void wait_for_trims(fallow_arena *arena, uint64_t count)
{
    for (uint64_t looks = 0; look(arena).pressure_trims < count; looks++) {
        sim_host_yield(true);
        sim_offer();
        assert_true(looks < 10000000);
    }
}

static void those_that_watch_are_trimmed(void **state)
{
    (void)state;
    static const fallow_purge purges[] = {FALLOW_PURGE_DONTNEED, FALLOW_PURGE_FREE, FALLOW_PURGE_DECOMMIT};
    for (int way = 0; way < 6; way++) {
        begin(&(sim_options){.rules = way % 2 == 0 ? SIM_LINUX : SIM_WINDOWS});
        fallow_arena *one = create(purges[way / 2]);
        fallow_arena *other = create(purges[way / 2]);
        fallow_arena *indifferent = create(purges[way / 2]);
        assert_int_equal(sim_counts().calls[SIM_THREAD], 0);
        assert_int_equal(fallow_pressure_watch(one), FALLOW_OK);
        assert_int_equal(fallow_pressure_watch(one), FALLOW_OK); /* asking twice is fine */
        assert_int_equal(fallow_pressure_watch(other), FALLOW_OK);
        for (uint64_t round = 1; round <= 3; round++) {
            fill(one);
            fill(other);
            fill(indifferent);
            assert_int_equal(look(one).retained_bytes, 8 * MIB);
            sim_press();
            wait_for_trims(one, round);
            wait_for_trims(other, round);
            assert_int_equal(look(one).retained_bytes, 0);
            assert_int_equal(look(other).retained_bytes, 0);
            assert_int_equal(look(indifferent).retained_bytes, 8 * MIB);
        }
        assert_int_equal(sim_counts().calls[SIM_THREAD], 1);
        assert_int_equal(sim_counts().calls[SIM_PRESSURE], 1);
        fallow_arena_destroy(one);
        fallow_arena_destroy(other);
        assert_int_equal(sim_counts().live_threads, 0); /* gone with the last */
        assert_int_equal(look(indifferent).pressure_trims, 0);
        fallow_arena_destroy(indifferent);
        end();
    }
}

/* What threads keep goes, too. */
static void what_threads_keep(void **state)
{
    (void)state;
    begin(&(sim_options){0});
    fallow_arena *arena = NULL;
    fallow_arena_options options = {
        .reserve_bytes = 64 * MIB, .thread_cache_bytes = 16 * MIB, .scavenge = FALLOW_SCAVENGE_OFF};
    void *base[16];
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(fallow_arena_alloc(arena, 64 << 10, &base[i]), FALLOW_OK);
    }
    for (int i = 0; i < 16; i++) {
        fallow_arena_free(arena, base[i], 64 << 10);
    }
    assert_true(look(arena).cached_bytes != 0);
    assert_int_equal(fallow_pressure_watch(arena), FALLOW_OK);
    sim_press();
    wait_for_trims(arena, 1);
    if (sim_host_barrier()) { /* without it they keep what they have */
        assert_int_equal(look(arena).cached_bytes + look(arena).retained_bytes, 0);
    }
    fallow_arena_destroy(arena);
    end();
}

static void refused(void **state)
{
    (void)state;
    fallow_failure failure;
    begin(&(sim_options){.flags = SIM_NO_PRESSURE});
    fallow_arena *arena = create(FALLOW_PURGE_DONTNEED);
    assert_int_equal(fallow_pressure_watch(arena), FALLOW_ERR_UNSUPPORTED);
    assert_true(fallow_last_failure(&failure));
    assert_string_equal(failure.operation, "fallow_pressure_watch");
    fallow_arena_destroy(arena);
    end();

    begin(&(sim_options){0});
    arena = create(FALLOW_PURGE_DONTNEED);
    static const sim_call calls[] = {SIM_PRESSURE, SIM_THREAD};
    for (int i = 0; i < 2; i++) {
        sim_refuse(&(sim_refusal){.calls = SIM_CALL(calls[i])});
        assert_int_equal(fallow_pressure_watch(arena), FALLOW_ERR_OS);
        sim_refuse(NULL);
        assert_int_equal(sim_counts().live_threads, 0);
    }
    assert_int_equal(fallow_pressure_watch(arena), FALLOW_OK); /* the next time it works */
    sim_press();
    wait_for_trims(arena, 1);
    fallow_arena_destroy(arena);
    end();
}

/* A purge that is refused: the others still get their turn, and the next word finds everybody there. */
static void a_refused_trim(void **state)
{
    (void)state;
    begin(&(sim_options){0});
    fallow_arena *one = create(FALLOW_PURGE_DONTNEED);
    fallow_arena *other = create(FALLOW_PURGE_DONTNEED);
    assert_int_equal(fallow_pressure_watch(one), FALLOW_OK);
    assert_int_equal(fallow_pressure_watch(other), FALLOW_OK);
    fill(one);
    fill(other);
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_PURGE)});
    sim_press();
    wait_for_trims(one, 1);
    wait_for_trims(other, 1);
    assert_int_equal(look(one).retained_bytes + look(other).retained_bytes, 8 * MIB);
    sim_press();
    wait_for_trims(one, 2);
    wait_for_trims(other, 2);
    assert_int_equal(look(one).retained_bytes + look(other).retained_bytes, 0);
    fallow_arena_destroy(one);
    fallow_arena_destroy(other);
    end();
}

/* Two threads: arenas that watch come and go, also with a background thread, while memory is short all the time. */
static void come_and_go(void *context)
{
    uint64_t seed = *(const uint64_t *)context;
    for (int round = 0; round < 4; round++) {
        fallow_arena *arena = NULL;
        fallow_arena_options options = {
            .reserve_bytes = 4 * MIB,
            .scavenge = (seed + (uint64_t)round) % 3 == 0 ? FALLOW_SCAVENGE_THREAD : FALLOW_SCAVENGE_OFF,
        };
        void *base;
        assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
        assert_int_equal(fallow_pressure_watch(arena), FALLOW_OK);
        assert_int_equal(fallow_arena_alloc(arena, 256 << 10, &base), FALLOW_OK);
        fallow_arena_free(arena, base, 256 << 10);
        if (round % 2 == 0) {
            sim_press();
        }
        fallow_arena_destroy(arena);
    }
}

static void arenas_come_and_go(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        sim_thread thread;
        begin(&(sim_options){.flags = SIM_INTERLEAVED, .seed = seed, .switch_rarity = seed % 8});
        assert_true(sim_start(come_and_go, &seed, &thread));
        come_and_go(&seed);
        sim_join(&thread);
        assert_int_equal(sim_counts().live_threads, 0);
        end();
    }
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_that_watch_are_trimmed),
        cmocka_unit_test(what_threads_keep),
        cmocka_unit_test(refused),
        cmocka_unit_test(a_refused_trim),
        cmocka_unit_test(arenas_come_and_go),
    };
    return cmocka_run_group_tests_name("pressure", tests, NULL, NULL);
}
