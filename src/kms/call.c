/*
 * One call to KMS: see call.h.
 *
 *     kms_call      until it is answered, refused for good, or the time is over
 *     attempt       keys, a connection, one exchange, the answer
 *     exchange      on a connection; once more on a new one, if a kept one turned out to be dead
 *
 * A kept connection may have been closed while nobody looked. If not a byte of an answer came, the request is sent again; but one
 * of which anything was sent only if the operation may be carried out twice (repeat.h).
 */
#include "base/text.h"
#include "base/units.h"
#include "kms/answer.h"
#include "kms/clock.h"
#include "kms/exchange.h"
#include "kms/kms_private.h"
#include "kms/repeat.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKOFF_MIN_MS 50u
#define BACKOFF_MAX_MS 5000u

/* More than this much of a difference, and AWS refuses a signature. */
#define SKEW_S 240

struct job {
    struct postern_kms *kms;
    const char *operation;
    bool repeatable; /* nothing happens if it is carried out twice */
    char target[96]; /* of the header x-amz-target */
    const json_t *request;
    const struct kms_renewal *renewal; /* NULL: the request does not grow old */
    char *body; /* the request as text; owned, and wiped: Encrypt's has the plaintext */
    size_t size;
    char hash[AWS_HASH_HEX_SIZE];
    uint64_t deadline;
    bool renewed; /* the keys, in this call: it is done once */
};

uint64_t kms_deadline(const struct postern_kms *kms, uint32_t timeout_ms)
{
    return kms_now_ms() + (timeout_ms != 0 ? timeout_ms : kms->timeout_ms);
}

/* ---- The request ---- */

static void write_request(const struct job *job, const struct aws_signature *signature,
                          const struct aws_credentials *keys, struct text *out)
{
    text_addf(out, "POST / HTTP/1.1\r\nhost: %s\r\ncontent-type: application/x-amz-json-1.1\r\n",
              job->kms->host);
    text_addf(out, "x-amz-target: %s\r\nx-amz-date: %s\r\n", job->target, signature->date);
    if (signature->sends_token) {
        text_addf(out, "x-amz-security-token: %s\r\n", keys->session_token);
    }
    text_addf(out,
              "authorization: %s\r\nuser-agent: postern/" POSTERN_VERSION "\r\ncontent-length: %zu\r\n\r\n",
              text_string(&signature->authorization), job->size);
    text_add_bytes(out, job->body, job->size);
}

static int make_request(const struct job *job, struct kms_connection *connection, const struct kms_keys *keys,
                        struct text *out, struct error *err)
{
    const struct aws_header headers[] = {{"host", job->kms->host},
                                         {"content-type", "application/x-amz-json-1.1"},
                                         {"x-amz-target", job->target}};
    const struct aws_request request = {.method = "POST",
                                        .target = "/",
                                        .headers = headers,
                                        .header_count = ARRAY_SIZE(headers),
                                        .payload_hash = job->hash};
    const struct aws_credentials view = credentials_keys_view(&keys->keys);
    struct aws_signature signature;
    int status = aws_sign(&connection->signer, &view, &request, (time_t)(credentials_now_ms() / 1000),
                          &signature, NULL, err);

    if (status != 0) {
        return status == -ENOMEM ? -ENOMEM : -EIO;
    }
    write_request(job, &signature, &view, out);
    aws_signature_release(&signature);
    return out->failed ? error_set(err, -ENOMEM, "cannot make the request: out of memory") : 0;
}

/* ---- The exchange ---- */

static int fail_on_the_way(const struct job *job, const struct kms_trouble *trouble, struct kms_answer *ret,
                           struct error *err)
{
    char place[ADDR_TEXT_MAX];

    ret->code = trouble->code;
    ret->retryable = trouble->retryable;
    return error_set(err, trouble->status, "%s, by %s: %s", job->kms->host,
                     kms_place_name(&job->kms->pool.to, place), trouble->why.text);
}

/* `ret_sent`: some of the request may have got there. */
static int exchange_on(const struct job *job, struct kms_connection *connection, const struct kms_keys *keys,
                       struct kms_reply *ret, bool *ret_sent, struct kms_trouble *trouble)
{
    const struct kms_lane lane = kms_tls_lane(&connection->tls);
    uint64_t sent = connection->tls.wire.sent;
    struct text request = TEXT_SECRET_INIT; /* the session's token is in it, and maybe a plaintext */

    *ret = (struct kms_reply){.status = 0};
    int status = make_request(job, connection, keys, &request, &trouble->why);
    if (status == 0) {
        status = kms_exchange(&lane, request.data, request.length, KMS_ANSWER_MAX, ret, trouble);
    }
    trouble->status = status;
    *ret_sent = connection->tls.wire.sent != sent;
    text_release(&request);
    return status;
}

/* Whether a connection that was kept has died meanwhile, rather than KMS. */
static bool is_stale(const struct kms_connection *connection, const struct kms_reply *reply, int status)
{
    return connection->kept && !reply->begun && (status == -ENOTCONN || status == -EPROTO);
}

static void say_it_is_unknown(struct kms_trouble *trouble)
{
    struct error told = trouble->why;

    error_set(&trouble->why, trouble->status,
              "%.400s; whether KMS carried it out is not known, and it is not repeated", told.text);
}

static int exchange(const struct job *job, const struct kms_keys *keys, struct kms_reply *ret,
                    struct kms_answer *answer, struct error *err)
{
    struct kms_pool *pool = &job->kms->pool;
    struct kms_trouble trouble = {.status = 0};
    struct kms_connection *connection;
    bool fresh = false, again, sent = false;
    int status;

    *ret = (struct kms_reply){.status = 0};
    do {
        trouble = (struct kms_trouble){.status = 0};
        status = kms_pool_take(pool, fresh, job->deadline, &connection, &trouble);
        if (status != 0) {
            break;
        }
        kms_reply_release(ret);
        status = exchange_on(job, connection, keys, ret, &sent, &trouble);
        again = is_stale(connection, ret, status) && !fresh && (job->repeatable || !sent);
        kms_pool_give(pool, connection, status == 0 && ret->keep);
        fresh = true;
    } while (again);
    if (status != 0 && sent && !job->repeatable) {
        say_it_is_unknown(&trouble);
        answer->unknown = true;
    }
    return status == 0 ? 0 : fail_on_the_way(job, &trouble, answer, err);
}

/* ---- The answer ---- */

/* AWS tells the time in each answer. */
static void hint_at_clock(const struct kms_reply *reply, struct error *err)
{
    long long off = reply->date != 0 ? (long long)(credentials_now_ms() / 1000) - (long long)reply->date : 0;
    struct error told = *err;

    if (off > SKEW_S || off < -SKEW_S) {
        error_set(err, 0, "%.380s; this clock is %lld seconds %s that of KMS: set it (`postern run` does)",
                  told.text, off > 0 ? off : -off, off > 0 ? "ahead of" : "behind");
    }
}

static int read_reply(const struct kms_reply *reply, struct kms_answer *ret, struct error *err)
{
    int status = kms_answer_read(reply->status, reply->body, reply->size, ret, err);
    struct error told = *err;

    if (status != 0 && reply->request_id[0] != '\0') {
        error_set(err, status, "%.400s, request %s", told.text, reply->request_id);
    }
    if (kms_type_is_of_time(ret->type)) {
        hint_at_clock(reply, err);
    }
    return status;
}

static int attempt(struct job *job, struct kms_answer *ret, struct error *err)
{
    struct kms_keys *keys;
    struct kms_reply reply;
    int status = kms_credentials_get(&job->kms->credentials, job->deadline, &keys, err);

    if (status != 0) {
        return status;
    }
    status = exchange(job, keys, &reply, ret, err);
    if (status == 0) {
        status = read_reply(&reply, ret, err);
        ret->unknown = status == -EPROTO && !job->repeatable;
    }
    kms_reply_release(&reply);
    /* Keys that were replaced before their time are asked for anew, once. */
    bool refused = status == -ENOKEY && ret->status != 0 &&
                   kms_credentials_refused(&job->kms->credentials, keys) && !job->renewed;
    kms_keys_put(keys);
    if (refused) {
        job->renewed = true;
        kms_answer_release(ret);
        return attempt(job, ret, err);
    }
    return status;
}

/* ---- The call ---- */

/* False: the next one would be too late. */
static bool pause_before(uint64_t deadline, unsigned tries)
{
    uint32_t most = BACKOFF_MIN_MS << (tries < 7 ? tries : 7);
    uint32_t pause = arc4random_uniform((most < BACKOFF_MAX_MS ? most : BACKOFF_MAX_MS) + 1) + 1;

    if (pause >= (unsigned)kms_left_ms(deadline)) {
        return false;
    }
    const struct timespec wait = {.tv_sec = pause / 1000, .tv_nsec = (long)(pause % 1000) * 1000000};
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL);
    return true;
}

/* One that was throttled did nothing; one that failed may have done it. */
static bool may_try_again(const struct job *job, const struct kms_answer *answer)
{
    return job->repeatable || answer->status == 429 || kms_type_is_of_rate(answer->type);
}

static void drop_body(struct job *job)
{
    if (job->body) {
        OPENSSL_cleanse(job->body, job->size);
    }
    free(job->body);
    job->body = NULL;
    job->size = 0;
}

/* Not json_dumps(), which leaves copies behind as it grows. */
static int make_body(struct job *job, struct error *err)
{
    size_t size = json_dumpb(job->request, NULL, 0, JSON_COMPACT);
    /* Not the job's own: for an analyzer, a function that gets a part of the job may change all of it, and lose the text. */
    char hash[AWS_HASH_HEX_SIZE];

    drop_body(job);
    if (size > KMS_REQUEST_MAX) {
        return error_set(err, -EINVAL, "the request is larger than %zu bytes", KMS_REQUEST_MAX);
    }
    job->body = size > 0 ? malloc(size) : NULL;
    job->size = job->body ? size : 0;
    if (!job->body || json_dumpb(job->request, job->body, size, JSON_COMPACT) != size) {
        return error_set(err, -ENOMEM, "cannot make the request: out of memory");
    }
    if (aws_hash(job->body, job->size, hash) != 0) {
        return error_set(err, -EIO, "cannot hash the request: the cryptographic library failed");
    }
    memcpy(job->hash, hash, sizeof hash);
    return 0;
}

static int try_again(struct job *job, struct kms_answer *ret, struct error *err)
{
    int status = job->renewal ? job->renewal->renew(job->renewal->data, job->deadline, err) : 0;

    kms_answer_release(ret);
    if (status > 0) {
        status = make_body(job, err);
    }
    return status == 0 ? attempt(job, ret, err) : status;
}

static int carry_out(struct job *job, struct kms_answer *ret, struct error *err)
{
    unsigned tries = 0;
    int status = attempt(job, ret, err);

    while (status == -EBUSY && may_try_again(job, ret) && pause_before(job->deadline, tries++)) {
        status = try_again(job, ret, err);
    }
    if (status == -EBUSY && tries > 0) {
        struct error told = *err;
        error_set(err, status, "%.400s; given up after %u %s", told.text, tries,
                  tries == 1 ? "try" : "tries");
    }
    return status;
}

static int begin(struct job *job, struct error *err)
{
    size_t size = strlen(job->operation);

    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)job->operation[i]) || size > 64) {
            return error_set(err, -EINVAL, "an operation of KMS is a word such as Decrypt");
        }
    }
    snprintf(job->target, sizeof job->target, "TrentService.%s", job->operation);
    return make_body(job, err);
}

int kms_call_renewed(struct postern_kms *kms, const char *operation, const json_t *request, uint64_t deadline,
                     const struct kms_renewal *renewal, struct kms_answer *ret, struct error *err)
{
    struct job job = {.kms = kms,
                      .operation = operation,
                      .repeatable = kms_may_repeat(operation),
                      .request = request,
                      .renewal = renewal,
                      .deadline = deadline};

    *ret = (struct kms_answer){.status = 0};
    if (getpid() != kms->owner) {
        return error_set(err, -ECHILD, "the client for KMS belongs to the parent process");
    }
    int status = begin(&job, err);
    status = status == 0 ? carry_out(&job, ret, err) : status;
    drop_body(&job);
    if (status != 0) {
        error_prefix(err, "%s", operation);
    }
    return status;
}

int kms_call(struct postern_kms *kms, const char *operation, const json_t *request, uint64_t deadline,
             struct kms_answer *ret, struct error *err)
{
    return kms_call_renewed(kms, operation, request, deadline, NULL, ret, err);
}

int kms_fail(struct postern_error *ret, int status, const struct kms_answer *answer, const struct error *err)
{
    if (ret) {
        ret->status = status;
        ret->code = answer ? answer->code : 0;
        ret->word = answer && answer->code != 0 ? postern_code_word(answer->code)
                    : answer                    ? kms_type_word(answer->type)
                                                : "";
        ret->retryable = status == -ETIMEDOUT || (answer && answer->retryable);
        snprintf(ret->message, sizeof ret->message, "%s", err->text);
    }
    return status;
}
