/* How much memory this process may have.
 *
 * A container's limit is that of a control group, and a group can have no more than each group above it.
 * /proc/self/cgroup names ours, one line for each hierarchy:
 *
 *     0::/a/b             version 2:  /sys/fs/cgroup/a/b/memory.max, /sys/fs/cgroup/a/memory.max, ...
 *     4:memory:/a/b       version 1:  /sys/fs/cgroup/memory/a/b/memory.limit_in_bytes, ...
 *
 * Inside a container the path is often that of the outside, and only the root of the hierarchy is there: it is looked
 * at last. "max", and a number larger than memory, are no limit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "posix.h"

/* The number that a file begins with; UINT64_MAX if there is none. */
static uint64_t read_limit(const char *path)
{
    fallow__posix_lines lines;
    char line[64];
    uint64_t limit = UINT64_MAX;
    if (!fallow__posix_open_lines(path, &lines)) {
        return limit;
    }
    if (fallow__posix_next_line(&lines, line, sizeof line) && line[0] >= '0' && line[0] <= '9') {
        limit = strtoull(line, NULL, 10);
    }
    fallow__posix_close_lines(&lines);
    return limit;
}

/* The least limit of a group and of all above it. */
static uint64_t group_limit(const char *root, const char *group, const char *file)
{
    char path[FALLOW__POSIX_PATH_BYTES];
    char above[FALLOW__POSIX_PATH_BYTES];
    uint64_t least = UINT64_MAX;
    snprintf(above, sizeof above, "%s", group);
    for (;;) {
        char *slash = strrchr(above, '/');
        if (slash != NULL && slash[1] == '\0') {
            *slash = '\0'; /* the root's own name is a slash */
        }
        int length = snprintf(path, sizeof path, "%s%s/%s", root, above, file);
        uint64_t limit = length > 0 && (size_t)length < sizeof path ? read_limit(path) : UINT64_MAX;
        least = limit < least ? limit : least;
        slash = strrchr(above, '/');
        if (slash == NULL) {
            return least;
        }
        *slash = '\0';
    }
}

uint64_t fallow__os_memory_limit(void)
{
    fallow__posix_lines lines;
    char line[FALLOW__POSIX_PATH_BYTES];
    struct sysinfo machine;
    uint64_t least = sysinfo(&machine) == 0 ? (uint64_t)machine.totalram * machine.mem_unit : UINT64_MAX;
    if (fallow__posix_open_lines("/proc/self/cgroup", &lines)) {
        while (fallow__posix_next_line(&lines, line, sizeof line)) {
            const char *names = strchr(line, ':');
            const char *group = names != NULL ? strchr(names + 1, ':') : NULL;
            uint64_t limit = UINT64_MAX;
            if (group != NULL && group == names + 1) {
                limit = group_limit("/sys/fs/cgroup", group + 1, "memory.max");
            } else if (group != NULL && strncmp(names, ":memory:", 8) == 0) {
                limit = group_limit("/sys/fs/cgroup/memory", group + 1, "memory.limit_in_bytes");
            }
            least = limit < least ? limit : least;
        }
        fallow__posix_close_lines(&lines);
    }
    return least != UINT64_MAX ? least : 0;
}

/* Where the path is that of the outside, the root of the hierarchy is ours. */
bool fallow__posix_group_file(const char *file, char path_out[FALLOW__POSIX_PATH_BYTES])
{
    fallow__posix_lines lines;
    char line[FALLOW__POSIX_PATH_BYTES];
    bool is_found = false;
    if (!fallow__posix_open_lines("/proc/self/cgroup", &lines)) {
        return false;
    }
    while (!is_found && fallow__posix_next_line(&lines, line, sizeof line)) {
        if (strncmp(line, "0::", 3) != 0) {
            continue;
        }
        const char *groups[] = {line + 3, ""};
        for (int i = 0; i < 2 && !is_found; i++) {
            int length = snprintf(path_out, FALLOW__POSIX_PATH_BYTES, "/sys/fs/cgroup%s/%s", groups[i], file);
            is_found = length > 0 && length < FALLOW__POSIX_PATH_BYTES && access(path_out, R_OK) == 0;
        }
    }
    fallow__posix_close_lines(&lines);
    return is_found;
}
