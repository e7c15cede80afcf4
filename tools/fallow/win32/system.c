/* What the tools ask of Windows: see system.h. */
#include "../system.h"

#include <windows.h>

/* QueryPerformanceCounter counts ticks; seconds and the rest apart, so that the product does not overflow. */
uint64_t system_clock_ns(void)
{
    LARGE_INTEGER ticks;
    LARGE_INTEGER ticks_per_second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&ticks_per_second);
    uint64_t now = (uint64_t)ticks.QuadPart;
    uint64_t frequency = (uint64_t)ticks_per_second.QuadPart;
    return now / frequency * 1000000000u + now % frequency * 1000000000u / frequency;
}

/* Job objects limit memory, not addresses. */
bool system_has_address_limit(void)
{
    return false;
}

bool system_run_limited(uint64_t limit_bytes, int (*story)(void *context), void *context, int *result_out)
{
    (void)limit_bytes;
    (void)story;
    (void)context;
    (void)result_out;
    return false;
}

/* A pipe or a file has no console mode. Before Windows 10 a console takes no sequences. */
bool system_is_terminal(FILE *stream)
{
    HANDLE output = GetStdHandle(stream == stderr ? STD_ERROR_HANDLE : STD_OUTPUT_HANDLE);
    DWORD mode;
    return GetConsoleMode(output, &mode) && SetConsoleMode(output, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
}

void system_sleep_ns(uint64_t duration_ns)
{
    Sleep((DWORD)(duration_ns / 1000000u));
}
