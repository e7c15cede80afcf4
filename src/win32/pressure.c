/* Word of little memory: the system's own notification, which stays signalled as long as memory is short, and an event
 * of ours that ends the waiting.
 *
 * Source: Microsoft Learn, CreateMemoryResourceNotification */
#include "win32.h"

enum {
    PAUSE_MS = 1000 /* at least, from one word to the next */
};

typedef struct pressure {
    HANDLE end; /* first: it counts before the other one */
    HANDLE low;
    bool has_told;
} pressure;

_Static_assert(sizeof(pressure) <= sizeof(fallow__os_pressure), "it fits its room");

static pressure *pressure_of(fallow__os_pressure *given)
{
    return (pressure *)(void *)given->room;
}

fallow_status fallow__os_pressure_open(fallow__os_pressure *given, fallow__os_error *error_out)
{
    pressure *ours = pressure_of(given);
    fallow__win32_notify notify = fallow__win32_later_get()->notify;
    if (notify == NULL) {
        *error_out = (fallow__os_error){.code = ERROR_PROC_NOT_FOUND};
        return FALLOW_ERR_UNSUPPORTED;
    }
    *ours = (pressure){.low = notify(LowMemoryResourceNotification)};
    if (ours->low == NULL) {
        *error_out = (fallow__os_error){.code = GetLastError()};
        return FALLOW_ERR_UNSUPPORTED;
    }
    ours->end = CreateEventA(NULL, TRUE, FALSE, NULL);
    if (ours->end == NULL) {
        fallow_status status = fallow__win32_cause(FALLOW__WIN32_CHANGE, error_out);
        (void)CloseHandle(ours->low);
        return status;
    }
    return FALLOW_OK;
}

bool fallow__os_pressure_wait(fallow__os_pressure *given)
{
    pressure *ours = pressure_of(given);
    HANDLE both[] = {ours->end, ours->low};
    if (ours->has_told && WaitForSingleObject(ours->end, PAUSE_MS) != WAIT_TIMEOUT) {
        return false;
    }
    ours->has_told = WaitForMultipleObjects(2, both, FALSE, INFINITE) == WAIT_OBJECT_0 + 1;
    return ours->has_told;
}

void fallow__os_pressure_end(fallow__os_pressure *given)
{
    (void)SetEvent(pressure_of(given)->end);
}

void fallow__os_pressure_close(fallow__os_pressure *given)
{
    pressure *ours = pressure_of(given);
    (void)CloseHandle(ours->low);
    (void)CloseHandle(ours->end);
}
