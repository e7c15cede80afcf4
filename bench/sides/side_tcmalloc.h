/* gperftools' tcmalloc, the variant without profilers. */
#include <gperftools/malloc_extension_c.h>
#include <gperftools/tcmalloc.h>

#define SIDE_NAME "tcmalloc"
#define SIDE_IS_HARNESS 0

#include "side_malloc.h"

static const char *side_version(void)
{
    return tc_version(NULL, NULL, NULL);
}

static bool side_purge(void)
{
    MallocExtension_ReleaseFreeMemory();
    return true;
}
