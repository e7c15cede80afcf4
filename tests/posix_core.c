/* Core dumps: what is reserved, or has been given back, is in none. The kernel writes one here of a child that aborts,
 * with 1 TiB reserved and 2 MiB in use, in each purge mode. gdb's gcore writes what is reserved, too; it leaves out what
 * FALLOW_ARENA_NO_DUMP does, so that is how it is asked here.
 *
 * Two sizes count. What a core takes on the disk is what is in it; what it says to be long is what a reader at the other
 * end of a pipe gets, zeros and all, so a reservation in there would never end. */
#define _DEFAULT_SOURCE 1 /* WCOREDUMP, mkdtemp */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fallow.h"
#include "test.h"

#define MIB ((size_t)1 << 20)
#define RESERVED ((size_t)1 << 40)
#define MOST (8 * MIB)

enum {
    RUN_BYTES = 64 << 10,
    IN_USE_RUNS = 32,  /* 2 MiB */
    FREED_RUNS = 1024, /* 64 MiB */
};

typedef struct history {
    fallow_purge purge;
    unsigned freed_runs; /* as many were used once, and have been given back */
    uint32_t flags;      /* FALLOW_ARENA_* */
} history;

/* 2 MiB in use, spread among what was freed, so that many mappings meet. */
static bool live(history given)
{
    const fallow_arena_options options = {.reserve_bytes = RESERVED,
                                          .min_reserve_bytes = RESERVED,
                                          .purge = given.purge,
                                          .scavenge = FALLOW_SCAVENGE_OFF,
                                          .thread_cache_bytes = FALLOW_CACHE_NONE,
                                          .flags = given.flags};
    fallow_arena *arena = NULL;
    void *runs[IN_USE_RUNS + FREED_RUNS];
    unsigned count = IN_USE_RUNS + given.freed_runs;
    if (fallow_arena_create(&options, &arena) != FALLOW_OK) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        if (fallow_arena_alloc(arena, RUN_BYTES, &runs[i]) != FALLOW_OK) {
            return false;
        }
        memset(runs[i], 1, RUN_BYTES);
    }
    for (unsigned i = 0; i < count; i++) {
        if (i % (count / IN_USE_RUNS) != 0) {
            fallow_arena_free(arena, runs[i], RUN_BYTES);
        }
    }
    return fallow_arena_trim(arena, 0, NULL) == FALLOW_OK;
}

typedef struct core_size {
    uint64_t on_disk;
    uint64_t apparent;
} core_size;

/* Find the one file of a directory, and remove both. */
static bool take_core(const char *directory, core_size *size_out)
{
    bool is_found = false;
    DIR *opened = opendir(directory);
    for (const struct dirent *entry; opened != NULL && (entry = readdir(opened)) != NULL;) {
        char path[512];
        struct stat about;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.' && stat(path, &about) == 0) {
            *size_out = (core_size){.on_disk = (uint64_t)about.st_blocks * 512, .apparent = (uint64_t)about.st_size};
            is_found = true;
            unlink(path);
        }
    }
    if (opened != NULL) {
        closedir(opened);
    }
    return rmdir(directory) == 0 && is_found;
}

/* Where the kernel's cores go is the whole machine's affair: they are looked at where they come to lie here. */
static bool core_comes_here(void)
{
    char pattern[128] = {0};
    int file = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
    bool is_read = file >= 0 && read(file, pattern, sizeof pattern - 1) > 0;
    struct rlimit limit;
    if (file >= 0) {
        close(file);
    }
    return is_read && strchr("|/\n", pattern[0]) == NULL && getrlimit(RLIMIT_CORE, &limit) == 0 &&
           limit.rlim_max >= 256 * MIB;
}

/* What the child writes into a pipe when it is ready, and what it exits with if it could not get ready. */
enum {
    READY = 'r',
    NOT_READY = 3
};

/* A child that has lived, and waits. With `directory`: it dumps core there instead. */
static pid_t start_child(history given, const char *directory)
{
    int ends[2];
    char word = 0;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit limit = {.rlim_cur = 1024 * MIB, .rlim_max = 1024 * MIB};
        if (!live(given) || (directory != NULL && (chdir(directory) != 0 || setrlimit(RLIMIT_CORE, &limit) != 0))) {
            _exit(NOT_READY);
        }
        if (directory != NULL) {
            signal(SIGABRT, SIG_DFL);
            abort();
        }
        if (write(ends[1], &(char){READY}, 1) == 1) {
            pause();
        }
        _exit(0);
    }
    close(ends[1]);
    bool is_ready = read(ends[0], &word, 1) == 1 && word == READY;
    close(ends[0]);
    assert_true(is_ready == (directory == NULL));
    return child;
}

static void make_directory(char *name_out, size_t name_bytes)
{
    snprintf(name_out, name_bytes, "/tmp/fallow-core-XXXXXX");
    assert_non_null(mkdtemp(name_out));
}

static core_size core_of_kernel(history given)
{
    char directory[64];
    int status;
    core_size size;
    make_directory(directory, sizeof directory);
    pid_t child = start_child(given, directory);
    assert_true(waitpid(child, &status, 0) == child);
    bool is_found = take_core(directory, &size);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    if (!WCOREDUMP(status) || !is_found) {
        printf("skipped: the kernel wrote no core, or not into the working directory\n");
        skip();
    }
    return size;
}

static core_size core_of_gdb(history given)
{
    char directory[64];
    char command[256];
    int status;
    core_size size;
    make_directory(directory, sizeof directory);
    pid_t child = start_child(given, NULL);
    snprintf(command, sizeof command, "timeout 60 gcore -o %s/core %ld >/dev/null 2>&1 </dev/null", directory,
             (long)child);
    int result = system(command);
    kill(child, SIGKILL);
    assert_true(waitpid(child, &status, 0) == child);
    bool is_found = take_core(directory, &size);
    if (result != 0 || !is_found) {
        printf("skipped: gcore is missing, or may not look at a process\n");
        skip();
    }
    return size;
}

static const struct {
    fallow_purge purge;
    const char *name;
} modes[] = {{FALLOW_PURGE_DONTNEED, "dontneed"}, {FALLOW_PURGE_FREE, "free"}, {FALLOW_PURGE_DECOMMIT, "decommit"}};

static void check_core(core_size size, size_t mode, history given)
{
    printf("%s, %u MiB given back: %.2f MiB on disk, %.2f MiB long\n", modes[mode].name,
           given.freed_runs * RUN_BYTES / (1u << 20), (double)size.on_disk / MIB, (double)size.apparent / MIB);
    size_t freed_bytes = (size_t)given.freed_runs * RUN_BYTES;
    assert_true(size.apparent > IN_USE_RUNS * RUN_BYTES); /* what is in use is there */
    /* What is freed lazily is memory until the system takes it; what is accessible is zeros, which take no room. */
    assert_true(size.on_disk < MOST + (given.purge == FALLOW_PURGE_FREE ? freed_bytes : 0));
    assert_true(size.apparent < MOST + (given.purge == FALLOW_PURGE_DECOMMIT ? 0 : freed_bytes));
}

static void the_kernels_are_small(void **state)
{
    (void)state;
    if (!core_comes_here()) {
        printf("skipped: the kernel writes cores elsewhere (core_pattern), or not at all (ulimit -c)\n");
        skip();
    }
    for (size_t mode = 0; mode < sizeof modes / sizeof modes[0]; mode++) {
        for (unsigned freed_runs = 0; freed_runs <= FREED_RUNS; freed_runs += FREED_RUNS) {
            history given = {.purge = modes[mode].purge, .freed_runs = freed_runs};
            check_core(core_of_kernel(given), mode, given);
        }
    }
}

static void gdbs_leaves_out_what_it_is_told_to(void **state)
{
    (void)state;
    core_size size = core_of_gdb((history){.purge = FALLOW_PURGE_DONTNEED, .flags = FALLOW_ARENA_NO_DUMP});
    printf("gcore: %.2f MiB on disk, %.2f MiB long\n", (double)size.on_disk / MIB, (double)size.apparent / MIB);
    assert_true(size.apparent < MOST);
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernels_are_small),
        cmocka_unit_test(gdbs_leaves_out_what_it_is_told_to),
    };
    return cmocka_run_group_tests_name("posix_core", tests, NULL, NULL);
}
