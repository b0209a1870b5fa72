/* What KMS's commands take: see kms_settings.h. */
#include "cli/kms_settings.h"

#include "net/addr.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_LEAST_MS 100u
#define TIMEOUT_MOST_MS  600000u

void kms_settings_init(struct kms_settings *settings)
{
    *settings = (struct kms_settings){.call = {.context_count = 0}};
    postern_kms_options_init(&settings->client);
    settings->call.context = settings->context;
    settings->call.grant_tokens = settings->tokens;
}

/* The pair is cut in two where it stands. */
static int add_pair(struct kms_settings *settings, const struct cli *cli, char *text)
{
    char *equals = strchr(text, '=');
    if (equals == NULL || equals == text) {
        return cli_usage_error(cli, "--context \"%s\": `key=value` is expected", text);
    }
    if (settings->call.context_count == KMS_CONTEXT_MAX) {
        return cli_usage_error(cli, "--context: there are more than %d pairs", KMS_CONTEXT_MAX);
    }
    *equals = '\0';
    for (size_t i = 0; i < settings->call.context_count; i++) {
        if (strcmp(settings->context[i].key, text) == 0) {
            return cli_usage_error(cli, "--context: %s is there twice", text);
        }
    }
    settings->context[settings->call.context_count++] =
        (struct postern_kms_context){.key = text, .value = equals + 1};
    return CLI_DONE;
}

static int add_token(struct kms_settings *settings, const struct cli *cli, const char *text)
{
    if (settings->call.grant_token_count == KMS_TOKENS_MAX) {
        return cli_usage_error(cli, "--grant-token: there are more than %d", KMS_TOKENS_MAX);
    }
    settings->tokens[settings->call.grant_token_count++] = text;
    return CLI_DONE;
}

static int set_timeout(struct kms_settings *settings, const struct cli *cli, const char *text)
{
    uint64_t ms;
    int code = CLI_DONE;
    if (cli_duration(cli, "--timeout", text, TIMEOUT_LEAST_MS, TIMEOUT_MOST_MS, &ms, &code)) {
        settings->client.timeout_ms = (uint32_t)ms;
    }
    return code;
}

static int set_insecure_nsm(struct kms_settings *settings, struct cli *cli, const char *text)
{
    int code = CLI_DONE;
    (void)cli_insecure_nsm(cli, text, &settings->client.insecure_nsm, &code);
    return code;
}

static int set_credentials(struct kms_settings *settings, const struct cli *cli, const char *text)
{
    static const char *const sources[] = {"auto", "environment", "file", "container", "metadata"};
    for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
        if (strcmp(text, sources[i]) == 0) {
            settings->client.credentials = sources[i];
            return CLI_DONE;
        }
    }
    return cli_usage_error(cli,
                           "--credentials \"%s\": auto, environment, file, container or metadata is expected",
                           text);
}

/* A route's name has no :// in it. */
static int set_metadata(struct kms_settings *settings, const char *text)
{
    if (strstr(text, "://") != NULL) {
        settings->client.metadata_address = text;
    } else {
        settings->client.metadata_route = text;
    }
    return CLI_DONE;
}

/* The texts that are taken as they are. False: it is another option's. */
static bool set_text(struct postern_kms_options *client, int option, const char *text)
{
    switch (option) {
    case KMS_OPTION_REGION:
        client->region = text;
        return true;
    case KMS_OPTION_HOST:
        client->host = text;
        return true;
    case KMS_OPTION_CA_FILE:
        client->ca_file = text;
        return true;
    case KMS_OPTION_ROUTE:
        client->route = text;
        return true;
    case KMS_OPTION_RAW:
        client->raw_address = text;
        return true;
    case KMS_OPTION_CREDENTIALS_FILE:
        client->credentials_file = text;
        return true;
    case KMS_OPTION_PROFILE:
        client->profile = text;
        return true;
    default:
        return false;
    }
}

int kms_settings_take(struct kms_settings *settings, struct cli *cli, int option)
{
    if (set_text(&settings->client, option, optarg)) {
        return CLI_DONE;
    }
    switch (option) {
    case KMS_OPTION_CONTEXT:
        return add_pair(settings, cli, optarg);
    case KMS_OPTION_GRANT_TOKEN:
        return add_token(settings, cli, optarg);
    case KMS_OPTION_CREDENTIALS:
        return set_credentials(settings, cli, optarg);
    case KMS_OPTION_METADATA:
        return set_metadata(settings, optarg);
    case KMS_OPTION_INSECURE_NSM:
        return set_insecure_nsm(settings, cli, optarg);
    default:
        return set_timeout(settings, cli, optarg);
    }
}

int kms_settings_open(struct kms_settings *settings, const struct cli *cli, struct postern_kms **ret)
{
    struct postern_error err;
    struct addr address;
    int code = CLI_DONE;
    if (settings->client.raw_address != NULL && (cli->address_given || settings->client.route != NULL)) {
        return cli_usage_error(cli, "--raw leads to KMS by itself: --connect and --route are not for it");
    }
    if (settings->client.raw_address == NULL) {
        if (!cli_address(cli, &address, &code)) {
            return code;
        }
        settings->client.address = cli->address;
    }
    if (postern_kms_open(&settings->client, ret, &err) != 0) {
        return err.status == -EINVAL ? cli_usage_error(cli, "%s", err.message)
                                     : cli_failed(cli, "%s", err.message);
    }
    if (settings->client.insecure_nsm != NULL) {
        cli_say(cli, "the attestation document comes from a software NSM at %s",
                settings->client.insecure_nsm);
    }
    return CLI_DONE;
}

int kms_settings_failed(const struct cli *cli, const struct postern_error *err)
{
    return cli_failed(cli, "%s", err->message);
}
