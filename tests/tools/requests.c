/* A program for the recorder to watch: each step makes requests of sizes that occur nowhere else, which
 * record_test looks for in the trace, in this order. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNIT_BYTES 65536u /* a multiple of every system's page */

static void *volatile kept; /* so that the compiler drops no pair of malloc and free */

static void *keep(void *base)
{
    kept = base;
    return kept;
}

static void require(int is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "requests: %s\n", what);
        exit(1);
    }
}

static void heap_requests(void)
{
    free(NULL);
    free(keep(malloc(4095))); /* too small to be recorded */
    void *first = keep(malloc(100001));
    void *second = keep(calloc(3, 50001));
    second = keep(realloc(second, 200003));
    volatile size_t too_large = SIZE_MAX / 2;
    void *larger = realloc(second, too_large);
    second = larger == NULL ? kept : NULL; /* refused: it lives on, which the compiler does not see */
    require(second != NULL, "an impossible realloc succeeded");
    larger = reallocarray(second, too_large, 4);
    second = larger == NULL ? kept : NULL;
    require(second != NULL, "an overflowing reallocarray succeeded");
    second = keep(realloc(second, 100));   /* leaves the trace */
    second = keep(realloc(second, 70001)); /* and comes back */
    void *aligned = NULL;
    require(posix_memalign(&aligned, 65536, 123457) == 0, "posix_memalign");
    void *other = keep(aligned_alloc(8192, 81920));
    require((uintptr_t)aligned % 65536 == 0 && (uintptr_t)other % 8192 == 0, "alignment");
    free(first);
    free(aligned);
    free(other);
    free(second);
}

static void map_requests(void)
{
    const int access = PROT_READ | PROT_WRITE;
    const int kind = MAP_PRIVATE | MAP_ANONYMOUS;
    unsigned char *base = mmap(NULL, 11 * UNIT_BYTES, access, kind, -1, 0);
    require(base != MAP_FAILED, "mmap");
    munmap(base + 3 * UNIT_BYTES, 2 * UNIT_BYTES); /* 3 and 6 stay */
    base = mremap(base, 3 * UNIT_BYTES, 13 * UNIT_BYTES, MREMAP_MAYMOVE);
    require(base != MAP_FAILED, "mremap");
    munmap(base, 13 * UNIT_BYTES);
    void *addresses = mmap(NULL, 17 * UNIT_BYTES, PROT_NONE, kind, -1, 0); /* not recorded */
    munmap(addresses, 17 * UNIT_BYTES);
}

/* Threads that free each other's blocks. */
static void *shared_blocks[64];
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;

static void *thread_requests(void *argument)
{
    uint32_t random = (uint32_t)(uintptr_t)argument;
    for (int i = 0; i < 20000; i++) {
        random = random * 1664525u + 1013904223u;
        void *block = malloc(4096 + (random >> 18));
        pthread_mutex_lock(&shared_lock);
        void **place = &shared_blocks[(random >> 8) % 64];
        void *old = *place;
        *place = block;
        pthread_mutex_unlock(&shared_lock);
        if (random % 3 == 0) {
            old = realloc(old, 4096 + (random >> 20));
        }
        free(old);
    }
    return NULL;
}

static void many_threads(void)
{
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++) {
        require(pthread_create(&threads[i], NULL, thread_requests, (void *)(i + 1)) == 0, "pthread_create");
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < 64; i++) {
        free(shared_blocks[i]);
    }
}

static void children(char *program)
{
    void *inherited = keep(malloc(300007));
    pid_t child = fork();
    if (child == 0) {
        keep(malloc(310019));
        free(inherited);
        _exit(0);
    }
    int status = 1;
    require(waitpid(child, &status, 0) == child && status == 0, "the forked child");
    child = fork();
    if (child == 0) {
        char again[] = "again";
        char *const arguments[] = {program, again, NULL};
        execv(program, arguments);
        _exit(1);
    }
    require(waitpid(child, &status, 0) == child && status == 0, "the other program");
    free(inherited);
}

int main(int argument_count, char **arguments)
{
    if (argument_count > 1) {
        keep(malloc(320009));
        return 0; /* still live at the end, which is fine */
    }
    heap_requests();
    map_requests();
    many_threads();
    children(arguments[0]);
    free(keep(malloc(330017)));
    return 0;
}
