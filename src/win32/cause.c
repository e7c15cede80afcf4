/* Why Windows refused: GetLastError() as a fallow_status, in one switch, and the limit that was hit.
 *
 * The limit is looked up at the moment of the failure. Under Wine a call of ours can also be refused by the system
 * below it, whose reasons Wine folds into two codes. */
#include "win32.h"

#ifndef ERROR_DYNAMIC_CODE_BLOCKED
#define ERROR_DYNAMIC_CODE_BLOCKED 1655L
#endif

static fallow_status refused_commit(fallow__os_error *error)
{
    MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
    if (GlobalMemoryStatusEx(&memory)) {
        /* "for the system or the current process, whichever is smaller": a job's limit counts too.
         * Microsoft Learn, MEMORYSTATUSEX, ullTotalPageFile */
        error->limit_name = "commit limit (memory and page file)";
        error->limit_value = memory.ullTotalPageFile;
    }
    return FALLOW_ERR_COMMIT;
}

/* The mappings of this process as Wine tells them; the system below it has some more. */
static uint64_t count_mappings(void)
{
    uint64_t count = 0;
    uintptr_t address = 0;
    MEMORY_BASIC_INFORMATION mapping;
    while (fallow__win32_next(&address, &mapping)) {
        count += mapping.State != MEM_FREE;
    }
    return count;
}

/* Under Wine 8.0 whatever Linux refuses with ENOMEM is ERROR_ACCESS_DENIED where it was mprotect, and
 * ERROR_NOT_ENOUGH_MEMORY where it was mmap. vm.max_map_count can be told from in here, RLIMIT_DATA and RLIMIT_AS
 * cannot. Near the limit means at it: the system below has some hundred mappings that Wine does not tell. */
static bool is_out_of_mappings(fallow__os_error *error)
{
    uint64_t limit = fallow__win32_host_map_limit();
    if (limit == UINT64_MAX || count_mappings() < limit - limit / 16) {
        return false;
    }
    error->limit_name = "vm.max_map_count";
    error->limit_value = limit;
    return true;
}

static fallow_status refused_memory(fallow__win32_asked asked, fallow__os_error *error)
{
    if (is_out_of_mappings(error)) {
        return FALLOW_ERR_MAP_COUNT;
    }
    return asked == FALLOW__WIN32_RESERVE ? FALLOW_ERR_ADDRESS_SPACE : refused_commit(error);
}

static fallow_status refused_access(fallow__os_error *error)
{
    if (fallow__win32_later_get()->wine_version == NULL) {
        return FALLOW_ERR_PERMISSION;
    }
    return is_out_of_mappings(error) ? FALLOW_ERR_MAP_COUNT : FALLOW_ERR_COMMIT;
}

fallow_status fallow__win32_cause(fallow__win32_asked asked, fallow__os_error *error_out)
{
    DWORD code = GetLastError();
    *error_out = (fallow__os_error){.code = (int64_t)code};
    switch (code) {
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY: return refused_memory(asked, error_out);

    case ERROR_COMMITMENT_LIMIT:
    case ERROR_PAGEFILE_QUOTA:
    case ERROR_NOT_ENOUGH_QUOTA:
    case ERROR_NO_SYSTEM_RESOURCES: return refused_commit(error_out);

    /* A place that is taken, or a size that no address space has; later on, pages that are not committed. */
    case ERROR_INVALID_ADDRESS:
    case ERROR_INVALID_PARAMETER: return asked == FALLOW__WIN32_RESERVE ? FALLOW_ERR_ADDRESS_SPACE : FALLOW_ERR_INVALID;

    case ERROR_ACCESS_DENIED: return refused_access(error_out);

    case ERROR_DYNAMIC_CODE_BLOCKED:
    case ERROR_PRIVILEGE_NOT_HELD: return FALLOW_ERR_PERMISSION;

    case ERROR_WORKING_SET_QUOTA: return FALLOW_ERR_LOCKED;

    case ERROR_NOT_SUPPORTED:
    case ERROR_CALL_NOT_IMPLEMENTED: return FALLOW_ERR_UNSUPPORTED;

    default: return FALLOW_ERR_OS;
    }
}
