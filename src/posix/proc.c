/* Reading /proc with a fixed buffer on the stack.
 *
 * These files are read when something has been refused, often because memory is short: so nothing is allocated, and a
 * file that cannot be opened (no /proc, no file descriptor left) is an answer, not an error.
 *
 *     file --read()--> bytes[4096] --> line (cut to the caller's room) --> fields, mappings
 *
 * The kernel makes /proc/self/maps page by page. Another thread that maps and unmaps meanwhile can make a figure wrong
 * by what it changed, never by more. */
#define _GNU_SOURCE 1 /* O_CLOEXEC */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../bits.h"
#include "posix.h"

bool fallow__posix_open_lines(const char *path, fallow__posix_lines *lines_out)
{
    do {
        lines_out->file = open(path, O_RDONLY | O_CLOEXEC);
    } while (lines_out->file < 0 && errno == EINTR);
    lines_out->first = 0;
    lines_out->count = 0;
    return lines_out->file >= 0;
}

void fallow__posix_close_lines(fallow__posix_lines *lines)
{
    close(lines->file);
}

/* Make at least one byte readable; false at the end of the file. */
static bool refill(fallow__posix_lines *lines)
{
    ssize_t got;
    do {
        got = read(lines->file, lines->bytes, sizeof lines->bytes);
    } while (got < 0 && errno == EINTR);
    lines->first = 0;
    lines->count = got > 0 ? (size_t)got : 0;
    return got > 0;
}

bool fallow__posix_next_line(fallow__posix_lines *lines, char *line_out, size_t line_bytes)
{
    size_t length = 0;
    bool is_any = false;
    while (lines->count != 0 || refill(lines)) {
        is_any = true;
        const char *bytes = &lines->bytes[lines->first];
        const char *newline = memchr(bytes, '\n', lines->count);
        size_t piece = newline != NULL ? (size_t)(newline - bytes) : lines->count;
        size_t room = line_bytes - 1 - length;
        size_t kept = piece < room ? piece : room;
        memcpy(&line_out[length], bytes, kept);
        length += kept;
        size_t used = piece + (newline != NULL);
        lines->first += used;
        lines->count -= used;
        if (newline != NULL) {
            break;
        }
    }
    line_out[length] = '\0';
    return is_any;
}

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : 16;
}

bool fallow__posix_parse_number(const char **text, int base, uint64_t *number_out)
{
    const char *position = *text;
    while (*position == ' ' || *position == '\t') {
        position++;
    }
    const char *digits = position;
    uint64_t number = 0;
    for (; digit_value(*position) < base; position++) {
        uint64_t digit = (uint64_t)digit_value(*position);
        number = number <= (UINT64_MAX - digit) / (uint64_t)base ? number * (uint64_t)base + digit : UINT64_MAX;
    }
    *text = position;
    *number_out = number;
    return position != digits;
}

bool fallow__posix_next_mapping(fallow__posix_lines *lines, fallow__posix_mapping *mapping_out)
{
    char line[128]; /* addresses and permissions come first; a path may be cut */
    while (fallow__posix_next_line(lines, line, sizeof line)) {
        const char *text = line;
        if (!fallow__posix_parse_number(&text, 16, &mapping_out->first) || *text++ != '-' ||
            !fallow__posix_parse_number(&text, 16, &mapping_out->end) || strlen(text) < 5) {
            continue;
        }
        /* the x86-64 gate page is listed for every process and counted for none */
        if (strstr(text, "[vsyscall]") != NULL) {
            continue;
        }
        mapping_out->is_writable = text[2] == 'w';
        mapping_out->is_private = text[4] == 'p';
        return true;
    }
    return false;
}

/* If the line is one of the fields, store its value. */
static void match_fields(const char *line, const fallow__posix_field *fields, size_t field_count)
{
    for (size_t i = 0; i < field_count; i++) {
        size_t name_length = strlen(fields[i].name);
        if (strncmp(line, fields[i].name, name_length) != 0) {
            continue;
        }
        const char *text = &line[name_length];
        uint64_t number;
        if (fallow__posix_parse_number(&text, 10, &number)) {
            uint64_t unit = strncmp(text, " kB", 3) == 0 ? 1024 : 1;
            *fields[i].value_out = number <= UINT64_MAX / unit ? number * unit : UINT64_MAX;
        }
    }
}

bool fallow__posix_read_fields(const char *path, const fallow__posix_field *fields, size_t field_count)
{
    fallow__posix_lines lines;
    if (!fallow__posix_open_lines(path, &lines)) {
        return false;
    }
    char line[128];
    while (fallow__posix_next_line(&lines, line, sizeof line)) {
        match_fields(line, fields, field_count);
    }
    fallow__posix_close_lines(&lines);
    return true;
}

bool fallow__posix_read_number(const char *path, uint64_t *number_out)
{
    fallow__posix_lines lines;
    if (!fallow__posix_open_lines(path, &lines)) {
        return false;
    }
    char line[64];
    const char *text = line;
    bool is_read = fallow__posix_next_line(&lines, line, sizeof line);
    fallow__posix_close_lines(&lines);
    return is_read && fallow__posix_parse_number(&text, 10, number_out);
}

uint64_t fallow__posix_map_count(void)
{
    fallow__posix_lines lines;
    if (!fallow__posix_open_lines("/proc/self/maps", &lines)) {
        return 0;
    }
    fallow__posix_mapping mapping;
    uint64_t map_count = 0;
    while (fallow__posix_next_mapping(&lines, &mapping)) {
        map_count++;
    }
    fallow__posix_close_lines(&lines);
    return map_count;
}

/* The highest aligned place in one gap; 0 if it is too small. No sum can overflow: first <= place <= end. */
static uintptr_t highest_place(uint64_t first, uint64_t end, size_t size_bytes, size_t align_bytes)
{
    if (end <= first || end - first < size_bytes) {
        return 0;
    }
    uint64_t place = fallow__align_down(end - size_bytes, align_bytes);
    return place >= first ? (uintptr_t)place : 0;
}

/* The highest gap, not the lowest: above a program that is not position-independent its heap grows upwards (brk). */
uintptr_t fallow__posix_find_gap(uint64_t lowest, uint64_t highest, size_t size_bytes, size_t align_bytes)
{
    fallow__posix_lines lines;
    if (!fallow__posix_open_lines("/proc/self/maps", &lines)) {
        return 0;
    }
    fallow__posix_mapping mapping;
    uint64_t gap_first = lowest;
    uintptr_t best = 0;
    while (gap_first < highest && fallow__posix_next_mapping(&lines, &mapping)) {
        uint64_t gap_end = mapping.first < highest ? mapping.first : highest;
        uintptr_t place = highest_place(gap_first, gap_end, size_bytes, align_bytes);
        best = place != 0 ? place : best;
        gap_first = mapping.end > gap_first ? mapping.end : gap_first;
    }
    fallow__posix_close_lines(&lines);
    uintptr_t last = highest_place(gap_first, highest, size_bytes, align_bytes);
    return last != 0 ? last : best;
}
