/*
 * What the doctor tries on the network: a name, as the daemon would look it up, and a TLS handshake, as an
 * enclave would make it. Each within a time, and each telling what it found in words.
 */
#ifndef POSTERN_CTL_PROBE_H
#define POSTERN_CTL_PROBE_H

#include "base/compiler.h"
#include "config/config.h"
#include "net/resolve.h"
#include <stdint.h>

/* Asks the resolver that the configuration names, without the daemon's cache. REASON_NONE with *ret filled
 * in, or why not; REASON_NO_MEMORY when it could not be asked. */
enum reason probe_name(const struct config_dns *dns, const char *name, struct resolved *ret);

enum probe_tls_verdict {
    PROBE_TLS_OK,
    PROBE_TLS_WRONG_NAME, /* the certificate is for other names */
    PROBE_TLS_UNTRUSTED,  /* this host's list of authorities does not lead to it, or it is out of date */
    PROBE_TLS_FAILED,     /* no handshake */
};

struct probe_tls {
    enum probe_tls_verdict verdict;
    char words[256]; /* what was wrong, or what was agreed upon */
};

/* Shakes hands over the connected, non-blocking `fd`, naming `name`. Trusts the system's authorities
 * ($SSL_CERT_FILE and $SSL_CERT_DIR override them). Sends no request. */
void probe_tls(int fd, const char *name, uint64_t deadline, struct probe_tls *ret);

#endif
