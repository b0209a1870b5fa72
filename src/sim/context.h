/* An encryption context: names and values, in the order of the names, so that the same context is the same bytes. */
#ifndef POSTERN_SIM_CONTEXT_H
#define POSTERN_SIM_CONTEXT_H

#include "base/text.h"
#include "sim/kms_error.h"
#include <jansson.h>
#include <stddef.h>

#define SIM_CONTEXT_MAX 64

struct sim_context {
    const char *names[SIM_CONTEXT_MAX], *values[SIM_CONTEXT_MAX]; /* not owned */
    size_t count;
};

/* From the request's EncryptionContext, which may be missing. The texts are of `object`. 0 or -EACCES. */
int sim_context_read(const json_t *object, struct sim_context *ret, struct sim_kms_error *error) MUST_CHECK;

/* Appends what a ciphertext is bound to: each text with its length. */
void sim_context_add(const struct sim_context *context, struct text *out);

#endif
