#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#include "sim_os.h"
#include "test.h"

static char name[128];
static bool is_light;
static bool has_forks; /* Linux, where a child has not what it is not to have */

void world_begin(const world_options *options)
{
    /* a large page costs the host as many small ones, and shows little that a small one does not */
    static const size_t page_bytes[] = {4 << 10, 4 << 10, 4 << 10, 4 << 10, 4 << 10, 4 << 10, 16 << 10, 64 << 10};
    is_light = options->is_light;
    test_random random = {options->seed};
    sim_options sim = {
        .rules = test_below(&random, 2) == 0 ? SIM_LINUX : SIM_WINDOWS,
        .page_bytes = page_bytes[test_below(&random, 8)],
        .flags = SIM_KEEP_MEMORY,
        .seed = options->seed,
        .stop = options->stop,
    };
    if (sim.rules == SIM_WINDOWS) {
        sim.granularity_bytes = 64 << 10;
    }
    if (test_below(&random, 8) == 0) {
        sim.flags |= SIM_NO_LAZY_PURGE;
    }
    if (test_below(&random, 8) == 0) {
        sim.flags |= SIM_NO_ADVICE;
    }
    if (test_below(&random, 8) == 0) {
        sim.flags |= SIM_NO_BARRIER;
    }
    if (is_light) {
        sim.flags |= SIM_LIGHT;
    }
    if (options->has_threads) {
        static const uint32_t rarities[] = {0, 4, 16, 64};
        sim.flags |= SIM_INTERLEAVED;
        sim.switch_rarity = rarities[test_below(&random, 4)];
        sim.flags |= test_below(&random, 8) == 0 ? SIM_NO_BARRIER : 0;
    }
    has_forks = sim.rules == SIM_LINUX && (sim.flags & SIM_NO_ADVICE) == 0;
    snprintf(name, sizeof name, "%s, pages of %u KiB, flags %#x", sim.rules == SIM_LINUX ? "Linux" : "Windows",
             (unsigned)(sim.page_bytes >> 10), (unsigned)sim.flags);
    if (!sim_begin(&sim)) {
        printf("SKIPPED: no address space for the simulated system%s\n",
               is_light ? ", or it cannot be light here" : "");
        exit(77);
    }
}

bool world_end(void)
{
    return sim_end();
}

bool world_has_faults(void)
{
    return true;
}

bool world_has_threads(void)
{
    return true;
}

_Static_assert(sizeof(sim_thread) <= sizeof(world_thread), "a thread fits its room");

bool world_start(void (*run)(void *context), void *context, world_thread *thread_out)
{
    return sim_start(run, context, (sim_thread *)(void *)thread_out->room);
}

void world_join(world_thread *thread)
{
    sim_join((sim_thread *)(void *)thread->room);
}

unsigned world_self(void)
{
    return sim_self();
}

void world_give_up(void (*tell)(void))
{
    sim_give_up(tell);
}

void world_open(void *base, size_t size_bytes)
{
    if (is_light) {
        sim_open(base, size_bytes);
    }
}

bool world_may_write(void *base, size_t size_bytes)
{
    return !is_light || sim_open_write(base, size_bytes);
}

bool world_may_read(const void *base, size_t size_bytes)
{
    return !is_light || sim_is_all(base, size_bytes, SIM_COMMITTED);
}

bool world_is_empty(void)
{
    return sim_check_no_leak();
}

bool world_has_forks(void)
{
    return has_forks;
}

void world_fork_before(void)
{
    sim_fork_before();
}

void world_fork_parent(void)
{
    sim_fork_parent();
}

void world_fork_child(void)
{
    sim_fork_child();
}

void world_pass_time(uint64_t ns)
{
    sim_pass_time(ns);
}

void world_refuse(uint64_t seed)
{
    test_random random = {seed};
    sim_refusal refusal = {
        .calls = SIM_EVERY_CALL & ~SIM_CALL(SIM_RELEASE),
        .skip = test_below(&random, 4),
        .times = 1 + test_below(&random, test_below(&random, 2) == 0 ? 2 : 12), /* a single one, or a burst */
        .every = 1 + test_below(&random, 3),
        .is_halfway = test_below(&random, 2) == 0,
    };
    static const fallow__os_left lefts[] = {0, FALLOW__OS_LEFT_CHARGED, FALLOW__OS_LEFT_ACCESSIBLE};
    refusal.left = lefts[test_below(&random, 3)];
    if (test_below(&random, 2) == 0) { /* one kind of call only */
        static const sim_call kinds[] = {SIM_RESERVE,  SIM_COMMIT, SIM_COMMIT,         SIM_DECOMMIT,
                                         SIM_DECOMMIT, SIM_PURGE,  SIM_AT_THREAD_EXIT, SIM_BARRIER};
        refusal.calls = SIM_CALL(kinds[test_below(&random, 8)]);
    }
    sim_refuse(&refusal);
}

void world_refuse_nothing(void)
{
    sim_refuse(NULL);
}

/* Room for a little more than there is now; or no limit. */
void world_change_limit(uint64_t seed)
{
    test_random random = {seed};
    uint64_t more = (uint64_t)1 << test_below(&random, 24);
    switch (test_below(&random, 7)) {
    case 0: sim_set_limit(SIM_LIMIT_ADDRESSES, sim_reserved() + more); break;
    case 1: sim_set_limit(SIM_LIMIT_COMMIT, sim_charge() + more); break;
    case 3: sim_set_limit(SIM_LIMIT_DATA, sim_charge() + more); break;
    case 2: sim_set_limit(SIM_LIMIT_MAPPINGS, sim_map_count() + (more & 31)); break;
    default: world_lift_limits(); break;
    }
}

void world_lift_limits(void)
{
    for (int limit = 0; limit < SIM_LIMITS; limit++) {
        sim_set_limit((sim_limit)limit, SIM_NO_LIMIT);
    }
}

void world_take_lazy(void)
{
    sim_take_lazy();
}

uint64_t world_refused(void)
{
    return sim_refusals();
}

bool world_charge(uint64_t *bytes_out)
{
    *bytes_out = sim_charge();
    return true;
}

const char *world_name(void)
{
    return name;
}
