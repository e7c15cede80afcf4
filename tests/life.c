/* How it is checked. The library asks before it commits and tells after it decommits (the callbacks): these events say
 * exactly which pages are accessible, and the model keeps count. Some arenas have no callbacks, so that this way is
 * tried too; they are *blind*, and what hangs on commits made ahead is not compared there.
 *
 * After an operation during which the system, the callback or a limit refused something, a place may be another one than
 * the lowest, and free memory may have been given back: those comparisons, and no others, are relaxed. */
#include "life.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fallow.h"
#include "life_model.h"
#include "os.h"
#include "test.h"
#include "world.h"

enum {
    ARENAS_MAX = 3,
    EVENTS_MAX = 1 << 18, /* memory is given back in pieces of 16 MiB, and a simulated space has 512 GiB */
    TOUCHED_PAGES = 160,  /* parts of more pages are written to in some places only */
    ZEROED_BYTES_MAX = 64 << 10,
    ZEROED_SOMETIMES = 4 << 20,
    SCAVENGED_BYTES_MAX = 1 << 30, /* in one go: it goes in pieces of 2 MiB, each of which is a mapping of the host */
    BLOCK_PAGES = 512 * 512        /* pages whose bookkeeping is committed at once */
};

typedef struct event {
    unsigned char *base;
    size_t size_bytes;
    bool is_commit;
} event;

typedef struct life_arena {
    fallow_arena *arena;
    fallow_arena_options options;
    fallow_arena_stats stats; /* as they were after the operation before */
    model_arena model;
    bool is_blind;
    bool is_inexact;         /* something was refused in it before: charges may be left over */
    size_t granted_bytes;    /* bookkeeping, by the events */
    size_t created_bytes;    /* bookkeeping at first */
    uint64_t grants_passed;  /* before_commit answers yes so often, */
    uint64_t grants_refused; /* and then no so often */
    uint64_t refused_grants; /* how often it said no in this operation */
    size_t event_count;
    event events[EVENTS_MAX]; /* the last: see op_create */
} life_arena;

static struct {
    life_options options;
    life_arena arenas[ARENAS_MAX];
    fallow_system facts;
    uint32_t next_stamp;
    uint64_t refused_before; /* by the world, before this operation */
    bool is_charge_exact;
    bool has_lied;
    life_op op;
    jmp_buf out;
    char complaint[512];
} life;

life_tally life_counts;

const char *life_kind_name(life_kind kind)
{
    static const char *const names[LIFE_KINDS] = {
        "create", "destroy",  "alloc", "alloc_run", "free",          "free_many", "split", "extend",  "shrink",
        "commit", "decommit", "trim",  "scavenge",  "run_of",        "write",     "look",  "invalid", "check",
        "flush",  "faults",   "limit", "age",       "refuse_grants", "pass_time", "fork",  "come",    "go",
    };
    return names[kind];
}

/* --- complaints -------------------------------------------------------------------------------------------- */

static void complain(const char *format, ...) __attribute__((noreturn)) TEST_FORMAT(1, 2);

static void complain(const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(life.complaint, sizeof life.complaint, "op %u (%s): %s", (unsigned)life.op.number,
             life_kind_name((life_kind)life.op.kind), text);
    longjmp(life.out, 1);
}

static void stopped(const char *complaint)
{
    complain("%s", complaint);
}

#define LIFE_CHECK(condition, ...) \
    do {                           \
        if (!(condition)) {        \
            complain(__VA_ARGS__); \
        }                          \
    } while (0)

#define LIFE_SAME(what, a, b)                               \
    do {                                                    \
        unsigned long long a_ = (a);                        \
        unsigned long long b_ = (b);                        \
        if (a_ != b_) {                                     \
            complain(what ": %llu, expected %llu", a_, b_); \
        }                                                   \
    } while (0)

#define TRACE(...)                    \
    do {                              \
        if (life.options.is_traced) { \
            printf(__VA_ARGS__);      \
        }                             \
    } while (0)

static void trace_op(const life_arena *a, const char *format, ...) TEST_FORMAT(2, 3);

static void trace_op(const life_arena *a, const char *format, ...)
{
    if (!life.options.is_traced) {
        return;
    }
    va_list arguments;
    printf("%6u  ", (unsigned)life.op.number);
    if (a != NULL) {
        printf("arena %d  ", (int)(a - life.arenas));
    }
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

/* --- the library's events ---------------------------------------------------------------------------------- */

static void note_event(life_arena *a, void *base, size_t size_bytes, bool is_commit)
{
    if (a->event_count == EVENTS_MAX) {
        complain("more than %d events in one operation", EVENTS_MAX);
    }
    a->events[a->event_count++] = (event){base, size_bytes, is_commit};
}

static bool before_commit(void *context, void *base, size_t size_bytes)
{
    life_arena *a = context;
    if (a->grants_passed > 0) {
        a->grants_passed--;
    } else if (a->grants_refused > 0) {
        a->grants_refused--;
        a->refused_grants++;
        return false;
    }
    note_event(a, base, size_bytes, true);
    return true;
}

static void after_decommit(void *context, void *base, size_t size_bytes)
{
    note_event(context, base, size_bytes, false);
}

/* Tell the model. Pages, or bookkeeping. */
static void hear_events(life_arena *a)
{
    model_arena *m = &a->model;
    for (size_t index = 0; index < a->event_count; index++) {
        const event *e = &a->events[index];
        int part = model_part_at(m, e->base);
        if (part < 0) {
            a->granted_bytes += e->is_commit ? e->size_bytes : 0 - e->size_bytes;
            continue;
        }
        model_part *p = &m->parts[part];
        uint64_t first = (uint64_t)(e->base - p->base) / m->page_bytes;
        uint64_t count = e->size_bytes / m->page_bytes;
        LIFE_CHECK(count >= 1 && first + count <= p->page_count, "an event leaves its part");
        LIFE_CHECK(model_set_accessible(p, first, count, e->is_commit), "pages were %s twice",
                   e->is_commit ? "committed" : "decommitted");
    }
    a->event_count = 0;
}

/* --- one operation ----------------------------------------------------------------------------------------- */

static void op_begin(life_arena *a)
{
    life.refused_before = world_refused();
    a->refused_grants = 0;
    a->event_count = 0;
}

static bool world_has_refused(void)
{
    return world_refused() != life.refused_before;
}

static bool op_was_refused(const life_arena *a)
{
    return a->refused_grants != 0 || world_has_refused();
}

/* What may have become of free memory is not known any more. */
static void old_becomes_maybe(life_arena *a)
{
    for (unsigned part = 0; part < a->model.part_count; part++) {
        model_part *p = &a->model.parts[part];
        for (size_t index = 0; index < p->piece_count; index++) {
            model_state *state = &p->pieces[index].state;
            *state = *state == MODEL_DIRTY || *state == MODEL_LAZY ? MODEL_MAYBE : *state;
        }
        model_join(p);
    }
}

static void replace_state(life_arena *a, model_state from, model_state to)
{
    for (unsigned part = 0; part < a->model.part_count; part++) {
        model_part *p = &a->model.parts[part];
        for (size_t index = 0; index < p->piece_count; index++) {
            model_state *state = &p->pieces[index].state;
            *state = *state == from ? to : *state;
        }
        model_join(p);
    }
}

/* Let the figures settle what was left open, where they can. */
static void resolve(life_arena *a, const fallow_arena_stats *s, model_census *c)
{
    size_t page = a->model.page_bytes;
    uint64_t retained = s->retained_bytes / page;
    uint64_t lazy = s->released_lazy_bytes / page;
    if (c->maybe == 0) {
        return;
    }
    if (retained == c->dirty && lazy == c->lazy) {
        replace_state(a, MODEL_MAYBE, MODEL_CLEAN);
    } else if (retained == c->dirty + c->maybe && lazy == c->lazy) {
        replace_state(a, MODEL_MAYBE, MODEL_DIRTY);
    } else if (lazy == c->lazy + c->maybe && retained == c->dirty) {
        replace_state(a, MODEL_MAYBE, MODEL_LAZY);
    } else {
        return;
    }
    model_count(&a->model, c);
}

static void check_identities(const fallow_arena_stats *s)
{
    LIFE_SAME("backed", s->backed_bytes,
              s->in_use_bytes + s->cached_bytes + s->retained_bytes + s->released_lazy_bytes + s->metadata_bytes);
    LIFE_SAME("committed", s->committed_bytes, s->backed_bytes + s->released_zero_bytes);
    LIFE_SAME("cached", s->cached_bytes, 0);
    LIFE_CHECK(s->reserved_bytes >= s->committed_bytes, "more is committed than reserved");
    LIFE_CHECK(s->reserved_bytes >= s->usable_bytes, "more is usable than reserved");
    LIFE_CHECK(s->purge != FALLOW_PURGE_DEFAULT, "the purge mode in force is DEFAULT");
}

static void check_figures(life_arena *a, const fallow_arena_stats *s)
{
    model_arena *m = &a->model;
    model_census c;
    uint64_t usable = 0;
    size_t page = m->page_bytes;
    model_count(m, &c);
    resolve(a, s, &c);
    for (unsigned part = 0; part < m->part_count; part++) {
        usable += m->parts[part].page_count;
    }
    m->peak_pages = c.used_accessible > m->peak_pages ? c.used_accessible : m->peak_pages;
    LIFE_SAME("page_bytes", s->page_bytes, page);
    LIFE_SAME("in_use", s->in_use_bytes, c.used_accessible * page);
    LIFE_SAME("uncommitted", s->uncommitted_bytes, c.used_inaccessible * page);
    LIFE_SAME("peak", s->peak_in_use_bytes, m->peak_pages * page);
    LIFE_SAME("extent", s->extent_bytes, c.extent * page);
    LIFE_SAME("runs", s->run_count, m->run_count);
    LIFE_SAME("regions", s->region_count, m->part_count);
    LIFE_SAME("usable", s->usable_bytes, usable * page);
    uint64_t retained = s->retained_bytes / page;
    uint64_t lazy = s->released_lazy_bytes / page;
    LIFE_CHECK(retained >= c.dirty && retained <= c.dirty + c.maybe, "retained: %llu pages, expected %llu to %llu",
               (unsigned long long)retained, (unsigned long long)c.dirty, (unsigned long long)(c.dirty + c.maybe));
    LIFE_CHECK(lazy >= c.lazy && lazy <= c.lazy + c.maybe, "lazy: %llu pages, expected %llu to %llu",
               (unsigned long long)lazy, (unsigned long long)c.lazy, (unsigned long long)(c.lazy + c.maybe));
    LIFE_CHECK(retained + lazy <= c.dirty + c.lazy + c.maybe, "retained and lazy: too many");
    if (!a->is_blind) {
        uint64_t accessible = retained + lazy + s->released_zero_bytes / page;
        LIFE_SAME("free and accessible", accessible, c.clean_accessible + c.dirty + c.lazy + c.maybe);
        LIFE_SAME("metadata", s->metadata_bytes, a->granted_bytes);
    }
    LIFE_CHECK(a->options.limit_bytes == 0 || s->backed_bytes <= a->options.limit_bytes, "backed is above the limit");
}

/* The figures of all arenas, and what the world charges for them. */
static void check_charge(void)
{
    uint64_t charge;
    uint64_t committed = 0;
    if (!life.is_charge_exact || !world_charge(&charge)) {
        return;
    }
    for (int index = 0; index < ARENAS_MAX; index++) {
        committed += life.arenas[index].arena != NULL ? life.arenas[index].stats.committed_bytes : 0;
    }
    LIFE_SAME("the system's charge", charge, committed);
}

/* After an operation that the model has been told of. */
static void op_end(life_arena *a)
{
    fallow_arena_stats stats;
    if (world_has_refused()) {
        life.is_charge_exact = false; /* a decommit that went half the way leaves a charge */
        old_becomes_maybe(a);
    }
    fallow_arena_read_stats(a->arena, &stats);
    check_identities(&stats);
    check_figures(a, &stats);
    a->stats = stats;
    check_charge();
}

/* A failure has changed nothing but what it may. The events have been heard. */
static void check_failed(life_arena *a)
{
    fallow_arena_stats after;
    const fallow_arena_stats *before = &a->stats;
    fallow_arena_read_stats(a->arena, &after);
    LIFE_SAME("reserved after a failure", after.reserved_bytes, before->reserved_bytes);
    LIFE_SAME("in_use after a failure", after.in_use_bytes, before->in_use_bytes);
    LIFE_SAME("peak after a failure", after.peak_in_use_bytes, before->peak_in_use_bytes);
    if (world_has_refused()) {
        return;
    }
    LIFE_SAME("metadata after a failure", after.metadata_bytes, before->metadata_bytes);
    if (a->options.limit_bytes == 0) {
        LIFE_SAME("committed after a failure", after.committed_bytes, before->committed_bytes);
        LIFE_SAME("backed after a failure", after.backed_bytes, before->backed_bytes);
        LIFE_SAME("retained after a failure", after.retained_bytes, before->retained_bytes);
    }
}

/* --- contents ---------------------------------------------------------------------------------------------- */

static uint64_t stamp_word(uint32_t stamp, uint64_t page)
{
    return (stamp * UINT64_C(0x9e3779b97f4a7c15)) ^ page * UINT64_C(0xd6e8feb86659fd93);
}

static uint64_t touch_step(const model_part *p)
{
    return 1 + p->page_count / TOUCHED_PAGES;
}

/* The first page at or behind `page` that is written to at all. */
static uint64_t touched_from(const model_part *p, uint64_t page)
{
    uint64_t step = touch_step(p);
    return (page + step - 1) / step * step;
}

/* Where a page has its second word: mostly near the first, at times at its end. A page of 64 KiB takes a fault of the
 * host for each 4 KiB of it that is touched, which is where the time goes. */
static size_t second_word(size_t page_bytes, uint64_t page)
{
    return page % 8 == 0 ? page_bytes - sizeof(uint64_t) : 256;
}

static void check_word(const model_arena *m, unsigned part, uint64_t page, uint64_t word)
{
    const unsigned char *base = model_address(m, part, page);
    uint64_t low;
    uint64_t high;
    memcpy(&low, base, sizeof low);
    memcpy(&high, base + second_word(m->page_bytes, page), sizeof high);
    LIFE_CHECK(low == word && high == word, "page %llu of part %u holds %llx and %llx instead of %llx",
               (unsigned long long)page, part, (unsigned long long)low, (unsigned long long)high,
               (unsigned long long)word);
}

/* A page that has never been written to: also in the middle, at times. A byte is written first, because the host takes
 * two faults where a page is first read and written later. */
static void check_zero(const model_arena *m, unsigned part, uint64_t page)
{
    *((volatile unsigned char *)model_address(m, part, page) + 128) = 0;
    check_word(m, part, page, 0);
    const unsigned char *middle = model_address(m, part, page) + (page % 8 == 1 ? m->page_bytes / 2 : 512);
    LIFE_CHECK(memcmp(middle, middle + 32, 32) == 0 && middle[0] == 0, "page %llu of part %u is not zero",
               (unsigned long long)page, part);
}

/* Look at pages [first, first + count), which are used. */
static void look(const life_arena *a, unsigned part, uint64_t first, uint64_t count)
{
    const model_part *p = &a->model.parts[part];
    for (size_t index = model_piece_at(p, first); index < p->piece_count; index++) {
        const model_piece *piece = &p->pieces[index];
        if (piece->first >= first + count) {
            break;
        }
        if (!piece->is_accessible || piece->content == MODEL_UNKNOWN) {
            continue;
        }
        uint64_t end = piece->first + piece->count < first + count ? piece->first + piece->count : first + count;
        uint64_t begin = piece->first > first ? piece->first : first;
        LIFE_CHECK(world_may_read(model_address(&a->model, part, begin), (size_t)(end - begin) * a->model.page_bytes),
                   "some of pages %llu to %llu of part %u cannot be read", (unsigned long long)begin,
                   (unsigned long long)end, part);
        if (piece->content == MODEL_ZERO) {
            for (uint64_t page = begin; page < end; page += 1 + (end - begin) / 8) {
                check_zero(&a->model, part, page);
            }
            continue;
        }
        for (uint64_t page = touched_from(p, begin); page < end; page += touch_step(p)) {
            check_word(&a->model, part, page, stamp_word(piece->content, page));
        }
    }
}

static void announce_write(unsigned part, unsigned char *base, size_t size_bytes)
{
    LIFE_CHECK(world_may_write(base, size_bytes), "%zu bytes at %p of part %u cannot be written", size_bytes,
               (void *)base, part);
}

/* All pages of a piece at once; or, where pages of the arena are larger than the system's, or only some are written to,
 * those pages of the system that hold the two words. */
static void announce_writes(const life_arena *a, unsigned part, const model_piece *piece)
{
    const model_part *p = &a->model.parts[part];
    size_t page_bytes = a->model.page_bytes;
    size_t system_bytes = life.facts.page_bytes;
    uint64_t step = touch_step(p);
    if (step == 1 && page_bytes == system_bytes) {
        announce_write(part, model_address(&a->model, part, piece->first), (size_t)piece->count * page_bytes);
        return;
    }
    for (uint64_t page = touched_from(p, piece->first); page < piece->first + piece->count; page += step) {
        unsigned char *base = model_address(&a->model, part, page);
        size_t second = second_word(page_bytes, page) / system_bytes * system_bytes;
        announce_write(part, base, system_bytes);
        if (second != 0) {
            announce_write(part, base + second, system_bytes);
        }
    }
}

/* Write a new stamp to all accessible pages of a used range. */
static void stamp(life_arena *a, unsigned part, uint64_t first, uint64_t count)
{
    model_part *p = &a->model.parts[part];
    uint32_t value = life.next_stamp++;
    for (size_t index = model_cut(p, first, count); index < p->piece_count; index++) {
        model_piece *piece = &p->pieces[index];
        if (piece->first >= first + count) {
            break;
        }
        if (!piece->is_accessible) {
            continue;
        }
        uint64_t page = touched_from(p, piece->first);
        if (piece->count < touch_step(p)) {
            continue;
        }
        announce_writes(a, part, piece);
        piece->content = value;
        for (; page < piece->first + piece->count; page += touch_step(p)) {
            unsigned char *base = model_address(&a->model, part, page);
            uint64_t word = stamp_word(value, page);
            memcpy(base, &word, sizeof word);
            memcpy(base + second_word(a->model.page_bytes, page), &word, sizeof word);
        }
    }
    model_join(p);
}

/* --- finding out where a part lies ------------------------------------------------------------------------- */

static bool is_in_new_part(const life_arena *a, unsigned char *address)
{
    return model_part_at(&a->model, address) < 0 && fallow_arena_owns(a->arena, address);
}

/* A run lies where the model knows no part: find out where the part begins, by asking what the arena owns. */
static void learn_part(life_arena *a, const fallow_run *run)
{
    model_arena *m = &a->model;
    fallow_arena_stats stats;
    uint64_t known = 0;
    size_t page = m->page_bytes;
    if (model_part_at(m, run->base) >= 0) {
        return;
    }
    fallow_arena_read_stats(a->arena, &stats);
    LIFE_SAME("regions", stats.region_count, m->part_count + 1);
    for (unsigned part = 0; part < m->part_count; part++) {
        known += m->parts[part].page_count;
    }
    uint64_t page_count = stats.usable_bytes / page - known;
    uint64_t below = 0; /* so many pages of the part lie below the run */
    uint64_t bound = page_count - run->size_bytes / page + 1;
    if (bound > (uintptr_t)run->base / page) {
        bound = (uintptr_t)run->base / page;
    }
    while (bound - below > 1) {
        uint64_t middle = below + (bound - below) / 2;
        bool is_inside = is_in_new_part(a, (unsigned char *)run->base - (size_t)middle * page);
        *(is_inside ? &below : &bound) = middle;
    }
    unsigned char *base = (unsigned char *)run->base - (size_t)below * page;
    LIFE_CHECK(is_in_new_part(a, base + (size_t)page_count * page - 1), "a part is shorter than it should be");
    LIFE_CHECK(!is_in_new_part(a, base + (size_t)page_count * page), "a part is longer than it should be");
    LIFE_CHECK(!is_in_new_part(a, base - 1), "a part begins before it should");
    model_add_part(m, base, page_count);
    world_open(base, (size_t)page_count * page);
}

/* --- allocating -------------------------------------------------------------------------------------------- */

typedef enum fit {
    FIT_NONE,
    FIT_HERE,
    FIT_UNKNOWN /* the model does not know enough */
} fit;

typedef struct wanted {
    size_t size_bytes;
    uint64_t count;
    fallow_run_options options;
} wanted;

static model_request request_of(const wanted *w)
{
    return (model_request){
        .count = w->count,
        .align_bytes = w->options.align_bytes,
        .is_top_down = (w->options.flags & FALLOW_RUN_TOP_DOWN) != 0,
        .is_accessible = (w->options.flags & FALLOW_RUN_NO_GROW) != 0,
    };
}

static fit find_at(const life_arena *a, const wanted *w, unsigned *part_out, uint64_t *first_out)
{
    const model_arena *m = &a->model;
    bool is_no_grow = (w->options.flags & FALLOW_RUN_NO_GROW) != 0;
    int part = model_part_at(m, w->options.at);
    if (part < 0) {
        return FIT_NONE;
    }
    const model_part *p = &m->parts[part];
    uint64_t first = (uint64_t)((unsigned char *)w->options.at - p->base) / m->page_bytes;
    *part_out = (unsigned)part;
    *first_out = first;
    if (w->count > p->page_count - first || !model_is_free(p, first, w->count, false)) {
        return FIT_NONE;
    }
    if (is_no_grow && a->is_blind) {
        return FIT_UNKNOWN;
    }
    return model_is_free(p, first, w->count, is_no_grow) ? FIT_HERE : FIT_NONE;
}

/* Where the library should find a place, without a further part. */
static fit find(const life_arena *a, const wanted *w, unsigned *part_out, uint64_t *first_out)
{
    const model_arena *m = &a->model;
    model_request request = request_of(w);
    if (w->options.at != NULL) {
        return find_at(a, w, part_out, first_out);
    }
    bool is_found = model_fit(m, &request, part_out, first_out);
    if (request.is_accessible && a->is_blind) {
        return FIT_UNKNOWN;
    }
    return is_found ? FIT_HERE : FIT_NONE;
}

/* Whether bookkeeping is committed in blocks as it is used: smaller parts have theirs from the start. */
static bool has_blocks(const life_arena *a)
{
    uint64_t page_count = a->options.reserve_bytes / a->model.page_bytes;
    for (unsigned part = 0; part < a->model.part_count; part++) {
        page_count += a->model.parts[part].page_count;
    }
    return page_count >= BLOCK_PAGES; /* a further part is as large as all of them, or as the first was to be */
}

static size_t metadata_slack(const life_arena *a, uint64_t count)
{
    uint64_t blocks = has_blocks(a) || count >= BLOCK_PAGES ? count / BLOCK_PAGES + 2 : 0;
    uint64_t reserve_pages = a->options.reserve_bytes / a->model.page_bytes; /* each takes less than a byte */
    return 2 * a->created_bytes + (size_t)blocks * (256 << 10) +
           (size_t)(reserve_pages < BLOCK_PAGES ? reserve_pages : 0);
}

static bool is_the_worlds(fallow_status status)
{
    return status == FALLOW_ERR_ADDRESS_SPACE || status == FALLOW_ERR_COMMIT || status == FALLOW_ERR_MAP_COUNT ||
           status == FALLOW_ERR_LOCKED || status == FALLOW_ERR_PERMISSION || status == FALLOW_ERR_OS ||
           status == FALLOW_ERR_UNSUPPORTED;
}

/* LIMIT is the arena's own limit or its callback. Free memory is given back before it is said. */
static void check_limit(const life_arena *a, uint64_t count)
{
    fallow_arena_stats s;
    size_t asked = (size_t)count * a->model.page_bytes;
    if (a->refused_grants != 0) {
        return;
    }
    LIFE_CHECK(a->options.limit_bytes != 0, "LIMIT without a limit");
    if (world_has_refused()) { /* what could not be given back at first may have been a moment later */
        return;
    }
    fallow_arena_read_stats(a->arena, &s);
    LIFE_CHECK(s.backed_bytes + asked + metadata_slack(a, count) > a->options.limit_bytes,
               "LIMIT with %zu bytes backed of %zu, %zu asked for, and %zu for bookkeeping", s.backed_bytes,
               a->options.limit_bytes, asked, metadata_slack(a, count));
    if (asked <= a->options.limit_bytes) {
        LIFE_SAME("free memory kept at the limit", s.retained_bytes + s.released_lazy_bytes, 0);
    }
}

/* Near the limit free memory may have been given back. */
static void limit_may_have_released(life_arena *a, uint64_t count)
{
    if (a->options.limit_bytes != 0 &&
        a->stats.backed_bytes + (size_t)count * a->model.page_bytes + metadata_slack(a, count) >
            a->options.limit_bytes) {
        old_becomes_maybe(a);
    }
}

static void check_refusal(life_arena *a, const wanted *w, fallow_status status, fit where)
{
    bool may_grow = w->options.at == NULL && (a->options.flags & FALLOW_ARENA_FIXED) == 0 &&
                    (w->options.flags & FALLOW_RUN_NO_GROW) == 0;
    hear_events(a);
    if (status == FALLOW_ERR_EXHAUSTED) {
        LIFE_CHECK(where != FIT_HERE, "EXHAUSTED, and there is a place");
        LIFE_CHECK(!may_grow || op_was_refused(a) || w->count > (SIZE_MAX >> 3) / a->model.page_bytes,
                   "EXHAUSTED, and the arena may reserve more");
    } else if (status == FALLOW_ERR_LIMIT) {
        LIFE_CHECK(where != FIT_NONE || may_grow, "LIMIT, and there is no place");
        check_limit(a, w->count);
    } else {
        LIFE_CHECK(is_the_worlds(status), "unexpected %s", fallow_status_name(status));
        /* an unaligned or huge further reservation may fail for want of room in the simulated address space, which
         * counts as a refusal there; the real system tells nobody */
        LIFE_CHECK(op_was_refused(a) || !world_has_faults(), "%s, and nothing was refused", fallow_status_name(status));
    }
    limit_may_have_released(a, w->count);
    check_failed(a);
}

/* Whether pages to be handed out are known to be zero: 1, 0, or -1 when the model cannot tell. */
static int expected_zero(const model_part *p, uint64_t first, uint64_t count)
{
    int is_zero = 1;
    for (size_t index = model_piece_at(p, first); index < p->piece_count; index++) {
        const model_piece *piece = &p->pieces[index];
        if (piece->first >= first + count) {
            break;
        }
        if (piece->state == MODEL_DIRTY || piece->state == MODEL_LAZY) {
            return 0;
        }
        is_zero = piece->state == MODEL_MAYBE ? -1 : is_zero;
    }
    return is_zero;
}

/* The pages become a run's: committed or not; what they hold follows from what they were. */
static void take(life_arena *a, unsigned part, uint64_t first, uint64_t count, uint32_t flags)
{
    model_part *p = &a->model.parts[part];
    bool is_committed = (flags & FALLOW_RUN_UNCOMMITTED) == 0;
    for (size_t index = model_cut(p, first, count); index < p->piece_count; index++) {
        model_piece *piece = &p->pieces[index];
        if (piece->first >= first + count) {
            break;
        }
        LIFE_CHECK(a->is_blind || piece->is_accessible == is_committed,
                   "page %llu of a run is %saccessible by the callbacks", (unsigned long long)piece->first,
                   piece->is_accessible ? "" : "not ");
        bool is_zero = piece->state == MODEL_CLEAN || !is_committed || (flags & FALLOW_RUN_ZEROED) != 0;
        piece->state = MODEL_USED;
        piece->is_accessible = is_committed;
        piece->content = is_zero ? MODEL_ZERO : MODEL_UNKNOWN;
    }
    model_join(p);
}

/* At the limit bookkeeping may be too much for the first place, and not for one that is committed already. */
static bool is_fall_back(const life_arena *a, model_request request, unsigned part, uint64_t first)
{
    unsigned other_part;
    uint64_t other_first;
    if (a->options.limit_bytes == 0 || !has_blocks(a)) {
        return false;
    }
    request.is_accessible = true;
    if (a->is_blind || a->stats.purge == FALLOW_PURGE_DECOMMIT) { /* then it may have been given back just now */
        return true;
    }
    return model_fit(&a->model, &request, &other_part, &other_first) && other_part == part && other_first == first;
}

static void check_place(const life_arena *a, const wanted *w, const fallow_run *run, fit where, unsigned part,
                        uint64_t first)
{
    const model_arena *m = &a->model;
    int got_part = model_part_at(m, run->base);
    const model_part *p = &m->parts[got_part];
    uint64_t got = (uint64_t)((unsigned char *)run->base - p->base) / m->page_bytes;
    model_request request = request_of(w);
    LIFE_SAME("size", run->size_bytes, w->count * m->page_bytes);
    LIFE_SAME("misalignment", (uintptr_t)run->base % m->page_bytes, 0);
    LIFE_CHECK(w->options.align_bytes == 0 || (uintptr_t)run->base % w->options.align_bytes == 0, "not aligned");
    LIFE_CHECK(got + w->count <= p->page_count && model_is_free(p, got, w->count, false), "a place that is not free");
    LIFE_CHECK(w->options.at == NULL || run->base == w->options.at, "another place than `at`");
    if (op_was_refused(a) || where == FIT_UNKNOWN) {
        return;
    }
    if (where == FIT_NONE) { /* so it is in a new part */
        LIFE_CHECK(w->options.at == NULL && (a->options.flags & FALLOW_ARENA_FIXED) == 0 &&
                       (w->options.flags & FALLOW_RUN_NO_GROW) == 0,
                   "success, and there is no place");
        LIFE_CHECK(m->part_count == a->stats.region_count + 1, "success, and there is no place");
        part = m->part_count - 1;
        LIFE_CHECK(model_fit_in(m, part, &request, &first), "the new part has no place");
    }
    if (w->options.at == NULL && is_fall_back(a, request, (unsigned)got_part, got)) {
        return;
    }
    LIFE_CHECK(part == (unsigned)got_part && first == got, "page %llu of part %d instead of page %llu of part %u",
               (unsigned long long)got, got_part, (unsigned long long)first, part);
}

/* In a limited arena: did this operation give free memory back? Seen by what lies outside the place. */
static void settle_limit(life_arena *a, unsigned part, uint64_t first, uint64_t count)
{
    fallow_arena_stats s;
    model_part *p = &a->model.parts[part];
    uint64_t outside = 0;
    if (a->options.limit_bytes == 0) {
        return;
    }
    model_cut(p, first, count);
    for (unsigned other = 0; other < a->model.part_count; other++) {
        const model_part *q = &a->model.parts[other];
        for (size_t index = 0; index < q->piece_count; index++) {
            const model_piece *piece = &q->pieces[index];
            bool is_inside = other == part && piece->first >= first && piece->first < first + count;
            bool is_old = piece->state == MODEL_DIRTY || piece->state == MODEL_LAZY;
            outside += is_old && !is_inside ? piece->count : 0;
        }
    }
    fallow_arena_read_stats(a->arena, &s);
    if (outside == 0 || world_has_refused()) {
        limit_may_have_released(a, count);
    } else if (s.retained_bytes + s.released_lazy_bytes < outside * a->model.page_bytes) {
        replace_state(a, MODEL_DIRTY, MODEL_CLEAN);
        replace_state(a, MODEL_LAZY, MODEL_CLEAN);
    }
}

/* An allocation succeeded. Where the caller was not told whether the run is zero (`is_plain`), neither are we. */
static void settle_taken(life_arena *a, const wanted *w, const fallow_run *run, fit where, unsigned part,
                         uint64_t first, bool is_plain)
{
    model_arena *m = &a->model;
    learn_part(a, run);
    check_place(a, w, run, where, part, first);
    part = (unsigned)model_part_at(m, run->base);
    first = (uint64_t)((unsigned char *)run->base - m->parts[part].base) / m->page_bytes;
    hear_events(a);
    if (world_has_refused()) {
        old_becomes_maybe(a);
    }
    settle_limit(a, part, first, w->count);
    int is_zero = expected_zero(&m->parts[part], first, w->count);
    if ((w->options.flags & (FALLOW_RUN_ZEROED | FALLOW_RUN_UNCOMMITTED)) != 0) {
        is_zero = 1;
    }
    LIFE_CHECK(is_plain || is_zero < 0 || run->is_zero == (is_zero != 0), "is_zero is %d", run->is_zero);
    m->runs[m->run_count++] = (model_run){part, first, w->count};
    take(a, part, first, w->count, w->options.flags);
    if (run->is_zero && is_zero < 0) {
        model_set_used(&m->parts[part], first, w->count, true, MODEL_ZERO);
    }
    look(a, part, first, w->count);
}

/* The lie of a planted fault: one page that is in use is free. */
static void lie(life_arena *a, unsigned part, uint64_t first)
{
    if (life.op.number < life.options.lie_at || life.has_lied) {
        return;
    }
    life.has_lied = true;
    TRACE("        the model lies\n");
    model_set_free(&a->model.parts[part], first, 1, MODEL_DIRTY, true);
}

static bool do_alloc(life_arena *a, wanted *w, bool is_plain)
{
    unsigned part = 0;
    uint64_t first = 0;
    fallow_run run = {0};
    fit where = find(a, w, &part, &first);
    if (a->model.run_count == MODEL_RUNS_MAX || a->model.part_count == MODEL_PARTS_MAX) {
        return false;
    }
    op_begin(a);
    fallow_status status;
    if (is_plain) {
        status = fallow_arena_alloc(a->arena, w->size_bytes, &run.base);
        run.size_bytes = (size_t)w->count * a->model.page_bytes;
    } else {
        status = fallow_arena_alloc_run(a->arena, w->size_bytes, &w->options, &run);
    }
    trace_op(a, "%s %llu pages, align %zu, flags %#x, at %p: %s %p", is_plain ? "alloc" : "alloc_run",
             (unsigned long long)w->count, w->options.align_bytes, (unsigned)w->options.flags, w->options.at,
             fallow_status_name(status), run.base);
    if (status != FALLOW_OK) {
        check_refusal(a, w, status, where);
        return false;
    }
    settle_taken(a, w, &run, where, part, first, is_plain);
    const model_run *r = &a->model.runs[a->model.run_count - 1];
    if (life.op.seed % 8 != 0) {
        stamp(a, r->part, r->first, r->count);
    }
    lie(a, r->part, r->first);
    return true;
}

/* --- requests ---------------------------------------------------------------------------------------------- */

/* Few pages mostly, many sometimes, now and then as many as there are or more. */
static uint64_t random_count(const life_arena *a, test_random *random)
{
    uint64_t page_count = a->model.parts[0].page_count;
    switch (test_below(random, 16)) {
    case 0: return 1 + test_below(random, page_count + page_count / 8);
    case 1:
    case 2: return 1 + test_below(random, page_count / 8 + 1);
    case 3:
    case 4:
    case 5: return 1 + test_below(random, 16);
    default: return 1 + test_below(random, 4);
    }
}

static wanted random_wanted(const life_arena *a, test_random *random)
{
    const model_arena *m = &a->model;
    wanted w = {.count = random_count(a, random)};
    w.size_bytes = (size_t)w.count * m->page_bytes - test_below(random, 2) * test_below(random, m->page_bytes);
    return w;
}

static void random_run_options(const life_arena *a, test_random *random, wanted *w)
{
    const model_arena *m = &a->model;
    uint64_t dice = test_next(random);
    /* clearing much takes most of the time there is */
    bool is_much = w->size_bytes > ((dice >> 22 & 15) == 0 ? ZEROED_SOMETIMES : ZEROED_BYTES_MAX);
    w->options.flags |= (dice & 3) == 0 && !is_much ? FALLOW_RUN_ZEROED : 0;
    w->options.flags |= (dice >> 2 & 3) == 0 ? FALLOW_RUN_TOP_DOWN : 0;
    w->options.flags |= (dice >> 4 & 7) == 0 ? FALLOW_RUN_NO_GROW : 0;
    w->options.flags |= (dice >> 7 & 7) == 0 ? FALLOW_RUN_NO_CACHE : 0;
    if ((dice >> 10 & 3) == 0) {
        w->options.flags =
            (w->options.flags & ~(uint32_t)(FALLOW_RUN_ZEROED | FALLOW_RUN_NO_GROW)) | FALLOW_RUN_UNCOMMITTED;
    }
    if ((dice >> 12 & 3) == 0) {
        w->options.align_bytes = m->page_bytes << test_below(random, 7);
    } else if ((dice >> 14 & 15) == 0) {
        w->options.align_bytes = (size_t)1 << test_below(random, 12); /* less than a page */
    }
    if ((dice >> 18 & 7) == 0) {
        unsigned part = (unsigned)test_below(random, m->part_count);
        w->options.at = model_address(m, part, test_below(random, m->parts[part].page_count));
        w->options.align_bytes = 0;
    }
}

static bool op_alloc(life_arena *a, test_random *random)
{
    wanted w = random_wanted(a, random);
    return do_alloc(a, &w, true);
}

static bool op_alloc_run(life_arena *a, test_random *random)
{
    wanted w = random_wanted(a, random);
    random_run_options(a, random, &w);
    return do_alloc(a, &w, false);
}

/* --- live runs --------------------------------------------------------------------------------------------- */

/* What a size may be given as: exactly, or anything that rounds up to it. */
static size_t spelled(const life_arena *a, uint64_t count, test_random *random)
{
    return (size_t)count * a->model.page_bytes - test_below(random, 2) * test_below(random, a->model.page_bytes);
}

static void give(life_arena *a, unsigned index, test_random *random)
{
    model_arena *m = &a->model;
    model_run r = m->runs[index];
    look(a, r.part, r.first, r.count);
    fallow_arena_free(a->arena, model_address(m, r.part, r.first), spelled(a, r.count, random));
    trace_op(a, "free page %llu, %llu pages", (unsigned long long)r.first, (unsigned long long)r.count);
    model_give(&m->parts[r.part], r.first, r.count);
    m->runs[index] = m->runs[--m->run_count];
}

static bool op_free(life_arena *a, test_random *random)
{
    give(a, (unsigned)test_below(random, a->model.run_count), random);
    return true;
}

/* Many at once: every so-manieth run, or all. */
static bool op_free_many(life_arena *a, test_random *random)
{
    unsigned step = 1 + (unsigned)test_below(random, 4);
    for (unsigned index = 0; index < a->model.run_count; index += step) {
        give(a, index, random);
    }
    return true;
}

static model_run *random_run(life_arena *a, test_random *random)
{
    return &a->model.runs[test_below(random, a->model.run_count)];
}

static bool op_split(life_arena *a, test_random *random)
{
    model_arena *m = &a->model;
    model_run *r = random_run(a, random);
    if (r->count < 2 || m->run_count == MODEL_RUNS_MAX) {
        return false;
    }
    uint64_t first_count = 1 + test_below(random, r->count - 1);
    fallow_arena_split(a->arena, model_address(m, r->part, r->first), spelled(a, r->count, random),
                       (size_t)first_count * m->page_bytes);
    trace_op(a, "split page %llu, %llu pages behind %llu", (unsigned long long)r->first, (unsigned long long)r->count,
             (unsigned long long)first_count);
    m->runs[m->run_count++] = (model_run){r->part, r->first + first_count, r->count - first_count};
    r->count = first_count;
    return true;
}

static bool op_shrink(life_arena *a, test_random *random)
{
    model_arena *m = &a->model;
    model_run *r = random_run(a, random);
    uint64_t new_count = 1 + test_below(random, r->count);
    fallow_arena_shrink(a->arena, model_address(m, r->part, r->first), (size_t)r->count * m->page_bytes,
                        spelled(a, new_count, random));
    trace_op(a, "shrink page %llu, %llu pages to %llu", (unsigned long long)r->first, (unsigned long long)r->count,
             (unsigned long long)new_count);
    if (new_count < r->count) {
        model_give(&m->parts[r->part], r->first + new_count, r->count - new_count);
    }
    r->count = new_count;
    return true;
}

static bool is_accessible(const life_arena *a, unsigned part, uint64_t page)
{
    const model_part *p = &a->model.parts[part];
    return p->pieces[model_piece_at(p, page)].is_accessible;
}

static bool op_extend(life_arena *a, test_random *random)
{
    model_arena *m = &a->model;
    model_run *r = random_run(a, random);
    model_part *p = &m->parts[r->part];
    uint64_t more = test_below(random, test_below(random, 4) == 0 ? p->page_count : 8);
    bool has_room = r->first + r->count + more <= p->page_count;
    fit where = more == 0 || (has_room && model_is_free(p, r->first + r->count, more, false)) ? FIT_HERE : FIT_NONE;
    wanted w = {.count = more, .options.at = model_address(m, r->part, r->first + r->count)};
    w.options.flags = is_accessible(a, r->part, r->first + r->count - 1) ? 0 : FALLOW_RUN_UNCOMMITTED;
    op_begin(a);
    fallow_status status = fallow_arena_extend(a->arena, model_address(m, r->part, r->first),
                                               spelled(a, r->count, random), (size_t)(r->count + more) * m->page_bytes);
    trace_op(a, "extend page %llu, %llu pages by %llu: %s", (unsigned long long)r->first, (unsigned long long)r->count,
             (unsigned long long)more, fallow_status_name(status));
    if (status != FALLOW_OK) {
        check_refusal(a, &w, status, where);
        return false;
    }
    LIFE_CHECK(where == FIT_HERE, "extended over what is not free");
    hear_events(a);
    if (world_has_refused()) {
        old_becomes_maybe(a);
    }
    if (more > 0) {
        settle_limit(a, r->part, r->first + r->count, more);
        take(a, r->part, r->first + r->count, more, w.options.flags);
        look(a, r->part, r->first, r->count + more);
        stamp(a, r->part, r->first + r->count, more);
        r->count += more;
    }
    return true;
}

/* A range inside a random run. */
static model_run random_range(life_arena *a, test_random *random)
{
    model_run range = *random_run(a, random);
    uint64_t skip = test_below(random, 2) == 0 ? 0 : test_below(random, range.count);
    range.first += skip;
    range.count -= skip;
    range.count = test_below(random, 2) == 0 ? range.count : 1 + test_below(random, range.count);
    return range;
}

static bool op_commit(life_arena *a, test_random *random)
{
    model_arena *m = &a->model;
    model_run r = random_range(a, random);
    op_begin(a);
    fallow_status status =
        fallow_arena_commit(a->arena, model_address(m, r.part, r.first), spelled(a, r.count, random));
    trace_op(a, "commit page %llu, %llu pages: %s", (unsigned long long)r.first, (unsigned long long)r.count,
             fallow_status_name(status));
    hear_events(a);
    if (status != FALLOW_OK) {
        if (status == FALLOW_ERR_LIMIT) {
            check_limit(a, r.count);
        } else {
            LIFE_CHECK(is_the_worlds(status) && op_was_refused(a), "unexpected %s", fallow_status_name(status));
        }
        limit_may_have_released(a, r.count);
        check_failed(a);
        return false;
    }
    settle_limit(a, r.part, r.first, r.count);
    model_part *p = &m->parts[r.part];
    for (size_t index = model_cut(p, r.first, r.count); index < p->piece_count; index++) {
        model_piece *piece = &p->pieces[index];
        if (piece->first >= r.first + r.count) {
            break;
        }
        LIFE_CHECK(a->is_blind || piece->is_accessible, "committed without a word");
        piece->content = piece->is_accessible ? piece->content : MODEL_ZERO;
        piece->is_accessible = true;
    }
    look(a, r.part, r.first, r.count);
    if (test_below(random, 2) == 0) {
        stamp(a, r.part, r.first, r.count);
    }
    model_join(p);
    return true;
}

static bool op_decommit(life_arena *a, test_random *random)
{
    model_arena *m = &a->model;
    model_run r = random_range(a, random);
    op_begin(a);
    fallow_status status =
        fallow_arena_decommit(a->arena, model_address(m, r.part, r.first), spelled(a, r.count, random));
    trace_op(a, "decommit page %llu, %llu pages: %s", (unsigned long long)r.first, (unsigned long long)r.count,
             fallow_status_name(status));
    hear_events(a);
    LIFE_CHECK(status == FALLOW_OK || (is_the_worlds(status) && world_has_refused()), "unexpected %s",
               fallow_status_name(status));
    fallow_arena_stats s;
    fallow_arena_read_stats(a->arena, &s);
    model_part *p = &m->parts[r.part];
    /* half done: the figures tell whether the pages are accessible, nobody whether their contents are there */
    bool is_gone = status == FALLOW_OK || s.in_use_bytes < a->stats.in_use_bytes;
    for (size_t index = model_cut(p, r.first, r.count); index < p->piece_count; index++) {
        model_piece *piece = &p->pieces[index];
        if (piece->first >= r.first + r.count) {
            break;
        }
        LIFE_CHECK(a->is_blind || !is_gone || !piece->is_accessible, "decommitted without a word");
        piece->is_accessible = piece->is_accessible && !is_gone;
        piece->content = is_gone || !piece->is_accessible ? MODEL_ZERO : MODEL_UNKNOWN;
    }
    model_join(p);
    return status == FALLOW_OK;
}

static bool op_write(life_arena *a, test_random *random)
{
    model_run r = random_range(a, random);
    look(a, r.part, r.first, r.count);
    stamp(a, r.part, r.first, r.count);
    trace_op(a, "write page %llu, %llu pages", (unsigned long long)r.first, (unsigned long long)r.count);
    return true;
}

static bool op_look(life_arena *a, test_random *random)
{
    (void)random;
    for (unsigned index = 0; index < a->model.run_count; index++) {
        const model_run *r = &a->model.runs[index];
        look(a, r->part, r->first, r->count);
    }
    trace_op(a, "look");
    return true;
}

/* --- questions --------------------------------------------------------------------------------------------- */

static bool op_run_of(life_arena *a, test_random *random)
{
    const model_arena *m = &a->model;
    unsigned part = (unsigned)test_below(random, m->part_count);
    uint64_t page = test_below(random, m->parts[part].page_count);
    if (m->run_count > 0 && test_below(random, 2) == 0) {
        const model_run *some = random_run(a, random);
        part = some->part;
        page = some->first + test_below(random, some->count);
    }
    const unsigned char *address = model_address(m, part, page) + test_below(random, m->page_bytes);
    int expected = model_run_at(m, part, page);
    fallow_run run;
    fallow_status status = fallow_arena_run_of(a->arena, address, &run);
    trace_op(a, "run_of page %llu: %s", (unsigned long long)page, fallow_status_name(status));
    LIFE_CHECK(fallow_arena_owns(a->arena, address), "does not own page %llu", (unsigned long long)page);
    LIFE_SAME("status of run_of", 0 - (unsigned)status, expected >= 0 ? 0 : 0 - (unsigned)FALLOW_ERR_INVALID);
    if (expected >= 0) {
        LIFE_CHECK(run.base == model_address(m, part, m->runs[expected].first), "another base than the run's");
        LIFE_SAME("size of run_of", run.size_bytes, m->runs[expected].count * m->page_bytes);
        LIFE_CHECK(!run.is_zero, "run_of says zero");
    }
    int stack_byte = 0;
    LIFE_CHECK(!fallow_arena_owns(a->arena, &stack_byte), "owns the stack");
    LIFE_CHECK(!fallow_arena_owns(a->arena, NULL), "owns NULL");
    return true;
}

static bool op_invalid(life_arena *a, test_random *random)
{
    void *base = &life;
    fallow_run run;
    fallow_run_options options = {0};
    size_t size_bytes = a->model.page_bytes;
    switch (test_below(random, 6)) {
    case 0: size_bytes = 0; break;
    case 1: options.flags = 1u << (5 + test_below(random, 27)); break;
    case 2: options.align_bytes = 3 * a->model.page_bytes; break;
    case 3: options.at = model_address(&a->model, 0, 0) + 1; break;
    case 4: options.flags = FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_ZEROED; break;
    default: options.flags = FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_NO_GROW; break;
    }
    op_begin(a);
    trace_op(a, "an invalid request");
    LIFE_CHECK(fallow_arena_alloc_run(a->arena, size_bytes, &options, &run) == FALLOW_ERR_INVALID, "not INVALID");
    LIFE_CHECK(fallow_arena_alloc(a->arena, 0, &base) == FALLOW_ERR_INVALID && base == &life, "not INVALID");
    check_failed(a);
    return true;
}

static bool op_check(life_arena *a, test_random *random)
{
    (void)random;
    trace_op(a, "check");
    LIFE_CHECK(fallow_arena_check(a->arena) == FALLOW_OK, "fallow_arena_check says no");
    return true;
}

static bool op_flush(life_arena *a, test_random *random)
{
    (void)random;
    trace_op(a, "flush");
    fallow_arena_flush_thread(a->arena); /* which keeps nothing: FALLOW_CACHE_NONE */
    return true;
}

/* --- trim -------------------------------------------------------------------------------------------------- */

/* Where FREE is not lazy, the library may know that (Linux) or not (Wine). */
static model_state trimmed_state(const life_arena *a)
{
    if (a->stats.purge != FALLOW_PURGE_FREE) {
        return MODEL_CLEAN;
    }
    return life.facts.has_lazy_purge ? MODEL_LAZY : MODEL_MAYBE;
}

/* Release dirty pages of the model: newest part and highest address first. */
static void trim_model(life_arena *a, uint64_t keep)
{
    model_arena *m = &a->model;
    model_census c;
    model_count(m, &c);
    bool is_decommit = a->stats.purge == FALLOW_PURGE_DECOMMIT;
    uint64_t surplus = c.dirty > keep ? c.dirty - keep : 0;
    for (unsigned part = m->part_count; part-- > 0 && surplus > 0;) {
        model_part *p = &m->parts[part];
        for (size_t index = p->piece_count; index-- > 0 && surplus > 0;) {
            model_piece piece = p->pieces[index];
            if (piece.state != MODEL_DIRTY) {
                continue;
            }
            uint64_t count = piece.count < surplus ? piece.count : surplus;
            surplus -= count;
            model_set_free(p, piece.first + piece.count - count, count, trimmed_state(a),
                           piece.is_accessible && !(is_decommit && a->is_blind));
            index = model_piece_at(p, piece.first) + 1;
        }
    }
}

/* keep_bytes 0 in DECOMMIT mode: whatever is free is not accessible afterwards. */
static void trim_model_all(life_arena *a)
{
    model_arena *m = &a->model;
    for (unsigned part = 0; part < m->part_count; part++) {
        model_part *p = &m->parts[part];
        for (size_t index = 0; index < p->piece_count; index++) {
            if (p->pieces[index].state != MODEL_USED) {
                LIFE_CHECK(a->is_blind || !p->pieces[index].is_accessible, "still accessible after trim");
                p->pieces[index].state = MODEL_CLEAN;
                p->pieces[index].is_accessible = false;
            }
        }
        model_join(p);
    }
}

/* What is released in DECOMMIT mode stays accessible in the model until the event says otherwise: a page too many or too
 * few shows in the figures. */
static void settle_trim(life_arena *a, size_t keep_bytes)
{
    model_census c;
    model_count(&a->model, &c);
    if (world_has_refused() || (c.maybe != 0 && keep_bytes != 0)) {
        hear_events(a);
        old_becomes_maybe(a);
        return;
    }
    trim_model(a, keep_bytes / a->model.page_bytes);
    hear_events(a);
    if (keep_bytes == 0 && a->stats.purge == FALLOW_PURGE_DECOMMIT) {
        trim_model_all(a);
    }
}

static bool op_trim(life_arena *a, test_random *random)
{
    size_t keep_bytes = test_below(random, 2) == 0 ? 0 : test_below(random, a->stats.retained_bytes + 1);
    size_t released_bytes = 42;
    op_begin(a);
    fallow_status status = fallow_arena_trim(a->arena, keep_bytes, &released_bytes);
    trace_op(a, "trim to %zu: %s, %zu released", keep_bytes, fallow_status_name(status), released_bytes);
    LIFE_CHECK(status == FALLOW_OK || (is_the_worlds(status) && world_has_refused()), "unexpected %s",
               fallow_status_name(status));
    settle_trim(a, keep_bytes);
    fallow_arena_stats s;
    fallow_arena_read_stats(a->arena, &s);
    LIFE_SAME("released", released_bytes, a->stats.retained_bytes - s.retained_bytes);
    LIFE_CHECK(status != FALLOW_OK || s.retained_bytes <= keep_bytes, "more is retained than was to be kept");
    return status == FALLOW_OK;
}

/* Which of the free pages goes is not the model's to say: where it is told, the events do. */
static bool op_scavenge(life_arena *a, test_random *random)
{
    bool is_all = test_below(random, 2) == 0 && a->stats.retained_bytes <= SCAVENGED_BYTES_MAX;
    uint64_t budget_ns = is_all ? UINT64_MAX : test_below(random, 1 << 20);
    unsigned percent = a->options.retain_percent != 0 ? a->options.retain_percent : 10;
    size_t released_bytes = 42;
    op_begin(a);
    fallow_status status = fallow_arena_scavenge(a->arena, budget_ns, &released_bytes);
    trace_op(a, "scavenge for %llu ns: %s, %zu released", (unsigned long long)budget_ns, fallow_status_name(status),
             released_bytes);
    LIFE_CHECK(status == FALLOW_OK || (is_the_worlds(status) && world_has_refused()), "unexpected %s",
               fallow_status_name(status));
    hear_events(a);
    if (released_bytes != 0 || status != FALLOW_OK) {
        old_becomes_maybe(a);
    }
    fallow_arena_stats s;
    fallow_arena_read_stats(a->arena, &s);
    LIFE_SAME("released", released_bytes, a->stats.retained_bytes - s.retained_bytes);
    size_t goal_bytes = s.in_use_bytes / 100 * percent + s.page_bytes;
    LIFE_CHECK(status != FALLOW_OK || budget_ns != UINT64_MAX || s.retained_bytes <= goal_bytes,
               "%zu bytes are retained, and not more than %zu should be", s.retained_bytes, goal_bytes);
    return status == FALLOW_OK;
}

/* --- arenas come and go ------------------------------------------------------------------------------------ */

static fallow_arena_options random_arena_options(life_arena *a, test_random *random)
{
    size_t page = life.facts.page_bytes << test_below(random, 3);
    uint64_t page_count = 8 + test_below(random, 120);
    bool is_large;
    fallow_arena_options o = {.page_bytes = page, .name = test_below(random, 4) == 0 ? "life" : NULL};
    switch (test_below(random, 16)) {
    case 0: page_count = 500 + test_below(random, 30); break;
    case 1: page_count = 1 + test_below(random, 4000); break;
    case 2:
    case 3:
        is_large = world_has_faults() && sizeof(void *) == 8;
        if (is_large && (!life.options.is_light || test_below(random, 8) == 0)) {
            page_count = (2 + test_below(random, 8)) * BLOCK_PAGES + test_below(random, 2) * 7;
        }
        break;
    default: break;
    }
    o.reserve_bytes = (size_t)page_count * page - test_below(random, 2);
    o.min_reserve_bytes = test_below(random, 4) == 0 ? o.reserve_bytes / 2 + 1 : 0;
    o.purge = (fallow_purge)test_below(random, 4);
    o.grow_bytes = test_below(random, 3) == 0 ? 0 : (size_t)(1 + test_below(random, 16)) * page;
    if (test_below(random, 4) == 0) {
        /* where bookkeeping comes in blocks, so near that they matter */
        size_t metadata_bytes = page_count > BLOCK_PAGES ? 512 << 10 : 2 * life.facts.page_bytes;
        page_count = page_count > BLOCK_PAGES ? 32 : page_count;
        o.limit_bytes = (size_t)(1 + test_below(random, page_count)) * page + metadata_bytes;
    }
    o.thread_cache_bytes = FALLOW_CACHE_NONE;
    o.scavenge = FALLOW_SCAVENGE_OFF; /* or the clock would say what is given back */
    o.retain_percent = test_below(random, 2) == 0 ? 0 : 1 + (unsigned)test_below(random, 1000);
    o.flags |= test_below(random, 2) == 0 ? FALLOW_ARENA_FIXED : 0;
    o.flags |= test_below(random, 4) == 0 ? FALLOW_ARENA_NO_DUMP : 0;
    o.flags |= test_below(random, 8) == 0 ? FALLOW_ARENA_NO_FORK : 0;
    a->is_blind = test_below(random, 4) == 0;
    if (!a->is_blind) {
        o.before_commit = before_commit;
        o.after_decommit = after_decommit;
        o.callback_context = a;
    }
    return o;
}

/* Take a run of addresses, which costs nothing, to learn where the arena's pages are. Without room for that much the
 * arena is useless. */
static bool learn_first_part(life_arena *a)
{
    fallow_run run;
    fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED};
    world_refuse_nothing();
    a->grants_refused = 0;
    if (fallow_arena_alloc_run(a->arena, 1, &addresses, &run) != FALLOW_OK) {
        return false;
    }
    learn_part(a, &run);
    hear_events(a);
    fallow_arena_free(a->arena, run.base, run.size_bytes);
    return true;
}

static void destroy(life_arena *a)
{
    fallow_arena_stats s;
    uint64_t taken_back = 0;
    fallow_arena_read_stats(a->arena, &s);
    op_begin(a);
    fallow_arena_destroy(a->arena);
    for (size_t index = 0; index < a->event_count; index++) {
        taken_back += a->events[index].size_bytes;
    }
    a->arena = NULL;
    model_end(&a->model);
    if (!a->is_blind) {
        LIFE_SAME("taken back by destroy", taken_back, s.committed_bytes);
    }
}

static bool op_create(life_arena *a, test_random *random)
{
    fallow_arena *arena = NULL;
    memset(a, 0, offsetof(life_arena, events)); /* without the events, which are megabytes */
    a->options = random_arena_options(a, random);
    op_begin(a);
    fallow_status status = fallow_arena_create(&a->options, &arena);
    trace_op(a, "create: page %zu, reserve %zu, limit %zu, grow %zu, purge %d, flags %#x%s: %s", a->options.page_bytes,
             a->options.reserve_bytes, a->options.limit_bytes, a->options.grow_bytes, (int)a->options.purge,
             (unsigned)a->options.flags, a->is_blind ? ", blind" : "", fallow_status_name(status));
    if (status != FALLOW_OK) {
        bool is_expected =
            status == FALLOW_ERR_LIMIT ? a->options.limit_bytes != 0 : is_the_worlds(status) && world_has_refused();
        LIFE_CHECK(is_expected, "unexpected %s", fallow_status_name(status));
        LIFE_CHECK(arena == NULL, "arena_out was written to");
        hear_events(a);
        LIFE_SAME("granted after a failure", a->granted_bytes, 0);
        return false;
    }
    a->arena = arena;
    fallow_arena_read_stats(arena, &a->stats);
    a->created_bytes = a->stats.metadata_bytes;
    model_begin(&a->model, a->options.page_bytes);
    if (!op_was_refused(a)) {
        size_t page = a->options.page_bytes;
        LIFE_SAME("usable", a->stats.usable_bytes, (a->options.reserve_bytes + page - 1) / page * page);
    }
    bool is_useful = learn_first_part(a);
    if (!is_useful) {
        hear_events(a);
        destroy(a);
        return false;
    }
    fallow_arena_read_stats(arena, &a->stats);
    return true;
}

static bool op_destroy(life_arena *a, test_random *random)
{
    (void)random;
    LIFE_CHECK(fallow_arena_check(a->arena) == FALLOW_OK, "fallow_arena_check says no");
    (void)op_look(a, random);
    trace_op(a, "destroy");
    destroy(a);
    return true;
}

/* --- a life ------------------------------------------------------------------------------------------------ */

typedef struct operation {
    bool (*run)(life_arena *a, test_random *random);
    bool needs_runs;
} operation;

static const operation operations[LIFE_KINDS] = {
    [LIFE_DESTROY] = {op_destroy, false},     [LIFE_ALLOC] = {op_alloc, false},
    [LIFE_ALLOC_RUN] = {op_alloc_run, false}, [LIFE_FREE] = {op_free, true},
    [LIFE_FREE_MANY] = {op_free_many, true},  [LIFE_SPLIT] = {op_split, true},
    [LIFE_EXTEND] = {op_extend, true},        [LIFE_SHRINK] = {op_shrink, true},
    [LIFE_COMMIT] = {op_commit, true},        [LIFE_DECOMMIT] = {op_decommit, true},
    [LIFE_TRIM] = {op_trim, false},           [LIFE_RUN_OF] = {op_run_of, false},
    [LIFE_WRITE] = {op_write, true},          [LIFE_LOOK] = {op_look, false},
    [LIFE_INVALID] = {op_invalid, false},     [LIFE_CHECK] = {op_check, false},
    [LIFE_FLUSH] = {op_flush, false},         [LIFE_SCAVENGE] = {op_scavenge, false},
};

/* The parent lives on, or the child, which has no arenas with NO_FORK. What the others are has not changed. */
static bool op_fork(life_arena *a, test_random *random)
{
    bool is_child = test_below(random, 2) == 0;
    trace_op(a, "fork: the %s lives on", is_child ? "child" : "parent");
    if (!world_has_forks()) {
        return false;
    }
    world_fork_before();
    if (is_child) {
        world_fork_child();
    } else {
        world_fork_parent();
    }
    for (int index = 0; index < ARENAS_MAX; index++) {
        life_arena *each = &life.arenas[index];
        if (is_child && each->arena != NULL && (each->options.flags & FALLOW_ARENA_NO_FORK) != 0) {
            each->arena = NULL;
            model_end(&each->model);
        }
        LIFE_CHECK(each->arena == NULL || fallow_arena_check(each->arena) == FALLOW_OK,
                   "fallow_arena_check says no to arena %d after a fork", index);
    }
    return true;
}

/* What an operation does to the world rather than to an arena. */
static bool op_on_world(life_arena *a, test_random *random)
{
    switch (life.op.kind) {
    case LIFE_FAULTS: world_refuse(test_next(random)); break;
    case LIFE_LIMIT: world_change_limit(test_next(random)); break;
    case LIFE_AGE: world_take_lazy(); break;
    case LIFE_PASS_TIME: world_pass_time(UINT64_C(1) << test_below(random, 36)); break;
    case LIFE_FORK: return op_fork(a, random);
    default:
        a->grants_passed = test_below(random, 8);
        a->grants_refused = 1 + test_below(random, 3);
        break;
    }
    trace_op(a, "%s", life_kind_name((life_kind)life.op.kind));
    return true;
}

static void op_run(const life_op *op)
{
    test_random random = {op->seed};
    life_arena *a = &life.arenas[test_below(&random, ARENAS_MAX)];
    bool is_done = false;
    life.op = *op;
    life.refused_before = world_refused();
    if (op->kind == LIFE_CREATE || a->arena == NULL) {
        if (op->kind == LIFE_CREATE && a->arena != NULL) {
            life_counts.skipped[op->kind]++;
            return;
        }
        if (op->kind >= LIFE_FAULTS && op->kind != LIFE_REFUSE_GRANTS) {
            is_done = op_on_world(a, &random);
        } else {
            life.op.kind = LIFE_CREATE;
            is_done = op_create(a, &random);
        }
    } else if (op->kind >= LIFE_FAULTS) {
        is_done = op_on_world(a, &random);
    } else if (operations[op->kind].needs_runs && a->model.run_count == 0) {
        life_counts.skipped[op->kind]++;
        return;
    } else {
        is_done = operations[op->kind].run(a, &random);
    }
    (is_done ? life_counts.done : life_counts.failed)[life.op.kind]++;
    if (a->arena != NULL) {
        op_end(a);
    }
}

static void live(const life_op *ops, size_t op_count)
{
    for (size_t index = 0; index < op_count; index++) {
        op_run(&ops[index]);
    }
    world_refuse_nothing();
    world_lift_limits();
    for (int index = 0; index < ARENAS_MAX; index++) {
        if (life.arenas[index].arena != NULL) {
            (void)op_destroy(&life.arenas[index], NULL);
        }
    }
    LIFE_CHECK(world_end(), "something is left behind");
}

/* One life in three, where the world knows of threads; no light one. */
static bool has_threads(const life_options *options)
{
    return world_has_threads() && !options->is_light && options->seed % 3 == 0;
}

const char *life_run(const life_options *options, const life_op *ops, size_t op_count)
{
    if (has_threads(options)) {
        return life_run_threads(options, ops, op_count);
    }
    for (int index = 0; index < ARENAS_MAX; index++) {
        model_end(&life.arenas[index].model);
        life.arenas[index].arena = NULL;
    }
    life.options = *options;
    life.next_stamp = MODEL_STAMP_MIN;
    life.is_charge_exact = true;
    life.has_lied = false;
    life.complaint[0] = '\0';
    world_begin(&(world_options){.seed = options->seed, .is_light = options->is_light, .stop = stopped});
    fallow_system_info(&life.facts);
    TRACE("seed %llu: %s\n", (unsigned long long)options->seed, world_name());
    if (setjmp(life.out) != 0) {
        return life.complaint;
    }
    live(ops, op_count);
    return NULL;
}

/* How often each kind comes in a calm life. */
static const unsigned char usual[LIFE_KINDS] = {
    [LIFE_CREATE] = 1,    [LIFE_DESTROY] = 1,       [LIFE_ALLOC] = 60,    [LIFE_ALLOC_RUN] = 60, [LIFE_FREE] = 90,
    [LIFE_FREE_MANY] = 2, [LIFE_SPLIT] = 10,        [LIFE_EXTEND] = 16,   [LIFE_SHRINK] = 10,    [LIFE_COMMIT] = 10,
    [LIFE_DECOMMIT] = 8,  [LIFE_TRIM] = 4,          [LIFE_RUN_OF] = 10,   [LIFE_WRITE] = 10,     [LIFE_LOOK] = 2,
    [LIFE_INVALID] = 2,   [LIFE_CHECK] = 6,         [LIFE_FLUSH] = 2,     [LIFE_FAULTS] = 0,     [LIFE_LIMIT] = 0,
    [LIFE_AGE] = 2,       [LIFE_REFUSE_GRANTS] = 0, [LIFE_PASS_TIME] = 2, [LIFE_SCAVENGE] = 3,   [LIFE_FORK] = 1,
};

size_t life_plan(const life_options *options, life_op *ops_out)
{
    test_random random = {options->seed ^ UINT64_C(0x6c69666521)};
    unsigned weights[LIFE_KINDS];
    unsigned total = 0;
    size_t op_count = 20 + test_below(&random, LIFE_OPS_MAX - 20);
    bool is_calm = test_below(&random, 3) == 0;
    for (int kind = 0; kind < LIFE_KINDS; kind++) {
        weights[kind] = usual[kind] * (1u << test_below(&random, 3));
    }
    if (!is_calm) {
        weights[LIFE_FAULTS] = 1 + (unsigned)test_below(&random, 60);
        weights[LIFE_LIMIT] = (unsigned)test_below(&random, 20);
        weights[LIFE_REFUSE_GRANTS] = (unsigned)test_below(&random, 30);
    }
    if (has_threads(options)) {
        weights[LIFE_COME] = 10 + (unsigned)test_below(&random, 20);
        weights[LIFE_GO] = 1 + (unsigned)test_below(&random, 20);
    }
    for (int kind = 0; kind < LIFE_KINDS; kind++) {
        total += weights[kind];
    }
    for (size_t index = 0; index < op_count; index++) {
        uint64_t dice = test_below(&random, total);
        uint32_t kind = 0;
        while (dice >= weights[kind]) {
            dice -= weights[kind++];
        }
        ops_out[index] = (life_op){kind, (uint32_t)index, test_next(&random)};
    }
    return op_count;
}
