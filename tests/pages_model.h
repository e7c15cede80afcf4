/* The page allocator's twin: a byte for each page, and every operation done on both. For tests that try it with
 * operations of their own choice: model_pages.c, fuzz/pages.c. What differs is printed, and fails the test. */
#ifndef FALLOW_TEST_PAGES_MODEL_H
#define FALLOW_TEST_PAGES_MODEL_H

#include "pages_store.h"

#include <string.h>

/* --- the model --------------------------------------------------------------------------------------------- */

typedef struct test_model {
    test_store *store;
    uint64_t page_count;
    unsigned char *state;
    unsigned char *used; /* 0 or 1, the same as state >= 4: for memchr */
    uint64_t counts[8];
    uint64_t full_below; /* no page below it is ever free: spares looking */
} test_model;

static inline void model_set(test_model *model, uint64_t page, fallow__page_state state)
{
    model->counts[model->state[page]]--;
    model->counts[state]++;
    model->state[page] = (unsigned char)state;
    model->used[page] = state >= FALLOW__REST_NONE;
}

static inline void model_init(test_model *model, uint64_t page_count, size_t os_page_bytes)
{
    *model = (test_model){.page_count = page_count};
    model->store = store_create(page_count, os_page_bytes);
    model->state = calloc((size_t)page_count, 1);
    model->used = calloc((size_t)page_count, 1);
    assert_non_null(model->state);
    assert_non_null(model->used);
    model->counts[FALLOW__FREE_NONE] = page_count;
}

static inline void model_done(test_model *model)
{
    store_destroy(model->store);
    free(model->state);
    free(model->used);
}

/* The first page from `from` on whose used mark is `used`; page_count if there is none. */
static inline uint64_t model_seek(const test_model *model, uint64_t from, int used)
{
    if (used == 0 && from < model->full_below) {
        from = model->full_below;
    }
    if (from >= model->page_count) {
        return model->page_count;
    }
    const unsigned char *hit = memchr(model->used + from, used, (size_t)(model->page_count - from));
    return hit != NULL ? (uint64_t)(hit - model->used) : model->page_count;
}

static inline bool model_find(const test_model *model, const fallow__pages_request *request, uint64_t *first_out)
{
    uint64_t mask = request->align > 1 ? request->align - 1 : 0;
    bool is_found = false;
    if (request->count > model->page_count) {
        return false;
    }
    for (uint64_t first = model_seek(model, request->from, 0), end; first < model->page_count;
         first = model_seek(model, end, 0)) {
        end = model_seek(model, first, 1);
        if (end - first < request->count) {
            continue;
        }
        if (request->is_top_down) {
            uint64_t page = end - request->count;
            uint64_t back = (page + request->phase) & mask;
            if (page - first >= back) {
                *first_out = page - back;
                is_found = true;
            }
        } else {
            uint64_t ahead = (0 - (first + request->phase)) & mask;
            if (ahead <= end - first && end - first - ahead >= request->count) {
                *first_out = first + ahead;
                return true;
            }
        }
    }
    return is_found;
}

static inline bool is_start(const test_model *model, uint64_t page)
{
    return model->state[page] >= FALLOW__START_NONE;
}

static inline uint64_t model_run_end(const test_model *model, uint64_t first)
{
    uint64_t end = first + 1;
    while (end < model->page_count && model->used[end] && !is_start(model, end)) {
        end++;
    }
    return end;
}

static inline uint64_t model_run_start(const test_model *model, uint64_t page)
{
    while (!is_start(model, page)) {
        page--;
    }
    return page;
}

static inline bool model_last_range(const test_model *model, uint64_t below, unsigned states, uint64_t *first_out,
                                    uint64_t *count_out)
{
    uint64_t end = below;
    while (end > 0 && (states >> model->state[end - 1] & 1) == 0) {
        end--;
    }
    uint64_t first = end;
    while (first > 0 && (states >> model->state[first - 1] & 1) != 0) {
        first--;
    }
    *first_out = first;
    *count_out = end - first;
    return end > 0;
}

/* --- operations on both ------------------------------------------------------------------------------------ */

static inline void take(test_model *model, uint64_t first, uint64_t count, bool is_committed)
{
    store_open(model->store, first, count);
    fallow__pages_take(&model->store->pages, first, count, is_committed);
    for (uint64_t page = first; page < first + count; page++) {
        model_set(model, page, is_committed ? FALLOW__REST : FALLOW__REST_NONE);
    }
    model_set(model, first, is_committed ? FALLOW__START : FALLOW__START_NONE);
}

static inline void append_pages(test_model *model, uint64_t first, uint64_t count, bool is_committed)
{
    store_open(model->store, first, count);
    fallow__pages_append(&model->store->pages, first, count, is_committed);
    for (uint64_t page = first; page < first + count; page++) {
        model_set(model, page, is_committed ? FALLOW__REST : FALLOW__REST_NONE);
    }
}

static inline void free_pages(test_model *model, uint64_t first, uint64_t count)
{
    fallow__pages_free(&model->store->pages, first, count);
    for (uint64_t page = first; page < first + count; page++) {
        bool is_committed = (FALLOW__STATES_IN_USE >> model->state[page] & 1) != 0;
        model_set(model, page, is_committed ? FALLOW__FREE_DIRTY : FALLOW__FREE_NONE);
    }
}

static inline void split(test_model *model, uint64_t page)
{
    fallow__pages_split(&model->store->pages, page);
    model_set(model, page, model->state[page] == FALLOW__REST ? FALLOW__START : FALLOW__START_NONE);
}

static inline void set_free(test_model *model, uint64_t first, uint64_t count, fallow__page_state state)
{
    store_open(model->store, first, count);
    fallow__pages_set_free(&model->store->pages, first, count, state);
    for (uint64_t page = first; page < first + count; page++) {
        model_set(model, page, state);
    }
}

static inline void set_committed(test_model *model, uint64_t first, uint64_t count, bool is_committed)
{
    fallow__pages_set_committed(&model->store->pages, first, count, is_committed);
    for (uint64_t page = first; page < first + count; page++) {
        if (is_start(model, page)) {
            model_set(model, page, is_committed ? FALLOW__START : FALLOW__START_NONE);
        } else {
            model_set(model, page, is_committed ? FALLOW__REST : FALLOW__REST_NONE);
        }
    }
}

/* The short ways do as the long ways where they do anything at all. */
static inline void take_short(test_model *model, uint64_t count)
{
    uint64_t first = UINT64_MAX;
    uint64_t expected = UINT64_MAX;
    bool is_zero = false;
    fallow__pages_request request = {.count = count};
    bool is_expected = model_find(model, &request, &expected);
    if (!fallow__pages_take_short(&model->store->pages, count, &first, &is_zero)) {
        return;
    }
    assert_true(is_expected);
    assert_int_equal(first, expected);
    bool is_known_zero = true;
    for (uint64_t page = first; page < first + count; page++) {
        assert_true(model->state[page] != FALLOW__FREE_NONE);
        is_known_zero = is_known_zero && model->state[page] == FALLOW__FREE_ZERO;
        model_set(model, page, page == first ? FALLOW__START : FALLOW__REST);
    }
    assert_int_equal(is_zero, is_known_zero);
}

static inline void free_short(test_model *model, uint64_t first, uint64_t count)
{
    if (!fallow__pages_free_short(&model->store->pages, first, count)) {
        return;
    }
    assert_true(is_start(model, first));
    assert_int_equal(model_run_end(model, first), first + count);
    for (uint64_t page = first; page < first + count; page++) {
        assert_true(model->state[page] == FALLOW__START || model->state[page] == FALLOW__REST);
        model_set(model, page, FALLOW__FREE_DIRTY);
    }
}

/* --- comparing --------------------------------------------------------------------------------------------- */

static inline bool same_find(test_model *model, const fallow__pages_request *request)
{
    uint64_t first = UINT64_MAX;
    uint64_t expected = UINT64_MAX;
    bool is_found = fallow__pages_find(&model->store->pages, request, &first);
    if (is_found == model_find(model, request, &expected) && (!is_found || first == expected)) {
        return true;
    }
    print_error("find in %llu pages: count %llu align %llu phase %llu from %llu%s: %s %lld, the model says %lld\n",
                (unsigned long long)model->page_count, (unsigned long long)request->count,
                (unsigned long long)request->align, (unsigned long long)request->phase,
                (unsigned long long)request->from, request->is_top_down ? " top-down" : "",
                is_found ? "found" : "not found", (long long)first, (long long)expected);
    return false;
}

/* The state of every page, as fallow__pages_piece tells it; pages of blocks never opened are FREE_NONE. */
static inline bool same_states(test_model *model)
{
    test_store *store = model->store;
    for (uint64_t page = 0, end; page < model->page_count; page = end) {
        uint64_t block = page / FALLOW__BLOCK_PAGES;
        fallow__page_state state = FALLOW__FREE_NONE;
        end = (block + 1) * FALLOW__BLOCK_PAGES;
        end = end < model->page_count ? end : model->page_count;
        if (store->is_open[block]) {
            uint64_t limit = end;
            state = fallow__pages_piece(&store->pages, page, limit, &end);
            if (end <= page || end > limit) {
                print_error("piece from %llu to %llu, limit %llu\n", (unsigned long long)page, (unsigned long long)end,
                            (unsigned long long)limit);
                return false;
            }
        }
        if (!store_is_filled(model->state + page, (size_t)(end - page), (unsigned char)state)) {
            print_error("pages %llu to %llu of %llu are not all in state %d\n", (unsigned long long)page,
                        (unsigned long long)end, (unsigned long long)model->page_count, (int)state);
            return false;
        }
    }
    return true;
}

static inline bool same_counts(const test_model *model)
{
    for (int state = 0; state < 8; state++) {
        if (model->store->pages.state_pages[state] != model->counts[state]) {
            print_error("%llu pages are counted in state %d, the model has %llu\n",
                        (unsigned long long)model->store->pages.state_pages[state], state,
                        (unsigned long long)model->counts[state]);
            return false;
        }
    }
    return true;
}

static inline bool same_all(test_model *model)
{
    if (!fallow__pages_verify(&model->store->pages)) {
        print_error("fallow__pages_verify says no\n");
        return false;
    }
    return same_states(model) && same_counts(model);
}

static inline bool same_last_range(test_model *model, uint64_t below, unsigned states, uint64_t *first_out)
{
    uint64_t first = 0;
    uint64_t count = 0;
    uint64_t expected_first;
    uint64_t expected_count;
    bool is_found = fallow__pages_last_range(&model->store->pages, below, states, &first, &count);
    bool is_expected = model_last_range(model, below, states, &expected_first, &expected_count);
    *first_out = expected_first;
    if (is_found == is_expected && (!is_found || (first == expected_first && count == expected_count))) {
        return true;
    }
    print_error("last range of states %#x below %llu: %llu and %llu pages, the model has %llu and %llu\n", states,
                (unsigned long long)below, (unsigned long long)first, (unsigned long long)count,
                (unsigned long long)expected_first, (unsigned long long)expected_count);
    return false;
}

#endif
