/* What the driver has measured, for those who print it. */
#ifndef FALLOW_BENCH_BENCH_H
#define FALLOW_BENCH_BENCH_H

#include "rows.h"

#include <stdio.h>

enum {
    SIDES = 9,
    SAMPLES_MAX = 64
};

/* What a side is to the comparison. */
typedef enum side_role {
    SIDE_FALLOW,
    SIDE_VARIANT, /* fallow otherwise; printed, never compared with */
    SIDE_PEER,
    SIDE_HARNESS /* what the bench itself costs */
} side_role;

typedef struct bench_side {
    const char *name;
    const char *package; /* Debian's name for what it needs; "" where it needs nothing */
    side_role role;
    bool is_page_aligned; /* its large runs are whole pages, without a header */
    bool is_system;       /* no allocator: nothing is kept for later */
    bool is_present;      /* it was built, and runs */
    bool is_asked_for;
    char program[1024];
    char version[96];
    char linked[24];
    char package_version[64];
} bench_side;

typedef enum figure_state {
    FIGURE_NONE, /* not measured: no such side, or the side has no such row */
    FIGURE_KNOWN,
    FIGURE_FAILED
} figure_state;

/* What one side did in one row. */
typedef struct figure {
    figure_state state;
    double median;               /* of the samples */
    double least;                /* of everything that was measured, the batches of each process included */
    size_t sample_count;         /* one for each process: the median of its batches */
    double samples[SAMPLES_MAX]; /* in the order of time */
    char reason[256];            /* FAILED: what the side said */
} figure;

/* How fallow compares. Ratios are NAN where there is nothing to compare with. */
typedef struct verdict {
    int best_side; /* the peer with the least median that counts in this row; -1 = none */
    double ratio;
    double least_ratio; /* of the least figures: fallow's and the least of the peers' */
    bool has_target;
    bool is_met; /* meaningless without a target, or without a ratio where the target is one */
    bool is_known;
} verdict;

typedef struct session {
    const bench_row *rows;
    size_t row_count;
    bool is_row_asked_for[BENCH_ROWS_MAX];
    bench_side sides[SIDES];
    figure figures[BENCH_ROWS_MAX][SIDES];
    unsigned rounds;
    unsigned batch_ms;
    bool is_quick;
    char date[32]; /* when it began, UTC */
    double seconds;
    unsigned late_count; /* rows that were measured in one round only, for lack of time */
} session;

verdict bench_judge(const session *self, size_t row_index);

/* machine.c: one line for each property: calls `tell` with its name and value. */
void bench_describe_machine(void (*tell)(void *context, const char *name, const char *value), void *context);

/* report.c */
void bench_print_table(const session *self, FILE *out, bool is_least);
void bench_print_heading(const session *self, FILE *out);
void bench_print_summary(const session *self, FILE *out);
void bench_write_json(const session *self, FILE *out);

/* chart.c */
void bench_write_svg(const session *self, FILE *out);

/* A figure in about three digits: 5.1, 34, 1.2k. */
const char *bench_number(char text[16], double value);

#endif
