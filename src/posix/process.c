/* Seeing a process, by what /proc tells of it: any process, with what rights this program has.
 *
 *   /proc/PID/smaps    its mappings: same user, or root (ptrace access)
 *   /proc/PID/status   its figures: everyone
 *   /proc/PID/limits   its resource limits: everyone
 *   /proc/PID/cgroup   its control groups; /proc/self/mountinfo tells where they are
 *   /proc/PID/mem      its memory: same user, or root
 *
 * Source: Linux Documentation/filesystems/proc.rst, Documentation/admin-guide/cgroup-v2.rst */
#define _GNU_SOURCE 1        /* O_CLOEXEC, pread */
#define _FILE_OFFSET_BITS 64 /* addresses of 64-bit processes, also for a 32-bit program */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../smaps.h"
#include "posix.h"

uint64_t fallow__os_process_id(void)
{
    return (uint64_t)getpid();
}

/* --- paths --------------------------------------------------------------------------------------------------- */

enum {
    PATH_BYTES = 512
};

/* Append; false if it does not fit, and then the path is not to be used. */
static bool append(char path[PATH_BYTES], const char *more)
{
    size_t length = strlen(path);
    size_t more_length = strlen(more);
    if (more_length >= PATH_BYTES - length) {
        return false;
    }
    memcpy(path + length, more, more_length + 1);
    return true;
}

/* "/proc/PID/NAME" always fits. */
static void proc_path(uint64_t process_id, const char *name, char path_out[PATH_BYTES])
{
    char digits[21];
    size_t position = sizeof digits;
    digits[--position] = '\0';
    do {
        digits[--position] = (char)('0' + process_id % 10);
        process_id /= 10;
    } while (process_id != 0);
    path_out[0] = '\0';
    (void)append(path_out, "/proc/");
    (void)append(path_out, &digits[position]);
    (void)append(path_out, "/");
    (void)append(path_out, name);
}

/* Why a file of a process cannot be read. Hidden processes (hidepid) look as if they were not there. */
static fallow_status refusal(int code, fallow__os_error *error_out)
{
    *error_out = (fallow__os_error){.code = code};
    switch (code) {
    case ENOENT:
    case ESRCH: return FALLOW_ERR_INVALID;
    case EACCES:
    case EPERM: return FALLOW_ERR_PERMISSION;
    default: return FALLOW_ERR_OS;
    }
}

/* --- mappings ------------------------------------------------------------------------------------------------ */

static int open_file(const char *path)
{
    int file;
    do {
        file = open(path, O_RDONLY | O_CLOEXEC);
    } while (file < 0 && errno == EINTR);
    return file;
}

/* The kernel checks the right to see the mappings when smaps is opened, and again when it is read. */
fallow_status fallow__os_mappings(uint64_t process_id, fallow__os_visitor visit, void *context,
                                  fallow__os_error *error_out)
{
    char path[PATH_BYTES];
    char bytes[4096];
    fallow__smaps smaps;
    proc_path(process_id, "smaps", path);
    int file = open_file(path);
    if (file < 0) {
        return refusal(errno, error_out);
    }
    fallow__smaps_begin(&smaps, visit, context);
    ssize_t got;
    int code = 0;
    while (!smaps.is_stopped && (got = read(file, bytes, sizeof bytes)) != 0) {
        if (got > 0) {
            fallow__smaps_feed(&smaps, bytes, (size_t)got);
        } else if (errno != EINTR) {
            code = errno;
            break;
        }
    }
    fallow__smaps_end(&smaps);
    close(file);
    return code == 0 ? FALLOW_OK : refusal(code, error_out);
}

bool fallow__os_peek(uint64_t process_id, uint64_t address, void *bytes_out, size_t size_bytes)
{
    char path[PATH_BYTES];
    proc_path(process_id, "mem", path);
    int file = open_file(path);
    if (file < 0) {
        return false;
    }
    ssize_t got;
    do { /* addresses of programs are below 2^63, which off_t holds */
        got = pread(file, bytes_out, size_bytes, (off_t)address);
    } while (got < 0 && errno == EINTR);
    close(file);
    return got == (ssize_t)size_bytes;
}

/* --- figures ------------------------------------------------------------------------------------------------- */

/* "Name:\thello" and "Uid:\t1000\t1000\t1000\t1000", the second of which is the one that counts. */
static bool read_status(const char *path, fallow__os_figures *figures_out)
{
    fallow__posix_lines lines;
    char line[160];
    if (!fallow__posix_open_lines(path, &lines)) {
        return false;
    }
    while (fallow__posix_next_line(&lines, line, sizeof line)) {
        if (strncmp(line, "Name:\t", 6) == 0) {
            size_t length = strlen(line + 6);
            length = length < sizeof figures_out->program ? length : sizeof figures_out->program - 1;
            memcpy(figures_out->program, line + 6, length);
        } else if (strncmp(line, "Uid:\t", 5) == 0) {
            const char *second = strchr(line + 5, '\t');
            figures_out->has_user = second != NULL && fallow__posix_parse_number(&second, 10, &figures_out->user_id);
            figures_out->is_other_user = figures_out->has_user && figures_out->user_id != (uint64_t)geteuid();
        }
    }
    fallow__posix_close_lines(&lines);
    return true;
}

fallow_status fallow__os_figures_of(uint64_t process_id, fallow__os_figures *figures_out, fallow__os_error *error_out)
{
    char path[PATH_BYTES];
    fallow__os_figures figures = {0};
    uint64_t library_bytes = 0;
    const fallow__posix_field fields[] = {
        {"VmSize:", &figures.virtual_bytes}, {"VmPeak:", &figures.peak_virtual_bytes},
        {"VmRSS:", &figures.resident_bytes}, {"VmHWM:", &figures.peak_resident_bytes},
        {"VmData:", &figures.data_bytes},    {"VmStk:", &figures.stack_bytes},
        {"VmExe:", &figures.code_bytes},     {"VmLib:", &library_bytes},
        {"VmSwap:", &figures.swapped_bytes}, {"VmPTE:", &figures.page_table_bytes},
        {"Threads:", &figures.thread_count},
    };
    proc_path(process_id, "status", path);
    if (!read_status(path, &figures) || !fallow__posix_read_fields(path, fields, sizeof fields / sizeof fields[0])) {
        return refusal(errno, error_out);
    }
    figures.code_bytes += library_bytes;
    const fallow__posix_field lazy = {"LazyFree:", &figures.lazy_bytes};
    proc_path(process_id, "smaps_rollup", path);
    fallow__posix_read_fields(path, &lazy, 1); /* Linux 4.14, same user; before it, and else, not told */
    *figures_out = figures;
    return FALLOW_OK;
}

/* --- control groups ------------------------------------------------------------------------------------------ */

/* A hierarchy of groups that counts memory, and how its files are called. */
typedef struct hierarchy {
    bool is_v2;
    char root[PATH_BYTES];  /* the group that is mounted */
    char mount[PATH_BYTES]; /* where */
} hierarchy;

/* Cut off the next word of a line, at a blank; NULL at its end. */
static char *next_word(char **rest)
{
    char *word = *rest;
    if (word == NULL || *word == '\0') {
        return NULL;
    }
    char *blank = strchr(word, ' ');
    *rest = blank != NULL ? blank + 1 : NULL;
    if (blank != NULL) {
        *blank = '\0';
    }
    return word;
}

static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *place = list; (place = strstr(place, word)) != NULL; place += length) {
        bool is_first = place == list || place[-1] == ',';
        if (is_first && (place[length] == '\0' || place[length] == ',')) {
            return true;
        }
    }
    return false;
}

/* "36 35 98:0 /root /mount rw,noatime - cgroup cgroup rw,memory". Source: proc(5), /proc/pid/mountinfo */
static bool read_mount(char *line, bool is_v2, hierarchy *hierarchy_out)
{
    char *words[5];
    char *rest = line;
    for (size_t i = 0; i < 5; i++) {
        words[i] = next_word(&rest);
    }
    char *separator = rest != NULL ? strstr(rest, "- ") : NULL;
    if (words[4] == NULL || words[4][0] != '/' || separator == NULL) {
        return false;
    }
    rest = separator + 2;
    const char *type = next_word(&rest);
    (void)next_word(&rest);
    if (type == NULL || strcmp(type, is_v2 ? "cgroup2" : "cgroup") != 0 ||
        (!is_v2 && (rest == NULL || !has_word(rest, "memory")))) {
        return false;
    }
    *hierarchy_out = (hierarchy){.is_v2 = is_v2};
    return append(hierarchy_out->root, words[3]) && append(hierarchy_out->mount, words[4]);
}

static bool find_mount(bool is_v2, hierarchy *hierarchy_out)
{
    fallow__posix_lines lines;
    char line[2 * PATH_BYTES];
    bool is_found = false;
    if (!fallow__posix_open_lines("/proc/self/mountinfo", &lines)) {
        return false;
    }
    while (!is_found && fallow__posix_next_line(&lines, line, sizeof line)) {
        is_found = read_mount(line, is_v2, hierarchy_out);
    }
    fallow__posix_close_lines(&lines);
    return is_found;
}

/* "4:memory:/group", or "0::/group" of version 2. */
static bool read_group(uint64_t process_id, bool is_v2, char group_out[PATH_BYTES])
{
    fallow__posix_lines lines;
    char line[PATH_BYTES];
    char path[PATH_BYTES];
    bool is_found = false;
    proc_path(process_id, "cgroup", path);
    if (!fallow__posix_open_lines(path, &lines)) {
        return false;
    }
    while (!is_found && fallow__posix_next_line(&lines, line, sizeof line)) {
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL) {
            continue;
        }
        *group++ = '\0';
        controllers++;
        group_out[0] = '\0';
        is_found = (is_v2 ? controllers[0] == '\0' : has_word(controllers, "memory")) && append(group_out, group);
    }
    fallow__posix_close_lines(&lines);
    return is_found;
}

/* "max" in version 2, a number near 2^63 in version 1: no limit. */
static bool read_group_number(const char *directory, const char *file, uint64_t *number_out)
{
    char path[PATH_BYTES] = "";
    if (!append(path, directory) || !append(path, file)) {
        return false;
    }
    if (!fallow__posix_read_number(path, number_out)) {
        return false;
    }
    if (*number_out >= UINT64_MAX / 4) {
        *number_out = UINT64_MAX;
    }
    return true;
}

/* Of a group and those around it, the limit with the least room. */
static bool nearest_group(const hierarchy *h, const char *group, fallow__os_limit *limit_out)
{
    char directory[PATH_BYTES] = "";
    size_t root_length = strcmp(h->root, "/") == 0 ? 0 : strlen(h->root);
    /* a group outside of what is mounted, as in a container without a namespace of its own: the mounted one it is */
    bool is_below =
        strncmp(group, h->root, root_length) == 0 && (group[root_length] == '/' || group[root_length] == '\0');
    if (!append(directory, h->mount) || (is_below && !append(directory, group + root_length))) {
        return false;
    }
    size_t mount_length = strlen(h->mount);
    bool is_any = false;
    for (size_t length = strlen(directory); length >= mount_length; length--) {
        if (length > mount_length && directory[length] != '/' && directory[length] != '\0') {
            continue;
        }
        directory[length] = '\0';
        uint64_t limit;
        uint64_t used;
        if (!read_group_number(directory, h->is_v2 ? "/memory.max" : "/memory.limit_in_bytes", &limit) ||
            limit == UINT64_MAX ||
            !read_group_number(directory, h->is_v2 ? "/memory.current" : "/memory.usage_in_bytes", &used)) {
            continue;
        }
        uint64_t left = used < limit ? limit - used : 0;
        if (!is_any || left < limit_out->limit - limit_out->used) {
            const char *name = length > mount_length ? directory + mount_length : "/";
            size_t kept = strlen(name) < sizeof limit_out->place ? strlen(name) : sizeof limit_out->place - 1;
            limit_out->limit = limit;
            limit_out->used = used < limit ? used : limit;
            memcpy(limit_out->place, name, kept);
            limit_out->place[kept] = '\0';
            is_any = true;
        }
    }
    return is_any;
}

static void read_group_limit(uint64_t process_id, fallow__os_limit *limit_out)
{
    *limit_out = (fallow__os_limit){
        .name = "memory.max",
        .what = "memory of the control group",
        .limit = UINT64_MAX,
        .used = UINT64_MAX,
        .is_of_all = true,
    };
    for (int version = 2; version >= 1; version--) {
        hierarchy found;
        char group[PATH_BYTES];
        if (find_mount(version == 2, &found) && read_group(process_id, version == 2, group) &&
            nearest_group(&found, group, limit_out)) {
            limit_out->name = version == 2 ? "memory.max" : "memory.limit_in_bytes";
            return;
        }
    }
}

/* --- limits -------------------------------------------------------------------------------------------------- */

/* "Max address space         unlimited            unlimited            bytes": the first is the one in force. */
static void read_resource_limits(uint64_t process_id, uint64_t *address_space_out, uint64_t *data_out)
{
    static const char address_space[] = "Max address space";
    static const char data[] = "Max data size";
    fallow__posix_lines lines;
    char line[128];
    char path[PATH_BYTES];
    *address_space_out = UINT64_MAX;
    *data_out = UINT64_MAX;
    proc_path(process_id, "limits", path);
    if (!fallow__posix_open_lines(path, &lines)) {
        return;
    }
    while (fallow__posix_next_line(&lines, line, sizeof line)) {
        bool is_data = strncmp(line, data, sizeof data - 1) == 0;
        if (!is_data && strncmp(line, address_space, sizeof address_space - 1) != 0) {
            continue;
        }
        const char *text = line + (is_data ? sizeof data : sizeof address_space) - 1;
        uint64_t number;
        if (fallow__posix_parse_number(&text, 10, &number)) {
            *(is_data ? data_out : address_space_out) = number;
        }
    }
    fallow__posix_close_lines(&lines);
}

static void read_overcommit(fallow__os_limit *limit_out)
{
    uint64_t mode = 0;
    uint64_t limit_bytes = UINT64_MAX;
    uint64_t committed_bytes = UINT64_MAX;
    const fallow__posix_field fields[] = {{"Committed_AS:", &committed_bytes}, {"CommitLimit:", &limit_bytes}};
    fallow__posix_read_number("/proc/sys/vm/overcommit_memory", &mode);
    fallow__posix_read_fields("/proc/meminfo", fields, sizeof fields / sizeof fields[0]);
    *limit_out = (fallow__os_limit){
        .name = "CommitLimit",
        .what = mode == 2   ? "committed by all programs (vm.overcommit_memory 2)"
                : mode == 1 ? "committed by all programs: not enforced (vm.overcommit_memory 1)"
                            : "committed by all programs: not enforced (vm.overcommit_memory 0)",
        .limit = mode == 2 ? limit_bytes : UINT64_MAX,
        .used = committed_bytes,
        .is_of_all = true,
    };
}

static uint64_t known_or_max(uint64_t number)
{
    return number != 0 ? number : UINT64_MAX;
}

size_t fallow__os_limits(uint64_t process_id, const fallow__os_figures *figures, uint64_t map_count,
                         fallow__os_limit limits_out[FALLOW__OS_LIMITS_MAX])
{
    uint64_t map_limit = UINT64_MAX;
    fallow__posix_read_number("/proc/sys/vm/max_map_count", &map_limit);
    limits_out[0] = (fallow__os_limit){.name = "RLIMIT_AS", .what = "addresses (ulimit -v)"};
    limits_out[1] = (fallow__os_limit){.name = "RLIMIT_DATA", .what = "private writable memory (ulimit -d)"};
    limits_out[2] = (fallow__os_limit){.name = "vm.max_map_count", .what = "mappings", .is_mappings = true};
    read_resource_limits(process_id, &limits_out[0].limit, &limits_out[1].limit);
    limits_out[0].used = known_or_max(figures->virtual_bytes);
    limits_out[1].used = known_or_max(figures->data_bytes);
    limits_out[2].limit = map_limit;
    limits_out[2].used = map_count;
    read_group_limit(process_id, &limits_out[3]);
    read_overcommit(&limits_out[4]);
    return 5;
}
