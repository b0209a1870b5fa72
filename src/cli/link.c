/* The connection on the loop: see link.h. */
#include "cli/link.h"

#include <string.h>

static void on_due(struct cli_timer *timer);

/* After each thing that was done: it may be over, or want another time. `over` may release the link. */
static void look(struct cli_link *link)
{
    int wait = connection_timeout(link->connection);
    if (link->draining && connection_is_over(link->connection)) {
        cli_timer_stop(&link->timer);
        link->draining = false;
        link->over(link);
    } else if (wait < 0) {
        cli_timer_stop(&link->timer);
    } else {
        cli_timer_start(link->loop, &link->timer, cli_now_ms() + (unsigned)wait, on_due);
    }
}

static void process(struct cli_link *link)
{
    connection_process(link->connection, 0);
    look(link);
}

static void on_ready(struct cli_watch *watch, uint32_t events UNUSED)
{
    process(CONTAINER_OF(watch, struct cli_link, watch));
}

static void on_due(struct cli_timer *timer)
{
    process(CONTAINER_OF(timer, struct cli_link, timer));
}

static void on_flush(struct cli_task *task)
{
    struct cli_link *link = CONTAINER_OF(task, struct cli_link, flush);
    connection_flush(link->connection);
    look(link);
}

void cli_link_touch(struct cli_link *link)
{
    cli_task_queue(link->loop, &link->flush, on_flush);
}

void cli_link_drain(struct cli_link *link, uint32_t deadline_ms, void (*over)(struct cli_link *link))
{
    link->over = over;
    link->draining = true;
    connection_drain(link->connection, deadline_ms);
    cli_link_touch(link);
}

int cli_link_init(struct cli_link *link, struct cli_loop *loop, const struct addr *to,
                  const struct connection_config *config, const struct connection_events *events, void *user,
                  struct error *err)
{
    memset(link, 0, sizeof *link);
    link->loop = loop;
    link->watch.fd = -1;
    int r = connection_new(to, config, events, user, &link->connection, err);
    if (r != 0) {
        return r;
    }
    r = cli_loop_add(loop, &link->watch, connection_fd(link->connection), EPOLLIN, on_ready);
    if (r != 0) {
        cli_link_release(link);
        return error_errno(err, r, "cannot watch the connection to the daemon");
    }
    return 0;
}

void cli_link_release(struct cli_link *link)
{
    if (link->connection == NULL) {
        return;
    }
    cli_task_cancel(link->loop, &link->flush);
    cli_timer_stop(&link->timer);
    cli_loop_remove(link->loop, &link->watch);
    connection_free(link->connection);
    link->connection = NULL;
}
