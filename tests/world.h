/* The system that a simulated life runs on: the simulated one (world_sim.c), or the real one (world_real.c), which
 * refuses nothing and has nothing to look at. */
#ifndef FALLOW_WORLD_H
#define FALLOW_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct world_options {
    uint64_t seed;    /* rules, page size and everything else that the system may be */
    bool has_threads; /* one runs at a time, drawn from the seed; needs world_has_threads */
    bool is_light;    /* world_open is meant; where there is no such thing it changes nothing */
    void (*stop)(const char *complaint);
} world_options;

void world_begin(const world_options *options);

/* false: something is left behind. */
bool world_end(void);
bool world_is_empty(void); /* the same look, without an end */

/* Whether faults can be caused here. */
bool world_has_faults(void);

/* Whether threads can be interleaved here; the functions of sim_os.h. */
bool world_has_threads(void);
typedef struct world_thread {
    void *room[2];
} world_thread;
bool world_start(void (*run)(void *context), void *context, world_thread *thread_out);
void world_join(world_thread *thread);
unsigned world_self(void);
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void world_give_up(void (*tell)(void));

/* Pages of a reservation, all zero, whose accesses are announced from now on: that is faster (sim_os.h, sim_open). Then
 * world_may_write and world_may_read tell whether an access to whole pages would fault, instead of a fault; they are
 * always true where nothing was opened. */
void world_open(void *base, size_t size_bytes);
bool world_may_write(void *base, size_t size_bytes);
bool world_may_read(const void *base, size_t size_bytes);

/* A fork; the functions of sim_os.h. The parent goes on, or the child does, or the host forks in between and both do. */
bool world_has_forks(void);
void world_fork_before(void);
void world_fork_parent(void);
void world_fork_child(void);

/* Let time pass. */
void world_pass_time(uint64_t ns);

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
