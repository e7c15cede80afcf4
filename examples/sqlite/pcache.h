/* SQLite's page cache in an arena.
 *
 * Each page of a database that is in memory is a run of its own, so a page that leaves the cache leaves a hole of just
 * its size, which the next page fills, lowest address first; what SQLite is asked to give back, or the arena has to
 * stay below its limit, goes back to the system. What the cache knows of a page (its number, its neighbours in the
 * lists, what SQLite keeps beside it) is an entry in slabs, runs of 16 KiB.
 *
 *   cache    buckets[number % bucket_count] -> entry -> entry          by page number
 *            oldest <-> ... <-> newest                                 entries that SQLite does not use right now
 *   entry    page | links | SQLite's own bytes                         page.pBuf is the run, page.pExtra those bytes */
#ifndef PCACHE_H
#define PCACHE_H

#include <fallow.h>

/* Have SQLite use `arena` for the page caches of all connections. Before sqlite3_initialize; a SQLITE_ code. The arena
 * has to live until sqlite3_shutdown. */
int pcache_use(fallow_arena *arena);

#endif
