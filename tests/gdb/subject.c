/* What gdb looks at: two arenas in a known state, and then the end. */
#include <fallow.h>

#include <stdlib.h>
#include <string.h>

#define KIB ((size_t)1 << 10)

fallow_arena *arena;
fallow_arena *other;
char *first;
char *freed;
char *last;
fallow_run addresses;
char local[8];

static void *make_run(size_t size_bytes)
{
    void *base;
    if (fallow_arena_alloc(arena, size_bytes, &base) != FALLOW_OK) {
        exit(9);
    }
    memset(base, 1, size_bytes);
    return base;
}

int main(void)
{
    const fallow_arena_options options = {
        .reserve_bytes = 65536 * KIB, .name = "subject", .thread_cache_bytes = FALLOW_CACHE_NONE};
    const fallow_arena_options small = {.reserve_bytes = 1024 * KIB, .thread_cache_bytes = FALLOW_CACHE_NONE};
    const fallow_run_options uncommitted = {.flags = FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_TOP_DOWN};
    if (fallow_arena_create(&options, &arena) != FALLOW_OK || fallow_arena_create(&small, &other) != FALLOW_OK) {
        return 9;
    }
    first = make_run(64 * KIB);
    freed = make_run(32 * KIB);
    last = make_run(8192 * KIB); /* over several chunks */
    fallow_arena_free(arena, freed, 32 * KIB);
    if (fallow_arena_alloc_run(arena, 16384 * KIB, &uncommitted, &addresses) != FALLOW_OK) {
        return 9;
    }
    abort();
}
