/*
 * The filesystems that programs take for granted: /proc, /sys, /dev with its parts, /run, /tmp, cgroups.
 *
 * Only what is not there is mounted, so that it does no harm where something else was before: the kernel's own devtmpfs, the
 * parent enclave's init, a container's runtime.
 */
#ifndef POSTERN_INIT_MOUNTS_H
#define POSTERN_INIT_MOUNTS_H

#include "init/tell.h"

/* Failures are told, one line each, and the rest is done all the same: an enclave without /sys is better than none. Returns
 * how many there were. `root` is "" but for tests. */
unsigned mounts_make(const char *root, const struct tell *told);

#endif
