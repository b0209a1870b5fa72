/* The spool's metrics: see spool_metrics.h. Names of routes are of the configuration, so nothing in them is escaped. */
#include "daemon/spool_metrics.h"

#include "daemon/spool_keeper.h"
#include <inttypes.h>
#include <stddef.h>
#include <time.h>

static void add_family(struct text *out, const char *name, const char *type, const char *help)
{
    text_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_single(struct text *out, const char *name, const char *type, const char *help, uint64_t value)
{
    add_family(out, name, type, help);
    text_addf(out, "%s %" PRIu64 "\n", name, value);
}

struct family {
    struct text *out;
    const char *name;
    size_t at; /* in struct spool_stats */
};

static uint64_t figure(const struct spool_stats *stats, size_t at)
{
    return *(const uint64_t *)(const void *)((const char *)stats + at);
}

static void add_route(void *arg, const char *route, const char *enclave, const struct spool_stats *stats)
{
    const struct family *family = arg;
    (void)enclave;
    text_addf(family->out, "%s{route=\"%s\"} %" PRIu64 "\n", family->name, route, figure(stats, family->at));
}

static void add_states(void *arg, const char *route, const char *enclave, const struct spool_stats *stats)
{
    const struct family *family = arg;
    (void)enclave;
    for (unsigned i = 0; i < SPOOL_STATES; i++) {
        text_addf(family->out, "%s{route=\"%s\",state=\"%s\"} %" PRIu64 "\n", family->name, route,
                  spool_state_word((enum spool_state)i), figure(stats, family->at + i * sizeof(uint64_t)));
    }
}

static void add_age(void *arg, const char *route, const char *enclave, const struct spool_stats *stats)
{
    const struct family *family = arg;
    uint64_t now = (uint64_t)time(NULL), oldest = stats->oldest_at / 1000;
    (void)enclave;
    text_addf(family->out, "%s{route=\"%s\"} %" PRIu64 "\n", family->name, route,
              oldest > 0 && oldest < now ? now - oldest : 0);
}

static const struct {
    const char *name, *type, *help;
    size_t at;
    spool_each_cb add;
} families[] = {
    {"postern_spool_records", "gauge", "Records on the disk, those in flight included.",
     offsetof(struct spool_stats, records), add_states},
    {"postern_spool_bytes", "gauge", "What they take of the bounds, heads included.",
     offsetof(struct spool_stats, bytes), add_states},
    {"postern_spool_oldest_age_seconds", "gauge",
     "Age of the oldest record that is to be delivered; 0 when there is none.", 0, add_age},
    {"postern_spool_in_flight", "gauge", "Records being delivered now.",
     offsetof(struct spool_stats, in_flight), add_route},
    {"postern_spool_incoming_bytes", "gauge", "Of requests that are not durable yet.",
     offsetof(struct spool_stats, incoming_bytes), add_route},
    {"postern_spool_accepted_total", "counter", "Requests that became durable.",
     offsetof(struct spool_stats, accepted), add_route},
    {"postern_spool_refused_total", "counter", "Requests that a bound left no room for.",
     offsetof(struct spool_stats, refused), add_route},
    {"postern_spool_failed_total", "counter", "Requests that the disk, or want of memory, kept out.",
     offsetof(struct spool_stats, failed), add_route},
    {"postern_spool_died_total", "counter",
     "Records given up: too many attempts, too old, or refused for good.", offsetof(struct spool_stats, died),
     add_route},
};

static void add_attempts(const struct server_view *view, struct text *out)
{
    const struct config *config = view->config;
    const char *attempts = "postern_spool_attempts_total", *outcomes = "postern_spool_outcomes_total";
    const char *held = "postern_spool_held";
    const struct route_counters *route;
    add_family(out, attempts, "counter", "Attempts to deliver a record.");
    for (route = view->counters->routes; route != NULL; route = route->next) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < VERDICT_OUTCOMES; i++) {
            sum += counter_get(&route->deliveries[i]);
        }
        if (sum > 0 || spool_route(config, route->name) != NULL) {
            text_addf(out, "%s{route=\"%s\"} %" PRIu64 "\n", attempts, route->name, sum);
        }
    }
    add_family(out, outcomes, "counter",
               "Attempts by what became of them; those that did not reach the upstream are `unreached`.");
    for (route = view->counters->routes; route != NULL; route = route->next) {
        for (unsigned i = 0; i < VERDICT_OUTCOMES && spool_route(config, route->name) != NULL; i++) {
            text_addf(out, "%s{route=\"%s\",outcome=\"%s\"} %" PRIu64 "\n", outcomes, route->name,
                      verdict_word((enum verdict_outcome)i), counter_get(&route->deliveries[i]));
        }
    }
    add_family(out, held, "gauge",
               "1 while the route's upstream is down or refuses all, and is only probed; else 0.");
    for (route = view->counters->routes; route != NULL; route = route->next) {
        if (spool_route(config, route->name) != NULL) {
            text_addf(out, "%s{route=\"%s\"} %" PRIu64 "\n", held, route->name, counter_get(&route->held));
        }
    }
}

static void add_health(const struct spool_keeper *keeper, struct text *out)
{
    struct spool_health health = {.result = -1};
    if (keeper->spool != NULL) {
        spool_health(keeper->spool, &health);
    }
    add_single(out, "postern_spool_up", "gauge",
               "1 if the spool is open, and its last transaction was good: requests can be kept.",
               health.result == 0);
    if (keeper->spool != NULL) {
        add_single(out, "postern_spool_commits_total", "counter", "Transactions, each with one sync.",
                   health.commits);
        add_single(out, "postern_spool_settled_total", "counter",
                   "Puts, removals and changes in them; by commits: how well they share syncs.",
                   health.settled);
    }
}

void spool_metrics_write(const struct server_view *view, struct text *out)
{
    const struct spool_keeper *keeper = view->spool;
    if (keeper == NULL || (keeper->spool == NULL && keeper->why.text[0] == '\0')) {
        return;
    }
    add_health(keeper, out);
    for (size_t i = 0; i < ARRAY_SIZE(families) && keeper->spool != NULL; i++) {
        struct family family = {.out = out, .name = families[i].name, .at = families[i].at};
        add_family(out, families[i].name, families[i].type, families[i].help);
        spool_each_route(keeper->spool, families[i].add, &family);
    }
    add_attempts(view, out);
}
