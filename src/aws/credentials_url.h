/*
 * Where an endpoint is that hands out credentials: on this machine, or beside it, since it is asked in plain text. Pure.
 */
#ifndef POSTERN_AWS_CREDENTIALS_URL_H
#define POSTERN_AWS_CREDENTIALS_URL_H

#include "base/compiler.h"
#include "base/error.h"
#include "net/addr.h"
#include <stdbool.h>

#define CREDENTIALS_TARGET_MAX ((size_t)1024)

/* Where an endpoint is: "http://169.254.170.2/v2/credentials/1". */
struct credentials_url {
    struct addr to;     /* a literal address */
    char authority[64]; /* for the Host header */
    const char *target; /* path and query, within the text that was read; "" if there is none */
};

/* Reads http://ADDRESS[:PORT][/PATH][?QUERY]; `localhost` counts as 127.0.0.1. 0 or -EINVAL, with what was expected in `err`. */
int credentials_url_parse(const char *text, struct credentials_url *ret, struct error *err) MUST_CHECK;

/* Whether it is an address of this machine (127.0.0.0/8, ::1), or a link-local one, or of the network that EC2's services of one
 * machine have (fd00:ec2::/32). */
bool credentials_url_is_near(const struct addr *addr);

#endif
