/* Sessions: see sessions.h. */
#include "daemon/sessions.h"

#include "config/policy.h"
#include "daemon/places.h"
#include "daemon/streams.h"
#include "framed/channel_stream.h"
#include "framed/session_io.h"
#include "session/frame.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* For how long a caller is waited for at the daemon's end. */
#define PARTING_MS 500

/* One allocation, from admission to the end. */
struct session_record {
    struct session_io io;
    struct job job; /* the way to another worker */
    struct worker *worker;
    struct rules *rules; /* one reference: the newest that know its listener and its caller */
    unsigned listener;   /* id in those rules */
    struct caller caller;
    uint64_t number;
    int fd;       /* until it begins */
    bool leaving; /* GOAWAY was said */
    uint64_t began_at;
    uint64_t refused; /* streams */
    uint64_t stream_stalls, session_stalls,
        unsupported;                   /* of the session's own figures, those already counted */
    char build[CONTROL_BUILD_MAX + 1]; /* the caller's program, "" until it said so */
    LIST_ENTRY(session_record) link;
};

static struct session_record *of(struct session_io *io)
{
    return CONTAINER_OF(io, struct session_record, io);
}

static const struct config_listener *listener_of(const struct session_record *record)
{
    return &record->rules->config->listeners[record->listener];
}

static struct enclave_counters *enclave_of(const struct session_record *record)
{
    return rules_enclave(record->rules, record->caller.enclave);
}

/* ---- The books ---- */

static void log_whose(const struct session_record *record, struct log_line *line)
{
    log_u64(line, "session", record->number);
    caller_log(&record->caller, record->rules, line);
    log_str(line, "listener", listener_of(record)->name);
    log_str(line, "client", record->build[0] != '\0' ? record->build : NULL);
}

static void log_began(struct session_record *record)
{
    struct log_line line;
    log_begin_limited(&line, &record->worker->log_ended, LOG_LEVEL_INFO, "session began");
    log_whose(record, &line);
    log_end(&line);
}

/* An orderly end is of whoever said goodbye first. */
static bool is_by_client(const struct session_record *record, const struct session_end *end)
{
    return end->by_peer || (end->code == CODE_NO_ERROR && !record->leaving);
}

static void log_ended(struct session_record *record, const struct session_end *end,
                      const struct session_stats *stats)
{
    bool expected = end->code == CODE_NO_ERROR || (end->code == CODE_GOING_AWAY && !end->by_peer);
    struct log_line line;
    log_begin_limited(&line, &record->worker->log_ended, expected ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
                      "session ended");
    log_str(&line, "code", code_word(end->code));
    log_str(&line, "by", is_by_client(record, end) ? "client" : "daemon");
    log_whose(record, &line);
    log_u64(&line, "streams", stats->accepted);
    log_u64(&line, "refused", record->refused);
    log_u64(&line, "bytes_in", stats->bytes_received);
    log_u64(&line, "bytes_out", stats->bytes_sent);
    log_ms(&line, "rtt", stats->rtt_ms);
    log_ms(&line, "duration", loop_now(&record->worker->loop) - record->began_at);
    log_str(&line, "detail", end->text != NULL && end->text[0] != '\0' ? end->text : NULL);
    log_end(&line);
}

/* What the session counts by itself goes to the counters by differences, now and then and at its end. */
static void note_stats(struct session_record *record, const struct session_stats *stats)
{
    counter_add(&enclave_of(record)->stream_stalls, stats->stream_stalls - record->stream_stalls);
    counter_add(&enclave_of(record)->session_stalls, stats->session_stalls - record->session_stalls);
    counter_add(&record->rules->counters->opens_refused[OPEN_UNSUPPORTED],
                stats->unsupported - record->unsupported);
    record->refused += stats->unsupported - record->unsupported;
    record->stream_stalls = stats->stream_stalls;
    record->session_stalls = stats->session_stalls;
    record->unsupported = stats->unsupported;
}

/* The end of what was admitted. Whoever reads of it in the log finds it counted. */
static void leave(struct session_record *record, const struct session_end *end,
                  const struct session_stats *stats)
{
    note_stats(record, stats);
    counter_add(&record->rules->counters->sessions_ended[session_code(end->code)], 1);
    counter_sub(&record->worker->sessions_active, 1);
    places_give_session(record->worker->set, record->rules, record->caller.enclave);
    log_ended(record, end, stats);
    LIST_REMOVE(record, link);
    rules_unref(record->rules);
    free(record);
}

/* ---- What a session tells ---- */

static void on_ready(struct session_io *io, const struct control_hello *peer)
{
    struct session_record *record = of(io);
    memcpy(record->build, peer->build.data != NULL ? peer->build.data : "", peer->build.length);
    record->build[peer->build.length] = '\0';
    log_began(record);
}

static void refuse_open(struct session_record *record, const struct stream_request *request, enum reason why,
                        struct channel *channel, const struct control_open *open)
{
    record->refused++;
    stream_refused(record->worker, request, why, NULL, &open->route);
    channel_refuse(channel, code_of_reason(why), reason_meaning(why), reason_retryable(why));
    channel_release(channel);
}

/* Requests may be asked for only where they are understood. Bytes may be requests, too. */
static bool is_kind_of(const struct session_record *record, int route, const struct control_open *open)
{
    enum config_type type = record->rules->config->routes[route].type;
    return open->kind == CONTROL_KIND_BYTES || type == CONFIG_FORWARD || type == CONFIG_CONNECT;
}

static void refuse_kind(struct session_record *record, const struct stream_request *request,
                        struct channel *channel)
{
    record->refused++;
    stream_refused_for_kind(record->worker, request);
    channel_refuse(channel, CODE_UNSUPPORTED, NULL, false);
    channel_release(channel);
}

static void on_open(struct session_io *io, struct channel *channel, const struct control_open *open)
{
    struct session_record *record = of(io);
    struct stream_request request = {.rules = record->rules,
                                     .listener = record->listener,
                                     .route = CONFIG_NO_ROUTE,
                                     .caller = &record->caller,
                                     .session = record->number};
    struct stream_record *stream;
    enum reason why = policy_route(listener_of(record), record->caller.enclave, open->route.data,
                                   open->route.length, &request.route);
    if (why == REASON_NONE && !is_kind_of(record, request.route, open)) {
        refuse_kind(record, &request, channel);
        return;
    }
    if (why == REASON_NONE && record->leaving) {
        why = REASON_DRAINING;
    }
    if (why == REASON_NONE) {
        why = stream_admit(record->worker, &request, &stream);
    }
    if (why == REASON_NONE) {
        stream_begin_channel(stream, io, channel, open);
    } else {
        refuse_open(record, &request, why, channel, open);
    }
}

static void on_pong(struct session_io *io, uint64_t rtt_ms)
{
    struct session_record *record = of(io);
    struct session_stats stats;
    histogram_add(&record->rules->counters->round_trip, rtt_ms * 1000);
    session_stats(io->session, &stats);
    note_stats(record, &stats);
}

static void on_ended(struct session_io *io, const struct session_end *end)
{
    struct session_stats stats;
    session_stats(io->session, &stats);
    leave(of(io), end, &stats);
}

static const struct session_io_ops session_ops = {.ready = on_ready,
                                                  .open = on_open,
                                                  .pong = on_pong,
                                                  .ended = on_ended};

/* ---- Beginning ---- */

static void configure(const struct session_record *record, struct session_config *ret)
{
    const struct config *config = record->rules->config;
    session_config_default(ret, SESSION_SERVER);
    ret->max_streams = config->enclaves[record->caller.enclave].max_streams;
    ret->max_own_streams = 0;
    ret->max_kind = CONTROL_KIND_HTTP;
    ret->budget = config->sessions.budget;
    ret->handshake_timeout = (uint32_t)config->sessions.handshake_timeout_ms;
    ret->ping_interval = (uint32_t)config->sessions.ping_interval_ms;
    ret->pong_timeout = (uint32_t)config->sessions.pong_timeout_ms;
    /* The routes have timeouts of their own, which may be longer. */
    ret->progress_timeout = 0;
    ret->half_closed_timeout = 0;
    ret->hash_seed = 0; /* a random one is made */
    ret->build = "posternd " POSTERN_VERSION;
}

static void say_goaway(struct session_record *record, uint64_t deadline_ms)
{
    record->leaving = true;
    session_io_drain(&record->io, deadline_ms < UINT32_MAX ? (uint32_t)deadline_ms : UINT32_MAX);
}

static void end_now(struct session_record *record)
{
    record->leaving = true;
    session_io_end(&record->io, CODE_GOING_AWAY, "the daemon stops");
    session_io_hurry(&record->io, PARTING_MS);
}

static void adopt(struct session_record *record, struct rules *rules);

/* It arrived while, or after, the others were told. */
static void catch_up(struct session_record *record)
{
    struct worker *worker = record->worker;
    if (worker->rules != NULL) {
        adopt(record, worker->rules);
    }
    if (worker->stopping) {
        end_now(record);
    } else if (worker->draining) {
        uint64_t now = loop_now(&worker->loop);
        say_goaway(record, worker->drain_by > now ? worker->drain_by - now : 1);
    }
}

static void begin(struct session_record *record)
{
    struct worker *worker = record->worker;
    struct session_config config;
    struct sock_kind_options kind = {.kind = record->caller.kind,
                                     .vsock_write_max = (size_t)record->rules->config->vsock.write_size};
    LIST_INSERT_HEAD(&worker->sessions, record, link);
    configure(record, &config);
    record->began_at = loop_now(&worker->loop);
    int rv = session_io_start(&record->io, &worker->loop, &session_ops, &config, record->fd, &kind);
    if (rv != 0) {
        const struct session_stats none = {.channels = 0};
        leave(record, &(struct session_end){.code = CODE_INTERNAL, .text = error_words(rv)}, &none);
        return;
    }
    catch_up(record);
}

static void on_arrival(struct worker *worker, struct job *job)
{
    (void)worker;
    begin(CONTAINER_OF(job, struct session_record, job));
}

/* Sessions stay for long, and bring streams: so it is their number that counts. */
static struct worker *least_loaded(struct worker *here)
{
    struct worker *best = here;
    for (unsigned i = 0; i < here->set->count; i++) {
        struct worker *other = &here->set->workers[i];
        uint64_t sessions = counter_get(&other->sessions_active), least = counter_get(&best->sessions_active);
        if (sessions < least ||
            (sessions == least && counter_get(&other->active) < counter_get(&best->active))) {
            best = other;
        }
    }
    return best;
}

static enum reason admit(struct door *door, const struct caller *caller, struct session_record **ret)
{
    struct worker_set *set = door->worker->set;
    enum reason why = places_take_session(set, door->rules, caller->enclave);
    if (why != REASON_NONE) {
        return why;
    }
    struct session_record *record = calloc(1, sizeof *record);
    if (record == NULL) {
        places_give_session(set, door->rules, caller->enclave);
        return REASON_NO_MEMORY;
    }
    record->worker = least_loaded(door->worker);
    record->rules = rules_ref(door->rules);
    record->listener = door->id;
    record->caller = *caller;
    record->number = atomic_fetch_add_explicit(&set->session_number, 1, memory_order_relaxed) + 1;
    counter_add(&record->worker->sessions_active, 1);
    counter_add(&enclave_of(record)->sessions_opened, 1);
    *ret = record;
    return REASON_NONE;
}

/* Says why in the protocol's words, if they go at once, as those few bytes of a new connection do. */
static void tell_refused(int fd, enum reason why)
{
    uint8_t bytes[FRAME_PREFACE_SIZE + FRAME_HEADER + FRAME_CONTROL_MAX];
    uint8_t *header = bytes + FRAME_PREFACE_SIZE, *payload = header + FRAME_HEADER;
    const struct control_goaway goaway = {.code = code_of_reason(why),
                                          .message = control_text(reason_meaning(why))};
    size_t length = control_encode_goaway(&goaway, payload, FRAME_CONTROL_MAX);
    memcpy(bytes, frame_preface, FRAME_PREFACE_SIZE);
    frame_encode_header(header, (struct frame_header){.type = FRAME_GOAWAY, .length = (uint16_t)length});
    (void)send(fd, bytes, FRAME_PREFACE_SIZE + FRAME_HEADER + length, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_WR);
}

static void refuse(struct door *door, const struct caller *caller, enum reason why, int fd,
                   const struct sockaddr_any *peer)
{
    struct log_line line;
    char text[ADDR_TEXT_MAX], detail[PLACES_TEXT_MAX];
    counters_refuse(door->rules->listeners[door->id], why);
    counter_add(&rules_enclave(door->rules, caller->enclave)->sessions_refused, 1);
    log_begin_limited(&line, &door->worker->log_refused, LOG_LEVEL_WARN, "session refused");
    log_str(&line, "reason", reason_word(why));
    caller_log(caller, door->rules, &line);
    log_str(&line, "peer", line.wanted ? sockaddr_format(peer, text) : NULL);
    log_str(&line, "listener", door->rules->config->listeners[door->id].name);
    log_str(&line, "detail",
            line.wanted ? places_tell_session(door->rules, caller->enclave, why, detail) : NULL);
    log_end(&line);
    tell_refused(fd, why);
    close(fd);
}

void session_decide(struct door *door, const struct caller *caller, enum reason why, int fd,
                    const struct sockaddr_any *peer)
{
    struct session_record *record;
    if (why == REASON_NONE) {
        why = admit(door, caller, &record);
    }
    if (why != REASON_NONE) {
        refuse(door, caller, why, fd, peer);
        return;
    }
    record->fd = fd;
    if (record->worker == door->worker) {
        begin(record);
    } else {
        record->job.run = on_arrival;
        worker_post(record->worker, &record->job);
    }
}

/* ---- Reload ---- */

/* The framed listener of that name; -1: there is none. */
static int find_listener(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->listener_count; i++) {
        if (strcmp(config->listeners[i].name, name) == 0) {
            return config->listeners[i].protocol == CONFIG_FRAMED ? (int)i : -1;
        }
    }
    return -1;
}

/* Whom the caller counts as under other rules; CONFIG_NOBODY unless that is the enclave that it was let in as, and
 * still may come in. */
static int same_enclave(const struct session_record *record, const struct rules *rules,
                        const struct config_listener *listener)
{
    const struct config *config = rules->config;
    int enclave = record->caller.kind == ADDR_VSOCK ? policy_enclave_by_cid(config, record->caller.cid)
                                                    : listener->peer;
    bool same = enclave != CONFIG_NOBODY && policy_listener(listener, enclave) == REASON_NONE &&
                rules_enclave(rules, enclave) == enclave_of(record);
    return same ? enclave : CONFIG_NOBODY;
}

static void adopt(struct session_record *record, struct rules *rules)
{
    if (record->leaving || record->rules->generation >= rules->generation) {
        return;
    }
    int listener = find_listener(rules->config, listener_of(record)->name);
    int enclave =
        listener >= 0 ? same_enclave(record, rules, &rules->config->listeners[listener]) : CONFIG_NOBODY;
    if (enclave == CONFIG_NOBODY) {
        say_goaway(record, 0);
        return;
    }
    rules_unref(record->rules);
    record->rules = rules_ref(rules);
    record->listener = (unsigned)listener;
    record->caller.enclave = enclave;
}

void sessions_adopt(struct worker *worker, struct rules *rules)
{
    struct session_record *record;
    rules_unref(worker->rules);
    worker->rules = rules_ref(rules);
    LIST_FOREACH (record, &worker->sessions, link) {
        adopt(record, rules);
    }
}

/* ---- The end ---- */

void sessions_drain(struct worker *worker, uint64_t deadline_ms)
{
    struct session_record *record;
    LIST_FOREACH (record, &worker->sessions, link) {
        say_goaway(record, deadline_ms);
    }
}

void sessions_end(struct worker *worker)
{
    struct session_record *record;
    LIST_FOREACH (record, &worker->sessions, link) {
        end_now(record);
    }
}
