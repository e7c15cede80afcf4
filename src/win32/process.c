/* Seeing a process on Windows: VirtualQueryEx tells its mappings, the working set what of them is in memory.
 *
 * A stack is an allocation with a guard page: below that its addresses are only reserved, above that it is used. */
#include "win32.h"

#include <string.h>

uint64_t fallow__os_process_id(void)
{
    return GetCurrentProcessId();
}

/* NULL with GetLastError(). This process is its pseudo handle: Wine 8.0 tells more about that. */
static HANDLE open_process(uint64_t process_id, DWORD rights)
{
    if (process_id == fallow__os_process_id()) {
        return GetCurrentProcess();
    }
    if (process_id > UINT32_MAX) {
        SetLastError(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    return OpenProcess(rights, FALSE, (DWORD)process_id);
}

static fallow_status refusal(fallow__os_error *error_out)
{
    DWORD code = GetLastError();
    *error_out = (fallow__os_error){.code = code};
    switch (code) {
    case ERROR_INVALID_PARAMETER: return FALLOW_ERR_INVALID;
    case ERROR_ACCESS_DENIED: return FALLOW_ERR_PERMISSION;
    default: return FALLOW_ERR_OS;
    }
}

/* --- mappings ------------------------------------------------------------------------------------------------ */

enum {
    PAGES_AT_ONCE = 256 /* of which is asked whether they are in memory: 4 KiB of stack */
};

/* false where the system does not tell. Wine 8.0 answers about another process that nothing is there. */
static bool resident_in(HANDLE process, uint64_t first, uint64_t size_bytes, uint64_t *resident_out)
{
    PSAPI_WORKING_SET_EX_INFORMATION pages[PAGES_AT_ONCE];
    const size_t page_bytes = fallow__os_page_bytes();
    uint64_t resident_bytes = 0;
    uint64_t page_count = size_bytes / page_bytes;
    if (process != GetCurrentProcess() && fallow__win32_later_get()->wine_version != NULL) {
        return false;
    }
    for (uint64_t page = 0; page < page_count;) {
        DWORD count = 0;
        for (; count < PAGES_AT_ONCE && page < page_count; count++, page++) {
            pages[count].VirtualAddress = (void *)(uintptr_t)(first + page * page_bytes);
        }
        if (!K32QueryWorkingSetEx(process, pages, (DWORD)(count * sizeof pages[0]))) {
            return false;
        }
        for (DWORD i = 0; i < count; i++) {
            resident_bytes += pages[i].VirtualAttributes.Valid ? page_bytes : 0;
        }
    }
    *resident_out = resident_bytes;
    return true;
}

/* "\Device\HarddiskVolume3\Windows\System32\ntdll.dll"; what does not fit keeps its beginning. */
static void read_file_name(HANDLE process, const MEMORY_BASIC_INFORMATION *found, fallow__os_mapping *mapping)
{
    char name[MAX_PATH];
    DWORD length = K32GetMappedFileNameA(process, found->BaseAddress, name, sizeof name);
    if (length == 0 || length >= sizeof name) {
        return;
    }
    size_t kept = length < sizeof mapping->name ? length : sizeof mapping->name - 1;
    memcpy(mapping->name, name, kept);
    mapping->name[kept] = '\0';
}

static void read_protection(DWORD protection, fallow__os_mapping *mapping)
{
    const DWORD readable = PAGE_READONLY | PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READ |
                           PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
    const DWORD writable = PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
    const DWORD executable = PAGE_EXECUTE | PAGE_EXECUTE_READ | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
    if ((protection & PAGE_GUARD) == 0) {
        mapping->is_readable = (protection & readable) != 0;
        mapping->is_writable = (protection & writable) != 0;
        mapping->is_executable = (protection & executable) != 0;
    }
}

/* *stack_base is the allocation in which a guard page was seen last. */
static void describe(HANDLE process, const MEMORY_BASIC_INFORMATION *found, void **stack_base,
                     fallow__os_mapping *mapping_out)
{
    uint64_t first = (uintptr_t)found->BaseAddress;
    fallow__os_mapping mapping = {.first = first, .end = first + found->RegionSize};
    bool is_committed = found->State == MEM_COMMIT;
    mapping.is_private = found->Type == MEM_PRIVATE;
    if (is_committed) {
        read_protection(found->Protect, &mapping);
        mapping.committed_bytes = mapping.is_private && mapping.is_writable ? found->RegionSize : 0;
        mapping.has_resident = resident_in(process, first, found->RegionSize, &mapping.resident_bytes);
    }
    if (is_committed && (found->Protect & PAGE_GUARD) != 0 && mapping.is_private) {
        *stack_base = found->AllocationBase;
    }
    if (found->Type == MEM_IMAGE || found->Type == MEM_MAPPED) {
        read_file_name(process, found, &mapping);
    }
    if (!is_committed) {
        mapping.kind = FALLOW__OS_RESERVED;
    } else if (found->Type == MEM_IMAGE || mapping.name[0] != '\0') {
        mapping.kind = FALLOW__OS_FILE;
    } else if (found->Type == MEM_MAPPED) {
        mapping.kind = FALLOW__OS_SHARED;
    } else {
        mapping.kind = *stack_base == found->AllocationBase ? FALLOW__OS_STACK : FALLOW__OS_PRIVATE;
    }
    *mapping_out = mapping;
}

fallow_status fallow__os_mappings(uint64_t process_id, fallow__os_visitor visit, void *context,
                                  fallow__os_error *error_out)
{
    HANDLE process = open_process(process_id, PROCESS_QUERY_INFORMATION | PROCESS_VM_READ);
    if (process == NULL) {
        return refusal(error_out);
    }
    MEMORY_BASIC_INFORMATION found;
    fallow__os_mapping mapping;
    uintptr_t address = 0;
    void *stack_base = NULL;
    bool is_going_on = true;
    bool is_any = false;
    while (is_going_on && VirtualQueryEx(process, (void *)address, &found, sizeof found) != 0) {
        uintptr_t behind = (uintptr_t)found.BaseAddress + found.RegionSize;
        is_any = true;
        if (found.State != MEM_FREE) {
            describe(process, &found, &stack_base, &mapping);
            is_going_on = visit(context, &mapping);
        }
        if (behind <= address) {
            break; /* around the end of a 32-bit address space */
        }
        address = behind;
    }
    fallow_status status = is_any ? FALLOW_OK : refusal(error_out);
    (void)CloseHandle(process);
    return status;
}

bool fallow__os_peek(uint64_t process_id, uint64_t address, void *bytes_out, size_t size_bytes)
{
    HANDLE process = open_process(process_id, PROCESS_VM_READ);
    SIZE_T got = 0;
    if (process == NULL) {
        return false;
    }
    bool is_read =
        ReadProcessMemory(process, (const void *)(uintptr_t)address, bytes_out, size_bytes, &got) && got == size_bytes;
    (void)CloseHandle(process);
    return is_read;
}

/* --- figures ------------------------------------------------------------------------------------------------- */

/* The last part of the program's path. */
static void read_program(HANDLE process, fallow__os_figures *figures)
{
    char path[MAX_PATH];
    DWORD length = sizeof path;
    if (!QueryFullProcessImageNameA(process, 0, path, &length)) {
        return;
    }
    const char *name = path;
    for (const char *letter = path; *letter != '\0'; letter++) {
        name = *letter == '\\' ? letter + 1 : name;
    }
    size_t kept = strlen(name) < sizeof figures->program ? strlen(name) : sizeof figures->program - 1;
    memcpy(figures->program, name, kept);
}

fallow_status fallow__os_figures_of(uint64_t process_id, fallow__os_figures *figures_out, fallow__os_error *error_out)
{
    HANDLE process = open_process(process_id, PROCESS_QUERY_LIMITED_INFORMATION);
    PROCESS_MEMORY_COUNTERS counters;
    fallow__os_figures figures = {0};
    if (process == NULL) {
        return refusal(error_out);
    }
    if (!K32GetProcessMemoryInfo(process, &counters, sizeof counters)) {
        fallow_status status = refusal(error_out);
        (void)CloseHandle(process);
        return status;
    }
    read_program(process, &figures);
    figures.resident_bytes = counters.WorkingSetSize;
    figures.peak_resident_bytes = counters.PeakWorkingSetSize;
    (void)CloseHandle(process);
    *figures_out = figures;
    return FALLOW_OK;
}

/* --- limits -------------------------------------------------------------------------------------------------- */

/* A job that this program is in; another program's cannot be asked for. */
static bool read_job_limit(fallow__os_limit *limit_out)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION job;
    if (!QueryInformationJobObject(NULL, JobObjectExtendedLimitInformation, &job, sizeof job, NULL) ||
        (job.BasicLimitInformation.LimitFlags & JOB_OBJECT_LIMIT_PROCESS_MEMORY) == 0) {
        return false;
    }
    *limit_out = (fallow__os_limit){
        .name = "ProcessMemoryLimit",
        .what = "committed by this process, of its job",
        .limit = job.ProcessMemoryLimit,
        .used = UINT64_MAX,
    };
    return true;
}

size_t fallow__os_limits(uint64_t process_id, const fallow__os_figures *figures, uint64_t map_count,
                         fallow__os_limit limits_out[FALLOW__OS_LIMITS_MAX])
{
    size_t count = 0;
    PERFORMANCE_INFORMATION performance;
    (void)figures;
    if (K32GetPerformanceInfo(&performance, sizeof performance)) {
        limits_out[count++] = (fallow__os_limit){
            .name = "commit limit",
            .what = "committed by all programs: memory and page file",
            .limit = (uint64_t)performance.CommitLimit * performance.PageSize,
            .used = (uint64_t)performance.CommitTotal * performance.PageSize,
            .is_of_all = true,
        };
    }
    if (fallow__win32_host_map_limit() != UINT64_MAX) {
        limits_out[count++] = (fallow__os_limit){
            .name = "vm.max_map_count",
            .what = "mappings, as the system below Wine counts them, which may be more",
            .limit = fallow__win32_host_map_limit(),
            .used = map_count,
            .is_mappings = true,
        };
    }
    count += process_id == GetCurrentProcessId() && read_job_limit(&limits_out[count]);
    return count;
}
