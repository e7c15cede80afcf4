/* The simulated system itself: that it stops what must not be, counts what it should, refuses what it is told to. */
#include "test.h"

#include <string.h>

#include "probe.h"
#include "sim_host.h"
#include "sim_os.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

enum {
    PAGES = 32
};

static jmp_buf stopped_at;
static char complaint[256];

static void note_and_leave(const char *text)
{
    strncpy(complaint, text, sizeof complaint - 1);
    longjmp(stopped_at, 1);
}

/* The call is illegal, and the complaint says why. */
#define ASSERT_STOPS(call, why)                         \
    do {                                                \
        complaint[0] = '\0';                            \
        if (setjmp(stopped_at) == 0) {                  \
            (void)(call);                               \
        }                                               \
        if (strstr(complaint, (why)) == NULL) {         \
            fail_msg("\"%s\", not %s", complaint, why); \
        }                                               \
    } while (0)

static fallow_region region;
static size_t page;
static fallow__os_error error;
static fallow__os_left left;
static bool is_zero;
static bool is_committed;

static void begin(sim_options options)
{
    options.stop = note_and_leave;
    assert_true(sim_begin(&options));
    page = fallow__os_page_bytes();
    assert_int_equal(fallow__os_reserve(PAGES * page, &(fallow_region_options){.name = "r"}, &region, &error),
                     FALLOW_OK);
}

#define BEGIN(...) begin((sim_options){__VA_ARGS__})

static void end(void)
{
    assert_int_equal(fallow__os_release(&region, &error), FALLOW_OK);
    assert_true(sim_end());
}

static char *at(size_t index)
{
    return (char *)region.base + index * page;
}

static fallow_status commit(size_t first, size_t count)
{
    return fallow__os_commit(&region, at(first), count * page, &error);
}

static fallow_status decommit(size_t first, size_t count)
{
    return fallow__os_decommit(&region, at(first), count * page, &left, &error);
}

static fallow_status purge(size_t first, size_t count, fallow_purge kind)
{
    return fallow__os_purge(&region, at(first), count * page, kind, &is_zero, &is_committed, &error);
}

static fallow_status guard(size_t first, size_t count)
{
    return fallow__os_guard(&region, at(first), count * page, &error);
}

static fallow_status unguard(size_t first, size_t count)
{
    return fallow__os_unguard(&region, at(first), count * page, &error);
}

static fallow_status protect(size_t first, size_t count)
{
    return fallow__os_protect(&region, at(first), count * page, FALLOW_PROTECTION_READ, &error);
}

static void assert_failed(fallow_status status, fallow_status expected, const char *limit_name, uint64_t limit_value)
{
    assert_int_equal(status, expected);
    assert_true(error.code != 0);
    if (limit_name == NULL) {
        assert_null(error.limit_name);
    } else {
        assert_string_equal(error.limit_name, limit_name);
        assert_int_equal(error.limit_value, limit_value);
    }
}

/* --- what must not be --------------------------------------------------------------------------------------- */

static void illegal_ranges(void **state)
{
    (void)state;
    BEGIN(.page_bytes = 16 * KIB);
    fallow_region other = region;
    ASSERT_STOPS(commit(0, 0), "empty");
    ASSERT_STOPS(commit(PAGES - 1, 2), "not inside");
    ASSERT_STOPS(commit(PAGES, 1), "not inside");
    ASSERT_STOPS(fallow__os_commit(&region, at(0) - page, page, &error), "not inside");
    ASSERT_STOPS(fallow__os_commit(&region, at(0), 4 * KIB, &error), "whole pages");
    ASSERT_STOPS(fallow__os_commit(&region, at(0) + 4 * KIB, page, &error), "whole pages");
    other.base = at(1);
    ASSERT_STOPS(fallow__os_commit(&other, at(1), page, &error), "live reservation");
    other = region;
    other.size_bytes -= page;
    ASSERT_STOPS(fallow__os_release(&other, &error), "live reservation");
    ASSERT_STOPS(fallow__os_reserve(4 * KIB, &(fallow_region_options){0}, &other, &error), "whole pages");
    ASSERT_STOPS(fallow__os_reserve(page, &(fallow_region_options){.align_bytes = 3}, &other, &error), "whole pages");
    fallow_region gone = region;
    end();
    BEGIN(0);
    end();
    BEGIN(.page_bytes = 16 * KIB);
    fallow_region again = region;
    assert_int_equal(fallow__os_release(&again, &error), FALLOW_OK);
    ASSERT_STOPS(fallow__os_release(&again, &error), "live reservation");
    ASSERT_STOPS(fallow__os_decommit(&gone, gone.base, page, &left, &error), "live reservation");
    assert_true(sim_end());
}

static void illegal_states_under(sim_rules rules)
{
    BEGIN(.rules = rules);
    assert_int_equal(commit(0, 4), FALLOW_OK);
    ASSERT_STOPS(purge(3, 2, FALLOW_PURGE_DONTNEED), "reserved");
    ASSERT_STOPS(purge(3, 2, FALLOW_PURGE_FREE), "reserved");
    ASSERT_STOPS(purge(0, 2, FALLOW_PURGE_DECOMMIT), "neither");
    ASSERT_STOPS(protect(3, 2), "reserved");
    ASSERT_STOPS(guard(3, 2), "reserved");
    ASSERT_STOPS(unguard(0, 1), "committed");
    ASSERT_STOPS(fallow__os_prefault(&region, at(4), page, &error), "reserved");
    assert_int_equal(guard(1, 1), FALLOW_OK);
    ASSERT_STOPS(commit(0, 2), "guarded");
    ASSERT_STOPS(purge(0, 2, FALLOW_PURGE_DONTNEED), "guarded");
    ASSERT_STOPS(protect(1, 1), "guarded");
    assert_int_equal(decommit(0, 4), FALLOW_OK);
    assert_int_equal(commit(0, 4), FALLOW_OK);
    end();
}

static void illegal_states(void **state)
{
    (void)state;
    illegal_states_under(SIM_LINUX);
    illegal_states_under(SIM_WINDOWS);
}

static void illegal_locking(void **state)
{
    (void)state;
    BEGIN(0);
    fallow__os_lock lock = {0};
    ASSERT_STOPS((fallow__os_lock_acquire(&lock), 0), "no lock");
    fallow__os_lock_init(&lock);
    ASSERT_STOPS((fallow__os_lock_release(&lock), 0), "does not hold");
    fallow__os_lock_acquire(&lock);
    ASSERT_STOPS((fallow__os_lock_acquire(&lock), 0), "already");
    ASSERT_STOPS((fallow__os_lock_destroy(&lock), 0), "held");
    assert_int_equal(sim_counts().held_locks, 1);
    fallow__os_lock_release(&lock);
    fallow__os_lock_destroy(&lock);
    ASSERT_STOPS((fallow__os_lock_destroy(&lock), 0), "destroyed");
    end();
}

static void leaks_are_told(void **state)
{
    (void)state;
    fallow__os_lock lock;
    BEGIN(0);
    assert_false(sim_check_no_leak());
    assert_false(sim_end());
    BEGIN(0);
    assert_int_equal(fallow__os_release(&region, &error), FALLOW_OK);
    fallow__os_lock_init(&lock);
    assert_false(sim_end());
    BEGIN(0);
    end();
}

/* --- what is counted ---------------------------------------------------------------------------------------- */

static void figures(void **state)
{
    (void)state;
    BEGIN(.page_bytes = 64 * KIB);
    assert_int_equal(sim_live_reservations(), 1);
    assert_int_equal(sim_reserved(), PAGES * page);
    assert_int_equal(sim_charge(), 0);
    assert_int_equal(sim_map_count(), 1);
    assert_int_equal(commit(4, 4), FALLOW_OK);
    assert_int_equal(sim_charge(), 4 * page);
    assert_int_equal(sim_map_count(), 3);
    assert_int_equal(commit(6, 4), FALLOW_OK);
    assert_int_equal(sim_charge(), 6 * page);
    assert_int_equal(sim_map_count(), 3);
    assert_int_equal(protect(5, 1), FALLOW_OK);
    assert_int_equal(sim_map_count(), 5);
    assert_int_equal(guard(7, 1), FALLOW_OK);
    assert_int_equal(sim_map_count(), 5); /* in the page table */
    assert_int_equal(sim_charge(), 6 * page);
    assert_true(sim_is_all(at(8), 2 * page, SIM_COMMITTED));
    assert_false(sim_is_all(at(7), 2 * page, SIM_COMMITTED));
    assert_int_equal(sim_peek(at(7)).state, SIM_GUARDED);
    assert_int_equal(sim_peek(at(5)).protection, FALLOW_PROTECTION_READ);
    assert_int_equal(sim_peek(at(0) - 1).state, SIM_NONE);
    assert_ptr_equal(sim_peek(at(3)).region_base, region.base);
    assert_int_equal(decommit(0, PAGES), FALLOW_OK);
    assert_int_equal(sim_charge(), 0);
    assert_int_equal(sim_map_count(), 1);
    assert_int_equal(sim_counts().calls[SIM_COMMIT], 2);
    assert_int_equal(sim_call_count(), 6);
    end();
}

/* Neighbours are one mapping on Linux, two behind a wall. */
static void neighbours(void **state)
{
    (void)state;
    for (sim_rules rules = SIM_LINUX; rules <= SIM_WINDOWS; rules++) {
        fallow_region other;
        BEGIN(.rules = rules);
        size_t size_bytes = PAGES * page;
        fallow_region_options named = {.name = "r"};
        assert_int_equal(fallow__os_reserve(size_bytes, &named, &other, &error), FALLOW_OK);
        char *low = (char *)(other.base < region.base ? other.base : region.base);
        char *high = (char *)(other.base < region.base ? region.base : other.base);
        assert_ptr_equal(low + size_bytes, high);
        assert_int_equal(sim_map_count(), rules == SIM_LINUX ? 1 : 2);
        assert_int_equal(fallow__os_commit(&other, other.base, size_bytes, &error), FALLOW_OK);
        assert_int_equal(sim_map_count(), 2);
        assert_int_equal(commit(0, PAGES), FALLOW_OK);
        assert_int_equal(sim_map_count(), rules == SIM_LINUX ? 1 : 2);
        assert_int_equal(fallow__os_release(&other, &error), FALLOW_OK);
        assert_int_equal(sim_map_count(), 1);
        end();
    }
}

/* --- limits ------------------------------------------------------------------------------------------------- */

static void limit_on_addresses(void **state)
{
    (void)state;
    fallow_region other;
    fallow_region_options none = {0};
    BEGIN(.limits = {[SIM_LIMIT_ADDRESSES] = 10 * MIB});
    size_t rest = 10 * MIB - PAGES * page;
    assert_int_equal(fallow__os_address_space_left(), rest);
    assert_failed(fallow__os_reserve(rest + page, &none, &other, &error), FALLOW_ERR_ADDRESS_SPACE, "RLIMIT_AS",
                  10 * MIB);
    assert_int_equal(fallow__os_reserve(rest, &none, &other, &error), FALLOW_OK);
    assert_int_equal(fallow__os_release(&other, &error), FALLOW_OK);
    /* lowered below what is in use: a remap is refused, and done in another way */
    assert_int_equal(commit(0, 4), FALLOW_OK);
    memset(at(0), 1, 4 * page);
    sim_set_limit(SIM_LIMIT_ADDRESSES, page);
    assert_failed(decommit(0, 2), FALLOW_ERR_ADDRESS_SPACE, "RLIMIT_AS", page);
    assert_int_equal(left, FALLOW__OS_LEFT_CHARGED);
    assert_false(probe_can_read(at(0)));
    assert_int_equal(sim_charge(), 4 * page);
    assert_int_equal(commit(0, 2), FALLOW_OK);
    assert_int_equal(*at(0), 0);
    assert_int_equal(*at(2), 1);
    end();
}

static void limit_on_commit(void **state)
{
    (void)state;
    for (sim_rules rules = SIM_LINUX; rules <= SIM_WINDOWS; rules++) {
        BEGIN(.rules = rules, .limits = {[SIM_LIMIT_COMMIT] = 40 * KIB});
        const char *name = rules == SIM_LINUX ? "CommitLimit" : "commit limit (memory and page file)";
        assert_int_equal(commit(0, 8), FALLOW_OK);
        assert_failed(commit(4, 7), FALLOW_ERR_COMMIT, name, 40 * KIB);
        assert_int_equal(sim_charge(), 8 * page);
        assert_false(probe_can_read(at(8)));
        assert_int_equal(commit(4, 6), FALLOW_OK);
        /* lowered: only Windows gives the charge back on the way */
        memset(at(0), 1, page);
        sim_set_limit(SIM_LIMIT_COMMIT, 2 * page);
        fallow_status status = purge(0, 4, FALLOW_PURGE_DONTNEED);
        assert_int_equal(status, rules == SIM_LINUX ? FALLOW_OK : FALLOW_ERR_COMMIT);
        assert_int_equal(is_committed, rules == SIM_LINUX);
        assert_int_equal(probe_can_read(at(0)), rules == SIM_LINUX);
        assert_int_equal(sim_charge(), rules == SIM_LINUX ? 10 * page : 6 * page);
        end();
    }
}

/* Writable memory counts, whatever else is charged; Windows has no such limit. */
static void limit_on_data(void **state)
{
    (void)state;
    BEGIN(.limits = {[SIM_LIMIT_DATA] = 40 * KIB});
    assert_int_equal(commit(0, 8), FALLOW_OK);
    assert_failed(commit(4, 7), FALLOW_ERR_COMMIT, "RLIMIT_DATA", 40 * KIB);
    assert_int_equal(sim_charge(), 8 * page);
    assert_int_equal(fallow__os_protect(&region, at(0), 4 * page, FALLOW_PROTECTION_READ, &error), FALLOW_OK);
    assert_int_equal(commit(8, 6), FALLOW_OK);
    assert_failed(commit(0, 1), FALLOW_ERR_COMMIT, "RLIMIT_DATA", 40 * KIB);
    assert_int_equal(decommit(4, 10), FALLOW_OK);
    assert_int_equal(commit(0, 10), FALLOW_OK);
    end();
    BEGIN(.rules = SIM_WINDOWS, .limits = {[SIM_LIMIT_DATA] = 40 * KIB});
    assert_int_equal(commit(0, 16), FALLOW_OK);
    end();
}

/* Reserved, committed, reserved, committed, reserved: Linux is refused at the last, after the second was done. */
static void commit_refused_partway(void **state)
{
    (void)state;
    for (sim_rules rules = SIM_LINUX; rules <= SIM_WINDOWS; rules++) {
        for (int is_planned = 0; is_planned < 2; is_planned++) {
            BEGIN(.rules = rules);
            assert_int_equal(commit(4, 2), FALLOW_OK);
            assert_int_equal(commit(8, 2), FALLOW_OK);
            if (is_planned) {
                sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_COMMIT), .is_halfway = true});
            } else {
                sim_set_limit(SIM_LIMIT_COMMIT, 9 * page);
            }
            assert_int_equal(commit(2, 10), FALLOW_ERR_COMMIT);
            bool is_linux = rules == SIM_LINUX;
            assert_int_equal(sim_charge(), (is_linux ? 8 : 4) * page);
            assert_true(sim_is_all(at(2), 2 * page, is_linux ? SIM_COMMITTED : SIM_RESERVED));
            assert_true(sim_is_all(at(6), 2 * page, is_linux ? SIM_COMMITTED : SIM_RESERVED));
            assert_true(sim_is_all(at(10), 2 * page, SIM_RESERVED));
            sim_refuse(NULL);
            end();
        }
    }
}

static void limit_on_mappings(void **state)
{
    (void)state;
    BEGIN(.limits = {[SIM_LIMIT_MAPPINGS] = 5});
    assert_int_equal(commit(2, 8), FALLOW_OK);
    assert_int_equal(commit(20, 4), FALLOW_OK);
    assert_int_equal(sim_map_count(), 5);
    assert_failed(commit(15, 1), FALLOW_ERR_MAP_COUNT, "vm.max_map_count", 5);
    assert_failed(protect(4, 1), FALLOW_ERR_MAP_COUNT, "vm.max_map_count", 5);
    memset(at(2), 1, 8 * page);
    assert_failed(decommit(4, 2), FALLOW_ERR_MAP_COUNT, "vm.max_map_count", 5);
    assert_int_equal(left, FALLOW__OS_LEFT_ACCESSIBLE);
    assert_int_equal(*at(3), 1);
    assert_int_equal(*at(4), 0);
    assert_int_equal(*at(6), 1);
    assert_int_equal(purge(4, 2, FALLOW_PURGE_DONTNEED), FALLOW_OK);
    assert_int_equal(decommit(8, 2), FALLOW_OK); /* an end is moved, no hole is made */
    assert_int_equal(sim_map_count(), 5);
    assert_int_equal(commit(8, 12), FALLOW_OK);
    assert_int_equal(sim_map_count(), 3);
    assert_int_equal(decommit(4, 2), FALLOW_OK);
    assert_int_equal(sim_map_count(), 5);
    fallow_region others[2];
    fallow_region_options options = {.name = "other"};
    assert_int_equal(fallow__os_reserve(page, &options, &others[0], &error), FALLOW_OK); /* one over it */
    assert_int_equal(sim_map_count(), 6);
    assert_failed(fallow__os_reserve(page, &options, &others[1], &error), FALLOW_ERR_MAP_COUNT, "vm.max_map_count", 5);
    assert_failed(decommit(20, 4), FALLOW_ERR_MAP_COUNT, "vm.max_map_count", 5); /* any remap is refused there */
    assert_int_equal(left, FALLOW__OS_LEFT_ACCESSIBLE);
    assert_int_equal(fallow__os_release(&others[0], &error), FALLOW_OK);
    end();
}

static uint64_t unreleased_pages(void)
{
    fallow_process process;
    assert_int_equal(fallow__os_process(&process, &error), FALLOW_OK);
    return process.unreleased_bytes / page;
}

/* As Linux with src/posix/waiting.c. */
static void releases_wait_at_the_limit_on_mappings(void **state)
{
    enum {
        ROW = 2 * SIM_WAITING_MOST + 5
    };
    static fallow_region row[ROW];
    fallow_region_options none = {0};
    fallow_region gone;
    (void)state;
    BEGIN(0);
    for (size_t index = 0; index < ROW; index++) {
        assert_int_equal(fallow__os_reserve(page, &none, &row[index], &error), FALLOW_OK);
    }
    assert_int_equal(sim_map_count(), 2);
    sim_set_limit(SIM_LIMIT_MAPPINGS, 2);
    for (size_t index = 1; index < 2 * SIM_WAITING_MOST; index += 2) {
        assert_int_equal(fallow__os_release(&row[index], &error), FALLOW_OK);
    }
    gone = row[1];
    assert_int_equal(unreleased_pages(), SIM_WAITING_MOST);
    assert_int_equal(sim_live_reservations(), 1 + ROW - SIM_WAITING_MOST);
    assert_int_equal(sim_refusals(), 0);
    ASSERT_STOPS(fallow__os_release(&gone, &error), "not a live reservation");
    ASSERT_STOPS(fallow__os_commit(&gone, gone.base, page, &error), "not a live reservation");
    assert_failed(fallow__os_release(&row[ROW - 2], &error), FALLOW_ERR_MAP_COUNT, "vm.max_map_count", 2);

    /* the end of a mapping can go, and then the next one */
    assert_int_equal(fallow__os_release(&row[0], &error), FALLOW_OK);
    assert_int_equal(unreleased_pages(), SIM_WAITING_MOST - 1);
    assert_int_equal(fallow__os_release(&row[ROW - 2], &error), FALLOW_OK); /* in whose place this one waits */
    assert_int_equal(unreleased_pages(), SIM_WAITING_MOST);

    sim_set_limit(SIM_LIMIT_MAPPINGS, SIM_NO_LIMIT);
    assert_int_equal(fallow__os_release(&row[2], &error), FALLOW_OK);
    assert_int_equal(unreleased_pages(), 0);
    for (size_t index = 4; index < 2 * SIM_WAITING_MOST; index += 2) {
        assert_int_equal(fallow__os_release(&row[index], &error), FALLOW_OK);
    }
    for (size_t index = 2 * SIM_WAITING_MOST; index < ROW; index++) {
        if (index != ROW - 2) {
            assert_int_equal(fallow__os_release(&row[index], &error), FALLOW_OK);
        }
    }
    end();
}

/* What waits and was committed holds nothing any more, but is charged until it goes. */
static void what_waits_is_empty(void **state)
{
    fallow_region row[3];
    fallow_region_options none = {0};
    (void)state;
    BEGIN(0);
    for (size_t index = 0; index < 3; index++) {
        assert_int_equal(fallow__os_reserve(page, &none, &row[index], &error), FALLOW_OK);
        assert_int_equal(fallow__os_commit(&row[index], row[index].base, page, &error), FALLOW_OK);
        memset(row[index].base, 1, page);
    }
    sim_set_limit(SIM_LIMIT_MAPPINGS, sim_map_count());
    char *middle = row[1].base;
    assert_int_equal(fallow__os_release(&row[1], &error), FALLOW_OK);
    assert_int_equal(unreleased_pages(), 1);
    assert_int_equal(*middle, 0);
    assert_int_equal(sim_charge(), 3 * page);
    assert_int_equal(fallow__os_release(&row[0], &error), FALLOW_OK);
    assert_int_equal(unreleased_pages(), 0);
    assert_int_equal(sim_charge(), page);
    assert_false(probe_can_read(middle));
    assert_int_equal(fallow__os_release(&row[2], &error), FALLOW_OK);
    end();
}

/* A pool of large pages: a reservation has as many as it needs, or ordinary pages. */
static void large_pages(void **state)
{
    (void)state;
    const size_t large = 64 * KIB;
    fallow_region_options options = {.flags = FALLOW_REGION_LARGE_PAGES};
    fallow_region first;
    fallow_region second;
    BEGIN(.large_page_bytes = large, .large_page_count = 5);
    sim_set_limit(SIM_LIMIT_COMMIT, page);
    assert_int_equal(fallow__os_reserve(3 * large - page, &options, &first, &error), FALLOW_OK);
    assert_int_equal(first.flags, FALLOW_REGION_LARGE_PAGES);
    assert_int_equal(first.page_bytes, large);
    assert_int_equal(first.size_bytes, 3 * large);
    assert_int_equal((uintptr_t)first.base % large, 0);
    assert_true(sim_peek(first.base).is_large);
    assert_int_equal(fallow__os_reserve(3 * large, &options, &second, &error), FALLOW_OK); /* two are left */
    assert_int_equal(second.flags, 0);
    assert_int_equal(second.page_bytes, page);
    assert_int_equal(fallow__os_release(&second, &error), FALLOW_OK);
    assert_int_equal(fallow__os_reserve(2 * large, &options, &second, &error), FALLOW_OK);
    assert_int_equal(second.flags, FALLOW_REGION_LARGE_PAGES);

    /* the commit limit is not theirs */
    assert_int_equal(fallow__os_commit(&first, first.base, 3 * large, &error), FALLOW_OK);
    assert_int_equal(sim_charge(), 0);
    char *base = first.base;
    memset(base, 1, 3 * large);
    ASSERT_STOPS(fallow__os_decommit(&first, base, page, &left, &error), "not whole pages");
    assert_int_equal(fallow__os_decommit(&first, base + large, large, &left, &error), FALLOW_OK);
    assert_int_equal(left, FALLOW__OS_LEFT_NOTHING);
    assert_false(probe_can_read(base + large));
    assert_int_equal(fallow__os_commit(&first, base + large, large, &error), FALLOW_OK);
    assert_int_equal(base[large], 0);
    assert_int_equal(base[0], 1);
    assert_int_equal(base[2 * large], 1);

    /* no lazy way, no guard in the page table */
    assert_int_equal(fallow__os_purge(&first, base, large, FALLOW_PURGE_FREE, &is_zero, &is_committed, &error),
                     FALLOW_OK);
    assert_true(is_zero);
    assert_int_equal(base[0], 0);
    uint64_t mappings = sim_map_count();
    assert_int_equal(fallow__os_guard(&first, base + large, large, &error), FALLOW_OK);
    assert_int_equal(sim_map_count(), mappings + 2);

    /* at the limit a hole cannot be made */
    assert_int_equal(fallow__os_unguard(&first, base + large, large, &error), FALLOW_OK);
    sim_set_limit(SIM_LIMIT_MAPPINGS, sim_map_count());
    assert_int_equal(fallow__os_decommit(&first, base + large, large, &left, &error), FALLOW_ERR_MAP_COUNT);
    assert_int_equal(left, FALLOW__OS_LEFT_ACCESSIBLE);
    assert_int_equal(base[large], 0);
    assert_int_equal(fallow__os_release(&first, &error), FALLOW_OK);
    assert_int_equal(fallow__os_release(&second, &error), FALLOW_OK);
    end();
}

static void limit_on_locked_memory(void **state)
{
    (void)state;
    fallow_region other;
    fallow_region_options none = {0};
    BEGIN(.flags = SIM_IS_LOCKED, .limits = {[SIM_LIMIT_LOCKED] = 40 * 4 * KIB});
    assert_failed(fallow__os_reserve(16 * page, &none, &other, &error), FALLOW_ERR_LOCKED, "RLIMIT_MEMLOCK", 40 * page);
    assert_int_equal(commit(0, 16), FALLOW_OK);
    assert_failed(decommit(0, 16), FALLOW_ERR_LOCKED, "RLIMIT_MEMLOCK", 40 * page);
    assert_int_equal(left, FALLOW__OS_LEFT_CHARGED);
    assert_int_equal(decommit(0, 8), FALLOW_OK);
    assert_int_equal(commit(0, 8), FALLOW_OK);
    assert_int_equal(purge(0, 8, FALLOW_PURGE_FREE), FALLOW_OK);
    assert_true(is_zero);
    end();
}

/* --- attributes --------------------------------------------------------------------------------------------- */

static void attributes_come_back(void **state)
{
    (void)state;
    fallow_region_options options = {.name = "n", .flags = FALLOW_REGION_NO_DUMP | FALLOW_REGION_HUGE_PAGES};
    fallow_region marked;
    BEGIN(0);
    assert_int_equal(fallow__os_reserve(8 * page, &options, &marked, &error), FALLOW_OK);
    uint64_t mappings = sim_map_count();
    char *middle = (char *)marked.base + 3 * page;
    assert_int_equal(fallow__os_commit(&marked, middle, page, &error), FALLOW_OK);
    assert_int_equal(fallow__os_decommit(&marked, middle, page, &left, &error), FALLOW_OK);
    assert_int_equal(sim_map_count(), mappings);
    assert_int_equal(sim_peek(middle).attributes, options.flags);
    assert_true(sim_peek(middle).has_name);
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_ADVISE)});
    assert_int_equal(fallow__os_decommit(&marked, middle, page, &left, &error), FALLOW_OK);
    sim_refuse(NULL);
    assert_int_equal(sim_map_count(), mappings + 2);
    assert_int_equal(sim_peek(middle).attributes, 0);
    assert_int_equal(fallow__os_release(&marked, &error), FALLOW_OK);
    end();
}

/* --- lazily freed pages ------------------------------------------------------------------------------------- */

static void lazy_pages_turn_zero_unless_written(void **state)
{
    (void)state;
    for (sim_rules rules = SIM_LINUX; rules <= SIM_WINDOWS; rules++) {
        BEGIN(.rules = rules, .seed = 3);
        assert_int_equal(commit(0, PAGES), FALLOW_OK);
        memset(at(0), 7, PAGES * page);
        assert_int_equal(purge(0, 16, FALLOW_PURGE_FREE), FALLOW_OK);
        assert_false(is_zero);
        uint64_t taken = sim_counts().lazy_taken;
        assert_true(sim_counts().lazy_pages + taken == 16);
        at(5)[9] = 7; /* what was there already: a write all the same */
        bool was_taken = *at(5) == 0;
        assert_false(sim_peek(at(5)).is_lazy);
        sim_take_lazy();
        assert_int_equal(sim_counts().lazy_pages, 0);
        for (size_t index = 0; index < PAGES; index++) {
            bool is_kept = index >= 16 || (index == 5 && !was_taken);
            assert_int_equal(*at(index), is_kept ? 7 : 0);
            *at(index) = 1;
        }
        end();
    }
}

static void lazy_pages_turn_zero_by_themselves(void **state)
{
    (void)state;
    BEGIN(.seed = 1);
    assert_int_equal(commit(0, PAGES), FALLOW_OK);
    memset(at(0), 7, PAGES * page);
    assert_int_equal(purge(0, PAGES, FALLOW_PURGE_FREE), FALLOW_OK);
    for (int call = 0; call < 1000; call++) {
        size_t resident_bytes;
        assert_int_equal(fallow__os_resident(&region, at(0), page, &resident_bytes, &error), FALLOW_OK);
    }
    assert_int_equal(sim_counts().lazy_pages, 0);
    assert_int_equal(sim_counts().lazy_taken, PAGES);
    end();
}

/* --- refusing ----------------------------------------------------------------------------------------------- */

static void refusals(void **state)
{
    (void)state;
    BEGIN(0);
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_COMMIT), .skip = 2, .times = 3, .every = 2});
    static const bool expected[10] = {false, false, true, false, true, false, true, false, false, false};
    for (int call = 0; call < 10; call++) {
        assert_int_equal(commit(0, 1) != FALLOW_OK, expected[call]);
        assert_int_equal(decommit(0, 1), FALLOW_OK);
    }
    assert_int_equal(sim_refused(), 3);
    assert_int_equal(sim_counts().refused[SIM_COMMIT], 3);
    assert_int_equal(sim_counts().calls[SIM_COMMIT], 10);

    sim_refuse(&(sim_refusal){.status = FALLOW_ERR_PERMISSION});
    assert_failed(commit(0, 1), FALLOW_ERR_PERMISSION, NULL, 0);
    assert_int_equal(commit(0, 4), FALLOW_OK);
    memset(at(0), 1, 4 * page);

    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_DECOMMIT)});
    assert_int_equal(decommit(0, 1), FALLOW_ERR_MAP_COUNT);
    assert_int_equal(left, FALLOW__OS_LEFT_ALL);
    assert_int_equal(*at(0), 1);
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_DECOMMIT), .left = FALLOW__OS_LEFT_ACCESSIBLE});
    assert_int_equal(decommit(0, 6), FALLOW_ERR_MAP_COUNT);
    assert_int_equal(left, FALLOW__OS_LEFT_ACCESSIBLE);
    assert_int_equal(*at(0), 0);
    assert_false(probe_can_read(at(4))); /* was never committed */
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_PURGE), .is_halfway = true});
    assert_int_equal(purge(0, 2, FALLOW_PURGE_DONTNEED), FALLOW_ERR_OS);
    assert_false(is_committed);
    assert_false(probe_can_read(at(0)));
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_RELEASE)});
    assert_int_not_equal(fallow__os_release(&region, &error), FALLOW_OK);
    sim_refuse(NULL);
    end();
}

static uint64_t heard[SIM_CALLS];

static void hear(void *context, sim_call call, const void *base, size_t size_bytes)
{
    (void)base;
    (void)size_bytes;
    heard[call]++;
    if (call == SIM_COMMIT && *(bool *)context) { /* what another thread might do at this moment */
        *(bool *)context = false;
        assert_int_equal(commit(8, 1), FALLOW_OK);
    }
}

static void hooks(void **state)
{
    (void)state;
    bool is_eager = true;
    memset(heard, 0, sizeof heard);
    BEGIN(.hook = hear, .hook_context = &is_eager);
    assert_int_equal(commit(0, 1), FALLOW_OK);
    assert_int_equal(heard[SIM_RESERVE], 1);
    assert_int_equal(heard[SIM_COMMIT], 1); /* its own call is not told to it */
    assert_true(probe_can_read(at(8)));
    end();
}

/* --- size --------------------------------------------------------------------------------------------------- */

/* Against a byte for each page: any order of commits, decommits and protections leaves the same states and figures. */
static void any_order(void **state)
{
    (void)state;
    test_random random = test_seed("unit_sim");
    unsigned char model[PAGES] = {0}; /* 0 reserved, 1 committed, 2 read only */
    BEGIN(.seed = random.state);
    for (int step = 0; step < 5000; step++) {
        size_t first = (size_t)test_below(&random, PAGES);
        size_t count = 1 + (size_t)test_below(&random, PAGES - first);
        bool is_whole = memchr(&model[first], 0, count) == NULL;
        switch (test_below(&random, 4)) {
        case 0:
            assert_int_equal(commit(first, count), FALLOW_OK);
            memset(&model[first], 1, count);
            break;
        case 1:
            assert_int_equal(decommit(first, count), FALLOW_OK);
            memset(&model[first], 0, count);
            break;
        case 2:
            if (is_whole) {
                assert_int_equal(protect(first, count), FALLOW_OK);
                memset(&model[first], 2, count);
            }
            break;
        default:
            if (is_whole) {
                assert_int_equal(purge(first, count, FALLOW_PURGE_FREE), FALLOW_OK);
            }
        }
        uint64_t mappings = 1;
        uint64_t charged = 0;
        for (size_t index = 0; index < PAGES; index++) {
            mappings += index > 0 && model[index] != model[index - 1];
            charged += model[index] != 0;
            sim_page seen = sim_peek(at(index));
            assert_int_equal(seen.state, model[index] != 0 ? SIM_COMMITTED : SIM_RESERVED);
        }
        assert_int_equal(sim_map_count(), mappings);
        assert_int_equal(sim_charge(), charged * page);
    }
    end();
}

/* As large a space as the host has without being asked for one: 126 TiB for a 64-bit program on Linux. */
static void huge_spaces_cost_what_is_used(void **state)
{
    (void)state;
    const uint64_t sizes[] = {UINT64_C(126) << 40, UINT64_C(66) << 40, UINT64_C(33) << 40, UINT64_C(16) << 40};
    fallow_status status = FALLOW_ERR_ADDRESS_SPACE;
    fallow_region huge;
    size_t size_bytes = 0;
    assert_true(sim_begin(&(sim_options){.page_bytes = 64 * KIB}));
    for (size_t index = 0; sizeof(size_t) == 8 && index < 4 && status != FALLOW_OK; index++) {
        size_bytes = (size_t)sizes[index];
        status = fallow__os_reserve(size_bytes, &(fallow_region_options){0}, &huge, &error);
    }
    if (status != FALLOW_OK) {
        assert_true(sim_end());
        printf("SKIPPED: 32 bits, Wine and some sanitizers have no such space\n");
        skip();
    }
    printf("%llu TiB\n", (unsigned long long)size_bytes >> 40);
    for (size_t index = 0; index < 1000; index++) {
        char *base = (char *)huge.base + index * (size_bytes / 1000 / (64 * KIB) * (64 * KIB));
        assert_int_equal(fallow__os_commit(&huge, base, 64 * KIB, &error), FALLOW_OK);
        *base = 1;
    }
    assert_int_equal(sim_charge(), 1000 * 64 * KIB);
    assert_int_equal(fallow__os_release(&huge, &error), FALLOW_OK);
    assert_true(sim_end());
}

/* --- turns ------------------------------------------------------------------------------------------------- */

enum {
    WRITERS = 4,
    WRITES = 50
};

static char order[WRITERS * WRITES + 1]; /* who wrote when */
static size_t order_count;

static void write_order(void *context)
{
    for (int count = 0; count < WRITES; count++) {
        order[order_count++] = *(const char *)context;
        sim_offer();
    }
}

static void run_writers(uint64_t seed, uint32_t rarity)
{
    static const char names[WRITERS + 1] = "abcd";
    sim_thread threads[WRITERS];
    assert_true(sim_begin(&(sim_options){.flags = SIM_INTERLEAVED, .seed = seed, .switch_rarity = rarity}));
    order_count = 0;
    for (int index = 0; index < WRITERS; index++) {
        assert_true(sim_start(write_order, (void *)(uintptr_t)&names[index], &threads[index]));
    }
    for (int index = 0; index < WRITERS; index++) {
        sim_join(&threads[index]);
    }
    order[order_count] = '\0';
    assert_true(sim_end());
}

static size_t switches(void)
{
    size_t count = 0;
    for (size_t index = 1; index < order_count; index++) {
        count += order[index] != order[index - 1];
    }
    return count;
}

static void an_interleaving_comes_back_with_its_seed(void **state)
{
    (void)state;
    char first[sizeof order];
    run_writers(1, 0);
    memcpy(first, order, sizeof order);
    size_t often = switches();
    assert_int_equal(order_count, WRITERS * WRITES);
    run_writers(2, 0);
    assert_string_not_equal(order, first);
    run_writers(1, 0);
    assert_string_equal(order, first);
    run_writers(1, 16);
    assert_true(switches() >= WRITERS - 1 && switches() < often / 2);
}

static fallow__os_lock locks[2];
static fallow__os_event event;
static bool is_set;
static bool is_careless; /* looks before it takes the lock */

static void take_two(void *context)
{
    const int *first = context;
    fallow__os_lock_acquire(&locks[*first]);
    fallow__os_lock_acquire(&locks[1 - *first]);
    fallow__os_lock_release(&locks[1 - *first]);
    fallow__os_lock_release(&locks[*first]);
}

static void set_and_wake(void *context)
{
    (void)context;
    fallow__os_lock_acquire(&locks[0]);
    is_set = true;
    fallow__os_event_wake(&event);
    fallow__os_lock_release(&locks[0]);
}

static void await_set(void *context)
{
    (void)context;
    bool is_needed = !is_set;
    fallow__os_lock_acquire(&locks[0]);
    while (is_careless ? is_needed : !is_set) {
        fallow__os_event_wait(&event, &locks[0], UINT64_MAX);
        is_needed = false;
    }
    fallow__os_lock_release(&locks[0]);
}

static void tell_complaint(void)
{
    longjmp(stopped_at, 1);
}

static void note_and_give_up(const char *text)
{
    strncpy(complaint, text, sizeof complaint - 1);
    sim_give_up(tell_complaint);
}

/* Two threads, run under so many seeds: under how many do they end in a deadlock? */
static int count_deadlocks(void (*one)(void *), void *one_context, void (*other)(void *), void *other_context)
{
    static volatile int count;
    static volatile uint64_t seed;
    count = 0;
    for (seed = 0; seed < 100; seed++) {
        sim_thread threads[2];
        sim_options options = {.flags = SIM_INTERLEAVED, .seed = seed, .stop = note_and_give_up};
        assert_true(sim_begin(&options));
        fallow__os_lock_init(&locks[0]);
        fallow__os_lock_init(&locks[1]);
        fallow__os_event_init(&event);
        is_set = false;
        complaint[0] = '\0';
        if (setjmp(stopped_at) == 0) {
            assert_true(sim_start(one, one_context, &threads[0]));
            assert_true(sim_start(other, other_context, &threads[1]));
            sim_join(&threads[0]);
            sim_join(&threads[1]);
            fallow__os_event_destroy(&event);
            fallow__os_lock_destroy(&locks[0]);
            fallow__os_lock_destroy(&locks[1]);
            assert_true(sim_end());
        } else {
            assert_non_null(strstr(complaint, "deadlock: thread 0 waits for the end of thread"));
            count++;
            assert_false(sim_end());
        }
    }
    return count;
}

static void deadlocks_are_found(void **state)
{
    (void)state;
    int zero = 0;
    int one = 1;
    int crossed = count_deadlocks(take_two, &zero, take_two, &one);
    assert_true(crossed > 5 && crossed < 95);
    assert_int_equal(count_deadlocks(take_two, &zero, take_two, &zero), 0);
}

static void lost_wakes_are_found(void **state)
{
    (void)state;
    is_careless = true;
    int lost = count_deadlocks(await_set, NULL, set_and_wake, NULL);
    assert_true(lost > 0 && lost < 95);
    is_careless = false;
    assert_int_equal(count_deadlocks(await_set, NULL, set_and_wake, NULL), 0);
}

/* An hour of sleep takes no time, and ends in its turn. */
static void sleep_an_hour(void *context)
{
    uint64_t *woken_ns = context;
    fallow__os_lock_acquire(&locks[0]);
    fallow__os_event_wait(&event, &locks[0], UINT64_C(3600000000000));
    fallow__os_lock_release(&locks[0]);
    *woken_ns = fallow__os_clock_ns();
}

static void time_passes_where_everybody_sleeps(void **state)
{
    (void)state;
    uint64_t woken_ns[2] = {0};
    sim_thread threads[2];
    assert_true(sim_begin(&(sim_options){.flags = SIM_INTERLEAVED, .seed = 3}));
    fallow__os_lock_init(&locks[0]);
    fallow__os_event_init(&event);
    uint64_t start_ns = fallow__os_clock_ns();
    assert_true(sim_start(sleep_an_hour, &woken_ns[0], &threads[0]));
    assert_true(sim_start(sleep_an_hour, &woken_ns[1], &threads[1]));
    sim_join(&threads[0]);
    sim_join(&threads[1]);
    for (int index = 0; index < 2; index++) {
        assert_true(woken_ns[index] - start_ns >= UINT64_C(3600000000000));
        assert_true(woken_ns[index] - start_ns < UINT64_C(3600100000000));
    }
    uint64_t before_ns = fallow__os_clock_ns();
    sim_pass_time(77000000000);
    assert_true(fallow__os_clock_ns() - before_ns >= 77000000000);
    fallow__os_event_destroy(&event);
    fallow__os_lock_destroy(&locks[0]);
    assert_true(sim_end());
}

static void run_nothing(void *context)
{
    (void)context;
}

static void leave_nothing(void) {}

/* A thread that was never joined is told, an event too; starting one, the hook at its end and the barrier are refused. */
static void threads_and_events_are_counted(void **state)
{
    (void)state;
    fallow__os_thread thread;
    begin((sim_options){.flags = SIM_INTERLEAVED});
    fallow__os_event_init(&event);
    assert_int_equal(sim_counts().live_events, 1);
    assert_false(sim_check_no_leak());
    fallow__os_event_destroy(&event);
    assert_int_equal(sim_counts().live_events, 0);
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_THREAD)});
    assert_int_equal(fallow__os_thread_start(run_nothing, NULL, &thread, &error), FALLOW_ERR_OS);
    assert_int_equal(sim_counts().live_threads, 0);
    assert_int_equal(fallow__os_thread_start(run_nothing, NULL, &thread, &error), FALLOW_OK);
    assert_int_equal(sim_counts().live_threads, 1);
    fallow__os_thread_join(&thread);
    assert_int_equal(sim_counts().live_threads, 0);
    sim_refuse(&(sim_refusal){.calls = SIM_CALL(SIM_AT_THREAD_EXIT) | SIM_CALL(SIM_BARRIER), .times = 2});
    assert_false(fallow__os_at_thread_exit(leave_nothing));
    assert_false(fallow__os_barrier_all_threads());
    assert_true(fallow__os_at_thread_exit(leave_nothing));
    assert_true(fallow__os_barrier_all_threads());
    end();
    begin((sim_options){.flags = SIM_NO_BARRIER});
    assert_false(fallow__os_barrier_all_threads());
    end();
}

static void illegal_sleeping(void **state)
{
    (void)state;
    begin((sim_options){0});
    fallow__os_lock_init(&locks[0]);
    memset(&event, 0, sizeof event);
    ASSERT_STOPS(fallow__os_event_wake(&event), "no event, or one that was destroyed");
    fallow__os_event_init(&event);
    ASSERT_STOPS(fallow__os_event_wait(&event, &locks[0], 1), "a lock that this thread does not hold");
    fallow__os_event_destroy(&event);
    ASSERT_STOPS(fallow__os_event_destroy(&event), "no event, or one that was destroyed");
    fallow__os_lock_destroy(&locks[0]);
    end();
}

/* Memory that is kept from one simulation to the next is zero there, and faults. */
static void kept_memory_is_zero(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        begin((sim_options){.flags = SIM_KEEP_MEMORY, .seed = (uint64_t)round});
        assert_false(probe_can_read(at(3)));
        assert_int_equal(commit(0, 16), FALLOW_OK);
        for (size_t index = 0; index < 16 * page; index++) {
            assert_int_equal(at(0)[index], 0);
        }
        memset(at(0), 1, 16 * page);
        assert_int_equal(decommit(2, 4), FALLOW_OK);
        assert_false(probe_can_read(at(3)));
        assert_int_equal(at(1)[page - 1], 1);
        assert_int_equal(commit(1, 3), FALLOW_OK);
        assert_int_equal(at(1)[page - 1], 1);
        assert_int_equal(at(2)[0], 0);
        assert_false(probe_can_read(at(4)));
        assert_int_equal(fallow__os_purge(&region, at(8), page, FALLOW_PURGE_DONTNEED, &is_zero, &is_committed, &error),
                         FALLOW_OK);
        assert_int_equal(at(8)[page - 1], 0);
        assert_int_equal(at(9)[0], 1);
        end();
    }
}

/* Open pages never fault: the program asks instead, and says what it writes. The rest of the reservation is as ever. */
static void light_simulations(void **state)
{
    (void)state;
    for (volatile int round = 0; round < 3; round = round + 1) {
        sim_options options = {.flags = SIM_KEEP_MEMORY | SIM_LIGHT, .seed = (uint64_t)round, .stop = note_and_leave};
        if (!sim_begin(&options)) {
            print_message("SKIPPED: no light simulation here\n");
            skip();
        }
        page = fallow__os_page_bytes();
        assert_int_equal(fallow__os_reserve(PAGES * page, &(fallow_region_options){0}, &region, &error), FALLOW_OK);
        assert_int_equal(commit(0, 1), FALLOW_OK);
        at(0)[7] = 7;
        sim_open(at(4), 16 * page);
        assert_int_equal(at(0)[7], 7);
        assert_false(probe_can_read(at(1)));
        assert_true(probe_can_read(at(4)));
        assert_false(probe_can_read(at(20)));
        ASSERT_STOPS(sim_open(at(22), page), "opened twice");

        assert_false(sim_open_write(at(4), page));
        assert_false(sim_is_all(at(4), page, SIM_COMMITTED));
        assert_int_equal(commit(2, 10), FALLOW_OK);
        assert_true(sim_open_write(at(2), 10 * page));
        assert_false(sim_open_write(at(10), 3 * page));
        for (size_t index = 2; index < 12; index++) {
            at(index)[0] = 1;
            at(index)[page - 1] = 1;
        }
        assert_int_equal(decommit(3, 3), FALLOW_OK);
        assert_false(probe_can_read(at(3)));
        assert_false(sim_open_write(at(5), page));
        assert_int_equal(commit(3, 3), FALLOW_OK);
        for (size_t index = 3; index < 6; index++) {
            assert_int_equal(at(index)[0], 0);
            assert_int_equal(at(index)[page - 1], 0);
        }
        assert_int_equal(at(2)[page - 1], 1);
        assert_int_equal(at(6)[page - 1], 1);

        /* what is announced is not taken any more */
        assert_int_equal(purge(8, 4, FALLOW_PURGE_FREE), FALLOW_OK);
        assert_true(sim_open_write(at(9), page));
        at(9)[0] = 9;
        sim_take_lazy();
        assert_int_equal(at(8)[0], 0);
        assert_int_equal(at(9)[0], 9);
        assert_int_equal(at(10)[0], 0);
        end(); /* with much that is written: the next round finds none of it */
    }
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(illegal_ranges),
        cmocka_unit_test(illegal_states),
        cmocka_unit_test(illegal_locking),
        cmocka_unit_test(leaks_are_told),
        cmocka_unit_test(figures),
        cmocka_unit_test(neighbours),
        cmocka_unit_test(limit_on_addresses),
        cmocka_unit_test(limit_on_commit),
        cmocka_unit_test(limit_on_data),
        cmocka_unit_test(commit_refused_partway),
        cmocka_unit_test(limit_on_mappings),
        cmocka_unit_test(releases_wait_at_the_limit_on_mappings),
        cmocka_unit_test(what_waits_is_empty),
        cmocka_unit_test(large_pages),
        cmocka_unit_test(limit_on_locked_memory),
        cmocka_unit_test(attributes_come_back),
        cmocka_unit_test(lazy_pages_turn_zero_unless_written),
        cmocka_unit_test(lazy_pages_turn_zero_by_themselves),
        cmocka_unit_test(refusals),
        cmocka_unit_test(hooks),
        cmocka_unit_test(any_order),
        cmocka_unit_test(huge_spaces_cost_what_is_used),
        cmocka_unit_test(an_interleaving_comes_back_with_its_seed),
        cmocka_unit_test(deadlocks_are_found),
        cmocka_unit_test(lost_wakes_are_found),
        cmocka_unit_test(time_passes_where_everybody_sleeps),
        cmocka_unit_test(threads_and_events_are_counted),
        cmocka_unit_test(illegal_sleeping),
        cmocka_unit_test(kept_memory_is_zero),
        cmocka_unit_test(light_simulations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
