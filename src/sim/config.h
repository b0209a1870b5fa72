/* The simulator's configuration: JSON, in which a key that is not known is a mistake. */
#ifndef POSTERN_SIM_CONFIG_H
#define POSTERN_SIM_CONFIG_H

#include "base/error.h"
#include "sim/kms.h"
#include <jansson.h>
#include <stdbool.h>

#define SIM_NSMS_MAX 32

struct sim_config_nsm {
    const char *listen, *module_id, *eif, *role_arn, *instance_id, *shape;
    json_t *pcrs; /* an object: {"0": HEX}, or NULL */
    bool debug;
};

/* Texts are of `root`; NULL: not given. */
struct sim_config {
    json_t *root; /* owned */
    const char *directory, *control, *metadata, *metadata_key;
    const char *region, *account, *host, *kms_listen, *instance_id, *cms;
    json_int_t now;             /* 0: the system's time */
    json_t *credentials, *keys; /* of the KMS; NULL: none */
    struct sim_config_nsm nsms[SIM_NSMS_MAX];
    size_t nsm_count;
};

/* 0, with sim_config_release() to follow; or a negative errno value. */
int sim_config_read(const char *path, struct sim_config *ret, struct error *err) MUST_CHECK;

/* The same from bytes. */
int sim_config_parse(const char *data, size_t size, struct sim_config *ret, struct error *err) MUST_CHECK;
void sim_config_release(struct sim_config *config);

/* The credentials that the KMS knows, copied into it, and its keys: those that are in its directory already get their policy from here. */
int sim_config_credentials(const struct sim_config *config, struct sim_credentials *ret,
                           struct error *err) MUST_CHECK;
int sim_config_keys(const struct sim_config *config, struct sim_kms *kms, struct error *err) MUST_CHECK;

#endif
