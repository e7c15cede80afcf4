/* Storage for a page allocator under test, guarded.
 *
 * It is exactly as large as the plan says and aligned to 64 bytes and no more, between red zones. A block that has not
 * been made accessible is full of garbage: a write there is found when the block is opened or the storage checked, a
 * read of it answers nonsense, and under AddressSanitizer both stop the test at once. */
#ifndef FALLOW_TEST_PAGES_STORE_H
#define FALLOW_TEST_PAGES_STORE_H

#include "test.h"

#include <string.h>

#include "pages.h"

#if defined(__SANITIZE_ADDRESS__)
#define STORE_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STORE_HAS_ASAN 1
#endif
#endif
#ifndef STORE_HAS_ASAN
#define STORE_HAS_ASAN 0
#endif

#if STORE_HAS_ASAN
#include <sanitizer/asan_interface.h>
#define STORE_FORBID(base, size_bytes) __asan_poison_memory_region(base, size_bytes)
#define STORE_ALLOW(base, size_bytes) __asan_unpoison_memory_region(base, size_bytes)
#else
#define STORE_FORBID(base, size_bytes) ((void)(base), (void)(size_bytes))
#define STORE_ALLOW(base, size_bytes) ((void)(base), (void)(size_bytes))
#endif

#define STORE_RED_BYTES 4096
#define STORE_RED 0xC5
#define STORE_CLOSED 0xA5

typedef struct test_store {
    fallow__pages pages;
    fallow__pages_plan plan;
    unsigned char *room; /* red zone, upper, red zone, blocks, red zone */
    unsigned char *upper;
    unsigned char *blocks;
    unsigned char *is_open; /* one byte for each block */
} test_store;

static inline bool store_is_filled(const unsigned char *bytes, size_t size_bytes, unsigned char value)
{
    return size_bytes == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, size_bytes - 1) == 0);
}

static inline void store_check_room(const unsigned char *bytes, size_t size_bytes, unsigned char value,
                                    const char *what)
{
    STORE_ALLOW(bytes, size_bytes);
    if (!store_is_filled(bytes, size_bytes, value)) {
        fail_msg("written %s", what);
    }
    STORE_FORBID(bytes, size_bytes);
}

/* The blocks of a range become accessible, and zero if they were not before. */
static inline void store_open(test_store *store, uint64_t first, uint64_t count)
{
    uint64_t last = (first + count - 1) / FALLOW__BLOCK_PAGES;
    for (uint64_t block = first / FALLOW__BLOCK_PAGES; block <= last; block++) {
        if (!store->is_open[block]) {
            unsigned char *bytes = store->blocks + (size_t)block * store->plan.block_bytes;
            store_check_room(bytes, store->plan.block_bytes, STORE_CLOSED, "to a block that is not accessible");
            STORE_ALLOW(bytes, store->plan.block_bytes);
            memset(bytes, 0, store->plan.block_bytes);
            store->is_open[block] = 1;
        }
    }
}

static inline test_store *store_create(uint64_t page_count, size_t os_page_bytes)
{
    test_store *result = calloc(1, sizeof *result);
    assert_non_null(result);
    fallow__pages_plan_for(page_count, os_page_bytes, &result->plan);
    size_t blocks_bytes = (size_t)result->plan.block_count * result->plan.block_bytes;
    size_t upper_room = (result->plan.upper_bytes + 63) / 64 * 64;
    size_t room_bytes = 3 * STORE_RED_BYTES + upper_room + blocks_bytes + 256;
    result->room = malloc(room_bytes);
    result->is_open = calloc((size_t)result->plan.block_count, 1);
    assert_non_null(result->room);
    assert_non_null(result->is_open);

    /* 64 above a multiple of 128: aligned as promised and not better */
    unsigned char *base = result->room + (128 - (uintptr_t)result->room % 128) + 64;
    result->upper = base + STORE_RED_BYTES;
    result->blocks = result->upper + upper_room + STORE_RED_BYTES;
    memset(base, STORE_RED, STORE_RED_BYTES);
    memset(result->upper, 0, result->plan.upper_bytes);
    memset(result->upper + result->plan.upper_bytes, STORE_RED,
           upper_room - result->plan.upper_bytes + STORE_RED_BYTES);
    memset(result->blocks, STORE_CLOSED, blocks_bytes);
    memset(result->blocks + blocks_bytes, STORE_RED, STORE_RED_BYTES);
    STORE_FORBID(base, STORE_RED_BYTES);
    STORE_FORBID(result->upper + result->plan.upper_bytes, upper_room - result->plan.upper_bytes + STORE_RED_BYTES);
    STORE_FORBID(result->blocks, blocks_bytes + STORE_RED_BYTES);

    if (page_count % FALLOW__BLOCK_PAGES != 0) {
        store_open(result, page_count - 1, 1);
    }
    fallow__pages_init(&result->pages, &result->plan, result->upper, result->blocks);
    return result;
}

/* Nothing outside of what is accessible has been written. */
static inline void store_check(test_store *store)
{
    size_t blocks_bytes = (size_t)store->plan.block_count * store->plan.block_bytes;
    size_t upper_end = (size_t)(store->blocks - store->upper) - store->plan.upper_bytes;
    store_check_room(store->upper - STORE_RED_BYTES, STORE_RED_BYTES, STORE_RED, "before upper");
    store_check_room(store->upper + store->plan.upper_bytes, upper_end, STORE_RED, "behind upper");
    store_check_room(store->blocks + blocks_bytes, STORE_RED_BYTES, STORE_RED, "behind the blocks");
    for (uint64_t block = 0; block < store->plan.block_count; block++) {
        if (!store->is_open[block]) {
            store_check_room(store->blocks + (size_t)block * store->plan.block_bytes, store->plan.block_bytes,
                             STORE_CLOSED, "to a block that is not accessible");
        }
    }
}

static inline void store_destroy(test_store *store)
{
    store_check(store);
    size_t blocks_bytes = (size_t)store->plan.block_count * store->plan.block_bytes;
    unsigned char *end = store->blocks + blocks_bytes + STORE_RED_BYTES;
    STORE_ALLOW(store->room, (size_t)(end - store->room));
    free(store->room);
    free(store->is_open);
    free(store);
}

#endif
