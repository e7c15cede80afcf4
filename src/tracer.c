/* A trace of all arenas of this process, in one file.
 *
 * Lines are put together in a buffer, under a lock of its own: whole ones, so that what is in the file is a trace at
 * any time. The lock may be held while the system writes; no arena's is. The file is not there before, and belongs to
 * this process: where its name is taken, the process id is put behind it; the child of a fork traces nothing. When it
 * cannot be written further, the trace ends, and that is logged. */
#include "tracer.h"

#include <string.h>

#include "config.h"
#include "log.h"
#include "os.h"
#include "writer.h"

enum {
    BUFFER_BYTES = 32 << 10,
    LINE_BYTES_MAX = 512 /* kept free: so much is added at a time */
};

static fallow__os_once trace_once;
static fallow__os_lock trace_lock;
static fallow__os_file trace_file;
static bool is_open;
static bool is_through;       /* the program ends: nothing is kept back */
static const char *complaint; /* to be logged when no lock is held; NULL = none */
static size_t buffer_used;
static char buffer[BUFFER_BYTES];

static bool append(void *context, const char *text, size_t bytes)
{
    (void)context;
    bool fits = bytes <= BUFFER_BYTES - buffer_used;
    if (fits) {
        memcpy(buffer + buffer_used, text, bytes);
        buffer_used += bytes;
    }
    return fits;
}

static void write_buffer(void)
{
    if (is_open && buffer_used != 0 && !fallow__os_file_write(&trace_file, buffer, buffer_used)) {
        fallow__os_file_close(&trace_file);
        is_open = false;
        complaint = ": the file cannot be written further; the trace ends here";
    }
    buffer_used = 0;
}

/* --- opening ------------------------------------------------------------------------------------------------- */

static void trace_before_fork(void)
{
    fallow__os_lock_acquire(&trace_lock);
}

static void trace_after_fork_in_parent(void)
{
    fallow__os_lock_release(&trace_lock);
}

static void trace_after_fork_in_child(void)
{
    fallow__os_lock_init(&trace_lock);
    if (is_open) {
        fallow__os_file_close(&trace_file);
    }
    is_open = false;
    buffer_used = 0;
}

static size_t add_text(char *path, size_t path_bytes, size_t length, const char *text)
{
    while (*text != '\0' && length < path_bytes) {
        path[length++] = *text++;
    }
    return length;
}

/* The name asked for, with the process id for each %p; and behind it, if is_second. false: too long. */
static bool trace_path(bool is_second, char *path_out, size_t path_bytes)
{
    const fallow__words id = fallow__number_words(fallow__os_process_id());
    size_t length = 0;
    for (const char *asked = fallow__config_get()->trace_path; *asked != '\0';) {
        bool is_id = asked[0] == '%' && asked[1] == 'p';
        const char one[] = {*asked, '\0'};
        length = add_text(path_out, path_bytes, length, is_id ? id.text : one);
        asked += is_id ? 2 : 1;
    }
    if (is_second) {
        length = add_text(path_out, path_bytes, length, ".");
        length = add_text(path_out, path_bytes, length, id.text);
    }
    if (length == path_bytes) {
        return false;
    }
    path_out[length] = '\0';
    return true;
}

/* Release the lock, and log what there is to complain of. */
static void release_and_log(void)
{
    const char *what = complaint;
    complaint = NULL;
    fallow__os_lock_release(&trace_lock);
    if (what == NULL) {
        return;
    }
    fallow__log_lines lines = {0};
    fallow__writer writer;
    fallow__write_begin(&writer, fallow__log_write, &lines);
    fallow__write_text(&writer, "FALLOW_DEBUG=trace=");
    fallow__write_foreign(&writer, fallow__config_get()->trace_path);
    fallow__write_text(&writer, what);
    fallow__write_text(&writer, "\n");
    (void)fallow__write_end(&writer);
}

static void trace_open(void)
{
    char path[FALLOW__TRACE_PATH_BYTES + 64];
    bool is_taken = false;
    fallow__os_lock_init(&trace_lock);
    (void)fallow__os_at_fork(trace_before_fork, trace_after_fork_in_parent, trace_after_fork_in_child);
    is_open = trace_path(false, path, sizeof path) && fallow__os_file_create(path, &trace_file, &is_taken);
    if (!is_open && is_taken) {
        is_open = trace_path(true, path, sizeof path) && fallow__os_file_create(path, &trace_file, &is_taken);
    }
    if (!is_open) {
        complaint = is_taken ? ": there is such a file already; nothing is traced"
                             : ": the file cannot be created; nothing is traced";
    }
}

bool fallow__tracer_begin(void)
{
    if (fallow__config_get()->trace_path[0] == '\0') {
        return false;
    }
    fallow__os_run_once(&trace_once, trace_open);
    fallow__os_lock_acquire(&trace_lock);
    bool is_begun = is_open;
    release_and_log();
    return is_begun;
}

/* --- lines --------------------------------------------------------------------------------------------------- */

static void begin_lines(fallow__writer *writer)
{
    fallow__os_lock_acquire(&trace_lock);
    if (buffer_used > BUFFER_BYTES - LINE_BYTES_MAX) {
        write_buffer();
    }
    fallow__write_begin(writer, append, NULL);
}

static void end_lines(fallow__writer *writer)
{
    (void)fallow__write_end(writer);
    if (is_through) {
        write_buffer();
    }
    release_and_log();
}

static void write_run(fallow__writer *writer, const char *letter, const void *base, size_t size_bytes)
{
    fallow__write_text(writer, letter);
    fallow__write_number(writer, (uintptr_t)base);
    fallow__write_text(writer, " ");
    fallow__write_number(writer, size_bytes);
}

void fallow__tracer_comment(const char *comment)
{
    fallow__writer writer;
    begin_lines(&writer);
    fallow__write_text(&writer, "# ");
    fallow__write_foreign(&writer, comment);
    fallow__write_text(&writer, "\n");
    end_lines(&writer);
}

void fallow__tracer_run(const void *base, size_t size_bytes, size_t align_bytes, bool is_uncommitted)
{
    fallow__writer writer;
    begin_lines(&writer);
    write_run(&writer, is_uncommitted ? "u " : "a ", base, size_bytes);
    if (align_bytes != 0) {
        fallow__write_text(&writer, " ");
        fallow__write_number(&writer, align_bytes);
    }
    fallow__write_text(&writer, "\n");
    end_lines(&writer);
}

static void write_free(fallow__writer *writer, const void *base)
{
    fallow__write_text(writer, "f ");
    fallow__write_number(writer, (uintptr_t)base);
    fallow__write_text(writer, "\n");
}

void fallow__tracer_free(const void *base)
{
    fallow__writer writer;
    begin_lines(&writer);
    write_free(&writer, base);
    end_lines(&writer);
}

void fallow__tracer_change(const void *base, size_t size_bytes, size_t rest_bytes, bool is_uncommitted)
{
    const char *letter = is_uncommitted ? "u " : "a ";
    fallow__writer writer;
    begin_lines(&writer);
    write_free(&writer, base);
    write_run(&writer, letter, base, size_bytes);
    if (rest_bytes != 0) {
        fallow__write_text(&writer, "\n");
        write_run(&writer, letter, (const char *)base + size_bytes, rest_bytes);
    }
    fallow__write_text(&writer, "\n");
    end_lines(&writer);
}

void fallow__tracer_flush(bool is_last)
{
    fallow__writer writer;
    begin_lines(&writer);
    is_through = is_through || is_last;
    write_buffer();
    end_lines(&writer);
}
