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

static int decrypt(struct kms_command *command, const uint8_t *ciphertext, size_t size)
{
    struct postern_kms_decrypt_request request;
    struct postern_secret plaintext;
    struct postern_error err;
    struct kms_output output;
    struct postern_kms *kms;
    int code = prepare(command, &output, &kms);
    if (code != CLI_DONE) {
        return code;
    }
    postern_kms_decrypt_request_init(&request);
    request.call = command->settings.call;
    request.ciphertext = ciphertext;
    request.ciphertext_length = size;
    request.key_id = command->key_id;
    request.algorithm = command->algorithm;
    if (postern_kms_decrypt(kms, &request, &plaintext, &err) != 0) {
        code = fail(command, &output, &err);
    } else {
        code = write_secret(command, &output, "Plaintext", &plaintext);
    }
    postern_kms_close(kms);
    return code;
}

int kms_run_decrypt(struct kms_command *command)
{
    uint8_t *ciphertext;
    size_t size;
    int code = read_input(command, "the ciphertext", command->ciphertext, CIPHERTEXT_MAX, &ciphertext, &size);
    if (code == CLI_DONE) {
        code = decrypt(command, ciphertext, size);
        free(ciphertext);
    }
    return code;
}

/* ---- GenerateDataKey ---- */

static int write_data_key(struct kms_command *command, struct kms_output *output,
                          struct postern_kms_data_key *key)
{
    int code = kms_output_file(command->cli, command->ciphertext_output, KMS_FORMAT_RAW, key->ciphertext,
                               key->ciphertext_length);
    if (code != CLI_DONE) {
        kms_output_abandon(output);
        return code;
    }
    if (command->format == KMS_FORMAT_JSON) {
        kms_output_member(output, "CiphertextBlob", key->ciphertext, key->ciphertext_length);
        kms_output_text(output, "KeyId", key->key_id);
    }
    return write_secret(command, output, "Plaintext", &key->plaintext);
}

int kms_run_data_key(struct kms_command *command)
{
    struct postern_kms_data_key_request request;
    struct postern_kms_data_key key;
    struct postern_error err;
    struct kms_output output;
    struct postern_kms *kms;
    if (command->format != KMS_FORMAT_JSON && command->ciphertext_output == NULL) {
        return cli_usage_error(
            command->cli,
            "generate-data-key writes the key alone unless as JSON: --ciphertext-output FILE says "
            "where its encrypted copy goes");
    }
    int code = prepare(command, &output, &kms);
    if (code != CLI_DONE) {
        return code;
    }
    postern_kms_data_key_request_init(&request);
    request.call = command->settings.call;
    request.key_id = command->key_id;
    request.key_spec = command->key_spec;
    request.bytes = command->bytes;
    if (postern_kms_generate_data_key(kms, &request, &key, &err) != 0) {
        code = fail(command, &output, &err);
    } else {
        code = write_data_key(command, &output, &key);
        postern_kms_data_key_release(&key);
    }
    postern_kms_close(kms);
    return code;
}

/* ---- GenerateDataKeyPair ---- */

static int write_pair(struct kms_command *command, struct kms_output *output,
                      struct postern_kms_data_key_pair *pair)
{
    int code = kms_output_file(command->cli, command->ciphertext_output, KMS_FORMAT_RAW,
                               pair->private_key_ciphertext, pair->private_key_ciphertext_length);
    if (code == CLI_DONE) {
        code = kms_output_file(command->cli, command->public_output, KMS_FORMAT_RAW, pair->public_key,
                               pair->public_key_length);
    }
    if (code != CLI_DONE) {
        kms_output_abandon(output);
        return code;
    }
    if (command->format == KMS_FORMAT_JSON) {
        kms_output_text(output, "KeyId", pair->key_id);
        kms_output_member(output, "PrivateKeyCiphertextBlob", pair->private_key_ciphertext,
                          pair->private_key_ciphertext_length);
        kms_output_member(output, "PublicKey", pair->public_key, pair->public_key_length);
    }
    return write_secret(command, output, "PrivateKeyPlaintext", &pair->private_key);
}

int kms_run_data_key_pair(struct kms_command *command)
{
    struct postern_kms_data_key_pair_request request;
    struct postern_kms_data_key_pair pair;
    struct postern_error err;
    struct kms_output output;
    struct postern_kms *kms;
    if (command->format != KMS_FORMAT_JSON &&
        (command->ciphertext_output == NULL || command->public_output == NULL)) {
        return cli_usage_error(
            command->cli,
            "generate-data-key-pair writes the private key alone unless as JSON: --ciphertext-output "
            "FILE says where its encrypted copy goes, --public-output FILE where the public key does");
    }
    int code = prepare(command, &output, &kms);
    if (code != CLI_DONE) {
        return code;
    }
    postern_kms_data_key_pair_request_init(&request);
    request.call = command->settings.call;
    request.key_id = command->key_id;
    request.key_pair_spec = command->key_pair_spec;
    if (postern_kms_generate_data_key_pair(kms, &request, &pair, &err) != 0) {
        code = fail(command, &output, &err);
    } else {
        code = write_pair(command, &output, &pair);
        postern_kms_data_key_pair_release(&pair);
    }
    postern_kms_close(kms);
    return code;
}

/* ---- GenerateRandom ---- */

int kms_run_random(struct kms_command *command)
{
    struct postern_kms_random_request request;
    struct postern_secret bytes;
    struct postern_error err;
    struct kms_output output;
    struct postern_kms *kms;
    int code = prepare(command, &output, &kms);
    if (code != CLI_DONE) {
        return code;
    }
    postern_kms_random_request_init(&request);
    request.call = command->settings.call;
    request.bytes = command->bytes;
    if (postern_kms_generate_random(kms, &request, &bytes, &err) != 0) {
        code = fail(command, &output, &err);
    } else {
        code = write_secret(command, &output, "Plaintext", &bytes);
    }
    postern_kms_close(kms);
    return code;
}

/* ---- DeriveSharedSecret ---- */

static int derive(struct kms_command *command, const uint8_t *public_key, size_t size)
{
    struct postern_kms_shared_secret_request request;
    struct postern_secret secret;
    struct postern_error err;
    struct kms_output output;
    struct postern_kms *kms;
    int code = prepare(command, &output, &kms);
    if (code != CLI_DONE) {
        return code;
    }
    postern_kms_shared_secret_request_init(&request);
    request.call = command->settings.call;
    request.key_id = command->key_id;
    request.public_key = public_key;
    request.public_key_length = size;
    if (postern_kms_derive_shared_secret(kms, &request, &secret, &err) != 0) {
        code = fail(command, &output, &err);
    } else {
        code = write_secret(command, &output, "SharedSecret", &secret);
    }
    postern_kms_close(kms);
    return code;
}

int kms_run_shared_secret(struct kms_command *command)
{
    uint8_t *public_key;
    size_t size;
    int code = read_input(command, "--public-key", command->public_key, PUBLIC_KEY_MAX, &public_key, &size);
    if (code == CLI_DONE) {
        code = derive(command, public_key, size);
        free(public_key);
    }
    return code;
}
