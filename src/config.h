/* What is in force: defaults, environment variables, what kind of system this is. Sees: fallow.h, os.h. */
#ifndef FALLOW_CONFIG_H
#define FALLOW_CONFIG_H

#include "fallow.h"

enum {
    FALLOW__TRACE_PATH_BYTES = 1024
};

typedef struct fallow__config {
    fallow_purge purge; /* what DEFAULT means: never DEFAULT itself */
    bool is_purge_from_environment;
    size_t reserve_bytes; /* what 0 means, before RLIMIT_AS is looked at */
    bool is_reserve_from_environment;
    bool is_checking;                          /* FALLOW_DEBUG has `check`, */
    bool is_telling;                           /* `stats`, */
    char trace_path[FALLOW__TRACE_PATH_BYTES]; /* `trace=FILE`; else "" */
    size_t limit_bytes;                        /* what 0 means; 0 = no limit */
    fallow_scavenge scavenge;                  /* what DEFAULT means: never DEFAULT itself */
    char environment_error[160];
} fallow__config;

/* Read once per process, at the first call; never NULL. */
const fallow__config *fallow__config_get(void);

/* What reserve_bytes 0 means now: the configured size, less where RLIMIT_AS leaves little room. */
size_t fallow__config_reserve_bytes(void);

/* Parse "64G", "512M", "4096": digits and at most one of K M G T (either case), powers of 1024. false if it is anything
 * else, is 0, or does not fit size_t. */
bool fallow__config_parse_size(const char *text, size_t *size_out);

/* Parse "dontneed", "free" or "decommit". */
bool fallow__config_parse_purge(const char *text, fallow_purge *purge_out);

/* Parse words separated by commas: "check", "stats", "trace=FILE"; FILE has no comma in its name. All or nothing. */
bool fallow__config_parse_debug(const char *text, fallow__config *config_inout);

/* Parse "off", "assist" or "thread". */
bool fallow__config_parse_scavenge(const char *text, fallow_scavenge *scavenge_out);

/* Parse a size, or "1%" to "100%" of memory_bytes, which is 0 if it is not known. */
bool fallow__config_parse_limit(const char *text, uint64_t memory_bytes, size_t *limit_out);

/* From the facts of a system: what reserve_bytes 0 should mean there. Pure. */
size_t fallow__config_default_reserve(const fallow_system *system);

#endif
