/* Why the kernel refused. One ENOMEM has many causes; which one it was is found by looking at the limits right after.
 *
 *   errno            asked for        looked at                                   status
 *   EPERM, EACCES    anything                                                     PERMISSION
 *   EAGAIN           addresses        RLIMIT_MEMLOCK (mlockall(MCL_FUTURE))       LOCKED
 *   EEXIST, EINVAL   addresses        (taken; valgrind's way to say too large)    ADDRESS_SPACE
 *   ENOMEM           addresses        RLIMIT_AS against VmSize                    ADDRESS_SPACE
 *   ENOMEM           anything         vm.max_map_count against the mappings       MAP_COUNT
 *   ENOMEM           writable pages   RLIMIT_DATA against VmData                  COMMIT
 *   ENOMEM           writable pages   mode 2: CommitLimit against Committed_AS    COMMIT
 *   EINVAL, ENOMEM   advice           VmLck: locked pages refuse to be purged     LOCKED
 *   EAGAIN           a thread         RLIMIT_AS against VmSize and its stack      ADDRESS_SPACE
 *   EAGAIN           a thread         (RLIMIT_NPROC, pids.max: not told apart)    OS
 *   EAGAIN           advice           (the kernel has no memory at this moment)   OS
 *
 * The looking is a moment later than the refusal, so another thread can have changed the figures: then no limit is
 * named, and the status is the one that the request alone suggests. */
#include <errno.h>

#include "posix.h"

/* Where this process stands; a figure that cannot be read is 0, which finds no limit. */
typedef struct usage {
    uint64_t virtual_bytes; /* what RLIMIT_AS bounds */
    uint64_t data_bytes;    /* what RLIMIT_DATA bounds: private writable mappings without stacks */
    uint64_t locked_bytes;
} usage;

static usage read_usage(void)
{
    usage used = {0};
    const fallow__posix_field fields[] = {
        {"VmSize:", &used.virtual_bytes},
        {"VmData:", &used.data_bytes},
        {"VmLck:", &used.locked_bytes},
    };
    fallow__posix_read_fields("/proc/self/status", fields, sizeof fields / sizeof fields[0]);
    return used;
}

/* Whether a limit would be passed; overflow passes every limit. */
static bool is_passed(uint64_t used_bytes, uint64_t more_bytes, uint64_t limit)
{
    return limit != UINT64_MAX && (used_bytes > limit || more_bytes > limit - used_bytes);
}

static fallow_status name_limit(fallow_status status, const char *limit_name, uint64_t limit_value,
                                fallow__os_error *error_out)
{
    error_out->limit_name = limit_name;
    error_out->limit_value = limit_value;
    return status;
}

static bool is_map_count_reached(uint64_t *limit_out)
{
    /* A change inside one mapping makes two more: it fails from one below the limit on.
     * Source: Linux mm/vma.c, split_vma, map_count >= sysctl_max_map_count */
    return fallow__posix_read_number("/proc/sys/vm/max_map_count", limit_out) &&
           fallow__posix_map_count() + 1 >= *limit_out;
}

static bool is_commit_limit_reached(uint64_t more_bytes, uint64_t *limit_out)
{
    uint64_t mode = 0;
    if (!fallow__posix_read_number("/proc/sys/vm/overcommit_memory", &mode) || mode != 2) {
        return false; /* mode 0 does not count mappings made with MAP_NORESERVE, mode 1 counts none */
    }
    uint64_t committed_bytes = 0;
    uint64_t limit_bytes = 0;
    const fallow__posix_field fields[] = {{"Committed_AS:", &committed_bytes}, {"CommitLimit:", &limit_bytes}};
    fallow__posix_read_fields("/proc/meminfo", fields, sizeof fields / sizeof fields[0]);
    /* kept back, in KiB: for root, and for a way out of a process that took all.
     * Source: Linux mm/util.c, __vm_enough_memory */
    uint64_t admin_kib = 0;
    uint64_t user_kib = 0;
    fallow__posix_read_number("/proc/sys/vm/admin_reserve_kbytes", &admin_kib);
    fallow__posix_read_number("/proc/sys/vm/user_reserve_kbytes", &user_kib);
    *limit_out = limit_bytes;
    if (is_passed(admin_kib, user_kib, limit_bytes / 1024)) {
        return true;
    }
    return is_passed(committed_bytes, more_bytes, limit_bytes - (admin_kib + user_kib) * 1024);
}

static fallow_status cause_of_reserve(size_t size_bytes, fallow__os_error *error_out)
{
    uint64_t limit = fallow__posix_address_limit();
    if (is_passed(read_usage().virtual_bytes, size_bytes, limit)) {
        return name_limit(FALLOW_ERR_ADDRESS_SPACE, "RLIMIT_AS", limit, error_out);
    }
    if (is_map_count_reached(&limit)) {
        return name_limit(FALLOW_ERR_MAP_COUNT, "vm.max_map_count", limit, error_out);
    }
    return FALLOW_ERR_ADDRESS_SPACE; /* no gap so large */
}

static fallow_status cause_of_commit(size_t size_bytes, fallow__os_error *error_out)
{
    /* the map count first: its test cannot hold by chance, while pages of the range that were committed already make
     * size_bytes more than what was asked for */
    uint64_t limit;
    if (is_map_count_reached(&limit)) {
        return name_limit(FALLOW_ERR_MAP_COUNT, "vm.max_map_count", limit, error_out);
    }
    limit = fallow__posix_data_limit();
    if (is_passed(read_usage().data_bytes, size_bytes, limit)) {
        return name_limit(FALLOW_ERR_COMMIT, "RLIMIT_DATA", limit, error_out);
    }
    if (is_commit_limit_reached(size_bytes, &limit)) {
        return name_limit(FALLOW_ERR_COMMIT, "CommitLimit", limit, error_out);
    }
    return FALLOW_ERR_COMMIT;
}

static fallow_status cause_of_change(fallow__os_error *error_out)
{
    uint64_t limit;
    if (is_map_count_reached(&limit)) {
        return name_limit(FALLOW_ERR_MAP_COUNT, "vm.max_map_count", limit, error_out);
    }
    /* a remap in place adds nothing, and is refused all the same once the limit was lowered below what is in use */
    limit = fallow__posix_address_limit();
    if (is_passed(read_usage().virtual_bytes, 0, limit)) {
        return name_limit(FALLOW_ERR_ADDRESS_SPACE, "RLIMIT_AS", limit, error_out);
    }
    return FALLOW_ERR_OS;
}

/* The C library says EAGAIN also where it means ENOMEM. */
static fallow_status cause_of_thread(size_t stack_bytes, fallow__os_error *error_out)
{
    uint64_t limit = fallow__posix_address_limit();
    if (is_passed(read_usage().virtual_bytes, stack_bytes, limit)) {
        return name_limit(FALLOW_ERR_ADDRESS_SPACE, "RLIMIT_AS", limit, error_out);
    }
    return FALLOW_ERR_OS;
}

static fallow_status cause_of_no_memory(fallow__posix_request request, size_t size_bytes, fallow__os_error *error_out)
{
    switch (request) {
    case FALLOW__POSIX_RESERVE: return cause_of_reserve(size_bytes, error_out);
    case FALLOW__POSIX_COMMIT: return cause_of_commit(size_bytes, error_out);
    case FALLOW__POSIX_CHANGE: return cause_of_change(error_out);
    case FALLOW__POSIX_THREAD: return cause_of_thread(size_bytes, error_out);
    case FALLOW__POSIX_ADVISE: break;
    }
    return cause_of_change(error_out);
}

static fallow_status cause_of_locked(fallow__os_error *error_out)
{
    uint64_t limit = fallow__posix_locked_limit();
    return limit == UINT64_MAX ? FALLOW_ERR_LOCKED : name_limit(FALLOW_ERR_LOCKED, "RLIMIT_MEMLOCK", limit, error_out);
}

static fallow_status classify(int code, fallow__posix_request request, size_t size_bytes, fallow__os_error *error_out)
{
    switch (code) {
    case EPERM:
    case EACCES: return FALLOW_ERR_PERMISSION;
    case EAGAIN:
        if (request == FALLOW__POSIX_ADVISE) {
            return FALLOW_ERR_OS;
        }
        return request == FALLOW__POSIX_THREAD ? cause_of_thread(size_bytes, error_out) : cause_of_locked(error_out);
    case ENOMEM: return cause_of_no_memory(request, size_bytes, error_out);
    case EEXIST: return FALLOW_ERR_ADDRESS_SPACE;
    case ENOSYS: return FALLOW_ERR_UNSUPPORTED;
    case EINVAL:
        if (request == FALLOW__POSIX_RESERVE) {
            return FALLOW_ERR_ADDRESS_SPACE;
        }
        return request == FALLOW__POSIX_ADVISE && read_usage().locked_bytes != 0 ? FALLOW_ERR_LOCKED : FALLOW_ERR_OS;
    default: return FALLOW_ERR_OS;
    }
}

fallow_status fallow__posix_cause(int code, fallow__posix_request request, size_t size_bytes,
                                  fallow__os_error *error_out)
{
    *error_out = (fallow__os_error){.code = code};
    fallow_status status = classify(code, request, size_bytes, error_out);
    errno = code; /* the looking has changed it */
    return status;
}
