#include "fault.h"

#include <stdio.h>
#include <stdlib.h>

#include "sim_os.h"

static const sim_options systems[] = {
    {.rules = SIM_LINUX, .page_bytes = 4 << 10},
    {.rules = SIM_LINUX, .page_bytes = 16 << 10},
    {.rules = SIM_LINUX, .page_bytes = 64 << 10, .flags = SIM_NO_LAZY_PURGE | SIM_NO_GUARD_INSTALL | SIM_NO_ADVICE},
    {.rules = SIM_WINDOWS, .page_bytes = 4 << 10},
    {.rules = SIM_LINUX, .page_bytes = 4 << 10, .large_page_bytes = 64 << 10, .large_page_count = 64},
};

/* A release is refused by itself only: of one that fails while something else is undone nothing can be made good. */
#define BURST (SIM_EVERY_CALL & ~SIM_CALL(SIM_RELEASE))

static const struct {
    const char *name;
    sim_refusal refusal;
} ways[] = {
    {"outright", {.calls = SIM_EVERY_CALL}},
    {"decommit leaves the charge", {.left = FALLOW__OS_LEFT_CHARGED, .is_halfway = true}},
    {"decommit leaves it accessible", {.left = FALLOW__OS_LEFT_ACCESSIBLE, .is_halfway = true}},
    {"all from there on", {.calls = BURST, .times = UINT64_MAX}},
    {"all from there on, charged", {.calls = BURST, .times = UINT64_MAX, .left = FALLOW__OS_LEFT_CHARGED}},
    {"ends of threads, barriers", {.calls = SIM_CALL(SIM_AT_THREAD_EXIT) | SIM_CALL(SIM_BARRIER), .times = UINT64_MAX}},
    {"all from there on, accessible", {.calls = BURST, .times = UINT64_MAX, .left = FALLOW__OS_LEFT_ACCESSIBLE}},
};

unsigned fault_system_count(void)
{
    return sizeof systems / sizeof systems[0];
}

void fault_begin(unsigned system)
{
    if (!sim_begin(&systems[system])) {
        printf("SKIPPED: no address space for the simulated system\n");
        exit(77);
    }
}

bool fault_end(void)
{
    return sim_end();
}

unsigned fault_way_count(void)
{
    return sizeof ways / sizeof ways[0];
}

const char *fault_way_name(unsigned way)
{
    return ways[way].name;
}

void fault_refuse(unsigned way, unsigned skip)
{
    sim_refusal refusal = ways[way].refusal;
    refusal.skip = skip;
    sim_refuse(&refusal);
}

unsigned fault_stop(void)
{
    unsigned refused = (unsigned)sim_refused();
    sim_refuse(NULL);
    return refused;
}

int fault_main(int (*tests)(void))
{
    return tests();
}
