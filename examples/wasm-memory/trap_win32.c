#define WIN32_LEAN_AND_MEAN
#include "trap.h"

#include <stdint.h>
#include <windows.h>

/* What this thread runs; base is NULL while it runs nothing. The compiler's own jump, for longjmp of Windows unwinds the
 * frames in between and asks every one of them, which a handler of a fault cannot do. */
static _Thread_local struct {
    void *back[5];
    const char *volatile base;
    size_t size_bytes;
} running;

_Noreturn void trap_raise(void)
{
    __builtin_longjmp(running.back, 1);
}

static LONG CALLBACK on_fault(EXCEPTION_POINTERS *fault)
{
    const EXCEPTION_RECORD *record = fault->ExceptionRecord;
    if (record->ExceptionCode != EXCEPTION_ACCESS_VIOLATION || running.base == NULL ||
        (uintptr_t)record->ExceptionInformation[1] - (uintptr_t)running.base >= running.size_bytes) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    /* The thread goes on in trap_raise, as if the faulting instruction had called it: the stack is a multiple of 16
     * less the return address. */
    CONTEXT *context = fault->ContextRecord;
#if defined(_WIN64)
    context->Rsp = ((context->Rsp - 64) & ~(DWORD64)15) - 8;
    context->Rip = (DWORD64)(uintptr_t)trap_raise;
#else
    context->Esp = ((context->Esp - 64) & ~(DWORD)15) - 4;
    context->Eip = (DWORD)(uintptr_t)trap_raise;
#endif
    return EXCEPTION_CONTINUE_EXECUTION;
}

bool trap_install(void)
{
    return AddVectoredExceptionHandler(1, on_fault) != NULL;
}

bool trap_run(void (*function)(void *context), void *context, const void *base, size_t size_bytes)
{
    running.size_bytes = size_bytes;
    if (__builtin_setjmp(running.back) != 0) {
        running.base = NULL;
        return false;
    }
    running.base = base;
    function(context);
    running.base = NULL;
    return true;
}
