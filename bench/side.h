/* A side: one allocator as the workloads see it. The header named by BENCH_SIDE is compiled into the program of that
 * side, so that a call costs what the allocator's own user pays and nothing for the bench. Such a header defines
 *
 *   SIDE_NAME                    its name in the table
 *   SIDE_IS_HARNESS              1: no allocator; it has no memory worth measuring, and its runs may overlap
 *   side_version()               what was linked, as it tells itself
 *   side_begin()                 what a program does before its first run
 *   side_alloc(size_bytes)       a run; NULL when refused
 *   side_free(base, size_bytes)  its end
 *   side_purge()                 gives free memory back; false where there is no such call
 *
 * and SIDE_GIVES_BACK_AT_FREE where there is nothing left for side_purge to do; and, where it has arenas of a chosen
 * size, SIDE_HAS_ARENAS with side_begin_reserve and side_alloc_addresses. */
#ifndef FALLOW_BENCH_SIDE_H
#define FALLOW_BENCH_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Addresses that cost nothing until they are written to. */
static inline void *side_map(size_t size_bytes)
{
    void *base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        perror("fallow bench: mmap");
        exit(1);
    }
    return base;
}

#include BENCH_SIDE

#endif
