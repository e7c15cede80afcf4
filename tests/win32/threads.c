#include "../threads.h"

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <stdlib.h>

typedef struct start {
    void (*body)(void *context, unsigned index);
    void *context;
    unsigned index;
} start;

static DWORD WINAPI run(void *argument)
{
    const start *s = argument;
    s->body(s->context, s->index);
    return 0;
}

void threads_run(unsigned count, void (*body)(void *context, unsigned index), void *context)
{
    HANDLE threads[THREADS_MAX] = {0};
    start starts[THREADS_MAX];
    for (unsigned index = 0; index < count; index++) {
        starts[index] = (start){body, context, index};
        threads[index] = CreateThread(NULL, 0, run, &starts[index], 0, NULL);
        if (threads[index] == NULL) {
            abort();
        }
    }
    WaitForMultipleObjects(count, threads, TRUE, INFINITE);
    for (unsigned index = 0; index < count; index++) {
        CloseHandle(threads[index]);
    }
}
