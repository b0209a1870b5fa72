/* What KMS answered, written out: see kms_output.h. */
#include "cli/kms_output.h"

#include "base/text.h"
#include "kms/base64.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <unistd.h>

#define PIECE 768u

int kms_output_open(struct kms_output *output, const struct cli *cli, const char *path, bool show)
{
    struct error err = ERROR_INIT;
    int standard = fileno(cli->out);
    *output = (struct kms_output){.file = {.fd = -1}};
    fflush(cli->out);
    if (path == NULL && !show && isatty(standard)) {
        return cli_usage_error(
            cli, "what comes is a secret, and standard output a terminal: send it to a program or "
                 "to --output FILE, or say --show");
    }
    if (out_file_open(&output->file, path, standard, 0600, &err) != 0) {
        return cli_failed(cli, "%s", err.text);
    }
    return CLI_DONE;
}

static void put(struct kms_output *output, const void *data, size_t size)
{
    if (output->status == 0) {
        output->status = out_file_write(&output->file, data, size);
    }
}

static void put_string(struct kms_output *output, const char *text)
{
    put(output, text, strlen(text));
}

static void put_base64(struct kms_output *output, const uint8_t *data, size_t size)
{
    char text[BASE64_LENGTH(PIECE) + 1];
    while (size > 0) {
        size_t piece = size < PIECE ? size : PIECE;
        base64_encode(data, piece, text);
        put_string(output, text);
        data += piece;
        size -= piece;
    }
    OPENSSL_cleanse(text, sizeof text);
}

void kms_output_bytes(struct kms_output *output, enum kms_format format, const void *data, size_t size)
{
    if (format == KMS_FORMAT_BASE64) {
        put_base64(output, data, size);
        put_string(output, "\n");
    } else {
        put(output, data, size);
    }
}

static void put_name(struct kms_output *output, const char *name)
{
    put_string(output, output->some ? ",\n  \"" : "{\n  \"");
    put_string(output, name);
    put_string(output, "\": \"");
    output->some = true;
}

void kms_output_member(struct kms_output *output, const char *name, const void *data, size_t size)
{
    put_name(output, name);
    put_base64(output, data, size);
    put_string(output, "\"");
}

void kms_output_text(struct kms_output *output, const char *name, const char *text)
{
    struct text escaped = TEXT_INIT;
    text_add_json(&escaped, text, strlen(text));
    put_name(output, name);
    put_string(output, text_string(&escaped));
    put_string(output, "\"");
    if (escaped.failed && output->status == 0) {
        output->status = -ENOMEM;
    }
    text_release(&escaped);
}

int kms_output_close(struct kms_output *output, const struct cli *cli)
{
    struct error err = ERROR_INIT;
    const char *path = output->file.path;
    if (output->some) {
        put_string(output, "\n}\n");
    }
    if (output->status != 0) {
        int status = output->status;
        kms_output_abandon(output);
        return cli_failed(cli, "cannot write %s: %s", path != NULL ? path : "the output",
                          error_words(status));
    }
    return out_file_commit(&output->file, &err) == 0 ? CLI_DONE : cli_failed(cli, "%s", err.text);
}

void kms_output_abandon(struct kms_output *output)
{
    out_file_abandon(&output->file);
}

int kms_output_file(const struct cli *cli, const char *path, enum kms_format format, const void *data,
                    size_t size)
{
    struct kms_output output;
    if (path == NULL) {
        return CLI_DONE;
    }
    int code = kms_output_open(&output, cli, path, false);
    if (code != CLI_DONE) {
        return code;
    }
    kms_output_bytes(&output, format, data, size);
    return kms_output_close(&output, cli);
}
