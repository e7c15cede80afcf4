#include "world.h"

#include <stdlib.h>

void world_begin(const world_options *options)
{
    (void)options;
}

bool world_end(void)
{
    return true;
}

bool world_has_faults(void)
{
    return false;
}

/* Whom the system lets go on is its own affair. */
bool world_has_threads(void)
{
    return false;
}

bool world_start(void (*run)(void *context), void *context, world_thread *thread_out)
{
    (void)run;
    (void)context;
    (void)thread_out;
    return false;
}

void world_join(world_thread *thread)
{
    (void)thread;
}

unsigned world_self(void)
{
    return 0;
}

void world_give_up(void (*tell)(void))
{
    tell();
    abort();
}

void world_open(void *base, size_t size_bytes)
{
    (void)base;
    (void)size_bytes;
}

bool world_may_write(void *base, size_t size_bytes)
{
    (void)base;
    (void)size_bytes;
    return true;
}

bool world_may_read(const void *base, size_t size_bytes)
{
    (void)base;
    (void)size_bytes;
    return true;
}

bool world_is_empty(void)
{
    return true;
}

bool world_has_forks(void)
{
    return false;
}

void world_fork_before(void) {}

void world_fork_parent(void) {}

void world_fork_child(void) {}

void world_pass_time(uint64_t ns)
{
    (void)ns;
}

void world_refuse(uint64_t seed)
{
    (void)seed;
}

void world_refuse_nothing(void) {}

void world_change_limit(uint64_t seed)
{
    (void)seed;
}

void world_lift_limits(void) {}

void world_take_lazy(void) {}

uint64_t world_refused(void)
{
    return 0;
}

bool world_charge(uint64_t *bytes_out)
{
    (void)bytes_out;
    return false;
}

const char *world_name(void)
{
    return "the real system";
}
