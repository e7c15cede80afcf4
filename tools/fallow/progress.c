/* A bar on a terminal: see progress.h. */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>

#include "system.h"

enum {
    BAR_COLUMNS = 30,
    INTERVAL_NS = 100000000
};

void progress_begin(progress *self)
{
    self->is_shown = system_is_terminal(stderr);
    self->next_ns = 0;
}

void progress_show(progress *self, uint64_t done, uint64_t total, const char *what)
{
    static const char full[] = "##############################";
    static const char empty[] = "..............................";
    if (!self->is_shown) {
        return;
    }
    uint64_t now_ns = system_clock_ns();
    if (now_ns < self->next_ns) {
        return;
    }
    self->next_ns = now_ns + INTERVAL_NS;
    double part = total == 0 ? 0 : done < total ? (double)done / (double)total : 1;
    int columns = (int)(part * BAR_COLUMNS);
    fprintf(stderr, "\r\033[K[%.*s%.*s] %3d %%  %.60s", columns, full, BAR_COLUMNS - columns, empty, (int)(part * 100),
            what);
    fflush(stderr);
}

void progress_end(progress *self)
{
    if (self->is_shown && self->next_ns != 0) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
        self->next_ns = 0;
    }
}
