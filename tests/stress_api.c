/* Every public function, from many threads at once: on arenas that all share, on ranges of a region that they share, on
 * arenas of their own that come and go. Threads begin and end all the while, with runs left behind for others; after each
 * function one ends at once. Then the same while signals arrive. Under tsan this is the test for races of what is public.
 *
 * The table at the end of the actions names every function of fallow.h; tests/docs/api compares it with the header, and
 * each run sees to it that each was called. */
#include "test.h"

#include <stdatomic.h>
#include <string.h>

#include "fallow.h"
#include "os.h"
#include "pest.h"
#include "threads.h"

enum {
    ARENAS = 3,
    OWN_PAGES = 16, /* of the shared region, for each thread */
    RUNS = 6,       /* that a thread holds */
    BOARD = 32,     /* runs that ended threads have left */
    STEPS_MOST = 120,
    WAVES = 3
};

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

typedef struct held {
    fallow_run run;
    unsigned arena;
} held;

typedef struct field {
    fallow_arena *arenas[ARENAS];
    fallow_region region;
    _Atomic(held *) board[BOARD];
    held left[BOARD]; /* what the board points to */
    atomic_uint left_count;
    atomic_uint failed; /* line of the first check that failed */
    atomic_ullong *calls;
    uint64_t seed;
    unsigned only; /* a function after which the thread ends; else how many there are */
} field;

typedef struct worker {
    field *f;
    unsigned index;
    test_random random;
    held runs[RUNS];
    unsigned run_count;
} worker;

#define CHECK(w, condition)                                                    \
    do {                                                                       \
        if (!(condition)) {                                                    \
            unsigned none_ = 0;                                                \
            atomic_compare_exchange_strong(&(w)->f->failed, &none_, __LINE__); \
        }                                                                      \
    } while (0)

static fallow_system facts;
static atomic_ullong log_lines;

static unsigned any_arena(worker *w)
{
    return (unsigned)test_below(&w->random, ARENAS);
}

static fallow_arena *arena_of(const worker *w, const held *h)
{
    return w->f->arenas[h->arena];
}

/* --- runs ------------------------------------------------------------------------------------------------------- */

static void stamp(worker *w, const held *h)
{
    memset(h->run.base, (int)(w->index + 1), 64);
    ((unsigned char *)h->run.base)[h->run.size_bytes - 1] = (unsigned char)h->run.size_bytes;
}

static void keep(worker *w, unsigned arena, fallow_run run)
{
    w->runs[w->run_count] = (held){run, arena};
    stamp(w, &w->runs[w->run_count++]);
}

static held *any_run(worker *w)
{
    return w->run_count == 0 ? NULL : &w->runs[test_below(&w->random, w->run_count)];
}

static void forget(worker *w, held *h)
{
    *h = w->runs[--w->run_count];
}

static void drop(worker *w, held *h)
{
    fallow_arena_free(arena_of(w, h), h->run.base, h->run.size_bytes);
    forget(w, h);
}

static void make_room(worker *w)
{
    if (w->run_count == RUNS) {
        drop(w, &w->runs[0]);
    }
}

/* --- one action for each function --------------------------------------------------------------------------------- */

static bool count_text(void *context, const char *text, size_t bytes)
{
    size_t *sum = context;
    *sum += bytes + (text[0] == '\0');
    return true;
}

static void do_version(worker *w)
{
    CHECK(w, strcmp(fallow_version(), FALLOW_VERSION) == 0);
}

static void do_status_name(worker *w)
{
    CHECK(w, strcmp(fallow_status_name(FALLOW_ERR_LIMIT), "FALLOW_ERR_LIMIT") == 0);
}

static void do_status_message(worker *w)
{
    CHECK(w, fallow_status_message((fallow_status)(0 - (int)test_below(&w->random, 12)))[0] != '\0');
}

static void do_last_failure(worker *w)
{
    fallow_failure failure;
    fallow_run run;
    /* a page number of its own: what is told is this thread's failure */
    char *outside = (char *)w->f->region.base + (size_t)w->index * w->f->region.page_bytes;
    CHECK(w, fallow_arena_run_of(w->f->arenas[0], outside, &run) == FALLOW_ERR_INVALID);
    CHECK(w, fallow_last_failure(&failure) && failure.base == outside && failure.status == FALLOW_ERR_INVALID);
}

static void do_region_reserve(worker *w)
{
    fallow_region region;
    fallow_region_options options = {.align_bytes = (size_t)1 << (12 + test_below(&w->random, 10)), .name = "stress"};
    CHECK(w, fallow_region_reserve(MIB, &options, &region) == FALLOW_OK);
    CHECK(w, fallow_region_release(&region) == FALLOW_OK);
}

static void do_region_release(worker *w)
{
    fallow_region region = {0};
    CHECK(w, fallow_region_release(&region) == FALLOW_OK);
    do_region_reserve(w);
}

/* This thread's range of the shared region, committed. */
static char *own_range(worker *w, size_t *offset_out, size_t *size_out)
{
    *size_out = OWN_PAGES * w->f->region.page_bytes;
    *offset_out = w->index * *size_out;
    CHECK(w, fallow_region_commit(&w->f->region, *offset_out, *size_out) == FALLOW_OK);
    return (char *)w->f->region.base + *offset_out;
}

static void do_region_commit(worker *w)
{
    size_t offset;
    size_t size;
    char *range = own_range(w, &offset, &size);
    memset(range, (int)w->index + 1, size);
    CHECK(w, range[0] == (char)(w->index + 1) && range[size - 1] == range[0]);
}

static void do_region_decommit(worker *w)
{
    size_t offset;
    size_t size;
    char *range = own_range(w, &offset, &size);
    range[0] = 1;
    CHECK(w, fallow_region_decommit(&w->f->region, offset, size) == FALLOW_OK);
    CHECK(w, own_range(w, &offset, &size)[0] == 0);
}

static void do_region_purge(worker *w)
{
    size_t offset;
    size_t size;
    char *range = own_range(w, &offset, &size);
    range[0] = 1;
    CHECK(w, fallow_region_purge(&w->f->region, offset, size, FALLOW_PURGE_FREE) == FALLOW_OK);
    CHECK(w, fallow_region_purge(&w->f->region, offset, size, FALLOW_PURGE_DONTNEED) == FALLOW_OK);
    CHECK(w, range[0] == 0);
}

static void do_region_protect(worker *w)
{
    size_t offset;
    size_t size;
    char *range = own_range(w, &offset, &size);
    range[0] = 7;
    CHECK(w, fallow_region_protect(&w->f->region, offset, size, FALLOW_PROTECTION_READ) == FALLOW_OK);
    CHECK(w, range[0] == 7);
    CHECK(w, fallow_region_protect(&w->f->region, offset, size, FALLOW_PROTECTION_READ_WRITE) == FALLOW_OK);
    range[0] = 8;
}

static void do_region_prefault(worker *w)
{
    size_t offset;
    size_t size;
    (void)own_range(w, &offset, &size);
    CHECK(w, fallow_region_prefault(&w->f->region, offset, size) == FALLOW_OK);
}

static void do_region_guard(worker *w)
{
    size_t offset;
    size_t size;
    char *range = own_range(w, &offset, &size);
    range[0] = 1;
    CHECK(w, fallow_region_guard(&w->f->region, offset, size) == FALLOW_OK);
    CHECK(w, fallow_region_unguard(&w->f->region, offset, size) == FALLOW_OK);
    CHECK(w, range[0] == 0);
}

static void do_region_unguard(worker *w)
{
    do_region_guard(w);
}

static void do_region_resident(worker *w)
{
    size_t offset;
    size_t size;
    size_t resident = SIZE_MAX;
    own_range(w, &offset, &size)[0] = 1;
    CHECK(w, fallow_region_resident(&w->f->region, offset, size, &resident) == FALLOW_OK && resident <= size);
}

static void do_arena_create(worker *w)
{
    static const fallow_scavenge modes[] = {FALLOW_SCAVENGE_OFF, FALLOW_SCAVENGE_ASSIST, FALLOW_SCAVENGE_THREAD};
    fallow_arena *arena;
    fallow_arena_options options = {.reserve_bytes = MIB,
                                    .thread_cache_bytes = 256 * KIB,
                                    .scavenge = modes[test_below(&w->random, 3)],
                                    .name = "stress"};
    void *run;
    if (fallow_arena_create(&options, &arena) != FALLOW_OK) {
        CHECK(w, false);
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        CHECK(w, fallow_arena_alloc(arena, 64 * KIB, &run) == FALLOW_OK);
        memset(run, 1, 64 * KIB);
        fallow_arena_free(arena, run, 64 * KIB);
    }
    fallow_arena_destroy(arena);
}

static void do_arena_destroy(worker *w)
{
    fallow_arena_destroy(NULL);
    do_arena_create(w);
}

static void do_arena_alloc(worker *w)
{
    unsigned arena = any_arena(w);
    size_t pages = 1 + (size_t)test_below(&w->random, 8);
    fallow_run run = {.size_bytes = pages * 64 * KIB};
    make_room(w);
    CHECK(w, fallow_arena_alloc(w->f->arenas[arena], run.size_bytes, &run.base) == FALLOW_OK);
    if (run.base != NULL) {
        keep(w, arena, run);
    }
}

static void do_arena_alloc_run(worker *w)
{
    static const uint32_t flags[] = {0, FALLOW_RUN_ZEROED, FALLOW_RUN_TOP_DOWN, FALLOW_RUN_NO_CACHE};
    unsigned arena = any_arena(w);
    fallow_run_options options = {.flags = flags[test_below(&w->random, 4)], .align_bytes = 256 * KIB};
    fallow_run run;
    make_room(w);
    if (fallow_arena_alloc_run(w->f->arenas[arena], 128 * KIB, &options, &run) == FALLOW_OK) {
        CHECK(w, !run.is_zero || *(unsigned char *)run.base == 0);
        CHECK(w, ((uintptr_t)run.base & (256 * KIB - 1)) == 0);
        keep(w, arena, run);
    } else {
        CHECK(w, false);
    }
}

static void do_arena_free(worker *w)
{
    held *h = any_run(w);
    if (h != NULL) {
        CHECK(w, *(unsigned char *)h->run.base == (unsigned char)(w->index + 1));
        drop(w, h);
    } else {
        fallow_arena_free(w->f->arenas[0], NULL, 1);
    }
}

static void do_arena_free_many(worker *w)
{
    fallow_run runs[RUNS];
    size_t count = 0;
    for (unsigned i = 0; i < w->run_count;) {
        if (w->runs[i].arena == 0) {
            runs[count++] = w->runs[i].run;
            forget(w, &w->runs[i]);
        } else {
            i++;
        }
    }
    fallow_arena_free_many(w->f->arenas[0], runs, count);
}

static void do_arena_extend(worker *w)
{
    held *h = any_run(w);
    if (h != NULL && h->run.size_bytes < 4 * MIB) {
        size_t more = h->run.size_bytes + 64 * KIB;
        fallow_status status = fallow_arena_extend(arena_of(w, h), h->run.base, h->run.size_bytes, more);
        CHECK(w, status == FALLOW_OK || status == FALLOW_ERR_EXHAUSTED);
        h->run.size_bytes = status == FALLOW_OK ? more : h->run.size_bytes;
        stamp(w, h);
    }
}

static void do_arena_shrink(worker *w)
{
    held *h = any_run(w);
    if (h != NULL && h->run.size_bytes > 64 * KIB) {
        fallow_arena_shrink(arena_of(w, h), h->run.base, h->run.size_bytes, 64 * KIB);
        h->run.size_bytes = 64 * KIB;
        stamp(w, h);
    }
}

static void do_arena_split(worker *w)
{
    make_room(w);
    held *h = any_run(w);
    if (h != NULL && h->run.size_bytes > 64 * KIB) {
        fallow_run second = {(char *)h->run.base + 64 * KIB, h->run.size_bytes - 64 * KIB, false};
        fallow_arena_split(arena_of(w, h), h->run.base, h->run.size_bytes, 64 * KIB);
        h->run.size_bytes = 64 * KIB;
        keep(w, h->arena, second);
    }
}

static void do_arena_commit(worker *w)
{
    unsigned arena = any_arena(w);
    fallow_run_options options = {.flags = FALLOW_RUN_UNCOMMITTED};
    fallow_run run;
    make_room(w);
    if (fallow_arena_alloc_run(w->f->arenas[arena], 256 * KIB, &options, &run) == FALLOW_OK) {
        CHECK(w, fallow_arena_commit(w->f->arenas[arena], run.base, run.size_bytes) == FALLOW_OK);
        CHECK(w, *(unsigned char *)run.base == 0);
        keep(w, arena, run);
    } else {
        CHECK(w, false);
    }
}

static void do_arena_decommit(worker *w)
{
    held *h = any_run(w);
    if (h != NULL) {
        fallow_arena *arena = arena_of(w, h);
        CHECK(w, fallow_arena_decommit(arena, h->run.base, h->run.size_bytes) == FALLOW_OK);
        CHECK(w, fallow_arena_commit(arena, h->run.base, h->run.size_bytes) == FALLOW_OK);
        CHECK(w, *(unsigned char *)h->run.base == 0);
        stamp(w, h);
    }
}

static void do_arena_owns(worker *w)
{
    const held *h = any_run(w);
    CHECK(w, h == NULL || fallow_arena_owns(arena_of(w, h), h->run.base));
    CHECK(w, !fallow_arena_owns(w->f->arenas[0], w));
}

static void do_arena_run_of(worker *w)
{
    const held *h = any_run(w);
    fallow_run run;
    if (h != NULL) {
        CHECK(w, fallow_arena_run_of(arena_of(w, h), (char *)h->run.base + 5, &run) == FALLOW_OK &&
                     run.base == h->run.base && run.size_bytes == h->run.size_bytes);
    }
}

static void do_arena_trim(worker *w)
{
    size_t released = 0;
    size_t kept = (size_t)test_below(&w->random, 2) * MIB;
    CHECK(w, fallow_arena_trim(w->f->arenas[any_arena(w)], kept, &released) == FALLOW_OK);
}

static void do_arena_flush_thread(worker *w)
{
    fallow_arena_flush_thread(w->f->arenas[any_arena(w)]);
}

static void do_arena_scavenge(worker *w)
{
    CHECK(w, fallow_arena_scavenge(w->f->arenas[any_arena(w)], 10000, NULL) == FALLOW_OK);
}

static void do_pressure_watch(worker *w)
{
    fallow_status status = fallow_pressure_watch(w->f->arenas[any_arena(w)]);
    CHECK(w, status == FALLOW_OK || status == FALLOW_ERR_UNSUPPORTED);
}

static void do_arena_read_stats(worker *w)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(w->f->arenas[any_arena(w)], &s);
    CHECK(w, s.backed_bytes ==
                     s.in_use_bytes + s.cached_bytes + s.retained_bytes + s.released_lazy_bytes + s.metadata_bytes &&
                 s.committed_bytes == s.backed_bytes + s.released_zero_bytes);
}

static void do_stats_write(worker *w)
{
    size_t bytes = 0;
    fallow_stats_format format = (fallow_stats_format)test_below(&w->random, 3);
    fallow_arena *arena = test_below(&w->random, 2) == 0 ? NULL : w->f->arenas[any_arena(w)];
    CHECK(w, fallow_stats_write(arena, format, count_text, &bytes) == FALLOW_OK && bytes != 0);
}

static void do_arena_write_map(worker *w)
{
    size_t bytes = 0;
    fallow_map_format format = (fallow_map_format)test_below(&w->random, 3);
    CHECK(w, fallow_arena_write_map(w->f->arenas[any_arena(w)], format, NULL, count_text, &bytes) == FALLOW_OK &&
                 bytes != 0);
}

static void do_fork_register(worker *w)
{
    CHECK(w, fallow_fork_register() == FALLOW_OK);
}

static void do_arena_check(worker *w)
{
    CHECK(w, fallow_arena_check(w->f->arenas[any_arena(w)]) == FALLOW_OK);
}

static void count_line(void *context, const char *line)
{
    atomic_fetch_add((atomic_ullong *)context, line[0] != '\0');
}

static void do_set_log(worker *w)
{
    fallow_set_log(test_below(&w->random, 2) == 0 ? count_line : NULL, &log_lines);
}

static void do_system_info(worker *w)
{
    fallow_system system;
    fallow_system_info(&system);
    CHECK(w, system.page_bytes == facts.page_bytes && strcmp(system.os_name, facts.os_name) == 0);
}

static void do_process_info(worker *w)
{
    fallow_process process;
    CHECK(w, fallow_process_info(&process) == FALLOW_OK && process.virtual_bytes != 0);
}

static void do_process_explain(worker *w)
{
    size_t bytes = 0;
    uint32_t flags = test_below(&w->random, 2) == 0 ? FALLOW_EXPLAIN_JSON : FALLOW_EXPLAIN_SUMMARY;
    CHECK(w, fallow_process_explain(count_text, &bytes, flags) == FALLOW_OK && bytes != 0);
}

typedef struct action {
    const char *name;
    void (*run)(worker *w);
    unsigned rarely; /* done once in so many times: it is slow */
} action;

static const action actions[] = {
    {"fallow_version", do_version, 1},
    {"fallow_status_name", do_status_name, 1},
    {"fallow_status_message", do_status_message, 1},
    {"fallow_last_failure", do_last_failure, 1},
    {"fallow_region_reserve", do_region_reserve, 1},
    {"fallow_region_release", do_region_release, 1},
    {"fallow_region_commit", do_region_commit, 1},
    {"fallow_region_decommit", do_region_decommit, 1},
    {"fallow_region_purge", do_region_purge, 1},
    {"fallow_region_protect", do_region_protect, 1},
    {"fallow_region_prefault", do_region_prefault, 1},
    {"fallow_region_guard", do_region_guard, 1},
    {"fallow_region_unguard", do_region_unguard, 1},
    {"fallow_region_resident", do_region_resident, 1},
    {"fallow_arena_create", do_arena_create, 2},
    {"fallow_arena_destroy", do_arena_destroy, 2},
    {"fallow_arena_alloc", do_arena_alloc, 1},
    {"fallow_arena_alloc_run", do_arena_alloc_run, 1},
    {"fallow_arena_free", do_arena_free, 1},
    {"fallow_arena_free_many", do_arena_free_many, 1},
    {"fallow_arena_extend", do_arena_extend, 1},
    {"fallow_arena_shrink", do_arena_shrink, 1},
    {"fallow_arena_split", do_arena_split, 1},
    {"fallow_arena_commit", do_arena_commit, 1},
    {"fallow_arena_decommit", do_arena_decommit, 1},
    {"fallow_arena_owns", do_arena_owns, 1},
    {"fallow_arena_run_of", do_arena_run_of, 1},
    {"fallow_arena_trim", do_arena_trim, 1},
    {"fallow_arena_flush_thread", do_arena_flush_thread, 1},
    {"fallow_arena_scavenge", do_arena_scavenge, 1},
    {"fallow_pressure_watch", do_pressure_watch, 1},
    {"fallow_arena_read_stats", do_arena_read_stats, 1},
    {"fallow_stats_write", do_stats_write, 4},
    {"fallow_arena_write_map", do_arena_write_map, 4},
    {"fallow_fork_register", do_fork_register, 1},
    {"fallow_arena_check", do_arena_check, 2},
    {"fallow_set_log", do_set_log, 1},
    {"fallow_system_info", do_system_info, 1},
    {"fallow_process_info", do_process_info, 4},
    {"fallow_process_explain", do_process_explain, 8},
};

#define ACTIONS ((unsigned)(sizeof actions / sizeof actions[0]))

static atomic_ullong calls[sizeof actions / sizeof actions[0]];

/* --- threads ------------------------------------------------------------------------------------------------------- */

/* The thread's runs are another's to free; what the board has no room for, it frees itself. */
static void leave_runs(worker *w)
{
    while (w->run_count != 0) {
        unsigned place = atomic_fetch_add(&w->f->left_count, 1);
        if (place >= BOARD) {
            drop(w, &w->runs[0]);
            continue;
        }
        w->f->left[place] = w->runs[0];
        forget(w, &w->runs[0]);
        atomic_store(&w->f->board[place], &w->f->left[place]);
    }
}

static void free_what_is_left(worker *w)
{
    for (unsigned place = 0; place < BOARD; place++) {
        held *h = atomic_exchange(&w->f->board[place], NULL);
        if (h != NULL) {
            fallow_arena_free(arena_of(w, h), h->run.base, h->run.size_bytes);
        }
    }
}

static void perform(worker *w, unsigned number)
{
    actions[number].run(w);
    atomic_fetch_add_explicit(&w->f->calls[number], 1, memory_order_relaxed);
}

static void work(void *context, unsigned index)
{
    field *f = context;
    worker w = {.f = f, .index = index, .random = {f->seed * 1000 + index}};
    uint64_t steps = 1 + test_below(&w.random, STEPS_MOST); /* so threads end at any moment of the others */
    pest_bite_me(true);
    for (uint64_t step = 0; step < steps; step++) {
        unsigned number = (unsigned)test_below(&w.random, ACTIONS);
        if (test_below(&w.random, actions[number].rarely) == 0) {
            perform(&w, number);
        }
    }
    free_what_is_left(&w);
    leave_runs(&w);
    if (f->only < ACTIONS) { /* with something in its cache, and this as its last deed */
        do_arena_alloc(&w);
        do_arena_free(&w);
        perform(&w, f->only);
        leave_runs(&w);
    }
    pest_bite_me(false);
}

static void make_arenas(field *f)
{
    const fallow_scavenge modes[ARENAS] = {FALLOW_SCAVENGE_ASSIST, FALLOW_SCAVENGE_THREAD, FALLOW_SCAVENGE_OFF};
    const size_t caches[ARENAS] = {0, MIB, FALLOW_CACHE_NONE};
    for (unsigned i = 0; i < ARENAS; i++) {
        fallow_arena_options options = {.reserve_bytes = 64 * MIB,
                                        .page_bytes = 64 * KIB,
                                        .thread_cache_bytes = caches[i],
                                        .scavenge = modes[i],
                                        .purge_delay_ms = 1,
                                        .name = "shared"};
        assert_int_equal(fallow_arena_create(&options, &f->arenas[i]), FALLOW_OK);
    }
}

static void begin(field *f, uint64_t seed)
{
    memset(f, 0, sizeof *f);
    f->seed = seed;
    f->only = ACTIONS;
    f->calls = calls;
    make_arenas(f);
    size_t region_bytes = THREADS_MAX * OWN_PAGES * facts.page_bytes;
    assert_int_equal(fallow_region_reserve(region_bytes, NULL, &f->region), FALLOW_OK);
}

static void end(field *f)
{
    worker last = {.f = f};
    free_what_is_left(&last);
    fallow_set_log(NULL, NULL);
    unsigned line = atomic_load(&f->failed);
    if (line != 0) {
        fail_msg("%s:%u", __FILE__, line);
    }
    for (unsigned i = 0; i < ARENAS; i++) {
        fallow_arena_stats s;
        fallow_arena_flush_thread(f->arenas[i]);
        fallow_arena_read_stats(f->arenas[i], &s);
        assert_int_equal(s.in_use_bytes, 0);
        assert_int_equal(s.run_count, 0);
        assert_int_equal(s.cached_bytes, 0);
        assert_int_equal(fallow_arena_check(f->arenas[i]), FALLOW_OK);
        fallow_arena_destroy(f->arenas[i]);
    }
    assert_int_equal(fallow_region_release(&f->region), FALLOW_OK);
}

static void run_waves(const char *name)
{
    static field f;
    test_random seed = test_seed(name);
    unsigned long long least = UINT64_MAX;
    unsigned long long all = 0;
    memset(calls, 0, sizeof calls);
    for (unsigned wave = 0; wave < WAVES; wave++) {
        begin(&f, test_next(&seed));
        threads_run(THREADS_MAX, work, &f);
        end(&f);
    }
    for (unsigned i = 0; i < ACTIONS; i++) {
        unsigned long long count = atomic_load(&calls[i]);
        if (count == 0) {
            fail_msg("%s was never called", actions[i].name);
        }
        least = count < least ? count : least;
        all += count;
    }
    print_message("%u functions, %llu calls, each at least %llu times\n", ACTIONS, all, least);
}

/* --- the tests ----------------------------------------------------------------------------------------------------- */

static void every_function_from_64_threads(void **state)
{
    (void)state;
    run_waves("every_function");
}

/* Two threads whose last deed is one of the functions, for each of them. */
static void a_thread_ends_after_each(void **state)
{
    (void)state;
    static field f;
    test_random seed = test_seed("a_thread_ends");
    begin(&f, test_next(&seed));
    for (unsigned number = 0; number < ACTIONS; number++) {
        f.only = number;
        f.seed = test_next(&seed);
        threads_run(2, work, &f);
    }
    end(&f);
}

/* Threads that have used an arena rest while it is destroyed, and go on with others. */
typedef struct resting {
    field *f;
    atomic_uint ready;
    atomic_bool is_over;
} resting;

static void use_and_rest(void *context, unsigned index)
{
    resting *r = context;
    if (index == 0) {
        while (atomic_load(&r->ready) != THREADS_MAX - 1) {
            fallow__os_yield();
        }
        for (unsigned i = 0; i < ARENAS; i++) {
            fallow_arena_destroy(r->f->arenas[i]);
        }
        make_arenas(r->f);
        atomic_store(&r->is_over, true);
        return;
    }
    worker w = {.f = r->f, .index = index, .random = {index}};
    do_arena_alloc(&w);
    do_arena_free(&w);
    atomic_fetch_add(&r->ready, 1);
    while (!atomic_load(&r->is_over)) {
        fallow__os_yield();
    }
    if (index % 2 == 0) { /* the others end with a cache whose arena is gone */
        do_arena_alloc(&w);
        do_arena_free(&w);
    }
}

static void destroyed_while_others_rest(void **state)
{
    (void)state;
    static field f;
    resting r = {.f = &f};
    begin(&f, 1);
    threads_run(THREADS_MAX, use_and_rest, &r);
    end(&f);
}

static void while_signals_arrive(bool is_restarting)
{
    if (!pest_begin(is_restarting)) {
        print_message("skipped: this system has no signals\n");
        skip();
    }
    run_waves(is_restarting ? "signals_restarting" : "signals");
    unsigned long long count = pest_end();
    print_message("%llu signals\n", count);
    assert_true(count != 0);
}

static void while_signals_arrive_and_calls_restart(void **state)
{
    (void)state;
    while_signals_arrive(true);
}

static void while_signals_arrive_and_interrupt(void **state)
{
    (void)state;
    while_signals_arrive(false);
}

int main(void)
{
    test_begin();
    fallow_system_info(&facts);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_function_from_64_threads),     cmocka_unit_test(a_thread_ends_after_each),
        cmocka_unit_test(destroyed_while_others_rest),        cmocka_unit_test(while_signals_arrive_and_calls_restart),
        cmocka_unit_test(while_signals_arrive_and_interrupt),
    };
    return cmocka_run_group_tests_name("stress_api", tests, NULL, NULL);
}
