/* How a failure is recorded. Sees: fallow.h, os.h, check.h. */
#ifndef FALLOW_STATUS_H
#define FALLOW_STATUS_H

#include "check.h"
#include "os.h"

/* Record a failure for fallow_last_failure() and return its status: `return fallow__fail(...)`. `error` is optional. */
fallow_status fallow__fail(fallow_status status, const char *operation, const void *base, size_t size_bytes,
                           const fallow__os_error *error);

#endif
