/* A program of someone else's that uses regions: a buffer with a guard behind it, grown as it is written to. */
#include <fallow.h>

#include <stdio.h>
#include <string.h>

#define RESERVE_BYTES ((size_t)16 << 20)
#define STEP_BYTES ((size_t)64 << 10)

static int fail(const char *what, fallow_status status)
{
    fprintf(stderr, "%s: %s: %s\n", what, fallow_status_name(status), fallow_status_message(status));
    return 1;
}

int main(void)
{
    fallow_region region;
    fallow_status status = fallow_region_reserve(RESERVE_BYTES, NULL, &region);
    if (status != FALLOW_OK) {
        return fail("reserve", status);
    }
    for (size_t end_bytes = 0; end_bytes < RESERVE_BYTES / 2; end_bytes += STEP_BYTES) {
        status = fallow_region_commit(&region, end_bytes, STEP_BYTES);
        if (status != FALLOW_OK) {
            return fail("commit", status);
        }
        memset((char *)region.base + end_bytes, (int)(end_bytes / STEP_BYTES), STEP_BYTES);
    }
    status = fallow_region_guard(&region, RESERVE_BYTES / 2 - region.page_bytes, region.page_bytes);
    if (status != FALLOW_OK) {
        return fail("guard", status);
    }
    const unsigned char *bytes = region.base;
    if (bytes[STEP_BYTES - 1] != 0 || bytes[STEP_BYTES] != 1 || bytes[5 * STEP_BYTES + 17] != 5) {
        fprintf(stderr, "the bytes are not what was written\n");
        return 1;
    }
    status = fallow_region_release(&region);
    if (status != FALLOW_OK) {
        return fail("release", status);
    }
    printf("fallow %s by pkg-config\n", fallow_version());
    return 0;
}
