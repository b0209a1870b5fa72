/* Places: see places.h. */
#include "daemon/places.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

/* Adds one to the gauge unless that would pass `most`. */
static bool take_place(counter *active, uint64_t most)
{
    if (atomic_fetch_add_explicit(active, 1, memory_order_relaxed) < most) {
        return true;
    }
    counter_sub(active, 1);
    return false;
}

/* Whoever takes the last place of the daemon away while it drains says so, even if no stream ever had it. */
static void leave_daemon(struct worker_set *set, counter *active)
{
    bool last = atomic_fetch_sub_explicit(active, 1, memory_order_seq_cst) == 1;
    if (last && atomic_load(&set->draining)) {
        set->emptied(set->data);
    }
}

static bool enter_daemon(struct worker_set *set, counter *active, uint64_t most)
{
    if (atomic_fetch_add_explicit(active, 1, memory_order_relaxed) < most) {
        return true;
    }
    leave_daemon(set, active);
    return false;
}

enum reason places_take_stream(struct worker_set *set, const struct rules *rules, unsigned route, int enclave)
{
    const struct config *config = rules->config;
    if (!enter_daemon(set, &rules->counters->active, config->max_streams)) {
        return REASON_LIMIT_DAEMON;
    }
    uint64_t enclave_most = enclave != CONFIG_NOBODY ? config->enclaves[enclave].max_streams : UINT64_MAX;
    if (!take_place(&rules_enclave(rules, enclave)->active, enclave_most)) {
        leave_daemon(set, &rules->counters->active);
        return REASON_LIMIT_ENCLAVE;
    }
    if (!take_place(&rules->routes[route]->active, config->routes[route].max_streams)) {
        counter_sub(&rules_enclave(rules, enclave)->active, 1);
        leave_daemon(set, &rules->counters->active);
        return REASON_LIMIT_ROUTE;
    }
    return REASON_NONE;
}

void places_give_stream(struct worker_set *set, const struct rules *rules, unsigned route, int enclave)
{
    counter_sub(&rules->routes[route]->active, 1);
    counter_sub(&rules_enclave(rules, enclave)->active, 1);
    leave_daemon(set, &rules->counters->active);
}

enum reason places_take_session(struct worker_set *set, const struct rules *rules, int enclave)
{
    const struct config *config = rules->config;
    if (!enter_daemon(set, &rules->counters->sessions, config->max_sessions)) {
        return REASON_LIMIT_DAEMON;
    }
    uint64_t enclave_most = enclave != CONFIG_NOBODY ? config->enclaves[enclave].max_sessions : UINT64_MAX;
    if (!take_place(&rules_enclave(rules, enclave)->sessions_active, enclave_most)) {
        leave_daemon(set, &rules->counters->sessions);
        return REASON_LIMIT_ENCLAVE;
    }
    return REASON_NONE;
}

void places_give_session(struct worker_set *set, const struct rules *rules, int enclave)
{
    counter_sub(&rules_enclave(rules, enclave)->sessions_active, 1);
    leave_daemon(set, &rules->counters->sessions);
}

static const char *tell(const counter *active, uint64_t most, const char *key, char buffer[PLACES_TEXT_MAX])
{
    uint64_t open = counter_get(active);
    snprintf(buffer, PLACES_TEXT_MAX, "%" PRIu64 " of %s %" PRIu64 " are open", open > most ? open : most,
             key, most);
    return buffer;
}

const char *places_tell_stream(const struct rules *rules, int route, int enclave, enum reason why,
                               char buffer[PLACES_TEXT_MAX])
{
    const struct config *config = rules->config;
    switch (why) {
    case REASON_LIMIT_DAEMON:
        return tell(&rules->counters->active, config->max_streams, "limits.max_streams", buffer);
    case REASON_LIMIT_ENCLAVE:
        return tell(&rules_enclave(rules, enclave)->active, config->enclaves[enclave].max_streams,
                    "the enclave's max_streams", buffer);
    case REASON_LIMIT_ROUTE:
        return tell(&rules->routes[route]->active, config->routes[route].max_streams,
                    "the route's max_streams", buffer);
    default:
        return NULL;
    }
}

const char *places_tell_session(const struct rules *rules, int enclave, enum reason why,
                                char buffer[PLACES_TEXT_MAX])
{
    const struct config *config = rules->config;
    switch (why) {
    case REASON_LIMIT_DAEMON:
        return tell(&rules->counters->sessions, config->max_sessions, "limits.max_sessions", buffer);
    case REASON_LIMIT_ENCLAVE:
        return tell(&rules_enclave(rules, enclave)->sessions_active, config->enclaves[enclave].max_sessions,
                    "the enclave's max_sessions", buffer);
    default:
        return NULL;
    }
}
