/* Figures that are taken when somebody looks: of this process by the kernel, of name resolution by
 * all workers. */
#ifndef POSTERN_DAEMON_FIGURES_H
#define POSTERN_DAEMON_FIGURES_H

#include "daemon/control.h"
#include <stdint.h>

/* What could not be read is 0. */
struct process_figures {
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t cpu_us; /* user and system time */
    uint64_t open_fds;
    uint64_t max_fds;
};

/* As struct resolver_stats, summed; the workers that share a cache count at the first of them. */
struct dns_figures {
    uint64_t queries;
    uint64_t hits;
    uint64_t stale_served;
    uint64_t failures;
    uint64_t timeouts;
    uint64_t not_found;
    uint64_t cached;
};

/* As struct forward_stats, summed. */
struct upstream_figures {
    uint64_t opened, failed, reused, retried, resumed;
    uint64_t open, idle;
};

void figures_of_process(struct process_figures *ret);
void figures_of_dns(const struct server_view *view, struct dns_figures *ret);
void figures_of_upstreams(const struct server_view *view, struct upstream_figures *ret);

#endif
