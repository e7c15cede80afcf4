/* The rows of the bench: what is measured, in which unit, and what fallow is to reach.
 *
 * One list, which the driver and every side's program are built with; a row is known by its name. */
#ifndef FALLOW_BENCH_ROWS_H
#define FALLOW_BENCH_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_PAGE_BYTES ((size_t)8192)  /* what runs are multiples of */
#define BENCH_TOUCH_BYTES ((size_t)4096) /* in touched rows the first byte of each piece this long is written */
#define BENCH_ROWS_MAX 192
#define BENCH_THREADS_MAX 2

typedef enum row_kind {
    /* nanoseconds for a pair of alloc and free */
    ROW_HOT,     /* one run again and again */
    ROW_BURST,   /* `count` runs, then all of them freed */
    ROW_CHURN,   /* `count` live runs, one of which is replaced at random */
    ROW_HANDOFF, /* one thread allocates, another frees */
    ROW_REPLAY,  /* the requests of a real program */
    ROW_SIZED,   /* churn in an arena of `reserve_bytes`; fallow only */
    ROW_WIDE,    /* the same with runs so long that they fill half of it: addresses only */
    /* others: see `unit` */
    ROW_CHURN_RSS,    /* resident bytes over live bytes after a churn */
    ROW_CHURN_EXTENT, /* accessible bytes over live bytes after a churn */
    ROW_LIVE_RSS,     /* resident bytes while `count` runs are live that nobody has written to */
    ROW_PURGE,        /* the call that gives free memory back */
    ROW_FREE_PURGE,   /* freeing it and that call */
    ROW_PURGE_LEFT,   /* resident bytes afterwards */
    ROW_START_RSS,    /* resident bytes of the process after its first run */
    ROW_FIRST_RUN,    /* the first run, with what has to be set up for it */
    ROW_START         /* from the start of the process to its first run */
} row_kind;

/* Whom fallow is compared with. */
typedef enum row_peers {
    PEERS_ALL,
    PEERS_PAGE_ALIGNED, /* without the C library, whose large runs begin with a header */
    PEERS_ALLOCATORS,   /* without mmap, which keeps nothing */
    PEERS_SELF,         /* fallow's own figure in the row `base_name` */
    PEERS_NONE
} row_peers;

typedef struct bench_row {
    char name[48];
    char title[96];
    const char *group; /* the heading it is printed under; rows of a group are consecutive */
    const char *unit;
    row_kind kind;
    size_t size_bytes;      /* of a run: HOT, BURST */
    uint32_t count;         /* runs of a burst; live runs, of all threads together */
    uint32_t pages_max;     /* CHURN and its relatives: runs are 1 to this many pages */
    uint32_t thread_count;  /* 1 or 2 */
    const char *trace_name; /* REPLAY: a file of tests/traces, without its ending */
    uint64_t reserve_bytes; /* SIZED, WIDE */
    uint32_t repeat_count;  /* processes for each round */
    uint32_t rounds_max;    /* 0 = as many as asked for; what takes long and varies little is measured less often */
    bool is_touched;
    bool is_fifo;      /* BURST: freed in the order of allocation; else in the reverse order */
    bool is_quick;     /* part of --quick */
    double ratio_max;  /* target: fallow's median over that of the best peer; 0 = none */
    double figure_max; /* target: fallow's median itself; 0 = none */
    row_peers peers;
    const char *base_name; /* PEERS_SELF */
} bench_row;

/* All rows, in the order they are printed in. */
const bench_row *bench_rows(size_t *count_out);

/* NULL when there is none of that name. */
const bench_row *bench_row_named(const char *name);

#endif
