/* Regions, through the public header only: the same program passes on every system.
 *
 * Each test makes its own region and releases it. Sizes are small, since reserving is linear under Wine and qemu, and
 * 32-bit systems have little room. */
#include "test.h"

#include <string.h>

#include "fallow.h"
#include "probe.h"

enum {
    MIB = 1 << 20,
    REGION_BYTES = 8 * MIB
};

static size_t page; /* the OS page */

static fallow_region reserve(const fallow_region_options *options)
{
    fallow_region region = {0};
    assert_int_equal(fallow_region_reserve(REGION_BYTES, options, &region), FALLOW_OK);
    assert_non_null(region.base);
    assert_int_equal(region.size_bytes, REGION_BYTES);
    return region;
}

static void release(fallow_region *region)
{
    assert_int_equal(fallow_region_release(region), FALLOW_OK);
    assert_null(region->base);
    assert_int_equal(region->size_bytes, 0);
}

static char *at(const fallow_region *region, size_t offset)
{
    return (char *)region->base + offset;
}

static bool is_all(const char *bytes, size_t count, char value)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != value) {
            return false;
        }
    }
    return true;
}

/* The latest failure is of that call and says INVALID without having asked the system. */
static void assert_refused(fallow_status status, const char *operation)
{
    fallow_failure failure;
    assert_int_equal(status, FALLOW_ERR_INVALID);
    assert_true(fallow_last_failure(&failure));
    assert_int_equal(failure.status, FALLOW_ERR_INVALID);
    assert_string_equal(failure.operation, operation);
    assert_int_equal(failure.os_code, 0);
    assert_null(failure.limit_name);
}

static void assert_reserve_refused(size_t size_bytes, const fallow_region_options *options)
{
    fallow_region region;
    memset(&region, 0x5a, sizeof region);
    fallow_region before = region;
    assert_refused(fallow_region_reserve(size_bytes, options, &region), "fallow_region_reserve");
    assert_memory_equal(&region, &before, sizeof region);
}

/* --- reserve ----------------------------------------------------------------------------------------------- */

static void test_reserve(void **state)
{
    (void)state;
    fallow_region region = reserve(NULL);
    assert_true(region.page_bytes >= page);
    assert_int_equal(region.flags, 0);
    assert_string_equal(region.name, "");
    assert_int_equal((uintptr_t)region.base % page, 0);
    assert_false(probe_can_read(at(&region, 0)));
    assert_false(probe_can_read(at(&region, REGION_BYTES - 1)));
    release(&region);
}

static void test_reserve_rounds_up(void **state)
{
    (void)state;
    fallow_region region;
    assert_int_equal(fallow_region_reserve(1, NULL, &region), FALLOW_OK);
    assert_int_equal(region.size_bytes, page);
    release(&region);
    assert_int_equal(fallow_region_reserve(page + 1, NULL, &region), FALLOW_OK);
    assert_int_equal(region.size_bytes, 2 * page);
    release(&region);
}

static void test_reserve_bad_sizes(void **state)
{
    (void)state;
    assert_reserve_refused(0, NULL);
    assert_reserve_refused(SIZE_MAX, NULL);
    assert_reserve_refused(SIZE_MAX - page + 2, NULL);
    /* the largest size that can be rounded: a good question, and the answer is no */
    fallow_region region;
    assert_int_equal(fallow_region_reserve(SIZE_MAX - page + 1, NULL, &region), FALLOW_ERR_ADDRESS_SPACE);
    fallow_failure failure;
    assert_true(fallow_last_failure(&failure));
    assert_int_equal(failure.status, FALLOW_ERR_ADDRESS_SPACE);
    assert_true(failure.os_code != 0);
}

static void test_reserve_bad_options(void **state)
{
    (void)state;
    assert_reserve_refused(MIB, &(fallow_region_options){.align_bytes = 3});
    assert_reserve_refused(MIB, &(fallow_region_options){.align_bytes = 3 * page});
    assert_reserve_refused(MIB, &(fallow_region_options){.align_bytes = SIZE_MAX});
    assert_reserve_refused(MIB, &(fallow_region_options){.hint = (void *)(uintptr_t)(64 * MIB + 1)});
    assert_reserve_refused(MIB, &(fallow_region_options){.hint = (void *)(uintptr_t)(64 * MIB + page / 2)});
    assert_reserve_refused(MIB, &(fallow_region_options){.flags = FALLOW_REGION_EXACT});
    assert_reserve_refused(MIB, &(fallow_region_options){.flags = FALLOW_REGION_EXACT,
                                                         .hint = (void *)(uintptr_t)(65 * MIB),
                                                         .align_bytes = 2 * MIB});
    assert_reserve_refused(MIB, &(fallow_region_options){.min_bytes = MIB + 1});
    assert_reserve_refused(MIB, &(fallow_region_options){.flags = 1u << 7});
    assert_reserve_refused(MIB, &(fallow_region_options){.flags = 1u << 31});
}

static void test_reserve_names(void **state)
{
    (void)state;
    char name[1001];
    memset(name, 'n', sizeof name);
    name[1000] = '\0';
    assert_reserve_refused(MIB, &(fallow_region_options){.name = name});
    name[FALLOW_NAME_BYTES] = '\0';
    assert_reserve_refused(MIB, &(fallow_region_options){.name = name});
    name[FALLOW_NAME_BYTES - 1] = '\0';
    fallow_region region = reserve(&(fallow_region_options){.name = name});
    assert_string_equal(region.name, name);
    release(&region);
    region = reserve(&(fallow_region_options){.name = "[odd] $name\n"});
    assert_string_equal(region.name, "[odd] $name\n");
    release(&region);
    region = reserve(&(fallow_region_options){.name = ""});
    release(&region);
}

static void test_reserve_aligned(void **state)
{
    (void)state;
    for (size_t align = 1; align <= 64 * MIB; align *= 2) {
        fallow_region region = reserve(&(fallow_region_options){.align_bytes = align});
        assert_int_equal((uintptr_t)region.base % align, 0);
        /* it is all ours, to the last byte, and nothing more of it is left behind: the ends can be used */
        assert_int_equal(fallow_region_commit(&region, 0, region.page_bytes), FALLOW_OK);
        assert_int_equal(fallow_region_commit(&region, REGION_BYTES - region.page_bytes, region.page_bytes), FALLOW_OK);
        at(&region, 0)[0] = 1;
        at(&region, REGION_BYTES - 1)[0] = 1;
        release(&region);
    }
}

static void test_reserve_aligned_too_much(void **state)
{
    (void)state;
    fallow_region region;
    const fallow_region_options options = {.align_bytes = SIZE_MAX / 2 + 1};
    assert_int_equal(fallow_region_reserve(SIZE_MAX / 2, &options, &region), FALLOW_ERR_ADDRESS_SPACE);
}

static void test_reserve_hint(void **state)
{
    (void)state;
    /* a place that was free a moment ago; the result may lie elsewhere, so only that it works is asked */
    fallow_region first = reserve(NULL);
    void *place = first.base;
    release(&first);
    fallow_region region = reserve(&(fallow_region_options){.hint = place});
    /* taken now: another place is found */
    fallow_region other = reserve(&(fallow_region_options){.hint = region.base});
    assert_ptr_not_equal(other.base, region.base);
    release(&other);
    other = reserve(&(fallow_region_options){.hint = region.base, .align_bytes = 2 * MIB});
    assert_int_equal((uintptr_t)other.base % (2 * MIB), 0);
    assert_ptr_not_equal(other.base, region.base);
    release(&other);
    release(&region);
}

static void test_reserve_exact_twice(void **state)
{
    (void)state;
    fallow_region first = reserve(NULL);
    void *place = first.base;
    release(&first);
    fallow_region region;
    const fallow_region_options options = {.hint = place, .flags = FALLOW_REGION_EXACT};
    fallow_status status = fallow_region_reserve(REGION_BYTES, &options, &region);
    if (status != FALLOW_OK) {
        print_message("another thread of the system took the place\n");
        skip();
    }
    assert_ptr_equal(region.base, place);
    assert_int_equal(fallow_region_commit(&region, 0, page), FALLOW_OK);
    at(&region, 0)[0] = 42;
    fallow_region second = {0};
    assert_int_equal(fallow_region_reserve(REGION_BYTES, &options, &second), FALLOW_ERR_ADDRESS_SPACE);
    assert_null(second.base);
    assert_int_equal(at(&region, 0)[0], 42); /* never over another mapping */
    fallow_failure failure;
    assert_true(fallow_last_failure(&failure));
    assert_string_equal(failure.operation, "fallow_region_reserve");
    assert_ptr_equal(failure.base, place);
    assert_int_equal(failure.size_bytes, REGION_BYTES);
    release(&region);
}

static void test_reserve_low(void **state)
{
    (void)state;
    const fallow_region_options options = {.flags = FALLOW_REGION_LOW_4G};
    fallow_region regions[4];
    for (size_t i = 0; i < 4; i++) {
        regions[i] = reserve(&options);
        uint64_t end = (uint64_t)(uintptr_t)regions[i].base + REGION_BYTES;
        assert_true(end <= (uint64_t)1 << 32);
    }
    for (size_t i = 0; i < 4; i++) {
        release(&regions[i]);
    }
    const fallow_region_options aligned = {.flags = FALLOW_REGION_LOW_4G, .align_bytes = 16 * MIB};
    regions[0] = reserve(&aligned);
    assert_int_equal((uintptr_t)regions[0].base % (16 * MIB), 0);
    assert_true((uint64_t)(uintptr_t)regions[0].base + REGION_BYTES <= (uint64_t)1 << 32);
    release(&regions[0]);
#if SIZE_MAX > 0xffffffffu
    assert_int_equal(fallow_region_reserve((size_t)1 << 33, &options, &regions[0]), FALLOW_ERR_ADDRESS_SPACE);
    const fallow_region_options high = {.flags = FALLOW_REGION_LOW_4G | FALLOW_REGION_EXACT,
                                        .hint = (void *)((uintptr_t)1 << 33)};
    assert_int_equal(fallow_region_reserve(MIB, &high, &regions[0]), FALLOW_ERR_ADDRESS_SPACE);
#endif
}

static void test_reserve_halving(void **state)
{
    (void)state;
    fallow_region region;
    const size_t small = 48 * (size_t)MIB;
    /* more than any address space has, and no way down */
    const fallow_region_options impossible = {.min_bytes = SIZE_MAX / 2 + 1};
    assert_int_equal(fallow_region_reserve(SIZE_MAX - page + 1, &impossible, &region), FALLOW_ERR_ADDRESS_SPACE);
    /* Below 4 GiB there is no room for 16 GiB, and room for less is found by halving. (Without that flag something
     * large would fit, which is dear under Wine and qemu.) */
#if SIZE_MAX > 0xffffffffu
    const fallow_region_options low = {.min_bytes = small, .flags = FALLOW_REGION_LOW_4G};
    assert_int_equal(fallow_region_reserve((size_t)16 << 30, &low, &region), FALLOW_OK);
    assert_true(region.size_bytes >= small && region.size_bytes < (size_t)16 << 30);
    assert_int_equal(((size_t)16 << 30) % region.size_bytes, 0);
    release(&region);
#endif
    const fallow_region_options fits = {.min_bytes = 1};
    assert_int_equal(fallow_region_reserve(small, &fits, &region), FALLOW_OK);
    assert_int_equal(region.size_bytes, small);
    release(&region);
}

static void test_reserve_all_attributes(void **state)
{
    (void)state;
    const uint32_t flags = FALLOW_REGION_NO_FORK | FALLOW_REGION_NO_DUMP | FALLOW_REGION_HUGE_PAGES |
                           FALLOW_REGION_LARGE_PAGES | FALLOW_REGION_WIPE_ON_FORK;
    fallow_region region = reserve(&(fallow_region_options){.flags = flags, .name = "all"});
    assert_int_equal(region.flags & ~flags, 0);
    size_t step = region.page_bytes;
    assert_int_equal(REGION_BYTES % step, 0);
    assert_int_equal(fallow_region_commit(&region, 0, 2 * step), FALLOW_OK);
    memset(region.base, 7, 2 * step);
    assert_int_equal(fallow_region_decommit(&region, step, step), FALLOW_OK);
    assert_false(probe_can_read(at(&region, step)));
    assert_true(is_all(at(&region, 0), step, 7));
    assert_int_equal(fallow_region_commit(&region, step, step), FALLOW_OK);
    assert_true(is_all(at(&region, step), step, 0));
    release(&region);
}

static void test_release(void **state)
{
    (void)state;
    fallow_region region = {0};
    assert_int_equal(fallow_region_release(&region), FALLOW_OK);
    region = reserve(NULL);
    release(&region);
    release(&region);
    assert_int_equal(region.page_bytes, 0);
}

/* --- ranges ------------------------------------------------------------------------------------------------ */

static fallow_status call_commit(const fallow_region *region, size_t offset, size_t size)
{
    return fallow_region_commit(region, offset, size);
}

static fallow_status call_decommit(const fallow_region *region, size_t offset, size_t size)
{
    return fallow_region_decommit(region, offset, size);
}

static fallow_status call_purge(const fallow_region *region, size_t offset, size_t size)
{
    return fallow_region_purge(region, offset, size, FALLOW_PURGE_DONTNEED);
}

static fallow_status call_protect(const fallow_region *region, size_t offset, size_t size)
{
    return fallow_region_protect(region, offset, size, FALLOW_PROTECTION_READ);
}

static fallow_status call_prefault(const fallow_region *region, size_t offset, size_t size)
{
    return fallow_region_prefault(region, offset, size);
}

static fallow_status call_guard(const fallow_region *region, size_t offset, size_t size)
{
    return fallow_region_guard(region, offset, size);
}

static fallow_status call_unguard(const fallow_region *region, size_t offset, size_t size)
{
    return fallow_region_unguard(region, offset, size);
}

static fallow_status call_resident(const fallow_region *region, size_t offset, size_t size)
{
    size_t resident_bytes = 77;
    fallow_status status = fallow_region_resident(region, offset, size, &resident_bytes);
    /* written only on success */
    assert_int_equal(resident_bytes, status == FALLOW_OK ? 0 : 77);
    return status;
}

typedef struct range_call {
    const char *name;
    fallow_status (*run)(const fallow_region *region, size_t offset, size_t size);
} range_call;

static const range_call range_calls[] = {
    {"fallow_region_commit", call_commit},     {"fallow_region_decommit", call_decommit},
    {"fallow_region_purge", call_purge},       {"fallow_region_protect", call_protect},
    {"fallow_region_prefault", call_prefault}, {"fallow_region_guard", call_guard},
    {"fallow_region_unguard", call_unguard},   {"fallow_region_resident", call_resident},
};

static void test_ranges(void **state)
{
    (void)state;
    fallow_region region = reserve(NULL);
    const size_t size = REGION_BYTES;
    const size_t bad[][2] = {
        {0, size + page},
        {page, size},
        {size, page},
        {size + page, page},
        {0, SIZE_MAX},
        {0, SIZE_MAX - page + 1},        /* a whole number of pages, and far too many */
        {page, SIZE_MAX - page + 1},     /* offset + size is 0 */
        {SIZE_MAX - page + 1, page},     /* and again */
        {SIZE_MAX - page + 1, 2 * page}, /* offset + size is one page */
        {SIZE_MAX, 1},
        {1, page},
        {page - 1, page},
        {0, 1},
        {0, page + 1},
        {0, page - 1},
        {page / 2, page},
        {1, 1},
    };
    for (size_t call = 0; call < sizeof range_calls / sizeof range_calls[0]; call++) {
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            assert_refused(range_calls[call].run(&region, bad[i][0], bad[i][1]), range_calls[call].name);
        }
        /* size 0 is fine wherever, and never reaches the system */
        assert_int_equal(range_calls[call].run(&region, 0, 0), FALLOW_OK);
        assert_int_equal(range_calls[call].run(&region, page, 0), FALLOW_OK);
        assert_int_equal(range_calls[call].run(&region, size, 0), FALLOW_OK);
    }
    assert_false(probe_can_read(at(&region, 0)));
    release(&region);
    /* a region that is none has no byte */
    for (size_t call = 0; call < sizeof range_calls / sizeof range_calls[0]; call++) {
        assert_int_equal(range_calls[call].run(&region, 0, 0), FALLOW_OK);
        assert_refused(range_calls[call].run(&region, 0, page), range_calls[call].name);
    }
}

/* --- commit and decommit ----------------------------------------------------------------------------------- */

static void test_commit(void **state)
{
    (void)state;
    fallow_region region = reserve(NULL);
    assert_int_equal(fallow_region_commit(&region, page, 2 * page), FALLOW_OK);
    assert_false(probe_can_read(at(&region, page - 1)));
    assert_true(is_all(at(&region, page), 2 * page, 0));
    assert_false(probe_can_read(at(&region, 3 * page)));
    memset(at(&region, page), 1, 2 * page);
    /* twice is fine, also over the edge; contents stay, new pages are zero */
    assert_int_equal(fallow_region_commit(&region, 0, 4 * page), FALLOW_OK);
    assert_true(is_all(at(&region, 0), page, 0));
    assert_true(is_all(at(&region, page), 2 * page, 1));
    assert_true(is_all(at(&region, 3 * page), page, 0));
    release(&region);
}

static void test_commit_whole(void **state)
{
    (void)state;
    fallow_region region = reserve(NULL);
    assert_int_equal(fallow_region_commit(&region, 0, REGION_BYTES), FALLOW_OK);
    assert_true(probe_can_write(at(&region, 0)));
    assert_true(probe_can_write(at(&region, REGION_BYTES - 1)));
    release(&region);
}

static void test_decommit(void **state)
{
    (void)state;
    fallow_region region = reserve(NULL);
    assert_int_equal(fallow_region_commit(&region, 0, 8 * page), FALLOW_OK);
    memset(region.base, 2, 8 * page);
    assert_int_equal(fallow_region_decommit(&region, 2 * page, 3 * page), FALLOW_OK);
    assert_true(is_all(at(&region, 0), 2 * page, 2));
    assert_false(probe_can_read(at(&region, 2 * page)));
    assert_false(probe_can_read(at(&region, 5 * page - 1)));
    assert_true(is_all(at(&region, 5 * page), 3 * page, 2));
    /* again, and over pages that never were committed */
    assert_int_equal(fallow_region_decommit(&region, 2 * page, 3 * page), FALLOW_OK);
    assert_int_equal(fallow_region_decommit(&region, 7 * page, 9 * page), FALLOW_OK);
    assert_int_equal(fallow_region_commit(&region, 0, 8 * page), FALLOW_OK);
    assert_true(is_all(at(&region, 0), 2 * page, 2));
    assert_true(is_all(at(&region, 2 * page), 3 * page, 0));
    assert_true(is_all(at(&region, 5 * page), 2 * page, 2));
    assert_true(is_all(at(&region, 7 * page), page, 0));
    release(&region);
}

static void test_commit_random(void **state)
{
    (void)state;
    enum {
        PAGES = 128
    };
    test_random random = test_seed("test_commit_random");
    fallow_region region = reserve(NULL);
    unsigned char model[PAGES] = {0}; /* 0 reserved, 1 committed and zero, else committed and filled with it */
    for (int step = 0; step < 2000; step++) {
        size_t first = (size_t)test_below(&random, PAGES);
        size_t count = 1 + (size_t)test_below(&random, PAGES - first);
        bool is_commit = test_below(&random, 2) == 0;
        if (is_commit) {
            assert_int_equal(fallow_region_commit(&region, first * page, count * page), FALLOW_OK);
        } else {
            assert_int_equal(fallow_region_decommit(&region, first * page, count * page), FALLOW_OK);
        }
        for (size_t i = first; i < first + count; i++) {
            model[i] = is_commit ? (model[i] == 0 ? 1 : model[i]) : 0;
        }
        size_t look = (size_t)test_below(&random, PAGES);
        assert_int_equal(probe_can_read(at(&region, look * page)), model[look] != 0);
        if (model[look] != 0) {
            assert_true(is_all(at(&region, look * page), page, (char)(model[look] == 1 ? 0 : model[look])));
            model[look] = (unsigned char)(2 + test_below(&random, 200));
            memset(at(&region, look * page), model[look], page);
        }
    }
    release(&region);
}

/* --- purge ------------------------------------------------------------------------------------------------- */

static void test_purge_dontneed(void **state)
{
    (void)state;
    fallow_region region = reserve(NULL);
    assert_int_equal(fallow_region_commit(&region, 0, 8 * page), FALLOW_OK);
    memset(region.base, 3, 8 * page);
    assert_int_equal(fallow_region_purge(&region, page, 6 * page, FALLOW_PURGE_DONTNEED), FALLOW_OK);
    assert_true(is_all(at(&region, 0), page, 3));
    assert_true(is_all(at(&region, page), 6 * page, 0));
    assert_true(is_all(at(&region, 7 * page), page, 3));
    assert_true(probe_can_write(at(&region, page)));
    release(&region);
}

static void test_purge_free(void **state)
{
    (void)state;
    fallow_region region = reserve(NULL);
    assert_int_equal(fallow_region_commit(&region, 0, 8 * page), FALLOW_OK);
    memset(region.base, 4, 8 * page);
    assert_int_equal(fallow_region_purge(&region, 0, 7 * page, FALLOW_PURGE_FREE), FALLOW_OK);
    for (size_t i = 0; i < 7; i++) { /* each page for itself: old bytes or zero */
        char value = at(&region, i * page)[0];
        assert_true(value == 4 || value == 0);
    }
    assert_true(is_all(at(&region, 7 * page), page, 4));
    memset(region.base, 5, 8 * page);
    assert_true(is_all(region.base, 8 * page, 5)); /* written: it stays */
    /* lazily freed and then decommitted: zero all the same */
    assert_int_equal(fallow_region_purge(&region, 0, 8 * page, FALLOW_PURGE_FREE), FALLOW_OK);
    assert_int_equal(fallow_region_decommit(&region, 0, 8 * page), FALLOW_OK);
    assert_int_equal(fallow_region_commit(&region, 0, 8 * page), FALLOW_OK);
    assert_true(is_all(region.base, 8 * page, 0));
    release(&region);
}

static void test_purge_modes(void **state)
{
    (void)state;
    fallow_region region = reserve(NULL);
    assert_int_equal(fallow_region_commit(&region, 0, page), FALLOW_OK);
    at(&region, 0)[0] = 6;
    assert_refused(fallow_region_purge(&region, 0, page, FALLOW_PURGE_DECOMMIT), "fallow_region_purge");
    assert_refused(fallow_region_purge(&region, 0, page, (fallow_purge)4), "fallow_region_purge");
    assert_refused(fallow_region_purge(&region, 0, page, (fallow_purge)-1), "fallow_region_purge");
    assert_int_equal(at(&region, 0)[0], 6);
    assert_int_equal(fallow_region_purge(&region, 0, page, FALLOW_PURGE_DEFAULT), FALLOW_OK);
    assert_true(at(&region, 0)[0] == 0 || at(&region, 0)[0] == 6);
    assert_true(probe_can_write(at(&region, 0)));
    release(&region);
}

/* --- protect, prefault, guard, resident -------------------------------------------------------------------- */

static void test_protect(void **state)
{
    (void)state;
    fallow_region region = reserve(NULL);
    assert_int_equal(fallow_region_commit(&region, 0, 4 * page), FALLOW_OK);
    memset(region.base, 8, 4 * page);
    assert_int_equal(fallow_region_protect(&region, page, page, FALLOW_PROTECTION_NONE), FALLOW_OK);
    assert_int_equal(fallow_region_protect(&region, 2 * page, page, FALLOW_PROTECTION_READ), FALLOW_OK);
    assert_true(probe_can_write(at(&region, 0)));
    assert_false(probe_can_read(at(&region, page)));
    assert_true(probe_can_read(at(&region, 2 * page)));
    assert_false(probe_can_write(at(&region, 2 * page)));
    assert_int_equal(fallow_region_protect(&region, page, page, FALLOW_PROTECTION_READ_WRITE), FALLOW_OK);
    assert_true(probe_can_write(at(&region, page)));
    /* committing makes them readable and writable again */
    assert_int_equal(fallow_region_commit(&region, 0, 4 * page), FALLOW_OK);
    assert_true(probe_can_write(at(&region, 2 * page)));
    assert_true(is_all(region.base, 4 * page, 8));
    assert_refused(fallow_region_protect(&region, 0, page, (fallow_protection)4), "fallow_region_protect");
    assert_refused(fallow_region_protect(&region, 0, page, (fallow_protection)-1), "fallow_region_protect");
    fallow_status status = fallow_region_protect(&region, 3 * page, page, FALLOW_PROTECTION_READ_EXECUTE);
    assert_true(status == FALLOW_OK || status == FALLOW_ERR_PERMISSION);
    assert_true(probe_can_read(at(&region, 3 * page)));
    release(&region);
}

/* An emulator that is told another page size than its host's tells what is resident in pages of the host. */
static bool counts_pages_of_its_host(void)
{
    fallow_system system;
    fallow_system_info(&system);
    if (!system.is_emulated || page == 4096) {
        return false;
    }
    print_message("SKIPPED: an emulator counts resident pages of its host\n");
    return true;
}

static void test_prefault_and_resident(void **state)
{
    (void)state;
    if (counts_pages_of_its_host()) {
        skip();
    }
    const size_t size = 4 * (size_t)MIB;
    fallow_region region = reserve(NULL);
    size_t resident_bytes = 1;
    assert_int_equal(fallow_region_resident(&region, 0, size, &resident_bytes), FALLOW_OK);
    assert_int_equal(resident_bytes, 0);
    assert_int_equal(fallow_region_commit(&region, 0, size), FALLOW_OK);
    at(&region, 5)[0] = 9;
    fallow_system system;
    fallow_system_info(&system);
    /* a system without either touches the pages without a look; the simulated one stops the test instead */
    if ((system.has_populate || system.overcommit_mode < 0) && strstr(system.os_name, "simulated") == NULL) {
        assert_int_equal(fallow_region_prefault(&region, size - page, 2 * page), FALLOW_ERR_INVALID);
    }
    assert_int_equal(fallow_region_prefault(&region, 0, size), FALLOW_OK);
    assert_int_equal(at(&region, 5)[0], 9); /* contents stay */
    assert_int_equal(at(&region, size - 1)[0], 0);
    assert_int_equal(fallow_region_resident(&region, 0, size, &resident_bytes), FALLOW_OK);
    assert_int_equal(resident_bytes, size);
    assert_int_equal(fallow_region_resident(&region, size - page, 2 * page, &resident_bytes), FALLOW_OK);
    assert_int_equal(resident_bytes, page);
    assert_int_equal(fallow_region_purge(&region, 0, size / 2, FALLOW_PURGE_DONTNEED), FALLOW_OK);
    assert_int_equal(fallow_region_decommit(&region, size / 2, size / 4), FALLOW_OK);
    assert_int_equal(fallow_region_resident(&region, 0, REGION_BYTES, &resident_bytes), FALLOW_OK);
    assert_int_equal(resident_bytes, size / 4);
    release(&region);
}

static void test_resident_beyond_one_chunk(void **state)
{
    (void)state;
    if (counts_pages_of_its_host()) {
        skip();
    }
    const size_t size = 40 * (size_t)MIB; /* more than one call to the system can tell */
    fallow_region region;
    assert_int_equal(fallow_region_reserve(size, NULL, &region), FALLOW_OK);
    assert_int_equal(fallow_region_commit(&region, 0, size), FALLOW_OK);
    assert_int_equal(fallow_region_prefault(&region, 0, 2 * page), FALLOW_OK);
    assert_int_equal(fallow_region_prefault(&region, 16 * (size_t)MIB - page, 2 * page), FALLOW_OK);
    assert_int_equal(fallow_region_prefault(&region, size - page, page), FALLOW_OK);
    size_t resident_bytes;
    assert_int_equal(fallow_region_resident(&region, 0, size, &resident_bytes), FALLOW_OK);
    assert_int_equal(resident_bytes, 5 * page);
    release(&region);
}

static void test_guard(void **state)
{
    (void)state;
    fallow_region region = reserve(NULL);
    assert_int_equal(fallow_region_commit(&region, 0, 8 * page), FALLOW_OK);
    memset(region.base, 10, 8 * page);
    assert_int_equal(fallow_region_guard(&region, 2 * page, 2 * page), FALLOW_OK);
    assert_true(is_all(at(&region, 0), 2 * page, 10));
    assert_false(probe_can_read(at(&region, 2 * page)));
    assert_false(probe_can_read(at(&region, 4 * page - 1)));
    assert_true(is_all(at(&region, 4 * page), 4 * page, 10));
    assert_int_equal(fallow_region_unguard(&region, 2 * page, page), FALLOW_OK);
    assert_true(is_all(at(&region, 2 * page), page, 0));
    assert_true(probe_can_write(at(&region, 2 * page)));
    assert_false(probe_can_read(at(&region, 3 * page)));
    /* a guard that is decommitted is gone, also after the next commit */
    assert_int_equal(fallow_region_decommit(&region, 3 * page, page), FALLOW_OK);
    assert_int_equal(fallow_region_commit(&region, 3 * page, page), FALLOW_OK);
    assert_true(is_all(at(&region, 3 * page), page, 0));
    /* and a region is released with its guards */
    assert_int_equal(fallow_region_guard(&region, 0, page), FALLOW_OK);
    release(&region);
}

/* --- system ------------------------------------------------------------------------------------------------ */

static void test_system_info(void **state)
{
    (void)state;
    fallow_system system;
    memset(&system, 0x5a, sizeof system);
    fallow_system_info(&system);
    assert_true(system.os_name[0] != '\0');
    assert_true(system.page_bytes >= 4096 && (system.page_bytes & (system.page_bytes - 1)) == 0);
    assert_true(system.granularity_bytes >= system.page_bytes);
    assert_true(system.address_space_bytes >= (uint64_t)1 << 30);
    assert_true(system.memory_bytes > 0);
    assert_true(system.overcommit_mode >= -1 && system.overcommit_mode <= 2);
    assert_int_not_equal(system.purge, FALLOW_PURGE_DEFAULT);
    assert_true(system.reserve_bytes > 0);
    /* a region lies where the system says that addresses are */
    fallow_region region = reserve(NULL);
    assert_true((uint64_t)(uintptr_t)region.base + REGION_BYTES <= system.address_space_bytes);
    release(&region);
}

static void test_process_info(void **state)
{
    (void)state;
    fallow_process before;
    fallow_process after;
    fallow_system system;
    fallow_system_info(&system);
    assert_int_equal(fallow_process_info(&before), FALLOW_OK);
    assert_true(before.virtual_bytes >= before.resident_bytes);
    assert_true(before.resident_bytes > 0);
    fallow_region region = reserve(NULL);
    assert_int_equal(fallow_region_commit(&region, 0, 4 * MIB), FALLOW_OK);
    assert_int_equal(fallow_process_info(&after), FALLOW_OK);
    /* an emulator tells its own size, which has room for all that the program will ever map */
    assert_true(system.is_emulated || after.virtual_bytes >= before.virtual_bytes + REGION_BYTES);
    assert_true(after.committed_bytes >= before.committed_bytes + 4 * MIB);
    assert_true(after.committed_bytes < before.committed_bytes + REGION_BYTES);
    release(&region);
}

int main(void)
{
    test_begin();
    fallow_system system;
    fallow_system_info(&system);
    page = system.page_bytes;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_reserve_rounds_up),
        cmocka_unit_test(test_reserve_bad_sizes),
        cmocka_unit_test(test_reserve_bad_options),
        cmocka_unit_test(test_reserve_names),
        cmocka_unit_test(test_reserve_aligned),
        cmocka_unit_test(test_reserve_aligned_too_much),
        cmocka_unit_test(test_reserve_hint),
        cmocka_unit_test(test_reserve_exact_twice),
        cmocka_unit_test(test_reserve_low),
        cmocka_unit_test(test_reserve_halving),
        cmocka_unit_test(test_reserve_all_attributes),
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_commit_whole),
        cmocka_unit_test(test_decommit),
        cmocka_unit_test(test_commit_random),
        cmocka_unit_test(test_purge_dontneed),
        cmocka_unit_test(test_purge_free),
        cmocka_unit_test(test_purge_modes),
        cmocka_unit_test(test_protect),
        cmocka_unit_test(test_prefault_and_resident),
        cmocka_unit_test(test_resident_beyond_one_chunk),
        cmocka_unit_test(test_guard),
        cmocka_unit_test(test_system_info),
        cmocka_unit_test(test_process_info),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
