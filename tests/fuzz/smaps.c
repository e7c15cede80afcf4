/* Fuzz target: the parser of /proc/PID/smaps (src/smaps.c) and the report on what it found (src/explain.c).
 *
 * The first two bytes say how the text is cut into pieces, and after how many bytes the writer refuses; the rest is the
 * text. Whatever it is: each mapping could be one; pieces of any length give the same mappings; sums add up; text has
 * no control characters but newlines; JSON is JSON. */
#include "fuzz.h"

#include "explain.h"
#include "smaps.h"

/* --- mappings ------------------------------------------------------------------------------------------------ */

typedef struct seen {
    uint64_t count;
    uint64_t stop_at; /* 0: never */
    uint64_t end;
    uint64_t virtual_bytes;
    uint64_t resident_bytes;
    uint64_t digest; /* of all that was said */
} seen;

static void digest(seen *s, uint64_t value)
{
    s->digest = (s->digest ^ value) * UINT64_C(0x100000001b3);
}

static uint64_t plus(uint64_t sum, uint64_t more)
{
    return more <= UINT64_MAX - sum ? sum + more : UINT64_MAX;
}

static bool see(void *context, const fallow__os_mapping *mapping)
{
    seen *s = context;
    uint64_t size_bytes = mapping->end - mapping->first;
    assert_true(mapping->first < mapping->end);
    assert_true(mapping->first >= s->end);
    assert_true(mapping->resident_bytes <= size_bytes && mapping->swapped_bytes <= size_bytes);
    assert_true(mapping->lazy_bytes <= mapping->resident_bytes);
    assert_true(mapping->committed_bytes == 0 || mapping->committed_bytes == size_bytes);
    assert_true((unsigned)mapping->kind < FALLOW__OS_KINDS);
    assert_true(memchr(mapping->name, '\0', sizeof mapping->name) != NULL);
    assert_true(mapping->guess == NULL || mapping->guess[0] != '\0');
    s->end = mapping->end;
    s->virtual_bytes = plus(s->virtual_bytes, size_bytes);
    s->resident_bytes = plus(s->resident_bytes, mapping->resident_bytes);
    digest(s, mapping->first);
    digest(s, mapping->end);
    digest(s, (uint64_t)mapping->kind + 16 * (uint64_t)(mapping->guess != NULL));
    digest(s, mapping->resident_bytes);
    digest(s, mapping->lazy_bytes);
    digest(s, mapping->swapped_bytes);
    digest(s, mapping->committed_bytes);
    for (const char *letter = mapping->name; *letter != '\0'; letter++) {
        digest(s, (unsigned char)*letter);
    }
    s->count++;
    return s->count != s->stop_at;
}

static seen parse(const char *text, size_t size_bytes, size_t piece_bytes, uint64_t stop_at, uint64_t *strange_out)
{
    static fallow__smaps smaps;
    seen s = {.stop_at = stop_at};
    fallow__smaps_begin(&smaps, see, &s);
    for (size_t offset = 0; offset < size_bytes; offset += piece_bytes) {
        fallow__smaps_feed(&smaps, text + offset,
                           piece_bytes < size_bytes - offset ? piece_bytes : size_bytes - offset);
    }
    fallow__smaps_end(&smaps);
    assert_true(stop_at != 0 ? smaps.mapping_count >= s.count : smaps.mapping_count == s.count);
    *strange_out = smaps.strange_lines;
    return s;
}

/* --- JSON: is it any ----------------------------------------------------------------------------------------- */

static const char *json_value(const char *text, unsigned depth);

static const char *json_blanks(const char *text)
{
    while (*text == ' ' || *text == '\n') {
        text++;
    }
    return text;
}

static const char *json_string(const char *text)
{
    assert_int_equal(*text, '"');
    for (text++; *text != '"'; text++) {
        assert_true((unsigned char)*text >= ' ');
        if (*text == '\\') {
            text++;
            assert_non_null(strchr("\"\\/bfnrtu", *text));
            assert_true(*text != '\0');
            for (int i = 0; *text == 'u' && i < 4; i++) {
                assert_true(text[1 + i] != '\0' && strchr("0123456789abcdef", text[1 + i]) != NULL);
            }
        }
    }
    return text + 1;
}

/* Members of an object, or elements of an array. */
static const char *json_members(const char *text, char end, unsigned depth)
{
    text = json_blanks(text + 1);
    if (*text == end) {
        return text + 1;
    }
    for (;;) {
        if (end == '}') {
            text = json_blanks(json_string(text));
            assert_int_equal(*text, ':');
            text = json_blanks(text + 1);
        }
        text = json_blanks(json_value(text, depth + 1));
        if (*text == end) {
            return text + 1;
        }
        assert_int_equal(*text, ',');
        text = json_blanks(text + 1);
    }
}

static const char *json_value(const char *text, unsigned depth)
{
    static const char *const words[] = {"true", "false", "null"};
    assert_true(depth < 16);
    if (*text == '{' || *text == '[') {
        return json_members(text, *text == '{' ? '}' : ']', depth);
    }
    if (*text == '"') {
        return json_string(text);
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strncmp(text, words[i], strlen(words[i])) == 0) {
            return text + strlen(words[i]);
        }
    }
    size_t digits = strspn(text, "0123456789.");
    assert_true(digits > 0);
    return text + digits;
}

/* --- the report ---------------------------------------------------------------------------------------------- */

typedef struct paper {
    size_t count;
    size_t room; /* refuses what is more */
    bool is_refused;
    char text[1 << 17];
} paper;

static bool write_on(void *context, const char *text, size_t bytes)
{
    paper *p = context;
    assert_true(bytes > 0);
    assert_false(p->is_refused); /* nothing more after a refusal */
    if (bytes > p->room - p->count) {
        p->is_refused = true;
        return false;
    }
    memcpy(&p->text[p->count], text, bytes);
    p->count += bytes;
    p->text[p->count] = '\0';
    return true;
}

static void check_text(const paper *p, bool is_json)
{
    assert_int_equal(strlen(p->text), p->count);
    for (size_t i = 0; i < p->count; i++) {
        unsigned char byte = (unsigned char)p->text[i];
        assert_true(byte == '\n' || (byte >= ' ' && byte != 0x7f));
    }
    if (is_json) {
        assert_int_equal(*json_blanks(json_value(json_blanks(p->text), 0)), '\0');
    }
}

static void check_report(const char *text, size_t size_bytes, const seen *expected, size_t room)
{
    static fallow__explain report;
    static fallow__smaps smaps;
    static paper page;
    uint64_t virtual_bytes = 0;
    uint64_t resident_bytes = 0;
    fallow__explain_begin(&report, FALLOW__PROCESS_NONE);
    fallow__smaps_begin(&smaps, fallow__explain_mapping, &report);
    fallow__smaps_feed(&smaps, text, size_bytes);
    fallow__smaps_end(&smaps);
    fallow__explain_end(&report);
    report.strange_lines = smaps.strange_lines;
    for (unsigned group = 0; group < FALLOW__GROUPS; group++) {
        virtual_bytes = plus(virtual_bytes, report.groups[group].virtual_bytes);
        resident_bytes = plus(resident_bytes, report.groups[group].resident_bytes);
    }
    assert_true(virtual_bytes == expected->virtual_bytes && report.total.virtual_bytes == virtual_bytes);
    assert_true(resident_bytes == expected->resident_bytes && report.total.resident_bytes == resident_bytes);
    assert_true(report.total.mapping_count == expected->count);
    for (uint32_t flags = 0; flags < 4; flags++) {
        fallow__writer writer;
        page.count = 0;
        page.room = sizeof page.text - 1;
        page.is_refused = false;
        page.text[0] = '\0';
        fallow__write_begin(&writer, write_on, &page);
        fallow__explain_write(&report, flags, &writer);
        assert_true(fallow__write_end(&writer));
        check_text(&page, (flags & FALLOW_EXPLAIN_JSON) != 0);

        size_t whole = page.count;
        page.count = 0;
        page.room = room;
        fallow__write_begin(&writer, write_on, &page);
        fallow__explain_write(&report, flags, &writer);
        assert_int_equal(fallow__write_end(&writer), room >= whole);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes)
{
    fuzz_input input = {bytes, size_bytes};
    size_t piece = 1 + (size_t)fuzz_byte(&input);
    size_t room = 64 * (size_t)fuzz_byte(&input);
    const char *text = (const char *)input.next;
    uint64_t strange;
    uint64_t again;
    seen whole = parse(text, input.left, SIZE_MAX, 0, &strange);
    seen pieces = parse(text, input.left, piece, 0, &again);
    assert_true(whole.digest == pieces.digest && whole.count == pieces.count && strange == again);
    seen first = parse(text, input.left, piece, 1, &again);
    assert_true(first.count == (whole.count > 0) && strange == again);
    check_report(text, input.left, &whole, room);
    return 0;
}
