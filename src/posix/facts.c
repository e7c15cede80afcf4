/* What this system is and can do, and the figures of this process.
 *
 * A version number says little: vendors port features back, containers forbid them, and qemu-user calls every advice a
 * success without doing anything. So what is optional is tried once per process on a page of our own, and counts only
 * if its effect was seen. No probe uses a signal: whether a page faults is seen when a system call answers EFAULT.
 *
 * An optional call that fails or lies turns off its own fact and nothing else. */
#define _GNU_SOURCE 1 /* MAP_ANONYMOUS, mincore */

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../bits.h"
#include "posix.h"

size_t fallow__os_page_bytes(void)
{
    static _Atomic size_t known_bytes; /* 0: not asked yet; threads that race write the same value */
    size_t page_bytes = atomic_load_explicit(&known_bytes, memory_order_relaxed);
    if (page_bytes == 0) {
        page_bytes = (size_t)sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&known_bytes, page_bytes, memory_order_relaxed);
    }
    return page_bytes;
}

size_t fallow__posix_large_page_bytes(void)
{
    uint64_t large_bytes = 0;
    const fallow__posix_field field = {"Hugepagesize:", &large_bytes};
    fallow__posix_read_fields("/proc/meminfo", &field, 1);
    return large_bytes > SIZE_MAX / 2 ? 0 : (size_t)large_bytes;
}

/* After getrlimit(), which takes an enum of its own in some headers and an int in others. */
static uint64_t limit_bytes(int result, const struct rlimit *limit)
{
    return result != 0 || limit->rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit->rlim_cur;
}

uint64_t fallow__posix_address_limit(void)
{
    struct rlimit limit;
    int result = getrlimit(RLIMIT_AS, &limit);
    return limit_bytes(result, &limit);
}

uint64_t fallow__posix_data_limit(void)
{
    struct rlimit limit;
    int result = getrlimit(RLIMIT_DATA, &limit);
    return limit_bytes(result, &limit);
}

uint64_t fallow__posix_locked_limit(void)
{
    struct rlimit limit;
    int result = getrlimit(RLIMIT_MEMLOCK, &limit);
    return limit_bytes(result, &limit);
}

/* --- probes ------------------------------------------------------------------------------------------------ */

static fallow__posix_probes probes;

/* Whether a page of ours faults when it is written, by the answer of a system call that would write there. A pipe would
 * do too, and needs two file descriptors and most of the probes' time. */
static bool is_faulting(char *page, size_t page_bytes)
{
    return mincore(page, page_bytes, (unsigned char *)page) != 0 && errno == EFAULT;
}

static bool probe_guard(char *page, size_t page_bytes)
{
    bool is_guarded = madvise(page, page_bytes, FALLOW__MADV_GUARD_INSTALL) == 0 && is_faulting(page, page_bytes);
    if (!is_guarded) {
        return false;
    }
    return madvise(page, page_bytes, FALLOW__MADV_GUARD_REMOVE) == 0 && !is_faulting(page, page_bytes);
}

static bool probe_populate(char *page, size_t page_bytes)
{
    unsigned char is_resident[16] = {0}; /* under qemu with larger pages the host may write one byte for each 4 KiB */
    return page_bytes <= sizeof is_resident * 4096 && madvise(page, page_bytes, FALLOW__MADV_POPULATE_WRITE) == 0 &&
           mincore(page, page_bytes, is_resident) == 0 && (is_resident[0] & 1) != 0;
}

static bool probe_name(char *page, size_t page_bytes)
{
    return prctl(FALLOW__PR_SET_VMA, (unsigned long)FALLOW__PR_SET_VMA_ANON_NAME, (unsigned long)(uintptr_t)page,
                 (unsigned long)page_bytes, (unsigned long)(uintptr_t) "fallow: probe") == 0;
}

long fallow__posix_advise_many(const fallow__os_range *ranges, size_t count, int advice)
{
    static_assert(sizeof(fallow__os_range) == sizeof(struct iovec) &&
                      offsetof(fallow__os_range, size_bytes) == offsetof(struct iovec, iov_len),
                  "a range is what the kernel takes");
#if defined(__NR_process_madvise)
    return syscall(__NR_process_madvise, FALLOW__PIDFD_SELF, ranges, count, advice, 0);
#else
    (void)ranges;
    (void)count;
    (void)advice;
    errno = ENOSYS;
    return -1;
#endif
}

/* Two ranges of the same page: the second one is given back again. A kernel that takes the call for another process' or
 * the advice for none refuses; an emulator does not know it. */
static bool probe_advise_many(char *page, size_t page_bytes)
{
    const fallow__os_range both[] = {{page, page_bytes}, {page, page_bytes}};
    *(volatile char *)page = 1;
    return fallow__posix_advise_many(both, 2, MADV_DONTNEED) == (long)(2 * page_bytes) && *(volatile char *)page == 0;
}

static void run_probes(void)
{
    int saved = errno;
    size_t page_bytes = fallow__os_page_bytes();
    char *page = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED) {
        /* each probe expects a page that has not been touched, or does not mind; none may touch it after that of the
         * guard, which stays where its removal is refused */
        probes.is_emulated = madvise(page, page_bytes, FALLOW__MADV_BOGUS) == 0;
        probes.has_populate = !probes.is_emulated && probe_populate(page, page_bytes);
        probes.has_lazy_purge = !probes.is_emulated && madvise(page, page_bytes, MADV_FREE) == 0;
        probes.has_mapping_names = probe_name(page, page_bytes);
        probes.has_advise_many = !probes.is_emulated && probe_advise_many(page, page_bytes);
        probes.has_guard_install = !probes.is_emulated && probe_guard(page, page_bytes);
        munmap(page, page_bytes);
    }
    errno = saved;
}

const fallow__posix_probes *fallow__posix_probe(void)
{
    static fallow__os_once once;
    fallow__os_run_once(&once, run_probes);
    return &probes;
}

/* --- system ------------------------------------------------------------------------------------------------ */

/* Append text, cut off where the room ends; always ends in a zero. */
static void append(char *text, size_t text_bytes, const char *more)
{
    size_t length = strlen(text);
    size_t room = text_bytes - 1 - length;
    size_t more_length = strlen(more);
    size_t kept = more_length < room ? more_length : room;
    memcpy(&text[length], more, kept);
    text[length + kept] = '\0';
}

static void read_os_name(fallow_system *system_out)
{
    struct utsname name;
    if (uname(&name) != 0) {
        append(system_out->os_name, sizeof system_out->os_name, "unknown");
        return;
    }
    append(system_out->os_name, sizeof system_out->os_name, name.sysname);
    append(system_out->os_name, sizeof system_out->os_name, " ");
    append(system_out->os_name, sizeof system_out->os_name, name.release);
}

/* The kernel puts the program's name right below the end of the first stack, and that stack at the top of the user's
 * addresses: the next power of two is their number. (A 32-bit kernel keeps a part of it for itself.) */
static uint64_t address_space_bytes(void)
{
    uint64_t top = getauxval(AT_EXECFN);
    if (top == 0 || top > UINT64_MAX / 2) {
        return UINTPTR_MAX;
    }
    return (uint64_t)2 << fallow__highest_bit(top);
}

static void read_memory(fallow_system *system_out)
{
    uint64_t large_bytes = 0;
    uint64_t large_total = 0;
    uint64_t large_more = 0;
    const fallow__posix_field fields[] = {
        {"MemTotal:", &system_out->memory_bytes},
        {"CommitLimit:", &system_out->commit_limit},
        {"Committed_AS:", &system_out->committed_bytes},
        {"HugePages_Total:", &large_total},
        {"Hugepagesize:", &large_bytes},
    };
    fallow__posix_read_fields("/proc/meminfo", fields, sizeof fields / sizeof fields[0]);
    fallow__posix_read_number("/proc/sys/vm/nr_overcommit_hugepages", &large_more);
    system_out->large_page_bytes = large_total + large_more != 0 ? (size_t)large_bytes : 0;
}

void fallow__os_kind(fallow_system *system_out)
{
    *system_out = (fallow_system){
        .page_bytes = fallow__os_page_bytes(),
        .granularity_bytes = fallow__os_page_bytes(),
        .address_space_bytes = address_space_bytes(),
        .is_emulated = fallow__posix_probe()->is_emulated,
    };
}

void fallow__os_system(fallow_system *system_out)
{
    const fallow__posix_probes *probed = fallow__posix_probe();
    uint64_t mode;
    uint64_t map_count_limit;
    fallow__os_kind(system_out);
    system_out->address_space_limit = fallow__posix_address_limit();
    system_out->data_limit = fallow__posix_data_limit();
    system_out->locked_limit = fallow__posix_locked_limit();
    system_out->map_count_limit = UINT64_MAX;
    system_out->overcommit_mode = -1;
    system_out->has_lazy_purge = probed->has_lazy_purge;
    system_out->has_guard_install = probed->has_guard_install;
    system_out->has_populate = probed->has_populate;
    system_out->has_mapping_names = probed->has_mapping_names;
    read_os_name(system_out);
    read_memory(system_out);
    if (fallow__posix_read_number("/proc/sys/vm/overcommit_memory", &mode)) {
        system_out->overcommit_mode = (int)mode;
    }
    if (fallow__posix_read_number("/proc/sys/vm/max_map_count", &map_count_limit)) {
        system_out->map_count_limit = map_count_limit;
    }
}

/* --- process ----------------------------------------------------------------------------------------------- */

static bool read_mappings(fallow_process *process_out)
{
    fallow__posix_lines lines;
    if (!fallow__posix_open_lines("/proc/self/maps", &lines)) {
        return false;
    }
    fallow__posix_mapping mapping;
    while (fallow__posix_next_mapping(&lines, &mapping)) {
        process_out->map_count++;
        process_out->virtual_bytes += mapping.end - mapping.first;
        if (mapping.is_private && mapping.is_writable) {
            process_out->committed_bytes += mapping.end - mapping.first;
        }
    }
    fallow__posix_close_lines(&lines);
    return true;
}

fallow_status fallow__os_process(fallow_process *process_out, fallow__os_error *error_out)
{
    fallow_process process = {0};
    if (!read_mappings(&process)) {
        return fallow__posix_cause(errno, FALLOW__POSIX_ADVISE, 0, error_out);
    }
    const fallow__posix_field fields[] = {
        {"VmSize:", &process.virtual_bytes}, /* the kernel's own sum, where it is told */
        {"VmRSS:", &process.resident_bytes},
        {"VmHWM:", &process.peak_resident_bytes},
    };
    if (!fallow__posix_read_fields("/proc/self/status", fields, sizeof fields / sizeof fields[0])) {
        return fallow__posix_cause(errno, FALLOW__POSIX_ADVISE, 0, error_out);
    }
    const fallow__posix_field lazy = {"LazyFree:", &process.lazy_free_bytes};
    fallow__posix_read_fields("/proc/self/smaps_rollup", &lazy, 1); /* Linux 4.14; before it, not told */
    process.unreleased_bytes = fallow__posix_waiting_bytes();
    *process_out = process;
    return FALLOW_OK;
}

uint64_t fallow__os_address_space_left(void)
{
    uint64_t limit = fallow__posix_address_limit();
    if (limit == UINT64_MAX) {
        return UINT64_MAX;
    }
    uint64_t used_bytes = 0;
    const fallow__posix_field field = {"VmSize:", &used_bytes};
    fallow__posix_read_fields("/proc/self/status", &field, 1);
    return used_bytes < limit ? limit - used_bytes : 0;
}
