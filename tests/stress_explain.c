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

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {cmocka_unit_test(lookers_and_livers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
