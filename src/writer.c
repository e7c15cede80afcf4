#include "writer.h"

#include <string.h>

void fallow__write_begin(fallow__writer *writer, fallow_writer write, void *context)
{
    writer->write = write;
    writer->context = context;
    writer->is_refused = false;
    writer->column = 0;
    writer->count = 0;
}

static void flush(fallow__writer *writer)
{
    if (writer->count != 0 && !writer->is_refused) {
        writer->is_refused = !writer->write(writer->context, writer->bytes, writer->count);
    }
    writer->count = 0;
}

bool fallow__write_end(fallow__writer *writer)
{
    flush(writer);
    return !writer->is_refused;
}

static void put(fallow__writer *writer, char byte)
{
    if (writer->count == sizeof writer->bytes) {
        flush(writer);
    }
    writer->bytes[writer->count++] = byte;
    writer->column = byte == '\n' ? 0 : writer->column + 1;
}

void fallow__write_text(fallow__writer *writer, const char *text)
{
    while (*text != '\0') {
        put(writer, *text++);
    }
}

void fallow__write_bytes(fallow__writer *writer, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put(writer, bytes[i]);
    }
}

static size_t append(fallow__words *words, size_t length, const char *text)
{
    while (*text != '\0' && length + 1 < sizeof words->text) {
        words->text[length++] = *text++;
    }
    words->text[length] = '\0';
    return length;
}

static size_t append_number(fallow__words *words, size_t length, uint64_t number)
{
    char digits[21];
    size_t position = sizeof digits;
    digits[--position] = '\0';
    do {
        digits[--position] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    return append(words, length, &digits[position]);
}

fallow__words fallow__number_words(uint64_t number)
{
    fallow__words words;
    (void)append_number(&words, 0, number);
    return words;
}

void fallow__write_number(fallow__writer *writer, uint64_t number)
{
    fallow__write_text(writer, fallow__number_words(number).text);
}

void fallow__write_hex(fallow__writer *writer, uint64_t number)
{
    unsigned shift = 60;
    while (shift > 0 && number >> shift == 0) {
        shift -= 4;
    }
    fallow__write_text(writer, "0x");
    for (unsigned left = shift + 4; left > 0; left -= 4) {
        put(writer, "0123456789abcdef"[(number >> (left - 4)) & 15]);
    }
}

void fallow__write_to_column(fallow__writer *writer, unsigned column)
{
    while (writer->column < column) {
        put(writer, ' ');
    }
}

void fallow__write_before_column(fallow__writer *writer, unsigned column, const char *text)
{
    size_t length = strlen(text);
    fallow__write_to_column(writer, length < column ? column - (unsigned)length : 0);
    fallow__write_text(writer, text);
}

fallow__words fallow__size_words(uint64_t size_bytes)
{
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
    fallow__words words;
    unsigned unit = 0;
    while (unit < 6 && size_bytes >> (10 * (unit + 1)) != 0) {
        unit++;
    }
    size_t length = append_number(&words, 0, size_bytes >> (10 * unit));
    if (unit > 0 && (size_bytes & ((UINT64_C(1) << (10 * unit)) - 1)) != 0) {
        length = append(&words, length, ".");
        length = append_number(&words, length, ((size_bytes >> (10 * (unit - 1))) & 1023) * 10 / 1024);
    }
    if (size_bytes != 0) {
        (void)append(&words, length, units[unit]);
    }
    return words;
}

fallow__words fallow__share_words(uint64_t part, uint64_t whole)
{
    fallow__words words;
    while (part > UINT64_MAX / 1000) { /* both lose the same low bits, which no tenth of a percent shows */
        part /= 2;
        whole /= 2;
    }
    uint64_t thousandths = whole == 0 ? 0 : part * 1000 / whole;
    size_t length = append_number(&words, 0, thousandths / 10);
    if (thousandths % 10 != 0) {
        length = append(&words, length, ".");
        length = append_number(&words, length, thousandths % 10);
    }
    (void)append(&words, length, " %");
    return words;
}

/* --- text from elsewhere ----------------------------------------------------------------------------------- */

/* The length of the character at the start of a text; 0 if it is broken UTF-8, too long a spelling, or a surrogate.
 * Source: The Unicode Standard, table 3-7, well-formed byte sequences */
static unsigned character_bytes(const unsigned char *text)
{
    unsigned char first = text[0];
    if (first < 0x80) {
        return 1;
    }
    unsigned count = first >= 0xc2 && first <= 0xdf ? 2 : first >= 0xe0 && first <= 0xef ? 3 : 4;
    if (first < 0xc2 || first > 0xf4) {
        return 0;
    }
    unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < least || text[1] > most) {
        return 0;
    }
    for (unsigned i = 2; i < count; i++) {
        if (text[i] < 0x80 || text[i] > 0xbf) { /* a zero ends it here too */
            return 0;
        }
    }
    return count;
}

/* C0, DEL, and C1 in its two bytes of UTF-8: what a terminal obeys. */
static bool is_control(const unsigned char *text)
{
    return text[0] < 0x20 || text[0] == 0x7f || (text[0] == 0xc2 && text[1] < 0xa0);
}

/* Write one well-formed character, and tell what is behind it. */
static const char *put_character(fallow__writer *writer, const char *text, unsigned count)
{
    fallow__write_bytes(writer, text, count);
    return text + count;
}

void fallow__write_foreign(fallow__writer *writer, const char *text)
{
    while (*text != '\0') {
        unsigned count = character_bytes((const unsigned char *)text);
        if (count == 0 || is_control((const unsigned char *)text)) {
            put(writer, '?');
            text += count == 0 ? 1 : count;
        } else {
            text = put_character(writer, text, count);
        }
    }
}

/* U+FFFE and U+FFFF are characters of UTF-8, and none of XML.
 * Source: Extensible Markup Language (XML) 1.0, 2.2 Characters */
static bool is_xml(const unsigned char *text)
{
    return !(text[0] == 0xef && text[1] == 0xbf && text[2] >= 0xbe);
}

void fallow__write_xml(fallow__writer *writer, const char *text)
{
    while (*text != '\0') {
        unsigned count = character_bytes((const unsigned char *)text);
        if (count == 0 || is_control((const unsigned char *)text) || !is_xml((const unsigned char *)text)) {
            put(writer, '?');
            text += count == 0 ? 1 : count;
            continue;
        }
        const char *escaped = *text == '&'   ? "&amp;"
                              : *text == '<' ? "&lt;"
                              : *text == '>' ? "&gt;"
                              : *text == '"' ? "&quot;"
                                             : NULL;
        if (escaped != NULL) {
            fallow__write_text(writer, escaped);
            text++;
        } else {
            text = put_character(writer, text, count);
        }
    }
}

static void put_json_control(fallow__writer *writer, unsigned char byte)
{
    fallow__write_text(writer, "\\u00");
    put(writer, "0123456789abcdef"[byte >> 4]);
    put(writer, "0123456789abcdef"[byte & 15]);
}

void fallow__write_json(fallow__writer *writer, const char *text)
{
    if (text == NULL) {
        fallow__write_text(writer, "null");
        return;
    }
    put(writer, '"');
    while (*text != '\0') {
        const unsigned char byte = (unsigned char)*text;
        unsigned count = character_bytes((const unsigned char *)text);
        if (count == 0) {
            fallow__write_text(writer, "\\ufffd");
            text++;
        } else if (byte < 0x20 || byte == 0x7f) {
            put_json_control(writer, byte);
            text++;
        } else {
            if (byte == '"' || byte == '\\') {
                put(writer, '\\');
            }
            text = put_character(writer, text, count);
        }
    }
    put(writer, '"');
}

/* Source: Prometheus, "Exposition formats": backslash, double quote and line feed are escaped */
void fallow__write_label(fallow__writer *writer, const char *text)
{
    put(writer, '"');
    while (*text != '\0') {
        unsigned count = character_bytes((const unsigned char *)text);
        if (count == 0) {
            put(writer, '?');
            text++;
        } else if (*text == '\n') {
            fallow__write_text(writer, "\\n");
            text++;
        } else {
            if (*text == '"' || *text == '\\') {
                put(writer, '\\');
            }
            text = put_character(writer, text, count);
        }
    }
    put(writer, '"');
}
