/* postern kms: what its files share. kms.c reads the command line, kms_call.c makes the calls and writes their results out. */
#ifndef POSTERN_CLI_KMS_H
#define POSTERN_CLI_KMS_H

#include "cli/kms_output.h"
#include "cli/kms_settings.h"

#define KMS_BYTES_MAX 1024u

enum kms_operation {
    KMS_DECRYPT = 1 << 0,
    KMS_DATA_KEY = 1 << 1,
    KMS_DATA_KEY_PAIR = 1 << 2,
    KMS_RANDOM = 1 << 3,
    KMS_SHARED_SECRET = 1 << 4,
};

/* The strings are the command line's; NULL, 0: not given. */
struct kms_command {
    const struct cli *cli;
    struct kms_settings settings;
    unsigned given; /* options, by bits */
    enum kms_format format;
    bool input_base64, show;
    unsigned bytes;
    const char *ciphertext, *key_id, *algorithm, *key_spec, *key_pair_spec, *public_key;
    const char *output, *ciphertext_output, *public_output;
};

/* Each returns the exit code. */
typedef int (*kms_run)(struct kms_command *command);

int kms_run_decrypt(struct kms_command *command);
int kms_run_data_key(struct kms_command *command);
int kms_run_data_key_pair(struct kms_command *command);
int kms_run_random(struct kms_command *command);
int kms_run_shared_secret(struct kms_command *command);

#endif
