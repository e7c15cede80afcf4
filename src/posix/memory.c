/* The transitions of memory on Linux. What each promises is told in os.h; this file tells how it is kept.
 *
 *   none ---- mmap PROT_NONE ----> reserved ---- mprotect RW ----> committed
 *    ^                               |  ^                              |
 *    +----------- munmap ------------+  +--- mmap MAP_FIXED PROT_NONE -+
 *
 * Why decommit maps anew instead of protecting: a page that was touched once stays charged under PROT_NONE, keeps its
 * mapping apart from its neighbours (two mappings more for each hole), and lets the whole reservation into core dumps.
 * A new mapping with the very same flags frees, uncharges and merges, at the same price. The same flags: a mapping with
 * MAP_NORESERVE never merges with one without.
 *
 * Invariants
 *   - Every ordinary mapping of a region was made with RESERVE_FLAGS; large pages only with LARGE_FLAGS.
 *   - Name and advice belong to a mapping and die with it: after every remap they are applied again from the region.
 *   - MAP_FIXED is used inside our own regions only; outside them it is MAP_FIXED_NOREPLACE and a look at the address.
 *   - No length is ever left to the kernel to round: madvise rounds up, and would destroy the neighbour.
 *   - errno is that of the refused call when a function fails. */
#define _GNU_SOURCE 1 /* MAP_ANONYMOUS, madvise, mincore */

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "../bits.h"
#include "posix.h"

enum {
    RESERVE_FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
    /* without MAP_NORESERVE: the pool then promises the pages, and touching one cannot end in SIGBUS */
    LARGE_FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
    GAP_TRIES_MAX = 8 /* another thread may take the gap that was found; it will not do so eight times */
};

#define FOUR_GIB ((uint64_t)1 << 32)
#define LOWEST_ADDRESS ((uint64_t)1 << 20) /* leaves alone what vm.mmap_min_addr may forbid */

/* --- name and advice --------------------------------------------------------------------------------------- */

typedef struct advice {
    uint32_t flag; /* FALLOW_REGION_* */
    int advice;    /* MADV_* */
} advice;

static const advice all_advice[] = {
    {FALLOW_REGION_NO_FORK, MADV_DONTFORK},
    {FALLOW_REGION_WIPE_ON_FORK, MADV_WIPEONFORK},
    {FALLOW_REGION_NO_DUMP, MADV_DONTDUMP},
    {FALLOW_REGION_HUGE_PAGES, MADV_HUGEPAGE},
};

/* Give a range the region's advice. Returns the flags that the kernel refused, or that an emulator only says yes to. */
static uint32_t apply_advice(const fallow_region *region, void *base, size_t size_bytes)
{
    uint32_t refused = 0;
    for (size_t i = 0; i < sizeof all_advice / sizeof all_advice[0]; i++) {
        if ((region->flags & all_advice[i].flag) != 0 &&
            (fallow__posix_probe()->is_emulated || madvise(base, size_bytes, all_advice[i].advice) != 0)) {
            refused |= all_advice[i].flag;
        }
    }
    return refused;
}

/* A name with another character than these is refused as a whole.
 * Source: Linux kernel/sys.c, is_valid_name_char */
static char name_character(char given)
{
    return given > 0x1f && given < 0x7f && strchr("\\`$[]", given) == NULL ? given : '_';
}

/* Show "fallow: NAME" in /proc/PID/maps. A kernel that cannot is asked once per process; what is only about this
 * mapping is no reason to stop: no mapping left to split (ENOMEM), or large pages, which are not anonymous (EBADF). */
static void apply_name(const fallow_region *region, void *base, size_t size_bytes)
{
    static const char prefix[] = "fallow: ";
    static _Atomic bool is_refused;
    if (region->name[0] == '\0' || atomic_load_explicit(&is_refused, memory_order_relaxed)) {
        return;
    }
    char text[sizeof prefix - 1 + FALLOW_NAME_BYTES];
    static_assert(sizeof text <= 80, "the kernel takes 80 bytes, ANON_VMA_NAME_MAX_LEN");
    memcpy(text, prefix, sizeof prefix - 1);
    size_t length = sizeof prefix - 1;
    for (const char *from = region->name; *from != '\0'; from++) {
        text[length++] = name_character(*from);
    }
    text[length] = '\0';
    if (prctl(FALLOW__PR_SET_VMA, (unsigned long)FALLOW__PR_SET_VMA_ANON_NAME, (unsigned long)(uintptr_t)base,
              (unsigned long)size_bytes, (unsigned long)(uintptr_t)text) != 0 &&
        errno != ENOMEM && errno != EBADF) {
        atomic_store_explicit(&is_refused, true, memory_order_relaxed);
    }
}

/* After a remap of part of a region. What was refused there is asked for once more for the whole region, where no
 * mapping has to be split; if that fails too, the range is without it. */
static void reapply_attributes(const fallow_region *region, void *base, size_t size_bytes)
{
    if (apply_advice(region, base, size_bytes) != 0) {
        apply_advice(region, region->base, region->size_bytes);
    }
    apply_name(region, base, size_bytes);
}

/* --- reserve ----------------------------------------------------------------------------------------------- */

/* Where a mapping shall lie. */
typedef struct placement {
    void *hint;
    size_t size_bytes;
    size_t align_bytes; /* at least page_bytes */
    size_t page_bytes;
    int map_flags;
} placement;

/* NULL is failure, here and in all of place_*; errno tells. */
static void *map_none(void *where, size_t size_bytes, int map_flags)
{
    void *base = mmap(where, size_bytes, PROT_NONE, map_flags, -1, 0);
    return base == MAP_FAILED ? NULL : base;
}

/* Unmap on the way out of a failure; all of it is mapped. */
static void unmap_quietly(void *base, size_t size_bytes, int code)
{
    if (munmap(base, size_bytes) != 0) {
        (void)fallow__posix_release_later(&(fallow_region){.base = base, .size_bytes = size_bytes});
    }
    errno = code;
}

/* At that address or not at all. A kernel before 4.17, and an emulator, takes the flag for nothing and the address for
 * a hint: then it may have moved. */
static void *place_exactly(const placement *wanted, void *where)
{
    void *base = map_none(where, wanted->size_bytes, wanted->map_flags | FALLOW__MAP_FIXED_NOREPLACE);
    if (base != NULL && base != where) {
        unmap_quietly(base, wanted->size_bytes, EEXIST);
        return NULL;
    }
    return base;
}

/* Map more than is wanted and cut off both ends: three calls. */
static void *place_trimmed(const placement *wanted)
{
    size_t slack = wanted->align_bytes - wanted->page_bytes;
    if (wanted->size_bytes > SIZE_MAX - slack) {
        errno = ENOMEM;
        return NULL;
    }
    char *mapped = map_none(NULL, wanted->size_bytes + slack, wanted->map_flags);
    if (mapped == NULL) {
        return NULL;
    }
    size_t head = (size_t)(0 - (uintptr_t)mapped) & (wanted->align_bytes - 1);
    size_t tail = slack - head;
    if (head != 0 && munmap(mapped, head) != 0) {
        unmap_quietly(mapped, wanted->size_bytes + slack, errno);
        return NULL;
    }
    if (tail != 0 && munmap(mapped + head + wanted->size_bytes, tail) != 0) {
        unmap_quietly(mapped + head, wanted->size_bytes + tail, errno);
        return NULL;
    }
    return mapped + head;
}

static void *place_aligned(const placement *wanted)
{
    if (wanted->hint != NULL && ((uintptr_t)wanted->hint & (wanted->align_bytes - 1)) == 0) {
        void *base = place_exactly(wanted, wanted->hint);
        if (base != NULL) {
            return base;
        }
    }
    void *base = place_trimmed(wanted);
    if (base != NULL) {
        return base;
    }
    /* The slack may have been what was refused, and a plain mapping may be aligned as it comes: Linux 6.7 and later
     * align large ones to 2 MiB. */
    int code = errno;
    base = map_none(NULL, wanted->size_bytes, wanted->map_flags);
    if (base != NULL && ((uintptr_t)base & (wanted->align_bytes - 1)) != 0) {
        unmap_quietly(base, wanted->size_bytes, code);
        return NULL;
    }
    return base;
}

static void *place_anywhere(const placement *wanted)
{
    if (wanted->align_bytes > wanted->page_bytes) {
        return place_aligned(wanted);
    }
    return map_none(wanted->hint, wanted->size_bytes, wanted->map_flags);
}

static bool is_low(const void *base, size_t size_bytes)
{
    uint64_t size = size_bytes; /* in 64 bits, where 4 GiB is a number, also on 32-bit systems */
    uint64_t first = (uintptr_t)base;
    return size <= FOUR_GIB && first <= FOUR_GIB - size;
}

/* Below 4 GiB. MAP_32BIT would only look at one of these four, and only on x86. */
static void *place_low(const placement *wanted)
{
    if (UINTPTR_MAX < FOUR_GIB) {
        return place_anywhere(wanted);
    }
    if (wanted->hint != NULL && ((uintptr_t)wanted->hint & (wanted->align_bytes - 1)) == 0 &&
        is_low(wanted->hint, wanted->size_bytes)) {
        void *base = place_exactly(wanted, wanted->hint);
        if (base != NULL) {
            return base;
        }
    }
    for (int i = 0; i < GAP_TRIES_MAX; i++) {
        uintptr_t gap = fallow__posix_find_gap(LOWEST_ADDRESS, FOUR_GIB, wanted->size_bytes, wanted->align_bytes);
        if (gap == 0) {
            errno = ENOMEM;
            return NULL;
        }
        void *base = place_exactly(wanted, (void *)gap);
        if (base != NULL || errno != EEXIST) {
            return base;
        }
    }
    return NULL;
}

static void *place(const placement *wanted, uint32_t flags)
{
    if ((flags & FALLOW_REGION_EXACT) == 0) {
        return (flags & FALLOW_REGION_LOW_4G) != 0 ? place_low(wanted) : place_anywhere(wanted);
    }
    if ((flags & FALLOW_REGION_LOW_4G) != 0 && !is_low(wanted->hint, wanted->size_bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return place_exactly(wanted, wanted->hint);
}

/* Try large pages. The pool may be empty, or the place not fit: then NULL, and ordinary pages it is. */
static void *place_large(placement *wanted, uint32_t flags)
{
    size_t large_bytes = fallow__posix_large_page_bytes();
    if (!fallow__is_power_of_two(large_bytes) || large_bytes < wanted->page_bytes ||
        ((uintptr_t)wanted->hint & (large_bytes - 1)) != 0) {
        return NULL;
    }
    placement large = *wanted;
    large.page_bytes = large_bytes;
    large.map_flags = LARGE_FLAGS;
    if (!fallow__align_up_checked(wanted->size_bytes, large_bytes, &large.size_bytes)) {
        return NULL;
    }
    if (large.align_bytes < large_bytes) {
        large.align_bytes = large_bytes;
    }
    void *base = place(&large, flags);
    if (base != NULL) {
        *wanted = large;
    }
    return base;
}

static void copy_name(const char *name, char *name_out)
{
    if (name != NULL) {
        size_t length = strlen(name);
        memcpy(name_out, name, length + 1); /* region.c has seen to it that it fits */
    }
}

fallow_status fallow__os_reserve(size_t size_bytes, const fallow_region_options *options, fallow_region *region_out,
                                 fallow__os_error *error_out)
{
    fallow__posix_release_waiting();
    size_t page_bytes = fallow__os_page_bytes();
    placement wanted = {
        .hint = options->hint,
        .size_bytes = size_bytes,
        .align_bytes = options->align_bytes > page_bytes ? options->align_bytes : page_bytes,
        .page_bytes = page_bytes,
        .map_flags = RESERVE_FLAGS,
    };
    uint32_t flags = options->flags;
    void *base = NULL;
    if ((flags & FALLOW_REGION_LARGE_PAGES) != 0) {
        base = place_large(&wanted, flags);
    }
    if (base == NULL) {
        flags &= ~(uint32_t)FALLOW_REGION_LARGE_PAGES;
        base = place(&wanted, flags);
    }
    if (base == NULL) {
        return fallow__posix_cause(errno, FALLOW__POSIX_RESERVE, size_bytes, error_out);
    }
    fallow_region region = {
        .base = base, .size_bytes = wanted.size_bytes, .page_bytes = wanted.page_bytes, .flags = flags};
    copy_name(options->name, region.name);
    region.flags &= ~apply_advice(&region, base, region.size_bytes);
    apply_name(&region, base, region.size_bytes);
    *region_out = region;
    return FALLOW_OK;
}

/* Promised by the pool here and now: its pages that are free and not promised yet. */
static fallow_status why_no_large(int code, size_t size_bytes, fallow__os_error *error_out)
{
    uint64_t free_pages = 0;
    uint64_t promised_pages = 0;
    uint64_t page_bytes = 0;
    const fallow__posix_field fields[] = {
        {"HugePages_Free:", &free_pages},
        {"HugePages_Rsvd:", &promised_pages},
        {"Hugepagesize:", &page_bytes},
    };
    fallow__posix_read_fields("/proc/meminfo", fields, sizeof fields / sizeof fields[0]);
    uint64_t left_bytes = free_pages > promised_pages ? (free_pages - promised_pages) * page_bytes : 0;
    if (code != ENOMEM || left_bytes >= size_bytes) {
        return fallow__posix_cause(code, FALLOW__POSIX_RESERVE, size_bytes, error_out);
    }
    *error_out = (fallow__os_error){.code = code, .limit_name = "HugePages_Free", .limit_value = left_bytes};
    return FALLOW_ERR_COMMIT;
}

fallow_status fallow__os_reserve_large(size_t size_bytes, const fallow_region_options *options,
                                       fallow_region *region_out, fallow__os_error *error_out)
{
    fallow_system system;
    fallow__os_system(&system);
    size_t large_bytes = system.large_page_bytes;
    *error_out = (fallow__os_error){0};
    if (!fallow__is_power_of_two(large_bytes) || large_bytes < options->align_bytes ||
        !fallow__align_up_checked(size_bytes, large_bytes, &size_bytes)) {
        return FALLOW_ERR_UNSUPPORTED;
    }
    void *base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, LARGE_FLAGS, -1, 0);
    if (base == MAP_FAILED) {
        return why_no_large(errno, size_bytes, error_out);
    }
    fallow_region region = {.base = base,
                            .size_bytes = size_bytes,
                            .page_bytes = large_bytes,
                            .flags = options->flags | FALLOW_REGION_LARGE_PAGES};
    copy_name(options->name, region.name);
    region.flags &= ~apply_advice(&region, base, size_bytes);
    *region_out = region;
    return FALLOW_OK;
}

fallow_status fallow__os_release(const fallow_region *region, fallow__os_error *error_out)
{
    if (munmap(region->base, region->size_bytes) != 0 && !(errno == ENOMEM && fallow__posix_release_later(region))) {
        return fallow__posix_cause(errno, FALLOW__POSIX_CHANGE, region->size_bytes, error_out);
    }
    fallow__posix_release_waiting();
    return FALLOW_OK;
}

/* --- commit and decommit ----------------------------------------------------------------------------------- */

fallow_status fallow__os_commit(const fallow_region *region, void *base, size_t size_bytes, fallow__os_error *error_out)
{
    (void)region;
    if (mprotect(base, size_bytes, PROT_READ | PROT_WRITE) != 0) {
        return fallow__posix_cause(errno, FALLOW__POSIX_COMMIT, size_bytes, error_out);
    }
    return FALLOW_OK;
}

static bool remap_none(const fallow_region *region, void *base, size_t size_bytes)
{
    if (mmap(base, size_bytes, PROT_NONE, RESERVE_FLAGS | MAP_FIXED, -1, 0) == MAP_FAILED) {
        return false;
    }
    reapply_attributes(region, base, size_bytes);
    return true;
}

/* Give the memory back and leave the mapping as it is. Locked pages refuse the first way (EINVAL) and take the second,
 * from Linux 5.18 on; the word of an emulator on the second is worth nothing. */
bool fallow__posix_drop_pages(void *base, size_t size_bytes)
{
    if (madvise(base, size_bytes, MADV_DONTNEED) == 0) {
        return true;
    }
    int code = errno;
    if (!fallow__posix_probe()->is_emulated && madvise(base, size_bytes, FALLOW__MADV_DONTNEED_LOCKED) == 0) {
        return true;
    }
    errno = code;
    return false;
}

/* Second best: give the memory back, then make it fault. Guards would outlive both (they survive MADV_DONTNEED and
 * mprotect) and meet the next commit, so they are taken out. If the pages cannot be dropped, nothing is done:
 * protected, they would come back with their old contents. */
static fallow__os_left drop_and_protect(void *base, size_t size_bytes)
{
    if (!fallow__posix_drop_pages(base, size_bytes)) {
        return FALLOW__OS_LEFT_ALL;
    }
    madvise(base, size_bytes, FALLOW__MADV_GUARD_REMOVE);
    return mprotect(base, size_bytes, PROT_NONE) == 0 ? FALLOW__OS_LEFT_CHARGED : FALLOW__OS_LEFT_ACCESSIBLE;
}

/* Large pages come from the pool and return to it; they are in no commit charge, so this is all there is to do. */
static fallow_status decommit_large(void *base, size_t size_bytes, fallow__os_left *left_out,
                                    fallow__os_error *error_out)
{
    *left_out = drop_and_protect(base, size_bytes);
    if (*left_out == FALLOW__OS_LEFT_CHARGED) {
        *left_out = FALLOW__OS_LEFT_NOTHING;
        return FALLOW_OK;
    }
    return fallow__posix_cause(errno, FALLOW__POSIX_CHANGE, size_bytes, error_out);
}

fallow_status fallow__os_decommit(const fallow_region *region, void *base, size_t size_bytes, fallow__os_left *left_out,
                                  fallow__os_error *error_out)
{
    if ((region->flags & FALLOW_REGION_LARGE_PAGES) != 0) {
        return decommit_large(base, size_bytes, left_out, error_out);
    }
    if (remap_none(region, base, size_bytes)) {
        *left_out = FALLOW__OS_LEFT_NOTHING;
        return FALLOW_OK;
    }
    /* the map count, RLIMIT_AS lowered below what is in use, or locked memory; the old mapping is intact */
    int code = errno;
    *left_out = drop_and_protect(base, size_bytes);
    return fallow__posix_cause(code, FALLOW__POSIX_CHANGE, size_bytes, error_out);
}

/* --- purge ------------------------------------------------------------------------------------------------- */

/* The last way to zero: new pages in place. Not in one step: where a writable remap is refused, older kernels have
 * unmapped the range already. */
static fallow_status purge_by_remap(const fallow_region *region, void *base, size_t size_bytes, bool *is_committed_out,
                                    fallow__os_error *error_out)
{
    if (!remap_none(region, base, size_bytes)) {
        return fallow__posix_cause(errno, FALLOW__POSIX_CHANGE, size_bytes, error_out);
    }
    fallow_status status = fallow__os_commit(region, base, size_bytes, error_out);
    *is_committed_out = status == FALLOW_OK;
    return status;
}

static fallow_status purge_to_zero(const fallow_region *region, void *base, size_t size_bytes, bool *is_committed_out,
                                   fallow__os_error *error_out)
{
    if (fallow__posix_drop_pages(base, size_bytes)) {
        return FALLOW_OK;
    }
    if ((region->flags & FALLOW_REGION_LARGE_PAGES) != 0) {
        return fallow__posix_cause(errno, FALLOW__POSIX_ADVISE, size_bytes, error_out);
    }
    return purge_by_remap(region, base, size_bytes, is_committed_out, error_out);
}

fallow_status fallow__os_purge(const fallow_region *region, void *base, size_t size_bytes, fallow_purge purge,
                               bool *is_zero_out, bool *is_committed_out, fallow__os_error *error_out)
{
    *is_committed_out = true;
    *is_zero_out = false;
    /* an emulator calls MADV_FREE a success and frees nothing, for ever */
    if (purge == FALLOW_PURGE_FREE && fallow__posix_probe()->has_lazy_purge &&
        madvise(base, size_bytes, MADV_FREE) == 0) {
        return FALLOW_OK;
    }
    fallow_status status = purge_to_zero(region, base, size_bytes, is_committed_out, error_out);
    *is_zero_out = status == FALLOW_OK;
    return status;
}

/* One flush of the other processors' translations for all of them, which is what a small range costs beside running
 * threads. */
size_t fallow__os_purge_many(const fallow_region *region, const fallow__os_range *ranges, size_t count,
                             fallow_purge purge)
{
    (void)region;
    const fallow__posix_probes *probed = fallow__posix_probe();
    if (!probed->has_advise_many || (purge == FALLOW_PURGE_FREE && !probed->has_lazy_purge)) {
        return 0;
    }
    long advised = fallow__posix_advise_many(ranges, count, purge == FALLOW_PURGE_FREE ? MADV_FREE : MADV_DONTNEED);
    size_t done = 0;
    for (size_t left = advised > 0 ? (size_t)advised : 0; done < count && left >= ranges[done].size_bytes; done++) {
        left -= ranges[done].size_bytes;
    }
    return done;
}

/* --- protect, prefault, guard, resident -------------------------------------------------------------------- */

static int protection_bits(fallow_protection protection)
{
    switch (protection) {
    case FALLOW_PROTECTION_NONE: return PROT_NONE;
    case FALLOW_PROTECTION_READ: return PROT_READ;
    case FALLOW_PROTECTION_READ_WRITE: return PROT_READ | PROT_WRITE;
    case FALLOW_PROTECTION_READ_EXECUTE: return PROT_READ | PROT_EXEC;
    }
    return PROT_NONE;
}

fallow_status fallow__os_protect(const fallow_region *region, void *base, size_t size_bytes,
                                 fallow_protection protection, fallow__os_error *error_out)
{
    (void)region;
    if (mprotect(base, size_bytes, protection_bits(protection)) != 0) {
        fallow__posix_request request =
            protection == FALLOW_PROTECTION_READ_WRITE ? FALLOW__POSIX_COMMIT : FALLOW__POSIX_CHANGE;
        return fallow__posix_cause(errno, request, size_bytes, error_out);
    }
    return FALLOW_OK;
}

/* A write to each page that changes nothing, however many threads write there: a page without memory reads 0, and gets
 * 0. Not an atomic `or` with 0: a compiler may turn that into a load, which would only map the shared zero page. */
static void touch_pages(char *base, size_t size_bytes, size_t page_bytes)
{
    for (size_t offset = 0; offset < size_bytes; offset += page_bytes) {
        volatile _Atomic unsigned char *byte = (volatile _Atomic unsigned char *)(void *)(base + offset);
        unsigned char expected = 0;
        atomic_compare_exchange_strong_explicit(byte, &expected, 0, memory_order_relaxed, memory_order_relaxed);
    }
}

fallow_status fallow__os_prefault(const fallow_region *region, void *base, size_t size_bytes,
                                  fallow__os_error *error_out)
{
    (void)region;
    if (fallow__posix_probe()->has_populate) {
        if (madvise(base, size_bytes, FALLOW__MADV_POPULATE_WRITE) == 0) {
            return FALLOW_OK;
        }
        if (errno == EINVAL || errno == EFAULT) {
            /* not writable, or guarded: touching would end the program */
            *error_out = (fallow__os_error){.code = errno};
            return FALLOW_ERR_INVALID;
        }
        if (errno == ENOMEM) {
            return fallow__posix_cause(errno, FALLOW__POSIX_COMMIT, 0, error_out);
        }
        /* a filter that was set up after the probe: do without */
    }
    touch_pages(base, size_bytes, fallow__os_page_bytes());
    return FALLOW_OK;
}

/* Without MADV_GUARD_INSTALL, or where it is refused (locked memory, large pages), a guard is a decommitted range; that
 * it may still be charged does not matter to a guard. */
fallow_status fallow__os_guard(const fallow_region *region, void *base, size_t size_bytes, fallow__os_error *error_out)
{
    if (fallow__posix_probe()->has_guard_install && madvise(base, size_bytes, FALLOW__MADV_GUARD_INSTALL) == 0) {
        return FALLOW_OK;
    }
    fallow__os_left left;
    fallow_status status = fallow__os_decommit(region, base, size_bytes, &left, error_out);
    return left == FALLOW__OS_LEFT_CHARGED ? FALLOW_OK : status;
}

/* Which of the two ways made the guard is written nowhere, so both are undone. A filter that was set up after the probe
 * may refuse the first: a new mapping has no guards either, and a guard has no contents to lose. */
fallow_status fallow__os_unguard(const fallow_region *region, void *base, size_t size_bytes,
                                 fallow__os_error *error_out)
{
    bool is_ours = (region->flags & FALLOW_REGION_LARGE_PAGES) == 0 && fallow__posix_probe()->has_guard_install;
    if (is_ours && madvise(base, size_bytes, FALLOW__MADV_GUARD_REMOVE) != 0 && !remap_none(region, base, size_bytes)) {
        return fallow__posix_cause(errno, FALLOW__POSIX_CHANGE, size_bytes, error_out);
    }
    return fallow__os_commit(region, base, size_bytes, error_out);
}

/* How much of a range, at most what one vector can tell; false with errno if the system refuses. */
static bool count_resident(char *base, size_t size_bytes, unsigned char *vector, size_t *resident_bytes_out)
{
    const size_t page_bytes = fallow__os_page_bytes();
    size_t page_count = 0;
    if (mincore(base, size_bytes, vector) != 0) {
        return false;
    }
    for (size_t page = 0; page < size_bytes / page_bytes; page++) {
        page_count += vector[page] & 1u;
    }
    *resident_bytes_out = page_count * page_bytes;
    return true;
}

/* qemu-user refuses a range that is not accessible as a whole, which Linux does not: a page that it refuses has no
 * memory. */
static size_t count_resident_by_page(char *base, size_t size_bytes, unsigned char *vector)
{
    const size_t page_bytes = fallow__os_page_bytes();
    size_t resident_bytes = 0;
    for (size_t offset = 0; offset < size_bytes; offset += page_bytes) {
        size_t one_bytes = 0;
        count_resident(base + offset, page_bytes, vector, &one_bytes);
        resident_bytes += one_bytes;
    }
    return resident_bytes;
}

fallow_status fallow__os_resident(const fallow_region *region, void *base, size_t size_bytes,
                                  size_t *resident_bytes_out, fallow__os_error *error_out)
{
    (void)region;
    /* one byte for each 4 KiB, whatever the page: an emulator that claims larger pages passes the host's answer on */
    unsigned char vector[4096];
    const size_t chunk_bytes = sizeof vector * 4096;
    size_t resident_bytes = 0;
    for (size_t offset = 0; offset < size_bytes; offset += chunk_bytes) {
        size_t left_bytes = size_bytes - offset;
        size_t now_bytes = left_bytes < chunk_bytes ? left_bytes : chunk_bytes;
        size_t found_bytes;
        if (!count_resident((char *)base + offset, now_bytes, vector, &found_bytes)) {
            int code = errno;
            if (code != ENOMEM || !fallow__posix_probe()->is_emulated) {
                return fallow__posix_cause(code, FALLOW__POSIX_ADVISE, now_bytes, error_out);
            }
            found_bytes = count_resident_by_page((char *)base + offset, now_bytes, vector);
        }
        resident_bytes += found_bytes;
    }
    *resident_bytes_out = resident_bytes;
    return FALLOW_OK;
}
