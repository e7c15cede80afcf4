/* What the memory of a process is, in words: mappings go in, a report comes out. Sees: os.h, writer.h.
 *
 * Nothing is allocated: totals are kept for each kind of mapping, and the few largest pieces, by addresses and by
 * memory. A piece is what a reader would call one thing: neighbours of one kind and name (the segments of a library),
 * or all of a reservation of fallow's, whatever has become of its pages. */
#ifndef FALLOW_EXPLAIN_H
#define FALLOW_EXPLAIN_H

#include "os.h"
#include "writer.h"

/* The groups that addresses are counted in: every byte of VSZ is in one. */
typedef enum fallow__group {
    /* the kinds of os.h come first, by their own numbers */
    FALLOW__GROUP_ARENA_RESERVED = FALLOW__OS_KINDS, /* of fallow's reservations: addresses only */
    FALLOW__GROUP_ARENA,                             /* of fallow's reservations: the rest */
    FALLOW__GROUPS
} fallow__group;

typedef struct fallow__sums {
    uint64_t mapping_count;
    uint64_t virtual_bytes;
    uint64_t committed_bytes;
    uint64_t resident_bytes;
    uint64_t lazy_bytes;
    uint64_t swapped_bytes;
} fallow__sums;

typedef struct fallow__piece {
    uint64_t first;
    uint64_t end;
    fallow__group group;
    uint64_t arena;   /* of whose reservation it is; 0 = none, or not known */
    bool is_cut;      /* its end is in the middle of a mapping that has memory */
    bool is_estimate; /* so is its beginning or its end: its resident bytes are its share by size */
    const char *guess;
    fallow__sums sums;
    char name[128];
} fallow__piece;

enum {
    FALLOW__PIECES = 12,     /* that are told */
    FALLOW__PROCESS_NONE = 0 /* for text of nobody knows which process */
};

/* Largest first. */
typedef struct fallow__pieces {
    size_t count;
    fallow__piece at[FALLOW__PIECES];
} fallow__pieces;

typedef struct fallow__explain {
    uint64_t process_id;
    bool is_own;
    fallow_status mappings_status; /* OK: they were read */
    fallow__os_figures figures;
    fallow__sums groups[FALLOW__GROUPS];
    fallow__sums total;
    uint64_t idle_committed_bytes; /* private and writable, not in memory and not swapped */
    uint64_t idle_file_bytes;      /* of files, not in memory, and not counted above */
    bool has_resident;             /* the mappings tell what is resident */
    uint64_t strange_lines;        /* of a text that was read in place of a process */

    fallow__os_mapping waiting; /* for what lies behind it; none while its end is 0 */
    fallow__piece piece;        /* the one that grows; none while its end is 0 */
    struct {
        uint64_t end; /* addresses below it belong to the reservation that was found last */
        uint64_t arena;
        char name[FALLOW_NAME_BYTES];
    } region;
    fallow__pieces largest;  /* by addresses */
    fallow__pieces resident; /* by memory */
    fallow__pieces arenas;   /* fallow's, by addresses: also where there are larger things */

    size_t limit_count;
    fallow__os_limit limits[FALLOW__OS_LIMITS_MAX];
} fallow__explain;

void fallow__explain_begin(fallow__explain *report, uint64_t process_id);

/* Take in one mapping, lowest first. A fallow__os_visitor; always true. */
bool fallow__explain_mapping(void *report, const fallow__os_mapping *mapping);

/* After the last one. */
void fallow__explain_end(fallow__explain *report);

/* All of it for a living process. Fails where nothing at all can be told of it; where only its mappings may not be
 * seen, the report says so. */
fallow_status fallow__explain_read(fallow__explain *report, uint64_t process_id, fallow__os_error *error_out);

/* flags: FALLOW_EXPLAIN_* */
void fallow__explain_write(const fallow__explain *report, uint32_t flags, fallow__writer *writer);

/* The limit that is nearest to being reached; NULL if none is known. */
const fallow__os_limit *fallow__explain_nearest(const fallow__explain *report);

#endif
