/* The doctor's look at where the routes lead: names, connections, certificates. For forward routes: doctor_forward.c. */
#include "base/units.h"
#include "ctl/doctor.h"
#include "ctl/doctor_reach.h"
#include "ctl/probe.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of a route with many names, so many are tried. */
#define NAMES_MAX 8

#define TLS_PORT 443

struct destination {
    struct doctor_destination at;
    const char *sni; /* the name to ask for in the handshake; NULL: not TLS, as far as can be told */
};

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
    probe_tls(fd, destination->sni, doctor_deadline(doctor, destination->at.route), &probe);
    doctor_tell(doctor, findings[probe.verdict], "tls", destination->at.route->name, "%s: %s (%s)",
                destination->sni, words[probe.verdict], probe.words);
    if (probe.verdict != PROBE_TLS_OK) {
        doctor_next(doctor, "openssl s_client -connect %s:%u -servername %s </dev/null",
                    destination->at.to.host, destination->at.to.port, destination->sni);
    }
}

static void check_tcp(struct doctor *doctor, const struct destination *destination)
{
    int fd = doctor_reach(doctor, &destination->at);
    if (fd < 0) {
        return;
    }
    if (destination->sni != NULL) {
        check_tls(doctor, destination, fd);
    }
    close(fd);
}

static void check_destination(struct doctor *doctor, const struct destination *destination)
{
    char address[ADDR_TEXT_MAX];
    if (destination->at.to.kind == ADDR_TCP) {
        check_tcp(doctor, destination);
    } else if (destination->at.to.kind == ADDR_VSOCK) {
        doctor_tell(doctor, FINDING_SKIPPED, "connect", destination->at.route->name,
                    "%s: enclaves are not disturbed", addr_format(&destination->at.to, address));
    } else {
        doctor_reach_path(doctor, &destination->at);
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
    struct destination destination = {.at = {.route = route, .to = route->to}};
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
        struct destination destination = {.at = {.route = route, .to = sni->to}};
        if (route->to_kind == CONFIG_TO_SNI && !is_wildcard(sni)) {
            destination.at.to = (struct addr){.kind = ADDR_TCP, .port = route->port};
            snprintf(destination.at.to.host, sizeof destination.at.to.host, "%s", sni->pattern);
        }
        if (destination.at.to.kind != ADDR_NONE) {
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

static bool host_address(const struct config_host *host, struct addr *ret)
{
    char text[ADDR_TEXT_MAX];
    bool ipv6 = strchr(host->pattern, ':') != NULL;
    snprintf(text, sizeof text, ipv6 ? "tcp://[%s]:%u" : "tcp://%s:%u", host->pattern, host->port);
    return addr_parse(text, ret, NULL) == 0;
}

/* The enclave's proxy: each host that it may ask for by its whole name. */
static void check_hosts(struct doctor *doctor, const struct config_route *route)
{
    unsigned tried = 0, left = 0;
    for (unsigned i = 0; i < route->host_count; i++) {
        const struct config_host *host = &route->hosts[i];
        if (host->pattern[0] == '*') {
            continue;
        }
        if (tried == NAMES_MAX) {
            left++;
            continue;
        }
        struct destination destination = {.at = {.route = route}};
        if (host_address(host, &destination.at.to)) {
            check_tcp(doctor, &destination);
            tried++;
        }
    }
    if (tried == 0) {
        doctor_tell(doctor, FINDING_SKIPPED, "connect", route->name,
                    "only wildcards: there is no one host to try");
    } else if (left > 0) {
        doctor_tell(doctor, FINDING_SKIPPED, "connect", route->name, "%u more host%s not tried", left,
                    units_plural(left));
    }
}

void doctor_check_routes(struct doctor *doctor)
{
    const struct config *config = doctor->config;
    for (unsigned i = 0; config != NULL && i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        if (route->type == CONFIG_FORWARD) {
            doctor_check_forward(doctor, route);
        } else if (route->type == CONFIG_CONNECT) {
            check_hosts(doctor, route);
        } else if (route->type == CONFIG_RELAY && route->to_kind == CONFIG_TO_ADDRESS) {
            check_fixed(doctor, route);
        } else if (route->type == CONFIG_RELAY) {
            check_by_name(doctor, route);
        } /* else it leads nowhere that could be out of order */
    }
}
