/*
 * A small HTTP/1.1 server, bounded in every direction.
 *
 * The way of a connection, by its states:
 *
 *     FREE -> READING -> ANSWERING -> LINGERING -> CLOSING -> FREE
 *
 * READING ends with a whole request, with one that must be refused, or with the timer (408): each is
 * answered. From every state but FREE, an error of the stream, the timer or a newcomer who needs the place
 * leads to CLOSING; release() runs when both handles are closed, and libuv has by then called back for
 * what was being written, so the buffers may go.
 */
#include "http/server.h"
#include "http/status.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void take_newcomer(struct http_server *server);

static void maybe_closed(struct http_server *server)
{
    if (!server->closing || server->listening || !TAILQ_EMPTY(&server->taken) || server->closed == NULL) {
        return;
    }
    void (*closed)(void *data) = server->closed;
    server->closed = NULL;
    closed(server->closed_data); /* may free the server */
}

static void release(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    server->answers -= connection->body.length;
    text_release(&connection->body);
    http_message_release(&connection->request);
    TAILQ_REMOVE(&server->taken, connection, link);
    connection->state = HTTP_CONNECTION_FREE;
    if (server->held && !server->closing) {
        server->held = false;
        take_newcomer(server);
    }
    maybe_closed(server);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct http_connection *connection = handle->data;
    if (--connection->open_handles == 0) {
        release(connection);
    }
}

static void close_connection(struct http_connection *connection)
{
    const struct http_later_ops *later = connection->later;
    if (connection->state == HTTP_CONNECTION_CLOSING) {
        return;
    }
    connection->state = HTTP_CONNECTION_CLOSING;
    connection->later = NULL;
    if (later != NULL) {
        later->gone(connection->later_arg);
    }
    uv_close((uv_handle_t *)&connection->stream, on_handle_closed);
    uv_close((uv_handle_t *)&connection->timer, on_handle_closed);
}

/* Answers. */

static void format_date(char *buffer, size_t size)
{
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm) == NULL || strftime(buffer, size, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0) {
        buffer[0] = '\0';
    }
}

static unsigned format_head(struct http_connection *connection, const struct http_answer *response,
                            uint64_t size)
{
    char date[40];
    const char *allow = response->allow != NULL ? response->allow : "GET";
    bool tell_allow = response->status == 405;
    format_date(date, sizeof date);
    int length = snprintf(connection->head, sizeof connection->head,
                          "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %" PRIu64 "\r\n"
                          "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%s%s%s"
                          "Connection: close\r\n\r\n",
                          response->status, http_status_words((unsigned)response->status), date,
                          response->content_type, size, tell_allow ? "Allow: " : "", tell_allow ? allow : "",
                          tell_allow ? "\r\n" : "");
    return (unsigned)length < sizeof connection->head ? (unsigned)length : (unsigned)sizeof connection->head;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct http_connection *connection = handle->data;
    /* One buffer for all: what is read is consumed before the loop reads again. */
    *buf = uv_buf_init(connection->server->input, sizeof connection->server->input);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf);

static void on_shut_down(uv_shutdown_t *shutdown, int status)
{
    struct http_connection *connection = shutdown->data;
    if (status != 0) {
        close_connection(connection);
    }
}

static void on_timer(uv_timer_t *timer);

static void on_written(uv_write_t *write, int status)
{
    struct http_connection *connection = write->data;
    if (connection->state != HTTP_CONNECTION_ANSWERING) {
        return;
    }
    uv_stream_t *stream = (uv_stream_t *)&connection->stream;
    connection->state = HTTP_CONNECTION_LINGERING;
    connection->shutdown.data = connection;
    if (status != 0 || uv_shutdown(&connection->shutdown, stream, on_shut_down) != 0 ||
        uv_read_start(stream, on_alloc, on_read) != 0 ||
        uv_timer_start(&connection->timer, on_timer, connection->server->linger_ms, 0) != 0) {
        close_connection(connection);
    }
}

/* Takes over the body of `response`. */
static void answer(struct http_connection *connection, struct http_answer *response)
{
    struct http_server *server = connection->server;
    bool head_only = strcmp(connection->request.method, "HEAD") == 0;
    uv_buf_t parts[2] = {
        uv_buf_init(connection->head, format_head(connection, response, response->body.length)),
    };
    if (head_only) {
        text_release(&response->body);
    }
    connection->body = response->body;
    server->answers += connection->body.length;
    parts[1] = uv_buf_init(connection->body.data, (unsigned)connection->body.length);
    connection->state = HTTP_CONNECTION_ANSWERING;
    connection->write.data = connection;
    /* What else the client says is read when it was answered: it cannot keep the loop busy meanwhile. */
    uv_read_stop((uv_stream_t *)&connection->stream);
    if (uv_write(&connection->write, (uv_stream_t *)&connection->stream, parts,
                 connection->body.length > 0 ? 2 : 1, on_written) != 0) {
        close_connection(connection);
    }
}

static void answer_words(struct http_connection *connection, int status, const char *words)
{
    struct http_answer response = {.status = status, .content_type = "text/plain; charset=utf-8"};
    text_init(&response.body, 0);
    text_addf(&response.body, "%s\n", words);
    if (response.body.failed) {
        text_release(&response.body); /* then the status has to speak for itself */
    }
    answer(connection, &response);
}

/* A body that is not whole, or one too many, is not sent. */
static void answer_made(struct http_connection *connection, struct http_answer *response)
{
    if (response->body.failed ||
        connection->server->answers + response->body.length > HTTP_SERVER_ANSWERS_MAX) {
        text_release(&response->body);
        answer_words(connection, 503, "no memory for the answer now; try again");
        return;
    }
    answer(connection, response);
}

static void handle_request(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    struct http_answer response = {.status = 200, .content_type = "text/plain; charset=utf-8"};
    if (http_message_header(&connection->request, "Expect") != NULL) {
        answer_words(connection, 417, "send the request without Expect");
        return;
    }
    text_init(&response.body, HTTP_SERVER_ANSWERS_MAX);
    connection->state =
        HTTP_CONNECTION_ANSWERING; /* so that a handler that closes the server is still heard */
    response.connection = connection;
    server->handler(server->data, &connection->request, &response);
    if (connection->later != NULL) {
        text_release(&response.body);
    } else {
        answer_made(connection, &response);
    }
}

/* Answers that come later. */

void http_answer_later(struct http_answer *response, const struct http_later_ops *ops, void *arg,
                       uint64_t time_ms)
{
    struct http_connection *connection = response->connection;
    connection->later = ops;
    connection->later_arg = arg;
    connection->later_ms = time_ms;
    uv_timer_start(&connection->timer, on_timer, time_ms, 0);
}

void http_later_answer(struct http_connection *connection, struct http_answer *response)
{
    connection->later = NULL;
    uv_timer_start(&connection->timer, on_timer, connection->server->time_ms, 0);
    answer_made(connection, response);
}

static void on_piece_written(uv_write_t *write, int status)
{
    struct http_connection *connection = write->data;
    const struct http_later_ops *later = connection->later;
    if (later == NULL) {
        return; /* it has gone */
    }
    if (status != 0) {
        close_connection(connection);
        return;
    }
    uv_timer_start(&connection->timer, on_timer, connection->later_ms, 0);
    if (connection->left == 0) {
        connection->later = NULL;
        on_written(write, status);
    }
    later->sent(connection->later_arg);
}

static void write_piece(struct http_connection *connection, char *data, size_t size)
{
    uv_buf_t part = uv_buf_init(data, (unsigned)size);
    connection->write.data = connection;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->stream, &part, 1, on_piece_written) != 0) {
        /* As if it had been tried: gone() comes from the loop, not from here. */
        uv_timer_start(&connection->timer, on_timer, 0, 0);
    }
}

void http_later_begin(struct http_connection *connection, const char *content_type, uint64_t length)
{
    const struct http_answer response = {.status = 200, .content_type = content_type};
    connection->left = length;
    write_piece(connection, connection->head, format_head(connection, &response, length));
}

void http_later_piece(struct http_connection *connection, const void *data, size_t size)
{
    connection->left -= size < connection->left ? size : connection->left;
    write_piece(connection, (char *)data, size);
}

void http_later_cut(struct http_connection *connection)
{
    connection->later = NULL;
    close_connection(connection);
}

/* Requests. */

static void read_request(struct http_connection *connection, const char *data, size_t size)
{
    int r = http_message_feed(&connection->request, data, size);
    if (r > 0) {
        handle_request(connection);
    } else if (r < 0) {
        answer_words(connection, connection->request.refused, connection->request.why);
    }
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct http_connection *connection = stream->data;
    if (count >= 0 && connection->state == HTTP_CONNECTION_READING) {
        read_request(connection, buf->base, (size_t)count);
        return;
    }
    connection->ignored += count > 0 ? (size_t)count : 0;
    if (count < 0 || connection->ignored > HTTP_SERVER_BODY_MAX) {
        close_connection(connection); /* it has gone; or it was answered, and goes on talking */
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct http_connection *connection = timer->data;
    if (connection->state != HTTP_CONNECTION_READING) {
        close_connection(connection);
        return;
    }
    uv_timer_start(timer, on_timer, connection->server->linger_ms, 0);
    answer_words(connection, 408, "the request took too long");
}

/* Connections. */

static struct http_connection *free_connection(struct http_server *server)
{
    for (size_t i = 0; i < HTTP_SERVER_CONNECTIONS; i++) {
        if (server->connections[i].state == HTTP_CONNECTION_FREE) {
            return &server->connections[i];
        }
    }
    return NULL;
}

static void begin(struct http_connection *connection, struct http_server *server)
{
    connection->server = server;
    connection->state = HTTP_CONNECTION_READING;
    connection->open_handles = 2;
    connection->ignored = 0;
    connection->later = NULL;
    text_init(&connection->body, 0);
    http_message_init(&connection->request, HTTP_MESSAGE_REQUEST, HTTP_SERVER_HEAD_MAX, HTTP_SERVER_BODY_MAX);
    uv_pipe_init(server->loop, &connection->stream, 0);
    uv_timer_init(server->loop, &connection->timer);
    connection->stream.data = connection;
    connection->timer.data = connection;
    TAILQ_INSERT_TAIL(&server->taken, connection, link);
}

/* Until uv_accept() is called the listener does not poll: a newcomer without a place waits, with all
 * behind it in the kernel's queue, for the loop turn that it takes to close the oldest connection. */
static void take_newcomer(struct http_server *server)
{
    struct http_connection *connection = free_connection(server);
    if (connection == NULL) {
        server->held = true;
        server->evicted++;
        close_connection(TAILQ_FIRST(&server->taken));
        return;
    }
    begin(connection, server);
    if (uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)&connection->stream) != 0 ||
        uv_read_start((uv_stream_t *)&connection->stream, on_alloc, on_read) != 0 ||
        uv_timer_start(&connection->timer, on_timer, server->time_ms, 0) != 0) {
        close_connection(connection);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct http_server *server = listener->data;
    if (status == 0) {
        take_newcomer(server);
    }
}

/* The server. */

int http_server_start(struct http_server *server, uv_loop_t *loop, int fd, http_handler handler, void *data)
{
    memset(server, 0, sizeof *server);
    server->time_ms = HTTP_SERVER_TIME_MS;
    server->linger_ms = HTTP_SERVER_LINGER_MS;
    server->loop = loop;
    server->handler = handler;
    server->data = data;
    TAILQ_INIT(&server->taken);
    uv_pipe_init(loop, &server->listener, 0);
    server->listener.data = server;
    server->listening = true;
    int r = uv_pipe_open(&server->listener, fd);
    if (r != 0) {
        close(fd);
        return r;
    }
    return uv_listen((uv_stream_t *)&server->listener, HTTP_SERVER_CONNECTIONS, on_connection);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct http_server *server = handle->data;
    server->listening = false;
    maybe_closed(server);
}

static void hurry(struct http_connection *connection)
{
    if (connection->state == HTTP_CONNECTION_READING || connection->later != NULL) {
        close_connection(connection);
    } else if (connection->state == HTTP_CONNECTION_ANSWERING) {
        uv_timer_start(&connection->timer, on_timer, connection->server->linger_ms, 0);
    }
}

void http_server_close(struct http_server *server, void (*cb)(void *data), void *data)
{
    if (server->closing) {
        return;
    }
    server->closing = true;
    server->closed = cb;
    server->closed_data = data;
    uv_close((uv_handle_t *)&server->listener, on_listener_closed);
    struct http_connection *connection;
    TAILQ_FOREACH (connection, &server->taken, link) {
        hurry(connection);
    }
}

int http_query_value(const char *query, const char *name, char *buffer, size_t size)
{
    size_t length = strlen(name);
    if (query[0] == '\0') {
        return 0;
    }
    if (strncmp(query, name, length) != 0 || query[length] != '=') {
        return -EINVAL;
    }
    const char *value = query + length + 1;
    if (strchr(value, '&') != NULL || strlen(value) >= size) {
        return -EINVAL;
    }
    memcpy(buffer, value, strlen(value) + 1);
    return 1;
}
