/* Memory states on Windows: VirtualAlloc and VirtualFree, one call for each transition.
 *
 *   reserve   MEM_RESERVE; VirtualAlloc2 where the place is bounded or aligned and the system has it
 *   commit    MEM_COMMIT                      decommit, guard   MEM_DECOMMIT
 *   purge     DONTNEED: MEM_DECOMMIT and MEM_COMMIT; FREE: MEM_RESET
 *   release   MEM_RELEASE of the whole allocation
 *
 * What decides lines here (Microsoft Learn, VirtualAlloc and VirtualFree; measured under Wine 8.0):
 *   - an allocation is a wall: no call may reach into the next one. A region is exactly one allocation;
 *   - a size of 0 means "the whole allocation" to VirtualFree, so it is never passed on but for MEM_RELEASE; os.h
 *     promises ranges that are not empty;
 *   - addresses and sizes are rounded outward without a word; os.h promises whole pages;
 *   - MEM_COMMIT over committed pages keeps their contents and sets their protection: commit undoes protect. */
#include "win32.h"

#include <string.h>

/* --- reserve ----------------------------------------------------------------------------------------------- */

/* What a place must be. 64 KiB alignment comes by itself, so a smaller one is no wish. */
typedef struct place {
    size_t size_bytes;
    size_t align_bytes; /* at least the granularity */
    uintptr_t last;     /* highest address allowed; UINTPTR_MAX: any */
} place;

/* Between giving an oversized reservation back and taking the aligned part of it another thread may take that. */
#define ALIGN_ATTEMPTS 16

static uintptr_t align_up(uintptr_t address, size_t align_bytes)
{
    return (address + align_bytes - 1) & ~(uintptr_t)(align_bytes - 1);
}

static bool ends_by(uintptr_t first, const place *wanted, uintptr_t last)
{
    return first <= last && wanted->size_bytes - 1 <= last - first;
}

static void *reserve_at(uintptr_t address, size_t size_bytes)
{
    return VirtualAlloc((void *)address, size_bytes, MEM_RESERVE, PAGE_READWRITE);
}

/* VirtualAlloc would round the hint down to the granularity and reserve there: such a hint has no place of its own. */
static void *reserve_at_hint(const place *wanted, const void *hint)
{
    uintptr_t address = (uintptr_t)hint;
    if ((address & (wanted->align_bytes - 1)) != 0 || !ends_by(address, wanted, wanted->last)) {
        SetLastError(ERROR_INVALID_ADDRESS); /* what the system says of a place that is taken */
        return NULL;
    }
    return reserve_at(address, wanted->size_bytes);
}

/* Source: Microsoft Learn, MEM_ADDRESS_REQUIREMENTS: 0 = no wish; the highest address is the last byte. */
static void *reserve_by_alloc2(fallow__win32_alloc2 alloc2, const place *wanted)
{
    MEM_ADDRESS_REQUIREMENTS requirements = {
        .HighestEndingAddress = wanted->last == UINTPTR_MAX ? NULL : (void *)wanted->last,
        .Alignment = wanted->align_bytes,
    };
    MEM_EXTENDED_PARAMETER parameter = {.Type = MemExtendedParameterAddressRequirements};
    parameter.Pointer = &requirements;
    return alloc2(NULL, NULL, wanted->size_bytes, MEM_RESERVE, PAGE_READWRITE, &parameter, 1);
}

/* Without VirtualAlloc2: the free gaps, from the lowest address. A gap that another thread takes first is passed
 * over. */
static void *reserve_in_gap(const place *wanted)
{
    uintptr_t address = (uintptr_t)fallow__win32_basics()->lpMinimumApplicationAddress;
    MEMORY_BASIC_INFORMATION gap;
    while (address <= wanted->last && fallow__win32_next(&address, &gap)) {
        uintptr_t first = align_up((uintptr_t)gap.BaseAddress, wanted->align_bytes);
        uintptr_t gap_last = (uintptr_t)gap.BaseAddress + gap.RegionSize - 1;
        uintptr_t last = gap_last < wanted->last ? gap_last : wanted->last;
        if (gap.State == MEM_FREE && first >= (uintptr_t)gap.BaseAddress && ends_by(first, wanted, last)) {
            void *base = reserve_at(first, wanted->size_bytes);
            if (base != NULL) {
                return base;
            }
        }
    }
    SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    return NULL;
}

/* Without VirtualAlloc2: a part of an allocation cannot be given back, so reserve more, give that back whole, and
 * reserve at the aligned address inside. */
static void *reserve_aligned(const place *wanted)
{
    if (wanted->size_bytes > SIZE_MAX - wanted->align_bytes) {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
        return NULL;
    }
    for (int attempt = 0; attempt < ALIGN_ATTEMPTS; attempt++) {
        void *roomy = reserve_at(0, wanted->size_bytes + wanted->align_bytes);
        if (roomy == NULL) {
            return NULL;
        }
        uintptr_t aligned = align_up((uintptr_t)roomy, wanted->align_bytes);
        (void)VirtualFree(roomy, 0, MEM_RELEASE);
        void *base = reserve_at(aligned, wanted->size_bytes);
        if (base != NULL) {
            return base;
        }
    }
    return NULL;
}

static void *reserve_anywhere(const place *wanted)
{
    bool is_bounded = wanted->last != UINTPTR_MAX;
    if (!is_bounded && wanted->align_bytes == fallow__win32_basics()->dwAllocationGranularity) {
        return reserve_at(0, wanted->size_bytes);
    }
    fallow__win32_alloc2 alloc2 = fallow__win32_later_get()->alloc2;
    if (alloc2 != NULL) {
        return reserve_by_alloc2(alloc2, wanted);
    }
    return is_bounded ? reserve_in_gap(wanted) : reserve_aligned(wanted);
}

static place wanted_place(size_t size_bytes, const fallow_region_options *options)
{
    place wanted = {
        .size_bytes = size_bytes,
        .align_bytes = fallow__win32_basics()->dwAllocationGranularity,
        .last = UINTPTR_MAX,
    };
    if (options->align_bytes > wanted.align_bytes) {
        wanted.align_bytes = options->align_bytes;
    }
#if UINTPTR_MAX > UINT32_MAX
    if ((options->flags & FALLOW_REGION_LOW_4G) != 0) {
        wanted.last = UINT32_MAX;
    }
#endif
    return wanted;
}

/* Windows has no fork, no advice on huge pages and shows no names; a dump of the process holds what its maker asks for;
 * large pages are not offered (facts.c). So of the flags only those on the place stay. */
static void describe_region(fallow_region *region, void *base, size_t size_bytes, const fallow_region_options *options)
{
    *region = (fallow_region){
        .base = base,
        .size_bytes = size_bytes,
        .page_bytes = fallow__os_page_bytes(),
        .flags = options->flags & (FALLOW_REGION_EXACT | FALLOW_REGION_LOW_4G),
    };
    if (options->name != NULL) {
        strncpy(region->name, options->name, sizeof region->name - 1);
    }
}

fallow_status fallow__os_reserve(size_t size_bytes, const fallow_region_options *options, fallow_region *region_out,
                                 fallow__os_error *error_out)
{
    place wanted = wanted_place(size_bytes, options);
    bool is_exact = (options->flags & FALLOW_REGION_EXACT) != 0;
    void *base = options->hint != NULL ? reserve_at_hint(&wanted, options->hint) : NULL;
    if (base == NULL && !is_exact) {
        base = reserve_anywhere(&wanted);
    }
    if (base == NULL) {
        return fallow__win32_cause(FALLOW__WIN32_RESERVE, error_out);
    }
    describe_region(region_out, base, size_bytes, options);
    return FALLOW_OK;
}

/* Large pages are locked in memory, and cannot be reserved without being committed. The program must hold and have
 * enabled SeLockMemoryPrivilege. Wine 8.0 names a size and refuses the flag.
 * Source: Microsoft Learn, Large-Page Support */
fallow_status fallow__os_reserve_large(size_t size_bytes, const fallow_region_options *options,
                                       fallow_region *region_out, fallow__os_error *error_out)
{
    size_t large_bytes = GetLargePageMinimum();
    *error_out = (fallow__os_error){0};
    if (large_bytes < options->align_bytes || large_bytes == 0 || size_bytes > SIZE_MAX - large_bytes) {
        return FALLOW_ERR_UNSUPPORTED;
    }
    size_bytes = align_up(size_bytes, large_bytes);
    void *base = VirtualAlloc(NULL, size_bytes, MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES, PAGE_READWRITE);
    if (base == NULL) {
        fallow_status status = fallow__win32_cause(FALLOW__WIN32_CHANGE, error_out);
        return status == FALLOW_ERR_INVALID ? FALLOW_ERR_UNSUPPORTED : status;
    }
    describe_region(region_out, base, size_bytes, options);
    region_out->page_bytes = large_bytes;
    region_out->flags |= FALLOW_REGION_LARGE_PAGES;
    return FALLOW_OK;
}

fallow_status fallow__os_release(const fallow_region *region, fallow__os_error *error_out)
{
    if (!VirtualFree(region->base, 0, MEM_RELEASE)) {
        return fallow__win32_cause(FALLOW__WIN32_CHANGE, error_out);
    }
    return FALLOW_OK;
}

/* --- commit and decommit ----------------------------------------------------------------------------------- */

/* Windows charges the whole range or nothing. Wine 8.0 makes it accessible with one mprotect, which may stop partway
 * (limits are met mapping by mapping), and then still calls all of it reserved: decommitting what it calls reserved
 * puts that right, and does nothing on Windows. */
static void undo_commit(void *base, size_t size_bytes)
{
    uintptr_t address = (uintptr_t)base;
    uintptr_t end = address + size_bytes;
    MEMORY_BASIC_INFORMATION piece;
    uintptr_t first = address;
    while (first < end && fallow__win32_next(&address, &piece)) {
        size_t piece_bytes = (address < end ? address : end) - first;
        if (piece.State == MEM_RESERVE) {
            (void)VirtualFree((void *)first, piece_bytes, MEM_DECOMMIT);
        }
        first = address;
    }
}

fallow_status fallow__os_commit(const fallow_region *region, void *base, size_t size_bytes, fallow__os_error *error_out)
{
    (void)region;
    if (VirtualAlloc(base, size_bytes, MEM_COMMIT, PAGE_READWRITE) == NULL) {
        fallow_status status = fallow__win32_cause(FALLOW__WIN32_CHANGE, error_out);
        undo_commit(base, size_bytes);
        return status;
    }
    return FALLOW_OK;
}

/* Succeeds on pages that were never committed, too. */
fallow_status fallow__os_decommit(const fallow_region *region, void *base, size_t size_bytes, fallow__os_left *left_out,
                                  fallow__os_error *error_out)
{
    (void)region;
    if (!VirtualFree(base, size_bytes, MEM_DECOMMIT)) {
        *left_out = FALLOW__OS_LEFT_ALL;
        return fallow__win32_cause(FALLOW__WIN32_CHANGE, error_out);
    }
    *left_out = FALLOW__OS_LEFT_NOTHING;
    return FALLOW_OK;
}

/* --- while committed --------------------------------------------------------------------------------------- */

/* MEM_RESET takes a protection and ignores it. Whether the pages read zero now cannot be known without reading them:
 * Windows leaves them until it needs the memory, Wine 8.0 drops those that are not locked. */
static fallow_status purge_free(void *base, size_t size_bytes, fallow__os_error *error)
{
    if (VirtualAlloc(base, size_bytes, MEM_RESET, PAGE_READWRITE) == NULL) {
        return fallow__win32_cause(FALLOW__WIN32_CHANGE, error);
    }
    return FALLOW_OK;
}

/* DiscardVirtualMemory would keep the charge, but leaves the contents undefined. Microsoft Learn */
fallow_status fallow__os_purge(const fallow_region *region, void *base, size_t size_bytes, fallow_purge purge,
                               bool *is_zero_out, bool *is_committed_out, fallow__os_error *error_out)
{
    *is_zero_out = false;
    *is_committed_out = true;
    if (purge == FALLOW_PURGE_FREE) {
        return purge_free(base, size_bytes, error_out);
    }
    fallow__os_left left;
    fallow_status status = fallow__os_decommit(region, base, size_bytes, &left, error_out);
    if (status != FALLOW_OK) {
        return status;
    }
    status = fallow__os_commit(region, base, size_bytes, error_out);
    *is_zero_out = *is_committed_out = status == FALLOW_OK;
    return status;
}

/* There is no call for it. */
size_t fallow__os_purge_many(const fallow_region *region, const fallow__os_range *ranges, size_t count,
                             fallow_purge purge)
{
    (void)region;
    (void)ranges;
    (void)count;
    (void)purge;
    return 0;
}

static DWORD page_protection(fallow_protection protection)
{
    switch (protection) {
    case FALLOW_PROTECTION_NONE: return PAGE_NOACCESS;
    case FALLOW_PROTECTION_READ: return PAGE_READONLY;
    case FALLOW_PROTECTION_READ_WRITE: return PAGE_READWRITE;
    case FALLOW_PROTECTION_READ_EXECUTE: return PAGE_EXECUTE_READ;
    }
    return PAGE_NOACCESS;
}

fallow_status fallow__os_protect(const fallow_region *region, void *base, size_t size_bytes,
                                 fallow_protection protection, fallow__os_error *error_out)
{
    (void)region;
    DWORD before;
    if (!VirtualProtect(base, size_bytes, page_protection(protection), &before)) {
        return fallow__win32_cause(FALLOW__WIN32_CHANGE, error_out);
    }
    return FALLOW_OK;
}

/* Whether all of a range can be written: touching another page would end the program. */
static bool is_writable(const void *base, size_t size_bytes)
{
    uintptr_t address = (uintptr_t)base;
    uintptr_t end = address + size_bytes;
    MEMORY_BASIC_INFORMATION piece;
    while (address < end) {
        if (!fallow__win32_next(&address, &piece) || piece.State != MEM_COMMIT ||
            (piece.Protect & (PAGE_READWRITE | PAGE_EXECUTE_READWRITE)) == 0) {
            return false;
        }
    }
    return true;
}

/* PrefetchVirtualMemory reads what is in the page file; it is not said to back pages that were never touched. So each
 * page is written, in one instruction that leaves its contents whatever other threads do. */
fallow_status fallow__os_prefault(const fallow_region *region, void *base, size_t size_bytes,
                                  fallow__os_error *error_out)
{
    if (!is_writable(base, size_bytes)) {
        *error_out = (fallow__os_error){0};
        return FALLOW_ERR_INVALID;
    }
    char *bytes = base;
    for (size_t offset = 0; offset < size_bytes; offset += region->page_bytes) {
        (void)InterlockedOr((volatile LONG *)(void *)(bytes + offset), 0);
    }
    return FALLOW_OK;
}

/* A decommitted page faults and costs no entry in any table, where PAGE_NOACCESS would keep its memory and charge. */
fallow_status fallow__os_guard(const fallow_region *region, void *base, size_t size_bytes, fallow__os_error *error_out)
{
    fallow__os_left left;
    return fallow__os_decommit(region, base, size_bytes, &left, error_out);
}

fallow_status fallow__os_unguard(const fallow_region *region, void *base, size_t size_bytes,
                                 fallow__os_error *error_out)
{
    return fallow__os_commit(region, base, size_bytes, error_out);
}

/* 1,024 entries of 16 bytes: a stack frame that any thread has room for, and one call for 4 MiB. */
#define RESIDENT_PAGES 1024

fallow_status fallow__os_resident(const fallow_region *region, void *base, size_t size_bytes,
                                  size_t *resident_bytes_out, fallow__os_error *error_out)
{
    PSAPI_WORKING_SET_EX_INFORMATION pages[RESIDENT_PAGES];
    char *bytes = base;
    size_t resident_pages = 0;
    for (size_t offset = 0; offset < size_bytes;) {
        DWORD count = 0;
        for (; count < RESIDENT_PAGES && offset < size_bytes; count++, offset += region->page_bytes) {
            pages[count] = (PSAPI_WORKING_SET_EX_INFORMATION){.VirtualAddress = bytes + offset};
        }
        if (!K32QueryWorkingSetEx(GetCurrentProcess(), pages, count * (DWORD)sizeof pages[0])) {
            return fallow__win32_cause(FALLOW__WIN32_CHANGE, error_out);
        }
        for (DWORD page = 0; page < count; page++) {
            resident_pages += pages[page].VirtualAttributes.Valid;
        }
    }
    *resident_bytes_out = resident_pages * region->page_bytes;
    return FALLOW_OK;
}
