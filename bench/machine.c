/* The machine in words: what a reader needs to judge the figures. */
#define _GNU_SOURCE
#include "bench.h"

#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The first line of a file, or "unknown". */
static void read_line(const char *path, char *text, size_t room_bytes)
{
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(text, (int)room_bytes, file) == NULL) {
        snprintf(text, room_bytes, "unknown");
    }
    text[strcspn(text, "\n")] = '\0';
    if (file != NULL) {
        fclose(file);
    }
}

/* What stands behind `name` and a colon in a file; "unknown" when nothing does. */
static void read_field(const char *path, const char *name, char *text, size_t room_bytes)
{
    char line[512];
    FILE *file = fopen(path, "r");
    snprintf(text, room_bytes, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, name, strlen(name)) == 0 && colon != NULL) {
            colon[strcspn(colon, "\n")] = '\0';
            snprintf(text, room_bytes, "%s", colon + 1 + strspn(colon + 1, " \t"));
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* The word in brackets: "always [madvise] never". */
static void take_chosen(char *text)
{
    char *open = strchr(text, '[');
    char *close = strchr(text, ']');
    if (open != NULL && close != NULL && open < close) {
        *close = '\0';
        memmove(text, open + 1, (size_t)(close - open));
    }
}

void bench_describe_machine(void (*tell)(void *context, const char *name, const char *value), void *context)
{
    char text[256];
    struct utsname system;
    read_field("/proc/cpuinfo", "model name", text, sizeof text);
    tell(context, "processor", text);
    snprintf(text, sizeof text, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    tell(context, "cores", text);
    read_field("/proc/meminfo", "MemTotal", text, sizeof text);
    double kib = strtod(text, NULL);
    snprintf(text, sizeof text, "%.1f GiB", kib / (1 << 20));
    tell(context, "memory", text);
    if (uname(&system) == 0) {
        snprintf(text, sizeof text, "%s %s %s", system.sysname, system.release, system.machine);
        tell(context, "kernel", text);
    }
    snprintf(text, sizeof text, "glibc %s", gnu_get_libc_version());
    tell(context, "C library", text);
#ifdef __clang__
    tell(context, "compiler", __VERSION__);
#else
    tell(context, "compiler", "gcc " __VERSION__);
#endif
    read_line("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
    take_chosen(text);
    tell(context, "huge pages", text);
    read_line("/proc/sys/vm/overcommit_memory", text, sizeof text);
    tell(context, "overcommit", text);
    read_line("/proc/loadavg", text, sizeof text);
    tell(context, "load", text);
}
