/* Run a part of a test in a process of its own, and read what it writes to stderr.
 *
 * Where there is fork, the child is a copy of this process; on Windows it is the same program started again with the
 * case's name as its one argument, so main must look for it: see test_child_main. */
#ifndef FALLOW_TEST_CHILD_H
#define FALLOW_TEST_CHILD_H

#include "test.h"

#include <string.h>

typedef struct test_child_case {
    const char *name; /* of letters and underscores */
    void (*run)(void);
} test_child_case;

#if defined(_WIN32)

#include <windows.h>

/* In the child: run the case and leave. In the parent: nothing. */
static inline void test_child_main(int argc, char **argv, const test_child_case *cases, size_t case_count)
{
    for (size_t i = 0; argc == 2 && i < case_count; i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            exit(0);
        }
    }
}

/* Returns whether the child ended abnormally. What it wrote to stderr is in output_out, as a string, without '\r'. */
static inline bool test_child_run(const test_child_case *child_case, char *output_out, size_t output_bytes)
{
    SECURITY_ATTRIBUTES inherit = {.nLength = sizeof inherit, .bInheritHandle = TRUE};
    HANDLE reader;
    HANDLE writer;
    char command[1024];
    char program[800];
    GetModuleFileNameA(NULL, program, sizeof program);
    snprintf(command, sizeof command, "\"%s\" %s", program, child_case->name);
    assert_true(CreatePipe(&reader, &writer, &inherit, 0));
    SetHandleInformation(reader, HANDLE_FLAG_INHERIT, 0);
    STARTUPINFOA startup = {.cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES};
    startup.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    startup.hStdError = writer;
    PROCESS_INFORMATION process;
    assert_true(CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process));
    CloseHandle(writer);

    size_t length = 0;
    char piece[256];
    DWORD got;
    while (ReadFile(reader, piece, sizeof piece, &got, NULL) && got > 0) {
        for (DWORD i = 0; i < got; i++) {
            if (piece[i] != '\r' && length + 1 < output_bytes) {
                output_out[length++] = piece[i];
            }
        }
    }
    output_out[length] = '\0';
    CloseHandle(reader);
    WaitForSingleObject(process.hProcess, INFINITE);
    DWORD code = 0;
    GetExitCodeProcess(process.hProcess, &code);
    CloseHandle(process.hProcess);
    CloseHandle(process.hThread);
    return code != 0;
}

#else

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static inline void test_child_main(int argc, char **argv, const test_child_case *cases, size_t case_count)
{
    (void)argc;
    (void)argv;
    (void)cases;
    (void)case_count;
}

static inline void test_child_aborts(int number)
{
    test_write_down_reached();
    signal(number, SIG_DFL);
    raise(number);
}

static inline bool test_child_run(const test_child_case *child_case, char *output_out, size_t output_bytes)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, test_child_aborts);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        child_case->run();
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    char byte;
    while (read(ends[0], &byte, 1) == 1) {
        if (length + 1 < output_bytes) {
            output_out[length++] = byte;
        }
    }
    output_out[length] = '\0';
    close(ends[0]);
    char *of_emulator = strstr(output_out, "qemu: uncaught target signal"); /* its last words, behind the program's */
    if (of_emulator != NULL) {
        *of_emulator = '\0';
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#endif

#endif
