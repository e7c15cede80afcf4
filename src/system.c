/* What this machine allows, what is in force, and what this process uses: the system's facts and the library's
 * decisions put together. Sees: fallow.h, os.h, config.h, status.h. */
#include <string.h>

#include "config.h"
#include "os.h"
#include "status.h"

void fallow_system_info(fallow_system *system_out)
{
    FALLOW_REQUIRE(system_out != NULL, "fallow_system_info", NULL, "system_out is NULL");
    fallow__os_system(system_out);
    const fallow__config *config = fallow__config_get();
    system_out->purge = config->purge;
    system_out->is_purge_from_environment = config->is_purge_from_environment;
    system_out->reserve_bytes = fallow__config_reserve_bytes();
    system_out->is_reserve_from_environment = config->is_reserve_from_environment;
    system_out->limit_bytes = config->limit_bytes;
    system_out->scavenge = config->scavenge;
    _Static_assert(sizeof system_out->environment_error == sizeof config->environment_error, "the text fits");
    memcpy(system_out->environment_error, config->environment_error, sizeof config->environment_error);
}

fallow_status fallow_process_info(fallow_process *process_out)
{
    static const char operation[] = "fallow_process_info";
    FALLOW_REQUIRE(process_out != NULL, operation, NULL, "process_out is NULL");
    fallow__os_error error = {0};
    fallow_status status = fallow__os_process(process_out, &error);
    return status == FALLOW_OK ? FALLOW_OK : fallow__fail(status, operation, NULL, 0, &error);
}
