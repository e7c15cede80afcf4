/* Threads that look at arenas while others create and destroy them; the preset tsan looks for races. */
#include "test.h"

#include <stdatomic.h>
#include <string.h>

#include "arenas.h"
#include "fallow.h"
#include "threads.h"

enum {
    THREADS = 5, /* the first two look, the others live */
    LOOKERS = 2,
    ROUNDS = 150
};

#define MIB ((size_t)1 << 20)

static atomic_uint living = THREADS - LOOKERS;

typedef struct tally {
    size_t bytes;
    bool is_first;
    char first;
} tally;

static bool count_text(void *context, const char *text, size_t bytes)
{
    tally *t = context;
    t->first = t->is_first ? text[0] : t->first;
    t->is_first = false;
    t->bytes += bytes;
    return true;
}

static void look(unsigned index)
{
    while (atomic_load(&living) != 0) {
        tally t = {.is_first = true};
        fallow_stats_format format = index == 0 ? FALLOW_STATS_JSON : FALLOW_STATS_PROMETHEUS;
        assert_int_equal(fallow_stats_write(NULL, format, count_text, &t), FALLOW_OK);
        assert_true(t.first == (index == 0 ? '[' : '#') && t.bytes > 2);
        t = (tally){.is_first = true};
        assert_int_equal(fallow_process_explain(count_text, &t, FALLOW_EXPLAIN_JSON), FALLOW_OK);
        assert_true(t.first == '{' && t.bytes > 100);
    }
}

static void live(void)
{
    const fallow_arena_options options = {.reserve_bytes = MIB, .name = "short-lived"};
    for (int i = 0; i < ROUNDS; i++) {
        fallow_arena *arena;
        void *run;
        assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
        assert_int_equal(fallow_arena_alloc(arena, 64 << 10, &run), FALLOW_OK);
        memset(run, 1, 64 << 10);
        fallow_arena_destroy(arena);
    }
    atomic_fetch_sub(&living, 1);
}

static void body(void *context, unsigned index)
{
    (void)context;
    if (index < LOOKERS) {
        look(index);
    } else {
        live();
    }
}

static void lookers_and_livers(void **state)
{
    (void)state;
    fallow__arena_view view;
    threads_run(THREADS, body, NULL);
    assert_false(fallow__arenas_view(0, NULL, &view));
    assert_int_equal(fallow__arenas_unlisted(), 0);
}

/* Two threads draw an arena that the others work on. */
static void draw(fallow_arena *arena, unsigned index)
{
    const fallow_map_format format = index == 0 ? FALLOW_MAP_ANSI : FALLOW_MAP_HTML;
    while (atomic_load(&living) != 0) {
        tally t = {.is_first = true};
        assert_int_equal(fallow_arena_write_map(arena, format, NULL, count_text, &t), FALLOW_OK);
        assert_true(t.first == (index == 0 ? 'a' : '<') && t.bytes > 500 && t.bytes < 4 * MIB);
    }
}

static void work(fallow_arena *arena, unsigned index)
{
    for (int round = 0; round < ROUNDS; round++) {
        void *runs[40];
        for (unsigned i = 0; i < 40; i++) {
            size_t size_bytes = (1 + (i + index) % 9) * ((size_t)16 << 10);
            assert_int_equal(fallow_arena_alloc(arena, size_bytes, &runs[i]), FALLOW_OK);
            memset(runs[i], 1, 1);
        }
        for (unsigned i = 0; i < 40; i++) {
            fallow_arena_free(arena, runs[i], (1 + (i + index) % 9) * ((size_t)16 << 10));
        }
        if (round % 16 == 0) {
            assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
        }
    }
    atomic_fetch_sub(&living, 1);
}

static void draw_or_work(void *context, unsigned index)
{
    if (index < LOOKERS) {
        draw(context, index);
    } else {
        work(context, index);
    }
}

static void drawers_and_workers(void **state)
{
    (void)state;
    const fallow_arena_options options = {.reserve_bytes = 16 * MIB, .name = "drawn"};
    fallow_arena *arena;
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    atomic_store(&living, THREADS - LOOKERS);
    threads_run(THREADS, draw_or_work, arena);
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_destroy(arena);
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {cmocka_unit_test(lookers_and_livers), cmocka_unit_test(drawers_and_workers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
