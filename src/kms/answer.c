/* What KMS answers: see answer.h. */
#include "kms/answer.h"

#include "base/text.h"
#include "kms/base64.h"
#include "kms/shape.h"
#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* ---- Errors ---- */

/* AWS's errors that are known by name, what they are to a caller, and whether the same may succeed later. */
static const struct type {
    const char *name;
    int status;
    bool retryable, of_time;
} types[] = {
    {"AccessDeniedException", -EACCES, false, false},
    {"NotAuthorizedException", -EACCES, false, false},
    {"UnrecognizedClientException", -ENOKEY, false, false},
    {"InvalidClientTokenId", -ENOKEY, false, false},
    {"InvalidSignatureException", -ENOKEY, false, true},
    {"SignatureDoesNotMatch", -ENOKEY, false, true},
    {"IncompleteSignatureException", -ENOKEY, false, false},
    {"IncompleteSignature", -ENOKEY, false, false},
    {"MissingAuthenticationTokenException", -ENOKEY, false, false},
    {"MissingAuthenticationToken", -ENOKEY, false, false},
    {"ExpiredTokenException", -ENOKEY, false, true},
    {"ExpiredToken", -ENOKEY, false, true},
    {"RequestExpired", -ENOKEY, false, true},
    {"OptInRequired", -ENOKEY, false, false},
    {"ThrottlingException", -EBUSY, true, false},
    {"Throttling", -EBUSY, true, false},
    {"TooManyRequestsException", -EBUSY, true, false},
    {"RequestLimitExceeded", -EBUSY, true, false},
    {"KMSInternalException", -EBUSY, true, false},
    {"InternalFailure", -EBUSY, true, false},
    {"InternalServerError", -EBUSY, true, false},
    {"ServiceUnavailable", -EBUSY, true, false},
    {"ServiceUnavailableException", -EBUSY, true, false},
    {"DependencyTimeoutException", -EBUSY, true, false},
    {"KeyUnavailableException", -EBUSY, true, false},
    {"CustomKeyStoreInvalidStateException", -EREMOTEIO, false, false},
    {"DisabledException", -EREMOTEIO, false, false},
    {"DryRunOperationException", -EREMOTEIO, false, false},
    {"IncorrectKeyException", -EREMOTEIO, false, false},
    {"InvalidArnException", -EREMOTEIO, false, false},
    {"InvalidCiphertextException", -EREMOTEIO, false, false},
    {"InvalidGrantTokenException", -EREMOTEIO, false, false},
    {"InvalidKeyUsageException", -EREMOTEIO, false, false},
    {"KMSInvalidStateException", -EREMOTEIO, false, false},
    {"LimitExceededException", -EREMOTEIO, false, false},
    {"NotFoundException", -EREMOTEIO, false, false},
    {"UnsupportedOperationException", -EREMOTEIO, false, false},
    {"UnknownOperationException", -EREMOTEIO, false, false},
    {"SerializationException", -EREMOTEIO, false, false},
    {"ValidationException", -EREMOTEIO, false, false},
};

static const struct type *find_type(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (strcmp(name, types[i].name) == 0) {
            return &types[i];
        }
    }
    return NULL;
}

const char *kms_type_word(const char *type)
{
    const struct type *found = find_type(type);

    return found ? found->name : type[0] != '\0' ? "unknown" : "";
}

bool kms_type_is_of_time(const char *type)
{
    const struct type *found = find_type(type);

    return found && found->of_time;
}

bool kms_type_is_of_rate(const char *type)
{
    static const char *const names[] = {"ThrottlingException", "Throttling", "TooManyRequestsException",
                                        "RequestLimitExceeded"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(type, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static const char *string_in(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));

    return value ? value : "";
}

/* "com.amazonaws.kms#NotFoundException" is NotFoundException. What is no word is none. */
static void read_type(const json_t *object, char ret[KMS_TYPE_MAX])
{
    const char *type = string_in(object, "__type");
    const char *hash = strrchr(type, '#');
    size_t size = 0;

    type = hash ? hash + 1 : type;
    while (isalnum((unsigned char)type[size])) {
        size++;
    }
    if (type[size] != '\0' || size >= KMS_TYPE_MAX) {
        size = 0;
    }
    memcpy(ret, type, size);
    ret[size] = '\0';
}

static int tell(const struct kms_answer *answer, int status, struct error *err)
{
    const char *message = string_in(answer->body, "message");
    struct text words = TEXT_INIT;

    text_init(&words, 400);
    message = message[0] != '\0' ? message : string_in(answer->body, "Message");
    text_add_json(&words, message, strnlen(message, 300));
    error_set(err, status, "KMS answers %s%s%s (status %u)",
              answer->type[0] != '\0' ? answer->type : "an error", message[0] != '\0' ? ": " : "",
              words.failed ? "" : text_string(&words), answer->status);
    text_release(&words);
    return status;
}

static int read_error(struct kms_answer *ret, struct error *err)
{
    read_type(ret->body, ret->type);
    const struct type *type = find_type(ret->type);
    bool trouble = ret->status == 429 || ret->status >= 500;

    ret->retryable = type ? type->retryable : trouble;
    return tell(ret, type ? type->status : trouble ? -EBUSY : -EREMOTEIO, err);
}

int kms_answer_read(unsigned status, const char *body, size_t size, struct kms_answer *ret, struct error *err)
{
    json_error_t ignored; /* it may quote what it could not read */
    json_t *root =
        body && json_is_modest(body, size) ? json_loadb(body, size, JSON_REJECT_DUPLICATES, &ignored) : NULL;

    ret->status = status;
    if (json_is_object(root)) {
        ret->body = root;
    } else {
        kms_json_wipe(root);
        json_decref(root);
    }
    if (status != 200) {
        return read_error(ret, err);
    }
    /* Operations that only do something, such as EnableKey, answer nothing. */
    return ret->body || size == 0
               ? 0
               : error_set(err, -EPROTO, "KMS's answer is no JSON object, or one of too many values");
}

/* ---- What is in it ---- */

int kms_answer_blob(const struct kms_answer *answer, const char *name, size_t max, uint8_t **ret,
                    size_t *ret_size, struct error *err)
{
    const json_t *value = json_object_get(answer->body, name);
    const char *text = json_string_value(value);
    size_t size = json_string_length(value);

    bool fits = text && size >= 4 && BASE64_ROOM(size) <= max + 2;
    uint8_t *data = fits ? malloc(BASE64_ROOM(size)) : NULL;

    if (fits && !data) {
        return error_set(err, -ENOMEM, "reading KMS's answer: out of memory");
    }
    if (!fits || base64_decode(text, size, data, ret_size) != 0) {
        free(data);
        return error_set(err, -EPROTO, "KMS's answer has no %s%s", name, text ? " that can be read" : "");
    }
    *ret = data;
    return 0;
}

json_t *kms_json_blob(const void *data, size_t size)
{
    size_t length = BASE64_LENGTH(size);
    char *text = malloc(length + 1);

    if (!text) {
        return NULL;
    }
    base64_encode(data, size, text);
    json_t *value = json_stringn_nocheck(text, length);
    OPENSSL_cleanse(text, length);
    free(text);
    return value;
}

/* ---- The end ---- */

/* As deep as the parser went, and no deeper. */
void kms_json_wipe(json_t *value)
{
    const char *name;
    json_t *inner;
    size_t index;

    if (json_is_object(value)) {
        json_object_foreach(value, name, inner)
        {
            kms_json_wipe(inner);
        }
    } else if (json_is_array(value)) {
        json_array_foreach(value, index, inner)
        {
            kms_json_wipe(inner);
        }
    } else if (json_is_string(value)) {
        OPENSSL_cleanse((char *)json_string_value(value), json_string_length(value));
    }
}

void kms_answer_release(struct kms_answer *answer)
{
    kms_json_wipe(answer->body);
    json_decref(answer->body);
    *answer = (struct kms_answer){.status = 0};
}
