/* For bench_cost: the parsers of what reaches an enclave by way of its parent, and a session's side that others open streams on. */
#include "attest/document.h"
#include "cost.h"
#include "kms/answer.h"
#include "kms/proxy_request.h"
#include "kms/seal.h"
#include "nsm/nsm.h"
#include "session/session.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void take_document(const struct input *input)
{
    struct attest_document document;
    struct error err = ERROR_INIT;
    (void)!attest_parse((const uint8_t *)input->data, input->size, &document, &err);
}

static int answer_nsm(void *user, const uint8_t *request, size_t size, uint64_t deadline,
                      uint8_t response[NSM_RESPONSE_MAX], size_t *ret_size, struct error *err)
{
    const struct input *input = user;
    (void)request;
    (void)size;
    (void)deadline;
    (void)err;
    *ret_size = input->size < NSM_RESPONSE_MAX ? input->size : NSM_RESPONSE_MAX;
    memcpy(response, input->data, *ret_size);
    return 0;
}

static void close_nsm(void *user)
{
    (void)user;
}

/* An NSM whose answer to anything is the file's bytes. */
static struct nsm *open_nsm(const struct input *input)
{
    const struct nsm_way way = {.ask = answer_nsm, .close = close_nsm, .user = (void *)input};
    struct nsm *nsm;
    return nsm_open_way(&way, &nsm) == 0 ? nsm : NULL;
}

void take_nsm_document(const struct input *input)
{
    static const struct nsm_attest_request request = {.nonce = {"nonce", 5}};
    static uint8_t document[NSM_RESPONSE_MAX];
    struct nsm *nsm = open_nsm(input);
    struct error err = ERROR_INIT;
    size_t size;
    if (nsm) {
        (void)!nsm_attest(nsm, &request, document, &size, &err);
    }
    nsm_close(nsm);
}

void take_nsm_description(const struct input *input)
{
    struct nsm_description description;
    struct nsm *nsm = open_nsm(input);
    struct error err = ERROR_INIT;
    if (nsm) {
        (void)!nsm_describe(nsm, &description, &err);
    }
    nsm_close(nsm);
}

void take_kms_answer(const struct input *input)
{
    struct kms_answer answer = {.status = 0};
    struct error err = ERROR_INIT;
    uint8_t *blob;
    size_t size;
    if (kms_answer_read(200, input->data, input->size, &answer, &err) == 0 &&
        kms_answer_blob(&answer, "CiphertextForRecipient", KMS_ANSWER_MAX, &blob, &size, &err) == 0) {
        free(blob);
    }
    kms_answer_release(&answer);
}

/* The file's bytes as a request of an SDK's, head and body. */
void take_sdk_request(const struct input *input)
{
    static char body[KMS_REQUEST_MAX];
    struct http_rules rules;
    struct http_request request;
    struct proxy_problem why;
    struct proxy_call call;
    enum http_event event;
    size_t at = 0, length = 0;
    http_rules_init(&rules);
    http_request_init(&request, &rules);
    do {
        struct http_span piece;
        size_t used;
        event = http_request_read(&request, input->data + at, input->size - at, &used, &piece);
        at += used;
        if (event == HTTP_EVENT_BODY && piece.size <= sizeof body - length) {
            memcpy(body + length, piece.data, piece.size);
            length += piece.size;
        }
    } while (event == HTTP_EVENT_HEAD || event == HTTP_EVENT_BODY);
    if (event == HTTP_EVENT_END && proxy_call_read(&request, (struct http_span){body, length}, &call, &why)) {
        proxy_call_release(&call);
    }
    http_request_release(&request);
    http_rules_release(&rules);
}

void take_sealed_header(const struct input *input)
{
    const uint8_t *bytes = (const uint8_t *)input->data;
    struct seal_header header;
    struct error err = ERROR_INIT;
    size_t size;
    if (input->size >= SEAL_START_SIZE && seal_header_size(bytes, &size, &err) == 0 && size <= input->size &&
        seal_decode(bytes, size, &header, &err) == 0) {
        seal_release(&header);
    }
}

/* ---- A session ---- */

static void on_open(struct channel *channel, const struct control_open *open)
{
    (void)open;
    channel_accept(channel);
}

/* Where the bytes go is ready for them. */
static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    (void)bytes;
    channel_consumed(channel, length);
}

static void on_fin(struct channel *channel)
{
    channel_finish(channel);
    channel_release(channel);
}

static void on_reset(struct channel *channel, uint32_t code)
{
    (void)code;
    channel_release(channel);
}

static void on_failed(struct channel *channel, uint32_t code, bool retryable)
{
    (void)code;
    (void)retryable;
    channel_release(channel);
}

/* Nothing is answered but the end. */
static size_t fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    (void)channel;
    (void)buffer;
    (void)size;
    *more = CHANNEL_PAUSE;
    return 0;
}

static void send_all(struct session *session)
{
    static uint8_t out[65536];
    while (session_has_output(session) && session_send(session, 0, out, sizeof out) > 0) {
    }
}

void feed_session(const struct input *input)
{
    static const struct session_events events = {.open = on_open,
                                                 .data = on_data,
                                                 .fin = on_fin,
                                                 .reset = on_reset,
                                                 .failed = on_failed,
                                                 .fill = fill};
    struct session_config config;
    session_config_default(&config, SESSION_SERVER);
    struct session *session = session_new(&config, &events, NULL, 0);
    for (size_t at = 0; session && at < input->size && !session_is_over(session); at += input->piece) {
        size_t left = input->size - at;
        (void)session_receive(session, 0, input->data + at, left < input->piece ? left : input->piece);
        send_all(session);
    }
    session_free(session);
}
