/* Mutex, once, environment, last words: the small things that every POSIX system has.
 *
 * The public types are plain room, so that os.h needs no system header; the assertions below tie room to need. */
#define _GNU_SOURCE 1 /* secure_getenv */

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "posix.h"

static_assert(sizeof(pthread_mutex_t) <= sizeof(fallow__os_lock), "a mutex fits its room");
static_assert(_Alignof(pthread_mutex_t) <= _Alignof(fallow__os_lock), "and so does its alignment");
static_assert(sizeof(pthread_once_t) <= sizeof(fallow__os_once), "a once fits its room");
static_assert(PTHREAD_ONCE_INIT == 0, "a once that is all zero has not run");

static pthread_mutex_t *mutex_of(fallow__os_lock *lock)
{
    return (pthread_mutex_t *)(void *)lock->room;
}

void fallow__os_lock_init(fallow__os_lock *lock)
{
    if (pthread_mutex_init(mutex_of(lock), NULL) != 0) {
        fallow__os_stop("fallow: a lock cannot be created");
    }
}

void fallow__os_lock_destroy(fallow__os_lock *lock)
{
    /* EBUSY means that a thread is inside an arena that is being destroyed */
    if (pthread_mutex_destroy(mutex_of(lock)) != 0) {
        fallow__os_stop("fallow: a lock is destroyed while it is held");
    }
}

/* A plain mutex has no error that a program could meet here: what is checked costs every allocation. */
void fallow__os_lock_acquire(fallow__os_lock *lock)
{
    pthread_mutex_lock(mutex_of(lock));
}

void fallow__os_lock_release(fallow__os_lock *lock)
{
    pthread_mutex_unlock(mutex_of(lock));
}

void fallow__os_run_once(fallow__os_once *once, void (*initialise)(void))
{
    if (pthread_once((pthread_once_t *)(void *)once->room, initialise) != 0) {
        fallow__os_stop("fallow: pthread_once failed");
    }
}

int fallow__os_environment(const char *name, char *buffer_out, size_t buffer_bytes)
{
    const char *value = secure_getenv(name);
    if (value == NULL) {
        return -1;
    }
    size_t length = strlen(value);
    if (length >= buffer_bytes) {
        return -1;
    }
    memcpy(buffer_out, value, length + 1);
    return (int)length;
}

/* Write all of it, as far as stderr takes it. */
static void write_text(const char *text)
{
    size_t left = strlen(text);
    while (left != 0) {
        ssize_t written = write(STDERR_FILENO, text, left);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return;
        }
        text += written;
        left -= (size_t)written;
    }
}

void fallow__os_stop(const char *message)
{
    write_text(message);
    write_text("\n");
    abort();
}
