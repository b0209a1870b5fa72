/* postern kms: calls to KMS whose answers can be read in this process alone. The command line; kms_call.c makes the calls. */
#include "cli/kms.h"

#include "base/diag.h"
#include <stdlib.h>
#include <string.h>

enum own_option {
    OPTION_ALGORITHM = 1,
    OPTION_BYTES,
    OPTION_CIPHERTEXT_OUTPUT,
    OPTION_FORMAT,
    OPTION_INPUT_FORMAT,
    OPTION_KEY_ID,
    OPTION_KEY_PAIR_SPEC,
    OPTION_KEY_SPEC,
    OPTION_OUTPUT,
    OPTION_PUBLIC_KEY,
    OPTION_PUBLIC_OUTPUT,
    OPTION_SHOW,
    OPTION_COUNT,
};

static const struct option options[] = {
    {"algorithm", required_argument, NULL, OPTION_ALGORITHM},
    {"bytes", required_argument, NULL, OPTION_BYTES},
    {"ciphertext-output", required_argument, NULL, OPTION_CIPHERTEXT_OUTPUT},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"input-format", required_argument, NULL, OPTION_INPUT_FORMAT},
    {"key-id", required_argument, NULL, OPTION_KEY_ID},
    {"key-pair-spec", required_argument, NULL, OPTION_KEY_PAIR_SPEC},
    {"key-spec", required_argument, NULL, OPTION_KEY_SPEC},
    {"output", required_argument, NULL, OPTION_OUTPUT},
    {"public-key", required_argument, NULL, OPTION_PUBLIC_KEY},
    {"public-output", required_argument, NULL, OPTION_PUBLIC_OUTPUT},
    {"show", no_argument, NULL, OPTION_SHOW},
    KMS_CALL_OPTIONS,
    {NULL, 0, NULL, 0},
};

#define ALL_OPERATIONS (KMS_DECRYPT | KMS_DATA_KEY | KMS_DATA_KEY_PAIR | KMS_RANDOM | KMS_SHARED_SECRET)

/* Which operations take which option. */
static const struct {
    const char *name;
    unsigned operations;
} takers[OPTION_COUNT] = {
    [OPTION_ALGORITHM] = {"--algorithm", KMS_DECRYPT},
    [OPTION_BYTES] = {"--bytes", KMS_DATA_KEY | KMS_RANDOM},
    [OPTION_CIPHERTEXT_OUTPUT] = {"--ciphertext-output", KMS_DATA_KEY | KMS_DATA_KEY_PAIR},
    [OPTION_FORMAT] = {"--format", ALL_OPERATIONS},
    [OPTION_INPUT_FORMAT] = {"--input-format", KMS_DECRYPT | KMS_SHARED_SECRET},
    [OPTION_KEY_ID] = {"--key-id", KMS_DECRYPT | KMS_DATA_KEY | KMS_DATA_KEY_PAIR | KMS_SHARED_SECRET},
    [OPTION_KEY_PAIR_SPEC] = {"--key-pair-spec", KMS_DATA_KEY_PAIR},
    [OPTION_KEY_SPEC] = {"--key-spec", KMS_DATA_KEY},
    [OPTION_OUTPUT] = {"--output", ALL_OPERATIONS},
    [OPTION_PUBLIC_KEY] = {"--public-key", KMS_SHARED_SECRET},
    [OPTION_PUBLIC_OUTPUT] = {"--public-output", KMS_DATA_KEY_PAIR},
    [OPTION_SHOW] = {"--show", ALL_OPERATIONS},
};

static const struct {
    const char *name;
    enum kms_operation operation;
    enum kms_format format; /* by default */
    unsigned needs;         /* options, by bits */
    kms_run run;
} operations[] = {
    {"decrypt", KMS_DECRYPT, KMS_FORMAT_RAW, 0, kms_run_decrypt},
    {"generate-data-key", KMS_DATA_KEY, KMS_FORMAT_JSON, 1u << OPTION_KEY_ID, kms_run_data_key},
    {"generate-data-key-pair", KMS_DATA_KEY_PAIR, KMS_FORMAT_JSON,
     1u << OPTION_KEY_ID | 1u << OPTION_KEY_PAIR_SPEC, kms_run_data_key_pair},
    {"generate-random", KMS_RANDOM, KMS_FORMAT_RAW, 1u << OPTION_BYTES, kms_run_random},
    {"derive-shared-secret", KMS_SHARED_SECRET, KMS_FORMAT_RAW, 1u << OPTION_KEY_ID | 1u << OPTION_PUBLIC_KEY,
     kms_run_shared_secret},
};

static int set_format(struct kms_command *command, const char *text)
{
    static const char *const words[] = {
        [KMS_FORMAT_RAW] = "raw", [KMS_FORMAT_BASE64] = "base64", [KMS_FORMAT_JSON] = "json"};
    for (size_t i = KMS_FORMAT_RAW; i <= KMS_FORMAT_JSON; i++) {
        if (strcmp(text, words[i]) == 0) {
            command->format = (enum kms_format)i;
            return CLI_DONE;
        }
    }
    return cli_usage_error(command->cli, "--format \"%s\": raw, base64 or json is expected", text);
}

static int set_input_format(struct kms_command *command, const char *text)
{
    command->input_base64 = strcmp(text, "base64") == 0;
    if (!command->input_base64 && strcmp(text, "raw") != 0) {
        return cli_usage_error(command->cli, "--input-format \"%s\": raw or base64 is expected", text);
    }
    return CLI_DONE;
}

static int set_bytes(struct kms_command *command, const char *text)
{
    uint64_t bytes;
    int code = CLI_DONE;
    if (cli_number(command->cli, "--bytes", text, 1, KMS_BYTES_MAX, &bytes, &code)) {
        command->bytes = (unsigned)bytes;
    }
    return code;
}

static int take_own(struct kms_command *command, int option)
{
    const char **const places[OPTION_COUNT] = {
        [OPTION_ALGORITHM] = &command->algorithm,   [OPTION_CIPHERTEXT_OUTPUT] = &command->ciphertext_output,
        [OPTION_KEY_ID] = &command->key_id,         [OPTION_KEY_PAIR_SPEC] = &command->key_pair_spec,
        [OPTION_KEY_SPEC] = &command->key_spec,     [OPTION_OUTPUT] = &command->output,
        [OPTION_PUBLIC_KEY] = &command->public_key, [OPTION_PUBLIC_OUTPUT] = &command->public_output,
    };
    command->given |= 1u << option;
    switch (option) {
    case OPTION_BYTES:
        return set_bytes(command, optarg);
    case OPTION_FORMAT:
        return set_format(command, optarg);
    case OPTION_INPUT_FORMAT:
        return set_input_format(command, optarg);
    case OPTION_SHOW:
        command->show = true;
        return CLI_DONE;
    default:
        *places[option] = optarg;
        return CLI_DONE;
    }
}

static bool read_options(struct kms_command *command, struct cli *cli, int argc, char **argv, int *ret_code)
{
    int option;
    while ((option = cli_next_option(cli, argc, argv, "", options, ret_code)) >= 0) {
        *ret_code = option < OPTION_COUNT ? take_own(command, option)
                                          : kms_settings_take(&command->settings, cli, option);
        if (*ret_code != CLI_DONE) {
            return false;
        }
    }
    return option == CLI_OPTIONS_END;
}

/* The operation's number in the table, or -1 once it has been said that there is none. */
static int find_operation(const struct cli *cli, const char *name)
{
    const char *names[ARRAY_SIZE(operations)];
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        names[i] = operations[i].name;
        if (strcmp(names[i], name) == 0) {
            return (int)i;
        }
    }
    const char *nearest = diags_nearest(name, names, ARRAY_SIZE(names));
    cli_usage_error(cli, "there is no operation \"%s\"%s%s%s", name, nearest != NULL ? ": did you mean " : "",
                    nearest != NULL ? nearest : "", nearest != NULL ? "?" : "");
    return -1;
}

static int check_options(const struct kms_command *command, const char *name, unsigned operation,
                         unsigned needs)
{
    for (unsigned option = 1; option < OPTION_COUNT; option++) {
        bool given = (command->given & 1u << option) != 0;
        if (given && (takers[option].operations & operation) == 0) {
            return cli_usage_error(command->cli, "%s is not for %s", takers[option].name, name);
        }
        if (!given && (needs & 1u << option) != 0) {
            return cli_usage_error(command->cli, "%s needs %s", name, takers[option].name);
        }
    }
    return CLI_DONE;
}

static int check_arguments(struct kms_command *command, const char *name, unsigned operation, int argc,
                           char **argv)
{
    int expected = operation == KMS_DECRYPT ? 1 : 0;
    if (argc != expected) {
        return expected == 1
                   ? cli_usage_error(command->cli, "decrypt needs one ciphertext: @FILE, - for standard "
                                                   "input, or base64")
                   : cli_usage_error(command->cli, "%s takes options alone", name);
    }
    command->ciphertext = argv[0];
    return CLI_DONE;
}

static int run(struct kms_command *command, int argc, char **argv)
{
    if (argc < 1) {
        return cli_usage_error(command->cli, "an operation is missing, such as decrypt");
    }
    int number = find_operation(command->cli, argv[0]);
    if (number < 0) {
        return CLI_USAGE;
    }
    unsigned operation = operations[number].operation;
    int code = check_options(command, argv[0], operation, operations[number].needs);
    if (code == CLI_DONE) {
        code = check_arguments(command, argv[0], operation, argc - 1, argv + 1);
    }
    if (code != CLI_DONE) {
        return code;
    }
    if (command->format == KMS_FORMAT_DEFAULT) {
        command->format = operations[number].format;
    }
    return operations[number].run(command);
}

int cli_kms(struct cli *cli, int argc, char **argv)
{
    struct kms_command command = {.cli = cli};
    int code = CLI_DONE;
    kms_settings_init(&command.settings);
    if (read_options(&command, cli, argc, argv, &code)) {
        code = run(&command, argc - optind, argv + optind);
    }
    return code;
}
