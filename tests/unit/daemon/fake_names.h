/*
 * A resolver for the tests of vsock-proxy: the linker puts these functions in the place of getaddrinfo() and
 * freeaddrinfo(). Included by one source of a test program.
 */
#ifndef FAKE_NAMES_H
#define FAKE_NAMES_H

#include "config/allowlist.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
    const char *ips[ALLOW_IPS_MAX + 2];
    int rc;
    int os_error;
    bool odd_family; /* the first answer is of a family that nobody asked for */
    unsigned asked;
    unsigned outstanding; /* results not freed */
    char host[64];        /* asked for last */
} names;

static void answer(const char *ip)
{
    memset(&names, 0, sizeof(names));
    names.ips[0] = ip;
}

struct made {
    struct addrinfo info;
    struct sockaddr_storage address;
};

static struct addrinfo *make_info(const char *ip, struct addrinfo *next)
{
    struct made *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        names.outstanding++; /* which the next line takes back */
        freeaddrinfo(next);
        return NULL;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)&made->address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&made->address;
    if (inet_pton(AF_INET, ip, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
    } else if (inet_pton(AF_INET6, ip, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
    }
    made->info.ai_addr = (struct sockaddr *)&made->address;
    made->info.ai_next = next;
    return &made->info;
}

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
void __wrap_freeaddrinfo(struct addrinfo *info);

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret)
{
    assert_null(service);
    assert_int_equal(hints->ai_socktype, SOCK_STREAM);
    names.asked++;
    snprintf(names.host, sizeof(names.host), "%s", host);
    errno = names.os_error;
    if (names.rc != 0) {
        return names.rc;
    }
    size_t count = 0;
    while (names.ips[count] != NULL) {
        count++;
    }
    *ret = NULL;
    names.outstanding++;
    while (count > 0) {
        *ret = make_info(names.ips[--count], *ret);
        if (*ret == NULL) {
            names.outstanding--;
            return EAI_MEMORY;
        }
    }
    if (names.odd_family) {
        (*ret)->ai_addr->sa_family = AF_UNIX;
    }
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *info)
{
    names.outstanding--;
    while (info != NULL) {
        struct addrinfo *next = info->ai_next;
        free(CONTAINER_OF(info, struct made, info));
        info = next;
    }
}

#endif
