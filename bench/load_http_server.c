/*
 * The HTTP server behind the forwarders, over TCP or TLS: reads requests one after another, and answers each with a
 * body as long as the request's (none to a long one). A request without the header that the forwarder is to add gets
 * 400, so that a forwarder which does not do the work is not measured. One thread, until standard input ends.
 */
#include "load.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS      64
#define HEAD_MAX    16384
#define ANSWER_MAX  65536 /* bodies up to here are answered with as many bytes */
#define DISCARD_MAX ((size_t)1024 * 1024)

struct connection {
    int fd;
    SSL *ssl; /* NULL: plain */
    size_t got;
    uint64_t body, body_left;
    bool in_body, good;
    char head[HEAD_MAX + 1];
};

struct server {
    const struct options *options;
    SSL_CTX *tls; /* NULL: plain */
    int listener, epoll_fd;
    char *discarded;
    char *answer; /* room for a head, and as many zeros as an answer may have */
};

static SSL_CTX *make_tls(const char *file)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, file) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, file, SSL_FILETYPE_PEM) != 1) {
        die("cannot use the certificate and key in %s: %s", file, ERR_reason_error_string(ERR_get_error()));
    }
    return tls;
}

static void drop(struct connection *connection)
{
    SSL_free(connection->ssl);
    close(connection->fd);
    free(connection);
}

static void accept_all(const struct server *server)
{
    int fd;
    while ((fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (connection == NULL || epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
            die("cannot take a connection: %s", strerror(errno));
        }
        connection->fd = fd;
        no_delay(fd);
        if (server->tls == NULL) {
            continue;
        }
        connection->ssl = SSL_new(server->tls);
        if (connection->ssl == NULL || SSL_set_fd(connection->ssl, fd) != 1) {
            die("cannot make a TLS connection");
        }
        SSL_set_accept_state(connection->ssl);
    }
}

/* Returns how many bytes came; 0: none for now; -1: never again. */
static ssize_t receive(const struct connection *connection, char *to, size_t room, int flags)
{
    if (connection->ssl == NULL) {
        ssize_t got = recv(connection->fd, to, room, MSG_DONTWAIT | flags);
        return got > 0 ? got : got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    ERR_clear_error();
    int got = SSL_read(connection->ssl, to, (int)room);
    int error = SSL_get_error(connection->ssl, got);
    return got > 0 ? got : error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* An answer is small beside a socket's buffer, so waiting here is rare. */
static bool send_all(const struct connection *connection, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = connection->ssl != NULL ? SSL_write(connection->ssl, data, (int)size)
                                               : send(connection->fd, data, size, MSG_DONTWAIT);
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
            continue;
        }
        bool later = connection->ssl != NULL
                         ? SSL_get_error(connection->ssl, (int)sent) == SSL_ERROR_WANT_WRITE
                         : errno == EAGAIN;
        struct pollfd room = {.fd = connection->fd, .events = POLLOUT};
        if (!later || poll(&room, 1, 10000) <= 0) {
            return false;
        }
    }
    return true;
}

static bool answer(const struct server *server, const struct connection *connection)
{
    size_t body = connection->body <= ANSWER_MAX ? (size_t)connection->body : 0;
    char head[256];
    int length =
        snprintf(head, sizeof head,
                 "HTTP/1.1 %s\r\nContent-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n",
                 connection->good ? "200 OK" : "400 Bad Request", body);
    char *at = server->answer + sizeof head - (size_t)length; /* right before the zeros */
    memcpy(at, head, (size_t)length);
    return send_all(connection, at, (size_t)length + body);
}

/* Takes the head apart, if all of it is there; what came after it is counted as body. */
static bool read_head(const struct server *server, struct connection *connection)
{
    connection->head[connection->got] = '\0';
    const char *end = strstr(connection->head, "\r\n\r\n");
    if (end == NULL) {
        return connection->got < HEAD_MAX;
    }
    char field[64];
    snprintf(field, sizeof field,
             "\r\n%s:", server->options->header != NULL ? server->options->header : "host");
    size_t beyond = connection->got - (size_t)(end + 4 - connection->head);
    const char *length = strcasestr(connection->head, "\r\ncontent-length:");
    connection->body = length != NULL ? strtoull(length + strlen("\r\ncontent-length:"), NULL, 10) : 0;
    connection->good = strcasestr(connection->head, field) != NULL &&
                       strcasestr(connection->head, "\r\ntransfer-encoding:") == NULL;
    connection->in_body = true;
    connection->body_left = connection->body - beyond;
    return beyond <= connection->body; /* nobody here sends a request before the last one's answer */
}

/* One read, and what follows from it. Returns whether the connection goes on; *ret_more: there may be more to read. */
static bool serve_once(const struct server *server, struct connection *connection, bool *ret_more)
{
    bool in_body = connection->in_body;
    size_t room = HEAD_MAX - connection->got;
    int flags = 0;
    if (in_body) {
        room = connection->body_left < DISCARD_MAX ? (size_t)connection->body_left : DISCARD_MAX;
        flags = MSG_TRUNC; /* TCP drops the bytes without a copy, so that the forwarder is what is busy */
    }
    ssize_t got =
        receive(connection, in_body ? server->discarded : connection->head + connection->got, room, flags);
    *ret_more = got > 0;
    if (got <= 0) {
        return got == 0;
    }
    if (in_body) {
        connection->body_left -= (uint64_t)got;
    } else {
        connection->got += (size_t)got;
        if (!read_head(server, connection)) {
            return false;
        }
    }
    if (!connection->in_body || connection->body_left > 0) {
        return true;
    }
    connection->in_body = false;
    connection->got = 0;
    *ret_more = connection->ssl != NULL; /* a plain one is reported again */
    return answer(server, connection);
}

static void serve(const struct server *server, struct connection *connection)
{
    bool more = true;
    while (more) {
        if (!serve_once(server, connection, &more)) {
            drop(connection);
            return;
        }
    }
}

static void *run(void *data)
{
    const struct server *server = data;
    struct epoll_event events[EVENTS];
    int count;
    while ((count = epoll_wait(server->epoll_fd, events, EVENTS, -1)) >= 0 || errno == EINTR) {
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                accept_all(server);
            } else {
                serve(server, events[i].data.ptr);
            }
        }
    }
    die("cannot wait: %s", strerror(errno));
}

/* The thread and its connections end with the process. */
int run_http_server(const struct options *options)
{
    static struct server server;
    pthread_t thread;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    server = (struct server){.options = options,
                             .tls = options->certificate != NULL ? make_tls(options->certificate) : NULL,
                             .listener = open_listener(&options->listen),
                             .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                             .discarded = malloc(DISCARD_MAX),
                             .answer = calloc(1, 256 + ANSWER_MAX)};
    if (server.epoll_fd < 0 || server.discarded == NULL || server.answer == NULL ||
        epoll_ctl(server.epoll_fd, EPOLL_CTL_ADD, server.listener, &event) != 0 ||
        pthread_create(&thread, NULL, run, &server) != 0) {
        die("cannot start the HTTP server");
    }
    printf("{\"mode\": \"http-server\", \"ready\": true}\n");
    fflush(stdout);
    wait_for_the_end(now() + options->seconds);
    return 0;
}
