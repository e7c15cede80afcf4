/* The figures as one SVG: small charts of the rows that form a series (cost against size or depth), and below them a
 * line of marks for every other row. Every axis is logarithmic.
 *
 * Colours are those of Okabe and Ito, which colour-blind readers can tell apart; each side has a mark of its own too,
 * so that the chart survives a black and white printer. A mark's tooltip tells its figure. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "svg.h"

enum {
    WIDTH = 1180,
    MARGIN = 24,
    HEADER_HEIGHT = 118,
    PANEL_HEIGHT = 316,
    PANEL_LEFT = 58, /* room for the numbers of an axis */
    PANEL_TOP = 40,
    PANEL_BOTTOM = 44,
    DOT_LEFT = 370, /* room for the titles of rows */
    DOT_STEP = 24,
    DOT_TOP = 34,
    DOT_BOTTOM = 54,
    GAP = 28
};

typedef struct look {
    const char *colour;
    const char *dashes; /* "" = a solid line */
    const char *mark;   /* a path around 0,0; its size is about 9 */
    bool is_hollow;
    double line_width;
} look;

#define MARK_CIRCLE "M-4.5,0a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0z"
#define MARK_SQUARE "M-4,-4h8v8h-8z"
#define MARK_UP "M0,-5L4.8,3.8L-4.8,3.8z"
#define MARK_DOWN "M0,5L4.8,-3.8L-4.8,-3.8z"
#define MARK_DIAMOND "M0,-5.4L5.4,0L0,5.4L-5.4,0z"
#define MARK_CROSS "M-4,-4L4,4M-4,4L4,-4"
#define MARK_DASH "M-4.5,0h9"
#define MARK_PLUS "M-4.5,0h9M0,-4.5v9"

static const look looks[SIDES] = {
    {"#d55e00", "", MARK_CIRCLE, false, 3},    {"#d55e00", "5,4", MARK_CIRCLE, true, 1.5},
    {"#0072b2", "", MARK_SQUARE, false, 1.5},  {"#009e73", "", MARK_UP, false, 1.5},
    {"#cc79a7", "", MARK_DIAMOND, false, 1.5}, {"#8a6d00", "", MARK_DOWN, true, 1.5},
    {"#56b4e9", "", MARK_CROSS, true, 1.5},    {"#888888", "2,3", MARK_DASH, true, 1},
    {"#444444", "2,3", MARK_PLUS, true, 1},
};

/* The others first, so that fallow lies on top. */
static const int drawing_order[SIDES] = {7, 8, 6, 5, 4, 3, 2, 1, 0};

/* A logarithmic axis: value `low` at pixel `first`, `high` at `last`. */
typedef struct log_axis {
    double low;
    double high;
    double first;
    double last;
    double step; /* between its lines where they are evenly numbered; else 0: they are at 1, 2, 5, 10 ... */
} log_axis;

/* ---- Pieces ---- */

static void write_mark(FILE *out, double x, double y, int side)
{
    const look *each = &looks[side];
    fprintf(out, "<path d=\"%s\" transform=\"translate(%.1f,%.1f)\" fill=\"%s\" stroke=\"%s\" stroke-width=\"1.6\"",
            each->mark, x, y, each->is_hollow ? "#ffffff" : each->colour, each->colour);
}

static void write_figure_mark(const session *self, FILE *out, double x, double y, size_t row_index, int side)
{
    char text[16];
    write_mark(out, x, y, side);
    fprintf(out, "><title>%s, ", self->sides[side].name);
    svg_escaped(out, self->rows[row_index].title);
    fprintf(out, ": %s %s</title></path>\n", bench_number(text, self->figures[row_index][side].median),
            self->rows[row_index].unit);
}

/* ---- Axes ---- */

static double axis_at(const log_axis *self, double value)
{
    double part = log(value / self->low) / log(self->high / self->low);
    return self->first + part * (self->last - self->first);
}

static bool is_drawn(const session *self, size_t row_index, int side)
{
    const figure *each = &self->figures[row_index][side];
    return each->state == FIGURE_KNOWN && each->median > 0;
}

/* 1, 2, 5, 10, 20 ...: the next one at or below a value, or at or above it. */
static double round_number(double value, bool is_up)
{
    static const double steps[] = {1, 2, 5, 10};
    double power = pow(10, floor(log10(value) + 1e-9));
    double below = power;
    for (size_t i = 0; i < 4; i++) {
        double step = steps[i] * power;
        if (is_up && step >= value * (1 - 1e-9)) {
            return step;
        }
        below = step <= value * (1 + 1e-9) ? step : below;
    }
    return below;
}

/* The line of an axis after this one. */
static double next_line(const log_axis *self, double value)
{
    return self->step > 0 ? value + self->step : round_number(value * 1.01, true);
}

/* An axis that holds all figures of these rows, divided by fallow's where `is_relative`. It spans a decade at least,
 * unless `is_close` lets it be shorter. */
static bool axis_fit(const session *self, size_t first, size_t end, bool is_relative, bool is_close, log_axis *axis_out)
{
    double low = (double)INFINITY;
    double high = 0;
    for (size_t i = first; i < end; i++) {
        for (int side = 0; side < SIDES; side++) {
            if (!self->is_row_asked_for[i] || !is_drawn(self, i, side) || (is_relative && !is_drawn(self, i, 0))) {
                continue;
            }
            double value = self->figures[i][side].median / (is_relative ? self->figures[i][0].median : 1);
            low = fmin(low, value);
            high = fmax(high, value);
        }
    }
    if (high <= 0) {
        return false;
    }
    axis_out->step = 0;
    if (is_close && high < 2.5 * low) {
        double step = round_number(fmax(high - low, low / 4) / 5, true);
        axis_out->step = step;
        axis_out->low = floor(low / step - 0.1) * step;
        axis_out->high = ceil(high / step + 0.1) * step;
        return true;
    }
    axis_out->low = round_number(low * 0.95, false);
    axis_out->high = round_number(high * 1.05, true);
    if (axis_out->high / axis_out->low < 9.9) {
        axis_out->high = round_number(axis_out->low * 9.99, true);
    }
    return true;
}

/* A round number as short as can be: 0.05, 20, 5k, 1M. */
static void write_tick(char text[16], double value)
{
    const char *letter = value >= 0.999e6 ? "M" : value >= 0.999e3 ? "k" : "";
    double shown = value >= 0.999e6 ? value / 1e6 : value >= 0.999e3 ? value / 1e3 : value;
    snprintf(text, 16, "%.4g%s", shown, letter);
}

/* Lines across at round numbers; numbers at 1, 10, 100, and at 2 and 5 where there is room. */
static void write_grid(FILE *out, const log_axis *axis, bool is_vertical, double other_first, double other_last)
{
    double decades = log10(axis->high / axis->low);
    for (double value = axis->low; value <= axis->high * 1.001; value = next_line(axis, value)) {
        double at = axis_at(axis, value);
        bool is_power = fabs(log10(value) - round(log10(value))) < 1e-6;
        char text[16];
        write_tick(text, value);
        if (is_vertical) { /* the axis stands upright, its lines lie */
            fprintf(out, "<path d=\"M%.1f,%.1fH%.1f\" class=\"%s\"/>\n", other_first, at, other_last,
                    is_power ? "grid" : "fine");
        } else {
            fprintf(out, "<path d=\"M%.1f,%.1fV%.1f\" class=\"%s\"/>\n", at, other_first, other_last,
                    is_power ? "grid" : "fine");
        }
        if (is_power || decades <= 2.5) {
            if (is_vertical) {
                svg_text(out, other_first - 6, at + 4, "end", text);
            } else {
                svg_text(out, at, other_last + 15, "middle", text);
            }
        }
    }
}

/* ---- Series: a small chart ---- */

static bool is_series(const bench_row *row)
{
    return row->thread_count == 1 &&
           (row->kind == ROW_HOT || row->kind == ROW_BURST || row->kind == ROW_SIZED || row->kind == ROW_WIDE);
}

/* What stands below the x axis: the part of the title that changes. */
static void x_label(const bench_row *row, char text[32])
{
    if (row->kind == ROW_BURST && row->count != 16) {
        snprintf(text, 32, "%u", row->count);
    } else if (row->kind == ROW_BURST) {
        snprintf(text, 32, "%.20s", row->title + strlen("16 x "));
    } else {
        snprintf(text, 32, "%.30s", row->title);
    }
}

static const char *x_title(const bench_row *row)
{
    switch (row->kind) {
    case ROW_HOT: return "size of the run";
    case ROW_BURST: return row->count == 16 ? "size of each run" : "runs of a burst";
    default: return "size of the arena";
    }
}

static void write_series(const session *self, FILE *out, size_t first, size_t end, double left, double top)
{
    log_axis y;
    char text[192];
    double right = left + (WIDTH - 2.0 * MARGIN - GAP) / 2;
    double bottom = top + PANEL_HEIGHT - PANEL_BOTTOM;
    left += PANEL_LEFT;
    snprintf(text, sizeof text, "%s", self->rows[first].group);
    svg_text(out, left, top + 16, "heading", text);
    svg_text(out, left, top + 31, "note", self->rows[first].unit);
    if (!axis_fit(self, first, end, false, false, &y)) {
        return;
    }
    y.first = bottom;
    y.last = top + PANEL_TOP;
    write_grid(out, &y, true, left, right);
    size_t count = 0;
    for (size_t i = first; i < end; i++) {
        count += self->is_row_asked_for[i];
    }
    double step = (right - left) / (double)count;
    size_t place = 0;
    for (size_t i = first; i < end; i++) {
        if (self->is_row_asked_for[i]) {
            char label[32];
            x_label(&self->rows[i], label);
            svg_text(out, left + ((double)place++ + 0.5) * step, bottom + 16, "middle", label);
        }
    }
    svg_text(out, (left + right) / 2, bottom + 33, "middle note", x_title(&self->rows[first]));
    for (int nth = 0; nth < SIDES; nth++) {
        int side = drawing_order[nth];
        bool is_line = false;
        fprintf(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\" stroke-dasharray=\"%s\" d=\"",
                looks[side].colour, looks[side].line_width,
                looks[side].dashes[0] != '\0' ? looks[side].dashes : "none");
        place = 0;
        for (size_t i = first; i < end; i++) {
            if (!self->is_row_asked_for[i]) {
                continue;
            }
            double x = left + ((double)place++ + 0.5) * step;
            if (is_drawn(self, i, side)) {
                fprintf(out, "%s%.1f,%.1f", is_line ? "L" : "M", x, axis_at(&y, self->figures[i][side].median));
                is_line = true;
            } else {
                is_line = false;
            }
        }
        fprintf(out, "\"/>\n");
        place = 0;
        for (size_t i = first; i < end; i++) {
            if (!self->is_row_asked_for[i]) {
                continue;
            }
            double x = left + ((double)place++ + 0.5) * step;
            if (is_drawn(self, i, side)) {
                write_figure_mark(self, out, x, axis_at(&y, self->figures[i][side].median), i, side);
            }
        }
    }
}

/* ---- Other rows: a line of marks each ---- */

static bool is_in_one_unit(const session *self, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        if (strcmp(self->rows[i].unit, self->rows[first].unit) != 0) {
            return false;
        }
    }
    return true;
}

static size_t dot_height(const session *self, size_t first, size_t end)
{
    size_t count = 0;
    for (size_t i = first; i < end; i++) {
        count += self->is_row_asked_for[i];
    }
    return DOT_TOP + count * DOT_STEP + DOT_BOTTOM;
}

static void write_dots(const session *self, FILE *out, size_t first, size_t end, double top)
{
    log_axis x;
    char text[192];
    bool is_relative = !is_in_one_unit(self, first, end);
    double bottom = top + (double)dot_height(self, first, end) - DOT_BOTTOM;
    svg_text(out, MARGIN, top + 16, "heading", self->rows[first].group);
    if (!axis_fit(self, first, end, is_relative, true, &x)) {
        return;
    }
    x.first = MARGIN + DOT_LEFT;
    x.last = WIDTH - MARGIN - 10;
    write_grid(out, &x, false, top + DOT_TOP - 6, bottom);
    svg_text(out, (x.first + x.last) / 2, bottom + 32, "middle note",
             is_relative ? "times fallow's figure, which stands behind the row's name" : self->rows[first].unit);
    double y = top + DOT_TOP + DOT_STEP / 2.0 - 4;
    for (size_t i = first; i < end; i++) {
        if (!self->is_row_asked_for[i]) {
            continue;
        }
        const figure *own = &self->figures[i][0];
        char number[16];
        if (is_relative && own->state == FIGURE_KNOWN) {
            snprintf(text, sizeof text, "%s: %s %s", self->rows[i].title, bench_number(number, own->median),
                     self->rows[i].unit);
        } else {
            snprintf(text, sizeof text, "%s", self->rows[i].title);
        }
        svg_text(out, x.first - 10, y + 4, "end label", text);
        fprintf(out, "<path d=\"M%.1f,%.1fH%.1f\" class=\"rail\"/>\n", x.first, y, x.last);
        for (int nth = 0; nth < SIDES; nth++) {
            int side = drawing_order[nth];
            if (is_drawn(self, i, side) && (!is_relative || is_drawn(self, i, 0))) {
                double value = self->figures[i][side].median / (is_relative ? own->median : 1);
                write_figure_mark(self, out, axis_at(&x, value), y, i, side);
            }
        }
        y += DOT_STEP;
    }
}

/* ---- The whole ---- */

typedef struct heading {
    FILE *out;
    char line[512];
} heading;

static void add_to_line(void *context, const char *name, const char *value)
{
    heading *self = context;
    size_t used = strlen(self->line);
    if (strcmp(name, "load") != 0 && strcmp(name, "overcommit") != 0) {
        snprintf(self->line + used, sizeof self->line - used, "%s%s%s%s", used > 0 ? " · " : "",
                 strcmp(name, "huge pages") == 0 ? "huge pages: " : "", value,
                 strcmp(name, "cores") == 0 ? " cores" : "");
    }
}

static void write_header(const session *self, FILE *out)
{
    heading machine = {out, ""};
    char text[256];
    svg_text(out, MARGIN, 34, "title", "fallow and its peers: what runs of pages cost");
    bench_describe_machine(add_to_line, &machine);
    svg_text(out, MARGIN, 54, "note", machine.line);
    snprintf(text, sizeof text,
             "%s · medians of up to %u rounds, all sides in turn · logarithmic axes · less is better%s", self->date,
             self->rounds, self->is_quick ? " · --quick: some rows are left out" : "");
    svg_text(out, MARGIN, 70, "note", text);
    double x = MARGIN + 8;
    for (int side = 0; side < SIDES; side++) {
        const bench_side *each = &self->sides[side];
        if (!each->is_present || !each->is_asked_for) {
            continue;
        }
        fprintf(out, "<path d=\"M%.1f,92h26\" stroke=\"%s\" stroke-width=\"%.1f\" stroke-dasharray=\"%s\"/>\n", x,
                looks[side].colour, looks[side].line_width,
                looks[side].dashes[0] != '\0' ? looks[side].dashes : "none");
        write_mark(out, x + 13, 92, side);
        fprintf(out, "/>\n");
        const char *shown = strcmp(each->name, "nocache") == 0 ? "fallow, no caches"
                            : strcmp(each->name, "null") == 0  ? "null (the harness)"
                                                               : each->name;
        svg_text(out, x + 32, 96, "label", shown);
        x += 56 + 7.2 * (double)strlen(shown);
    }
}

static size_t group_end(const session *self, size_t first)
{
    size_t end = first;
    while (end < self->row_count && strcmp(self->rows[end].group, self->rows[first].group) == 0) {
        end++;
    }
    return end;
}

static bool has_figures(const session *self, size_t first, size_t end)
{
    log_axis ignored;
    return axis_fit(self, first, end, false, false, &ignored);
}

/* Place everything; with `out` NULL only to learn the height. */
static double write_panels(const session *self, FILE *out)
{
    double y = HEADER_HEIGHT;
    int column = 0;
    for (size_t first = 0, end; first < self->row_count; first = end) {
        end = group_end(self, first);
        if (!is_series(&self->rows[first]) || !has_figures(self, first, end)) {
            continue;
        }
        if (out != NULL) {
            write_series(self, out, first, end, column == 0 ? MARGIN : (WIDTH + GAP) / 2.0, y);
        }
        y += column == 1 ? PANEL_HEIGHT + GAP : 0;
        column = 1 - column;
    }
    y += column == 1 ? PANEL_HEIGHT + GAP : 0;
    for (size_t first = 0, end; first < self->row_count; first = end) {
        end = group_end(self, first);
        if (is_series(&self->rows[first]) || !has_figures(self, first, end)) {
            continue;
        }
        if (out != NULL) {
            write_dots(self, out, first, end, y);
        }
        y += (double)dot_height(self, first, end);
    }
    return y;
}

void bench_write_svg(const session *self, FILE *out)
{
    double height = write_panels(self, NULL) + MARGIN;
    svg_begin(out, WIDTH, height, ".rail { stroke: #dddddd; stroke-dasharray: 1,3; fill: none }\n");
    write_header(self, out);
    write_panels(self, out);
    svg_end(out);
}
