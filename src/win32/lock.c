/* The lock, run once, the environment, last words: os.h on Windows, all but memory and figures. */
#include "win32.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(SRWLOCK) <= sizeof(fallow__os_lock), "a lock fits its room");
static_assert(sizeof(INIT_ONCE) <= sizeof(fallow__os_once), "a once fits its room");

void fallow__os_lock_init(fallow__os_lock *lock)
{
    InitializeSRWLock(fallow__win32_lock_of(lock));
}

/* An SRW lock holds nothing. Microsoft Learn, Slim Reader/Writer Locks */
void fallow__os_lock_destroy(fallow__os_lock *lock)
{
    (void)lock;
}

void fallow__os_lock_acquire(fallow__os_lock *lock)
{
    AcquireSRWLockExclusive(fallow__win32_lock_of(lock));
}

void fallow__os_lock_release(fallow__os_lock *lock)
{
    ReleaseSRWLockExclusive(fallow__win32_lock_of(lock));
}

/* C has no way between pointers to functions and to data: the parameter points to the function pointer. */
static BOOL CALLBACK initialise_once(PINIT_ONCE once, PVOID parameter, PVOID *context)
{
    (void)once;
    (void)context;
    void (**initialise)(void) = parameter;
    (*initialise)();
    return TRUE;
}

/* All zero is INIT_ONCE_STATIC_INIT. */
void fallow__os_run_once(fallow__os_once *once, void (*initialise)(void))
{
    (void)InitOnceExecuteOnce((INIT_ONCE *)(void *)once->room, initialise_once, (PVOID)&initialise, NULL);
}

/* Windows has no set-id programs. The C library's getenv would see another copy than SetEnvironmentVariable changes. */
int fallow__os_environment(const char *name, char *buffer_out, size_t buffer_bytes)
{
    DWORD room = buffer_bytes < INT_MAX ? (DWORD)buffer_bytes : INT_MAX;
    SetLastError(ERROR_SUCCESS); /* an empty variable also returns 0 */
    DWORD length = GetEnvironmentVariableA(name, buffer_out, room);
    if (length >= room || (length == 0 && GetLastError() != ERROR_SUCCESS)) {
        return -1;
    }
    return (int)length;
}

/* The C library may add words of its own to ours. */
void fallow__os_stop(const char *message)
{
    fallow__os_print(message);
    fallow__os_print("\r\n");
    abort();
}
