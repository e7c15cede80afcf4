/* Giving memory back without being asked, on the simulated system and its clock: how much is kept and for how long, in
 * which order and at what pace it goes, what the thread does, and how far an arena stays from the most mappings. */
#include "test.h"

#include <string.h>

#include "scavenge.h"
#include "sim_host.h"
#include "sim_os.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define MS UINT64_C(1000000)

/* --- goal and pace ------------------------------------------------------------------------------------------ */

static void the_goal_is_the_peak_of_two_intervals(void **state)
{
    (void)state;
    fallow__scavenger s;
    fallow__scavenger_init(&s, NULL, FALLOW_SCAVENGE_ASSIST, 50, 100, true);
    assert_true(fallow__scavenger_tick(&s, 1000 * MS, 10));
    s.peak_pages = 400;
    assert_int_equal(fallow__scavenger_goal(&s, 10, true), 600);
    assert_int_equal(fallow__scavenger_goal(&s, 10, false), 15);
    assert_int_equal(fallow__scavenger_goal(&s, 800, true), 1200);
    assert_false(fallow__scavenger_tick(&s, 1099 * MS, 10));
    assert_true(fallow__scavenger_tick(&s, 1100 * MS, 10));
    assert_int_equal(fallow__scavenger_goal(&s, 10, true), 600); /* the interval before */
    assert_true(fallow__scavenger_tick(&s, 1200 * MS, 10));
    assert_int_equal(fallow__scavenger_goal(&s, 10, true), 15);
    fallow__scavenger_init(&s, NULL, FALLOW_SCAVENGE_ASSIST, 0, 0, true);
    assert_int_equal(fallow__scavenger_goal(&s, 1000, true), 1100);
    assert_true(fallow__scavenger_tick(&s, 1000 * MS, 10));
    assert_false(fallow__scavenger_tick(&s, 1499 * MS, 10));
    assert_true(fallow__scavenger_tick(&s, 1500 * MS, 10));
}

static void one_percent_of_the_time(void **state)
{
    (void)state;
    fallow__scavenger s;
    uint64_t now_ns = 1000 * MS;
    uint64_t spent_ns = 0;
    fallow__scavenger_init(&s, NULL, FALLOW_SCAVENGE_THREAD, 0, 0, true);
    for (int i = 0; i < 100000; i++) {
        if (fallow__scavenger_may_pay(&s, now_ns)) {
            fallow__scavenger_pay(&s, 3 * MS);
            spent_ns += 3 * MS;
            now_ns += 3 * MS;
        } else {
            uint64_t pause_ns = fallow__scavenger_pause_ns(&s);
            assert_true(pause_ns >= MS && pause_ns <= 1000 * MS);
            now_ns += pause_ns;
            assert_true(fallow__scavenger_may_pay(&s, now_ns));
        }
        assert_true(spent_ns <= 203 * MS + (now_ns - 1000 * MS) / 100);
    }
    assert_true(spent_ns >= (now_ns - 1000 * MS) / 101); /* and it is used */
    assert_true(fallow__scavenger_may_pay(&s, now_ns + 1000000 * MS));
    fallow__scavenger_pay(&s, 201 * MS); /* no more than that is saved */
    assert_false(fallow__scavenger_may_pay(&s, now_ns + 1000000 * MS));
}

/* --- arenas ------------------------------------------------------------------------------------------------- */

static fallow_arena *arena;
static size_t page;

static void begin(sim_options system, fallow_arena_options options)
{
    assert_true(sim_begin(&system));
    options.reserve_bytes = options.reserve_bytes != 0 ? options.reserve_bytes : 256 * MIB;
    options.thread_cache_bytes = options.thread_cache_bytes != 0 ? options.thread_cache_bytes : FALLOW_CACHE_NONE;
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    fallow_arena_stats s;
    fallow_arena_read_stats(arena, &s);
    page = s.page_bytes;
}

static fallow_arena_stats look(void)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(arena, &s);
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    assert_int_equal(s.by_dontneed.calls + s.by_free.calls + s.by_decommit.calls, s.purge_calls);
    return s;
}

static void end(void)
{
    (void)look();
    fallow_arena_destroy(arena);
    assert_true(sim_end());
}

static char *take(size_t size_bytes)
{
    void *base = NULL;
    assert_int_equal(fallow_arena_alloc(arena, size_bytes, &base), FALLOW_OK);
    memset(base, 1, size_bytes);
    return base;
}

static void give(void *base, size_t size_bytes)
{
    fallow_arena_free(arena, base, size_bytes);
}

/* As much taken and freed as it takes for the arena to look whether something is to be given back. */
static void go_by(void)
{
    give(take(FALLOW__LOOK_PAGES * page), FALLOW__LOOK_PAGES * page);
    void *one = take(page);
    give(one, page);
}

static void assist_waits_and_then_gives(void **state)
{
    (void)state;
    static const fallow_purge purges[] = {FALLOW_PURGE_DONTNEED, FALLOW_PURGE_FREE, FALLOW_PURGE_DECOMMIT};
    for (int way = 0; way < 6; way++) {
        begin((sim_options){.rules = way % 2 == 0 ? SIM_LINUX : SIM_WINDOWS},
              (fallow_arena_options){.purge = purges[way / 2], .scavenge = FALLOW_SCAVENGE_ASSIST});
        char *large = take(64 * MIB);
        char *live = take(page);
        go_by();
        sim_pass_time(5000 * MS);
        give(large, 64 * MIB);
        size_t charge = sim_charge();
        for (int i = 0; i < 10; i++) {
            sim_pass_time(40 * MS);
            go_by();
            assert_int_equal(look().purge_calls, 0);
        }
        assert_int_equal(look().why_retained, FALLOW_RETAINED_DELAY);
        for (int i = 0; i < 400; i++) {
            sim_pass_time(10 * MS);
            go_by();
        }
        fallow_arena_stats s = look();
        assert_true(s.retained_bytes <= 2 * FALLOW__LOOK_PAGES * page);
        assert_int_equal(s.by_dontneed.calls != 0, purges[way / 2] == FALLOW_PURGE_DONTNEED);
        assert_int_equal(s.by_free.calls != 0, purges[way / 2] == FALLOW_PURGE_FREE);
        assert_int_equal(s.by_decommit.calls != 0, purges[way / 2] == FALLOW_PURGE_DECOMMIT);
        assert_true(s.by_dontneed.bytes + s.by_free.bytes + s.by_decommit.bytes >= 56 * MIB);
        assert_true(s.os_ns != 0);
        assert_int_equal(sim_charge() < charge, purges[way / 2] == FALLOW_PURGE_DECOMMIT);
        give(live, page);
        end();
    }
}

/* What is freed many runs at a time counts as much. */
static void assist_of_many_runs(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_ASSIST});
    fallow_run runs[] = {{.base = take(32 * MIB), .size_bytes = 32 * MIB}, {.base = take(MIB), .size_bytes = MIB}};
    sim_pass_time(5000 * MS);
    fallow_arena_free_many(arena, runs, 2);
    for (int i = 0; i < 100; i++) {
        sim_pass_time(100 * MS);
        for (int run = 0; run < 2; run++) {
            runs[run] = (fallow_run){.base = take(MIB), .size_bytes = MIB};
        }
        fallow_arena_free_many(arena, runs, 2);
    }
    fallow_arena_stats s = look();
    assert_true(s.purge_calls != 0);
    assert_true(s.retained_bytes <= 8 * MIB);
    end();
}

static void off_keeps_all(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF});
    give(take(32 * MIB), 32 * MIB);
    for (int i = 0; i < 100; i++) {
        sim_pass_time(1000 * MS);
        go_by();
    }
    fallow_arena_stats s = look();
    assert_int_equal(s.purge_calls, 0);
    assert_int_equal(s.retained_bytes, 32 * MIB);
    assert_int_equal(s.why_retained, FALLOW_RETAINED_OFF);
    end();
}

/* What is in use keeps so much beside it. */
static void the_share_that_is_retained(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF, .retain_percent = 25});
    char *live = take(40 * MIB);
    give(take(60 * MIB), 60 * MIB);
    size_t released_bytes;
    assert_int_equal(fallow_arena_scavenge(arena, UINT64_MAX, &released_bytes), FALLOW_OK);
    assert_int_equal(released_bytes, 50 * MIB);
    fallow_arena_stats s = look();
    assert_int_equal(s.retained_bytes, 10 * MIB);
    assert_int_equal(s.why_retained, FALLOW_RETAINED_GOAL);
    give(live, 40 * MIB);
    assert_int_equal(fallow_arena_scavenge(arena, UINT64_MAX, &released_bytes), FALLOW_OK);
    assert_int_equal(released_bytes, 50 * MIB);
    assert_int_equal(look().why_retained, FALLOW_RETAINED_NOTHING);
    end();
}

/* --- the order ---------------------------------------------------------------------------------------------- */

static struct {
    const char *base[64];
    size_t size_bytes[64];
    unsigned count;
    uint64_t cost_ns; /* of each */
} purged;

static void note_purge(void *context, sim_call call, const void *base, size_t size_bytes)
{
    (void)context;
    if (call == SIM_PURGE && purged.count < 64) {
        purged.base[purged.count] = base;
        purged.size_bytes[purged.count++] = size_bytes;
        sim_pass_time(purged.cost_ns);
    }
}

/* Small pieces go several at a time where the system has a call for that; what comes of it is the same everywhere. */
static void small_pieces_together(void **state)
{
    enum {
        RUNS = 200
    };
    (void)state;
    static const uint32_t flags[] = {0, SIM_NO_PURGE_MANY};
    static char *runs[RUNS];
    for (int way = 0; way < 12; way++) {
        bool is_linux = way % 2 == 0;
        bool has_call = is_linux && flags[way / 6] == 0;
        fallow_purge purge = (fallow_purge)(1 + way / 2 % 3);
        begin((sim_options){.rules = is_linux ? SIM_LINUX : SIM_WINDOWS, .flags = flags[way / 6]},
              (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF, .purge = purge, .retain_percent = 1});
        for (int is_trim = 0; is_trim < 2; is_trim++) {
            uint64_t calls = look().purge_calls;
            for (int i = 0; i < RUNS; i++) {
                runs[i] = take(page);
            }
            for (int i = 0; i < RUNS; i += 2) {
                give(runs[i], page);
            }
            size_t released_bytes;
            fallow_status status = is_trim ? fallow_arena_trim(arena, 0, &released_bytes)
                                           : fallow_arena_scavenge(arena, UINT64_MAX, &released_bytes);
            assert_int_equal(status, FALLOW_OK);
            calls = look().purge_calls - calls;
            if (is_trim) {
                assert_int_equal(released_bytes, RUNS / 2 * page);
                assert_int_equal(look().retained_bytes, 0);
                assert_int_equal(look().released_lazy_bytes, purge == FALLOW_PURGE_FREE ? released_bytes : 0);
            } else {
                assert_true(released_bytes >= (RUNS / 2 - 2) * page);
            }
            if (has_call && purge != FALLOW_PURGE_DECOMMIT) {
                assert_true(calls <= RUNS / 2 / 16 + 2);
            } else {
                assert_true(calls - released_bytes / page <= 1); /* DECOMMIT takes what was committed ahead, too */
            }
            for (int i = 0; i < RUNS; i++) {
                assert_int_equal(i % 2 == 0 ? 1 : *runs[i], 1);
            }
            for (int i = 1; i < RUNS; i += 2) {
                give(runs[i], page);
            }
            assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
        }
        end();
    }
}

/* Refused in the middle of several: those before are given back, the others one by one; and then nothing is left. */
static void refused_among_several(void **state)
{
    enum {
        RUNS = 40
    };
    (void)state;
    static char *runs[RUNS];
    for (unsigned skip = 0; skip < RUNS / 2; skip++) {
        for (unsigned times = 1; times <= 2; times++) {
            begin((sim_options){0}, (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF, .retain_percent = 1});
            for (int i = 0; i < RUNS; i++) {
                runs[i] = take(page);
            }
            for (int i = 0; i < RUNS; i += 2) {
                give(runs[i], page);
            }
            sim_refuse(&(sim_refusal){
                .calls = SIM_CALL(SIM_PURGE), .skip = skip, .times = times, .is_halfway = times == 1 && skip % 2 != 0});
            size_t released_bytes;
            fallow_status status = skip % 3 == 0 ? fallow_arena_scavenge(arena, UINT64_MAX, &released_bytes)
                                                 : fallow_arena_trim(arena, 0, &released_bytes);
            sim_refuse(NULL);
            assert_int_equal(status == FALLOW_OK, times == 1);
            if (status != FALLOW_OK) {
                assert_int_equal(released_bytes, skip * page);
                assert_int_equal(look().retained_bytes, (RUNS / 2 - skip) * page);
            }
            assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
            assert_int_equal(look().retained_bytes, 0);
            for (int i = 1; i < RUNS; i += 2) {
                assert_int_equal(*runs[i], 1);
                give(runs[i], page);
            }
            end();
        }
    }
}

/* Highest first, whole pieces before parts, each of one step. */
static void whole_pieces_from_the_top(void **state)
{
    (void)state;
    memset(&purged, 0, sizeof purged);
    begin((sim_options){.hook = note_purge}, (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF});
    char *base = take(16 * MIB);
    fallow_arena_split(arena, base, 16 * MIB, 5 * MIB);
    char *high = base + 5 * MIB;
    fallow_arena_split(arena, high, 11 * MIB, MIB);
    fallow_arena_split(arena, high + MIB, 10 * MIB, 9 * MIB);
    /* 0-5 free, 5-6 used, 6-15 free, 15-16 used */
    give(base, 5 * MIB);
    give(high + MIB, 9 * MIB);
    static const size_t first[] = {12, 10, 8, 6, 2, 0, 14, 4};
    for (unsigned i = 0; i < 8; i++) {
        size_t released_bytes;
        assert_int_equal(fallow_arena_scavenge(arena, 0, &released_bytes), FALLOW_OK);
        assert_int_equal(purged.count, i + 1);
        assert_ptr_equal(purged.base[i], base + first[i] * MIB);
        assert_int_equal(purged.size_bytes[i], i < 6 ? 2 * MIB : MIB);
        assert_int_equal(released_bytes, purged.size_bytes[i]);
        if (look().why_retained == FALLOW_RETAINED_GOAL) {
            break;
        }
    }
    assert_true(purged.count >= 7);
    give(high, MIB);
    end();
}

/* The budget ends it. */
static void a_budget(void **state)
{
    (void)state;
    memset(&purged, 0, sizeof purged);
    purged.cost_ns = 10 * MS;
    begin((sim_options){.hook = note_purge}, (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF});
    give(take(64 * MIB), 64 * MIB);
    size_t released_bytes;
    assert_int_equal(fallow_arena_scavenge(arena, 35 * MS, &released_bytes), FALLOW_OK);
    assert_int_equal(released_bytes, 8 * MIB);
    assert_int_equal(fallow_arena_scavenge(arena, UINT64_MAX, &released_bytes), FALLOW_OK);
    assert_int_equal(released_bytes, 56 * MIB);
    end();
}

/* A look, with hardly anything more in use. */
static void go_by_far_away(void)
{
    fallow_run far;
    fallow_run_options top = {.flags = FALLOW_RUN_TOP_DOWN};
    for (int i = 0; i <= FALLOW__LOOK_PAGES; i++) {
        assert_int_equal(fallow_arena_alloc_run(arena, page, &top, &far), FALLOW_OK);
        give(far.base, page);
    }
}

/* Chunks that are nearly full are spared in one sweep, taken in the next, and never spared when the program asks. */
static void dense_chunks_are_spared_once(void **state)
{
    enum {
        CHUNKS = 8
    };
    (void)state;
    begin((sim_options){0},
          (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_ASSIST, .retain_percent = 1, .purge_delay_ms = 100});
    char *hole[CHUNKS];
    char *run = take(CHUNKS * 512 * page);
    for (int i = 0; i < CHUNKS; i++) {
        hole[i] = run + ((size_t)i * 512 + 100) * page;
        fallow_arena_split(arena, i == 0 ? run : hole[i - 1] + 15 * page,
                           (i == 0 ? 512 * CHUNKS : 512 * (CHUNKS - i) + 397) * page, (i == 0 ? 100 : 497) * page);
        fallow_arena_split(arena, hole[i], (512 * (size_t)(CHUNKS - i) - 100) * page, 15 * page);
    }
    go_by_far_away();
    sim_pass_time(1000 * MS);
    go_by_far_away();
    sim_pass_time(1000 * MS);
    go_by_far_away(); /* what comes now is free for two intervals */
    for (int i = 0; i < CHUNKS; i++) {
        give(hole[i], 15 * page);
    }
    bool was_spared = false;
    unsigned rounds = 0;
    while (look().retained_bytes > (CHUNKS * 497 / 100 + 2) * page) {
        for (int i = 0; i < 4; i++) {
            go_by_far_away();
        }
        was_spared |= look().why_retained == FALLOW_RETAINED_DENSE;
        sim_pass_time(40 * MS);
        assert_true(++rounds < 100);
    }
    assert_true(was_spared);
    for (int i = 0; i < CHUNKS; i++) {
        assert_ptr_equal(take(15 * page), hole[i]);
    }
    for (int i = 0; i < CHUNKS; i++) {
        give(hole[i], 15 * page);
    }
    size_t released_bytes;
    assert_int_equal(fallow_arena_scavenge(arena, UINT64_MAX, &released_bytes), FALLOW_OK);
    assert_true(released_bytes >= 5 * 15 * page);
    assert_int_equal(look().why_retained, FALLOW_RETAINED_GOAL);
    end();
}

/* One percent, whatever a call costs. */
static void pace_of_the_calls(void **state)
{
    (void)state;
    memset(&purged, 0, sizeof purged);
    purged.cost_ns = 50 * MS; /* a slow system */
    begin((sim_options){.hook = note_purge}, (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_ASSIST});
    give(take(128 * MIB), 128 * MIB);
    uint64_t start_ns = fallow__os_clock_ns();
    bool was_paced = false;
    for (int i = 0; i < 2000; i++) {
        sim_pass_time(20 * MS);
        go_by();
        uint64_t passed_ns = fallow__os_clock_ns() - start_ns;
        assert_true(purged.count * 50 * MS <= 250 * MS + passed_ns / 100);
        was_paced |= look().why_retained == FALLOW_RETAINED_PACE;
    }
    assert_true(was_paced);
    assert_true(purged.count >= 8);
    end();
}

static void a_refusal_ends_a_sweep(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF});
    give(take(16 * MIB), 16 * MIB);
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_PURGE), .skip = 2, .times = 1});
    size_t released_bytes;
    assert_int_not_equal(fallow_arena_scavenge(arena, UINT64_MAX, &released_bytes), FALLOW_OK);
    assert_int_equal(released_bytes, 4 * MIB);
    assert_int_equal(fallow_arena_scavenge(arena, UINT64_MAX, &released_bytes), FALLOW_OK);
    assert_int_equal(released_bytes, 12 * MIB);
    sim_refuse(NULL);
    end();
}

/* Who comes by and frees has nothing to tell a refusal with; what could not be given back goes later. */
static void a_refusal_to_who_comes_by_is_made_good(void **state)
{
    (void)state;
    static const fallow_purge purges[] = {FALLOW_PURGE_DONTNEED, FALLOW_PURGE_FREE, FALLOW_PURGE_DECOMMIT};
    for (int way = 0; way < 12; way++) {
        begin((sim_options){.rules = way % 2 == 0 ? SIM_LINUX : SIM_WINDOWS},
              (fallow_arena_options){.purge = purges[way / 4], .scavenge = FALLOW_SCAVENGE_ASSIST});
        char *large = take(16 * MIB);
        char *live = take(page);
        go_by();
        sim_pass_time(5000 * MS);
        give(large, 16 * MIB);
        sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_PURGE) | SIM_CALL(SIM_DECOMMIT),
                                  .times = UINT64_MAX,
                                  .is_halfway = (way & 2) != 0,
                                  .left = (way & 2) != 0 ? FALLOW__OS_LEFT_ACCESSIBLE : FALLOW__OS_LEFT_ALL});
        for (int i = 0; i < 30; i++) {
            sim_pass_time(100 * MS);
            go_by();
        }
        assert_true(sim_refused() > 0);
        fallow_arena_stats refused = look();
        assert_int_equal(refused.in_use_bytes, page);
        assert_int_equal(*live, 1);
        sim_refuse(NULL);
        for (int i = 0; i < 60; i++) {
            sim_pass_time(100 * MS);
            go_by();
        }
        assert_true(look().retained_bytes <= 4 * MIB);
        assert_int_equal(*live, 1);
        end();
    }
}

/* --- the thread --------------------------------------------------------------------------------------------- */

/* The simulated clock goes on while the thread sleeps. */
static void wait_until_retained(fallow_arena *which, size_t most_bytes)
{
    fallow_arena_stats s;
    uint64_t looks = 0;
    do {
        fallow_arena_read_stats(which, &s);
        sim_host_yield(true);
        assert_true(++looks < UINT64_C(500000000));
    } while (s.retained_bytes > most_bytes);
}

static void the_thread_gives_back_what_is_idle(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        begin((sim_options){.rules = way % 2 == 0 ? SIM_LINUX : SIM_WINDOWS},
              (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_THREAD,
                                     .purge_delay_ms = 1, /* the clock goes on while the thread sleeps, and slowly */
                                     .purge = way < 2 ? FALLOW_PURGE_DONTNEED : FALLOW_PURGE_DECOMMIT});
        fallow_arena *other = NULL;
        fallow_arena_options options = {.reserve_bytes = 64 * MIB,
                                        .thread_cache_bytes = FALLOW_CACHE_NONE,
                                        .scavenge = FALLOW_SCAVENGE_THREAD,
                                        .purge_delay_ms = 1};
        assert_int_equal(fallow_arena_create(&options, &other), FALLOW_OK);
        uint64_t threads = sim_counts().calls[SIM_THREAD];
        assert_int_equal(threads, 0); /* not before there is something to do */
        for (int round = 0; round < 3; round++) {
            give(take(100 * MIB), 100 * MIB);
            void *base;
            assert_int_equal(fallow_arena_alloc(other, 32 * MIB, &base), FALLOW_OK);
            fallow_arena_free(other, base, 32 * MIB);
            wait_until_retained(arena, 0);
            wait_until_retained(other, 0);
            assert_int_equal(look().in_use_bytes, 0);
        }
        assert_int_equal(sim_counts().calls[SIM_THREAD], 1); /* one for both */
        fallow_arena_destroy(other);
        end();
    }
}

/* What a thread keeps while it sleeps goes, too. */
static void the_caches_of_idle_threads(void **state)
{
    (void)state;
    if (!sim_host_barrier()) {
        print_message("SKIPPED: no barrier in all threads here (Wine): they keep what they have\n");
        skip();
    }
    begin((sim_options){0}, (fallow_arena_options){.thread_cache_bytes = 64 * MIB,
                                                   .scavenge = FALLOW_SCAVENGE_THREAD,
                                                   .purge_delay_ms = 1});
    static char *runs[1000];
    for (int i = 0; i < 1000; i++) {
        runs[i] = take(64 * KIB);
    }
    for (int i = 0; i < 1000; i++) {
        give(runs[i], 64 * KIB);
    }
    give(take(FALLOW__LOOK_PAGES * page * 8),
         FALLOW__LOOK_PAGES * page * 8); /* more than is kept: so there is a look */
    fallow_arena_stats s;
    uint64_t looks = 0;
    do {
        fallow_arena_read_stats(arena, &s);
        sim_host_yield(true);
        assert_true(++looks < 10000000);
    } while (s.retained_bytes + s.cached_bytes != 0);
    end();
}

/* No thread can be had: the arena helps itself. */
static void without_a_thread(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_THREAD, .purge_delay_ms = 10});
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_THREAD), .times = UINT64_MAX});
    give(take(32 * MIB), 32 * MIB);
    for (int i = 0; i < 100; i++) {
        sim_pass_time(10 * MS);
        go_by();
    }
    assert_true(look().retained_bytes <= 2 * FALLOW__LOOK_PAGES * page);
    sim_refuse(NULL);
    end();
}

/* Arenas come and go while the thread works for others. */
static void arenas_come_and_go(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_THREAD, .purge_delay_ms = 1});
    fallow_arena_options options = {.reserve_bytes = 64 * MIB,
                                    .thread_cache_bytes = FALLOW_CACHE_NONE,
                                    .scavenge = FALLOW_SCAVENGE_THREAD,
                                    .purge_delay_ms = 1};
    for (int round = 0; round < 60; round++) {
        fallow_arena *other;
        void *base;
        assert_int_equal(fallow_arena_create(&options, &other), FALLOW_OK);
        assert_int_equal(fallow_arena_alloc(other, 16 * MIB, &base), FALLOW_OK);
        fallow_arena_free(other, base, 16 * MIB);
        give(take(16 * MIB), 16 * MIB);
        if (round % 3 == 0) {
            wait_until_retained(other, 0);
        }
        fallow_arena_destroy(other);
        if (round % 7 == 0) { /* the last one goes, and the thread with it */
            fallow_arena_destroy(arena);
            assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
        }
    }
    end();
}

/* --- mappings ----------------------------------------------------------------------------------------------- */

static void far_from_the_most_mappings(void **state)
{
    (void)state;
    begin((sim_options){.limits = {[SIM_LIMIT_MAPPINGS] = 16384}},
          (fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF, .purge = FALLOW_PURGE_DECOMMIT});
    enum {
        RUNS = 8000
    };
    static char *runs[RUNS];
    for (int i = 0; i < RUNS; i++) {
        runs[i] = take(page);
    }
    for (int i = 0; i < RUNS; i += 2) {
        give(runs[i], page);
    }
    size_t released_bytes;
    assert_int_equal(fallow_arena_trim(arena, 0, &released_bytes), FALLOW_OK);
    fallow_arena_stats s = look();
    assert_int_equal(released_bytes, RUNS / 2 * page);
    assert_true(s.avoided_decommits != 0);
    assert_true(s.by_decommit.calls >= 2000 && s.by_dontneed.calls >= 1900);
    assert_true(s.map_count <= 16384 / 4 + 8);
    assert_true(sim_map_count() <= 16384 / 4 + 8);
    assert_int_equal(s.retained_bytes, 0);
    /* the same for live runs */
    for (int i = 1; i < RUNS; i += 2) {
        assert_int_equal(fallow_arena_decommit(arena, runs[i], page), FALLOW_OK);
    }
    assert_true(sim_map_count() <= 16384 / 4 + 8);
    for (int i = 1; i < RUNS; i += 2) {
        give(runs[i], page);
    }
    assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    assert_true(look().map_count < 100);
    end();
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_goal_is_the_peak_of_two_intervals),
        cmocka_unit_test(one_percent_of_the_time),
        cmocka_unit_test(assist_waits_and_then_gives),
        cmocka_unit_test(assist_of_many_runs),
        cmocka_unit_test(off_keeps_all),
        cmocka_unit_test(the_share_that_is_retained),
        cmocka_unit_test(whole_pieces_from_the_top),
        cmocka_unit_test(small_pieces_together),
        cmocka_unit_test(refused_among_several),
        cmocka_unit_test(a_budget),
        cmocka_unit_test(dense_chunks_are_spared_once),
        cmocka_unit_test(pace_of_the_calls),
        cmocka_unit_test(a_refusal_ends_a_sweep),
        cmocka_unit_test(a_refusal_to_who_comes_by_is_made_good),
        cmocka_unit_test(the_thread_gives_back_what_is_idle),
        cmocka_unit_test(the_caches_of_idle_threads),
        cmocka_unit_test(without_a_thread),
        cmocka_unit_test(arenas_come_and_go),
        cmocka_unit_test(far_from_the_most_mappings),
    };
    return cmocka_run_group_tests_name("scavenge", tests, NULL, NULL);
}
