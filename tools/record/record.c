/* The recorder: writes which requests of a page or more a real program makes, for `fallow replay` to run again.
 *
 *     FALLOW_TRACE_FILE=cc1.%p.trace LD_PRELOAD=.../libfallow-record.so gcc -O2 -c big.c
 *
 * It stands between a program and its C library (LD_PRELOAD, Linux) and watches malloc and its family, and the
 * anonymous memory that the program maps itself. Each request of RECORD_MIN_BYTES or more becomes a line `a ID BYTES`,
 * or `a ID BYTES ALIGN` where the alignment is more than a page, and its end a line `f ID`. README.md beside this file
 * tells the user's side.
 *
 * What holds:
 *   - The blocks array knows every live block that has an `a` line and no `f` line, by address. So a trace never frees
 *     an unknown id, never uses an id twice, and every prefix of it is a trace too.
 *   - A block leaves the array before the program's memory is given back, and enters it after the memory was obtained.
 *     Between the two nobody else can be given that address, so the array never holds an address twice.
 *   - One lock guards all state. Nothing that is called with it held allocates: no stdio, no dlsym.
 *   - `depth` counts, per thread, how far inside the recorder or the real functions a thread is. Requests at depth 1
 *     and more are the C library's own (or those of another allocator under us) and are not recorded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RECORD_MIN_BYTES 4096u /* the smallest page of any system that fallow runs on */
#define OUTPUT_BYTES 65536u    /* one write for some 5,000 lines */
#define BOOTSTRAP_BYTES 16384u /* what dlsym allocates before the real calloc is known: a few hundred bytes */
#define BLOCKS_FIRST_SLOTS 4096u
#define PATH_BYTES 4096u
#define EXPORT __attribute__((visibility("default")))

/* ---- The real functions ---- */

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*valloc)(size_t);
    void *(*pvalloc)(size_t);
    void *(*mmap)(void *, size_t, int, int, int, off_t);
    int (*munmap)(void *, size_t);
    void *(*mremap)(void *, size_t, size_t, int, ...);
    void (*exit_now)(int);
    int (*execve)(const char *, char *const[], char *const[]);
    int (*execv)(const char *, char *const[]);
    int (*execvp)(const char *, char *const[]);
} real;

static bool is_resolved;
static bool is_resolving;
static _Alignas(16) unsigned char bootstrap[BOOTSTRAP_BYTES];
static size_t bootstrap_used;

static __thread unsigned depth __attribute__((tls_model("initial-exec")));

/* ISO C has no conversion from an object pointer to a function pointer, dlsym returns the one for the other: copy the
 * bits. */
static void find_real(void *function_out, const char *name)
{
    void *address = dlsym(RTLD_NEXT, name);
    memcpy(function_out, &address, sizeof address);
}

static void resolve(void)
{
    if (is_resolved || is_resolving) {
        return;
    }
    is_resolving = true; /* dlsym may call calloc, which comes to us: see bootstrap_alloc */
    find_real(&real.malloc, "malloc");
    find_real(&real.calloc, "calloc");
    find_real(&real.realloc, "realloc");
    find_real(&real.free, "free");
    find_real(&real.posix_memalign, "posix_memalign");
    find_real(&real.aligned_alloc, "aligned_alloc");
    find_real(&real.memalign, "memalign");
    find_real(&real.valloc, "valloc");
    find_real(&real.pvalloc, "pvalloc");
    find_real(&real.mmap, "mmap");
    find_real(&real.munmap, "munmap");
    find_real(&real.mremap, "mremap");
    find_real(&real.exit_now, "_exit");
    find_real(&real.execve, "execve");
    find_real(&real.execv, "execv");
    find_real(&real.execvp, "execvp");
    is_resolving = false;
    is_resolved = true;
}

/* Memory for the dynamic linker while it looks up the real functions; zero, never given back. */
static void *bootstrap_alloc(size_t size_bytes)
{
    if (size_bytes > BOOTSTRAP_BYTES - 16 || bootstrap_used > BOOTSTRAP_BYTES - 16 - size_bytes) {
        errno = ENOMEM;
        return NULL;
    }
    void *base = bootstrap + bootstrap_used;
    bootstrap_used += (size_bytes + 15) & ~(size_t)15;
    return base;
}

static bool is_bootstrap(const void *base)
{
    return (uintptr_t)base - (uintptr_t)bootstrap < BOOTSTRAP_BYTES;
}

/* ---- The lock ---- */

static atomic_flag lock = ATOMIC_FLAG_INIT;

static void lock_take(void)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) {
        sched_yield();
    }
}

static void lock_drop(void)
{
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

/* ---- The output ---- */

/* The file is opened for each write and not kept open: a program that closes all descriptors and opens its own would
 * find the trace in them. */
static struct {
    char path[PATH_BYTES]; /* FALLOW_TRACE_FILE as it was at the start, made absolute; "" = record nothing */
    char file[PATH_BYTES]; /* the file this process writes; "" = none yet */
    bool is_child;         /* forked since the last write: needs a file of its own, and begins with what it inherits */
    bool is_unbuffered;    /* the program is ending: whatever still comes is written at once */
    size_t used;
    char bytes[OUTPUT_BYTES];
} output;

static void output_flush(void)
{
    int saved_errno = errno;
    size_t done = 0;
    int file = output.used > 0 && output.file[0] != '\0' ? open(output.file, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    while (file >= 0 && done < output.used) {
        ssize_t written = write(file, output.bytes + done, output.used - done);
        if (written > 0) {
            done += (size_t)written;
        } else if (written == 0 || errno != EINTR) {
            break;
        }
    }
    if (done < output.used) {
        output.path[0] = '\0'; /* a full disk: a trace with a hole is no trace, so it ends here */
    }
    if (file >= 0) {
        close(file);
    }
    output.used = 0;
    errno = saved_errno;
}

static void put_text(const char *text, size_t length)
{
    while (length > 0) {
        if (output.used == OUTPUT_BYTES) {
            output_flush();
        }
        size_t room = OUTPUT_BYTES - output.used;
        size_t now = length < room ? length : room;
        memcpy(output.bytes + output.used, text, now);
        output.used += now;
        text += now;
        length -= now;
    }
}

/* Digits of value at the end of a buffer of 20 bytes (2^64 has 20); returns where they start. */
static char *decimal(uint64_t value, char digits[20])
{
    char *first = digits + 20;
    do {
        *--first = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return first;
}

static void put_number(uint64_t value)
{
    char digits[20];
    char *first = decimal(value, digits);
    put_text(first, (size_t)(digits + 20 - first));
}

static void end_line(void)
{
    put_text("\n", 1);
    if (output.is_unbuffered || output.used > OUTPUT_BYTES - 128) { /* whole lines: a line has at most 67 bytes */
        output_flush();
    }
}

/* ---- The blocks ---- */

/* A live block that was recorded. A mapping can be given back in pieces, heap memory cannot. */
typedef struct block {
    uintptr_t base; /* 0 = free slot */
    size_t size_bytes;
    uint64_t id;
    size_t align_bytes; /* 0 = none worth telling */
} block;

/* Open addressing with linear probing, at most half full, deletion by moving the followers up. */
static struct {
    block *slots;
    size_t slot_count; /* a power of two, or 0 */
    size_t used;
} heap;

/* Mappings sorted by address. They are few, and munmap needs to know which of them a range touches. */
static struct {
    block *items;
    size_t room;
    size_t used;
} maps;

static uint64_t next_id = 1;

static void *pages_take(size_t size_bytes)
{
    void *base = real.mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return base == MAP_FAILED ? NULL : base;
}

static size_t heap_slot(uintptr_t base)
{
    return (size_t)(((uint64_t)base >> 4) * 0x9e3779b97f4a7c15u >> 20) & (heap.slot_count - 1);
}

static void heap_place(block item)
{
    size_t slot = heap_slot(item.base);
    while (heap.slots[slot].base != 0) {
        slot = (slot + 1) & (heap.slot_count - 1);
    }
    heap.slots[slot] = item;
}

static bool heap_make_room(void)
{
    if ((heap.used + 1) * 2 <= heap.slot_count) {
        return true;
    }
    size_t old_count = heap.slot_count;
    block *old_slots = heap.slots;
    size_t new_count = old_count == 0 ? BLOCKS_FIRST_SLOTS : old_count * 2;
    block *new_slots = pages_take(new_count * sizeof *new_slots);
    if (new_slots == NULL) {
        return false;
    }
    heap.slots = new_slots;
    heap.slot_count = new_count;
    for (size_t i = 0; i < old_count; i++) {
        if (old_slots[i].base != 0) {
            heap_place(old_slots[i]);
        }
    }
    if (old_slots != NULL) {
        real.munmap(old_slots, old_count * sizeof *old_slots);
    }
    return true;
}

/* Take the block at base out of the table. */
static bool heap_take(uintptr_t base, block *block_out)
{
    if (heap.used == 0 || base == 0) {
        return false;
    }
    size_t mask = heap.slot_count - 1;
    size_t hole = heap_slot(base);
    while (heap.slots[hole].base != base) {
        if (heap.slots[hole].base == 0) {
            return false;
        }
        hole = (hole + 1) & mask;
    }
    *block_out = heap.slots[hole];
    heap.used--;
    for (size_t slot = (hole + 1) & mask; heap.slots[slot].base != 0; slot = (slot + 1) & mask) {
        /* A follower may move into the hole when the hole is not before the place it hashes to. */
        size_t home = heap_slot(heap.slots[slot].base);
        if (((slot - home) & mask) >= ((slot - hole) & mask)) {
            heap.slots[hole] = heap.slots[slot];
            hole = slot;
        }
    }
    heap.slots[hole].base = 0;
    return true;
}

static bool maps_make_room(void)
{
    if (maps.used < maps.room) {
        return true;
    }
    size_t new_room = maps.room == 0 ? 1024 : maps.room * 2;
    block *new_items = pages_take(new_room * sizeof *new_items);
    if (new_items == NULL) {
        return false;
    }
    if (maps.items != NULL) {
        memcpy(new_items, maps.items, maps.used * sizeof *new_items);
        real.munmap(maps.items, maps.room * sizeof *maps.items);
    }
    maps.items = new_items;
    maps.room = new_room;
    return true;
}

/* The first mapping that ends above an address. */
static size_t maps_find(uintptr_t address)
{
    size_t low = 0;
    size_t high = maps.used;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (maps.items[middle].base + maps.items[middle].size_bytes > address) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* ---- The lines ---- */

static void put_alloc(const block *item)
{
    put_text("a ", 2);
    put_number(item->id);
    put_text(" ", 1);
    put_number(item->size_bytes);
    if (item->align_bytes > RECORD_MIN_BYTES) {
        put_text(" ", 1);
        put_number(item->align_bytes);
    }
    end_line();
}

static void put_free(const block *item)
{
    put_text("f ", 2);
    put_number(item->id);
    end_line();
}

/* The path with %p replaced by the process id, and a suffix, in `path`; false when it does not fit. */
static bool make_path(char path[PATH_BYTES], bool has_suffix, unsigned suffix)
{
    char digits[20];
    char *pid = decimal((uint64_t)getpid(), digits);
    size_t pid_length = (size_t)(digits + 20 - pid);
    size_t used = 0;
    for (const char *from = output.path; *from != '\0'; from++) {
        if (used + 64 > PATH_BYTES) {
            return false;
        }
        if (from[0] == '%' && from[1] == 'p') {
            memcpy(path + used, pid, pid_length);
            used += pid_length;
            from++;
        } else {
            path[used++] = *from;
        }
    }
    if (used + 64 > PATH_BYTES) {
        return false;
    }
    if (has_suffix) {
        path[used++] = '.';
        memcpy(path + used, pid, pid_length);
        used += pid_length;
    }
    if (has_suffix && suffix > 0) {
        char number[20];
        char *first = decimal(suffix, number);
        path[used++] = '.';
        memcpy(path + used, first, (size_t)(number + 20 - first));
        used += (size_t)(number + 20 - first);
    }
    path[used] = '\0';
    return true;
}

/* Open a file that no other process has: the path as given, else with the process id added, else with a number too
 * (a program that this same process ran before). An existing file is never written over. */
static void output_create(void)
{
    int saved_errno = errno;
    int file = -1;
    errno = EEXIST;
    for (unsigned attempt = 0; file < 0 && errno == EEXIST && attempt < 1000; attempt++) {
        if (!make_path(output.file, attempt > 0, attempt > 0 ? attempt - 1 : 0)) {
            break;
        }
        file = open(output.file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    if (file >= 0) {
        close(file);
    } else {
        output.file[0] = '\0';
        static const char message[] = "fallow-record: cannot create the file that FALLOW_TRACE_FILE names\n";
        ssize_t ignored = write(STDERR_FILENO, message, sizeof message - 1);
        (void)ignored;
        output.path[0] = '\0';
    }
    errno = saved_errno;
}

/* `# command line` as comment; control characters in it become spaces, so that it stays one line. */
static void put_header(void)
{
    char command[1024];
    ssize_t length = 0;
    int saved_errno = errno;
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        length = read(file, command, sizeof command);
        close(file);
    }
    errno = saved_errno;
    for (ssize_t i = 0; i < length; i++) {
        if ((unsigned char)command[i] < ' ') {
            command[i] = ' ';
        }
    }
    while (length > 0 && command[length - 1] == ' ') {
        length--;
    }
    static const char title[] = "# fallow trace: requests of 4096 bytes or more\n# ";
    put_text(title, sizeof title - 1);
    put_text(command, length > 0 ? (size_t)length : 0);
    end_line();
}

/* A forked child has its parent's memory: its trace begins with all of it. */
static void child_begin(void)
{
    static const char note[] = "# forked: the blocks inherited from the parent come first\n";
    output.is_child = false;
    output_create();
    put_header();
    put_text(note, sizeof note - 1);
    for (size_t i = 0; i < heap.slot_count; i++) {
        if (heap.slots[i].base != 0) {
            put_alloc(&heap.slots[i]);
        }
    }
    for (size_t i = 0; i < maps.used; i++) {
        put_alloc(&maps.items[i]);
    }
}

/* With the lock held: may this be recorded? */
static bool is_recording(void)
{
    if (output.path[0] != '\0' && output.is_child) {
        child_begin();
    }
    return output.path[0] != '\0';
}

static void heap_add_locked(void *base, size_t size_bytes, size_t align_bytes)
{
    if (is_recording() && heap_make_room()) {
        block item = {(uintptr_t)base, size_bytes, next_id++, align_bytes};
        heap_place(item);
        heap.used++;
        put_alloc(&item);
    }
}

static void heap_add(void *base, size_t size_bytes, size_t align_bytes)
{
    if (base == NULL || size_bytes < RECORD_MIN_BYTES || depth != 0) {
        return;
    }
    lock_take();
    heap_add_locked(base, size_bytes, align_bytes);
    lock_drop();
}

static void heap_remove(void *base)
{
    block item;
    lock_take();
    if (is_recording() && heap_take((uintptr_t)base, &item)) {
        put_free(&item);
    }
    lock_drop();
}

static void maps_add_locked(uintptr_t base, size_t size_bytes)
{
    if (is_recording() && maps_make_room()) {
        size_t index = maps_find(base);
        block item = {base, size_bytes, next_id++, 0};
        memmove(&maps.items[index + 1], &maps.items[index], (maps.used - index) * sizeof *maps.items);
        maps.items[index] = item;
        maps.used++;
        put_alloc(&item);
    }
}

/* Forget a range of addresses. A mapping of which a part stays ends, and its remains are new blocks. */
static void maps_remove_locked(uintptr_t first, size_t size_bytes)
{
    uintptr_t end = first + size_bytes;
    size_t index = maps_find(first);
    while (is_recording() && index < maps.used && maps.items[index].base < end) {
        block item = maps.items[index];
        uintptr_t item_end = item.base + item.size_bytes;
        put_free(&item);
        maps.used--;
        memmove(&maps.items[index], &maps.items[index + 1], (maps.used - index) * sizeof *maps.items);
        if (item.base < first) {
            maps_add_locked(item.base, first - item.base);
        }
        if (item_end > end) {
            maps_add_locked(end, item_end - end);
        }
        index = maps_find(first);
    }
}

static size_t whole_pages(size_t size_bytes)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    return (size_bytes + page_bytes - 1) & ~(page_bytes - 1);
}

/* ---- Begin, fork, end ---- */

static void fork_prepare(void)
{
    lock_take();
}

static void fork_parent(void)
{
    lock_drop();
}

static void fork_child(void)
{
    output.file[0] = '\0'; /* it is the parent's, and what is in the buffer the parent's to write */
    output.used = 0;
    output.is_child = true;
    output.is_unbuffered = false;
    lock_drop();
}

/* Absolute, because the program may change its directory before it forks or the buffer is full. */
static bool set_path(const char *path)
{
    size_t used = 0;
    if (path[0] != '/') {
        if (getcwd(output.path, PATH_BYTES - 1) == NULL) {
            output.path[0] = '\0';
            return false;
        }
        used = strlen(output.path);
        output.path[used++] = '/';
    }
    if (strlen(path) >= PATH_BYTES - used) {
        output.path[0] = '\0';
        return false;
    }
    memcpy(output.path + used, path, strlen(path) + 1);
    return true;
}

/* The program may have asked for memory before (other libraries' constructors): those blocks are unknown, and so is
 * their end. */
__attribute__((constructor)) static void record_begin(void)
{
    resolve();
    depth++;
    const char *path = secure_getenv("FALLOW_TRACE_FILE"); /* an administrator may preload us into a set-id program */
    if (path != NULL && path[0] != '\0' && set_path(path)) {
        pthread_atfork(fork_prepare, fork_parent, fork_child);
        lock_take();
        output_create();
        put_header();
        lock_drop();
    }
    depth--;
}

static void flush_now(void)
{
    lock_take();
    output_flush();
    lock_drop();
}

__attribute__((destructor)) static void record_end(void)
{
    lock_take();
    output_flush();
    output.is_unbuffered = true;
    lock_drop();
}

/* ---- What the program calls instead: the C library's functions ---- */

EXPORT void *malloc(size_t size_bytes)
{
    resolve();
    if (!is_resolved) {
        return bootstrap_alloc(size_bytes);
    }
    depth++;
    void *base = real.malloc(size_bytes);
    depth--;
    heap_add(base, size_bytes, 0);
    return base;
}

EXPORT void *calloc(size_t count, size_t item_bytes)
{
    size_t size_bytes;
    resolve();
    if (__builtin_mul_overflow(count, item_bytes, &size_bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    if (!is_resolved) {
        return bootstrap_alloc(size_bytes);
    }
    depth++;
    void *base = real.calloc(count, item_bytes);
    depth--;
    heap_add(base, size_bytes, 0);
    return base;
}

EXPORT void free(void *base)
{
    if (base == NULL || is_bootstrap(base)) {
        return;
    }
    resolve();
    if (depth == 0) {
        heap_remove(base);
    }
    depth++;
    real.free(base);
    depth--;
}

/* Bootstrap memory has no recorded size: copy what can lie behind it. */
static void *bootstrap_move(void *base, size_t size_bytes)
{
    size_t behind = (size_t)(bootstrap + BOOTSTRAP_BYTES - (unsigned char *)base);
    void *moved = malloc(size_bytes);
    if (moved != NULL) {
        memcpy(moved, base, size_bytes < behind ? size_bytes : behind);
    }
    return moved;
}

EXPORT void *realloc(void *base, size_t size_bytes)
{
    block item = {0};
    bool is_known = false;
    if (base == NULL) {
        return malloc(size_bytes);
    }
    if (is_bootstrap(base)) {
        return bootstrap_move(base, size_bytes);
    }
    resolve();
    if (depth == 0) {
        lock_take();
        is_known = is_recording() && heap_take((uintptr_t)base, &item);
        lock_drop();
    }
    depth++;
    void *moved = real.realloc(base, size_bytes);
    depth--;
    lock_take();
    if (is_known && moved == NULL && size_bytes > 0) {
        heap_place(item); /* refused: it lives on. There is room, it has just left */
        heap.used++;
    } else if (is_known && is_recording()) {
        put_free(&item);
    }
    if (moved != NULL && size_bytes >= RECORD_MIN_BYTES && depth == 0) {
        heap_add_locked(moved, size_bytes, 0);
    }
    lock_drop();
    return moved;
}

EXPORT void *reallocarray(void *base, size_t count, size_t item_bytes)
{
    size_t size_bytes;
    if (__builtin_mul_overflow(count, item_bytes, &size_bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(base, size_bytes);
}

EXPORT int posix_memalign(void **base_out, size_t align_bytes, size_t size_bytes)
{
    resolve();
    depth++;
    int result = real.posix_memalign(base_out, align_bytes, size_bytes);
    depth--;
    if (result == 0) {
        heap_add(*base_out, size_bytes, align_bytes);
    }
    return result;
}

EXPORT void *aligned_alloc(size_t align_bytes, size_t size_bytes)
{
    resolve();
    depth++;
    void *base = real.aligned_alloc(align_bytes, size_bytes);
    depth--;
    heap_add(base, size_bytes, align_bytes);
    return base;
}

EXPORT void *memalign(size_t align_bytes, size_t size_bytes)
{
    resolve();
    depth++;
    void *base = real.memalign(align_bytes, size_bytes);
    depth--;
    heap_add(base, size_bytes, align_bytes);
    return base;
}

EXPORT void *valloc(size_t size_bytes)
{
    resolve();
    depth++;
    void *base = real.valloc(size_bytes);
    depth--;
    heap_add(base, size_bytes, 0);
    return base;
}

EXPORT void *pvalloc(size_t size_bytes)
{
    resolve();
    depth++;
    void *base = real.pvalloc(size_bytes);
    depth--;
    heap_add(base, size_bytes, 0);
    return base;
}

/* Anonymous private memory that can be used; a PROT_NONE mapping is addresses, not a request of pages. A fixed mapping
 * replaces what lay there. */
EXPORT void *mmap(void *hint, size_t size_bytes, int protection, int flags, int file, off_t offset)
{
    resolve();
    depth++;
    void *base = real.mmap(hint, size_bytes, protection, flags, file, offset);
    depth--;
    if (base != MAP_FAILED && depth == 0) {
        lock_take();
        maps_remove_locked((uintptr_t)base, whole_pages(size_bytes));
        if ((flags & MAP_ANONYMOUS) != 0 && (flags & MAP_PRIVATE) != 0 && protection != PROT_NONE) {
            maps_add_locked((uintptr_t)base, whole_pages(size_bytes));
        }
        lock_drop();
    }
    return base;
}

/* off_t and off64_t are the same on 64-bit systems only; the wider call exists on both. musl has it as a macro. */
#if !defined(mmap64)
EXPORT void *mmap64(void *hint, size_t size_bytes, int protection, int flags, int file, off64_t offset)
{
    if (offset != (off64_t)(off_t)offset) {
        errno = EOVERFLOW;
        return MAP_FAILED;
    }
    return mmap(hint, size_bytes, protection, flags, file, (off_t)offset);
}
#endif

/* The lock is held over the real call: another thread may be given these addresses the moment it returns. */
EXPORT int munmap(void *base, size_t size_bytes)
{
    resolve();
    if (depth != 0) {
        return real.munmap(base, size_bytes);
    }
    lock_take();
    depth++;
    int result = real.munmap(base, size_bytes);
    depth--;
    if (result == 0) {
        maps_remove_locked((uintptr_t)base, whole_pages(size_bytes));
    }
    lock_drop();
    return result;
}

EXPORT void *mremap(void *base, size_t old_bytes, size_t new_bytes, int flags, ...)
{
    void *fixed = NULL;
    if ((flags & MREMAP_FIXED) != 0) {
        va_list arguments;
        va_start(arguments, flags);
        fixed = va_arg(arguments, void *);
        va_end(arguments);
    }
    resolve();
    if (depth != 0) {
        return real.mremap(base, old_bytes, new_bytes, flags, fixed);
    }
    lock_take();
    size_t index = maps_find((uintptr_t)base);
    bool is_known = old_bytes > 0 && index < maps.used && maps.items[index].base <= (uintptr_t)base;
    depth++;
    void *moved = real.mremap(base, old_bytes, new_bytes, flags, fixed);
    depth--;
    if (moved != MAP_FAILED) {
        maps_remove_locked((uintptr_t)base, whole_pages(old_bytes));
        maps_remove_locked((uintptr_t)moved, whole_pages(new_bytes));
        if (is_known) {
            maps_add_locked((uintptr_t)moved, whole_pages(new_bytes));
        }
    }
    lock_drop();
    return moved;
}

/* Ends that run no destructor. */
EXPORT __attribute__((noreturn)) void _exit(int code)
{
    resolve();
    flush_now();
    real.exit_now(code);
    __builtin_unreachable();
}

EXPORT __attribute__((noreturn)) void _Exit(int code)
{
    _exit(code);
}

EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
    resolve();
    flush_now();
    return real.execve(path, arguments, environment);
}

EXPORT int execv(const char *path, char *const arguments[])
{
    resolve();
    flush_now();
    return real.execv(path, arguments);
}

EXPORT int execvp(const char *path, char *const arguments[])
{
    resolve();
    flush_now();
    return real.execvp(path, arguments);
}
