/* Every operation of a region with every call it makes of the system refused in turn; then the same operation succeeds.
 * What each may leave behind is in fallow.h. */
#include "test.h"

#include <string.h>

#include "fallow.h"
#include "fault.h"
#include "probe.h"

enum {
    PAGES = 16,
    LIVE_PAGES = 4,              /* at the start: committed and filled, and never touched by an operation */
    FIRST = 6,                   /* what operations work on: pages FIRST to FIRST + COUNT - 1, */
    COUNT = 6,                   /* of which the first half is committed and filled */
    LARGE_BYTES_MOST = 256 << 10 /* large pages that take no more than this are used; a simulated system has such */
};

typedef struct scene {
    fallow_region region;
    size_t page;
} scene;

typedef struct operation {
    const char *name;
    fallow_status (*run)(scene *s);
    bool may_lose_contents; /* a failure may have dropped what the range held */
    bool needs_all;         /* the whole range is committed and filled, */
    bool is_guarded;        /* and guarded */
} operation;

static unsigned char *page_at(const scene *s, size_t page)
{
    return (unsigned char *)s->region.base + page * s->page;
}

static bool is_all(const unsigned char *base, size_t size_bytes, int value)
{
    return base[0] == value && memcmp(base, base + 1, size_bytes - 1) == 0;
}

static fallow_status guard(scene *s)
{
    fallow_status status = fallow_region_guard(&s->region, FIRST * s->page, COUNT * s->page);
    if (status == FALLOW_OK) {
        assert_false(probe_can_read(page_at(s, FIRST)));
    }
    return status;
}

static void set_scene(scene *s, const operation *op)
{
    fallow_system system;
    fallow_region_options options = {.name = "fault", .flags = FALLOW_REGION_NO_DUMP};
    fallow_system_info(&system);
    s->page = system.page_bytes;
    if (system.large_page_bytes != 0 && system.large_page_bytes <= LARGE_BYTES_MOST) {
        s->page = system.large_page_bytes;
        options.flags |= FALLOW_REGION_LARGE_PAGES;
    }
    size_t filled = (op->needs_all ? COUNT : COUNT / 2) * s->page;
    assert_int_equal(fallow_region_reserve(PAGES * s->page, &options, &s->region), FALLOW_OK);
    assert_int_equal(s->region.page_bytes, s->page);
    assert_int_equal(fallow_region_commit(&s->region, 0, LIVE_PAGES * s->page), FALLOW_OK);
    assert_int_equal(fallow_region_commit(&s->region, FIRST * s->page, filled), FALLOW_OK);
    memset(page_at(s, 0), 0x40, LIVE_PAGES * s->page);
    memset(page_at(s, FIRST), 0x50, filled);
    if (op->is_guarded) {
        assert_int_equal(guard(s), FALLOW_OK);
    }
}

static fallow_status commit(scene *s)
{
    fallow_status status = fallow_region_commit(&s->region, FIRST * s->page, COUNT * s->page);
    if (status == FALLOW_OK) {
        assert_true(is_all(page_at(s, FIRST + COUNT / 2), COUNT / 2 * s->page, 0));
    }
    return status;
}

static fallow_status decommit(scene *s)
{
    fallow_status status = fallow_region_decommit(&s->region, FIRST * s->page, COUNT * s->page);
    for (size_t page = FIRST; page < FIRST + COUNT && status == FALLOW_OK; page++) {
        assert_false(probe_can_read(page_at(s, page)));
    }
    return status;
}

static fallow_status purge(scene *s)
{
    fallow_status status = fallow_region_purge(&s->region, FIRST * s->page, COUNT * s->page, FALLOW_PURGE_DONTNEED);
    if (status == FALLOW_OK) {
        assert_true(is_all(page_at(s, FIRST), COUNT * s->page, 0));
    }
    return status;
}

static fallow_status purge_lazily(scene *s)
{
    return fallow_region_purge(&s->region, FIRST * s->page, COUNT * s->page, FALLOW_PURGE_FREE);
}

static fallow_status protect(scene *s)
{
    return fallow_region_protect(&s->region, FIRST * s->page, COUNT * s->page, FALLOW_PROTECTION_READ);
}

static fallow_status prefault(scene *s)
{
    return fallow_region_prefault(&s->region, FIRST * s->page, COUNT * s->page);
}

static fallow_status resident(scene *s)
{
    size_t resident_bytes = 4242;
    fallow_status status = fallow_region_resident(&s->region, 0, PAGES * s->page, &resident_bytes);
    if (status == FALLOW_OK) {
        assert_in_range(resident_bytes, LIVE_PAGES * s->page, PAGES * s->page);
    } else {
        assert_int_equal(resident_bytes, 4242);
    }
    return status;
}

static fallow_status unguard(scene *s)
{
    return fallow_region_unguard(&s->region, FIRST * s->page, COUNT * s->page);
}

static const operation operations[] = {
    {.name = "commit", .run = commit},
    {.name = "decommit", .run = decommit, .may_lose_contents = true},
    {.name = "purge", .run = purge, .may_lose_contents = true, .needs_all = true},
    {.name = "purge lazily", .run = purge_lazily, .may_lose_contents = true, .needs_all = true},
    {.name = "protect", .run = protect, .needs_all = true},
    {.name = "prefault", .run = prefault, .needs_all = true},
    {.name = "resident", .run = resident},
    {.name = "guard", .run = guard, .may_lose_contents = true, .needs_all = true},
    {.name = "unguard", .run = unguard, .may_lose_contents = true, .needs_all = true, .is_guarded = true},
};

static void check_failed(scene *s, const operation *op)
{
    size_t filled = (op->needs_all ? COUNT : COUNT / 2) * s->page;
    if (!op->may_lose_contents) {
        assert_true(is_all(page_at(s, FIRST), filled, 0x50));
        for (size_t page = 0; page < PAGES; page++) {
            bool is_committed = page < LIVE_PAGES || (page >= FIRST && page < FIRST + filled / s->page);
            assert_int_equal(probe_can_read(page_at(s, page)), is_committed);
        }
    }
}

/* One try; returns whether a call was refused. */
static bool refuse_one(const operation *op, unsigned system, unsigned way, unsigned call)
{
    scene s;
    fault_begin(system);
    set_scene(&s, op);
    fault_refuse(way, call);
    fallow_status status = op->run(&s);
    unsigned refused = fault_stop();
    assert_true(status == FALLOW_OK || refused > 0);
    assert_true(is_all(page_at(&s, 0), LIVE_PAGES * s.page, 0x40));
    if (status != FALLOW_OK) {
        check_failed(&s, op);
        if (op->needs_all && !op->is_guarded) { /* a purge that failed may have left the pages reserved only */
            assert_int_equal(fallow_region_commit(&s.region, FIRST * s.page, COUNT * s.page), FALLOW_OK);
        }
        assert_int_equal(op->run(&s), FALLOW_OK);
        assert_true(is_all(page_at(&s, 0), LIVE_PAGES * s.page, 0x40));
    }
    assert_int_equal(fallow_region_release(&s.region), FALLOW_OK);
    assert_true(fault_end());
    return refused > 0;
}

static void each_call_refused(void **state)
{
    const operation *op = *state;
    unsigned tries = 0;
    for (unsigned system = 0; system < fault_system_count(); system++) {
        for (unsigned way = 0; way < fault_way_count(); way++) {
            for (unsigned call = 0; refuse_one(op, system, way, call); call++) {
                tries++;
                assert_true(call < 200);
            }
        }
    }
    printf("%s: %u refusals\n", op->name, tries);
}

/* A reservation that is refused leaves nothing; a release that is refused leaves all of it. */
static void each_call_of_reserve_and_release_refused(void **state)
{
    (void)state;
    const operation none = {0};
    for (unsigned system = 0; system < fault_system_count(); system++) {
        for (unsigned way = 0; way < 2 * fault_way_count(); way++) { /* all or nothing, and tried smaller */
            bool is_refused = true;
            for (unsigned call = 0; is_refused; call++) {
                scene s;
                fallow_region region = {.name = "untouched"};
                fault_begin(system);
                set_scene(&s, &none);
                fallow_region_options options = {.align_bytes = 64 * s.page, .name = "other"};
                options.min_bytes = way % 2 == 0 ? 0 : s.page;
                fault_refuse(way / 2, call);
                fallow_status status = fallow_region_reserve(32 * s.page, &options, &region);
                unsigned refused = fault_stop();
                is_refused = refused > 0;
                fallow_process process;
                if (refused <= 1) { /* what was mapped on the way could be unmapped, and does not wait */
                    assert_int_equal(fallow_process_info(&process), FALLOW_OK);
                    assert_int_equal(process.unreleased_bytes, 0);
                }
                if (status != FALLOW_OK) {
                    assert_string_equal(region.name, "untouched");
                    assert_true(is_refused);
                    assert_int_equal(fallow_region_reserve(32 * s.page, &options, &region), FALLOW_OK);
                }
                assert_int_equal((uintptr_t)region.base % (64 * s.page), 0);
                fallow_region before = region;
                fault_refuse(way / 2, 0);
                status = fallow_region_release(&region);
                bool is_late = fault_stop() > 0 && status == FALLOW_OK; /* it waits: Linux */
                if (is_late) {
                    assert_int_equal(fallow_process_info(&process), FALLOW_OK);
                    assert_true(process.unreleased_bytes >= before.size_bytes);
                } else if (status != FALLOW_OK) {
                    assert_memory_equal(&region, &before, sizeof region);
                    assert_int_equal(fallow_region_release(&region), FALLOW_OK);
                }
                assert_null(region.base);
                assert_int_equal(fallow_region_release(&s.region), FALLOW_OK);
                assert_int_equal(fallow_process_info(&process), FALLOW_OK);
                assert_int_equal(process.unreleased_bytes, 0);
                assert_true(fault_end());
            }
        }
    }
}

static int tests(void)
{
    enum {
        OPERATIONS = sizeof operations / sizeof operations[0]
    };
    struct CMUnitTest list[OPERATIONS + 1];
    list[0] = (struct CMUnitTest)cmocka_unit_test(each_call_of_reserve_and_release_refused);
    for (size_t index = 0; index < OPERATIONS; index++) {
        list[index + 1] = (struct CMUnitTest){
            .name = operations[index].name,
            .test_func = each_call_refused,
            .initial_state = (void *)(uintptr_t)&operations[index],
        };
    }
    return cmocka_run_group_tests_name("fault_region", list, NULL, NULL);
}

int main(void)
{
    test_begin();
    return fault_main(tests);
}
