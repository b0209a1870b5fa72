/*
 * Idle: opens connections, has each carry some bytes there and back, and holds them: "ready" is printed, and
 * the end of standard input (or of the time) lets go. Whoever runs it measures the relay meanwhile.
 */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE 8192 /* small enough to be under way whole, so that neither end waits for the other */

static void carry(int fd, uint64_t bytes)
{
    static char data[PIECE];
    for (uint64_t left = bytes; left > 0;) {
        size_t piece = left < PIECE ? (size_t)left : PIECE;
        if (send(fd, data, piece, 0) != (ssize_t)piece) {
            die("sending failed: %s", strerror(errno));
        }
        for (size_t got = 0; got < piece;) {
            ssize_t now_got = recv(fd, data, piece - got, 0);
            if (now_got <= 0) {
                die("the reply did not come: %s", now_got == 0 ? "end of stream" : strerror(errno));
            }
            got += (size_t)now_got;
        }
        left -= piece;
    }
}

void wait_for_the_end(double until)
{
    char ignored[64];
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    double left;
    while ((left = until - now()) > 0) {
        if (poll(&input, 1, (int)(1000 * left) + 1) > 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0) {
            return;
        }
    }
}

int run_idle(const struct options *options)
{
    struct echo echo;
    double until = now() + options->seconds;
    int *fds = calloc(options->count, sizeof *fds);
    if (fds == NULL) {
        die("out of memory");
    }
    echo_start(&echo, &options->listen);
    for (unsigned i = 0; i < options->count; i++) {
        fds[i] = open_connection(&options->connect);
        carry(fds[i], options->carry);
    }
    printf("{\"mode\": \"idle\", \"ready\": true, \"connections\": %u, \"carried\": %" PRIu64 "}\n",
           options->count, options->carry);
    fflush(stdout);
    wait_for_the_end(until);
    for (unsigned i = 0; i < options->count; i++) {
        close(fds[i]);
    }
    echo_stop(&echo);
    free(fds);
    return 0;
}
