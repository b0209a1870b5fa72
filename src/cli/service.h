/*
 * Local sockets for unmodified programs: doors, the connections that came in by them (guests), and the session
 * that carries them all.
 *
 * The session is kept up: when it is lost, guests are cut, another is made, and who comes meanwhile waits for it, for a bounded
 * time. A daemon that drains lets guests finish, and new ones go to the next session. Nothing is read from a guest that
 * waits.
 *
 * Lifetimes: the caller embeds the service; loop and notes outlive it. A guest is made when it enters and freed at the
 * end of the turn in which its tunnel is over, since that may be while the session asks it for bytes.
 */
#ifndef POSTERN_CLI_SERVICE_H
#define POSTERN_CLI_SERVICE_H

#include "cli/door.h"
#include "cli/link.h"
#include "cli/notes.h"

struct guest;
TAILQ_HEAD(guest_list, guest);

struct service_options {
    struct addr to;     /* the daemon */
    uint32_t streams;   /* guests at once */
    uint64_t memory;    /* bytes held for guests that do not read; at least SERVICE_MEMORY_MIN for each */
    uint32_t wait_ms;   /* how long a guest waits for a session */
    unsigned unix_mode; /* of unix sockets' files */
};

#define SERVICE_MEMORY_MIN 2048u

struct service {
    struct service_options options;
    struct cli_loop *loop;
    struct notes *notes;
    struct cli_link link;
    struct door *doors; /* owned */
    size_t door_count;
    struct guest_list waiting, served, leaving;
    struct cli_timer patience; /* of the first that waits */
    struct cli_task clean;     /* frees those that leave */
    uint32_t guests;
    uint32_t lost; /* guests that the session took with it, since the last `down` */
    bool up, was_up, draining;
    char trouble[ERROR_TEXT_MAX]; /* what was last said about a session that is not there */
    void (*over)(struct service *service);
};

void service_options_default(struct service_options *options);

/* One that listens nowhere yet. It is to be released in any case. */
int service_init(struct service *service, const struct service_options *options, struct cli_loop *loop,
                 struct notes *notes, struct error *err) MUST_CHECK;
void service_release(struct service *service);

/* Opens `count` doors, written as LOCAL=ROUTE; the texts are kept. Says where it listens. */
int service_listen(struct service *service, char *const *doors, size_t count, struct error *err) MUST_CHECK;

/* Begins to make sessions. */
void service_start(struct service *service);

/* Lets nobody in any more, lets guests finish for so long, and calls `over`, from the loop. */
void service_drain(struct service *service, uint32_t deadline_ms, void (*over)(struct service *service));

/* For guest.c: the guest's tunnel is over. */
void service_see_off(struct guest *guest);

#endif
