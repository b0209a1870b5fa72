/*
 * Operators' questions about the spool: see spool_admin.h.
 *
 * Each that takes time is an `ask`: made with the request, it holds the connection that waits and the spool's call or look.
 * It goes when it was answered, or when the client has gone: then the call is cancelled.
 */
#include "daemon/spool_admin.h"

#include "base/error.h"
#include "daemon/spool_json.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All of a spool may be read, or changed, before the answer. */
#define ASK_MS ((uint64_t)60 * 60 * 1000)

struct ask {
    struct http_connection *connection;
    struct spool_call *call; /* one of them */
    struct spool_take *look;
    bool with_body;                    /* of a look: to be exported */
    const struct spool_keeper *keeper; /* of a change */
    bool all;                          /* records, not one */
    bool begun;                        /* its head is on the way */
    bool last;                         /* its last piece is */
    struct text head;
};

static void free_ask(struct ask *ask)
{
    const struct spool_outcome release = {.verdict = SPOOL_RELEASE};
    if (ask->look != NULL) {
        spool_take_end(ask->look, &release);
    }
    text_release(&ask->head);
    free(ask);
}

static void on_gone(void *arg)
{
    struct ask *ask = arg;
    if (ask->call != NULL) {
        spool_call_cancel(ask->call);
    }
    free_ask(ask);
}

/* ---- Answers ---- */

static int status_of(int result)
{
    switch (result) {
    case -ENOENT:
        return 404;
    case -EBUSY:
        return 409;
    case -EBADMSG:
        return 422;
    default:
        return 500;
    }
}

static void put_json(struct http_answer *response, json_t *value)
{
    char *dumped = value != NULL ? json_dumps(value, JSON_COMPACT) : NULL;
    response->content_type = "application/json";
    if (dumped != NULL) {
        text_add(&response->body, dumped);
        text_add_char(&response->body, '\n');
    }
    response->body.failed |= dumped == NULL;
    free(dumped);
    json_decref(value);
}

/* Answers with the error, if there is one, or else with `value`; the ask is over. */
static void conclude(struct ask *ask, int result, json_t *value, const struct error *err)
{
    struct http_answer response = {.status = 200, .content_type = "text/plain; charset=utf-8"};
    text_init(&response.body, HTTP_SERVER_ANSWERS_MAX);
    if (result == 0) {
        put_json(&response, value);
    } else {
        json_decref(value);
        response.status = status_of(result);
        text_addf(&response.body, "%s\n", err->text);
    }
    http_later_answer(ask->connection, &response);
    free_ask(ask);
}

static void refuse(struct http_answer *response, int status, const char *words)
{
    response->status = status;
    text_addf(&response->body, "%s\n", words);
}

static bool is_open(const struct spool_keeper *keeper, struct http_answer *response)
{
    if (keeper->spool != NULL) {
        return true;
    }
    refuse(response, 503,
           keeper->why.text[0] != '\0'
               ? keeper->why.text
               : "there is no spool: no route of the configuration has `delivery: spool`");
    return false;
}

static void on_streamed(void *arg);

static const struct http_later_ops later_ops = {.sent = on_streamed, .gone = on_gone};

static struct ask *new_ask(struct http_answer *response)
{
    struct ask *ask = calloc(1, sizeof *ask);
    if (ask == NULL) {
        response->body.failed = true;
        return NULL;
    }
    text_init(&ask->head, 0);
    ask->connection = response->connection;
    return ask;
}

/* After the call to the spool: the answer comes later, unless it failed. */
static void wait_for(struct ask *ask, int rv, struct http_answer *response)
{
    if (rv == 0) {
        http_answer_later(response, &later_ops, ask, ASK_MS);
    } else {
        response->body.failed = true; /* of memory */
        free_ask(ask);
    }
}

/* ---- What is asked for ---- */

struct wanted {
    char route[SPOOL_NAME_MAX + 1];
    char state[16];
    bool all;
    bool one;
    uint64_t id, after, limit;
};

/* An empty one would be as none, and a change that was meant for one route be made of all. */
static bool take_word(const char *value, size_t length, char *buffer, size_t size)
{
    if (length == 0 || length >= size) {
        return false;
    }
    memcpy(buffer, value, length);
    buffer[length] = '\0';
    return true;
}

static bool take_number(const char *value, size_t length, uint64_t *ret)
{
    return http_span_number((struct http_span){.data = value, .size = length}, ret);
}

static bool take_pair(struct wanted *wanted, const char *name, size_t name_size, const char *value,
                      size_t size)
{
    struct http_span key = {.data = name, .size = name_size};
    if (http_span_is(key, "route")) {
        return take_word(value, size, wanted->route, sizeof wanted->route);
    }
    if (http_span_is(key, "state")) {
        return take_word(value, size, wanted->state, sizeof wanted->state);
    }
    if (http_span_is(key, "all")) {
        wanted->all = true;
        return http_span_is((struct http_span){.data = value, .size = size}, "yes");
    }
    if (http_span_is(key, "id")) {
        wanted->one = true;
        return take_number(value, size, &wanted->id);
    }
    if (http_span_is(key, "after")) {
        return take_number(value, size, &wanted->after);
    }
    return http_span_is(key, "limit") && take_number(value, size, &wanted->limit);
}

/* "a=1&b=2"; no %-escape is in a name of ours. */
static bool read_query(const char *query, struct wanted *ret)
{
    *ret = (struct wanted){.all = false};
    while (*query != '\0') {
        size_t size = strcspn(query, "&");
        const char *equals = memchr(query, '=', size);
        if (equals == NULL || !take_pair(ret, query, (size_t)(equals - query), equals + 1,
                                         size - (size_t)(equals - query) - 1)) {
            return false;
        }
        query += size;
        query += *query == '&';
    }
    return true;
}

static bool make_query(const struct wanted *wanted, struct spool_query *ret)
{
    *ret = (struct spool_query){
        .route = wanted->route[0] != '\0' ? wanted->route : NULL,
        .after = wanted->after,
        .limit = wanted->limit < SPOOL_LIST_MAX ? (size_t)wanted->limit : 0,
    };
    for (unsigned i = 0; i < SPOOL_STATES && wanted->state[0] != '\0'; i++) {
        if (strcmp(spool_state_word((enum spool_state)i), wanted->state) == 0) {
            ret->states = 1U << i;
        }
    }
    return wanted->state[0] == '\0' || ret->states != 0;
}

/* ---- Lists ---- */

static void on_listed(void *arg, int result, const struct spool_record *records, size_t count, uint64_t next,
                      const struct error *err)
{
    struct ask *ask = arg;
    ask->call = NULL;
    conclude(ask, result, result == 0 ? spool_json_list(records, count, next) : NULL, err);
}

void spool_answer_list(struct spool_keeper *keeper, const struct config *config,
                       const struct http_message *request, struct http_answer *response)
{
    struct wanted wanted;
    struct spool_query query;
    (void)config;
    if (!is_open(keeper, response)) {
        return;
    }
    if (!read_query(request->query, &wanted) || wanted.one || wanted.all || !make_query(&wanted, &query)) {
        refuse(response, 400,
               "/spool/list takes route, state (ready, waiting, dead or damaged), after and limit");
        return;
    }
    struct ask *ask = new_ask(response);
    if (ask != NULL) {
        wait_for(ask, spool_list(keeper->port, &query, on_listed, ask, &ask->call), response);
    }
}

/* ---- Changes ---- */

static void on_altered(void *arg, int result, uint64_t count, const struct error *err)
{
    struct ask *ask = arg;
    ask->call = NULL;
    conclude(ask, result, json_pack("{s:I}", "changed", (json_int_t)count), err);
}

/* Whoever retries has mended the upstream, or wants to know: a route that is held is not to make them wait. */
static void on_retried(void *arg, int result, uint64_t count, const struct error *err)
{
    struct ask *ask = arg;
    const char *route = spool_call_route(ask->call);
    struct error late;
    int rv = 0;
    if (result == 0 && ask->keeper->probe != NULL && (route != NULL || ask->all)) {
        rv = ask->keeper->probe(ask->keeper->data, route);
    }
    if (rv != 0) {
        result =
            error_errno(&late, rv,
                        "%llu record%s ready to be delivered, but a route that is held does not probe its "
                        "upstream before its time",
                        (unsigned long long)count, count == 1 ? " is" : "s are");
        err = &late;
    }
    on_altered(ask, result, count, err);
}

typedef int one_fn(struct spool_port *port, uint64_t id, spool_alter_cb cb, void *arg,
                   struct spool_call **ret);
typedef int all_fn(struct spool_port *port, const struct spool_query *query, spool_alter_cb cb, void *arg,
                   struct spool_call **ret);

static void answer_alter(struct spool_keeper *keeper, const struct http_message *request,
                         struct http_answer *response, one_fn *one, all_fn *all, spool_alter_cb altered)
{
    struct wanted wanted;
    struct spool_query query;
    if (!is_open(keeper, response)) {
        return;
    }
    bool good = read_query(request->query, &wanted) && make_query(&wanted, &query);
    bool filtered = wanted.route[0] != '\0' || wanted.state[0] != '\0';
    if (!good || wanted.one == wanted.all || (wanted.one && filtered)) {
        refuse(response, 400,
               "say which record: id=N, or all=yes with a route, a state, both or neither to go by");
        return;
    }
    struct ask *ask = new_ask(response);
    if (ask != NULL) {
        ask->keeper = keeper;
        ask->all = wanted.all;
        int rv = wanted.one ? one(keeper->port, wanted.id, altered, ask, &ask->call)
                            : all(keeper->port, &query, altered, ask, &ask->call);
        wait_for(ask, rv, response);
    }
}

void spool_answer_retry(struct spool_keeper *keeper, const struct config *config,
                        const struct http_message *request, struct http_answer *response)
{
    (void)config;
    answer_alter(keeper, request, response, spool_retry_one, spool_retry_all, on_retried);
}

void spool_answer_drop(struct spool_keeper *keeper, const struct config *config,
                       const struct http_message *request, struct http_answer *response)
{
    (void)config;
    answer_alter(keeper, request, response, spool_drop_one, spool_drop_all, on_altered);
}

static void on_verified(void *arg, int result, const struct spool_verdicts *verdicts, const struct error *err)
{
    struct ask *ask = arg;
    ask->call = NULL;
    conclude(ask, result, result == 0 ? spool_json_verdicts(verdicts) : NULL, err);
}

void spool_answer_verify(struct spool_keeper *keeper, const struct config *config,
                         const struct http_message *request, struct http_answer *response)
{
    (void)config;
    if (!is_open(keeper, response)) {
        return;
    }
    if (request->query[0] != '\0') {
        refuse(response, 400, "/spool/verify takes no parameters");
        return;
    }
    struct ask *ask = new_ask(response);
    if (ask != NULL) {
        wait_for(ask, spool_verify(keeper->port, on_verified, ask, &ask->call), response);
    }
}

/* ---- One record ---- */

static void begin_export(struct ask *ask)
{
    const struct spool_record *record = spool_take_record(ask->look);
    spool_json_head(record, &ask->head);
    if (ask->head.failed) {
        const struct error err = {.text = "out of memory"};
        conclude(ask, -ENOMEM, NULL, &err);
        return;
    }
    ask->begun = true;
    http_later_begin(ask->connection, "application/http", ask->head.length + record->body_size);
}

/* The head of the answer is out, then the head of the request, then each piece of its body. */
static void on_streamed(void *arg)
{
    struct ask *ask = arg;
    if (ask->begun) {
        ask->begun = false;
        ask->last = spool_take_record(ask->look)->body_size == 0;
        http_later_piece(ask->connection, ask->head.data, ask->head.length);
    } else if (ask->last) {
        free_ask(ask);
    } else {
        spool_take_read(ask->look);
    }
}

/* What is damaged must not be taken for a whole: the answer ends short of its length. */
static void on_data(void *arg, int result, const void *data, size_t size, bool last, const struct error *err)
{
    struct ask *ask = arg;
    (void)err;
    if (result != 0) {
        http_later_cut(ask->connection);
        free_ask(ask);
        return;
    }
    ask->last = last;
    http_later_piece(ask->connection, data, size);
}

static void on_ready(void *arg, int result, const struct error *err)
{
    struct ask *ask = arg;
    if (result == 0 && ask->with_body) {
        begin_export(ask);
    } else {
        conclude(ask, result, result == 0 ? spool_json_record(spool_take_record(ask->look)) : NULL, err);
    }
}

static const struct spool_take_ops look_ops = {.ready = on_ready, .data = on_data};

static void answer_look(struct spool_keeper *keeper, const struct http_message *request,
                        struct http_answer *response, bool with_body)
{
    struct wanted wanted;
    if (!is_open(keeper, response)) {
        return;
    }
    if (!read_query(request->query, &wanted) || !wanted.one) {
        refuse(response, 400, "say which record: id=N");
        return;
    }
    struct ask *ask = new_ask(response);
    if (ask != NULL) {
        ask->with_body = with_body;
        wait_for(ask, spool_look(keeper->port, wanted.id, &look_ops, ask, &ask->look), response);
    }
}

void spool_answer_show(struct spool_keeper *keeper, const struct config *config,
                       const struct http_message *request, struct http_answer *response)
{
    (void)config;
    answer_look(keeper, request, response, false);
}

void spool_answer_export(struct spool_keeper *keeper, const struct config *config,
                         const struct http_message *request, struct http_answer *response)
{
    (void)config;
    answer_look(keeper, request, response, true);
}

/* ---- Figures ---- */

void spool_answer_stats(struct spool_keeper *keeper, const struct config *config,
                        const struct http_message *request, struct http_answer *response)
{
    if (request->query[0] != '\0') {
        refuse(response, 400, "/spool/stats takes no parameters");
        return;
    }
    put_json(response, spool_json_stats(keeper, config));
}
