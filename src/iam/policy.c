/* Key policies, read: see policy.h. */
#include "iam/policy.h"
#include "base/diag.h"
#include "iam/operator.h"
#include "iam/principal.h"
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct reader {
    struct iam_policy *policy;
    struct text *mistakes;
    size_t count;   /* of mistakes */
    char place[96]; /* "Statement[1]", or "" for the document as a whole */
};

/* What the document has put into the line is escaped: it ends up on a terminal. */
static void mistake(struct reader *reader, const char *element, const char *format, ...) PRINTF_LIKE(3, 4);
static void mistake(struct reader *reader, const char *element, const char *format, ...)
{
    char line[512];
    int length = snprintf(line, sizeof line, "%s%s%.200s: ", reader->place,
                          reader->place[0] != '\0' && element[0] != '\0' ? "." : "", element);
    va_list args;

    reader->count++;
    if (reader->count > IAM_MISTAKES_MAX) {
        return;
    }
    va_start(args, format);
    vsnprintf(line + length, sizeof line - (size_t)length, format, args);
    va_end(args);
    text_add_json(reader->mistakes, line, strlen(line));
    text_add_char(reader->mistakes, '\n');
}

/* ---- Lists ---- */

size_t iam_list_size(const json_t *list)
{
    return json_is_array(list) ? json_array_size(list) : 1;
}

const json_t *iam_list_at(const json_t *list, size_t index)
{
    return json_is_array(list) ? json_array_get(list, index) : list;
}

typedef void (*check_item)(struct reader *reader, const char *element, const json_t *item);

static void check_list(struct reader *reader, const char *element, const json_t *list, check_item check)
{
    if (iam_list_size(list) == 0) {
        mistake(reader, element, "it is empty");
    }
    for (size_t i = 0; i < iam_list_size(list); i++) {
        check(reader, element, iam_list_at(list, i));
    }
}

static void check_action(struct reader *reader, const char *element, const json_t *item)
{
    const char *text = json_string_value(item);

    if (!text || (strcmp(text, "*") != 0 && !strchr(text, ':'))) {
        mistake(reader, element, "an action is expected, such as kms:Decrypt, not %s", text ? text : "that");
    }
}

static void check_resource(struct reader *reader, const char *element, const json_t *item)
{
    const char *text = json_string_value(item);

    if (!text || (strcmp(text, "*") != 0 && strncmp(text, "arn:", 4) != 0)) {
        mistake(reader, element, "* (this key) or an ARN is expected, not %s", text ? text : "that");
    }
}

/* ---- Principal ---- */

static void check_aws_principal(struct reader *reader, const char *element, const json_t *item)
{
    const char *text = json_string_value(item);

    if (!text || !iam_principal_valid(text)) {
        mistake(reader, element,
                "*, an account's number, or the ARN of an account, user, role or session is expected, in "
                "full, not %s",
                text ? text : "that");
    }
}

static void check_other_principal(struct reader *reader, const char *element, const json_t *item)
{
    if (!json_is_string(item)) {
        mistake(reader, element, "a name is expected");
    }
}

static void check_principal(struct reader *reader, json_t *principal)
{
    static const char *const others[] = {"Service", "Federated", "CanonicalUser"};
    const char *kind;
    json_t *list;

    if (json_is_string(principal) && strcmp(json_string_value(principal), "*") == 0) {
        return;
    }
    if (!json_is_object(principal) || json_object_size(principal) == 0) {
        mistake(reader, "Principal", "* or an object such as {AWS: ARN} is expected");
    }
    json_object_foreach(principal, kind, list)
    {
        bool other = false;
        for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
            other = other || strcmp(kind, others[i]) == 0;
        }
        if (strcmp(kind, "AWS") == 0) {
            check_list(reader, "Principal.AWS", list, check_aws_principal);
        } else if (other) {
            check_list(reader, "Principal", list, check_other_principal);
        } else {
            mistake(reader, "Principal", "there is no kind of principal %s", kind);
        }
    }
}

/* ---- Condition ---- */

static void check_value(struct reader *reader, const char *element, const json_t *item)
{
    if (!json_is_string(item) && !json_is_boolean(item) && !json_is_number(item)) {
        mistake(reader, element, "texts, numbers, true or false are expected");
    }
}

static void check_truth(struct reader *reader, const char *element, const json_t *item)
{
    const char *text = json_string_value(item);

    if (!json_is_boolean(item) &&
        (!text || (strcasecmp(text, "true") != 0 && strcasecmp(text, "false") != 0))) {
        mistake(reader, element, "true or false is expected");
    }
}

static void check_condition(struct reader *reader, json_t *condition)
{
    const char *name, *key;
    json_t *keys, *values;
    char element[200];

    if (!json_is_object(condition)) {
        mistake(reader, "Condition", "an object of operators is expected");
    }
    json_object_foreach(condition, name, keys)
    {
        struct iam_operator op = iam_operator_read(name);
        snprintf(element, sizeof element, "Condition.%.60s", name);
        if (!json_is_object(keys)) {
            mistake(reader, element, "an object of keys and values is expected");
        }
        json_object_foreach(keys, key, values)
        {
            snprintf(element, sizeof element, "Condition.%.60s.%.100s", name, key);
            check_list(reader, element, values,
                       op.compare == IAM_COMPARE_NULL || op.compare == IAM_COMPARE_BOOL ? check_truth
                                                                                        : check_value);
        }
    }
}

/* ---- Statements ---- */

static void check_names(struct reader *reader, json_t *object, const char *const *names, size_t count)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        bool known = false;
        for (size_t i = 0; i < count; i++) {
            known = known || strcmp(name, names[i]) == 0;
        }
        if (!known) {
            const char *nearest = diags_nearest(name, names, count);
            mistake(reader, name, "there is no such element%s%s", nearest ? "; did you mean " : "",
                    nearest ? nearest : "");
        }
    }
}

/* One of two elements that exclude each other. NULL if neither is there, or both. */
static json_t *take_either(struct reader *reader, const json_t *object, const char *name,
                           const char *not_name, bool *ret_not, check_item check)
{
    json_t *plain = json_object_get(object, name), *negated = json_object_get(object, not_name);

    *ret_not = negated != NULL;
    if (!plain == !negated) {
        mistake(reader, "", plain ? "%s and %s exclude each other" : "%s or %s is missing", name, not_name);
        return NULL;
    }
    json_t *list = plain ? plain : negated;
    check_list(reader, plain ? name : not_name, list, check);
    return list;
}

static void read_effect(struct reader *reader, const json_t *object, struct iam_statement *statement)
{
    const char *effect = json_string_value(json_object_get(object, "Effect"));

    statement->deny = effect && strcmp(effect, "Deny") == 0;
    if (!statement->deny && (!effect || strcmp(effect, "Allow") != 0)) {
        mistake(reader, "Effect", "Allow or Deny is expected");
    }
}

static void read_principal(struct reader *reader, const json_t *object, struct iam_statement *statement)
{
    statement->principal = json_object_get(object, "Principal");
    if (json_object_get(object, "NotPrincipal")) {
        mistake(reader, "NotPrincipal",
                "it is not understood here; name the principals, or deny with a "
                "condition on aws:PrincipalArn");
    } else if (!statement->principal) {
        mistake(reader, "", "Principal is missing; a key policy names one");
    } else {
        check_principal(reader, statement->principal);
    }
}

static void read_statement(struct reader *reader, json_t *object, struct iam_statement *statement)
{
    static const char *const names[] = {"Sid",       "Effect",   "Principal",   "NotPrincipal", "Action",
                                        "NotAction", "Resource", "NotResource", "Condition"};
    json_t *sid = json_object_get(object, "Sid");

    if (!json_is_object(object)) {
        mistake(reader, "", "an object is expected");
        return;
    }
    check_names(reader, object, names, ARRAY_SIZE(names));
    statement->sid = json_string_value(sid);
    if (sid && !statement->sid) {
        mistake(reader, "Sid", "a text is expected");
    }
    read_effect(reader, object, statement);
    read_principal(reader, object, statement);
    statement->actions =
        take_either(reader, object, "Action", "NotAction", &statement->not_action, check_action);
    statement->resources =
        take_either(reader, object, "Resource", "NotResource", &statement->not_resource, check_resource);
    statement->condition = json_object_get(object, "Condition");
    if (statement->condition) {
        check_condition(reader, statement->condition);
    }
}

/* ---- The document ---- */

static void read_version(struct reader *reader)
{
    json_t *version = json_object_get(reader->policy->root, "Version");
    const char *text = json_string_value(version);

    reader->policy->variables = text && strcmp(text, "2012-10-17") == 0;
    if (version && !reader->policy->variables && (!text || strcmp(text, "2008-10-17") != 0)) {
        mistake(reader, "Version", "2012-10-17 or 2008-10-17 is expected");
    }
}

static void read_document(struct reader *reader)
{
    static const char *const names[] = {"Version", "Id", "Statement"};
    struct iam_policy *policy = reader->policy;
    json_t *list = json_object_get(policy->root, "Statement");

    if (!json_is_object(policy->root)) {
        mistake(reader, "the document", "an object with a Statement is expected");
        return;
    }
    check_names(reader, policy->root, names, ARRAY_SIZE(names));
    read_version(reader);
    if (!list || iam_list_size(list) == 0 || iam_list_size(list) > IAM_STATEMENTS_MAX) {
        mistake(reader, "Statement", "1 to %d statements are expected", IAM_STATEMENTS_MAX);
        return;
    }
    policy->count = iam_list_size(list);
    for (size_t i = 0; i < policy->count; i++) {
        snprintf(reader->place, sizeof reader->place, "Statement[%zu]", i);
        read_statement(reader, json_is_array(list) ? json_array_get(list, i) : list, &policy->statements[i]);
    }
    reader->place[0] = '\0';
}

static int not_json(struct reader *reader, const json_error_t *why)
{
    if (why->text[0] == '\0' || json_error_code(why) == json_error_out_of_memory) {
        return -ENOMEM;
    }
    mistake(reader, "the document", "it is no JSON: line %d, column %d: %s", why->line, why->column,
            why->text);
    return -EBADMSG;
}

int iam_policy_read(struct iam_policy *policy, const char *data, size_t size, struct text *mistakes)
{
    struct reader reader = {.policy = policy, .mistakes = mistakes};
    json_error_t why = {.text = ""};

    memset(policy, 0, sizeof *policy);
    if (size > IAM_POLICY_MAX) {
        mistake(&reader, "the document", "it is larger than %zu bytes", IAM_POLICY_MAX);
        return -EBADMSG;
    }
    policy->root = json_loadb(data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!policy->root) {
        return not_json(&reader, &why);
    }
    read_document(&reader);
    if (reader.count == 0) {
        return 0;
    }
    if (reader.count > IAM_MISTAKES_MAX) {
        text_addf(mistakes, "and %zu more\n", reader.count - IAM_MISTAKES_MAX);
    }
    iam_policy_release(policy);
    return mistakes->failed ? -ENOMEM : -EBADMSG;
}

void iam_policy_release(struct iam_policy *policy)
{
    json_decref(policy->root);
    memset(policy, 0, sizeof *policy);
}
