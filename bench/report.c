/* The figures as text: a table for people, JSON for programs. */
#include "bench.h"

#include <math.h>
#include <string.h>

const char *bench_number(char text[16], double value)
{
    static const char letters[] = {'\0', 'k', 'M', 'G'};
    size_t letter = 0;
    double shown = value;
    while (fabs(shown) >= 10000 && letter < sizeof letters - 1) {
        shown /= 1000;
        letter++;
    }
    int digits = fabs(shown) < 10 ? 2 : fabs(shown) < 100 ? 1 : 0;
    if (letter == 0) {
        snprintf(text, 16, "%.*f", digits, shown);
    } else {
        snprintf(text, 16, "%.*f%c", digits, shown, letters[letter]);
    }
    return text;
}

/* ---- The table ---- */

static void tell_machine(void *context, const char *name, const char *value)
{
    fprintf(context, "  %-12s %s\n", name, value);
}

void bench_print_heading(const session *self, FILE *out)
{
    fprintf(out, "fallow bench, %s: %u rounds, 5 batches of %u ms in each%s\n", self->date, self->rounds,
            self->batch_ms, self->is_quick ? "; --quick: some rows are left out" : "");
    bench_describe_machine(tell_machine, out);
    for (int side = 0; side < SIDES; side++) {
        const bench_side *each = &self->sides[side];
        const char *package_space = each->package_version[0] != '\0' ? " " : "";
        if (each->is_present) {
            fprintf(out, "  %-12s %s (%s%s%s%s%s)\n", each->name, each->version, each->linked,
                    each->package[0] != '\0' ? "; " : "", each->package, package_space, each->package_version);
        } else if (each->is_asked_for) {
            fprintf(out, "  %-12s MISSING: not built%s%s\n", each->name,
                    each->package[0] != '\0' ? "; it needs Debian's " : "", each->package);
        } else {
            fprintf(out, "  %-12s not asked for\n", each->name);
        }
    }
}

/* The unit of all rows of a group; NULL when they differ, and each row tells its own. */
static const char *unit_of_group(const session *self, const char *group)
{
    const char *unit = NULL;
    for (size_t i = 0; i < self->row_count; i++) {
        if (strcmp(self->rows[i].group, group) == 0) {
            if (unit != NULL && strcmp(unit, self->rows[i].unit) != 0) {
                return NULL;
            }
            unit = self->rows[i].unit;
        }
    }
    return unit;
}

static void print_group(const session *self, FILE *out, const char *group, bool is_least)
{
    const char *unit = unit_of_group(self, group);
    fprintf(out, "\n%s%s\n%-46s", group, is_least ? ": least figures" : "", unit != NULL ? unit : "");
    for (int side = 0; side < SIDES; side++) {
        fprintf(out, " %8s", self->sides[side].name);
    }
    fprintf(out, is_least ? "\n" : " |  ratio  least  best      target\n");
}

static void print_target(FILE *out, const bench_row *row)
{
    if (row->ratio_max > 0) {
        fprintf(out, " %.2fx", row->ratio_max);
    }
    if (row->figure_max > 0) {
        char text[16];
        fprintf(out, " %s", bench_number(text, row->figure_max));
    }
}

static void print_verdict(const session *self, FILE *out, size_t row_index)
{
    const bench_row *row = &self->rows[row_index];
    verdict result = bench_judge(self, row_index);
    if (isnan(result.ratio)) {
        fprintf(out, " |      -      -");
    } else {
        fprintf(out, " | %6.2f %6.2f", result.ratio, result.least_ratio);
    }
    fprintf(out, "  %-9s",
            result.best_side >= 0      ? self->sides[result.best_side].name
            : row->peers == PEERS_SELF ? row->base_name
                                       : "-");
    if (result.has_target) {
        print_target(out, row);
        fprintf(out, !result.is_known ? " not known" : result.is_met ? " met" : " MISSED");
    }
}

void bench_print_table(const session *self, FILE *out, bool is_least)
{
    const char *group = "";
    for (size_t i = 0; i < self->row_count; i++) {
        const bench_row *row = &self->rows[i];
        if (!self->is_row_asked_for[i]) {
            continue;
        }
        if (strcmp(group, row->group) != 0) {
            print_group(self, out, row->group, is_least);
            group = row->group;
        }
        char title[160];
        bool has_unit = unit_of_group(self, row->group) == NULL;
        snprintf(title, sizeof title, "%s%s%s", row->title, has_unit ? ", " : "", has_unit ? row->unit : "");
        fprintf(out, "  %-44s", title);
        for (int side = 0; side < SIDES; side++) {
            const figure *each = &self->figures[i][side];
            char text[16] = "-";
            if (each->state == FIGURE_KNOWN) {
                bench_number(text, is_least ? each->least : each->median);
            } else if (each->state == FIGURE_FAILED) {
                snprintf(text, sizeof text, "failed");
            }
            fprintf(out, " %8s", text);
        }
        if (!is_least) {
            print_verdict(self, out, i);
        }
        fprintf(out, "\n");
    }
}

void bench_print_summary(const session *self, FILE *out)
{
    unsigned met = 0;
    unsigned missed = 0;
    unsigned unknown = 0;
    unsigned left_out = 0;
    fprintf(out,
            "\nMedians of the rounds; ratio: fallow / best peer that counts, of medians and of the least figures.\n");
    for (size_t i = 0; i < self->row_count; i++) {
        verdict result = bench_judge(self, i);
        left_out += !self->is_row_asked_for[i];
        if (self->is_row_asked_for[i] && result.has_target) {
            bool is_measured = self->figures[i][0].state == FIGURE_KNOWN && result.is_known;
            unknown += !is_measured;
            met += is_measured && result.is_met;
            missed += is_measured && !result.is_met;
        }
        for (int side = 0; side < SIDES; side++) {
            if (self->figures[i][side].state == FIGURE_FAILED) {
                fprintf(out, "failed: %s, %s: %s\n", self->rows[i].name, self->sides[side].name,
                        self->figures[i][side].reason);
            }
        }
    }
    fprintf(out, "Targets: %u met, %u missed, %u not known. %u rows not run. %.0f s.\n", met, missed, unknown, left_out,
            self->seconds);
    if (self->late_count > 0) {
        fprintf(out, "This machine was slow: the last %u rows were measured in one round only.\n", self->late_count);
    }
    for (size_t i = 0; i < self->row_count; i++) {
        verdict result = bench_judge(self, i);
        if (self->is_row_asked_for[i] && result.has_target && result.is_known && !result.is_met) {
            char text[16];
            fprintf(out, "  missed: %-28s %8s", self->rows[i].name, bench_number(text, self->figures[i][0].median));
            if (!isnan(result.ratio)) {
                fprintf(out, "  %.2fx", result.ratio);
            }
            fprintf(out, "  wanted at most");
            print_target(out, &self->rows[i]);
            fprintf(out, "\n");
        }
    }
}

/* ---- JSON ---- */

static void write_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char letter = (unsigned char)*text;
        if (letter == '"' || letter == '\\') {
            fprintf(out, "\\%c", letter);
        } else if (letter < ' ') {
            fprintf(out, "\\u%04x", letter);
        } else {
            fputc(letter, out);
        }
    }
    fputc('"', out);
}

/* `"name": "text"`, behind a comma unless it is the first. */
static void write_pair(FILE *out, const char *before, const char *name, const char *text)
{
    fprintf(out, "%s", before);
    write_text(out, name);
    fprintf(out, ": ");
    write_text(out, text);
}

static void write_number(FILE *out, const char *before, const char *name, double value)
{
    fprintf(out, "%s", before);
    write_text(out, name);
    if (isfinite(value)) {
        fprintf(out, ": %.6g", value);
    } else {
        fprintf(out, ": null");
    }
}

typedef struct json_list {
    FILE *out;
    const char *before;
} json_list;

static void write_machine(void *context, const char *name, const char *value)
{
    json_list *list = context;
    write_pair(list->out, list->before, name, value);
    list->before = ", ";
}

static void write_side(FILE *out, const bench_side *side)
{
    static const char *const roles[] = {"fallow", "fallow, otherwise", "peer", "harness"};
    write_pair(out, "{", "name", side->name);
    write_pair(out, ", ", "role", roles[side->role]);
    fprintf(out, ", \"is_present\": %s", side->is_present ? "true" : "false");
    write_pair(out, ", ", "version", side->version);
    write_pair(out, ", ", "linked", side->linked);
    write_pair(out, ", ", "package", side->package);
    write_pair(out, ", ", "package_version", side->package_version);
    fprintf(out, "}");
}

static void write_figure(FILE *out, const char *before, const char *name, const figure *each)
{
    fprintf(out, "%s", before);
    write_text(out, name);
    if (each->state == FIGURE_FAILED) {
        write_pair(out, ": {", "failed", each->reason);
    } else {
        write_number(out, ": {", "median", each->median);
        write_number(out, ", ", "least", each->least);
        fprintf(out, ", \"samples\": [");
        for (size_t i = 0; i < each->sample_count; i++) {
            fprintf(out, "%s%.6g", i > 0 ? ", " : "", each->samples[i]);
        }
        fprintf(out, "]");
    }
    fprintf(out, "}");
}

static void write_row(const session *self, FILE *out, size_t row_index)
{
    const bench_row *row = &self->rows[row_index];
    verdict result = bench_judge(self, row_index);
    write_pair(out, "{", "name", row->name);
    write_pair(out, ", ", "group", row->group);
    write_pair(out, ", ", "title", row->title);
    write_pair(out, ", ", "unit", row->unit);
    write_number(out, ", ", "ratio", result.ratio);
    write_number(out, ", ", "least_ratio", result.least_ratio);
    if (result.best_side >= 0) {
        write_pair(out, ", ", "best", self->sides[result.best_side].name);
    } else if (row->peers == PEERS_SELF) {
        write_pair(out, ", ", "best", row->base_name);
    }
    if (row->ratio_max > 0) {
        write_number(out, ", ", "ratio_wanted", row->ratio_max);
    }
    if (row->figure_max > 0) {
        write_number(out, ", ", "figure_wanted", row->figure_max);
    }
    if (result.has_target && result.is_known) {
        fprintf(out, ", \"is_met\": %s", result.is_met ? "true" : "false");
    }
    fprintf(out, ",\n     \"figures\": {");
    const char *before = "";
    for (int side = 0; side < SIDES; side++) {
        const figure *each = &self->figures[row_index][side];
        if (each->state != FIGURE_NONE) {
            write_figure(out, before, self->sides[side].name, each);
            before = ",\n       ";
        }
    }
    fprintf(out, "}}");
}

void bench_write_json(const session *self, FILE *out)
{
    json_list machine = {out, "{"};
    fprintf(out, "{");
    write_pair(out, "", "date", self->date);
    fprintf(out, ", \"rounds\": %u, \"batch_ms\": %u, \"is_quick\": %s,\n \"machine\": ", self->rounds, self->batch_ms,
            self->is_quick ? "true" : "false");
    bench_describe_machine(write_machine, &machine);
    fprintf(out, "},\n \"sides\": [");
    for (int side = 0; side < SIDES; side++) {
        fprintf(out, "%s", side > 0 ? ",\n   " : "\n   ");
        write_side(out, &self->sides[side]);
    }
    fprintf(out, "],\n \"rows\": [");
    const char *before = "\n   ";
    for (size_t i = 0; i < self->row_count; i++) {
        if (self->is_row_asked_for[i]) {
            fprintf(out, "%s", before);
            write_row(self, out, i);
            before = ",\n   ";
        }
    }
    fprintf(out, "]}\n");
}
