/*
 * How far a long transfer is, in one line of a terminal that is written over: nothing for half a second, then at most
 * five times a second, and each time in one write, so that it does not flicker. What is no terminal is told nothing.
 */
#ifndef POSTERN_CLI_PROGRESS_H
#define POSTERN_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PROGRESS_UNKNOWN  UINT64_MAX
#define PROGRESS_EVERY_MS 200u
#define PROGRESS_LINE_MAX 256

struct progress {
    FILE *out; /* NULL: nothing is shown */
    uint64_t begun, drawn_at, drawn_done;
    uint64_t rate; /* bytes a second, smoothed */
    const char *what;
    bool drawn;
};

/* Shown on `out` if that is a terminal. */
void progress_init(struct progress *progress, FILE *out, uint64_t now_ms);

/* `done` of `total` bytes of `what`, a static string; another one than before begins anew. Draws if it is time. */
void progress_show(struct progress *progress, const char *what, uint64_t done, uint64_t total,
                   uint64_t now_ms);

/* Takes the line away: before anything else is written to the terminal. */
void progress_clear(struct progress *progress);

/* The line for a terminal of that width, without control characters, into `line`. */
void progress_line(const struct progress *progress, uint64_t done, uint64_t total, unsigned width,
                   char line[PROGRESS_LINE_MAX]);

#endif
