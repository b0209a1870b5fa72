/*
 * What a long-running command says on standard error. A reader that stalls never stalls a stream, and a flood of refused
 * streams does not become a flood of lines: what is left out is counted, and told with the next line.
 */
#ifndef POSTERN_CLI_NOTES_H
#define POSTERN_CLI_NOTES_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define NOTES_BURST      10u
#define NOTES_PER_SECOND 2u

struct notes {
    FILE *out;
    const char *prefix;   /* of each line; a static string */
    uint64_t refilled_at; /* ms */
    uint32_t tokens;
    uint64_t left_out;
};

void notes_init(struct notes *notes, FILE *out, const char *prefix);

/* A line that matters, and does not come often. */
void notes_say(struct notes *notes, const char *format, ...) PRINTF_LIKE(2, 3);

/* One of those that may come in masses. */
void notes_say_some(struct notes *notes, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
