/* A byte goes through a pipe: WriteFile reads it from the address, ReadFile writes it there. Either fails with
 * ERROR_NOACCESS where the program itself would fault. A pipe for each probe: what a failed one leaves is nobody's. */
#include "../probe.h"

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <stdlib.h>

bool probe_can_read(const void *address)
{
    HANDLE reader;
    HANDLE writer;
    DWORD moved = 0;
    if (!CreatePipe(&reader, &writer, NULL, 0)) {
        abort();
    }
    bool is_readable = WriteFile(writer, address, 1, &moved, NULL) && moved == 1;
    CloseHandle(reader);
    CloseHandle(writer);
    return is_readable;
}

bool probe_can_write(void *address)
{
    HANDLE reader;
    HANDLE writer;
    DWORD moved = 0;
    if (!CreatePipe(&reader, &writer, NULL, 0)) {
        abort();
    }
    bool is_writable = WriteFile(writer, address, 1, &moved, NULL) && moved == 1 &&
                       ReadFile(reader, address, 1, &moved, NULL) && moved == 1;
    CloseHandle(reader);
    CloseHandle(writer);
    return is_writable;
}
