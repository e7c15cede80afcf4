/* What the tools ask of an operating system beyond the library and the C library; posix/ and win32/ implement it. */
#ifndef FALLOW_TOOLS_SYSTEM_H
#define FALLOW_TOOLS_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A clock that only goes forward, in nanoseconds from an unspecified start. */
uint64_t system_clock_ns(void);

/* Whether a process can be given a limit on its addresses here, as RLIMIT_AS and `ulimit -v` are. */
bool system_has_address_limit(void);

/* Call story(context) in a child process whose addresses are limited to limit_bytes, and wait for it. What it prints
 * comes out before this returns.
 *
 * Returns  true and the story's result (0 to 255) when it ran to its end; false where there is no such limit, or the
 *          child could not be started, or died */
bool system_run_limited(uint64_t limit_bytes, int (*story)(void *context), void *context, int *result_out);

/* Whether stdout or stderr is a terminal that obeys ANSI sequences; makes it obey where that has to be asked for. */
bool system_is_terminal(FILE *stream);

void system_sleep_ns(uint64_t duration_ns);

#endif
