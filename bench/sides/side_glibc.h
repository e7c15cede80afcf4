/* The C library's own malloc. Large runs begin with a header and are no page runs. */
#include <gnu/libc-version.h>
#include <malloc.h>

#define SIDE_NAME "glibc"
#define SIDE_IS_HARNESS 0

#include "side_malloc.h"

static const char *side_version(void)
{
    static char text[64];
    snprintf(text, sizeof text, "glibc %s", gnu_get_libc_version());
    return text;
}

static bool side_purge(void)
{
    malloc_trim(0);
    return true;
}
