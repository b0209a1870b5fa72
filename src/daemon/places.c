/* Places: see places.h. */
#include "daemon/places.h"

#include <stdatomic.h>

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
