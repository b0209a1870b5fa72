/*
 * Intakes: see intake.h.
 *
 *     start: head written -> spool_put_begin() -> body -> commit -> on_done(): end()
 *     fail:  noted in `why`, the put aborted, what still comes of the body is taken and dropped; end() follows from
 *            the loop, by way of spool->over
 *
 * The put is gone with spool_put_abort(), or when on_done() is called. An intake is in spool->over only while something
 * has to be told that cannot be told from inside of a call of its owner.
 */
#include "forward/intake.h"

#include "forward/intake_private.h"
#include "http/head.h"
#include <errno.h>
#include <string.h>

#define KEY_HEADER "idempotency-key"

/* A full spool empties as its upstream takes records; a disk that fails has to be looked at by somebody. */
#define FULL_RETRY_S        30
#define UNAVAILABLE_RETRY_S 60

/* ---- Ends ---- */

static void queue(struct intake *intake)
{
    if (!intake->queued) {
        intake->queued = true;
        TAILQ_INSERT_TAIL(&intake->spool->over, intake, link);
        (void)uv_async_send(&intake->spool->wake);
    }
}

static void unqueue(struct intake *intake)
{
    if (intake->queued) {
        intake->queued = false;
        TAILQ_REMOVE(&intake->spool->over, intake, link);
    }
}

static void note_failure(struct intake *intake, int result, const struct error *err)
{
    switch (result) {
    case -ENOSPC:
        intake->why = HTTP_REFUSED_SPOOL_FULL;
        intake->retry_after_s = FULL_RETRY_S;
        break;
    case -EMSGSIZE:
        intake->why = HTTP_REFUSED_HEAD_SIZE;
        break;
    case -EFBIG:
        intake->why = HTTP_REFUSED_BODY_SIZE;
        break;
    case -ENOMEM:
        intake->why = HTTP_REFUSED_NO_MEMORY;
        intake->retry_after_s = UNAVAILABLE_RETRY_S;
        break;
    default:
        intake->why = HTTP_REFUSED_SPOOL_UNAVAILABLE;
        intake->retry_after_s = UNAVAILABLE_RETRY_S;
        break;
    }
    intake->err = *err;
}

/* From inside of a call of the owner's: it is told later. */
static void fail(struct intake *intake, int result, const struct error *err)
{
    note_failure(intake, result, err);
    if (intake->put != NULL) {
        spool_put_abort(intake->put);
        intake->put = NULL;
    }
    queue(intake);
}

static void end(struct intake *intake)
{
    const struct intake_end told = {
        .why = intake->why,
        .id = intake->id,
        .key = intake->key,
        .detail = intake->err.text[0] != '\0' ? intake->err.text : NULL,
        .retry_after_s = intake->retry_after_s,
    };
    unqueue(intake);
    intake->ops->end(intake, &told);
}

static void tell(struct intake *intake)
{
    unqueue(intake);
    if (intake->why != HTTP_REFUSED_NONE) {
        end(intake);
    } else if (intake->go_on) {
        intake->go_on = false;
        intake->ops->go_on(intake);
    }
}

/* What a callback queues is mostly left for the next turn, so that a client that pipelines does not keep the loop. */
void intake_run(struct forward_spool *spool)
{
    struct intake *intake;
    size_t left = 0;
    TAILQ_FOREACH (intake, &spool->over, link) {
        left++;
    }
    while (left-- > 0 && (intake = TAILQ_FIRST(&spool->over)) != NULL) {
        tell(intake);
    }
    if (!TAILQ_EMPTY(&spool->over)) {
        (void)uv_async_send(&spool->wake);
    }
}

/* ---- What the spool tells ---- */

static void on_room(void *arg)
{
    struct intake *intake = arg;
    intake->ops->want(intake);
}

static void on_done(void *arg, int result, uint64_t id, const struct error *err)
{
    struct intake *intake = arg;
    intake->put = NULL;
    if (result != 0) {
        note_failure(intake, result, err);
    }
    intake->id = id;
    end(intake);
}

static const struct spool_put_ops put_ops = {.room = on_room, .done = on_done};

/* ---- The head ---- */

/* A key that another server would take, too: visible, and not longer than the spool keeps. */
static bool is_key(struct http_span value)
{
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] <= ' ' || value.data[i] > '~') {
            return false;
        }
    }
    return value.size > 0 && value.size <= INTAKE_KEY_MAX;
}

/* A UUID (RFC 9562), version 4: of the id's 128 random bits, six say so. */
static void make_key(struct forward_ids *ids, char key[INTAKE_KEY_MAX + 1])
{
    static const char form[] = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
    char id[FORWARD_ID_SIZE];
    const char *digit = id;
    forward_ids_next(ids, id);
    for (size_t i = 0; i < sizeof form; i++) {
        key[i] = form[i];
        if (form[i] == 'x') {
            key[i] = *digit++;
        } else if (form[i] == 'y') {
            key[i] = "89ab"[(unsigned char)*digit++ & 3];
        }
    }
}

/* Two headers of the client that name a key name none. */
static void choose_key(struct intake *intake, const struct http_fields *fields)
{
    const struct http_field *found = NULL;
    unsigned count = 0;
    for (unsigned i = 0; i < fields->count; i++) {
        if (fields->list[i].crosses && http_span_is_word(fields->list[i].name, KEY_HEADER)) {
            found = &fields->list[i];
            count++;
        }
    }
    if (count == 1 && is_key(found->value)) {
        memcpy(intake->key, found->value.data, found->value.size);
        intake->key[found->value.size] = '\0';
    } else {
        make_key(&intake->spool->keys, intake->key);
    }
}

static void write_line(const struct http_request *request, struct text *line)
{
    const struct http_target *target = &request->target;
    text_add_bytes(line, request->method_name.data, request->method_name.size);
    text_add_char(line, ' ');
    text_add(line, text_string(&target->path));
    if (target->query.data != NULL) {
        text_add_char(line, '?');
        text_add_bytes(line, target->query.data, target->query.size);
    }
    text_add(line, " HTTP/1.1");
}

static void write_headers(const struct intake *intake, struct http_head *head)
{
    const struct http_fields *fields = &intake->request->reader.fields;
    bool has_host = intake->request->host.size > 0;
    http_head_add(head, HTTP_SPAN("host"), has_host ? intake->request->host : HTTP_SPAN("parent"));
    for (unsigned i = 0; i < fields->count; i++) {
        const struct http_field *field = &fields->list[i];
        if (field->crosses && !http_span_is_word(field->name, KEY_HEADER)) {
            http_head_add(head, field->name, field->value);
        }
    }
    http_head_add(head, HTTP_SPAN(KEY_HEADER), http_span_of(intake->key));
}

static int write_head(const struct intake *intake, const struct http_values *values, struct text *out)
{
    struct http_head head;
    http_head_init(&head, SPOOL_HEAD_MAX);
    write_line(intake->request, &head.line);
    write_headers(intake, &head);
    text_add(out, "postern-spool/1 cid=");
    text_add_u64(out, values->cid);
    text_add(out, " request=");
    text_add(out, values->request_id != NULL ? values->request_id : "");
    text_add(out, "\r\n");
    http_head_write(&head, out);
    out->failed |= head.failed || head.line.failed || head.bytes.failed;
    http_head_release(&head);
    return out->failed ? -ENOMEM : 0;
}

static bool read_prefix(const char **at, const char *end, const char *prefix)
{
    size_t length = strlen(prefix);
    if ((size_t)(end - *at) < length || memcmp(*at, prefix, length) != 0) {
        return false;
    }
    *at += length;
    return true;
}

bool intake_origin_read(const char *head, size_t size, struct intake_origin *ret)
{
    const char *at = head, *end = size > 0 ? memchr(head, '\r', size) : NULL;
    uint64_t cid = 0;
    if (end == NULL || (size_t)(end - head) + 2 > size || end[1] != '\n' ||
        !read_prefix(&at, end, "postern-spool/1 cid=")) {
        return false;
    }
    const char *blank = memchr(at, ' ', (size_t)(end - at));
    if (blank == NULL ||
        !http_span_number((struct http_span){.data = at, .size = (size_t)(blank - at)}, &cid) ||
        cid > UINT32_MAX || !read_prefix(&blank, end, " request=") ||
        (size_t)(end - blank) >= sizeof ret->request_id) {
        return false;
    }
    ret->cid = (uint32_t)cid;
    memcpy(ret->request_id, blank, (size_t)(end - blank));
    ret->request_id[end - blank] = '\0';
    ret->head_at = (size_t)(end - head) + 2;
    return true;
}

/* ---- The body ---- */

/* Where it is hashed to be signed, it is gathered then. */
static uint64_t most_of_body(const struct config_sign *sign)
{
    return sign != NULL && !sign->unsigned_payload ? sign->body_max : UINT64_MAX;
}

/* What can never be sent on is not to be answered by 202. */
static int check_size(const struct intake *intake, uint64_t more, struct error *err)
{
    return more <= intake->most - intake->size ? 0
                                               : error_set(err, -EFBIG,
                                                           "the body is over `sign.aws.max_body`: it is "
                                                           "gathered to be hashed when it is delivered");
}

/* ---- Life ---- */

static int begin(struct intake *intake, const struct config_route *route, const struct http_values *values,
                 struct error *err)
{
    const struct http_request *request = intake->request;
    struct text head = TEXT_INIT;
    uint64_t expected = request->framing.body == HTTP_BODY_LENGTH ? request->framing.length : 0;
    intake->most = most_of_body(route->forward->sign);
    int rv = check_size(intake, expected, err);
    if (rv != 0) {
        return rv;
    }
    choose_key(intake, &request->reader.fields);
    rv = write_head(intake, values, &head);
    if (rv != 0) {
        text_release(&head);
        return error_errno(err, rv, "keeping the request");
    }
    const struct spool_request put = {
        .route = route->name,
        .enclave = values->enclave != NULL ? values->enclave : "-",
        .key = intake->key,
        .head = head.data,
        .head_size = head.length,
        .expected = expected,
    };
    rv = spool_put_begin(intake->spool->port, &put, &put_ops, intake, &intake->put, err);
    text_release(&head);
    if (rv != 0) {
        intake->put = NULL;
    }
    return rv;
}

void intake_start(struct intake *intake, struct forward_spool *spool, const struct intake_ops *ops,
                  const struct config_route *route, const struct http_request *request,
                  const struct http_values *values)
{
    struct error err = ERROR_INIT;
    memset(intake, 0, sizeof *intake);
    intake->spool = spool;
    intake->ops = ops;
    intake->request = request;
    if (spool->port == NULL) {
        fail(intake, -ENODEV, &spool->why);
        return;
    }
    int rv = begin(intake, route, values, &err);
    if (rv != 0) {
        fail(intake, rv, &err);
    } else if (request->expects_continue && ops->go_on != NULL) {
        intake->go_on = true;
        queue(intake);
    }
}

size_t intake_body(struct intake *intake, const char *data, size_t size)
{
    struct error err = ERROR_INIT;
    if (intake->put == NULL) {
        return size;
    }
    int64_t taken = check_size(intake, size, &err);
    taken = taken == 0 ? spool_put_write(intake->put, data, size, &err) : taken;
    if (taken < 0) {
        fail(intake, (int)taken, &err);
        return size;
    }
    intake->size += (uint64_t)taken;
    return (size_t)taken;
}

static bool has_trailers(const struct http_request *request)
{
    return request->reader.trailers.count > 0;
}

void intake_body_end(struct intake *intake)
{
    if (intake->put == NULL) {
        return;
    }
    if (has_trailers(intake->request)) {
        spool_put_abort(intake->put);
        intake->put = NULL;
        intake->why = HTTP_REFUSED_TRAILER;
        error_set(&intake->err, 0, "a request that is kept for later cannot have trailers");
        queue(intake);
        return;
    }
    spool_put_commit(intake->put);
}

void intake_cancel(struct intake *intake)
{
    unqueue(intake);
    if (intake->put != NULL) {
        spool_put_abort(intake->put);
        intake->put = NULL;
    }
}

/* ---- Answers ---- */

static void add_header(struct text *out, const char *name, const char *value)
{
    if (value != NULL) {
        text_add(out, name);
        text_add(out, value);
        text_add(out, "\r\n");
    }
}

/* Without text_addf(), as each request that is kept has one. */
static void answer_kept(const struct intake_end *end, const struct http_refusal_note *note, bool keep_alive,
                        struct text *out)
{
    struct text body = TEXT_INIT;
    text_add(&body, "{\"id\": ");
    text_add_u64(&body, end->id);
    text_add(&body, ", \"key\": \"");
    text_add_json(&body, end->key, strlen(end->key));
    text_add(&body, "\"}\n");
    text_add(out, "HTTP/1.1 202 Accepted\r\n");
    add_header(out, "date: ", note->date);
    add_header(out, "x-request-id: ", note->request_id);
    text_add(out, "content-type: application/json\r\ncontent-length: ");
    text_add_u64(out, body.length);
    text_add(out, "\r\ncache-control: no-store\r\n");
    text_add(out, keep_alive ? "\r\n" : "connection: close\r\n\r\n");
    if (!note->head_only) {
        text_add_bytes(out, text_string(&body), body.length);
    }
    out->failed |= body.failed;
    text_release(&body);
}

void intake_answer(const struct intake_end *end, const struct http_refusal_note *note, bool keep_alive,
                   struct text *out)
{
    if (end->why == HTTP_REFUSED_NONE) {
        answer_kept(end, note, keep_alive, out);
        return;
    }
    struct http_refusal_note whole = *note;
    bool parents = end->why == HTTP_REFUSED_SPOOL_FULL || end->why == HTTP_REFUSED_SPOOL_UNAVAILABLE;
    whole.detail = !parents && end->detail != NULL ? end->detail : note->detail; /* paths are nobody else's */
    whole.retry_after_s = end->retry_after_s;
    http_refusal_answer(end->why, &whole, out);
}
