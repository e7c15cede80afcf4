/* fallow_arena_write_map: an arena as a picture.
 *
 * A part is cut into rows, a row into cells, a cell is 2^k pages. Rows that are of one kind from end to end can be
 * folded into one band, whatever their number: that makes 64 TiB readable. What is folded depends on the scale:
 *
 *   close   only what is addresses and no memory is folded, so that memory is drawn as large as it is; as long as a
 *           cell is not more than CLOSE_BYTES
 *   far     everything uniform is folded, and k is as small as it can be
 *
 * Two passes. The first one counts, for every k at once, the rows and bands that would be drawn: a row that more than
 * one kind meets in is drawn, and rows nest, so a range that lies in one row which is counted already changes nothing
 * for any larger k. It also sums up the kinds, for the legend. The second pass draws. Others may work on the arena in
 * between: never more rows are drawn than were planned, and what is left then goes into one stack, the *rest*. */
#include "map_ink.h"

#include <string.h>

#include "status.h"

#define CLOSE_BYTES ((uint64_t)2 << 20)
#define NO_ROW UINT64_MAX

enum {
    SHIFTS = 37, /* 2^36 pages are the most that there are */
    COLUMNS_DEFAULT = 64,
    COLUMNS_MIN = 16,
    ROWS_DEFAULT = 64,
    ROWS_DEFAULT_ANSI = 24,
    ROWS_MIN = 4,
    ROWS_MAX = 1024
};

const char *fallow__map_name(fallow__map_kind kind)
{
    static const char *const names[FALLOW__MAP_KINDS] = {
        "in use",         "cached",   "retained",    "lazily freed", "released",
        "addresses only", "reserved", "bookkeeping", "guard",
    };
    return names[kind];
}

const char *fallow__map_meaning(fallow__map_kind kind)
{
    static const char *const meanings[FALLOW__MAP_KINDS] = {
        "committed pages of live runs",
        "freed, kept by threads for later",
        "free, and still holds memory",
        "free; the system may take its memory",
        "free and accessible, without memory",
        "pages of live runs that fault",
        "free, faults when touched",
        "the arena's own, committed",
        "never committed, faults",
    };
    return meanings[kind];
}

void fallow__map_write_size(fallow__writer *writer, uint64_t bytes)
{
    fallow__write_text(writer, fallow__size_words(bytes).text);
}

void fallow__map_write_runs(fallow__writer *writer, uint64_t count)
{
    fallow__write_number(writer, count);
    fallow__write_text(writer, count == 1 ? " run" : " runs");
}

void fallow__map_write_summary(fallow__writer *writer, const fallow__map_plan *plan)
{
    uint64_t reserved = 0;
    for (unsigned kind = 0; kind < FALLOW__MAP_KINDS; kind++) {
        reserved += plan->bytes[kind];
    }
    const uint64_t *bytes = plan->bytes;
    uint64_t backed = bytes[FALLOW__MAP_IN_USE] + bytes[FALLOW__MAP_CACHED] + bytes[FALLOW__MAP_RETAINED] +
                      bytes[FALLOW__MAP_LAZY] + bytes[FALLOW__MAP_BOOKKEEPING];
    fallow__map_write_size(writer, reserved);
    fallow__write_text(writer, " of addresses in ");
    fallow__write_number(writer, plan->part_count);
    fallow__write_text(writer, plan->part_count == 1 ? " reservation; " : " reservations; ");
    fallow__map_write_size(writer, backed);
    fallow__write_text(writer, " may hold memory; ");
    fallow__map_write_size(writer, bytes[FALLOW__MAP_IN_USE]);
    fallow__write_text(writer, " in use, in ");
    fallow__map_write_runs(writer, plan->run_count);
}

void fallow__map_write_scale(fallow__writer *writer, const fallow__map_plan *plan, const char *cell)
{
    fallow__write_text(writer, cell);
    fallow__write_text(writer, " is ");
    fallow__map_write_size(writer, plan->source->page_bytes << plan->cell_shift);
    fallow__write_text(writer, plan->cell_shift == 0 ? ", one page; a row of " : "; a row of ");
    fallow__write_number(writer, plan->columns);
    fallow__write_text(writer, " is ");
    fallow__map_write_size(writer, (plan->source->page_bytes * plan->columns) << plan->cell_shift);
    fallow__write_text(writer, plan->folds_all ? "; rows of one kind are folded" : "; rows without memory are folded");
}

void fallow__map_write_part(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part)
{
    fallow__map_write_size(writer, fallow__map_bytes(plan, part->page_count));
    fallow__write_text(writer, " at ");
    fallow__write_hex(writer, part->base);
    fallow__write_text(writer, ", reservation ");
    fallow__write_number(writer, part->index + 1);
    fallow__write_text(writer, " of ");
    fallow__write_number(writer, plan->part_count);
}

void fallow__map_write_sums(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_cell *cell)
{
    bool is_first = true;
    for (unsigned kind = 0; kind < FALLOW__MAP_PAGE_KINDS; kind++) {
        if (cell->pages[kind] != 0) {
            fallow__write_text(writer, is_first ? "" : ", ");
            fallow__map_write_size(writer, fallow__map_bytes(plan, cell->pages[kind]));
            fallow__write_text(writer, " ");
            fallow__write_text(writer, fallow__map_name((fallow__map_kind)kind));
            is_first = false;
        }
    }
}

uint64_t fallow__map_cell_pages(const fallow__map_cell *cell)
{
    uint64_t pages = 0;
    for (unsigned kind = 0; kind < FALLOW__MAP_PAGE_KINDS; kind++) {
        pages += cell->pages[kind];
    }
    return pages;
}

bool fallow__map_is_pure(const fallow__map_cell *cell, fallow__map_kind *kind_out)
{
    unsigned kind = 0;
    while (kind < FALLOW__MAP_PAGE_KINDS && cell->pages[kind] == 0) {
        kind++;
    }
    *kind_out = (fallow__map_kind)kind;
    return kind < FALLOW__MAP_PAGE_KINDS && cell->pages[kind] == fallow__map_cell_pages(cell);
}

static void cell_add(fallow__map_cell *cell, const fallow__map_range *range, uint64_t pages)
{
    cell->pages[range->kind] += pages;
    if (range->run_pages == 0 || (cell->run_count != 0 && cell->last_run == range->run_first)) {
        return;
    }
    if (cell->run_count < 2) {
        cell->runs[cell->run_count].first = range->run_first;
        cell->runs[cell->run_count].pages = range->run_pages;
    }
    cell->last_run = range->run_first;
    cell->run_count++;
}

static bool is_addresses(fallow__map_kind kind)
{
    return kind == FALLOW__MAP_RESERVED || kind == FALLOW__MAP_ADDRESSES;
}

/* --- counting ------------------------------------------------------------------------------------------------ */

typedef struct counter {
    unsigned columns;
    uint64_t close_rows[SHIFTS];
    uint64_t far_rows[SHIFTS];
    uint64_t last_row[SHIFTS]; /* of this part: the last one that is counted because kinds meet in it */
} counter;

/* Count the longest range of one kind, [first, end) of a part. */
static void count_range(counter *self, uint64_t first, uint64_t end, uint64_t page_count, fallow__map_kind kind)
{
    for (unsigned shift = 0; shift < SHIFTS; shift++) {
        uint64_t row_pages = (uint64_t)self->columns << shift;
        uint64_t full_first = (first + row_pages - 1) / row_pages;
        uint64_t full_end = end == page_count ? (end + row_pages - 1) / row_pages : end / row_pages;
        uint64_t full = full_end > full_first ? full_end - full_first : 0;
        self->close_rows[shift] += is_addresses(kind) ? full != 0 : full;
        self->far_rows[shift] += full != 0;
        uint64_t last_row = end / row_pages;
        if (end != page_count && end % row_pages != 0 && self->last_row[shift] != last_row) {
            self->last_row[shift] = last_row;
            self->close_rows[shift]++;
            self->far_rows[shift]++;
        } else if (full == 0 && first / row_pages == (end - 1) / row_pages) {
            return; /* inside a row that is counted, as it is for every larger shift */
        }
    }
}

/* Count and sum up a part. */
static void count_part(counter *self, fallow__map_plan *plan, size_t index, const fallow__map_part *part)
{
    const fallow__map_source *source = plan->source;
    fallow__map_range ranges[FALLOW__MAP_BITE];
    uint64_t first = 0; /* where the kind began that goes on */
    fallow__map_kind kind = FALLOW__MAP_KINDS;
    for (unsigned shift = 0; shift < SHIFTS; shift++) {
        self->last_row[shift] = NO_ROW;
    }
    for (uint64_t page = 0; page < part->page_count;) {
        size_t count = source->ranges(source->context, index, page, part->page_count, ranges);
        for (size_t i = 0; i < count; i++) {
            const fallow__map_range *range = &ranges[i];
            if (range->kind != kind && range->first != 0) {
                count_range(self, first, range->first, part->page_count, kind);
                first = range->first;
            }
            kind = range->kind;
            plan->bytes[kind] += fallow__map_bytes(plan, range->count);
            bool is_live = kind == FALLOW__MAP_IN_USE || kind == FALLOW__MAP_ADDRESSES;
            plan->run_count += is_live && range->run_pages != 0 && range->first == range->run_first;
            page = range->first + range->count;
        }
    }
    count_range(self, first, part->page_count, part->page_count, kind);
    uint64_t page_bytes = fallow__map_bytes(plan, part->page_count);
    plan->bytes[FALLOW__MAP_BOOKKEEPING] += part->bookkeeping_bytes;
    plan->bytes[FALLOW__MAP_GUARD] += part->guard_bytes;
    plan->bytes[FALLOW__MAP_RESERVED] += part->region_bytes - page_bytes - part->bookkeeping_bytes - part->guard_bytes;
}

/* The smallest shift at which no more than row_max rows are drawn; SHIFTS if there is none. */
static unsigned least_shift(const uint64_t rows[SHIFTS], uint64_t row_max)
{
    unsigned shift = 0;
    while (shift < SHIFTS && rows[shift] > row_max) {
        shift++;
    }
    return shift;
}

static void make_plan(fallow__map_plan *plan, uint64_t row_max)
{
    const fallow__map_source *source = plan->source;
    counter rows = {.columns = plan->columns};
    fallow__map_part part;
    for (; source->part(source->context, plan->part_count, &part); plan->part_count++) {
        count_part(&rows, plan, plan->part_count, &part);
    }
    plan->drawn_parts = plan->part_count < row_max ? plan->part_count : (size_t)row_max;
    plan->bytes[FALLOW__MAP_BOOKKEEPING] += source->cache_bookkeeping_bytes;
    plan->bytes[FALLOW__MAP_RESERVED] += source->cache_reserved_bytes - source->cache_bookkeeping_bytes;

    unsigned shift = least_shift(rows.close_rows, row_max);
    plan->folds_all = shift == SHIFTS || (shift != 0 && source->page_bytes << shift > CLOSE_BYTES);
    if (plan->folds_all) {
        shift = least_shift(rows.far_rows, row_max);
    }
    plan->cell_shift = shift < SHIFTS ? shift : SHIFTS - 1; /* more parts than rows */
    uint64_t row_count = plan->folds_all ? rows.far_rows[plan->cell_shift] : rows.close_rows[plan->cell_shift];
    plan->row_count = row_count < row_max ? row_count : row_max;
}

/* --- drawing ------------------------------------------------------------------------------------------------- */

typedef struct painter {
    fallow__writer *writer;
    const fallow__map_plan *plan;
    const fallow__map_ink *ink;
    const fallow__map_part *part;
    bool is_part_drawn;
    uint64_t row_pages;
    uint64_t line;         /* rows and bands drawn so far */
    fallow__map_row row;   /* being filled */
    fallow__map_row ahead; /* a full row of one kind that may become a band, */
    uint64_t fold_pages;   /* and how many pages of that kind are in it and behind it; 0: there is none */
    uint64_t fold_runs;
    uint64_t fold_last_run;
    fallow__map_kind fold_kind;
    fallow__map_cell rest;
} painter;

static bool folds(const painter *self, fallow__map_kind kind)
{
    return self->plan->folds_all || is_addresses(kind);
}

static bool has_room(const painter *self)
{
    return self->is_part_drawn && self->line < self->plan->row_count;
}

static void add_to_rest(painter *self, const fallow__map_cell *cell)
{
    for (unsigned kind = 0; kind < FALLOW__MAP_PAGE_KINDS; kind++) {
        self->rest.pages[kind] += cell->pages[kind];
    }
    self->rest.run_count += cell->run_count;
}

static void draw_row(painter *self, const fallow__map_row *row)
{
    if (has_room(self)) {
        self->ink->row(self->writer, self->plan, self->part, row, self->line++);
        return;
    }
    for (unsigned column = 0; column < self->plan->columns; column++) {
        add_to_rest(self, &row->cells[column]);
    }
}

/* Draw what was folded: as a row where it is one only. */
static void draw_fold(painter *self)
{
    if (self->fold_pages == 0) {
        return;
    }
    if (self->fold_pages <= self->row_pages) {
        draw_row(self, &self->ahead);
    } else if (has_room(self)) {
        self->ink->band(self->writer, self->plan, self->part, self->fold_kind, self->ahead.first, self->fold_pages,
                        self->fold_runs, self->line++);
    } else {
        self->rest.pages[self->fold_kind] += self->fold_pages;
        self->rest.run_count += self->fold_runs;
    }
    self->fold_pages = 0;
}

/* More pages of a run, or free ones, for what is folded. */
static void fold_add(painter *self, const fallow__map_range *range, uint64_t pages)
{
    self->fold_pages += pages;
    if (range->run_pages != 0 && (self->fold_runs == 0 || self->fold_last_run != range->run_first)) {
        self->fold_runs++;
        self->fold_last_run = range->run_first;
    }
}

static void clear_row(fallow__map_row *row, unsigned columns, uint64_t first)
{
    row->first = first;
    row->count = 0;
    memset(row->cells, 0, columns * sizeof row->cells[0]);
}

/* Is all of the row of one kind? */
static bool row_is_pure(const fallow__map_row *row, unsigned columns, fallow__map_kind *kind_out)
{
    fallow__map_kind kind;
    bool is_pure = fallow__map_is_pure(&row->cells[0], kind_out);
    for (unsigned column = 1; column < columns && is_pure && fallow__map_cell_pages(&row->cells[column]) != 0;
         column++) {
        is_pure = fallow__map_is_pure(&row->cells[column], &kind) && kind == *kind_out;
    }
    return is_pure;
}

/* How many runs lie in the row, beside one that what is folded already has. */
static uint64_t row_runs(const painter *self, const fallow__map_row *row)
{
    uint64_t runs = 0;
    uint64_t last_run = self->fold_last_run;
    bool has_last = self->fold_pages != 0 && self->fold_runs != 0;
    for (unsigned column = 0; column < self->plan->columns; column++) {
        const fallow__map_cell *cell = &row->cells[column];
        if (cell->run_count != 0) {
            runs += cell->run_count - (has_last && cell->runs[0].first == last_run);
            last_run = cell->last_run;
            has_last = true;
        }
    }
    return runs;
}

/* The row is full, or the part has ended: draw it, or fold it. */
static void end_row(painter *self)
{
    fallow__map_row *row = &self->row;
    fallow__map_kind kind;
    bool is_pure = row_is_pure(row, self->plan->columns, &kind);
    if (self->fold_pages != 0 && (!is_pure || kind != self->fold_kind)) {
        draw_fold(self);
    }
    if (is_pure && folds(self, kind)) {
        uint64_t runs = row_runs(self, row);
        if (self->fold_pages == 0) {
            self->ahead.first = row->first;
            self->ahead.count = row->count;
            memcpy(self->ahead.cells, row->cells, self->plan->columns * sizeof row->cells[0]);
            self->fold_kind = kind;
            self->fold_runs = 0;
        }
        self->fold_pages += row->count;
        self->fold_runs += runs;
        for (unsigned column = 0; column < self->plan->columns; column++) {
            self->fold_last_run = row->cells[column].run_count != 0 ? row->cells[column].last_run : self->fold_last_run;
        }
    } else {
        draw_row(self, row);
    }
    clear_row(row, self->plan->columns, row->first + row->count);
}

/* Put a range, or the beginning of it, where it belongs. Returns how many pages of it have been dealt with. */
static uint64_t add_range(painter *self, const fallow__map_range *range, uint64_t page)
{
    fallow__map_row *row = &self->row;
    uint64_t left = range->first + range->count - page;
    bool is_behind = row->count == 0 && self->fold_pages != 0 && self->fold_kind == range->kind;
    if (is_behind && left >= self->row_pages) { /* millions of rows at once */
        uint64_t pages = left - left % self->row_pages;
        fold_add(self, range, pages);
        row->first += pages;
        return pages;
    }
    if (!has_room(self) && row->count == 0 && self->fold_pages == 0 && left >= self->row_pages) { /* likewise */
        uint64_t pages = left - left % self->row_pages;
        self->rest.pages[range->kind] += pages;
        self->rest.run_count += range->run_pages != 0;
        row->first += pages;
        return pages;
    }
    uint64_t cell_pages = (uint64_t)1 << self->plan->cell_shift;
    uint64_t column = row->count / cell_pages;
    uint64_t cell_left = (column + 1) * cell_pages - row->count;
    uint64_t pages = left < cell_left ? left : cell_left;
    cell_add(&row->cells[column], range, pages);
    row->count += pages;
    if (row->count == self->row_pages) {
        end_row(self);
    }
    return pages;
}

static void draw_part(painter *self, size_t index)
{
    const fallow__map_source *source = self->plan->source;
    fallow__map_range ranges[FALLOW__MAP_BITE];
    clear_row(&self->row, self->plan->columns, 0);
    self->fold_pages = 0;
    for (uint64_t page = 0; page < self->part->page_count;) {
        size_t count = source->ranges(source->context, index, page, self->part->page_count, ranges);
        for (size_t i = 0; i < count; i++) {
            uint64_t end = ranges[i].first + ranges[i].count;
            while (page < end) {
                page += add_range(self, &ranges[i], page);
            }
        }
    }
    if (self->row.count != 0) {
        end_row(self);
    }
    draw_fold(self);
}

static void draw(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_ink *ink)
{
    painter self = {
        .writer = writer, .plan = plan, .ink = ink, .row_pages = (uint64_t)plan->columns << plan->cell_shift};
    fallow__map_part part;
    ink->head(writer, plan);
    for (size_t index = 0; index < plan->part_count && !writer->is_refused; index++) {
        if (!plan->source->part(plan->source->context, index, &part)) {
            break;
        }
        part.index = index;
        self.part = &part;
        self.is_part_drawn = index < plan->drawn_parts;
        if (self.is_part_drawn) {
            ink->begin_part(writer, plan, &part, self.line);
        }
        draw_part(&self, index);
    }
    if (fallow__map_cell_pages(&self.rest) != 0) {
        ink->rest(writer, plan, &self.rest);
    }
    ink->tail(writer, plan);
}

bool fallow__map_is_valid(fallow_map_format format, const fallow_map_options *options)
{
    return (unsigned)format <= FALLOW_MAP_HTML &&
           (options == NULL || ((options->columns == 0 ||
                                 (options->columns >= COLUMNS_MIN && options->columns <= FALLOW__MAP_COLUMNS_MAX)) &&
                                (options->rows == 0 || (options->rows >= ROWS_MIN && options->rows <= ROWS_MAX)) &&
                                (options->flags & ~(uint32_t)FALLOW_MAP_PLAIN) == 0));
}

void fallow__map_write(fallow__writer *writer, const fallow__map_source *source, fallow_map_format format,
                       const fallow_map_options *options)
{
    static const fallow_map_options none = {0};
    options = options != NULL ? options : &none;
    bool is_ansi = format == FALLOW_MAP_ANSI;
    fallow__map_plan plan = {
        .source = source,
        .columns = options->columns != 0 ? options->columns : COLUMNS_DEFAULT,
        .is_plain = (options->flags & FALLOW_MAP_PLAIN) != 0,
    };
    make_plan(&plan, options->rows != 0 ? options->rows : is_ansi ? ROWS_DEFAULT_ANSI : ROWS_DEFAULT);
    draw(writer, &plan, is_ansi ? &fallow__map_text : format == FALLOW_MAP_SVG ? &fallow__map_svg : &fallow__map_html);
}

fallow_status fallow_arena_write_map(fallow_arena *arena, fallow_map_format format, const fallow_map_options *options,
                                     fallow_writer write, void *context)
{
    static const char operation[] = "fallow_arena_write_map";
    FALLOW_REQUIRE(arena != NULL, operation, NULL, "the arena is NULL");
    FALLOW_REQUIRE(write != NULL, operation, arena, "write is NULL");
    fallow__map_source source;
    fallow__writer writer;
    if (!fallow__map_is_valid(format, options)) {
        return fallow__fail(FALLOW_ERR_INVALID, operation, arena, 0, NULL);
    }
    fallow__arena_map_source(arena, &source);
    fallow__write_begin(&writer, write, context);
    fallow__map_write(&writer, &source, format, options);
    const fallow__os_error error = {.limit_name = "writer"};
    return fallow__write_end(&writer) ? FALLOW_OK : fallow__fail(FALLOW_ERR_LIMIT, operation, arena, 0, &error);
}
