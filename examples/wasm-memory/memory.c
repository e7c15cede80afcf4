#include "memory.h"

#define FULL_BYTES ((UINT64_C(8) << 30) + WASM_PAGE_BYTES) /* 2^32 - 1 + 2^32 - 1 + the width of the widest access */

fallow_status wasm_memory_create(uint32_t pages, uint32_t max_pages, bool is_small, wasm_memory *memory_out)
{
    if (pages > max_pages || max_pages > WASM_MAX_PAGES || (!is_small && FULL_BYTES > SIZE_MAX)) {
        return FALLOW_ERR_INVALID;
    }
    const uint64_t size_bytes = is_small ? ((uint64_t)max_pages + 1) * WASM_PAGE_BYTES : FULL_BYTES;
    if (size_bytes > SIZE_MAX) {
        return FALLOW_ERR_INVALID;
    }
    wasm_memory memory = {.max_pages = max_pages, .guard_bytes = is_small ? size_bytes : UINT64_MAX};
    const fallow_region_options options = {.name = "wasm memory", .flags = FALLOW_REGION_NO_DUMP};
    fallow_status status = fallow_region_reserve((size_t)size_bytes, &options, &memory.region);
    if (status != FALLOW_OK) {
        return status;
    }
    status = fallow_region_commit(&memory.region, 0, pages * WASM_PAGE_BYTES);
    if (status != FALLOW_OK) {
        wasm_memory_destroy(&memory);
        return status;
    }
    memory.pages = pages;
    *memory_out = memory;
    return FALLOW_OK;
}

void wasm_memory_destroy(wasm_memory *memory)
{
    /* Refused only where the process has no mapping left to spare: then it is still there, and may be destroyed later. */
    if (fallow_region_release(&memory->region) == FALLOW_OK) {
        memory->pages = 0;
    }
}

int64_t wasm_memory_grow(wasm_memory *memory, uint32_t more_pages)
{
    const uint32_t before = memory->pages;
    if (more_pages > memory->max_pages - before ||
        fallow_region_commit(&memory->region, before * WASM_PAGE_BYTES, more_pages * WASM_PAGE_BYTES) != FALLOW_OK) {
        return -1;
    }
    memory->pages += more_pages;
    return before;
}
