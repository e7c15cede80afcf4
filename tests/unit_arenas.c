/* The list of arenas, while some threads look at them and others destroy them: an arena that is looked at stays until the
 * last one looks away, whatever else of the list goes meanwhile. Interleaved threads, so every order can be had. */
#include "test.h"

#include <string.h>

#include "arenas.h"
#include "sim_os.h"

enum {
    LOOKERS = 2,
    ARENAS = 3
};

static struct {
    fallow_arena *arena[ARENAS];
    bool is_seen[LOOKERS];
    int looking; /* at the last arena, now */
    const char *wrong;
} scene;

static fallow_arena *create(const char *name)
{
    fallow_arena *arena = NULL;
    fallow_arena_options options = {.reserve_bytes = 1 << 20, .scavenge = FALLOW_SCAVENGE_OFF, .name = name};
    assert_int_equal(fallow_arena_create(&options, &arena), FALLOW_OK);
    return arena;
}

static void look_a_while(void *context)
{
    fallow__arena_view view;
    if (!fallow__arenas_view(0, scene.arena[ARENAS - 1], &view)) {
        return; /* it is gone already */
    }
    *(bool *)context = true;
    scene.looking++;
    for (int i = 0; i < 8; i++) {
        sim_offer();
    }
    if (strcmp(view.name, "the last") != 0) {
        scene.wrong = "another's name";
    }
    scene.looking--;
    fallow__arenas_unview(&view);
}

static void destroy_the_last(void *context)
{
    (void)context;
    fallow_arena_destroy(scene.arena[ARENAS - 1]);
    if (scene.looking != 0) {
        scene.wrong = "destroyed while somebody looks";
    }
}

static void what_is_looked_at_stays(void **state)
{
    (void)state;
    uint64_t both = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        memset(&scene, 0, sizeof scene);
        assert_true(sim_begin(&(sim_options){.flags = SIM_INTERLEAVED, .seed = seed}));
        for (int i = 0; i < ARENAS; i++) {
            scene.arena[i] = create(i == ARENAS - 1 ? "the last" : "one before");
        }
        sim_thread looker[LOOKERS];
        sim_thread destroyer;
        for (int i = 0; i < LOOKERS; i++) {
            assert_true(sim_start(look_a_while, &scene.is_seen[i], &looker[i]));
        }
        for (uint64_t i = 0; i < seed % 8; i++) {
            sim_offer();
        }
        assert_true(sim_start(destroy_the_last, NULL, &destroyer));
        for (int i = 0; i < ARENAS - 1; i++) { /* those behind move in the list */
            fallow_arena_destroy(scene.arena[i]);
        }
        for (int i = 0; i < LOOKERS; i++) {
            sim_join(&looker[i]);
        }
        sim_join(&destroyer); /* a wake that is lost is a deadlock, which the simulation tells */
        assert_null(scene.wrong);
        fallow__arena_view view;
        assert_false(fallow__arenas_view(0, NULL, &view)); /* nobody is listed any more */
        assert_int_equal(fallow__arenas_unlisted(), 0);
        assert_true(sim_end());
        both += scene.is_seen[0] && scene.is_seen[1];
    }
    assert_in_range(both, 20, 199); /* the orders differ */
}

/* A view goes on from an id, or is of one arena. */
static void views_in_order(void **state)
{
    (void)state;
    assert_true(sim_begin(&(sim_options){0}));
    for (int i = 0; i < ARENAS; i++) {
        scene.arena[i] = create("in order");
    }
    uint64_t id = 0;
    for (int i = 0; i < ARENAS; i++) {
        fallow__arena_view view;
        assert_true(fallow__arenas_view(id, NULL, &view));
        assert_ptr_equal(view.arena, scene.arena[i]);
        assert_true(view.id > id);
        id = view.id;
        fallow__arenas_unview(&view);
        assert_true(fallow__arenas_view(0, scene.arena[i], &view));
        assert_int_equal(view.id, id);
        fallow__arenas_unview(&view);
    }
    fallow__arena_view none;
    assert_false(fallow__arenas_view(id, NULL, &none));
    assert_false(fallow__arenas_view(id, scene.arena[0], &none));
    for (int i = 0; i < ARENAS; i++) {
        fallow_arena_destroy(scene.arena[i]);
    }
    assert_true(sim_end());
}

int main(void)
{
    test_begin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_looked_at_stays),
        cmocka_unit_test(views_in_order),
    };
    return cmocka_run_group_tests_name("arenas", tests, NULL, NULL);
}
