/* The live runs of a replay: see live.h.
 *
 * By id: a table with linear probing, at most half full, whose entries are indices. By address: a treap, a search tree
 * by base that is a heap by priority. The priorities are a hash of a count of insertions, which no
 * trace can choose: the same trace always gives the same tree, and its depth stays near 2 log2(n). */
#include "live.h"

#include <stdlib.h>
#include <string.h>

#define LIVE_MAX (UINT32_C(1) << 30) /* twice that many slots still fit in 32 bits */
#define SLOTS_FIRST UINT32_C(1024)

static uint32_t mix(uint64_t value)
{
    value = (value ^ (value >> 33)) * 0xff51afd7ed558ccdu;
    value = (value ^ (value >> 33)) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(value ^ (value >> 33));
}

void live_destroy(live_runs *live)
{
    free(live->runs);
    free(live->slots);
    *live = (live_runs){0};
}

/* ---- By id ---- */

/* The slot that holds the id, or the empty one where it belongs. */
static uint32_t find_slot(const live_runs *live, uint64_t id)
{
    uint32_t mask = live->slot_count - 1;
    uint32_t slot = mix(id) & mask;
    while (live->slots[slot] != 0 && live->runs[live->slots[slot]].id != id) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

static void empty_slot(live_runs *live, uint32_t hole)
{
    uint32_t mask = live->slot_count - 1;
    for (uint32_t slot = (hole + 1) & mask; live->slots[slot] != 0; slot = (slot + 1) & mask) {
        /* A follower may move into the hole when the hole is not before the place it hashes to. */
        uint32_t home = mix(live->runs[live->slots[slot]].id) & mask;
        if (((slot - home) & mask) >= ((slot - hole) & mask)) {
            live->slots[hole] = live->slots[slot];
            hole = slot;
        }
    }
    live->slots[hole] = 0;
}

static bool make_slots(live_runs *live)
{
    if (live->slot_count > 0 && (live->live_count + 1) * 2 <= live->slot_count) {
        return true;
    }
    uint32_t old_count = live->slot_count;
    uint32_t *old_slots = live->slots;
    uint32_t new_count = old_count == 0 ? SLOTS_FIRST : old_count * 2;
    uint32_t *new_slots = calloc(new_count, sizeof *new_slots);
    if (new_slots == NULL) {
        return false;
    }
    live->slots = new_slots;
    live->slot_count = new_count;
    for (uint32_t i = 0; i < old_count; i++) {
        if (old_slots[i] != 0) {
            live->slots[find_slot(live, live->runs[old_slots[i]].id)] = old_slots[i];
        }
    }
    free(old_slots);
    return true;
}

live_run *live_find(const live_runs *live, uint64_t id)
{
    uint32_t index = live->slot_count == 0 ? 0 : live->slots[find_slot(live, id)];
    return index == 0 ? NULL : &live->runs[index];
}

live_run *live_any(const live_runs *live)
{
    return live->root == 0 ? NULL : &live->runs[live->root];
}

/* ---- By address ---- */

static uintptr_t first_of(const live_run *run)
{
    return (uintptr_t)run->base;
}

/* The live run that shares a byte with [first, first + size_bytes), or 0. Live runs do not overlap each other, so the
 * one with the highest base below the range's end decides. */
static uint32_t find_overlap(const live_runs *live, uintptr_t first, size_t size_bytes)
{
    uint32_t below = 0;
    uintptr_t last = first + (size_bytes - 1);
    for (uint32_t node = live->root; node != 0;) {
        if (first_of(&live->runs[node]) <= last) {
            below = node;
            node = live->runs[node].right;
        } else {
            node = live->runs[node].left;
        }
    }
    return below != 0 && first_of(&live->runs[below]) + (live->runs[below].size_bytes - 1) >= first ? below : 0;
}

static uint32_t tree_insert(live_runs *live, uint32_t node, uint32_t added)
{
    if (node == 0) {
        return added;
    }
    live_run *run = &live->runs[node];
    uint32_t *side = first_of(&live->runs[added]) < first_of(run) ? &run->left : &run->right;
    *side = tree_insert(live, *side, added);
    live_run *child = &live->runs[*side];
    if (child->priority <= run->priority) {
        return node;
    }
    uint32_t top = *side; /* rotate: the child goes above */
    uint32_t *inner = side == &run->left ? &child->right : &child->left;
    *side = *inner;
    *inner = node;
    return top;
}

/* All of left lies below all of right. */
static uint32_t tree_join(live_runs *live, uint32_t left, uint32_t right)
{
    if (left == 0 || right == 0) {
        return left == 0 ? right : left;
    }
    if (live->runs[left].priority > live->runs[right].priority) {
        live->runs[left].right = tree_join(live, live->runs[left].right, right);
        return left;
    }
    live->runs[right].left = tree_join(live, left, live->runs[right].left);
    return right;
}

static void tree_remove(live_runs *live, uint32_t removed)
{
    const live_run *run = &live->runs[removed];
    uint32_t *link = &live->root;
    while (*link != removed) {
        live_run *above = &live->runs[*link];
        link = first_of(run) < first_of(above) ? &above->left : &above->right;
    }
    *link = tree_join(live, run->left, run->right);
}

/* ---- Both ---- */

static bool make_run(live_runs *live)
{
    if (live->first_unused != 0 || live->run_used + 1 < live->run_room) {
        return true;
    }
    uint32_t new_room = live->run_room == 0 ? 1024 : live->run_room * 2;
    if (new_room > LIVE_MAX || (uint64_t)new_room * sizeof(live_run) > SIZE_MAX / 2) {
        return false;
    }
    live_run *new_runs = realloc(live->runs, new_room * sizeof *new_runs);
    if (new_runs == NULL) {
        return false;
    }
    live->runs = new_runs;
    live->run_room = new_room;
    return true;
}

live_result live_add(live_runs *live, const live_run *run, live_run *other_out)
{
    if (live_find(live, run->id) != NULL) {
        return LIVE_DUPLICATE_ID;
    }
    uint32_t other = find_overlap(live, first_of(run), run->size_bytes);
    if (other != 0) {
        *other_out = live->runs[other];
        return LIVE_OVERLAP;
    }
    if (!make_slots(live) || !make_run(live)) {
        return LIVE_NO_MEMORY;
    }
    uint32_t index = live->first_unused;
    if (index != 0) {
        live->first_unused = live->runs[index].left;
    } else {
        index = ++live->run_used;
    }
    live->runs[index] = *run;
    live->runs[index].left = 0;
    live->runs[index].right = 0;
    live->runs[index].priority = mix(++live->add_count * 0x9e3779b97f4a7c15u);
    live->root = tree_insert(live, live->root, index);
    live->slots[find_slot(live, run->id)] = index;
    live->live_count++;
    return LIVE_OK;
}

void live_remove(live_runs *live, uint64_t id)
{
    uint32_t slot = find_slot(live, id);
    uint32_t index = live->slots[slot];
    tree_remove(live, index);
    empty_slot(live, slot);
    live->runs[index].left = live->first_unused;
    live->first_unused = index;
    live->live_count--;
}
