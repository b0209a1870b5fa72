/*
 * Who listens at an address, as /proc tells: the socket's inode from /proc/net, its owners from the
 * descriptors of all processes that may be looked at.
 */
#ifndef POSTERN_CTL_HOLDER_H
#define POSTERN_CTL_HOLDER_H

#include "base/compiler.h"
#include "net/addr.h"
#include <stdbool.h>

struct holder {
    bool listening;    /* somebody does */
    int pid;           /* 0: a process that we may not look at */
    char command[32];  /* of that process; "" if it could not be read */
    char address[128]; /* what it is bound to, when that differs: another's wildcard is in the way as well */
};

/* For tcp, unix and hybrid listening addresses. `proc` is "/proc"; `preferred` is told when several
 * processes share the socket, as after socket activation. Returns 0 or a negative errno value. */
int holder_find(const char *proc, const struct addr *listen, int preferred, struct holder *ret) MUST_CHECK;

#endif
