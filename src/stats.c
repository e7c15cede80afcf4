/* The figures of arenas, as text, JSON and for Prometheus, all three made from one table.
 *
 * A field that is added to fallow_arena_stats gets one row in `fields`; the test stats_fields compares the two. */
#include "stats.h"

#include <string.h>

#include "arenas.h"
#include "os.h"
#include "status.h"

typedef enum field_kind {
    BYTES,    /* size_t */
    COUNT,    /* size_t */
    COUNTER,  /* uint64_t; it only grows */
    TIME,     /* uint64_t, nanoseconds; it only grows */
    PURGE,    /* fallow_purge, */
    SCAVENGE, /* fallow_scavenge, */
    RETAINED, /* fallow_retained, */
    STATUS    /* fallow_status: words, of which one holds */
} field_kind;

typedef struct field {
    const char *name;   /* as in fallow_arena_stats, and in JSON */
    const char *metric; /* for Prometheus: with the unit and ending that its rules ask for */
    field_kind kind;
    size_t offset;
    const char *meaning; /* one sentence */
} field;

#define FIELD(name, metric, kind, meaning)                                               \
    {                                                                                    \
#name, "fallow_arena_" metric, kind, offsetof(fallow_arena_stats, name), meaning \
    }

/* A figure inside a fallow_given_back. */
#define GIVEN(name, figure, metric, meaning)                                                                   \
    {                                                                                                          \
#name "_" #figure, "fallow_arena_" metric, COUNTER, offsetof(fallow_arena_stats, name.figure), meaning \
    }

static const field fields[] = {
    FIELD(reserved_bytes, "reserved_bytes", BYTES, "Addresses of all its reservations, bookkeeping included."),
    FIELD(committed_bytes, "committed_bytes", BYTES, "What is readable and writable: backed plus released_zero."),
    FIELD(backed_bytes, "backed_bytes", BYTES,
          "What may hold memory: in_use plus cached plus retained plus released_lazy plus metadata."),
    FIELD(in_use_bytes, "in_use_bytes", BYTES, "Committed pages of live runs."),
    FIELD(cached_bytes, "cached_bytes", BYTES, "Freed runs that threads keep for their next requests."),
    FIELD(retained_bytes, "retained_bytes", BYTES, "Free pages that still hold memory."),
    FIELD(released_lazy_bytes, "released_lazy_bytes", BYTES,
          "Free pages purged with FREE, whose memory the system may take at any time."),
    FIELD(released_zero_bytes, "released_zero_bytes", BYTES,
          "Free pages without memory that are still accessible: purged, or committed ahead."),
    FIELD(metadata_bytes, "metadata_bytes", BYTES, "Bookkeeping that is committed."),
    FIELD(uncommitted_bytes, "uncommitted_bytes", BYTES, "Pages of live runs that are addresses only."),
    FIELD(usable_bytes, "usable_bytes", BYTES, "What runs could use in all."),
    FIELD(peak_in_use_bytes, "peak_in_use_bytes", BYTES, "The highest in_use so far."),
    FIELD(extent_bytes, "extent_bytes", BYTES,
          "From the lowest to the end of the highest page in use, summed over the reservations."),
    FIELD(page_bytes, "page_bytes", BYTES, "The unit of allocation."),
    FIELD(run_count, "runs", COUNT, "Live runs."),
    FIELD(region_count, "reservations", COUNT, "Reservations."),
    FIELD(commit_calls, "commit_calls_total", COUNTER, "How often the system was asked to commit."),
    FIELD(purge_calls, "purge_calls_total", COUNTER, "How often the system was asked to purge or decommit."),
    FIELD(purge, "purge_mode", PURGE,
          "How free memory is given back, as the label says: at once, lazily, or with its commit charge; always 1."),
    FIELD(scavenge, "scavenge_mode", SCAVENGE, "Who gives free memory back, as the label says; always 1."),
    FIELD(limit_bytes, "limit_bytes", BYTES, "The most that may be backed; 0 is no limit."),
    FIELD(map_count, "mappings", COUNT, "Mappings that the arena is made of, about."),
    FIELD(avoided_decommits, "avoided_decommits_total", COUNTER,
          "Decommits done as DONTNEED, to stay away from the most mappings a process may have."),
    FIELD(pressure_trims, "pressure_trims_total", COUNTER,
          "How often it was trimmed because the system had said that memory is short."),
    FIELD(os_ns, "os_seconds_total", TIME, "Time spent in commit and purge calls."),
    GIVEN(by_dontneed, calls, "dontneed_calls_total", "Calls that gave memory back at once."),
    GIVEN(by_dontneed, bytes, "dontneed_bytes_total", "What they gave back."),
    GIVEN(by_free, calls, "free_calls_total", "Calls that gave memory back lazily."),
    GIVEN(by_free, bytes, "free_bytes_total", "What they gave back."),
    GIVEN(by_decommit, calls, "decommit_calls_total", "Calls that gave memory and commit charge back."),
    GIVEN(by_decommit, bytes, "decommit_bytes_total", "What they gave back."),
    FIELD(large_bytes, "large_page_bytes", BYTES, "Of the reservations, what is in large pages."),
    FIELD(large_pages_status, "large_pages_status", STATUS,
          "Why LARGE_PAGES was not followed, as the label says; FALLOW_OK if it was, or not given; always 1."),
    FIELD(why_retained, "why_retained", RETAINED, "What retained memory waits for, as the label says; always 1."),
};

#define NS_PER_SECOND UINT64_C(1000000000)

static inline bool is_counter(field_kind kind)
{
    return kind == COUNTER || kind == TIME;
}

enum {
    FIELDS = sizeof fields / sizeof fields[0]
};

static uint64_t number_of(const field *f, const fallow_arena_stats *stats)
{
    const char *place = (const char *)stats + f->offset;
    uint64_t counter;
    size_t size;
    if (is_counter(f->kind)) {
        memcpy(&counter, place, sizeof counter);
        return counter;
    }
    memcpy(&size, place, sizeof size);
    return size;
}

/* The word for a field that is one; NULL for one that is a number. */
static const char *word_of(const field *f, const fallow_arena_stats *stats)
{
    static const char *const purges[] = {"default", "dontneed", "free", "decommit"};
    static const char *const scavenges[] = {"default", "off", "assist", "thread"};
    static const char *const reasons[] = {"nothing", "goal", "off", "delay", "pace", "dense", "due", "large_pages"};
    switch (f->kind) {
    case PURGE: return purges[stats->purge];
    case SCAVENGE: return scavenges[stats->scavenge];
    case RETAINED: return reasons[stats->why_retained];
    case STATUS: return fallow_status_name(stats->large_pages_status);
    default: return NULL;
    }
}

/* --- which arenas -------------------------------------------------------------------------------------------- */

static bool read_view(uint64_t after_id, const fallow_arena *wanted, fallow__named_stats *named_out)
{
    fallow__arena_view view;
    if (!fallow__arenas_view(after_id, wanted, &view)) {
        return false;
    }
    named_out->id = view.id;
    memcpy(named_out->name, view.name, sizeof named_out->name);
    fallow_arena_read_stats(view.arena, &named_out->stats);
    fallow__arenas_unview(&view);
    return true;
}

bool fallow__stats_next(fallow__named_stats *named_inout)
{
    return read_view(named_inout->id, NULL, named_inout);
}

static void stats_of(fallow_arena *arena, fallow__named_stats *named_out)
{
    *named_out = (fallow__named_stats){0};
    if (!read_view(0, arena, named_out)) { /* not listed: without a name and number */
        fallow_arena_read_stats(arena, &named_out->stats);
    }
}

/* --- the formats --------------------------------------------------------------------------------------------- */

void fallow__stats_write_text(fallow__writer *writer, const fallow__named_stats *named)
{
    fallow__write_text(writer, "arena ");
    fallow__write_foreign(writer, named->name[0] != '\0' ? named->name : "without a name");
    fallow__write_text(writer, " (");
    fallow__write_number(writer, named->id);
    fallow__write_text(writer, ")\n");
    for (size_t i = 0; i < FIELDS; i++) {
        const char *word = word_of(&fields[i], &named->stats);
        uint64_t number = word == NULL ? number_of(&fields[i], &named->stats) : 0;
        fallow__write_text(writer, "  ");
        fallow__write_text(writer, fields[i].name);
        fallow__write_before_column(writer, 38,
                                    word != NULL              ? word
                                    : fields[i].kind == BYTES ? fallow__size_words(number).text
                                                              : fallow__number_words(number).text);
        fallow__write_text(writer, "   ");
        fallow__write_text(writer, fields[i].meaning);
        fallow__write_text(writer, "\n");
    }
}

void fallow__stats_write_json(fallow__writer *writer, const fallow__named_stats *named)
{
    fallow__write_text(writer, "{\"name\":");
    fallow__write_json(writer, named->name);
    fallow__write_text(writer, ",\"id\":");
    fallow__write_number(writer, named->id);
    for (size_t i = 0; i < FIELDS; i++) {
        fallow__write_text(writer, ",");
        fallow__write_json(writer, fields[i].name);
        fallow__write_text(writer, ":");
        const char *word = word_of(&fields[i], &named->stats);
        if (word != NULL) {
            fallow__write_json(writer, word);
        } else {
            fallow__write_number(writer, number_of(&fields[i], &named->stats));
        }
    }
    fallow__write_text(writer, "}");
}

static void write_sample(fallow__writer *writer, const field *f, const fallow__named_stats *named)
{
    fallow__write_text(writer, f->metric);
    fallow__write_text(writer, "{arena=");
    fallow__write_label(writer, named->name);
    fallow__write_text(writer, ",id=\"");
    fallow__write_number(writer, named->id);
    const char *word = word_of(f, &named->stats);
    if (word != NULL) {
        fallow__write_text(writer, "\",mode=\"");
        fallow__write_text(writer, word);
    }
    fallow__write_text(writer, "\"} ");
    uint64_t number = word != NULL ? 1 : number_of(f, &named->stats);
    if (f->kind == TIME) { /* Prometheus counts seconds */
        char fraction[] = ".000000000";
        for (uint64_t rest = number % NS_PER_SECOND, digit = sizeof fraction - 2; digit > 0; rest /= 10) {
            fraction[digit--] = (char)('0' + rest % 10);
        }
        fallow__write_number(writer, number / NS_PER_SECOND);
        fallow__write_text(writer, fraction);
    } else {
        fallow__write_number(writer, number);
    }
    fallow__write_text(writer, "\n");
}

/* Source: Prometheus, "Exposition formats": the samples of one metric stand together, behind its HELP and TYPE */
static void write_prometheus(fallow__writer *writer, fallow_arena *arena)
{
    fallow__named_stats one;
    if (arena != NULL) {
        stats_of(arena, &one);
    }
    for (size_t i = 0; i < FIELDS; i++) {
        fallow__write_text(writer, "# HELP ");
        fallow__write_text(writer, fields[i].metric);
        fallow__write_text(writer, " ");
        fallow__write_text(writer, fields[i].meaning);
        fallow__write_text(writer, "\n# TYPE ");
        fallow__write_text(writer, fields[i].metric);
        fallow__write_text(writer, is_counter(fields[i].kind) ? " counter\n" : " gauge\n");
        if (arena != NULL) {
            write_sample(writer, &fields[i], &one);
            continue;
        }
        fallow__named_stats next = {.id = 0};
        while (fallow__stats_next(&next)) {
            write_sample(writer, &fields[i], &next);
        }
    }
}

static void write_all_text(fallow__writer *writer)
{
    fallow__named_stats named = {.id = 0};
    while (fallow__stats_next(&named)) {
        fallow__stats_write_text(writer, &named);
    }
}

static void write_all_json(fallow__writer *writer)
{
    fallow__named_stats named = {.id = 0};
    fallow__write_text(writer, "[");
    for (bool is_first = true; fallow__stats_next(&named); is_first = false) {
        fallow__write_text(writer, is_first ? "" : ",\n");
        fallow__stats_write_json(writer, &named);
    }
    fallow__write_text(writer, "]\n");
}

static void write_one(fallow__writer *writer, fallow_arena *arena, bool is_json)
{
    fallow__named_stats named;
    stats_of(arena, &named);
    if (is_json) {
        fallow__stats_write_json(writer, &named);
        fallow__write_text(writer, "\n");
    } else {
        fallow__stats_write_text(writer, &named);
    }
}

fallow_status fallow_stats_write(fallow_arena *arena, fallow_stats_format format, fallow_writer write, void *context)
{
    static const char operation[] = "fallow_stats_write";
    FALLOW_REQUIRE(write != NULL, operation, arena, "write is NULL");
    fallow__writer writer;
    fallow__write_begin(&writer, write, context);
    switch (format) {
    case FALLOW_STATS_TEXT:
    case FALLOW_STATS_JSON:
        if (arena != NULL) {
            write_one(&writer, arena, format == FALLOW_STATS_JSON);
        } else if (format == FALLOW_STATS_JSON) {
            write_all_json(&writer);
        } else {
            write_all_text(&writer);
        }
        break;
    case FALLOW_STATS_PROMETHEUS: write_prometheus(&writer, arena); break;
    default: return fallow__fail(FALLOW_ERR_INVALID, operation, arena, 0, NULL);
    }
    const fallow__os_error error = {.limit_name = "writer"};
    return fallow__write_end(&writer) ? FALLOW_OK : fallow__fail(FALLOW_ERR_LIMIT, operation, arena, 0, &error);
}
