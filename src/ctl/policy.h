/*
 * posternctl policy: what its files share.
 */
#ifndef POSTERN_CTL_POLICY_H
#define POSTERN_CTL_POLICY_H

#include "base/error.h"
#include "ctl/ctl.h"
#include "iam/kms.h"
#include <stdint.h>

#define POLICY_PCR_HEX 96 /* SHA-384 */

/* What an enclave will measure: from nitro-cli's file, and from the options. */
struct policy_measured {
    char pcrs[IAM_KMS_PCRS][POLICY_PCR_HEX + 1]; /* lower case; "" where nothing is known */
};

struct policy_arguments {
    const char *file; /* the policy; explain alone */
    const char *measurements, *pcrs, *principal, *actions, *role, *instance;
    bool allow_debug;
    struct policy_measured measured;
};

int policy_kms(const struct ctl *ctl, struct policy_arguments *arguments);
int policy_explain(const struct ctl *ctl, struct policy_arguments *arguments);

/* A whole file, or standard input for "-", of at most `max` bytes. The caller's to free; NULL with the reason in `err`. */
char *policy_load(const char *file, size_t max, size_t *ret_size, struct error *err) MUST_CHECK;

/* Fills in `measured` as far as the arguments tell. */
int policy_measure(struct policy_arguments *arguments, struct error *err) MUST_CHECK;

bool policy_is_zero(const char *pcr);

/* One thing to mind. The texts are the caller's to release. */
struct policy_warning {
    size_t statement;
    struct text text;
};

#define POLICY_WARNINGS_MAX 64

struct policy_warnings {
    struct policy_warning list[POLICY_WARNINGS_MAX];
    size_t count;
    bool more; /* that are left out */
};

void policy_warn(struct policy_warnings *warnings, size_t statement, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* What in the policy's own terms is dangerous or does not do what it seems to. */
void policy_look(const struct iam_policy *policy, struct policy_warnings *warnings);
void policy_warnings_release(struct policy_warnings *warnings);

#endif
