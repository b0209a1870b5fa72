/* The kernel's random numbers: an enclave has no device but the NSM to draw its first ones from. */
#ifndef POSTERN_INIT_ENTROPY_H
#define POSTERN_INIT_ENTROPY_H

#include "base/compiler.h"
#include "base/error.h"
#include <stdbool.h>

struct nsm;

#define ENTROPY_BYTES 1024u

/* Mixes so many bytes of the NSM's into the kernel's pool, and has them counted as entropy where this process may
 * (CAP_SYS_ADMIN); *ret_counted says whether. `pool` is /dev/urandom, but for tests. 0, or a negative errno value. */
int entropy_seed(struct nsm *nsm, const char *pool, bool *ret_counted, struct error *err) MUST_CHECK;

#endif
