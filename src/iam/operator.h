/*
 * The operators of conditions, by name: [ForAnyValue:|ForAllValues:]StringEquals[IfExists] and the like, in any case.
 */
#ifndef POSTERN_IAM_OPERATOR_H
#define POSTERN_IAM_OPERATOR_H

#include "base/compiler.h"
#include <stdbool.h>

enum iam_compare {
    IAM_COMPARE_UNKNOWN, /* no operator of IAM's, or none that is understood here */
    IAM_COMPARE_EQUAL,
    IAM_COMPARE_LIKE,
    IAM_COMPARE_BOOL,
    IAM_COMPARE_NULL
};

enum iam_set { IAM_SET_NONE, IAM_SET_ANY, IAM_SET_ALL };

struct iam_operator {
    enum iam_compare compare;
    enum iam_set set;
    bool negated;
    bool any_case;
    bool if_exists;
};

struct iam_operator iam_operator_read(const char *name);

/* Whether `*` (any text) and `?` (any character) make `text` of the pattern. */
bool iam_wildcard(const char *pattern, const char *text, bool any_case);

#endif
