/* Reading a trace: the page requests of a real program, one on a line.
 *
 *     a ID BYTES [ALIGN]    a request of BYTES bytes; ALIGN, where given, is a power of two
 *     u ID BYTES [ALIGN]    the same of addresses only, which cannot be touched
 *     f ID                  its end
 *     # anything            a comment, of any length
 *
 * Numbers are decimal. Words are separated by spaces or tabs; empty lines are fine, and so is CR before a line's end.
 * The reader takes its input in pieces and keeps none of it, so a trace may be of any length. What the ids mean (is one
 * taken twice, is one freed that was never taken) is the caller's to check; all else in a line is checked here. */
#ifndef FALLOW_TOOLS_TRACE_H
#define FALLOW_TOOLS_TRACE_H

#include <stddef.h>
#include <stdint.h>

typedef enum trace_kind {
    TRACE_ALLOC,
    TRACE_FREE,
    TRACE_END,  /* the input has ended; it stays ended */
    TRACE_ERROR /* reader.error says what is wrong in line reader.line; no more is read */
} trace_kind;

typedef struct trace_request {
    uint64_t id;
    uint64_t size_bytes;  /* never 0 for TRACE_ALLOC, 0 for TRACE_FREE */
    uint64_t align_bytes; /* a power of two, or 0 where none was given */
    int is_uncommitted;   /* addresses only */
} trace_request;

/* Bytes of the input into `bytes`, at most room_bytes; 0 at the end. Sets *is_error_out when it cannot read. */
typedef size_t trace_source(void *source_context, char *bytes, size_t room_bytes, int *is_error_out);

#define TRACE_BUFFER_BYTES 16384

typedef struct trace_reader {
    trace_source *source;
    void *source_context;
    uint64_t line;     /* the number of the line read last, from 1 */
    const char *error; /* after TRACE_ERROR: a sentence without the line's number; else NULL */
    int is_ended;
    size_t first; /* what has been taken of the buffer, and what it holds */
    size_t used;
    char buffer[TRACE_BUFFER_BYTES];
} trace_reader;

void trace_begin(trace_reader *reader, trace_source *source, void *source_context);

/* The next request. *request_out is written for TRACE_ALLOC and TRACE_FREE only. */
trace_kind trace_next(trace_reader *reader, trace_request *request_out);

#endif
