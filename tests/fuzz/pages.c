/* Fuzz target: the page allocator (src/pages.c) against a byte for each page (pages_model.h).
 *
 * The input is a size and a list of operations. The counts of all states are compared after each operation, everything
 * else after every few. */
#include "fuzz.h"

#include "bits.h"
#include "pages_model.h"

enum {
    OPERATIONS_MAX = 400,
    PAGES_MOST = 3 * 512 * 512 + 17
};

static const uint32_t awkward_counts[] = {
    1,    2,     63,    64,    65,    127,   511,           512,       513,           1023,      1024,
    4095, 4096,  4097,  5000,  8191,  8193,  512 * 64,      512 * 65,  512 * 512 - 1, 512 * 512, 512 * 512 + 1,
    7777, 20000, 30007, 32767, 32768, 32769, 2 * 512 * 512, PAGES_MOST};

/* 1 to most: small ones and those near a power of two take one byte. */
static uint64_t count_of(fuzz_input *input, uint64_t most)
{
    uint8_t byte = fuzz_byte(input);
    uint64_t count;
    if (byte < 128) {
        count = 1 + byte;
    } else if (byte < 224) {
        count = ((uint64_t)1 << (byte - 128) / 3) + byte % 3 - 1;
    } else {
        count = 1 + fuzz_bytes(input, 2);
    }
    return count < 1 ? 1 : count < most ? count : most;
}

static fallow__pages_request request_of(fuzz_input *input, const test_model *model)
{
    uint8_t kind = fuzz_byte(input);
    fallow__pages_request request = {.count = count_of(input, model->page_count + 2)};
    if ((kind & 1) != 0) {
        request.align = (uint64_t)1 << (kind >> 4 & 15);
        request.phase = (kind & 2) != 0 ? fuzz_below(input, 2 * request.align) : 0;
    }
    if ((kind & 4) != 0) {
        request.is_top_down = true;
    } else if ((kind & 8) != 0) {
        request.from = fuzz_below(input, model->page_count + 2);
    }
    return request;
}

/* A page that is in use, or free, near one that the input names; page_count if there is none. */
static uint64_t page_of(fuzz_input *input, const test_model *model, int used)
{
    uint64_t page = model_seek(model, fuzz_below(input, model->page_count), used);
    return page < model->page_count ? page : model_seek(model, 0, used);
}

static void find_and_take(fuzz_input *input, test_model *model)
{
    fallow__pages_request request = request_of(input, model);
    uint64_t first;
    bool is_committed = fuzz_byte(input) % 4 != 0;
    assert_true(same_find(model, &request));
    if (model_find(model, &request, &first)) {
        take(model, first, request.count, is_committed);
    }
}

static void take_at(fuzz_input *input, test_model *model)
{
    uint64_t first = page_of(input, model, 0);
    if (first < model->page_count) {
        uint64_t room = model_seek(model, first, 1) - first;
        uint64_t count = count_of(input, room);
        take(model, first, count, fuzz_byte(input) % 4 != 0);
    }
}

/* A whole run, or the end of one. */
static void free_some(fuzz_input *input, test_model *model, bool is_whole)
{
    uint64_t page = page_of(input, model, 1);
    if (page < model->page_count) {
        uint64_t first = model_run_start(model, page);
        uint64_t end = model_run_end(model, first);
        if (!is_whole && end - first > 1) {
            first = end - count_of(input, end - first - 1);
        }
        free_pages(model, first, end - first);
    }
}

static void append_some(fuzz_input *input, test_model *model)
{
    uint64_t page = page_of(input, model, 1);
    if (page < model->page_count) {
        uint64_t end = model_run_end(model, model_run_start(model, page));
        uint64_t room = model_seek(model, end, 1) - end;
        if (room > 0) {
            uint64_t count = count_of(input, room);
            append_pages(model, end, count, fuzz_byte(input) % 2 == 0);
        }
    }
}

static void split_one(fuzz_input *input, test_model *model)
{
    uint64_t page = page_of(input, model, 1);
    if (page < model->page_count && !is_start(model, page)) {
        split(model, page);
    }
}

static void change_free(fuzz_input *input, test_model *model)
{
    uint64_t first = page_of(input, model, 0);
    if (first < model->page_count) {
        uint64_t room = model_seek(model, first, 1) - first;
        uint64_t count = count_of(input, room);
        set_free(model, first, count, (fallow__page_state)(fuzz_byte(input) % 4));
    }
}

static void change_committed(fuzz_input *input, test_model *model)
{
    uint64_t page = page_of(input, model, 1);
    if (page < model->page_count) {
        uint64_t end = model_run_end(model, page);
        uint64_t count = count_of(input, end - page);
        set_committed(model, page, count, fuzz_byte(input) % 2 == 0);
    }
}

/* After a single page was taken: more of the same 64, which are the next free ones up to the first that is not
 * accessible. */
static void take_next(test_model *model, uint64_t page, unsigned most)
{
    uint64_t zero = 0;
    uint64_t base = page / 64 * 64;
    unsigned count = 0;
    uint64_t taken = fallow__pages_take_next(&model->store->pages, page, most, &zero);
    for (uint64_t next = page + 1; next < base + 64; next++) {
        uint64_t bit = (uint64_t)1 << (next - base);
        bool is_next = next < model->page_count && !model->used[next] && count < most;
        if (is_next && (model->state[next] == FALLOW__FREE_NONE || model->state[next] == FALLOW__FREE_LAZY)) {
            most = count; /* here it ends */
            is_next = false;
        }
        assert_int_equal((taken & bit) != 0, is_next);
        if (is_next) {
            assert_int_equal((zero & bit) != 0, model->state[next] == FALLOW__FREE_ZERO);
            model_set(model, next, FALLOW__START);
            count++;
        }
    }
    assert_int_equal(taken & (((uint64_t)2 << (page - base)) - 1), 0);
    assert_int_equal(zero & ~taken, 0);
}

static void take_short_ones(fuzz_input *input, test_model *model)
{
    unsigned times = 1 + fuzz_byte(input) % 64;
    uint64_t count = count_of(input, 80);
    unsigned most = fuzz_byte(input) % 64;
    for (unsigned i = 0; i < times; i++) {
        uint64_t runs = model->counts[FALLOW__START];
        fallow__pages_request request = {.count = count};
        uint64_t first;
        bool is_there = model_find(model, &request, &first);
        take_short(model, count);
        if (count == 1 && most > 0 && is_there && model->counts[FALLOW__START] > runs) {
            take_next(model, first, most);
        }
    }
}

/* A run's base and size, or nearly. */
static void free_short_one(fuzz_input *input, test_model *model)
{
    uint64_t page = page_of(input, model, 1);
    uint8_t kind = fuzz_byte(input);
    if (page < model->page_count) {
        uint64_t first = model_run_start(model, page);
        uint64_t count = model_run_end(model, first) - first;
        first += kind % 8 == 1;
        count = count + (kind % 8 == 2) - (kind % 8 == 3);
        if (count > 0 && count <= model->page_count - first) {
            bool is_run = fallow__pages_is_short_run(&model->store->pages, first, count);
            bool is_committed = is_start(model, first) && model_run_end(model, first) == first + count;
            for (uint64_t i = first; i < first + count && is_committed; i++) {
                is_committed = (FALLOW__STATES_IN_USE >> model->state[i] & 1) != 0;
            }
            assert_true(!is_run || is_committed);
            free_short(model, first, count);
        }
    }
}

/* Committed runs of a single page among 64, those that a mask picks. */
static void free_each(fuzz_input *input, test_model *model)
{
    uint64_t first = page_of(input, model, 1) / 64 * 64;
    uint64_t mask = fuzz_byte(input) * UINT64_C(0x0101010101010101);
    uint64_t runs = 0;
    for (uint64_t page = first; page < first + 64 && page < model->page_count; page++) {
        bool is_single = model->state[page] == FALLOW__START && model_run_end(model, page) == page + 1;
        runs |= (uint64_t)is_single << (page - first);
    }
    runs &= mask;
    if (runs != 0) {
        fallow__pages_free_each(&model->store->pages, first, runs);
        for (; runs != 0; runs &= runs - 1) {
            model_set(model, first + fallow__lowest_bit(runs), FALLOW__FREE_DIRTY);
        }
    }
}

/* Every so-manieth run from a page on: what leaves many holes. */
static void free_many(fuzz_input *input, test_model *model)
{
    uint64_t page = page_of(input, model, 1);
    unsigned step = 1 + fuzz_byte(input) % 8;
    unsigned times = fuzz_byte(input);
    for (unsigned run = 0; page < model->page_count && run < times; run++) {
        uint64_t first = model_run_start(model, page);
        uint64_t end = model_run_end(model, first);
        if (run % step == 0) {
            free_pages(model, first, end - first);
        }
        page = model_seek(model, end, 1);
    }
}

/* One run after another, each behind the last. */
static void take_many(fuzz_input *input, test_model *model)
{
    fallow__pages_request request = {.count = count_of(input, 70)};
    unsigned times = fuzz_byte(input);
    uint8_t kind = fuzz_byte(input);
    for (unsigned i = 0; i < times; i++) {
        uint64_t first;
        request.is_top_down = (kind & 1) != 0;
        if (!model_find(model, &request, &first)) {
            break;
        }
        if (i % 16 == 0) {
            assert_true(same_find(model, &request));
        }
        take(model, first, request.count, (kind & 2) == 0);
    }
}

static void ask_of_range(fuzz_input *input, test_model *model)
{
    fallow__pages *pages = &model->store->pages;
    uint64_t first = fuzz_below(input, model->page_count);
    uint64_t count = count_of(input, model->page_count - first);
    unsigned states = fuzz_byte(input);
    unsigned expected = 0;
    uint64_t next = first;
    for (uint64_t i = first; i < first + count; i++) {
        expected |= 1u << model->state[i];
    }
    store_open(model->store, first, count);
    assert_int_equal(fallow__pages_states(pages, first, count), expected);
    while (next < first + count && (states >> model->state[next] & 1) == 0) {
        next++;
    }
    assert_int_equal(fallow__pages_next(pages, first, first + count, states), next);
    uint64_t below = 1 + fuzz_below(input, model->page_count);
    for (int i = 0; i < 4 && below > 0; i++) {
        assert_true(same_last_range(model, below, states, &below));
    }

    unsigned used = 0;
    uint64_t chunk = first / FALLOW__CHUNK_PAGES * FALLOW__CHUNK_PAGES;
    for (uint64_t i = chunk; i < chunk + FALLOW__CHUNK_PAGES; i++) {
        used += i >= model->page_count || model->used[i];
    }
    assert_int_equal(fallow__pages_used_around(pages, first), used);
}

static void ask_of_run(fuzz_input *input, test_model *model)
{
    fallow__pages_request request = {.count = count_of(input, model->page_count + 2)};
    uint64_t page = page_of(input, model, 1);
    uint64_t first;
    if (page < model->page_count) {
        uint64_t start = model_run_start(model, page);
        assert_int_equal(fallow__pages_run_start(&model->store->pages, page), start);
        assert_int_equal(fallow__pages_run_end(&model->store->pages, start), model_run_end(model, start));
    }
    assert_true(!fallow__pages_has_none(&model->store->pages, request.count) || !model_find(model, &request, &first));
}

static void step(fuzz_input *input, test_model *model)
{
    fallow__pages_request request;
    switch (fuzz_byte(input) % 16) {
    case 0: find_and_take(input, model); break;
    case 1: take_at(input, model); break;
    case 2: free_some(input, model, true); break;
    case 3: free_some(input, model, false); break;
    case 4: append_some(input, model); break;
    case 5: split_one(input, model); break;
    case 6: change_free(input, model); break;
    case 7: change_committed(input, model); break;
    case 8: take_short_ones(input, model); break;
    case 9: free_short_one(input, model); break;
    case 10: free_each(input, model); break;
    case 11: free_many(input, model); break;
    case 12: take_many(input, model); break;
    case 13: ask_of_range(input, model); break;
    case 14: ask_of_run(input, model); break;
    default:
        request = request_of(input, model);
        assert_true(same_find(model, &request));
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes)
{
    fuzz_input input = {bytes, size_bytes};
    test_model model;
    enum {
        AWKWARD = sizeof awkward_counts / sizeof awkward_counts[0]
    };
    uint8_t choice = fuzz_byte(&input);
    uint64_t page_count =
        choice < AWKWARD ? awkward_counts[choice] : 1 + (choice & 1 ? fuzz_bytes(&input, 2) : fuzz_byte(&input));
    model_init(&model, page_count, (size_t)4096 << 2 * (choice % 3));
    unsigned every = 1 + (unsigned)(page_count / 2000);
    for (unsigned i = 0; i < OPERATIONS_MAX && input.left > 0; i++) {
        step(&input, &model);
        assert_true(same_counts(&model));
        if (i % every == 0) {
            assert_true(same_all(&model));
        }
    }
    assert_true(same_all(&model));
    model_done(&model);
    return 0;
}
