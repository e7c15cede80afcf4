/* Memory that goes back: what a program sees of it, on this machine, from the outside.
 *
 *     cmake --preset release && cmake --build --preset release --target fallow_giving_back
 *     build/release/fallow_giving_back           all of it, about a minute
 *     build/release/fallow_giving_back NAME...   these: idle, trim, pieces, latency, lazy, maps, limit, churn
 *     FALLOW_SHOW_SECONDS=60 ...                 how long the limit is tried; 5 is usual
 *
 * Figures are the system's (RSS), not the library's own. A row that cannot be had here is skipped, and says why. Exits
 * 1 if a row does not keep what it says. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fallow.h"
#include "os.h"
#include "threads.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define MS UINT64_C(1000000)

enum {
    RUN_BYTES = 64 << 10,
    LATENCIES = 1 << 18,
    ISOLATED = 100000,
    CHURN_RUNS = 2000,
    CHURN_ROUNDS = 9,
    LIMIT_THREADS = 8
};

static size_t total_bytes = 1024 * MIB; /* a quarter of it on 32 bits and under an emulator */
static void **runs;
static bool is_bad;

static void require(bool condition, const char *what)
{
    if (!condition) {
        fallow_failure failure = {0};
        bool is_known = fallow_last_failure(&failure);
        fprintf(stderr, "fallow_giving_back: %s: %s\n", what,
                is_known ? fallow_status_name(failure.status) : "unexpected");
        exit(1);
    }
}

static size_t resident(void)
{
    fallow_process process;
    require(fallow_process_info(&process) == FALLOW_OK, "process figures");
    return (size_t)process.resident_bytes;
}

/* Memory above what the program had before, in MiB. */
static double above(size_t before)
{
    size_t now = resident();
    return now > before ? (double)(now - before) / (double)MIB : 0;
}

static double ms_since(uint64_t start_ns)
{
    return (double)(fallow__os_clock_ns() - start_ns) / 1e6;
}

static void row(bool is_kept, const char *name, const char *what)
{
    printf("  %-4s %-34s %s\n", is_kept ? "ok" : "BAD", name, what);
    is_bad |= !is_kept;
}

static fallow_arena *arena_with(fallow_arena_options options)
{
    fallow_arena *arena = NULL;
    options.reserve_bytes = options.reserve_bytes != 0 ? options.reserve_bytes : 2 * total_bytes;
    options.thread_cache_bytes = options.thread_cache_bytes != 0 ? options.thread_cache_bytes : FALLOW_CACHE_NONE;
    require(fallow_arena_create(&options, &arena) == FALLOW_OK, "create");
    return arena;
}

static void sleep_a_moment(void)
{
    static fallow__os_lock lock;
    static fallow__os_event event;
    static bool is_made;
    if (!is_made) {
        is_made = true;
        fallow__os_lock_init(&lock);
        fallow__os_event_init(&event);
    }
    fallow__os_lock_acquire(&lock);
    fallow__os_event_wait(&event, &lock, 10 * MS);
    fallow__os_lock_release(&lock);
}

static void fill_and_free(fallow_arena *arena)
{
    size_t count = total_bytes / RUN_BYTES;
    for (size_t i = 0; i < count; i++) {
        require(fallow_arena_alloc(arena, RUN_BYTES, &runs[i]) == FALLOW_OK, "alloc");
        memset(runs[i], 1, RUN_BYTES);
    }
    for (size_t i = 0; i < count; i++) {
        fallow_arena_free(arena, runs[i], RUN_BYTES);
    }
}

/* --- idle, step, trim --------------------------------------------------------------------------------------- */

static void show_idle(void)
{
    char text[200];
    size_t before = resident();
    fallow_arena *arena = arena_with((fallow_arena_options){.scavenge = FALLOW_SCAVENGE_THREAD});
    fill_and_free(arena);
    double full = above(before);
    uint64_t start_ns = fallow__os_clock_ns();
    while (above(before) > 16 && ms_since(start_ns) < 60000) {
        sleep_a_moment();
    }
    double ms = ms_since(start_ns);
    snprintf(text, sizeof text, "RSS %.0f MiB, idle: under 16 MiB after %.0f ms", full, ms);
    row(ms < 2000, "thread: idle process, within 2 s", text);
    fallow_arena_destroy(arena);

    arena = arena_with((fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF});
    fill_and_free(arena);
    full = above(before);
    start_ns = fallow__os_clock_ns();
    require(fallow_arena_scavenge(arena, UINT64_MAX, NULL) == FALLOW_OK, "scavenge");
    ms = ms_since(start_ns);
    snprintf(text, sizeof text, "RSS %.0f MiB -> %.1f MiB in %.1f ms", full, above(before), ms);
    row(above(before) < 16, "scavenge: the next step", text);

    fallow_arena_destroy(arena);
}

/* --- trim beside the system's own call ---------------------------------------------------------------------- */

/* One call of the system that gives back as much, written to in the same way. */
static double bare_ms(uint32_t flags)
{
    fallow_region region;
    const fallow_region_options options = {.align_bytes = 2 * MIB, .flags = flags};
    require(fallow_region_reserve(total_bytes, &options, &region) == FALLOW_OK, "reserve");
    require(fallow_region_commit(&region, 0, total_bytes) == FALLOW_OK, "commit");
    memset(region.base, 1, total_bytes);
    uint64_t start_ns = fallow__os_clock_ns();
    require(fallow_region_purge(&region, 0, total_bytes, FALLOW_PURGE_DONTNEED) == FALLOW_OK, "purge");
    double ms = ms_since(start_ns);
    require(fallow_region_release(&region) == FALLOW_OK, "release");
    return ms;
}

static double trim_ms(uint32_t flags, bool *is_gone)
{
    size_t before = resident();
    fallow_arena *arena = arena_with((fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF, .flags = flags});
    fill_and_free(arena);
    uint64_t start_ns = fallow__os_clock_ns();
    require(fallow_arena_trim(arena, 0, NULL) == FALLOW_OK, "trim");
    double ms = ms_since(start_ns);
    *is_gone = *is_gone && above(before) < 16;
    fallow_arena_destroy(arena);
    return ms;
}

static int by_double(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof values[0], by_double);
    return values[count / 2];
}

/* What a trim costs is what the system takes to free the memory: on a machine where that is slower than 40 ms for 1 GiB
 * (5 ms in huge pages), so is a trim. So it is measured beside the system's one call. */
static void show_trim(void)
{
    enum {
        ROUNDS = 5
    };
    for (int is_huge = 0; is_huge < 2; is_huge++) {
        char text[200];
        double trim[ROUNDS];
        double bare[ROUNDS];
        double ratio[ROUNDS];
        bool is_gone = true;
        for (int round = 0; round < ROUNDS; round++) {
            bare[round] = bare_ms(is_huge ? FALLOW_REGION_HUGE_PAGES : 0);
            trim[round] = trim_ms(is_huge ? FALLOW_ARENA_HUGE_PAGES : 0, &is_gone);
            ratio[round] = trim[round] / bare[round];
        }
        double ms = median(trim, ROUNDS);
        double least_ms = trim[0];
        snprintf(text, sizeof text, "%zu MiB in %.1f ms, at least %.1f; one bare call %.1f, at least %.1f; ratio %.2f",
                 total_bytes / MIB, ms, least_ms, median(bare, ROUNDS), bare[0], median(ratio, ROUNDS));
        row(is_gone && median(ratio, ROUNDS) < (is_huge ? 2 : 1.25),
            is_huge ? "trim, huge pages, beside a call" : "trim, beside a call of the system", text);
    }
}

/* --- small pieces ------------------------------------------------------------------------------------------- */

enum {
    PIECES = 8192
};

static atomic_bool is_spinning;

/* Microseconds for a piece of 8 KiB, of which every other one is free: by the arena, or one call for each. */
static double piece_us(bool is_arena)
{
    double us = 0;
    if (is_arena) {
        static void *pages[2 * PIECES];
        fallow_arena *arena = arena_with((fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF});
        for (int i = 0; i < 2 * PIECES; i++) {
            require(fallow_arena_alloc(arena, 8 * KIB, &pages[i]) == FALLOW_OK, "alloc");
            memset(pages[i], 1, 8 * KIB);
        }
        for (int i = 0; i < 2 * PIECES; i += 2) {
            fallow_arena_free(arena, pages[i], 8 * KIB);
        }
        uint64_t start_ns = fallow__os_clock_ns();
        require(fallow_arena_trim(arena, 0, NULL) == FALLOW_OK, "trim");
        us = ms_since(start_ns) * 1000 / PIECES;
        fallow_arena_destroy(arena);
    } else {
        fallow_region region;
        require(fallow_region_reserve(2 * PIECES * 8 * KIB, NULL, &region) == FALLOW_OK, "reserve");
        require(fallow_region_commit(&region, 0, region.size_bytes) == FALLOW_OK, "commit");
        memset(region.base, 1, region.size_bytes);
        uint64_t start_ns = fallow__os_clock_ns();
        for (size_t i = 0; i < PIECES; i++) {
            require(fallow_region_purge(&region, 2 * i * 8 * KIB, 8 * KIB, FALLOW_PURGE_DONTNEED) == FALLOW_OK,
                    "purge");
        }
        us = ms_since(start_ns) * 1000 / PIECES;
        require(fallow_region_release(&region) == FALLOW_OK, "release");
    }
    return us;
}

static double piece_us_measured[2];

static void measure_or_spin(void *context, unsigned index)
{
    (void)context;
    if (index == 0) {
        piece_us_measured[0] = piece_us(false);
        piece_us_measured[1] = piece_us(true);
        atomic_store(&is_spinning, false);
    }
    while (atomic_load_explicit(&is_spinning, memory_order_relaxed)) {
    }
}

static void show_pieces(void)
{
    char text[200];
    for (unsigned threads = 1; threads <= 2; threads++) {
        atomic_store(&is_spinning, true);
        threads_run(threads, measure_or_spin, NULL);
        snprintf(text, sizeof text, "%d of 8 KiB: one call for each %.2f us, trim %.2f us, ratio %.2f", PIECES,
                 piece_us_measured[0], piece_us_measured[1], piece_us_measured[1] / piece_us_measured[0]);
        row(piece_us_measured[1] < 1.5 * piece_us_measured[0],
            threads == 1 ? "small pieces, one thread" : "small pieces, beside a running one", text);
    }
}

/* --- latency meanwhile -------------------------------------------------------------------------------------- */

static struct {
    fallow_arena *arena;
    atomic_bool is_over;
    uint32_t *ns;
    size_t count;
} meanwhile;

static void trim_or_measure(void *context, unsigned index)
{
    (void)context;
    if (index == 0) {
        require(fallow_arena_trim(meanwhile.arena, 8 * MIB, NULL) == FALLOW_OK, "trim");
        atomic_store(&meanwhile.is_over, true);
        return;
    }
    while (!atomic_load(&meanwhile.is_over) && meanwhile.count < LATENCIES) {
        void *base;
        uint64_t start_ns = fallow__os_clock_ns();
        require(fallow_arena_alloc(meanwhile.arena, 8 * KIB, &base) == FALLOW_OK, "alloc");
        fallow_arena_free(meanwhile.arena, base, 8 * KIB);
        meanwhile.ns[meanwhile.count++] = (uint32_t)(fallow__os_clock_ns() - start_ns);
    }
}

static int by_value(const void *left, const void *right)
{
    uint32_t one = *(const uint32_t *)left;
    uint32_t other = *(const uint32_t *)right;
    return (one > other) - (one < other);
}

static void show_latency(void)
{
    char text[200];
    meanwhile.arena = arena_with((fallow_arena_options){.scavenge = FALLOW_SCAVENGE_OFF});
    meanwhile.ns = malloc(LATENCIES * sizeof meanwhile.ns[0]);
    meanwhile.count = 0;
    atomic_store(&meanwhile.is_over, false);
    require(meanwhile.ns != NULL, "memory");
    fill_and_free(meanwhile.arena);
    threads_run(2, trim_or_measure, NULL);
    require(meanwhile.count != 0, "nothing was measured");
    qsort(meanwhile.ns, meanwhile.count, sizeof meanwhile.ns[0], by_value);
    uint32_t most = meanwhile.ns[meanwhile.count - 1];
    uint32_t high = meanwhile.ns[(size_t)((double)meanwhile.count * 0.999)];
    snprintf(text, sizeof text, "%zu pairs: median %u ns, 99.9 %% %u ns, most %u ns", meanwhile.count,
             meanwhile.ns[meanwhile.count / 2], high, most);
    row(high < 20000, "alloc+free during a trim, 20 us", text);
    free(meanwhile.ns);
    fallow_arena_destroy(meanwhile.arena);
}

/* --- lazily ------------------------------------------------------------------------------------------------- */

/* Nanoseconds to write each page of what was given back in a mode. */
static double reuse_ns(fallow_purge purge, double *resident_out, double *lazy_out)
{
    size_t before = resident();
    size_t size_bytes = total_bytes / 4;
    void *base;
    fallow_process process;
    fallow_arena *arena = arena_with((fallow_arena_options){.purge = purge, .scavenge = FALLOW_SCAVENGE_OFF});
    require(fallow_arena_alloc(arena, size_bytes, &base) == FALLOW_OK, "alloc");
    memset(base, 1, size_bytes);
    fallow_arena_free(arena, base, size_bytes);
    require(fallow_arena_trim(arena, 0, NULL) == FALLOW_OK, "trim");
    *resident_out = above(before);
    require(fallow_process_info(&process) == FALLOW_OK, "process figures");
    *lazy_out = (double)process.lazy_free_bytes / (double)MIB;
    require(fallow_arena_alloc(arena, size_bytes, &base) == FALLOW_OK, "alloc");
    uint64_t start_ns = fallow__os_clock_ns();
    for (size_t byte = 0; byte < size_bytes; byte += 4 * KIB) {
        ((char *)base)[byte] = 2;
    }
    double ns = (double)(fallow__os_clock_ns() - start_ns) / (double)(size_bytes / (4 * KIB));
    fallow_arena_destroy(arena);
    return ns;
}

static void show_lazy(void)
{
    char text[200];
    fallow_system system;
    double rss;
    double lazy;
    double ignored;
    fallow_system_info(&system);
    if (!system.has_lazy_purge) {
        printf("  skip FREE: this system has no lazy purge\n");
        return;
    }
    double free_ns = reuse_ns(FALLOW_PURGE_FREE, &rss, &lazy);
    double dontneed_ns = reuse_ns(FALLOW_PURGE_DONTNEED, &ignored, &ignored);
    snprintf(text, sizeof text, "after trim: RSS %.0f MiB, of it LazyFree %.0f MiB", rss, lazy);
    row(rss > (double)(total_bytes / 4 / MIB) * 0.9, "FREE: RSS stays until pressure", text);
    snprintf(text, sizeof text, "writing 4 KiB again: FREE %.0f ns, DONTNEED %.0f ns, %.1f times", free_ns, dontneed_ns,
             dontneed_ns / free_ns);
    row(dontneed_ns >= 2 * free_ns, "FREE: reuse, 2 times cheaper", text);
}

/* --- mappings ----------------------------------------------------------------------------------------------- */

static void show_maps(void)
{
    char text[200];
    fallow_system system;
    fallow_process process;
    fallow_arena_stats stats;
    static void *pages[2 * ISOLATED];
    fallow_system_info(&system);
    fallow_arena *arena =
        arena_with((fallow_arena_options){.purge = FALLOW_PURGE_DECOMMIT, .scavenge = FALLOW_SCAVENGE_OFF});
    for (size_t i = 0; i < 2 * ISOLATED; i++) {
        require(fallow_arena_alloc(arena, 1, &pages[i]) == FALLOW_OK, "alloc");
        *(char *)pages[i] = 1;
    }
    for (size_t i = 0; i < 2 * ISOLATED; i += 2) {
        fallow_arena_free(arena, pages[i], 1);
    }
    bool is_done = fallow_arena_trim(arena, 0, NULL) == FALLOW_OK;
    void *large = malloc(MIB);
    require(fallow_process_info(&process) == FALLOW_OK, "process figures");
    fallow_arena_read_stats(arena, &stats);
    snprintf(text, sizeof text, "%d: %llu mappings of %llu, %llu done as DONTNEED, malloc(1 MiB) %s", ISOLATED,
             (unsigned long long)process.map_count, (unsigned long long)system.map_count_limit,
             (unsigned long long)stats.avoided_decommits, large != NULL ? "works" : "FAILS");
    row(is_done && large != NULL && stats.retained_bytes == 0, "isolated single-page decommits", text);
    free(large);
    fallow_arena_destroy(arena);
}

/* --- the limit ---------------------------------------------------------------------------------------------- */

static struct {
    fallow_arena *arena;
    uint64_t end_ns;
    size_t before;
    size_t most; /* RSS */
    uint64_t looks;
    size_t most_claimed;
    _Atomic size_t claimed;
    atomic_uint started; /* threads; their stacks are not the arena's */
    atomic_bool has_begun;
    atomic_ullong full; /* nothing more could be claimed */
    atomic_ullong refused;
    atomic_ullong done;
} limited;

/* The first one looks. The others together hold up to 61 of 64 MiB (54, where what they keep in their caches cannot be
 * taken from them: Wine): each claims what it takes before it does. So a refusal is always one too many: all that is
 * not claimed is free, and giving it back would have made room. */
static bool claim(size_t size_bytes)
{
    size_t claimed = atomic_load(&limited.claimed);
    while (claimed + size_bytes <= limited.most_claimed) {
        if (atomic_compare_exchange_weak(&limited.claimed, &claimed, claimed + size_bytes)) {
            return true;
        }
    }
    return false;
}

static void churn_or_look(void *context, unsigned index)
{
    enum {
        SLOTS = 40
    };
    (void)context;
    void *held[SLOTS] = {0};
    size_t held_bytes[SLOTS] = {0};
    uint64_t random = index * 0x9e3779b97f4a7c15u + 1;
    atomic_fetch_add(&limited.started, 1);
    while (index == 0 && atomic_load(&limited.started) < LIMIT_THREADS) {
        sleep_a_moment();
    }
    if (index == 0) {
        limited.before = resident();
        atomic_store(&limited.has_begun, true);
    }
    while (!atomic_load(&limited.has_begun)) {
        fallow__os_yield();
    }
    while (fallow__os_clock_ns() < limited.end_ns) {
        if (index == 0) {
            size_t now = resident();
            limited.most = now > limited.most ? now : limited.most;
            limited.looks++;
            continue;
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        unsigned slot = (unsigned)(random % SLOTS);
        if (held[slot] != NULL) {
            fallow_arena_free(limited.arena, held[slot], held_bytes[slot]);
            atomic_fetch_sub(&limited.claimed, held_bytes[slot]);
            held[slot] = NULL;
        }
        held_bytes[slot] = 8 * KIB * (1 + (random >> 32) % 64);
        if (!claim(held_bytes[slot])) {
            atomic_fetch_add(&limited.full, 1);
            continue;
        }
        if (fallow_arena_alloc(limited.arena, held_bytes[slot], &held[slot]) != FALLOW_OK) {
            held[slot] = NULL;
            atomic_fetch_sub(&limited.claimed, held_bytes[slot]);
            atomic_fetch_add(&limited.refused, 1);
            continue;
        }
        memset(held[slot], 1, held_bytes[slot]);
        atomic_fetch_add(&limited.done, 1);
    }
    for (int slot = 0; slot < SLOTS; slot++) {
        if (held[slot] != NULL) {
            fallow_arena_free(limited.arena, held[slot], held_bytes[slot]);
        }
    }
}

static void show_limit(void)
{
    char text[200];
    const char *seconds_text = getenv("FALLOW_SHOW_SECONDS");
    uint64_t seconds = seconds_text != NULL ? strtoull(seconds_text, NULL, 10) : 5;
    fallow_system system;
    fallow_system_info(&system);
    limited.most_claimed = (system.is_wine ? 54 : 61) * MIB;
    limited.most = 0;
    limited.looks = 0;
    atomic_store(&limited.started, 0);
    atomic_store(&limited.has_begun, false);
    atomic_store(&limited.claimed, 0);
    limited.end_ns = fallow__os_clock_ns() + seconds * 1000 * MS;
    limited.arena = arena_with(
        (fallow_arena_options){.limit_bytes = 64 * MIB, .scavenge = FALLOW_SCAVENGE_THREAD, .thread_cache_bytes = MIB});
    threads_run(LIMIT_THREADS, churn_or_look, NULL);
    double most = limited.most > limited.before ? (double)(limited.most - limited.before) / (double)MIB : 0;
    snprintf(text, sizeof text,
             "%llu s, %llu runs, full %llu times: at most %.1f MiB of RSS more in %llu looks, %llu refused",
             (unsigned long long)seconds, (unsigned long long)atomic_load(&limited.done),
             (unsigned long long)atomic_load(&limited.full), most, (unsigned long long)limited.looks,
             (unsigned long long)atomic_load(&limited.refused));
    /* the process grows, too: stacks get deeper, and caches of eight threads take memory of their own */
    row(most <= 66 && atomic_load(&limited.refused) == 0, "limit of 64 MiB, 7 threads", text);
    fallow_arena_destroy(limited.arena);
}

/* --- what it costs ------------------------------------------------------------------------------------------ */

static double churn_ns(fallow_scavenge scavenge)
{
    enum {
        OPERATIONS = 400000
    };
    fallow_arena *arena = arena_with((fallow_arena_options){.scavenge = scavenge});
    static void *held[CHURN_RUNS];
    static size_t held_bytes[CHURN_RUNS];
    uint64_t random = 88172645463325252u;
    memset(held, 0, sizeof held);
    uint64_t start_ns = fallow__os_clock_ns();
    for (int i = 0; i < OPERATIONS; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        unsigned slot = (unsigned)(random % CHURN_RUNS);
        if (held[slot] != NULL) {
            fallow_arena_free(arena, held[slot], held_bytes[slot]);
        }
        held_bytes[slot] = 8 * KIB * (1 + (random >> 32) % 16);
        require(fallow_arena_alloc(arena, held_bytes[slot], &held[slot]) == FALLOW_OK, "alloc");
        *(char *)held[slot] = 1;
    }
    double ns = (double)(fallow__os_clock_ns() - start_ns) / OPERATIONS;
    fallow_arena_destroy(arena);
    return ns;
}

static void show_churn(void)
{
    char text[200];
    double off[CHURN_ROUNDS];
    double thread[CHURN_ROUNDS];
    double ratio[CHURN_ROUNDS];
    for (int round = 0; round < CHURN_ROUNDS; round++) {
        off[round] = churn_ns(FALLOW_SCAVENGE_OFF);
        thread[round] = churn_ns(FALLOW_SCAVENGE_THREAD);
        ratio[round] = thread[round] / off[round];
    }
    qsort(off, CHURN_ROUNDS, sizeof off[0], by_double);
    qsort(thread, CHURN_ROUNDS, sizeof thread[0], by_double);
    qsort(ratio, CHURN_ROUNDS, sizeof ratio[0], by_double);
    snprintf(
        text, sizeof text, "OFF %.1f ns, THREAD %.1f ns a pair; median of %d ratios %.3f, least against least %.3f",
        off[CHURN_ROUNDS / 2], thread[CHURN_ROUNDS / 2], CHURN_ROUNDS, ratio[CHURN_ROUNDS / 2], thread[0] / off[0]);
    row(thread[0] <= 1.02 * off[0], "steady churn, at most 1.02", text);
}

int main(int count, char **names)
{
    static const struct {
        const char *name;
        void (*show)(void);
    } shows[] = {
        {"idle", show_idle}, {"trim", show_trim}, {"pieces", show_pieces}, {"latency", show_latency},
        {"lazy", show_lazy}, {"maps", show_maps}, {"limit", show_limit},   {"churn", show_churn},
    };
    fallow_system system;
    fallow_system_info(&system);
    if (sizeof(size_t) < 8 || system.is_emulated || system.is_wine) {
        total_bytes /= 4;
    }
    runs = calloc(total_bytes / RUN_BYTES, sizeof runs[0]);
    require(runs != NULL, "memory");
    memset(runs, 0xff, total_bytes / RUN_BYTES * sizeof runs[0]); /* resident from the start */
    printf("%s, %zu MiB\n", system.os_name, total_bytes / MIB);
    for (size_t i = 0; i < sizeof shows / sizeof shows[0]; i++) {
        bool is_wanted = count == 1;
        for (int name = 1; name < count; name++) {
            is_wanted |= strcmp(names[name], shows[i].name) == 0;
        }
        if (is_wanted) {
            shows[i].show();
        }
    }
    free(runs);
    return is_bad ? 1 : 0;
}
