/* Run something that may crash or hang, and live: in a forked child where there is fork (tests/posix/trial.c), else
 * just so (tests/win32/trial.c). */
#ifndef FALLOW_TRIAL_H
#define FALLOW_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

/* What the body ended with: its result, or -1 after a crash or when trial_patience ran out. */
int trial_run(int (*body)(void *context), void *context);

/* From now on the body has so many seconds; more than that is a hang. */
void trial_patience(unsigned seconds);

/* Words that a body writes and its starter reads, whatever has become of the body. */
enum {
    TRIAL_NOTES = 8
};
uint64_t *trial_notes(void);

/* Nothing the body prints from now on is seen. */
void trial_be_quiet(void);

/* Whether a trial is a process of its own, so that one that failed leaves nothing behind and another can follow. */
bool trial_is_apart(void);

#endif
