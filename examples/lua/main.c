/* lua-limit: run Lua scripts, one after another in one state, whose whole heap is an arena with a limit.
 *
 *   lua-limit LIMIT SCRIPT...     LIMIT in KiB; 0 = none; "stock" = the C library's memory, as a Lua without all this
 *   lua-limit raise SCRIPT        raise the limit from nothing, a page at a time, until the script succeeds
 *
 * A script that exceeds the limit gets Lua's own error, and the next one runs. What the memory came to is told on
 * stderr. */
#include "heap.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAISE_BYTES ((size_t)16 << 10)
#define RAISE_LIMIT_BYTES ((size_t)64 << 20)

static int open_libraries(lua_State *state)
{
    luaL_openlibs(state);
    return 0;
}

/* One of the LUA_ codes, its message told on stderr unless `is_quiet`. */
static int run(lua_State *state, const char *script, bool is_quiet)
{
    int code = luaL_loadfile(state, script);
    if (code == LUA_OK) {
        code = lua_pcall(state, 0, 0, 0);
    }
    if (code != LUA_OK) {
        if (!is_quiet) {
            fprintf(stderr, "%s: %s\n", script, lua_tostring(state, -1));
        }
        lua_pop(state, 1);
    }
    return code;
}

static int open_state(lua_Alloc alloc, void *data, lua_State **state_out)
{
    lua_State *state = alloc != NULL ? lua_newstate(alloc, data) : luaL_newstate();
    *state_out = state;
    if (state == NULL) {
        return LUA_ERRMEM;
    }
    lua_pushcfunction(state, open_libraries);
    return lua_pcall(state, 0, 0, 0);
}

static bool is_empty_and_sound(const lua_heap *heap)
{
    fallow_arena_stats stats;
    fallow_arena_read_stats(heap->arena, &stats);
    return stats.in_use_bytes == 0 && stats.run_count == 0 && fallow_arena_check(heap->arena) == FALLOW_OK;
}

static void tell(const lua_heap *heap)
{
    fallow_arena_stats stats;
    fallow_arena_read_stats(heap->arena, &stats);
    fprintf(stderr, "arena: %zu KiB in use in %zu runs, %zu at most; %zu backed, %zu reserved\n",
            stats.in_use_bytes >> 10, stats.run_count, stats.peak_in_use_bytes >> 10, stats.backed_bytes >> 10,
            stats.reserved_bytes >> 10);
}

static int raise_limit(const char *script)
{
    size_t refused = 0;
    for (size_t limit_bytes = RAISE_BYTES; limit_bytes <= RAISE_LIMIT_BYTES; limit_bytes += RAISE_BYTES) {
        lua_heap heap;
        lua_State *state;
        const fallow_status status = heap_create(limit_bytes, &heap);
        if (status == FALLOW_ERR_LIMIT) { /* less than the arena's own bookkeeping */
            refused++;
            continue;
        }
        if (status != FALLOW_OK) {
            fprintf(stderr, "lua-limit: %s\n", fallow_status_message(status));
            return 1;
        }
        int code = open_state(heap_lua, &heap, &state);
        if (code == LUA_OK) {
            code = run(state, script, true);
        }
        if (state != NULL) {
            lua_close(state);
        }
        const bool is_clean = is_empty_and_sound(&heap);
        heap_destroy(&heap);
        if (!is_clean || (code != LUA_OK && code != LUA_ERRMEM)) {
            fprintf(stderr, "lua-limit: with %zu KiB: code %d, heap %s\n", limit_bytes >> 10, code,
                    is_clean ? "empty" : "not empty or damaged");
            return 1;
        }
        if (code == LUA_OK) {
            printf("%s succeeds with %zu KiB, after %zu refusals\n", script, limit_bytes >> 10, refused);
            return 0;
        }
        refused++;
    }
    fprintf(stderr, "lua-limit: %s does not succeed\n", script);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: lua-limit LIMIT|stock|raise SCRIPT...\n");
        return 2;
    }
    if (strcmp(argv[1], "raise") == 0) {
        return raise_limit(argv[2]);
    }
    const bool is_stock = strcmp(argv[1], "stock") == 0;
    lua_heap heap;
    lua_State *state;
    if (!is_stock) {
        const fallow_status status = heap_create(strtoul(argv[1], NULL, 10) << 10, &heap);
        if (status != FALLOW_OK) {
            fprintf(stderr, "lua-limit: %s\n", fallow_status_message(status));
            return 1;
        }
    }
    int exit_code = 0;
    if (open_state(is_stock ? NULL : heap_lua, &heap, &state) != LUA_OK) {
        fprintf(stderr, "lua-limit: not enough memory for Lua itself\n");
        exit_code = 1;
    }
    for (int i = 2; i < argc && exit_code == 0; i++) {
        const int code = run(state, argv[i], false);
        printf("%s: %s\n", argv[i], code == LUA_OK ? "done" : code == LUA_ERRMEM ? "out of memory" : "error");
        lua_gc(state, LUA_GCCOLLECT);
        if (!is_stock) {
            tell(&heap);
        }
    }
    if (state != NULL) {
        lua_close(state);
    }
    if (!is_stock) {
        if (!is_empty_and_sound(&heap)) {
            fprintf(stderr, "lua-limit: the heap is not empty, or damaged\n");
            exit_code = 1;
        }
        heap_destroy(&heap);
    }
    return exit_code;
}
