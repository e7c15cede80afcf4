/* The file of FALLOW_DEBUG=trace=FILE: what runs the program asked for, in the form that `fallow replay` reads.
 *
 * The id of a run is its address, which no other live run has. It is told of after it has begun, and before it ends:
 * so the lines of one id are in their order, and no arena's lock is needed. Sees: fallow.h. */
#ifndef FALLOW_TRACER_H
#define FALLOW_TRACER_H

#include "fallow.h"

/* Is there a trace? Opens the file the first time, if one was asked for. What follows is called only if there was. */
bool fallow__tracer_begin(void);

/* A line that replay passes over. */
void fallow__tracer_comment(const char *comment);

/* A run has begun; alignment 0 = that of the page. */
void fallow__tracer_run(const void *base, size_t size_bytes, size_t align_bytes, bool is_uncommitted);

/* It is about to end. */
void fallow__tracer_free(const void *base);

/* Its size has changed; with rest_bytes not 0, a second run begins behind it. */
void fallow__tracer_change(const void *base, size_t size_bytes, size_t rest_bytes, bool is_uncommitted);

/* Write down what has been kept back. is_last: the program ends, and nothing is kept back from now on. */
void fallow__tracer_flush(bool is_last);

#endif
