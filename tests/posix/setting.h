/* A setting of the machine that a test changes, as root, and that is what it was afterwards, however the test ends. */
#ifndef FALLOW_TESTS_SETTING_H
#define FALLOW_TESTS_SETTING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct setting {
    pid_t guardian; /* puts the old value back when this process lets go of the pipe, or dies */
    int pipe;
} setting;

bool setting_read(const char *path, char *text_out, size_t text_bytes);

bool setting_write(const char *path, const char *text);

/* Change one. false: it cannot be changed, and is as it was. */
bool setting_change(setting *change, const char *path, const char *text);

/* Put it back; the latest change first. false: it is not what it was. */
bool setting_restore(setting *change);

#endif
