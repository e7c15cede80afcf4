/* One-word bit and alignment arithmetic. Sees: nothing.
 *
 * Masks and positions count from the least significant bit. Alignments are powers of two. */
#ifndef FALLOW_BITS_H
#define FALLOW_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__GNUC__)
#include <intrin.h> /* Microsoft's compiler */
#endif
#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h> /* which every x86-64 processor has */
#define FALLOW_HAS_SSE2 1
#else
#define FALLOW_HAS_SSE2 0
#endif

/* For the rare way out of a short function: kept apart, so that the short one needs no stack frame for it. */
#if defined(__GNUC__)
#define FALLOW_NOINLINE __attribute__((noinline))
#else
#define FALLOW_NOINLINE
#endif

/* A cache line will be used soon. */
static inline void fallow__prefetch(const void *address)
{
#if defined(__GNUC__)
    __builtin_prefetch(address);
#else
    (void)address;
#endif
}

static inline bool fallow__is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* Round down or up to a multiple. Rounding up must not overflow: see fallow__align_up_checked. */
static inline uint64_t fallow__align_down(uint64_t value, uint64_t align)
{
    return value & ~(align - 1);
}

static inline uint64_t fallow__align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

/* Round a size up; false when the result does not fit. */
static inline bool fallow__align_up_checked(size_t value, size_t align, size_t *aligned_out)
{
    if (value > SIZE_MAX - (align - 1)) {
        return false;
    }
    *aligned_out = (value + align - 1) & ~(align - 1);
    return true;
}

/* The position of the lowest or highest 1 bit; value is not 0. */
static inline unsigned fallow__lowest_bit(uint64_t value)
{
#if defined(__GNUC__)
    return (unsigned)__builtin_ctzll(value);
#else
    unsigned long position;
#if UINTPTR_MAX > 0xffffffffu
    _BitScanForward64(&position, value);
    return (unsigned)position;
#else
    if (_BitScanForward(&position, (unsigned long)value)) {
        return (unsigned)position;
    }
    _BitScanForward(&position, (unsigned long)(value >> 32));
    return (unsigned)position + 32;
#endif
#endif
}

static inline unsigned fallow__highest_bit(uint64_t value)
{
#if defined(__GNUC__)
    return 63u - (unsigned)__builtin_clzll(value);
#else
    unsigned long position;
#if UINTPTR_MAX > 0xffffffffu
    _BitScanReverse64(&position, value);
    return (unsigned)position;
#else
    if (_BitScanReverse(&position, (unsigned long)(value >> 32))) {
        return (unsigned)position + 32;
    }
    _BitScanReverse(&position, (unsigned long)value);
    return (unsigned)position;
#endif
#endif
}

/* How many bits are 1. In plain arithmetic: without -mpopcnt the compiler's builtin is a call into its own library. */
static inline unsigned fallow__count_bits(uint64_t value)
{
    value -= (value >> 1) & 0x5555555555555555u;
    value = (value & 0x3333333333333333u) + ((value >> 2) & 0x3333333333333333u);
    value = (value + (value >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)((value * 0x0101010101010101u) >> 56);
}

/* Which of 64 bytes, each without its highest bit, are at most `most`, which is below 128: a bit for each. The bytes
 * are aligned to 64. */
static inline uint64_t fallow__bytes_at_most(const unsigned char bytes[64], unsigned most)
{
    uint64_t found = 0;
#if FALLOW_HAS_SSE2
    const __m128i *part = (const __m128i *)(const void *)bytes;
    for (unsigned i = 0; i < 4; i++) {
        __m128i low = _mm_and_si128(_mm_load_si128(&part[i]), _mm_set1_epi8(0x7f));
        __m128i is_more = _mm_cmpgt_epi8(low, _mm_set1_epi8((char)most));
        found |= (uint64_t)(0xffff ^ (unsigned)_mm_movemask_epi8(is_more)) << (i * 16);
    }
#else
    for (unsigned i = 0; i < 64; i += 8) {
        uint64_t eight = 0;
        for (unsigned j = 0; j < 8; j++) { /* one load, in whatever byte order */
            eight |= (uint64_t)bytes[i + j] << (j * 8);
        }
        /* the highest bit of each byte is set where it is more; then those eight bits side by side */
        uint64_t is_more = (eight & 0x7f7f7f7f7f7f7f7fu) + (127 - most) * 0x0101010101010101u;
        found |= ((~is_more >> 7 & 0x0101010101010101u) * 0x0102040810204080u >> 56) << i;
    }
#endif
    return found;
}

/* `count` ones from position `first` on; first + count is at most 64, count at least 1. */
static inline uint64_t fallow__mask(unsigned first, unsigned count)
{
    return (~(uint64_t)0 >> (64 - count)) << first;
}

#endif
