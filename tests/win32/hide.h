/* Functions that this program cannot find, as on an older Windows.
 *
 * src/win32 looks for them with GetProcAddress; a test that is linked with hide.c asks this list first. */
#ifndef FALLOW_HIDE_H
#define FALLOW_HIDE_H

enum {
    HIDDEN_MAX = 4
};

extern const char *hidden_functions[HIDDEN_MAX]; /* names, up to the first NULL */

/* One that is found, and is the test's own; NULL = none. */
extern const char *replaced_function;
extern void (*replacement)(void);

#endif
