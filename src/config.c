/* What is in force: built-in defaults, corrected by what the system is, overruled by the environment.
 *
 * The environment is read once, when first needed, so that a program sees one answer for the whole of its life. Room in
 * the address space is looked at each time: it shrinks as the program grows. An option given in code never comes here;
 * it wins by not asking. */
#include "config.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "bits.h"
#include "os.h"
#include "tools.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* valgrind's massif counts addresses, too, if it is asked to. An arena that needs more adds reservations. */
#define RESERVE_IN_VALGRIND ((size_t)(16 * MIB))

/* How much of a bad value is quoted: two messages with their quotations fit in environment_error; more are cut. */
#define QUOTED_BYTES 24

static fallow__os_once once;
static fallow__config config;

bool fallow__config_parse_size(const char *text, size_t *size_out)
{
    uint64_t value = 0;
    const char *next = text;
    for (; *next >= '0' && *next <= '9'; next++) {
        unsigned digit = (unsigned)(*next - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    if (next == text || value == 0) {
        return false;
    }
    unsigned shift = 0;
    switch (*next) {
    case '\0': break;
    case 'K':
    case 'k': shift = 10; break;
    case 'M':
    case 'm': shift = 20; break;
    case 'G':
    case 'g': shift = 30; break;
    case 'T':
    case 't': shift = 40; break;
    default: return false;
    }
    if (shift != 0 && next[1] != '\0') {
        return false;
    }
    if (value > (uint64_t)SIZE_MAX >> shift) {
        return false;
    }
    *size_out = (size_t)(value << shift);
    return true;
}

bool fallow__config_parse_purge(const char *text, fallow_purge *purge_out)
{
    if (strcmp(text, "dontneed") == 0) {
        *purge_out = FALLOW_PURGE_DONTNEED;
    } else if (strcmp(text, "free") == 0) {
        *purge_out = FALLOW_PURGE_FREE;
    } else if (strcmp(text, "decommit") == 0) {
        *purge_out = FALLOW_PURGE_DECOMMIT;
    } else {
        return false;
    }
    return true;
}

bool fallow__config_parse_debug(const char *text, fallow__config *config_inout)
{
    static const char trace[] = "trace=";
    const size_t trace_bytes = sizeof trace - 1;
    bool is_checking = false;
    bool is_telling = false;
    const char *path = "";
    size_t path_bytes = 0;
    for (;; text++) {
        size_t length = strcspn(text, ",");
        if (length == 5 && memcmp(text, "check", length) == 0) {
            is_checking = true;
        } else if (length == 5 && memcmp(text, "stats", length) == 0) {
            is_telling = true;
        } else if (length > trace_bytes && memcmp(text, trace, trace_bytes) == 0 &&
                   length - trace_bytes < FALLOW__TRACE_PATH_BYTES) {
            path = text + trace_bytes;
            path_bytes = length - trace_bytes;
        } else {
            return false;
        }
        text += length;
        if (*text == '\0') {
            break;
        }
    }
    config_inout->is_checking = is_checking;
    config_inout->is_telling = is_telling;
    memcpy(config_inout->trace_path, path, path_bytes);
    config_inout->trace_path[path_bytes] = '\0';
    return true;
}

bool fallow__config_parse_scavenge(const char *text, fallow_scavenge *scavenge_out)
{
    if (strcmp(text, "off") == 0) {
        *scavenge_out = FALLOW_SCAVENGE_OFF;
    } else if (strcmp(text, "assist") == 0) {
        *scavenge_out = FALLOW_SCAVENGE_ASSIST;
    } else if (strcmp(text, "thread") == 0) {
        *scavenge_out = FALLOW_SCAVENGE_THREAD;
    } else {
        return false;
    }
    return true;
}

bool fallow__config_parse_limit(const char *text, uint64_t memory_bytes, size_t *limit_out)
{
    size_t length = strlen(text);
    char digits[4];
    size_t percent;
    if (length == 0 || text[length - 1] != '%') {
        return fallow__config_parse_size(text, limit_out);
    }
    if (length > sizeof digits || memory_bytes == 0) {
        return false;
    }
    memcpy(digits, text, length - 1);
    digits[length - 1] = '\0';
    if (!fallow__config_parse_size(digits, &percent) || percent > 100) {
        return false;
    }
    uint64_t limit = memory_bytes / 100 * percent;
    *limit_out = limit < SIZE_MAX ? (size_t)limit : SIZE_MAX;
    return true;
}

size_t fallow__config_default_reserve(const fallow_system *system)
{
    /* A system that does not tell how wide its addresses are has what a pointer can hold. */
    uint64_t address_space = system->address_space_bytes != 0 ? system->address_space_bytes : SIZE_MAX;
    uint64_t reserve = 64 * GIB;
    if (system->is_wine || system->is_emulated) {
        reserve = 4 * GIB; /* reserving costs there: Wine and qemu keep a byte or more for each page */
    }
    if (address_space <= 4 * GIB || reserve > SIZE_MAX) {
        reserve = 256 * MIB;
    }
    return (size_t)reserve;
}

/* Add what is wrong with a variable to environment_error. What a terminal would not show is quoted as '?'. */
static void report(const char *name, const char *value, const char *complaint)
{
    char quoted[QUOTED_BYTES + 1];
    size_t length = 0;
    for (; length < QUOTED_BYTES && value[length] != '\0'; length++) {
        quoted[length] = value[length] >= ' ' && value[length] <= '~' ? value[length] : '?';
    }
    quoted[length] = '\0';
    size_t used = strlen(config.environment_error);
    snprintf(config.environment_error + used, sizeof config.environment_error - used, "%s%s=%s%s %s",
             used > 0 ? "; " : "", name, quoted, value[length] != '\0' ? "..." : "", complaint);
}

/* Get a variable. One that is set to nothing counts as not set, since Windows cannot tell the two apart. */
static bool get_environment(const char *name, char *value_out, size_t value_bytes)
{
    return fallow__os_environment(name, value_out, value_bytes) > 0;
}

static void initialise(void)
{
    fallow_system system = {0};
    fallow__os_kind(&system);
    config = (fallow__config){
        .purge = FALLOW_PURGE_DONTNEED,
        .reserve_bytes = fallow__tools_is_valgrind() ? RESERVE_IN_VALGRIND : fallow__config_default_reserve(&system),
        .scavenge = FALLOW_SCAVENGE_ASSIST,
    };
    char value[4 * KIB];
    if (get_environment("FALLOW_MADVISE", value, sizeof value)) {
        config.is_purge_from_environment = fallow__config_parse_purge(value, &config.purge);
        if (!config.is_purge_from_environment) {
            report("FALLOW_MADVISE", value, "is none of dontneed, free, decommit");
        }
    }
    if (get_environment("FALLOW_RESERVE", value, sizeof value)) {
        config.is_reserve_from_environment = fallow__config_parse_size(value, &config.reserve_bytes);
        if (!config.is_reserve_from_environment) {
            report("FALLOW_RESERVE", value, "is no size such as 64G or 512M");
        }
    }
    if (get_environment("FALLOW_DEBUG", value, sizeof value) && !fallow__config_parse_debug(value, &config)) {
        report("FALLOW_DEBUG", value, "is none of check, stats, trace=FILE");
    }
    if (get_environment("FALLOW_LIMIT", value, sizeof value)) {
        uint64_t memory_bytes = strchr(value, '%') != NULL ? fallow__os_memory_limit() : 0;
        if (!fallow__config_parse_limit(value, memory_bytes, &config.limit_bytes)) {
            report("FALLOW_LIMIT", value, "is no size such as 512M or 50%");
        }
    }
    if (get_environment("FALLOW_SCAVENGE", value, sizeof value)) {
        if (!fallow__config_parse_scavenge(value, &config.scavenge)) {
            report("FALLOW_SCAVENGE", value, "is none of off, assist, thread");
        }
    }
}

const fallow__config *fallow__config_get(void)
{
    fallow__os_run_once(&once, initialise);
    return &config;
}

size_t fallow__config_reserve_bytes(void)
{
    size_t configured = fallow__config_get()->reserve_bytes;
    uint64_t left = fallow__os_address_space_left();
    if (left == UINT64_MAX || configured <= left / 2) {
        return configured;
    }
    /* Not more than half of what is left: the program's own heap, stacks and libraries need addresses too. One page at
     * least, so that the answer is a size that can be asked for; the system will say that it is too much. */
    uint64_t page_bytes = fallow__os_page_bytes();
    uint64_t half = left / 2 >= page_bytes ? left / 2 : page_bytes;
    return (size_t)((uint64_t)1 << fallow__highest_bit(half));
}
