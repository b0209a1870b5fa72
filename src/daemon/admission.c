/*
 * Admission: see admission.h. The order matters: who may not come in must not be able to use up the
 * limits of those who may.
 */
#include "daemon/admission.h"

#include "config/policy.h"
#include "daemon/sessions.h"
#include "daemon/streams.h"
#include "net/sock.h"
#include <unistd.h>

static const struct config_listener *door_listener(const struct door *door)
{
    return &door->rules->config->listeners[door->id];
}

/* The kernel vouches for a CID. Other families carry none: `peer` of the listener says whom they count as. */
static struct caller identify(const struct door *door, const struct sockaddr_any *peer)
{
    struct caller caller = {.kind = sock_kind(peer)};
    if (caller.kind == ADDR_VSOCK) {
        caller.cid = sock_peer_cid(peer);
        caller.enclave = policy_enclave_by_cid(door->rules->config, caller.cid);
    } else {
        caller.enclave = door_listener(door)->peer;
    }
    return caller;
}

/* Handing over costs a wake-up, so a tie, or a difference of one, stays here. */
static struct worker *least_loaded(struct worker *here)
{
    struct worker *best = here;
    uint64_t least = counter_get(&here->active);
    for (unsigned i = 0; i < here->set->count; i++) {
        uint64_t active = counter_get(&here->set->workers[i].active);
        if (active + 1 < least) {
            least = active;
            best = &here->set->workers[i];
        }
    }
    return best;
}

static void decide_stream(struct door *door, const struct caller *caller, enum reason why, int fd,
                          const struct sockaddr_any *peer)
{
    struct worker *worker = least_loaded(door->worker);
    struct stream_request request = {.rules = door->rules,
                                     .listener = door->id,
                                     .route = door_listener(door)->route,
                                     .caller = caller};
    struct stream_record *record;
    if (why == REASON_NONE) {
        why = stream_admit(worker, &request, &record);
    }
    if (why == REASON_NONE) {
        stream_begin_socket(record, door->worker, fd);
        return;
    }
    char text[ADDR_TEXT_MAX];
    counters_refuse(door->rules->listeners[door->id], why);
    stream_refused(door->worker, &request, why, sockaddr_format(peer, text), NULL);
    sock_set_abort(fd);
    close(fd);
}

void admission_decide(struct door *door, int fd, const struct sockaddr_any *peer)
{
    struct caller caller = identify(door, peer);
    counter_add(&door->rules->listeners[door->id]->accepted, 1);
    enum reason why = policy_listener(door_listener(door), caller.enclave);
    if (why == REASON_NONE && door->draining) {
        why = REASON_DRAINING;
    }
    if (door_listener(door)->protocol == CONFIG_FRAMED) {
        session_decide(door, &caller, why, fd, peer);
    } else {
        decide_stream(door, &caller, why, fd, peer);
    }
}

void admission_shed(struct door *door, int code, unsigned count)
{
    struct log_line line;
    int route = door_listener(door)->route;
    counter_add(&door->rules->listeners[door->id]->accept_errors, 1);
    counter_add(&door->rules->listeners[door->id]->refused, count);
    if (route != CONFIG_NO_ROUTE) {
        counter_add(&door->rules->routes[route]->ended[REASON_NO_DESCRIPTORS], count);
    }
    log_begin_limited(&line, &door->worker->log_refused, LOG_LEVEL_ERROR, "accept failed");
    log_str(&line, "reason", count > 0 ? reason_word(REASON_NO_DESCRIPTORS) : NULL);
    log_str(&line, "listener", door_listener(door)->name);
    log_str(&line, "detail", error_words(code));
    log_u64(&line, "reset", count);
    log_end(&line);
}
