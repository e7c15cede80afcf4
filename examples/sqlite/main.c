/* sqlite-cache: run SQL on a database, with SQLite's page cache in an arena.
 *
 *   sqlite-cache LIMIT DATABASE SCRIPT     LIMIT of the arena in KiB; 0 = none; "stock" = SQLite's own page cache
 *
 * Rows are printed as the sqlite3 shell does. What the cache came to is told on stderr, before and after SQLite is asked
 * to give memory back. Exits 1 on an error of SQL, 3 where memory was short. */
#include "pcache.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print_row(void *context, int count, char **values, char **names)
{
    (void)context;
    (void)names;
    for (int i = 0; i < count; i++) {
        printf("%s%s", i > 0 ? "|" : "", values[i] != NULL ? values[i] : "");
    }
    printf("\n");
    return 0;
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        const long size = ftell(file);
        rewind(file);
        text = size >= 0 ? calloc(1, (size_t)size + 1) : NULL;
        if (text != NULL && fread(text, 1, (size_t)size, file) != (size_t)size) {
            free(text);
            text = NULL;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return text;
}

static void tell(fallow_arena *arena, const char *when)
{
    fallow_arena_stats stats;
    if (arena != NULL) {
        fallow_arena_read_stats(arena, &stats);
        fprintf(stderr, "%s: %zu KiB in use in %zu runs, %zu at most; %zu backed\n", when, stats.in_use_bytes >> 10,
                stats.run_count, stats.peak_in_use_bytes >> 10, stats.backed_bytes >> 10);
    }
}

static int run(const char *database, const char *script, fallow_arena *arena)
{
    sqlite3 *connection = NULL;
    char *message = NULL;
    int code = sqlite3_open(database, &connection);
    if (code == SQLITE_OK) {
        code = sqlite3_exec(connection, script, print_row, NULL, &message);
    }
    if (code != SQLITE_OK) {
        fprintf(stderr, "sqlite-cache: %s\n", message != NULL ? message : sqlite3_errstr(code));
    }
    sqlite3_free(message);
    tell(arena, "done");
    if (connection != NULL) { /* there is none where not even that had memory */
        sqlite3_db_release_memory(connection);
    }
    tell(arena, "given back");
    const int closed = sqlite3_close(connection);
    return code != SQLITE_OK ? code : closed;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: sqlite-cache LIMIT|stock DATABASE SCRIPT\n");
        return 2;
    }
    fallow_arena *arena = NULL;
    fallow_system system;
    fallow_system_info(&system);
    if (strcmp(argv[1], "stock") != 0) {
        const fallow_arena_options options = {
            .page_bytes = system.page_bytes, /* SQLite's own pages are 4 KiB unless it is told otherwise */
            .limit_bytes = strtoul(argv[1], NULL, 10) << 10,
            .name = "sqlite page cache",
        };
        const fallow_status status = fallow_arena_create(&options, &arena);
        if (status != FALLOW_OK || pcache_use(arena) != SQLITE_OK) {
            fprintf(stderr, "sqlite-cache: no arena: %s\n", fallow_status_message(status));
            return status == FALLOW_ERR_LIMIT ? 3 : 1;
        }
    }
    char *script = read_file(argv[3]);
    if (script == NULL) {
        fprintf(stderr, "sqlite-cache: %s cannot be read\n", argv[3]);
        return 2;
    }
    const int code = run(argv[2], script, arena);
    free(script);
    sqlite3_shutdown();
    if (arena != NULL) {
        fallow_arena_stats stats;
        fallow_arena_read_stats(arena, &stats);
        if (stats.in_use_bytes != 0 || fallow_arena_check(arena) != FALLOW_OK) {
            fprintf(stderr, "sqlite-cache: the arena is not empty, or damaged\n");
            return 1;
        }
        fallow_arena_destroy(arena);
    }
    return code == SQLITE_OK ? 0 : code == SQLITE_NOMEM ? 3 : 1;
}
