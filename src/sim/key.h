/*
 * The keys of the simulated KMS, and what is kept of them in the simulator's directory (keys.json).
 *
 * A key is never freed before its store is; what may change of it (policy, state, alias, description) is read and changed under the
 * lock of whoever owns the store.
 */
#ifndef POSTERN_SIM_KEY_H
#define POSTERN_SIM_KEY_H

#include "base/error.h"
#include "iam/policy.h"
#include "sim/blob.h"
#include <jansson.h>
#include <openssl/evp.h>
#include <time.h>

#define SIM_KEYS_MAX       1024
#define SIM_KEY_ARN        192
#define SIM_POLICY_MAX     ((size_t)32 * 1024)
#define SIM_SPEC_SYMMETRIC "SYMMETRIC_DEFAULT"

struct sim_spec {
    const char *name;      /* "RSA_2048" */
    unsigned rsa_bits;     /* 0: not RSA */
    const char *curve;     /* NULL: not an elliptic curve */
    const char *ciphers;   /* EncryptionAlgorithms, separated by blanks */
    const char *signing;   /* SigningAlgorithms */
    const char *agreement; /* KeyAgreementAlgorithms */
};

/* NULL: there is none of that name. */
const struct sim_spec *sim_spec_find(const char *name);

/* A key pair of that kind. NULL: it cannot be made. */
EVP_PKEY *sim_spec_generate(const struct sim_spec *spec) MUST_CHECK;

struct sim_key {
    char id[SIM_BLOB_ID];
    char arn[SIM_KEY_ARN];
    char *alias, *description; /* owned; NULL: none */
    const struct sim_spec *spec;
    const char *usage; /* static: ENCRYPT_DECRYPT, KEY_AGREEMENT, SIGN_VERIFY */
    time_t created;
    bool disabled, pending_deletion;
    uint8_t material[SIM_BLOB_KEY]; /* symmetric keys */
    EVP_PKEY *pair;                 /* the others; owned */
    char *policy_text;              /* owned */
    struct iam_policy policy;
};

struct sim_keys {
    struct sim_key *list[SIM_KEYS_MAX]; /* owned */
    size_t count;
    const char *region, *account; /* not owned */
};

/* What a new key is to be. NULL, but for `spec` and `usage`: not said. */
struct sim_key_wanted {
    const char *id, *alias, *description, *policy;
    const struct sim_spec *spec;
    const char *usage;
};

void sim_keys_release(struct sim_keys *keys);

/* By id, ARN, alias ("alias/app") or the alias's ARN. NULL: there is none. */
struct sim_key *sim_keys_find(const struct sim_keys *keys, const char *name);

/* 0, or a negative errno value: -EBADMSG for a policy that is none, -EEXIST, -ENOSPC. */
int sim_keys_add(struct sim_keys *keys, const struct sim_key_wanted *wanted, time_t now, struct sim_key **ret,
                 struct error *err) MUST_CHECK;

/* The key's old policy stays if it is none. */
int sim_key_set_policy(struct sim_key *key, const char *policy, size_t size, struct error *err) MUST_CHECK;

/* keys.json. That there is none is no error. */
int sim_keys_load(struct sim_keys *keys, const char *directory, struct error *err) MUST_CHECK;
int sim_keys_save(const struct sim_keys *keys, const char *directory, struct error *err) MUST_CHECK;

#endif
