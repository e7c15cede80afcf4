#define _GNU_SOURCE
#include "trap.h"

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

/* What this thread runs; base is NULL while it runs nothing. */
static _Thread_local struct {
    jmp_buf back;
    const char *volatile base;
    size_t size_bytes;
} running;

static struct sigaction before;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (running.base != NULL && (uintptr_t)info->si_addr - (uintptr_t)running.base < running.size_bytes) {
        _longjmp(running.back, 1);
    }
    /* Not ours: with the action that was there before, the same instruction faults again. */
    sigaction(number, &before, NULL);
}

bool trap_install(void)
{
    /* SA_NODEFER: the signal is not blocked while its handler runs, so leaving it needs no system call. */
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_NODEFER};
    action.sa_sigaction = on_fault;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGSEGV, &action, &before) == 0;
}

bool trap_run(void (*function)(void *context), void *context, const void *base, size_t size_bytes)
{
    running.size_bytes = size_bytes;
    if (_setjmp(running.back) != 0) {
        running.base = NULL;
        return false;
    }
    running.base = base;
    function(context);
    running.base = NULL;
    return true;
}

_Noreturn void trap_raise(void)
{
    _longjmp(running.back, 1);
}
