/* Names, messages, remedies; the record of the latest failure; the last words of a bug.
 *
 * The record is a plain value for each thread: nothing is looked up when it is read. What limit was hit is found out by
 * the OS layer at the moment of the failure, because a moment later it may look different. */
#include "status.h"

#include "os.h"

#if defined(__GNUC__)
#define FALLOW_THREAD_LOCAL _Thread_local
#else
#define FALLOW_THREAD_LOCAL __declspec(thread) /* Microsoft's compiler */
#endif

static FALLOW_THREAD_LOCAL fallow_failure last_failure; /* status FALLOW_OK: none yet */

const char *fallow_version(void)
{
    return FALLOW_VERSION;
}

const char *fallow_status_name(fallow_status status)
{
    switch (status) {
    case FALLOW_OK: return "FALLOW_OK";
    case FALLOW_ERR_INVALID: return "FALLOW_ERR_INVALID";
    case FALLOW_ERR_ADDRESS_SPACE: return "FALLOW_ERR_ADDRESS_SPACE";
    case FALLOW_ERR_COMMIT: return "FALLOW_ERR_COMMIT";
    case FALLOW_ERR_MAP_COUNT: return "FALLOW_ERR_MAP_COUNT";
    case FALLOW_ERR_LIMIT: return "FALLOW_ERR_LIMIT";
    case FALLOW_ERR_EXHAUSTED: return "FALLOW_ERR_EXHAUSTED";
    case FALLOW_ERR_LOCKED: return "FALLOW_ERR_LOCKED";
    case FALLOW_ERR_PERMISSION: return "FALLOW_ERR_PERMISSION";
    case FALLOW_ERR_UNSUPPORTED: return "FALLOW_ERR_UNSUPPORTED";
    case FALLOW_ERR_OS: return "FALLOW_ERR_OS";
    }
    return "unknown fallow_status";
}

const char *fallow_status_message(fallow_status status)
{
    switch (status) {
    case FALLOW_OK: return "It worked.";
    case FALLOW_ERR_INVALID:
        return "An argument or option is outside its range; nothing was tried: see the function's comment in fallow.h.";
    case FALLOW_ERR_ADDRESS_SPACE:
        return "There is no room in the address space: raise `ulimit -v` (RLIMIT_AS), reserve less (FALLOW_RESERVE, "
               "reserve_bytes), or ask for another place.";
    case FALLOW_ERR_COMMIT:
        return "The system will not back that much memory: raise `ulimit -d` (RLIMIT_DATA), enlarge the page file or "
               "swap, set vm.overcommit_memory, or use less.";
    case FALLOW_ERR_MAP_COUNT:
        return "The process has too many mappings: raise vm.max_map_count, or commit and decommit in larger pieces.";
    case FALLOW_ERR_LIMIT:
        return "The arena's own limit was reached: raise limit_bytes, free or trim, or let before_commit grant more.";
    case FALLOW_ERR_EXHAUSTED:
        return "No free run is long enough, or the place asked for is taken: free runs, or reserve more at the start.";
    case FALLOW_ERR_LOCKED:
        return "Locked memory is in the way: raise `ulimit -l` (RLIMIT_MEMLOCK), or do without mlock and mlockall.";
    case FALLOW_ERR_PERMISSION:
        return "The system forbids it to this program: look for a seccomp filter, a sealed range or a security policy.";
    case FALLOW_ERR_UNSUPPORTED: return "This system cannot do it: `fallow info` lists what it can.";
    case FALLOW_ERR_OS:
        return "The system refused for a reason of its own: os_code of fallow_last_failure has its error code.";
    }
    return "This is no fallow_status.";
}

bool fallow_last_failure(fallow_failure *failure_out)
{
    if (last_failure.status == FALLOW_OK) {
        return false;
    }
    *failure_out = last_failure;
    return true;
}

fallow_status fallow__fail(fallow_status status, const char *operation, const void *base, size_t size_bytes,
                           const fallow__os_error *error)
{
    last_failure = (fallow_failure){
        .status = status,
        .operation = operation,
        .base = base,
        .size_bytes = size_bytes,
    };
    if (error != NULL) {
        last_failure.os_code = error->code;
        last_failure.limit_name = error->limit_name;
        last_failure.limit_value = error->limit_value;
    }
    return status;
}

/* Append text; what does not fit is cut off, and the result always ends in a zero. */
static size_t append(char *line, size_t line_bytes, size_t length, const char *text)
{
    while (*text != '\0' && length + 1 < line_bytes) {
        line[length++] = *text++;
    }
    line[length] = '\0';
    return length;
}

/* Without stdio: it may allocate, and the program that stops here may have no memory left. */
void fallow__stop(const char *operation, const void *address, const char *reason)
{
    char line[256];
    char digits[2 * sizeof(uintptr_t) + 3];
    size_t length = append(line, sizeof line, 0, "fallow: ");
    length = append(line, sizeof line, length, operation);
    if (address != NULL) {
        uintptr_t value = (uintptr_t)address;
        size_t position = sizeof digits;
        digits[--position] = '\0';
        do {
            digits[--position] = "0123456789abcdef"[value & 15];
            value >>= 4;
        } while (value != 0);
        digits[--position] = 'x';
        digits[--position] = '0';
        length = append(line, sizeof line, length, "(");
        length = append(line, sizeof line, length, &digits[position]);
        length = append(line, sizeof line, length, ")");
    }
    length = append(line, sizeof line, length, ": ");
    append(line, sizeof line, length, reason);
    fallow__os_stop(line);
}
