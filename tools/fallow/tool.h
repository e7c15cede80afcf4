/* The `fallow` command: what its files share. Every subcommand is one file and uses only the public header; but for
 * explain.c and top.c, which look at other processes with what the library has for its own (src/explain.h). */
#ifndef FALLOW_TOOLS_TOOL_H
#define FALLOW_TOOLS_TOOL_H

#include <fallow.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Has the compiler compare a printf-like function's arguments with its format, in the dialect of the printf in use. */
#if defined(__MINGW_PRINTF_FORMAT)
#define TOOL_PRINTS(format_index, first_index) __attribute__((format(__MINGW_PRINTF_FORMAT, format_index, first_index)))
#elif defined(__GNUC__)
#define TOOL_PRINTS(format_index, first_index) __attribute__((format(printf, format_index, first_index)))
#else
#define TOOL_PRINTS(format_index, first_index)
#endif

enum {
    TOOL_OK = 0,
    TOOL_FAILED = 1,   /* it was refused, or something is wrong with the input */
    TOOL_BAD_USAGE = 2 /* the command line makes no sense */
};

/* The subcommands; arguments[0] is the subcommand's name. */
int demo_main(int argument_count, char **arguments);
int explain_main(int argument_count, char **arguments);
int info_main(int argument_count, char **arguments);
int replay_main(int argument_count, char **arguments);
int top_main(int argument_count, char **arguments);

/* ---- text.c ---- */

/* Room for a size in words. */
typedef struct size_text {
    char text[24];
} size_text;

/* "0", "512 B", "8 KiB", "1.5 GiB": powers of 1024, one decimal where it is not a whole number; the sign of a
 * difference. */
size_text text_size(uint64_t size_bytes);
size_text text_difference(uint64_t before_bytes, uint64_t after_bytes);

/* "none" for UINT64_MAX, else as text_size. */
size_text text_limit(uint64_t limit_bytes);

/* "DONTNEED", "FREE", "DECOMMIT" or "DEFAULT". */
const char *text_purge(fallow_purge purge);

/* "4096", "8K", "64G" (powers of 1024, K M G T, small letters too); false when it is no size or does not fit. */
bool parse_size(const char *text, size_t *size_bytes_out);

/* A whole number in digits; false when it is none or does not fit. */
bool parse_number(const char *text, uint64_t *number_out);

/* "dontneed", "free", "decommit"; false when it is none. */
bool parse_purge(const char *text, fallow_purge *purge_out);

/* A text as lines of at most 96 columns, each after `indent` spaces. */
void print_wrapped(FILE *stream, unsigned indent, const char *text);

/* ---- explain.c ---- */

/* A fallow_writer to a FILE. */
bool write_to_stream(void *stream, const char *text, size_t bytes);

/* Why nothing can be told of a process, on stderr; returns TOOL_FAILED. */
int fail_to_see(uint64_t process_id, fallow_status status);

/* ---- main.c ---- */

/* What was refused, why, where, and by which limit: a few lines on `stream`. `status` is what the failed call, the
 * latest of this thread to fail, returned. */
void tell_failure(FILE *stream, const char *what, fallow_status status);

/* The same on stderr, as the tool's last words; returns TOOL_FAILED. */
int fail(const char *what, fallow_status status);

/* One line on stderr, about `word` (optional), and where to find help; returns TOOL_BAD_USAGE. */
int bad_usage(const char *complaint, const char *word);

#endif
