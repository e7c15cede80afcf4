/* A seccomp filter hands every memory call of the process to a SIGSYS handler, which counts, looks at the arguments, and
 * refuses or does it. A filter alone cannot count. What the handler does itself goes through syscall(), and the filter
 * lets calls from there pass, by the instruction's address. */
#define _GNU_SOURCE 1 /* REG_RAX, MAP_ANONYMOUS */

#include "../fault.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "fallow.h"

/* gcc tells by a macro, clang by a feature. */
#if defined(__SANITIZE_THREAD__)
#define HAS_THREAD_SANITIZER true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_THREAD_SANITIZER true
#endif
#endif
#ifndef HAS_THREAD_SANITIZER
#define HAS_THREAD_SANITIZER false
#endif

enum {
    SKIPPED = 77,
    SYSCALL_BYTES = 128 /* of the C library's syscall() */
};

/* --- registers --------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define HAS_REGISTERS 1
static long argument_of(const ucontext_t *context, int index)
{
    static const int registers[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
    return (long)context->uc_mcontext.gregs[registers[index]];
}

static void set_result(ucontext_t *context, long result)
{
    context->uc_mcontext.gregs[REG_RAX] = result;
}
#elif defined(__aarch64__)
#define HAS_REGISTERS 1
static long argument_of(const ucontext_t *context, int index)
{
    return (long)context->uc_mcontext.regs[index];
}

static void set_result(ucontext_t *context, long result)
{
    context->uc_mcontext.regs[0] = (unsigned long)result;
}
#else
#define HAS_REGISTERS 0
static long argument_of(const ucontext_t *context, int index)
{
    (void)context;
    return index;
}

static void set_result(ucontext_t *context, long result)
{
    (void)context;
    (void)result;
}
#endif

/* --- which calls are refused ------------------------------------------------------------------------------- */

#ifdef __NR_mmap2
#define NR_MMAP __NR_mmap2
#else
#define NR_MMAP __NR_mmap
#endif

enum {
    RESERVE = 1 << 0, /* mmap without MAP_FIXED */
    REMAP = 1 << 1,   /* with it */
    UNMAP = 1 << 2,
    COMMIT = 1 << 3,  /* mprotect, to something */
    PROTECT = 1 << 4, /* mprotect, to nothing */
    ADVISE = 1 << 5,
    ALL = (1 << 6) - 1
};

static const struct {
    const char *name;
    unsigned kinds;
    bool is_burst;
    bool is_locked; /* advice is refused with EINVAL, as for locked memory */
} ways[] = {
    {"outright", ALL & ~UNMAP, false, false},
    {"all from there on", ALL & ~UNMAP, true, false},
    {"commits", COMMIT, true, false},
    {"decommits leave the charge", REMAP, true, false},
    {"decommits leave it accessible", REMAP | PROTECT, true, false},
    {"decommits do nothing", REMAP | ADVISE, true, true},
    {"advice", ADVISE, true, true},
    {"releases", UNMAP, true, false},
};

static struct {
    bool is_armed;
    unsigned way;
    unsigned skip;
    unsigned refused;
} plan;

static unsigned kind_of(long number, const ucontext_t *context)
{
    switch (number) {
    case NR_MMAP: return (argument_of(context, 3) & MAP_FIXED) != 0 ? REMAP : RESERVE;
    case __NR_munmap: return UNMAP;
    case __NR_mprotect: return argument_of(context, 2) == PROT_NONE ? PROTECT : COMMIT;
    default: return ADVISE;
    }
}

static bool is_refused(unsigned kind)
{
    if (!plan.is_armed || (ways[plan.way].kinds & kind) == 0) {
        return false;
    }
    if (plan.skip > 0) {
        plan.skip--;
        return false;
    }
    plan.is_armed = ways[plan.way].is_burst;
    plan.refused++;
    return true;
}

static void do_or_refuse(int signal_number, siginfo_t *info, void *argument)
{
    ucontext_t *context = argument;
    int saved = errno;
    (void)signal_number;
    unsigned kind = kind_of(info->si_syscall, context);
    if (is_refused(kind)) {
        set_result(context, kind == ADVISE && ways[plan.way].is_locked ? -EINVAL : -ENOMEM);
        return;
    }
    long result = syscall(info->si_syscall, argument_of(context, 0), argument_of(context, 1), argument_of(context, 2),
                          argument_of(context, 3), argument_of(context, 4), argument_of(context, 5));
    set_result(context, result == -1 ? -errno : result);
    errno = saved;
}

/* --- the filter -------------------------------------------------------------------------------------------- */

static void skip_all(const char *reason)
{
    printf("SKIPPED: %s\n", reason);
    exit(SKIPPED);
}

/* cmocka sets handlers of its own for each test, so this is done anew in each. */
static void set_handler(void)
{
    struct sigaction action = {.sa_sigaction = do_or_refuse, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGSYS, &action, NULL) != 0) {
        abort();
    }
}

static void set_filter(void)
{
    uint64_t own = (uint64_t)(uintptr_t)syscall;
    const unsigned at =
        offsetof(struct seccomp_data, instruction_pointer); /* little endian, where there are registers */
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NR_MMAP, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_munmap, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mprotect, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_madvise, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(own >> 32), 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)own, 0, 1),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)own + SYSCALL_BYTES, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof program[0], program};
    set_handler();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) {
        skip_all("no seccomp filter can be set here");
    }
}

/* --- what the tests see ------------------------------------------------------------------------------------ */

static fallow_process before;

static fallow_process figures(void)
{
    fallow_process process = {0};
    if (fallow_process_info(&process) != FALLOW_OK) {
        skip_all("no /proc");
    }
    return process;
}

unsigned fault_system_count(void)
{
    return 1;
}

void fault_begin(unsigned system)
{
    (void)system;
    set_handler();
    before = figures();
}

/* The program's heap may have grown a little. */
bool fault_end(void)
{
    fallow_process now = figures();
    if (now.virtual_bytes > before.virtual_bytes + (256 << 10) || now.map_count > before.map_count + 1) {
        printf("left behind: %llu bytes, %lld mappings\n",
               (unsigned long long)(now.virtual_bytes - before.virtual_bytes),
               (long long)(now.map_count - before.map_count));
        return false;
    }
    return true;
}

unsigned fault_way_count(void)
{
    return sizeof ways / sizeof ways[0];
}

const char *fault_way_name(unsigned way)
{
    return ways[way].name;
}

void fault_refuse(unsigned way, unsigned skip)
{
    plan.way = way;
    plan.skip = skip;
    plan.refused = 0;
    plan.is_armed = true;
}

unsigned fault_stop(void)
{
    plan.is_armed = false;
    return plan.refused;
}

int fault_main(int (*tests)(void))
{
    fallow_system system;
    if (!HAS_REGISTERS) {
        skip_all("this test does not know the machine's registers");
    }
    if (HAS_THREAD_SANITIZER) {
        skip_all("the thread sanitizer keeps signals back until a convenient moment, and SIGSYS has none");
    }
    fallow_system_info(&system); /* the probes run before the filter */
    if (system.is_emulated) {
        skip_all("an emulator has no seccomp");
    }
    set_filter();
    int code = tests();
    fflush(NULL);
    _exit(code); /* cmocka's handler is in place again, and a sanitizer's last look at the heap would meet the filter */
}
