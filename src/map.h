/* Pictures of an arena: what is drawn, without a word about how.
 *
 * An arena is seen as parts (reservations), a part as *ranges*: pages that adjoin each other, of one kind and, where
 * they are used, of one run. map.c walks them, chooses a scale and folds; map_text.c and map_svg.c put what it has
 * made of them on paper. None of the three knows where the ranges come from: tests make some up. Sees: writer.h. */
#ifndef FALLOW_MAP_H
#define FALLOW_MAP_H

#include "writer.h"

typedef enum fallow__map_kind {
    FALLOW__MAP_IN_USE,
    FALLOW__MAP_CACHED,
    FALLOW__MAP_RETAINED,
    FALLOW__MAP_LAZY,
    FALLOW__MAP_RELEASED,
    FALLOW__MAP_ADDRESSES, /* used, addresses only */
    FALLOW__MAP_RESERVED,
    FALLOW__MAP_PAGE_KINDS, /* so many kinds of pages; and besides: */
    FALLOW__MAP_BOOKKEEPING = FALLOW__MAP_PAGE_KINDS,
    FALLOW__MAP_GUARD,
    FALLOW__MAP_KINDS
} fallow__map_kind;

typedef struct fallow__map_range {
    uint64_t first; /* page of the part */
    uint64_t count;
    uint64_t run_first; /* the run it is of, or is all of; meaningless where run_pages is 0 */
    uint64_t run_pages; /* 0: free */
    fallow__map_kind kind;
} fallow__map_range;

typedef struct fallow__map_part {
    uint64_t base; /* the address of page 0 */
    uint64_t page_count;
    uint64_t region_bytes; /* all of the reservation */
    uint64_t bookkeeping_bytes;
    uint64_t guard_bytes;
} fallow__map_part;

enum {
    FALLOW__MAP_BITE = 128, /* ranges asked for at a time */
    FALLOW__MAP_COLUMNS_MAX = 128
};

/* Where the ranges come from. */
typedef struct fallow__map_source {
    void *context;
    const char *name; /* of the arena; others chose it */
    uint64_t page_bytes;
    uint64_t cache_reserved_bytes; /* what is reserved for thread caches, and how much of that is committed */
    uint64_t cache_bookkeeping_bytes;

    /* Fill in part number `index`, oldest first; false if there are not so many. */
    bool (*part)(void *context, size_t index, fallow__map_part *part_out);

    /* The ranges of a part from `page` on, which is less than its page_count: at least one, each where the one before
     * it ends. Returns how many. The last one may be continued by the next call. */
    size_t (*ranges)(void *context, size_t index, uint64_t page, fallow__map_range ranges_out[FALLOW__MAP_BITE]);
} fallow__map_source;

/* --- for those who draw -------------------------------------------------------------------------------------- */

/* What is known of one cell, or of a longer stretch. */
typedef struct fallow__map_cell {
    uint64_t pages[FALLOW__MAP_PAGE_KINDS];
    uint64_t run_count; /* runs that lie in it, in part or as a whole */
    struct {
        uint64_t first;
        uint64_t pages;
    } runs[2]; /* the first ones; where there is one only, that one */
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
    bool folds_all;      /* not only what is reserved */
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
    void (*begin_part)(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part, size_t index);
    void (*row)(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                const fallow__map_row *row, uint64_t line);
    /* Rows of one kind from page `first` on; line is how many rows and bands were drawn before, as above. */
    void (*band)(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                 fallow__map_kind kind, uint64_t first, uint64_t count, uint64_t run_count, uint64_t line);
    /* What there was no room for. */
    void (*rest)(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_cell *sums);
    void (*tail)(fallow__writer *writer, const fallow__map_plan *plan);
} fallow__map_ink;

extern const fallow__map_ink fallow__map_text;
extern const fallow__map_ink fallow__map_svg;

/* Words for a kind, and what they mean. */
const char *fallow__map_name(fallow__map_kind kind);
const char *fallow__map_meaning(fallow__map_kind kind);

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

/* --- for those who have ranges -------------------------------------------------------------------------------- */

/* Draw. options may be NULL; they and the format have been checked. */
bool fallow__map_is_valid(fallow_map_format format, const fallow_map_options *options);
void fallow__map_write(fallow__writer *writer, const fallow__map_source *source, fallow_map_format format,
                       const fallow_map_options *options);

#endif
