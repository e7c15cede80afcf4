/* Threads on one arena: each takes runs, writes its stamp into them, and puts them on a board, from which any thread
 * takes one, looks whether the stamp is whole, and frees it. Others trim, look and count meanwhile. A run that two
 * threads have at once shows as a torn stamp, and as a race under tsan. */
#include "test.h"

#include <stdatomic.h>
#include <string.h>

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
    if (fallow_arena_alloc_run(f->arena, pages * f->page, &options, &run) != FALLOW_OK) {
        return NULL;
    }
    uint64_t low;
    memcpy(&low, run.base, sizeof low);
    CHECK(f, !run.is_zero || low == 0);
    write_stamp(f, run.base, pages, test_next(random));
    return run.base;
}

/* Make a run longer or shorter, or two of one; its stamp says how long it is. */
static unsigned char *change(field *f, test_random *random, unsigned char *run)
{
    uint64_t pages = check_stamp(f, run);
    uint64_t value = test_next(random);
    switch (test_below(random, 3)) {
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
        case 1: CHECK(f, fallow_arena_trim(f->arena, test_below(&random, 32) * f->page, NULL) == FALLOW_OK); break;
        default: break;
        }
        atomic_fetch_add(&f->done, 1);
    }
}

static void stress(fallow_arena_options options)
{
    static field f;
    fallow_system system;
    fallow_arena_stats s;
    fallow_system_info(&system);
    memset(&f, 0, sizeof f);
    f.page = system.page_bytes;
    f.rounds = 20000;
    f.seed = test_seed("stress_arena").state;
    options.page_bytes = f.page;
    options.reserve_bytes = 256 * f.page; /* the board full of long runs does not fit: there are refusals, or parts */
    options.grow_bytes = 8 * f.page;
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
    assert_int_equal(fallow_arena_check(f.arena), FALLOW_OK);
    assert_int_equal(atomic_load(&f.failed), 0);
    printf("%llu rounds\n", (unsigned long long)atomic_load(&f.done));
    fallow_arena_destroy(f.arena);
}

static void fixed_arena(void **state)
{
    (void)state;
    stress((fallow_arena_options){.flags = FALLOW_ARENA_FIXED});
}

static void growing_arena(void **state)
{
    (void)state;
    stress((fallow_arena_options){.purge = FALLOW_PURGE_FREE});
}

static void arena_that_decommits(void **state)
{
    (void)state;
    stress((fallow_arena_options){.purge = FALLOW_PURGE_DECOMMIT});
}

static void arena_at_its_limit(void **state)
{
    (void)state;
    fallow_system system;
    fallow_system_info(&system);
    stress((fallow_arena_options){.flags = FALLOW_ARENA_FIXED, .limit_bytes = 160 * system.page_bytes});
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_arena),
        cmocka_unit_test(growing_arena),
        cmocka_unit_test(arena_that_decommits),
        cmocka_unit_test(arena_at_its_limit),
    };
    return cmocka_run_group_tests_name("stress_arena", tests, NULL, NULL);
}
