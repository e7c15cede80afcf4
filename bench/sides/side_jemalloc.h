/* jemalloc, in place of the C library's malloc. */
#include <jemalloc/jemalloc.h>
#include <string.h>

#define SIDE_NAME "jemalloc"
#define SIDE_IS_HARNESS 0

#include "side_malloc.h"

static const char *side_version(void)
{
    static char text[96];
    const char *version = "of unknown version";
    size_t size_bytes = sizeof version;
    mallctl("version", &version, &size_bytes, NULL, 0);
    snprintf(text, sizeof text, "jemalloc %.*s", (int)strcspn(version, "-"), version);
    return text;
}

static bool side_purge(void)
{
    char name[40];
    mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
    snprintf(name, sizeof name, "arena.%u.purge", (unsigned)MALLCTL_ARENAS_ALL);
    return mallctl(name, NULL, NULL, NULL, 0) == 0;
}
