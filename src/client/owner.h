/*
 * The process that a connection belongs to.
 *
 * Each function of the library asks first whether it is called by the process that made the connection: a child of fork() has the
 * same descriptors and memory, and none of the threads. A page that the kernel gives a child anew and empty (MADV_WIPEONFORK, Linux
 * 4.14) tells without a system call. Where there is none, getpid() does.
 */
#ifndef POSTERN_CLIENT_OWNER_H
#define POSTERN_CLIENT_OWNER_H

#include <stdbool.h>
#include <sys/types.h>

struct owner {
    pid_t pid;
    const bool *page; /* owned; true in the owner; NULL: there is none */
};

void owner_init(struct owner *owner);
void owner_release(struct owner *owner); /* in a child, too */

/* From any thread. */
bool owner_is_caller(const struct owner *owner);

#endif
