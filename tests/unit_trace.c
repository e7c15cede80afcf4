/* The trace reader: good input in every form it may take, and hostile input, which ends in one error and a line. */
#include "test.h"

#include "../tools/fallow/trace.h"

#include <string.h>

/* A source of bytes in memory that gives at most `piece` at a time, and may fail at its end. */
typedef struct text_source {
    const char *bytes;
    size_t left;
    size_t piece;
    bool is_failing;
} text_source;

static size_t read_text(void *source_context, char *bytes, size_t room_bytes, int *is_error_out)
{
    text_source *source = source_context;
    size_t now = source->left < source->piece ? source->left : source->piece;
    now = now < room_bytes ? now : room_bytes;
    memcpy(bytes, source->bytes, now);
    source->bytes += now;
    source->left -= now;
    *is_error_out = now == 0 && source->is_failing;
    return now;
}

static trace_reader reader; /* 16 KiB */
static text_source source;

static void begin(const char *text, size_t length, size_t piece)
{
    source = (text_source){.bytes = text, .left = length, .piece = piece};
    trace_begin(&reader, read_text, &source);
}

static void expect_alloc(uint64_t id, uint64_t size_bytes, uint64_t align_bytes)
{
    trace_request request = {0};
    assert_int_equal(trace_next(&reader, &request), TRACE_ALLOC);
    assert_true(request.id == id && request.size_bytes == size_bytes && request.align_bytes == align_bytes);
}

static void expect_free(uint64_t id)
{
    trace_request request = {0};
    assert_int_equal(trace_next(&reader, &request), TRACE_FREE);
    assert_true(request.id == id && request.size_bytes == 0 && request.align_bytes == 0);
}

static void expect_end(void)
{
    trace_request request;
    assert_int_equal(trace_next(&reader, &request), TRACE_END);
    assert_int_equal(trace_next(&reader, &request), TRACE_END);
    assert_null(reader.error);
}

/* Read to the error; every later call says the same. Returns how many requests came before it. */
static unsigned expect_error(uint64_t line)
{
    trace_request request;
    trace_kind kind;
    unsigned count = 0;
    while ((kind = trace_next(&reader, &request)) == TRACE_ALLOC || kind == TRACE_FREE) {
        count++;
    }
    assert_int_equal(kind, TRACE_ERROR);
    assert_non_null(reader.error);
    assert_true(reader.line == line);
    assert_int_equal(trace_next(&reader, &request), TRACE_ERROR);
    assert_true(reader.line == line);
    return count;
}

static void test_good_lines(void **state)
{
    static const char text[] = "# a comment\n"
                               "a 1 4096\n"
                               "\n"
                               "a 2 12288 65536\r\n"
                               "  \t# another\r\n"
                               "f 1\n"
                               " a\t3   1 \t1  \n"
                               "a 18446744073709551615 18446744073709551615 9223372036854775808\n"
                               "#\n"
                               "f 18446744073709551615";
    (void)state;
    for (size_t piece = 1; piece <= sizeof text; piece++) {
        begin(text, sizeof text - 1, piece);
        expect_alloc(1, 4096, 0);
        expect_alloc(2, 12288, 65536);
        assert_true(reader.line == 4);
        expect_free(1);
        expect_alloc(3, 1, 1);
        expect_alloc(UINT64_MAX, UINT64_MAX, UINT64_C(1) << 63);
        expect_free(UINT64_MAX);
        assert_true(reader.line == 10);
        expect_end();
    }
}

static void test_addresses_only(void **state)
{
    static const char text[] = "u 7 8192 65536\na 8 8192\nf 7\n";
    trace_request request = {0};
    (void)state;
    begin(text, sizeof text - 1, 5);
    assert_int_equal(trace_next(&reader, &request), TRACE_ALLOC);
    assert_true(request.id == 7 && request.size_bytes == 8192 && request.align_bytes == 65536);
    assert_true(request.is_uncommitted);
    assert_int_equal(trace_next(&reader, &request), TRACE_ALLOC);
    assert_false(request.is_uncommitted);
    expect_free(7);
    expect_end();
    begin("u 7\n", 4, 5);
    assert_int_equal(expect_error(1), 0);
}

static void test_nothing(void **state)
{
    static const char *const texts[] = {"", "\n", "\n\n\n", "#", "# only this", " ", "\r\n", " \n\t\n"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        begin(texts[i], strlen(texts[i]), 3);
        expect_end();
    }
}

static void test_bad_lines(void **state)
{
    static const char *const lines[] = {"b 1 4096",
                                        "a",
                                        "a ",
                                        "a 1",
                                        "a 1 ",
                                        "a 1 0",
                                        "a 1 4096 3",
                                        "a 1 4096 0",
                                        "a 1 1 1 1",
                                        "f",
                                        "f ",
                                        "f 1 2",
                                        "f x",
                                        "a -1 4096",
                                        "a +1 4096",
                                        "a 1 4096k",
                                        "a 0x1 1",
                                        "a1 4096",
                                        "f1",
                                        "a 1 4096 # why",
                                        "A 1 4096",
                                        "aa 1 1",
                                        "a 1. 1",
                                        "\357\273\277a 1 1",
                                        "a 1 1e3",
                                        "{\"a\": 1}",
                                        "a 1 \xff",
                                        "a 18446744073709551616 1",
                                        "a 1 18446744073709551616",
                                        "a 1 1 18446744073709551616",
                                        "a 1 99999999999999999999999999999999999999999999999999"};
    char text[256];
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        for (size_t piece = 1; piece <= 64; piece += 21) {
            int length = snprintf(text, sizeof text, "# first\na 7 8192\n%s\nf 7\n", lines[i]);
            begin(text, (size_t)length, piece);
            assert_int_equal(expect_error(3), 1);
            length = snprintf(text, sizeof text, "%s", lines[i]); /* the file ends in it */
            begin(text, (size_t)length, piece);
            assert_int_equal(expect_error(1), 0);
        }
    }
}

static void test_zero_bytes(void **state)
{
    static const char text[] = "a 1 4096\na 2\0 4096\n";
    (void)state;
    begin(text, sizeof text - 1, 5);
    assert_int_equal(expect_error(2), 1);
}

/* A line that never ends is no longer than the reader's patience: a comment is skipped, a number is refused. */
static void test_long_lines(void **state)
{
    enum {
        LENGTH = 100000
    };
    static char text[LENGTH + 16];
    (void)state;
    memset(text, '#', LENGTH);
    memcpy(text + LENGTH, "\nf 9\n", 6);
    begin(text, LENGTH + 5, 4096);
    expect_free(9);
    assert_true(reader.line == 2);
    expect_end();

    memset(text, '9', LENGTH);
    memcpy(text, "a ", 2);
    begin(text, LENGTH, 4096);
    assert_int_equal(expect_error(1), 0);

    memset(text, '0', LENGTH); /* leading zeros are zeros */
    memcpy(text, "f ", 2);
    begin(text, LENGTH, 4096);
    expect_free(0);
    expect_end();

    memset(text, ' ', LENGTH);
    memcpy(text, "f", 1);
    memcpy(text + LENGTH, "5\n", 3);
    begin(text, LENGTH + 2, 4096);
    expect_free(5);
    expect_end();
}

/* A disk that fails in the middle of a number must not make it a shorter number. */
static void test_failing_source(void **state)
{
    static const char text[] = "a 1 4096\na 2 81";
    (void)state;
    begin(text, sizeof text - 1, 4);
    source.is_failing = true;
    assert_int_equal(expect_error(2), 1);

    begin("a 1 4096\n", 9, 4);
    source.is_failing = true;
    assert_int_equal(expect_error(1), 1);

    begin("", 0, 4);
    source.is_failing = true;
    assert_int_equal(expect_error(0), 0);
}

/* Bytes that look like traces and are none: the reader ends, within its input, whatever it is given. */
static void test_random_bytes(void **state)
{
    static const char letters[] = "af# \t\r\n0123456789-x";
    test_random random = test_seed("test_random_bytes");
    char text[512];
    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t length = (size_t)test_below(&random, sizeof text);
        for (size_t i = 0; i < length; i++) {
            text[i] = letters[test_below(&random, sizeof letters - 1)];
        }
        begin(text, length, 1 + (size_t)test_below(&random, 40));
        trace_request request;
        unsigned count = 0;
        trace_kind kind;
        while ((kind = trace_next(&reader, &request)) == TRACE_ALLOC || kind == TRACE_FREE) {
            assert_true(kind == TRACE_FREE || request.size_bytes != 0);
            assert_true((request.align_bytes & (request.align_bytes - 1)) == 0);
            count++;
        }
        assert_true(count <= length / 3 + 1);
        assert_true((kind == TRACE_ERROR) == (reader.error != NULL));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_lines),     cmocka_unit_test(test_addresses_only), cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_bad_lines),      cmocka_unit_test(test_zero_bytes),     cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_failing_source), cmocka_unit_test(test_random_bytes),
    };
    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
