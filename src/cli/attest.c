/*
 * postern attest: what the Nitro Security Module says of this enclave, for a shell: an attestation document, and its PCRs.
 *
 * The document is not verified here: whoever has the enclave's image would verify their own. It is for somebody else.
 */
#include "cli/attest_print.h"
#include "cli/cli.h"
#include "nsm/insecure.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum option_id { OPTION_NONCE = 1, OPTION_USER_DATA, OPTION_PUBLIC_KEY, OPTION_FORMAT, OPTION_INSECURE };

static const struct option options[] = {
    {"nonce", required_argument, NULL, OPTION_NONCE},
    {"user-data", required_argument, NULL, OPTION_USER_DATA},
    {"public-key", required_argument, NULL, OPTION_PUBLIC_KEY},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"insecure-nsm", required_argument, NULL, OPTION_INSECURE},
    {NULL, 0, NULL, 0},
};

enum format { FORMAT_DEFAULT, FORMAT_CBOR, FORMAT_BASE64, FORMAT_JSON };

/* Bytes of the command line, or of a file. */
struct field {
    size_t size;
    uint8_t data[NSM_REQUEST_MAX + 1]; /* one more than anything takes */
};

struct attest {
    struct cli *cli;
    enum format format;
    const char *insecure; /* the software NSM's address; NULL: the device */
    struct nsm_attest_request request;
    struct field nonce, user_data, public_key, extension;
    struct nsm *nsm;
};

/* ---- What is given ---- */

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(const char *text, struct field *ret)
{
    size_t digits = strlen(text);

    ret->size = digits / 2;
    if (digits % 2 != 0 || ret->size > sizeof ret->data) {
        return false;
    }
    for (size_t i = 0; i < ret->size; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

        if (high < 0 || low < 0) {
            return false;
        }
        ret->data[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* "-": standard input. Returns 0, or a negative errno value. */
static int read_file(const char *path, struct field *ret)
{
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 1;

    ret->size = 0;
    while (n > 0 && ret->size < sizeof ret->data) {
        n = read(fd, ret->data + ret->size, sizeof ret->data - ret->size);
        ret->size += n > 0 ? (size_t)n : 0;
    }
    int code = n < 0 ? -errno : 0;
    if (fd > STDIN_FILENO) {
        close(fd);
    }
    return code;
}

static bool take_file(const struct cli *cli, const char *option, const char *path, struct field *ret,
                      int *ret_code)
{
    int code = read_file(path, ret);

    if (code < 0) {
        *ret_code = cli_failed(cli, "%s: cannot read %s: %s", option, path, error_words(code));
    }
    return code == 0;
}

/* @FILE, or the text itself, which may have to be hex. */
static bool take_field(const struct cli *cli, const char *option, const char *text, bool hex,
                       struct field *ret, int *ret_code)
{
    if (text[0] == '@') {
        return take_file(cli, option, text + 1, ret, ret_code);
    }
    if (hex) {
        if (!take_hex(text, ret)) {
            *ret_code = cli_usage_error(cli, "%s \"%s\": hex or @FILE is expected", option, text);
            return false;
        }
        return true;
    }
    ret->size = strnlen(text, sizeof ret->data);
    memcpy(ret->data, text, ret->size);
    return true;
}

static bool take_format(const struct cli *cli, const char *text, enum format *ret, int *ret_code)
{
    static const char *const names[] = {
        [FORMAT_CBOR] = "cbor", [FORMAT_BASE64] = "base64", [FORMAT_JSON] = "json"};

    for (unsigned i = FORMAT_CBOR; i <= FORMAT_JSON; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum format)i;
            return true;
        }
    }
    *ret_code = cli_usage_error(cli, "--format \"%s\": cbor, base64 or json is expected", text);
    return false;
}

static bool take_option(struct attest *attest, int option, int *ret_code)
{
    struct cli *cli = attest->cli;
    struct nsm_attest_request *request = &attest->request;

    switch (option) {
    case OPTION_NONCE:
        request->nonce.data = attest->nonce.data;
        return take_field(cli, "--nonce", optarg, true, &attest->nonce, ret_code);
    case OPTION_USER_DATA:
        request->user_data.data = attest->user_data.data;
        return take_field(cli, "--user-data", optarg, false, &attest->user_data, ret_code);
    case OPTION_PUBLIC_KEY:
        request->public_key.data = attest->public_key.data;
        return take_file(cli, "--public-key", optarg, &attest->public_key, ret_code);
    case OPTION_FORMAT:
        return take_format(cli, optarg, &attest->format, ret_code);
    default:
        return cli_insecure_nsm(cli, optarg, &attest->insecure, ret_code);
    }
}

/* ---- Asking ---- */

static int open_nsm(struct attest *attest, const char *what, struct error *err)
{
    if (attest->insecure) {
        cli_say(attest->cli, "%s a software NSM at %s", what, attest->insecure);
        return nsm_open_insecure(attest->insecure, &attest->nsm, err);
    }
    int code = nsm_open(NSM_DEVICE, &attest->nsm, err);
    if (code == -ENOENT) {
        error_set(err, code,
                  "there is no " NSM_DEVICE ": this is no Nitro Enclave, or its driver is not loaded");
    }
    return code;
}

static int get_document(struct attest *attest)
{
    const struct cli *cli = attest->cli;
    uint8_t document[NSM_RESPONSE_MAX];
    struct error err = ERROR_INIT;
    size_t size;

    attest->request.nonce.size = attest->nonce.size;
    attest->request.user_data.size = attest->user_data.size;
    attest->request.public_key.size = attest->public_key.size;
    int code = open_nsm(attest, "the attestation document comes from", &err);
    code = code < 0 ? code : nsm_attest(attest->nsm, &attest->request, document, &size, &err);
    if (code == 0 && attest->format == FORMAT_JSON) {
        code = attest_print_json(cli->out, document, size, attest->insecure != NULL, &err);
    } else if (code == 0 && attest->format == FORMAT_CBOR) {
        fwrite(document, 1, size, cli->out);
    } else if (code == 0) {
        attest_print_base64(cli->out, document, size);
        fputc('\n', cli->out);
    }
    return code < 0 ? cli_failed(cli, "%s", err.text) : CLI_DONE;
}

static int describe(struct attest *attest)
{
    struct nsm_description description;
    struct nsm_pcr pcrs[NSM_PCRS];
    struct error err = ERROR_INIT;
    int code = open_nsm(attest, "this comes from", &err);

    code = code < 0 ? code : nsm_describe(attest->nsm, &description, &err);
    unsigned count = code < 0 ? 0 : description.max_pcrs;
    count = count < NSM_PCRS ? count : NSM_PCRS;
    for (unsigned i = 0; i < count && code == 0; i++) {
        code = nsm_describe_pcr(attest->nsm, (uint16_t)i, &pcrs[i], &err);
    }
    if (code < 0) {
        return cli_failed(attest->cli, "%s", err.text);
    }
    attest_print_description(attest->cli->out, &description, pcrs, count, attest->format == FORMAT_JSON,
                             attest->insecure != NULL);
    return CLI_DONE;
}

static int extend(struct attest *attest, uint16_t index)
{
    struct nsm_pcr pcr;
    struct error err = ERROR_INIT;
    int code = open_nsm(attest, "the PCR is that of", &err);

    code = code < 0 ? code
                    : nsm_extend_pcr(attest->nsm, index, attest->extension.data, attest->extension.size, &pcr,
                                     &err);
    if (code < 0) {
        return cli_failed(attest->cli, "%s", err.text);
    }
    attest_print_hex(attest->cli->out, pcr.value, pcr.size);
    fputc('\n', attest->cli->out);
    return CLI_DONE;
}

static int lock(struct attest *attest, uint16_t number, bool range)
{
    struct error err = ERROR_INIT;
    int code = open_nsm(attest, "the PCR is that of", &err);

    if (code == 0) {
        code = range ? nsm_lock_pcrs(attest->nsm, number, &err) : nsm_lock_pcr(attest->nsm, number, &err);
    }
    return code < 0 ? cli_failed(attest->cli, "%s", err.text) : CLI_DONE;
}

/* ---- The command ---- */

static bool take_number(const struct cli *cli, const char *what, const char *text, uint64_t max,
                        uint64_t *ret, int *ret_code)
{
    if (text == NULL) {
        *ret_code = cli_usage_error(cli, "%s is missing", what);
        return false;
    }
    return cli_number(cli, what, text, 0, max, ret, ret_code);
}

/* extend INDEX DATA, lock INDEX, lock-range COUNT; `words` ends with NULL. */
static int change(struct attest *attest, char **words)
{
    const struct cli *cli = attest->cli;
    bool extending = strcmp(words[0], "extend") == 0, range = strcmp(words[0], "lock-range") == 0;
    uint64_t number;
    int code = CLI_DONE, count = 0;

    while (words[count]) {
        count++;
    }
    if (!take_number(cli, range ? "COUNT" : "INDEX", words[1], range ? NSM_PCRS : NSM_PCRS - 1, &number,
                     &code)) {
        return code;
    }
    if (count != (extending ? 3 : 2)) {
        return cli_usage_error(cli, "attest %s takes %s", words[0],
                               extending ? "INDEX and @FILE or TEXT"
                               : range   ? "COUNT alone"
                                         : "INDEX alone");
    }
    if (!extending) {
        return lock(attest, (uint16_t)number, range);
    }
    return take_field(cli, "extend", words[2], false, &attest->extension, &code)
               ? extend(attest, (uint16_t)number)
               : code;
}

static bool is_change(const char *word)
{
    return strcmp(word, "extend") == 0 || strcmp(word, "lock") == 0 || strcmp(word, "lock-range") == 0;
}

static int run(struct attest *attest, char **words)
{
    const struct cli *cli = attest->cli;

    if (words[0] && is_change(words[0])) {
        return change(attest, words);
    }
    if (words[0] && strcmp(words[0], "describe") == 0 && !words[1]) {
        return describe(attest);
    }
    if (words[0] && strcmp(words[0], "describe") == 0) {
        return cli_usage_error(cli, "attest describe takes no arguments, but got \"%s\"", words[1]);
    }
    if (words[0]) {
        return cli_usage_error(cli,
                               "attest \"%s\": describe, extend, lock or lock-range is expected, or nothing",
                               words[0]);
    }
    if (attest->format == FORMAT_CBOR && isatty(fileno(cli->out))) {
        return cli_usage_error(cli, "--format cbor is not for a terminal: redirect it, or take base64");
    }
    return get_document(attest);
}

int cli_attest(struct cli *cli, int argc, char **argv)
{
    struct attest *attest = calloc(1, sizeof *attest); /* more than a stack should hold */
    int option = 0, code = CLI_DONE;

    if (!attest) {
        return cli_failed(cli, "out of memory");
    }
    attest->cli = cli;
    while ((option = cli_next_option(cli, argc, argv, "", options, &code)) > 0) {
        if (!take_option(attest, option, &code)) {
            option = CLI_OPTIONS_STOP;
            break;
        }
    }
    if (option != CLI_OPTIONS_STOP) {
        code = run(attest, argv + optind);
    }
    nsm_close(attest->nsm);
    free(attest);
    return code;
}
