/* A C library that has no memory for handlers of forks: fallow_fork_register says so, and arenas work nevertheless. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "fallow.h"
#include "test.h"

static unsigned asked_count;

/* In place of the C library's, which is in an archive. */
int pthread_atfork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    assert_true(before != NULL && in_parent != NULL && in_child != NULL);
    asked_count++;
    return ENOMEM;
}

static void the_refusal_is_told(void **state)
{
    (void)state;
    fallow_failure failure;
    fallow_arena *arena;
    void *run;
    assert_int_equal(fallow_fork_register(), FALLOW_ERR_OS);
    assert_int_equal(asked_count, 3); /* releases that wait, the list of arenas, and the arenas */
    assert_true(fallow_last_failure(&failure));
    assert_int_equal(failure.status, FALLOW_ERR_OS);
    assert_string_equal(failure.operation, "fallow_fork_register");

    assert_int_equal(fallow_arena_create(NULL, &arena), FALLOW_OK);
    assert_int_equal(fallow_arena_alloc(arena, 4096, &run), FALLOW_OK);
    memset(run, 1, 4096);
    fallow_arena_free(arena, run, 4096);
    assert_int_equal(fallow_fork_register(), FALLOW_ERR_OS);
    assert_int_equal(asked_count, 3); /* asked once and for all */
    fallow_arena_destroy(arena);
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_refusal_is_told),
    };
    return cmocka_run_group_tests_name("posix_fork_refused", tests, NULL, NULL);
}
