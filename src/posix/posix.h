/* What the files of the POSIX layer share. Sees: os.h.
 *
 *   lock.c     mutex, once, environment, last words
 *   thread.c   clock, threads, events, the end of a thread, the barrier in all of them, fork
 *   proc.c     reading /proc with a fixed buffer on the stack
 *   facts.c    what this system is and can do; probes; the figures of this process
 *   process.c  the mappings, figures and limits of any process
 *   cgroup.c   how much memory this process may have
 *   pressure.c word of little memory
 *   cause.c    why the kernel refused
 *   memory.c   the transitions of memory
 *   waiting.c  releases that the kernel refuses at vm.max_map_count, and that are tried again
 *
 * Nothing here calls malloc or stdio: a library that a malloc may stand on cannot. Only Linux is tested (glibc, musl,
 * 32 and 64 bits, qemu-user). What another POSIX system would need is another proc.c and facts.c; memory.c asks for
 * nothing that it cannot do without, apart from mmap, munmap and mprotect. */
#ifndef FALLOW_POSIX_H
#define FALLOW_POSIX_H

#include <pthread.h>
#include <stdatomic.h>

#include "../os.h"

/* Linux numbers that older headers lack. The kernel that does not know one answers EINVAL, or ignores the flag; each
 * use says what happens then. Source: linux/mman.h, asm-generic/mman-common.h, linux/prctl.h. */
enum {
    FALLOW__MADV_POPULATE_WRITE = 23,       /* Linux 5.14 */
    FALLOW__MADV_DONTNEED_LOCKED = 24,      /* Linux 5.18 */
    FALLOW__MADV_GUARD_INSTALL = 102,       /* Linux 6.13 */
    FALLOW__MADV_GUARD_REMOVE = 103,        /* Linux 6.13 */
    FALLOW__MADV_BOGUS = 12345,             /* no advice of any kernel */
    FALLOW__MAP_FIXED_NOREPLACE = 0x100000, /* Linux 4.17; before it, a hint */
    FALLOW__PIDFD_SELF = -10001,            /* this process, on kernels as new as 6.18; no descriptor of others */
    FALLOW__PR_SET_VMA = 0x53564d41,        /* Linux 5.17, if configured */
    FALLOW__PR_SET_VMA_ANON_NAME = 0
};

/* --- lock.c ------------------------------------------------------------------------------------------------ */

/* What lies in the room of a lock. Held is: the mutex is locked, and the flag is down; or the flag is up. */
typedef struct fallow__posix_lock {
    pthread_mutex_t mutex;
    atomic_bool is_flagged; /* held by the only thread of the process */
} fallow__posix_lock;

static inline fallow__posix_lock *fallow__posix_lock_of(fallow__os_lock *lock)
{
    return (fallow__posix_lock *)(void *)lock->room;
}

/* --- proc.c ------------------------------------------------------------------------------------------------ */

/* A text file, read line by line. The unread bytes are bytes[first .. first + count). */
typedef struct fallow__posix_lines {
    int file;
    size_t first;
    size_t count;
    char bytes[4096];
} fallow__posix_lines;

/* One line of /proc/self/maps. */
typedef struct fallow__posix_mapping {
    uint64_t first; /* address */
    uint64_t end;   /* address after the last byte */
    bool is_writable;
    bool is_private;
} fallow__posix_mapping;

/* A line "NAME   NUMBER kB" of a file; the value is in bytes if the line says kB. */
typedef struct fallow__posix_field {
    const char *name; /* with its colon */
    uint64_t *value_out;
} fallow__posix_field;

bool fallow__posix_open_lines(const char *path, fallow__posix_lines *lines_out);
void fallow__posix_close_lines(fallow__posix_lines *lines);

/* The next line without its newline; what does not fit is cut off. false at the end. */
bool fallow__posix_next_line(fallow__posix_lines *lines, char *line_out, size_t line_bytes);

/* Read a number after blanks; *text is left behind it. What is too large is UINT64_MAX. false if there is no digit. */
bool fallow__posix_parse_number(const char **text, int base, uint64_t *number_out);

/* The next mapping that the kernel counts as one; lines of /proc/self/maps. false at the end. */
bool fallow__posix_next_mapping(fallow__posix_lines *lines, fallow__posix_mapping *mapping_out);

/* Values of fields that are not there stay as they are. false if the file cannot be read. */
bool fallow__posix_read_fields(const char *path, const fallow__posix_field *fields, size_t field_count);

/* The number a file begins with; false if there is none. */
bool fallow__posix_read_number(const char *path, uint64_t *number_out);

/* How many mappings this process has, as vm.max_map_count counts them; 0 if that cannot be known. */
uint64_t fallow__posix_map_count(void);

/* The highest place in [lowest, highest) with size_bytes free bytes at a multiple of align_bytes; 0 if there is none.
 * Another thread may take it at any moment. */
uintptr_t fallow__posix_find_gap(uint64_t lowest, uint64_t highest, size_t size_bytes, size_t align_bytes);

/* --- facts.c ----------------------------------------------------------------------------------------------- */

/* What was found out by trying, once per process. */
typedef struct fallow__posix_probes {
    bool is_emulated;       /* a kernel that calls every advice a success: its word on advice is worth nothing */
    bool has_lazy_purge;    /* MADV_FREE */
    bool has_guard_install; /* MADV_GUARD_INSTALL, and the page really faults */
    bool has_populate;      /* MADV_POPULATE_WRITE, and the page really is there */
    bool has_mapping_names; /* PR_SET_VMA_ANON_NAME */
    bool has_advise_many;   /* process_madvise on ourselves, and all ranges are given back */
} fallow__posix_probes;

/* process_madvise for this process: how many bytes were advised; negative with errno. */
long fallow__posix_advise_many(const fallow__os_range *ranges, size_t count, int advice);

const fallow__posix_probes *fallow__posix_probe(void);

/* The page of MAP_HUGETLB in bytes, whether or not the system has any; 0 if unknown. */
size_t fallow__posix_large_page_bytes(void);

/* Resource limits in bytes; UINT64_MAX where there is none. */
uint64_t fallow__posix_address_limit(void); /* RLIMIT_AS */
uint64_t fallow__posix_data_limit(void);    /* RLIMIT_DATA */
uint64_t fallow__posix_locked_limit(void);  /* RLIMIT_MEMLOCK */

/* --- memory.c ---------------------------------------------------------------------------------------------- */

/* Give the memory back and leave the mappings as they are. false, and errno, where the kernel refuses. */
bool fallow__posix_drop_pages(void *base, size_t size_bytes);

/* --- waiting.c --------------------------------------------------------------------------------------------- */

/* Have a reservation released some time later; its memory is given back now. false: too many wait already, or forks
 * could not be told of; then nothing has changed. */
bool fallow__posix_release_later(const fallow_region *region);

/* Try some of those that wait. Costs nothing where there are none. */
void fallow__posix_release_waiting(void);

/* Bytes of addresses that wait. */
uint64_t fallow__posix_waiting_bytes(void);

/* Ask to be called around forks; before anybody else in the library does. false if that cannot be. */
bool fallow__posix_waiting_begin(void);
/* --- cgroup.c ---------------------------------------------------------------------------------------------- */

enum {
    FALLOW__POSIX_PATH_BYTES = 512
};

/* The path of a file of our control group, version 2. false: there is no such file. */
bool fallow__posix_group_file(const char *file, char path_out[FALLOW__POSIX_PATH_BYTES]);

/* --- cause.c ----------------------------------------------------------------------------------------------- */

/* What the kernel was asked for when it refused. */
typedef enum fallow__posix_request {
    FALLOW__POSIX_RESERVE, /* more addresses */
    FALLOW__POSIX_COMMIT,  /* more writable pages */
    FALLOW__POSIX_CHANGE,  /* neither: other protection, a remap in place, an unmap */
    FALLOW__POSIX_ADVISE,  /* madvise, mincore */
    FALLOW__POSIX_THREAD   /* a thread, and addresses for its stack */
} fallow__posix_request;

/* Classify a failure from its errno and from what limits say now. errno is code again afterwards. */
fallow_status fallow__posix_cause(int code, fallow__posix_request request, size_t size_bytes,
                                  fallow__os_error *error_out);

#endif
