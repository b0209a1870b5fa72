/* Reads the tables of messages and verdicts; their form is told at the top of smuggling.table. */
#ifndef POSTERN_TESTS_TABLE_H
#define POSTERN_TESTS_TABLE_H

#include "base/text.h"
#include <stdbool.h>
#include <stdio.h>

struct table_case {
    char name[64];
    char verdict[64];
    unsigned whole; /* messages that were forwarded whole */
    struct text bytes;
    struct text wire;
};

struct table {
    FILE *file;
    char line[4096]; /* that was read, and belongs to the next case */
};

/* Fails the test if there is no such file. */
void table_open(struct table *table, const char *path);
void table_close(struct table *table);

/* The next case, into `ret`, which table_release() empties; false when there is none. */
bool table_next(struct table *table, struct table_case *ret);
void table_release(struct table_case *entry);

#endif
