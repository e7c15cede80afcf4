/* Parts: reservations with their bookkeeping in front (arena.h has the drawing). Laid out, reserved, filled in, linked;
 * and which blocks of bookkeeping are ready. */
#include "arena.h"
#include "status.h"

enum {
    DATA_ALIGN_FROM = 64 << 20, /* page 0 of an arena of so much lies on a huge page boundary, asked for or not */
};

size_t fallow__blocks_bytes(const part *p, uint64_t first, uint64_t end)
{
    size_t cut = end == p->plan.block_count ? p->plan.block_bytes - p->plan.last_block_bytes : 0;
    return (size_t)(end - first) * p->plan.block_bytes - cut;
}

uint64_t fallow__block_next(const part *p, uint64_t block, uint64_t end, bool is_ready)
{
    while (block < end) {
        uint64_t word = (is_ready ? p->ready[block / 64] : ~p->ready[block / 64]) >> (block % 64);
        if (word != 0) {
            block += fallow__lowest_bit(word);
            return block < end ? block : end;
        }
        block += 64 - block % 64;
    }
    return end;
}

uint64_t fallow__blocks_missing(const part *p, uint64_t first, uint64_t count)
{
    uint64_t missing = 0;
    uint64_t end = (first + count - 1) / FALLOW__BLOCK_PAGES + 1;
    for (uint64_t block = fallow__block_next(p, first / FALLOW__BLOCK_PAGES, end, false); block < end;) {
        uint64_t missing_end = fallow__block_next(p, block, end, true);
        missing += missing_end - block;
        block = fallow__block_next(p, missing_end, end, false);
    }
    return missing;
}

static bool part_plan(const fallow_arena *arena, uint64_t page_count, size_t struct_bytes, part_layout *layout_out)
{
    size_t os_page = fallow__os_page_bytes();
    size_t page_bytes = arena->page_bytes;
    part_layout layout = {.align_bytes = page_bytes};
    if (page_count == 0 || page_count > FALLOW__PAGES_MAX || page_count > SIZE_MAX / 2 / page_bytes) {
        return false;
    }
    size_t data_bytes = (size_t)page_count * page_bytes;
    if (data_bytes >= (arena->huge_pages != 0 ? HUGE_BYTES : DATA_ALIGN_FROM) && layout.align_bytes < HUGE_BYTES) {
        layout.align_bytes = HUGE_BYTES;
    }
    fallow__pages_plan_for(page_count, os_page, &layout.plan);
    size_t words = (size_t)(layout.plan.block_count + 63) / 64;
    layout.head_bytes = struct_bytes + 2 * words * sizeof(uint64_t);
    layout.upper_offset = (size_t)fallow__align_up(layout.head_bytes, 64);
    layout.block_offset = (size_t)fallow__align_up(layout.upper_offset + layout.plan.upper_bytes, os_page);
    size_t last_block = layout.block_offset + (size_t)(layout.plan.block_count - 1) * layout.plan.block_bytes;
    size_t metadata_end = last_block + layout.plan.last_block_bytes + os_page; /* and the guard */
    layout.data_offset = (size_t)fallow__align_up(metadata_end, layout.align_bytes);
    if (layout.data_offset > SIZE_MAX - data_bytes - os_page) { /* the second guard */
        return false;
    }
    layout.total_bytes = layout.data_offset + data_bytes;
    *layout_out = layout;
    return true;
}

void fallow__part_init(part *p, const fallow_region *region, const part_layout *layout, size_t struct_bytes)
{
    unsigned char *start = region->base;
    size_t words = (size_t)(layout->plan.block_count + 63) / 64;
    *p = (part){
        .region = *region,
        .plan = layout->plan,
        .base = start + layout->data_offset,
        .blocks = start + layout->block_offset,
        .ready = (uint64_t *)(void *)(start + struct_bytes),
        .metadata_bytes = layout->block_offset,
    };
    p->fresh = p->ready + words;
    fallow__pages_plan plan = layout->plan;
    uint64_t last_block = plan.block_count - 1;
    if (plan.page_count % FALLOW__BLOCK_PAGES != 0) {
        p->ready[last_block / 64] |= (uint64_t)1 << (last_block % 64);
        p->metadata_bytes += plan.last_block_bytes;
    }
    fallow__pages_init(&p->pages, &plan, start + layout->upper_offset, p->blocks);
}

/* The part that fallow__pages_init writes to besides head and upper storage: the last block, if it is not full. */
static size_t first_block_bytes(const part_layout *layout, size_t *offset_out)
{
    const fallow__pages_plan *plan = &layout->plan;
    *offset_out = layout->block_offset + (size_t)(plan->block_count - 1) * plan->block_bytes;
    return plan->page_count % FALLOW__BLOCK_PAGES != 0 ? plan->last_block_bytes : 0;
}

size_t fallow__head_bytes(const part_layout *layout)
{
    size_t block_offset;
    return layout->block_offset + first_block_bytes(layout, &block_offset);
}

/* Commit a part of the head: granted and committed, or nothing. */
static fallow_status head_commit(const fallow_arena *arena, const fallow_region *region, void *base, size_t size_bytes,
                                 uint64_t *calls_inout, fallow__os_error *error)
{
    if (!fallow__ask(arena, base, size_bytes)) {
        return fallow__refused(error, "before_commit", size_bytes);
    }
    ++*calls_inout;
    fallow_status status = fallow__os_commit(region, base, size_bytes, error);
    if (status != FALLOW_OK) {
        fallow__tell(arena, base, size_bytes);
    }
    return status;
}

fallow_status fallow__part_commit_head(const fallow_arena *arena, const fallow_region *region,
                                       const part_layout *layout, uint64_t *calls_inout, fallow__os_error *error)
{
    unsigned char *start = region->base;
    size_t block_offset;
    size_t block_bytes = first_block_bytes(layout, &block_offset);
    size_t first_bytes = layout->block_offset;
    if (block_offset == first_bytes) { /* one block: next to the head, and committed with it */
        first_bytes += block_bytes;
        block_bytes = 0;
    }
    fallow_status status = head_commit(arena, region, start, first_bytes, calls_inout, error);
    if (status == FALLOW_OK && block_bytes != 0) {
        status = head_commit(arena, region, start + block_offset, block_bytes, calls_inout, error);
        if (status != FALLOW_OK) {
            fallow__tell(arena, start, first_bytes);
        }
    }
    return status;
}

static fallow_region_options region_options(const fallow_arena *arena, const part_layout *layout)
{
    return (fallow_region_options){
        .align_bytes = layout->align_bytes,
        .name = arena->name[0] != '\0' ? arena->name : NULL,
        .flags = arena->region_flags,
    };
}

/* All bookkeeping and all pages. */
static size_t large_bytes(const fallow_arena *arena, const part_layout *layout)
{
    size_t last_block = layout->block_offset + (size_t)(layout->plan.block_count - 1) * layout->plan.block_bytes;
    return last_block + layout->plan.last_block_bytes + pages_bytes(arena, layout->plan.page_count);
}

fallow_status fallow__part_reserve_large(const fallow_arena *arena, uint64_t page_count, size_t struct_bytes,
                                         part_layout *layout_out, fallow_region *region_out, fallow__os_error *error)
{
    if (!part_plan(arena, page_count, struct_bytes, layout_out)) {
        return FALLOW_ERR_ADDRESS_SPACE;
    }
    if (!fits_limit(arena, large_bytes(arena, layout_out))) {
        return fallow__refused(error, "limit_bytes", arena->limit_bytes);
    }
    fallow_region_options options = region_options(arena, layout_out);
    fallow_status status = fallow__os_reserve_large(layout_out->total_bytes, &options, region_out, error);
    if (status == FALLOW_OK && !fallow__ask(arena, region_out->base, large_bytes(arena, layout_out))) {
        fallow__os_error ignored;
        (void)fallow__os_release(region_out, &ignored);
        return fallow__refused(error, "before_commit", large_bytes(arena, layout_out));
    }
    return status;
}

void fallow__part_init_large(fallow_arena *arena, part *p)
{
    for (uint64_t block = 0; block < p->plan.block_count; block++) {
        p->ready[block / 64] |= (uint64_t)1 << (block % 64);
    }
    p->metadata_bytes = fallow__part_metadata_bytes(p);
    fallow__edges_count(arena, p, 0, p->plan.page_count, true);
    fallow__pages_set_free(&p->pages, 0, p->plan.page_count, FALLOW__FREE_ZERO);
}

fallow_status fallow__part_reserve(const fallow_arena *arena, uint64_t page_count, uint64_t min_pages,
                                   size_t struct_bytes, part_layout *layout_out, fallow_region *region_out,
                                   fallow__os_error *error)
{
    for (;;) {
        /* more than fits the addresses of this machine is refused like more than the system has */
        fallow_status status = FALLOW_ERR_ADDRESS_SPACE;
        if (part_plan(arena, page_count, struct_bytes, layout_out)) {
            fallow_region_options options = region_options(arena, layout_out);
            size_t guarded_bytes = layout_out->total_bytes + fallow__os_page_bytes();
            status = fallow__os_reserve(guarded_bytes, &options, region_out, error);
        }
        if (status == FALLOW_OK || page_count / 2 < min_pages) {
            return status;
        }
        page_count /= 2;
    }
}

void fallow__part_link(fallow_arena *arena, part *p)
{
    fallow__mark_set(&p->mark, &p->region, arena);
    if (arena->is_watched) {
        fallow__watch_part(arena, p, true);
    }
    p->previous = arena->newest;
    if (arena->newest != NULL) {
        arena->newest->next = p;
    } else {
        arena->oldest = p;
    }
    arena->newest = p;
}

size_t fallow__part_unlink(fallow_arena *arena, part *p)
{
    FALLOW_ASSERT(p == arena->newest);
    if (arena->is_watched) {
        fallow__watch_part(arena, p, false);
    }
    arena->newest = p->previous;
    if (p->previous != NULL) {
        p->previous->next = NULL;
    }
    return p->metadata_bytes + pages_bytes(arena, part_state_pages(arena, p, STATES_ACCESSIBLE));
}

void fallow__part_release(const fallow_arena *arena, const part *p, size_t committed_bytes)
{
    fallow_region region = p->region;
    void (*after_decommit)(void *, void *, size_t) = arena->after_decommit;
    void *callback_context = arena->callback_context;
    fallow__os_error ignored;
    (void)fallow__os_release(&region, &ignored);
    if (after_decommit != NULL) {
        after_decommit(callback_context, region.base, committed_bytes);
    }
}

static size_t part_struct_bytes(void)
{
    return (size_t)fallow__align_up(sizeof(part), 64);
}

fallow_status fallow__arena_add_part(fallow_arena *arena, const order *wanted, fallow__os_error *error)
{
    bool is_committed = (wanted->flags & FALLOW_RUN_UNCOMMITTED) == 0;
    uint64_t min_pages = wanted->count + wanted->align - 1;
    uint64_t page_count = arena->reserve_bytes >> arena->page_shift;
    uint64_t present = fallow__arena_state_pages(arena, FALLOW__STATES_FREE | FALLOW__STATES_USED);
    page_count = page_count > present ? page_count : present;
    page_count = page_count > min_pages ? page_count : min_pages;
    part_layout layout;
    fallow_region region;
    uint64_t calls = 0;
    if (!is_within_limit(arena, wanted->count, is_committed)) {
        return fallow__refused(error, "limit_bytes", arena->limit_bytes);
    }
    fallow__os_lock_release(&arena->lock);
    fallow_status status =
        fallow__part_reserve(arena, page_count, min_pages, part_struct_bytes(), &layout, &region, error);
    fallow__os_lock_acquire(&arena->lock);
    if (status != FALLOW_OK) {
        return status;
    }
    while (status == FALLOW_OK && !fits_limit(arena, fallow__head_bytes(&layout))) {
        status = fallow__make_room(arena, wanted->count, is_committed, error);
    }
    arena->promised_bytes = fallow__head_bytes(&layout);
    fallow__os_lock_release(&arena->lock);
    if (status == FALLOW_OK) {
        status = fallow__part_commit_head(arena, &region, &layout, &calls, error);
    }
    if (status == FALLOW_OK) {
        fallow__part_init(region.base, &region, &layout, part_struct_bytes());
    } else {
        fallow__os_error ignored;
        (void)fallow__os_release(&region, &ignored);
    }
    fallow__os_lock_acquire(&arena->lock);
    arena->commit_calls += calls;
    arena->promised_bytes = 0;
    if (status == FALLOW_OK) {
        fallow__part_link(arena, region.base);
    }
    return status;
}

size_t fallow__part_metadata_bytes(const part *p)
{
    size_t bytes = (size_t)(p->blocks - (unsigned char *)p->region.base);
    uint64_t end = p->plan.block_count;
    for (uint64_t block = fallow__block_next(p, 0, end, true); block < end;) {
        uint64_t ready_end = fallow__block_next(p, block, end, false);
        bytes += fallow__blocks_bytes(p, block, ready_end);
        block = fallow__block_next(p, ready_end, end, true);
    }
    return bytes;
}
