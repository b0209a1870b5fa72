/* Where a relay leads, and led, for the log. */
#include "config/policy.h"
#include "relay/relay.h"
#include <stdio.h>
#include <string.h>

const char *relay_destination(const struct relay *relay, char buffer[ADDR_TEXT_MAX])
{
    const struct config_route *route = relay->route;
    if (route->type == CONFIG_CONNECT) {
        return relay->asked;
    }
    if (route->to_kind == CONFIG_TO_ADDRESS) {
        return addr_format(&route->to, buffer);
    }
    if (relay->server_name == NULL) {
        return NULL;
    }
    if (route->to_kind == CONFIG_TO_SNI) {
        snprintf(buffer, ADDR_TEXT_MAX, "tcp://%s:%u", relay->server_name, route->port);
        return buffer;
    }
    const struct config_sni *entry = policy_sni(route, relay->server_name);
    return entry != NULL ? addr_format(&entry->to, buffer) : NULL;
}

const char *relay_upstream_address(const struct relay *relay, char buffer[ADDR_TEXT_MAX])
{
    struct sockaddr_any at;
    if (relay->upstream_ip.sin6_family == AF_UNSPEC) {
        return NULL;
    }
    at.length =
        relay->upstream_ip.sin6_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof relay->upstream_ip;
    memcpy(&at.u, &relay->upstream_ip, sizeof relay->upstream_ip);
    return sockaddr_format(&at, buffer);
}
