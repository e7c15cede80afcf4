/* Word of little memory on Linux: on a kernel that is made up, whose files of pressure say what the test wants, and on
 * the one at hand, where a program in a small control group is made to stand still for want of memory.
 *
 * Linked with -Wl,--wrap=open,--wrap=access,--wrap=poll. */
#define _GNU_SOURCE 1 /* SOCK_CLOEXEC, O_CLOEXEC */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fallow.h"
#include "os.h"
#include "posix/setting.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

/* --- the kernel that is made up ----------------------------------------------------------------------------- */

enum {
    OF_ALL,
    OF_GROUP,
    EVENTS,
    FILES
};

static const char *const paths[FILES] = {
    "/proc/pressure/memory",
    "/sys/fs/cgroup/here/memory.pressure",
    "/sys/fs/cgroup/here/memory.events",
};

static struct {
    atomic_bool is_on;
    unsigned present; /* bits of files */
    int ours[FILES];  /* the library has the other end */
    int theirs[FILES];
    atomic_short says[FILES]; /* what poll answers when a byte comes */
    bool is_refusing_trigger;
} fake;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
int __real_poll(struct pollfd *polled, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *polled, nfds_t count, int timeout_ms);

static int open_fake(int file)
{
    int ends[2];
    if ((fake.present & (1u << file)) == 0) {
        errno = ENOENT;
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return -1;
    }
    fake.ours[file] = ends[0];
    fake.theirs[file] = ends[1];
    if (fake.is_refusing_trigger) {
        (void)shutdown(ends[0], SHUT_RD);
        (void)shutdown(ends[1], SHUT_WR); /* a write there fails: the test has SIGPIPE ignored */
    }
    return ends[1];
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    int mode = (flags & O_CREAT) != 0 ? va_arg(arguments, int) : 0;
    va_end(arguments);
    for (int file = 0; atomic_load(&fake.is_on) && file < FILES; file++) {
        if (strcmp(path, paths[file]) == 0) {
            return open_fake(file);
        }
    }
    if (atomic_load(&fake.is_on) && strcmp(path, "/proc/self/cgroup") == 0) {
        int ends[2];
        static const char text[] = "4:memory:/there\n0::/here\n";
        if (pipe(ends) != 0 || write(ends[1], text, sizeof text - 1) < 0) {
            return -1;
        }
        close(ends[1]);
        return ends[0];
    }
    return __real_open(path, flags, mode);
}

int __wrap_access(const char *path, int mode)
{
    for (int file = 0; atomic_load(&fake.is_on) && file < FILES; file++) {
        if (strcmp(path, paths[file]) == 0) {
            return (fake.present & (1u << file)) != 0 ? 0 : -1;
        }
    }
    return __real_access(path, mode);
}

/* A byte that has come is what the kernel would call an event. */
int __wrap_poll(struct pollfd *polled, nfds_t count, int timeout_ms)
{
    struct pollfd asked[8];
    if (!atomic_load(&fake.is_on) || count > 8) {
        return __real_poll(polled, count, timeout_ms);
    }
    for (nfds_t i = 0; i < count; i++) {
        asked[i] = polled[i];
        asked[i].events = POLLIN;
    }
    int found = __real_poll(asked, count, timeout_ms);
    for (nfds_t i = 0; i < count; i++) {
        polled[i].revents = asked[i].revents;
        for (int file = 0; file < FILES; file++) {
            char byte;
            if (asked[i].revents != 0 && asked[i].fd == fake.theirs[file] && read(asked[i].fd, &byte, 1) == 1) {
                polled[i].revents = atomic_load(&fake.says[file]);
            }
        }
    }
    return found;
}

static void fake_begin(unsigned present)
{
    fake.present = present;
    fake.is_refusing_trigger = false;
    for (int file = 0; file < FILES; file++) {
        fake.ours[file] = fake.theirs[file] = -1;
        atomic_store(&fake.says[file], POLLPRI);
    }
    atomic_store(&fake.is_on, true);
}

static void fake_end(void)
{
    for (int file = 0; file < FILES; file++) {
        if (fake.ours[file] >= 0) {
            close(fake.ours[file]);
        }
    }
    atomic_store(&fake.is_on, false);
}

static void fake_tell(int file, short what)
{
    atomic_store(&fake.says[file], what);
    assert_int_equal(write(fake.ours[file], "!", 1), 1);
}

/* --- what the system's layer makes of it -------------------------------------------------------------------- */

static uint64_t ms_since(uint64_t start_ns)
{
    return (fallow__os_clock_ns() - start_ns) / 1000000;
}

static void the_trigger(void **state)
{
    (void)state;
    fallow__os_pressure pressure;
    fallow__os_error error;
    char text[64] = "";
    fake_begin(1u << OF_ALL | 1u << OF_GROUP | 1u << EVENTS);
    assert_int_equal(fallow__os_pressure_open(&pressure, &error), FALLOW_OK);
    for (int file = OF_ALL; file <= OF_GROUP; file++) {
        assert_true(read(fake.ours[file], text, sizeof text) > 0);
        assert_string_equal(text, "some 150000 2000000");
    }
    for (int file = 0; file < FILES; file++) {
        fake_tell(file, file == EVENTS ? POLLPRI | POLLERR : POLLPRI);
        uint64_t start_ns = fallow__os_clock_ns();
        assert_true(fallow__os_pressure_wait(&pressure));
        assert_true(file == 0 || ms_since(start_ns) >= 990); /* at most once a second */
    }
    fallow__os_pressure_end(&pressure);
    uint64_t start_ns = fallow__os_clock_ns();
    assert_false(fallow__os_pressure_wait(&pressure)); /* even while it pauses */
    assert_false(fallow__os_pressure_wait(&pressure)); /* from now on */
    assert_true(ms_since(start_ns) < 900);
    fallow__os_pressure_close(&pressure);
    fake_end();
}

static void any_of_them_is_enough(void **state)
{
    (void)state;
    for (int file = 0; file < FILES; file++) {
        fallow__os_pressure pressure;
        fallow__os_error error;
        fake_begin(1u << file);
        assert_int_equal(fallow__os_pressure_open(&pressure, &error), FALLOW_OK);
        fake_tell(file, POLLPRI);
        assert_true(fallow__os_pressure_wait(&pressure));
        fallow__os_pressure_close(&pressure);
        fake_end();
    }
}

static void none_is_unsupported(void **state)
{
    (void)state;
    fallow__os_pressure pressure;
    fallow__os_error error;
    fake_begin(0);
    assert_int_equal(fallow__os_pressure_open(&pressure, &error), FALLOW_ERR_UNSUPPORTED);
    assert_int_equal(error.code, ENOENT);
    fake_end();
    fake_begin(1u << OF_ALL);
    fake.is_refusing_trigger = true; /* as older kernels do without privileges */
    assert_int_equal(fallow__os_pressure_open(&pressure, &error), FALLOW_ERR_UNSUPPORTED);
    assert_true(error.code != 0);
    fake_end();
}

/* The group is removed: its files say POLLERR for ever, and are forgotten; the others still count. */
static void a_source_that_goes(void **state)
{
    (void)state;
    fallow__os_pressure pressure;
    fallow__os_error error;
    fake_begin(1u << OF_ALL | 1u << OF_GROUP);
    assert_int_equal(fallow__os_pressure_open(&pressure, &error), FALLOW_OK);
    fake_tell(OF_GROUP, POLLERR | POLLPRI);
    int gone = fake.theirs[OF_GROUP];
    fake_tell(OF_ALL, POLLPRI);
    assert_true(fallow__os_pressure_wait(&pressure));
    assert_int_equal(fcntl(gone, F_GETFD), -1); /* closed */
    fallow__os_pressure_end(&pressure);
    assert_false(fallow__os_pressure_wait(&pressure));
    fallow__os_pressure_close(&pressure);
    fake_end();
}

/* --- arenas --------------------------------------------------------------------------------------------------- */

static void fill(fallow_arena *arena)
{
    void *base;
    assert_int_equal(fallow_arena_alloc(arena, 32 * MIB, &base), FALLOW_OK);
    memset(base, 1, 32 * MIB);
    fallow_arena_free(arena, base, 32 * MIB);
}

static fallow_arena_stats look(fallow_arena *arena)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(arena, &s);
    return s;
}

static bool is_trimmed_within(fallow_arena *arena, uint64_t trims, uint64_t ms)
{
    uint64_t start_ns = fallow__os_clock_ns();
    while (look(arena).pressure_trims < trims && ms_since(start_ns) < ms) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return look(arena).pressure_trims >= trims;
}

static fallow_arena *create(void)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {.reserve_bytes = 64 * MIB, .scavenge = FALLOW_SCAVENGE_OFF};
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    return arena;
}

static void an_arena_is_trimmed(void **state)
{
    (void)state;
    fake_begin(1u << OF_ALL);
    fallow_arena *arena = create();
    fill(arena);
    assert_int_equal(fallow_pressure_watch(arena), FALLOW_OK);
    fake_tell(OF_ALL, POLLPRI);
    assert_true(is_trimmed_within(arena, 1, 60000));
    assert_int_equal(look(arena).retained_bytes, 0);
    fallow_arena_destroy(arena); /* while the thread pauses */
    fake_end();
}

static int count_files(void)
{
    int count = 0;
    for (int file = 0; file < 256; file++) {
        count += fcntl(file, F_GETFD) >= 0;
    }
    return count;
}

/* A child of a fork watches nothing and has no file of its parent's open for it, until it asks. */
static void after_a_fork(void **state)
{
    (void)state;
    fake_begin(1u << OF_ALL);
    fallow_arena *arena = create();
    int files = count_files();
    assert_int_equal(fallow_pressure_watch(arena), FALLOW_OK);
    fill(arena);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        close(fake.ours[OF_ALL]);
        int line = count_files() == files ? 0 : __LINE__ % 200 + 1;
        if (line == 0 && fallow_pressure_watch(arena) != FALLOW_OK) {
            line = 2;
        }
        if (line == 0 && write(fake.ours[OF_ALL], "!", 1) != 1) {
            line = 3;
        }
        if (line == 0 && (!is_trimmed_within(arena, 1, 50000) || look(arena).retained_bytes != 0)) {
            line = 4;
        }
        fallow_arena_destroy(arena);
        _exit(line);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(look(arena).pressure_trims, 0); /* it was the child's word */
    fake_tell(OF_ALL, POLLPRI);
    assert_true(is_trimmed_within(arena, 1, 60000));
    fallow_arena_destroy(arena);
    fake_end();
}

/* --- the kernel at hand ----------------------------------------------------------------------------------------- */

/* In a group of 32 MiB: read 96 MiB of a file again and again, each time from the disk. */
static int stand_still(const char *group, const char *path)
{
    char procs[160];
    char id[32];
    static char bytes[1 << 20];
    snprintf(procs, sizeof procs, "%s/cgroup.procs", group);
    snprintf(id, sizeof id, "%ld", (long)getpid());
    int file = __real_open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0 || unlink(path) != 0 || !setting_write(procs, id)) {
        return 1;
    }
    memset(bytes, 1, sizeof bytes);
    for (int i = 0; i < 96; i++) {
        if (write(file, bytes, sizeof bytes) != (ssize_t)sizeof bytes) {
            return 1;
        }
    }
    fsync(file);
    for (;;) {
        for (off_t offset = 0; offset < (off_t)(96 * MIB); offset += (off_t)sizeof bytes) {
            if (pread(file, bytes, sizeof bytes, offset) < 0) {
                return 1;
            }
        }
    }
}

static void the_kernel_tells(void **state)
{
    (void)state;
    char group[128];
    char limit[160];
    fallow_arena *arena = create();
    fallow_status status = fallow_pressure_watch(arena);
    snprintf(group, sizeof group, "/sys/fs/cgroup/memory/fallow-pressure-%ld", (long)getpid());
    snprintf(limit, sizeof limit, "%s/memory.limit_in_bytes", group);
    if (status == FALLOW_OK && mkdir(group, 0755) != 0) {
        snprintf(group, sizeof group, "/sys/fs/cgroup/fallow-pressure-%ld", (long)getpid());
        snprintf(limit, sizeof limit, "%s/memory.max", group);
        (void)mkdir(group, 0755);
    }
    if (status != FALLOW_OK || !setting_write(limit, "33554432")) {
        (void)rmdir(group);
        fallow_arena_destroy(arena);
        printf("skipped: %s\n", status != FALLOW_OK ? "this kernel does not tell of pressure, or not this program"
                                                    : "no control group can be made (not root, or not here)");
        skip();
    }
    fill(arena);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        _exit(stand_still(group, "posix_pressure.tmp"));
    }
    uint64_t start_ns = fallow__os_clock_ns();
    bool is_trimmed = is_trimmed_within(arena, 1, 15000);
    uint64_t ms = ms_since(start_ns);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    for (int tries = 0; rmdir(group) != 0 && tries < 30; tries++) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    fallow_arena_stats s = look(arena);
    fallow_arena_destroy(arena);
    if (!is_trimmed) {
        printf("skipped: nothing has stood still for want of memory: the disk is too fast, or idle\n");
        skip();
    }
    printf("trimmed after %llu ms\n", (unsigned long long)ms);
    assert_int_equal(s.retained_bytes, 0);
}

int main(void)
{
    test_begin();
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_trigger),         cmocka_unit_test(any_of_them_is_enough),
        cmocka_unit_test(none_is_unsupported), cmocka_unit_test(a_source_that_goes),
        cmocka_unit_test(an_arena_is_trimmed), cmocka_unit_test(after_a_fork),
        cmocka_unit_test(the_kernel_tells),
    };
    return cmocka_run_group_tests_name("posix_pressure", tests, NULL, NULL);
}
