/*
 * The Nitro Security Module: the device through which an enclave asks its hypervisor, and no parent stands between.
 *
 * Each call is one request and one answer in CBOR, made by the driver in one ioctl, during which the thread waits. The
 * driver gives a device that does not answer two minutes.
 */
#ifndef POSTERN_NSM_NSM_H
#define POSTERN_NSM_NSM_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

#define NSM_DEVICE       "/dev/nsm"
#define NSM_RANDOM_MAX   256u   /* most bytes that one call yields */
#define NSM_REQUEST_MAX  4096u  /* the driver takes no more */
#define NSM_RESPONSE_MAX 12288u /* the driver cuts what is longer, and does not say so */

/* The device's descriptor, close-on-exec; or -ENOENT where there is no NSM, or what else failed. */
int nsm_open(const char *path, struct error *err) MUST_CHECK;

/* Random bytes of the hypervisor's: 1 to NSM_RANDOM_MAX. */
int nsm_random(int fd, uint8_t bytes[NSM_RANDOM_MAX], size_t *ret_length, struct error *err) MUST_CHECK;

/* The hypervisor's time, out of an attestation document asked for to this end: milliseconds since 1970 in UTC. */
int nsm_time(int fd, uint64_t *ret_ms, struct error *err) MUST_CHECK;

/* What the two make of an answer. For them, and for tests. */
int nsm_parse_random(const uint8_t *answer, size_t length, uint8_t bytes[NSM_RANDOM_MAX], size_t *ret_length,
                     struct error *err) MUST_CHECK;
int nsm_parse_time(const uint8_t *answer, size_t length, uint64_t *ret_ms, struct error *err) MUST_CHECK;

#endif
