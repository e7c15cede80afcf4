/* Reading a trace: see trace.h.
 *
 * A line is read character by character, numbers as they come, so no line is too long and none is kept. One character
 * is looked at ahead: `peek` shows it, `take` moves on. */
#include "trace.h"

#include <stdbool.h>

#define NO_CHARACTER (-1)

void trace_begin(trace_reader *reader, trace_source *source, void *source_context)
{
    reader->source = source;
    reader->source_context = source_context;
    reader->line = 0;
    reader->error = NULL;
    reader->is_ended = 0;
    reader->first = 0;
    reader->used = 0;
}

static int peek(trace_reader *reader)
{
    if (reader->first == reader->used && !reader->is_ended) {
        int is_error = 0;
        reader->first = 0;
        reader->used = reader->source(reader->source_context, reader->buffer, sizeof reader->buffer, &is_error);
        if (is_error) {
            reader->used = 0;
            reader->error = "the file cannot be read further";
        }
        reader->is_ended = reader->used == 0;
    }
    return reader->first == reader->used ? NO_CHARACTER : (unsigned char)reader->buffer[reader->first];
}

static void take(trace_reader *reader)
{
    reader->first++;
}

static bool is_blank(int character)
{
    return character == ' ' || character == '\t' || character == '\r';
}

static bool is_line_end(int character)
{
    return character == '\n' || character == NO_CHARACTER;
}

static void skip_blanks(trace_reader *reader)
{
    while (is_blank(peek(reader))) {
        take(reader);
    }
}

static void skip_line(trace_reader *reader)
{
    while (!is_line_end(peek(reader))) {
        take(reader);
    }
}

/* The first complaint stays: a file that cannot be read makes its last line look short. */
static bool complain(trace_reader *reader, const char *error)
{
    if (reader->error == NULL) {
        reader->error = error;
    }
    return false;
}

static bool read_number(trace_reader *reader, uint64_t *value_out)
{
    uint64_t value = 0;
    skip_blanks(reader);
    int character = peek(reader);
    if (is_line_end(character)) {
        return complain(reader, "a number is missing");
    }
    if (character < '0' || character > '9') {
        return complain(reader, "this is not a decimal number");
    }
    for (; character >= '0' && character <= '9'; character = peek(reader)) {
        uint64_t digit = (uint64_t)(character - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return complain(reader, "a number does not fit in 64 bits");
        }
        value = value * 10 + digit;
        take(reader);
    }
    if (!is_blank(character) && !is_line_end(character)) {
        return complain(reader, "a number is followed by something else");
    }
    *value_out = value;
    return true;
}

static bool read_sizes(trace_reader *reader, trace_request *request)
{
    if (!read_number(reader, &request->size_bytes)) {
        return false;
    }
    if (request->size_bytes == 0) {
        return complain(reader, "a request of 0 bytes");
    }
    skip_blanks(reader);
    if (is_line_end(peek(reader))) {
        return true;
    }
    if (!read_number(reader, &request->align_bytes)) {
        return false;
    }
    if (request->align_bytes == 0 || (request->align_bytes & (request->align_bytes - 1)) != 0) {
        return complain(reader, "an alignment that is no power of two");
    }
    return true;
}

static trace_kind read_request(trace_reader *reader, trace_request *request_out)
{
    trace_request request = {0};
    int letter = peek(reader);
    take(reader);
    if ((letter != 'a' && letter != 'f' && letter != 'u') || !is_blank(peek(reader))) {
        complain(reader, "a line that is neither `a ID BYTES [ALIGN]`, `f ID` nor a comment");
        return TRACE_ERROR;
    }
    if (!read_number(reader, &request.id) || (letter != 'f' && !read_sizes(reader, &request))) {
        return TRACE_ERROR;
    }
    skip_blanks(reader);
    if (!is_line_end(peek(reader))) {
        complain(reader, "a word too many");
        return TRACE_ERROR;
    }
    if (reader->error != NULL) { /* the line's end is where reading failed, not where the line ends */
        return TRACE_ERROR;
    }
    request.is_uncommitted = letter == 'u';
    *request_out = request;
    return letter != 'f' ? TRACE_ALLOC : TRACE_FREE;
}

trace_kind trace_next(trace_reader *reader, trace_request *request_out)
{
    while (reader->error == NULL) {
        if (reader->line > 0) { /* finish the line before: a request leaves its end unread */
            if (peek(reader) == '\n') {
                take(reader);
            }
        }
        skip_blanks(reader);
        if (peek(reader) == NO_CHARACTER) {
            return reader->error == NULL ? TRACE_END : TRACE_ERROR;
        }
        reader->line++;
        if (peek(reader) == '#') {
            skip_line(reader);
        } else if (peek(reader) != '\n') {
            return read_request(reader, request_out);
        }
    }
    return TRACE_ERROR;
}
