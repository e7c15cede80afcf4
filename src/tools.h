/* What is asked of the tools that watch a program's memory: AddressSanitizer and LeakSanitizer, where the library
 * itself is compiled with them; valgrind, where its header was there at build time and the program runs in it.
 * Addresses and sizes only: what is told when is in watch.c. Elsewhere all of this is empty.
 *
 *   hidden   whoever reads or writes there is stopped: free pages
 *   shown    as memory is without a tool
 *   block    an allocation with the stack of who made it: a live run. valgrind only: ASan has none but malloc's
 *   root     memory in which pointers are looked for. ASan only: valgrind looks everywhere by itself */
#ifndef FALLOW_TOOLS_H
#define FALLOW_TOOLS_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FALLOW__HAS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(FALLOW__HAS_ASAN)
#define FALLOW__HAS_ASAN 1
#endif

/* FALLOW_UNWATCHED: for a system that is made up, and writes to what it has given back. */
#if defined(FALLOW_UNWATCHED)
#define FALLOW__TOOLS_ASAN 0
#define FALLOW__TOOLS_VALGRIND 0
#elif defined(FALLOW__HAS_ASAN)
#define FALLOW__TOOLS_ASAN 1
#define FALLOW__TOOLS_VALGRIND 0
#else
#define FALLOW__TOOLS_ASAN 0
#if defined(FALLOW_HAS_VALGRIND)
#define FALLOW__TOOLS_VALGRIND 1
#else
#define FALLOW__TOOLS_VALGRIND 0
#endif
#endif

#if FALLOW__TOOLS_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif
#if FALLOW__TOOLS_VALGRIND
#include <valgrind/memcheck.h>
#endif

static inline bool fallow__tools_is_valgrind(void)
{
#if FALLOW__TOOLS_VALGRIND
    return RUNNING_ON_VALGRIND != 0;
#else
    return false;
#endif
}

/* Does anyone listen? Asked once for each arena. */
static inline bool fallow__tools_listen(void)
{
    return FALLOW__TOOLS_ASAN || fallow__tools_is_valgrind();
}

static inline void fallow__tools_hide(const void *base, size_t size_bytes)
{
    (void)base;
    (void)size_bytes;
#if FALLOW__TOOLS_ASAN
    __asan_poison_memory_region(base, size_bytes);
#elif FALLOW__TOOLS_VALGRIND
    (void)VALGRIND_MAKE_MEM_NOACCESS(base, size_bytes);
#endif
}

/* A block of valgrind's is shown by itself. */
static inline void fallow__tools_show(const void *base, size_t size_bytes)
{
    (void)base;
    (void)size_bytes;
#if FALLOW__TOOLS_ASAN
    __asan_unpoison_memory_region(base, size_bytes);
#endif
}

/* `is_defined`: what is in there may be read before it is written. */
static inline void fallow__tools_block(const void *base, size_t size_bytes, bool is_defined)
{
    (void)base;
    (void)size_bytes;
    (void)is_defined;
#if FALLOW__TOOLS_VALGRIND
    VALGRIND_MALLOCLIKE_BLOCK(base, size_bytes, 0, is_defined);
#endif
}

static inline void fallow__tools_unblock(const void *base)
{
    (void)base;
#if FALLOW__TOOLS_VALGRIND
    VALGRIND_FREELIKE_BLOCK(base, 0);
#endif
}

static inline void fallow__tools_resize_block(const void *base, size_t old_bytes, size_t new_bytes)
{
    (void)base;
    (void)old_bytes;
    (void)new_bytes;
#if FALLOW__TOOLS_VALGRIND
    VALGRIND_RESIZEINPLACE_BLOCK(base, old_bytes, new_bytes, 0);
#endif
}

static inline void fallow__tools_root(const void *base, size_t size_bytes, bool is_there)
{
    (void)base;
    (void)size_bytes;
    (void)is_there;
#if FALLOW__TOOLS_ASAN
    if (is_there) {
        __lsan_register_root_region(base, size_bytes);
    } else {
        __lsan_unregister_root_region(base, size_bytes);
    }
#endif
}

#endif
