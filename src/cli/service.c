/* Local sockets on one session: see service.h. */
#include "cli/service.h"

#include "base/units.h"
#include "cli/guest.h"
#include "cli/why.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void service_options_default(struct service_options *options)
{
    *options = (struct service_options){
        .streams = 4096,
        .memory = UINT64_C(64) << 20,
        .wait_ms = 30000,
        .unix_mode = 0600,
    };
}

/* ---- Guests ---- */

static void hold_doors(struct service *service, bool held)
{
    for (size_t i = 0; i < service->door_count; i++) {
        door_hold(&service->doors[i], held);
    }
}

static void free_guest(struct guest *guest, bool abort)
{
    struct service *service = guest->service;
    guest_free(guest, abort);
    service->guests--;
    if (!service->draining) {
        hold_doors(service, false);
    }
}

static void on_out_of_patience(struct cli_timer *timer);

/* All wait equally long, so that the first is the next to lose patience. */
static void watch_patience(struct service *service)
{
    const struct guest *first = TAILQ_FIRST(&service->waiting);
    if (first == NULL) {
        cli_timer_stop(&service->patience);
    } else {
        cli_timer_start(service->loop, &service->patience, first->wait_until, on_out_of_patience);
    }
}

static void on_out_of_patience(struct cli_timer *timer)
{
    struct service *service = CONTAINER_OF(timer, struct service, patience);
    struct guest *guest;
    while ((guest = TAILQ_FIRST(&service->waiting)) != NULL && guest->wait_until <= cli_now_ms()) {
        notes_say_some(service->notes,
                       "route %s: a connection was cut, since no stream could be had in time: %s",
                       guest->door->route,
                       service->up ? "the daemon allows no more at once"
                                   : "there is no session with the daemon");
        free_guest(guest, true);
    }
    watch_patience(service);
}

static void wait_for_session(struct guest *guest)
{
    struct service *service = guest->service;
    guest_move(guest, &service->waiting);
    watch_patience(service);
}

/* First come, first served. */
static void serve_waiting(struct service *service)
{
    struct guest *guest;
    while ((guest = TAILQ_FIRST(&service->waiting)) != NULL && guest_serve(guest) == 0) {
    }
    watch_patience(service);
}

static void on_entered(struct door *door, int fd)
{
    struct service *service = door->user;
    struct guest *guest = guest_new(service, door, fd);
    if (guest == NULL) {
        notes_say_some(service->notes, "route %s: a connection was cut: out of memory", door->route);
        return;
    }
    service->guests++;
    if (service->guests >= service->options.streams) {
        notes_say_some(service->notes,
                       "%u connection%s open, and no more allowed: others wait (--max-streams)",
                       service->guests, units_plural(service->guests));
        hold_doors(service, true);
    }
    bool first = TAILQ_EMPTY(&service->waiting);
    if (!first || guest_serve(guest) != 0) {
        wait_for_session(guest);
    }
}

static void on_door_failed(struct door *door, int status, unsigned shed)
{
    struct service *service = door->user;
    char at[ADDR_TEXT_MAX];
    addr_format(&door->at, at);
    if (shed > 0) {
        notes_say_some(service->notes,
                       "%s: %u connection%s cut: %s; raise the limit of open files (ulimit -n)", at, shed,
                       units_plural(shed), error_words(status));
    } else {
        notes_say_some(service->notes, "%s: cannot take connections: %s; trying on", at, error_words(status));
    }
}

/* Whether the stream's end was the session's, and not its own. */
static bool went_with_session(const struct tunnel *tunnel)
{
    return tunnel->end == TUNNEL_LOST && tunnel->code != CODE_OPEN_TIMEOUT &&
           tunnel->code != CODE_NO_PROGRESS && tunnel->code < CODE_REASON;
}

/* Once, and if the daemon has done nothing for it: the next session may. */
static bool may_try_again(const struct guest *guest)
{
    const struct tunnel *tunnel = &guest->tunnel;
    bool draining = tunnel->end == TUNNEL_REFUSED && tunnel->code == CODE_REASON + REASON_DRAINING;
    return (went_with_session(tunnel) || draining) && tunnel->retryable && !tunnel->read_any &&
           !guest->again && !guest->service->draining;
}

static void say_why(const struct guest *guest)
{
    const struct tunnel *tunnel = &guest->tunnel;
    char text[ERROR_TEXT_MAX];
    if (tunnel->end == TUNNEL_CUT || (tunnel->end == TUNNEL_LOST && !went_with_session(tunnel))) {
        notes_say_some(guest->service->notes, "route %s: a connection was cut, %s", guest->door->route,
                       why_format(tunnel->code, NULL, text));
    } else if (tunnel->end == TUNNEL_LOCAL_FAILED && tunnel->status == -ENOMEM) {
        notes_say_some(guest->service->notes, "route %s: a connection was cut: out of memory",
                       guest->door->route);
    }
}

static void see_off(struct guest *guest)
{
    if (may_try_again(guest)) {
        guest_begin_anew(guest);
        wait_for_session(guest);
        return;
    }
    say_why(guest);
    free_guest(guest, guest->tunnel.end != TUNNEL_FINISHED);
}

static void on_clean(struct cli_task *task)
{
    struct service *service = CONTAINER_OF(task, struct service, clean);
    struct guest *guest;
    while ((guest = TAILQ_FIRST(&service->leaving)) != NULL) {
        see_off(guest);
    }
    if (service->up) {
        serve_waiting(service);
    }
    cli_link_touch(&service->link);
}

void service_see_off(struct guest *guest)
{
    struct service *service = guest->service;
    service->lost += went_with_session(&guest->tunnel);
    guest_move(guest, &service->leaving);
    watch_patience(service);
    cli_task_queue(service->loop, &service->clean, on_clean);
}

/* ---- The session ---- */

static void on_ready(struct connection *connection)
{
    struct service *service = connection_user(connection);
    char address[ADDR_TEXT_MAX];
    if (!service->up) {
        notes_say(service->notes, "the session with %s is %s", addr_format(&service->options.to, address),
                  service->was_up ? "up again" : "up");
    }
    service->up = service->was_up = true;
    service->trouble[0] = '\0';
    serve_waiting(service);
}

/* A daemon that is away for an hour is told once, unless it is for another reason. */
static void say_down(struct service *service, const struct connection_loss *loss)
{
    if (service->up && service->lost > 0) {
        notes_say(service->notes, "%s; %u connection%s cut; making another session", loss->message,
                  service->lost, units_plural(service->lost));
    } else if (service->up) {
        notes_say(service->notes, "%s; making another session", loss->message);
    } else if (strcmp(service->trouble, loss->message) != 0) {
        notes_say(service->notes, "%s; trying on", loss->message);
        snprintf(service->trouble, sizeof service->trouble, "%s", loss->message);
    }
}

static void on_down(struct connection *connection, const struct connection_loss *loss)
{
    struct service *service = connection_user(connection);
    if (!service->draining) {
        say_down(service, loss);
        connection_connect(connection);
    }
    service->up = false;
    service->lost = 0;
}

static int open_link(struct service *service, struct error *err)
{
    const struct service_options *options = &service->options;
    struct connection_config config;
    struct connection_events events = {.channel = tunnel_events, .ready = on_ready, .down = on_down};
    connection_config_default(&config);
    config.session.max_streams = 0;
    config.session.max_own_streams = options->streams;
    config.session.budget = options->memory;
    config.session.half_closed_timeout = 0; /* the daemon's route knows better what its service may take */
    config.session.build = "postern " POSTERN_VERSION;
    return cli_link_init(&service->link, service->loop, &options->to, &config, &events, service, err);
}

/* ---- The service ---- */

int service_init(struct service *service, const struct service_options *options, struct cli_loop *loop,
                 struct notes *notes, struct error *err)
{
    memset(service, 0, sizeof *service);
    service->options = *options;
    service->loop = loop;
    service->notes = notes;
    TAILQ_INIT(&service->waiting);
    TAILQ_INIT(&service->served);
    TAILQ_INIT(&service->leaving);
    return open_link(service, err);
}

static const struct door_ops door_ops = {.entered = on_entered, .failed = on_door_failed};

int service_listen(struct service *service, char *const *doors, size_t count, struct error *err)
{
    service->doors = calloc(count, sizeof *service->doors);
    if (service->doors == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        char text[ADDR_TEXT_MAX];
        struct door *door = &service->doors[i];
        struct addr at;
        const char *route;
        int r = door_parse(doors[i], &at, &route, err);
        if (r == 0) {
            r = door_open(door, service->loop, &at, route, service->options.unix_mode, &door_ops, service,
                          err);
        }
        if (r != 0) {
            return r;
        }
        service->door_count++;
        notes_say(service->notes, "listening at %s for route %s", addr_format(&door->at, text), route);
    }
    return 0;
}

void service_start(struct service *service)
{
    connection_connect(service->link.connection);
    cli_link_touch(&service->link);
}

static void on_link_over(struct cli_link *link)
{
    struct service *service = CONTAINER_OF(link, struct service, link);
    service->over(service);
}

void service_drain(struct service *service, uint32_t deadline_ms, void (*over)(struct service *service))
{
    struct guest *guest;
    service->draining = true;
    service->over = over;
    for (size_t i = 0; i < service->door_count; i++) {
        door_close(&service->doors[i]);
    }
    while ((guest = TAILQ_FIRST(&service->waiting)) != NULL) {
        free_guest(guest, true); /* a stream for it would be a new one */
    }
    watch_patience(service);
    cli_link_drain(&service->link, deadline_ms, on_link_over);
}

static void free_all(struct guest_list *list)
{
    struct guest *guest;
    while ((guest = TAILQ_FIRST(list)) != NULL) {
        guest_free(guest, guest->tunnel.end != TUNNEL_FINISHED);
    }
}

void service_release(struct service *service)
{
    for (size_t i = 0; i < service->door_count; i++) {
        door_close(&service->doors[i]);
    }
    service->door_count = 0;
    free_all(&service->waiting);
    free_all(&service->served);
    free_all(&service->leaving);
    cli_timer_stop(&service->patience);
    cli_task_cancel(service->loop, &service->clean);
    cli_link_release(&service->link);
    free(service->doors);
    service->doors = NULL;
}
