/* A byte goes through a pipe: WriteFile reads it from the address, ReadFile writes it there. Either fails with
 * ERROR_NOACCESS where the program itself would fault, whatever VirtualQuery says. */
#include "../probe.h"

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <stdlib.h>

static HANDLE reader;
static HANDLE writer;

static void open_pipe(void)
{
    if (reader == NULL && !CreatePipe(&reader, &writer, NULL, 0)) {
        abort();
    }
}

/* The byte may be gone or still there after a read that failed. */
static void empty_pipe(void)
{
    char byte;
    DWORD waiting = 0;
    DWORD moved;
    if (!PeekNamedPipe(reader, NULL, 0, NULL, &waiting, NULL) ||
        (waiting != 0 && !ReadFile(reader, &byte, 1, &moved, NULL))) {
        abort();
    }
}

static bool put_byte_from(const void *address)
{
    DWORD moved = 0;
    open_pipe();
    return WriteFile(writer, address, 1, &moved, NULL) && moved == 1;
}

bool probe_can_read(const void *address)
{
    bool can_read = put_byte_from(address);
    empty_pipe();
    return can_read;
}

bool probe_can_write(void *address)
{
    DWORD moved = 0;
    bool can_write = put_byte_from(address) && ReadFile(reader, address, 1, &moved, NULL) && moved == 1;
    empty_pipe();
    return can_write;
}

int probe_fork(int (*in_child)(void))
{
    (void)in_child;
    return -1;
}
