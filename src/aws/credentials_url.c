/* Where an endpoint for credentials is: see credentials_url.h. */
#include "aws/credentials_url.h"

#include "http/syntax.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SCHEME "http://"

static bool is_near_4(const unsigned char bytes[4])
{
    return bytes[0] == 127 || (bytes[0] == 169 && bytes[1] == 254);
}

static bool is_near_6(const struct in6_addr *ip)
{
    static const unsigned char ec2[] = {0xfd, 0x00, 0x0e, 0xc2};
    return IN6_IS_ADDR_LOOPBACK(ip) || IN6_IS_ADDR_LINKLOCAL(ip) || memcmp(ip, ec2, sizeof ec2) == 0;
}

bool credentials_url_is_near(const struct addr *addr)
{
    unsigned char ip4[4];
    struct in6_addr ip6;
    if (addr->kind != ADDR_TCP || !addr->literal) {
        return false;
    }
    return inet_pton(AF_INET, addr->host, ip4) == 1
               ? is_near_4(ip4)
               : inet_pton(AF_INET6, addr->host, &ip6) == 1 && is_near_6(&ip6);
}

static int refuse(struct error *err)
{
    return error_set(
        err, -EINVAL,
        "it is no URL of the form http://ADDRESS[:PORT][/PATH], with an IP address or localhost");
}

static int read_host(struct http_span host, uint16_t port, struct credentials_url *ret, struct error *err)
{
    char text[ADDR_TEXT_MAX];
    bool is_6 = memchr(host.data, ':', host.size) != NULL;
    struct http_span name = http_span_is_word(host, "localhost") ? HTTP_SPAN("127.0.0.1") : host;
    int size = snprintf(text, sizeof text, "tcp://%s%.*s%s:%u", is_6 ? "[" : "", (int)name.size, name.data,
                        is_6 ? "]" : "", port != 0 ? port : 80u);
    if (size >= (int)sizeof text || addr_parse(text, &ret->to, err) != 0 || !ret->to.literal) {
        return refuse(err);
    }
    return 0;
}

int credentials_url_parse(const char *text, struct credentials_url *ret, struct error *err)
{
    *ret = (struct credentials_url){.target = ""};
    if (strncmp(text, SCHEME, sizeof SCHEME - 1) != 0) {
        return refuse(err);
    }
    const char *start = text + sizeof SCHEME - 1;
    struct http_span authority = {.data = start, .size = strcspn(start, "/?#")};
    struct http_span host;
    uint16_t port;
    if (!http_authority(authority, &host, &port) || authority.size >= sizeof ret->authority) {
        return refuse(err);
    }
    memcpy(ret->authority, authority.data, authority.size);
    ret->target = start + authority.size;
    bool plain = http_run(ret->target, strlen(ret->target), HTTP_TARGET) == strlen(ret->target);
    return plain && (ret->target[0] == '/' || ret->target[0] == '\0') ? read_host(host, port, ret, err)
                                                                      : refuse(err);
}
