/* FALLOW_DEBUG=stats,trace=FILE and log lines.
 *
 *   unit_debug PART FILE       with FALLOW_DEBUG=stats,trace=FILE
 *
 * PART: whole, all is well; taken, there is a file of that name; absent, it cannot be created; full, the disk is
 * (simulated systems only); quiet, FALLOW_DEBUG asks for nothing; threads, several use one arena (real systems only).
 * Linked twice: on the system at hand, and on a simulated one. */
#include "test.h"

#include <inttypes.h>
#include <string.h>

#include "fallow.h"
#include "os.h"
#include "trace.h"
#ifdef IS_SIMULATED
#include "sim_os.h"
#else
#include "threads.h"
#endif

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static const char *part_name;
static const char *trace_name;

static bool is_part(const char *name)
{
    return strcmp(part_name, name) == 0;
}

/* --- the log ------------------------------------------------------------------------------------------------- */

static char logged[1 << 16];

static void note(void *context, const char *line)
{
    assert_ptr_equal(context, logged);
    assert_null(strchr(line, '\n'));
    size_t used = strlen(logged);
    snprintf(logged + used, sizeof logged - used, "%s\n", line);
}

/* --- what has to be in the trace ----------------------------------------------------------------------------- */

static char expected[1 << 16];

static void expect(const char *letter, const void *base, size_t size_bytes, size_t align_bytes)
{
    size_t used = strlen(expected);
    used += snprintf(expected + used, sizeof expected - used, "%s %" PRIuPTR, letter, (uintptr_t)base);
    if (size_bytes != 0) {
        used += snprintf(expected + used, sizeof expected - used, " %zu", size_bytes);
    }
    if (align_bytes != 0) {
        used += snprintf(expected + used, sizeof expected - used, " %zu", align_bytes);
    }
    snprintf(expected + used, sizeof expected - used, "\n");
}

static void expect_comment(const char *comment)
{
    size_t used = strlen(expected);
    snprintf(expected + used, sizeof expected - used, "# %s\n", comment);
}

/* --- a small program ----------------------------------------------------------------------------------------- */

static fallow_arena *create(const char *name)
{
    fallow_arena *arena;
    const fallow_arena_options options = {.reserve_bytes = 64 * MIB, .page_bytes = 64 * KIB, .name = name};
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    return arena;
}

static void *take(fallow_arena *arena, size_t size_bytes)
{
    void *base;
    assert_int_equal(fallow_arena_alloc(arena, size_bytes, &base), FALLOW_OK);
    expect("a", base, size_bytes, 0);
    return base;
}

static fallow_run take_run(fallow_arena *arena, size_t size_bytes, size_t align_bytes, uint32_t flags)
{
    const fallow_run_options options = {.align_bytes = align_bytes, .flags = flags};
    fallow_run run;
    assert_int_equal(fallow_arena_alloc_run(arena, size_bytes, &options, &run), FALLOW_OK);
    expect((flags & FALLOW_RUN_UNCOMMITTED) != 0 ? "u" : "a", run.base, size_bytes, align_bytes);
    return run;
}

static void give(fallow_arena *arena, void *base, size_t size_bytes)
{
    expect("f", base, 0, 0);
    fallow_arena_free(arena, base, size_bytes);
}

/* Every call that a trace tells of; two arenas; runs that end with their arena. */
static void live(void)
{
    fallow_arena *first = create("first");
    expect_comment("first");
    char *run = take(first, 100 * KIB);
    void *behind;
    char *short_run = take(first, 64 * KIB);
    give(first, short_run, 64 * KIB);
    assert_int_equal(fallow_arena_extend(first, run, 100 * KIB, 300 * KIB), FALLOW_OK);
    expect("f", run, 0, 0);
    expect("a", run, 300 * KIB, 0);
    behind = take(first, 5 * MIB);
    assert_int_equal(fallow_arena_extend(first, run, 300 * KIB, 9 * MIB), FALLOW_ERR_EXHAUSTED); /* no line */
    fallow_arena_shrink(first, run, 300 * KIB, 200 * KIB);
    expect("f", run, 0, 0);
    expect("a", run, 200 * KIB, 0);
    fallow_arena_split(first, run, 200 * KIB, 64 * KIB);
    expect("f", run, 0, 0);
    expect("a", run, 64 * KIB, 0);
    expect("a", run + 64 * KIB, 136 * KIB, 0);
    fallow_run aligned = take_run(first, 64 * KIB, MIB, 0);
    fallow_run zeroed = take_run(first, 64 * KIB, 0, FALLOW_RUN_ZEROED);
    fallow_run addresses = take_run(first, MIB, 0, FALLOW_RUN_UNCOMMITTED);
    fallow_arena_shrink(first, addresses.base, MIB, 512 * KIB);
    expect("f", addresses.base, 0, 0);
    expect("u", addresses.base, 512 * KIB, 0);

    fallow_arena *second = create("a\nname\x1b");
    expect_comment("a?name?");
    (void)take(second, 64 * KIB);
    const fallow_run many[] = {aligned, {.base = NULL}, zeroed};
    expect("f", aligned.base, 0, 0);
    expect("f", zeroed.base, 0, 0);
    fallow_arena_free_many(first, many, 3);
    give(first, run, 64 * KIB);
    for (unsigned i = 0; i < 400; i++) { /* more than a buffer full */
        give(first, take(first, 64 * KIB), 64 * KIB);
    }
    fallow_arena_free(first, NULL, 0);

    /* what is live ends with its arena, lowest address first */
    expect("f", run + 64 * KIB, 0, 0);
    if ((uintptr_t)behind < (uintptr_t)addresses.base) {
        expect("f", behind, 0, 0);
        expect("f", addresses.base, 0, 0);
    } else {
        expect("f", addresses.base, 0, 0);
        expect("f", behind, 0, 0);
    }
    fallow_arena_destroy(first);
    fallow_arena_stats stats;
    fallow_arena_read_stats(second, &stats);
    assert_true(is_part("quiet") || is_part("absent") || stats.cached_bytes == 0);
    char *at = strrchr(expected, '#');
    at = strchr(at, '\n') + 1;
    expect("f", (void *)(uintptr_t)strtoull(at + 2, NULL, 10), 0, 0); /* the second arena's only run */
    fallow_arena_destroy(second);
}

/* --- reading the trace ------------------------------------------------------------------------------------------ */

static size_t read_trace(const char *path, char *text_out, size_t room)
{
    FILE *file = fopen(path, "rb");
    size_t used = file != NULL ? fread(text_out, 1, room - 1, file) : 0;
    text_out[used] = '\0';
    if (file != NULL) {
        fclose(file);
    }
    return used;
}

static char found[1 << 16];

typedef struct rest {
    const char *text;
} rest;

static size_t next_bytes(void *context, char *bytes, size_t room_bytes, int *is_error_out)
{
    rest *left = context;
    size_t length = strlen(left->text);
    length = length < room_bytes ? length : room_bytes;
    *is_error_out = 0;
    memcpy(bytes, left->text, length);
    left->text += length;
    return length;
}

/* The reader of `fallow replay` takes all of it, and as many runs end as begin. */
static void require_readable(const char *text)
{
    static trace_reader reader;
    rest left = {text};
    trace_request request;
    unsigned begun = 0;
    unsigned ended = 0;
    trace_begin(&reader, next_bytes, &left);
    for (;;) {
        trace_kind kind = trace_next(&reader, &request);
        if (kind == TRACE_END) {
            break;
        }
        if (kind == TRACE_ERROR) {
            fail_msg("line %" PRIu64 ": %s", reader.line, reader.error);
        }
        begun += kind == TRACE_ALLOC;
        ended += kind == TRACE_FREE;
    }
    assert_int_equal(begun, ended);
    assert_in_range(begun, 410, 430);
}

static void a_program_is_traced(void **state)
{
    (void)state;
    char path[256];
    fallow_set_log(note, logged);
    if (is_part("taken")) {
        FILE *file = fopen(trace_name, "wb");
        assert_non_null(file);
        fputs("mine\n", file);
        fclose(file);
    }
    snprintf(path, sizeof path, "%s", trace_name);
    if (is_part("taken")) {
        snprintf(path, sizeof path, "%s.%" PRIu64, trace_name, fallow__os_process_id());
    }
    remove(path);
#ifdef IS_SIMULATED
    sim_set_file_room(is_part("full") ? 5000 : UINT64_MAX);
#endif
    live();
    read_trace(path, found, sizeof found);
    remove(path);
    if (is_part("whole") || is_part("taken")) {
        assert_string_equal(found, expected);
        require_readable(found);
    } else if (is_part("full")) {
        assert_int_equal(strlen(found), 5000);
        assert_memory_equal(found, expected, 5000);
        assert_non_null(strstr(logged, "trace: the file cannot be written further; the trace ends here\n"));
    } else {
        assert_string_equal(found, "");
    }
    if (is_part("taken")) {
        read_trace(trace_name, found, sizeof found);
        assert_string_equal(found, "mine\n");
        remove(trace_name);
    }
}

#ifndef IS_SIMULATED

enum {
    THREADS = 4,
    STEPS = 3000
};

/* Runs go from thread to thread, so that one's free and another's alloc of the same place meet. */
static void use(void *context, unsigned index)
{
    fallow_arena *arena = context;
    void *runs[16] = {NULL};
    test_random random = {index + 1};
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = (unsigned)test_below(&random, 16);
        if (runs[i] != NULL) {
            fallow_arena_free(arena, runs[i], 64 * KIB);
            runs[i] = NULL;
        } else {
            assert_int_equal(fallow_arena_alloc(arena, 64 * KIB, &runs[i]), FALLOW_OK);
        }
    }
}

/* In the trace no id begins twice, and none ends that has not begun: pages of 64 KiB of one reservation, by their
 * address. */
static void threads_are_in_order(void **state)
{
    (void)state;
    static unsigned char is_live[(64 << 20) / (64 << 10) + 64];
    static trace_reader reader;
    static char text[1 << 21];
    fallow_set_log(note, logged);
    remove(trace_name);
    fallow_arena *arena = create("threads");
    threads_run(THREADS, use, arena);
    fallow_arena_destroy(arena);
    assert_true(read_trace(trace_name, text, sizeof text) < sizeof text - 1);
    rest left = {text};
    trace_request request;
    uint64_t lowest = UINT64_MAX;
    unsigned count = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        left.text = text;
        trace_begin(&reader, next_bytes, &left);
        for (trace_kind kind; (kind = trace_next(&reader, &request)) != TRACE_END; count++) {
            assert_true(kind == TRACE_ALLOC || kind == TRACE_FREE);
            lowest = request.id < lowest ? request.id : lowest;
            uint64_t page = (request.id - lowest) / (64 << 10);
            if (pass == 1) {
                assert_true(page < sizeof is_live);
                assert_int_equal(is_live[page], kind == TRACE_FREE);
                is_live[page] = kind == TRACE_ALLOC;
            }
        }
    }
    for (size_t page = 0; page < sizeof is_live; page++) {
        assert_int_equal(is_live[page], 0);
    }
    assert_true(count >= 2 * THREADS * STEPS);
    remove(trace_name);
}

#endif

static unsigned logged_lines(const char *words)
{
    unsigned count = 0;
    for (const char *at = logged; (at = strstr(at, words)) != NULL; at++) {
        count++;
    }
    return count;
}

static void statistics_are_logged(void **state)
{
    (void)state;
    if (is_part("quiet")) {
        assert_string_equal(logged, "");
        return;
    }
    assert_int_equal(logged_lines("arena first (1)\n"), 1);
    assert_int_equal(logged_lines("arena a?name? (2)\n"), 1);
    assert_int_equal(logged_lines("  in_use_bytes "), 2);
    assert_int_equal(logged_lines("  why_retained "), 2);
    assert_int_equal(logged_lines("nothing is traced"), is_part("absent"));
    assert_int_equal(logged_lines("FALLOW_DEBUG=trace="), is_part("absent") || is_part("full"));
}

/* At the end of the program: no arena is left, so nothing is told; to stderr, if it were. */
static void nothing_is_left(void **state)
{
    (void)state;
    fallow_set_log(NULL, NULL);
}

int main(int argument_count, char **arguments)
{
    test_begin();
    if (argument_count != 3) {
        printf("usage: unit_debug PART FILE, with FALLOW_DEBUG=stats,trace=FILE\n");
        return 77;
    }
    part_name = arguments[1];
    trace_name = arguments[2];
#ifndef IS_SIMULATED
    if (is_part("threads")) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(threads_are_in_order)};
        return cmocka_run_group_tests(tests, NULL, NULL);
    }
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_is_traced),
        cmocka_unit_test(statistics_are_logged),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
