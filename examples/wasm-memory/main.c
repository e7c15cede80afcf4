/* sieves: many linear memories at once, each with a program of its own that looks for primes in it and then goes too far.
 *
 *   sieves [INSTANCES [LARGEST-NUMBER]]
 *   sieves stray      a fault outside every memory, which must end the program: nothing may hide a real bug
 *
 * Each instance grows its memory as its sieve needs it, and must count as many primes as a sieve in ordinary memory; then
 * it is sent beyond its end in several ways, each of which has to trap and leave it, and all others, as they were. */
#include "memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define STEP 977 /* instance i sieves up to `largest - i * STEP % (largest / 2)`: no two the same */

typedef struct instance {
    wasm_memory memory;
    uint32_t limit;  /* what it sieves up to: byte i of its memory is 1 where i is no prime */
    uint32_t primes; /* what it found */
    uint32_t index;  /* what the next access is to */
    uint32_t offset;
} instance;

static int fail(const char *what)
{
    fallow_failure failure;
    if (fallow_last_failure(&failure)) {
        fprintf(stderr, "sieves: %s: %s\n", what, fallow_status_message(failure.status));
    } else {
        fprintf(stderr, "sieves: %s\n", what);
    }
    return 1;
}

/* --- what runs inside ----------------------------------------------------------------------------------------------- */

static void sieve(void *context)
{
    instance *self = context;
    const wasm_memory *memory = &self->memory;
    for (uint32_t i = 2; (uint64_t)i * i <= self->limit; i++) {
        for (uint32_t multiple = i * i; wasm_load8(memory, i, 0) == 0 && multiple <= self->limit; multiple += i) {
            wasm_store8(memory, multiple, 0, 1);
        }
    }
    self->primes = 0;
    for (uint32_t i = 2; i <= self->limit; i++) {
        self->primes += wasm_load8(memory, i, 0) == 0;
    }
}

static void load_one(void *context)
{
    const instance *self = context;
    (void)wasm_load8(&self->memory, self->index, self->offset);
}

static void store_four(void *context)
{
    const instance *self = context;
    wasm_store32(&self->memory, self->index, self->offset, UINT32_C(0xdeadbeef));
}

static bool run(instance *self, void (*function)(void *))
{
    return trap_run(function, self, self->memory.region.base, self->memory.region.size_bytes);
}

static bool traps(instance *self, void (*function)(void *), uint32_t index, uint32_t offset)
{
    self->index = index;
    self->offset = offset;
    return !run(self, function);
}

static void stray(void *context)
{
    **(volatile char **)context = 1;
}

/* --- what runs them ------------------------------------------------------------------------------------------------- */

/* As many primes as a program without any of this finds; counts[i] is how many there are up to i. */
static uint32_t *count_primes(uint32_t largest)
{
    uint32_t *counts = calloc((size_t)largest + 1, sizeof *counts);
    for (uint32_t i = 2; counts != NULL && i <= largest; i++) {
        bool is_prime = true;
        for (uint32_t divisor = 2; is_prime && divisor * divisor <= i; divisor++) {
            is_prime = i % divisor != 0;
        }
        counts[i] = counts[i - 1] + is_prime;
    }
    return counts;
}

static bool create(instance *self, uint32_t limit, bool is_small)
{
    const uint32_t needed = (uint32_t)(limit / WASM_PAGE_BYTES + 1);
    self->limit = limit;
    if (wasm_memory_create(1, is_small ? needed + 2 : WASM_MAX_PAGES, is_small, &self->memory) != FALLOW_OK) {
        return false;
    }
    void *const base = self->memory.region.base;
    while (self->memory.pages < needed) {
        const uint32_t before = self->memory.pages;
        if (wasm_memory_grow(&self->memory, 1) != before || self->memory.region.base != base) {
            return false;
        }
    }
    return true;
}

/* Every way out of the memory traps; what is inside does not, up to the last byte. */
static const char *go_too_far(instance *self)
{
    const uint32_t end = (uint32_t)(self->memory.pages * WASM_PAGE_BYTES);
    if (traps(self, load_one, end - 1, 0) || traps(self, store_four, end - 4, 0)) {
        return "an access inside trapped";
    }
    if (!traps(self, load_one, end, 0) || !traps(self, load_one, 0, end) || !traps(self, store_four, end - 3, 0) ||
        !traps(self, store_four, UINT32_MAX, UINT32_MAX) || !traps(self, load_one, UINT32_C(0x80000000), 17)) {
        return "an access outside did not trap";
    }
    if (wasm_memory_grow(&self->memory, WASM_MAX_PAGES) != -1) {
        return "it grew beyond its largest size";
    }
    if (wasm_memory_grow(&self->memory, 1) < 0) {
        return "it did not grow";
    }
    self->index = end;
    self->offset = 0;
    if (!run(self, load_one) || wasm_load32(&self->memory, end, 0) != 0) {
        return "a new page is not there, or not zero";
    }
    return NULL;
}

static int fault_outside(void)
{
    wasm_memory memory;
    fallow_region elsewhere;
    if (!trap_install() || wasm_memory_create(1, 1, true, &memory) != FALLOW_OK ||
        fallow_region_reserve(1, NULL, &elsewhere) != FALLOW_OK) {
        return fail("no room");
    }
    printf("a fault outside the memory:\n");
    fflush(stdout);
    void *address = elsewhere.base;
    const bool has_returned = trap_run(stray, &address, memory.region.base, memory.region.size_bytes);
    return fail(has_returned ? "it did not fault" : "it was taken for a trap");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "stray") == 0) {
        return fault_outside();
    }
    const size_t wanted = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    const uint32_t largest = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 100000;
    fallow_system system;
    fallow_process process = {.virtual_bytes = 0};
    fallow_system_info(&system);
    /* Wine and qemu keep books for every reserved page, and 32 bits have no 8 GiB. */
    const bool is_small = sizeof(void *) == 4 || system.is_wine || system.is_emulated;

    uint32_t *counts = count_primes(largest);
    instance *instances = calloc(wanted, sizeof *instances);
    if (counts == NULL || instances == NULL || wanted == 0 || largest < 4 || !trap_install()) {
        return fail("usage: sieves [INSTANCES [LARGEST-NUMBER, at least 4]]");
    }
    size_t count = 0;
    while (count < wanted && create(&instances[count], largest - (uint32_t)(count * STEP % (largest / 2)), is_small)) {
        count++;
    }
    if (count < wanted) {
        (void)fail("no more instances");
    }
    for (size_t i = 0; i < count; i++) {
        if (!run(&instances[i], sieve) || instances[i].primes != counts[instances[i].limit]) {
            return fail("a sieve found a wrong number of primes");
        }
    }
    for (size_t i = 0; i < count; i++) {
        const char *fault = go_too_far(&instances[i]);
        if (fault != NULL) {
            return fail(fault);
        }
    }
    if (fallow_process_info(&process) != FALLOW_OK) {
        return fail("the system does not tell how much memory that is");
    }
    printf("%zu instances, %" PRIu32 " primes up to %" PRIu32 " in the first\n", count, instances[0].primes,
           instances[0].limit);
    printf("%s: %" PRIu64 " MiB of addresses, %" PRIu64 " MiB of memory, %" PRIu64 " mappings\n",
           is_small ? "each access compared with the reservation" : "no comparison", process.virtual_bytes >> 20,
           process.resident_bytes >> 20, process.map_count);
    for (size_t i = 0; i < count; i++) {
        wasm_memory_destroy(&instances[i].memory);
    }
    free(instances);
    free(counts);
    return count == wanted ? 0 : 1;
}
