/* Where the client of a proxy may be led: see proxy.h. */
#include "forward/proxy.h"

#include "config/policy.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HTTP_PORT 80

/* As the configuration has it: a name in lower case, an address in its one form. */
static bool address_of(struct http_span host, uint16_t port, struct addr *ret)
{
    char text[ADDR_TEXT_MAX];
    bool brackets = memchr(host.data, ':', host.size) != NULL;
    int length = snprintf(text, sizeof text, "tcp://%s%.*s%s:%u", brackets ? "[" : "", (int)host.size,
                          host.data, brackets ? "]" : "", port);
    return length < (int)sizeof text && addr_parse(text, ret, NULL) == 0;
}

enum http_refusal proxy_judge(const struct config_route *route, const struct http_target *target,
                              struct addr *ret)
{
    uint16_t port = target->port != 0 ? target->port : HTTP_PORT;
    bool allowed = policy_host(route, target->host.data, target->host.size, port) != NULL;
    return allowed && address_of(target->host, port, ret) ? HTTP_REFUSED_NONE : HTTP_REFUSED_DENIED_HOST;
}

enum http_refusal proxy_lead(const struct config_route *route, const struct http_target *target,
                             struct exchange_plain **ret)
{
    struct addr to;
    *ret = NULL;
    if (target->secure) {
        return HTTP_REFUSED_TARGET_FORM;
    }
    enum http_refusal why = proxy_judge(route, target, &to);
    if (why != HTTP_REFUSED_NONE) {
        return why;
    }
    struct exchange_plain *plain = malloc(sizeof *plain + target->authority.size + 1);
    if (plain == NULL) {
        return HTTP_REFUSED_NO_MEMORY;
    }
    char *authority = (char *)(plain + 1);
    memcpy(authority, target->authority.data, target->authority.size);
    authority[target->authority.size] = '\0';
    *plain = (struct exchange_plain){.to = to, .authority = authority};
    *ret = plain;
    return HTTP_REFUSED_NONE;
}
