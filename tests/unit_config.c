/* Sizes and purge modes as a person types them, defaults from facts, and the environment.
 *
 * config.c is linked with the five calls of os.h it makes, replaced here, so that every environment and every machine
 * can be had: "once" runs each time, which makes fallow__config_get() read the environment of the moment. */
#include "test.h"

#include <string.h>

#include "config.h"
#include "os.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)

/* --- the operating system, replaced ------------------------------------------------------------------------ */

static const char *madvise_value; /* NULL: not set */
static const char *reserve_value;
static const char *debug_value;
static const char *limit_value;
static const char *scavenge_value;
static uint64_t memory_limit;
static uint64_t address_space_left;
static fallow_system facts;
static int once_count;

void fallow__os_kind(fallow_system *system_out)
{
    *system_out = facts;
}

size_t fallow__os_page_bytes(void)
{
    return 4096;
}

uint64_t fallow__os_memory_limit(void)
{
    return memory_limit;
}

uint64_t fallow__os_address_space_left(void)
{
    return address_space_left;
}

int fallow__os_environment(const char *name, char *buffer_out, size_t buffer_bytes)
{
    const char *value = NULL;
    if (strcmp(name, "FALLOW_MADVISE") == 0) {
        value = madvise_value;
    } else if (strcmp(name, "FALLOW_RESERVE") == 0) {
        value = reserve_value;
    } else if (strcmp(name, "FALLOW_DEBUG") == 0) {
        value = debug_value;
    } else if (strcmp(name, "FALLOW_LIMIT") == 0) {
        value = limit_value;
    } else if (strcmp(name, "FALLOW_SCAVENGE") == 0) {
        value = scavenge_value;
    }
    if (value == NULL || strlen(value) >= buffer_bytes) {
        return -1;
    }
    strcpy(buffer_out, value);
    return (int)strlen(value);
}

void fallow__os_run_once(fallow__os_once *once, void (*initialise)(void))
{
    (void)once;
    once_count++;
    initialise();
}

static int reset(void **state)
{
    (void)state;
    madvise_value = NULL;
    reserve_value = NULL;
    debug_value = NULL;
    limit_value = NULL;
    scavenge_value = NULL;
    memory_limit = GIB;
    address_space_left = UINT64_MAX;
    facts = (fallow_system){.page_bytes = 4096, .address_space_bytes = 128 * TIB};
    return 0;
}

/* What 64 GiB come to where size_t cannot hold them. */
static uint64_t on_32_bits(uint64_t size_bytes)
{
    return size_bytes <= SIZE_MAX ? size_bytes : 256 * MIB;
}

/* --- sizes ------------------------------------------------------------------------------------------------- */

static void sizes_are_digits_and_a_letter(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t size_bytes;
    } cases[] = {
        {"1", 1},
        {"4096", 4096},
        {"0004096", 4096},
        {"1K", 1024},
        {"1k", 1024},
        {"512M", 512 * MIB},
        {"512m", 512 * MIB},
        {"3G", 3 * GIB},
        {"3g", 3 * GIB},
        {"4294967295", 4294967295u},
        {"4294967296", 4 * GIB},
        {"64G", 64 * GIB},
        {"64T", 64 * TIB},
        {"1t", TIB},
        {"16777215T", 16777215 * TIB},
        {"18446744073709551615", UINT64_MAX},
        {"18014398509481983K", 18014398509481983u * 1024},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size_bytes = 77;
        bool fits = cases[i].size_bytes <= SIZE_MAX;
        assert_int_equal(fallow__config_parse_size(cases[i].text, &size_bytes), fits);
        assert_true(size_bytes == (fits ? cases[i].size_bytes : 77));
    }
}

static void other_sizes_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "0",
        "0K",
        "00",
        "K",
        "G",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1\n",
        "1 K",
        "1KB",
        "1KiB",
        "1KK",
        "1B",
        "1P",
        "1E",
        "1.5G",
        "1,5G",
        "0x10",
        "1e3",
        "12three",
        "64G\n",
        "G64",
        "\3771",
        "18446744073709551616",
        "18446744073709551615K",
        "18014398509481984K",
        "16777216T",
        "17179869184G",
        "17592186044416M",
        "99999999999999999999999999999999999999",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size_bytes = 77;
        if (fallow__config_parse_size(cases[i], &size_bytes)) {
            fail_msg("\"%s\" was taken for a size", cases[i]);
        }
        assert_int_equal(size_bytes, 77);
    }
}

static void purges_are_three_words(void **state)
{
    (void)state;
    fallow_purge purge = FALLOW_PURGE_DEFAULT;
    assert_true(fallow__config_parse_purge("dontneed", &purge));
    assert_int_equal(purge, FALLOW_PURGE_DONTNEED);
    assert_true(fallow__config_parse_purge("free", &purge));
    assert_int_equal(purge, FALLOW_PURGE_FREE);
    assert_true(fallow__config_parse_purge("decommit", &purge));
    assert_int_equal(purge, FALLOW_PURGE_DECOMMIT);

    static const char *const others[] = {"", "default", "DONTNEED", "Free", "free ", " free", "fre", "freed", "0", "1"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(fallow__config_parse_purge(others[i], &purge));
        assert_int_equal(purge, FALLOW_PURGE_DECOMMIT);
    }
}

static void debug_is_a_list_of_words(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_checking;
        bool is_telling;
        const char *trace_path;
    } good[] = {
        {"check", true, false, ""},
        {"check,check", true, false, ""},
        {"stats", false, true, ""},
        {"stats,check", true, true, ""},
        {"trace=a", false, false, "a"},
        {"trace=/tmp/a b=c.trace,stats", false, true, "/tmp/a b=c.trace"},
        {"check,trace=x,trace=y-%p", true, false, "y-%p"},
    };
    static fallow__config read;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(fallow__config_parse_debug(good[i].text, &read));
        assert_int_equal(read.is_checking, good[i].is_checking);
        assert_int_equal(read.is_telling, good[i].is_telling);
        assert_string_equal(read.trace_path, good[i].trace_path);
    }
    static const char *const bad[] = {"",
                                      "chec",
                                      "checks",
                                      "CHECK",
                                      "check ",
                                      " check",
                                      "1",
                                      "check,",
                                      ",check",
                                      "check,,check",
                                      "check,trace",
                                      "trace,check",
                                      "check;check",
                                      "trace=",
                                      "trace=,check",
                                      "stat",
                                      "stats=1",
                                      "Trace=x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        read = (fallow__config){.trace_path = "as before"};
        if (fallow__config_parse_debug(bad[i], &read)) {
            fail_msg("\"%s\" was taken for FALLOW_DEBUG", bad[i]);
        }
        assert_false(read.is_checking || read.is_telling);
        assert_string_equal(read.trace_path, "as before");
    }
    static char path[FALLOW__TRACE_PATH_BYTES + 16] = "trace=";
    memset(path + 6, 'x', FALLOW__TRACE_PATH_BYTES - 1);
    assert_true(fallow__config_parse_debug(path, &read));
    assert_int_equal(strlen(read.trace_path), FALLOW__TRACE_PATH_BYTES - 1);
    path[6 + FALLOW__TRACE_PATH_BYTES - 1] = 'x';
    assert_false(fallow__config_parse_debug(path, &read));
}

static void limits_are_sizes_or_percent(void **state)
{
    (void)state;
    size_t limit = 77;
    assert_true(fallow__config_parse_limit("512M", 0, &limit));
    assert_true(limit == 512 * MIB);
    assert_true(fallow__config_parse_limit("50%", 200 * MIB, &limit));
    assert_true(limit == 100 * MIB);
    assert_true(fallow__config_parse_limit("1%", 100 * MIB, &limit));
    assert_true(limit == MIB);
    assert_true(fallow__config_parse_limit("100%", 3 * TIB, &limit));
    assert_true(limit == (3 * TIB <= SIZE_MAX ? 3 * TIB / 100 * 100 : SIZE_MAX));
    limit = 77;
    static const char *const others[] = {"",     "%",   "0%",  "101%", "1000%", "99999999999999999999%",
                                         "5K%",  "-5%", "5 %", "%5",   "50%%",  "1.5%",
                                         "half", "0"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (fallow__config_parse_limit(others[i], GIB, &limit)) {
            fail_msg("\"%s\" was taken for a limit", others[i]);
        }
        assert_int_equal(limit, 77);
    }
    assert_false(fallow__config_parse_limit("50%", 0, &limit)); /* of what? */
    assert_int_equal(limit, 77);
}

static void scavenging_is_three_words(void **state)
{
    (void)state;
    fallow_scavenge scavenge = FALLOW_SCAVENGE_DEFAULT;
    assert_true(fallow__config_parse_scavenge("off", &scavenge));
    assert_int_equal(scavenge, FALLOW_SCAVENGE_OFF);
    assert_true(fallow__config_parse_scavenge("thread", &scavenge));
    assert_int_equal(scavenge, FALLOW_SCAVENGE_THREAD);
    assert_true(fallow__config_parse_scavenge("assist", &scavenge));
    assert_int_equal(scavenge, FALLOW_SCAVENGE_ASSIST);
    static const char *const others[] = {"", "on", "Off", "thread ", " off", "assis", "default", "0"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(fallow__config_parse_scavenge(others[i], &scavenge));
        assert_int_equal(scavenge, FALLOW_SCAVENGE_ASSIST);
    }
}

/* --- defaults ---------------------------------------------------------------------------------------------- */

static void default_reserve_follows_the_system(void **state)
{
    (void)state;
    fallow_system system = {.address_space_bytes = 128 * TIB};
    assert_true(fallow__config_default_reserve(&system) == on_32_bits(64 * GIB));
    system.address_space_bytes = 4 * GIB + 4096;
    assert_true(fallow__config_default_reserve(&system) == on_32_bits(64 * GIB));
    system.address_space_bytes = 0; /* not told */
    assert_true(fallow__config_default_reserve(&system) == on_32_bits(64 * GIB));

    system.address_space_bytes = 128 * TIB;
    system.is_wine = true;
    assert_true(fallow__config_default_reserve(&system) == on_32_bits(4 * GIB));
    system.is_emulated = true;
    assert_true(fallow__config_default_reserve(&system) == on_32_bits(4 * GIB));
    system.is_wine = false;
    assert_true(fallow__config_default_reserve(&system) == on_32_bits(4 * GIB));

    system.address_space_bytes = 4 * GIB;
    assert_true(fallow__config_default_reserve(&system) == 256 * MIB);
    system.is_emulated = false;
    assert_true(fallow__config_default_reserve(&system) == 256 * MIB);
    system.address_space_bytes = 2 * GIB;
    assert_true(fallow__config_default_reserve(&system) == 256 * MIB);
}

static void default_reserve_leaves_room(void **state)
{
    (void)state;
    facts.is_wine = true; /* 4 GiB, or 256 MiB on 32 bits */
    uint64_t whole = on_32_bits(4 * GIB);
    assert_true(fallow__config_reserve_bytes() == whole);
    address_space_left = 2 * whole;
    assert_true(fallow__config_reserve_bytes() == whole);
    address_space_left = 2 * whole - 1;
    assert_true(fallow__config_reserve_bytes() == whole / 2);
    address_space_left = whole;
    assert_true(fallow__config_reserve_bytes() == whole / 2);
    address_space_left = 6000 * 1024;
    assert_true(fallow__config_reserve_bytes() == 2 * MIB);
    address_space_left = 4096;
    assert_true(fallow__config_reserve_bytes() == 4096);
    address_space_left = 0;
    assert_true(fallow__config_reserve_bytes() == 4096);
    address_space_left = UINT64_MAX - 1;
    assert_true(fallow__config_reserve_bytes() == whole);
}

static void a_reserve_from_the_environment_leaves_room_too(void **state)
{
    (void)state;
    reserve_value = "3000M"; /* need not be a power of two itself */
    assert_true(fallow__config_reserve_bytes() == 3000 * MIB);
    address_space_left = 6000 * MIB;
    assert_true(fallow__config_reserve_bytes() == 3000 * MIB);
    address_space_left = 6000 * MIB - 1;
    assert_true(fallow__config_reserve_bytes() == 2 * GIB);
    assert_true(fallow__config_get()->reserve_bytes == 3000 * MIB);
}

/* --- environment ------------------------------------------------------------------------------------------- */

static void without_environment(void **state)
{
    (void)state;
    int before = once_count;
    const fallow__config *config = fallow__config_get();
    assert_non_null(config);
    assert_int_equal(once_count, before + 1);
    assert_int_equal(config->purge, FALLOW_PURGE_DONTNEED);
    assert_false(config->is_purge_from_environment);
    assert_true(config->reserve_bytes == on_32_bits(64 * GIB));
    assert_false(config->is_reserve_from_environment);
    assert_string_equal(config->environment_error, "");
}

static void good_environment(void **state)
{
    (void)state;
    madvise_value = "decommit";
    reserve_value = "96M";
    const fallow__config *config = fallow__config_get();
    assert_int_equal(config->purge, FALLOW_PURGE_DECOMMIT);
    assert_true(config->is_purge_from_environment);
    assert_true(config->reserve_bytes == 96 * MIB);
    assert_true(config->is_reserve_from_environment);
    assert_string_equal(config->environment_error, "");
}

static void checking_from_the_environment(void **state)
{
    (void)state;
    assert_false(fallow__config_get()->is_checking);
    debug_value = "check";
    assert_true(fallow__config_get()->is_checking);
    assert_string_equal(fallow__config_get()->environment_error, "");
    debug_value = "";
    assert_false(fallow__config_get()->is_checking);
    assert_string_equal(fallow__config_get()->environment_error, "");
    debug_value = "check,everything";
    assert_false(fallow__config_get()->is_checking);
    assert_string_equal(fallow__config_get()->environment_error,
                        "FALLOW_DEBUG=check,everything is none of check, stats, trace=FILE");
}

static void limit_and_scavenging_from_the_environment(void **state)
{
    (void)state;
    assert_int_equal(fallow__config_get()->limit_bytes, 0);
    assert_int_equal(fallow__config_get()->scavenge, FALLOW_SCAVENGE_ASSIST);
    limit_value = "25%";
    scavenge_value = "thread";
    assert_true(fallow__config_get()->limit_bytes == GIB / 100 * 25);
    assert_int_equal(fallow__config_get()->scavenge, FALLOW_SCAVENGE_THREAD);
    limit_value = "64M";
    scavenge_value = "off";
    assert_true(fallow__config_get()->limit_bytes == 64 * MIB);
    assert_int_equal(fallow__config_get()->scavenge, FALLOW_SCAVENGE_OFF);
    assert_string_equal(fallow__config_get()->environment_error, "");
    limit_value = "much";
    scavenge_value = "never";
    assert_int_equal(fallow__config_get()->limit_bytes, 0);
    assert_int_equal(fallow__config_get()->scavenge, FALLOW_SCAVENGE_ASSIST);
    assert_non_null(strstr(fallow__config_get()->environment_error, "FALLOW_LIMIT=much is no size"));
    assert_non_null(strstr(fallow__config_get()->environment_error, "FALLOW_SCAVENGE=never is none of"));
    memory_limit = 0;
    limit_value = "25%";
    assert_int_equal(fallow__config_get()->limit_bytes, 0);
}

static void set_to_nothing_is_not_set(void **state)
{
    (void)state;
    madvise_value = "";
    reserve_value = "";
    const fallow__config *config = fallow__config_get();
    assert_int_equal(config->purge, FALLOW_PURGE_DONTNEED);
    assert_false(config->is_purge_from_environment);
    assert_false(config->is_reserve_from_environment);
    assert_string_equal(config->environment_error, "");
}

static void bad_environment_has_no_effect_and_is_told(void **state)
{
    (void)state;
    madvise_value = "always";
    reserve_value = "96M";
    const fallow__config *config = fallow__config_get();
    assert_int_equal(config->purge, FALLOW_PURGE_DONTNEED);
    assert_false(config->is_purge_from_environment);
    assert_true(config->reserve_bytes == 96 * MIB);
    assert_string_equal(config->environment_error, "FALLOW_MADVISE=always is none of dontneed, free, decommit");

    madvise_value = "free";
    reserve_value = "lots";
    config = fallow__config_get();
    assert_int_equal(config->purge, FALLOW_PURGE_FREE);
    assert_true(config->reserve_bytes == on_32_bits(64 * GIB));
    assert_false(config->is_reserve_from_environment);
    assert_string_equal(config->environment_error, "FALLOW_RESERVE=lots is no size such as 64G or 512M");
}

static void two_bad_values_are_both_told(void **state)
{
    (void)state;
    madvise_value = "a value that is much longer than anyone would type, and goes on and on";
    reserve_value = "another that is much longer than anyone would type, \x1b[31mand in red";
    const fallow__config *config = fallow__config_get();
    assert_string_equal(config->environment_error,
                        "FALLOW_MADVISE=a value that is much lon... is none of dontneed, free, decommit; "
                        "FALLOW_RESERVE=another that is much lon... is no size such as 64G or 512M");
    reserve_value = "\x1b[31m\x7f\xc3\xa4\n";
    madvise_value = NULL;
    config = fallow__config_get();
    assert_string_equal(config->environment_error, "FALLOW_RESERVE=?[31m???? is no size such as 64G or 512M");
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_digits_and_a_letter),
        cmocka_unit_test(other_sizes_are_refused),
        cmocka_unit_test(purges_are_three_words),
        cmocka_unit_test(debug_is_a_list_of_words),
        cmocka_unit_test(limits_are_sizes_or_percent),
        cmocka_unit_test(scavenging_is_three_words),
        cmocka_unit_test_setup(limit_and_scavenging_from_the_environment, reset),
        cmocka_unit_test_setup(default_reserve_follows_the_system, reset),
        cmocka_unit_test_setup(default_reserve_leaves_room, reset),
        cmocka_unit_test_setup(a_reserve_from_the_environment_leaves_room_too, reset),
        cmocka_unit_test_setup(without_environment, reset),
        cmocka_unit_test_setup(good_environment, reset),
        cmocka_unit_test_setup(checking_from_the_environment, reset),
        cmocka_unit_test_setup(set_to_nothing_is_not_set, reset),
        cmocka_unit_test_setup(bad_environment_has_no_effect_and_is_told, reset),
        cmocka_unit_test_setup(two_bad_values_are_both_told, reset),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
