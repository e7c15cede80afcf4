#include "sim_schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_host.h"

typedef enum thread_state {
    THREAD_NONE, /* this number is free */
    THREAD_READY,
    THREAD_BLOCKED,
    THREAD_ENDED /* and not joined */
} thread_state;

typedef struct thread {
    thread_state state;
    sim_host_gate *gate;
    sim_host_thread *host; /* NULL: number 0 */
    const char *kind;      /* what a blocked one waits for */
    const void *what;
    uint64_t until_ns;
    void (*run)(void *context);
    void *context;
    void (*before_end)(void);
} thread;

static struct {
    bool is_on;
    turn_options options;
    uint64_t random;
    unsigned self; /* whose turn it is */
    unsigned high; /* numbers in use lie below */
    thread threads[TURN_THREADS_MAX];
    void (*tell)(void); /* someone has given up */
} turns;

bool turn_is_on(void)
{
    return turns.is_on;
}

unsigned turn_self(void)
{
    return turns.self;
}

static void require(bool is_done, const char *what)
{
    if (!is_done) {
        fprintf(stderr, "sim_schedule: %s\n", what);
        abort();
    }
}

/* splitmix64, as in test.h */
static uint64_t random_below(uint64_t below)
{
    uint64_t value = (turns.random += 0x9e3779b97f4a7c15u);
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return (value ^ (value >> 31)) % below;
}

/* --- who goes on ---------------------------------------------------------------------------------------------- */

/* A deadlock: who waits for what. */
static void report(void)
{
    char text[300];
    size_t length = (size_t)snprintf(text, sizeof text, "deadlock:");
    for (unsigned number = 0; number < turns.high && length < sizeof text; number++) {
        const thread *t = &turns.threads[number];
        if (t->state == THREAD_BLOCKED) {
            length += (size_t)snprintf(text + length, sizeof text - length, " thread %u waits for %s %p;", number,
                                       t->kind, t->what);
        }
    }
    turns.options.deadlock(text);
    abort();
}

/* Those that can go on. Where nobody can, time passes until somebody can. */
static unsigned list_ready(unsigned *ready_out)
{
    unsigned count = 0;
    uint64_t now_ns = turns.options.clock_ns();
    uint64_t first_ns = UINT64_MAX;
    for (unsigned number = 0; number < turns.high; number++) {
        const thread *t = &turns.threads[number];
        if (t->state == THREAD_READY || (t->state == THREAD_BLOCKED && t->until_ns <= now_ns)) {
            ready_out[count++] = number;
        } else if (t->state == THREAD_BLOCKED && t->until_ns < first_ns) {
            first_ns = t->until_ns;
        }
    }
    if (count == 0 && first_ns != UINT64_MAX) {
        turns.options.pass_time(first_ns - now_ns);
        return list_ready(ready_out);
    }
    return count;
}

static unsigned draw(void)
{
    unsigned ready[TURN_THREADS_MAX];
    unsigned count = list_ready(ready);
    if (count == 0) {
        report();
    }
    return ready[count == 1 ? 0 : random_below(count)];
}

/* The turn is `next`'s; the caller waits until it has it again. */
static void hand_over(unsigned next)
{
    unsigned self = turns.self;
    sim_host_gate *ours = turns.threads[self].gate; /* nothing of `turns` is ours once the other goes on */
    turns.threads[next].state = THREAD_READY;
    if (next != self) {
        turns.self = next;
        sim_host_gate_open(turns.threads[next].gate);
        sim_host_gate_wait(ours);
    }
    if (self == 0 && turns.tell != NULL) {
        turns.tell();
    }
}

void turn_pass(void)
{
    hand_over(draw());
}

void turn_offer(void)
{
    if (turns.high > 1 && (turns.options.rarity == 0 || random_below(turns.options.rarity) == 0)) {
        turn_pass();
    }
}

void turn_block(const char *kind, const void *what, uint64_t until_ns)
{
    thread *t = &turns.threads[turns.self];
    t->state = THREAD_BLOCKED;
    t->kind = kind;
    t->what = what;
    t->until_ns = until_ns;
    turn_pass();
}

void turn_wake(const void *what)
{
    for (unsigned number = 0; number < turns.high; number++) {
        thread *t = &turns.threads[number];
        if (t->state == THREAD_BLOCKED && t->what == what) {
            t->state = THREAD_READY;
        }
    }
}

/* --- threads -------------------------------------------------------------------------------------------------- */

void turn_begin(const turn_options *options)
{
    memset(&turns, 0, sizeof turns);
    turns.options = *options;
    turns.random = options->seed;
    turns.high = 1;
    turns.threads[0] = (thread){.state = THREAD_READY, .gate = sim_host_gate_create()};
    turns.is_on = true;
    sim_host_gather(true);
}

/* Threads that wait for ever need their gates for ever. */
static struct forsaken {
    struct forsaken *next;
    thread threads[TURN_THREADS_MAX];
} * all_forsaken;

static void forsake(void)
{
    struct forsaken *now = malloc(sizeof *now);
    require(now != NULL, "no memory");
    now->next = all_forsaken;
    memcpy(now->threads, turns.threads, sizeof now->threads);
    all_forsaken = now;
}

void turn_finish(void)
{
    require(turns.self == 0 && (turns.high == 1 || turns.tell != NULL), "threads are left");
    if (turns.high > 1) {
        forsake();
    }
    sim_host_gate_destroy(turns.threads[0].gate);
    turns.is_on = false;
    sim_host_gather(false);
}

static void run_thread(void *context)
{
    thread *t = context;
    sim_host_gate_wait(t->gate);
    t->run(t->context);
    t->before_end();
    t->state = THREAD_ENDED;
    turn_wake(t);
    unsigned next = draw();
    turns.threads[next].state = THREAD_READY;
    turns.self = next;
    sim_host_gate_open(turns.threads[next].gate);
}

int turn_start(void (*run)(void *context), void *context, void (*before_end)(void))
{
    unsigned number = 0;
    while (number < TURN_THREADS_MAX && turns.threads[number].state != THREAD_NONE) {
        number++;
    }
    if (number == TURN_THREADS_MAX) {
        return -1;
    }
    thread *t = &turns.threads[number];
    *t = (thread){.state = THREAD_READY, .run = run, .context = context, .before_end = before_end};
    t->gate = sim_host_gate_create();
    t->host = sim_host_thread_start(run_thread, t);
    if (t->host == NULL) {
        sim_host_gate_destroy(t->gate);
        t->state = THREAD_NONE;
        return -1;
    }
    turns.high = number < turns.high ? turns.high : number + 1;
    return (int)number;
}

void turn_join(int number)
{
    thread *t = &turns.threads[number];
    while (t->state != THREAD_ENDED) {
        turn_block("the end of thread", t, UINT64_MAX);
    }
    sim_host_thread_join(t->host);
    sim_host_gate_destroy(t->gate);
    t->state = THREAD_NONE;
    while (turns.threads[turns.high - 1].state == THREAD_NONE) {
        turns.high--;
    }
}

void turn_alone(void)
{
    for (unsigned number = 0; number < turns.high; number++) {
        if (number != turns.self) {
            turns.threads[number].state = THREAD_NONE;
        }
    }
}

void turn_give_up(void (*tell)(void))
{
    if (turns.self == 0) {
        tell();
        abort();
    }
    sim_host_gate *ours = turns.threads[turns.self].gate;
    turns.tell = tell;
    turns.self = 0;
    sim_host_gate_open(turns.threads[0].gate);
    for (;;) {
        sim_host_gate_wait(ours);
    }
}
