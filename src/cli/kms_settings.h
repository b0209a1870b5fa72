/*
 * What all commands that call KMS take on their command line, and the client that comes of it. No secret is among it: whatever stands on a
 * command line, every process of the machine can read.
 */
#ifndef POSTERN_CLI_KMS_SETTINGS_H
#define POSTERN_CLI_KMS_SETTINGS_H

#include "cli/cli.h"
#include "postern/kms.h"

#define KMS_CONTEXT_MAX 64
#define KMS_TOKENS_MAX  10

enum kms_settings_option {
    KMS_OPTION_REGION = 1000,
    KMS_OPTION_HOST,
    KMS_OPTION_CA_FILE,
    KMS_OPTION_ROUTE,
    KMS_OPTION_RAW,
    KMS_OPTION_CREDENTIALS,
    KMS_OPTION_CREDENTIALS_FILE,
    KMS_OPTION_PROFILE,
    KMS_OPTION_METADATA,
    KMS_OPTION_INSECURE_NSM,
    KMS_OPTION_TIMEOUT,
    KMS_OPTION_CONTEXT,
    KMS_OPTION_GRANT_TOKEN,
};

/* For a command's own table of options, and for its help. */
#define KMS_CLIENT_OPTIONS                                                          \
    {"host", required_argument, NULL, KMS_OPTION_HOST},                             \
        {"ca-file", required_argument, NULL, KMS_OPTION_CA_FILE},                   \
        {"route", required_argument, NULL, KMS_OPTION_ROUTE},                       \
        {"raw", required_argument, NULL, KMS_OPTION_RAW},                           \
        {"credentials", required_argument, NULL, KMS_OPTION_CREDENTIALS},           \
        {"credentials-file", required_argument, NULL, KMS_OPTION_CREDENTIALS_FILE}, \
        {"profile", required_argument, NULL, KMS_OPTION_PROFILE},                   \
        {"metadata", required_argument, NULL, KMS_OPTION_METADATA},                 \
        {"insecure-nsm", required_argument, NULL, KMS_OPTION_INSECURE_NSM},         \
    {                                                                               \
        "timeout", required_argument, NULL, KMS_OPTION_TIMEOUT                      \
    }
#define KMS_CALL_OPTIONS                                          \
    {"region", required_argument, NULL, KMS_OPTION_REGION},       \
        {"context", required_argument, NULL, KMS_OPTION_CONTEXT}, \
        {"grant-token", required_argument, NULL, KMS_OPTION_GRANT_TOKEN}, KMS_CLIENT_OPTIONS

#define KMS_SETTINGS_HELP                                                               \
    "  --context KEY=VALUE      a pair of the encryption context; as often as needed\n" \
    "  --grant-token TOKEN      as often as needed\n" KMS_CLIENT_HELP
#define KMS_CLIENT_HELP                                                                              \
    "  --region REGION          $AWS_REGION, else $AWS_DEFAULT_REGION\n"                             \
    "  --host NAME              what KMS is called; kms.REGION.amazonaws.com\n"                      \
    "  --ca-file FILE           certificates that vouch for that name; the system's\n"               \
    "  --route ROUTE            the daemon's route to KMS; kms\n"                                    \
    "  --raw ADDRESS            a raw listener that leads to KMS, instead of the daemon's route\n"   \
    "  --credentials SOURCE     auto, environment, file, container or metadata; auto\n"              \
    "  --credentials-file FILE, --profile NAME\n"                                                    \
    "  --metadata ROUTE|ADDRESS where the metadata service is asked; imds\n"                         \
    "  --insecure-nsm ADDRESS   INSECURE: a software NSM, for tests; `env`: $POSTERN_INSECURE_NSM\n" \
    "  --timeout DURATION       for the whole call (100ms to 10m); 10s\n"

/* Nothing is owned: the strings are the command line's. */
struct kms_settings {
    struct postern_kms_options client;
    struct postern_kms_context context[KMS_CONTEXT_MAX];
    const char *tokens[KMS_TOKENS_MAX];
    struct postern_kms_call call; /* points to both */
};

void kms_settings_init(struct kms_settings *settings);

/* Takes one of the options above, with optarg. CLI_DONE, or what was wrong has been said. */
int kms_settings_take(struct kms_settings *settings, struct cli *cli, int option);

/* Makes the client. CLI_DONE, with *ret for postern_kms_close(), or what was wrong has been said. */
int kms_settings_open(struct kms_settings *settings, const struct cli *cli, struct postern_kms **ret);

/* Says why a call failed, and returns CLI_FAILED. */
int kms_settings_failed(const struct cli *cli, const struct postern_error *err);

#endif
