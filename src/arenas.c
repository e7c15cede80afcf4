#include "arenas.h"

#include <string.h>

#include "os.h"

typedef struct entry {
    fallow_arena *arena;
    const char *name;
    uint64_t id;           /* 1 for the first arena of the program, never used again */
    uint64_t viewer_count; /* those who look at it now: it is not destroyed meanwhile */
    bool is_inherited;
} entry;

/* All of it under the lock, in which nothing else is asked for. The entries in use are the first ones, in the order of
 * their ids. */
static fallow__os_once list_once;
static fallow__os_lock list_lock;
static fallow__os_event viewer_left;
static entry entries[FALLOW__ARENAS_LISTED];
static size_t entry_count;
static uint64_t last_id;
static uint64_t unlisted_count;
static bool is_told_of_forks;

static void entry_remove(size_t index)
{
    entry_count--;
    memmove(&entries[index], &entries[index + 1], (entry_count - index) * sizeof entries[0]);
}

static void before_fork(void)
{
    fallow__os_lock_acquire(&list_lock);
}

static void after_fork_in_parent(void)
{
    fallow__os_lock_release(&list_lock);
}

/* Only the thread that forked is here, and it looks at nothing. Those that are not inherited are gone. */
static void after_fork_in_child(void)
{
    fallow__os_lock_init(&list_lock);
    fallow__os_event_init(&viewer_left);
    for (size_t index = entry_count; index-- > 0;) {
        entries[index].viewer_count = 0;
        if (!entries[index].is_inherited) {
            entry_remove(index);
        }
    }
}

/* Where forks cannot be followed, a child that forked while another thread was in here would wait for ever; nothing can
 * be done about it. */
static void list_begin(void)
{
    fallow__os_lock_init(&list_lock);
    fallow__os_event_init(&viewer_left);
    is_told_of_forks = fallow__os_at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
}

bool fallow__arenas_follow_forks(void)
{
    fallow__os_run_once(&list_once, list_begin);
    return is_told_of_forks;
}

static void list_acquire(void)
{
    fallow__os_run_once(&list_once, list_begin);
    fallow__os_lock_acquire(&list_lock);
}

static void list_release(void)
{
    fallow__os_lock_release(&list_lock);
}

static size_t index_of(const fallow_arena *arena)
{
    size_t index = 0;
    while (index < entry_count && entries[index].arena != arena) {
        index++;
    }
    return index;
}

void fallow__arenas_enter(fallow_arena *arena, const char *name, bool is_inherited)
{
    list_acquire();
    size_t stale = index_of(arena); /* its memory went without fallow_arena_destroy, and was given out again */
    if (stale < entry_count) {
        entry_remove(stale);
    }
    last_id++;
    if (entry_count < FALLOW__ARENAS_LISTED) {
        entries[entry_count++] = (entry){.arena = arena, .name = name, .id = last_id, .is_inherited = is_inherited};
    } else {
        unlisted_count++;
    }
    list_release();
}

void fallow__arenas_leave(fallow_arena *arena)
{
    list_acquire();
    size_t index = index_of(arena);
    while (index < entry_count && entries[index].viewer_count != 0) {
        fallow__os_event_wait(&viewer_left, &list_lock, UINT64_MAX);
        index = index_of(arena); /* others may have moved */
    }
    if (index < entry_count) {
        entry_remove(index);
    } else if (unlisted_count > 0) {
        unlisted_count--;
    }
    list_release();
}

bool fallow__arenas_view(uint64_t after_id, const fallow_arena *wanted, fallow__arena_view *view_out)
{
    list_acquire();
    size_t index = 0;
    while (index < entry_count &&
           (entries[index].id <= after_id || (wanted != NULL && entries[index].arena != wanted))) {
        index++;
    }
    bool is_found = index < entry_count;
    if (is_found) {
        entry *e = &entries[index];
        e->viewer_count++;
        *view_out = (fallow__arena_view){.arena = e->arena, .name = e->name, .id = e->id};
    }
    list_release();
    return is_found;
}

void fallow__arenas_unview(const fallow__arena_view *view)
{
    list_acquire();
    size_t index = index_of(view->arena);
    entries[index].viewer_count--;
    bool is_last = entries[index].viewer_count == 0;
    list_release();
    if (is_last) {
        fallow__os_event_wake(&viewer_left);
    }
}

uint64_t fallow__arenas_unlisted(void)
{
    list_acquire();
    uint64_t count = unlisted_count;
    list_release();
    return count;
}

/* --- marks ------------------------------------------------------------------------------------------------- */

static const char mark_magic[16] = "fallow arena 1";

void fallow__mark_set(fallow__mark *mark, const fallow_region *region, const void *arena)
{
    *mark = (fallow__mark){
        .own_address = (uintptr_t)mark,
        .region_first = (uintptr_t)region->base,
        .region_bytes = region->size_bytes,
        .arena = (uintptr_t)arena,
    };
    memcpy(mark->name, region->name, sizeof mark->name);
    memcpy(mark->magic, mark_magic, sizeof mark->magic);
}

bool fallow__mark_find(const void *bytes, size_t size_bytes, uint64_t address, fallow__mark *mark_out)
{
    /* on 32 bits the numbers in it are aligned to no more */
    for (size_t offset = 0; offset + sizeof(fallow__mark) <= size_bytes; offset += sizeof(uint32_t)) {
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
