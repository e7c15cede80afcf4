/* One-word arithmetic against slow twins that count bit by bit. */
#include "test.h"

#include "bits.h"

enum {
    RANDOM_ROUNDS = 20000
};

static unsigned slow_count(uint64_t value)
{
    unsigned count = 0;
    for (unsigned bit = 0; bit < 64; bit++) {
        count += (unsigned)(value >> bit & 1);
    }
    return count;
}

static unsigned slow_lowest(uint64_t value)
{
    unsigned bit = 0;
    while ((value >> bit & 1) == 0) {
        bit++;
    }
    return bit;
}

static unsigned slow_highest(uint64_t value)
{
    unsigned bit = 63;
    while ((value >> bit & 1) == 0) {
        bit--;
    }
    return bit;
}

static void check_word(uint64_t value)
{
    assert_int_equal(fallow__count_bits(value), slow_count(value));
    assert_int_equal(fallow__is_power_of_two(value), slow_count(value) == 1);
    if (value != 0) {
        assert_int_equal(fallow__lowest_bit(value), slow_lowest(value));
        assert_int_equal(fallow__highest_bit(value), slow_highest(value));
    }
}

/* Each bit alone, its neighbours, and all below it. */
static void test_single_bits(void **state)
{
    (void)state;
    check_word(0);
    check_word(UINT64_MAX);
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t value = UINT64_C(1) << bit;
        check_word(value);
        check_word(value - 1);
        check_word(value + 1);
        check_word(~value);
        check_word(0 - value);
    }
}

/* Sparse, even and dense words. */
static void test_random_words(void **state)
{
    (void)state;
    test_random random = test_seed("unit_bits words");
    for (int round = 0; round < RANDOM_ROUNDS; round++) {
        uint64_t one = test_next(&random);
        uint64_t two = test_next(&random);
        check_word(one);
        check_word(one & two);
        check_word(one | two);
        check_word(one >> (two & 63));
    }
}

/* Every mask there is. */
static void test_masks(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 64; first++) {
        for (unsigned count = 1; first + count <= 64; count++) {
            uint64_t expected = 0;
            for (unsigned bit = first; bit < first + count; bit++) {
                expected |= UINT64_C(1) << bit;
            }
            assert_true(fallow__mask(first, count) == expected);
        }
    }
}

/* Bytes of all kinds against all limits; their highest bit does not count. */
static void test_bytes_at_most(void **state)
{
    (void)state;
    test_random random = test_seed("unit_bits bytes");
    for (int round = 0; round < 200; round++) {
        _Alignas(64) unsigned char bytes[64];
        for (unsigned i = 0; i < 64; i++) {
            bytes[i] = (unsigned char)(test_next(&random) & (round % 2 == 0 ? 0xff : 0xc3));
        }
        for (unsigned most = 0; most < 128; most++) {
            uint64_t expected = 0;
            for (unsigned i = 0; i < 64; i++) {
                expected |= (uint64_t)((bytes[i] & 0x7f) <= most) << i;
            }
            assert_true(fallow__bytes_at_most(bytes, most) == expected);
        }
    }
}

static void test_rounding(void **state)
{
    (void)state;
    test_random random = test_seed("unit_bits rounding");
    for (unsigned shift = 0; shift < 63; shift++) {
        uint64_t align = UINT64_C(1) << shift;
        for (int round = 0; round < 100; round++) {
            uint64_t value = test_next(&random) >> (1 + test_below(&random, 63)); /* below 2^63: up cannot overflow */
            assert_true(fallow__align_down(value, align) == value / align * align);
            assert_true(fallow__align_up(value, align) == (value / align + (value % align != 0)) * align);
        }
        assert_true(fallow__align_up(0, align) == 0);
        assert_true(fallow__align_up(1, align) == align);
        assert_true(fallow__align_up(align, align) == align);
        assert_true(fallow__align_down(align, align) == align);
        assert_true(fallow__align_down(align - 1, align) == 0);
    }
}

/* The last size that still rounds, and the first that does not. */
static void test_rounding_checked(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < sizeof(size_t) * 8; shift++) {
        size_t align = (size_t)1 << shift;
        size_t largest = SIZE_MAX - (align - 1);
        size_t aligned = 7;
        assert_true(fallow__align_up_checked(largest, align, &aligned));
        assert_true(aligned == largest);
        if (shift > 0) {
            aligned = 7;
            assert_false(fallow__align_up_checked(largest + 1, align, &aligned));
            assert_false(fallow__align_up_checked(SIZE_MAX, align, &aligned));
            assert_true(aligned == 7); /* written on success only */
        }
        assert_true(fallow__align_up_checked(0, align, &aligned));
        assert_true(aligned == 0);
        assert_true(fallow__align_up_checked(1, align, &aligned));
        assert_true(aligned == align);
    }
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_bits), cmocka_unit_test(test_random_words),
        cmocka_unit_test(test_masks),       cmocka_unit_test(test_bytes_at_most),
        cmocka_unit_test(test_rounding),    cmocka_unit_test(test_rounding_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
