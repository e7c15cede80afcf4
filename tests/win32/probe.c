/* Asks as a debugger would: ReadProcessMemory on this very process fails where the page faults; whether it may be
 * written is in its protection. */
#include "../probe.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

bool probe_can_read(const void *address)
{
    char byte;
    SIZE_T got = 0;
    return ReadProcessMemory(GetCurrentProcess(), address, &byte, 1, &got) && got == 1;
}

bool probe_can_write(void *address)
{
    const DWORD writable = PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
    MEMORY_BASIC_INFORMATION info;
    if (VirtualQuery(address, &info, sizeof info) == 0 || info.State != MEM_COMMIT) {
        return false;
    }
    return (info.Protect & writable) != 0 && (info.Protect & PAGE_GUARD) == 0;
}
