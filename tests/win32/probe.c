/* Asks VirtualQuery for state and protection. ReadProcessMemory would be the natural question, but Wine 8 answers it for
 * pages that fault, because it reads past the protection as a debugger does. */
#include "../probe.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define WRITABLE (PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY)
#define READABLE (WRITABLE | PAGE_READONLY | PAGE_EXECUTE_READ)

static bool has_protection(const void *address, DWORD wanted)
{
    MEMORY_BASIC_INFORMATION info;
    if (VirtualQuery(address, &info, sizeof info) == 0 || info.State != MEM_COMMIT) {
        return false;
    }
    return (info.Protect & wanted) != 0 && (info.Protect & PAGE_GUARD) == 0;
}

bool probe_can_read(const void *address)
{
    return has_protection(address, READABLE);
}

bool probe_can_write(void *address)
{
    return has_protection(address, WRITABLE);
}
