/* FALLOW_DEBUG=stats,trace=FILE, from the arena's side. What is told when an arena is destroyed is told at the end of
 * the program of those that are left. */
#include "debug.h"

#include <string.h>

#include "arenas.h"
#include "config.h"
#include "log.h"
#include "map.h"
#include "os.h"
#include "stats.h"
#include "tracer.h"

static fallow__os_once debug_once;

/* --- statistics ------------------------------------------------------------------------------------------ */

static void log_stats(const fallow__arena_view *view)
{
    fallow__named_stats named = {.id = view->id};
    fallow__log_lines lines = {0};
    fallow__writer writer;
    memcpy(named.name, view->name, sizeof named.name);
    fallow_arena_read_stats(view->arena, &named.stats);
    fallow__write_begin(&writer, fallow__log_write, &lines);
    fallow__stats_write_text(&writer, &named);
    (void)fallow__write_end(&writer);
}

/* --- the end of the program ------------------------------------------------------------------------------ */

static void program_ends(void)
{
    fallow__arena_view view = {0};
    while (fallow__config_get()->is_telling && fallow__arenas_view(view.id, NULL, &view)) {
        log_stats(&view);
        fallow__arenas_unview(&view);
    }
    if (fallow__tracer_begin()) {
        fallow__tracer_flush(true);
    }
}

static void at_exit_once(void)
{
    fallow__os_at_exit(program_ends);
}

bool fallow__debug_begin(const char *name)
{
    bool is_traced = fallow__tracer_begin();
    if (is_traced || fallow__config_get()->is_telling) {
        fallow__os_run_once(&debug_once, at_exit_once);
    }
    if (is_traced) {
        fallow__tracer_comment(name[0] != '\0' ? name : "an arena without a name");
    }
    return is_traced;
}

/* --- arenas ---------------------------------------------------------------------------------------------- */

/* The runs that are live end with the arena. */
static void trace_end_of_runs(fallow_arena *arena)
{
    fallow__map_source source;
    fallow__map_part part;
    fallow__map_range ranges[FALLOW__MAP_BITE];
    fallow__arena_map_source(arena, &source);
    for (size_t index = 0; source.part(arena, index, &part); index++) {
        for (uint64_t page = 0; page < part.page_count;) {
            size_t count = source.ranges(arena, index, page, part.page_count, ranges);
            for (size_t i = 0; i < count; i++) {
                if (ranges[i].run_pages != 0 && ranges[i].first == ranges[i].run_first) {
                    uint64_t address = part.base + ranges[i].first * source.page_bytes;
                    fallow__tracer_free((const void *)(uintptr_t)address);
                }
            }
            page = ranges[count - 1].first + ranges[count - 1].count;
        }
    }
}

void fallow__debug_leave(fallow_arena *arena, bool is_traced)
{
    fallow__arena_view view;
    if (fallow__config_get()->is_telling && fallow__arenas_view(0, arena, &view)) {
        log_stats(&view);
        fallow__arenas_unview(&view);
    }
    if (is_traced) {
        trace_end_of_runs(arena);
        fallow__tracer_flush(false);
    }
}
