#include "array.h"

#include <string.h>

#define GROW_BYTES ((size_t)1 << 20) /* committed at a time: a system call a MiB, and untouched pages cost nothing */

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

fallow_status array_create(size_t element_bytes, size_t max_count, array *array_out)
{
    if (element_bytes == 0 || max_count == 0 || max_count > SIZE_MAX / element_bytes) {
        return FALLOW_ERR_INVALID;
    }
    array made = {.element_bytes = element_bytes};
    const fallow_region_options options = {.name = "array", .min_bytes = element_bytes};
    const fallow_status status = fallow_region_reserve(max_count * element_bytes, &options, &made.region);
    if (status == FALLOW_OK) {
        *array_out = made;
    }
    return status;
}

void array_destroy(array *self)
{
    /* Refused only where the process has no mapping left to spare: then it is still there, and may be destroyed later. */
    if (fallow_region_release(&self->region) == FALLOW_OK) {
        memset(self, 0, sizeof *self);
    }
}

void *array_push(array *self, size_t count)
{
    const size_t used_bytes = self->count * self->element_bytes;
    if (count > (self->region.size_bytes - used_bytes) / self->element_bytes) {
        return NULL;
    }
    const size_t needed_bytes = used_bytes + count * self->element_bytes;
    if (needed_bytes > self->committed_bytes) {
        const size_t room_bytes = self->region.size_bytes - self->committed_bytes;
        size_t step_bytes = round_up(needed_bytes - self->committed_bytes, GROW_BYTES);
        step_bytes = step_bytes < room_bytes ? step_bytes : room_bytes;
        if (fallow_region_commit(&self->region, self->committed_bytes, step_bytes) != FALLOW_OK) {
            return NULL; /* fallow_last_failure() says why */
        }
        self->committed_bytes += step_bytes;
    }
    self->count += count;
    return (char *)self->region.base + used_bytes;
}

fallow_status array_truncate(array *self, size_t count)
{
    if (count >= self->count) {
        return FALLOW_OK;
    }
    const size_t kept_bytes = round_up(count * self->element_bytes, self->region.page_bytes);
    const size_t given_bytes = self->committed_bytes - kept_bytes;
    /* Where the system refuses, some of it may be accessible and some not. Committing it again is right for both. */
    self->count = count;
    self->committed_bytes = kept_bytes;
    return fallow_region_decommit(&self->region, kept_bytes, given_bytes);
}
