/* A file, stderr, and the end of the program. */
#define _GNU_SOURCE 1 /* O_CLOEXEC, O_LARGEFILE */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "posix.h"

#ifndef O_LARGEFILE
#define O_LARGEFILE 0 /* files of more than 2 GiB on 32 bits; others have them anyhow */
#endif

bool fallow__os_file_create(const char *path, fallow__os_file *file_out, bool *is_taken_out)
{
    /* for its owner alone: what it tells are addresses of a live program, as in /proc/PID/maps */
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_LARGEFILE, 0600);
    *is_taken_out = file < 0 && errno == EEXIST;
    *file_out = (fallow__os_file){file};
    return file >= 0;
}

static bool write_all(int file, const char *bytes, size_t count)
{
    while (count != 0) {
        ssize_t written = write(file, bytes, count);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        bytes += written;
        count -= (size_t)written;
    }
    return true;
}

bool fallow__os_file_write(const fallow__os_file *file, const char *bytes, size_t count)
{
    return write_all((int)file->handle, bytes, count);
}

void fallow__os_file_close(const fallow__os_file *file)
{
    (void)close((int)file->handle);
}

void fallow__os_print(const char *text)
{
    (void)write_all(STDERR_FILENO, text, strlen(text));
}

void fallow__os_at_exit(void (*leave)(void))
{
    (void)atexit(leave); /* refused: what leave() would have told stays untold */
}
