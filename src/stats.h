/* Statistics of arenas, for those who write them down. Sees: writer.h. */
#ifndef FALLOW_STATS_H
#define FALLOW_STATS_H

#include "writer.h"

typedef struct fallow__named_stats {
    uint64_t id; /* of the arena: 1 for the first of the program; 0 = none yet, or not listed */
    char name[FALLOW_NAME_BYTES];
    fallow_arena_stats stats;
} fallow__named_stats;

/* Fill in the listed arena of this process that was created next after named->id. false if there is none. No lock is
 * held afterwards. */
bool fallow__stats_next(fallow__named_stats *named_inout);

/* For a person: a line for each figure. */
void fallow__stats_write_text(fallow__writer *writer, const fallow__named_stats *named);

/* One JSON object, without a newline behind it. */
void fallow__stats_write_json(fallow__writer *writer, const fallow__named_stats *named);

#endif
