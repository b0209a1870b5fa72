/*
 * What the doctor tries of a forward route as the daemon itself would do it, with the same code: a TLS handshake by the route's own
 * files, and a look for AWS keys. Each runs a loop of its own until it is over.
 */
#ifndef POSTERN_CTL_PROBE_UPSTREAM_H
#define POSTERN_CTL_PROBE_UPSTREAM_H

#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"
#include "net/tls.h"
#include <stddef.h>
#include <stdint.h>

/* Reads the files of `options`. 0, or a negative errno value with the file and the reason in `err`. */
int probe_tls_files(const struct tls_options *options, struct error *err) MUST_CHECK;

/* Shakes hands over the connected `fd`, which it closes in any case. 0, or a negative errno value: -ETIMEDOUT, or the peer, or what is
 * wrong with its certificate, in `err`. Sends no request. A server that does not like the client's certificate says so only after a TLS
 * 1.3 handshake: it is listened to for `refusal_ms`, unless it speaks up before. */
int probe_upstream_tls(const struct tls_options *options, int fd, uint64_t deadline, uint64_t refusal_ms,
                       struct error *err) MUST_CHECK;

/* Looks for AWS keys where `sign` says, in the environment as getenv() has it, and drops them again. 0 with the place in `*ret_from`,
 * or a negative errno value with the reason in `err`. */
int probe_credentials(const struct config_sign *sign, enum config_credentials *ret_from,
                      struct error *err) MUST_CHECK;

#endif
