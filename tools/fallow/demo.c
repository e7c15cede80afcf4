/* fallow demo: two stories about programs that looked as if they ate memory, told in figures of this very process.
 *
 * "A 138 GB process": a program that reserves 128 GiB looks frightening in ps, and costs nothing. The first story reads
 * the system's own figures (fallow_process_info) after each step: reserve, use, free half, trim, free all, destroy.
 * "A 750 MB hello world": a program that insists on its reservation dies under `prlimit --as`. The second story creates
 * the same arena under smaller and smaller limits.
 *
 * Every figure that is printed was read, none is known beforehand; the sentences say what the figures are, and where
 * they compare two of them the comparison is made here. */
#include "picture.h"
#include "svg.h"
#include "system.h"
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define STORY_RESERVE_BYTES (128 * GIB)  /* what Go reserved in the first story */
#define EMULATED_RESERVE_BYTES (4 * GIB) /* Wine and qemu keep books for every reserved page: 64 GiB is 70 ms, 16 MiB */
#define STORY_LIMIT_BYTES UINT64_C(700000000) /* `prlimit --as` of the second story */
#define RUN_BYTES ((size_t)(64 * KIB))

/* ---- The first story ---- */

enum {
    DRAWN_STEPS = 4,
    DRAWN_ROWS = 12 /* of each */
};

typedef struct story {
    fallow_system system;
    fallow_arena *arena;
    fallow_process now; /* read by the latest row, and by the one before it */
    fallow_process before;
    void **runs;
    size_t run_count;
    const char *svg_path; /* NULL = nothing is drawn */
    unsigned drawn_count;
    picture pictures[DRAWN_STEPS];
    char captions[DRAWN_STEPS][160];
} story;

static void table_head(void)
{
    printf("\n  %-26s %10s %10s %10s %11s %9s\n", "", "VSZ", "RSS", "committed", "arena holds", "mappings");
}

/* Read the figures and print a row; the sentence that follows it is the caller's. */
static fallow_status table_row(story *self, const char *step)
{
    fallow_arena_stats stats = {0};
    self->before = self->now;
    fallow_status status = fallow_process_info(&self->now);
    if (status != FALLOW_OK) {
        fail("reading this process's figures", status);
        return status;
    }
    if (self->arena != NULL) {
        fallow_arena_read_stats(self->arena, &stats);
    }
    printf("  %-26s %10s %10s %10s %11s %9" PRIu64 "\n", step, text_size(self->now.virtual_bytes).text,
           text_size(self->now.resident_bytes).text, text_size(self->now.committed_bytes).text,
           text_size(stats.backed_bytes).text, self->now.map_count);
    return FALLOW_OK;
}

/* Draw the arena as it is after the step whose row was printed last. */
static fallow_status draw_step(story *self, const char *step)
{
    if (self->svg_path == NULL) {
        return FALLOW_OK;
    }
    snprintf(self->captions[self->drawn_count], sizeof self->captions[0], "%u. %s: VSZ %s, RSS %s",
             self->drawn_count + 1, step, text_size(self->now.virtual_bytes).text,
             text_size(self->now.resident_bytes).text);
    picture *drawn = &self->pictures[self->drawn_count++];
    return picture_draw(drawn, self->arena, FALLOW_MAP_SVG, DRAWN_ROWS) ? FALLOW_OK : FALLOW_ERR_OS;
}

#define CAPTION_HEIGHT 40

/* All steps, one below the other. */
static bool write_pictures(const story *self)
{
    FILE *file = picture_open(self->svg_path);
    double height = 0;
    if (file == NULL) {
        return false;
    }
    for (unsigned i = 0; i < self->drawn_count; i++) {
        height += CAPTION_HEIGHT + picture_height(&self->pictures[i]);
    }
    svg_begin(file, PICTURE_WIDTH, height, "");
    height = 0;
    for (unsigned i = 0; i < self->drawn_count; i++) {
        svg_text(file, 24, height + 30, "title", self->captions[i]);
        picture_place(&self->pictures[i], file, height + CAPTION_HEIGHT);
        height += CAPTION_HEIGHT + picture_height(&self->pictures[i]);
    }
    svg_end(file);
    return picture_close(file, self->svg_path);
}

/* "VSZ +128 GiB, RSS +36 KiB: " */
static void tell_change(const story *self)
{
    printf("      VSZ %s, RSS %s: ", text_difference(self->before.virtual_bytes, self->now.virtual_bytes).text,
           text_difference(self->before.resident_bytes, self->now.resident_bytes).text);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* 128 GiB; less where addresses are few (32 bits: 256 MiB) or reserving costs. */
static size_t story_reserve(const fallow_system *system)
{
    uint64_t reserve_bytes = least(STORY_RESERVE_BYTES, system->address_space_bytes / 16);
    if (system->is_wine || system->is_emulated) {
        reserve_bytes = least(reserve_bytes, EMULATED_RESERVE_BYTES);
    }
    return (size_t)(reserve_bytes / RUN_BYTES * RUN_BYTES);
}

/* 1 GiB, but no more than a quarter of the reservation, of this machine's memory, and of what may still be promised or
 * mapped. */
static size_t story_work(const fallow_system *system, size_t usable_bytes)
{
    uint64_t work_bytes = least(GIB, usable_bytes / 4);
    if (system->memory_bytes != 0) {
        work_bytes = least(work_bytes, system->memory_bytes / 4);
    }
    if (system->overcommit_mode == 2 && system->commit_limit > system->committed_bytes) {
        work_bytes = least(work_bytes, (system->commit_limit - system->committed_bytes) / 2);
    }
    work_bytes = least(work_bytes, system->data_limit / 4);
    return (size_t)(work_bytes / RUN_BYTES * RUN_BYTES);
}

static void touch(unsigned char *base, size_t size_bytes, size_t page_bytes)
{
    for (size_t offset = 0; offset < size_bytes; offset += page_bytes) {
        ((volatile unsigned char *)base)[offset] = 1;
    }
}

static fallow_status use_memory(story *self)
{
    for (size_t i = 0; i < self->run_count; i++) {
        fallow_status status = fallow_arena_alloc(self->arena, RUN_BYTES, &self->runs[i]);
        if (status != FALLOW_OK) {
            fail("allocating a run", status);
            return status;
        }
        touch(self->runs[i], RUN_BYTES, self->system.page_bytes);
    }
    return FALLOW_OK;
}

static void free_runs(story *self, size_t first, size_t step)
{
    for (size_t i = first; i < self->run_count; i += step) {
        fallow_arena_free(self->arena, self->runs[i], RUN_BYTES);
        self->runs[i] = NULL;
    }
}

static fallow_status trim(story *self)
{
    size_t released_bytes = 0;
    fallow_status status = fallow_arena_trim(self->arena, 0, &released_bytes);
    if (status != FALLOW_OK) {
        fail("trimming the arena", status);
    }
    return status;
}

/* "RSS still counts 512 MiB of it": what the system may take at any time, where there is such memory. */
static void tell_lazy(const story *self)
{
    uint64_t lazy_bytes = least(self->now.lazy_free_bytes, self->now.resident_bytes);
    if (lazy_bytes > 0) {
        printf("      RSS counts %s that the system takes when it wants it; without that, RSS is %s.\n",
               text_size(lazy_bytes).text, text_size(self->now.resident_bytes - lazy_bytes).text);
    }
}

/* What trimming did depends on the mode, and on whether the system does what the mode says. */
static void tell_trim(const story *self)
{
    fallow_arena_stats stats;
    fallow_arena_read_stats(self->arena, &stats);
    tell_change(self);
    switch (stats.purge) {
    case FALLOW_PURGE_FREE:
        printf("%s\n", self->system.has_lazy_purge ? "given back, to be taken when the system wants it."
                                                   : "given back; this system does not wait with FREE.");
        break;
    case FALLOW_PURGE_DECOMMIT:
        printf("given back with its commit charge; each hole is a\n"
               "      mapping of its own now, and faults if touched.\n");
        break;
    default: printf("given back at once; those pages stay usable, and read zero.\n"); break;
    }
    tell_lazy(self);
    if (self->system.is_emulated) {
        printf("      An emulated processor may ignore advice about memory.\n");
    }
}

/* A row, and a picture of what it tells. */
static fallow_status step_row(story *self, const char *step)
{
    fallow_status status = table_row(self, step);
    return status == FALLOW_OK ? draw_step(self, step) : status;
}

static fallow_status story_rows(story *self)
{
    if (use_memory(self) != FALLOW_OK || step_row(self, "runs of 64 KiB, touched") != FALLOW_OK) {
        return FALLOW_ERR_OS;
    }
    tell_change(self);
    printf("%zu runs were allocated and written. Only this costs memory.\n", self->run_count);

    free_runs(self, 1, 2);
    if (step_row(self, "every second run freed") != FALLOW_OK) {
        return FALLOW_ERR_OS;
    }
    tell_change(self);
    printf("the arena keeps free memory, to hand it out again quickly.\n");

    if (trim(self) != FALLOW_OK || step_row(self, "trimmed") != FALLOW_OK) {
        return FALLOW_ERR_OS;
    }
    tell_trim(self);

    free_runs(self, 0, 2);
    if (trim(self) != FALLOW_OK || step_row(self, "the rest freed and trimmed") != FALLOW_OK) {
        return FALLOW_ERR_OS;
    }
    tell_change(self);
    printf("nothing is in use; VSZ still shows the reservation.\n");
    tell_lazy(self);
    return FALLOW_OK;
}

static int tell_first_story(story *self, size_t work_bytes)
{
    size_t reserve_bytes = story_reserve(&self->system);
    fallow_arena_options options = {.reserve_bytes = reserve_bytes, .name = "demo"};
    fallow_arena_stats stats;
    char step[64];

    printf("1. A process of %s\n\n", text_size(reserve_bytes).text);
    printf("  Someone sees a process of 138 GB in ps and fears a leak. VSZ counts addresses, RSS memory.\n");
    printf("  Free memory goes back in mode %s (%s).\n", text_purge(self->system.purge),
           self->system.is_purge_from_environment ? "FALLOW_MADVISE said so"
                                                  : "the default; FALLOW_MADVISE changes it");
    if (self->system.environment_error[0] != '\0') {
        printf("  A mistake in the environment: %s\n", self->system.environment_error);
    }
    table_head();
    if (table_row(self, "at the start") != FALLOW_OK) {
        return TOOL_FAILED;
    }
    printf("      Nothing is reserved yet.\n");

    fallow_status status = fallow_arena_create(&options, &self->arena);
    if (status != FALLOW_OK) {
        fail("creating the arena", status);
        return TOOL_FAILED;
    }
    fallow_arena_read_stats(self->arena, &stats);
    snprintf(step, sizeof step, "an arena of %s", text_size(stats.usable_bytes).text);
    if (table_row(self, step) != FALLOW_OK) {
        return TOOL_FAILED;
    }
    tell_change(self);
    printf("%s. The arena's books take %s.\n",
           self->system.is_wine ? "addresses cost nothing but Wine's list of them" : "addresses cost nothing",
           text_size(stats.metadata_bytes).text);

    if (work_bytes == 0) {
        work_bytes = story_work(&self->system, stats.usable_bytes);
    }
    self->run_count = work_bytes / RUN_BYTES;
    self->runs = calloc(self->run_count + 1, sizeof *self->runs);
    if (self->runs == NULL) {
        fprintf(stderr, "fallow: no memory for a list of %zu runs\n", self->run_count);
        return TOOL_FAILED;
    }
    status = story_rows(self);
    fallow_arena_destroy(self->arena);
    self->arena = NULL;
    free(self->runs);
    if (status != FALLOW_OK || table_row(self, "the arena destroyed") != FALLOW_OK) {
        return TOOL_FAILED;
    }
    tell_change(self);
    printf("the addresses are gone too.\n");
    return TOOL_OK;
}

/* ---- The second story ---- */

typedef struct limited {
    size_t reserve_bytes;
    size_t limit_bytes; /* the arena's own; 0 = none */
    bool is_explained;  /* tell the failure in words */
} limited;

/* Fill an arena until it refuses. Runs grow shorter at the end, so that the last page is found; the first page of each
 * is written and read. Chained through their first word: no memory is taken on the side. */
typedef struct filled {
    size_t run_count;
    size_t in_use_bytes;
    fallow_status status; /* what ended it */
    bool is_intact;       /* every run still held what was written to it */
} filled;

typedef struct filling {
    struct filling *previous;
    size_t size_bytes;
    size_t number;
} filling;

static filled fill(fallow_arena *arena, size_t run_bytes, size_t page_bytes, uint64_t limit_bytes)
{
    filled out = {.is_intact = true};
    filling *last = NULL;
    while (run_bytes >= page_bytes && out.in_use_bytes <= limit_bytes) { /* a limit that does not hold is no loop */
        void *base;
        fallow_status status = fallow_arena_alloc(arena, run_bytes, &base);
        if (status == FALLOW_OK) {
            filling *run = base;
            *run = (filling){.previous = last, .size_bytes = run_bytes, .number = out.run_count++};
            last = run;
            out.in_use_bytes += run_bytes;
        } else {
            out.status = status;
            run_bytes /= 2;
        }
    }
    for (size_t number = out.run_count; last != NULL;) {
        filling run = *last;
        out.is_intact = out.is_intact && run.number == --number;
        fallow_arena_free(arena, last, run.size_bytes);
        last = run.previous;
    }
    return out;
}

/* A row of the table: the limit, the arena that could be had, what went into it. Runs in a limited child, or here. */
static int tell_limited(void *context)
{
    const limited *self = context;
    fallow_arena_options options = {
        .reserve_bytes = self->reserve_bytes, .limit_bytes = self->limit_bytes, .name = "demo"};
    fallow_arena_stats before;
    fallow_arena_stats stats;
    fallow_system system;
    fallow_arena *arena;
    fallow_system_info(&system);
    uint64_t limit_bytes = self->limit_bytes != 0 ? self->limit_bytes : system.address_space_limit;
    if (limit_bytes == UINT64_MAX) {
        printf("  The limit was accepted and is not in force here.\n");
        return TOOL_OK;
    }
    fallow_status status = fallow_arena_create(&options, &arena);
    if (status != FALLOW_OK) {
        printf("  ");
        tell_failure(stdout, "no arena could be had", status);
        return TOOL_OK; /* a limit may be that small, and the reason has been told */
    }
    fallow_arena_read_stats(arena, &before);
    filled result = fill(arena, (size_t)MIB, before.page_bytes, limit_bytes);
    fallow_arena_read_stats(arena, &stats);
    printf("  %-18s %10s %12s %8zu %12s   %s\n", text_size(limit_bytes).text, text_size(before.usable_bytes).text,
           text_size(result.in_use_bytes).text, result.run_count, text_size(stats.usable_bytes).text,
           result.is_intact ? "yes" : "NO");
    if (self->is_explained) {
        printf("  When it was full, ");
        tell_failure(stdout, "the next request returned", result.status);
    }
    fallow_arena_destroy(arena);
    return result.is_intact && result.run_count > 0 ? TOOL_OK : TOOL_FAILED;
}

static void limited_head(const char *limit_name)
{
    printf("\n  %-18s %10s %12s %8s %12s   %s\n", limit_name, "arena got", "runs filled", "runs", "then had", "intact");
}

static int tell_address_limits(const story *self, size_t reserve_bytes)
{
    uint64_t vsz_bytes = self->now.virtual_bytes;
    const uint64_t limits[] = {STORY_LIMIT_BYTES, vsz_bytes + 64 * MIB, vsz_bytes + 8 * MIB};
    const size_t limit_count = sizeof limits / sizeof *limits;
    int result = TOOL_OK;
    printf("  The arena of %s again, in child processes with less and less room for addresses (RLIMIT_AS,\n"
           "  as ulimit -v and prlimit --as set it): %s is 700000000 bytes, the others leave 64 and 8 MiB\n"
           "  beside what this process has. The arena starts with what it can get, adds reservations while\n"
           "  there is room, and is then full.\n",
           text_size(reserve_bytes).text, text_size(STORY_LIMIT_BYTES).text);
    limited_head("RLIMIT_AS");
    for (size_t i = 0; i < limit_count; i++) {
        limited context = {.reserve_bytes = reserve_bytes, .is_explained = i + 1 == limit_count};
        int child_result = TOOL_FAILED;
        if (limits[i] < vsz_bytes) {
            printf("  %-18s is less than this process has already\n", text_size(limits[i]).text);
            continue;
        }
        if (!system_run_limited(limits[i], tell_limited, &context, &child_result)) {
            printf("  %-18s the limit could not be set here, or the child ended early\n", text_size(limits[i]).text);
            child_result = TOOL_FAILED;
        }
        if (child_result != TOOL_OK) {
            result = child_result;
        }
    }
    return result;
}

static int tell_second_story(const story *self)
{
    size_t reserve_bytes = story_reserve(&self->system);
    limited own = {.reserve_bytes = reserve_bytes, .limit_bytes = (size_t)(64 * MIB), .is_explained = true};
    int result = TOOL_OK;
    printf("\n2. A hello world of 750 MB\n\n");
    printf("  A program that insists on its reservation dies under prlimit --as=700000000.\n");
    if (system_has_address_limit()) {
        result = tell_address_limits(self, reserve_bytes);
    } else {
        printf("  This system has no limit on a process's addresses, so there is nothing to run into.\n");
    }
    printf("\n  What bounds memory and not addresses is the arena's own limit, on every system.\n");
    limited_head("limit_bytes");
    int own_result = tell_limited(&own);
    return result != TOOL_OK ? result : own_result;
}

int demo_main(int argument_count, char **arguments)
{
    static story self;
    size_t work_bytes = 0;
    for (int i = 1; i < argument_count; i++) {
        if (strcmp(arguments[i], "--svg") == 0) {
            if (++i == argument_count) {
                return bad_usage("--svg needs a file", NULL);
            }
            self.svg_path = arguments[i];
            continue;
        }
        if (strcmp(arguments[i], "--work") != 0) {
            return bad_usage("no such option of demo", arguments[i]);
        }
        if (++i == argument_count || !parse_size(arguments[i], &work_bytes) || work_bytes < 2 * RUN_BYTES) {
            return bad_usage("--work needs a size of at least 128K", i < argument_count ? arguments[i] : NULL);
        }
    }
    fallow_system_info(&self.system);
    printf("fallow %s on %s\n\n", fallow_version(), self.system.os_name);
    int result = tell_first_story(&self, work_bytes);
    if (result == TOOL_OK) {
        result = tell_second_story(&self);
    }
    if (result == TOOL_OK && self.svg_path != NULL && !write_pictures(&self)) {
        result = TOOL_FAILED;
    }
    for (unsigned i = 0; i < self.drawn_count; i++) {
        picture_free(&self.pictures[i]);
    }
    return result;
}
