/* The vsock-over-unix greeting: see hybrid.h. */
#include "net/hybrid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

void hybrid_greeting_init(struct hybrid_greeting *greeting, uint32_t port)
{
    memset(greeting, 0, sizeof *greeting);
    greeting->port = port;
}

static int send_request(struct hybrid_greeting *greeting, int fd)
{
    char request[32];
    unsigned length = (unsigned)snprintf(request, sizeof request, "CONNECT %u\n", greeting->port);
    while (greeting->sent < length) {
        ssize_t n = send(fd, request + greeting->sent, length - greeting->sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return errno == EPIPE ? -ECONNREFUSED : -errno;
        }
        greeting->sent += n > 0 ? (unsigned)n : 0;
    }
    return 0;
}

static int judge(const struct hybrid_greeting *greeting)
{
    const char *answer = greeting->answer;
    if (strncmp(answer, "OK ", 3) != 0) {
        return -EPROTO;
    }
    size_t digits = strspn(answer + 3, "0123456789");
    return digits > 0 && answer[3 + digits] == '\n' && answer[4 + digits] == '\0' ? 0 : -EPROTO;
}

/* A byte at a time: the guest's first data may follow the newline, and is not ours to read. */
static int read_answer(struct hybrid_greeting *greeting, int fd)
{
    while (greeting->received < sizeof greeting->answer - 1) {
        ssize_t n = recv(fd, greeting->answer + greeting->received, 1, 0);
        if (n == 0) {
            return -ECONNREFUSED;
        }
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno == ECONNRESET ? -ECONNREFUSED : -errno;
        }
        if (greeting->answer[greeting->received++] == '\n') {
            return judge(greeting);
        }
    }
    return -EPROTO;
}

int hybrid_greeting_step(struct hybrid_greeting *greeting, int fd)
{
    int rv = send_request(greeting, fd);
    return rv != 0 ? rv : read_answer(greeting, fd);
}
