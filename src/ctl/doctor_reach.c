/* The doctor's way to a destination: see doctor_reach.h. */
#include "ctl/doctor_reach.h"

#include "ctl/dial.h"
#include "ctl/probe.h"
#include "net/guard.h"
#include "net/sock.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

uint64_t doctor_deadline(const struct doctor *doctor, const struct config_route *route)
{
    uint64_t patience = doctor->host->patience_ms;
    return dial_now_ms() + (route->connect_timeout_ms < patience ? route->connect_timeout_ms : patience);
}

/* Names. */

/* The first of the servers, each of them ADDRESS:PORT. */
static void next_dig(struct doctor *doctor, const char *servers, const char *name)
{
    char text[ADDR_TEXT_MAX];
    struct addr server;
    snprintf(text, sizeof text, "tcp://%.*s", (int)strcspn(servers, ","), servers);
    if (addr_parse(text, &server, NULL) == 0) {
        doctor_next(doctor, "dig @%s -p %u %s   # the server that `dns.servers` names", server.host,
                    server.port, name);
    }
}

static void tell_name_failed(struct doctor *doctor, const struct doctor_destination *destination,
                             enum reason why)
{
    const char *servers = doctor->config->dns.servers;
    doctor_tell(doctor, FINDING_FAIL, "dns", destination->route->name, "%s: %s (%s)", destination->to.host,
                reason_meaning(why), reason_word(why));
    if (why == REASON_DNS_NOT_FOUND) {
        doctor_next(doctor, "getent ahosts %s   # then correct the name at %s:%u", destination->to.host,
                    doctor->config->file, destination->route->place.line);
    } else if (servers != NULL) {
        next_dig(doctor, servers, destination->to.host);
    } else {
        doctor_next(doctor, "cat /etc/resolv.conf; resolvectl query %s", destination->to.host);
    }
}

/* Why the daemon would not connect to the address; NULL if it would. */
static const char *objection(const struct config_route *route, const struct sockaddr *address)
{
    if (route->family != 0 && address->sa_family != route->family) {
        return "unwanted (see `family`)";
    }
    return route->allow_private ? NULL : guard_block(address);
}

/* Leaves in `resolved` the addresses that the daemon would connect to. */
static bool guard(struct doctor *doctor, const struct doctor_destination *destination,
                  struct resolved *resolved)
{
    unsigned kept = 0;
    const char *why = NULL;
    for (unsigned i = 0; i < resolved->count; i++) {
        const char *objected = objection(destination->route, &resolved->address[i].u.base);
        if (objected == NULL) {
            resolved->address[kept++] = resolved->address[i];
        } else {
            why = objected;
        }
    }
    resolved->count = kept;
    if (kept == 0) {
        doctor_tell(doctor, FINDING_FAIL, "dns", destination->route->name,
                    "%s resolves to %s addresses only, which the route does not allow (denied_address)",
                    destination->to.host, why);
        doctor_next(doctor,
                    "sudoedit %s   # line %u: allow_private: true, if it really is inside (a VPC endpoint)",
                    doctor->config->file, destination->route->place.line);
    }
    return kept > 0;
}

static bool resolve(struct doctor *doctor, const struct doctor_destination *destination, struct resolved *ret)
{
    if (destination->to.literal) {
        ret->count = 1;
        return addr_to_sockaddr(&destination->to, false, &ret->address[0]) == 0;
    }
    enum reason why = probe_name(&doctor->config->dns, destination->to.host, ret);
    if (why != REASON_NONE) {
        tell_name_failed(doctor, destination, why);
        return false;
    }
    if (!guard(doctor, destination, ret)) {
        return false;
    }
    char address[ADDR_TEXT_MAX];
    sockaddr_format(&ret->address[0], address);
    *strrchr(address, ':') = '\0'; /* its port, which a name has none of */
    doctor_tell(doctor, FINDING_OK, "dns", destination->route->name, "%s is %s%s", destination->to.host,
                address, ret->count > 1 ? " and others" : "");
    return true;
}

/* Connections. */

static void set_port(struct sockaddr_any *address, uint16_t port)
{
    if (address->u.base.sa_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)&address->u.storage)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)(void *)&address->u.storage)->sin_port = htons(port);
    }
}

static void tell_connect_failed(struct doctor *doctor, const struct doctor_destination *destination, int r,
                                const char *address)
{
    const struct addr *to = &destination->to;
    doctor_tell(doctor, FINDING_FAIL, "connect", destination->route->name, "%s: %s", address,
                sock_connect_words(to->kind, r));
    if (to->kind != ADDR_TCP) {
        doctor_next(doctor, "ls -l %s   # is the service that listens there running?", to->host);
    } else if (r == -ECONNREFUSED) {
        doctor_next(doctor, "nc -vz %s %u   # is the service that listens there running?", to->host,
                    to->port);
    } else {
        doctor_next(doctor,
                    "traceroute -T -p %u %s   # then the security groups, network ACLs and routes on the way",
                    to->port, to->host);
    }
}

/* Returns a connected descriptor, or -1 after telling why not. */
static int connect_tcp(struct doctor *doctor, const struct doctor_destination *destination,
                       struct resolved *resolved)
{
    char address[ADDR_TEXT_MAX] = "";
    int fd = -EHOSTUNREACH;
    for (unsigned i = 0; i < resolved->count && fd < 0; i++) {
        set_port(&resolved->address[i], (uint16_t)destination->to.port);
        sockaddr_format(&resolved->address[i], address);
        fd = dial_sockaddr(&resolved->address[i], doctor_deadline(doctor, destination->route));
    }
    if (fd < 0) {
        tell_connect_failed(doctor, destination, fd, address);
        return -1;
    }
    doctor_tell(doctor, FINDING_OK, "connect", destination->route->name, "%s answers", address);
    return fd;
}

int doctor_reach(struct doctor *doctor, const struct doctor_destination *destination)
{
    struct resolved resolved;
    return resolve(doctor, destination, &resolved) ? connect_tcp(doctor, destination, &resolved) : -1;
}

void doctor_reach_path(struct doctor *doctor, const struct doctor_destination *destination)
{
    char address[ADDR_TEXT_MAX];
    addr_format(&destination->to, address);
    int fd = dial_addr(&destination->to, doctor_deadline(doctor, destination->route));
    if (fd < 0) {
        tell_connect_failed(doctor, destination, fd, address);
        return;
    }
    close(fd);
    doctor_tell(doctor, FINDING_OK, "connect", destination->route->name, "%s answers", address);
}
