/* The real memory that the simulated system lies on. tests/posix/sim_host.c, tests/win32/sim_host.c.
 *
 * One reservation, made at the beginning; every call but the first ends the program when the host refuses, because a
 * test cannot go on then. Ranges are whole pages of the host, inside the reservation. */
#ifndef FALLOW_SIM_HOST_H
#define FALLOW_SIM_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sim_host_access {
    SIM_HOST_NONE,
    SIM_HOST_READ,
    SIM_HOST_WRITE,  /* and read */
    SIM_HOST_EXECUTE /* and read */
} sim_host_access;

size_t sim_host_page_bytes(void);

/* As much address space as a simulation has unless it asks for some; halved where the host has not got it. */
uint64_t sim_host_space_bytes(void);

/* Addresses that fault. NULL: there is not so much room. */
void *sim_host_reserve(size_t size_bytes, size_t align_bytes);
void *sim_host_reserve_low(size_t size_bytes); /* below 4 GiB */
void sim_host_release(void *base, size_t size_bytes);

/* From now on sim_host_zero may clear memory and keep it, where that is faster; sim_host_resident then counts it. false
 * where the host does no such thing. sim_host_settle gives back what was kept in a range, none of which is accessible. */
bool sim_host_keep(bool is_wanted);
void sim_host_settle(void *base, size_t size_bytes);

/* All that was reserved is accessible from now on, before anything else is done with it. false: the host cannot. */
bool sim_host_open(void *base, size_t size_bytes);

/* Contents gone, memory given back, faults. */
void sim_host_drop(void *base, size_t size_bytes);

/* Contents stay; what was dropped, or never used, is zero. NONE only for what is accessible, or
 * where memory is kept. */
void sim_host_set_access(void *base, size_t size_bytes, sim_host_access access);

/* Accessible memory is zero now; its access stays as it is, which is `access`. */
void sim_host_zero(void *base, size_t size_bytes, sim_host_access access);

/* Bytes of those pages of page_bytes that are in memory, at least in part. The range is accessible or was. */
size_t sim_host_resident(void *base, size_t size_bytes, size_t page_bytes);

/* From now on ask is_write_fine(address) when an access faults: true tries again, false lets the program die as it
 * would have. May be called again, and must be, when something else may have taken the signal. */
void sim_host_watch(bool (*is_write_fine)(void *address));

/* As fallow__os_environment. */
int sim_host_environment(const char *name, char *buffer_out, size_t buffer_bytes);

/* Let another thread run; or stay away for some 50 microseconds. */
void sim_host_yield(bool is_rest);

/* A thread; NULL if the host refuses. Each is joined. */
typedef struct sim_host_thread sim_host_thread;
sim_host_thread *sim_host_thread_start(void (*run)(void *context), void *context);
void sim_host_thread_join(sim_host_thread *thread);

/* From now on this thread and those it starts run on one processor, where turns change faster; or as before. */
void sim_host_gather(bool is_one);

/* A gate is shut at first. One thread waits at it until it is opened; then it is shut again. Opened before anybody waits,
 * it lets the next one through. */
typedef struct sim_host_gate sim_host_gate;
sim_host_gate *sim_host_gate_create(void);
void sim_host_gate_destroy(sim_host_gate *gate);
void sim_host_gate_open(sim_host_gate *gate);
void sim_host_gate_wait(sim_host_gate *gate);

/* As fallow__os_at_thread_exit; false if the host refuses. */
bool sim_host_at_thread_exit(void (*leave)(void));

/* As fallow__os_barrier_all_threads. */
bool sim_host_barrier(void);

#endif
