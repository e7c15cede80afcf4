/* What the sides behind malloc and free share. */
static void side_begin(void) {}

static inline void *side_alloc(size_t size_bytes)
{
    return malloc(size_bytes);
}

static inline void side_free(void *base, size_t size_bytes)
{
    (void)size_bytes;
    free(base);
}
