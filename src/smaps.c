/* What a line of /proc/PID/smaps means. Source: Linux Documentation/filesystems/proc.rst, fs/proc/task_mmu.c
 *
 *     7f0000000000-7f0000021000 rw-p 00000000 00:00 0          [anon:name]     a mapping: perms, offset, device, inode
 *     Rss:                   8 kB                                              its figures, one a line
 *     VmFlags: rd wr mr mw me ac                                               two letters each
 *
 * /proc/PID/maps has the first lines only, and is understood too; what is resident is then not told. */
#include "smaps.h"

#include <string.h>

/* A guard page below a stack may be several: 64 KiB pages, pthread_attr_setguardsize. */
#define GUARD_BYTES_MAX ((uint64_t)64 << 10)

/* What a thread's heap reserves in glibc on 64 bits: HEAP_MAX_SIZE, malloc/arena.c, with DEFAULT_MMAP_THRESHOLD_MAX of
 * 32 MiB. It is aligned to its size; what is used is at its start. */
#define GLIBC_HEAP_BYTES ((uint64_t)64 << 20)

/* Where Go's heap begins on 64-bit systems, if it can. Source: Go, src/runtime/malloc.go, mallocinit, 0x00c0<<32 */
#define GO_HEAP_FIRST ((uint64_t)0xc0 << 32)
#define GO_HEAP_END ((uint64_t)0xc1 << 32)

void fallow__smaps_begin(fallow__smaps *smaps, fallow__os_visitor visit, void *context)
{
    *smaps = (fallow__smaps){.visit = visit, .context = context};
}

/* --- small readers: each moves *text behind what it has read, or returns false ------------------------------- */

static bool read_number(const char **text, unsigned base, uint64_t *number_out)
{
    const char *digit = *text;
    uint64_t number = 0;
    for (;; digit++) {
        unsigned value = base;
        if (*digit >= '0' && *digit <= '9') {
            value = (unsigned)(*digit - '0');
        } else if (*digit >= 'a' && *digit <= 'f') {
            value = (unsigned)(*digit - 'a') + 10;
        }
        if (value >= base) {
            break;
        }
        if (number > (UINT64_MAX - value) / base) {
            return false;
        }
        number = number * base + value;
    }
    bool is_read = digit != *text;
    *text = digit;
    *number_out = number;
    return is_read;
}

static bool read_byte(const char **text, char wanted)
{
    if (**text != wanted) {
        return false;
    }
    (*text)++;
    return true;
}

static bool starts_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* --- what a mapping is --------------------------------------------------------------------------------------- */

static void copy_cut(char *to, size_t room, const char *from, size_t length)
{
    size_t kept = length < room ? length : room - 1;
    memcpy(to, from, kept);
    to[kept] = '\0';
    if (kept < length) {
        memcpy(&to[room - 4], "...", 4);
    }
}

/* "[anon:NAME]" and "[anon_shmem:NAME]" are what the program called it. */
static bool copy_given_name(fallow__os_mapping *mapping, const char *path, const char *beginning)
{
    if (!starts_with(path, beginning)) {
        return false;
    }
    const char *name = path + strlen(beginning);
    size_t length = strlen(name);
    length -= length > 0 && name[length - 1] == ']';
    copy_cut(mapping->name, sizeof mapping->name, name, length);
    return true;
}

/* By the last column. Sets kind and name. */
static void classify_path(fallow__smaps *smaps, const char *path)
{
    static const char *const shared_memory[] = {"/dev/shm/", "/memfd:", "/SYSV", "/dev/zero", "/anon_hugepage"};
    fallow__os_mapping *mapping = &smaps->open;
    mapping->kind = mapping->is_private ? FALLOW__OS_PRIVATE : FALLOW__OS_SHARED;
    if (copy_given_name(mapping, path, "[anon:") || copy_given_name(mapping, path, "[anon_shmem:")) {
        return;
    }
    copy_cut(mapping->name, sizeof mapping->name, path, strlen(path));
    if (starts_with(path, "[heap]")) {
        mapping->kind = FALLOW__OS_HEAP;
    } else if (starts_with(path, "[stack")) {
        mapping->kind = FALLOW__OS_STACK;
    } else if (path[0] == '[') {
        mapping->kind = FALLOW__OS_SYSTEM;
    } else if (path[0] != '\0') {
        for (size_t i = 0; i < sizeof shared_memory / sizeof shared_memory[0]; i++) {
            if (starts_with(path, shared_memory[i])) {
                return;
            }
        }
        mapping->kind = FALLOW__OS_FILE;
    }
}

/* What could not be said before the figures were read. */
static void classify_by_figures(fallow__smaps *smaps)
{
    fallow__os_mapping *mapping = &smaps->open;
    bool is_empty = mapping->resident_bytes == 0 && mapping->swapped_bytes == 0;
    if (!smaps->has_access && mapping->is_private && is_empty && mapping->kind != FALLOW__OS_SYSTEM) {
        mapping->kind = FALLOW__OS_RESERVED;
    }
    bool is_unnamed = mapping->name[0] == '\0';
    bool is_behind = mapping->first == smaps->before_end;
    if (smaps->grows_down && mapping->kind == FALLOW__OS_PRIVATE) {
        mapping->kind = FALLOW__OS_STACK;
    } else if (is_unnamed && mapping->first >= GO_HEAP_FIRST && mapping->end <= GO_HEAP_END) {
        mapping->guess = "where Go keeps its heap";
    } else if (is_unnamed && mapping->kind == FALLOW__OS_RESERVED && is_behind && smaps->before_is_plain &&
               smaps->before_first % GLIBC_HEAP_BYTES == 0 && mapping->end - smaps->before_first == GLIBC_HEAP_BYTES) {
        mapping->guess = "the rest of a thread's heap of glibc's malloc";
    } else if (is_unnamed && mapping->kind == FALLOW__OS_PRIVATE && mapping->is_writable && is_behind &&
               smaps->before_is_guard) {
        mapping->kind = FALLOW__OS_STACK;
        mapping->guess = "a thread's stack: a guard lies below it";
    }
}

static void close_mapping(fallow__smaps *smaps)
{
    fallow__os_mapping *mapping = &smaps->open;
    if (!smaps->is_open) {
        return;
    }
    smaps->is_open = false;
    if (mapping->lazy_bytes > mapping->resident_bytes) {
        mapping->lazy_bytes = mapping->resident_bytes;
    }
    classify_by_figures(smaps);
    mapping->committed_bytes = mapping->is_private && mapping->is_writable ? mapping->end - mapping->first : 0;
    bool is_plain = mapping->name[0] == '\0' && mapping->is_private;
    smaps->before_first = mapping->first;
    smaps->before_end = mapping->end;
    smaps->before_is_guard =
        is_plain && mapping->kind == FALLOW__OS_RESERVED && mapping->end - mapping->first <= GUARD_BYTES_MAX;
    smaps->before_is_plain = is_plain && mapping->kind == FALLOW__OS_PRIVATE && mapping->is_writable;
    smaps->mapping_count++;
    if (!smaps->is_stopped) {
        smaps->is_stopped = !smaps->visit(smaps->context, mapping);
    }
}

/* --- lines --------------------------------------------------------------------------------------------------- */

/* "FIRST-END rwxp OFFSET DEVICE INODE   PATH"; *path_out is the last column. */
static bool read_header(const char *line, fallow__os_mapping *mapping_out, const char **path_out)
{
    const char *text = line;
    uint64_t number;
    fallow__os_mapping mapping = {0};
    if (!read_number(&text, 16, &mapping.first) || !read_byte(&text, '-') || !read_number(&text, 16, &mapping.end) ||
        !read_byte(&text, ' ') || mapping.first >= mapping.end || strlen(text) < 5) {
        return false;
    }
    mapping.is_readable = text[0] == 'r';
    mapping.is_writable = text[1] == 'w';
    mapping.is_executable = text[2] == 'x';
    mapping.is_private = text[3] == 'p';
    if ((text[0] != 'r' && text[0] != '-') || (text[1] != 'w' && text[1] != '-') ||
        (text[2] != 'x' && text[2] != '-') || (text[3] != 'p' && text[3] != 's')) {
        return false;
    }
    text += 4;
    if (!read_byte(&text, ' ') || !read_number(&text, 16, &number) || !read_byte(&text, ' ') ||
        !read_number(&text, 16, &number) || !read_byte(&text, ':') || !read_number(&text, 16, &number) ||
        !read_byte(&text, ' ') || !read_number(&text, 10, &number)) {
        return false;
    }
    while (*text == ' ') {
        text++;
    }
    *mapping_out = mapping;
    *path_out = text;
    return true;
}

static void open_mapping(fallow__smaps *smaps, const fallow__os_mapping *mapping, const char *path)
{
    close_mapping(smaps);
    if (mapping->first < smaps->before_end) {
        smaps->strange_lines++; /* the kernel tells them in order */
        return;
    }
    if (starts_with(path, "[vsyscall]")) {
        return; /* x86-64 lists this page for every process and counts it for none */
    }
    smaps->open = *mapping;
    smaps->is_open = true;
    smaps->has_access = mapping->is_readable || mapping->is_writable || mapping->is_executable;
    smaps->grows_down = false;
    classify_path(smaps, path);
}

/* "NAME:   NUMBER kB", or words. false if it is neither. */
static bool read_field(const char *line, const char **value_out, size_t *name_bytes_out)
{
    const char *colon = strchr(line, ':');
    if (colon == NULL || colon == line) {
        return false;
    }
    for (const char *letter = line; letter < colon; letter++) {
        bool is_letter = (*letter >= 'A' && *letter <= 'Z') || (*letter >= 'a' && *letter <= 'z');
        if (!is_letter && *letter != '_' && (*letter < '0' || *letter > '9')) {
            return false;
        }
    }
    *name_bytes_out = (size_t)(colon - line) + 1;
    *value_out = colon + 1;
    while (**value_out == ' ' || **value_out == '\t') {
        (*value_out)++;
    }
    return true;
}

static void note_flags(fallow__smaps *smaps, const char *flags)
{
    for (const char *flag = flags; flag[0] != '\0' && flag[1] != '\0'; flag += flag[2] == ' ' ? 3 : 2) {
        smaps->grows_down |= flag[0] == 'g' && flag[1] == 'd';
    }
}

static void note_figure(fallow__smaps *smaps, const char *line, size_t name_bytes, const char *value)
{
    fallow__os_mapping *mapping = &smaps->open;
    const struct {
        const char *name;
        uint64_t *bytes;
    } figures[] = {
        {"Rss:", &mapping->resident_bytes}, {"LazyFree:", &mapping->lazy_bytes}, {"Swap:", &mapping->swapped_bytes}};
    uint64_t size_bytes = mapping->end - mapping->first;
    uint64_t kib;
    if (!smaps->is_open) {
        return;
    }
    if (name_bytes == strlen("VmFlags:") && starts_with(line, "VmFlags:")) {
        note_flags(smaps, value);
        return;
    }
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        if (name_bytes == strlen(figures[i].name) && starts_with(line, figures[i].name) &&
            read_number(&value, 10, &kib)) {
            *figures[i].bytes = kib <= size_bytes / 1024 ? kib * 1024 : size_bytes;
            mapping->has_resident |= i == 0;
        }
    }
}

static void take_line(fallow__smaps *smaps)
{
    const char *value;
    size_t name_bytes;
    fallow__os_mapping mapping;
    smaps->line[smaps->line_bytes] = '\0';
    if (read_header(smaps->line, &mapping, &value)) {
        open_mapping(smaps, &mapping, value);
    } else if (read_field(smaps->line, &value, &name_bytes)) {
        note_figure(smaps, smaps->line, name_bytes, value);
    } else {
        smaps->strange_lines++;
    }
    smaps->line_bytes = 0;
}

void fallow__smaps_feed(fallow__smaps *smaps, const char *bytes, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++) {
        if (bytes[i] == '\n') {
            take_line(smaps);
        } else if (smaps->line_bytes + 1 < sizeof smaps->line) {
            smaps->line[smaps->line_bytes++] = bytes[i] != '\0' ? bytes[i] : '?';
        } /* else a path so long that its end is cut off */
    }
}

/* A last line without its newline was cut off: its number may be too. */
void fallow__smaps_end(fallow__smaps *smaps)
{
    if (smaps->line_bytes != 0) {
        smaps->strange_lines++;
    }
    close_mapping(smaps);
}
