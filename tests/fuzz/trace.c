/* Fuzz target: the trace reader of `fallow replay` (tools/fallow/trace.c), and the books it keeps by id (live.c).
 *
 * The text is read three times, in pieces of different lengths, and each time compared with a twin that is written the
 * other way round: it has the whole line before it looks at a word of it. */
#include "fuzz.h"

#include <errno.h>

#include "live.h"
#include "trace.h"

/* --- the input in pieces ------------------------------------------------------------------------------------- */

typedef struct text_source {
    const char *bytes;
    size_t left;
    size_t piece; /* at most so much at a time */
} text_source;

static size_t read_text(void *source_context, char *bytes, size_t room_bytes, int *is_error_out)
{
    text_source *source = source_context;
    size_t now = source->left < source->piece ? source->left : source->piece;
    (void)is_error_out;
    now = now < room_bytes ? now : room_bytes;
    memcpy(bytes, source->bytes, now);
    source->bytes += now;
    source->left -= now;
    return now;
}

/* --- the twin ------------------------------------------------------------------------------------------------ */

typedef struct twin {
    const char *next;
    const char *end;
    uint64_t line;
} twin;

/* The next word of a line; an empty one at its end. */
static size_t word_of(const char **text, const char *end, const char **word_out)
{
    const char *word = *text;
    while (word < end && (*word == ' ' || *word == '\t' || *word == '\r')) {
        word++;
    }
    const char *behind = word;
    while (behind < end && *behind != ' ' && *behind != '\t' && *behind != '\r') {
        behind++;
    }
    *text = behind;
    *word_out = word;
    return (size_t)(behind - word);
}

static bool number_of(const char *word, size_t length, uint64_t *number_out)
{
    char digits[32];
    size_t zeros = 0;
    while (zeros + 1 < length && word[zeros] == '0') {
        zeros++;
    }
    word += zeros;
    length -= zeros;
    if (length == 0 || length > 20) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (word[i] < '0' || word[i] > '9') {
            return false;
        }
    }
    memcpy(digits, word, length);
    digits[length] = '\0';
    errno = 0;
    *number_out = strtoull(digits, NULL, 10);
    return errno == 0;
}

static bool is_power(uint64_t number)
{
    uint64_t power = 1;
    while (power != 0 && power != number) {
        power *= 2;
    }
    return power != 0;
}

static trace_kind line_means(const char *text, const char *end, trace_request *request_out)
{
    const char *word;
    size_t length = word_of(&text, end, &word);
    trace_request request = {0};
    const char kind = length == 1 ? *word : '?';
    if (kind != 'a' && kind != 'u' && kind != 'f') {
        return TRACE_ERROR;
    }
    length = word_of(&text, end, &word);
    if (!number_of(word, length, &request.id)) {
        return TRACE_ERROR;
    }
    length = word_of(&text, end, &word);
    if (kind != 'f') {
        if (!number_of(word, length, &request.size_bytes) || request.size_bytes == 0) {
            return TRACE_ERROR;
        }
        length = word_of(&text, end, &word);
        if (length != 0) {
            if (!number_of(word, length, &request.align_bytes) || !is_power(request.align_bytes)) {
                return TRACE_ERROR;
            }
            length = word_of(&text, end, &word);
        }
    }
    request.is_uncommitted = kind == 'u';
    *request_out = request;
    return length != 0 ? TRACE_ERROR : kind == 'f' ? TRACE_FREE : TRACE_ALLOC;
}

static trace_kind twin_next(twin *self, trace_request *request_out)
{
    while (self->next < self->end) {
        const char *text = self->next;
        const char *newline = memchr(text, '\n', (size_t)(self->end - text));
        const char *end = newline != NULL ? newline : self->end;
        const char *rest = text;
        const char *word;
        size_t length = word_of(&rest, end, &word);
        self->next = newline != NULL ? newline + 1 : self->end;
        if (newline == NULL && length == 0) {
            break; /* blanks behind the last newline are no line */
        }
        self->line++;
        if (length != 0 && *word != '#') {
            return line_means(text, end, request_out);
        }
    }
    return TRACE_END;
}

/* --- the books ----------------------------------------------------------------------------------------------- */

enum {
    RUNS_MAX = 64
};

typedef struct books {
    live_runs live;
    live_run twin[RUNS_MAX]; /* in no order */
    size_t count;
} books;

static size_t find_in_twin(const books *self, uint64_t id)
{
    size_t index = 0;
    while (index < self->count && self->twin[index].id != id) {
        index++;
    }
    return index;
}

/* A place for the run that the request itself says, so that inputs can have runs overlap. */
static void enter(books *self, const trace_request *request)
{
    live_run run = {
        .id = request->id,
        .base = (unsigned char *)(uintptr_t)(4096 * (1 + request->id % 512)),
        .size_bytes = (size_t)(4096 * (1 + request->size_bytes % 16)),
    };
    live_result expected = find_in_twin(self, run.id) < self->count ? LIVE_DUPLICATE_ID : LIVE_OK;
    live_run other;
    if (self->count == RUNS_MAX) {
        return;
    }
    for (size_t i = 0; i < self->count && expected == LIVE_OK; i++) {
        const live_run *some = &self->twin[i];
        bool is_apart = some->base + some->size_bytes <= run.base || run.base + run.size_bytes <= some->base;
        expected = is_apart ? LIVE_OK : LIVE_OVERLAP;
    }
    assert_int_equal(live_add(&self->live, &run, &other), expected);
    if (expected == LIVE_OK) {
        self->twin[self->count++] = run;
    } else if (expected == LIVE_OVERLAP) {
        assert_true(other.base < run.base + run.size_bytes && run.base < other.base + other.size_bytes);
        assert_true(find_in_twin(self, other.id) < self->count);
    }
}

static void strike(books *self, uint64_t id)
{
    size_t index = find_in_twin(self, id);
    const live_run *found = live_find(&self->live, id);
    assert_int_equal(found != NULL, index < self->count);
    if (found != NULL) {
        assert_true(found->base == self->twin[index].base && found->size_bytes == self->twin[index].size_bytes);
        live_remove(&self->live, id);
        self->twin[index] = self->twin[--self->count];
    }
}

/* --- the target ---------------------------------------------------------------------------------------------- */

static trace_reader reader; /* 16 KiB */

static void read_all(const char *text, size_t length, size_t piece, books *all)
{
    text_source source = {text, length, piece};
    twin expected = {text, text + length, 0};
    trace_request request = {0};
    trace_request wanted = {0};
    trace_kind kind;
    trace_begin(&reader, read_text, &source);
    do {
        kind = trace_next(&reader, &request);
        assert_int_equal(kind, twin_next(&expected, &wanted));
        if (kind == TRACE_ALLOC || kind == TRACE_FREE) {
            assert_true(reader.line == expected.line);
            assert_true(request.id == wanted.id && request.size_bytes == wanted.size_bytes);
            assert_true(request.align_bytes == wanted.align_bytes && request.is_uncommitted == wanted.is_uncommitted);
            if (all != NULL && kind == TRACE_ALLOC) {
                enter(all, &request);
            } else if (all != NULL) {
                strike(all, request.id);
            }
        }
    } while (kind == TRACE_ALLOC || kind == TRACE_FREE);
    if (kind == TRACE_ERROR) {
        assert_true(reader.line == expected.line);
    }
    assert_int_equal(reader.error != NULL, kind == TRACE_ERROR);
    assert_int_equal(trace_next(&reader, &request), kind); /* it stays so */
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes)
{
    static const size_t pieces[] = {SIZE_MAX, 1, 7};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        books all = {.count = 0};
        read_all((const char *)bytes, size_bytes, pieces[i], i == 0 ? &all : NULL);
        live_destroy(&all.live);
    }
    return 0;
}
