/* fallow_set_log: where log lines go. The callback and its context change together, under a lock that is not held while
 * the callback runs, so that it may do as it likes. */
#include "log.h"

#include <string.h>

#include "os.h"

static fallow__os_once log_once;
static fallow__os_lock log_lock;
static fallow_log log_callback;
static void *log_context;

static void log_before_fork(void)
{
    fallow__os_lock_acquire(&log_lock);
}

static void log_after_fork_in_parent(void)
{
    fallow__os_lock_release(&log_lock);
}

static void log_after_fork_in_child(void)
{
    fallow__os_lock_init(&log_lock);
}

static void log_begin(void)
{
    fallow__os_lock_init(&log_lock);
    (void)fallow__os_at_fork(log_before_fork, log_after_fork_in_parent, log_after_fork_in_child);
}

void fallow_set_log(fallow_log log, void *context)
{
    fallow__os_run_once(&log_once, log_begin);
    fallow__os_lock_acquire(&log_lock);
    log_callback = log;
    log_context = context;
    fallow__os_lock_release(&log_lock);
}

void fallow__log(const char *line)
{
    fallow__os_run_once(&log_once, log_begin);
    fallow__os_lock_acquire(&log_lock);
    fallow_log callback = log_callback;
    void *context = log_context;
    fallow__os_lock_release(&log_lock);
    if (callback != NULL) {
        callback(context, line);
        return;
    }
    fallow__os_print("fallow: ");
    fallow__os_print(line);
    fallow__os_print("\n");
}

bool fallow__log_write(void *log_lines, const char *text, size_t bytes)
{
    fallow__log_lines *lines = log_lines;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\n') {
            lines->line[lines->used] = '\0';
            lines->used = 0;
            fallow__log(lines->line);
        } else if (lines->used + 1 < sizeof lines->line) {
            lines->line[lines->used++] = text[i];
        }
    }
    return true;
}
