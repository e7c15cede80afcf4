/* Regions: the public calls over os.h. Sees: fallow.h, os.h, status.h, config.h, bits.h.
 *
 * What is done here is the same on every system and is done before the system is asked: arguments are checked, sizes
 * rounded, empty ranges answered, refused reservations halved, failures recorded under the public function's name. What
 * os.h lets its implementations assume of a range is established in range_of() and nowhere else. */
#include "bits.h"
#include "config.h"
#include "os.h"
#include "status.h"

#define KNOWN_FLAGS                                                                                               \
    ((uint32_t)(FALLOW_REGION_EXACT | FALLOW_REGION_LOW_4G | FALLOW_REGION_NO_FORK | FALLOW_REGION_WIPE_ON_FORK | \
                FALLOW_REGION_NO_DUMP | FALLOW_REGION_HUGE_PAGES | FALLOW_REGION_LARGE_PAGES))

/* Part of a region that a call is about. */
typedef struct range {
    void *base;
    size_t size_bytes;
} range;

/* Record a failure of the range. */
static fallow_status fail_range(fallow_status status, const char *operation, range part, const fallow__os_error *error)
{
    return fallow__fail(status, operation, part.base, part.size_bytes, error);
}

/* Record what the system answered, if it refused. */
static fallow_status finish(fallow_status status, const char *operation, range part, const fallow__os_error *error)
{
    return status == FALLOW_OK ? FALLOW_OK : fail_range(status, operation, part, error);
}

/* Check a range and turn it into addresses. Whole pages inside the region; offset + size may not overflow either. A
 * region that is {0} has no page and no byte, so every range but the empty one is outside it. */
static fallow_status range_of(const fallow_region *region, size_t offset_bytes, size_t size_bytes,
                              const char *operation, range *range_out)
{
    FALLOW_REQUIRE(region != NULL, operation, NULL, "the region is NULL");
    *range_out = (range){region->base, size_bytes};
    if (size_bytes == 0) {
        return FALLOW_OK;
    }
    size_t page_mask = region->page_bytes - 1;
    if (offset_bytes > region->size_bytes || size_bytes > region->size_bytes - offset_bytes ||
        ((offset_bytes | size_bytes) & page_mask) != 0) {
        return fail_range(FALLOW_ERR_INVALID, operation, *range_out, NULL);
    }
    range_out->base = (char *)region->base + offset_bytes;
    return FALLOW_OK;
}

/* --- reserve and release ----------------------------------------------------------------------------------- */

static bool is_name_fitting(const char *name)
{
    if (name == NULL) {
        return true;
    }
    for (size_t i = 0; i < FALLOW_NAME_BYTES; i++) {
        if (name[i] == '\0') {
            return true;
        }
    }
    return false;
}

static bool is_placement_valid(const fallow_region_options *options, size_t page_bytes)
{
    uintptr_t hint = (uintptr_t)options->hint;
    size_t align_bytes = options->align_bytes;
    if (align_bytes != 0 && !fallow__is_power_of_two(align_bytes)) {
        return false;
    }
    if ((hint & (page_bytes - 1)) != 0) {
        return false;
    }
    if ((options->flags & FALLOW_REGION_EXACT) == 0) {
        return true;
    }
    return hint != 0 && (align_bytes == 0 || (hint & (align_bytes - 1)) == 0);
}

/* Whether a smaller reservation could succeed where one was refused: not if the count of mappings or a rule of the
 * system is in the way. Everything else is worth a try, because no errno can be relied on: valgrind says EINVAL to what
 * is too large, and mlockall(MCL_FUTURE) makes it EAGAIN. */
static bool is_size_to_blame(fallow_status status)
{
    return status != FALLOW_ERR_MAP_COUNT && status != FALLOW_ERR_PERMISSION && status != FALLOW_ERR_UNSUPPORTED;
}

/* Try the whole size, then half of it, and so on down to min_bytes; all are whole pages. */
static fallow_status reserve_halving(size_t size_bytes, size_t min_bytes, const fallow_region_options *options,
                                     fallow_region *region_out, fallow__os_error *error_out)
{
    size_t page_bytes = fallow__os_page_bytes();
    for (;;) {
        fallow_status status = fallow__os_reserve(size_bytes, options, region_out, error_out);
        if (status == FALLOW_OK || !is_size_to_blame(status)) {
            return status;
        }
        size_bytes = (size_t)fallow__align_down(size_bytes / 2, page_bytes);
        if (size_bytes < min_bytes || size_bytes == 0) {
            return status;
        }
    }
}

fallow_status fallow_region_reserve(size_t size_bytes, const fallow_region_options *options, fallow_region *region_out)
{
    static const char operation[] = "fallow_region_reserve";
    static const fallow_region_options no_options;
    FALLOW_REQUIRE(region_out != NULL, operation, NULL, "region_out is NULL");
    options = options != NULL ? options : &no_options;
    size_t page_bytes = fallow__os_page_bytes();
    range asked = {options->hint, size_bytes};
    size_t rounded_bytes;
    size_t min_bytes;
    if (size_bytes == 0 || !fallow__align_up_checked(size_bytes, page_bytes, &rounded_bytes) ||
        options->min_bytes > size_bytes || (options->flags & ~KNOWN_FLAGS) != 0 ||
        !is_placement_valid(options, page_bytes) || !is_name_fitting(options->name)) {
        return fail_range(FALLOW_ERR_INVALID, operation, asked, NULL);
    }
    /* cannot overflow where size_bytes did not; 0 = all or nothing */
    min_bytes = options->min_bytes == 0 ? rounded_bytes : (size_t)fallow__align_up(options->min_bytes, page_bytes);
    fallow__os_error error = {0};
    fallow_region region;
    fallow_status status = reserve_halving(rounded_bytes, min_bytes, options, &region, &error);
    if (status == FALLOW_OK) {
        *region_out = region;
    }
    return finish(status, operation, asked, &error);
}

fallow_status fallow_region_release(fallow_region *region)
{
    static const char operation[] = "fallow_region_release";
    FALLOW_REQUIRE(region != NULL, operation, NULL, "the region is NULL");
    if (region->base == NULL) {
        return FALLOW_OK;
    }
    fallow__os_error error = {0};
    fallow_status status = fallow__os_release(region, &error);
    if (status != FALLOW_OK) {
        return fail_range(status, operation, (range){region->base, region->size_bytes}, &error);
    }
    *region = (fallow_region){0};
    return FALLOW_OK;
}

/* --- what can be done with a range ------------------------------------------------------------------------- */

/* A call of os.h that takes a range and nothing more. */
typedef fallow_status range_call(const fallow_region *region, void *base, size_t size_bytes, fallow__os_error *error);

static fallow_status call_on_range(range_call *call, const fallow_region *region, size_t offset_bytes,
                                   size_t size_bytes, const char *operation)
{
    range part;
    fallow_status status = range_of(region, offset_bytes, size_bytes, operation, &part);
    if (status != FALLOW_OK || size_bytes == 0) {
        return status;
    }
    fallow__os_error error = {0};
    return finish(call(region, part.base, part.size_bytes, &error), operation, part, &error);
}

fallow_status fallow_region_commit(const fallow_region *region, size_t offset_bytes, size_t size_bytes)
{
    return call_on_range(fallow__os_commit, region, offset_bytes, size_bytes, "fallow_region_commit");
}

fallow_status fallow_region_prefault(const fallow_region *region, size_t offset_bytes, size_t size_bytes)
{
    return call_on_range(fallow__os_prefault, region, offset_bytes, size_bytes, "fallow_region_prefault");
}

fallow_status fallow_region_guard(const fallow_region *region, size_t offset_bytes, size_t size_bytes)
{
    return call_on_range(fallow__os_guard, region, offset_bytes, size_bytes, "fallow_region_guard");
}

fallow_status fallow_region_unguard(const fallow_region *region, size_t offset_bytes, size_t size_bytes)
{
    return call_on_range(fallow__os_unguard, region, offset_bytes, size_bytes, "fallow_region_unguard");
}

fallow_status fallow_region_decommit(const fallow_region *region, size_t offset_bytes, size_t size_bytes)
{
    static const char operation[] = "fallow_region_decommit";
    range part;
    fallow_status status = range_of(region, offset_bytes, size_bytes, operation, &part);
    if (status != FALLOW_OK || size_bytes == 0) {
        return status;
    }
    fallow__os_error error = {0};
    fallow__os_left left; /* the caller keeps no books for us: whatever is left, it may call again */
    return finish(fallow__os_decommit(region, part.base, part.size_bytes, &left, &error), operation, part, &error);
}

/* What DEFAULT means for a region, which has no books to keep decommitted pages apart. */
static fallow_purge effective_purge(fallow_purge purge)
{
    if (purge != FALLOW_PURGE_DEFAULT) {
        return purge;
    }
    return fallow__config_get()->purge == FALLOW_PURGE_FREE ? FALLOW_PURGE_FREE : FALLOW_PURGE_DONTNEED;
}

fallow_status fallow_region_purge(const fallow_region *region, size_t offset_bytes, size_t size_bytes,
                                  fallow_purge purge)
{
    static const char operation[] = "fallow_region_purge";
    range part;
    fallow_status status = range_of(region, offset_bytes, size_bytes, operation, &part);
    if (status != FALLOW_OK) {
        return status;
    }
    if (purge != FALLOW_PURGE_DEFAULT && purge != FALLOW_PURGE_DONTNEED && purge != FALLOW_PURGE_FREE) {
        return fail_range(FALLOW_ERR_INVALID, operation, part, NULL);
    }
    if (size_bytes == 0) {
        return FALLOW_OK;
    }
    fallow__os_error error = {0};
    bool is_zero;
    bool is_committed;
    status =
        fallow__os_purge(region, part.base, part.size_bytes, effective_purge(purge), &is_zero, &is_committed, &error);
    if (status != FALLOW_OK && !is_committed) {
        status = FALLOW_ERR_COMMIT; /* whatever stood in the way: the pages are reserved now */
    }
    return finish(status, operation, part, &error);
}

fallow_status fallow_region_protect(const fallow_region *region, size_t offset_bytes, size_t size_bytes,
                                    fallow_protection protection)
{
    static const char operation[] = "fallow_region_protect";
    range part;
    fallow_status status = range_of(region, offset_bytes, size_bytes, operation, &part);
    if (status != FALLOW_OK) {
        return status;
    }
    if ((unsigned)protection > FALLOW_PROTECTION_READ_EXECUTE) {
        return fail_range(FALLOW_ERR_INVALID, operation, part, NULL);
    }
    if (size_bytes == 0) {
        return FALLOW_OK;
    }
    fallow__os_error error = {0};
    return finish(fallow__os_protect(region, part.base, part.size_bytes, protection, &error), operation, part, &error);
}

fallow_status fallow_region_resident(const fallow_region *region, size_t offset_bytes, size_t size_bytes,
                                     size_t *resident_bytes_out)
{
    static const char operation[] = "fallow_region_resident";
    FALLOW_REQUIRE(resident_bytes_out != NULL, operation, NULL, "resident_bytes_out is NULL");
    range part;
    fallow_status status = range_of(region, offset_bytes, size_bytes, operation, &part);
    if (status != FALLOW_OK) {
        return status;
    }
    if (size_bytes == 0) {
        *resident_bytes_out = 0;
        return FALLOW_OK;
    }
    fallow__os_error error = {0};
    status = fallow__os_resident(region, part.base, part.size_bytes, resident_bytes_out, &error);
    return finish(status, operation, part, &error);
}
