/* A client, opened out of its options and closed: see include/postern/kms.h. */
#include "aws/credentials_local.h"
#include "base/sized.h"
#include "kms/kms_private.h"
#include "kms/struct.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTIONS     16u
#define CONNECTIONS_MAX 1024u
#define TIMEOUT_MS      10000u

int kms_read_struct(void *ret, size_t known, const void *given, size_t size, struct postern_error *err)
{
    struct error why = ERROR_INIT;
    int status = sized_read(ret, known, given, size, &why);
    return status ? kms_fail(err, status, NULL, &why) : 0;
}

/* ---- Names ---- */

/* Regions are part of a host's name. */
static int set_region(struct postern_kms *kms, const char *told, struct error *err)
{
    const char *region = told ? told : credentials_env("AWS_REGION");

    region = region ? region : credentials_env("AWS_DEFAULT_REGION");
    if (!region) {
        return error_set(err, -EINVAL,
                         "the region is not known: set `region` (--region), or AWS_REGION in the "
                         "environment, as in us-east-1");
    }
    size_t size = strlen(region);
    if (size == 0 || size > 63 || strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != size) {
        return error_set(
            err, -EINVAL,
            "the region \"%.63s\" is none: `region` (--region), or AWS_REGION in the environment, "
            "is a word such as us-east-1",
            region);
    }
    kms->region = strdup(region);
    return kms->region ? 0 : error_set(err, -ENOMEM, "out of memory");
}

/* China has a domain of its own. */
static int set_host(struct postern_kms *kms, const char *told, struct error *err)
{
    const char *suffix = strncmp(kms->region, "cn-", 3) == 0 ? ".cn" : "";
    char host[128];

    snprintf(host, sizeof host, "kms.%s.amazonaws.com%s", kms->region, suffix);
    kms->host = strdup(told ? told : host);
    return kms->host ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static char *copy_of(const char *told, bool *failed)
{
    char *copy = told ? strdup(told) : NULL;

    *failed |= told && !copy;
    return copy;
}

/* ---- The way ---- */

static int parse_address(const char *name, const char *text, struct addr *ret, struct error *err)
{
    int status = addr_parse(text, ret, err);

    if (status != 0) {
        error_prefix(err, "%s", name);
    }
    return status;
}

/* A connection of our own, if a route is to be taken. */
static int open_door(struct postern_kms *kms, const struct postern_kms_options *options, struct error *err)
{
    struct postern_options how;
    struct postern_error why;

    kms->door = options->postern;
    if (options->postern || options->raw_address) {
        return 0;
    }
    postern_options_init(&how);
    how.flags = POSTERN_LAZY;
    int status = postern_connect(options->address, &how, &kms->door, &why);
    kms->own_door = status == 0;
    return status == 0 ? 0 : error_set(err, status, "%s", why.message);
}

static int find_ways(struct postern_kms *kms, const struct postern_kms_options *options,
                     struct kms_place *ret_kms, struct error *err)
{
    struct kms_look *look = &kms->credentials.look;
    int status = 0;

    if (options->raw_address && (options->postern || options->address || options->route)) {
        return error_set(err, -EINVAL,
                         "either a raw address or a way through the daemon is wanted, not both");
    }
    *ret_kms = (struct kms_place){.route = kms->route};
    look->metadata = (struct kms_place){.route = kms->metadata_route};
    if (options->raw_address) {
        status = parse_address("the raw address", options->raw_address, &ret_kms->addr, err);
    }
    if (status == 0 && options->metadata_address) {
        status = parse_address("the metadata address", options->metadata_address, &look->metadata.addr, err);
    }
    status = status == 0 ? open_door(kms, options, err) : status;
    ret_kms->door = options->raw_address ? NULL : kms->door;
    look->metadata.door = options->metadata_address ? NULL : kms->door;
    look->has_metadata = options->metadata_address || kms->door;
    return status;
}

/* ---- Credentials ---- */

static int find_place(const char *told, enum kms_credentials_place *ret, struct error *err)
{
    static const char *const names[] = {[KMS_CREDENTIALS_AUTO] = "auto",
                                        [KMS_CREDENTIALS_GIVEN] = "given",
                                        [KMS_CREDENTIALS_ENVIRONMENT] = "environment",
                                        [KMS_CREDENTIALS_FILE] = "file",
                                        [KMS_CREDENTIALS_CONTAINER] = "container",
                                        [KMS_CREDENTIALS_METADATA] = "metadata"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(told ? told : "auto", names[i]) == 0) {
            *ret = (enum kms_credentials_place)i;
            return 0;
        }
    }
    return error_set(err, -EINVAL,
                     "credentials come from: given, environment, file, container, metadata, or auto");
}

static int set_credentials(struct postern_kms *kms, const struct postern_kms_options *options,
                           struct error *err)
{
    struct kms_look *look = &kms->credentials.look;
    bool given = options->access_key_id || options->secret_access_key || options->session_token;
    bool failed = false;
    int status = find_place(options->credentials, &look->place, err);

    if (status == 0 && given && look->place != KMS_CREDENTIALS_AUTO && look->place != KMS_CREDENTIALS_GIVEN) {
        status = error_set(err, -EINVAL, "AWS credentials are given, and others asked for");
    }
    if (status == 0 && (given || look->place == KMS_CREDENTIALS_GIVEN)) {
        status = credentials_keys_set(&look->given, options->access_key_id, options->secret_access_key,
                                      options->session_token, err);
    }
    look->file = copy_of(options->credentials_file, &failed);
    look->profile = copy_of(options->profile, &failed);
    return failed ? error_set(err, -ENOMEM, "out of memory") : status;
}

/* ---- The client ---- */

static int check(const struct postern_kms_options *options, struct error *err)
{
    if (options->flags & ~POSTERN_KMS_KEY_PER_CALL) {
        return error_set(err, -EINVAL, "a flag is set that this version of libpostern-kms does not know");
    }
    if (options->connections > CONNECTIONS_MAX) {
        return error_set(err, -EINVAL, "a client has at most %u connections", CONNECTIONS_MAX);
    }
    return 0;
}

static int set_up(struct postern_kms *kms, const struct postern_kms_options *options, struct error *err)
{
    struct kms_place to;
    bool failed = false;
    int status = check(options, err);

    kms->timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : TIMEOUT_MS;
    kms->route = copy_of(options->route ? options->route : "kms", &failed);
    kms->metadata_route = copy_of(options->metadata_route ? options->metadata_route : "imds", &failed);
    kms->attestation.insecure_nsm = copy_of(options->insecure_nsm, &failed);
    kms->attestation.key_per_call = options->flags & POSTERN_KMS_KEY_PER_CALL;
    status = failed ? error_set(err, -ENOMEM, "out of memory") : status;
    status = status == 0 ? set_region(kms, options->region, err) : status;
    status = status == 0 ? set_host(kms, options->host, err) : status;
    status = status == 0 ? set_credentials(kms, options, err) : status;
    status = status == 0 ? find_ways(kms, options, &to, err) : status;
    if (status == 0) {
        unsigned most = options->connections != 0 ? options->connections : CONNECTIONS;
        status = kms_pool_open(&kms->pool, &to, kms->region, kms->host, options->ca_file, most, err);
    }
    return status;
}

static void release(struct postern_kms *kms)
{
    kms_credentials_close(&kms->credentials);
    kms_attestation_close(&kms->attestation);
    if (kms->own_door) {
        postern_disconnect(kms->door, 0);
    }
    free(kms->region);
    free(kms->host);
    free(kms->route);
    free(kms->metadata_route);
    free(kms);
}

int postern_kms_open(const struct postern_kms_options *given, struct postern_kms **ret,
                     struct postern_error *err)
{
    struct postern_kms_options options = {0};
    struct error why = ERROR_INIT;
    int status = given ? kms_read_struct(&options, sizeof options, given, given->size, err) : 0;

    if (status != 0) {
        return status;
    }
    struct postern_kms *kms = calloc(1, sizeof *kms);
    if (!kms) {
        error_set(&why, -ENOMEM, "cannot make a client for KMS: out of memory");
        return kms_fail(err, -ENOMEM, NULL, &why);
    }
    kms->owner = getpid();
    kms_credentials_init(&kms->credentials);
    kms_attestation_init(&kms->attestation);
    status = set_up(kms, &options, &why);
    if (status != 0) {
        release(kms);
        error_prefix(&why, "cannot make a client for KMS");
        return kms_fail(err, status, NULL, &why);
    }
    *ret = kms;
    return 0;
}

void postern_kms_close(struct postern_kms *kms)
{
    if (kms) {
        kms_pool_close(&kms->pool, getpid() == kms->owner);
        release(kms);
    }
}
