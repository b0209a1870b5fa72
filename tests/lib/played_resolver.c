/* getaddrinfo() as a test has it: see played_resolver.h. */
#include "played_resolver.h"

#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct resolver resolver;

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
void __wrap_freeaddrinfo(struct addrinfo *list);

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret)
{
    struct addrinfo **end = ret;

    assert_int_equal(hints->ai_socktype, SOCK_STREAM);
    snprintf(resolver.host, sizeof resolver.host, "%s", host);
    snprintf(resolver.port, sizeof resolver.port, "%s", service);
    if (resolver.result != 0) {
        return resolver.result;
    }
    *ret = NULL;
    for (int i = 0; i < 3 && resolver.ports[i] != 0; i++) {
        struct sockaddr_in *at = calloc(1, sizeof *at);
        *end = calloc(1, sizeof **end);
        assert_non_null(at);
        assert_non_null(*end);
        at->sin_family = AF_INET;
        at->sin_port = htons(resolver.ports[i]);
        at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        (*end)->ai_addr = (struct sockaddr *)at;
        (*end)->ai_addrlen = sizeof *at;
        end = &(*end)->ai_next;
    }
    resolver.given += *ret != NULL;
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list->ai_addr);
        free(list);
        list = next;
    }
    resolver.freed++;
}
