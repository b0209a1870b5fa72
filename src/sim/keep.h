/* What the simulator keeps in its directory: files that appear whole, and keys with their certificates in PEM. */
#ifndef POSTERN_SIM_KEEP_H
#define POSTERN_SIM_KEEP_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/text.h"
#include <openssl/evp.h>
#include <openssl/x509.h>

#define SIM_FILE_MAX ((size_t)16 * 1024 * 1024)

/* 0 or a negative errno value: -ENOENT, -EFBIG. */
int sim_file_read(const char *path, struct text *out, struct error *err) MUST_CHECK;

/* Only its owner may read it. */
int sim_file_write(const char *directory, const char *name, const void *data, size_t size,
                   struct error *err) MUST_CHECK;

/* `name`.pem and `name`.key. -ENOENT: there is no certificate. */
int sim_keep_load(const char *directory, const char *name, EVP_PKEY **ret_key, X509 **ret_paper,
                  struct error *err) MUST_CHECK;
int sim_keep_save(const char *directory, const char *name, EVP_PKEY *key, X509 *paper,
                  struct error *err) MUST_CHECK;

#endif
