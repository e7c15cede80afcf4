/* One chunk of the page allocator: the states of 512 pages, in three planes of 512 bits.
 *
 *      page            0 1 2 3 4 5 6 7 8 ...            one word of a plane is 64 pages,
 *      used            1 1 1 0 0 1 1 0 0                one plane is one cache line
 *      mark            1 0 0 1 1 1 0 0 0
 *      have            1 1 1 1 1 0 0 1 0
 *                      S R R D D s r Z N                START REST DIRTY, START_NONE REST_NONE, ZERO, NONE
 *
 * Pure bit work: positions inside the chunk, no tree, no page numbers. What needs to be fast works on whole words; what
 * needs to be general takes a state, or a table of states. Part of pages.c, which is the only file that includes it.
 * Sees: bits.h, pages.h (for the states). */
#ifndef FALLOW_CHUNK_H
#define FALLOW_CHUNK_H

#include "bits.h"
#include "pages.h"

enum {
    WORDS = FALLOW__CHUNK_PAGES / 64, /* words of a plane */
    STATES = 8,
    MIXED = STATES /* in place of a state: pages that differ */
};

typedef struct chunk {
    uint64_t used[WORDS];
    uint64_t mark[WORDS];
    uint64_t have[WORDS];
} chunk;

/* What is free in a sequence of pages, and whether all of them are alike. */
typedef struct node {
    uint64_t start; /* free pages at its start */
    uint64_t max;   /* the longest free run */
    uint64_t end;   /* free pages at its end */
    unsigned state; /* the state of all its pages, or MIXED */
} node;

/* --- states ------------------------------------------------------------------------------------------------- */

/* All ones if the state has the bit, else zero. */
static inline uint64_t state_plane(unsigned state, unsigned bit)
{
    return (uint64_t)0 - ((state >> bit) & 1);
}

/* Which pages of a word are in a state. */
static inline uint64_t word_equal(const chunk *c, unsigned word, unsigned state)
{
    return ~((c->used[word] ^ state_plane(state, 2)) | (c->mark[word] ^ state_plane(state, 1)) |
             (c->have[word] ^ state_plane(state, 0)));
}

static inline unsigned word_state(const chunk *c, unsigned word, unsigned position)
{
    return (unsigned)(((c->used[word] >> position) & 1) << 2 | ((c->mark[word] >> position) & 1) << 1 |
                      ((c->have[word] >> position) & 1));
}

static inline void word_assign(chunk *c, unsigned word, uint64_t mask, unsigned state)
{
    c->used[word] = (c->used[word] & ~mask) | (state_plane(state, 2) & mask);
    c->mark[word] = (c->mark[word] & ~mask) | (state_plane(state, 1) & mask);
    c->have[word] = (c->have[word] & ~mask) | (state_plane(state, 0) & mask);
}

/* Which pages of a word are in one of several states. */
static uint64_t word_match(const chunk *c, unsigned word, unsigned states)
{
    uint64_t match = 0;
    for (; states != 0; states &= states - 1) {
        match |= word_equal(c, word, fallow__lowest_bit(states));
    }
    return match;
}

/* The part of the range [bit, end) of a chunk that lies in a word, as a mask; the range meets the word. */
static inline uint64_t word_range(unsigned word, unsigned bit, unsigned end)
{
    unsigned first = bit > word * 64 ? bit - word * 64 : 0;
    unsigned last = end < word * 64 + 64 ? end - word * 64 : 64;
    return fallow__mask(first, last - first);
}

/* A change of state is a table: what each of the eight states becomes, four bits each, state 0 lowest. */
typedef uint32_t transition;

#define TRANSITION_TO(state) ((transition)(state)*0x11111111u)
/* used pages: not committed ones become FREE_NONE, committed ones FREE_DIRTY */
#define TRANSITION_FREE ((transition)0x30303210u)
/* used pages: only whether they are committed changes */
#define TRANSITION_COMMIT ((transition)0x77553210u)
#define TRANSITION_DECOMMIT ((transition)0x66443210u)
/* used pages that are not the first of their run become so */
#define TRANSITION_SPLIT ((transition)0x76763210u)

static inline unsigned transition_of(transition change, unsigned state)
{
    return (change >> (4 * state)) & 7;
}

/* Apply a change to the pages [bit, end) of a chunk, and keep the count of each state. */
static void chunk_change(chunk *c, unsigned bit, unsigned end, transition change, uint64_t state_pages[STATES])
{
    for (unsigned word = bit / 64; word <= (end - 1) / 64; word++) {
        uint64_t rest = word_range(word, bit, end);
        do {
            unsigned old_state = word_state(c, word, fallow__lowest_bit(rest));
            uint64_t same = rest & word_equal(c, word, old_state);
            unsigned new_state = transition_of(change, old_state);
            unsigned count = fallow__count_bits(same);
            word_assign(c, word, same, new_state);
            state_pages[old_state] -= count;
            state_pages[new_state] += count;
            rest &= ~same;
        } while (rest != 0);
    }
}

/* Add how many pages of a chunk are in each state to counts. */
static void chunk_count(const chunk *c, uint64_t counts[STATES])
{
    for (unsigned word = 0; word < WORDS; word++) {
        for (unsigned state = 0; state < STATES; state++) {
            counts[state] += fallow__count_bits(word_equal(c, word, state));
        }
    }
}

/* The set of states in [bit, end) of a chunk. */
static unsigned chunk_states(const chunk *c, unsigned bit, unsigned end)
{
    unsigned states = 0;
    for (unsigned word = bit / 64; word <= (end - 1) / 64; word++) {
        uint64_t rest = word_range(word, bit, end);
        do {
            unsigned state = word_state(c, word, fallow__lowest_bit(rest));
            states |= FALLOW__STATES(state);
            rest &= ~word_equal(c, word, state);
        } while (rest != 0);
    }
    return states;
}

/* Where the piece of pages in the state of the page at `bit` ends, inside the chunk. */
static unsigned chunk_piece_end(const chunk *c, unsigned bit)
{
    unsigned state = word_state(c, bit / 64, bit % 64);
    unsigned word = bit / 64;
    uint64_t others = ~word_equal(c, word, state) & (~(uint64_t)0 << (bit % 64));
    while (others == 0) {
        if (++word == WORDS) {
            return FALLOW__CHUNK_PAGES;
        }
        others = ~word_equal(c, word, state);
    }
    return word * 64 + fallow__lowest_bit(others);
}

/* The lowest page in [bit, end) of a chunk that is in a state of a set; FALLOW__CHUNK_PAGES if there is none. */
static unsigned chunk_next(const chunk *c, unsigned bit, unsigned end, unsigned states)
{
    for (unsigned word = bit / 64; word <= (end - 1) / 64; word++) {
        uint64_t match = word_match(c, word, states) & word_range(word, bit, end);
        if (match != 0) {
            return word * 64 + fallow__lowest_bit(match);
        }
    }
    return FALLOW__CHUNK_PAGES;
}

/* The highest such page below `end`. */
static unsigned chunk_last(const chunk *c, unsigned end, unsigned states)
{
    for (unsigned word = (end - 1) / 64 + 1; word-- > 0;) {
        uint64_t match = word_match(c, word, states) & word_range(word, 0, end);
        if (match != 0) {
            return word * 64 + fallow__highest_bit(match);
        }
    }
    return FALLOW__CHUNK_PAGES;
}

/* --- free runs --------------------------------------------------------------------------------------------- */

/* The positions in a word at which `count` ones follow one another inside the word; count is 1 to 64. Each round knows
 * the runs of `length` and looks for those of up to twice that. */
static inline uint64_t word_runs(uint64_t ones, unsigned count)
{
    unsigned length = 1;
    while (length < count && ones != 0) {
        unsigned step = count - length < length ? count - length : length;
        ones &= ones >> step;
        length += step;
    }
    return ones;
}

/* The longest run of ones in a word, if it is longer than `known`; else known. */
static unsigned word_longest(uint64_t ones, unsigned known)
{
    if (known >= 64) {
        return known;
    }
    for (ones = word_runs(ones, known + 1); ones != 0; ones &= ones >> 1) {
        known++;
    }
    return known;
}

/* The state of all pages of a chunk, which are free, if they are alike, else MIXED. (Used pages that are alike stay
 * MIXED: a full chunk whose pages come and go would be closed and opened in turn.) */
static unsigned chunk_uniform_state(const chunk *c)
{
    unsigned state = word_state(c, 0, 0);
    for (unsigned word = 0; word < WORDS; word++) {
        if (word_equal(c, word, state) != ~(uint64_t)0) {
            return MIXED;
        }
    }
    return state;
}

static node chunk_summarise(const chunk *c)
{
    unsigned start = FALLOW__CHUNK_PAGES;
    unsigned max = 0;
    unsigned run = 0; /* the free run that ends where the next word begins */
    for (unsigned word = 0; word < WORDS; word++) {
        uint64_t used = c->used[word];
        if (used == 0) {
            run += 64;
            continue;
        }
        run += fallow__lowest_bit(used);
        if (start == FALLOW__CHUNK_PAGES) {
            start = run;
        }
        max = run > max ? run : max;
        unsigned highest = fallow__highest_bit(used);
        /* what is free between two used pages of the word: mostly nothing */
        uint64_t inner = ~used & (((uint64_t)1 << highest) - 1) & (~(uint64_t)0 << fallow__lowest_bit(used));
        if (inner != 0) {
            max = word_longest(inner, max);
        }
        run = 63 - highest;
    }
    max = run > max ? run : max;
    return (node){
        .start = start,
        .max = max,
        .end = run,
        .state = start == FALLOW__CHUNK_PAGES ? chunk_uniform_state(c) : MIXED,
    };
}

/* Where the free run around a free page of a chunk begins and ends, inside the chunk. */
static inline unsigned chunk_free_start(const chunk *c, unsigned bit)
{
    unsigned word = bit / 64;
    uint64_t used = c->used[word] & (((uint64_t)1 << (bit % 64)) - 1);
    while (used == 0) {
        if (word-- == 0) {
            return 0;
        }
        used = c->used[word];
    }
    return word * 64 + fallow__highest_bit(used) + 1;
}

static inline unsigned chunk_free_end(const chunk *c, unsigned bit)
{
    unsigned word = bit / 64;
    uint64_t used = c->used[word] & (~(uint64_t)0 << (bit % 64));
    while (used == 0) {
        if (++word == WORDS) {
            return FALLOW__CHUNK_PAGES;
        }
        used = c->used[word];
    }
    return word * 64 + fallow__lowest_bit(used);
}

/* All positions in a chunk where `count` pages are free, count at most 512, as a bitmap. */
static void chunk_fits(const chunk *c, unsigned count, uint64_t fits_out[WORDS])
{
    for (unsigned word = 0; word < WORDS; word++) {
        fits_out[word] = ~c->used[word];
    }
    for (unsigned length = 1; length < count;) {
        unsigned step = count - length < length ? count - length : length;
        unsigned words = step / 64;
        unsigned bits = step % 64;
        for (unsigned word = 0; word < WORDS; word++) {
            uint64_t shifted = word + words < WORDS ? fits_out[word + words] >> bits : 0;
            if (bits != 0 && word + words + 1 < WORDS) {
                shifted |= fits_out[word + words + 1] << (64 - bits);
            }
            fits_out[word] &= shifted;
        }
        length += step;
    }
}

/* Keep the positions at which page + phase is a multiple of align; page is that of position 0. */
static void chunk_keep_aligned(uint64_t fits[WORDS], uint64_t page, uint64_t align, uint64_t phase)
{
    uint64_t aligned[WORDS] = {0};
    uint64_t first = (0 - (page + phase)) & (align - 1);
    for (uint64_t position = first; position < FALLOW__CHUNK_PAGES; position += align) {
        aligned[position / 64] |= (uint64_t)1 << (position % 64);
    }
    for (unsigned word = 0; word < WORDS; word++) {
        fits[word] &= aligned[word];
    }
}

#endif
