/* Which pages of a reservation are free, and where a run of them fits.
 *
 * Pure logic: page numbers from 0, no address, no call to an OS, in storage that the caller gives. pages.c explains the
 * structure. Sees: nothing.
 *
 * Storage. fallow__pages_plan_for() tells how much: `upper_bytes`, all of it accessible and zero before
 * fallow__pages_init, and `block_count` blocks, which begin `block_bytes` apart; the last one may be shorter. Each
 * holds the bitmaps of FALLOW__BLOCK_PAGES pages. The blocks of a range must be accessible, and zero the first time,
 * before a call that changes pages in it, marked "block". Searches and questions look only at what has been written
 * before. Where page_count is not a multiple of FALLOW__BLOCK_PAGES, the last block must be accessible for
 * fallow__pages_init already. Blocks stay accessible.
 *
 * No call here fails or allocates. Ranges are half-open: [first, first + count), count at least 1, inside page_count;
 * anything else is a bug of the library and an assertion. One thread at a time. */
#ifndef FALLOW_PAGES_H
#define FALLOW_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a page is. A fresh page is FREE_NONE, and that is 0, so fresh zero storage says the right thing.
 *
 *              used mark have
 *   FREE_NONE    0    0    0    free, not accessible; commit before use; will read zero
 *   FREE_ZERO    0    0    1    free, accessible, reads zero
 *   FREE_LAZY    0    1    0    free, accessible, purged lazily: old bytes or zero
 *   FREE_DIRTY   0    1    1    free, accessible, holds old bytes
 *   REST_NONE    1    0    0    in a run, not its first page; addresses only
 *   REST         1    0    1    in a run, not its first page; committed
 *   START_NONE   1    1    0    first page of a run; addresses only
 *   START        1    1    1    first page of a run; committed */
typedef enum fallow__page_state {
    FALLOW__FREE_NONE = 0,
    FALLOW__FREE_ZERO = 1,
    FALLOW__FREE_LAZY = 2,
    FALLOW__FREE_DIRTY = 3,
    FALLOW__REST_NONE = 4,
    FALLOW__REST = 5,
    FALLOW__START_NONE = 6,
    FALLOW__START = 7
} fallow__page_state;

/* Sets of states: bit s stands for state s. */
#define FALLOW__STATES(state) (1u << (state))
#define FALLOW__STATES_FREE 0x0fu
#define FALLOW__STATES_USED 0xf0u
#define FALLOW__STATES_REST (FALLOW__STATES(FALLOW__REST_NONE) | FALLOW__STATES(FALLOW__REST))
#define FALLOW__STATES_START (FALLOW__STATES(FALLOW__START_NONE) | FALLOW__STATES(FALLOW__START))
/* used and committed, and free but with bytes that are not known to be zero */
#define FALLOW__STATES_IN_USE (FALLOW__STATES(FALLOW__REST) | FALLOW__STATES(FALLOW__START))
#define FALLOW__STATES_OLD (FALLOW__STATES(FALLOW__FREE_LAZY) | FALLOW__STATES(FALLOW__FREE_DIRTY))

/* The most pages: 2^36 of 4 KiB are 256 TiB, twice the user part of a 48-bit address space. */
#define FALLOW__PAGES_MAX ((uint64_t)1 << 36)

/* Levels of the tree: 512 pages * 8^9 = 2^36, so leaves and nine levels above them. */
#define FALLOW__PAGES_LEVELS_MAX 10

/* Pages of one bitmap chunk: 512 bits are one cache line of each plane. */
#define FALLOW__CHUNK_PAGES 512

/* Pages of one block: 512 chunks. */
#define FALLOW__BLOCK_PAGES ((uint64_t)512 * FALLOW__CHUNK_PAGES)

/* Levels of what tells where short runs fit (fits.h): 2^36 pages are 64^5 words of 64. */
#define FALLOW__FITS_LEVELS_MAX 5

/* Chunks that are remembered to be busy: see pages.c. */
#define FALLOW__BUSY_SLOTS 16

/* Size classes of the search bounds: 1 to 8, then two for each doubling up to 2^36: 8 + 2 * 33. */
#define FALLOW__SIZE_CLASSES 74

typedef struct fallow__pages_plan {
    uint64_t page_count;
    uint64_t block_count;
    size_t block_bytes;      /* a multiple of the OS page */
    size_t last_block_bytes; /* likewise, not more */
    size_t upper_bytes;
} fallow__pages_plan;

typedef struct fallow__pages {
    uint64_t page_count;
    uint64_t chunk_count;
    uint64_t block_count;
    unsigned levels; /* of the tree; the root is at level levels - 1, leaves (chunks) at level 0 */
    unsigned char *upper;
    unsigned char *blocks;
    unsigned char *planes; /* those of block 0 */
    size_t block_bytes;
    size_t level_offset[FALLOW__PAGES_LEVELS_MAX]; /* levels 0 to 2 in a block, the others in upper */
    size_t fits_offset[FALLOW__FITS_LEVELS_MAX];   /* 0: levels 0 and 1 in a block; the others in upper */
    unsigned fits_top;                             /* the level that is one line */
    uint64_t state_pages[8];                       /* how many pages are in each state */
    uint32_t busy[FALLOW__BUSY_SLOTS];             /* chunk + 1, or 0 */
    uint64_t freed;                             /* the chunk + 1 that words were made to promise more in last, or 0 */
    uint64_t calm;                              /* the word + 1 that promises everything, as its chunk does, or 0 */
    bool is_calm_before;                        /* so does the word before it */
    uint64_t raised;                            /* the chunk + 1 that was made to promise more last, or 0 */
    uint64_t hollow;                            /* the chunk + 1 that became wholly free last, or 0 */
    uint32_t bound[FALLOW__SIZE_CLASSES];       /* no run of bound_pages pages starts in a word below it */
    uint64_t bound_pages[FALLOW__SIZE_CLASSES]; /* a size of the class */
    uint32_t bound_top;                         /* no bound is above it */
    uint32_t low_word;                          /* the bounds of the first low_classes classes are not above this */
    uint32_t low_classes;
} fallow__pages;

/* What to look for. */
typedef struct fallow__pages_request {
    uint64_t count;   /* pages, at least 1 */
    uint64_t align;   /* (first + phase) is a multiple of it; a power of two; 0 and 1 = any */
    uint64_t phase;   /* in pages */
    uint64_t from;    /* not below this page */
    bool is_top_down; /* the highest fit instead of the lowest; from must be 0 */
} fallow__pages_request;

/* How much storage page_count pages need; page_count is 1 to FALLOW__PAGES_MAX. */
void fallow__pages_plan_for(uint64_t page_count, size_t os_page_bytes, fallow__pages_plan *plan_out);

/* All pages FREE_NONE. upper and blocks are aligned to 64 bytes. */
void fallow__pages_init(fallow__pages *pages, const fallow__pages_plan *plan, void *upper, void *blocks);

/* The lowest (or highest) first page at which a free run of request->count pages fits, exactly. false: there is none.
 * Changes nothing that a caller can see. O(levels) without alignment. */
bool fallow__pages_find(fallow__pages *pages, const fallow__pages_request *request, uint64_t *first_out);

/* The set of states that occur in a range. */
unsigned fallow__pages_states(fallow__pages *pages, uint64_t first, uint64_t count);

/* A piece: pages of one state from `page` on, up to *end_out, not beyond `limit`; not always the longest. */
fallow__page_state fallow__pages_piece(fallow__pages *pages, uint64_t page, uint64_t limit, uint64_t *end_out);

/* Take a free range as one run (block): START, then REST; or the _NONE states if it is not committed. */
void fallow__pages_take(fallow__pages *pages, uint64_t first, uint64_t count, bool is_committed);

/* Is it known, without a search, that no free run of `count` pages is there? */
bool fallow__pages_has_none(const fallow__pages *pages, uint64_t count);

/* Find and take the lowest fit in one step, where that is simple: a short run of committed pages, near the last one.
 * false: nothing has changed, and fallow__pages_find tells whether and where there is one. The pages are committed;
 * *is_zero_out tells whether they are all known to be zero. */
bool fallow__pages_take_short(fallow__pages *pages, uint64_t count, uint64_t *first_out, bool *is_zero_out);

/* After a single page was taken the short way: take up to `most` more, the next ones, in the same 64 pages. Returns
 * which, as bits of those 64; *zero_out, which of them are known to be zero. */
uint64_t fallow__pages_take_next(fallow__pages *pages, uint64_t page, unsigned most, uint64_t *zero_out);

/* Free runs of a single page each, bits of the 64 pages from `first` on (block). */
void fallow__pages_free_each(fallow__pages *pages, uint64_t first, uint64_t runs);

/* Free a whole run in one step, where that is simple (block). false: nothing has changed; it is as long as a chunk or
 * longer, or not a run at all. */
bool fallow__pages_free_short(fallow__pages *pages, uint64_t first, uint64_t count);

/* Is this a whole committed run, shorter than a chunk? false: it is not, or cannot be told so easily.
 * Unlike all others here this may be asked while another thread changes other pages; `first` lies in an accessible
 * block. */
bool fallow__pages_is_short_run(const fallow__pages *pages, uint64_t first, uint64_t count);

/* Add a free range behind the last page of a run to that run (block). */
void fallow__pages_append(fallow__pages *pages, uint64_t first, uint64_t count, bool is_committed);

/* Free a range of used pages (block): committed ones become FREE_DIRTY, the others FREE_NONE. The caller has checked
 * that it is a whole run, or the end of one. */
void fallow__pages_free(fallow__pages *pages, uint64_t first, uint64_t count);

/* A run that covers `page` starts a new run there (block); page is not the first of its run. */
void fallow__pages_split(fallow__pages *pages, uint64_t page);

/* Say of a range of free pages that they are all in another free state now (block). */
void fallow__pages_set_free(fallow__pages *pages, uint64_t first, uint64_t count, fallow__page_state state);

/* Say of a range inside one run that its pages are all committed now, or are not (block). */
void fallow__pages_set_committed(fallow__pages *pages, uint64_t first, uint64_t count, bool is_committed);

/* How many pages of the chunk around a page are used; those behind page_count are. */
unsigned fallow__pages_used_around(const fallow__pages *pages, uint64_t page);

/* Where the run that starts at `first` ends. */
uint64_t fallow__pages_run_end(fallow__pages *pages, uint64_t first);

/* Where the run that holds the used page `page` starts. */
uint64_t fallow__pages_run_start(fallow__pages *pages, uint64_t page);

/* The highest longest range below `below` whose pages are all in states of the set `states`; false: there is none.
 * With maximal ranges in address order this walks them downward: pass the last answer's first page as `below`. */
bool fallow__pages_last_range(fallow__pages *pages, uint64_t below, unsigned states, uint64_t *first_out,
                              uint64_t *count_out);

/* The lowest page of [from, limit) in a state of the set; limit if there is none. */
uint64_t fallow__pages_next(fallow__pages *pages, uint64_t from, uint64_t limit, unsigned states);

/* Compare everything with itself: summaries with bitmaps, counters with states, bounds with runs. */
bool fallow__pages_verify(fallow__pages *pages);

#endif
