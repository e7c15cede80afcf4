/* Arenas of huge pages and of large ones, on the simulated system: how they grow, where runs lie, what is given back at
 * a time; and what happens where there are no large pages. */
#include "test.h"

#include <string.h>

#include "sim_os.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define HUGE (2 * MIB)
#define MS UINT64_C(1000000)

static fallow_arena *arena;
static char *first; /* page 0 */

static struct {
    const char *base;
    size_t size_bytes;
    unsigned count;
} latest[SIM_CALLS];

static void note(void *context, sim_call call, const void *base, size_t size_bytes)
{
    (void)context;
    latest[call].base = base;
    latest[call].size_bytes = size_bytes;
    latest[call].count++;
}

static fallow_arena_stats look(void)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(arena, &s);
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    assert_true(s.backed_bytes ==
                s.in_use_bytes + s.cached_bytes + s.retained_bytes + s.released_lazy_bytes + s.metadata_bytes);
    return s;
}

static char *take(size_t size_bytes)
{
    void *base = NULL;
    assert_int_equal(fallow_arena_alloc(arena, size_bytes, &base), FALLOW_OK);
    memset(base, 1, size_bytes);
    return base;
}

static char *take_at(char *place, size_t size_bytes)
{
    fallow_run run;
    assert_int_equal(fallow_arena_alloc_run(arena, size_bytes, &(fallow_run_options){.at = place}, &run), FALLOW_OK);
    memset(run.base, 1, size_bytes);
    return run.base;
}

static void give(void *base, size_t size_bytes)
{
    fallow_arena_free(arena, base, size_bytes);
}

static void create(fallow_arena_options options)
{
    options.reserve_bytes = options.reserve_bytes != 0 ? options.reserve_bytes : 64 * MIB;
    options.thread_cache_bytes = options.thread_cache_bytes != 0 ? options.thread_cache_bytes : FALLOW_CACHE_NONE;
    options.scavenge = options.scavenge != FALLOW_SCAVENGE_DEFAULT ? options.scavenge : FALLOW_SCAVENGE_OFF;
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    fallow_run run;
    fallow_run_options lowest = {.flags = FALLOW_RUN_NO_CACHE};
    assert_int_equal(fallow_arena_alloc_run(arena, 1, &lowest, &run), FALLOW_OK);
    first = run.base;
    give(first, 1);
    memset(latest, 0, sizeof latest);
}

static void begin(sim_options system, fallow_arena_options options)
{
    system.hook = options.scavenge != FALLOW_SCAVENGE_THREAD ? note : NULL; /* which is called from any thread */
    assert_true(sim_begin(&system));
    create(options);
}

static void end(void)
{
    (void)look();
    fallow_arena_destroy(arena);
    assert_true(sim_end());
}

/* --- huge pages ----------------------------------------------------------------------------------------------- */

static void growth_in_whole_huge_pages(void **state)
{
    (void)state;
    for (int rules = 0; rules < 2; rules++) {
        begin(
            (sim_options){.rules = rules == 0 ? SIM_LINUX : SIM_WINDOWS},
            (fallow_arena_options){.flags = FALLOW_ARENA_HUGE_PAGES, .grow_bytes = 3 * MIB, .reserve_bytes = 31 * MIB});
        assert_int_equal((uintptr_t)first % HUGE, 0);
        assert_int_equal(look().released_zero_bytes, 4 * MIB - look().retained_bytes);
        (void)take_at(first + 8 * MIB + 128 * KIB, 64 * KIB); /* in the middle of one: from its beginning on */
        assert_ptr_equal(latest[SIM_COMMIT].base, first + 8 * MIB);
        assert_int_equal(latest[SIM_COMMIT].size_bytes, 4 * MIB);
        (void)take_at(first + 31 * MIB - 64 * KIB, 64 * KIB); /* the last one is not whole */
        assert_ptr_equal(latest[SIM_COMMIT].base, first + 30 * MIB);
        assert_int_equal(latest[SIM_COMMIT].size_bytes, MIB);
        /* between what is committed already: to its edges */
        (void)take_at(first + 13 * MIB, 2 * MIB);
        assert_ptr_equal(latest[SIM_COMMIT].base, first + 12 * MIB);
        assert_int_equal(latest[SIM_COMMIT].size_bytes, 4 * MIB);
        give(first + 8 * MIB + 128 * KIB, 64 * KIB);
        give(first + 31 * MIB - 64 * KIB, 64 * KIB);
        give(first + 13 * MIB, 2 * MIB);
        end();
    }
}

/* What the system refuses is tried smaller. */
static void growth_that_is_refused(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.flags = FALLOW_ARENA_HUGE_PAGES});
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_COMMIT), .times = 2});
    char *base = take_at(first + 8 * MIB + MIB, 64 * KIB);
    assert_true(latest[SIM_COMMIT].count >= 3);
    assert_ptr_equal(latest[SIM_COMMIT].base, base);
    assert_true(latest[SIM_COMMIT].size_bytes < MIB);
    sim_refuse(NULL);
    give(base, 64 * KIB);
    end();
}

static void long_runs_on_boundaries(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.flags = FALLOW_ARENA_HUGE_PAGES});
    char *small = take(64 * KIB);
    char *one = take(2 * MIB);
    char *two = take(3 * MIB + 8 * KIB);
    char *beside = take(64 * KIB);
    char *three = take(2 * MIB);
    assert_ptr_equal(small, first);
    assert_ptr_equal(one, first + 2 * MIB);
    assert_ptr_equal(two, first + 4 * MIB);
    assert_ptr_equal(beside, first + 64 * KIB); /* smaller ones go where they always did */
    assert_ptr_equal(three, first + 8 * MIB);
    fallow_run run;
    assert_int_equal(fallow_arena_alloc_run(arena, 2 * MIB, &(fallow_run_options){.flags = FALLOW_RUN_TOP_DOWN}, &run),
                     FALLOW_OK);
    assert_ptr_equal(run.base, first + 62 * MIB);
    /* no boundary is free: where it fits */
    char *rest = take(52 * MIB);
    assert_ptr_equal(rest, first + 10 * MIB);
    give(three, 2 * MIB);
    char *unaligned = take(2 * MIB + 64 * KIB); /* behind `two`, up to `rest` */
    assert_ptr_equal(unaligned, first + 7 * MIB + 8 * KIB);
    give(small, 64 * KIB);
    give(one, 2 * MIB);
    give(two, 3 * MIB + 8 * KIB);
    give(beside, 64 * KIB);
    give(run.base, 2 * MIB);
    give(rest, 52 * MIB);
    give(unaligned, 2 * MIB + 64 * KIB);
    end();
}

/* So do those that are taken from memory that is there already, of few pages as well as of many. */
static void long_runs_from_free_memory(void **state)
{
    (void)state;
    static const size_t sizes[] = {2 * MIB, 2 * MIB + 64 * KIB, 6 * MIB};
    for (size_t page = 8 * KIB; page <= 256 * KIB; page *= 2) {
        begin((sim_options){0}, (fallow_arena_options){.flags = FALLOW_ARENA_HUGE_PAGES, .page_bytes = page});
        char *small = take_at(first, 256 * KIB);
        give(take_at(first + 256 * KIB, 15 * MIB), 15 * MIB);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            char *run = take(sizes[i]);
            assert_ptr_equal(run, first + 2 * MIB);
            give(run, sizes[i]);
        }
        char *less = take(2 * MIB - page); /* less than a huge page goes where it fits */
        assert_ptr_equal(less, small + 256 * KIB);
        give(less, 2 * MIB - page);
        give(small, 256 * KIB);
        end();
    }
}

/* A huge page of which little was written has all its memory, and goes as a whole. */
static void whole_huge_pages_are_given_back(void **state)
{
    (void)state;
    static const fallow_purge purges[] = {FALLOW_PURGE_DONTNEED, FALLOW_PURGE_FREE, FALLOW_PURGE_DECOMMIT};
    for (int way = 0; way < 6; way++) {
        begin((sim_options){.rules = way % 2 == 0 ? SIM_LINUX : SIM_WINDOWS},
              (fallow_arena_options){.flags = FALLOW_ARENA_HUGE_PAGES, .purge = purges[way / 2]});
        sim_call call = purges[way / 2] == FALLOW_PURGE_DECOMMIT ? SIM_DECOMMIT : SIM_PURGE;
        char *low = take_at(first + 8 * MIB, 64 * KIB);
        char *high = take_at(first + 9 * MIB, 64 * KIB);
        char *live = take_at(first + 12 * MIB, 64 * KIB);
        char *beside = take_at(first + 12 * MIB + 512 * KIB, 64 * KIB);
        assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
        give(low, 64 * KIB);
        give(high, 64 * KIB);
        give(beside, 64 * KIB);
        unsigned calls = latest[call].count;
        assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
        if (purges[way / 2] == FALLOW_PURGE_DECOMMIT) {
            assert_true(sim_is_all(first + 8 * MIB, 2 * MIB, SIM_RESERVED));
        } else {
            assert_int_equal(latest[call].count,
                             calls + 2); /* a part beside what is in use, one whole for two pieces */
            assert_ptr_equal(latest[call].base, first + 8 * MIB);
            assert_int_equal(latest[call].size_bytes, 2 * MIB);
        }
        assert_int_equal(look().retained_bytes, 0);
        fallow_run run;
        assert_int_equal(fallow_arena_alloc_run(arena, 2 * MIB, &(fallow_run_options){.at = first + 8 * MIB}, &run),
                         FALLOW_OK);
        assert_int_equal(run.is_zero, purges[way / 2] != FALLOW_PURGE_FREE);
        if (run.is_zero) {
            for (size_t byte = 0; byte < run.size_bytes; byte += 512) {
                assert_int_equal(((char *)run.base)[byte], 0);
            }
        }
        assert_int_equal(*live, 1);
        give(run.base, 2 * MIB);
        give(live, 64 * KIB);
        end();
    }
}

/* What is given back as a whole counts as backed until it is gone: that must fit the limit. */
static void the_limit_is_kept_meanwhile(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.flags = FALLOW_ARENA_HUGE_PAGES, .limit_bytes = 5 * MIB});
    char *live = take(4 * MIB);
    char *low = take_at(first + 8 * MIB, 64 * KIB);
    give(low, 64 * KIB);
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_PURGE)});
    assert_int_not_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    sim_refuse(NULL);
    assert_true(look().backed_bytes <= 5 * MIB);
    assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    assert_int_equal(latest[SIM_PURGE].size_bytes, 64 * KIB);
    give(live, 4 * MIB);
    end();
}

/* Left to itself the arena does not break a huge page that is in use; asked for it, it does. */
static void the_scavenger_breaks_none(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.flags = FALLOW_ARENA_HUGE_PAGES,
                                                   .scavenge = FALLOW_SCAVENGE_ASSIST,
                                                   .purge_delay_ms = 10,
                                                   .retain_percent = 1});
    char *live = take(64 * KIB);
    char *rest = take(2 * MIB - 64 * KIB);
    char *whole = take(8 * MIB + 64 * KIB);
    give(rest, 2 * MIB - 64 * KIB);
    give(whole, 8 * MIB + 64 * KIB);
    for (int i = 0; i < 400; i++) {
        fallow_run far;
        sim_pass_time(20 * MS);
        for (int j = 0; j < 600; j++) {
            assert_int_equal(
                fallow_arena_alloc_run(arena, 1, &(fallow_run_options){.flags = FALLOW_RUN_NO_CACHE}, &far), FALLOW_OK);
            give(far.base, 1);
        }
    }
    fallow_arena_stats s = look();
    assert_int_equal(s.why_retained, FALLOW_RETAINED_DENSE);
    assert_true(s.retained_bytes >= 2 * MIB - 64 * KIB && s.retained_bytes <= 2 * MIB);
    size_t released_bytes;
    assert_int_equal(fallow_arena_scavenge(arena, UINT64_MAX, &released_bytes), FALLOW_OK);
    assert_true(released_bytes != 0);
    assert_true(look().retained_bytes < 64 * KIB);
    give(live, 64 * KIB);
    end();
}

/* Random work: a run of a huge page or more lies on a boundary unless there was none; contents and books are right. */
static void random_work(void **state)
{
    enum {
        PAGE = 8 << 10,
        PAGES = 32 << 7, /* 32 MiB */
        PER_HUGE = 256,
        RUNS = 60
    };
    (void)state;
    static unsigned char owner[PAGES];
    static struct {
        unsigned at;
        unsigned count;
    } runs[RUNS];
    test_random random = test_seed("unit_huge");
    for (int life = 0; life < 12; life++) {
        memset(owner, 0, sizeof owner);
        memset(runs, 0, sizeof runs);
        begin((sim_options){.rules = life % 2 == 0 ? SIM_LINUX : SIM_WINDOWS, .seed = test_below(&random, 1000)},
              (fallow_arena_options){.flags = FALLOW_ARENA_HUGE_PAGES | FALLOW_ARENA_FIXED,
                                     .reserve_bytes = (size_t)PAGES * PAGE,
                                     .page_bytes = PAGE,
                                     .purge = (fallow_purge)(1 + life % 3),
                                     .limit_bytes = life % 4 == 3 ? 24 * MIB : 0});
        for (int step = 0; step < 400; step++) {
            unsigned slot = (unsigned)test_below(&random, RUNS);
            if (runs[slot].count != 0) {
                for (unsigned i = 0; i < runs[slot].count; i++) {
                    assert_int_equal(first[(size_t)(runs[slot].at + i) * PAGE], slot + 1);
                    owner[runs[slot].at + i] = 0;
                }
                give(first + (size_t)runs[slot].at * PAGE, (size_t)runs[slot].count * PAGE);
                runs[slot].count = 0;
            } else {
                unsigned count = test_below(&random, 3) == 0 ? (unsigned)test_below(&random, 700) + 1
                                                             : (unsigned)test_below(&random, 20) + 1;
                fallow_run run;
                fallow_status status = fallow_arena_alloc_run(arena, (size_t)count * PAGE, NULL, &run);
                assert_true(status == FALLOW_OK || status == FALLOW_ERR_EXHAUSTED || status == FALLOW_ERR_LIMIT);
                unsigned at = status == FALLOW_OK ? (unsigned)((size_t)((char *)run.base - first) / PAGE) : PAGES;
                bool has_boundary = false;
                for (unsigned huge = 0; count >= PER_HUGE && huge + count <= PAGES && !has_boundary; huge += PER_HUGE) {
                    unsigned free_pages = 0;
                    while (free_pages < count && owner[huge + free_pages] == 0) {
                        free_pages++;
                    }
                    has_boundary = free_pages == count;
                    assert_true(!has_boundary || status != FALLOW_OK || at == huge);
                }
                for (unsigned i = 0; status == FALLOW_OK && i < count; i++) {
                    assert_int_equal(owner[at + i], 0);
                    char *page = first + (size_t)(at + i) * PAGE;
                    assert_true(!run.is_zero || (page[0] == 0 && page[PAGE - 1] == 0));
                    owner[at + i] = (unsigned char)(slot + 1);
                    page[0] = (char)(slot + 1);
                    page[PAGE - 1] = 1;
                }
                runs[slot].at = at;
                runs[slot].count = status == FALLOW_OK ? count : 0;
            }
            if (test_below(&random, 10) == 0) {
                size_t keep_bytes = test_below(&random, 2) == 0 ? 0 : (size_t)test_below(&random, 8 * MIB);
                assert_int_equal(fallow_arena_trim(arena, keep_bytes, NULL), FALLOW_OK);
                assert_true(look().retained_bytes <= keep_bytes);
            }
            if (test_below(&random, 20) == 0) {
                assert_int_equal(fallow_arena_scavenge(arena, test_below(&random, 2) * MS, NULL), FALLOW_OK);
            }
            fallow_arena_stats s = look();
            assert_true(s.limit_bytes == 0 || s.backed_bytes <= s.limit_bytes);
        }
        for (unsigned slot = 0; slot < RUNS; slot++) {
            if (runs[slot].count != 0) {
                give(first + (size_t)runs[slot].at * PAGE, (size_t)runs[slot].count * PAGE);
            }
        }
        end();
    }
}

/* --- large pages ---------------------------------------------------------------------------------------------- */

static size_t granted_bytes;
static size_t refused_from;

static bool grant(void *context, void *base, size_t size_bytes)
{
    (void)context;
    (void)base;
    granted_bytes += size_bytes < refused_from ? size_bytes : 0;
    return size_bytes < refused_from;
}

static void taken_back(void *context, void *base, size_t size_bytes)
{
    (void)context;
    (void)base;
    assert_true(size_bytes <= granted_bytes);
    granted_bytes -= size_bytes;
}

static void all_in_large_pages(void **state)
{
    (void)state;
    for (int rules = 0; rules < 2; rules++) {
        granted_bytes = 0;
        refused_from = SIZE_MAX;
        begin((sim_options){.rules = rules == 0 ? SIM_LINUX : SIM_WINDOWS,
                            .large_page_bytes = 2 * MIB,
                            .large_page_count = 20},
              (fallow_arena_options){.flags = FALLOW_ARENA_LARGE_PAGES,
                                     .reserve_bytes = 32 * MIB,
                                     .limit_bytes = 64 * MIB,
                                     .before_commit = grant,
                                     .after_decommit = taken_back});
        fallow_arena_stats s = look();
        assert_int_equal(s.large_pages_status, FALLOW_OK);
        assert_int_equal(s.large_bytes, s.reserved_bytes);
        assert_int_equal(s.committed_bytes, 32 * MIB + s.metadata_bytes);
        assert_int_equal(s.commit_calls, 1);
        assert_int_equal(granted_bytes, s.committed_bytes);
        size_t large_bytes = s.large_bytes;
        assert_int_equal(sim_charge(), 0); /* they are in no commit charge */
        char *base = take(20 * MIB);
        fallow_arena_split(arena, base, 20 * MIB, 5 * MIB);
        give(base, 5 * MIB);
        size_t released_bytes = 1;
        assert_int_equal(fallow_arena_trim(arena, 0, &released_bytes), FALLOW_OK);
        assert_int_equal(released_bytes, 0);
        assert_int_equal(fallow_arena_scavenge(arena, UINT64_MAX, &released_bytes), FALLOW_OK);
        assert_int_equal(released_bytes, 0);
        s = look();
        assert_true(s.retained_bytes >= 5 * MIB);
        assert_int_equal(s.why_retained, FALLOW_RETAINED_LARGE_PAGES);
        assert_int_equal(s.purge_calls, 0);
        assert_int_equal(fallow_arena_decommit(arena, base + 5 * MIB, 8 * KIB), FALLOW_ERR_UNSUPPORTED);
        fallow_run run;
        fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED};
        assert_int_equal(fallow_arena_alloc_run(arena, MIB, &addresses, &run), FALLOW_ERR_UNSUPPORTED);
        /* what was freed is not zero, what was never used is */
        assert_int_equal(fallow_arena_alloc_run(arena, 5 * MIB, NULL, &run), FALLOW_OK);
        assert_ptr_equal(run.base, base);
        assert_false(run.is_zero);
        give(run.base, 5 * MIB);
        assert_int_equal(fallow_arena_alloc_run(arena, 8 * MIB, NULL, &run), FALLOW_OK);
        assert_true(run.is_zero);
        give(run.base, 8 * MIB);
        assert_int_equal(
            fallow_arena_alloc_run(arena, 5 * MIB, &(fallow_run_options){.flags = FALLOW_RUN_ZEROED}, &run), FALLOW_OK);
        assert_int_equal(((char *)run.base)[MIB], 0);
        give(run.base, 5 * MIB);
        /* full: a further reservation, of ordinary pages, which are given back */
        char *more = take(16 * MIB);
        assert_int_equal(look().region_count, 2);
        assert_int_equal(look().large_bytes, large_bytes);
        give(more, 16 * MIB);
        assert_int_equal(fallow_arena_trim(arena, 0, &released_bytes), FALLOW_OK);
        assert_int_equal(released_bytes, 16 * MIB);
        give(base + 5 * MIB, 15 * MIB);
        end();
        assert_int_equal(granted_bytes, 0);
    }
}

/* The thread has nothing to do, and does not go round for ever. */
static void large_pages_and_the_thread(void **state)
{
    (void)state;
    begin((sim_options){.large_page_bytes = 2 * MIB, .large_page_count = 32},
          (fallow_arena_options){
              .flags = FALLOW_ARENA_LARGE_PAGES, .reserve_bytes = 32 * MIB, .scavenge = FALLOW_SCAVENGE_THREAD});
    for (int i = 0; i < 10; i++) {
        give(take(16 * MIB), 16 * MIB);
    }
    assert_int_equal(look().why_retained, FALLOW_RETAINED_LARGE_PAGES);
    assert_int_equal(look().purge_calls, 0);
    end();
}

static void reason(fallow_status expected, sim_options system, fallow_arena_options options)
{
    options.flags = FALLOW_ARENA_LARGE_PAGES;
    options.reserve_bytes = 32 * MIB;
    begin(system, options);
    fallow_arena_stats s = look();
    assert_int_equal(s.large_pages_status, expected);
    assert_int_equal(s.large_bytes, 0);
    char *base = take(4 * MIB);
    give(base, 4 * MIB);
    size_t released_bytes;
    assert_int_equal(fallow_arena_trim(arena, 0, &released_bytes), FALLOW_OK);
    assert_int_equal(released_bytes, 4 * MIB);
    end();
}

static void ordinary_pages_and_the_reason(void **state)
{
    (void)state;
    const sim_options pool = {.large_page_bytes = 2 * MIB, .large_page_count = 32};
    reason(FALLOW_ERR_UNSUPPORTED, (sim_options){0}, (fallow_arena_options){0});
    reason(FALLOW_ERR_UNSUPPORTED, (sim_options){.large_page_bytes = 64 * KIB, .large_page_count = 1024},
           (fallow_arena_options){.page_bytes = 128 * KIB}); /* not so aligned */
    reason(FALLOW_ERR_COMMIT, (sim_options){.large_page_bytes = 2 * MIB, .large_page_count = 8},
           (fallow_arena_options){0});
    reason(FALLOW_ERR_LIMIT, pool, (fallow_arena_options){.limit_bytes = 16 * MIB});
    granted_bytes = 0;
    refused_from = 16 * MIB;
    reason(FALLOW_ERR_LIMIT, pool, (fallow_arena_options){.before_commit = grant, .after_decommit = taken_back});
    assert_int_equal(granted_bytes, 0);

    /* refused by the system */
    assert_true(sim_begin(&pool));
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_RESERVE), .status = FALLOW_ERR_PERMISSION});
    create((fallow_arena_options){.flags = FALLOW_ARENA_LARGE_PAGES, .reserve_bytes = 32 * MIB});
    sim_refuse(NULL);
    assert_int_equal(look().large_pages_status, FALLOW_ERR_PERMISSION);
    end();

    /* and the ordinary ones, too: then it is a failure, and nothing is left */
    assert_true(sim_begin(&pool));
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_RESERVE), .times = 1000});
    fallow_arena_options options = {.flags = FALLOW_ARENA_LARGE_PAGES, .reserve_bytes = 32 * MIB};
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_ERR_ADDRESS_SPACE);
    sim_refuse(NULL);
    assert_true(sim_end());
}

/* It is told where one would look. */
static bool collect(void *context, const char *text, size_t bytes)
{
    char *all = context;
    size_t length = strlen(all);
    assert_true(length + bytes < 16384);
    memcpy(all + length, text, bytes);
    all[length + bytes] = '\0';
    return true;
}

static void the_reason_is_written_down(void **state)
{
    (void)state;
    static char text[16384];
    begin((sim_options){0}, (fallow_arena_options){.flags = FALLOW_ARENA_LARGE_PAGES, .reserve_bytes = 32 * MIB});
    text[0] = '\0';
    assert_int_equal(fallow_stats_write(arena, FALLOW_STATS_JSON, collect, text), FALLOW_OK);
    assert_non_null(strstr(text, "\"large_pages_status\":\"FALLOW_ERR_UNSUPPORTED\""));
    text[0] = '\0';
    assert_int_equal(fallow_process_explain(collect, text, 0), FALLOW_OK);
    assert_non_null(strstr(text, "in ordinary pages, though large ones were asked for: FALLOW_ERR_UNSUPPORTED"));
    end();
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growth_in_whole_huge_pages),
        cmocka_unit_test(growth_that_is_refused),
        cmocka_unit_test(long_runs_on_boundaries),
        cmocka_unit_test(long_runs_from_free_memory),
        cmocka_unit_test(whole_huge_pages_are_given_back),
        cmocka_unit_test(the_limit_is_kept_meanwhile),
        cmocka_unit_test(the_scavenger_breaks_none),
        cmocka_unit_test(random_work),
        cmocka_unit_test(all_in_large_pages),
        cmocka_unit_test(large_pages_and_the_thread),
        cmocka_unit_test(ordinary_pages_and_the_reason),
        cmocka_unit_test(the_reason_is_written_down),
    };
    return cmocka_run_group_tests_name("huge", tests, NULL, NULL);
}
