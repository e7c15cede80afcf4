/* Word of little memory: files that can be polled.
 *
 *   /proc/pressure/memory                            stalls of the whole machine; Linux 4.20, triggers since 5.2
 *   /sys/fs/cgroup GROUP/memory.pressure             stalls of our control group, version 2
 *   /sys/fs/cgroup GROUP/memory.events               our group has met its limit, or a program in it was ended
 *
 * A stall file is told once what is of interest; from then on poll says POLLPRI when it has happened, and POLLERR when
 * the group is no more. The events file says POLLPRI and POLLERR at once whenever a count in it has changed since it
 * was last read. Each may be missing, or forbidden: one of them is enough. (In a container the first may tell of the
 * whole machine; to give back memory then does no harm.)
 *
 * Source: Linux Documentation/accounting/psi.rst; Documentation/admin-guide/cgroup-v2.rst; fs/kernfs/file.c,
 * kernfs_generic_poll */
#define _GNU_SOURCE 1 /* O_CLOEXEC */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "posix.h"

enum {
    STALL_OF_ALL,
    STALL_OF_GROUP,
    EVENTS_OF_GROUP,
    SOURCES,
    PAUSE_MS = 1000 /* at least, from one word to the next */
};

/* 150 ms of standing still within 2 s. A program without privileges may ask for multiples of 2 s only. */
static const char trigger[] = "some 150000 2000000";

typedef struct pressure {
    int end;           /* eventfd: readable when it is over */
    int file[SOURCES]; /* -1: not there */
    int has_told;      /* so first there is a pause */
} pressure;

static_assert(sizeof(pressure) <= sizeof(fallow__os_pressure), "it fits its room");

static pressure *pressure_of(fallow__os_pressure *given)
{
    return (pressure *)(void *)given->room;
}

static int open_stalls(const char *path)
{
    int file = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (file >= 0 && write(file, trigger, sizeof trigger) < 0) {
        close(file);
        return -1;
    }
    return file;
}

/* What has changed until now is known. */
static void read_events(int file)
{
    char counts[256];
    while (pread(file, counts, sizeof counts, 0) < 0 && errno == EINTR) {
    }
}

static int open_events(const char *path)
{
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file >= 0) {
        read_events(file);
    }
    return file;
}

fallow_status fallow__os_pressure_open(fallow__os_pressure *given, fallow__os_error *error_out)
{
    pressure *ours = pressure_of(given);
    char path[FALLOW__POSIX_PATH_BYTES];
    int saved = errno;
    *ours = (pressure){.end = eventfd(0, EFD_CLOEXEC), .file = {-1, -1, -1}};
    if (ours->end < 0) {
        return fallow__posix_cause(errno, FALLOW__POSIX_ADVISE, 0, error_out);
    }
    ours->file[STALL_OF_ALL] = open_stalls("/proc/pressure/memory");
    if (fallow__posix_group_file("memory.pressure", path)) {
        ours->file[STALL_OF_GROUP] = open_stalls(path);
    }
    if (fallow__posix_group_file("memory.events", path)) {
        ours->file[EVENTS_OF_GROUP] = open_events(path);
    }
    for (int i = 0; i < SOURCES; i++) {
        if (ours->file[i] >= 0) {
            errno = saved;
            return FALLOW_OK;
        }
    }
    *error_out = (fallow__os_error){.code = errno};
    close(ours->end);
    return FALLOW_ERR_UNSUPPORTED;
}

/* What poll has found: true if memory is short. A source that is gone is forgotten. */
static bool is_told(pressure *ours, const struct pollfd *polled)
{
    bool is_short = false;
    for (int i = 0; i < SOURCES; i++) {
        short found = polled[1 + i].revents;
        if (found == 0) {
            continue;
        }
        if (i == EVENTS_OF_GROUP && (found & POLLPRI) != 0) {
            read_events(ours->file[i]);
            is_short = true;
        } else if ((found & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
            close(ours->file[i]);
            ours->file[i] = -1;
        } else {
            is_short = true;
        }
    }
    return is_short;
}

bool fallow__os_pressure_wait(fallow__os_pressure *given)
{
    pressure *ours = pressure_of(given);
    bool is_pausing = ours->has_told != 0;
    ours->has_told = 0;
    for (;;) {
        struct pollfd polled[1 + SOURCES] = {{.fd = ours->end, .events = POLLIN}};
        for (int i = 0; i < SOURCES; i++) {
            polled[1 + i] = (struct pollfd){.fd = ours->file[i], .events = POLLPRI}; /* poll passes over -1 */
        }
        int count = poll(polled, is_pausing ? 1 : 1 + SOURCES, is_pausing ? PAUSE_MS : -1);
        if (count > 0 && polled[0].revents != 0) {
            return false;
        }
        if (count > 0 && is_told(ours, polled)) {
            ours->has_told = 1;
            return true;
        }
        is_pausing = is_pausing && count != 0; /* a signal: the pause is a little longer */
    }
}

void fallow__os_pressure_end(fallow__os_pressure *given)
{
    static const uint64_t one = 1;
    while (write(pressure_of(given)->end, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void fallow__os_pressure_close(fallow__os_pressure *given)
{
    pressure *ours = pressure_of(given);
    for (int i = 0; i < SOURCES; i++) {
        if (ours->file[i] >= 0) {
            close(ours->file[i]);
        }
    }
    close(ours->end);
}
