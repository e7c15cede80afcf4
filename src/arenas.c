#include "arenas.h"

#include <string.h>

#include "os.h"

typedef struct entry {
    fallow_arena *arena; /* NULL: free */
    const char *name;
    uint64_t id; /* 1 for the first arena of the program, never used again */
    uint64_t process_id;
    bool is_inherited;
} entry;

/* All of it under the lock. The entries in use are the first ones, in the order of their ids. */
static fallow__os_once lock_once;
static fallow__os_lock list_lock;
static entry entries[FALLOW__ARENAS_LISTED];
static size_t entry_count;
static uint64_t last_id;
static uint64_t unlisted_count; /* of process_of_unlisted */
static uint64_t process_of_unlisted;

static void make_lock(void)
{
    fallow__os_lock_init(&list_lock);
}

static void list_acquire(void)
{
    fallow__os_run_once(&lock_once, make_lock);
    fallow__os_lock_acquire(&list_lock);
}

static size_t index_of(const fallow_arena *arena)
{
    size_t index = 0;
    while (index < entry_count && entries[index].arena != arena) {
        index++;
    }
    return index;
}

static void entry_remove(size_t index)
{
    entry_count--;
    memmove(&entries[index], &entries[index + 1], (entry_count - index) * sizeof entries[0]);
}

static bool is_here(const entry *e, uint64_t process_id)
{
    return e->is_inherited || e->process_id == process_id;
}

/* Entries of arenas that stayed behind in the process that this one was forked from. */
static void forget_others(uint64_t process_id)
{
    for (size_t index = entry_count; index-- > 0;) {
        if (!is_here(&entries[index], process_id)) {
            entry_remove(index);
        }
    }
}

void fallow__arenas_enter(fallow_arena *arena, const char *name, bool is_inherited)
{
    uint64_t process_id = fallow__os_process_id();
    list_acquire();
    if (process_of_unlisted != process_id) {
        process_of_unlisted = process_id;
        unlisted_count = 0;
    }
    if (entry_count == FALLOW__ARENAS_LISTED) {
        forget_others(process_id);
    }
    size_t stale = index_of(arena); /* its memory went without fallow_arena_destroy, and was given out again */
    if (stale < entry_count) {
        entry_remove(stale);
    }
    last_id++;
    if (entry_count < FALLOW__ARENAS_LISTED) {
        entries[entry_count++] = (entry){arena, name, last_id, process_id, is_inherited};
    } else {
        unlisted_count++;
    }
    fallow__os_lock_release(&list_lock);
}

void fallow__arenas_leave(fallow_arena *arena)
{
    list_acquire();
    size_t index = index_of(arena);
    if (index < entry_count) {
        entry_remove(index);
    } else if (unlisted_count > 0 && process_of_unlisted == fallow__os_process_id()) {
        unlisted_count--;
    }
    fallow__os_lock_release(&list_lock);
}

void fallow__arenas_visit(fallow__arenas_visitor visit, void *context)
{
    uint64_t process_id = fallow__os_process_id();
    bool is_going_on = true;
    list_acquire();
    for (size_t index = 0; index < entry_count && is_going_on; index++) {
        const entry *e = &entries[index];
        if (is_here(e, process_id)) {
            is_going_on = visit(context, e->arena, e->name, e->id);
        }
    }
    fallow__os_lock_release(&list_lock);
}

uint64_t fallow__arenas_unlisted(void)
{
    uint64_t process_id = fallow__os_process_id();
    list_acquire();
    uint64_t count = process_of_unlisted == process_id ? unlisted_count : 0;
    fallow__os_lock_release(&list_lock);
    return count;
}

/* --- marks ------------------------------------------------------------------------------------------------- */

static const char mark_magic[16] = "fallow arena 1";

void fallow__mark_set(fallow__mark *mark, const fallow_region *region)
{
    *mark = (fallow__mark){
        .own_address = (uintptr_t)mark,
        .region_first = (uintptr_t)region->base,
        .region_bytes = region->size_bytes,
    };
    memcpy(mark->name, region->name, sizeof mark->name);
    memcpy(mark->magic, mark_magic, sizeof mark->magic);
}

bool fallow__mark_find(const void *bytes, size_t size_bytes, uint64_t address, fallow__mark *mark_out)
{
    for (size_t offset = 0; offset + sizeof(fallow__mark) <= size_bytes; offset += sizeof(uint64_t)) {
        const char *candidate = (const char *)bytes + offset;
        if (memcmp(candidate, mark_magic, sizeof mark_magic) != 0) {
            continue;
        }
        memcpy(mark_out, candidate, sizeof *mark_out);
        mark_out->name[sizeof mark_out->name - 1] = '\0';
        if (mark_out->own_address == address + offset && mark_out->region_first == address &&
            mark_out->region_bytes != 0 && mark_out->region_bytes <= UINT64_MAX - address) {
            return true;
        }
    }
    return false;
}
