/* fallow explain: what the memory of a process is; or what a copy of its smaps tells. */
#include "tool.h"

#include <inttypes.h>
#include <string.h>

#include "explain.h"
#include "smaps.h"

bool write_to_stream(void *stream, const char *text, size_t bytes)
{
    return fwrite(text, 1, bytes, stream) == bytes;
}

int fail_to_see(uint64_t process_id, fallow_status status)
{
    fflush(stdout);
    fprintf(stderr, "fallow: process %" PRIu64 ": %s\n", process_id,
            status == FALLOW_ERR_INVALID      ? "there is no such process, or it is hidden from this program"
            : status == FALLOW_ERR_PERMISSION ? "the system forbids this program to look at it"
                                              : "the system does not tell");
    return TOOL_FAILED;
}

static int tell(const fallow__explain *report, uint32_t flags)
{
    fallow__writer writer;
    fallow__write_begin(&writer, write_to_stream, stdout);
    fallow__explain_write(report, flags, &writer);
    return fallow__write_end(&writer) ? TOOL_OK : TOOL_FAILED; /* main tells that the output failed */
}

static int explain_process(uint64_t process_id, uint32_t flags)
{
    static fallow__explain report;
    fallow__os_error error;
    fallow_status status = fallow__explain_read(&report, process_id, &error);
    return status == FALLOW_OK ? tell(&report, flags) : fail_to_see(process_id, status);
}

static int explain_file(const char *path, uint32_t flags)
{
    static fallow__explain report;
    static fallow__smaps smaps;
    static char bytes[65536];
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "fallow: %s: cannot be opened\n", path);
        return TOOL_FAILED;
    }
    fallow__explain_begin(&report, FALLOW__PROCESS_NONE);
    fallow__smaps_begin(&smaps, fallow__explain_mapping, &report);
    for (size_t got; (got = fread(bytes, 1, sizeof bytes, file)) != 0;) {
        fallow__smaps_feed(&smaps, bytes, got);
    }
    bool is_read = !ferror(file);
    if (!is_stdin) {
        fclose(file);
    }
    fallow__smaps_end(&smaps);
    fallow__explain_end(&report);
    report.strange_lines = smaps.strange_lines;
    if (!is_read || smaps.mapping_count == 0) {
        fprintf(stderr, "fallow: %s: %s\n", path, is_read ? "no line of smaps in it" : "cannot be read");
        return TOOL_FAILED;
    }
    return tell(&report, flags);
}

int explain_main(int argument_count, char **arguments)
{
    const char *file = NULL;
    uint64_t process_id = 0;
    uint32_t flags = 0;
    for (int i = 1; i < argument_count; i++) {
        if (strcmp(arguments[i], "--json") == 0) {
            flags |= FALLOW_EXPLAIN_JSON;
        } else if (strcmp(arguments[i], "--smaps") == 0) {
            if (++i == argument_count) {
                return bad_usage("--smaps needs a file", NULL);
            }
            file = arguments[i];
        } else if (process_id != 0 || !parse_number(arguments[i], &process_id) || process_id == 0) {
            return bad_usage("explain takes one process id", arguments[i]);
        }
    }
    if ((file == NULL) == (process_id == 0)) {
        return bad_usage("explain needs a process id, or --smaps FILE", NULL);
    }
    return file != NULL ? explain_file(file, flags) : explain_process(process_id, flags);
}
