/* The system that a simulated life runs on: the simulated one (world_sim.c), or the real one (world_real.c), which
 * refuses nothing and has nothing to look at. */
#ifndef FALLOW_WORLD_H
#define FALLOW_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct world_options {
    uint64_t seed; /* rules, page size and everything else that the system may be */
    void (*stop)(const char *complaint);
} world_options;

void world_begin(const world_options *options);

/* false: something is left behind. */
bool world_end(void);

/* Whether faults can be caused here. */
bool world_has_faults(void);

/* Refuse some of the next calls, as the seed says; never a release, which a program could do nothing about. */
void world_refuse(uint64_t seed);
void world_refuse_nothing(void);

/* Change or lift a limit, as the seed says. */
void world_change_limit(uint64_t seed);
void world_lift_limits(void);

/* Lazily freed pages are taken now. */
void world_take_lazy(void);

/* How many calls have been refused so far, whatever for. */
uint64_t world_refused(void);

/* Bytes that are charged; false where nobody tells. */
bool world_charge(uint64_t *bytes_out);

/* One line about it. */
const char *world_name(void);

#endif
