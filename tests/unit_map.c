/* Pictures of arenas: drawn from ranges that are made up and compared with what went in; from ranges that change while
 * they are drawn; from real arenas, compared with their statistics. Linked twice: on the system at hand, and on
 * simulated ones. */
#include "test.h"

#include <string.h>

#include "map.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define TIB ((uint64_t)1 << 40)

/* --- a place to write to ------------------------------------------------------------------------------------- */

static struct paper {
    size_t count;
    size_t room; /* refuses what is more */
    char text[4 << 20];
} page;

static bool write_on(void *context, const char *text, size_t bytes)
{
    struct paper *p = context;
    if (bytes > p->room - p->count) {
        return false;
    }
    memcpy(&p->text[p->count], text, bytes);
    p->count += bytes;
    p->text[p->count] = '\0';
    return true;
}

static void clear_page(size_t room)
{
    page.count = 0;
    page.room = room;
    page.text[0] = '\0';
}

static size_t occurrences(const char *words)
{
    size_t count = 0;
    for (const char *at = page.text; (at = strstr(at, words)) != NULL; at += strlen(words)) {
        count++;
    }
    return count;
}

static void require_shown(const char *words)
{
    if (strstr(page.text, words) == NULL) {
        fail_msg("not shown: %s\nin: %.3000s", words, page.text);
    }
}

/* --- ranges that are made up --------------------------------------------------------------------------------- */

enum {
    PARTS_MAX = 400,
    RANGES_MAX = 4096
};

typedef struct made_part {
    uint64_t page_count;
    size_t first_range;
    size_t range_count;
} made_part;

typedef struct made {
    made_part parts[PARTS_MAX];
    size_t part_count;
    fallow__map_range ranges[RANGES_MAX];
    size_t range_count;
    unsigned part_calls;    /* counts */
    unsigned changes_after; /* so many calls for parts; then `other` is told */
    const struct made *other;
} made;

static made first_made;
static made second_made;

static const made *now_of(const made *self)
{
    return self->other != NULL && self->part_calls > self->changes_after ? self->other : self;
}

static bool tell_part(void *context, size_t index, fallow__map_part *part_out)
{
    made *self = context;
    self->part_calls++;
    const made *now = now_of(self);
    if (index >= now->part_count) {
        return false;
    }
    *part_out = (fallow__map_part){
        .base = 0x100000000000 + index * (100 * TIB),
        .page_count = now->parts[index].page_count,
        .region_bytes = now->parts[index].page_count * 8 * KIB + MIB,
        .bookkeeping_bytes = 20 * KIB,
        .guard_bytes = 4 * KIB,
    };
    return true;
}

static size_t tell_ranges(void *context, size_t index, uint64_t first, uint64_t limit,
                          fallow__map_range ranges_out[FALLOW__MAP_BITE])
{
    const made *now = now_of(context);
    const made_part *part = &now->parts[index];
    size_t count = 0;
    assert_true(index < now->part_count && first < limit && limit <= part->page_count);
    for (size_t i = 0; i < part->range_count && count < FALLOW__MAP_BITE; i++) {
        fallow__map_range range = now->ranges[part->first_range + i];
        uint64_t end = range.first + range.count;
        if (end <= first) {
            continue;
        }
        if (range.first < first) { /* the walk began elsewhere */
            range.count = end - first;
            range.first = first;
        }
        ranges_out[count++] = range;
    }
    assert_true(count > 0);
    return count;
}

static fallow__map_source source_of(made *self, const char *name)
{
    self->part_calls = 0;
    return (fallow__map_source){
        .context = self, .name = name, .page_bytes = 8 * KIB, .part = tell_part, .ranges = tell_ranges};
}

static void begin_made(made *self)
{
    self->part_count = 0;
    self->range_count = 0;
    self->other = NULL;
}

static void begin_part(made *self)
{
    self->parts[self->part_count++] = (made_part){.first_range = self->range_count};
}

/* A range behind the last one; used ones are a run each. */
static void add(made *self, fallow__map_kind kind, uint64_t count)
{
    made_part *part = &self->parts[self->part_count - 1];
    bool is_run = kind == FALLOW__MAP_IN_USE || kind == FALLOW__MAP_CACHED || kind == FALLOW__MAP_ADDRESSES;
    self->ranges[self->range_count++] =
        (fallow__map_range){part->page_count, count, part->page_count, is_run ? count : 0, kind};
    part->range_count++;
    part->page_count += count;
}

static void draw(made *self, fallow_map_format format, const fallow_map_options *options)
{
    fallow__writer writer;
    fallow__map_source source = source_of(self, "made <up> & \"so\"\n\xff.");
    clear_page(sizeof page.text - 1);
    fallow__write_begin(&writer, write_on, &page);
    fallow__map_write(&writer, &source, format, options);
    assert_true(fallow__write_end(&writer));
}

/* --- reading a drawing ---------------------------------------------------------------------------------------- */

static const char class_letters[] = "ucrlzanmg";

/* What the boxes of each kind stand for, and what the legend says. */
static void read_figures(uint64_t drawn_out[FALLOW__MAP_KINDS], uint64_t told_out[FALLOW__MAP_KINDS])
{
    memset(drawn_out, 0, FALLOW__MAP_KINDS * sizeof drawn_out[0]);
    memset(told_out, 0, FALLOW__MAP_KINDS * sizeof told_out[0]);
    for (const char *at = page.text; (at = strstr(at, " data-b=\"")) != NULL; at++) {
        const char *class = at;
        while (strncmp(class, "class=\"", 7) != 0) {
            class --;
        }
        const char *letter = strchr(class_letters, class[7]);
        assert_non_null(letter);
        drawn_out[letter - class_letters] += strtoull(at + strlen(" data-b=\""), NULL, 10);
    }
    for (const char *at = page.text; (at = strstr(at, "data-kind=\"")) != NULL; at++) {
        const char *letter = strchr(class_letters, at[strlen("data-kind=\"")]);
        const char *total = strstr(at, "data-total=\"");
        assert_non_null(letter);
        assert_non_null(total);
        told_out[letter - class_letters] = strtoull(total + strlen("data-total=\""), NULL, 10);
    }
}

static void made_figures(const made *self, uint64_t bytes_out[FALLOW__MAP_KINDS])
{
    memset(bytes_out, 0, FALLOW__MAP_KINDS * sizeof bytes_out[0]);
    for (size_t i = 0; i < self->range_count; i++) {
        bytes_out[self->ranges[i].kind] += self->ranges[i].count * 8 * KIB;
    }
    bytes_out[FALLOW__MAP_BOOKKEEPING] = self->part_count * 20 * KIB;
    bytes_out[FALLOW__MAP_GUARD] = self->part_count * 4 * KIB;
    bytes_out[FALLOW__MAP_RESERVED] += self->part_count * (MIB - 24 * KIB);
}

/* Tags open and close in order: what a test without an XML parser can see. */
static void require_tags_match(void)
{
    const char *open[64];
    size_t lengths[64];
    size_t depth = 0;
    for (const char *at = page.text; (at = strchr(at, '<')) != NULL; at++) {
        const char *end = strchr(at, '>');
        assert_non_null(end);
        size_t length = strcspn(at + 1, " >/\n");
        if (at[1] == '!') {
            continue;
        }
        if (at[1] == '/') {
            assert_true(depth > 0);
            depth--;
            assert_true(lengths[depth] == strcspn(at + 2, ">") && memcmp(open[depth], at + 2, lengths[depth]) == 0);
        } else if (end[-1] != '/') {
            assert_true(depth < 64);
            open[depth] = at + 1;
            lengths[depth++] = length;
        }
    }
    assert_int_equal(depth, 0);
}

/* --- tests ----------------------------------------------------------------------------------------------------- */

/* Every letter of a small arena; the text stands for itself. */
static void text_of_a_small_arena(void **state)
{
    (void)state;
    const fallow_map_options options = {.columns = 16, .flags = FALLOW_MAP_PLAIN};
    begin_made(&first_made);
    begin_part(&first_made);
    add(&first_made, FALLOW__MAP_IN_USE, 3);
    add(&first_made, FALLOW__MAP_CACHED, 2);
    add(&first_made, FALLOW__MAP_RETAINED, 4);
    add(&first_made, FALLOW__MAP_LAZY, 1);
    add(&first_made, FALLOW__MAP_IN_USE, 10);
    add(&first_made, FALLOW__MAP_RELEASED, 5);
    add(&first_made, FALLOW__MAP_ADDRESSES, 6);
    add(&first_made, FALLOW__MAP_RESERVED, 1000);
    draw(&first_made, FALLOW_MAP_ANSI, &options);
    const char *rows = strstr(page.text, "reservation 1 of 1");
    assert_non_null(rows);
    rows = strchr(rows, '\n') + 1;
    assert_string_equal(rows, "  0x100000000000    UUUCCRRRRLUUUUUU\n"
                              "  0x100000020000    UUUUZZZZZAAAAAA.\n"
                              "  0x100000040000    ... 7.8 MiB reserved\n");
    require_shown(
        "arena made <up> & \"so\"??.\n9.0 MiB of addresses in 1 reservation; 180 KiB may hold memory; 104 KiB in use, "
        "in 3 runs\na letter is 8 KiB, one page; a row of 16 is 128 KiB; rows without memory are folded\n");
    require_shown("  U in use            104 KiB   committed pages of live runs\n");
    require_shown("  G guard               4 KiB   ");
}

/* A page in 64 TiB shows, on a row of its own. */
static void one_page_in_64_tib(void **state)
{
    (void)state;
    begin_made(&first_made);
    begin_part(&first_made);
    add(&first_made, FALLOW__MAP_RESERVED, 32 * TIB / (8 * KIB));
    add(&first_made, FALLOW__MAP_IN_USE, 1);
    add(&first_made, FALLOW__MAP_RESERVED, 32 * TIB / (8 * KIB) - 1);
    draw(&first_made, FALLOW_MAP_SVG, NULL);
    assert_int_equal(occurrences(">32 TiB reserved<"), 1);
    assert_int_equal(occurrences(">31.9 TiB reserved<"), 1); /* without the rest of the page's row */
    require_shown("<title>run of 8 KiB at 0x300000000000: in use</title>");
    assert_int_equal(occurrences("class=\"k\""), 3 + 1); /* two bands, a row, and what is in front */
    assert_true(page.count < 16000);
}

/* Far more memory than fits at 2 MiB a cell: everything folds. */
static void a_terabyte_in_use(void **state)
{
    (void)state;
    begin_made(&first_made);
    begin_part(&first_made);
    for (unsigned i = 0; i < 8; i++) {
        add(&first_made, FALLOW__MAP_IN_USE, TIB / 16 / (8 * KIB));
        add(&first_made, FALLOW__MAP_IN_USE, TIB / 16 / (8 * KIB));
        add(&first_made, FALLOW__MAP_RETAINED, 3);
    }
    draw(&first_made, FALLOW_MAP_ANSI, NULL);
    require_shown("rows of one kind are folded");
    require_shown(" in use, 2 runs ");
    draw(&first_made, FALLOW_MAP_SVG, NULL);
    require_shown(" in use, 2 runs</text>");
}

static void random_made(made *self, test_random *random)
{
    begin_made(self);
    size_t part_count = 1 + (size_t)test_below(random, test_below(random, 4) == 0 ? 40 : 3);
    for (size_t i = 0; i < part_count; i++) {
        size_t range_count = 1 + (size_t)test_below(random, 90);
        unsigned size_bits = 1 + (unsigned)test_below(random, test_below(random, 3) == 0 ? 26 : 8);
        begin_part(self);
        for (size_t j = 0; j < range_count; j++) {
            add(self, (fallow__map_kind)test_below(random, FALLOW__MAP_PAGE_KINDS),
                1 + test_below(random, (uint64_t)1 << test_below(random, size_bits)));
        }
    }
}

static fallow_map_options random_options(test_random *random)
{
    return (fallow_map_options){
        .columns = 16 + (unsigned)test_below(random, 113),
        .rows = 4 + (unsigned)test_below(random, test_below(random, 2) == 0 ? 20 : 300),
    };
}

/* Whatever the ranges are: what is drawn adds up to them, in no more rows than asked for. */
static void drawn_is_what_there_is(void **state)
{
    (void)state;
    test_random random = test_seed("drawn_is_what_there_is");
    uint64_t drawn[FALLOW__MAP_KINDS];
    uint64_t told[FALLOW__MAP_KINDS];
    uint64_t expected[FALLOW__MAP_KINDS];
    unsigned whole = 0;
    for (unsigned round = 0; round < 300; round++) {
        random_made(&first_made, &random);
        fallow_map_options options = random_options(&random);
        draw(&first_made, round % 2 == 0 ? FALLOW_MAP_SVG : FALLOW_MAP_HTML, &options);
        if (round % 2 == 0) {
            require_tags_match();
        }
        read_figures(drawn, told);
        made_figures(&first_made, expected);
        assert_memory_equal(told, expected, sizeof told);
        bool is_whole = first_made.part_count <= options.rows;
        for (unsigned kind = 0; kind < FALLOW__MAP_KINDS; kind++) {
            if (is_whole ? drawn[kind] != expected[kind] : drawn[kind] > expected[kind]) {
                fail_msg("round %u: kind %u is %llu bytes, drawn as %llu", round, kind,
                         (unsigned long long)expected[kind], (unsigned long long)drawn[kind]);
            }
        }
        whole += is_whole;
        assert_int_equal(occurrences("Not drawn") != 0, !is_whole);
        size_t drawn_parts = is_whole ? first_made.part_count : options.rows;
        size_t line_count = occurrences("class=\"k\"") - drawn_parts;
        assert_true(line_count <= options.rows);
        assert_true(page.count < 12000 + drawn_parts * 2000 + (size_t)options.rows * options.columns * 1000);
        draw(&first_made, FALLOW_MAP_ANSI, &options);
        assert_int_equal(occurrences("\n  0x"), line_count);
    }
    assert_in_range(whole, 1, 299);
}

/* Others work on the arena while it is drawn: the second pass finds something else. */
static void changed_meanwhile(void **state)
{
    (void)state;
    test_random random = test_seed("changed_meanwhile");
    for (unsigned round = 0; round < 300; round++) {
        random_made(&first_made, &random);
        random_made(&second_made, &random);
        if (test_below(&random, 2) == 0 && second_made.part_count > first_made.part_count) {
            second_made.part_count = first_made.part_count;
        }
        fallow_map_options options = random_options(&random);
        first_made.other = &second_made;
        first_made.changes_after = (unsigned)first_made.part_count + 1;
        draw(&first_made, FALLOW_MAP_SVG, &options);
        require_tags_match();
        assert_true(occurrences("class=\"k\"") <= options.rows + 41);
        uint64_t drawn[FALLOW__MAP_KINDS];
        uint64_t told[FALLOW__MAP_KINDS];
        uint64_t expected[FALLOW__MAP_KINDS];
        read_figures(drawn, told);
        made_figures(&first_made, expected);
        assert_memory_equal(told, expected, sizeof told);
    }
}

/* Hundreds of reservations, as on 32 bits. */
static void more_parts_than_rows(void **state)
{
    (void)state;
    const fallow_map_options options = {.rows = 10, .flags = FALLOW_MAP_PLAIN};
    begin_made(&first_made);
    for (unsigned i = 0; i < 300; i++) {
        begin_part(&first_made);
        add(&first_made, FALLOW__MAP_IN_USE, 2);
        add(&first_made, FALLOW__MAP_RESERVED, 30);
    }
    draw(&first_made, FALLOW_MAP_ANSI, &options);
    assert_int_equal(occurrences("\n  0x"), 10);
    require_shown("reservation 10 of 300;");
    require_shown("\nnot drawn: 4.5 MiB in use, 67.9 MiB reserved\n");
    draw(&first_made, FALLOW_MAP_SVG, &options);
    require_shown(">Not drawn: 4.5 MiB in use, 67.9 MiB reserved<");
}

/* Stacks are as high as a cell, and the thinnest of them still show. */
static void thin_parts_show(void **state)
{
    (void)state;
    const fallow_map_options options = {.columns = 16, .rows = 4};
    begin_made(&first_made);
    begin_part(&first_made);
    for (unsigned i = 0; i < 64; i++) {
        add(&first_made, FALLOW__MAP_IN_USE, 1);
        add(&first_made, FALLOW__MAP_RETAINED, 1);
        add(&first_made, FALLOW__MAP_RELEASED, 1022);
    }
    draw(&first_made, FALLOW_MAP_SVG, &options);
    require_shown(
        "8 MiB at 0x100000000000: 8 KiB in use, 8 KiB retained, 7.9 MiB released; 1 run: 8 KiB at 0x100000000000");
}

/* Three large kinds and three thin ones: what the thin ones get too much, no single kind has. */
static void a_stack_is_as_high_as_a_cell(void **state)
{
    (void)state;
    static const fallow__map_kind thin[] = {FALLOW__MAP_CACHED, FALLOW__MAP_LAZY, FALLOW__MAP_ADDRESSES};
    const fallow_map_options options = {.columns = 16, .rows = 4};
    begin_made(&first_made);
    begin_part(&first_made);
    for (unsigned i = 0; i < 64; i++) {
        add(&first_made, FALLOW__MAP_IN_USE, 308);
        add(&first_made, FALLOW__MAP_RETAINED, 308);
        add(&first_made, FALLOW__MAP_RELEASED, 302);
        for (unsigned kind = 0; kind < 3; kind++) {
            add(&first_made, thin[kind], kind == 0 ? 34 : 36);
        }
    }
    draw(&first_made, FALLOW_MAP_SVG, &options);
    const char *cell = strstr(page.text, "8 MiB at 0x100000000000: ");
    assert_non_null(cell);
    uint64_t tenths = 0;
    unsigned boxes = 0;
    const char *end = strstr(cell, "</g>");
    for (const char *at = cell; (at = strstr(at, "<path ")) != NULL && at < end; at++) {
        double height = strtod(strchr(strstr(at, "d=\"M"), 'v') + 1, NULL);
        assert_true(height >= 2 && height <= 14);
        tenths += (uint64_t)(height * 10 + 0.5);
        boxes++;
    }
    assert_int_equal(boxes, 6);
    assert_int_equal(tenths, 140);
}

static void colours_and_letters(void **state)
{
    (void)state;
    fallow_map_options options = {.flags = FALLOW_MAP_PLAIN};
    begin_made(&first_made);
    begin_part(&first_made);
    for (unsigned kind = 0; kind < FALLOW__MAP_PAGE_KINDS; kind++) {
        add(&first_made, (fallow__map_kind)kind, 1);
    }
    draw(&first_made, FALLOW_MAP_ANSI, &options);
    assert_int_equal(occurrences("\033"), 0);
    draw(&first_made, FALLOW_MAP_ANSI, NULL);
    assert_true(occurrences("\033[") >= 4 * FALLOW__MAP_PAGE_KINDS);
    draw(&first_made, FALLOW_MAP_HTML, NULL);
    require_shown("<title>arena made &lt;up&gt; &amp; &quot;so&quot;??.</title>");
    require_shown("default-src 'none'");
    assert_int_equal(occurrences("http"), 1 + 1); /* the name of SVG, and http-equiv */
}

/* --- real arenas ------------------------------------------------------------------------------------------------ */

static void take(fallow_arena *arena, size_t size_bytes, uint32_t flags, fallow_run *run_out)
{
    const fallow_run_options options = {.flags = flags};
    assert_int_equal(fallow_arena_alloc_run(arena, size_bytes, &options, run_out), FALLOW_OK);
}

/* An arena with pages of every kind. */
static fallow_arena *make_arena(fallow_purge purge, bool has_parts)
{
    fallow_arena *arena;
    fallow_run runs[40];
    fallow_arena_options options = {
        .reserve_bytes = has_parts ? 4 * MIB : 64 * MIB,
        .page_bytes = 64 * KIB,
        .name = "every",
        .purge = purge,
        .scavenge = FALLOW_SCAVENGE_OFF,
        .thread_cache_bytes = 2 * MIB,
    };
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    for (unsigned i = 0; i < 40; i++) {
        take(arena, (1 + i % 5) * 64 * KIB, FALLOW_RUN_NO_CACHE, &runs[i]);
    }
    for (unsigned i = 0; i < 40; i += 4) {
        fallow_arena_free_many(arena, &runs[i], 1);
    }
    assert_int_equal(fallow_arena_trim(arena, 0, NULL), FALLOW_OK);
    for (unsigned i = 1; i < 40; i += 4) {
        fallow_arena_free_many(arena, &runs[i], 1);
    }
    take(arena, MIB, FALLOW_RUN_UNCOMMITTED, &runs[0]);
    take(arena, MIB, FALLOW_RUN_UNCOMMITTED, &runs[0]); /* a run of both kinds */
    assert_int_equal(fallow_arena_commit(arena, (char *)runs[0].base + 128 * KIB, 64 * KIB), FALLOW_OK);
    for (unsigned i = 2; i < 40; i += 4) {
        fallow_arena_free(arena, runs[i].base, runs[i].size_bytes);
    }
    return arena;
}

static void the_figures_are_the_arenas(void **state)
{
    (void)state;
    for (unsigned purge = FALLOW_PURGE_DONTNEED; purge <= FALLOW_PURGE_DECOMMIT; purge++) {
        for (unsigned has_parts = 0; has_parts < 2; has_parts++) {
            fallow_arena *arena = make_arena((fallow_purge)purge, has_parts);
            uint64_t drawn[FALLOW__MAP_KINDS];
            uint64_t told[FALLOW__MAP_KINDS];
            uint64_t sum = 0;
            fallow_arena_stats stats;
            clear_page(sizeof page.text - 1);
            assert_int_equal(fallow_arena_write_map(arena, FALLOW_MAP_SVG, NULL, write_on, &page), FALLOW_OK);
            fallow_arena_read_stats(arena, &stats);
            read_figures(drawn, told);
            assert_memory_equal(drawn, told, sizeof told);
            assert_int_equal(told[FALLOW__MAP_IN_USE], stats.in_use_bytes);
            assert_int_equal(told[FALLOW__MAP_CACHED], stats.cached_bytes);
            assert_int_equal(told[FALLOW__MAP_RETAINED], stats.retained_bytes);
            assert_int_equal(told[FALLOW__MAP_LAZY], stats.released_lazy_bytes);
            assert_int_equal(told[FALLOW__MAP_RELEASED], stats.released_zero_bytes);
            assert_int_equal(told[FALLOW__MAP_ADDRESSES], stats.uncommitted_bytes);
            assert_int_equal(told[FALLOW__MAP_BOOKKEEPING], stats.metadata_bytes);
            assert_true(stats.cached_bytes != 0 && stats.retained_bytes != 0 && stats.uncommitted_bytes != 0);
            assert_true(has_parts ? stats.region_count > 1 : stats.region_count == 1);
            for (unsigned kind = 0; kind < FALLOW__MAP_KINDS; kind++) {
                sum += told[kind];
            }
            assert_int_equal(sum, stats.reserved_bytes);
            char runs[64];
            snprintf(runs, sizeof runs, " in use, in %zu runs<", stats.run_count);
            require_shown(runs);
            fallow_arena_destroy(arena);
        }
    }
}

/* A writer that refuses at any byte gets a status, and nothing more is handed to it. */
static void refused_at_each_byte(void **state)
{
    (void)state;
    fallow_arena *arena = make_arena(FALLOW_PURGE_DONTNEED, false);
    for (unsigned format = 0; format <= FALLOW_MAP_HTML; format++) {
        clear_page(sizeof page.text - 1);
        assert_int_equal(fallow_arena_write_map(arena, (fallow_map_format)format, NULL, write_on, &page), FALLOW_OK);
        size_t all = page.count;
        for (size_t room = 0; room < all; room += all / 60) {
            fallow_failure failure;
            clear_page(room);
            assert_int_equal(fallow_arena_write_map(arena, (fallow_map_format)format, NULL, write_on, &page),
                             FALLOW_ERR_LIMIT);
            assert_true(fallow_last_failure(&failure));
            assert_string_equal(failure.limit_name, "writer");
            assert_string_equal(failure.operation, "fallow_arena_write_map");
            assert_true(page.count <= room);
        }
    }
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_destroy(arena);
}

static bool write_nowhere(void *context, const char *text, size_t bytes)
{
    (void)text;
    *(size_t *)context += bytes;
    return true;
}

static void options_out_of_range(void **state)
{
    (void)state;
    static const fallow_map_options good[] = {{.columns = 16}, {.columns = 128}, {.rows = 4}, {.rows = 1024}};
    static const fallow_map_options bad[] = {
        {.columns = 15}, {.columns = 129}, {.rows = 3}, {.rows = 1025}, {.flags = 2}};
    fallow_arena *arena = make_arena(FALLOW_PURGE_DONTNEED, false);
    clear_page(sizeof page.text - 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(fallow_arena_write_map(arena, FALLOW_MAP_SVG, &bad[i], write_on, &page), FALLOW_ERR_INVALID);
    }
    assert_int_equal(fallow_arena_write_map(arena, (fallow_map_format)3, NULL, write_on, &page), FALLOW_ERR_INVALID);
    assert_int_equal(fallow_arena_write_map(arena, (fallow_map_format)-1, NULL, write_on, &page), FALLOW_ERR_INVALID);
    assert_int_equal(page.count, 0);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t written = 0;
        assert_int_equal(fallow_arena_write_map(arena, FALLOW_MAP_SVG, &good[i], write_nowhere, &written), FALLOW_OK);
        assert_true(written != 0);
    }
    fallow_arena_destroy(arena);
}

/* No lock is held: the writer may use the arena that it is told of. */
static bool use_arena(void *context, const char *text, size_t bytes)
{
    void *run;
    (void)text;
    (void)bytes;
    assert_int_equal(fallow_arena_alloc(context, 64 * KIB, &run), FALLOW_OK);
    fallow_arena_free(context, run, 64 * KIB);
    return true;
}

static void the_writer_may_use_the_arena(void **state)
{
    (void)state;
    fallow_arena *arena = make_arena(FALLOW_PURGE_DONTNEED, true);
    assert_int_equal(fallow_arena_write_map(arena, FALLOW_MAP_HTML, NULL, use_arena, arena), FALLOW_OK);
    assert_int_equal(fallow_arena_check(arena), FALLOW_OK);
    fallow_arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_of_a_small_arena),
        cmocka_unit_test(one_page_in_64_tib),
        cmocka_unit_test(a_terabyte_in_use),
        cmocka_unit_test(drawn_is_what_there_is),
        cmocka_unit_test(changed_meanwhile),
        cmocka_unit_test(more_parts_than_rows),
        cmocka_unit_test(thin_parts_show),
        cmocka_unit_test(a_stack_is_as_high_as_a_cell),
        cmocka_unit_test(colours_and_letters),
        cmocka_unit_test(the_figures_are_the_arenas),
        cmocka_unit_test(refused_at_each_byte),
        cmocka_unit_test(options_out_of_range),
        cmocka_unit_test(the_writer_may_use_the_arena),
    };
    test_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
