/* An endpoint for credentials, played: see endpoint.h. */
#include "endpoint.h"

#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A connection to it. */
struct endpoint_line {
    uv_tcp_t tcp;
    uv_write_t write;
    struct endpoint *endpoint;
    struct endpoint_line *next;
    char request[16384];
    size_t size;
    bool answered;
};

static void on_line_closed(uv_handle_t *handle)
{
    fault_spare(true);
    free(handle->data);
    fault_spare(false);
}

static void close_line(struct endpoint_line *line)
{
    struct endpoint_line **at = &line->endpoint->lines;
    while (*at != line) {
        at = &(*at)->next;
    }
    *at = line->next;
    uv_close((uv_handle_t *)&line->tcp, on_line_closed);
}

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    if (!uv_is_closing((uv_handle_t *)write->handle)) {
        close_line(write->data);
    }
}

static void answer(struct endpoint_line *line)
{
    struct endpoint *endpoint = line->endpoint;
    endpoint->requests++;
    memcpy(endpoint->last, line->request, line->size + 1);
    line->answered = true;
    const char *text = endpoint->answer(endpoint, endpoint->last);
    if (text != NULL) {
        uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));
        line->write.data = line;
        assert_int_equal(uv_write(&line->write, (uv_stream_t *)&line->tcp, &buffer, 1, on_written), 0);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct endpoint_line *line = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(line->request + line->size, (unsigned)(sizeof line->request - 1 - line->size));
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct endpoint_line *line = stream->data;
    (void)buffer;
    if (count < 0) {
        close_line(line);
        return;
    }
    line->size += (size_t)count;
    line->request[line->size] = '\0';
    if (!line->answered && strstr(line->request, "\r\n\r\n") != NULL) {
        fault_spare(true);
        answer(line);
        fault_spare(false);
    }
}

static void on_connection(uv_stream_t *server, int status)
{
    struct endpoint *endpoint = server->data;
    assert_int_equal(status, 0);
    fault_spare(true);
    struct endpoint_line *line = calloc(1, sizeof *line);
    assert_non_null(line);
    line->endpoint = endpoint;
    line->next = endpoint->lines;
    endpoint->lines = line;
    assert_int_equal(uv_tcp_init(&endpoint->bench->loop.uv, &line->tcp), 0);
    line->tcp.data = line;
    assert_int_equal(uv_accept(server, (uv_stream_t *)&line->tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&line->tcp, on_alloc, on_read), 0);
    fault_spare(false);
}

void endpoint_open(struct endpoint *endpoint, struct loopback *bench, endpoint_cb answer_cb, void *data)
{
    struct sockaddr_in address;
    int size = sizeof address;
    memset(endpoint, 0, sizeof *endpoint);
    endpoint->bench = bench;
    endpoint->answer = answer_cb;
    endpoint->data = data;
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(uv_tcp_init(&bench->loop.uv, &endpoint->server), 0);
    endpoint->server.data = endpoint;
    assert_int_equal(uv_tcp_bind(&endpoint->server, (const struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&endpoint->server, 16, on_connection), 0);
    assert_int_equal(uv_tcp_getsockname(&endpoint->server, (struct sockaddr *)&address, &size), 0);
    endpoint->port = ntohs(address.sin_port);
}

static void on_server_closed(uv_handle_t *handle)
{
    ((struct endpoint *)handle->data)->closed = true;
}

void endpoint_close(struct endpoint *endpoint)
{
    while (endpoint->lines != NULL) {
        close_line(endpoint->lines);
    }
    uv_close((uv_handle_t *)&endpoint->server, on_server_closed);
    WAIT_FOR(endpoint->bench, endpoint->closed);
}

const char *endpoint_url(const struct endpoint *endpoint, const char *path, char buffer[128])
{
    snprintf(buffer, 128, "http://127.0.0.1:%u%s", endpoint->port, path);
    return buffer;
}
