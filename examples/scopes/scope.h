/* A stack of scopes: memory that is taken piece by piece and given back a scope at a time.
 *
 * Taking is adding to a position. A scope begins by noting the position, and ends by going back to it: everything taken
 * in between is gone at once, and nothing was written down about any piece. Scopes nest; pieces never move. */
#ifndef SCOPE_H
#define SCOPE_H

#include <fallow.h>

typedef struct scope_stack {
    fallow_region region;
    size_t used_bytes;      /* <= committed_bytes <= region.size_bytes */
    size_t committed_bytes; /* from the base on; a multiple of region.page_bytes */
    size_t peak_bytes;      /* the highest used_bytes so far */
} scope_stack;

typedef struct scope_mark {
    size_t used_bytes;
} scope_mark;

/* Reserve max_bytes of addresses, or as many as the system has. */
fallow_status scope_stack_create(size_t max_bytes, scope_stack *stack_out);
void scope_stack_destroy(scope_stack *stack);

/* Take size_bytes at a multiple of align_bytes, a power of two up to the OS page; contents are unspecified. NULL when the
 * stack is full or memory short. */
void *scope_alloc(scope_stack *stack, size_t size_bytes, size_t align_bytes);

static inline scope_mark scope_begin(const scope_stack *stack)
{
    return (scope_mark){stack->used_bytes};
}

static inline void scope_end(scope_stack *stack, scope_mark mark)
{
    stack->used_bytes = mark.used_bytes;
}

/* Give back the memory above the current position: scope_end keeps it, for the next scope. */
fallow_status scope_trim(scope_stack *stack);

#endif
