/* Settings that are put back by a process of their own: it reads from a pipe whose other end only the test has, and
 * goes to work when that is closed, on purpose or because the test is no more. */
#define _GNU_SOURCE 1 /* pipe2 */
#include "setting.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

bool setting_read(const char *path, char *text_out, size_t text_bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return false;
    }
    ssize_t got = read(file, text_out, text_bytes - 1);
    text_out[got > 0 ? got : 0] = '\0';
    return close(file) == 0 && got > 0;
}

bool setting_write(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) {
        return false;
    }
    bool is_written = write(file, text, strlen(text)) == (ssize_t)strlen(text);
    return close(file) == 0 && is_written;
}

/* The guardian: whatever ends the test by a signal to its group does not end this. */
static void guard(int pipe, const char *path, const char *old)
{
    char now[64];
    char byte;
    (void)setsid();
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    while (read(pipe, &byte, 1) > 0) {
    }
    _exit(setting_write(path, old) && setting_read(path, now, sizeof now) && strcmp(now, old) == 0 ? 0 : 1);
}

bool setting_change(setting *change, const char *path, const char *text)
{
    char old[64];
    int ends[2];
    if (!setting_read(path, old, sizeof old) || access(path, W_OK) != 0 || pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    pid_t guardian = fork();
    if (guardian == 0) {
        close(ends[1]);
        guard(ends[0], path, old);
    }
    close(ends[0]);
    *change = (setting){.guardian = guardian, .pipe = ends[1]};
    if (guardian > 0 && setting_write(path, text)) {
        return true;
    }
    (void)setting_restore(change);
    return false;
}

bool setting_restore(setting *change)
{
    int status = -1;
    close(change->pipe);
    bool is_over = change->guardian > 0 && waitpid(change->guardian, &status, 0) == change->guardian;
    return is_over && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
