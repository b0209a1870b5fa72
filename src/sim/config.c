/* The simulator's configuration: see config.h. What it says of the KMS's contents is in config_kms.c. */
#include "sim/config.h"
#include "sim/keep.h"

#include <errno.h>
#include <string.h>

#define REGION      "us-east-1"
#define ACCOUNT     "111122223333"
#define INSTANCE_ID "i-0123456789abcdef0"

static int malformed(struct error *err, const char *where, const json_error_t *why)
{
    return error_set(err, -EINVAL, "%s: %s", where, why->text);
}

static int read_nsm(json_t *object, struct sim_config_nsm *ret, struct error *err)
{
    json_error_t why;
    int debug = 0;

    *ret = (struct sim_config_nsm){.module_id = "", .shape = "definite"};
    if (json_unpack_ex(object, &why, JSON_STRICT, "{s:s, s?s, s?s, s?s, s?s, s?s, s?o, s?b}", "listen",
                       &ret->listen, "module_id", &ret->module_id, "eif", &ret->eif, "role_arn",
                       &ret->role_arn, "instance_id", &ret->instance_id, "shape", &ret->shape, "pcrs",
                       &ret->pcrs, "debug", &debug) != 0) {
        return malformed(err, "nsm", &why);
    }
    ret->debug = debug;
    if (strcmp(ret->shape, "definite") != 0 && strcmp(ret->shape, "indefinite") != 0 &&
        strcmp(ret->shape, "tagged") != 0) {
        return error_set(err, -EINVAL, "nsm: shape has to be definite, indefinite or tagged");
    }
    return ret->pcrs && !json_is_object(ret->pcrs) ? error_set(err, -EINVAL, "nsm: pcrs has to be an object")
                                                   : 0;
}

static int read_nsms(json_t *list, struct sim_config *config, struct error *err)
{
    int rv = 0;

    if (list && (!json_is_array(list) || json_array_size(list) > SIM_NSMS_MAX)) {
        return error_set(err, -EINVAL, "nsm: a list of at most %d is expected", SIM_NSMS_MAX);
    }
    for (size_t i = 0; rv == 0 && i < json_array_size(list); i++) {
        rv = read_nsm(json_array_get(list, i), &config->nsms[config->nsm_count++], err);
    }
    return rv;
}

static int read_kms(json_t *object, struct sim_config *config, struct error *err)
{
    json_error_t why;

    if (object && json_unpack_ex(object, &why, JSON_STRICT, "{s:s, s?s, s?s, s?s, s?s, s?o, s?o}", "listen",
                                 &config->kms_listen, "region", &config->region, "account", &config->account,
                                 "host", &config->host, "cms", &config->cms, "credentials",
                                 &config->credentials, "keys", &config->keys) != 0) {
        return malformed(err, "kms", &why);
    }
    if (strcmp(config->cms, "scattered") != 0 && strcmp(config->cms, "primitive") != 0) {
        return error_set(err, -EINVAL, "kms: cms has to be scattered or primitive");
    }
    if (strlen(config->account) != 12 || strspn(config->account, "0123456789") != 12 ||
        strlen(config->region) > 30) {
        return error_set(err, -EINVAL,
                         "kms: account has to have 12 digits, and region at most 30 characters");
    }
    return 0;
}

static int read_parts(struct sim_config *config, struct error *err)
{
    json_error_t why;
    json_t *kms = NULL, *nsm = NULL;
    int rv;

    if (json_unpack_ex(config->root, &why, JSON_STRICT, "{s:s, s?{s:s}, s?{s:s, s?s}, s?s, s?I, s?o, s?o}",
                       "directory", &config->directory, "control", "listen", &config->control, "metadata",
                       "listen", &config->metadata, "access_key_id", &config->metadata_key, "instance_id",
                       &config->instance_id, "now", &config->now, "kms", &kms, "nsm", &nsm) != 0) {
        return malformed(err, "the configuration", &why);
    }
    if (strlen(config->instance_id) > 24) {
        return error_set(err, -EINVAL, "instance_id has at most 24 characters");
    }
    rv = read_kms(kms, config, err);
    return rv == 0 ? read_nsms(nsm, config, err) : rv;
}

int sim_config_parse(const char *data, size_t size, struct sim_config *ret, struct error *err)
{
    json_error_t why;

    memset(ret, 0, sizeof *ret);
    ret->region = REGION;
    ret->account = ACCOUNT;
    ret->instance_id = INSTANCE_ID;
    ret->cms = "scattered";
    ret->root = json_loadb(data, size, JSON_REJECT_DUPLICATES, &why);
    if (!ret->root) {
        return error_set(err, -EINVAL, "line %d, column %d: %s", why.line, why.column, why.text);
    }
    int rv = read_parts(ret, err);
    if (rv != 0) {
        sim_config_release(ret);
    }
    return rv;
}

int sim_config_read(const char *path, struct sim_config *ret, struct error *err)
{
    struct text text = TEXT_INIT;
    int rv = sim_file_read(path, &text, err);

    if (rv == 0) {
        rv = sim_config_parse(text_string(&text), text.length, ret, err);
        if (rv != 0) {
            error_prefix(err, "%s", path);
        }
    }
    text_release(&text);
    return rv;
}

void sim_config_release(struct sim_config *config)
{
    json_decref(config->root);
    memset(config, 0, sizeof *config);
}
