/* A Wasm-like linear memory: bytes from 0 to its size, growing in place by pages of 64 KiB, with a trap beyond.
 *
 *   base                     base + size                      base + 8 GiB
 *   | readable and writable  | reserved: every access faults  |
 *   '----- grows ----------->'--------------------------------'
 *
 * An address is a 32-bit index and a 32-bit offset, so it is less than 8 GiB. Where that much is reserved, every access
 * lands in the reservation, and the processor finds those beyond the size: no comparison, no branch. Where less is
 * reserved (32 bits, Wine) an access is compared with the reservation's end first, and faults inside it as before. */
#ifndef WASM_MEMORY_H
#define WASM_MEMORY_H

#include "trap.h"

#include <fallow.h>
#include <string.h>

#define WASM_PAGE_BYTES ((size_t)64 << 10)
#define WASM_MAX_PAGES UINT32_C(65536) /* of 64 KiB: 4 GiB */

typedef struct wasm_memory {
    fallow_region region;
    uint32_t pages; /* the size, in pages of 64 KiB: these are committed */
    uint32_t max_pages;
    uint64_t guard_bytes; /* an access below this is inside the reservation; UINT64_MAX: every access is */
} wasm_memory;

/* Reserve a memory that may grow to max_pages. It reserves 8 GiB and a little, or max_pages and one page more where
 * is_small says that addresses are scarce. */
fallow_status wasm_memory_create(uint32_t pages, uint32_t max_pages, bool is_small, wasm_memory *memory_out);
void wasm_memory_destroy(wasm_memory *memory);

/* Grow by more_pages, which read zero. The size before, in pages, or -1 where that is too much or memory is short. */
int64_t wasm_memory_grow(wasm_memory *memory, uint32_t more_pages);

/* What a compiler makes of load and store instructions. */
static inline char *wasm_address(const wasm_memory *memory, uint32_t index, uint32_t offset, size_t width)
{
    const uint64_t address = (uint64_t)index + offset;
    if (address + width > memory->guard_bytes) {
        trap_raise();
    }
    return (char *)memory->region.base + address;
}

static inline uint32_t wasm_load32(const wasm_memory *memory, uint32_t index, uint32_t offset)
{
    uint32_t value;
    memcpy(&value, wasm_address(memory, index, offset, sizeof value), sizeof value);
    return value;
}

static inline void wasm_store32(const wasm_memory *memory, uint32_t index, uint32_t offset, uint32_t value)
{
    memcpy(wasm_address(memory, index, offset, sizeof value), &value, sizeof value);
}

static inline uint8_t wasm_load8(const wasm_memory *memory, uint32_t index, uint32_t offset)
{
    return *(volatile uint8_t *)wasm_address(memory, index, offset, 1);
}

static inline void wasm_store8(const wasm_memory *memory, uint32_t index, uint32_t offset, uint8_t value)
{
    *(volatile uint8_t *)wasm_address(memory, index, offset, 1) = value;
}

#endif
