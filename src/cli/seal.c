/* postern seal and postern open: files encrypted under data keys from KMS, from a file or standard input to another. */
#include "cli/kms_settings.h"
#include "cli/out_file.h"

#include "base/text.h"
#include "postern/seal.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum own_option { OPTION_KEY = 1, OPTION_NO_ATTESTATION, OPTION_DESCRIBE, OPTION_SHOW };

static const struct option seal_options[] = {
    {"key", required_argument, NULL, OPTION_KEY},
    {"no-attestation", no_argument, NULL, OPTION_NO_ATTESTATION},
    KMS_CALL_OPTIONS,
    {NULL, 0, NULL, 0},
};

static const struct option open_options[] = {
    {"key", required_argument, NULL, OPTION_KEY},
    {"describe", no_argument, NULL, OPTION_DESCRIBE},
    {"show", no_argument, NULL, OPTION_SHOW},
    KMS_CALL_OPTIONS,
    {NULL, 0, NULL, 0},
};

struct sealing {
    struct cli *cli;
    struct kms_settings settings;
    const char *key_id;
    bool without_attestation, describe, show;
    const char *in_name; /* for people */
    int in;
    struct out_file out;
};

/* ---- The command line ---- */

static int take(struct sealing *sealing, int option)
{
    switch (option) {
    case OPTION_KEY:
        sealing->key_id = optarg;
        return CLI_DONE;
    case OPTION_NO_ATTESTATION:
        sealing->without_attestation = true;
        return CLI_DONE;
    case OPTION_DESCRIBE:
        sealing->describe = true;
        return CLI_DONE;
    case OPTION_SHOW:
        sealing->show = true;
        return CLI_DONE;
    default:
        return kms_settings_take(&sealing->settings, sealing->cli, option);
    }
}

static bool read_options(struct sealing *sealing, struct cli *cli, const struct option *options, int argc,
                         char **argv, int *ret_code)
{
    int option;
    kms_settings_init(&sealing->settings);
    while ((option = cli_next_option(cli, argc, argv, "", options, ret_code)) >= 0) {
        *ret_code = take(sealing, option);
        if (*ret_code != CLI_DONE) {
            return false;
        }
    }
    if (option == CLI_OPTIONS_END && argc - optind > 2) {
        *ret_code =
            cli_usage_error(cli, "at most two files are expected: where it comes from, and where it goes");
        return false;
    }
    return option == CLI_OPTIONS_END;
}

/* NULL for what is standard input or output. */
static const char *file_name(int argc, char **argv, int number)
{
    const char *name = number < argc ? argv[number] : "-";
    return strcmp(name, "-") == 0 ? NULL : name;
}

/* ---- The files ---- */

static int open_in(struct sealing *sealing, const char *name)
{
    struct stat st;
    sealing->in_name = name != NULL ? name : "standard input";
    sealing->in = name != NULL ? open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY) : STDIN_FILENO;
    if (sealing->in < 0) {
        return cli_failed(sealing->cli, "cannot read %s: %m", name);
    }
    if (fstat(sealing->in, &st) == 0 && S_ISDIR(st.st_mode)) {
        return cli_failed(sealing->cli, "cannot read %s: it is a directory", name);
    }
    return CLI_DONE;
}

static int open_out(struct sealing *sealing, const char *name, mode_t mode)
{
    struct error err = ERROR_INIT;
    int standard = fileno(sealing->cli->out);
    fflush(sealing->cli->out);
    if (name == NULL && !sealing->show && isatty(standard)) {
        return cli_usage_error(sealing->cli,
                               "standard output is a terminal: name a file, or send it to a program");
    }
    if (out_file_open(&sealing->out, name, standard, mode, &err) != 0) {
        return cli_failed(sealing->cli, "%s", err.text);
    }
    return CLI_DONE;
}

static int open_files(struct sealing *sealing, int argc, char **argv, mode_t mode)
{
    int code = open_in(sealing, file_name(argc, argv, 0));
    return code == CLI_DONE ? open_out(sealing, file_name(argc, argv, 1), mode) : code;
}

/* Nothing of what was written becomes OUT unless all of it is there. */
static int close_files(struct sealing *sealing, int code)
{
    struct error err = ERROR_INIT;
    if (sealing->in > STDIN_FILENO) {
        close(sealing->in);
    }
    if (code != CLI_DONE) {
        out_file_abandon(&sealing->out);
        return code;
    }
    return out_file_commit(&sealing->out, &err) == 0 ? CLI_DONE : cli_failed(sealing->cli, "%s", err.text);
}

static ssize_t read_in(void *user, void *buffer, size_t size)
{
    struct sealing *sealing = user;
    ssize_t n;
    do {
        n = read(sealing->in, buffer, size);
    } while (n < 0 && errno == EINTR);
    return n >= 0 ? n : -errno;
}

static int write_out(void *user, const void *data, size_t size)
{
    return out_file_write(&((struct sealing *)user)->out, data, size);
}

static struct postern_seal_io callbacks(struct sealing *sealing)
{
    return (struct postern_seal_io){.read = read_in, .write = write_out, .user = sealing};
}

/* ---- Sealing ---- */

static int seal(struct sealing *sealing, struct postern_kms *kms)
{
    struct postern_seal_io io = callbacks(sealing);
    struct postern_seal_options options;
    struct postern_error err;
    postern_seal_options_init(&options);
    options.flags = sealing->without_attestation ? POSTERN_SEAL_WITHOUT_ATTESTATION : 0;
    options.key_id = sealing->key_id;
    options.call = sealing->settings.call;
    if (postern_seal(kms, &options, &io, &err) != 0) {
        return cli_failed(sealing->cli, "%s: %s", sealing->in_name, err.message);
    }
    return CLI_DONE;
}

int cli_seal(struct cli *cli, int argc, char **argv)
{
    struct sealing sealing = {.cli = cli, .in = -1, .out = {.fd = -1}};
    struct postern_kms *kms;
    int code = CLI_DONE;
    if (!read_options(&sealing, cli, seal_options, argc, argv, &code)) {
        return code;
    }
    if (sealing.key_id == NULL) {
        return cli_usage_error(
            cli,
            "--key is missing: the KMS key to seal under, such as arn:aws:kms:REGION:ACCOUNT:alias/results");
    }
    code = open_files(&sealing, argc - optind, argv + optind, 0666);
    if (code == CLI_DONE) {
        code = kms_settings_open(&sealing.settings, cli, &kms);
    }
    if (code == CLI_DONE) {
        if (sealing.without_attestation) {
            cli_say(cli, "without attestation: the data key comes from KMS in the clear, within TLS");
        }
        code = seal(&sealing, kms);
        postern_kms_close(kms);
    }
    return close_files(&sealing, code);
}

/* ---- Opening ---- */

static int open_sealed(struct sealing *sealing)
{
    struct postern_seal_io io = callbacks(sealing);
    struct postern_unseal_options options;
    struct postern_error err;
    struct postern_kms *kms;
    int code = kms_settings_open(&sealing->settings, sealing->cli, &kms);
    if (code != CLI_DONE) {
        return code;
    }
    postern_unseal_options_init(&options);
    options.key_id = sealing->key_id;
    options.call = sealing->settings.call;
    if (postern_unseal(kms, &options, &io, &err) != 0) {
        code = cli_failed(sealing->cli, "%s: %s%s", sealing->in_name, err.message,
                          sealing->out.path == NULL ? "; what was written so far is not to be used" : "");
    }
    postern_kms_close(kms);
    return code;
}

static void print_description(const struct cli *cli, const struct postern_sealed *sealed)
{
    struct text text = TEXT_INIT;
    text_add(&text, "{\n  \"KeyId\": \"");
    text_add_json(&text, sealed->key_id, strlen(sealed->key_id));
    text_add(&text, "\",\n  \"EncryptionContext\": {");
    for (size_t i = 0; i < sealed->context_count; i++) {
        text_add(&text, i == 0 ? "\n    \"" : ",\n    \"");
        text_add_json(&text, sealed->context[i].key, strlen(sealed->context[i].key));
        text_add(&text, "\": \"");
        text_add_json(&text, sealed->context[i].value, strlen(sealed->context[i].value));
        text_add(&text, "\"");
    }
    text_add(&text, sealed->context_count > 0 ? "\n  }\n}\n" : "}\n}\n");
    fputs(text_string(&text), cli->out);
    text_release(&text);
}

/* Anybody may have written what is shown, and nobody is asked. */
static int describe(struct sealing *sealing, int argc, char **argv)
{
    struct postern_seal_io io = callbacks(sealing);
    struct postern_sealed sealed;
    struct postern_error err;
    if (argc > 1) {
        return cli_usage_error(sealing->cli, "--describe writes to standard output: one file is expected");
    }
    int code = open_in(sealing, file_name(argc, argv, 0));
    if (code == CLI_DONE && postern_sealed_describe(&io, &sealed, &err) != 0) {
        code = cli_failed(sealing->cli, "%s: %s", sealing->in_name, err.message);
    } else if (code == CLI_DONE) {
        print_description(sealing->cli, &sealed);
        postern_sealed_release(&sealed);
    }
    if (sealing->in > STDIN_FILENO) {
        close(sealing->in);
    }
    return code;
}

int cli_open(struct cli *cli, int argc, char **argv)
{
    struct sealing sealing = {.cli = cli, .in = -1, .out = {.fd = -1}};
    int code = CLI_DONE;
    if (!read_options(&sealing, cli, open_options, argc, argv, &code)) {
        return code;
    }
    if (sealing.describe) {
        return describe(&sealing, argc - optind, argv + optind);
    }
    code = open_files(&sealing, argc - optind, argv + optind, 0600);
    if (code == CLI_DONE) {
        code = open_sealed(&sealing);
    }
    return close_files(&sealing, code);
}
