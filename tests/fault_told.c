/* What tells of memory, refused: each call it makes of the system in turn, and each piece of text by who gets it. A refusal
 * is told, writes nothing more, and leaves the program as it was: the next time all of it is told. */
#include "test.h"

#include <string.h>

#include "fallow.h"
#include "sim_os.h"

enum {
    TEXT_MOST = 1 << 18,
    FORMATS = 3,
    FLAGS = 4 /* of fallow_process_explain, all ways to set them */
};

/* Text as it comes, up to the piece that is refused. */
typedef struct sink {
    uint64_t pieces;
    uint64_t refuse_at; /* this one; UINT64_MAX = none */
    bool is_late;       /* one came after that */
    size_t count;
    char text[TEXT_MOST];
} sink;

static sink whole;
static sink part;

static bool put(void *context, const char *text, size_t bytes)
{
    sink *s = context;
    s->is_late = s->is_late || s->pieces > s->refuse_at;
    if (s->pieces++ == s->refuse_at) {
        return false;
    }
    assert_true(bytes >= 1 && bytes <= sizeof s->text - s->count);
    memcpy(s->text + s->count, text, bytes);
    s->count += bytes;
    return true;
}

static void sink_begin(sink *s, uint64_t refuse_at)
{
    s->pieces = 0;
    s->refuse_at = refuse_at;
    s->is_late = false;
    s->count = 0;
}

/* --- a program with two arenas ------------------------------------------------------------------------------- */

static fallow_arena *arenas[2];

static void begin(void)
{
    static const fallow_arena_options options[2] = {
        {.reserve_bytes = 16 << 20, .name = "first", .scavenge = FALLOW_SCAVENGE_OFF},
        {.reserve_bytes = 1 << 20, .scavenge = FALLOW_SCAVENGE_OFF},
    };
    void *run;
    assert_true(sim_begin(&(sim_options){0}));
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(fallow_arena_create(&options[i], &arenas[i]), FALLOW_OK);
        assert_int_equal(fallow_arena_alloc(arenas[i], 100000, &run), FALLOW_OK);
        memset(run, 1, 100000);
    }
}

static void end(void)
{
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(fallow_arena_check(arenas[i]), FALLOW_OK);
        fallow_arena_destroy(arenas[i]);
    }
    assert_true(sim_end());
}

static void assert_failure(fallow_status status, const char *operation, const char *limit_name)
{
    fallow_failure failure;
    assert_true(fallow_last_failure(&failure));
    assert_int_equal(failure.status, status);
    assert_string_equal(failure.operation, operation);
    if (limit_name != NULL) {
        assert_string_equal(failure.limit_name, limit_name);
    }
}

/* --- by who gets the text ------------------------------------------------------------------------------------ */

typedef struct teller {
    fallow_arena *arena;
    bool is_explain;
    int format; /* or flags */
} teller;

static fallow_status tell(const teller *t, sink *to)
{
    return t->is_explain ? fallow_process_explain(put, to, (uint32_t)t->format)
                         : fallow_stats_write(t->arena, (fallow_stats_format)t->format, put, to);
}

static uint64_t refuse_each_piece(const teller *t)
{
    uint64_t refused = 0;
    sink_begin(&whole, UINT64_MAX);
    assert_int_equal(tell(t, &whole), FALLOW_OK);
    assert_true(whole.count > 0);
    for (uint64_t piece = 0; piece < whole.pieces; piece++) {
        sink_begin(&part, piece);
        fallow_status status = tell(t, &part);
        if (status == FALLOW_OK) { /* times pass, and may take a piece less to write */
            assert_true(part.pieces <= piece);
            continue;
        }
        refused++;
        assert_int_equal(status, FALLOW_ERR_LIMIT);
        assert_false(part.is_late);
        assert_failure(FALLOW_ERR_LIMIT, t->is_explain ? "fallow_process_explain" : "fallow_stats_write", "writer");
        if (!t->is_explain) {
            assert_memory_equal(part.text, whole.text, part.count);
        }
    }
    return refused;
}

static void each_piece_of_text_refused(void **state)
{
    (void)state;
    uint64_t refused = 0;
    begin();
    for (int format = 0; format < FORMATS; format++) {
        refused += refuse_each_piece(&(teller){.arena = arenas[0], .format = format});
        refused += refuse_each_piece(&(teller){.arena = NULL, .format = format});
    }
    for (int flags = 0; flags < FLAGS; flags++) {
        refused += refuse_each_piece(&(teller){.is_explain = true, .format = flags});
    }
    printf("%llu pieces refused\n", (unsigned long long)refused);
    assert_true(refused >= FORMATS * 2 + FLAGS);
    end();
}

/* --- by the system ------------------------------------------------------------------------------------------- */

static void each_call_of_explain_refused(void **state)
{
    (void)state;
    begin();
    for (int flags = 0; flags < FLAGS; flags++) {
        const teller t = {.is_explain = true, .format = flags};
        uint64_t skip = 0;
        bool is_refused = true;
        for (; is_refused; skip++) {
            sim_refuse(&(sim_refusal){.skip = skip});
            sink_begin(&part, UINT64_MAX);
            fallow_status status = tell(&t, &part);
            is_refused = sim_refused() != 0;
            sim_refuse(NULL);
            if (status != FALLOW_OK) {
                assert_true(is_refused);
                assert_failure(status, "fallow_process_explain", NULL);
                sink_begin(&part, UINT64_MAX);
                assert_int_equal(tell(&t, &part), FALLOW_OK);
            }
            assert_true(part.count > 0);
        }
        assert_true(skip > 2); /* something was */
    }
    end();
}

static void figures_of_the_process_refused(void **state)
{
    (void)state;
    fallow_process process = {.map_count = 4242};
    begin();
    sim_refuse(&(sim_refusal){.times = UINT64_MAX});
    assert_int_equal(fallow_process_info(&process), FALLOW_ERR_OS);
    assert_failure(FALLOW_ERR_OS, "fallow_process_info", NULL);
    assert_int_equal(process.map_count, 4242);
    sim_refuse(NULL);
    assert_int_equal(fallow_process_info(&process), FALLOW_OK);
    assert_int_not_equal(process.map_count, 4242);
    end();
}

/* These ask the system for nothing that it could refuse. */
static void others_cannot_be_refused(void **state)
{
    (void)state;
    fallow_system system;
    fallow_arena_stats stats;
    begin();
    sim_refuse(&(sim_refusal){.times = UINT64_MAX});
    fallow_system_info(&system);
    fallow_arena_read_stats(arenas[0], &stats);
    for (int format = 0; format < FORMATS; format++) {
        sink_begin(&part, UINT64_MAX);
        assert_int_equal(tell(&(teller){.format = format}, &part), FALLOW_OK);
        assert_true(part.count > 0);
    }
    assert_int_equal(sim_refused(), 0);
    sim_refuse(NULL);
    assert_true(system.page_bytes != 0);
    assert_int_equal(stats.run_count, 1);
    end();
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_piece_of_text_refused),
        cmocka_unit_test(each_call_of_explain_refused),
        cmocka_unit_test(figures_of_the_process_refused),
        cmocka_unit_test(others_cannot_be_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
