/* The page allocator at its full size, up to 2^36 pages, against a list of segments.
 *
 * The storage is a region, committed as the header asks: what is touched and was not promised faults. Few operations,
 * on runs of every length up to the whole arena: no call may take time that grows with the run. */
#include "test.h"

#include <string.h>

#include "bits.h"
#include "fallow.h"
#include "pages.h"

/* --- the model --------------------------------------------------------------------------------------------- */

enum {
    SEGMENTS_MAX = 4000
};

/* Pages of one state, up to the next segment's first page. */
typedef struct segment {
    uint64_t first;
    fallow__page_state state;
} segment;

typedef struct sparse {
    fallow__pages pages;
    fallow__pages_plan plan;
    fallow_region region;
    size_t upper_bytes; /* whole OS pages */
    unsigned char *is_open;
    uint64_t page_count;
    unsigned segment_count;
    segment segments[SEGMENTS_MAX + 1]; /* and one behind the last, at page_count */
} sparse_model;

static void merge_segments(sparse_model *m)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < m->segment_count; i++) {
        bool is_same = kept > 0 && m->segments[kept - 1].state == m->segments[i].state;
        if (!is_same && m->segments[i].first < m->segments[i + 1].first) {
            m->segments[kept++] = m->segments[i];
        }
    }
    m->segments[kept] = (segment){m->page_count, FALLOW__START_NONE};
    m->segment_count = kept;
}

static unsigned segment_at(const sparse_model *m, uint64_t page)
{
    unsigned i = 0;
    while (m->segments[i + 1].first <= page) {
        i++;
    }
    return i;
}

/* Make a segment begin at a page; its index. */
static unsigned cut_segment(sparse_model *m, uint64_t page)
{
    if (page == m->page_count) {
        return m->segment_count;
    }
    unsigned i = segment_at(m, page);
    if (m->segments[i].first == page) {
        return i;
    }
    assert_true(m->segment_count < SEGMENTS_MAX);
    m->segment_count++;
    for (unsigned k = m->segment_count; k > i + 1; k--) {
        m->segments[k] = m->segments[k - 1];
    }
    m->segments[i + 1] = (segment){page, m->segments[i].state};
    return i + 1;
}

/* Change every state of a range as a table says. */
static void change_segments(sparse_model *m, uint64_t first, uint64_t count, const fallow__page_state becomes[8])
{
    unsigned from = cut_segment(m, first);
    unsigned to = cut_segment(m, first + count);
    for (unsigned i = from; i < to; i++) {
        m->segments[i].state = becomes[m->segments[i].state];
    }
    merge_segments(m);
}

static void set_segments(sparse_model *m, uint64_t first, uint64_t count, fallow__page_state state)
{
    const fallow__page_state becomes[8] = {state, state, state, state, state, state, state, state};
    change_segments(m, first, count, becomes);
}

static bool is_in(fallow__page_state state, unsigned states)
{
    return (states >> state & 1) != 0;
}

/* Where the pages from `page` on that are in a set of states end. */
static uint64_t states_end(const sparse_model *m, uint64_t page, unsigned states)
{
    unsigned i = segment_at(m, page);
    while (i < m->segment_count && is_in(m->segments[i].state, states)) {
        i++;
    }
    return m->segments[i].first > page ? m->segments[i].first : page;
}

static uint64_t next_in(const sparse_model *m, uint64_t page, unsigned states)
{
    return page < m->page_count ? states_end(m, page, ~states & 0xff) : m->page_count;
}

static bool expected_find(const sparse_model *m, const fallow__pages_request *request, uint64_t *first_out)
{
    uint64_t align = request->align > 1 ? request->align : 1;
    bool is_found = false;
    uint64_t end;
    for (uint64_t page = next_in(m, request->from, FALLOW__STATES_FREE); page < m->page_count;
         page = next_in(m, end, FALLOW__STATES_FREE)) {
        end = states_end(m, page, FALLOW__STATES_FREE);
        if (end - page < request->count) {
            continue;
        }
        uint64_t low = fallow__align_up(page + request->phase, align) - request->phase;
        if (low > end - request->count) {
            continue;
        }
        if (!request->is_top_down) {
            *first_out = low;
            return true;
        }
        uint64_t last = end - request->count;
        *first_out = last - ((last + request->phase) & (align - 1));
        is_found = true;
    }
    return is_found;
}

/* --- storage ----------------------------------------------------------------------------------------------- */

/* False: the system does not have the room. */
static bool sparse_create(sparse_model *m, uint64_t page_count)
{
    size_t os_page = 64 * 1024; /* a multiple of every OS page there is */
    m->page_count = page_count;
    fallow__pages_plan_for(page_count, os_page, &m->plan);
    if (m->plan.block_count > (SIZE_MAX / 2) / m->plan.block_bytes) {
        return false;
    }
    m->upper_bytes = (size_t)fallow__align_up(m->plan.upper_bytes, os_page);
    size_t blocks_bytes = (size_t)m->plan.block_count * m->plan.block_bytes;
    if (fallow_region_reserve(m->upper_bytes + blocks_bytes, NULL, &m->region) != FALLOW_OK) {
        return false;
    }
    m->is_open = calloc((size_t)m->plan.block_count, 1);
    assert_non_null(m->is_open);
    m->segment_count = 1;
    m->segments[0] = (segment){0, FALLOW__FREE_NONE};
    m->segments[1] = (segment){page_count, FALLOW__START_NONE};
    return true;
}

static void sparse_destroy(sparse_model *m)
{
    free(m->is_open);
    assert_int_equal(fallow_region_release(&m->region), FALLOW_OK);
}

/* Make the blocks of a range accessible. False: the system does not back that much. */
static bool open_blocks(sparse_model *m, uint64_t first, uint64_t count)
{
    uint64_t end = (first + count - 1) / FALLOW__BLOCK_PAGES + 1;
    for (uint64_t block = first / FALLOW__BLOCK_PAGES; block < end; block++) {
        uint64_t next = block;
        while (next < end && !m->is_open[next]) {
            next++;
        }
        if (next > block) {
            size_t offset = m->upper_bytes + (size_t)block * m->plan.block_bytes;
            if (fallow_region_commit(&m->region, offset, (size_t)(next - block) * m->plan.block_bytes) != FALLOW_OK) {
                return false;
            }
            memset(m->is_open + block, 1, (size_t)(next - block));
            block = next - 1;
        }
    }
    return true;
}

static bool sparse_init(sparse_model *m)
{
    if (fallow_region_commit(&m->region, 0, m->upper_bytes) != FALLOW_OK ||
        (m->page_count % FALLOW__BLOCK_PAGES != 0 && !open_blocks(m, m->page_count - 1, 1))) {
        return false;
    }
    unsigned char *base = m->region.base;
    fallow__pages_init(&m->pages, &m->plan, base, base + m->upper_bytes);
    return true;
}

/* --- comparing --------------------------------------------------------------------------------------------- */

static void check_counts(sparse_model *m)
{
    uint64_t counts[8] = {0};
    for (unsigned i = 0; i < m->segment_count; i++) {
        counts[m->segments[i].state] += m->segments[i + 1].first - m->segments[i].first;
    }
    for (int state = 0; state < 8; state++) {
        assert_int_equal(m->pages.state_pages[state], counts[state]);
    }
    assert_true(fallow__pages_verify(&m->pages));
}

static void check_walks(sparse_model *m, unsigned states)
{
    for (uint64_t page = 0; page < m->page_count; page++) {
        uint64_t expected = next_in(m, page, states);
        assert_int_equal(fallow__pages_next(&m->pages, page, m->page_count, states), expected);
        if (expected == m->page_count) {
            break;
        }
        page = states_end(m, expected, states);
    }
    uint64_t below = m->page_count;
    uint64_t first;
    uint64_t count;
    for (unsigned i = m->segment_count; i-- > 0;) {
        if (!is_in(m->segments[i].state, states)) {
            continue;
        }
        uint64_t end = m->segments[i + 1].first;
        while (i > 0 && is_in(m->segments[i - 1].state, states)) {
            i--;
        }
        assert_true(fallow__pages_last_range(&m->pages, below, states, &first, &count));
        assert_int_equal(first, m->segments[i].first);
        assert_int_equal(count, end - first);
        below = first;
    }
    assert_false(fallow__pages_last_range(&m->pages, below, states, &first, &count));
}

/* --- a run of operations ----------------------------------------------------------------------------------- */

static const fallow__page_state freed[8] = {
    FALLOW__FREE_NONE, FALLOW__FREE_ZERO,  FALLOW__FREE_LAZY, FALLOW__FREE_DIRTY,
    FALLOW__FREE_NONE, FALLOW__FREE_DIRTY, FALLOW__FREE_NONE, FALLOW__FREE_DIRTY,
};
static const fallow__page_state committed[8] = {
    FALLOW__FREE_NONE, FALLOW__FREE_ZERO, FALLOW__FREE_LAZY, FALLOW__FREE_DIRTY,
    FALLOW__REST,      FALLOW__REST,      FALLOW__START,     FALLOW__START,
};
static const fallow__page_state decommitted[8] = {
    FALLOW__FREE_NONE, FALLOW__FREE_ZERO, FALLOW__FREE_LAZY,  FALLOW__FREE_DIRTY,
    FALLOW__REST_NONE, FALLOW__REST_NONE, FALLOW__START_NONE, FALLOW__START_NONE,
};

static uint64_t random_count(test_random *random, uint64_t most)
{
    uint64_t count = (uint64_t)1 << test_below(random, fallow__highest_bit(most) + 1);
    count += test_below(random, 3) == 0 ? test_below(random, count) : 0;
    return count < most ? count : most;
}

/* The first page of a run; page_count if there is none. Two runs that touch are told apart by their START. */
static uint64_t random_run(test_random *random, const sparse_model *m)
{
    uint64_t page = next_in(m, test_below(random, m->page_count), FALLOW__STATES_START);
    return page < m->page_count ? page : next_in(m, 0, FALLOW__STATES_START);
}

static void take(sparse_model *m, uint64_t first, uint64_t count, bool is_committed)
{
    if (m->segment_count + 4 > SEGMENTS_MAX || !open_blocks(m, first, count)) {
        return;
    }
    fallow__pages_take(&m->pages, first, count, is_committed);
    set_segments(m, first, count, is_committed ? FALLOW__REST : FALLOW__REST_NONE);
    set_segments(m, first, 1, is_committed ? FALLOW__START : FALLOW__START_NONE);
}

static void random_take(test_random *random, sparse_model *m)
{
    fallow__pages_request request = {.count = random_count(random, m->page_count)};
    if (test_below(random, 3) == 0) {
        request.align = (uint64_t)1 << test_below(random, 38);
        request.phase = test_below(random, request.align);
    }
    switch (test_below(random, 4)) {
    case 0: request.is_top_down = true; break;
    case 1: request.from = test_below(random, m->page_count); break;
    default: break;
    }
    uint64_t first = 0;
    uint64_t expected = 0;
    bool is_found = fallow__pages_find(&m->pages, &request, &first);
    assert_int_equal(is_found, expected_find(m, &request, &expected));
    if (is_found) {
        assert_int_equal(first, expected);
        take(m, first, request.count, test_below(random, 2) == 0);
    }
}

static void random_change(test_random *random, sparse_model *m)
{
    uint64_t first = random_run(random, m);
    if (first == m->page_count) {
        return;
    }
    uint64_t end = states_end(m, first + 1 < m->page_count ? first + 1 : first, FALLOW__STATES_REST);
    end = end > first ? end : first + 1;
    assert_int_equal(fallow__pages_run_end(&m->pages, first), end);
    uint64_t inside = first + test_below(random, end - first);
    assert_int_equal(fallow__pages_run_start(&m->pages, inside), first);
    uint64_t count = random_count(random, end - inside);
    switch (test_below(random, 5)) {
    case 0:
        if (inside > first) {
            fallow__pages_split(&m->pages, inside);
            bool is_committed = is_in(m->segments[segment_at(m, inside)].state, FALLOW__STATES_IN_USE);
            set_segments(m, inside, 1, is_committed ? FALLOW__START : FALLOW__START_NONE);
        }
        break;
    case 1:
        fallow__pages_set_committed(&m->pages, inside, count, true);
        change_segments(m, inside, count, committed);
        break;
    case 2:
        fallow__pages_set_committed(&m->pages, inside, count, false);
        change_segments(m, inside, count, decommitted);
        break;
    case 3: {
        uint64_t room = end < m->page_count ? states_end(m, end, FALLOW__STATES_FREE) - end : 0;
        if (room > 0) {
            count = random_count(random, room);
            if (open_blocks(m, end, count)) {
                fallow__pages_append(&m->pages, end, count, true);
                set_segments(m, end, count, FALLOW__REST);
            }
        }
        break;
    }
    default:
        inside = test_below(random, 4) == 0 ? inside : first;
        fallow__pages_free(&m->pages, inside, end - inside);
        change_segments(m, inside, end - inside, freed);
        break;
    }
}

static void random_set_free(test_random *random, sparse_model *m)
{
    uint64_t first = next_in(m, test_below(random, m->page_count), FALLOW__STATES_FREE);
    if (first < m->page_count) {
        uint64_t count = random_count(random, states_end(m, first, FALLOW__STATES_FREE) - first);
        fallow__page_state state = (fallow__page_state)test_below(random, 4);
        if (open_blocks(m, first, count)) {
            fallow__pages_set_free(&m->pages, first, count, state);
            set_segments(m, first, count, state);
        }
    }
}

static void large_arena(test_random *random, uint64_t page_count)
{
    static sparse_model model;
    sparse_model *m = &model;
    *m = (sparse_model){0};
    if (!sparse_create(m, page_count)) {
        printf("no room for %llu pages\n", (unsigned long long)page_count);
        return;
    }
    if (sparse_init(m)) {
        /* all of it as one run, and again */
        take(m, 0, page_count, false);
        if (m->segment_count > 1) {
            assert_int_equal(fallow__pages_run_end(&m->pages, 0), page_count);
            fallow__pages_free(&m->pages, 0, page_count);
            change_segments(m, 0, page_count, freed);
        }
        check_counts(m);
        for (int step = 0; step < 1500; step++) {
            switch (test_below(random, 4)) {
            case 0:
            case 1: random_take(random, m); break;
            case 2: random_change(random, m); break;
            default: test_below(random, 2) == 0 ? random_set_free(random, m) : random_change(random, m); break;
            }
            if (step % 10 == 0) {
                check_counts(m);
                check_walks(m, (unsigned)test_below(random, 256));
            }
        }
        check_counts(m);
    }
    sparse_destroy(m);
}

static void large_arenas(void **state)
{
    (void)state;
    fallow_system facts;
    fallow_system_info(&facts);
    bool is_narrow = facts.address_space_bytes <= (uint64_t)1 << 32;
    bool is_dear = is_narrow || facts.is_wine || facts.is_emulated;
    test_random random = test_seed("model_pages_sparse");
    large_arena(&random, ((uint64_t)1 << 27) + 12345);
    large_arena(&random, (uint64_t)1 << 28);
    if (!is_dear) {
        large_arena(&random, ((uint64_t)1 << 33) - 1);
        large_arena(&random, (uint64_t)1 << 36);
    }
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_arenas),
    };
    return cmocka_run_group_tests_name("model_pages_sparse", tests, NULL, NULL);
}
