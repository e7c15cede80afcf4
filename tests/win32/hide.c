/* Linked with -Wl,--wrap=__imp_GetProcAddress: a call of a DLL goes through a pointer of that name, so it is the pointer
 * that is replaced, not the function. Unless a test says otherwise this is Windows 7. */
#include "hide.h"

#include <string.h>

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

typedef FARPROC(WINAPI *get_proc_address)(HMODULE module, LPCSTR name);

extern get_proc_address __real___imp_GetProcAddress;
extern get_proc_address __wrap___imp_GetProcAddress;

const char *hidden_functions[HIDDEN_MAX] = {"VirtualAlloc2"};
const char *replaced_function;
void (*replacement)(void);

static FARPROC WINAPI find(HMODULE module, LPCSTR name)
{
    for (size_t index = 0; index < HIDDEN_MAX && hidden_functions[index] != NULL; index++) {
        if (strcmp(name, hidden_functions[index]) == 0) {
            SetLastError(ERROR_PROC_NOT_FOUND);
            return NULL;
        }
    }
    if (replaced_function != NULL && strcmp(name, replaced_function) == 0) {
        return (FARPROC)replacement;
    }
    return __real___imp_GetProcAddress(module, name);
}

get_proc_address __wrap___imp_GetProcAddress = find;
