/* The memory below the simulation: one MEM_RESERVE, and a vectored exception handler. */
#include "../sim_host.h"

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <psapi.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static void require(bool is_done, const char *what)
{
    if (!is_done) {
        fprintf(stderr, "sim_host: %s: error %lu\n", what, (unsigned long)GetLastError());
        abort();
    }
}

size_t sim_host_page_bytes(void)
{
    SYSTEM_INFO basics;
    GetSystemInfo(&basics);
    return basics.dwPageSize;
}

/* A reservation costs Wine a byte for each page, for ever. */
uint64_t sim_host_space_bytes(void)
{
    return sizeof(void *) < 8 ? UINT64_C(512) << 20 : UINT64_C(4) << 30;
}

/* An allocation is given back as a whole only, so the head stays, unused. */
void *sim_host_reserve(size_t size_bytes, size_t align_bytes)
{
    if (size_bytes > SIZE_MAX - align_bytes) {
        return NULL;
    }
    char *mapped = VirtualAlloc(NULL, size_bytes + align_bytes, MEM_RESERVE, PAGE_NOACCESS);
    return mapped == NULL ? NULL : mapped + ((size_t)(0 - (uintptr_t)mapped) & (align_bytes - 1));
}

void *sim_host_reserve_low(size_t size_bytes)
{
    for (uintptr_t first = (uintptr_t)1 << 28; first < (uintptr_t)7 << 29; first += (uintptr_t)1 << 28) {
        void *base = VirtualAlloc((void *)first, size_bytes, MEM_RESERVE, PAGE_NOACCESS);
        if (base != NULL) {
            return base;
        }
    }
    return NULL;
}

void sim_host_release(void *base, size_t size_bytes)
{
    (void)size_bytes;
    MEMORY_BASIC_INFORMATION found;
    require(VirtualQuery(base, &found, sizeof found) != 0, "VirtualQuery");
    require(VirtualFree(found.AllocationBase, 0, MEM_RELEASE), "VirtualFree");
}

bool sim_host_keep(bool is_wanted)
{
    (void)is_wanted;
    return false;
}

void sim_host_settle(void *base, size_t size_bytes)
{
    (void)base;
    (void)size_bytes;
}

bool sim_host_open(void *base, size_t size_bytes)
{
    (void)base;
    (void)size_bytes;
    return false;
}

void sim_host_drop(void *base, size_t size_bytes)
{
    require(VirtualFree(base, size_bytes, MEM_DECOMMIT), "VirtualFree");
}

void sim_host_set_access(void *base, size_t size_bytes, sim_host_access access)
{
    static const DWORD protections[] = {PAGE_NOACCESS, PAGE_READONLY, PAGE_READWRITE, PAGE_EXECUTE_READ};
    require(VirtualAlloc(base, size_bytes, MEM_COMMIT, protections[access]) != NULL, "VirtualAlloc");
}

void sim_host_zero(void *base, size_t size_bytes, sim_host_access access)
{
    sim_host_drop(base, size_bytes);
    sim_host_set_access(base, size_bytes, access);
}

size_t sim_host_resident(void *base, size_t size_bytes, size_t page_bytes)
{
    PSAPI_WORKING_SET_EX_INFORMATION pages[1024];
    const size_t host_bytes = sim_host_page_bytes();
    size_t page_count = 0;
    size_t counted = SIZE_MAX; /* the page that was counted last */
    for (size_t offset = 0; offset < size_bytes;) {
        size_t first = offset;
        DWORD count = 0;
        for (; count < 1024 && offset < size_bytes; count++, offset += host_bytes) {
            pages[count] = (PSAPI_WORKING_SET_EX_INFORMATION){.VirtualAddress = (char *)base + offset};
        }
        require(K32QueryWorkingSetEx(GetCurrentProcess(), pages, count * (DWORD)sizeof pages[0]), "working set");
        for (DWORD i = 0; i < count; i++) {
            size_t page = (first + i * host_bytes) / page_bytes;
            if (pages[i].VirtualAttributes.Valid && page != counted) {
                counted = page;
                page_count++;
            }
        }
    }
    return page_count * page_bytes;
}

/* --- faults ------------------------------------------------------------------------------------------------ */

static bool (*ask)(void *address);

static LONG CALLBACK on_fault(EXCEPTION_POINTERS *fault)
{
    const EXCEPTION_RECORD *record = fault->ExceptionRecord;
    bool is_fine = record->ExceptionCode == EXCEPTION_ACCESS_VIOLATION && record->NumberParameters >= 2 &&
                   ask((void *)record->ExceptionInformation[1]);
    return is_fine ? EXCEPTION_CONTINUE_EXECUTION : EXCEPTION_CONTINUE_SEARCH;
}

void sim_host_watch(bool (*is_write_fine)(void *address))
{
    if (ask == NULL) {
        ask = is_write_fine;
        require(AddVectoredExceptionHandler(1, on_fault) != NULL, "AddVectoredExceptionHandler");
    }
}

void sim_host_yield(bool is_rest)
{
    if (is_rest) {
        Sleep(1);
    } else {
        SwitchToThread();
    }
}

/* The C library's getenv does not tell an empty variable. */
int sim_host_environment(const char *name, char *buffer_out, size_t buffer_bytes)
{
    SetLastError(ERROR_SUCCESS);
    DWORD length = GetEnvironmentVariableA(name, buffer_out, (DWORD)buffer_bytes);
    return length >= buffer_bytes || (length == 0 && GetLastError() != ERROR_SUCCESS) ? -1 : (int)length;
}

/* --- threads ----------------------------------------------------------------------------------------------- */

struct sim_host_thread {
    HANDLE handle;
    void (*run)(void *context);
    void *context;
};

static DWORD WINAPI run_thread(LPVOID argument)
{
    const sim_host_thread *thread = argument;
    thread->run(thread->context);
    return 0;
}

sim_host_thread *sim_host_thread_start(void (*run)(void *context), void *context)
{
    sim_host_thread *thread = malloc(sizeof *thread);
    if (thread != NULL) {
        *thread = (sim_host_thread){.run = run, .context = context};
        thread->handle = CreateThread(NULL, 0, run_thread, thread, 0, NULL);
        if (thread->handle == NULL) {
            free(thread);
            return NULL;
        }
    }
    return thread;
}

void sim_host_thread_join(sim_host_thread *thread)
{
    require(WaitForSingleObject(thread->handle, INFINITE) == WAIT_OBJECT_0, "WaitForSingleObject");
    CloseHandle(thread->handle);
    free(thread);
}

void sim_host_gather(bool is_one)
{
    (void)is_one;
}

/* The handle itself. */
sim_host_gate *sim_host_gate_create(void)
{
    HANDLE opened = CreateSemaphoreA(NULL, 0, 1, NULL);
    require(opened != NULL, "CreateSemaphore");
    return (sim_host_gate *)opened;
}

void sim_host_gate_destroy(sim_host_gate *gate)
{
    CloseHandle((HANDLE)gate);
}

void sim_host_gate_open(sim_host_gate *gate)
{
    ReleaseSemaphore((HANDLE)gate, 1, NULL);
}

void sim_host_gate_wait(sim_host_gate *gate)
{
    require(WaitForSingleObject((HANDLE)gate, INFINITE) == WAIT_OBJECT_0, "WaitForSingleObject");
}

static INIT_ONCE exit_once = INIT_ONCE_STATIC_INIT;
static DWORD exit_slot;
static _Atomic(void (*)(void)) at_exit;

static VOID WINAPI thread_ends(PVOID value)
{
    if (value != NULL) {
        atomic_load (&at_exit)();
    }
}

static BOOL CALLBACK make_exit_slot(PINIT_ONCE once, PVOID parameter, PVOID *context)
{
    (void)once;
    (void)parameter;
    (void)context;
    exit_slot = FlsAlloc(thread_ends);
    return exit_slot != FLS_OUT_OF_INDEXES;
}

bool sim_host_at_thread_exit(void (*leave)(void))
{
    require(InitOnceExecuteOnce(&exit_once, make_exit_slot, NULL, NULL), "FlsAlloc");
    atomic_store(&at_exit, leave);
    return FlsSetValue(exit_slot, &exit_slot);
}

/* Wine 8.0 does nothing in it. */
bool sim_host_barrier(void)
{
    if (GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version") != NULL) {
        return false;
    }
    FlushProcessWriteBuffers();
    return true;
}
