/* A program of someone else's: it has the installed header and library, and nothing else of the project. */
#include <fallow.h>

#include <stdio.h>
#include <string.h>

static int fail(const char *what, fallow_status status)
{
    fallow_failure failure;
    fprintf(stderr, "%s: %s: %s\n", what, fallow_status_name(status), fallow_status_message(status));
    if (fallow_last_failure(&failure)) {
        fprintf(stderr, "last failure: %s, system's code %lld\n", failure.operation, (long long)failure.os_code);
    }
    return 1;
}

int main(void)
{
    const size_t run_bytes = (size_t)1 << 20;
    fallow_arena_options options = {.reserve_bytes = (size_t)64 << 20, .name = "consumer"};
    fallow_arena *arena = NULL;
    void *run = NULL;
    fallow_arena_stats stats;

    if (strcmp(fallow_version(), FALLOW_VERSION) != 0) {
        fprintf(stderr, "header %s, library %s\n", FALLOW_VERSION, fallow_version());
        return 1;
    }

    fallow_status status = fallow_arena_create(&options, &arena);
    if (status != FALLOW_OK) {
        return fail("fallow_arena_create", status);
    }
    status = fallow_arena_alloc(arena, run_bytes, &run);
    if (status != FALLOW_OK) {
        return fail("fallow_arena_alloc", status);
    }
    memset(run, 0x5a, run_bytes);

    fallow_arena_read_stats(arena, &stats);
    if (stats.in_use_bytes != run_bytes || stats.run_count != 1 || stats.committed_bytes < run_bytes ||
        stats.reserved_bytes < options.reserve_bytes) {
        fprintf(stderr, "with one run of %zu bytes: in use %zu, runs %zu, committed %zu, reserved %zu\n", run_bytes,
                stats.in_use_bytes, stats.run_count, stats.committed_bytes, stats.reserved_bytes);
        return 1;
    }

    fallow_arena_free(arena, run, run_bytes);
    fallow_arena_read_stats(arena, &stats);
    if (stats.in_use_bytes != 0 || stats.run_count != 0 || stats.retained_bytes < run_bytes) {
        fprintf(stderr, "after the free: in use %zu, runs %zu, retained %zu\n", stats.in_use_bytes, stats.run_count,
                stats.retained_bytes);
        return 1;
    }
    fallow_arena_destroy(arena);
    printf("fallow %s from C: reserved %zu bytes, used %zu\n", fallow_version(), stats.reserved_bytes,
           stats.peak_in_use_bytes);
    return 0;
}
