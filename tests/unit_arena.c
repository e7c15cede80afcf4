/* Arenas through the public interface alone: options, placement, contents, figures, refusals. */
#include "test.h"

#include <string.h>

#include "fallow.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)

#define ARENA_BYTES (32 * MIB) /* small enough for every system, Wine and 32 bits included */
#define ARENA_PAGES 1024       /* where a test counts in pages: of 64 KiB they are more than that */

#if defined(__SANITIZE_THREAD__)
#define HAS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_TSAN 1
#endif
#endif
#ifndef HAS_TSAN
#define HAS_TSAN 0
#endif

static fallow_system facts;

static size_t arena_bytes(void)
{
    return ARENA_PAGES * facts.page_bytes > ARENA_BYTES ? ARENA_PAGES * facts.page_bytes : ARENA_BYTES;
}

/* Whether reserving terabytes is free here. */
static bool can_reserve_much(void)
{
    return facts.address_space_bytes >= 100 * TIB && facts.address_space_limit == UINT64_MAX && !facts.is_wine &&
           !facts.is_emulated && !HAS_TSAN;
}

/* --- figures ----------------------------------------------------------------------------------------------- */

static fallow_arena_stats read_stats(fallow_arena *arena)
{
    fallow_arena_stats stats;
    fallow_arena_read_stats(arena, &stats);
    return stats;
}

/* What holds of the figures at every moment; and the books agree with themselves. */
static fallow_arena_stats check(fallow_arena *arena)
{
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_stats s = read_stats(arena);
    assert_int_equal(s.backed_bytes,
                     s.in_use_bytes + s.cached_bytes + s.retained_bytes + s.released_lazy_bytes + s.metadata_bytes);
    assert_int_equal(s.committed_bytes, s.backed_bytes + s.released_zero_bytes);
    assert_true(s.reserved_bytes >= s.committed_bytes);
    assert_true(s.reserved_bytes >= s.usable_bytes);
    assert_true(s.usable_bytes >= s.in_use_bytes + s.uncommitted_bytes);
    assert_true(s.peak_in_use_bytes >= s.in_use_bytes);
    assert_true(s.extent_bytes >= s.in_use_bytes);
    assert_true(s.extent_bytes <= s.usable_bytes);
    assert_int_equal(s.cached_bytes, 0);
    assert_true(s.region_count >= 1);
    assert_true(s.purge == FALLOW_PURGE_DONTNEED || s.purge == FALLOW_PURGE_FREE || s.purge == FALLOW_PURGE_DECOMMIT);
    return s;
}

#define SAME(field) assert_int_equal(before->field, after.field)

/* The arena is as it was; only how often the system was asked may differ. */
static void check_unchanged(fallow_arena *arena, const fallow_arena_stats *before)
{
    fallow_arena_stats after = check(arena);
    SAME(reserved_bytes);
    SAME(committed_bytes);
    SAME(backed_bytes);
    SAME(in_use_bytes);
    SAME(cached_bytes);
    SAME(retained_bytes);
    SAME(released_lazy_bytes);
    SAME(released_zero_bytes);
    SAME(metadata_bytes);
    SAME(uncommitted_bytes);
    SAME(usable_bytes);
    SAME(peak_in_use_bytes);
    SAME(extent_bytes);
    SAME(page_bytes);
    SAME(run_count);
    SAME(region_count);
    SAME(purge);
}

/* --- short words ------------------------------------------------------------------------------------------- */

static fallow_arena *make(fallow_arena_options options)
{
    fallow_arena *arena = NULL;
    if (options.reserve_bytes == 0) {
        options.reserve_bytes = arena_bytes();
    }
    if (options.thread_cache_bytes == 0) {
        options.thread_cache_bytes = FALLOW_CACHE_NONE; /* exact places: unit_cache has the others */
    }
    if (options.scavenge == FALLOW_SCAVENGE_DEFAULT) {
        options.scavenge = FALLOW_SCAVENGE_OFF; /* figures are compared, however slow the machine is */
    }
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    assert_non_null(arena);
    (void)check(arena);
    return arena;
}

#define MAKE(...) make((fallow_arena_options){__VA_ARGS__})

static char *take(fallow_arena *arena, size_t size_bytes)
{
    void *base = NULL;
    assert_int_equal(fallow_arena_alloc(arena, size_bytes, &base), FALLOW_OK);
    assert_non_null(base);
    return base;
}

static fallow_run take_run(fallow_arena *arena, size_t size_bytes, fallow_run_options options)
{
    fallow_run run = {0};
    assert_int_equal(fallow_arena_alloc_run(arena, size_bytes, &options, &run), FALLOW_OK);
    assert_true(run.size_bytes >= size_bytes);
    return run;
}

#define TAKE(arena, size_bytes, ...) take_run(arena, size_bytes, (fallow_run_options){__VA_ARGS__})

static bool is_zero(const void *base, size_t size_bytes)
{
    const char *bytes = base;
    return size_bytes == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size_bytes - 1) == 0);
}

static bool is_all(const void *base, size_t size_bytes, int value)
{
    const unsigned char *bytes = base;
    return bytes[0] == (unsigned char)value && memcmp(bytes, bytes + 1, size_bytes - 1) == 0;
}

/* A call that must fail with `status`, write nothing and change nothing. */
static void refuse(fallow_arena *arena, fallow_status status, size_t size_bytes, fallow_run_options options)
{
    fallow_arena_stats before = read_stats(arena);
    fallow_run sentinel;
    memset(&sentinel, 0x5a, sizeof sentinel);
    fallow_run run = sentinel;
    fallow_status got = fallow_arena_alloc_run(arena, size_bytes, &options, &run);
    if (got != status) {
        fail_msg("size %zu align %zu flags %#x at %p: %s, not %s", size_bytes, options.align_bytes,
                 (unsigned)options.flags, options.at, fallow_status_name(got), fallow_status_name(status));
    }
    assert_memory_equal(&run, &sentinel, sizeof run);
    check_unchanged(arena, &before);
    fallow_failure failure;
    assert_true(fallow_last_failure(&failure));
    assert_int_equal(failure.status, status);
    assert_string_equal(failure.operation, "fallow_arena_alloc_run");
}

#define REFUSE(arena, status, size_bytes, ...) refuse(arena, status, size_bytes, (fallow_run_options){__VA_ARGS__})

/* --- creating ---------------------------------------------------------------------------------------------- */

static void the_default_arena(void **state)
{
    (void)state;
    fallow_arena *arena = NULL;
    fallow_system now;
    fallow_system_info(&now);
    assert_int_equal(fallow_arena_create(NULL, &arena), FALLOW_OK);
    fallow_arena_stats s = check(arena);
    assert_int_equal(s.page_bytes, facts.page_bytes > 8 * KIB ? facts.page_bytes : 8 * KIB);
    assert_true(s.usable_bytes >= now.reserve_bytes || facts.address_space_limit != UINT64_MAX);
    assert_int_equal(s.in_use_bytes, 0);
    assert_int_equal(s.run_count, 0);
    assert_int_equal(s.extent_bytes, 0);
    assert_int_equal(s.region_count, 1);
    assert_int_equal(s.purge, now.purge);
    assert_true(s.committed_bytes <= 64 * KIB || s.committed_bytes <= 2 * facts.page_bytes);
    /* 0.01 % of it for bookkeeping, and what it takes to begin on a huge page */
    assert_true(s.reserved_bytes - s.usable_bytes <= s.usable_bytes / 10000 + 256 * KIB + 2 * MIB);
    char *base = take(arena, 1);
    base[0] = 1;
    (void)check(arena);
    fallow_arena_destroy(arena);
}

static void refuse_options(fallow_status status, fallow_arena_options options)
{
    fallow_arena *arena = (fallow_arena *)(void *)&arena;
    fallow_status got = fallow_arena_create(&options, &arena);
    if (got != status) {
        fail_msg("reserve %zu min %zu page %zu grow %zu limit %zu retain %u purge %d scavenge %d flags %#x: %s, not %s",
                 options.reserve_bytes, options.min_reserve_bytes, options.page_bytes, options.grow_bytes,
                 options.limit_bytes, options.retain_percent, (int)options.purge, (int)options.scavenge,
                 (unsigned)options.flags, fallow_status_name(got), fallow_status_name(status));
    }
    assert_ptr_equal(arena, &arena);
    fallow_failure failure;
    assert_true(fallow_last_failure(&failure));
    assert_int_equal(failure.status, status);
    assert_string_equal(failure.operation, "fallow_arena_create");
}

#define REFUSE_OPTIONS(status, ...) refuse_options(status, (fallow_arena_options){__VA_ARGS__})

static void options_out_of_range(void **state)
{
    (void)state;
    static char name[1001];
    memset(name, 'n', 1000);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .name = name);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .name = name + 1000 - FALLOW_NAME_BYTES);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = SIZE_MAX);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = SIZE_MAX - 100);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = SIZE_MAX, .flags = FALLOW_ARENA_FIXED);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .min_reserve_bytes = 2 * MIB);
    static const size_t bad_pages[] = {1, 2, 3, 512, 5000, 12 * KIB, 4 * MIB, SIZE_MAX, SIZE_MAX / 2 + 1};
    for (size_t i = 0; i < sizeof bad_pages / sizeof bad_pages[0]; i++) {
        REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .page_bytes = bad_pages[i]);
    }
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .page_bytes = facts.page_bytes / 2);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .page_bytes = facts.page_bytes + 1);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .flags = 1u << 5);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .flags = 1u << 31);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .retain_percent = 1001);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .retain_percent = (unsigned)-1);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .purge = (fallow_purge)4);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .purge = (fallow_purge)-1);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .scavenge = (fallow_scavenge)4);
    REFUSE_OPTIONS(FALLOW_ERR_INVALID, .reserve_bytes = MIB, .scavenge = (fallow_scavenge)-1);
    REFUSE_OPTIONS(FALLOW_ERR_LIMIT, .reserve_bytes = MIB, .limit_bytes = 1);
}

/* Large pages, or ordinary ones and the reason, whichever this system has. */
static void large_pages_or_the_reason(void **state)
{
    (void)state;
    fallow_arena *arena = make((fallow_arena_options){.reserve_bytes = MIB, .flags = FALLOW_ARENA_LARGE_PAGES});
    fallow_arena_stats s = read_stats(arena);
    print_message("large pages: %s\n", fallow_status_name(s.large_pages_status));
    assert_int_equal(s.large_bytes != 0, s.large_pages_status == FALLOW_OK);
    void *base;
    assert_int_equal(fallow_arena_alloc(arena, 64 * KIB, &base), FALLOW_OK);
    memset(base, 1, 64 * KIB);
    fallow_arena_free(arena, base, 64 * KIB);
    assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    fallow_arena_destroy(arena);
}

static void options_at_the_edge_of_their_range(void **state)
{
    (void)state;
    static char name[FALLOW_NAME_BYTES];
    memset(name, 'n', FALLOW_NAME_BYTES - 1);
    const fallow_arena_options good[] = {
        {.name = name},
        {.name = ""},
        {.page_bytes = facts.page_bytes},
        {.page_bytes = 2 * MIB},
        {.reserve_bytes = 1},
        {.reserve_bytes = 1, .page_bytes = 2 * MIB},
        {.reserve_bytes = 3 * MIB + 1, .page_bytes = 64 * KIB},
        {.reserve_bytes = MIB, .min_reserve_bytes = MIB},
        {.grow_bytes = 1},
        {.grow_bytes = SIZE_MAX},
        {.limit_bytes = SIZE_MAX},
        {.retain_percent = 1000, .purge_delay_ms = 5},
        {.thread_cache_bytes = FALLOW_CACHE_NONE},
        {.thread_cache_bytes = 12345},
        {.scavenge = FALLOW_SCAVENGE_THREAD},
        {.flags = FALLOW_ARENA_FIXED | FALLOW_ARENA_HUGE_PAGES | FALLOW_ARENA_NO_DUMP | FALLOW_ARENA_NO_FORK},
        {.flags = FALLOW_ARENA_LARGE_PAGES},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        fallow_arena *arena = make(good[i]);
        fallow_arena_stats s = read_stats(arena);
        size_t page = s.page_bytes;
        assert_true(s.usable_bytes >= good[i].reserve_bytes);
        assert_true(s.usable_bytes % page == 0);
        char *first = take(arena, 1);
        assert_int_equal((uintptr_t)first % page, 0);
        memset(first, 1, page);
        s = check(arena);
        assert_int_equal(s.in_use_bytes, page);
        assert_int_equal(s.extent_bytes, page);
        assert_int_equal(s.run_count, 1);
        fallow_arena_free(arena, first, 1);
        s = check(arena);
        assert_int_equal(s.in_use_bytes, 0);
        assert_int_equal(s.peak_in_use_bytes, page);
        assert_int_equal(s.retained_bytes, page);
        assert_ptr_equal(take(arena, 1), first);
        fallow_arena_destroy(arena);
    }
}

static void destroy_gives_everything_back(void **state)
{
    (void)state;
    fallow_process before;
    fallow_process after;
    fallow_arena_destroy(MAKE(0)); /* whatever is made once */
    if (fallow_process_info(&before) != FALLOW_OK) {
        skip();
    }
    for (int i = 0; i < 20; i++) {
        fallow_arena *arena = MAKE(.reserve_bytes = MIB);
        for (int k = 0; k < 5; k++) { /* several reservations */
            memset(take(arena, MIB - 64 * KIB), 1, 64 * KIB);
        }
        assert_true(read_stats(arena).region_count > 1);
        fallow_arena_destroy(arena);
    }
    assert_int_equal(fallow_process_info(&after), FALLOW_OK);
    assert_true(after.virtual_bytes <= before.virtual_bytes + 16 * MIB);
}

/* --- refusing ---------------------------------------------------------------------------------------------- */

static void requests_out_of_range(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.flags = FALLOW_ARENA_FIXED);
    size_t page = read_stats(arena).page_bytes;
    char *first = take(arena, 4 * page);

    REFUSE(arena, FALLOW_ERR_INVALID, 0, 0);
    REFUSE(arena, FALLOW_ERR_INVALID, SIZE_MAX, 0);
    REFUSE(arena, FALLOW_ERR_INVALID, SIZE_MAX - page / 2, 0);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, SIZE_MAX - page + 1, 0);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, SIZE_MAX / 2 + 1, 0);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, SIZE_MAX / 2 + 1, .flags = FALLOW_RUN_UNCOMMITTED);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, SIZE_MAX / 2 + 1, .flags = FALLOW_RUN_TOP_DOWN);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, SIZE_MAX / 2 + 1, .align_bytes = SIZE_MAX / 2 + 1);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, page, .align_bytes = SIZE_MAX / 2 + 1);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, read_stats(arena).usable_bytes, 0);
    REFUSE(arena, FALLOW_ERR_INVALID, page, .align_bytes = 3);
    REFUSE(arena, FALLOW_ERR_INVALID, page, .align_bytes = page * 3);
    REFUSE(arena, FALLOW_ERR_INVALID, page, .align_bytes = SIZE_MAX);
    REFUSE(arena, FALLOW_ERR_INVALID, page, .flags = 1u << 5);
    REFUSE(arena, FALLOW_ERR_INVALID, page, .flags = 1u << 31);
    REFUSE(arena, FALLOW_ERR_INVALID, page, .flags = FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_ZEROED);
    REFUSE(arena, FALLOW_ERR_INVALID, page, .flags = FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_NO_GROW);
    REFUSE(arena, FALLOW_ERR_INVALID, page, .at = first + 4 * page + 1);
    REFUSE(arena, FALLOW_ERR_INVALID, 0, .at = first + 4 * page);
    REFUSE(arena, FALLOW_ERR_INVALID, SIZE_MAX, .at = first + 4 * page);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, page, .at = first);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, page, .at = first + 3 * page);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, read_stats(arena).usable_bytes, .at = first + 4 * page);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, SIZE_MAX - page + 1, .at = first + 4 * page);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, page, .at = first - 64 * MIB);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, page, .at = (void *)(uintptr_t)(2 * MIB));

    void *out = &out;
    assert_int_equal(fallow_arena_alloc(arena, 0, &out), FALLOW_ERR_INVALID);
    assert_int_equal(fallow_arena_alloc(arena, SIZE_MAX, &out), FALLOW_ERR_INVALID);
    assert_ptr_equal(out, &out);
    fallow_failure failure;
    assert_true(fallow_last_failure(&failure));
    assert_string_equal(failure.operation, "fallow_arena_alloc");
    assert_int_equal(failure.status, FALLOW_ERR_INVALID);

    fallow_arena_stats before = read_stats(arena);
    assert_int_equal(fallow_arena_extend(arena, first, 4 * page, 4 * page - 1 - page), FALLOW_ERR_INVALID);
    assert_int_equal(fallow_arena_extend(arena, first, 4 * page, 0), FALLOW_ERR_INVALID);
    assert_int_equal(fallow_arena_extend(arena, first, 4 * page, SIZE_MAX), FALLOW_ERR_INVALID);
    assert_int_equal(fallow_arena_extend(arena, first, 4 * page, SIZE_MAX - page + 1), FALLOW_ERR_EXHAUSTED);
    assert_int_equal(fallow_arena_extend(arena, first, 4 * page, before.usable_bytes + 1), FALLOW_ERR_EXHAUSTED);
    check_unchanged(arena, &before);
    fallow_arena_destroy(arena);
}

static void a_fixed_arena_is_exhausted(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.reserve_bytes = 4 * MIB, .flags = FALLOW_ARENA_FIXED);
    fallow_arena_stats s = read_stats(arena);
    size_t run_bytes = 64 * KIB;
    size_t count = s.usable_bytes / run_bytes;
    char *first = take(arena, run_bytes);
    for (size_t i = 1; i < count; i++) {
        assert_ptr_equal(take(arena, run_bytes), first + i * run_bytes);
    }
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, run_bytes, 0);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, run_bytes, .flags = FALLOW_RUN_TOP_DOWN);
    s = check(arena);
    assert_int_equal(s.run_count, count);
    assert_int_equal(s.region_count, 1);
    assert_int_equal(s.in_use_bytes, count * run_bytes);
    fallow_arena_free(arena, first + 7 * run_bytes, run_bytes);
    fallow_arena_free(arena, first + 9 * run_bytes, run_bytes);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, run_bytes + 1, 0);
    assert_ptr_equal(take(arena, run_bytes), first + 7 * run_bytes);
    assert_ptr_equal(take(arena, run_bytes), first + 9 * run_bytes);
    fallow_arena_destroy(arena);
}

static void a_fixed_arena_gets_all_or_nothing(void **state)
{
    (void)state;
    if (sizeof(size_t) > 4) {
        size_t much = (size_t)(256 * TIB); /* twice what a 48-bit processor has */
        REFUSE_OPTIONS(FALLOW_ERR_ADDRESS_SPACE, .reserve_bytes = much, .flags = FALLOW_ARENA_FIXED);
        REFUSE_OPTIONS(FALLOW_ERR_ADDRESS_SPACE, .reserve_bytes = much, .min_reserve_bytes = much);
    }
    if (can_reserve_much()) {
        size_t much = (size_t)(256 * TIB);
        fallow_arena *arena = MAKE(.reserve_bytes = much, .min_reserve_bytes = MIB, .flags = FALLOW_ARENA_FIXED);
        fallow_arena_stats s = check(arena);
        assert_true(s.usable_bytes >= MIB && s.usable_bytes < much);
        fallow_arena_destroy(arena);
        arena = MAKE(.reserve_bytes = much);
        memset(take(arena, 100), 1, 100);
        fallow_arena_destroy(arena);
    }
}

/* --- further reservations ---------------------------------------------------------------------------------- */

static void further_reservations(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.reserve_bytes = MIB);
    enum {
        RUN_COUNT = 60
    };
    char *runs[RUN_COUNT];
    for (int i = 0; i < RUN_COUNT; i++) {
        runs[i] = take(arena, 128 * KIB);
        memset(runs[i], i, 128 * KIB);
        (void)check(arena);
    }
    fallow_arena_stats s = read_stats(arena);
    assert_true(s.region_count > 1);
    assert_true(s.usable_bytes >= RUN_COUNT * 128 * KIB);
    for (int i = 0; i < RUN_COUNT; i++) {
        fallow_run run;
        assert_true(is_all(runs[i], 128 * KIB, i));
        assert_true(fallow_arena_owns(arena, runs[i] + 5));
        assert_int_equal(fallow_arena_run_of(arena, runs[i] + 128 * KIB - 1, &run), FALLOW_OK);
        assert_ptr_equal(run.base, runs[i]);
        assert_int_equal(run.size_bytes, 128 * KIB);
        assert_false(run.is_zero);
    }

    /* runs come from the oldest one in which they fit */
    fallow_arena_free(arena, runs[RUN_COUNT - 1], 128 * KIB);
    fallow_arena_free(arena, runs[30], 128 * KIB);
    fallow_arena_free(arena, runs[2], 128 * KIB);
    assert_ptr_equal(take(arena, 100 * KIB), runs[2]);
    fallow_arena_free(arena, runs[2], 100 * KIB);
    assert_ptr_equal(TAKE(arena, 128 * KIB, .flags = FALLOW_RUN_TOP_DOWN).base, runs[2]);
    assert_ptr_equal(TAKE(arena, 128 * KIB, .at = runs[30]).base, runs[30]);
    runs[RUN_COUNT - 1] = take(arena, 128 * KIB);

    /* and one that is larger than the first reservation gets one of its own size */
    char *large = take(arena, 9 * MIB);
    memset(large, 1, 9 * MIB);
    (void)check(arena);
    fallow_arena_free(arena, large, 9 * MIB);
    for (int i = RUN_COUNT; i-- > 0;) {
        fallow_arena_free(arena, runs[i], 128 * KIB);
        (void)check(arena);
    }
    s = check(arena);
    assert_int_equal(s.in_use_bytes, 0);
    assert_int_equal(s.run_count, 0);
    size_t released = 0;
    assert_int_equal(fallow_arena_trim(arena, 0, &released), FALLOW_OK);
    assert_int_equal(released, s.retained_bytes);
    assert_ptr_equal(take(arena, 128 * KIB), runs[0]);
    fallow_arena_destroy(arena);
}

static void reservations_never_join(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.reserve_bytes = MIB);
    char *first = take(arena, MIB);
    size_t usable = read_stats(arena).usable_bytes;
    char *second = take(arena, MIB); /* may well lie beside the first */
    (void)second;
    assert_int_equal(fallow_arena_extend(arena, first, MIB, usable + MIB), FALLOW_ERR_EXHAUSTED);
    fallow_arena_free(arena, second, MIB);
    assert_int_equal(fallow_arena_extend(arena, first, MIB, usable + MIB / 2), FALLOW_ERR_EXHAUSTED);
    (void)check(arena);
    fallow_arena_destroy(arena);
}

static void an_alignment_larger_than_the_reservation(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.reserve_bytes = MIB);
    for (size_t align = 2 * MIB; align <= 64 * MIB; align *= 8) {
        fallow_run run = TAKE(arena, 64 * KIB, .align_bytes = align);
        assert_int_equal((uintptr_t)run.base % align, 0);
        memset(run.base, 1, run.size_bytes);
        (void)check(arena);
    }
    fallow_arena_destroy(arena);
    arena = MAKE(.reserve_bytes = MIB, .flags = FALLOW_ARENA_FIXED);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, 64 * KIB, .align_bytes = SIZE_MAX / 2 + 1);
    fallow_arena_destroy(arena);
}

/* --- placement --------------------------------------------------------------------------------------------- */

static void placement(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.flags = FALLOW_ARENA_FIXED);
    fallow_arena_stats s = read_stats(arena);
    size_t page = s.page_bytes;
    char *a = take(arena, 10 * page);
    char *b = take(arena, 3 * page);
    char *c = take(arena, 1);
    assert_ptr_equal(b, a + 10 * page);
    assert_ptr_equal(c, b + 3 * page);
    fallow_arena_free(arena, a, 10 * page);
    assert_ptr_equal(take(arena, 4 * page), a);
    assert_ptr_equal(take(arena, 7 * page), c + page);
    assert_ptr_equal(take(arena, 6 * page), a + 4 * page);

    /* the top of the arena, and the end of what there is */
    char *end = a + s.usable_bytes;
    assert_ptr_equal(TAKE(arena, 5 * page, .flags = FALLOW_RUN_TOP_DOWN).base, end - 5 * page);
    fallow_run run = TAKE(arena, 2 * page, .flags = FALLOW_RUN_TOP_DOWN, .align_bytes = 16 * page);
    char *expected = (char *)((uintptr_t)(end - 7 * page) & ~(uintptr_t)(16 * page - 1));
    assert_ptr_equal(run.base, expected);
    memset(run.base, 1, run.size_bytes);
    assert_true(fallow_arena_owns(arena, end - 1));
    assert_false(fallow_arena_owns(arena, end));
    assert_true(fallow_arena_owns(arena, a));
    assert_false(fallow_arena_owns(arena, a - 1));
    assert_false(fallow_arena_owns(arena, NULL));
    assert_false(fallow_arena_owns(arena, &arena));

    /* an exact place */
    run = TAKE(arena, 3 * page, .at = a + 100 * page);
    assert_ptr_equal(run.base, a + 100 * page);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, 3 * page, .at = a + 98 * page);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, 3 * page, .at = end - 2 * page);
    run = TAKE(arena, 2 * page, .at = a + 98 * page);
    assert_ptr_equal(run.base, a + 98 * page);
    s = check(arena);
    assert_int_equal(s.extent_bytes, s.usable_bytes);
    fallow_arena_destroy(arena);
}

static void every_alignment_is_exact(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.flags = FALLOW_ARENA_FIXED);
    size_t page = read_stats(arena).page_bytes;
    char *base = take(arena, page);
    for (size_t align = 1; align <= 4 * MIB; align *= 2) {
        for (size_t size = page; size <= 8 * page; size += 7 * page) {
            fallow_run run = TAKE(arena, size, .align_bytes = align);
            uintptr_t step = align > page ? align : page;
            uintptr_t lowest = ((uintptr_t)base + page + step - 1) / step * step;
            assert_int_equal((uintptr_t)run.base, lowest);
            fallow_arena_free(arena, run.base, size);
        }
    }
    (void)check(arena);
    fallow_arena_destroy(arena);
}

static void only_from_committed_memory(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.grow_bytes = 1, .flags = FALLOW_ARENA_FIXED);
    size_t page = read_stats(arena).page_bytes;
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, page, .flags = FALLOW_RUN_NO_GROW);
    char *run = take(arena, 10 * page);
    char *guard = take(arena, page);
    fallow_arena_free(arena, run, 10 * page);
    fallow_arena_stats before = read_stats(arena);
    assert_ptr_equal(TAKE(arena, 6 * page, .flags = FALLOW_RUN_NO_GROW).base, run);
    fallow_arena_stats after = check(arena);
    assert_int_equal(after.commit_calls, before.commit_calls);
    assert_int_equal(after.committed_bytes, before.committed_bytes);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, 500 * page, .flags = FALLOW_RUN_NO_GROW);
    REFUSE(arena, FALLOW_ERR_EXHAUSTED, page, .flags = FALLOW_RUN_NO_GROW, .at = guard + 200 * page);
    fallow_arena_free(arena, guard, page);
    fallow_arena_destroy(arena);
}

/* NO_GROW passes over free pages without memory, however low they are. */
static void committed_memory_behind_a_hole(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.grow_bytes = 1, .purge = FALLOW_PURGE_DECOMMIT, .flags = FALLOW_ARENA_FIXED);
    size_t page = read_stats(arena).page_bytes;
    char *low = take(arena, 10 * page);
    char *high = take(arena, 10 * page);
    char *guard = take(arena, page);
    fallow_arena_free(arena, low, 10 * page);
    assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    fallow_arena_free(arena, high, 10 * page);
    fallow_run run = TAKE(arena, 4 * page, .flags = FALLOW_RUN_NO_GROW);
    assert_true((char *)run.base >= high && (char *)run.base + 4 * page <= guard);
    memset(run.base, 1, run.size_bytes);
    (void)check(arena);
    fallow_arena_destroy(arena);
}

/* --- contents ---------------------------------------------------------------------------------------------- */

static void fresh_memory_is_known_to_be_zero(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.flags = FALLOW_ARENA_FIXED);
    size_t page = read_stats(arena).page_bytes;
    for (int i = 0; i < 10; i++) {
        fallow_run run = TAKE(arena, 20 * page, 0);
        assert_true(run.is_zero);
        assert_true(is_zero(run.base, run.size_bytes));
        memset(run.base, 0xab, run.size_bytes);
    }
    fallow_arena_destroy(arena);
}

static void zeroed_is_zero_and_dirty_is_not_said_to_be(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.flags = FALLOW_ARENA_FIXED);
    size_t page = read_stats(arena).page_bytes;
    char *base = take(arena, 50 * page);
    memset(base, 0xab, 50 * page);
    fallow_arena_free(arena, base, 50 * page);
    fallow_run run = TAKE(arena, 20 * page, 0);
    assert_ptr_equal(run.base, base);
    assert_false(run.is_zero);
    /* half old, half fresh */
    run = TAKE(arena, 60 * page, 0);
    assert_ptr_equal(run.base, base + 20 * page);
    assert_false(run.is_zero);
    fallow_arena_free(arena, base + 20 * page, 60 * page);
    run = TAKE(arena, 60 * page, .flags = FALLOW_RUN_ZEROED);
    assert_ptr_equal(run.base, base + 20 * page);
    assert_true(run.is_zero);
    assert_true(is_zero(run.base, 60 * page));
    fallow_arena_destroy(arena);
}

static void trim_in_mode(fallow_purge purge)
{
    fallow_arena *arena = MAKE(.purge = purge, .flags = FALLOW_ARENA_FIXED);
    fallow_arena_stats s = read_stats(arena);
    size_t page = s.page_bytes;
    enum {
        RUN_COUNT = 40
    };
    char *runs[RUN_COUNT];
    assert_true(purge == FALLOW_PURGE_DEFAULT || s.purge == purge);
    purge = s.purge;
    for (int i = 0; i < RUN_COUNT; i++) {
        runs[i] = take(arena, 4 * page);
        memset(runs[i], 0xa0 + i, 4 * page);
    }
    size_t released = 77;
    assert_int_equal(fallow_arena_trim(arena, 0, &released), FALLOW_OK);
    assert_int_equal(released, 0);
    for (int i = 0; i < RUN_COUNT; i += 2) {
        fallow_arena_free(arena, runs[i], 4 * page);
    }
    fallow_arena_stats before = check(arena);
    assert_int_equal(before.retained_bytes, RUN_COUNT / 2 * 4 * page);

    /* the highest first, and no more than needed */
    size_t keep = 10 * 4 * page;
    assert_int_equal(fallow_arena_trim(arena, keep, &released), FALLOW_OK);
    s = check(arena);
    assert_int_equal(s.retained_bytes, keep);
    assert_int_equal(released, before.retained_bytes - keep);
    assert_int_equal(s.in_use_bytes, before.in_use_bytes);
    fallow_run low = TAKE(arena, 4 * page, 0);
    assert_ptr_equal(low.base, runs[0]);
    assert_false(low.is_zero);
    assert_true(is_all(low.base, 4 * page, 0xa0));

    assert_int_equal(fallow_arena_trim(arena, 0, &released), FALLOW_OK);
    assert_int_equal(released, 9 * 4 * page);
    s = check(arena);
    assert_int_equal(s.retained_bytes, 0);
    size_t given = 19 * 4 * page;
    switch (purge) {
    case FALLOW_PURGE_DONTNEED:
        assert_true(s.released_zero_bytes >= given);
        assert_int_equal(s.released_lazy_bytes, 0);
        break;
    case FALLOW_PURGE_FREE: assert_true(s.released_lazy_bytes + s.released_zero_bytes >= given); break;
    default:
        assert_int_equal(s.released_lazy_bytes, 0);
        assert_true(s.committed_bytes <= before.committed_bytes - given);
        break;
    }
    assert_int_equal(fallow_arena_trim(arena, 0, &released), FALLOW_OK);
    assert_int_equal(released, 0);

    /* live runs have kept their contents, and the others are what is said of them */
    for (int i = 1; i < RUN_COUNT; i += 2) {
        assert_true(is_all(runs[i], 4 * page, 0xa0 + i));
    }
    for (int i = 2; i < RUN_COUNT; i += 2) {
        fallow_run run = TAKE(arena, 4 * page, .flags = i % 4 == 0 ? FALLOW_RUN_ZEROED : 0);
        assert_ptr_equal(run.base, runs[i]);
        assert_true(run.is_zero || purge == FALLOW_PURGE_FREE);
        assert_true(run.is_zero || i % 4 != 0);
        assert_true(!run.is_zero || is_zero(run.base, 4 * page));
        memset(run.base, 0x11, 4 * page);
        (void)check(arena);
    }
    for (int i = 1; i < RUN_COUNT; i += 2) {
        assert_true(is_all(runs[i], 4 * page, 0xa0 + i));
    }
    fallow_arena_destroy(arena);
}

static void trim_in_each_mode(void **state)
{
    (void)state;
    trim_in_mode(FALLOW_PURGE_DEFAULT);
    trim_in_mode(FALLOW_PURGE_DONTNEED);
    trim_in_mode(FALLOW_PURGE_FREE);
    trim_in_mode(FALLOW_PURGE_DECOMMIT);
}

static void trim_keeps_a_part_of_a_page(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.flags = FALLOW_ARENA_FIXED);
    size_t page = read_stats(arena).page_bytes;
    char *run = take(arena, 100 * page);
    fallow_arena_free(arena, run, 100 * page);
    size_t released;
    assert_int_equal(fallow_arena_trim(arena, SIZE_MAX, &released), FALLOW_OK);
    assert_int_equal(released, 0);
    assert_int_equal(fallow_arena_trim(arena, 100 * page, &released), FALLOW_OK);
    assert_int_equal(released, 0);
    assert_int_equal(fallow_arena_trim(arena, 99 * page + 1, &released), FALLOW_OK);
    assert_int_equal(released, page);
    assert_int_equal(fallow_arena_trim(arena, 1, NULL), FALLOW_OK);
    assert_int_equal(check(arena).retained_bytes, 0);
    fallow_arena_destroy(arena);
}

/* --- addresses only ---------------------------------------------------------------------------------------- */

static void uncommitted_runs(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.flags = FALLOW_ARENA_FIXED);
    fallow_arena_stats before = read_stats(arena);
    size_t page = before.page_bytes;
    fallow_run run = TAKE(arena, 100 * page, .flags = FALLOW_RUN_UNCOMMITTED);
    char *base = run.base;
    fallow_arena_stats s = check(arena);
    assert_int_equal(s.uncommitted_bytes, 100 * page);
    assert_int_equal(s.in_use_bytes, 0);
    assert_int_equal(s.run_count, 1);

    assert_int_equal(fallow_arena_commit(arena, base + 10 * page, 10 * page), FALLOW_OK);
    assert_true(is_zero(base + 10 * page, 10 * page));
    memset(base + 10 * page, 0xcd, 10 * page);
    s = check(arena);
    assert_int_equal(s.uncommitted_bytes, 90 * page);
    assert_int_equal(s.in_use_bytes, 10 * page);

    /* committing again keeps what is there */
    assert_int_equal(fallow_arena_commit(arena, base + 5 * page, 10 * page), FALLOW_OK);
    assert_true(is_zero(base + 5 * page, 5 * page));
    assert_true(is_all(base + 10 * page, 10 * page, 0xcd));
    assert_int_equal(fallow_arena_commit(arena, base, 1), FALLOW_OK);
    assert_int_equal(check(arena).in_use_bytes, 16 * page);

    assert_int_equal(fallow_arena_decommit(arena, base + 12 * page, 20 * page), FALLOW_OK);
    s = check(arena);
    assert_int_equal(s.in_use_bytes, 8 * page);
    assert_int_equal(s.uncommitted_bytes, 92 * page);
    assert_true(is_all(base + 10 * page, 2 * page, 0xcd));
    assert_int_equal(fallow_arena_commit(arena, base, 100 * page), FALLOW_OK);
    assert_true(is_zero(base + 12 * page, 88 * page));
    assert_true(is_all(base + 10 * page, 2 * page, 0xcd));
    assert_int_equal(fallow_arena_decommit(arena, base, 100 * page), FALLOW_OK);
    s = check(arena);
    assert_int_equal(s.in_use_bytes, 0);
    assert_int_equal(s.uncommitted_bytes, 100 * page);

    /* a run that was committed is now zero when it is taken again */
    fallow_arena_free(arena, base, 100 * page);
    s = check(arena);
    assert_int_equal(s.uncommitted_bytes, 0);
    assert_int_equal(s.run_count, 0);
    assert_int_equal(s.retained_bytes, 0);
    run = TAKE(arena, 100 * page, 0);
    assert_ptr_equal(run.base, base);
    assert_true(is_zero(run.base, 100 * page));
    memset(run.base, 0xee, 100 * page);

    /* addresses that held memory before */
    fallow_arena_free(arena, base, 100 * page);
    run = TAKE(arena, 100 * page, .flags = FALLOW_RUN_UNCOMMITTED);
    assert_ptr_equal(run.base, base);
    s = check(arena);
    assert_int_equal(s.in_use_bytes, 0);
    assert_int_equal(s.retained_bytes, 0);
    assert_int_equal(s.uncommitted_bytes, 100 * page);
    assert_int_equal(fallow_arena_commit(arena, base, 100 * page), FALLOW_OK);
    assert_true(is_zero(base, 100 * page));
    fallow_arena_free(arena, base, 100 * page);
    (void)check(arena);
    fallow_arena_destroy(arena);
}

/* --- changing runs ----------------------------------------------------------------------------------------- */

static void extend_shrink_split(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.flags = FALLOW_ARENA_FIXED);
    size_t page = read_stats(arena).page_bytes;
    char *run = take(arena, 10 * page);
    memset(run, 1, 10 * page);
    assert_int_equal(fallow_arena_extend(arena, run, 10 * page, 600 * page), FALLOW_OK);
    assert_true(is_all(run, 10 * page, 1));
    memset(run, 2, 600 * page);
    fallow_arena_stats s = check(arena);
    assert_int_equal(s.in_use_bytes, 600 * page);
    assert_int_equal(s.run_count, 1);

    fallow_arena_shrink(arena, run, 600 * page, 300 * page - 5);
    s = check(arena);
    assert_int_equal(s.in_use_bytes, 300 * page);
    assert_int_equal(s.retained_bytes, 300 * page);
    char *next = take(arena, page);
    assert_ptr_equal(next, run + 300 * page);
    s = check(arena);
    assert_int_equal(fallow_arena_extend(arena, run, 300 * page, 301 * page), FALLOW_ERR_EXHAUSTED);
    check_unchanged(arena, &s);
    assert_int_equal(fallow_arena_extend(arena, run, 300 * page, 300 * page), FALLOW_OK);

    fallow_arena_split(arena, run, 300 * page, 100 * page);
    s = check(arena);
    assert_int_equal(s.run_count, 3);
    fallow_run found;
    assert_int_equal(fallow_arena_run_of(arena, run + 100 * page, &found), FALLOW_OK);
    assert_ptr_equal(found.base, run + 100 * page);
    assert_int_equal(found.size_bytes, 200 * page);
    assert_int_equal(fallow_arena_run_of(arena, run + 100 * page - 1, &found), FALLOW_OK);
    assert_ptr_equal(found.base, run);
    assert_int_equal(found.size_bytes, 100 * page);
    fallow_arena_free(arena, run, 100 * page);
    assert_int_equal(fallow_arena_run_of(arena, run, &found), FALLOW_ERR_INVALID);
    assert_int_equal(fallow_arena_run_of(arena, &found, &found), FALLOW_ERR_INVALID);
    assert_int_equal(fallow_arena_run_of(arena, NULL, &found), FALLOW_ERR_INVALID);
    assert_true(is_all(run + 100 * page, 200 * page, 2));
    fallow_arena_free(arena, run + 100 * page, 200 * page);
    fallow_arena_free(arena, next, page);
    s = check(arena);
    assert_int_equal(s.run_count, 0);
    assert_int_equal(s.peak_in_use_bytes, 600 * page);
    fallow_arena_destroy(arena);
}

static void extending_an_uncommitted_run(void **state)
{
    (void)state;
    fallow_arena *arena = MAKE(.flags = FALLOW_ARENA_FIXED);
    size_t page = read_stats(arena).page_bytes;
    char *old = take(arena, 50 * page);
    memset(old, 0xab, 50 * page);
    fallow_arena_free(arena, old, 50 * page);

    char *run = TAKE(arena, 4 * page, .flags = FALLOW_RUN_UNCOMMITTED).base;
    assert_int_equal(fallow_arena_extend(arena, run, 4 * page, 8 * page), FALLOW_OK);
    fallow_arena_stats s = check(arena);
    assert_int_equal(s.uncommitted_bytes, 8 * page);
    assert_int_equal(s.in_use_bytes, 0);
    assert_int_equal(fallow_arena_commit(arena, run + 7 * page, page), FALLOW_OK);
    assert_true(is_zero(run + 7 * page, page));
    assert_int_equal(fallow_arena_extend(arena, run, 8 * page, 700 * page), FALLOW_OK);
    memset(run + 7 * page, 1, 693 * page);
    s = check(arena);
    assert_int_equal(s.uncommitted_bytes, 7 * page);
    assert_int_equal(s.in_use_bytes, 693 * page);
    fallow_arena_shrink(arena, run, 700 * page, 2 * page);
    s = check(arena);
    assert_int_equal(s.uncommitted_bytes, 2 * page);
    fallow_arena_free(arena, run, 2 * page);
    fallow_arena_destroy(arena);
}

/* All of the limit is free memory in two pieces; a run that fits neither, but half the limit, needs a reservation more,
 * with bookkeeping of its own. */
static void the_limit_makes_room_for_a_further_reservation(void **state)
{
    (void)state;
    size_t page = facts.page_bytes;
    fallow_arena *arena = MAKE(.reserve_bytes = 64 * page, .page_bytes = page);
    size_t metadata_bytes = read_stats(arena).metadata_bytes;
    fallow_arena_destroy(arena);
    arena = MAKE(.reserve_bytes = 64 * page, .page_bytes = page, .grow_bytes = 1,
                 .limit_bytes = metadata_bytes + 50 * page);
    char *low = take(arena, 25 * page);
    (void)TAKE(arena, page, .flags = FALLOW_RUN_UNCOMMITTED);
    char *high = take(arena, 25 * page);
    (void)TAKE(arena, 13 * page, .flags = FALLOW_RUN_UNCOMMITTED);
    fallow_arena_free(arena, low, 25 * page);
    fallow_arena_free(arena, high, 25 * page);
    assert_int_equal(read_stats(arena).retained_bytes, 50 * page);
    /* more than the limit: nothing is given back */
    refuse(arena, FALLOW_ERR_LIMIT, metadata_bytes + 51 * page, (fallow_run_options){0});
    (void)take(arena, 26 * page);
    fallow_arena_stats s = check(arena);
    assert_int_equal(s.region_count, 2);
    assert_int_equal(s.retained_bytes, 0);
    fallow_arena_destroy(arena);
}

/* --- limits and callbacks ---------------------------------------------------------------------------------- */

static void the_limit_bounds_what_is_backed(void **state)
{
    (void)state;
    size_t limit = 2 * MIB;
    fallow_arena *arena = MAKE(.limit_bytes = limit, .purge = FALLOW_PURGE_DECOMMIT);
    size_t page = read_stats(arena).page_bytes;
    char *runs[1000];
    size_t count = 0;
    void *base;
    fallow_status status;
    while ((status = fallow_arena_alloc(arena, 4 * page, &base)) == FALLOW_OK) {
        memset(base, 1, 4 * page);
        runs[count++] = base;
        assert_true(check(arena).backed_bytes <= limit);
        assert_true(count < 1000);
    }
    assert_int_equal(status, FALLOW_ERR_LIMIT);
    fallow_arena_stats s = check(arena);
    assert_true(s.backed_bytes + 4 * page > limit);
    REFUSE(arena, FALLOW_ERR_LIMIT, 4 * page, 0);
    REFUSE(arena, FALLOW_ERR_LIMIT, 4 * page, .flags = FALLOW_RUN_ZEROED | FALLOW_RUN_TOP_DOWN);
    assert_int_equal(fallow_arena_extend(arena, runs[count - 1], 4 * page, 8 * page), FALLOW_ERR_LIMIT);
    check_unchanged(arena, &s);

    /* addresses are not limited, and memory that is held already may be used again */
    char *addresses = TAKE(arena, MIB, .flags = FALLOW_RUN_UNCOMMITTED).base;
    s = check(arena);
    assert_int_equal(fallow_arena_commit(arena, addresses, MIB), FALLOW_ERR_LIMIT);
    check_unchanged(arena, &s);
    fallow_arena_free(arena, runs[3], 4 * page);
    assert_ptr_equal(take(arena, 4 * page), runs[3]);
    REFUSE(arena, FALLOW_ERR_LIMIT, 4 * page, 0);

    /* given back, there is room elsewhere */
    fallow_arena_free(arena, runs[3], 4 * page);
    assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    assert_int_equal(fallow_arena_commit(arena, addresses, 4 * page), FALLOW_OK);
    memset(addresses, 1, 4 * page);
    assert_true(check(arena).backed_bytes <= limit);
    fallow_arena_destroy(arena);
}

typedef struct grants {
    size_t granted_bytes;
    size_t taken_bytes;
    uint64_t calls;
    uint64_t refuse_from; /* number of the first call to be refused */
    uint64_t refuse_to;   /* and of the first one after it to be granted */
    bool is_bad;
} grants;

static bool before_commit(void *callback_context, void *base, size_t size_bytes)
{
    grants *g = callback_context;
    g->is_bad |= base == NULL || size_bytes == 0 || size_bytes % facts.page_bytes != 0 ||
                 (uintptr_t)base % facts.page_bytes != 0;
    uint64_t call = g->calls++;
    if (call >= g->refuse_from && call < g->refuse_to) {
        return false;
    }
    g->granted_bytes += size_bytes;
    return true;
}

static void after_decommit(void *callback_context, void *base, size_t size_bytes)
{
    grants *g = callback_context;
    g->is_bad |= base == NULL || size_bytes == 0 || size_bytes % facts.page_bytes != 0;
    g->taken_bytes += size_bytes;
}

static void check_grants(fallow_arena *arena, const grants *g)
{
    assert_int_equal(g->granted_bytes - g->taken_bytes, check(arena).committed_bytes);
    assert_false(g->is_bad);
}

/* A call that may be refused: then nothing has changed, and asked again without refusal it succeeds. */
#define WITH_REFUSAL(arena, g, call)                     \
    do {                                                 \
        fallow_arena_stats before_ = check(arena);       \
        fallow_status status_ = (call);                  \
        if (status_ != FALLOW_OK) {                      \
            assert_int_equal(status_, FALLOW_ERR_LIMIT); \
            check_unchanged(arena, &before_);            \
            check_grants(arena, g);                      \
            (g)->refuse_to = 0;                          \
            assert_int_equal((call), FALLOW_OK);         \
        }                                                \
        check_grants(arena, g);                          \
    } while (0)

/* Everything that commits, with the calls of before_commit from number `from` on refused until one of ours has failed.
 * Returns how often before_commit was called. */
static uint64_t work_with_refusals(uint64_t from, uint64_t count, fallow_purge purge)
{
    grants g = {.refuse_from = from, .refuse_to = from + count};
    fallow_arena_options options = {
        .reserve_bytes = 512 * (facts.page_bytes > 8 * KIB ? facts.page_bytes : 8 * KIB),
        .grow_bytes = 64 * KIB,
        .purge = purge,
        .before_commit = before_commit,
        .after_decommit = after_decommit,
        .callback_context = &g,
    };
    fallow_arena *arena = NULL;
    fallow_status status = fallow_arena_create(&options, &arena);
    if (status != FALLOW_OK) {
        assert_int_equal(status, FALLOW_ERR_LIMIT);
        assert_null(arena);
        assert_int_equal(g.granted_bytes, g.taken_bytes);
        g.refuse_to = 0;
        assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    }
    check_grants(arena, &g);
    size_t page = read_stats(arena).page_bytes;

    void *run[4];
    fallow_run addresses;
    WITH_REFUSAL(arena, &g, fallow_arena_alloc(arena, page, &run[0]));
    WITH_REFUSAL(arena, &g, fallow_arena_alloc(arena, 30 * page, &run[1]));
    memset(run[1], 1, 30 * page);
    WITH_REFUSAL(arena, &g, fallow_arena_extend(arena, run[1], 30 * page, 90 * page));
    memset(run[1], 1, 90 * page);
    fallow_run_options top = {.flags = FALLOW_RUN_TOP_DOWN | FALLOW_RUN_ZEROED};
    WITH_REFUSAL(arena, &g, fallow_arena_alloc_run(arena, 10 * page, &top, &addresses));
    memset(addresses.base, 1, 10 * page);
    fallow_arena_free(arena, addresses.base, 10 * page);
    fallow_run_options uncommitted = {.flags = FALLOW_RUN_UNCOMMITTED};
    WITH_REFUSAL(arena, &g, fallow_arena_alloc_run(arena, 100 * page, &uncommitted, &addresses));
    WITH_REFUSAL(arena, &g, fallow_arena_commit(arena, (char *)addresses.base + 3 * page, 50 * page));
    assert_true(is_zero((char *)addresses.base + 3 * page, 50 * page));
    WITH_REFUSAL(arena, &g, fallow_arena_decommit(arena, (char *)addresses.base + 5 * page, 10 * page));
    WITH_REFUSAL(arena, &g, fallow_arena_commit(arena, addresses.base, 100 * page));
    fallow_arena_free(arena, run[1], 90 * page);
    WITH_REFUSAL(arena, &g, fallow_arena_trim(arena, 20 * page, NULL));
    WITH_REFUSAL(arena, &g, fallow_arena_alloc(arena, 90 * page, &run[1]));
    memset(run[1], 1, 90 * page);
    WITH_REFUSAL(arena, &g, fallow_arena_alloc(arena, 3 * MIB, &run[2])); /* a second reservation */
    memset(run[2], 1, 3 * MIB);
    WITH_REFUSAL(arena, &g, fallow_arena_alloc(arena, 9 * MIB, &run[3])); /* one of its own size */
    memset(run[3], 1, 9 * MIB);
    fallow_arena_free(arena, run[2], 3 * MIB);
    WITH_REFUSAL(arena, &g, fallow_arena_trim(arena, 0, NULL));
    fallow_arena_destroy(arena);
    assert_int_equal(g.granted_bytes, g.taken_bytes);
    assert_false(g.is_bad);
    return g.calls;
}

static void each_refusal_of_before_commit(void **state)
{
    (void)state;
    for (fallow_purge purge = FALLOW_PURGE_DONTNEED; purge <= FALLOW_PURGE_DECOMMIT; purge++) {
        uint64_t from = 0;
        while (work_with_refusals(from, 1, purge) > from) { /* one refusal: a smaller step may be granted */
            from++;
        }
        for (uint64_t k = 0; k < from; k++) {
            (void)work_with_refusals(k, UINT64_MAX / 2, purge); /* and all from there on */
        }
        assert_true(from >= 8 && from < 200);
    }
}

/* --- a model ----------------------------------------------------------------------------------------------- */

static size_t random_below(test_random *random, size_t below)
{
    return (size_t)test_below(random, below);
}

enum {
    MODEL_PAGES = 1200
};

/* Of each page: 0 free, 1 in a run, 2 first of a run; and whether a used page is committed. */
typedef struct model {
    fallow_arena *arena;
    char *base;
    size_t page;
    unsigned char used[MODEL_PAGES + 1];
    unsigned char committed[MODEL_PAGES + 1];
    unsigned char stamp[MODEL_PAGES]; /* what the page was filled with */
    size_t run_count;
} arena_model;

static size_t model_run_end(const arena_model *m, size_t first)
{
    size_t end = first + 1;
    while (end < MODEL_PAGES && m->used[end] == 1) {
        end++;
    }
    return end;
}

/* -1: nowhere */
static long model_find(const arena_model *m, size_t count, size_t align, bool is_top_down)
{
    long found = -1;
    size_t length = 0;
    for (size_t i = 0; i < MODEL_PAGES; i++) {
        length = m->used[i] == 0 ? length + 1 : 0;
        if (length >= count) {
            size_t first = i + 1 - count;
            if ((uintptr_t)(m->base + first * m->page) % align == 0) {
                found = (long)first;
                if (!is_top_down) {
                    return found;
                }
            }
        }
    }
    return found;
}

static void model_fill(arena_model *m, size_t first, size_t count, unsigned char stamp)
{
    for (size_t i = first; i < first + count; i++) {
        m->stamp[i] = stamp;
        if (m->committed[i]) {
            memset(m->base + i * m->page, stamp, m->page);
        }
    }
}

/* Spot checks: the ends and the middle of every committed page. */
static void model_check_contents(const arena_model *m, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        const unsigned char *bytes = (const unsigned char *)m->base + i * m->page;
        if (m->committed[i]) {
            assert_int_equal(bytes[0], m->stamp[i]);
            assert_int_equal(bytes[m->page / 2], m->stamp[i]);
            assert_int_equal(bytes[m->page - 1], m->stamp[i]);
        }
    }
}

static void model_check(const arena_model *m)
{
    fallow_arena_stats s = check(m->arena);
    size_t in_use = 0;
    size_t uncommitted = 0;
    size_t lowest = MODEL_PAGES;
    size_t highest = 0;
    for (size_t i = 0; i < MODEL_PAGES; i++) {
        if (m->used[i] != 0) {
            in_use += m->committed[i] ? m->page : 0;
            uncommitted += m->committed[i] ? 0 : m->page;
            lowest = lowest < i ? lowest : i;
            highest = i + 1;
        }
    }
    assert_int_equal(s.in_use_bytes, in_use);
    assert_int_equal(s.uncommitted_bytes, uncommitted);
    assert_int_equal(s.run_count, m->run_count);
    assert_int_equal(s.extent_bytes, highest > 0 ? (highest - lowest) * m->page : 0);
    assert_int_equal(s.region_count, 1);
}

static size_t model_random_run(const arena_model *m, test_random *random)
{
    size_t start = random_below(random, MODEL_PAGES);
    for (size_t i = 0; i < MODEL_PAGES; i++) {
        size_t page = (start + i) % MODEL_PAGES;
        if (m->used[page] == 2) {
            return page;
        }
    }
    return MODEL_PAGES;
}

static void model_take(arena_model *m, test_random *random)
{
    size_t count = 1 + random_below(random, random_below(random, 8) == 0 ? 300 : 20);
    fallow_run_options options = {0};
    size_t align = m->page;
    if (random_below(random, 3) == 0) {
        options.align_bytes = (size_t)1 << random_below(random, 24);
        align = options.align_bytes > m->page ? options.align_bytes : m->page;
    }
    static const uint32_t flags[] = {0, 0, 0, FALLOW_RUN_ZEROED, FALLOW_RUN_UNCOMMITTED, FALLOW_RUN_NO_CACHE};
    options.flags = flags[random_below(random, 6)] | (random_below(random, 4) == 0 ? FALLOW_RUN_TOP_DOWN : 0);
    long expected = model_find(m, count, align, (options.flags & FALLOW_RUN_TOP_DOWN) != 0);
    if (random_below(random, 8) == 0) {
        size_t at = random_below(random, MODEL_PAGES);
        options.at = m->base + at * m->page;
        options.align_bytes = 0;
        expected = (long)at;
        for (size_t i = at; i < at + count; i++) {
            if (i >= MODEL_PAGES || m->used[i] != 0) {
                expected = -1;
                break;
            }
        }
    }
    fallow_run run;
    size_t size_bytes = count * m->page - random_below(random, m->page);
    fallow_status status = fallow_arena_alloc_run(m->arena, size_bytes, &options, &run);
    if (expected < 0) {
        assert_int_equal(status, FALLOW_ERR_EXHAUSTED);
        return;
    }
    assert_int_equal(status, FALLOW_OK);
    assert_ptr_equal(run.base, m->base + (size_t)expected * m->page);
    assert_int_equal(run.size_bytes, count * m->page);
    assert_true(run.is_zero || (options.flags & FALLOW_RUN_ZEROED) == 0);
    bool is_committed = (options.flags & FALLOW_RUN_UNCOMMITTED) == 0;
    assert_true(!is_committed || !run.is_zero || is_zero(run.base, run.size_bytes));
    size_t first = (size_t)expected;
    memset(m->used + first, 1, count);
    m->used[first] = 2;
    memset(m->committed + first, is_committed, count);
    model_fill(m, first, count, (unsigned char)(1 + random_below(random, 255)));
    m->run_count++;
}

static void model_give(arena_model *m, test_random *random)
{
    size_t first = model_random_run(m, random);
    if (first == MODEL_PAGES) {
        return;
    }
    size_t count = model_run_end(m, first) - first;
    size_t keep = random_below(random, 4) == 0 ? random_below(random, count) : 0;
    model_check_contents(m, first, count);
    if (keep > 0) {
        fallow_arena_shrink(m->arena, m->base + first * m->page, count * m->page, keep * m->page);
    } else {
        fallow_arena_free(m->arena, m->base + first * m->page, count * m->page - random_below(random, m->page));
        m->run_count--;
    }
    memset(m->used + first + keep, 0, count - keep);
}

static void model_change(arena_model *m, test_random *random)
{
    size_t first = model_random_run(m, random);
    if (first == MODEL_PAGES) {
        return;
    }
    size_t end = model_run_end(m, first);
    size_t count = end - first;
    char *base = m->base + first * m->page;
    size_t at = random_below(random, count);
    size_t length = 1 + random_below(random, count - at);
    switch (random_below(random, 5)) {
    case 0: {
        size_t more = random_below(random, 30);
        bool is_free = end + more <= MODEL_PAGES;
        for (size_t i = end; is_free && i < end + more; i++) {
            is_free = m->used[i] == 0;
        }
        fallow_status status = fallow_arena_extend(m->arena, base, count * m->page, (count + more) * m->page);
        assert_int_equal(status, is_free ? FALLOW_OK : FALLOW_ERR_EXHAUSTED);
        if (is_free && more > 0) {
            memset(m->used + end, 1, more);
            memset(m->committed + end, m->committed[end - 1], more);
            model_fill(m, end, more, m->stamp[first]);
        }
        break;
    }
    case 1:
        if (at > 0) {
            fallow_arena_split(m->arena, base, count * m->page, at * m->page);
            m->used[first + at] = 2;
            m->run_count++;
        }
        break;
    case 2:
        assert_int_equal(fallow_arena_commit(m->arena, base + at * m->page, length * m->page), FALLOW_OK);
        for (size_t i = first + at; i < first + at + length; i++) {
            if (!m->committed[i]) {
                assert_true(is_zero(m->base + i * m->page, m->page));
                m->committed[i] = 1;
                model_fill(m, i, 1, m->stamp[i]);
            }
        }
        break;
    case 3:
        assert_int_equal(fallow_arena_decommit(m->arena, base + at * m->page, length * m->page), FALLOW_OK);
        memset(m->committed + first + at, 0, length);
        break;
    default: {
        fallow_run run;
        assert_int_equal(fallow_arena_run_of(m->arena, base + at * m->page + random_below(random, m->page), &run),
                         FALLOW_OK);
        assert_ptr_equal(run.base, base);
        assert_int_equal(run.size_bytes, count * m->page);
        break;
    }
    }
    model_check_contents(m, first, model_run_end(m, first) - first);
}

static void churn(test_random *random, fallow_arena_options options, int steps)
{
    static arena_model m;
    m = (arena_model){0};
    options.reserve_bytes = MODEL_PAGES * options.page_bytes;
    options.flags |= FALLOW_ARENA_FIXED;
    m.page = options.page_bytes;
    m.arena = make(options);
    /* where the pages begin is where the first run lies; there may be more of them than asked for */
    m.base = take(m.arena, m.page);
    assert_int_equal(read_stats(m.arena).usable_bytes, options.reserve_bytes);
    m.used[0] = 2;
    m.committed[0] = 1;
    m.run_count = 1;
    model_fill(&m, 0, 1, 1);
    bool is_growing = true;
    for (int step = 0; step < steps; step++) {
        is_growing = random_below(random, 50) == 0 ? !is_growing : is_growing;
        switch (random_below(random, 8)) {
        case 0:
        case 1: model_change(&m, random); break;
        case 2:
            if (random_below(random, 10) == 0) {
                assert_int_equal(fallow_arena_trim(m.arena, random_below(random, 300) * m.page, NULL), FALLOW_OK);
            }
            break;
        case 3: model_give(&m, random); break;
        case 4: model_take(&m, random); break;
        default: is_growing ? model_take(&m, random) : model_give(&m, random); break;
        }
        if (step % 8 == 0) {
            model_check(&m);
        }
    }
    for (size_t first; (first = model_random_run(&m, random)) < MODEL_PAGES;) {
        size_t count = model_run_end(&m, first) - first;
        model_check_contents(&m, first, count);
        fallow_arena_free(m.arena, m.base + first * m.page, count * m.page);
        memset(m.used + first, 0, count);
        m.run_count--;
    }
    model_check(&m);
    fallow_arena_destroy(m.arena);
}

static void random_churn(void **state)
{
    (void)state;
    test_random random = test_seed("unit_arena churn");
    size_t page = facts.page_bytes;
    for (fallow_purge purge = FALLOW_PURGE_DEFAULT; purge <= FALLOW_PURGE_DECOMMIT; purge++) {
        churn(&random, (fallow_arena_options){.purge = purge, .page_bytes = page, .grow_bytes = 1}, 1500);
        churn(&random, (fallow_arena_options){.purge = purge, .page_bytes = 4 * page, .grow_bytes = 8 * page}, 500);
        churn(&random, (fallow_arena_options){.purge = purge, .page_bytes = 4 * page, .grow_bytes = MIB}, 500);
    }
    churn(&random, (fallow_arena_options){.page_bytes = 64 * KIB}, 300);
}

static void pages_of_every_size(void **state)
{
    (void)state;
    for (size_t page = facts.page_bytes; page <= 2 * MIB; page *= 2) {
        fallow_arena *arena = MAKE(.page_bytes = page, .reserve_bytes = 24 * MIB, .flags = FALLOW_ARENA_FIXED);
        fallow_arena_stats s = read_stats(arena);
        assert_int_equal(s.page_bytes, page);
        assert_int_equal(s.usable_bytes, 24 * MIB);
        fallow_run run = TAKE(arena, page + 1, .flags = FALLOW_RUN_ZEROED);
        assert_int_equal(run.size_bytes, 2 * page);
        assert_int_equal((uintptr_t)run.base % page, 0);
        memset(run.base, 1, run.size_bytes);
        char *top = TAKE(arena, 1, .flags = FALLOW_RUN_TOP_DOWN).base;
        assert_ptr_equal(top, (char *)run.base + 24 * MIB - page);
        memset(top, 1, page);
        (void)check(arena);
        fallow_arena_free(arena, run.base, page + 1);
        assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
        fallow_arena_free(arena, top, page);
        (void)check(arena);
        fallow_arena_destroy(arena);
    }
}

/* --- size -------------------------------------------------------------------------------------------------- */

static void sixty_four_tebibytes(void **state)
{
    (void)state;
    if (!can_reserve_much()) {
        skip();
    }
    fallow_process before;
    fallow_process after;
    fallow_arena *arena = NULL;
    fallow_arena_options options = {.reserve_bytes = (size_t)(64 * TIB), .min_reserve_bytes = (size_t)TIB};
    bool is_told = fallow_process_info(&before) == FALLOW_OK;
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    is_told = is_told && fallow_process_info(&after) == FALLOW_OK;
    assert_true(!is_told || after.resident_bytes <= before.resident_bytes + 256 * KIB);
    fallow_arena_stats s = check(arena);
    assert_true(s.committed_bytes <= 4 * MIB);
    assert_true(s.reserved_bytes - s.usable_bytes <= s.usable_bytes / 10000);
    char *low = take(arena, 1);
    char *high = TAKE(arena, 1, .flags = FALLOW_RUN_TOP_DOWN).base;
    assert_ptr_equal(high, low + s.usable_bytes - s.page_bytes);
    high[0] = 1;
    fallow_run run = TAKE(arena, (size_t)(s.usable_bytes / 2), .flags = FALLOW_RUN_UNCOMMITTED);
    assert_ptr_equal(run.base, low + s.page_bytes);
    fallow_run other = TAKE(arena, MIB, .align_bytes = (size_t)GIB);
    assert_int_equal((uintptr_t)other.base % GIB, 0);
    assert_true((char *)other.base < (char *)run.base + run.size_bytes + 2 * GIB);
    s = check(arena);
    assert_int_equal(s.uncommitted_bytes, run.size_bytes);
    assert_int_equal(s.extent_bytes, s.usable_bytes);
    fallow_arena_split(arena, run.base, run.size_bytes, run.size_bytes / 2 / s.page_bytes * s.page_bytes);
    fallow_run found;
    assert_int_equal(fallow_arena_run_of(arena, (char *)run.base + run.size_bytes - 1, &found), FALLOW_OK);
    assert_int_equal(found.size_bytes, run.size_bytes - run.size_bytes / 2 / s.page_bytes * s.page_bytes);
    fallow_arena_free(arena, run.base, run.size_bytes - found.size_bytes);
    fallow_arena_free(arena, found.base, found.size_bytes);
    s = check(arena);
    assert_int_equal(s.run_count, 3);
    assert_true(s.committed_bytes <= s.usable_bytes / 10000 + 16 * MIB);
    fallow_arena_destroy(arena);
}

static int read_facts(void **state)
{
    (void)state;
    fallow_system_info(&facts);
    return 0;
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_arena),
        cmocka_unit_test(options_out_of_range),
        cmocka_unit_test(large_pages_or_the_reason),
        cmocka_unit_test(options_at_the_edge_of_their_range),
        cmocka_unit_test(destroy_gives_everything_back),
        cmocka_unit_test(requests_out_of_range),
        cmocka_unit_test(a_fixed_arena_is_exhausted),
        cmocka_unit_test(a_fixed_arena_gets_all_or_nothing),
        cmocka_unit_test(further_reservations),
        cmocka_unit_test(reservations_never_join),
        cmocka_unit_test(an_alignment_larger_than_the_reservation),
        cmocka_unit_test(placement),
        cmocka_unit_test(every_alignment_is_exact),
        cmocka_unit_test(only_from_committed_memory),
        cmocka_unit_test(committed_memory_behind_a_hole),
        cmocka_unit_test(fresh_memory_is_known_to_be_zero),
        cmocka_unit_test(zeroed_is_zero_and_dirty_is_not_said_to_be),
        cmocka_unit_test(trim_in_each_mode),
        cmocka_unit_test(trim_keeps_a_part_of_a_page),
        cmocka_unit_test(uncommitted_runs),
        cmocka_unit_test(extend_shrink_split),
        cmocka_unit_test(extending_an_uncommitted_run),
        cmocka_unit_test(the_limit_bounds_what_is_backed),
        cmocka_unit_test(the_limit_makes_room_for_a_further_reservation),
        cmocka_unit_test(each_refusal_of_before_commit),
        cmocka_unit_test(random_churn),
        cmocka_unit_test(pages_of_every_size),
        cmocka_unit_test(sixty_four_tebibytes),
    };
    return cmocka_run_group_tests_name("arena", tests, read_facts, NULL);
}
