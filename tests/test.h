/* What every test program includes first: cmocka and its prerequisites, a seeded random source, unbuffered output.
 *
 * A test program begins its main with test_begin(); a crash would lose buffered output under Wine. A random test takes
 * its seed from test_seed(), which prints it; FALLOW_TEST_SEED=N runs the same again. */
#ifndef FALLOW_TEST_H
#define FALLOW_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

/* A function of ours that takes a format like printf's; MinGW has two printfs. */
#if defined(__MINGW_PRINTF_FORMAT)
#define TEST_FORMAT(format_at, values_at) __attribute__((format(__MINGW_PRINTF_FORMAT, format_at, values_at)))
#else
#define TEST_FORMAT(format_at, values_at) __attribute__((format(printf, format_at, values_at)))
#endif

static inline void test_begin(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    setvbuf(stderr, NULL, _IONBF, 0);
}

/* A child that leaves by _exit or by a signal writes down itself what it reached, where that is counted: the preset
 * coverage. Elsewhere there is no such function. */
#if defined(__GNUC__) && !defined(_WIN32)
void __gcov_dump(void) __attribute__((weak));
#endif

static inline void test_write_down_reached(void)
{
#if defined(__GNUC__) && !defined(_WIN32)
    if (__gcov_dump != NULL) {
        __gcov_dump();
    }
#endif
}

typedef struct test_random {
    uint64_t state;
} test_random;

static inline uint64_t test_next(test_random *random)
{
    /* splitmix64: every seed is a good one, 0 included */
    uint64_t value = (random->state += 0x9e3779b97f4a7c15u);
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

/* 0 to below - 1; below is not 0. */
static inline uint64_t test_below(test_random *random, uint64_t below)
{
    return test_next(random) % below;
}

static inline test_random test_seed(const char *test_name)
{
    const char *given = getenv("FALLOW_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003u + (uint64_t)clock();
    printf("%s: FALLOW_TEST_SEED=%llu\n", test_name, (unsigned long long)seed);
    return (test_random){seed};
}

#endif
