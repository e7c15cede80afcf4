#include "../threads.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct start {
    void (*body)(void *context, unsigned index);
    void *context;
    unsigned index;
} start;

static void *run(void *argument)
{
    const start *s = argument;
    s->body(s->context, s->index);
    return NULL;
}

void threads_run(unsigned count, void (*body)(void *context, unsigned index), void *context)
{
    pthread_t threads[THREADS_MAX];
    start starts[THREADS_MAX];
    for (unsigned index = 0; index < count; index++) {
        starts[index] = (start){body, context, index};
        if (pthread_create(&threads[index], NULL, run, &starts[index]) != 0) {
            abort();
        }
    }
    for (unsigned index = 0; index < count; index++) {
        pthread_join(threads[index], NULL);
    }
}
