/* A growing array that never moves.
 *
 * The addresses of its largest size are reserved at the start, and memory comes as it grows: element i stays at
 * base + i * element_bytes for ever, so pointers into the array stay good, and growing copies nothing. */
#ifndef ARRAY_H
#define ARRAY_H

#include <fallow.h>

typedef struct array {
    fallow_region region;
    size_t element_bytes;
    size_t count;           /* elements in use; count * element_bytes <= committed_bytes <= region.size_bytes */
    size_t committed_bytes; /* from the base on; a multiple of region.page_bytes */
} array;

/* Reserve room for max_count elements, or for as many as the system has addresses for. */
fallow_status array_create(size_t element_bytes, size_t max_count, array *array_out);
void array_destroy(array *self);

/* Add `count` elements, whose contents are unspecified; the first one's address, or NULL when the array is full or memory
 * short. */
void *array_push(array *self, size_t count);

/* Forget all elements from `count` on, and give their memory back. */
fallow_status array_truncate(array *self, size_t count);

static inline void *array_at(const array *self, size_t index)
{
    return (char *)self->region.base + index * self->element_bytes;
}

#endif
