/* calc: work out expressions in brackets, one a line: (+ 1 (max 2 30 4) (* 5 6)) prints 61.
 *
 *   calc <EXPRESSIONS
 *
 * Operators are + * max and median, which needs all of its numbers at once. The numbers of a bracket live in a scope of
 * their own, which ends with the bracket; those of the brackets around it lie below and stay where they are. */
#include "scope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct number {
    long long value;
    struct number *next; /* in ascending order of value */
} number;

typedef struct reader {
    scope_stack scopes;
    const char *rest;  /* of the line */
    const char *fault; /* NULL while all is well; nothing is worked out after the first */
} reader;

static long long read_bracket(reader *self);

static void skip_spaces(reader *self)
{
    self->rest += strspn(self->rest, " \t\r\n");
}

static long long read_number(reader *self)
{
    skip_spaces(self);
    if (*self->rest == '(') {
        return read_bracket(self);
    }
    char *end;
    const long long value = strtoll(self->rest, &end, 10);
    if (end == self->rest) {
        self->fault = "a number or a bracket is missing";
    }
    self->rest = end;
    return value;
}

/* Take the numbers up to the closing bracket; the list, its length, and the result for operators that need no more. */
static long long apply(reader *self, const char *name, size_t name_length)
{
    number *first = NULL;
    size_t count = 0;
    long long sum = 0;
    long long product = 1;
    for (skip_spaces(self); *self->rest != ')' && self->fault == NULL; skip_spaces(self)) {
        const long long value = read_number(self);
        number *added = scope_alloc(&self->scopes, sizeof *added, _Alignof(number));
        if (added == NULL) {
            self->fault = "too many numbers";
            return 0;
        }
        number **link = &first;
        while (*link != NULL && (*link)->value < value) {
            link = &(*link)->next;
        }
        *added = (number){.value = value, .next = *link};
        *link = added;
        sum += value;
        product *= value;
        count++;
    }
    if (self->fault != NULL || count == 0) {
        self->fault = self->fault != NULL ? self->fault : "an empty bracket";
        return 0;
    }
    self->rest++; /* the bracket */
    if (name_length == 1 && *name == '+') {
        return sum;
    }
    if (name_length == 1 && *name == '*') {
        return product;
    }
    const bool is_median = name_length == 6 && memcmp(name, "median", 6) == 0;
    if (!is_median && !(name_length == 3 && memcmp(name, "max", 3) == 0)) {
        self->fault = "no such operator";
        return 0;
    }
    for (size_t steps = is_median ? (count - 1) / 2 : count - 1; steps > 0; steps--) {
        first = first->next;
    }
    return first->value;
}

static long long read_bracket(reader *self)
{
    self->rest++;
    skip_spaces(self);
    const char *name = self->rest;
    const size_t name_length = strcspn(name, " \t\r\n()");
    self->rest += name_length;

    const scope_mark mark = scope_begin(&self->scopes);
    const long long result = apply(self, name, name_length);
    scope_end(&self->scopes, mark);
    return result;
}

int main(void)
{
    static char line[1 << 20];
    reader reading = {.fault = NULL};
    int exit_code = 0;
    if (scope_stack_create((size_t)256 << 20, &reading.scopes) != FALLOW_OK) {
        fprintf(stderr, "calc: no room\n");
        return 1;
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        reading.rest = line;
        reading.fault = NULL;
        const long long result = read_number(&reading);
        if (reading.fault != NULL) {
            fprintf(stderr, "calc: %s: %.40s\n", reading.fault, reading.rest);
            exit_code = 1;
        } else {
            printf("%lld\n", result);
        }
    }
    const size_t committed_bytes = reading.scopes.committed_bytes;
    if (scope_trim(&reading.scopes) != FALLOW_OK) {
        fprintf(stderr, "calc: memory could not be given back\n");
        exit_code = 1;
    }
    fprintf(stderr, "peak %zu KiB, %zu KiB committed, now %zu in use, %zu committed\n", reading.scopes.peak_bytes >> 10,
            committed_bytes >> 10, reading.scopes.used_bytes, reading.scopes.committed_bytes);
    scope_stack_destroy(&reading.scopes);
    return exit_code;
}
