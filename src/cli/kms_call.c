/* postern kms: one call each, and what came of it. See kms.h. */
#include "cli/kms.h"

#include "cli/kms_input.h"
#include <stdlib.h>

#define CIPHERTEXT_MAX 6144u
#define PUBLIC_KEY_MAX 8192u

/* All that can go wrong without a call goes wrong before it: the output is there, and the client has its options. */
static int prepare(struct kms_command *command, struct kms_output *output, struct postern_kms **ret)
{
    int code = kms_output_open(output, command->cli, command->output, command->show);
    if (code != CLI_DONE) {
        return code;
    }
    code = kms_settings_open(&command->settings, command->cli, ret);
    if (code != CLI_DONE) {
        kms_output_abandon(output);
    }
    return code;
}

static int fail(struct kms_command *command, struct kms_output *output, const struct postern_error *err)
{
    kms_output_abandon(output);
    return kms_settings_failed(command->cli, err);
}

/* A call: what goes in, and what comes of it. */
struct work {
    const uint8_t *input;
    size_t input_size;
    struct postern_secret secret;
    struct postern_kms_data_key key;
    struct postern_kms_data_key_pair pair;
};

/* 0, with its result in `work`, which `write_work` writes out and releases; or a negative errno value. */
typedef int (*call_kms)(const struct kms_command *command, struct postern_kms *kms, struct work *work,
                        struct postern_error *err);
typedef int (*write_work)(struct kms_command *command, struct kms_output *output, struct work *work);

static int carry_out(struct kms_command *command, struct work *work, call_kms call, write_work write)
{
    struct postern_error err;
    struct kms_output output;
    struct postern_kms *kms;
    int code = prepare(command, &output, &kms);
    if (code != CLI_DONE) {
        return code;
    }
    code = call(command, kms, work, &err) == 0 ? write(command, &output, work) : fail(command, &output, &err);
    postern_kms_close(kms);
    return code;
}

/* Under AWS's name for it, if it goes out as JSON. */
static int write_secret(struct kms_command *command, struct kms_output *output, const char *name,
                        struct postern_secret *secret)
{
    if (command->format == KMS_FORMAT_JSON) {
        kms_output_member(output, name, secret->data, secret->length);
    } else {
        kms_output_bytes(output, command->format, secret->data, secret->length);
    }
    postern_secret_wipe(secret);
    return kms_output_close(output, command->cli);
}

static int write_plaintext(struct kms_command *command, struct kms_output *output, struct work *work)
{
    return write_secret(command, output, "Plaintext", &work->secret);
}

static int read_input(struct kms_command *command, const char *what, const char *text, size_t max,
                      uint8_t **ret, size_t *ret_size)
{
    struct error err = ERROR_INIT;
    if (kms_input_read(text, command->input_base64, max, ret, ret_size, &err) != 0) {
        return cli_failed(command->cli, "%s: %s", what, err.text);
    }
    return CLI_DONE;
}

/* ---- Decrypt ---- */

static int call_decrypt(const struct kms_command *command, struct postern_kms *kms, struct work *work,
                        struct postern_error *err)
{
    struct postern_kms_decrypt_request request;
    postern_kms_decrypt_request_init(&request);
    request.call = command->settings.call;
    request.ciphertext = work->input;
    request.ciphertext_length = work->input_size;
    request.key_id = command->key_id;
    request.algorithm = command->algorithm;
    return postern_kms_decrypt(kms, &request, &work->secret, err);
}

int kms_run_decrypt(struct kms_command *command)
{
    struct work work = {.input = NULL};
    uint8_t *ciphertext;
    int code = read_input(command, "the ciphertext", command->ciphertext, CIPHERTEXT_MAX, &ciphertext,
                          &work.input_size);
    if (code == CLI_DONE) {
        work.input = ciphertext;
        code = carry_out(command, &work, call_decrypt, write_plaintext);
        free(ciphertext);
    }
    return code;
}

/* ---- GenerateDataKey ---- */

static int call_data_key(const struct kms_command *command, struct postern_kms *kms, struct work *work,
                         struct postern_error *err)
{
    struct postern_kms_data_key_request request;
    postern_kms_data_key_request_init(&request);
    request.call = command->settings.call;
    request.key_id = command->key_id;
    request.key_spec = command->key_spec;
    request.bytes = command->bytes;
    return postern_kms_generate_data_key(kms, &request, &work->key, err);
}

static int write_data_key(struct kms_command *command, struct kms_output *output, struct work *work)
{
    struct postern_kms_data_key *key = &work->key;
    int code = kms_output_file(command->cli, command->ciphertext_output, KMS_FORMAT_RAW, key->ciphertext,
                               key->ciphertext_length);
    if (code != CLI_DONE) {
        kms_output_abandon(output);
    } else {
        if (command->format == KMS_FORMAT_JSON) {
            kms_output_member(output, "CiphertextBlob", key->ciphertext, key->ciphertext_length);
            kms_output_text(output, "KeyId", key->key_id);
        }
        code = write_secret(command, output, "Plaintext", &key->plaintext);
    }
    postern_kms_data_key_release(key);
    return code;
}

int kms_run_data_key(struct kms_command *command)
{
    struct work work = {.input = NULL};
    if (command->format != KMS_FORMAT_JSON && command->ciphertext_output == NULL) {
        return cli_usage_error(
            command->cli,
            "generate-data-key writes the key alone unless as JSON: --ciphertext-output FILE says "
            "where its encrypted copy goes");
    }
    return carry_out(command, &work, call_data_key, write_data_key);
}

/* ---- GenerateDataKeyPair ---- */

static int call_data_key_pair(const struct kms_command *command, struct postern_kms *kms, struct work *work,
                              struct postern_error *err)
{
    struct postern_kms_data_key_pair_request request;
    postern_kms_data_key_pair_request_init(&request);
    request.call = command->settings.call;
    request.key_id = command->key_id;
    request.key_pair_spec = command->key_pair_spec;
    return postern_kms_generate_data_key_pair(kms, &request, &work->pair, err);
}

static int write_pair(struct kms_command *command, struct kms_output *output, struct work *work)
{
    struct postern_kms_data_key_pair *pair = &work->pair;
    int code = kms_output_file(command->cli, command->ciphertext_output, KMS_FORMAT_RAW,
                               pair->private_key_ciphertext, pair->private_key_ciphertext_length);
    if (code == CLI_DONE) {
        code = kms_output_file(command->cli, command->public_output, KMS_FORMAT_RAW, pair->public_key,
                               pair->public_key_length);
    }
    if (code != CLI_DONE) {
        kms_output_abandon(output);
    } else {
        if (command->format == KMS_FORMAT_JSON) {
            kms_output_text(output, "KeyId", pair->key_id);
            kms_output_member(output, "PrivateKeyCiphertextBlob", pair->private_key_ciphertext,
                              pair->private_key_ciphertext_length);
            kms_output_member(output, "PublicKey", pair->public_key, pair->public_key_length);
        }
        code = write_secret(command, output, "PrivateKeyPlaintext", &pair->private_key);
    }
    postern_kms_data_key_pair_release(pair);
    return code;
}

int kms_run_data_key_pair(struct kms_command *command)
{
    struct work work = {.input = NULL};
    if (command->format != KMS_FORMAT_JSON &&
        (command->ciphertext_output == NULL || command->public_output == NULL)) {
        return cli_usage_error(
            command->cli,
            "generate-data-key-pair writes the private key alone unless as JSON: --ciphertext-output "
            "FILE says where its encrypted copy goes, --public-output FILE where the public key does");
    }
    return carry_out(command, &work, call_data_key_pair, write_pair);
}

/* ---- GenerateRandom ---- */

static int call_random(const struct kms_command *command, struct postern_kms *kms, struct work *work,
                       struct postern_error *err)
{
    struct postern_kms_random_request request;
    postern_kms_random_request_init(&request);
    request.call = command->settings.call;
    request.bytes = command->bytes;
    return postern_kms_generate_random(kms, &request, &work->secret, err);
}

int kms_run_random(struct kms_command *command)
{
    struct work work = {.input = NULL};
    return carry_out(command, &work, call_random, write_plaintext);
}

/* ---- DeriveSharedSecret ---- */

static int call_derive(const struct kms_command *command, struct postern_kms *kms, struct work *work,
                       struct postern_error *err)
{
    struct postern_kms_shared_secret_request request;
    postern_kms_shared_secret_request_init(&request);
    request.call = command->settings.call;
    request.key_id = command->key_id;
    request.public_key = work->input;
    request.public_key_length = work->input_size;
    return postern_kms_derive_shared_secret(kms, &request, &work->secret, err);
}

static int write_shared_secret(struct kms_command *command, struct kms_output *output, struct work *work)
{
    return write_secret(command, output, "SharedSecret", &work->secret);
}

int kms_run_shared_secret(struct kms_command *command)
{
    struct work work = {.input = NULL};
    uint8_t *public_key;
    int code = read_input(command, "--public-key", command->public_key, PUBLIC_KEY_MAX, &public_key,
                          &work.input_size);
    if (code == CLI_DONE) {
        work.input = public_key;
        code = carry_out(command, &work, call_derive, write_shared_secret);
        free(public_key);
    }
    return code;
}
