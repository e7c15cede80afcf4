/* What valgrind is shown: a program that does one thing to an arena. The functions have names of their own, by which a
 * report is known. */
#include <fallow.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB ((size_t)1 << 10)

static fallow_arena *arena;

static __attribute__((noinline)) char *make_run(size_t size_bytes)
{
    void *base;
    if (fallow_arena_alloc(arena, size_bytes, &base) != FALLOW_OK) {
        exit(9);
    }
    return base;
}

static __attribute__((noinline)) void drop_run(void *base, size_t size_bytes)
{
    fallow_arena_free(arena, base, size_bytes);
}

/* Everything an arena can do, and nothing wrong. */
static void clean(void)
{
    const fallow_run_options zeroed = {.flags = FALLOW_RUN_ZEROED};
    const fallow_run_options addresses = {.flags = FALLOW_RUN_UNCOMMITTED};
    fallow_run run;
    char *first = make_run(64 * KIB);
    memset(first, 1, 64 * KIB);
    if (fallow_arena_extend(arena, first, 64 * KIB, 128 * KIB) != FALLOW_OK) {
        exit(9);
    }
    memset(first + 64 * KIB, 2, 64 * KIB);
    fallow_arena_split(arena, first, 128 * KIB, 32 * KIB);
    drop_run(first, 32 * KIB);
    fallow_arena_shrink(arena, first + 32 * KIB, 96 * KIB, 64 * KIB);
    first[95 * KIB] = first[64 * KIB];
    if (fallow_arena_alloc_run(arena, 16 * KIB, &zeroed, &run) != FALLOW_OK) {
        exit(9);
    }
    for (size_t byte = 0; byte < run.size_bytes; byte++) {
        if (((char *)run.base)[byte] != 0) { /* which valgrind holds to be set */
            exit(9);
        }
    }
    fallow_arena_free_many(arena, &run, 1);
    if (fallow_arena_alloc_run(arena, 1024 * KIB, &addresses, &run) != FALLOW_OK ||
        fallow_arena_commit(arena, run.base, 512 * KIB) != FALLOW_OK) {
        exit(9);
    }
    memset(run.base, 3, 512 * KIB);
    if (fallow_arena_decommit(arena, run.base, 512 * KIB) != FALLOW_OK ||
        fallow_arena_trim(arena, 0, NULL) != FALLOW_OK || fallow_arena_check(arena) != FALLOW_OK) {
        exit(9);
    }
    fallow_arena_destroy(arena); /* with runs in it */
}

/* 5 runs whose addresses are forgotten, one that is remembered. */
static char *remembered;

static void leak(void)
{
    for (int i = 0; i < 5; i++) {
        memset(make_run(96 * KIB), i, 96 * KIB);
    }
    remembered = make_run(16 * KIB);
    memset(remembered, 1, 16 * KIB);
}

static void use_after_free(void)
{
    volatile char *run = make_run(32 * KIB);
    run[5] = 1;
    drop_run((void *)(size_t)run, 32 * KIB);
    run[5] = 2;
}

static void behind_a_run(void)
{
    volatile char *run = make_run(32 * KIB);
    run[32 * KIB] = 1;
}

static void free_twice(void)
{
    void *run = make_run(32 * KIB);
    drop_run(run, 32 * KIB);
    drop_run(run, 32 * KIB);
}

/* For massif: 10 runs of 96 KiB. */
static void many(void)
{
    for (int i = 0; i < 10; i++) {
        memset(make_run(96 * KIB), i, 96 * KIB);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} deeds[] = {
    {"clean", clean},           {"leak", leak}, {"use_after_free", use_after_free}, {"behind_a_run", behind_a_run},
    {"free_twice", free_twice}, {"many", many}};

int main(int argc, char **argv)
{
    if (fallow_arena_create(NULL, &arena) != FALLOW_OK) {
        return 9;
    }
    for (size_t i = 0; argc == 2 && i < sizeof deeds / sizeof deeds[0]; i++) {
        if (strcmp(argv[1], deeds[i].name) == 0) {
            deeds[i].run();
            return 0;
        }
    }
    puts("Hello"); /* with an arena that does nothing */
    return 0;
}
