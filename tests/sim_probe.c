/* probe.h on the simulation. A system call that writes to a page which was freed lazily would be answered EFAULT, where
 * the program itself would just write; so the simulation is told first. The host's probe is compiled under other names. */
#include "probe.h"
#include "sim_os.h"

bool host_can_read(const void *address);
bool host_can_write(void *address);
int host_fork(int (*in_child)(void));

bool probe_can_read(const void *address)
{
    return host_can_read(address);
}

bool probe_can_write(void *address)
{
    sim_before_write(address);
    return host_can_write(address);
}

static int (*to_do)(void);

static int run_in_child(void)
{
    sim_fork_child();
    return to_do();
}

/* A system like Windows has no forks, though the host may. */
int probe_fork(int (*in_child)(void))
{
    if (!sim_can_fork()) {
        return -1;
    }
    to_do = in_child;
    sim_fork_before();
    int result = host_fork(run_in_child);
    sim_fork_parent();
    return result;
}
