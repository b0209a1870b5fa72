/* The admin and the metrics listener: paths, methods, and the answers. */
#include "daemon/admin.h"
#include "base/error.h"
#include "base/units.h"
#include "daemon/metrics.h"
#include "daemon/spool_admin.h"
#include "daemon/status.h"
#include <errno.h>
#include <string.h>

#define DRAIN_MAX_MS (UINT64_C(30) * 24 * 3600 * 1000) /* as of drain_timeout */

typedef void (*answer_fn)(struct server *server, const struct http_message *request,
                          struct http_answer *response);

struct resource {
    const char *path;
    bool command; /* POST, else GET */
    bool admin_only;
    answer_fn answer;
};

static void answer_metrics(struct server *server, const struct http_message *request,
                           struct http_answer *response)
{
    (void)request;
    response->content_type = METRICS_CONTENT_TYPE;
    metrics_write(server_view(server), &response->body);
}

static void answer_healthz(struct server *server, const struct http_message *request,
                           struct http_answer *response)
{
    (void)request;
    char duration[UNITS_TEXT_MAX];
    const struct server_view *view = server_view(server);
    for (unsigned i = 0; i < view->worker_count; i++) {
        if (view->workers[i].busy_ms >= ADMIN_HUNG_MS) {
            response->status = 503;
            text_addf(&response->body, "worker %u has not returned to its event loop for %s\n", i,
                      units_human_duration(view->workers[i].busy_ms, duration));
        }
    }
    if (response->status == 200) {
        text_add(&response->body, "ok\n");
    }
}

static void answer_readyz(struct server *server, const struct http_message *request,
                          struct http_answer *response)
{
    (void)request;
    const struct server_view *view = server_view(server);
    response->status = view->state == SERVER_READY ? 200 : 503;
    text_addf(&response->body, "%s\n", status_state_word(view->state));
}

static void answer_status(struct server *server, const struct http_message *request,
                          struct http_answer *response)
{
    (void)request;
    response->content_type = "application/json";
    if (status_write(server_view(server), &response->body) != 0) {
        response->body.failed = true; /* the HTTP server says so */
    }
}

/* Ends what the verdict says with a newline, and says something when it is empty. */
static void end_verdict(struct text *verdict, const char *otherwise)
{
    if (verdict->length == 0) {
        text_add(verdict, otherwise);
    }
    if (verdict->length > 0 && verdict->data[verdict->length - 1] != '\n') {
        text_add_char(verdict, '\n');
    }
}

static void answer_reload(struct server *server, const struct http_message *request,
                          struct http_answer *response)
{
    if (request->query[0] != '\0') {
        response->status = 400;
        text_add(&response->body, "/reload takes no parameters\n");
        return;
    }
    int r = server_reload(server, &response->body);
    response->status = r == 0 ? 200 : r == -EBUSY ? 409 : 422;
    end_verdict(&response->body, r == 0 ? "the configuration was read again" : error_words(r));
}

static void answer_drain(struct server *server, const struct http_message *request,
                         struct http_answer *response)
{
    char value[UNITS_TEXT_MAX];
    uint64_t deadline_ms = 0;
    int r = http_query_value(request->query, "deadline", value, sizeof value);
    if (r > 0) {
        r = units_parse_duration(value, &deadline_ms);
        deadline_ms = deadline_ms > 0 ? deadline_ms : 1; /* 0 would be the default */
    }
    if (r < 0 || deadline_ms > DRAIN_MAX_MS) {
        response->status = 400;
        text_add(&response->body,
                 "/drain takes one parameter, deadline, a duration up to 30d: /drain?deadline=30s\n");
        return;
    }
    server_drain(server, deadline_ms);
    const struct server_view *view = server_view(server);
    response->status = 202;
    unsigned long long streams = counter_get(&view->counters->active);
    text_addf(&response->body, "draining: %llu stream%s with at most %s to finish\n", streams,
              units_plural(streams), units_human_duration(view->drain_left_ms, value));
}

#define SPOOL_ANSWER(name)                                                                         \
    static void answer_spool_##name(struct server *server, const struct http_message *request,     \
                                    struct http_answer *response)                                  \
    {                                                                                              \
        spool_answer_##name(server_spool(server), server_view(server)->config, request, response); \
    }

SPOOL_ANSWER(stats)
SPOOL_ANSWER(list)
SPOOL_ANSWER(show)
SPOOL_ANSWER(export)
SPOOL_ANSWER(retry)
SPOOL_ANSWER(drop)
SPOOL_ANSWER(verify)

static const struct resource resources[] = {
    {"/metrics", false, false, answer_metrics},
    {"/healthz", false, false, answer_healthz},
    {"/readyz", false, false, answer_readyz},
    {"/status", false, true, answer_status},
    {"/reload", true, true, answer_reload},
    {"/drain", true, true, answer_drain},
    {"/spool/stats", false, true, answer_spool_stats},
    {"/spool/list", false, true, answer_spool_list},
    {"/spool/show", false, true, answer_spool_show},
    {"/spool/export", false, true, answer_spool_export},
    {"/spool/retry", true, true, answer_spool_retry},
    {"/spool/drop", true, true, answer_spool_drop},
    {"/spool/verify", true, true, answer_spool_verify},
};

static const struct resource *find_resource(const char *path, enum admin_role role)
{
    for (size_t i = 0; i < ARRAY_SIZE(resources); i++) {
        if (strcmp(resources[i].path, path) == 0 && (role == ADMIN_ROLE_ADMIN || !resources[i].admin_only)) {
            return &resources[i];
        }
    }
    return NULL;
}

static void answer_not_found(enum admin_role role, struct http_answer *response)
{
    response->status = 404;
    text_add(&response->body, "there is no such page here; there are:\n");
    for (size_t i = 0; i < ARRAY_SIZE(resources); i++) {
        if (role == ADMIN_ROLE_ADMIN || !resources[i].admin_only) {
            text_addf(&response->body, "%s %s\n", resources[i].command ? "POST" : "GET ", resources[i].path);
        }
    }
}

static bool method_fits(const struct resource *resource, const char *method)
{
    return strcmp(method, resource->command ? "POST" : "GET") == 0;
}

static void answer_wrong_method(const struct resource *resource, struct http_answer *response)
{
    response->status = 405;
    response->allow = resource->command ? "POST" : "GET";
    text_addf(&response->body, "%s takes %s\n", resource->path, response->allow);
}

void admin_answer(struct server *server, enum admin_role role, const struct http_message *request,
                  struct http_answer *response)
{
    static const struct resource read_only = {.path = "this listener"};
    const struct resource *resource = find_resource(request->path, role);
    if (role == ADMIN_ROLE_METRICS && !method_fits(&read_only, request->method)) {
        answer_wrong_method(&read_only, response);
    } else if (resource == NULL) {
        answer_not_found(role, response);
    } else if (!method_fits(resource, request->method)) {
        answer_wrong_method(resource, response);
    } else if (resource->command && http_message_header(request, "Origin") != NULL) {
        response->status = 403;
        text_add(&response->body, "a web page may not do this; use posternctl\n");
    } else {
        resource->answer(server, request, response);
    }
}

static void on_request(void *data, const struct http_message *request, struct http_answer *response)
{
    struct admin *admin = data;
    admin_answer(admin->server, admin->role, request, response);
}

int admin_start(struct admin *admin, uv_loop_t *loop, int fd, enum admin_role role, struct server *server)
{
    admin->server = server;
    admin->role = role;
    return http_server_start(&admin->http, loop, fd, on_request, admin);
}

void admin_close(struct admin *admin, void (*cb)(void *data), void *data)
{
    http_server_close(&admin->http, cb, data);
}
