/* The least that an allocator could do: each thread keeps a stack of free runs for each size, the size is handed to
 * free, and nothing is checked. Runs that no stack has are cut from the end of a huge mapping. No memory ever leaves a
 * size or a thread, which is why nobody could use it. */
#include <stdatomic.h>

#define SIDE_NAME "floor"
#define SIDE_IS_HARNESS 1

#define FLOOR_SIZES ((size_t)1 << 16) /* pages of a run: up to 512 MiB */
#define FLOOR_DEPTH ((size_t)1 << 20) /* free runs of one size; further ones are forgotten */
#define FLOOR_PLACE_BYTES ((size_t)1 << 44)

typedef struct floor_stack {
    void **top; /* the stack of size s is the FLOOR_DEPTH pointers from floor_runs + s * FLOOR_DEPTH on */
} floor_stack;

static atomic_uintptr_t floor_next;
static _Thread_local floor_stack *floor_stacks;
static _Thread_local void **floor_runs;

static const char *side_version(void)
{
    return "a stack for each size and thread";
}

static void side_begin(void)
{
    atomic_store(&floor_next, (uintptr_t)side_map(FLOOR_PLACE_BYTES));
}

/* Neither begins at the start of a page, as runs do: a processor takes a load for one of what was just stored when the
 * lower twelve bits of both addresses are the same. */
__attribute__((noinline)) static void floor_begin_thread(void)
{
    floor_stacks = (floor_stack *)side_map((FLOOR_SIZES + 64) * sizeof *floor_stacks) + 64;
    floor_runs = (void **)side_map((FLOOR_SIZES + 1) * FLOOR_DEPTH * sizeof *floor_runs) + 128;
}

static inline size_t floor_size(size_t size_bytes)
{
    return (size_bytes - 1) / BENCH_PAGE_BYTES;
}

__attribute__((noinline)) static void *floor_alloc_new(size_t size)
{
    return (void *)atomic_fetch_add(&floor_next, (size + 1) * BENCH_PAGE_BYTES);
}

static inline void *side_alloc(size_t size_bytes)
{
    size_t size = floor_size(size_bytes);
    if (floor_stacks == NULL) {
        floor_begin_thread();
    }
    floor_stack *stack = &floor_stacks[size];
    if (stack->top == NULL || stack->top == floor_runs + size * FLOOR_DEPTH) {
        return floor_alloc_new(size);
    }
    return *--stack->top;
}

static inline void side_free(void *base, size_t size_bytes)
{
    size_t size = floor_size(size_bytes);
    if (floor_stacks == NULL) {
        floor_begin_thread();
    }
    floor_stack *stack = &floor_stacks[size];
    if (stack->top == NULL) {
        stack->top = floor_runs + size * FLOOR_DEPTH;
    }
    if (stack->top != floor_runs + (size + 1) * FLOOR_DEPTH) {
        *stack->top++ = base;
    }
}

static bool side_purge(void)
{
    return false;
}
