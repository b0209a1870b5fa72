/* The answers of the endpoints for credentials: see credentials_json.h. */
#include "aws/credentials_json.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>

/* "2026-01-31T12:00:00Z", maybe with a fraction of a second. */
static int read_expiration(const char *text, time_t *ret)
{
    struct tm tm = {.tm_isdst = 0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (end != NULL && *end == '.') {
        end += 1 + strspn(end + 1, "0123456789");
    }
    *ret = end != NULL && strcmp(end, "Z") == 0 ? timegm(&tm) : 0;
    return *ret > 0 ? 0 : -EBADMSG;
}

/* The string of that name; "" if there is none. */
static const char *get(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value != NULL ? value : "";
}

/* Of a kind that says nothing here. null is as good as nothing. */
static bool is_odd(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return value != NULL && !json_is_string(value) && !json_is_null(value);
}

/* Its word for what is wrong, if it is a word. */
static const char *word_of(const char *code)
{
    size_t size = strlen(code);
    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)code[i])) {
            return "an error";
        }
    }
    return size <= 64 ? code : "an error";
}

static int read_object(const json_t *object, time_t now, struct credentials_keys *ret, struct error *err)
{
    const char *code = get(object, "Code");
    const char *expiration = get(object, "Expiration");
    time_t expires = now + CREDENTIALS_LIFE_S;
    if (code[0] != '\0' && strcmp(code, "Success") != 0) {
        return error_set(err, -EBADMSG, "it answers %s instead of credentials", word_of(code));
    }
    if (is_odd(object, "Expiration") ||
        (expiration[0] != '\0' && read_expiration(expiration, &expires) != 0)) {
        return error_set(err, -EBADMSG, "its answer has an Expiration that is no time");
    }
    if (is_odd(object, "Token")) {
        return error_set(err, -EBADMSG, "its answer has a Token that is no text");
    }
    int rv = credentials_keys_set(ret, get(object, "AccessKeyId"), get(object, "SecretAccessKey"),
                                  get(object, "Token"), err);
    if (rv != 0) {
        error_prefix(err, "its answer");
    }
    ret->expires = rv == 0 ? expires : 0;
    return rv;
}

/* Of the parser's own copies nobody can take care but the program: see kms.h. */
static void wipe(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (json_is_string(value)) {
        explicit_bzero((char *)json_string_value(value), json_string_length(value));
    }
}

int credentials_json_parse(const char *data, size_t size, time_t now, struct credentials_keys *ret,
                           struct error *err)
{
    json_error_t ignored; /* it may quote what it could not read */
    *ret = (struct credentials_keys){.expires = 0};
    json_t *root = json_loadb(data, size, JSON_REJECT_DUPLICATES, &ignored);
    int rv = json_is_object(root) ? read_object(root, now, ret, err)
                                  : error_set(err, -EBADMSG, "its answer is no JSON object");
    wipe(root, "SecretAccessKey");
    wipe(root, "Token");
    json_decref(root);
    return rv;
}
