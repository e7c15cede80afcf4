/* The page allocator's promises, one small case each. model_pages.c has the many. */
#include "pages_store.h"

enum {
    CHUNK = FALLOW__CHUNK_PAGES
};

static test_store *subject; /* made anew for each case */

/* --- short words ------------------------------------------------------------------------------------------- */

static size_t os_page_bytes; /* main tries all there are: blocks are whole OS pages */

static void make(uint64_t page_count)
{
    subject = store_create(page_count, os_page_bytes);
}

static int teardown(void **state)
{
    (void)state;
    store_destroy(subject);
    return 0;
}

static void take(uint64_t first, uint64_t count)
{
    store_open(subject, first, count);
    fallow__pages_take(&subject->pages, first, count, true);
    assert_true(fallow__pages_verify(&subject->pages));
}

static void split_at(uint64_t page)
{
    if (page < subject->plan.page_count && subject->is_open[page / FALLOW__BLOCK_PAGES] &&
        (fallow__pages_states(&subject->pages, page, 1) & FALLOW__STATES_REST) != 0) {
        fallow__pages_split(&subject->pages, page);
    }
}

/* Free pages wherever they are in their run: what is left on both sides are runs of their own. */
static void give(uint64_t first, uint64_t count)
{
    split_at(first);
    split_at(first + count);
    fallow__pages_free(&subject->pages, first, count);
    assert_true(fallow__pages_verify(&subject->pages));
}

/* Where the request fits; -1: nowhere. */
static int64_t find(fallow__pages_request request)
{
    uint64_t first = 0;
    return fallow__pages_find(&subject->pages, &request, &first) ? (int64_t)first : -1;
}

#define FIND(...) find((fallow__pages_request){__VA_ARGS__})

static fallow__page_state state_of(uint64_t page)
{
    uint64_t end;
    store_open(subject, page, 1);
    fallow__page_state state = fallow__pages_piece(&subject->pages, page, page + 1, &end);
    assert_int_equal(end, page + 1);
    assert_int_equal(fallow__pages_states(&subject->pages, page, 1), FALLOW__STATES(state));
    return state;
}

static uint64_t count_of(fallow__page_state state)
{
    return subject->pages.state_pages[state];
}

/* --- finding ----------------------------------------------------------------------------------------------- */

static void a_fresh_arena_is_free_and_untouched(void **state)
{
    (void)state;
    make(100000);
    assert_int_equal(count_of(FALLOW__FREE_NONE), 100000);
    assert_int_equal(FIND(.count = 1), 0);
    assert_int_equal(FIND(.count = 100000), 0);
    assert_int_equal(FIND(.count = 100001), -1);
    assert_int_equal(FIND(.count = 1, .is_top_down = true), 99999);
    assert_int_equal(fallow__pages_next(&subject->pages, 0, 100000, FALLOW__STATES_USED), 100000);
    assert_int_equal(fallow__pages_next(&subject->pages, 5, 100000, FALLOW__STATES_FREE), 5);
    assert_true(fallow__pages_verify(&subject->pages));
}

static void the_lowest_fit_wins_not_the_best(void **state)
{
    (void)state;
    make(1000);
    take(0, 1000);
    give(100, 10);
    give(300, 3);
    assert_int_equal(FIND(.count = 3), 100);
    assert_int_equal(FIND(.count = 10), 100);
    assert_int_equal(FIND(.count = 11), -1);
    assert_int_equal(FIND(.count = 3, .is_top_down = true), 300);
    assert_int_equal(FIND(.count = 4, .is_top_down = true), 106);
}

static void a_hole_lower_than_an_earlier_answer_is_found(void **state)
{
    (void)state;
    make(20 * CHUNK);
    take(0, 20 * CHUNK);
    give(19 * CHUNK + 7, 5);
    for (uint64_t count = 1; count <= 5; count++) {
        assert_int_equal(FIND(.count = count), 19 * CHUNK + 7);
    }
    assert_int_equal(FIND(.count = 6), -1);
    give(3 * CHUNK, 2);
    assert_int_equal(FIND(.count = 1), 3 * CHUNK);
    assert_int_equal(FIND(.count = 2), 3 * CHUNK);
    assert_int_equal(FIND(.count = 3), 19 * CHUNK + 7);
}

/* Frees that meet make a run longer than each of them, and it starts lower than the last of them. */
static void frees_that_meet_are_one_hole(void **state)
{
    (void)state;
    make(8 * CHUNK);
    take(0, 8 * CHUNK);
    give(2 * CHUNK - 3, 3);
    assert_int_equal(FIND(.count = 5), -1);
    give(2 * CHUNK, 2);
    assert_int_equal(FIND(.count = 5), 2 * CHUNK - 3);
    assert_int_equal(FIND(.count = 6), -1);
    give(2 * CHUNK + 2, 6 * CHUNK - 2);
    assert_int_equal(FIND(.count = 6 * CHUNK + 3), 2 * CHUNK - 3);
    give(0, 2 * CHUNK - 3);
    assert_int_equal(FIND(.count = 8 * CHUNK), 0);
}

static void an_aligned_hole_of_exactly_that_length_is_found(void **state)
{
    (void)state;
    make(4096);
    take(0, 4096);
    give(63, 16);   /* 15 pages from an aligned place on */
    give(1024, 16); /* exactly 16 aligned pages, shorter than 16 + 64 - 1 */
    give(2000, 80); /* 32 pages from an aligned place on */
    assert_int_equal(FIND(.count = 16, .align = 64), 1024);
    assert_int_equal(FIND(.count = 15, .align = 64), 64);
    assert_int_equal(FIND(.count = 16, .align = 64, .phase = 1), 63);
    assert_int_equal(FIND(.count = 17, .align = 64), 2048);
    assert_int_equal(FIND(.count = 16, .align = 64, .is_top_down = true), 2048);
    assert_int_equal(FIND(.count = 33, .align = 64), -1);
    assert_int_equal(FIND(.count = 1, .align = 4096), -1);
}

static void alignment_larger_than_the_arena(void **state)
{
    (void)state;
    make(1000);
    assert_int_equal(FIND(.count = 1, .align = (uint64_t)1 << 40), 0);
    assert_int_equal(FIND(.count = 1, .align = (uint64_t)1 << 40, .phase = ((uint64_t)1 << 40) - 999), 999);
    assert_int_equal(FIND(.count = 2, .align = (uint64_t)1 << 40, .phase = ((uint64_t)1 << 40) - 999), -1);
    assert_int_equal(FIND(.count = 1, .align = (uint64_t)1 << 40, .phase = 5), -1);
}

static void runs_straddle_words_chunks_and_blocks(void **state)
{
    (void)state;
    make(600 * (uint64_t)CHUNK);
    uint64_t block_pages = FALLOW__BLOCK_PAGES;
    take(0, 600 * (uint64_t)CHUNK);
    const uint64_t middles[] = {64, CHUNK, 8 * CHUNK, 64 * CHUNK, block_pages};
    for (size_t i = 0; i < sizeof middles / sizeof middles[0] && middles[i] < subject->plan.page_count; i++) {
        give(middles[i] - 20, 40);
        assert_int_equal(FIND(.count = 40), middles[i] - 20);
        assert_int_equal(FIND(.count = 40, .is_top_down = true), middles[i] - 20);
        assert_int_equal(FIND(.count = 41), -1);
        take(middles[i] - 20, 40);
        assert_int_equal(FIND(.count = 1), -1);
    }
}

static void from_leaves_out_what_is_below_it(void **state)
{
    (void)state;
    make(2000);
    take(100, 100);
    assert_int_equal(FIND(.count = 50, .from = 0), 0);
    assert_int_equal(FIND(.count = 50, .from = 50), 50);
    assert_int_equal(FIND(.count = 50, .from = 51), 200);
    assert_int_equal(FIND(.count = 50, .from = 201), 201);
    assert_int_equal(FIND(.count = 50, .from = 1950), 1950);
    assert_int_equal(FIND(.count = 50, .from = 1951), -1);
    assert_int_equal(FIND(.count = 50, .from = 2000), -1);
    assert_int_equal(FIND(.count = 50), 0); /* and nothing has been remembered that is only true from there */
}

static void a_full_arena_refuses(void **state)
{
    (void)state;
    make(5000);
    take(0, 5000);
    for (uint64_t count = 1; count < 10000; count = count * 3 / 2 + 1) {
        assert_int_equal(FIND(.count = count), -1);
        assert_int_equal(FIND(.count = count, .align = 8), -1);
        assert_int_equal(FIND(.count = count, .is_top_down = true), -1);
    }
    give(0, 5000);
    assert_int_equal(FIND(.count = 5000), 0);
}

/* Every second page free: many pages, no two of them together. */
static void a_comb_has_no_run_of_two(void **state)
{
    (void)state;
    make(3 * CHUNK);
    store_open(subject, 0, 3 * CHUNK);
    for (uint64_t page = 0; page < 3 * CHUNK; page += 2) {
        fallow__pages_take(&subject->pages, page, 1, true);
    }
    assert_true(fallow__pages_verify(&subject->pages));
    assert_int_equal(FIND(.count = 2), -1);
    assert_int_equal(FIND(.count = 1), 1);
    assert_int_equal(FIND(.count = 1, .align = 2), -1);
    assert_int_equal(FIND(.count = 1, .is_top_down = true), 3 * CHUNK - 1);
    give(CHUNK, 1);
    assert_int_equal(FIND(.count = 3), CHUNK - 1);
}

/* --- states ------------------------------------------------------------------------------------------------ */

static void a_run_has_a_start_and_a_rest(void **state)
{
    (void)state;
    make(2000);
    take(510, 4);
    assert_int_equal(state_of(509), FALLOW__FREE_NONE);
    assert_int_equal(state_of(510), FALLOW__START);
    assert_int_equal(state_of(511), FALLOW__REST);
    assert_int_equal(state_of(513), FALLOW__REST);
    assert_int_equal(state_of(514), FALLOW__FREE_NONE);
    fallow__pages_take(&subject->pages, 600, 700, false);
    assert_int_equal(state_of(600), FALLOW__START_NONE);
    assert_int_equal(state_of(1299), FALLOW__REST_NONE);
    assert_int_equal(count_of(FALLOW__START), 1);
    assert_int_equal(count_of(FALLOW__REST), 3);
    assert_int_equal(count_of(FALLOW__START_NONE), 1);
    assert_int_equal(count_of(FALLOW__REST_NONE), 699);
    assert_int_equal(count_of(FALLOW__FREE_NONE), 2000 - 704);
}

static void freed_pages_keep_what_they_hold(void **state)
{
    (void)state;
    make(2000);
    take(0, 1500);
    fallow__pages_set_committed(&subject->pages, 200, 1000, false);
    assert_int_equal(state_of(199), FALLOW__REST);
    assert_int_equal(state_of(200), FALLOW__REST_NONE);
    assert_int_equal(state_of(1200), FALLOW__REST);
    give(0, 1500);
    assert_int_equal(count_of(FALLOW__FREE_DIRTY), 500);
    assert_int_equal(count_of(FALLOW__FREE_NONE), 1500);
    assert_int_equal(state_of(0), FALLOW__FREE_DIRTY);
    assert_int_equal(state_of(200), FALLOW__FREE_NONE);
    assert_int_equal(fallow__pages_states(&subject->pages, 0, 1500),
                     FALLOW__STATES(FALLOW__FREE_DIRTY) | FALLOW__STATES(FALLOW__FREE_NONE));
}

static void committing_keeps_starts(void **state)
{
    (void)state;
    make(2000);
    store_open(subject, 0, 2000);
    fallow__pages_take(&subject->pages, 100, 1000, false);
    fallow__pages_set_committed(&subject->pages, 100, 1000, true);
    assert_int_equal(state_of(100), FALLOW__START);
    assert_int_equal(state_of(101), FALLOW__REST);
    assert_int_equal(fallow__pages_run_end(&subject->pages, 100), 1100);
    fallow__pages_set_committed(&subject->pages, 100, 1, false);
    assert_int_equal(state_of(100), FALLOW__START_NONE);
    assert_int_equal(state_of(101), FALLOW__REST);
    assert_true(fallow__pages_verify(&subject->pages));
}

static void free_states_do_not_change_what_is_free(void **state)
{
    (void)state;
    make(4 * CHUNK);
    store_open(subject, 0, 4 * CHUNK);
    fallow__pages_set_free(&subject->pages, 0, 3 * CHUNK, FALLOW__FREE_ZERO);
    fallow__pages_set_free(&subject->pages, CHUNK + 5, 10, FALLOW__FREE_LAZY);
    fallow__pages_set_free(&subject->pages, CHUNK + 7, 1, FALLOW__FREE_DIRTY);
    assert_int_equal(FIND(.count = 4 * CHUNK), 0);
    assert_int_equal(count_of(FALLOW__FREE_LAZY), 9);
    assert_int_equal(count_of(FALLOW__FREE_DIRTY), 1);
    assert_int_equal(count_of(FALLOW__FREE_ZERO), 3 * CHUNK - 10);
    assert_int_equal(fallow__pages_next(&subject->pages, 0, 4 * CHUNK, FALLOW__STATES_OLD), CHUNK + 5);
    assert_int_equal(fallow__pages_next(&subject->pages, 0, CHUNK + 5, FALLOW__STATES_OLD), CHUNK + 5);
    assert_int_equal(fallow__pages_next(&subject->pages, 0, CHUNK + 4, FALLOW__STATES_OLD), CHUNK + 4);
    assert_int_equal(state_of(CHUNK + 7), FALLOW__FREE_DIRTY);
    assert_true(fallow__pages_verify(&subject->pages));
}

/* --- changing a run ---------------------------------------------------------------------------------------- */

static void a_run_grows_shrinks_and_splits(void **state)
{
    (void)state;
    make(3000);
    take(10, 20);
    store_open(subject, 30, 2000);
    fallow__pages_append(&subject->pages, 30, 2000, true);
    assert_int_equal(fallow__pages_run_end(&subject->pages, 10), 2030);
    assert_int_equal(fallow__pages_run_start(&subject->pages, 2029), 10);

    fallow__pages_split(&subject->pages, 1024);
    assert_int_equal(state_of(1024), FALLOW__START);
    assert_int_equal(fallow__pages_run_end(&subject->pages, 10), 1024);
    assert_int_equal(fallow__pages_run_end(&subject->pages, 1024), 2030);
    assert_int_equal(fallow__pages_run_start(&subject->pages, 1023), 10);
    assert_int_equal(fallow__pages_run_start(&subject->pages, 1024), 1024);
    assert_int_equal(fallow__pages_run_start(&subject->pages, 2029), 1024);

    give(1500, 530); /* the end of the second run */
    assert_int_equal(fallow__pages_run_end(&subject->pages, 1024), 1500);
    give(10, 1014); /* the first one */
    assert_int_equal(fallow__pages_run_end(&subject->pages, 1024), 1500);
    assert_int_equal(FIND(.count = 1025), 1500);
}

static void runs_side_by_side_stay_two(void **state)
{
    (void)state;
    make(2 * CHUNK);
    take(0, CHUNK);
    take(CHUNK, CHUNK);
    assert_int_equal(fallow__pages_run_end(&subject->pages, 0), CHUNK);
    assert_int_equal(fallow__pages_run_end(&subject->pages, CHUNK), 2 * CHUNK);
    assert_int_equal(fallow__pages_run_start(&subject->pages, 2 * CHUNK - 1), CHUNK);
    assert_int_equal(fallow__pages_run_start(&subject->pages, CHUNK - 1), 0);
}

/* The end of the last run is the end of the arena, wherever that lies in a word, chunk or block. */
static void the_last_run_ends_with_the_arena(void **state)
{
    (void)state;
    static const uint64_t page_counts[] = {1, 2, 63, 64, 65, 511, 512, 513, 4096, 32768, 262143, 262144, 262145};
    for (size_t i = 0; i < sizeof page_counts / sizeof page_counts[0]; i++) {
        make(page_counts[i]);
        take(0, page_counts[i]);
        assert_int_equal(fallow__pages_run_end(&subject->pages, 0), page_counts[i]);
        assert_int_equal(fallow__pages_run_start(&subject->pages, page_counts[i] - 1), 0);
        assert_int_equal(FIND(.count = 1), -1);
        assert_int_equal(count_of(FALLOW__REST), page_counts[i] - 1);
        give(0, page_counts[i]);
        assert_int_equal(FIND(.count = page_counts[i]), 0);
        assert_int_equal(count_of(FALLOW__FREE_DIRTY), page_counts[i]);
        store_destroy(subject);
    }
    make(1);
}

/* A run that ends where a block does: nothing behind it may be looked at. */
static void a_run_up_to_a_block_that_is_not_accessible(void **state)
{
    (void)state;
    make(3000000);
    uint64_t block_pages = FALLOW__BLOCK_PAGES;
    take(block_pages - 10, 10);
    assert_int_equal(fallow__pages_run_end(&subject->pages, block_pages - 10), block_pages);
    assert_int_equal(fallow__pages_run_start(&subject->pages, block_pages - 1), block_pages - 10);
    give(block_pages - 5, 5);
    give(block_pages - 10, 5);
    assert_int_equal(FIND(.count = 20, .from = block_pages - 10), block_pages - 10);
    store_check(subject);
    assert_int_equal(subject->is_open[1], 0);
}

/* A node that says "all free" or "all used" stands for many pages: a change in its middle touches only those. */
static void uniform_nodes_are_opened_in_the_middle(void **state)
{
    (void)state;
    make(64 * CHUNK);
    take(0, 64 * CHUNK);
    give(30 * CHUNK + 100, 1);
    assert_int_equal(state_of(30 * CHUNK + 99), FALLOW__REST);
    assert_int_equal(state_of(30 * CHUNK + 100), FALLOW__FREE_DIRTY);
    assert_int_equal(FIND(.count = 1), 30 * CHUNK + 100);
    assert_int_equal(FIND(.count = 2), -1);
    fallow__pages_set_committed(&subject->pages, 10 * CHUNK + 1, 1, false);
    assert_int_equal(state_of(10 * CHUNK), FALLOW__REST);
    assert_int_equal(state_of(10 * CHUNK + 1), FALLOW__REST_NONE);
    assert_int_equal(state_of(10 * CHUNK + 2), FALLOW__REST);
    assert_int_equal(state_of(30 * CHUNK + 101), FALLOW__START);
    assert_int_equal(count_of(FALLOW__REST), 64 * CHUNK - 4);
}

/* --- walking ----------------------------------------------------------------------------------------------- */

static void ranges_are_walked_downward(void **state)
{
    (void)state;
    make(10 * CHUNK);
    take(0, 10 * CHUNK);
    give(5, 10);
    give(CHUNK - 1, 2);
    give(5 * CHUNK, 3 * CHUNK);
    static const uint64_t expected[][2] = {{5 * CHUNK, 3 * CHUNK}, {CHUNK - 1, 2}, {5, 10}};
    uint64_t first = 10 * CHUNK;
    uint64_t count;
    for (size_t i = 0; i < 3; i++) {
        assert_true(fallow__pages_last_range(&subject->pages, first, FALLOW__STATES_FREE, &first, &count));
        assert_int_equal(first, expected[i][0]);
        assert_int_equal(count, expected[i][1]);
    }
    assert_false(fallow__pages_last_range(&subject->pages, first, FALLOW__STATES_FREE, &first, &count));
    assert_false(fallow__pages_last_range(&subject->pages, 0, FALLOW__STATES_FREE, &first, &count));

    /* cut off by `below` */
    assert_true(fallow__pages_last_range(&subject->pages, 6 * CHUNK, FALLOW__STATES_FREE, &first, &count));
    assert_int_equal(first, 5 * CHUNK);
    assert_int_equal(count, CHUNK);
}

static void a_piece_ends_at_its_limit(void **state)
{
    (void)state;
    make(4 * CHUNK);
    uint64_t end;
    store_open(subject, 0, 4 * CHUNK);
    assert_int_equal(fallow__pages_piece(&subject->pages, 3, 4, &end), FALLOW__FREE_NONE);
    assert_int_equal(end, 4);
    take(10, 1000);
    uint64_t page = 11;
    while (page < 1010) { /* not always the longest, but never beyond the state's end */
        assert_int_equal(fallow__pages_piece(&subject->pages, page, 4 * CHUNK, &end), FALLOW__REST);
        assert_true(end > page && end <= 1010);
        page = end;
    }
}

/* --- the short way ----------------------------------------------------------------------------------------- */

/* A run taken the short way, of committed pages. */
static uint64_t take_short(uint64_t count)
{
    uint64_t first;
    bool is_zero;
    assert_true(fallow__pages_take_short(&subject->pages, count, &first, &is_zero));
    assert_true(fallow__pages_verify(&subject->pages));
    return first;
}

static void give_short(uint64_t first, uint64_t count)
{
    assert_true(fallow__pages_free_short(&subject->pages, first, count));
    assert_true(fallow__pages_verify(&subject->pages));
}

/* Runs of one size, end to end, over all of the arena. */
static void fill(uint64_t page_count, uint64_t run_pages)
{
    make(page_count);
    for (uint64_t first = 0; first < page_count; first += run_pages) {
        take(first, run_pages);
    }
}

static void what_is_freed_is_promised_at_once(void **state)
{
    (void)state;
    fill(16 * CHUNK, 64);
    give_short(2 * 64, 64);
    assert_int_equal(take_short(50), 2 * 64); /* 14 pages are left, and the bound of all such sizes is here */
    give_short(9 * CHUNK + 64, 64);
    assert_int_equal(take_short(50), 9 * CHUNK + 64); /* which only the nodes above can tell */
    assert_int_equal(FIND(.count = 15), -1);
    assert_int_equal(FIND(.count = 14), 2 * 64 + 50);
}

static void a_promise_is_looked_into(void **state)
{
    (void)state;
    fill(16 * CHUNK, 64);
    give_short(5 * CHUNK - 64, 64); /* the end of a chunk, and the start of the next */
    give_short(5 * CHUNK, 64);
    assert_int_equal(take_short(40), 5 * CHUNK - 64);
    assert_int_equal(take_short(10), 5 * CHUNK - 24);
    assert_int_equal(take_short(60), 5 * CHUNK - 14); /* of both */
    assert_int_equal(FIND(.count = 19), -1);
    give_short(9 * CHUNK, 64);
    assert_int_equal(FIND(.count = 19), 9 * CHUNK);
    assert_int_equal(FIND(.count = 18), 5 * CHUNK + 46);
    assert_int_equal(FIND(.count = 18, .is_top_down = true), 9 * CHUNK + 46);
}

static void runs_over_two_chunks_come_and_go(void **state)
{
    (void)state;
    fill(16 * CHUNK, 32);
    for (uint64_t chunk = 1; chunk < 16; chunk++) {
        give_short(chunk * CHUNK - 32, 32);
        give_short(chunk * CHUNK, 32);
        assert_int_equal(take_short(20), chunk * CHUNK - 32);
        assert_int_equal(take_short(44), chunk * CHUNK - 12);
        assert_int_equal(FIND(.count = 1), -1);
        give_short(chunk * CHUNK - 12, 44);
        assert_false(fallow__pages_free_short(&subject->pages, chunk * CHUNK - 12, 44)); /* once */
        assert_int_equal(FIND(.count = 44), chunk * CHUNK - 12);
        assert_int_equal(take_short(44), chunk * CHUNK - 12);
    }
}

static void a_chunk_that_was_looked_into_is_taken_from_again(void **state)
{
    (void)state;
    fill(16 * CHUNK, 8);
    give_short(3 * CHUNK + 64, 8);
    give_short(9 * CHUNK, 8);
    assert_int_equal(take_short(2), 3 * CHUNK + 64);
    assert_int_equal(FIND(.count = 7, .align = 2), 9 * CHUNK); /* the lower chunk promises no more than it has now */
    assert_int_equal(take_short(2), 3 * CHUNK + 66);
    assert_int_equal(take_short(4), 3 * CHUNK + 68);
    assert_int_equal(FIND(.count = 1), 9 * CHUNK);
}

/* Holes that grow page by page, upward and downward, from chunk to chunk: each new page is found with all before it. */
static void holes_that_grow(void **state)
{
    (void)state;
    for (int is_down = 0; is_down < 2; is_down++) {
        fill(3 * CHUNK, 1);
        for (uint64_t freed = 1; freed <= 2 * CHUNK; freed++) {
            uint64_t lowest = is_down ? 3 * CHUNK - 100 - freed : 100;
            give_short(is_down ? lowest : 100 + freed - 1, 1);
            assert_int_equal(FIND(.count = freed), lowest);
            assert_int_equal(FIND(.count = freed + 1), -1);
        }
        if (!is_down) {
            teardown(NULL);
        }
    }
}

/* A chunk promises everything and no bound is above its start; then its first pages become free, and the run begins in
 * the chunk before. Nothing is verified in between: that would settle the chunk. */
static void a_hole_grows_into_the_chunk_before(void **state)
{
    (void)state;
    bool is_zero;
    uint64_t first;
    make(4 * CHUNK);
    take(0, CHUNK - 3);
    take(CHUNK - 3, 3);
    take(CHUNK, 3);
    for (uint64_t page = CHUNK + 3; page < 2 * CHUNK; page++) {
        take(page, 1);
    }
    take(2 * CHUNK, 2 * CHUNK);
    fallow__pages *pages = &subject->pages;
    assert_true(fallow__pages_free_short(pages, CHUNK - 3, 3));
    for (uint64_t page = 600; page < 606; page++) {
        assert_true(fallow__pages_free_short(pages, page, 1));
    }
    assert_int_equal(FIND(.count = 6), 600);
    for (uint64_t page = 2 * CHUNK - 1; page >= 520; page--) {
        if (page < 600 || page >= 606) {
            assert_true(fallow__pages_free_short(pages, page, 1));
        }
    }
    assert_int_equal(FIND(.count = 6), 520);
    assert_true(fallow__pages_take_short(pages, 6, &first, &is_zero));
    assert_int_equal(first, 520);
    assert_true(fallow__pages_free_short(pages, 520, 6));
    assert_true(fallow__pages_free_short(pages, 519, 1));
    assert_true(fallow__pages_free_short(pages, CHUNK, 3));
    assert_int_equal(FIND(.count = 6), CHUNK - 3);
    assert_true(fallow__pages_verify(pages));
}

/* The same where a search has looked at the end of the chunk before, and the first word of the next one promises
 * everything by the time its first page becomes free. */
static void a_hole_grows_into_a_settled_chunk(void **state)
{
    (void)state;
    make(4 * CHUNK);
    take(0, CHUNK - 3);
    take(CHUNK - 3, 3);
    for (uint64_t page = CHUNK; page < CHUNK + 64; page++) {
        take(page, 1);
    }
    take(CHUNK + 64, CHUNK - 64);
    take(2 * CHUNK, 2 * CHUNK);
    fallow__pages *pages = &subject->pages;
    assert_true(fallow__pages_free_short(pages, CHUNK - 3, 3));
    assert_int_equal(FIND(.count = 4), -1);
    assert_true(fallow__pages_free_short(pages, CHUNK + 64, CHUNK - 64));
    for (uint64_t page = CHUNK + 64; page-- > CHUNK;) {
        assert_true(fallow__pages_free_short(pages, page, 1));
    }
    assert_int_equal(FIND(.count = 10), CHUNK - 3);
    assert_true(fallow__pages_verify(pages));
}

/* Wherever in a chunk it begins, and with a hole before it that is a page too short. */
static void a_long_hole_is_found_at_every_place(void **state)
{
    (void)state;
    static const uint64_t counts[] = {9, 33, 63, 64};
    make(2 * CHUNK);
    take(0, 2 * CHUNK);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        give(0, counts[i] - 1);
        for (uint64_t first = counts[i]; first + counts[i] <= CHUNK; first++) {
            give(first, counts[i]);
            assert_int_equal(FIND(.count = counts[i]), first);
            assert_int_equal(FIND(.count = counts[i] + 1), -1);
            take(first, counts[i]);
        }
        take(0, counts[i] - 1);
    }
}

/* A run is told from its neighbours, from its part, and from more than it: at every place. */
static void a_short_run_is_known_at_every_place(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, 2, 33, 63, 64, 100};
    make(4 * CHUNK);
    take(4 * CHUNK - 1, 1); /* nothing is closed meanwhile */
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const uint64_t count = counts[i];
        for (uint64_t first = 0; first < 2 * CHUNK; first++) {
            const fallow__pages *pages = &subject->pages;
            take(first, count);
            /* where it ends with its chunk it may not be known unless the next one is open */
            assert_true(fallow__pages_is_short_run(pages, first, count) || (first + count) % CHUNK == 0);
            assert_false(fallow__pages_is_short_run(pages, first, count + 1));
            assert_false(fallow__pages_is_short_run(pages, first + 1, count));
            if (count > 1) {
                assert_false(fallow__pages_is_short_run(pages, first, count - 1));
                assert_false(fallow__pages_is_short_run(pages, first + 1, count - 1));
            }
            take(first + count, 1); /* another run right behind */
            assert_true(fallow__pages_is_short_run(pages, first, count));
            assert_false(fallow__pages_is_short_run(pages, first, count + 1));
            give(first, count);
            assert_false(fallow__pages_is_short_run(pages, first, count));
            give(first + count, 1);
        }
    }
}

/* Thousands of chunks promise too much. */
static void thousands_of_stale_chunks(void **state)
{
    (void)state;
    enum {
        CHUNKS = 3000
    };
    make((uint64_t)CHUNKS * CHUNK);
    for (uint64_t chunk = 0; chunk < CHUNKS; chunk++) {
        store_open(subject, chunk * CHUNK, CHUNK);
        fallow__pages_take(&subject->pages, chunk * CHUNK, 10, true);
        fallow__pages_take(&subject->pages, chunk * CHUNK + 10, CHUNK - 10, true);
    }
    for (uint64_t chunk = 0; chunk < CHUNKS; chunk++) {
        uint64_t first;
        bool is_zero;
        assert_true(fallow__pages_free_short(&subject->pages, chunk * CHUNK, 10));
        assert_true(fallow__pages_take_short(&subject->pages, 9, &first, &is_zero));
        assert_int_equal(first, chunk * CHUNK);
    }
    assert_true(fallow__pages_verify(&subject->pages));
    assert_int_equal(FIND(.count = 2), -1);
    assert_int_equal(FIND(.count = 1), 9);
}

int main(void)
{
    test_begin();
#define CASE(name) cmocka_unit_test_teardown(name, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_fresh_arena_is_free_and_untouched),
        CASE(the_lowest_fit_wins_not_the_best),
        CASE(a_hole_lower_than_an_earlier_answer_is_found),
        CASE(frees_that_meet_are_one_hole),
        CASE(an_aligned_hole_of_exactly_that_length_is_found),
        CASE(alignment_larger_than_the_arena),
        CASE(runs_straddle_words_chunks_and_blocks),
        CASE(from_leaves_out_what_is_below_it),
        CASE(a_full_arena_refuses),
        CASE(a_comb_has_no_run_of_two),
        CASE(a_run_has_a_start_and_a_rest),
        CASE(freed_pages_keep_what_they_hold),
        CASE(committing_keeps_starts),
        CASE(free_states_do_not_change_what_is_free),
        CASE(a_run_grows_shrinks_and_splits),
        CASE(runs_side_by_side_stay_two),
        CASE(the_last_run_ends_with_the_arena),
        CASE(a_run_up_to_a_block_that_is_not_accessible),
        CASE(uniform_nodes_are_opened_in_the_middle),
        CASE(ranges_are_walked_downward),
        CASE(a_piece_ends_at_its_limit),
        CASE(what_is_freed_is_promised_at_once),
        CASE(a_promise_is_looked_into),
        CASE(runs_over_two_chunks_come_and_go),
        CASE(a_chunk_that_was_looked_into_is_taken_from_again),
        CASE(holes_that_grow),
        CASE(a_long_hole_is_found_at_every_place),
        CASE(a_short_run_is_known_at_every_place),
        CASE(thousands_of_stale_chunks),
        CASE(a_hole_grows_into_the_chunk_before),
        CASE(a_hole_grows_into_a_settled_chunk),
    };
    int failed = 0;
    for (os_page_bytes = 4 << 10; os_page_bytes <= 64 << 10; os_page_bytes *= 4) {
        failed += cmocka_run_group_tests_name("pages", tests, NULL, NULL);
    }
    return failed;
}
