/* What is told of memory: the writer, the parser of smaps, the marks and the list of arenas, explain and the statistics.
 * Linked twice: on the system at hand, and on simulated ones. */
#include "test.h"

#include <string.h>

#include "arenas.h"
#include "explain.h"
#include "os.h"
#include "smaps.h"
#include "stats.h"

#define MIB ((size_t)1 << 20)

/* --- a place to write to ------------------------------------------------------------------------------------- */

typedef struct paper {
    size_t count;
    size_t room; /* refuses what is more */
    char text[1 << 16];
} paper;

static bool write_on(void *context, const char *text, size_t bytes)
{
    paper *p = context;
    assert_true(bytes > 0);
    if (bytes > p->room - p->count) {
        return false;
    }
    memcpy(&p->text[p->count], text, bytes);
    p->count += bytes;
    p->text[p->count] = '\0';
    return true;
}

static paper page;

static void begin(fallow__writer *writer)
{
    page.count = 0;
    page.room = sizeof page.text - 1;
    page.text[0] = '\0';
    fallow__write_begin(writer, write_on, &page);
}

static bool shows(const char *words)
{
    if (strstr(page.text, words) == NULL) {
        print_message("not shown: %s\nin: %s\n", words, page.text);
        return false;
    }
    return true;
}

/* --- the writer ---------------------------------------------------------------------------------------------- */

static void sizes_and_shares_in_words(void **state)
{
    (void)state;
    assert_string_equal(fallow__size_words(0).text, "0");
    assert_string_equal(fallow__size_words(1023).text, "1023 B");
    assert_string_equal(fallow__size_words(1024).text, "1 KiB");
    assert_string_equal(fallow__size_words(1025).text, "1.0 KiB");
    assert_string_equal(fallow__size_words((3 << 19) - 1).text, "1.4 MiB"); /* cut off: never more than there is */
    assert_string_equal(fallow__size_words(3 << 19).text, "1.5 MiB");
    assert_string_equal(fallow__size_words(UINT64_MAX).text, "15.9 EiB");
    assert_string_equal(fallow__share_words(0, 0).text, "0 %");
    assert_string_equal(fallow__share_words(1, 3).text, "33.3 %");
    assert_string_equal(fallow__share_words(2, 1).text, "200 %");
    assert_string_equal(fallow__share_words(UINT64_MAX, UINT64_MAX).text, "100 %");
    assert_string_equal(fallow__number_words(UINT64_MAX).text, "18446744073709551615");
}

/* Whether bytes are one character of UTF-8, by its number: the shortest form, no surrogate, at most U+10FFFF. */
static bool is_character(const unsigned char *text, size_t count)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t number = text[0] & (0xffu >> (count + 1));
    if (count < 2 || count > 4 || (text[0] & (0xff00u >> (count + 1)) & 0xff) != ((0xff00u >> count) & 0xff)) {
        return false;
    }
    for (size_t i = 1; i < count; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return false;
        }
        number = number << 6 | (text[i] & 0x3fu);
    }
    return number >= least[count] && number <= 0x10ffff && (number < 0xd800 || number > 0xdfff);
}

/* What is well-formed goes out as it is, but for what a terminal obeys; anything else is never seen. */
static void characters(void **state)
{
    (void)state;
    static const unsigned char edges[] = {0x01, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    fallow__writer writer;
    for (unsigned first = 0x80; first <= 0xff; first++) {
        for (size_t i = 0; i < sizeof edges; i++) {
            for (size_t count = 2; count <= 4; count++) {
                unsigned char text[5] = {(unsigned char)first, edges[i], 0xbf, 0x80};
                text[count] = '\0';
                bool is_obeyed = first == 0xc2 && text[1] < 0xa0;
                begin(&writer);
                fallow__write_json(&writer, (const char *)text);
                assert_true(fallow__write_end(&writer));
                assert_int_equal(strstr(page.text, (const char *)text) != NULL, is_character(text, count));
                begin(&writer);
                fallow__write_foreign(&writer, (const char *)text);
                assert_true(fallow__write_end(&writer));
                assert_int_equal(strstr(page.text, (const char *)text) != NULL,
                                 is_character(text, count) && !is_obeyed);
            }
        }
    }
}

static void numbers_and_columns(void **state)
{
    (void)state;
    fallow__writer writer;
    begin(&writer);
    fallow__write_hex(&writer, 0);
    fallow__write_to_column(&writer, 5);
    fallow__write_hex(&writer, UINT64_MAX);
    fallow__write_text(&writer, "\n");
    fallow__write_before_column(&writer, 6, "abc");
    fallow__write_before_column(&writer, 4, "d"); /* passed already: no blank, nothing lost */
    assert_true(fallow__write_end(&writer));
    assert_string_equal(page.text, "0x0  0xffffffffffffffff\n   abcd");
}

static void foreign_text_is_harmless(void **state)
{
    (void)state;
    static const char hostile[] = "a\"b\\c\n\x1b[m\x7f\xc2\x9b\xc3\xa9\xff\xe2\x82\xed\xa0\x80\xf0\x9f\x98\x80\xc0\xaf";
    fallow__writer writer;
    begin(&writer);
    fallow__write_foreign(&writer, hostile);
    assert_true(fallow__write_end(&writer));
    assert_string_equal(page.text, "a\"b\\c??[m??\xc3\xa9??????\xf0\x9f\x98\x80??");
    begin(&writer);
    fallow__write_json(&writer, hostile);
    fallow__write_json(&writer, NULL);
    assert_true(fallow__write_end(&writer));
    assert_string_equal(page.text,
                        "\"a\\\"b\\\\c\\u000a\\u001b[m\\u007f\xc2\x9b\xc3\xa9\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd"
                        "\\ufffd\xf0\x9f\x98\x80\\ufffd\\ufffd\"null");
    begin(&writer);
    fallow__write_label(&writer, hostile);
    assert_true(fallow__write_end(&writer));
    assert_string_equal(page.text, "\"a\\\"b\\\\c\\n\x1b[m\x7f\xc2\x9b\xc3\xa9??????\xf0\x9f\x98\x80??\"");
}

static void a_refusal_is_final(void **state)
{
    (void)state;
    fallow__writer writer;
    for (size_t room = 0; room < 2000; room += 100) {
        begin(&writer);
        page.room = room;
        for (int i = 0; i < 200; i++) {
            fallow__write_text(&writer, "0123456789");
        }
        assert_false(fallow__write_end(&writer));
        size_t count = page.count;
        page.room = sizeof page.text - 1;
        fallow__write_text(&writer, "more");
        assert_false(fallow__write_end(&writer));
        assert_int_equal(page.count, count);
    }
}

/* --- smaps --------------------------------------------------------------------------------------------------- */

typedef struct seen {
    size_t count;
    size_t stop_at; /* 0: never */
    uint64_t end;
    fallow__os_mapping mappings[64];
} seen;

/* Whatever the text was, this holds of each mapping. */
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
    s->end = mapping->end;
    if (s->count < 64) {
        s->mappings[s->count] = *mapping;
    }
    s->count++;
    return s->count != s->stop_at;
}

static uint64_t parse(const char *text, size_t size_bytes, size_t piece_bytes, seen *out)
{
    fallow__smaps smaps;
    memset(out, 0, sizeof *out);
    fallow__smaps_begin(&smaps, see, out);
    for (size_t offset = 0; offset < size_bytes; offset += piece_bytes) {
        fallow__smaps_feed(&smaps, text + offset,
                           piece_bytes < size_bytes - offset ? piece_bytes : size_bytes - offset);
    }
    fallow__smaps_end(&smaps);
    assert_int_equal(smaps.mapping_count, out->count);
    return smaps.strange_lines;
}

static const char sample[] = "10000-20000 r-xp 00000000 fd:00 77    /bin/program\nRss: 12 kB\n"
                             "20000-40000 ---p 00000000 00:00 0\nRss: 0 kB\nVmFlags: mr mw me\n"
                             "40000-80000 rw-p 00000000 00:00 0 \nRss: 64 kB\nLazyFree: 16 kB\nSwap: 8 kB\n"
                             "80000-90000 rw-s 00000000 00:05 3   /SYSV00000000 (deleted)\nRss: 4 kB\n"
                             "90000-a0000 rw-p 00000000 00:00 0   [anon:fallow: records]\nRss: 4 kB\n"
                             "a0000-b0000 ---p 00000000 00:00 0   [anon:fallow: records]\nRss: 0 kB\n"
                             "b0000-c0000 rw-p 00000000 00:00 0\nRss: 8 kB\nVmFlags: rd wr gd ac\n";

static void smaps_are_understood(void **state)
{
    (void)state;
    seen s;
    assert_int_equal(parse(sample, sizeof sample - 1, 7, &s), 0);
    assert_int_equal(s.count, 7);
    assert_int_equal(s.mappings[0].kind, FALLOW__OS_FILE);
    assert_string_equal(s.mappings[0].name, "/bin/program");
    assert_int_equal(s.mappings[0].committed_bytes, 0);
    assert_int_equal(s.mappings[1].kind, FALLOW__OS_RESERVED);
    assert_int_equal(s.mappings[2].kind, FALLOW__OS_PRIVATE); /* what lies below it is too large for a guard */
    assert_int_equal(s.mappings[2].resident_bytes, 64 << 10);
    assert_int_equal(s.mappings[2].lazy_bytes, 16 << 10);
    assert_int_equal(s.mappings[2].swapped_bytes, 8 << 10);
    assert_int_equal(s.mappings[2].committed_bytes, 0x40000);
    assert_int_equal(s.mappings[3].kind, FALLOW__OS_SHARED);
    assert_string_equal(s.mappings[4].name, "fallow: records");
    assert_int_equal(s.mappings[5].kind, FALLOW__OS_RESERVED);
    assert_int_equal(s.mappings[6].kind, FALLOW__OS_STACK); /* it grows downwards */
}

/* In pieces of any length, and the end may be missing anywhere. */
static void smaps_in_pieces_and_cut_off(void **state)
{
    (void)state;
    seen whole;
    seen pieces;
    (void)parse(sample, sizeof sample - 1, sizeof sample, &whole);
    for (size_t piece = 1; piece < 70; piece++) {
        (void)parse(sample, sizeof sample - 1, piece, &pieces);
        assert_memory_equal(&pieces, &whole, sizeof whole);
    }
    for (size_t length = 0; length < sizeof sample; length++) {
        (void)parse(sample, length, 64, &pieces);
        assert_true(pieces.count <= whole.count);
        if (pieces.count > 1) { /* all but the last one are as they were */
            assert_memory_equal(pieces.mappings, whole.mappings, (pieces.count - 1) * sizeof whole.mappings[0]);
        }
    }
}

static void smaps_that_lie(void **state)
{
    (void)state;
    seen s;
    static const struct {
        const char *text;
        size_t mappings;
        uint64_t strange;
    } lies[] = {
        {"", 0, 0},
        {"\n", 0, 1},
        {"Rss: 4 kB\n", 0, 0},                                                     /* of no mapping */
        {"2000-1000 rw-p 0 0:0 0\n", 0, 1},                                        /* backwards */
        {"1000-1000 rw-p 0 0:0 0\n", 0, 1},                                        /* empty */
        {"1000-3000 rw-p 0 0:0 0\n2000-4000 rw-p 0 0:0 0\n", 1, 1},                /* overlapping */
        {"3000-4000 rw-p 0 0:0 0\n1000-2000 rw-p 0 0:0 0\nRss: 4 kB\n", 1, 1},     /* out of order */
        {"1000-10000000000000000 rw-p 0 0:0 0\n", 0, 1},                           /* 65 bits */
        {"1000-2000 rwxp 0 0:0 0\nRss: 18446744073709551615 kB\n", 1, 0},          /* more than there is */
        {"1000-2000 rw-p 0 0:0 0\nRss: 99999999999999999999 kB\n", 1, 0},          /* 67 bits: not taken */
        {"1000-2000 rw-p 0 0:0 0\nRss: 4 kB\nLazyFree: 8 kB\nSwap: 8 kB\n", 1, 0}, /* more than is resident */
        {"1000-2000 rw-q 0 0:0 0\n1000-2000 rw\n1000-2000\n-\n:\n", 0, 5},
        {"1000-2000 rw-p 0 0:0 0 [anon:\n2000-3000 rw-p 0 0:0 0 [anon:]\n", 2, 0},
        {"ffffffffff600000-ffffffffff601000 --xp 0 0:0 0 [vsyscall]\nRss: 4 kB\n", 0, 0}, /* counted by nobody */
        {"1000-ffffffffffffffff rw-p 0 0:0 0\nRss: 4 kB\n", 1, 0},
        {"1000-2000 rw-p 0 0:0 0\nRss: 4", 1, 1}, /* cut off: the number may be longer */
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint64_t strange = parse(lies[i].text, strlen(lies[i].text), 5, &s);
        if (s.count != lies[i].mappings || strange != lies[i].strange) {
            fail_msg("%s: %zu mappings, %u strange lines", lies[i].text, s.count, (unsigned)strange);
        }
    }
    char line[2000]; /* a path without an end, and zeros in it */
    memset(line, 'x', sizeof line);
    memcpy(line, "1000-2000 rw-p 0 0:0 0 /", 24);
    line[30] = '\0';
    line[sizeof line - 1] = '\n';
    (void)parse(line, sizeof line, 100, &s);
    assert_int_equal(s.count, 1);
    assert_int_equal(strlen(s.mappings[0].name), sizeof s.mappings[0].name - 1);
    assert_string_equal(s.mappings[0].name + sizeof s.mappings[0].name - 4, "...");
}

static void smaps_stop_when_asked(void **state)
{
    (void)state;
    fallow__smaps smaps;
    seen s = {.stop_at = 2};
    fallow__smaps_begin(&smaps, see, &s);
    fallow__smaps_feed(&smaps, sample, sizeof sample - 1);
    fallow__smaps_end(&smaps);
    assert_int_equal(s.count, 2);
}

/* Text that is nearly smaps: nothing that comes out may be impossible, and the report on it has sums that add up. */
static void smaps_at_random(void **state)
{
    (void)state;
    static fallow__explain report;
    test_random random = test_seed("smaps_at_random");
    char text[sizeof sample];
    for (int round = 0; round < 20000; round++) {
        seen s = {0};
        fallow__smaps smaps;
        memcpy(text, sample, sizeof text);
        for (uint64_t changes = test_below(&random, 12); changes > 0; changes--) {
            static const char likely[] = "0123456789abcdef-rwxps: \n[]k\xff";
            size_t at = test_below(&random, sizeof text - 1);
            if (test_below(&random, 3) == 0) { /* a line, or a part of one, somewhere else */
                size_t from = test_below(&random, sizeof text - 1);
                size_t longest = sizeof text - 1 - (at > from ? at : from);
                memmove(&text[at], &text[from], test_below(&random, longest + 1));
            } else {
                text[at] = likely[test_below(&random, sizeof likely)];
            }
        }
        size_t length = test_below(&random, 4) == 0 ? test_below(&random, sizeof text) : sizeof text - 1;
        (void)parse(text, length, 1 + test_below(&random, 40), &s);
        fallow__explain_begin(&report, FALLOW__PROCESS_NONE);
        fallow__smaps_begin(&smaps, fallow__explain_mapping, &report);
        fallow__smaps_feed(&smaps, text, length);
        fallow__smaps_end(&smaps);
        fallow__explain_end(&report);
        uint64_t virtual_bytes = 0;
        for (unsigned group = 0; group < FALLOW__GROUPS; group++) {
            virtual_bytes += report.groups[group].virtual_bytes;
        }
        assert_int_equal(virtual_bytes, report.total.virtual_bytes);
        assert_int_equal(report.total.mapping_count, s.count);
        for (unsigned flags = 0; flags < 4; flags++) {
            fallow__writer writer;
            begin(&writer);
            fallow__explain_write(&report, flags, &writer);
            assert_true(fallow__write_end(&writer));
        }
    }
}

/* --- marks and the list -------------------------------------------------------------------------------------- */

static void a_mark_is_found_where_it_is(void **state)
{
    (void)state;
    union {
        fallow__mark mark;
        unsigned char bytes[4096];
    } head = {.bytes = {0}};
    fallow__mark found;
    fallow_region region = {.base = &head, .size_bytes = 1 << 20, .name = "records"};
    fallow__mark *mark = (fallow__mark *)(void *)&head.bytes[2048];
    uint64_t address = (uintptr_t)&head;
    assert_false(fallow__mark_find(&head, sizeof head, address, &found));
    fallow__mark_set(mark, &region, &region);
    assert_true(fallow__mark_find(&head, sizeof head, address, &found));
    assert_int_equal(found.region_bytes, 1 << 20);
    assert_string_equal(found.name, "records");
    assert_false(fallow__mark_find(&head, 2048 + sizeof *mark - 1, address, &found)); /* not all of it */
    assert_false(fallow__mark_find(&head, sizeof head, address + 4096, &found));      /* a copy elsewhere */
    mark->region_first += 4096;
    assert_false(fallow__mark_find(&head, sizeof head, address, &found));
    mark->region_first = address;
    mark->region_bytes = UINT64_MAX - address + 1; /* its end would be beyond the last address */
    assert_false(fallow__mark_find(&head, sizeof head, address, &found));
    mark->region_bytes = 1 << 20;
    memset(mark->name, 'x', sizeof mark->name); /* a name that does not end */
    assert_true(fallow__mark_find(&head, sizeof head, address, &found));
    assert_int_equal(strlen(found.name), sizeof found.name - 1);
}

static fallow_arena *create(const char *name, size_t reserve_bytes)
{
    fallow_arena *arena = NULL;
    const fallow_arena_options options = {.reserve_bytes = reserve_bytes, .name = name};
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    return arena;
}

/* In the order in which they were created. */
static uint64_t listed(void)
{
    fallow__arena_view view = {.id = 0};
    uint64_t count = 0;
    while (fallow__arenas_view(view.id, NULL, &view)) {
        assert_non_null(view.arena);
        assert_non_null(view.name);
        fallow__arenas_unview(&view);
        count++;
    }
    return count;
}

static void arenas_are_listed_while_they_live(void **state)
{
    (void)state;
    enum {
        COUNT = FALLOW__ARENAS_LISTED + 3
    };
    static fallow_arena *arenas[COUNT];
    assert_int_equal(listed(), 0);
    for (size_t i = 0; i < COUNT; i++) {
        arenas[i] = create(NULL, 256 << 10);
        assert_int_equal(listed(), i < FALLOW__ARENAS_LISTED ? i + 1 : FALLOW__ARENAS_LISTED);
    }
    assert_int_equal(fallow__arenas_unlisted(), 3);
    begin(&(fallow__writer){0});
    page.room = sizeof page.text - 1;
    assert_int_equal(fallow_process_explain(write_on, &page, 0), FALLOW_OK);
    assert_true(shows("and 3 arenas more"));
    for (size_t i = COUNT; i-- > 0;) { /* the unlisted ones first */
        fallow_arena_destroy(arenas[i]);
        if (i == FALLOW__ARENAS_LISTED) {
            page.count = 0;
            assert_int_equal(fallow_process_explain(write_on, &page, 0), FALLOW_OK);
            assert_null(strstr(page.text, "arenas more")); /* all are listed */
        }
    }
    assert_int_equal(listed(), 0);
    assert_int_equal(fallow__arenas_unlisted(), 0);
}

/* --- explain ------------------------------------------------------------------------------------------------- */

static const fallow__piece *piece_named(const fallow__explain *report, const char *name)
{
    for (size_t i = 0; i < report->arenas.count; i++) {
        if (strcmp(report->arenas.at[i].name, name) == 0) {
            return &report->arenas.at[i];
        }
    }
    return NULL;
}

static void arenas_are_found_among_mappings(void **state)
{
    (void)state;
    static fallow__explain report;
    fallow__os_error error;
    fallow_arena_stats stats;
    void *run;
    fallow_arena *one = create("one", 64 * MIB);
    fallow_arena *two = create("two", 32 * MIB); /* next to it, as many systems place it */
    assert_int_equal(fallow_arena_alloc(one, 4 * MIB, &run), FALLOW_OK);
    memset(run, 1, 4 * MIB);
    assert_int_equal(fallow__explain_read(&report, fallow__os_process_id(), &error), FALLOW_OK);
    assert_int_equal(report.mappings_status, FALLOW_OK);
    assert_true(report.is_own);
    const fallow__piece *piece = piece_named(&report, "one");
    assert_non_null(piece);
    fallow_arena_read_stats(one, &stats);
    assert_int_equal(piece->group, FALLOW__GROUP_ARENA);
    assert_int_equal(piece->sums.virtual_bytes, stats.reserved_bytes);
    assert_int_equal(piece->sums.committed_bytes, stats.committed_bytes);
    assert_true(!report.has_resident || piece->sums.resident_bytes >= 4 * MIB);
    assert_true(piece->sums.resident_bytes <= stats.committed_bytes);
    assert_non_null(piece_named(&report, "two"));
    uint64_t arenas =
        report.groups[FALLOW__GROUP_ARENA].virtual_bytes + report.groups[FALLOW__GROUP_ARENA_RESERVED].virtual_bytes;
    uint64_t before = arenas;
    fallow_arena_read_stats(two, &stats);
    assert_int_equal(arenas, piece->sums.virtual_bytes + stats.reserved_bytes);
    fallow_arena_destroy(one);
    assert_int_equal(fallow__explain_read(&report, fallow__os_process_id(), &error), FALLOW_OK);
    assert_null(piece_named(&report, "one"));
    arenas =
        report.groups[FALLOW__GROUP_ARENA].virtual_bytes + report.groups[FALLOW__GROUP_ARENA_RESERVED].virtual_bytes;
    assert_true(arenas < before);
    fallow_arena_destroy(two);
}

/* Memory right below an arena, which Linux makes one mapping with the arena's head. */
static void a_head_is_found_behind_a_neighbour(void **state)
{
    (void)state;
    static fallow__explain report;
    fallow__os_error error;
    fallow_region below;
    fallow_arena *arena = create("above", 16 * MIB);
    assert_int_equal(fallow__explain_read(&report, fallow__os_process_id(), &error), FALLOW_OK);
    const fallow__piece *piece = piece_named(&report, "above");
    assert_non_null(piece);
    uint64_t first = piece->first;
    uint64_t virtual_bytes = piece->sums.virtual_bytes;
    const fallow_region_options options = {.hint = (void *)(uintptr_t)(first - MIB), .flags = FALLOW_REGION_EXACT};
    if (fallow_region_reserve(MIB, &options, &below) != FALLOW_OK) {
        fallow_arena_destroy(arena);
        print_message("SKIPPED: the place below the arena is taken\n");
        skip();
    }
    assert_int_equal(fallow_region_commit(&below, 0, MIB), FALLOW_OK);
    memset(below.base, 1, MIB);
    assert_int_equal(fallow__explain_read(&report, fallow__os_process_id(), &error), FALLOW_OK);
    piece = piece_named(&report, "above");
    assert_non_null(piece);
    assert_int_equal(piece->first, first);
    assert_int_equal(piece->sums.virtual_bytes, virtual_bytes);
    assert_int_equal(fallow_region_release(&below), FALLOW_OK);
    fallow_arena_destroy(arena);
}

/* Neighbours that the kernel has made one mapping are told apart by their reservations. */
static void merged_mappings_are_cut(void **state)
{
    (void)state;
    static fallow__explain report;
    fallow__explain_begin(&report, FALLOW__PROCESS_NONE);
    report.region.end = 0x30000; /* as if a mark had been found below */
    memcpy(report.region.name, "low", 4);
    const fallow__os_mapping mapping = {
        .first = 0x10000,
        .end = 0x50000,
        .kind = FALLOW__OS_PRIVATE,
        .is_readable = true,
        .is_writable = true,
        .is_private = true,
        .has_resident = true,
        .committed_bytes = 0x40000,
        .resident_bytes = 0x20000,
    };
    assert_true(fallow__explain_mapping(&report, &mapping));
    fallow__explain_end(&report);
    const fallow__piece *low = piece_named(&report, "low");
    assert_non_null(low);
    assert_int_equal(low->sums.virtual_bytes, 0x20000);
    assert_int_equal(low->sums.committed_bytes, 0x20000);
    assert_int_equal(low->sums.resident_bytes, 0x10000);
    assert_true(low->is_estimate);
    assert_int_equal(report.groups[FALLOW__OS_PRIVATE].virtual_bytes, 0x20000);
    assert_int_equal(report.total.virtual_bytes, 0x40000);
    assert_int_equal(report.total.mapping_count, 1);
}

static void the_largest_are_kept(void **state)
{
    (void)state;
    static fallow__explain report;
    test_random random = test_seed("the_largest_are_kept");
    uint64_t largest[FALLOW__PIECES] = {0};
    uint64_t address = 0;
    fallow__explain_begin(&report, FALLOW__PROCESS_NONE);
    for (int i = 0; i < 500; i++) {
        uint64_t size_bytes = 1 + test_below(&random, 1 << 20);
        fallow__os_mapping mapping = {.first = address + 1, .end = address + 1 + size_bytes, .is_private = true};
        (void)fallow__explain_mapping(&report, &mapping);
        address = mapping.end;
        for (size_t place = 0; place < FALLOW__PIECES; place++) {
            if (size_bytes > largest[place]) {
                uint64_t smaller = largest[place];
                largest[place] = size_bytes;
                size_bytes = smaller;
            }
        }
    }
    fallow__explain_end(&report);
    assert_int_equal(report.largest.count, FALLOW__PIECES);
    for (size_t i = 0; i < FALLOW__PIECES; i++) {
        assert_int_equal(report.largest.at[i].sums.virtual_bytes, largest[i]);
    }
}

static void the_nearest_limit(void **state)
{
    (void)state;
    static fallow__explain report;
    fallow__writer writer;
    fallow__explain_begin(&report, FALLOW__PROCESS_NONE);
    assert_null(fallow__explain_nearest(&report));
    report.limit_count = 5;
    report.limits[0] = (fallow__os_limit){.name = "none", .what = "w", .limit = UINT64_MAX, .used = 5};
    report.limits[1] = (fallow__os_limit){.name = "far", .what = "w", .limit = 1000, .used = 1};
    report.limits[2] = (fallow__os_limit){.name = "unknown", .what = "w", .limit = 10, .used = UINT64_MAX};
    report.limits[3] = (fallow__os_limit){.name = "near", .what = "w", .limit = 1024, .used = 1023, .place = "/g\n"};
    report.limits[4] = (fallow__os_limit){.name = "passed", .what = "w", .limit = 10, .used = 12, .is_mappings = true};
    assert_string_equal(fallow__explain_nearest(&report)->name, "passed");
    begin(&writer);
    fallow__explain_write(&report, 0, &writer);
    assert_true(fallow__write_end(&writer));
    assert_true(
        shows("  passed, w: 12 of 10, 120 %; passed by 2\n  near, w of /g?: 1023 B of 1 KiB, 99.9 %; 1 B left\n"
              "  far, w: 1 B of 1000 B, 0.1 %; 999 B left\n  unknown, w: 10 B; how much of it is used is not told\n"
              "  none, w: none\n"));
    report.limit_count = 3;
    assert_string_equal(fallow__explain_nearest(&report)->name, "far");
}

/* What the library tells of a process that it may not look into, or that has nothing. */
static void what_cannot_be_seen_is_said(void **state)
{
    (void)state;
    static fallow__explain report;
    fallow__writer writer;
    fallow__explain_begin(&report, 4711);
    report.mappings_status = FALLOW_ERR_PERMISSION;
    report.figures = (fallow__os_figures){.program = "x\x1b[m",
                                          .virtual_bytes = 100 * MIB,
                                          .resident_bytes = MIB,
                                          .data_bytes = 2 * MIB,
                                          .stack_bytes = 132 << 10,
                                          .code_bytes = MIB,
                                          .user_id = 7,
                                          .is_other_user = true};
    begin(&writer);
    fallow__explain_write(&report, 0, &writer);
    assert_true(fallow__write_end(&writer));
    assert_true(shows("Process 4711, x?[m, of another user (7)\n"));
    assert_true(shows("may not read its mappings"));
    assert_true(shows("the other 96.8 MiB"));
    report.figures = (fallow__os_figures){.program = "kthreadd"};
    report.mappings_status = FALLOW_OK;
    begin(&writer);
    fallow__explain_write(&report, 0, &writer);
    assert_true(fallow__write_end(&writer));
    assert_true(shows("It has no memory of its own"));
}

static void explain_refuses_and_is_refused(void **state)
{
    (void)state;
    fallow_failure failure;
    fallow__explain report;
    fallow__os_error error;
    begin(&(fallow__writer){0});
    assert_int_equal(fallow_process_explain(write_on, &page, 1u << 7), FALLOW_ERR_INVALID);
    page.room = 100;
    for (unsigned flags = 0; flags < 4; flags++) {
        page.count = 0;
        assert_int_equal(fallow_process_explain(write_on, &page, flags), FALLOW_ERR_LIMIT);
        assert_true(fallow_last_failure(&failure));
        assert_string_equal(failure.operation, "fallow_process_explain");
        assert_string_equal(failure.limit_name, "writer");
    }
    assert_int_equal(fallow__explain_read(&report, 4000000000u, &error), FALLOW_ERR_INVALID); /* no such process */
}

/* Each limit has all its fields. */
static void limits_as_json(void **state)
{
    (void)state;
    static fallow__explain report;
    fallow__os_error error;
    begin(&(fallow__writer){0});
    assert_int_equal(fallow__explain_read(&report, fallow__os_process_id(), &error), FALLOW_OK);
    assert_int_equal(fallow_process_explain(write_on, &page, FALLOW_EXPLAIN_JSON), FALLOW_OK);
    for (size_t i = 0; i < report.limit_count; i++) {
        const fallow__os_limit *limit = &report.limits[i];
        char words[128];
        snprintf(words, sizeof words, "{\"name\":\"%s\",\"unit\":\"%s\",\"place\":\"", limit->name,
                 limit->is_mappings ? "mappings" : "bytes");
        assert_true(shows(words));
        const char *rest = strstr(page.text, words) + strlen(words);
        char number[64] = "\"limit\":null,";
        if (limit->limit != UINT64_MAX) {
            snprintf(number, sizeof number, "\"limit\":%llu,", (unsigned long long)limit->limit);
        }
        assert_non_null(strstr(rest, number));
        assert_non_null(strstr(rest, limit->is_of_all ? "\"is_of_all\":true}" : "\"is_of_all\":false}"));
    }
}

/* --- statistics ---------------------------------------------------------------------------------------------- */

static void statistics_are_written(void **state)
{
    (void)state;
    fallow_failure failure;
    fallow__named_stats named = {.id = 0};
    void *run;
    fallow_arena *arena = create("a\"b", 16 * MIB);
    fallow_arena *other = create(NULL, 16 * MIB);
    assert_int_equal(fallow_arena_alloc(arena, MIB, &run), FALLOW_OK);
    assert_true(fallow__stats_next(&named));
    assert_string_equal(named.name, "a\"b");
    assert_int_equal(named.stats.in_use_bytes, MIB);
    assert_true(fallow__stats_next(&named));
    assert_false(fallow__stats_next(&named));
    begin(&(fallow__writer){0});
    assert_int_equal(fallow_stats_write(arena, FALLOW_STATS_TEXT, write_on, &page), FALLOW_OK);
    assert_true(shows("\n  in_use_bytes                   1 MiB   Committed pages of live runs.\n"));
    page.count = 0;
    assert_int_equal(fallow_stats_write(arena, FALLOW_STATS_JSON, write_on, &page), FALLOW_OK);
    assert_true(shows("{\"name\":\"a\\\"b\","));
    assert_true(shows("\"in_use_bytes\":1048576,"));
    page.count = 0;
    assert_int_equal(fallow_stats_write(NULL, FALLOW_STATS_JSON, write_on, &page), FALLOW_OK);
    assert_memory_equal(page.text, "[{\"name\":", 9);
    assert_true(shows("},\n{\"name\":"));
    assert_memory_equal(&page.text[page.count - 3], "}]\n", 3);
    page.count = 0;
    assert_int_equal(fallow_stats_write(NULL, FALLOW_STATS_PROMETHEUS, write_on, &page), FALLOW_OK);
    assert_true(
        shows("# TYPE fallow_arena_commit_calls_total counter\nfallow_arena_commit_calls_total{arena=\"a\\\"b\""));
    assert_true(shows("fallow_arena_in_use_bytes{arena=\"\",id="));
    assert_int_equal(fallow_stats_write(arena, (fallow_stats_format)3, write_on, &page), FALLOW_ERR_INVALID);
    page.room = page.count + 10;
    for (int format = 0; format < 3; format++) {
        assert_int_equal(fallow_stats_write(arena, (fallow_stats_format)format, write_on, &page), FALLOW_ERR_LIMIT);
        assert_true(fallow_last_failure(&failure));
        assert_string_equal(failure.limit_name, "writer");
    }
    fallow_arena_destroy(other);
    fallow_arena_destroy(arena);
}

/* The callback may do what a program does: also create arenas, and destroy others. */
static bool create_and_destroy(void *context, const char *text, size_t bytes)
{
    (void)context;
    (void)text;
    (void)bytes;
    fallow_arena_destroy(create("another", MIB));
    return true;
}

static void the_callback_may_use_the_library(void **state)
{
    (void)state;
    fallow_arena *arena = create("the first", 16 * MIB);
    for (int format = 0; format < 3; format++) {
        assert_int_equal(fallow_stats_write(NULL, (fallow_stats_format)format, create_and_destroy, NULL), FALLOW_OK);
    }
    assert_int_equal(fallow_process_explain(create_and_destroy, NULL, 0), FALLOW_OK);
    fallow_arena_destroy(arena);
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_shares_in_words),
        cmocka_unit_test(characters),
        cmocka_unit_test(numbers_and_columns),
        cmocka_unit_test(foreign_text_is_harmless),
        cmocka_unit_test(a_refusal_is_final),
        cmocka_unit_test(smaps_are_understood),
        cmocka_unit_test(smaps_in_pieces_and_cut_off),
        cmocka_unit_test(smaps_that_lie),
        cmocka_unit_test(smaps_stop_when_asked),
        cmocka_unit_test(smaps_at_random),
        cmocka_unit_test(a_mark_is_found_where_it_is),
        cmocka_unit_test(arenas_are_listed_while_they_live),
        cmocka_unit_test(arenas_are_found_among_mappings),
        cmocka_unit_test(a_head_is_found_behind_a_neighbour),
        cmocka_unit_test(merged_mappings_are_cut),
        cmocka_unit_test(the_largest_are_kept),
        cmocka_unit_test(the_nearest_limit),
        cmocka_unit_test(what_cannot_be_seen_is_said),
        cmocka_unit_test(explain_refuses_and_is_refused),
        cmocka_unit_test(limits_as_json),
        cmocka_unit_test(statistics_are_written),
        cmocka_unit_test(the_callback_may_use_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
