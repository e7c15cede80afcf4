/* The memory below the simulation: one PROT_NONE mapping, and SIGSEGV. */
#define _GNU_SOURCE 1 /* MAP_ANONYMOUS, mincore, syscall, processors */

#include "../sim_host.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
    CLEARED_PAGES_MAX = 1 << 16
};

static void require(bool is_done, const char *what)
{
    if (!is_done) {
        perror(what);
        abort();
    }
}

size_t sim_host_page_bytes(void)
{
    static size_t page_bytes;
    if (page_bytes == 0) {
        page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    }
    return page_bytes;
}

/* The same in every run; below it the kernel maps little. */
static void *wished_place(void)
{
    return sizeof(void *) < 8 ? NULL : (void *)(uintptr_t)(UINT64_C(1) << 38);
}

/* Nearly all that 47 bits address, in a program that lies low (-no-pie); else what lies below the program has room for
 * an arena of 64 TiB. */
uint64_t sim_host_space_bytes(void)
{
    if (sizeof(void *) < 8) {
        return UINT64_C(768) << 20;
    }
    size_t most = (size_t)(UINT64_C(126) << 40);
    void *tried = mmap(wished_place(), most, PROT_NONE, FLAGS, -1, 0);
    if (tried == MAP_FAILED) {
        return UINT64_C(66) << 40;
    }
    munmap(tried, most);
    return most;
}

void sim_host_settle(void *base, size_t size_bytes)
{
    require(madvise(base, size_bytes, MADV_DONTNEED) == 0, "sim_host: madvise");
}

/* Pieces of one mapping merge again only if the first write to it came before it was cut.
 * Source: Linux mm/vma.c, is_mergeable_anon_vma */
static void make_one(char *base)
{
    require(mprotect(base, sim_host_page_bytes(), PROT_READ | PROT_WRITE) == 0, "sim_host: mprotect");
    *(volatile char *)base = 0;
    require(mprotect(base, sim_host_page_bytes(), PROT_NONE) == 0, "sim_host: mprotect");
    sim_host_settle(base, sim_host_page_bytes());
}

void *sim_host_reserve(size_t size_bytes, size_t align_bytes)
{
    if (size_bytes > SIZE_MAX - align_bytes) {
        return NULL;
    }
    char *mapped = mmap(wished_place(), size_bytes + align_bytes, PROT_NONE, FLAGS, -1, 0);
    if (mapped == MAP_FAILED) {
        return NULL;
    }
    size_t head = (size_t)(0 - (uintptr_t)mapped) & (align_bytes - 1);
    size_t tail = align_bytes - head;
    require(head == 0 || munmap(mapped, head) == 0, "sim_host: munmap");
    require(tail == 0 || munmap(mapped + head + size_bytes, tail) == 0, "sim_host: munmap");
    (void)madvise(mapped + head, size_bytes, MADV_DONTDUMP);
    make_one(mapped + head);
    return mapped + head;
}

/* Some sanitizers have their own mappings there. */
void *sim_host_reserve_low(size_t size_bytes)
{
    enum {
        FIXED_NOREPLACE = 0x100000
    };
    for (uintptr_t first = (uintptr_t)1 << 28; first < (uintptr_t)7 << 29; first += (uintptr_t)1 << 28) {
        void *base = mmap((void *)first, size_bytes, PROT_NONE, FLAGS | FIXED_NOREPLACE, -1, 0);
        if (base == (void *)first) {
            return base;
        }
        if (base != MAP_FAILED) {
            munmap(base, size_bytes);
        }
    }
    return NULL;
}

void sim_host_release(void *base, size_t size_bytes)
{
    require(munmap(base, size_bytes) == 0, "sim_host: munmap");
}

/* What is kept is not faulted in again, which is where the time of a simulation would go. */
static bool is_memory_kept;

bool sim_host_keep(bool is_wanted)
{
    is_memory_kept = is_wanted;
    return is_wanted;
}

/* Large pages would be far more memory than is used. */
bool sim_host_open(void *base, size_t size_bytes)
{
    (void)madvise(base, size_bytes, MADV_NOHUGEPAGE);
    return mprotect(base, size_bytes, PROT_READ | PROT_WRITE) == 0;
}

void sim_host_drop(void *base, size_t size_bytes)
{
    require(mmap(base, size_bytes, PROT_NONE, FLAGS | MAP_FIXED, -1, 0) != MAP_FAILED, "sim_host: mmap");
    (void)madvise(base, size_bytes, MADV_DONTDUMP); /* or it would not merge with its neighbours */
}

void sim_host_set_access(void *base, size_t size_bytes, sim_host_access access)
{
    static const int bits[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};
    require(mprotect(base, size_bytes, bits[access]) == 0, "sim_host: mprotect");
}

/* Clear what is in memory. A page of the host that is not there costs more to bring in than it is worth. */
static void clear(char *base, size_t size_bytes)
{
    static unsigned char vector[CLEARED_PAGES_MAX]; /* the simulation has a lock */
    const size_t host_bytes = sim_host_page_bytes();
    require(mincore(base, size_bytes, vector) == 0, "sim_host: mincore");
    for (size_t i = 0; i < size_bytes / host_bytes; i++) {
        if ((vector[i] & 1) != 0) {
            memset(base + i * host_bytes, 0, host_bytes);
        }
    }
}

void sim_host_zero(void *base, size_t size_bytes, sim_host_access access)
{
    if (!is_memory_kept || size_bytes / sim_host_page_bytes() > CLEARED_PAGES_MAX) {
        require(madvise(base, size_bytes, MADV_DONTNEED) == 0, "sim_host: madvise");
        return;
    }
    if (access != SIM_HOST_WRITE) {
        sim_host_set_access(base, size_bytes, SIM_HOST_WRITE);
    }
    clear(base, size_bytes);
    if (access != SIM_HOST_WRITE) {
        sim_host_set_access(base, size_bytes, access);
    }
}

size_t sim_host_resident(void *base, size_t size_bytes, size_t page_bytes)
{
    unsigned char vector[4096];
    const size_t host_bytes = sim_host_page_bytes();
    size_t page_count = 0;
    size_t counted = SIZE_MAX; /* the page that was counted last */
    for (size_t offset = 0; offset < size_bytes; offset += sizeof vector * host_bytes) {
        size_t left_bytes = size_bytes - offset;
        size_t now_bytes = left_bytes < sizeof vector * host_bytes ? left_bytes : sizeof vector * host_bytes;
        require(mincore((char *)base + offset, now_bytes, vector) == 0, "sim_host: mincore");
        for (size_t i = 0; i < now_bytes / host_bytes; i++) {
            size_t page = (offset + i * host_bytes) / page_bytes;
            if ((vector[i] & 1) != 0 && page != counted) {
                counted = page;
                page_count++;
            }
        }
    }
    return page_count * page_bytes;
}

/* --- faults ------------------------------------------------------------------------------------------------ */

/* What the thread sanitizer asks for its options. The handler may allocate: what it interrupts is a write to simulated
 * memory, never malloc. */
const char *__tsan_default_options(void);

const char *__tsan_default_options(void)
{
    return "report_signal_unsafe=0";
}

static _Atomic(bool (*)(void *address)) ask;
static struct sigaction before;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    bool (*is_write_fine)(void *) = atomic_load(&ask);
    if (!is_write_fine(info->si_addr)) {
        sigaction(SIGSEGV, &before, NULL); /* the instruction faults again, and is no longer ours */
    }
}

void sim_host_watch(bool (*is_write_fine)(void *address))
{
    struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sigaction found;
    atomic_store(&ask, is_write_fine);
    sigemptyset(&ours.sa_mask);
    require(sigaction(SIGSEGV, &ours, &found) == 0, "sim_host: sigaction");
    if ((found.sa_flags & SA_SIGINFO) == 0 || found.sa_sigaction != on_fault) {
        before = found;
    }
}

void sim_host_yield(bool is_rest)
{
    if (is_rest) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    } else {
        sched_yield();
    }
}

int sim_host_environment(const char *name, char *buffer_out, size_t buffer_bytes)
{
    const char *value = getenv(name);
    if (value == NULL || strlen(value) >= buffer_bytes) {
        return -1;
    }
    memcpy(buffer_out, value, strlen(value) + 1);
    return (int)strlen(value);
}

/* --- threads ----------------------------------------------------------------------------------------------- */

struct sim_host_thread {
    pthread_t id;
    void (*run)(void *context);
    void *context;
};

static void *run_thread(void *argument)
{
    const sim_host_thread *thread = argument;
    thread->run(thread->context);
    return NULL;
}

sim_host_thread *sim_host_thread_start(void (*run)(void *context), void *context)
{
    sim_host_thread *thread = malloc(sizeof *thread);
    if (thread != NULL) {
        *thread = (sim_host_thread){.run = run, .context = context};
        if (pthread_create(&thread->id, NULL, run_thread, thread) != 0) {
            free(thread);
            return NULL;
        }
    }
    return thread;
}

void sim_host_thread_join(sim_host_thread *thread)
{
    require(pthread_join(thread->id, NULL) == 0, "sim_host: pthread_join");
    free(thread);
}

void sim_host_gather(bool is_one)
{
    static cpu_set_t usual;
    cpu_set_t one;
    int here = sched_getcpu();
    if (is_one && here >= 0 && here < CPU_SETSIZE && sched_getaffinity(0, sizeof usual, &usual) == 0) {
        CPU_ZERO(&one);
        CPU_SET(here, &one);
        (void)sched_setaffinity(0, sizeof one, &one);
    } else if (!is_one && CPU_COUNT(&usual) > 0) {
        (void)sched_setaffinity(0, sizeof usual, &usual);
    }
}

struct sim_host_gate {
    sem_t opened;
};

sim_host_gate *sim_host_gate_create(void)
{
    sim_host_gate *gate = malloc(sizeof *gate);
    require(gate != NULL && sem_init(&gate->opened, 0, 0) == 0, "sim_host: sem_init");
    return gate;
}

void sim_host_gate_destroy(sim_host_gate *gate)
{
    sem_destroy(&gate->opened);
    free(gate);
}

void sim_host_gate_open(sim_host_gate *gate)
{
    sem_post(&gate->opened);
}

void sim_host_gate_wait(sim_host_gate *gate)
{
    while (sem_wait(&gate->opened) != 0) {
        require(errno == EINTR, "sim_host: sem_wait");
    }
}

static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static _Atomic(void (*)(void)) at_exit;

static void thread_ends(void *value)
{
    (void)value;
    atomic_load (&at_exit)();
}

static void make_exit_key(void)
{
    require(pthread_key_create(&exit_key, thread_ends) == 0, "sim_host: pthread_key_create");
}

bool sim_host_at_thread_exit(void (*leave)(void))
{
    pthread_once(&exit_once, make_exit_key);
    atomic_store(&at_exit, leave);
    return pthread_setspecific(exit_key, &exit_key) == 0;
}

/* Linux 4.14; the numbers are those of linux/membarrier.h. */
bool sim_host_barrier(void)
{
    enum {
        PRIVATE_EXPEDITED = 1 << 3,
        REGISTER_PRIVATE_EXPEDITED = 1 << 4
    };
    return syscall(__NR_membarrier, REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
           syscall(__NR_membarrier, PRIVATE_EXPEDITED, 0, 0) == 0;
}
