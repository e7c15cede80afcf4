/* What map.c tells those who draw a picture of an arena: rows of cells, bands, sums. Sees: map.h. */
#ifndef FALLOW_MAP_INK_H
#define FALLOW_MAP_INK_H

#include "map.h"

/* What is known of one cell, or of a longer stretch. */
typedef struct fallow__map_cell {
    uint64_t pages[FALLOW__MAP_PAGE_KINDS];
    uint64_t run_count; /* runs that lie in it, in part or as a whole */
    struct {
        uint64_t first;
        uint64_t pages;
    } runs[2];         /* the first ones; where there is one only, that one */
    uint64_t last_run; /* the run that was added last */
} fallow__map_cell;

typedef struct fallow__map_row {
    uint64_t first; /* page */
    uint64_t count; /* pages; a part's last row may be shorter than the others */
    fallow__map_cell cells[FALLOW__MAP_COLUMNS_MAX];
} fallow__map_row;

/* The picture as a whole: what is known before the first row is drawn. */
typedef struct fallow__map_plan {
    const fallow__map_source *source;
    unsigned columns;
    unsigned cell_shift; /* a cell is 1 << cell_shift pages */
    bool folds_all;      /* not only what is addresses and no memory */
    bool is_plain;
    uint64_t row_count; /* rows and bands of pages; no more are drawn */
    size_t part_count;
    size_t drawn_parts; /* the first ones */
    uint64_t run_count; /* live; those that threads keep are not */
    uint64_t bytes[FALLOW__MAP_KINDS];
} fallow__map_plan;

/* A way to draw. The calls come in this order: head; for each drawn part begin_part, then rows and bands; rest, if
 * something is left; tail. */
typedef struct fallow__map_ink {
    void (*head)(fallow__writer *writer, const fallow__map_plan *plan);
    /* line, here and below: how many rows and bands were drawn before, of all parts. */
    void (*begin_part)(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                       uint64_t line);
    void (*row)(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                const fallow__map_row *row, uint64_t line);
    /* Rows of one kind from page `first` on. */
    void (*band)(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                 fallow__map_kind kind, uint64_t first, uint64_t count, uint64_t run_count, uint64_t line);
    /* What there was no room for. */
    void (*rest)(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_cell *sums);
    void (*tail)(fallow__writer *writer, const fallow__map_plan *plan);
} fallow__map_ink;

extern const fallow__map_ink fallow__map_text;
extern const fallow__map_ink fallow__map_svg;
extern const fallow__map_ink fallow__map_html;

/* Words for a kind, and what they mean. */
const char *fallow__map_name(fallow__map_kind kind);
const char *fallow__map_meaning(fallow__map_kind kind);

/* "64 GiB of addresses in 1 reservation; ..." and "a cell is ...": what is true of the whole picture. */
void fallow__map_write_summary(fallow__writer *writer, const fallow__map_plan *plan);
void fallow__map_write_scale(fallow__writer *writer, const fallow__map_plan *plan, const char *cell);

/* "64 GiB at 0x7f0000000000, reservation 1 of 2" */
void fallow__map_write_part(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part);

/* "24 KiB in use, 8 KiB retained" */
void fallow__map_write_sums(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_cell *cell);

/* "24 KiB", "1 run", "12 runs" */
void fallow__map_write_size(fallow__writer *writer, uint64_t bytes);
void fallow__map_write_runs(fallow__writer *writer, uint64_t count);

/* All pages of a cell. */
uint64_t fallow__map_cell_pages(const fallow__map_cell *cell);

/* Is it all of one kind? */
bool fallow__map_is_pure(const fallow__map_cell *cell, fallow__map_kind *kind_out);

static inline uint64_t fallow__map_address(const fallow__map_plan *plan, const fallow__map_part *part, uint64_t page)
{
    return part->base + page * plan->source->page_bytes;
}

static inline uint64_t fallow__map_bytes(const fallow__map_plan *plan, uint64_t pages)
{
    return pages * plan->source->page_bytes;
}

#endif
