/* postern: the table of commands, and the options that they share. */
#include "cli/cli.h"
#include "base/diag.h"
#include "base/output.h"
#include "base/units.h"
#ifdef POSTERN_KMS
#include "cli/kms_settings.h"
#include "cli/secrecy.h"
#endif
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SHORTS_MAX 32

static const struct cli_command commands[] = {
    {"ping", "[-c COUNT] [-i INTERVAL] [-W TIMEOUT]", "see that the daemon answers, and how fast",
     "  -c, --count COUNT        so many round trips; without it, until interrupted\n"
     "  -i, --interval INTERVAL  from one to the next (10ms to 1h); 1s\n"
     "  -W, --timeout TIMEOUT    wait so long for each answer (10ms to 1h); 10s\n",
     cli_ping, false},
    {"pipe", "ROUTE", "carry standard input to a route, and what it answers to standard output", "", cli_pipe,
     false},
    {"send", "ROUTE [PATH] [-X METHOD] [-H 'NAME: VALUE']... [--data @FILE|-|TEXT]",
     "send an HTTP request to a forward route, and its answer to standard output",
     "  PATH                     with the query, %-encoded, from / on; /\n"
     "  -X, --method METHOD      POST with -d, else GET\n"
     "  -H, --header 'N: V'      a header; as often as needed\n"
     "  -d, --data DATA          the body: @FILE, - or @- for standard input, or the text itself\n"
     "  -i, --include            the answer's status and headers before its body\n"
     "  -q, --quiet              no progress on a terminal\n"
     "  -t, --timeout DURATION   for all of it (1s to 7d); none\n"
     "  --idle-timeout DURATION  without a byte in either direction (1s to 7d); 5m\n"
     "Exit status: 0 for an answer of 2xx, 22 for any other, 1 if there was no whole answer, 2 for wrong "
     "usage.\n",
     cli_send, false},
    {"listen", "LOCAL=ROUTE...", "local sockets for unmodified programs, each leading to a route",
     "  LOCAL                    unix:///path, tcp://HOST:PORT, vsock://any:PORT, hybrid:///path:PORT\n"
     "  --max-streams NUMBER     local connections at once (1 to 100000); 4096\n"
     "  --memory SIZE            bytes held for programs that do not read, at most (from 1MiB); 64MiB\n"
     "  --wait DURATION          how long a connection waits while there is no session (0s to 1h); 30s\n"
     "  --drain-timeout DURATION how long SIGTERM lets connections finish (0s to 1d); 30s\n"
     "  --mode MODE              of the files of unix sockets, octal; 0600\n",
     cli_listen, false},
    {"run", "[--config FILE] [--set KEY=VALUE]... -- PROGRAM [ARGUMENT...]",
     "be the init of an enclave, and run a program in it",
     "  --config FILE            lines of `key = value`; postern(1) has the keys\n"
     "  --set KEY=VALUE          the same, on top of the file\n",
     cli_run_app, false},
    {"attest", "[describe | extend INDEX @FILE|TEXT | lock INDEX | lock-range COUNT] [--nonce HEX|@FILE]...",
     "an attestation document of this enclave, or its PCRs",
     "  --nonce HEX|@FILE        what the document is to hold, as its verifier has asked (up to 1024 bytes)\n"
     "  --user-data @FILE|TEXT   the same, as this enclave likes\n"
     "  --public-key FILE        the same, a key to encrypt for it with: DER, if it is for KMS\n"
     "  --format FORMAT          cbor, base64 or json; base64\n"
     "  --insecure-nsm ADDRESS   INSECURE: a software NSM, for tests; `env`: $POSTERN_INSECURE_NSM\n"
     "  describe                 the module, and the value of each PCR\n"
     "  extend INDEX @FILE|TEXT  the PCR becomes the digest of its value and of this\n"
     "  lock INDEX               the PCR cannot be changed any more; lock-range COUNT: all below that\n",
     cli_attest, false},
#ifdef POSTERN_KMS
    {"kms", "OPERATION [ARGUMENT]",
     "call KMS with an attestation, so that what it answers can be read in this process alone",
     "  decrypt CIPHERTEXT       @FILE, - for standard input, or base64\n"
     "    --key-id KEY           only if it was encrypted under this one\n"
     "    --algorithm ALGORITHM  SYMMETRIC_DEFAULT; others want the key, too\n"
     "  generate-data-key        a key, and its copy encrypted under --key-id KEY\n"
     "    --key-spec SPEC        AES_256 or AES_128; AES_256\n"
     "    --bytes NUMBER         instead: so long (1 to 1024)\n"
     "  generate-data-key-pair   of --key-pair-spec SPEC, the private key encrypted under --key-id KEY\n"
     "  generate-random          --bytes NUMBER (1 to 1024)\n"
     "  derive-shared-secret     of --key-id KEY and --public-key @FILE|-|BASE64 (DER)\n"
     "\n"
     "  --output FILE            the secret, for its owner alone (0600); standard output\n"
     "  --format FORMAT          raw, base64 or json; json if more than a secret comes, else raw\n"
     "  --ciphertext-output FILE, --public-output FILE\n"
     "                           the encrypted copy of a key, and a pair's public key, as bytes\n"
     "  --input-format FORMAT    of @FILE and -: raw or base64; raw\n"
     "  --show                   also on a terminal\n" KMS_SETTINGS_HELP,
     cli_kms, true},
    {"kms-proxy", "[--listen ADDRESS]",
     "KMS with an attestation for unmodified AWS SDKs: AWS_ENDPOINT_URL_KMS=http://127.0.0.1:8080",
     "  --listen ADDRESS         tcp on loopback, or unix:///path; tcp://127.0.0.1:8080\n"
     "  --any-caller             any other address, too: whoever reaches it has the enclave's attestation\n"
     "  --key-per-call           a key and a document for each call, not one for some minutes\n"
     "  --connections NUMBER     at once (1 to 4096); 256\n"
     "  --idle-timeout DURATION  of a kept connection (1s to 1h); 5m\n"
     "  --request-timeout DURATION\n"
     "                           for a request to come, and for an answer to be taken (1s to 1h); 30s\n"
     "  --drain-timeout DURATION how long SIGTERM lets requests finish (0s to 1h); 30s\n" KMS_CLIENT_HELP,
     cli_kms_proxy, true},
    {"seal", "--key KEY [--context KEY=VALUE]... [IN [OUT]]",
     "encrypt a file under a data key that KMS makes for it",
     "  --key KEY                the KMS key: its ARN or ID\n"
     "  --no-attestation         outside of enclaves: the data key comes from KMS in the clear, within "
     "TLS\n" KMS_SETTINGS_HELP,
     cli_seal, true},
    {"open", "[--key KEY] [--context KEY=VALUE]... [IN [OUT]]",
     "decrypt a file that was sealed, if it is whole and unchanged",
     "  --key KEY                the KMS key it has to be sealed under; whichever it names\n"
     "  --describe               say what it names, unchecked, and call nobody\n"
     "  --show                   also on a terminal\n" KMS_SETTINGS_HELP,
     cli_open, true},
#endif
};

enum common_option { OPTION_CONNECT = -100, OPTION_HELP, OPTION_VERSION };

static const struct option common_options[] = {
    {"connect", required_argument, NULL, OPTION_CONNECT},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
};

static void print_help(const struct cli *cli)
{
    fputs("usage: postern [--connect ADDRESS] COMMAND ...\n\n", cli->out);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        fprintf(cli->out, "  %s%s%s\n        %s\n", commands[i].name,
                commands[i].arguments[0] != '\0' ? " " : "", commands[i].arguments, commands[i].summary);
    }
    fprintf(
        cli->out,
        "\n  --connect ADDRESS  where the daemon's framed listener is; $POSTERN_ADDRESS, else " CLI_ADDRESS
        "\n  --help             also after a command: its options\n  --version\n");
}

static void print_command_help(const struct cli *cli)
{
    const struct cli_command *command = cli->command;
    fprintf(cli->out, "usage: postern [--connect ADDRESS] %s%s%s\n%s\n%s%s", command->name,
            command->arguments[0] != '\0' ? " " : "", command->arguments, command->summary,
            command->options[0] != '\0' ? "\n" : "", command->options);
}

/* Returns 0, or CLI_OPTIONS_STOP after --help and --version. */
static int take_common_option(struct cli *cli, int option)
{
    switch (option) {
    case OPTION_CONNECT:
        cli->address = optarg;
        cli->address_given = true;
        return 0;
    case OPTION_VERSION:
        fputs("postern " POSTERN_VERSION "\n", cli->out);
        return CLI_OPTIONS_STOP;
    default:
        if (cli->command != NULL) {
            print_command_help(cli);
        } else {
            print_help(cli);
        }
        return CLI_OPTIONS_STOP;
    }
}

/* getopt_long() tells of an unknown letter by optopt, and of an unknown word by its place. */
static int option_error(const struct cli *cli, char **argv, int option)
{
    const char *word = argv[optind - 1];
    if (option == ':') {
        bool is_long = strncmp(word, "--", 2) == 0;
        return is_long ? cli_usage_error(cli, "%s needs a value", word)
                       : cli_usage_error(cli, "-%c needs a value", optopt);
    }
    if (optopt > 0) {
        return cli_usage_error(cli, "-%c is no option here", optopt);
    }
    return cli_usage_error(cli, "%s is no option here", word);
}

/* The value of the option --insecure-nsm, or what it stands for; NULL: none. */
static const char *insecure_address(const char *text)
{
    const char *address = strcmp(text, "env") == 0 ? getenv("POSTERN_INSECURE_NSM") : text;
    return address != NULL && address[0] != '\0' ? address : NULL;
}

/* getopt_long() puts the words in order as it goes, so it is given others to do that with. */
void cli_note_insecure(struct cli *cli, int argc, char **argv, const char *letters,
                       const struct option *options)
{
    char **words = malloc(((size_t)argc + 1) * sizeof *words);
    int option = 0, index = -1;
    if (words == NULL) {
        return;
    }
    memcpy(words, argv, ((size_t)argc + 1) * sizeof *words);
    optind = 0;
    while ((option = getopt_long(argc, words, letters, options, &index)) != -1) {
        bool named =
            option != '?' && option != ':' && index >= 0 && strcmp(options[index].name, "insecure-nsm") == 0;
        cli->insecure |= named && insecure_address(optarg) != NULL;
        index = -1;
    }
    optind = 0; /* glibc: begin afresh */
    free(words);
}

int cli_next_option(struct cli *cli, int argc, char **argv, const char *shorts, const struct option *own,
                    int *ret_code)
{
    struct option all[ARRAY_SIZE(common_options) + CLI_OPTIONS_MAX + 1] = {{NULL, 0, NULL, 0}};
    char letters[SHORTS_MAX];
    bool in_order = shorts[0] == '+';
    snprintf(letters, sizeof letters, "%s:%s", in_order ? "+" : "", shorts + in_order);
    memcpy(all, common_options, sizeof common_options);
    for (size_t i = 0; i < CLI_OPTIONS_MAX && own != NULL && own[i].name != NULL; i++) {
        all[ARRAY_SIZE(common_options) + i] = own[i];
    }
    if (optind == 0) {
        cli_note_insecure(cli, argc, argv, letters, all);
    }
    for (;;) {
        int option = getopt_long(argc, argv, letters, all, NULL);
        if (option == '?' || option == ':') {
            *ret_code = option_error(cli, argv, option);
            return CLI_OPTIONS_STOP;
        }
        if (option >= CLI_OPTIONS_END) {
            return option;
        }
        *ret_code = CLI_DONE;
        if (take_common_option(cli, option) != 0) {
            return CLI_OPTIONS_STOP;
        }
    }
}

bool cli_address(const struct cli *cli, struct addr *ret, int *ret_code)
{
    struct error err = ERROR_INIT;
    if (addr_parse(cli->address, ret, &err) != 0) {
        *ret_code = cli_usage_error(cli, "--connect, or $POSTERN_ADDRESS: %s", err.text);
        return false;
    }
    if (ret->kind == ADDR_VSOCK && ret->cid == ADDR_CID_ANY && !ret->cid_by_name) {
        *ret_code =
            cli_usage_error(cli,
                            "--connect, or $POSTERN_ADDRESS: \"%s\" is to listen at: expected parent, local "
                            "or a number",
                            cli->address);
        return false;
    }
    if (ret->cid_by_name) {
        *ret_code =
            cli_usage_error(cli,
                            "--connect, or $POSTERN_ADDRESS: \"%s\" names an enclave: here a CID is a "
                            "number, parent or local",
                            cli->address);
        return false;
    }
    return true;
}

bool cli_duration(const struct cli *cli, const char *option, const char *text, uint64_t min, uint64_t max,
                  uint64_t *ret_ms, int *ret_code)
{
    char low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];
    if (units_parse_duration(text, ret_ms) == 0 && *ret_ms >= min && *ret_ms <= max) {
        return true;
    }
    *ret_code = cli_usage_error(cli, "%s \"%s\": a duration from %s to %s is expected, such as 5s", option,
                                text, units_format_duration(min, low), units_format_duration(max, high));
    return false;
}

bool cli_number(const struct cli *cli, const char *option, const char *text, uint64_t min, uint64_t max,
                uint64_t *ret, int *ret_code)
{
    if (units_parse_u64(text, max, ret) == 0 && *ret >= min) {
        return true;
    }
    *ret_code = cli_usage_error(cli, "%s \"%s\": a number from %ju to %ju is expected", option, text,
                                (uintmax_t)min, (uintmax_t)max);
    return false;
}

bool cli_insecure_nsm(struct cli *cli, const char *text, const char **ret, int *ret_code)
{
    *ret = insecure_address(text);
    if (*ret == NULL) {
        *ret_code = cli_usage_error(cli, "--insecure-nsm env: $POSTERN_INSECURE_NSM is not set");
        return false;
    }
    cli->insecure = true;
    return true;
}

const char *cli_prefix(const struct cli *cli)
{
    return cli->insecure ? "postern: INSECURE: " : "postern: ";
}

int cli_usage_error(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(cli_prefix(cli), cli->err);
    vfprintf(cli->err, format, args);
    va_end(args);
    fprintf(cli->err, "\n%stry `postern %s%s--help`\n", cli->insecure ? "INSECURE: " : "",
            cli->command != NULL ? cli->command->name : "", cli->command != NULL ? " " : "");
    return CLI_USAGE;
}

static void say(const struct cli *cli, const char *format, va_list args) PRINTF_LIKE(2, 0);

static void say(const struct cli *cli, const char *format, va_list args)
{
    fputs(cli_prefix(cli), cli->err);
    vfprintf(cli->err, format, args);
    fputc('\n', cli->err);
    fflush(cli->err);
}

int cli_failed(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(cli, format, args);
    va_end(args);
    return CLI_FAILED;
}

void cli_say(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(cli, format, args);
    va_end(args);
}

static const struct cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static int unknown_command(const struct cli *cli, const char *name)
{
    const char *names[ARRAY_SIZE(commands)];
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        names[i] = commands[i].name;
    }
    const char *nearest = diags_nearest(name, names, ARRAY_SIZE(names));
    if (nearest != NULL) {
        return cli_usage_error(cli, "there is no command \"%s\": did you mean %s?", name, nearest);
    }
    return cli_usage_error(cli, "there is no command \"%s\"", name);
}

static const char *default_address(void)
{
    const char *from_environment = getenv("POSTERN_ADDRESS");
    return from_environment != NULL && from_environment[0] != '\0' ? from_environment : CLI_ADDRESS;
}

/* A reader that is gone, or a disk that is full, is told; what was printed before is not believed. */
static int finish_output(const struct cli *cli, int code)
{
    int r = output_finish(cli->out);
    return r == 0 || code != CLI_DONE ? code : cli_failed(cli, "cannot write the output: %s", error_words(r));
}

int cli_main(int argc, char **argv, FILE *out, FILE *err)
{
    struct cli cli = {.out = out, .err = err, .address = default_address()};
    int code;
    opterr = 0; /* the messages are ours */
    optind = 0; /* glibc: begin afresh */
    if (cli_next_option(&cli, argc, argv, "+", NULL, &code) == CLI_OPTIONS_STOP) {
        return finish_output(&cli, code);
    }
    if (optind >= argc) {
        return cli_usage_error(&cli, "a command is missing, such as ping");
    }
    argc -= optind;
    argv += optind;
    cli.command = find_command(argv[0]);
    if (cli.command == NULL) {
        return unknown_command(&cli, argv[0]);
    }
#ifdef POSTERN_KMS
    if (cli.command->secrets) {
        secrecy_begin();
    }
#endif
    optind = 0;
    return finish_output(&cli, cli.command->run(&cli, argc, argv));
}
