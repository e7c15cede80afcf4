/* Two copies of fallow in one process: each has its arenas, its failures and its threads, and neither knows of the other;
 * the plugin may be closed while threads that used its copy live on, and opened again. */
#include "plugin.h"

#include <stdio.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>
typedef HMODULE library;
static library open_library(const char *path)
{
    return LoadLibraryA(path);
}
static plugin_entry *entry_of(library from)
{
    return (plugin_entry *)(void (*)(void))GetProcAddress(from, "plugin_open");
}
static void close_library(library closed)
{
    FreeLibrary(closed);
}
typedef HANDLE thread;
#define THREAD_FUNCTION(name) static DWORD WINAPI name(LPVOID context)
static bool start_thread(thread *started, LPTHREAD_START_ROUTINE function, void *context)
{
    *started = CreateThread(NULL, 0, function, context, 0, NULL);
    return *started != NULL;
}
static void join_thread(thread joined)
{
    WaitForSingleObject(joined, INFINITE);
}
typedef volatile LONG flag;
static void wait_for(flag *flag)
{
    while (!*flag)
        Sleep(1);
}
#else
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
typedef void *library;
static library open_library(const char *path)
{
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}
static plugin_entry *entry_of(library from)
{
    void *const symbol = dlsym(from, "plugin_open");
    plugin_entry *entry;
    memcpy(&entry, &symbol, sizeof entry); /* POSIX has the conversion, C has not */
    return entry;
}
static void close_library(library closed)
{
    dlclose(closed);
}
typedef pthread_t thread;
#define THREAD_FUNCTION(name) static void *name(void *context)
static bool start_thread(thread *started, void *(*function)(void *), void *context)
{
    return pthread_create(started, NULL, function, context) == 0;
}
static void join_thread(thread joined)
{
    pthread_join(joined, NULL);
}
typedef _Atomic int flag;
static void wait_for(flag *flag)
{
    while (!*flag)
        sched_yield();
}
#endif

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
            return 1;                                                       \
        }                                                                   \
    } while (0)

static const plugin *other;
static fallow_arena *arena;
static flag has_worked;
static flag may_end;
static flag is_wrong;

/* Both copies from one thread, which ends after the plugin has gone. */
THREAD_FUNCTION(work)
{
    (void)context;
    for (int i = 1; i < 2000; i++) {
        const size_t size_bytes = (size_t)(i % 40 + 1) << 12;
        void *mine = NULL;
        char *its = other->take(size_bytes);
        if (fallow_arena_alloc(arena, size_bytes, &mine) != FALLOW_OK || its == NULL) {
            is_wrong = 1;
            break;
        }
        memset(mine, 'm', size_bytes);
        memset(its, 'i', size_bytes);
        if (((char *)mine)[size_bytes - 1] != 'm' || other->owns(mine) || fallow_arena_owns(arena, its)) {
            is_wrong = 1;
        }
        fallow_arena_free(arena, mine, size_bytes);
        other->give(its, size_bytes);
    }
    has_worked = 1;
    wait_for(&may_end);
    return 0;
}

/* Open the plugin, use it, close it; the thread lives on. */
static int use_plugin(const char *path, thread *worker_out)
{
    fallow_failure failure;
    const library plugin_library = open_library(path);
    REQUIRE(plugin_library != NULL);
    REQUIRE(entry_of(plugin_library) != NULL);
    other = entry_of(plugin_library)();
    REQUIRE(other->version != fallow_version); /* two copies, not one */
    REQUIRE(strcmp(other->version(), fallow_version()) == 0);

    REQUIRE(other->start((size_t)32 << 20) == FALLOW_OK); /* threads keep a 64th of it: enough to have caches */

    /* Its limit is its own, and so is its failure. */
    REQUIRE(other->take((size_t)48 << 20) == NULL);
    REQUIRE(other->failure(&failure) && failure.status == FALLOW_ERR_LIMIT);
    REQUIRE(!fallow_last_failure(&failure));
    void *run;
    REQUIRE(fallow_arena_alloc(arena, (size_t)16 << 20, &run) == FALLOW_OK);
    fallow_arena_free(arena, run, (size_t)16 << 20);

    has_worked = 0;
    REQUIRE(start_thread(worker_out, work, NULL));
    wait_for(&has_worked);
    REQUIRE(!is_wrong);
    REQUIRE(other->stop());
    close_library(plugin_library);
    return 0;
}

int main(int argc, char **argv)
{
    enum {
        TIMES = 3
    };
    thread worker[TIMES];
    void *run;
    REQUIRE(fallow_arena_create(&(fallow_arena_options){.reserve_bytes = (size_t)64 << 20}, &arena) == FALLOW_OK);
    for (int i = 0; i < TIMES; i++) {
        if (use_plugin(argc > 1 ? argv[1] : "", &worker[i]) != 0) {
            return 1;
        }
    }
    may_end = 1;
    for (int i = 0; i < TIMES; i++) {
        join_thread(worker[i]);
    }

    REQUIRE(fallow_arena_alloc(arena, 4096, &run) == FALLOW_OK);
    fallow_arena_free(arena, run, 4096);
    REQUIRE(fallow_arena_check(arena) == FALLOW_OK);
    fallow_arena_destroy(arena);
    printf("fallow %s twice in one process, the plugin opened and closed %d times\n", fallow_version(), TIMES);
    return 0;
}
