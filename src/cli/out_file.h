/*
 * A file that appears under its name whole or not at all. Until out_file_commit() it has no name where the file system allows, so that
 * whatever ends the process leaves nothing behind; what stood there before stays until then.
 *
 * What is no regular file (a pipe, a device) is written to as it is.
 */
#ifndef POSTERN_CLI_OUT_FILE_H
#define POSTERN_CLI_OUT_FILE_H

#include "base/compiler.h"
#include "base/error.h"
#include <stdbool.h>
#include <sys/types.h>

struct out_file {
    const char *path; /* not owned; NULL: standard output */
    int fd;
    char *other_name; /* that it has until it gets its own; owned; NULL: none */
    bool as_it_is;
};

/* `path` NULL: the descriptor `standard`, which stays open. A new file gets `mode`, less the umask. */
int out_file_open(struct out_file *file, const char *path, int standard, mode_t mode,
                  struct error *err) MUST_CHECK;

/* All of it: 0, or a negative errno value. */
int out_file_write(struct out_file *file, const void *data, size_t size) MUST_CHECK;

/* The file is complete: gives it its name. Ends it in either case. */
int out_file_commit(struct out_file *file, struct error *err) MUST_CHECK;

/* Ends it without. */
void out_file_abandon(struct out_file *file);

#endif
