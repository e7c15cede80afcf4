/* A file, stderr, and the end of the program. */
#include <stdlib.h>
#include <string.h>

#include "win32.h"

bool fallow__os_file_create(const char *path, fallow__os_file *file_out, bool *is_taken_out)
{
    HANDLE file = CreateFileA(path, GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    *is_taken_out = file == INVALID_HANDLE_VALUE && GetLastError() == ERROR_FILE_EXISTS;
    *file_out = (fallow__os_file){(intptr_t)file};
    return file != INVALID_HANDLE_VALUE;
}

static bool write_all(HANDLE file, const char *bytes, size_t count)
{
    while (count != 0) {
        DWORD part = count < 1 << 30 ? (DWORD)count : 1 << 30;
        DWORD written;
        if (!WriteFile(file, bytes, part, &written, NULL) || written == 0) {
            return false;
        }
        bytes += written;
        count -= written;
    }
    return true;
}

bool fallow__os_file_write(const fallow__os_file *file, const char *bytes, size_t count)
{
    return write_all((HANDLE)file->handle, bytes, count);
}

void fallow__os_file_close(const fallow__os_file *file)
{
    (void)CloseHandle((HANDLE)file->handle);
}

void fallow__os_print(const char *text)
{
    (void)write_all(GetStdHandle(STD_ERROR_HANDLE), text, strlen(text));
}

/* In a DLL: when it is unloaded, which the end of the program does too. */
void fallow__os_at_exit(void (*leave)(void))
{
    (void)atexit(leave); /* refused: what leave() would have told stays untold */
}
