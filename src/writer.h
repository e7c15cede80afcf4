/* Text without stdio and without malloc: a small buffer in front of the caller's callback.
 *
 * A writer is begun, written to, and ended; once the callback has refused, nothing more reaches it. What other programs
 * chose (paths, names of mappings and arenas) goes through the functions that escape: no byte of it can end a string,
 * add a line or steer a terminal. Sees: fallow.h. */
#ifndef FALLOW_WRITER_H
#define FALLOW_WRITER_H

#include "fallow.h"

typedef struct fallow__writer {
    fallow_writer write;
    void *context;
    bool is_refused;
    unsigned column; /* bytes since the last newline */
    size_t count;
    char bytes[512];
} fallow__writer;

void fallow__write_begin(fallow__writer *writer, fallow_writer write, void *context);

/* Hand over what is left. false if the callback has refused at any time. */
bool fallow__write_end(fallow__writer *writer);

void fallow__write_text(fallow__writer *writer, const char *text);
void fallow__write_bytes(fallow__writer *writer, const char *bytes, size_t count);
void fallow__write_number(fallow__writer *writer, uint64_t number);
void fallow__write_hex(fallow__writer *writer, uint64_t number); /* with 0x */

/* Blanks up to a column; none if it is passed already. */
void fallow__write_to_column(fallow__writer *writer, unsigned column);

/* A text that ends before a column, as columns of numbers do. */
void fallow__write_before_column(fallow__writer *writer, unsigned column, const char *text);

/* "1.5 GiB": powers of 1024, one decimal, cut off and not rounded, where it is not a whole number. */
typedef struct fallow__words {
    char text[24];
} fallow__words;
fallow__words fallow__size_words(uint64_t size_bytes);
fallow__words fallow__number_words(uint64_t number);

/* "12.3 %": part of a whole, cut off; "0 %" of nothing. */
fallow__words fallow__share_words(uint64_t part, uint64_t whole);

/* Text from elsewhere. */
void fallow__write_foreign(fallow__writer *writer, const char *text); /* control characters and broken UTF-8 as '?' */
void fallow__write_xml(fallow__writer *writer, const char *text);     /* that, and & < > " escaped */
void fallow__write_json(fallow__writer *writer, const char *text);    /* in quotes; NULL is null */
void fallow__write_label(fallow__writer *writer, const char *text);   /* a Prometheus label's value, in quotes */

#endif
