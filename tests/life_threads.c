/* A life with threads: program threads that come and go share the arenas, and the simulation draws who goes on at every
 * call of the system (sim_os.h, SIM_INTERLEAVED). The operations are the same list; a thread that is done with one takes
 * the next.
 *
 * What can be said of an operation depends on what else was under way in its arena meanwhile:
 *
 *   always      a run overlaps no other, lies where and as it was asked to, holds what was written to it or zero; is_zero
 *               is true only of zeros; a failure has a cause, leaves the run as it was, and is this thread's last one; the
 *               identities of the figures hold; the arena passes its own check
 *   alone       (nothing else was under way in the arena from its beginning to its end) without caches the place is the
 *               lowest, exactly; EXHAUSTED only where there is no place; the figures are those of the runs
 *   all quiet   (nothing is under way anywhere) the system charges exactly what is committed
 *
 * The thread that began does none of it: what is left in its thread-local variables would not come back with the seed.
 * A thread that works on a run has taken it from the others; what it frees is nobody's before the call, because another
 * may get it before that returns. Nothing here is locked: one thread runs at a time, and the turn changes in calls of the
 * library only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fallow.h"
#include "life.h"
#include "test.h"
#include "trial.h"
#include "world.h"

enum {
    ARENAS_MAX = 3,
    RUNS_MAX = 200,
    THREADS_MAX = 6, /* besides the one that began */
    PAGES_MAX = 600,
    CLEARED_BYTES_MAX = 128 << 10,
    CACHE_BYTES_LEAST = 256 << 10 /* less is no cache */
};

/* What a page of a run is. */
enum {
    PAGE_NONE = 0,    /* not accessible */
    PAGE_ZERO = 1,    /* nothing was written since it was zero */
    PAGE_UNKNOWN = 2, /* old bytes */
    PAGE_DOUBT = 3,   /* the system has failed halfway: accessible or not */
    PAGE_STAMP = 4    /* this stamp, and above */
};

typedef struct run {
    unsigned char *base;
    uint64_t count;
    uint32_t *pages;
    bool is_busy; /* a thread works on it */
} run;

typedef struct shared_arena {
    fallow_arena *arena;
    fallow_arena_options options;
    bool is_closed;      /* it is made or destroyed just now */
    unsigned under_way;  /* operations */
    uint64_t begun;      /* operations, ever */
    unsigned char *base; /* of the first part; pages */
    uint64_t page_count;
    size_t granted_bytes; /* by the callbacks, less what was taken back */
    uint64_t grants_passed;
    uint64_t grants_refused;
    uint64_t refusals; /* of the callback, ever */
    size_t run_count;
    run *runs[RUNS_MAX];
} shared_arena;

/* One operation of one thread. */
typedef struct work {
    life_op op;
    test_random random;
    shared_arena *a;
    bool was_alone; /* when it began */
    uint64_t number;
    uint64_t refused; /* by the world and the callback, when it began */
} work;

static struct {
    life_options options;
    const life_op *ops;
    size_t op_count;
    size_t next_op;
    shared_arena arenas[ARENAS_MAX];
    unsigned under_way;
    uint64_t begun;
    uint32_t next_stamp;
    uint64_t first_refused;
    bool has_lied;
    bool is_child; /* this process is the child of a fork: it looks, and ends */
    fallow_system facts;
    struct {
        world_thread thread;
        bool is_started;
        bool has_ended;
        bool is_awaited; /* another joins it */
    } threads[THREADS_MAX];
    jmp_buf out;
    char complaint[512];
} life;

/* --- complaints -------------------------------------------------------------------------------------------- */

static void jump_out(void)
{
    longjmp(life.out, 1);
}

static void complain_as(const work *w, const char *format, ...) __attribute__((noreturn)) TEST_FORMAT(2, 3);

static void complain_as(const work *w, const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (w != NULL) {
        snprintf(life.complaint, sizeof life.complaint, "op %u (%s), thread %u: %s", (unsigned)w->op.number,
                 life_kind_name((life_kind)w->op.kind), world_self(), text);
    } else {
        snprintf(life.complaint, sizeof life.complaint, "thread %u: %s", world_self(), text);
    }
    if (life.is_child) { /* the thread that would jump out is not here */
        printf("in the child of a fork: %s\n", life.complaint);
        fflush(NULL);
        _Exit(1);
    }
    world_give_up(jump_out);
}

static void stopped(const char *complaint)
{
    complain_as(NULL, "%s", complaint);
}

#define CHECK(condition, ...)            \
    do {                                 \
        if (!(condition)) {              \
            complain_as(w, __VA_ARGS__); \
        }                                \
    } while (0)

#define SAME(what, a, b)                                       \
    do {                                                       \
        unsigned long long a_ = (a);                           \
        unsigned long long b_ = (b);                           \
        CHECK(a_ == b_, what ": %llu, expected %llu", a_, b_); \
    } while (0)

static void trace(const work *w, const char *format, ...) TEST_FORMAT(2, 3);

static void trace(const work *w, const char *format, ...)
{
    if (!life.options.is_traced) {
        return;
    }
    va_list arguments;
    printf("%6u  thread %u  ", (unsigned)w->op.number, world_self());
    if (w->a != NULL) {
        printf("arena %d  ", (int)(w->a - life.arenas));
    }
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

/* --- an operation's beginning and end ---------------------------------------------------------------------- */

static uint64_t refusals_of(const shared_arena *a)
{
    return world_refused() + (a != NULL ? a->refusals : 0);
}

static void work_begin(work *w)
{
    w->was_alone = w->a->under_way == 0;
    w->number = ++w->a->begun;
    w->refused = refusals_of(w->a);
    w->a->under_way++;
    life.under_way++;
    life.begun++;
}

static void work_end(work *w)
{
    w->a->under_way--;
    life.under_way--;
}

/* Nothing else was under way in the arena. */
static bool is_alone(const work *w)
{
    return w->was_alone && w->a->begun == w->number;
}

static bool was_refused(const work *w)
{
    return refusals_of(w->a) != w->refused;
}

static bool before_commit(void *context, void *base, size_t size_bytes)
{
    shared_arena *a = context;
    (void)base;
    if (a->grants_passed > 0) {
        a->grants_passed--;
    } else if (a->grants_refused > 0) {
        a->grants_refused--;
        a->refusals++;
        return false;
    }
    a->granted_bytes += size_bytes;
    return true;
}

static void after_decommit(void *context, void *base, size_t size_bytes)
{
    shared_arena *a = context;
    (void)base;
    a->granted_bytes -= size_bytes;
}

/* --- runs and what they hold ------------------------------------------------------------------------------- */

static run *run_create(unsigned char *base, uint64_t count, uint32_t page)
{
    run *r = malloc(sizeof *r);
    uint32_t *pages = malloc((size_t)count * sizeof pages[0]);
    if (r == NULL || pages == NULL) {
        abort();
    }
    for (uint64_t index = 0; index < count; index++) {
        pages[index] = page;
    }
    *r = (run){base, count, pages, false};
    return r;
}

static void run_destroy(run *r)
{
    free(r->pages);
    free(r);
}

static void runs_forget(shared_arena *a)
{
    while (a->run_count > 0) {
        run_destroy(a->runs[--a->run_count]);
    }
}

static size_t page_bytes_of(const shared_arena *a)
{
    return a->options.page_bytes;
}

static uint64_t stamp_word(uint32_t stamp, const unsigned char *page)
{
    return (stamp * UINT64_C(0x9e3779b97f4a7c15)) ^ (uintptr_t)page;
}

static void look_page(const work *w, const unsigned char *page, uint32_t kind)
{
    uint64_t words[2];
    uint64_t expected = kind == PAGE_ZERO ? 0 : stamp_word(kind, page);
    if (kind == PAGE_NONE || kind == PAGE_UNKNOWN || kind == PAGE_DOUBT) {
        return;
    }
    memcpy(&words[0], page, sizeof words[0]);
    memcpy(&words[1], page + 512, sizeof words[1]);
    CHECK(words[0] == expected && words[1] == expected, "the page at %p holds %llx and %llx instead of %llx",
          (const void *)page, (unsigned long long)words[0], (unsigned long long)words[1], (unsigned long long)expected);
}

static void look(const work *w, const run *r)
{
    for (uint64_t index = 0; index < r->count; index++) {
        look_page(w, r->base + index * page_bytes_of(w->a), r->pages[index]);
    }
}

static void stamp(const work *w, run *r, uint64_t first, uint64_t count)
{
    uint32_t value = life.next_stamp++;
    for (uint64_t index = first; index < first + count; index++) {
        if (r->pages[index] != PAGE_NONE && r->pages[index] != PAGE_DOUBT) {
            unsigned char *page = r->base + index * page_bytes_of(w->a);
            uint64_t word = stamp_word(value, page);
            memcpy(page, &word, sizeof word);
            memcpy(page + 512, &word, sizeof word);
            r->pages[index] = value;
        }
    }
}

/* Pages that have come to somebody belong to nobody else. */
static void check_nobodys(const work *w, const unsigned char *base, uint64_t count)
{
    const unsigned char *end = base + (size_t)count * page_bytes_of(w->a);
    for (int index = 0; index < ARENAS_MAX; index++) {
        const shared_arena *a = &life.arenas[index];
        for (size_t other = 0; other < a->run_count; other++) {
            const run *r = a->runs[other];
            CHECK(end <= r->base || base >= r->base + (size_t)r->count * page_bytes_of(a),
                  "[%p, %p) overlaps the run at %p", (const void *)base, (const void *)end, (void *)r->base);
        }
    }
    CHECK(fallow_arena_owns(w->a->arena, base) && fallow_arena_owns(w->a->arena, end - 1), "a run outside the arena");
}

/* A run that no other thread works on; NULL: there is none. It is the caller's until it says otherwise. */
static run *run_pick(work *w)
{
    const shared_arena *a = w->a;
    for (size_t tries = 0; a->run_count > 0 && tries < 4; tries++) {
        run *r = a->runs[test_below(&w->random, a->run_count)];
        if (!r->is_busy) {
            r->is_busy = true;
            return r;
        }
    }
    return NULL;
}

static void run_take_out(shared_arena *a, const run *r)
{
    size_t index = 0;
    while (a->runs[index] != r) {
        index++;
    }
    a->runs[index] = a->runs[--a->run_count];
}

static size_t spelled(work *w, uint64_t count)
{
    return (size_t)count * page_bytes_of(w->a) -
           test_below(&w->random, 2) * test_below(&w->random, page_bytes_of(w->a));
}

/* --- where a run should be --------------------------------------------------------------------------------- */

/* Whether the model knows every page: one part that stays one, nothing in a cache. */
static bool is_exact(const work *w)
{
    const fallow_arena_options *o = &w->a->options;
    return is_alone(w) && !was_refused(w) && o->thread_cache_bytes == FALLOW_CACHE_NONE && o->limit_bytes == 0 &&
           (o->flags & FALLOW_ARENA_FIXED) != 0;
}

static bool is_fit(const bool *used, const shared_arena *a, uint64_t first, uint64_t count, size_t align_bytes)
{
    if (align_bytes != 0 && (uintptr_t)(a->base + first * page_bytes_of(a)) % align_bytes != 0) {
        return false;
    }
    for (uint64_t page = first; page < first + count; page++) {
        if (used[page]) {
            return false;
        }
    }
    return true;
}

/* The lowest or highest fit by trying all; NULL: none. `without` is left out of account. */
static unsigned char *find(const work *w, uint64_t count, const fallow_run_options *options, const run *without)
{
    const shared_arena *a = w->a;
    bool used[PAGES_MAX] = {false};
    bool is_top_down = (options->flags & FALLOW_RUN_TOP_DOWN) != 0;
    if (count > a->page_count) {
        return NULL;
    }
    for (size_t index = 0; index < a->run_count; index++) {
        const run *r = a->runs[index];
        for (uint64_t page = 0; r != without && page < r->count; page++) {
            used[(size_t)(r->base - a->base) / page_bytes_of(a) + page] = true;
        }
    }
    for (uint64_t step = 0; step <= a->page_count - count; step++) {
        uint64_t first = is_top_down ? a->page_count - count - step : step;
        unsigned char *place = a->base + first * page_bytes_of(a);
        if ((options->at == NULL || options->at == place) && is_fit(used, a, first, count, options->align_bytes)) {
            return place;
        }
    }
    return NULL;
}

/* --- failures ---------------------------------------------------------------------------------------------- */

static bool is_the_worlds(fallow_status status)
{
    return status == FALLOW_ERR_ADDRESS_SPACE || status == FALLOW_ERR_COMMIT || status == FALLOW_ERR_MAP_COUNT ||
           status == FALLOW_ERR_LOCKED || status == FALLOW_ERR_PERMISSION || status == FALLOW_ERR_OS ||
           status == FALLOW_ERR_UNSUPPORTED;
}

static void check_failure(const work *w, fallow_status status)
{
    fallow_failure failure;
    const fallow_arena_options *o = &w->a->options;
    CHECK(fallow_last_failure(&failure) && failure.status == status, "the last failure of this thread is another");
    if (status == FALLOW_ERR_LIMIT) {
        CHECK(o->limit_bytes != 0 || was_refused(w), "LIMIT without a limit");
    } else if (status != FALLOW_ERR_EXHAUSTED) {
        CHECK(is_the_worlds(status), "unexpected %s", fallow_status_name(status));
        CHECK(was_refused(w), "%s, and nothing was refused", fallow_status_name(status));
    }
}

/* --- operations -------------------------------------------------------------------------------------------- */

static uint64_t random_count(work *w)
{
    switch (test_below(&w->random, 8)) {
    case 0: return 1 + test_below(&w->random, w->a->page_count + 4);
    case 1: return 1 + test_below(&w->random, w->a->page_count / 8 + 1);
    case 2: return 1 + test_below(&w->random, 16);
    default: return 1 + test_below(&w->random, 4);
    }
}

static fallow_run_options random_options(work *w, uint64_t count)
{
    fallow_run_options o = {0};
    uint64_t dice = test_next(&w->random);
    bool is_much = count * page_bytes_of(w->a) > CLEARED_BYTES_MAX;
    o.flags |= (dice & 3) == 0 && !is_much ? FALLOW_RUN_ZEROED : 0;
    o.flags |= (dice >> 2 & 3) == 0 ? FALLOW_RUN_TOP_DOWN : 0;
    o.flags |= (dice >> 4 & 7) == 0 ? FALLOW_RUN_NO_GROW : 0;
    o.flags |= (dice >> 7 & 7) == 0 ? FALLOW_RUN_NO_CACHE : 0;
    if ((dice >> 10 & 7) == 0) {
        o.flags = (o.flags & ~(uint32_t)(FALLOW_RUN_ZEROED | FALLOW_RUN_NO_GROW)) | FALLOW_RUN_UNCOMMITTED;
    }
    if ((dice >> 13 & 7) == 0) {
        o.align_bytes = page_bytes_of(w->a) << test_below(&w->random, 5);
    }
    if ((dice >> 16 & 15) == 0) {
        o.at = w->a->base + test_below(&w->random, w->a->page_count) * page_bytes_of(w->a);
        o.align_bytes = 0;
    }
    return o;
}

/* The lie of a planted fault: a page of the run holds something else. */
static void lie(work *w, run *r)
{
    if (w->op.number >= life.options.lie_at && !life.has_lied && r->pages[0] != PAGE_NONE) {
        life.has_lied = true;
        r->pages[0] = PAGE_STAMP - 1 + UINT32_MAX / 2;
    }
}

static void check_place(work *w, const fallow_run *got, uint64_t count, const fallow_run_options *options)
{
    SAME("size", got->size_bytes, count * page_bytes_of(w->a));
    CHECK((uintptr_t)got->base % page_bytes_of(w->a) == 0, "not on a page");
    CHECK(options->align_bytes == 0 || (uintptr_t)got->base % options->align_bytes == 0, "not aligned");
    CHECK(options->at == NULL || got->base == options->at, "another place than `at`");
    check_nobodys(w, got->base, count);
    if (is_exact(w) && (options->flags & FALLOW_RUN_NO_GROW) == 0) {
        unsigned char *expected = find(w, count, options, NULL);
        CHECK(got->base == expected, "at %p instead of %p", got->base, (void *)expected);
    }
}

static bool do_alloc(work *w, uint64_t count, const fallow_run_options *options, bool is_plain)
{
    shared_arena *a = w->a;
    fallow_run got = {0};
    if (a->run_count + THREADS_MAX + 1 >= RUNS_MAX) {
        return false;
    }
    work_begin(w);
    fallow_status status;
    if (is_plain) {
        status = fallow_arena_alloc(a->arena, spelled(w, count), &got.base);
        got.size_bytes = (size_t)count * page_bytes_of(a);
    } else {
        status = fallow_arena_alloc_run(a->arena, spelled(w, count), options, &got);
    }
    trace(w, "alloc %llu pages, align %zu, flags %#x, at %p: %s %p", (unsigned long long)count, options->align_bytes,
          (unsigned)options->flags, options->at, fallow_status_name(status), got.base);
    if (status != FALLOW_OK) {
        CHECK(got.base == NULL, "a failure has written to its result");
        check_failure(w, status);
        CHECK(status != FALLOW_ERR_EXHAUSTED || !is_exact(w) || (options->flags & FALLOW_RUN_NO_GROW) != 0 ||
                  find(w, count, options, NULL) == NULL,
              "EXHAUSTED, and there is a place");
        work_end(w);
        return false;
    }
    check_place(w, &got, count, options);
    bool is_committed = (options->flags & FALLOW_RUN_UNCOMMITTED) == 0;
    bool is_zero = !is_plain && (got.is_zero || (options->flags & FALLOW_RUN_ZEROED) != 0);
    CHECK(is_plain || got.is_zero || (options->flags & FALLOW_RUN_ZEROED) == 0, "ZEROED, and is_zero is false");
    run *r = run_create(got.base, count, is_committed ? is_zero ? PAGE_ZERO : PAGE_UNKNOWN : PAGE_NONE);
    a->runs[a->run_count++] = r;
    look(w, r);
    if (w->op.seed % 8 != 0) {
        stamp(w, r, 0, count);
    }
    lie(w, r);
    work_end(w);
    return true;
}

static bool op_alloc(work *w)
{
    const fallow_run_options plain = {0};
    return do_alloc(w, random_count(w), &plain, true);
}

static bool op_alloc_run(work *w)
{
    uint64_t count = random_count(w);
    fallow_run_options options = random_options(w, count);
    return do_alloc(w, count, &options, false);
}

static bool op_free(work *w)
{
    run *r = run_pick(w);
    if (r == NULL) {
        return false;
    }
    look(w, r);
    run_take_out(w->a, r);
    trace(w, "free %p, %llu pages", (void *)r->base, (unsigned long long)r->count);
    work_begin(w);
    fallow_arena_free(w->a->arena, r->base, spelled(w, r->count));
    work_end(w);
    run_destroy(r);
    return true;
}

static bool op_free_many(work *w)
{
    size_t count = 1 + test_below(&w->random, 1 + w->a->run_count);
    bool is_done = false;
    while (count-- > 0 && op_free(w)) {
        is_done = true;
    }
    return is_done;
}

static bool op_split(work *w)
{
    shared_arena *a = w->a;
    run *r = run_pick(w);
    if (r == NULL) {
        return false;
    }
    if (r->count < 2 || a->run_count + THREADS_MAX + 1 >= RUNS_MAX) {
        r->is_busy = false;
        return false;
    }
    uint64_t first = 1 + test_below(&w->random, r->count - 1);
    trace(w, "split %p, %llu pages behind %llu", (void *)r->base, (unsigned long long)r->count,
          (unsigned long long)first);
    work_begin(w);
    fallow_arena_split(a->arena, r->base, spelled(w, r->count), (size_t)first * page_bytes_of(a));
    run *second = run_create(r->base + first * page_bytes_of(a), r->count - first, PAGE_NONE);
    memcpy(second->pages, r->pages + first, (size_t)second->count * sizeof r->pages[0]);
    a->runs[a->run_count++] = second;
    r->count = first;
    r->is_busy = false;
    work_end(w);
    return true;
}

static bool op_shrink(work *w)
{
    run *r = run_pick(w);
    if (r == NULL) {
        return false;
    }
    uint64_t old_count = r->count;
    r->count = 1 + test_below(&w->random, old_count);
    trace(w, "shrink %p, %llu pages to %llu", (void *)r->base, (unsigned long long)old_count,
          (unsigned long long)r->count);
    work_begin(w);
    fallow_arena_shrink(w->a->arena, r->base, (size_t)old_count * page_bytes_of(w->a), spelled(w, r->count));
    r->is_busy = false;
    work_end(w);
    return true;
}

static bool op_extend(work *w)
{
    shared_arena *a = w->a;
    run *r = run_pick(w);
    if (r == NULL) {
        return false;
    }
    uint64_t more = test_below(&w->random, 8);
    unsigned char *end = r->base + (size_t)r->count * page_bytes_of(a);
    work_begin(w);
    fallow_status status =
        fallow_arena_extend(a->arena, r->base, spelled(w, r->count), (size_t)(r->count + more) * page_bytes_of(a));
    trace(w, "extend %p, %llu pages by %llu: %s", (void *)r->base, (unsigned long long)r->count,
          (unsigned long long)more, fallow_status_name(status));
    fallow_run_options options = {.at = end};
    if (status != FALLOW_OK) {
        check_failure(w, status);
        CHECK(status != FALLOW_ERR_EXHAUSTED || !is_exact(w) || find(w, more, &options, NULL) == NULL,
              "EXHAUSTED, and there is room");
    } else if (more > 0) {
        check_nobodys(w, end, more);
        uint32_t last = r->pages[r->count - 1];
        uint32_t *pages = realloc(r->pages, (size_t)(r->count + more) * sizeof pages[0]);
        if (pages == NULL) {
            abort();
        }
        for (uint64_t index = r->count; index < r->count + more; index++) {
            pages[index] = last == PAGE_NONE || last == PAGE_DOUBT ? last : PAGE_UNKNOWN;
        }
        r->pages = pages;
        r->count += more;
        stamp(w, r, r->count - more, more);
    }
    look(w, r);
    r->is_busy = false;
    work_end(w);
    return status == FALLOW_OK;
}

/* A range of a run that is the caller's. */
static void random_range(work *w, const run *r, uint64_t *first_out, uint64_t *count_out)
{
    *first_out = test_below(&w->random, 2) == 0 ? 0 : test_below(&w->random, r->count);
    *count_out = 1 + test_below(&w->random, r->count - *first_out);
}

static bool op_commit(work *w)
{
    shared_arena *a = w->a;
    uint64_t first;
    uint64_t count;
    run *r = run_pick(w);
    if (r == NULL) {
        return false;
    }
    random_range(w, r, &first, &count);
    work_begin(w);
    fallow_status status =
        fallow_arena_commit(a->arena, r->base + first * page_bytes_of(a), (size_t)count * page_bytes_of(a));
    trace(w, "commit %p, page %llu, %llu pages: %s", (void *)r->base, (unsigned long long)first,
          (unsigned long long)count, fallow_status_name(status));
    if (status != FALLOW_OK) {
        check_failure(w, status);
    }
    for (uint64_t index = first; status == FALLOW_OK && index < first + count; index++) {
        uint32_t *page = &r->pages[index];
        *page = *page == PAGE_NONE ? PAGE_ZERO : *page == PAGE_DOUBT ? PAGE_UNKNOWN : *page;
    }
    look(w, r);
    r->is_busy = false;
    work_end(w);
    return status == FALLOW_OK;
}

static bool op_decommit(work *w)
{
    shared_arena *a = w->a;
    uint64_t first;
    uint64_t count;
    run *r = run_pick(w);
    if (r == NULL) {
        return false;
    }
    random_range(w, r, &first, &count);
    work_begin(w);
    fallow_status status =
        fallow_arena_decommit(a->arena, r->base + first * page_bytes_of(a), (size_t)count * page_bytes_of(a));
    trace(w, "decommit %p, page %llu, %llu pages: %s", (void *)r->base, (unsigned long long)first,
          (unsigned long long)count, fallow_status_name(status));
    if (status != FALLOW_OK) {
        check_failure(w, status);
    }
    for (uint64_t index = first; index < first + count; index++) {
        r->pages[index] = status == FALLOW_OK ? PAGE_NONE : r->pages[index] != PAGE_NONE ? PAGE_DOUBT : PAGE_NONE;
    }
    look(w, r);
    r->is_busy = false;
    work_end(w);
    return status == FALLOW_OK;
}

static bool op_write(work *w)
{
    run *r = run_pick(w);
    if (r == NULL) {
        return false;
    }
    look(w, r);
    stamp(w, r, 0, r->count);
    r->is_busy = false;
    return true;
}

static bool op_look(work *w)
{
    for (size_t index = 0; index < w->a->run_count; index++) {
        if (!w->a->runs[index]->is_busy) {
            look(w, w->a->runs[index]);
        }
    }
    return true;
}

static bool op_run_of(work *w)
{
    run *r = run_pick(w);
    fallow_run found = {0};
    if (r == NULL) {
        return false;
    }
    work_begin(w);
    const unsigned char *address = r->base + test_below(&w->random, (size_t)r->count * page_bytes_of(w->a));
    CHECK(fallow_arena_run_of(w->a->arena, address, &found) == FALLOW_OK, "run_of knows no run at %p",
          (const void *)address);
    CHECK(found.base == r->base, "run_of: %p instead of %p", found.base, (void *)r->base);
    SAME("size of run_of", found.size_bytes, r->count * page_bytes_of(w->a));
    r->is_busy = false;
    work_end(w);
    return true;
}

static bool op_invalid(work *w)
{
    fallow_run found = {0};
    work_begin(w);
    fallow_status status = fallow_arena_alloc_run(w->a->arena, 0, NULL, &found);
    fallow_failure failure;
    CHECK(status == FALLOW_ERR_INVALID && found.base == NULL, "not INVALID");
    CHECK(fallow_last_failure(&failure) && failure.status == FALLOW_ERR_INVALID, "the last failure is another");
    work_end(w);
    return true;
}

static bool op_trim(work *w)
{
    size_t released_bytes = 42;
    size_t keep_bytes = test_below(&w->random, 2) * test_below(&w->random, 64) * page_bytes_of(w->a);
    work_begin(w);
    fallow_status status = fallow_arena_trim(w->a->arena, keep_bytes, &released_bytes);
    trace(w, "trim to %zu: %s, %zu released", keep_bytes, fallow_status_name(status), released_bytes);
    if (status != FALLOW_OK) {
        check_failure(w, status);
    } else if (is_alone(w) && !was_refused(w)) {
        fallow_arena_stats s;
        fallow_arena_read_stats(w->a->arena, &s);
        CHECK(!is_alone(w) || s.retained_bytes <= keep_bytes, "more is retained than was to be kept");
    }
    work_end(w);
    return status == FALLOW_OK;
}

static bool op_scavenge(work *w)
{
    size_t released_bytes = 42;
    work_begin(w);
    fallow_status status = fallow_arena_scavenge(w->a->arena, test_below(&w->random, 1 << 20), &released_bytes);
    trace(w, "scavenge: %s, %zu released", fallow_status_name(status), released_bytes);
    if (status != FALLOW_OK) {
        check_failure(w, status);
    }
    work_end(w);
    return status == FALLOW_OK;
}

static bool op_flush(work *w)
{
    work_begin(w);
    fallow_arena_flush_thread(w->a->arena);
    trace(w, "flush");
    work_end(w);
    return true;
}

/* --- figures ----------------------------------------------------------------------------------------------- */

static void check_identities(const work *w, const fallow_arena_stats *s)
{
    SAME("backed", s->backed_bytes,
         s->in_use_bytes + s->cached_bytes + s->retained_bytes + s->released_lazy_bytes + s->metadata_bytes);
    SAME("committed", s->committed_bytes, s->backed_bytes + s->released_zero_bytes);
    CHECK(s->reserved_bytes >= s->committed_bytes, "more is committed than reserved");
    CHECK(s->peak_in_use_bytes >= s->in_use_bytes + s->cached_bytes, "the peak is below what is in use");
    CHECK(w->a->options.limit_bytes == 0 || s->backed_bytes <= w->a->options.limit_bytes, "backed is above the limit");
}

/* The figures are those of the runs; nothing is under way. */
static void check_runs(const work *w, const fallow_arena_stats *s)
{
    const shared_arena *a = w->a;
    uint64_t accessible = 0;
    uint64_t inaccessible = 0;
    uint64_t doubt = 0;
    for (size_t index = 0; index < a->run_count; index++) {
        const run *r = a->runs[index];
        for (uint64_t page = 0; page < r->count; page++) {
            *(r->pages[page] == PAGE_NONE ? &inaccessible : r->pages[page] == PAGE_DOUBT ? &doubt : &accessible) += 1;
        }
    }
    SAME("runs", s->run_count, a->run_count);
    SAME("pages of runs", (s->in_use_bytes + s->uncommitted_bytes) / page_bytes_of(a),
         accessible + inaccessible + doubt);
    CHECK(s->in_use_bytes >= accessible * page_bytes_of(a) && s->uncommitted_bytes >= inaccessible * page_bytes_of(a),
          "in use: %zu, expected %llu pages and up to %llu more", s->in_use_bytes, (unsigned long long)accessible,
          (unsigned long long)doubt);
    if (a->options.before_commit != NULL) {
        SAME("granted by the callbacks", a->granted_bytes, s->committed_bytes);
    }
    if (a->options.thread_cache_bytes == FALLOW_CACHE_NONE) {
        SAME("cached", s->cached_bytes, 0);
    }
}

/* Half a decommit leaves a charge. */
static void check_charge(const work *w)
{
    uint64_t charge;
    uint64_t committed = 0;
    uint64_t begun = life.begun;
    for (int index = 0; index < ARENAS_MAX; index++) {
        fallow_arena_stats s;
        shared_arena *a = &life.arenas[index];
        if (a->arena != NULL && !a->is_closed) {
            a->under_way++; /* or it may be destroyed meanwhile */
            fallow_arena_read_stats(a->arena, &s);
            a->under_way--;
            committed += s.committed_bytes;
        }
    }
    if (life.begun == begun && world_refused() == life.first_refused && world_charge(&charge)) {
        SAME("the system's charge", charge, committed);
    }
}

static bool op_check(work *w)
{
    fallow_arena_stats s;
    work_begin(w);
    CHECK(fallow_arena_check(w->a->arena) == FALLOW_OK, "fallow_arena_check says no");
    fallow_arena_read_stats(w->a->arena, &s);
    check_identities(w, &s);
    if (is_alone(w)) {
        check_runs(w, &s);
    }
    if (life.under_way == 1) {
        check_charge(w);
    }
    trace(w, "check%s", is_alone(w) ? ", alone" : "");
    work_end(w);
    return true;
}

/* --- arenas come and go ------------------------------------------------------------------------------------ */

static fallow_arena_options random_arena_options(work *w)
{
    test_random *random = &w->random;
    shared_arena *a = w->a;
    size_t page = life.facts.page_bytes << test_below(random, 2);
    uint64_t page_count =
        test_below(random, 8) == 0 ? 400 + test_below(random, PAGES_MAX - 400) : 8 + test_below(random, 120);
    fallow_arena_options o = {.page_bytes = page, .reserve_bytes = (size_t)page_count * page};
    o.purge = (fallow_purge)test_below(random, 4);
    o.grow_bytes = test_below(random, 3) == 0 ? 0 : (size_t)(1 + test_below(random, 16)) * page;
    if (test_below(random, 4) == 0) {
        o.limit_bytes = (size_t)(1 + test_below(random, page_count)) * page + 2 * life.facts.page_bytes;
    }
    o.thread_cache_bytes =
        test_below(random, 2) == 0 ? FALLOW_CACHE_NONE : CACHE_BYTES_LEAST + test_below(random, 3) * 16 * page;
    o.scavenge = FALLOW_SCAVENGE_OFF;
    o.flags |= test_below(random, 3) != 0 ? FALLOW_ARENA_FIXED : 0;
    o.flags |= test_below(random, 8) == 0 ? FALLOW_ARENA_NO_FORK : 0;
    if (test_below(random, 2) == 0) {
        o.before_commit = before_commit;
        o.after_decommit = after_decommit;
        o.callback_context = a;
    }
    return o;
}

/* A run of addresses, which costs nothing, tells where the first page is. */
static bool learn_place(work *w)
{
    shared_arena *a = w->a;
    fallow_run first;
    fallow_arena_stats s;
    const fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_NO_CACHE};
    a->grants_refused = 0;
    if (fallow_arena_alloc_run(a->arena, 1, &addresses, &first) != FALLOW_OK) {
        return false;
    }
    fallow_arena_free(a->arena, first.base, first.size_bytes);
    fallow_arena_read_stats(a->arena, &s);
    a->base = first.base;
    a->page_count = s.usable_bytes / page_bytes_of(a);
    return s.region_count == 1 && a->page_count <= PAGES_MAX;
}

static bool op_create(work *w)
{
    shared_arena *a = w->a;
    fallow_arena *arena = NULL;
    *a = (shared_arena){.is_closed = true};
    a->options = random_arena_options(w);
    work_begin(w);
    fallow_status status = fallow_arena_create(&a->options, &arena);
    trace(w, "create: page %zu, reserve %zu, limit %zu, grow %zu, purge %d, cache %zu, flags %#x: %s",
          a->options.page_bytes, a->options.reserve_bytes, a->options.limit_bytes, a->options.grow_bytes,
          (int)a->options.purge, a->options.thread_cache_bytes, (unsigned)a->options.flags, fallow_status_name(status));
    if (status != FALLOW_OK) {
        check_failure(w, status);
        CHECK(arena == NULL, "arena_out was written to");
        SAME("granted after a failure", a->granted_bytes, 0);
    } else {
        a->arena = arena;
        if (!learn_place(w)) {
            fallow_arena_destroy(arena);
            a->arena = NULL;
        }
    }
    work_end(w);
    a->is_closed = false;
    return a->arena != NULL;
}

static bool op_destroy(work *w)
{
    shared_arena *a = w->a;
    fallow_arena_stats s;
    if (a->under_way != 0) {
        return false;
    }
    a->is_closed = true;
    work_begin(w);
    for (size_t index = 0; index < a->run_count; index++) {
        look(w, a->runs[index]);
    }
    CHECK(fallow_arena_check(a->arena) == FALLOW_OK, "fallow_arena_check says no");
    fallow_arena_read_stats(a->arena, &s);
    check_identities(w, &s);
    check_runs(w, &s);
    trace(w, "destroy");
    runs_forget(a); /* another arena may get the addresses before this returns */
    fallow_arena_destroy(a->arena);
    SAME("granted after destroy", a->granted_bytes, 0);
    a->arena = NULL;
    work_end(w);
    a->is_closed = false;
    return true;
}

/* --- threads ----------------------------------------------------------------------------------------------- */

static bool thread_take_op(life_op *op_out)
{
    if (life.next_op == life.op_count) {
        return false;
    }
    *op_out = life.ops[life.next_op++];
    return true;
}

static void op_do(const life_op *op);

/* A thread's whole life: operations, until there is none, or it is to go. `context` tells that it has ended. */
static void thread_run(void *context)
{
    life_op op;
    bool *has_ended = context;
    while (thread_take_op(&op)) {
        if (op.kind == LIFE_GO) {
            life_counts.done[LIFE_GO]++;
            break;
        }
        op_do(&op);
    }
    *has_ended = true;
}

static bool thread_start(int index)
{
    life.threads[index].is_started = true;
    life.threads[index].has_ended = false;
    life.threads[index].is_started =
        world_start(thread_run, &life.threads[index].has_ended, &life.threads[index].thread);
    return life.threads[index].is_started;
}

static void thread_join(int index)
{
    life.threads[index].is_awaited = true;
    world_join(&life.threads[index].thread);
    life.threads[index].is_awaited = false;
    life.threads[index].is_started = false;
}

static bool op_come(work *w)
{
    for (int index = 0; index < THREADS_MAX; index++) {
        if (!life.threads[index].is_started) {
            trace(w, "a thread comes");
            return thread_start(index);
        }
        if (life.threads[index].has_ended && !life.threads[index].is_awaited) {
            thread_join(index);
            return op_come(w); /* others may have come meanwhile */
        }
    }
    return false;
}

/* --- forks ------------------------------------------------------------------------------------------------- */

/* An arena of which a thread that is gone may have been in the middle of something. */
static void check_in_child(work *w, bool was_quiet)
{
    shared_arena *a = w->a;
    fallow_arena_stats s;
    void *base = NULL;
    for (size_t index = 0; index < a->run_count; index++) {
        if (!a->runs[index]->is_busy) {
            look(w, a->runs[index]);
        }
    }
    CHECK(fallow_arena_check(a->arena) == FALLOW_OK, "fallow_arena_check says no");
    fallow_status status = fallow_arena_alloc(a->arena, 3 * page_bytes_of(a), &base);
    CHECK(status == FALLOW_OK || status == FALLOW_ERR_EXHAUSTED || status == FALLOW_ERR_LIMIT, "alloc: %s",
          fallow_status_name(status));
    if (status == FALLOW_OK) {
        check_nobodys(w, base, 3);
        memset(base, 1, 3 * page_bytes_of(a));
        fallow_arena_free(a->arena, base, 3 * page_bytes_of(a));
    }
    fallow_arena_flush_thread(a->arena);
    fallow_arena_read_stats(a->arena, &s);
    check_identities(w, &s);
    SAME("cached, with no other thread", s.cached_bytes, 0);
    if (was_quiet) {
        check_runs(w, &s);
    }
    CHECK(fallow_arena_trim(a->arena, 0, NULL) == FALLOW_OK, "trim");
    fallow_arena_destroy(a->arena);
    runs_forget(a); /* the next one may use the addresses */
    if (was_quiet) {
        SAME("granted after destroy", a->granted_bytes, 0);
    }
}

/* The child has this thread only. It can use all arenas that it has, and what was kept by threads that are gone. */
static int live_in_child(void *context)
{
    work *w = context;
    bool is_clean = life.under_way == 0; /* what another was about to make is lost here */
    life.is_child = true;
    trial_patience(20);
    world_refuse_nothing();
    world_lift_limits();
    world_fork_child();
    for (int index = 0; index < ARENAS_MAX; index++) {
        if ((life.arenas[index].options.flags & FALLOW_ARENA_NO_FORK) != 0) {
            runs_forget(&life.arenas[index]); /* their place is free here */
        }
    }
    for (int index = 0; index < ARENAS_MAX; index++) {
        w->a = &life.arenas[index];
        is_clean = is_clean && !w->a->is_closed;
        if (w->a->arena != NULL && !w->a->is_closed && (w->a->options.flags & FALLOW_ARENA_NO_FORK) == 0) {
            w->a->grants_refused = 0;
            check_in_child(w, w->a->under_way == 0);
        }
    }
    if (is_clean && !world_is_empty()) {
        complain_as(w, "something is left behind");
    }
    return 0;
}

/* The host forks. That takes as long as a life, so it is done once in a while. */
static bool op_fork(work *w)
{
    if (!world_has_forks() || !trial_is_apart() || test_below(&w->random, 8) != 0) {
        return false;
    }
    trace(w, "fork");
    world_fork_before();
    int code = trial_run(live_in_child, w);
    world_fork_parent();
    CHECK(code == 0, "the child of a fork has failed: %d", code);
    return true;
}

static bool op_on_world(work *w)
{
    switch (w->op.kind) {
    case LIFE_FAULTS: world_refuse(test_next(&w->random)); break;
    case LIFE_LIMIT: world_change_limit(test_next(&w->random)); break;
    case LIFE_AGE: world_take_lazy(); break;
    case LIFE_PASS_TIME: world_pass_time(UINT64_C(1) << test_below(&w->random, 36)); break;
    case LIFE_FORK: return op_fork(w);
    default:
        w->a->grants_passed = test_below(&w->random, 8);
        w->a->grants_refused = 1 + test_below(&w->random, 3);
        break;
    }
    trace(w, "%s", life_kind_name((life_kind)w->op.kind));
    return true;
}

static bool (*const operations[LIFE_KINDS])(work *w) = {
    [LIFE_DESTROY] = op_destroy,   [LIFE_ALLOC] = op_alloc,         [LIFE_ALLOC_RUN] = op_alloc_run,
    [LIFE_FREE] = op_free,         [LIFE_FREE_MANY] = op_free_many, [LIFE_SPLIT] = op_split,
    [LIFE_EXTEND] = op_extend,     [LIFE_SHRINK] = op_shrink,       [LIFE_COMMIT] = op_commit,
    [LIFE_DECOMMIT] = op_decommit, [LIFE_TRIM] = op_trim,           [LIFE_RUN_OF] = op_run_of,
    [LIFE_WRITE] = op_write,       [LIFE_LOOK] = op_look,           [LIFE_INVALID] = op_invalid,
    [LIFE_CHECK] = op_check,       [LIFE_FLUSH] = op_flush,         [LIFE_SCAVENGE] = op_scavenge,
};

static void op_do(const life_op *op)
{
    work w = {.op = *op, .random = {op->seed}};
    w.a = &life.arenas[test_below(&w.random, ARENAS_MAX)];
    bool is_done = false;
    if (op->kind == LIFE_COME) {
        is_done = op_come(&w);
    } else if (op->kind >= LIFE_FAULTS) {
        is_done = op->kind != LIFE_GO && op_on_world(&w);
    } else if (w.a->is_closed || (op->kind == LIFE_CREATE && w.a->arena != NULL)) {
        life_counts.skipped[op->kind]++;
        return;
    } else if (w.a->arena == NULL) {
        w.op.kind = LIFE_CREATE;
        is_done = op_create(&w);
    } else {
        is_done = operations[op->kind](&w);
    }
    (is_done ? life_counts.done : life_counts.failed)[w.op.kind]++;
}

/* All other threads have ended, and this one keeps nothing either: what they kept has come back. */
static void check_nothing_kept(void)
{
    work work_of_all = {.op = {.kind = LIFE_FLUSH, .number = (uint32_t)life.op_count}};
    work *w = &work_of_all;
    for (int index = 0; index < ARENAS_MAX; index++) {
        fallow_arena_stats s;
        w->a = &life.arenas[index];
        if (w->a->arena != NULL) {
            (void)op_flush(w);
            fallow_arena_read_stats(w->a->arena, &s);
            SAME("cached after all threads have ended", s.cached_bytes, 0);
        }
    }
}

/* Not inlined: a jump out would leave its variables in doubt. */
static void live(void) __attribute__((noinline));

static void live(void)
{
    /* This thread outlives the life, and so do its thread-local variables: it leaves the work to others. */
    do {
        for (int index = 0; index < THREADS_MAX; index++) {
            if (life.threads[index].is_started && !life.threads[index].is_awaited) {
                thread_join(index);
                index = -1; /* others may have come meanwhile */
            }
        }
    } while (life.next_op < life.op_count && thread_start(0));
    world_refuse_nothing();
    world_lift_limits();
    check_nothing_kept();
    work w = {.op = {.kind = LIFE_DESTROY, .number = (uint32_t)life.op_count}};
    for (int index = 0; index < ARENAS_MAX; index++) {
        w.a = &life.arenas[index];
        if (w.a->arena != NULL) {
            (void)op_destroy(&w);
        }
    }
    if (!world_end()) {
        complain_as(NULL, "something is left behind");
    }
}

static void begin(const life_options *options, const life_op *ops, size_t op_count)
{
    for (int index = 0; index < ARENAS_MAX; index++) {
        runs_forget(&life.arenas[index]);
    }
    memset(&life, 0, sizeof life);
    life.options = *options;
    life.ops = ops;
    life.op_count = op_count;
    life.next_stamp = PAGE_STAMP;
    world_begin(&(world_options){.seed = options->seed, .has_threads = true, .stop = stopped});
    fallow_system_info(&life.facts);
    life.first_refused = world_refused();
    if (options->is_traced) {
        printf("seed %llu: %s\n", (unsigned long long)options->seed, world_name());
    }
}

const char *life_run_threads(const life_options *options, const life_op *ops, size_t op_count)
{
    begin(options, ops, op_count);
    if (setjmp(life.out) != 0) {
        return life.complaint;
    }
    live();
    return NULL;
}
