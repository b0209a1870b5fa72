/*
 * What a key policy says to a request, as IAM evaluates it: what nobody allows is denied, a Deny that applies wins over any
 * Allow, and the order of statements means nothing.
 *
 * In a condition all operators and all keys must hold, and of a key's values one; of a negated operator's, none. A key that the
 * request does not have makes an operator false, a negated one true, and one with IfExists true; for ForAllValues true and for
 * ForAnyValue false, whatever else they are.
 *
 * What cannot be told is unknown, and stays so unless something known outweighs it: a key that the caller says nothing of, an operator
 * that is not understood, a policy variable. An unknown is never an Allow, and never the absence of a Deny.
 */
#ifndef POSTERN_IAM_EVALUATE_H
#define POSTERN_IAM_EVALUATE_H

#include "base/error.h"
#include "iam/policy.h"

/* A condition key of the request. Without values: it is known to be absent. Names are compared in any case. Of a value that is
 * choosable, whoever tries often enough has a part as needed: if it is not like a pattern, another one might be, and the reverse. */
struct iam_key {
    const char *name;
    const char *const *values;
    size_t count;
    bool choosable;
};

struct iam_request {
    /* An ARN, an account, a service or who else is not of kind AWS, or "*": somebody whom no policy names. NULL: not known */
    const char *principal;
    const char *action;   /* kms:Decrypt */
    const char *resource; /* the key's ARN; NULL: not known */
    const struct iam_key *keys;
    size_t key_count;
    const char *const
        *families; /* ends with NULL, or NULL: how names begin of which those not in `keys` are absent */
};

enum iam_decision {
    IAM_NOT_ALLOWED, /* no statement allows it */
    IAM_DENIED,      /* a Deny applies */
    IAM_ALLOWED,
    IAM_UNKNOWN
};

struct iam_verdict {
    enum iam_decision decision;
    size_t statement;     /* that decided, if one did */
    bool through_account; /* allowed to the account alone: its own policies have to allow it, too */
    struct error why;     /* what was not known */
};

void iam_evaluate(const struct iam_policy *policy, const struct iam_request *request,
                  struct iam_verdict *ret);

/* Whether the statement's Action, or NotAction, means this one. */
bool iam_statement_means_action(const struct iam_statement *statement, const char *action);

#endif
