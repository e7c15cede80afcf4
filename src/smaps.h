/* The text of /proc/PID/smaps, as mappings.
 *
 * Pure text, fed in pieces of any length, from the kernel, from a file that someone sent, or from a fuzzer: so nothing
 * in it is believed that contradicts itself. Every mapping that comes out is one that could be (first < end, not below
 * the mapping before it, no figure larger than the mapping); what is none is counted as strange and left out.
 *
 *     bytes --feed--> line[512] --header--> the mapping that is open --next header, or end--> visit
 *                               '--field--> a figure of it
 *
 * Sees: os.h. */
#ifndef FALLOW_SMAPS_H
#define FALLOW_SMAPS_H

#include "os.h"

typedef struct fallow__smaps {
    fallow__os_visitor visit;
    void *context;
    bool is_stopped;        /* visit has returned false: the rest is ignored */
    bool is_open;           /* `open` waits for its fields */
    uint64_t strange_lines; /* neither a mapping nor a figure of one */
    uint64_t mapping_count;
    fallow__os_mapping open;
    bool has_access;       /* of `open`: readable, writable or executable */
    bool grows_down;       /* of `open` */
    uint64_t before_first; /* the mapping before: where it lies */
    uint64_t before_end;
    bool before_is_guard; /* a few pages of addresses without access and name */
    bool before_is_plain; /* private memory without a name */
    size_t line_bytes;
    char line[512];
} fallow__smaps;

void fallow__smaps_begin(fallow__smaps *smaps, fallow__os_visitor visit, void *context);
void fallow__smaps_feed(fallow__smaps *smaps, const char *bytes, size_t size_bytes);
void fallow__smaps_end(fallow__smaps *smaps);

#endif
