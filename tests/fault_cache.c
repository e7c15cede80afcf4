/* Thread caches on the simulated system: what is done without a lock; what becomes of a cache that is refused; threads
 * that end, wait or go on at chosen moments; arenas that come and go. */
#include "test.h"

#include <string.h>

#include "sim_os.h"

#define MIB ((size_t)1 << 20)

static struct {
    fallow_arena *arena;
    fallow_arena *other; /* that the callbacks use; optional */
    size_t page;
    long long granted_bytes;
    unsigned refusing;     /* so many grants more are refused */
    bool is_memory_gone;   /* whenever after_decommit was told */
    uint64_t outside_lock; /* calls that were looked at */
} scene;

/* --- the arena --------------------------------------------------------------------------------------------- */

/* Another arena, of which this thread may not have a cache yet. */
static void use_other(void)
{
    for (int round = 0; scene.other != NULL && round < 20; round++) {
        void *base;
        assert_int_equal(fallow_arena_alloc(scene.other, 5, &base), FALLOW_OK);
        fallow_arena_free(scene.other, base, 5);
    }
}

static bool before_commit(void *context, void *base, size_t size_bytes)
{
    (void)context;
    (void)base;
    use_other();
    if (scene.refusing != 0) {
        scene.refusing--;
        return false;
    }
    scene.granted_bytes += (long long)size_bytes;
    return true;
}

static void after_decommit(void *context, void *base, size_t size_bytes)
{
    (void)context;
    scene.granted_bytes -= (long long)size_bytes;
    scene.is_memory_gone = scene.is_memory_gone && sim_peek(base).state != SIM_COMMITTED;
    use_other();
}

/* The system is never called with a lock held: one that is held by the thread that calls. */
static void in_a_call(void *context, sim_call call, const void *base, size_t size_bytes)
{
    (void)context;
    (void)base;
    (void)size_bytes;
    if (call != SIM_LOCK && call != SIM_UNLOCK && call != SIM_AT_THREAD_EXIT) {
        assert_int_equal(sim_counts().held_locks, 0);
        scene.outside_lock++;
    }
}

static void begin(sim_options system, fallow_arena_options options)
{
    memset(&scene, 0, sizeof scene);
    scene.is_memory_gone = true;
    assert_true(sim_begin(&system));
    scene.page = fallow__os_page_bytes();
    options.page_bytes = scene.page;
    options.reserve_bytes = options.reserve_bytes != 0 ? options.reserve_bytes : 16 * MIB;
    options.thread_cache_bytes = options.thread_cache_bytes != 0 ? options.thread_cache_bytes : MIB;
    options.before_commit = before_commit;
    options.scavenge = FALLOW_SCAVENGE_OFF;
    options.after_decommit = after_decommit;
    assert_int_equal(fallow_arena_create(&options, &scene.arena), FALLOW_OK);
}

static fallow_arena_stats look(void)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(scene.arena, &s);
    assert_int_equal(s.backed_bytes,
                     s.in_use_bytes + s.cached_bytes + s.retained_bytes + s.released_lazy_bytes + s.metadata_bytes);
    assert_int_equal(s.committed_bytes, s.backed_bytes + s.released_zero_bytes);
    assert_int_equal(s.committed_bytes, scene.granted_bytes);
    assert_int_equal(fallow_arena_check(scene.arena), FALLOW_OK);
    return s;
}

static void end(void)
{
    (void)look();
    fallow_arena_destroy(scene.arena);
    assert_int_equal(scene.granted_bytes, 0);
    assert_true(scene.is_memory_gone);
    assert_true(sim_end());
}

static void *take(size_t pages)
{
    void *base = NULL;
    assert_int_equal(fallow_arena_alloc(scene.arena, pages * scene.page, &base), FALLOW_OK);
    memset(base, 0x5a, pages * scene.page);
    return base;
}

static void give(void *base, size_t pages)
{
    fallow_arena_free(scene.arena, base, pages * scene.page);
}

/* So many runs taken, and freed. */
static void fill(size_t count, size_t pages)
{
    void *bases[256];
    for (size_t i = 0; i < count; i++) {
        bases[i] = take(pages);
    }
    for (size_t i = 0; i < count; i++) {
        give(bases[i], pages);
    }
}

static uint64_t calls(sim_call call)
{
    return sim_counts().calls[call];
}

/* --- without a lock ---------------------------------------------------------------------------------------- */

typedef enum freeing {
    LIFO,
    FIFO,
    MIXED,
    FREEINGS
} freeing;

static void burst(size_t count, size_t pages, freeing way)
{
    void *bases[64];
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(fallow_arena_alloc(scene.arena, pages * scene.page, &bases[i]), FALLOW_OK);
    }
    for (size_t i = 0; i < count; i++) {
        size_t place = way == LIFO ? count - 1 - i : way == FIFO ? i : i * 5 % count;
        fallow_arena_free(scene.arena, bases[place], pages * scene.page);
    }
}

static void a_hit_takes_no_lock(void **state)
{
    static const size_t counts[] = {1, 2, 16, 64};
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.thread_cache_bytes = 8 * MIB});
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (size_t pages = 1; pages * counts[i] <= 512; pages += 1 + pages / 3) {
            for (int way = 0; way < FREEINGS; way++) {
                burst(counts[i], pages, (freeing)way);
                burst(counts[i], pages, (freeing)way);
                uint64_t before = calls(SIM_LOCK);
                for (int round = 0; round < 10; round++) {
                    burst(counts[i], pages, (freeing)way);
                }
                assert_int_equal(calls(SIM_LOCK), before);
            }
        }
    }
    end();
}

/* Nor is one taken where two arenas take turns; and what a ninth arena costs is a lock, not a wrong run. */
static void arenas_in_turn(void **state)
{
    enum {
        ARENAS = 20
    };
    static const fallow_arena_options options = {.reserve_bytes = 4 << 20, .thread_cache_bytes = 256 << 10};
    fallow_arena *arenas[ARENAS];
    void *bases[ARENAS];
    unsigned again = 0;
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){0});
    size_t size_bytes = 2 * scene.page;
    for (int i = 0; i < ARENAS; i++) {
        assert_int_equal(fallow_arena_create(&options, &arenas[i]), FALLOW_OK);
    }
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < ARENAS; i++) {
            assert_int_equal(fallow_arena_alloc(arenas[i], size_bytes, &bases[i]), FALLOW_OK);
            assert_true(fallow_arena_owns(arenas[i], bases[i]));
            memset(bases[i], i, size_bytes);
        }
        for (int i = 0; i < ARENAS; i++) {
            assert_int_equal(((char *)bases[i])[size_bytes - 1], i);
            fallow_arena_free(arenas[i], bases[i], size_bytes);
        }
        if (round % 3 == 2) { /* one goes, another comes, often at the same address */
            int i = round / 3 % ARENAS;
            fallow_arena *old = arenas[i];
            fallow_arena_stats s;
            assert_int_equal(fallow_arena_alloc(old, size_bytes, &bases[i]), FALLOW_OK); /* the latest of this thread */
            fallow_arena_free(old, bases[i], size_bytes);
            fallow_arena_destroy(old);
            assert_int_equal(fallow_arena_create(&options, &arenas[i]), FALLOW_OK);
            again += arenas[i] == old;
            assert_int_equal(fallow_arena_alloc(arenas[i], size_bytes, &bases[i]), FALLOW_OK);
            fallow_arena_read_stats(arenas[i], &s);
            assert_int_equal(s.cached_bytes, 0);
            assert_int_equal(s.run_count, 1);
            assert_int_equal(s.in_use_bytes, size_bytes);
            fallow_arena_free(arenas[i], bases[i], size_bytes);
        }
    }
    assert_true(again != 0);
    for (int k = 0; k < 2; k++) { /* neighbours by the order in which they were made: their entries differ */
        uint64_t before = 0;
        for (int round = 0; round < 20; round++) {
            before = round == 10 ? calls(SIM_LOCK) : before;
            for (int i = 0; i < 2; i++) {
                assert_int_equal(fallow_arena_alloc(arenas[k + i], size_bytes, &bases[i]), FALLOW_OK);
                fallow_arena_free(arenas[k + i], bases[i], size_bytes);
            }
        }
        assert_int_equal(calls(SIM_LOCK), before);
    }
    for (int i = 0; i < ARENAS; i++) {
        assert_int_equal(fallow_arena_check(arenas[i * 7 % ARENAS]), FALLOW_OK);
        fallow_arena_destroy(arenas[i * 7 % ARENAS]);
    }
    end();
}

/* --- a cache that is refused ------------------------------------------------------------------------------- */

/* What a thread does that is to get no cache. */
static void without_a_cache(void *context)
{
    fallow_arena_stats before = look();
    uint64_t asked = calls(SIM_RESERVE);
    (void)context;
    for (int round = 0; round < 5; round++) {
        fill(100, 1);
    }
    fallow_arena_stats after = look();
    assert_int_equal(after.cached_bytes, 0);
    assert_int_equal(after.metadata_bytes, before.metadata_bytes);
    assert_int_equal(after.reserved_bytes, before.reserved_bytes);
    assert_int_equal(after.run_count, before.run_count);
    assert_true(calls(SIM_RESERVE) - asked <= 1); /* it is not asked for again and again */
}

static void join(void (*run)(void *context))
{
    sim_thread thread;
    assert_true(sim_start(run, NULL, &thread));
    sim_join(&thread);
}

static void fill_now(void *context)
{
    (void)context;
    for (int round = 0; round < 12; round++) {
        fill(100, 1); /* until it is asked for again */
    }
    assert_int_equal(look().cached_bytes, 100 * scene.page);
}

static void works_without_a_cache(void **state)
{
    static const sim_call refused[] = {SIM_RESERVE, SIM_COMMIT, SIM_AT_THREAD_EXIT};
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        begin((sim_options){.hook = in_a_call}, (fallow_arena_options){0});
        give(take(256), 256); /* everything below is committed, and the cache is what remains to be */
        fallow_arena_flush_thread(scene.arena);
        sim_refuse(&(sim_refusal){.calls = SIM_CALL(refused[i]), .times = UINT64_MAX});
        join(without_a_cache);
        assert_true(sim_refused() > 0);
        sim_refuse(NULL);
        join(fill_now);
        end();
    }
}

/* The same for each call that making one takes, one after another; then there is one. */
static void each_step_to_a_cache_refused(void **state)
{
    (void)state;
    for (uint64_t skip = 0;; skip++) {
        begin((sim_options){.hook = in_a_call}, (fallow_arena_options){0});
        uint64_t live = sim_live_reservations();
        sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_RESERVE) | SIM_CALL(SIM_COMMIT), .skip = skip});
        void *base = NULL;
        fallow_status status = fallow_arena_alloc(scene.arena, scene.page, &base);
        if (status == FALLOW_OK) {
            give(base, 1);
            fallow_arena_stats s = look();
            assert_int_equal(s.cached_bytes, sim_live_reservations() != live ? scene.page : 0);
        }
        bool is_whole = sim_refused() == 0;
        sim_refuse(NULL);
        for (int round = 0; round < 12; round++) {
            fill(100, 1); /* at last it is asked for again */
        }
        assert_int_equal(look().cached_bytes, 100 * scene.page);
        end();
        if (is_whole) {
            assert_true(skip >= 3); /* the arena's pages, the cache's reservation, its memory */
            break;
        }
    }
}

static void the_callback_refuses_a_cache(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){0});
    void *base = take(60);
    scene.refusing = 1;
    give(base, 60);
    assert_int_equal(scene.refusing, 0);
    fallow_arena_stats s = look();
    assert_int_equal(s.cached_bytes, 0);
    assert_int_equal(sim_live_reservations(), 1);
    without_a_cache(NULL);
    fill(200, 1);
    fill(200, 1);
    fill(200, 1);
    assert_int_equal(look().cached_bytes, 200 * scene.page);
    end();
}

/* There is no room for the cache itself below the limit. */
static void the_limit_refuses_a_cache(void **state)
{
    void *bases[1000];
    size_t count = 0;
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.limit_bytes = MIB});
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_RESERVE), .times = UINT64_MAX}); /* none yet */
    while (fallow_arena_alloc(scene.arena, scene.page, &bases[count]) == FALLOW_OK) {
        count++;
    }
    sim_refuse(NULL);
    size_t metadata_bytes = look().metadata_bytes;
    assert_true(count > 200);
    for (int round = 0; round < 2000; round++) {
        give(bases[count - 1], 1);
        bases[count - 1] = take(1);
    }
    assert_int_equal(look().metadata_bytes, metadata_bytes);
    assert_int_equal(sim_live_reservations(), 1);
    for (size_t i = 0; i < count; i++) {
        give(bases[i], 1);
    }
    assert_int_equal(fallow_arena_trim(scene.arena, 0, NULL), FALLOW_OK);
    for (int round = 0; round < 12; round++) {
        fill(100, 1);
    }
    fallow_arena_stats s = look();
    assert_int_equal(s.cached_bytes, 100 * scene.page);
    assert_true(s.metadata_bytes > metadata_bytes);
    assert_true(s.backed_bytes <= MIB);
    end();
}

/* What is kept is no reason to refuse: at the limit, and where there is no room left. */
static void what_is_kept_is_taken_back_first(void **state)
{
    (void)state;
    for (int is_limited = 0; is_limited < 2; is_limited++) {
        void *bases[1000];
        size_t count = 0;
        begin((sim_options){0}, (fallow_arena_options){.limit_bytes = is_limited ? MIB : 0,
                                                       .reserve_bytes = is_limited ? 16 * MIB : MIB,
                                                       .flags = FALLOW_ARENA_FIXED});
        while (fallow_arena_alloc(scene.arena, scene.page, &bases[count]) == FALLOW_OK) {
            count++;
        }
        assert_true(count > 150);
        for (size_t i = 0; i < count; i++) {
            give(bases[i], 1);
        }
        assert_true(look().cached_bytes >= count * scene.page / 2);
        void *base = take(count - 10);
        (void)look();
        give(base, count - 10);
        for (size_t i = 0; i < count; i++) {
            bases[i] = take(1); /* as many as before */
        }
        for (size_t i = 0; i < count; i++) {
            give(bases[i], 1);
        }
        end();
    }
}

/* A callback may use another arena, whatever it is told of, and however much is to be made there. */
static void callbacks_use_another_arena(void **state)
{
    static const fallow_arena_options options = {.reserve_bytes = 4 << 20, .thread_cache_bytes = 256 << 10};
    (void)state;
    begin((sim_options){.hook = in_a_call}, (fallow_arena_options){.purge = FALLOW_PURGE_DECOMMIT});
    assert_int_equal(fallow_arena_create(&options, &scene.other), FALLOW_OK);
    fill(100, 3);
    assert_int_equal(fallow_arena_trim(scene.arena, 0, NULL), FALLOW_OK);
    fallow_arena *other = scene.other;
    (void)look();
    fallow_arena_destroy(scene.arena);
    scene.other = NULL;
    fallow_arena_destroy(other);
    assert_int_equal(scene.granted_bytes, 0);
    assert_true(scene.outside_lock > 5);
    assert_true(sim_end());
}

/* --- threads that end -------------------------------------------------------------------------------------- */

static void fill_and_end(void *context)
{
    (void)context;
    for (size_t pages = 1; pages < 20; pages++) {
        fill(5, pages);
    }
    assert_true(look().cached_bytes > 100 * scene.page);
}

/* What a thread kept is free when it has ended; the next one gets its cache. */
static void a_thread_ends_with_a_full_cache(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){0});
    join(fill_and_end);
    fallow_arena_stats first = look();
    assert_int_equal(first.cached_bytes, 0);
    assert_int_equal(first.run_count, 0);
    assert_int_equal(first.extent_bytes, 0);
    assert_true(first.retained_bytes > 100 * scene.page);
    for (int i = 0; i < 5; i++) {
        join(fill_and_end);
        fallow_arena_stats s = look();
        assert_int_equal(s.metadata_bytes, first.metadata_bytes);
        assert_int_equal(s.reserved_bytes, first.reserved_bytes);
        assert_int_equal(s.cached_bytes, 0);
        assert_int_equal(s.extent_bytes, 0);
    }
    end();
}

static void fill_others(void *context)
{
    fallow_arena **arenas = context;
    for (int i = 0; i < 10; i++) {
        for (int round = 0; round < 30; round++) {
            void *base;
            assert_int_equal(fallow_arena_alloc(arenas[i], 3 * scene.page, &base), FALLOW_OK);
            fallow_arena_free(arenas[i], base, 3 * scene.page);
        }
    }
    fallow_arena_destroy(arenas[3]); /* with this thread's cache and another's */
    fallow_arena_destroy(arenas[9]);
    arenas[3] = NULL;
    arenas[9] = NULL;
}

/* Caches of ten arenas, some of which are gone when the thread ends. */
static void a_thread_ends_with_many_caches(void **state)
{
    static const fallow_arena_options options = {.reserve_bytes = 4 << 20, .thread_cache_bytes = 256 << 10};
    fallow_arena *arenas[10];
    sim_thread thread;
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){0});
    for (int i = 0; i < 10; i++) {
        void *base;
        assert_int_equal(fallow_arena_create(&options, &arenas[i]), FALLOW_OK);
        assert_int_equal(fallow_arena_alloc(arenas[i], 1, &base), FALLOW_OK);
        fallow_arena_free(arenas[i], base, 1);
    }
    assert_true(sim_start(fill_others, arenas, &thread));
    sim_join(&thread);
    for (int i = 0; i < 10; i++) {
        fallow_arena_stats s;
        if (arenas[i] != NULL) {
            fallow_arena_read_stats(arenas[i], &s);
            assert_true(s.cached_bytes < 3 * scene.page); /* this thread's */
            fallow_arena_destroy(arenas[i]);
        }
    }
    end();
}

static int by_address(const void *left, const void *right)
{
    const char *a = *(char *const *)left;
    const char *b = *(char *const *)right;
    return (a > b) - (a < b);
}

/* Pages that are dropped together may lie side by side, and yet in two reservations, the first of which has no whole
 * number of words. */
static void runs_of_two_reservations_are_dropped(void **state)
{
    (void)state;
    for (size_t pages = 65; pages < 80; pages++) {
        for (int rules = 0; rules < 2; rules++) {
            void *bases[80 * 2];
            size_t count = 0;
            size_t page = 64 << 10;
            begin((sim_options){.rules = rules == 0 ? SIM_LINUX : SIM_WINDOWS, .page_bytes = page},
                  (fallow_arena_options){.reserve_bytes = pages * page, .thread_cache_bytes = 64 * MIB});
            while (count < pages * 2) {
                bases[count++] = take(1);
            }
            qsort(bases, count, sizeof bases[0], by_address);
            assert_int_equal(look().region_count, 2);
            for (size_t i = 0; i < count; i++) {
                give(bases[i], 1);
            }
            assert_int_equal(look().cached_bytes, count * page);
            fallow_arena_flush_thread(scene.arena);
            fallow_arena_stats s = look();
            assert_int_equal(s.cached_bytes, 0);
            assert_int_equal(s.retained_bytes, count * page);
            assert_int_equal(s.run_count, 0);
            assert_int_equal(s.extent_bytes, 0);
            end();
        }
    }
}

/* --- while another thread keeps runs ----------------------------------------------------------------------- */

/* Steps of the two threads, which run one at a time. */
static struct {
    int step;
    void *bases[32];
} other;

static void wait_for(int step)
{
    while (other.step != step) {
        sim_offer();
    }
}

enum {
    KEPT = 32,
    KEPT_PAGES = 4
};

static void keep_and_go_on(void *context)
{
    (void)context;
    fill(KEPT, KEPT_PAGES);
    other.step = 1;
    wait_for(2);
    for (int round = 0; round < 3; round++) {
        fill(KEPT, KEPT_PAGES);
        fill(KEPT, 1);
    }
    other.step = 3;
    wait_for(4);
}

static void begin_with_keeper(sim_options system, fallow_arena_options options, sim_thread *thread_out)
{
    system.flags |= SIM_INTERLEAVED;
    begin(system, options);
    memset(&other, 0, sizeof other);
    assert_true(sim_start(keep_and_go_on, NULL, thread_out));
    wait_for(1);
    fallow_arena_stats s;
    fallow_arena_read_stats(scene.arena, &s); /* a check would take the thread's entry away */
    assert_int_equal(s.cached_bytes, KEPT * KEPT_PAGES * scene.page);
}

static void end_with_keeper(sim_thread *thread)
{
    other.step = other.step < 2 ? 2 : other.step;
    wait_for(3);
    other.step = 4;
    sim_join(thread);
    assert_int_equal(look().cached_bytes, 0); /* this thread has kept nothing */
    end();
}

static void trim_takes_what_others_keep(void **state)
{
    sim_thread thread;
    (void)state;
    begin_with_keeper((sim_options){0}, (fallow_arena_options){0}, &thread);
    size_t released_bytes;
    assert_int_equal(fallow_arena_trim(scene.arena, 0, &released_bytes), FALLOW_OK);
    assert_int_equal(released_bytes, KEPT * KEPT_PAGES * scene.page);
    assert_int_equal(look().cached_bytes, 0);
    end_with_keeper(&thread);
}

/* Without a barrier nobody may touch what a running thread keeps: not at once, and not the next time either, when its
 * entries are gone already. */
static void without_a_barrier_others_keep_theirs(void **state)
{
    (void)state;
    for (int is_never = 0; is_never < 2; is_never++) {
        sim_thread thread;
        begin_with_keeper((sim_options){.flags = is_never ? SIM_NO_BARRIER : 0}, (fallow_arena_options){0}, &thread);
        sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_BARRIER), .times = UINT64_MAX});
        for (int round = 0; round < 3; round++) {
            size_t released_bytes = 1;
            assert_int_equal(fallow_arena_trim(scene.arena, 0, &released_bytes), FALLOW_OK);
            assert_int_equal(released_bytes, 0);
            assert_int_equal(look().cached_bytes, KEPT * KEPT_PAGES * scene.page);
        }
        sim_refuse(NULL);
        assert_int_equal(fallow_arena_trim(scene.arena, 0, NULL), FALLOW_OK);
        assert_int_equal(look().cached_bytes, is_never ? KEPT * KEPT_PAGES * scene.page : 0);
        end_with_keeper(&thread);
    }
}

/* Memory that another thread has freed and keeps is found again before the arena grows or is full. */
static void what_others_keep_is_found(void **state)
{
    (void)state;
    for (int is_refused = 0; is_refused < 2; is_refused++) {
        sim_thread thread;
        void *bases[512];
        size_t count = 0;
        begin_with_keeper((sim_options){0}, (fallow_arena_options){.reserve_bytes = MIB, .flags = FALLOW_ARENA_FIXED},
                          &thread);
        if (is_refused) {
            sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_BARRIER), .times = UINT64_MAX});
        }
        fallow_run_options options = {.flags = FALLOW_RUN_NO_CACHE};
        fallow_run run;
        while (fallow_arena_alloc_run(scene.arena, scene.page, &options, &run) == FALLOW_OK) {
            bases[count++] = run.base;
        }
        assert_int_equal(count, MIB / scene.page - (is_refused ? KEPT * KEPT_PAGES : 0));
        sim_refuse(NULL);
        for (size_t i = 0; i < count; i++) {
            fallow_arena_free_many(scene.arena, &(fallow_run){bases[i], scene.page, false}, 1);
        }
        end_with_keeper(&thread);
    }
}

/* The extent stays where it is, however long one thread takes what another frees. */
static void take_for_other(void *context)
{
    (void)context;
    for (int round = 0; round < 200; round++) {
        wait_for(2 * round + 1);
        for (int i = 0; i < KEPT; i++) {
            give(other.bases[i], 16);
        }
        other.step = 2 * round + 2;
    }
}

static void one_takes_and_another_frees(void **state)
{
    sim_thread thread;
    size_t run_pages = 16;
    (void)state;
    for (int is_refused = 0; is_refused < 2; is_refused++) { /* it cannot be taken back then, and has to be brought */
        begin((sim_options){.flags = SIM_INTERLEAVED, .switch_rarity = 2},
              (fallow_arena_options){.reserve_bytes = 256 * MIB, .thread_cache_bytes = 16 * MIB});
        memset(&other, 0, sizeof other);
        if (is_refused) {
            sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_BARRIER), .times = UINT64_MAX});
        }
        assert_true(sim_start(take_for_other, NULL, &thread));
        for (int round = 0; round < 200; round++) {
            for (int i = 0; i < KEPT; i++) {
                other.bases[i] = take(run_pages);
            }
            other.step = 2 * round + 1;
            wait_for(2 * round + 2);
        }
        sim_join(&thread);
        sim_refuse(NULL);
        fallow_arena_stats s = look();
        /* what is live at once, what is on its way, and a step of growth */
        assert_true(s.peak_in_use_bytes <= KEPT * run_pages * scene.page + 3 * MIB);
        end();
    }
}

/* What another thread keeps is taken back when the arena has grown by an eighth of it, and not each time it grows. */
enum {
    MUCH = 192,
    MUCH_PAGES = 16
};

static void keep_much(void *context)
{
    (void)context;
    fill(MUCH, MUCH_PAGES);
    other.step = 1;
    wait_for(2);
}

static void growth_finds_what_others_keep(void **state)
{
    sim_thread thread;
    void *bases[2 * MUCH];
    size_t count = 0;
    fallow_run run;
    fallow_arena_stats s;
    const fallow_run_options options = {.flags = FALLOW_RUN_NO_CACHE};
    (void)state;
    begin((sim_options){.flags = SIM_INTERLEAVED},
          (fallow_arena_options){.reserve_bytes = 256 * MIB, .thread_cache_bytes = 16 * MIB});
    memset(&other, 0, sizeof other);
    size_t kept_bytes = MUCH * MUCH_PAGES * scene.page;
    assert_int_equal(fallow_arena_alloc_run(scene.arena, kept_bytes, &options, &run), FALLOW_OK);
    fallow_arena_free_many(scene.arena, &run, 1);
    assert_int_equal(fallow_arena_trim(scene.arena, SIZE_MAX, NULL), FALLOW_OK); /* from here on growth is counted */
    assert_true(sim_start(keep_much, NULL, &thread));
    wait_for(1);
    fallow_arena_read_stats(scene.arena, &s);
    size_t extent_bytes = s.extent_bytes;
    assert_int_equal(s.cached_bytes, kept_bytes);
    uint64_t barriers = calls(SIM_BARRIER);
    while (count * (MUCH_PAGES / 2) * scene.page < kept_bytes) {
        assert_int_equal(fallow_arena_alloc_run(scene.arena, MUCH_PAGES / 2 * scene.page, &options, &run), FALLOW_OK);
        bases[count++] = run.base;
        fallow_arena_read_stats(scene.arena, &s);
        if (s.extent_bytes < extent_bytes + kept_bytes / 16) {
            assert_int_equal(s.cached_bytes, kept_bytes);
        }
    }
    assert_int_equal(s.cached_bytes, 0);
    assert_true(s.extent_bytes > extent_bytes);
    assert_true(s.extent_bytes <= extent_bytes + kept_bytes / 8 + MIB); /* and a step of growth */
    assert_int_equal(calls(SIM_BARRIER), barriers + 1);
    while (count > 0) {
        give(bases[--count], MUCH_PAGES / 2);
    }
    other.step = 2;
    sim_join(&thread);
    end();
}

/* When the last other thread has ended, the depot that was made for it is nobody's, and nothing is brought there. */
static void keep_a_little(void *context)
{
    (void)context;
    fill(16, 1);
}

static void a_thread_left_alone_keeps_its_runs(void **state)
{
    sim_thread thread;
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.thread_cache_bytes = 4 * MIB});
    fill(16, 1);
    assert_true(sim_start(keep_a_little, NULL, &thread));
    sim_join(&thread);
    fill(200, 2);
    size_t cached_bytes = look().cached_bytes;
    assert_true(cached_bytes >= 400 * scene.page);
    fill(200, 2);
    assert_int_equal(look().cached_bytes, cached_bytes);
    end();
}

/* A child has not got the arenas that are not inherited: what its thread remembers of them is forgotten, or another arena
 * at the same address would be taken for one of them. */
static void a_child_forgets_arenas_that_are_gone(void **state)
{
    (void)state;
    enum {
        ENTRIES = 8 /* that a thread remembers arenas in: the ninth one takes the first one's */
    };
    begin((sim_options){0}, (fallow_arena_options){0});
    fallow_arena_options options = {.reserve_bytes = MIB, .thread_cache_bytes = MIB, .scavenge = FALLOW_SCAVENGE_OFF};
    options.flags = FALLOW_ARENA_NO_FORK;
    fallow_arena *gone = NULL;
    assert_int_equal(fallow_arena_create(&options, &gone), FALLOW_OK);
    scene.other = gone;
    use_other();
    scene.other = NULL;
    fill(40, 1); /* the latest arena is another one */
    assert_true(look().cached_bytes != 0);
    sim_fork_before();
    sim_fork_child();
    for (int i = 0; i < ENTRIES; i++) {
        assert_int_equal(fallow_arena_create(&options, &scene.other), FALLOW_OK);
        assert_ptr_equal(scene.other, gone);
        use_other();
        assert_int_equal(fallow_arena_check(scene.other), FALLOW_OK);
        fallow_arena_destroy(scene.other);
    }
    scene.other = NULL;
    end();
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hit_takes_no_lock),
        cmocka_unit_test(arenas_in_turn),
        cmocka_unit_test(works_without_a_cache),
        cmocka_unit_test(each_step_to_a_cache_refused),
        cmocka_unit_test(the_callback_refuses_a_cache),
        cmocka_unit_test(the_limit_refuses_a_cache),
        cmocka_unit_test(what_is_kept_is_taken_back_first),
        cmocka_unit_test(callbacks_use_another_arena),
        cmocka_unit_test(a_thread_ends_with_a_full_cache),
        cmocka_unit_test(a_thread_ends_with_many_caches),
        cmocka_unit_test(runs_of_two_reservations_are_dropped),
        cmocka_unit_test(trim_takes_what_others_keep),
        cmocka_unit_test(without_a_barrier_others_keep_theirs),
        cmocka_unit_test(what_others_keep_is_found),
        cmocka_unit_test(one_takes_and_another_frees),
        cmocka_unit_test(growth_finds_what_others_keep),
        cmocka_unit_test(a_thread_left_alone_keeps_its_runs),
        cmocka_unit_test(a_child_forgets_arenas_that_are_gone),
    };
    return cmocka_run_group_tests_name("fault_cache", tests, NULL, NULL);
}
