/* As much of threads as tests need: tests/posix/threads.c and tests/win32/threads.c. */
#ifndef FALLOW_TEST_THREADS_H
#define FALLOW_TEST_THREADS_H

enum {
    THREADS_MAX = 64
};

/* Run body(context, 0) to body(context, count - 1) at the same time; returns when all have returned. */
void threads_run(unsigned count, void (*body)(void *context, unsigned index), void *context);

#endif
