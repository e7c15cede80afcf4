/* What other threads may see and do while an arena is in a system call: the hook of the simulated system stands for
 * them, so every moment can be had. No call is made with the arena's lock held; the figures add up at each; memory that
 * is being given back is nobody's; a place that someone else takes meanwhile is not given twice. */
#include "test.h"

#include <string.h>

#include "map.h"
#include "sim_os.h"

static struct {
    fallow_arena *arena; /* NULL: there is none, or not any more */
    size_t page;
    uint64_t looks;
    void (*meanwhile)(sim_call call, const void *base, size_t size_bytes); /* optional */
} scene;

/* What would be drawn is what is counted: what is out is the free memory that it was. */
static void look_at_ranges(const fallow_arena_stats *s)
{
    uint64_t pages[FALLOW__MAP_PAGE_KINDS] = {0};
    fallow__map_source source;
    fallow__map_part part;
    fallow__map_range ranges[FALLOW__MAP_BITE];
    fallow__arena_map_source(scene.arena, &source);
    for (size_t index = 0; source.part(source.context, index, &part); index++) {
        for (uint64_t page = 0; page < part.page_count;) {
            size_t count = source.ranges(source.context, index, page, part.page_count, ranges);
            assert_in_range(count, 1, FALLOW__MAP_BITE);
            for (size_t i = 0; i < count; i++) {
                assert_int_equal(ranges[i].first, page);
                pages[ranges[i].kind] += ranges[i].count;
                page += ranges[i].count;
            }
        }
    }
    assert_int_equal(pages[FALLOW__MAP_IN_USE] * scene.page, s->in_use_bytes);
    assert_int_equal(pages[FALLOW__MAP_RETAINED] * scene.page, s->retained_bytes);
    assert_int_equal(pages[FALLOW__MAP_LAZY] * scene.page, s->released_lazy_bytes);
    assert_int_equal(pages[FALLOW__MAP_RELEASED] * scene.page, s->released_zero_bytes);
    assert_int_equal(pages[FALLOW__MAP_ADDRESSES] * scene.page, s->uncommitted_bytes);
}

static fallow_arena_stats look(void)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(scene.arena, &s);
    assert_int_equal(s.backed_bytes,
                     s.in_use_bytes + s.cached_bytes + s.retained_bytes + s.released_lazy_bytes + s.metadata_bytes);
    assert_int_equal(s.committed_bytes, s.backed_bytes + s.released_zero_bytes);
    assert_int_equal(fallow_arena_check(scene.arena), FALLOW_OK);
    look_at_ranges(&s);
    return s;
}

static void in_a_call(void *context, sim_call call, const void *base, size_t size_bytes)
{
    (void)context;
    if (call == SIM_LOCK || call == SIM_UNLOCK) {
        return;
    }
    assert_int_equal(sim_counts().held_locks, 0);
    if (scene.arena != NULL) {
        (void)look();
        scene.looks++;
        if (scene.meanwhile != NULL) {
            scene.meanwhile(call, base, size_bytes);
        }
    }
}

static bool grant(void *context, void *base, size_t size_bytes)
{
    in_a_call(context, SIM_COMMIT, base, size_bytes);
    return true;
}

static void returned(void *context, void *base, size_t size_bytes)
{
    in_a_call(context, SIM_DECOMMIT, base, size_bytes);
}

static void begin(sim_options system, fallow_arena_options options)
{
    memset(&scene, 0, sizeof scene);
    system.hook = in_a_call;
    assert_true(sim_begin(&system));
    size_t page = fallow__os_page_bytes();
    options.page_bytes = page;
    options.reserve_bytes = options.reserve_bytes != 0 ? options.reserve_bytes : 256 * page;
    options.grow_bytes = options.grow_bytes != 0 ? options.grow_bytes : 8 * page;
    options.limit_bytes *= page;
    options.thread_cache_bytes = FALLOW_CACHE_NONE;
    options.thread_cache_bytes = FALLOW_CACHE_NONE;
    options.before_commit = grant;
    options.after_decommit = returned;
    fallow_arena *arena = NULL;
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    scene.page = page;
    scene.arena = arena;
}

static void end(void)
{
    fallow_arena *arena = scene.arena;
    (void)look();
    scene.arena = NULL;
    fallow_arena_destroy(arena);
    assert_true(sim_end());
}

static char *take(uint64_t pages, uint32_t flags)
{
    fallow_run run;
    fallow_run_options options = {.flags = flags};
    if (fallow_arena_alloc_run(scene.arena, (size_t)pages * scene.page, &options, &run) != FALLOW_OK) {
        return NULL;
    }
    if ((flags & FALLOW_RUN_UNCOMMITTED) == 0) {
        memset(run.base, 1, run.size_bytes);
    }
    return run.base;
}

static void give(char *run, uint64_t pages)
{
    if (run != NULL) {
        fallow_arena_free(scene.arena, run, (size_t)pages * scene.page);
    }
}

/* --- everything that makes a call --------------------------------------------------------------------------- */

static void work(void)
{
    size_t page = scene.page;
    char *low = take(20, 0);
    char *hole = take(10, 0);
    char *high = take(20, FALLOW_RUN_TOP_DOWN | FALLOW_RUN_ZEROED);
    give(hole, 10);
    char *addresses = take(40, FALLOW_RUN_UNCOMMITTED);
    if (addresses != NULL) {
        (void)!fallow_arena_commit(scene.arena, addresses + 3 * page, 10 * page);
        (void)!fallow_arena_decommit(scene.arena, addresses + 5 * page, 3 * page);
        (void)!fallow_arena_commit(scene.arena, addresses, 40 * page);
    }
    if (low != NULL && fallow_arena_extend(scene.arena, low, 20 * page, 24 * page) == FALLOW_OK) {
        fallow_arena_shrink(scene.arena, low, 24 * page, 20 * page);
    }
    (void)!fallow_arena_trim(scene.arena, 5 * page, NULL);
    char *large = take(300, 0); /* a further reservation */
    give(large, 300);
    give(addresses, 40);
    (void)!fallow_arena_trim(scene.arena, 0, NULL);
    give(take(100, 0), 100);
    give(low, 20);
    give(high, 20);
    (void)!fallow_arena_trim(scene.arena, 0, NULL);
}

static void no_call_with_the_lock_held(void **state)
{
    static const fallow_purge purges[] = {FALLOW_PURGE_DONTNEED, FALLOW_PURGE_FREE, FALLOW_PURGE_DECOMMIT};
    (void)state;
    for (int way = 0; way < 12; way++) {
        begin((sim_options){.rules = way % 2 == 0 ? SIM_LINUX : SIM_WINDOWS, .seed = (uint64_t)way},
              (fallow_arena_options){.purge = purges[way % 3], .limit_bytes = way < 6 ? 0 : 150});
        work();
        assert_true(scene.looks > 20);
        end();
    }
}

/* The same with call after call refused: what is undone is undone without the lock, too. */
static void no_refusal_with_the_lock_held(void **state)
{
    static const fallow_purge purges[] = {FALLOW_PURGE_DONTNEED, FALLOW_PURGE_FREE, FALLOW_PURGE_DECOMMIT};
    (void)state;
    for (uint64_t skip = 0; skip < 60; skip++) {
        begin((sim_options){.rules = skip % 2 == 0 ? SIM_LINUX : SIM_WINDOWS, .seed = skip},
              (fallow_arena_options){.purge = purges[skip % 3]});
        sim_refuse(&(sim_refusal){
            .calls = SIM_EVERY_CALL & ~SIM_CALL(SIM_RELEASE), .skip = skip, .times = 2, .is_halfway = skip % 4 < 2});
        work();
        sim_refuse(NULL);
        work();
        end();
    }
}

/* --- what is out -------------------------------------------------------------------------------------------- */

static struct {
    char *freed;
    char *next; /* the run behind it, the highest of the arena */
    fallow_arena_stats before;
    uint64_t seen;
} out;

/* The freed pages are as they were in every figure, and not to be had. */
static void look_at_what_is_out(sim_call call, const void *base, size_t size_bytes)
{
    size_t page = scene.page;
    fallow_run run;
    if (call != SIM_PURGE && call != SIM_DECOMMIT) {
        return;
    }
    assert_ptr_equal(base, out.freed);
    assert_int_equal(size_bytes, 10 * page);
    fallow_arena_stats s = look();
    assert_int_equal(s.in_use_bytes, out.before.in_use_bytes);
    assert_int_equal(s.retained_bytes, out.before.retained_bytes);
    assert_int_equal(s.released_zero_bytes, out.before.released_zero_bytes);
    assert_int_equal(s.uncommitted_bytes, out.before.uncommitted_bytes);
    assert_int_equal(s.run_count, out.before.run_count);
    assert_int_equal(s.extent_bytes, out.before.extent_bytes);
    for (size_t i = 0; i < 10; i++) {
        assert_true(fallow_arena_owns(scene.arena, out.freed + i * page));
        assert_int_equal(fallow_arena_run_of(scene.arena, out.freed + i * page, &run), FALLOW_ERR_INVALID);
    }
    if (out.next != NULL) {
        assert_int_equal(fallow_arena_run_of(scene.arena, out.next, &run), FALLOW_OK);
        assert_ptr_equal(run.base, out.next);
        assert_int_equal(run.size_bytes, page);
    }
    assert_int_equal(fallow_arena_run_of(scene.arena, out.freed - 1, &run), FALLOW_OK);
    assert_int_equal(run.size_bytes, 3 * page);
    out.seen++;
}

static void what_is_out_is_nobodys(void **state)
{
    static const fallow_purge purges[] = {FALLOW_PURGE_DONTNEED, FALLOW_PURGE_FREE, FALLOW_PURGE_DECOMMIT};
    (void)state;
    for (int way = 0; way < 12; way++) {
        begin((sim_options){.rules = way % 2 == 0 ? SIM_LINUX : SIM_WINDOWS},
              (fallow_arena_options){.purge = purges[way % 3]});
        memset(&out, 0, sizeof out);
        char *low = take(3, 0);
        out.freed = take(10, 0);
        out.next = way < 6 ? take(1, 0) : NULL; /* else what is out would be the highest of the extent */
        give(out.freed, 10);
        out.before = look();
        scene.meanwhile = look_at_what_is_out;
        size_t released_bytes;
        assert_int_equal(fallow_arena_trim(scene.arena, 1, &released_bytes), FALLOW_OK);
        scene.meanwhile = NULL;
        assert_int_equal(released_bytes, 10 * scene.page);
        assert_true(out.seen != 0);
        assert_ptr_equal(take(10, 0), out.freed);
        give(low, 3);
        end();
    }
}

/* --- what is taken meanwhile -------------------------------------------------------------------------------- */

static char *stolen;
static sim_call steal_at;

/* Take a page of the place that is being prepared. */
static void steal(sim_call call, const void *base, size_t size_bytes)
{
    (void)base;
    (void)size_bytes;
    if (call == steal_at && stolen == NULL) {
        stolen = take(1, FALLOW_RUN_NO_GROW);
        assert_non_null(stolen);
    }
}

static void a_place_that_is_taken_meanwhile(void **state)
{
    (void)state;
    for (int is_extension = 0; is_extension < 2; is_extension++) {
        begin((sim_options){0}, (fallow_arena_options){.flags = FALLOW_ARENA_FIXED});
        char *low = take(3, 0); /* pages 3 to 7 are committed ahead */
        stolen = NULL;
        steal_at = SIM_COMMIT;
        scene.meanwhile = steal;
        if (is_extension) {
            assert_int_equal(fallow_arena_extend(scene.arena, low, 3 * scene.page, 20 * scene.page),
                             FALLOW_ERR_EXHAUSTED);
        } else {
            assert_ptr_equal(take(20, 0), low + 4 * scene.page);
        }
        scene.meanwhile = NULL;
        assert_ptr_equal(stolen, low + 3 * scene.page);
        end();
    }
}

/* A run of addresses, and memory freed inside its place that someone takes while another piece of it is decommitted. */
static void addresses_that_are_taken_meanwhile(void **state)
{
    (void)state;
    begin((sim_options){0}, (fallow_arena_options){.flags = FALLOW_ARENA_FIXED, .grow_bytes = 1});
    char *low = take(30, 0);
    fallow_arena_split(scene.arena, low, 30 * scene.page, 10 * scene.page);
    fallow_arena_split(scene.arena, low + 10 * scene.page, 20 * scene.page, 10 * scene.page);
    give(low, 10);
    assert_int_equal(fallow_arena_trim(scene.arena, 0, NULL), FALLOW_OK);
    give(low + 20 * scene.page, 10);
    give(low + 10 * scene.page, 10); /* ten of zeros, then twenty of old bytes */
    stolen = NULL;
    steal_at = SIM_DECOMMIT;
    scene.meanwhile = steal;
    char *addresses = take(25, FALLOW_RUN_UNCOMMITTED);
    scene.meanwhile = NULL;
    assert_ptr_equal(stolen, low + 10 * scene.page);
    assert_ptr_equal(addresses, low + 11 * scene.page);
    assert_true(sim_is_all(addresses, 25 * scene.page, SIM_RESERVED));
    end();
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_call_with_the_lock_held),
        cmocka_unit_test(no_refusal_with_the_lock_held),
        cmocka_unit_test(what_is_out_is_nobodys),
        cmocka_unit_test(a_place_that_is_taken_meanwhile),
        cmocka_unit_test(addresses_that_are_taken_meanwhile),
    };
    return cmocka_run_group_tests_name("unit_turn", tests, NULL, NULL);
}
