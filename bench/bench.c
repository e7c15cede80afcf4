/* The driver: runs the programs of all sides in turn, row by row, and prints how fallow compares.
 *
 *     fallow_bench [--quick] [--rounds N] [--row PATTERN]... [--side NAME]... [--json FILE] [--svg FILE] [--least]
 *
 * Every measurement is a process of its own, so that no row finds what another left behind. In each round of a row the
 * sides run one after another (A B C, A B C, ...), so that a machine that is slower for a while is slower for all. */
#define _GNU_SOURCE
#include "bench.h"
#include "progress.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <libgen.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    ROUNDS_DEFAULT = 7,
    ROUNDS_QUICK = 3,
    BATCH_MS_DEFAULT = 10,
    BATCH_MS_QUICK = 3,
    PROCESS_SECONDS_MAX = 120,
    QUICK_SECONDS = 80, /* on a busy machine the rows that come later than this are measured in one round */
    EXIT_NO_SUCH_ROW = 3,
    PATTERNS_MAX = 64,
    OUTPUT_MAX = 4096
};

typedef struct bench_options {
    const char *patterns[PATTERNS_MAX];
    size_t pattern_count;
    const char *side_names[PATTERNS_MAX];
    size_t side_count;
    const char *json_path;
    const char *svg_path;
    const char *trace_directory;
    unsigned rounds;
    unsigned batch_ms;
    bool is_quick;
    bool is_least;
    bool is_list;
} bench_options;

static session measured = {
    .sides =
        {
            {.name = "fallow", .package = "", .role = SIDE_FALLOW, .is_page_aligned = true},
            {.name = "nocache", .package = "", .role = SIDE_VARIANT, .is_page_aligned = true},
            {.name = "tcmalloc", .package = "libgoogle-perftools-dev", .role = SIDE_PEER, .is_page_aligned = true},
            {.name = "mimalloc", .package = "libmimalloc-dev", .role = SIDE_PEER, .is_page_aligned = true},
            {.name = "jemalloc", .package = "libjemalloc-dev", .role = SIDE_PEER, .is_page_aligned = true},
            {.name = "glibc", .package = "libc6-dev", .role = SIDE_PEER},
            {.name = "mmap", .package = "", .role = SIDE_PEER, .is_page_aligned = true, .is_system = true},
            {.name = "null", .package = "", .role = SIDE_HARNESS, .is_page_aligned = true},
            {.name = "floor", .package = "", .role = SIDE_HARNESS, .is_page_aligned = true},
        },
};

/* ---- Figures ---- */

static int by_value(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static double median_of(const double *values, size_t count)
{
    double sorted[SAMPLES_MAX];
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, by_value);
    return count % 2 == 1 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

static void figure_add(figure *self, const double *batches, size_t count)
{
    double sample = median_of(batches, count);
    if (self->sample_count == SAMPLES_MAX) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (self->state == FIGURE_NONE || batches[i] < self->least) {
            self->least = batches[i];
            self->state = FIGURE_KNOWN;
        }
    }
    self->samples[self->sample_count++] = sample;
    self->median = median_of(self->samples, self->sample_count);
}

static bool does_count(const bench_row *row, const bench_side *side)
{
    switch (row->peers) {
    case PEERS_ALL: return side->role == SIDE_PEER;
    case PEERS_PAGE_ALIGNED: return side->role == SIDE_PEER && side->is_page_aligned;
    case PEERS_ALLOCATORS: return side->role == SIDE_PEER && !side->is_system;
    default: return false;
    }
}

/* 0 over 0 is as good as. */
static double ratio_of(double own, double other)
{
    return own <= 0 && other <= 0 ? 1 : own / other;
}

verdict bench_judge(const session *self, size_t row_index)
{
    const bench_row *row = &self->rows[row_index];
    const figure *own = &self->figures[row_index][0];
    verdict result = {.best_side = -1, .ratio = (double)NAN, .least_ratio = (double)NAN};
    result.has_target = row->ratio_max > 0 || row->figure_max > 0;
    if (own->state != FIGURE_KNOWN) {
        return result;
    }
    if (row->peers == PEERS_SELF) {
        for (size_t i = 0; i < self->row_count; i++) {
            if (strcmp(self->rows[i].name, row->base_name) == 0 && self->figures[i][0].state == FIGURE_KNOWN) {
                result.ratio = ratio_of(own->median, self->figures[i][0].median);
                result.least_ratio = ratio_of(own->least, self->figures[i][0].least);
            }
        }
    } else {
        double least = (double)INFINITY;
        for (int side = 0; side < SIDES; side++) {
            const figure *other = &self->figures[row_index][side];
            if (!does_count(row, &self->sides[side]) || other->state != FIGURE_KNOWN) {
                continue;
            }
            least = other->least < least ? other->least : least;
            if (result.best_side < 0 || other->median < self->figures[row_index][result.best_side].median) {
                result.best_side = side;
            }
        }
        if (result.best_side >= 0) {
            result.ratio = ratio_of(own->median, self->figures[row_index][result.best_side].median);
            result.least_ratio = ratio_of(own->least, least);
        }
    }
    result.is_known = row->ratio_max == 0 || !isnan(result.ratio);
    result.is_met = (row->ratio_max == 0 || result.ratio <= row->ratio_max) &&
                    (row->figure_max == 0 || own->median <= row->figure_max);
    return result;
}

/* ---- Processes ---- */

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* Run a program to its end; its output and its last words on stderr come back as text. Returns its exit code, 128 and
 * more after a signal, -1 when it cannot be started. */
static int run_process(const char *const *arguments, char *output, char *complaint)
{
    int pipes[2][2];
    char *const texts[2] = {output, complaint};
    size_t used[2] = {0, 0};
    posix_spawn_file_actions_t actions;
    pid_t child;
    if (pipe2(pipes[0], O_CLOEXEC) != 0) {
        return -1;
    }
    if (pipe2(pipes[1], O_CLOEXEC) != 0) {
        close(pipes[0][0]);
        close(pipes[0][1]);
        return -1;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[0][1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipes[1][1], STDERR_FILENO);
    int error = posix_spawn(&child, arguments[0], &actions, NULL, (char *const *)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[0][1]);
    close(pipes[1][1]);
    double deadline_us = now_us() + PROCESS_SECONDS_MAX * 1e6;
    struct pollfd polled[2] = {{.fd = pipes[0][0], .events = POLLIN}, {.fd = pipes[1][0], .events = POLLIN}};
    bool is_late = false;
    while (error == 0 && (polled[0].fd >= 0 || polled[1].fd >= 0)) {
        double left_ms = (deadline_us - now_us()) / 1e3;
        if (poll(polled, 2, left_ms > 0 && !is_late ? (int)left_ms : is_late ? -1 : 0) == 0) {
            is_late = true;
            kill(child, SIGKILL);
        }
        for (int i = 0; i < 2; i++) {
            if (polled[i].fd >= 0 && polled[i].revents != 0) {
                ssize_t got = read(polled[i].fd, texts[i] + used[i], OUTPUT_MAX - 1 - used[i]);
                if (got > 0) {
                    used[i] += (size_t)got;
                } else {
                    polled[i].fd = -1;
                }
            }
        }
    }
    close(pipes[0][0]);
    close(pipes[1][0]);
    output[used[0]] = '\0';
    complaint[used[1]] = '\0';
    complaint[strcspn(complaint, "\n")] = '\0';
    int status = 0;
    if (error != 0) {
        snprintf(complaint, OUTPUT_MAX, "%s: %s", arguments[0], strerror(error));
        return -1;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (is_late) {
        snprintf(complaint, OUTPUT_MAX, "stopped after %d seconds", PROCESS_SECONDS_MAX);
    } else if (WIFSIGNALED(status) && complaint[0] == '\0') {
        snprintf(complaint, OUTPUT_MAX, "ended by signal %d", WTERMSIG(status));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void measure_once(const bench_row *row, const bench_side *side, const bench_options *options, figure *result)
{
    static char output[OUTPUT_MAX];
    static char complaint[OUTPUT_MAX];
    char batch_ms[16];
    snprintf(batch_ms, sizeof batch_ms, "%u", options->batch_ms);
    const char *arguments[] = {side->program, row->name, batch_ms, options->trace_directory, NULL};
    double start_us = now_us();
    int code = run_process(arguments, output, complaint);
    if (code == EXIT_NO_SUCH_ROW) {
        return;
    }
    double batches[SAMPLES_MAX];
    size_t count = 0;
    for (char *line = output, *end; code == 0 && count < SAMPLES_MAX; line = end, count++) {
        batches[count] = strtod(line, &end);
        if (end == line) {
            break;
        }
        batches[count] -= row->kind == ROW_START ? start_us : 0;
    }
    if (code != 0 || count == 0) {
        result->state = FIGURE_FAILED;
        snprintf(result->reason, sizeof result->reason, "%.200s", complaint[0] != '\0' ? complaint : "no figure");
        return;
    }
    figure_add(result, batches, count);
}

/* ---- Sides ---- */

/* Debian's version of a package, "" when it is not known. */
static void find_package_version(bench_side *side)
{
    static char output[OUTPUT_MAX];
    static char complaint[OUTPUT_MAX];
    const char *arguments[] = {"/usr/bin/dpkg-query", "-W", "-f", "${Version}", side->package, NULL};
    if (side->package[0] != '\0' && access(arguments[0], X_OK) == 0 && run_process(arguments, output, complaint) == 0) {
        snprintf(side->package_version, sizeof side->package_version, "%.60s", output);
    }
}

/* Look whether the side was built, what it is, and whether its runs hold what is written to them. */
static bool find_side(bench_side *side, const char *directory)
{
    static char output[OUTPUT_MAX];
    static char complaint[OUTPUT_MAX];
    snprintf(side->program, sizeof side->program, "%s/fallow_bench_%s", directory, side->name);
    if (access(side->program, X_OK) != 0) {
        return true; /* it is named in the heading */
    }
    const char *arguments[] = {side->program, "--about", NULL};
    if (run_process(arguments, output, complaint) == 0) {
        const char *name = strtok(output, "\n");
        const char *version = strtok(NULL, "\n");
        const char *linked = strtok(NULL, "\n");
        if (name != NULL && strcmp(name, side->name) == 0 && version != NULL && linked != NULL) {
            snprintf(side->version, sizeof side->version, "%.90s", version);
            snprintf(side->linked, sizeof side->linked, "%.20s", linked);
            arguments[1] = "--check";
            side->is_present = run_process(arguments, output, complaint) == 0;
        }
    }
    if (!side->is_present) {
        fprintf(stderr, "fallow bench: %s does not work: %s\n", side->program, complaint);
        return false;
    }
    find_package_version(side);
    return true;
}

/* ---- The session ---- */

static unsigned rounds_of(const bench_row *row, unsigned rounds)
{
    return row->rounds_max != 0 && row->rounds_max < rounds ? row->rounds_max : rounds;
}

static void measure_row(session *self, size_t row_index, progress *bar, size_t nth, size_t row_count,
                        unsigned rounds_asked, const bench_options *options)
{
    const bench_row *row = &self->rows[row_index];
    unsigned rounds = rounds_of(row, rounds_asked);
    for (unsigned round = 0; round < rounds; round++) {
        char what[96];
        snprintf(what, sizeof what, "row %zu of %zu, round %u of %u: %s", nth + 1, row_count, round + 1, rounds,
                 row->name);
        progress_show(bar, nth * rounds + round, row_count * rounds, what);
        for (uint32_t repeat = 0; repeat < row->repeat_count; repeat++) {
            for (int side = 0; side < SIDES; side++) {
                figure *result = &self->figures[row_index][side];
                if (self->sides[side].is_present && self->sides[side].is_asked_for && result->state != FIGURE_FAILED) {
                    measure_once(row, &self->sides[side], options, result);
                }
            }
        }
    }
}

static void measure_all(session *self, const bench_options *options)
{
    size_t row_count = 0;
    size_t nth = 0;
    double start_us = now_us();
    progress bar;
    progress_begin(&bar);
    for (size_t i = 0; i < self->row_count; i++) {
        row_count += self->is_row_asked_for[i];
    }
    for (size_t i = 0; i < self->row_count; i++) {
        if (self->is_row_asked_for[i]) {
            bool is_late = options->is_quick && now_us() - start_us > QUICK_SECONDS * 1e6;
            measure_row(self, i, &bar, nth++, row_count, is_late ? 1 : options->rounds, options);
            self->late_count += is_late;
        }
    }
    progress_end(&bar);
    self->seconds = (now_us() - start_us) / 1e6;
}

/* ---- The command ---- */

static int usage(const char *complaint, const char *word)
{
    fprintf(stderr,
            "fallow bench: %s%s%s\n"
            "usage: bench [--quick] [--rounds N] [--batch-ms N] [--row PATTERN]... [--side NAME]...\n"
            "             [--json FILE] [--svg FILE] [--least] [--traces DIRECTORY] | --list\n",
            complaint, word[0] != '\0' ? ": " : "", word);
    return 2;
}

static bool parse_count(const char *word, unsigned most, unsigned *value_out)
{
    char *end;
    unsigned long value = strtoul(word, &end, 10);
    if (word[0] < '0' || word[0] > '9' || *end != '\0' || value == 0 || value > most) {
        return false;
    }
    *value_out = (unsigned)value;
    return true;
}

static bool set_option(bench_options *options, const char *name, const char *value)
{
    if (strcmp(name, "--row") == 0 && options->pattern_count < PATTERNS_MAX) {
        options->patterns[options->pattern_count++] = value;
    } else if (strcmp(name, "--side") == 0 && options->side_count < PATTERNS_MAX) {
        options->side_names[options->side_count++] = value;
    } else if (strcmp(name, "--json") == 0) {
        options->json_path = value;
    } else if (strcmp(name, "--svg") == 0) {
        options->svg_path = value;
    } else if (strcmp(name, "--traces") == 0) {
        options->trace_directory = value;
    } else if (strcmp(name, "--rounds") == 0) {
        return parse_count(value, SAMPLES_MAX / 5, &options->rounds);
    } else if (strcmp(name, "--batch-ms") == 0) {
        return parse_count(value, 10000, &options->batch_ms);
    } else {
        return false;
    }
    return true;
}

static int parse(int argument_count, char **arguments, bench_options *options)
{
    for (int i = 1; i < argument_count; i++) {
        if (strcmp(arguments[i], "--quick") == 0) {
            options->is_quick = true;
        } else if (strcmp(arguments[i], "--least") == 0) {
            options->is_least = true;
        } else if (strcmp(arguments[i], "--list") == 0) {
            options->is_list = true;
        } else if (i + 1 < argument_count && set_option(options, arguments[i], arguments[i + 1])) {
            i++;
        } else {
            return usage("no such option, or a value that makes no sense", arguments[i]);
        }
    }
    if (options->rounds == 0) {
        options->rounds = options->is_quick ? ROUNDS_QUICK : ROUNDS_DEFAULT;
    }
    if (options->batch_ms == 0) {
        options->batch_ms = options->is_quick ? BATCH_MS_QUICK : BATCH_MS_DEFAULT;
    }
    return 0;
}

/* The rows that were asked for by name, else those of --quick or all. Returns a pattern that no row has, or NULL. */
static const char *choose_rows(session *self, const bench_options *options)
{
    for (size_t i = 0; i < self->row_count; i++) {
        self->is_row_asked_for[i] = options->pattern_count == 0 && (self->rows[i].is_quick || !options->is_quick);
    }
    for (size_t pattern = 0; pattern < options->pattern_count; pattern++) {
        bool is_known = false;
        for (size_t i = 0; i < self->row_count; i++) {
            if (fnmatch(options->patterns[pattern], self->rows[i].name, 0) == 0) {
                self->is_row_asked_for[i] = true;
                is_known = true;
            }
        }
        if (!is_known) {
            return options->patterns[pattern];
        }
    }
    for (size_t i = 0; i < self->row_count; i++) { /* a row compared with another needs it */
        for (size_t j = 0; self->rows[i].base_name != NULL && j < self->row_count; j++) {
            if (self->is_row_asked_for[i] && strcmp(self->rows[j].name, self->rows[i].base_name) == 0) {
                self->is_row_asked_for[j] = true;
            }
        }
    }
    return NULL;
}

static bool choose_sides(session *self, const bench_options *options)
{
    for (int side = 0; side < SIDES; side++) {
        self->sides[side].is_asked_for = options->side_count == 0;
    }
    for (size_t i = 0; i < options->side_count; i++) {
        bool is_known = false;
        for (int side = 0; side < SIDES; side++) {
            if (strcmp(self->sides[side].name, options->side_names[i]) == 0) {
                self->sides[side].is_asked_for = true;
                is_known = true;
            }
        }
        if (!is_known) {
            return false;
        }
    }
    return true;
}

static void print_list(const session *self)
{
    for (size_t i = 0; i < self->row_count; i++) {
        const bench_row *row = &self->rows[i];
        printf("%-28s %s %s: %s (%s)\n", row->name, row->is_quick ? "quick" : "     ", row->group, row->title,
               row->unit);
    }
}

static bool write_file(const session *self, const char *path, void (*write)(const session *self, FILE *out))
{
    FILE *out = fopen(path, "w");
    if (out != NULL) {
        write(self, out);
    }
    if (out == NULL || ferror(out) || fclose(out) != 0) {
        fprintf(stderr, "fallow bench: %s: %s\n", path, strerror(errno));
        return false;
    }
    return true;
}

/* What is no peer has to work. */
static bool have_own_sides_failed(const session *self)
{
    for (size_t i = 0; i < self->row_count; i++) {
        for (int side = 0; side < SIDES; side++) {
            if (self->figures[i][side].state == FIGURE_FAILED && self->sides[side].role != SIDE_PEER) {
                return true;
            }
        }
    }
    return false;
}

int main(int argument_count, char **arguments)
{
    static char own_path[1024];
    session *self = &measured;
    bench_options options = {.trace_directory = "tests/traces"};
    int code = parse(argument_count, arguments, &options);
    if (code != 0) {
        return code;
    }
    self->rows = bench_rows(&self->row_count);
    if (options.is_list) {
        print_list(self);
        return 0;
    }
    if (!choose_sides(self, &options)) {
        return usage("there is no such side", options.side_names[options.side_count - 1]);
    }
    const char *unknown = choose_rows(self, &options);
    if (unknown != NULL) {
        return usage("there is no such row; --list lists them", unknown);
    }
    self->rounds = options.rounds;
    self->batch_ms = options.batch_ms;
    self->is_quick = options.is_quick && options.pattern_count == 0; /* rows asked for by name are not left out */
    ssize_t length = readlink("/proc/self/exe", own_path, sizeof own_path - 1);
    if (length <= 0) {
        return usage("its own place is not known", "");
    }
    const char *directory = dirname(own_path);
    bool is_in_order = true;
    for (int side = 0; side < SIDES; side++) {
        is_in_order = (!self->sides[side].is_asked_for || find_side(&self->sides[side], directory)) && is_in_order;
    }
    time_t now = time(NULL);
    strftime(self->date, sizeof self->date, "%Y-%m-%d %H:%M UTC", gmtime(&now));
    bench_print_heading(self, stdout);
    fflush(stdout);
    measure_all(self, &options);
    bench_print_table(self, stdout, false);
    if (options.is_least) {
        bench_print_table(self, stdout, true);
    }
    bench_print_summary(self, stdout);
    if (options.json_path != NULL) {
        is_in_order = write_file(self, options.json_path, bench_write_json) && is_in_order;
    }
    if (options.svg_path != NULL) {
        is_in_order = write_file(self, options.svg_path, bench_write_svg) && is_in_order;
    }
    return is_in_order && !have_own_sides_failed(self) ? 0 : 1;
}
