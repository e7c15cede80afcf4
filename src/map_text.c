/* A picture of an arena in letters, for terminals. A letter tells the kind, a capital that all of the cell is of it; a
 * small letter is the kind that most of the cell is of, what is reserved left out, so that a page in a terabyte shows.
 * The colours say the same once more: those of Okabe and Ito, as near as 256 colours come. */
#include "map_ink.h"

static const char letters[FALLOW__MAP_KINDS] = {'U', 'C', 'R', 'L', 'Z', 'A', '.', 'M', 'G'};

static const char *const colours[FALLOW__MAP_KINDS] = {
    "48;5;25;97", "48;5;74;30", "48;5;178;30", "48;5;227;30", "48;5;36;30",
    "38;5;33",    "38;5;244",   "48;5;175;30", "48;5;166;97",
};

static void begin_colour(fallow__writer *writer, const fallow__map_plan *plan, fallow__map_kind kind)
{
    if (!plan->is_plain) {
        fallow__write_text(writer, "\033[");
        fallow__write_text(writer, colours[kind]);
        fallow__write_text(writer, "m");
    }
}

static void end_colour(fallow__writer *writer, const fallow__map_plan *plan)
{
    if (!plan->is_plain) {
        fallow__write_text(writer, "\033[m");
    }
}

static void write_letters(fallow__writer *writer, fallow__map_kind kind, size_t count)
{
    while (count-- > 0) {
        fallow__write_bytes(writer, &letters[kind], 1);
    }
}

static void text_head(fallow__writer *writer, const fallow__map_plan *plan)
{
    fallow__write_text(writer, "arena ");
    fallow__write_foreign(writer, plan->source->name[0] != '\0' ? plan->source->name : "without a name");
    fallow__write_text(writer, "\n");
    fallow__map_write_summary(writer, plan);
    fallow__write_text(writer, "\n");
    fallow__map_write_scale(writer, plan, "a letter");
    fallow__write_text(writer, "\ncapital: all of it; small: most of it, beside what is reserved\n\n");
    for (unsigned kind = 0; kind < FALLOW__MAP_KINDS; kind++) {
        fallow__write_text(writer, "  ");
        begin_colour(writer, plan, (fallow__map_kind)kind);
        write_letters(writer, (fallow__map_kind)kind, 1);
        end_colour(writer, plan);
        unsigned column = writer->column; /* the colours take none on the terminal */
        fallow__write_text(writer, " ");
        fallow__write_text(writer, fallow__map_name((fallow__map_kind)kind));
        fallow__write_before_column(writer, column + 26, fallow__size_words(plan->bytes[kind]).text);
        fallow__write_text(writer, "   ");
        fallow__write_text(writer, fallow__map_meaning((fallow__map_kind)kind));
        fallow__write_text(writer, "\n");
    }
}

static void text_begin_part(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                            uint64_t line)
{
    (void)line;
    fallow__write_text(writer, "\n");
    fallow__map_write_part(writer, plan, part);
    fallow__write_text(writer, "; before it ");
    fallow__map_write_size(writer, part->bookkeeping_bytes);
    fallow__write_text(writer, " of bookkeeping, a guard of ");
    fallow__map_write_size(writer, part->guard_bytes);
    fallow__write_text(writer, "\n");
}

static void write_line_start(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                             uint64_t page)
{
    fallow__write_text(writer, "  ");
    fallow__write_hex(writer, fallow__map_address(plan, part, page));
    fallow__write_to_column(writer, 18);
    fallow__write_text(writer, "  ");
}

/* The kind that a cell shows. */
static fallow__map_kind most_of(const fallow__map_cell *cell)
{
    unsigned most = FALLOW__MAP_RESERVED;
    uint64_t pages = 0;
    for (unsigned kind = 0; kind < FALLOW__MAP_RESERVED; kind++) {
        if (cell->pages[kind] > pages) {
            pages = cell->pages[kind];
            most = kind;
        }
    }
    return (fallow__map_kind)most;
}

static void text_row(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                     const fallow__map_row *row, uint64_t line)
{
    unsigned shown = FALLOW__MAP_KINDS;
    (void)line;
    write_line_start(writer, plan, part, row->first);
    for (unsigned column = 0; column < plan->columns && fallow__map_cell_pages(&row->cells[column]) != 0; column++) {
        fallow__map_kind ignored;
        fallow__map_kind kind = most_of(&row->cells[column]);
        bool is_whole = fallow__map_is_pure(&row->cells[column], &ignored);
        char letter = (char)(is_whole ? letters[kind] : letters[kind] - 'A' + 'a');
        if ((unsigned)kind != shown) {
            end_colour(writer, plan);
            begin_colour(writer, plan, kind);
            shown = kind;
        }
        fallow__write_bytes(writer, &letter, 1);
    }
    end_colour(writer, plan);
    fallow__write_text(writer, "\n");
}

static void text_band(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                      fallow__map_kind kind, uint64_t first, uint64_t count, uint64_t run_count, uint64_t line)
{
    (void)line;
    write_line_start(writer, plan, part, first);
    begin_colour(writer, plan, kind);
    write_letters(writer, kind, 3);
    unsigned column = writer->column;
    fallow__write_text(writer, " ");
    fallow__map_write_size(writer, fallow__map_bytes(plan, count));
    fallow__write_text(writer, " ");
    fallow__write_text(writer, fallow__map_name(kind));
    if (run_count != 0) {
        fallow__write_text(writer, ", ");
        fallow__map_write_runs(writer, run_count);
    }
    size_t used = 3 + (writer->column - column) + 1;
    if (used < plan->columns) {
        fallow__write_text(writer, " ");
        write_letters(writer, kind, plan->columns - used);
    }
    end_colour(writer, plan);
    fallow__write_text(writer, "\n");
}

static void text_rest(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_cell *sums)
{
    fallow__write_text(writer, "\nnot drawn: ");
    fallow__map_write_sums(writer, plan, sums);
    fallow__write_text(writer, "\n");
}

static void text_tail(fallow__writer *writer, const fallow__map_plan *plan)
{
    if (plan->source->cache_reserved_bytes != 0) {
        fallow__write_text(writer, "\nthread caches: ");
        fallow__map_write_size(writer, plan->source->cache_reserved_bytes);
        fallow__write_text(writer, " of addresses, ");
        fallow__map_write_size(writer, plan->source->cache_bookkeeping_bytes);
        fallow__write_text(writer, " of bookkeeping\n");
    }
}

const fallow__map_ink fallow__map_text = {text_head, text_begin_part, text_row, text_band, text_rest, text_tail};
