/* The operators of conditions: see operator.h. */
#include "iam/operator.h"
#include <ctype.h>
#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    enum iam_compare compare;
    bool negated, any_case;
} operators[] = {
    {"StringEquals", IAM_COMPARE_EQUAL, false, false},
    {"StringNotEquals", IAM_COMPARE_EQUAL, true, false},
    {"StringEqualsIgnoreCase", IAM_COMPARE_EQUAL, false, true},
    {"StringNotEqualsIgnoreCase", IAM_COMPARE_EQUAL, true, true},
    {"StringLike", IAM_COMPARE_LIKE, false, false},
    {"StringNotLike", IAM_COMPARE_LIKE, true, false},
    {"Bool", IAM_COMPARE_BOOL, false, true},
    {"Null", IAM_COMPARE_NULL, false, true},
};

#define ANY       "ForAnyValue:"
#define ALL       "ForAllValues:"
#define IF_EXISTS "IfExists"

static bool begins(const char *text, const char *with)
{
    return strncasecmp(text, with, strlen(with)) == 0;
}

struct iam_operator iam_operator_read(const char *name)
{
    struct iam_operator op = {.compare = IAM_COMPARE_UNKNOWN};

    if (begins(name, ANY)) {
        op.set = IAM_SET_ANY;
        name += strlen(ANY);
    } else if (begins(name, ALL)) {
        op.set = IAM_SET_ALL;
        name += strlen(ALL);
    }
    size_t length = strlen(name);
    if (length > strlen(IF_EXISTS) && strcasecmp(name + length - strlen(IF_EXISTS), IF_EXISTS) == 0) {
        op.if_exists = true;
        length -= strlen(IF_EXISTS);
    }
    for (size_t i = 0; i < ARRAY_SIZE(operators); i++) {
        if (strlen(operators[i].name) == length && strncasecmp(name, operators[i].name, length) == 0) {
            op.compare = operators[i].compare;
            op.negated = operators[i].negated;
            op.any_case = operators[i].any_case;
        }
    }
    /* Null asks whether the key exists, and of the key as a whole: IAM has no such combinations. */
    if (op.compare == IAM_COMPARE_NULL && (op.if_exists || op.set != IAM_SET_NONE)) {
        op.compare = IAM_COMPARE_UNKNOWN;
    }
    return op;
}

static bool same(char a, char b, bool any_case)
{
    return a == b || (any_case && tolower((unsigned char)a) == tolower((unsigned char)b));
}

/* In UTF-8, of which `?` takes a character and not a part of one. */
static const char *after_character(const char *text)
{
    do {
        text++;
    } while (((unsigned char)*text & 0xc0) == 0x80);
    return text;
}

/* Going back to the last asterisk alone is enough, so the work is bounded by the product of both lengths. */
bool iam_wildcard(const char *pattern, const char *text, bool any_case)
{
    const char *after_star = NULL, *resume = NULL;

    while (*text != '\0') {
        if (*pattern == '*') {
            after_star = ++pattern;
            resume = text;
        } else if (*pattern == '?') {
            pattern++;
            text = after_character(text);
        } else if (*pattern != '\0' && same(*pattern, *text, any_case)) {
            pattern++;
            text++;
        } else if (after_star) {
            pattern = after_star;
            text = resume = after_character(resume);
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == '\0';
}
