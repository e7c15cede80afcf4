/* A program whose arena has pages of every kind, for tests and the documents to draw.
 *
 *   pictured ARENA FORMAT MAP STATS     writes the picture of it to the file MAP, its figures as JSON to STATS
 *
 *   ARENA    small: 1 MiB of pages of 8 KiB; every: runs of many sizes; dense: single pages, every third one freed;
 *            huge: 64 TiB, or what can be had, with runs far from each other
 *   FORMAT   plain, ansi, svg, html */
#include <fallow.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static void require(bool is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "pictured: %s\n", what);
        exit(1);
    }
}

static fallow_run take(fallow_arena *arena, size_t size_bytes, uint32_t flags, void *at)
{
    const fallow_run_options options = {.flags = flags, .at = at};
    fallow_run run;
    require(fallow_arena_alloc_run(arena, size_bytes, &options, &run) == FALLOW_OK, "no run");
    if ((flags & FALLOW_RUN_UNCOMMITTED) == 0) {
        memset(run.base, 1, 1);
    }
    return run;
}

static void trim(fallow_arena *arena)
{
    require(fallow_arena_trim(arena, 0, NULL) == FALLOW_OK, "no trim");
}

/* Runs of growing sizes; each third is freed and lazily given back, each third after that freed only; some are kept by
 * this thread's cache; addresses; and the rest of the growth step, which is committed ahead. */
static void use_every_kind(fallow_arena *arena, size_t unit, unsigned count)
{
    static fallow_run runs[1000];
    for (unsigned i = 0; i < count; i++) {
        runs[i] = take(arena, unit * (1 + i % 7), FALLOW_RUN_NO_CACHE, NULL);
    }
    for (unsigned i = 1; i < count; i += 3) {
        fallow_arena_free_many(arena, &runs[i], 1);
    }
    trim(arena);
    for (unsigned i = 2; i < count; i += 9) {
        fallow_arena_free_many(arena, &runs[i], 1);
    }
    for (unsigned i = 5; i < count; i += 9) {
        fallow_arena_free(arena, runs[i].base, runs[i].size_bytes);
    }
    (void)take(arena, unit * 16, FALLOW_RUN_UNCOMMITTED, NULL);
}

static fallow_arena *make(const char *kind)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {
        .name = kind,
        .page_bytes = 8 * KIB,
        .purge = FALLOW_PURGE_FREE,
        .scavenge = FALLOW_SCAVENGE_OFF,
        .thread_cache_bytes = 4 * MIB,
    };
    bool is_huge = strcmp(kind, "huge") == 0;
    bool is_small = strcmp(kind, "small") == 0;
    fallow_system system;
    fallow_system_info(&system);
    size_t huge = sizeof(size_t) > 4 ? (size_t)((uint64_t)64 << 40) : 512 * MIB;
    if (system.is_wine || system.is_emulated || system.address_space_limit != UINT64_MAX) {
        huge = 512 * MIB;
    }
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
    huge = (size_t)512 << 30; /* a TiB is there in two runs of three only, and two pictures are to be alike */
#endif
#endif
    options.reserve_bytes = is_huge ? huge : is_small ? MIB : 256 * MIB;
    options.grow_bytes = is_small ? 64 * KIB : 0;
    options.min_reserve_bytes = 64 * KIB;
    require(fallow_arena_create(&options, &arena) == FALLOW_OK, "no arena");
    if (is_small) {
        use_every_kind(arena, 8 * KIB, 25);
    } else if (strcmp(kind, "dense") == 0) {
        static fallow_run runs[6000];
        for (unsigned i = 0; i < 6000; i++) {
            runs[i] = take(arena, 8 * KIB, FALLOW_RUN_NO_CACHE, NULL);
        }
        for (unsigned i = 0; i < 4000; i += 3) {
            fallow_arena_free_many(arena, &runs[i], 1);
        }
    } else if (is_huge) {
        fallow_arena_stats stats;
        fallow_arena_read_stats(arena, &stats);
        unsigned char *base = take(arena, 3 * MIB, 0, NULL).base;
        for (unsigned i = 1; i < 6; i++) {
            (void)take(arena, i * MIB, 0, base + stats.usable_bytes / 7 / options.page_bytes * options.page_bytes * i);
        }
        (void)take(arena, stats.usable_bytes / 512, FALLOW_RUN_UNCOMMITTED | FALLOW_RUN_TOP_DOWN, NULL);
        use_every_kind(arena, 64 * KIB, 100);
    } else {
        use_every_kind(arena, 32 * KIB, 180);
    }
    return arena;
}

static bool print(void *stream, const char *text, size_t bytes)
{
    return fwrite(text, 1, bytes, stream) == bytes;
}

int main(int argument_count, char **arguments)
{
    static const char *const formats[] = {"ansi", "svg", "html", "plain"};
    unsigned format = 0;
    require(argument_count == 5, "four arguments");
    while (format < 4 && strcmp(arguments[2], formats[format]) != 0) {
        format++;
    }
    const fallow_map_options options = {.flags = format == 3 ? FALLOW_MAP_PLAIN : 0};
    fallow_arena *arena = make(arguments[1]);
    FILE *map = fopen(arguments[3], "wb");
    FILE *stats = fopen(arguments[4], "wb");
    require(format < 4 && map != NULL && stats != NULL, "no such format, or a file cannot be written");
    require(fallow_arena_write_map(arena, (fallow_map_format)(format % 3), &options, print, map) == FALLOW_OK,
            "no map");
    require(fallow_stats_write(arena, FALLOW_STATS_JSON, print, stats) == FALLOW_OK, "no statistics");
    require(fclose(map) == 0 && fclose(stats) == 0, "the files could not be written");
    require(fallow_arena_check(arena) == FALLOW_OK, "the arena's books are wrong");
    fallow_arena_destroy(arena);
    return 0;
}
