/* Where short runs fit: one byte for every 64 pages, and lines of 64 bytes over one another.
 *
 *      level 4   | . . . |                 one line at the top
 *      ...
 *      level 2   | b b b b ... |           a byte for each block of 4096 words
 *      level 1   | g g g g ... |           a byte for each 64 words
 *      level 0   | w w w w ... |           a byte for each word of 64 pages
 *
 * A byte tells of the longest free run that *begins* in its word how many pages it lacks of 64: 0 is a run of 64 pages
 * or more, wherever it ends, and 64 is no free page at all. What goes on from the word before counts from the word's
 * first page on; the word before says no less of it. On the levels above a byte is the least of the 64 bytes below it.
 * So a run of `count` pages, up to 64, begins in the lowest word that lacks at most 64 - count, and a search looks at
 * one line on each level: it needs to know nothing of runs that straddle words.
 *
 * The highest bit of a byte, OPEN, tells that what stands below it is valid. Without it all pages below are alike: they
 * lack 0, or 64. Zero bytes are fresh memory: free, and not open.
 *
 * Pure byte work. Part of pages.c, which is the only file that includes it. Sees: bits.h. */
#ifndef FALLOW_FITS_H
#define FALLOW_FITS_H

#include "bits.h"

enum {
    FITS_BYTES = 64,  /* of a line */
    FITS_SHIFT = 6,   /* log2 of it */
    FITS_NONE = 64,   /* lacks everything: there is no free page */
    FITS_OPEN = 0x80, /* what stands below is valid */
    FITS_LACK = 0x7f  /* the rest of a byte */
};

/* Aligned to 64 bytes. */
typedef struct fits_line {
    unsigned char byte[FITS_BYTES];
} fits_line;

/* The lowest byte from `from` on that lacks at most `most`; 64 if there is none. */
static inline unsigned fits_next(const fits_line *line, unsigned from, unsigned most)
{
    uint64_t enough = fallow__bytes_at_most(line->byte, most) & ~(uint64_t)0 << from;
    return enough != 0 ? fallow__lowest_bit(enough) : FITS_BYTES;
}

/* What the best byte of a line lacks: compilers make a few vector instructions of it. */
static inline unsigned fits_least(const fits_line *line)
{
    unsigned char least = FITS_NONE;
    for (unsigned i = 0; i < FITS_BYTES; i++) {
        unsigned char lack = line->byte[i] & FITS_LACK;
        least = lack < least ? lack : least;
    }
    return least;
}

/* --- 64 pages and the 64 behind them ------------------------------------------------------------------------ */

/* Of free pages as bits: those of a word, and those behind it. */

/* How long the free run is that begins at a free page of the word, up to 64. */
static inline unsigned fits_run_at(uint64_t low, uint64_t high, unsigned start)
{
    uint64_t used = ~(start != 0 ? low >> start | high << (64 - start) : low);
    return used != 0 ? fallow__lowest_bit(used) : 64;
}

/* The positions in the word at which `count` free pages follow one another; count is 1 to 8. */
static inline uint64_t fits_starts(uint64_t low, uint64_t high, unsigned count)
{
    for (unsigned length = 1; length < count && low != 0;) {
        unsigned step = count - length < length ? count - length : length;
        low &= low >> step | high << (64 - step);
        high &= high >> step;
        length += step;
    }
    return low;
}

/* The same for eight of them. */
static inline uint64_t fits_starts_8(uint64_t low, uint64_t high)
{
    low &= low >> 1 | high << 63;
    high &= high >> 1;
    low &= low >> 2 | high << 62;
    high &= high >> 2;
    return low & (low >> 4 | high << 60);
}

/* The lowest position in the word at which `count` free pages follow one another, count is 1 to 64; 64 if there is
 * none. Runs of eight and more are few. */
static inline unsigned fits_find(uint64_t low, uint64_t high, unsigned count)
{
    uint64_t starts = count < 8 ? fits_starts(low, high, count) : fits_starts_8(low, high);
    while (starts != 0) {
        unsigned start = fallow__lowest_bit(starts);
        unsigned length = count <= 8 ? count : fits_run_at(low, high, start);
        if (length >= count) {
            return start;
        }
        if (start + length >= 64) {
            break;
        }
        starts &= ~(uint64_t)0 << (start + length);
    }
    return 64;
}

/* What the longest free run that begins in the word lacks of 64 pages. */
static inline unsigned fits_lack(uint64_t low, uint64_t high)
{
    unsigned longest = 0;
    uint64_t starts = fits_starts_8(low, high);
    if (starts == 0) {
        for (; low != 0; longest++) {
            low &= low >> 1 | high << 63;
            high >>= 1;
        }
        return FITS_NONE - longest;
    }
    while (starts != 0) {
        unsigned start = fallow__lowest_bit(starts);
        unsigned length = fits_run_at(low, high, start);
        longest = length > longest ? length : longest;
        if (start + length >= 64) {
            break;
        }
        starts &= ~(uint64_t)0 << (start + length);
    }
    return FITS_NONE - longest;
}

#endif
