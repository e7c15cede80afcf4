/* fallow top: the summary of explain, again and again. On a terminal each look takes the place of the one before it; in
 * a pipe or a file it is one line. */
#include "system.h"
#include "tool.h"

#include <string.h>

#include "explain.h"

#define SECOND_NS UINT64_C(1000000000)

typedef struct top_options {
    uint64_t process_id;
    uint64_t interval_ns;
    uint64_t count; /* 0: without end */
} top_options;

static void print_line(const fallow__explain *report, uint64_t elapsed_ns)
{
    const fallow__os_limit *nearest = fallow__explain_nearest(report);
    bool is_seen = report->mappings_status == FALLOW_OK;
    uint64_t reserved =
        report->groups[FALLOW__OS_RESERVED].virtual_bytes + report->groups[FALLOW__GROUP_ARENA_RESERVED].virtual_bytes;
    printf("%6.1f s  VSZ %s  ", (double)elapsed_ns / (double)SECOND_NS,
           text_size(is_seen ? report->total.virtual_bytes : report->figures.virtual_bytes).text);
    if (is_seen) {
        printf("reserved %s  committed %s  ", text_size(reserved).text, text_size(report->total.committed_bytes).text);
    }
    printf("RSS %s",
           text_size(report->has_resident ? report->total.resident_bytes : report->figures.resident_bytes).text);
    if (is_seen) {
        printf("  lazy %s", text_size(report->total.lazy_bytes).text);
    }
    if (nearest != NULL) {
        printf("  nearest limit %s %s", nearest->name, fallow__share_words(nearest->used, nearest->limit).text);
    }
    printf("\n");
}

static void print_screen(const fallow__explain *report)
{
    fallow__writer writer;
    fputs("\033[H\033[J", stdout); /* to the upper left, and clear what is behind */
    fallow__write_begin(&writer, write_to_stream, stdout);
    fallow__explain_write(report, FALLOW_EXPLAIN_SUMMARY, &writer);
    (void)fallow__write_end(&writer);
}

static int watch(const top_options *options)
{
    static fallow__explain report;
    const bool is_terminal = system_is_terminal(stdout);
    const uint64_t start_ns = system_clock_ns();
    for (uint64_t look = 0; options->count == 0 || look < options->count; look++) {
        uint64_t due_ns = start_ns + look * options->interval_ns;
        uint64_t now_ns = system_clock_ns();
        if (now_ns < due_ns) {
            system_sleep_ns(due_ns - now_ns);
        }
        fallow__os_error error;
        fallow_status status = fallow__explain_read(&report, options->process_id, &error);
        if (status != FALLOW_OK || report.figures.resident_bytes == 0) {
            if (look != 0) {
                fprintf(stderr, "fallow: the process has ended\n");
                return TOOL_OK;
            }
            return fail_to_see(options->process_id, status != FALLOW_OK ? status : FALLOW_ERR_OS);
        }
        if (is_terminal) {
            print_screen(&report);
        } else {
            print_line(&report, system_clock_ns() - start_ns);
        }
        if (fflush(stdout) != 0) {
            return TOOL_FAILED; /* the reader of the pipe has gone */
        }
    }
    return TOOL_OK;
}

/* "1", "0.5": seconds, at most a day. */
static bool parse_seconds(const char *text, uint64_t *ns_out)
{
    uint64_t ns = 0;
    uint64_t unit = SECOND_NS;
    bool is_any = false;
    for (; (*text >= '0' && *text <= '9') || (*text == '.' && unit == SECOND_NS); text++) {
        if (*text == '.') {
            unit /= 10;
        } else if (unit == SECOND_NS) {
            ns = ns * 10 + (uint64_t)(*text - '0') * SECOND_NS;
            is_any = true;
        } else {
            ns += (uint64_t)(*text - '0') * unit;
            unit /= 10;
            is_any = true;
        }
        if (ns > 86400 * SECOND_NS) {
            return false;
        }
    }
    *ns_out = ns;
    return is_any && *text == '\0' && ns != 0;
}

int top_main(int argument_count, char **arguments)
{
    top_options options = {.interval_ns = SECOND_NS};
    for (int i = 1; i < argument_count; i++) {
        bool is_interval = strcmp(arguments[i], "--interval") == 0;
        if (is_interval || strcmp(arguments[i], "--count") == 0) {
            const char *value = i + 1 < argument_count ? arguments[i + 1] : "";
            if (is_interval ? !parse_seconds(value, &options.interval_ns)
                            : !parse_number(value, &options.count) || options.count == 0) {
                return bad_usage(is_interval ? "needs seconds, more than 0" : "needs a number, 1 or more",
                                 arguments[i]);
            }
            i++;
        } else if (options.process_id != 0 || !parse_number(arguments[i], &options.process_id) ||
                   options.process_id == 0) {
            return bad_usage("top takes one process id", arguments[i]);
        }
    }
    return options.process_id != 0 ? watch(&options) : bad_usage("top needs a process id", NULL);
}
