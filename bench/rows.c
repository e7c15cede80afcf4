/* The list of rows, made once by loops: a row is a point of a small grid of kinds, sizes, depths and so on.
 *
 * The targets are what fallow is meant to reach, as ratios to the best peer measured in the same session. */
#include "rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

static bench_row rows[BENCH_ROWS_MAX];
static size_t row_count;

static const char *const pair_ns = "ns per alloc+free";

/* ---- Words ---- */

__attribute__((format(printf, 3, 4))) static void put(char *text, size_t room_bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, room_bytes, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= room_bytes) {
        fprintf(stderr, "fallow bench: a row's name or title is too long: %s\n", text);
        abort();
    }
}

/* 8K, 2M, 64T */
static const char *size_word(uint64_t bytes)
{
    static char words[4][16];
    static unsigned next;
    static const char letters[] = "KMGT";
    size_t power = 0;
    bytes >>= 10;
    while (bytes >= 1024 && bytes % 1024 == 0 && power < 3) {
        bytes >>= 10;
        power++;
    }
    char *word = words[next++ % COUNT_OF(words)];
    snprintf(word, sizeof words[0], "%u%c", (unsigned)bytes, letters[power]);
    return word;
}

/* 10k, 1M */
static const char *count_word(uint32_t count)
{
    static char words[4][16];
    static unsigned next;
    char *word = words[next++ % COUNT_OF(words)];
    if (count >= 1000000 && count % 1000000 == 0) {
        snprintf(word, sizeof words[0], "%uM", count / 1000000);
    } else if (count >= 10000 && count % 1000 == 0) {
        snprintf(word, sizeof words[0], "%uk", count / 1000);
    } else {
        snprintf(word, sizeof words[0], "%u", count);
    }
    return word;
}

/* ---- Rows ---- */

static bench_row *add(const char *group, row_kind kind)
{
    if (row_count == BENCH_ROWS_MAX) {
        fprintf(stderr, "fallow bench: more than %d rows\n", BENCH_ROWS_MAX);
        abort();
    }
    bench_row *added = &rows[row_count++];
    *added = (bench_row){.group = group, .unit = pair_ns, .kind = kind, .thread_count = 1, .repeat_count = 1};
    return added;
}

static void add_hot(size_t size_bytes, bool is_touched)
{
    bench_row *added = add(is_touched ? "hot pair, touched" : "hot pair, untouched", ROW_HOT);
    put(added->name, sizeof added->name, "hot-%s%s", size_word(size_bytes), is_touched ? "-touched" : "");
    put(added->title, sizeof added->title, "%s", size_word(size_bytes));
    added->size_bytes = size_bytes;
    added->is_touched = is_touched;
    if (is_touched) {
        added->ratio_max = 1.05;
        added->is_quick = size_bytes == 8 * KIB || size_bytes == 1 * MIB;
    } else {
        added->ratio_max = size_bytes <= 256 * KIB ? 0.9 : 0.25;
        added->peers = size_bytes <= 256 * KIB ? PEERS_ALL : PEERS_PAGE_ALIGNED;
        added->is_quick = size_bytes != 16 * KIB && size_bytes != 128 * KIB && size_bytes != 8 * MIB;
    }
}

static void add_burst16(size_t size_bytes)
{
    bench_row *added = add("bursts of 16, untouched", ROW_BURST);
    put(added->name, sizeof added->name, "burst-16x%s", size_word(size_bytes));
    put(added->title, sizeof added->title, "16 x %s", size_word(size_bytes));
    added->size_bytes = size_bytes;
    added->count = 16;
    added->is_quick = size_bytes == 8 * KIB || size_bytes == 64 * KIB || size_bytes >= 512 * KIB;
    added->ratio_max = 1.0;
    added->figure_max = 12;
}

static void add_burst(uint32_t count, size_t size_bytes, bool is_fifo)
{
    bool is_small = size_bytes == 8 * KIB;
    const char *group = is_small  ? is_fifo ? "bursts of 8K, freed in the same order" : "bursts of 8K, freed in reverse"
                        : is_fifo ? "bursts of 64K, freed in the same order"
                                  : "bursts of 64K, freed in reverse";
    bench_row *added = add(group, ROW_BURST);
    put(added->name, sizeof added->name, "burst-%ux%s-%s", count, size_word(size_bytes), is_fifo ? "fifo" : "lifo");
    put(added->title, sizeof added->title, "%u x %s, %s", count, size_word(size_bytes),
        is_fifo ? "first in first out" : "last in first out");
    added->size_bytes = size_bytes;
    added->count = count;
    added->is_fifo = is_fifo;
    added->is_quick = is_small && (count == 1000 || (!is_fifo && (count == 512 || count == 4000 || count == 64000)));
    if (is_small) {
        added->ratio_max = count == 512 ? 0.8 : count == 1000 ? 0.7 : count == 4000 ? 0.6 : count == 64000 ? 0.3 : 0;
    }
}

static bench_row *add_churn(uint32_t pages_max, uint32_t count, uint32_t thread_count, bool is_touched,
                            double ratio_max)
{
    bench_row *added = add(thread_count > 1 ? "two threads"
                           : is_touched     ? "churn, touched"
                                            : "churn, untouched",
                           ROW_CHURN);
    put(added->name, sizeof added->name, "churn-1-%ux%s%s%s", pages_max, count_word(count),
        thread_count > 1 ? "-2t" : "", is_touched ? "-touched" : "");
    put(added->title, sizeof added->title, "%s live runs of 1-%u pages%s", count_word(count), pages_max,
        thread_count > 1 ? ", half each" : "");
    added->pages_max = pages_max;
    added->count = count;
    added->thread_count = thread_count;
    added->is_touched = is_touched;
    added->is_quick = !is_touched && count <= 100000;
    added->rounds_max = count >= 1000000 || (is_touched && (pages_max > 4 || count > 10000)) ? 5 : 0;
    added->ratio_max = ratio_max;
    return added;
}

static void add_threads(void)
{
    bench_row *added = add("two threads", ROW_HOT);
    put(added->name, sizeof added->name, "hot-64K-2t");
    put(added->title, sizeof added->title, "hot pair 64K in each");
    added->size_bytes = 64 * KIB;
    added->thread_count = 2;
    added = add("two threads", ROW_BURST);
    put(added->name, sizeof added->name, "burst-1000x8K-2t");
    put(added->title, sizeof added->title, "1000 x 8K, last in first out, in each");
    added->size_bytes = 8 * KIB;
    added->count = 1000;
    added->thread_count = 2;
    add_churn(64, 10000, 2, false, 0.25);
    add_churn(4, 10000, 2, false, 0.9);
    add_churn(4, 100000, 2, false, 0);
    add_churn(4, 1000000, 2, false, 0);
    added = add("two threads", ROW_HANDOFF);
    put(added->name, sizeof added->name, "handoff");
    put(added->title, sizeof added->title, "one allocates 8K-64K, another frees");
    added->pages_max = 8;
    added->thread_count = 2;
    added->is_quick = true;
    added->ratio_max = 0.6;
}

static void add_replay(const char *trace_name, bool is_touched)
{
    bench_row *added = add("replay of recorded programs", ROW_REPLAY);
    put(added->name, sizeof added->name, "replay-%s%s", trace_name, is_touched ? "-touched" : "");
    put(added->title, sizeof added->title, "%s%s", trace_name, is_touched ? ", touched" : "");
    added->trace_name = trace_name;
    added->is_touched = is_touched;
    added->is_quick = !is_touched;
    added->ratio_max = is_touched ? 1.05 : 0;
}

static bench_row *add_other(const char *group, const char *name, const char *title, const char *unit, row_kind kind)
{
    bench_row *added = add(group, kind);
    put(added->name, sizeof added->name, "%s", name);
    put(added->title, sizeof added->title, "%s", title);
    added->unit = unit;
    return added;
}

static void add_memory(void)
{
    static const struct {
        const char *name;
        const char *title;
        row_kind kind;
        bool is_touched;
        double figure_max;
    } ratios[] = {
        {"rss-churn-touched", "touched: RSS / live", ROW_CHURN_RSS, true, 1.05},
        {"extent-churn-touched", "touched: accessible / live", ROW_CHURN_EXTENT, true, 1.06},
        {"extent-churn", "untouched: accessible / live", ROW_CHURN_EXTENT, false, 1.06},
    };
    for (size_t i = 0; i < COUNT_OF(ratios); i++) {
        bench_row *added = add_other("memory of a churn of 10k live runs of 1-64 pages", ratios[i].name,
                                     ratios[i].title, "bytes per live byte", ratios[i].kind);
        added->peers = PEERS_ALLOCATORS;
        added->count = 10000;
        added->pages_max = 64;
        added->is_touched = ratios[i].is_touched;
        added->is_quick = !ratios[i].is_touched;
        added->rounds_max = ratios[i].is_touched ? 2 : 3;
        added->figure_max = ratios[i].figure_max;
    }
    bench_row *added = add_other("memory of 1M live runs of 1-4 pages that nobody has written to", "rss-1M-live", "RSS",
                                 "MB", ROW_LIVE_RSS);
    added->peers = PEERS_ALLOCATORS;
    added->count = 1000000;
    added->pages_max = 4;
    added->figure_max = 4;
    added->rounds_max = 2;
}

static void add_purges(void)
{
    const char *group = "giving 1 GiB back, written to and freed as runs of 64K";
    bench_row *added = add_other(group, "purge-1G", "the release call", "ms", ROW_PURGE);
    added->peers = PEERS_NONE; /* what it costs depends on what was given back before */
    added->rounds_max = 5;
    added = add_other(group, "free-purge-1G", "freeing and the release call", "ms", ROW_FREE_PURGE);
    added->rounds_max = 5;
    added = add_other(group, "purge-1G-left", "RSS left afterwards", "MB", ROW_PURGE_LEFT);
    added->peers = PEERS_ALLOCATORS;
    added->rounds_max = 3;
}

static void add_starts(void)
{
    static const struct {
        const char *name;
        const char *title;
        const char *unit;
        row_kind kind;
        uint32_t repeat_count;
        uint32_t rounds_max;
    } starts[] = {
        {"start-rss", "RSS with one run", "KB", ROW_START_RSS, 1, 3},
        {"first-run", "the first run of 8K", "us", ROW_FIRST_RUN, 5, 0},
        {"start", "from exec to the first run", "us", ROW_START, 5, 0},
    };
    for (size_t i = 0; i < COUNT_OF(starts); i++) {
        bench_row *added = add_other("start", starts[i].name, starts[i].title, starts[i].unit, starts[i].kind);
        added->peers = PEERS_ALLOCATORS;
        added->repeat_count = starts[i].repeat_count;
        added->rounds_max = starts[i].rounds_max;
        added->is_quick = true;
    }
}

static void add_arenas(void)
{
    static const uint64_t reserves[] = {GIB, 1024 * GIB, 64 * 1024 * GIB};
    for (int is_wide = 0; is_wide < 2; is_wide++) {
        const char *base_name = is_wide ? "wide-1G" : "arena-1G";
        for (size_t i = 0; i < COUNT_OF(reserves); i++) {
            bench_row *added = add(is_wide ? "arenas half full of 2,000 random pieces, addresses only"
                                           : "arenas of all sizes, the same live set of 512 MiB",
                                   is_wide ? ROW_WIDE : ROW_SIZED);
            put(added->name, sizeof added->name, "%s-%s", is_wide ? "wide" : "arena", size_word(reserves[i]));
            put(added->title, sizeof added->title, "%s", size_word(reserves[i]));
            added->reserve_bytes = reserves[i];
            added->count = 2000;
            added->pages_max = 64;
            added->is_quick = true;
            if (i > 0) {
                added->peers = PEERS_SELF;
                added->base_name = base_name;
                added->ratio_max = is_wide ? 0 : 1.5;
            }
        }
    }
}

static void add_all(void)
{
    static const uint32_t depths[] = {32, 128, 512, 1000, 4000, 16000, 64000};
    static const char *const traces[] = {"cc1plus", "python3", "sqlite3"};
    for (int is_touched = 0; is_touched < 2; is_touched++) {
        for (size_t size_bytes = 8 * KIB; size_bytes <= 16 * MIB; size_bytes *= 2) {
            add_hot(size_bytes, is_touched);
        }
    }
    for (size_t size_bytes = 8 * KIB; size_bytes <= 4 * MIB; size_bytes *= 2) {
        add_burst16(size_bytes);
    }
    for (size_t size_bytes = 8 * KIB; size_bytes <= 64 * KIB; size_bytes *= 8) {
        for (int is_fifo = 0; is_fifo < 2; is_fifo++) {
            for (size_t i = 0; i < COUNT_OF(depths); i++) {
                add_burst(depths[i], size_bytes, is_fifo);
            }
        }
    }
    add_churn(64, 10000, 1, false, 0.4);
    add_churn(4, 10000, 1, false, 0.9);
    add_churn(4, 100000, 1, false, 0.8);
    add_churn(4, 1000000, 1, false, 0.6);
    add_churn(64, 10000, 1, true, 1.05);
    add_churn(4, 10000, 1, true, 1.05);
    add_churn(4, 100000, 1, true, 1.05);
    add_threads();
    for (size_t i = 0; i < COUNT_OF(traces); i++) {
        add_replay(traces[i], false);
        add_replay(traces[i], true);
    }
    add_memory();
    add_purges();
    add_starts();
    add_arenas();
}

const bench_row *bench_rows(size_t *count_out)
{
    if (row_count == 0) {
        add_all();
    }
    *count_out = row_count;
    return rows;
}

const bench_row *bench_row_named(const char *name)
{
    size_t count;
    const bench_row *all = bench_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(all[i].name, name) == 0) {
            return &all[i];
        }
    }
    return NULL;
}
