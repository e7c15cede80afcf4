/* Two shared copies of the library in one process, as two plugins that bring one each have it: loaded from two files with
 * RTLD_LOCAL, and once more into a namespace of its own (dlmopen). Each has its own arenas, caches, locks and handlers of
 * forks. Threads use both and end with something in the caches of both; the copies are closed while threads that used
 * them are still there, and those threads end afterwards.
 *
 *   posix_copies LIBRARY ANOTHER-FILE-OF-THE-SAME */
#define _GNU_SOURCE 1 /* dlmopen */
#include "test.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fallow.h"

enum {
    THREADS = 8,
    ROUNDS = 200
};

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* What is used of a copy. */
typedef struct copy {
    void *handle;
    fallow_arena *arena;
    fallow_status (*arena_create)(const fallow_arena_options *options, fallow_arena **arena_out);
    void (*arena_destroy)(fallow_arena *arena);
    fallow_status (*arena_alloc)(fallow_arena *arena, size_t size_bytes, void **base_out);
    void (*arena_free)(fallow_arena *arena, void *base, size_t size_bytes);
    void (*arena_read_stats)(fallow_arena *arena, fallow_arena_stats *stats_out);
    fallow_status (*arena_trim)(fallow_arena *arena, size_t keep_bytes, size_t *released_bytes_out);
    fallow_status (*arena_check)(fallow_arena *arena);
} copy;

static const char *paths[2];

/* A function of a copy; POSIX has its address in a pointer to data. */
static void find(const copy *c, const char *name, void *function_out)
{
    void *address = dlsym(c->handle, name);
    assert_non_null(address);
    memcpy(function_out, &address, sizeof address);
}

static void load(copy *c, void *handle)
{
    if (handle == NULL) {
        fail_msg("%s", dlerror());
    }
    c->handle = handle;
    find(c, "fallow_arena_create", &c->arena_create);
    find(c, "fallow_arena_destroy", &c->arena_destroy);
    find(c, "fallow_arena_alloc", &c->arena_alloc);
    find(c, "fallow_arena_free", &c->arena_free);
    find(c, "fallow_arena_read_stats", &c->arena_read_stats);
    find(c, "fallow_arena_trim", &c->arena_trim);
    find(c, "fallow_arena_check", &c->arena_check);
    const fallow_arena_options options = {.reserve_bytes = 64 * MIB, .thread_cache_bytes = MIB};
    assert_int_equal(c->arena_create(&options, &c->arena), FALLOW_OK);
}

/* --- threads ------------------------------------------------------------------------------------------------------- */

typedef struct crowd {
    copy *copies;
    atomic_uint failed;
    atomic_uint done;
    atomic_bool may_end;
} crowd;

static void *use_all(void *context)
{
    crowd *c = context;
    for (unsigned round = 0; round < ROUNDS; round++) {
        void *runs[2];
        for (unsigned i = 0; i < 2; i++) {
            if (c->copies[i].arena_alloc(c->copies[i].arena, 64 * KIB, &runs[i]) != FALLOW_OK) {
                atomic_store(&c->failed, 1);
                return NULL;
            }
            memset(runs[i], (int)round, 64 * KIB);
        }
        for (unsigned i = 0; i < 2; i++) {
            c->copies[i].arena_free(c->copies[i].arena, runs[i], 64 * KIB);
        }
    }
    atomic_fetch_add(&c->done, 1);
    while (!atomic_load(&c->may_end)) {
        usleep(1000);
    }
    return NULL;
}

static void start(crowd *c, copy copies[2], pthread_t threads[THREADS])
{
    *c = (crowd){.copies = copies};
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, use_all, c), 0);
    }
    while (atomic_load(&c->done) < THREADS && atomic_load(&c->failed) == 0) {
        usleep(1000);
    }
    assert_int_equal(atomic_load(&c->failed), 0);
}

static void end_threads(crowd *c, pthread_t threads[THREADS])
{
    atomic_store(&c->may_end, true);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

/* What threads that have ended kept is the arena's again, in both; and both are sound, here and in a child. */
static void check_and_close(copy copies[2])
{
    for (unsigned i = 0; i < 2; i++) {
        fallow_arena_stats stats;
        assert_int_equal(copies[i].arena_trim(copies[i].arena, 0, NULL), FALLOW_OK);
        copies[i].arena_read_stats(copies[i].arena, &stats);
        assert_int_equal(stats.in_use_bytes, 0);
        assert_int_equal(stats.cached_bytes, 0);
        assert_int_equal(copies[i].arena_check(copies[i].arena), FALLOW_OK);
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (unsigned i = 0; i < 2; i++) {
            void *run;
            if (copies[i].arena_alloc(copies[i].arena, MIB, &run) != FALLOW_OK ||
                copies[i].arena_check(copies[i].arena) != FALLOW_OK) {
                _exit(1);
            }
        }
        _exit(0);
    }
    int state = 0;
    assert_int_equal(waitpid(child, &state, 0), child);
    assert_true(WIFEXITED(state) && WEXITSTATUS(state) == 0);
    for (unsigned i = 0; i < 2; i++) {
        copies[i].arena_destroy(copies[i].arena);
        assert_int_equal(dlclose(copies[i].handle), 0);
    }
}

/* --- the tests ----------------------------------------------------------------------------------------------------- */

static void load_two(copy copies[2])
{
    for (unsigned i = 0; i < 2; i++) {
        load(&copies[i], dlopen(paths[i], RTLD_NOW | RTLD_LOCAL));
    }
    assert_true(copies[0].arena_create != copies[1].arena_create);
}

static void threads_end_with_both(void **state)
{
    (void)state;
    copy copies[2];
    crowd c;
    pthread_t threads[THREADS];
    load_two(copies);
    start(&c, copies, threads);
    end_threads(&c, threads);
    check_and_close(copies);
}

static void threads_end_after_both_are_closed(void **state)
{
    (void)state;
    copy copies[2];
    crowd c;
    pthread_t threads[THREADS];
    load_two(copies);
    start(&c, copies, threads);
    for (unsigned i = 0; i < 2; i++) {
        copies[i].arena_destroy(copies[i].arena);
        assert_int_equal(dlclose(copies[i].handle), 0);
    }
    end_threads(&c, threads);
}

/* In another namespace there is another C library, too. */
static void one_in_a_namespace_of_its_own(void **state)
{
    (void)state;
    copy copies[2];
    crowd c;
    pthread_t threads[THREADS];
    load(&copies[0], dlopen(paths[0], RTLD_NOW | RTLD_LOCAL));
    void *other = dlmopen(LM_ID_NEWLM, paths[0], RTLD_NOW | RTLD_LOCAL);
    if (other == NULL) {
        printf("skipped: %s\n", dlerror());
        copies[0].arena_destroy(copies[0].arena);
        skip();
    }
    load(&copies[1], other);
    start(&c, copies, threads);
    end_threads(&c, threads);
    check_and_close(copies);
}

int main(int argc, char **argv)
{
    test_begin();
    if (argc != 3) {
        fprintf(stderr, "usage: posix_copies LIBRARY ANOTHER-FILE-OF-THE-SAME\n");
        return 2;
    }
    paths[0] = argv[1];
    paths[1] = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_end_with_both),
        cmocka_unit_test(threads_end_after_both_are_closed),
        cmocka_unit_test(one_in_a_namespace_of_its_own),
    };
    return cmocka_run_group_tests_name("posix_copies", tests, NULL, NULL);
}
