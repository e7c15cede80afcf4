/* The system itself: a mapping for each run. Memory is given back when it is freed. */
#define SIDE_NAME "mmap"
#define SIDE_IS_HARNESS 0
#define SIDE_GIVES_BACK_AT_FREE 1

static const char *side_version(void)
{
    return "mmap and munmap";
}

static void side_begin(void) {}

static inline void *side_alloc(size_t size_bytes)
{
    void *base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return base != MAP_FAILED ? base : NULL;
}

static inline void side_free(void *base, size_t size_bytes)
{
    if (munmap(base, size_bytes) != 0) {
        perror("fallow bench: munmap");
        exit(1);
    }
}

static bool side_purge(void)
{
    return true;
}
