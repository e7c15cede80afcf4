/* How far something is, on stderr: a bar where that is a terminal, nothing anywhere else. */
#ifndef FALLOW_TOOLS_PROGRESS_H
#define FALLOW_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct progress {
    bool is_shown;
    uint64_t next_ns; /* not drawn before; ten times a second is enough */
} progress;

void progress_begin(progress *self);

/* done of total (0: not known), and what is being done. Cheap: may be called very often. */
void progress_show(progress *self, uint64_t done, uint64_t total, const char *what);

/* Take it away: before anything else is printed. It comes back with the next progress_show. */
void progress_end(progress *self);

#endif
