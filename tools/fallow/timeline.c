/* What a replay held, as a chart: see timeline.h.
 *
 * One linear scale for what may be memory. What is reserved is mostly a thousand times as much: where it does not fit,
 * it is a line at the upper edge that says so. Colours are those of Okabe and Ito, and each line has dashes of its own
 * and its name at its end. */
#include "timeline.h"

#include <inttypes.h>
#include <string.h>

#include "picture.h"
#include "svg.h"
#include "tool.h"

enum {
    CHART_LEFT = 96,
    CHART_RIGHT = PICTURE_WIDTH - 166, /* room for the names of the lines */
    CHART_TOP = 72,
    CHART_BOTTOM = TIMELINE_HEIGHT - 58,
    LABEL_STEP = 30 /* two lines of text */
};

static void halve(timeline *self)
{
    unsigned kept = 0;
    for (unsigned i = 1; i < self->count; i += 2) {
        timeline_point point = self->points[i];
        uint64_t before = self->points[i - 1].in_use_bytes;
        point.in_use_bytes = before > point.in_use_bytes ? before : point.in_use_bytes;
        self->points[kept++] = point;
    }
    self->count = kept;
    self->stride *= 2;
}

void timeline_add(timeline *self, const timeline_point *point)
{
    if (self->count == TIMELINE_POINTS) {
        halve(self);
    }
    self->stride = self->stride != 0 ? self->stride : 1;
    self->points[self->count] = *point;
    self->points[self->count++].in_use_bytes = self->most_in_use_bytes;
    self->most_in_use_bytes = 0;
    self->next_request = point->request + self->stride;
}

/* --- the chart ----------------------------------------------------------------------------------------------- */

typedef struct series {
    const char *name;
    const char *note;
    const char *colour;
    const char *dashes;
    double line_width;
    size_t offset; /* in a timeline_point */
} series;

static const series all_series[] = {
    {"in use", "pages of live runs", "#0072b2", "none", 2, offsetof(timeline_point, in_use_bytes)},
    {"committed", "may be memory", "#d55e00", "7,3", 1.6, offsetof(timeline_point, committed_bytes)},
    {"RSS", "of all of this process", "#009e73", "2,2", 1.8, offsetof(timeline_point, resident_bytes)},
    {"reserved", "addresses", "#666666", "10,3,2,3", 1.4, offsetof(timeline_point, reserved_bytes)},
};

enum {
    SERIES = sizeof all_series / sizeof *all_series,
    RESERVED = SERIES - 1
};

typedef struct chart {
    const timeline *line;
    FILE *out;
    double top;
    uint64_t requests;
    uint64_t scale_bytes; /* at the upper edge */
    bool is_reserved_off; /* the scale */
} chart;

static uint64_t value_of(const timeline_point *point, unsigned index)
{
    uint64_t value;
    memcpy(&value, (const char *)point + all_series[index].offset, sizeof value);
    return value;
}

static double x_of(const chart *self, uint64_t request)
{
    return CHART_LEFT + (double)request / (double)self->requests * (CHART_RIGHT - CHART_LEFT);
}

static double y_of(const chart *self, uint64_t bytes)
{
    double part = (double)bytes / (double)self->scale_bytes;
    return self->top + CHART_BOTTOM - (part < 1 ? part : 1) * (CHART_BOTTOM - CHART_TOP);
}

static void draw_grid(const chart *self)
{
    uint64_t step = 4096;
    while (self->scale_bytes / step > 6) {
        step *= 2;
    }
    for (uint64_t bytes = 0; bytes <= self->scale_bytes; bytes += step) {
        double y = y_of(self, bytes);
        fprintf(self->out, "<path d=\"M%d,%.1fH%d\" class=\"%s\"/>\n", CHART_LEFT, y, CHART_RIGHT,
                bytes == 0 ? "grid" : "fine");
        svg_text(self->out, CHART_LEFT - 8, y + 4, "end", text_size(bytes).text);
    }
    uint64_t stride = 1;
    for (unsigned nth = 0; self->requests / stride > 8; nth++) { /* 1, 2, 5, 10 ... */
        stride = nth % 3 == 1 ? stride / 2 * 5 : stride * 2;
    }
    for (uint64_t request = 0; request <= self->requests; request += stride) {
        char text[32];
        const char *letter = request >= 1000000 && stride % 100000 == 0 ? "M"
                             : request >= 1000 && stride % 100 == 0     ? "k"
                                                                        : "";
        double shown = (double)request / (*letter == 'M' ? 1e6 : *letter == 'k' ? 1e3 : 1);
        snprintf(text, sizeof text, "%.4g%s", shown, letter);
        fprintf(self->out, "<path d=\"M%.1f,%.1fv5\" class=\"grid\"/>\n", x_of(self, request),
                self->top + CHART_BOTTOM);
        svg_text(self->out, x_of(self, request), self->top + CHART_BOTTOM + 19, "middle", text);
    }
    svg_text(self->out, (CHART_LEFT + CHART_RIGHT) / 2.0, self->top + CHART_BOTTOM + 38, "middle note", "requests");
}

static void draw_series(const chart *self, unsigned index)
{
    const series *each = &all_series[index];
    uint64_t most = 0;
    fprintf(self->out, "<g><path fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\" stroke-dasharray=\"%s\" d=\"",
            each->colour, each->line_width, each->dashes);
    for (unsigned i = 0; i < self->line->count; i++) {
        uint64_t value = value_of(&self->line->points[i], index);
        most = value > most ? value : most;
        fprintf(self->out, "%s%.1f,%.1f", i == 0 ? "M" : "L", x_of(self, self->line->points[i].request),
                y_of(self, value));
    }
    fprintf(self->out, "\" data-series=\"%s\" data-most=\"%" PRIu64 "\"/><title>%s: %s at most, %s</title></g>\n",
            each->name, most, each->name, text_size(most).text, each->note);
}

/* The names at the ends of the lines, from the highest down, none on top of another. */
static void draw_names(const chart *self)
{
    const timeline_point *last = &self->line->points[self->line->count - 1];
    bool is_done[SERIES] = {false};
    double free_y = self->top + CHART_TOP - 4;
    for (unsigned nth = 0; nth < SERIES; nth++) {
        unsigned next = SERIES;
        for (unsigned i = 0; i < SERIES; i++) {
            if (!is_done[i] && (next == SERIES || value_of(last, i) > value_of(last, next))) {
                next = i;
            }
        }
        double end_y = y_of(self, value_of(last, next));
        double room_y = self->top + CHART_BOTTOM - (SERIES - nth - 1) * LABEL_STEP; /* for those below */
        double y = end_y + 4 > free_y ? end_y + 4 : free_y;
        char text[64];
        y = y < room_y ? y : room_y;
        is_done[next] = true;
        free_y = y + LABEL_STEP;
        fprintf(self->out, "<path d=\"M%d,%.1fL%d,%.1f\" stroke=\"%s\" fill=\"none\"/>\n", CHART_RIGHT, end_y,
                CHART_RIGHT + 12, y - 4, all_series[next].colour);
        snprintf(text, sizeof text, "%s %s", all_series[next].name, text_size(value_of(last, next)).text);
        svg_text(self->out, CHART_RIGHT + 16, y, "label", text);
        svg_text(self->out, CHART_RIGHT + 16, y + 12, "note",
                 next == RESERVED && self->is_reserved_off ? "off the scale" : all_series[next].note);
    }
}

static void draw_key(const chart *self)
{
    double x = CHART_LEFT;
    for (unsigned i = 0; i < SERIES; i++) {
        fprintf(self->out, "<path d=\"M%.1f,%.1fh30\" stroke=\"%s\" stroke-width=\"%.1f\" stroke-dasharray=\"%s\"/>\n",
                x, self->top + 44, all_series[i].colour, all_series[i].line_width, all_series[i].dashes);
        svg_text(self->out, x + 36, self->top + 48, "label", all_series[i].name);
        x += 130;
    }
}

void timeline_draw(const timeline *self, FILE *out, double top)
{
    chart drawn = {.line = self, .out = out, .top = top};
    uint64_t most = 4096;
    uint64_t reserved = 0;
    svg_text(out, 24, top + 22, "heading", "What the arena held, request by request");
    if (self->count == 0) {
        return;
    }
    for (unsigned i = 0; i < self->count; i++) {
        for (unsigned index = 0; index < RESERVED; index++) {
            uint64_t value = value_of(&self->points[i], index);
            most = value > most ? value : most;
        }
        uint64_t value = value_of(&self->points[i], RESERVED);
        reserved = value > reserved ? value : reserved;
    }
    drawn.is_reserved_off = reserved > 2 * most;
    drawn.scale_bytes = (drawn.is_reserved_off || reserved < most ? most : reserved) / 16 * 17;
    drawn.requests = self->points[self->count - 1].request;
    drawn.requests = drawn.requests != 0 ? drawn.requests : 1;
    draw_key(&drawn);
    draw_grid(&drawn);
    for (unsigned index = SERIES; index-- > 0;) {
        draw_series(&drawn, index);
    }
    draw_names(&drawn);
}
