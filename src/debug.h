/* What FALLOW_DEBUG asks of arenas: their statistics in the log, their requests in a trace. Sees: fallow.h. */
#ifndef FALLOW_DEBUG_H
#define FALLOW_DEBUG_H

#include "fallow.h"

/* An arena has been created: are its requests traced? No lock is held, here and below. */
bool fallow__debug_begin(const char *name);

/* It is about to be destroyed, and still listed. */
void fallow__debug_leave(fallow_arena *arena, bool is_traced);

#endif
