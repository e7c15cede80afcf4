/* Giving back where Linux counts: in a control group with little memory, and where it promises no more than there is.
 * Both need root and a system that lets them; what cannot be had is skipped, and says why.
 *
 * FALLOW_TEST_OVERCOMMIT=1 lets the second one set vm.overcommit_memory to 2 for a moment: every other process of the
 * machine feels that, so it is not done unasked. */
#define _XOPEN_SOURCE 700
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fallow.h"
#include "posix/setting.h"
#include "test.h"

#define MIB ((size_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* --- a group with 256 MiB ----------------------------------------------------------------------------------- */

/* 200 MiB touched and freed lazily, then 150 MiB more of something else: only what was freed can make room for it. */
static int work_in_group(void)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {.reserve_bytes = 256 * MIB,
                                    .purge = FALLOW_PURGE_FREE,
                                    .scavenge = FALLOW_SCAVENGE_OFF,
                                    .flags = FALLOW_ARENA_FIXED};
    fallow_arena *other = NULL;
    void *base;
    if (fallow_arena_create(&options, &arena) != FALLOW_OK || fallow_arena_create(&options, &other) != FALLOW_OK ||
        fallow_arena_alloc(arena, 200 * MIB, &base) != FALLOW_OK) {
        return 1;
    }
    memset(base, 1, 200 * MIB);
    fallow_arena_free(arena, base, 200 * MIB);
    if (fallow_arena_trim(arena, 0, NULL) != FALLOW_OK || fallow_arena_alloc(other, 150 * MIB, &base) != FALLOW_OK) {
        return 2;
    }
    memset(base, 2, 150 * MIB);
    fallow_run run;
    if (fallow_arena_alloc_run(arena, 200 * MIB, NULL, &run) != FALLOW_OK) {
        return 3;
    }
    const unsigned char *bytes = run.base;
    for (size_t byte = 0; byte < run.size_bytes; byte += 4096) {
        if (bytes[byte] > 1 || (run.is_zero && bytes[byte] != 0)) {
            return 4;
        }
    }
    return 0;
}

/* Make a group for a child to go into. */
static bool make_group(char *path_out, size_t path_bytes)
{
    static const struct {
        const char *root;
        const char *limit;
    } kinds[] = {{"/sys/fs/cgroup", "memory.max"}, {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char limit[256];
        snprintf(path_out, path_bytes, "%s/fallow-test-%ld", kinds[i].root, (long)getpid());
        snprintf(limit, sizeof limit, "%s/%s", path_out, kinds[i].limit);
        if (mkdir(path_out, 0755) != 0) {
            continue;
        }
        if (setting_write(limit, "268435456")) {
            return true;
        }
        rmdir(path_out);
    }
    return false;
}

static void lazily_freed_pages_go_first(void **state)
{
    (void)state;
    char path[128];
    fallow_system system;
    fallow_system_info(&system);
    if (!system.has_lazy_purge) {
        printf("skipped: this system has no lazy purge\n");
        skip();
    }
    if (!make_group(path, sizeof path)) {
        printf("skipped: no control group with a memory limit can be made (not root, or not here)\n");
        skip();
    }
    char processes[160];
    snprintf(processes, sizeof processes, "%s/cgroup.procs", path);
    int status = -1;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        char id[32];
        snprintf(id, sizeof id, "%ld", (long)getpid());
        _exit(setting_write(processes, id) ? work_in_group() : 9);
    }
    bool is_waited = child > 0 && waitpid(child, &status, 0) == child;
    for (int tries = 0; rmdir(path) != 0 && tries < 100; tries++) {
        sleep(1); /* the kernel takes its time to empty a group */
    }
    assert_true(is_waited);
    assert_true(WIFEXITED(status)); /* else: killed for want of memory */
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- promises ----------------------------------------------------------------------------------------------- */

static uint64_t committed_as(void)
{
    fallow_system system;
    fallow_system_info(&system);
    return system.committed_bytes;
}

/* A window of 1 GiB goes over 200 GiB, committed, touched here and there, decommitted: what is charged comes back. */
static int slide(void)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {
        .reserve_bytes = (size_t)(200 * GIB), .purge = FALLOW_PURGE_DECOMMIT, .flags = FALLOW_ARENA_FIXED};
    fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED};
    fallow_run run;
    if (fallow_arena_create(&options, &arena) != FALLOW_OK ||
        fallow_arena_alloc_run(arena, options.reserve_bytes, &addresses, &run) != FALLOW_OK) {
        return 1;
    }
    uint64_t before = committed_as();
    for (uint64_t offset = 0; offset < options.reserve_bytes; offset += GIB) {
        char *window = (char *)run.base + offset;
        if (fallow_arena_commit(arena, window, (size_t)GIB) != FALLOW_OK) {
            return 2;
        }
        for (uint64_t byte = 0; byte < GIB; byte += 64 * MIB) {
            window[byte] = 1;
        }
        if (fallow_arena_decommit(arena, window, (size_t)GIB) != FALLOW_OK) {
            return 3;
        }
    }
    uint64_t after = committed_as();
    return after < before + GIB / 2 ? 0 : 4;
}

static void a_window_over_200_gib(void **state)
{
    (void)state;
    char old[16];
    char kib[16];
    setting ratio;
    setting mode;
    const char *asked = getenv("FALLOW_TEST_OVERCOMMIT");
    bool is_strict = setting_read("/proc/sys/vm/overcommit_memory", old, sizeof old) && old[0] == '2';
    if (sizeof(size_t) < 8 || (!is_strict && (asked == NULL || strcmp(asked, "1") != 0))) {
        printf("skipped: vm.overcommit_memory is not 2, and FALLOW_TEST_OVERCOMMIT=1 does not ask to set it\n");
        skip();
    }
    if (is_strict) {
        assert_int_equal(slide(), 0);
        return;
    }
    /* five times the memory may be promised meanwhile: nobody else meets the limit, and 200 GiB would */
    if (!setting_read("/proc/sys/vm/overcommit_kbytes", kib, sizeof kib) || kib[0] != '0' ||
        !setting_change(&ratio, "/proc/sys/vm/overcommit_ratio", "500")) {
        printf("skipped: vm.overcommit_ratio cannot be set, or vm.overcommit_kbytes is\n");
        skip();
    }
    if (!setting_change(&mode, "/proc/sys/vm/overcommit_memory", "2")) {
        assert_true(setting_restore(&ratio));
        printf("skipped: vm.overcommit_memory cannot be set\n");
        skip();
    }
    fallow_system system;
    fallow_system_info(&system);
    int result = system.overcommit_mode == 2 ? slide() : 9;
    bool is_mode_restored = setting_restore(&mode);
    bool is_ratio_restored = setting_restore(&ratio);
    printf("CommitLimit %.0f GiB, Committed_AS from %.2f to %.2f GiB\n", (double)system.commit_limit / (double)GIB,
           (double)system.committed_bytes / (double)GIB, (double)committed_as() / (double)GIB);
    assert_true(is_mode_restored);
    assert_true(is_ratio_restored);
    assert_int_equal(result, 0);
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lazily_freed_pages_go_first),
        cmocka_unit_test(a_window_over_200_gib),
    };
    return cmocka_run_group_tests_name("posix_giving_back", tests, NULL, NULL);
}
