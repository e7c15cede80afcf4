/* How a bug is stopped: the caller's with FALLOW_REQUIRE, the library's own with FALLOW_ASSERT. Sees: nothing. */
#ifndef FALLOW_CHECK_H
#define FALLOW_CHECK_H

#include <stddef.h>

/* Stop the program with "fallow: OPERATION(ADDRESS): REASON". */
#if defined(__GNUC__)
__attribute__((noreturn, cold))
#endif
void fallow__stop(const char *operation, const void *address, const char *reason);

/* A function that reads what another thread may be writing, and says why that is right. */
#if defined(__SANITIZE_THREAD__)
#define FALLOW_UNSYNCHRONISED __attribute__((noinline, no_sanitize("thread")))
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FALLOW_UNSYNCHRONISED __attribute__((noinline, no_sanitize("thread")))
#endif
#endif
#ifndef FALLOW_UNSYNCHRONISED
#define FALLOW_UNSYNCHRONISED
#endif

/* The caller's side of a contract: a bug of the program, in release builds too. */
#define FALLOW_REQUIRE(condition, operation, address, reason) \
    do {                                                      \
        if (!(condition)) {                                   \
            fallow__stop(operation, address, reason);         \
        }                                                     \
    } while (0)

/* Our side: a bug of the library. FALLOW_ASSERTS is 0 or 1, set by the build: 0 in release, 1 in every other preset. */
#ifndef FALLOW_ASSERTS
#define FALLOW_ASSERTS 0
#endif
#define FALLOW_STRING_(text) #text
#define FALLOW_STRING(text) FALLOW_STRING_(text)
#if FALLOW_ASSERTS
#define FALLOW_ASSERT(condition) \
    ((condition)                 \
         ? (void)0               \
         : fallow__stop(__FILE__ ":" FALLOW_STRING(__LINE__), NULL, "the library's books are wrong: " #condition))
#else
#define FALLOW_ASSERT(condition) ((void)0)
#endif

#endif
