/* The `fallow` command: picks the subcommand, and tells what every subcommand tells in the same words. */
#include "tool.h"

#include <inttypes.h>
#include <string.h>

static const char usage[] =
    "usage: fallow info              what this system allows, and what is in force\n"
    "       fallow explain [--json] PID | --smaps FILE\n"
    "                                what the memory of a process is: all of VSZ and RSS, in words\n"
    "       fallow top [--interval SECONDS] [--count N] PID\n"
    "                                the same in short, again and again; in a pipe a line each time\n"
    "       fallow demo [--work SIZE] [--svg FILE]\n"
    "                                much address space, little memory: the figures, step by step\n"
    "       fallow replay [OPTION]... TRACE...\n"
    "                                run the page requests of a real program on an arena, and check it\n"
    "       fallow help              this text; fallow --version tells the version\n"
    "\n"
    "options of explain:\n"
    "  --json           as JSON\n"
    "  --smaps FILE     of a copy of /proc/PID/smaps, from whatever machine, in place of a process; - is stdin\n"
    "options of top:\n"
    "  --interval SECONDS  between two looks; otherwise 1; may have a fraction\n"
    "  --count N        end after so many; otherwise when the process ends\n"
    "options of demo:\n"
    "  --work SIZE      touch this much memory; otherwise 1 GiB, or what this machine allows\n"
    "  --svg FILE       draw the arena as it is after each step\n"
    "options of replay:\n"
    "  --reserve SIZE   the arena's reservation; otherwise FALLOW_RESERVE or the default\n"
    "  --page SIZE      the arena's page, a power of two up to 2M; otherwise 8K or the system's\n"
    "  --purge MODE     dontneed, free or decommit; otherwise FALLOW_MADVISE or dontneed\n"
    "  --touch          write to every page of every run; otherwise to the first and last bytes of each\n"
    "  --trim-every N   give all free memory back after every N requests; otherwise at the end\n"
    "  --check-every N  let the arena compare its books after every N requests; otherwise 10000\n"
    "  --svg FILE       draw what the arena held over the requests, and the arena as the program left it\n"
    "  --html FILE      the same as a page that tells of the run that the mouse points at\n"
    "\n"
    "A SIZE may end in K, M, G or T, powers of 1024.\n"
    "environment: FALLOW_MADVISE=dontneed|free|decommit   how free memory is given back\n"
    "             FALLOW_RESERVE=64G                      how much an arena reserves\n"
    "             FALLOW_DEBUG=stats,trace=FILE           what arenas hold at the end; a trace for replay\n"
    "exit status: 0 done, 1 refused or failed, 2 bad usage\n";

typedef struct subcommand {
    const char *name;
    int (*run)(int argument_count, char **arguments);
} subcommand;

static const subcommand subcommands[] = {
    {"demo", demo_main}, {"explain", explain_main}, {"info", info_main}, {"replay", replay_main}, {"top", top_main},
};

void tell_failure(FILE *stream, const char *what, fallow_status status)
{
    fallow_failure failure;
    fprintf(stream, "%s: %s\n", what, fallow_status_name(status));
    print_wrapped(stream, 2, fallow_status_message(status));
    if (!fallow_last_failure(&failure) || failure.status != status) {
        return;
    }
    fprintf(stream, "  in %s", failure.operation);
    if (failure.size_bytes > 0) {
        fprintf(stream, ", %s", text_size(failure.size_bytes).text);
    }
    if (failure.os_code != 0) {
        fprintf(stream, ", system code %" PRId64, failure.os_code);
    }
    fprintf(stream, "\n");
    if (failure.limit_name != NULL) {
        fprintf(stream, "  the limit: %s = %" PRIu64, failure.limit_name, failure.limit_value);
        if (strcmp(failure.limit_name, "vm.max_map_count") != 0 && failure.limit_value >= 1024) {
            fprintf(stream, " (%s)", text_size(failure.limit_value).text);
        }
        fprintf(stream, "\n");
    }
}

int fail(const char *what, fallow_status status)
{
    fflush(stdout); /* so that what was told before comes before, also where both go to one file */
    fprintf(stderr, "fallow: ");
    tell_failure(stderr, what, status);
    return TOOL_FAILED;
}

int bad_usage(const char *complaint, const char *word)
{
    fprintf(stderr, "fallow: ");
    if (word != NULL) {
        fprintf(stderr, "%s: ", word);
    }
    fprintf(stderr, "%s\ntry: fallow help\n", complaint);
    return TOOL_BAD_USAGE;
}

static int run(int argument_count, char **arguments)
{
    if (argument_count < 2) {
        fputs(usage, stderr);
        return TOOL_BAD_USAGE;
    }
    const char *name = arguments[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        fputs(usage, stdout);
        return TOOL_OK;
    }
    if (strcmp(name, "--version") == 0) {
        printf("fallow %s\n", fallow_version());
        return TOOL_OK;
    }
    for (size_t i = 0; i < sizeof subcommands / sizeof *subcommands; i++) {
        if (strcmp(name, subcommands[i].name) == 0) {
            return subcommands[i].run(argument_count - 1, arguments + 1);
        }
    }
    return bad_usage("no such subcommand", name);
}

int main(int argument_count, char **arguments)
{
    int result = run(argument_count, arguments);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "fallow: the output could not be written\n");
        return TOOL_FAILED;
    }
    return result;
}
