/* Fuzz target: the life of a program (life.h), whose operations the input gives: arenas that come and go, runs of them,
 * refusals, limits, time, forks. Linked with the simulated system, or with the one at hand, which refuses nothing.
 *
 *     2 bytes: the system, and whether there are threads and caches | 3 bytes an operation: its kind, and a seed
 *
 * A seed of two bytes is enough for everything else about an operation, and leaves the fuzzer little to get lost in. What
 * is checked, and how, is told in life.c and life_threads.c: places, overlap, contents, is_zero, figures, charge,
 * fallow_arena_check; and that nothing is left behind. FUZZ_TRACE=1 prints the operations. */
#include "fuzz.h"

#include "life.h"

enum {
    OPERATIONS_MAX = 300
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes)
{
    static life_op ops[OPERATIONS_MAX];
    fuzz_input input = {bytes, size_bytes};
    life_options options = {.lie_at = UINT64_MAX, .is_traced = getenv("FUZZ_TRACE") != NULL};
    size_t count = 0;
    options.seed = fuzz_bytes(&input, 2);
    while (input.left > 0 && count < OPERATIONS_MAX) {
        life_op *op = &ops[count];
        op->number = (uint32_t)count++;
        op->kind = fuzz_byte(&input) % LIFE_KINDS;
        op->seed = fuzz_bytes(&input, 2);
    }
    const char *complaint = life_run(&options, ops, count);
    if (complaint != NULL) {
        fail_msg("%s", complaint);
    }
    return 0;
}
