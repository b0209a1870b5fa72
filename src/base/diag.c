/* Mistakes in a file, collected in the order of their place. */
#include "base/diag.h"
#include "base/units.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No key or name that is worth a suggestion is longer. */
#define WORD_MAX 64

void diags_init(struct diags *diags, const char *file)
{
    *diags = (struct diags){.file = file};
}

void diags_release(struct diags *diags)
{
    for (size_t i = 0; i < diags->count; i++) {
        free(diags->list[i].message);
    }
    free(diags->list);
    diags_init(diags, diags->file);
}

static bool is_before(struct place a, struct place b)
{
    return a.line != b.line ? a.line < b.line : a.column < b.column;
}

/* Kept sorted as it grows, which for a hundred entries costs nothing, and leaves mistakes at one place in
 * the order they were found. Takes `message`, and frees it if there is no room. */
static void insert(struct diags *diags, struct place place, char *message)
{
    size_t at = diags->count;

    if (!diags->list) {
        diags->list = calloc(DIAGS_MAX, sizeof(*diags->list));
    }
    if (!diags->list) {
        free(message);
        return;
    }
    while (at > 0 && is_before(place, diags->list[at - 1].place)) {
        at--;
    }
    memmove(&diags->list[at + 1], &diags->list[at], (diags->count - at) * sizeof(*diags->list));
    diags->list[at] = (struct diag){.place = place, .message = message};
    diags->count++;
}

void diags_add(struct diags *diags, struct place place, const char *format, ...)
{
    char *message;
    va_list args;
    int length;

    diags->total++;
    if (diags->count == DIAGS_MAX) {
        return;
    }
    va_start(args, format);
    length = vasprintf(&message, format, args);
    va_end(args);
    if (length >= 0) {
        insert(diags, place, message);
    }
}

void diags_format(struct diags *diags, struct text *out)
{
    for (size_t i = 0; i < diags->count; i++) {
        const struct diag *diag = &diags->list[i];

        text_add(out, diags->file);
        if (diag->place.line > 0) {
            text_addf(out, ":%u", diag->place.line);
        }
        if (diag->place.line > 0 && diag->place.column > 0) {
            text_addf(out, ":%u", diag->place.column);
        }
        text_addf(out, ": %s\n", diag->message);
    }
    size_t more = diags->total - diags->count;
    if (more > 0) {
        text_addf(out, "%s: %zu more mistake%s not shown\n", diags->file, more, units_plural(more));
    }
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters must be changed, added, left out or swapped with their neighbour to get from a to b;
 * neither is longer than WORD_MAX. Three rows of the table are enough: a swap looks two rows back. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][WORD_MAX + 1];

    for (size_t j = 0; j <= b_length; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *swapped = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            row[j] = least(above[j - 1] + (a[i - 1] != b[j - 1]), least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = least(row[j], swapped[j - 2] + 1);
            }
        }
    }
    return rows[a_length % 3][b_length];
}

const char *diags_nearest(const char *word, const char *const *candidates, size_t count)
{
    size_t length = strnlen(word, WORD_MAX + 1);
    size_t best = length / 3 > 1 ? length / 3 : 1;
    const char *nearest = NULL;

    if (length == 0 || length > WORD_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        size_t candidate_length = strnlen(candidates[i], WORD_MAX + 1);
        size_t far;

        if (candidate_length > WORD_MAX) {
            continue;
        }
        far = distance(word, length, candidates[i], candidate_length);
        if (far < best || (far == best && !nearest)) {
            best = far;
            nearest = candidates[i];
        }
    }
    return nearest;
}
