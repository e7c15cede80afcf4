/* One life of a program: operations on arenas, each checked against the model (life_model.h) as it is done.
 *
 * An operation is data: a kind, and a seed for everything else about it. What it works on is chosen among what is there
 * when it runs, so any subset of a life's operations is a life too: that is how a failing one is made shorter. */
#ifndef FALLOW_LIFE_H
#define FALLOW_LIFE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum life_kind {
    LIFE_CREATE,
    LIFE_DESTROY,
    LIFE_ALLOC,
    LIFE_ALLOC_RUN,
    LIFE_FREE,
    LIFE_FREE_MANY,
    LIFE_SPLIT,
    LIFE_EXTEND,
    LIFE_SHRINK,
    LIFE_COMMIT,
    LIFE_DECOMMIT,
    LIFE_TRIM,
    LIFE_SCAVENGE,
    LIFE_RUN_OF,
    LIFE_WRITE,
    LIFE_LOOK,
    LIFE_INVALID,
    LIFE_CHECK,
    LIFE_FLUSH,
    LIFE_FAULTS,
    LIFE_LIMIT,
    LIFE_AGE,
    LIFE_REFUSE_GRANTS,
    LIFE_PASS_TIME,
    LIFE_FORK,
    LIFE_COME, /* a thread; these two in lives with threads only */
    LIFE_GO,
    LIFE_KINDS
} life_kind;

typedef struct life_op {
    uint32_t kind;
    uint32_t number; /* its place in the life it comes from */
    uint64_t seed;
} life_op;

typedef struct life_options {
    uint64_t seed;   /* the system, and how operations are mixed */
    bool is_traced;  /* print each operation */
    bool is_light;   /* pages are opened: world.h */
    uint64_t lie_at; /* from this operation on, at the first chance, the model lies once; UINT64_MAX = never */
} life_options;

/* Operations a life has at most. */
#define LIFE_OPS_MAX 2000

/* The operations of a life. */
size_t life_plan(const life_options *options, life_op *ops_out);

/* Live it. NULL, or what was wrong: a static text. The seed decides whether it is a life of one thread (life.c) or one
 * with several (life_threads.c). */
const char *life_run(const life_options *options, const life_op *ops, size_t op_count);
const char *life_run_threads(const life_options *options, const life_op *ops, size_t op_count);

/* How many operations of each kind succeeded, were refused, and had nothing to work on, over all lives so far. */
typedef struct life_tally {
    uint64_t done[LIFE_KINDS];
    uint64_t failed[LIFE_KINDS];
    uint64_t skipped[LIFE_KINDS];
} life_tally;
extern life_tally life_counts;

const char *life_kind_name(life_kind kind);

#endif
