/* Takes in the mappings of a process, keeps sums, and tells what they mean.
 *
 *     mapping --cut at the ends of fallow's reservations--> slice --> sums of its group
 *                                                                 '-> the piece that grows --> the largest pieces
 *
 * Fallow's reservations are known by the mark near their start, in this process and in others alike (arenas.h), and by
 * name where the kernel shows names.
 *
 * Every byte of VSZ is counted once:
 *     VSZ = reserved + committed and idle + files not in memory + other not in memory + swapped + resident */
#include "explain.h"

#include <string.h>

#include "arenas.h"
#include "stats.h"
#include "status.h"

static const char arena_prefix[] = "fallow: ";

void fallow__explain_begin(fallow__explain *report, uint64_t process_id)
{
    *report = (fallow__explain){
        .process_id = process_id,
        .is_own = process_id != FALLOW__PROCESS_NONE && process_id == fallow__os_process_id(),
    };
}

/* --- taking in ----------------------------------------------------------------------------------------------- */

/* Sums of hostile text may be anything; they stay at the highest number rather than begin again. */
static void add(uint64_t *sum, uint64_t more)
{
    *sum = more <= UINT64_MAX - *sum ? *sum + more : UINT64_MAX;
}

static void add_sums(fallow__sums *sums, const fallow__sums *more)
{
    add(&sums->mapping_count, more->mapping_count);
    add(&sums->virtual_bytes, more->virtual_bytes);
    add(&sums->committed_bytes, more->committed_bytes);
    add(&sums->resident_bytes, more->resident_bytes);
    add(&sums->lazy_bytes, more->lazy_bytes);
    add(&sums->swapped_bytes, more->swapped_bytes);
}

/* Insert a piece into a list; what falls off its end is the smallest. */
static void keep_largest(fallow__pieces *pieces, const fallow__piece *piece, uint64_t (*size_of)(const fallow__piece *))
{
    size_t place = pieces->count;
    while (place > 0 && size_of(&pieces->at[place - 1]) < size_of(piece)) {
        place--;
    }
    if (place == FALLOW__PIECES) {
        return;
    }
    size_t moved = (pieces->count < FALLOW__PIECES ? pieces->count : FALLOW__PIECES - 1) - place;
    memmove(&pieces->at[place + 1], &pieces->at[place], moved * sizeof *piece);
    pieces->at[place] = *piece;
    pieces->count += pieces->count < FALLOW__PIECES;
}

static uint64_t virtual_of(const fallow__piece *piece)
{
    return piece->sums.virtual_bytes;
}

static uint64_t resident_of(const fallow__piece *piece)
{
    return piece->sums.resident_bytes;
}

static void close_piece(fallow__explain *report)
{
    fallow__piece *piece = &report->piece;
    if (piece->end == 0) {
        return;
    }
    piece->is_estimate |= piece->is_cut;
    keep_largest(&report->largest, piece, virtual_of);
    if (piece->sums.resident_bytes != 0) {
        keep_largest(&report->resident, piece, resident_of);
    }
    if (piece->group == FALLOW__GROUP_ARENA) {
        keep_largest(&report->arenas, piece, virtual_of);
    }
    report->piece.end = 0;
}

static bool is_arena(fallow__group group)
{
    return group == FALLOW__GROUP_ARENA || group == FALLOW__GROUP_ARENA_RESERVED;
}

/* Part of a mapping, or all of it. */
typedef struct slice {
    uint64_t first;
    uint64_t end;
    fallow__group group;
    uint64_t arena;
    const char *name;
    const char *guess;
    const fallow__os_mapping *mapping;
} slice;

static bool continues_piece(const fallow__piece *piece, const slice *s)
{
    if (piece->end == 0 || piece->end != s->first || piece->arena != s->arena || strcmp(piece->name, s->name) != 0) {
        return false;
    }
    if (is_arena(piece->group) || is_arena(s->group)) {
        return is_arena(piece->group) && is_arena(s->group);
    }
    return piece->group == s->group && piece->guess == s->guess;
}

/* A share of a figure by size. Whole pages are not asked for: a mapping is hardly ever cut. */
static uint64_t share(uint64_t bytes, uint64_t part, uint64_t whole)
{
    return part == whole ? bytes : (uint64_t)((double)bytes * ((double)part / (double)whole));
}

static fallow__sums slice_sums(const slice *s)
{
    const fallow__os_mapping *mapping = s->mapping;
    uint64_t whole = mapping->end - mapping->first;
    uint64_t part = s->end - s->first;
    return (fallow__sums){
        .mapping_count = s->first == mapping->first, /* once for each mapping */
        .virtual_bytes = part,
        .committed_bytes = share(mapping->committed_bytes, part, whole),
        .resident_bytes = share(mapping->resident_bytes, part, whole),
        .lazy_bytes = share(mapping->lazy_bytes, part, whole),
        .swapped_bytes = share(mapping->swapped_bytes, part, whole),
    };
}

static void note_idle(fallow__explain *report, const slice *s, const fallow__sums *sums)
{
    uint64_t used = sums->resident_bytes + sums->swapped_bytes;
    uint64_t idle = sums->virtual_bytes > used ? sums->virtual_bytes - used : 0;
    if (sums->committed_bytes != 0) {
        add(&report->idle_committed_bytes, idle);
    } else if (s->group == (fallow__group)FALLOW__OS_FILE) {
        add(&report->idle_file_bytes, idle);
    }
}

static void take_slice(fallow__explain *report, const slice *s)
{
    fallow__sums sums = slice_sums(s);
    add_sums(&report->groups[s->group], &sums);
    add_sums(&report->total, &sums);
    note_idle(report, s, &sums);
    fallow__piece *piece = &report->piece;
    bool has_memory = s->mapping->resident_bytes != 0;
    if (!continues_piece(piece, s)) {
        close_piece(report);
        *piece = (fallow__piece){
            .first = s->first,
            .group = s->group,
            .guess = s->guess,
            .arena = s->arena,
            .is_estimate = has_memory && s->first != s->mapping->first,
        };
        memcpy(piece->name, s->name, strlen(s->name) + 1); /* names of mappings and regions fit */
    }
    piece->end = s->end;
    piece->group = is_arena(s->group) ? FALLOW__GROUP_ARENA : s->group;
    piece->is_cut = has_memory && s->end != s->mapping->end;
    add_sums(&piece->sums, &sums);
}

static bool may_hold_mark(const fallow__os_mapping *mapping)
{
    return mapping->kind != FALLOW__OS_FILE && mapping->is_private && mapping->is_readable && mapping->is_writable;
}

static bool peek_mark(const fallow__explain *report, uint64_t address, const fallow__os_mapping *mapping,
                      fallow__mark *mark_out)
{
    unsigned char bytes[FALLOW__MARK_WITHIN_BYTES];
    return mapping->end - address >= sizeof bytes &&
           fallow__os_peek(report->process_id, address, bytes, sizeof bytes) &&
           fallow__mark_find(bytes, sizeof bytes, address, mark_out);
}

/* Whether a reservation of an arena starts here. Only memory that could hold its head is looked into. */
static bool region_starts(fallow__explain *report, uint64_t address, const fallow__os_mapping *mapping)
{
    fallow__mark mark;
    if (report->process_id == FALLOW__PROCESS_NONE || !may_hold_mark(mapping) ||
        !peek_mark(report, address, mapping, &mark)) {
        return false;
    }
    report->region.end = mark.region_first + mark.region_bytes;
    report->region.arena = mark.arena;
    memcpy(report->region.name, mark.name, sizeof report->region.name);
    return true;
}

/* A system joins neighbours that are alike: an arena's head may be the end of a mapping that begins below it. Then what
 * lies behind is the arena's: addresses only. Returns the address of the head, or the mapping's end. */
static uint64_t find_joined_head(const fallow__explain *report, uint64_t first, const fallow__os_mapping *mapping,
                                 bool is_reserved_behind)
{
    enum {
        SEARCHED_PAGES = 64 /* the head, and the bookkeeping behind it that is in use: 256 KiB, an arena of 5 GiB */
    };
    const uint64_t page_bytes = fallow__os_page_bytes();
    fallow__mark mark;
    if (report->process_id == FALLOW__PROCESS_NONE || !is_reserved_behind || !may_hold_mark(mapping)) {
        return mapping->end;
    }
    uint64_t address = mapping->end;
    for (unsigned page = 0; page < SEARCHED_PAGES && address - first > page_bytes; page++) {
        address -= page_bytes;
        if (peek_mark(report, address, mapping, &mark)) {
            return address;
        }
    }
    return mapping->end;
}

static void take_mapping(fallow__explain *report, const fallow__os_mapping *mapping, bool is_reserved_behind)
{
    bool is_named = strncmp(mapping->name, arena_prefix, sizeof arena_prefix - 1) == 0;
    bool is_reserved = mapping->kind == FALLOW__OS_RESERVED;
    report->has_resident |= mapping->has_resident;
    for (uint64_t first = mapping->first; first < mapping->end;) {
        slice s = {.first = first, .end = mapping->end, .mapping = mapping};
        bool is_inside = first < report->region.end || region_starts(report, first, mapping);
        if (is_inside && report->region.end < s.end) {
            s.end = report->region.end;
        }
        if (!is_inside) {
            s.end = find_joined_head(report, first, mapping, is_reserved_behind);
        }
        if (is_inside || is_named) {
            s.group = is_reserved ? FALLOW__GROUP_ARENA_RESERVED : FALLOW__GROUP_ARENA;
            s.name = is_inside ? report->region.name : mapping->name + sizeof arena_prefix - 1;
            s.arena = is_inside ? report->region.arena : 0;
        } else {
            s.group = (fallow__group)mapping->kind;
            s.name = mapping->name;
            s.guess = mapping->guess;
        }
        take_slice(report, &s);
        first = s.end;
    }
}

bool fallow__explain_mapping(void *context, const fallow__os_mapping *mapping)
{
    fallow__explain *report = context;
    if (report->waiting.end != 0) {
        bool is_reserved_behind =
            mapping->first == report->waiting.end && mapping->kind == FALLOW__OS_RESERVED && mapping->is_private;
        take_mapping(report, &report->waiting, is_reserved_behind);
    }
    report->waiting = *mapping;
    return true;
}

void fallow__explain_end(fallow__explain *report)
{
    if (report->waiting.end != 0) {
        take_mapping(report, &report->waiting, false);
        report->waiting.end = 0;
    }
    close_piece(report);
}

fallow_status fallow__explain_read(fallow__explain *report, uint64_t process_id, fallow__os_error *error_out)
{
    fallow__explain_begin(report, process_id);
    fallow_status status = fallow__os_figures_of(process_id, &report->figures, error_out);
    if (status != FALLOW_OK) {
        return status;
    }
    report->mappings_status = fallow__os_mappings(process_id, fallow__explain_mapping, report, error_out);
    fallow__explain_end(report);
    if (report->mappings_status == FALLOW_ERR_INVALID) {
        return FALLOW_ERR_INVALID; /* it has ended meanwhile */
    }
    bool is_counted = report->mappings_status == FALLOW_OK;
    report->limit_count = fallow__os_limits(process_id, &report->figures,
                                            is_counted ? report->total.mapping_count : UINT64_MAX, report->limits);
    return FALLOW_OK;
}

static bool is_known(const fallow__os_limit *limit)
{
    return limit->limit != UINT64_MAX && limit->limit != 0 && limit->used != UINT64_MAX;
}

const fallow__os_limit *fallow__explain_nearest(const fallow__explain *report)
{
    const fallow__os_limit *nearest = NULL;
    for (size_t i = 0; i < report->limit_count; i++) {
        const fallow__os_limit *limit = &report->limits[i];
        if (is_known(limit) && (nearest == NULL || (double)limit->used / (double)limit->limit >
                                                       (double)nearest->used / (double)nearest->limit)) {
            nearest = limit;
        }
    }
    return nearest;
}

/* --- words --------------------------------------------------------------------------------------------------- */

typedef struct group_words {
    const char *key;  /* in JSON */
    const char *text; /* in the table */
} group_words;

static const group_words words_of_groups[FALLOW__GROUPS] = {
    [FALLOW__OS_RESERVED] = {"reserved", "reserved: addresses only, no memory"},
    [FALLOW__OS_PRIVATE] = {"private", "private memory"},
    [FALLOW__OS_HEAP] = {"heap", "heap"},
    [FALLOW__OS_STACK] = {"stack", "stacks"},
    [FALLOW__OS_FILE] = {"file", "files: programs, libraries, data"},
    [FALLOW__OS_SHARED] = {"shared", "shared memory"},
    [FALLOW__OS_SYSTEM] = {"system", "the system's own pages"},
    [FALLOW__GROUP_ARENA_RESERVED] = {"fallow_reserved", "fallow's arenas: reserved, no memory"},
    [FALLOW__GROUP_ARENA] = {"fallow", "fallow's arenas: memory"},
};

static uint64_t virtual_bytes(const fallow__explain *report)
{
    bool is_told = report->figures.virtual_bytes != 0;
    return is_told && report->mappings_status != FALLOW_OK ? report->figures.virtual_bytes
                                                           : report->total.virtual_bytes;
}

/* The sum over the mappings, which the other figures add up with; else the system's own. */
static uint64_t resident_bytes(const fallow__explain *report)
{
    return report->has_resident ? report->total.resident_bytes : report->figures.resident_bytes;
}

static uint64_t reserved_bytes(const fallow__explain *report)
{
    return report->groups[FALLOW__OS_RESERVED].virtual_bytes +
           report->groups[FALLOW__GROUP_ARENA_RESERVED].virtual_bytes;
}

static uint64_t other_idle_bytes(const fallow__explain *report)
{
    uint64_t counted = reserved_bytes(report) + report->idle_committed_bytes + report->idle_file_bytes +
                       report->total.swapped_bytes + report->total.resident_bytes;
    return report->total.virtual_bytes > counted ? report->total.virtual_bytes - counted : 0;
}

static void write_size(fallow__writer *writer, uint64_t size_bytes)
{
    fallow__write_text(writer, fallow__size_words(size_bytes).text);
}

/* ", 12 MiB of such": parts of VSZ that are not in memory. */
static void write_part(fallow__writer *writer, bool *is_first, uint64_t size_bytes, const char *of_what)
{
    if (size_bytes == 0) {
        return;
    }
    fallow__write_text(writer, *is_first ? " The rest: " : "; ");
    *is_first = false;
    write_size(writer, size_bytes);
    fallow__write_text(writer, of_what);
}

static void write_sentence(fallow__writer *writer, const fallow__explain *report)
{
    bool is_first = true;
    write_size(writer, virtual_bytes(report));
    fallow__write_text(writer, " of addresses (VSZ), of which ");
    if (!report->has_resident && report->figures.resident_bytes == 0) {
        fallow__write_text(writer, "nobody tells how much is in memory.");
    } else {
        write_size(writer, resident_bytes(report));
        fallow__write_text(writer, " are in memory (RSS).");
    }
    write_part(writer, &is_first, reserved_bytes(report), " only reserved, which costs nothing");
    if (report->has_resident) {
        write_part(writer, &is_first, report->idle_committed_bytes, " committed, without memory now");
        write_part(writer, &is_first, report->idle_file_bytes, " of files, not loaded");
        write_part(writer, &is_first, report->total.swapped_bytes, " swapped out");
        write_part(writer, &is_first, other_idle_bytes(report), " shared or the system's, not loaded");
    }
    fallow__write_text(writer, is_first ? "" : ".");
    if (report->total.lazy_bytes != 0) {
        fallow__write_text(writer, " Of RSS, ");
        write_size(writer, report->total.lazy_bytes);
        fallow__write_text(writer, " are freed lazily: the system takes them when it wants to; the program needs ");
        write_size(writer, report->total.resident_bytes - report->total.lazy_bytes);
        fallow__write_text(writer, ".");
    }
}

/* What is told of a process whose mappings may not be seen. */
static void write_without_mappings(fallow__writer *writer, const fallow__explain *report)
{
    const fallow__os_figures *figures = &report->figures;
    uint64_t counted = figures->data_bytes + figures->stack_bytes + figures->code_bytes;
    if (figures->virtual_bytes == 0) {
        fallow__write_text(writer, "It has no memory of its own: a thread of the kernel, or a process that has ended.");
        return;
    }
    write_sentence(writer, report);
    if (counted == 0 || counted > figures->virtual_bytes) {
        return;
    }
    fallow__write_text(writer, " ");
    write_size(writer, figures->data_bytes);
    fallow__write_text(writer, " are private and writable, ");
    write_size(writer, figures->stack_bytes);
    fallow__write_text(writer, " the first stack, ");
    write_size(writer, figures->code_bytes);
    fallow__write_text(writer, " code; the other ");
    write_size(writer, figures->virtual_bytes - counted);
    fallow__write_text(writer, " are reserved, shared, or of files: they cost no private memory.");
}

static const char *why_no_mappings(const fallow__explain *report)
{
    switch (report->mappings_status) {
    case FALLOW_OK: return NULL;
    case FALLOW_ERR_PERMISSION:
        return "This program may not read its mappings, so its parts, stacks and arenas cannot be told apart: run it "
               "as the same user, or as root.";
    default: return "The system does not tell its mappings.";
    }
}

/* Breaks lines at blanks. */
static void write_wrapped(fallow__writer *writer, const char *text)
{
    const unsigned width = 100;
    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        if (writer->column > 0) {
            fallow__write_text(writer, writer->column + 1 + length > width ? "\n" : " ");
        }
        fallow__write_bytes(writer, text, length);
        text += length;
        text += *text == ' ';
    }
    fallow__write_text(writer, "\n");
}

/* A writer that collects a sentence, to be wrapped or quoted. */
typedef struct sentence {
    size_t count;
    char text[768];
} sentence;

static bool collect(void *context, const char *text, size_t bytes)
{
    sentence *out = context;
    size_t room = sizeof out->text - 1 - out->count;
    size_t kept = bytes < room ? bytes : room;
    memcpy(&out->text[out->count], text, kept);
    out->count += kept;
    out->text[out->count] = '\0';
    return true;
}

static void make_sentence(const fallow__explain *report, sentence *out)
{
    fallow__writer writer;
    *out = (sentence){0};
    fallow__write_begin(&writer, collect, out);
    if (report->mappings_status != FALLOW_OK || report->total.mapping_count == 0) {
        write_without_mappings(&writer, report);
    } else {
        write_sentence(&writer, report);
    }
    (void)fallow__write_end(&writer);
}

/* --- the order of groups and limits: largest first, nearest first --------------------------------------------- */

static size_t order_groups(const fallow__explain *report, unsigned order[FALLOW__GROUPS])
{
    size_t count = 0;
    for (unsigned group = 0; group < FALLOW__GROUPS; group++) {
        if (report->groups[group].mapping_count == 0 && report->groups[group].virtual_bytes == 0) {
            continue;
        }
        size_t place = count++;
        while (place > 0 && report->groups[order[place - 1]].virtual_bytes < report->groups[group].virtual_bytes) {
            order[place] = order[place - 1];
            place--;
        }
        order[place] = group;
    }
    return count;
}

/* Above 1: passed. Below 0: not known, or no limit. */
static double nearness(const fallow__os_limit *limit)
{
    if (limit->limit == UINT64_MAX) {
        return -2;
    }
    return is_known(limit) ? (double)limit->used / (double)limit->limit : -1;
}

static void order_limits(const fallow__explain *report, size_t order[FALLOW__OS_LIMITS_MAX])
{
    for (size_t i = 0; i < report->limit_count; i++) {
        size_t place = i;
        while (place > 0 && nearness(&report->limits[order[place - 1]]) < nearness(&report->limits[i])) {
            order[place] = order[place - 1];
            place--;
        }
        order[place] = i;
    }
}

/* --- as text ------------------------------------------------------------------------------------------------- */

enum {
    FIGURES_FROM = 38, /* where the columns of figures begin in the table of groups; in the lists they come first */
    FIGURE_WIDTH = 12
};

static void write_figure(fallow__writer *writer, unsigned column, bool is_told, uint64_t size_bytes)
{
    const char *nothing = is_told ? "-" : "?";
    fallow__write_before_column(writer, column,
                                is_told && size_bytes != 0 ? fallow__size_words(size_bytes).text : nothing);
}

static void write_sums(fallow__writer *writer, const fallow__explain *report, const fallow__sums *sums, unsigned from)
{
    write_figure(writer, from + FIGURE_WIDTH, true, sums->virtual_bytes);
    write_figure(writer, from + 2 * FIGURE_WIDTH, true, sums->committed_bytes);
    write_figure(writer, from + 3 * FIGURE_WIDTH, report->has_resident, sums->resident_bytes);
    write_figure(writer, from + 4 * FIGURE_WIDTH, report->has_resident, sums->lazy_bytes);
}

static void write_columns(fallow__writer *writer, unsigned from)
{
    static const char *const names[] = {"addresses", "committed", "resident", "lazy"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        fallow__write_before_column(writer, from + (i + 1) * FIGURE_WIDTH, names[i]);
    }
}

static void write_groups(fallow__writer *writer, const fallow__explain *report)
{
    unsigned order[FALLOW__GROUPS];
    size_t count = order_groups(report, order);
    fallow__write_text(writer, "\nWhat the addresses are");
    write_columns(writer, FIGURES_FROM);
    fallow__write_text(writer, "    mappings\n");
    for (size_t i = 0; i <= count; i++) {
        const fallow__sums *sums = i < count ? &report->groups[order[i]] : &report->total;
        fallow__write_text(writer, "  ");
        fallow__write_text(writer, i < count ? words_of_groups[order[i]].text : "all of it");
        write_sums(writer, report, sums, FIGURES_FROM);
        fallow__write_before_column(writer, FIGURES_FROM + 5 * FIGURE_WIDTH,
                                    fallow__number_words(sums->mapping_count).text);
        fallow__write_text(writer, "\n");
    }
}

static void write_what(fallow__writer *writer, const fallow__piece *piece)
{
    static const char *const texts[FALLOW__GROUPS] = {
        [FALLOW__OS_RESERVED] = "reserved", [FALLOW__OS_PRIVATE] = "private memory",
        [FALLOW__OS_HEAP] = "heap",         [FALLOW__OS_STACK] = "stack",
        [FALLOW__OS_FILE] = "file",         [FALLOW__OS_SHARED] = "shared",
        [FALLOW__OS_SYSTEM] = "system",     [FALLOW__GROUP_ARENA] = "fallow arena",
    };
    fallow__write_text(writer, texts[piece->group]);
    if (piece->name[0] != '\0' && piece->name[0] != '[') {
        fallow__write_text(writer, " ");
        fallow__write_foreign(writer, piece->name);
    }
    if (piece->guess != NULL) {
        fallow__write_text(writer, " (probably ");
        fallow__write_text(writer, piece->guess);
        fallow__write_text(writer, ")");
    }
    if (piece->is_estimate) {
        fallow__write_text(writer, " (resident is estimated: it shares a mapping with its neighbour)");
    }
}

static void write_pieces(fallow__writer *writer, const fallow__explain *report, const fallow__pieces *pieces,
                         const char *title)
{
    if (pieces->count == 0) {
        return;
    }
    fallow__write_text(writer, "\n");
    fallow__write_text(writer, title);
    fallow__write_text(writer, "\n");
    write_columns(writer, 0);
    fallow__write_text(writer, "  from            what\n");
    for (size_t i = 0; i < pieces->count; i++) {
        write_sums(writer, report, &pieces->at[i].sums, 0);
        fallow__write_text(writer, "  ");
        fallow__write_hex(writer, pieces->at[i].first);
        fallow__write_text(writer, " ");
        fallow__write_to_column(writer, 4 * FIGURE_WIDTH + 18);
        write_what(writer, &pieces->at[i]);
        fallow__write_text(writer, "\n");
    }
}

static void write_amount(fallow__writer *writer, const fallow__os_limit *limit, uint64_t amount)
{
    if (limit->is_mappings) {
        fallow__write_number(writer, amount);
    } else {
        write_size(writer, amount);
    }
}

/* "RLIMIT_AS, addresses (ulimit -v): 694 MiB of 800 MiB, 86.7 %; 106 MiB more". */
static void write_limit(fallow__writer *writer, const fallow__os_limit *limit)
{
    fallow__write_text(writer, limit->name);
    fallow__write_text(writer, ", ");
    fallow__write_text(writer, limit->what);
    if (limit->place[0] != '\0') {
        fallow__write_text(writer, " of ");
        fallow__write_foreign(writer, limit->place);
    }
    if (limit->limit == UINT64_MAX) {
        fallow__write_text(writer, ": none");
        return;
    }
    fallow__write_text(writer, ": ");
    if (limit->used == UINT64_MAX) {
        write_amount(writer, limit, limit->limit);
        fallow__write_text(writer, "; how much of it is used is not told");
        return;
    }
    write_amount(writer, limit, limit->used);
    fallow__write_text(writer, " of ");
    write_amount(writer, limit, limit->limit);
    fallow__write_text(writer, ", ");
    fallow__write_text(writer, fallow__share_words(limit->used, limit->limit).text);
    if (limit->used > limit->limit) {
        fallow__write_text(writer, "; passed by ");
        write_amount(writer, limit, limit->used - limit->limit);
    } else {
        fallow__write_text(writer, "; ");
        write_amount(writer, limit, limit->limit - limit->used);
        fallow__write_text(writer, " left");
    }
}

static void write_nearest(fallow__writer *writer, const fallow__explain *report)
{
    const fallow__os_limit *nearest = fallow__explain_nearest(report);
    if (nearest != NULL) {
        fallow__write_text(writer, "\nThe nearest limit: ");
        write_limit(writer, nearest);
        fallow__write_text(writer, ".\n");
    }
}

static void write_limits(fallow__writer *writer, const fallow__explain *report)
{
    size_t order[FALLOW__OS_LIMITS_MAX];
    order_limits(report, order);
    if (report->limit_count != 0) {
        fallow__write_text(writer, "\nLimits, the nearest first\n");
    }
    for (size_t i = 0; i < report->limit_count; i++) {
        fallow__write_text(writer, "  ");
        write_limit(writer, &report->limits[order[i]]);
        fallow__write_text(writer, "\n");
    }
}

/* One line of why: nothing where there is nothing to tell. */
static void write_reason(fallow__writer *writer, size_t size_bytes, const char *reason)
{
    if (size_bytes != 0) {
        fallow__write_before_column(writer, FIGURE_WIDTH + 2, fallow__size_words(size_bytes).text);
        fallow__write_text(writer, reason);
    }
}

static void write_arena(fallow__writer *writer, const fallow__named_stats *named)
{
    const fallow_arena_stats *stats = &named->stats;
    fallow__write_text(writer, "  arena ");
    fallow__write_foreign(writer, named->name[0] != '\0' ? named->name : "without a name");
    fallow__write_text(writer, " (");
    fallow__write_number(writer, named->id);
    fallow__write_text(writer, "): ");
    write_size(writer, stats->reserved_bytes);
    fallow__write_text(writer, " reserved, ");
    write_size(writer, stats->backed_bytes);
    fallow__write_text(writer, " may hold memory\n");
    write_reason(writer, stats->in_use_bytes, " in use: live runs\n");
    write_reason(writer, stats->cached_bytes,
                 " cached: freed, kept by threads for their next requests; fallow_arena_trim takes them\n");
    write_reason(writer, stats->retained_bytes,
                 " retained: freed, kept for the next requests; fallow_arena_trim gives it back\n");
    write_reason(writer, stats->released_lazy_bytes,
                 " released lazily: counts as resident until the system takes it (FALLOW_PURGE_FREE)\n");
    write_reason(writer, stats->released_zero_bytes,
                 " accessible without memory: given back, or committed ahead (grow_bytes)\n");
    write_reason(writer, stats->metadata_bytes, " bookkeeping\n");
    write_reason(writer, stats->large_bytes, " in large pages, which are never given back\n");
    if (stats->large_pages_status != FALLOW_OK) {
        fallow__write_text(writer, "    in ordinary pages, though large ones were asked for: ");
        fallow__write_text(writer, fallow_status_name(stats->large_pages_status));
        fallow__write_text(writer, "\n");
    }
}

static void write_arenas(fallow__writer *writer)
{
    fallow__named_stats named = {.id = 0};
    bool is_first = true;
    while (fallow__stats_next(&named)) {
        fallow__write_text(writer, is_first ? "\nWhat this program's arenas hold, and why\n" : "");
        is_first = false;
        write_arena(writer, &named);
    }
    uint64_t unlisted = fallow__arenas_unlisted();
    if (unlisted != 0) {
        fallow__write_text(writer, "  and ");
        fallow__write_number(writer, unlisted);
        fallow__write_text(writer, " arenas more, which are not listed\n");
    }
}

static void write_title(fallow__writer *writer, const fallow__explain *report)
{
    if (report->process_id == FALLOW__PROCESS_NONE) {
        return;
    }
    fallow__write_text(writer, "Process ");
    fallow__write_number(writer, report->process_id);
    if (report->figures.program[0] != '\0') {
        fallow__write_text(writer, ", ");
        fallow__write_foreign(writer, report->figures.program);
    }
    if (report->figures.is_other_user) {
        fallow__write_text(writer, ", of another user (");
        fallow__write_number(writer, report->figures.user_id);
        fallow__write_text(writer, ")");
    }
    fallow__write_text(writer, "\n");
}

static void write_as_text(const fallow__explain *report, bool is_summary, fallow__writer *writer)
{
    sentence words;
    make_sentence(report, &words);
    write_title(writer, report);
    write_wrapped(writer, words.text);
    if (why_no_mappings(report) != NULL) {
        fallow__write_text(writer, "\n");
        write_wrapped(writer, why_no_mappings(report));
    }
    if (report->strange_lines != 0) {
        fallow__write_number(writer, report->strange_lines);
        fallow__write_text(writer,
                           " lines of the text are no line of smaps, or contradict others, and were left out.\n");
    }
    if (report->total.mapping_count != 0) {
        write_groups(writer, report);
    }
    if (is_summary) {
        write_nearest(writer, report);
        return;
    }
    write_pieces(writer, report, &report->largest, "The largest by addresses");
    write_pieces(writer, report, &report->resident, "The largest by memory");
    write_pieces(writer, report, &report->arenas, "The largest arenas of fallow");
    write_limits(writer, report);
    if (report->is_own) {
        write_arenas(writer);
    }
}

/* --- as JSON --------------------------------------------------------------------------------------------------- */

static void write_key(fallow__writer *writer, bool *is_first, const char *key)
{
    fallow__write_text(writer, *is_first ? "" : ",");
    *is_first = false;
    fallow__write_json(writer, key);
    fallow__write_text(writer, ":");
}

static void write_json_number(fallow__writer *writer, bool *is_first, const char *key, uint64_t number)
{
    write_key(writer, is_first, key);
    if (number == UINT64_MAX) {
        fallow__write_text(writer, "null");
    } else {
        fallow__write_number(writer, number);
    }
}

static void write_json_text(fallow__writer *writer, bool *is_first, const char *key, const char *text)
{
    write_key(writer, is_first, key);
    fallow__write_json(writer, text);
}

static void write_json_bool(fallow__writer *writer, bool *is_first, const char *key, bool is_true)
{
    write_key(writer, is_first, key);
    fallow__write_text(writer, is_true ? "true" : "false");
}

/* Addresses as text: JSON numbers are exact up to 2^53 only. */
static void write_json_address(fallow__writer *writer, bool *is_first, const char *key, uint64_t address)
{
    write_key(writer, is_first, key);
    fallow__write_text(writer, "\"");
    fallow__write_hex(writer, address);
    fallow__write_text(writer, "\"");
}

static void write_json_sums(fallow__writer *writer, bool *is_first, const fallow__explain *report,
                            const fallow__sums *sums)
{
    const bool is_told = report->has_resident;
    write_json_number(writer, is_first, "mappings", sums->mapping_count);
    write_json_number(writer, is_first, "virtual_bytes", sums->virtual_bytes);
    write_json_number(writer, is_first, "committed_bytes", sums->committed_bytes);
    write_json_number(writer, is_first, "resident_bytes", is_told ? sums->resident_bytes : UINT64_MAX);
    write_json_number(writer, is_first, "lazy_bytes", is_told ? sums->lazy_bytes : UINT64_MAX);
    write_json_number(writer, is_first, "swapped_bytes", is_told ? sums->swapped_bytes : UINT64_MAX);
}

static void write_json_pieces(fallow__writer *writer, const fallow__explain *report, const fallow__pieces *pieces)
{
    fallow__write_text(writer, "[");
    for (size_t i = 0; i < pieces->count; i++) {
        bool is_first = true;
        fallow__write_text(writer, i == 0 ? "{" : ",{");
        write_json_address(writer, &is_first, "first", pieces->at[i].first);
        write_json_address(writer, &is_first, "end", pieces->at[i].end);
        write_json_text(writer, &is_first, "kind", words_of_groups[pieces->at[i].group].key);
        write_json_text(writer, &is_first, "name", pieces->at[i].name);
        write_json_text(writer, &is_first, "probably", pieces->at[i].guess);
        write_json_bool(writer, &is_first, "is_estimate", pieces->at[i].is_estimate);
        write_json_sums(writer, &is_first, report, &pieces->at[i].sums);
        fallow__write_text(writer, "}");
    }
    fallow__write_text(writer, "]");
}

static void write_json_limits(fallow__writer *writer, const fallow__explain *report)
{
    size_t order[FALLOW__OS_LIMITS_MAX];
    order_limits(report, order);
    fallow__write_text(writer, "[");
    for (size_t i = 0; i < report->limit_count; i++) {
        const fallow__os_limit *limit = &report->limits[order[i]];
        bool is_first = true;
        fallow__write_text(writer, i == 0 ? "{" : ",{");
        write_json_text(writer, &is_first, "name", limit->name);
        write_json_text(writer, &is_first, "unit", limit->is_mappings ? "mappings" : "bytes");
        write_json_text(writer, &is_first, "place", limit->place);
        write_json_number(writer, &is_first, "limit", limit->limit);
        write_json_number(writer, &is_first, "used", limit->used);
        write_json_bool(writer, &is_first, "is_of_all", limit->is_of_all);
        fallow__write_text(writer, "}");
    }
    fallow__write_text(writer, "]");
}

static void write_json_arenas(fallow__writer *writer)
{
    fallow__named_stats named = {.id = 0};
    for (bool is_first = true; fallow__stats_next(&named); is_first = false) {
        fallow__write_text(writer, is_first ? "" : ",");
        fallow__stats_write_json(writer, &named);
    }
}

static void write_as_json(const fallow__explain *report, bool is_summary, fallow__writer *writer)
{
    unsigned order[FALLOW__GROUPS];
    size_t count = order_groups(report, order);
    const fallow__os_limit *nearest = fallow__explain_nearest(report);
    sentence words;
    bool is_first = true;
    make_sentence(report, &words);
    fallow__write_text(writer, "{");
    write_json_number(writer, &is_first, "process_id",
                      report->process_id != FALLOW__PROCESS_NONE ? report->process_id : UINT64_MAX);
    write_json_text(writer, &is_first, "program", report->figures.program);
    write_json_text(writer, &is_first, "sentence", words.text);
    write_json_text(writer, &is_first, "unreadable", why_no_mappings(report));
    write_json_number(writer, &is_first, "virtual_bytes", virtual_bytes(report));
    write_json_number(writer, &is_first, "resident_bytes", resident_bytes(report));
    write_json_number(writer, &is_first, "reserved_bytes", reserved_bytes(report));
    write_json_number(writer, &is_first, "idle_committed_bytes", report->idle_committed_bytes);
    write_json_number(writer, &is_first, "idle_file_bytes", report->idle_file_bytes);
    write_json_number(writer, &is_first, "strange_lines", report->strange_lines);
    write_key(writer, &is_first, "groups");
    fallow__write_text(writer, "[");
    for (size_t i = 0; i < count; i++) {
        bool is_first_key = true;
        fallow__write_text(writer, i == 0 ? "{" : ",{");
        write_json_text(writer, &is_first_key, "kind", words_of_groups[order[i]].key);
        write_json_sums(writer, &is_first_key, report, &report->groups[order[i]]);
        fallow__write_text(writer, "}");
    }
    fallow__write_text(writer, "]");
    write_json_text(writer, &is_first, "nearest_limit", nearest != NULL ? nearest->name : NULL);
    if (!is_summary) {
        write_key(writer, &is_first, "largest");
        write_json_pieces(writer, report, &report->largest);
        write_key(writer, &is_first, "largest_resident");
        write_json_pieces(writer, report, &report->resident);
        write_key(writer, &is_first, "largest_arenas");
        write_json_pieces(writer, report, &report->arenas);
        write_key(writer, &is_first, "limits");
        write_json_limits(writer, report);
        write_key(writer, &is_first, "arenas");
        fallow__write_text(writer, "[");
        if (report->is_own) {
            write_json_arenas(writer);
        }
        fallow__write_text(writer, "]");
    }
    fallow__write_text(writer, "}\n");
}

void fallow__explain_write(const fallow__explain *report, uint32_t flags, fallow__writer *writer)
{
    bool is_summary = (flags & FALLOW_EXPLAIN_SUMMARY) != 0;
    if ((flags & FALLOW_EXPLAIN_JSON) != 0) {
        write_as_json(report, is_summary, writer);
    } else {
        write_as_text(report, is_summary, writer);
    }
}

/* --- in public ------------------------------------------------------------------------------------------------- */

fallow_status fallow_process_explain(fallow_writer write, void *context, uint32_t flags)
{
    static const char operation[] = "fallow_process_explain";
    FALLOW_REQUIRE(write != NULL, operation, NULL, "write is NULL");
    fallow__explain report;
    fallow__writer writer;
    fallow__os_error error = {0};
    if ((flags & ~(uint32_t)(FALLOW_EXPLAIN_JSON | FALLOW_EXPLAIN_SUMMARY)) != 0) {
        return fallow__fail(FALLOW_ERR_INVALID, operation, NULL, 0, NULL);
    }
    fallow_status status = fallow__explain_read(&report, fallow__os_process_id(), &error);
    if (status != FALLOW_OK) {
        return fallow__fail(status, operation, NULL, 0, &error);
    }
    fallow__write_begin(&writer, write, context);
    fallow__explain_write(&report, flags, &writer);
    error = (fallow__os_error){.limit_name = "writer"};
    return fallow__write_end(&writer) ? FALLOW_OK : fallow__fail(FALLOW_ERR_LIMIT, operation, NULL, 0, &error);
}
