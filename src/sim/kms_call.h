/*
 * One call to the simulated KMS, while it is worked on: what its operations take out of the request and put into the answer. What
 * they return is 0, or -EACCES with the call's `error` set.
 */
#ifndef POSTERN_SIM_KMS_CALL_H
#define POSTERN_SIM_KMS_CALL_H

#include "sim/access.h"
#include "sim/kms.h"

#define SIM_PLAINTEXT_MAX  4096
#define SIM_CIPHERTEXT_MAX 6144
#define SIM_RANDOM_MAX     1024

struct sim_call {
    struct sim_kms *kms;
    const struct sim_credential *caller;
    const char *operation;
    json_t *in, *out; /* owned */
    struct sim_attested attested;
    struct sim_context context;
    struct sim_key *key; /* that it was about */
    struct sim_fault fault;
    struct sim_kms_error error;
};

typedef int (*sim_operation)(struct sim_call *call);

struct sim_operation_entry {
    const char *name;
    sim_operation run;
    bool takes_recipient;
};

/* NULL: there is none of that name. */
const struct sim_operation_entry *sim_operation_find(const char *name);

/* ---- Out of the request ---- */

/* A text; NULL: there is none. */
int sim_in_text(struct sim_call *call, const char *name, const char **ret) MUST_CHECK;
int sim_in_number(struct sim_call *call, const char *name, json_int_t min, json_int_t max,
                  json_int_t *ret) MUST_CHECK; /* left alone if there is none */

/* Base64 of 1 to `max` bytes, which must be there. */
int sim_in_bytes(struct sim_call *call, const char *name, size_t max, struct sim_bytes *ret) MUST_CHECK;

/* One of the words in `allowed`, separated by blanks. `otherwise`: if there is none; NULL: there must be one. */
int sim_in_word(struct sim_call *call, const char *name, const char *allowed, const char *otherwise,
                const char **ret) MUST_CHECK;
int sim_in_context(struct sim_call *call) MUST_CHECK;

/* ---- Keys ---- */

/* What beside the key is to be judged by its policy. */
struct sim_for {
    const char *usage; /* that the key must have; NULL: any, in any state */
    const char *algorithm, *pair_spec, *agreement;
    bool of_ciphertext; /* which names its key whole, with the account */
};

/* The key of that name, if the caller may: sets call->key. `name` NULL: that of KeyId. */
int sim_call_key(struct sim_call *call, const char *name, const struct sim_for *what) MUST_CHECK;

/* For operations that are about no key. */
int sim_call_account(struct sim_call *call) MUST_CHECK;

/* ---- Into the answer ---- */

int sim_out_text(struct sim_call *call, const char *name, const char *value) MUST_CHECK;
int sim_out_bytes(struct sim_call *call, const char *name, const void *data, size_t size) MUST_CHECK;

/* In the clear, as `name`; or for the recipient alone, as CiphertextForRecipient. */
int sim_out_secret(struct sim_call *call, const char *name, const void *data, size_t size) MUST_CHECK;

/* ---- Operations, by file ---- */

int sim_encrypt(struct sim_call *call);
int sim_decrypt(struct sim_call *call);
int sim_re_encrypt(struct sim_call *call);
int sim_generate_random(struct sim_call *call);
int sim_generate_data_key(struct sim_call *call);
int sim_generate_data_key_without_plaintext(struct sim_call *call);
int sim_generate_data_key_pair(struct sim_call *call);
int sim_generate_data_key_pair_without_plaintext(struct sim_call *call);
int sim_derive_shared_secret(struct sim_call *call);

int sim_create_key(struct sim_call *call);
int sim_describe_key(struct sim_call *call);
int sim_list_keys(struct sim_call *call);
int sim_get_public_key(struct sim_call *call);
int sim_get_key_policy(struct sim_call *call);
int sim_put_key_policy(struct sim_call *call);
int sim_enable_key(struct sim_call *call);
int sim_disable_key(struct sim_call *call);
int sim_create_alias(struct sim_call *call);
int sim_schedule_key_deletion(struct sim_call *call);
int sim_cancel_key_deletion(struct sim_call *call);

#endif
