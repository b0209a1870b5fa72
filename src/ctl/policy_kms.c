/*
 * posternctl policy kms: the statement of a key policy that lets an enclave of certain measurements use a key, and nobody else.
 *
 * An Allow with positive operators is the form that fails closed: where there is no document, or none of these measurements, the statement
 * does not apply, and what nothing allows is denied.
 */
#include "base/units.h"
#include "ctl/policy.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct choice {
    bool pcrs[IAM_KMS_PCRS];
    bool operations[IAM_KMS_OPERATIONS];
};

/* Calls for each item of a list with commas. */
static int for_each(const char *list, int (*take)(const char *item, struct choice *choice, struct error *err),
                    struct choice *choice, struct error *err)
{
    int rv = 0;

    while (rv == 0) {
        size_t size = strcspn(list, ",");
        char item[64];
        snprintf(item, sizeof item, "%.*s", size < sizeof item ? (int)size : 0, list);
        rv = take(item, choice, err);
        if (list[size] == '\0') {
            break;
        }
        list += size + 1;
    }
    return rv;
}

static int take_pcr(const char *item, struct choice *choice, struct error *err)
{
    uint64_t index;

    if (units_parse_u64(item, IAM_KMS_PCRS - 1, &index) != 0) {
        return error_set(err, -EINVAL, "--pcr wants numbers of measurements, such as 0,8, not \"%s\"", item);
    }
    choice->pcrs[index] = true;
    return 0;
}

static int take_operation(const char *item, struct choice *choice, struct error *err)
{
    const char *name = strncasecmp(item, "kms:", 4) == 0 ? item + 4 : item;

    for (size_t i = 0; i < IAM_KMS_OPERATIONS; i++) {
        if (strcasecmp(name, iam_kms_operations[i] + 4) == 0) {
            choice->operations[i] = true;
            return 0;
        }
    }
    return error_set(err, -EINVAL,
                     "--action wants some of Decrypt,GenerateDataKey,GenerateDataKeyPair,GenerateRandom,"
                     "DeriveSharedSecret, not \"%s\": no other operation looks at an attestation",
                     item);
}

static int choose(const struct policy_arguments *arguments, struct choice *choice, struct error *err)
{
    int rv = for_each(arguments->pcrs ? arguments->pcrs : "0", take_pcr, choice, err);

    choice->pcrs[3] = choice->pcrs[3] || arguments->role;
    choice->pcrs[4] = choice->pcrs[4] || arguments->instance;
    if (rv == 0 && arguments->actions) {
        return for_each(arguments->actions, take_operation, choice, err);
    }
    for (size_t i = 0; i < IAM_KMS_OPERATIONS; i++) {
        choice->operations[i] = true;
    }
    return rv;
}

static int check_chosen(unsigned pcr, const struct policy_arguments *arguments, struct error *err)
{
    const char *value = arguments->measured.pcrs[pcr];
    const char *from = "the measurements do not have it";

    if (value[0] == '\0') {
        from = pcr == 3 ? "say --role-arn" : pcr == 4 ? "say --instance-id" : from;
        from = pcr == 8 ? "the image is not signed" : from;
        return error_set(err, -ENODATA, "PCR%u is not known: %s", pcr, from);
    }
    if (policy_is_zero(value) && !arguments->allow_debug) {
        return error_set(
            err, -EPERM,
            "PCR%u is zero, as in a debug enclave, whose parent reads its console: a key for one is a key "
            "for any; --allow-debug if that is meant",
            pcr);
    }
    return 0;
}

/* PCR0 even if it is not chosen: the measurements are of a debug enclave, or not. */
static int check(const struct policy_arguments *arguments, const struct choice *choice, struct error *err)
{
    int rv = check_chosen(0, arguments, err);

    for (unsigned i = 1; i < IAM_KMS_PCRS && rv == 0; i++) {
        rv = choice->pcrs[i] ? check_chosen(i, arguments, err) : 0;
    }
    if (rv == 0 && !choice->pcrs[0] && !choice->pcrs[8] && !(choice->pcrs[1] && choice->pcrs[2])) {
        rv = error_set(err, -EINVAL,
                       "--pcr wants 0, or 1 and 2, or 8 among the measurements: any others leave it open "
                       "what image it is");
    }
    return rv;
}

/* ---- What is written ---- */

static json_t *conditions(const struct policy_arguments *arguments, const struct choice *choice)
{
    json_t *keys = json_object();

    for (unsigned i = 0; i < IAM_KMS_PCRS; i++) {
        char name[40];
        snprintf(name, sizeof name, IAM_KMS_ATTESTATION "PCR%u", i);
        if (choice->pcrs[i] &&
            json_object_set_new(keys, name, json_string(arguments->measured.pcrs[i])) != 0) {
            json_decref(keys);
            return NULL;
        }
    }
    return keys;
}

static json_t *actions(const struct choice *choice)
{
    json_t *list = json_array();

    for (size_t i = 0; i < IAM_KMS_OPERATIONS; i++) {
        if (choice->operations[i] && json_array_append_new(list, json_string(iam_kms_operations[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *document(const struct policy_arguments *arguments, const struct choice *choice,
                        const char *principal)
{
    return json_pack("{s:s, s:[{s:s, s:s, s:{s:s}, s:o, s:s, s:{s:o}}]}", "Version", "2012-10-17",
                     "Statement", "Sid", "AttestedEnclave", "Effect", "Allow", "Principal", "AWS", principal,
                     "Action", actions(choice), "Resource", "*", "Condition", "StringEqualsIgnoreCase",
                     conditions(arguments, choice));
}

static void print_notes(const struct ctl *ctl, const struct choice *choice)
{
    if (ctl->json) {
        return;
    }
    fputs("note: to be added to a key policy, which also says who administers the key; nothing else there "
          "may allow "
          "these operations, least of all kms:* to the account; `posternctl policy explain` tells of the "
          "whole\n",
          ctl->err);
    if (!choice->pcrs[0] && choice->pcrs[8]) {
        fputs("note: any image that is signed with that certificate will get in\n", ctl->err);
    }
}

int policy_kms(const struct ctl *ctl, struct policy_arguments *arguments)
{
    struct choice choice = {.pcrs = {false}};
    struct error err = ERROR_INIT;
    const char *principal = arguments->principal ? arguments->principal : arguments->role;

    if (!arguments->measurements) {
        return ctl_usage_error(ctl,
                               "policy kms wants --measurements FILE: what `nitro-cli build-enclave` prints");
    }
    if (!principal) {
        return ctl_usage_error(
            ctl, "policy kms wants --principal ARN, the role that the enclave calls KMS with, or "
                 "--role-arn: else anyone with a copy of the image could use the key");
    }
    if (choose(arguments, &choice, &err) != 0) {
        return ctl_usage_error(ctl, "%s", err.text);
    }
    if (policy_measure(arguments, &err) != 0 || check(arguments, &choice, &err) != 0) {
        return ctl_failed(ctl, err.text);
    }
    int code = ctl_print_json(ctl, document(arguments, &choice, principal));
    if (code == CTL_DONE) {
        print_notes(ctl, &choice);
    }
    return code;
}
