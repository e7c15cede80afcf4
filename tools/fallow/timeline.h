/* What a replay held, request by request, and a chart of it.
 *
 * However long the trace is, at most TIMELINE_POINTS points are kept: when there is no room, every second one goes, and
 * the next ones are taken half as often. What is in use is known at every request, so a point has the most since the
 * point before it, and no peak is lost; the rest is as it was at the point. */
#ifndef FALLOW_TOOLS_TIMELINE_H
#define FALLOW_TOOLS_TIMELINE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
    TIMELINE_POINTS = 800 /* as many as the chart has pixels for */
};

#define TIMELINE_HEIGHT 340

typedef struct timeline_point {
    uint64_t request;
    uint64_t in_use_bytes;
    uint64_t committed_bytes;
    uint64_t reserved_bytes;
    uint64_t resident_bytes; /* of the process */
} timeline_point;

typedef struct timeline {
    uint64_t stride; /* requests from point to point; 0 before the first */
    uint64_t next_request;
    uint64_t most_in_use_bytes; /* since the last point */
    unsigned count;
    timeline_point points[TIMELINE_POINTS];
} timeline;

/* {0} is an empty one. Tell what is in use after each request; true: a point is wanted. */
static inline bool timeline_note(timeline *self, uint64_t request, uint64_t in_use_bytes)
{
    self->most_in_use_bytes = in_use_bytes > self->most_in_use_bytes ? in_use_bytes : self->most_in_use_bytes;
    return request >= self->next_request;
}

/* in_use_bytes of the point is filled in here. */
void timeline_add(timeline *self, const timeline_point *point);

/* As part of a drawing that svg_begin has begun; its upper edge is at `top`, its width that of a picture. */
void timeline_draw(const timeline *self, FILE *out, double top);

#endif
