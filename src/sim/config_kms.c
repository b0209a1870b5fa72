/* What the configuration says of the KMS: who may sign, and which keys there are. See config.h. */
#include "iam/principal.h"
#include "sim/config.h"
#include "sim/keep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CREDENTIALS_MAX 256

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "cannot read the configuration: out of memory");
}

/* ---- Credentials ---- */

/* What the account's own policies allow; all of KMS, if nothing is said. */
static char **copy_actions(const json_t *list)
{
    size_t count = list ? json_array_size(list) : 1;
    char **actions = calloc(count + 1, sizeof *actions);

    for (size_t i = 0; actions && i < count; i++) {
        const char *text = list ? json_string_value(json_array_get(list, i)) : "kms:*";
        actions[i] = strdup(text ? text : "");
        if (!actions[i]) {
            while (i > 0) {
                free(actions[--i]);
            }
            free(actions);
            return NULL;
        }
    }
    return actions;
}

static int read_credential(json_t *object, struct sim_credential *ret, struct error *err)
{
    const char *id, *secret, *token = NULL, *principal;
    json_int_t expires = 0;
    json_t *actions = NULL;
    json_error_t why;

    if (json_unpack_ex(object, &why, JSON_STRICT, "{s:s, s:s, s?s, s:s, s?I, s?o}", "access_key_id", &id,
                       "secret_access_key", &secret, "session_token", &token, "principal", &principal,
                       "expires", &expires, "account_allows", &actions) != 0) {
        return error_set(err, -EINVAL, "kms.credentials: %s", why.text);
    }
    if (!iam_principal_valid(principal) || strcmp(principal, "*") == 0 ||
        (actions && !json_is_array(actions))) {
        return error_set(err, -EINVAL,
                         "kms.credentials: %.100s: principal has to be an ARN, and account_allows a list",
                         principal);
    }
    *ret = (struct sim_credential){.access_key_id = strdup(id),
                                   .secret_access_key = strdup(secret),
                                   .session_token = token ? strdup(token) : NULL,
                                   .principal = strdup(principal),
                                   .actions = copy_actions(actions),
                                   .expires = (time_t)expires};
    return ret->access_key_id && ret->secret_access_key && ret->principal && ret->actions &&
                   (!token || ret->session_token)
               ? 0
               : no_memory(err);
}

int sim_config_credentials(const struct sim_config *config, struct sim_credentials *ret, struct error *err)
{
    size_t count = json_array_size(config->credentials);
    int rv = 0;

    *ret = (struct sim_credentials){.list = NULL};
    if (count > CREDENTIALS_MAX || (config->credentials && !json_is_array(config->credentials))) {
        return error_set(err, -EINVAL, "kms.credentials: a list of at most %d is expected", CREDENTIALS_MAX);
    }
    ret->list = calloc(count + 1, sizeof *ret->list);
    if (!ret->list) {
        return no_memory(err);
    }
    for (size_t i = 0; rv == 0 && i < count; i++) {
        rv = read_credential(json_array_get(config->credentials, i), &ret->list[ret->count++], err);
    }
    return rv;
}

/* ---- Keys ---- */

/* The text of a policy that is given as an object, or in a file. `ret` is empty if there is none. */
static int read_policy(const json_t *policy, const char *file, struct text *ret, struct error *err)
{
    if (file) {
        return sim_file_read(file, ret, err);
    }
    if (policy) {
        char *text = json_dumps(policy, JSON_COMPACT);
        text_add(ret, text ? text : "");
        free(text);
        return ret->length == 0 || ret->failed ? no_memory(err) : 0;
    }
    return 0;
}

/* One that was kept from before has its secret from there, and its policy from here. */
static int put_key(struct sim_kms *kms, struct sim_key_wanted *wanted, struct error *err)
{
    struct sim_key *key = sim_keys_find(&kms->keys, wanted->id);

    if (!key) {
        return sim_keys_add(&kms->keys, wanted, sim_now(kms->clock), &key, err);
    }
    if (key->spec != wanted->spec) {
        return error_set(err, -EEXIST, "it is kept in keys.json with spec %s", key->spec->name);
    }
    return wanted->policy ? sim_key_set_policy(key, wanted->policy, strlen(wanted->policy), err) : 0;
}

static int read_key(struct sim_kms *kms, json_t *object, struct error *err)
{
    struct sim_key_wanted wanted = {.usage = NULL};
    const char *spec = SIM_SPEC_SYMMETRIC, *usage = NULL, *file = NULL;
    struct text policy = TEXT_INIT;
    json_t *inline_policy = NULL;
    json_error_t why;

    if (json_unpack_ex(object, &why, JSON_STRICT, "{s:s, s?s, s?s, s?s, s?o, s?s}", "id", &wanted.id, "alias",
                       &wanted.alias, "spec", &spec, "usage", &usage, "policy", &inline_policy, "policy_file",
                       &file) != 0) {
        return error_set(err, -EINVAL, "kms.keys: %s", why.text);
    }
    wanted.spec = sim_spec_find(spec);
    if (!wanted.spec ||
        (usage && strcmp(usage, "ENCRYPT_DECRYPT") != 0 && strcmp(usage, "KEY_AGREEMENT") != 0) ||
        (wanted.alias && strncmp(wanted.alias, "alias/", 6) != 0)) {
        return error_set(err, -EINVAL, "kms.keys: %.64s: spec, usage or alias is none that KMS has",
                         wanted.id);
    }
    wanted.usage = (usage && strcmp(usage, "KEY_AGREEMENT") == 0) || (!usage && wanted.spec->curve)
                       ? "KEY_AGREEMENT"
                       : "ENCRYPT_DECRYPT";
    int rv = read_policy(inline_policy, file, &policy, err);
    if (rv == 0) {
        wanted.policy = policy.length > 0 ? policy.data : NULL;
        rv = put_key(kms, &wanted, err);
    }
    if (rv != 0) {
        error_prefix(err, "kms.keys: %.64s", wanted.id);
    }
    text_release(&policy);
    return rv;
}

int sim_config_keys(const struct sim_config *config, struct sim_kms *kms, struct error *err)
{
    int rv = 0;

    if (config->keys && !json_is_array(config->keys)) {
        return error_set(err, -EINVAL, "kms.keys: a list is expected");
    }
    for (size_t i = 0; rv == 0 && i < json_array_size(config->keys); i++) {
        rv = read_key(kms, json_array_get(config->keys, i), err);
    }
    return rv;
}
