/*
 * AWS's own signing test suite, where it is at hand: a folder a case, with the request, and what its canonical form, the
 * text to sign and the signature must be. Only what is signed in headers: Postern makes no signed URLs.
 */
#include "aws/sign.h"

#include <dirent.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CASES SHARED_DATA "/sigv4"

static char *read_file(const char *name, const char *file, size_t *ret_size)
{
    char path[1024];
    snprintf(path, sizeof path, CASES "/%s/%s", name, file);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    char *data = calloc(1, 65536);
    assert_non_null(data);
    *ret_size = fread(data, 1, 65535, in);
    fclose(in);
    return data;
}

static void assert_file(const char *name, const char *file, const char *text)
{
    size_t size;
    char *expected = read_file(name, file, &size);
    if (strcmp(expected, text) != 0) {
        fail_msg("%s/%s:\n%s\n--- but is\n%s", name, file, expected, text);
    }
    free(expected);
}

struct message {
    char method[16];
    char target[4096];
    struct aws_header headers[32];
    size_t count;
    const char *body;
};

/* A line that begins with a blank goes on with the header before it. */
static void unfold(char *head)
{
    for (char *at = head; (at = strchr(at, '\n')) != NULL;) {
        if (at[1] == ' ') {
            *at = ' ';
        } else {
            at++;
        }
    }
}

static void take_headers(char *lines, struct message *ret)
{
    for (char *save, *line = strtok_r(lines, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        char *colon = strchr(line, ':');
        assert_non_null(colon);
        *colon = '\0';
        ret->headers[ret->count++] = (struct aws_header){line, colon + 1};
    }
}

/* The target is all between the method and the version: some have blanks in it. */
static void parse(char *data, struct message *ret)
{
    static char none[] = "";
    memset(ret, 0, sizeof *ret);
    char *body = strstr(data, "\n\n");
    ret->body = body != NULL ? body + 2 : "";
    if (body != NULL) {
        *body = '\0';
    }
    char *line_end = strchr(data, '\n');
    char *headers = line_end != NULL ? line_end + 1 : none;
    *line_end = '\0';
    char *target = strchr(data, ' ') + 1;
    char *version = strrchr(data, ' ');
    snprintf(ret->method, sizeof ret->method, "%.*s", (int)(target - 1 - data), data);
    snprintf(ret->target, sizeof ret->target, "%.*s", (int)(version - target), target);
    unfold(headers);
    take_headers(headers, ret);
}

static time_t parse_time(const char *text)
{
    struct tm tm = {0};
    assert_int_equal(sscanf(text, "%d-%d-%dT%d:%d:%dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
                            &tm.tm_min, &tm.tm_sec),
                     6);
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return timegm(&tm);
}

static const char *string_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void check(const char *name, const json_t *context, const struct message *message)
{
    const json_t *keys = json_object_get(context, "credentials");
    /* A token that is added after signing is one that the signer does not know of. */
    bool omit = json_is_true(json_object_get(context, "omit_session_token"));
    struct aws_credentials credentials = {string_of(keys, "access_key_id"),
                                          string_of(keys, "secret_access_key"),
                                          omit ? NULL : string_of(keys, "token")};
    char hash[AWS_HASH_HEX_SIZE];
    assert_int_equal(aws_hash(message->body, strlen(message->body), hash), 0);
    struct aws_request request = {message->method, message->target, message->headers, message->count, hash};
    struct aws_signer signer;
    struct aws_signature signature;
    struct aws_steps steps = {TEXT_INIT, TEXT_INIT};
    aws_signer_init(&signer, string_of(context, "region"), string_of(context, "service"));
    signer.as_is = json_is_false(json_object_get(context, "normalize"));
    signer.hash_header = json_is_true(json_object_get(context, "sign_body"));
    assert_int_equal(aws_sign(&signer, &credentials, &request, parse_time(string_of(context, "timestamp")),
                              &signature, &steps, NULL),
                     0);
    assert_file(name, "header-canonical-request.txt", text_string(&steps.canonical));
    assert_file(name, "header-string-to-sign.txt", text_string(&steps.string_to_sign));
    assert_file(name, "header-signature.txt",
                strstr(text_string(&signature.authorization), "Signature=") + 10);
    aws_signature_release(&signature);
    aws_steps_release(&steps);
    aws_signer_release(&signer);
}

static void run(const char *name)
{
    size_t size;
    struct message message;
    char *context_text = read_file(name, "context.json", &size);
    json_t *context = json_loads(context_text, 0, NULL);
    assert_non_null(context);
    char *data = read_file(name, "request.txt", &size);
    parse(data, &message);
    check(name, context, &message);
    json_decref(context);
    free(context_text);
    free(data);
}

static void test_vectors(void **state)
{
    unsigned count = 0;
    DIR *cases = opendir(CASES);
    (void)state;
    if (cases == NULL) {
        print_message("skipped: there is no " CASES "\n");
        skip();
    }
    for (struct dirent *entry; (entry = readdir(cases)) != NULL;) {
        if (entry->d_name[0] != '.') {
            run(entry->d_name);
            count++;
        }
    }
    closedir(cases);
    print_message("%u cases\n", count);
    assert_true(count >= 38);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
