/* The replay's own books: against an array, and with overlaps and duplicates that they must notice. */
#include "test.h"

#include "../tools/fallow/live.h"

#include <string.h>

#define MODEL_RUNS 300u
#define MODEL_PAGES 1024u

/* Addresses are numbers here; nothing is read through them. */
static live_run make_run(uint64_t id, size_t first_page, size_t page_count)
{
    return (live_run){.id = id,
                      .base = (unsigned char *)(uintptr_t)(0x10000 + first_page * 4096),
                      .size_bytes = page_count * 4096,
                      .asked_bytes = page_count * 4096 - 1};
}

static live_result add(live_runs *live, uint64_t id, size_t first_page, size_t page_count)
{
    live_run run = make_run(id, first_page, page_count);
    live_run other;
    return live_add(live, &run, &other);
}

static void test_overlap(void **state)
{
    live_runs live = {0};
    live_run other = {0};
    (void)state;
    assert_null(live_find(&live, 1));
    assert_null(live_any(&live));
    assert_int_equal(add(&live, 1, 10, 10), LIVE_OK);
    assert_int_equal(add(&live, 2, 30, 10), LIVE_OK);
    assert_int_equal(add(&live, 1, 50, 1), LIVE_DUPLICATE_ID);
    assert_int_equal(add(&live, 3, 0, 11), LIVE_OVERLAP);  /* its end */
    assert_int_equal(add(&live, 3, 19, 1), LIVE_OVERLAP);  /* the last page */
    assert_int_equal(add(&live, 3, 12, 2), LIVE_OVERLAP);  /* inside */
    assert_int_equal(add(&live, 3, 0, 100), LIVE_OVERLAP); /* around all */
    assert_int_equal(add(&live, 3, 20, 11), LIVE_OVERLAP); /* into the next */
    live_run run = make_run(3, 39, 1);
    assert_int_equal(live_add(&live, &run, &other), LIVE_OVERLAP);
    assert_true(other.id == 2);
    assert_int_equal(add(&live, 3, 20, 10), LIVE_OK); /* exactly between */
    assert_int_equal(add(&live, 4, 0, 10), LIVE_OK);
    live_remove(&live, 1);
    assert_null(live_find(&live, 1));
    assert_int_equal(add(&live, 1, 10, 10), LIVE_OK);
    assert_int_equal(live.live_count, 4);
    live_destroy(&live);
    assert_null(live_find(&live, 2));
}

/* The last byte of the address space is a byte like any other. */
static void test_top_of_addresses(void **state)
{
    live_runs live = {0};
    live_run other;
    live_run top = {.id = 1, .base = (unsigned char *)(UINTPTR_MAX - 4095), .size_bytes = 4096, .asked_bytes = 4096};
    (void)state;
    assert_int_equal(live_add(&live, &top, &other), LIVE_OK);
    top.id = 2;
    assert_int_equal(live_add(&live, &top, &other), LIVE_OVERLAP);
    live_destroy(&live);
}

static void test_against_array(void **state)
{
    test_random random = test_seed("test_against_array");
    live_runs live = {0};
    live_run model[MODEL_RUNS] = {{0}}; /* size 0: not live */
    unsigned char is_taken[MODEL_PAGES] = {0};
    (void)state;
    for (int step = 0; step < 100000; step++) {
        uint64_t number = test_below(&random, MODEL_RUNS);
        uint64_t id = number * 0x100000001u;
        size_t first = (size_t)test_below(&random, MODEL_PAGES - 8);
        size_t count = 1 + (size_t)test_below(&random, 8);
        live_run *known = &model[number];
        assert_true((live_find(&live, id) != NULL) == (known->size_bytes != 0));
        if (known->size_bytes != 0 && test_below(&random, 2) == 0) {
            size_t known_first = ((uintptr_t)known->base - 0x10000) / 4096;
            memset(is_taken + known_first, 0, known->size_bytes / 4096);
            live_remove(&live, id);
            known->size_bytes = 0;
            continue;
        }
        live_result expected = known->size_bytes != 0                       ? LIVE_DUPLICATE_ID
                               : memchr(is_taken + first, 1, count) != NULL ? LIVE_OVERLAP
                                                                            : LIVE_OK;
        assert_int_equal(add(&live, id, first, count), expected);
        if (expected == LIVE_OK) {
            *known = make_run(id, first, count);
            memset(is_taken + first, 1, count);
        }
    }
    for (unsigned number = 0; number < MODEL_RUNS; number++) {
        const live_run *found = live_find(&live, number * UINT64_C(0x100000001));
        assert_true((found != NULL) == (model[number].size_bytes != 0));
        assert_true(found == NULL ||
                    (found->base == model[number].base && found->asked_bytes == model[number].asked_bytes));
    }
    live_destroy(&live);
}

/* A hundred thousand runs in rising order: no stack, no time is lost on it. */
static void test_many(void **state)
{
    enum {
        COUNT = 100000
    };
    live_runs live = {0};
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(add(&live, i, i, 1), LIVE_OK);
    }
    assert_int_equal(add(&live, COUNT, COUNT / 2, 1), LIVE_OVERLAP);
    for (size_t i = 0; i < COUNT; i++) {
        assert_non_null(live_any(&live));
        live_remove(&live, (i * 7919) % COUNT);
    }
    assert_null(live_any(&live));
    assert_int_equal(live.live_count, 0);
    live_destroy(&live);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_top_of_addresses),
        cmocka_unit_test(test_against_array),
        cmocka_unit_test(test_many),
    };
    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
