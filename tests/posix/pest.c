/* A thread that goes round a list of threads and sends each a signal. The list is locked while it does, so that none of
 * them ends meanwhile. */
#define _XOPEN_SOURCE 700
#include "../pest.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "../threads.h"

enum {
    PAUSE_NS = 200000 /* from one round to the next */
};

static struct {
    pthread_mutex_t mutex;
    pthread_t threads[THREADS_MAX];
    unsigned count;
} bitten = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static pthread_t pest;
static atomic_bool is_over;
static atomic_bool is_under_way;
static atomic_ullong arrived;

static void count_signal(int number)
{
    (void)number;
    atomic_fetch_add_explicit(&arrived, 1, memory_order_relaxed);
}

static void *go_round(void *argument)
{
    static const struct timespec pause = {0, PAUSE_NS};
    (void)argument;
    while (!atomic_load(&is_over)) {
        pthread_mutex_lock(&bitten.mutex);
        for (unsigned i = 0; i < bitten.count; i++) {
            pthread_kill(bitten.threads[i], SIGUSR1);
        }
        pthread_mutex_unlock(&bitten.mutex);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

bool pest_begin(bool is_restarting)
{
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = is_restarting ? SA_RESTART : 0};
    sigset_t usual;
    sigemptyset(&action.sa_mask);
    sigemptyset(&usual);
    sigaddset(&usual, SIGUSR1);
    atomic_store(&arrived, 0);
    atomic_store(&is_over, false);
    if (sigaction(SIGUSR1, &action, NULL) != 0 || pthread_sigmask(SIG_UNBLOCK, &usual, NULL) != 0 ||
        pthread_create(&pest, NULL, go_round, NULL) != 0) {
        abort();
    }
    atomic_store(&is_under_way, true);
    return true;
}

unsigned long long pest_end(void)
{
    atomic_store(&is_under_way, false);
    atomic_store(&is_over, true);
    pthread_join(pest, NULL);
    return atomic_load(&arrived);
}

void pest_bite_me(bool is_wanted)
{
    if (!atomic_load(&is_under_way)) {
        return;
    }
    pthread_mutex_lock(&bitten.mutex);
    if (is_wanted) {
        bitten.threads[bitten.count++] = pthread_self();
    } else {
        unsigned i = 0;
        while (!pthread_equal(bitten.threads[i], pthread_self())) {
            i++;
        }
        bitten.threads[i] = bitten.threads[--bitten.count];
    }
    pthread_mutex_unlock(&bitten.mutex);
}
