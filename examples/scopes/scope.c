#include "scope.h"

#include <string.h>

#define GROW_BYTES ((size_t)256 << 10)

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

fallow_status scope_stack_create(size_t max_bytes, scope_stack *stack_out)
{
    scope_stack stack = {.used_bytes = 0};
    const fallow_region_options options = {.name = "scopes", .min_bytes = max_bytes < GROW_BYTES ? 0 : GROW_BYTES};
    const fallow_status status = fallow_region_reserve(max_bytes, &options, &stack.region);
    if (status == FALLOW_OK) {
        *stack_out = stack;
    }
    return status;
}

void scope_stack_destroy(scope_stack *stack)
{
    /* Refused only where the process has no mapping left to spare: then it is still there, and may be destroyed later. */
    if (fallow_region_release(&stack->region) == FALLOW_OK) {
        memset(stack, 0, sizeof *stack);
    }
}

void *scope_alloc(scope_stack *stack, size_t size_bytes, size_t align_bytes)
{
    const size_t start_bytes = round_up(stack->used_bytes, align_bytes); /* the base is a multiple of the page */
    if (start_bytes > stack->region.size_bytes || size_bytes > stack->region.size_bytes - start_bytes) {
        return NULL;
    }
    const size_t end_bytes = start_bytes + size_bytes;
    if (end_bytes > stack->committed_bytes) {
        const size_t room_bytes = stack->region.size_bytes - stack->committed_bytes;
        size_t step_bytes = round_up(end_bytes - stack->committed_bytes, GROW_BYTES);
        step_bytes = step_bytes < room_bytes ? step_bytes : room_bytes;
        if (fallow_region_commit(&stack->region, stack->committed_bytes, step_bytes) != FALLOW_OK) {
            return NULL; /* fallow_last_failure() says why */
        }
        stack->committed_bytes += step_bytes;
    }
    stack->used_bytes = end_bytes;
    stack->peak_bytes = stack->peak_bytes > end_bytes ? stack->peak_bytes : end_bytes;
    return (char *)stack->region.base + start_bytes;
}

fallow_status scope_trim(scope_stack *stack)
{
    const size_t kept_bytes = round_up(stack->used_bytes, stack->region.page_bytes);
    const size_t given_bytes = stack->committed_bytes - kept_bytes;
    /* Where the system refuses, some of it may be accessible and some not. Committing it again is right for both. */
    stack->committed_bytes = kept_bytes;
    return fallow_region_decommit(&stack->region, kept_bytes, given_bytes);
}
