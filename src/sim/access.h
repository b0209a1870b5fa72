/*
 * Whether a caller may do what it asks for: by the key's policy, evaluated as IAM does, and where that leaves it to the account, by what
 * the account's own policies are said to allow. A condition key that a request to KMS does not have is absent.
 */
#ifndef POSTERN_SIM_ACCESS_H
#define POSTERN_SIM_ACCESS_H

#include "iam/evaluate.h"
#include "sim/attested.h"
#include "sim/context.h"
#include "sim/key.h"
#include "sim/signature.h"

/* What is asked. Texts are not owned; NULL: the request has none. */
struct sim_access {
    const struct sim_credential *caller;
    const char *operation;     /* "Decrypt" */
    const struct sim_key *key; /* NULL: of no key, and so for the account's policies alone */
    const char *account, *region;
    const struct sim_attested *attested;
    const struct sim_context *context;
    const char *alias; /* the key was named by */
    const char *algorithm, *pair_spec, *agreement;
};

/* 0, or -EACCES with AccessDeniedException. The key's owner holds its lock. */
int sim_access_check(const struct sim_access *access, struct sim_kms_error *error) MUST_CHECK;

#endif
