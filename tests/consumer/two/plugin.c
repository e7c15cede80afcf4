#include "plugin.h"

#if defined(_WIN32)
__declspec(dllexport)
#else
__attribute__((visibility("default")))
#endif
    const plugin *plugin_open(void);

static fallow_arena *arena;

static fallow_status start(size_t limit_bytes)
{
    return fallow_arena_create(
        &(fallow_arena_options){.reserve_bytes = (size_t)64 << 20, .limit_bytes = limit_bytes, .name = "plugin"},
        &arena);
}

static void *take(size_t size_bytes)
{
    void *run;
    return fallow_arena_alloc(arena, size_bytes, &run) == FALLOW_OK ? run : NULL;
}

static void give(void *base, size_t size_bytes)
{
    fallow_arena_free(arena, base, size_bytes);
}

static bool owns(const void *address)
{
    return fallow_arena_owns(arena, address);
}

static bool stop(void)
{
    fallow_arena_stats stats;
    fallow_arena_read_stats(arena, &stats);
    const bool is_sound = stats.run_count == 0 && fallow_arena_check(arena) == FALLOW_OK;
    fallow_arena_destroy(arena);
    return is_sound;
}

const plugin *plugin_open(void)
{
    static const plugin functions = {fallow_version, start, take, fallow_last_failure, give, owns, stop};
    return &functions;
}
