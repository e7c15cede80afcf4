/* probe.h on the simulation. A system call that writes to a page which was freed lazily would be answered EFAULT, where
 * the program itself would just write; so the simulation is told first. The host's probe is compiled under other names. */
#include "probe.h"
#include "sim_os.h"

bool host_can_read(const void *address);
bool host_can_write(void *address);

bool probe_can_read(const void *address)
{
    return host_can_read(address);
}

bool probe_can_write(void *address)
{
    sim_before_write(address);
    return host_can_write(address);
}
