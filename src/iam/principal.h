/*
 * Principals as policies name them: "*", an account's number, or the ARN of an account, a user, a role or a session.
 */
#ifndef POSTERN_IAM_PRINCIPAL_H
#define POSTERN_IAM_PRINCIPAL_H

#include "base/compiler.h"
#include <stdbool.h>

#define IAM_ACCOUNT_DIGITS 12

enum iam_named {
    IAM_NAMED_NOT,
    IAM_NAMED,
    IAM_NAMED_BY_ACCOUNT /* only the account is named: an Allow leaves it to the account's own policies */
};

/* Whether a policy may name it so. */
bool iam_principal_valid(const char *principal);

/* The number of the account it belongs to. False: of none, as "*". */
bool iam_principal_account(const char *principal, char account[IAM_ACCOUNT_DIGITS + 1]) MUST_CHECK;

/* Whether it is an account as a whole. */
bool iam_principal_is_account(const char *principal);

/* Whether `named`, in a policy, means `caller`. The caller "*" is somebody whom no policy names. */
enum iam_named iam_principal_means(const char *named, const char *caller);

#endif
