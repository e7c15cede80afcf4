/* The page allocator against a byte for each page.
 *
 * First every bitmap up to 12 pages, and every bitmap of a window that straddles words, chunks and blocks, against brute
 * force. Then seeded random runs of all operations, with everything compared as they go. Then planted faults: bits
 * changed in the storage behind the allocator's back, which fallow__pages_verify or the model is expected to notice;
 * a test that cannot fail shows nothing. */
#include "pages_model.h"

#include "bits.h"

/* --- every bitmap of a few pages --------------------------------------------------------------------------- */

static void compare_all_finds(test_model *model, uint64_t last_count, bool is_every_from)
{
    for (uint64_t count = 1; count <= last_count; count++) {
        for (uint64_t align = 1; align <= 16; align *= 2) {
            for (uint64_t phase = 0; phase < align; phase++) {
                fallow__pages_request request = {.count = count, .align = align, .phase = phase, .is_top_down = true};
                assert_true(same_find(model, &request));
                request.is_top_down = false;
                bool is_from = is_every_from || align == 1;
                for (request.from = 0; request.from <= (is_from ? model->page_count : 0); request.from++) {
                    assert_true(same_find(model, &request));
                }
            }
        }
    }
}

static void every_bitmap_up_to_12_pages(void **state)
{
    (void)state;
    for (uint64_t page_count = 1; page_count <= 12; page_count++) {
        for (uint64_t bitmap = 0; bitmap < (uint64_t)1 << page_count; bitmap++) {
            test_model model;
            model_init(&model, page_count, 4096);
            for (uint64_t page = 0; page < page_count; page++) {
                if ((bitmap >> page & 1) != 0) {
                    take(&model, page, 1, true);
                }
            }
            compare_all_finds(&model, page_count + 1, page_count <= 9);
            assert_true(same_all(&model));
            model_done(&model);
        }
    }
}

/* The same bitmaps one after another in Gray's order, so that each differs from the last by one page taken or freed: the
 * allocator has searched and remembered things in between. Everything around the window is in use. */
static void every_bitmap_of_a_window(void **state)
{
    (void)state;
    enum {
        WINDOW = 8
    };
    static const uint64_t middles[] = {WINDOW / 2, 64, 512, 4096, 32768, 100000};
    for (size_t i = 0; i < sizeof middles / sizeof middles[0]; i++) {
        uint64_t base = middles[i] - WINDOW / 2;
        test_model model;
        model_init(&model, i == 0 ? WINDOW : middles[i] + 2000, 4096);
        if (base > 0) {
            model.full_below = base;
            take(&model, 0, base, true);
            take(&model, base + WINDOW, model.page_count - base - WINDOW, true);
        }
        for (uint64_t step = 1; step <= (uint64_t)1 << WINDOW; step++) {
            for (uint64_t count = 1; count <= WINDOW + 1; count++) {
                for (uint64_t align = 1; align <= 16; align *= 2) {
                    for (uint64_t phase = 0; phase < align; phase++) {
                        fallow__pages_request request = {.count = count, .align = align, .phase = phase};
                        assert_true(same_find(&model, &request));
                        request.from = base + step % (WINDOW + 2);
                        assert_true(same_find(&model, &request));
                        request.from = 0;
                        request.is_top_down = true;
                        assert_true(same_find(&model, &request));
                    }
                }
            }
            uint64_t page = base + fallow__lowest_bit(step) % WINDOW;
            if (model.used[page]) {
                free_pages(&model, page, 1);
            } else {
                take(&model, page, 1, true);
            }
            assert_true(same_counts(&model));
            if (model.page_count <= 4096 || step % 64 == 0) {
                assert_true(same_all(&model));
            }
        }
        model_done(&model);
    }
}

/* The same with one plain search after each change, so that the tree is not brought up to date in between. A lone page
 * and a run behind the window have the allocator take its answers from more than one chunk. */
static void every_bitmap_of_a_window_unsettled(void **state)
{
    (void)state;
    enum {
        WINDOW = 7
    };
    static const uint64_t middles[] = {64, 256, 512, 1024, 4096};
    for (size_t i = 0; i < sizeof middles / sizeof middles[0]; i++) {
        uint64_t base = middles[i] - WINDOW / 2;
        test_model model;
        model_init(&model, middles[i] + 2000, 4096);
        for (uint64_t page = 0; page < model.page_count; page += 50) {
            take(&model, page, page + 50 < model.page_count ? 50 : model.page_count - page, page % 100 == 0);
        }
        free_pages(&model, middles[i] + 1950, 50);
        for (uint64_t page = base / 50 * 50; page < base + WINDOW; page += 50) {
            for (uint64_t k = page; k < page + 50; k++) {
                if (k > page) {
                    split(&model, k);
                }
            }
        }
        for (uint64_t step = 1; step <= (uint64_t)(WINDOW + 2) << WINDOW; step++) {
            uint64_t page = base + fallow__lowest_bit(step) % WINDOW;
            if (model.used[page]) {
                free_pages(&model, page, 1);
            } else {
                take(&model, page, 1, step % 3 == 0);
            }
            fallow__pages_request request = {.count = 1 + (step >> WINDOW) % (WINDOW + 2)};
            assert_true(same_find(&model, &request));
            assert_true(same_counts(&model));
        }
        assert_true(same_all(&model));
        model_done(&model);
    }
}

/* --- random runs ------------------------------------------------------------------------------------------- */

/* 1 to most, small ones and ones near a power of two more often. */
static uint64_t random_count(test_random *random, uint64_t most)
{
    uint64_t count = (uint64_t)1 << test_below(random, fallow__highest_bit(most) + 2);
    switch (test_below(random, 4)) {
    case 0: count = 1 + test_below(random, count); break;
    case 1: count = count - 1 + test_below(random, 3); break;
    case 2: count = 1 + test_below(random, count < 24 ? count : 24); break;
    default: break;
    }
    return count < 1 ? 1 : count < most ? count : most;
}

static fallow__pages_request random_request(test_random *random, const test_model *model)
{
    fallow__pages_request request = {.count = random_count(random, model->page_count)};
    switch (test_below(random, 8)) {
    case 0: request.count = model->page_count + test_below(random, 3); break;
    case 1: request.count = (uint64_t)1 << test_below(random, 52); break;
    default: break;
    }
    if (test_below(random, 3) == 0) {
        request.align = (uint64_t)1 << test_below(random, test_below(random, 8) == 0 ? 40 : 14);
        request.phase = test_below(random, 2) == 0 ? 0 : test_below(random, 2 * request.align);
    }
    switch (test_below(random, 5)) {
    case 0: request.is_top_down = true; break;
    case 1: request.from = test_below(random, model->page_count + 2); break;
    default: break;
    }
    return request;
}

/* A page of a live run near a random place; page_count if there is none. */
static uint64_t random_used(test_random *random, const test_model *model)
{
    uint64_t page = model_seek(model, test_below(random, model->page_count), 1);
    return page < model->page_count ? page : model_seek(model, 0, 1);
}

static void random_take(test_random *random, test_model *model)
{
    fallow__pages_request request = random_request(random, model);
    uint64_t first;
    assert_true(same_find(model, &request));
    if (model_find(model, &request, &first)) {
        take(model, first, request.count, test_below(random, 4) != 0);
    }
}

static void random_take_at(test_random *random, test_model *model)
{
    uint64_t first = model_seek(model, test_below(random, model->page_count), 0);
    if (first < model->page_count) {
        uint64_t room = model_seek(model, first, 1) - first;
        take(model, first, random_count(random, room), test_below(random, 4) != 0);
    }
}

static void random_free(test_random *random, test_model *model)
{
    uint64_t page = random_used(random, model);
    if (page == model->page_count) {
        return;
    }
    uint64_t start = model_run_start(model, page);
    uint64_t end = model_run_end(model, start);
    if (test_below(random, 4) == 0 && end - start > 1) {
        start = end - random_count(random, end - start - 1); /* the end of it */
    }
    free_pages(model, start, end - start);
}

static void random_append(test_random *random, test_model *model)
{
    uint64_t page = random_used(random, model);
    if (page < model->page_count) {
        uint64_t end = model_run_end(model, model_run_start(model, page));
        uint64_t room = model_seek(model, end, 1) - end;
        if (room > 0) {
            append_pages(model, end, random_count(random, room), test_below(random, 2) == 0);
        }
    }
}

static void random_split(test_random *random, test_model *model)
{
    uint64_t page = random_used(random, model);
    if (page < model->page_count && !is_start(model, page)) {
        split(model, page);
    }
}

static void random_set_free(test_random *random, test_model *model)
{
    uint64_t first = model_seek(model, test_below(random, model->page_count), 0);
    if (first < model->page_count) {
        uint64_t room = model_seek(model, first, 1) - first;
        set_free(model, first, random_count(random, room), (fallow__page_state)test_below(random, 4));
    }
}

static void random_set_committed(test_random *random, test_model *model)
{
    uint64_t page = random_used(random, model);
    if (page < model->page_count) {
        uint64_t end = model_run_end(model, page);
        set_committed(model, page, random_count(random, end - page), test_below(random, 2) == 0);
    }
}

static void random_questions(test_random *random, test_model *model)
{
    fallow__pages *pages = &model->store->pages;
    fallow__pages_request request = random_request(random, model);
    assert_true(same_find(model, &request));

    uint64_t page = random_used(random, model);
    if (page < model->page_count) {
        uint64_t start = model_run_start(model, page);
        assert_int_equal(fallow__pages_run_start(pages, page), start);
        assert_int_equal(fallow__pages_run_end(pages, start), model_run_end(model, start));
    }

    uint64_t first = test_below(random, model->page_count);
    uint64_t count = random_count(random, model->page_count - first);
    unsigned expected = 0;
    for (uint64_t i = first; i < first + count; i++) {
        expected |= 1u << model->state[i];
    }
    store_open(model->store, first, count);
    assert_int_equal(fallow__pages_states(pages, first, count), expected);

    unsigned states = (unsigned)test_below(random, 256);
    uint64_t next = first;
    uint64_t limit = test_below(random, 2) == 0 ? model->page_count : first + count;
    while (next < limit && (states >> model->state[next] & 1) == 0) {
        next++;
    }
    assert_int_equal(fallow__pages_next(pages, first, limit, states), next);

    uint64_t below = 1 + test_below(random, model->page_count);
    for (int i = 0; i < 4 && below > 0; i++) {
        assert_true(same_last_range(model, below, states, &below));
    }
}

static void random_short(test_random *random, test_model *model, bool is_growing)
{
    for (uint64_t i = test_below(random, 12); i > 0; i--) {
        if (test_below(random, 8) < (is_growing ? 6u : 3u)) {
            take_short(model, 1 + test_below(random, test_below(random, 2) == 0 ? 70 : 5));
        } else {
            uint64_t page = random_used(random, model);
            if (page < model->page_count) {
                /* a run's base and size, or nearly */
                uint64_t first = model_run_start(model, page);
                uint64_t count = model_run_end(model, first) - first;
                first += test_below(random, 16) == 0;
                count = count + (test_below(random, 16) == 0) - (test_below(random, 16) == 0);
                if (count > 0 && count <= model->page_count - first) {
                    free_short(model, first, count);
                }
            }
        }
    }
}

static void random_step(test_random *random, test_model *model, bool is_growing)
{
    switch (test_below(random, is_growing ? 13 : 16)) {
    case 0:
    case 1: random_take(random, model); break;
    case 2: random_take_at(random, model); break;
    case 3: random_append(random, model); break;
    case 4: random_split(random, model); break;
    case 5: random_set_free(random, model); break;
    case 6: random_set_committed(random, model); break;
    case 7: random_questions(random, model); break;
    case 9:
    case 10:
    case 11: random_short(random, model, is_growing); break;
    default: random_free(random, model); break;
    case 8: is_growing ? random_take(random, model) : random_free(random, model); break;
    }
    assert_true(same_counts(model));
}

static void random_run(test_random *random, uint64_t page_count, size_t os_page_bytes)
{
    test_model model;
    model_init(&model, page_count, os_page_bytes);
    uint64_t steps = 16000000 / (page_count + 4000);
    uint64_t every = 1 + page_count / 500; /* how often all of it is compared */
    bool is_growing = true;
    steps = steps < 200 ? 200 : steps;
    for (uint64_t step = 0; step < steps; step++) {
        if (test_below(random, 60) == 0) {
            is_growing = !is_growing;
        }
        random_step(random, &model, is_growing);
        if (step % every == 0) {
            assert_true(same_all(&model));
        }
    }
    assert_true(same_all(&model));
    model_done(&model);
}

static void random_runs(void **state)
{
    (void)state;
    static const uint64_t page_counts[] = {
        1,    2,    63,   64,    65,    511,   512,   513,           1023,      4095,          4096,
        4097, 5000, 8191, 32767, 32768, 32769, 65537, 512 * 512 - 1, 512 * 512, 512 * 512 + 1, 3 * 262144 + 17,
    };
    test_random random = test_seed("model_pages");
    for (size_t i = 0; i < sizeof page_counts / sizeof page_counts[0]; i++) {
        random_run(&random, page_counts[i], (size_t)4096 << 2 * (i % 3));
    }
}

/* First fit packs the low end and leaves most of a large arena untouched: many small runs, and holes of every size in
 * chunks that are otherwise full. */
static void crowded_chunks(void **state)
{
    (void)state;
    test_random random = test_seed("model_pages crowded");
    test_model model;
    model_init(&model, 40 * 512 + 77, 4096);
    for (uint64_t page = 0; page < model.page_count; page++) {
        take(&model, page, 1, true);
    }
    for (int step = 0; step < 2000; step++) {
        uint64_t first = test_below(&random, model.page_count);
        uint64_t count = 1 + test_below(&random, 70);
        for (uint64_t page = first; page < first + count && page < model.page_count; page++) {
            if (model.used[page]) {
                free_pages(&model, page, 1);
            }
        }
        fallow__pages_request request = {.count = 1 + test_below(&random, 70)};
        assert_true(same_find(&model, &request));
        request = random_request(&random, &model);
        request.count = 1 + test_below(&random, 70);
        assert_true(same_find(&model, &request));
        while (test_below(&random, 40) != 0) {
            request = (fallow__pages_request){.count = 1 + test_below(&random, 20)};
            uint64_t page;
            assert_true(same_find(&model, &request));
            if (model_find(&model, &request, &page)) {
                for (uint64_t i = 0; i < request.count; i++) {
                    take(&model, page + i, 1, true);
                }
            }
        }
        if (step % 50 == 0) {
            assert_true(same_all(&model));
        }
    }
    assert_true(same_all(&model));
    model_done(&model);
}

/* --- planted faults ---------------------------------------------------------------------------------------- */

typedef struct test_snapshot {
    fallow__pages pages;
    unsigned char *upper;
    unsigned char *blocks;
} test_snapshot;

static test_snapshot snapshot_take(const test_store *store)
{
    size_t blocks_bytes = (size_t)store->plan.block_count * store->plan.block_bytes;
    test_snapshot result = {.pages = store->pages};
    result.upper = malloc(store->plan.upper_bytes + 1);
    result.blocks = malloc(blocks_bytes);
    assert_non_null(result.upper);
    assert_non_null(result.blocks);
    memcpy(result.upper, store->upper, store->plan.upper_bytes);
    memcpy(result.blocks, store->blocks, blocks_bytes);
    return result;
}

static void snapshot_restore(const test_snapshot *snapshot, test_store *store)
{
    store->pages = snapshot->pages;
    memcpy(store->upper, snapshot->upper, store->plan.upper_bytes);
    memcpy(store->blocks, snapshot->blocks, (size_t)store->plan.block_count * store->plan.block_bytes);
}

static void snapshot_done(test_snapshot *snapshot)
{
    free(snapshot->upper);
    free(snapshot->blocks);
}

/* Every chunk is mixed, so that nothing in the storage is stale, and no summary is late. */
static void make_mixed(test_model *model)
{
    for (uint64_t page = 0; page < model->page_count; page++) {
        if (page % 7 == 0) {
            take(model, page, 1, true);
        } else if (page % 7 == 1 && page + 1 < model->page_count) {
            take(model, page, 2, true);
        }
    }
    uint64_t first;
    fallow__pages_request request = {.count = 3, .align = 1024, .phase = 5};
    (void)fallow__pages_find(&model->store->pages, &request, &first);
    assert_true(same_all(model));
}

/* The bit of the used plane that stands for a free page, found by looking at what taking it changes. */
static size_t find_used_bit(test_model *model, const test_snapshot *before, uint64_t page, unsigned char *mask_out)
{
    test_store *store = model->store;
    size_t blocks_bytes = (size_t)store->plan.block_count * store->plan.block_bytes;
    fallow__pages_take(&store->pages, page, 1, false);
    for (size_t i = 0; i < blocks_bytes; i++) {
        unsigned char changed = (unsigned char)(store->blocks[i] ^ before->blocks[i]);
        if (changed != 0 && fallow__is_power_of_two(changed)) {
            /* used and mark are set by taking without memory: the one whose loss makes the page free is the used bit */
            store->blocks[i] ^= changed;
            bool is_free = fallow__pages_states(&store->pages, page, 1) < FALLOW__STATES(FALLOW__REST_NONE);
            store->blocks[i] ^= changed;
            if (is_free) {
                *mask_out = changed;
                snapshot_restore(before, store);
                return i;
            }
        }
    }
    fail_msg("no bit found that says that page %llu is in use", (unsigned long long)page);
    return 0;
}

static void a_wrong_bit_is_noticed(void **state)
{
    (void)state;
    test_model model;
    model_init(&model, 3 * 512, 4096);
    make_mixed(&model);
    test_snapshot before = snapshot_take(model.store);

    /* a free page that is in use behind the allocator's back: the count of used pages is wrong */
    uint64_t page = 512;
    while (model.used[page] || model.used[page + 1] || model.used[page + 2]) {
        page++;
    }
    unsigned char mask = 0;
    size_t byte = find_used_bit(&model, &before, page, &mask);
    assert_true(same_all(&model));
    model.store->blocks[byte] ^= mask;
    assert_false(fallow__pages_verify(&model.store->pages));
    assert_false(same_states(&model));
    snapshot_restore(&before, model.store);

    /* the same, and another page lost, so that all counts are right: the model still sees it */
    unsigned char lost_mask = 0;
    size_t lost_byte = find_used_bit(&model, &before, page + 2, &lost_mask);
    take(&model, page + 1, 2, false);
    assert_true(same_states(&model));
    model.store->blocks[byte] ^= mask;
    model.store->blocks[lost_byte] ^= lost_mask;
    assert_true(same_counts(&model));
    assert_false(same_states(&model));

    model.store->blocks[byte] ^= mask;
    model.store->blocks[lost_byte] ^= lost_mask;
    free_pages(&model, page + 1, 2);
    assert_true(same_all(&model));
    snapshot_done(&before);
    model_done(&model);
}

/* Every 1 bit of the storage in turn becomes 0: bitmaps, summaries, upper levels. */
static void every_lost_bit_is_noticed(void **state)
{
    (void)state;
    test_model model;
    model_init(&model, 66 * 512 + 40, 4096);
    make_mixed(&model);
    test_snapshot before = snapshot_take(model.store);
    size_t blocks_bytes = (size_t)model.store->plan.block_count * model.store->plan.block_bytes;
    size_t all_bytes = model.store->plan.upper_bytes + blocks_bytes;
    unsigned planted = 0;
    unsigned noticed = 0;
    unsigned harmless = 0;
    test_random random = test_seed("model_pages lost bits");
    for (size_t i = (size_t)test_below(&random, 13); i < all_bytes; i += 13) {
        bool is_upper = i < model.store->plan.upper_bytes;
        unsigned char *byte =
            is_upper ? model.store->upper + i : model.store->blocks + i - model.store->plan.upper_bytes;
        if (*byte == 0) {
            continue;
        }
        unsigned char bit = (unsigned char)(1u << fallow__lowest_bit(*byte));
        *byte ^= bit;
        planted++;
        if (fallow__pages_verify(&model.store->pages)) {
            /* a word may promise too much: every answer is the same */
            for (uint64_t count = 1; count <= 65; count++) {
                assert_true(same_find(&model, &(fallow__pages_request){.count = count}));
            }
            assert_true(fallow__pages_verify(&model.store->pages));
            harmless++;
        } else {
            noticed++;
        }
        snapshot_restore(&before, model.store);
    }
    printf("lost bits: %u planted, %u noticed, %u a promise that was not believed\n", planted, noticed, harmless);
    assert_true(planted > 100);
    assert_int_equal(noticed + harmless, planted);
    assert_true(harmless < planted / 20);
    assert_true(same_all(&model));
    snapshot_done(&before);
    model_done(&model);
}

/* The counters of a struct that something wrote over. */
static void a_wrong_counter_or_bound_is_noticed(void **state)
{
    (void)state;
    test_model model;
    model_init(&model, 5000, 4096);
    make_mixed(&model);
    fallow__pages before = model.store->pages;
    for (int i = 0; i < 8; i++) {
        model.store->pages.state_pages[i]++;
        assert_false(fallow__pages_verify(&model.store->pages));
        model.store->pages = before;
    }
    model.store->pages.bound[0] = (uint32_t)before.chunk_count; /* "no free page at all" */
    model.store->pages.bound_top = (uint32_t)before.chunk_count;
    assert_false(fallow__pages_verify(&model.store->pages));
    model.store->pages = before;
    assert_true(same_all(&model));
    model_done(&model);
}

/* --- plans ------------------------------------------------------------------------------------------------- */

/* Everything is in use but for a few pages on both sides of an edge: of a word, a chunk, a group, a block. In there
 * short runs come and go, so that words and chunks at edges become wholly free, promise everything, and are taken from
 * and added to on the other side. */
static void windows_at_edges(void **state)
{
    (void)state;
    static const uint64_t edges[] = {512, 64, 1024, 512, 4096, 1024, FALLOW__BLOCK_PAGES};
    test_random random = test_seed("model_pages edges");
    for (unsigned round = 0; round < 200; round++) {
        uint64_t edge = edges[round % (sizeof edges / sizeof edges[0])];
        uint64_t base = edge - 1 - test_below(&random, edge < 140 ? edge : 140);
        uint64_t end = edge + 20 + test_below(&random, 120);
        test_model model;
        model_init(&model, edge + 2000, 4096);
        model.full_below = base;
        take(&model, 0, base > 0 ? base : 1, true);
        take(&model, end, model.page_count - end, true);
        take(&model, base > 0 ? base : 1, end - (base > 0 ? base : 1), true);
        free_pages(&model, base > 0 ? base : 1, end - (base > 0 ? base : 1));
        for (unsigned step = 0; step < 1000; step++) {
            uint64_t most = test_below(&random, 8) == 0 ? 64 : test_below(&random, 3) == 0 ? 20 : 2;
            if (test_below(&random, 5) < (step % 200 < 100 ? 2u : 3u)) {
                fallow__pages_request request = {.count = 1 + test_below(&random, most)};
                take_short(&model, request.count);
                assert_true(step % 4 != 0 || same_find(&model, &request));
                continue;
            }
            uint64_t page = base + 1 + test_below(&random, end - base - 1);
            if (model.used[page]) {
                uint64_t first = fallow__pages_run_start(&model.store->pages, page);
                if (first >= base && first != 0) {
                    free_short(&model, first, fallow__pages_run_end(&model.store->pages, first) - first);
                }
            }
        }
        assert_true(same_all(&model));
        model_done(&model);
    }
}

static void a_plan_is_small_and_sufficient(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift <= 36; shift++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t page_count = ((uint64_t)1 << shift) + (uint64_t)(int64_t)delta;
            if (page_count < 1 || page_count > FALLOW__PAGES_MAX) {
                continue;
            }
            for (size_t os_page_bytes = 4096; os_page_bytes <= 65536; os_page_bytes *= 4) {
                fallow__pages_plan plan = {0};
                fallow__pages_plan_for(page_count, os_page_bytes, &plan);
                assert_true(plan.page_count == page_count);
                assert_true(FALLOW__BLOCK_PAGES > 0 && plan.block_bytes > 0);
                assert_true((plan.block_count - 1) * FALLOW__BLOCK_PAGES < page_count);
                assert_true(plan.block_count * FALLOW__BLOCK_PAGES >= page_count);
                assert_true(plan.block_bytes % os_page_bytes == 0);
                /* 0.01 % of what is reserved, at one OS page for each page: the worst case. The last block may be
                 * mostly unused. */
                uint64_t metadata = plan.upper_bytes + plan.block_count * plan.block_bytes;
                assert_true(metadata <= page_count * os_page_bytes / 10000 + plan.block_bytes + os_page_bytes);
                assert_true(plan.upper_bytes <= 16 * 1024 * 1024);
            }
        }
    }
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_is_small_and_sufficient),
        cmocka_unit_test(every_bitmap_up_to_12_pages),
        cmocka_unit_test(every_bitmap_of_a_window),
        cmocka_unit_test(every_bitmap_of_a_window_unsettled),
        cmocka_unit_test(random_runs),
        cmocka_unit_test(crowded_chunks),
        cmocka_unit_test(windows_at_edges),
        cmocka_unit_test(a_wrong_bit_is_noticed),
        cmocka_unit_test(every_lost_bit_is_noticed),
        cmocka_unit_test(a_wrong_counter_or_bound_is_noticed),
    };
    return cmocka_run_group_tests_name("model_pages", tests, NULL, NULL);
}
