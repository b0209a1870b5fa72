/* Policy: decisions on an immutable configuration. */
#include "config/policy.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int policy_enclave_by_cid(const struct config *config, uint32_t cid)
{
    for (unsigned i = 0; i < config->enclave_count; i++) {
        if (config->enclaves[i].cid == cid) {
            return (int)i;
        }
    }
    return CONFIG_NOBODY;
}

enum reason policy_listener(const struct config_listener *listener, int enclave)
{
    if (listener->allow_any) {
        return REASON_NONE;
    }
    if (enclave == CONFIG_NOBODY) {
        return REASON_DENIED_ENCLAVE;
    }
    return listener->allow[enclave] ? REASON_NONE : REASON_DENIED_ROUTE;
}

struct wanted_route {
    int enclave;
    const char *name;
    size_t length;
};

static int by_permit(const void *key, const void *entry)
{
    const struct wanted_route *wanted = key;
    const struct config_permit *permit = entry;
    if (wanted->enclave != permit->enclave) {
        return wanted->enclave < permit->enclave ? -1 : 1;
    }
    int order = strncmp(wanted->name, permit->name, wanted->length);
    return order != 0 ? order : permit->name[wanted->length] != '\0' ? -1 : 0;
}

enum reason policy_route(const struct config_listener *listener, int enclave, const char *name, size_t length,
                         int *ret_route)
{
    const struct wanted_route wanted = {enclave, name, length};
    /* No configured name is as long, and none holds a NUL, which would end the comparison. */
    if (listener->permit_count == 0 || length > CONFIG_NAME_MAX || memchr(name, '\0', length) != NULL) {
        return REASON_DENIED_ROUTE;
    }
    const struct config_permit *found =
        bsearch(&wanted, listener->permits, listener->permit_count, sizeof *listener->permits, by_permit);
    if (found == NULL) {
        return REASON_DENIED_ROUTE;
    }
    *ret_route = found->route;
    return REASON_NONE;
}

static int by_pattern(const void *name, const void *entry)
{
    return strcmp(name, ((const struct config_sni *)entry)->pattern);
}

static const struct config_sni *find(const struct config_route *route, const char *pattern)
{
    return bsearch(pattern, route->sni, route->sni_count, sizeof *route->sni, by_pattern);
}

/* In lower case and without a final dot; false: not a host name. */
static bool normalise(const char *name, char out[ADDR_HOST_MAX])
{
    size_t length = strlen(name);
    if (length > 0 && name[length - 1] == '.') {
        length--;
    }
    if (length >= ADDR_HOST_MAX) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        out[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
    }
    out[length] = '\0';
    return addr_is_hostname(out);
}

const struct config_sni *policy_sni(const struct config_route *route, const char *name)
{
    char text[ADDR_HOST_MAX];
    if (route->sni_count == 0 || !normalise(name, text)) {
        return NULL;
    }
    const struct config_sni *found = find(route, text);
    /* From the left, so the longest wildcard comes first: a.b.example.com is looked for as *.b.example.com,
     * then as *.example.com, each made in place by a star before the dot. */
    for (char *dot = strchr(text, '.'); found == NULL && dot != NULL; dot = strchr(dot + 1, '.')) {
        dot[-1] = '*';
        found = find(route, dot - 1);
    }
    return found;
}

static int by_host(const void *key, const void *entry)
{
    const struct config_host *wanted = key;
    const struct config_host *host = entry;
    int order = strcmp(wanted->pattern, host->pattern);
    return order != 0 ? order : (int)wanted->port - (int)host->port;
}

static const struct config_host *find_host(const struct config_route *route, const char *pattern,
                                           uint16_t port)
{
    const struct config_host wanted = {.pattern = pattern, .port = port};
    return bsearch(&wanted, route->hosts, route->host_count, sizeof *route->hosts, by_host);
}

/* As set_hosts() wrote it down: in lower case, an address in its one form. */
static bool as_configured(const char *host, size_t length, struct addr *ret)
{
    char address[ADDR_TEXT_MAX];
    if (length >= ADDR_HOST_MAX || memchr(host, '\0', length) != NULL) {
        return false;
    }
    bool brackets = memchr(host, ':', length) != NULL;
    snprintf(address, sizeof address, "tcp://%s%.*s%s:1", brackets ? "[" : "", (int)length, host,
             brackets ? "]" : "");
    return addr_parse(address, ret, NULL) == 0;
}

const struct config_host *policy_host(const struct config_route *route, const char *host, size_t length,
                                      uint16_t port)
{
    struct addr addr;
    if (route->host_count == 0 || !as_configured(host, length, &addr)) {
        return NULL;
    }
    const struct config_host *found = find_host(route, addr.host, port);
    /* As in policy_sni(): the longest wildcard first, each made in place. */
    char *dot = addr.literal ? NULL : strchr(addr.host, '.');
    for (; found == NULL && dot != NULL; dot = strchr(dot + 1, '.')) {
        dot[-1] = '*';
        found = find_host(route, dot - 1, port);
    }
    return found;
}
