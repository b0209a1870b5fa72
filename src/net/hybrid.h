/*
 * The greeting of vsock over a unix socket, connecting side: "CONNECT PORT\n" is sent, and "OK PORT\n"
 * awaited (Firecracker, docs/vsock.md; Cloud Hypervisor and vhost-device-vsock do the same). The host's
 * backend closes the connection instead of answering when nobody listens in the guest.
 */
#ifndef POSTERN_NET_HYBRID_H
#define POSTERN_NET_HYBRID_H

#include "base/compiler.h"
#include <stdint.h>

struct hybrid_greeting {
    uint32_t port;
    unsigned sent;     /* bytes of the request written */
    unsigned received; /* bytes of the answer read */
    char answer[32];
};

void hybrid_greeting_init(struct hybrid_greeting *greeting, uint32_t port);

/* Goes as far as the non-blocking socket lets it, and never reads past the answer's newline. Returns 0
 * when the greeting is over and the socket is the stream, -EAGAIN: call again when the socket is ready;
 * -ECONNREFUSED: nobody listens; -EPROTO: the answer was something else; another negative errno value. */
int hybrid_greeting_step(struct hybrid_greeting *greeting, int fd) MUST_CHECK;

#endif
