/* Whether memory can be touched, found out without a fault: a system call is asked to touch it, and says no instead.
 * One implementation for each system, and one for the simulated system, which looks at its states. */
#ifndef FALLOW_PROBE_H
#define FALLOW_PROBE_H

#include <stdbool.h>

bool probe_readable(const void *address);

/* The byte keeps its value; its page may become resident. */
bool probe_writable(void *address);

#endif
