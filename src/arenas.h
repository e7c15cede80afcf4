/* How arenas are found by those who did not create them: in this process by a list, in any process by a mark.
 *
 * The list is for statistics. It lies in static memory, not in the arenas: a forked child goes on with a copy of it,
 * and may not have the arenas (FALLOW_ARENA_NO_FORK).
 *
 * The mark is for `explain`, which looks at mappings, of other processes too, and also where the kernel shows no names.
 * Every reservation of an arena carries one near its start. It holds its own address, so a copy elsewhere is none.
 * Whoever reads it believes nothing in it that the mapping around it does not bear out. Sees: fallow.h. */
#ifndef FALLOW_ARENAS_H
#define FALLOW_ARENAS_H

#include "fallow.h"

enum {
    FALLOW__ARENAS_LISTED = 256,        /* most arenas that are listed at a time: 10 KiB of static memory */
    FALLOW__MARK_WITHIN_BYTES = 4 << 10 /* a mark lies wholly within so many bytes of its reservation's start */
};

/* An arena was created; its name stays where it is as long as the arena. is_inherited: forked children have it too. */
void fallow__arenas_enter(fallow_arena *arena, const char *name, bool is_inherited);

/* It is about to be destroyed. Returns when nobody looks at it any more. */
void fallow__arenas_leave(fallow_arena *arena);

/* Have the list looked after around forks from now on; the first arena does it otherwise. false: the system cannot. */
bool fallow__arenas_follow_forks(void);

/* One arena, looked at: it is not destroyed before fallow__arenas_unview, which follows soon. */
typedef struct fallow__arena_view {
    fallow_arena *arena;
    const char *name;
    uint64_t id; /* 1 for the first arena of the program, never used again */
} fallow__arena_view;

/* Look at the listed arena of this process that was created next after an id (0: at the oldest), or at `wanted`
 * (optional) if it was. false if there is none. */
bool fallow__arenas_view(uint64_t after_id, const fallow_arena *wanted, fallow__arena_view *view_out);
void fallow__arenas_unview(const fallow__arena_view *view);

/* How many arenas of this process are not listed, because the list was full. */
uint64_t fallow__arenas_unlisted(void);

/* The layout is the same for every build, so that one program can read another's. */
typedef struct fallow__mark {
    char magic[16];
    uint64_t own_address;
    uint64_t region_first;
    uint64_t region_bytes;
    uint64_t arena; /* its address: what its reservations have in common */
    char name[FALLOW_NAME_BYTES];
} fallow__mark;

/* arena: where it lies. */
void fallow__mark_set(fallow__mark *mark, const fallow_region *region, const void *arena);

/* Look for the mark of a reservation that starts at an address, in a copy of its first bytes. */
bool fallow__mark_find(const void *bytes, size_t size_bytes, uint64_t address, fallow__mark *mark_out);

#endif
