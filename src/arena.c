/* Arenas: created, destroyed, measured and checked; and what happens to one around a fork. arena.h has what an arena
 * is. */
#include <string.h>

#include "arena.h"
#include "config.h"
#include "debug.h"
#include "status.h"
#include "tools.h"

enum {
    PAGE_BYTES_DEFAULT = 8 << 10, /* twice the usual OS page: half the bookkeeping, and nothing asks for less */
    PAGE_BYTES_MAX = 2 << 20,
    GROW_BYTES_DEFAULT = 2 << 20, /* one huge page: the system call is a few ns a page, and huge pages can form */
    RETAIN_PERCENT_MAX = 1000,
    RESERVE_BYTES_LEAST = 64 << 10, /* less is not worth an arena */
    CACHE_BYTES_DEFAULT = 64 << 20, /* for each thread: 16 runs of 4 MiB come and go without the lock */
    CACHE_SHARE = 64,               /* and no more than one part in so many of what the arena can have */
};

#define ALL_ARENA_FLAGS                                                                               \
    (FALLOW_ARENA_FIXED | FALLOW_ARENA_HUGE_PAGES | FALLOW_ARENA_LARGE_PAGES | FALLOW_ARENA_NO_FORK | \
     FALLOW_ARENA_NO_DUMP)

uint64_t fallow__arena_state_pages(const fallow_arena *arena, unsigned states)
{
    uint64_t count = 0;
    for (const part *p = arena->oldest; p != NULL; p = p->next) {
        count += part_state_pages(arena, p, states);
    }
    return count;
}

size_t fallow__arena_backed_bytes(const fallow_arena *arena)
{
    size_t metadata_bytes = arena->caches.metadata_bytes;
    for (const part *p = arena->oldest; p != NULL; p = p->next) {
        metadata_bytes += p->metadata_bytes;
    }
    return metadata_bytes +
           pages_bytes(arena, fallow__arena_state_pages(arena, FALLOW__STATES_IN_USE | FALLOW__STATES_OLD));
}

/* What is done around a fork: scavenger_calls.fork. */
static bool arena_fork(fallow__scavenger *scavenger, fallow__fork_step step)
{
    fallow_arena *arena = fallow__arena_of_scavenger(scavenger);
    bool is_taken = true;
    switch (step) {
    case FALLOW__FORK_CHILD: /* nobody waits for what was held */
        fallow__os_lock_init(&arena->lock);
        fallow__os_event_init(&arena->turn_passed);
        arena->turn = arena->tickets;
        scavenger->is_idle = true;
        fallow__caches_in_child(&arena->caches, fallow__arena_drop, arena);
        return true;
    case FALLOW__FORK_PARENT:
        fallow__turn_pass(arena);
        fallow__os_lock_release(&arena->lock);
        return true;
    case FALLOW__FORK_TAKE:
        fallow__os_lock_acquire(&arena->lock);
        is_taken = turn_is_free(arena);
        if (is_taken) {
            fallow__turn_take(arena);
        }
        break;
    case FALLOW__FORK_WAIT:
        fallow__os_lock_acquire(&arena->lock);
        fallow__turn_take(arena);
        fallow__turn_pass(arena);
        break;
    case FALLOW__FORK_LET_GO:
        fallow__os_lock_acquire(&arena->lock);
        fallow__turn_pass(arena);
        break;
    case FALLOW__FORK_HOLD: fallow__os_lock_acquire(&arena->lock); return true;
    }
    fallow__os_lock_release(&arena->lock);
    return is_taken;
}

/* From the lowest to the end of the highest page in use. What is out counts as used in the part's books: it is passed
 * over. */
static size_t part_extent_bytes(const fallow_arena *arena, part *p)
{
    uint64_t first;
    uint64_t count;
    uint64_t below = p->plan.page_count;
    const piece *out;
    do {
        if (!fallow__pages_last_range(&p->pages, below, FALLOW__STATES_USED, &first, &count)) {
            return 0;
        }
        out = out_with(arena, p, first + count - 1);
        below = out != NULL ? out->first : below;
    } while (out != NULL);
    uint64_t end = first + count;
    uint64_t start = fallow__pages_next(&p->pages, 0, end, FALLOW__STATES_USED);
    while ((out = out_with(arena, p, start)) != NULL) {
        start = fallow__pages_next(&p->pages, out->first + out->count, end, FALLOW__STATES_USED);
    }
    return pages_bytes(arena, end - start);
}

void fallow_arena_read_stats(fallow_arena *arena, fallow_arena_stats *stats_out)
{
    FALLOW_REQUIRE(arena != NULL, "fallow_arena_read_stats", NULL, "the arena is NULL");
    FALLOW_REQUIRE(stats_out != NULL, "fallow_arena_read_stats", NULL, "stats_out is NULL");
    fallow_arena_stats stats = {
        .page_bytes = arena->page_bytes,
        .limit_bytes = arena->limit_bytes,
        .purge = arena->purge,
        .scavenge = arena->scavenger.mode,
        .large_pages_status = arena->large_pages_status,
    };
    fallow__os_lock_acquire(&arena->lock);
    stats.reserved_bytes = arena->caches.reserved_bytes;
    stats.metadata_bytes = arena->caches.metadata_bytes;
    for (part *p = arena->oldest; p != NULL; p = p->next) {
        stats.reserved_bytes += p->region.size_bytes;
        stats.usable_bytes += pages_bytes(arena, p->plan.page_count);
        stats.metadata_bytes += p->metadata_bytes;
        stats.extent_bytes += part_extent_bytes(arena, p);
        stats.region_count++;
        stats.large_bytes += part_is_large(p) ? p->region.size_bytes : 0;
        stats.run_count += (size_t)part_state_pages(arena, p, FALLOW__STATES_START);
        stats.map_count += (size_t)p->edges + 2; /* bookkeeping, what is between it and page 0 */
    }
    stats.in_use_bytes = pages_bytes(arena, fallow__arena_state_pages(arena, FALLOW__STATES_IN_USE));
    /* a run that went from one cache to another while they were counted was counted twice */
    fallow__cached kept = fallow__caches_count(&arena->caches, false);
    kept.run_count = kept.run_count < stats.run_count ? kept.run_count : stats.run_count;
    kept.bytes = kept.bytes < stats.in_use_bytes ? kept.bytes : stats.in_use_bytes;
    stats.run_count -= kept.run_count;
    stats.in_use_bytes -= kept.bytes;
    stats.cached_bytes = kept.bytes;
    stats.retained_bytes = pages_bytes(arena, fallow__arena_state_pages(arena, FALLOW__STATES(FALLOW__FREE_DIRTY)));
    stats.released_lazy_bytes = pages_bytes(arena, fallow__arena_state_pages(arena, FALLOW__STATES(FALLOW__FREE_LAZY)));
    stats.released_zero_bytes = pages_bytes(arena, fallow__arena_state_pages(arena, FALLOW__STATES(FALLOW__FREE_ZERO)));
    stats.uncommitted_bytes =
        pages_bytes(arena, fallow__arena_state_pages(arena, FALLOW__STATES(FALLOW__START_NONE) |
                                                                FALLOW__STATES(FALLOW__REST_NONE)));
    stats.backed_bytes = fallow__arena_backed_bytes(arena);
    stats.committed_bytes = stats.backed_bytes + stats.released_zero_bytes;
    uint64_t peak = arena->scavenger.peak_pages;
    stats.peak_in_use_bytes = pages_bytes(arena, peak > arena->peak_in_use_pages ? peak : arena->peak_in_use_pages);
    stats.commit_calls = arena->commit_calls;
    stats.by_dontneed = arena->given_back[FALLOW_PURGE_DONTNEED];
    stats.by_free = arena->given_back[FALLOW_PURGE_FREE];
    stats.by_decommit = arena->given_back[FALLOW_PURGE_DECOMMIT];
    stats.purge_calls = stats.by_dontneed.calls + stats.by_free.calls + stats.by_decommit.calls;
    stats.avoided_decommits = arena->avoided_decommits;
    stats.pressure_trims = arena->pressure_trims;
    stats.os_ns = arena->os_ns;
    stats.why_retained = fallow__arena_why_retained(arena);
    fallow__os_lock_release(&arena->lock);
    *stats_out = stats;
}

fallow_status fallow_arena_check(fallow_arena *arena)
{
    static const char operation[] = "fallow_arena_check";
    FALLOW_REQUIRE(arena != NULL, operation, NULL, "the arena is NULL");
    const part *wrong = NULL;
    fallow__os_lock_acquire(&arena->lock);
    if (!fallow__arena_check_caches(arena)) {
        wrong = arena->oldest;
    }
    for (part *p = arena->oldest; p != NULL && wrong == NULL; p = p->next) {
        bool is_last = p->next == NULL ? p == arena->newest : p->next->previous == p;
        bool is_settled = !turn_is_free(arena) || p->fresh_count == 0;
        if (!is_last || !is_settled || p->edges != fallow__part_edges(arena, p) ||
            p->metadata_bytes != fallow__part_metadata_bytes(p) || !fallow__pages_verify(&p->pages)) {
            wrong = p;
        }
    }
    fallow__os_lock_release(&arena->lock);
    return wrong == NULL ? FALLOW_OK : fallow__fail(FALLOW_ERR_INVALID, operation, wrong->base, 0, NULL);
}

static size_t length_up_to(const char *text, size_t limit)
{
    size_t length = 0;
    while (length < limit && text[length] != '\0') {
        length++;
    }
    return length;
}

/* Fill in an arena's settings from checked options; false if one is out of its range. */
static bool arena_configure(const fallow_arena_options *options, fallow_arena *settings_out)
{
    size_t os_page = fallow__os_page_bytes();
    size_t page_bytes = options->page_bytes;
    size_t grow_bytes = options->grow_bytes != 0 ? options->grow_bytes : GROW_BYTES_DEFAULT;
    if (page_bytes == 0) {
        page_bytes = os_page > PAGE_BYTES_DEFAULT ? os_page : PAGE_BYTES_DEFAULT;
    }
    bool is_valid =
        fallow__is_power_of_two(page_bytes) && page_bytes >= os_page && page_bytes <= PAGE_BYTES_MAX &&
        (options->flags & ~(uint32_t)ALL_ARENA_FLAGS) == 0 && options->retain_percent <= RETAIN_PERCENT_MAX &&
        (unsigned)options->purge <= FALLOW_PURGE_DECOMMIT && (unsigned)options->scavenge <= FALLOW_SCAVENGE_THREAD &&
        (options->reserve_bytes == 0 || options->min_reserve_bytes <= options->reserve_bytes) &&
        (options->name == NULL || length_up_to(options->name, FALLOW_NAME_BYTES) < FALLOW_NAME_BYTES);
    if (!is_valid) {
        return false;
    }
    *settings_out = (fallow_arena){
        .page_shift = fallow__highest_bit(page_bytes),
        .is_watched = fallow__tools_listen(),
        .page_bytes = page_bytes,
        .reserve_bytes = options->reserve_bytes != 0 ? options->reserve_bytes : fallow__config_reserve_bytes(),
        .grow_pages = (uint64_t)grow_bytes / page_bytes + (grow_bytes % page_bytes != 0),
        .limit_bytes = options->limit_bytes != 0 ? options->limit_bytes : fallow__config_get()->limit_bytes,
        .purge = options->purge != FALLOW_PURGE_DEFAULT ? options->purge : fallow__config_get()->purge,
        .flags = options->flags,
        .before_commit = options->before_commit,
        .after_decommit = options->after_decommit,
        .callback_context = options->callback_context,
    };
    if ((options->flags & FALLOW_ARENA_HUGE_PAGES) != 0) {
        settings_out->region_flags |= FALLOW_REGION_HUGE_PAGES;
        settings_out->huge_pages = HUGE_BYTES / page_bytes;
        settings_out->grow_pages = fallow__align_up(settings_out->grow_pages, settings_out->huge_pages);
    }
    if ((options->flags & FALLOW_ARENA_NO_FORK) != 0) {
        settings_out->region_flags |= FALLOW_REGION_NO_FORK;
    }
    if ((options->flags & FALLOW_ARENA_NO_DUMP) != 0) {
        settings_out->region_flags |= FALLOW_REGION_NO_DUMP;
    }
    settings_out->is_particular = settings_out->limit_bytes != 0 || settings_out->huge_pages != 0;
    if (options->name != NULL) {
        memcpy(settings_out->name, options->name, length_up_to(options->name, FALLOW_NAME_BYTES));
    }
    return true;
}

/* The least the first reservation may be, in bytes, if the system refuses what is asked for. */
static size_t least_reserve_bytes(const fallow_arena_options *options)
{
    if (options->min_reserve_bytes != 0) {
        return options->min_reserve_bytes;
    }
    bool is_all = options->reserve_bytes != 0 && (options->flags & FALLOW_ARENA_FIXED) != 0;
    return is_all ? options->reserve_bytes : RESERVE_BYTES_LEAST;
}

_Static_assert(sizeof(fallow_arena) + 64 + sizeof(part) <= FALLOW__MARK_WITHIN_BYTES, "the first mark is found");

/* What each thread may keep. */
static size_t cache_limit_bytes(const fallow_arena_options *options, size_t usable_bytes, bool is_traced)
{
    if (is_traced || fallow__tools_is_valgrind()) {
        return 0; /* each run is seen to come and go */
    }
    if (options->thread_cache_bytes != 0) {
        return options->thread_cache_bytes != FALLOW_CACHE_NONE ? options->thread_cache_bytes : 0;
    }
    if (fallow__tools_listen()) {
        return 0; /* to be in a cache is to be free, and no tool would know */
    }
    size_t bytes = CACHE_BYTES_DEFAULT;
    bytes = usable_bytes / CACHE_SHARE < bytes ? usable_bytes / CACHE_SHARE : bytes;
    bool is_limited = options->limit_bytes != 0 && options->limit_bytes / CACHE_SHARE < bytes;
    return is_limited ? options->limit_bytes / CACHE_SHARE : bytes;
}

static size_t arena_struct_bytes(void)
{
    return (size_t)fallow__align_up(fallow__align_up(sizeof(fallow_arena), 64) + sizeof(part), 64);
}

/* The first reservation, with its head committed: in large pages if that is wanted and can be had, else in ordinary
 * ones. */
static fallow_status first_reserve(fallow_arena *settings, uint64_t page_count, uint64_t min_pages,
                                   part_layout *layout_out, fallow_region *region_out, fallow__os_error *error)
{
    if ((settings->flags & FALLOW_ARENA_LARGE_PAGES) != 0) {
        settings->large_pages_status =
            fallow__part_reserve_large(settings, page_count, arena_struct_bytes(), layout_out, region_out, error);
        settings->commit_calls += settings->large_pages_status == FALLOW_OK;
        if (settings->large_pages_status == FALLOW_OK) {
            return FALLOW_OK;
        }
    }
    fallow_status status =
        fallow__part_reserve(settings, page_count, min_pages, arena_struct_bytes(), layout_out, region_out, error);
    if (status != FALLOW_OK) {
        return status;
    }
    status = fits_limit(settings, fallow__head_bytes(layout_out))
                 ? fallow__part_commit_head(settings, region_out, layout_out, &settings->commit_calls, error)
                 : fallow__refused(error, "limit_bytes", settings->limit_bytes);
    if (status != FALLOW_OK) {
        fallow__os_error ignored;
        (void)fallow__os_release(region_out, &ignored);
    }
    return status;
}

static const fallow__scavenger_calls scavenger_calls = {
    .work = fallow__arena_work, .relieve = fallow__arena_relieve, .fork = arena_fork};

fallow_status fallow_arena_create(const fallow_arena_options *options, fallow_arena **arena_out)
{
    static const char operation[] = "fallow_arena_create";
    static const fallow_arena_options none = {0};
    FALLOW_REQUIRE(arena_out != NULL, operation, NULL, "arena_out is NULL");
    fallow_arena settings;
    part_layout layout;
    fallow_region region;
    fallow__os_error error = {0};
    options = options != NULL ? options : &none;
    if (!arena_configure(options, &settings)) {
        return fallow__fail(FALLOW_ERR_INVALID, operation, NULL, options->reserve_bytes, NULL);
    }
    uint64_t page_count;
    uint64_t min_pages;
    fallow_status status = FALLOW_ERR_INVALID;
    if (pages_for(&settings, settings.reserve_bytes, &page_count) &&
        pages_for(&settings, least_reserve_bytes(options), &min_pages)) {
        if (options->min_reserve_bytes != 0 && page_count < min_pages) {
            page_count = min_pages; /* a default may be less than what must be had */
        }
        status = first_reserve(&settings, page_count, min_pages, &layout, &region, &error);
    }
    if (status != FALLOW_OK) {
        return fallow__fail(status, operation, NULL, settings.reserve_bytes, &error);
    }
    fallow_arena *arena = region.base;
    part *p = (part *)(void *)((unsigned char *)region.base + fallow__align_up(sizeof(fallow_arena), 64));
    *arena = settings;
    arena->is_traced = fallow__debug_begin(arena->name);
    fallow__os_lock_init(&arena->lock);
    fallow__os_event_init(&arena->turn_passed);
    fallow__scavenger_init(
        &arena->scavenger, &scavenger_calls,
        options->scavenge != FALLOW_SCAVENGE_DEFAULT ? options->scavenge : fallow__config_get()->scavenge,
        options->retain_percent, options->purge_delay_ms, (arena->region_flags & FALLOW_REGION_NO_FORK) == 0);
    fallow__part_init(p, &region, &layout, arena_struct_bytes());
    fallow__part_link(arena, p);
    if (part_is_large(p)) {
        fallow__part_init_large(arena, p);
    }
    fallow__caches_init(&arena->caches, arena->page_bytes,
                        cache_limit_bytes(options, pages_bytes(arena, p->plan.page_count), arena->is_traced),
                        fallow__config_get()->is_checking, fallow__arena_cache_leaves);
    fallow__arenas_enter(arena, arena->name, (options->flags & FALLOW_ARENA_NO_FORK) == 0);
    fallow__scavenger_join(&arena->scavenger);
    *arena_out = arena;
    return FALLOW_OK;
}

void fallow_arena_destroy(fallow_arena *arena)
{
    if (arena == NULL) {
        return;
    }
    fallow__scavenger_leave(&arena->scavenger);
    fallow__debug_leave(arena, arena->is_traced);
    fallow__arenas_leave(arena);
    fallow__caches_close(&arena->caches);
    for (const fallow__cache *cache = arena->caches.first; cache != NULL;) {
        fallow_region region = cache->region;
        fallow__os_error ignored;
        cache = cache->next;
        (void)fallow__os_release(&region, &ignored);
        fallow__tell(arena, region.base, fallow__cache_bytes(&arena->caches));
    }
    fallow__os_event_destroy(&arena->turn_passed);
    fallow__os_lock_destroy(&arena->lock);
    for (part *p = arena->newest; p != NULL;) {
        part *previous = p->previous;
        fallow__part_release(arena, p, fallow__part_unlink(arena, p));
        p = previous;
    }
}
