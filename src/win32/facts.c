/* What Windows tells of itself and of this process.
 *
 * Figures of the process come from one walk with VirtualQuery, so that they are about one thing: virtual is every
 * address that is not free, committed is private memory that can be written. Windows' own counters differ between
 * systems: under Wine 8.0 PrivateUsage is 0 and PagefileUsage follows touched memory. */
#include "win32.h"

#include <string.h>

/* --- found once -------------------------------------------------------------------------------------------- */

static SYSTEM_INFO basics;
static fallow__win32_later later;
static char version_name[64]; /* fits fallow_system.os_name */
static bool is_reset_lazy;
static fallow__os_once once;

typedef void (*any_function)(void);

static any_function find_function(const char *module_name, const char *function_name)
{
    HMODULE module = GetModuleHandleA(module_name); /* both modules are in every process */
    return module == NULL ? NULL : (any_function)GetProcAddress(module, function_name);
}

static void find_later(void)
{
    typedef const char *(CDECL * wine_get_version)(void);
    wine_get_version get_wine_version = (wine_get_version)find_function("ntdll.dll", "wine_get_version");
    later.alloc2 = (fallow__win32_alloc2)find_function("kernelbase.dll", "VirtualAlloc2");
    later.is_shutdown = (fallow__win32_shutdown)find_function("ntdll.dll", "RtlDllShutdownInProgress");
    later.notify = (fallow__win32_notify)find_function("kernel32.dll", "CreateMemoryResourceNotification");
    later.wine_version = get_wine_version == NULL ? NULL : get_wine_version();
}

static size_t append(size_t length, const char *text)
{
    while (*text != '\0' && length + 1 < sizeof version_name) {
        version_name[length++] = *text++;
    }
    return length;
}

static size_t append_number(size_t length, DWORD number)
{
    char digits[11];
    size_t position = sizeof digits;
    digits[--position] = '\0';
    do {
        digits[--position] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    return append(length, &digits[position]);
}

/* "Windows 6.1.7601 (Wine 8.0)". GetVersionEx would tell what the program's manifest says it knows. */
static void find_version_name(void)
{
    typedef LONG(WINAPI * rtl_get_version)(OSVERSIONINFOW *);
    rtl_get_version get_version = (rtl_get_version)find_function("ntdll.dll", "RtlGetVersion");
    OSVERSIONINFOW version = {.dwOSVersionInfoSize = sizeof version};
    size_t length = append(0, "Windows");
    if (get_version != NULL && get_version(&version) >= 0) {
        length = append_number(append(length, " "), version.dwMajorVersion);
        length = append_number(append(length, "."), version.dwMinorVersion);
        length = append_number(append(length, "."), version.dwBuildNumber);
    }
    if (later.wine_version != NULL) {
        (void)append(append(append(length, " (Wine "), later.wine_version), ")");
    }
}

/* Windows leaves the bytes for a while; Wine 8.0 drops them at once. */
static void probe_reset(void)
{
    size_t page_bytes = basics.dwPageSize;
    volatile char *page = VirtualAlloc(NULL, page_bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (page == NULL) {
        return;
    }
    page[0] = 1;
    is_reset_lazy = VirtualAlloc((void *)page, page_bytes, MEM_RESET, PAGE_READWRITE) != NULL && page[0] == 1;
    (void)VirtualFree((void *)page, 0, MEM_RELEASE);
}

static void find_all(void)
{
    GetSystemInfo(&basics);
    find_later();
    find_version_name();
    probe_reset();
}

const SYSTEM_INFO *fallow__win32_basics(void)
{
    fallow__os_run_once(&once, find_all);
    return &basics;
}

const fallow__win32_later *fallow__win32_later_get(void)
{
    fallow__os_run_once(&once, find_all);
    return &later;
}

/* --- the system -------------------------------------------------------------------------------------------- */

size_t fallow__os_page_bytes(void)
{
    return fallow__win32_basics()->dwPageSize;
}

static bool read_host_file(const char *path, char *text_out, DWORD text_bytes)
{
    HANDLE file = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        return false;
    }
    DWORD read_bytes = 0;
    bool is_read = ReadFile(file, text_out, text_bytes - 1, &read_bytes, NULL);
    text_out[read_bytes] = '\0';
    (void)CloseHandle(file);
    return is_read;
}

/* Wine shows the files of the system below it under \\?\unix. */
uint64_t fallow__win32_host_map_limit(void)
{
    if (fallow__win32_later_get()->wine_version == NULL) {
        return UINT64_MAX;
    }
    char text[24];
    uint64_t limit = 0;
    if (read_host_file("\\\\?\\unix\\proc\\sys\\vm\\max_map_count", text, sizeof text)) {
        for (const char *digit = text; *digit >= '0' && *digit <= '9'; digit++) {
            limit = limit * 10 + (uint64_t)(*digit - '0');
        }
    }
    return limit != 0 ? limit : 65530; /* Linux' own default: DEFAULT_MAX_MAP_COUNT, include/linux/mm.h */
}

/* A job can have less than the machine: all its processes together, or each of them. */
uint64_t fallow__os_memory_limit(void)
{
    MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION job;
    uint64_t least = GlobalMemoryStatusEx(&memory) ? memory.ullTotalPhys : 0;
    if (!QueryInformationJobObject(NULL, JobObjectExtendedLimitInformation, &job, sizeof job, NULL)) {
        return least;
    }
    DWORD flags = job.BasicLimitInformation.LimitFlags;
    if ((flags & JOB_OBJECT_LIMIT_JOB_MEMORY) != 0 && job.JobMemoryLimit < least) {
        least = job.JobMemoryLimit;
    }
    if ((flags & JOB_OBJECT_LIMIT_PROCESS_MEMORY) != 0 && job.ProcessMemoryLimit < least) {
        least = job.ProcessMemoryLimit;
    }
    return least;
}

static void fill_memory(fallow_system *system)
{
    MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
    if (GlobalMemoryStatusEx(&memory)) {
        system->memory_bytes = memory.ullTotalPhys;
    }
    PERFORMANCE_INFORMATION performance;
    if (K32GetPerformanceInfo(&performance, sizeof performance)) {
        system->commit_limit = (uint64_t)performance.CommitLimit * performance.PageSize;
        system->committed_bytes = (uint64_t)performance.CommitTotal * performance.PageSize;
    }
}

void fallow__os_kind(fallow_system *system_out)
{
    const SYSTEM_INFO *found = fallow__win32_basics();
    *system_out = (fallow_system){
        .page_bytes = found->dwPageSize,
        .granularity_bytes = found->dwAllocationGranularity,
        .address_space_bytes = (uint64_t)(uintptr_t)found->lpMaximumApplicationAddress + 1,
        .is_wine = fallow__win32_later_get()->wine_version != NULL,
    };
}

/* large_page_bytes stays 0: FALLOW_REGION_LARGE_PAGES is not offered here. Large pages on Windows are locked in memory,
 * cannot be decommitted piece by piece and need SeLockMemoryPrivilege. */
void fallow__os_system(fallow_system *system_out)
{
    fallow__os_kind(system_out);
    system_out->address_space_limit = UINT64_MAX;
    system_out->data_limit = UINT64_MAX;
    system_out->locked_limit = UINT64_MAX;
    system_out->commit_limit = UINT64_MAX;
    system_out->map_count_limit = fallow__win32_host_map_limit();
    system_out->overcommit_mode = -1;
    system_out->has_lazy_purge = is_reset_lazy;
    system_out->has_guard_install = !system_out->is_wine; /* a decommitted page costs Windows nothing, Wine a mapping */
    memcpy(system_out->os_name, version_name, sizeof system_out->os_name);
    fill_memory(system_out);
}

/* Windows has no such limit. */
uint64_t fallow__os_address_space_left(void)
{
    return UINT64_MAX;
}

/* --- this process ------------------------------------------------------------------------------------------ */

bool fallow__win32_next(uintptr_t *address, MEMORY_BASIC_INFORMATION *mapping_out)
{
    if (VirtualQuery((void *)*address, mapping_out, sizeof *mapping_out) == 0) {
        return false;
    }
    uintptr_t behind = (uintptr_t)mapping_out->BaseAddress + mapping_out->RegionSize;
    if (behind <= *address) {
        return false; /* around the end of a 32-bit address space */
    }
    *address = behind;
    return true;
}

static bool is_writable_private(const MEMORY_BASIC_INFORMATION *mapping)
{
    const DWORD writable = PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
    return mapping->State == MEM_COMMIT && mapping->Type == MEM_PRIVATE && (mapping->Protect & writable) != 0 &&
           (mapping->Protect & PAGE_GUARD) == 0;
}

fallow_status fallow__os_process(fallow_process *process_out, fallow__os_error *error_out)
{
    PROCESS_MEMORY_COUNTERS counters;
    if (!K32GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters)) {
        return fallow__win32_cause(FALLOW__WIN32_CHANGE, error_out);
    }
    fallow_process process = {
        .resident_bytes = counters.WorkingSetSize,
        .peak_resident_bytes = counters.PeakWorkingSetSize,
    };
    uintptr_t address = 0;
    MEMORY_BASIC_INFORMATION mapping;
    while (fallow__win32_next(&address, &mapping)) {
        if (mapping.State != MEM_FREE) {
            process.virtual_bytes += mapping.RegionSize;
            process.map_count++;
            process.committed_bytes += is_writable_private(&mapping) ? mapping.RegionSize : 0;
        }
    }
    *process_out = process;
    return FALLOW_OK;
}
