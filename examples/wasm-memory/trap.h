/* Traps: an access that faults in a guarded range ends the function that made it, and nothing else.
 *
 * trap_posix.c does it with SIGSEGV, trap_win32.c with a vectored exception handler. The handler goes back to trap_run
 * without running what lies between, as a Wasm engine does with code it has compiled itself: functions run this way must
 * hold no lock and no memory that only they know of. */
#ifndef TRAP_H
#define TRAP_H

#include <stdbool.h>
#include <stddef.h>

/* Have faults looked at from now on. Once per process. */
bool trap_install(void);

/* Call function(context). false when it touched a page of the range that is not accessible, or called trap_raise. A
 * fault anywhere else is the program's, and ends it as ever. Calls may not be nested in one thread. */
bool trap_run(void (*function)(void *context), void *context, const void *base, size_t size_bytes);

/* End the function that trap_run called. */
_Noreturn void trap_raise(void);

#endif
