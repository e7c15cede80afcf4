/* Every operation of an arena that can fail, with every call it makes of the system refused in turn: call 0, then 1, and
 * so on until it comes through whole. Each time the arena is as it was, but for what the operation's comment in fallow.h
 * allows; live runs hold what they held; and the same operation succeeds when it is tried again. */
#include "test.h"

#include <string.h>

#include "fallow.h"
#include "fault.h"

enum {
    LIVE_RUNS = 3,
    LIVE_PAGES = 4,
    BLOCK_PAGES = 512 * 512
};

/* An arena with some live runs, freed memory between them, and one run for the operation to work on. */
typedef struct scene {
    fallow_arena *arena;
    size_t page;
    unsigned char *live[LIVE_RUNS];
    unsigned char *run; /* of 8 pages, behind the live ones */
    unsigned char *page_0;
    bool is_uncommitted; /* run */
} scene;

typedef struct operation {
    const char *name;
    fallow_arena_options options; /* what is 0 is filled in */
    uint64_t pages;               /* of the arena; 0 = 256 */
    void (*prepare)(scene *s);    /* optional */
    fallow_status (*run)(scene *s);
    bool has_cache;   /* this thread keeps runs: whether it can is not the operation's business */
    bool cannot_fail; /* whatever is refused */
    bool gives_back;  /* after a failure free memory may have been given back */
    bool changes_run; /* and the run's own contents and state are open */
} operation;

/* --- scenes ------------------------------------------------------------------------------------------------ */

static void *take(scene *s, uint64_t pages, uint32_t flags, void *at)
{
    fallow_run run;
    fallow_run_options options = {.flags = flags, .at = at};
    assert_int_equal(fallow_arena_alloc_run(s->arena, (size_t)pages * s->page, &options, &run), FALLOW_OK);
    return run.base;
}

static void fill(unsigned char *base, size_t size_bytes, int value)
{
    memset(base, value, size_bytes);
}

static fallow_arena_options options_for(const operation *op)
{
    fallow_system system;
    fallow_system_info(&system);
    fallow_arena_options options = op->options;
    options.page_bytes = system.page_bytes;
    options.reserve_bytes = (size_t)(op->pages != 0 ? op->pages : 256) * options.page_bytes;
    options.grow_bytes = options.grow_bytes != 0 ? options.grow_bytes * options.page_bytes : 6 * options.page_bytes;
    options.limit_bytes *= options.page_bytes;
    options.thread_cache_bytes = op->has_cache ? 8 << 20 : FALLOW_CACHE_NONE;
    options.name = "fault";
    options.scavenge = FALLOW_SCAVENGE_OFF;
    return options;
}

/* Whether this system has room for the arena: a simulated one under Wine is small. */
static bool has_room(const operation *op)
{
    fallow_region region;
    if (sizeof(size_t) < 8 && op->pages > BLOCK_PAGES) {
        return false; /* its size is no size_t */
    }
    if (fallow_region_reserve(options_for(op).reserve_bytes / 4 * 5, NULL, &region) != FALLOW_OK) {
        return false;
    }
    assert_int_equal(fallow_region_release(&region), FALLOW_OK);
    return true;
}

/* live 0, freed, live 1, freed, live 2, run, and behind it committed ahead. */
static void set_scene(scene *s, const operation *op)
{
    fallow_arena_options options = options_for(op);
    unsigned char *freed[LIVE_RUNS];
    *s = (scene){.page = options.page_bytes};
    assert_int_equal(fallow_arena_create(&options, &s->arena), FALLOW_OK);
    for (int i = 0; i < LIVE_RUNS; i++) {
        s->live[i] = take(s, LIVE_PAGES, 0, NULL);
        fill(s->live[i], LIVE_PAGES * s->page, 0x40 + i);
        freed[i] = take(s, 2 + (unsigned)i, 0, NULL);
        fill(freed[i], (2 + (unsigned)i) * s->page, 0x70);
    }
    s->page_0 = s->live[0];
    s->run = take(s, 8, 0, NULL);
    fill(s->run, 8 * s->page, 0x60);
    for (int i = 0; i < LIVE_RUNS; i++) {
        fallow_arena_free(s->arena, freed[i], (2 + (unsigned)i) * s->page);
    }
    if (op->prepare != NULL) {
        op->prepare(s);
    }
}

static bool is_all(const unsigned char *base, size_t size_bytes, int value)
{
    return base[0] == value && memcmp(base, base + 1, size_bytes - 1) == 0;
}

static void check_contents(const scene *s, const operation *op)
{
    for (int i = 0; i < LIVE_RUNS; i++) {
        assert_true(is_all(s->live[i], LIVE_PAGES * s->page, 0x40 + i));
    }
    if (!op->changes_run && !s->is_uncommitted) {
        assert_true(is_all(s->run, 8 * s->page, 0x60));
    }
}

static fallow_arena_stats figures(const scene *s)
{
    fallow_arena_stats stats;
    fallow_arena_read_stats(s->arena, &stats);
    return stats;
}

/* Everything that is accessible by the books can be touched: take all of it, and write. */
static void use_everything(scene *s)
{
    fallow_run run;
    fallow_run_options options = {.flags = FALLOW_RUN_NO_GROW};
    while (fallow_arena_alloc_run(s->arena, s->page, &options, &run) == FALLOW_OK) {
        if (run.is_zero) {
            assert_true(is_all(run.base, s->page, 0));
        }
        fill(run.base, s->page, 0x77);
    }
}

#define SAME(field) assert_int_equal(before->field, after.field)

static void check_failed(const scene *s, const operation *op, const fallow_arena_stats *before)
{
    fallow_arena_stats after = figures(s);
    SAME(usable_bytes);
    SAME(region_count);
    SAME(run_count);
    assert_int_equal(before->in_use_bytes + before->uncommitted_bytes, after.in_use_bytes + after.uncommitted_bytes);
    if (!op->has_cache) { /* what is kept is taken back before anything fails, and a cache may be made */
        SAME(reserved_bytes);
        SAME(extent_bytes);
        SAME(peak_in_use_bytes);
    }
    assert_int_equal(after.backed_bytes, after.in_use_bytes + after.cached_bytes + after.retained_bytes +
                                             after.released_lazy_bytes + after.metadata_bytes);
    assert_int_equal(after.committed_bytes, after.backed_bytes + after.released_zero_bytes);
    if (!op->changes_run) {
        SAME(in_use_bytes);
        SAME(uncommitted_bytes);
    }
    if (op->gives_back) {
        assert_true(after.committed_bytes <= before->committed_bytes || op->has_cache);
        assert_true(after.retained_bytes <= before->retained_bytes + before->cached_bytes);
        return;
    }
    SAME(retained_bytes);
    SAME(released_lazy_bytes);
    SAME(released_zero_bytes);
}

/* Bookkeeping that was committed for the call and could not be taken back stays, and is counted: only where the taking
 * back is refused as well. */
static void check_metadata(const scene *s, const operation *op, const fallow_arena_stats *before, unsigned refused)
{
    fallow_arena_stats after = figures(s);
    if (refused == 1 && !op->has_cache) {
        SAME(metadata_bytes);
    }
    assert_true(after.metadata_bytes >= before->metadata_bytes);
}

/* --- the operations ---------------------------------------------------------------------------------------- */

static fallow_status alloc(scene *s, uint64_t pages, fallow_run_options options)
{
    fallow_run run;
    memset(&run, 0x5a, sizeof run);
    fallow_run sentinel = run;
    fallow_status status = fallow_arena_alloc_run(s->arena, (size_t)pages * s->page, &options, &run);
    if (status != FALLOW_OK) {
        assert_memory_equal(&run, &sentinel, sizeof run);
    } else if ((options.flags & FALLOW_RUN_UNCOMMITTED) == 0) {
        if (run.is_zero) {
            assert_true(is_all(run.base, run.size_bytes, 0));
        }
        fill(run.base, run.size_bytes, 0x55);
    }
    return status;
}

static fallow_status alloc_fresh(scene *s)
{
    return alloc(s, 40, (fallow_run_options){0});
}

static fallow_status alloc_zeroed(scene *s)
{
    return alloc(s, 40, (fallow_run_options){.flags = FALLOW_RUN_ZEROED | FALLOW_RUN_TOP_DOWN});
}

static fallow_status alloc_aligned(scene *s)
{
    return alloc(s, 9, (fallow_run_options){.align_bytes = 64 * s->page});
}

static fallow_status alloc_far(scene *s)
{
    return alloc(s, 3, (fallow_run_options){.at = s->page_0 + (BLOCK_PAGES - 1) * s->page});
}

static fallow_status alloc_far_addresses(scene *s)
{
    return alloc(s, 3,
                 (fallow_run_options){.at = s->page_0 + (BLOCK_PAGES - 1) * s->page, .flags = FALLOW_RUN_UNCOMMITTED});
}

static fallow_status alloc_new_part(scene *s)
{
    return alloc(s, 300, (fallow_run_options){0});
}

static fallow_status alloc_new_part_addresses(scene *s)
{
    return alloc(s, 300, (fallow_run_options){.flags = FALLOW_RUN_UNCOMMITTED, .align_bytes = 16 * s->page});
}

/* Addresses where freed and fresh memory lie side by side. */
static fallow_status alloc_addresses(scene *s)
{
    return alloc(s, 30, (fallow_run_options){.flags = FALLOW_RUN_UNCOMMITTED});
}

static void free_the_run(scene *s)
{
    fallow_arena_free(s->arena, s->run, 8 * s->page);
    s->is_uncommitted = true;
}

static fallow_status alloc_at_limit(scene *s)
{
    return alloc(s, 24, (fallow_run_options){.flags = FALLOW_RUN_TOP_DOWN});
}

static fallow_status extend(scene *s)
{
    fallow_status status = fallow_arena_extend(s->arena, s->run, 8 * s->page, 60 * s->page);
    if (status == FALLOW_OK) {
        fallow_arena_shrink(s->arena, s->run, 60 * s->page, 8 * s->page);
    }
    return status;
}

static void decommit_the_run(scene *s)
{
    assert_int_equal(fallow_arena_decommit(s->arena, s->run, 8 * s->page), FALLOW_OK);
    s->is_uncommitted = true;
}

static void dirty_behind_the_run(scene *s)
{
    decommit_the_run(s);
    unsigned char *behind = take(s, 5, 0, s->run + 8 * s->page);
    fill(behind, 5 * s->page, 0x44);
    fallow_arena_free(s->arena, behind, 5 * s->page);
}

static fallow_status commit(scene *s)
{
    return fallow_arena_commit(s->arena, s->run, 8 * s->page);
}

/* Every second page is committed. */
static void decommit_in_pieces(scene *s)
{
    decommit_the_run(s);
    for (size_t i = 1; i < 8; i += 2) {
        assert_int_equal(fallow_arena_commit(s->arena, s->run + i * s->page, s->page), FALLOW_OK);
    }
}

static fallow_status decommit(scene *s)
{
    return fallow_arena_decommit(s->arena, s->run, 8 * s->page);
}

static fallow_status trim_all(scene *s)
{
    fallow_arena_stats before = figures(s);
    size_t released = 0;
    fallow_status status = fallow_arena_trim(s->arena, 0, &released);
    assert_int_equal(released, before.retained_bytes - figures(s).retained_bytes);
    return status;
}

static fallow_status trim_kept(scene *s)
{
    fallow_arena_stats before = figures(s);
    size_t released = 0;
    fallow_status status = fallow_arena_trim(s->arena, 0, &released);
    assert_true(released <= before.retained_bytes + before.cached_bytes);
    assert_true(status != FALLOW_OK || figures(s).retained_bytes + figures(s).cached_bytes == 0);
    return status;
}

static fallow_status trim_some(scene *s)
{
    return fallow_arena_trim(s->arena, 3 * s->page, NULL);
}

/* --- those that cannot fail -------------------------------------------------------------------------------- */

/* The run is freed, and taken again, which needs no system: a cache does. */
static fallow_status free_one(scene *s)
{
    fallow_arena_stats before = figures(s);
    fallow_arena_free(s->arena, s->run, 8 * s->page);
    fallow_arena_stats after = figures(s);
    assert_int_equal(after.run_count, before.run_count - 1);
    assert_int_equal(after.in_use_bytes, before.in_use_bytes - 8 * s->page);
    assert_int_equal(after.cached_bytes + after.retained_bytes,
                     before.cached_bytes + before.retained_bytes + 8 * s->page);
    fallow_run again;
    fallow_arena_flush_thread(s->arena);
    assert_int_equal(fallow_arena_alloc_run(s->arena, 8 * s->page, &(fallow_run_options){.at = s->run}, &again),
                     FALLOW_OK);
    fill(s->run, 8 * s->page, 0x60);
    return FALLOW_OK;
}

static fallow_status free_many(scene *s)
{
    fallow_run runs[4] = {{.base = NULL}};
    fallow_arena_stats before = figures(s);
    for (size_t i = 0; i < 3; i++) {
        runs[i] = (fallow_run){.base = take(s, 2, 0, NULL), .size_bytes = 2 * s->page};
    }
    fallow_arena_free_many(s->arena, runs, 4);
    assert_int_equal(figures(s).run_count, before.run_count);
    assert_int_equal(figures(s).in_use_bytes, before.in_use_bytes);
    return FALLOW_OK;
}

static fallow_status flush(scene *s)
{
    fallow_arena_flush_thread(s->arena);
    assert_int_equal(figures(s).cached_bytes, 0);
    return FALLOW_OK;
}

static fallow_status split_and_shrink(scene *s)
{
    fallow_arena_stats before = figures(s);
    fallow_arena_split(s->arena, s->run, 8 * s->page, 5 * s->page);
    assert_int_equal(figures(s).run_count, before.run_count + 1);
    fallow_arena_shrink(s->arena, s->run + 5 * s->page, 3 * s->page, s->page);
    assert_int_equal(figures(s).in_use_bytes, before.in_use_bytes - 2 * s->page);
    fallow_arena_free(s->arena, s->run + 5 * s->page, s->page);
    assert_int_equal(fallow_arena_extend(s->arena, s->run, 5 * s->page, 8 * s->page), FALLOW_OK);
    fill(s->run, 8 * s->page, 0x60);
    return FALLOW_OK;
}

/* What only looks asks the system for nothing. */
static fallow_status look(scene *s)
{
    fallow_run run;
    assert_true(fallow_arena_owns(s->arena, s->run + 1));
    assert_int_equal(fallow_arena_run_of(s->arena, s->run + 1, &run), FALLOW_OK);
    assert_ptr_equal(run.base, s->run);
    assert_int_equal(run.size_bytes, 8 * s->page);
    assert_int_equal(fallow_arena_check(s->arena), FALLOW_OK);
    return FALLOW_OK;
}

/* --- with a cache ------------------------------------------------------------------------------------------ */

/* Runs behind the run, and elsewhere, are kept by this thread. */
static void keep_some(scene *s)
{
    unsigned char *kept[6];
    for (size_t i = 0; i < 6; i++) {
        kept[i] = take(s, 6, 0, s->run + (8 + 6 * i) * s->page);
        fill(kept[i], 6 * s->page, 0x33);
    }
    for (size_t i = 0; i < 6; i++) {
        fallow_arena_free(s->arena, kept[i], 6 * s->page);
    }
}

static fallow_status alloc_kept(scene *s)
{
    void *base = s;
    fallow_status status = fallow_arena_alloc(s->arena, 6 * s->page, &base);
    assert_true((status == FALLOW_OK) == (base != s));
    if (status == FALLOW_OK) {
        fill(base, 6 * s->page, 0x34);
        fallow_arena_free(s->arena, base, 6 * s->page);
    }
    return status;
}

static fallow_status scavenge(scene *s)
{
    fallow_arena_stats before = figures(s);
    size_t released = 0;
    fallow_status status = fallow_arena_scavenge(s->arena, UINT64_MAX, &released);
    assert_true(released <= before.retained_bytes + before.cached_bytes);
    assert_int_equal(released,
                     before.retained_bytes + before.cached_bytes - figures(s).retained_bytes - figures(s).cached_bytes);
    return status;
}

static const operation operations[] = {
    {.name = "free", .run = free_one, .cannot_fail = true},
    {.name = "free, and keep", .run = free_one, .cannot_fail = true, .has_cache = true},
    {.name = "free many", .run = free_many, .cannot_fail = true},
    {.name = "free many past a cache", .run = free_many, .prepare = keep_some, .cannot_fail = true, .has_cache = true},
    {.name = "flush", .run = flush, .prepare = keep_some, .cannot_fail = true, .has_cache = true},
    {.name = "split and shrink", .run = split_and_shrink, .cannot_fail = true},
    {.name = "split and shrink, with a cache", .run = split_and_shrink, .cannot_fail = true, .has_cache = true},
    {.name = "look", .run = look, .prepare = keep_some, .cannot_fail = true, .has_cache = true},
    {.name = "alloc and keep", .run = alloc_kept, .has_cache = true, .gives_back = true},
    {.name = "alloc what is kept", .run = alloc_kept, .prepare = keep_some, .has_cache = true, .cannot_fail = true},
    {.name = "alloc, with a cache", .run = alloc_fresh, .prepare = keep_some, .has_cache = true, .gives_back = true},
    {.name = "extend over what is kept", .run = extend, .prepare = keep_some, .has_cache = true, .gives_back = true},
    {.name = "trim what is kept", .run = trim_kept, .prepare = keep_some, .has_cache = true, .gives_back = true},
    {.name = "scavenge", .run = scavenge, .gives_back = true},
    {.name = "scavenge with FREE", .run = scavenge, .options.purge = FALLOW_PURGE_FREE, .gives_back = true},
    {.name = "scavenge with DECOMMIT", .run = scavenge, .options.purge = FALLOW_PURGE_DECOMMIT, .gives_back = true},
    {.name = "scavenge what is kept", .run = scavenge, .prepare = keep_some, .has_cache = true, .gives_back = true},
    {.name = "alloc", .run = alloc_fresh},
    {.name = "alloc, growing in large steps", .run = alloc_fresh, .options.grow_bytes = 128},
    {.name = "alloc zeroed, top down", .run = alloc_zeroed},
    {.name = "alloc aligned", .run = alloc_aligned},
    {.name = "alloc across two blocks", .run = alloc_far, .pages = 3 * BLOCK_PAGES + 5},
    {.name = "alloc addresses across two blocks", .run = alloc_far_addresses, .pages = 3 * BLOCK_PAGES + 5},
    {.name = "alloc in a further reservation", .run = alloc_new_part},
    {.name = "alloc addresses in a further reservation", .run = alloc_new_part_addresses},
    {.name = "alloc addresses over freed memory", .run = alloc_addresses, .prepare = free_the_run, .gives_back = true},
    {.name = "alloc at the limit", .run = alloc_at_limit, .options.limit_bytes = 64, .gives_back = true},
    {.name = "extend", .run = extend},
    {.name = "extend addresses over freed memory", .run = extend, .prepare = dirty_behind_the_run, .gives_back = true},
    {.name = "commit", .run = commit, .prepare = decommit_the_run},
    {.name = "commit what is committed in pieces", .run = commit, .prepare = decommit_in_pieces},
    {.name = "decommit", .run = decommit, .changes_run = true, .gives_back = true},
    {.name = "trim", .run = trim_all, .gives_back = true},
    {.name = "trim with FREE", .run = trim_all, .options.purge = FALLOW_PURGE_FREE, .gives_back = true},
    {.name = "trim with DECOMMIT", .run = trim_all, .options.purge = FALLOW_PURGE_DECOMMIT, .gives_back = true},
    {.name = "trim some", .run = trim_some, .gives_back = true},
    {.name = "trim some with DECOMMIT", .run = trim_some, .options.purge = FALLOW_PURGE_DECOMMIT, .gives_back = true},
};

/* --- each call refused ------------------------------------------------------------------------------------- */

static unsigned tries;

/* One try; returns whether a call was refused. */
static bool refuse_one(const operation *op, unsigned system, unsigned way, unsigned call)
{
    scene s;
    fault_begin(system);
    if (!has_room(op)) {
        assert_true(fault_end());
        return false;
    }
    set_scene(&s, op);
    fallow_arena_stats before = figures(&s);
    fault_refuse(way, call);
    fallow_status status = op->run(&s);
    unsigned refused = fault_stop();
    assert_true(status == FALLOW_OK || (refused > 0 && !op->cannot_fail));
    assert_int_equal(fallow_arena_check(s.arena), FALLOW_OK);
    check_contents(&s, op);
    if (status != FALLOW_OK) {
        check_failed(&s, op, &before);
        check_metadata(&s, op, &before, refused);
        assert_int_equal(op->run(&s), FALLOW_OK);
        assert_int_equal(fallow_arena_check(s.arena), FALLOW_OK);
        check_contents(&s, op);
    }
    use_everything(&s);
    check_contents(&s, op);
    assert_int_equal(fallow_arena_check(s.arena), FALLOW_OK);
    fallow_arena_destroy(s.arena);
    assert_true(fault_end());
    tries++;
    return refused > 0;
}

static void each_call_refused(void **state)
{
    const operation *op = *state;
    tries = 0;
    for (unsigned system = 0; system < fault_system_count(); system++) {
        for (unsigned way = 0; way < fault_way_count(); way++) {
            unsigned call = 0;
            while (refuse_one(op, system, way, call)) {
                call++;
                assert_true(call < 200);
            }
        }
    }
    printf("%s: %u tries\n", op->name, tries);
}

/* --- creating ---------------------------------------------------------------------------------------------- */

static bool refuse_one_of_create(const fallow_arena_options *options, unsigned way, unsigned call)
{
    fallow_arena *arena = NULL;
    fault_refuse(way, call);
    fallow_status status = fallow_arena_create(options, &arena);
    unsigned refused = fault_stop();
    if (status != FALLOW_OK) {
        assert_null(arena);
        assert_true(refused > 0);
        assert_int_equal(fallow_arena_create(options, &arena), FALLOW_OK);
    }
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_destroy(arena);
    return refused > 0;
}

static void each_call_of_create_refused(void **state)
{
    (void)state;
    static const operation sizes[] = {
        {.pages = 256},
        {.pages = 256, .options.flags = FALLOW_ARENA_FIXED | FALLOW_ARENA_NO_DUMP | FALLOW_ARENA_NO_FORK},
        {.pages = 3 * BLOCK_PAGES + 5, .options.flags = FALLOW_ARENA_FIXED},
        {.pages = 3 * BLOCK_PAGES + 5, .options.min_reserve_bytes = 1},
    };
    for (unsigned system = 0; system < fault_system_count(); system++) {
        for (size_t size = 0; size < sizeof sizes / sizeof sizes[0]; size++) {
            for (unsigned way = 0; way < fault_way_count(); way++) {
                bool is_refused = true;
                for (unsigned call = 0; is_refused; call++) {
                    fault_begin(system);
                    fallow_arena_options options = options_for(&sizes[size]);
                    is_refused = has_room(&sizes[size]) && refuse_one_of_create(&options, way, call);
                    assert_true(fault_end());
                }
            }
        }
    }
}

static int tests(void)
{
    enum {
        COUNT = sizeof operations / sizeof operations[0]
    };
    struct CMUnitTest list[COUNT + 1];
    list[0] = (struct CMUnitTest)cmocka_unit_test(each_call_of_create_refused);
    for (size_t index = 0; index < COUNT; index++) {
        list[index + 1] = (struct CMUnitTest){
            .name = operations[index].name,
            .test_func = each_call_refused,
            .initial_state = (void *)(uintptr_t)&operations[index],
        };
    }
    return cmocka_run_group_tests_name("fault_arena", list, NULL, NULL);
}

int main(void)
{
    test_begin();
    return fault_main(tests);
}
