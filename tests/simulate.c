/* Random lives of programs, one after another, each on a system of its own and against a model (life.h).
 *
 *   simulate [--light] [--as-is] [--ops N] [--seconds N] [--seed S] [--life S] [--lie N]
 *
 *   --light    for very many: memory is open (sim_os.h, sim_open), so the arenas' pages never fault, and whether they
 *              would is asked before each look and each write instead; lives of one thread only. All else is checked
 *              as ever
 *   --as-is    a failing life is not made shorter: for those who only ask whether one fails
 *   --ops N    stop after so many operations (1000000), or when the time is up:
 *   --seconds N
 *   --seed S   the first life's seed; the next one's is one more. Without it the clock says
 *   --life S   live this one life only, and print what it does
 *   --lie N    the model lies once in each life, from its Nth operation on: a failure is the right result, and the
 *              program ends with 0 if it finds one
 *
 * A failing life is made shorter: pieces of it are left out as long as it still fails. What is left is printed. */
#include "test.h"

#include <string.h>

#include "life.h"
#include "trial.h"
#include "world.h"

typedef struct settings {
    uint64_t ops;
    uint64_t seconds;
    uint64_t seed;
    uint64_t lie_at;
    bool is_one_life;
    bool is_light;
    bool is_as_is;
} settings;

enum {
    NOTE_SEED, /* of the life that is lived now */
    NOTE_OPS,  /* done in all */
    NOTE_LIVES,
    PATIENCE_SECONDS = 60
};

static life_op plan[LIFE_OPS_MAX];
static size_t plan_count;

/* --- many lives -------------------------------------------------------------------------------------------- */

static int live_many(void *context)
{
    const settings *s = context;
    uint64_t *notes = trial_notes();
    uint64_t seed = s->seed;
    uint64_t done = 0;
    uint64_t lives = 0;
    time_t start = time(NULL);
    while (done < s->ops && (uint64_t)(time(NULL) - start) < s->seconds) {
        notes[NOTE_SEED] = seed;
        trial_patience(PATIENCE_SECONDS);
        life_options options = {.seed = seed, .is_light = s->is_light, .lie_at = s->lie_at};
        plan_count = life_plan(&options, plan);
        const char *complaint = life_run(&options, plan, plan_count);
        if (complaint != NULL) {
            printf("seed %llu: %s\n", (unsigned long long)seed, complaint);
            return 1;
        }
        done += plan_count;
        notes[NOTE_OPS] = done;
        notes[NOTE_LIVES] = ++lives;
        seed++;
    }
    printf("%-14s %10s %10s %10s\n", "operation", "done", "refused", "nothing");
    for (int kind = 0; kind < LIFE_KINDS; kind++) {
        printf("%-14s %10llu %10llu %10llu\n", life_kind_name((life_kind)kind),
               (unsigned long long)life_counts.done[kind], (unsigned long long)life_counts.failed[kind],
               (unsigned long long)life_counts.skipped[kind]);
    }
    return 0;
}

/* --- one that fails, made shorter -------------------------------------------------------------------------- */

typedef struct subset {
    life_options options;
    life_op ops[LIFE_OPS_MAX];
    size_t count;
    bool is_quiet;
} subset;

static int live_subset(void *context)
{
    const subset *some = context;
    if (some->is_quiet) {
        trial_be_quiet();
    }
    trial_patience(PATIENCE_SECONDS / 3);
    const char *complaint = life_run(&some->options, some->ops, some->count);
    if (complaint != NULL) {
        printf("%s\n", complaint);
    }
    return complaint != NULL;
}

static bool fails(const subset *some)
{
    static subset tried;
    tried = *some;
    tried.is_quiet = true;
    return trial_run(live_subset, &tried) != 0;
}

/* Leave out a piece wherever the rest still fails; smaller and smaller pieces. */
static void shorten(subset *some)
{
    static subset shorter;
    for (size_t piece = (some->count + 1) / 2; piece > 0;) {
        bool is_shorter = false;
        for (size_t from = 0; from < some->count;) {
            size_t left_out = piece < some->count - from ? piece : some->count - from;
            shorter = *some;
            memmove(&shorter.ops[from], &shorter.ops[from + left_out],
                    (some->count - from - left_out) * sizeof shorter.ops[0]);
            shorter.count -= left_out;
            if (fails(&shorter)) {
                *some = shorter;
                is_shorter = true;
            } else {
                from += piece;
            }
        }
        if (piece > 1 || !is_shorter) {
            piece /= 2;
        }
    }
}

static void explain(uint64_t seed, const settings *s)
{
    static subset some;
    some = (subset){.options = {.seed = seed, .is_light = s->is_light, .lie_at = s->lie_at}};
    some.count = life_plan(&some.options, some.ops);
    printf("seed %llu fails; making it shorter than %zu operations\n", (unsigned long long)seed, some.count);
    if (!fails(&some)) {
        printf("it does not fail again by itself: what came before it matters\n");
        return;
    }
    shorten(&some);
    printf("%zu operations are enough:\n", some.count);
    some.options.is_traced = true;
    if (trial_run(live_subset, &some) < 0) {
        printf("(crash or hang)\n");
    }
    printf("again: simulate %s--life %llu\n", s->is_light ? "--light " : "", (unsigned long long)seed);
}

/* --- the program ------------------------------------------------------------------------------------------- */

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 0);
    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "simulate: not a number: %s\n", text);
        exit(2);
    }
    return value;
}

static settings read_arguments(int argc, char **argv)
{
    settings s = {.ops = 1000000, .seconds = UINT64_MAX, .lie_at = UINT64_MAX};
    s.seed = (uint64_t)time(NULL) * 1000003u;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--light") == 0) {
            s.is_light = true;
            i--;
        } else if (strcmp(argv[i], "--as-is") == 0) {
            s.is_as_is = true;
            i--;
        } else if (strcmp(argv[i], "--ops") == 0) {
            s.ops = number(value);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            s.seconds = number(value);
        } else if (strcmp(argv[i], "--seed") == 0) {
            s.seed = number(value);
        } else if (strcmp(argv[i], "--lie") == 0) {
            s.lie_at = number(value);
        } else if (strcmp(argv[i], "--life") == 0) {
            s.seed = number(value);
            s.is_one_life = true;
        } else {
            fprintf(stderr,
                    "usage: simulate [--light] [--as-is] [--ops N] [--seconds N] [--seed S] [--life S] [--lie N]\n");
            exit(2);
        }
    }
    return s;
}

static int one_life(const settings *s)
{
    static subset all;
    all = (subset){.options = {.seed = s->seed, .is_traced = true, .is_light = s->is_light, .lie_at = s->lie_at}};
    all.count = life_plan(&all.options, all.ops);
    return trial_run(live_subset, &all) != 0;
}

int main(int argc, char **argv)
{
    test_begin();
    settings s = read_arguments(argc, argv);
    if (s.is_one_life) {
        return one_life(&s);
    }
    printf("simulate%s --ops %llu --seed %llu\n", s.is_light ? " --light" : "", (unsigned long long)s.ops,
           (unsigned long long)s.seed);
    time_t start = time(NULL);
    int code = trial_run(live_many, &s);
    const uint64_t *notes = trial_notes();
    printf("%llu operations in %llu lives, %llu s\n", (unsigned long long)notes[NOTE_OPS],
           (unsigned long long)notes[NOTE_LIVES], (unsigned long long)(time(NULL) - start));
    if (code == 77) {
        return 77;
    }
    bool can_shorten = trial_is_apart(); /* elsewhere the seed above has to do: --life SEED, or on Linux */
    if (code != 0 && can_shorten && !s.is_as_is) {
        explain(notes[NOTE_SEED], &s);
    }
    return (code != 0) != (s.lie_at != UINT64_MAX);
}
