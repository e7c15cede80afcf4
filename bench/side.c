/* The program of one side: it runs one row and prints what it measured, a number on a line.
 *
 *     fallow_bench_SIDE ROW BATCH-MS TRACE-DIRECTORY      exit code 0; 3: this side has no such row; 1: it failed
 *     fallow_bench_SIDE --about                           `name`, `version` and how it was linked, a line each
 *     fallow_bench_SIDE --check                           runs hold what was written to them, until they are freed
 *
 * A timed row. Each thread has a load: its runs and its random numbers. A chunk is a number of pairs (alloc and free)
 * that takes about a fifth of a millisecond; clocks are read between chunks. A batch is as many chunks as fit in
 * BATCH-MS; five batches after a warm-up (fewer where one takes very long), a number for each. With one thread time is
 * what the processor spent on this thread, so that other programs count little; with two it is the time that passed.
 *
 * What the bench itself keeps lies in mappings made and written to before the first run, outside of the allocator under
 * test; stdout has a buffer of its own. */
#define _GNU_SOURCE
#include "rows.h"

#include "side.h"

#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_NO_SUCH_ROW = 3,
    BATCHES = 5,
    CHUNK_NS = 200000,
    RING_SLOTS = 1024,
    PURGE_RUNS = 16384
};

typedef struct slot {
    void *base;
    size_t size_bytes;
} slot;

/* A request of a trace; size 0 frees. */
typedef struct replay_request {
    uint32_t slot_index;
    uint32_t is_alloc;
    size_t size_bytes;
} replay_request;

/* Runs on their way from one thread to another. Each side keeps what it last saw of the other, and shares a cache line
 * with nobody. */
typedef struct handoff_ring {
    _Alignas(64) atomic_size_t put_count;
    _Alignas(64) atomic_size_t taken_count;
    _Alignas(64) atomic_bool is_over;
    _Alignas(64) slot slots[RING_SLOTS];
} handoff_ring;

/* What one thread works on. */
typedef struct load {
    const bench_row *row;
    uint64_t random;
    slot *slots;
    size_t slot_count;
    const replay_request *requests;
    size_t request_count;
    size_t replay_allocs;
    uint64_t pairs_done;
    double batch_ns[BATCHES];
    uint64_t batch_pairs[BATCHES];
    int batch_count;
} load;

static uint64_t batch_limit_ns;
static const char *trace_directory;
static load loads[BENCH_THREADS_MAX];
static pthread_barrier_t barrier;
static handoff_ring ring;

/* ---- Small things ---- */

__attribute__((noreturn, noinline, cold)) static void refused(size_t size_bytes)
{
    int code = errno;
    fflush(stdout);
    fprintf(stderr, "%s refused %zu bytes: %s\n", SIDE_NAME, size_bytes, strerror(code));
    exit(1);
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", SIDE_NAME);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The time that counts for this row. */
static uint64_t row_ns(const bench_row *row)
{
    return clock_ns(row->thread_count > 1 ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID);
}

static inline uint64_t random_next(load *self)
{
    uint64_t value = self->random;
    value ^= value << 13;
    value ^= value >> 7;
    value ^= value << 17;
    return self->random = value;
}

/* Two numbers out of one: an index below `count` from the low half, pages 1 to pages_max from the high half. */
static inline size_t random_index(uint64_t value, size_t count)
{
    return (size_t)(((value & UINT32_MAX) * count) >> 32);
}

static inline size_t random_bytes(uint64_t value, size_t pages_max)
{
    return ((size_t)(((value >> 32) * pages_max) >> 32) + 1) * BENCH_PAGE_BYTES;
}

/* The compiler must believe that somebody looks at the run. */
static inline void keep(void *base)
{
    __asm__ volatile("" : : "r"(base) : "memory");
}

static inline void touch(void *base, size_t size_bytes)
{
    for (size_t offset = 0; offset < size_bytes; offset += BENCH_TOUCH_BYTES) {
        ((volatile unsigned char *)base)[offset] = 1;
    }
}

static inline void *take(size_t size_bytes, bool is_touched)
{
    void *base = side_alloc(size_bytes);
    if (__builtin_expect(base == NULL, 0)) {
        refused(size_bytes);
    }
    if (is_touched) {
        touch(base, size_bytes);
    }
    keep(base);
    return base;
}

/* ---- Chunks: `pairs` pairs of alloc and free, or some more ---- */

#define INLINE __attribute__((always_inline)) static inline

INLINE void hot_chunk(load *self, uint64_t pairs, bool is_touched)
{
    size_t size_bytes = self->row->size_bytes;
    for (uint64_t i = 0; i < pairs; i++) {
        side_free(take(size_bytes, is_touched), size_bytes);
    }
}

INLINE void burst_chunk(load *self, uint64_t pairs, bool is_fifo)
{
    size_t size_bytes = self->row->size_bytes;
    size_t count = self->row->count;
    slot *slots = self->slots;
    for (uint64_t done = 0; done < pairs; done += count) {
        for (size_t i = 0; i < count; i++) {
            slots[i].base = take(size_bytes, false);
        }
        if (is_fifo) {
            for (size_t i = 0; i < count; i++) {
                side_free(slots[i].base, size_bytes);
            }
        } else {
            for (size_t i = count; i-- > 0;) {
                side_free(slots[i].base, size_bytes);
            }
        }
    }
}

INLINE void churn_chunk(load *self, uint64_t pairs, bool is_touched)
{
    size_t pages_max = self->row->pages_max;
    for (uint64_t i = 0; i < pairs; i++) {
        uint64_t random = random_next(self);
        slot *changed = &self->slots[random_index(random, self->slot_count)];
        side_free(changed->base, changed->size_bytes);
        changed->size_bytes = random_bytes(random, pages_max);
        changed->base = take(changed->size_bytes, is_touched);
    }
}

#ifdef SIDE_HAS_ARENAS
static void *take_addresses(size_t size_bytes)
{
    void *base = side_alloc_addresses(size_bytes);
    if (base == NULL) {
        refused(size_bytes);
    }
    return base;
}

/* Pieces of up to a `count`th of the arena: half of it is in use on average. */
static size_t wide_pages_max(const bench_row *row)
{
    return (size_t)(row->reserve_bytes / BENCH_PAGE_BYTES / row->count);
}

static void wide_chunk(load *self, uint64_t pairs)
{
    size_t pages_max = wide_pages_max(self->row);
    for (uint64_t i = 0; i < pairs; i++) {
        uint64_t random = random_next(self);
        slot *changed = &self->slots[random_index(random, self->slot_count)];
        side_free(changed->base, changed->size_bytes);
        changed->size_bytes = random_bytes(random, pages_max);
        changed->base = take_addresses(changed->size_bytes);
    }
}
#endif

INLINE void replay_pass(load *self, bool is_touched)
{
    for (size_t i = 0; i < self->request_count; i++) {
        const replay_request *request = &self->requests[i];
        slot *changed = &self->slots[request->slot_index];
        if (request->is_alloc) {
            changed->size_bytes = request->size_bytes;
            changed->base = take(request->size_bytes, is_touched);
        } else {
            side_free(changed->base, changed->size_bytes);
        }
    }
}

static uint64_t replay_chunk(load *self, uint64_t pairs)
{
    uint64_t done = 0;
    do {
        if (self->row->is_touched) {
            replay_pass(self, true);
        } else {
            replay_pass(self, false);
        }
        done += self->replay_allocs;
    } while (done < pairs);
    return done;
}

/* Wait for the other thread: turn, then let others run. */
static void wait_a_little(unsigned *turns)
{
    if (++*turns < 1000) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    } else {
        sched_yield();
    }
}

static void handoff_chunk(load *self, uint64_t pairs)
{
    static size_t taken_seen; /* the producer's alone */
    size_t put = atomic_load_explicit(&ring.put_count, memory_order_relaxed);
    for (uint64_t i = 0; i < pairs; i++) {
        size_t size_bytes = random_bytes(random_next(self), self->row->pages_max);
        void *base = take(size_bytes, false);
        unsigned turns = 0;
        while (put - taken_seen == RING_SLOTS) {
            taken_seen = atomic_load_explicit(&ring.taken_count, memory_order_acquire);
            if (put - taken_seen == RING_SLOTS) {
                wait_a_little(&turns);
            }
        }
        ring.slots[put % RING_SLOTS] = (slot){base, size_bytes};
        atomic_store_explicit(&ring.put_count, ++put, memory_order_release);
    }
}

/* The other thread, until the ring is over and empty. */
static void handoff_consume(void)
{
    size_t put_seen = 0;
    unsigned turns = 0;
    for (size_t taken = 0;;) {
        if (taken == put_seen) {
            bool is_over = atomic_load_explicit(&ring.is_over, memory_order_acquire);
            put_seen = atomic_load_explicit(&ring.put_count, memory_order_acquire);
            if (taken == put_seen) {
                if (is_over) {
                    return;
                }
                wait_a_little(&turns);
                continue;
            }
        }
        turns = 0;
        slot got = ring.slots[taken % RING_SLOTS];
        side_free(got.base, got.size_bytes);
        atomic_store_explicit(&ring.taken_count, ++taken, memory_order_release);
    }
}

/* Returns the pairs done: at least those asked for. */
static uint64_t run_chunk(load *self, uint64_t pairs)
{
    const bench_row *row = self->row;
    switch (row->kind) {
    case ROW_HOT:
        if (row->is_touched) {
            hot_chunk(self, pairs, true);
        } else {
            hot_chunk(self, pairs, false);
        }
        return pairs;
    case ROW_BURST:
        if (row->is_fifo) {
            burst_chunk(self, pairs, true);
        } else {
            burst_chunk(self, pairs, false);
        }
        return (pairs + row->count - 1) / row->count * row->count;
    case ROW_REPLAY: return replay_chunk(self, pairs);
    case ROW_HANDOFF: handoff_chunk(self, pairs); return pairs;
#ifdef SIDE_HAS_ARENAS
    case ROW_WIDE: wide_chunk(self, pairs); return pairs;
#endif
    default:
        if (row->is_touched) {
            churn_chunk(self, pairs, true);
        } else {
            churn_chunk(self, pairs, false);
        }
        return pairs;
    }
}

/* ---- Loads ---- */

static void load_make_slots(load *self, size_t count)
{
    self->slots = side_map((count + 1) * sizeof *self->slots);
    self->slot_count = count;
    memset(self->slots, 0, (count + 1) * sizeof *self->slots);
}

/* Fill the slots; those of a WIDE row with addresses. */
static void load_fill(load *self)
{
    for (size_t i = 0; i < self->slot_count; i++) {
        slot *filled = &self->slots[i];
#ifdef SIDE_HAS_ARENAS
        if (self->row->kind == ROW_WIDE) {
            filled->size_bytes = random_bytes(random_next(self), wide_pages_max(self->row));
            filled->base = take_addresses(filled->size_bytes);
            continue;
        }
#endif
        filled->size_bytes = random_bytes(random_next(self), self->row->pages_max);
        filled->base = take(filled->size_bytes, self->row->is_touched);
    }
}

static size_t load_live_bytes(const load *self)
{
    size_t live_bytes = 0;
    for (size_t i = 0; i < self->slot_count; i++) {
        live_bytes += self->slots[i].size_bytes;
    }
    return live_bytes;
}

static size_t read_trace_bytes(void *source_context, char *bytes, size_t room_bytes, int *is_error_out)
{
    ssize_t got = read(*(int *)source_context, bytes, room_bytes);
    *is_error_out = got < 0;
    return got > 0 ? (size_t)got : 0;
}

/* Read a trace into requests; what the program never freed is freed at the end. */
static void load_read_trace(load *self)
{
    enum {
        IDS_MAX = 1 << 20
    };
    static trace_reader reader;
    static bool is_live[IDS_MAX];
    replay_request *requests = side_map(2 * IDS_MAX * sizeof *requests);
    size_t count = 0;
    size_t id_end = 0;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.trace", trace_directory, self->row->trace_name);
    int file = open(path, O_RDONLY);
    if (file < 0) {
        fail("%s: %s", path, strerror(errno));
    }
    trace_begin(&reader, read_trace_bytes, &file);
    for (;;) {
        trace_request request;
        trace_kind kind = trace_next(&reader, &request);
        if (kind == TRACE_END) {
            break;
        }
        if (kind == TRACE_ERROR) {
            fail("%s:%" PRIu64 ": %s", path, reader.line, reader.error);
        }
        if (request.id >= IDS_MAX || is_live[request.id] == (kind == TRACE_ALLOC) || request.align_bytes != 0) {
            fail("%s:%" PRIu64 ": an id too large, taken twice or not live, or an alignment", path, reader.line);
        }
        is_live[request.id] = kind == TRACE_ALLOC;
        requests[count++] = (replay_request){(uint32_t)request.id, kind == TRACE_ALLOC, (size_t)request.size_bytes};
        self->replay_allocs += kind == TRACE_ALLOC;
        id_end = request.id >= id_end ? (size_t)request.id + 1 : id_end;
    }
    close(file);
    for (size_t id = 0; id < id_end; id++) {
        if (is_live[id]) {
            requests[count++] = (replay_request){(uint32_t)id, 0, 0};
        }
    }
    if (self->replay_allocs == 0) {
        fail("%s: a trace without requests", path);
    }
    self->requests = requests;
    self->request_count = count;
    load_make_slots(self, id_end);
}

static void load_prepare(load *self, const bench_row *row, unsigned number)
{
    self->row = row;
    self->random = 0x9e3779b97f4a7c15u * (number + 1);
    switch (row->kind) {
    case ROW_HOT:
    case ROW_HANDOFF: break;
    case ROW_REPLAY: load_read_trace(self); break;
    case ROW_BURST: load_make_slots(self, row->count); break;
    default: load_make_slots(self, row->count / row->thread_count); break;
    }
}

static bool is_kept_live(const bench_row *row)
{
    return row->kind == ROW_CHURN || row->kind == ROW_SIZED || row->kind == ROW_WIDE;
}

/* ---- Timed rows ---- */

/* Until the runs lie as they will lie for long: ten churns of each run, as far as they fit in the time of some batches;
 * of more where runs are written to, because free memory has to be written to once too. Returns how many pairs make a
 * chunk. */
static uint64_t warm_up(load *self)
{
    uint64_t pairs = 1;
    uint64_t done = 0;
    uint64_t start = row_ns(self->row);
    if (is_kept_live(self->row)) {
        load_fill(self);
    }
    uint64_t limit_ns = (self->row->is_touched ? 200 : 20) * batch_limit_ns;
    uint64_t wanted = is_kept_live(self->row) ? 10 * (uint64_t)self->slot_count : 0;
    for (;;) {
        uint64_t before = row_ns(self->row);
        uint64_t chunk_pairs = run_chunk(self, pairs);
        uint64_t after = row_ns(self->row);
        done += chunk_pairs;
        if (after - before < CHUNK_NS) {
            pairs = 2 * chunk_pairs;
        } else if (done >= wanted || after - start >= limit_ns) {
            return pairs;
        }
    }
}

/* A chunk that takes much longer than a batch should is measured less often, unless another thread counts on it. */
static void measure(load *self, uint64_t chunk_pairs)
{
    uint64_t total_ns = 0;
    for (int batch = 0; batch < BATCHES; batch++) {
        uint64_t pairs = 0;
        uint64_t now;
        if (self->row->thread_count > 1) {
            pthread_barrier_wait(&barrier);
        } else if (total_ns > 30 * batch_limit_ns) {
            break;
        }
        uint64_t start = row_ns(self->row);
        do {
            pairs += run_chunk(self, chunk_pairs);
            now = row_ns(self->row);
        } while (now - start < batch_limit_ns);
        total_ns += now - start;
        self->batch_ns[batch] = (double)(now - start);
        self->batch_pairs[batch] = pairs;
        self->batch_count = batch + 1;
    }
}

static void *run_thread(void *argument)
{
    load *self = argument;
    measure(self, warm_up(self));
    return NULL;
}

static void *run_producer(void *argument)
{
    load *self = argument;
    uint64_t chunk_pairs = warm_up(self);
    for (int batch = 0; batch < BATCHES; batch++) {
        uint64_t start = row_ns(self->row);
        uint64_t now;
        do {
            self->batch_pairs[batch] += run_chunk(self, chunk_pairs);
            now = row_ns(self->row);
        } while (now - start < batch_limit_ns);
        self->batch_ns[batch] = (double)(now - start);
        self->batch_count = batch + 1;
    }
    atomic_store_explicit(&ring.is_over, true, memory_order_release);
    return NULL;
}

static void *run_consumer(void *argument)
{
    (void)argument;
    handoff_consume();
    return NULL;
}

static void start_and_join(void *(*first)(void *), void *(*second)(void *))
{
    pthread_t threads[2];
    if (pthread_create(&threads[0], NULL, first, &loads[0]) != 0 ||
        pthread_create(&threads[1], NULL, second, &loads[1]) != 0) {
        fail("cannot start a thread");
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

static void timed_row(const bench_row *row)
{
    for (unsigned i = 0; i < row->thread_count; i++) {
        load_prepare(&loads[i], row, i);
    }
#ifdef SIDE_HAS_ARENAS
    if (row->reserve_bytes != 0) {
        side_begin_reserve((size_t)row->reserve_bytes);
    } else {
        side_begin();
    }
#else
    if (row->reserve_bytes != 0) {
        exit(EXIT_NO_SUCH_ROW);
    }
    side_begin();
#endif
    if (row->kind == ROW_HANDOFF) {
        start_and_join(run_producer, run_consumer);
    } else if (row->thread_count > 1) {
        pthread_barrier_init(&barrier, NULL, row->thread_count);
        start_and_join(run_thread, run_thread);
    } else {
        run_thread(&loads[0]);
    }
    for (int batch = 0; batch < loads[0].batch_count; batch++) {
        double ns = 0;
        double pairs = 0;
        for (unsigned i = 0; i < row->thread_count; i++) { /* a consumer has none of its own */
            ns += loads[i].batch_ns[batch];
            pairs += (double)loads[i].batch_pairs[batch];
        }
        printf("%.4f\n", ns / pairs);
    }
}

/* ---- Memory rows ---- */

/* The sum of a field of /proc/self/smaps_rollup in bytes; unlike statm it is exact. */
static uint64_t resident_bytes(void)
{
    static char text[4096];
    int file = open("/proc/self/smaps_rollup", O_RDONLY);
    ssize_t length = file >= 0 ? read(file, text, sizeof text - 1) : -1;
    close(file);
    const char *field = NULL;
    if (length > 0) {
        text[length] = '\0';
        field = strstr(text, "\nRss:");
    }
    if (field == NULL) {
        fail("/proc/self/smaps_rollup tells no Rss");
    }
    return strtoull(field + 5, NULL, 10) * 1024;
}

/* Bytes of the mappings that can be written: reservations that fault are not among them. */
static uint64_t accessible_bytes(void)
{
    static char text[1 << 16];
    uint64_t sum_bytes = 0;
    size_t used = 0;
    int file = open("/proc/self/maps", O_RDONLY);
    for (;;) {
        ssize_t got = file >= 0 ? read(file, text + used, sizeof text - 1 - used) : -1;
        if (got < 0) {
            fail("/proc/self/maps cannot be read");
        }
        used += (size_t)got;
        text[used] = '\0';
        char *line = text;
        for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            char *next;
            uint64_t first = strtoull(line, &next, 16);
            uint64_t last = strtoull(next + 1, &next, 16);
            sum_bytes += next[2] == 'w' ? last - first : 0;
        }
        used -= (size_t)(line - text);
        memmove(text, line, used);
        if (got == 0) {
            close(file);
            return sum_bytes;
        }
    }
}

static void churn_memory_row(const bench_row *row)
{
    load *self = &loads[0];
    load_prepare(self, row, 0);
    bool is_rss = row->kind == ROW_CHURN_RSS;
    resident_bytes(); /* its buffer, and the other's, before the first figure */
    accessible_bytes();
    uint64_t before_bytes = is_rss ? resident_bytes() : accessible_bytes();
    side_begin();
    load_fill(self);
    run_chunk(self, (row->is_touched ? 10 : 20) * (uint64_t)row->count);
    uint64_t after_bytes = is_rss ? resident_bytes() : accessible_bytes();
    printf("%.5f\n", ((double)after_bytes - (double)before_bytes) / (double)load_live_bytes(self));
}

static void live_memory_row(const bench_row *row)
{
    load_prepare(&loads[0], row, 0);
    resident_bytes();
    uint64_t before_bytes = resident_bytes();
    side_begin();
    load_fill(&loads[0]);
    printf("%.3f\n", ((double)resident_bytes() - (double)before_bytes) / 1e6);
}

static void purge_row(const bench_row *row)
{
    const size_t size_bytes = (size_t)64 << 10;
#ifdef SIDE_GIVES_BACK_AT_FREE
    if (row->kind == ROW_PURGE) {
        exit(EXIT_NO_SUCH_ROW);
    }
#endif
    load_make_slots(&loads[0], PURGE_RUNS);
    resident_bytes();
    uint64_t before_bytes = resident_bytes();
    side_begin();
    for (size_t i = 0; i < PURGE_RUNS; i++) {
        loads[0].slots[i].base = take(size_bytes, true);
    }
    uint64_t start = row_ns(row);
    for (size_t i = 0; i < PURGE_RUNS; i++) {
        side_free(loads[0].slots[i].base, size_bytes);
    }
    uint64_t middle = row_ns(row);
    if (!side_purge()) {
        exit(EXIT_NO_SUCH_ROW);
    }
    uint64_t end = row_ns(row);
    double left_bytes = (double)resident_bytes() - (double)before_bytes;
    switch (row->kind) {
    case ROW_PURGE: printf("%.6f\n", (double)(end - middle) / 1e6); break;
    case ROW_FREE_PURGE: printf("%.6f\n", (double)(end - start) / 1e6); break;
    default: printf("%.3f\n", left_bytes / 1e6); break;
    }
}

/* ---- Starting ---- */

static void start_row(const bench_row *row)
{
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    side_begin();
    void *base = take(BENCH_PAGE_BYTES, false);
    uint64_t end = clock_ns(CLOCK_MONOTONIC);
    switch (row->kind) {
    case ROW_START_RSS: printf("%.1f\n", (double)resident_bytes() / 1e3); break;
    case ROW_FIRST_RUN: printf("%.3f\n", (double)(end - start) / 1e3); break;
    default: printf("%.3f\n", (double)end / 1e3); break; /* the driver knows when the process began */
    }
    side_free(base, BENCH_PAGE_BYTES);
}

/* ---- The program ---- */

/* Stamp runs of all sizes at both ends, replace them at random, and find every stamp where it was left. */
static int check(void)
{
    enum {
        LIVE = 500,
        ROUNDS = 20000
    };
    static const bench_row checked = {.kind = ROW_CHURN, .count = LIVE, .pages_max = 64, .thread_count = 1};
    load *self = &loads[0];
    side_begin();
    load_prepare(self, &checked, 0);
    for (uint64_t i = 0; i < ROUNDS + LIVE; i++) {
        uint64_t random = random_next(self);
        slot *changed = &self->slots[i < LIVE ? i : random_index(random, LIVE)];
        if (changed->base != NULL) {
            uint64_t *first = changed->base;
            uint64_t *last = first + changed->size_bytes / sizeof *first - 1;
            if (!SIDE_IS_HARNESS && (*first != (uintptr_t)changed || *last != ~(uint64_t)(uintptr_t)changed)) {
                fail("a run at %p of %zu bytes does not hold what was written to it", changed->base,
                     changed->size_bytes);
            }
            side_free(changed->base, changed->size_bytes);
        }
        changed->size_bytes = random_bytes(random, 64);
        changed->base = take(changed->size_bytes, false);
        ((uint64_t *)changed->base)[0] = (uintptr_t)changed;
        ((uint64_t *)changed->base)[changed->size_bytes / sizeof(uint64_t) - 1] = ~(uint64_t)(uintptr_t)changed;
    }
    printf("checked\n");
    return 0;
}

int main(int argument_count, char **arguments)
{
    static char output[1 << 14];
    setvbuf(stdout, output, _IOFBF, sizeof output);
    if (argument_count == 2 && strcmp(arguments[1], "--about") == 0) {
        printf("%s\n%s\n%s\n", SIDE_NAME, side_version(), BENCH_LINKED);
        return 0;
    }
    if (argument_count == 2 && strcmp(arguments[1], "--check") == 0) {
        return check();
    }
    const bench_row *row = argument_count == 4 ? bench_row_named(arguments[1]) : NULL;
    if (row == NULL) {
        fprintf(stderr, "usage: %s ROW BATCH-MS TRACE-DIRECTORY | --about | --check\n", arguments[0]);
        return 2;
    }
    batch_limit_ns = strtoull(arguments[2], NULL, 10) * 1000000;
    trace_directory = arguments[3];
    if (row->kind > ROW_WIDE && SIDE_IS_HARNESS) {
        return EXIT_NO_SUCH_ROW;
    }
    switch (row->kind) {
    case ROW_CHURN_RSS:
    case ROW_CHURN_EXTENT: churn_memory_row(row); break;
    case ROW_LIVE_RSS: live_memory_row(row); break;
    case ROW_PURGE:
    case ROW_FREE_PURGE:
    case ROW_PURGE_LEFT: purge_row(row); break;
    case ROW_START_RSS:
    case ROW_FIRST_RUN:
    case ROW_START: start_row(row); break;
    default: timed_row(row); break;
    }
    return 0;
}
