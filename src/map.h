/* Pictures of an arena: what is drawn, without a word about how.
 *
 * An arena is seen as parts (reservations), a part as *ranges*: pages that adjoin each other, of one kind and, where
 * they are used, of one run. map.c walks them, chooses a scale and folds; map_text.c and map_svg.c put what it has
 * made of them on paper (map_ink.h). None of the three knows where the ranges come from: walk.c has an arena's, and
 * tests make some up. Sees: writer.h. */
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
    size_t index;  /* oldest first; filled in by map.c */
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

    /* The ranges of a part from `page` on, up to `limit`, which is more: at least one, each where the one before it
     * ends. Returns how many. The last one may be continued by the next call. */
    size_t (*ranges)(void *context, size_t index, uint64_t page, uint64_t limit,
                     fallow__map_range ranges_out[FALLOW__MAP_BITE]);
} fallow__map_source;

/* Draw. options may be NULL; they and the format have been checked. */
bool fallow__map_is_valid(fallow_map_format format, const fallow_map_options *options);
void fallow__map_write(fallow__writer *writer, const fallow__map_source *source, fallow_map_format format,
                       const fallow_map_options *options);

/* An arena's own ranges (walk.c). Each call of the source takes the arena's lock, and lets it go. */
void fallow__arena_map_source(fallow_arena *arena, fallow__map_source *source_out);

#endif
