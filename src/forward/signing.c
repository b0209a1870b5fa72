/* Signing a route's requests: see signing.h. */
#include "forward/signing.h"

#include "aws/error_code.h"
#include "base/log.h"
#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* AWS takes requests that are signed within five minutes of its own time; S3 within fifteen. */
#define SKEW_WORTH_TELLING_S 240
#define SKEW_TOLD_EACH_S     60

struct signing {
    const struct config_sign *sign;
    struct credentials_source *source;
    struct aws_signer signer;
    time_t skew_told; /* when the log was told that the clock is off; 0: never */
};

struct signing *signing_new(struct credentials_store *store, const struct config_sign *sign)
{
    struct signing *signing = calloc(1, sizeof *signing);
    if (signing == NULL) {
        return NULL;
    }
    signing->source = credentials_source_get(store, sign);
    if (signing->source == NULL) {
        free(signing);
        return NULL;
    }
    signing->sign = sign;
    aws_signer_init(&signing->signer, sign->region, sign->service);
    /* Who does not hash the body has to say so. */
    signing->signer.hash_header |= sign->unsigned_payload;
    return signing;
}

void signing_free(struct signing *signing)
{
    if (signing != NULL) {
        credentials_source_put(signing->source);
        aws_signer_release(&signing->signer);
        free(signing);
    }
}

bool signing_needs_body(const struct signing *signing)
{
    return !signing->sign->unsigned_payload;
}

unsigned signing_retry_after_s(const struct signing *signing)
{
    return credentials_retry_after_s(signing->source);
}

/* ---- The signature ---- */

/* The request line, as two strings: it has one blank before the target and one after it. S3's paths are spelled as they are signed:
 * S3 works out their signature from the key, others from what was sent. */
static int split_line(const struct text *line, bool as_is, struct text *method, struct text *target)
{
    const char *text = text_string(line);
    const char *blank = strchr(text, ' ');
    const char *end = strrchr(text, ' ');
    if (blank == NULL || end == blank) {
        return -EINVAL;
    }
    const char *query = memchr(blank, '?', (size_t)(end - blank));
    const char *path_end = as_is ? (query != NULL ? query : end) : blank + 1;
    text_add_bytes(method, text, (size_t)(blank - text));
    aws_encode_path(blank + 1, (size_t)(path_end - blank - 1), target);
    text_add_bytes(target, path_end, (size_t)(end - path_end));
    return method->failed || target->failed ? -ENOMEM : 0;
}

static int join_line(const struct text *method, const struct text *target, struct text *line)
{
    text_clear(line);
    text_addf(line, "%s %s HTTP/1.1", text_string(method), text_string(target));
    return line->failed ? -ENOMEM : 0;
}

static void add_signature(struct http_head *head, const struct aws_signature *signature,
                          const char *payload_hash, const struct aws_credentials *credentials)
{
    http_head_add(head, HTTP_SPAN("x-amz-date"), http_span_of(signature->date));
    if (signature->sends_payload_hash) {
        http_head_add(head, HTTP_SPAN("x-amz-content-sha256"), http_span_of(payload_hash));
    }
    if (signature->sends_token) {
        http_head_add(head, HTTP_SPAN("x-amz-security-token"), http_span_of(credentials->session_token));
    }
    http_head_add(head, HTTP_SPAN("authorization"), http_span_of(text_string(&signature->authorization)));
}

static int sign_request(struct signing_job *job, const struct aws_credentials *credentials,
                        struct aws_request *request, struct error *err)
{
    struct aws_header headers[AWS_HEADERS_MAX];
    struct http_head *head = job->head;
    struct aws_signature signature;
    if (head->count > AWS_HEADERS_MAX) {
        return error_set(err, -E2BIG, "signing a request: it has more than %d headers", AWS_HEADERS_MAX);
    }
    for (unsigned i = 0; i < head->count; i++) {
        headers[i] = (struct aws_header){http_head_name(head, i).data, http_head_value(head, i).data};
    }
    request->headers = headers;
    request->header_count = head->count;
    int rv = aws_sign(&job->signing->signer, credentials, request, time(NULL), &signature, NULL, err);
    request->headers = NULL;
    if (rv != 0) {
        return rv;
    }
    add_signature(head, &signature, request->payload_hash, credentials);
    aws_signature_release(&signature);
    return head->failed ? error_errno(err, -ENOMEM, "signing a request") : 0;
}

static int sign_head(struct signing_job *job, const struct aws_credentials *credentials, struct error *err)
{
    struct text method = TEXT_INIT, target = TEXT_INIT;
    int rv = split_line(&job->head->line, job->signing->signer.as_is, &method, &target);
    rv = rv == 0 ? join_line(&method, &target, &job->head->line) : rv;
    if (rv == 0) {
        struct aws_request request = {.method = text_string(&method),
                                      .target = text_string(&target),
                                      .payload_hash = job->payload_hash};
        rv = sign_request(job, credentials, &request, err);
    } else {
        error_errno(err, rv, "signing a request");
    }
    text_release(&method);
    text_release(&target);
    return rv;
}

/* ---- Jobs ---- */

static void credentials_came(void *data, const struct aws_credentials *credentials, const struct error *err)
{
    struct signing_job *job = data;
    struct error own = ERROR_INIT;
    int rv = credentials != NULL ? sign_head(job, credentials, &own) : -EAGAIN;
    signing_cb cb = job->cb;
    job->signing = NULL;
    cb(job->data, rv, credentials != NULL ? &own : err);
}

static int hash_payload(struct signing_job *job, const void *body, size_t size, struct error *err)
{
    if (job->signing->sign->unsigned_payload) {
        snprintf(job->payload_hash, sizeof job->payload_hash, "%s", AWS_UNSIGNED_PAYLOAD);
        return 0;
    }
    int rv = aws_hash(size > 0 ? body : "", size, job->payload_hash);
    return rv != 0 ? error_errno(err, rv, "signing a request: cannot hash its body") : 0;
}

int signing_start(struct signing *signing, struct signing_job *job, struct http_head *head, const void *body,
                  size_t size, signing_cb cb, void *data, struct error *err)
{
    struct aws_credentials credentials;
    *job = (struct signing_job){.signing = signing, .head = head, .cb = cb, .data = data};
    int rv = hash_payload(job, body, size, err);
    if (rv == 0) {
        rv = credentials_ask(signing->source, &job->waiter, credentials_came, job, &credentials, err);
    }
    if (rv == 0) {
        rv = sign_head(job, &credentials, err);
    }
    if (rv <= 0) {
        job->signing = NULL;
    }
    return rv;
}

void signing_cancel(struct signing_job *job)
{
    if (job->signing != NULL) {
        credentials_cancel(&job->waiter);
        job->signing = NULL;
    }
}

/* ---- Refusals ---- */

/* As all servers send it (RFC 9110, 5.6.7). */
static bool read_date(struct http_span date, time_t *ret)
{
    char text[30];
    struct tm tm = {.tm_isdst = 0};
    if (date.size != sizeof text - 1) {
        return false;
    }
    memcpy(text, date.data, date.size);
    text[date.size] = '\0';
    const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    *ret = end != NULL ? timegm(&tm) : 0;
    return end != NULL && *end == '\0';
}

static void tell_skew(const char *route, long long skew)
{
    struct log_line line;
    char detail[160];
    snprintf(
        detail, sizeof detail,
        "this machine's clock is %lld s %s the upstream's, which refuses signatures that are minutes off; "
        "see that the time is synchronized",
        skew < 0 ? -skew : skew, skew < 0 ? "behind" : "ahead of");
    log_begin(&line, LOG_LEVEL_WARN, "clock is off");
    log_str(&line, "route", route);
    log_str(&line, "detail", detail);
    log_end(&line);
}

static void look_at_clock(struct signing *signing, const char *route, struct http_span date)
{
    time_t theirs, now = time(NULL);
    if (!read_date(date, &theirs)) {
        return;
    }
    long long skew = (long long)now - (long long)theirs;
    bool small = skew > -SKEW_WORTH_TELLING_S && skew < SKEW_WORTH_TELLING_S;
    bool told = signing->skew_told != 0 && llabs((long long)now - signing->skew_told) < SKEW_TOLD_EACH_S;
    if (!small && !told) {
        signing->skew_told = now;
        tell_skew(route, skew);
    }
}

void signing_refused(struct signing *signing, const char *route, unsigned status, const char *code,
                     struct http_span date)
{
    if (status == 403 || aws_error_kind(code) == AWS_ERROR_CALLER) {
        credentials_refused(signing->source);
        look_at_clock(signing, route, date);
    }
}
