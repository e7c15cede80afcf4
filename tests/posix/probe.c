/* Asks with a pipe: write(2) reads from our memory, read(2) writes to it, and both answer EFAULT instead of SIGSEGV. */
#include "../probe.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int *ends(void)
{
    static int both[2];
    static bool is_open;
    if (!is_open) {
        if (pipe(both) != 0) {
            abort();
        }
        is_open = true;
    }
    return both;
}

bool probe_can_read(const void *address)
{
    char byte;
    if (write(ends()[1], address, 1) != 1) {
        return false;
    }
    return read(ends()[0], &byte, 1) == 1;
}

bool probe_can_write(void *address)
{
    char byte;
    if (write(ends()[1], address, 1) != 1) {
        return false; /* no memory here is writable and not readable */
    }
    if (read(ends()[0], address, 1) == 1) {
        return true; /* the same byte as before */
    }
    /* a pipe keeps the byte when the copy fails */
    if (read(ends()[0], &byte, 1) != 1) {
        abort();
    }
    return false;
}

int probe_fork(int (*in_child)(void))
{
    const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}; /* by a test framework, which would go on */
    int state = 0;
    pid_t child = fork();
    if (child == 0) {
        for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
            signal(caught[i], SIG_DFL);
        }
        alarm(60);
        _exit(in_child());
    }
    if (child < 0) {
        abort();
    }
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(state) ? WEXITSTATUS(state) : 100;
}
