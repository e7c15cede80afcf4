/* What the tools ask of Linux: see system.h. */
#define _GNU_SOURCE
#include "../system.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_NO_LIMIT 255 /* of the child: the limit could not be set */

uint64_t system_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool system_has_address_limit(void)
{
    return true;
}

/* The lower of the two is left as it is: a limit that was set from outside stays the smaller one. */
static bool limit_addresses(uint64_t limit_bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0) {
        return false;
    }
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > limit_bytes) {
        limit.rlim_cur = (rlim_t)limit_bytes;
    }
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

bool system_run_limited(uint64_t limit_bytes, int (*story)(void *context), void *context, int *result_out)
{
    fflush(stdout); /* else the child prints it again */
    pid_t child = fork();
    if (child == 0) {
        int result = limit_addresses(limit_bytes) ? story(context) : EXIT_NO_LIMIT;
        fflush(stdout);
        _exit(result);
    }
    int wait_status = 0;
    pid_t waited = -1;
    while (child > 0 && (waited = waitpid(child, &wait_status, 0)) < 0 && errno == EINTR) {
    }
    if (waited != child || child <= 0 || !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) == EXIT_NO_LIMIT) {
        return false;
    }
    *result_out = WEXITSTATUS(wait_status);
    return true;
}

bool system_is_terminal(FILE *stream)
{
    return isatty(fileno(stream)) == 1;
}

void system_sleep_ns(uint64_t duration_ns)
{
    struct timespec left = {.tv_sec = (time_t)(duration_ns / 1000000000u),
                            .tv_nsec = (long)(duration_ns % 1000000000u)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}
