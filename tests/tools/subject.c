/* A program with arenas, for tests to look at: from inside with what the library writes, or from outside while it waits.
 *
 *   subject explain | explain-json | explain-summary | stats-text | stats-json | stats-prometheus
 *   subject one-text | one-json | one-prometheus       the figures of its first arena
 *   subject wait                                       prints its process id, and lives until stdin ends */
#include <fallow.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"

#define MIB ((size_t)1 << 20)

static void require(bool is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "subject: %s\n", what);
        exit(1);
    }
}

static fallow_arena *create(const char *name, size_t reserve_bytes)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {.reserve_bytes = reserve_bytes, .name = name, .purge = FALLOW_PURGE_DONTNEED};
    require(fallow_arena_create(&options, &arena) == FALLOW_OK, "no arena");
    return arena;
}

static void *take(fallow_arena *arena, size_t size_bytes)
{
    void *run = NULL;
    require(fallow_arena_alloc(arena, size_bytes, &run) == FALLOW_OK, "no run");
    memset(run, 1, size_bytes);
    return run;
}

/* 5 MiB in use and 3 MiB retained; then names that have to be escaped, and an arena without one. */
static fallow_arena *live(void)
{
    fallow_arena *records = create("records", 256 * MIB);
    (void)take(records, 5 * MIB);
    fallow_arena_free(records, take(records, 3 * MIB), 3 * MIB);
    (void)take(create("say \"hi\"\\\n\t\x1b[31m \xc3\xa9 \xff", 64 * MIB), MIB);
    (void)create(NULL, 32 * MIB);
    return records;
}

static bool print(void *stream, const char *text, size_t bytes)
{
    return fwrite(text, 1, bytes, stream) == bytes;
}

static fallow_status write_down(fallow_arena *arena, const char *what)
{
    static const char *const formats[] = {"text", "json", "prometheus"};
    if (strncmp(what, "explain", 7) == 0) {
        uint32_t flags = strcmp(what, "explain-json") == 0      ? FALLOW_EXPLAIN_JSON
                         : strcmp(what, "explain-summary") == 0 ? FALLOW_EXPLAIN_SUMMARY
                                                                : 0;
        return fallow_process_explain(print, stdout, flags);
    }
    const char *format = strchr(what, '-');
    for (unsigned i = 0; format != NULL && i < 3; i++) {
        if (strcmp(format + 1, formats[i]) == 0) {
            return fallow_stats_write(what[0] == 'o' ? arena : NULL, (fallow_stats_format)i, print, stdout);
        }
    }
    return FALLOW_ERR_INVALID;
}

int main(int argument_count, char **arguments)
{
    require(argument_count == 2, "one argument");
    fallow_arena *arena = live();
    if (strcmp(arguments[1], "wait") == 0) {
        printf("%" PRIu64 "\n", fallow__os_process_id());
        fflush(stdout);
        while (getchar() != EOF) {
        }
        return 0;
    }
    require(write_down(arena, arguments[1]) == FALLOW_OK, "not written");
    return 0;
}
