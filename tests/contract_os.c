/* What every implementation of os.h must do: the real one of the system this runs on, and the simulated one.
 *
 * A test moves pages of one small region along the edges of the state diagram in os.h, and looks at them the way a
 * program would: can it be touched, and what does it read. Where systems may differ, the difference is a field of the
 * table below and nothing else. No test asks for a certain errno or GetLastError(). */
#include "test.h"

#include <stdatomic.h>
#include <string.h>

#include "os.h"
#include "probe.h"

/* --- where systems differ ---------------------------------------------------------------------------------- */

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define ANY_KIND                                                                             \
    ((uint32_t)(FALLOW_REGION_NO_FORK | FALLOW_REGION_WIPE_ON_FORK | FALLOW_REGION_NO_DUMP | \
                FALLOW_REGION_HUGE_PAGES | FALLOW_REGION_LARGE_PAGES))

typedef struct platform {
    const char *name;
    bool (*is_here)(const fallow_system *system);
    size_t large_bytes;     /* a reservation that is large here and still cheap */
    uint32_t flags_dropped; /* FALLOW_REGION_* that mean nothing here: taken out, always */
    bool has_figures;       /* the figures of the process are about this program alone */
    bool has_walls;         /* a mapping ends where its reservation does, and a guard cuts it in two */
    bool may_have_barrier;  /* posix_limits asks the kernel whether there is one */
} platform;

static bool is_narrow(const fallow_system *system)
{
    return system->address_space_bytes <= UINT64_C(1) << 32;
}

static bool is_windows(const fallow_system *system)
{
    return strncmp(system->os_name, "Windows", 7) == 0;
}

static bool is_narrow_windows(const fallow_system *system)
{
    return is_windows(system) && is_narrow(system);
}

static bool is_wine(const fallow_system *system)
{
    return system->is_wine;
}

static bool is_emulated(const fallow_system *system)
{
    return system->is_emulated;
}

static bool is_any(const fallow_system *system)
{
    (void)system;
    return true;
}

/* The first that says it is here. */
static const platform platforms[] = {
    {"Windows, 32 bits", is_narrow_windows, 256 * MIB, ANY_KIND, true, true, true},
    {"Wine", is_wine, GIB, ANY_KIND, true, true, false}, /* a reservation costs a byte for each page, for ever */
    {"Windows", is_windows, GIB, ANY_KIND, true, true, true},
    /* a reservation costs 6 MiB for each GiB; figures are the host's */
    {"emulated", is_emulated, 256 * MIB, 0, false, false, true},
    {"32 bits", is_narrow, 256 * MIB, 0, true, false, true},
    {"64 bits", is_any, GIB, 0, true, false, true},
};

/* --- what every test has ----------------------------------------------------------------------------------- */

static fallow_system facts;
static const platform *here;

static void find_platform(void)
{
    fallow__os_system(&facts);
    here = platforms;
    while (!here->is_here(&facts)) {
        here++;
    }
    printf("contract_os: %s, as %s\n", facts.os_name, here->name);
}

enum {
    PAGES = 64
};

static fallow_region region; /* PAGES pages, reserved anew for each test */

static fallow_status reserve(size_t size_bytes, fallow_region_options options, fallow_region *region_out)
{
    fallow__os_error error;
    return fallow__os_reserve(size_bytes, &options, region_out, &error);
}

static void release(const fallow_region *released)
{
    fallow__os_error error;
    assert_int_equal(fallow__os_release(released, &error), FALLOW_OK);
}

static int set_up(void **state)
{
    (void)state;
    return reserve(PAGES * facts.page_bytes, (fallow_region_options){0}, &region);
}

static int tear_down(void **state)
{
    (void)state;
    fallow__os_error error;
    return fallow__os_release(&region, &error);
}

static unsigned char *page_at(size_t index)
{
    return (unsigned char *)region.base + index * region.page_bytes;
}

static void commit(size_t first, size_t count)
{
    fallow__os_error error;
    assert_int_equal(fallow__os_commit(&region, page_at(first), count * region.page_bytes, &error), FALLOW_OK);
}

static void decommit(size_t first, size_t count)
{
    fallow__os_error error;
    fallow__os_left left = FALLOW__OS_LEFT_ALL;
    assert_int_equal(fallow__os_decommit(&region, page_at(first), count * region.page_bytes, &left, &error), FALLOW_OK);
    assert_int_equal(left, FALLOW__OS_LEFT_NOTHING);
}

/* Returns what it says of zero. */
static bool purge(size_t first, size_t count, fallow_purge kind)
{
    fallow__os_error error;
    bool is_zero = false;
    bool is_committed = true;
    assert_int_equal(
        fallow__os_purge(&region, page_at(first), count * region.page_bytes, kind, &is_zero, &is_committed, &error),
        FALLOW_OK);
    assert_true(is_committed);
    return is_zero;
}

static fallow_status protect(size_t first, size_t count, fallow_protection protection)
{
    fallow__os_error error;
    return fallow__os_protect(&region, page_at(first), count * region.page_bytes, protection, &error);
}

static void prefault(size_t first, size_t count)
{
    fallow__os_error error;
    assert_int_equal(fallow__os_prefault(&region, page_at(first), count * region.page_bytes, &error), FALLOW_OK);
}

static void guard(size_t first, size_t count)
{
    fallow__os_error error;
    assert_int_equal(fallow__os_guard(&region, page_at(first), count * region.page_bytes, &error), FALLOW_OK);
}

static void unguard(size_t first, size_t count)
{
    fallow__os_error error;
    assert_int_equal(fallow__os_unguard(&region, page_at(first), count * region.page_bytes, &error), FALLOW_OK);
}

static size_t resident_pages(size_t first, size_t count)
{
    fallow__os_error error;
    size_t resident_bytes = SIZE_MAX;
    assert_int_equal(fallow__os_resident(&region, page_at(first), count * region.page_bytes, &resident_bytes, &error),
                     FALLOW_OK);
    assert_int_equal(resident_bytes % region.page_bytes, 0);
    assert_true(resident_bytes <= count * region.page_bytes);
    return resident_bytes / region.page_bytes;
}

/* Every byte of a page has one value, so that half a page that is lost is seen. */
static void fill(size_t first, size_t count, unsigned char value)
{
    memset(page_at(first), value, count * region.page_bytes);
}

static bool page_holds(size_t index, unsigned char value)
{
    const unsigned char *bytes = page_at(index);
    return bytes[0] == value && memcmp(bytes, bytes + 1, region.page_bytes - 1) == 0;
}

static void assert_pages_hold(size_t first, size_t count, unsigned char value)
{
    for (size_t index = first; index < first + count; index++) {
        assert_true(page_holds(index, value));
    }
}

/* First and last byte of each page: what a rounding would miss. */
static void assert_access(size_t first, size_t count, bool is_readable, bool is_writable)
{
    for (size_t index = first; index < first + count; index++) {
        unsigned char *byte = page_at(index);
        unsigned char *last_byte = byte + region.page_bytes - 1;
        assert_int_equal(probe_can_read(byte), is_readable);
        assert_int_equal(probe_can_read(last_byte), is_readable);
        assert_int_equal(probe_can_write(byte), is_writable);
        assert_int_equal(probe_can_write(last_byte), is_writable);
    }
}

static void assert_accessible(size_t first, size_t count)
{
    assert_access(first, count, true, true);
}

static void assert_faults(size_t first, size_t count)
{
    assert_access(first, count, false, false);
}

/* --- none to reserved and back ----------------------------------------------------------------------------- */

static void test_reserved_pages_fault(void **state)
{
    (void)state;
    assert_non_null(region.base);
    assert_int_equal((uintptr_t)region.base % facts.granularity_bytes, 0);
    assert_int_equal(region.size_bytes, PAGES * facts.page_bytes);
    assert_int_equal(region.page_bytes, facts.page_bytes);
    assert_int_equal(region.flags, 0);
    assert_string_equal(region.name, "");
    assert_faults(0, PAGES);
    assert_int_equal(resident_pages(0, PAGES), 0);
}

static void test_released_place_is_free(void **state)
{
    (void)state;
    fallow_region first;
    fallow_region again;
    assert_int_equal(reserve(facts.granularity_bytes, (fallow_region_options){0}, &first), FALLOW_OK);
    release(&first);
    fallow_region_options same_place = {.hint = first.base, .flags = FALLOW_REGION_EXACT};
    assert_int_equal(reserve(facts.granularity_bytes, same_place, &again), FALLOW_OK);
    assert_ptr_equal(again.base, first.base);
    release(&again);
}

static void test_one_page(void **state)
{
    (void)state;
    fallow_region small;
    assert_int_equal(reserve(facts.page_bytes, (fallow_region_options){0}, &small), FALLOW_OK);
    assert_int_equal(small.size_bytes, facts.page_bytes);
    assert_false(probe_can_read(small.base));
    release(&small);
}

static void test_alignment(void **state)
{
    (void)state;
    for (size_t align_bytes = 1; align_bytes <= here->large_bytes / 4; align_bytes *= 2) {
        fallow_region aligned;
        size_t size_bytes = 3 * facts.page_bytes;
        assert_int_equal(reserve(size_bytes, (fallow_region_options){.align_bytes = align_bytes}, &aligned), FALLOW_OK);
        assert_int_equal((uintptr_t)aligned.base % align_bytes, 0);
        assert_int_equal(aligned.size_bytes, size_bytes);
        assert_false(probe_can_read(aligned.base));
        release(&aligned);
    }
}

static void test_name(void **state)
{
    (void)state;
    static const char *const names[] = {"", "a",
                                        "sixty-three bytes are the longest name that a region can be given: ."};
    for (size_t index = 0; index < sizeof names / sizeof names[0]; index++) {
        char name[FALLOW_NAME_BYTES] = "";
        strncpy(name, names[index], sizeof name - 1);
        fallow_region named;
        assert_int_equal(reserve(facts.page_bytes, (fallow_region_options){.name = name}, &named), FALLOW_OK);
        assert_string_equal(named.name, name);
        release(&named);
    }
}

/* --- where ------------------------------------------------------------------------------------------------- */

static bool overlaps(const fallow_region *one, const fallow_region *other)
{
    uintptr_t one_first = (uintptr_t)one->base;
    uintptr_t other_first = (uintptr_t)other->base;
    return one_first < other_first + other->size_bytes && other_first < one_first + one->size_bytes;
}

static void test_taken_place(void **state)
{
    (void)state;
    commit(0, PAGES);
    fill(0, PAGES, 7);
    fallow_region other = {.name = "untouched"};
    fallow_region_options options = {.hint = region.base, .flags = FALLOW_REGION_EXACT};
    assert_int_equal(reserve(facts.page_bytes, options, &other), FALLOW_ERR_ADDRESS_SPACE);
    assert_null(other.base);
    assert_string_equal(other.name, "untouched");

    options.flags = 0;
    assert_int_equal(reserve(facts.page_bytes, options, &other), FALLOW_OK);
    assert_false(overlaps(&region, &other));
    release(&other);
    assert_pages_hold(0, PAGES, 7);
}

/* The end of it is taken, its beginning is free. */
static void test_partly_taken_place(void **state)
{
    (void)state;
    size_t granule = facts.granularity_bytes;
    fallow_region room;
    fallow_region low;
    fallow_region high;
    assert_int_equal(reserve(2 * granule, (fallow_region_options){0}, &room), FALLOW_OK);
    release(&room);
    fallow_region_options options = {.hint = (char *)room.base + granule, .flags = FALLOW_REGION_EXACT};
    assert_int_equal(reserve(granule, options, &high), FALLOW_OK);
    options.hint = room.base;
    assert_int_equal(reserve(2 * granule, options, &low), FALLOW_ERR_ADDRESS_SPACE);
    assert_int_equal(reserve(granule, options, &low), FALLOW_OK);
    assert_ptr_equal(low.base, room.base);
    assert_ptr_equal(high.base, (char *)room.base + granule);
    release(&low);
    release(&high);
}

/* Two regions without a gap between them: each call stays in its own. */
static void test_neighbours(void **state)
{
    (void)state;
    size_t granule = facts.granularity_bytes;
    fallow_region room;
    fallow_region pair[2];
    fallow__os_error error;
    assert_int_equal(reserve(2 * granule, (fallow_region_options){0}, &room), FALLOW_OK);
    release(&room);
    for (size_t index = 0; index < 2; index++) {
        fallow_region_options options = {.hint = (char *)room.base + index * granule, .flags = FALLOW_REGION_EXACT};
        assert_int_equal(reserve(granule, options, &pair[index]), FALLOW_OK);
        assert_int_equal(fallow__os_commit(&pair[index], pair[index].base, granule, &error), FALLOW_OK);
        memset(pair[index].base, 5, granule);
    }
    release(&pair[0]);
    for (size_t offset = 0; offset < granule; offset++) {
        assert_int_equal(((unsigned char *)pair[1].base)[offset], 5);
    }
    release(&pair[1]);
}

/* A hint that no base can have here leads elsewhere, and not to a place nearby when it is the exact one that counts. (A
 * hint that contradicts align_bytes does not come with EXACT: region.c refuses that.) */
static void test_impossible_hint(void **state)
{
    (void)state;
    fallow_region room;
    fallow_region other;
    assert_int_equal(reserve(4 * facts.granularity_bytes, (fallow_region_options){.align_bytes = MIB}, &room),
                     FALLOW_OK);
    release(&room);
    fallow_region_options options = {.hint = (char *)room.base + facts.granularity_bytes, .align_bytes = MIB};
    assert_int_equal(reserve(facts.page_bytes, options, &other), FALLOW_OK);
    assert_int_equal((uintptr_t)other.base % MIB, 0);
    release(&other);

    if (facts.granularity_bytes > facts.page_bytes) {
        options = (fallow_region_options){.hint = (char *)room.base + facts.page_bytes};
        assert_int_equal(reserve(facts.page_bytes, options, &other), FALLOW_OK);
        release(&other);
        options.flags = FALLOW_REGION_EXACT;
        assert_int_equal(reserve(facts.page_bytes, options, &other), FALLOW_ERR_ADDRESS_SPACE);
    }
}

/* Below 4 GiB there may be no room left, but then that is said. */
static void test_low_4g(void **state)
{
    (void)state;
    for (size_t align_bytes = 0; align_bytes <= 16 * MIB; align_bytes += 16 * MIB) {
        fallow_region low;
        fallow_region_options options = {.align_bytes = align_bytes, .flags = FALLOW_REGION_LOW_4G};
        fallow_status status = reserve(16 * MIB, options, &low);
        if (status != FALLOW_OK) {
            assert_int_equal(status, FALLOW_ERR_ADDRESS_SPACE);
            continue;
        }
        assert_true((uint64_t)(uintptr_t)low.base + low.size_bytes <= UINT64_C(1) << 32);
        assert_true(align_bytes == 0 || (uintptr_t)low.base % align_bytes == 0);
        assert_int_equal(low.flags, FALLOW_REGION_LOW_4G);
        release(&low);
    }
}

static void test_low_4g_too_large(void **state)
{
    (void)state;
    if (sizeof(size_t) < 8) {
        skip();
    }
    fallow_region low;
    fallow_region_options options = {.flags = FALLOW_REGION_LOW_4G};
    assert_int_not_equal(reserve((size_t)(UINT64_C(1) << 32), options, &low), FALLOW_OK);
}

/* What a region is of in a fork, a dump or in pages: accepted everywhere, and told truly. */
static void test_flags(void **state)
{
    (void)state;
    for (uint32_t flag = 1; flag <= FALLOW_REGION_LARGE_PAGES; flag *= 2) {
        if ((flag & ANY_KIND) == 0) {
            continue;
        }
        size_t size_bytes = facts.large_page_bytes > facts.page_bytes ? facts.large_page_bytes : facts.page_bytes;
        fallow_region flagged;
        fallow__os_error error;
        assert_int_equal(reserve(size_bytes, (fallow_region_options){.flags = flag}, &flagged), FALLOW_OK);
        assert_int_equal(flagged.flags & ~flag, 0);
        assert_int_equal(flagged.flags & here->flags_dropped, 0);
        if (flagged.flags == 0) {
            assert_int_equal(flagged.page_bytes, facts.page_bytes);
        }
        assert_int_equal(fallow__os_commit(&flagged, flagged.base, flagged.page_bytes, &error), FALLOW_OK);
        assert_true(probe_can_write(flagged.base));
        release(&flagged);
    }
}

/* --- forks --------------------------------------------------------------------------------------------------- */

static fallow_region of_fork[3]; /* as it is, not in the child, zero in the child */
static const uint32_t fork_flags[3] = {0, FALLOW_REGION_NO_FORK, FALLOW_REGION_WIPE_ON_FORK};
static char fork_steps[32];
static fallow__os_lock fork_lock;
static fallow__os_event fork_event;

static void note_step(char step)
{
    size_t length = strlen(fork_steps);
    fork_steps[length < sizeof fork_steps - 1 ? length : 0] = step;
}

static void first_before(void)
{
    note_step('a');
    fallow__os_lock_acquire(&fork_lock);
}

static void first_in_parent(void)
{
    note_step('p');
    fallow__os_lock_release(&fork_lock);
}

static void first_in_child(void)
{
    note_step('c');
    fallow__os_lock_init(&fork_lock);
    fallow__os_event_init(&fork_event);
}

static void second_before(void)
{
    note_step('A');
}

static void second_in_parent(void)
{
    note_step('P');
}

static void second_in_child(void)
{
    note_step('C');
}

static int look_in_child(void)
{
    fallow__os_error error;
    char *base = of_fork[0].base;
    if (strcmp(fork_steps, "AacC") != 0) {
        return 1;
    }
    if (base[0] != 1 || base[facts.page_bytes] != 1) {
        return 2;
    }
    if (of_fork[1].flags != 0 && probe_can_read(of_fork[1].base)) {
        return 3;
    }
    if (of_fork[2].flags != 0 && *(char *)of_fork[2].base != 0) {
        return 4;
    }
    /* all of it can be used, and nothing is held */
    base[0] = 2;
    fallow__os_lock_acquire(&fork_lock);
    fallow__os_event_wait(&fork_event, &fork_lock, 1);
    fallow__os_lock_release(&fork_lock);
    return fallow__os_commit(&of_fork[0], base, 4 * facts.page_bytes, &error) == FALLOW_OK && base[0] == 2 &&
                   base[3 * facts.page_bytes] == 0 && fallow__os_release(&of_fork[0], &error) == FALLOW_OK &&
                   !probe_can_read(base)
               ? 0
               : 5;
}

static void test_fork(void **state)
{
    (void)state;
    static bool is_asked;
    fallow__os_error error;
    if (!is_asked) { /* once per process */
        fallow__os_lock_init(&fork_lock);
        fallow__os_event_init(&fork_event);
        assert_true(fallow__os_at_fork(first_before, first_in_parent, first_in_child));
        assert_true(fallow__os_at_fork(second_before, second_in_parent, second_in_child));
        is_asked = true;
    }
    for (size_t i = 0; i < 3; i++) {
        fallow_region_options options = {.flags = fork_flags[i]};
        assert_int_equal(reserve(4 * facts.page_bytes, options, &of_fork[i]), FALLOW_OK);
        assert_int_equal(fallow__os_commit(&of_fork[i], of_fork[i].base, 2 * facts.page_bytes, &error), FALLOW_OK);
        memset(of_fork[i].base, 1, 2 * facts.page_bytes);
    }
    memset(fork_steps, 0, sizeof fork_steps);
    int result = probe_fork(look_in_child);
    if (result >= 0) {
        assert_int_equal(result, 0);
        assert_string_equal(fork_steps, "AapP");
    } else {
        print_message("SKIPPED: there is no fork here\n");
    }
    for (size_t i = 0; i < 3; i++) {
        const char *base = of_fork[i].base;
        assert_int_equal(base[0], 1);
        assert_int_equal(base[2 * facts.page_bytes - 1], 1);
        release(&of_fork[i]);
    }
    fallow__os_lock_destroy(&fork_lock);
    fallow__os_event_destroy(&fork_event);
}

/* --- large pages ---------------------------------------------------------------------------------------------- */

static bool is_filled(const unsigned char *base, size_t size_bytes, unsigned char byte)
{
    return base[0] == byte && memcmp(base, base + 1, size_bytes - 1) == 0;
}

/* Where the pool has none to give, ordinary pages are what is had, and the same is true of them. */
static void test_large_pages(void **state)
{
    (void)state;
    fallow_region large;
    fallow__os_error error;
    fallow__os_left left;
    bool is_zero;
    bool is_committed;
    size_t unit = facts.large_page_bytes > facts.page_bytes ? facts.large_page_bytes : facts.page_bytes;
    fallow_region_options options = {.flags = FALLOW_REGION_LARGE_PAGES};
    assert_int_equal(reserve(4 * unit, options, &large), FALLOW_OK);
    bool is_large = (large.flags & FALLOW_REGION_LARGE_PAGES) != 0;
    printf("%s pages of %zu KiB\n", is_large ? "large" : "ordinary", large.page_bytes >> 10);
    assert_int_equal(large.page_bytes, is_large ? facts.large_page_bytes : facts.page_bytes);
    assert_int_equal((uintptr_t)large.base % large.page_bytes, 0);
    assert_int_equal(large.size_bytes, 4 * unit);
    unsigned char *base = large.base;
    assert_false(probe_can_read(base));
    assert_int_equal(fallow__os_commit(&large, base, 3 * unit, &error), FALLOW_OK);
    assert_true(is_filled(base, 3 * unit, 0));
    assert_false(probe_can_read(base + 3 * unit));
    memset(base, 1, 3 * unit);
    assert_int_equal(fallow__os_decommit(&large, base + unit, unit, &left, &error), FALLOW_OK);
    assert_int_equal(left, FALLOW__OS_LEFT_NOTHING);
    assert_false(probe_can_read(base + unit));
    assert_true(probe_can_write(base + unit - 1));
    assert_int_equal(fallow__os_commit(&large, base + unit, unit, &error), FALLOW_OK);
    assert_true(is_filled(base, unit, 1) && is_filled(base + unit, unit, 0) && is_filled(base + 2 * unit, unit, 1));
    memset(base + unit, 2, unit);
    assert_int_equal(fallow__os_purge(&large, base, unit, FALLOW_PURGE_DONTNEED, &is_zero, &is_committed, &error),
                     FALLOW_OK);
    assert_true(is_zero && is_committed && is_filled(base, unit, 0) && is_filled(base + unit, unit, 2));
    assert_int_equal(fallow__os_purge(&large, base + unit, unit, FALLOW_PURGE_FREE, &is_zero, &is_committed, &error),
                     FALLOW_OK);
    assert_true(is_committed && (!is_zero || is_filled(base + unit, unit, 0)));
    assert_int_equal(fallow__os_protect(&large, base, unit, FALLOW_PROTECTION_READ, &error), FALLOW_OK);
    assert_false(probe_can_write(base));
    assert_int_equal(fallow__os_protect(&large, base, unit, FALLOW_PROTECTION_READ_WRITE, &error), FALLOW_OK);
    assert_int_equal(fallow__os_prefault(&large, base, 2 * unit, &error), FALLOW_OK);
    assert_int_equal(fallow__os_guard(&large, base + unit, unit, &error), FALLOW_OK);
    assert_false(probe_can_read(base + unit));
    assert_int_equal(fallow__os_unguard(&large, base + unit, unit, &error), FALLOW_OK);
    assert_true(is_filled(base + unit, unit, 0) && is_filled(base + 2 * unit, unit, 1));
    release(&large);
    assert_false(probe_can_read(base));
}

static void test_impossible_sizes(void **state)
{
    (void)state;
    size_t largest = SIZE_MAX - SIZE_MAX % facts.page_bytes - facts.page_bytes;
    const size_t sizes[] = {largest, largest - 8 * MIB}; /* a 32-bit program may well get half of it */
    for (size_t index = 0; index < sizeof sizes / sizeof sizes[0]; index++) {
        for (size_t align_bytes = 0; align_bytes <= 4 * MIB; align_bytes += 4 * MIB) {
            fallow_region none = {.name = "untouched"};
            fallow_region_options options = {.align_bytes = align_bytes};
            assert_int_equal(reserve(sizes[index], options, &none), FALLOW_ERR_ADDRESS_SPACE);
            assert_null(none.base);
            assert_string_equal(none.name, "untouched");
        }
    }
    if (!is_narrow(&facts)) { /* where it is, half of the address space is a possible base */
        fallow_region none;
        fallow_region_options aligned = {.align_bytes = SIZE_MAX / 2 + 1};
        assert_int_equal(reserve(facts.page_bytes, aligned, &none), FALLOW_ERR_ADDRESS_SPACE);
    }
}

/* --- reserved to committed and back ------------------------------------------------------------------------ */

static void test_commit_is_just_the_range(void **state)
{
    (void)state;
    commit(8, 3);
    assert_faults(0, 8);
    assert_accessible(8, 3);
    assert_faults(11, PAGES - 11);
    assert_pages_hold(8, 3, 0);
    commit(0, 1);
    commit(PAGES - 1, 1);
    assert_accessible(0, 1);
    assert_accessible(PAGES - 1, 1);
    assert_faults(1, 7);
    assert_faults(11, PAGES - 12);
}

static void test_commit_again_keeps(void **state)
{
    (void)state;
    commit(8, 4);
    fill(8, 4, 3);
    commit(8, 4);
    assert_pages_hold(8, 4, 3);
    commit(6, 8); /* around it */
    assert_pages_hold(6, 2, 0);
    assert_pages_hold(8, 4, 3);
    assert_pages_hold(12, 2, 0);
    commit(10, 20); /* across its end */
    assert_pages_hold(8, 4, 3);
    assert_pages_hold(14, 16, 0);
}

static void test_commit_whole(void **state)
{
    (void)state;
    commit(0, PAGES);
    assert_accessible(0, PAGES);
    assert_pages_hold(0, PAGES, 0);
    decommit(0, PAGES);
    assert_faults(0, PAGES);
}

static void test_decommit(void **state)
{
    (void)state;
    commit(4, 12);
    fill(4, 12, 9);
    decommit(8, 4);
    assert_accessible(4, 4);
    assert_faults(8, 4);
    assert_accessible(12, 4);
    assert_int_equal(resident_pages(8, 4), 0);
    commit(8, 4);
    assert_pages_hold(4, 4, 9);
    assert_pages_hold(8, 4, 0);
    assert_pages_hold(12, 4, 9);
}

static void test_decommit_any_state(void **state)
{
    (void)state;
    decommit(0, PAGES); /* never committed */
    commit(10, 2);
    commit(20, 2);
    decommit(5, 30); /* holes in between */
    assert_faults(0, PAGES);
    decommit(5, 30); /* again */
    commit(0, PAGES);
    assert_pages_hold(0, PAGES, 0);
}

/* Touching what is committed again must find zero, however the page was treated before. */
static void test_decommit_forgets(void **state)
{
    (void)state;
    commit(0, 8);
    fill(0, 8, 1);
    (void)purge(0, 2, FALLOW_PURGE_FREE);
    (void)purge(2, 2, FALLOW_PURGE_DONTNEED);
    assert_int_equal(protect(4, 2, FALLOW_PROTECTION_READ), FALLOW_OK);
    guard(6, 2);
    decommit(0, 8);
    assert_faults(0, 8);
    commit(0, 8);
    assert_accessible(0, 8);
    assert_pages_hold(0, 8, 0);
}

/* --- purge ------------------------------------------------------------------------------------------------- */

static void test_purge_dontneed(void **state)
{
    (void)state;
    commit(0, 16);
    fill(0, 16, 4);
    assert_true(purge(4, 8, FALLOW_PURGE_DONTNEED));
    assert_int_equal(resident_pages(4, 8), 0);
    assert_accessible(4, 8);
    assert_pages_hold(0, 4, 4);
    assert_pages_hold(4, 8, 0);
    assert_pages_hold(12, 4, 4);
    fill(4, 8, 6);
    assert_pages_hold(4, 8, 6);
}

/* Each page for itself, old or zero; and what is written afterwards stays. */
static void test_purge_free(void **state)
{
    (void)state;
    commit(0, 16);
    fill(0, 16, 4);
    bool is_zero = purge(4, 8, FALLOW_PURGE_FREE);
    for (size_t index = 4; index < 12; index++) {
        assert_true(page_holds(index, 0) || (!is_zero && page_holds(index, 4)));
    }
    assert_accessible(4, 8);
    assert_pages_hold(0, 4, 4);
    assert_pages_hold(12, 4, 4);
    fill(4, 8, 6);
    assert_pages_hold(4, 8, 6);
    commit(0, 16);
    assert_pages_hold(4, 8, 6);
}

static void test_purge_untouched(void **state)
{
    (void)state;
    commit(0, 4);
    (void)purge(0, 2, FALLOW_PURGE_FREE);
    assert_true(purge(2, 2, FALLOW_PURGE_DONTNEED));
    assert_pages_hold(0, 4, 0);
}

static void test_purge_free_then_dontneed(void **state)
{
    (void)state;
    commit(0, 4);
    fill(0, 4, 4);
    (void)purge(0, 4, FALLOW_PURGE_FREE);
    assert_true(purge(0, 4, FALLOW_PURGE_DONTNEED));
    assert_pages_hold(0, 4, 0);
}

/* Several at once: those that it says are given back, and nothing beside them has changed. */
static void test_purge_many(void **state)
{
    (void)state;
    const fallow_purge kinds[] = {FALLOW_PURGE_DONTNEED, FALLOW_PURGE_FREE};
    for (int kind = 0; kind < 2; kind++) {
        commit(0, 10);
        fill(0, 10, 7);
        const fallow__os_range ranges[] = {
            {page_at(8), region.page_bytes}, {page_at(5), 2 * region.page_bytes}, {page_at(1), region.page_bytes}};
        size_t done = fallow__os_purge_many(&region, ranges, 3, kinds[kind]);
        assert_true(done == 3 || done == 0);
        const size_t gone[] = {8, 5, 6, 1};
        for (size_t i = 0; i < 4 && kinds[kind] == FALLOW_PURGE_DONTNEED; i++) {
            assert_pages_hold(gone[i], 1, done == 3 ? 0 : 7);
        }
        assert_pages_hold(0, 1, 7);
        assert_pages_hold(2, 3, 7);
        assert_pages_hold(7, 1, 7);
        assert_pages_hold(9, 1, 7);
        fill(0, 10, 3); /* all of it is accessible */
        assert_pages_hold(0, 10, 3);
        decommit(0, 10);
    }
}

/* Large pages, if there are any: all of it zero and writable. */
static void test_reserve_large(void **state)
{
    (void)state;
    fallow_region large = {0};
    fallow__os_error error;
    const fallow_region_options options = {.name = "large"};
    fallow_status status = fallow__os_reserve_large(facts.page_bytes, &options, &large, &error);
    if (status != FALLOW_OK) {
        assert_true(status == FALLOW_ERR_UNSUPPORTED || status == FALLOW_ERR_COMMIT || status == FALLOW_ERR_PERMISSION);
        assert_null(large.base);
        return;
    }
    assert_int_equal(large.flags, FALLOW_REGION_LARGE_PAGES);
    assert_true(large.size_bytes >= facts.page_bytes && large.size_bytes % large.page_bytes == 0);
    for (size_t offset = 0; offset < large.size_bytes; offset += facts.page_bytes) {
        assert_int_equal(((char *)large.base)[offset], 0);
        ((char *)large.base)[offset] = 1;
    }
    release(&large);
}

/* Word of little memory, where the system gives it: waiting for it has an end. */
static void end_pressure(void *context)
{
    fallow__os_pressure_end(context);
}

static void test_pressure(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        fallow__os_pressure pressure;
        fallow__os_thread thread;
        fallow__os_error error;
        fallow_status status = fallow__os_pressure_open(&pressure, &error);
        if (status != FALLOW_OK) {
            assert_int_equal(status, FALLOW_ERR_UNSUPPORTED);
            return;
        }
        assert_int_equal(fallow__os_thread_start(end_pressure, &pressure, &thread, &error), FALLOW_OK);
        while (fallow__os_pressure_wait(&pressure)) { /* memory may be short, too */
        }
        assert_false(fallow__os_pressure_wait(&pressure));
        fallow__os_thread_join(&thread);
        fallow__os_pressure_close(&pressure);
    }
}

/* --- protect ----------------------------------------------------------------------------------------------- */

static const struct {
    fallow_protection protection;
    bool is_readable;
    bool is_writable;
} protections[] = {
    {FALLOW_PROTECTION_NONE, false, false},
    {FALLOW_PROTECTION_READ, true, false},
    {FALLOW_PROTECTION_READ_WRITE, true, true},
    {FALLOW_PROTECTION_READ_EXECUTE, true, false},
};
enum {
    PROTECTION_COUNT = sizeof protections / sizeof protections[0]
};

static void test_protect(void **state)
{
    (void)state;
    commit(0, 8);
    fill(0, 8, 2);
    for (size_t index = 0; index < PROTECTION_COUNT; index++) {
        fallow_protection protection = protections[index].protection;
        fallow_status status = protect(2, 4, protection);
        if (protection == FALLOW_PROTECTION_READ_EXECUTE && status == FALLOW_ERR_PERMISSION) {
            continue; /* a system may forbid it */
        }
        assert_int_equal(status, FALLOW_OK);
        assert_accessible(0, 2);
        assert_access(2, 4, protections[index].is_readable, protections[index].is_writable);
        assert_accessible(6, 2);
    }
    assert_int_equal(protect(2, 4, FALLOW_PROTECTION_READ_WRITE), FALLOW_OK);
    assert_pages_hold(0, 8, 2);
}

static void test_commit_undoes_protect(void **state)
{
    (void)state;
    for (size_t index = 0; index < PROTECTION_COUNT; index++) {
        commit(0, 4);
        fill(0, 4, 8);
        assert_int_equal(protect(1, 2, protections[index].protection), FALLOW_OK);
        commit(0, 4);
        assert_accessible(0, 4);
        assert_pages_hold(0, 4, 8);
    }
}

/* --- prefault, resident ------------------------------------------------------------------------------------ */

static void test_prefault(void **state)
{
    (void)state;
    commit(0, 16);
    fill(0, 4, 3);
    prefault(0, 12);
    assert_int_equal(resident_pages(0, 12), 12);
    assert_pages_hold(0, 4, 3);
    assert_pages_hold(4, 8, 0);
    prefault(0, 12);
    assert_pages_hold(0, 4, 3);
}

static void test_resident(void **state)
{
    (void)state;
    commit(0, 32);
    assert_int_equal(resident_pages(0, PAGES), 0);
    fill(1, 1, 1);
    fill(30, 2, 1);
    size_t resident = resident_pages(0, PAGES);
    assert_true(resident >= 3 && resident <= 32); /* more than was touched where a system backs several at once */
    assert_int_equal(resident_pages(30, 2), 2);
    assert_int_equal(resident_pages(32, 32), 0);
    decommit(0, 32);
    assert_int_equal(resident_pages(0, PAGES), 0);
}

/* More pages than are asked about in one system call. */
static void test_resident_large(void **state)
{
    (void)state;
    if (facts.is_emulated && facts.page_bytes != 4096) {
        print_message("SKIPPED: an emulator counts resident pages of its host\n");
        skip();
    }
    fallow_region large;
    fallow__os_error error;
    size_t size_bytes = 64 * MIB;
    size_t resident_bytes = 0;
    assert_int_equal(reserve(size_bytes, (fallow_region_options){0}, &large), FALLOW_OK);
    assert_int_equal(fallow__os_commit(&large, large.base, size_bytes, &error), FALLOW_OK);
    size_t touched = 0;
    for (size_t offset = 0; offset < size_bytes; offset += 33 * large.page_bytes) {
        ((volatile char *)large.base)[offset] = 1;
        touched += large.page_bytes;
    }
    assert_int_equal(fallow__os_resident(&large, large.base, size_bytes, &resident_bytes, &error), FALLOW_OK);
    assert_true(resident_bytes >= touched && resident_bytes <= size_bytes);
    release(&large);
}

/* --- guard ------------------------------------------------------------------------------------------------- */

static void test_guard(void **state)
{
    (void)state;
    commit(0, 12);
    fill(0, 12, 5);
    guard(4, 4);
    assert_accessible(0, 4);
    assert_faults(4, 4);
    assert_accessible(8, 4);
    assert_int_equal(resident_pages(4, 4), 0);
    unguard(4, 4);
    assert_accessible(4, 4);
    assert_pages_hold(0, 4, 5);
    assert_pages_hold(4, 4, 0);
    assert_pages_hold(8, 4, 5);
}

static void test_guard_untouched(void **state)
{
    (void)state;
    commit(0, 4);
    guard(1, 2);
    assert_faults(1, 2);
    unguard(1, 1); /* a part of it */
    assert_accessible(0, 2);
    assert_faults(2, 1);
    unguard(2, 1);
    assert_pages_hold(0, 4, 0);
}

/* --- any order --------------------------------------------------------------------------------------------- */

typedef enum page_state {
    RESERVED,
    COMMITTED,
    READ_ONLY,
    GUARDED
} page_state;

typedef struct page_model {
    page_state state;
    unsigned char value; /* what it holds if committed */
    bool may_be_zero;    /* purged with FREE and not written since */
} page_model;

static page_model model[PAGES];

static void assert_page_is_as_modelled(size_t index)
{
    const page_model *page = &model[index];
    bool is_readable = page->state == COMMITTED || page->state == READ_ONLY;
    assert_int_equal(probe_can_read(page_at(index)), is_readable);
    if (is_readable) {
        assert_true(page_holds(index, page->value) || (page->may_be_zero && page_holds(index, 0)));
    }
}

static bool all_in(size_t first, size_t count, page_state one, page_state other)
{
    for (size_t index = first; index < first + count; index++) {
        if (model[index].state != one && model[index].state != other) {
            return false;
        }
    }
    return true;
}

static void set_model(size_t first, size_t count, page_model page)
{
    for (size_t index = first; index < first + count; index++) {
        model[index] = page;
    }
}

static void set_model_state(size_t first, size_t count, page_state page)
{
    for (size_t index = first; index < first + count; index++) {
        model[index].state = page;
    }
}

/* Commit keeps contents and undoes protection; on guarded pages it is not allowed. */
static void step_commit(size_t first, size_t count)
{
    for (size_t index = first; index < first + count; index++) {
        if (model[index].state == GUARDED) {
            return;
        }
    }
    commit(first, count);
    set_model_state(first, count, COMMITTED);
}

static void step_decommit(size_t first, size_t count)
{
    decommit(first, count);
    set_model(first, count, (page_model){.state = RESERVED});
}

static void step_dontneed(size_t first, size_t count)
{
    if (all_in(first, count, COMMITTED, COMMITTED)) {
        assert_true(purge(first, count, FALLOW_PURGE_DONTNEED));
        set_model(first, count, (page_model){.state = COMMITTED});
    }
}

static void step_free(size_t first, size_t count)
{
    if (all_in(first, count, COMMITTED, COMMITTED)) {
        bool is_zero = purge(first, count, FALLOW_PURGE_FREE);
        for (size_t index = first; index < first + count; index++) {
            model[index].may_be_zero = true;
            model[index].value = is_zero ? 0 : model[index].value;
        }
    }
}

static void step_fill(size_t first, size_t count, unsigned char value)
{
    if (all_in(first, count, COMMITTED, COMMITTED)) {
        fill(first, count, value);
        set_model(first, count, (page_model){.state = COMMITTED, .value = value});
    }
}

static void step_protect(size_t first, size_t count)
{
    if (all_in(first, count, COMMITTED, READ_ONLY)) {
        assert_int_equal(protect(first, count, FALLOW_PROTECTION_READ), FALLOW_OK);
        set_model_state(first, count, READ_ONLY);
    }
}

static void step_guard(size_t first, size_t count)
{
    if (all_in(first, count, COMMITTED, COMMITTED)) {
        guard(first, count);
        set_model(first, count, (page_model){.state = GUARDED});
    } else if (all_in(first, count, GUARDED, GUARDED)) {
        unguard(first, count);
        set_model(first, count, (page_model){.state = COMMITTED});
    }
}

static void take_step(test_random *random)
{
    size_t first = (size_t)test_below(random, PAGES);
    size_t count = 1 + (size_t)test_below(random, PAGES - first < 12 ? PAGES - first : 12);
    switch (test_below(random, 10)) {
    case 0:
    case 1:
    case 2: step_commit(first, count); break;
    case 3: step_decommit(first, count); break;
    case 4: step_dontneed(first, count); break;
    case 5: step_free(first, count); break;
    case 6: step_protect(first, count); break;
    case 7: step_guard(first, count); break;
    default: step_fill(first, count, (unsigned char)(1 + test_below(random, 255))); break;
    }
    for (size_t index = first; index < first + count; index++) {
        assert_page_is_as_modelled(index);
    }
}

/* Any order of calls that os.h allows leaves every page as the diagram says. */
static void test_any_order(void **state)
{
    (void)state;
    test_random random = test_seed("contract_os");
    memset(model, 0, sizeof model);
    for (int step = 0; step < 2000; step++) {
        take_step(&random);
        assert_page_is_as_modelled((size_t)test_below(&random, PAGES));
    }
    for (size_t index = 0; index < PAGES; index++) {
        assert_page_is_as_modelled(index);
    }
}

/* --- facts and figures ------------------------------------------------------------------------------------- */

static bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static void test_facts(void **state)
{
    (void)state;
    assert_true(is_power_of_two(facts.page_bytes));
    assert_true(is_power_of_two(facts.granularity_bytes));
    assert_true(facts.granularity_bytes >= facts.page_bytes);
    assert_true(facts.large_page_bytes == 0 || is_power_of_two(facts.large_page_bytes));
    assert_int_equal(fallow__os_page_bytes(), facts.page_bytes);
    assert_true(facts.os_name[0] != '\0');
    assert_non_null(memchr(facts.os_name, '\0', sizeof facts.os_name));
    assert_true(facts.address_space_bytes >= UINT64_C(1) << 30);
    assert_true(facts.memory_bytes >= 16 * MIB);
    assert_true(facts.overcommit_mode >= -1 && facts.overcommit_mode <= 2);
    assert_true(facts.map_count_limit >= 100);
    assert_false(facts.is_wine && facts.is_emulated);
    assert_true(facts.environment_error[0] == '\0');
    uintptr_t here_address = (uintptr_t)region.base;
    assert_true((uint64_t)here_address + region.size_bytes <= facts.address_space_bytes);
    assert_true(fallow__os_address_space_left() >= region.size_bytes);
}

static void test_facts_stay(void **state)
{
    (void)state;
    fallow_system again;
    fallow__os_system(&again);
    assert_string_equal(again.os_name, facts.os_name);
    assert_int_equal(again.page_bytes, facts.page_bytes);
    assert_int_equal(again.granularity_bytes, facts.granularity_bytes);
    assert_int_equal(again.has_lazy_purge, facts.has_lazy_purge);
    assert_int_equal(again.has_guard_install, facts.has_guard_install);
    assert_int_equal(again.is_wine, facts.is_wine);
}

static fallow_process figures(void)
{
    fallow_process process;
    fallow__os_error error;
    assert_int_equal(fallow__os_process(&process, &error), FALLOW_OK);
    return process;
}

static uint64_t growth(uint64_t before, uint64_t after)
{
    return after > before ? after - before : 0;
}

static void skip_without_figures(void)
{
    if (!here->has_figures) {
        skip();
    }
}

static void test_figures(void **state)
{
    (void)state;
    skip_without_figures();
    fallow_process process = figures();
    assert_true(process.virtual_bytes >= process.resident_bytes / 2);
    assert_true(process.resident_bytes >= facts.page_bytes);
    assert_true(process.peak_resident_bytes == 0 || process.peak_resident_bytes + MIB >= process.resident_bytes);
    assert_true(process.committed_bytes > 0 && process.committed_bytes <= process.virtual_bytes);
    assert_true(process.lazy_free_bytes <= process.resident_bytes);
    assert_true(process.map_count > 3);
}

/* The story of the huge process: a reservation is virtual, and nothing else. */
static void test_reservation_costs_addresses(void **state)
{
    (void)state;
    skip_without_figures();
    fallow_region large;
    fallow_process before = figures();
    assert_int_equal(reserve(here->large_bytes, (fallow_region_options){0}, &large), FALLOW_OK);
    fallow_process after = figures();
    assert_true(growth(before.virtual_bytes, after.virtual_bytes) >= here->large_bytes - 4 * MIB);
    assert_true(growth(before.virtual_bytes, after.virtual_bytes) <= here->large_bytes + 16 * MIB);
    assert_true(growth(before.resident_bytes, after.resident_bytes) <= 8 * MIB);
    assert_true(growth(before.committed_bytes, after.committed_bytes) <= 8 * MIB);
    release(&large);
    assert_true(growth(before.virtual_bytes, figures().virtual_bytes) <= 16 * MIB);
}

static void test_memory_comes_with_touching(void **state)
{
    (void)state;
    skip_without_figures();
    fallow_region large;
    fallow__os_error error;
    fallow__os_left left;
    size_t size_bytes = 64 * MIB;
    assert_int_equal(reserve(size_bytes, (fallow_region_options){0}, &large), FALLOW_OK);
    fallow_process reserved = figures();
    assert_int_equal(fallow__os_commit(&large, large.base, size_bytes, &error), FALLOW_OK);
    fallow_process committed = figures();
    assert_true(growth(reserved.committed_bytes, committed.committed_bytes) >= size_bytes);
    assert_true(growth(reserved.committed_bytes, committed.committed_bytes) <= size_bytes + 8 * MIB);
    assert_true(growth(reserved.resident_bytes, committed.resident_bytes) <= 8 * MIB);

    memset(large.base, 1, size_bytes);
    fallow_process touched = figures();
    assert_true(growth(committed.resident_bytes, touched.resident_bytes) >= size_bytes - 4 * MIB);
    assert_true(growth(committed.resident_bytes, touched.resident_bytes) <= 5 * size_bytes); /* a sanitizer's shadow */
    assert_true(growth(committed.virtual_bytes, touched.virtual_bytes) <= 8 * MIB);

    assert_int_equal(fallow__os_decommit(&large, large.base, size_bytes, &left, &error), FALLOW_OK);
    fallow_process given_back = figures();
    assert_true(growth(given_back.resident_bytes, touched.resident_bytes) >= size_bytes - 4 * MIB);
    assert_true(growth(given_back.committed_bytes, touched.committed_bytes) >= size_bytes - 4 * MIB);
    release(&large);
}

/* Pages here and there cost mappings; once they are decommitted, they cost none. */
static void test_decommit_gives_mappings_back(void **state)
{
    (void)state;
    skip_without_figures();
    (void)figures(); /* the first reading may map something itself */
    uint64_t before = figures().map_count;
    for (size_t index = 1; index < PAGES; index += 2) {
        commit(index, 1);
        fill(index, 1, 1);
    }
    assert_true(figures().map_count >= before + PAGES / 2);
    for (size_t index = 1; index < PAGES; index += 2) {
        decommit(index, 1);
    }
    assert_true(figures().map_count <= before + 4);
}

/* What cuts a mapping in two, and what makes it whole again. */
static void test_mappings(void **state)
{
    (void)state;
    skip_without_figures();
    (void)figures();
    uint64_t whole = figures().map_count;
    commit(8, 16);
    fill(8, 16, 1);
    assert_int_equal(figures().map_count, whole + 2);
    commit(20, 8); /* on where the other ends */
    fill(20, 8, 1);
    assert_int_equal(figures().map_count, whole + 2);
    assert_int_equal(protect(12, 2, FALLOW_PROTECTION_READ), FALLOW_OK);
    assert_int_equal(figures().map_count, whole + 4);
    commit(12, 2);
    assert_int_equal(figures().map_count, whole + 2);
    (void)purge(14, 2, FALLOW_PURGE_FREE);
    (void)purge(16, 2, FALLOW_PURGE_DONTNEED);
    assert_int_equal(figures().map_count, whole + 2);
    guard(18, 2);
    bool is_cut = here->has_walls || !facts.has_guard_install;
    assert_int_equal(figures().map_count, whole + (is_cut ? 4 : 2));
    unguard(18, 2);
    decommit(8, 20);
    assert_int_equal(figures().map_count, whole);
}

/* Two reservations side by side are one mapping or two; each can go alone. */
static void test_mappings_of_neighbours(void **state)
{
    (void)state;
    skip_without_figures();
    size_t granule = facts.granularity_bytes;
    fallow_region room;
    fallow_region pair[2];
    assert_int_equal(reserve(4 * granule, (fallow_region_options){0}, &room), FALLOW_OK);
    release(&room);
    (void)figures();
    uint64_t none = figures().map_count;
    uint64_t mappings[2];
    for (size_t index = 0; index < 2; index++) {
        fallow_region_options options = {.hint = (char *)room.base + (index + 1) * granule,
                                         .flags = FALLOW_REGION_EXACT};
        assert_int_equal(reserve(granule, options, &pair[index]), FALLOW_OK);
        mappings[index] = figures().map_count;
    }
    assert_int_equal(mappings[0], none + 1);
    assert_int_equal(mappings[1], none + (here->has_walls ? 2 : 1));
    release(&pair[0]);
    assert_int_equal(figures().map_count, none + 1);
    release(&pair[1]);
    assert_int_equal(figures().map_count, none);
}

/* Name and advice are those of the whole region again after a decommit, or it would fall apart. */
static void test_attributes_survive_decommit(void **state)
{
    (void)state;
    skip_without_figures();
    fallow_region marked;
    fallow__os_error error;
    fallow__os_left left;
    fallow_region_options options = {.name = "marked", .flags = FALLOW_REGION_NO_DUMP | FALLOW_REGION_NO_FORK};
    assert_int_equal(reserve(PAGES * facts.page_bytes, options, &marked), FALLOW_OK);
    (void)figures();
    uint64_t whole = figures().map_count;
    for (size_t index = 1; index < PAGES; index += 4) {
        char *base = (char *)marked.base + index * facts.page_bytes;
        assert_int_equal(fallow__os_commit(&marked, base, facts.page_bytes, &error), FALLOW_OK);
        *base = 1;
        assert_int_equal(fallow__os_decommit(&marked, base, facts.page_bytes, &left, &error), FALLOW_OK);
    }
    assert_int_equal(figures().map_count, whole);
    release(&marked);
}

/* --- lock, once, environment ------------------------------------------------------------------------------- */

/* Two locks are two; each is free after its release. */
static void test_lock(void **state)
{
    (void)state;
    fallow__os_lock locks[2];
    memset(locks, 0xa5, sizeof locks);
    fallow__os_lock_init(&locks[0]);
    fallow__os_lock_init(&locks[1]);
    for (int round = 0; round < 3; round++) {
        fallow__os_lock_acquire(&locks[0]);
        fallow__os_lock_acquire(&locks[1]);
        fallow__os_lock_release(&locks[0]); /* not the one that was taken last */
        fallow__os_lock_release(&locks[1]);
    }
    fallow__os_lock_destroy(&locks[0]);
    fallow__os_lock_destroy(&locks[1]);
}

static int initialised;

static void initialise(void)
{
    initialised++;
}

static fallow__os_once inner_once;

static void initialise_inner_too(void)
{
    initialised++;
    fallow__os_run_once(&inner_once, initialise);
}

static void test_once(void **state)
{
    (void)state;
    fallow__os_once once = {0};
    initialised = 0;
    fallow__os_run_once(&once, initialise);
    assert_int_equal(initialised, 1);
    fallow__os_run_once(&once, initialise);
    assert_int_equal(initialised, 1);

    fallow__os_once other = {0};
    fallow__os_run_once(&other, initialise_inner_too); /* one may begin another */
    assert_int_equal(initialised, 3);
    fallow__os_run_once(&other, initialise_inner_too);
    fallow__os_run_once(&inner_once, initialise);
    assert_int_equal(initialised, 3);
}

/* ctest sets FALLOW_TEST_WORD=fallow and FALLOW_TEST_EMPTY to nothing. */
static void test_environment(void **state)
{
    (void)state;
    char value[8];
    assert_int_equal(fallow__os_environment("FALLOW_TEST_NOT_SET", value, sizeof value), -1);
    if (getenv("FALLOW_TEST_WORD") == NULL) {
        skip();
    }
    assert_int_equal(fallow__os_environment("FALLOW_TEST_WORD", value, sizeof value), 6);
    assert_string_equal(value, "fallow");
    assert_int_equal(fallow__os_environment("FALLOW_TEST_WORD", value, 7), 6); /* just fits */
    assert_string_equal(value, "fallow");
    assert_int_equal(fallow__os_environment("FALLOW_TEST_WORD", value, 6), -1);
    assert_int_equal(fallow__os_environment("FALLOW_TEST_EMPTY", value, sizeof value), 0);
    assert_string_equal(value, "");
}

/* A file is what was written to it; one that is there is left alone. */
static void test_file(void **state)
{
    (void)state;
    char path[64];
    char text[64] = "";
    fallow__os_file file;
    fallow__os_file second;
    bool is_taken = true;
    snprintf(path, sizeof path, "contract_os.%llu.%u", (unsigned long long)fallow__os_process_id(),
             (unsigned)(fallow__os_clock_ns() % 1000000));
    assert_true(fallow__os_file_create(path, &file, &is_taken));
    assert_false(is_taken);
    assert_true(fallow__os_file_write(&file, "a 1 4096\n", 9));
    assert_false(fallow__os_file_create(path, &second, &is_taken));
    assert_true(is_taken);
    assert_true(fallow__os_file_write(&file, "f 1\n\r\n", 6));
    fallow__os_file_close(&file);
    FILE *written = fopen(path, "rb");
    assert_non_null(written);
    assert_int_equal(fread(text, 1, sizeof text, written), 15);
    fclose(written);
    assert_string_equal(text, "a 1 4096\nf 1\n\r\n");
    assert_int_equal(remove(path), 0);
    assert_false(fallow__os_file_create("no-such-directory/file", &file, &is_taken));
    assert_false(is_taken);
    assert_false(fallow__os_file_create("", &file, &is_taken));
}

/* --- time and threads -------------------------------------------------------------------------------------- */

static void test_clock(void **state)
{
    (void)state;
    uint64_t first = fallow__os_clock_ns();
    uint64_t latest = first;
    for (uint32_t reading = 0; reading < 1000 || (latest == first && reading < 100000000); reading++) {
        uint64_t now = fallow__os_clock_ns();
        assert_true(now >= latest);
        latest = now;
    }
    assert_true(latest > first);
}

static void start(void (*run)(void *context), void *context, fallow__os_thread *thread)
{
    fallow__os_error error;
    assert_int_equal(fallow__os_thread_start(run, context, thread, &error), FALLOW_OK);
}

/* Two threads, one lock, one event, and what they tell each other. */
typedef struct pair {
    fallow__os_lock lock;
    fallow__os_event event;
    int stage;
} pair;

static void pair_begin(pair *both)
{
    memset(both, 0xa5, sizeof *both);
    fallow__os_lock_init(&both->lock);
    fallow__os_event_init(&both->event);
    both->stage = 0;
}

static void pair_end(pair *both)
{
    fallow__os_event_destroy(&both->event);
    fallow__os_lock_destroy(&both->lock);
}

/* The lock is held. */
static void await_stage(pair *both, int stage)
{
    while (both->stage < stage) {
        fallow__os_event_wait(&both->event, &both->lock, UINT64_MAX);
    }
}

static void set_stage(pair *both, int stage)
{
    both->stage = stage;
    fallow__os_event_wake(&both->event);
}

static void answer(void *context)
{
    pair *both = context;
    fallow__os_lock_acquire(&both->lock);
    set_stage(both, 1);
    await_stage(both, 2);
    set_stage(both, 3);
    fallow__os_lock_release(&both->lock);
}

/* The lock is taken before the process has a second thread, and slept with afterwards. Comes first, for that. */
static void test_event_of_a_lock_taken_alone(void **state)
{
    (void)state;
    pair both;
    fallow__os_thread thread;
    pair_begin(&both);
    fallow__os_lock_acquire(&both.lock);
    start(answer, &both, &thread);
    await_stage(&both, 1); /* it cannot get there unless this lets go of the lock */
    set_stage(&both, 2);
    await_stage(&both, 3);
    fallow__os_lock_release(&both.lock);
    fallow__os_thread_join(&thread);
    pair_end(&both);
}

static void test_event_wakes(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        pair both;
        fallow__os_thread thread;
        pair_begin(&both);
        start(answer, &both, &thread);
        fallow__os_lock_acquire(&both.lock);
        await_stage(&both, 1); /* and now the other one sleeps */
        set_stage(&both, 2);
        await_stage(&both, 3);
        fallow__os_lock_release(&both.lock);
        fallow__os_thread_join(&thread);
        pair_end(&both);
    }
}

enum {
    CROWD = 8
};

typedef struct crowd {
    pair both;
    int arrived;
    int gone;
} crowd;

static void stand_in_crowd(void *context)
{
    crowd *all = context;
    fallow__os_lock_acquire(&all->both.lock);
    all->arrived++;
    fallow__os_event_wake(&all->both.event);
    await_stage(&all->both, 1);
    all->gone++;
    fallow__os_lock_release(&all->both.lock);
}

static void test_event_wakes_all(void **state)
{
    (void)state;
    crowd all = {.arrived = 0};
    fallow__os_thread threads[CROWD];
    pair_begin(&all.both);
    for (int index = 0; index < CROWD; index++) {
        start(stand_in_crowd, &all, &threads[index]);
    }
    fallow__os_lock_acquire(&all.both.lock);
    while (all.arrived < CROWD) {
        fallow__os_event_wait(&all.both.event, &all.both.lock, UINT64_MAX);
    }
    assert_int_equal(all.gone, 0);
    set_stage(&all.both, 1);
    fallow__os_lock_release(&all.both.lock);
    for (int index = 0; index < CROWD; index++) {
        fallow__os_thread_join(&threads[index]);
    }
    assert_int_equal(all.gone, CROWD);
    pair_end(&all.both);
}

/* Nobody wakes it: time passes, and it sleeps meanwhile. */
static void test_event_times_out(void **state)
{
    (void)state;
    const uint64_t wanted_ns = 20 * 1000 * 1000;
    pair both;
    uint32_t returns = 0;
    pair_begin(&both);
    fallow__os_lock_acquire(&both.lock);
    uint64_t end_ns = fallow__os_clock_ns() + wanted_ns;
    for (uint64_t now = 0; (now = fallow__os_clock_ns()) < end_ns; returns++) {
        fallow__os_event_wait(&both.event, &both.lock, end_ns - now);
    }
    assert_true(returns >= 1 && returns < 1000);
    fallow__os_event_wait(&both.event, &both.lock, 0);
    fallow__os_event_wait(&both.event, &both.lock, 1);
    fallow__os_lock_release(&both.lock);
    pair_end(&both);
}

/* A sleep with an end that is far away ends when it is woken. */
static void wait_with_end(void *context)
{
    pair *both = context;
    fallow__os_lock_acquire(&both->lock);
    set_stage(both, 1);
    for (uint64_t timeout_ns = UINT64_MAX - 1; both->stage < 2; timeout_ns -= UINT64_C(1) << 62) {
        fallow__os_event_wait(&both->event, &both->lock, timeout_ns);
    }
    fallow__os_lock_release(&both->lock);
}

static void test_event_long_timeouts(void **state)
{
    (void)state;
    pair both;
    fallow__os_thread thread;
    pair_begin(&both);
    start(wait_with_end, &both, &thread);
    fallow__os_lock_acquire(&both.lock);
    await_stage(&both, 1);
    set_stage(&both, 2);
    fallow__os_lock_release(&both.lock);
    fallow__os_thread_join(&thread);
    pair_end(&both);
}

/* A lock keeps threads apart, and shows each what the others wrote. */
typedef struct tally {
    fallow__os_lock lock;
    uint32_t count;
    bool is_inside;
} tally;

enum {
    TALLY_ROUNDS = 2000
};

static void count_up(void *context)
{
    tally *shared = context;
    for (int round = 0; round < TALLY_ROUNDS; round++) {
        fallow__os_lock_acquire(&shared->lock);
        if (!shared->is_inside) {
            shared->is_inside = true;
            shared->count++;
            shared->is_inside = false;
        }
        fallow__os_lock_release(&shared->lock);
    }
}

static void test_threads_and_a_lock(void **state)
{
    (void)state;
    tally shared = {.count = 0};
    fallow__os_thread threads[CROWD];
    fallow__os_lock_init(&shared.lock);
    for (int index = 0; index < CROWD; index++) {
        start(count_up, &shared, &threads[index]);
    }
    for (int index = 0; index < CROWD; index++) {
        fallow__os_thread_join(&threads[index]);
    }
    assert_int_equal(shared.count, CROWD * TALLY_ROUNDS);
    fallow__os_lock_destroy(&shared.lock);
}

/* What a thread's last word was, and how many have had one. */
static atomic_int leave_count;
static atomic_int leave_marks; /* sum of the marks of the threads that were told */
static _Thread_local int thread_mark;

static void leave(void)
{
    atomic_fetch_add(&leave_count, 1);
    atomic_fetch_add(&leave_marks, thread_mark);
}

static void ask_and_end(void *context)
{
    const int *mark = context;
    thread_mark = *mark;
    for (int round = 0; round < 3; round++) {
        if (!fallow__os_at_thread_exit(leave)) {
            thread_mark = -1000000;
        }
    }
}

static void end(void *context)
{
    thread_mark = *(const int *)context;
}

static void test_thread_exit(void **state)
{
    (void)state;
    int marks[] = {1, 20, 300, 4000};
    fallow__os_thread threads[4];
    atomic_store(&leave_count, 0);
    atomic_store(&leave_marks, 0);
    thread_mark = 50000;
    assert_true(fallow__os_at_thread_exit(leave)); /* this one does not end */
    start(ask_and_end, &marks[0], &threads[0]);
    fallow__os_thread_join(&threads[0]);
    assert_int_equal(atomic_load(&leave_count), 1);
    assert_int_equal(atomic_load(&leave_marks), 1);
    start(end, &marks[1], &threads[1]);
    fallow__os_thread_join(&threads[1]);
    assert_int_equal(atomic_load(&leave_count), 1); /* did not ask */
    start(ask_and_end, &marks[2], &threads[2]);
    start(ask_and_end, &marks[3], &threads[3]);
    fallow__os_thread_join(&threads[2]);
    fallow__os_thread_join(&threads[3]);
    assert_int_equal(atomic_load(&leave_count), 3);
    assert_int_equal(atomic_load(&leave_marks), 4301);
}

/* Whether there is one is the kernel's affair, but it does not change its mind. */
static void test_barrier(void **state)
{
    (void)state;
    bool is_there = fallow__os_barrier_all_threads();
    assert_int_equal(fallow__os_barrier_all_threads(), is_there);
    assert_true(!is_there || here->may_have_barrier);
}

#define ON_REGION(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

/* --- seeing a process -------------------------------------------------------------------------------------- */

typedef struct sight {
    uint64_t end; /* of the mapping before */
    uint64_t count;
    uint64_t stop_at;
    uint64_t region_bytes; /* of mappings where the region is */
    uint64_t reserved_bytes;
    uint64_t committed_bytes;
    uint64_t resident_bytes;
    bool has_resident;
} sight;

static bool look(void *context, const fallow__os_mapping *mapping)
{
    sight *s = context;
    uint64_t region_first = (uintptr_t)region.base;
    uint64_t region_end = region_first + region.size_bytes;
    uint64_t size_bytes = mapping->end - mapping->first;
    assert_true(mapping->first < mapping->end);
    assert_true(mapping->first >= s->end);
    assert_true(mapping->resident_bytes <= size_bytes && mapping->lazy_bytes <= mapping->resident_bytes);
    assert_true(mapping->committed_bytes == 0 || mapping->committed_bytes == size_bytes);
    assert_true((unsigned)mapping->kind < FALLOW__OS_KINDS);
    s->end = mapping->end;
    s->count++;
    uint64_t first = mapping->first > region_first ? mapping->first : region_first;
    uint64_t end = mapping->end < region_end ? mapping->end : region_end;
    if (first < end) {
        s->region_bytes += end - first;
        s->reserved_bytes += mapping->kind == FALLOW__OS_RESERVED ? end - first : 0;
        s->committed_bytes += mapping->committed_bytes != 0 ? end - first : 0;
        s->resident_bytes += mapping->resident_bytes;
        s->has_resident |= mapping->has_resident;
    }
    return s->count != s->stop_at;
}

static sight see_mappings(uint64_t stop_at)
{
    fallow__os_error error;
    sight s = {.stop_at = stop_at};
    assert_int_equal(fallow__os_mappings(fallow__os_process_id(), look, &s, &error), FALLOW_OK);
    return s;
}

static void test_mappings_tell_states(void **state)
{
    (void)state;
    if (facts.is_emulated) {
        print_message("SKIPPED: an emulator shows the mappings of its host\n");
        skip();
    }
    sight s = see_mappings(0);
    assert_int_equal(s.region_bytes, region.size_bytes);
    assert_int_equal(s.reserved_bytes, region.size_bytes);
    assert_int_equal(s.committed_bytes, 0);
    commit(8, 16);
    memset(page_at(10), 1, 4 * region.page_bytes);
    s = see_mappings(0);
    assert_int_equal(s.region_bytes, region.size_bytes);
    assert_int_equal(s.committed_bytes, 16 * region.page_bytes);
    assert_int_equal(s.reserved_bytes, (PAGES - 16) * region.page_bytes);
    assert_true(s.has_resident);
    assert_true(s.resident_bytes >= 4 * region.page_bytes);
    decommit(8, 16);
    s = see_mappings(0);
    assert_int_equal(s.reserved_bytes, region.size_bytes);
    s = see_mappings(1);
    assert_int_equal(s.count, 1); /* the visitor ends it */
}

static void test_peek(void **state)
{
    (void)state;
    unsigned char bytes[64];
    uint64_t own = fallow__os_process_id();
    commit(1, 2);
    memset(page_at(1), 7, 2 * region.page_bytes);
    memset(bytes, 0, sizeof bytes);
    assert_true(fallow__os_peek(own, (uintptr_t)page_at(2) - 32, bytes, sizeof bytes));
    for (size_t i = 0; i < sizeof bytes; i++) {
        assert_int_equal(bytes[i], 7);
    }
    assert_false(fallow__os_peek(own, 16, bytes, sizeof bytes)); /* nothing lies there */
    assert_false(fallow__os_peek(4000000000u, (uintptr_t)page_at(1), bytes, sizeof bytes));
}

static void test_figures_and_limits_of_a_process(void **state)
{
    (void)state;
    fallow__os_error error;
    fallow__os_figures figures;
    fallow__os_limit limits[FALLOW__OS_LIMITS_MAX];
    sight s = {0};
    assert_int_equal(fallow__os_figures_of(4000000000u, &figures, &error), FALLOW_ERR_INVALID);
    assert_int_equal(fallow__os_mappings(4000000000u, look, &s, &error), FALLOW_ERR_INVALID);
    assert_int_equal(s.count, 0);
    assert_int_equal(fallow__os_figures_of(fallow__os_process_id(), &figures, &error), FALLOW_OK);
    assert_true(figures.resident_bytes != 0);
    assert_true(figures.program[0] != '\0' && memchr(figures.program, '\0', sizeof figures.program) != NULL);
    assert_false(figures.is_other_user);
    size_t count = fallow__os_limits(fallow__os_process_id(), &figures, 12, limits);
    assert_true(count <= FALLOW__OS_LIMITS_MAX);
    for (size_t i = 0; i < count; i++) {
        assert_true(limits[i].name[0] != '\0' && limits[i].what[0] != '\0');
        assert_true(!limits[i].is_mappings || limits[i].used == 12);
        assert_non_null(memchr(limits[i].place, '\0', sizeof limits[i].place));
    }
}

int main(void)
{
    test_begin();
    find_platform();
    const struct CMUnitTest tests[] = {
        ON_REGION(test_reserved_pages_fault),
        cmocka_unit_test(test_released_place_is_free),
        cmocka_unit_test(test_one_page),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_name),
        ON_REGION(test_taken_place),
        cmocka_unit_test(test_partly_taken_place),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_impossible_hint),
        cmocka_unit_test(test_low_4g),
        cmocka_unit_test(test_low_4g_too_large),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_large_pages),
        cmocka_unit_test(test_impossible_sizes),
        ON_REGION(test_commit_is_just_the_range),
        ON_REGION(test_commit_again_keeps),
        ON_REGION(test_commit_whole),
        ON_REGION(test_decommit),
        ON_REGION(test_decommit_any_state),
        ON_REGION(test_decommit_forgets),
        ON_REGION(test_purge_dontneed),
        ON_REGION(test_purge_free),
        ON_REGION(test_purge_untouched),
        ON_REGION(test_purge_free_then_dontneed),
        ON_REGION(test_purge_many),
        cmocka_unit_test(test_reserve_large),
        cmocka_unit_test(test_pressure),
        ON_REGION(test_protect),
        ON_REGION(test_commit_undoes_protect),
        ON_REGION(test_prefault),
        ON_REGION(test_resident),
        cmocka_unit_test(test_resident_large),
        ON_REGION(test_guard),
        ON_REGION(test_guard_untouched),
        ON_REGION(test_any_order),
        ON_REGION(test_facts),
        cmocka_unit_test(test_facts_stay),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_reservation_costs_addresses),
        cmocka_unit_test(test_memory_comes_with_touching),
        ON_REGION(test_decommit_gives_mappings_back),
        ON_REGION(test_mappings),
        cmocka_unit_test(test_mappings_of_neighbours),
        cmocka_unit_test(test_attributes_survive_decommit),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_event_of_a_lock_taken_alone),
        cmocka_unit_test(test_event_wakes),
        cmocka_unit_test(test_event_wakes_all),
        cmocka_unit_test(test_event_times_out),
        cmocka_unit_test(test_event_long_timeouts),
        cmocka_unit_test(test_threads_and_a_lock),
        cmocka_unit_test(test_thread_exit),
        cmocka_unit_test(test_barrier),
        ON_REGION(test_mappings_tell_states),
        ON_REGION(test_peek),
        cmocka_unit_test(test_figures_and_limits_of_a_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
