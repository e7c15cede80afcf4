/* Signals that arrive all the time, in threads that want them: tests/posix/pest.c and tests/win32/pest.c. */
#ifndef FALLOW_TEST_PEST_H
#define FALLOW_TEST_PEST_H

#include <stdbool.h>

/* From now on threads that ask for it are sent a signal again and again, whose handler counts. is_restarting: calls of
 * the system that it interrupts go on by themselves (SA_RESTART); else they end with EINTR. false: there are no signals
 * here. */
bool pest_begin(bool is_restarting);

/* Returns how many arrived. */
unsigned long long pest_end(void);

/* This thread is to get signals, or no more. Before it ends it must say no more. */
void pest_bite_me(bool is_wanted);

#endif
