/* words: count the different words of a text, on two growing arrays whose elements point at each other.
 *
 *   words <TEXT
 *
 * Prints "COUNT WORD" for each, in the order of their first appearance. Words are kept in one array, their letters in
 * another; a word points to its letters and to the next word of its bucket, which an array that moves would forbid. */
#include "array.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

typedef struct word {
    const char *letters; /* in the array of letters, with a zero at the end */
    struct word *next;   /* in its bucket */
    size_t count;
} word;

#define BUCKETS 4096

static word *buckets[BUCKETS];

static int fail(const char *what)
{
    fallow_failure failure;
    const bool is_known = fallow_last_failure(&failure);
    fprintf(stderr, "words: %s: %s\n", what, is_known ? fallow_status_message(failure.status) : "full");
    return 1;
}

static word **find(const char *letters)
{
    uint32_t hash = 5381;
    for (const char *letter = letters; *letter != '\0'; letter++) {
        hash = hash * 33 + (unsigned char)*letter;
    }
    word **link = &buckets[hash % BUCKETS];
    while (*link != NULL && strcmp((*link)->letters, letters) != 0) {
        link = &(*link)->next;
    }
    return link;
}

/* Count the word that ends the array of letters, which does without it where it is known already. */
static bool count_word(array *words, array *letters, size_t start)
{
    char *end = array_push(letters, 1);
    if (end == NULL) {
        return false;
    }
    *end = '\0';
    word **link = find(array_at(letters, start));
    if (*link != NULL) {
        letters->count = start;
    } else {
        word *added = array_push(words, 1);
        if (added == NULL) {
            return false;
        }
        *added = (word){.letters = array_at(letters, start)};
        *link = added;
    }
    (*link)->count++;
    return true;
}

int main(void)
{
    array words;
    array letters;
    if (array_create(sizeof(word), (size_t)10 << 20, &words) != FALLOW_OK ||
        array_create(1, (size_t)1 << 28, &letters) != FALLOW_OK) {
        return fail("no room for the arrays");
    }
    size_t start = 0;
    for (int character = getchar(); character != EOF; character = getchar()) {
        if (isalpha(character)) {
            char *letter = array_push(&letters, 1);
            if (letter == NULL) {
                return fail("letters");
            }
            *letter = (char)tolower(character);
        } else if (letters.count > start) {
            if (!count_word(&words, &letters, start)) {
                return fail("words");
            }
            start = letters.count;
        }
    }
    if (letters.count > start && !count_word(&words, &letters, start)) {
        return fail("words");
    }
    for (size_t i = 0; i < words.count; i++) {
        const word *listed = array_at(&words, i);
        printf("%zu %s\n", listed->count, listed->letters);
    }
    fprintf(stderr, "%zu words, %zu letters: %zu KiB committed of %zu MiB reserved\n", words.count, letters.count,
            (words.committed_bytes + letters.committed_bytes) >> 10,
            (words.region.size_bytes + letters.region.size_bytes) >> 20);
    array_destroy(&words);
    array_destroy(&letters);
    return 0;
}
