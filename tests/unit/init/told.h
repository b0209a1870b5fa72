/* A place for init's lines: the tests look at what was told. */
#ifndef POSTERN_TESTS_INIT_TOLD_H
#define POSTERN_TESTS_INIT_TOLD_H

#include "init/tell.h"
#include <stdio.h>
#include <string.h>

struct told {
    struct tell tell;
    unsigned count;
    char all[8192]; /* each line with a newline */
};

static inline void told_line(void *user, const char *text)
{
    struct told *told = user;
    size_t length = strlen(told->all);

    told->count++;
    snprintf(told->all + length, sizeof told->all - length, "%s\n", text);
}

static inline void told_init(struct told *told)
{
    *told = (struct told){.tell = {.line = told_line, .user = told}};
}

#endif
