/* The simulated system: sim_os.h tells what it does, this file how.
 *
 * The address space is a sorted list of *areas*, one for each reservation. An area is a sorted array of *spans*: the
 * longest ranges of pages that are in one state. So the cost follows the number of differences, not of pages.
 *
 *      area      base                                                            base + page_count * page
 *      spans     | reserved | committed | committed, lazy | reserved, charged | reserved ... |
 *
 * Every change of pages is an *edit*: the range is cut out of the spans, its spans are changed, and the figures (charge,
 * mappings) follow; then either it stands, and equal neighbours are joined, or the saved spans are put back.
 *
 * A *mapping* is what the kernel would count: a longest range with one protection, one charge and one set of attributes.
 * On Linux it can reach from one reservation into the next, on Windows it cannot. The count is that of their beginnings.
 *
 * A page that was freed lazily lies on read-only memory, so that its first write is seen: the host asks
 * is_write_fine(), and the page stops being lazy.
 *
 * An area of large pages lies on as many of them from the pool, which are taken with the reservation and come back with
 * its release. They are in no commit charge. Its spans have the small pages' count all the same. The kernel never merges
 * such mappings, not even pieces of one; here those pieces do merge.
 *
 * A light simulation has all its memory accessible to the host, but for what of an area is neither open nor committed,
 * from sim_open() to the release. What the program says that it writes to open pages is marked, page by page, so that no
 * more than that is cleared.
 *
 * Invariants, while the mutex is free
 *   - no two neighbouring spans of an area are equal; the first begins at 0; none is empty
 *   - charged_pages, lazy_pages and mapping_count are sums over all spans
 *   - the host's access to a page is host_access(its span); in a light simulation the same of pages that are not open, in
 *     areas that have some
 *   - an open page that holds anything but zero is marked as written */
#include "sim_os.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "sim_host.h"
#include "sim_schedule.h"

#define KIB ((size_t)1024)
#define ATTRIBUTES \
    ((uint32_t)(FALLOW_REGION_NO_FORK | FALLOW_REGION_WIPE_ON_FORK | FALLOW_REGION_NO_DUMP | FALLOW_REGION_HUGE_PAGES))

/* What a program has beside its reservations: made up, and never changing. */
#define OTHER_VIRTUAL ((uint64_t)64 << 20)
#define OTHER_RESIDENT ((uint64_t)8 << 20)
#define OTHER_COMMITTED ((uint64_t)4 << 20)
enum {
    OTHER_MAPPINGS = 20
};

#define LEAST_SPACE ((uint64_t)64 << 20)
#define LOW_SPACE ((size_t)512 << 20)
#define SPACE_WITHOUT_LIMIT ((uint64_t)128 << 30)

typedef struct span {
    uint64_t first; /* page of its area; it ends where the next begins */
    sim_state state;
    fallow_protection protection; /* of the mapping; a guard in the page table leaves it as it is */
    bool is_charged;
    bool is_lazy;       /* committed pages only */
    uint32_t name_mark; /* 0: no name */
    uint32_t attributes;
} span;

typedef struct area {
    struct area *next; /* at higher addresses */
    struct area *previous;
    char *base;
    uint64_t page_count;
    uint32_t attributes;
    uint32_t name_mark;
    bool is_waiting;     /* released, which was not possible yet */
    uint64_t lock_count; /* made in its memory, and not destroyed */
    uint64_t event_count;
    bool is_large;    /* of large pages */
    bool is_for_good; /* committed as a whole, and only released */
    size_t span_count;
    size_t span_room;
    span *spans;
    uint64_t open_first; /* pages that sim_open() was told of */
    uint64_t open_count;
    uint64_t *written; /* a bit for each of them */
} area;

typedef struct range {
    area *area;
    uint64_t first;
    uint64_t count;
} range;

/* Addresses where reservations can lie. */
typedef struct zone {
    char *base;
    size_t size_bytes;
} zone;

static struct {
    bool is_begun;
    sim_options options;
    size_t page_bytes;
    size_t granularity_bytes;
    uint64_t asked_bytes;
    bool is_kept; /* the host's memory */
    zone low;     /* below 4 GiB; empty where the host has no room there, or everything is low */
    zone high;    /* above it */
    area *lowest;
    area *highest;
    uint64_t live_reservations;
    uint64_t waiting_count; /* released reservations that are still there */
    uint64_t waiting_pages;
    uint64_t large_used;     /* large pages */
    uint64_t large_mark;     /* what keeps their mappings apart from all others */
    uint64_t reserved_pages; /* theirs included */
    uint64_t charged_pages;
    uint64_t lazy_pages;
    uint64_t mapping_count;
    uint64_t random;
    fallow__os_pressure *pressure; /* open, or NULL */
    sim_figures figures;
    sim_refusal refusal;
    bool is_refusing;
    uint64_t refusals;
    uint64_t asked; /* calls since sim_refuse that it is about */
    uint64_t refused;
} sim;

#define MEMORY_BYTES (UINT64_C(16) << 30)

static atomic_uint_fast64_t live_locks;
static atomic_uint_fast64_t held_locks;
static atomic_uint_fast64_t live_events;
static atomic_uint_fast64_t live_threads;
static atomic_uint_fast64_t clock_ns;

static const char *const call_names[SIM_CALLS] = {
    "reserve",  "release", "commit", "decommit", "purge",  "protect", "prefault", "guard",          "unguard",
    "resident", "process", "thread", "pressure", "advise", "lock",    "unlock",   "at_thread_exit", "barrier",
};

/* --- time ----------------------------------------------------------------------------------------------------- */

#define CLOCK_START_NS UINT64_C(1000000000)
enum {
    LOOK_NS = 20,    /* what a look at the clock takes */
    CALL_NS = 1000,  /* and any other call */
    SLEEP_NS = 1000, /* how much passes while a free sleeper looks whether it was woken */
    REST_NS = 50000, /* and if it rests */
    LOOKS_WITHOUT_REST = 50
};

static uint64_t now(void)
{
    return CLOCK_START_NS + atomic_load(&clock_ns);
}

void sim_pass_time(uint64_t ns)
{
    atomic_fetch_add_explicit(&clock_ns, ns, memory_order_relaxed);
}

/* --- the mutex of the simulation ------------------------------------------------------------------------------ */

static _Thread_local char thread_mark; /* its address tells threads apart */
static _Atomic(char *) mutex_owner;

static bool take_if_free(_Atomic(char *) *owner)
{
    char *nobody = NULL;
    return atomic_compare_exchange_weak_explicit(owner, &nobody, &thread_mark, memory_order_acquire,
                                                 memory_order_relaxed);
}

/* In a loop that waits, free or in turns. After some looks a free thread stays away for a moment: whoever it waits for
 * may need its processor. */
static void let_others(unsigned *looks)
{
    if (turn_is_on()) {
        turn_pass();
    } else {
        sim_host_yield(++*looks > LOOKS_WITHOUT_REST);
    }
}

static void mutex_acquire(void)
{
    unsigned looks = 0;
    while (!take_if_free(&mutex_owner)) {
        sim_host_yield(++looks > LOOKS_WITHOUT_REST);
    }
}

static void mutex_release(void)
{
    atomic_store_explicit(&mutex_owner, NULL, memory_order_release);
}

static bool mutex_is_ours(void)
{
    return atomic_load_explicit(&mutex_owner, memory_order_relaxed) == &thread_mark;
}

/* --- stopping ------------------------------------------------------------------------------------------------- */

#if defined(__MINGW32__)
__attribute__((noreturn, format(gnu_printf, 4, 5))) /* its own printf, which knows %zx */
#elif defined(__GNUC__)
__attribute__((noreturn, format(printf, 4, 5)))
#endif
static void
stop(sim_call call, const void *base, size_t size_bytes, const char *format, ...)
{
    char rule[160];
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(rule, sizeof rule, format, arguments);
    va_end(arguments);
    snprintf(line, sizeof line, "sim_os: %s(%p, %#zx): %s", call_names[call], base, size_bytes, rule);
    if (mutex_is_ours()) {
        mutex_release();
    }
    if (sim.options.stop != NULL) {
        sim.options.stop(line);
    }
    fprintf(stderr, "%s\n", line);
    abort();
}

static void *allocate(void *old, size_t count, size_t one_bytes)
{
    void *memory = realloc(old, count * one_bytes);
    if (memory == NULL) {
        fprintf(stderr, "sim_os: no memory for the simulation itself\n");
        abort();
    }
    return memory;
}

static bool is_windows(void)
{
    return sim.options.rules == SIM_WINDOWS;
}

/* splitmix64, as in test.h */
static uint64_t random_below(uint64_t below)
{
    uint64_t value = (sim.random += 0x9e3779b97f4a7c15u);
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return (value ^ (value >> 31)) % below;
}

static uint64_t bytes_of(uint64_t pages)
{
    return pages * sim.page_bytes;
}

/* --- spans ---------------------------------------------------------------------------------------------------- */

static uint64_t span_end(const area *a, size_t index)
{
    return index + 1 < a->span_count ? a->spans[index + 1].first : a->page_count;
}

static uint64_t span_pages(const area *a, size_t index)
{
    return span_end(a, index) - a->spans[index].first;
}

/* The span that holds a page. */
static size_t span_at(const area *a, uint64_t page)
{
    size_t low = 0;
    size_t high = a->span_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (a->spans[middle].first <= page) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The span that begins at a page, which it is made to do; span_count for the end of the area. */
static size_t span_cut(area *a, uint64_t page)
{
    if (page == a->page_count) {
        return a->span_count;
    }
    size_t index = span_at(a, page);
    if (a->spans[index].first == page) {
        return index;
    }
    if (a->span_count == a->span_room) {
        a->span_room *= 2;
        a->spans = allocate(a->spans, a->span_room, sizeof(span));
    }
    index++;
    memmove(&a->spans[index + 1], &a->spans[index], (a->span_count - index) * sizeof(span));
    a->span_count++;
    a->spans[index] = a->spans[index - 1];
    a->spans[index].first = page;
    return index;
}

static bool is_one_mapping(const span *one, const span *other)
{
    return one->protection == other->protection && one->is_charged == other->is_charged &&
           one->attributes == other->attributes && one->name_mark == other->name_mark;
}

static bool is_one_span(const span *one, const span *other)
{
    return is_one_mapping(one, other) && one->state == other->state && one->is_lazy == other->is_lazy;
}

/* Join equal neighbours among the spans from index begin - 1 to end. */
static void spans_join(area *a, size_t begin, size_t end)
{
    size_t kept = begin > 0 ? begin - 1 : 0;
    size_t limit = end < a->span_count ? end + 1 : a->span_count;
    for (size_t index = kept + 1; index < limit; index++) {
        if (!is_one_span(&a->spans[kept], &a->spans[index])) {
            a->spans[++kept] = a->spans[index];
        }
    }
    size_t gone = limit - (kept + 1);
    memmove(&a->spans[kept + 1], &a->spans[limit], (a->span_count - limit) * sizeof(span));
    a->span_count -= gone;
}

static char *page_address(const area *a, uint64_t page)
{
    return a->base + (size_t)page * sim.page_bytes;
}

static char *area_end(const area *a)
{
    return page_address(a, a->page_count);
}

/* --- mappings ------------------------------------------------------------------------------------------------- */

/* Does a mapping begin where a span begins? index may be span_count: then it is about the area behind. */
static bool begins_mapping(const area *a, size_t index)
{
    if (index > 0 && index < a->span_count) {
        return !is_one_mapping(&a->spans[index - 1], &a->spans[index]);
    }
    const area *low = index == 0 ? a->previous : a;
    const area *high = index == 0 ? a : a->next;
    if (high == NULL) {
        return false;
    }
    if (low == NULL || is_windows() || area_end(low) != high->base) {
        return true;
    }
    return !is_one_mapping(&low->spans[low->span_count - 1], &high->spans[0]);
}

static uint64_t mappings_in(const area *a, size_t begin, size_t end)
{
    uint64_t count = 0;
    for (size_t index = begin; index <= end; index++) {
        count += begins_mapping(a, index);
    }
    return count;
}

/* --- edits ---------------------------------------------------------------------------------------------------- */

typedef struct figures {
    uint64_t charged_pages;
    uint64_t lazy_pages;
    uint64_t mapping_count;
} figures;

typedef struct edit {
    area *area;
    size_t begin; /* spans that may be changed */
    size_t end;
    unsigned cuts; /* ends of the range inside a mapping: what the kernel would have to split */
    span *saved;
    span few[8]; /* what is saved, if it is not more */
    figures before;
} edit;

static figures figures_of(const area *a, size_t begin, size_t end)
{
    figures found = {.mapping_count = mappings_in(a, begin, end)};
    for (size_t index = begin; index < end; index++) {
        found.charged_pages += a->spans[index].is_charged ? span_pages(a, index) : 0;
        found.lazy_pages += a->spans[index].is_lazy ? span_pages(a, index) : 0;
    }
    return found;
}

static edit edit_begin(range part)
{
    edit e = {.area = part.area};
    e.begin = span_cut(part.area, part.first);
    e.end = span_cut(part.area, part.first + part.count);
    e.cuts = !begins_mapping(e.area, e.begin);
    bool is_at_end = e.end == e.area->span_count && (e.area->next == NULL || area_end(e.area) != e.area->next->base);
    e.cuts += !is_at_end && !begins_mapping(e.area, e.end);
    e.before = figures_of(e.area, e.begin, e.end);
    return e;
}

static void edit_save(edit *e)
{
    size_t count = e->end - e->begin;
    e->saved = count <= sizeof e->few / sizeof e->few[0] ? e->few : allocate(NULL, count, sizeof(span));
    memcpy(e->saved, &e->area->spans[e->begin], count * sizeof(span));
}

static void edit_apply_figures(edit *e)
{
    figures now = figures_of(e->area, e->begin, e->end);
    sim.charged_pages += now.charged_pages - e->before.charged_pages;
    sim.lazy_pages += now.lazy_pages - e->before.lazy_pages;
    sim.mapping_count += now.mapping_count - e->before.mapping_count;
    e->before = now;
}

static void edit_undo(edit *e)
{
    memcpy(&e->area->spans[e->begin], e->saved, (e->end - e->begin) * sizeof(span));
    edit_apply_figures(e);
}

static void edit_end(edit *e)
{
    if (e->saved != e->few) {
        free(e->saved);
    }
    spans_join(e->area, e->begin, e->end);
}

/* --- the host ------------------------------------------------------------------------------------------------- */

static sim_host_access host_access(const span *s)
{
    if (s->state != SIM_COMMITTED) {
        return SIM_HOST_NONE;
    }
    switch (s->protection) {
    case FALLOW_PROTECTION_NONE: return SIM_HOST_NONE;
    case FALLOW_PROTECTION_READ: return SIM_HOST_READ;
    case FALLOW_PROTECTION_READ_WRITE: return s->is_lazy ? SIM_HOST_READ : SIM_HOST_WRITE;
    case FALLOW_PROTECTION_READ_EXECUTE: return SIM_HOST_EXECUTE;
    }
    return SIM_HOST_NONE;
}

/* A range and its three pieces: [first, open_first) below the open pages, [open_first, open_end), [open_end, end). */
typedef struct pieces {
    uint64_t first;
    uint64_t open_first;
    uint64_t open_end;
    uint64_t end;
} pieces;

static uint64_t clamped(uint64_t page, uint64_t least, uint64_t most)
{
    return page < least ? least : page > most ? most : page;
}

static pieces pieces_of(const area *a, uint64_t first, uint64_t count)
{
    uint64_t end = first + count;
    return (pieces){
        .first = first,
        .open_first = clamped(a->open_first, first, end),
        .open_end = clamped(a->open_first + a->open_count, first, end),
        .end = end,
    };
}

static bool is_light(void)
{
    return (sim.options.flags & SIM_LIGHT) != 0;
}

static void host_set_access(const area *a, uint64_t first, uint64_t count, sim_host_access access)
{
    pieces p = pieces_of(a, first, count);
    if (is_light() && a->open_count == 0) {
        return;
    }
    if (p.open_first > p.first) {
        sim_host_set_access(page_address(a, p.first), (size_t)bytes_of(p.open_first - p.first), access);
    }
    if (p.end > p.open_end) {
        sim_host_set_access(page_address(a, p.open_end), (size_t)bytes_of(p.end - p.open_end), access);
    }
}

static void open_zero(const area *a, uint64_t first, uint64_t end)
{
    for (uint64_t page = first; page < end;) {
        uint64_t bit = page - a->open_first;
        uint64_t next = page - bit % 64 + 64; /* of the next word */
        uint64_t mask = fallow__mask(bit % 64, (unsigned)((next < end ? next : end) - page));
        for (uint64_t found = a->written[bit / 64] & mask; found != 0; found &= found - 1) {
            char *base = page_address(a, page - bit % 64 + fallow__lowest_bit(found));
            memset(base, 0, SIM_OPEN_HEAD);
            memset(base + sim.page_bytes - SIM_OPEN_TAIL, 0, SIM_OPEN_TAIL);
        }
        a->written[bit / 64] &= ~mask;
        page = next;
    }
}

/* Pages whose access is `access` are zero now. */
static void host_zero(const area *a, uint64_t first, uint64_t count, sim_host_access access)
{
    pieces p = pieces_of(a, first, count);
    if (p.open_first > p.first) {
        sim_host_zero(page_address(a, p.first), (size_t)bytes_of(p.open_first - p.first), access);
    }
    if (p.open_end > p.open_first) {
        open_zero(a, p.open_first, p.open_end);
    }
    if (p.end > p.open_end) {
        sim_host_zero(page_address(a, p.open_end), (size_t)bytes_of(p.end - p.open_end), access);
    }
}

/* Does the access of a span, which the edit has saved, change? What was dropped has none; where memory is kept, nothing
 * is dropped. */
static bool host_changes(const edit *e, size_t index)
{
    const span *now = &e->area->spans[index];
    if (sim.is_kept) {
        return host_access(now) != host_access(&e->saved[index - e->begin]);
    }
    return now->state == SIM_COMMITTED;
}

/* Give the memory of the edit's spans the access that the books say. */
static void host_follow(const edit *e)
{
    for (size_t index = e->begin; index < e->end;) {
        size_t first = index;
        uint64_t count = 0;
        sim_host_access access = host_access(&e->area->spans[first]);
        bool is_change = host_changes(e, first);
        while (index < e->end && host_access(&e->area->spans[index]) == access && host_changes(e, index) == is_change) {
            count += span_pages(e->area, index);
            index++;
        }
        if (is_change) {
            host_set_access(e->area, e->area->spans[first].first, count, access);
        }
    }
}

/* The contents of spans go, before the books say so. */
static void host_forget(const area *a, size_t begin, size_t end)
{
    if (!sim.is_kept) {
        sim_host_drop(page_address(a, a->spans[begin].first),
                      (size_t)bytes_of(span_end(a, end - 1) - a->spans[begin].first));
        return;
    }
    for (size_t index = begin; index < end; index++) {
        if (a->spans[index].state == SIM_COMMITTED) {
            host_zero(a, a->spans[index].first, span_pages(a, index), host_access(&a->spans[index]));
        }
    }
}

/* --- lazily freed pages --------------------------------------------------------------------------------------- */

/* Pages of one lazy span: written, or taken by the system. Either way they are ordinary pages again. */
static void lazy_settle(area *a, uint64_t first, uint64_t count, bool is_taken)
{
    range part = {a, first, count};
    edit e = edit_begin(part);
    edit_save(&e);
    if (is_taken) {
        host_zero(a, first, count, host_access(&a->spans[e.begin]));
        sim.figures.lazy_taken += count;
    }
    a->spans[e.begin].is_lazy = false;
    edit_apply_figures(&e);
    host_follow(&e);
    edit_end(&e);
}

static area *area_at(const void *address)
{
    area *a = sim.lowest;
    while (a != NULL && (const char *)address >= area_end(a)) {
        a = a->next;
    }
    return a != NULL && (const char *)address >= a->base ? a : NULL;
}

static bool write_settles(const void *address)
{
    area *a = area_at(address);
    if (a == NULL) {
        return false;
    }
    uint64_t page = (uint64_t)((const char *)address - a->base) / sim.page_bytes;
    const span *s = &a->spans[span_at(a, page)];
    if (s->state != SIM_COMMITTED || s->protection != FALLOW_PROTECTION_READ_WRITE) {
        return false;
    }
    if (s->is_lazy) {
        lazy_settle(a, page, 1, false);
    }
    return true; /* or it was settled while this thread waited */
}

static bool zone_holds(const zone *room, const void *address)
{
    return (uintptr_t)address - (uintptr_t)room->base < room->size_bytes;
}

/* In the signal handler of a thread that has touched memory; never inside the simulation itself. */
static bool is_write_fine(void *address)
{
    if ((!zone_holds(&sim.low, address) && !zone_holds(&sim.high, address)) || mutex_is_ours()) {
        return false;
    }
    mutex_acquire();
    bool is_fine = write_settles(address);
    mutex_release();
    return is_fine;
}

/* The lazy page of a number, counted through all areas. */
static range lazy_page(uint64_t number)
{
    for (area *a = sim.lowest; a != NULL; a = a->next) {
        for (size_t index = 0; index < a->span_count; index++) {
            uint64_t pages = a->spans[index].is_lazy ? span_pages(a, index) : 0;
            if (number < pages) {
                return (range){a, a->spans[index].first + number, pages - number};
            }
            number -= pages;
        }
    }
    return (range){0};
}

static void lazy_take_some(void)
{
    if (sim.lazy_pages == 0) {
        return;
    }
    sim_host_watch(is_write_fine); /* a test framework may have taken the signal since */
    if (random_below(4) == 0) {
        range found = lazy_page(random_below(sim.lazy_pages));
        uint64_t count = 1 + random_below(8);
        lazy_settle(found.area, found.first, count < found.count ? count : found.count, true);
    }
}

void sim_take_lazy(void)
{
    mutex_acquire();
    while (sim.lazy_pages != 0) {
        range found = lazy_page(0);
        lazy_settle(found.area, found.first, found.count, true);
    }
    mutex_release();
}

void sim_before_write(void *address)
{
    mutex_acquire();
    (void)write_settles(address);
    mutex_release();
}

/* --- open pages ----------------------------------------------------------------------------------------------- */

/* Pages of one area. */
static range range_at(const void *base, size_t size_bytes)
{
    area *a = area_at(base);
    if (a == NULL || (size_t)(area_end(a) - (const char *)base) < size_bytes) {
        stop(SIM_PROTECT, base, size_bytes, "not inside one reservation");
    }
    uint64_t first = (uint64_t)((const char *)base - a->base) / sim.page_bytes;
    return (range){a, first, size_bytes / sim.page_bytes};
}

void sim_open(void *base, size_t size_bytes)
{
    mutex_acquire();
    range opened = range_at(base, size_bytes);
    area *a = opened.area;
    if (!is_light() || a->open_count != 0) {
        stop(SIM_PROTECT, base, size_bytes, "opened twice, or the simulation is not light");
    }
    a->open_first = opened.first;
    a->open_count = opened.count;
    a->written = calloc((size_t)(opened.count / 64 + 1), sizeof a->written[0]);
    if (a->written == NULL) {
        stop(SIM_PROTECT, base, size_bytes, "no memory for the marks");
    }
    for (size_t index = 0; index < a->span_count; index++) {
        if (host_access(&a->spans[index]) != SIM_HOST_WRITE) {
            host_set_access(a, a->spans[index].first, span_pages(a, index), host_access(&a->spans[index]));
        }
    }
    mutex_release();
}

static void mark_written(const area *a, uint64_t first, uint64_t end)
{
    for (uint64_t page = first; page < end; page++) {
        uint64_t bit = page - a->open_first;
        a->written[bit / 64] |= UINT64_C(1) << bit % 64;
    }
}

bool sim_open_write(void *base, size_t size_bytes)
{
    mutex_acquire();
    range part = range_at(base, size_bytes);
    pieces opened = pieces_of(part.area, part.first, part.count);
    bool is_fine = true;
    for (uint64_t page = opened.open_first; is_fine && page < opened.open_end;) {
        size_t index = span_at(part.area, page);
        const span *s = &part.area->spans[index];
        uint64_t next = clamped(span_end(part.area, index), page, opened.open_end);
        is_fine = s->state == SIM_COMMITTED && s->protection == FALLOW_PROTECTION_READ_WRITE;
        if (is_fine && s->is_lazy) {
            lazy_settle(part.area, page, next - page, false);
        }
        page = next;
    }
    if (is_fine) {
        mark_written(part.area, opened.open_first, opened.open_end);
    }
    mutex_release();
    return is_fine;
}

/* --- why a call is refused ------------------------------------------------------------------------------------ */

/* The code that the system would give with a status; only that it is not 0 matters to anyone. */
static int64_t code_of(fallow_status status)
{
    switch (status) {
    case FALLOW_ERR_ADDRESS_SPACE: return is_windows() ? 487 : 12; /* ERROR_INVALID_ADDRESS, ENOMEM */
    case FALLOW_ERR_COMMIT: return is_windows() ? 1455 : 12;       /* ERROR_COMMITMENT_LIMIT, ENOMEM */
    case FALLOW_ERR_LOCKED: return is_windows() ? 1453 : 11;       /* ERROR_WORKING_SET_QUOTA, EAGAIN */
    case FALLOW_ERR_PERMISSION: return is_windows() ? 5 : 1;       /* ERROR_ACCESS_DENIED, EPERM */
    case FALLOW_ERR_MAP_COUNT: return 12;
    default: return is_windows() ? 8 : 22; /* ERROR_NOT_ENOUGH_MEMORY, EINVAL */
    }
}

static const char *limit_name(sim_limit limit)
{
    switch (limit) {
    case SIM_LIMIT_ADDRESSES: return "RLIMIT_AS";
    case SIM_LIMIT_COMMIT: return is_windows() ? "commit limit (memory and page file)" : "CommitLimit";
    case SIM_LIMIT_DATA: return "RLIMIT_DATA";
    case SIM_LIMIT_MAPPINGS: return "vm.max_map_count";
    case SIM_LIMIT_LOCKED: return "RLIMIT_MEMLOCK";
    case SIM_LIMITS: break;
    }
    return NULL;
}

static bool has_data_limit(void)
{
    return !is_windows() && sim.options.limits[SIM_LIMIT_DATA] != SIM_NO_LIMIT;
}

static sim_limit limit_of(fallow_status status)
{
    switch (status) {
    case FALLOW_ERR_ADDRESS_SPACE: return SIM_LIMIT_ADDRESSES;
    case FALLOW_ERR_COMMIT: return has_data_limit() ? SIM_LIMIT_DATA : SIM_LIMIT_COMMIT;
    case FALLOW_ERR_MAP_COUNT: return SIM_LIMIT_MAPPINGS;
    case FALLOW_ERR_LOCKED: return SIM_LIMIT_LOCKED;
    default: return SIM_LIMITS;
    }
}

/* Whether `used` and `more` are over a limit. */
static bool is_over(sim_limit limit, uint64_t used, uint64_t more)
{
    uint64_t most = sim.options.limits[limit];
    return most != SIM_NO_LIMIT && (used > most || more > most - used);
}

static bool is_over_mappings(uint64_t used, uint64_t more)
{
    return !is_windows() && is_over(SIM_LIMIT_MAPPINGS, used, more);
}

static void count_refusal(sim_call call)
{
    sim.figures.refused[call]++;
    sim.refusals++;
}

/* A limit is named where there is one; then the figures of the moment tell which. */
static fallow_status fail(sim_call call, fallow_status status, fallow__os_error *error_out)
{
    sim_limit limit = limit_of(status);
    *error_out = (fallow__os_error){.code = code_of(status)};
    if (limit != SIM_LIMITS && sim.options.limits[limit] != SIM_NO_LIMIT) {
        error_out->limit_name = limit_name(limit);
        error_out->limit_value = sim.options.limits[limit];
    }
    count_refusal(call);
    return status;
}

static fallow_status usual_status(sim_call call)
{
    switch (call) {
    case SIM_RESERVE: return FALLOW_ERR_ADDRESS_SPACE;
    case SIM_COMMIT:
    case SIM_PREFAULT:
    case SIM_UNGUARD: return FALLOW_ERR_COMMIT;
    case SIM_RELEASE:
    case SIM_DECOMMIT:
    case SIM_PROTECT:
    case SIM_GUARD: return is_windows() ? FALLOW_ERR_OS : FALLOW_ERR_MAP_COUNT;
    case SIM_PURGE: return is_windows() ? FALLOW_ERR_COMMIT : FALLOW_ERR_OS;
    default: return FALLOW_ERR_OS;
    }
}

/* Does the planned refusal meet this call? */
static bool is_refused(sim_call call)
{
    const sim_refusal *plan = &sim.refusal;
    uint32_t calls = plan->calls != 0 ? plan->calls : SIM_EVERY_CALL;
    if (!sim.is_refusing || (calls & SIM_CALL(call)) == 0) {
        return false;
    }
    uint64_t number = sim.asked++;
    uint64_t every = plan->every != 0 ? plan->every : 1;
    uint64_t times = plan->times != 0 ? plan->times : 1;
    if (number < plan->skip || (number - plan->skip) % every != 0 || sim.refused >= times) {
        return false;
    }
    sim.refused++;
    return true;
}

static fallow_status fail_as_planned(sim_call call, fallow__os_error *error_out)
{
    fallow_status status = sim.refusal.status != FALLOW_OK ? sim.refusal.status : usual_status(call);
    return fail(call, status, error_out);
}

/* --- into a call and out of it -------------------------------------------------------------------------------- */

static void begin_by_environment(void);

static void tell_hook(sim_call call, const void *base, size_t size_bytes)
{
    static _Thread_local bool is_inside;
    if (sim.options.hook != NULL && !is_inside) {
        is_inside = true;
        sim.options.hook(sim.options.hook_context, call, base, size_bytes);
        is_inside = false;
    }
}

static void enter(sim_call call, const void *base, size_t size_bytes)
{
    if (!sim.is_begun) {
        begin_by_environment();
    }
    tell_hook(call, base, size_bytes);
    sim_offer();
    sim_pass_time(CALL_NS);
    mutex_acquire();
    sim.figures.calls[call]++;
    lazy_take_some();
}

static fallow_status leave(fallow_status status)
{
    mutex_release();
    return status;
}

/* What ranges are multiples of. */
static size_t unit_of(const area *a)
{
    return a->is_large ? sim.options.large_page_bytes : sim.page_bytes;
}

/* Begin a call about a range: what os.h lets an implementation assume is checked here. */
static range enter_range(sim_call call, const fallow_region *region, const void *base, size_t size_bytes)
{
    enter(call, base, size_bytes);
    area *a = area_at(region->base);
    uintptr_t offset = (uintptr_t)base - (uintptr_t)region->base;
    if (a == NULL || a->is_waiting || a->base != region->base || bytes_of(a->page_count) != region->size_bytes) {
        stop(call, base, size_bytes, "the region [%p, %#zx) is not a live reservation", region->base,
             region->size_bytes);
    }
    if (size_bytes == 0) {
        stop(call, base, size_bytes, "an empty range");
    }
    if (a->is_for_good && call != SIM_RELEASE) {
        stop(call, base, size_bytes, "committed for good");
    }
    if (region->page_bytes != unit_of(a)) {
        stop(call, base, size_bytes, "pages of %#zx, not %#zx", unit_of(a), region->page_bytes);
    }
    if (((offset | size_bytes) & (unit_of(a) - 1)) != 0) {
        stop(call, base, size_bytes, "not whole pages of %#zx", unit_of(a));
    }
    if (offset > region->size_bytes || size_bytes > region->size_bytes - offset) {
        stop(call, base, size_bytes, "not inside the region [%p, %#zx)", region->base, region->size_bytes);
    }
    return (range){a, offset / sim.page_bytes, size_bytes / sim.page_bytes};
}

/* Every page must be in one of a set of states. */
static void require_states(sim_call call, range part, unsigned states)
{
    static const char *const names[] = {"", "reserved", "committed", "guarded"};
    for (uint64_t page = part.first; page < part.first + part.count;) {
        size_t index = span_at(part.area, page);
        sim_state state = part.area->spans[index].state;
        if ((states & (1u << state)) == 0) {
            stop(call, page_address(part.area, part.first), (size_t)bytes_of(part.count), "the page at %p is %s",
                 (void *)page_address(part.area, page), names[state]);
        }
        page = span_end(part.area, index);
    }
}

/* --- facts ---------------------------------------------------------------------------------------------------- */

size_t fallow__os_page_bytes(void)
{
    if (!sim.is_begun) {
        begin_by_environment();
    }
    return sim.page_bytes;
}

static bool has(uint32_t missing_flag)
{
    return (sim.options.flags & missing_flag) == 0;
}

void fallow__os_kind(fallow_system *system_out)
{
    fallow_system whole;
    fallow__os_system(&whole);
    *system_out = (fallow_system){
        .page_bytes = whole.page_bytes,
        .granularity_bytes = whole.granularity_bytes,
        .address_space_bytes = whole.address_space_bytes,
    };
}

void fallow__os_system(fallow_system *system_out)
{
    size_t page_bytes = fallow__os_page_bytes(); /* begins */
    mutex_acquire();
    *system_out = (fallow_system){
        .page_bytes = page_bytes,
        .granularity_bytes = sim.granularity_bytes,
        .large_page_bytes = sim.options.large_page_count != 0 ? sim.options.large_page_bytes : 0,
        .address_space_bytes = sizeof(void *) < 8 ? UINT64_C(1) << 32 : UINT64_C(1) << 47,
        .address_space_limit = sim.options.limits[SIM_LIMIT_ADDRESSES],
        .data_limit = is_windows() ? UINT64_MAX : sim.options.limits[SIM_LIMIT_DATA],
        .locked_limit = sim.options.limits[SIM_LIMIT_LOCKED],
        .memory_bytes = MEMORY_BYTES,
        .commit_limit = sim.options.limits[SIM_LIMIT_COMMIT],
        .committed_bytes = OTHER_COMMITTED + bytes_of(sim.charged_pages),
        .map_count_limit = is_windows() ? UINT64_MAX : sim.options.limits[SIM_LIMIT_MAPPINGS],
        .overcommit_mode = is_windows()                                           ? -1
                           : sim.options.limits[SIM_LIMIT_COMMIT] != SIM_NO_LIMIT ? 2
                                                                                  : 1,
        .has_lazy_purge = has(SIM_NO_LAZY_PURGE),
        .has_guard_install = has(SIM_NO_GUARD_INSTALL),
        .has_populate = !is_windows(),
        .has_mapping_names = !is_windows(),
    };
    snprintf(system_out->os_name, sizeof system_out->os_name, "%s, simulated, pages of %zu KiB",
             is_windows() ? "Windows" : "Linux", page_bytes / KIB);
    mutex_release();
}

uint64_t fallow__os_memory_limit(void)
{
    return MEMORY_BYTES;
}

static uint64_t committed_pages(const area *a)
{
    uint64_t pages = 0;
    for (size_t index = 0; index < a->span_count; index++) {
        bool is_writable = a->spans[index].protection == FALLOW_PROTECTION_READ_WRITE;
        pages += is_writable && a->spans[index].state == SIM_COMMITTED ? span_pages(a, index) : 0;
    }
    return pages;
}

/* What RLIMIT_DATA bounds. */
static uint64_t writable_pages(void)
{
    uint64_t pages = 0;
    for (const area *a = sim.lowest; a != NULL; a = a->next) {
        pages += committed_pages(a);
    }
    return pages;
}

/* Committed spans next to one another are asked about in one go. */
static uint64_t resident_bytes(range part)
{
    uint64_t bytes = 0;
    uint64_t end = part.first + part.count;
    for (uint64_t page = part.first; page < end;) {
        size_t index = span_at(part.area, page);
        uint64_t first = page;
        while (page < end && part.area->spans[index].state == SIM_COMMITTED) {
            page = span_end(part.area, index++);
            page = page < end ? page : end;
        }
        if (page > first) {
            bytes += sim_host_resident(page_address(part.area, first), (size_t)bytes_of(page - first), sim.page_bytes);
        } else {
            page = span_end(part.area, index);
        }
    }
    return bytes;
}

fallow_status fallow__os_process(fallow_process *process_out, fallow__os_error *error_out)
{
    static uint64_t peak_bytes;
    enter(SIM_PROCESS, NULL, 0);
    if (is_refused(SIM_PROCESS)) {
        return leave(fail_as_planned(SIM_PROCESS, error_out));
    }
    fallow_process process = {
        .virtual_bytes = OTHER_VIRTUAL + bytes_of(sim.reserved_pages),
        .resident_bytes = OTHER_RESIDENT,
        .committed_bytes = OTHER_COMMITTED,
        .lazy_free_bytes = 0,
        .map_count = OTHER_MAPPINGS + sim.mapping_count,
        .unreleased_bytes = bytes_of(sim.waiting_pages),
    };
    for (area *a = sim.lowest; a != NULL; a = a->next) {
        process.resident_bytes += resident_bytes((range){a, 0, a->page_count});
    }
    process.committed_bytes += bytes_of(writable_pages());
    peak_bytes = peak_bytes > process.resident_bytes ? peak_bytes : process.resident_bytes;
    process.peak_resident_bytes = peak_bytes;
    *process_out = process;
    return leave(FALLOW_OK);
}

uint64_t fallow__os_address_space_left(void)
{
    (void)fallow__os_page_bytes(); /* begins */
    uint64_t limit = sim.options.limits[SIM_LIMIT_ADDRESSES];
    uint64_t used = bytes_of(sim.reserved_pages);
    if (limit == SIM_NO_LIMIT) {
        return UINT64_MAX;
    }
    return used < limit ? limit - used : 0;
}

int fallow__os_environment(const char *name, char *buffer_out, size_t buffer_bytes)
{
    return sim_host_environment(name, buffer_out, buffer_bytes);
}

/* --- reserve and release -------------------------------------------------------------------------------------- */

/* Where a reservation goes: behind which area, at which address. */
typedef struct spot {
    area *below; /* NULL: it is the lowest */
    uintptr_t first;
} spot;

typedef struct wish {
    const zone *room;
    size_t size_bytes;
    size_t align_bytes; /* at least the granularity */
} wish;

static uintptr_t larger(uintptr_t one, uintptr_t other)
{
    return one > other ? one : other;
}

/* The free addresses of the zone above an area: [*first_out, *end_out), which may be empty. false: too few. */
static bool gap_above(const wish *wanted, const area *below, uintptr_t *first_out, uintptr_t *end_out)
{
    const area *above = below != NULL ? below->next : sim.lowest;
    uintptr_t zone_first = (uintptr_t)wanted->room->base;
    uintptr_t zone_end = zone_first + wanted->room->size_bytes;
    uintptr_t first = larger(below != NULL ? (uintptr_t)area_end(below) : 0, zone_first);
    *first_out = (uintptr_t)fallow__align_up(first, sim.granularity_bytes);
    *end_out = above != NULL && (uintptr_t)above->base < zone_end ? (uintptr_t)above->base : zone_end;
    return *first_out <= *end_out && wanted->size_bytes <= *end_out - *first_out;
}

static bool place_at(const wish *wanted, uintptr_t address, spot *spot_out)
{
    uintptr_t first;
    uintptr_t end;
    *spot_out = (spot){.first = address};
    for (area *a = sim.lowest; a != NULL && (uintptr_t)a->base < address; a = a->next) {
        spot_out->below = a;
    }
    return (address & (wanted->align_bytes - 1)) == 0 && gap_above(wanted, spot_out->below, &first, &end) &&
           address >= first && address <= end && wanted->size_bytes <= end - address;
}

/* Linux takes the highest place, which puts reservations side by side. */
static bool place_highest(const wish *wanted, spot *spot_out)
{
    uintptr_t first;
    uintptr_t end;
    for (area *below = sim.highest;; below = below->previous) {
        if (gap_above(wanted, below, &first, &end)) {
            *spot_out = (spot){below, (end - wanted->size_bytes) & ~(uintptr_t)(wanted->align_bytes - 1)};
            if (spot_out->first >= first) {
                return true;
            }
        }
        if (below == NULL) {
            return false;
        }
    }
}

/* Windows takes the lowest. */
static bool place_lowest(const wish *wanted, spot *spot_out)
{
    uintptr_t first;
    uintptr_t end;
    for (area *below = NULL;; below = below != NULL ? below->next : sim.lowest) {
        if (gap_above(wanted, below, &first, &end)) {
            *spot_out = (spot){below, (first + (wanted->align_bytes - 1)) & ~(uintptr_t)(wanted->align_bytes - 1)};
            if (spot_out->first >= first && spot_out->first <= end && wanted->size_bytes <= end - spot_out->first) {
                return true;
            }
        }
        if (below == sim.highest) {
            return false;
        }
    }
}

static bool place(size_t size_bytes, const fallow_region_options *options, spot *spot_out)
{
    bool is_low = (options->flags & FALLOW_REGION_LOW_4G) != 0 && sizeof(void *) == 8;
    bool is_exact = (options->flags & FALLOW_REGION_EXACT) != 0;
    size_t align_bytes = options->align_bytes > sim.granularity_bytes ? options->align_bytes : sim.granularity_bytes;
    wish low = {&sim.low, size_bytes, align_bytes};
    wish high = {&sim.high, size_bytes, align_bytes};
    wish *wanted = is_low ? &low : &high;
    /* what a reservation takes of the space */
    if (!fallow__align_up_checked(size_bytes, sim.granularity_bytes, &low.size_bytes)) {
        return false;
    }
    high.size_bytes = low.size_bytes;
    if (options->hint != NULL && (place_at(&low, (uintptr_t)options->hint, spot_out) ||
                                  (!is_low && place_at(&high, (uintptr_t)options->hint, spot_out)))) {
        return true;
    }
    return !is_exact && (is_windows() ? place_lowest(wanted, spot_out) : place_highest(wanted, spot_out));
}

static uint32_t flags_in_force(uint32_t flags)
{
    uint32_t dropped = 0;
    if (is_windows() || (sim.options.flags & SIM_NO_ADVICE) != 0) {
        dropped |= ATTRIBUTES;
    }
    return flags & ~dropped;
}

/* Put an area into the list; its mapping is counted. */
static void area_link(area *a, area *below)
{
    a->previous = below;
    a->next = below != NULL ? below->next : sim.lowest;
    if (a->next != NULL) {
        sim.mapping_count -= begins_mapping(a->next, 0); /* while it does not know of the new one */
        a->next->previous = a;
        sim.mapping_count += begins_mapping(a->next, 0);
    } else {
        sim.highest = a;
    }
    if (below != NULL) {
        below->next = a;
    } else {
        sim.lowest = a;
    }
    sim.mapping_count += begins_mapping(a, 0);
    sim.live_reservations++;
    sim.reserved_pages += a->page_count;
}

/* Take it out, with all that is counted of it. */
static void area_unlink(area *a)
{
    figures gone = figures_of(a, 0, a->span_count);
    if (a->previous != NULL) {
        a->previous->next = a->next;
    } else {
        sim.lowest = a->next;
    }
    if (a->next != NULL) {
        a->next->previous = a->previous;
        gone.mapping_count -= begins_mapping(a->next, 0);
    } else {
        sim.highest = a->previous;
    }
    sim.mapping_count -= gone.mapping_count;
    sim.charged_pages -= gone.charged_pages;
    sim.lazy_pages -= gone.lazy_pages;
    sim.large_used -= a->is_large ? bytes_of(a->page_count) / sim.options.large_page_bytes : 0;
    sim.live_reservations -= !a->is_waiting;
    sim.waiting_count -= a->is_waiting;
    sim.waiting_pages -= a->is_waiting ? a->page_count : 0;
    sim.reserved_pages -= a->page_count;
}

static void area_destroy(area *a)
{
    area_unlink(a);
    host_forget(a, 0, a->span_count);
    sim_host_access left = is_light() ? SIM_HOST_WRITE : SIM_HOST_NONE;
    for (size_t index = 0; sim.is_kept && index < a->span_count; index++) {
        if (host_access(&a->spans[index]) != left) {
            host_set_access(a, a->spans[index].first, span_pages(a, index), left);
        }
    }
    free(a->written);
    free(a->spans);
    free(a);
}

/* Two names that differ keep mappings apart. FNV-1a */
static uint32_t mark_of(const char *name)
{
    uint32_t mark = 2166136261u;
    if (name == NULL || name[0] == '\0') {
        return 0;
    }
    for (; *name != '\0'; name++) {
        mark = (mark ^ (unsigned char)*name) * 16777619u;
    }
    return mark != 0 ? mark : 1;
}

static area *area_create(uintptr_t first, size_t size_bytes, uint32_t flags, const char *name)
{
    area *a = allocate(NULL, 1, sizeof(area));
    *a = (area){
        .base = (char *)first,
        .page_count = size_bytes / sim.page_bytes,
        .attributes = flags & ATTRIBUTES,
        .name_mark = is_windows() ? 0 : mark_of(name),
        .span_count = 1,
        .span_room = 8,
    };
    a->spans = allocate(NULL, a->span_room, sizeof(span));
    a->spans[0] = (span){.state = SIM_RESERVED, .attributes = a->attributes, .name_mark = a->name_mark};
    return a;
}

static fallow_status why_no_reserve(size_t size_bytes)
{
    if (is_over(SIM_LIMIT_ADDRESSES, bytes_of(sim.reserved_pages), size_bytes)) {
        return FALLOW_ERR_ADDRESS_SPACE;
    }
    if ((sim.options.flags & SIM_IS_LOCKED) != 0 && !is_windows() &&
        is_over(SIM_LIMIT_LOCKED, bytes_of(sim.reserved_pages), size_bytes)) {
        return FALLOW_ERR_LOCKED;
    }
    return FALLOW_OK;
}

/* Whether the pool, and the addresses, have room for it in large pages. The size is rounded up. */
static bool place_large(size_t *size_bytes, const fallow_region_options *options, spot *spot_out)
{
    size_t large_bytes = sim.options.large_page_bytes;
    size_t whole_bytes;
    fallow_region_options aligned = *options;
    if (large_bytes == 0 || ((uintptr_t)options->hint & (large_bytes - 1)) != 0 ||
        !fallow__align_up_checked(*size_bytes, large_bytes, &whole_bytes) ||
        whole_bytes / large_bytes > sim.options.large_page_count - sim.large_used ||
        why_no_reserve(whole_bytes) != FALLOW_OK) {
        return false;
    }
    aligned.align_bytes = aligned.align_bytes > large_bytes ? aligned.align_bytes : large_bytes;
    if (!place(whole_bytes, &aligned, spot_out)) {
        return false;
    }
    *size_bytes = whole_bytes;
    return true;
}

static void area_make_large(area *a)
{
    a->is_large = true;
    a->name_mark = (uint32_t)++sim.large_mark | UINT32_C(1) << 31;
    a->spans[0].name_mark = a->name_mark;
    sim.large_used += bytes_of(a->page_count) / sim.options.large_page_bytes;
}

/* Out of the middle of a mapping that reaches over both neighbours: one more is needed. */
static bool can_unmap(area *a)
{
    edit e = edit_begin((range){a, 0, a->page_count});
    return e.cuts != 2 || e.before.mapping_count != 0 || !is_over_mappings(sim.mapping_count, 1);
}

static void decommit_spans(range part, fallow__os_left left, bool has_attributes);

/* As src/posix/waiting.c: its memory is gone, its addresses wait. false: as many wait as can. */
static bool area_wait(area *a)
{
    if (sim.waiting_count == SIM_WAITING_MOST) {
        return false;
    }
    decommit_spans((range){a, 0, a->page_count}, FALLOW__OS_LEFT_ACCESSIBLE, true);
    a->is_waiting = true;
    sim.live_reservations--;
    sim.waiting_count++;
    sim.waiting_pages += a->page_count;
    return true;
}

static void release_waiting(void)
{
    for (area *a = sim.lowest; sim.waiting_count != 0 && a != NULL;) {
        area *above = a->next;
        if (a->is_waiting && can_unmap(a)) {
            area_destroy(a);
        }
        a = above;
    }
}

fallow_status fallow__os_reserve(size_t size_bytes, const fallow_region_options *options, fallow_region *region_out,
                                 fallow__os_error *error_out)
{
    enter(SIM_RESERVE, options->hint, size_bytes);
    if (size_bytes == 0 || (size_bytes & (sim.page_bytes - 1)) != 0 ||
        ((uintptr_t)options->hint & (sim.page_bytes - 1)) != 0 ||
        (options->align_bytes & (options->align_bytes - 1)) != 0) {
        stop(SIM_RESERVE, options->hint, size_bytes, "not whole pages of %#zx", sim.page_bytes);
    }
    release_waiting();
    if (is_refused(SIM_RESERVE)) {
        return leave(fail_as_planned(SIM_RESERVE, error_out));
    }
    spot where;
    uint32_t flags = flags_in_force(options->flags);
    if (is_windows()) {
        flags &= (uint32_t)(FALLOW_REGION_EXACT | FALLOW_REGION_LOW_4G);
    }
    bool is_large = (flags & FALLOW_REGION_LARGE_PAGES) != 0 && place_large(&size_bytes, options, &where);
    flags &= is_large ? ~UINT32_C(0) : ~(uint32_t)FALLOW_REGION_LARGE_PAGES;
    fallow_status status = why_no_reserve(size_bytes);
    if (status == FALLOW_OK && !is_large && !place(size_bytes, options, &where)) {
        status = FALLOW_ERR_ADDRESS_SPACE;
    }
    if (status != FALLOW_OK) {
        return leave(fail(SIM_RESERVE, status, error_out));
    }
    if (is_over_mappings(sim.mapping_count, 0)) { /* at the limit there is still room for one */
        return leave(fail(SIM_RESERVE, FALLOW_ERR_MAP_COUNT, error_out));
    }
    area *a = area_create(where.first, size_bytes, flags, options->name);
    if (is_large) {
        area_make_large(a);
    }
    area_link(a, where.below);
    *region_out = (fallow_region){.base = a->base, .size_bytes = size_bytes, .page_bytes = unit_of(a), .flags = flags};
    if (options->name != NULL) {
        strncpy(region_out->name, options->name, sizeof region_out->name - 1);
    }
    return leave(FALLOW_OK);
}

static fallow_status commit_whole(range part);

fallow_status fallow__os_reserve_large(size_t size_bytes, const fallow_region_options *options,
                                       fallow_region *region_out, fallow__os_error *error_out)
{
    enter(SIM_RESERVE, NULL, size_bytes);
    size_t large_bytes = sim.options.large_page_bytes;
    if (is_refused(SIM_RESERVE)) {
        return leave(fail_as_planned(SIM_RESERVE, error_out));
    }
    if (sim.options.large_page_count == 0 || options->align_bytes > large_bytes) {
        return leave(fail(SIM_RESERVE, FALLOW_ERR_UNSUPPORTED, error_out));
    }
    size_bytes = (size_bytes + large_bytes - 1) & ~(large_bytes - 1);
    fallow_region_options wanted = *options;
    wanted.align_bytes = large_bytes;
    spot where;
    bool is_there = size_bytes / large_bytes <= sim.options.large_page_count - sim.large_used;
    fallow_status status = is_there ? FALLOW_OK : FALLOW_ERR_COMMIT;
    if (status == FALLOW_OK && !place(size_bytes, &wanted, &where)) {
        status = FALLOW_ERR_ADDRESS_SPACE;
    }
    if (status != FALLOW_OK) {
        return leave(fail(SIM_RESERVE, status, error_out));
    }
    uint32_t flags = flags_in_force(options->flags);
    area *a = area_create(where.first, size_bytes, flags, options->name);
    a->is_large = true;
    a->is_for_good = true;
    area_link(a, where.below);
    sim.large_used += size_bytes / large_bytes;
    (void)commit_whole((range){a, 0, a->page_count});
    *region_out = (fallow_region){.base = a->base,
                                  .size_bytes = size_bytes,
                                  .page_bytes = large_bytes,
                                  .flags = flags | FALLOW_REGION_LARGE_PAGES};
    if (options->name != NULL) {
        strncpy(region_out->name, options->name, sizeof region_out->name - 1);
    }
    return leave(FALLOW_OK);
}

fallow_status fallow__os_release(const fallow_region *region, fallow__os_error *error_out)
{
    range whole = enter_range(SIM_RELEASE, region, region->base, region->size_bytes);
    if (is_refused(SIM_RELEASE)) {
        return leave(fail_as_planned(SIM_RELEASE, error_out));
    }
    if (can_unmap(whole.area)) {
        area_destroy(whole.area);
    } else if (!area_wait(whole.area)) {
        return leave(fail(SIM_RELEASE, FALLOW_ERR_MAP_COUNT, error_out));
    }
    release_waiting();
    return leave(FALLOW_OK);
}

/* --- commit and decommit -------------------------------------------------------------------------------------- */

/* Over a limit by what an edit has done? */
static fallow_status why_no_commit(uint64_t charged_before, uint64_t mappings_before)
{
    if (sim.mapping_count > mappings_before && is_over_mappings(sim.mapping_count, 0)) {
        return FALLOW_ERR_MAP_COUNT;
    }
    if (sim.charged_pages > charged_before && is_over(SIM_LIMIT_COMMIT, bytes_of(sim.charged_pages), 0)) {
        return FALLOW_ERR_COMMIT;
    }
    if (has_data_limit() && is_over(SIM_LIMIT_DATA, bytes_of(writable_pages()), 0)) {
        return FALLOW_ERR_COMMIT;
    }
    return FALLOW_OK;
}

/* Committed pages keep contents and laziness. */
static fallow_status commit_whole(range part)
{
    uint64_t charged_before = sim.charged_pages;
    uint64_t mappings_before = sim.mapping_count;
    edit e = edit_begin(part);
    edit_save(&e);
    for (size_t index = e.begin; index < e.end; index++) {
        e.area->spans[index].state = SIM_COMMITTED;
        e.area->spans[index].protection = FALLOW_PROTECTION_READ_WRITE;
        e.area->spans[index].is_charged = !e.area->is_large;
    }
    edit_apply_figures(&e);
    fallow_status status = why_no_commit(charged_before, mappings_before);
    if (status == FALLOW_OK) {
        host_follow(&e);
    } else {
        edit_undo(&e);
    }
    edit_end(&e);
    return status;
}

static bool holds_state(range part, sim_state state)
{
    for (uint64_t page = part.first; page < part.first + part.count;) {
        size_t index = span_at(part.area, page);
        if (part.area->spans[index].state == state) {
            return true;
        }
        page = span_end(part.area, index);
    }
    return false;
}

/* What a decommit that ended as CHARGED has left: a mapping of its own. */
static bool holds_charged(range part)
{
    for (uint64_t page = part.first; page < part.first + part.count;) {
        size_t index = span_at(part.area, page);
        if (part.area->spans[index].state == SIM_RESERVED && part.area->spans[index].is_charged) {
            return true;
        }
        page = span_end(part.area, index);
    }
    return false;
}

/* Linux goes mapping by mapping and does not undo what it did before one was refused. The spans of a range in turn, up
 * to one that is refused; the last that is only reserved is left out. Source: Linux mm/mprotect.c, do_mprotect_pkey */
static void commit_partly(range part)
{
    uint64_t end = part.first + part.count;
    if (is_windows() || (!holds_state(part, SIM_COMMITTED) && !holds_charged(part))) {
        return; /* all or nothing */
    }
    for (uint64_t page = part.first; page < end;) {
        uint64_t piece_end = span_end(part.area, span_at(part.area, page));
        piece_end = piece_end < end ? piece_end : end;
        bool is_last = piece_end == end || !holds_state((range){part.area, piece_end, end - piece_end}, SIM_RESERVED);
        if (is_last || commit_whole((range){part.area, page, piece_end - page}) != FALLOW_OK) {
            return;
        }
        page = piece_end;
    }
}

static fallow_status commit_range(range part)
{
    fallow_status status = commit_whole(part);
    if (status != FALLOW_OK) {
        commit_partly(part);
    }
    return status;
}

fallow_status fallow__os_commit(const fallow_region *region, void *base, size_t size_bytes, fallow__os_error *error_out)
{
    range part = enter_range(SIM_COMMIT, region, base, size_bytes);
    require_states(SIM_COMMIT, part, 1u << SIM_RESERVED | 1u << SIM_COMMITTED);
    if (is_refused(SIM_COMMIT)) {
        if (sim.refusal.is_halfway) {
            commit_partly(part);
        }
        return leave(fail_as_planned(SIM_COMMIT, error_out));
    }
    fallow_status status = commit_range(part);
    return leave(status == FALLOW_OK ? FALLOW_OK : fail(SIM_COMMIT, status, error_out));
}

/* Everything about the pages is as after a reserve, or only so much as `left` says. What can be undone has been seen
 * to: this cannot fail. */
static void decommit_spans(range part, fallow__os_left left, bool has_attributes)
{
    edit e = edit_begin(part);
    edit_save(&e);
    host_forget(e.area, e.begin, e.end);
    bool is_gone = left == FALLOW__OS_LEFT_NOTHING;
    for (size_t index = e.begin; index < e.end; index++) {
        span *s = &e.area->spans[index];
        s->is_lazy = false;
        if (s->state == SIM_GUARDED && s->is_charged) {
            s->state = SIM_COMMITTED; /* the guard is taken out */
        }
        if (left != FALLOW__OS_LEFT_ACCESSIBLE) {
            s->state = SIM_RESERVED;
            s->protection = FALLOW_PROTECTION_NONE;
            s->is_charged = s->is_charged && !is_gone;
        }
        if (is_gone) {
            s->attributes = has_attributes ? e.area->attributes : 0;
            s->name_mark = has_attributes ? e.area->name_mark : 0;
        }
    }
    edit_apply_figures(&e);
    host_follow(&e);
    edit_end(&e);
}

/* How many mappings there would be if the pages were protected: the second way of a decommit. */
static bool can_protect(range part, fallow_protection protection)
{
    uint64_t mappings_before = sim.mapping_count;
    edit e = edit_begin(part);
    edit_save(&e);
    for (size_t index = e.begin; index < e.end; index++) {
        e.area->spans[index].protection = protection;
    }
    edit_apply_figures(&e);
    bool is_possible = sim.mapping_count <= mappings_before || !is_over_mappings(sim.mapping_count, 0);
    edit_undo(&e);
    edit_end(&e);
    return is_possible;
}

/* Why a remap in place is refused. Source: Linux mm/vma.c, vms_gather_munmap_vmas; mm/mmap.c, do_mmap */
static fallow_status why_no_remap(range part)
{
    if (is_windows()) {
        return FALLOW_OK;
    }
    edit e = edit_begin(part);
    unsigned cuts = e.cuts;
    edit_save(&e);
    edit_end(&e);
    /* only a hole needs room for more mappings: cutting off an end may go over the limit by one, for a moment */
    if (is_over_mappings(sim.mapping_count, cuts == 2 ? 1 : 0)) {
        return FALLOW_ERR_MAP_COUNT;
    }
    if (is_over(SIM_LIMIT_ADDRESSES, bytes_of(sim.reserved_pages), 0)) {
        return FALLOW_ERR_ADDRESS_SPACE;
    }
    /* counted twice while it is replaced */
    if ((sim.options.flags & SIM_IS_LOCKED) != 0 &&
        is_over(SIM_LIMIT_LOCKED, bytes_of(sim.reserved_pages), bytes_of(part.count))) {
        return FALLOW_ERR_LOCKED;
    }
    return FALLOW_OK;
}

/* Large pages go back to the pool, and stay reserved there; the mapping is split. */
static fallow_status decommit_large(range part, fallow__os_left *left_out)
{
    bool is_possible = can_protect(part, FALLOW_PROTECTION_NONE);
    *left_out = is_possible ? FALLOW__OS_LEFT_NOTHING : FALLOW__OS_LEFT_ACCESSIBLE;
    decommit_spans(part, *left_out, true);
    return is_possible ? FALLOW_OK : FALLOW_ERR_MAP_COUNT;
}

/* As src/posix: a remap, and where that is refused the contents are dropped and the pages protected. */
static fallow_status decommit_range(range part, fallow__os_left *left_out)
{
    if (part.area->is_large) {
        return decommit_large(part, left_out);
    }
    fallow_status status = why_no_remap(part);
    if (status == FALLOW_OK) {
        sim.figures.calls[SIM_ADVISE]++;
        bool has_attributes = !is_refused(SIM_ADVISE);
        if (!has_attributes) {
            count_refusal(SIM_ADVISE);
        }
        *left_out = FALLOW__OS_LEFT_NOTHING;
        decommit_spans(part, FALLOW__OS_LEFT_NOTHING, has_attributes);
        return FALLOW_OK;
    }
    *left_out = can_protect(part, FALLOW_PROTECTION_NONE) ? FALLOW__OS_LEFT_CHARGED : FALLOW__OS_LEFT_ACCESSIBLE;
    decommit_spans(part, *left_out, true);
    return status;
}

fallow_status fallow__os_decommit(const fallow_region *region, void *base, size_t size_bytes, fallow__os_left *left_out,
                                  fallow__os_error *error_out)
{
    range part = enter_range(SIM_DECOMMIT, region, base, size_bytes);
    if (is_refused(SIM_DECOMMIT)) {
        *left_out = sim.refusal.left != FALLOW__OS_LEFT_NOTHING ? sim.refusal.left : FALLOW__OS_LEFT_ALL;
        if (part.area->is_large && *left_out == FALLOW__OS_LEFT_CHARGED) {
            *left_out = FALLOW__OS_LEFT_ACCESSIBLE; /* what faults is all given back there */
        }
        if (*left_out != FALLOW__OS_LEFT_ALL) {
            decommit_spans(part, *left_out, true);
        }
        return leave(fail_as_planned(SIM_DECOMMIT, error_out));
    }
    fallow_status status = decommit_range(part, left_out);
    return leave(status == FALLOW_OK ? FALLOW_OK : fail(SIM_DECOMMIT, status, error_out));
}

/* --- purge ---------------------------------------------------------------------------------------------------- */

static void set_lazy(range part, bool is_lazy)
{
    edit e = edit_begin(part);
    edit_save(&e);
    if (!is_lazy) {
        host_forget(e.area, e.begin, e.end);
    }
    for (size_t index = e.begin; index < e.end; index++) {
        e.area->spans[index].is_lazy = is_lazy;
    }
    edit_apply_figures(&e);
    host_follow(&e);
    edit_end(&e);
}

static bool can_free_lazily(void)
{
    return has(SIM_NO_LAZY_PURGE) && (is_windows() || (sim.options.flags & SIM_IS_LOCKED) == 0);
}

/* Windows decommits and commits; what is charged after the first cannot be had back once the limit is lower. */
static fallow_status purge_to_zero(range part, bool *is_committed_out)
{
    *is_committed_out = true;
    if (!is_windows()) {
        set_lazy(part, false);
        return FALLOW_OK;
    }
    decommit_spans(part, FALLOW__OS_LEFT_NOTHING, true);
    fallow_status status = commit_range(part);
    *is_committed_out = status == FALLOW_OK;
    return status;
}

static fallow_status purge_as_planned(range part, bool *is_committed_out, fallow__os_error *error_out)
{
    if (sim.refusal.is_halfway) {
        decommit_spans(part, FALLOW__OS_LEFT_NOTHING, true);
        *is_committed_out = false;
    }
    return fail_as_planned(SIM_PURGE, error_out);
}

fallow_status fallow__os_purge(const fallow_region *region, void *base, size_t size_bytes, fallow_purge purge,
                               bool *is_zero_out, bool *is_committed_out, fallow__os_error *error_out)
{
    range part = enter_range(SIM_PURGE, region, base, size_bytes);
    require_states(SIM_PURGE, part, 1u << SIM_COMMITTED);
    if (purge != FALLOW_PURGE_DONTNEED && purge != FALLOW_PURGE_FREE) {
        stop(SIM_PURGE, base, size_bytes, "neither DONTNEED nor FREE");
    }
    *is_zero_out = false;
    *is_committed_out = true;
    if (is_refused(SIM_PURGE)) {
        return leave(purge_as_planned(part, is_committed_out, error_out));
    }
    if (purge == FALLOW_PURGE_FREE && can_free_lazily() && !part.area->is_large) {
        set_lazy(part, true);
        lazy_take_some();
        return leave(FALLOW_OK);
    }
    fallow_status status = purge_to_zero(part, is_committed_out);
    *is_zero_out = status == FALLOW_OK;
    return leave(status == FALLOW_OK ? FALLOW_OK : fail(SIM_PURGE, status, error_out));
}

/* --- protect, prefault, guard, resident ----------------------------------------------------------------------- */

/* Each counts as a call; one that is refused ends it, and halfway means that its first page was given back. */
size_t fallow__os_purge_many(const fallow_region *region, const fallow__os_range *ranges, size_t count,
                             fallow_purge purge)
{
    if (is_windows() || !has(SIM_NO_PURGE_MANY) || (purge == FALLOW_PURGE_FREE && !can_free_lazily())) {
        return 0;
    }
    for (size_t done = 0; done < count; done++) {
        range part = enter_range(SIM_PURGE, region, ranges[done].base, ranges[done].size_bytes);
        require_states(SIM_PURGE, part, 1u << SIM_COMMITTED);
        if (is_refused(SIM_PURGE)) {
            if (sim.refusal.is_halfway) {
                part.count = 1;
                set_lazy(part, purge == FALLOW_PURGE_FREE);
            }
            count_refusal(SIM_PURGE);
            (void)leave(FALLOW_OK);
            return done;
        }
        set_lazy(part, purge == FALLOW_PURGE_FREE);
        lazy_take_some();
        (void)leave(FALLOW_OK);
    }
    return count;
}

static void set_protection(range part, fallow_protection protection)
{
    edit e = edit_begin(part);
    edit_save(&e);
    for (size_t index = e.begin; index < e.end; index++) {
        e.area->spans[index].protection = protection;
    }
    edit_apply_figures(&e);
    host_follow(&e);
    edit_end(&e);
}

fallow_status fallow__os_protect(const fallow_region *region, void *base, size_t size_bytes,
                                 fallow_protection protection, fallow__os_error *error_out)
{
    range part = enter_range(SIM_PROTECT, region, base, size_bytes);
    require_states(SIM_PROTECT, part, 1u << SIM_COMMITTED);
    if (is_refused(SIM_PROTECT)) {
        return leave(fail_as_planned(SIM_PROTECT, error_out));
    }
    if (!can_protect(part, protection)) {
        return leave(fail(SIM_PROTECT, FALLOW_ERR_MAP_COUNT, error_out));
    }
    set_protection(part, protection);
    return leave(FALLOW_OK);
}

/* A write that changes nothing: the pages are written from now on. */
fallow_status fallow__os_prefault(const fallow_region *region, void *base, size_t size_bytes,
                                  fallow__os_error *error_out)
{
    range part = enter_range(SIM_PREFAULT, region, base, size_bytes);
    require_states(SIM_PREFAULT, part, 1u << SIM_COMMITTED);
    if (is_refused(SIM_PREFAULT)) {
        return leave(fail_as_planned(SIM_PREFAULT, error_out));
    }
    for (uint64_t page = part.first; page < part.first + part.count; page++) {
        volatile char *byte = page_address(part.area, page);
        if (!write_settles((const void *)(uintptr_t)byte)) {
            stop(SIM_PREFAULT, base, size_bytes, "the page at %p cannot be written", (void *)(uintptr_t)byte);
        }
        *byte = *byte;
    }
    return leave(FALLOW_OK);
}

/* In the page table: the mapping does not change. */
static void guard_in_place(range part)
{
    edit e = edit_begin(part);
    edit_save(&e);
    host_forget(e.area, e.begin, e.end);
    for (size_t index = e.begin; index < e.end; index++) {
        e.area->spans[index].state = SIM_GUARDED;
        e.area->spans[index].is_lazy = false;
    }
    edit_apply_figures(&e);
    host_follow(&e);
    edit_end(&e);
}

static void mark_guarded(range part)
{
    edit e = edit_begin(part);
    edit_save(&e);
    for (size_t index = e.begin; index < e.end; index++) {
        e.area->spans[index].state = SIM_GUARDED;
    }
    edit_end(&e);
}

static bool can_guard_in_place(void)
{
    return !is_windows() && (sim.options.flags & (SIM_NO_GUARD_INSTALL | SIM_IS_LOCKED)) == 0;
}

/* That a guard may still be charged does not matter to it. */
static fallow_status guard_range(range part)
{
    if (can_guard_in_place() && !part.area->is_large) {
        guard_in_place(part);
        return FALLOW_OK;
    }
    fallow__os_left left;
    fallow_status status = decommit_range(part, &left);
    if (status != FALLOW_OK && left != FALLOW__OS_LEFT_CHARGED) {
        return status;
    }
    mark_guarded(part);
    return FALLOW_OK;
}

fallow_status fallow__os_guard(const fallow_region *region, void *base, size_t size_bytes, fallow__os_error *error_out)
{
    range part = enter_range(SIM_GUARD, region, base, size_bytes);
    require_states(SIM_GUARD, part, 1u << SIM_COMMITTED);
    if (is_refused(SIM_GUARD)) {
        if (sim.refusal.is_halfway) {
            decommit_spans(part, FALLOW__OS_LEFT_ACCESSIBLE, true);
        }
        return leave(fail_as_planned(SIM_GUARD, error_out));
    }
    fallow_status status = guard_range(part);
    return leave(status == FALLOW_OK ? FALLOW_OK : fail(SIM_GUARD, status, error_out));
}

fallow_status fallow__os_unguard(const fallow_region *region, void *base, size_t size_bytes,
                                 fallow__os_error *error_out)
{
    range part = enter_range(SIM_UNGUARD, region, base, size_bytes);
    require_states(SIM_UNGUARD, part, 1u << SIM_GUARDED);
    if (is_refused(SIM_UNGUARD)) {
        return leave(fail_as_planned(SIM_UNGUARD, error_out));
    }
    fallow_status status = commit_range(part);
    return leave(status == FALLOW_OK ? FALLOW_OK : fail(SIM_UNGUARD, status, error_out));
}

fallow_status fallow__os_resident(const fallow_region *region, void *base, size_t size_bytes,
                                  size_t *resident_bytes_out, fallow__os_error *error_out)
{
    range part = enter_range(SIM_RESIDENT, region, base, size_bytes);
    if (is_refused(SIM_RESIDENT)) {
        return leave(fail_as_planned(SIM_RESIDENT, error_out));
    }
    *resident_bytes_out = (size_t)resident_bytes(part);
    return leave(FALLOW_OK);
}

/* --- seeing a process ----------------------------------------------------------------------------------------- */

/* There is one process here, and what it has beside its reservations is told in figures only, not as mappings. */
#define PROCESS_ID 1

uint64_t fallow__os_process_id(void)
{
    return PROCESS_ID;
}

static void add_span(fallow__os_mapping *mapping, area *a, size_t index)
{
    const span *s = &a->spans[index];
    uint64_t size_bytes = bytes_of(span_pages(a, index));
    bool is_writable = s->protection == FALLOW_PROTECTION_READ_WRITE;
    bool is_accessible = s->protection != FALLOW_PROTECTION_NONE;
    if (mapping->end == 0) {
        *mapping = (fallow__os_mapping){
            .first = (uintptr_t)page_address(a, s->first),
            .kind = is_accessible ? FALLOW__OS_PRIVATE : FALLOW__OS_RESERVED,
            .is_readable = is_accessible,
            .is_writable = is_writable,
            .is_executable = s->protection == FALLOW_PROTECTION_READ_EXECUTE,
            .is_private = true,
            .has_resident = true,
        };
    }
    mapping->end = (uintptr_t)page_address(a, span_end(a, index));
    mapping->committed_bytes += is_writable ? size_bytes : 0;
    if (s->state == SIM_COMMITTED && is_accessible) {
        uint64_t resident = resident_bytes((range){a, s->first, span_pages(a, index)});
        mapping->resident_bytes += resident;
        mapping->lazy_bytes += s->is_lazy ? resident : 0;
    }
}

/* The lowest mapping that ends above an address; false if there is none. */
static bool mapping_above(uint64_t address, fallow__os_mapping *mapping_out)
{
    *mapping_out = (fallow__os_mapping){.end = 0};
    for (area *a = sim.lowest; a != NULL; a = a->next) {
        for (size_t index = 0; index < a->span_count; index++) {
            if (mapping_out->end > address && begins_mapping(a, index)) {
                return true;
            }
            if (begins_mapping(a, index)) {
                mapping_out->end = 0;
            }
            add_span(mapping_out, a, index);
        }
    }
    return mapping_out->end > address;
}

/* The simulation is let go of while the visitor looks. */
fallow_status fallow__os_mappings(uint64_t process_id, fallow__os_visitor visit, void *context,
                                  fallow__os_error *error_out)
{
    fallow__os_mapping mapping = {.end = 0};
    bool is_going_on = true;
    while (is_going_on) {
        enter(SIM_PROCESS, NULL, 0);
        if (process_id != PROCESS_ID || is_refused(SIM_PROCESS)) {
            *error_out = (fallow__os_error){0};
            return leave(process_id != PROCESS_ID ? FALLOW_ERR_INVALID : fail_as_planned(SIM_PROCESS, error_out));
        }
        bool is_found = mapping_above(mapping.end, &mapping);
        (void)leave(FALLOW_OK);
        is_going_on = is_found && visit(context, &mapping);
    }
    return FALLOW_OK;
}

fallow_status fallow__os_figures_of(uint64_t process_id, fallow__os_figures *figures_out, fallow__os_error *error_out)
{
    fallow_process process;
    if (process_id != PROCESS_ID) {
        *error_out = (fallow__os_error){0};
        return FALLOW_ERR_INVALID;
    }
    fallow_status status = fallow__os_process(&process, error_out);
    if (status == FALLOW_OK) {
        *figures_out = (fallow__os_figures){
            .program = "simulated",
            .virtual_bytes = process.virtual_bytes,
            .resident_bytes = process.resident_bytes,
            .peak_resident_bytes = process.peak_resident_bytes,
            .data_bytes = process.committed_bytes,
            .thread_count = 1,
        };
    }
    return status;
}

size_t fallow__os_limits(uint64_t process_id, const fallow__os_figures *of_process, uint64_t map_count,
                         fallow__os_limit limits_out[FALLOW__OS_LIMITS_MAX])
{
    (void)process_id;
    (void)of_process;
    mutex_acquire();
    limits_out[0] = (fallow__os_limit){
        .name = "RLIMIT_AS",
        .what = "addresses",
        .limit = sim.options.limits[SIM_LIMIT_ADDRESSES],
        .used = bytes_of(sim.reserved_pages), /* the limit is one of the reservations, as sim_os.h tells */
    };
    limits_out[1] = (fallow__os_limit){
        .name = "CommitLimit",
        .what = "committed",
        .limit = sim.options.limits[SIM_LIMIT_COMMIT],
        .used = bytes_of(sim.charged_pages),
    };
    limits_out[2] = (fallow__os_limit){
        .name = "vm.max_map_count",
        .what = "mappings",
        .limit = sim.options.limits[SIM_LIMIT_MAPPINGS],
        .used = map_count,
        .is_mappings = true,
    };
    mutex_release();
    return is_windows() ? 2 : 3;
}

bool fallow__os_peek(uint64_t process_id, uint64_t address, void *bytes_out, size_t size_bytes)
{
    const char *next = (const char *)(uintptr_t)address;
    const char *end = next + size_bytes;
    bool is_readable = process_id == PROCESS_ID;
    mutex_acquire();
    while (is_readable && next < end) {
        const area *a = area_at(next);
        size_t index = a != NULL ? span_at(a, (uint64_t)(next - a->base) / sim.page_bytes) : 0;
        is_readable =
            a != NULL && a->spans[index].state == SIM_COMMITTED && a->spans[index].protection != FALLOW_PROTECTION_NONE;
        next = is_readable ? page_address(a, span_end(a, index)) : end;
    }
    if (is_readable) {
        memcpy(bytes_out, (const void *)(uintptr_t)address, size_bytes);
    }
    mutex_release();
    return is_readable;
}

/* --- lock, once, last words ----------------------------------------------------------------------------------- */

/* A lock knows that it was made, and by which thread it is held. */
typedef struct sim_lock {
    uint64_t mark;
    _Atomic(char *) owner;
} sim_lock;

#define LOCK_MARK UINT64_C(0x6c6f636b73696d21)
#define LASTING_MARK UINT64_C(0x6c6f636b73696d22) /* made once per process: it outlives the simulation */
_Static_assert(sizeof(sim_lock) <= sizeof(fallow__os_lock), "a lock fits its room");

static sim_lock *lock_of(fallow__os_lock *lock, sim_call call)
{
    sim_lock *ours = (sim_lock *)(void *)lock->room;
    if (ours->mark != LOCK_MARK && ours->mark != LASTING_MARK) {
        stop(call, lock, 0, "no lock, or one that was destroyed");
    }
    return ours;
}

static _Thread_local bool is_in_once;
static _Thread_local bool is_in_child; /* what a fork has left: locks and events are made again */

/* Locks and events in memory that a child has not are gone with it, and are no leak. */
static void count_locks(const void *address, int locks, int events)
{
    mutex_acquire();
    area *a = area_at(address);
    if (a != NULL) {
        a->lock_count += (uint64_t)(int64_t)locks;
        a->event_count += (uint64_t)(int64_t)events;
    }
    mutex_release();
    atomic_fetch_add(&live_locks, (uint64_t)(int64_t)locks);
    atomic_fetch_add(&live_events, (uint64_t)(int64_t)events);
}

void fallow__os_lock_init(fallow__os_lock *lock)
{
    sim_lock *ours = (sim_lock *)(void *)lock->room;
    if (is_in_child && (ours->mark == LOCK_MARK || ours->mark == LASTING_MARK)) {
        atomic_fetch_sub_explicit(&held_locks, atomic_load(&ours->owner) != NULL, memory_order_relaxed);
        atomic_init(&ours->owner, NULL);
        return;
    }
    ours->mark = is_in_once ? LASTING_MARK : LOCK_MARK;
    atomic_init(&ours->owner, NULL);
    count_locks(lock, ours->mark == LOCK_MARK, 0);
}

void fallow__os_lock_destroy(fallow__os_lock *lock)
{
    sim_lock *ours = lock_of(lock, SIM_UNLOCK);
    if (atomic_load(&ours->owner) != NULL) {
        stop(SIM_UNLOCK, lock, 0, "destroyed while it is held");
    }
    count_locks(lock, -(ours->mark == LOCK_MARK), 0);
    ours->mark = 0;
}

void fallow__os_lock_acquire(fallow__os_lock *lock)
{
    tell_hook(SIM_LOCK, lock, 0);
    sim_offer();
    sim_lock *ours = lock_of(lock, SIM_LOCK);
    if (atomic_load_explicit(&ours->owner, memory_order_relaxed) == &thread_mark) {
        stop(SIM_LOCK, lock, 0, "this thread holds it already");
    }
    unsigned looks = 0;
    while (!take_if_free(&ours->owner)) {
        if (turn_is_on()) {
            turn_block("lock", lock, UINT64_MAX);
        } else {
            let_others(&looks);
        }
    }
    atomic_fetch_add_explicit(&held_locks, 1, memory_order_relaxed);
}

void fallow__os_lock_release(fallow__os_lock *lock)
{
    sim_lock *ours = lock_of(lock, SIM_UNLOCK);
    if (atomic_load_explicit(&ours->owner, memory_order_relaxed) != &thread_mark) {
        stop(SIM_UNLOCK, lock, 0, "this thread does not hold it");
    }
    atomic_fetch_sub_explicit(&held_locks, 1, memory_order_relaxed);
    atomic_store_explicit(&ours->owner, NULL, memory_order_release);
    if (turn_is_on()) {
        turn_wake(lock);
    }
    tell_hook(SIM_UNLOCK, lock, 0);
    sim_offer();
}

/* room[0]: 0 not run, 1 running, 2 has run. */
void fallow__os_run_once(fallow__os_once *once, void (*initialise)(void))
{
    _Atomic(uint64_t) *stage = (_Atomic(uint64_t) *)(void *)&once->room[0];
    uint64_t not_run = 0;
    if (atomic_compare_exchange_strong(stage, &not_run, 1)) {
        bool was_in_once = is_in_once;
        is_in_once = true;
        initialise();
        is_in_once = was_in_once;
        atomic_store(stage, 2);
    }
    unsigned looks = 0;
    while (atomic_load(stage) != 2) {
        let_others(&looks);
    }
}

/* --- time and threads ----------------------------------------------------------------------------------------- */

uint64_t fallow__os_clock_ns(void)
{
    sim_offer();
    return CLOCK_START_NS + atomic_fetch_add(&clock_ns, LOOK_NS);
}

/* An event counts how often it was woken. */
typedef struct sim_event {
    uint64_t mark;
    atomic_uint_fast64_t wakes;
    atomic_uint_fast64_t sleepers;
    fallow__os_lock *lock; /* of those who sleep */
} sim_event;

#define EVENT_MARK UINT64_C(0x6576656e7473696d)
_Static_assert(sizeof(sim_event) <= sizeof(fallow__os_event), "an event fits its room");

static sim_event *event_of(fallow__os_event *event)
{
    sim_event *ours = (sim_event *)(void *)event->room;
    if (ours->mark != EVENT_MARK && ours->mark != LASTING_MARK) {
        stop(SIM_UNLOCK, event, 0, "no event, or one that was destroyed");
    }
    return ours;
}

void fallow__os_event_init(fallow__os_event *event)
{
    sim_event *ours = (sim_event *)(void *)event->room;
    bool is_again = is_in_child && (ours->mark == EVENT_MARK || ours->mark == LASTING_MARK);
    atomic_init(&ours->wakes, 0);
    atomic_init(&ours->sleepers, 0);
    ours->lock = NULL;
    if (!is_again) {
        ours->mark = is_in_once ? LASTING_MARK : EVENT_MARK;
        count_locks(event, 0, ours->mark == EVENT_MARK);
    }
}

void fallow__os_event_destroy(fallow__os_event *event)
{
    sim_event *ours = event_of(event);
    if (atomic_load(&ours->sleepers) != 0) {
        stop(SIM_UNLOCK, event, 0, "an event is destroyed while a thread sleeps there");
    }
    count_locks(event, 0, -(ours->mark == EVENT_MARK));
    ours->mark = 0;
}

/* Free threads look whether they were woken, and time passes with the looks. */
static void sleep_free(sim_event *ours, uint64_t wakes, uint64_t timeout_ns)
{
    unsigned looks = 0;
    for (uint64_t slept_ns = 0; atomic_load(&ours->wakes) == wakes && slept_ns < timeout_ns;) {
        let_others(&looks);
        if (timeout_ns != UINT64_MAX) {
            uint64_t passed_ns = looks > LOOKS_WITHOUT_REST ? REST_NS : SLEEP_NS;
            slept_ns += passed_ns;
            sim_pass_time(passed_ns);
        }
    }
}

void fallow__os_event_wait(fallow__os_event *event, fallow__os_lock *lock, uint64_t timeout_ns)
{
    sim_event *ours = event_of(event);
    sim_lock *held = lock_of(lock, SIM_UNLOCK);
    if (atomic_load_explicit(&held->owner, memory_order_relaxed) != &thread_mark) {
        stop(SIM_UNLOCK, lock, 0, "a sleep with a lock that this thread does not hold");
    }
    if (ours->lock != NULL && ours->lock != lock) {
        stop(SIM_UNLOCK, event, 0, "a sleep with another lock than that of those who sleep there");
    }
    ours->lock = lock;
    atomic_fetch_add(&ours->sleepers, 1);
    if (turn_is_on()) {
        atomic_fetch_sub_explicit(&held_locks, 1, memory_order_relaxed);
        atomic_store_explicit(&held->owner, NULL, memory_order_release);
        turn_wake(lock);
        uint64_t now_ns = now();
        turn_block("event", event, timeout_ns < UINT64_MAX - now_ns ? now_ns + timeout_ns : UINT64_MAX);
    } else {
        uint64_t wakes = atomic_load(&ours->wakes);
        fallow__os_lock_release(lock);
        sleep_free(ours, wakes, timeout_ns);
    }
    fallow__os_lock_acquire(lock);
    if (atomic_fetch_sub(&ours->sleepers, 1) == 1) {
        ours->lock = NULL;
    }
}

void fallow__os_event_wake(fallow__os_event *event)
{
    atomic_fetch_add(&event_of(event)->wakes, 1);
    if (turn_is_on()) {
        turn_wake(event);
    }
    sim_offer();
}

/* What this thread is to call when it ends; called once, whoever comes first: the host or the turns. */
static _Thread_local void (*to_leave)(void);

static void thread_leaves(void)
{
    void (*leave_thread)(void) = to_leave;
    to_leave = NULL;
    if (leave_thread != NULL) {
        leave_thread();
    }
}

bool sim_start(void (*run)(void *context), void *context, sim_thread *thread_out)
{
    if (turn_is_on()) {
        int number = turn_start(run, context, thread_leaves);
        thread_out->number = number;
        return number >= 0;
    }
    thread_out->host = sim_host_thread_start(run, context);
    return thread_out->host != NULL;
}

void sim_join(sim_thread *thread)
{
    if (turn_is_on()) {
        turn_join(thread->number);
    } else {
        sim_host_thread_join(thread->host);
    }
}

unsigned sim_self(void)
{
    return turn_self();
}

void sim_offer(void)
{
    if (turn_is_on()) {
        turn_offer();
    }
}

void sim_give_up(void (*tell)(void))
{
    turn_give_up(tell);
}

static void deadlock(const char *complaint)
{
    stop(SIM_LOCK, NULL, 0, "%s", complaint);
}

fallow_status fallow__os_thread_start(void (*run)(void *context), void *context, fallow__os_thread *thread_out,
                                      fallow__os_error *error_out)
{
    sim_thread started;
    enter(SIM_THREAD, NULL, 0);
    if (is_refused(SIM_THREAD)) {
        return leave(fail_as_planned(SIM_THREAD, error_out));
    }
    if (!sim_start(run, context, &started)) {
        return leave(fail(SIM_THREAD, FALLOW_ERR_OS, error_out));
    }
    atomic_fetch_add(&live_threads, 1);
    memcpy(thread_out->room, &started, sizeof started);
    return leave(FALLOW_OK);
}

void fallow__os_thread_join(fallow__os_thread *thread)
{
    sim_thread started;
    memcpy(&started, thread->room, sizeof started);
    sim_join(&started);
    atomic_fetch_sub(&live_threads, 1);
}

/* Calls that answer with a bool. */
static bool is_let(sim_call call, bool is_possible)
{
    enter(call, NULL, 0);
    bool is_done = is_possible && !is_refused(call);
    if (!is_done) {
        count_refusal(call);
    }
    mutex_release();
    return is_done;
}

/* In a loop that waits for another thread, so that must get its turn. */
void fallow__os_yield(void)
{
    unsigned looks = 0;
    let_others(&looks);
}

bool fallow__os_at_thread_exit(void (*leave_thread)(void))
{
    if (!is_let(SIM_AT_THREAD_EXIT, true) || !sim_host_at_thread_exit(thread_leaves)) {
        return false;
    }
    to_leave = leave_thread;
    return true;
}

/* Interleaved threads have passed one when they gave the turn away. */
bool fallow__os_barrier_all_threads(void)
{
    return is_let(SIM_BARRIER, has(SIM_NO_BARRIER)) && (turn_is_on() || sim_host_barrier()); /* a turn is one */
}

/* --- word of little memory ------------------------------------------------------------------------------------ */

typedef struct sim_pressure {
    fallow__os_lock lock;
    fallow__os_event event;
    unsigned words; /* not told yet */
    bool is_over;
} sim_pressure;

static sim_pressure *pressure_of(const fallow__os_pressure *pressure)
{
    sim_pressure *ours;
    memcpy(&ours, pressure->room, sizeof ours);
    return ours;
}

fallow_status fallow__os_pressure_open(fallow__os_pressure *pressure, fallow__os_error *error_out)
{
    enter(SIM_PRESSURE, NULL, 0);
    if (is_refused(SIM_PRESSURE)) {
        return leave(fail_as_planned(SIM_PRESSURE, error_out));
    }
    if (!has(SIM_NO_PRESSURE)) {
        return leave(fail(SIM_PRESSURE, FALLOW_ERR_UNSUPPORTED, error_out));
    }
    if (sim.pressure != NULL) {
        stop(SIM_PRESSURE, pressure, 0, "opened twice");
    }
    sim_pressure *ours = allocate(NULL, 1, sizeof *ours);
    memset(ours, 0, sizeof *ours);
    fallow__os_lock_init(&ours->lock);
    fallow__os_event_init(&ours->event);
    memcpy(pressure->room, &ours, sizeof ours);
    sim.pressure = pressure;
    return leave(FALLOW_OK);
}

bool fallow__os_pressure_wait(fallow__os_pressure *pressure)
{
    sim_pressure *ours = pressure_of(pressure);
    fallow__os_lock_acquire(&ours->lock);
    while (ours->words == 0 && !ours->is_over) {
        fallow__os_event_wait(&ours->event, &ours->lock, UINT64_MAX);
    }
    bool is_over = ours->is_over;
    ours->words -= !is_over;
    fallow__os_lock_release(&ours->lock);
    return !is_over;
}

static void pressure_tell(fallow__os_pressure *pressure, bool is_over)
{
    sim_pressure *ours = pressure_of(pressure);
    fallow__os_lock_acquire(&ours->lock);
    ours->words++;
    ours->is_over |= is_over;
    fallow__os_event_wake(&ours->event);
    fallow__os_lock_release(&ours->lock);
}

void fallow__os_pressure_end(fallow__os_pressure *pressure)
{
    pressure_tell(pressure, true);
}

void fallow__os_pressure_close(fallow__os_pressure *pressure)
{
    sim_pressure *ours = pressure_of(pressure);
    fallow__os_event_destroy(&ours->event);
    fallow__os_lock_destroy(&ours->lock);
    free(ours);
    sim.pressure = NULL;
}

void sim_press(void)
{
    if (sim.pressure != NULL) {
        pressure_tell(sim.pressure, false);
    }
}

/* --- forks ---------------------------------------------------------------------------------------------------- */

enum {
    FORK_CALLS_MOST = 16
};

/* Asked for once per process: they outlive a simulation. */
static struct {
    void (*before)(void);
    void (*in_parent)(void);
    void (*in_child)(void);
} fork_calls[FORK_CALLS_MOST];

static atomic_size_t fork_call_count;

bool fallow__os_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    size_t index = atomic_fetch_add(&fork_call_count, 1);
    if (index >= FORK_CALLS_MOST) {
        stop(SIM_THREAD, NULL, 0, "asked to be called around forks more often than once per process");
    }
    fork_calls[index].before = before;
    fork_calls[index].in_parent = in_parent;
    fork_calls[index].in_child = in_child;
    return true;
}

bool sim_can_fork(void)
{
    return !is_windows();
}

void sim_fork_before(void)
{
    for (size_t index = atomic_load(&fork_call_count); index-- > 0;) {
        fork_calls[index].before();
    }
}

void sim_fork_parent(void)
{
    for (size_t index = 0; index < atomic_load(&fork_call_count); index++) {
        fork_calls[index].in_parent();
    }
}

/* Reservations that a child has not, or has empty. An area goes as a whole, though a decommit may have lost the attribute
 * of some of it: nobody knows of the rest. */
static void areas_in_child(void)
{
    for (area *a = sim.lowest; a != NULL;) {
        area *above = a->next;
        if ((a->attributes & FALLOW_REGION_NO_FORK) != 0) {
            atomic_fetch_sub(&live_locks, a->lock_count);
            atomic_fetch_sub(&live_events, a->event_count);
            area_destroy(a);
        }
        a = above;
    }
    for (area *a = sim.lowest; a != NULL; a = a->next) {
        for (uint64_t page = 0; page < a->page_count;) {
            size_t index = span_at(a, page);
            uint64_t end = span_end(a, index);
            if (a->spans[index].state == SIM_COMMITTED &&
                (a->spans[index].attributes & FALLOW_REGION_WIPE_ON_FORK) != 0) {
                set_lazy((range){a, page, end - page}, false);
            }
            page = end;
        }
    }
}

void sim_fork_child(void)
{
    if (turn_is_on()) {
        turn_alone();
    }
    mutex_acquire();
    areas_in_child();
    mutex_release();
    atomic_store(&live_threads, 0);
    is_in_child = true;
    for (size_t index = 0; index < atomic_load(&fork_call_count); index++) {
        fork_calls[index].in_child();
    }
    is_in_child = false;
}

/* --- files, and text for people: the host's ------------------------------------------------------------------- */

static _Atomic(uint64_t) file_room = UINT64_MAX;

void sim_set_file_room(uint64_t room_bytes)
{
    atomic_store(&file_room, room_bytes);
}

bool fallow__os_file_create(const char *path, fallow__os_file *file_out, bool *is_taken_out)
{
    FILE *file = fopen(path, "rb");
    *is_taken_out = file != NULL;
    if (file != NULL) {
        fclose(file);
        return false;
    }
    file = fopen(path, "wb");
    *file_out = (fallow__os_file){(intptr_t)file};
    return file != NULL;
}

bool fallow__os_file_write(const fallow__os_file *file, const char *bytes, size_t count)
{
    FILE *host = (FILE *)file->handle;
    uint64_t room = atomic_load(&file_room);
    size_t fitting = count < room ? count : (size_t)room;
    if (room != UINT64_MAX) {
        atomic_store(&file_room, room - fitting);
    }
    return fwrite(bytes, 1, fitting, host) == fitting && fflush(host) == 0 && fitting == count;
}

void fallow__os_file_close(const fallow__os_file *file)
{
    fclose((FILE *)file->handle);
}

void fallow__os_print(const char *text)
{
    fputs(text, stderr);
}

void fallow__os_at_exit(void (*at_exit)(void))
{
    (void)atexit(at_exit);
}

void fallow__os_stop(const char *message)
{
    fprintf(stderr, "%s\n", message);
    abort();
}

/* --- what tests ask ------------------------------------------------------------------------------------------- */

void sim_refuse(const sim_refusal *refusal)
{
    mutex_acquire();
    sim.is_refusing = refusal != NULL;
    sim.asked = 0;
    if (refusal != NULL) {
        sim.refusal = *refusal;
        sim.refused = 0;
    }
    mutex_release();
}

uint64_t sim_refusals(void)
{
    return sim.refusals;
}

uint64_t sim_refused(void)
{
    return sim.refused;
}

void sim_set_limit(sim_limit limit, uint64_t value)
{
    sim.options.limits[limit] = value;
}

sim_figures sim_counts(void)
{
    sim_figures counts = sim.figures;
    counts.live_locks = atomic_load(&live_locks);
    counts.held_locks = atomic_load(&held_locks);
    counts.live_events = atomic_load(&live_events);
    counts.live_threads = atomic_load(&live_threads);
    counts.lazy_pages = sim.lazy_pages;
    return counts;
}

uint64_t sim_call_count(void)
{
    uint64_t count = 0;
    for (int call = 0; call < SIM_ADVISE; call++) {
        count += sim.figures.calls[call];
    }
    return count;
}

uint64_t sim_charge(void)
{
    return bytes_of(sim.charged_pages);
}

uint64_t sim_reserved(void)
{
    return bytes_of(sim.reserved_pages);
}

uint64_t sim_map_count(void)
{
    return sim.mapping_count;
}

uint64_t sim_live_reservations(void)
{
    return sim.live_reservations;
}

sim_page sim_peek(const void *address)
{
    const area *a = area_at(address);
    if (a == NULL) {
        return (sim_page){.state = SIM_NONE};
    }
    const span *s = &a->spans[span_at(a, (uint64_t)((const char *)address - a->base) / sim.page_bytes)];
    return (sim_page){
        .state = s->state,
        .protection = s->protection,
        .is_charged = s->is_charged,
        .is_lazy = s->is_lazy,
        .attributes = s->attributes,
        .has_name = s->name_mark != 0,
        .is_large = a->is_large,
        .region_base = a->base,
        .region_bytes = (size_t)bytes_of(a->page_count),
    };
}

bool sim_is_all(const void *base, size_t size_bytes, sim_state state)
{
    const char *next = base;
    const char *end = next + size_bytes;
    while (next < end) {
        const area *a = area_at(next);
        if (a == NULL) {
            return false;
        }
        size_t index = span_at(a, (uint64_t)(next - a->base) / sim.page_bytes);
        if (a->spans[index].state != state) {
            return false;
        }
        next = page_address(a, span_end(a, index));
    }
    return true;
}

/* --- beginning and ending ------------------------------------------------------------------------------------- */

/* Fill in what 0 means. */
static sim_options completed(const sim_options *given)
{
    sim_options options = *given;
    size_t host_page = sim_host_page_bytes();
    if (options.page_bytes == 0) {
        options.page_bytes = host_page > 4 * KIB ? host_page : 4 * KIB;
    }
    if (options.granularity_bytes == 0) {
        bool is_coarse = options.rules == SIM_WINDOWS && options.page_bytes < 64 * KIB;
        options.granularity_bytes = is_coarse ? 64 * KIB : options.page_bytes;
    }
    for (int limit = 0; limit < SIM_LIMITS; limit++) {
        options.limits[limit] = options.limits[limit] != 0 ? options.limits[limit] : SIM_NO_LIMIT;
    }
    return options;
}

/* What the last simulation has left to the next one, which asks for as much. */
static struct {
    zone low;
    zone high; /* empty: nothing is left */
    uint64_t asked_bytes;
    bool is_light;
    uint64_t uses;
} kept;

enum {
    KEPT_USES = 256 /* so often, before its memory goes back to the host */
};

static void zones_release(const zone *low, const zone *high)
{
    sim_host_release(high->base, high->size_bytes);
    if (low->base != NULL) {
        sim_host_release(low->base, low->size_bytes);
    }
}

static bool zones_take_kept(uint64_t asked_bytes, bool has_light, bool is_wanted)
{
    if (kept.high.base == NULL) {
        return false;
    }
    if (!is_wanted || asked_bytes != kept.asked_bytes || has_light != kept.is_light) {
        zones_release(&kept.low, &kept.high);
        kept.high.base = NULL;
        return false;
    }
    sim.low = kept.low;
    sim.high = kept.high;
    return true;
}

static void zones_keep(void)
{
    kept.low = sim.low;
    kept.high = sim.high;
    kept.asked_bytes = sim.asked_bytes;
    kept.is_light = is_light();
    if (++kept.uses % KEPT_USES == 0) {
        sim_host_settle(sim.high.base, sim.high.size_bytes);
    }
}

/* What was asked for; else as much as the host has. */
static bool zones_reserve(uint64_t asked_bytes)
{
    const size_t align_bytes = sizeof(void *) < 8 ? (size_t)16 << 20 : (size_t)1 << 30;
    uint64_t size_bytes = asked_bytes != 0 ? asked_bytes : sim_host_space_bytes();
    for (; size_bytes >= LEAST_SPACE; size_bytes /= 2) {
        void *base = size_bytes <= SIZE_MAX / 2 ? sim_host_reserve((size_t)size_bytes, align_bytes) : NULL;
        if (base != NULL) {
            sim.high = (zone){base, (size_t)size_bytes};
            sim.low = (zone){sizeof(void *) < 8 ? NULL : sim_host_reserve_low(LOW_SPACE), LOW_SPACE};
            sim.low.size_bytes = sim.low.base != NULL ? LOW_SPACE : 0;
            return true;
        }
        if (asked_bytes != 0) {
            return false;
        }
    }
    return false;
}

/* For a light simulation. */
static bool zones_open(void)
{
    return sim_host_open(sim.high.base, sim.high.size_bytes) &&
           (sim.low.base == NULL || sim_host_open(sim.low.base, sim.low.size_bytes));
}

bool sim_begin(const sim_options *given)
{
    if (sim.is_begun) {
        fprintf(stderr, "sim_begin: one has begun already\n");
        abort();
    }
    memset(&sim, 0, sizeof sim);
    bool is_kept = sim_host_keep((given->flags & SIM_KEEP_MEMORY) != 0);
    bool has_light = (given->flags & SIM_LIGHT) != 0;
    if (has_light && !is_kept) {
        return false;
    }
    if (!zones_take_kept(given->space_bytes, has_light, is_kept)) {
        if (!zones_reserve(given->space_bytes)) {
            return false;
        }
        if (has_light && !zones_open()) {
            zones_release(&sim.low, &sim.high);
            return false;
        }
    }
    sim.is_kept = is_kept;
    sim.asked_bytes = given->space_bytes;
    sim.options = completed(given);
    sim.is_begun = true;
    sim.page_bytes = sim.options.page_bytes;
    sim.granularity_bytes = sim.options.granularity_bytes;
    sim.random = sim.options.seed;
    /* a space in which 64 GiB cannot be reserved is a limit, and is told as one */
    uint64_t space_bytes = sim.high.size_bytes;
    if (space_bytes < SPACE_WITHOUT_LIMIT && sim.options.limits[SIM_LIMIT_ADDRESSES] > space_bytes) {
        sim.options.limits[SIM_LIMIT_ADDRESSES] = space_bytes;
    }
    atomic_store(&live_locks, 0);
    atomic_store(&held_locks, 0);
    atomic_store(&live_events, 0);
    atomic_store(&live_threads, 0);
    atomic_store(&clock_ns, 0);
    sim_host_watch(is_write_fine);
    if ((given->flags & SIM_INTERLEAVED) != 0) {
        turn_begin(&(turn_options){.seed = given->seed ^ UINT64_C(0x7475726e73),
                                   .rarity = given->switch_rarity,
                                   .clock_ns = now,
                                   .pass_time = sim_pass_time,
                                   .deadlock = deadlock});
    }
    return true;
}

static bool is_none(uint64_t count, const char *of_what)
{
    if (count != 0) {
        fprintf(stderr, "sim_os: left over: %llu %s\n", (unsigned long long)count, of_what);
    }
    return count == 0;
}

bool sim_check_no_leak(void)
{
    release_waiting(); /* as a later call would */
    bool is_clean = is_none(sim.live_reservations, "reservations");
    is_clean &= is_none(sim.waiting_count, "reservations that could not be released yet");
    is_clean &= is_none(sim.charged_pages, "charged pages");
    is_clean &= is_none(sim.mapping_count, "mappings");
    is_clean &= is_none(atomic_load(&held_locks), "locks held");
    is_clean &= is_none(atomic_load(&live_locks), "locks never destroyed");
    is_clean &= is_none(atomic_load(&live_events), "events never destroyed");
    is_clean &= is_none(atomic_load(&live_threads), "threads never joined");
    return is_clean;
}

bool sim_end(void)
{
    bool is_clean = sim_check_no_leak();
    if (turn_is_on()) {
        turn_finish();
    }
    while (sim.lowest != NULL) {
        area_destroy(sim.lowest);
    }
    if (sim.is_kept) {
        zones_keep();
    } else {
        zones_release(&sim.low, &sim.high);
    }
    sim.is_begun = false;
    return is_clean;
}

static void end_by_exit(void)
{
    if (sim.is_begun && !sim_end()) {
        _Exit(1);
    }
}

/* FALLOW_SIM=linux-16K, windows, linux-bare: words for a program that knows nothing of simulations. */
static void begin_by_environment(void)
{
    char words[32] = "";
    (void)sim_host_environment("FALLOW_SIM", words, sizeof words);
    sim_options options = {.rules = strstr(words, "windows") != NULL ? SIM_WINDOWS : SIM_LINUX};
    if (strstr(words, "16K") != NULL) {
        options.page_bytes = 16 * KIB;
    } else if (strstr(words, "64K") != NULL) {
        options.page_bytes = 64 * KIB;
    }
    if (strstr(words, "bare") != NULL) {
        options.flags = SIM_NO_PURGE_MANY | SIM_NO_LAZY_PURGE | SIM_NO_GUARD_INSTALL | SIM_NO_ADVICE;
    }
    if (strstr(words, "large") != NULL) {
        options.large_page_bytes = 128 * KIB;
        options.large_page_count = 64;
    }
    if (strstr(words, "turns") != NULL) {
        options.flags |= SIM_INTERLEAVED;
    }
    if (!sim_begin(&options)) {
        fprintf(stderr, "sim_os: the host has no room for a simulation\n");
        abort();
    }
    atexit(end_by_exit);
}
