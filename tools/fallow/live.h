/* The live runs of a replay, found by id and by address.
 *
 * The replay's own books, kept apart from the arena's so that they can contradict it: a run that overlaps a live one is
 * found by comparing it with its two neighbours in address order. Both ways of finding take about log2(n) steps. */
#ifndef FALLOW_TOOLS_LIVE_H
#define FALLOW_TOOLS_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct live_run {
    uint64_t id;
    unsigned char *base;
    size_t size_bytes;   /* whole pages */
    size_t asked_bytes;  /* as the trace says */
    bool is_uncommitted; /* addresses only */
    uint32_t left;       /* the tree by address; 0 = none */
    uint32_t right;
    uint32_t priority;
} live_run;

typedef struct live_runs {
    live_run *runs; /* [0] is never used; unused ones are chained through left, from first_unused */
    uint32_t run_room;
    uint32_t run_used;
    uint32_t first_unused;
    uint32_t root;
    uint32_t *slots; /* the table by id: an index into runs, or 0 */
    uint32_t slot_count;
    uint32_t live_count;
    uint64_t add_count; /* ever */
} live_runs;

typedef enum live_result {
    LIVE_OK,
    LIVE_DUPLICATE_ID,
    LIVE_OVERLAP,  /* *other_out is the run in the way */
    LIVE_NO_MEMORY /* or more than 2^30 live runs */
} live_result;

/* {0} holds nothing and is ready for use; live_destroy makes it so again. */
void live_destroy(live_runs *live);

/* NULL when there is none with this id. Valid until the next live_add or live_remove. */
live_run *live_find(const live_runs *live, uint64_t id);

/* Any live run, NULL when there is none. */
live_run *live_any(const live_runs *live);

/* Nothing is changed unless the result is LIVE_OK. */
live_result live_add(live_runs *live, const live_run *run, live_run *other_out);

/* The id must be live. */
void live_remove(live_runs *live, uint64_t id);

#endif
