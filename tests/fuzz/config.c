/* Fuzz target: options and the environment (src/config.c), and what arenas and regions make of options that may be
 * anything.
 *
 * config.c is compiled into this program, with an environment that the input gives, which is read anew for each input;
 * all else is the library on the simulated system. The input has up to 255 bytes of variables, NAME=VALUE in lines, and
 * then numbers:
 *
 *     length of the variables | variables | memory of the machine | the system | options of an arena, a run, a region
 *
 * What the variables mean is compared with a twin of each parser. Options end in a status; what is reserved and
 * committed is not more than was asked for, and gone at the end. */
#include "fuzz.h"

#define fallow__os_environment input_environment
#define fallow__os_memory_limit input_memory_limit
#include "../../src/config.c"
#undef fallow__os_environment
#undef fallow__os_memory_limit

#include <errno.h>

#include "sim_os.h"

/* --- the environment ----------------------------------------------------------------------------------------- */

enum {
    VARIABLES_BYTES = 8 << 10
};

static char variables[VARIABLES_BYTES];
static uint64_t memory_bytes;

uint64_t input_memory_limit(void)
{
    return memory_bytes;
}

/* NULL: not set. The value ends with its line. */
static const char *value_of(const char *name, size_t *length_out)
{
    size_t name_bytes = strlen(name);
    for (const char *line = variables; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        if (length > name_bytes && memcmp(line, name, name_bytes) == 0 && line[name_bytes] == '=') {
            *length_out = length - name_bytes - 1;
            return line + name_bytes + 1;
        }
        line += length + (line[length] == '\n');
    }
    return NULL;
}

int input_environment(const char *name, char *buffer_out, size_t buffer_bytes)
{
    size_t length;
    const char *value = value_of(name, &length);
    if (value == NULL || length >= buffer_bytes) {
        return -1;
    }
    memcpy(buffer_out, value, length);
    buffer_out[length] = '\0';
    return (int)length;
}

/* --- twins of the parsers -------------------------------------------------------------------------------------- */

static bool twin_size(const char *text, size_t *size_out)
{
    static const char units[] = "KMGT";
    char digits[24] = {0};
    size_t count = strspn(text, "0123456789");
    size_t zeros = strspn(text, "0");
    unsigned thousands = 0;
    if (count == 0 || count == zeros || count - zeros > 20) {
        return false;
    }
    memcpy(digits, text + zeros, count - zeros);
    if (text[count] != '\0') {
        const char upper = text[count] >= 'a' ? (char)(text[count] - 'a' + 'A') : text[count];
        const char *unit = strchr(units, upper);
        if (unit == NULL || text[count + 1] != '\0') {
            return false;
        }
        thousands = (unsigned)(unit - units) + 1;
    }
    errno = 0;
    unsigned long long value = strtoull(digits, NULL, 10);
    if (errno != 0) {
        return false;
    }
    for (unsigned i = 0; i < thousands; i++) {
        if (value > SIZE_MAX / 1024) {
            return false;
        }
        value *= 1024;
    }
    *size_out = (size_t)value;
    return value <= SIZE_MAX;
}

static bool twin_limit(const char *text, size_t *limit_out)
{
    size_t length = strlen(text);
    if (length == 0 || text[length - 1] != '%') {
        return twin_size(text, limit_out);
    }
    if (length < 2 || length > 4 || strspn(text, "0123456789") != length - 1 || memory_bytes == 0) {
        return false;
    }
    long percent = strtol(text, NULL, 10);
    if (percent < 1 || percent > 100) {
        return false;
    }
    uint64_t limit = memory_bytes / 100 * (uint64_t)percent;
    *limit_out = limit < SIZE_MAX ? (size_t)limit : SIZE_MAX;
    return true;
}

/* Its place among three words, from 1; 0 = none of them. */
static unsigned twin_word(const char *text, const char *first, const char *second, const char *third)
{
    return strcmp(text, first) == 0 ? 1 : strcmp(text, second) == 0 ? 2 : strcmp(text, third) == 0 ? 3 : 0;
}

static bool twin_debug(const char *text, fallow__config *config_out)
{
    bool is_last = false;
    while (!is_last) {
        char word[VARIABLES_BYTES];
        size_t length = 0;
        while (text[length] != '\0' && text[length] != ',') {
            word[length] = text[length];
            length++;
        }
        word[length] = '\0';
        is_last = text[length] == '\0';
        text += length + 1;
        if (strcmp(word, "check") == 0) {
            config_out->is_checking = true;
        } else if (strcmp(word, "stats") == 0) {
            config_out->is_telling = true;
        } else if (strncmp(word, "trace=", 6) == 0 && length > 6 && length < 6 + FALLOW__TRACE_PATH_BYTES) {
            strcpy(config_out->trace_path, word + 6);
        } else {
            return false;
        }
    }
    return true;
}

/* What all variables together mean. Returns the name of the first bad one, or NULL. */
static const char *twin_environment(fallow__config *twin)
{
    static const char *const names[] = {"FALLOW_MADVISE", "FALLOW_RESERVE", "FALLOW_DEBUG", "FALLOW_LIMIT",
                                        "FALLOW_SCAVENGE"};
    const char *bad = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        fallow__config next = *twin;
        char value[4096];
        unsigned word;
        bool is_good = false;
        if (input_environment(names[i], value, sizeof value) <= 0) {
            continue;
        }
        switch (i) {
        case 0:
            word = twin_word(value, "dontneed", "free", "decommit");
            next.purge = (fallow_purge)word; /* in the order of the enumeration */
            next.is_purge_from_environment = is_good = word != 0;
            break;
        case 1: next.is_reserve_from_environment = is_good = twin_size(value, &next.reserve_bytes); break;
        case 2: is_good = twin_debug(value, &next); break;
        case 3: is_good = twin_limit(value, &next.limit_bytes); break;
        default:
            word = twin_word(value, "off", "assist", "thread");
            next.scavenge = (fallow_scavenge)word;
            is_good = word != 0;
            break;
        }
        if (is_good) {
            *twin = next;
        } else if (bad == NULL) {
            bad = names[i];
        }
    }
    return bad;
}

static void check_environment(void)
{
    fallow_system system = {0};
    fallow__os_kind(&system);
    fallow__config twin = {.purge = FALLOW_PURGE_DONTNEED,
                           .scavenge = FALLOW_SCAVENGE_ASSIST,
                           .reserve_bytes = fallow__config_default_reserve(&system)};
    const char *bad = twin_environment(&twin);
    initialise();
    assert_int_equal(config.purge, twin.purge);
    assert_int_equal(config.is_purge_from_environment, twin.is_purge_from_environment);
    assert_true(config.reserve_bytes == twin.reserve_bytes);
    assert_int_equal(config.is_reserve_from_environment, twin.is_reserve_from_environment);
    assert_int_equal(config.is_checking, twin.is_checking);
    assert_int_equal(config.is_telling, twin.is_telling);
    assert_string_equal(config.trace_path, twin.trace_path);
    assert_true(config.limit_bytes == twin.limit_bytes);
    assert_int_equal(config.scavenge, twin.scavenge);
    assert_int_equal(config.environment_error[0] != '\0', bad != NULL);
    assert_true(bad == NULL || strncmp(config.environment_error, bad, strlen(bad)) == 0);
    assert_non_null(memchr(config.environment_error, '\0', sizeof config.environment_error));
    for (const char *letter = config.environment_error; *letter != '\0'; letter++) {
        assert_true(*letter >= ' ' && *letter <= '~');
    }
    fallow_system info;
    fallow_system_info(&info);
    assert_string_equal(info.environment_error, config.environment_error);
    assert_true(info.reserve_bytes != 0);

    /* No file is written, and nothing is printed, for an input. */
    config.trace_path[0] = '\0';
    config.is_telling = false;
}

/* --- options --------------------------------------------------------------------------------------------------- */

enum {
    COMMIT_BYTES_MAX = 64 << 20 /* that the system will back */
};

static char name_room[2 * FALLOW_NAME_BYTES];

/* NULL, or of any length up to twice what is allowed, of any bytes. */
static const char *name_of(fuzz_input *input)
{
    size_t length = fuzz_byte(input);
    if (length == 0) {
        return NULL;
    }
    length %= sizeof name_room;
    for (size_t i = 0; i < length; i++) {
        name_room[i] = (char)(i < 8 ? fuzz_byte(input) : 'n');
    }
    name_room[length] = '\0';
    return name_room;
}

static uint64_t grants_left;

static bool before_commit(void *context, void *base, size_t size_bytes)
{
    assert_true(context == &grants_left && base != NULL && size_bytes != 0);
    return grants_left == 0 || --grants_left != 0;
}

static void check_status(fallow_status status)
{
    assert_true(status <= FALLOW_OK && status >= FALLOW_ERR_OS);
    assert_true(strncmp(fallow_status_name(status), "FALLOW_", 7) == 0);
}

static void check_figures(fallow_arena *arena)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(arena, &s);
    assert_true(s.backed_bytes ==
                s.in_use_bytes + s.cached_bytes + s.retained_bytes + s.released_lazy_bytes + s.metadata_bytes);
    assert_true(s.committed_bytes == s.backed_bytes + s.released_zero_bytes);
    assert_true(s.reserved_bytes >= s.committed_bytes && s.reserved_bytes == sim_reserved());
    assert_true(s.large_bytes != 0 || s.committed_bytes == sim_charge()); /* a pool of large pages is charged as such */
    assert_true(s.limit_bytes == 0 || s.backed_bytes <= s.limit_bytes);
    assert_true(s.purge >= FALLOW_PURGE_DONTNEED && s.purge <= FALLOW_PURGE_DECOMMIT);
    assert_true(s.scavenge >= FALLOW_SCAVENGE_OFF && s.scavenge <= FALLOW_SCAVENGE_THREAD);
}

/* What a new arena has taken: not more than it was asked for, and its bookkeeping. */
static void check_size(fallow_arena *arena, const fallow_arena_options *options, size_t default_bytes)
{
    fallow_arena_stats s;
    fallow_arena_read_stats(arena, &s);
    size_t asked = options->reserve_bytes != 0 ? options->reserve_bytes : default_bytes;
    asked = asked < options->min_reserve_bytes ? options->min_reserve_bytes : asked;
    size_t bookkeeping = asked / 8192 + ((size_t)4 << 20); /* pages may begin on a boundary of 2 MiB */
    assert_true(s.usable_bytes != 0 && (s.usable_bytes - 1) / s.page_bytes <= (asked - 1) / s.page_bytes);
    assert_true(s.usable_bytes >= options->min_reserve_bytes);
    assert_true(s.reserved_bytes <= s.usable_bytes + bookkeeping + 2 * s.page_bytes + s.large_bytes);
    assert_true(s.committed_bytes <= asked / 8192 + ((size_t)1 << 20) + s.large_bytes);
    assert_true(s.large_bytes <= s.reserved_bytes);
}

static void use_arena(fuzz_input *input, fallow_arena *arena)
{
    fallow_run_options options = {0};
    options.align_bytes = (size_t)fuzz_number(input);
    options.flags = (uint32_t)fuzz_number(input);
    options.at = (void *)(uintptr_t)fuzz_number(input);
    size_t size_bytes = (size_t)fuzz_number(input);
    fallow_run run = {0};
    void *base = NULL;
    fallow_status status = fallow_arena_alloc_run(arena, size_bytes, &options, &run);
    check_status(status);
    assert_int_equal(status == FALLOW_OK, run.base != NULL);
    check_figures(arena);
    if (status == FALLOW_OK) {
        assert_true(run.size_bytes >= size_bytes);
        assert_true(options.align_bytes == 0 || (uintptr_t)run.base % options.align_bytes == 0);
        assert_true(options.at == NULL || run.base == options.at);
        if ((options.flags & FALLOW_RUN_UNCOMMITTED) == 0) {
            unsigned char *bytes = run.base;
            assert_true(!run.is_zero || (bytes[0] == 0 && bytes[run.size_bytes - 1] == 0));
            bytes[0] = 1;
            bytes[run.size_bytes - 1] = 1;
        }
        fallow_arena_free(arena, run.base, size_bytes);
    }
    size_bytes = (size_t)fuzz_number(input);
    status = fallow_arena_alloc(arena, size_bytes, &base);
    check_status(status);
    if (status == FALLOW_OK) {
        *(unsigned char *)base = 1;
        size_t more = (size_t)fuzz_number(input);
        fallow_status extended = fallow_arena_extend(arena, base, size_bytes, more);
        check_status(extended);
        fallow_arena_free(arena, base, extended == FALLOW_OK ? more : size_bytes);
    }
    check_status(fallow_arena_trim(arena, (size_t)fuzz_number(input), NULL));
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    check_figures(arena);
}

static void try_arena(fuzz_input *input)
{
    fallow_arena_options options = {0};
    options.flags = fuzz_byte(input);
    options.page_bytes = (size_t)fuzz_number(input);
    options.reserve_bytes = (size_t)fuzz_number(input);
    options.min_reserve_bytes = (size_t)fuzz_number(input);
    options.grow_bytes = (size_t)fuzz_number(input);
    options.limit_bytes = (size_t)fuzz_number(input);
    options.thread_cache_bytes = (size_t)fuzz_number(input);
    options.retain_percent = (unsigned)fuzz_number(input);
    options.purge_delay_ms = (unsigned)fuzz_number(input);
    options.purge = (fallow_purge)(int8_t)fuzz_byte(input);
    options.scavenge = (fallow_scavenge)(int8_t)fuzz_byte(input);
    options.name = name_of(input);
    options.callback_context = &grants_left;
    grants_left = fuzz_byte(input);
    options.before_commit = grants_left != 0 ? before_commit : NULL;
    if ((options.flags & 0x80) != 0) { /* mostly flags that there are */
        options.flags = (uint32_t)fuzz_number(input);
    }
    fallow_arena *arena = NULL;
    size_t default_bytes = fallow__config_reserve_bytes();
    fallow_status status = fallow_arena_create(&options, &arena);
    check_status(status);
    assert_int_equal(status == FALLOW_OK, arena != NULL);
    if (status != FALLOW_OK) {
        fallow_failure failure;
        assert_true(fallow_last_failure(&failure) && failure.status == status);
        assert_true(sim_reserved() == 0 && sim_charge() == 0);
        return;
    }
    check_size(arena, &options, default_bytes);
    check_figures(arena);
    use_arena(input, arena);
    fallow_arena_destroy(arena);
}

static void try_region(fuzz_input *input)
{
    fallow_region_options options = {0};
    options.align_bytes = (size_t)fuzz_number(input);
    options.hint = (void *)(uintptr_t)fuzz_number(input);
    options.min_bytes = (size_t)fuzz_number(input);
    options.flags = (uint32_t)fuzz_number(input);
    options.name = name_of(input);
    size_t size_bytes = (size_t)fuzz_number(input);
    size_t offset_bytes = (size_t)fuzz_number(input);
    size_t range_bytes = (size_t)fuzz_number(input);
    fallow_region region = {0};
    fallow_status status = fallow_region_reserve(size_bytes, &options, &region);
    check_status(status);
    assert_int_equal(status == FALLOW_OK, region.base != NULL);
    if (status != FALLOW_OK) {
        assert_true(sim_reserved() == 0);
        return;
    }
    assert_true(region.size_bytes == sim_reserved() && region.size_bytes / 2 <= size_bytes + ((size_t)4 << 20));
    assert_true(options.align_bytes == 0 || (uintptr_t)region.base % options.align_bytes == 0);
    status = fallow_region_commit(&region, offset_bytes, range_bytes);
    check_status(status);
    if (status == FALLOW_OK && range_bytes != 0) {
        assert_true(offset_bytes < region.size_bytes && range_bytes <= region.size_bytes - offset_bytes);
        ((unsigned char *)region.base)[offset_bytes + range_bytes - 1] = 1;
        check_status(fallow_region_purge(&region, offset_bytes, range_bytes, (fallow_purge)fuzz_byte(input)));
        check_status(fallow_region_decommit(&region, offset_bytes, range_bytes));
    }
    assert_int_equal(fallow_region_release(&region), FALLOW_OK);
}

static void begin_system(fuzz_input *input)
{
    uint8_t kind = fuzz_byte(input);
    sim_options options = {
        .rules = (kind & 1) != 0 ? SIM_WINDOWS : SIM_LINUX,
        .page_bytes = (size_t)4096 << (kind >> 1 & 3) * 2,
        .granularity_bytes = (kind & 1) != 0 ? 64 << 10 : 0,
        .flags = SIM_KEEP_MEMORY,
        .limits = {[SIM_LIMIT_COMMIT] = COMMIT_BYTES_MAX},
    };
    if ((kind & 8) != 0) {
        options.large_page_bytes = 2 << 20;
        options.large_page_count = 8;
    }
    if ((kind & 16) != 0) {
        options.limits[SIM_LIMIT_ADDRESSES] = 1 + fuzz_number(input) / 2;
    }
    if ((kind & 32) != 0) {
        options.flags |= SIM_NO_ADVICE | SIM_NO_LAZY_PURGE;
    }
    options.page_bytes = options.page_bytes > 64 << 10 ? 4096 : options.page_bytes;
    if (!sim_begin(&options)) {
        printf("SKIPPED: no address space for the simulated system\n");
        exit(77);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes)
{
    fuzz_input input = {bytes, size_bytes};
    size_t length = fuzz_byte(&input);
    length = length < input.left ? length : input.left;
    memcpy(variables, input.next, length);
    variables[length] = '\0';
    input.next += length;
    input.left -= length;
    if (length == 255) { /* a value that is too long for its buffer, or a path that is too long */
        memset(variables + length, 'x', VARIABLES_BYTES - 1 - length);
        variables[length + fuzz_below(&input, VARIABLES_BYTES - length)] = '\0';
    }
    memory_bytes = fuzz_number(&input);
    begin_system(&input);
    (void)fallow__config_get(); /* once and for all; from now on it is what initialise() makes of it */
    check_environment();
    try_arena(&input);
    try_region(&input);
    assert_true(sim_end());
    return 0;
}
