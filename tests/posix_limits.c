/* Linux refusing: every limit of the system, and every branch of the fallback chains, each with the status and the name
 * of the limit that a person is told.
 *
 * Each test runs its body in a forked child, because limits and filters cannot be taken back; the child ends with 0,
 * with 77 when this machine cannot do the test (its reason is printed), or at the first CHECK that fails. System calls
 * are refused with a seccomp filter that looks at one argument: so mmap can fail with MAP_FIXED and work otherwise.
 *
 * The one test that changes a setting of the machine (overcommit mode 2) sets the limit so high that no other process
 * meets it, and puts it back in the parent, whatever becomes of the child. */
#define _GNU_SOURCE 1 /* MAP_ANONYMOUS, setresuid */

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fallow.h"
#include "os.h"
#include "probe.h"

enum {
    MIB = 1 << 20,
    SKIPPED = 77,
    DONTNEED_LOCKED = 24,
    POPULATE_WRITE = 23,
    GUARD_INSTALL = 102
};

/* The runtime of this sanitizer maps memory between our calls, and cannot live under limits. */
#if defined(__SANITIZE_THREAD__)
#define HAS_NOISY_RUNTIME 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_NOISY_RUNTIME 1
#endif
#endif
#ifndef HAS_NOISY_RUNTIME
#define HAS_NOISY_RUNTIME 0
#endif

/* This one takes memory of its own for each thread. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ADDRESS_SANITIZER 1
#endif
#endif
#ifndef HAS_ADDRESS_SANITIZER
#define HAS_ADDRESS_SANITIZER 0
#endif

static size_t page;

/* --- children ---------------------------------------------------------------------------------------------- */

#define CHECK(condition)                                           \
    do {                                                           \
        if (!(condition)) {                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1);                                              \
        }                                                          \
    } while (0)

#define CHECK_STATUS(call, expected)                                                          \
    do {                                                                                      \
        fallow_status got_ = (call);                                                          \
        if (got_ != (expected)) {                                                             \
            printf("%s:%d: %s is %s\n", __FILE__, __LINE__, #call, fallow_status_name(got_)); \
            _exit(1);                                                                         \
        }                                                                                     \
    } while (0)

static void skip_child(const char *reason)
{
    printf("SKIPPED: %s\n", reason);
    _exit(SKIPPED);
}

/* cmocka's handlers would go on with the next test, in the child. */
static void forget_handlers(void)
{
    const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGABRT};
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
        signal(caught[i], SIG_DFL);
    }
}

/* The child's exit code; -1 if a signal ended it. */
static int run_child(void (*body)(void))
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        forget_handlers();
        alarm(60);
        body();
        test_write_down_reached();
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

static void run(void (*body)(void))
{
    int code = run_child(body);
    if (code == SKIPPED) {
        skip();
    }
    assert_int_equal(code, 0);
}

/* --- what the children do ---------------------------------------------------------------------------------- */

static fallow_region reserve(size_t size_bytes, uint32_t flags)
{
    fallow_region region;
    const fallow_region_options options = {.flags = flags, .name = flags != 0 ? "test" : NULL};
    CHECK_STATUS(fallow_region_reserve(size_bytes, &options, &region), FALLOW_OK);
    return region;
}

/* Reserve, commit the first part, and fill it. */
static fallow_region reserve_filled(size_t size_bytes, size_t filled_bytes, uint32_t flags)
{
    fallow_region region = reserve(size_bytes, flags);
    CHECK_STATUS(fallow_region_commit(&region, 0, filled_bytes), FALLOW_OK);
    memset(region.base, 1, filled_bytes);
    return region;
}

static char *at(const fallow_region *region, size_t offset)
{
    return (char *)region->base + offset;
}

static bool is_all(const char *bytes, size_t count, char value)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != value) {
            return false;
        }
    }
    return true;
}

/* The latest failure: its status, errno (which the call has also left behind) and limit; NULL for none. */
static void check_failure(fallow_status status, int code, const char *limit_name)
{
    int left_behind = errno;
    fallow_failure failure;
    CHECK(fallow_last_failure(&failure));
    CHECK(failure.status == status);
    CHECK(failure.os_code == code);
    CHECK(left_behind == code);
    if (limit_name == NULL) {
        CHECK(failure.limit_name == NULL);
    } else {
        CHECK(failure.limit_name != NULL && strcmp(failure.limit_name, limit_name) == 0);
        CHECK(failure.limit_value != 0 && failure.limit_value != UINT64_MAX);
    }
}

/* Decommit and tell what is left. */
static fallow__os_left decommit(const fallow_region *region, size_t offset, size_t size, fallow_status expected)
{
    fallow__os_left left = FALLOW__OS_LEFT_ALL;
    fallow__os_error error;
    CHECK_STATUS(fallow__os_decommit(region, at(region, offset), size, &left, &error), expected);
    CHECK((left == FALLOW__OS_LEFT_NOTHING) == (expected == FALLOW_OK));
    return left;
}

static void check_recommit_zero(const fallow_region *region, size_t offset, size_t size)
{
    CHECK_STATUS(fallow_region_commit(region, offset, size), FALLOW_OK);
    CHECK(is_all(at(region, offset), size, 0));
}

static fallow_process process_now(void)
{
    fallow_process process;
    CHECK_STATUS(fallow_process_info(&process), FALLOW_OK);
    return process;
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

/* By the system call: the function's first parameter is an enum in one C library and an int in the other. */
static void limit(int resource, uint64_t bytes)
{
    const uint64_t both[2] = {bytes, bytes};
    CHECK(syscall(__NR_prlimit64, 0, resource, both, NULL) == 0);
}

static void skip_if_emulated(void)
{
    fallow_system system;
    fallow_system_info(&system);
    if (system.is_emulated) {
        skip_child("an emulator does not enforce this");
    }
}

/* --- seccomp ----------------------------------------------------------------------------------------------- */

#ifdef __NR_mmap2
#define NR_MMAP __NR_mmap2
#else
#define NR_MMAP __NR_mmap
#endif

/* Refuse a system call from now on where (argument & mask) == value; only 32 bits of the argument are looked at. */
typedef struct refusal {
    long number;
    unsigned argument;
    uint32_t mask;
    uint32_t value;
    int code;
} refusal;

static void refuse(refusal what)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const uint32_t low_half = 0;
#else
    const uint32_t low_half = 4;
#endif
    uint32_t argument_at = (uint32_t)offsetof(struct seccomp_data, args) + what.argument * 8 + low_half;
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)what.number, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument_at),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, what.mask),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, what.value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)what.code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof program[0], program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) {
        skip_child("no seccomp filter can be set here");
    }
}

static void refuse_advice(int advice, int code)
{
    refuse((refusal){__NR_madvise, 2, UINT32_MAX, (uint32_t)advice, code});
}

static void refuse_protection(uint32_t protection, int code)
{
    refuse((refusal){__NR_mprotect, 2, UINT32_MAX, protection, code});
}

static void refuse_fixed_maps(int code)
{
    refuse((refusal){NR_MMAP, 3, MAP_FIXED, MAP_FIXED, code});
}

static void refuse_all(long number, int code)
{
    refuse((refusal){number, 0, 0, 0, code});
}

/* --- RLIMIT_AS --------------------------------------------------------------------------------------------- */

static void body_address_limit(void)
{
    skip_if_emulated();
    limit(RLIMIT_AS, process_now().virtual_bytes + 64 * MIB);
    fallow_region region;
    CHECK_STATUS(fallow_region_reserve(256 * MIB, NULL, &region), FALLOW_ERR_ADDRESS_SPACE);
    check_failure(FALLOW_ERR_ADDRESS_SPACE, ENOMEM, "RLIMIT_AS");
    CHECK(fallow__os_address_space_left() <= 64 * MIB);
    CHECK(fallow__os_address_space_left() > 32 * MIB);
    const fallow_region_options shrinking = {.min_bytes = 1};
    CHECK_STATUS(fallow_region_reserve(512 * MIB, &shrinking, &region), FALLOW_OK);
    CHECK(region.size_bytes == 32 * MIB || region.size_bytes == 64 * MIB);
    /* the slack of an aligned reservation has no room, the reservation has */
    CHECK_STATUS(fallow_region_release(&region), FALLOW_OK);
    const fallow_region_options aligned = {.align_bytes = 64 * MIB, .min_bytes = 1};
    CHECK_STATUS(fallow_region_reserve(32 * MIB, &aligned, &region), FALLOW_OK);
    CHECK((uintptr_t)region.base % (64 * MIB) == 0);
    fallow_system system;
    fallow_system_info(&system);
    CHECK(system.address_space_limit != UINT64_MAX);
}

static void test_address_limit(void **state)
{
    (void)state;
    run(body_address_limit);
}

static void body_address_limit_lowered(void)
{
    skip_if_emulated();
    fallow_region region = reserve_filled(4 * MIB, 4 * MIB, FALLOW_REGION_NO_DUMP);
    fflush(NULL);
    limit(RLIMIT_AS, MIB);
    CHECK_STATUS(fallow_region_decommit(&region, MIB, MIB), FALLOW_ERR_ADDRESS_SPACE);
    check_failure(FALLOW_ERR_ADDRESS_SPACE, ENOMEM, "RLIMIT_AS");
    CHECK(!probe_can_read(at(&region, MIB)));
    CHECK(decommit(&region, 2 * MIB, MIB, FALLOW_ERR_ADDRESS_SPACE) == FALLOW__OS_LEFT_CHARGED);
    CHECK(!probe_can_read(at(&region, 2 * MIB)));
    CHECK(is_all(at(&region, 0), MIB, 1));
    check_recommit_zero(&region, MIB, 2 * MIB);
}

static void test_address_limit_lowered(void **state)
{
    (void)state;
    run(body_address_limit_lowered);
}

/* --- RLIMIT_DATA ------------------------------------------------------------------------------------------- */

static void body_data_limit(void)
{
    skip_if_emulated();
    fallow_region region = reserve(128 * MIB, 0);
    limit(RLIMIT_DATA, status_bytes("VmData:") + 16 * MIB);
    CHECK_STATUS(fallow_region_commit(&region, 0, 64 * MIB), FALLOW_ERR_COMMIT);
    check_failure(FALLOW_ERR_COMMIT, ENOMEM, "RLIMIT_DATA");
    CHECK(!probe_can_read(at(&region, 0)));
    CHECK(!probe_can_read(at(&region, 64 * MIB - page)));
    CHECK_STATUS(fallow_region_commit(&region, 0, 8 * MIB), FALLOW_OK);
    /* decommitting gives the room back, again and again */
    for (size_t i = 1; i < 10; i++) {
        CHECK_STATUS(fallow_region_decommit(&region, (i - 1) * 8 * MIB, 8 * MIB), FALLOW_OK);
        CHECK_STATUS(fallow_region_commit(&region, i * 8 * MIB, 8 * MIB), FALLOW_OK);
        at(&region, i * 8 * MIB)[0] = 1;
    }
}

static void test_data_limit(void **state)
{
    (void)state;
    run(body_data_limit);
}

/* --- locked memory ----------------------------------------------------------------------------------------- */

static void body_locked(void)
{
    skip_if_emulated(); /* and the probes run now, while nothing is locked */
    limit(RLIMIT_MEMLOCK, 8 * MIB);
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) {
        skip_child("root's rights cannot be given up");
    }
    if (syscall(__NR_mlockall, MCL_FUTURE) != 0) { /* sanitizers make the function do nothing */
        skip_child("mlockall is refused");
    }
    fallow_region region;
    CHECK_STATUS(fallow_region_reserve(64 * MIB, NULL, &region), FALLOW_ERR_LOCKED);
    check_failure(FALLOW_ERR_LOCKED, EAGAIN, "RLIMIT_MEMLOCK");
    /* a new mapping over these counts twice for a moment: 10 MiB */
    const size_t size = 5 * MIB;
    region = reserve_filled(size, size, 0);
    CHECK_STATUS(fallow_region_decommit(&region, 0, size), FALLOW_ERR_LOCKED);
    check_failure(FALLOW_ERR_LOCKED, EAGAIN, "RLIMIT_MEMLOCK");
    CHECK(!probe_can_read(region.base));
    check_recommit_zero(&region, 0, size);
    memset(region.base, 1, size);
    CHECK(decommit(&region, 0, size, FALLOW_ERR_LOCKED) == FALLOW__OS_LEFT_CHARGED);
    check_recommit_zero(&region, 0, size);
    memset(region.base, 1, size);
    /* a small one fits, and is as good as ever */
    CHECK(decommit(&region, 0, MIB, FALLOW_OK) == FALLOW__OS_LEFT_NOTHING);
    check_recommit_zero(&region, 0, MIB);
    memset(region.base, 1, size);
    CHECK_STATUS(fallow_region_purge(&region, 0, MIB, FALLOW_PURGE_DONTNEED), FALLOW_OK);
    CHECK_STATUS(fallow_region_purge(&region, MIB, MIB, FALLOW_PURGE_FREE), FALLOW_OK);
    CHECK(is_all(at(&region, 0), 2 * MIB, 0));
    CHECK_STATUS(fallow_region_guard(&region, 2 * MIB, page), FALLOW_OK);
    CHECK(!probe_can_read(at(&region, 2 * MIB)));
    CHECK_STATUS(fallow_region_unguard(&region, 2 * MIB, page), FALLOW_OK);
    CHECK(is_all(at(&region, 2 * MIB), page, 0));
    CHECK(is_all(at(&region, 2 * MIB + page), MIB, 1));
}

static void test_locked(void **state)
{
    (void)state;
    run(body_locked);
}

/* --- vm.max_map_count -------------------------------------------------------------------------------------- */

/* The limit is not lowered, which would hit every process of the machine: that many mappings are made, in a region that
 * is large enough. */
static size_t map_count_bytes(void)
{
    skip_if_emulated();
    fallow_system system;
    fallow_system_info(&system);
    if (system.map_count_limit > 300000) {
        skip_child("vm.max_map_count is so high that reaching it takes too long");
    }
    return ((size_t)system.map_count_limit + 64) * page;
}

static void use_up_mappings(fallow_region region)
{
    fallow_system system;
    fallow_system_info(&system);
    size_t offset = 0;
    fallow_status status = FALLOW_OK;
    while (status == FALLOW_OK && offset < region.size_bytes) {
        status = fallow_region_commit(&region, offset, page);
        offset += 2 * page;
    }
    CHECK(status == FALLOW_ERR_MAP_COUNT);
    check_failure(FALLOW_ERR_MAP_COUNT, ENOMEM, "vm.max_map_count");
    offset -= 2 * page;
    CHECK(!probe_can_read(at(&region, offset)));
    CHECK(process_now().map_count + 2 >= system.map_count_limit);
    /* one mapping more than half a hole takes, so that nothing can be split: a page beside the last one merges */
    CHECK_STATUS(fallow_region_commit(&region, offset - page, page), FALLOW_OK);
    while (process_now().map_count < system.map_count_limit &&
           fallow_region_commit(&region, offset + 2 * page, page) == FALLOW_OK) {
        offset += 2 * page;
    }
}

static void body_map_count(void)
{
    size_t size = map_count_bytes();
    uint64_t start = process_now().map_count;
    fallow_region region = reserve(size, 0);
    fallow_region three = reserve_filled(3 * page, 3 * page, 0);
    use_up_mappings(region);
    /* a hole in the middle of a mapping would need two more: the memory is given back, the page stays accessible */
    CHECK(decommit(&three, page, page, FALLOW_ERR_MAP_COUNT) == FALLOW__OS_LEFT_ACCESSIBLE);
    CHECK(is_all(at(&three, 0), page, 1));
    CHECK(is_all(at(&three, page), page, 0));
    CHECK(is_all(at(&three, 2 * page), page, 1));
    CHECK_STATUS(fallow_region_decommit(&three, page, page), FALLOW_ERR_MAP_COUNT);
    check_failure(FALLOW_ERR_MAP_COUNT, ENOMEM, "vm.max_map_count");
    CHECK_STATUS(fallow_region_protect(&three, page, page, FALLOW_PROTECTION_READ), FALLOW_ERR_MAP_COUNT);
    CHECK_STATUS(fallow_region_purge(&three, page, page, FALLOW_PURGE_DONTNEED), FALLOW_OK);
    fallow_system system;
    fallow_system_info(&system);
    if (system.has_guard_install) { /* costs no mapping */
        CHECK_STATUS(fallow_region_guard(&three, page, page), FALLOW_OK);
        CHECK(!probe_can_read(at(&three, page)));
        CHECK_STATUS(fallow_region_unguard(&three, page, page), FALLOW_OK);
    }
    /* giving all back needs no mapping, and leaves none */
    CHECK_STATUS(fallow_region_decommit(&region, 0, size), FALLOW_OK);
    CHECK_STATUS(fallow_region_release(&three), FALLOW_OK);
    CHECK_STATUS(fallow_region_release(&region), FALLOW_OK);
    CHECK(process_now().map_count <= start + 1);
}

static void test_map_count(void **state)
{
    (void)state;
    run(body_map_count);
}

/* --- releases that wait ------------------------------------------------------------------------------------ */

enum {
    WAITING_MOST = 512 /* so many wait at most */
};

/* Reservations side by side, which the kernel makes one mapping of; with nothing beside the first and the last. */
static void reserve_row(fallow_region *row, size_t count, uint32_t flags)
{
    fallow_region whole = reserve((count + 2) * page, 0);
    char *base = at(&whole, page);
    CHECK_STATUS(fallow_region_release(&whole), FALLOW_OK);
    uint64_t start = process_now().map_count;
    for (size_t i = 0; i < count; i++) {
        fallow_region_options options = {.hint = base + i * page, .flags = flags | FALLOW_REGION_EXACT};
        CHECK_STATUS(fallow_region_reserve(page, &options, &row[i]), FALLOW_OK);
    }
    CHECK(process_now().map_count <= start + 1);
}

static bool is_free(void *base)
{
    fallow_region region;
    fallow_region_options options = {.hint = base, .flags = FALLOW_REGION_EXACT};
    bool is_reserved = fallow_region_reserve(page, &options, &region) == FALLOW_OK;
    CHECK(!is_reserved || fallow_region_release(&region) == FALLOW_OK);
    return is_reserved;
}

/* Nothing is lost at the limit: what cannot be released waits. */
static void body_waiting(void)
{
    static fallow_region row[2 * WAITING_MOST + 3];
    static char *bases[2 * WAITING_MOST + 3];
    const size_t row_count = sizeof row / sizeof row[0];
    fallow_region filler = reserve(map_count_bytes(), 0);
    reserve_row(row, row_count, 0);
    for (size_t i = 0; i < row_count; i++) {
        bases[i] = row[i].base;
    }
    use_up_mappings(filler);
    uint64_t mappings = process_now().map_count;
    CHECK(process_now().unreleased_bytes == 0);
    for (size_t i = 1; i < 2 * WAITING_MOST; i += 2) {
        CHECK_STATUS(fallow_region_release(&row[i]), FALLOW_OK);
        CHECK(row[i].base == NULL);
    }
    CHECK(process_now().unreleased_bytes == WAITING_MOST * page);
    CHECK(process_now().map_count == mappings);
    /* no room for one more: it stays what it is */
    fallow_region *more = &row[row_count - 2];
    CHECK_STATUS(fallow_region_release(more), FALLOW_ERR_MAP_COUNT);
    check_failure(FALLOW_ERR_MAP_COUNT, ENOMEM, "vm.max_map_count");
    CHECK(more->base == bases[row_count - 2] && more->size_bytes == page);
    /* once there is room all go, with the next release; those beside them stay */
    CHECK_STATUS(fallow_region_release(&filler), FALLOW_OK);
    CHECK(process_now().unreleased_bytes == 0);
    CHECK_STATUS(fallow_region_release(more), FALLOW_OK);
    for (size_t i = 0; i < row_count; i++) {
        CHECK(is_free(bases[i]) == (row[i].base == NULL));
        CHECK_STATUS(fallow_region_release(&row[i]), FALLOW_OK);
    }
}

/* What waits holds no memory; and when a neighbour goes, so can it. */
static void body_waiting_memory(void)
{
    fallow_region row[3];
    fallow_region filler = reserve(map_count_bytes(), 0);
    reserve_row(row, 3, 0);
    for (size_t i = 0; i < 3; i++) {
        CHECK_STATUS(fallow_region_commit(&row[i], 0, page), FALLOW_OK);
    }
    for (size_t i = 0; i < 3; i++) {
        memset(row[i].base, 1, page);
    }
    char *middle = row[1].base;
    use_up_mappings(filler);
    CHECK_STATUS(fallow_region_release(&row[1]), FALLOW_OK);
    CHECK(process_now().unreleased_bytes == page);
    unsigned char is_resident;
    CHECK(mincore(middle, page, &is_resident) == 0 && (is_resident & 1) == 0);
    CHECK(is_all(row[0].base, page, 1) && is_all(row[2].base, page, 1));
    CHECK_STATUS(fallow_region_release(&row[2]), FALLOW_OK);
    CHECK(process_now().unreleased_bytes == 0);
    CHECK(mincore(middle, page, &is_resident) != 0 && errno == ENOMEM);
    CHECK(is_all(row[0].base, page, 1));
}

/* A child has the same that waits, but for what a child does not have: there others may be. */
static void body_waiting_fork(void)
{
    fallow_region row[3];
    fallow_region hidden[3];
    fallow_region filler = reserve(map_count_bytes(), 0);
    reserve_row(row, 3, 0);
    reserve_row(hidden, 3, FALLOW_REGION_NO_FORK);
    char *base = row[1].base;
    char *hidden_base = hidden[1].base;
    use_up_mappings(filler);
    CHECK_STATUS(fallow_region_release(&row[1]), FALLOW_OK);
    CHECK_STATUS(fallow_region_release(&hidden[1]), FALLOW_OK);
    CHECK(process_now().unreleased_bytes == 2 * page);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        CHECK(process_now().unreleased_bytes == page);
        CHECK_STATUS(fallow_region_decommit(&filler, 0, filler.size_bytes), FALLOW_OK); /* releases nothing yet */
        CHECK(mmap(hidden_base, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
              hidden_base);
        *hidden_base = 1;
        CHECK(is_free(base));
        CHECK(process_now().unreleased_bytes == 0);
        CHECK(*hidden_base == 1);
        _exit(0);
    }
    int state = -1;
    CHECK(child > 0 && waitpid(child, &state, 0) == child && WIFEXITED(state) && WEXITSTATUS(state) == 0);
    CHECK(process_now().unreleased_bytes == 2 * page);
    CHECK_STATUS(fallow_region_release(&filler), FALLOW_OK);
    CHECK(process_now().unreleased_bytes == 0);
    CHECK(is_free(base) && is_free(hidden_base));
}

static void test_waiting(void **state)
{
    (void)state;
    run(body_waiting);
    run(body_waiting_memory);
    run(body_waiting_fork);
}

/* --- mappings merge again ---------------------------------------------------------------------------------- */

static void check_merge(uint32_t flags)
{
    enum {
        PIECES = 1000
    };
    const size_t piece = 4 * page;
    fallow_region region = reserve(2 * PIECES * piece, flags);
    CHECK((region.flags & flags) == flags || (flags & FALLOW_REGION_HUGE_PAGES) != 0);
    uint64_t start = process_now().map_count;
    for (size_t i = 0; i < PIECES; i++) {
        CHECK_STATUS(fallow_region_commit(&region, i * 2 * piece, piece), FALLOW_OK);
        memset(at(&region, i * 2 * piece), 1, piece);
    }
    CHECK(process_now().map_count >= start + 2 * PIECES - 2);
    for (size_t i = 0; i < PIECES; i++) {
        size_t which = (i * 7) % PIECES; /* in an order of no use to the kernel; 7 and 1000 have no common factor */
        CHECK_STATUS(fallow_region_decommit(&region, which * 2 * piece, piece), FALLOW_OK);
    }
    CHECK(process_now().map_count == start);
    CHECK_STATUS(fallow_region_release(&region), FALLOW_OK);
}

static void body_merge(void)
{
    skip_if_emulated();
    check_merge(0);
    check_merge(FALLOW_REGION_NO_DUMP);
    check_merge(FALLOW_REGION_NO_DUMP | FALLOW_REGION_NO_FORK | FALLOW_REGION_WIPE_ON_FORK | FALLOW_REGION_HUGE_PAGES);
}

static void test_merge(void **state)
{
    (void)state;
    run(body_merge);
}

/* Commit, decommit and commit again what a region with these flags has, then look at it from a forked child. */
static void check_fork(uint32_t flags, bool is_readable_in_child)
{
    fallow_region region = reserve_filled(8 * page, 4 * page, flags);
    CHECK_STATUS(fallow_region_decommit(&region, page, page), FALLOW_OK);
    CHECK_STATUS(fallow_region_commit(&region, page, page), FALLOW_OK);
    memset(region.base, 1, 4 * page);
    pid_t child = fork();
    if (child == 0) {
        CHECK(probe_can_read(at(&region, 0)) == is_readable_in_child);
        CHECK(probe_can_read(at(&region, page)) == is_readable_in_child);
        CHECK(!is_readable_in_child || is_all(region.base, 4 * page, 0));
        _exit(0);
    }
    int state = 1;
    CHECK(waitpid(child, &state, 0) == child);
    CHECK(state == 0);
    CHECK_STATUS(fallow_region_release(&region), FALLOW_OK);
}

static void body_fork(void)
{
    skip_if_emulated();
    check_fork(FALLOW_REGION_WIPE_ON_FORK, true);
    check_fork(FALLOW_REGION_NO_FORK, false);
}

static void test_fork(void **state)
{
    (void)state;
    run(body_fork);
}

/* --- refused system calls ---------------------------------------------------------------------------------- */

static void body_commit_refused(void)
{
    fallow_region region = reserve_filled(MIB, page, 0);
    refuse_protection(PROT_READ | PROT_WRITE, ENOMEM);
    CHECK_STATUS(fallow_region_commit(&region, 0, 2 * page), FALLOW_ERR_COMMIT);
    check_failure(FALLOW_ERR_COMMIT, ENOMEM, NULL);
    CHECK(is_all(at(&region, 0), page, 1));
    CHECK(!probe_can_read(at(&region, page)));
    refuse_protection(PROT_READ | PROT_WRITE, EPERM); /* of two filters the later one's code counts */
    CHECK_STATUS(fallow_region_commit(&region, 0, 2 * page), FALLOW_ERR_PERMISSION);
    check_failure(FALLOW_ERR_PERMISSION, EPERM, NULL);
    refuse_protection(PROT_READ | PROT_EXEC, EACCES);
    CHECK_STATUS(fallow_region_protect(&region, 0, page, FALLOW_PROTECTION_READ_EXECUTE), FALLOW_ERR_PERMISSION);
    check_failure(FALLOW_ERR_PERMISSION, EACCES, NULL);
}

static void test_commit_refused(void **state)
{
    (void)state;
    run(body_commit_refused);
}

static void body_decommit_refused(void)
{
    fallow_region region = reserve_filled(8 * page, 8 * page, 0);
    CHECK_STATUS(fallow_region_guard(&region, page, page), FALLOW_OK);
    /* no new mapping: dropped and protected */
    refuse_fixed_maps(EPERM);
    CHECK(decommit(&region, 0, 2 * page, FALLOW_ERR_PERMISSION) == FALLOW__OS_LEFT_CHARGED);
    CHECK(errno == EPERM);
    CHECK(!probe_can_read(at(&region, 0)));
    check_recommit_zero(&region, 0, 2 * page); /* the guard is gone too */
    CHECK(is_all(at(&region, 2 * page), 6 * page, 1));
    /* nor the usual way to drop: the way for locked pages */
    memset(region.base, 1, page);
    refuse_advice(MADV_DONTNEED, EINVAL);
    fallow_system system;
    fallow_system_info(&system);
    CHECK(decommit(&region, 0, page, FALLOW_ERR_PERMISSION) == FALLOW__OS_LEFT_CHARGED);
    check_recommit_zero(&region, 0, page);
    memset(region.base, 1, page);
    /* neither: nothing is changed */
    refuse_advice(DONTNEED_LOCKED, EINVAL);
    CHECK(decommit(&region, 0, page, FALLOW_ERR_PERMISSION) == FALLOW__OS_LEFT_ALL);
    CHECK(is_all(region.base, page, 1));
    CHECK(probe_can_write(region.base));
    CHECK_STATUS(fallow_region_decommit(&region, 0, page), FALLOW_ERR_PERMISSION);
    check_failure(FALLOW_ERR_PERMISSION, EPERM, NULL);
}

static void test_decommit_refused(void **state)
{
    (void)state;
    run(body_decommit_refused);
}

static void body_decommit_and_protect_refused(void)
{
    fallow_region region = reserve_filled(8 * page, 8 * page, 0);
    refuse_fixed_maps(EPERM);
    refuse_protection(PROT_NONE, EPERM);
    CHECK(decommit(&region, 0, page, FALLOW_ERR_PERMISSION) == FALLOW__OS_LEFT_ACCESSIBLE);
    CHECK(is_all(region.base, page, 0));
    CHECK(is_all(at(&region, page), 7 * page, 1));
    /* a guard that could not be made is reported */
    refuse_advice(GUARD_INSTALL, EINVAL);
    CHECK_STATUS(fallow_region_guard(&region, page, page), FALLOW_ERR_PERMISSION);
}

static void test_decommit_and_protect_refused(void **state)
{
    (void)state;
    run(body_decommit_and_protect_refused);
}

static void check_purge(const fallow_region *region, fallow_purge purge, fallow_status expected, bool is_zero,
                        bool is_committed)
{
    bool is_zero_now = !is_zero;
    bool is_committed_now = !is_committed;
    fallow__os_error error;
    CHECK_STATUS(fallow__os_purge(region, region->base, 4 * page, purge, &is_zero_now, &is_committed_now, &error),
                 expected);
    CHECK(is_zero_now == is_zero);
    CHECK(is_committed_now == is_committed);
    CHECK(probe_can_read(region->base) == is_committed);
    CHECK(!is_zero || is_all(region->base, 4 * page, 0));
    if (is_committed) {
        memset(region->base, 1, 4 * page);
    }
}

static void body_purge_refused(void)
{
    fallow_system system;
    fallow_system_info(&system); /* the probes run before the filters */
    fallow_region region = reserve_filled(8 * page, 8 * page, FALLOW_REGION_NO_DUMP);
    uint64_t start = process_now().map_count;
    check_purge(&region, FALLOW_PURGE_FREE, FALLOW_OK, !system.has_lazy_purge, true);
    refuse_advice(MADV_FREE, EINVAL);
    check_purge(&region, FALLOW_PURGE_FREE, FALLOW_OK, true, true); /* not lazily, then */
    refuse_advice(MADV_DONTNEED, EINVAL);
    check_purge(&region, FALLOW_PURGE_DONTNEED, FALLOW_OK, true, true); /* the way for locked pages */
    refuse_advice(DONTNEED_LOCKED, EINVAL);
    check_purge(&region, FALLOW_PURGE_DONTNEED, FALLOW_OK, true, true); /* new pages in place */
    check_purge(&region, FALLOW_PURGE_FREE, FALLOW_OK, true, true);
    CHECK(process_now().map_count == start);
    CHECK(is_all(at(&region, 4 * page), 4 * page, 1));
    refuse_protection(PROT_READ | PROT_WRITE, ENOMEM); /* and now they cannot be committed */
    check_purge(&region, FALLOW_PURGE_DONTNEED, FALLOW_ERR_COMMIT, false, false);
    CHECK_STATUS(fallow_region_purge(&region, 0, 4 * page, FALLOW_PURGE_DONTNEED), FALLOW_ERR_COMMIT);
    check_failure(FALLOW_ERR_COMMIT, ENOMEM, NULL);
    refuse_fixed_maps(EPERM); /* nothing left */
    CHECK_STATUS(fallow_region_purge(&region, 4 * page, page, FALLOW_PURGE_DONTNEED), FALLOW_ERR_PERMISSION);
    CHECK(is_all(at(&region, 4 * page), 4 * page, 1));
}

static void test_purge_refused(void **state)
{
    (void)state;
    run(body_purge_refused);
}

static void body_attributes_refused(void)
{
    refuse_all(__NR_prctl, EPERM);
    fallow_region region = reserve(MIB, FALLOW_REGION_NO_DUMP);
    CHECK(region.flags == FALLOW_REGION_NO_DUMP);
    CHECK(strcmp(region.name, "test") == 0);
}

static void body_advice_refused(void)
{
    const uint32_t all = FALLOW_REGION_NO_DUMP | FALLOW_REGION_NO_FORK | FALLOW_REGION_WIPE_ON_FORK;
    refuse_advice(MADV_DONTDUMP, EINVAL);
    fallow_region region = reserve(MIB, all);
    CHECK(region.flags == (all & ~(uint32_t)FALLOW_REGION_NO_DUMP));
    refuse_all(__NR_madvise, EPERM);
    fallow_region other = reserve(MIB, all);
    CHECK(other.flags == 0);
    /* what was in force and cannot be applied again does not make a decommit fail */
    CHECK_STATUS(fallow_region_commit(&region, 0, page), FALLOW_OK);
    CHECK_STATUS(fallow_region_decommit(&region, 0, page), FALLOW_OK);
    CHECK(!probe_can_read(region.base));
}

static void test_attributes_refused(void **state)
{
    (void)state;
    run(body_attributes_refused);
    run(body_advice_refused);
}

static void body_reserve_refused(void)
{
    fallow_region region;
    const fallow_region_options shrinking = {.min_bytes = 1};
    refuse((refusal){NR_MMAP, 2, UINT32_MAX, PROT_NONE, EACCES}); /* musl's mmap makes EPERM an ENOMEM */
    CHECK_STATUS(fallow_region_reserve(64 * MIB, &shrinking, &region), FALLOW_ERR_PERMISSION);
    check_failure(FALLOW_ERR_PERMISSION, EACCES, NULL);
    refuse((refusal){NR_MMAP, 2, UINT32_MAX, PROT_NONE, EINVAL}); /* valgrind's answer to what is too large */
    CHECK_STATUS(fallow_region_reserve(64 * MIB, &shrinking, &region), FALLOW_ERR_ADDRESS_SPACE);
    check_failure(FALLOW_ERR_ADDRESS_SPACE, EINVAL, NULL);
    refuse((refusal){NR_MMAP, 2, UINT32_MAX, PROT_NONE, ENODEV});
    CHECK_STATUS(fallow_region_reserve(MIB, NULL, &region), FALLOW_ERR_OS);
    check_failure(FALLOW_ERR_OS, ENODEV, NULL);
}

static void test_reserve_refused(void **state)
{
    (void)state;
    run(body_reserve_refused);
}

static void body_release_refused(void)
{
    fallow_region region = reserve_filled(MIB, page, 0);
    fallow_region before = region;
    refuse_all(__NR_munmap, EPERM);
    CHECK_STATUS(fallow_region_release(&region), FALLOW_ERR_PERMISSION);
    check_failure(FALLOW_ERR_PERMISSION, EPERM, NULL);
    CHECK(memcmp(&region, &before, sizeof region) == 0);
    CHECK(is_all(region.base, page, 1));
    /* an aligned reservation that cannot be trimmed is none */
    fallow_region aligned;
    const fallow_region_options options = {.align_bytes = 64 * MIB};
    CHECK_STATUS(fallow_region_reserve(MIB, &options, &aligned), FALLOW_ERR_PERMISSION);
}

static void test_release_refused(void **state)
{
    (void)state;
    run(body_release_refused);
}

static void body_optional_refused(void)
{
    fallow_system system;
    fallow_system_info(&system);
    const size_t size = 8 * MIB;
    fallow_region region = reserve_filled(size, 16 * page, 0);
    CHECK_STATUS(fallow_region_commit(&region, 0, size), FALLOW_OK);
    refuse_advice(POPULATE_WRITE, EPERM);
    uint64_t before = process_now().resident_bytes;
    CHECK_STATUS(fallow_region_prefault(&region, 0, size), FALLOW_OK);
    /* memory of its own for each page; a touch that only reads would map one page of zeros everywhere */
    CHECK(process_now().resident_bytes >= before + 6 * MIB);
    size_t resident_bytes = 0;
    CHECK_STATUS(fallow_region_resident(&region, 0, size, &resident_bytes), FALLOW_OK);
    CHECK(resident_bytes == size);
    CHECK(is_all(at(&region, 0), 16 * page, 1)); /* touching has changed nothing */
    CHECK(is_all(at(&region, 16 * page), size - 16 * page, 0));
    refuse_advice(GUARD_INSTALL, EINVAL);
    CHECK_STATUS(fallow_region_guard(&region, page, page), FALLOW_OK);
    CHECK(!probe_can_read(at(&region, page)));
    CHECK_STATUS(fallow_region_unguard(&region, page, page), FALLOW_OK);
    CHECK(is_all(at(&region, page), page, 0));
    refuse_all(__NR_mincore, ENOSYS);
    CHECK_STATUS(fallow_region_resident(&region, 0, page, &resident_bytes), FALLOW_ERR_UNSUPPORTED);
    check_failure(FALLOW_ERR_UNSUPPORTED, ENOSYS, NULL);
}

static void test_optional_refused(void **state)
{
    (void)state;
    run(body_optional_refused);
}

/* The same calls refused before the probes have run: what is optional is then off, and nothing else is. */
static void body_probes_refused(void)
{
    refuse_advice(POPULATE_WRITE, EPERM);
    refuse_advice(GUARD_INSTALL, EPERM);
    refuse_advice(MADV_FREE, EPERM);
    refuse_all(__NR_prctl, EPERM);
    fallow_system system;
    fallow_system_info(&system);
    CHECK(!system.has_populate && !system.has_guard_install && !system.has_lazy_purge && !system.has_mapping_names);
    fallow_region region = reserve_filled(16 * page, 8 * page, 0);
    check_purge(&region, FALLOW_PURGE_FREE, FALLOW_OK, true, true);
    CHECK_STATUS(fallow_region_guard(&region, page, page), FALLOW_OK);
    CHECK(!probe_can_read(at(&region, page)));
    CHECK_STATUS(fallow_region_unguard(&region, page, page), FALLOW_OK);
    CHECK_STATUS(fallow_region_prefault(&region, 0, 8 * page), FALLOW_OK);
    CHECK(is_all(at(&region, page), page, 0));
}

/* An emulator that calls every advice a success: nothing it says is believed. */
static void body_lying_advice(void)
{
    refuse_advice(12345, 0); /* "refused" with errno 0 is a success that did nothing */
    refuse_advice(GUARD_INSTALL, 0);
    refuse_advice(POPULATE_WRITE, 0);
    refuse_advice(MADV_FREE, 0);
    refuse_advice(DONTNEED_LOCKED, 0);
    fallow_system system;
    fallow_system_info(&system);
    CHECK(system.is_emulated);
    CHECK(!system.has_populate && !system.has_guard_install && !system.has_lazy_purge);
    fallow_region region = reserve_filled(64 * page, 16 * page, 0);
    check_purge(&region, FALLOW_PURGE_FREE, FALLOW_OK, true, true);
    CHECK_STATUS(fallow_region_guard(&region, 8 * page, page), FALLOW_OK);
    CHECK(!probe_can_read(at(&region, 8 * page)));
    CHECK_STATUS(fallow_region_commit(&region, 0, 64 * page), FALLOW_OK);
    CHECK_STATUS(fallow_region_prefault(&region, 0, 64 * page), FALLOW_OK);
    size_t resident_bytes = 0;
    CHECK_STATUS(fallow_region_resident(&region, 0, 64 * page, &resident_bytes), FALLOW_OK);
    CHECK(resident_bytes == 64 * page);
    refuse_fixed_maps(EPERM);
    refuse_advice(MADV_DONTNEED, EINVAL);
    CHECK(decommit(&region, 0, page, FALLOW_ERR_PERMISSION) == FALLOW__OS_LEFT_ALL);
}

static void test_probes(void **state)
{
    (void)state;
    run(body_probes_refused);
    run(body_lying_advice);
}

/* Without /proc the memory works the same; of the causes those are known that no figure of the process is needed for. */
static void body_no_proc(void)
{
    uint64_t virtual_bytes = process_now().virtual_bytes;
    refuse_all(__NR_openat, EACCES);
#ifdef __NR_open
    refuse_all(__NR_open, EACCES);
#endif
    fallow_process process;
    CHECK_STATUS(fallow_process_info(&process), FALLOW_ERR_PERMISSION);
    check_failure(FALLOW_ERR_PERMISSION, EACCES, NULL);
    fallow_region region = reserve_filled(MIB, page, 0);
    CHECK_STATUS(fallow_region_decommit(&region, 0, page), FALLOW_OK);
    fallow_system system;
    fallow_system_info(&system);
    CHECK(system.map_count_limit == UINT64_MAX && system.overcommit_mode == -1);
    limit(RLIMIT_AS, virtual_bytes + 16 * MIB);
    CHECK_STATUS(fallow_region_reserve((size_t)virtual_bytes + 64 * MIB, NULL, &region), FALLOW_ERR_ADDRESS_SPACE);
    check_failure(FALLOW_ERR_ADDRESS_SPACE, ENOMEM, "RLIMIT_AS"); /* more than the whole limit */
    CHECK_STATUS(fallow_region_reserve(17 * MIB, NULL, &region), FALLOW_ERR_ADDRESS_SPACE);
}

static void test_no_proc(void **state)
{
    (void)state;
    run(body_no_proc);
}

/* --- figures ----------------------------------------------------------------------------------------------- */

static void body_figures(void)
{
    skip_if_emulated();
    fallow_system system;
    fallow_system_info(&system);
    fallow_process before = process_now();
    fallow_region region = reserve_filled(64 * MIB, 16 * MIB, 0);
    fallow_process filled = process_now();
    CHECK(filled.virtual_bytes >= before.virtual_bytes + 64 * MIB);
    CHECK(filled.resident_bytes >= before.resident_bytes + 15 * MIB);
    CHECK(filled.peak_resident_bytes >= filled.resident_bytes - MIB);
    CHECK(filled.committed_bytes == before.committed_bytes + 16 * MIB);
    CHECK_STATUS(fallow_region_purge(&region, 0, 16 * MIB, FALLOW_PURGE_FREE), FALLOW_OK);
    fallow_process freed = process_now();
    CHECK(!system.has_lazy_purge || freed.lazy_free_bytes >= 12 * MIB);
    CHECK_STATUS(fallow_region_decommit(&region, 0, 16 * MIB), FALLOW_OK);
    fallow_process after = process_now();
    CHECK(after.committed_bytes == before.committed_bytes);
    CHECK(after.lazy_free_bytes < 4 * MIB);
    CHECK(after.resident_bytes < before.resident_bytes + 4 * MIB);
}

/* Of an aligned reservation nothing is left over at its ends. */
static void body_aligned_figures(void)
{
    skip_if_emulated();
    uint64_t before = process_now().virtual_bytes;
    for (size_t align = page; align <= 256 * MIB; align *= 2) {
        fallow_region region;
        const fallow_region_options options = {.align_bytes = align};
        CHECK_STATUS(fallow_region_reserve(MIB, &options, &region), FALLOW_OK);
        CHECK(process_now().virtual_bytes == before + MIB);
        CHECK_STATUS(fallow_region_release(&region), FALLOW_OK);
        CHECK(process_now().virtual_bytes == before);
    }
}

static void test_figures(void **state)
{
    (void)state;
    run(body_figures);
    run(body_aligned_figures);
}

/* --- overcommit mode 2 ------------------------------------------------------------------------------------- */

static bool read_text(const char *path, char *text_out, size_t text_bytes)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    bool is_read = fgets(text_out, (int)text_bytes, file) != NULL;
    fclose(file);
    return is_read;
}

static bool write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return false;
    }
    bool is_written = fputs(text, file) >= 0;
    return fclose(file) == 0 && is_written;
}

#define OVERCOMMIT "/proc/sys/vm/overcommit_"
#define LIMIT_KIB "68719476736" /* 64 TiB: no other process comes near, sanitizers with their shadows included */

static void body_strict_overcommit(void)
{
    fallow_system system;
    fallow_system_info(&system);
    CHECK(system.overcommit_mode == 2);
    CHECK(system.commit_limit >= (uint64_t)60 << 40);
    fallow_region region;
    const size_t size = (size_t)((uint64_t)65 << 40);
    if (fallow_region_reserve(size, NULL, &region) != FALLOW_OK) {
        skip_child("not enough address space for more than the limit");
    }
    /* 8 GiB, because other processes change the figure too */
    const uint64_t gib = (uint64_t)1 << 30;
    const size_t part = (size_t)(8 * gib);
    uint64_t start = system.committed_bytes;
    CHECK_STATUS(fallow_region_commit(&region, 0, part), FALLOW_OK);
    at(&region, 0)[0] = 1; /* a charge that was touched is the one that mprotect does not give back */
    fallow_system_info(&system);
    CHECK(system.committed_bytes > start + 6 * gib);
    CHECK_STATUS(fallow_region_decommit(&region, 0, part), FALLOW_OK);
    fallow_system_info(&system);
    CHECK(system.committed_bytes < start + 2 * gib);
    /* The refusal is a filter's: the kernel counts what it will refuse before it looks, warns, and takes it off again, and
     * until then refuses every other process too; a shell whose stack must grow in that moment ends. */
    refuse_protection(PROT_READ | PROT_WRITE, ENOMEM);
    CHECK_STATUS(fallow_region_commit(&region, 0, size), FALLOW_ERR_COMMIT);
    check_failure(FALLOW_ERR_COMMIT, ENOMEM, "CommitLimit");
    CHECK(!probe_can_read(region.base));
}

/* In mode 2 already: not our doing, and not ours to put back. */
static bool is_settable(const char *mode)
{
    return sizeof(size_t) >= 8 && mode[0] != '2' && write_text(OVERCOMMIT "memory", mode);
}

static void test_strict_overcommit(void **state)
{
    (void)state;
    char mode[32];
    char ratio[32];
    char kib[32];
    /* one such test at a time: another would take our setting for the one to put back */
    int turn = open(OVERCOMMIT "memory", O_RDONLY | O_CLOEXEC);
    if (turn < 0 || flock(turn, LOCK_EX) != 0 || !read_text(OVERCOMMIT "memory", mode, sizeof mode) ||
        !read_text(OVERCOMMIT "ratio", ratio, sizeof ratio) || !read_text(OVERCOMMIT "kbytes", kib, sizeof kib) ||
        !is_settable(mode)) {
        print_message("SKIPPED: vm.overcommit_memory cannot be set here or is 2 already, or addresses are too short\n");
        close(turn);
        skip();
    }
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigdelset(&all, SIGALRM);              /* which ends a child that hangs */
    sigprocmask(SIG_BLOCK, &all, &before); /* no signal between setting and putting back */
    bool is_set = write_text(OVERCOMMIT "kbytes", LIMIT_KIB) && write_text(OVERCOMMIT "memory", "2");
    int code = is_set ? run_child(body_strict_overcommit) : SKIPPED;
    bool is_restored = write_text(OVERCOMMIT "memory", mode);
    /* writing one of these two sets the other to 0 */
    is_restored &=
        strtoull(kib, NULL, 10) != 0 ? write_text(OVERCOMMIT "kbytes", kib) : write_text(OVERCOMMIT "ratio", ratio);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(turn);
    assert_true(is_restored);
    if (code == SKIPPED) {
        skip();
    }
    assert_int_equal(code, 0);
}

/* --- how many system calls --------------------------------------------------------------------------------- */

/* Between two calls of getppid the traced child does one thing. */
static void mark(void)
{
    syscall(__NR_getppid);
}

enum {
    TRACED_COUNT = 9
};

static const char *const traced_names[TRACED_COUNT] = {
    "reserve",          "reserve NO_DUMP", "reserve aligned", "commit", "decommit",
    "decommit NO_DUMP", "purge",           "release",         "size 0",
};
static const int traced_calls_max[TRACED_COUNT] = {1, 2, 3, 1, 1, 2, 1, 1, 0};

static void traced_child(void)
{
    fallow_region plain;
    fallow_region advised;
    fallow_region aligned;
    const fallow_region_options with_advice = {.flags = FALLOW_REGION_NO_DUMP};
    const fallow_region_options with_align = {.align_bytes = 64 * MIB};
    fallow_system system;
    fallow_system_info(&system); /* the probes, once per process */
    forget_handlers();
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        _exit(SKIPPED);
    }
    raise(SIGSTOP);
    mark();
    CHECK(fallow_region_reserve(MIB, NULL, &plain) == FALLOW_OK);
    mark();
    CHECK(fallow_region_reserve(MIB, &with_advice, &advised) == FALLOW_OK);
    mark();
    CHECK(fallow_region_reserve(MIB, &with_align, &aligned) == FALLOW_OK);
    mark();
    CHECK(fallow_region_commit(&plain, 0, MIB) == FALLOW_OK);
    mark();
    CHECK(fallow_region_decommit(&plain, 0, page) == FALLOW_OK);
    mark();
    CHECK(fallow_region_decommit(&advised, 0, page) == FALLOW_OK);
    mark();
    CHECK(fallow_region_purge(&plain, page, page, FALLOW_PURGE_DONTNEED) == FALLOW_OK);
    mark();
    CHECK(fallow_region_release(&plain) == FALLOW_OK);
    mark();
    CHECK(fallow_region_commit(&advised, 0, 0) == FALLOW_OK);
    CHECK(fallow_region_decommit(&advised, 0, 0) == FALLOW_OK);
    mark();
    _exit(0);
}

/* Let the child run to its end and count the calls between its marks. Returns its exit code. */
static int trace(pid_t child, int *calls_out)
{
    int state;
    int marks = 0;
    waitpid(child, &state, 0);
    if (WIFEXITED(state)) {
        return WEXITSTATUS(state);
    }
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) != 0) {
        kill(child, SIGKILL);
        waitpid(child, &state, 0);
        return SKIPPED;
    }
    for (;;) {
        ptrace(PTRACE_SYSCALL, child, NULL, NULL);
        waitpid(child, &state, 0);
        if (!WIFSTOPPED(state)) {
            return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
        }
        struct __ptrace_syscall_info info;
        if (WSTOPSIG(state) != (SIGTRAP | 0x80) ||
            ptrace(PTRACE_GET_SYSCALL_INFO, child, (void *)sizeof info, &info) <= 0 ||
            info.op != PTRACE_SYSCALL_INFO_ENTRY) {
            continue;
        }
        if (info.entry.nr == __NR_getppid) {
            marks++;
        } else if (marks >= 1 && marks <= TRACED_COUNT) {
            calls_out[marks - 1]++;
        }
    }
}

static void test_system_calls(void **state)
{
    (void)state;
    int calls[TRACED_COUNT] = {0};
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        traced_child();
    }
    int code = trace(child, calls);
    if (code == SKIPPED) {
        print_message("SKIPPED: no process can be traced here\n");
        skip();
    }
    assert_int_equal(code, 0);
    for (int i = 0; i < TRACED_COUNT; i++) {
        print_message("%-16s %d\n", traced_names[i], calls[i]);
        assert_true(calls[i] <= traced_calls_max[i]);
    }
}

/* --- large pages ------------------------------------------------------------------------------------------- */

static void body_large_pages(void)
{
    fallow_system system;
    fallow_system_info(&system);
    if (system.large_page_bytes == 0) {
        fallow_region region = reserve_filled(4 * MIB, page, FALLOW_REGION_LARGE_PAGES);
        CHECK((region.flags & FALLOW_REGION_LARGE_PAGES) == 0 && region.page_bytes == page);
        skip_child("no large pages in the pool (vm.nr_hugepages); the fall-back to ordinary pages was seen");
    }
    size_t large = system.large_page_bytes;
    fallow_region region = reserve(3 * large - page, FALLOW_REGION_LARGE_PAGES | FALLOW_REGION_NO_DUMP);
    if ((region.flags & FALLOW_REGION_LARGE_PAGES) == 0) {
        skip_child("too few large pages in the pool");
    }
    CHECK(region.page_bytes == large && region.size_bytes == 3 * large && (uintptr_t)region.base % large == 0);
    CHECK_STATUS(fallow_region_commit(&region, page, page), FALLOW_ERR_INVALID);
    CHECK(!probe_can_read(region.base));
    CHECK_STATUS(fallow_region_commit(&region, 0, 2 * large), FALLOW_OK);
    memset(region.base, 1, 2 * large);
    CHECK_STATUS(fallow_region_decommit(&region, large, large), FALLOW_OK);
    CHECK(!probe_can_read(at(&region, large)));
    check_recommit_zero(&region, large, large);
    CHECK(is_all(region.base, large, 1));
    CHECK_STATUS(fallow_region_purge(&region, 0, large, FALLOW_PURGE_FREE), FALLOW_OK);
    CHECK(is_all(region.base, large, 0) || is_all(region.base, large, 1));
    memset(region.base, 1, large);
    CHECK_STATUS(fallow_region_purge(&region, 0, large, FALLOW_PURGE_DONTNEED), FALLOW_OK);
    CHECK(is_all(region.base, large, 0));
    CHECK_STATUS(fallow_region_prefault(&region, 0, 2 * large), FALLOW_OK);
    size_t resident_bytes = 0;
    CHECK_STATUS(fallow_region_resident(&region, 0, 3 * large, &resident_bytes), FALLOW_OK);
    CHECK(resident_bytes == 2 * large);
    CHECK_STATUS(fallow_region_guard(&region, large, large), FALLOW_OK);
    CHECK(!probe_can_read(at(&region, large)));
    CHECK_STATUS(fallow_region_unguard(&region, large, large), FALLOW_OK);
    CHECK(is_all(at(&region, large), large, 0));
    CHECK_STATUS(fallow_region_release(&region), FALLOW_OK);
}

static void test_large_pages(void **state)
{
    (void)state;
    run(body_large_pages);
}

/* --- threads ----------------------------------------------------------------------------------------------- */

static void nothing(void) {}

static void run_nothing(void *context)
{
    (void)context;
}

/* A C library that is refused clone3 asks again with clone. */
static void refuse_threads(int code)
{
#if defined(__NR_clone3)
    refuse_all(__NR_clone3, ENOSYS);
#endif
    refuse_all(__NR_clone, code);
}

static void start_refused(fallow_status status, int code, const char *limit_name)
{
    fallow__os_thread thread;
    fallow__os_error error;
    sigset_t before;
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    CHECK_STATUS(fallow__os_thread_start(run_nothing, NULL, &thread, &error), status);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int number = 1; number <= SIGRTMAX; number++) {
        CHECK(sigismember(&before, number) == sigismember(&after, number));
    }
    CHECK(error.code == code);
    CHECK((limit_name == NULL) == (error.limit_name == NULL));
    CHECK(limit_name == NULL || strcmp(limit_name, error.limit_name) == 0);
}

static void body_thread_refused(void)
{
    skip_if_emulated();
    refuse_threads(EPERM);
#if defined(__GLIBC__)
    start_refused(FALLOW_ERR_PERMISSION, EPERM, NULL);
#else /* musl says EAGAIN, whatever the kernel said */
    start_refused(FALLOW_ERR_OS, EAGAIN, NULL);
#endif
}

static void test_thread_refused(void **state)
{
    (void)state;
    run(body_thread_refused);
}

static void body_thread_count(void)
{
    skip_if_emulated();
    limit(RLIMIT_NPROC, 1);
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) {
        skip_child("root's rights cannot be given up");
    }
    start_refused(FALLOW_ERR_OS, EAGAIN, NULL);
}

static void test_thread_count(void **state)
{
    (void)state;
    run(body_thread_count);
}

static void body_thread_stack(void)
{
    skip_if_emulated();
    if (HAS_ADDRESS_SANITIZER) {
        skip_child("a sanitizer maps a thread's memory itself, and ends the program when it cannot");
    }
    limit(RLIMIT_AS, process_now().virtual_bytes + 64 * page);
    while (mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) {
    }
    start_refused(FALLOW_ERR_ADDRESS_SPACE, EAGAIN, "RLIMIT_AS");
}

static void test_thread_stack(void **state)
{
    (void)state;
    run(body_thread_stack);
}

/* More thread-local variables than a small stack has room for. */
static _Thread_local char large_local[512 << 10];

static void use_large_local(void *context)
{
    (void)context;
    memset(large_local, 1, sizeof large_local);
}

static void body_thread_with_large_locals(void)
{
    fallow__os_thread thread;
    fallow__os_error error;
    CHECK_STATUS(fallow__os_thread_start(use_large_local, NULL, &thread, &error), FALLOW_OK);
    fallow__os_thread_join(&thread);
    CHECK(large_local[0] == 0);
}

static void test_thread_with_large_locals(void **state)
{
    (void)state;
    run(body_thread_with_large_locals);
}

static void read_mask(void *context)
{
    pthread_sigmask(SIG_SETMASK, NULL, context);
}

/* Signals that come from outside are for the program's own threads. */
static void body_thread_signals(void)
{
    fallow__os_thread thread;
    fallow__os_error error;
    sigset_t inside;
    CHECK_STATUS(fallow__os_thread_start(read_mask, &inside, &thread, &error), FALLOW_OK);
    fallow__os_thread_join(&thread);
    const int outer[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGPROF, SIGUSR1, SIGCHLD, SIGRTMAX};
    const int own[] = {SIGSEGV, SIGBUS, SIGSYS, SIGFPE, SIGILL, SIGTRAP};
    for (size_t i = 0; i < sizeof outer / sizeof outer[0]; i++) {
        CHECK(sigismember(&inside, outer[i]));
    }
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        CHECK(!sigismember(&inside, own[i]));
    }
    sigset_t here;
    pthread_sigmask(SIG_SETMASK, NULL, &here);
    CHECK(!sigismember(&here, SIGTERM));
}

static void test_thread_signals(void **state)
{
    (void)state;
    run(body_thread_signals);
}

static void body_no_key_left(void)
{
    pthread_key_t key;
    while (pthread_key_create(&key, NULL) == 0) {
    }
    CHECK(!fallow__os_at_thread_exit(nothing));
    CHECK(!fallow__os_at_thread_exit(nothing));
}

static void test_no_key_left(void **state)
{
    (void)state;
    run(body_no_key_left);
}

/* The library has one where the kernel says that it has. Numbers of linux/membarrier.h. */
static void body_barrier(void)
{
    skip_if_emulated();
    long commands = syscall(__NR_membarrier, 0, 0, 0);
    bool is_there = commands > 0 && (commands & 1 << 3) != 0;
    CHECK(fallow__os_barrier_all_threads() == is_there);
    refuse_all(__NR_membarrier, EPERM);
    errno = 12345;
    CHECK(!fallow__os_barrier_all_threads());
    CHECK(errno == 12345);
    if (!is_there) {
        skip_child("this kernel has no barrier in all threads, or does not let us");
    }
}

static void test_barrier(void **state)
{
    (void)state;
    run(body_barrier);
}

static void body_barrier_refused_from_the_start(void)
{
    skip_if_emulated();
    refuse_all(__NR_membarrier, ENOSYS);
    CHECK(!fallow__os_barrier_all_threads());
}

static void test_barrier_refused_from_the_start(void **state)
{
    (void)state;
    run(body_barrier_refused_from_the_start);
}

/* --- thread caches on such a system ------------------------------------------------------------------------- */

static struct {
    fallow_arena *arena;
    atomic_int step;
} kept;

static void fill_cache(void)
{
    void *bases[16];
    for (int i = 0; i < 16; i++) {
        CHECK_STATUS(fallow_arena_alloc(kept.arena, 64 << 10, &bases[i]), FALLOW_OK);
    }
    for (int i = 0; i < 16; i++) {
        fallow_arena_free(kept.arena, bases[i], 64 << 10);
    }
}

static void keep_for_a_while(void *context)
{
    (void)context;
    for (int step = 0; step < 6; step += 2) {
        fill_cache();
        atomic_store(&kept.step, step + 1);
        while (atomic_load(&kept.step) == step + 1) {
            fallow__os_yield();
        }
    }
}

static size_t cached_bytes(void)
{
    fallow_arena_stats stats;
    CHECK_STATUS(fallow_arena_check(kept.arena), FALLOW_OK);
    fallow_arena_read_stats(kept.arena, &stats);
    CHECK(stats.backed_bytes == stats.in_use_bytes + stats.cached_bytes + stats.retained_bytes +
                                    stats.released_lazy_bytes + stats.metadata_bytes);
    return stats.cached_bytes;
}

static void make_arena_with_caches(void)
{
    fallow_arena_options options = {.reserve_bytes = 16 * MIB, .thread_cache_bytes = 2 * MIB};
    CHECK_STATUS(fallow_arena_create(&options, &kept.arena), FALLOW_OK);
}

/* What a running thread keeps stays with it, however often it is asked for; it comes back when the thread ends. With a
 * barrier it comes back at once. */
static void keep_and_trim(bool is_barrier)
{
    fallow__os_thread thread;
    fallow__os_error error;
    make_arena_with_caches();
    CHECK_STATUS(fallow__os_thread_start(keep_for_a_while, NULL, &thread, &error), FALLOW_OK);
    for (int step = 0; step < 6; step += 2) {
        while (atomic_load(&kept.step) != step + 1) {
            fallow__os_yield();
        }
        for (int i = 0; i < 3; i++) {
            CHECK_STATUS(fallow_arena_trim(kept.arena, 0, NULL), FALLOW_OK);
            CHECK(cached_bytes() == (is_barrier ? 0 : MIB));
        }
        atomic_store(&kept.step, step + 2);
    }
    fallow__os_thread_join(&thread);
    CHECK(cached_bytes() == 0);
    fallow_arena_destroy(kept.arena);
}

static void body_caches_without_a_barrier(void)
{
    skip_if_emulated();
    refuse_all(__NR_membarrier, ENOSYS);
    keep_and_trim(false);
}

static void body_caches_with_a_barrier(void)
{
    skip_if_emulated();
    if (!fallow__os_barrier_all_threads()) {
        skip_child("this kernel has no barrier in all threads, or does not let us");
    }
    keep_and_trim(true);
}

/* Nobody would empty the cache of a thread whose end is not told: it gets none. */
static void body_caches_without_a_key(void)
{
    pthread_key_t key;
    while (pthread_key_create(&key, NULL) == 0) {
    }
    make_arena_with_caches();
    for (int round = 0; round < 10; round++) {
        fill_cache();
        CHECK(cached_bytes() == 0);
    }
    fallow_arena_destroy(kept.arena);
}

static void test_caches_without_a_barrier(void **state)
{
    (void)state;
    run(body_caches_without_a_barrier);
}

static void test_caches_with_a_barrier(void **state)
{
    (void)state;
    run(body_caches_with_a_barrier);
}

static void test_caches_without_a_key(void **state)
{
    (void)state;
    run(body_caches_without_a_key);
}

/* --- fork -------------------------------------------------------------------------------------------------- */

static int around[3]; /* how often: before, in the parent, in the child */

static void before_fork(void)
{
    CHECK(around[0] == around[1] && around[0] == around[2] + around[1]);
    around[0]++;
}

static void after_fork_in_parent(void)
{
    around[1]++;
    CHECK(around[0] == around[1]);
}

static void after_fork_in_child(void)
{
    around[2]++;
    CHECK(around[0] == around[1] + 1);
}

static void body_fork_order(void)
{
    CHECK(fallow__os_at_fork(before_fork, after_fork_in_parent, after_fork_in_child));
    for (int round = 1; round <= 3; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            _exit(around[0] == round && around[1] == round - 1 && around[2] == 1 ? 0 : 1);
        }
        int state = 0;
        CHECK(waitpid(child, &state, 0) == child && WIFEXITED(state) && WEXITSTATUS(state) == 0);
        CHECK(around[0] == round && around[1] == round && around[2] == 0);
    }
}

static void test_fork_order(void **state)
{
    (void)state;
    run(body_fork_order);
}

/* A child's copies of a lock that was taken before the fork, and of an event where a thread of the parent sleeps: made
 * anew, they are as good as any, and can be destroyed. */
static fallow__os_lock shared_lock;
static fallow__os_event shared_event;
static bool is_over;
static int sleeper_count;

static void sleep_until_over(void *context)
{
    (void)context;
    fallow__os_lock_acquire(&shared_lock);
    sleeper_count++;
    while (!is_over) {
        fallow__os_event_wait(&shared_event, &shared_lock, UINT64_MAX);
    }
    fallow__os_lock_release(&shared_lock);
}

static void take_shared_lock(void)
{
    fallow__os_lock_acquire(&shared_lock);
}

static void drop_shared_lock(void)
{
    fallow__os_lock_release(&shared_lock);
}

static void renew_shared(void)
{
    fallow__os_event_init(&shared_event);
    fallow__os_lock_init(&shared_lock);
}

static void end_sleep(fallow__os_thread *thread)
{
    fallow__os_lock_acquire(&shared_lock);
    is_over = true;
    fallow__os_event_wake(&shared_event);
    fallow__os_lock_release(&shared_lock);
    fallow__os_thread_join(thread);
    fallow__os_event_destroy(&shared_event);
    fallow__os_lock_destroy(&shared_lock);
}

static void start_sleeper(fallow__os_thread *thread)
{
    fallow__os_error error;
    bool is_asleep = false;
    sleeper_count = 0;
    CHECK_STATUS(fallow__os_thread_start(sleep_until_over, NULL, thread, &error), FALLOW_OK);
    while (!is_asleep) {
        fallow__os_lock_acquire(&shared_lock);
        is_asleep = sleeper_count == 1;
        fallow__os_lock_release(&shared_lock);
    }
}

static void body_fork_and_events(void)
{
    fallow__os_thread thread;
    fallow__os_lock_init(&shared_lock);
    fallow__os_event_init(&shared_event);
    CHECK(fallow__os_at_fork(take_shared_lock, drop_shared_lock, renew_shared));
    start_sleeper(&thread);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(20);
        start_sleeper(&thread);
        end_sleep(&thread);
        _exit(0);
    }
    int state = 0;
    CHECK(waitpid(child, &state, 0) == child && WIFEXITED(state) && WEXITSTATUS(state) == 0);
    end_sleep(&thread);
}

static void test_fork_and_events(void **state)
{
    (void)state;
    run(body_fork_and_events);
}

int main(void)
{
    test_begin();
    if (HAS_NOISY_RUNTIME) {
        puts("SKIPPED: limits cannot be tested under the thread sanitizer");
        return SKIPPED;
    }
    page = fallow__os_page_bytes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_limit),
        cmocka_unit_test(test_address_limit_lowered),
        cmocka_unit_test(test_data_limit),
        cmocka_unit_test(test_locked),
        cmocka_unit_test(test_map_count),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_commit_refused),
        cmocka_unit_test(test_decommit_refused),
        cmocka_unit_test(test_decommit_and_protect_refused),
        cmocka_unit_test(test_purge_refused),
        cmocka_unit_test(test_attributes_refused),
        cmocka_unit_test(test_reserve_refused),
        cmocka_unit_test(test_release_refused),
        cmocka_unit_test(test_optional_refused),
        cmocka_unit_test(test_probes),
        cmocka_unit_test(test_no_proc),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_strict_overcommit),
        cmocka_unit_test(test_system_calls),
        cmocka_unit_test(test_large_pages),
        cmocka_unit_test(test_thread_refused),
        cmocka_unit_test(test_thread_count),
        cmocka_unit_test(test_thread_stack),
        cmocka_unit_test(test_thread_with_large_locals),
        cmocka_unit_test(test_thread_signals),
        cmocka_unit_test(test_no_key_left),
        cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_barrier_refused_from_the_start),
        cmocka_unit_test(test_caches_without_a_barrier),
        cmocka_unit_test(test_caches_with_a_barrier),
        cmocka_unit_test(test_caches_without_a_key),
        cmocka_unit_test(test_fork_order),
        cmocka_unit_test(test_fork_and_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
