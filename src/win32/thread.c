/* The clock, threads, events, the end of a thread, the barrier in all of them: os.h on Windows.
 *
 * The end of a thread is told by a slot of fiber-local storage, whose callback runs where the value is something. That
 * is before the DLLs are told of the thread, so thread-local variables are still there. In a program with fibers the
 * slot is the fiber's: it is told when that fiber is deleted, or when the thread ends while it runs it. */
#include "win32.h"

#include <assert.h>
#include <stdatomic.h>

#define NS_PER_SECOND UINT64_C(1000000000)

enum {
    STACK_BYTES = 256 << 10
};

static_assert(sizeof(CONDITION_VARIABLE) <= sizeof(fallow__os_event), "an event fits its room");

/* --- clock ------------------------------------------------------------------------------------------------- */

static LARGE_INTEGER ticks_per_second;

static void find_frequency(void)
{
    QueryPerformanceFrequency(&ticks_per_second); /* fails on no system since Windows XP, nor does the counter */
}

uint64_t fallow__os_clock_ns(void)
{
    static fallow__os_once once;
    LARGE_INTEGER now;
    fallow__os_run_once(&once, find_frequency);
    QueryPerformanceCounter(&now);
    uint64_t ticks = (uint64_t)now.QuadPart;
    uint64_t frequency = (uint64_t)ticks_per_second.QuadPart;
    return ticks / frequency * NS_PER_SECOND + ticks % frequency * NS_PER_SECOND / frequency;
}

/* --- threads ----------------------------------------------------------------------------------------------- */

typedef struct thread {
    HANDLE handle;
    void (*run)(void *context);
    void *context;
} thread;

static_assert(sizeof(thread) <= sizeof(fallow__os_thread), "a thread fits its room");

static thread *thread_of(fallow__os_thread *given)
{
    return (thread *)(void *)given->room;
}

static DWORD WINAPI run_thread(LPVOID argument)
{
    const thread *ours = argument;
    ours->run(ours->context);
    return 0;
}

fallow_status fallow__os_thread_start(void (*run)(void *context), void *context, fallow__os_thread *thread_out,
                                      fallow__os_error *error_out)
{
    thread *ours = thread_of(thread_out);
    *ours = (thread){.run = run, .context = context};
    ours->handle = CreateThread(NULL, STACK_BYTES, run_thread, ours, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    return ours->handle != NULL ? FALLOW_OK : fallow__win32_cause(FALLOW__WIN32_CHANGE, error_out);
}

void fallow__os_thread_join(fallow__os_thread *given)
{
    thread *ours = thread_of(given);
    if (WaitForSingleObject(ours->handle, INFINITE) != WAIT_OBJECT_0) {
        fallow__os_stop("fallow: a thread cannot be joined");
    }
    (void)CloseHandle(ours->handle);
}

/* --- events ------------------------------------------------------------------------------------------------ */

static CONDITION_VARIABLE *condition_of(fallow__os_event *event)
{
    return (CONDITION_VARIABLE *)(void *)event->room;
}

void fallow__os_event_init(fallow__os_event *event)
{
    InitializeConditionVariable(condition_of(event));
}

/* A condition variable holds nothing. Microsoft Learn, Condition Variables */
void fallow__os_event_destroy(fallow__os_event *event)
{
    (void)event;
}

/* Milliseconds, rounded up, so that a short sleep is one; 49 days are the longest that is not for ever. */
static DWORD milliseconds(uint64_t timeout_ns)
{
    if (timeout_ns == UINT64_MAX) {
        return INFINITE;
    }
    uint64_t wanted = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    return wanted < INFINITE ? (DWORD)wanted : INFINITE - 1;
}

void fallow__os_event_wait(fallow__os_event *event, fallow__os_lock *lock, uint64_t timeout_ns)
{
    SRWLOCK *held = fallow__win32_lock_of(lock);
    (void)SleepConditionVariableSRW(condition_of(event), held, milliseconds(timeout_ns), 0); /* a timeout is no error */
}

void fallow__os_event_wake(fallow__os_event *event)
{
    WakeAllConditionVariable(condition_of(event));
}

/* --- the end of a thread ----------------------------------------------------------------------------------- */

static struct {
    DWORD slot;
    bool is_made;
    _Atomic(void (*)(void)) leave;
} exits;

/* At the end of the process it is called for the thread that ends it, when the others are gone already, with whatever
 * locks they held. */
static VOID WINAPI thread_ends(PVOID value)
{
    fallow__win32_shutdown is_shutdown = fallow__win32_later_get()->is_shutdown;
    if (value != NULL && (is_shutdown == NULL || !is_shutdown())) {
        atomic_load_explicit(&exits.leave, memory_order_relaxed)();
    }
}

/* The module with the callback stays from now on: there is no moment at which all threads are known to have ended. */
static void make_slot(void)
{
    HMODULE module;
    exits.is_made = GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                                       (LPCSTR)&exits, &module);
    if (exits.is_made) {
        exits.slot = FlsAlloc(thread_ends);
        exits.is_made = exits.slot != FLS_OUT_OF_INDEXES;
    }
}

bool fallow__os_at_thread_exit(void (*leave)(void))
{
    static fallow__os_once once;
    fallow__os_run_once(&once, make_slot);
    atomic_store_explicit(&exits.leave, leave, memory_order_relaxed);
    return exits.is_made && FlsSetValue(exits.slot, &exits); /* any value but NULL */
}

/* --- the barrier, fork ------------------------------------------------------------------------------------- */

void fallow__os_yield(void)
{
    SwitchToThread();
}

/* Wine 8.0 has the function and does nothing in it, so its word is worth nothing there. */
bool fallow__os_barrier_all_threads(void)
{
    if (fallow__win32_later_get()->wine_version != NULL) {
        return false;
    }
    FlushProcessWriteBuffers();
    return true;
}

bool fallow__os_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    (void)before;
    (void)in_parent;
    (void)in_child;
    return true;
}
