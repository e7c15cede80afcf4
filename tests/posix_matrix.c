/* The matrix of docs/limits.md, row by row: under each limit, what calls say, what goes on working, and that the remedy is
 * one. Each row runs in a child, which sets the limit for itself; what would be felt by the rest of the machine
 * (vm.overcommit_memory) is set only if FALLOW_TEST_OVERCOMMIT=1 asks for it, and put back on every path.
 *
 * Single calls under single refusals are posix_limits' matter; here it is whole lives of regions and arenas. The heart is
 * the list of optional calls: forbidden each by itself and all together, with each of three answers, before the library
 * looks what there is and after, every one of them leaves everything working. */
#define _GNU_SOURCE 1
#include "test.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fallow.h"
#include "os.h"
#include "posix/setting.h"
#include "probe.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

enum {
    SKIPPED = 77,
    NOBODY = 65534
};

/* --- children ----------------------------------------------------------------------------------------------------- */

#define CHECK(condition)                                           \
    do {                                                           \
        if (!(condition)) {                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1);                                              \
        }                                                          \
    } while (0)

#define CHECK_STATUS(call, expected)                                                                 \
    do {                                                                                             \
        fallow_status got_ = (call);                                                                 \
        if (got_ != (expected)) {                                                                    \
            printf("%s:%d: %s is %s, not %s\n", __FILE__, __LINE__, #call, fallow_status_name(got_), \
                   fallow_status_name(expected));                                                    \
            _exit(1);                                                                                \
        }                                                                                            \
    } while (0)

static void skip_child(const char *reason)
{
    printf("skipped: %s\n", reason);
    _exit(SKIPPED);
}

static int run_child(void (*body)(void *context), void *context)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGABRT};
        for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
            signal(caught[i], SIG_DFL); /* cmocka would go on with the next test, in the child */
        }
        alarm(60);
        body(context);
        _exit(0);
    }
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(state)) {
        printf("ended by signal %d\n", WTERMSIG(state));
    }
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static void run(void (*body)(void *context), void *context)
{
    int code = run_child(body, context);
    if (code == SKIPPED) {
        skip();
    }
    assert_int_equal(code, 0);
}

static void skip_if_emulated(void)
{
    fallow_system system;
    fallow_system_info(&system);
    if (system.is_emulated) {
        skip_child("an emulator does not enforce this");
    }
}

/* The latest failure, and which limit it names. */
static void check_cause(fallow_status status, const char *limit_name)
{
    fallow_failure failure;
    CHECK(fallow_last_failure(&failure));
    CHECK(failure.status == status);
    if (failure.limit_name == NULL || strcmp(failure.limit_name, limit_name) != 0) {
        printf("%s names %s, not %s\n", failure.operation, failure.limit_name != NULL ? failure.limit_name : "no limit",
               limit_name);
        _exit(1);
    }
}

static uint64_t status_bytes(const char *name)
{
    char line[256];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            kib = strtoull(line + strlen(name), NULL, 10);
        }
    }
    fclose(file);
    return kib * 1024;
}

/* The soft limit; the hard one stays, so that it can be raised again. */
static void limit_softly(int resource, uint64_t bytes)
{
    struct rlimit now;
    CHECK(getrlimit(resource, &now) == 0);
    now.rlim_cur = bytes < now.rlim_max ? (rlim_t)bytes : now.rlim_max;
    CHECK(setrlimit(resource, &now) == 0);
}

static void raise_again(int resource)
{
    limit_softly(resource, UINT64_MAX);
}

/* --- lives -------------------------------------------------------------------------------------------------------- */

static bool take_text(void *context, const char *text, size_t bytes)
{
    size_t *sum = context;
    *sum += bytes + (text[0] == '\0');
    return true;
}

static bool is_zero(const void *base, size_t size_bytes)
{
    const char *bytes = base;
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size_bytes - 1) == 0;
}

/* Everything that a region can do and that needs no optional call. */
static void live_with_a_region(void)
{
    const fallow_region_options options = {
        .name = "matrix", .flags = FALLOW_REGION_NO_DUMP | FALLOW_REGION_NO_FORK | FALLOW_REGION_HUGE_PAGES};
    fallow_region region;
    CHECK_STATUS(fallow_region_reserve(8 * MIB, &options, &region), FALLOW_OK);
    char *base = region.base;
    CHECK_STATUS(fallow_region_commit(&region, 0, 8 * MIB), FALLOW_OK);
    memset(base, 1, 8 * MIB);
    CHECK_STATUS(fallow_region_purge(&region, 0, MIB, FALLOW_PURGE_DONTNEED), FALLOW_OK);
    CHECK(is_zero(base, MIB));
    CHECK_STATUS(fallow_region_purge(&region, MIB, MIB, FALLOW_PURGE_FREE), FALLOW_OK);
    CHECK(base[MIB] == 0 || base[MIB] == 1);
    CHECK_STATUS(fallow_region_decommit(&region, 2 * MIB, MIB), FALLOW_OK);
    CHECK(!probe_can_read(base + 2 * MIB));
    CHECK_STATUS(fallow_region_commit(&region, 2 * MIB, MIB), FALLOW_OK);
    CHECK(is_zero(base + 2 * MIB, MIB));
    CHECK_STATUS(fallow_region_protect(&region, 3 * MIB, MIB, FALLOW_PROTECTION_READ), FALLOW_OK);
    CHECK(!probe_can_write(base + 3 * MIB) && base[3 * MIB] == 1);
    CHECK_STATUS(fallow_region_protect(&region, 3 * MIB, MIB, FALLOW_PROTECTION_READ_WRITE), FALLOW_OK);
    CHECK_STATUS(fallow_region_prefault(&region, 2 * MIB, MIB), FALLOW_OK);
    CHECK_STATUS(fallow_region_guard(&region, 4 * MIB, MIB), FALLOW_OK);
    CHECK(!probe_can_read(base + 4 * MIB));
    CHECK_STATUS(fallow_region_unguard(&region, 4 * MIB, MIB), FALLOW_OK);
    CHECK(is_zero(base + 4 * MIB, MIB));
    CHECK_STATUS(fallow_region_release(&region), FALLOW_OK);
}

static void *use_elsewhere(void *context)
{
    void *run;
    CHECK_STATUS(fallow_arena_alloc(context, MIB, &run), FALLOW_OK);
    memset(run, 2, MIB);
    fallow_arena_free(context, run, MIB);
    return NULL;
}

/* The same for an arena. */
static void live_with_an_arena(fallow_purge purge)
{
    fallow_arena *arena;
    const fallow_arena_options options = {
        .reserve_bytes = 32 * MIB, .purge = purge, .name = "matrix", .flags = FALLOW_ARENA_NO_DUMP};
    const fallow_run_options zeroed = {.flags = FALLOW_RUN_ZEROED};
    const fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED};
    fallow_run run;
    void *base;
    CHECK_STATUS(fallow_arena_create(&options, &arena), FALLOW_OK);
    CHECK_STATUS(fallow_arena_alloc(arena, 4 * MIB, &base), FALLOW_OK);
    memset(base, 1, 4 * MIB);
    fallow_arena_shrink(arena, base, 4 * MIB, 2 * MIB);
    CHECK_STATUS(fallow_arena_extend(arena, base, 2 * MIB, 4 * MIB), FALLOW_OK);
    fallow_arena_split(arena, base, 4 * MIB, MIB);
    fallow_arena_free(arena, base, MIB);
    fallow_arena_free(arena, (char *)base + MIB, 3 * MIB);
    CHECK_STATUS(fallow_arena_alloc_run(arena, 4 * MIB, &zeroed, &run), FALLOW_OK);
    CHECK(run.is_zero && is_zero(run.base, run.size_bytes));
    memset(run.base, 1, run.size_bytes);
    fallow_arena_free(arena, run.base, run.size_bytes);
    CHECK_STATUS(fallow_arena_alloc_run(arena, 4 * MIB, &addresses, &run), FALLOW_OK);
    CHECK(!probe_can_read(run.base));
    CHECK_STATUS(fallow_arena_commit(arena, run.base, MIB), FALLOW_OK);
    memset(run.base, 1, MIB);
    CHECK_STATUS(fallow_arena_decommit(arena, run.base, MIB), FALLOW_OK);
    CHECK(!probe_can_read(run.base));
    fallow_arena_free(arena, run.base, run.size_bytes);
    pthread_t other;
    CHECK(pthread_create(&other, NULL, use_elsewhere, arena) == 0);
    CHECK(pthread_join(other, NULL) == 0);
    CHECK_STATUS(fallow_arena_scavenge(arena, 0, NULL), FALLOW_OK);
    CHECK_STATUS(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    fallow_arena_stats stats;
    fallow_arena_read_stats(arena, &stats);
    CHECK(stats.retained_bytes == 0 && stats.in_use_bytes == 0);
    size_t bytes = 0;
    CHECK_STATUS(fallow_stats_write(arena, FALLOW_STATS_JSON, take_text, &bytes), FALLOW_OK);
    CHECK_STATUS(fallow_arena_write_map(arena, FALLOW_MAP_SVG, NULL, take_text, &bytes), FALLOW_OK);
    CHECK_STATUS(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_destroy(arena);
}

static void live(void)
{
    live_with_a_region();
    live_with_an_arena(FALLOW_PURGE_DONTNEED);
    live_with_an_arena(FALLOW_PURGE_FREE);
    live_with_an_arena(FALLOW_PURGE_DECOMMIT);
}

/* --- RLIMIT_AS ---------------------------------------------------------------------------------------------------- */

/* With so much more address space than the program has now. */
static void body_address_space(void *context)
{
    const uint64_t more = *(const uint64_t *)context;
    fallow_arena *arena;
    void *run;
    skip_if_emulated();
    limit_softly(RLIMIT_AS, status_bytes("VmSize:") + more);
    fallow_status status = fallow_arena_create(NULL, &arena);
    if (status != FALLOW_OK) {
        check_cause(FALLOW_ERR_ADDRESS_SPACE, "RLIMIT_AS");
        CHECK(more < 2 * MIB);
        printf("RLIMIT_AS %5llu KiB above what is in use: FALLOW_ERR_ADDRESS_SPACE\n",
               (unsigned long long)(more >> 10));
    } else {
        fallow_arena_stats stats;
        fallow_arena_read_stats(arena, &stats);
        CHECK(stats.reserved_bytes <= more);
        CHECK_STATUS(fallow_arena_alloc(arena, 64 * KIB, &run), FALLOW_OK);
        memset(run, 1, 64 * KIB);
        printf("RLIMIT_AS %5llu KiB above what is in use: an arena of %zu KiB\n", (unsigned long long)(more >> 10),
               stats.usable_bytes >> 10);
        /* all of it, and then more than there is */
        fallow_status last = FALLOW_OK;
        while (last == FALLOW_OK) {
            last = fallow_arena_alloc(arena, 16 * MIB, &run);
        }
        CHECK(last == FALLOW_ERR_ADDRESS_SPACE);
        check_cause(FALLOW_ERR_ADDRESS_SPACE, "RLIMIT_AS");
        CHECK_STATUS(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
        CHECK_STATUS(fallow_arena_check(arena), FALLOW_OK);
        raise_again(RLIMIT_AS);
        CHECK_STATUS(fallow_arena_alloc(arena, 16 * MIB, &run), FALLOW_OK);
        fallow_arena_destroy(arena);
    }
    raise_again(RLIMIT_AS);
    CHECK_STATUS(fallow_arena_create(NULL, &arena), FALLOW_OK);
    CHECK_STATUS(fallow_arena_alloc(arena, 16 * MIB, &run), FALLOW_OK);
}

static void row_address_space(void **state)
{
    (void)state;
    for (uint64_t more = 128 * KIB; more <= GIB; more *= 2) {
        run(body_address_space, &more);
    }
}

/* Lowered below what is in use, while arenas live. */
static void body_address_space_lowered(void *context)
{
    (void)context;
    skip_if_emulated();
    fallow_arena *arena;
    const fallow_arena_options options = {.reserve_bytes = 32 * MIB,
                                          .purge = FALLOW_PURGE_DECOMMIT,
                                          .scavenge = FALLOW_SCAVENGE_OFF,
                                          .thread_cache_bytes = FALLOW_CACHE_NONE};
    void *first;
    void *second;
    fallow_arena_stats stats;
    CHECK_STATUS(fallow_arena_create(&options, &arena), FALLOW_OK);
    CHECK_STATUS(fallow_arena_alloc(arena, 4 * MIB, &first), FALLOW_OK);
    memset(first, 1, 4 * MIB);
    limit_softly(RLIMIT_AS, MIB);
    CHECK_STATUS(fallow_arena_alloc(arena, 4 * MIB, &second), FALLOW_OK); /* commits: adds no addresses */
    memset(second, 1, 4 * MIB);
    CHECK_STATUS(fallow_arena_alloc(arena, 64 * MIB, &second), FALLOW_ERR_ADDRESS_SPACE);
    check_cause(FALLOW_ERR_ADDRESS_SPACE, "RLIMIT_AS");
    fallow_arena_free(arena, first, 4 * MIB);
    CHECK_STATUS(fallow_arena_trim(arena, 0, NULL), FALLOW_OK); /* the memory goes; what is left is told */
    fallow_arena_read_stats(arena, &stats);
    CHECK(stats.retained_bytes == 0);
    CHECK_STATUS(fallow_arena_alloc(arena, 4 * MIB, &first), FALLOW_OK);
    CHECK(is_zero(first, 4 * MIB));
    raise_again(RLIMIT_AS);
    CHECK_STATUS(fallow_arena_alloc(arena, 64 * MIB, &second), FALLOW_OK);
    CHECK_STATUS(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_destroy(arena);
    live();
}

static void row_address_space_lowered(void **state)
{
    (void)state;
    run(body_address_space_lowered, NULL);
}

/* --- RLIMIT_DATA -------------------------------------------------------------------------------------------------- */

static void body_data(void *context)
{
    (void)context;
    skip_if_emulated();
    fallow_arena *arena;
    const fallow_arena_options options = {.reserve_bytes = 128 * MIB,
                                          .purge = FALLOW_PURGE_DECOMMIT,
                                          .scavenge = FALLOW_SCAVENGE_OFF,
                                          .thread_cache_bytes = FALLOW_CACHE_NONE};
    const fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED};
    fallow_run run;
    void *small;
    void *large;
    CHECK_STATUS(fallow_arena_create(&options, &arena), FALLOW_OK);
    limit_softly(RLIMIT_DATA, status_bytes("VmData:") + 16 * MIB);
    CHECK_STATUS(fallow_arena_alloc(arena, 8 * MIB, &small), FALLOW_OK);
    CHECK_STATUS(fallow_arena_alloc(arena, 64 * MIB, &large), FALLOW_ERR_COMMIT);
    check_cause(FALLOW_ERR_COMMIT, "RLIMIT_DATA");
    /* addresses cost no data */
    CHECK_STATUS(fallow_arena_alloc_run(arena, 64 * MIB, &addresses, &run), FALLOW_OK);
    CHECK_STATUS(fallow_arena_commit(arena, run.base, 64 * MIB), FALLOW_ERR_COMMIT);
    check_cause(FALLOW_ERR_COMMIT, "RLIMIT_DATA");
    CHECK_STATUS(fallow_arena_commit(arena, run.base, MIB), FALLOW_OK);
    memset(small, 1, 8 * MIB);
    /* what is freed is there again; what is decommitted is no data any more */
    fallow_arena_free(arena, small, 8 * MIB);
    CHECK_STATUS(fallow_arena_alloc(arena, 8 * MIB, &small), FALLOW_OK);
    fallow_arena_free(arena, small, 8 * MIB);
    CHECK_STATUS(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    CHECK_STATUS(fallow_arena_commit(arena, run.base, 8 * MIB), FALLOW_OK);
    raise_again(RLIMIT_DATA);
    CHECK_STATUS(fallow_arena_alloc(arena, 48 * MIB, &large), FALLOW_OK);
    memset(large, 1, 48 * MIB);
    CHECK_STATUS(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_destroy(arena);
    live();
}

static void row_data(void **state)
{
    (void)state;
    run(body_data, NULL);
}

/* --- locked memory ------------------------------------------------------------------------------------------------ */

static void body_locked(void *context)
{
    (void)context;
    fallow_arena *arenas[2];
    const fallow_purge purges[2] = {FALLOW_PURGE_DONTNEED, FALLOW_PURGE_DECOMMIT};
    skip_if_emulated();
    limit_softly(RLIMIT_MEMLOCK, status_bytes("VmSize:") + 32 * MIB); /* or what is allowed: usually 8 MiB in all */
    if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0) {
        skip_child("root's rights cannot be given up");
    }
    for (unsigned i = 0; i < 2; i++) {
        const fallow_arena_options options = {.reserve_bytes = MIB,
                                              .purge = purges[i],
                                              .grow_bytes = 64 * KIB,
                                              .scavenge = FALLOW_SCAVENGE_OFF,
                                              .thread_cache_bytes = FALLOW_CACHE_NONE};
        CHECK_STATUS(fallow_arena_create(&options, &arenas[i]), FALLOW_OK);
    }
    if (syscall(__NR_mlockall, MCL_CURRENT | MCL_FUTURE) != 0) {
        skip_child("mlockall is refused: RLIMIT_MEMLOCK is less than this program has");
    }
    for (unsigned i = 0; i < 2; i++) {
        void *run;
        fallow_run_options zeroed = {.flags = FALLOW_RUN_ZEROED};
        fallow_run again;
        fallow_arena_stats stats;
        CHECK_STATUS(fallow_arena_alloc(arenas[i], 256 * KIB, &run), FALLOW_OK);
        memset(run, 1, 256 * KIB);
        fallow_arena_free(arenas[i], run, 256 * KIB);
        CHECK_STATUS(fallow_arena_trim(arenas[i], 0, NULL), FALLOW_OK);
        fallow_arena_read_stats(arenas[i], &stats);
        CHECK(stats.retained_bytes == 0);
        CHECK_STATUS(fallow_arena_alloc_run(arenas[i], 256 * KIB, &zeroed, &again), FALLOW_OK);
        CHECK(is_zero(again.base, again.size_bytes));
        CHECK_STATUS(fallow_arena_check(arenas[i]), FALLOW_OK);
    }
    /* new addresses count as locked: what does not fit is refused, and the default shrinks until it does */
    fallow_arena *more;
    const fallow_arena_options large = {.reserve_bytes = 256 * MIB, .flags = FALLOW_ARENA_FIXED};
    CHECK_STATUS(fallow_arena_create(&large, &more), FALLOW_ERR_LOCKED);
    check_cause(FALLOW_ERR_LOCKED, "RLIMIT_MEMLOCK");
    CHECK_STATUS(fallow_arena_create(NULL, &more), FALLOW_OK);
    fallow_arena_destroy(more);
    CHECK(syscall(__NR_munlockall) == 0);
    CHECK_STATUS(fallow_arena_create(&large, &more), FALLOW_OK);
    live();
}

static void row_locked(void **state)
{
    (void)state;
    run(body_locked, NULL);
}

/* --- vm.max_map_count --------------------------------------------------------------------------------------------- */

/* The setting is left alone: so many mappings are made, every second page of a region. */
static void body_map_count(void *context)
{
    (void)context;
    skip_if_emulated();
    fallow_system system;
    fallow_system_info(&system);
    if (system.map_count_limit > 300000) {
        skip_child("vm.max_map_count is so high that reaching it takes too long");
    }
    fallow_arena *arena;
    const fallow_arena_options options = {.reserve_bytes = 64 * MIB,
                                          .purge = FALLOW_PURGE_DECOMMIT,
                                          .scavenge = FALLOW_SCAVENGE_OFF,
                                          .thread_cache_bytes = FALLOW_CACHE_NONE};
    fallow_region filler;
    void *run;
    void *other;
    fallow_arena_stats stats;
    const size_t page = system.page_bytes;
    CHECK_STATUS(fallow_arena_create(&options, &arena), FALLOW_OK);
    CHECK_STATUS(fallow_arena_alloc(arena, 8 * MIB, &run), FALLOW_OK);
    memset(run, 1, 8 * MIB);
    size_t filler_bytes = ((size_t)system.map_count_limit + 64) * page;
    CHECK_STATUS(fallow_region_reserve(filler_bytes, NULL, &filler), FALLOW_OK);
    fallow_status status = FALLOW_OK;
    for (size_t offset = page; status == FALLOW_OK && offset < filler_bytes; offset += 2 * page) {
        status = fallow_region_commit(&filler, offset, page);
    }
    CHECK(status == FALLOW_ERR_MAP_COUNT);
    check_cause(FALLOW_ERR_MAP_COUNT, "vm.max_map_count");
    /* no new arena, but the old one goes on: what it grows by joins its mapping, a hole is made without a mapping */
    fallow_arena *more;
    fallow_status created = fallow_arena_create(&options, &more);
    CHECK(created == FALLOW_ERR_MAP_COUNT);
    check_cause(FALLOW_ERR_MAP_COUNT, "vm.max_map_count");
    CHECK_STATUS(fallow_arena_alloc(arena, 8 * MIB, &other), FALLOW_OK);
    memset(other, 1, 8 * MIB);
    CHECK_STATUS(fallow_arena_decommit(arena, (char *)run + 2 * MIB, MIB), FALLOW_ERR_MAP_COUNT);
    check_cause(FALLOW_ERR_MAP_COUNT, "vm.max_map_count");
    CHECK(is_zero((char *)run + 2 * MIB, MIB)); /* given back, and accessible still */
    CHECK(*((char *)run + 2 * MIB - 1) == 1 && *((char *)run + 3 * MIB) == 1);
    fallow_arena_free(arena, run, 8 * MIB);
    CHECK_STATUS(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    fallow_arena_read_stats(arena, &stats);
    CHECK(stats.retained_bytes == 0);
    CHECK_STATUS(fallow_arena_check(arena), FALLOW_OK);
    CHECK_STATUS(fallow_region_release(&filler), FALLOW_OK);
    CHECK_STATUS(fallow_arena_create(&options, &more), FALLOW_OK);
    fallow_arena_destroy(more);
    fallow_arena_destroy(arena);
    live();
}

static void row_map_count(void **state)
{
    (void)state;
    run(body_map_count, NULL);
}

/* --- no file can be opened ---------------------------------------------------------------------------------------- */

static void body_no_files(void *context)
{
    (void)context;
    (void)probe_can_read(&context); /* which opens a pipe */
    limit_softly(RLIMIT_NOFILE, 0);
    live();
    fallow_system system;
    fallow_process process;
    fallow_system_info(&system);
    CHECK(system.overcommit_mode == -1 && system.map_count_limit == UINT64_MAX); /* not known */
    CHECK(fallow_process_info(&process) != FALLOW_OK);
    raise_again(RLIMIT_NOFILE);
    CHECK_STATUS(fallow_process_info(&process), FALLOW_OK);
    fallow_system_info(&system);
    CHECK(system.map_count_limit != 0);
}

static void row_no_files(void **state)
{
    (void)state;
    run(body_no_files, NULL);
}

/* --- few addresses ------------------------------------------------------------------------------------------------ */

#define FIRST_TAKEN ((uint64_t)1 << 39)

/* Every gap above 2^39 is taken: a processor with 39 bits of addresses, but for what was there before. */
static void take_high_addresses(void)
{
    enum {
        GAPS_MOST = 256
    };
    static struct {
        uint64_t first;
        uint64_t end;
    } gaps[GAPS_MOST];
    unsigned count = 0;
    uint64_t at = FIRST_TAKEN;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        char *rest;
        uint64_t first = strtoull(line, &rest, 16);
        uint64_t end = strtoull(rest + 1, NULL, 16);
        CHECK(count < GAPS_MOST);
        if (first > at) {
            gaps[count].first = at;
            gaps[count++].end = first >> 47 == 0 ? first : ((uint64_t)1 << 47) - 64 * KIB;
        }
        at = end > at ? end : at;
    }
    fclose(maps);
    while (count-- > 0) { /* what the stack may grow into cannot be taken, and is not given to others either */
        void *base = (void *)(uintptr_t)gaps[count].first;
        (void)mmap(base, (size_t)(gaps[count].end - gaps[count].first), PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    }
}

static void body_few_addresses(void *context)
{
    (void)context;
    skip_if_emulated();
    fallow_arena *arenas[32];
    unsigned count = 0;
    uint64_t usable = 0;
    take_high_addresses();
    fallow_arena *arena;
    const fallow_arena_options all = {.reserve_bytes = (size_t)((uint64_t)2 << 40), .flags = FALLOW_ARENA_FIXED};
    const fallow_arena_options much = {.reserve_bytes = (size_t)((uint64_t)2 << 40)};
    CHECK_STATUS(fallow_arena_create(&all, &arena), FALLOW_ERR_ADDRESS_SPACE);
    fallow_failure failure;
    CHECK(fallow_last_failure(&failure) && failure.limit_name == NULL); /* no limit: there is no such gap */
    CHECK_STATUS(fallow_arena_create(&much, &arena), FALLOW_OK);        /* halved until it fits */
    fallow_arena_stats stats;
    fallow_arena_read_stats(arena, &stats);
    CHECK(stats.usable_bytes >= 64 * GIB && stats.usable_bytes < FIRST_TAKEN);
    printf("39 bits: of 2 TiB, %llu GiB were to be had\n", (unsigned long long)(stats.usable_bytes / GIB));
    fallow_arena_destroy(arena);
    /* arenas of the default size, until there are none: the last ones are smaller, and all of them work */
    for (; count < 32 && fallow_arena_create(NULL, &arenas[count]) == FALLOW_OK; count++) {
        void *run;
        CHECK_STATUS(fallow_arena_alloc(arenas[count], 64 * KIB, &run), FALLOW_OK);
        memset(run, 1, 64 * KIB);
        fallow_arena_read_stats(arenas[count], &stats);
        usable += stats.usable_bytes;
    }
    printf("39 bits: %u default arenas, %llu GiB\n", count, (unsigned long long)(usable / GIB));
    CHECK(count >= 6 && usable < FIRST_TAKEN);
    while (count > 0) {
        fallow_arena_destroy(arenas[--count]);
    }
    live();
}

static void row_few_addresses(void **state)
{
    (void)state;
    if (sizeof(size_t) < 8) {
        printf("skipped: addresses have 32 bits here\n");
        skip();
    }
    run(body_few_addresses, NULL);
}

/* --- seccomp ------------------------------------------------------------------------------------------------------ */

/* A call that the library can do without: where the argument has that value, or always. */
typedef struct optional {
    const char *name;
    long number;
    bool is_always;
    unsigned argument;
    uint32_t value;
} optional;

#define ADVICE(name, value)                            \
    {                                                  \
        "madvise " name, __NR_madvise, false, 2, value \
    }

static const optional optionals[] = {
    ADVICE("MADV_DONTNEED", 4),
    ADVICE("MADV_FREE", 8),
    ADVICE("MADV_DONTFORK", 10),
    ADVICE("MADV_HUGEPAGE", 14),
    ADVICE("MADV_DONTDUMP", 16),
    ADVICE("MADV_WIPEONFORK", 18),
    ADVICE("MADV_POPULATE_WRITE", 23),
    ADVICE("MADV_DONTNEED_LOCKED", 24),
    ADVICE("MADV_GUARD_INSTALL", 102),
    ADVICE("MADV_GUARD_REMOVE", 103),
    ADVICE("of no kernel", 12345),
    {"madvise", __NR_madvise, true, 0, 0},
    {"prctl PR_SET_VMA", __NR_prctl, false, 0, 0x53564d41},
#if defined(__NR_process_madvise)
    {"process_madvise", __NR_process_madvise, true, 0, 0},
#endif
    {"membarrier", __NR_membarrier, true, 0, 0},
    {"mincore", __NR_mincore, true, 0, 0},
    {"openat", __NR_openat, true, 0, 0},
#if defined(__NR_open)
    {"open", __NR_open, true, 0, 0},
#endif
    {"uname", __NR_uname, true, 0, 0},
    {"prlimit64", __NR_prlimit64, true, 0, 0},
    {"sched_yield", __NR_sched_yield, true, 0, 0},
    {"eventfd2", __NR_eventfd2, true, 0, 0},
};

#define OPTIONALS (sizeof optionals / sizeof optionals[0])

static void forbid(const optional *what, int code)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const uint32_t low_half = 0;
#else
    const uint32_t low_half = 4;
#endif
    uint32_t argument_at = (uint32_t)offsetof(struct seccomp_data, args) + what->argument * 8 + low_half;
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)what->number, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument_at),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, what->is_always ? 0 : UINT32_MAX),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, what->is_always ? 0 : what->value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof program[0], program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) {
        skip_child("no seccomp filter can be set here");
    }
}

typedef struct forbidden {
    size_t first;
    size_t count;
    int code;
    bool is_late; /* after the library has looked what there is */
} forbidden;

static void body_forbidden(void *context)
{
    const forbidden *f = context;
    fallow_region guarded;
    (void)probe_can_read(f); /* which opens a pipe */
    if (f->is_late) {
        live();
        CHECK_STATUS(fallow_region_reserve(MIB, NULL, &guarded), FALLOW_OK);
        CHECK_STATUS(fallow_region_commit(&guarded, 0, MIB), FALLOW_OK);
        CHECK_STATUS(fallow_region_guard(&guarded, 0, MIB), FALLOW_OK);
    }
    for (size_t i = 0; i < f->count; i++) {
        forbid(&optionals[f->first + i], f->code);
    }
    live();
    if (f->is_late) { /* a guard of before can be taken away */
        CHECK_STATUS(fallow_region_unguard(&guarded, 0, MIB), FALLOW_OK);
        CHECK(is_zero(guarded.base, MIB));
    }
    /* these may fail, and say so; they do nothing else */
    size_t bytes = 0;
    fallow_process process;
    (void)(fallow_process_info(&process) == FALLOW_OK);
    (void)(fallow_process_explain(take_text, &bytes, 0) == FALLOW_OK);
    fallow_region region;
    CHECK_STATUS(fallow_region_reserve(MIB, NULL, &region), FALLOW_OK);
    size_t resident = 1;
    fallow_status status = fallow_region_resident(&region, 0, MIB, &resident);
    CHECK(status == FALLOW_OK ? resident == 0 : resident == 1);
    fallow_failure failure;
    CHECK(status == FALLOW_OK || (fallow_last_failure(&failure) && failure.os_code == f->code));
}

static bool populates(const optional *what)
{
    return what->number == __NR_madvise && (what->is_always || what->value == 23);
}

static void row_forbidden(void **state)
{
    (void)state;
    static const int codes[] = {EPERM, ENOSYS, EINVAL};
    unsigned tried = 0;
    for (size_t i = 0; i <= OPTIONALS; i++) {
        for (size_t code = 0; code < sizeof codes / sizeof codes[0]; code++) {
            for (int is_late = 0; is_late <= 1; is_late++) {
                forbidden f = {i, 1, codes[code], is_late != 0};
                if (is_late && codes[code] == EINVAL && (i == OPTIONALS || populates(&optionals[i]))) {
                    continue; /* what the kernel says of pages that cannot be written, and is taken for that */
                }
                if (i == OPTIONALS) { /* all of them together */
                    f.first = 0;
                    f.count = OPTIONALS;
                }
                int result = run_child(body_forbidden, &f);
                if (result == SKIPPED) {
                    skip();
                }
                if (result != 0) {
                    fail_msg("%s refused with %s, %s: %d", i < OPTIONALS ? optionals[i].name : "everything optional",
                             strerror(f.code), is_late ? "late" : "from the start", result);
                }
                tried++;
            }
        }
    }
    printf("%zu optional calls, %u ways to forbid them: everything works\n", OPTIONALS, tried);
}

/* --- overcommit --------------------------------------------------------------------------------------------------- */

static void body_overcommit(void *context)
{
    const int *mode = context;
    fallow_system system;
    fallow_system_info(&system);
    CHECK(*mode < 0 || system.overcommit_mode == *mode);
    printf("vm.overcommit_memory %d\n", system.overcommit_mode);
    live();
    if (sizeof(size_t) < 8 || system.is_emulated) {
        return;
    }
    /* more than the machine has, in one piece: fine in modes 0 and 1, where touching it is what counts; a promise, and
     * refused if it cannot be kept, in mode 2 */
    fallow_arena *arena;
    const fallow_arena_options options = {.reserve_bytes = (size_t)(2 * system.memory_bytes),
                                          .flags = FALLOW_ARENA_FIXED};
    void *run;
    CHECK_STATUS(fallow_arena_create(&options, &arena), FALLOW_OK);
    if (system.overcommit_mode != 2) {
        CHECK_STATUS(fallow_arena_alloc(arena, (size_t)(system.memory_bytes + GIB), &run), FALLOW_OK);
    }
    CHECK_STATUS(fallow_arena_alloc(arena, MIB, &run), FALLOW_OK);
    fallow_arena_destroy(arena);
}

static void row_overcommit(void **state)
{
    (void)state;
    int as_it_is = -1;
    run(body_overcommit, &as_it_is);
    const char *asked = getenv("FALLOW_TEST_OVERCOMMIT");
    setting ratio;
    if (asked == NULL || strcmp(asked, "1") != 0) {
        printf("skipped: FALLOW_TEST_OVERCOMMIT=1 does not ask to set vm.overcommit_memory; the mode in force was "
               "tried\n");
        skip();
    }
    if (!setting_change(&ratio, "/proc/sys/vm/overcommit_ratio", "500")) { /* others do not meet the limit of mode 2 */
        printf("skipped: vm.overcommit_ratio cannot be set\n");
        skip();
    }
    int results[3] = {0};
    bool is_restored = true;
    for (int mode = 0; mode < 3; mode++) {
        const char text[] = {(char)('0' + mode), '\0'};
        setting changed;
        results[mode] = -1;
        if (setting_change(&changed, "/proc/sys/vm/overcommit_memory", text)) {
            results[mode] = run_child(body_overcommit, &mode);
            is_restored &= setting_restore(&changed);
        }
    }
    is_restored &= setting_restore(&ratio);
    assert_true(is_restored);
    for (int mode = 0; mode < 3; mode++) {
        assert_int_equal(results[mode], 0);
    }
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_address_space), cmocka_unit_test(row_address_space_lowered),
        cmocka_unit_test(row_data),          cmocka_unit_test(row_locked),
        cmocka_unit_test(row_map_count),     cmocka_unit_test(row_no_files),
        cmocka_unit_test(row_few_addresses), cmocka_unit_test(row_forbidden),
        cmocka_unit_test(row_overcommit),
    };
    return cmocka_run_group_tests_name("posix_matrix", tests, NULL, NULL);
}
