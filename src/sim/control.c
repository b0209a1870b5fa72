/* Telling the simulator what to do: see control.h. */
#include "sim/control.h"

#include <stdlib.h>
#include <string.h>

static void refuse(struct sim_http_answer *answer, unsigned status, const char *why)
{
    answer->status = status;
    text_add(&answer->body, "{\"error\": \"");
    text_add_json(&answer->body, why, strlen(why));
    text_add(&answer->body, "\"}");
}

static json_t *read_body(const struct sim_http_exchange *exchange, struct sim_http_answer *answer)
{
    json_error_t why;
    json_t *body =
        json_loadb(text_string(&exchange->body), exchange->body.length, JSON_REJECT_DUPLICATES, &why);

    if (!body) {
        refuse(answer, 400, why.text);
    }
    return body;
}

/* An NSM's operations have names of their own; "nsm" is any of them. */
static struct sim_faults *faults_for(const struct sim_control *control, json_t *body)
{
    static const char *const names[] = {"Attestation", "DescribeNSM", "DescribePCR", "ExtendPCR",
                                        "GetRandom",   "LockPCR",     "LockPCRs"};
    const char *operation = json_string_value(json_object_get(body, "operation"));

    if (operation && strcmp(operation, "nsm") == 0) {
        json_object_set_new(body, "operation", json_string("*"));
        return control->nsm_faults;
    }
    for (size_t i = 0; operation && i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], operation) == 0) {
            return control->nsm_faults;
        }
    }
    return &control->kms->faults;
}

static void add_fault(const struct sim_control *control, const struct sim_http_exchange *exchange,
                      struct sim_http_answer *answer)
{
    struct error err;
    json_t *body = read_body(exchange, answer);

    if (body && sim_faults_add(faults_for(control, body), body, &err) != 0) {
        refuse(answer, 400, err.text);
    }
    json_decref(body);
}

static void set_clock(const struct sim_control *control, const struct sim_http_exchange *exchange,
                      struct sim_http_answer *answer)
{
    json_t *body = read_body(exchange, answer);
    json_int_t offset;

    if (body && json_unpack(body, "{s:I}", "offset_ms", &offset) == 0 && offset > -(INT64_C(1) << 40) &&
        offset < INT64_C(1) << 40) {
        atomic_store(&control->clock->offset_ms, offset);
    } else if (body) {
        refuse(answer, 400, "offset_ms is expected");
    }
    json_decref(body);
}

static void tell_calls(struct sim_kms *kms, struct sim_http_answer *answer)
{
    pthread_mutex_lock(&kms->lock);
    char *text = json_dumps(kms->calls, JSON_COMPACT);
    pthread_mutex_unlock(&kms->lock);
    text_add(&answer->body, text ? text : "[]");
    free(text);
}

static void forget_calls(struct sim_kms *kms)
{
    pthread_mutex_lock(&kms->lock);
    json_array_clear(kms->calls);
    pthread_mutex_unlock(&kms->lock);
}

void sim_control_handle(void *arg, const struct sim_http_exchange *exchange, struct sim_http_answer *answer)
{
    const struct sim_control *control = arg;

    if (sim_http_is(exchange, "POST", "/faults")) {
        add_fault(control, exchange, answer);
    } else if (sim_http_is(exchange, "DELETE", "/faults")) {
        sim_faults_clear(&control->kms->faults);
        sim_faults_clear(control->nsm_faults);
    } else if (sim_http_is(exchange, "PUT", "/clock")) {
        set_clock(control, exchange, answer);
    } else if (sim_http_is(exchange, "GET", "/calls")) {
        tell_calls(control->kms, answer);
    } else if (sim_http_is(exchange, "DELETE", "/calls")) {
        forget_calls(control->kms);
    } else {
        refuse(answer, 404, "there is no such thing here");
    }
}
