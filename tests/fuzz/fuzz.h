/* What every fuzz target includes: the function that a fuzzer calls, and an input read as numbers.
 *
 * A target is one function that takes any bytes at all and returns 0; what is wrong ends the program. (cmocka's
 * assertions do so outside of a test, too; with CMOCKA_TEST_ABORT=1 with their words, and by a signal.) libFuzzer, AFL++
 * and replay.c call it any number of times in one process: what one input does must not show in the next.
 *
 * One choice to a statement: in which order arguments and initialisers are evaluated is the compiler's affair, and an
 * input has to mean the same everywhere. Numbers take as few bytes as their range needs, so that a change of one byte is
 * a change of one choice; after the end of the input all are 0. */
#ifndef FALLOW_FUZZ_H
#define FALLOW_FUZZ_H

#include "test.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

typedef struct fuzz_input {
    const uint8_t *next;
    size_t left;
} fuzz_input;

static inline uint8_t fuzz_byte(fuzz_input *input)
{
    if (input->left == 0) {
        return 0;
    }
    input->left--;
    return *input->next++;
}

static inline uint64_t fuzz_bytes(fuzz_input *input, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++) {
        value |= (uint64_t)fuzz_byte(input) << 8 * i;
    }
    return value;
}

/* 0 to below - 1; below is not 0. */
static inline uint64_t fuzz_below(fuzz_input *input, uint64_t below)
{
    unsigned count = 0;
    for (uint64_t most = below - 1; most != 0; most >>= 8) {
        count++;
    }
    return fuzz_bytes(input, count) % below;
}

/* Any number, those near powers of two more often. */
static inline uint64_t fuzz_number(fuzz_input *input)
{
    uint8_t kind = fuzz_byte(input);
    uint64_t number = (uint64_t)1 << (kind & 63);
    switch (kind >> 6) {
    case 0: return number;
    case 1: return number - 1;
    case 2: number *= fuzz_byte(input); return number + (uint64_t)(int8_t)fuzz_byte(input);
    default: return fuzz_bytes(input, kind & 7);
    }
}

#endif
