/* What an arena should be: the simulator's other opinion of it.
 *
 * A part of an arena is a list of pieces: ranges of pages of which the same is known. Nothing here resembles the
 * library's bitmaps and summaries, and everything is found by walking, so that the two do not share a mistake. A part of
 * 64 TiB costs what its pieces cost.
 *
 * Where a refusal of the system leaves open what became of free memory the model does not guess: such pages are
 * MODEL_MAYBE, old or clean, until they are used again. */
#ifndef FALLOW_LIFE_MODEL_H
#define FALLOW_LIFE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MODEL_PARTS_MAX = 64,
    MODEL_RUNS_MAX = 512
};

typedef enum model_state {
    MODEL_CLEAN, /* free, reads zero; accessible or not */
    MODEL_DIRTY, /* free, old bytes */
    MODEL_LAZY,  /* free, old bytes or zero */
    MODEL_MAYBE, /* free, any of the three */
    MODEL_USED   /* in a run */
} model_state;

/* What a used, accessible page holds. */
enum {
    MODEL_ZERO = 0,     /* nothing has been written since it was known to be zero */
    MODEL_UNKNOWN = 1,  /* old bytes */
    MODEL_STAMP_MIN = 2 /* this stamp */
};

typedef struct model_piece {
    uint64_t first;
    uint64_t count;
    model_state state;
    bool is_accessible;
    uint32_t content; /* of used pages */
} model_piece;

typedef struct model_part {
    unsigned char *base; /* page 0; NULL while it is not known */
    uint64_t page_count;
    model_piece *pieces;
    size_t piece_count;
    size_t piece_room;
} model_part;

typedef struct model_run {
    unsigned part;
    uint64_t first;
    uint64_t count;
} model_run;

typedef struct model_arena {
    size_t page_bytes;
    unsigned part_count;
    model_part parts[MODEL_PARTS_MAX];
    unsigned run_count;
    model_run runs[MODEL_RUNS_MAX];
    uint64_t peak_pages;
} model_arena;

/* How many pages are what. */
typedef struct model_census {
    uint64_t used_accessible;
    uint64_t used_inaccessible;
    uint64_t clean_accessible;
    uint64_t dirty;
    uint64_t lazy;
    uint64_t maybe;
    uint64_t extent;
} model_census;

/* What a fit is looked for with: as fallow_run_options, in pages. */
typedef struct model_request {
    uint64_t count;
    size_t align_bytes;
    bool is_top_down;
    bool is_accessible; /* among accessible pages only */
} model_request;

void model_begin(model_arena *m, size_t page_bytes);
void model_end(model_arena *m);

/* A further part, all of it clean and inaccessible. */
model_part *model_add_part(model_arena *m, unsigned char *base, uint64_t page_count);

/* The part that holds an address; -1: none. */
int model_part_at(const model_arena *m, const void *address);

unsigned char *model_address(const model_arena *m, unsigned part, uint64_t page);

/* The index of the piece that holds a page. */
size_t model_piece_at(const model_part *p, uint64_t page);

/* Cut the list so that pieces begin at `first` and at `first + count`; returns the index of the first of them. */
size_t model_cut(model_part *p, uint64_t first, uint64_t count);

/* Join neighbours that are alike. */
void model_join(model_part *p);

/* Say of a range that it is free in this state, or used with this content. */
void model_set_free(model_part *p, uint64_t first, uint64_t count, model_state state, bool is_accessible);
void model_set_used(model_part *p, uint64_t first, uint64_t count, bool is_accessible, uint32_t content);

/* Change what is accessible; states stay. False if a page was so already. */
bool model_set_accessible(model_part *p, uint64_t first, uint64_t count, bool is_accessible);

/* Free the pages of a run: what was accessible is dirty. */
void model_give(model_part *p, uint64_t first, uint64_t count);

bool model_is_free(const model_part *p, uint64_t first, uint64_t count, bool is_accessible_only);

/* The lowest (highest) fit in one part whose base is known. */
bool model_fit_in(const model_arena *m, unsigned part, const model_request *wanted, uint64_t *first_out);

/* The same in the oldest part that has one. */
bool model_fit(const model_arena *m, const model_request *wanted, unsigned *part_out, uint64_t *first_out);

/* The run that holds a page; -1: none. */
int model_run_at(const model_arena *m, unsigned part, uint64_t page);

void model_count(const model_arena *m, model_census *census_out);

#endif
