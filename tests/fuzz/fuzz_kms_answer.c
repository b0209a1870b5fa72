/*
 * What KMS answers, as JSON: read, told, its parts decoded, wiped. The first byte picks the status.
 *
 * An error has words of one line; a decoded part is encoded to what it was; plaintext that was wiped is gone.
 */
#include "kms/answer.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int right)
{
    if (!right) {
        abort();
    }
}

static void check_blob(const struct kms_answer *answer)
{
    struct error err = ERROR_INIT;
    uint8_t *blob;
    size_t size;

    if (kms_answer_blob(answer, "CiphertextForRecipient", 64, &blob, &size, &err) != 0) {
        check(err.text[0] != '\0');
        return;
    }
    const json_t *text = json_object_get(answer->body, "CiphertextForRecipient");
    json_t *again = kms_json_blob(blob, size);
    check(size <= 66 && json_string_length(again) == json_string_length(text));
    json_decref(again);
    free(blob);
}

static void check_wiped(const struct kms_answer *answer)
{
    json_t *plain = json_object_get(answer->body, "Plaintext");
    size_t size = json_string_length(plain);

    kms_json_wipe(answer->body);
    for (size_t i = 0; i < size; i++) {
        check(json_string_value(plain)[i] == '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned statuses[] = {200, 400, 403, 413, 429, 500, 503};
    struct kms_answer answer = {.status = 0};
    struct error err = ERROR_INIT;
    unsigned status = size > 0 ? statuses[data[0] % (sizeof statuses / sizeof statuses[0])] : 200;
    int rv = kms_answer_read(status, size > 1 ? (const char *)data + 1 : NULL, size > 1 ? size - 1 : 0,
                             &answer, &err);

    check(answer.status == status && (status == 200) == (rv == 0 || rv == -EPROTO));
    check(rv == 0 || (err.text[0] != '\0' && !strpbrk(err.text, "\n\r\x1b")));
    check(strlen(answer.type) < KMS_TYPE_MAX && kms_type_word(answer.type) != NULL);
    check_blob(&answer);
    check_wiped(&answer);
    kms_answer_release(&answer);
    return 0;
}
