/* What the kernel's files say, read and understood: control groups of both versions, limits and figures of a process,
 * its mappings. On a kernel that is made up, since a machine has one version and seldom any limit.
 *
 * Linked with -Wl,--wrap=open. */
#define _GNU_SOURCE 1 /* memfd_create */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "os.h"
#include "posix/posix.h"
#include "test.h"

#define MIB ((uint64_t)1 << 20)
#define NO_LIMIT UINT64_MAX

/* --- the kernel that is made up ----------------------------------------------------------------------------- */

typedef struct file {
    const char *path;
    const char *text; /* NULL: it may not be opened */
} file;

enum {
    FILES_MOST = 16
};

static file files[FILES_MOST]; /* all there are under /proc, /sys and /groups, while there is one */
static int interruptions;      /* so many opens are interrupted first */
static int opened;             /* and not closed, if all were closed */

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

static int text_file(const char *text)
{
    int made = memfd_create("posix_files", MFD_CLOEXEC);
    assert_true(made >= 0);
    assert_int_equal(write(made, text, strlen(text)), strlen(text));
    assert_int_equal(lseek(made, 0, SEEK_SET), 0);
    return made;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    int mode = (flags & O_CREAT) != 0 ? va_arg(arguments, int) : 0;
    va_end(arguments);
    bool is_kernels =
        strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/sys/", 5) == 0 || strncmp(path, "/groups/", 8) == 0;
    if (files[0].path == NULL || !is_kernels) {
        return __real_open(path, flags, mode);
    }
    if (interruptions > 0) {
        interruptions--;
        errno = EINTR;
        return -1;
    }
    for (int i = 0; i < FILES_MOST && files[i].path != NULL; i++) {
        if (strcmp(path, files[i].path) == 0) {
            if (files[i].text == NULL) {
                errno = EACCES;
                return -1;
            }
            return text_file(files[i].text);
        }
    }
    errno = ENOENT;
    return -1;
}

static void make_up(const file *wanted)
{
    memset(files, 0, sizeof files);
    for (int i = 0; wanted[i].path != NULL; i++) {
        assert_true(i < FILES_MOST - 1);
        files[i] = wanted[i];
    }
    opened = dup(0); /* the lowest free one */
    assert_int_equal(close(opened), 0);
}

/* No file was left open. */
static int real_kernel(void **state)
{
    (void)state;
    memset(files, 0, sizeof files);
    interruptions = 0;
    int now = dup(0);
    close(now);
    return now == opened ? 0 : -1;
}

/* --- the memory that there is --------------------------------------------------------------------------------- */

static void the_groups_limit(void **state)
{
    (void)state;
    static const struct {
        file files[6];
        uint64_t expected; /* 0: the machine's memory */
    } cases[] = {
        /* version 2: the least of the group's own and those above it */
        {{{"/proc/self/cgroup", "0::/a/b\n"}, {"/sys/fs/cgroup/a/b/memory.max", "8388608\n"}}, 8 * MIB},
        {{{"/proc/self/cgroup", "0::/a/b\n"},
          {"/sys/fs/cgroup/a/b/memory.max", "max\n"},
          {"/sys/fs/cgroup/a/memory.max", "4194304\n"}},
         4 * MIB},
        {{{"/proc/self/cgroup", "0::/a/b\n"},
          {"/sys/fs/cgroup/a/b/memory.max", "8388608\n"},
          {"/sys/fs/cgroup/a/memory.max", "4194304\n"},
          {"/sys/fs/cgroup/memory.max", "2097152\n"}},
         2 * MIB},
        {{{"/proc/self/cgroup", "0::/a/b\n"},
          {"/sys/fs/cgroup/a/b/memory.max", "4194304\n"},
          {"/sys/fs/cgroup/a/memory.max", "8388608\n"}},
         4 * MIB},
        /* only the root is there, as in a container */
        {{{"/proc/self/cgroup", "0::/outside/name\n"}, {"/sys/fs/cgroup/memory.max", "3145728\n"}}, 3 * MIB},
        {{{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/memory.max", "3145728\n"}}, 3 * MIB},
        /* version 1; and both, as they are mounted side by side */
        {{{"/proc/self/cgroup", "5:cpu:/x\n4:memory:/a\n"},
          {"/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "5242880\n"},
          {"/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1\n"}},
         5 * MIB},
        {{{"/proc/self/cgroup", "4:memory:/a\n0::/b\n"},
          {"/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "5242880\n"},
          {"/sys/fs/cgroup/b/memory.max", "6291456\n"}},
         5 * MIB},
        {{{"/proc/self/cgroup", "4:memory:/a\n0::/b\n"},
          {"/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"},
          {"/sys/fs/cgroup/b/memory.max", "6291456\n"}},
         6 * MIB},
        /* no limit, and nothing that can be understood */
        {{{"/proc/self/cgroup", "0::/a\n"}, {"/sys/fs/cgroup/a/memory.max", "max\n"}}, 0},
        {{{"/proc/self/cgroup", "4:memory:/a\n"},
          {"/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"}},
         0},
        {{{"/proc/self/cgroup", "no line of it\n4:memory\n"}, {"/sys/fs/cgroup/memory.max", "1\n"}}, 0},
        {{{"/proc/self/cgroup", NULL}}, 0},
    };
    struct sysinfo machine;
    assert_int_equal(sysinfo(&machine), 0);
    uint64_t machine_bytes = (uint64_t)machine.totalram * machine.mem_unit;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        make_up(cases[i].files);
        interruptions = (int)i % 3;
        uint64_t limit = fallow__os_memory_limit();
        uint64_t expected = cases[i].expected != 0 ? cases[i].expected : machine_bytes;
        if (limit != expected) {
            fail_msg("case %zu: %llu instead of %llu", i, (unsigned long long)limit, (unsigned long long)expected);
        }
        assert_int_equal(real_kernel(NULL), 0);
    }
}

/* A name that is longer than there is room for belongs to no file; those above it do. */
static void a_long_name(void **state)
{
    (void)state;
    static char text[3000] = "0::/near/";
    memset(text + strlen(text), 'x', sizeof text - 1 - strlen(text));
    make_up((file[]){{"/proc/self/cgroup", text}, {"/sys/fs/cgroup/near/memory.max", "7340032\n"}, {NULL, NULL}});
    uint64_t limit = fallow__os_memory_limit();
    assert_int_equal(limit, 7 * MIB);
}

/* --- limits of a process -------------------------------------------------------------------------------------- */

static const char status_text[] =
    "Name:\tploughman\nUmask:\t0022\nUid:\t4000000000\t4000000001\t7\t8\n"
    "VmPeak:\t    5000 kB\nVmSize:\t    4000 kB\nVmHWM:\t     300 kB\n"
    "VmRSS:\t     200 kB\nVmData:\t     100 kB\nVmStk:\t     132 kB\nVmExe:\t      40 kB\n"
    "VmLib:\t       3 kB\nVmPTE:\t      60 kB\nVmSwap:\t      12 kB\nThreads:\t9\n";

static void figures_of_a_process(void **state)
{
    (void)state;
    fallow__os_figures figures;
    fallow__os_error error;
    make_up((file[]){{"/proc/77/status", status_text},
                     {"/proc/77/smaps_rollup", "Rss: 200 kB\nLazyFree:             24 kB\n"},
                     {NULL, NULL}});
    assert_int_equal(fallow__os_figures_of(77, &figures, &error), FALLOW_OK);
    assert_string_equal(figures.program, "ploughman");
    assert_true(figures.has_user);
    assert_int_equal(figures.user_id, 4000000001);
    assert_true(figures.is_other_user);
    assert_int_equal(figures.virtual_bytes, 4000 << 10);
    assert_int_equal(figures.peak_virtual_bytes, 5000 << 10);
    assert_int_equal(figures.resident_bytes, 200 << 10);
    assert_int_equal(figures.peak_resident_bytes, 300 << 10);
    assert_int_equal(figures.data_bytes, 100 << 10);
    assert_int_equal(figures.stack_bytes, 132 << 10);
    assert_int_equal(figures.code_bytes, 43 << 10);
    assert_int_equal(figures.swapped_bytes, 12 << 10);
    assert_int_equal(figures.page_table_bytes, 60 << 10);
    assert_int_equal(figures.lazy_bytes, 24 << 10);
    assert_int_equal(figures.thread_count, 9);

    static const char long_name[] =
        "Name:\ta name that is longer than any that Linux lets a program have today, by far\n";
    make_up((file[]){{"/proc/77/status", long_name}, {NULL, NULL}});
    assert_int_equal(fallow__os_figures_of(77, &figures, &error), FALLOW_OK);
    assert_int_equal(strlen(figures.program), sizeof figures.program - 1);
    assert_memory_equal(figures.program, long_name + 6, sizeof figures.program - 1);
    assert_false(figures.has_user);
    assert_false(figures.is_other_user);

    make_up((file[]){{"/proc/77/status", "VmSize:\t 8 kB\n"}, {NULL, NULL}}); /* what is not told is nothing */
    assert_int_equal(fallow__os_figures_of(77, &figures, &error), FALLOW_OK);
    assert_int_equal(figures.virtual_bytes, 8 << 10);
    assert_string_equal(figures.program, "");
    assert_true(figures.resident_bytes == 0 && figures.code_bytes == 0 && figures.thread_count == 0);
    assert_false(figures.has_user);

    make_up((file[]){{"/proc/77/status", NULL}, {NULL, NULL}});
    assert_int_equal(fallow__os_figures_of(77, &figures, &error), FALLOW_ERR_PERMISSION);
    assert_int_equal(error.code, EACCES);
    assert_int_equal(fallow__os_figures_of(78, &figures, &error), FALLOW_ERR_INVALID);
    assert_int_equal(error.code, ENOENT);
}

static void limits_of_a_process(void **state)
{
    (void)state;
    fallow__os_limit limits[FALLOW__OS_LIMITS_MAX];
    fallow__os_figures figures = {.virtual_bytes = 4 * MIB};
    file kernel[] = {
        {"/proc/77/limits", "Limit                     Soft Limit           Hard Limit           Units     \n"
                            "Max data size             1048576              unlimited            bytes     \n"
                            "Max stack size            8388608              unlimited            bytes     \n"
                            "Max address space         73400320             83886080             bytes     \n"},
        {"/proc/sys/vm/max_map_count", "65530\n"},
        {"/proc/sys/vm/overcommit_memory", "2\n"},
        {"/proc/meminfo", "MemTotal: 9 kB\nCommitLimit:     3000 kB\nCommitted_AS:    2000 kB\n"},
        {NULL, NULL},
    };
    make_up(kernel);
    assert_int_equal(fallow__os_limits(77, &figures, 123, limits), 5);
    assert_string_equal(limits[0].name, "RLIMIT_AS");
    assert_int_equal(limits[0].limit, 73400320);
    assert_int_equal(limits[0].used, 4 * MIB);
    assert_string_equal(limits[1].name, "RLIMIT_DATA");
    assert_int_equal(limits[1].limit, 1048576);
    assert_int_equal(limits[1].used, NO_LIMIT); /* not known */
    assert_string_equal(limits[2].name, "vm.max_map_count");
    assert_int_equal(limits[2].limit, 65530);
    assert_int_equal(limits[2].used, 123);
    assert_true(limits[2].is_mappings);
    assert_false(limits[0].is_mappings);
    assert_true(limits[3].limit == NO_LIMIT && limits[3].used == NO_LIMIT && limits[3].is_of_all);
    assert_string_equal(limits[4].name, "CommitLimit");
    assert_int_equal(limits[4].limit, 3000 << 10);
    assert_int_equal(limits[4].used, 2000 << 10);
    assert_true(limits[4].is_of_all);
    assert_non_null(strstr(limits[4].what, "vm.overcommit_memory 2"));

    static const char *const modes[] = {"0\n", "1\n"};
    for (int mode = 0; mode < 2; mode++) {
        kernel[0].text = "Max address space         unlimited            unlimited            bytes     \n"
                         "Max data size             unlimited            unlimited            bytes     \n";
        kernel[2].text = modes[mode];
        make_up(kernel);
        assert_int_equal(fallow__os_limits(77, &figures, 123, limits), 5);
        assert_true(limits[0].limit == NO_LIMIT && limits[1].limit == NO_LIMIT);
        assert_true(limits[4].limit == NO_LIMIT); /* it is not enforced */
        assert_int_equal(limits[4].used, 2000 << 10);
        assert_non_null(strstr(limits[4].what, mode == 0 ? "vm.overcommit_memory 0" : "vm.overcommit_memory 1"));
    }
    make_up((file[]){{"/proc/sys", ""}, {NULL, NULL}}); /* no file at all */
    assert_int_equal(fallow__os_limits(77, &figures, UINT64_MAX, limits), 5);
    for (int i = 0; i < 5; i++) {
        assert_true(limits[i].limit == NO_LIMIT);
    }
}

/* Of several groups, the one with the least room is the one that counts. */
static void limits_of_groups(void **state)
{
    (void)state;
    static const char v2[] = "21 20 0:19 / /sys rw - sysfs sysfs rw\n"
                             "30 21 0:26 / /groups rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
    static const char v2_inner[] = "30 21 0:26 /a /groups rw,nosuid - cgroup2 cgroup2 rw\n";
    static const char v1[] = "31 21 0:27 / /groups/cpu rw - cgroup cgroup rw,cpu\n"
                             "32 21 0:28 / /groups/memory rw - cgroup cgroup rw,memory\n";
    static const struct {
        const char *mounts, *group;
        file files[5];
        const char *name, *place;
        uint64_t limit, used;
    } cases[] = {
        {v2,
         "0::/a/b\n", /* its own */
         {{"/groups/a/b/memory.max", "4194304\n"}, {"/groups/a/b/memory.current", "1048576\n"}},
         "memory.max",
         "/a/b",
         4 * MIB,
         MIB},
        {v2,
         "0::/a/b\n", /* the one above, which is larger and fuller */
         {{"/groups/a/b/memory.max", "4194304\n"},
          {"/groups/a/b/memory.current", "1048576\n"},
          {"/groups/a/memory.max", "8388608\n"},
          {"/groups/a/memory.current", "7340032\n"}},
         "memory.max",
         "/a",
         8 * MIB,
         7 * MIB},
        {v2,
         "0::/a/b\n", /* the one above, with more room */
         {{"/groups/a/b/memory.max", "4194304\n"},
          {"/groups/a/b/memory.current", "1048576\n"},
          {"/groups/a/memory.max", "8388608\n"},
          {"/groups/a/memory.current", "2097152\n"}},
         "memory.max",
         "/a/b",
         4 * MIB,
         MIB},
        {v2,
         "0::/a/b\n", /* fuller than it may be */
         {{"/groups/a/b/memory.max", "4194304\n"}, {"/groups/a/b/memory.current", "5242880\n"}},
         "memory.max",
         "/a/b",
         4 * MIB,
         4 * MIB},
        {v2,
         "0::/\n", /* the root */
         {{"/groups/memory.max", "4194304\n"}, {"/groups/memory.current", "1048576\n"}},
         "memory.max",
         "/",
         4 * MIB,
         MIB},
        {v2,
         "0::/a/b\n", /* none */
         {{"/groups/a/b/memory.max", "max\n"}, {"/groups/a/b/memory.current", "1048576\n"}},
         "memory.max",
         "",
         NO_LIMIT,
         NO_LIMIT},
        {v2_inner,
         "0::/a/b\n", /* a part of the hierarchy is mounted */
         {{"/groups/b/memory.max", "4194304\n"}, {"/groups/b/memory.current", "1048576\n"}},
         "memory.max",
         "/b",
         4 * MIB,
         MIB},
        {v2_inner,
         "0::/ab\n", /* another part is */
         {{"/groups/memory.max", "4194304\n"},
          {"/groups/memory.current", "1048576\n"},
          {"/groups/b/memory.max", "1\n"},
          {"/groups/b/memory.current", "1\n"}},
         "memory.max",
         "/",
         4 * MIB,
         MIB},
        {v1,
         "7:cpu:/c\n8:hugetlb,memory:/a\n",
         {{"/groups/memory/a/memory.limit_in_bytes", "4194304\n"},
          {"/groups/memory/a/memory.usage_in_bytes", "2097152\n"}},
         "memory.limit_in_bytes",
         "/a",
         4 * MIB,
         2 * MIB},
        {v1,
         "8:memory:/a\n", /* as version 1 says that there is none */
         {{"/groups/memory/a/memory.limit_in_bytes", "9223372036854771712\n"},
          {"/groups/memory/a/memory.usage_in_bytes", "2097152\n"}},
         "memory.max",
         "",
         NO_LIMIT,
         NO_LIMIT},
        {v1,
         "8:memory2:/a\n9:inmemory:/a\n", /* another controller */
         {{"/groups/memory/a/memory.limit_in_bytes", "4194304\n"},
          {"/groups/memory/a/memory.usage_in_bytes", "2097152\n"}},
         "memory.max",
         "",
         NO_LIMIT,
         NO_LIMIT},
        {"32 21 0:28 / /groups/memory rw\n", "8:memory:/a\n", {{"/groups", ""}}, "memory.max", "", NO_LIMIT, NO_LIMIT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fallow__os_limit limits[FALLOW__OS_LIMITS_MAX];
        fallow__os_figures figures = {0};
        file kernel[8] = {{"/proc/self/mountinfo", cases[i].mounts}, {"/proc/77/cgroup", cases[i].group}};
        memcpy(&kernel[2], cases[i].files, sizeof cases[i].files);
        make_up(kernel);
        assert_int_equal(fallow__os_limits(77, &figures, 1, limits), 5);
        printf("case %zu: %s %s\n", i, limits[3].name, limits[3].place);
        assert_string_equal(limits[3].name, cases[i].name);
        assert_string_equal(limits[3].place, cases[i].place);
        assert_true(limits[3].limit == cases[i].limit);
        assert_true(limits[3].used == cases[i].used);
        assert_int_equal(real_kernel(NULL), 0);
    }
}

/* --- mappings --------------------------------------------------------------------------------------------------- */

static void mappings_and_gaps(void **state)
{
    (void)state;
    static const char maps[] = "00010000-00020000 r-xp 00000000 08:01 1 /bin/plough\n"
                               "not a mapping\n"
                               "00080000-000a0000 rw-p 00000000 00:00 0 [heap]\n"
                               "000c0000-000d0000 rw-s 00000000 00:00 0\n"
                               "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";
    make_up((file[]){{"/proc/self/maps", maps}, {NULL, NULL}});
    assert_int_equal(fallow__posix_map_count(), 3);
    /* the highest gap in which it fits, at its end */
    assert_int_equal(fallow__posix_find_gap(0x10000, 0x100000, 0x10000, 0x10000), 0xf0000);
    assert_int_equal(fallow__posix_find_gap(0x10000, 0x100000, 0x30000, 0x10000), 0xd0000);
    assert_int_equal(fallow__posix_find_gap(0x10000, 0x100000, 0x30001, 0x1000), 0x4f000);
    assert_int_equal(fallow__posix_find_gap(0x10000, 0xd0000, 0x20000, 0x10000), 0xa0000);
    assert_int_equal(fallow__posix_find_gap(0x10000, 0xd0000, 0x60000, 0x20000), 0x20000);
    assert_int_equal(fallow__posix_find_gap(0x10000, 0xd0000, 0x60000, 0x40000), 0);
    assert_int_equal(fallow__posix_find_gap(0x10000, 0xd0000, 0x60001, 0x1000), 0);
    assert_int_equal(fallow__posix_find_gap(0, 0x90000, 0x10000, 0x1000),
                     0x70000); /* what begins above it is not there */
    make_up((file[]){{"/proc/self/maps", NULL}, {NULL, NULL}});
    assert_int_equal(fallow__posix_map_count(), 0);
    assert_int_equal(fallow__posix_find_gap(0x10000, 0x100000, 0x10000, 0x10000), 0);
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int base;
        uint64_t number;
        size_t used; /* characters of the text; 0 = there is no number */
    } cases[] = {
        {"0", 10, 0, 1},        {"42 kB", 10, 42, 2}, {"\t  7", 10, 7, 4},     {"9fz", 16, 0x9f, 2},
        {"a0-b0", 16, 0xa0, 2}, {"f", 16, 15, 1},     {"12a", 10, 12, 2},      {"", 10, 0, 0},
        {"x", 16, 0, 0},        {"g", 16, 0, 0},      {"unlimited", 10, 0, 0}, {"-1", 10, 0, 0},
        {"/", 10, 0, 0},        {":", 10, 0, 0},      {"`", 16, 0, 0},         {"fffffffff", 16, 0xfffffffff, 9},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *text = cases[i].text;
        uint64_t number = 1;
        assert_int_equal(fallow__posix_parse_number(&text, cases[i].base, &number), cases[i].used != 0);
        assert_int_equal(number, cases[i].number);
        assert_int_equal(text - cases[i].text, cases[i].used);
    }
}

/* Lines longer than the reader's buffer, and than the caller's room: cut, and the next one is whole. */
static void long_lines(void **state)
{
    (void)state;
    static char text[3 * 4096];
    memset(text, 'a', sizeof text - 1);
    text[5000] = '\n';
    memcpy(text + 5001, "next\n\nlast", 10);
    text[5011] = '\0';
    fallow__posix_lines lines;
    char line[16];
    make_up((file[]){{"/proc/self/x", text}, {NULL, NULL}});
    assert_false(fallow__posix_open_lines("/proc/self/y", &lines));
    interruptions = 2;
    assert_true(fallow__posix_open_lines("/proc/self/x", &lines));
    static const char *const expected[] = {"aaaaaaaaaaaaaaa", "next", "", "last"};
    for (int i = 0; i < 4; i++) {
        assert_true(fallow__posix_next_line(&lines, line, sizeof line));
        assert_string_equal(line, expected[i]);
    }
    assert_false(fallow__posix_next_line(&lines, line, sizeof line));
    assert_string_equal(line, "");
    fallow__posix_close_lines(&lines);
}

/* --- the kernel at hand ----------------------------------------------------------------------------------------- */

/* What it can do, each thing tried once more, by its effect where it has one. */
static void facts(void **state)
{
    (void)state;
    fallow_system told;
    fallow_system_info(&told);
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    char *page = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(page, MAP_FAILED);
    bool is_emulated = madvise(page, page_bytes, 9999) == 0; /* an advice that there is not */
    assert_int_equal(told.is_emulated, is_emulated);
    if (!is_emulated) {
        unsigned char resident[16] = {0}; /* under an emulator one for each 4 KiB */
        bool has_populate = madvise(page, page_bytes, 23 /* MADV_POPULATE_WRITE */) == 0;
        assert_int_equal(mincore(page, page_bytes, resident), 0);
        assert_int_equal(told.has_populate, has_populate && (resident[0] & 1) != 0);
        assert_int_equal(told.has_lazy_purge, madvise(page, page_bytes, 8 /* MADV_FREE */) == 0);
        assert_int_equal(told.has_guard_install, madvise(page, page_bytes, 102 /* MADV_GUARD_INSTALL */) == 0);
    }
    assert_int_equal(munmap(page, page_bytes), 0);
    assert_int_equal(told.page_bytes, page_bytes);
    assert_int_equal(told.granularity_bytes, page_bytes);
    assert_true(told.memory_bytes != 0 && told.map_count_limit != 0 && told.overcommit_mode >= 0);
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_groups_limit, real_kernel),
        cmocka_unit_test_teardown(a_long_name, real_kernel),
        cmocka_unit_test_teardown(figures_of_a_process, real_kernel),
        cmocka_unit_test_teardown(limits_of_a_process, real_kernel),
        cmocka_unit_test_teardown(limits_of_groups, real_kernel),
        cmocka_unit_test_teardown(mappings_and_gaps, real_kernel),
        cmocka_unit_test_teardown(long_lines, real_kernel),
        cmocka_unit_test(numbers),
        cmocka_unit_test(facts),
    };
    return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
