/* fallow: one arena, with the caches that it has by default, or with none (FALLOW_BENCH_NO_CACHE). */
#include "fallow.h"

#ifdef FALLOW_BENCH_NO_CACHE
#define SIDE_NAME "nocache"
#define SIDE_CACHE_BYTES FALLOW_CACHE_NONE
#else
#define SIDE_NAME "fallow"
#define SIDE_CACHE_BYTES 0
#endif
#define SIDE_IS_HARNESS 0
#define SIDE_HAS_ARENAS 1

static fallow_arena *side_arena;

static const char *side_version(void)
{
    static char text[64];
    snprintf(text, sizeof text, "fallow %s", fallow_version());
    return text;
}

static void side_begin_reserve(size_t reserve_bytes)
{
    fallow_arena_options options = {
        .reserve_bytes = reserve_bytes,
        .thread_cache_bytes = SIDE_CACHE_BYTES,
        .flags = reserve_bytes != 0 ? FALLOW_ARENA_FIXED : 0,
    };
    fallow_status status = fallow_arena_create(&options, &side_arena);
    if (status != FALLOW_OK) {
        fprintf(stderr, "fallow bench: no arena: %s\n", fallow_status_name(status));
        exit(1);
    }
}

static void side_begin(void)
{
    side_begin_reserve(0);
}

static inline void *side_alloc(size_t size_bytes)
{
    void *base;
    return fallow_arena_alloc(side_arena, size_bytes, &base) == FALLOW_OK ? base : NULL;
}

static inline void side_free(void *base, size_t size_bytes)
{
    fallow_arena_free(side_arena, base, size_bytes);
}

static inline void *side_alloc_addresses(size_t size_bytes)
{
    const fallow_run_options options = {.flags = FALLOW_RUN_UNCOMMITTED};
    fallow_run run;
    return fallow_arena_alloc_run(side_arena, size_bytes, &options, &run) == FALLOW_OK ? run.base : NULL;
}

static bool side_purge(void)
{
    return fallow_arena_trim(side_arena, 0, NULL) == FALLOW_OK;
}
