/* Threads of which one runs at a time: the simulation decides which, and so an interleaving comes back with its seed.
 *
 * The threads are the host's. One of them has the turn; the others wait, each at a gate of its own. A thread gives the
 * turn away at points that the simulation chooses (every call of os.h is one): with a certain probability to one that is
 * drawn among those that can go on, and always where it cannot go on itself.
 *
 *              turn_offer, turn_pass
 *      ready <-----------------------> running ----> ended: turn_end
 *        ^                                |
 *        +-- turn_wake, or the time ---- blocked: turn_block
 *
 * Where nobody is ready, time passes until the first sleep ends; where nobody sleeps with an end either, that is a
 * deadlock, and it is told.
 *
 * Everything below is called by the thread that has the turn. What has been written when it is given away is seen by the
 * one that gets it. */
#ifndef FALLOW_SIM_SCHEDULE_H
#define FALLOW_SIM_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TURN_THREADS_MAX = 64 /* at once */
};

typedef struct turn_options {
    uint64_t seed;
    uint32_t rarity;                         /* at an offer the turn is drawn anew once in so many times; 0 = each */
    uint64_t (*clock_ns)(void);              /* simulated time */
    void (*pass_time)(uint64_t ns);          /* let it go on by so much */
    void (*deadlock)(const char *complaint); /* must not return */
} turn_options;

/* The calling thread is number 0, and has the turn. */
void turn_begin(const turn_options *options);

/* Nobody else is left; or someone has given up, and the others wait for ever. */
void turn_finish(void);

/* Between turn_begin and turn_finish. */
bool turn_is_on(void);

/* The number of the thread that has the turn; numbers of threads that were joined are used again. */
unsigned turn_self(void);

/* Someone else may go on here. */
void turn_offer(void);

/* The same, drawn for certain: for a loop that waits. */
void turn_pass(void);

/* Wait until turn_wake(what) or until the clock says until_ns (UINT64_MAX: never). `kind` is for the report. */
void turn_block(const char *kind, const void *what, uint64_t until_ns);
void turn_wake(const void *what);

/* A new thread, which runs run(context) when its turn comes, and then before_end(); its number, or -1 where the host
 * refuses, or there are TURN_THREADS_MAX. */
int turn_start(void (*run)(void *context), void *context, void (*before_end)(void));
void turn_join(int number);

/* The host has forked, and this thread is the only one. */
void turn_alone(void);

/* Something is wrong, and cannot be told from this thread: number 0 gets the turn, wherever it waits, and calls tell().
 * This thread waits for ever. Where it is number 0, tell() is called at once. */
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void turn_give_up(void (*tell)(void));

#endif
