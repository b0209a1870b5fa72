/*
 * The file of a unix socket that this process bound, known by its number: what somebody else puts in its place, a link above all,
 * is not ours to change or to remove.
 */
#ifndef POSTERN_NET_SOCK_FILE_H
#define POSTERN_NET_SOCK_FILE_H

#include "base/compiler.h"
#include <stdbool.h>
#include <sys/types.h>

struct sock_file {
    dev_t device;
    ino_t number; /* 0: not known, and no file is it */
};

/* The socket that is at `path` now. */
struct sock_file sock_file_at(const char *path);

/* Gives it these permissions. `file` NULL: whatever socket is at `path`. Returns 0 or a negative errno value; -ENOENT: another file is
 * there, or none. */
int sock_file_set_mode(const char *path, const struct sock_file *file, mode_t mode) MUST_CHECK;

/* The same with its group. */
int sock_file_set_group(const char *path, const struct sock_file *file, gid_t group) MUST_CHECK;

/* Removes it, if it is still there. */
void sock_file_remove(const char *path, const struct sock_file *file);

#endif
