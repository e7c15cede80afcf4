#include "heap.h"

#include <assert.h>
#include <string.h>

#define SLAB_BYTES ((size_t)16 << 10)
#define HEAD_BYTES ((size_t)64) /* of a slab; a multiple of the alignment that Lua may ask for */
#define SMALL_BYTES ((size_t)2048)

typedef struct heap_slab {
    struct heap_slab *next; /* in heap.with_room; NULL at the ends, and in no list */
    struct heap_slab *previous;
    void *free_blocks; /* freed ones, each holding the address of the next */
    uint32_t size_class;
    uint32_t used;      /* blocks in use: 0 only inside a call */
    uint32_t end_bytes; /* from the slab's start: beyond it no block has been used yet */
} heap_slab;
static_assert(sizeof(heap_slab) <= HEAD_BYTES, "the head has its room");

/* --- sizes: eight classes of 16 bytes each, then four from one power of two to the next ------------------------------ */

static uint32_t class_of(size_t bytes)
{
    if (bytes <= 128) {
        return (uint32_t)((bytes + 15) / 16 - 1);
    }
    uint32_t size_class = 8;
    size_t step = 32;
    size_t class_bytes = 128 + step;
    while (class_bytes < bytes) {
        size_class++;
        step = size_class % 4 == 0 ? step * 2 : step;
        class_bytes += step;
    }
    return size_class;
}

static size_t class_bytes(uint32_t size_class)
{
    return size_class < 8 ? (size_class + 1) * (size_t)16
                          : ((size_t)128 << (size_class - 8) / 4) / 4 * (5 + size_class % 4);
}

static size_t whole_pages(size_t bytes)
{
    return (bytes + SLAB_BYTES - 1) / SLAB_BYTES * SLAB_BYTES;
}

/* --- slabs ----------------------------------------------------------------------------------------------------------- */

static bool is_full(const heap_slab *slab)
{
    return slab->free_blocks == NULL && slab->end_bytes + class_bytes(slab->size_class) > SLAB_BYTES;
}

static void list(lua_heap *heap, heap_slab *added)
{
    heap_slab **first = &heap->with_room[added->size_class];
    added->previous = NULL;
    added->next = *first;
    if (*first != NULL) {
        (*first)->previous = added;
    }
    *first = added;
}

static void unlist(lua_heap *heap, heap_slab *removed)
{
    if (removed->previous != NULL) {
        removed->previous->next = removed->next;
    } else {
        heap->with_room[removed->size_class] = removed->next;
    }
    if (removed->next != NULL) {
        removed->next->previous = removed->previous;
    }
}

static void *take_small(lua_heap *heap, size_t bytes)
{
    const uint32_t size_class = class_of(bytes);
    heap_slab *slab = heap->with_room[size_class];
    if (slab == NULL) {
        void *base;
        if (fallow_arena_alloc(heap->arena, SLAB_BYTES, &base) != FALLOW_OK) {
            return NULL;
        }
        slab = base;
        *slab = (struct heap_slab){.size_class = size_class, .end_bytes = HEAD_BYTES};
        list(heap, slab);
    }
    void *block = slab->free_blocks;
    if (block != NULL) {
        memcpy(&slab->free_blocks, block, sizeof slab->free_blocks);
    } else {
        block = (char *)slab + slab->end_bytes;
        slab->end_bytes += (uint32_t)class_bytes(size_class);
    }
    slab->used++;
    if (is_full(slab)) {
        unlist(heap, slab);
    }
    return block;
}

static heap_slab *slab_of(void *block)
{
    return (heap_slab *)((char *)block - (uintptr_t)block % SLAB_BYTES);
}

static void free_small(lua_heap *heap, void *block)
{
    heap_slab *slab = slab_of(block);
    if (is_full(slab)) {
        list(heap, slab);
    }
    memcpy(block, &slab->free_blocks, sizeof slab->free_blocks);
    slab->free_blocks = block;
    slab->used--;
    if (slab->used == 0) {
        unlist(heap, slab);
        fallow_arena_free(heap->arena, slab, SLAB_BYTES);
    }
}

/* --- blocks of either kind ------------------------------------------------------------------------------------------- */

static bool is_run(const void *block)
{
    return (uintptr_t)block % SLAB_BYTES == 0;
}

static void *take(lua_heap *heap, size_t bytes)
{
    void *run;
    if (bytes <= SMALL_BYTES) {
        return take_small(heap, bytes);
    }
    return fallow_arena_alloc(heap->arena, bytes, &run) == FALLOW_OK ? run : NULL;
}

static void give_back(lua_heap *heap, void *block, size_t bytes)
{
    if (is_run(block)) {
        fallow_arena_free(heap->arena, block, whole_pages(bytes));
    } else {
        free_small(heap, block);
    }
}

/* Stay where it is, if the block can have the new size there. */
static bool resize(lua_heap *heap, void *block, size_t old_bytes, size_t new_bytes)
{
    if (!is_run(block)) {
        return new_bytes <= SMALL_BYTES && class_of(new_bytes) == slab_of(block)->size_class;
    }
    if (new_bytes <= SMALL_BYTES) {
        return false;
    }
    const size_t old_run = whole_pages(old_bytes);
    if (new_bytes > old_run) {
        return fallow_arena_extend(heap->arena, block, old_run, new_bytes) == FALLOW_OK;
    }
    fallow_arena_shrink(heap->arena, block, old_run, new_bytes);
    return true;
}

void *heap_lua(void *data, void *block, size_t old_bytes, size_t new_bytes)
{
    lua_heap *heap = data;
    if (new_bytes == 0) {
        if (block != NULL) {
            give_back(heap, block, old_bytes);
        }
        return NULL;
    }
    if (block == NULL) {
        return take(heap, new_bytes); /* old_bytes says what Lua will make of it */
    }
    if (resize(heap, block, old_bytes, new_bytes)) {
        return block;
    }
    void *moved = take(heap, new_bytes);
    if (moved != NULL) {
        memcpy(moved, block, old_bytes < new_bytes ? old_bytes : new_bytes);
        give_back(heap, block, old_bytes);
        return moved;
    }
    if (new_bytes > old_bytes) {
        return NULL;
    }
    /* Lua takes it for granted that a block can shrink: it stays, in a larger class or as a run of one page, which is
     * what whole_pages makes of its new size later. */
    if (is_run(block)) {
        fallow_arena_shrink(heap->arena, block, whole_pages(old_bytes), new_bytes);
    }
    return block;
}

fallow_status heap_create(size_t limit_bytes, lua_heap *heap_out)
{
    const fallow_arena_options options = {
        .reserve_bytes = (size_t)1 << 30,
        .page_bytes = SLAB_BYTES,
        .limit_bytes = limit_bytes,
        .name = "lua",
    };
    lua_heap heap = {.arena = NULL};
    const fallow_status status = fallow_arena_create(&options, &heap.arena);
    if (status == FALLOW_OK) {
        *heap_out = heap;
    }
    return status;
}

void heap_destroy(lua_heap *heap)
{
    fallow_arena_destroy(heap->arena);
}
