/* Windows refuses: what is said, and what is left.
 *
 * The import pointers of the functions that src/win32 calls are replaced (tests/CMakeLists.txt: --wrap), so that any
 * call can be refused with any code. VirtualAlloc2 is hidden, to meet the ways of Windows 7; with the argument
 * "windows" Wine is hidden too, so that codes mean what they mean on Windows. Real refusals of the system below Wine
 * come at the end. */
#include "test.h"

#include <string.h>

#include "os.h"
#include "probe.h"
#include "win32/hide.h"

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <psapi.h>

/* --- refusals ---------------------------------------------------------------------------------------------- */

/* Refuse calls of one kind: the first `passed` are let through, then `refused` fail with `code`. */
typedef struct refusal {
    DWORD kind;
    DWORD code;
    int passed;
    int refused;
    int seen; /* calls of the kind so far */
} refusal;

static refusal allocs;   /* kind: MEM_RESERVE, MEM_COMMIT or MEM_RESET */
static refusal frees;    /* kind: MEM_DECOMMIT or MEM_RELEASE */
static refusal protects; /* kind: 1 */
static refusal queries;  /* kind: 1 */
static refusal threads;  /* kind: 1 */
static refusal slots;    /* kind: 1; of fiber-local storage */

static bool is_refused(refusal *plan, DWORD kind)
{
    if ((kind & plan->kind) == 0) {
        return false;
    }
    int call = plan->seen++;
    if (call < plan->passed || call >= plan->passed + plan->refused) {
        return false;
    }
    SetLastError(plan->code);
    return true;
}

typedef LPVOID(WINAPI *virtual_alloc)(LPVOID base, SIZE_T size, DWORD type, DWORD protection);
typedef BOOL(WINAPI *virtual_free)(LPVOID base, SIZE_T size, DWORD type);
typedef BOOL(WINAPI *virtual_protect)(LPVOID base, SIZE_T size, DWORD protection, PDWORD before);

typedef HANDLE(WINAPI *create_thread)(LPSECURITY_ATTRIBUTES security, SIZE_T stack, LPTHREAD_START_ROUTINE run,
                                      LPVOID context, DWORD flags, LPDWORD id);
typedef DWORD(WINAPI *fls_alloc)(PFLS_CALLBACK_FUNCTION callback);

extern create_thread __real___imp_CreateThread;
extern fls_alloc __real___imp_FlsAlloc;
extern create_thread __wrap___imp_CreateThread;
extern fls_alloc __wrap___imp_FlsAlloc;
extern virtual_alloc __real___imp_VirtualAlloc;
extern virtual_free __real___imp_VirtualFree;
extern virtual_protect __real___imp_VirtualProtect;
extern virtual_alloc __wrap___imp_VirtualAlloc;
extern virtual_free __wrap___imp_VirtualFree;
extern virtual_protect __wrap___imp_VirtualProtect;

/* <psapi.h> declares its functions as if they were linked in: there it is the function that is replaced. */
BOOL WINAPI __real_K32QueryWorkingSetEx(HANDLE process, PVOID pages, DWORD size);
BOOL WINAPI __wrap_K32QueryWorkingSetEx(HANDLE process, PVOID pages, DWORD size);
BOOL WINAPI __real_K32GetProcessMemoryInfo(HANDLE process, PPROCESS_MEMORY_COUNTERS counters, DWORD size);
BOOL WINAPI __wrap_K32GetProcessMemoryInfo(HANDLE process, PPROCESS_MEMORY_COUNTERS counters, DWORD size);

static LPVOID WINAPI alloc_or_refuse(LPVOID base, SIZE_T size, DWORD type, DWORD protection)
{
    return is_refused(&allocs, type) ? NULL : __real___imp_VirtualAlloc(base, size, type, protection);
}

static BOOL WINAPI free_or_refuse(LPVOID base, SIZE_T size, DWORD type)
{
    return is_refused(&frees, type) ? FALSE : __real___imp_VirtualFree(base, size, type);
}

static BOOL WINAPI protect_or_refuse(LPVOID base, SIZE_T size, DWORD protection, PDWORD before)
{
    return is_refused(&protects, 1) ? FALSE : __real___imp_VirtualProtect(base, size, protection, before);
}

BOOL WINAPI __wrap_K32QueryWorkingSetEx(HANDLE process, PVOID pages, DWORD size)
{
    return is_refused(&queries, 1) ? FALSE : __real_K32QueryWorkingSetEx(process, pages, size);
}

BOOL WINAPI __wrap_K32GetProcessMemoryInfo(HANDLE process, PPROCESS_MEMORY_COUNTERS counters, DWORD size)
{
    return is_refused(&queries, 1) ? FALSE : __real_K32GetProcessMemoryInfo(process, counters, size);
}

static HANDLE WINAPI thread_or_refuse(LPSECURITY_ATTRIBUTES security, SIZE_T stack, LPTHREAD_START_ROUTINE run,
                                      LPVOID context, DWORD flags, LPDWORD id)
{
    return is_refused(&threads, 1) ? NULL : __real___imp_CreateThread(security, stack, run, context, flags, id);
}

static DWORD WINAPI slot_or_refuse(PFLS_CALLBACK_FUNCTION callback)
{
    return is_refused(&slots, 1) ? FLS_OUT_OF_INDEXES : __real___imp_FlsAlloc(callback);
}

create_thread __wrap___imp_CreateThread = thread_or_refuse;
fls_alloc __wrap___imp_FlsAlloc = slot_or_refuse;
virtual_alloc __wrap___imp_VirtualAlloc = alloc_or_refuse;
virtual_free __wrap___imp_VirtualFree = free_or_refuse;
virtual_protect __wrap___imp_VirtualProtect = protect_or_refuse;

static void refuse_nothing(void)
{
    allocs = frees = protects = queries = threads = slots = (refusal){0};
}

/* --- what every test has ----------------------------------------------------------------------------------- */

enum {
    PAGES = 16
};

static fallow_system facts;
static fallow_region region; /* PAGES pages; the first half is committed and filled with 3 */
static fallow__os_error error;

static size_t bytes(size_t pages)
{
    return pages * facts.page_bytes;
}

static char *page_at(size_t index)
{
    return (char *)region.base + bytes(index);
}

static fallow_status reserve(size_t size_bytes, fallow_region_options options, fallow_region *region_out)
{
    return fallow__os_reserve(size_bytes, &options, region_out, &error);
}

static int set_up(void **state)
{
    (void)state;
    refuse_nothing();
    error = (fallow__os_error){.code = -1};
    if (reserve(bytes(PAGES), (fallow_region_options){0}, &region) != FALLOW_OK ||
        fallow__os_commit(&region, region.base, bytes(PAGES / 2), &error) != FALLOW_OK) {
        return -1;
    }
    memset(region.base, 3, bytes(PAGES / 2));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    refuse_nothing();
    return fallow__os_release(&region, &error);
}

static void assert_unchanged(void)
{
    for (size_t offset = 0; offset < bytes(PAGES / 2); offset++) {
        assert_int_equal(((char *)region.base)[offset], 3);
    }
    for (size_t index = 0; index < PAGES; index++) {
        assert_int_equal(probe_can_write(page_at(index)), index < PAGES / 2);
    }
}

/* --- codes ------------------------------------------------------------------------------------------------- */

static const struct {
    DWORD code;
    fallow_status on_reserve;
    fallow_status on_commit;
    bool is_limit_told; /* for a commit */
} causes[] = {
    {ERROR_COMMITMENT_LIMIT, FALLOW_ERR_COMMIT, FALLOW_ERR_COMMIT, true},
    {ERROR_NOT_ENOUGH_QUOTA, FALLOW_ERR_COMMIT, FALLOW_ERR_COMMIT, true},
    {ERROR_NO_SYSTEM_RESOURCES, FALLOW_ERR_COMMIT, FALLOW_ERR_COMMIT, true},
    {ERROR_NOT_ENOUGH_MEMORY, FALLOW_ERR_ADDRESS_SPACE, FALLOW_ERR_COMMIT, true},
    {ERROR_OUTOFMEMORY, FALLOW_ERR_ADDRESS_SPACE, FALLOW_ERR_COMMIT, true},
    {ERROR_INVALID_ADDRESS, FALLOW_ERR_ADDRESS_SPACE, FALLOW_ERR_INVALID, false},
    {ERROR_INVALID_PARAMETER, FALLOW_ERR_ADDRESS_SPACE, FALLOW_ERR_INVALID, false},
    {1655 /* ERROR_DYNAMIC_CODE_BLOCKED */, FALLOW_ERR_PERMISSION, FALLOW_ERR_PERMISSION, false},
    {ERROR_PRIVILEGE_NOT_HELD, FALLOW_ERR_PERMISSION, FALLOW_ERR_PERMISSION, false},
    {ERROR_WORKING_SET_QUOTA, FALLOW_ERR_LOCKED, FALLOW_ERR_LOCKED, false},
    {ERROR_NOT_SUPPORTED, FALLOW_ERR_UNSUPPORTED, FALLOW_ERR_UNSUPPORTED, false},
    {ERROR_GEN_FAILURE, FALLOW_ERR_OS, FALLOW_ERR_OS, false},
};
enum {
    CAUSE_COUNT = sizeof causes / sizeof causes[0]
};

static void test_commit_refused(void **state)
{
    (void)state;
    for (size_t index = 0; index < CAUSE_COUNT; index++) {
        allocs = (refusal){.kind = MEM_COMMIT, .code = causes[index].code, .refused = 1};
        assert_int_equal(fallow__os_commit(&region, page_at(4), bytes(8), &error), causes[index].on_commit);
        assert_int_equal(error.code, causes[index].code);
        assert_int_equal(error.limit_name != NULL, causes[index].is_limit_told);
        assert_int_equal(error.limit_value != 0, causes[index].is_limit_told);
        assert_unchanged();
    }
}

static void test_reserve_refused(void **state)
{
    (void)state;
    for (size_t index = 0; index < CAUSE_COUNT; index++) {
        fallow_region other = {.name = "untouched"};
        allocs = (refusal){.kind = MEM_RESERVE, .code = causes[index].code, .refused = 1};
        assert_int_equal(reserve(bytes(1), (fallow_region_options){0}, &other), causes[index].on_reserve);
        assert_int_equal(error.code, causes[index].code);
        assert_string_equal(other.name, "untouched");
    }
}

/* Wine says this of whatever the system below refuses to back; Windows of what it forbids. */
static void test_access_denied(void **state)
{
    (void)state;
    allocs = (refusal){.kind = MEM_COMMIT, .code = ERROR_ACCESS_DENIED, .refused = 1};
    assert_int_equal(fallow__os_commit(&region, page_at(4), bytes(8), &error),
                     facts.is_wine ? FALLOW_ERR_COMMIT : FALLOW_ERR_PERMISSION);
    assert_unchanged();
}

/* --- each transition --------------------------------------------------------------------------------------- */

static void test_decommit_refused(void **state)
{
    (void)state;
    fallow__os_left left = FALLOW__OS_LEFT_NOTHING;
    frees = (refusal){.kind = MEM_DECOMMIT, .code = ERROR_GEN_FAILURE, .refused = 1};
    assert_int_equal(fallow__os_decommit(&region, page_at(2), bytes(4), &left, &error), FALLOW_ERR_OS);
    assert_int_equal(left, FALLOW__OS_LEFT_ALL);
    assert_int_equal(error.code, ERROR_GEN_FAILURE);
    assert_unchanged();
}

/* Decommitted, and then there was no memory to commit it again. */
static void test_dontneed_cannot_commit(void **state)
{
    (void)state;
    bool is_zero = true;
    bool is_committed = true;
    allocs = (refusal){.kind = MEM_COMMIT, .code = ERROR_COMMITMENT_LIMIT, .refused = 1};
    assert_int_equal(
        fallow__os_purge(&region, page_at(2), bytes(4), FALLOW_PURGE_DONTNEED, &is_zero, &is_committed, &error),
        FALLOW_ERR_COMMIT);
    assert_false(is_committed);
    assert_false(is_zero);
    for (size_t index = 0; index < PAGES / 2; index++) {
        assert_int_equal(probe_can_read(page_at(index)), index < 2 || index >= 6);
    }
    assert_int_equal(fallow__os_commit(&region, page_at(2), bytes(4), &error), FALLOW_OK);
    assert_int_equal(page_at(2)[0], 0);
    assert_int_equal(page_at(1)[0], 3);
    assert_int_equal(page_at(6)[0], 3);
}

static void check_purge_refused(fallow_purge purge)
{
    bool is_zero = true;
    bool is_committed = false;
    assert_int_equal(fallow__os_purge(&region, page_at(2), bytes(4), purge, &is_zero, &is_committed, &error),
                     FALLOW_ERR_OS);
    assert_true(is_committed);
    assert_false(is_zero);
    assert_unchanged();
}

static void test_purge_refused(void **state)
{
    (void)state;
    frees = (refusal){.kind = MEM_DECOMMIT, .code = ERROR_GEN_FAILURE, .refused = 1};
    check_purge_refused(FALLOW_PURGE_DONTNEED);
    allocs = (refusal){.kind = MEM_RESET, .code = ERROR_GEN_FAILURE, .refused = 1};
    check_purge_refused(FALLOW_PURGE_FREE);
}

static void test_protect_refused(void **state)
{
    (void)state;
    protects = (refusal){.kind = 1, .code = ERROR_COMMITMENT_LIMIT, .refused = 1};
    assert_int_equal(fallow__os_protect(&region, page_at(2), bytes(4), FALLOW_PROTECTION_NONE, &error),
                     FALLOW_ERR_COMMIT);
    assert_unchanged();
}

/* What is reserved only has no protection to change. */
static void test_protect_reserved(void **state)
{
    (void)state;
    assert_int_equal(fallow__os_protect(&region, page_at(PAGES - 2), bytes(1), FALLOW_PROTECTION_READ, &error),
                     FALLOW_ERR_INVALID);
    assert_unchanged();
}

static void test_guard_refused(void **state)
{
    (void)state;
    frees = (refusal){.kind = MEM_DECOMMIT, .code = ERROR_GEN_FAILURE, .refused = 1};
    assert_int_equal(fallow__os_guard(&region, page_at(2), bytes(4), &error), FALLOW_ERR_OS);
    assert_unchanged();

    assert_int_equal(fallow__os_guard(&region, page_at(2), bytes(4), &error), FALLOW_OK);
    allocs = (refusal){.kind = MEM_COMMIT, .code = ERROR_COMMITMENT_LIMIT, .refused = 1};
    assert_int_equal(fallow__os_unguard(&region, page_at(2), bytes(4), &error), FALLOW_ERR_COMMIT);
    assert_false(probe_can_read(page_at(2)));
    assert_int_equal(fallow__os_unguard(&region, page_at(2), bytes(4), &error), FALLOW_OK);
    assert_true(probe_can_write(page_at(2)));
}

static void test_release_refused(void **state)
{
    (void)state;
    frees = (refusal){.kind = MEM_RELEASE, .code = ERROR_GEN_FAILURE, .refused = 1};
    assert_int_equal(fallow__os_release(&region, &error), FALLOW_ERR_OS);
    assert_unchanged();
}

static void test_figures_refused(void **state)
{
    (void)state;
    size_t resident_bytes = 42;
    fallow_process process = {.map_count = 42};
    queries = (refusal){.kind = 1, .code = ERROR_GEN_FAILURE, .refused = 2};
    assert_int_equal(fallow__os_resident(&region, region.base, bytes(PAGES), &resident_bytes, &error), FALLOW_ERR_OS);
    assert_int_equal(resident_bytes, 42);
    assert_int_equal(fallow__os_process(&process, &error), FALLOW_ERR_OS);
    assert_int_equal(process.map_count, 42);
}

/* --- threads ----------------------------------------------------------------------------------------------- */

static void run_nothing(void *context)
{
    *(int *)context += 1;
}

static void test_thread_refused(void **state)
{
    (void)state;
    static const struct {
        DWORD code;
        fallow_status status;
    } ways[] = {{ERROR_NOT_ENOUGH_MEMORY, FALLOW_ERR_COMMIT}, {ERROR_MAX_THRDS_REACHED, FALLOW_ERR_OS}};
    int runs = 0;
    fallow__os_thread thread;
    for (size_t index = 0; index < sizeof ways / sizeof ways[0]; index++) {
        threads = (refusal){.kind = 1, .code = ways[index].code, .refused = 1};
        assert_int_equal(fallow__os_thread_start(run_nothing, &runs, &thread, &error), ways[index].status);
        assert_int_equal(error.code, ways[index].code);
        assert_int_equal(runs, 0);
    }
    assert_int_equal(fallow__os_thread_start(run_nothing, &runs, &thread, &error), FALLOW_OK);
    fallow__os_thread_join(&thread);
    assert_int_equal(runs, 1);
}

static void leave(void) {}

/* Asked for once per process, and so the answer stays. */
static void test_no_slot_left(void **state)
{
    (void)state;
    slots = (refusal){.kind = 1, .code = ERROR_NOT_ENOUGH_MEMORY, .refused = 1};
    assert_false(fallow__os_at_thread_exit(leave));
    assert_false(fallow__os_at_thread_exit(leave));
    assert_int_equal(slots.seen, 1);
}

/* --- without VirtualAlloc2 --------------------------------------------------------------------------------- */

enum {
    ALIGN_BYTES = 1 << 20
};

/* Another thread takes the aligned place just before we do: the next round finds another. */
static void test_aligned_place_is_lost(void **state)
{
    (void)state;
    fallow_region aligned;
    allocs = (refusal){.kind = MEM_RESERVE, .code = ERROR_INVALID_ADDRESS, .passed = 1, .refused = 1};
    assert_int_equal(reserve(bytes(1), (fallow_region_options){.align_bytes = ALIGN_BYTES}, &aligned), FALLOW_OK);
    assert_int_equal(allocs.seen, 4);
    assert_int_equal((uintptr_t)aligned.base % ALIGN_BYTES, 0);
    assert_int_equal(fallow__os_release(&aligned, &error), FALLOW_OK);
}

/* Each time: the rounds end. */
static LPVOID WINAPI refuse_places(LPVOID base, SIZE_T size, DWORD type, DWORD protection)
{
    if (base == NULL) {
        return __real___imp_VirtualAlloc(base, size, type, protection);
    }
    allocs.seen++;
    SetLastError(ERROR_INVALID_ADDRESS);
    return NULL;
}

static void test_aligned_place_is_always_lost(void **state)
{
    (void)state;
    fallow_region aligned;
    __wrap___imp_VirtualAlloc = refuse_places;
    fallow_status status = reserve(bytes(1), (fallow_region_options){.align_bytes = ALIGN_BYTES}, &aligned);
    __wrap___imp_VirtualAlloc = alloc_or_refuse;
    assert_int_equal(status, FALLOW_ERR_ADDRESS_SPACE);
    assert_in_range(allocs.seen, 2, 100);
}

/* The lowest gap is taken by another thread: the next one is tried. */
static void test_low_gap_is_lost(void **state)
{
    (void)state;
    fallow_region low;
    fallow_region_options options = {.align_bytes = ALIGN_BYTES, .flags = FALLOW_REGION_LOW_4G};
    allocs = (refusal){.kind = MEM_RESERVE, .code = ERROR_INVALID_ADDRESS, .refused = 1};
    assert_int_equal(reserve(bytes(1), options, &low), FALLOW_OK);
    assert_true(allocs.seen >= 2);
    assert_true((uint64_t)(uintptr_t)low.base < UINT64_C(1) << 32);
    assert_int_equal((uintptr_t)low.base % ALIGN_BYTES, 0);
    assert_int_equal(fallow__os_release(&low, &error), FALLOW_OK);

    allocs = (refusal){.kind = MEM_RESERVE, .code = ERROR_INVALID_ADDRESS, .refused = 1000000};
    assert_int_equal(reserve(bytes(1), options, &low), FALLOW_ERR_ADDRESS_SPACE);
}

/* --- what the system below Wine refuses -------------------------------------------------------------------- */

/* Every second page is a mapping of its own there, and vm.max_map_count of them are too many. */
static void test_mappings_run_out(void **state)
{
    (void)state;
    if (!facts.is_wine || facts.map_count_limit > 100000) {
        skip();
    }
    fallow_region wide;
    size_t page_count = (size_t)facts.map_count_limit + 1000;
    assert_int_equal(reserve(bytes(page_count), (fallow_region_options){0}, &wide), FALLOW_OK);
    fallow_status status = FALLOW_OK;
    size_t index = 0;
    for (; index < page_count && status == FALLOW_OK; index += 2) {
        status = fallow__os_commit(&wide, (char *)wide.base + bytes(index), bytes(1), &error);
    }
    fallow__os_error cause = error;
    bool is_last_accessible = probe_can_read((char *)wide.base + bytes(index - 2));
    fallow__os_left left;
    fallow_status decommit_status = fallow__os_decommit(&wide, wide.base, wide.size_bytes, &left, &error);
    assert_int_equal(fallow__os_release(&wide, &error), FALLOW_OK); /* before any assert that might want memory */
    assert_int_equal(status, FALLOW_ERR_MAP_COUNT);
    assert_string_equal(cause.limit_name, "vm.max_map_count");
    assert_int_equal(cause.limit_value, facts.map_count_limit);
    assert_false(is_last_accessible);
    assert_int_equal(decommit_status, FALLOW_OK); /* all of it at once needs no mapping more */
}

/* RLIMIT_DATA below Wine lets the first part of the range through and refuses the rest: none of it may stay accessible.
 * tests/CMakeLists.txt runs this program once under such a limit. */
static void test_commit_stops_partway(void **state)
{
    (void)state;
    fallow_region wide;
    size_t size_bytes = (size_t)1 << 30;
    size_t part_bytes = 64 * facts.page_bytes;
    assert_int_equal(reserve(size_bytes, (fallow_region_options){0}, &wide), FALLOW_OK);
    char *middle = (char *)wide.base + part_bytes; /* splits the range into mappings */
    assert_int_equal(fallow__os_commit(&wide, middle, part_bytes, &error), FALLOW_OK);
    middle[0] = 7;
    fallow_status status = fallow__os_commit(&wide, wide.base, size_bytes, &error);
    bool is_first_accessible = probe_can_read(wide.base);
    bool is_last_accessible = probe_can_read((char *)wide.base + size_bytes - 1);
    char kept = middle[0];
    assert_int_equal(fallow__os_release(&wide, &error), FALLOW_OK);
    if (status == FALLOW_OK) {
        skip();
    }
    assert_int_equal(status, facts.is_wine ? FALLOW_ERR_COMMIT : FALLOW_ERR_PERMISSION);
    assert_false(is_first_accessible);
    assert_false(is_last_accessible);
    assert_int_equal(kept, 7);
}

#define ON_REGION(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(int argument_count, char **arguments)
{
    test_begin();
    if (argument_count > 1 && strcmp(arguments[1], "windows") == 0) {
        hidden_functions[1] = "wine_get_version";
    }
    fallow__os_system(&facts);
    printf("fault_win32: %s\n", facts.os_name);
    const struct CMUnitTest tests[] = {
        ON_REGION(test_commit_refused),
        ON_REGION(test_reserve_refused),
        ON_REGION(test_access_denied),
        ON_REGION(test_decommit_refused),
        ON_REGION(test_dontneed_cannot_commit),
        ON_REGION(test_purge_refused),
        ON_REGION(test_protect_refused),
        ON_REGION(test_protect_reserved),
        ON_REGION(test_guard_refused),
        ON_REGION(test_release_refused),
        ON_REGION(test_figures_refused),
        ON_REGION(test_aligned_place_is_lost),
        ON_REGION(test_aligned_place_is_always_lost),
        ON_REGION(test_low_gap_is_lost),
        ON_REGION(test_mappings_run_out),
        ON_REGION(test_commit_stops_partway),
        ON_REGION(test_thread_refused),
        ON_REGION(test_no_slot_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
