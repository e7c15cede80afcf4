/* What the files of src/win32 share; the only header that includes <windows.h>.
 *
 * Windows 7 is the oldest system: _WIN32_WINNT says so, so that the compiler refuses a later function that is called
 * by name. Later functions, and ntdll's, are found at run time and may be missing (fallow__win32_later). What a system
 * can do is always asked, never guessed from its version: Wine 8.0 calls itself Windows 7 and has VirtualAlloc2.
 *
 * Sees: os.h, windows.h. */
#ifndef FALLOW_WIN32_H
#define FALLOW_WIN32_H

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#undef _WIN32_WINNT
#define _WIN32_WINNT 0x0601

#include "../os.h"

#include <windows.h>

/* Its functions are in kernel32 under names that begin with K32, since Windows 7: no psapi.dll. */
#include <psapi.h>

/* VirtualAlloc2, kernelbase.dll, Windows 10 version 1803. */
typedef PVOID(WINAPI *fallow__win32_alloc2)(HANDLE process, PVOID base, SIZE_T size, ULONG type, ULONG protection,
                                            MEM_EXTENDED_PARAMETER *parameters, ULONG parameter_count);

/* RtlDllShutdownInProgress, ntdll.dll: the process is ending. */
typedef BOOLEAN(WINAPI *fallow__win32_shutdown)(void);

/* CreateMemoryResourceNotification, kernel32.dll, Windows XP; a system that only looks like Windows may lack it. */
typedef HANDLE(WINAPI *fallow__win32_notify)(MEMORY_RESOURCE_NOTIFICATION_TYPE type);

/* Found once per process; NULL where this system has no such function. */
typedef struct fallow__win32_later {
    fallow__win32_alloc2 alloc2;
    fallow__win32_shutdown is_shutdown;
    fallow__win32_notify notify;
    const char *wine_version; /* "8.0"; NULL on Windows */
} fallow__win32_later;

/* What lies in the room of a lock. */
static inline SRWLOCK *fallow__win32_lock_of(fallow__os_lock *lock)
{
    return (SRWLOCK *)(void *)lock->room;
}

/* facts.c */
const SYSTEM_INFO *fallow__win32_basics(void);
const fallow__win32_later *fallow__win32_later_get(void);

/* vm.max_map_count of the system below Wine; UINT64_MAX on Windows, which has no such limit. */
uint64_t fallow__win32_host_map_limit(void);

/* VirtualQuery at *address, then move *address behind what it told. false behind the last address of the process. */
bool fallow__win32_next(uintptr_t *address, MEMORY_BASIC_INFORMATION *mapping_out);

/* What the system was doing when it failed: the same code means different things. */
typedef enum fallow__win32_asked {
    FALLOW__WIN32_RESERVE,
    FALLOW__WIN32_CHANGE /* anything that is done to a reservation, or asked about it */
} fallow__win32_asked;

/* cause.c: turn GetLastError() into a status, and look up the limit that was hit. */
fallow_status fallow__win32_cause(fallow__win32_asked asked, fallow__os_error *error_out);

#endif
