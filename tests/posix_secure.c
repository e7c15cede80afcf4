/* A program that runs with more rights than who starts it heeds no variable of his: a copy of this program with a set-id
 * bit is started with all of them set, and tells what is in force.
 *
 * As root the copy is root's, set-user-id, and started as nobody; as another user it is set-group-id, for another of his
 * groups. Where neither makes the system call the copy secure (AT_SECURE), the test is skipped. */
#define _GNU_SOURCE 1 /* setgroups */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fallow.h"

#define NOBODY 65534

static const char *const environment[] = {
    "FALLOW_MADVISE=free",
    "FALLOW_RESERVE=16M",
    "FALLOW_LIMIT=8M",
    "FALLOW_SCAVENGE=thread",
    "FALLOW_DEBUG=stats,trace=secure.trace",
    NULL,
};

/* --- the copy --------------------------------------------------------------------------------------------------- */

static int be_subject(void)
{
    fallow_system system;
    fallow_arena *arena;
    void *run;
    fallow_system_info(&system);
    if (fallow_arena_create(NULL, &arena) != FALLOW_OK || fallow_arena_alloc(arena, 4096, &run) != FALLOW_OK) {
        return 1;
    }
    fallow_arena_destroy(arena);
    printf("secure %d, madvise %d, reserve %d, limit %d, scavenge %d, error \"%s\"\n", getauxval(AT_SECURE) != 0,
           system.is_purge_from_environment, system.is_reserve_from_environment, system.limit_bytes != 0,
           system.scavenge == FALLOW_SCAVENGE_THREAD, system.environment_error);
    return 0;
}

/* --- making it ---------------------------------------------------------------------------------------------------- */

static char directory[] = "/tmp/fallow-secure-XXXXXX";
static char program[sizeof directory + 16];
static char trace[sizeof directory + 16];

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL || chmod(directory, 01777) != 0) {
        return -1;
    }
    snprintf(program, sizeof program, "%s/subject", directory);
    snprintf(trace, sizeof trace, "%s/secure.trace", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    (void)unlink(program);
    (void)unlink(trace);
    return rmdir(directory);
}

static void copy_program(void)
{
    char bytes[65536];
    ssize_t got;
    (void)unlink(program);
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = open(program, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    assert_true(from >= 0 && to >= 0);
    while ((got = read(from, bytes, sizeof bytes)) > 0) {
        assert_int_equal(write(to, bytes, (size_t)got), got);
    }
    assert_int_equal(got, 0);
    assert_int_equal(fchmod(to, 0755), 0); /* whatever the umask says */
    assert_int_equal(close(from), 0);
    assert_int_equal(close(to), 0);
}

/* A group of this user that is not the one he acts with; -1: he has no other. */
static gid_t other_group(void)
{
    gid_t groups[256];
    int count = getgroups(256, groups);
    for (int i = 0; i < count; i++) {
        if (groups[i] != getegid()) {
            return groups[i];
        }
    }
    return (gid_t)-1;
}

/* Give the copy more rights than who will start it has. */
static bool make_secure(void)
{
    if (geteuid() == 0) {
        return chmod(program, 04755) == 0;
    }
    gid_t group = other_group();
    return group != (gid_t)-1 && chown(program, (uid_t)-1, group) == 0 && chmod(program, 02755) == 0;
}

/* Start the copy with the variables, and read its line and what it logs. */
static void start(char *told_out, size_t told_bytes, char *logged_out, size_t logged_bytes)
{
    int told[2];
    int logged[2];
    assert_int_equal(pipe(told), 0);
    assert_int_equal(pipe(logged), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char *arguments[] = {program, (char *)"subject", NULL};
        if (dup2(told[1], STDOUT_FILENO) < 0 || dup2(logged[1], STDERR_FILENO) < 0 || chdir(directory) != 0) {
            _exit(90);
        }
        if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)) {
            _exit(91);
        }
        execve(program, arguments, (char *const *)(uintptr_t)environment);
        _exit(92);
    }
    close(told[1]);
    close(logged[1]);
    ssize_t got = read(told[0], told_out, told_bytes - 1);
    told_out[got > 0 ? got : 0] = '\0';
    got = read(logged[0], logged_out, logged_bytes - 1);
    logged_out[got > 0 ? got : 0] = '\0';
    close(told[0]);
    close(logged[0]);
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(state) && (WEXITSTATUS(state) == 92 || WEXITSTATUS(state) == 91)) {
        printf("skipped: the copy cannot be started (noexec, or no right to become nobody)\n");
        skip();
    }
    assert_true(WIFEXITED(state));
    assert_int_equal(WEXITSTATUS(state), 0);
}

/* --- the tests ---------------------------------------------------------------------------------------------------- */

/* What shows that the other test shows something. The trace is its owner's alone: it tells addresses. */
static void an_ordinary_program_heeds_them(void **state)
{
    (void)state;
    char told[256];
    char logged[4096];
    struct stat file;
    copy_program();
    (void)unlink(trace);
    mode_t mask = umask(0);
    start(told, sizeof told, logged, sizeof logged);
    (void)umask(mask);
    assert_string_equal(told, "secure 0, madvise 1, reserve 1, limit 1, scavenge 1, error \"\"\n");
    assert_true(logged[0] != '\0');
    assert_int_equal(stat(trace, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
}

static void a_set_id_program_heeds_none(void **state)
{
    (void)state;
    char told[256];
    char logged[4096];
    struct stat file;
    copy_program();
    (void)unlink(trace);
    if (!make_secure()) {
        printf("skipped: not root, and in no second group\n");
        skip();
    }
    start(told, sizeof told, logged, sizeof logged);
    if (strncmp(told, "secure 0", strlen("secure 0")) == 0) {
        printf("skipped: the system gives a set-id program no rights here (nosuid, no_new_privs)\n");
        skip();
    }
    assert_string_equal(told, "secure 1, madvise 0, reserve 0, limit 0, scavenge 0, error \"\"\n");
    assert_string_equal(logged, "");
    assert_int_equal(stat(trace, &file), -1);
    assert_int_equal(errno, ENOENT);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "subject") == 0) {
        return be_subject();
    }
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ordinary_program_heeds_them),
        cmocka_unit_test(a_set_id_program_heeds_none),
    };
    return cmocka_run_group_tests_name("posix_secure", tests, make_directory, remove_directory);
}
