/* A program with one arena and one run, and the same without: what tests/start_small compares.
 *
 *     start none | start arena */
#include <stdio.h>
#include <string.h>

#include "fallow.h"

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "none") == 0) {
        return puts("none") < 0;
    }
    fallow_arena *arena;
    char *run;
    if (fallow_arena_create(NULL, &arena) != FALLOW_OK || fallow_arena_alloc(arena, 8192, (void **)&run) != FALLOW_OK) {
        fallow_failure failure;
        printf("%s\n", fallow_last_failure(&failure) ? fallow_status_name(failure.status) : "?");
        return 1;
    }
    memset(run, 1, 8192);
    fallow_arena_stats stats;
    fallow_arena_read_stats(arena, &stats);
    printf("an arena of %zu KiB\n", stats.usable_bytes >> 10);
    fallow_arena_free(arena, run, 8192);
    fallow_arena_destroy(arena);
    return 0;
}
