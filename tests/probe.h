/* Whether an address can be read or written, asked without dying.
 *
 * A test of memory states must see that pages fault. Both systems tell without a signal or an exception when a system
 * call is given the address: EFAULT on Linux, ERROR_NOACCESS on Windows. tests/posix/probe.c and
 * tests/win32/probe.c; a test program links one of them. */
#ifndef FALLOW_PROBE_H
#define FALLOW_PROBE_H

#include <stdbool.h>

bool probe_can_read(const void *address);

/* Leaves the byte as it was; a page without memory gets some. */
bool probe_can_write(void *address);

/* Fork: in_child() is all that the child does, and what it ends with, 0 to 99. Returns that; 100 where the child has
 * crashed, or has taken a minute; -1 where there is no fork. */
int probe_fork(int (*in_child)(void));

#endif
