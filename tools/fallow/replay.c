/* fallow replay: the page requests of a real program, run on an arena, and everything the arena says about it checked.
 *
 * The trace is read once, line by line; a mistake in it ends the replay with the line's number. Beside the arena the
 * replay keeps its own books (live.h), and compares after every request:
 *   - a run is whole pages, aligned, and overlaps no live run;
 *   - is_zero means zero: such a run is read before anything is written to it;
 *   - run_of finds the run from its first, middle and last byte, and no more after it was freed;
 *   - the words written to a run when it was taken are still there when it is freed.
 * The arena's own walk (fallow_arena_check) runs every --check-every requests, and at the end, when all is freed.
 *
 * --svg and --html draw what the arena held over the requests, and the arena as the program left it. */
#include "live.h"
#include "picture.h"
#include "progress.h"
#include "svg.h"
#include "system.h"
#include "timeline.h"
#include "tool.h"
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_EVERY_DEFAULT 10000u
#define ZERO_READ_BYTES ((size_t)64 << 20) /* of a run said to be zero at most this much is read, half at each end */

typedef struct replay_options {
    fallow_arena_options arena;
    uint64_t trim_every; /* 0 = at the end only */
    uint64_t check_every;
    bool is_touching;
    const char *svg_path; /* NULL = none */
    const char *html_path;
} replay_options;

/* What was measured at one moment. */
typedef struct snapshot {
    size_t asked_bytes; /* what the program asked for and has not ended; the rest is rounding to pages */
    fallow_arena_stats stats;
    fallow_process process;
} snapshot;

typedef struct replay {
    const char *path;
    const replay_options *options;
    fallow_arena *arena;
    size_t arena_page_bytes;
    size_t os_page_bytes;
    uint64_t touch_limit_bytes; /* --touch takes no more than half of the machine's memory */
    FILE *file;
    uint64_t file_bytes; /* 0 = not known */
    uint64_t read_bytes;
    progress bar;
    timeline line;
    picture map; /* SVG, of the arena as the program left it; and the same as a page */
    picture page;
    trace_reader reader;
    live_runs live;
    uint64_t request_count;
    uint64_t alloc_count;
    uint64_t free_count;
    uint64_t alloc_ns;
    uint64_t free_ns;
    uint64_t trim_count;
    uint64_t trimmed_bytes;
    uint64_t check_count;
    uint64_t zero_runs;
    uint64_t zero_bytes;
    size_t asked_bytes;
    size_t in_use_bytes; /* by the replay's own count */
    snapshot peak;
    snapshot end;
    snapshot emptied;
} replay;

/* ---- Complaints ---- */

/* Say what is wrong at this line of the trace; always false. */
TOOL_PRINTS(2, 3)
static bool wrong(replay *self, const char *format, ...)
{
    va_list arguments;
    progress_end(&self->bar);
    fflush(stdout);
    fprintf(stderr, "fallow: %s:%" PRIu64 ": ", self->path, self->reader.line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    return false;
}

static bool refused(replay *self, const char *what, fallow_status status)
{
    progress_end(&self->bar);
    fflush(stdout);
    fprintf(stderr, "fallow: %s:%" PRIu64 ": ", self->path, self->reader.line);
    tell_failure(stderr, what, status);
    return false;
}

/* ---- Stamps: words that tell a run's bytes from another's ---- */

static uint64_t stamp_of(uint64_t id, size_t offset_bytes)
{
    uint64_t value = (id + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)offset_bytes * 0xff51afd7ed558ccdu;
    return (value ^ (value >> 31)) | 1; /* never 0, which is what lost memory reads as */
}

static void put_stamp(const live_run *run, size_t offset_bytes)
{
    uint64_t stamp = stamp_of(run->id, offset_bytes);
    memcpy(run->base + offset_bytes, &stamp, sizeof stamp);
}

static bool has_stamp(const live_run *run, size_t offset_bytes)
{
    uint64_t stamp = stamp_of(run->id, offset_bytes);
    return memcmp(run->base + offset_bytes, &stamp, sizeof stamp) == 0;
}

/* The run's first and last word; with --touch the first word of every system page too. */
static void stamp_run(const replay *self, const live_run *run)
{
    if (run->is_uncommitted) {
        return;
    }
    for (size_t offset = 0; self->options->is_touching && offset < run->size_bytes; offset += self->os_page_bytes) {
        put_stamp(run, offset);
    }
    put_stamp(run, 0);
    put_stamp(run, run->size_bytes - sizeof(uint64_t));
}

static bool check_stamps(replay *self, const live_run *run)
{
    if (run->is_uncommitted) {
        return true;
    }
    bool is_intact = has_stamp(run, 0) && has_stamp(run, run->size_bytes - sizeof(uint64_t));
    for (size_t offset = 0; self->options->is_touching && offset < run->size_bytes; offset += self->os_page_bytes) {
        is_intact = is_intact && has_stamp(run, offset);
    }
    return is_intact ||
           wrong(self, "the bytes of id %" PRIu64 " at %p were changed while it was live", run->id, (void *)run->base);
}

/* ---- What the arena said ---- */

static bool is_all_zero(const unsigned char *bytes, size_t size_bytes)
{
    return size_bytes == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size_bytes - 1) == 0);
}

static bool check_zero(replay *self, const fallow_run *run)
{
    if (!run->is_zero) {
        return true;
    }
    const unsigned char *bytes = run->base;
    size_t head_bytes = run->size_bytes;
    size_t tail_bytes = 0;
    if (run->size_bytes > ZERO_READ_BYTES) {
        head_bytes = ZERO_READ_BYTES / 2;
        tail_bytes = ZERO_READ_BYTES / 2;
    }
    self->zero_runs++;
    self->zero_bytes += head_bytes + tail_bytes;
    return (is_all_zero(bytes, head_bytes) && is_all_zero(bytes + run->size_bytes - tail_bytes, tail_bytes)) ||
           wrong(self, "the arena says the run at %p is zero, and it is not", run->base);
}

static bool check_run_of(replay *self, const live_run *run)
{
    const size_t offsets[] = {0, run->size_bytes / 2, run->size_bytes - 1};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        const unsigned char *address = run->base + offsets[i];
        fallow_run found = {0};
        if (!fallow_arena_owns(self->arena, address) ||
            fallow_arena_run_of(self->arena, address, &found) != FALLOW_OK || found.base != run->base ||
            found.size_bytes != run->size_bytes) {
            return wrong(self, "run_of does not find the run at %p from its byte %zu", (void *)run->base, offsets[i]);
        }
    }
    return true;
}

static bool check_shape(replay *self, const fallow_run *run, size_t asked_bytes, size_t align_bytes)
{
    size_t page_bytes = self->arena_page_bytes;
    size_t align_mask = (align_bytes > page_bytes ? align_bytes : page_bytes) - 1;
    if (run->size_bytes % page_bytes != 0 || run->size_bytes < asked_bytes ||
        run->size_bytes - asked_bytes >= page_bytes) {
        return wrong(self, "%zu bytes were asked for, and the run has %zu", asked_bytes, run->size_bytes);
    }
    return ((uintptr_t)run->base & align_mask) == 0 || wrong(self, "the run at %p is not aligned", run->base);
}

/* ---- Measuring ---- */

static bool take_snapshot(replay *self, snapshot *out)
{
    out->asked_bytes = self->asked_bytes;
    fallow_arena_read_stats(self->arena, &out->stats);
    if (out->stats.in_use_bytes != self->in_use_bytes || out->stats.run_count != self->live.live_count) {
        return wrong(self, "the arena counts %zu bytes in %zu runs in use, and there are %zu in %" PRIu32,
                     out->stats.in_use_bytes, out->stats.run_count, self->in_use_bytes, self->live.live_count);
    }
    fallow_status status = fallow_process_info(&out->process);
    return status == FALLOW_OK || refused(self, "reading this process's figures failed", status);
}

/* The peak is over when something is freed. To measure at each new one would take longer than the replay; one that is
 * less than 1/256 above the last is passed over, so the figures are those of a moment within 0.4 % of the peak. */
static bool measure_peak(replay *self)
{
    size_t known_bytes = self->peak.stats.in_use_bytes;
    return self->in_use_bytes <= known_bytes + known_bytes / 256 || take_snapshot(self, &self->peak);
}

static bool check_arena(replay *self)
{
    fallow_status status = fallow_arena_check(self->arena);
    self->check_count++;
    return status == FALLOW_OK || refused(self, "the arena's books contradict each other", status);
}

static bool trim_arena(replay *self)
{
    size_t released_bytes = 0;
    fallow_status status = fallow_arena_trim(self->arena, 0, &released_bytes);
    self->trim_count++;
    self->trimmed_bytes += released_bytes;
    return status == FALLOW_OK || refused(self, "trimming the arena failed", status);
}

/* ---- Requests ---- */

static bool remember(replay *self, const live_run *run)
{
    live_run other = {0};
    switch (live_add(&self->live, run, &other)) {
    case LIVE_OK: return true;
    case LIVE_OVERLAP:
        return wrong(self,
                     "the run of id %" PRIu64 " at %p, %zu bytes, overlaps that of id %" PRIu64 " at %p, %zu bytes",
                     run->id, (void *)run->base, run->size_bytes, other.id, (void *)other.base, other.size_bytes);
    case LIVE_DUPLICATE_ID: return wrong(self, "id %" PRIu64 " is live already", run->id);
    default: return wrong(self, "no memory for the replay's own books");
    }
}

static bool replay_alloc(replay *self, const trace_request *request)
{
    fallow_run run;
    if (live_find(&self->live, request->id) != NULL) {
        return wrong(self, "id %" PRIu64 " is live already", request->id);
    }
    if (request->size_bytes > SIZE_MAX || request->align_bytes > SIZE_MAX) {
        return wrong(self, "a size that this system's addresses cannot hold");
    }
    size_t asked_bytes = (size_t)request->size_bytes;
    bool is_uncommitted = request->is_uncommitted;
    fallow_run_options options = {
        .align_bytes = (size_t)request->align_bytes,
        .flags = is_uncommitted ? FALLOW_RUN_UNCOMMITTED : 0,
    };
    uint64_t start_ns = system_clock_ns();
    fallow_status status = fallow_arena_alloc_run(self->arena, asked_bytes, &options, &run);
    self->alloc_ns += system_clock_ns() - start_ns;
    if (status != FALLOW_OK) {
        return refused(self, "the arena refused a request", status);
    }
    live_run live = {
        .id = request->id,
        .base = run.base,
        .size_bytes = run.size_bytes,
        .asked_bytes = asked_bytes,
        .is_uncommitted = is_uncommitted,
    };
    if (!check_shape(self, &run, asked_bytes, options.align_bytes) || !remember(self, &live) ||
        !(is_uncommitted || check_zero(self, &run)) || !check_run_of(self, &live)) {
        return false;
    }
    if (self->options->is_touching && !is_uncommitted &&
        self->in_use_bytes + run.size_bytes > self->touch_limit_bytes) {
        return wrong(self, "to touch every page would take more than half of this machine's memory");
    }
    stamp_run(self, &live);
    self->alloc_count++;
    self->asked_bytes += asked_bytes;
    self->in_use_bytes += is_uncommitted ? 0 : run.size_bytes;
    return true;
}

static bool replay_free(replay *self, uint64_t id)
{
    const live_run *found = live_find(&self->live, id);
    if (found == NULL) {
        return wrong(self, "id %" PRIu64 " is not live", id);
    }
    live_run run = *found;
    if (!measure_peak(self) || !check_stamps(self, &run) || !check_run_of(self, &run)) {
        return false;
    }
    uint64_t start_ns = system_clock_ns();
    fallow_arena_free(self->arena, run.base, run.asked_bytes);
    self->free_ns += system_clock_ns() - start_ns;
    live_remove(&self->live, id);
    self->free_count++;
    self->asked_bytes -= run.asked_bytes;
    self->in_use_bytes -= run.is_uncommitted ? 0 : run.size_bytes;
    fallow_run ghost;
    return fallow_arena_run_of(self->arena, run.base, &ghost) != FALLOW_OK ||
           wrong(self, "run_of still finds the freed run at %p", (void *)run.base);
}

/* A point of the timeline. */
static bool measure_point(replay *self)
{
    fallow_arena_stats stats;
    fallow_process process;
    fallow_arena_read_stats(self->arena, &stats);
    fallow_status status = fallow_process_info(&process);
    if (status != FALLOW_OK) {
        return refused(self, "reading this process's figures failed", status);
    }
    const timeline_point point = {
        .request = self->request_count,
        .committed_bytes = stats.committed_bytes,
        .reserved_bytes = stats.reserved_bytes,
        .resident_bytes = process.resident_bytes,
    };
    timeline_add(&self->line, &point);
    return true;
}

static bool is_drawing(const replay *self)
{
    return self->options->svg_path != NULL || self->options->html_path != NULL;
}

static bool after_request(replay *self)
{
    self->request_count++;
    if (self->request_count % 256 == 0) {
        progress_show(&self->bar, self->read_bytes, self->file_bytes, self->path);
    }
    if (is_drawing(self) && timeline_note(&self->line, self->request_count, self->in_use_bytes) &&
        !measure_point(self)) {
        return false;
    }
    if (self->options->trim_every != 0 && self->request_count % self->options->trim_every == 0 && !trim_arena(self)) {
        return false;
    }
    return self->request_count % self->options->check_every != 0 || check_arena(self);
}

static bool replay_requests(replay *self)
{
    trace_request request;
    for (;;) {
        bool is_fine;
        switch (trace_next(&self->reader, &request)) {
        case TRACE_ALLOC: is_fine = replay_alloc(self, &request); break;
        case TRACE_FREE: is_fine = replay_free(self, request.id); break;
        case TRACE_END: return true;
        default: return wrong(self, "%s", self->reader.error);
        }
        if (!is_fine || !after_request(self)) {
            return false;
        }
    }
}

/* Free what the program never did, and give all memory back. */
static bool empty_arena(replay *self)
{
    for (const live_run *run = live_any(&self->live); run != NULL; run = live_any(&self->live)) {
        if (!replay_free(self, run->id)) {
            return false;
        }
    }
    return check_arena(self) && trim_arena(self) && check_arena(self) && take_snapshot(self, &self->emptied);
}

/* ---- The report ---- */

static void report_row(const char *name, uint64_t peak, uint64_t end, uint64_t emptied)
{
    printf("  %-28s %12s %12s %12s\n", name, text_size(peak).text, text_size(end).text, text_size(emptied).text);
}

static uint64_t average(uint64_t total, uint64_t count)
{
    return count == 0 ? 0 : total / count;
}

static void report(const replay *self)
{
    const fallow_arena_stats *peak = &self->peak.stats;
    const fallow_arena_stats *end = &self->end.stats;
    const fallow_arena_stats *emptied = &self->emptied.stats;
    uint64_t left_count = end->run_count;
    printf("  %-28s %12s %12s %12s\n", "", "at the peak", "at the end", "emptied");
    report_row("asked for", self->peak.asked_bytes, self->end.asked_bytes, self->emptied.asked_bytes);
    report_row("in use, in whole pages", peak->in_use_bytes, end->in_use_bytes, emptied->in_use_bytes);
    report_row("extent", peak->extent_bytes, end->extent_bytes, emptied->extent_bytes);
    report_row("backed", peak->backed_bytes, end->backed_bytes, emptied->backed_bytes);
    report_row("committed", peak->committed_bytes, end->committed_bytes, emptied->committed_bytes);
    report_row("RSS of this process", self->peak.process.resident_bytes, self->end.process.resident_bytes,
               self->emptied.process.resident_bytes);
    report_row("  of it lazily freed", self->peak.process.lazy_free_bytes, self->end.process.lazy_free_bytes,
               self->emptied.process.lazy_free_bytes);
    report_row("reserved", peak->reserved_bytes, end->reserved_bytes, emptied->reserved_bytes);
    printf("  peak in use %s; %" PRIu64 " allocs, about %" PRIu64 " ns each; %" PRIu64 " frees, about %" PRIu64 " ns\n",
           text_size(emptied->peak_in_use_bytes).text, self->alloc_count, average(self->alloc_ns, self->alloc_count),
           self->free_count, average(self->free_ns, self->free_count));
    printf("  %" PRIu64 " runs were left by the program; %" PRIu64 " trims gave back %s; %zu reservations\n",
           left_count, self->trim_count, text_size(self->trimmed_bytes).text, emptied->region_count);
    printf("  no live runs overlapped; is_zero held for %" PRIu64 " runs (%s read); books compared %" PRIu64 " times\n",
           self->zero_runs, text_size(self->zero_bytes).text, self->check_count);
}

/* ---- One trace ---- */

static size_t read_file(void *source_context, char *bytes, size_t room_bytes, int *is_error_out)
{
    replay *self = source_context;
    size_t used = fread(bytes, 1, room_bytes, self->file);
    self->read_bytes += used;
    *is_error_out = ferror(self->file) != 0;
    return used;
}

/* The arena as the program left it, and the last points of the timeline: the most since the point before, and what is
 * left. */
static bool draw_end(replay *self)
{
    const replay_options *options = self->options;
    if (!is_drawing(self)) {
        return true;
    }
    if (!measure_point(self)) {
        return false;
    }
    (void)timeline_note(&self->line, self->request_count, self->in_use_bytes);
    return measure_point(self) &&
           (options->svg_path == NULL || picture_draw(&self->map, self->arena, FALLOW_MAP_SVG, 0)) &&
           (options->html_path == NULL || picture_draw(&self->page, self->arena, FALLOW_MAP_HTML, 0));
}

#define TITLE_HEIGHT 44

static void write_svg(const replay *self, FILE *out)
{
    char title[256];
    svg_begin(out, PICTURE_WIDTH, TITLE_HEIGHT + TIMELINE_HEIGHT + picture_height(&self->map), "");
    snprintf(title, sizeof title, "fallow replay %s", self->path);
    svg_text(out, 24, 32, "title", title);
    timeline_draw(&self->line, out, TITLE_HEIGHT);
    picture_place(&self->map, out, TITLE_HEIGHT + TIMELINE_HEIGHT);
    svg_end(out);
}

/* The page of the arena, with the timeline put in at its beginning. */
static void write_html(const replay *self, FILE *out)
{
    static const char beginning[] = "<main>\n";
    const char *rest = strstr(self->page.text, beginning) + strlen(beginning);
    fwrite(self->page.text, 1, (size_t)(rest - self->page.text), out);
    svg_begin(out, PICTURE_WIDTH, TIMELINE_HEIGHT, "");
    timeline_draw(&self->line, out, 0);
    svg_end(out);
    fputs(rest, out);
}

static bool write_picture(const replay *self, const char *path, void (*write)(const replay *self, FILE *out))
{
    FILE *file = path != NULL ? picture_open(path) : NULL;
    if (file == NULL) {
        return path == NULL;
    }
    write(self, file);
    return picture_close(file, path);
}

static bool replay_file(replay *self)
{
    fallow_arena_stats stats;
    fallow_status status = fallow_arena_create(&self->options->arena, &self->arena);
    if (status != FALLOW_OK) {
        fail("creating the arena", status);
        return false;
    }
    fallow_arena_read_stats(self->arena, &stats);
    self->arena_page_bytes = stats.page_bytes;
    printf("%s: on an arena of %s, pages of %s, mode %s\n", self->path, text_size(stats.usable_bytes).text,
           text_size(stats.page_bytes).text, text_purge(stats.purge));
    trace_begin(&self->reader, read_file, self);
    progress_begin(&self->bar);
    bool is_fine = (!is_drawing(self) || measure_point(self)) && replay_requests(self) && check_arena(self) &&
                   measure_peak(self) && take_snapshot(self, &self->end) && draw_end(self) && empty_arena(self);
    progress_end(&self->bar);
    if (is_fine) {
        report(self);
    }
    fallow_arena_destroy(self->arena);
    live_destroy(&self->live);
    is_fine = is_fine && write_picture(self, self->options->svg_path, write_svg) &&
              write_picture(self, self->options->html_path, write_html);
    picture_free(&self->map);
    picture_free(&self->page);
    return is_fine;
}

/* 0: not known, as of a pipe. */
static uint64_t size_of(FILE *file)
{
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : 0;
    rewind(file);
    return size > 0 ? (uint64_t)size : 0;
}

static bool replay_path(const char *path, const replay_options *options)
{
    fallow_system system;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fflush(stdout);
        fprintf(stderr, "fallow: %s: %s\n", path, strerror(errno));
        return false;
    }
    replay *self = calloc(1, sizeof *self);
    bool is_fine = false;
    if (self == NULL) {
        fprintf(stderr, "fallow: no memory for the replay's own books\n");
    } else {
        fallow_system_info(&system);
        self->path = path;
        self->options = options;
        self->os_page_bytes = system.page_bytes;
        self->touch_limit_bytes = system.memory_bytes == 0 ? UINT64_MAX : system.memory_bytes / 2;
        self->file = file;
        self->file_bytes = size_of(file);
        is_fine = replay_file(self);
    }
    free(self);
    fclose(file);
    return is_fine;
}

/* ---- The command line ---- */

static bool parse_count(const char *text, uint64_t *count_out)
{
    size_t count;
    if (!parse_size(text, &count) || count == 0) {
        return false;
    }
    *count_out = count;
    return true;
}

/* An option that needs a value; false when the value makes no sense, or the option none. */
static bool set_option(replay_options *options, const char *name, const char *value)
{
    if (strcmp(name, "--reserve") == 0) {
        return parse_size(value, &options->arena.reserve_bytes);
    }
    if (strcmp(name, "--page") == 0) {
        return parse_size(value, &options->arena.page_bytes);
    }
    if (strcmp(name, "--purge") == 0) {
        return parse_purge(value, &options->arena.purge);
    }
    if (strcmp(name, "--trim-every") == 0) {
        return parse_count(value, &options->trim_every);
    }
    if (strcmp(name, "--check-every") == 0) {
        return parse_count(value, &options->check_every);
    }
    if (strcmp(name, "--svg") == 0) {
        options->svg_path = value;
        return true;
    }
    if (strcmp(name, "--html") == 0) {
        options->html_path = value;
        return true;
    }
    return false;
}

int replay_main(int argument_count, char **arguments)
{
    /* without thread caches every run lies at the lowest address, and the figures are the same each time */
    replay_options options = {
        .arena = {.name = "replay", .thread_cache_bytes = FALLOW_CACHE_NONE},
        .check_every = CHECK_EVERY_DEFAULT,
    };
    int first = 1;
    while (first < argument_count && strncmp(arguments[first], "--", 2) == 0) {
        if (strcmp(arguments[first], "--touch") == 0) {
            options.is_touching = true;
            first++;
        } else if (first + 1 < argument_count && set_option(&options, arguments[first], arguments[first + 1])) {
            first += 2;
        } else {
            return bad_usage("no such option of replay, or a value that makes no sense", arguments[first]);
        }
    }
    if (first == argument_count) {
        return bad_usage("replay needs a trace", NULL);
    }
    if (first + 1 < argument_count && (options.svg_path != NULL || options.html_path != NULL)) {
        return bad_usage("a picture is of one trace", NULL);
    }
    int result = TOOL_OK;
    for (int i = first; i < argument_count; i++) {
        if (!replay_path(arguments[i], &options)) {
            result = TOOL_FAILED;
        }
    }
    return result;
}
