/* Names, messages, and the record of the latest failure. */
#include "test.h"

#include <string.h>

#include "status.h"

static const struct {
    fallow_status status;
    const char *name;
} statuses[] = {
    {FALLOW_OK, "FALLOW_OK"},
    {FALLOW_ERR_INVALID, "FALLOW_ERR_INVALID"},
    {FALLOW_ERR_ADDRESS_SPACE, "FALLOW_ERR_ADDRESS_SPACE"},
    {FALLOW_ERR_COMMIT, "FALLOW_ERR_COMMIT"},
    {FALLOW_ERR_MAP_COUNT, "FALLOW_ERR_MAP_COUNT"},
    {FALLOW_ERR_LIMIT, "FALLOW_ERR_LIMIT"},
    {FALLOW_ERR_EXHAUSTED, "FALLOW_ERR_EXHAUSTED"},
    {FALLOW_ERR_LOCKED, "FALLOW_ERR_LOCKED"},
    {FALLOW_ERR_PERMISSION, "FALLOW_ERR_PERMISSION"},
    {FALLOW_ERR_UNSUPPORTED, "FALLOW_ERR_UNSUPPORTED"},
    {FALLOW_ERR_OS, "FALLOW_ERR_OS"},
};
enum {
    STATUS_COUNT = sizeof statuses / sizeof statuses[0]
};

/* The numbers are part of the binary interface: 0, then downwards without a gap. */
static void test_numbers(void **state)
{
    (void)state;
    for (int index = 0; index < STATUS_COUNT; index++) {
        assert_int_equal(statuses[index].status, -index);
    }
}

static void test_names(void **state)
{
    (void)state;
    for (int index = 0; index < STATUS_COUNT; index++) {
        assert_string_equal(fallow_status_name(statuses[index].status), statuses[index].name);
    }
    assert_string_equal(fallow_status_name((fallow_status)1), "unknown fallow_status");
    assert_string_equal(fallow_status_name((fallow_status)-STATUS_COUNT), "unknown fallow_status");
}

/* A sentence, and for each status another one. */
static void test_messages(void **state)
{
    (void)state;
    for (int index = 0; index <= STATUS_COUNT; index++) { /* the last is no status */
        const char *message = fallow_status_message((fallow_status)-index);
        assert_non_null(message);
        size_t length = strlen(message);
        assert_true(length > 5);
        assert_true(message[0] >= 'A' && message[0] <= 'Z');
        assert_int_equal(message[length - 1], '.');
        for (int other = 0; other < index; other++) {
            assert_string_not_equal(message, fallow_status_message((fallow_status)-other));
        }
    }
}

static void test_version(void **state)
{
    (void)state;
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", FALLOW_VERSION_MAJOR, FALLOW_VERSION_MINOR, FALLOW_VERSION_PATCH);
    assert_string_equal(FALLOW_VERSION, version);
    assert_string_equal(fallow_version(), version);
}

/* Runs first: no call of this thread has failed yet. */
static void test_no_failure_yet(void **state)
{
    (void)state;
    fallow_failure failure;
    memset(&failure, 0x5a, sizeof failure);
    fallow_failure before = failure;
    assert_false(fallow_last_failure(&failure));
    assert_memory_equal(&failure, &before, sizeof failure);
}

static void test_failure_is_recorded(void **state)
{
    (void)state;
    int place = 0;
    fallow__os_error error = {.code = 12, .limit_name = "RLIMIT_AS", .limit_value = UINT64_C(700000000)};
    assert_int_equal(fallow__fail(FALLOW_ERR_ADDRESS_SPACE, "fallow_region_reserve", &place, 4096, &error),
                     FALLOW_ERR_ADDRESS_SPACE);

    fallow_failure failure;
    for (int times = 0; times < 2; times++) { /* reading it does not clear it */
        memset(&failure, 0x5a, sizeof failure);
        assert_true(fallow_last_failure(&failure));
        assert_int_equal(failure.status, FALLOW_ERR_ADDRESS_SPACE);
        assert_string_equal(failure.operation, "fallow_region_reserve");
        assert_true(failure.os_code == 12);
        assert_ptr_equal(failure.base, &place);
        assert_true(failure.size_bytes == 4096);
        assert_string_equal(failure.limit_name, "RLIMIT_AS");
        assert_true(failure.limit_value == 700000000u);
    }

    /* The next one replaces it whole: without an os_error nothing of the old one stays. */
    assert_int_equal(fallow__fail(FALLOW_ERR_INVALID, "fallow_region_commit", NULL, 0, NULL), FALLOW_ERR_INVALID);
    assert_true(fallow_last_failure(&failure));
    assert_int_equal(failure.status, FALLOW_ERR_INVALID);
    assert_string_equal(failure.operation, "fallow_region_commit");
    assert_true(failure.os_code == 0);
    assert_null(failure.base);
    assert_true(failure.size_bytes == 0);
    assert_null(failure.limit_name);
    assert_true(failure.limit_value == 0);
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_failure_yet), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_names),          cmocka_unit_test(test_messages),
        cmocka_unit_test(test_version),        cmocka_unit_test(test_failure_is_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
