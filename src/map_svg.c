/* A picture of an arena as SVG, and as a page around it that tells what the mouse points at.
 *
 *      title, summary, scale
 *      legend
 *      for each part: a heading, what is in front of its pages (not to scale), a ruler, and its rows
 *
 * Everything that is drawn for bytes has them in an attribute data-b, and the kind's letter as its class: so the
 * figures can be added up by whoever reads the file. What belongs to one run has the run's address in data-r. A title
 * element says what it is. A cell of several kinds is a stack of them, as high as they are large, but for the thinnest,
 * which still show.
 *
 * Colours are those of Okabe and Ito, which colour-blind readers can tell apart; each kind has a pattern of its own
 * too, so that the picture survives a black and white printer. Lengths are pixels, in tenths where not whole. */
#include "map_ink.h"

enum {
    MARGIN = 24,
    LEFT = 150,      /* room for addresses */
    CONTENT = 768,   /* what 64 columns of 12 take */
    CELL_WIDTH = 12, /* at most */
    CELL_HEIGHT = 14,
    LINE_STEP = 17,
    LEGEND_TOP = 92,
    LEGEND_STEP = 21,
    LEGEND_COLUMN = 480,
    LEGEND_ROWS = 5,
    HEAD_HEIGHT = LEGEND_TOP + LEGEND_ROWS * LEGEND_STEP,
    PART_HEIGHT = 68, /* its heading, what is in front of its pages, the ruler */
    FOOT_HEIGHT = 36, /* and as much again for what thread caches take */
    LEAST_TENTHS = 20 /* the thinnest of a stack */
};

_Static_assert(FALLOW__MAP_PAGE_KINDS *LEAST_TENTHS <= CELL_HEIGHT * 10, "a cell has room for a piece of each kind");

static const char classes[FALLOW__MAP_KINDS] = {'u', 'c', 'r', 'l', 'z', 'a', 'n', 'm', 'g'};

/* One rule a kind; and the patterns that they name: a ground, and lines or dots on it. */
static const char style[] =
    "<style>\n"
    ".fm text{font:12px sans-serif;fill:#222}\n"
    ".fm .h{font-size:18px;font-weight:bold}\n"
    ".fm .p{font-size:13px;font-weight:bold}\n"
    ".fm .s{fill:#555}\n"
    ".fm .k{font:11px monospace;fill:#555;text-anchor:end}\n"
    ".fm .e{text-anchor:end}\n"
    ".fm .t{font-size:10px;fill:#777}\n"
    ".fm .b{text-anchor:middle;font-size:11px;paint-order:stroke;stroke:#fff;stroke-width:4px}\n"
    ".fm .f{fill:none;stroke:#777;stroke-dasharray:4,3}\n"
    ".fm .u{fill:#0072b2}.fm .c{fill:url(#fm-c)}.fm .r{fill:url(#fm-r)}.fm .l{fill:url(#fm-l)}.fm .z{fill:url(#fm-z)}\n"
    ".fm .a{fill:url(#fm-a)}.fm .n{fill:url(#fm-n)}.fm .m{fill:url(#fm-m)}.fm .g{fill:url(#fm-g)}\n"
    "</style>\n"
    "<defs>\n"
    "<pattern id=\"fm-c\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><path d=\"M0,0h6v6h-6z\" "
    "fill=\"#56b4e9\"/><path d=\"M-1,1L1,-1M0,6L6,0M5,7L7,5\" stroke=\"#fff\" stroke-width=\"1.4\"/></pattern>\n"
    "<pattern id=\"fm-r\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\"><path d=\"M0,0h4v4h-4z\" "
    "fill=\"#e69f00\"/><path d=\"M0,3h4\" stroke=\"#7a5400\"/></pattern>\n"
    "<pattern id=\"fm-l\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\"><path d=\"M0,0h5v5h-5z\" "
    "fill=\"#f0e442\"/><circle cx=\"2.5\" cy=\"2.5\" r=\"1\" fill=\"#6b6500\"/></pattern>\n"
    "<pattern id=\"fm-z\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\"><path d=\"M0,0h5v5h-5z\" "
    "fill=\"#d5efe6\"/><path d=\"M1,0v5\" stroke=\"#009e73\"/></pattern>\n"
    "<pattern id=\"fm-a\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><path d=\"M0,0h6v6h-6z\" "
    "fill=\"#fff\"/><path d=\"M-1,5L1,7M0,0L6,6M5,-1L7,1\" stroke=\"#0072b2\" stroke-width=\"1.4\"/></pattern>\n"
    "<pattern id=\"fm-n\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\"><path d=\"M0,0h8v8h-8z\" "
    "fill=\"#f2f2f2\"/><circle cx=\"4\" cy=\"4\" r=\"0.8\" fill=\"#aaa\"/></pattern>\n"
    "<pattern id=\"fm-m\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><path d=\"M0,0h6v6h-6z\" "
    "fill=\"#cc79a7\"/><path d=\"M3,1v4M1,3h4\" stroke=\"#fff\"/></pattern>\n"
    "<pattern id=\"fm-g\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><path d=\"M0,0h6v6h-6z\" "
    "fill=\"#d55e00\"/><path d=\"M0,0L6,6M6,0L0,6\" stroke=\"#000\" stroke-width=\"0.8\"/></pattern>\n"
    "</defs>\n";

/* --- pieces --------------------------------------------------------------------------------------------------- */

static uint64_t cell_width(const fallow__map_plan *plan)
{
    unsigned width = CONTENT / plan->columns;
    return width < CELL_WIDTH ? width : CELL_WIDTH;
}

static uint64_t rows_width(const fallow__map_plan *plan)
{
    return cell_width(plan) * plan->columns;
}

static uint64_t line_top(const fallow__map_part *part, uint64_t line)
{
    return HEAD_HEIGHT + (part->index + 1) * PART_HEIGHT + line * LINE_STEP;
}

/* Where what follows the last row begins. */
static uint64_t foot_top(const fallow__map_plan *plan)
{
    return HEAD_HEIGHT + plan->drawn_parts * PART_HEIGHT + plan->row_count * LINE_STEP;
}

static void write_tenths(fallow__writer *writer, uint64_t tenths)
{
    fallow__write_number(writer, tenths / 10);
    if (tenths % 10 != 0) {
        fallow__write_text(writer, ".");
        fallow__write_number(writer, tenths % 10);
    }
}

static void begin_words(fallow__writer *writer, const char *class, uint64_t x, uint64_t y)
{
    fallow__write_text(writer, "<text class=\"");
    fallow__write_text(writer, class);
    fallow__write_text(writer, "\" x=\"");
    fallow__write_number(writer, x);
    fallow__write_text(writer, "\" y=\"");
    fallow__write_number(writer, y);
    fallow__write_text(writer, "\">");
}

static void end_words(fallow__writer *writer)
{
    fallow__write_text(writer, "</text>\n");
}

static void write_words(fallow__writer *writer, const char *class, uint64_t x, uint64_t y, const char *words)
{
    begin_words(writer, class, x, y);
    fallow__write_text(writer, words);
    end_words(writer);
}

/* A rectangle. The vertical lengths are tenths. */
static void write_box(fallow__writer *writer, const char *class, uint64_t x, uint64_t top, uint64_t width,
                      uint64_t height)
{
    fallow__write_text(writer, "<path class=\"");
    fallow__write_text(writer, class);
    fallow__write_text(writer, "\" d=\"M");
    fallow__write_number(writer, x);
    fallow__write_text(writer, ",");
    write_tenths(writer, top);
    fallow__write_text(writer, "h");
    fallow__write_number(writer, width);
    fallow__write_text(writer, "v");
    write_tenths(writer, height);
    fallow__write_text(writer, "h-");
    fallow__write_number(writer, width);
    fallow__write_text(writer, "z\"");
}

/* One that stands for bytes. */
static void write_bytes_box(fallow__writer *writer, fallow__map_kind kind, uint64_t bytes, uint64_t x, uint64_t top,
                            uint64_t width, uint64_t height)
{
    const char class[] = {classes[kind], '\0'};
    write_box(writer, class, x, top, width, height);
    fallow__write_text(writer, " data-b=\"");
    fallow__write_number(writer, bytes);
    fallow__write_text(writer, "\"/>");
}

/* "8 KiB at 0x7f0000002000" */
static void write_place(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                        uint64_t first, uint64_t count)
{
    fallow__map_write_size(writer, fallow__map_bytes(plan, count));
    fallow__write_text(writer, " at ");
    fallow__write_hex(writer, fallow__map_address(plan, part, first));
}

/* A wide box with words in it, for what is not to scale. */
static void write_labelled_box(fallow__writer *writer, fallow__map_kind kind, uint64_t bytes, const char *words,
                               uint64_t run_count, uint64_t x, uint64_t top, uint64_t width)
{
    if (bytes == 0) {
        return;
    }
    fallow__write_text(writer, "<g><title>");
    fallow__map_write_size(writer, bytes);
    fallow__write_text(writer, ": ");
    fallow__write_text(writer, fallow__map_meaning(kind));
    fallow__write_text(writer, "</title>");
    write_bytes_box(writer, kind, bytes, x, top * 10, width, CELL_HEIGHT * 10);
    write_box(writer, "f", x, top * 10, width, CELL_HEIGHT * 10);
    fallow__write_text(writer, "/>");
    begin_words(writer, "b", x + width / 2, top + 11);
    fallow__map_write_size(writer, bytes);
    fallow__write_text(writer, " ");
    fallow__write_text(writer, words);
    if (run_count != 0) {
        fallow__write_text(writer, ", ");
        fallow__map_write_runs(writer, run_count);
    }
    fallow__write_text(writer, "</text></g>\n");
}

/* --- head ------------------------------------------------------------------------------------------------------ */

static void write_name(fallow__writer *writer, const fallow__map_plan *plan)
{
    fallow__write_text(writer, "arena ");
    fallow__write_xml(writer, plan->source->name[0] != '\0' ? plan->source->name : "without a name");
}

static void write_legend(fallow__writer *writer, const fallow__map_plan *plan)
{
    for (unsigned kind = 0; kind < FALLOW__MAP_KINDS; kind++) {
        uint64_t x = MARGIN + kind / LEGEND_ROWS * LEGEND_COLUMN;
        uint64_t y = LEGEND_TOP + kind % LEGEND_ROWS * LEGEND_STEP;
        const char class[] = {classes[kind], '\0'};
        fallow__write_text(writer, "<g class=\"legend\" data-kind=\"");
        fallow__write_text(writer, class);
        fallow__write_text(writer, "\" data-total=\"");
        fallow__write_number(writer, plan->bytes[kind]);
        fallow__write_text(writer, "\">");
        write_box(writer, class, x, (y - 11) * 10, 22, CELL_HEIGHT * 10);
        fallow__write_text(writer, "/>\n");
        write_words(writer, "w", x + 30, y, fallow__map_name((fallow__map_kind)kind));
        begin_words(writer, "e", x + 190, y);
        fallow__map_write_size(writer, plan->bytes[kind]);
        end_words(writer);
        write_words(writer, "s", x + 202, y, fallow__map_meaning((fallow__map_kind)kind));
        fallow__write_text(writer, "</g>\n");
    }
}

static void svg_head(fallow__writer *writer, const fallow__map_plan *plan)
{
    uint64_t width = LEFT + CONTENT + MARGIN;
    uint64_t height = foot_top(plan) + FOOT_HEIGHT + (plan->source->cache_reserved_bytes != 0 ? FOOT_HEIGHT : 0);
    fallow__write_text(writer, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"");
    fallow__write_number(writer, width);
    fallow__write_text(writer, "\" height=\"");
    fallow__write_number(writer, height);
    fallow__write_text(writer, "\" viewBox=\"0 0 ");
    fallow__write_number(writer, width);
    fallow__write_text(writer, " ");
    fallow__write_number(writer, height);
    fallow__write_text(writer, "\" class=\"fm\" role=\"img\" aria-label=\"");
    write_name(writer, plan);
    fallow__write_text(writer, "\">\n");
    fallow__write_text(writer, style);
    fallow__write_text(writer, "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n");
    begin_words(writer, "h", MARGIN, 32);
    write_name(writer, plan);
    end_words(writer);
    begin_words(writer, "w", MARGIN, 52);
    fallow__map_write_summary(writer, plan);
    end_words(writer);
    begin_words(writer, "s", MARGIN, 69);
    fallow__map_write_scale(writer, plan, "a cell");
    fallow__write_text(writer, plan->cell_shift != 0 ? "; a cell of several kinds is a stack of them" : "");
    end_words(writer);
    write_legend(writer, plan);
}

/* --- parts ----------------------------------------------------------------------------------------------------- */

static void svg_begin_part(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                           uint64_t line)
{
    uint64_t top = line_top(part, line) - PART_HEIGHT;
    uint64_t row_bytes = (plan->source->page_bytes * plan->columns) << plan->cell_shift;
    uint64_t beside = part->region_bytes - fallow__map_bytes(plan, part->page_count);
    begin_words(writer, "p", MARGIN, top + 22);
    fallow__map_write_part(writer, plan, part);
    end_words(writer);
    write_words(writer, "k", LEFT - 8, top + 41, "not to scale");
    write_labelled_box(writer, FALLOW__MAP_BOOKKEEPING, part->bookkeeping_bytes, "bookkeeping", 0, LEFT, top + 30, 200);
    write_labelled_box(writer, FALLOW__MAP_RESERVED, beside - part->bookkeeping_bytes - part->guard_bytes,
                       "reserved for more of it, and for alignment", 0, LEFT + 202, top + 30, CONTENT - 364);
    write_labelled_box(writer, FALLOW__MAP_GUARD, part->guard_bytes, "guard", 0, LEFT + CONTENT - 160, top + 30, 160);
    for (unsigned quarter = 0; quarter < 4; quarter++) { /* the ruler */
        begin_words(writer, "t", LEFT + rows_width(plan) * quarter / 4, top + 62);
        fallow__write_text(writer, quarter == 0 ? "|" : "| +");
        if (quarter != 0) {
            fallow__map_write_size(writer, row_bytes * quarter / 4);
        }
        end_words(writer);
    }
}

static void write_line_address(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                               uint64_t page, uint64_t line)
{
    begin_words(writer, "k", LEFT - 8, line_top(part, line) + 11);
    fallow__write_hex(writer, fallow__map_address(plan, part, page));
    end_words(writer);
}

/* A group with its title opened; a run's address, if it is of one. */
static void begin_group(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                        const fallow__map_cell *cell)
{
    fallow__write_text(writer, "<g");
    if (cell->run_count == 1) {
        fallow__write_text(writer, " data-r=\"");
        fallow__write_hex(writer, fallow__map_address(plan, part, cell->runs[0].first));
        fallow__write_text(writer, "\"");
    }
    fallow__write_text(writer, "><title>");
}

/* "; 3 runs: 8 KiB at 0x7f0000002000, 16 KiB at 0x7f0000006000, ..." */
static void write_runs(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                       const fallow__map_cell *cell)
{
    if (cell->run_count == 0) {
        return;
    }
    fallow__write_text(writer, "; ");
    fallow__map_write_runs(writer, cell->run_count);
    fallow__write_text(writer, ": ");
    for (unsigned i = 0; i < 2 && i < cell->run_count; i++) {
        fallow__write_text(writer, i == 0 ? "" : ", ");
        write_place(writer, plan, part, cell->runs[i].first, cell->runs[i].pages);
    }
    fallow__write_text(writer, cell->run_count > 2 ? ", ..." : "");
}

/* Cells [column, end), which are of one kind and of one run or free. */
static void write_pure(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                       const fallow__map_row *row, unsigned column, unsigned end, fallow__map_kind kind, uint64_t top)
{
    const fallow__map_cell *cell = &row->cells[column];
    uint64_t first = row->first + ((uint64_t)column << plan->cell_shift);
    uint64_t pages = 0;
    for (unsigned i = column; i < end; i++) {
        pages += fallow__map_cell_pages(&row->cells[i]);
    }
    begin_group(writer, plan, part, cell);
    if (cell->run_count == 1) {
        fallow__write_text(writer, "run of ");
        write_place(writer, plan, part, cell->runs[0].first, cell->runs[0].pages);
        fallow__write_text(writer, ": ");
        fallow__write_text(writer, fallow__map_name(kind));
    } else {
        write_place(writer, plan, part, first, pages);
        fallow__write_text(writer, ": ");
        fallow__write_text(writer, fallow__map_name(kind));
        write_runs(writer, plan, part, cell);
    }
    fallow__write_text(writer, "</title>");
    uint64_t width = (end - column) * cell_width(plan);
    /* a gap where what it shows ends, so that neighbours of one kind are told apart */
    bool is_end = cell->run_count != 1 || cell->runs[0].first + cell->runs[0].pages <= first + pages;
    write_bytes_box(writer, kind, fallow__map_bytes(plan, pages), LEFT + column * cell_width(plan), top * 10,
                    width - is_end, CELL_HEIGHT * 10);
    fallow__write_text(writer, "</g>\n");
}

static unsigned highest_of(const uint64_t heights[FALLOW__MAP_PAGE_KINDS])
{
    unsigned highest = 0;
    for (unsigned kind = 1; kind < FALLOW__MAP_PAGE_KINDS; kind++) {
        highest = heights[kind] > heights[highest] ? kind : highest;
    }
    return highest;
}

/* How high the pieces of a stack are, in tenths: by their pages, each of them to be seen, and as high as a cell
 * together. What the thin ones have too much is taken from the highest, a tenth at a time: that one is never thin, as
 * the thinnest stack of all kinds is no higher than a cell. */
static void stack_heights(const fallow__map_cell *cell, uint64_t heights_out[FALLOW__MAP_PAGE_KINDS])
{
    const uint64_t whole = CELL_HEIGHT * 10;
    uint64_t all = fallow__map_cell_pages(cell);
    uint64_t sum = 0;
    for (unsigned kind = 0; kind < FALLOW__MAP_PAGE_KINDS; kind++) {
        heights_out[kind] = cell->pages[kind] * whole / all; /* pages are at most 2^36 */
        if (cell->pages[kind] != 0 && heights_out[kind] < LEAST_TENTHS) {
            heights_out[kind] = LEAST_TENTHS;
        }
        sum += heights_out[kind];
    }
    for (; sum > whole; sum--) {
        heights_out[highest_of(heights_out)]--;
    }
    heights_out[highest_of(heights_out)] += whole - sum;
}

/* A cell of several kinds: a stack, in the order of the legend from the bottom up. */
static void write_stack(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                        const fallow__map_row *row, unsigned column, uint64_t top)
{
    const fallow__map_cell *cell = &row->cells[column];
    uint64_t all = fallow__map_cell_pages(cell);
    uint64_t heights[FALLOW__MAP_PAGE_KINDS];
    stack_heights(cell, heights);
    begin_group(writer, plan, part, cell);
    write_place(writer, plan, part, row->first + ((uint64_t)column << plan->cell_shift), all);
    fallow__write_text(writer, ": ");
    fallow__map_write_sums(writer, plan, cell);
    write_runs(writer, plan, part, cell);
    fallow__write_text(writer, "</title>");
    uint64_t bottom = (top + CELL_HEIGHT) * 10;
    for (unsigned kind = 0; kind < FALLOW__MAP_PAGE_KINDS; kind++) {
        if (cell->pages[kind] != 0) {
            bottom -= heights[kind];
            write_bytes_box(writer, (fallow__map_kind)kind, fallow__map_bytes(plan, cell->pages[kind]),
                            LEFT + column * cell_width(plan), bottom, cell_width(plan) - 1, heights[kind]);
        }
    }
    fallow__write_text(writer, "</g>\n");
}

/* Is a cell the continuation of the one before it, both of one kind? */
static bool continues(const fallow__map_cell *before, const fallow__map_cell *cell, fallow__map_kind kind)
{
    fallow__map_kind own;
    bool is_same_run = before->run_count == 0 ? cell->run_count == 0
                                              : before->run_count == 1 && cell->run_count == 1 &&
                                                    before->runs[0].first == cell->runs[0].first;
    return fallow__map_is_pure(cell, &own) && own == kind && is_same_run;
}

static void svg_row(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                    const fallow__map_row *row, uint64_t line)
{
    write_line_address(writer, plan, part, row->first, line);
    for (unsigned column = 0; column < plan->columns && fallow__map_cell_pages(&row->cells[column]) != 0;) {
        fallow__map_kind kind;
        if (!fallow__map_is_pure(&row->cells[column], &kind)) {
            write_stack(writer, plan, part, row, column, line_top(part, line));
            column++;
            continue;
        }
        unsigned end = column + 1;
        while (end < plan->columns && continues(&row->cells[column], &row->cells[end], kind)) {
            end++;
        }
        write_pure(writer, plan, part, row, column, end, kind, line_top(part, line));
        column = end;
    }
}

static void svg_band(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_part *part,
                     fallow__map_kind kind, uint64_t first, uint64_t count, uint64_t run_count, uint64_t line)
{
    write_line_address(writer, plan, part, first, line);
    write_labelled_box(writer, kind, fallow__map_bytes(plan, count), fallow__map_name(kind), run_count, LEFT,
                       line_top(part, line), rows_width(plan));
}

/* --- foot ------------------------------------------------------------------------------------------------------ */

/* No attribute tells these bytes: what was not drawn is not in the picture. */
static void svg_rest(fallow__writer *writer, const fallow__map_plan *plan, const fallow__map_cell *sums)
{
    begin_words(writer, "w", MARGIN, foot_top(plan) + 22);
    fallow__write_text(writer, "Not drawn: ");
    fallow__map_write_sums(writer, plan, sums);
    end_words(writer);
}

static void svg_tail(fallow__writer *writer, const fallow__map_plan *plan)
{
    const fallow__map_source *source = plan->source;
    uint64_t top = foot_top(plan) + 32;
    if (source->cache_reserved_bytes != 0) {
        write_words(writer, "k", LEFT - 8, top + 11, "thread caches");
        write_labelled_box(writer, FALLOW__MAP_BOOKKEEPING, source->cache_bookkeeping_bytes, "bookkeeping", 0, LEFT,
                           top, 200);
        write_labelled_box(writer, FALLOW__MAP_RESERVED, source->cache_reserved_bytes - source->cache_bookkeeping_bytes,
                           "reserved for more of it", 0, LEFT + 202, top, CONTENT - 202);
    }
    fallow__write_text(writer, "</svg>\n");
}

const fallow__map_ink fallow__map_svg = {svg_head, svg_begin_part, svg_row, svg_band, svg_rest, svg_tail};

/* --- a page around it -------------------------------------------------------------------------------------------- */

/* Well-formed XML as well as HTML, so that both kinds of readers take it; the policy forbids to load anything. */
static void html_head(fallow__writer *writer, const fallow__map_plan *plan)
{
    fallow__write_text(
        writer, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                "<meta http-equiv=\"Content-Security-Policy\" "
                "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\"/>\n<title>");
    write_name(writer, plan);
    fallow__write_text(writer, "</title>\n<style>\n"
                               "body{margin:0;background:#fff}\n"
                               "#fm-what{position:sticky;bottom:0;margin:0;padding:10px 24px;font:14px sans-serif;"
                               "background:#222;color:#fff;min-height:1.2em}\n"
                               ".fm .hot path{stroke:#000;stroke-width:1.6px}\n"
                               "</style>\n</head>\n<body>\n<main>\n");
    svg_head(writer, plan);
}

static void html_tail(fallow__writer *writer, const fallow__map_plan *plan)
{
    svg_tail(writer, plan);
    fallow__write_text(writer,
                       "</main>\n<p id=\"fm-what\">Point at a cell: here stands what it is. All of a run is marked at "
                       "once.</p>\n<script>\n"
                       "const what = document.getElementById('fm-what');\n"
                       "let hot = [];\n"
                       "document.addEventListener('mouseover', function (event) {\n"
                       "  const group = event.target.closest('.fm g:has(title)');\n"
                       "  if (group === null) return;\n"
                       "  what.textContent = group.querySelector('title').textContent;\n"
                       "  for (const each of hot) each.classList.remove('hot');\n"
                       "  const run = group.dataset.r;\n"
                       "  hot = run ? document.querySelectorAll('.fm g[data-r=\"' + run + '\"]') : [group];\n"
                       "  for (const each of hot) each.classList.add('hot');\n"
                       "});\n</script>\n</body>\n</html>\n");
}

const fallow__map_ink fallow__map_html = {html_head, svg_begin_part, svg_row, svg_band, svg_rest, html_tail};
