/*
 * What in a key policy is dangerous, or does not do what it seems to, for posternctl policy explain.
 *
 * It looks at single statements, so it may tell of one that another statement makes up for; whether anybody gets in is the evaluation's
 * to say.
 */
#include "ctl/policy.h"
#include "iam/operator.h"
#include <jansson.h>
#include <stdarg.h>
#include <string.h>

static size_t character_size(unsigned char lead)
{
    return lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Names are cut to size, maybe within a character, and what is not UTF-8 would be no JSON. All else comes from JSON. */
static void mend_cuts(struct text *text)
{
    for (size_t i = 0; i < text->length;) {
        size_t size = character_size((unsigned char)text->data[i]), have = 1;
        while (have < size && i + have < text->length &&
               ((unsigned char)text->data[i + have] & 0xc0) == 0x80) {
            have++;
        }
        if (have < size) {
            memset(text->data + i, '?', have);
        }
        i += have;
    }
}

void policy_warn(struct policy_warnings *warnings, size_t statement, const char *format, ...)
{
    va_list args;

    if (warnings->count == POLICY_WARNINGS_MAX) {
        warnings->more = true;
        return;
    }
    struct policy_warning *warning = &warnings->list[warnings->count++];
    warning->statement = statement;
    text_init(&warning->text, 2048);
    va_start(args, format);
    text_addv(&warning->text, format, args);
    va_end(args);
    mend_cuts(&warning->text);
}

void policy_warnings_release(struct policy_warnings *warnings)
{
    for (size_t i = 0; i < warnings->count; i++) {
        text_release(&warnings->list[i].text);
    }
    warnings->count = 0;
}

static bool is_attestation_key(const char *name)
{
    return strncasecmp(name, IAM_KMS_ATTESTATION, strlen(IAM_KMS_ATTESTATION)) == 0;
}

/* One operator on one key of an attestation, in one statement. */
struct use {
    const struct iam_policy *policy;
    size_t statement;
    const char *name, *key;
    struct iam_operator op;
    const json_t *values;
};

static void look_at_values(const struct use *use, struct policy_warnings *warnings)
{
    for (size_t i = 0; i < iam_list_size(use->values); i++) {
        const char *text = json_string_value(iam_list_at(use->values, i));
        if (!text) {
            continue;
        }
        if (use->op.compare == IAM_COMPARE_LIKE && strpbrk(text, "*?")) {
            policy_warn(warnings, use->statement, "%.60s on %.100s has wildcards: other images can match",
                        use->name, use->key);
        } else if (!use->op.any_case && strpbrk(text, "ABCDEF")) {
            policy_warn(
                warnings, use->statement,
                "%.60s on %.100s has a value in upper case: KMS has it in lower case, so they are never "
                "equal; StringEqualsIgnoreCase is the one to take",
                use->name, use->key);
        } else if (text[0] != '\0' && text[strspn(text, "0")] == '\0') {
            policy_warn(warnings, use->statement,
                        "%.100s is compared with zero, which is what debug enclaves have", use->key);
        }
    }
}

/* Of an Allow: whether it holds for callers without a document. */
static void look_at_allow(const struct use *use, struct policy_warnings *warnings)
{
    const char *why = NULL;

    if (use->op.compare == IAM_COMPARE_NULL) {
        why = "it looks whether there is a document, not what image it is of";
    } else if (use->op.set == IAM_SET_ALL) {
        why = "ForAllValues holds where there are no values: for a caller without an attestation";
    } else if (use->op.negated) {
        why = use->op.set == IAM_SET_ANY
                  ? "a negated operator allows every other image"
                  : "a negated operator allows every other image, and whoever sends no attestation";
    } else if (use->op.if_exists && use->op.set == IAM_SET_NONE) {
        why = "IfExists holds for whoever sends no attestation";
    }
    if (why) {
        policy_warn(warnings, use->statement, "Allow with %.60s on %.100s: %s", use->name, use->key, why);
    }
    if (!use->op.negated) {
        look_at_values(use, warnings);
    }
}

static void look_at_deny(const struct use *use, struct policy_warnings *warnings)
{
    const char *why = NULL;

    if (use->op.compare == IAM_COMPARE_NULL) {
        return;
    }
    if (use->op.negated && use->op.set != IAM_SET_ANY) {
        return; /* whoever has no attestation is denied, too: the safe form */
    }
    if (use->op.set == IAM_SET_ANY) {
        why = "ForAnyValue does not hold where there are no values: a caller without an attestation is not "
              "denied";
    } else if (use->op.if_exists || use->op.set == IAM_SET_ALL) {
        why = "it denies the image it names, and whoever sends no attestation, but no other image";
    } else {
        why = "it denies the image it names alone, and not who sends no attestation";
    }
    policy_warn(warnings, use->statement, "Deny with %.60s on %.100s: %s", use->name, use->key, why);
}

static bool means_any_operation(const struct iam_statement *statement)
{
    for (size_t i = 0; i < IAM_KMS_OPERATIONS; i++) {
        if (iam_statement_means_action(statement, iam_kms_operations[i])) {
            return true;
        }
    }
    return false;
}

/* Returns whether the condition looks at an attestation. */
static bool look_at_condition(struct use *use, bool deny, struct policy_warnings *warnings)
{
    bool any = false;
    json_t *keys, *values;

    json_object_foreach(use->policy->statements[use->statement].condition, use->name, keys)
    {
        use->op = iam_operator_read(use->name);
        if (use->op.compare == IAM_COMPARE_UNKNOWN) {
            policy_warn(warnings, use->statement, "%.60s is not understood: what it does is not known",
                        use->name);
            continue;
        }
        json_object_foreach(keys, use->key, values)
        {
            use->values = values;
            if (is_attestation_key(use->key)) {
                any = true;
                (deny ? look_at_deny : look_at_allow)(use, warnings);
            }
        }
    }
    return any;
}

void policy_look(const struct iam_policy *policy, struct policy_warnings *warnings)
{
    for (size_t i = 0; i < policy->count; i++) {
        const struct iam_statement *statement = &policy->statements[i];
        struct use use = {.policy = policy, .statement = i};
        if (!means_any_operation(statement)) {
            continue;
        }
        if (!look_at_condition(&use, statement->deny, warnings) && !statement->deny) {
            policy_warn(warnings, i,
                        "Allow without a condition on an attestation: whoever it names gets the plaintext");
        }
        if (statement->not_action && !statement->deny) {
            policy_warn(warnings, i, "Allow with NotAction: it allows all that it does not list");
        }
    }
}
