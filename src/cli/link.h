/*
 * The connection to the daemon (client/connection.h) on the client's loop.
 *
 * Lifetimes: the caller embeds the link. Its events come from the loop; what may be called inside of them is as connection.h says.
 * cli_link_release() gives up all streams, without an event.
 */
#ifndef POSTERN_CLI_LINK_H
#define POSTERN_CLI_LINK_H

#include "cli/loop.h"
#include "client/connection.h"

struct cli_link {
    struct cli_loop *loop;
    struct connection *connection;
    struct cli_watch watch;
    struct cli_timer timer;
    struct cli_task flush;
    void (*over)(struct cli_link *link); /* NULL, or called once, when a drained connection is over */
    bool draining;
};

/* `user` is the connection's. */
int cli_link_init(struct cli_link *link, struct cli_loop *loop, const struct addr *to,
                  const struct connection_config *config, const struct connection_events *events, void *user,
                  struct error *err) MUST_CHECK;
void cli_link_release(struct cli_link *link); /* harmless when zeroed */

/* To be called after anything was asked of the connection or of one of its channels: what they have to say is written at the
 * end of the turn, and its timers are looked at. */
void cli_link_touch(struct cli_link *link);

/* Ends it in an orderly way: streams may finish, new ones are not opened, and after `deadline_ms` at the latest `over` is
 * called, from the loop. */
void cli_link_drain(struct cli_link *link, uint32_t deadline_ms, void (*over)(struct cli_link *link));

#endif
