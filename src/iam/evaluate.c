/* What a key policy says to a request: see evaluate.h. */
#include "iam/evaluate.h"
#include "iam/operator.h"
#include "iam/principal.h"
#include <errno.h>
#include <jansson.h>
#include <string.h>

enum truth { NO, YES, UNKNOWN };

/* One evaluation: what is asked, and the first thing that was not known. */
struct evaluation {
    const struct iam_policy *policy;
    const struct iam_request *request;
    struct error why;
};

static enum truth both(enum truth a, enum truth b)
{
    if (a == NO || b == NO) {
        return NO;
    }
    return a == YES ? b : UNKNOWN;
}

static enum truth either(enum truth a, enum truth b)
{
    if (a == YES || b == YES) {
        return YES;
    }
    return a == NO ? b : UNKNOWN;
}

static enum truth not(enum truth a) { if (a == UNKNOWN){return UNKNOWN;}
return a == YES ? NO : YES;
}

static enum truth truth_of(bool value)
{
    return value ? YES : NO;
}

static enum truth unknown(struct evaluation *in, const char *what, const char *why)
{
    if (in->why.text[0] == '\0') {
        error_set(&in->why, -ENOTSUP, "%.200s: %s", what, why);
    }
    return UNKNOWN;
}

static bool is_variable(const struct evaluation *in, const char *text)
{
    return in->policy->variables && strstr(text, "${");
}

/* ---- Principal, action, resource ---- */

static enum truth names_caller(struct evaluation *in, const json_t *named, bool *by_account)
{
    const char *caller = in->request->principal;
    enum truth found = NO;

    for (size_t i = 0; i < iam_list_size(named); i++) {
        const char *name = json_string_value(iam_list_at(named, i));
        if (!caller && strcmp(name, "*") != 0) {
            found = either(found, unknown(in, "Principal", "who calls is not known"));
            continue;
        }
        enum iam_named match = caller ? iam_principal_means(name, caller) : IAM_NAMED;
        if (match == IAM_NAMED) {
            *by_account = false;
            return YES;
        }
        if (match == IAM_NAMED_BY_ACCOUNT) {
            *by_account = true;
            found = YES;
        }
    }
    return found;
}

/* A service, or whom somebody else vouches for, goes by its name alone. */
static enum truth names_other(struct evaluation *in, const json_t *named)
{
    const char *caller = in->request->principal;

    if (!caller) {
        return unknown(in, "Principal", "who calls is not known");
    }
    for (size_t i = 0; i < iam_list_size(named); i++) {
        if (strcmp(json_string_value(iam_list_at(named, i)), caller) == 0) {
            return YES;
        }
    }
    return NO;
}

static enum truth match_principal(struct evaluation *in, const struct iam_statement *statement,
                                  bool *by_account)
{
    *by_account = false;
    if (json_is_string(statement->principal)) {
        return YES;
    }
    const char *kind;
    json_t *named;
    enum truth found = NO;

    json_object_foreach(statement->principal, kind, named)
    {
        found = either(found, strcmp(kind, "AWS") == 0 ? names_caller(in, named, by_account)
                                                       : names_other(in, named));
    }
    return found;
}

bool iam_statement_means_action(const struct iam_statement *statement, const char *action)
{
    bool listed = false;

    for (size_t i = 0; i < iam_list_size(statement->actions); i++) {
        const char *pattern = json_string_value(iam_list_at(statement->actions, i));
        listed = listed || iam_wildcard(pattern, action, true);
    }
    return listed != statement->not_action;
}

static enum truth match_resource(struct evaluation *in, const struct iam_statement *statement)
{
    enum truth listed = NO;

    for (size_t i = 0; i < iam_list_size(statement->resources); i++) {
        const char *pattern = json_string_value(iam_list_at(statement->resources, i));
        if (strcmp(pattern, "*") == 0) {
            listed = YES;
        } else if (!in->request->resource) {
            listed = either(listed, unknown(in, pattern, "which key it is, is not known"));
        } else if (is_variable(in, pattern)) {
            listed = either(listed, unknown(in, pattern, "policy variables are not understood"));
        } else {
            listed = either(listed, truth_of(iam_wildcard(pattern, in->request->resource, false)));
        }
    }
    return statement->not_resource ? not(listed) : listed;
}

/* ---- Condition ---- */

static const struct iam_key *find_key(const struct iam_request *request, const char *name)
{
    static const struct iam_key absent = {.name = ""};

    for (size_t i = 0; i < request->key_count; i++) {
        if (strcasecmp(request->keys[i].name, name) == 0) {
            return &request->keys[i];
        }
    }
    for (const char *const *family = request->families; family && *family; family++) {
        if (strncasecmp(name, *family, strlen(*family)) == 0) {
            return &absent;
        }
    }
    return NULL;
}

static const char *value_text(const json_t *value)
{
    if (json_is_boolean(value)) {
        return json_is_true(value) ? "true" : "false";
    }
    return json_string_value(value);
}

/* Of nothing but wildcards, what one value has another has, too, if it is of the same size. */
static bool is_choosy(const char *pattern)
{
    return strpbrk(pattern, "*?") && pattern[strspn(pattern, "*?")] != '\0';
}

static enum truth is_like(struct evaluation *in, const struct iam_operator *op, const struct iam_key *key,
                          const char *pattern, const char *text)
{
    if (key->choosable && is_choosy(pattern)) {
        return unknown(
            in, key->name,
            "an image can be made whose measurement is like a pattern with wildcards, or unlike it");
    }
    return truth_of(iam_wildcard(pattern, text, op->any_case));
}

static enum truth value_matches(struct evaluation *in, const struct iam_operator *op,
                                const struct iam_key *key, const json_t *value, const char *text)
{
    const char *wanted = value_text(value);

    if (!wanted) {
        return unknown(in, "Condition", "a number is compared as a text");
    }
    if (is_variable(in, wanted)) {
        return unknown(in, wanted, "policy variables are not understood");
    }
    if (op->compare == IAM_COMPARE_LIKE) {
        return is_like(in, op, key, wanted, text);
    }
    return truth_of((op->any_case ? strcasecmp(wanted, text) : strcmp(wanted, text)) == 0);
}

/* One value of the request against all of the policy's. */
static enum truth text_matches(struct evaluation *in, const struct iam_operator *op,
                               const struct iam_key *key, const json_t *values, const char *text)
{
    enum truth any = NO;

    for (size_t i = 0; i < iam_list_size(values); i++) {
        any = either(any, value_matches(in, op, key, iam_list_at(values, i), text));
    }
    return op->negated ? not(any) : any;
}

static enum truth null_holds(const json_t *values, bool absent)
{
    bool any = false;

    for (size_t i = 0; i < iam_list_size(values); i++) {
        bool wants_absent = strcasecmp(value_text(iam_list_at(values, i)), "true") == 0;
        any = any || wants_absent == absent;
    }
    return truth_of(any);
}

static bool holds_for_absent(const struct iam_operator *op)
{
    if (op->set != IAM_SET_NONE) {
        return op->set == IAM_SET_ALL;
    }
    return op->if_exists || op->negated;
}

static enum truth key_holds(struct evaluation *in, const struct iam_operator *op, const char *name,
                            const json_t *values)
{
    const struct iam_key *key = find_key(in->request, name);

    if (!key) {
        return unknown(in, name, "what the request has there is not known");
    }
    if (op->compare == IAM_COMPARE_NULL) {
        return null_holds(values, key->count == 0);
    }
    if (key->count == 0) {
        return truth_of(holds_for_absent(op));
    }
    if (key->count > 1 && op->set == IAM_SET_NONE) {
        return unknown(in, name,
                       "it has several values, and the operator neither ForAnyValue nor ForAllValues");
    }
    enum truth result = truth_of(op->set == IAM_SET_ALL);
    for (size_t i = 0; i < key->count; i++) {
        enum truth one = text_matches(in, op, key, values, key->values[i]);
        result = op->set == IAM_SET_ALL ? both(result, one) : either(result, one);
    }
    return result;
}

static enum truth condition_holds(struct evaluation *in, json_t *condition)
{
    enum truth all = YES;
    const char *name, *key;
    json_t *keys, *values;

    json_object_foreach(condition, name, keys)
    {
        struct iam_operator op = iam_operator_read(name);
        if (op.compare == IAM_COMPARE_UNKNOWN) {
            all = both(all, unknown(in, name, "this operator is not understood"));
            continue;
        }
        json_object_foreach(keys, key, values)
        {
            all = both(all, key_holds(in, &op, key, values));
        }
    }
    return all;
}

/* ---- The decision ---- */

/* What is not known of a statement that does not apply in any case is of no interest. */
static enum truth applies(struct evaluation *in, const struct iam_statement *statement, bool *by_account)
{
    struct evaluation here = {.policy = in->policy, .request = in->request};
    enum truth all = truth_of(iam_statement_means_action(statement, in->request->action));

    all = both(all, match_principal(&here, statement, by_account));
    all = both(all, match_resource(&here, statement));
    all = both(all, condition_holds(&here, statement->condition));
    if (all == UNKNOWN && in->why.text[0] == '\0') {
        in->why = here.why;
    }
    return all;
}

static void allow(struct iam_verdict *verdict, size_t statement, bool by_account)
{
    if (verdict->decision != IAM_ALLOWED || (verdict->through_account && !by_account)) {
        verdict->decision = IAM_ALLOWED;
        verdict->statement = statement;
        verdict->through_account = by_account;
    }
}

void iam_evaluate(const struct iam_policy *policy, const struct iam_request *request, struct iam_verdict *ret)
{
    struct evaluation in = {.policy = policy, .request = request};
    bool maybe_allowed = false, maybe_denied = false, by_account;

    *ret = (struct iam_verdict){.decision = IAM_NOT_ALLOWED};
    for (size_t i = 0; i < policy->count; i++) {
        const struct iam_statement *statement = &policy->statements[i];
        enum truth truth = applies(&in, statement, &by_account);
        if (truth == YES && statement->deny) {
            *ret = (struct iam_verdict){.decision = IAM_DENIED, .statement = i};
            return;
        }
        if (truth == YES) {
            allow(ret, i, by_account);
        }
        maybe_denied = maybe_denied || (truth == UNKNOWN && statement->deny);
        maybe_allowed = maybe_allowed || (truth == UNKNOWN && !statement->deny);
    }
    if (ret->decision == IAM_ALLOWED ? maybe_denied : maybe_allowed) {
        *ret = (struct iam_verdict){.decision = IAM_UNKNOWN, .why = in.why};
    }
}
