/*
 * Key policies, read: JSON in the grammar of IAM, within bounds, every mistake told with its place in the document's terms:
 *
 *     Statement[1].Condition.StringEquals: an object of keys and values is expected
 *
 * What is not understood is refused (NotPrincipal), or kept for the evaluation to call unknown (an operator); nothing is
 * skipped. A document that names an element twice is refused, since two readers may take different ones.
 *
 * Lifetimes: all that a statement points to belongs to the policy.
 */
#ifndef POSTERN_IAM_POLICY_H
#define POSTERN_IAM_POLICY_H

#include "base/compiler.h"
#include "base/text.h"
#include <stdbool.h>
#include <stddef.h>

#define IAM_POLICY_MAX     ((size_t)64 * 1024) /* KMS takes 32 KiB, blanks not counted */
#define IAM_STATEMENTS_MAX 200
#define IAM_MISTAKES_MAX   50

struct json_t;

struct iam_statement {
    const char *sid; /* or NULL */
    bool deny;
    bool not_action, not_resource;      /* all but those listed */
    struct json_t *principal;           /* "*", or an object of lists by kind */
    struct json_t *actions, *resources; /* lists */
    struct json_t *condition;           /* an object of operators, or NULL */
};

struct iam_policy {
    struct json_t *root; /* owned */
    bool variables;      /* ${...} stands for something else, as version 2012-10-17 has it */
    size_t count;
    struct iam_statement statements[IAM_STATEMENTS_MAX];
};

/* 0; -EBADMSG with the mistakes in `mistakes`, one a line; -ENOMEM. To be released only after 0. */
int iam_policy_read(struct iam_policy *policy, const char *data, size_t size,
                    struct text *mistakes) MUST_CHECK;
void iam_policy_release(struct iam_policy *policy);

/* Lists in a policy are an array, or one value in its place. */
size_t iam_list_size(const struct json_t *list);
const struct json_t *iam_list_at(const struct json_t *list, size_t index);

#endif
