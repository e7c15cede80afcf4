/* Threads on one arena: each takes runs, writes its stamp into them, and puts them on a board, from which any thread
 * takes one, looks whether the stamp is whole, and frees it. Others trim, look and count meanwhile. A run that two
 * threads have at once shows as a torn stamp, and as a race under tsan. And one thread whose commit takes long, while
 * another goes on. */
#include "test.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "fallow.h"
#include "threads.h"

enum {
    BOARD_SLOTS = 64,
    THREADS = 6,
    RUN_PAGES_MAX = 8
};

/* Written by the thread that takes the run, at its start and at its end. */
typedef struct stamp {
    uint64_t value;
    uint64_t pages;
} stamp;

typedef struct field {
    fallow_arena *arena;
    size_t page;
    uint64_t seed;
    unsigned rounds;
    _Atomic(unsigned char *) board[BOARD_SLOTS];
    atomic_uint failed; /* line of the first check that failed */
    atomic_ullong done;
    size_t limit_bytes;
    atomic_llong granted_bytes; /* and not taken back; bookkeeping included */
} field;

#define CHECK(f, condition)                                                 \
    do {                                                                    \
        if (!(condition)) {                                                 \
            unsigned none_ = 0;                                             \
            atomic_compare_exchange_strong(&(f)->failed, &none_, __LINE__); \
        }                                                                   \
    } while (0)

static void write_stamp(const field *f, unsigned char *run, uint64_t pages, uint64_t value)
{
    const stamp s = {value, pages};
    for (uint64_t page = 0; page < pages; page++) {
        memcpy(run + page * f->page, &s, sizeof s);
        memcpy(run + (page + 1) * f->page - sizeof s, &s, sizeof s);
    }
}

static uint64_t check_stamp(field *f, const unsigned char *run)
{
    stamp s;
    memcpy(&s, run, sizeof s);
    CHECK(f, s.pages >= 1 && s.pages <= RUN_PAGES_MAX);
    for (uint64_t page = 0; page < s.pages && s.pages <= RUN_PAGES_MAX; page++) {
        CHECK(f, memcmp(run + page * f->page, &s, sizeof s) == 0);
        CHECK(f, memcmp(run + (page + 1) * f->page - sizeof s, &s, sizeof s) == 0);
    }
    return s.pages;
}

static void give(field *f, unsigned char *run)
{
    uint64_t pages = check_stamp(f, run);
    fallow_run found;
    CHECK(f, fallow_arena_owns(f->arena, run + f->page / 2));
    CHECK(f, fallow_arena_run_of(f->arena, run + f->page / 2, &found) == FALLOW_OK && found.base == run &&
                 found.size_bytes == pages * f->page);
    fallow_arena_free(f->arena, run, pages * f->page);
}

static void put_on_board(field *f, test_random *random, unsigned char *run)
{
    unsigned char *old = atomic_exchange(&f->board[test_below(random, BOARD_SLOTS)], run);
    if (old != NULL) {
        give(f, old);
    }
}

static unsigned char *take(field *f, test_random *random)
{
    fallow_run run;
    uint64_t pages = 1 + test_below(random, RUN_PAGES_MAX);
    fallow_run_options options = {0};
    uint64_t dice = test_below(random, 16);
    options.flags = dice == 0   ? FALLOW_RUN_ZEROED
                    : dice == 1 ? FALLOW_RUN_TOP_DOWN
                    : dice == 2 ? FALLOW_RUN_NO_GROW
                                : 0;
    options.align_bytes = dice == 3 ? 4 * f->page : 0;
    if (dice == 4) {
        options.flags = FALLOW_RUN_UNCOMMITTED;
    }
    if (fallow_arena_alloc_run(f->arena, pages * f->page, &options, &run) != FALLOW_OK) {
        return NULL;
    }
    if (dice == 4) {
        run.is_zero = true;
        if (fallow_arena_commit(f->arena, run.base, run.size_bytes) != FALLOW_OK) {
            fallow_arena_free(f->arena, run.base, run.size_bytes);
            return NULL;
        }
    }
    uint64_t low;
    memcpy(&low, run.base, sizeof low);
    CHECK(f, !run.is_zero || low == 0);
    write_stamp(f, run.base, pages, test_next(random));
    return run.base;
}

/* Make a run longer or shorter, or two of one, or take its memory away and give it new; its stamp says how long it is.
 * NULL: it could not be kept. */
static unsigned char *change(field *f, test_random *random, unsigned char *run)
{
    uint64_t pages = check_stamp(f, run);
    uint64_t value = test_next(random);
    switch (test_below(random, 4)) {
    case 3:
        if (fallow_arena_decommit(f->arena, run, pages * f->page) == FALLOW_OK) {
            if (fallow_arena_commit(f->arena, run, pages * f->page) != FALLOW_OK) {
                fallow_arena_free(f->arena, run, pages * f->page);
                return NULL;
            }
            for (uint64_t byte = 0; byte < pages * f->page; byte += f->page / 2) {
                CHECK(f, run[byte] == 0);
            }
            write_stamp(f, run, pages, value);
        }
        break;
    case 0:
        if (pages < RUN_PAGES_MAX &&
            fallow_arena_extend(f->arena, run, pages * f->page, (pages + 1) * f->page) == FALLOW_OK) {
            write_stamp(f, run, pages + 1, value);
        }
        break;
    case 1:
        if (pages > 1) {
            fallow_arena_shrink(f->arena, run, pages * f->page, (pages - 1) * f->page);
            write_stamp(f, run, pages - 1, value);
        }
        break;
    default:
        if (pages > 1) {
            fallow_arena_split(f->arena, run, pages * f->page, f->page);
            write_stamp(f, run, 1, value);
            write_stamp(f, run + f->page, pages - 1, value + 1);
            put_on_board(f, random, run + f->page);
        }
        break;
    }
    return run;
}

static void look_around(field *f)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(f->arena, &s);
    CHECK(f, s.backed_bytes ==
                 s.in_use_bytes + s.cached_bytes + s.retained_bytes + s.released_lazy_bytes + s.metadata_bytes);
    CHECK(f, s.committed_bytes == s.backed_bytes + s.released_zero_bytes);
    CHECK(f, f->limit_bytes == 0 || s.backed_bytes <= f->limit_bytes);
    CHECK(f, s.extent_bytes <= s.usable_bytes && s.in_use_bytes + s.uncommitted_bytes <= s.extent_bytes);
    CHECK(f, fallow_arena_check(f->arena) == FALLOW_OK);
}

static void churn(void *context, unsigned index)
{
    field *f = context;
    test_random random = {f->seed + index};
    for (unsigned round = 0; round < f->rounds && atomic_load(&f->failed) == 0; round++) {
        unsigned char *run = take(f, &random);
        if (run != NULL && test_below(&random, 4) == 0) {
            run = change(f, &random, run);
        }
        if (run != NULL || test_below(&random, 2) == 0) {
            put_on_board(f, &random, run);
        }
        switch (test_below(&random, 512)) {
        case 0: look_around(f); break;
        case 2: CHECK(f, fallow_arena_scavenge(f->arena, 0, NULL) == FALLOW_OK); break;
        case 1: CHECK(f, fallow_arena_trim(f->arena, test_below(&random, 32) * f->page, NULL) == FALLOW_OK); break;
        default: break;
        }
        atomic_fetch_add(&f->done, 1);
    }
}

/* The callbacks count, and look: they may. */
static bool count_grant(void *context, void *base, size_t size_bytes)
{
    field *f = context;
    (void)base;
    atomic_fetch_add(&f->granted_bytes, (long long)size_bytes);
    if (f->arena != NULL) {
        fallow_run run;
        fallow_arena_stats s;
        fallow_arena_read_stats(f->arena, &s);
        (void)!fallow_arena_run_of(f->arena, base, &run);
    }
    return true;
}

static void count_return(void *context, void *base, size_t size_bytes)
{
    field *f = context;
    (void)base;
    atomic_fetch_sub(&f->granted_bytes, (long long)size_bytes);
}

static void stress(fallow_arena_options options)
{
    static field f;
    fallow_system system;
    fallow_arena_stats s;
    fallow_system_info(&system);
    memset(&f, 0, sizeof f);
    f.page = system.page_bytes;
    f.rounds = options.limit_bytes == 0 ? 10000 : 2500; /* at the limit each of them gives memory back */
    f.seed = test_seed("stress_arena").state;
    options.page_bytes = f.page;
    options.reserve_bytes = 256 * f.page; /* the board full of long runs does not fit: there are refusals, or parts */
    options.grow_bytes = 8 * f.page;
    options.before_commit = count_grant;
    options.after_decommit = count_return;
    options.callback_context = &f;
    f.limit_bytes = options.limit_bytes;
    assert_int_equal(fallow_arena_create(&options, &f.arena), FALLOW_OK);
    threads_run(THREADS, churn, &f);
    assert_int_equal(atomic_load(&f.failed), 0); /* else: the line */
    for (unsigned slot = 0; slot < BOARD_SLOTS; slot++) {
        unsigned char *run = atomic_load(&f.board[slot]);
        if (run != NULL) {
            give(&f, run);
        }
    }
    fallow_arena_read_stats(f.arena, &s);
    assert_int_equal(s.run_count, 0);
    assert_int_equal(s.in_use_bytes, 0);
    assert_int_equal(fallow_arena_trim(f.arena, 0, NULL), FALLOW_OK); /* and the thread has nothing to do any more */
    fallow_arena_read_stats(f.arena, &s);
    assert_int_equal(fallow_arena_check(f.arena), FALLOW_OK);
    assert_int_equal(atomic_load(&f.failed), 0);
    assert_int_equal(atomic_load(&f.granted_bytes), s.committed_bytes);
    printf("%llu rounds\n", (unsigned long long)atomic_load(&f.done));
    fallow_arena_destroy(f.arena);
    assert_int_equal(atomic_load(&f.granted_bytes), 0);
}

static void fixed_arena(void **state)
{
    (void)state;
    stress((fallow_arena_options){.flags = FALLOW_ARENA_FIXED});
}

static void growing_arena(void **state)
{
    (void)state;
    stress((fallow_arena_options){.purge = FALLOW_PURGE_FREE, .scavenge = FALLOW_SCAVENGE_ASSIST, .purge_delay_ms = 1});
}

static void arena_that_decommits(void **state)
{
    (void)state;
    stress((fallow_arena_options){
        .purge = FALLOW_PURGE_DECOMMIT, .scavenge = FALLOW_SCAVENGE_THREAD, .purge_delay_ms = 1});
}

static void arena_at_its_limit(void **state)
{
    (void)state;
    fallow_system system;
    fallow_system_info(&system);
    stress((fallow_arena_options){.flags = FALLOW_ARENA_FIXED, .limit_bytes = 160 * system.page_bytes});
}

/* Parts come and go, everything is given back all the time, and nothing goes above the limit. */
static void growing_arena_at_its_limit(void **state)
{
    (void)state;
    fallow_system system;
    fallow_system_info(&system);
    stress((fallow_arena_options){.purge = FALLOW_PURGE_DECOMMIT,
                                  .limit_bytes = 200 * system.page_bytes,
                                  .scavenge = FALLOW_SCAVENGE_THREAD,
                                  .purge_delay_ms = 1});
}

/* --- a commit that takes long ------------------------------------------------------------------------------- */

typedef struct slow_commit {
    fallow_arena *arena;
    size_t page;
    atomic_bool is_slow;   /* the next grant takes long */
    atomic_bool is_inside; /* it is being waited for */
    atomic_bool is_done;   /* the other thread is through */
    bool was_in_time;
    unsigned char *live; /* a run of a page */
    unsigned pairs;      /* allocated and freed meanwhile */
} slow_commit;

enum {
    PATIENCE_SECONDS = 60, /* whoever waits longer is locked out */
    SLOW_PAIRS = 1000
};

static bool grant_slowly(void *context, void *base, size_t size_bytes)
{
    slow_commit *s = context;
    (void)base;
    (void)size_bytes;
    if (atomic_load(&s->is_slow)) {
        time_t start = time(NULL);
        atomic_store(&s->is_slow, false);
        atomic_store(&s->is_inside, true);
        while (!atomic_load(&s->is_done) && time(NULL) - start < PATIENCE_SECONDS) {
        }
        s->was_in_time = atomic_load(&s->is_done);
    }
    return true;
}

/* Thread 0 needs new memory; thread 1 has what it needs. */
static void grow_or_go_on(void *context, unsigned index)
{
    slow_commit *s = context;
    void *base;
    if (index == 0) {
        atomic_store(&s->is_slow, true);
        if (fallow_arena_alloc(s->arena, 100 * s->page, &base) != FALLOW_OK) {
            s->was_in_time = false;
        }
        return;
    }
    while (!atomic_load(&s->is_inside)) {
    }
    fallow_arena_stats stats;
    fallow_run run;
    for (; s->pairs < SLOW_PAIRS; s->pairs++) {
        fallow_run_options aligned = {.align_bytes = 2 * s->page};
        if (fallow_arena_alloc(s->arena, s->page, &base) != FALLOW_OK ||
            fallow_arena_alloc_run(s->arena, s->page, &aligned, &run) != FALLOW_OK ||
            fallow_arena_extend(s->arena, run.base, s->page, 2 * s->page) != FALLOW_OK) {
            break;
        }
        memset(base, 1, s->page);
        fallow_arena_shrink(s->arena, run.base, 2 * s->page, s->page);
        fallow_arena_free(s->arena, run.base, s->page);
        fallow_arena_free(s->arena, base, s->page);
        fallow_arena_read_stats(s->arena, &stats);
        if (fallow_arena_run_of(s->arena, s->live, &run) != FALLOW_OK || fallow_arena_check(s->arena) != FALLOW_OK ||
            fallow_arena_commit(s->arena, s->live, s->page) != FALLOW_OK) {
            break;
        }
    }
    atomic_store(&s->is_done, true);
}

static void a_slow_commit_stops_nobody_else(void **state)
{
    (void)state;
    static slow_commit s;
    fallow_system system;
    fallow_system_info(&system);
    memset(&s, 0, sizeof s);
    s.page = system.page_bytes;
    fallow_arena_options options = {
        .page_bytes = s.page,
        .reserve_bytes = 256 * s.page,
        .grow_bytes = 16 * s.page,
        .before_commit = grant_slowly,
        .callback_context = &s,
        .flags = FALLOW_ARENA_FIXED,
    };
    void *base;
    assert_int_equal(fallow_arena_create(&options, &s.arena), FALLOW_OK);
    assert_int_equal(fallow_arena_alloc(s.arena, s.page, &base), FALLOW_OK);
    s.live = base;
    threads_run(2, grow_or_go_on, &s);
    assert_true(s.was_in_time);
    assert_int_equal(s.pairs, SLOW_PAIRS);
    assert_int_equal(fallow_arena_check(s.arena), FALLOW_OK);
    fallow_arena_destroy(s.arena);
}

/* --- what is out is waited for ------------------------------------------------------------------------------ */

typedef struct whole_arena {
    fallow_arena *arena;
    size_t usable_bytes;
    atomic_bool is_done;
    unsigned refused;
} whole_arena;

enum {
    WHOLE_ROUNDS = 300
};

/* Thread 0 takes all there is, again and again; the others give it back to the system meanwhile. */
static void take_all_or_trim(void *context, unsigned index)
{
    whole_arena *w = context;
    if (index != 0) {
        while (!atomic_load(&w->is_done)) {
            if (fallow_arena_trim(w->arena, 0, NULL) != FALLOW_OK) {
                return;
            }
        }
        return;
    }
    for (int round = 0; round < WHOLE_ROUNDS; round++) {
        void *base;
        if (fallow_arena_alloc(w->arena, w->usable_bytes, &base) != FALLOW_OK) {
            w->refused++;
            continue;
        }
        fallow_arena_free(w->arena, base, w->usable_bytes);
    }
    atomic_store(&w->is_done, true);
}

static void nothing_is_refused_for_what_is_out(void **state)
{
    (void)state;
    fallow_system system;
    fallow_system_info(&system);
    for (int way = 0; way < 4; way++) {
        static whole_arena w;
        memset(&w, 0, sizeof w);
        fallow_arena_options options = {
            .page_bytes = system.page_bytes,
            .reserve_bytes = 64 * system.page_bytes,
            .purge = way % 2 == 0 ? FALLOW_PURGE_DONTNEED : FALLOW_PURGE_DECOMMIT,
            .limit_bytes = way < 2 ? 0 : 1, /* 1: as much as there is */
            .flags = FALLOW_ARENA_FIXED,
        };
        fallow_arena_stats s;
        if (options.limit_bytes != 0) {
            options.limit_bytes = 0;
            assert_int_equal(fallow_arena_create(&options, &w.arena), FALLOW_OK);
            fallow_arena_read_stats(w.arena, &s);
            fallow_arena_destroy(w.arena);
            options.limit_bytes = s.metadata_bytes + s.usable_bytes;
        }
        assert_int_equal(fallow_arena_create(&options, &w.arena), FALLOW_OK);
        fallow_arena_read_stats(w.arena, &s);
        w.usable_bytes = s.usable_bytes;
        threads_run(3, take_all_or_trim, &w);
        assert_int_equal(w.refused, 0);
        fallow_arena_destroy(w.arena);
    }
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_arena),
        cmocka_unit_test(growing_arena),
        cmocka_unit_test(arena_that_decommits),
        cmocka_unit_test(arena_at_its_limit),
        cmocka_unit_test(growing_arena_at_its_limit),
        cmocka_unit_test(a_slow_commit_stops_nobody_else),
        cmocka_unit_test(nothing_is_refused_for_what_is_out),
    };
    return cmocka_run_group_tests_name("stress_arena", tests, NULL, NULL);
}
