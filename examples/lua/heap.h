/* A heap for one Lua state, all of it in an arena with a limit.
 *
 * Small blocks live in slabs: one page of the arena, here 16 KiB, holding blocks of one size.
 *
 *   slab   | head | block | block | ... | never used yet |      its address is a multiple of 16 KiB
 *   run    | one large block, in whole pages             |      so is its
 *
 * A block in a slab never begins at a multiple of 16 KiB, since the head stands there, so an address alone tells which
 * of the two it is. A slab whose last block is freed goes back to the arena; so does a run. When the arena refuses, at
 * its limit, the heap says NULL; Lua then collects its garbage, asks again, and raises its own "not enough memory". */
#ifndef LUA_HEAP_H
#define LUA_HEAP_H

#include <fallow.h>

#define HEAP_CLASSES 24

typedef struct lua_heap {
    fallow_arena *arena;
    struct heap_slab *with_room[HEAP_CLASSES]; /* slabs of a class that have a free block; others are in no list */
} lua_heap;

/* limit_bytes: the most memory it may hold, the arena's bookkeeping included; 0 = as much as there is. */
fallow_status heap_create(size_t limit_bytes, lua_heap *heap_out);

/* What is still in it goes with it. */
void heap_destroy(lua_heap *heap);

/* A lua_Alloc; `data` is the heap. */
void *heap_lua(void *data, void *block, size_t old_bytes, size_t new_bytes);

#endif
