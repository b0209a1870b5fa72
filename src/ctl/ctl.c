/* posternctl: the table of commands, and the options that they share. */
#include "ctl/ctl.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/output.h"
#include "ctl/shown.h"
#include "net/addr.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct ctl_command commands[] = {
    {"status", "", "what the daemon is doing", ctl_status},
    {"top", "[--once] [--interval DURATION]", "the same as it happens, with rates", ctl_top},
    {"reload", "", "have the configuration read again; nothing changes if it has a mistake", ctl_reload},
    {"drain", "[--deadline DURATION]", "let streams finish, then exit", ctl_drain},
    {"spool",
     "list [--limit NUMBER] | show ID | retry ID | drop ID | export ID FILE | verify | stats | set-aside "
     "[--path DIRECTORY]",
     "what waits to be delivered; list, and retry or drop --all, take --route NAME and --state STATE",
     ctl_spool},
    {"explain", "[CODE | --enclave NAME --route NAME [--sni NAME]]",
     "what a reason means, or whether a stream would be let through", ctl_explain},
    {"doctor", "", "look for what is wrong with this host, and say what to do", ctl_doctor},
    {"convert-allowlist", "FILE [--listen-port PORT]",
     "make a configuration from an allowlist of AWS's vsock-proxy", ctl_convert_allowlist},
    {"attest",
     "verify FILE [--pcr INDEX=HEX]... [--nonce HEX] [--user-data HEX] [--public-key FILE] "
     "[--at now|document|SECONDS] [--max-age DURATION] [--root FILE|HEX] [--allow-debug] "
     "[--insecure-unsigned]",
     "whether an attestation document is to be believed, and what it says", ctl_attest},
    {"eif", "measure FILE", "the measurements of an enclave image", ctl_eif},
    {"policy",
     "kms --measurements FILE [--pcr 0,1,2,3,4,8] [--principal ARN] [--role-arn ARN] [--instance-id ID] "
     "[--action NAME,...] [--allow-debug] | explain FILE [--measurements FILE] [--principal ARN] [--role-arn "
     "ARN] "
     "[--instance-id ID]",
     "write a key policy for an enclave image, or tell what a key policy really allows", ctl_policy},
};

enum common_option { OPTION_JSON = -100, OPTION_SOCKET, OPTION_CONFIG, OPTION_HELP, OPTION_VERSION };

static const struct option common_options[] = {
    {"json", no_argument, NULL, OPTION_JSON},           {"socket", required_argument, NULL, OPTION_SOCKET},
    {"config", required_argument, NULL, OPTION_CONFIG}, {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
};

static void print_help(const struct ctl *ctl)
{
    fputs("usage: posternctl [--socket ADDRESS] [--config FILE] [--json] COMMAND ...\n\n", ctl->out);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        fprintf(ctl->out, "  %s%s%s\n        %s\n", commands[i].name,
                commands[i].arguments[0] != '\0' ? " " : "", commands[i].arguments, commands[i].summary);
    }
    fprintf(ctl->out, "\n  --socket ADDRESS  the daemon's admin socket; $POSTERN_ADMIN, else " CTL_SOCKET "\n"
                      "  --config FILE     the configuration that explain and doctor read; " CTL_CONFIG "\n"
                      "  --json            for programs\n"
                      "  --help            also after a command: its options\n"
                      "  --version\n");
}

static void print_command_help(const struct ctl *ctl)
{
    const struct ctl_command *command = ctl->command;
    fprintf(ctl->out, "usage: posternctl %s%s%s\n%s\n", command->name,
            command->arguments[0] != '\0' ? " " : "", command->arguments, command->summary);
}

static int take_socket(struct ctl *ctl, int *ret_code)
{
    struct addr at;
    struct error err = ERROR_INIT;
    ctl->socket = optarg;
    ctl->socket_given = true;
    if (addr_parse(optarg, &at, &err) == 0) {
        return 0;
    }
    *ret_code = ctl_usage_error(ctl, "--socket: %s", err.text);
    return CTL_OPTIONS_STOP;
}

static int take_config(struct ctl *ctl, int *ret_code)
{
    ctl->config = optarg;
    if (optarg[0] != '\0') {
        return 0;
    }
    *ret_code = ctl_usage_error(ctl, "--config is empty, and should be the path of a configuration");
    return CTL_OPTIONS_STOP;
}

/* Returns 0, or CTL_OPTIONS_STOP after a mistake, --help and --version. */
static int take_common_option(struct ctl *ctl, int option, int *ret_code)
{
    *ret_code = CTL_DONE;
    switch (option) {
    case OPTION_JSON:
        ctl->json = true;
        return 0;
    case OPTION_SOCKET:
        return take_socket(ctl, ret_code);
    case OPTION_CONFIG:
        return take_config(ctl, ret_code);
    case OPTION_VERSION:
        fputs("posternctl " POSTERN_VERSION "\n", ctl->out);
        return CTL_OPTIONS_STOP;
    default:
        if (ctl->command != NULL) {
            print_command_help(ctl);
        } else {
            print_help(ctl);
        }
        return CTL_OPTIONS_STOP;
    }
}

static int next_option(struct ctl *ctl, int argc, char **argv, const char *order, const struct option *own,
                       int *ret_code)
{
    struct option all[ARRAY_SIZE(common_options) + CTL_OPTIONS_MAX + 1] = {{NULL, 0, NULL, 0}};
    memcpy(all, common_options, sizeof common_options);
    for (size_t i = 0; i < CTL_OPTIONS_MAX && own != NULL && own[i].name != NULL; i++) {
        all[ARRAY_SIZE(common_options) + i] = own[i];
    }
    for (;;) {
        int option = getopt_long(argc, argv, order, all, NULL);
        if (option == '?' || option == ':') {
            *ret_code = ctl_usage_error(ctl, "%s %s", argv[optind - 1],
                                        option == ':' ? "needs a value" : "is no option here");
            return CTL_OPTIONS_STOP;
        }
        if (option >= CTL_OPTIONS_END) {
            return option;
        }
        if (take_common_option(ctl, option, ret_code) != 0) {
            return CTL_OPTIONS_STOP;
        }
    }
}

int ctl_next_option(struct ctl *ctl, int argc, char **argv, const struct option *own, int *ret_code)
{
    return next_option(ctl, argc, argv, ":", own, ret_code);
}

int ctl_no_arguments(struct ctl *ctl, int argc, char **argv, int *ret_code)
{
    if (ctl_next_option(ctl, argc, argv, NULL, ret_code) == CTL_OPTIONS_STOP) {
        return CTL_OPTIONS_STOP;
    }
    if (optind < argc) {
        *ret_code = ctl_usage_error(ctl, "%s takes no arguments, but got \"%s\"", argv[0], argv[optind]);
        return CTL_OPTIONS_STOP;
    }
    return 0;
}

int ctl_usage_error(const struct ctl *ctl, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("posternctl: ", ctl->err);
    vfprintf(ctl->err, format, args);
    va_end(args);
    fprintf(ctl->err, "\ntry `posternctl %s%s--help`\n", ctl->command != NULL ? ctl->command->name : "",
            ctl->command != NULL ? " " : "");
    return CTL_USAGE;
}

size_t ctl_line_length(const char *text)
{
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == '\n') {
        length--;
    }
    return length;
}

int ctl_failed(const struct ctl *ctl, const char *text)
{
    size_t length = ctl_line_length(text);
    if (ctl->json) {
        ctl_print_json(ctl, json_pack("{s:o}", "error", shown_json(text, length)));
    } else {
        fputs("posternctl: ", ctl->err);
        shown_put_lines(ctl->err, text, length);
        fputc('\n', ctl->err);
    }
    return CTL_FAILED;
}

int ctl_verdict(const struct ctl *ctl, const char *done, bool accepted, const char *key, const char *text)
{
    size_t length = ctl_line_length(text);
    json_t *value = json_pack("{s:b, s:o}", done, accepted, key, shown_json(text, length));
    if (value != NULL && !accepted && json_object_set_new(value, "error", shown_json(text, length)) != 0) {
        json_decref(value);
        value = NULL;
    }
    int r = ctl_print_json(ctl, value);
    return accepted ? r : CTL_FAILED;
}

int ctl_print_json(const struct ctl *ctl, json_t *value)
{
    int r = json_dumpf(value, ctl->out, JSON_INDENT(2));
    json_decref(value);
    fputc('\n', ctl->out);
    if (r == 0) {
        return CTL_DONE;
    }
    if (!ferror(ctl->out)) { /* else finish_output() tells */
        fputs("posternctl: out of memory\n", ctl->err);
    }
    return CTL_FAILED;
}

static const struct ctl_command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static int unknown_command(const struct ctl *ctl, const char *name)
{
    const char *names[ARRAY_SIZE(commands)];
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        names[i] = commands[i].name;
    }
    const char *nearest = diags_nearest(name, names, ARRAY_SIZE(names));
    if (nearest != NULL) {
        return ctl_usage_error(ctl, "there is no command \"%s\": did you mean %s?", name, nearest);
    }
    return ctl_usage_error(ctl, "there is no command \"%s\"", name);
}

/* A reader that is gone, or a disk that is full, is told. */
static int finish_output(const struct ctl *ctl, int code)
{
    int r = output_finish(ctl->out);
    if (r != 0) {
        fprintf(ctl->err, "posternctl: cannot write the output: %s\n", error_words(r));
    }
    return r == 0 || code != CTL_DONE ? code : CTL_FAILED;
}

int ctl_main(int argc, char **argv, FILE *out, FILE *err)
{
    const char *from_environment = getenv("POSTERN_ADMIN");
    bool socket_given = from_environment != NULL && from_environment[0] != '\0';
    struct ctl ctl = {
        .out = out,
        .err = err,
        .socket = socket_given ? from_environment : CTL_SOCKET,
        .socket_given = socket_given,
        .config = CTL_CONFIG,
    };
    int code;
    opterr = 0; /* the messages are ours */
    optind = 0; /* glibc: begin afresh */
    if (next_option(&ctl, argc, argv, "+:", NULL, &code) == CTL_OPTIONS_STOP) {
        return finish_output(&ctl, code);
    }
    if (optind >= argc) {
        return ctl_usage_error(&ctl, "a command is missing, such as status");
    }
    argc -= optind;
    argv += optind;
    ctl.command = find_command(argv[0]);
    if (ctl.command == NULL) {
        return unknown_command(&ctl, argv[0]);
    }
    optind = 0;
    return finish_output(&ctl, ctl.command->run(&ctl, argc, argv));
}
