/* No allocator: every run is the same place. What a row costs here is the harness itself. */
#define SIDE_NAME "null"
#define SIDE_IS_HARNESS 1

#define NULL_PLACE_BYTES ((size_t)1 << 30) /* the longest run of any row */

static unsigned char *null_place;

static const char *side_version(void)
{
    return "the harness alone";
}

static void side_begin(void)
{
    null_place = side_map(NULL_PLACE_BYTES);
}

static inline void *side_alloc(size_t size_bytes)
{
    (void)size_bytes;
    return null_place;
}

static inline void side_free(void *base, size_t size_bytes)
{
    (void)base;
    (void)size_bytes;
}

static bool side_purge(void)
{
    return false;
}
