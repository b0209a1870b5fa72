/* The doctor's look at where the routes lead: names, connections, certificates. */
#include "ctl/dial.h"
#include "ctl/doctor.h"
#include "ctl/probe.h"
#include "net/guard.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of a route with many names, so many are tried. */
#define NAMES_MAX 8

#define TLS_PORT 443

struct destination {
    const struct config_route *route;
    struct addr to;
    const char *sni; /* the name to ask for in the handshake; NULL: not TLS, as far as can be told */
};

static uint64_t deadline_for(const struct doctor *doctor, const struct config_route *route)
{
    uint64_t patience = doctor->host->patience_ms;
    return dial_now_ms() + (route->connect_timeout_ms < patience ? route->connect_timeout_ms : patience);
}

/* Names. */

static void tell_name_failed(struct doctor *doctor, const struct destination *destination, enum reason why)
{
    const char *servers = doctor->config->dns.servers;
    doctor_tell(doctor, FINDING_FAIL, "dns", destination->route->name, "%s: %s (%s)", destination->to.host,
                reason_meaning(why), reason_word(why));
    if (why == REASON_DNS_NOT_FOUND) {
        doctor_next(doctor, "getent ahosts %s   # then correct the name at %s:%u", destination->to.host,
                    doctor->config->file, destination->route->place.line);
    } else if (servers != NULL) {
        doctor_next(doctor, "dig @%.*s %s   # the server that `dns.servers` names",
                    (int)strcspn(servers, ",:"), servers, destination->to.host);
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
static bool guard(struct doctor *doctor, const struct destination *destination, struct resolved *resolved)
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

static bool resolve(struct doctor *doctor, const struct destination *destination, struct resolved *ret)
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
    doctor_tell(doctor, FINDING_OK, "dns", destination->route->name, "%s is %s%s", destination->to.host,
                sockaddr_format(&ret->address[0], address), ret->count > 1 ? " and others" : "");
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

static void tell_connect_failed(struct doctor *doctor, const struct destination *destination, int r,
                                const char *address)
{
    const struct addr *to = &destination->to;
    doctor_tell(doctor, FINDING_FAIL, "connect", destination->route->name, "%s: %s", address, error_words(r));
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
static int connect_tcp(struct doctor *doctor, const struct destination *destination,
                       struct resolved *resolved)
{
    char address[ADDR_TEXT_MAX] = "";
    int fd = -EHOSTUNREACH;
    for (unsigned i = 0; i < resolved->count && fd < 0; i++) {
        set_port(&resolved->address[i], (uint16_t)destination->to.port);
        sockaddr_format(&resolved->address[i], address);
        fd = dial_sockaddr(&resolved->address[i], deadline_for(doctor, destination->route));
    }
    if (fd < 0) {
        tell_connect_failed(doctor, destination, fd, address);
        return -1;
    }
    doctor_tell(doctor, FINDING_OK, "connect", destination->route->name, "%s answers", address);
    return fd;
}

static void check_tls(struct doctor *doctor, const struct destination *destination, int fd)
{
    static const enum finding findings[] = {
        [PROBE_TLS_OK] = FINDING_OK,
        [PROBE_TLS_WRONG_NAME] = FINDING_FAIL,
        [PROBE_TLS_UNTRUSTED] = FINDING_WARN, /* the enclave judges by its own authorities */
        [PROBE_TLS_FAILED] = FINDING_FAIL,
    };
    static const char *const words[] = {
        [PROBE_TLS_OK] = "certificate and name are right",
        [PROBE_TLS_WRONG_NAME] = "the server's certificate does not bear that name",
        [PROBE_TLS_UNTRUSTED] = "this host does not trust the certificate",
        [PROBE_TLS_FAILED] = "no TLS handshake",
    };
    struct probe_tls probe;
    probe_tls(fd, destination->sni, deadline_for(doctor, destination->route), &probe);
    doctor_tell(doctor, findings[probe.verdict], "tls", destination->route->name, "%s: %s (%s)",
                destination->sni, words[probe.verdict], probe.words);
    if (probe.verdict != PROBE_TLS_OK) {
        doctor_next(doctor, "openssl s_client -connect %s:%u -servername %s </dev/null", destination->to.host,
                    destination->to.port, destination->sni);
    }
}

static void check_tcp(struct doctor *doctor, const struct destination *destination)
{
    struct resolved resolved;
    if (!resolve(doctor, destination, &resolved)) {
        return;
    }
    int fd = connect_tcp(doctor, destination, &resolved);
    if (fd < 0) {
        return;
    }
    if (destination->sni != NULL) {
        check_tls(doctor, destination, fd);
    }
    close(fd);
}

static void check_path(struct doctor *doctor, const struct destination *destination)
{
    char address[ADDR_TEXT_MAX];
    addr_format(&destination->to, address);
    int fd = dial_addr(&destination->to, deadline_for(doctor, destination->route));
    if (fd < 0) {
        tell_connect_failed(doctor, destination, fd, address);
        return;
    }
    close(fd);
    doctor_tell(doctor, FINDING_OK, "connect", destination->route->name, "%s answers", address);
}

static void check_destination(struct doctor *doctor, const struct destination *destination)
{
    char address[ADDR_TEXT_MAX];
    if (destination->to.kind == ADDR_TCP) {
        check_tcp(doctor, destination);
    } else if (destination->to.kind == ADDR_VSOCK) {
        doctor_tell(doctor, FINDING_SKIPPED, "connect", destination->route->name,
                    "%s: enclaves are not disturbed", addr_format(&destination->to, address));
    } else {
        check_path(doctor, destination);
    }
}

/* Routes. */

static bool is_wildcard(const struct config_sni *sni)
{
    return sni->pattern[0] == '*';
}

/* `to: tcp://...`: the connection once for each name that may be asked for. */
static void check_fixed(struct doctor *doctor, const struct config_route *route)
{
    struct destination destination = {.route = route, .to = route->to};
    unsigned tried = 0;
    for (unsigned i = 0; i < route->sni_count && tried < NAMES_MAX; i++) {
        if (!is_wildcard(&route->sni[i])) {
            destination.sni = route->sni[i].pattern;
            check_destination(doctor, &destination);
            tried++;
        }
    }
    if (tried == 0) {
        bool tls = route->to.kind == ADDR_TCP && !route->to.literal && route->to.port == TLS_PORT;
        destination.sni = tls ? route->to.host : NULL;
        check_destination(doctor, &destination);
    }
}

/* `to: sni` and `to: {sni: ...}`: each name has a destination of its own. */
static void check_by_name(struct doctor *doctor, const struct config_route *route)
{
    unsigned tried = 0;
    for (unsigned i = 0; i < route->sni_count && tried < NAMES_MAX; i++) {
        const struct config_sni *sni = &route->sni[i];
        struct destination destination = {.route = route, .to = sni->to};
        if (route->to_kind == CONFIG_TO_SNI && !is_wildcard(sni)) {
            destination.to = (struct addr){.kind = ADDR_TCP, .port = route->port};
            snprintf(destination.to.host, sizeof destination.to.host, "%s", sni->pattern);
        }
        if (destination.to.kind != ADDR_NONE) {
            destination.sni = is_wildcard(sni) ? NULL : sni->pattern;
            check_destination(doctor, &destination);
            tried++;
        }
    }
    if (tried == 0) {
        doctor_tell(doctor, FINDING_SKIPPED, "connect", route->name,
                    "only wildcards: there is no one name to try");
    }
}

void doctor_check_routes(struct doctor *doctor)
{
    const struct config *config = doctor->config;
    for (unsigned i = 0; config != NULL && i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        if (route->type != CONFIG_RELAY) {
            continue; /* it leads nowhere that could be out of order */
        }
        if (route->to_kind == CONFIG_TO_ADDRESS) {
            check_fixed(doctor, route);
        } else {
            check_by_name(doctor, route);
        }
    }
}
