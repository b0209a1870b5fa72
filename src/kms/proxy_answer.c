/* Answers to SDKs: see proxy_answer.h. */
#include "kms/proxy_answer.h"

#include "http/status.h"
#include "kms/attested.h"
#include "kms/secret.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define HEAD_MAX 256

/* Where the result of each operation stands in the answer, in the clear. */
static const struct {
    const char *operation, *field;
} results[] = {
    {"Decrypt", "Plaintext"},
    {"GenerateDataKey", "Plaintext"},
    {"GenerateRandom", "Plaintext"},
    {"GenerateDataKeyPair", "PrivateKeyPlaintext"},
    {"DeriveSharedSecret", "SharedSecret"},
};

/* What has no answer of KMS's. Those above 500 an SDK tries again, as it may. */
static const struct {
    int status;
    unsigned http;
    const char *type;
} failures[] = {
    {-EINVAL, 400, "ValidationException"},        {-EBADMSG, 502, "PosternAnswerRefused"},
    {-EPROTO, 502, "PosternBadAnswer"},           {-EREMOTEIO, 502, "PosternBadAnswer"},
    {-EKEYREJECTED, 502, "PosternUntrustedPeer"}, {-ENOKEY, 503, "PosternNoCredentials"},
    {-ENOTCONN, 503, "PosternUnreachable"},       {-EBUSY, 503, "PosternUnreachable"},
    {-ETIMEDOUT, 504, "PosternTimeout"},          {-ENODEV, 500, "PosternNoEnclave"},
    {-EIO, 500, "PosternAttestationFailed"},      {-ENOMEM, 503, "PosternNoMemory"},
};

/* ---- Bytes ---- */

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "cannot answer: out of memory");
}

static size_t write_head(char head[HEAD_MAX], unsigned status, bool keep_alive, size_t length)
{
    return (size_t)snprintf(head, HEAD_MAX,
                            "HTTP/1.1 %u %s\r\n"
                            "content-type: application/x-amz-json-1.1\r\n"
                            "content-length: %zu\r\n"
                            "%s\r\n",
                            status, http_status_words(status), length,
                            keep_alive ? "" : "connection: close\r\n");
}

/* Operations that only do something answer nothing: `body` is NULL. json_dumps() would leave copies behind: it grows its memory
 * and wipes nothing. */
static int make(unsigned status, const json_t *body, bool keep_alive, bool head_only,
                struct postern_secret *ret)
{
    char head[HEAD_MAX];
    size_t length = body ? json_dumpb(body, NULL, 0, JSON_COMPACT) : 0;
    size_t head_length = write_head(head, status, keep_alive, length);

    if ((body && length == 0) || secret_new(head_length + length, ret) != 0) {
        return -ENOMEM;
    }
    memcpy(ret->data, head, head_length);
    if (body && json_dumpb(body, (char *)ret->data + head_length, length, JSON_COMPACT) != length) {
        postern_secret_wipe(ret);
        return -ENOMEM;
    }
    if (head_only) {
        ret->length = head_length;
    }
    return 0;
}

int proxy_answer_problem(const struct proxy_problem *problem, bool keep_alive, bool head_only,
                         struct postern_secret *ret)
{
    json_t *body = json_pack("{s:s, s:s}", "__type", problem->type, "message", problem->message);
    int r = body ? make(problem->status, body, keep_alive, head_only, ret) : -ENOMEM;

    json_decref(body);
    return r;
}

/* ---- Results ---- */

static const char *field_of(const char *operation)
{
    for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
        if (strcmp(results[i].operation, operation) == 0) {
            return results[i].field;
        }
    }
    return NULL;
}

/* The answer's strings are wiped with it. */
static int put_result(json_t *body, const char *field, const struct postern_secret *result)
{
    struct postern_secret text;

    if (secret_new((result->length + 2) / 3 * 4 + 1, &text) != 0) {
        return -ENOMEM;
    }
    int length = EVP_EncodeBlock(text.data, result->data, (int)result->length);
    int r = json_object_set_new(body, field, json_stringn_nocheck(text.data, (size_t)length));
    postern_secret_wipe(&text);
    return r == 0 ? 0 : -ENOMEM;
}

static int call_attested(struct postern_kms *kms, const struct proxy_call *call, uint64_t deadline,
                         struct kms_answer *answer, struct error *err)
{
    struct postern_secret result = {.data = NULL};
    const char *field = field_of(call->operation);

    /* An operation that takes a Recipient, and that this table does not know, has its result nowhere to go. */
    if (!field) {
        return error_set(err, -EINVAL, "%s is not known here, where its result would have to be put",
                         call->operation);
    }
    int r = kms_attested_call(kms, call->operation, call->request, deadline, answer, &result, err);
    if (r == 0 && put_result(answer->body, field, &result) != 0) {
        r = no_memory(err);
    }
    postern_secret_wipe(&result);
    return r;
}

/* Whether KMS has answered, if only that it will not: then an SDK hears that, and no words of ours. What was refused as no answer, and
 * may hold what nobody is to see, is not among these. */
static bool is_told_by_kms(int r, const struct kms_answer *answer)
{
    bool error = r == -EACCES || r == -ENOKEY || r == -EREMOTEIO || r == -EBUSY;
    return r == 0 || (error && answer->status >= 400 && json_is_object(answer->body));
}

static void set_failure(struct proxy_problem *problem, int r, bool unknown, const struct error *err)
{
    (void)proxy_problem_set(problem, 500, "PosternFailed", "%s", err->text);
    if (unknown) { /* no SDK repeats what has this status */
        problem->status = 409;
        problem->type = "PosternOutcomeUnknown";
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
        if (failures[i].status == r) {
            problem->status = failures[i].http;
            problem->type = failures[i].type;
        }
    }
}

void proxy_answer_call(struct postern_kms *kms, const struct proxy_call *call, uint32_t timeout_ms,
                       struct proxy_answer *ret, struct error *err)
{
    uint64_t deadline = kms_deadline(kms, timeout_ms);
    int r;

    *ret = (struct proxy_answer){.of_kms = false};
    err->text[0] = '\0';
    if (kms_takes_recipient(call->operation)) {
        r = call_attested(kms, call, deadline, &ret->kms, err);
    } else {
        r = kms_call(kms, call->operation, call->request, deadline, &ret->kms, err);
    }
    if (r == 0) {
        err->text[0] = '\0'; /* of a try that was not the last */
    }
    ret->of_kms = is_told_by_kms(r, &ret->kms);
    if (!ret->of_kms) {
        set_failure(&ret->problem, r, ret->kms.unknown, err);
    }
}

void proxy_answer_release(struct proxy_answer *answer)
{
    kms_answer_release(&answer->kms);
}

int proxy_answer_write(const struct proxy_answer *answer, bool keep_alive, struct postern_secret *ret)
{
    return answer->of_kms ? make(answer->kms.status, answer->kms.body, keep_alive, false, ret)
                          : proxy_answer_problem(&answer->problem, keep_alive, false, ret);
}
