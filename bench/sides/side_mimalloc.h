/* mimalloc, in place of the C library's malloc. */
#include <mimalloc.h>

#define SIDE_NAME "mimalloc"
#define SIDE_IS_HARNESS 0

#include "side_malloc.h"

static const char *side_version(void)
{
    static char text[64];
    int version = mi_version();
    snprintf(text, sizeof text, "mimalloc %d.%d.%d", version / 100, version / 10 % 10, version % 10);
    return text;
}

static bool side_purge(void)
{
    mi_collect(true);
    return true;
}
