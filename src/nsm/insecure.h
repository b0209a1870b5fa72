/*
 * A software NSM, for tests and demonstrations: INSECURE, since what it vouches for, anybody could. Nothing looks for one:
 * whoever uses it was told its address.
 *
 * A stream connection, at any address of ours, for each request: its length (32 bits, big-endian) and the very CBOR that the
 * device takes, and back come a length and what the device would answer.
 */
#ifndef POSTERN_NSM_INSECURE_H
#define POSTERN_NSM_INSECURE_H

#include "nsm/nsm.h"

/* For a request, from connecting to the answer's last byte, unless its deadline comes first; the look-up of a tcp name comes on top. */
#define INSECURE_NSM_MS 10000u

/* -EINVAL: the address is none; -ENOMEM. Nobody is asked yet, and every request connects anew: -ENODEV, if nobody is there. */
int nsm_open_insecure(const char *address, struct nsm **ret, struct error *err) MUST_CHECK;

#endif
