/* Threads and their caches of many arenas: runs wander from thread to thread, threads end with full caches, arenas come
 * and go, and others trim, look and count meanwhile. A run that two threads have at once shows as a torn stamp, and as a
 * race under tsan; what is lost shows in the figures when all have ended. */
#include "test.h"

#include <stdatomic.h>
#include <string.h>

#include "fallow.h"
#include "os.h"
#include "threads.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum {
    ARENAS = 12, /* more than a thread has entries */
    BOARD_SLOTS = 48,
    RUN_PAGES_MAX = 6
};

/* A run on its way to another thread; what it is stands in itself too. */
typedef struct stamp {
    uint64_t value;
    uint64_t pages;
    uint64_t arena;
} stamp;

static struct {
    fallow_arena *arenas[ARENAS];
    size_t page;
    size_t reserve_bytes; /* of each arena */
    size_t cache_bytes;
    unsigned rounds;
    unsigned threads;
    uint64_t seed;
    _Atomic(unsigned char *) board[BOARD_SLOTS];
    atomic_uint working;
    atomic_uint failed; /* line of the first check that failed */
    atomic_uint phase;
    atomic_uint arrived;
} field;

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            unsigned none_ = 0;                                              \
            atomic_compare_exchange_strong(&field.failed, &none_, __LINE__); \
        }                                                                    \
    } while (0)

static void create(unsigned index)
{
    fallow_arena_options options = {.reserve_bytes = field.reserve_bytes, .thread_cache_bytes = field.cache_bytes};
    if (fallow_arena_create(&options, &field.arenas[index]) != FALLOW_OK) {
        printf("SKIPPED: no address space for %u arenas of %zu MiB\n", index + 1, field.reserve_bytes / MIB);
        exit(77);
    }
}

static void begin(unsigned arenas, size_t cache_bytes)
{
    fallow_arena_stats s;
    memset(&field, 0, sizeof field);
    field.reserve_bytes = arenas == 1 ? 256 * MIB : 32 * MIB;
    field.cache_bytes = cache_bytes;
    for (unsigned i = 0; i < arenas; i++) {
        create(i);
    }
    fallow_arena_read_stats(field.arenas[0], &s);
    field.page = s.page_bytes;
}

static void check_figures(const fallow_arena_stats *s)
{
    CHECK(s->backed_bytes ==
          s->in_use_bytes + s->cached_bytes + s->retained_bytes + s->released_lazy_bytes + s->metadata_bytes);
    CHECK(s->in_use_bytes <= s->backed_bytes);
    CHECK(s->cached_bytes <= s->backed_bytes);
    CHECK(s->run_count <= 1000000);
    CHECK(s->extent_bytes <= s->usable_bytes);
}

/* All threads have ended: nothing is kept, nothing is left. */
static void check_all_back(fallow_arena *arena)
{
    fallow_arena_stats s;
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_read_stats(arena, &s);
    check_figures(&s);
    assert_int_equal(s.cached_bytes, 0);
    assert_int_equal(s.run_count, 0);
    assert_int_equal(s.in_use_bytes, 0);
    assert_int_equal(s.extent_bytes, 0);
    assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    fallow_arena_read_stats(arena, &s);
    assert_int_equal(s.retained_bytes, 0);
}

static void end(void)
{
    assert_int_equal(field.failed, 0);
    for (unsigned i = 0; i < ARENAS && field.arenas[i] != NULL; i++) {
        fallow_arena_flush_thread(field.arenas[i]); /* this thread has not ended */
        check_all_back(field.arenas[i]);
        fallow_arena_destroy(field.arenas[i]);
    }
}

static void fill(fallow_arena *arena, unsigned count, size_t size_bytes)
{
    void *bases[64];
    for (unsigned i = 0; i < count; i++) {
        CHECK(fallow_arena_alloc(arena, size_bytes, &bases[i]) == FALLOW_OK);
        memset(bases[i], (int)i, 64);
    }
    for (unsigned i = 0; i < count; i++) {
        fallow_arena_free(arena, bases[i], size_bytes);
    }
}

/* --- runs that wander -------------------------------------------------------------------------------------- */

static void write_stamp(unsigned char *run, const stamp *s)
{
    for (uint64_t page = 0; page < s->pages; page++) {
        memcpy(run + page * field.page, s, sizeof *s);
        memcpy(run + (page + 1) * field.page - sizeof *s, s, sizeof *s);
    }
}

static stamp read_stamp(const unsigned char *run)
{
    stamp s;
    memcpy(&s, run, sizeof s);
    CHECK(s.pages >= 1 && s.pages <= RUN_PAGES_MAX && s.arena < ARENAS);
    s.pages = s.pages <= RUN_PAGES_MAX ? s.pages : 0;
    for (uint64_t page = 0; page < s.pages; page++) {
        CHECK(memcmp(run + page * field.page, &s, sizeof s) == 0);
        CHECK(memcmp(run + (page + 1) * field.page - sizeof s, &s, sizeof s) == 0);
    }
    return s;
}

static void give(unsigned char *run)
{
    stamp s = read_stamp(run);
    CHECK(fallow_arena_owns(field.arenas[s.arena], run));
    fallow_arena_free(field.arenas[s.arena], run, s.pages * field.page);
}

static unsigned char *take(test_random *random)
{
    stamp s = {test_next(random), 1 + test_below(random, RUN_PAGES_MAX), test_below(random, ARENAS)};
    s.arena = test_below(random, 4) == 0 ? s.arena : s.arena % 2; /* two of them mostly: hits */
    void *base = NULL;
    if (fallow_arena_alloc(field.arenas[s.arena], s.pages * field.page, &base) != FALLOW_OK) {
        CHECK(false);
        return NULL;
    }
    write_stamp(base, &s);
    return base;
}

/* Shorter, two of one, or without memory for a while: what was trusted of it is so no more. */
static unsigned char *change(test_random *random, unsigned char *run)
{
    stamp s = read_stamp(run);
    fallow_arena *arena = field.arenas[s.arena];
    size_t size_bytes = s.pages * field.page;
    switch (test_below(random, 4)) {
    case 0:
        if (s.pages > 1) {
            fallow_arena_shrink(arena, run, size_bytes, size_bytes - field.page);
            s.pages--;
        }
        break;
    case 1:
        if (s.pages > 1) {
            fallow_arena_split(arena, run, size_bytes, field.page);
            s.pages--;
            write_stamp(run + field.page, &s);
            give(run + field.page);
            s.pages = 1;
        }
        break;
    case 2:
        if (s.pages < RUN_PAGES_MAX &&
            fallow_arena_extend(arena, run, size_bytes, size_bytes + field.page) == FALLOW_OK) {
            s.pages++;
        }
        break;
    default:
        CHECK(fallow_arena_decommit(arena, run, field.page) == FALLOW_OK);
        if (test_below(random, 2) == 0) {
            fallow_arena_free(arena, run, size_bytes); /* as it is */
            return NULL;
        }
        CHECK(fallow_arena_commit(arena, run, field.page) == FALLOW_OK);
        break;
    }
    write_stamp(run, &s);
    return run;
}

static void wander(test_random *random)
{
    enum {
        OWN_MAX = 24
    };
    unsigned char *own[OWN_MAX];
    unsigned count = 0;
    for (unsigned round = 0; round < field.rounds && atomic_load(&field.failed) == 0; round++) {
        uint64_t dice = test_below(random, 64);
        if (count < OWN_MAX && (dice < 28 || count == 0)) {
            own[count] = take(random);
            count += own[count] != NULL;
        } else if (dice < 44) {
            give(own[--count]); /* the latest */
        } else if (dice < 52) {
            unsigned place = (unsigned)test_below(random, count);
            give(own[place]);
            own[place] = own[--count];
        } else if (dice < 60) {
            unsigned char *old = atomic_exchange(&field.board[test_below(random, BOARD_SLOTS)], own[--count]);
            if (old != NULL) {
                give(old);
            }
        } else if (dice < 62) {
            own[count - 1] = change(random, own[count - 1]);
            count -= own[count - 1] == NULL;
        } else if (dice == 62) {
            fallow_arena_flush_thread(field.arenas[test_below(random, ARENAS)]);
        } else {
            fallow_run run = {.base = own[count - 1]};
            stamp s = read_stamp(own[--count]);
            run.size_bytes = s.pages * field.page;
            fallow_arena_free_many(field.arenas[s.arena], &run, 1);
        }
    }
    while (count > 0) {
        give(own[--count]);
    }
}

/* Trim, look, count, make something larger, and read what lies under an address, until nobody works any more. */
static void watch(test_random *random)
{
    while (atomic_load(&field.working) != 0) {
        fallow_arena *arena =
            field.arenas[test_below(random, 4) == 0 ? test_below(random, ARENAS) : test_below(random, 2)];
        fallow_arena_stats s;
        fallow_run run;
        switch (test_below(random, 8)) {
        case 0: CHECK(fallow_arena_trim(arena, test_below(random, 2) * MIB, NULL) == FALLOW_OK); break;
        case 1: CHECK(fallow_arena_check(arena) == FALLOW_OK); break;
        case 2:
            if (fallow_arena_alloc_run(arena, 8 * MIB, NULL, &run) == FALLOW_OK) {
                fallow_arena_free(arena, run.base, run.size_bytes);
            }
            break;
        default:
            fallow_arena_read_stats(arena, &s);
            check_figures(&s);
            break;
        }
    }
}

static void work_or_watch(void *context, unsigned index)
{
    test_random random = {field.seed + index};
    unsigned watchers = *(const unsigned *)context;
    if (index < watchers) {
        watch(&random);
    } else {
        wander(&random);
        atomic_fetch_sub(&field.working, 1);
    }
}

static void clear_board(void)
{
    for (int slot = 0; slot < BOARD_SLOTS; slot++) {
        unsigned char *run = atomic_exchange(&field.board[slot], NULL);
        if (run != NULL) {
            give(run);
        }
    }
}

static void runs_wander_while_others_look(void **state)
{
    static const size_t bounds[] = {256 << 10, 1 << 20};
    (void)state;
    test_random random = test_seed("stress_cache");
    for (int i = 0; i < 2; i++) {
        unsigned watchers = 2;
        begin(ARENAS, bounds[i]);
        field.rounds = 20000;
        field.seed = test_next(&random);
        atomic_store(&field.working, 4);
        threads_run(4 + watchers, work_or_watch, &watchers);
        clear_board();
        end();
    }
}

/* Two threads hand one run to and fro, each keeps it for a moment, and a third counts: one that was counted in both is
 * not counted so that less than nothing is in use. Each keeps runs of many sizes besides, so that counting takes long. */
static void to_and_fro(void *context, unsigned index)
{
    (void)context;
    fallow_arena *arena = field.arenas[0];
    size_t size_bytes = 50 * field.page;
    for (unsigned pages = 1; index < 2 && pages <= 100; pages++) {
        fill(arena, 1, pages * field.page);
    }
    atomic_fetch_add(&field.arrived, index < 2 ? 1 : 0);
    while (atomic_load(&field.arrived) != 2) {
        fallow__os_yield();
    }
    for (unsigned round = 0; index < 2 && round < field.rounds; round++) {
        void *run = NULL;
        while (atomic_load(&field.phase) != 2 * round + index) {
            fallow__os_yield();
        }
        if (atomic_load(&field.board[0]) != NULL) {
            fallow_arena_free(arena, atomic_exchange(&field.board[0], NULL), size_bytes);
        }
        for (unsigned i = 0; i < round % 256; i++) {
            (void)atomic_load(&field.phase);
        }
        CHECK(fallow_arena_alloc(arena, size_bytes, &run) == FALLOW_OK);
        atomic_store(&field.board[0], run);
        atomic_store(&field.phase, 2 * round + index + 1);
    }
    if (index < 2) {
        atomic_fetch_sub(&field.working, 1);
        return;
    }
    while (atomic_load(&field.working) != 0) {
        fallow_arena_stats s;
        fallow_arena_read_stats(arena, &s);
        check_figures(&s);
    }
}

static void counted_while_they_pass(void **state)
{
    (void)state;
    begin(1, 64 * MIB);
    field.rounds = 5000;
    atomic_store(&field.working, 2);
    threads_run(3, to_and_fro, NULL);
    fallow_arena_free(field.arenas[0], atomic_exchange(&field.board[0], NULL), 50 * field.page);
    end();
}

/* --- threads that end -------------------------------------------------------------------------------------- */

/* Every other thread trims, or destroys an arena and makes another, while the rest end with full caches. */
static void fill_and_end(void *context, unsigned index)
{
    fallow_arena_options options = {.reserve_bytes = 8 * MIB, .thread_cache_bytes = 256 * KIB};
    (void)context;
    for (unsigned i = 0; i < ARENAS; i++) {
        fill(field.arenas[i], 20, (1 + index % 4) * field.page);
    }
    if (index % 4 == 1) {
        CHECK(fallow_arena_trim(field.arenas[index % ARENAS], 0, NULL) == FALLOW_OK);
    } else if (index % 4 == 2) {
        fallow_arena *arena = NULL;
        for (int i = 0; i < 3; i++) {
            CHECK(fallow_arena_create(&options, &arena) == FALLOW_OK);
            fill(arena, 20, field.page);
            fallow_arena_destroy(arena);
        }
    } else if (index % 4 == 3) {
        CHECK(fallow_arena_check(field.arenas[index % ARENAS]) == FALLOW_OK);
    }
}

static void threads_end_with_full_caches(void **state)
{
    (void)state;
    begin(ARENAS, MIB);
    for (int round = 0; round < 12; round++) {
        threads_run(12, fill_and_end, NULL);
        assert_int_equal(field.failed, 0);
        for (unsigned i = 0; i < ARENAS; i++) {
            check_all_back(field.arenas[i]);
        }
    }
    end();
}

/* As many as there may be; caches of those that have ended are taken over by those that come. */
static void fill_one(void *context, unsigned index)
{
    (void)context;
    for (int round = 0; round < 20; round++) {
        fill(field.arenas[0], 16, (1 + index % 5) * field.page);
    }
}

static void many_threads(void **state)
{
    size_t metadata_bytes = 0;
    (void)state;
    begin(1, 256 * KIB);
    for (int round = 0; round < 3; round++) {
        fallow_arena_stats s;
        threads_run(THREADS_MAX, fill_one, NULL);
        check_all_back(field.arenas[0]);
        fallow_arena_read_stats(field.arenas[0], &s);
        assert_true(s.metadata_bytes > metadata_bytes || round > 0);
        assert_true(s.metadata_bytes <= 512 * KIB + THREADS_MAX * 32 * KIB);
        metadata_bytes = s.metadata_bytes;
    }
    end();
}

/* --- arenas that come and go ------------------------------------------------------------------------------- */

/* All threads are here. */
static void meet(unsigned count)
{
    unsigned phase = atomic_load(&field.phase);
    if (atomic_fetch_add(&field.arrived, 1) + 1 == count) {
        atomic_store(&field.arrived, 0);
        atomic_store(&field.phase, phase + 1);
    }
    while (atomic_load(&field.phase) == phase) {
        fallow__os_yield();
    }
}

/* Each thread holds caches of all arenas; one of them is destroyed by a thread that may have none, while the others go on
 * with the rest; and another one is made, at the same address if the system likes. */
static void come_and_go(void *context, unsigned index)
{
    unsigned count = *(const unsigned *)context;
    for (unsigned round = 0; round < field.rounds; round++) {
        unsigned gone = round % ARENAS;
        for (unsigned i = 0; i < ARENAS; i++) {
            fill(field.arenas[i], 5, (1 + (index + round) % 3) * field.page);
        }
        meet(count); /* nobody is in the arena that goes */
        if (index == round % count) {
            fallow_arena_stats s;
            fallow_arena_destroy(field.arenas[gone]);
            create(gone);
            fallow_arena_read_stats(field.arenas[gone], &s);
            CHECK(s.run_count == 0 && s.cached_bytes == 0 && s.in_use_bytes == 0);
        } else {
            for (unsigned i = 1; i < ARENAS; i++) {
                fill(field.arenas[(gone + i) % ARENAS], 3, field.page);
            }
        }
        meet(count); /* the new one is there */
    }
}

static void arenas_come_and_go(void **state)
{
    unsigned count = 4;
    (void)state;
    begin(ARENAS, 256 * KIB);
    field.rounds = 60;
    threads_run(count, come_and_go, &count);
    end();
}

/* --- one takes, another frees ------------------------------------------------------------------------------ */

enum {
    RING_SLOTS = 64,
    RING_RUN_BYTES = 64 << 10
};

static struct {
    _Atomic(unsigned char *) slots[RING_SLOTS];
} ring;

static void produce_or_consume(void *context, unsigned index)
{
    (void)context;
    for (unsigned i = 0; i < field.rounds; i++) {
        _Atomic(unsigned char *) *slot = &ring.slots[i % RING_SLOTS];
        if (index == 0) {
            void *run = NULL;
            while (atomic_load(slot) != NULL) {
                fallow__os_yield();
            }
            CHECK(fallow_arena_alloc(field.arenas[0], RING_RUN_BYTES, &run) == FALLOW_OK);
            memcpy(run, &i, sizeof i);
            atomic_store(slot, run);
        } else {
            unsigned char *run;
            unsigned written;
            while ((run = atomic_load(slot)) == NULL) {
                fallow__os_yield();
            }
            memcpy(&written, run, sizeof written);
            CHECK(written == i);
            atomic_store(slot, NULL);
            fallow_arena_free(field.arenas[0], run, RING_RUN_BYTES);
        }
    }
}

static void producer_and_consumer(void **state)
{
    fallow_arena_stats s;
    (void)state;
    memset(&ring, 0, sizeof ring);
    begin(1, MIB);
    field.rounds = 8000; /* 500 MiB */
    threads_run(2, produce_or_consume, NULL);
    fallow_arena_read_stats(field.arenas[0], &s);
    /* what is in the ring, what two threads may keep, what is not worth taking back */
    assert_true(s.peak_in_use_bytes <= RING_SLOTS * RING_RUN_BYTES + 2 * MIB + 2 * MIB + MIB);
    assert_int_equal(s.region_count, 1);
    end();
}

/* --- the depot --------------------------------------------------------------------------------------------- */

enum {
    DEPOT_RUNS = 128,
    DEPOT_RUN_BYTES = 64 << 10
};

static void *passed[DEPOT_RUNS];

static fallow_arena_stats stats_now(void)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(field.arenas[0], &s);
    return s;
}

/* The first thread takes runs, the second frees them, more than it may keep. */
static void pass_runs(unsigned index)
{
    fallow_arena *arena = field.arenas[0];
    for (int i = 0; i < DEPOT_RUNS && index == 0; i++) {
        CHECK(fallow_arena_alloc(arena, DEPOT_RUN_BYTES, &passed[i]) == FALLOW_OK);
    }
    fallow_arena_flush_thread(arena);
    meet(2);
    for (int i = 0; i < DEPOT_RUNS && index == 1; i++) {
        fallow_arena_free(arena, passed[i], DEPOT_RUN_BYTES);
        CHECK(stats_now().cached_bytes <= field.cache_bytes + field.cache_bytes / 4);
    }
    fallow_arena_flush_thread(arena);
    meet(2);
}

/* Some of that stays between them, and is not free. It goes with one of the last two. */
static void drop_and_find(void *context, unsigned index)
{
    fallow_arena *arena = field.arenas[0];
    fallow_arena_stats before;
    (void)context;
    fill(arena, 32, DEPOT_RUN_BYTES); /* so that both have a cache */
    fallow_arena_flush_thread(arena);
    meet(2);
    pass_runs(index);
    if (index == 0) {
        void *run;
        before = stats_now();
        CHECK(before.cached_bytes == field.cache_bytes / 4);
        CHECK(fallow_arena_check(arena) == FALLOW_OK);
        CHECK(fallow_arena_alloc(arena, DEPOT_RUN_BYTES, &run) == FALLOW_OK);
        fallow_arena_stats s = stats_now();
        CHECK(s.cached_bytes == before.cached_bytes - DEPOT_RUN_BYTES);
        CHECK(s.retained_bytes == before.retained_bytes);
        fallow_arena_free(arena, run, DEPOT_RUN_BYTES);
        CHECK(fallow_arena_trim(arena, 0, NULL) == FALLOW_OK);
        CHECK(stats_now().cached_bytes == 0);
    }
    meet(2);
    pass_runs(index);
}

static void what_one_drops_another_finds(void **state)
{
    (void)state;
    begin(1, 4 * MIB);
    threads_run(2, drop_and_find, NULL);
    end();
}

/* There is no other to find it: a thread alone drops what it may not keep. */
static void a_thread_alone_has_no_depot(void **state)
{
    (void)state;
    begin(1, 4 * MIB);
    fill(field.arenas[0], 64, 4 * DEPOT_RUN_BYTES);
    assert_true(stats_now().cached_bytes <= 4 * MIB);
    fallow_arena_flush_thread(field.arenas[0]);
    assert_int_equal(stats_now().cached_bytes, 0);
    end();
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_wander_while_others_look),
        cmocka_unit_test(counted_while_they_pass),
        cmocka_unit_test(threads_end_with_full_caches),
        cmocka_unit_test(many_threads),
        cmocka_unit_test(arenas_come_and_go),
        cmocka_unit_test(producer_and_consumer),
        cmocka_unit_test(what_one_drops_another_finds),
        cmocka_unit_test(a_thread_alone_has_no_depot),
    };
    return cmocka_run_group_tests_name("stress_cache", tests, NULL, NULL);
}
