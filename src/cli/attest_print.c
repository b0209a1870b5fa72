/* What `postern attest` prints: see attest_print.h. The names in it are printable ASCII, as was seen to when they were read. */
#include "cli/attest_print.h"

#include "attest/document.h"
#include <inttypes.h>
#include <string.h>

void attest_print_hex(FILE *out, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        fprintf(out, "%02x", data[i]);
    }
}

void attest_print_base64(FILE *out, const uint8_t *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t bits = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                        (left > 2 ? data[i + 2] : 0u);

        fputc(digits[bits >> 18], out);
        fputc(digits[bits >> 12 & 63], out);
        fputc(left > 1 ? digits[bits >> 6 & 63] : '=', out);
        fputc(left > 2 ? digits[bits & 63] : '=', out);
    }
}

/* With its quotes: the text of a name, or of what the command line said. */
static void print_text(FILE *out, const char *text, size_t length)
{
    fputc('"', out);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"' || text[i] == '\\') {
            fputc('\\', out);
        }
        fputc(text[i], out);
    }
    fputc('"', out);
}

static void print_insecure(FILE *out, bool insecure)
{
    fprintf(out, ", \"insecure\": %s}\n", insecure ? "true" : "false");
}

static void print_field(FILE *out, const char *name, const struct attest_bytes *value)
{
    fprintf(out, ", \"%s\": ", name);
    if (!value->data) {
        fputs("null", out);
        return;
    }
    fputc('"', out);
    attest_print_hex(out, value->data, value->size);
    fputc('"', out);
}

static void print_pcrs(FILE *out, const struct attest_document *document)
{
    const char *comma = "";

    fputs(", \"pcrs\": {", out);
    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        if (document->pcrs[i].data) {
            fprintf(out, "%s\"%u\": \"", comma, i);
            attest_print_hex(out, document->pcrs[i].data, document->pcrs[i].size);
            fputc('"', out);
            comma = ", ";
        }
    }
    fputc('}', out);
}

int attest_print_json(FILE *out, const uint8_t *document, size_t size, bool insecure, struct error *err)
{
    struct attest_document parsed;
    int code = attest_parse(document, size, &parsed, err);

    if (code < 0) {
        error_prefix(err, "the NSM's document");
        return code;
    }
    fputs("{\"document\": \"", out);
    attest_print_base64(out, document, size);
    fputs("\", \"module_id\": ", out);
    print_text(out, (const char *)parsed.module_id.data, parsed.module_id.size);
    fprintf(out, ", \"timestamp\": %" PRIu64, parsed.timestamp_ms);
    print_pcrs(out, &parsed);
    print_field(out, "user_data", &parsed.user_data);
    print_field(out, "nonce", &parsed.nonce);
    print_field(out, "public_key", &parsed.public_key);
    print_insecure(out, insecure);
    return 0;
}

static void print_words(FILE *out, const struct nsm_description *description, const struct nsm_pcr *pcrs,
                        unsigned count)
{
    fprintf(out, "module %s\nversion %u.%u.%u\ndigest %s\n", description->module_id, description->version[0],
            description->version[1], description->version[2], description->digest);
    for (unsigned i = 0; i < count; i++) {
        fprintf(out, "pcr %u %s ", i, pcrs[i].locked ? "locked" : "open");
        attest_print_hex(out, pcrs[i].value, pcrs[i].size);
        fputc('\n', out);
    }
}

static void print_object(FILE *out, const struct nsm_description *description, const struct nsm_pcr *pcrs,
                         unsigned count, bool insecure)
{
    fputs("{\"module_id\": ", out);
    print_text(out, description->module_id, strlen(description->module_id));
    fprintf(out, ", \"version\": \"%u.%u.%u\", \"digest\": ", description->version[0],
            description->version[1], description->version[2]);
    print_text(out, description->digest, strlen(description->digest));
    fputs(", \"pcrs\": {", out);
    for (unsigned i = 0; i < count; i++) {
        fprintf(out, "%s\"%u\": {\"locked\": %s, \"value\": \"", i ? ", " : "", i,
                pcrs[i].locked ? "true" : "false");
        attest_print_hex(out, pcrs[i].value, pcrs[i].size);
        fputs("\"}", out);
    }
    fputc('}', out);
    print_insecure(out, insecure);
}

void attest_print_description(FILE *out, const struct nsm_description *description,
                              const struct nsm_pcr *pcrs, unsigned count, bool json, bool insecure)
{
    if (json) {
        print_object(out, description, pcrs, count, insecure);
    } else {
        print_words(out, description, pcrs, count);
    }
}
