/* Sizes and names as words, and words as sizes. */
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const unit_names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

size_text text_size(uint64_t size_bytes)
{
    size_text out;
    unsigned unit = 0;
    while (unit < 6 && size_bytes >> (10 * (unit + 1)) != 0) {
        unit++;
    }
    uint64_t whole = size_bytes >> (10 * unit);
    uint64_t rest = unit == 0 ? 0 : (size_bytes >> (10 * (unit - 1))) & 1023;
    uint64_t tenth = rest * 10 / 1024; /* cut off, not rounded: never more than there is */
    bool is_exact = unit == 0 || (size_bytes & ((UINT64_C(1) << (10 * unit)) - 1)) == 0;
    if (size_bytes == 0) {
        snprintf(out.text, sizeof out.text, "0");
    } else if (is_exact) {
        snprintf(out.text, sizeof out.text, "%" PRIu64 " %s", whole, unit_names[unit]);
    } else {
        snprintf(out.text, sizeof out.text, "%" PRIu64 ".%" PRIu64 " %s", whole, tenth, unit_names[unit]);
    }
    return out;
}

size_text text_difference(uint64_t before_bytes, uint64_t after_bytes)
{
    size_text out;
    bool is_more = after_bytes >= before_bytes;
    size_text amount = text_size(is_more ? after_bytes - before_bytes : before_bytes - after_bytes);
    snprintf(out.text, sizeof out.text, "%s%.20s", is_more ? "+" : "-", amount.text);
    return out;
}

size_text text_limit(uint64_t limit_bytes)
{
    if (limit_bytes != UINT64_MAX) {
        return text_size(limit_bytes);
    }
    return (size_text){"none"};
}

#define WRAP_COLUMNS 96u

void print_wrapped(FILE *stream, unsigned indent, const char *text)
{
    while (*text != '\0') {
        size_t length = strlen(text);
        if (length > WRAP_COLUMNS - indent) { /* up to the last space that fits; a longer word stays whole */
            size_t fitting = WRAP_COLUMNS - indent;
            while (fitting > 0 && text[fitting] != ' ') {
                fitting--;
            }
            length = fitting > 0 ? fitting : strcspn(text, " ");
        }
        fprintf(stream, "%*s%.*s\n", (int)indent, "", (int)length, text);
        text += length;
        text += strspn(text, " ");
    }
}

static const char *const purge_names[] = {"DEFAULT", "DONTNEED", "FREE", "DECOMMIT"};
static const char *const purge_words[] = {"default", "dontneed", "free", "decommit"};

const char *text_purge(fallow_purge purge)
{
    return (unsigned)purge < 4 ? purge_names[(unsigned)purge] : "unknown";
}

bool parse_purge(const char *text, fallow_purge *purge_out)
{
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(text, purge_words[i]) == 0) {
            *purge_out = (fallow_purge)i;
            return true;
        }
    }
    return false;
}

bool parse_number(const char *text, uint64_t *number_out)
{
    uint64_t number = 0;
    bool is_any = *text != '\0';
    for (; *text >= '0' && *text <= '9'; text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (number > (UINT64_MAX - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    *number_out = number;
    return is_any && *text == '\0';
}

bool parse_size(const char *text, size_t *size_bytes_out)
{
    static const char units[] = "KMGT";
    size_t value = 0;
    if (*text < '0' || *text > '9') {
        return false;
    }
    for (; *text >= '0' && *text <= '9'; text++) {
        size_t digit = (size_t)(*text - '0');
        if (value > (SIZE_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    if (*text != '\0') {
        char letter = *text >= 'a' ? (char)(*text - 'a' + 'A') : *text;
        const char *unit = strchr(units, letter);
        if (unit == NULL || text[1] != '\0') {
            return false;
        }
        for (const char *step = units; step <= unit; step++) {
            if (value > SIZE_MAX / 1024) {
                return false;
            }
            value *= 1024;
        }
    }
    *size_bytes_out = value;
    return true;
}
