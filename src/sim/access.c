/* Who may do what: see access.h. */
#include "sim/access.h"
#include "iam/kms.h"
#include "iam/operator.h"
#include "iam/principal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX      (ATTEST_PCRS + SIM_CONTEXT_MAX + 24)
#define NAME_MAX_SIZE 256

/* A request as policies see it. Large: it is allocated. */
struct seen {
    struct iam_key keys[KEYS_MAX];
    const char *values[KEYS_MAX];
    char names[KEYS_MAX][NAME_MAX_SIZE];
    size_t count;
    bool overflow; /* a name is too long to be told */
    char action[64], account[IAM_ACCOUNT_DIGITS + 1], principal[256];
};

static void add(struct seen *seen, const char *name, const char *value)
{
    size_t at = seen->count;

    if (!value || value[0] == '\0' || at == KEYS_MAX) {
        return;
    }
    if (snprintf(seen->names[at], NAME_MAX_SIZE, "%s", name) >= NAME_MAX_SIZE) {
        seen->overflow = true;
        return;
    }
    seen->values[at] = value;
    seen->keys[at] = (struct iam_key){.name = seen->names[at], .values = &seen->values[at], .count = 1};
    seen->count++;
}

static void add_attestation(struct seen *seen, const struct sim_attested *attested)
{
    char name[64];

    add(seen, IAM_KMS_ATTESTATION "ImageSha384", attested->pcrs[0]);
    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        snprintf(name, sizeof name, IAM_KMS_ATTESTATION "PCR%u", i);
        add(seen, name, attested->pcrs[i]);
    }
}

static void add_context(struct seen *seen, const struct sim_context *context)
{
    char name[NAME_MAX_SIZE];

    for (size_t i = 0; i < context->count; i++) {
        if (snprintf(name, sizeof name, "kms:EncryptionContext:%s", context->names[i]) >= (int)sizeof name) {
            seen->overflow = true;
        } else {
            add(seen, name, context->values[i]);
        }
    }
    if (context->count > 0 && seen->count < KEYS_MAX) {
        seen->keys[seen->count++] = (struct iam_key){.name = "kms:EncryptionContextKeys",
                                                     .values = context->names,
                                                     .count = context->count};
    }
}

/* Of a session, the ARN of its role. */
static void set_principal(struct seen *seen, const char *principal)
{
    const char *role = strstr(principal, ":assumed-role/");

    if (role && strstr(principal, ":sts::")) {
        role += strlen(":assumed-role/");
        snprintf(seen->principal, sizeof seen->principal, "arn:aws:iam::%s:role/%.*s", seen->account,
                 (int)strcspn(role, "/"), role);
    } else {
        snprintf(seen->principal, sizeof seen->principal, "%s", principal);
    }
}

static void fill_in(struct seen *seen, const struct sim_access *access)
{
    snprintf(seen->action, sizeof seen->action, "kms:%s", access->operation);
    if (iam_principal_account(access->caller->principal, seen->account)) {
        set_principal(seen, access->caller->principal);
        add(seen, "kms:CallerAccount", seen->account);
        add(seen, "aws:PrincipalAccount", seen->account);
        add(seen, "aws:PrincipalArn", seen->principal);
    }
    add(seen, "aws:SecureTransport", "true");
    add(seen, "aws:RequestedRegion", access->region);
    if (access->key) {
        add(seen, "kms:KeySpec", access->key->spec->name);
        add(seen, "kms:KeyUsage", access->key->usage);
        add(seen, "kms:KeyOrigin", "AWS_KMS");
        add(seen, "kms:MultiRegion", "false");
        add(seen, "kms:ResourceAliases", access->key->alias);
    }
    add(seen, "kms:RequestAlias", access->alias);
    add(seen, "kms:EncryptionAlgorithm", access->algorithm);
    add(seen, "kms:DataKeyPairSpec", access->pair_spec);
    add(seen, "kms:KeyAgreementAlgorithm", access->agreement);
    if (access->attested && access->attested->present) {
        add_attestation(seen, access->attested);
    }
    if (access->context) {
        add_context(seen, access->context);
    }
}

/* What the account's own policies are said to allow. */
static bool account_allows(const struct sim_access *access, const char *action)
{
    for (char **pattern = access->caller->actions; *pattern; pattern++) {
        if (iam_wildcard(*pattern, action, true)) {
            return true;
        }
    }
    return false;
}

static int deny(const struct sim_access *access, const struct seen *seen, const char *because,
                struct sim_kms_error *error)
{
    return sim_kms_refuse(error, "AccessDeniedException",
                          "User: %.256s is not authorized to perform: %s on resource: %s because %s",
                          access->caller->principal, seen->action,
                          access->key ? access->key->arn : "arn:aws:kms:::*", because);
}

static int judge(const struct sim_access *access, const struct seen *seen, struct sim_kms_error *error)
{
    static const char *const all_known[] = {"", NULL}; /* how every name begins */
    struct iam_verdict verdict;
    struct iam_request request = {.principal = access->caller->principal,
                                  .action = seen->action,
                                  .resource = access->key->arn,
                                  .keys = seen->keys,
                                  .key_count = seen->count,
                                  .families = all_known};

    iam_evaluate(&access->key->policy, &request, &verdict);
    bool foreign = strcmp(seen->account, access->account) != 0;
    switch (verdict.decision) {
    case IAM_DENIED:
        return deny(access, seen, "of an explicit deny in a resource-based policy", error);
    case IAM_UNKNOWN:
        return deny(access, seen, verdict.why.text, error);
    case IAM_ALLOWED:
        if ((verdict.through_account || foreign) && !account_allows(access, seen->action)) {
            return deny(access, seen, "no identity-based policy allows the action", error);
        }
        return 0;
    default:
        return deny(access, seen, "no resource-based policy allows the action", error);
    }
}

int sim_access_check(const struct sim_access *access, struct sim_kms_error *error)
{
    struct seen *seen = calloc(1, sizeof *seen);
    int rv;

    if (!seen) {
        return sim_kms_break(error, "out of memory");
    }
    fill_in(seen, access);
    if (seen->overflow) {
        rv = deny(access, seen, "a name in its encryption context is too long to be judged", error);
    } else if (access->key) {
        rv = judge(access, seen, error);
    } else {
        rv = account_allows(access, seen->action)
                 ? 0
                 : deny(access, seen, "no identity-based policy allows the action", error);
    }
    free(seen);
    return rv;
}
