/* fallow info: what this system allows, and what is in force. Every figure comes from fallow_system_info. */
#include "system.h"
#include "tool.h"

#include <inttypes.h>
#include <stdarg.h>

TOOL_PRINTS(2, 3)
static void line(const char *name, const char *format, ...)
{
    va_list arguments;
    printf("  %-24s", name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

static void tell_sizes(const fallow_system *system)
{
    printf("\nAddresses\n");
    line("page", "%s", text_size(system->page_bytes).text);
    line("reservations start at", "multiples of %s", text_size(system->granularity_bytes).text);
    line("large page", "%s", system->large_page_bytes == 0 ? "none" : text_size(system->large_page_bytes).text);
    line("address space", "%s for programs", text_size(system->address_space_bytes).text);
}

static void tell_limits(const fallow_system *system)
{
    printf("\nLimits\n");
    bool has_rlimits = system_has_address_limit();
    line("addresses", "%s%s", text_limit(system->address_space_limit).text,
         has_rlimits ? " (RLIMIT_AS, ulimit -v)" : "");
    line("data", "%s%s", text_limit(system->data_limit).text, has_rlimits ? " (RLIMIT_DATA, ulimit -d)" : "");
    line("locked memory", "%s%s", text_limit(system->locked_limit).text,
         has_rlimits ? " (RLIMIT_MEMLOCK, ulimit -l)" : "");
    if (system->map_count_limit == UINT64_MAX) {
        line("mappings of a process", "none");
    } else if (system->map_count_limit == 0) {
        line("mappings of a process", "the system does not tell");
    } else {
        line("mappings of a process", "%" PRIu64 " (vm.max_map_count)", system->map_count_limit);
    }
}

static const char *overcommit_meaning(int mode)
{
    switch (mode) {
    case 0: return "0: obvious excess is refused (vm.overcommit_memory)";
    case 1: return "1: nothing is refused (vm.overcommit_memory)";
    case 2: return "2: nothing beyond the limit is promised (vm.overcommit_memory)";
    default: return "none: memory is promised when it is committed";
    }
}

static void tell_memory(const fallow_system *system)
{
    printf("\nMemory\n");
    line("physical", "%s", system->memory_bytes == 0 ? "unknown" : text_size(system->memory_bytes).text);
    line("overcommit", "%s", overcommit_meaning(system->overcommit_mode));
    bool is_enforced = system->overcommit_mode != 0 && system->overcommit_mode != 1;
    line("commit limit", "%s%s", system->commit_limit == 0 ? "unknown" : text_limit(system->commit_limit).text,
         is_enforced ? "" : ", which this overcommit mode does not enforce");
    line("committed", "%s, by all programs together",
         system->committed_bytes == 0 ? "unknown" : text_size(system->committed_bytes).text);
}

static void tell_probes(const fallow_system *system)
{
    printf("\nTried out\n");
    line("lazy purge", "%s",
         system->has_lazy_purge ? "yes: FREE leaves memory until the system wants it"
                                : "no: FREE is the same as DONTNEED here");
    line("guards without mappings", "%s", system->has_guard_install ? "yes" : "no: each guard costs mappings");
    line("prefault", "%s", system->has_populate ? "one system call" : "by touching each page");
    line("names of mappings", "%s", system->has_mapping_names ? "shown by the system" : "not shown by this system");
    line("emulated processor", "%s", system->is_emulated ? "yes: advice about memory may have no effect" : "no");
    line("Wine", "%s", system->is_wine ? "yes: a reservation costs time and memory for its size" : "no");
}

static const char *purge_meaning(fallow_purge purge)
{
    switch (purge) {
    case FALLOW_PURGE_DONTNEED: return "free memory is given back at once, and reads zero";
    case FALLOW_PURGE_FREE: return "free memory goes when the system wants it; until then it counts as resident";
    case FALLOW_PURGE_DECOMMIT: return "free memory is given back at once, with its commit charge";
    default: return "unknown";
    }
}

static void tell_settings(const fallow_system *system)
{
    printf("\nIn force\n");
    line("madvise mode", "%s (%s)", text_purge(system->purge),
         system->is_purge_from_environment ? "FALLOW_MADVISE said so" : "the default; FALLOW_MADVISE changes it");
    line("", "%s", purge_meaning(system->purge));
    line("an arena reserves", "%s (%s)", text_size(system->reserve_bytes).text,
         system->is_reserve_from_environment ? "FALLOW_RESERVE said so" : "the default; FALLOW_RESERVE changes it");
    line("environment", "%s", system->environment_error[0] == '\0' ? "no mistakes in it" : system->environment_error);
}

int info_main(int argument_count, char **arguments)
{
    if (argument_count > 1) {
        return bad_usage("info takes no arguments", arguments[1]);
    }
    fallow_system system;
    fallow_system_info(&system);
    printf("fallow %s on %s\n", fallow_version(), system.os_name);
    tell_sizes(&system);
    tell_memory(&system);
    tell_limits(&system);
    tell_probes(&system);
    tell_settings(&system);
    return TOOL_OK;
}
