/* One thread and its cache against a model: what it holds is a list of runs, searched by walking. The thread's cache may
 * keep whatever it likes; but nothing is handed out twice, a run holds what was written to it, is_zero is true only of
 * zeros, nothing is refused that there is room for once the caches are empty, and the figures are those of the runs,
 * exactly. Works on any system: also linked with the simulated ones, which look for what is left behind. */
#include "test.h"

#include <string.h>

#include "fallow.h"
#include "tools.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum {
    RUNS_MAX = 400
};

/* A live run. Its first and last word of each page say which run and which page it is, but for pages [none_first,
 * none_first + none_count), which are not committed. */
typedef struct run {
    unsigned char *base;
    size_t count; /* pages */
    size_t none_first;
    size_t none_count;
    uint64_t stamp;
} run;

typedef struct setting {
    size_t page_bytes; /* 0 = that of the system */
    size_t pages;      /* of the arena */
    size_t cache_bytes;
    fallow_purge purge;
    unsigned rounds;
} setting;

static struct {
    fallow_arena *arena;
    size_t page;
    size_t page_count;
    unsigned char *base; /* of page 0 */
    size_t cache_bytes;  /* the bound of what is kept */
    size_t kept_pages;   /* the longest run that is kept */
    size_t run_count;
    run runs[RUNS_MAX];
    uint64_t next_stamp;
    long long granted_bytes;
    test_random random;
} scene;

static size_t below(size_t limit)
{
    return (size_t)test_below(&scene.random, limit);
}

/* --- contents ---------------------------------------------------------------------------------------------- */

static bool is_none(const run *r, size_t page)
{
    return page - r->none_first < r->none_count;
}

static void stamp_page(const run *r, size_t page)
{
    unsigned char *base = r->base + page * scene.page;
    uint64_t value = r->stamp ^ (uint64_t)(uintptr_t)base;
    memcpy(base, &value, sizeof value);
    memcpy(base + scene.page - sizeof value, &value, sizeof value);
}

static void stamp(run *r, size_t first, size_t count)
{
    for (size_t page = first; page < first + count; page++) {
        if (!is_none(r, page)) {
            stamp_page(r, page);
        }
    }
}

/* A new stamp, which no run has had. */
static void restamp(run *r)
{
    r->stamp = ++scene.next_stamp * 0x9e3779b97f4a7c15u;
    stamp(r, 0, r->count);
}

static void look(const run *r)
{
    for (size_t page = 0; page < r->count; page++) {
        const unsigned char *base = r->base + page * scene.page;
        uint64_t value = r->stamp ^ (uint64_t)(uintptr_t)base;
        if (!is_none(r, page)) {
            assert_memory_equal(base, &value, sizeof value);
            assert_memory_equal(base + scene.page - sizeof value, &value, sizeof value);
        }
    }
}

static void check_zero(const unsigned char *base, size_t size_bytes)
{
    assert_true(base[0] == 0 && memcmp(base, base + 1, size_bytes - 1) == 0);
}

/* --- the arena --------------------------------------------------------------------------------------------- */

static bool before_commit(void *context, void *base, size_t size_bytes)
{
    (void)context;
    (void)base;
    scene.granted_bytes += (long long)size_bytes;
    return true;
}

static void after_decommit(void *context, void *base, size_t size_bytes)
{
    (void)context;
    (void)base;
    scene.granted_bytes -= (long long)size_bytes;
}

/* The figures are those of the runs. */
static fallow_arena_stats check(void)
{
    fallow_arena_stats s;
    size_t none = 0;
    size_t all = 0;
    for (size_t i = 0; i < scene.run_count; i++) {
        none += scene.runs[i].none_count;
        all += scene.runs[i].count;
    }
    fallow_arena_read_stats(scene.arena, &s);
    assert_int_equal(s.run_count, scene.run_count);
    assert_int_equal(s.in_use_bytes, (all - none) * scene.page);
    assert_int_equal(s.uncommitted_bytes, none * scene.page);
    assert_int_equal(s.backed_bytes,
                     s.in_use_bytes + s.cached_bytes + s.retained_bytes + s.released_lazy_bytes + s.metadata_bytes);
    assert_int_equal(s.committed_bytes, s.backed_bytes + s.released_zero_bytes);
    assert_true(s.cached_bytes <= scene.cache_bytes);
    assert_true(s.peak_in_use_bytes >= s.in_use_bytes + s.cached_bytes);
    assert_int_equal(s.committed_bytes, scene.granted_bytes);
    assert_int_equal(fallow_arena_check(scene.arena), FALLOW_OK);
    return s;
}

static void begin(const setting *wanted)
{
    fallow_system system;
    fallow_system_info(&system);
    size_t page = wanted->page_bytes > system.page_bytes ? wanted->page_bytes : system.page_bytes;
    fallow_arena_options options = {
        .page_bytes = page,
        .reserve_bytes = wanted->pages * page,
        .thread_cache_bytes = wanted->cache_bytes,
        .grow_bytes = 16 * page,
        .purge = wanted->purge,
        .scavenge = FALLOW_SCAVENGE_OFF,
        .flags = FALLOW_ARENA_FIXED,
        .before_commit = before_commit,
        .after_decommit = after_decommit,
    };
    fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_NO_CACHE};
    fallow_run first;
    test_random random = scene.random;
    memset(&scene, 0, sizeof scene);
    scene.random = random;
    assert_int_equal(fallow_arena_create(&options, &scene.arena), FALLOW_OK);
    assert_int_equal(fallow_arena_alloc_run(scene.arena, 1, &addresses, &first), FALLOW_OK);
    fallow_arena_free(scene.arena, first.base, first.size_bytes);
    scene.page = page;
    scene.page_count = wanted->pages;
    scene.base = first.base;
    scene.cache_bytes = wanted->cache_bytes != 0 ? wanted->cache_bytes : wanted->pages * page / 64;
    scene.kept_pages = (scene.cache_bytes / 4 < 16 * MIB ? scene.cache_bytes / 4 : 16 * MIB) / page;
}

/* Everything comes back. */
static void end(void)
{
    fallow_arena_stats s;
    while (scene.run_count > 0) {
        const run *r = &scene.runs[--scene.run_count];
        look(r);
        fallow_arena_free(scene.arena, r->base, r->count * scene.page);
    }
    s = check();
    size_t held_bytes = s.cached_bytes + s.retained_bytes;
    size_t released_bytes;
    assert_int_equal(fallow_arena_trim(scene.arena, 0, &released_bytes), FALLOW_OK);
    assert_int_equal(released_bytes, held_bytes);
    s = check();
    assert_int_equal(s.cached_bytes, 0);
    assert_int_equal(s.retained_bytes, 0);
    assert_int_equal(s.extent_bytes, 0);
    fallow_arena_destroy(scene.arena);
    assert_int_equal(scene.granted_bytes, 0);
}

/* --- places ------------------------------------------------------------------------------------------------ */

static size_t page_of(const unsigned char *address)
{
    return (size_t)(address - scene.base) / scene.page;
}

static bool is_clear(const unsigned char *base, size_t count)
{
    for (size_t i = 0; i < scene.run_count; i++) {
        const run *r = &scene.runs[i];
        if (base < r->base + r->count * scene.page && r->base < base + count * scene.page) {
            return false;
        }
    }
    return true;
}

/* Which pages are in a run, in the model or in the arena's own view, where runs that the thread keeps are used too. */
static void map_used(unsigned char *used_out, bool is_arenas)
{
    memset(used_out, 0, scene.page_count);
    for (size_t page = 0; is_arenas && page < scene.page_count;) {
        fallow_run found;
        if (fallow_arena_run_of(scene.arena, scene.base + page * scene.page, &found) == FALLOW_OK) {
            memset(used_out + page, 1, found.size_bytes / scene.page);
            page += found.size_bytes / scene.page;
        } else {
            page++;
        }
    }
    for (size_t i = 0; i < scene.run_count; i++) {
        memset(used_out + page_of(scene.runs[i].base), 1, scene.runs[i].count);
    }
}

/* The lowest place; NULL: none. */
static unsigned char *lowest(size_t count, size_t align_bytes, bool is_arenas)
{
    static unsigned char used[1 << 15];
    assert_true(scene.page_count <= sizeof used);
    map_used(used, is_arenas);
    for (size_t first = 0; first + count <= scene.page_count; first++) {
        unsigned char *place = scene.base + first * scene.page;
        size_t last = first + count;
        while (last > first && used[last - 1] == 0) {
            last--;
        }
        if (last == first && (align_bytes == 0 || (uintptr_t)place % align_bytes == 0)) {
            return place;
        }
        first = last > first ? last - 1 : first;
    }
    return NULL;
}

/* --- operations -------------------------------------------------------------------------------------------- */

static size_t random_count(void)
{
    size_t most = scene.page_count / 4;
    size_t count;
    switch (below(16)) {
    case 0: count = scene.kept_pages; break; /* the longest that is kept, and longer */
    case 1: count = scene.kept_pages + 1 + below(3); break;
    case 2: count = 1 + below(scene.kept_pages); break;
    case 3:
    case 4:
    case 5: count = 1 + below(64); break;
    default: count = 1 + below(8); break;
    }
    return count < most ? count : most;
}

/* What a caller may say: the size, or any that is rounded to it. */
static size_t spelled(size_t count)
{
    return count * scene.page - below(2) * below(scene.page);
}

static run *add(void *base, size_t count)
{
    run *r = &scene.runs[scene.run_count];
    assert_true((uintptr_t)base % scene.page == 0);
    assert_true((unsigned char *)base >= scene.base && page_of(base) + count <= scene.page_count);
    assert_true(is_clear(base, count));
    *r = (run){.base = base, .count = count};
    scene.run_count++;
    return r;
}

static void op_alloc(void)
{
    void *base = NULL;
    size_t count = random_count();
    if (scene.run_count == RUNS_MAX) {
        return;
    }
    fallow_status status = fallow_arena_alloc(scene.arena, spelled(count), &base);
    if (status == FALLOW_OK) {
        restamp(add(base, count));
    } else {
        assert_int_equal(status, FALLOW_ERR_EXHAUSTED);
        assert_null(lowest(count, 0, false));
    }
}

static fallow_run_options random_options(void)
{
    fallow_run_options options = {0};
    options.flags |= below(2) == 0 ? FALLOW_RUN_ZEROED : 0;
    options.flags |= below(3) == 0 ? FALLOW_RUN_NO_CACHE : 0;
    options.flags |= below(6) == 0 ? FALLOW_RUN_TOP_DOWN : 0;
    if (below(6) == 0) {
        options.flags = (options.flags & ~(uint32_t)FALLOW_RUN_ZEROED) | FALLOW_RUN_UNCOMMITTED;
    }
    if (below(5) == 0) {
        options.align_bytes = scene.page << below(4);
    }
    if (below(6) == 0) {
        options.at = scene.base + below(scene.page_count) * scene.page;
        options.align_bytes = 0;
    }
    return options;
}

/* Where the arena has to put it, as far as that is known; NULL: anywhere, or nowhere. */
static unsigned char *expected_place(size_t count, const fallow_run_options *options)
{
    bool is_strict = (options->flags & FALLOW_RUN_NO_CACHE) != 0 && (options->flags & FALLOW_RUN_TOP_DOWN) == 0;
    if (options->at != NULL || !is_strict || below(4) != 0) {
        return NULL;
    }
    unsigned char *place = lowest(count, options->align_bytes, true);
    return place != NULL ? place : lowest(count, options->align_bytes, false); /* what is kept is taken back first */
}

static bool has_place(size_t count, const fallow_run_options *options)
{
    if (options->at != NULL) {
        return page_of(options->at) + count <= scene.page_count && is_clear(options->at, count);
    }
    return lowest(count, options->align_bytes, false) != NULL;
}

static void op_alloc_run(void)
{
    fallow_run got;
    size_t count = random_count();
    fallow_run_options options = random_options();
    if (scene.run_count == RUNS_MAX) {
        return;
    }
    unsigned char *expected = expected_place(count, &options);
    fallow_status status = fallow_arena_alloc_run(scene.arena, spelled(count), &options, &got);
    if (status != FALLOW_OK) {
        assert_int_equal(status, FALLOW_ERR_EXHAUSTED);
        assert_false(has_place(count, &options));
        return;
    }
    assert_int_equal(got.size_bytes, count * scene.page);
    assert_true(options.at == NULL || got.base == options.at);
    assert_true(expected == NULL || got.base == expected);
    assert_true(options.align_bytes == 0 || (uintptr_t)got.base % options.align_bytes == 0);
    assert_true((options.flags & FALLOW_RUN_ZEROED) == 0 || got.is_zero);
    run *r = add(got.base, count);
    if ((options.flags & FALLOW_RUN_UNCOMMITTED) != 0) {
        r->none_count = count;
    } else if (got.is_zero) {
        check_zero(r->base, count * scene.page);
    }
    restamp(r);
}

/* A run to work on, the latest of them often. */
static run *pick(void)
{
    return scene.run_count == 0 ? NULL : &scene.runs[below(3) == 0 ? scene.run_count - 1 : below(scene.run_count)];
}

static void drop(run *r)
{
    *r = scene.runs[--scene.run_count];
}

static void op_free(void)
{
    run *r = pick();
    if (r != NULL) {
        look(r);
        fallow_arena_free(scene.arena, r->base, spelled(r->count));
        drop(r);
    }
}

static void op_free_many(void)
{
    fallow_run runs[16];
    size_t count = below(16);
    for (size_t i = 0; i < count; i++) {
        run *r = pick();
        runs[i] = (fallow_run){0};
        if (r != NULL && below(5) != 0) {
            look(r);
            runs[i] = (fallow_run){.base = r->base, .size_bytes = spelled(r->count)};
            drop(r);
        }
    }
    fallow_arena_free_many(scene.arena, runs, count);
}

static void op_extend(void)
{
    run *r = pick();
    size_t more = below(12);
    if (r == NULL || r->none_count != 0) {
        return;
    }
    fallow_status status = fallow_arena_extend(scene.arena, r->base, spelled(r->count), (r->count + more) * scene.page);
    if (status == FALLOW_OK) {
        run behind = *r;
        r->count = 0; /* is_clear is to look at the others only */
        assert_true(page_of(behind.base) + behind.count + more <= scene.page_count);
        assert_true(is_clear(behind.base + behind.count * scene.page, more));
        r->count = behind.count + more;
        stamp(r, behind.count, more);
        look(r);
    } else {
        assert_int_equal(status, FALLOW_ERR_EXHAUSTED);
        assert_false(page_of(r->base) + r->count + more <= scene.page_count &&
                     is_clear(r->base + r->count * scene.page, more));
    }
}

/* The part of a run's pages without memory that lies in [first, first + count). */
static void cut_none(run *r, size_t first, size_t count)
{
    size_t end = r->none_first + r->none_count;
    size_t from = r->none_first > first ? r->none_first : first;
    size_t until = end < first + count ? end : first + count;
    r->none_first = until > from ? from - first : 0;
    r->none_count = until > from ? until - from : 0;
}

static void op_shrink(void)
{
    run *r = pick();
    if (r != NULL) {
        size_t old_count = r->count;
        r->count = 1 + below(old_count);
        fallow_arena_shrink(scene.arena, r->base, old_count * scene.page, spelled(r->count));
        cut_none(r, 0, r->count);
        look(r);
    }
}

static void op_split(void)
{
    run *r = pick();
    if (r == NULL || r->count < 2 || scene.run_count == RUNS_MAX) {
        return;
    }
    size_t first = 1 + below(r->count - 1);
    fallow_arena_split(scene.arena, r->base, spelled(r->count), first * scene.page);
    run *second = &scene.runs[scene.run_count++];
    *second = *r;
    second->base += first * scene.page;
    second->count -= first;
    cut_none(second, first, second->count);
    r->count = first;
    cut_none(r, 0, first);
    look(r);
    look(second);
}

static void op_decommit(void)
{
    run *r = pick();
    if (r == NULL || r->none_count != 0) {
        return;
    }
    r->none_first = below(2) * below(r->count);
    r->none_count = 1 + below(r->count - r->none_first);
    assert_int_equal(
        fallow_arena_decommit(scene.arena, r->base + r->none_first * scene.page, r->none_count * scene.page),
        FALLOW_OK);
    look(r);
}

static void op_commit(void)
{
    run *r = pick();
    if (r == NULL || r->none_count == 0) {
        return;
    }
    unsigned char *base = r->base + r->none_first * scene.page;
    assert_int_equal(fallow_arena_commit(scene.arena, base, r->none_count * scene.page), FALLOW_OK);
    check_zero(base, r->none_count * scene.page);
    r->none_count = 0;
    restamp(r);
}

static void op_trim(void)
{
    size_t keep_bytes = below(2) * below(64) * scene.page;
    assert_int_equal(fallow_arena_trim(scene.arena, keep_bytes, NULL), FALLOW_OK);
    fallow_arena_stats s = check();
    assert_int_equal(s.cached_bytes, 0);
    assert_true(s.retained_bytes <= keep_bytes);
}

static void op_flush(void)
{
    fallow_arena_flush_thread(scene.arena);
    assert_int_equal(check().cached_bytes, 0);
}

/* So many runs of one size, freed in the order they were taken in, the other way round, or in none. */
static void op_burst(void)
{
    size_t count = 1 + below(8);
    size_t first = scene.run_count;
    size_t burst = 1 + below(below(4) == 0 ? 200 : 20);
    unsigned way = (unsigned)below(4);
    for (size_t i = 0; i < burst && scene.run_count < RUNS_MAX; i++) {
        void *base = NULL;
        if (fallow_arena_alloc(scene.arena, spelled(count), &base) != FALLOW_OK) {
            break;
        }
        restamp(add(base, count));
    }
    size_t taken = scene.run_count - first;
    for (size_t i = 0; way != 3 && i < taken; i++) {
        size_t place = way == 0 ? taken - 1 - i : way == 1 ? i : i + below(taken - i);
        run chosen = scene.runs[first + place];
        if (way == 2) {
            scene.runs[first + place] = scene.runs[first + i];
        }
        look(&chosen);
        fallow_arena_free(scene.arena, chosen.base, chosen.count * scene.page);
    }
    scene.run_count = way == 3 ? scene.run_count : first;
}

static void (*const operations[])(void) = {
    op_alloc,  op_alloc,  op_alloc,  op_alloc, op_alloc_run, op_alloc_run, op_alloc_run, op_alloc_run, op_free,
    op_free,   op_free,   op_free,   op_free,  op_free,      op_free,      op_free,      op_free_many, op_extend,
    op_extend, op_shrink, op_shrink, op_split, op_split,     op_decommit,  op_commit,    op_burst,     op_burst,
};

/* Less often. */
static void (*const rare[])(void) = {op_trim, op_flush, op_flush};

static void churn(const setting *wanted)
{
    begin(wanted);
    for (unsigned round = 0; round < wanted->rounds; round++) {
        if (below(40) == 0) {
            rare[below(sizeof rare / sizeof rare[0])]();
        } else {
            operations[below(sizeof operations / sizeof operations[0])]();
        }
        (void)check();
    }
    end();
}

static void random_lives(void **state)
{
    static const setting settings[] = {
        {0, 4096, 256 << 10, FALLOW_PURGE_DONTNEED, 6000}, /* few runs are kept, and dropped again and again */
        {0, 4096, 1 << 20, FALLOW_PURGE_FREE, 6000},
        {0, 600, 1 << 20, FALLOW_PURGE_DECOMMIT, 6000}, /* near its end all the time */
        {0, 8192, 0, FALLOW_PURGE_DONTNEED, 3000},      /* as many as are kept by default */
        {8 << 10, 4096, 2 << 20, FALLOW_PURGE_DECOMMIT, 4000},
        {64 << 10, 512, 4 << 20, FALLOW_PURGE_DONTNEED, 3000},
        {64 << 10, 256, 300000, FALLOW_PURGE_FREE, 3000}, /* one size only, 4 runs */
        {2 << 20, 48, 16 << 20, FALLOW_PURGE_DONTNEED, 600},
    };
    (void)state;
    scene.random = test_seed("unit_cache");
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        churn(&settings[i]);
    }
}

/* Up to 16 MiB, and nothing longer. */
static void the_longest_run_that_is_kept(void **state)
{
    (void)state;
    begin(&(setting){.page_bytes = 64 << 10, .pages = 1024, .cache_bytes = 64 << 20});
    assert_int_equal(scene.kept_pages * scene.page, 16 * MIB);
    for (size_t more = 0; more < 2; more++) {
        size_t size_bytes = (scene.kept_pages + more) * scene.page;
        void *base = NULL;
        assert_int_equal(fallow_arena_alloc(scene.arena, size_bytes, &base), FALLOW_OK);
        fallow_arena_free(scene.arena, base, size_bytes);
        assert_int_equal(check().cached_bytes, more == 0 ? size_bytes : 16 * MIB);
    }
    end();
}

/* A bound below 256 KiB is none at all. */
static void too_small_a_bound_keeps_nothing(void **state)
{
    static const size_t bounds[] = {1, (256 << 10) - 1, FALLOW_CACHE_NONE};
    (void)state;
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        fallow_arena_stats before;
        fallow_arena_stats after;
        begin(&(setting){.pages = 256, .cache_bytes = bounds[i]});
        fallow_arena_read_stats(scene.arena, &before);
        for (int round = 0; round < 100; round++) {
            void *base = NULL;
            assert_int_equal(fallow_arena_alloc(scene.arena, scene.page, &base), FALLOW_OK);
            assert_ptr_equal(base, scene.base);
            fallow_arena_free(scene.arena, base, scene.page);
        }
        fallow_arena_read_stats(scene.arena, &after);
        assert_int_equal(after.cached_bytes, 0);
        assert_int_equal(after.metadata_bytes, before.metadata_bytes);
        assert_int_equal(after.reserved_bytes, before.reserved_bytes);
        end();
    }
}

/* What a thread keeps is in the figures, is found by run_of, and is no place for a run with NO_CACHE. */
static void what_is_kept_can_be_seen(void **state)
{
    enum {
        COUNT = 40
    };
    void *bases[COUNT];
    fallow_run found;
    (void)state;
    begin(&(setting){.pages = 1024, .cache_bytes = 16 << 20});
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(fallow_arena_alloc(scene.arena, 2 * scene.page, &bases[i]), FALLOW_OK);
    }
    for (int i = 0; i < COUNT; i++) {
        fallow_arena_free(scene.arena, bases[i], 2 * scene.page);
    }
    fallow_arena_stats s = check();
    assert_true(s.cached_bytes >= 2 * COUNT * scene.page);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(fallow_arena_run_of(scene.arena, (char *)bases[i] + scene.page, &found), FALLOW_OK);
        assert_ptr_equal(found.base, bases[i]);
        assert_int_equal(found.size_bytes, 2 * scene.page);
    }
    fallow_run_options past = {.flags = FALLOW_RUN_NO_CACHE};
    unsigned char *expected = lowest(2, 0, true);
    assert_int_equal(fallow_arena_alloc_run(scene.arena, 2 * scene.page, &past, &found), FALLOW_OK);
    assert_ptr_equal(found.base, expected);
    fallow_arena_free(scene.arena, found.base, found.size_bytes);
    fallow_arena_flush_thread(scene.arena);
    assert_int_equal(check().cached_bytes, 0);
    assert_int_equal(fallow_arena_alloc_run(scene.arena, 2 * scene.page, &past, &found), FALLOW_OK);
    assert_ptr_equal(found.base, scene.base);
    fallow_arena_free(scene.arena, found.base, found.size_bytes);
    end();
}

/* A stack grows with what is freed, up to the bound, and the oldest are dropped then: no more is kept than the bound,
 * and not much less. */
static void the_bound_is_kept_and_used(void **state)
{
    enum {
        COUNT = 3000
    };
    static void *bases[COUNT];
    (void)state;
    /* the default; where a tool listens that is nothing, and another one is asked for */
    begin(&(setting){.pages = 2 * COUNT, .cache_bytes = fallow__tools_listen() ? 8 * MIB : 0});
    size_t wanted = scene.cache_bytes / scene.page < COUNT ? scene.cache_bytes / scene.page : COUNT;
    assert_true(wanted > 64);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(fallow_arena_alloc(scene.arena, scene.page, &bases[i]), FALLOW_OK);
    }
    for (int i = 0; i < COUNT; i++) {
        fallow_arena_stats s;
        fallow_arena_free(scene.arena, bases[i], scene.page);
        fallow_arena_read_stats(scene.arena, &s);
        assert_true(s.cached_bytes <= scene.cache_bytes);
    }
    assert_true(check().cached_bytes >= wanted * scene.page / 4);
    end();
}

/* What was taken of one size is room for others; coming back to where it was taken from it is not kept beyond the bound
 * all the same. */
static void the_bound_holds_for_all_sizes_together(void **state)
{
    enum {
        SIZES = 6,
        COUNT = 64
    };
    static void *bases[SIZES][COUNT];
    (void)state;
    begin(&(setting){.page_bytes = 64 << 10, .pages = 2048, .cache_bytes = COUNT * (64 << 10)});
    for (int round = 0; round < 2; round++) {
        for (size_t size = 0; size < SIZES; size++) {
            for (int i = 0; i < COUNT; i++) {
                assert_int_equal(fallow_arena_alloc(scene.arena, (size + 1) * scene.page, &bases[size][i]), FALLOW_OK);
            }
            for (int i = 0; i < COUNT && round == 0; i++) {
                fallow_arena_free(scene.arena, bases[size][i], (size + 1) * scene.page);
            }
            for (int i = 0; i < COUNT && round == 0; i++) {
                assert_int_equal(fallow_arena_alloc(scene.arena, (size + 1) * scene.page, &bases[size][i]), FALLOW_OK);
            }
        }
        for (size_t size = 0; size < SIZES; size++) {
            for (int i = COUNT; i-- > 0;) {
                fallow_arena_stats s;
                fallow_arena_free(scene.arena, bases[size][i], (size + 1) * scene.page);
                fallow_arena_read_stats(scene.arena, &s);
                assert_true(s.cached_bytes <= scene.cache_bytes);
            }
        }
    }
    end();
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_run_that_is_kept),
        cmocka_unit_test(too_small_a_bound_keeps_nothing),
        cmocka_unit_test(what_is_kept_can_be_seen),
        cmocka_unit_test(the_bound_is_kept_and_used),
        cmocka_unit_test(the_bound_holds_for_all_sizes_together),
        cmocka_unit_test(random_lives),
    };
    return cmocka_run_group_tests_name("unit_cache", tests, NULL, NULL);
}
