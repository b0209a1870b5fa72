/*
 * Standard input or output as something that never waits, whatever it is: a pipe, a terminal, a socket, a file.
 *
 * O_NONBLOCK belongs to the open file, which is shared with the shell and whoever else has it, so it is not set on what was
 * inherited. Pipes and terminals are opened once more, by their name in /proc; sockets are read and written with
 * MSG_DONTWAIT; what cannot be had otherwise is asked first whether it is ready, and written to in pieces that
 * a ready pipe takes whole. Files are always ready.
 */
#ifndef POSTERN_CLI_STDIO_END_H
#define POSTERN_CLI_STDIO_END_H

#include "base/compiler.h"
#include <stdbool.h>
#include <sys/types.h>

enum stdio_kind { STDIO_FILE, STDIO_SOCKET, STDIO_OWN, STDIO_ASKED };

struct stdio_end {
    enum stdio_kind kind;
    int inherited; /* 0 or 1; -1: closed */
    int fd;        /* what is read, written and watched; the same, or STDIO_OWN */
};

void stdio_end_open(struct stdio_end *end, int inherited, bool writing);

/* As tunnel_ops has them. */
ssize_t stdio_end_read(struct stdio_end *end, void *buffer, size_t size) MUST_CHECK;
ssize_t stdio_end_write(struct stdio_end *end, const void *bytes, size_t size) MUST_CHECK;

/* Whoever reads our output reads its end. Harmless when closed. */
void stdio_end_close(struct stdio_end *end, bool writing);

#endif
