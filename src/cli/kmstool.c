/*
 * kmstool_enclave_cli: the command line of AWS's tool by that name, for programs that call it, on this client. What it prints and how it ends is the
 * tool's; docs/kmstool.md has the departures.
 */
#include "cli/kmstool.h"

#include "base/units.h"
#include "cli/kms_input.h"
#include "cli/kms_output.h"
#include "cli/kms_settings.h"
#include "cli/secrecy.h"
#include "kms/secret.h"
#include <stdlib.h>
#include <string.h>

#define CALL_FAILED    255
#define CIPHERTEXT_MAX 6144u
#define RANDOM_MAX     1024u
#define PARENT         "vsock://parent:"

enum kmstool_command { DECRYPT, GENKEY, GENRANDOM, COMMANDS };

static const char *const command_names[] = {"decrypt", "genkey", "genrandom"};

static const struct option options[] = {
    {"region", required_argument, NULL, 'r'},
    {"proxy-port", required_argument, NULL, 'x'},
    {"aws-access-key-id", required_argument, NULL, 'k'},
    {"aws-secret-access-key", required_argument, NULL, 's'},
    {"aws-session-token", required_argument, NULL, 't'},
    {"ciphertext", required_argument, NULL, 'c'},
    {"key-id", required_argument, NULL, 'K'},
    {"key-spec", required_argument, NULL, 'p'},
    {"encryption-algorithm", required_argument, NULL, 'a'},
    {"length", required_argument, NULL, 'l'},
    {"help", no_argument, NULL, 'h'},
    {"connect", required_argument, NULL, 'C'},
    KMS_CLIENT_OPTIONS,
    {NULL, 0, NULL, 0},
};

struct kmstool {
    struct cli cli;
    enum kmstool_command command;
    struct kms_settings settings;
    struct postern_secret access_key_id, secret_access_key, session_token;
    const char *ciphertext, *key_id, *key_spec, *algorithm;
    uint64_t port, length;
    bool has_length;
    char address[sizeof PARENT + 20];
};

/* ---- Help ---- */

static const char *const command_help[] = {
    ("    --ciphertext CIPHERTEXT: what is to be decrypted, in base64, or @FILE\n"
     "    --key-id KEY_ID: the key to decrypt with (optional for symmetric keys)\n"
     "    --encryption-algorithm ENCRYPTION_ALGORITHM: SYMMETRIC_DEFAULT unless given\n"),
    ("    --key-id KEY_ID: the key that encrypts the data key\n"
     "    --key-spec KEY_SPEC: AES-256 or AES-128\n"),
    "    --length NO_OF_BYTES: how many, 1 to 1024\n",
};

static int say_commands(const struct kmstool *tool)
{
    fputs("usage: kmstool_enclave_cli COMMAND [OPTION...]\n\n"
          "    decrypt: decrypt a ciphertext\n"
          "    genkey: make a data key, in the clear and encrypted under a KMS key\n"
          "    genrandom: get random bytes\n",
          tool->cli.err);
    return CLI_FAILED;
}

static int say_help(const struct kmstool *tool)
{
    fprintf(tool->cli.err,
            "usage: kmstool_enclave_cli %s [OPTION...]\n\n"
            "    --help: show this, and end with status 1\n"
            "    --region REGION: us-east-1 unless given\n"
            "    --proxy-port PORT: where the parent's vsock-proxy is; 8000 unless given\n"
            "    --aws-access-key-id ACCESS_KEY_ID\n"
            "    --aws-secret-access-key SECRET_ACCESS_KEY\n"
            "    --aws-session-token SESSION_TOKEN: these three show in the list of processes until they are "
            "read;\n"
            "        without them: environment, files, the container's or the instance's credentials\n"
            "%s"
            "and, beyond what AWS's tool has, --host, --ca-file, --raw, --connect, --route, --credentials,\n"
            "--credentials-file, --profile, --metadata, --insecure-nsm and --timeout of postern kms.\n",
            command_names[tool->command], command_help[tool->command]);
    return CLI_FAILED;
}

/* Before AWS's words, which have no name before them. */
static const char *insecure(const struct kmstool *tool)
{
    return tool->cli.insecure ? "INSECURE: " : "";
}

static int complain(const struct kmstool *tool, const char *text)
{
    fprintf(tool->cli.err, "%s%s\n", insecure(tool), text);
    return CLI_FAILED;
}

/* ---- The command line ---- */

/* What stood in the list of processes until now. */
static int take_secret(struct kmstool *tool, struct postern_secret *ret, char *text)
{
    size_t length = strlen(text);
    postern_secret_wipe(ret);
    if (secret_new(length + 1, ret) != 0) {
        return complain(tool, "Memory allocation error");
    }
    memcpy(ret->data, text, length);
    memset(text, 'x', length);
    return CLI_DONE;
}

static int take_number(const struct kmstool *tool, const char *option, uint64_t max, uint64_t *ret)
{
    if (units_parse_u64(optarg, max, ret) != 0) {
        fprintf(tool->cli.err, "%s%s \"%s\": a number up to %ju is expected\n", insecure(tool), option,
                optarg, (uintmax_t)max);
        return CLI_FAILED;
    }
    return CLI_DONE;
}

static int take_key_spec(struct kmstool *tool)
{
    if (strcmp(optarg, "AES-256") == 0) {
        tool->key_spec = "AES_256";
    } else if (strcmp(optarg, "AES-128") == 0) {
        tool->key_spec = "AES_128";
    } else if (tool->command == GENKEY) {
        fprintf(tool->cli.err, "%sUnknown key spec: %s\n", insecure(tool), optarg);
        return say_help(tool);
    }
    return CLI_DONE;
}

static int take_length(struct kmstool *tool)
{
    if (take_number(tool, "--length", INT32_MAX, &tool->length) != CLI_DONE) {
        return CLI_FAILED;
    }
    tool->has_length = true;
    return CLI_DONE;
}

static int take_other(struct kmstool *tool, int option)
{
    if (option < KMS_OPTION_REGION) {
        (void)complain(tool, "Unknown option");
        return say_help(tool);
    }
    return kms_settings_take(&tool->settings, &tool->cli, option) == CLI_DONE ? CLI_DONE : CLI_FAILED;
}

static int take(struct kmstool *tool, int option)
{
    switch (option) {
    case 'r':
        tool->settings.client.region = optarg;
        return CLI_DONE;
    case 'x':
        return take_number(tool, "--proxy-port", UINT32_MAX - 1, &tool->port);
    case 'k':
        return take_secret(tool, &tool->access_key_id, optarg);
    case 's':
        return take_secret(tool, &tool->secret_access_key, optarg);
    case 't':
        return take_secret(tool, &tool->session_token, optarg);
    case 'c':
        tool->ciphertext = optarg;
        return CLI_DONE;
    case 'K':
        tool->key_id = optarg;
        return CLI_DONE;
    case 'p':
        return take_key_spec(tool);
    case 'a':
        tool->algorithm = optarg;
        return CLI_DONE;
    case 'l':
        return take_length(tool);
    case 'h':
        return say_help(tool);
    case 'C':
        tool->cli.address = optarg;
        tool->cli.address_given = true;
        return CLI_DONE;
    default:
        return take_other(tool, option);
    }
}

/* All are read before one that is wrong ends it, so that no secret stays where it stood. */
static int read_options(struct kmstool *tool, int argc, char **argv, int code)
{
    static const char letters[] = "r:x:k:s:t:c:K:p:a:l:h";
    int option;
    opterr = 0;
    cli_note_insecure(&tool->cli, argc, argv, letters, options);
    optind = 0;
    while ((option = getopt_long(argc, argv, letters, options, NULL)) >= 0) {
        bool is_secret = option == 'k' || option == 's' || option == 't';
        if (code == CLI_DONE || is_secret) {
            int r = take(tool, option);
            code = code == CLI_DONE ? r : code;
        }
    }
    return code;
}

static int check_credentials(struct kmstool *tool)
{
    struct postern_kms_options *client = &tool->settings.client;
    client->access_key_id = tool->access_key_id.data;
    client->secret_access_key = tool->secret_access_key.data;
    client->session_token = tool->session_token.data;
    if (client->access_key_id == NULL &&
        (client->secret_access_key != NULL || client->session_token != NULL)) {
        return complain(tool, "--aws-access-key-id must be set");
    }
    if (client->access_key_id != NULL && client->secret_access_key == NULL) {
        return complain(tool, "--aws-secret-access-key must be set");
    }
    return CLI_DONE;
}

static int check_length(const struct kmstool *tool)
{
    if (!tool->has_length) {
        return complain(tool, "--length must be set");
    }
    if (tool->length == 0) {
        return complain(tool, "--length must be greater than 0");
    }
    return tool->length <= RANDOM_MAX ? CLI_DONE
                                      : complain(tool, "--length must be smaller or equal to 1024");
}

static int check(struct kmstool *tool)
{
    int code = check_credentials(tool);
    if (code != CLI_DONE) {
        return code;
    }
    switch (tool->command) {
    case DECRYPT:
        return tool->ciphertext != NULL ? CLI_DONE : complain(tool, "--ciphertext must be set");
    case GENKEY:
        if (tool->key_id == NULL) {
            return complain(tool, "--key-id must be set");
        }
        return tool->key_spec != NULL ? CLI_DONE : complain(tool, "--key-spec must be set");
    default:
        return check_length(tool);
    }
}

/* ---- Calls ---- */

static int failed(const struct kmstool *tool, const struct postern_error *err, const char *text)
{
    cli_say(&tool->cli, "%s", err->message);
    (void)complain(tool, text);
    return CALL_FAILED;
}

static int print(const struct kmstool *tool, const char *name, const void *data, size_t size)
{
    struct kms_output output;
    if (kms_output_open(&output, &tool->cli, NULL, true) != CLI_DONE) {
        return CALL_FAILED;
    }
    kms_output_bytes(&output, KMS_FORMAT_RAW, name, strlen(name));
    kms_output_bytes(&output, KMS_FORMAT_BASE64, data, size);
    return kms_output_close(&output, &tool->cli) == CLI_DONE ? CLI_DONE : CALL_FAILED;
}

static int print_secret(const struct kmstool *tool, struct postern_secret *secret)
{
    int code = print(tool, "PLAINTEXT: ", secret->data, secret->length);
    postern_secret_wipe(secret);
    return code;
}

static int decrypt(struct kmstool *tool, struct postern_kms *kms)
{
    struct postern_kms_decrypt_request request;
    struct postern_secret plaintext;
    struct postern_error err;
    struct error input = ERROR_INIT;
    uint8_t *ciphertext;
    postern_kms_decrypt_request_init(&request);
    if (kms_input_read(tool->ciphertext, true, CIPHERTEXT_MAX, &ciphertext, &request.ciphertext_length,
                       &input) != 0) {
        cli_say(&tool->cli, "--ciphertext: %s", input.text);
        (void)complain(tool, "Ciphertext not a base64 string");
        return CALL_FAILED;
    }
    request.ciphertext = ciphertext;
    request.key_id = tool->key_id;
    request.algorithm = tool->algorithm;
    int r = postern_kms_decrypt(kms, &request, &plaintext, &err);
    free(ciphertext);
    return r == 0 ? print_secret(tool, &plaintext) : failed(tool, &err, "Could not decrypt ciphertext");
}

static int generate_key(struct kmstool *tool, struct postern_kms *kms)
{
    struct postern_kms_data_key_request request;
    struct postern_kms_data_key key;
    struct postern_error err;
    postern_kms_data_key_request_init(&request);
    request.key_id = tool->key_id;
    request.key_spec = tool->key_spec;
    if (postern_kms_generate_data_key(kms, &request, &key, &err) != 0) {
        return failed(tool, &err, "Could not generate data key");
    }
    int code = print(tool, "CIPHERTEXT: ", key.ciphertext, key.ciphertext_length);
    if (code == CLI_DONE) {
        code = print_secret(tool, &key.plaintext);
    }
    postern_kms_data_key_release(&key);
    return code;
}

static int generate_random(struct kmstool *tool, struct postern_kms *kms)
{
    struct postern_kms_random_request request;
    struct postern_secret bytes;
    struct postern_error err;
    postern_kms_random_request_init(&request);
    request.bytes = (unsigned)tool->length;
    if (postern_kms_generate_random(kms, &request, &bytes, &err) != 0) {
        return failed(tool, &err, "Could not generate random bytes");
    }
    return print_secret(tool, &bytes);
}

static int call(struct kmstool *tool)
{
    struct postern_kms_options *client = &tool->settings.client;
    struct postern_kms *kms;
    if (client->raw_address == NULL && client->route == NULL && !tool->cli.address_given) {
        snprintf(tool->address, sizeof tool->address, PARENT "%ju", (uintmax_t)tool->port);
        client->raw_address = tool->address;
    }
    if (kms_settings_open(&tool->settings, &tool->cli, &kms) != CLI_DONE) {
        return CALL_FAILED;
    }
    int code = tool->command == DECRYPT  ? decrypt(tool, kms)
               : tool->command == GENKEY ? generate_key(tool, kms)
                                         : generate_random(tool, kms);
    postern_kms_close(kms);
    return code;
}

static void wipe(struct kmstool *tool)
{
    postern_secret_wipe(&tool->access_key_id);
    postern_secret_wipe(&tool->secret_access_key);
    postern_secret_wipe(&tool->session_token);
}

static bool find_command(struct kmstool *tool, const char *name)
{
    while (tool->command < COMMANDS && strcmp(command_names[tool->command], name) != 0) {
        tool->command++;
    }
    return tool->command < COMMANDS;
}

bool kmstool_is_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    return strcmp(slash != NULL ? slash + 1 : name, "kmstool_enclave_cli") == 0;
}

int kmstool_main(int argc, char **argv, FILE *out, FILE *err)
{
    struct kmstool tool = {.cli = {.out = out, .err = err, .address = CLI_ADDRESS}, .port = 8000};
    secrecy_begin();
    kms_settings_init(&tool.settings);
    tool.settings.client.region = "us-east-1";
    if (argc < 2 || !find_command(&tool, argv[1])) {
        (void)read_options(&tool, argc, argv, CLI_FAILED); /* for the secrets' sake */
        wipe(&tool);
        return say_commands(&tool);
    }
    int code = read_options(&tool, argc - 1, argv + 1, CLI_DONE);
    if (code == CLI_DONE) {
        code = check(&tool);
    }
    if (code == CLI_DONE) {
        code = call(&tool);
    }
    wipe(&tool);
    return code;
}
