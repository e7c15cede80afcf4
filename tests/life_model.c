#include "life_model.h"

#include <stdlib.h>
#include <string.h>

void model_begin(model_arena *m, size_t page_bytes)
{
    *m = (model_arena){.page_bytes = page_bytes};
}

void model_end(model_arena *m)
{
    for (unsigned part = 0; part < m->part_count; part++) {
        free(m->parts[part].pieces);
    }
    m->part_count = 0;
    m->run_count = 0;
}

static void pieces_reserve(model_part *p, size_t room)
{
    if (room <= p->piece_room) {
        return;
    }
    p->piece_room = room * 2 > 64 ? room * 2 : 64;
    p->pieces = realloc(p->pieces, p->piece_room * sizeof p->pieces[0]);
    if (p->pieces == NULL) {
        abort();
    }
}

model_part *model_add_part(model_arena *m, unsigned char *base, uint64_t page_count)
{
    model_part *p = &m->parts[m->part_count++];
    *p = (model_part){.base = base, .page_count = page_count};
    pieces_reserve(p, 1);
    p->pieces[0] = (model_piece){.count = page_count, .state = MODEL_CLEAN};
    p->piece_count = 1;
    return p;
}

int model_part_at(const model_arena *m, const void *address)
{
    for (unsigned part = 0; part < m->part_count; part++) {
        const model_part *p = &m->parts[part];
        if (p->base != NULL && (uintptr_t)address - (uintptr_t)p->base < p->page_count * m->page_bytes) {
            return (int)part;
        }
    }
    return -1;
}

unsigned char *model_address(const model_arena *m, unsigned part, uint64_t page)
{
    return m->parts[part].base + (size_t)page * m->page_bytes;
}

size_t model_piece_at(const model_part *p, uint64_t page)
{
    size_t low = 0;
    size_t high = p->piece_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (p->pieces[middle].first <= page) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Have a piece begin at `page`; returns its index. */
static size_t cut_at(model_part *p, uint64_t page)
{
    if (page == p->page_count) {
        return p->piece_count;
    }
    size_t index = model_piece_at(p, page);
    if (p->pieces[index].first == page) {
        return index;
    }
    pieces_reserve(p, p->piece_count + 1);
    memmove(&p->pieces[index + 1], &p->pieces[index], (p->piece_count - index) * sizeof p->pieces[0]);
    p->piece_count++;
    model_piece *low = &p->pieces[index];
    model_piece *high = &p->pieces[index + 1];
    high->count = low->first + low->count - page;
    high->first = page;
    low->count = page - low->first;
    return index + 1;
}

size_t model_cut(model_part *p, uint64_t first, uint64_t count)
{
    size_t index = cut_at(p, first);
    cut_at(p, first + count);
    return index;
}

static bool is_alike(const model_piece *a, const model_piece *b)
{
    return a->state == b->state && a->is_accessible == b->is_accessible && a->content == b->content;
}

void model_join(model_part *p)
{
    size_t kept = 0;
    for (size_t index = 1; index < p->piece_count; index++) {
        if (is_alike(&p->pieces[kept], &p->pieces[index])) {
            p->pieces[kept].count += p->pieces[index].count;
        } else {
            p->pieces[++kept] = p->pieces[index];
        }
    }
    p->piece_count = kept + 1;
}

static void set_range(model_part *p, uint64_t first, uint64_t count, model_piece value)
{
    size_t begin = model_cut(p, first, count);
    size_t end = begin;
    while (end < p->piece_count && p->pieces[end].first < first + count) {
        end++;
    }
    memmove(&p->pieces[begin + 1], &p->pieces[end], (p->piece_count - end) * sizeof p->pieces[0]);
    p->piece_count -= end - begin - 1;
    value.first = first;
    value.count = count;
    p->pieces[begin] = value;
    model_join(p);
}

void model_set_free(model_part *p, uint64_t first, uint64_t count, model_state state, bool is_accessible)
{
    set_range(p, first, count, (model_piece){.state = state, .is_accessible = is_accessible});
}

void model_set_used(model_part *p, uint64_t first, uint64_t count, bool is_accessible, uint32_t content)
{
    set_range(p, first, count, (model_piece){.state = MODEL_USED, .is_accessible = is_accessible, .content = content});
}

bool model_set_accessible(model_part *p, uint64_t first, uint64_t count, bool is_accessible)
{
    bool is_new = true;
    for (size_t index = model_cut(p, first, count); index < p->piece_count; index++) {
        model_piece *piece = &p->pieces[index];
        if (piece->first >= first + count) {
            break;
        }
        is_new = is_new && piece->is_accessible != is_accessible;
        piece->is_accessible = is_accessible;
        piece->content = MODEL_ZERO;
        if (piece->state != MODEL_USED && !is_accessible) {
            piece->state = MODEL_CLEAN;
        }
    }
    model_join(p);
    return is_new;
}

void model_give(model_part *p, uint64_t first, uint64_t count)
{
    for (size_t index = model_cut(p, first, count); index < p->piece_count; index++) {
        model_piece *piece = &p->pieces[index];
        if (piece->first >= first + count) {
            break;
        }
        piece->state = piece->is_accessible ? MODEL_DIRTY : MODEL_CLEAN;
        piece->content = MODEL_ZERO;
    }
    model_join(p);
}

bool model_is_free(const model_part *p, uint64_t first, uint64_t count, bool is_accessible_only)
{
    for (size_t index = model_piece_at(p, first); index < p->piece_count; index++) {
        const model_piece *piece = &p->pieces[index];
        if (piece->first >= first + count) {
            break;
        }
        if (piece->state == MODEL_USED || (is_accessible_only && !piece->is_accessible)) {
            return false;
        }
    }
    return true;
}

/* Where a request fits into the free range [first, end), by trying addresses. */
static bool fit_in_range(const model_arena *m, const model_part *p, const model_request *wanted, uint64_t first,
                         uint64_t end, uint64_t *first_out)
{
    if (end - first < wanted->count) {
        return false;
    }
    uintptr_t align = wanted->align_bytes > m->page_bytes ? wanted->align_bytes : m->page_bytes;
    uintptr_t low = (uintptr_t)p->base + (uintptr_t)(first * m->page_bytes);
    uintptr_t high = (uintptr_t)p->base + (uintptr_t)((end - wanted->count) * m->page_bytes);
    uintptr_t up = low % align == 0 ? 0 : align - low % align;
    if (up > high - low) {
        return false;
    }
    uintptr_t at = wanted->is_top_down ? high - high % align : low + up;
    *first_out = (uint64_t)(at - (uintptr_t)p->base) / m->page_bytes;
    return true;
}

bool model_fit_in(const model_arena *m, unsigned part, const model_request *wanted, uint64_t *first_out)
{
    const model_part *p = &m->parts[part];
    bool is_found = false;
    for (size_t index = 0; index < p->piece_count;) {
        size_t end = index;
        while (end < p->piece_count && p->pieces[end].state != MODEL_USED &&
               (p->pieces[end].is_accessible || !wanted->is_accessible)) {
            end++;
        }
        if (end == index) {
            index++;
            continue;
        }
        uint64_t range_end = p->pieces[end - 1].first + p->pieces[end - 1].count;
        if (fit_in_range(m, p, wanted, p->pieces[index].first, range_end, first_out)) {
            is_found = true;
            if (!wanted->is_top_down) {
                return true;
            }
        }
        index = end;
    }
    return is_found;
}

bool model_fit(const model_arena *m, const model_request *wanted, unsigned *part_out, uint64_t *first_out)
{
    for (unsigned part = 0; part < m->part_count; part++) {
        if (model_fit_in(m, part, wanted, first_out)) {
            *part_out = part;
            return true;
        }
    }
    return false;
}

int model_run_at(const model_arena *m, unsigned part, uint64_t page)
{
    for (unsigned run = 0; run < m->run_count; run++) {
        const model_run *r = &m->runs[run];
        if (r->part == part && page - r->first < r->count) {
            return (int)run;
        }
    }
    return -1;
}

static uint64_t part_extent(const model_part *p)
{
    uint64_t first = p->page_count;
    uint64_t end = p->page_count;
    for (size_t index = 0; index < p->piece_count; index++) {
        const model_piece *piece = &p->pieces[index];
        if (piece->state == MODEL_USED) {
            first = first < piece->first ? first : piece->first;
            end = piece->first + piece->count;
        }
    }
    return end - first;
}

void model_count(const model_arena *m, model_census *census_out)
{
    model_census c = {0};
    for (unsigned part = 0; part < m->part_count; part++) {
        const model_part *p = &m->parts[part];
        for (size_t index = 0; index < p->piece_count; index++) {
            const model_piece *piece = &p->pieces[index];
            switch (piece->state) {
            case MODEL_USED: *(piece->is_accessible ? &c.used_accessible : &c.used_inaccessible) += piece->count; break;
            case MODEL_CLEAN: c.clean_accessible += piece->is_accessible ? piece->count : 0; break;
            case MODEL_DIRTY: c.dirty += piece->count; break;
            case MODEL_LAZY: c.lazy += piece->count; break;
            case MODEL_MAYBE: c.maybe += piece->count; break;
            }
        }
        c.extent += part_extent(p);
    }
    *census_out = c;
}
