/* The spool in JSON: see spool_json.h. */
#include "daemon/spool_json.h"

#include "forward/intake.h"
#include <string.h>
#include <time.h>

static json_int_t number(uint64_t value)
{
    return (json_int_t)value;
}

/* What is kept is ASCII by the rules of the intake; a record that was damaged may be anything. */
static json_t *string(const char *data, size_t size)
{
    json_t *json = json_stringn(data, size);
    return json != NULL ? json : json_string("(not text)");
}

static void put(json_t **object, const char *key, json_t *value)
{
    if (*object != NULL && json_object_set_new(*object, key, value) != 0) {
        json_decref(*object);
        *object = NULL;
    } else if (*object == NULL) {
        json_decref(value);
    }
}

static void put_number(json_t **object, const char *key, uint64_t value)
{
    put(object, key, json_integer(number(value)));
}

static void append(json_t **array, json_t *value)
{
    if (*array != NULL && json_array_append_new(*array, value) != 0) {
        json_decref(*array);
        *array = NULL;
    } else if (*array == NULL) {
        json_decref(value);
    }
}

/* ---- Records ---- */

void spool_json_head(const struct spool_record *record, struct text *out)
{
    struct intake_origin origin;
    const char *head = record->head;
    if (intake_origin_read(head, record->head_size, &origin) && record->head_size >= origin.head_at + 2) {
        text_add_bytes(out, head + origin.head_at, record->head_size - origin.head_at - 2);
    }
    text_addf(out, "content-length: %llu\r\n\r\n", (unsigned long long)record->body_size);
}

static void put_head(json_t **object, const struct spool_record *record)
{
    struct intake_origin origin;
    struct text head = TEXT_INIT;
    if (record->head == NULL) {
        return;
    }
    if (intake_origin_read(record->head, record->head_size, &origin)) {
        put_number(object, "cid", origin.cid);
        put(object, "request_id", string(origin.request_id, strlen(origin.request_id)));
    }
    spool_json_head(record, &head);
    put(object, "head", head.failed ? NULL : string(text_string(&head), head.length));
    text_release(&head);
}

json_t *spool_json_record(const struct spool_record *record)
{
    json_t *object = json_object();
    put_number(&object, "id", record->id);
    put(&object, "route", string(record->route, strlen(record->route)));
    put(&object, "enclave", string(record->enclave, strlen(record->enclave)));
    put(&object, "state", json_string(spool_state_word(record->state)));
    put(&object, "key", string(record->key, strlen(record->key)));
    put_number(&object, "body_size", record->body_size);
    put_number(&object, "attempts", record->attempts);
    put_number(&object, "created_at", record->created_at);
    put_number(&object, "next_at", record->state == SPOOL_WAITING ? record->next_at : 0);
    put(&object, "cause", string(record->cause, strlen(record->cause)));
    put_head(&object, record);
    return object;
}

json_t *spool_json_list(const struct spool_record *records, size_t count, uint64_t next)
{
    json_t *object = json_object(), *array = json_array();
    for (size_t i = 0; i < count; i++) {
        append(&array, spool_json_record(&records[i]));
    }
    put(&object, "records", array);
    put_number(&object, "next", next);
    return object;
}

json_t *spool_json_verdicts(const struct spool_verdicts *verdicts)
{
    json_t *object = json_object();
    put_number(&object, "records", verdicts->records);
    put_number(&object, "bytes", verdicts->bytes);
    put_number(&object, "damaged", verdicts->damaged);
    put(&object, "gauges_mended", json_boolean(verdicts->tally_wrong));
    return object;
}

/* ---- Figures ---- */

static void put_states(json_t **object, const char *key, const uint64_t values[SPOOL_STATES])
{
    json_t *states = json_object();
    for (unsigned i = 0; i < SPOOL_STATES; i++) {
        put_number(&states, spool_state_word((enum spool_state)i), values[i]);
    }
    put(object, key, states);
}

static void put_kept(json_t **object, const struct spool_stats *stats)
{
    put_states(object, "records", stats->records);
    put_states(object, "bytes", stats->bytes);
    put_number(object, "incoming_bytes", stats->incoming_bytes);
}

static void put_flow(json_t **object, const struct spool_stats *stats)
{
    uint64_t now = (uint64_t)time(NULL);
    uint64_t oldest = stats->oldest_at / 1000;
    put_number(object, "in_flight", stats->in_flight);
    put_number(object, "oldest_age_s", oldest > 0 && oldest < now ? now - oldest : 0);
    put_number(object, "accepted", stats->accepted);
    put_number(object, "refused", stats->refused);
    put_number(object, "failed", stats->failed);
    put_number(object, "delivered", stats->delivered);
    put_number(object, "retried", stats->retried);
    put_number(object, "died", stats->died);
}

struct listing {
    const struct spool_keeper *keeper;
    const struct config *config;
    json_t *array;
};

static bool is_held(const struct spool_keeper *keeper, const char *name)
{
    const struct route_counters *route = keeper->counters != NULL ? keeper->counters->routes : NULL;
    while (route != NULL && strcmp(route->name, name) != 0) {
        route = route->next;
    }
    return route != NULL && counter_get(&route->held) != 0;
}

static void add_route(void *arg, const char *route, const char *enclave, const struct spool_stats *stats)
{
    struct listing *listing = arg;
    json_t *object = json_object();
    (void)enclave;
    put(&object, "route", string(route, strlen(route)));
    put(&object, "configured", json_boolean(spool_route(listing->config, route) != NULL));
    put(&object, "held", json_boolean(is_held(listing->keeper, route)));
    put_kept(&object, stats);
    put_flow(&object, stats);
    append(&listing->array, object);
}

static void add_enclave(void *arg, const char *route, const char *enclave, const struct spool_stats *stats)
{
    struct listing *listing = arg;
    json_t *object = json_object();
    put(&object, "route", string(route, strlen(route)));
    put(&object, "enclave", string(enclave, strlen(enclave)));
    put_kept(&object, stats);
    append(&listing->array, object);
}

static json_t *health_of(struct spool *spool)
{
    struct spool_health health;
    json_t *object = json_object();
    spool_health(spool, &health);
    put(&object, "good", json_boolean(health.result == 0));
    put(&object, "error",
        health.result != 0 ? string(health.error.text, strlen(health.error.text)) : json_null());
    put_number(&object, "commits", health.commits);
    put_number(&object, "settled", health.settled);
    return object;
}

static json_t *listed(const struct spool_keeper *keeper, const struct config *config,
                      void (*each)(struct spool *spool, spool_each_cb cb, void *arg), spool_each_cb add)
{
    struct listing listing = {.keeper = keeper, .config = config, .array = json_array()};
    each(keeper->spool, add, &listing);
    return listing.array;
}

json_t *spool_json_stats(const struct spool_keeper *keeper, const struct config *config)
{
    json_t *object = json_object();
    struct spool_stats stats;
    const char *path = keeper->path != NULL ? keeper->path : config->spool.path;
    put(&object, "path", string(path, strlen(path)));
    put(&object, "open", json_boolean(keeper->spool != NULL));
    put(&object, "error",
        keeper->why.text[0] != '\0' ? string(keeper->why.text, strlen(keeper->why.text)) : json_null());
    if (keeper->spool == NULL) {
        return object;
    }
    spool_stats(keeper->spool, NULL, &stats);
    put_number(&object, "max_bytes", config->spool.max_bytes);
    put_kept(&object, &stats);
    put_flow(&object, &stats);
    put(&object, "health", health_of(keeper->spool));
    put(&object, "routes", listed(keeper, config, spool_each_route, add_route));
    put(&object, "enclaves", listed(keeper, config, spool_each_enclave, add_enclave));
    return object;
}
