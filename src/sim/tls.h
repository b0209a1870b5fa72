/* What the simulated KMS proves itself with: a CA of its own (tls-ca.pem, kept in the directory), and a certificate for its name. */
#ifndef POSTERN_SIM_TLS_H
#define POSTERN_SIM_TLS_H

#include "base/error.h"
#include <openssl/ssl.h>
#include <time.h>

/* For `host`, localhost and the loopback addresses. NULL, with what is wrong in `err`. SSL_CTX_free() ends it. */
SSL_CTX *sim_tls_open(const char *directory, const char *host, time_t now, struct error *err) MUST_CHECK;

#endif
