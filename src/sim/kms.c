/* A request to the simulated KMS, from its bytes to the answer: see kms.h. */
#include "sim/kms.h"
#include "sim/kms_call.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE      "application/x-amz-json-1.1"
#define TARGET    "TrentService."
#define HUGE_SIZE ((size_t)4 * 1024 * 1024)

static const struct sim_operation_entry operations[] = {
    {"CancelKeyDeletion", sim_cancel_key_deletion, false},
    {"CreateAlias", sim_create_alias, false},
    {"CreateKey", sim_create_key, false},
    {"Decrypt", sim_decrypt, true},
    {"DeriveSharedSecret", sim_derive_shared_secret, true},
    {"DescribeKey", sim_describe_key, false},
    {"DisableKey", sim_disable_key, false},
    {"EnableKey", sim_enable_key, false},
    {"Encrypt", sim_encrypt, false},
    {"GenerateDataKey", sim_generate_data_key, true},
    {"GenerateDataKeyPair", sim_generate_data_key_pair, true},
    {"GenerateDataKeyPairWithoutPlaintext", sim_generate_data_key_pair_without_plaintext, false},
    {"GenerateDataKeyWithoutPlaintext", sim_generate_data_key_without_plaintext, false},
    {"GenerateRandom", sim_generate_random, true},
    {"GetKeyPolicy", sim_get_key_policy, false},
    {"GetPublicKey", sim_get_public_key, false},
    {"ListKeys", sim_list_keys, false},
    {"PutKeyPolicy", sim_put_key_policy, false},
    {"ReEncrypt", sim_re_encrypt, false},
    {"ScheduleKeyDeletion", sim_schedule_key_deletion, false},
};

const struct sim_operation_entry *sim_operation_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        if (strcmp(operations[i].name, name) == 0) {
            return &operations[i];
        }
    }
    return NULL;
}

int sim_kms_init(struct sim_kms *kms)
{
    int rv = sim_faults_init(&kms->faults);

    if (rv != 0) {
        return rv;
    }
    kms->verified = (struct sim_verified){.next = 0};
    kms->calls = json_array();
    kms->keys = (struct sim_keys){.region = kms->region, .account = kms->account};
    if (!kms->calls || pthread_mutex_init(&kms->lock, NULL) != 0 ||
        pthread_mutex_init(&kms->verified.lock, NULL) != 0) {
        sim_faults_release(&kms->faults);
        json_decref(kms->calls);
        return -ENOMEM;
    }
    return 0;
}

static void release_credential(struct sim_credential *credential)
{
    for (char **action = credential->actions; action && *action; action++) {
        free(*action);
    }
    free(credential->actions);
    free(credential->access_key_id);
    free(credential->secret_access_key);
    free(credential->session_token);
    free(credential->principal);
}

void sim_kms_release(struct sim_kms *kms)
{
    sim_faults_release(&kms->faults);
    sim_keys_release(&kms->keys);
    json_decref(kms->calls);
    pthread_mutex_destroy(&kms->lock);
    pthread_mutex_destroy(&kms->verified.lock);
    for (size_t i = 0; i < kms->credentials.count; i++) {
        release_credential(&kms->credentials.list[i]);
    }
    free(kms->credentials.list);
}

/* ---- The call ---- */

/* NULL: it is none, with the call's error set. */
static const struct sim_operation_entry *read_operation(const struct sim_http_exchange *exchange,
                                                        struct sim_call *call)
{
    const struct sim_operation_entry *entry;
    char buffer[128];
    const char *target = sim_http_header(exchange, "x-amz-target", buffer, sizeof buffer);

    if (!sim_http_is(exchange, "POST", "/") || !target || strncmp(target, TARGET, strlen(TARGET)) != 0) {
        sim_kms_refuse(&call->error, "UnknownOperationException", "There is no such operation");
        return NULL;
    }
    entry = sim_operation_find(target + strlen(TARGET));
    if (entry) {
        call->operation = entry->name;
    } else {
        sim_kms_refuse(&call->error, "UnknownOperationException", "There is no operation %.64s",
                       target + strlen(TARGET));
    }
    return entry;
}

static int read_body(const struct sim_http_exchange *exchange, struct sim_call *call)
{
    json_error_t why;

    call->in = json_loadb(text_string(&exchange->body), exchange->body.length, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(call->in)) {
        return sim_kms_refuse(&call->error, "SerializationException", "The body is no JSON object: %.200s",
                              call->in ? "another type" : why.text);
    }
    call->out = json_object();
    return call->out ? 0 : sim_kms_break(&call->error, "out of memory");
}

static int take_fault(struct sim_call *call)
{
    call->fault = sim_faults_take(&call->kms->faults, call->operation);
    if (call->fault.kind != SIM_FAULT_ERROR) {
        return 0;
    }
    sim_kms_refuse(&call->error, call->fault.name, "as was asked for");
    bool own = strcmp(call->fault.name, "KMSInternalException") == 0;
    call->error.status = call->fault.status ? call->fault.status : own ? 500 : 400;
    return -EACCES;
}

static int run(const struct sim_http_exchange *exchange, struct sim_call *call)
{
    const struct sim_operation_entry *entry = read_operation(exchange, call);
    time_t now = sim_now(call->kms->clock);

    if (!entry) {
        return -EACCES;
    }
    int rv = take_fault(call);
    if (rv == 0) {
        call->caller =
            sim_signature_check(exchange, &call->kms->credentials, call->kms->region, now, &call->error);
        rv = call->caller ? read_body(exchange, call) : -EACCES;
    }
    if (rv == 0 && entry->takes_recipient) {
        rv = sim_attested_read(json_object_get(call->in, "Recipient"), call->kms->root, now,
                               &call->kms->verified, &call->attested, &call->error);
    }
    return rv == 0 ? entry->run(call) : rv;
}

/* ---- The answer ---- */

/* Words that were cut in the middle of a character are no text for jansson. */
static json_t *error_body(const struct sim_kms_error *error)
{
    json_t *body = json_pack("{s:s, s:s}", "__type", error->type, "message", error->message);

    return body ? body : json_pack("{s:s}", "__type", error->type);
}

static void add_body(struct sim_call *call, struct sim_http_answer *answer)
{
    json_t *body = call->error.type ? error_body(&call->error) : json_incref(call->out);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    if (text) {
        text_add(&answer->body, text);
        OPENSSL_cleanse(text, strlen(text));
    }
    free(text);
    json_decref(body);
}

static void spoil(const struct sim_fault *fault, struct sim_http_answer *answer)
{
    answer->delay_ms = fault->delay_ms;
    switch (fault->kind) {
    case SIM_FAULT_GARBAGE:
        text_clear(&answer->body);
        text_add(&answer->body, "{\"Plaintext\": \"AAAA\", \"KeyId\": [[[[");
        break;
    case SIM_FAULT_HUGE:
        text_clear(&answer->body);
        while (answer->body.length < HUGE_SIZE && !answer->body.failed) {
            text_add(&answer->body, "                                                                ");
        }
        break;
    case SIM_FAULT_CLOSE:
        answer->end = SIM_HTTP_CLOSE;
        break;
    case SIM_FAULT_HALF:
        answer->end = SIM_HTTP_HALF;
        break;
    default:
        break;
    }
}

/* Every answer has an id of its own, as AWS's have. */
static void add_request_id(struct sim_http_answer *answer)
{
    unsigned char r[16] = {0};

    if (RAND_bytes(r, sizeof r) != 1) {
        return;
    }
    text_addf(&answer->headers,
              "x-amzn-RequestId: %02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x\r\n",
              r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14],
              r[15]);
}

/* For tests. Texts that are no UTF-8 cannot be here, since jansson takes none. */
static void note(struct sim_call *call)
{
    json_t *entry =
        json_pack("{s:s*, s:s*, s:s*, s:b, s:s*}", "operation", call->operation, "principal",
                  call->caller ? call->caller->principal : NULL, "key", call->key ? call->key->arn : NULL,
                  "attested", call->attested.present, "type", call->error.type);

    pthread_mutex_lock(&call->kms->lock);
    if (entry && json_array_append_new(call->kms->calls, entry) == 0 &&
        json_array_size(call->kms->calls) > SIM_CALLS_KEPT) {
        json_array_remove(call->kms->calls, 0);
    }
    pthread_mutex_unlock(&call->kms->lock);
}

void sim_kms_handle(void *arg, const struct sim_http_exchange *exchange, struct sim_http_answer *answer)
{
    struct sim_call *call = calloc(1, sizeof *call);

    answer->type = TYPE;
    add_request_id(answer);
    if (!call) {
        answer->status = 500;
        return;
    }
    call->kms = arg;
    int rv = run(exchange, call);
    answer->status = rv == 0 ? 200 : call->error.status;
    add_body(call, answer);
    spoil(&call->fault, answer);
    note(call);
    sim_attested_release(&call->attested);
    json_decref(call->in);
    json_decref(call->out);
    free(call);
}
