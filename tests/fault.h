/* Refuse call number N of an operation, on the simulated system (fault_sim.c), on a real Linux (posix/fault.c) or on
 * Windows (win32/fault.c): what fault_arena.c and fault_region.c are linked with. */
#ifndef FALLOW_FAULT_H
#define FALLOW_FAULT_H

#include <stdbool.h>

/* Where the tests run: the systems that can be had here, one after another. */
unsigned fault_system_count(void);
void fault_begin(unsigned system);

/* Nothing is left behind since fault_begin. */
bool fault_end(void);

/* In how many ways a call can be refused: outright, half done, and so on. */
unsigned fault_way_count(void);
const char *fault_way_name(unsigned way);

/* From now on let `skip` calls through, and refuse the next one in this way (or all, where the way says so). */
void fault_refuse(unsigned way, unsigned skip);

/* Refuse nothing any more; how many were refused. */
unsigned fault_stop(void);

/* Run the tests where calls can be refused: in a child with a filter, or just so. Returns what main returns. */
int fault_main(int (*tests)(void));

#endif
