/* Lines for a person, which FALLOW_DEBUG has asked for. Sees: fallow.h. */
#ifndef FALLOW_LOG_H
#define FALLOW_LOG_H

#include "fallow.h"

/* One line, without its end: to the program's callback, else to stderr. No lock is held. */
void fallow__log(const char *line);

/* A fallow_writer that makes lines of what it gets; one that is longer than there is room for is cut. */
typedef struct fallow__log_lines {
    size_t used;
    char line[192];
} fallow__log_lines;
bool fallow__log_write(void *log_lines, const char *text, size_t bytes);

#endif
