/* How a failure is recorded and how a bug is stopped. Sees: fallow.h, os.h. */
#ifndef FALLOW_STATUS_H
#define FALLOW_STATUS_H

#include "os.h"

/* Record a failure for fallow_last_failure() and return its status: `return fallow__fail(...)`. `error` is optional. */
fallow_status fallow__fail(fallow_status status, const char *operation, const void *base, size_t size_bytes,
                           const fallow__os_error *error);

/* Stop the program with "fallow: OPERATION(ADDRESS): REASON". */
#if defined(__GNUC__)
__attribute__((noreturn, cold))
#endif
void fallow__stop(const char *operation, const void *address, const char *reason);

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
