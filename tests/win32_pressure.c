/* Word of little memory on Windows. What is found is found once per process, so the first argument says which system
 * this is: `real`, the one at hand; `absent`, one without the notification; `told`, one that says what the test wants.
 *
 * Linked with tests/win32/hide.c. */
#include <string.h>

#include "fallow.h"
#include "os.h"
#include "test.h"
#include "win32/hide.h"

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#define MIB ((size_t)1 << 20)

static HANDLE low; /* the one end of it: signalled while memory is short */

static HANDLE WINAPI notify(MEMORY_RESOURCE_NOTIFICATION_TYPE type)
{
    if (type != LowMemoryResourceNotification) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    HANDLE theirs = NULL;
    (void)DuplicateHandle(GetCurrentProcess(), low, GetCurrentProcess(), &theirs, 0, FALSE, DUPLICATE_SAME_ACCESS);
    return theirs;
}

static fallow_arena *create(void)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {.reserve_bytes = 64 * MIB, .scavenge = FALLOW_SCAVENGE_OFF};
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    return arena;
}

static void fill(fallow_arena *arena)
{
    void *base;
    assert_int_equal(fallow_arena_alloc(arena, 8 * MIB, &base), FALLOW_OK);
    memset(base, 1, 8 * MIB);
    fallow_arena_free(arena, base, 8 * MIB);
}

static fallow_arena_stats look(fallow_arena *arena)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(arena, &s);
    return s;
}

static void wait_for_trims(fallow_arena *arena, uint64_t count)
{
    for (int looks = 0; look(arena).pressure_trims < count; looks++) {
        assert_true(looks < 6000);
        Sleep(10);
    }
}

/* Whether this system tells, or not: the thread comes and goes. */
static void real(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        fallow_arena *arena = create();
        fallow_status status = fallow_pressure_watch(arena);
        if (round == 0) {
            printf("fallow_pressure_watch: %s\n", fallow_status_name(status));
        }
        assert_true(status == FALLOW_OK || status == FALLOW_ERR_UNSUPPORTED);
        fill(arena);
        fallow_arena_destroy(arena);
    }
}

static void absent(void **state)
{
    (void)state;
    fallow_failure failure;
    fallow_arena *arena = create();
    assert_int_equal(fallow_pressure_watch(arena), FALLOW_ERR_UNSUPPORTED);
    assert_true(fallow_last_failure(&failure));
    assert_int_equal(failure.os_code, ERROR_PROC_NOT_FOUND);
    fallow_arena_destroy(arena);
}

static void told(void **state)
{
    (void)state;
    fallow_arena *arena = create();
    fill(arena);
    assert_int_equal(fallow_pressure_watch(arena), FALLOW_OK);
    assert_true(SetEvent(low));
    wait_for_trims(arena, 1);
    assert_int_equal(look(arena).retained_bytes, 0);
    uint64_t start_ns = fallow__os_clock_ns();
    fill(arena);
    wait_for_trims(arena, 2); /* still short: not before a second has passed */
    assert_true(fallow__os_clock_ns() - start_ns >= 900000000);
    assert_true(ResetEvent(low));
    fallow_arena_destroy(arena);
}

int main(int count, char **words)
{
    test_begin();
    const char *system = count > 1 ? words[1] : "real";
    low = CreateEventA(NULL, TRUE, FALSE, NULL);
    if (strcmp(system, "absent") == 0) {
        hidden_functions[1] = "CreateMemoryResourceNotification";
    } else if (strcmp(system, "told") == 0) {
        replaced_function = "CreateMemoryResourceNotification";
        replacement = (void (*)(void))notify;
    }
    const struct CMUnitTest tests[] = {
        {system,
         strcmp(system, "absent") == 0 ? absent
         : strcmp(system, "told") == 0 ? told
                                       : real,
         NULL, NULL, NULL},
    };
    return cmocka_run_group_tests_name("win32_pressure", tests, NULL, NULL);
}
